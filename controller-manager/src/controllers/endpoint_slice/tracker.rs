//! What the controller wrote and has not seen yet. Upstream: EndpointSliceTracker and TriggerTimeTracker in k8s.io/endpointslice/util.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api_types::Time;
use api_types::core::v1::{Pod, Service};
use api_types::discovery::v1::EndpointSlice;
use client::ObjectKey;
use parking_lot::Mutex;

use super::super::pod_state;
use super::SERVICE_NAME;

/// The generation of a slice that is expected to go.
const DELETED: i64 = -1;

/// The generations of each Service's slices that the cache must reach before the Service is looked at again.
#[derive(Default)]
pub struct SliceTracker {
    generations: Mutex<HashMap<ObjectKey, HashMap<String, i64>>>,
}

fn service_of(slice: &EndpointSlice) -> ObjectKey {
    let name = slice
        .metadata
        .labels
        .get(SERVICE_NAME)
        .cloned()
        .unwrap_or_default();
    ObjectKey::new(slice.metadata.namespace.clone(), name)
}

impl SliceTracker {
    /// The slice is known.
    pub fn has(&self, slice: &EndpointSlice) -> bool {
        let generations = self.generations.lock();
        generations
            .get(&service_of(slice))
            .is_some_and(|slices| slices.contains_key(&slice.metadata.uid))
    }

    /// The slice is unknown or newer than what we wrote: somebody else changed it.
    pub fn should_sync(&self, slice: &EndpointSlice) -> bool {
        let generations = self.generations.lock();
        generations
            .get(&service_of(slice))
            .and_then(|slices| slices.get(&slice.metadata.uid))
            .is_none_or(|generation| slice.metadata.generation > *generation)
    }

    /// The slices are older than what we wrote.
    pub fn is_stale(&self, service: &ObjectKey, slices: &[Arc<EndpointSlice>]) -> bool {
        let generations = self.generations.lock();
        let Some(expected) = generations.get(service) else {
            return false;
        };
        slices.iter().any(|slice| {
            expected.get(&slice.metadata.uid).is_some_and(|generation| {
                *generation == DELETED || *generation > slice.metadata.generation
            })
        }) || expected.iter().any(|(uid, generation)| {
            *generation != DELETED && !slices.iter().any(|slice| slice.metadata.uid == *uid)
        })
    }

    /// We wrote the slice.
    pub fn wrote(&self, slice: &EndpointSlice) {
        self.expect(slice, slice.metadata.generation);
    }

    /// We deleted the slice.
    pub fn expect_deletion(&self, slice: &EndpointSlice) {
        self.expect(slice, DELETED);
    }

    fn expect(&self, slice: &EndpointSlice, generation: i64) {
        self.generations
            .lock()
            .entry(service_of(slice))
            .or_default()
            .insert(slice.metadata.uid.clone(), generation);
    }

    /// The slice is gone. False when that was not our doing.
    pub fn deleted(&self, slice: &EndpointSlice) -> bool {
        let mut generations = self.generations.lock();
        let Some(slices) = generations.get_mut(&service_of(slice)) else {
            return true;
        };
        slices
            .remove(&slice.metadata.uid)
            .is_none_or(|generation| generation == DELETED)
    }

    /// The Service is gone.
    pub fn forget(&self, service: &ObjectKey) {
        self.generations.lock().remove(service);
    }
}

/// Finds the change that made a sync necessary, for the annotation endpoints.kubernetes.io/last-change-trigger-time.
#[derive(Default)]
pub struct TriggerTimeTracker {
    services: Mutex<HashMap<ObjectKey, Seen>>,
}

#[derive(Default)]
struct Seen {
    service: Time,
    pods: BTreeMap<String, Time>,
}

