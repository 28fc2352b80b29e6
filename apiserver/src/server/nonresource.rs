//! Paths that are no resources: health, metrics, version, discovery, OpenAPI. Upstream: server/routes.

use std::sync::Arc;

use apimachinery::status;
use component_base::serving::{self, Body, Response};
use http::{HeaderValue, StatusCode, header};

use super::health::CRDS_HOOK;
use super::{ApiServer, pages};
use crate::aggregator;
use crate::authn::jwks;
use crate::flowcontrol::dump;
use crate::handlers::{self, respond};
use crate::request::context::RequestContext;
use crate::request_metrics::{self, Labels};

/// Answers a request whose path names no resource.
pub async fn serve(server: &Arc<ApiServer>, cx: &RequestContext, body: Body) -> Response {
    let path = cx.info.path.as_str();
    if let Some(labels) = counted(server, path) {
        server.request_metrics.begin(cx, &labels, true);
    }
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
    if let Some(available) = routed(server, path)
        && let Err(error) = respond::check_accept(cx, available)
    {
        return respond::error(cx, error);
    }
    // Routes take GET; the lists of groups, what custom resources have, and what else is no route, take anything.
    let is_route = is_route(server, path);
    let discovery = server.discovery.serve(server, cx);
    let found = discovery.is_some() || routed(server, path).is_some();
    if found && is_route && cx.method != http::Method::GET {
        return respond::error(cx, handlers::method_not_allowed());
    }
    if let Some(response) = discovery {
        return response;
    }
    // Documents of the third form that aggregated servers have.
    if let Some(remote) = server.aggregator.document_of(path) {
        return aggregator::serve(server, cx, &remote, body, None).await;
    }
    if let Some(flow) = server.flow_control()
        && let Some(text) = dump::serve(flow, path, &cx.query)
    {
        return respond::bytes(StatusCode::OK, "text/plain; charset=utf-8", text);
    }
    if is_route && path.starts_with("/api") {
        return respond::error(cx, handlers::no_such_resource());
    }
    let request = match server.pages.answer(pages::request(cx, body)).await {
        Ok(response) => return response,
        Err(request) => request,
    };
    // As routers do, whether a slash ends the path or not.
    let path = match path.strip_suffix('/') {
        Some(shorter) if is_route && !shorter.is_empty() => shorter,
        _ => path,
    };
    let page = PAGES.iter().find(|(known, _)| *known == path);
    match page.map(|(_, page)| page) {
        Some(Page::Version) => version(),
        Some(Page::Metrics) => server.metrics.handle(&request),
        Some(Page::Issuer) => issuer_document(server, path),
        Some(Page::Index) => index(server),
        None => not_found(server, cx),
    }
}

/// Nothing is at a path, or not yet: CustomResourceDefinitions that are not read may add it, and clients that are told that there
/// is nothing could act on it. Upstream: util/notfoundhandler.
pub(super) fn not_found(server: &ApiServer, cx: &RequestContext) -> Response {
    if server.health.is_hook_done(CRDS_HOOK) {
        return serving::not_found();
    }
    let text = "the request has been made before all known HTTP paths have been installed, please try again";
    respond::error(cx, status::service_unavailable(text).with_retry_after(5))
}

/// What the requests for a page are counted as. Single health checks are not counted.
fn counted(server: &ApiServer, path: &str) -> Option<Labels<'static>> {
    let page = |resource, subresource| Some(Labels::of_page(resource, subresource, ""));
    match path {
        "/healthz" => page("", "/healthz"),
        "/livez" => page("", "/livez"),
        "/readyz" => page("", "/readyz"),
        "/openapi/v3" => page("", "openapi/v3"),
        _ if path.starts_with("/openapi/v3/") => page("", "openapi/v3/"),
        _ => {
            let mut pages = server.pages.paths();
            let resource = match pages.find(|page| *page == path)? {
                pages::FLAGZ => "flagz",
                pages::STATUSZ => "statusz",
                _ => return None,
            };
            Some(Labels::of_page(resource, "", request_metrics::API_SERVER))
        }
    }
}

/// Whether a path belongs to a router: what it does not know is answered with a Status.
fn is_route(server: &ApiServer, path: &str) -> bool {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api", ..] | ["version"] | ["openid", "v1", "jwks"] => true,
        [".well-known", "openid-configuration"] => true,
        ["apis", group, _] => server.resources.is_built_in(group),
        _ => false,
    }
}

