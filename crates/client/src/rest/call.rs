//! One request before it is sent: method, path, query, headers, body, and what it is about.

use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What may not stand in a path segment as it is. As Go's `url.PathEscape`, plus characters no name has.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b';')
    .add(b',');

/// What a request is about; used in the texts of errors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub group: String,
    pub resource: String,
    pub name: String,
}

/// A request that can be sent any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub method: Method,
    /// Begins with a slash; the server's prefix is not part of it.
    pub path: String,
    pub query: Vec<(&'static str, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub target: Target,
}

impl Call {
    pub(crate) fn new(method: Method, path: String, target: Target) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            target,
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    pub(crate) fn body(mut self, content_type: &'static str, body: Vec<u8>) -> Self {
        self.body = Bytes::from(body);
        self.header(http::header::CONTENT_TYPE, content_type)
    }

    /// Adds a parameter unless it is empty.
    pub(crate) fn query(&mut self, name: &'static str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.query.push((name, value));
        }
    }

    pub(crate) fn path_and_query(&self) -> String {
        if self.query.is_empty() {
            return self.path.clone();
        }
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(
                self.query
                    .iter()
                    .map(|(name, value)| (name, value.as_str())),
            )
            .finish();
        format!("{}?{query}", self.path)
    }
}

/// `/apis/<group>/<version>/namespaces/<namespace>/<resource>/<name>/<subresource>`; empty parts are left out.
pub(crate) fn resource_path(
    group: &str,
    version: &str,
    namespace: Option<&str>,
    resource: &str,
    name: &str,
    subresource: &str,
) -> String {
    let mut path = if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    };
    let mut push = |segment: &str| {
        path.push('/');
        path.extend(utf8_percent_encode(segment, SEGMENT));
    };
    if let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) {
        push("namespaces");
        push(namespace);
    }
    push(resource);
    if !name.is_empty() {
        push(name);
    }
    // A subresource may be a path itself, e.g. `proxy/metrics`.
    for part in subresource.split('/').filter(|part| !part.is_empty()) {
        push(part);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (found, expected) in [
            (
                resource_path("", "v1", Some("ns"), "pods", "a", "status"),
                "/api/v1/namespaces/ns/pods/a/status",
            ),
            (
                resource_path("", "v1", None, "nodes", "n", "proxy/metrics/"),
                "/api/v1/nodes/n/proxy/metrics",
            ),
            (
                resource_path("apps", "v1", Some(""), "deployments", "", ""),
                "/apis/apps/v1/deployments",
            ),
            (
                resource_path(
                    "rbac.authorization.k8s.io",
                    "v1",
                    None,
                    "clusterroles",
                    "system:node/a b%",
                    "",
                ),
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node%2Fa%20b%25",
            ),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn empty_parameters_are_left_out() {
        let mut call = Call::new(Method::GET, "/api/v1/pods".into(), Target::default());
        call.query("labelSelector", "a=b,c in (d)");
        call.query("fieldSelector", "");
        assert_eq!(
            call.path_and_query(),
            "/api/v1/pods?labelSelector=a%3Db%2Cc+in+%28d%29"
        );
    }
}
