//! The keys that were used last. Upstream: k8s.io/utils/lru.

use std::collections::{BTreeMap, HashMap};

/// Values by sealed key; the one that was not used for longest goes first.
pub(super) struct Cache<T> {
    size: usize,
    values: HashMap<Vec<u8>, (u64, T)>,
    /// Keys in the order of their last uses.
    uses: BTreeMap<u64, Vec<u8>>,
    next: u64,
}

impl<T: Clone> Cache<T> {
    /// Of at most `size` values.
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            values: HashMap::new(),
            uses: BTreeMap::new(),
            next: 0,
        }
    }

    pub(super) fn get(&mut self, key: &[u8]) -> Option<T> {
        let (used, value) = self.values.get_mut(key)?;
        let key = self.uses.remove(used)?;
        *used = self.next;
        self.uses.insert(self.next, key);
        self.next += 1;
        Some(value.clone())
    }

    pub(super) fn insert(&mut self, key: &[u8], value: T) {
        let old = self.values.insert(key.to_vec(), (self.next, value));
        if let Some((used, _)) = old {
            self.uses.remove(&used);
        }
        self.uses.insert(self.next, key.to_vec());
        self.next += 1;
        if self.values.len() > self.size
            && let Some((_, oldest)) = self.uses.pop_first()
        {
            self.values.remove(&oldest);
        }
    }

    /// How full it is.
    pub(super) fn fill(&self) -> f64 {
        self.values.len() as f64 / self.size as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_not_used_for_longest_goes() {
        let mut cache = Cache::new(2);
        cache.insert(b"a", 1);
        assert_eq!(cache.fill(), 0.5);
        cache.insert(b"b", 2);
        assert_eq!(cache.get(b"a"), Some(1));
        cache.insert(b"c", 3);
        assert_eq!(
            [cache.get(b"a"), cache.get(b"b"), cache.get(b"c")],
            [Some(1), None, Some(3)]
        );
        cache.insert(b"a", 4);
        assert_eq!((cache.get(b"a"), cache.get(b"c")), (Some(4), Some(3)));
        assert_eq!((cache.values.len(), cache.uses.len()), (2, 2));
    }
}