/// What documents behind a router can be had in; None for paths without one.
fn routed(server: &ApiServer, path: &str) -> Option<&'static [&'static str]> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["version"] | [".well-known", "openid-configuration"] => Some(&["application/json"]),
        ["openid", "v1", "jwks"] => Some(&["application/jwk-set+json"]),
        ["api"] | ["api", "v1"] => Some(respond::OBJECTS),
        ["apis", group, version] => {
            let mut rows = server.resources.built_in().iter();
            rows.any(|row| (row.info.group, row.info.version) == (*group, *version))
                .then_some(respond::OBJECTS)
        }
        _ => None,
    }
}

/// What is at a path that is neither about health nor discovery.
#[derive(Clone, Copy)]
enum Page {
    Version,
    Metrics,
    Issuer,
    Index,
}

const PAGES: [(&str, Page); 6] = [
    ("/version", Page::Version),
    ("/metrics", Page::Metrics),
    ("/.well-known/openid-configuration", Page::Issuer),
    ("/openid/v1/jwks", Page::Issuer),
    ("/", Page::Index),
    ("/index.html", Page::Index),
];

/// Every path that [`serve`] has something at, but for those of aggregated servers.
pub fn paths(server: &ApiServer) -> Vec<String> {
    let mut paths = server.discovery.paths();
    paths.extend(PAGES.map(|(path, _)| path.to_owned()));
    paths.extend(OPEN_API.map(str::to_owned));
    paths.extend(dump::paths());
    paths.extend(server.pages.paths().map(str::to_owned));
    paths.extend(DEBUG.map(str::to_owned));
    paths.extend(health_paths(server));
    paths
}

const DEBUG: [&str; 3] = ["/debug/flags", "/debug/flags/v", "/debug/pprof/"];
const OPEN_API: [&str; 3] = ["/openapi/v2", "/openapi/v3", "/openapi/v3/"];

fn version() -> Response {
    let mut info = component_base::version::Info::get();
    let minor = component_base::version::MINOR;
    info.emulation_major = info.major.clone();
    info.emulation_minor = minor.to_string();
    info.min_compatibility_major = info.major.clone();
    info.min_compatibility_minor = (minor - 1).to_string();
    let json = serde_json::to_vec_pretty(&info).unwrap_or_default();
    respond::bytes(StatusCode::OK, "application/json", json)
}

/// What others need to check tokens of service accounts.
fn issuer_document(server: &ApiServer, path: &str) -> Response {
    let tokens = &server.tokens;
    let Some(issuer) = tokens.issuer.as_ref().filter(|_| tokens.discovery) else {
        return serving::not_found();
    };
    let Some((keys, max_age)) = issuer.published_keys() else {
        return serving::not_found();
    };
    let (document, content_type) = if path == "/openid/v1/jwks" {
        (jwks(&keys), "application/jwk-set+json")
    } else {
        let uri = match server.config.flags.non_empty("service-account-jwks-uri") {
            Some(uri) => uri.to_owned(),
            None => {
                let authority = server.config.external_authority();
                format!("https://{authority}/openid/v1/jwks")
            }
        };
        (issuer.openid_configuration(&keys, &uri), "application/json")
    };
    let mut response = respond::bytes(StatusCode::OK, content_type, document);
    if let Ok(value) = HeaderValue::try_from(format!("public, max-age={max_age}")) {
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    response
}

/// The list of paths this server tells of. Debug pages are not among them.
fn index(server: &ApiServer) -> Response {
    let mut paths = server.discovery.paths();
    paths.extend(OPEN_API.map(str::to_owned));
    paths.extend(["/version", "/metrics"].map(str::to_owned));
    paths.extend(server.pages.paths().map(str::to_owned));
    let documents = ["/.well-known/openid-configuration", "/openid/v1/jwks"];
    if issuer_document(server, documents[0]).status() == StatusCode::OK {
        paths.extend(documents.map(str::to_owned));
    }
    paths.extend(health_paths(server));
    paths.sort();
    let json =
        serde_json::to_vec_pretty(&serde_json::json!({ "paths": paths })).unwrap_or_default();
    respond::bytes(StatusCode::OK, "application/json", json)
}

fn health_paths(server: &ApiServer) -> impl Iterator<Item = String> {
    let health = &server.health;
    let checks = [&health.healthz, &health.livez, &health.readyz];
    checks.into_iter().flat_map(|checks| checks.paths())
}
