//! Read-your-writes for controllers. Upstream: `pkg/controller/util/consistency`, KEP-5647.
//!
//! A controller that has just written something and reads the cache again may see the world before its write and act twice. It
//! notes the version of each write under the key it works on, and at the beginning of the next round asks whether the caches have
//! come that far; if not, it tries again a little later.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use parking_lot::Mutex;

use super::{Cacheable, SharedInformer};

/// The cache has not seen a write of ours yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "read version: {read} is not as new as written version: {wrote} for group resource {resource}"
)]
pub struct StaleCache {
    /// The resource that was written.
    pub resource: String,
    /// The version the cache is at.
    pub read: u64,
    /// The version of our write.
    pub wrote: u64,
}

type Position = Box<dyn Fn() -> String + Send + Sync>;

/// Remembers the versions of own writes per key, and compares them with the informers.
pub struct ConsistencyGuard<K> {
    informers: HashMap<String, Position>,
    writes: Mutex<HashMap<K, HashMap<String, u64>>>,
}

impl<K: fmt::Debug> fmt::Debug for ConsistencyGuard<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsistencyGuard")
            .field("writes", &*self.writes.lock())
            .finish_non_exhaustive()
    }
}

impl<K> Default for ConsistencyGuard<K> {
    fn default() -> Self {
        Self {
            informers: HashMap::new(),
            writes: Mutex::new(HashMap::new()),
        }
    }
}

impl<K: Hash + Eq> ConsistencyGuard<K> {
    /// A guard that follows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compares writes to `resource` (`pods`, `replicasets.apps`) with this informer.
    pub fn follow<T: Cacheable>(mut self, resource: &str, informer: &SharedInformer<T>) -> Self {
        let lister = informer.lister();
        self.informers.insert(
            resource.to_owned(),
            Box::new(move || lister.resource_version()),
        );
        self
    }

    /// Notes a write made while working on `key`: the version in the server's answer. Versions that are not numbers are ignored.
    pub fn wrote(&self, key: K, resource: &str, resource_version: &str) {
        let Ok(version) = resource_version.parse::<u64>() else {
            return;
        };
        let mut writes = self.writes.lock();
        let newest = writes
            .entry(key)
            .or_default()
            .entry(resource.to_owned())
            .or_insert(version);
        *newest = (*newest).max(version);
    }

    /// Whether the caches show every write noted for `key`. If so the notes are dropped.
    pub fn ensure_ready(&self, key: &K) -> Result<(), StaleCache> {
        let mut writes = self.writes.lock();
        let Some(versions) = writes.get(key) else {
            return Ok(());
        };
        for (resource, &wrote) in versions {
            let Some(position) = self.informers.get(resource) else {
                continue;
            };
            // An unreadable position must not stop the controller for ever.
            let Ok(read) = position().parse::<u64>() else {
                continue;
            };
            if wrote > read {
                return Err(StaleCache {
                    resource: resource.clone(),
                    read,
                    wrote,
                });
            }
        }
        writes.remove(key);
        Ok(())
    }

    /// Whether [`Self::ensure_ready`] says yes.
    pub fn is_ready(&self, key: &K) -> bool {
        self.ensure_ready(key).is_ok()
    }

    /// Drops the notes of a key whose object is gone.
    pub fn clear(&self, key: &K) {
        self.writes.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(position: &'static str) -> ConsistencyGuard<&'static str> {
        let mut guard = ConsistencyGuard::new();
        guard
            .informers
            .insert("pods".to_owned(), Box::new(move || position.to_owned()));
        guard
    }

    #[test]
    fn ready_when_the_cache_has_come_as_far_as_the_newest_write() {
        for (position, writes, expected) in [
            ("10", &["10"][..], true),
            ("10", &["11"], false),
            ("10", &["11", "9"], false),
            ("100", &["9", "99"], true),
            ("", &["9"], true),
            ("10", &["not a number"], true),
            ("10", &[], true),
        ] {
            let guard = guard(position);
            for version in writes {
                guard.wrote("key", "pods", version);
            }
            assert_eq!(guard.is_ready(&"key"), expected, "{position} {writes:?}");
            assert!(guard.is_ready(&"other"));
        }
    }

    #[test]
    fn writes_to_what_is_not_followed_do_not_count() {
        let guard = guard("1");
        guard.wrote("key", "services", "99");
        assert!(guard.is_ready(&"key"));
        guard.wrote("key", "pods", "99");
        let stale = guard.ensure_ready(&"key").unwrap_err();
        assert_eq!(
            stale.to_string(),
            "read version: 1 is not as new as written version: 99 for group resource pods"
        );
        guard.clear(&"key");
        assert!(guard.is_ready(&"key"));
    }
}
