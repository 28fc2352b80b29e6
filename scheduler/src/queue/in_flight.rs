//! What happened while a pod was being scheduled. Upstream: backend/queue/active_queue.go (`inFlightPods`, `inFlightEvents`).
//!
//! A pod that is turned down may have been turned down because of something that changed meanwhile. The events since the pod was popped
//! are looked at again when it comes back, so no wake-up is lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use component_base::metrics::GaugeVec;

use crate::framework::event::{Change, ClusterEvent};

/// The label under which popped pods are counted.
const POD_POPPED: &str = "PodPopped";

pub(super) struct InFlight {
    /// When each pod was popped.
    pods: HashMap<String, u64>,
    starts: BTreeSet<u64>,
    events: BTreeMap<u64, (ClusterEvent, Change)>,
    next: u64,
    gauge: GaugeVec,
}

impl InFlight {
    pub(super) fn new(gauge: GaugeVec) -> Self {
        Self {
            pods: HashMap::new(),
            starts: BTreeSet::new(),
            events: BTreeMap::new(),
            next: 0,
            gauge,
        }
    }

    /// A pod was popped. `false` if it is in flight already, which would be a bug.
    pub(super) fn start(&mut self, uid: &str) -> bool {
        if self.pods.contains_key(uid) {
            return false;
        }
        self.next += 1;
        self.pods.insert(uid.to_owned(), self.next);
        self.starts.insert(self.next);
        self.gauge.with_label_values(&[POD_POPPED]).inc();
        true
    }

    pub(super) fn contains(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// Keeps an event while any pod is in flight.
    pub(super) fn note(&mut self, event: ClusterEvent, change: &Change) {
        if self.pods.is_empty() {
            return;
        }
        self.next += 1;
        self.events.insert(self.next, (event, change.clone()));
        self.gauge.with_label_values(&[&event.label()]).inc();
    }

    /// Events since the pod was popped; `None` if it is not in flight.
    pub(super) fn events_for(&self, uid: &str) -> Option<Vec<(ClusterEvent, Change)>> {
        let start = *self.pods.get(uid)?;
        Some(
            self.events
                .range(start..)
                .map(|(_, event)| event.clone())
                .collect(),
        )
    }

    /// The pod is no longer in flight. Events that no other pod can need are dropped.
    pub(super) fn done(&mut self, uid: &str) {
        let Some(start) = self.pods.remove(uid) else {
            return;
        };
        self.starts.remove(&start);
        self.gauge.with_label_values(&[POD_POPPED]).dec();
        let keep = match self.starts.first() {
            Some(oldest) => self.events.split_off(oldest),
            None => BTreeMap::new(),
        };
        for (event, _) in std::mem::replace(&mut self.events, keep).values() {
            self.gauge.with_label_values(&[&event.label()]).dec();
        }
    }

    #[cfg(test)]
    pub(super) fn event_count(&self) -> usize {
        self.events.len()
    }
}
