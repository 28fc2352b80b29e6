//! Grants resources to pods, and decides on changes of what they ask for while they run (in-place resize, KEP-1287).
//!
//! Upstream: `pkg/kubelet/allocation`. A pod has three sets of resources: what its spec asks for, what it was granted here, and
//! what the runtime was last told (`runtime/resize.rs`). Invariants:
//! - everything but the API's view of the spec works with what was granted: workers, admission of others, eviction, statuses;
//! - a grant is on disk before anything acts on it, so that a restart neither loses a resize nor undoes it;
//! - a resize that does not fit waits, and is looked at again when something may have become free.

mod messages;
mod resources;
mod state;

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Pod;
use parking_lot::Mutex;
use tokio::time::Instant;

pub use messages::resize_message;
pub use resources::{
    allocation_of, effective_resources, increases_requests, resizable_containers,
    resize_operations, with_allocation,
};
pub use state::{PodResources, ResourceState, StateError};

use crate::admission::Rejection;
use crate::events::{Kind, Recorder};
use crate::metrics::Metrics;
use crate::pod_resources::{QosClass, qos_class};
use crate::status::ResizeConditions;

const ALLOCATED_FILE: &str = "allocated_pods_state";
const ACTUATED_FILE: &str = "actuated_pods_state";
/// Until the sources have told all they have, and for what they had pending.
const FIRST_RETRY: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(180);

/// Which resources may be resized, by feature gates.
#[derive(Clone, Copy, Debug)]
pub struct ResizeFeatures {
    /// `InPlacePodLevelResourcesVerticalScaling`: those of the pod as a whole.
    pub pod_level: bool,
    /// `InPlacePodVerticalScalingInitContainers`: those of init containers that are no sidecars.
    pub init_containers: bool,
}

/// Why pending resizes are looked at; a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A pod's resources in effect shrank.
    PodResized,
    /// A pod asks for other resources.
    PodUpdated,
    /// Pods came with a resize pending.
    PodsAdded,
    /// Pods went.
    PodsRemoved,
    /// A pod ended.
    PodTerminated,
    /// Time passed.
    Periodic,
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Trigger::PodResized => "pod_resized",
            Trigger::PodUpdated => "pod_updated",
            Trigger::PodsAdded => "pods_added",
            Trigger::PodsRemoved => "pods_removed",
            Trigger::PodTerminated => "pod_terminated",
            Trigger::Periodic => "periodic_retry",
        }
    }
}

/// What the manager asks the kubelet.
pub trait AllocationHost {
    /// Whether a pod may run beside others, all with these resources.
    ///
    /// # Errors
    /// With the reason against it.
    fn admit(&self, pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Rejection>;
    /// Pods that use resources of the node, as their specs have them.
    fn active_pods(&self) -> Vec<Arc<Pod>>;
    /// The pod of that UID, as its spec has it.
    fn pod(&self, uid: &str) -> Option<Arc<Pod>>;
    /// All pods there are have been told of.
    fn sources_ready(&self) -> bool;
    /// Has the pod's worker look at it.
    fn sync_now(&self, pod: &Arc<Pod>);
}

/// The allocation manager.
pub struct AllocationManager {
    allocated: ResourceState,
    features: ResizeFeatures,
    conditions: Arc<ResizeConditions>,
    recorder: Arc<Recorder>,
    metrics: Arc<Metrics>,
    /// UIDs of pods with a resize that was not granted, most urgent first. Also what makes decisions one after the other.
    pending: Mutex<Vec<String>>,
    next_retry: Mutex<Instant>,
}

/// The two states kept under the kubelet's root folder: granted, and in effect.
///
/// # Errors
/// When one cannot be trusted; the text tells an operator what to do.
pub fn open_states(root: &Path) -> Result<(ResourceState, ResourceState), String> {
    let open = |name: &str| {
        let path = root.join(name);
        ResourceState::open(&path).map_err(|error| {
            format!(
                "could not restore state from checkpoint: {error}, please drain this node and delete pod resource information \
                 checkpoint file {:?} before restarting Kubelet",
                path.display().to_string()
            )
        })
    };
    Ok((open(ALLOCATED_FILE)?, open(ACTUATED_FILE)?))
}

impl AllocationManager {
    /// Goes on with what was granted before.
    #[must_use]
    pub fn new(
        allocated: ResourceState,
        features: ResizeFeatures,
        conditions: Arc<ResizeConditions>,
        recorder: Arc<Recorder>,
        metrics: Arc<Metrics>,
    ) -> Self {
        AllocationManager {
            allocated,
            features,
            conditions,
            recorder,
            metrics,
            pending: Mutex::default(),
            next_retry: Mutex::new(Instant::now() + FIRST_RETRY),
        }
    }

    /// Which resources may be resized.
    #[must_use]
    pub fn features(&self) -> ResizeFeatures {
        self.features
    }

    /// The pod with what it was granted, where that is not what it asks for.
    #[must_use]
    pub fn pending_allocation(&self, pod: &Arc<Pod>) -> Option<Arc<Pod>> {
        let granted = self.allocated.pod(&pod.metadata.uid)?;
        with_allocation(pod, &granted, self.features)
    }

    /// The pod with what it was granted; as it is if nothing was.
    #[must_use]
    pub fn allocated_pod(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        self.pending_allocation(pod).unwrap_or_else(|| pod.clone())
    }

    /// All of them with what they were granted.
    #[must_use]
    pub fn allocated_pods(&self, pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        pods.iter().map(|pod| self.allocated_pod(pod)).collect()
    }

