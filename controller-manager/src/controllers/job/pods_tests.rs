//! Behaviours from upstream's job_controller_test.go, indexed_job_utils_test.go and backoff_utils_test.go.

use api_types::Time;
use api_types::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
};
use api_types::core::v1::{ContainerStateTerminated, PodCondition};

use super::*;

pub(crate) fn at(seconds: i64) -> Time {
    Time::from_timestamp(Timestamp::from_second(seconds).unwrap())
}

pub(crate) fn indexed_job(completions: i32) -> Job {
    let mut job = Job::default();
    job.metadata.name = "job".into();
    job.spec.completion_mode = Some("Indexed".into());
    job.spec.completions = Some(completions);
    job.spec.parallelism = Some(completions);
    job.spec.backoff_limit = Some(6);
    job
}

/// A pod with an index ("" for none) and a phase, not yet counted.
pub(crate) fn pod(name: &str, index: &str, phase: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = name.into();
    pod.metadata.uid = name.into();
    pod.metadata.finalizers.push(TRACKING_FINALIZER.into());
    pod.metadata.creation_timestamp = at(10);
    if !index.is_empty() {
        pod.metadata
            .annotations
            .insert(COMPLETION_INDEX.into(), index.into());
    }
    pod.status.phase = phase.into();
    pod
}

fn arc(pods: Vec<Pod>) -> Vec<Arc<Pod>> {
    pods.into_iter().map(Arc::new).collect()
}

#[test]
fn failed_pods() {
    let mut job = indexed_job(1);
    let mut terminating = pod("a", "0", "Running");
    terminating.metadata.deletion_timestamp = Some(at(5));
    assert!(is_failed(&terminating, &job));
    assert!(
        is_failed(&pod("a", "0", "Failed"), &job) && !is_failed(&pod("a", "0", "Running"), &job)
    );
    job.spec.pod_replacement_policy = Some("Failed".into());
    assert!(!is_failed(&terminating, &job));
    terminating.status.phase = "Succeeded".into();
    job.spec.pod_replacement_policy = None;
    assert!(!is_failed(&terminating, &job));
}

#[test]
fn indexes_of_annotations() {
    for (text, expected) in [
        ("0", Some(0)),
        ("15", Some(15)),
        ("-1", None),
        ("x", None),
        ("", None),
        ("99999999999", None),
    ] {
        assert_eq!(completion_index(&pod("a", text, "")), expected, "{text:?}");
    }
}

#[test]
fn succeeded_indexes_come_from_uncounted_pods() {
    let mut job = indexed_job(5);
    job.status.completed_indexes = "0".into();
    let mut counted = pod("d", "3", "Succeeded");
    counted.metadata.finalizers.clear();
    let pods = arc(vec![
        pod("a", "1", "Succeeded"),
        pod("b", "2", "Failed"),
        pod("c", "7", "Succeeded"),
        counted,
        pod("e", "", "Succeeded"),
    ]);
    let (before, now) = succeeded_indexes(&job, &pods);
    assert_eq!(
        (before.to_string().as_str(), now.to_string().as_str()),
        ("0", "0,1")
    );
}

#[test]
fn an_index_fails_at_its_limit() {
    let mut job = indexed_job(5);
    job.spec.backoff_limit_per_index = Some(1);
    let with_count = |name: &str, index: &str, count: &str| {
        let mut pod = pod(name, index, "Failed");
        pod.metadata
            .annotations
            .insert(FAILURE_COUNT.into(), count.into());
        pod
    };
    let pods = arc(vec![
        with_count("a", "0", "0"),
        with_count("b", "1", "1"),
        with_count("c", "2", "2"),
        pod("d", "3", "Running"),
    ]);
    assert_eq!(failed_indexes(&job, &pods).to_string(), "1,2");

    let requirement = PodFailurePolicyOnExitCodesRequirement {
        operator: "In".into(),
        values: vec![3],
        ..Default::default()
    };
    let rule = PodFailurePolicyRule {
        action: "FailIndex".into(),
        on_exit_codes: Some(Box::new(requirement)),
        ..Default::default()
    };
    job.spec.pod_failure_policy = Some(Box::new(PodFailurePolicy { rules: vec![rule] }));
    let mut exits = with_count("e", "4", "0");
    let mut status = ContainerStatus {
        name: "c".into(),
        ..Default::default()
    };
    status.state.terminated = Some(Box::new(ContainerStateTerminated {
        exit_code: 3,
        ..Default::default()
    }));
    exits.status.container_statuses.push(status);
    assert_eq!(failed_indexes(&job, &arc(vec![exits])).to_string(), "4");
}

#[test]
fn finish_times() {
    let mut p = pod("a", "", "Failed");
    assert_eq!(finished_at(&p), at(10).timestamp(), "creation");
    p.metadata.deletion_timestamp = Some(at(50));
    p.metadata.deletion_grace_period_seconds = Some(30);
    assert_eq!(
        finished_at(&p),
        at(20).timestamp(),
        "deletion without its grace period"
    );
    p.status.conditions.push(PodCondition {
        type_: "Ready".into(),
        status: "False".into(),
        last_transition_time: at(25),
        ..Default::default()
    });
    assert_eq!(finished_at(&p), at(25).timestamp(), "not ready");
    let ended = |seconds| {
        let mut status = ContainerStatus::default();
        status.state.terminated = Some(Box::new(ContainerStateTerminated {
            finished_at: at(seconds),
            ..Default::default()
        }));
        status
    };
    p.status.container_statuses = vec![ended(30), ended(28)];
    assert_eq!(finished_at(&p), at(30).timestamp(), "the last container");
    p.status.container_statuses.push(ContainerStatus::default());
    assert_eq!(
        finished_at(&p),
        at(25).timestamp(),
        "a container without end makes all unknown"
    );
}

