//! Deletes a finished Job once `ttlSecondsAfterFinished` has passed (KEP-592). Upstream: pkg/controller/ttlafterfinished.

use std::time::Duration;

use api_types::batch::v1::Job;
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::{DeleteOptions, Preconditions};
use client::{Client, Lister, ObjectKey};
use component_base::metrics::{Histogram, Opts, exponential_buckets};
use jiff::{SignedDuration, Timestamp};

use super::controller_ref::key_of;
use super::{BuildError, Controller, Next, SyncError, job};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

/// The ttl-after-finished-controller.
pub struct TtlAfterFinished {
    client: Client,
    jobs: Lister<Job>,
    clock: Clock,
    deletion_duration: Histogram,
}

impl Controller for TtlAfterFinished {
    const NAME: &'static str = "ttl-after-finished-controller";
    const ALIASES: &'static [&'static str] = &["ttl-after-finished"];
    const SERVICE_ACCOUNT: &'static str = "ttl-after-finished-controller";
    const QUEUE: &'static str = "ttl_jobs_to_delete";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let jobs = setup.informer::<Job>();
        let queue = queue.clone();
        on_change(&jobs, move |change| match change {
            Change::Added(job, _) | Change::Updated(_, job) if needs_cleanup(job) => {
                queue.add(key_of(&job.metadata))
            }
            _ => {}
        });
        let duration = Opts::new(
            "ttl_after_finished_controller_job_deletion_duration_seconds",
            "The time it took to delete the job since it became eligible for deletion",
        );
        Ok(Some(Self {
            client: setup.client.clone(),
            jobs: jobs.lister(),
            clock: setup.clock(),
            deletion_duration: setup
                .metrics()
                .histogram(duration.buckets(exponential_buckets(0.1, 2.0, 14))),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        usize::try_from(config.ttl_after_finished_controller.concurrent_ttl_syncs).unwrap_or(0)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(job) = self.jobs.get(key) else {
            return Ok(Next::Done);
        };
        match time_left(&job, self.clock.now())? {
            TimeLeft::NoLimit => Ok(Next::Done),
            TimeLeft::Wait(time) => Ok(Next::After(time)),
            TimeLeft::Over(_) => self.delete_if_still_expired(key).await,
        }
    }
}

impl TtlAfterFinished {
    /// The limit may have been changed since: the live Job decides.
    async fn delete_if_still_expired(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let api = self.client.namespaced::<Job>(&key.namespace);
        let job = match api.get(&key.name).await {
            Err(error) if error.is_not_found() => return Ok(Next::Done),
            job => job?,
        };
        let expired_at = match time_left(&job, self.clock.now())? {
            TimeLeft::NoLimit => return Ok(Next::Done),
            TimeLeft::Wait(time) => return Ok(Next::After(time)),
            TimeLeft::Over(expired_at) => expired_at,
        };
        let preconditions = Preconditions {
            uid: Some(job.metadata.uid),
            ..Default::default()
        };
        let options = DeleteOptions {
            propagation_policy: Some("Foreground".to_owned()),
            preconditions: Some(Box::new(preconditions)),
            ..Default::default()
        };
        api.delete(&key.name, &options).await?;
        self.deletion_duration
            .observe(self.clock.now().duration_since(expired_at).as_secs_f64());
        Ok(Next::Done)
    }
}

fn needs_cleanup(job: &Job) -> bool {
    job.metadata.deletion_timestamp.is_none()
        && job.spec.ttl_seconds_after_finished.is_some()
        && job::finished(job).is_some()
}

#[derive(Debug, PartialEq)]
enum TimeLeft {
    NoLimit,
    Wait(Duration),
    /// Since then.
    Over(Timestamp),
}

fn time_left(job: &Job, now: Timestamp) -> Result<TimeLeft, SyncError> {
    let (Some(seconds), Some(end), None) = (
        job.spec.ttl_seconds_after_finished,
        job::finished(job),
        job.metadata.deletion_timestamp,
    ) else {
        return Ok(TimeLeft::NoLimit);
    };
    if end.last_transition_time.is_zero() {
        return Err(SyncError::other(format!(
            "unable to find the time when the Job {} finished",
            key_of(&job.metadata)
        )));
    }
    let expires = end
        .last_transition_time
        .timestamp()
        .saturating_add(SignedDuration::from_secs(i64::from(seconds)))
        .unwrap_or(Timestamp::MAX);
    let left = expires.duration_since(now);
    Ok(if left.is_positive() {
        TimeLeft::Wait(left.unsigned_abs())
    } else {
        TimeLeft::Over(expires)
    })
}

#[cfg(test)]
mod tests {
    use api_types::Time;
    use api_types::batch::v1::JobCondition;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn job(ttl: Option<i32>, end: &str, status: &str, ended: i64) -> Job {
        let mut job = Job::default();
        job.spec.ttl_seconds_after_finished = ttl;
        let last_transition_time = if ended == 0 {
            Time::default()
        } else {
            Time::from_timestamp(at(ended))
        };
        job.status.conditions.push(JobCondition {
            type_: end.into(),
            status: status.into(),
            last_transition_time,
            ..Default::default()
        });
        job
    }

    #[test]
    fn time_counts_from_the_end() {
        let check =
            |job: &Job, now, expected| assert_eq!(time_left(job, at(now)).unwrap(), expected);
        check(
            &job(Some(10), "Complete", "True", 100),
            105,
            TimeLeft::Wait(Duration::from_secs(5)),
        );
        check(
            &job(Some(10), "Failed", "True", 100),
            110,
            TimeLeft::Over(at(110)),
        );
        check(
            &job(Some(0), "Complete", "True", 100),
            100,
            TimeLeft::Over(at(100)),
        );
        check(&job(None, "Complete", "True", 100), 999, TimeLeft::NoLimit);
        check(
            &job(Some(10), "Complete", "False", 100),
            999,
            TimeLeft::NoLimit,
        );
        check(
            &job(Some(10), "Suspended", "True", 100),
            999,
            TimeLeft::NoLimit,
        );
        let mut deleting = job(Some(10), "Complete", "True", 100);
        deleting.metadata.deletion_timestamp = Some(Time::from_timestamp(at(1)));
        check(&deleting, 999, TimeLeft::NoLimit);
        assert!(time_left(&job(Some(10), "Complete", "True", 0), at(999)).is_err());
    }
}
