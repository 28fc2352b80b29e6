//! Where pods come from: the API server and static pod files. Merged into one stream of changes.
//!
//! Upstream: `pkg/kubelet/config` and `pkg/kubelet/types/pod_update.go`.

mod api;
mod defaults;
mod file;
mod mirror;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api_types::core::v1::Pod;
use jiff::Timestamp;

pub use api::watch_api_server;
pub use defaults::set_pod_defaults;
pub use file::{FileSource, parse_static_pod};
pub use mirror::MirrorClient;

/// Source of a pod: `api`, `file` or `http`.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// When this kubelet first saw the pod.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
/// Hash of a static pod; mirrors carry it as [`CONFIG_MIRROR`].
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Marks mirror pods.
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// Whether the pod shows a static one in the API.
#[must_use]
pub fn is_mirror_pod(pod: &Pod) -> bool {
    pod.metadata.annotations.contains_key(CONFIG_MIRROR)
}

/// Whether the pod comes from a file or URL of this node.
#[must_use]
pub fn is_static_pod(pod: &Pod) -> bool {
    pod.metadata
        .annotations
        .get(CONFIG_SOURCE)
        .is_some_and(|source| source != "api")
}

/// Whether the pod may push others off the node.
#[must_use]
pub fn is_critical_pod(pod: &Pod) -> bool {
    is_static_pod(pod)
        || is_mirror_pod(pod)
        || pod
            .spec
            .priority
            .is_some_and(|priority| priority >= crate::cm::shares::CRITICAL_PRIORITY)
}

/// A source of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The API server.
    Api,
    /// Files.
    File,
}

impl Source {
    fn as_str(self) -> &'static str {
        match self {
            Source::Api => "api",
            Source::File => "file",
        }
    }
}

/// What a source has to say.
#[derive(Debug)]
pub enum SourceEvent {
    /// A pod is there, or changed.
    Upsert(Source, Box<Pod>),
    /// A pod is gone.
    Remove(Source, String),
    /// All pods the source had at the start have been told.
    Synced(Source),
}

/// What the sync loop does about a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// New.
    Add,
    /// Changed.
    Update,
    /// Marked for graceful deletion.
    Delete,
    /// Gone.
    Remove,
    /// Only its status changed.
    Reconcile,
}

/// Merges the sources.
pub struct PodConfig {
    expected: HashSet<Source>,
    synced: HashSet<Source>,
    pods: HashMap<(Source, String), Arc<Pod>>,
}

impl PodConfig {
    /// `expected`: the sources that must have told all before pods may be removed.
    #[must_use]
    pub fn new(expected: &[Source]) -> Self {
        PodConfig {
            expected: expected.iter().copied().collect(),
            synced: HashSet::new(),
            pods: HashMap::new(),
        }
    }

    /// Whether every source has told all it had.
    #[must_use]
    pub fn all_ready(&self) -> bool {
        self.expected.is_subset(&self.synced)
    }

    /// Takes an event in; answers what is to be done, if anything.
    pub fn apply(&mut self, event: SourceEvent) -> Option<(Op, Arc<Pod>)> {
        match event {
            SourceEvent::Synced(source) => {
                self.synced.insert(source);
                None
            }
            SourceEvent::Remove(source, uid) => self
                .pods
                .remove(&(source, uid))
                .map(|pod| (Op::Remove, pod)),
            SourceEvent::Upsert(source, mut pod) => {
                let key = (source, pod.metadata.uid.clone());
                let annotations = &mut pod.metadata.annotations;
                annotations.insert(CONFIG_SOURCE.to_owned(), source.as_str().to_owned());
                let old = self.pods.get(&key);
                let seen = old
                    .and_then(|old| old.metadata.annotations.get(CONFIG_SEEN).cloned())
                    .unwrap_or_else(|| Timestamp::now().to_string());
                annotations.insert(CONFIG_SEEN.to_owned(), seen);
                let op = match old {
                    None => Op::Add,
                    Some(old) if differ(old, &pod) => {
                        if pod.metadata.deletion_timestamp.is_some() {
                            Op::Delete
                        } else {
                            Op::Update
                        }
                    }
                    Some(old) if old.status != pod.status => Op::Reconcile,
                    Some(_) => return None,
                };
                let pod = Arc::from(pod);
                self.pods.insert(key, Arc::clone(&pod));
                Some((op, pod))
            }
        }
    }
}

/// Whether two versions of a pod differ in what the kubelet acts on.
fn differ(old: &Pod, new: &Pod) -> bool {
    let (a, b) = (&old.metadata, &new.metadata);
    old.spec != new.spec
        || a.labels != b.labels
        || a.annotations != b.annotations
        || a.deletion_timestamp != b.deletion_timestamp
        || a.deletion_grace_period_seconds != b.deletion_grace_period_seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> Box<Pod> {
        let mut pod = Pod::default();
        pod.metadata.uid = uid.into();
        Box::new(pod)
    }

    #[test]
    fn merging() {
        let mut config = PodConfig::new(&[Source::Api, Source::File]);
        let mut apply = |event| config.apply(event).map(|(op, _)| op);
        assert_eq!(
            apply(SourceEvent::Upsert(Source::Api, pod("a"))),
            Some(Op::Add)
        );
        assert_eq!(apply(SourceEvent::Upsert(Source::Api, pod("a"))), None);
        let mut changed = pod("a");
        changed.status.phase = "Running".into();
        assert_eq!(
            apply(SourceEvent::Upsert(Source::Api, changed.clone())),
            Some(Op::Reconcile)
        );
        changed.metadata.labels.insert("x".into(), "y".into());
        assert_eq!(
            apply(SourceEvent::Upsert(Source::Api, changed.clone())),
            Some(Op::Update)
        );
        changed.metadata.deletion_timestamp = Some(api_types::Time::now());
        assert_eq!(
            apply(SourceEvent::Upsert(Source::Api, changed)),
            Some(Op::Delete)
        );
        assert_eq!(apply(SourceEvent::Remove(Source::File, "a".into())), None);
        assert_eq!(
            apply(SourceEvent::Remove(Source::Api, "a".into())),
            Some(Op::Remove)
        );
        assert!(!config.all_ready());
        config.apply(SourceEvent::Synced(Source::Api));
        assert!(!config.all_ready());
        config.apply(SourceEvent::Synced(Source::File));
        assert!(config.all_ready());
    }

    #[test]
    fn first_sight_is_remembered() {
        let mut config = PodConfig::new(&[]);
        let (_, first) = config
            .apply(SourceEvent::Upsert(Source::File, pod("a")))
            .expect("added");
        assert!(is_static_pod(&first));
        let mut changed = pod("a");
        changed.spec.node_name = "n".into();
        let (_, second) = config
            .apply(SourceEvent::Upsert(Source::File, changed))
            .expect("updated");
        assert_eq!(
            first.metadata.annotations[CONFIG_SEEN],
            second.metadata.annotations[CONFIG_SEEN]
        );
    }
}
