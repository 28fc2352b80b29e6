//! What callers ask of storage: resource configuration, selection, and the options of each operation.
//! Upstream: storage/interfaces.go, storage/selection_predicate.go.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::storage::entry::{Entry, Header, HeaderError, Object};
use crate::storage::transformer::{Identity, Transformer};

/// Reads the header out of the stored (already decrypted) bytes of one object. Called with the etcd key and the value.
/// An error marks the stored value as corrupt: reads that touch it fail, everything else goes on.
pub type HeaderParser = Arc<dyn Fn(&str, &[u8]) -> Result<Header, HeaderError> + Send + Sync>;

/// How one resource is stored. One per key space: resources that share keys (events, autoscaling versions) share it.
#[derive(Clone)]
pub struct ResourceConfig {
    /// API group for metrics and errors, "" for core.
    pub group: String,
    /// Plural resource name for metrics and errors, e.g. "pods".
    pub resource: String,
    /// Key prefix below `--etcd-prefix`, with no slash at either end: "pods", "services/specs",
    /// "apiextensions.k8s.io/customresourcedefinitions".
    pub prefix: String,
    /// Whether keys are `<prefix>/<namespace>/<name>` or `<prefix>/<name>`.
    pub namespaced: bool,
    /// Reads the header of a stored value.
    pub header: HeaderParser,
    /// The one field watchers and lists are indexed by besides namespace and name, e.g. "spec.nodeName" for pods.
    /// It must be among the fields the header parser fills in.
    pub index_field: Option<&'static str>,
    /// Serve lists and watches from memory. Off for objects nobody watches (range allocations, masterleases).
    pub watch_cache: bool,
    /// Tell in metrics how many there are.
    pub counted: bool,
    /// Answer as etcd does though there is a cache, for what upstream does not cache (events): reads of a version are reads
    /// of etcd, and continue tokens have etcd's form.
    pub as_etcd: bool,
    /// Encryption at rest.
    pub transformer: Arc<dyn Transformer>,
}

impl ResourceConfig {
    /// A cached, unencrypted resource.
    pub fn new(
        group: &str,
        resource: &str,
        prefix: &str,
        namespaced: bool,
        header: HeaderParser,
    ) -> Self {
        Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            prefix: prefix.to_owned(),
            namespaced,
            header,
            index_field: None,
            watch_cache: true,
            counted: true,
            as_etcd: false,
            transformer: Arc::new(Identity),
        }
    }
}

/// Label and field selection over headers.
pub trait Predicate: Send + Sync {
    /// Whether the object is selected.
    fn matches(&self, entry: &Entry) -> bool;

    /// Whether everything is selected. Only then a page tells how many items remain, as upstream.
    fn is_everything(&self) -> bool {
        false
    }

    /// The value the predicate requires of `field` ("metadata.namespace", "metadata.name", or the resource's
    /// index field), when it selects nothing else. Lets lists and watchers use an index.
    fn exact_field(&self, field: &str) -> Option<&str> {
        let _ = field;
        None
    }
}

/// The predicate that selects all objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

impl Predicate for Everything {
    fn matches(&self, _: &Entry) -> bool {
        true
    }

    fn is_everything(&self) -> bool {
        true
    }
}

/// `resourceVersionMatch` of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceVersionMatch {
    /// The list is at least as new as the version.
    NotOlderThan,
    /// The list shows exactly that version.
    Exact,
}

/// A list request. `resource_version` is the query parameter's text ("" unset, "0" any).
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Query parameter `resourceVersion`.
    pub resource_version: String,
    /// Query parameter `resourceVersionMatch`.
    pub resource_version_match: Option<ResourceVersionMatch>,
    /// Query parameter `limit`; 0 for no limit.
    pub limit: i64,
    /// Query parameter `continue`.
    pub continue_token: String,
}

/// A watch request.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Query parameter `resourceVersion`: "" and "0" start with synthetic ADDED events unless
    /// `send_initial_events` says otherwise.
    pub resource_version: String,
    /// Query parameter `sendInitialEvents` (WatchList).
    pub send_initial_events: Option<bool>,
    /// Query parameter `allowWatchBookmarks`.
    pub allow_bookmarks: bool,
    /// When the handler will end the watch: a last bookmark is sent two seconds earlier. Ending the watch is the
    /// handler's work.
    pub deadline: Option<Instant>,
}

/// Conditions on the object to change or delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// Required uid.
    pub uid: Option<String>,
    /// Required resourceVersion.
    pub resource_version: Option<String>,
}

/// What the first attempt of a write starts from.
#[derive(Clone, Debug, Default)]
pub enum Hint {
    /// The watch cache's copy, when it has one; else a read. A stale copy is noticed and read again.
    #[default]
    Cache,
    /// This copy, perhaps stale.
    Object(Object),
    /// A fresh read.
    None,
}

/// Options of [`Storage::guaranteed_update`](crate::storage::Storage::guaranteed_update).
#[derive(Clone, Debug, Default)]
pub struct UpdateOptions {
    /// Checked before each attempt.
    pub preconditions: Preconditions,
    /// A missing object is given to the closure as `Current { object: None }` and the write creates it.
    pub ignore_not_found: bool,
    /// What to start from.
    pub hint: Hint,
}

/// Options of [`Storage::delete`](crate::storage::Storage::delete).
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Checked before each attempt.
    pub preconditions: Preconditions,
    /// What to start from.
    pub hint: Hint,
}

/// The state an update is computed from.
#[derive(Clone, Debug)]
pub struct Current {
    /// The stored object; `None` only with `ignore_not_found`.
    pub object: Option<Object>,
}

/// What an update wants.
#[derive(Clone, Debug)]
pub enum Update {
    /// Write these bytes. Nothing is written when they equal the stored ones.
    Write {
        /// Encoded object, without resourceVersion.
        value: Bytes,
        /// Time to live, through an etcd lease.
        ttl: Option<Duration>,
    },
    /// Write these bytes, even if they are the stored ones.
    Rewrite {
        /// Encoded object, without resourceVersion.
        value: Bytes,
    },
    /// Leave the object alone (storage still makes sure that the copy was current).
    Unchanged,
}
