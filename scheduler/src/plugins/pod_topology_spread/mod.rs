//! Spreads pods over the values of node labels. Upstream: plugins/podtopologyspread.
//!
//! Counting is incremental (see [`counters`](crate::cache::counters)): a cycle adds up the nodes that have matching pods.

mod constraints;
mod filtering;
mod scoring;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::core::v1::{Node, Pod, TopologySpreadConstraint};
use api_types::kube_scheduler_config::v1::PodTopologySpreadArgs;

use self::constraints::{Action as When, Constraint, has_all_keys};
use crate::framework::event::{
    Action, Change, ClusterEventWithHint, EventResource, Hint, HintResult,
};
use crate::framework::handle::Listers;
use crate::framework::plugin::Plugin;

const LABEL_HOSTNAME: &str = "kubernetes.io/hostname";
const LABEL_ZONE: &str = "topology.kubernetes.io/zone";

pub struct PodTopologySpread {
    default_constraints: Vec<TopologySpreadConstraint>,
    system_defaulted: bool,
    listers: Listers,
    /// Gate TaintTolerationComparisonOperators.
    comparison_operators: bool,
}

impl PodTopologySpread {
    /// As configured.
    pub fn new(args: &PodTopologySpreadArgs, listers: Listers, comparison_operators: bool) -> Self {
        let system_defaulted = args.defaulting_type == "System";
        let soft = |key: &str, max_skew| TopologySpreadConstraint {
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".into(),
            max_skew,
            ..TopologySpreadConstraint::default()
        };
        Self {
            default_constraints: if system_defaulted {
                vec![soft(LABEL_HOSTNAME, 3), soft(LABEL_ZONE, 5)]
            } else {
                args.default_constraints.clone()
            },
            system_defaulted,
            listers,
            comparison_operators,
        }
    }

    fn after_pod_change(&self, pod: &Pod, change: &Change) -> HintResult {
        let (old, new) = change.pods();
        let involved = |other: &Arc<Pod>| {
            other.metadata.uid == pod.metadata.uid
                || !super::was_never_placed(other)
                    && other.metadata.namespace == pod.metadata.namespace
        };
        if !new.is_none_or(involved) || !old.is_none_or(involved) {
            return Ok(Hint::Skip);
        }
        let constraints = self.constraints(pod, When::DoNotSchedule)?;
        let matches_any = |other: &Pod| {
            constraints
                .iter()
                .any(|constraint| constraint.selector.matches(&other.metadata.labels))
        };
        match (old, new) {
            (Some(old), Some(new)) => {
                let new_tolerations = pod.metadata.uid == new.metadata.uid
                    && new.spec.tolerations != old.spec.tolerations
                    && constraints.iter().any(|constraint| constraint.honor_taints);
                let matching_changed = constraints.iter().any(|constraint| {
                    constraint.selector.matches(&old.metadata.labels)
                        != constraint.selector.matches(&new.metadata.labels)
                });
                Ok(Hint::queue_if(new_tolerations || matching_changed))
            }
            (None, Some(other)) | (Some(other), None) => Ok(Hint::queue_if(matches_any(other))),
            (None, None) => Err("unexpected objects in isSchedulableAfterPodChange".into()),
        }
    }

    fn after_node_change(&self, pod: &Pod, change: &Change) -> HintResult {
        let constraints = self.constraints(pod, When::DoNotSchedule)?;
        let matches = |node: &Node| has_all_keys(&node.metadata.labels, &constraints);
        match change.nodes() {
            (Some(old), Some(new)) => {
                let (was, is) = (matches(old), matches(new));
                let moved = constraints.iter().any(|constraint: &Constraint| {
                    old.metadata.labels.get(&constraint.topology_key)
                        != new.metadata.labels.get(&constraint.topology_key)
                });
                Ok(Hint::queue_if(
                    was != is || is && (moved || old.spec.taints != new.spec.taints),
                ))
            }
            (None, Some(node)) | (Some(node), None) => Ok(Hint::queue_if(matches(node))),
            (None, None) => Err("unexpected objects in isSchedulableAfterNodeChange".into()),
        }
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        super::names::POD_TOPOLOGY_SPREAD
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        let plugin = self.clone();
        vec![
            ClusterEventWithHint::hinted(
                EventResource::Pod,
                Action::ADD
                    .or(Action::UPDATE_POD_LABEL)
                    .or(Action::UPDATE_POD_TOLERATION)
                    .or(Action::DELETE),
                move |pod, change| plugin.after_pod_change(pod, change),
            ),
            ClusterEventWithHint::hinted(
                EventResource::Node,
                Action::ADD
                    .or(Action::DELETE)
                    .or(Action::UPDATE_NODE_LABEL)
                    .or(Action::UPDATE_NODE_TAINT),
                move |pod, change| self.after_node_change(pod, change),
            ),
        ]
    }
}
