//! Prefers nodes on which the pod makes the use of different resources more equal. Upstream: balanced_allocation.go.

use std::sync::Arc;

use api_types::kube_scheduler_config::v1::{NodeResourcesBalancedAllocationArgs, ResourceSpec};

use super::scoring::{Share, pod_request_list, share};
use crate::framework::cycle_state::CycleState;
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, MAX_NODE_SCORE, Plugin, PreScore, Score};
use crate::framework::status::{Status, Verdict};

const PRE_SCORE: &str = "PreScoreNodeResourcesBalancedAllocation";

pub struct BalancedAllocation {
    resources: Vec<ResourceSpec>,
}

impl BalancedAllocation {
    /// As configured.
    pub fn new(args: &NodeResourcesBalancedAllocationArgs) -> Self {
        Self {
            resources: args.resources.clone(),
        }
    }
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        super::super::names::NODE_RESOURCES_BALANCED_ALLOCATION
    }
}

impl PreScore for BalancedAllocation {
    fn pre_score(&self, cycle: &Cycle<'_>, state: &mut CycleState, _: &[Arc<NodeInfo>]) -> Verdict {
        let requests = pod_request_list(cycle.pod(), &self.resources, false);
        // A pod that requests nothing balances nothing: all such pods would go to the same node.
        if requests.iter().all(|request| *request == 0) {
            return Err(Status::skip());
        }
        state.write(PRE_SCORE, requests);
        Ok(())
    }
}

impl Score for BalancedAllocation {
    fn score(&self, _: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Result<i64, Status> {
        let Some(requests) = state.read::<Vec<i64>>(PRE_SCORE) else {
            return Ok(0);
        };
        let shares = self
            .resources
            .iter()
            .zip(requests)
            .map(|(resource, request)| share(node, &resource.name, *request, false));
        let shares: smallvec::SmallVec<[Share; 4]> = shares.collect();
        let with = balance(&shares, |share| share.requested);
        let without = balance(&shares, |share| share.allocated);
        let half = MAX_NODE_SCORE / 2;
        Ok(half + (half + with - without) / 2)
    }
}

/// 100 minus the standard deviation of the used fractions, in percent.
fn balance(shares: &[Share], used: impl Fn(&Share) -> i64) -> i64 {
    let fractions: smallvec::SmallVec<[f64; 4]> = shares
        .iter()
        .filter(|share| share.allocatable != 0)
        .map(|share| (used(share) as f64 / share.allocatable as f64).min(1.0))
        .collect();
    let deviation = match fractions.as_slice() {
        [a, b] => ((a - b) / 2.0).abs(),
        fractions if fractions.len() > 2 => {
            let mean = fractions.iter().sum::<f64>() / fractions.len() as f64;
            let squares: f64 = fractions
                .iter()
                .map(|fraction| (fraction - mean) * (fraction - mean))
                .sum();
            (squares / fractions.len() as f64).sqrt()
        }
        _ => 0.0,
    };
    ((1.0 - deviation) * MAX_NODE_SCORE as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::{node, node_info, pod, scores_on};
    use serde_json::json;

    #[test]
    fn scores() {
        let mut args = NodeResourcesBalancedAllocationArgs::default();
        crate::config::defaults::balanced_allocation_args(&mut args);
        let plugin = BalancedAllocation::new(&args);
        let requesting = |uid: &str, cpu: &str, memory: &str| {
            pod(
                json!({"metadata": {"uid": uid}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}}),
            )
        };
        let nodes = || {
            vec![
                node_info(
                    node(
                        json!({"metadata": {"name": "1"}, "status": {"allocatable": {"cpu": "4", "memory": "10000"}}}),
                    ),
                    vec![],
                ),
                node_info(
                    node(
                        json!({"metadata": {"name": "2"}, "status": {"allocatable": {"cpu": "6", "memory": "10000"}}}),
                    ),
                    vec![],
                ),
            ]
        };
        // Node 1: cpu 0.75, memory 0.5: deviation 0.125, 50 + (50 + 87 - 100) / 2. Node 2: equal shares.
        assert_eq!(
            scores_on(
                &plugin,
                Some(&plugin),
                requesting("p", "3", "5000"),
                nodes()
            ),
            [68, 75]
        );
        assert_eq!(
            scores_on(&plugin, Some(&plugin), pod(json!({})), nodes()),
            [0_i64; 0]
        );
    }
}
