//! Read-your-writes: a key is not synced before the caches have seen its controller's own last writes. Upstream:
//! pkg/controller/util/consistency (KEP-5647, gates StaleControllerConsistency*).
//!
//! Expectations count pods; this guard compares resource versions, and so also catches status and patch writes. Resource
//! versions are compared as numbers, which KEP-5504 allows for all of Kubernetes' own storage.

use std::collections::HashMap;

use client::ObjectKey;
use parking_lot::Mutex;

/// Returns the newest resource version a cache has stored, or nothing when it cannot tell.
pub type CacheVersion = Box<dyn Fn() -> Option<u64> + Send + Sync>;

struct Written {
    uid: String,
    /// Newest own write by position of the resource in `caches`.
    versions: Vec<u64>,
}

/// The own writes that the caches may not have seen yet, by owner.
pub struct OwnWrites {
    caches: Vec<CacheVersion>,
    written: Mutex<HashMap<ObjectKey, Written>>,
}

impl OwnWrites {
    /// Guards writes to resources whose caches are `caches`; a resource is named by its position.
    pub fn new(caches: Vec<CacheVersion>) -> Self {
        Self { caches, written: Mutex::new(HashMap::new()) }
    }

    /// Notes a write to a resource for `owner`, which left the object at `resource_version`.
    pub fn wrote(&self, owner: &ObjectKey, uid: &str, cache: usize, resource_version: &str) {
        let Ok(version) = resource_version.parse::<u64>() else { return };
        let mut written = self.written.lock();
        let entry = written.entry(owner.clone()).or_insert_with(|| Written { uid: uid.to_owned(), versions: Vec::new() });
        if entry.uid != uid {
            *entry = Written { uid: uid.to_owned(), versions: Vec::new() };
        }
        entry.versions.resize(self.caches.len().max(cache + 1), 0);
        entry.versions[cache] = entry.versions[cache].max(version);
    }

    /// Whether every cache has seen the owner's writes. Forgets them if so.
    pub fn seen(&self, owner: &ObjectKey) -> bool {
        let mut written = self.written.lock();
        let Some(entry) = written.get(owner) else { return true };
        let behind = entry.versions.iter().zip(&self.caches).any(|(version, cache)| cache().is_some_and(|read| read < *version));
        if !behind {
            written.remove(owner);
        }
        !behind
    }

    /// Forgets an owner that is gone; with a `uid` only that incarnation of it.
    pub fn clear(&self, owner: &ObjectKey, uid: Option<&str>) {
        let mut written = self.written.lock();
        if written.get(owner).is_some_and(|entry| uid.is_none_or(|uid| uid == entry.uid)) {
            written.remove(owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_key_waits_for_its_own_writes_only() {
        let pods = Arc::new(AtomicU64::new(5));
        let read = pods.clone();
        let writes = OwnWrites::new(vec![Box::new(move || Some(read.load(Ordering::Relaxed)))]);
        let (a, b) = (ObjectKey::new("ns", "a"), ObjectKey::new("ns", "b"));
        writes.wrote(&a, "uid-a", 0, "9");
        writes.wrote(&a, "uid-a", 0, "7");
        assert!(!writes.seen(&a));
        assert!(writes.seen(&b));
        pods.store(9, Ordering::Relaxed);
        assert!(writes.seen(&a));
        pods.store(5, Ordering::Relaxed);
        assert!(writes.seen(&a), "a write that was seen is forgotten");
    }

    #[test]
    fn a_new_incarnation_starts_clean() {
        let writes = OwnWrites::new(vec![Box::new(|| Some(1))]);
        let key = ObjectKey::new("ns", "a");
        writes.wrote(&key, "old", 0, "9");
        writes.clear(&key, Some("other"));
        assert!(!writes.seen(&key));
        writes.clear(&key, Some("old"));
        assert!(writes.seen(&key));
    }
}
