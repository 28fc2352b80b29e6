//! Questions about a Job's pods. Pure. Upstream: job_controller.go, indexed_job_utils.go, backoff_utils.go.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use api_types::batch::v1::Job;
use api_types::core::v1::{
    Container, ContainerStatus, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodTemplateSpec,
    pod_phase,
};
use jiff::Timestamp;

use super::indexes::Intervals;
use super::policies::{FAIL_INDEX, judge_failure};
use crate::controllers::pod_ranking::compare_active;
use crate::controllers::pod_state::condition;

/// The finalizer of pods that are not yet counted in the Job's status.
pub(super) const TRACKING_FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// Longest prefix of a generated name.
const MAX_GENERATED_NAME: usize = 58;

pub(super) fn is_indexed(job: &Job) -> bool {
    job.spec.completion_mode.as_deref() == Some("Indexed")
}

pub(super) fn is_suspended(job: &Job) -> bool {
    job.spec.suspend == Some(true)
}

/// Pods are replaced only once they are fully terminated.
pub(super) fn replaces_failed_only(job: &Job) -> bool {
    job.spec.pod_replacement_policy.as_deref() == Some("Failed")
        || job.spec.pod_failure_policy.is_some()
}

pub(super) fn completions(job: &Job) -> i32 {
    job.spec.completions.unwrap_or(0)
}

pub(super) fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata
        .finalizers
        .iter()
        .any(|finalizer| finalizer == TRACKING_FINALIZER)
}

pub(super) fn is_succeeded(pod: &Pod) -> bool {
    pod.status.phase == pod_phase::SUCCEEDED
}

/// A pod that is being deleted counts as failed: an orphan may never get to say so.
pub(super) fn is_failed(pod: &Pod, job: &Job) -> bool {
    pod.status.phase == pod_phase::FAILED
        || (!replaces_failed_only(job)
            && pod.metadata.deletion_timestamp.is_some()
            && !is_succeeded(pod))
}

/// The completion index in the pod's annotations.
pub(super) fn completion_index(pod: &Pod) -> Option<i32> {
    pod.metadata
        .annotations
        .get(COMPLETION_INDEX)?
        .parse()
        .ok()
        .filter(|index| *index >= 0)
}

/// The pod's index, when it is one that the Job has.
pub(super) fn valid_index(pod: &Pod, job: &Job) -> Option<i32> {
    completion_index(pod).filter(|index| *index < completions(job))
}

pub(super) fn sort_by_index(pods: &mut [Arc<Pod>]) {
    pods.sort_by_key(|pod| completion_index(pod).unwrap_or(-1));
}

fn count_annotation(pod: &Pod, key: &str) -> i32 {
    pod.metadata
        .annotations
        .get(key)
        .and_then(|text| text.parse().ok())
        .filter(|count| *count >= 0)
        .unwrap_or(0)
}

/// Failures of the pod's index before it, ignored ones included.
pub(super) fn failures_before(pod: &Pod) -> i32 {
    count_annotation(pod, FAILURE_COUNT)
        .saturating_add(count_annotation(pod, IGNORED_FAILURE_COUNT))
}

