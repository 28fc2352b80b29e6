//! Which pods to delete first. Upstream: `ActivePodsWithRanks`, `ActivePods` and `getPodsToDelete` in pkg/controller.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use api_types::Time;
use api_types::core::v1::{Pod, pod_phase};
use jiff::Timestamp;

use super::pod_state::{condition, is_active, is_ready};

/// Pods with a lower value are deleted first.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The first `count` pods in deletion order. `related` are the pods of all siblings of the owner: a pod on a node with more
/// of them goes first.
pub fn pods_to_delete(
    mut pods: Vec<Arc<Pod>>,
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if count < pods.len() {
        let mut on_node: HashMap<&str, usize> = HashMap::new();
        for pod in related.iter().filter(|pod| is_active(pod)) {
            *on_node.entry(&pod.spec.node_name).or_default() += 1;
        }
        let rank = |pod: &Pod| {
            on_node
                .get(pod.spec.node_name.as_str())
                .copied()
                .unwrap_or(0)
        };
        pods.sort_by(|a, b| compare(a, rank(a), b, rank(b), Some(now)));
    }
    pods.truncate(count);
    pods
}

/// Orders active pods, the first to delete first, without ranks and without buckets of age.
pub fn compare_active(a: &Pod, b: &Pod) -> Ordering {
    before(a.spec.node_name.is_empty(), b.spec.node_name.is_empty())
        .then_with(|| phase_order(a).cmp(&phase_order(b)))
        .then_with(|| before(!is_ready(a), !is_ready(b)))
        .then_with(|| by_age(ready_time(a), ready_time(b), None, a, b))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            by_age(
                a.metadata.creation_timestamp,
                b.metadata.creation_timestamp,
                None,
                a,
                b,
            )
        })
}

/// Orders pods, the first to delete first. With `now`, ages are compared by their power of two, and pods of one bucket by uid:
/// a pseudo-random pick, so that scaling down does not keep removing the newest zone's pods (KEP-2185).
fn compare(a: &Pod, rank_a: usize, b: &Pod, rank_b: usize, now: Option<Timestamp>) -> Ordering {
    before(a.spec.node_name.is_empty(), b.spec.node_name.is_empty())
        .then_with(|| phase_order(a).cmp(&phase_order(b)))
        .then_with(|| before(!is_ready(a), !is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| rank_b.cmp(&rank_a))
        .then_with(|| by_age(ready_time(a), ready_time(b), now, a, b))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            by_age(
                a.metadata.creation_timestamp,
                b.metadata.creation_timestamp,
                now,
                a,
                b,
            )
        })
}

/// `Less` when only `a` has the property.
fn before(a: bool, b: bool) -> Ordering {
    b.cmp(&a)
}

fn phase_order(pod: &Pod) -> u8 {
    match pod.status.phase.as_str() {
        pod_phase::UNKNOWN => 1,
        pod_phase::RUNNING => 2,
        _ => 0,
    }
}

/// The value of the deletion cost annotation; 0 when it is missing or not an integer as the API accepts it.
pub fn deletion_cost(pod: &Pod) -> i32 {
    let Some(text) = pod.metadata.annotations.get(DELETION_COST) else {
        return 0;
    };
    // A plus sign or a leading zero is refused, as upstream; "-007" is not.
    let first_is_valid =
        text == "0" || text.starts_with(|first: char| first == '-' || ('1'..='9').contains(&first));
    if !first_is_valid {
        return 0;
    }
    text.parse().unwrap_or(0)
}

fn ready_time(pod: &Pod) -> Time {
    condition(pod, "Ready")
        .filter(|ready| ready.status == "True")
        .map(|ready| ready.last_transition_time)
        .unwrap_or_default()
}

/// Newer first; a missing time is newest.
fn by_age(a: Time, b: Time, now: Option<Timestamp>, pod_a: &Pod, pod_b: &Pod) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    if a.is_zero() || b.is_zero() {
        return before(a.is_zero(), b.is_zero());
    }
    let Some(now) = now else {
        return b.timestamp().cmp(&a.timestamp());
    };
    age_bucket(a, now)
        .cmp(&age_bucket(b, now))
        .then_with(|| pod_a.metadata.uid.cmp(&pod_b.metadata.uid))
}

/// The power of two of an age in nanoseconds, -1 for the future.
fn age_bucket(time: Time, now: Timestamp) -> i32 {
    let age = now.duration_since(time.timestamp()).as_nanos();
    if age > 0 { age.ilog2() as i32 } else { -1 }
}

