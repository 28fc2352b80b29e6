//! The status of a Deployment, and whether its rollout moves. Pure. Upstream: pkg/controller/deployment/progress.go and the
//! `calculateStatus` of sync.go.

use std::sync::Arc;
use std::time::Duration;

use api_types::Time;
use api_types::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use jiff::Timestamp;

use super::conditions::{
    self, AVAILABLE, NEW_RS_AVAILABLE, PROGRESSING, REPLICA_FAILURE, TIMED_OUT,
};
use super::replica_sets::{
    all, desired, has_progress_deadline, is_complete, max_unavailable, total_actual,
    total_available, total_ready, total_size, total_terminating,
};
use crate::controllers::Next;
use crate::controllers::pod_state::after;

/// The status by counting, with the Available condition.
pub(super) fn calculate(
    deployment: &Deployment,
    new: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
    report_terminating: bool,
    now: Time,
) -> DeploymentStatus {
    let sets = all(old, new);
    let available = total_available(&sets);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: total_actual(&sets),
        updated_replicas: new.map_or(0, |rs| rs.status.replicas),
        ready_replicas: total_ready(&sets),
        available_replicas: available,
        // More pods may be available than wanted, while scaling down.
        unavailable_replicas: (total_size(&sets) - available).max(0),
        terminating_replicas: if report_terminating {
            total_terminating(&sets)
        } else {
            None
        },
        collision_count: deployment.status.collision_count,
        conditions: deployment.status.conditions.clone(),
    };
    let condition = if available >= desired(deployment) - max_unavailable(deployment) {
        conditions::new(
            AVAILABLE,
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            now,
        )
    } else {
        conditions::new(
            AVAILABLE,
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            now,
        )
    };
    conditions::set(&mut status, condition);
    status
}

/// Adds the Progressing and ReplicaFailure conditions to a counted status.
pub(super) fn with_progress(
    deployment: &Deployment,
    new: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
    mut status: DeploymentStatus,
    now: Timestamp,
) -> DeploymentStatus {
    if !has_progress_deadline(deployment) {
        conditions::remove(&mut status, PROGRESSING);
    }
    let current = conditions::find(&deployment.status, PROGRESSING);
    // A rollout that was complete before: this sync is no rollout, and is not judged.
    let was_complete = status.replicas == status.updated_replicas
        && current.is_some_and(|current| current.reason == NEW_RS_AVAILABLE);
    if has_progress_deadline(deployment) && !was_complete {
        let subject = match new {
            Some(rs) => format!("ReplicaSet {:?}", rs.metadata.name),
            None => format!("Deployment {:?}", deployment.metadata.name),
        };
        let time = Time::from_timestamp(now);
        let progressing = |status, reason, what: &str| {
            conditions::new(
                PROGRESSING,
                status,
                reason,
                format!("{subject} {what}"),
                time,
            )
        };
        if is_complete(deployment, &status) {
            conditions::set(
                &mut status,
                progressing("True", NEW_RS_AVAILABLE, "has successfully progressed."),
            );
        } else if has_progressed(&deployment.status, &status) {
            let mut condition = progressing("True", "ReplicaSetUpdated", "is progressing.");
            // Progress renews the update time also when status and reason stay, which `set` alone would not do.
            if let Some(current) = current {
                if current.status == "True" {
                    condition.last_transition_time = current.last_transition_time;
                }
                conditions::remove(&mut status, PROGRESSING);
            }
            conditions::set(&mut status, condition);
        } else if is_timed_out(deployment, &status, now) {
            conditions::set(
                &mut status,
                progressing("False", TIMED_OUT, "has timed out progressing."),
            );
        }
    }
    match replica_failure(new, old) {
        Some(failure) => conditions::set(&mut status, failure),
        None => conditions::remove(&mut status, REPLICA_FAILURE),
    }
    status
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let outdated = |status: &DeploymentStatus| status.replicas - status.updated_replicas;
    new.updated_replicas > old.updated_replicas
        || outdated(new) < outdated(old)
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

fn is_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let (Some(condition), Some(deadline)) = (
        conditions::find(status, PROGRESSING),
        deployment.spec.progress_deadline_seconds,
    ) else {
        return false;
    };
    match condition.reason.as_str() {
        // The condition is of the rollout before: the cache will show the new one.
        NEW_RS_AVAILABLE => false,
        TIMED_OUT => true,
        _ => after(condition.last_update_time.timestamp(), deadline) < now,
    }
}

/// The failure of the new ReplicaSet, else that of an old one.
fn replica_failure(
    new: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
) -> Option<api_types::apps::v1::DeploymentCondition> {
    let mut conditions = new
        .into_iter()
        .chain(old)
        .flat_map(|rs| &rs.status.conditions);
    conditions
        .find(|condition| condition.type_ == REPLICA_FAILURE)
        .map(conditions::from_replica_set)
}

