//! Requests for peers. Upstream: peerproxy/peerproxy_handler.go.

use std::sync::Arc;

use apimachinery::status::{self, StatusError};
use component_base::serving::{Body, Response};
use rand::seq::IndexedRandom as _;

use super::{PeerProxy, Peers};
use crate::aggregator::link::Link;
use crate::aggregator::{self, Aggregator, Target};
use crate::connect::Upgrade;
use crate::handlers::respond;
use crate::request::context::RequestContext;
use crate::server::ApiServer;

/// Marks what a peer has passed on already: it is answered here, whatever the answer is.
const PROXIED: &str = "x-kubernetes-peer-proxied";

impl PeerProxy {
    /// The way to peers, all of which have the same names in their certificates.
    pub(super) fn link(&self, aggregator: &Aggregator) -> Arc<Link> {
        let old = self.link.load_full();
        let link = Link::to_peers(&self.ca, aggregator.identity(), &self.via, old.as_ref());
        if old.is_none_or(|old| !Arc::ptr_eq(&old, &link)) {
            self.link.store(Some(link.clone()));
        }
        link
    }
}

impl Peers {
    /// The peers that can answer a request, where this server cannot.
    pub(crate) fn able(&self, server: &ApiServer, cx: &RequestContext) -> Vec<String> {
        let Some(proxy) = &self.proxy else {
            return Vec::new();
        };
        let info = &cx.info;
        let passed_on = cx.headers.get(PROXIED).is_some_and(|value| value == "true");
        if !info.is_resource_request || passed_on {
            return Vec::new();
        }
        let (group, version, resource) = (&info.api_group, &info.api_version, &info.resource);
        if server.resources.get(group, version, resource).is_some()
            || server.aggregator.remote_of(&info.path).is_some()
        {
            return Vec::new();
        }
        proxy.servers_of(group, version, resource)
    }
}

/// Passes a request on to one of these peers.
pub(crate) async fn serve(
    server: &ApiServer,
    cx: &RequestContext,
    able: &[String],
    body: Body,
    upgrade: Upgrade,
) -> Response {
    match pass_on(server, cx, able, body, upgrade).await {
        Ok(response) => response,
        Err(error) => respond::error(cx, error),
    }
}

async fn pass_on(
    server: &ApiServer,
    cx: &RequestContext,
    able: &[String],
    body: Body,
    upgrade: Upgrade,
) -> Result<Response, StatusError> {
    let info = &cx.info;
    let resource = [
        info.api_group.as_str(),
        info.api_version.as_str(),
        info.resource.as_str(),
    ];
    let nowhere = || {
        status::service_unavailable(
            "Error getting ip and port info of the remote server while proxying",
        )
    };
    let Some((peers, proxy)) = server
        .peers
        .as_ref()
        .and_then(|peers| Some((peers, peers.proxy.as_ref()?)))
    else {
        return Err(nowhere());
    };
    let addresses = peers.addresses().await.unwrap_or_default();
    let reachable: Vec<&(String, u16)> = able.iter().filter_map(|id| addresses.get(id)).collect();
    let Some((host, port)) = reachable.choose(&mut rand::rng()) else {
        proxy.metrics.no_endpoint(resource);
        tracing::error!(
            group = info.api_group,
            version = info.api_version,
            resource = info.resource,
            "The peers that serve a resource do not say where they are reached"
        );
        return Err(nowhere());
    };
    let link = proxy.link(&server.aggregator);
    if link.error().is_some() {
        proxy.metrics.no_transport(resource);
    }
    let target = Target {
        link: &link,
        host,
        port: *port,
        reject_redirects: false,
        mark: Some(PROXIED),
    };
    let response = aggregator::forward(server, cx, target, body, upgrade).await;
    proxy.metrics.rerouted(response.status().as_u16(), resource);
    Ok(response)
}
