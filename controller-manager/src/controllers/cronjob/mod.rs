//! Creates Jobs on a schedule. Upstream: pkg/controller/cronjob.
//!
//! - `mod.rs`: waking, the sync, history
//! - `schedule.rs`: cron expressions; `timing.rs`: what is due; both pure

pub mod schedule;
mod timing;

use std::sync::Arc;

use api_types::Time;
use api_types::batch::v1::{CronJob, Job};
use api_types::core::v1::ObjectReference;
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::{DeleteOptions, ObjectMeta};
use client::{Client, EventRecorder, Lister, ObjectKey, object_reference};
use component_base::metrics::{Histogram, Opts, Stability, exponential_buckets};
use jiff::Timestamp;

use self::schedule::{Schedule, location};
use self::timing::{Missed, due, job_name, until_next};
use super::controller_ref::{controller_of, is_controlled_by, key_of, new_controller_ref};
use super::{BuildError, Controller, Next, SyncError, job, owners};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

/// The annotation of a Job with the time it was scheduled for.
const SCHEDULED_TIMESTAMP: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// The cronjob-controller.
pub struct CronJobController {
    client: Client,
    recorder: EventRecorder,
    cron_jobs: Lister<CronJob>,
    jobs: Lister<Job>,
    clock: Clock,
    creation_skew: Histogram,
}

