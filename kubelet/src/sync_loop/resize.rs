//! Pods that ask for other resources: what wakes the allocation manager, and what a sync tells of a resize.
//!
//! Upstream: `recordResizeOperations`, `HandlePodReconcile` and the resize parts of `SyncPod` in `kubelet.go`.

use std::sync::Arc;

use api_types::core::v1::Pod;
use apimachinery::resource::{PodResourcesOptions, pod_requests};

use super::Kubelet;
use crate::admission::Rejection;
use crate::allocation::{AllocationHost, Trigger, resize_message, resize_operations};
use crate::container::{PodStatus, PodSyncResult, SyncAction};
use crate::events::Kind;

impl AllocationHost for Kubelet {
    fn admit(&self, pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Rejection> {
        self.admission
            .admit(pod, others, &self.options.node, &self.eviction)
    }

    fn active_pods(&self) -> Vec<Arc<Pod>> {
        self.active_pods()
    }

    fn pod(&self, uid: &str) -> Option<Arc<Pod>> {
        self.pods.by_uid(uid)
    }

    fn sources_ready(&self) -> bool {
        self.all_sources_ready()
    }

    fn sync_now(&self, pod: &Arc<Pod>) {
        Kubelet::sync_now(self, pod);
    }
}

/// Whether a pod's resources in effect shrank, or the pod ended: others may fit now.
fn frees(old: &Arc<Pod>, new: &Arc<Pod>) -> Option<Trigger> {
    let over = |pod: &Pod| matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    let options = PodResourcesOptions {
        use_status_resources: true,
        in_place_pod_level_resources_vertical_scaling_enabled: true,
        ..Default::default()
    };
    let (before, after) = (pod_requests(old, &options), pod_requests(new, &options));
    let shrank = |name: &str| {
        let of = |list: &std::collections::BTreeMap<_, _>| list.get(name).cloned();
        of(&after).unwrap_or_default() < of(&before).unwrap_or_default()
    };
    if shrank("memory") || shrank("cpu") {
        Some(Trigger::PodResized)
    } else if over(new) && !over(old) {
        Some(Trigger::PodTerminated)
    } else {
        None
    }
}

impl Kubelet {
    /// The pod's object changed: if other resources are asked for, they are granted or put off.
    pub(super) fn resize_if_changed(&self, old: Option<&Arc<Pod>>, pod: &Arc<Pod>) {
        // Without an old version whatever is different must count.
        if let Some(old) = old {
            let operations = resize_operations(old, pod, self.allocation.features());
            for operation in &operations {
                self.metrics
                    .container_requested_resizes
                    .with_label_values(&[
                        operation.resource,
                        operation.requirement,
                        operation.operation,
                    ])
                    .inc();
            }
            if operations.is_empty() && old.spec.resources == pod.spec.resources {
                return;
            }
        }
        let uid = &pod.metadata.uid;
        if self.allocation.pending_allocation(pod).is_some() {
            self.allocation.push_pending(self, uid);
            self.allocation.retry_pending(self, Trigger::PodUpdated);
        } else {
            // The wish was taken back.
            self.status.resize.clear_pending(uid);
        }
    }

    /// The pod's status changed: if that freed something, pending resizes are looked at.
    pub(super) fn retry_if_freed(&self, old: Option<&Arc<Pod>>, pod: &Arc<Pod>) {
        if !self.allocation.has_pending() {
            return;
        }
        let Some(old) = old else { return };
        let granted = |pod| self.allocation.allocated_pod(pod);
        if let Some(trigger) = frees(&granted(old), &granted(pod)) {
            self.allocation.retry_pending(self, trigger);
        }
    }

    /// Looks at pending resizes when that is due, for ever.
    pub(super) async fn retry_resizes(self: Arc<Self>) {
        loop {
            let due = self.allocation.next_retry();
            tokio::time::sleep_until(due).await;
            // Something else may have had them looked at meanwhile.
            if self.allocation.next_retry() <= due {
                self.allocation.retry_pending(&*self, Trigger::Periodic);
            }
        }
    }

    /// Before a sync: whether what was granted is in effect.
    pub(super) fn note_resize_progress(&self, pod: &Pod, status: &PodStatus) {
        let uid = &pod.metadata.uid;
        if self.runtime.is_resize_in_progress(pod, status) {
            self.status
                .resize
                .set_in_progress(uid, None, pod.metadata.generation);
        } else if let Some(generation) = self.status.resize.clear_in_progress(uid) {
            self.recorder.pod(
                pod,
                Kind::Normal,
                "ResizeCompleted",
                &resize_message("Pod resize completed", pod, generation, ""),
            );
        }
    }

    /// After a sync: why a resize did not come about; and a look at what came of it, since no state of a container changes.
    pub(super) fn note_resize_result(&self, pod: &Pod, result: &PodSyncResult) {
        let Some(step) = result
            .results
            .iter()
            .find(|step| step.action == SyncAction::ResizePodInPlace)
        else {
            return;
        };
        let uid = &pod.metadata.uid;
        self.pleg.request_reinspect(uid);
        let Some(error) = &step.error else { return };
        let generation = pod.metadata.generation;
        let (generation, news) =
            self.status
                .resize
                .set_in_progress(uid, Some(&error.message), generation);
        if news {
            self.recorder.pod(
                pod,
                Kind::Warning,
                "ResizeError",
                &resize_message("Pod resize error", pod, generation, &error.message),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::ContainerStatus;

    use super::*;
    use crate::pod_resources::tests::container;

    /// A pod that asks for `wanted` and has `actual`.
    fn pod(phase: &str, wanted: &str, actual: &str) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.status.phase = phase.into();
        pod.spec.containers = vec![container("c", &[("cpu", wanted)], &[])];
        let actual = container("c", &[("cpu", actual)], &[]).resources;
        pod.status.container_statuses = vec![ContainerStatus {
            name: "c".into(),
            allocated_resources: pod.spec.containers[0].resources.requests.clone(),
            resources: Some(Box::new(actual)),
            ..Default::default()
        }];
        Arc::new(pod)
    }

    #[track_caller]
    fn check(old: &Arc<Pod>, new: &Arc<Pod>, want: Option<Trigger>) {
        assert_eq!(frees(old, new), want);
    }

    #[test]
    fn what_frees_resources() {
        let same = pod("Running", "1", "1");
        check(&same, &same, None);
        let shrinking = pod("Running", "1", "2");
        check(&shrinking, &same, Some(Trigger::PodResized));
        check(&same, &shrinking, None);
        let ended = pod("Succeeded", "1", "1");
        check(&same, &ended, Some(Trigger::PodTerminated));
        check(&ended, &ended, None);
    }
}