#[test]
fn restarts_count_only_for_on_failure() {
    let mut job = indexed_job(1);
    let mut p = pod("a", "0", "Running");
    p.status.container_statuses = vec![ContainerStatus {
        restart_count: 3,
        ..Default::default()
    }];
    p.status.init_container_statuses = vec![ContainerStatus {
        restart_count: 2,
        ..Default::default()
    }];
    let pods = arc(vec![p]);
    let check = |job: &Job| restarts_exceed_limit(job, &pods);
    job.spec.backoff_limit = Some(5);
    assert!(!check(&job));
    job.spec.template.spec.restart_policy = "OnFailure".into();
    assert!(check(&job));
    job.spec.backoff_limit = Some(6);
    assert!(!check(&job));
    job.spec.backoff_limit = Some(0);
    assert!(check(&job));
}

#[test]
fn surplus_indexes_are_removed_first() {
    let names = |pods: Vec<Arc<Pod>>| {
        pods.iter()
            .map(|pod| pod.metadata.name.clone())
            .collect::<Vec<_>>()
    };
    let active = arc(vec![
        pod("a", "0", "Running"),
        pod("b", "0", "Pending"),
        pod("c", "9", "Running"),
        pod("d", "", "Running"),
        pod("e", "1", "Running"),
    ]);
    assert_eq!(
        names(active_to_remove(&indexed_job(3), &active, 0)),
        ["c", "d", "b"]
    );
    assert_eq!(
        names(active_to_remove(&indexed_job(3), &active, 4)).len(),
        4
    );
    let mut plain = indexed_job(3);
    plain.spec.completion_mode = None;
    assert_eq!(
        names(active_to_remove(&plain, &active, 1)),
        ["b"],
        "a pending pod before running ones"
    );
    assert!(active_to_remove(&plain, &active, 0).is_empty());
}

#[test]
fn pods_get_their_index() {
    let mut job = indexed_job(3);
    let mut p = Pod::default();
    set_index(&mut p, &job, 2, None);
    assert_eq!(
        (
            p.metadata.annotations[COMPLETION_INDEX].as_str(),
            p.metadata.labels[COMPLETION_INDEX].as_str()
        ),
        ("2", "2")
    );
    assert_eq!(
        (p.spec.hostname.as_str(), p.metadata.generate_name.as_str()),
        ("job-2", "job-2-")
    );
    assert!(!p.metadata.annotations.contains_key(FAILURE_COUNT));
    job.spec.backoff_limit_per_index = Some(1);
    set_index(&mut p, &job, 2, None);
    assert_eq!(p.metadata.annotations[FAILURE_COUNT], "0");
    let replaced = p.clone();
    set_index(&mut p, &job, 2, Some(&replaced));
    assert_eq!(p.metadata.annotations[FAILURE_COUNT], "1");
    assert_eq!(
        generate_name(&"x".repeat(63), 12),
        format!("{}-12-", "x".repeat(54))
    );
}

#[test]
fn the_variable_is_added_once() {
    let mut template = PodTemplateSpec::default();
    template.spec.containers = vec![
        Container::default(),
        Container {
            env: vec![EnvVar {
                name: INDEX_VARIABLE.into(),
                ..Default::default()
            }],
            ..Default::default()
        },
    ];
    add_index_variables(&mut template);
    let path = |container: &Container| {
        container.env[0]
            .value_from
            .as_ref()
            .map(|source| source.field_ref.as_ref().unwrap().field_path.clone())
    };
    assert_eq!(
        path(&template.spec.containers[0]).as_deref(),
        Some("metadata.labels['batch.kubernetes.io/job-completion-index']")
    );
    assert_eq!(path(&template.spec.containers[1]), None);
    assert_eq!(template.spec.containers[1].env.len(), 1);
}

#[test]
fn the_last_failed_pod_of_an_index_is_kept() {
    let job = indexed_job(4);
    let failed = |name: &str, index: &str, count: &str, created| {
        let mut pod = pod(name, index, "Failed");
        pod.metadata.creation_timestamp = at(created);
        pod.metadata
            .annotations
            .insert(FAILURE_COUNT.into(), count.into());
        pod
    };
    let pods = arc(vec![
        failed("a", "0", "0", 1),
        failed("b", "0", "1", 2),
        failed("c", "1", "0", 1),
        failed("d", "2", "0", 1),
        failed("e", "3", "0", 1),
    ]);
    let active = arc(vec![pod("x", "1", "Running")]);
    let delayed = delayed_per_index(
        &job,
        pods.iter(),
        &active,
        &Intervals::parse("2", 4),
        &Intervals::parse("3", 4),
    );
    assert_eq!(
        delayed
            .iter()
            .map(|(index, pod)| (*index, pod.metadata.name.as_str()))
            .collect::<Vec<_>>(),
        [(0, "b")]
    );
}
