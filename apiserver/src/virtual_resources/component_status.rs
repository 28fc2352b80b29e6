//! Whether the other parts of the control plane are alive, as this server sees them on its own host.
//! Upstream: pkg/registry/core/componentstatus.

use std::sync::Arc;

use api_types::core::v1::{ComponentCondition, ComponentStatus, ComponentStatusList};
use apimachinery::gvk::GroupResource;
use apimachinery::status::{self, StatusError};
use component_base::serving::{Body, Response};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;

use crate::connect;
use crate::handlers::{Endpoint, encode, list, respond};
use crate::negotiation::Transform;
use crate::registry::object::Object;
use crate::request::context::RequestContext;
use crate::server::ApiServer;

const COMPONENTS: [(&str, u16); 2] = [("controller-manager", 10257), ("scheduler", 10259)];
const ETCD: &str = "etcd-0";

fn component(name: &str, failure: Option<String>) -> ComponentStatus {
    let mut component = ComponentStatus::default();
    component.metadata.name = name.to_owned();
    component.conditions.push(ComponentCondition {
        type_: "Healthy".to_owned(),
        status: if failure.is_none() { "True" } else { "False" }.to_owned(),
        message: failure.unwrap_or_else(|| "ok".to_owned()),
        ..ComponentCondition::default()
    });
    component
}

async fn check(server: &ApiServer, name: &str, port: u16) -> ComponentStatus {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = http::Uri::from_static("/healthz");
    let failure = match connect::ask_local(server, port, request).await {
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => {
            let code = answer.status().as_u16();
            let body = answer
                .into_body()
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            let text = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
            tracing::debug!(name, code, "A component is not healthy");
            Some(text)
        }
        Err(error) => Some(format!("Get \"https://127.0.0.1:{port}/healthz\": {error}")),
    };
    component(name, failure)
}

async fn check_etcd(server: &ApiServer) -> ComponentStatus {
    let checked = server
        .backend
        .health(server.config.etcd_healthcheck_timeout)
        .await;
    component(ETCD, checked.err().map(|error| error.to_string()))
}

/// GET of one or all.
pub(super) async fn serve(
    server: &Arc<ApiServer>,
    cx: &RequestContext,
    endpoint: &Endpoint,
) -> Result<Response, StatusError> {
    let media = respond::negotiate(cx)?;
    if cx.info.verb == "get" {
        let name = cx.info.name.as_str();
        let found = match COMPONENTS.iter().find(|(component, _)| *component == name) {
            Some((name, port)) => check(server, name, *port).await,
            None if name == ETCD => check_etcd(server).await,
            None => {
                let resource = GroupResource::new("", "componentstatus");
                return Err(status::not_found(&resource, name));
            }
        };
        let object = Object::from(found);
        return respond::served_object(
            cx,
            &endpoint.resource,
            media,
            StatusCode::OK,
            &object,
            None,
        );
    }
    let options = list::options_of(cx, &endpoint.resource, false)?;
    let mut list = ComponentStatusList::default();
    for (name, port) in COMPONENTS {
        list.items.push(check(server, name, port).await);
    }
    list.items.push(check_etcd(server).await);
    // They have no labels.
    list.items.retain(|component| {
        let fields = &options.field_selector;
        options.label_selector.matches_with(|_| None)
            && fields.matches(|field| {
                Some(match field {
                    "metadata.name" => component.metadata.name.as_str(),
                    _ => "",
                })
            })
    });
    if media
        .convert
        .is_some_and(|convert| convert.transform == Transform::Table)
    {
        let items: Vec<Object> = list.items.into_iter().map(Object::from).collect();
        return respond::table_of(cx, &endpoint.resource, media, &items);
    }
    Ok(respond::negotiated(
        cx,
        StatusCode::OK,
        media,
        encode::value(media, &list),
    ))
}
