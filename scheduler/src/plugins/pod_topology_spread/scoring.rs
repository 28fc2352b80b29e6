//! Constraints that would be nice to keep. Upstream: podtopologyspread/scoring.go.

use std::collections::HashSet;
use std::sync::Arc;

use apimachinery::scheduling::RequiredNodeAffinity;

use super::constraints::{Action, Constraint, Inclusion, has_all_keys};
use super::{LABEL_HOSTNAME, PodTopologySpread};
use crate::cache::counters::{Counts, Question};
use crate::cache::topology::TopologyColumn;
use crate::framework::cycle_state::CycleState;
use crate::framework::node_info::{NodeInfo, Slot};
use crate::framework::plugin::{Cycle, MAX_NODE_SCORE, PreScore, Score};
use crate::framework::status::{Status, Verdict};

const PRE_SCORE: &str = "PreScorePodTopologySpread";

struct Soft {
    constraint: Constraint,
    column: Arc<TopologyColumn>,
    /// Matching pods per node, for spreading over hosts.
    by_node: Option<Arc<Counts>>,
    /// Matching pods per domain; `None`: no candidate is in it.
    by_domain: Vec<Option<i64>>,
    weight: f64,
}

struct PreScoreState {
    soft: Vec<Soft>,
    /// Candidates that lack a label.
    ignored: HashSet<Slot>,
}

impl PreScore for PodTopologySpread {
    fn pre_score(
        &self,
        cycle: &Cycle<'_>,
        state: &mut CycleState,
        nodes: &[Arc<NodeInfo>],
    ) -> Verdict {
        let pod = cycle.pod();
        let constraints = self
            .constraints(pod, Action::ScheduleAnyway)
            .map_err(|error| {
                Status::error(format!(
                    "calculating preScoreState: obtaining pod's soft topology spread constraints: {error}"
                ))
            })?;
        if constraints.is_empty() {
            return Err(Status::skip());
        }
        // System defaults are of use on clusters whose nodes have no zones, too.
        let require_all =
            !pod.spec.topology_spread_constraints.is_empty() || !self.system_defaulted;
        let mut ignored = HashSet::new();
        if require_all {
            for node in nodes {
                if !has_all_keys(&node.node().metadata.labels, &constraints) {
                    ignored.insert(node.slot);
                }
            }
        }
        let inclusion = Inclusion {
            pod,
            affinity: RequiredNodeAffinity::new(pod),
            comparison_operators: self.comparison_operators,
        };
        let all = constraints.clone();
        let soft = constraints
            .into_iter()
            .map(|constraint| {
                let column = cycle.snapshot.column(&constraint.topology_key);
                let counts = (!constraint.selector.is_empty()).then(|| {
                    let namespace = &pod.metadata.namespace;
                    cycle
                        .snapshot
                        .count(Question::spreading(namespace, constraint.selector.clone()))
                });
                let mut soft = Soft {
                    by_domain: vec![None; column.len()],
                    by_node: None,
                    weight: 0.0,
                    column,
                    constraint,
                };
                if soft.constraint.topology_key == LABEL_HOSTNAME {
                    soft.by_node = counts;
                    soft.weight = normalizing_weight(nodes.len() - ignored.len());
                    return soft;
                }
                let mut size = 0;
                for node in nodes.iter().filter(|node| !ignored.contains(&node.slot)) {
                    // Nodes without the label are a domain of their own, as upstream.
                    let value = soft.column.value(node.slot).unwrap_or(0);
                    let domain = &mut soft.by_domain[value as usize];
                    if domain.is_none() {
                        *domain = Some(0);
                        size += 1;
                    }
                }
                for (slot, count) in counts.iter().flat_map(|counts| counts.iter()) {
                    let Some(node) = cycle.snapshot.by_slot(*slot) else {
                        continue;
                    };
                    if require_all && !has_all_keys(&node.node().metadata.labels, &all) {
                        continue;
                    }
                    let value = soft.column.value(*slot).unwrap_or(0);
                    if let Some(Some(sum)) = soft.by_domain.get_mut(value as usize)
                        && soft.constraint.counts_node(&inclusion, node.node())
                    {
                        *sum += i64::from(*count);
                    }
                }
                soft.weight = normalizing_weight(size);
                soft
            })
            .collect();
        state.write(PRE_SCORE, Arc::new(PreScoreState { soft, ignored }));
        Ok(())
    }
}

/// Few domains must not count for less than many.
fn normalizing_weight(domains: usize) -> f64 {
    ((domains + 2) as f64).ln()
}

fn read(state: &CycleState) -> Result<&Arc<PreScoreState>, Status> {
    state
        .read(PRE_SCORE)
        .ok_or_else(|| Status::error(format!("error reading \"{PRE_SCORE}\" from cycleState")))
}

impl Score for PodTopologySpread {
    fn score(&self, _: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Result<i64, Status> {
        let state = read(state)?;
        if state.ignored.contains(&node.slot) {
            return Ok(0);
        }
        let mut score = 0.0;
        for soft in &state.soft {
            let Some(value) = soft.column.value(node.slot) else {
                continue;
            };
            let count = if soft.constraint.topology_key == LABEL_HOSTNAME {
                let counts = soft.by_node.as_ref();
                counts
                    .and_then(|counts| counts.get(&node.slot))
                    .map_or(0, |count| i64::from(*count))
            } else {
                soft.by_domain
                    .get(value as usize)
                    .copied()
                    .flatten()
                    .unwrap_or(0)
            };
            score += count as f64 * soft.weight + f64::from(soft.constraint.max_skew - 1);
        }
        Ok(score.round() as i64)
    }

    fn normalize(
        &self,
        state: &CycleState,
        nodes: &[Arc<NodeInfo>],
        scores: &mut [i64],
    ) -> Verdict {
        let state = read(state)?;
        let counted = || {
            nodes
                .iter()
                .zip(scores.iter())
                .filter(|(node, _)| !state.ignored.contains(&node.slot))
                .map(|(_, score)| *score)
        };
        let min = counted().min().unwrap_or(i64::MAX);
        let max = counted().max().unwrap_or(0).max(0);
        for (node, score) in nodes.iter().zip(scores.iter_mut()) {
            *score = if state.ignored.contains(&node.slot) {
                0
            } else if max == 0 {
                MAX_NODE_SCORE
            } else {
                MAX_NODE_SCORE * (max + min - *score) / max
            };
        }
        Ok(())
    }
}
