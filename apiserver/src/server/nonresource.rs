//! Paths that are no resources: health, metrics, version, discovery, OpenAPI. Upstream: server/routes.

use std::sync::Arc;

use component_base::serving::{self, Body, Response};
use http::StatusCode;

use super::ApiServer;
use crate::handlers::respond;
use crate::request::context::RequestContext;

/// Answers a request whose path names no resource.
pub async fn serve(server: &Arc<ApiServer>, cx: &RequestContext, _body: Body) -> Response {
    let path = cx.info.path.as_str();
    for checks in [
        &server.health.healthz,
        &server.health.livez,
        &server.health.readyz,
    ] {
        if let Some(response) = checks
            .answer(path, cx.uri.query().unwrap_or_default())
            .await
        {
            return response;
        }
    }
    if let Some(response) = server.discovery.serve(server, cx) {
        return response;
    }
    match path {
        "/version" | "/version/" => {
            let mut info = component_base::version::Info::get();
            let minor = component_base::version::MINOR;
            info.emulation_major = info.major.clone();
            info.emulation_minor = minor.to_string();
            info.min_compatibility_major = info.major.clone();
            info.min_compatibility_minor = (minor - 1).to_string();
            let json = serde_json::to_vec_pretty(&info).unwrap_or_default();
            respond::bytes(StatusCode::OK, "application/json", json)
        }
        "/metrics" => respond::bytes(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            server.metrics.text(),
        ),
        "/" | "/index.html" => index(server),
        _ => serving::not_found(),
    }
}

/// The list of paths this server knows.
fn index(server: &ApiServer) -> Response {
    let mut paths = server.discovery.paths();
    paths.extend(
        [
            "/version",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openapi/v3/",
            "/healthz",
            "/livez",
            "/readyz",
        ]
        .map(str::to_owned),
    );
    paths.sort();
    let json =
        serde_json::to_vec_pretty(&serde_json::json!({ "paths": paths })).unwrap_or_default();
    respond::bytes(StatusCode::OK, "application/json", json)
}
