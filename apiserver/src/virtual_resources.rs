//! Resources that are answered and not stored: reviews, bindings, component statuses.
//! Upstream: pkg/registry/{authentication,authorization} and core/{componentstatus,pod}.

/// May somebody do something?
pub(crate) mod access;
/// Liveness of the control plane's parts.
mod component_status;
/// Who is this?
mod identity;

use std::sync::Arc;

use apimachinery::status::StatusError;
use component_base::serving::{Body, Response};
use http::StatusCode;

use crate::handlers::{Endpoint, post, respond};
use crate::request::context::RequestContext;
use crate::server::ApiServer;

/// Answers a request for a virtual resource.
pub async fn serve(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    body: Body,
) -> Result<Response, StatusError> {
    match endpoint.resource.info.resource {
        "bindings" => {
            return crate::subresources::binding::create(server, cx, endpoint, body).await;
        }
        "componentstatuses" => return component_status::serve(server, cx, endpoint).await,
        _ => {}
    }
    let posted = post::read(cx, endpoint, body).await?;
    let (mut object, attributes) = post::admit(server, cx, endpoint, &posted).await?;
    access::validate(cx, &object)?;
    identity::validate(&object)?;
    post::validate(server, attributes, &object).await?;
    match endpoint.resource.info.resource {
        "tokenreviews" => identity::review_token(server, &mut object).await?,
        "selfsubjectreviews" => identity::review_self(cx, &mut object),
        "selfsubjectrulesreviews" => access::review_rules(server, cx, &mut object)?,
        _ => access::review(server, cx, &mut object).await?,
    }
    respond::served_object(
        cx,
        &endpoint.resource,
        posted.media,
        StatusCode::CREATED,
        &object,
        None,
    )
}
