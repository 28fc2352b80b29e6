//! A map that forgets what was not used for longest. Upstream: `k8s.io/utils/lru`.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// At most `capacity` entries.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    capacity: usize,
    clock: u64,
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
}

impl<K: Hash + Eq + Clone, V> Lru<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            clock: 0,
            entries: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// The entry, made if missing, and now the most recently used one.
    pub(super) fn get_or_insert_with(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        self.clock += 1;
        let clock = self.clock;
        if let Some((used, _)) = self.entries.get(key) {
            self.order.remove(used);
        } else if self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.order.insert(clock, key.clone());
        let entry = self
            .entries
            .entry(key.clone())
            .or_insert_with(|| (clock, make()));
        entry.0 = clock;
        &mut entry.1
    }

    pub(super) fn insert(&mut self, key: &K, value: V)
    where
        V: Default,
    {
        *self.get_or_insert_with(key, V::default) = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_used_entry_goes_first() {
        let mut lru: Lru<&str, u32> = Lru::new(2);
        lru.insert(&"a", 1);
        lru.insert(&"b", 2);
        assert_eq!(*lru.get_or_insert_with(&"a", || 9), 1);
        lru.insert(&"c", 3);
        assert_eq!(*lru.get_or_insert_with(&"a", || 9), 1);
        assert_eq!(
            *lru.get_or_insert_with(&"b", || 9),
            9,
            "b was the least recently used one"
        );
        assert_eq!(lru.entries.len(), 2);
        assert_eq!(lru.order.len(), 2);
    }
}