/// When a rollout without change must be looked at again, to notice that it is stuck.
pub(super) fn next_check(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Next {
    let Some(current) = conditions::find(&deployment.status, PROGRESSING) else {
        return Next::Done;
    };
    let Some(deadline) = deployment
        .spec
        .progress_deadline_seconds
        .filter(|_| has_progress_deadline(deployment))
    else {
        return Next::Done;
    };
    if is_complete(deployment, status) || current.reason == TIMED_OUT {
        return Next::Done;
    }
    let left = after(current.last_update_time.timestamp(), deadline).duration_since(now);
    if left < jiff::SignedDuration::from_secs(1) {
        return Next::Retry;
    }
    // One second more, so that the deadline is over for sure.
    Next::After(left.unsigned_abs() + Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use api_types::apps::v1::{DeploymentCondition, ReplicaSetCondition};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn deployment(conditions: Vec<DeploymentCondition>) -> Deployment {
        let mut d = Deployment::default();
        d.metadata.name = "d".into();
        d.spec.replicas = Some(3);
        d.spec.progress_deadline_seconds = Some(60);
        d.status.conditions = conditions;
        d.status.replicas = 3;
        d
    }

    fn progressing(reason: &str) -> DeploymentCondition {
        conditions::new(
            PROGRESSING,
            "True",
            reason,
            "m",
            Time::from_timestamp(at(100)),
        )
    }

    fn rs(size: i32, available: i32) -> Arc<ReplicaSet> {
        let mut rs = ReplicaSet::default();
        rs.metadata.name = "d-1".into();
        rs.spec.replicas = Some(size);
        (
            rs.status.replicas,
            rs.status.ready_replicas,
            rs.status.available_replicas,
        ) = (size, available, available);
        Arc::new(rs)
    }

    #[track_caller]
    fn check(
        d: &Deployment,
        new: Arc<ReplicaSet>,
        now: i64,
        expected: Option<(&str, &str, &str)>,
    ) -> DeploymentStatus {
        let counted = calculate(d, Some(&new), &[], true, Time::from_timestamp(at(now)));
        let status = with_progress(d, Some(&new), &[], counted, at(now));
        let found = conditions::find(&status, PROGRESSING)
            .map(|c| (c.status.as_str(), c.reason.as_str(), c.message.as_str()));
        assert_eq!(found, expected);
        status
    }

    #[test]
    fn a_rollout_progresses_completes_or_times_out() {
        let d = deployment(vec![progressing("ReplicaSetUpdated")]);
        check(
            &d,
            rs(3, 3),
            120,
            Some((
                "True",
                NEW_RS_AVAILABLE,
                "ReplicaSet \"d-1\" has successfully progressed.",
            )),
        );
        let status = check(
            &d,
            rs(3, 1),
            120,
            Some((
                "True",
                "ReplicaSetUpdated",
                "ReplicaSet \"d-1\" is progressing.",
            )),
        );
        let condition = conditions::find(&status, PROGRESSING).unwrap();
        assert_eq!(
            (
                condition.last_update_time.timestamp(),
                condition.last_transition_time.timestamp()
            ),
            (at(120), at(100))
        );

        let mut stuck = d.clone();
        (
            stuck.status.updated_replicas,
            stuck.status.ready_replicas,
            stuck.status.available_replicas,
        ) = (3, 1, 1);
        check(
            &stuck,
            rs(3, 1),
            160,
            Some(("True", "ReplicaSetUpdated", "m")),
        );
        check(
            &stuck,
            rs(3, 1),
            161,
            Some((
                "False",
                TIMED_OUT,
                "ReplicaSet \"d-1\" has timed out progressing.",
            )),
        );
        stuck.status.conditions = vec![progressing(NEW_RS_AVAILABLE)];
        check(&stuck, rs(3, 1), 999, Some(("True", NEW_RS_AVAILABLE, "m")));
        stuck.spec.progress_deadline_seconds = None;
        check(&stuck, rs(3, 1), 999, None);
    }

    #[test]
    fn availability_counts_max_unavailable() {
        let mut d = deployment(vec![]);
        d.spec.strategy.type_ = super::super::replica_sets::ROLLING_UPDATE.into();
        let available = |available| {
            let status = calculate(
                &d,
                Some(&rs(3, available)),
                &[],
                true,
                Time::from_timestamp(at(1)),
            );
            (
                conditions::find(&status, AVAILABLE).unwrap().status.clone(),
                status.unavailable_replicas,
            )
        };
        assert_eq!(available(1), ("False".to_owned(), 2));
        assert_eq!(available(2), ("True".to_owned(), 1));
        assert_eq!(available(9), ("True".to_owned(), 0));
    }

    #[test]
    fn failures_of_the_new_set_come_first() {
        let failed = |message: &str| {
            let mut rs = (*rs(1, 0)).clone();
            rs.status.conditions.push(ReplicaSetCondition {
                type_: REPLICA_FAILURE.into(),
                message: message.into(),
                ..Default::default()
            });
            Arc::new(rs)
        };
        let message = |new: Option<&Arc<ReplicaSet>>, old: &[Arc<ReplicaSet>]| {
            replica_failure(new, old).map(|c| c.message)
        };
        assert_eq!(
            message(Some(&failed("new")), &[failed("old")]).as_deref(),
            Some("new")
        );
        assert_eq!(
            message(Some(&rs(1, 1)), &[failed("old")]).as_deref(),
            Some("old")
        );
        assert_eq!(message(None, &[]), None);
    }

    #[test]
    fn a_stuck_rollout_is_checked_after_its_deadline() {
        let check = |d: &Deployment, now| next_check(d, &d.status, at(now));
        let d = deployment(vec![progressing("ReplicaSetUpdated")]);
        assert_eq!(check(&d, 110), Next::After(Duration::from_secs(51)));
        assert_eq!(check(&d, 160), Next::Retry);
        assert_eq!(check(&d, 200), Next::Retry);
        assert_eq!(check(&deployment(vec![]), 110), Next::Done);
        assert_eq!(
            check(&deployment(vec![progressing(TIMED_OUT)]), 110),
            Next::Done
        );
        let mut no_deadline = d.clone();
        no_deadline.spec.progress_deadline_seconds = Some(i32::MAX);
        assert_eq!(check(&no_deadline, 110), Next::Done);
        let mut complete = d;
        (
            complete.status.updated_replicas,
            complete.status.available_replicas,
        ) = (3, 3);
        assert_eq!(check(&complete, 110), Next::Done);
    }
}
