//! Connections that the server relays: logs, exec, attach, port-forward and proxies, to kubelets, pods and services.
//! Upstream: pkg/registry/core/{pod,node,service}/rest, apimachinery/pkg/util/proxy.
//!
//! A connection is switched only after the other side answered 101 to the protocol that the client asked for; on any other
//! answer both connections end. Redirects are passed on or refused, and never followed.

/// Connections.
mod dial;
/// Links in proxied answers.
mod links;
/// What is counted.
mod metrics;
/// Exec, attach, port-forward and logs.
mod pods;
/// Proxies to nodes, pods and services.
mod proxy;
/// Passing on of requests and upgraded connections.
mod relay;

use std::sync::Arc;

use api_types::core::v1::{Node, Pod};
use api_types::value::{Value, ViewMut};
use apimachinery::gvk::GroupResource;
use apimachinery::status::{self, StatusError};
use component_base::auth::Decision;
use component_base::metrics::Metrics;
use component_base::serving::{Body, Response};

use crate::admission;
use crate::config::{Config, KubeletConfig};
use crate::egress::Dialer;
use crate::handlers::{self, Endpoint};
use crate::loopback::Loopback;
use crate::registry::object::Object;
use crate::request::context::RequestContext;
use crate::server::ApiServer;
pub(crate) use dial::{DialError, authority, exchange, secure};
use dial::{Security, Target, TlsConfigs};
use metrics::ConnectMetrics;
pub(crate) use relay::{own_headers, passed_on, remove_hop_by_hop, switched, upgrade_headers};

/// The client's side of an upgrade, if its connection can be upgraded.
pub type Upgrade = Option<hyper::upgrade::OnUpgrade>;

/// Dials kubelets, pods and services.
pub struct Connector {
    kubelet: KubeletConfig,
    tls: TlsConfigs,
    via: Dialer,
    metrics: ConnectMetrics,
}

/// A node's kubelet.
struct Kubelet {
    target: Target,
    /// It takes the WebSocket protocols of exec, attach and port-forward itself.
    takes_web_sockets: bool,
}

impl Connector {
    pub fn new(
        config: &Config,
        via: Dialer,
        metrics: &Metrics,
    ) -> Result<Connector, component_base::Error> {
        Ok(Connector {
            via,
            metrics: ConnectMetrics::new(metrics),
            tls: TlsConfigs::new(&config.kubelet)?,
            kubelet: config.kubelet.clone(),
        })
    }

    fn security(&self, scheme: &str) -> Security {
        match scheme {
            "https" => Security::Tls(self.tls.any()),
            _ => Security::Plain,
        }
    }

    /// Where a node's kubelet listens.
    fn kubelet(&self, node: &Node, insecure: bool) -> Result<Kubelet, StatusError> {
        let address = self
            .kubelet
            .preferred_address_types
            .iter()
            .find_map(|wanted| {
                node.status
                    .addresses
                    .iter()
                    .find(|address| address.type_ == *wanted)
            });
        let Some(address) = address else {
            return Err(relay::plain_error(format!(
                "no preferred addresses found; known addresses: {:?}",
                node.status
                    .addresses
                    .iter()
                    .map(|address| &address.type_)
                    .collect::<Vec<_>>()
            )));
        };
        let port = match node.status.daemon_endpoints.kubelet_endpoint.port {
            0 => self.kubelet.port,
            port => port,
        };
        Ok(Kubelet {
            target: Target {
                security: Security::Tls(self.tls.kubelet(insecure).map_err(status::internal)?),
                host: address.address.clone(),
                found: Vec::new(),
                port: u16::try_from(port).unwrap_or_default(),
                via: self.via.clone(),
            },
            takes_web_sockets: node
                .status
                .declared_features
                .iter()
                .any(|feature| feature == "ExtendWebSocketsToKubelet"),
        })
    }
}

/// Answers a request for a connection.
pub async fn serve(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    body: Body,
    upgrade: Upgrade,
) -> Result<Response, StatusError> {
    let name = endpoint.subresource_name();
    if name != "log" {
        check_admission(server, cx, endpoint).await?;
    }
    server.request_metrics.long_running(cx);
    match (endpoint.resource.info.resource, name) {
        ("pods", "log") => pods::log(server, cx, upgrade).await,
        ("pods", "exec" | "attach" | "portforward") => {
            pods::stream(server, cx, name, upgrade).await
        }
        (_, "proxy") => proxy::serve(server, cx, endpoint, body, upgrade).await,
        _ => Err(handlers::method_not_allowed()),
    }
}

