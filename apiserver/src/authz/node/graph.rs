//! Which objects belong to which node, by reference counts: an object is a node's while one of the node's pods refers to it.

use std::collections::{HashMap, HashSet};

use api_types::core::v1::{PersistentVolume, Pod};
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
}

#[derive(Default)]
struct Inner {
    /// For each object, how many references make it a node's.
    nodes_of: HashMap<Key, HashMap<String, usize>>,
    /// What a pod contributed, so that it can be taken back.
    pods: HashMap<(String, String), Contribution>,
    /// What an attachment or slice contributed.
    owned: HashMap<Key, String>,
    /// The claim a volume is bound to, and the secrets that mounting it needs.
    volumes: HashMap<String, (Key, Vec<Key>)>,
    volumes_of_secret: HashMap<Key, HashSet<String>>,
}

struct Contribution {
    node: String,
    keys: Vec<Key>,
    stamp: Option<u64>,
}

impl Graph {
    /// Whether the pod is known with this stamp, so that there is nothing to tell.
    pub fn knows_pod(&self, namespace: &str, name: &str, stamp: u64) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        let inner = self.inner.read();
        inner
            .pods
            .get(&key)
            .is_some_and(|pod| pod.stamp == Some(stamp))
    }

    /// A pod as it is now, with a stamp of all that its references depend on where there is one. Pods that are bound to no node
    /// refer to nothing.
    pub fn set_pod(&self, pod: &Pod, stamp: Option<u64>) {
        let mut inner = self.inner.write();
        inner.remove_pod(&pod.metadata.namespace, &pod.metadata.name);
        if pod.spec.node_name.is_empty() {
            return;
        }
        let keys = references::of_pod(pod);
        for key in &keys {
            inner.add(key, &pod.spec.node_name);
        }
        inner.pods.insert(
            (pod.metadata.namespace.clone(), pod.metadata.name.clone()),
            Contribution {
                node: pod.spec.node_name.clone(),
                keys,
                stamp,
            },
        );
    }

    pub fn remove_pod(&self, namespace: &str, name: &str) {
        self.inner.write().remove_pod(namespace, name);
    }

    pub fn set_persistent_volume(&self, volume: &PersistentVolume) {
        let mut inner = self.inner.write();
        inner.remove_volume(&volume.metadata.name);
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
            inner
                .volumes_of_secret
                .entry(secret.clone())
                .or_default()
                .insert(volume.metadata.name.clone());
        }
        inner
            .volumes
            .insert(volume.metadata.name.clone(), (claim_key, secrets));
    }

    pub fn remove_persistent_volume(&self, name: &str) {
        self.inner.write().remove_volume(name);
    }

    /// A VolumeAttachment or ResourceSlice, and the node it names (empty for none).
    pub fn set_owned(&self, kind: Kind, name: &str, node: &str) {
        self.remove_owned(kind, name);
        if node.is_empty() {
            return;
        }
        let mut inner = self.inner.write();
        let key = (kind, String::new(), name.to_owned());
        inner.add(&key, node);
        inner.owned.insert(key, node.to_owned());
    }

    pub fn remove_owned(&self, kind: Kind, name: &str) {
        let mut inner = self.inner.write();
        let key = (kind, String::new(), name.to_owned());
        if let Some(node) = inner.owned.remove(&key) {
            inner.take(&key, &node);
        }
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

    fn remove_pod(&mut self, namespace: &str, name: &str) {
        if let Some(pod) = self.pods.remove(&(namespace.to_owned(), name.to_owned())) {
            for key in &pod.keys {
                self.take(key, &pod.node);
            }
        }
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
