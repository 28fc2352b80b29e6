//! Other API servers behind this one: an APIService with a Service says that a group version is answered there.
//! Upstream: kube-aggregator/pkg/apiserver and its controllers.
//!
//! - `registry` follows APIServices and what they refer to, and keeps the table that requests are routed by.
//! - `proxy` passes requests on; `link` has the connections, `resolve` the addresses.
//! - `availability` asks each server whether it is there and writes the condition `Available`.
//! - `discovery` and `openapi` ask for its documents, to make them parts of ours.
//!
//! Invariants: a request is passed on after authentication and authorization here, with the caller's name in headers that
//! only we can write. Nothing runs and nothing is followed as long as every APIService is answered here.

/// The condition `Available`.
mod availability;
/// What servers have.
mod discovery;
/// Connections.
pub(crate) mod link;
/// Counts of what is unavailable.
mod metrics;
/// OpenAPI documents.
mod openapi;
/// Requests.
mod proxy;
/// The table.
mod registry;
/// Addresses.
mod resolve;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api_types::apiregistration::v1::APIService;
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use component_base::metrics::Metrics;
use component_base::serving::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use parking_lot::RwLock;

use crate::config::Config;
use crate::connect;
use crate::egress::Dialer;
use crate::webhook::certificates::CertificateMetrics;
use link::{Identity, Link};
use metrics::AvailabilityMetrics;
use resolve::Backend;

pub(crate) use proxy::{Target, forward, serve};
pub(crate) use registry::start;

/// Namespace and name of a Service.
type ServiceKey = (String, String);

/// A document cannot make the server hold more than this.
const MAX_ANSWER: usize = 64 << 20;

/// What a server answered to a question of ours.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What is known of aggregated API servers.
pub struct Aggregator {
    table: ArcSwap<Vec<Arc<Remote>>>,
    /// The Services that APIServices refer to.
    backends: RwLock<HashMap<ServiceKey, Arc<Backend>>>,
    /// Names of OpenAPI documents of the third form, and the APIService whose server has each.
    documents: RwLock<HashMap<String, String>>,
    identity: ArcSwapOption<Identity>,
    identity_files: Option<(PathBuf, PathBuf)>,
    /// The way to the servers.
    via: Dialer,
    /// `--enable-aggregator-routing`
    routing: bool,
    reject_redirects: bool,
    /// Where default/kubernetes is: here.
    own_address: (String, u16),
    metrics: AvailabilityMetrics,
    certificates: CertificateMetrics,
}

/// A group version that another server answers.
pub(crate) struct Remote {
    service: Arc<APIService>,
    backend: ServiceKey,
    port: u16,
    available: bool,
    link: Arc<Link>,
}

impl Remote {
    fn name(&self) -> &str {
        &self.service.metadata.name
    }

    /// Whether requests for this path go there.
    fn answers(&self, path: &str) -> bool {
        let spec = &self.service.spec;
        let rest = if spec.group.is_empty() {
            path.strip_prefix("/api")
        } else {
            path.strip_prefix("/apis/")
                .and_then(|path| path.strip_prefix(&spec.group))
                .and_then(|path| path.strip_prefix('/'))
                .and_then(|path| path.strip_prefix(&spec.version))
        };
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path that the server has to answer.
    fn discovery_path(&self) -> String {
        let spec = &self.service.spec;
        if spec.group.is_empty() {
            format!("/api/{}", spec.version)
        } else {
            format!("/apis/{}/{}", spec.group, spec.version)
        }
    }
}

impl Aggregator {
    pub fn new(
        config: &Config,
        via: Dialer,
        metrics: &Metrics,
    ) -> Result<Aggregator, component_base::Error> {
        let flags = &config.flags;
        let files = ["proxy-client-cert-file", "proxy-client-key-file"];
        let identity_files = match files.map(|name| flags.non_empty(name)) {
            [Some(certificate), Some(key)] => Some((certificate.into(), key.into())),
            _ => None,
        };
        let bound = config.serving.bind_address;
        let host = match bound {
            std::net::IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            std::net::IpAddr::V6(ip) if ip.is_unspecified() => "::1".to_owned(),
            bound => bound.to_string(),
        };
        let aggregator = Aggregator {
            table: ArcSwap::default(),
            backends: RwLock::default(),
            documents: RwLock::default(),
            identity: ArcSwapOption::empty(),
            identity_files,
            via,
            routing: flags.bool("enable-aggregator-routing"),
            reject_redirects: flags.bool("aggregator-reject-forwarding-redirect"),
            own_address: (host, config.serving.bind_port),
            metrics: AvailabilityMetrics::new(metrics),
            certificates: CertificateMetrics::new(metrics, "kube_aggregator"),
        };
        aggregator.read_identity()?;
        Ok(aggregator)
    }

