//! The status that the job controller reports. Upstream: validateJobStatus in pkg/apis/batch/validation, with the options
//! that pkg/registry/batch/job derives from what changed.

use std::collections::BTreeSet;

use api_types::batch::v1::Job;

use super::batch::Indexes;
use super::*;

fn is(job: &Job, ty: &str, status: &str) -> bool {
    let mut conditions = job.status.conditions.iter();
    conditions.any(|condition| condition.type_ == ty && condition.status == status)
}

/// A status given the one before it. What did not change may be wrong.
pub(super) fn validate_status(new: &Job, old: &Job) -> ErrorList {
    let managed_by = gates::enabled("JobManagedBy");
    let path = Path::new("status");
    let conditions_path = path.child("conditions");
    let conditions = |detail: String| field::invalid(&conditions_path, BadValue::Omitted, detail);
    let (status, before) = (&new.status, &old.status);
    let mut errors = counts(new, &path);
    let holds = |job: &Job, ty: &str| is(job, ty, "True");
    let (complete, failed) = (holds(new, "Complete"), holds(new, "Failed"));
    let (target, criteria) = (
        holds(new, "FailureTarget"),
        holds(new, "SuccessCriteriaMet"),
    );
    let finished = complete || failed;
    let changed = |ty: &str| managed_by && holds(old, ty) != holds(new, ty);
    let (complete_changed, failed_changed) = (changed("Complete"), changed("Failed"));
    let finished_changed =
        managed_by && finished != (holds(old, "Complete") || holds(old, "Failed"));
    let start_changed = managed_by && before.start_time != status.start_time;
    let completion_changed = managed_by && before.completion_time != status.completion_time;
    let active_changed = managed_by && before.active != status.active;
    let indexes = Indexes {
        job: new,
        completed_changed: managed_by && before.completed_indexes != status.completed_indexes,
        failed_changed: managed_by && before.failed_indexes != status.failed_indexes,
    };
    if (complete_changed || failed_changed) && complete && failed {
        errors.push(conditions(
            "cannot set Complete=True and Failed=true conditions".into(),
        ));
    }
    if (complete_changed || changed("FailureTarget")) && complete && target {
        errors.push(conditions(
            "cannot set Complete=True and FailureTarget=true conditions".into(),
        ));
    }
    let completion_path = path.child("completionTime");
    let completion = || go_value::bad_list(&status.completion_time);
    if complete_changed || completion_changed {
        if status.completion_time.is_some() && !complete {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            errors.push(field::invalid(&completion_path, completion(), detail));
        }
        if status.completion_time.is_none() && complete {
            errors.push(field::required(
                &completion_path,
                "completionTime is required for Complete jobs",
            ));
        }
    }
    if (start_changed || completion_changed)
        && let (Some(start), Some(end)) = (status.start_time, status.completion_time)
        && end.unix() < start.unix()
    {
        let detail = "must be equal to or after `startTime`";
        errors.push(field::invalid(&completion_path, completion(), detail));
    }
    if (failed_changed || indexes.failed_changed) && failed && !target {
        errors.push(conditions(
            "cannot set Failed=True condition without the FailureTarget=true condition".into(),
        ));
    }
    if (complete_changed || changed("SuccessCriteriaMet")) && complete && !criteria {
        let detail =
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        errors.push(conditions(detail.into()));
    }
    if (finished_changed || active_changed) && status.active > 0 && finished {
        let detail = "active>0 is invalid for finished job";
        errors.push(field::invalid(&path.child("active"), status.active, detail));
    }
    let nothing_to_do = new.spec.suspend == Some(true) && new.spec.completions == Some(0);
    if (finished_changed || start_changed)
        && !nothing_to_do
        && status.start_time.is_none()
        && finished
    {
        errors.push(field::required(
            &path.child("startTime"),
            "startTime is required for finished job",
        ));
    }
    let uncounted_changed =
        managed_by && before.uncounted_terminated_pods != status.uncounted_terminated_pods;
    if let Some(uncounted) = &status.uncounted_terminated_pods
        && (finished_changed || uncounted_changed)
        && finished
        && !(uncounted.failed.is_empty() && uncounted.succeeded.is_empty())
    {
        let value = go_value::bad_value(&**uncounted);
        let detail = "must be empty for finished job";
        errors.push(field::invalid(
            &path.child("uncountedTerminatedPods"),
            value,
            detail,
        ));
    }
    errors.extend(indexes.parse(&path));
    errors.extend(indexes.fit_the_job(&path));
    let terminating_changed = managed_by && before.terminating != status.terminating;
    if let Some(terminating) = status.terminating.filter(|count| *count > 0)
        && (finished_changed || terminating_changed)
        && finished
    {
        let detail = "terminating>0 is invalid for finished job";
        errors.push(field::invalid(
            &path.child("terminating"),
            terminating,
            detail,
        ));
    }
    let ready_changed = managed_by && before.ready != status.ready;
    if let Some(ready) = status.ready.filter(|ready| *ready > status.active)
        && (ready_changed || active_changed)
    {
        errors.push(field::invalid(
            &path.child("ready"),
            ready,
            "cannot set more ready pods than active",
        ));
    }
    if criteria && failed {
        errors.push(conditions(
            "cannot set SuccessCriteriaMet=True and Failed=true conditions".into(),
        ));
    }
    if criteria && target {
        errors.push(conditions(
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions".into(),
        ));
    }
    if new.spec.success_policy.is_some() && !criteria && complete {
        let detail =
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        errors.push(conditions(detail.into()));
    }
    if managed_by {
        for ty in ["Failed", "Complete", "FailureTarget"] {
            if holds(old, ty) && !holds(new, ty) {
                errors.push(conditions(format!(
                    "cannot disable the terminal {ty}=True condition"
                )));
            }
        }
        errors.extend(never_back(new, old, &path));
    }
    let was_met = holds(old, "SuccessCriteriaMet");
    if was_met && !criteria {
        errors.push(conditions(
            "cannot disable the SuccessCriteriaMet=True condition".into(),
        ));
    }
    if holds(old, "Complete") && !was_met && criteria {
        let detail =
            "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.push(conditions(detail.into()));
    }
    errors
}

