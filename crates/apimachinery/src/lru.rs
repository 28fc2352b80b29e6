//! A map that forgets what was not used for longest. Upstream: `k8s.io/utils/lru`.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// At most `capacity` entries.
#[derive(Debug)]
pub struct Lru<K, V> {
    capacity: usize,
    clock: u64,
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
}

impl<K: Hash + Eq + Clone, V> Lru<K, V> {
    /// An empty map.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            clock: 0,
            entries: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// The entry, now the most recently used one.
    pub fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (used, value) = self.entries.get_mut(key)?;
        let key = self.order.remove(used)?;
        self.clock += 1;
        *used = self.clock;
        self.order.insert(self.clock, key);
        Some(value)
    }

    /// How much of the capacity is used, from 0 to 1.
    pub fn fill(&self) -> f64 {
        self.entries.len() as f64 / self.capacity as f64
    }

    /// The entry, made if missing, and now the most recently used one.
    pub fn get_or_insert_with(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
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

    /// Sets an entry, which is now the most recently used one.
    pub fn insert(&mut self, key: K, value: V) {
        if let Some(old) = self.get(&key) {
            *old = value;
        } else {
            self.get_or_insert_with(&key, || value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_used_entry_goes_first() {
        let mut lru: Lru<&str, u32> = Lru::new(2);
        lru.insert("a", 1);
        assert_eq!(lru.fill(), 0.5);
        lru.insert("b", 2);
        assert_eq!(*lru.get_or_insert_with(&"a", || 9), 1);
        lru.insert("c", 3);
        assert_eq!(*lru.get_or_insert_with(&"a", || 9), 1);
        assert_eq!(
            *lru.get_or_insert_with(&"b", || 9),
            9,
            "b was the least recently used one"
        );
        assert_eq!(lru.get("c"), None);
        assert_eq!(lru.get("a").copied(), Some(1));
        lru.insert("b", 5);
        lru.insert("d", 6);
        assert_eq!(lru.get("b").copied(), Some(5));
        assert_eq!(lru.get("a"), None);
        assert_eq!(lru.entries.len(), 2);
        assert_eq!(lru.order.len(), 2);
    }
}
