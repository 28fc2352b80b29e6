//! Rolling updates: which old pods go, which nodes get a new pod beside the old one. Pure. Upstream: update.go.

use std::sync::Arc;

use api_types::apps::v1::DaemonSet;
use api_types::core::v1::Pod;
use jiff::Timestamp;

use super::placement::{ByNode, Fit, is_updated, surge, unavailable};
use crate::controllers::SyncError;
use crate::controllers::pod_state::is_available;

/// What an update does now.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    /// Names of old pods to delete.
    pub delete: Vec<String>,
    /// Nodes that get a new pod.
    pub create: Vec<String>,
}

/// The pods of the new and an old revision on a node; nothing when there are several of one kind.
fn split<'a>(
    ds: &DaemonSet,
    pods: &'a [Arc<Pod>],
    hash: &str,
) -> Option<(Option<&'a Pod>, Option<&'a Pod>)> {
    let (mut new, mut old) = (None, None);
    for pod in pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
    {
        let slot = if is_updated(ds, pod, hash) {
            &mut new
        } else {
            &mut old
        };
        if slot.replace(&**pod).is_some() {
            return None;
        }
    }
    Some((new, old))
}

/// One step of a rolling update. `pods` holds the pods by node, `fit` says what a node means; it is `None` for a node that
/// does not exist.
pub(super) fn plan(
    ds: &DaemonSet,
    mut pods: ByNode,
    desired: &[String],
    fit: impl Fn(&str) -> Option<Fit>,
    hash: &str,
    now: Timestamp,
) -> Result<Step, SyncError> {
    for node in desired {
        pods.entry(node.clone()).or_default();
    }
    let count = desired.len() as i32;
    let mut max_unavailable = unavailable(ds, count).map_err(|error| {
        SyncError::other(format!(
            "couldn't get unavailable numbers: invalid value for MaxUnavailable: {error}"
        ))
    })?;
    let max_surge = surge(ds, count).map_err(|error| {
        SyncError::other(format!(
            "couldn't get unavailable numbers: invalid value for MaxSurge: {error}"
        ))
    })?;
    if count > 0 && max_unavailable == 0 && max_surge == 0 {
        max_unavailable = 1;
    }
    if max_surge == 0 {
        Ok(without_surge(ds, &pods, max_unavailable, hash, now))
    } else {
        with_surge(ds, &pods, desired.len(), max_surge, fit, hash, now)
    }
}

/// Deletes old pods, and lets the next sync create their successors, while no more than `max_unavailable` nodes are without.
fn without_surge(
    ds: &DaemonSet,
    pods: &ByNode,
    max_unavailable: i32,
    hash: &str,
    now: Timestamp,
) -> Step {
    let available = |pod: &Pod| is_available(pod, ds.spec.min_ready_seconds, now);
    let (mut missing, mut replaced, mut candidates) = (0, Vec::new(), Vec::new());
    for pods in pods.values() {
        match split(ds, pods, hash) {
            // Both, none, or too many: the node is between two states, which the main loop ends.
            None | Some((None, None) | (Some(_), Some(_))) => missing += 1,
            Some((Some(new), None)) => missing += i32::from(!available(new)),
            Some((None, Some(old))) if !available(old) => {
                replaced.push(old.metadata.name.clone());
                missing += 1;
            }
            Some((None, Some(old))) => {
                if missing < max_unavailable {
                    candidates.push(old.metadata.name.clone());
                }
            }
        }
    }
    candidates.truncate(usize::try_from(max_unavailable - missing).unwrap_or(0));
    replaced.extend(candidates);
    Step {
        delete: replaced,
        create: Vec::new(),
    }
}