/// Numbers and times that do not go back.
fn never_back(new: &Job, old: &Job, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (status, before) = (&new.status, &old.status);
    if status.failed < before.failed {
        errors.push(field::invalid(
            &path.child("failed"),
            status.failed,
            "cannot decrease the failed counter",
        ));
    }
    let indexed = new.spec.completion_mode.as_deref() == Some("Indexed");
    let elastic = indexed && new.spec.completions == new.spec.parallelism;
    if !elastic && status.succeeded < before.succeeded {
        let detail = "cannot decrease the succeeded counter";
        errors.push(field::invalid(
            &path.child("succeeded"),
            status.succeeded,
            detail,
        ));
    }
    if let (Some(end), Some(end_before)) = (status.completion_time, before.completion_time)
        && end != end_before
    {
        let value = go_value::bad_list(&status.completion_time);
        errors.push(field::invalid(
            &path.child("completionTime"),
            value,
            IMMUTABLE,
        ));
    }
    let resuming = is(old, "Suspended", "True") && is(new, "Suspended", "False");
    let restarted = before.start_time.is_some() && before.start_time != status.start_time;
    if restarted && !resuming && new.spec.suspend != Some(true) {
        let value = go_value::bad_list(&status.start_time);
        let detail = "field is immutable for unsuspended job once set";
        errors.push(field::invalid(&path.child("startTime"), value, detail));
    }
    errors
}

fn counts(job: &Job, path: &Path) -> ErrorList {
    let status = &job.status;
    let mut errors = ErrorList::new();
    for (value, child) in [
        (Some(status.active), "active"),
        (Some(status.succeeded), "succeeded"),
        (Some(status.failed), "failed"),
        (status.ready, "ready"),
        (status.terminating, "terminating"),
    ] {
        if let Some(value) = value {
            errors.extend(nonnegative(value.into(), &path.child(child)));
        }
    }
    if let Some(uncounted) = &status.uncounted_terminated_pods {
        let path = path.child("uncountedTerminatedPods");
        let mut seen = BTreeSet::new();
        for (list, child) in [
            (&uncounted.succeeded, "succeeded"),
            (&uncounted.failed, "failed"),
        ] {
            for (i, uid) in list.iter().enumerate() {
                let path = path.child(child).index(i);
                if uid.is_empty() {
                    errors.push(field::invalid(&path, uid, "must not be empty"));
                } else if !seen.insert(uid) {
                    errors.push(field::duplicate(&path, uid));
                }
            }
        }
    }
    errors
}
