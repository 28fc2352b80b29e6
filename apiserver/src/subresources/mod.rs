//! Subresources: status and its like, scale, binding, eviction, token, and connections.
//! Upstream: the storage folders of pkg/registry.

/// Pod bindings.
pub mod binding;
/// Deletions that budgets may refuse.
mod eviction;
/// The scale of workloads.
mod scale;
/// Tokens of service accounts.
mod token;

use std::sync::Arc;

use apimachinery::status::StatusError;
use component_base::serving::{Body, Response};

use crate::connect::Upgrade;
use crate::handlers::{self, Endpoint, respond};
use crate::request::context::RequestContext;
use crate::server::ApiServer;
use crate::traces::trace;

/// Answers a request for a subresource.
pub async fn serve(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    body: Body,
    upgrade: Upgrade,
) -> Result<Response, StatusError> {
    let Some(subresource) = endpoint.subresource else {
        return Err(handlers::no_such_resource());
    };
    let verb = cx.info.verb.as_str();
    let is_proxy = subresource.name == "proxy";
    if cx.info.parts.len() > 3 && !is_proxy {
        return Err(handlers::no_such_resource());
    }
    // Proxies take any method, also those that are no verb of the API.
    if is_proxy
        || matches!(subresource.name, "log" | "exec" | "attach" | "portforward")
            && subresource.verbs.contains(&verb)
    {
        if subresource.name == "log" {
            respond::check_accept(cx, respond::LOGS)?;
            // Errors are no tables.
            respond::negotiate_plain(cx)?;
        }
        handlers::begin(server, cx, endpoint);
        return crate::connect::serve(server, cx, endpoint, body, upgrade).await;
    }
    if !subresource.verbs.contains(&verb) {
        return Err(handlers::method_not_allowed());
    }
    if endpoint.resource.custom.is_none() {
        respond::check_accept(cx, respond::OBJECTS)?;
    }
    handlers::begin(server, cx, endpoint);
    let _span = trace::of_request(cx);
    match (subresource.name, verb) {
        ("scale", _) => scale::serve(server, cx, endpoint, body).await,
        ("binding", "create") => binding::create(server, cx, endpoint, body).await,
        ("eviction", "create") => eviction::create(server, cx, endpoint, body).await,
        ("token", "create") => token::create(server, cx, endpoint, body).await,
        ("status" | "finalize" | "approval" | "ephemeralcontainers" | "resize", "get") => {
            handlers::get(cx, endpoint).await
        }
        ("status" | "finalize" | "approval" | "ephemeralcontainers" | "resize", "update") => {
            handlers::update_object(server, cx, endpoint, body).await
        }
        ("status" | "approval" | "ephemeralcontainers" | "resize", "patch") => {
            handlers::patch_object(server, cx, endpoint, body).await
        }
        _ => Err(handlers::method_not_allowed()),
    }
}
