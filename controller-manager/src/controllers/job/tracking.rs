//! Counting finished pods exactly once, and ending the Job. Upstream: `trackJobStatusAndRemoveFinalizers` in job_controller.go
//! (KEP-2307).
//!
//! A pod keeps its finalizer until it is counted. First its uid goes into `status.uncountedTerminatedPods`, then the finalizer is
//! removed, then the uid moves into the counter: after a crash between any two steps the next sync continues there. Succeeded
//! pods of indexed Jobs need no uid, their index is enough.

use std::collections::HashSet;
use std::sync::Arc;

use api_types::batch::v1::{Job, JobStatus, UncountedTerminatedPods};
use api_types::core::v1::Pod;
use futures::future::join_all;

use super::conditions::{self, COMPLETE, FAILED, FAILURE_TARGET, SUCCESS_CRITERIA_MET};
use super::indexes::Intervals;
use super::pods::{
    completion_index, completions, has_finalizer, is_failed, is_indexed, is_succeeded,
    sort_by_index, valid_index,
};
use super::policies::judge_failure;
use super::{JobController, JobSync};
use crate::controllers::SyncError;

/// Longest lists of uids in the status, which keep it below about 20 KB.
const MAX_UNCOUNTED: usize = 500;

/// What one pass over the finished pods found.
#[derive(Debug, Default, PartialEq)]
struct Pass {
    /// Pods whose finalizer can go.
    release: Vec<Arc<Pod>>,
    succeeded_indexes: Vec<i32>,
    succeeded: Vec<String>,
    failed: Vec<String>,
    /// Actions of the failure policy that matched.
    actions: Vec<&'static str>,
    /// More pods wait for the next sync.
    more: bool,
}

impl Pass {
    fn changed(&self) -> bool {
        !(self.succeeded_indexes.is_empty() && self.succeeded.is_empty() && self.failed.is_empty())
    }
}

fn pass(sync: &JobSync) -> Pass {
    let (job, mut found) = (&sync.job, Pass::default());
    let uncounted = job
        .status
        .uncounted_terminated_pods
        .as_deref()
        .cloned()
        .unwrap_or_default();
    let indexed = is_indexed(job);
    let mut pods = sync.pods.clone();
    if indexed {
        sort_by_index(&mut pods);
    }
    for pod in pods {
        if !has_finalizer(&pod) || sync.expected_removals.contains(&pod.metadata.uid) {
            continue;
        }
        let failed = is_failed(&pod, job);
        if !may_release(sync, &pod, failed) {
            continue;
        }
        let uid = &pod.metadata.uid;
        let ended = sync.finished.as_ref();
        if is_succeeded(&pod) && !sync.uncounted_failed.contains(uid) {
            if indexed {
                let new = valid_index(&pod, job).filter(|index| !sync.previous_indexes.has(*index));
                found.succeeded_indexes.extend(new);
            } else if !sync.uncounted_succeeded.contains(uid) {
                found.succeeded.push(uid.clone());
            }
        } else if failed || ended.is_some_and(|condition| condition.type_ != SUCCESS_CRITERIA_MET) {
            // In a Job that has failed every pod that did not succeed counts as failed.
            if !sync.uncounted_failed.contains(uid)
                && (!indexed || valid_index(&pod, job).is_some())
            {
                let verdict = judge_failure(job.spec.pod_failure_policy.as_deref(), &pod);
                found.actions.extend(verdict.action);
                if verdict.counts {
                    found.failed.push(uid.clone());
                }
            }
        }
        found.release.push(pod);
        let noted = found.succeeded_indexes.len()
            + uncounted.succeeded.len()
            + found.succeeded.len()
            + uncounted.failed.len()
            + found.failed.len();
        if noted >= MAX_UNCOUNTED {
            found.more = true;
            break;
        }
    }
    found
}

fn may_release(sync: &JobSync, pod: &Pod, failed: bool) -> bool {
    if sync.job.metadata.deletion_timestamp.is_some()
        || sync.finished.is_some()
        || is_succeeded(pod)
    {
        return true;
    }
    // The last failed pod of an index waits until its successor has taken over its failure count.
    let waits = || {
        completion_index(pod)
            .and_then(|index| sync.delayed.get(&index))
            .is_some_and(|last| last.metadata.uid == pod.metadata.uid)
    };
    failed && !(sync.job.spec.backoff_limit_per_index.is_some() && waits())
}

