//! What the scheduler believes about nodes and the pods on them. Upstream: backend/cache.
//!
//! Events from the apiserver change it, and so do decisions: a pod that was given a node is *assumed* to be there before the
//! apiserver confirms it. [`Cache::update_snapshot`] hands each scheduling cycle a consistent view and costs what changed since the last one.
//!
//! Invariant: a pod is counted on exactly one node. A confirmed pod is never expired; an assumed pod is forgotten when binding fails.

/// How many pods match, per node.
pub mod counters;
/// Nodes by zone.
pub mod node_tree;
/// A view of one moment.
pub mod snapshot;
/// Node labels as columns.
pub mod topology;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api_types::core::v1::{Node, Pod};
use parking_lot::Mutex;

use self::node_tree::NodeTree;
use self::snapshot::{PodMove, Snapshot};
use crate::framework::node_info::{ImageState, NodeInfo, Slot};
use crate::framework::pod_info::PodInfo;

/// Why a change was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CacheError {
    /// Assumed or added twice.
    #[error("pod {name} ({uid}) is in the cache, so can't be assumed")]
    AlreadyThere { name: String, uid: String },
    /// Confirmed pods are not forgotten.
    #[error("pod {name} ({uid}) wasn't assumed so cannot be forgotten")]
    NotAssumed { name: String, uid: String },
    /// It is assumed elsewhere.
    #[error("pod {name} ({uid}) was assumed on {assumed} but assigned to {assigned}")]
    OtherNode {
        name: String,
        uid: String,
        assumed: String,
        assigned: String,
    },
}

struct PodState {
    info: Arc<PodInfo>,
    slot: Slot,
    node: String,
    assumed: bool,
}

#[derive(Default)]
struct State {
    slots: Vec<Option<Arc<NodeInfo>>>,
    free_slots: Vec<Slot>,
    by_name: HashMap<String, Slot>,
    tree: NodeTree,
    pods: HashMap<String, PodState>,
    images: HashMap<Arc<str>, Arc<ImageState>>,
    generation: u64,
    assumed: usize,
    /// What the snapshot does not know yet.
    dirty: BTreeSet<Slot>,
    moves: Vec<PodMove>,
    order_changed: bool,
}

/// Nodes and the pods on them.
#[derive(Default)]
pub struct Cache {
    state: Mutex<State>,
}

/// Sizes for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub nodes: usize,
    pub pods: usize,
    pub assumed_pods: usize,
}

impl Cache {
    /// Brings the snapshot up to date.
    pub fn update_snapshot(&self, snapshot: &mut Snapshot) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let dirty = std::mem::take(&mut state.dirty);
        let changed = dirty
            .into_iter()
            .map(|slot| (slot, state.slots[slot as usize].clone()))
            .collect();
        snapshot.apply(changed, std::mem::take(&mut state.moves));
        if std::mem::take(&mut state.order_changed) {
            snapshot.set_order(state.tree.list());
        }
    }

    /// Counts a pod in on a node before the apiserver knows.
    pub fn assume(&self, info: Arc<PodInfo>, node: &str) -> Result<(), CacheError> {
        let mut state = self.state.lock();
        if state.pods.contains_key(info.uid()) {
            return Err(CacheError::AlreadyThere {
                name: info.full_name(),
                uid: info.uid().to_owned(),
            });
        }
        state.add_pod(info, node, true);
        Ok(())
    }

    /// Counts an assumed pod out again.
    pub fn forget(&self, pod: &Pod) -> Result<(), CacheError> {
        let mut state = self.state.lock();
        let uid = &pod.metadata.uid;
        match state.pods.get(uid) {
            Some(known) if known.assumed => {
                state.remove_pod(uid);
                Ok(())
            }
            _ => Err(CacheError::NotAssumed {
                name: crate::framework::pod_info::full_name(pod),
                uid: uid.clone(),
            }),
        }
    }

    /// The apiserver says that a pod is on a node.
    pub fn add_pod(&self, pod: &Arc<Pod>) {
        let mut state = self.state.lock();
        let uid = &pod.metadata.uid;
        let node = &pod.spec.node_name;
        let info = match state.pods.get(uid) {
            Some(known) if known.assumed => {
                if known.node != *node {
                    let error = CacheError::OtherNode {
                        name: known.info.full_name(),
                        uid: uid.clone(),
                        assumed: known.node.clone(),
                        assigned: node.clone(),
                    };
                    tracing::warn!(%error, "Assumed pod is on another node");
                }
                Arc::new(known.info.updated(pod.clone()))
            }
            Some(known) => Arc::new(known.info.updated(pod.clone())),
            None => Arc::new(PodInfo::new(pod.clone())),
        };
        state.remove_pod(uid);
        state.add_pod(info, node, false);
    }

    /// A pod on a node changed.
    pub fn update_pod(&self, pod: &Arc<Pod>) {
        self.add_pod(pod);
    }

    /// A pod is gone.
    pub fn remove_pod(&self, pod: &Pod) {
        self.state.lock().remove_pod(&pod.metadata.uid);
    }

    /// Whether the pod is assumed and not confirmed.
    pub fn is_assumed(&self, pod: &Pod) -> bool {
        self.state
            .lock()
            .pods
            .get(&pod.metadata.uid)
            .is_some_and(|known| known.assumed)
    }

    /// The pod as it is counted, with the node's name.
    pub fn get_pod(&self, uid: &str) -> Option<(Arc<PodInfo>, String)> {
        let state = self.state.lock();
        let known = state.pods.get(uid)?;
        Some((known.info.clone(), known.node.clone()))
    }

    /// A node came, or changed.
    pub fn set_node(&self, node: &Arc<Node>) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let slot = state.slot_of(&node.metadata.name);
        let old = state.slots[slot as usize]
            .as_ref()
            .filter(|info| info.has_node)
            .map(|info| info.node_arc().clone());
        match &old {
            Some(old) => state.order_changed |= state.tree.update(old, node),
            None => {
                state.tree.add(node);
                state.order_changed = true;
            }
        }
        let images = match &old {
            Some(old) if old.status.images == node.status.images => None,
            _ => {
                state.forget_images(slot);
                Some(state.remember_images(node))
            }
        };
        let info = state.change(slot);
        info.set_node(node.clone());
        if let Some(images) = images {
            info.images = images;
        }
    }

    /// A node is gone. Pods on it stay known until they are gone too.
    pub fn remove_node(&self, node: &Node) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(slot) = state.by_name.get(&node.metadata.name).copied() else {
            return;
        };
        let Some(old) = state.slots[slot as usize]
            .as_ref()
            .filter(|info| info.has_node)
            .map(|info| info.node_arc().clone())
        else {
            return;
        };
        state.tree.remove(&old);
        state.order_changed = true;
        state.forget_images(slot);
        state.change(slot).remove_node();
        state.free_if_unused(slot, &node.metadata.name);
    }

    /// How much there is.
    pub fn sizes(&self) -> Sizes {
        let state = self.state.lock();
        Sizes {
            nodes: state.by_name.len(),
            pods: state.pods.len(),
            assumed_pods: state.assumed,
        }
    }
}

