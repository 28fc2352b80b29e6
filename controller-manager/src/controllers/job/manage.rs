//! Creating and deleting a Job's pods. Upstream: `manageJob`, `deleteJobPods`, `deleteActivePods` in job_controller.go.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Pod;
use api_types::meta::v1::PatchOptions;
use client::Patch;
use futures::future::join_all;
use serde_json::json;

use super::backoff::remaining_for_index;
use super::pods::{
    TRACKING_FINALIZER, active_to_remove, add_index_variables, completions, has_finalizer,
    indexes_of, is_indexed, is_suspended, replaces_failed_only, set_index,
};
use super::{JobController, JobSync, SYNC_BATCH_PERIOD};
use crate::controllers::SyncError;
use crate::controllers::controller_ref::new_controller_ref;
use crate::controllers::expectations::pod_key;
use crate::controllers::pod_control::{
    SLOW_START_INITIAL_BATCH_SIZE, is_namespace_terminating, pod_from_template, slow_start,
};
use crate::controllers::pod_state::{is_ready, is_terminating};

/// Pods created or deleted in one sync at most.
const MAX_PODS_PER_SYNC: usize = 500;

/// What managing pods came to; also the value of the `action` label of metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action {
    Reconciling,
    Tracking,
    PodsCreated,
    PodsDeleted,
}

impl Action {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Reconciling => "reconciling",
            Self::Tracking => "tracking",
            Self::PodsCreated => "pods_created",
            Self::PodsDeleted => "pods_deleted",
        }
    }
}

/// How many pods should run, suspension apart.
fn wanted_active(sync: &JobSync) -> i32 {
    let parallelism = sync.job.spec.parallelism.unwrap_or(1);
    match sync.job.spec.completions {
        // After the first success of a Job without count, what runs may finish, and nothing new starts.
        None if sync.succeeded > 0 => sync.active.len() as i32,
        None => parallelism,
        Some(completions) => (completions - sync.succeeded).min(parallelism).max(0),
    }
}

impl JobController {
    /// Brings the number of active pods to what it should be. The counts in `sync` follow what was done.
    pub(super) async fn manage(&self, sync: &mut JobSync) -> (Action, Result<(), SyncError>) {
        if is_suspended(&sync.job) {
            let remove = active_to_remove(&sync.job, &sync.active, sync.active.len());
            return (Action::PodsDeleted, self.delete_pods(sync, remove).await);
        }
        let active = sync.active.len() as i32;
        let wanted = wanted_active(sync);
        let mut remove = active_to_remove(
            &sync.job,
            &sync.active,
            usize::try_from(active - wanted).unwrap_or(0),
        );
        remove.truncate(MAX_PODS_PER_SYNC);
        if !remove.is_empty() {
            // Deletion and creation never meet in one sync; deletion goes first.
            return (Action::PodsDeleted, self.delete_pods(sync, remove).await);
        }
        let terminating = if replaces_failed_only(&sync.job) {
            sync.terminating
        } else {
            0
        };
        let missing = usize::try_from(wanted - terminating - active)
            .unwrap_or(0)
            .min(MAX_PODS_PER_SYNC);
        if missing == 0 {
            return (Action::Tracking, Ok(()));
        }
        let (indexes, wait) = self.to_create(sync, missing);
        if !wait.is_zero() {
            self.queue
                .add_after(sync.key.clone(), wait.max(SYNC_BATCH_PERIOD));
            // As upstream: while waiting the status says that no pod is active.
            sync.active_count = 0;
            return (Action::PodsCreated, Ok(()));
        }
        let count = indexes.as_ref().map_or(missing, Vec::len);
        (
            Action::PodsCreated,
            self.create_pods(sync, count, indexes).await,
        )
    }

