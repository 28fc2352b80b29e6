//! What travels with a request through the filters into its handler.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use component_base::auth::{Attributes, Notes, UserInfo};
use component_base::serving::ConnectionInfo;
use http::{HeaderMap, Method, Uri};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::RequestInfo;
use super::latencies::Latencies;
use super::query::Query;
use crate::audit::Record;
use crate::flowcontrol::Place;
use crate::request_metrics::Measured;
use crate::server::httplog::Details;
use crate::traces::trace::Trace;

/// A request without its body.
#[derive(Clone, Debug)]
pub struct RequestContext {
    pub method: Method,
    pub uri: Uri,
    /// Decoded path and API facts.
    pub info: RequestInfo,
    pub query: Query,
    pub headers: HeaderMap,
    /// The caller, after impersonation.
    pub user: UserInfo,
    /// `Audit-Id` of request and response.
    pub audit_id: String,
    pub warnings: Warnings,
    pub annotations: AuditAnnotations,
    /// What is noted of the request, if anything is.
    pub audit: Option<Arc<Record>>,
    pub received: Instant,
    /// When the request is answered with a timeout; None for watches and connects.
    pub deadline: Option<Instant>,
    pub connection: Arc<ConnectionInfo>,
    /// The seats that flow control gave it.
    pub place: Place,
    /// How the request is counted once it has a route.
    pub measured: Measured,
    /// Where it is noted what the request does, if anybody wants to know.
    pub trace: Option<Arc<Trace>>,
    /// What its line in the log is to say, if there is one.
    pub line: Option<Arc<Details>>,
}

impl RequestContext {
    /// What an authorizer is asked about this request.
    pub fn attributes(&self) -> Attributes {
        let info = &self.info;
        Attributes {
            user: self.user.clone(),
            verb: info.verb.clone(),
            namespace: info.namespace.clone(),
            api_group: info.api_group.clone(),
            api_version: info.api_version.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            name: info.name.clone(),
            resource_request: info.is_resource_request,
            path: info.path.clone(),
            ..Attributes::default()
        }
        .with_selectors(&info.field_selector, &info.label_selector)
    }

    /// What is kept by a task that goes on with the request after its answer: only then it is at its end.
    pub fn until_the_end(&self) -> impl Send + Sync + 'static {
        (self.audit.clone(), self.measured.get().cloned())
    }

    /// Tells the audit log and the caller what there is to say of a credential.
    pub fn note(&self, notes: Notes) {
        for (key, value) in notes.annotations {
            self.annotations.add(key, value);
        }
        for warning in notes.warnings {
            self.warnings.add(warning);
        }
    }

    pub fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub fn user_agent(&self) -> &str {
        self.header(http::header::USER_AGENT)
    }

    /// The field manager of a write: the option, or the start of the User-Agent.
    pub fn field_manager(&self, option: &str) -> String {
        const MAX: usize = apimachinery::validation::FIELD_MANAGER_MAX_LENGTH;
        if !option.is_empty() {
            return option.to_owned();
        }
        let mut manager = String::new();
        for c in self
            .user_agent()
            .split('/')
            .next()
            .unwrap_or_default()
            .chars()
            .filter(|c| apimachinery::quote::is_print(*c))
        {
            if manager.len() + c.len_utf8() > MAX {
                break;
            }
            manager.push(c);
        }
        manager
    }
}

/// What admission notes about a request for the audit log. Upstream: audit.AddAuditAnnotation and admission/audit.go.
#[derive(Clone, Debug, Default)]
pub struct AuditAnnotations(Arc<Noted>);

#[derive(Debug, Default)]
struct Noted {
    annotations: Mutex<BTreeMap<String, AuditAnnotation>>,
    latencies: Latencies,
}

/// The value of an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditAnnotation {
    pub value: String,
    /// It shows parts of the request: it belongs into logs of level Request and above only.
    pub of_request: bool,
}

impl AuditAnnotations {
    /// Adds an annotation for every log. Its key is `name/key`; what is noted once stays.
    pub fn add(&self, key: impl Into<String>, value: impl Into<String>) {
        self.insert(key.into(), value.into(), false);
    }

    /// Adds an annotation that shows parts of the request.
    pub fn add_of_request(&self, key: impl Into<String>, value: impl Into<String>) {
        self.insert(key.into(), value.into(), true);
    }

    fn insert(&self, key: String, value: String, of_request: bool) {
        if key.matches('/').count() != 1 {
            tracing::warn!(key, "An audit annotation has no valid key");
            return;
        }
        let annotation = AuditAnnotation { value, of_request };
        match self.0.annotations.lock().entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(annotation);
            }
            Entry::Occupied(entry) if *entry.get() != annotation => {
                tracing::warn!(
                    key = entry.key(),
                    "An audit annotation cannot be overwritten"
                );
            }
            Entry::Occupied(_) => {}
        }
    }

    /// What parts of the request's way took, which the log tells of slow ones.
    pub fn latencies(&self) -> &Latencies {
        &self.0.latencies
    }

    /// A look at all of them.
    pub fn with<T>(&self, look: impl FnOnce(&BTreeMap<String, AuditAnnotation>) -> T) -> T {
        look(&self.0.annotations.lock())
    }

    /// All of them as they are now.
    pub fn all(&self) -> BTreeMap<String, AuditAnnotation> {
        self.0.annotations.lock().clone()
    }
}

/// Collects the `Warning` headers of a response. Upstream: endpoints/filters/warning.go.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

/// Beyond this many characters in all, each warning is cut.
const TRUNCATE_TOTAL: usize = 4 * 1024;
const TRUNCATE_ITEM: usize = 256;

impl Warnings {
    /// Adds a warning once.
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.0.lock();
        if !text.is_empty() && !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Whether nothing was warned about.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// The header values, shortened when there is too much.
    pub fn headers(&self) -> Vec<String> {
        let warnings = self.0.lock();
        let total: usize = warnings.iter().map(|text| text.chars().count()).sum();
        let mut written = 0;
        let mut headers = Vec::with_capacity(warnings.len());
        for text in warnings.iter() {
            let text: String = if total > TRUNCATE_TOTAL {
                text.chars().take(TRUNCATE_ITEM).collect()
            } else {
                text.clone()
            };
            if total > TRUNCATE_TOTAL && written >= TRUNCATE_TOTAL {
                break;
            }
            // Control characters cannot be sent; upstream drops the warning, as they make no valid header.
            if text.chars().any(|c| c.is_control()) {
                continue;
            }
            written += text.chars().count();
            headers.push(format!(
                "299 - \"{}\"",
                text.replace('\\', "\\\\").replace('"', "\\\"")
            ));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_said_once() {
        let warnings = Warnings::default();
        warnings.add("unknown field \"spec.x\"");
        warnings.add("unknown field \"spec.x\"");
        warnings.add("");
        assert_eq!(
            warnings.headers(),
            ["299 - \"unknown field \\\"spec.x\\\"\""]
        );
    }

    #[test]
    fn many_warnings_are_cut() {
        let warnings = Warnings::default();
        for i in 0..40 {
            warnings.add(format!("{i}{}", "x".repeat(500)));
        }
        let headers = warnings.headers();
        assert!(headers.len() <= 17, "{}", headers.len());
        assert!(
            headers
                .iter()
                .all(|header| header.len() <= TRUNCATE_ITEM + 10)
        );
    }
}
