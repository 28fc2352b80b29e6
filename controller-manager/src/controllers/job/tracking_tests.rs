//! Behaviours from upstream's TestTrackJobStatusAndRemoveFinalizers.

use std::collections::HashMap;

use api_types::Time;

use super::super::pods::tests::{indexed_job, pod};
use super::*;

fn sync_of(job: Job, pods: Vec<Pod>) -> JobSync {
    JobSync {
        job,
        pods: pods.into_iter().map(Arc::new).collect(),
        ..Default::default()
    }
}

#[track_caller]
fn check(sync: &JobSync, release: &[&str], succeeded: &[&str], failed: &[&str], indexes: &[i32]) {
    let found = pass(sync);
    let names: Vec<_> = found
        .release
        .iter()
        .map(|pod| pod.metadata.name.as_str())
        .collect();
    assert_eq!(
        (names.as_slice(), found.succeeded_indexes.as_slice()),
        (release, indexes)
    );
    assert_eq!(
        (found.succeeded, found.failed),
        (
            succeeded.iter().map(|s| (*s).to_owned()).collect(),
            failed.iter().map(|s| (*s).to_owned()).collect()
        )
    );
}

#[test]
fn finished_pods_are_noted() {
    let pods = vec![
        pod("s", "", "Succeeded"),
        pod("f", "", "Failed"),
        pod("r", "", "Running"),
    ];
    let mut sync = sync_of(Job::default(), pods);
    check(&sync, &["s", "f"], &["s"], &["f"], &[]);
    sync.uncounted_succeeded.insert("s".into());
    sync.uncounted_failed.insert("f".into());
    check(&sync, &["s", "f"], &[], &[], &[]);
    sync.expected_removals.insert("s".into());
    check(&sync, &["f"], &[], &[], &[]);
}

#[test]
fn pods_without_finalizer_were_counted_before() {
    let mut done = pod("s", "", "Succeeded");
    done.metadata.finalizers.clear();
    check(&sync_of(Job::default(), vec![done]), &[], &[], &[], &[]);
}

#[test]
fn running_pods_of_an_ended_job_count_as_failed() {
    let mut sync = sync_of(
        Job::default(),
        vec![pod("r", "", "Running"), pod("s", "", "Succeeded")],
    );
    sync.finished = Some(conditions::new(
        FAILURE_TARGET,
        "True",
        "R",
        "m",
        Time::default(),
    ));
    check(&sync, &["r", "s"], &["s"], &["r"], &[]);
    sync.finished = Some(conditions::new(
        SUCCESS_CRITERIA_MET,
        "True",
        "R",
        "m",
        Time::default(),
    ));
    check(&sync, &["r", "s"], &["s"], &[], &[]);
    let mut deleting = sync_of(Job::default(), vec![pod("r", "", "Running")]);
    deleting.job.metadata.deletion_timestamp = Some(Time::now());
    check(&deleting, &["r"], &[], &[], &[]);
}

#[test]
fn indexes_are_noted_once_and_in_order() {
    let pods = vec![
        pod("c", "2", "Succeeded"),
        pod("a", "0", "Succeeded"),
        pod("b", "1", "Succeeded"),
        pod("x", "9", "Succeeded"),
        pod("n", "", "Failed"),
    ];
    let mut sync = sync_of(indexed_job(5), pods);
    sync.previous_indexes = Intervals::parse("1", 5);
    check(&sync, &["n", "a", "b", "c", "x"], &[], &[], &[0, 2]);
}

#[test]
fn the_last_failed_pod_of_an_index_waits() {
    let mut job = indexed_job(2);
    job.spec.backoff_limit_per_index = Some(1);
    let pods = vec![pod("a", "0", "Failed"), pod("b", "1", "Failed")];
    let mut sync = sync_of(job, pods);
    sync.delayed = HashMap::from([(0, sync.pods[0].clone())]);
    check(&sync, &["b"], &[], &["b"], &[]);
}

#[test]
fn a_big_pass_is_cut() {
    let pods = (0..600)
        .map(|i| pod(&format!("p{i}"), "", "Succeeded"))
        .collect();
    let found = pass(&sync_of(Job::default(), pods));
    assert!(found.more);
    assert_eq!(
        (found.release.len(), found.succeeded.len()),
        (MAX_UNCOUNTED, MAX_UNCOUNTED)
    );
}

#[test]
fn released_pods_are_counted() {
    let mut status = JobStatus {
        succeeded: 1,
        failed: 2,
        ..Default::default()
    };
    let uids = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    status.uncounted_terminated_pods = Some(Box::new(UncountedTerminatedPods {
        succeeded: uids(&["a", "b"]),
        failed: uids(&["c"]),
    }));
    assert!(settle(&mut status, &HashSet::from(["b".to_owned()])));
    assert_eq!((status.succeeded, status.failed), (2, 3));
    let left = status.uncounted_terminated_pods.clone().unwrap();
    assert_eq!((left.succeeded, left.failed), (uids(&["b"]), uids(&[])));
    assert!(!settle(&mut status, &HashSet::from(["b".to_owned()])));
}

#[test]
fn index_texts_are_written_when_they_change() {
    let mut status = JobStatus {
        completed_indexes: "0".into(),
        ..Default::default()
    };
    assert!(!note_indexes(&mut status, &Intervals::parse("0", 5), None));
    assert!(note_indexes(&mut status, &Intervals::parse("0-2", 5), None));
    assert!(note_indexes(
        &mut status,
        &Intervals::parse("0-2", 5),
        Some(&Intervals::default())
    ));
    assert_eq!(
        (
            status.succeeded,
            status.completed_indexes.as_str(),
            status.failed_indexes.as_deref()
        ),
        (3, "0-2", Some(""))
    );
}
