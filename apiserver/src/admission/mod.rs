//! What a write must pass between authorization and storage. Upstream: apiserver/pkg/admission and plugin/pkg/admission.
//!
//! All plugins that change objects run first, in the table's order; when the object is final, all that only judge it run, in the same
//! order. The old object is a snapshot from before any change. A plugin is one file and one row in `plugins/mod.rs`.

mod attributes;
/// Expressions.
pub mod cel;
mod chain;
mod cluster;
/// What a file says to plugins.
pub mod configuration;
/// Webhooks and policies from files.
pub mod manifests;
/// What webhooks and policies are about.
pub mod matching;
/// What is counted.
mod metrics;
pub mod plugins;
/// Policies.
pub mod policy;
/// A summary of times.
mod summary;

pub use attributes::{Attributes, Operation, Options, Reinvocation, Rounds};
pub use chain::{Chain, ChainError};
pub use cluster::StoredCluster;
pub use metrics::{AdmissionMetrics, ConditionMetrics, Observed};

use std::sync::Arc;

use apimachinery::gvk::{GroupVersionKind, GroupVersionResource};
use apimachinery::managedfields::ObjectType;
use apimachinery::status::{self, StatusError};
use component_base::auth::BoxFuture;

use crate::registry::object::Object;
use matching::Matched;

/// A verdict: `Err` is what the client gets.
pub type Verdict = Result<(), StatusError>;

/// Which state of the cluster a look-up must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Whatever the watch cache holds.
    Cached,
    /// At least what was stored when the look-up began.
    Consistent,
}

/// What an update of a status found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateOutcome {
    Updated,
    /// Somebody else wrote meanwhile: read again.
    Conflict,
}

/// A kind as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedKind {
    pub matched: Matched,
    pub namespaced: bool,
}

/// The objects that plugins look up. `namespace` is empty for cluster-scoped resources, and for lists over all namespaces.
pub trait Cluster: Send + Sync {
    fn get<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
        freshness: Freshness,
    ) -> BoxFuture<'a, Result<Option<Arc<Object>>, StatusError>>;

    fn list<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Arc<Object>>, StatusError>>;

    /// The other versions in which a resource, or a subresource of it, is served.
    fn equivalents(&self, resource: &GroupVersionResource, subresource: &str) -> Vec<Matched> {
        let _ = (resource, subresource);
        Vec::new()
    }

    /// The resource that a kind is served as, if it is.
    fn served_kind(&self, kind: &GroupVersionKind) -> Option<ServedKind> {
        let _ = kind;
        None
    }

    /// An object of a request in the version that was matched.
    fn in_version<'a>(
        &'a self,
        object: &'a Object,
        matched: &'a Matched,
    ) -> BoxFuture<'a, Result<Object, StatusError>> {
        let _ = matched;
        Box::pin(async move { Ok(object.clone()) })
    }

    /// Reads an object of a request in the version that was matched. Unknown fields are an error when it is `strict`.
    fn decode(&self, json: &[u8], matched: &Matched, strict: bool) -> Result<Object, StatusError> {
        let _ = (json, strict);
        Err(status::internal(format!(
            "{} is not known here",
            matched.kind
        )))
    }

    /// The way back from [`Self::in_version`], with the defaults of a write: an object that was changed in the version that was matched.
    fn from_version<'a>(
        &'a self,
        object: Object,
        matched: &'a Matched,
        request: &'a GroupVersionResource,
    ) -> BoxFuture<'a, Result<Object, StatusError>> {
        let _ = (matched, request);
        Box::pin(async move { Ok(object) })
    }

    /// How objects of a kind merge.
    fn merge_type(&self, matched: &Matched) -> Option<ObjectType> {
        let _ = matched;
        None
    }

    /// Writes the status of an object, guarded by the object's resourceVersion.
    fn update_status<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        object: Object,
    ) -> BoxFuture<'a, Result<UpdateOutcome, StatusError>>;
}

/// What a plugin does: change objects, judge them, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    Admit,
    Validate,
    Both,
}

impl Steps {
    pub fn admits(self) -> bool {
        self != Steps::Validate
    }

    pub fn validates(self) -> bool {
        self != Steps::Admit
    }
}

/// One admission plugin.
pub trait Plugin: Send + Sync {
    /// Upstream's name.
    fn name(&self) -> &'static str;

    /// Which of the steps it has; it is not asked in the other.
    fn steps(&self) -> Steps;

    /// Whether the plugin is asked about an operation at all.
    fn handles(&self, operation: Operation) -> bool;

    /// May change the object.
    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        let _ = (attributes, cluster);
        Box::pin(async { Ok(()) })
    }

    /// Judges the final object.
    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        let _ = (attributes, cluster);
        Box::pin(async { Ok(()) })
    }
}
