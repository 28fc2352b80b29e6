//! Runs pods to completion. Upstream: pkg/controller/job.
//!
//! - `mod.rs`: waking, orphans, and how one sync goes
//! - `manage.rs`: creating and deleting pods; `tracking.rs`: counting them exactly once, and ending the Job
//! - `pods.rs`, `indexes.rs`, `policies.rs`, `backoff.rs`, `conditions.rs`: pure parts; `metrics.rs`

mod backoff;
mod conditions;
mod indexes;
mod manage;
mod metrics;
mod pods;
mod policies;
mod tracking;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::batch::v1::{Job, JobCondition};
use api_types::core::v1::{ObjectReference, Pod};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use apimachinery::labels::Selector;
use client::{Client, EventRecorder, Lister, ObjectKey, object_reference};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::backoff::{Record, Records};
pub use self::conditions::finished;
use self::conditions::{FAILURE_TARGET, SUCCESS_CRITERIA_MET, SUSPENDED};
use self::indexes::Intervals;
use self::manage::Action;
use self::metrics::JobMetrics;
use self::pods::{
    TRACKING_FINALIZER, completions, delayed_per_index, failed_indexes, has_finalizer, is_failed,
    is_indexed, is_succeeded, is_suspended, restarts_exceed_limit, succeeded_indexes, valid_index,
};
use self::policies::{judge_failure, judge_success};
use super::controller_ref::{Claimer, controller_of, index_by_controller, key_of, selector_of};
use super::expectations::{Expectations, pod_key};
use super::own_writes::OwnWrites;
use super::pod_control::PodControl;
use super::pod_state::{is_active, is_ready, is_terminal, is_terminating};
use super::{Backoff, BuildError, Controller, Next, SyncError, owners};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::{self, Queue};

/// Changes of pods and status are gathered for this long before a Job is synced.
const SYNC_BATCH_PERIOD: Duration = Duration::from_secs(1);
/// Retries of a failed sync; Jobs have no limit over all keys.
const API_BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(1),
    max: Duration::from_secs(60),
    shared_limit: false,
};
/// `spec.managedBy` of Jobs that are ours; others are left alone.
const OUR_NAME: &str = "kubernetes.io/job-controller";

/// The job-controller.
pub struct JobController {
    client: Client,
    recorder: EventRecorder,
    control: PodControl,
    jobs: Lister<Job>,
    pods: Lister<Pod>,
    queue: Queue<ObjectKey>,
    orphans: Queue<Orphans>,
    workers: usize,
    expectations: Arc<Expectations<ObjectKey>>,
    removals: Arc<Removals>,
    backoff: Arc<Records>,
    /// Uids of Jobs that we have ended and whose cache entry does not say so yet.
    finished: Arc<Mutex<HashSet<String>>>,
    own_writes: Arc<OwnWrites>,
    reset_start_on_suspend: bool,
    metrics: Arc<JobMetrics>,
    clock: Clock,
}

/// Pods that may have a finalizer and no Job to remove it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Orphans {
    Pod(ObjectKey),
    /// All pods of a namespace that a Job's selector, as text, matches.
    Selected(String, String),
}

/// Finalizer removals whose update has not been seen yet, by Job: pod uids.
#[derive(Default)]
struct Removals(Mutex<HashMap<ObjectKey, HashSet<String>>>);

impl Removals {
    fn expect(&self, key: &ObjectKey, uids: impl Iterator<Item = String>) {
        self.0.lock().entry(key.clone()).or_default().extend(uids);
    }

    fn observed(&self, key: &ObjectKey, uid: &str) {
        if let Some(expected) = self.0.lock().get_mut(key) {
            expected.remove(uid);
        }
    }

    fn expected(&self, key: &ObjectKey) -> HashSet<String> {
        self.0.lock().get(key).cloned().unwrap_or_default()
    }

