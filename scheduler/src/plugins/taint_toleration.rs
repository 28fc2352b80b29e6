//! Keeps pods off nodes whose taints they do not tolerate; prefers nodes without taints they would rather avoid. Upstream: plugins/tainttoleration.

use std::sync::Arc;

use api_types::core::v1::{Node, Pod, Toleration};
use apimachinery::scheduling::{
    find_matching_untolerated_taint, is_scheduling_taint, tolerations_tolerate_taint,
};

use crate::framework::cycle_state::CycleState;
use crate::framework::event::{Action, ClusterEventWithHint, EventResource, Hint};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, Filter, Plugin, PreScore, Score, default_normalize_score};
use crate::framework::status::{Status, Verdict};

const PRE_SCORE: &str = "PreScoreTaintToleration";
const REASON: &str = "node(s) had untolerated taint(s)";

pub struct TaintToleration {
    /// Gate TaintTolerationComparisonOperators.
    pub comparison_operators: bool,
}

/// Tolerations that say something about PreferNoSchedule.
type PreScoreState = Arc<Vec<Toleration>>;

impl TaintToleration {
    fn has_untolerated(&self, pod: &Pod, node: &Node) -> bool {
        !node.spec.taints.is_empty()
            && find_matching_untolerated_taint(
                &node.spec.taints,
                &pod.spec.tolerations,
                is_scheduling_taint,
                self.comparison_operators,
            )
            .is_some()
    }
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        super::names::TAINT_TOLERATION
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        vec![
            ClusterEventWithHint::hinted(
                EventResource::Node,
                Action::ADD.or(Action::UPDATE_NODE_TAINT),
                move |pod, change| {
                    let (old, new) = change.nodes();
                    let was_untolerated = old.is_none_or(|old| self.has_untolerated(pod, old));
                    let is_untolerated = new.is_none_or(|new| self.has_untolerated(pod, new));
                    Ok(Hint::queue_if(was_untolerated && !is_untolerated))
                },
            ),
            ClusterEventWithHint::hinted(
                EventResource::Pod,
                Action::UPDATE_POD_TOLERATION,
                |pod, change| {
                    let same = |new: &Arc<Pod>| new.metadata.uid == pod.metadata.uid;
                    Ok(Hint::queue_if(change.pods().1.is_some_and(same)))
                },
            ),
        ]
    }
}

impl Filter for TaintToleration {
    fn filter(&self, cycle: &Cycle<'_>, _: &CycleState, node: &NodeInfo) -> Verdict {
        if self.has_untolerated(cycle.pod(), node.node()) {
            return Err(Status::unresolvable(REASON));
        }
        Ok(())
    }
}

impl PreScore for TaintToleration {
    fn pre_score(&self, cycle: &Cycle<'_>, state: &mut CycleState, _: &[Arc<NodeInfo>]) -> Verdict {
        let tolerations = cycle.pod().spec.tolerations.iter();
        let soft: Vec<Toleration> = tolerations
            .filter(|toleration| {
                toleration.effect.is_empty() || toleration.effect == "PreferNoSchedule"
            })
            .cloned()
            .collect();
        state.write::<PreScoreState>(PRE_SCORE, Arc::new(soft));
        Ok(())
    }
}

impl Score for TaintToleration {
    fn score(&self, _: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Result<i64, Status> {
        let taints = &node.node().spec.taints;
        if taints.is_empty() {
            return Ok(0);
        }
        let tolerations = state
            .read::<PreScoreState>(PRE_SCORE)
            .ok_or_else(|| Status::error("reading PreScoreTaintToleration from cycleState"))?;
        let intolerable = taints.iter().filter(|taint| {
            taint.effect == "PreferNoSchedule"
                && !tolerations_tolerate_taint(tolerations, taint, self.comparison_operators)
        });
        Ok(intolerable.count() as i64)
    }

    fn normalize(&self, _: &CycleState, _: &[Arc<NodeInfo>], scores: &mut [i64]) -> Verdict {
        default_normalize_score(scores, true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{check_filter, node, pod, scores};
    use serde_json::{Value, json};

    const PLUGIN: TaintToleration = TaintToleration {
        comparison_operators: false,
    };

    fn tainted(effects: &[(&str, &str, &str)]) -> Node {
        let taints: Vec<Value> = effects
            .iter()
            .map(|(key, value, effect)| json!({"key": key, "value": value, "effect": effect}))
            .collect();
        node(
            json!({"metadata": {"name": format!("n{}", taints.len())}, "spec": {"taints": taints}}),
        )
    }

    fn tolerant(key: &str, value: &str, effect: &str) -> Pod {
        pod(
            json!({"spec": {"tolerations": [{"key": key, "operator": "Equal", "value": value, "effect": effect}]}}),
        )
    }

    #[test]
    fn filters() {
        let no = || Err(Status::unresolvable(REASON));
        let dedicated = || tainted(&[("dedicated", "user1", "NoSchedule")]);
        check_filter(&PLUGIN, pod(json!({})), dedicated(), no());
        check_filter(
            &PLUGIN,
            tolerant("dedicated", "user1", "NoSchedule"),
            dedicated(),
            Ok(()),
        );
        check_filter(
            &PLUGIN,
            tolerant("dedicated", "user2", "NoSchedule"),
            dedicated(),
            no(),
        );
        check_filter(
            &PLUGIN,
            tolerant("foo", "bar", "PreferNoSchedule"),
            tainted(&[("foo", "bar", "NoSchedule")]),
            no(),
        );
        check_filter(
            &PLUGIN,
            pod(json!({})),
            tainted(&[("dedicated", "user1", "PreferNoSchedule")]),
            Ok(()),
        );
        check_filter(
            &PLUGIN,
            pod(json!({})),
            tainted(&[("a", "b", "NoExecute")]),
            no(),
        );
    }

    #[test]
    fn scores_by_intolerable_taints() {
        let nodes = vec![
            tainted(&[]),
            tainted(&[("cpu-type", "arm64", "PreferNoSchedule")]),
            tainted(&[
                ("cpu-type", "arm64", "PreferNoSchedule"),
                ("disk-type", "ssd", "PreferNoSchedule"),
            ]),
        ];
        let pod = tolerant("cpu-type", "arm64", "PreferNoSchedule");
        assert_eq!(
            scores(&PLUGIN, Some(&PLUGIN), pod, nodes.clone()),
            [100, 100, 0]
        );
        let plain = crate::plugins::testing::pod(json!({}));
        assert_eq!(scores(&PLUGIN, Some(&PLUGIN), plain, nodes), [100, 50, 0]);
    }
}
