//! Behaviours from upstream's stateful_set_control_test.go and stateful_set_utils_test.go.

use api_types::apps::v1::RollingUpdateStatefulSetStrategy;
use api_types::core::v1::PodCondition;
use api_types::{IntOrString, Time};

use super::super::identity::REVISION_LABEL;
use super::super::identity::tests::{pod_of, set};
use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1000).unwrap()
}

/// A pod of the set in a state: "" (not created), "pending", "running", "ready" or "failed", "deleting" (ready).
fn pod(set: &StatefulSet, ordinal: i32, state: &str, revision: &str) -> Arc<Pod> {
    let mut pod = pod_of(set, ordinal);
    pod.metadata
        .labels
        .insert(REVISION_LABEL.into(), revision.into());
    pod.status.phase = match state {
        "" => "",
        "pending" => "Pending",
        "failed" => "Failed",
        _ => "Running",
    }
    .into();
    if state == "ready" || state == "deleting" {
        let ready = PodCondition {
            type_: "Ready".into(),
            status: "True".into(),
            last_transition_time: Time::from_timestamp(Timestamp::from_second(990).unwrap()),
            ..Default::default()
        };
        pod.status.conditions.push(ready);
    }
    if state == "deleting" {
        pod.metadata.deletion_timestamp = Some(Time::now());
    }
    Arc::new(pod)
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().map(|pod| pod.metadata.name.as_str()).collect()
}

#[test]
fn pods_find_their_places() {
    let set = set(3);
    let pods: Vec<_> = [4, 1, 3]
        .into_iter()
        .map(|ordinal| pod(&set, ordinal, "ready", "r"))
        .collect();
    let places = place(&set, &pods, |ordinal| {
        Ok(new_pod(&set, &set.spec.template, "new", ordinal))
    })
    .unwrap();
    assert_eq!(names(&places.replicas), ["web-0", "web-1", "web-2"]);
    assert_eq!(names(&places.condemned), ["web-4", "web-3"]);
    assert!(!is_created(&places.replicas[0]) && is_created(&places.replicas[1]));
    assert_eq!(
        places.first_unavailable(0, now()).unwrap().metadata.name,
        "web-0"
    );
}

#[test]
fn steps_of_a_pod() {
    let set = set(1);
    let step = |state: &str, ordered, min_ready| {
        replica_step(&pod(&set, 0, state, "r"), ordered, min_ready, now())
    };
    assert_eq!(step("", true, 0), ReplicaStep::Create);
    assert_eq!(step("failed", true, 0), ReplicaStep::Replace);
    for (state, min_ready, wait) in [
        ("pending", 0, true),
        ("running", 0, true),
        ("deleting", 0, true),
        ("ready", 0, false),
        ("ready", 10, false),
        ("ready", 11, true),
    ] {
        assert_eq!(
            step(state, true, min_ready),
            ReplicaStep::Keep { wait },
            "{state} {min_ready}"
        );
        assert_eq!(
            step(state, false, min_ready),
            ReplicaStep::Keep { wait: false },
            "{state} {min_ready}"
        );
    }
    let mut ended = (*pod(&set, 0, "failed", "r")).clone();
    ended.metadata.deletion_timestamp = Some(Time::now());
    assert_eq!(replica_step(&ended, true, 0, now()), ReplicaStep::Wait);
}

/// `states` are state and revision of pods 0.. of a set; the names that an update deletes.
#[track_caller]
fn check_outdated(
    partition: Option<i32>,
    max_unavailable: Option<IntOrString>,
    states: &[(&str, &str)],
    expected: &[&str],
) {
    let mut set = set(states.len() as i32);
    if partition.is_some() || max_unavailable.is_some() {
        let rolling = RollingUpdateStatefulSetStrategy {
            partition,
            max_unavailable: max_unavailable.clone(),
        };
        set.spec.update_strategy.rolling_update = Some(Box::new(rolling));
    }
    let pods: Vec<_> = states
        .iter()
        .enumerate()
        .map(|(i, (state, revision))| pod(&set, i as i32, state, revision))
        .collect();
    assert_eq!(
        names(&outdated(&set, &pods, "new", max_unavailable.is_some(), now()).unwrap()),
        expected
    );
}