/// When the pod ended: by its containers, else its Ready condition, else its deletion, else its creation.
pub(super) fn finished_at(pod: &Pod) -> Timestamp {
    let is_sidecar = |name: &str| {
        pod.spec
            .init_containers
            .iter()
            .any(|init| init.name == name && init.restart_policy.as_deref() == Some("Always"))
    };
    let ended = |status: &ContainerStatus| {
        let at = status
            .state
            .terminated
            .as_ref()
            .map(|ended| ended.finished_at)?;
        (!at.is_zero()).then(|| at.timestamp())
    };
    let sidecars = pod
        .status
        .init_container_statuses
        .iter()
        .filter(|status| is_sidecar(&status.name));
    // Unknown for one is unknown for all.
    let containers: Option<Vec<_>> = pod
        .status
        .container_statuses
        .iter()
        .chain(sidecars)
        .map(ended)
        .collect();
    if let Some(last) = containers.and_then(|times| times.into_iter().max()) {
        return last;
    }
    if let Some(ready) = condition(pod, "Ready")
        .filter(|ready| ready.status == "False" && !ready.last_transition_time.is_zero())
    {
        return ready.last_transition_time.timestamp();
    }
    if let Some(deleted) = pod.metadata.deletion_timestamp {
        let grace = jiff::SignedDuration::from_secs(
            pod.metadata.deletion_grace_period_seconds.unwrap_or(0),
        );
        return deleted
            .timestamp()
            .saturating_sub(grace)
            .unwrap_or(Timestamp::MIN);
    }
    pod.metadata.creation_timestamp.timestamp()
}

/// Restarts of containers in place exceed the backoff limit, for pods that restart on failure.
pub(super) fn restarts_exceed_limit(job: &Job, pods: &[Arc<Pod>]) -> bool {
    if job.spec.template.spec.restart_policy != "OnFailure" {
        return false;
    }
    let running = pods.iter().filter(|pod| {
        pod.status.phase == pod_phase::RUNNING || pod.status.phase == pod_phase::PENDING
    });
    let restarts: i32 = running
        .flat_map(|pod| {
            pod.status
                .init_container_statuses
                .iter()
                .chain(&pod.status.container_statuses)
        })
        .map(|status| status.restart_count)
        .sum();
    match job.spec.backoff_limit.unwrap_or(6) {
        0 => restarts > 0,
        limit => restarts >= limit,
    }
}

/// Succeeded indexes as noted before, and with those of pods that are not yet counted.
pub(super) fn succeeded_indexes(job: &Job, pods: &[Arc<Pod>]) -> (Intervals, Intervals) {
    let before = Intervals::parse(&job.status.completed_indexes, completions(job));
    let new = pods
        .iter()
        .filter(|pod| is_succeeded(pod) && has_finalizer(pod))
        .filter_map(|pod| valid_index(pod, job));
    let now = before.with(new);
    (before, now)
}

/// Failed indexes, of Jobs with a backoff limit per index.
pub(super) fn failed_indexes(job: &Job, pods: &[Arc<Pod>]) -> Intervals {
    let before = Intervals::parse(
        job.status.failed_indexes.as_deref().unwrap_or_default(),
        completions(job),
    );
    let failed = pods
        .iter()
        .filter(|pod| has_finalizer(pod) && fails_index(job, pod));
    before.with(failed.filter_map(|pod| valid_index(pod, job)))
}

fn fails_index(job: &Job, pod: &Pod) -> bool {
    if !is_failed(pod, job) {
        return false;
    }
    let verdict = judge_failure(job.spec.pod_failure_policy.as_deref(), pod);
    verdict.action == Some(FAIL_INDEX)
        || (verdict.counts
            && count_annotation(pod, FAILURE_COUNT)
                >= job.spec.backoff_limit_per_index.unwrap_or(0))
}

pub(super) fn indexes_of<'a>(pods: impl IntoIterator<Item = &'a Arc<Pod>>) -> HashSet<i32> {
    pods.into_iter()
        .filter_map(|pod| completion_index(pod))
        .collect()
}

/// Failed pods whose finalizer stays until their index has a new pod, because that one inherits their failure counts.
pub(super) fn delayed_per_index<'a>(
    job: &Job,
    uncounted: impl Iterator<Item = &'a Arc<Pod>>,
    active: &[Arc<Pod>],
    succeeded: &Intervals,
    failed: &Intervals,
) -> HashMap<i32, Arc<Pod>> {
    let active = indexes_of(active);
    let mut delayed: HashMap<i32, Arc<Pod>> = HashMap::new();
    for pod in uncounted.filter(|pod| is_failed(pod, job)) {
        let Some(index) = valid_index(pod, job) else {
            continue;
        };
        if succeeded.has(index) || failed.has(index) || active.contains(&index) {
            continue;
        }
        let is_later = |before: &Arc<Pod>| {
            failures_before(before) <= failures_before(pod)
                && finished_at(pod) >= finished_at(before)
        };
        if delayed.get(&index).is_none_or(is_later) {
            delayed.insert(index, pod.clone());
        }
    }
    delayed
}

