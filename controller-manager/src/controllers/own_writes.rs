//! Read-your-writes: a key is not synced before the caches have seen its controller's own last writes. Upstream:
//! pkg/controller/util/consistency (KEP-5647, gates StaleControllerConsistency*).
//!
//! Expectations count pods; this guard compares resource versions, and so also catches patches and status writes.

use api_types::Resource;
use client::{ConsistencyGuard, ObjectKey, SharedInformer};
use component_base::metrics::{CounterVec, Opts};

use crate::context::Setup;

/// The guard of one controller, with its `stale_sync_skips_total`. Does nothing where it is switched off.
pub struct OwnWrites(Option<On>);

struct On {
    guard: ConsistencyGuard<ObjectKey>,
    skips: CounterVec,
}

impl OwnWrites {
    /// A guard when `gate` is on. `subsystem` and `kind` name the metric.
    pub fn new(setup: &Setup, gate: &str, subsystem: &str, kind: &str) -> Self {
        if !setup.enabled(gate) {
            return Self::off();
        }
        let help = format!("Total number of {kind} syncs skipped due to a stale watch cache.");
        let opts = Opts::new(format!("{subsystem}_stale_sync_skips_total"), help);
        let skips = setup.metrics().counter_vec(opts, &["group", "resource"]);
        Self(Some(On {
            guard: ConsistencyGuard::new(),
            skips,
        }))
    }

    /// A guard that never holds anything back.
    pub fn off() -> Self {
        Self(None)
    }

    /// Compares writes to this kind with its cache.
    pub fn follow<T: Resource>(self, informer: &SharedInformer<T>) -> Self {
        Self(self.0.map(|on| On {
            guard: on.guard.follow(&name::<T>(), informer),
            skips: on.skips,
        }))
    }

    /// Notes a write for `key`, which left an object at `resource_version`.
    pub fn wrote<T: Resource>(&self, key: &ObjectKey, object: &T) {
        if let Some(on) = &self.0 {
            on.guard.wrote(
                key.clone(),
                &name::<T>(),
                &object.metadata().resource_version,
            );
        }
    }

    /// Whether the caches show all writes for `key`. Counts when they do not.
    pub fn is_ready(&self, key: &ObjectKey) -> bool {
        let Some(on) = &self.0 else { return true };
        match on.guard.ensure_ready(key) {
            Ok(()) => true,
            Err(stale) => {
                let (resource, group) = stale
                    .resource
                    .split_once('.')
                    .unwrap_or((&stale.resource, ""));
                on.skips.with_label_values(&[group, resource]).inc();
                false
            }
        }
    }

    /// Forgets a key whose object is gone.
    pub fn clear(&self, key: &ObjectKey) {
        if let Some(on) = &self.0 {
            on.guard.clear(key);
        }
    }
}

/// `pods`, `replicasets.apps`.
fn name<T: Resource>() -> String {
    if T::GROUP.is_empty() {
        T::PLURAL.to_owned()
    } else {
        format!("{}.{}", T::PLURAL, T::GROUP)
    }
}

#[cfg(test)]
mod tests {
    use api_types::apps::v1::ReplicaSet;
    use api_types::core::v1::Pod;

    use super::*;

    #[test]
    fn switched_off_it_holds_nothing_back() {
        let (writes, key) = (OwnWrites::off(), ObjectKey::new("ns", "a"));
        let mut pod = Pod::default();
        pod.metadata.resource_version = "9".into();
        writes.wrote(&key, &pod);
        assert!(writes.is_ready(&key));
        writes.clear(&key);
    }

    #[test]
    fn resources_are_named_with_their_group() {
        assert_eq!(
            (name::<Pod>(), name::<ReplicaSet>()),
            ("pods".to_owned(), "replicasets.apps".to_owned())
        );
    }
}
