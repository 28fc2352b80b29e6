//! Conditions of a Job. Pure. Upstream: job_controller.go and pkg/controller/job/util.

use api_types::Time;
use api_types::batch::v1::{Job, JobCondition};

pub(super) const COMPLETE: &str = "Complete";
pub(super) const FAILED: &str = "Failed";
pub(super) const FAILURE_TARGET: &str = "FailureTarget";
pub(super) const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
pub(super) const SUSPENDED: &str = "Suspended";

pub(super) fn new(
    kind: &str,
    status: &str,
    reason: &str,
    message: impl Into<String>,
    now: Time,
) -> JobCondition {
    JobCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        last_probe_time: now,
        last_transition_time: now,
        reason: reason.to_owned(),
        message: message.into(),
    }
}

/// The condition of this type, when it is true.
pub(super) fn find_true<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    job.status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == "True")
}

/// The type of the condition that ended the Job.
pub fn finished(job: &Job) -> Option<&JobCondition> {
    job.status.conditions.iter().find(|condition| {
        (condition.type_ == COMPLETE || condition.type_ == FAILED) && condition.status == "True"
    })
}

/// Sets a condition. One that is false is not added where there is none. Returns whether anything changed.
pub(super) fn ensure(job: &mut Job, wanted: JobCondition) -> bool {
    match job
        .status
        .conditions
        .iter_mut()
        .find(|condition| condition.type_ == wanted.type_)
    {
        Some(has)
            if has.status == wanted.status
                && has.reason == wanted.reason
                && has.message == wanted.message =>
        {
            false
        }
        Some(has) => {
            *has = wanted;
            true
        }
        None if wanted.status == "False" => false,
        None => {
            job.status.conditions.push(wanted);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_false_condition_is_not_added() {
        let mut job = Job::default();
        let condition = |status| new(SUSPENDED, status, "R", "m", Time::default());
        assert!(!ensure(&mut job, condition("False")));
        assert!(ensure(&mut job, condition("True")));
        assert!(!ensure(&mut job, condition("True")));
        assert!(ensure(&mut job, condition("False")));
        assert_eq!(job.status.conditions.len(), 1);
        assert!(finished(&job).is_none() && find_true(&job, SUSPENDED).is_none());
    }
}