    /// Whose a path is, if it is not answered here.
    pub(crate) fn remote_of(&self, path: &str) -> Option<Arc<Remote>> {
        let table = self.table.load();
        table.iter().find(|remote| remote.answers(path)).cloned()
    }

    /// Who has an OpenAPI document of the third form, by its path.
    pub(crate) fn document_of(&self, path: &str) -> Option<Arc<Remote>> {
        let document = path.strip_prefix("/openapi/v3/")?;
        let owner = self.documents.read().get(document).cloned()?;
        self.named(&owner)
    }

    fn named(&self, name: &str) -> Option<Arc<Remote>> {
        let table = self.table.load();
        table.iter().find(|remote| remote.name() == name).cloned()
    }

    fn backend(&self, key: &ServiceKey) -> Arc<Backend> {
        self.backends.read().get(key).cloned().unwrap_or_default()
    }

    /// Where the server is dialed.
    fn resolve(&self, remote: &Remote) -> Result<(String, u16), String> {
        let (namespace, name) = &remote.backend;
        if (namespace.as_str(), name.as_str(), remote.port) == ("default", "kubernetes", 443) {
            return Ok(self.own_address.clone());
        }
        let backend = self.backend(&remote.backend);
        backend.resolve(name, remote.port, self.routing)
    }

    /// Asks the server a question of ours.
    async fn ask(&self, remote: &Remote, question: Question<'_>) -> Result<Answer, String> {
        ask(&remote.link, &self.resolve(remote)?, question).await
    }

    /// Our front-proxy certificate.
    pub(crate) fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.load_full()
    }

    /// Reads our certificate; whether it is another one than before.
    fn read_identity(&self) -> Result<bool, component_base::Error> {
        let Some((certificate, key)) = &self.identity_files else {
            return Ok(false);
        };
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| apimachinery::os_error::on_reading(path, &error))
        };
        let identity = Identity {
            certificate: read(certificate)?,
            key: read(key)?,
        };
        if self.identity.load().as_deref() == Some(&identity) {
            return Ok(false);
        }
        client::config::key_pair(&identity.certificate, &identity.key)?;
        self.identity.store(Some(Arc::new(identity)));
        Ok(true)
    }
}

/// As whom we ask.
pub(crate) struct Asker<'a> {
    pub(crate) user: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) groups: &'a [String],
}

/// What a server is asked by this one, for itself.
pub(crate) struct Question<'a> {
    pub(crate) path: &'a str,
    pub(crate) asker: Asker<'a>,
    pub(crate) accept: &'static str,
    pub(crate) etag: Option<&'a HeaderValue>,
    pub(crate) timeout: Duration,
}

impl<'a> Asker<'a> {
    fn named(user: &'a str) -> Asker<'a> {
        Asker {
            user,
            uid: "",
            groups: &[],
        }
    }
}

impl<'a> Question<'a> {
    /// What is answered in JSON, as a user without groups.
    fn json(path: &'a str, user: &'a str, timeout: Duration) -> Question<'a> {
        Question {
            path,
            asker: Asker::named(user),
            accept: "application/json",
            etag: None,
            timeout,
        }
    }
}

