//! A heap whose items can be found, changed and removed by key. Upstream: backend/heap.

use std::collections::HashMap;

use super::QueuedPodInfo;

/// Whether the first goes before the second.
pub(super) type Less<'a> = &'a dyn Fn(&QueuedPodInfo, &QueuedPodInfo) -> bool;

/// Pods by `namespace/name`, the first in order on top. The order is passed to each call: it belongs to the queue's plugins.
#[derive(Default)]
pub(super) struct Heap {
    items: Vec<QueuedPodInfo>,
    positions: HashMap<String, usize>,
}

impl Heap {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.positions.contains_key(key)
    }

    pub(super) fn peek(&self) -> Option<&QueuedPodInfo> {
        self.items.first()
    }

    /// Adds an item, or replaces the one with its key.
    pub(super) fn push(&mut self, item: QueuedPodInfo, less: Less<'_>) {
        let at = match self.positions.get(&item.key) {
            Some(at) => {
                let at = *at;
                self.items[at] = item;
                at
            }
            None => {
                self.positions.insert(item.key.clone(), self.items.len());
                self.items.push(item);
                self.items.len() - 1
            }
        };
        self.settle(at, less);
    }

    pub(super) fn pop(&mut self, less: Less<'_>) -> Option<QueuedPodInfo> {
        (!self.items.is_empty()).then(|| self.remove_at(0, less))
    }

    pub(super) fn remove(&mut self, key: &str, less: Less<'_>) -> Option<QueuedPodInfo> {
        let at = *self.positions.get(key)?;
        Some(self.remove_at(at, less))
    }

    fn remove_at(&mut self, at: usize, less: Less<'_>) -> QueuedPodInfo {
        let last = self.items.len() - 1;
        self.swap(at, last);
        let item = self.items.swap_remove(last);
        self.positions.remove(&item.key);
        if at < self.items.len() {
            self.settle(at, less);
        }
        item
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        self.items.swap(a, b);
        for at in [a, b] {
            if let Some(position) = self.positions.get_mut(&self.items[at].key) {
                *position = at;
            }
        }
    }

    /// Moves an item up or down to where it belongs.
    fn settle(&mut self, mut at: usize, less: Less<'_>) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !less(&self.items[at], &self.items[parent]) {
                break;
            }
            self.swap(at, parent);
            at = parent;
        }
        loop {
            let mut first = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.items.len() && less(&self.items[child], &self.items[first]) {
                    first = child;
                }
            }
            if first == at {
                return;
            }
            self.swap(at, first);
            at = first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::tests::queued;

    #[test]
    fn pops_in_order_whatever_happened() {
        let less = |a: &QueuedPodInfo, b: &QueuedPodInfo| a.timestamp < b.timestamp;
        let mut heap = Heap::default();
        for i in 0..50_i64 {
            heap.push(queued(&format!("p{i}"), (i * 37) % 50), &less);
        }
        heap.push(queued("p3", 1000), &less);
        assert!(heap.remove("ns/p7", &less).is_some() && heap.remove("ns/p7", &less).is_none());
        assert!(heap.contains("ns/p3") && !heap.contains("ns/p7"));
        let mut times = Vec::new();
        while let Some(item) = heap.pop(&less) {
            times.push(item.timestamp);
        }
        assert_eq!(times.len(), 49);
        assert!(times.is_sorted());
        assert_eq!(times.last(), Some(&1000));
    }
}
