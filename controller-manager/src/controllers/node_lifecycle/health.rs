//! Judges whether a node is alive: from the heartbeats that its status and its Lease show, measured with our own clock. Upstream:
//! `tryUpdateNodeHealth` in pkg/controller/nodelifecycle.

use std::time::Duration;

use api_types::core::v1::{Node, NodeCondition};
use api_types::{MicroTime, Time};
use jiff::Timestamp;

/// Conditions that turn Unknown when a node falls silent.
const SILENCED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What we remember of a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Health {
    /// When we last saw a sign of life.
    pub probe: Timestamp,
    /// The Ready condition as it was seen or written last.
    pub ready: Option<NodeCondition>,
    /// The Lease's renewal that was seen last, if there was a Lease.
    pub lease: Option<Option<MicroTime>>,
}

/// The outcome of one look.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    /// The Ready condition before.
    pub observed: NodeCondition,
    /// The Ready condition after.
    pub current: Option<NodeCondition>,
    /// The conditions to write, when the node has fallen silent.
    pub write: Option<Vec<NodeCondition>>,
}

/// How long nodes may be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grace {
    /// A node that never posted its status.
    pub startup: Duration,
    /// Any other.
    pub monitor: Duration,
}

pub(super) fn condition<'a>(
    conditions: &'a [NodeCondition],
    type_: &str,
) -> Option<&'a NodeCondition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Looks at a node. `lease` is the renewal its Lease shows, if it has a Lease.
pub(super) fn look(
    known: Option<Health>,
    node: &Node,
    lease: Option<Option<MicroTime>>,
    now: Timestamp,
    grace: Grace,
) -> (Health, Verdict) {
    let created = node.metadata.creation_timestamp;
    let current = condition(&node.status.conditions, "Ready").cloned();
    let (observed, patience) = match &current {
        Some(ready) => (ready.clone(), grace.monitor),
        // The kubelet never posted a status: the node's creation counts as its first sign of life.
        None => (
            NodeCondition {
                type_: "Ready".to_owned(),
                status: "Unknown".to_owned(),
                last_heartbeat_time: created,
                last_transition_time: created,
                ..Default::default()
            },
            grace.startup,
        ),
    };
    let known = match (known, &current) {
        (Some(known), None) => Some(Health {
            ready: None,
            ..known
        }),
        (None, None) => Some(Health {
            probe: created.timestamp(),
            ready: None,
            lease: None,
        }),
        (known, Some(_)) => known,
    };
    let seen_lease = known.as_ref().and_then(|known| known.lease);
    let heartbeat =
        |ready: &Option<NodeCondition>| ready.as_ref().map(|ready| ready.last_heartbeat_time);
    let mut health = match known {
        Some(known) if heartbeat(&known.ready) == heartbeat(&current) => known,
        _ => Health {
            probe: now,
            ready: current.clone(),
            lease: None,
        },
    };
    if let Some(renewed) = lease {
        let newer = match seen_lease {
            None => true,
            Some(seen) => {
                matches!((seen, renewed), (Some(seen), Some(renewed)) if seen.unix_micros() < renewed.unix_micros())
            }
        };
        if newer {
            health.lease = Some(renewed);
            health.probe = now;
        }
    }
    let silent = now.duration_since(health.probe);
    let is_silent = silent.is_positive() && silent.unsigned_abs() > patience;
    if !is_silent {
        let verdict = Verdict {
            observed,
            current,
            write: None,
        };
        return (health, verdict);
    }
    let conditions = silenced(node, Time::from_timestamp(now));
    let current = condition(&conditions, "Ready").cloned();
    let changed = current.as_ref() != Some(&observed);
    let verdict = Verdict {
        observed,
        current,
        write: changed.then_some(conditions),
    };
    (health, verdict)
}