#[test]
fn updates_go_from_the_highest_ordinal() {
    check_outdated(
        None,
        None,
        &[("ready", "old"), ("ready", "old"), ("ready", "old")],
        &["web-2"],
    );
    check_outdated(
        None,
        None,
        &[("ready", "old"), ("ready", "old"), ("ready", "new")],
        &["web-1"],
    );
    check_outdated(
        None,
        None,
        &[("ready", "old"), ("ready", "old"), ("running", "new")],
        &[],
    );
    check_outdated(
        None,
        None,
        &[("ready", "old"), ("ready", "old"), ("deleting", "old")],
        &[],
    );
    check_outdated(None, None, &[("ready", "new"), ("ready", "new")], &[]);
    check_outdated(
        None,
        None,
        &[("ready", "old"), ("running", "old")],
        &["web-1"],
    );
}

#[test]
fn the_partition_stays() {
    check_outdated(
        Some(2),
        None,
        &[("ready", "old"), ("ready", "old"), ("ready", "old")],
        &["web-2"],
    );
    check_outdated(
        Some(2),
        None,
        &[("ready", "old"), ("ready", "old"), ("ready", "new")],
        &[],
    );
    check_outdated(Some(9), None, &[("ready", "old")], &[]);
}

#[test]
fn several_may_be_unavailable() {
    let two = || Some(IntOrString::Int(2));
    check_outdated(
        None,
        two(),
        &[("ready", "old"), ("ready", "old"), ("ready", "old")],
        &["web-2", "web-1"],
    );
    check_outdated(
        None,
        two(),
        &[("running", "new"), ("ready", "old"), ("ready", "old")],
        &["web-2"],
    );
    check_outdated(
        None,
        two(),
        &[("running", "new"), ("running", "new"), ("ready", "old")],
        &[],
    );
    check_outdated(
        Some(1),
        Some(IntOrString::String("1%".into())),
        &[("ready", "old"), ("ready", "old")],
        &["web-1"],
    );
}

#[test]
fn the_status_counts_and_completes() {
    let set = set(2);
    let mut status = StatefulSetStatus {
        current_revision: "old".into(),
        update_revision: "new".into(),
        ..Default::default()
    };
    let pods = [
        pod(&set, 0, "ready", "old"),
        pod(&set, 1, "running", "new"),
        pod(&set, 2, "deleting", "old"),
        pod(&set, 3, "", "new"),
    ];
    count(&mut status, &set, pods.iter(), now());
    assert_eq!(
        (
            status.replicas,
            status.ready_replicas,
            status.available_replicas,
            status.current_replicas,
            status.updated_replicas
        ),
        (3, 2, 2, 1, 1)
    );
    complete_rolling_update(&set, &mut status);
    assert_eq!(status.current_revision, "old");
    count(
        &mut status,
        &set,
        [pod(&set, 0, "ready", "new"), pod(&set, 1, "ready", "new")].iter(),
        now(),
    );
    complete_rolling_update(&set, &mut status);
    assert_eq!(
        (status.current_revision.as_str(), status.current_replicas),
        ("new", 2)
    );
}

#[test]
fn only_a_changed_status_is_written() {
    let mut set = set(1);
    let status = StatefulSetStatus {
        replicas: 1,
        collision_count: Some(0),
        ..Default::default()
    };
    assert!(is_status_outdated(&set, &status));
    set.status = StatefulSetStatus {
        replicas: 1,
        ..Default::default()
    };
    assert!(
        !is_status_outdated(&set, &status),
        "a collision count alone is not written"
    );
    set.status.observed_generation = 5;
    assert!(!is_status_outdated(&set, &status));
}