    /// The indexes to create pods for (none for a Job without), or the time to wait first.
    fn to_create(&self, sync: &JobSync, count: usize) -> (Option<Vec<i32>>, Duration) {
        let (job, now) = (&sync.job, self.clock.now());
        let per_index = job.spec.backoff_limit_per_index.is_some();
        if !per_index {
            let wait = sync.backoff.remaining(now);
            if !wait.is_zero() {
                return (None, wait);
            }
        }
        if !is_indexed(job) {
            return (None, Duration::ZERO);
        }
        let mut taken: HashSet<i32> = indexes_of(&sync.active);
        if replaces_failed_only(job) {
            taken.extend(indexes_of(
                sync.pods.iter().filter(|pod| is_terminating(pod)),
            ));
        }
        let mut not_pending = sync.succeeded_indexes.with(taken);
        if let Some(failed) = &sync.failed_indexes {
            not_pending = not_pending.merge(failed);
        }
        let pending = not_pending.missing(count, completions(job));
        if !per_index {
            return (Some(pending), Duration::ZERO);
        }
        let waits: Vec<_> = pending
            .iter()
            .map(|index| (*index, remaining_for_index(sync.delayed.get(index), now)))
            .collect();
        let ready: Vec<_> = waits
            .iter()
            .filter(|(_, wait)| wait.is_zero())
            .map(|(index, _)| *index)
            .collect();
        let first = waits
            .iter()
            .map(|(_, wait)| *wait)
            .min()
            .unwrap_or_default();
        if ready.is_empty() {
            (Some(ready), first)
        } else {
            (Some(ready), Duration::ZERO)
        }
    }

    async fn create_pods(
        &self,
        sync: &mut JobSync,
        count: usize,
        indexes: Option<Vec<i32>>,
    ) -> Result<(), SyncError> {
        self.expectations.expect_creations(&sync.key, count);
        let job = &sync.job;
        let mut template = job.spec.template.clone();
        if is_indexed(job) {
            add_index_variables(&mut template);
        }
        let mut pod = pod_from_template(
            &template,
            &sync.key.namespace,
            &sync.key.name,
            new_controller_ref(job),
        );
        if !has_finalizer(&pod) {
            pod.metadata.finalizers.push(TRACKING_FINALIZER.to_owned());
        }
        let create = async |at: usize| {
            let mut pod = pod.clone();
            if let Some(&index) = indexes.as_ref().and_then(|indexes| indexes.get(at)) {
                set_index(
                    &mut pod,
                    job,
                    index,
                    sync.delayed.get(&index).map(|pod| &**pod),
                );
            }
            match self.control.create(&sync.reference, &pod).await {
                Ok(created) => {
                    self.wrote_pod(&sync.key, &created);
                    Ok(())
                }
                Err(error) if is_namespace_terminating(&error) => Ok(()),
                Err(error) => Err(error.into()),
            }
        };
        let (successes, result) = slow_start(count, SLOW_START_INITIAL_BATCH_SIZE, create).await;
        self.expectations
            .creations_observed(&sync.key, count - successes);
        self.record_creations(sync, successes, count - successes);
        sync.active_count += successes as i32;
        result
    }

    fn record_creations(&self, sync: &JobSync, succeeded: usize, failed: usize) {
        let failed_only = sync.job.spec.pod_replacement_policy.as_deref() == Some("Failed");
        let reason = match (failed_only, sync.failed > 0, sync.terminating > 0) {
            (true, true, _) => "recreate_failed",
            (false, true, _) | (_, false, true) => "recreate_terminating_or_failed",
            (_, false, false) => "new",
        };
        for (status, count) in [("succeeded", succeeded), ("failed", failed)] {
            if count > 0 {
                self.metrics
                    .pods_created
                    .with_label_values(&[reason, status])
                    .inc_by(count as f64);
            }
        }
    }

