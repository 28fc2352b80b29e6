//! Resources that are answered and not stored: reviews, bindings, component statuses.
//! Upstream: pkg/registry/{authentication,authorization} and core/{componentstatus,pod}.

/// May somebody do something?
pub(crate) mod access;
/// Liveness of the control plane's parts.
mod component_status;
/// Who is this?
mod identity;

use std::sync::Arc;

use apimachinery::field::{self, ErrorList, Path};
use apimachinery::status::{self, StatusError};
use component_base::serving::{Body, Response};
use http::StatusCode;

use crate::handlers::{Endpoint, post, respond};
use crate::registry::object::Object;
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
    check_metadata(endpoint, &object)?;
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

/// Access reviews have no metadata of their own.
fn check_metadata(endpoint: &Endpoint, object: &Object) -> Result<(), StatusError> {
    if endpoint.resource.info.group != "authorization.k8s.io"
        || endpoint.resource.info.resource == "selfsubjectrulesreviews"
    {
        return Ok(());
    }
    let mut metadata = object.metadata().clone();
    metadata.managed_fields.clear();
    if endpoint.resource.info.namespaced {
        metadata.namespace.clear();
    }
    if metadata == api_types::meta::v1::ObjectMeta::default() {
        return Ok(());
    }
    let shown = apimachinery::field::BadValue::of(object.metadata());
    refuse(
        endpoint,
        &field::invalid(&Path::new("metadata"), shown, "must be empty").into(),
    )
}

/// Upstream's refusals of access reviews name no kind.
fn refuse(endpoint: &Endpoint, errors: &ErrorList) -> Result<(), StatusError> {
    if errors.is_empty() {
        return Ok(());
    }
    let kind = apimachinery::gvk::GroupKind {
        group: endpoint.resource.info.group.to_owned(),
        kind: String::new(),
    };
    Err(status::invalid(&kind, "", errors))
}
