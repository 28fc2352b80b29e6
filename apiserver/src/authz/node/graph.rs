//! Which objects belong to which node, by reference counts: an object is a node's while one of the node's pods refers to it.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use api_types::core::v1::{PersistentVolume, Pod};
use component_base::metrics::{HistogramVec, Metrics, Opts, exponential_buckets};
use parking_lot::RwLock;

use super::references;

/// The kinds of object that a node may reach through its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Pod,
    Secret,
    ConfigMap,
    PersistentVolumeClaim,
    PersistentVolume,
    ResourceClaim,
    ServiceAccount,
    VolumeAttachment,
    ResourceSlice,
    PodCertificateRequest,
}

impl Kind {
    /// What upstream calls the kinds that name a node themselves.
    fn owned_name(self) -> &'static str {
        match self {
            Kind::ResourceSlice => "ResourceSlice",
            Kind::PodCertificateRequest => "PodCertificateRequest",
            _ => "VolumeAttachment",
        }
    }
}

/// Kind, namespace (empty for cluster-scoped kinds) and name.
pub(super) type Key = (Kind, String, String);

/// What a pod names, kind and name, in the pod's own namespace.
pub fn pod_references(pod: &Pod) -> Vec<(Kind, String)> {
    references::of_pod(pod)
        .into_iter()
        .map(|(kind, _, name)| (kind, name))
        .collect()
}

/// The references from pods, volumes, attachments and slices. Fed from watch caches, read by the authorizer.
#[derive(Default)]
pub struct Graph {
    inner: RwLock<Inner>,
    /// How long changes take, by operation. None where nobody counts.
    durations: Option<HistogramVec>,
}

#[derive(Default)]
struct Inner {
    /// For each object but pods, how many references make it a node's.
    nodes_of: HashMap<Key, HashMap<String, usize>>,
    /// By namespace and name. There are a hundred thousand pods and more, so what one takes here counts: it shares what it can.
    pods: HashMap<Box<str>, HashMap<Box<str>, Contribution>>,
    /// Names of nodes, and sets of references. Pods of one template have one set between them.
    nodes: Shared<str>,
    references: Shared<[Key]>,
    /// What an attachment or slice contributed.
    owned: HashMap<Key, String>,
    /// The claim a volume is bound to, and the secrets that mounting it needs.
    volumes: HashMap<String, (Key, Vec<Key>)>,
    volumes_of_secret: HashMap<Key, HashSet<String>>,
}

/// A pod that is bound to a node, and what it makes the node's, so that it can be taken back.
struct Contribution {
    node: Arc<str>,
    references: Arc<[Key]>,
    stamp: Option<u64>,
}

/// Values of which there is one each.
struct Shared<T: ?Sized>(HashSet<Arc<T>>);

impl Graph {
    /// A graph whose changes are measured. Upstream: plugin/pkg/auth/authorizer/node/metrics.go.
    pub fn with_metrics(metrics: &Metrics) -> Self {
        let opts = Opts::new(
            "node_authorizer_graph_actions_duration_seconds",
            "Histogram of duration of graph actions in node authorizer.",
        );
        // From 0.1 ms to 0.2 s.
        let opts = opts.buckets(exponential_buckets(0.0001, 2.0, 12));
        Self {
            durations: Some(metrics.histogram_vec(opts, &["operation"])),
            ..Self::default()
        }
    }

    fn measure(&self, operation: &str, started: Instant) {
        if let Some(durations) = &self.durations {
            let seconds = started.elapsed().as_secs_f64();
            durations.with_label_values(&[operation]).observe(seconds);
        }
    }

    /// Whether the pod is known with this stamp, so that there is nothing to tell.
    pub fn knows_pod(&self, namespace: &str, name: &str, stamp: u64) -> bool {
        let inner = self.inner.read();
        inner
            .pod(namespace, name)
            .is_some_and(|pod| pod.stamp == Some(stamp))
    }

    /// A pod as it is now, with a stamp of all that its references depend on where there is one. Pods that are bound to no node
    /// refer to nothing.
    pub fn set_pod(&self, pod: &Pod, stamp: Option<u64>) {
        let started = Instant::now();
        let mut inner = self.inner.write();
        inner.remove_pod(&pod.metadata.namespace, &pod.metadata.name);
        if pod.spec.node_name.is_empty() {
            return;
        }
        let references: Vec<Key> = references::of_pod(pod)
            .into_iter()
            .filter(|(kind, ..)| *kind != Kind::Pod)
            .collect();
        for key in &references {
            inner.add(key, &pod.spec.node_name);
        }
        let contribution = Contribution {
            node: inner.nodes.of(&pod.spec.node_name),
            references: inner.references.of(&references),
            stamp,
        };
        inner
            .pods
            .entry(pod.metadata.namespace.as_str().into())
            .or_default()
            .insert(pod.metadata.name.as_str().into(), contribution);
        self.measure("AddPod", started);
    }