/// Moves uids of pods that have lost their finalizer into the counters. Returns whether anything changed.
fn settle(status: &mut JobStatus, with_finalizer: &HashSet<String>) -> bool {
    let Some(uncounted) = &mut status.uncounted_terminated_pods else {
        return false;
    };
    let count = |uids: &mut Vec<String>| {
        let before = uids.len();
        uids.retain(|uid| with_finalizer.contains(uid));
        (before - uids.len()) as i32
    };
    let (succeeded, failed) = (
        count(&mut uncounted.succeeded),
        count(&mut uncounted.failed),
    );
    status.succeeded += succeeded;
    status.failed += failed;
    succeeded + failed > 0
}

impl JobController {
    /// Counts finished pods, releases them, and ends the Job when its time has come.
    pub(super) async fn track(&self, sync: &mut JobSync, mut flush: bool) -> Result<(), SyncError> {
        let tracked = |pod: &&Arc<Pod>| {
            has_finalizer(pod) && !sync.expected_removals.contains(&pod.metadata.uid)
        };
        let mut with_finalizer: HashSet<String> = sync
            .pods
            .iter()
            .filter(tracked)
            .map(|pod| pod.metadata.uid.clone())
            .collect();
        let mut counted = sync.job.status.clone();
        flush |= settle(&mut sync.job.status, &with_finalizer);

        let found = pass(sync);
        flush |= found.changed();
        let uncounted: &mut UncountedTerminatedPods = sync
            .job
            .status
            .uncounted_terminated_pods
            .get_or_insert_default();
        uncounted.succeeded.extend(found.succeeded);
        uncounted.failed.extend(found.failed);
        if is_indexed(&sync.job) {
            sync.succeeded_indexes = sync.succeeded_indexes.with(found.succeeded_indexes);
            flush |= note_indexes(
                &mut sync.job.status,
                &sync.succeeded_indexes,
                sync.failed_indexes.as_ref(),
            );
        }
        flush |= self.announce_end(sync);

        if flush {
            let written = self
                .write_status(&sync.key, &sync.job)
                .await
                .map_err(|error| failed_to("adding uncounted pods to status", error))?;
            sync.job = written;
            self.backoff.keep(&sync.key, sync.backoff.clone());
            self.record_finished_pods(&sync.job, &counted);
            counted = sync.job.status.clone();
        }
        for action in found.actions {
            self.metrics
                .policy_actions
                .with_label_values(&[action])
                .inc();
        }

        let (released, result) = self.release(sync, &found.release).await;
        with_finalizer.retain(|uid| !released.contains(uid));
        let mut flush = settle(&mut sync.job.status, &with_finalizer);
        if let Err(error) = result {
            if flush {
                // What was done so far is noted before the rest is tried again.
                self.write_status(&sync.key, &sync.job)
                    .await
                    .map_err(|error| failed_to("removing uncounted pods from status", error))?;
            }
            return Err(error);
        }
        let finished = if found.more { None } else { self.finish(sync) };
        flush |= finished.is_some();
        if flush {
            let written = self
                .write_status(&sync.key, &sync.job)
                .await
                .map_err(|error| failed_to("removing uncounted pods from status", error))?;
            if let Some(condition) = finished {
                self.record_end(sync, &condition);
                self.finished.lock().insert(sync.job.metadata.uid.clone());
            }
            self.record_finished_pods(&written, &counted);
        }
        Ok(())
    }

    /// Puts the coming end into the status, before finalizers are removed, and turns it into the final condition. Returns
    /// whether the status changed.
    fn announce_end(&self, sync: &mut JobSync) -> bool {
        let Some(condition) = sync.finished.take() else {
            return false;
        };
        let now = self.clock.now_time();
        let (end, changed) = match condition.type_.as_str() {
            FAILURE_TARGET => (FAILED, true),
            SUCCESS_CRITERIA_MET => (
                COMPLETE,
                conditions::find_true(&sync.job, SUCCESS_CRITERIA_MET).is_none(),
            ),
            _ => {
                sync.finished = Some(condition);
                return false;
            }
        };
        sync.finished = Some(conditions::new(
            end,
            "True",
            &condition.reason,
            condition.message.clone(),
            now,
        ));
        if changed {
            sync.job.status.conditions.push(condition);
        }
        changed
    }

