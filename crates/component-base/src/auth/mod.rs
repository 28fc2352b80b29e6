//! Who is asking and whether they may: the types every server of this project shares, and the delegated
//! implementations that ask the apiserver. Upstream: k8s.io/apiserver/pkg/authentication and pkg/authorization.

mod certificate_detail;
pub mod combine;
pub mod delegated;
pub mod expiring_cache;
pub mod filter;
pub mod request_header;
pub mod token;
pub mod x509;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use apimachinery::{fields, labels};

pub(crate) use certificate_detail::certificate_detail;

/// An authenticated (or anonymous) caller. Upstream: authentication/user.Info.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The group every authenticated caller is in.
pub const ALL_AUTHENTICATED: &str = "system:authenticated";
/// The group of anonymous callers.
pub const ALL_UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of anonymous callers.
pub const ANONYMOUS: &str = "system:anonymous";
/// Members of this group pass every authorization check.
pub const SYSTEM_PRIVILEGED_GROUP: &str = "system:masters";
/// The group of kubelets.
pub const NODES_GROUP: &str = "system:nodes";

/// What a caller wants to do. Upstream: authorization/authorizer.Attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub user: UserInfo,
    /// get, list, watch, create, update, patch, delete, deletecollection, proxy, or the lower-cased HTTP method of a non-resource request.
    pub verb: String,
    pub namespace: String,
    pub api_group: String,
    pub api_version: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// True for requests on /api and /apis resources; false means only `verb` and `path` count.
    pub resource_request: bool,
    pub path: String,
    /// Requirements of the field selector of list, watch and deletecollection.
    pub field_selector: Vec<fields::Requirement>,
    /// Requirements of the label selector of list, watch and deletecollection.
    pub label_selector: Vec<labels::Requirement>,
}

impl Attributes {
    /// With the requirements of selectors. One that cannot be read is left out: what is asked is then more, never less.
    #[must_use]
    pub fn with_selectors(mut self, fields: &str, labels: &str) -> Self {
        if !fields.is_empty() {
            let selector = fields::Selector::parse(fields);
            self.field_selector = selector.map_or_else(|_| Vec::new(), |s| s.requirements().into());
        }
        if !labels.is_empty() {
            let selector = labels::Selector::parse(labels);
            self.label_selector = selector.map_or_else(|_| Vec::new(), |s| s.requirements().into());
        }
        self
    }
}

/// An authorizer's verdict, with its reason, which may be empty. Verdicts are not errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow(String),
    /// Refused for good: authorizers after this one are not asked.
    Deny(String),
    /// This authorizer does not know; the next one is asked. The text tells why and may be shown to the caller.
    NoOpinion(String),
}

impl Decision {
    /// Allowed without a word.
    pub fn allow() -> Self {
        Self::Allow(String::new())
    }

    /// Knows nothing and says nothing.
    pub fn no_opinion() -> Self {
        Self::NoOpinion(String::new())
    }

    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// A boxed future, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Decides whether a request may go on.
pub trait Authorizer: Send + Sync {
    fn authorize<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>>;
}

/// The authorizer could not decide. When no other allows, the caller answers 500, as upstream does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AuthorizeError {
    pub message: String,
    /// What was said of the request in spite of the error.
    pub reason: String,
    /// Refused for good, as by [`Decision::Deny`]: authorizers after this one are not asked.
    pub denied: bool,
}

impl AuthorizeError {
    /// The next authorizer is asked.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            reason: String::new(),
            denied: false,
        }
    }

    /// The request is refused for good.
    pub fn denied(message: impl Into<String>) -> Self {
        Self {
            denied: true,
            ..Self::new(message)
        }
    }
}

/// Finds out who a request is from. `None` means: no credential that this authenticator knows.
/// `Err` means: a credential was there and is not valid; the caller answers 401.
pub trait Authenticator: Send + Sync {
    fn authenticate<'a>(
        &'a self,
        request: &'a Credentials,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>>;
}

/// What a request carries that can prove an identity.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// DER certificates that the TLS client has proven possession of, leaf first; not yet checked against any CA.
    pub peer_certificates: std::sync::Arc<[Vec<u8>]>,
    /// All request headers.
    pub headers: http::HeaderMap,
    /// The request path, without the query.
    pub path: String,
    /// What the caller is warned of, whoever it turns out to be.
    pub warnings: std::sync::Arc<parking_lot::Mutex<Vec<String>>>,
}

/// A caller, and the audiences of the credential that are among those asked for (empty: not audience bound).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authenticated {
    pub user: UserInfo,
    pub audiences: Vec<String>,
    pub notes: Notes,
}

/// What an authenticator has to say of a credential that is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Keys and values for the audit log.
    pub annotations: Vec<(&'static str, String)>,
    /// What the caller is warned of.
    pub warnings: Vec<String>,
}

/// Why a credential is not valid; for logs, callers only see "Unauthorized".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AuthenticateError(pub String);
