//! What a request is about, read from its method, path and query alone. Upstream: apiserver/pkg/endpoints/request.
//!
//! Invariant: authorization and routing see the same `RequestInfo`, so nothing is served under a name other than the
//! one that was judged.

pub mod context;
pub mod latencies;
pub mod query;

use http::Method;
use query::Query;

/// The parts of a request's URL, as authorizers, admission and handlers use them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    pub is_resource_request: bool,
    /// The URL path as sent, percent-decoded.
    pub path: String,
    /// API verb (get, list, watch, create, update, patch, delete, deletecollection, proxy), or the lower-cased method.
    pub verb: String,
    /// `api` or `apis`.
    pub api_prefix: String,
    pub api_group: String,
    pub api_version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// The path's segments from the resource on.
    pub parts: Vec<String>,
    pub field_selector: String,
    pub label_selector: String,
    /// True for the deprecated `/api/v1/watch/...` and `/api/v1/proxy/...` forms.
    pub verb_via_path_prefix: bool,
}

/// A path that names a special verb and nothing after it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unable to determine kind and namespace from url, {0}")]
pub struct RequestInfoError(pub String);

/// Subresources of a namespace: `/namespaces/x/status` is the namespace's status, not a resource called status.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads a request's method, decoded path and query.
    pub fn parse(
        method: &Method,
        path: &str,
        query: &Query,
    ) -> Result<RequestInfo, RequestInfoError> {
        let mut info = RequestInfo {
            path: path.to_owned(),
            verb: method.as_str().to_ascii_lowercase(),
            ..RequestInfo::default()
        };
        let trimmed = path.trim_matches('/');
        let segments: Vec<&str> = if trimmed.is_empty() {
            Vec::new()
        } else {
            trimmed.split('/').collect()
        };
        let mut parts: &[&str] = &segments;
        if parts.len() < 3 || !matches!(parts[0], "api" | "apis") {
            return Ok(info);
        }
        info.api_prefix = parts[0].to_owned();
        parts = &parts[1..];
        if info.api_prefix != "api" {
            if parts.len() < 3 {
                return Ok(info);
            }
            info.api_group = parts[0].to_owned();
            parts = &parts[1..];
        }
        info.is_resource_request = true;
        info.api_version = parts[0].to_owned();
        parts = &parts[1..];

        if matches!(parts[0], "proxy" | "watch") {
            if parts.len() < 2 {
                return Err(RequestInfoError(path.to_owned()));
            }
            info.verb = parts[0].to_owned();
            info.verb_via_path_prefix = true;
            parts = &parts[1..];
        } else {
            info.verb = match *method {
                Method::POST => "create",
                Method::GET | Method::HEAD => "get",
                Method::PUT => "update",
                Method::PATCH => "patch",
                Method::DELETE => "delete",
                _ => "",
            }
            .to_owned();
        }

        if parts[0] == "namespaces" && parts.len() > 1 {
            info.namespace = parts[1].to_owned();
            if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2]) {
                parts = &parts[2..];
            }
        }
        info.parts = parts.iter().map(|part| (*part).to_owned()).collect();
        info.resource = parts[0].to_owned();
        if let Some(name) = parts.get(1) {
            info.name = (*name).to_owned();
        }
        if let Some(subresource) = parts.get(2)
            && info.verb != "proxy"
            && info.verb != "watch"
        {
            info.subresource = (*subresource).to_owned();
        }

        if info.name.is_empty() && info.verb == "get" {
            // Options that do not parse keep the request a list without a name; only `watch` is then looked at.
            info.verb = if query.bool("watch") { "watch" } else { "list" }.to_owned();
            if query.list_options_parse()
                && let Some(name) = query.first("fieldSelector").and_then(exact_name)
                && path_segment_problems(&name).is_empty()
            {
                info.name = name;
            }
        }
        if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection".to_owned();
        }
        if !info.verb_via_path_prefix
            && matches!(info.verb.as_str(), "list" | "watch" | "deletecollection")
        {
            info.field_selector = query.first("fieldSelector").unwrap_or_default().to_owned();
            info.label_selector = query.first("labelSelector").unwrap_or_default().to_owned();
        }
        Ok(info)
    }

    /// Whether the path goes through a namespace to what it is about: `/namespaces/x/pods`, and not `/namespaces/x` itself.
    pub fn is_within_namespace(&self) -> bool {
        let group = usize::from(self.api_prefix != "api");
        let before = 2 + group + usize::from(self.verb_via_path_prefix);
        let segments = self.path.trim_matches('/').split('/').count();
        self.is_resource_request && segments > before + self.parts.len()
    }

    /// `resource` or `resource/subresource`.
    pub fn resource_path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// The value a field selector pins `metadata.name` to, if it does.
fn exact_name(selector: &str) -> Option<String> {
    let selector = apimachinery::fields::Selector::parse(selector).ok()?;
    selector
        .requires_exact_match("metadata.name")
        .map(str::to_owned)
}

