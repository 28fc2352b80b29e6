//! Keeps pods out of the queue while they have scheduling gates. Upstream: plugins/schedulinggates.

use std::sync::Arc;

use api_types::core::v1::Pod;

use crate::framework::event::{Action, ClusterEventWithHint, EventResource, Hint};
use crate::framework::plugin::{Plugin, PreEnqueue};
use crate::framework::status::{Status, Verdict};

pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        super::names::SCHEDULING_GATES
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        vec![ClusterEventWithHint::hinted(
            EventResource::Pod,
            Action::UPDATE_POD_SCHEDULING_GATES_ELIMINATED,
            |pod, change| {
                let same = |new: &Arc<Pod>| new.metadata.uid == pod.metadata.uid;
                Ok(Hint::queue_if(change.pods().1.is_some_and(same)))
            },
        )]
    }
}

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &Pod) -> Verdict {
        let gates = &pod.spec.scheduling_gates;
        if gates.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
        Err(Status::unresolvable(format!(
            "waiting for scheduling gates: [{}]",
            names.join(" ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::pod;
    use serde_json::json;

    #[test]
    fn gates() {
        assert_eq!(SchedulingGates.pre_enqueue(&pod(json!({}))), Ok(()));
        let gated = pod(json!({"spec": {"schedulingGates": [{"name": "foo"}, {"name": "bar"}]}}));
        assert_eq!(
            SchedulingGates.pre_enqueue(&gated).unwrap_err().message(),
            "waiting for scheduling gates: [foo bar]"
        );
    }
}