    pub fn remove_pod(&self, namespace: &str, name: &str) {
        let started = Instant::now();
        // Pods that are bound to no node were never added.
        if self.inner.write().remove_pod(namespace, name) {
            self.measure("DeletePod", started);
        }
    }

    pub fn set_persistent_volume(&self, volume: &PersistentVolume) {
        let started = Instant::now();
        self.inner.write().set_volume(volume);
        self.measure("AddPV", started);
    }

    pub fn remove_persistent_volume(&self, name: &str) {
        let started = Instant::now();
        self.inner.write().remove_volume(name);
        self.measure("DeletePV", started);
    }

    /// A VolumeAttachment, ResourceSlice or PodCertificateRequest, and the node it names (empty for none).
    pub fn set_owned(&self, kind: Kind, namespace: &str, name: &str, node: &str) {
        let started = Instant::now();
        let mut inner = self.inner.write();
        let key = (kind, namespace.to_owned(), name.to_owned());
        if inner.owned.get(&key).is_some_and(|known| known == node) {
            return;
        }
        inner.remove_owned(&key);
        if !node.is_empty() {
            inner.add(&key, node);
            inner.owned.insert(key, node.to_owned());
        }
        self.measure(&format!("Add{}", kind.owned_name()), started);
    }

    pub fn remove_owned(&self, kind: Kind, namespace: &str, name: &str) {
        let started = Instant::now();
        let key = (kind, namespace.to_owned(), name.to_owned());
        self.inner.write().remove_owned(&key);
        self.measure(&format!("Delete{}", kind.owned_name()), started);
    }

    /// Is the object one that the node may reach?
    pub fn related(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let inner = self.inner.read();
        let namespace = if matches!(
            kind,
            Kind::PersistentVolume | Kind::VolumeAttachment | Kind::ResourceSlice
        ) {
            ""
        } else {
            namespace
        };
        let key = (kind, namespace.to_owned(), name.to_owned());
        match kind {
            Kind::Pod => inner
                .pod(namespace, name)
                .is_some_and(|pod| &*pod.node == node),
            Kind::PersistentVolume => inner.volume_belongs(name, node),
            Kind::Secret => {
                inner.belongs(&key, node)
                    || inner.volumes_of_secret.get(&key).is_some_and(|volumes| {
                        volumes
                            .iter()
                            .any(|volume| inner.volume_belongs(volume, node))
                    })
            }
            _ => inner.belongs(&key, node),
        }
    }
}

impl Inner {
    fn belongs(&self, key: &Key, node: &str) -> bool {
        self.nodes_of
            .get(key)
            .is_some_and(|nodes| nodes.contains_key(node))
    }

    fn volume_belongs(&self, volume: &str, node: &str) -> bool {
        self.volumes
            .get(volume)
            .is_some_and(|(claim, _)| self.belongs(claim, node))
    }

    fn add(&mut self, key: &Key, node: &str) {
        *self
            .nodes_of
            .entry(key.clone())
            .or_default()
            .entry(node.to_owned())
            .or_default() += 1;
    }

