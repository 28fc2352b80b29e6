//! Gives a pod only a node on which its host ports are free. Upstream: plugins/nodeports.

use std::sync::Arc;

use crate::framework::cycle_state::CycleState;
use crate::framework::event::{Action, ClusterEventWithHint, EventResource, Hint};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, Filter, NodeNames, Plugin, PreFilter};
use crate::framework::pod_info::{HostPort, host_ports};
use crate::framework::status::{Status, Verdict};

const REASON: &str = "node(s) didn't have free ports for the requested pod ports";

pub struct NodePorts;

fn conflict(wanted: &[HostPort], used: &[HostPort]) -> bool {
    wanted
        .iter()
        .any(|port| used.iter().any(|used| port.conflicts(used)))
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        super::names::NODE_PORTS
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        vec![
            ClusterEventWithHint::hinted(EventResource::Pod, Action::DELETE, |pod, change| {
                let Some(deleted) = change.pods().0 else {
                    return Err("unexpected objects in isSchedulableAfterPodDeleted".into());
                };
                if super::was_never_placed(deleted) {
                    return Ok(Hint::Skip);
                }
                Ok(Hint::queue_if(conflict(
                    &host_ports(pod),
                    &host_ports(deleted),
                )))
            }),
            ClusterEventWithHint::always(EventResource::Node, Action::ADD),
        ]
    }
}

impl PreFilter for NodePorts {
    fn pre_filter(&self, cycle: &Cycle<'_>, _: &mut CycleState) -> Result<NodeNames, Status> {
        if cycle.pod.host_ports.is_empty() {
            return Err(Status::skip());
        }
        Ok(None)
    }
}

impl Filter for NodePorts {
    fn filter(&self, cycle: &Cycle<'_>, _: &CycleState, node: &NodeInfo) -> Verdict {
        if conflict(&cycle.pod.host_ports, &node.used_ports) {
            return Err(Status::unschedulable(REASON));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{check_filter_on, node, pod};
    use serde_json::{Value, json};

    #[test]
    fn filters() {
        fn with(ports: &[&str]) -> api_types::core::v1::Pod {
            let ports: Vec<Value> = ports
                .iter()
                .map(|port| {
                    let parts: Vec<&str> = port.split('/').collect();
                    json!({"protocol": parts[0], "hostIP": parts[1], "hostPort": parts[2].parse::<i32>().unwrap()})
                })
                .collect();
            pod(
                json!({"metadata": {"uid": ports.len().to_string()}, "spec": {"containers": [{"name": "c", "ports": ports}]}}),
            )
        }
        #[track_caller]
        fn check(wanted: &[&str], used: &[&str], free: bool) {
            let expected = if free {
                Ok(())
            } else {
                Err(Status::unschedulable(REASON))
            };
            check_filter_on(
                &NodePorts,
                with(wanted),
                node(json!({})),
                vec![with(used)],
                expected,
            );
        }
        check(&[], &[], true);
        check(&["UDP/127.0.0.1/8080"], &["UDP/127.0.0.1/9090"], true);
        check(&["UDP/127.0.0.1/8080"], &["UDP/127.0.0.1/8080"], false);
        check(&["TCP/127.0.0.1/8080"], &["TCP/127.0.0.1/8080"], false);
        check(&["TCP/127.0.0.1/8080"], &["TCP/127.0.0.2/8080"], true);
        check(&["UDP/127.0.0.1/8080"], &["TCP/127.0.0.1/8080"], true);
        check(&["TCP/0.0.0.0/8001"], &["TCP/127.0.0.1/8001"], false);
        check(
            &["TCP/10.0.10.10/8001", "TCP/0.0.0.0/8001"],
            &["TCP/127.0.0.1/8001"],
            false,
        );
        check(&["TCP/127.0.0.1/8001"], &["TCP/0.0.0.0/8001"], false);
        check(&["UDP/127.0.0.1/8001"], &["TCP/0.0.0.0/8001"], true);
        check(&["TCP//8001"], &["TCP/10.0.0.1/8001"], false);
    }
}
