//! Keeps pods off cordoned nodes unless they tolerate the taint that goes with it. Upstream: plugins/nodeunschedulable.

use std::sync::Arc;

use api_types::core::v1::{Taint, Toleration};
use apimachinery::scheduling::tolerations_tolerate_taint;

use crate::framework::cycle_state::CycleState;
use crate::framework::event::{Action, ClusterEventWithHint, EventResource, Hint};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, Filter, Plugin};
use crate::framework::status::{Status, Verdict};

const REASON: &str = "node(s) were unschedulable";

pub struct NodeUnschedulable {
    /// Gate TaintTolerationComparisonOperators.
    pub comparison_operators: bool,
}

impl NodeUnschedulable {
    fn tolerates(&self, tolerations: &[Toleration]) -> bool {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        tolerations_tolerate_taint(tolerations, &taint, self.comparison_operators)
    }
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        super::names::NODE_UNSCHEDULABLE
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        vec![
            ClusterEventWithHint::hinted(
                EventResource::Node,
                Action::ADD.or(Action::UPDATE_NODE_TAINT),
                |_, change| {
                    let (old, new) = change.nodes();
                    let new_is_open = new.is_some_and(|new| !new.spec.unschedulable);
                    Ok(Hint::queue_if(
                        new_is_open && old.is_none_or(|old| old.spec.unschedulable),
                    ))
                },
            ),
            ClusterEventWithHint::hinted(
                EventResource::Pod,
                Action::UPDATE_POD_TOLERATION,
                move |pod, change| {
                    Ok(Hint::queue_if(change.pods().1.is_some_and(|new| {
                        new.metadata.uid == pod.metadata.uid
                            && self.tolerates(&new.spec.tolerations)
                    })))
                },
            ),
        ]
    }
}

impl Filter for NodeUnschedulable {
    fn filter(&self, cycle: &Cycle<'_>, _: &CycleState, node: &NodeInfo) -> Verdict {
        if !node.node().spec.unschedulable || self.tolerates(&cycle.pod().spec.tolerations) {
            return Ok(());
        }
        Err(Status::unresolvable(REASON))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{check_filter, node, pod};
    use serde_json::json;

    #[test]
    fn filters() {
        let plugin = NodeUnschedulable {
            comparison_operators: false,
        };
        let cordoned = node(json!({"spec": {"unschedulable": true}}));
        let tolerant = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "operator": "Exists"});
        check_filter(
            &plugin,
            pod(json!({})),
            cordoned.clone(),
            Err(Status::unresolvable(REASON)),
        );
        check_filter(&plugin, pod(json!({})), node(json!({})), Ok(()));
        check_filter(
            &plugin,
            pod(json!({"spec": {"tolerations": [tolerant]}})),
            cordoned,
            Ok(()),
        );
    }
}
