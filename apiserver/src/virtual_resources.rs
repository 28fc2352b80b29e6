//! Resources that are answered and not stored: reviews, bindings, component statuses.

use std::sync::Arc;

use apimachinery::status::{self, StatusError};
use component_base::serving::{Body, Response};

use crate::handlers::Endpoint;
use crate::request::context::RequestContext;
use crate::server::ApiServer;

/// Answers a request for a virtual resource.
pub async fn serve(
    _server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    endpoint: &Endpoint,
    _body: Body,
) -> Result<Response, StatusError> {
    Err(status::method_not_supported(
        &endpoint.resource.group_resource(),
        &cx.info.verb,
    ))
}