fn silenced(node: &Node, now: Time) -> Vec<NodeCondition> {
    let mut conditions = node.status.conditions.clone();
    for type_ in SILENCED {
        match conditions
            .iter_mut()
            .find(|condition| condition.type_ == type_)
        {
            None => conditions.push(NodeCondition {
                type_: type_.to_owned(),
                status: "Unknown".to_owned(),
                reason: "NodeStatusNeverUpdated".to_owned(),
                message: "Kubelet never posted node status.".to_owned(),
                last_heartbeat_time: node.metadata.creation_timestamp,
                last_transition_time: now,
            }),
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".to_owned();
                condition.reason = "NodeStatusUnknown".to_owned();
                condition.message = "Kubelet stopped posting node status.".to_owned();
                condition.last_transition_time = now;
            }
            Some(_) => {}
        }
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Grace = Grace {
        startup: Duration::from_secs(60),
        monitor: Duration::from_secs(50),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn node(created: i64, ready: Option<(&str, i64)>) -> Node {
        let mut node = Node::default();
        node.metadata.creation_timestamp = Time::from_unix(created);
        node.status
            .conditions
            .extend(ready.map(|(status, heartbeat)| NodeCondition {
                type_: "Ready".into(),
                status: status.into(),
                last_heartbeat_time: Time::from_unix(heartbeat),
                last_transition_time: Time::from_unix(created),
                ..Default::default()
            }));
        node
    }

    fn lease(second: i64) -> Option<Option<MicroTime>> {
        Some(Some(MicroTime::from_unix_micros(second * 1_000_000)))
    }

    #[test]
    fn a_node_that_never_posted_status_gets_the_startup_grace() {
        let node = node(100, None);
        let (health, verdict) = look(None, &node, None, at(160), GRACE);
        assert_eq!((verdict.current, verdict.write), (None, None));
        let (_, verdict) = look(Some(health), &node, None, at(161), GRACE);
        let written = verdict.write.unwrap();
        assert_eq!(written.len(), 4);
        assert!(
            written
                .iter()
                .all(|c| c.status == "Unknown" && c.reason == "NodeStatusNeverUpdated")
        );
        assert_eq!(verdict.observed.status, "Unknown");
        // A Lease keeps it alive.
        let (_, verdict) = look(None, &node, lease(150), at(161), GRACE);
        assert_eq!(verdict.write, None);
    }

    #[test]
    fn silence_makes_a_node_unknown() {
        let node = node(0, Some(("True", 100)));
        let (health, verdict) = look(None, &node, lease(100), at(1000), GRACE);
        assert_eq!(
            verdict.write, None,
            "the first look counts as a sign of life"
        );
        let (health, verdict) = look(Some(health), &node, lease(100), at(1050), GRACE);
        assert_eq!(verdict.write, None, "exactly the grace period");
        let (_, verdict) = look(Some(health.clone()), &node, lease(100), at(1051), GRACE);
        let written = verdict.write.unwrap();
        let ready = condition(&written, "Ready").unwrap();
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str()),
            ("Unknown", "NodeStatusUnknown")
        );
        assert_eq!(ready.last_transition_time, Time::from_unix(1051));
        assert_eq!(verdict.observed.status, "True");
        // Either sign of life will do.
        let (_, verdict) = look(Some(health.clone()), &node, lease(101), at(1051), GRACE);
        assert_eq!(verdict.write, None);
        let beating = super::tests::node(0, Some(("True", 101)));
        let (fresh, verdict) = look(Some(health), &beating, lease(100), at(1051), GRACE);
        assert_eq!((verdict.write, fresh.probe), (None, at(1051)));
    }

    #[test]
    fn an_unknown_node_is_not_written_again() {
        let mut node = node(0, Some(("Unknown", 100)));
        node.status
            .conditions
            .extend(
                ["MemoryPressure", "DiskPressure", "PIDPressure"].map(|type_| NodeCondition {
                    type_: type_.into(),
                    status: "Unknown".into(),
                    ..Default::default()
                }),
            );
        let (health, _) = look(None, &node, None, at(0), GRACE);
        let (_, verdict) = look(Some(health), &node, None, at(500), GRACE);
        assert_eq!(verdict.write, None);
        assert_eq!(verdict.current.unwrap().status, "Unknown");
    }

    #[test]
    fn old_leases_are_no_sign_of_life() {
        let node = node(0, Some(("True", 100)));
        let known = Health {
            probe: at(1000),
            ready: node.status.conditions.first().cloned(),
            lease: lease(90),
        };
        let (health, _) = look(Some(known.clone()), &node, lease(80), at(1010), GRACE);
        assert_eq!(health.probe, at(1000));
        let (health, _) = look(Some(known), &node, None, at(1010), GRACE);
        assert_eq!(health.probe, at(1000));
    }
}
