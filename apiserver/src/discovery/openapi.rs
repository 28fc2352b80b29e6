//! OpenAPI documents of the served resources, made from the schema tables. Upstream: kube-openapi.

use aws_lc_rs::digest;
use component_base::serving::Response;

use crate::registry::table::Resources;
use crate::request::context::RequestContext;

/// The documents.
pub struct OpenApi {}

impl OpenApi {
    pub fn new(_resources: &Resources) -> OpenApi {
        OpenApi {}
    }

    pub fn serve(&self, _cx: &RequestContext) -> Option<Response> {
        None
    }
}

/// Upper-case hexadecimal SHA-512.
pub fn sha512_hex(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA512, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}