    fn grant(&self, pod: &Pod) -> std::io::Result<()> {
        self.allocated
            .set_pod(&pod.metadata.uid, allocation_of(pod, self.features))
    }

    /// Whether a pod fits beside all others.
    fn admit(&self, host: &dyn AllocationHost, pod: &Pod) -> Result<(), Rejection> {
        let others: Vec<Arc<Pod>> = host
            .active_pods()
            .iter()
            .filter(|other| other.metadata.uid != pod.metadata.uid)
            .map(|other| self.allocated_pod(other))
            .collect();
        host.admit(pod, &others)
    }

    /// Lets a pod in, with what it was granted before if it ran here already.
    ///
    /// # Errors
    /// With the reason against it.
    pub fn add_pod(&self, host: &dyn AllocationHost, pod: &Arc<Pod>) -> Result<(), Rejection> {
        let _one_at_a_time = self.pending.lock();
        let pod = self.allocated_pod(pod);
        self.admit(host, &pod)?;
        if let Err(error) = self.grant(&pod) {
            tracing::error!(pod = %pod.metadata.name, %error, "SetPodAllocation failed");
        }
        Ok(())
    }

    /// Forgets what a pod was granted.
    pub fn remove_pod(&self, uid: &str) {
        self.allocated.remove(uid);
    }

    /// Forgets what all but these pods were granted.
    pub fn remove_orphans(&self, known: &std::collections::HashSet<String>) {
        self.allocated.retain(known);
    }

    /// Remembers that a pod asks for other resources than it has.
    pub fn push_pending(&self, host: &dyn AllocationHost, uid: &str) {
        let mut pending = self.pending.lock();
        if pending.iter().any(|other| other == uid) {
            return;
        }
        pending.push(uid.to_owned());
        let mut pods: Vec<Arc<Pod>> = pending.iter().filter_map(|uid| host.pod(uid)).collect();
        pods.sort_by_cached_key(|pod| self.urgency(pod));
        *pending = pods.iter().map(|pod| pod.metadata.uid.clone()).collect();
    }

    /// Sorts pending resizes: first what frees resources, then by priority, class, and time of waiting.
    fn urgency(&self, pod: &Arc<Pod>) -> impl Ord + use<> {
        let increases = self
            .pending_allocation(pod)
            .is_some_and(|granted| increases_requests(&granted, pod));
        let waits_since = self.conditions.pending_since(&pod.metadata.uid);
        (
            increases,
            Reverse(pod.spec.priority.unwrap_or(0)),
            qos_class(pod) != QosClass::Guaranteed,
            // One that was never looked at is the newest.
            waits_since.is_none(),
            waits_since,
        )
    }

    /// Whether resizes wait.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.lock().is_empty()
    }

    /// When resizes are looked at next although nothing happened.
    #[must_use]
    pub fn next_retry(&self) -> Instant {
        *self.next_retry.lock()
    }

    /// Looks at all pending resizes. Workers of pods whose grant or conditions changed are told.
    pub fn retry_pending(&self, host: &dyn AllocationHost, trigger: Trigger) {
        let mut pending = self.pending.lock();
        if !host.sources_ready() {
            *self.next_retry.lock() = Instant::now() + FIRST_RETRY;
            return;
        }
        *self.next_retry.lock() = Instant::now() + RETRY;
        pending.retain(|uid| {
            let Some(pod) = host.pod(uid) else {
                return false;
            };
            let before = self.conditions.list(uid);
            let was_deferred = self.conditions.is_deferred(uid);
            let granted = match self.decide(host, &pod) {
                Ok(granted) => granted,
                Err(error) => {
                    tracing::error!(pod = %pod.metadata.name, %error, "Failed to handle pod resources resize");
                    return true;
                }
            };
            let deferred = self.conditions.is_deferred(uid);
            if was_deferred && !deferred && !self.conditions.is_infeasible(uid) {
                self.metrics
                    .pod_deferred_accepted_resizes
                    .with_label_values(&[trigger.as_str()])
                    .inc();
            }
            if granted || before != self.conditions.list(uid) {
                host.sync_now(&pod);
            }
            deferred
        });
    }

    /// Grants what the pod asks for if it fits. Answers whether its grant changed.
    fn decide(&self, host: &dyn AllocationHost, pod: &Arc<Pod>) -> std::io::Result<bool> {
        let (uid, generation) = (&pod.metadata.uid, pod.metadata.generation);
        if self.pending_allocation(pod).is_none() {
            self.conditions.clear_pending(uid);
            return Ok(false);
        }
        match self.admit(host, pod) {
            Ok(()) => {
                self.grant(pod)?;
                self.conditions.clear_pending(uid);
                // Errors of a resize before this one are its own.
                self.conditions.clear_in_progress(uid);
                self.conditions.set_in_progress(uid, None, generation);
                self.recorder.pod(
                    pod,
                    Kind::Normal,
                    "ResizeStarted",
                    &resize_message("Pod resize started", pod, generation, ""),
                );
                Ok(true)
            }
            Err(rejection) => {
                let Rejection { reason, message } = &rejection;
                tracing::info!(pod = %pod.metadata.name, reason, message, "Pod admission denied");
                if self
                    .conditions
                    .set_pending(uid, reason, message, generation)
                {
                    let event = if self.conditions.is_infeasible(uid) {
                        "ResizeInfeasible"
                    } else {
                        "ResizeDeferred"
                    };
                    let what = format!("Pod resize {reason}");
                    let text = resize_message(&what, pod, generation, message);
                    self.recorder.pod(pod, Kind::Warning, event, &text);
                }
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests;