impl State {
    fn slot_of(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as Slot
        });
        self.slots[slot as usize] = Some(Arc::new(NodeInfo::vacant(slot)));
        self.by_name.insert(name.to_owned(), slot);
        slot
    }

    /// The info of a slot, to change it.
    fn change(&mut self, slot: Slot) -> &mut NodeInfo {
        self.generation += 1;
        self.dirty.insert(slot);
        let info =
            self.slots[slot as usize].get_or_insert_with(|| Arc::new(NodeInfo::vacant(slot)));
        let info = Arc::make_mut(info);
        info.generation = self.generation;
        info
    }

    fn add_pod(&mut self, info: Arc<PodInfo>, node: &str, assumed: bool) {
        let slot = self.slot_of(node);
        self.change(slot).add_pod(info.clone());
        self.moves.push(PodMove {
            slot,
            pod: info.clone(),
            added: true,
        });
        self.assumed += usize::from(assumed);
        let known = PodState {
            slot,
            node: node.to_owned(),
            assumed,
            info: info.clone(),
        };
        self.pods.insert(info.uid().to_owned(), known);
    }

    fn remove_pod(&mut self, uid: &str) {
        let Some(known) = self.pods.remove(uid) else {
            return;
        };
        self.assumed -= usize::from(known.assumed);
        self.change(known.slot).remove_pod(uid);
        self.moves.push(PodMove {
            slot: known.slot,
            pod: known.info,
            added: false,
        });
        self.free_if_unused(known.slot, &known.node);
    }

    fn free_if_unused(&mut self, slot: Slot, name: &str) {
        let unused = self.slots[slot as usize]
            .as_ref()
            .is_some_and(|info| !info.has_node && info.pods.is_empty());
        if unused {
            self.slots[slot as usize] = None;
            self.by_name.remove(name);
            self.free_slots.push(slot);
            self.dirty.insert(slot);
        }
    }

    fn forget_images(&mut self, slot: Slot) {
        let Some(info) = &self.slots[slot as usize] else {
            return;
        };
        for (name, image) in &info.images {
            if image.nodes.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.images.remove(name);
            }
        }
    }

    fn remember_images(&mut self, node: &Node) -> HashMap<Arc<str>, Arc<ImageState>> {
        let mut on_node = HashMap::new();
        for image in &node.status.images {
            let names: HashSet<&String> = image.names.iter().collect();
            for name in names {
                let name: Arc<str> = Arc::from(name.as_str());
                let state = self
                    .images
                    .entry(name.clone())
                    .or_insert_with(|| {
                        Arc::new(ImageState {
                            size: image.size_bytes,
                            ..ImageState::default()
                        })
                    })
                    .clone();
                // A name listed twice on one node counts once.
                if on_node.insert(name, state.clone()).is_none() {
                    state.nodes.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        on_node
    }
}

#[cfg(test)]
mod tests;