impl TriggerTimeTracker {
    /// The time of the earliest change since the last call; `None` when there was none.
    pub fn trigger_time(&self, service: &Service, pods: &[Arc<Pod>]) -> Option<Time> {
        let key = ObjectKey::new(&*service.metadata.namespace, &*service.metadata.name);
        let created = service.metadata.creation_timestamp;
        let times: BTreeMap<String, Time> = pods
            .iter()
            .filter_map(|pod| {
                let ready = pod_state::condition(pod, "Ready")?.last_transition_time;
                (!ready.is_zero()).then(|| (pod.metadata.name.clone(), ready))
            })
            .collect();
        let new = Seen {
            service: created,
            pods: times,
        };
        let mut services = self.services.lock();
        let Some(seen) = services.get(&key) else {
            services.insert(key, new);
            return Some(created).filter(|time| !time.is_zero());
        };
        let pods = new
            .pods
            .iter()
            .filter(|(name, time)| {
                seen.pods
                    .get(*name)
                    .is_none_or(|old| time.unix() > old.unix())
            })
            .map(|(_, time)| *time);
        let service = (created.unix() > seen.service.unix()).then_some(created);
        let earliest = pods.chain(service).min_by_key(Time::unix);
        services.insert(key, new);
        earliest.filter(|time| !time.is_zero())
    }

    /// The Service is gone.
    pub fn forget(&self, service: &ObjectKey) {
        self.services.lock().remove(service);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(uid: &str, generation: i64) -> EndpointSlice {
        let mut slice = EndpointSlice::default();
        slice.metadata.namespace = "ns".into();
        slice.metadata.uid = uid.into();
        slice.metadata.generation = generation;
        slice
            .metadata
            .labels
            .insert(SERVICE_NAME.into(), "svc".into());
        slice
    }

    #[test]
    fn writes_make_older_caches_stale() {
        let (tracker, service) = (SliceTracker::default(), ObjectKey::new("ns", "svc"));
        let stale = |slices: &[(&str, i64)]| {
            let slices: Vec<_> = slices
                .iter()
                .map(|(uid, g)| Arc::new(slice(uid, *g)))
                .collect();
            tracker.is_stale(&service, &slices)
        };
        assert!(!stale(&[("a", 1)]), "nothing is expected yet");
        tracker.wrote(&slice("a", 2));
        assert!(stale(&[("a", 1)]));
        assert!(stale(&[]), "a slice we made is not in the cache");
        assert!(!stale(&[("a", 2)]));
        assert!(!stale(&[("a", 3), ("b", 1)]));
        assert!(!tracker.should_sync(&slice("a", 2)));
        assert!(tracker.should_sync(&slice("a", 3)) && tracker.should_sync(&slice("b", 1)));
        tracker.expect_deletion(&slice("a", 2));
        assert!(
            stale(&[("a", 2)]),
            "a slice we deleted is still in the cache"
        );
        assert!(!stale(&[]));
        assert!(tracker.deleted(&slice("a", 2)));
        tracker.wrote(&slice("c", 1));
        assert!(!tracker.deleted(&slice("c", 1)), "somebody else deleted it");
    }

    #[test]
    fn trigger_times() {
        let tracker = TriggerTimeTracker::default();
        let mut service = Service::default();
        service.metadata.creation_timestamp = Time::from_unix(100);
        let pod = |name: &str, ready| {
            let mut pod = pod_state_ready(ready);
            pod.metadata.name = name.into();
            Arc::new(pod)
        };
        let check = |pods: &[Arc<Pod>], expected: Option<i64>| {
            assert_eq!(
                tracker.trigger_time(&service, pods).map(|time| time.unix()),
                expected
            );
        };
        check(&[pod("a", 50)], Some(100));
        check(&[pod("a", 50)], None);
        check(&[pod("a", 120), pod("b", 110)], Some(110));
        check(&[pod("a", 130), pod("b", 110)], Some(130));
        check(&[pod("a", 130)], None);
    }

    fn pod_state_ready(second: i64) -> Pod {
        let mut pod = Pod::default();
        pod.status
            .conditions
            .push(api_types::core::v1::PodCondition {
                type_: "Ready".into(),
                status: "True".into(),
                last_transition_time: Time::from_unix(second),
                ..Default::default()
            });
        pod
    }
}