/// Which active pods to delete: those with an index too many, then as many as `at_least`.
pub(super) fn active_to_remove(job: &Job, active: &[Arc<Pod>], at_least: usize) -> Vec<Arc<Pod>> {
    let (mut remove, mut left) = (Vec::new(), Vec::new());
    if is_indexed(job) {
        let mut by_index: BTreeMap<i32, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in active {
            match valid_index(pod, job) {
                Some(index) => by_index.entry(index).or_default().push(pod.clone()),
                None => remove.push(pod.clone()),
            }
        }
        for mut same in by_index.into_values() {
            same.sort_by(|a, b| compare_active(a, b));
            left.extend(same.pop());
            remove.append(&mut same);
        }
    } else {
        left = active.to_vec();
    }
    if remove.len() < at_least {
        left.sort_by(|a, b| compare_active(a, b));
        let count = at_least - remove.len();
        remove.extend(left.into_iter().take(count));
    }
    remove
}

/// Lets containers read their index from a variable, unless they have one of that name.
pub(super) fn add_index_variables(template: &mut PodTemplateSpec) {
    let add = |container: &mut Container| {
        if container
            .env
            .iter()
            .any(|variable| variable.name == INDEX_VARIABLE)
        {
            return;
        }
        let field = ObjectFieldSelector {
            field_path: format!("metadata.labels['{COMPLETION_INDEX}']"),
            ..Default::default()
        };
        let source = EnvVarSource {
            field_ref: Some(Box::new(field)),
            ..Default::default()
        };
        container.env.push(EnvVar {
            name: INDEX_VARIABLE.to_owned(),
            value_from: Some(Box::new(source)),
            ..Default::default()
        });
    };
    template.spec.init_containers.iter_mut().for_each(add);
    template.spec.containers.iter_mut().for_each(add);
}

/// Makes a pod the one of `index`. `replaces` is the failed pod before it, for Jobs that count failures per index.
pub(super) fn set_index(pod: &mut Pod, job: &Job, index: i32, replaces: Option<&Pod>) {
    let metadata = &mut pod.metadata;
    metadata
        .annotations
        .insert(COMPLETION_INDEX.to_owned(), index.to_string());
    metadata
        .labels
        .insert(COMPLETION_INDEX.to_owned(), index.to_string());
    pod.spec.hostname = format!("{}-{index}", job.metadata.name);
    metadata.generate_name = generate_name(&job.metadata.name, index);
    if job.spec.backoff_limit_per_index.is_some() {
        let (mut failures, mut ignored) = (0, 0);
        if let Some(replaced) = replaces {
            failures = count_annotation(replaced, FAILURE_COUNT);
            ignored = count_annotation(replaced, IGNORED_FAILURE_COUNT);
            let counts = judge_failure(job.spec.pod_failure_policy.as_deref(), replaced).counts;
            *(if counts { &mut failures } else { &mut ignored }) += 1;
        }
        metadata
            .annotations
            .insert(FAILURE_COUNT.to_owned(), failures.to_string());
        if ignored > 0 {
            metadata
                .annotations
                .insert(IGNORED_FAILURE_COUNT.to_owned(), ignored.to_string());
        }
    }
}

fn generate_name(job: &str, index: i32) -> String {
    let suffix = format!("-{index}-");
    let cut = job.get(..MAX_GENERATED_NAME - suffix.len()).unwrap_or(job);
    format!("{cut}{suffix}")
}

#[cfg(test)]
#[path = "pods_tests.rs"]
pub(super) mod tests;
