//! Gives a pod back to the queue and says why. Upstream: schedule_one.go (`handleSchedulingFailure`).

use std::sync::Arc;
use std::time::Instant;

use api_types::core::v1::PodCondition;

use super::status_patch::patch_pod_status;
use super::{Failure, Scheduler};
use crate::framework::plugin::NominatingInfo;
use crate::framework::pod_info::PodInfo;
use crate::framework::runtime::Framework;
use crate::queue::QueuedPodInfo;

/// Longest note of an event.
const NOTE_LENGTH_LIMIT: usize = 1024;

/// Shortens a message to what an event takes.
fn truncated(message: &str) -> String {
    const SUFFIX: &str = " ...";
    if message.len() <= NOTE_LENGTH_LIMIT {
        return message.to_owned();
    }
    let mut end = NOTE_LENGTH_LIMIT - SUFFIX.len();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{SUFFIX}", &message[..end])
}

impl Scheduler {
    pub(super) fn fail(
        self: &Arc<Self>,
        framework: &Arc<Framework>,
        mut queued: QueuedPodInfo,
        failure: Failure,
        nominating: Option<NominatingInfo>,
        start: Instant,
    ) {
        let (reason, result) = if failure.is_rejection() {
            ("Unschedulable", "unschedulable")
        } else {
            ("SchedulerError", "error")
        };
        let metrics = &self.handle.metrics;
        metrics.attempt(result, &framework.profile, start.elapsed().as_secs_f64());
        queued.clear_rejector_plugins();
        let message = failure.to_string();
        match &failure {
            Failure::NoNodes => {
                tracing::debug!(
                    v = 2,
                    pod = queued.key,
                    "Unable to schedule pod; no nodes are registered to the cluster; waiting"
                );
            }
            Failure::Unfit(error) => {
                queued.unschedulable_plugins = error.diagnosis.unschedulable_plugins.clone();
                queued.pending_plugins = error.diagnosis.pending_plugins.clone();
                tracing::debug!(
                    v = 2,
                    pod = queued.key,
                    err = message,
                    "Unable to schedule pod; no fit; waiting"
                );
            }
            Failure::Error(error) => {
                tracing::error!(
                    pod = queued.key,
                    err = error,
                    "Error scheduling pod; retrying"
                );
            }
        }
        let uid = queued.pod.uid().to_owned();
        let meta = queued.pod.pod.metadata.clone();
        let mut pod = queued.pod.clone();
        match self.handle.listers.pods.get_in(&meta.namespace, &meta.name) {
            None => {
                tracing::debug!(
                    v = 2,
                    pod = queued.key,
                    "Pod doesn't exist in informer cache"
                );
                self.queue.done(&uid);
            }
            // Bound after all, though the answer did not come through.
            Some(cached) if !cached.spec.node_name.is_empty() => {
                tracing::info!(
                    pod = queued.key,
                    node = cached.spec.node_name,
                    "Pod has been assigned to node. Abort adding it back to queue."
                );
                self.queue.done(&uid);
            }
            Some(cached) if cached.metadata.uid != uid => {
                tracing::debug!(
                    v = 2,
                    pod = queued.key,
                    "Pod was recreated while handling scheduling failure"
                );
                return self.queue.done(&uid);
            }
            Some(cached) => {
                queued.pod = Arc::new(PodInfo::new(cached));
                pod = queued.pod.clone();
                if let Err(error) = self.queue.add_unschedulable(queued) {
                    tracing::error!(error, "Error occurred");
                }
            }
        }
        // Before the next cycle, which may come before the update of the pod does.
        self.queue.add_nominated_pod(&pod, nominating.as_ref());
        framework.handle.recorder.event_with(
            &client::object_reference(&*pod.pod),
            None,
            "Warning",
            "FailedScheduling",
            "Scheduling",
            truncated(&message),
        );
        let condition = PodCondition {
            type_: "PodScheduled".into(),
            observed_generation: pod.pod.metadata.generation,
            status: "False".into(),
            reason: reason.into(),
            message,
            ..PodCondition::default()
        };
        let client = self.handle.client.clone();
        self.handle.tasks.spawn(async move {
            let nominated = nominating.as_ref().map(|info| info.node.as_str());
            let patched = patch_pod_status(&client, &pod.pod, Some(condition), nominated).await;
            match patched {
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    tracing::error!(pod = pod.full_name(), %error, "Error updating pod");
                }
                Ok(()) => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_short_enough() {
        assert_eq!(truncated("short"), "short");
        let long = "ü".repeat(600);
        let cut = truncated(&long);
        assert!(cut.len() <= NOTE_LENGTH_LIMIT && cut.ends_with(" ..."));
    }
}