async fn check_admission(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    endpoint: &Endpoint,
) -> Result<(), StatusError> {
    let operation = admission::Operation::Connect;
    if !server.admission.handles(operation) {
        return Ok(());
    }
    let mut attributes =
        endpoint.admission_attributes(cx, operation, admission::Options::None, false);
    attributes.object = options_object(cx, endpoint);
    server.admission.admit(&mut attributes).await?;
    server.admission.validate(&attributes).await
}

/// The options of a connection, as admission sees them. Upstream: getRequestOptions and the conversions from url.Values.
fn options_object(cx: &RequestContext, endpoint: &Endpoint) -> Option<Object> {
    let kind = endpoint.kind();
    let kind = api_types::kinds::lookup(&kind.group, &kind.version, &kind.kind)?;
    let mut options = (kind.new)();
    let is_proxy = endpoint.subresource_name() == "proxy";
    for (index, field) in options.schema().fields.iter().enumerate() {
        if is_proxy && field.json == "path" {
            if let ViewMut::String(path) = options.get_mut(index).view_mut() {
                *path = path_below(cx);
            }
            continue;
        }
        let values: Vec<&str> = cx.query.all(field.json).collect();
        if values.is_empty() {
            continue;
        }
        match options.get_mut(index).view_mut() {
            ViewMut::List(list) => {
                for value in values {
                    set(list.push_default(), value);
                }
            }
            _ => set(options.get_mut(index), values[0]),
        }
    }
    Some(Object::new(options))
}

fn set(field: &mut dyn Value, text: &str) {
    match field.view_mut() {
        ViewMut::String(value) => text.clone_into(value),
        ViewMut::Bool(value) => *value = text != "0" && !text.eq_ignore_ascii_case("false"),
        ViewMut::Int32(value) => *value = text.parse().unwrap_or_default(),
        ViewMut::Int64(value) => *value = text.parse().unwrap_or_default(),
        _ => {}
    }
}

/// What comes after `proxy` in the path, with a slash before it if there is anything.
fn path_below(cx: &RequestContext) -> String {
    let parts = cx.info.parts.get(3..).unwrap_or_default();
    let mut path = parts.join("/");
    if !path.is_empty() && !path.starts_with('/') {
        path.insert(0, '/');
    }
    if cx.uri.path().ends_with('/') && !path.ends_with('/') {
        path.push('/');
    }
    path
}

/// Running something in a pod needs the right to create, by whatever method it is asked for: WebSockets begin with a GET.
async fn authorize_upgrade(server: &ApiServer, cx: &RequestContext) -> Result<(), StatusError> {
    let needed = || {
        server
            .config
            .features
            .enabled("AuthorizePodWebsocketUpgradeCreatePermission")
    };
    if cx.info.verb == "create" || !needed() {
        return Ok(());
    }
    let attributes = handlers::write::creating(cx.attributes());
    match server.authorizer.authorize(&attributes).await {
        Ok(Decision::Allow(_)) => Ok(()),
        Ok(Decision::Deny(reason) | Decision::NoOpinion(reason)) => {
            let resource = GroupResource::new("", &cx.info.resource);
            Err(status::forbidden(&resource, &cx.info.name, reason))
        }
        Err(error) => Err(relay::plain_error(error.to_string())),
    }
}

async fn pod_of(server: &Arc<ApiServer>, namespace: &str, name: &str) -> Result<Pod, StatusError> {
    let found = Loopback::new(server).get::<Pod>(namespace, name).await?;
    let resource = GroupResource::new("", "pods");
    found.ok_or_else(|| status::not_found(&resource, name))
}

/// A node; what is not found is of the resource that was asked for.
async fn node_of(server: &Arc<ApiServer>, resource: &str, name: &str) -> Result<Node, StatusError> {
    let found = Loopback::new(server).get::<Node>("", name).await?;
    let resource = GroupResource::new("", resource);
    found.ok_or_else(|| status::not_found(&resource, name))
}

/// Asks another part of the control plane on this host.
pub async fn ask_local(
    server: &ApiServer,
    port: u16,
    request: http::Request<Body>,
) -> Result<http::Response<hyper::body::Incoming>, impl std::fmt::Display + use<>> {
    let target = Target {
        security: server.connector.security("https"),
        host: "127.0.0.1".to_owned(),
        found: Vec::new(),
        port,
        via: Dialer::default(),
    };
    dial::send(&target, request).await
}