/// Asks the server at this host and port.
pub(crate) async fn ask(
    link: &Link,
    (host, port): &(String, u16),
    question: Question<'_>,
) -> Result<Answer, String> {
    let Question {
        path,
        asker,
        accept,
        etag,
        timeout,
    } = question;
    let mut request = Request::get(path)
        .body(Body::empty())
        .map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    if let Some(etag) = etag {
        headers.insert(header::IF_NONE_MATCH, etag.clone());
    }
    set_user_headers(headers, asker.user, asker.uid, asker.groups, [])
        .map_err(|error| error.to_string())?;
    let authority = connect::authority(host, *port);
    let asked = async {
        let answer = link.send(&authority, request).await;
        let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
        let body = Body::wrap(body).collect(MAX_ANSWER).await;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.map_err(|error| error.to_string())?,
        })
    };
    tokio::time::timeout(timeout, asked)
        .await
        .unwrap_or_else(|_| Err("request timed out".to_owned()))
}

/// Says to an aggregated server for whom a request is; what the headers said before does not count.
fn set_user_headers<'a>(
    headers: &mut HeaderMap,
    name: &str,
    uid: &str,
    groups: impl IntoIterator<Item = &'a String>,
    extra: impl IntoIterator<Item = (&'a String, &'a Vec<String>)>,
) -> Result<(), http::Error> {
    component_base::auth::request_header::clear_authentication_headers(headers, None);
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes());
    headers.insert("x-remote-user", value(name)?);
    if !uid.is_empty() {
        headers.insert("x-remote-uid", value(uid)?);
    }
    for group in groups {
        headers.append("x-remote-group", value(group)?);
    }
    for (key, values) in extra {
        let name = format!("x-remote-extra-{}", escaped(key));
        let name = HeaderName::try_from(name)?;
        for text in values {
            headers.append(&name, value(text)?);
        }
    }
    Ok(())
}

/// A key of `extra` as a part of a header's name.
fn escaped(key: &str) -> String {
    let mut out = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Waits between failures that double.
struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff {
            first,
            longest,
            next: first,
        }
    }

    fn reset(&mut self) {
        self.next = self.first;
    }

    fn failed(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        wait
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_clients_own_user_headers_do_not_count() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("root"));
        headers.insert("x-remote-group", HeaderValue::from_static("system:masters"));
        headers.insert("x-remote-extra-a", HeaderValue::from_static("1"));
        headers.insert("accept", HeaderValue::from_static("*/*"));
        let extra = BTreeMap::from([("example.org/Scopes".to_owned(), vec!["x".to_owned()])]);
        set_user_headers(&mut headers, "jane", "", &["a".to_owned()], &extra).unwrap();
        let mut found: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                ("accept", "*/*"),
                ("x-remote-extra-example.org%2fscopes", "x"),
                ("x-remote-group", "a"),
                ("x-remote-user", "jane"),
            ]
        );
    }

    #[test]
    fn paths_belong_to_whole_group_versions() {
        let remote = |group: &str, version: &str| {
            let mut service = APIService::default();
            service.spec.group = group.to_owned();
            service.spec.version = version.to_owned();
            let reference = api_types::apiregistration::v1::ServiceReference::default();
            Remote {
                link: Link::new(&service, &reference, None, &Dialer::default(), None),
                service: Arc::new(service),
                backend: ServiceKey::default(),
                port: 443,
                available: true,
            }
        };
        let wardle = remote("wardle.example.com", "v1alpha1");
        for path in [
            "/apis/wardle.example.com/v1alpha1",
            "/apis/wardle.example.com/v1alpha1/flunders/a",
        ] {
            assert!(wardle.answers(path), "{path}");
        }
        for path in [
            "/apis/wardle.example.com",
            "/apis/wardle.example.com/v1",
            "/apis/wardle.example.com/v1alpha11/flunders",
            "/api/wardle.example.com/v1alpha1",
            "//apis/wardle.example.com/v1alpha1",
        ] {
            assert!(!wardle.answers(path), "{path}");
        }
        assert!(remote("", "v1").answers("/api/v1/pods"));
        assert!(!remote("", "v1").answers("/apis"));
    }
}