/// Why a name cannot be a path segment, in upstream's words; empty when it can.
pub fn path_segment_problems(name: &str) -> Vec<String> {
    match name {
        "." | ".." => return vec![format!("may not be '{name}'")],
        _ => {}
    }
    ["/", "%"]
        .iter()
        .filter(|illegal| name.contains(**illegal))
        .map(|illegal| format!("may not contain '{illegal}'"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    #[expect(clippy::too_many_arguments, reason = "a row of a table")]
    fn check(
        method: &str,
        url: &str,
        verb: &str,
        group: &str,
        version: &str,
        namespace: &str,
        resource: &str,
        subresource: &str,
        name: &str,
    ) {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let info = RequestInfo::parse(&method, path, &Query::parse(query)).unwrap();
        let got = (
            info.verb.as_str(),
            info.api_group.as_str(),
            info.api_version.as_str(),
            info.namespace.as_str(),
            info.resource.as_str(),
            info.subresource.as_str(),
            info.name.as_str(),
        );
        assert_eq!(
            got,
            (verb, group, version, namespace, resource, subresource, name),
            "{url}"
        );
        assert!(info.is_resource_request);
    }

    #[test]
    fn paths_that_go_through_a_namespace() {
        for (path, expected) in [
            ("/api/v1/namespaces/x", false),
            ("/api/v1/namespaces/x/status", false),
            ("/api/v1/watch/namespaces/x", false),
            ("/api/v1/nodes/x", false),
            ("/api/v1/namespaces/x/namespaces", true),
            ("/api/v1/namespaces/x/namespaces/x", true),
            ("/api/v1/watch/namespaces/x/pods", true),
            ("/apis/apps/v1/namespaces/x/deployments/y/scale", true),
            ("/apis/apps/v1/deployments", false),
            ("/healthz", false),
        ] {
            let info = RequestInfo::parse(&Method::GET, path, &Query::parse("")).unwrap();
            assert_eq!(info.is_within_namespace(), expected, "{path}");
        }
    }

    #[test]
    fn resource_requests_as_upstream_reads_them() {
        check(
            "GET",
            "/api/v1/namespaces",
            "list",
            "",
            "v1",
            "",
            "namespaces",
            "",
            "",
        );
        check(
            "GET",
            "/api/v1/namespaces/other",
            "get",
            "",
            "v1",
            "other",
            "namespaces",
            "",
            "other",
        );
        check(
            "GET",
            "/api/v1/namespaces/other/pods",
            "list",
            "",
            "v1",
            "other",
            "pods",
            "",
            "",
        );
        check(
            "GET",
            "/api/v1/namespaces/other/pods/foo",
            "get",
            "",
            "v1",
            "other",
            "pods",
            "",
            "foo",
        );
        check(
            "HEAD",
            "/api/v1/namespaces/other/pods/foo",
            "get",
            "",
            "v1",
            "other",
            "pods",
            "",
            "foo",
        );
        check("GET", "/api/v1/pods", "list", "", "v1", "", "pods", "", "");
        check("HEAD", "/api/v1/pods", "list", "", "v1", "", "pods", "", "");
        check(
            "GET",
            "/api/v1/namespaces/other/pods/foo/status",
            "get",
            "",
            "v1",
            "other",
            "pods",
            "status",
            "foo",
        );
        check(
            "GET",
            "/api/v1/proxy/namespaces/other/pods/foo/x",
            "proxy",
            "",
            "v1",
            "other",
            "pods",
            "",
            "foo",
        );
        check(
            "GET",
            "/api/v1/watch/pods",
            "watch",
            "",
            "v1",
            "",
            "pods",
            "",
            "",
        );
        check(
            "GET",
            "/api/v1/pods?watch=true",
            "watch",
            "",
            "v1",
            "",
            "pods",
            "",
            "",
        );
        check(
            "GET",
            "/api/v1/pods?watch=false",
            "list",
            "",
            "v1",
            "",
            "pods",
            "",
            "",
        );
        check(
            "GET",
            "/api/v1/watch/namespaces/other/pods",
            "watch",
            "",
            "v1",
            "other",
            "pods",
            "",
            "",
        );
        check(
            "GET",
            "/api/v1/namespaces/other/pods?watch=0",
            "list",
            "",
            "v1",
            "other",
            "pods",
            "",
            "",
        );
        check(
            "PUT",
            "/api/v1/namespaces/other/finalize",
            "update",
            "",
            "v1",
            "other",
            "namespaces",
            "finalize",
            "other",
        );
        check(
            "DELETE",
            "/api/v1/namespaces/other/pods",
            "deletecollection",
            "",
            "v1",
            "other",
            "pods",
            "",
            "",
        );
        check(
            "POST",
            "/apis/apps/v1/namespaces/other/deployments",
            "create",
            "apps",
            "v1",
            "other",
            "deployments",
            "",
            "",
        );
        check(
            "PATCH",
            "/apis/apps/v1/namespaces/o/deployments/d",
            "patch",
            "apps",
            "v1",
            "o",
            "deployments",
            "",
            "d",
        );
        check(
            "GET",
            "/api/v1/pods?fieldSelector=metadata.name%3Dfoo&watch=1",
            "watch",
            "",
            "v1",
            "",
            "pods",
            "",
            "foo",
        );
        check(
            "GET",
            "/api/v1/pods?fieldSelector=metadata.name%3Da%2Fb",
            "list",
            "",
            "v1",
            "",
            "pods",
            "",
            "",
        );
    }

    #[test]
    fn non_resource_requests_keep_their_method() {
        for path in [
            "/",
            "/healthz",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/other/a/b/c",
        ] {
            let info = RequestInfo::parse(&Method::GET, path, &Query::parse("")).unwrap();
            assert!(!info.is_resource_request, "{path}");
            assert_eq!(info.verb, "get");
        }
    }

    #[test]
    fn a_special_verb_needs_a_resource() {
        assert!(RequestInfo::parse(&Method::GET, "/api/v1/watch", &Query::parse("")).is_err());
    }
}