    fn delete(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

/// What one sync knows. Counts follow what the sync does.
#[derive(Default)]
struct JobSync {
    key: ObjectKey,
    job: Job,
    reference: ObjectReference,
    pods: Vec<Arc<Pod>>,
    active: Vec<Arc<Pod>>,
    active_count: i32,
    ready: i32,
    terminating: i32,
    succeeded: i32,
    failed: i32,
    uncounted_succeeded: HashSet<String>,
    uncounted_failed: HashSet<String>,
    /// Uids of pods whose finalizer is removed, which the cache does not show yet.
    expected_removals: HashSet<String>,
    /// The end of the Job, as far as it is known.
    finished: Option<JobCondition>,
    previous_indexes: Intervals,
    succeeded_indexes: Intervals,
    failed_indexes: Option<Intervals>,
    /// Failed pods that keep their finalizer until their index has a new pod.
    delayed: HashMap<i32, Arc<Pod>>,
    backoff: Record,
}

impl Controller for JobController {
    const NAME: &'static str = "job-controller";
    const ALIASES: &'static [&'static str] = &["job"];
    const SERVICE_ACCOUNT: &'static str = "job-controller";
    const QUEUE: &'static str = "job";
    const BACKOFF: Backoff = API_BACKOFF;
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let (pods, jobs) = (setup.informer::<Pod>(), setup.informer::<Job>());
        index_by_controller(&pods);
        let own_writes = OwnWrites::new(
            setup,
            "StaleControllerConsistencyJob",
            "job_controller",
            "Job",
        );
        let own_writes = Arc::new(own_writes.follow(&pods).follow(&jobs));
        let wake = Arc::new(Wake {
            queue: queue.clone(),
            orphans: setup.queue("job_orphan_pod", API_BACKOFF),
            jobs: jobs.lister(),
            expectations: Arc::new(Expectations::new(setup.clock())),
            removals: Arc::default(),
            backoff: Arc::default(),
            finished: Arc::default(),
            own_writes,
            metrics: Arc::new(JobMetrics::new(setup.metrics())),
            clock: setup.clock(),
        });
        let waker = wake.clone();
        on_change(&jobs, move |change| waker.job(change));
        let waker = wake.clone();
        on_change(&pods, move |change| waker.pod(change));
        let recorder = setup.recorder("job-controller");
        Ok(Some(Self {
            client: setup.client.clone(),
            control: PodControl {
                client: setup.client.clone(),
                recorder: recorder.clone(),
            },
            recorder,
            jobs: jobs.lister(),
            pods: pods.lister(),
            queue: queue.clone(),
            orphans: wake.orphans.clone(),
            workers: Self::workers(setup.config()),
            expectations: wake.expectations.clone(),
            removals: wake.removals.clone(),
            backoff: wake.backoff.clone(),
            finished: wake.finished.clone(),
            own_writes: wake.own_writes.clone(),
            reset_start_on_suspend: setup.enabled("MutableSchedulingDirectivesForSuspendedJobs"),
            metrics: wake.metrics.clone(),
            clock: setup.clock(),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        usize::try_from(config.job_controller.concurrent_job_syncs).unwrap_or(0)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        if !self.own_writes.is_ready(key) {
            return Ok(Next::Retry);
        }
        let Some(job) = self.jobs.get(key) else {
            self.expectations.delete(key);
            self.removals.delete(key);
            self.forget(key);
            return Ok(Next::Done);
        };
        if is_external(&job).is_some() {
            return Ok(Next::Done);
        }
        if finished(&job).is_some() {
            self.forget(key);
            self.finished.lock().remove(&job.metadata.uid);
            return Ok(Next::Done);
        }
        if self.finished.lock().contains(&job.metadata.uid) {
            return Ok(Next::Done);
        }
        if job
            .spec
            .completion_mode
            .as_ref()
            .is_some_and(|mode| mode != "Indexed" && mode != "NonIndexed")
        {
            let message = "Skipped Job sync because completion mode is unknown";
            self.recorder.event(
                &object_reference(&*job),
                "Warning",
                "UnknownCompletionMode",
                message,
            );
            return Ok(Next::Done);
        }
        let (started, mode, mut action) =
            (Instant::now(), tracking::mode(&job), Action::Reconciling);
        let result = self.sync_job(key, &job, &mut action).await;
        let labels = [
            mode,
            if result.is_ok() { "success" } else { "error" },
            action.label(),
        ];
        self.metrics
            .sync_duration
            .with_label_values(&labels)
            .observe(started.elapsed().as_secs_f64());
        self.metrics.syncs.with_label_values(&labels).inc();
        result.map(|()| Next::Done)
    }

    async fn run(&self, stop: CancellationToken) {
        runner::work(
            Self::NAME,
            &self.orphans,
            self.workers,
            &stop,
            |orphans: Orphans| async move { self.sync_orphans(&orphans).await },
        )
        .await;
    }
}

impl JobController {
    fn forget(&self, key: &ObjectKey) {
        self.backoff.remove(key);
        self.own_writes.clear(key);
    }

    fn wrote_pod(&self, key: &ObjectKey, pod: &Pod) {
        self.own_writes.wrote(key, pod);
    }

    async fn write_status(&self, key: &ObjectKey, job: &Job) -> Result<Job, SyncError> {
        let mut updated = self
            .client
            .namespaced::<Job>(&key.namespace)
            .update_status(job)
            .await?;
        updated.metadata.managed_fields.clear();
        self.own_writes.wrote(key, &updated);
        Ok(updated)
    }

    async fn sync_job(
        &self,
        key: &ObjectKey,
        cached: &Arc<Job>,
        action: &mut Action,
    ) -> Result<(), SyncError> {
        // Before pods are counted: a pod that comes in between must not go unnoticed.
        let satisfied = self.expectations.satisfied(key);
        let pods = self.claim(key, cached).await?;
        let mut sync = self.begin(key, (**cached).clone(), pods);
        let now = self.clock.now();
        if sync.job.status.start_time.is_none() && !is_suspended(&sync.job) {
            sync.job.status.start_time = Some(self.clock.now_time());
        }
        self.evaluate(&mut sync, now);

        let mut suspension_changed = false;
        let managed = if sync.finished.is_some() {
            let (all_deleted, result) = self.delete_active(&mut sync).await;
            if !all_deleted || !satisfied {
                // Pods may be left, or not in the cache yet: the end is decided again in the next sync.
                sync.finished = None;
            }
            result
        } else {
            let may_manage = satisfied && sync.job.metadata.deletion_timestamp.is_none();
            let mut result = Ok(());
            if may_manage {
                (*action, result) = self.manage(&mut sync).await;
            }
            if is_complete(&sync) {
                let message = "Reached expected number of succeeded pods";
                sync.finished = Some(conditions::new(
                    SUCCESS_CRITERIA_MET,
                    "True",
                    "CompletionsReached",
                    message,
                    self.clock.now_time(),
                ));
            } else if may_manage {
                suspension_changed = self.note_suspension(&mut sync);
            }
            result
        };

        let status = &mut sync.job.status;
        let flush = suspension_changed
            || status.active != sync.active_count
            || status.ready != Some(sync.ready)
            || status.terminating != Some(sync.terminating);
        status.active = sync.active_count;
        status.ready = Some(sync.ready);
        status.terminating = Some(sync.terminating);
        self.track(&mut sync, flush)
            .await
            .map_err(|error| match error {
                SyncError::Api(error) => SyncError::Api(error),
                error => SyncError::other(format!("tracking status: {error}")),
            })?;
        managed
    }

    async fn claim(&self, key: &ObjectKey, job: &Arc<Job>) -> Result<Vec<Arc<Pod>>, SyncError> {
        let selector = selector_of(job.spec.selector.as_deref())
            .map_err(|error| SyncError::other(format!("couldn't convert Job selector: {error}")))?;
        let candidates = owners::pods_of(&self.pods, &**job, true);
        let mut claimer = Claimer::new(&self.client, &**job, &selector);
        claimer.finalizers = &[TRACKING_FINALIZER];
        claimer
            .claim(candidates, |_| true, |pod| self.wrote_pod(key, pod))
            .await
    }

    fn begin(&self, key: &ObjectKey, mut job: Job, pods: Vec<Arc<Pod>>) -> JobSync {
        let uncounted = job.status.uncounted_terminated_pods.get_or_insert_default();
        let uncounted_succeeded: HashSet<String> = uncounted.succeeded.iter().cloned().collect();
        let uncounted_failed: HashSet<String> = uncounted.failed.iter().cloned().collect();
        let expected_removals = self.removals.expected(key);
        let is_new = |pod: &Pod, counted: &HashSet<String>| {
            let uid = &pod.metadata.uid;
            has_finalizer(pod)
                && !counted.contains(uid)
                && !expected_removals.contains(uid)
                && (!is_indexed(&job) || valid_index(pod, &job).is_some())
        };
        let new_succeeded: Vec<_> = pods
            .iter()
            .filter(|pod| is_new(pod, &uncounted_succeeded) && is_succeeded(pod))
            .cloned()
            .collect();
        let new_failed: Vec<_> = pods
            .iter()
            .filter(|pod| is_new(pod, &uncounted_failed) && is_failed(pod, &job))
            .cloned()
            .collect();
        let policy = job.spec.pod_failure_policy.as_deref();
        let counting = new_failed
            .iter()
            .filter(|pod| judge_failure(policy, pod).counts)
            .count();
        let active: Vec<_> = pods.iter().filter(|pod| is_active(pod)).cloned().collect();
        JobSync {
            key: key.clone(),
            reference: object_reference(&job),
            active_count: active.len() as i32,
            ready: active.iter().filter(|pod| is_ready(pod)).count() as i32,
            terminating: pods.iter().filter(|pod| is_terminating(pod)).count() as i32,
            succeeded: job.status.succeeded
                + (new_succeeded.len() + uncounted_succeeded.len()) as i32,
            failed: job.status.failed + (counting + uncounted_failed.len()) as i32,
            backoff: self.backoff.with(key, &new_succeeded, &new_failed),
            active,
            uncounted_succeeded,
            uncounted_failed,
            expected_removals,
            job,
            pods,
            ..Default::default()
        }
    }

    /// Decides whether the Job has ended. Earlier findings come first, then failures, then success.
    fn evaluate(&self, sync: &mut JobSync, now: jiff::Timestamp) {
        let time = self.clock.now_time();
        let failure = |reason: &str, message: &str| {
            conditions::new(FAILURE_TARGET, "True", reason, message, time)
        };
        let job = &sync.job;
        sync.finished = conditions::find_true(job, SUCCESS_CRITERIA_MET).cloned();
        if sync.finished.is_none() {
            if let Some(target) = conditions::find_true(job, FAILURE_TARGET) {
                sync.finished = Some(conditions::new(
                    conditions::FAILED,
                    "True",
                    &target.reason,
                    target.message.clone(),
                    time,
                ));
            } else if let Some(message) = fail_job_message(job, &sync.pods) {
                sync.finished = Some(failure("PodFailurePolicy", &message));
            }
        }
        if sync.finished.is_none() {
            let limit = job.spec.backoff_limit.unwrap_or(6);
            match deadline_left(job, now) {
                _ if sync.failed > limit || restarts_exceed_limit(job, &sync.pods) => {
                    sync.finished = Some(failure(
                        "BackoffLimitExceeded",
                        "Job has reached the specified backoff limit",
                    ));
                }
                Some(Duration::ZERO) => {
                    sync.finished = Some(failure(
                        "DeadlineExceeded",
                        "Job was active longer than specified deadline",
                    ))
                }
                Some(left) => self.queue.add_after(sync.key.clone(), left),
                None => {}
            }
        }
        if !is_indexed(job) {
            return;
        }
        (sync.previous_indexes, sync.succeeded_indexes) = succeeded_indexes(job, &sync.pods);
        sync.succeeded = sync.succeeded_indexes.total();
        if job.spec.backoff_limit_per_index.is_some() {
            let failed = failed_indexes(job, &sync.pods);
            if sync.finished.is_none() {
                if job
                    .spec
                    .max_failed_indexes
                    .is_some_and(|most| failed.total() > most)
                {
                    let message = "Job has exceeded the specified maximal number of failed indexes";
                    sync.finished = Some(failure("MaxFailedIndexesExceeded", message));
                } else if failed.total() > 0
                    && failed.total() + sync.succeeded_indexes.total() >= completions(job)
                {
                    sync.finished = Some(failure("FailedIndexes", "Job has failed indexes"));
                }
            }
            let uncounted = sync.pods.iter().filter(|pod| {
                has_finalizer(pod) && !sync.expected_removals.contains(&pod.metadata.uid)
            });
            sync.delayed = delayed_per_index(
                job,
                uncounted,
                &sync.active,
                &sync.succeeded_indexes,
                &failed,
            );
            sync.failed_indexes = Some(failed);
        }
        if sync.finished.is_none()
            && let Some(message) = judge_success(
                job.spec.success_policy.as_deref(),
                completions(job),
                &sync.succeeded_indexes,
            )
        {
            sync.finished = Some(conditions::new(
                SUCCESS_CRITERIA_MET,
                "True",
                "SuccessPolicy",
                message,
                time,
            ));
        }
    }

    /// Sets the Suspended condition. Returns whether it changed.
    fn note_suspension(&self, sync: &mut JobSync) -> bool {
        let now = self.clock.now_time();
        if is_suspended(&sync.job) {
            let changed = conditions::ensure(
                &mut sync.job,
                conditions::new(SUSPENDED, "True", "JobSuspended", "Job suspended", now),
            );
            if changed {
                self.recorder
                    .event(&sync.reference, "Normal", "Suspended", "Job suspended");
                if self.reset_start_on_suspend {
                    sync.job.status.start_time = None;
                }
            }
            return changed;
        }
        let changed = conditions::ensure(
            &mut sync.job,
            conditions::new(SUSPENDED, "False", "JobResumed", "Job resumed", now),
        );
        if changed {
            self.recorder
                .event(&sync.reference, "Normal", "Resumed", "Job resumed");
            // The deadline counts active time: it begins anew.
            sync.job.status.start_time = Some(now);
        }
        changed
    }

    async fn sync_orphans(&self, orphans: &Orphans) -> Result<Next, SyncError> {
        match orphans {
            Orphans::Pod(key) => {
                if let Some(pod) = self.pods.get(key) {
                    self.release_orphan(&pod).await?;
                }
            }
            Orphans::Selected(namespace, selector) => {
                let selector = Selector::parse(selector).map_err(|error| {
                    SyncError::other(format!("invalid label selector: {error}"))
                })?;
                for pod in self.pods.select_in(namespace, &selector) {
                    if let Err(error) = self.release_orphan(&pod).await {
                        tracing::error!(pod = %key_of(&pod.metadata), %error, "Syncing orphan pod failed");
                    }
                }
            }
        }
        Ok(Next::Done)
    }

    /// Removes the finalizer of a pod that no running Job of ours owns.
    async fn release_orphan(&self, pod: &Pod) -> Result<(), SyncError> {
        if let Some(reference) = controller_of(&pod.metadata) {
            if reference.kind != "Job" || reference.api_version != "batch/v1" {
                return Ok(());
            }
            let job = owners::resolve(&self.jobs, &pod.metadata.namespace, reference);
            if job.is_some_and(|job| is_external(&job).is_some() || finished(&job).is_none()) {
                return Ok(());
            }
        }
        // The pod's own name stands for the missing Job in the guard: nobody waits for it.
        match self.remove_finalizer(&key_of(&pod.metadata), pod).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => {
                self.own_writes.clear(&key_of(&pod.metadata));
                Ok(())
            }
        }
    }
}

/// The controller that a Job names in `managedBy`, when it is not this one.
fn is_external(job: &Job) -> Option<&str> {
    job.spec
        .managed_by
        .as_deref()
        .filter(|name| *name != OUR_NAME)
}

fn fail_job_message(job: &Job, pods: &[Arc<Pod>]) -> Option<String> {
    let policy = job.spec.pod_failure_policy.as_deref()?;
    pods.iter()
        .filter(|pod| is_failed(pod, job))
        .find_map(|pod| judge_failure(Some(policy), pod).fail_job)
}

/// What is left of the Job's active deadline, zero when it is over.
fn deadline_left(job: &Job, now: jiff::Timestamp) -> Option<Duration> {
    if is_suspended(job) {
        return None;
    }
    let (seconds, start) = (job.spec.active_deadline_seconds?, job.status.start_time?);
    let left = jiff::SignedDuration::from_secs(seconds) - now.duration_since(start.timestamp());
    Some(if left.is_negative() {
        Duration::ZERO
    } else {
        left.unsigned_abs()
    })
}

/// Enough pods succeeded and none runs.
fn is_complete(sync: &JobSync) -> bool {
    let enough = match sync.job.spec.completions {
        None => sync.succeeded > 0,
        Some(completions) => sync.succeeded >= completions,
    };
    enough && sync.active_count == 0
}

struct Wake {
    queue: Queue<ObjectKey>,
    orphans: Queue<Orphans>,
    jobs: Lister<Job>,
    expectations: Arc<Expectations<ObjectKey>>,
    removals: Arc<Removals>,
    backoff: Arc<Records>,
    finished: Arc<Mutex<HashSet<String>>>,
    own_writes: Arc<OwnWrites>,
    metrics: Arc<JobMetrics>,
    clock: Clock,
}

impl Wake {
    fn job(&self, change: Change<'_, Job>) {
        match change {
            Change::Added(job, _) => {
                self.queue.add(key_of(&job.metadata));
                if let Some(name) = is_external(job) {
                    self.metrics.external.with_label_values(&[name]).inc();
                }
            }
            Change::Updated(old, new) => self.job_updated(old, new),
            Change::Deleted(job) => {
                let key = key_of(&job.metadata);
                self.own_writes.clear(&key);
                self.finished.lock().remove(&job.metadata.uid);
                self.look_for_orphans(job);
                self.backoff.remove(&key);
                self.queue.add(key);
            }
        }
    }

    fn job_updated(&self, old: &Job, new: &Job) {
        let key = key_of(&new.metadata);
        if finished(new).is_some() {
            // All finalizers should be gone by now: this looks for those that are not. The key is synced once more, so that what
            // is remembered about the Job goes too.
            self.look_for_orphans(new);
            if finished(old).is_none() {
                self.queue.add(key);
            }
            return;
        }
        if old.metadata.generation == new.metadata.generation {
            self.queue.add_after(key.clone(), SYNC_BATCH_PERIOD);
        } else {
            self.queue.add(key.clone());
        }
        let deadline_changed = new.spec.active_deadline_seconds != old.spec.active_deadline_seconds;
        if deadline_changed && let Some(left) = deadline_left(new, self.clock.now()) {
            self.queue.add_after(key, left);
        }
    }

    fn look_for_orphans(&self, job: &Job) {
        match selector_of(job.spec.selector.as_deref()) {
            Ok(selector) => self.orphans.add(Orphans::Selected(
                job.metadata.namespace.clone(),
                selector.to_string(),
            )),
            Err(error) => {
                tracing::error!(job = %key_of(&job.metadata), %error, "Job has an invalid label selector")
            }
        }
    }

    fn pod(&self, change: Change<'_, Pod>) {
        self.count_tracked(&change);
        match change {
            Change::Added(pod, _) if pod.metadata.deletion_timestamp.is_some() => {
                self.pod_gone(pod, false)
            }
            Change::Added(pod, _) => {
                if let Some(reference) = controller_of(&pod.metadata) {
                    if let Some(job) =
                        owners::resolve(&self.jobs, &pod.metadata.namespace, reference)
                    {
                        let key = key_of(&job.metadata);
                        self.expectations.creation_observed(&key);
                        self.queue.add_after(key, SYNC_BATCH_PERIOD);
                    }
                } else {
                    self.orphan(pod, true);
                }
            }
            Change::Updated(old, new)
                if old.metadata.resource_version == new.metadata.resource_version => {}
            Change::Updated(_, new) if new.metadata.deletion_timestamp.is_some() => {
                self.pod_gone(new, false)
            }
            Change::Updated(old, new) => self.pod_updated(old, new),
            Change::Deleted(pod) => self.pod_gone(pod, true),
        }
    }

    fn pod_updated(&self, old: &Pod, new: &Pod) {
        let (before, after) = (controller_of(&old.metadata), controller_of(&new.metadata));
        let wake = |reference| {
            let Some(job) = owners::resolve(&self.jobs, &new.metadata.namespace, reference) else {
                return;
            };
            let key = key_of(&job.metadata);
            if !has_finalizer(new) {
                self.removals.observed(&key, &new.metadata.uid);
            }
            self.queue.add_after(key, SYNC_BATCH_PERIOD);
        };
        if before != after
            && let Some(reference) = before
        {
            wake(reference);
        }
        match after {
            Some(reference) => wake(reference),
            None => self.orphan(
                new,
                before != after || old.metadata.labels != new.metadata.labels,
            ),
        }
    }

    /// A pod without owner: its finalizer must go, or a Job may adopt it.
    fn orphan(&self, pod: &Pod, look_for_adopters: bool) {
        if has_finalizer(pod) {
            self.orphans.add(Orphans::Pod(key_of(&pod.metadata)));
        }
        if look_for_adopters {
            let selects = |job: &Job, labels: &_| {
                selector_of(job.spec.selector.as_deref())
                    .is_ok_and(|selector| selector.matches(labels))
            };
            for job in owners::selecting(
                &self.jobs,
                &pod.metadata.namespace,
                &pod.metadata.labels,
                selects,
            ) {
                self.queue
                    .add_after(key_of(&job.metadata), SYNC_BATCH_PERIOD);
            }
        }
    }

    fn pod_gone(&self, pod: &Pod, is_final: bool) {
        let job = controller_of(&pod.metadata)
            .and_then(|reference| owners::resolve(&self.jobs, &pod.metadata.namespace, reference));
        let Some(job) = job.filter(|job| finished(job).is_none()) else {
            // No sync of a Job will remove this finalizer.
            if has_finalizer(pod) {
                self.orphans.add(Orphans::Pod(key_of(&pod.metadata)));
            }
            return;
        };
        let key = key_of(&job.metadata);
        self.expectations.deletion_observed(&key, &pod_key(pod));
        if is_final || !has_finalizer(pod) {
            self.removals.observed(&key, &pod.metadata.uid);
        }
        self.queue.add_after(key, SYNC_BATCH_PERIOD);
    }

    /// Counts pods that end with a finalizer, and finalizers that go.
    fn count_tracked(&self, change: &Change<'_, Pod>) {
        let (before, after) = match change {
            Change::Added(pod, _) => (None, Some(pod)),
            Change::Updated(old, new) => (Some(old), Some(new)),
            Change::Deleted(pod) => (Some(pod), None),
        };
        let tracked =
            |pod: Option<&&Arc<Pod>>| pod.is_some_and(|pod| is_terminal(pod) && has_finalizer(pod));
        match (tracked(before), tracked(after)) {
            (false, true) => self.metrics.tracked_pods.with_label_values(&["add"]).inc(),
            (true, false) => self
                .metrics
                .tracked_pods
                .with_label_values(&["delete"])
                .inc(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pods::tests::at;
    use super::*;

    #[test]
    fn deadlines_count_from_the_start() {
        let mut job = Job::default();
        let left = |job: &Job| deadline_left(job, at(100).timestamp()).map(|left| left.as_secs());
        assert_eq!(left(&job), None);
        job.spec.active_deadline_seconds = Some(30);
        assert_eq!(left(&job), None);
        for (start, expected) in [(80, 10), (70, 0), (10, 0)] {
            job.status.start_time = Some(at(start));
            assert_eq!(left(&job), Some(expected), "{start}");
        }
        job.spec.suspend = Some(true);
        assert_eq!(left(&job), None);
    }

    #[test]
    fn jobs_complete_when_enough_pods_succeeded() {
        let complete = |completions, succeeded, active_count| {
            let mut sync = JobSync {
                succeeded,
                active_count,
                ..Default::default()
            };
            sync.job.spec.completions = completions;
            is_complete(&sync)
        };
        assert!(complete(None, 1, 0) && !complete(None, 1, 1) && !complete(None, 0, 0));
        assert!(
            complete(Some(2), 2, 0)
                && !complete(Some(2), 1, 0)
                && !complete(Some(2), 2, 1)
                && complete(Some(0), 0, 0)
        );
    }

    #[test]
    fn other_controllers_jobs_are_theirs() {
        let mut job = Job::default();
        assert_eq!(is_external(&job), None);
        job.spec.managed_by = Some(OUR_NAME.into());
        assert_eq!(is_external(&job), None);
        job.spec.managed_by = Some("example.com/x".into());
        assert_eq!(is_external(&job), Some("example.com/x"));
    }

    #[test]
    fn removals_are_remembered_by_job() {
        let (removals, a) = (Removals::default(), ObjectKey::new("ns", "a"));
        removals.expect(&a, ["1".to_owned(), "2".to_owned()].into_iter());
        removals.observed(&a, "1");
        assert_eq!(removals.expected(&a), HashSet::from(["2".to_owned()]));
        assert!(removals.expected(&ObjectKey::new("ns", "b")).is_empty());
        removals.delete(&a);
        assert!(removals.expected(&a).is_empty());
    }
}