    /// Removes the finalizers. Returns the uids of pods that have none any more.
    async fn release(
        &self,
        sync: &JobSync,
        pods: &[Arc<Pod>],
    ) -> (HashSet<String>, Result<(), SyncError>) {
        if pods.is_empty() {
            return (HashSet::new(), Ok(()));
        }
        self.removals
            .expect(&sync.key, pods.iter().map(|pod| pod.metadata.uid.clone()));
        let remove = async |pod: &Arc<Pod>| {
            let result = self.remove_finalizer(&sync.key, pod).await;
            if result.is_err() {
                // No update of this pod will come.
                self.removals.observed(&sync.key, &pod.metadata.uid);
            }
            match result {
                Err(error) if !error.is_not_found() => Err(SyncError::from(error)),
                _ => Ok(pod.metadata.uid.clone()),
            }
        };
        let (mut released, mut first) = (HashSet::new(), Ok(()));
        for result in join_all(pods.iter().map(remove)).await {
            match result {
                Ok(uid) => drop(released.insert(uid)),
                Err(error) if first.is_ok() => first = Err(error),
                Err(_) => {}
            }
        }
        (released, first)
    }

    /// Sets the final condition, once all pods are counted and gone.
    fn finish(&self, sync: &mut JobSync) -> Option<api_types::batch::v1::JobCondition> {
        let condition = sync.finished.clone()?;
        let status = &mut sync.job.status;
        let waits = status
            .uncounted_terminated_pods
            .as_ref()
            .is_some_and(|uncounted| {
                !uncounted.succeeded.is_empty() || !uncounted.failed.is_empty()
            });
        if waits || sync.terminating > 0 {
            return None;
        }
        if condition.type_ == COMPLETE {
            status.completion_time = Some(condition.last_transition_time);
        }
        conditions::ensure(&mut sync.job, condition.clone());
        Some(condition)
    }

    fn record_end(&self, sync: &JobSync, condition: &api_types::batch::v1::JobCondition) {
        let mode = mode(&sync.job);
        if condition.type_ == COMPLETE {
            if sync
                .job
                .spec
                .completions
                .is_some_and(|completions| sync.job.status.succeeded > completions)
            {
                let message = "Too many succeeded pods running after completion count reached";
                self.recorder
                    .event(&sync.reference, "Warning", "TooManySucceededPods", message);
            }
            self.recorder
                .event(&sync.reference, "Normal", "Completed", "Job completed");
            self.metrics
                .finished
                .with_label_values(&[mode, "succeeded", &condition.reason])
                .inc();
        } else {
            self.recorder.event(
                &sync.reference,
                "Warning",
                &condition.reason,
                &condition.message,
            );
            self.metrics
                .finished
                .with_label_values(&[mode, "failed", &condition.reason])
                .inc();
        }
    }

    fn record_finished_pods(&self, job: &Job, before: &JobStatus) {
        let (mode, completions) = (mode(job), completions(job));
        let mut succeeded = job.status.succeeded - before.succeeded;
        if is_indexed(job) {
            let total = |text: &str| Intervals::parse(text, completions).total();
            // The counter falls when a Job is made smaller, which is no success taken back.
            succeeded = total(&job.status.completed_indexes) - total(&before.completed_indexes);
            let label = if job.spec.backoff_limit_per_index.is_some() {
                "perIndex"
            } else {
                "global"
            };
            let add = |status, count: i32| {
                self.metrics
                    .finished_indexes
                    .with_label_values(&[status, label])
                    .inc_by(f64::from(count.max(0)))
            };
            add("succeeded", succeeded);
            let failed = |status: &JobStatus| status.failed_indexes.as_deref().map_or(0, total);
            if job.spec.backoff_limit_per_index.is_some() {
                add("failed", failed(&job.status) - failed(before));
            }
        }
        let add = |result, count: i32| {
            self.metrics
                .pods_finished
                .with_label_values(&[mode, result])
                .inc_by(f64::from(count.max(0)))
        };
        add("succeeded", succeeded);
        add("failed", job.status.failed - before.failed);
    }
}

fn failed_to(what: &str, error: SyncError) -> SyncError {
    match error {
        SyncError::Api(error) if error.is_conflict() => SyncError::Api(error),
        error => SyncError::other(format!("{what}: {error}")),
    }
}

/// The value of the `completion_mode` label.
pub(super) fn mode(job: &Job) -> &'static str {
    if is_indexed(job) {
        "Indexed"
    } else {
        "NonIndexed"
    }
}

/// Writes the index sets into the status. Returns whether a text changed.
fn note_indexes(status: &mut JobStatus, succeeded: &Intervals, failed: Option<&Intervals>) -> bool {
    let (completed, failed) = (succeeded.to_string(), failed.map(ToString::to_string));
    let changed = status.completed_indexes != completed || status.failed_indexes != failed;
    status.succeeded = succeeded.total();
    status.completed_indexes = completed;
    status.failed_indexes = failed;
    changed
}

#[cfg(test)]
#[path = "tracking_tests.rs"]
mod tests;