    /// Deletes pods that are not counted: their finalizer goes first.
    async fn delete_pods(&self, sync: &mut JobSync, pods: Vec<Arc<Pod>>) -> Result<(), SyncError> {
        self.expectations
            .expect_deletions(&sync.key, pods.iter().map(|pod| pod_key(pod)));
        let delete = async |pod: &Arc<Pod>| -> Result<(), SyncError> {
            let result = async {
                self.remove_finalizer(&sync.key, pod).await?;
                self.control
                    .delete(&sync.reference, &sync.key.namespace, &pod.metadata.name)
                    .await
            };
            match result.await {
                Ok(()) => Ok(()),
                Err(error) => {
                    // The informer will not see this deletion.
                    self.expectations
                        .deletion_observed(&sync.key, &pod_key(pod));
                    if error.is_not_found() {
                        Ok(())
                    } else {
                        Err(error.into())
                    }
                }
            }
        };
        let results = join_all(pods.iter().map(delete)).await;
        note_deletions(sync, &pods, results)
    }

    /// Deletes all active pods of a Job that has ended; they are counted, so their finalizers stay for now. Returns whether all
    /// deletions were accepted.
    pub(super) async fn delete_active(&self, sync: &mut JobSync) -> (bool, Result<(), SyncError>) {
        let pods = sync.active.clone();
        let delete = async |pod: &Arc<Pod>| match self
            .control
            .delete(&sync.reference, &sync.key.namespace, &pod.metadata.name)
            .await
        {
            Err(error) if !error.is_not_found() => {
                Err(SyncError::other(format!("unable to delete pods: {error}")))
            }
            _ => Ok(()),
        };
        let results = join_all(pods.iter().map(delete)).await;
        let all = results.iter().all(Result::is_ok);
        (all, note_deletions(sync, &pods, results))
    }

    /// Takes the tracking finalizer off a pod, where it has it.
    pub(super) async fn remove_finalizer(
        &self,
        key: &client::ObjectKey,
        pod: &Pod,
    ) -> Result<(), client::Error> {
        if !has_finalizer(pod) {
            return Ok(());
        }
        let patch =
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [TRACKING_FINALIZER]}});
        let patch = Patch::Strategic(patch.to_string().into_bytes());
        let api = self.client.namespaced::<Pod>(&pod.metadata.namespace);
        let patched: Pod = api
            .patch(&pod.metadata.name, &patch, &PatchOptions::default())
            .await?;
        self.wrote_pod(key, &patched);
        Ok(())
    }
}

/// Moves deleted pods from active to terminating in the counts. Returns the first error.
fn note_deletions(
    sync: &mut JobSync,
    pods: &[Arc<Pod>],
    results: Vec<Result<(), SyncError>>,
) -> Result<(), SyncError> {
    let deleted = results.iter().filter(|result| result.is_ok()).count() as i32;
    sync.active_count -= deleted;
    sync.terminating += deleted;
    sync.ready -= pods.iter().filter(|pod| is_ready(pod)).count() as i32;
    results.into_iter().find(Result::is_err).unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::super::pods::tests::pod;
    use super::*;

    #[track_caller]
    fn check(
        completions: Option<i32>,
        parallelism: i32,
        active: usize,
        succeeded: i32,
        expected: i32,
    ) {
        let mut sync = JobSync::default();
        sync.job.spec.completions = completions;
        sync.job.spec.parallelism = Some(parallelism);
        sync.active = (0..active)
            .map(|_| Arc::new(pod("p", "", "Running")))
            .collect();
        sync.succeeded = succeeded;
        assert_eq!(wanted_active(&sync), expected);
    }

    #[test]
    fn active_pods_follow_completions_and_parallelism() {
        check(None, 3, 1, 0, 3);
        check(None, 3, 2, 1, 2);
        check(None, 3, 5, 1, 5);
        check(Some(5), 3, 0, 0, 3);
        check(Some(5), 3, 0, 3, 2);
        check(Some(5), 3, 0, 9, 0);
        check(Some(5), 0, 0, 0, 0);
    }
}