/// Creates new pods beside old ones, at most `max_surge` beside available ones, and deletes an old pod when the new one is
/// available.
fn with_surge(
    ds: &DaemonSet,
    pods: &ByNode,
    desired: usize,
    max_surge: i32,
    fit: impl Fn(&str) -> Option<Fit>,
    hash: &str,
    now: Timestamp,
) -> Result<Step, SyncError> {
    let available = |pod: &Pod| is_available(pod, ds.spec.min_ready_seconds, now);
    let mut step = Step::default();
    let (mut misplaced, mut candidates, mut surging, mut available_count) =
        (Vec::new(), Vec::new(), 0, 0);
    for (node, pods) in pods {
        let Some((new, old)) = split(ds, pods, hash) else {
            surging += 1;
            continue;
        };
        available_count += usize::from(old.or(new).is_some_and(available));
        let Some(old) = old else { continue };
        if let Some(new) = new {
            if available(new) {
                step.delete.push(old.metadata.name.clone());
            } else {
                surging += 1;
            }
            continue;
        }
        let Some(fit) = fit(node) else {
            return Err(SyncError::other(format!(
                "couldn't get node for nodeName {node:?}: node {node:?} not found"
            )));
        };
        match (available(old), fit.runs()) {
            (false, false) => step.delete.push(old.metadata.name.clone()),
            (false, true) => step.create.push(node.clone()),
            (true, false) => misplaced.push(old.metadata.name.clone()),
            (true, true) if surging < max_surge => candidates.push(node.clone()),
            (true, true) => {}
        }
    }
    // A pod whose node is no longer wanted serves until as many as desired are available elsewhere.
    misplaced.truncate(available_count.saturating_sub(desired));
    step.delete.extend(misplaced);
    candidates.truncate(usize::try_from(max_surge - surging).unwrap_or(0));
    step.create.extend(candidates);
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::super::placement::by_node;
    use super::super::placement::tests::{daemon_set, pod};
    use super::*;

    /// Pods are (node, revision, state); nodes named "x..." do not fit.
    #[track_caller]
    fn check(
        surge: i32,
        unavailable: i32,
        pods: &[(&str, &str, &str)],
        desired: &[&str],
        delete: &[&str],
        create: &[&str],
    ) {
        let pods: Vec<_> = pods
            .iter()
            .map(|(node, hash, state)| pod(&format!("{node}-{hash}"), node, hash, state))
            .collect();
        let desired: Vec<_> = desired.iter().map(|node| (*node).to_owned()).collect();
        let fit = |node: &str| {
            Some(if node.starts_with('x') {
                Fit::Leave
            } else {
                Fit::Run
            })
        };
        let step = plan(
            &daemon_set(surge, unavailable),
            by_node(&pods, false),
            &desired,
            fit,
            "new",
            Timestamp::from_second(500).unwrap(),
        )
        .unwrap();
        assert_eq!(
            (step.delete, step.create),
            (
                delete.iter().map(|n| (*n).to_owned()).collect(),
                create.iter().map(|n| (*n).to_owned()).collect()
            )
        );
    }

    #[test]
    fn old_pods_go_within_max_unavailable() {
        let three = ["a", "b", "c"];
        check(
            0,
            1,
            &[
                ("a", "old", "ready"),
                ("b", "old", "ready"),
                ("c", "old", "ready"),
            ],
            &three,
            &["a-old"],
            &[],
        );
        check(
            0,
            2,
            &[
                ("a", "old", "ready"),
                ("b", "old", "ready"),
                ("c", "old", "ready"),
            ],
            &three,
            &["a-old", "b-old"],
            &[],
        );
        check(
            0,
            1,
            &[
                ("a", "new", "running"),
                ("b", "old", "ready"),
                ("c", "old", "ready"),
            ],
            &three,
            &[],
            &[],
        );
        check(
            0,
            1,
            &[
                ("a", "new", "ready"),
                ("b", "old", "ready"),
                ("c", "old", "ready"),
            ],
            &three,
            &["b-old"],
            &[],
        );
        check(
            0,
            1,
            &[("b", "old", "ready"), ("c", "old", "ready")],
            &three,
            &[],
            &[],
        );
        check(0, 0, &[("a", "old", "ready")], &["a"], &["a-old"], &[]);
    }

    #[test]
    fn unavailable_old_pods_go_at_once() {
        check(
            0,
            1,
            &[
                ("a", "old", "running"),
                ("b", "old", "running"),
                ("c", "old", "ready"),
            ],
            &["a", "b", "c"],
            &["a-old", "b-old"],
            &[],
        );
        check(
            0,
            1,
            &[("a", "old", "deleting"), ("b", "old", "ready")],
            &["a", "b"],
            &[],
            &[],
        );
    }

    #[test]
    fn new_pods_come_within_max_surge() {
        check(
            1,
            0,
            &[("a", "old", "ready"), ("b", "old", "ready")],
            &["a", "b"],
            &[],
            &["a"],
        );
        check(
            2,
            0,
            &[("a", "old", "ready"), ("b", "old", "ready")],
            &["a", "b"],
            &[],
            &["a", "b"],
        );
        check(
            1,
            0,
            &[
                ("a", "old", "ready"),
                ("a", "new", "running"),
                ("b", "old", "ready"),
            ],
            &["a", "b"],
            &[],
            &[],
        );
        check(
            1,
            0,
            &[
                ("a", "old", "ready"),
                ("a", "new", "ready"),
                ("b", "old", "ready"),
            ],
            &["a", "b"],
            &["a-old"],
            &["b"],
        );
        check(
            1,
            0,
            &[("a", "old", "running"), ("b", "old", "running")],
            &["a", "b"],
            &[],
            &["a", "b"],
        );
    }

    #[test]
    fn pods_on_unwanted_nodes_serve_until_others_do() {
        check(
            1,
            0,
            &[("x", "old", "ready"), ("b", "new", "running")],
            &["b"],
            &[],
            &[],
        );
        check(
            1,
            0,
            &[("x", "old", "ready"), ("b", "new", "ready")],
            &["b"],
            &["x-old"],
            &[],
        );
        check(
            1,
            0,
            &[("x", "old", "running"), ("b", "new", "running")],
            &["b"],
            &["x-old"],
            &[],
        );
    }
}