impl Controller for CronJobController {
    const NAME: &'static str = "cronjob-controller";
    const ALIASES: &'static [&'static str] = &["cronjob"];
    const SERVICE_ACCOUNT: &'static str = "cronjob-controller";
    const QUEUE: &'static str = "cronjob";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let (jobs, cron_jobs) = (setup.informer::<Job>(), setup.informer::<CronJob>());
        let recorder = setup.recorder("cronjob-controller");
        let wake = Arc::new(Wake {
            queue: queue.clone(),
            cron_jobs: cron_jobs.lister(),
            recorder: recorder.clone(),
            clock: setup.clock(),
        });
        let waker = wake.clone();
        on_change(&jobs, move |change| waker.job(change));
        on_change(&cron_jobs, move |change| wake.cron_job(change));
        let skew = Opts::new(
            "cronjob_controller_job_creation_skew_duration_seconds",
            "Time between when a cronjob is scheduled to be run, and when the corresponding job is created",
        );
        Ok(Some(Self {
            client: setup.client.clone(),
            recorder,
            cron_jobs: cron_jobs.lister(),
            jobs: jobs.lister(),
            clock: setup.clock(),
            creation_skew: setup.metrics().histogram(
                skew.stability(Stability::Stable)
                    .buckets(exponential_buckets(1.0, 2.0, 10)),
            ),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        usize::try_from(config.cron_job_controller.concurrent_cron_job_syncs).unwrap_or(0)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(cached) = self.cron_jobs.get(key) else {
            return Ok(Next::Done);
        };
        // By name and not by uid, as upstream: Jobs of a CronJob of the same name before this one are seen too.
        let owned = |job: &Arc<Job>| {
            controller_of(&job.metadata).is_some_and(|owner| owner.name == key.name)
        };
        let jobs: Vec<_> = self
            .jobs
            .list_namespace(&key.namespace)
            .into_iter()
            .filter(owned)
            .collect();
        let mut run = Run {
            cron_job: (*cached).clone(),
            reference: object_reference(&*cached),
            changed: false,
        };
        self.clean_up(&mut run, &jobs).await;
        let result = self.reconcile(&mut run, &jobs).await;
        if run.changed {
            self.client
                .namespaced::<CronJob>(&key.namespace)
                .update_status(&run.cron_job)
                .await?;
        }
        result
    }
}

/// One sync of one CronJob: our copy, and whether its status must be written.
struct Run {
    cron_job: CronJob,
    reference: ObjectReference,
    changed: bool,
}

impl Run {
    fn is_active(&self, job: &Job) -> bool {
        self.cron_job
            .status
            .active
            .iter()
            .any(|active| active.uid == job.metadata.uid)
    }

    fn remove_active(&mut self, uid: &str) {
        self.cron_job
            .status
            .active
            .retain(|active| active.uid != uid);
        self.changed = true;
    }
}

impl CronJobController {
    async fn reconcile(&self, run: &mut Run, jobs: &[Arc<Job>]) -> Result<Next, SyncError> {
        let now = self.clock.now();
        self.note_jobs(run, jobs).await?;
        self.drop_missing(run, jobs).await?;
        if run.cron_job.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        if let Some(zone) = &run.cron_job.spec.time_zone
            && let Err(error) = location(zone)
        {
            let message = format!("invalid timeZone: {zone:?}: {error}");
            self.recorder
                .event(&run.reference, "Warning", "UnknownTimeZone", message);
            return Ok(Next::Done);
        }
        if run.cron_job.spec.suspend == Some(true) {
            return Ok(Next::Done);
        }
        let text = &run.cron_job.spec.schedule;
        if text.contains("TZ") {
            let message = format!(
                "CRON_TZ or TZ used in schedule {text:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
            );
            self.recorder
                .event(&run.reference, "Warning", "UnsupportedSchedule", message);
        }
        let schedule = match parse_schedule(&run.cron_job) {
            Ok(schedule) => schedule,
            Err(error) => {
                let message = format!("unparseable schedule: {text:?} : {error}");
                self.recorder
                    .event(&run.reference, "Warning", "UnparseableSchedule", message);
                return Ok(Next::Done);
            }
        };
        let scheduled = match due(&run.cron_job, now, &schedule, true) {
            Ok(due) => {
                if due.latest.is_some() && due.missed == Missed::Many {
                    let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
                    self.recorder
                        .event(&run.reference, "Warning", "TooManyMissedTimes", message);
                }
                due.latest
            }
            Err(error) => {
                self.recorder.event(
                    &run.reference,
                    "Warning",
                    "InvalidSchedule",
                    format!("invalid schedule: {text} : {error}"),
                );
                return Ok(Next::Done);
            }
        };
        if let Some(scheduled) = scheduled
            && !self.start(run, scheduled, now).await?
        {
            return Ok(Next::Done);
        }
        Ok(until_next(&run.cron_job, now, &schedule).map_or(Next::Done, Next::After))
    }

    /// Compares the active list with the Jobs that are there.
    async fn note_jobs(&self, run: &mut Run, jobs: &[Arc<Job>]) -> Result<(), SyncError> {
        for found in jobs {
            let name = &found.metadata.name;
            let Some(end) = job::finished(found) else {
                if !run.is_active(found) {
                    // Our status may be newer than the cache.
                    let metadata = &run.cron_job.metadata;
                    let live = self
                        .client
                        .namespaced::<CronJob>(&metadata.namespace)
                        .get(&metadata.name)
                        .await?;
                    if live
                        .status
                        .active
                        .iter()
                        .any(|active| active.uid == found.metadata.uid)
                    {
                        run.cron_job = live;
                        continue;
                    }
                    let message =
                        format!("Saw a job that the controller did not create or forgot: {name}");
                    self.recorder
                        .event(&run.reference, "Warning", "UnexpectedJob", message);
                }
                continue;
            };
            if run.is_active(found) {
                run.remove_active(&found.metadata.uid);
                let message = format!("Saw completed job: {name}, condition: {}", end.type_);
                self.recorder
                    .event(&run.reference, "Normal", "SawCompletedJob", message);
            }
            if end.type_ == "Complete" {
                let last = &mut run.cron_job.status.last_successful_time;
                let completed = found.status.completion_time;
                if last.is_none()
                    || completed.is_some_and(|time| {
                        last.is_none_or(|last| time.timestamp() > last.timestamp())
                    })
                {
                    run.changed |= *last != completed;
                    *last = completed;
                }
            }
        }
        Ok(())
    }

    /// Takes Jobs that do not exist any more off the active list.
    async fn drop_missing(&self, run: &mut Run, jobs: &[Arc<Job>]) -> Result<(), SyncError> {
        for active in run.cron_job.status.active.clone() {
            if jobs.iter().any(|job| job.metadata.uid == active.uid) {
                continue;
            }
            // The cache may be late: only the server can tell that a Job is gone.
            match self
                .client
                .namespaced::<Job>(&active.namespace)
                .get(&active.name)
                .await
            {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {
                    let message = format!("Active job went missing: {}", active.name);
                    self.recorder
                        .event(&run.reference, "Normal", "MissingJob", message);
                    run.remove_active(&active.uid);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Creates the Job for a scheduled time, if policy and deadline let it. False: this CronJob has nothing more to do now.
    async fn start(
        &self,
        run: &mut Run,
        scheduled: Timestamp,
        now: Timestamp,
    ) -> Result<bool, SyncError> {
        let too_late = run
            .cron_job
            .spec
            .starting_deadline_seconds
            .is_some_and(|seconds| now.duration_since(scheduled).as_secs_f64() > seconds as f64);
        if too_late {
            let message = format!(
                "Missed scheduled time to start a job: {}",
                scheduled.strftime("%a, %d %b %Y %H:%M:%S +0000")
            );
            self.recorder
                .event(&run.reference, "Warning", "MissSchedule", message);
            return Ok(true);
        }
        let name = job_name(&run.cron_job, scheduled);
        let namespace = run.cron_job.metadata.namespace.clone();
        let status = &run.cron_job.status;
        let listed = status
            .active
            .iter()
            .any(|active| active.name == name && active.namespace == namespace);
        if listed
            || status
                .last_schedule_time
                .is_some_and(|last| last.timestamp() == scheduled)
        {
            return Ok(true);
        }
        let api = self.client.namespaced::<Job>(&namespace);
        match run.cron_job.spec.concurrency_policy.as_str() {
            "Forbid" if !run.cron_job.status.active.is_empty() => {
                let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.recorder
                    .event(&run.reference, "Normal", "JobAlreadyActive", message);
                return Ok(true);
            }
            "Replace" => {
                for active in run.cron_job.status.active.clone() {
                    let job = match self
                        .client
                        .namespaced::<Job>(&active.namespace)
                        .get(&active.name)
                        .await
                    {
                        Ok(job) => job,
                        Err(error) => {
                            self.recorder.event(
                                &run.reference,
                                "Warning",
                                "FailedGet",
                                format!("Get job: {error}"),
                            );
                            return Err(error.into());
                        }
                    };
                    if !self.delete_job(run, &job).await {
                        return Err(SyncError::other(format!(
                            "could not replace job {}",
                            key_of(&job.metadata)
                        )));
                    }
                }
            }
            _ => {}
        }
        let wanted = job_from_template(&run.cron_job, scheduled).map_err(SyncError::Other)?;
        let created = match api.create(&wanted).await {
            Ok(created) => {
                let skew = created
                    .metadata
                    .creation_timestamp
                    .timestamp()
                    .duration_since(scheduled);
                self.creation_skew.observe(skew.as_secs_f64());
                self.recorder.event(
                    &run.reference,
                    "Normal",
                    "SuccessfulCreate",
                    format!("Created job {}", created.metadata.name),
                );
                created
            }
            Err(error) if error.is_already_exists() => {
                // We may have created it and failed to write the status: then that is done now.
                let existing = api.get(&name).await?;
                if !is_controlled_by(&existing.metadata, &run.cron_job.metadata)
                    || run.is_active(&existing)
                {
                    return Ok(false);
                }
                existing
            }
            Err(error) => {
                if !super::pod_control::is_namespace_terminating(&error) {
                    self.recorder.event(
                        &run.reference,
                        "Warning",
                        "FailedCreate",
                        format!("Error creating job: {error}"),
                    );
                }
                return Err(error.into());
            }
        };
        run.cron_job.status.active.push(object_reference(&created));
        run.cron_job.status.last_schedule_time = Some(Time::from_timestamp(scheduled));
        run.changed = true;
        Ok(true)
    }

    /// Deletes finished Jobs beyond the history limits.
    async fn clean_up(&self, run: &mut Run, jobs: &[Arc<Job>]) {
        let spec = &run.cron_job.spec;
        let limits = [
            ("Complete", spec.successful_jobs_history_limit),
            ("Failed", spec.failed_jobs_history_limit),
        ];
        for (end, limit) in limits {
            let Some(limit) = limit else { continue };
            for job in surplus(jobs, end, limit) {
                self.delete_job(run, &job).await;
            }
        }
    }

    async fn delete_job(&self, run: &mut Run, job: &Job) -> bool {
        let (namespace, name) = (&job.metadata.namespace, &job.metadata.name);
        let options = DeleteOptions {
            propagation_policy: Some("Background".to_owned()),
            ..Default::default()
        };
        match self
            .client
            .namespaced::<Job>(namespace)
            .delete(name, &options)
            .await
        {
            Ok(_) => {
                run.remove_active(&job.metadata.uid);
                self.recorder.event(
                    &run.reference,
                    "Normal",
                    "SuccessfulDelete",
                    format!("Deleted job {name}"),
                );
                true
            }
            Err(error) => {
                tracing::error!(job = %key_of(&job.metadata), %error, "Error deleting job from cronjob");
                self.recorder.event(
                    &run.reference,
                    "Warning",
                    "FailedDelete",
                    format!("Deleted job: {error}"),
                );
                false
            }
        }
    }
}

/// The oldest Jobs that ended this way, beyond `limit`.
fn surplus(jobs: &[Arc<Job>], end: &str, limit: i32) -> Vec<Arc<Job>> {
    let ended =
        |job: &&Arc<Job>| job::finished(job).is_some_and(|condition| condition.type_ == end);
    let mut jobs: Vec<_> = jobs.iter().filter(ended).cloned().collect();
    let started = |job: &Job| {
        job.status
            .start_time
            .map_or(Timestamp::MAX, |time| time.timestamp())
    };
    jobs.sort_by(|a, b| {
        started(a)
            .cmp(&started(b))
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    jobs.truncate(
        jobs.len()
            .saturating_sub(usize::try_from(limit).unwrap_or(0)),
    );
    jobs
}

/// The schedule in the CronJob's time zone. A zone inside of the schedule wins; a zone that does not exist is ignored.
fn parse_schedule(cron_job: &CronJob) -> Result<Schedule, String> {
    let text = &cron_job.spec.schedule;
    match &cron_job.spec.time_zone {
        Some(zone) if !text.contains("TZ") && location(zone).is_ok() => {
            Schedule::parse(&format!("TZ={zone} {text}"))
        }
        _ => Schedule::parse(text),
    }
}

fn job_from_template(cron_job: &CronJob, scheduled: Timestamp) -> Result<Job, String> {
    let template = &cron_job.spec.job_template;
    let zone = location(cron_job.spec.time_zone.as_deref().unwrap_or_default())?;
    let zoned = scheduled.to_zoned(zone);
    let text = match zoned.offset().is_zero() {
        true => zoned.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        false => zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    };
    let mut annotations = template.metadata.annotations.clone();
    annotations.insert(SCHEDULED_TIMESTAMP.to_owned(), text);
    Ok(Job {
        metadata: ObjectMeta {
            name: job_name(cron_job, scheduled),
            namespace: cron_job.metadata.namespace.clone(),
            labels: template.metadata.labels.clone(),
            annotations,
            creation_timestamp: Time::from_timestamp(scheduled),
            owner_references: vec![new_controller_ref(cron_job)],
            ..Default::default()
        },
        spec: template.spec.clone(),
        ..Default::default()
    })
}

struct Wake {
    queue: Queue<ObjectKey>,
    cron_jobs: Lister<CronJob>,
    recorder: EventRecorder,
    clock: Clock,
}

impl Wake {
    fn cron_job(&self, change: Change<'_, CronJob>) {
        match change {
            Change::Updated(old, new)
                if (&old.spec.schedule, &old.spec.time_zone)
                    != (&new.spec.schedule, &new.spec.time_zone) =>
            {
                match parse_schedule(new) {
                    // A sooner time replaces the one that is waited for; at a later one the earlier wake finds nothing due.
                    Ok(schedule) => {
                        if let Some(wait) = until_next(new, self.clock.now(), &schedule) {
                            self.queue.add_after(key_of(&new.metadata), wait);
                        }
                    }
                    Err(_) => {
                        let message =
                            format!("unparseable schedule for cronjob: {}", new.spec.schedule);
                        self.recorder.event(
                            &object_reference(&**new),
                            "Warning",
                            "UnParseableCronJobSchedule",
                            message,
                        );
                    }
                }
            }
            change => self.queue.add(key_of(&change.object().metadata)),
        }
    }

    fn job(&self, change: Change<'_, Job>) {
        match change {
            Change::Updated(old, new)
                if old.metadata.resource_version == new.metadata.resource_version => {}
            Change::Updated(old, new) => {
                if controller_of(&old.metadata) != controller_of(&new.metadata) {
                    self.wake_owner(old);
                }
                self.wake_owner(new);
            }
            Change::Added(job, _) | Change::Deleted(job) => self.wake_owner(job),
        }
    }

    fn wake_owner(&self, job: &Job) {
        let Some(reference) = controller_of(&job.metadata) else {
            return;
        };
        if let Some(cron_job) = owners::resolve(&self.cron_jobs, &job.metadata.namespace, reference)
        {
            self.queue.add(key_of(&cron_job.metadata));
        }
    }
}

#[cfg(test)]
mod tests {
    use api_types::batch::v1::JobCondition;

    use super::*;

    fn ended(name: &str, end: &str, started: Option<i64>) -> Arc<Job> {
        let mut job = Job::default();
        job.metadata.name = name.into();
        job.status.start_time =
            started.map(|second| Time::from_timestamp(Timestamp::from_second(second).unwrap()));
        job.status.conditions.push(JobCondition {
            type_: end.into(),
            status: "True".into(),
            ..Default::default()
        });
        Arc::new(job)
    }

    #[test]
    fn the_oldest_finished_jobs_go() {
        let jobs = [
            ended("c", "Complete", Some(3)),
            ended("a", "Complete", Some(1)),
            ended("x", "Complete", None),
            ended("f", "Failed", Some(0)),
        ];
        let names = |end, limit| {
            surplus(&jobs, end, limit)
                .iter()
                .map(|job| job.metadata.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names("Complete", 1), ["a", "c"]);
        assert!(names("Complete", 3).is_empty());
        assert_eq!(names("Failed", 0), ["f"]);
    }

    #[test]
    fn jobs_take_labels_annotations_and_spec() {
        let mut cron_job = CronJob::default();
        cron_job.metadata.name = "c".into();
        cron_job.metadata.uid = "u".into();
        cron_job.spec.time_zone = Some("Asia/Tokyo".into());
        cron_job
            .spec
            .job_template
            .metadata
            .labels
            .insert("a".into(), "b".into());
        cron_job.spec.job_template.spec.parallelism = Some(3);
        let job = job_from_template(&cron_job, "2024-05-19T00:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(
            job.metadata.annotations[SCHEDULED_TIMESTAMP],
            "2024-05-19T09:00:00+09:00"
        );
        assert_eq!(
            (job.metadata.labels["a"].as_str(), job.spec.parallelism),
            ("b", Some(3))
        );
        assert_eq!(job.metadata.owner_references[0].kind, "CronJob");
        cron_job.spec.time_zone = None;
        let job = job_from_template(&cron_job, "2024-05-19T00:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(
            job.metadata.annotations[SCHEDULED_TIMESTAMP],
            "2024-05-19T00:00:00Z"
        );
    }

    #[test]
    fn the_time_zone_of_the_spec_applies() {
        let mut cron_job = CronJob::default();
        let next = |cron_job: &CronJob| {
            parse_schedule(cron_job)
                .unwrap()
                .next("2024-05-01T00:00:00Z".parse().unwrap())
                .unwrap()
                .to_string()
        };
        cron_job.spec.schedule = "0 9 * * *".into();
        cron_job.spec.time_zone = Some("America/New_York".into());
        assert_eq!(next(&cron_job), "2024-05-01T13:00:00Z");
        cron_job.spec.schedule = "TZ=UTC 0 9 * * *".into();
        assert_eq!(next(&cron_job), "2024-05-01T09:00:00Z");
    }
}