/// The highest restart count among containers, then among sidecars.
fn restarts(pod: &Pod) -> (i32, i32) {
    let regular = pod
        .status
        .container_statuses
        .iter()
        .map(|status| status.restart_count)
        .max()
        .unwrap_or(0);
    let is_sidecar = |name: &str| {
        pod.spec
            .init_containers
            .iter()
            .any(|init| init.name == name && init.restart_policy.as_deref() == Some("Always"))
    };
    let sidecar = pod
        .status
        .init_container_statuses
        .iter()
        .filter(|status| is_sidecar(&status.name))
        .map(|status| status.restart_count)
        .max();
    (regular.max(0), sidecar.unwrap_or(0).max(0))
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::ContainerStatus;

    use super::super::pod_state::tests::ready_since;
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(Timestamp::from_second(seconds).unwrap())
    }

    fn pod(name: &str, change: impl FnOnce(&mut Pod)) -> Arc<Pod> {
        let mut pod = ready_since(1000);
        pod.metadata.name = name.into();
        pod.metadata.uid = name.into();
        pod.metadata.creation_timestamp = at(900);
        pod.spec.node_name = "n1".into();
        change(&mut pod);
        Arc::new(pod)
    }

    #[track_caller]
    fn check(pods: Vec<Arc<Pod>>, related: &[Arc<Pod>], expected: &[&str]) {
        let mut turned = pods.clone();
        turned.reverse();
        for mut given in [pods, turned] {
            // One more that nobody would delete, so that the sort is not skipped.
            given.push(pod("keep", |p| {
                p.metadata
                    .annotations
                    .insert(DELETION_COST.into(), "2147483647".into());
            }));
            let count = expected.len();
            let order =
                pods_to_delete(given, related, count, Timestamp::from_second(5000).unwrap());
            assert_eq!(
                order
                    .iter()
                    .map(|pod| pod.metadata.name.as_str())
                    .collect::<Vec<_>>(),
                expected
            );
        }
    }

    #[test]
    fn each_rule_of_the_order() {
        check(
            vec![pod("b", |_| {}), pod("a", |p| p.spec.node_name.clear())],
            &[],
            &["a", "b"],
        );
        let phase = |name: &str| name.to_owned();
        check(
            vec![
                pod("c", |_| {}),
                pod("a", |p| {
                    p.status = api_types::core::v1::PodStatus {
                        phase: phase("Pending"),
                        ..Default::default()
                    }
                }),
                pod("b", |p| {
                    p.status = api_types::core::v1::PodStatus {
                        phase: phase("Unknown"),
                        ..Default::default()
                    }
                }),
            ],
            &[],
            &["a", "b", "c"],
        );
        check(
            vec![pod("b", |_| {}), pod("a", |p| p.status.conditions.clear())],
            &[],
            &["a", "b"],
        );
        check(
            vec![
                pod("b", |_| {}),
                pod("a", |p| {
                    p.metadata
                        .annotations
                        .insert(DELETION_COST.into(), "-5".into());
                }),
            ],
            &[],
            &["a", "b"],
        );
        check(
            vec![
                pod("b", |p| p.spec.node_name = "n2".into()),
                pod("a", |_| {}),
            ],
            &[pod("x", |_| {})],
            &["a", "b"],
        );
        check(
            vec![
                pod("b", |_| {}),
                pod("a", |p| {
                    p.status.conditions[0].last_transition_time = at(4990)
                }),
            ],
            &[],
            &["a", "b"],
        );
        let restarted = |count| {
            vec![ContainerStatus {
                restart_count: count,
                ..Default::default()
            }]
        };
        check(
            vec![
                pod("b", |_| {}),
                pod("a", |p| p.status.container_statuses = restarted(3)),
            ],
            &[],
            &["a", "b"],
        );
        check(
            vec![
                pod("b", |_| {}),
                pod("a", |p| p.metadata.creation_timestamp = at(4990)),
            ],
            &[],
            &["a", "b"],
        );
    }

    #[test]
    fn pods_of_one_age_bucket_go_by_uid() {
        // 4000 s and 4100 s of age share a power of two of nanoseconds.
        check(
            vec![
                pod("b", |p| p.metadata.creation_timestamp = at(1000)),
                pod("a", |p| p.metadata.creation_timestamp = at(900)),
            ],
            &[],
            &["a", "b"],
        );
    }

    #[test]
    fn deletion_cost_is_strict() {
        for (text, expected) in [
            ("10", 10),
            ("-10", -10),
            ("0", 0),
            ("+10", 0),
            ("007", 0),
            ("1.5", 0),
            ("", 0),
            ("2147483648", 0),
            ("-007", -7),
        ] {
            let p = pod("a", |p| {
                p.metadata
                    .annotations
                    .insert(DELETION_COST.into(), text.into());
            });
            assert_eq!(deletion_cost(&p), expected, "{text:?}");
        }
    }

    #[test]
    fn all_pods_are_deleted_without_a_sort() {
        let pods = vec![pod("b", |_| {}), pod("a", |p| p.spec.node_name.clear())];
        let order = pods_to_delete(pods, &[], 2, Timestamp::UNIX_EPOCH);
        assert_eq!(order[0].metadata.name, "b");
    }
}
