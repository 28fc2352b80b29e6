//! Terms that would be nice to keep. Upstream: interpodaffinity/scoring.go.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::InterPodAffinity;
use crate::cache::counters::{Counts, Question, TermKind};
use crate::cache::topology::TopologyColumn;
use crate::framework::cycle_state::CycleState;
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, MAX_NODE_SCORE, PreScore, Score};
use crate::framework::status::{Status, Verdict};

const PRE_SCORE: &str = "PreScoreInterPodAffinity";

/// Scores by value of one node label.
struct LabelScores {
    column: Arc<TopologyColumn>,
    scores: Vec<i64>,
}

type PreScoreState = Arc<Vec<LabelScores>>;

impl PreScore for InterPodAffinity {
    fn pre_score(&self, cycle: &Cycle<'_>, state: &mut CycleState, _: &[Arc<NodeInfo>]) -> Verdict {
        let (pod, snapshot) = (cycle.pod(), cycle.snapshot);
        if let Some(error) = &cycle.pod.invalid_terms {
            return Err(Status::error(format!("failed to parse pod: {error}")));
        }
        let own = &cycle.pod.terms;
        let has_own = !own.preferred_affinity.is_empty() || !own.preferred_anti_affinity.is_empty();
        if self.ignore_preferred_of_existing && !has_own {
            return Err(Status::skip());
        }
        // (label, pods per node, points per pod)
        let mut contributions: Vec<(String, Counts, i64)> = Vec::new();
        let namespace_labels = self.namespace_labels(&pod.metadata.namespace);
        snapshot.for_each_carried_term(|carried| {
            let points = match carried.kind {
                TermKind::RequiredAffinity => i64::from(self.hard_weight.max(0)),
                TermKind::RequiredAntiAffinity => 0,
                TermKind::PreferredAffinity(weight) => i64::from(weight),
                TermKind::PreferredAntiAffinity(weight) => -i64::from(weight),
            };
            if points != 0 && carried.term.matches(pod, Some(&namespace_labels)) {
                contributions.push((
                    carried.term.topology_key.clone(),
                    carried.counts.clone(),
                    points,
                ));
            }
        });
        let wanted = own.preferred_affinity.iter().map(|term| (term, 1));
        let unwanted = own.preferred_anti_affinity.iter().map(|term| (term, -1));
        for ((term, weight), sign) in wanted.chain(unwanted) {
            let term = self.resolved(term);
            let counts = snapshot.count(Question::affinity([&term]));
            contributions.push((
                term.topology_key,
                (*counts).clone(),
                sign * i64::from(*weight),
            ));
        }
        let mut labels: BTreeMap<String, LabelScores> = BTreeMap::new();
        let mut any = false;
        for (key, counts, points) in contributions {
            let label = labels.entry(key).or_insert_with_key(|key| {
                let column = snapshot.column(key);
                LabelScores {
                    scores: vec![0; column.len()],
                    column,
                }
            });
            for (slot, count) in counts {
                if snapshot.by_slot(slot).is_some()
                    && let Some(value) = label.column.value(slot)
                {
                    label.scores[value as usize] += points * i64::from(count);
                    any = true;
                }
            }
        }
        if !any {
            return Err(Status::skip());
        }
        state.write::<PreScoreState>(PRE_SCORE, Arc::new(labels.into_values().collect()));
        Ok(())
    }
}

impl Score for InterPodAffinity {
    fn score(&self, _: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Result<i64, Status> {
        let labels = state.read::<PreScoreState>(PRE_SCORE).ok_or_else(|| {
            Status::error(format!("failed to read \"{PRE_SCORE}\" from cycleState"))
        })?;
        Ok(labels
            .iter()
            .filter_map(|label| Some(label.scores[label.column.value(node.slot)? as usize]))
            .sum())
    }

    fn normalize(&self, _: &CycleState, _: &[Arc<NodeInfo>], scores: &mut [i64]) -> Verdict {
        let (Some(min), Some(max)) = (scores.iter().copied().min(), scores.iter().copied().max())
        else {
            return Ok(());
        };
        for score in scores {
            *score = if max > min {
                (MAX_NODE_SCORE as f64 * ((*score - min) as f64 / (max - min) as f64)) as i64
            } else {
                0
            };
        }
        Ok(())
    }
}
