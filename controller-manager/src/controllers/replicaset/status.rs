//! The status of a ReplicaSet or ReplicationController, computed from its pods. Pure.

use std::sync::Arc;

use api_types::Time;
use api_types::core::v1::Pod;
use apimachinery::labels::Selector;
use jiff::Timestamp;

use super::owner::{Condition, ReplicaOwner, Status};
use crate::controllers::pod_state::{is_available, is_ready};

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What the status should be. `failure` is why pods could not be created or deleted; `terminating` is given when the kind
/// reports it.
pub(super) fn calculate<O: ReplicaOwner>(
    owner: &O,
    active: &[Arc<Pod>],
    terminating: Option<usize>,
    failure: Option<&str>,
    now: Timestamp,
) -> Status {
    let mut status = owner.status();
    let template_labels = owner
        .template()
        .map(|template| Selector::from_set(&template.metadata.labels));
    let labeled = |pod: &Pod| {
        template_labels
            .as_ref()
            .is_some_and(|labels| labels.matches(&pod.metadata.labels))
    };
    let count = |has: &dyn Fn(&Pod) -> bool| active.iter().filter(|pod| has(pod)).count() as i32;
    let has_failure = status
        .conditions
        .iter()
        .any(|condition| condition.kind == REPLICA_FAILURE);
    match failure {
        // A failure that is reported already keeps its first reason and message.
        Some(message) if !has_failure => {
            let reason = match active.len() as i64 - i64::from(owner.replicas()) {
                missing if missing < 0 => "FailedCreate",
                surplus if surplus > 0 => "FailedDelete",
                _ => "",
            };
            status.conditions.push(Condition {
                kind: REPLICA_FAILURE.to_owned(),
                status: "True".to_owned(),
                last_transition_time: Time::from_timestamp(now),
                reason: reason.to_owned(),
                message: message.to_owned(),
            });
        }
        None if has_failure => status
            .conditions
            .retain(|condition| condition.kind != REPLICA_FAILURE),
        _ => {}
    }
    status.replicas = active.len() as i32;
    status.fully_labeled = count(&labeled);
    status.ready = count(&is_ready);
    status.available = count(&|pod| is_available(pod, owner.min_ready_seconds(), now));
    status.terminating = terminating.map(|count| count as i32);
    status
}

#[cfg(test)]
mod tests {
    use api_types::apps::v1::ReplicaSet;

    use super::*;
    use crate::controllers::pod_state::tests::ready_since;

    fn owner(replicas: i32, min_ready_seconds: i32) -> ReplicaSet {
        let mut owner = ReplicaSet::default();
        owner.spec.replicas = Some(replicas);
        owner.spec.min_ready_seconds = min_ready_seconds;
        owner
            .spec
            .template
            .metadata
            .labels
            .insert("a".into(), "b".into());
        owner
    }

    fn pod(labeled: bool, ready_at: Option<i64>) -> Arc<Pod> {
        let mut pod = ready_at.map(ready_since).unwrap_or_default();
        if labeled {
            pod.metadata.labels.insert("a".into(), "b".into());
        }
        Arc::new(pod)
    }

    #[track_caller]
    fn check(owner: &ReplicaSet, pods: &[Arc<Pod>], expected: (i32, i32, i32, i32)) {
        let now = Timestamp::from_second(1000).unwrap();
        let status = calculate(owner, pods, Some(3), None, now);
        assert_eq!(
            (
                status.replicas,
                status.fully_labeled,
                status.ready,
                status.available
            ),
            expected
        );
        assert_eq!(status.terminating, Some(3));
    }

    #[test]
    fn pods_are_counted() {
        check(&owner(1, 0), &[pod(true, Some(1))], (1, 1, 1, 1));
        check(&owner(1, 0), &[pod(true, None)], (1, 1, 0, 0));
        check(
            &owner(2, 0),
            &[pod(true, Some(1)), pod(false, Some(1))],
            (2, 1, 2, 2),
        );
        check(&owner(1, 3600), &[pod(true, Some(900))], (1, 1, 1, 0));
    }

    #[test]
    fn failures_come_and_go() {
        let now = Timestamp::from_second(1000).unwrap();
        let reasons = |status: &Status| {
            status
                .conditions
                .iter()
                .map(|c| (c.reason.clone(), c.message.clone()))
                .collect::<Vec<_>>()
        };
        let mut owner = owner(10, 0);
        let failed = calculate(&owner, &[pod(true, None)], None, Some("quota"), now);
        assert_eq!(
            reasons(&failed),
            [("FailedCreate".to_owned(), "quota".to_owned())]
        );
        owner.set_status(failed);
        owner.spec.replicas = Some(0);
        let again = calculate(&owner, &[pod(true, None)], None, Some("other"), now);
        assert_eq!(
            reasons(&again),
            [("FailedCreate".to_owned(), "quota".to_owned())],
            "the first failure stays"
        );
        assert!(
            calculate(&owner, &[], None, None, now)
                .conditions
                .is_empty()
        );
        owner.set_status(Status::default());
        assert_eq!(
            reasons(&calculate(&owner, &[pod(true, None)], None, Some("x"), now))[0].0,
            "FailedDelete"
        );
    }
}
