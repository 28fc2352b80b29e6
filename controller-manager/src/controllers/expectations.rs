//! What a controller expects to see in its cache after it created or deleted pods. Upstream: `ControllerExpectations` and
//! `UIDTrackingControllerExpectations` in pkg/controller.
//!
//! A controller that created three pods must not count its pods again before the cache shows those three, or it creates three
//! more. It raises expectations before it writes, handlers lower them as pods are seen, and a key whose expectations are open
//! only updates its status. Expectations expire, so that a lost watch event cannot block a key for ever. Deletions are
//! remembered by pod, because a graceful deletion is seen twice: as an update and as a delete.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::clock::Clock;

/// After this time a key is synced although its expectations are open.
pub const TIMEOUT: Duration = Duration::from_secs(5 * 60);

struct Expected {
    creations: i64,
    deletions: HashSet<String>,
    since: Timestamp,
}

/// Open expectations by key.
pub struct Expectations<K> {
    clock: Clock,
    open: Mutex<HashMap<K, Expected>>,
}

impl<K: Clone + Eq + Hash> Expectations<K> {
    /// No expectations yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            open: Mutex::new(HashMap::new()),
        }
    }

    /// Replaces the key's expectations by `creations` new pods.
    pub fn expect_creations(&self, key: &K, creations: usize) {
        self.expect(key, creations, HashSet::new());
    }

    /// Replaces the key's expectations by the end of these pods, named by [`pod_key`].
    pub fn expect_deletions(&self, key: &K, pods: impl IntoIterator<Item = String>) {
        self.expect(key, 0, pods.into_iter().collect());
    }

    /// Replaces the key's expectations by both.
    pub fn expect(&self, key: &K, creations: usize, deletions: HashSet<String>) {
        let expected = Expected {
            creations: creations as i64,
            deletions,
            since: self.clock.now(),
        };
        self.open.lock().insert(key.clone(), expected);
    }

    /// One pod of the key was created, or its creation failed.
    pub fn creation_observed(&self, key: &K) {
        self.creations_observed(key, 1);
    }

    /// As [`Expectations::creation_observed`], for several pods.
    pub fn creations_observed(&self, key: &K, count: usize) {
        if let Some(expected) = self.open.lock().get_mut(key) {
            expected.creations -= count as i64;
        }
    }

    /// One pod of the key is gone or marked as terminating, or its deletion failed.
    pub fn deletion_observed(&self, key: &K, pod: &str) {
        if let Some(expected) = self.open.lock().get_mut(key) {
            expected.deletions.remove(pod);
        }
    }

    /// Whether the cache can be trusted to hold the effect of the key's earlier writes.
    pub fn satisfied(&self, key: &K) -> bool {
        let open = self.open.lock();
        let Some(expected) = open.get(key) else {
            return true;
        };
        let met = expected.creations <= 0 && expected.deletions.is_empty();
        met || self
            .clock
            .now()
            .duration_since(expected.since)
            .unsigned_abs()
            > TIMEOUT
    }

    /// Forgets the key, because its object is gone.
    pub fn delete(&self, key: &K) {
        self.open.lock().remove(key);
    }
}

/// The name of a pod in deletion expectations.
pub fn pod_key(pod: &api_types::core::v1::Pod) -> String {
    format!("{}/{}", pod.metadata.namespace, pod.metadata.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectations() -> (Clock, Expectations<&'static str>) {
        let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
        (clock.clone(), Expectations::new(clock))
    }

    #[test]
    fn creations_are_awaited_one_by_one() {
        let (_, expectations) = expectations();
        assert!(
            expectations.satisfied(&"a"),
            "a key without expectations is synced"
        );
        expectations.expect_creations(&"a", 2);
        expectations.creation_observed(&"a");
        assert!(!expectations.satisfied(&"a"));
        expectations.creation_observed(&"a");
        assert!(expectations.satisfied(&"a"));
        expectations.creation_observed(&"a");
        assert!(
            expectations.satisfied(&"a"),
            "a creation by someone else does no harm"
        );
    }

    #[test]
    fn a_deletion_seen_twice_counts_once() {
        let (_, expectations) = expectations();
        expectations.expect_deletions(&"a", ["ns/p1".to_owned(), "ns/p2".to_owned()]);
        expectations.deletion_observed(&"a", "ns/p1");
        expectations.deletion_observed(&"a", "ns/p1");
        assert!(!expectations.satisfied(&"a"));
        expectations.deletion_observed(&"a", "ns/p2");
        assert!(expectations.satisfied(&"a"));
    }

    #[test]
    fn expectations_expire() {
        let (clock, expectations) = expectations();
        expectations.expect_creations(&"a", 1);
        clock.set(Timestamp::from_second(300).unwrap());
        assert!(!expectations.satisfied(&"a"));
        clock.set(Timestamp::from_second(301).unwrap());
        assert!(expectations.satisfied(&"a"));
    }

    #[test]
    fn deleting_a_key_clears_it() {
        let (_, expectations) = expectations();
        expectations.expect_creations(&"a", 1);
        expectations.delete(&"a");
        assert!(expectations.satisfied(&"a"));
    }
}
