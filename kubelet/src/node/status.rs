//! The parts of a Node's status, each a pure step. Upstream: `pkg/kubelet/nodestatus/setters.go`.

use api_types::Time;
use api_types::core::v1::{ContainerImage, NodeCondition, NodeStatus};

use crate::cri::v1;

/// A condition that changed its status: an event is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Reason of the event, for example `NodeReady`.
    pub event: &'static str,
}

/// Sets a condition; its transition time moves only with its status. Answers whether the status changed.
fn set_condition(
    status: &mut NodeStatus,
    type_: &str,
    value: bool,
    reason: &str,
    message: &str,
    now: Time,
) -> bool {
    let wanted = if value { "True" } else { "False" };
    let mut condition = NodeCondition {
        type_: type_.to_owned(),
        status: wanted.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_heartbeat_time: now,
        last_transition_time: now,
    };
    match status.conditions.iter_mut().find(|old| old.type_ == type_) {
        Some(old) => {
            let changed = old.status != wanted;
            if !changed {
                condition.last_transition_time = old.last_transition_time;
            }
            *old = condition;
            changed
        }
        None => {
            status.conditions.push(condition);
            false
        }
    }
}

/// MemoryPressure, DiskPressure or PIDPressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pressure {
    /// Too little memory.
    Memory,
    /// Too little disk.
    Disk,
    /// Too few process ids.
    Pid,
}