    fn take(&mut self, key: &Key, node: &str) {
        let Some(nodes) = self.nodes_of.get_mut(key) else {
            return;
        };
        if let Some(count) = nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(node);
            }
        }
        if nodes.is_empty() {
            self.nodes_of.remove(key);
        }
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<&Contribution> {
        self.pods.get(namespace)?.get(name)
    }

    /// Whether it was there.
    fn remove_pod(&mut self, namespace: &str, name: &str) -> bool {
        let Some(pods) = self.pods.get_mut(namespace) else {
            return false;
        };
        let Some(pod) = pods.remove(name) else {
            return false;
        };
        if pods.is_empty() {
            self.pods.remove(namespace);
        }
        for key in &*pod.references {
            self.take(key, &pod.node);
        }
        self.nodes.release(pod.node);
        self.references.release(pod.references);
        true
    }

    fn remove_owned(&mut self, key: &Key) {
        if let Some(node) = self.owned.remove(key) {
            self.take(key, &node);
        }
    }

    fn set_volume(&mut self, volume: &PersistentVolume) {
        self.remove_volume(&volume.metadata.name);
        let Some(claim) = &volume.spec.claim_ref else {
            return;
        };
        let claim_key = (
            Kind::PersistentVolumeClaim,
            claim.namespace.clone(),
            claim.name.clone(),
        );
        let secrets = references::of_persistent_volume(volume);
        for secret in &secrets {
            self.volumes_of_secret
                .entry(secret.clone())
                .or_default()
                .insert(volume.metadata.name.clone());
        }
        self.volumes
            .insert(volume.metadata.name.clone(), (claim_key, secrets));
    }

    fn remove_volume(&mut self, name: &str) {
        let Some((_, secrets)) = self.volumes.remove(name) else {
            return;
        };
        for secret in secrets {
            if let Some(volumes) = self.volumes_of_secret.get_mut(&secret) {
                volumes.remove(name);
                if volumes.is_empty() {
                    self.volumes_of_secret.remove(&secret);
                }
            }
        }
    }
}

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: ?Sized + Eq + Hash> Shared<T> {
    fn of<'a>(&mut self, value: &'a T) -> Arc<T>
    where
        Arc<T>: From<&'a T>,
    {
        if let Some(known) = self.0.get(value) {
            return Arc::clone(known);
        }
        let value: Arc<T> = value.into();
        self.0.insert(Arc::clone(&value));
        value
    }

    /// Forgets a value that nobody else has.
    fn release(&mut self, value: Arc<T>) {
        // Ours and the one in the set.
        if Arc::strong_count(&value) == 2 {
            self.0.remove(&value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, account: &str, node: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".into();
        pod.metadata.name = name.into();
        pod.spec.service_account_name = account.into();
        pod.spec.node_name = node.into();
        pod
    }

    #[test]
    fn changes_are_measured() {
        let metrics = Metrics::default();
        let graph = Graph::with_metrics(&metrics);
        let bound = pod("a", "account", "node");
        graph.set_pod(&bound, None);
        graph.set_pod(&bound, None);
        graph.set_pod(&pod("b", "account", ""), None);
        graph.remove_pod("ns", "a");
        graph.remove_pod("ns", "b");
        graph.set_persistent_volume(&PersistentVolume::default());
        graph.remove_persistent_volume("");
        for (kind, namespace) in [
            (Kind::VolumeAttachment, ""),
            (Kind::ResourceSlice, ""),
            (Kind::PodCertificateRequest, "ns"),
        ] {
            graph.set_owned(kind, namespace, "x", "node");
            graph.set_owned(kind, namespace, "x", "node");
            graph.set_owned(kind, namespace, "x", "other");
            assert!(graph.related("other", kind, namespace, "x"));
            assert!(!graph.related("node", kind, namespace, "x"));
            graph.remove_owned(kind, namespace, "x");
            assert!(!graph.related("other", kind, namespace, "x"));
        }
        let text = String::from_utf8(metrics.text()).expect("text");
        for (operation, count) in [
            ("AddPod", 2),
            ("DeletePod", 1),
            ("AddPV", 1),
            ("DeletePV", 1),
            ("AddVolumeAttachment", 2),
            ("DeleteVolumeAttachment", 1),
            ("AddResourceSlice", 2),
            ("DeleteResourceSlice", 1),
            ("AddPodCertificateRequest", 2),
            ("DeletePodCertificateRequest", 1),
        ] {
            let series = format!(
                "node_authorizer_graph_actions_duration_seconds_count{{operation=\"{operation}\"}} {count}\n"
            );
            assert!(text.contains(&series), "{operation}: {text}");
        }
    }

    #[test]
    fn pods_share_what_they_refer_to_and_leave_nothing() {
        let graph = Graph::default();
        let sizes = |graph: &Graph| {
            let inner = graph.inner.read();
            let pods: usize = inner.pods.values().map(HashMap::len).sum();
            let shared = (inner.nodes.0.len(), inner.references.0.len());
            (pods, shared, inner.nodes_of.len())
        };
        let names: Vec<String> = (0..100).map(|number| format!("pod{number}")).collect();
        for (number, name) in names.iter().enumerate() {
            graph.set_pod(&pod(name, "account", &format!("node{}", number % 2)), None);
        }
        assert_eq!(sizes(&graph), (100, (2, 1), 1));
        assert!(graph.related("node1", Kind::Pod, "ns", "pod1"));
        assert!(!graph.related("node0", Kind::Pod, "ns", "pod1"));

        // Told again, and bound elsewhere with another account.
        graph.set_pod(&pod("pod1", "other", "node2"), Some(7));
        assert!(graph.knows_pod("ns", "pod1", 7));
        assert!(graph.related("node2", Kind::ServiceAccount, "ns", "other"));
        assert!(!graph.related("node1", Kind::Pod, "ns", "pod1"));
        assert_eq!(sizes(&graph), (100, (3, 2), 2));
        graph.remove_pod("ns", "pod1");
        assert_eq!(sizes(&graph), (99, (2, 1), 1));

        // An unbound pod refers to nothing.
        graph.set_pod(&pod("pod0", "account", ""), None);
        assert!(!graph.knows_pod("ns", "pod0", 7));
        for name in &names {
            graph.remove_pod("ns", name);
        }
        assert_eq!(sizes(&graph), (0, (0, 0), 0));
        assert!(!graph.related("node1", Kind::ServiceAccount, "ns", "account"));
    }
}
