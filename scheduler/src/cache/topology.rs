//! Node labels as columns of small integers: one column per label key that some pod spreads over or has affinity in.

use std::collections::HashMap;
use std::sync::Arc;

use crate::framework::node_info::{NodeInfo, Slot};

/// A value of a label, interned in its column. Zero stands for a node that lacks the label.
pub type ValueId = u32;

/// The values of one label over all nodes.
#[derive(Clone, Debug, Default)]
pub struct TopologyColumn {
    by_slot: Vec<ValueId>,
    ids: HashMap<Arc<str>, ValueId>,
}

impl TopologyColumn {
    /// The node's value, `None` if it lacks the label.
    pub fn value(&self, slot: Slot) -> Option<ValueId> {
        self.by_slot
            .get(slot as usize)
            .copied()
            .filter(|id| *id != 0)
    }

    /// One more than the largest [`ValueId`].
    pub fn len(&self) -> usize {
        self.ids.len() + 1
    }

    /// Whether no node has the label.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn set(&mut self, node: &NodeInfo, key: &str) {
        let id = match node.label(key) {
            Some(value) if node.has_node => match self.ids.get(value) {
                Some(id) => *id,
                None => {
                    let id = self.len() as ValueId;
                    self.ids.insert(Arc::from(value), id);
                    id
                }
            },
            _ => 0,
        };
        let slot = node.slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, 0);
        }
        self.by_slot[slot] = id;
    }
}