/// Sets a pressure condition; an event is due when it changed, and when it was set for the first time.
pub fn set_pressure(
    status: &mut NodeStatus,
    pressure: Pressure,
    under: bool,
    now: Time,
) -> Option<Transition> {
    let (type_, reasons, messages, events) = match pressure {
        Pressure::Memory => (
            "MemoryPressure",
            ("KubeletHasInsufficientMemory", "KubeletHasSufficientMemory"),
            (
                "kubelet has insufficient memory available",
                "kubelet has sufficient memory available",
            ),
            ("NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
        ),
        Pressure::Disk => (
            "DiskPressure",
            ("KubeletHasDiskPressure", "KubeletHasNoDiskPressure"),
            ("kubelet has disk pressure", "kubelet has no disk pressure"),
            ("NodeHasDiskPressure", "NodeHasNoDiskPressure"),
        ),
        Pressure::Pid => (
            "PIDPressure",
            ("KubeletHasInsufficientPID", "KubeletHasSufficientPID"),
            (
                "kubelet has insufficient PID available",
                "kubelet has sufficient PID available",
            ),
            ("NodeHasInsufficientPID", "NodeHasSufficientPID"),
        ),
    };
    let new = !status
        .conditions
        .iter()
        .any(|condition| condition.type_ == type_);
    let pick = |pair: (&'static str, &'static str)| if under { pair.0 } else { pair.1 };
    let changed = set_condition(status, type_, under, pick(reasons), pick(messages), now);
    (changed || new).then(|| Transition {
        event: pick(events),
    })
}

/// Sets Ready from everything that keeps the node from it.
pub fn set_ready(
    status: &mut NodeStatus,
    mut errors: Vec<String>,
    local_storage: bool,
    now: Time,
) -> Option<Transition> {
    let mut required = vec!["cpu", "memory", "pods"];
    if local_storage {
        required.push("ephemeral-storage");
    }
    let missing: Vec<&str> = required
        .into_iter()
        .filter(|name| !status.capacity.contains_key(*name))
        .collect();
    if !missing.is_empty() {
        errors.push(format!(
            "missing node capacity for resources: {}",
            missing.join(", ")
        ));
    }
    let changed = if errors.is_empty() {
        set_condition(
            status,
            "Ready",
            true,
            "KubeletReady",
            "kubelet is posting ready status",
            now,
        )
    } else {
        let message = if errors.len() == 1 {
            errors.remove(0)
        } else {
            format!("[{}]", errors.join(", "))
        };
        set_condition(status, "Ready", false, "KubeletNotReady", &message, now)
    };
    let ready = status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    changed.then_some(Transition {
        event: if ready { "NodeReady" } else { "NodeNotReady" },
    })
}

/// The biggest images with at most five names each.
#[must_use]
pub fn images(all: &[v1::Image], max: i32) -> Vec<ContainerImage> {
    const MAX_NAMES: usize = 5;
    let limit = usize::try_from(max).unwrap_or(usize::MAX);
    all.iter()
        .take(limit)
        .map(|image| {
            let mut names: Vec<String> = image
                .repo_tags
                .iter()
                .chain(&image.repo_digests)
                .cloned()
                .collect();
            names.truncate(MAX_NAMES);
            ContainerImage {
                names,
                size_bytes: i64::try_from(image.size).unwrap_or(i64::MAX),
            }
        })
        .collect()
}

/// Whether two statuses differ in more than heartbeats.
#[must_use]
pub fn changed(old: &NodeStatus, new: &NodeStatus) -> bool {
    let strip = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in &mut status.conditions {
            condition.last_heartbeat_time = Time::default();
        }
        status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        status
    };
    strip(old) != strip(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_resources::tests::list;

    fn status() -> NodeStatus {
        NodeStatus {
            capacity: list(&[("cpu", "1"), ("memory", "1"), ("pods", "1")]),
            ..Default::default()
        }
    }

    fn at(second: i64) -> Time {
        Time::from_timestamp(jiff::Timestamp::from_second(second).expect("time"))
    }

    #[test]
    fn ready() {
        let mut status = status();
        assert_eq!(set_ready(&mut status, vec![], false, at(1)), None);
        assert_eq!(status.conditions[0].reason, "KubeletReady");
        let down = set_ready(&mut status, vec!["a".into(), "b".into()], false, at(2));
        assert_eq!(
            down,
            Some(Transition {
                event: "NodeNotReady"
            })
        );
        let condition = &status.conditions[0];
        assert_eq!(
            (condition.reason.as_str(), condition.message.as_str()),
            ("KubeletNotReady", "[a, b]")
        );
        assert_eq!(condition.last_transition_time, at(2));
        assert_eq!(set_ready(&mut status, vec!["a".into()], false, at(3)), None);
        assert_eq!(status.conditions[0].last_transition_time, at(2));
        assert_eq!(status.conditions[0].last_heartbeat_time, at(3));
        assert_eq!(set_ready(&mut status, vec![], true, at(4)), None);
        assert_eq!(
            status.conditions[0].message,
            "missing node capacity for resources: ephemeral-storage"
        );
    }

    #[test]
    fn pressures() {
        let mut status = status();
        let first = set_pressure(&mut status, Pressure::Memory, false, at(1));
        assert_eq!(
            first,
            Some(Transition {
                event: "NodeHasSufficientMemory"
            })
        );
        assert_eq!(
            set_pressure(&mut status, Pressure::Memory, false, at(2)),
            None
        );
        let under = set_pressure(&mut status, Pressure::Memory, true, at(3));
        assert_eq!(
            under,
            Some(Transition {
                event: "NodeHasInsufficientMemory"
            })
        );
        assert_eq!(
            status.conditions[0].message,
            "kubelet has insufficient memory available"
        );
    }

    #[test]
    fn heartbeats_are_no_change() {
        let mut old = status();
        set_ready(&mut old, vec![], false, at(1));
        let mut new = old.clone();
        set_ready(&mut new, vec![], false, at(2));
        assert!(!changed(&old, &new));
        set_ready(&mut new, vec!["x".into()], false, at(3));
        assert!(changed(&old, &new));
    }

    #[test]
    fn image_lists() {
        let image = |name: &str, size| v1::Image {
            repo_tags: vec![name.into()],
            size,
            ..Default::default()
        };
        let all = [image("big", 2), image("small", 1)];
        assert_eq!(images(&all, 1).len(), 1);
        assert_eq!(images(&all, -1)[1].names, ["small"]);
    }
}
