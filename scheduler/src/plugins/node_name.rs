//! Holds a pod that names its node to it. Upstream: plugins/nodename.

use std::sync::Arc;

use crate::framework::cycle_state::CycleState;
use crate::framework::event::{Action, ClusterEventWithHint, EventResource};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, Filter, Plugin};
use crate::framework::status::{Status, Verdict};

const REASON: &str = "node(s) didn't match the requested node name";

pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        super::names::NODE_NAME
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        vec![ClusterEventWithHint::always(
            EventResource::Node,
            Action::ADD,
        )]
    }
}

impl Filter for NodeName {
    fn filter(&self, cycle: &Cycle<'_>, _: &CycleState, node: &NodeInfo) -> Verdict {
        let wanted = &cycle.pod().spec.node_name;
        if wanted.is_empty() || wanted == node.name() {
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
        let here = || node(json!({"metadata": {"name": "foo"}}));
        check_filter(&NodeName, pod(json!({})), node(json!({})), Ok(()));
        check_filter(
            &NodeName,
            pod(json!({"spec": {"nodeName": "foo"}})),
            here(),
            Ok(()),
        );
        check_filter(
            &NodeName,
            pod(json!({"spec": {"nodeName": "bar"}})),
            here(),
            Err(Status::unresolvable(REASON)),
        );
    }
}
