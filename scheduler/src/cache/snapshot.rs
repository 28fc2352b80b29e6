//! The nodes as one scheduling cycle sees them. Upstream: backend/cache/snapshot.go.
//!
//! Node infos are shared with the cache until one changes there; counters and columns are brought up to date by the same changes,
//! so everything in here is of one moment.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::counters::{CarriedTerm, Counters, Counts, Question};
use super::topology::TopologyColumn;
use crate::framework::node_info::{NodeInfo, Slot};
use crate::framework::pod_info::PodInfo;

/// Nodes, columns and counters of one moment.
#[derive(Default)]
pub struct Snapshot {
    /// Nodes that exist, round-robin over zones.
    nodes: Vec<Arc<NodeInfo>>,
    /// Where a slot is in `nodes`.
    positions: HashMap<Slot, usize>,
    slots_by_name: HashMap<String, Slot>,
    /// Every slot, also those of which only pods are known.
    slots: Vec<Option<Arc<NodeInfo>>>,
    /// How many pods use a claim, by `namespace/name`.
    claims: HashMap<String, usize>,
    lazy: Mutex<Lazy>,
}

/// Filled when asked, kept up to date from then on.
#[derive(Default)]
struct Lazy {
    counters: Counters,
    columns: HashMap<String, Arc<TopologyColumn>>,
}

/// A pod came to a node or left it.
pub(super) struct PodMove {
    pub slot: Slot,
    pub pod: Arc<PodInfo>,
    pub added: bool,
}

impl Snapshot {
    /// A snapshot of these nodes, for tests and what-if questions.
    pub fn of(nodes: impl IntoIterator<Item = NodeInfo>) -> Self {
        let mut snapshot = Self::default();
        let mut order = Vec::new();
        let mut changed = Vec::new();
        let mut moves = Vec::new();
        for (slot, mut node) in nodes.into_iter().enumerate() {
            node.slot = slot as Slot;
            order.push(node.name().to_owned());
            moves.extend(node.pods.iter().map(|pod| PodMove {
                slot: slot as Slot,
                pod: pod.clone(),
                added: true,
            }));
            changed.push((slot as Slot, Some(Arc::new(node))));
        }
        snapshot.apply(changed, moves);
        snapshot.set_order(order.iter().map(String::as_str));
        snapshot
    }

    /// All nodes, in the order they are searched.
    pub fn nodes(&self) -> &[Arc<NodeInfo>] {
        &self.nodes
    }

    /// A node by name.
    pub fn get(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        let slot = self.slots_by_name.get(name)?;
        self.nodes.get(*self.positions.get(slot)?)
    }

    /// A node that exists, by slot.
    pub fn by_slot(&self, slot: Slot) -> Option<&Arc<NodeInfo>> {
        self.slots
            .get(slot as usize)?
            .as_ref()
            .filter(|info| info.has_node)
    }

    /// Whether a pod on some node uses the claim `namespace/name`.
    pub fn is_claim_used(&self, key: &str) -> bool {
        self.claims.contains_key(key)
    }

    /// Matching pods per node.
    pub fn count(&self, question: Question) -> Arc<Counts> {
        self.lazy.lock().counters.ask(question, &self.slots)
    }

    /// Calls `visit` for each distinct affinity term that pods on nodes carry.
    pub fn for_each_carried_term(&self, visit: impl FnMut(&CarriedTerm)) {
        self.lazy.lock().counters.carried().for_each(visit);
    }

    /// The values of a node label.
    pub fn column(&self, key: &str) -> Arc<TopologyColumn> {
        let mut lazy = self.lazy.lock();
        if let Some(column) = lazy.columns.get(key) {
            return column.clone();
        }
        let mut column = TopologyColumn::default();
        for info in self.slots.iter().flatten() {
            column.set(info, key);
        }
        let column = Arc::new(column);
        lazy.columns.insert(key.to_owned(), column.clone());
        column
    }

    /// Takes over what changed: node infos by slot (`None`: the slot is free), and pods that moved, in order.
    pub(super) fn apply(
        &mut self,
        changed: Vec<(Slot, Option<Arc<NodeInfo>>)>,
        moves: Vec<PodMove>,
    ) {
        let lazy = self.lazy.get_mut();
        for (slot, info) in changed {
            let at = slot as usize;
            if self.slots.len() <= at {
                self.slots.resize(at + 1, None);
            }
            let old = self.slots[at].take();
            let shown = |info: &Option<Arc<NodeInfo>>| {
                info.as_ref()
                    .filter(|info| info.has_node)
                    .map(|info| info.node_arc().clone())
            };
            let (was, is) = (shown(&old), shown(&info));
            let same_labels = match (&was, &is) {
                (Some(was), Some(is)) => {
                    Arc::ptr_eq(was, is) || was.metadata.labels == is.metadata.labels
                }
                (None, None) => true,
                _ => false,
            };
            if !same_labels {
                let vacant = NodeInfo::vacant(slot);
                for (key, column) in &mut lazy.columns {
                    Arc::make_mut(column).set(info.as_deref().unwrap_or(&vacant), key);
                }
            }
            if let Some(was) = &was
                && is
                    .as_ref()
                    .is_none_or(|is| is.metadata.name != was.metadata.name)
            {
                self.slots_by_name.remove(&was.metadata.name);
            }
            if let Some(is) = &is
                && was
                    .as_ref()
                    .is_none_or(|was| was.metadata.name != is.metadata.name)
            {
                self.slots_by_name.insert(is.metadata.name.clone(), slot);
            }
            if let (Some(position), Some(info)) = (self.positions.get(&slot), &info) {
                self.nodes[*position] = info.clone();
            }
            self.slots[at] = info;
        }
        for PodMove { slot, pod, added } in moves {
            lazy.counters.apply(slot, &pod, added);
            for key in crate::framework::pod_info::claim_keys(&pod.pod) {
                if added {
                    *self.claims.entry(key).or_default() += 1;
                } else if let Some(count) = self.claims.get_mut(&key) {
                    *count -= 1;
                    if *count == 0 {
                        self.claims.remove(&key);
                    }
                }
            }
        }
    }

    /// Nodes came, went or changed zone: lists them anew.
    pub(super) fn set_order<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        self.nodes.clear();
        self.positions.clear();
        for name in names {
            let Some(info) = self
                .slots_by_name
                .get(name)
                .and_then(|slot| self.slots[*slot as usize].clone())
            else {
                continue;
            };
            self.positions.insert(info.slot, self.nodes.len());
            self.nodes.push(info);
        }
    }
}
