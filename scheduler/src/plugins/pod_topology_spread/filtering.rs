//! Constraints that must hold. Upstream: podtopologyspread/filtering.go.

use std::sync::Arc;

use apimachinery::scheduling::RequiredNodeAffinity;

use super::PodTopologySpread;
use super::constraints::{Action, Constraint, Inclusion, has_all_keys};
use crate::cache::counters::Question;
use crate::cache::topology::{TopologyColumn, ValueId};
use crate::framework::cycle_state::CycleState;
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, Filter, NodeNames, PreFilter, PreFilterExtensions};
use crate::framework::pod_info::PodInfo;
use crate::framework::status::{Status, Verdict};

const PRE_FILTER: &str = "PreFilterPodTopologySpread";

pub(super) const REASON_CONSTRAINTS: &str = "node(s) didn't match pod topology spread constraints";
pub(super) const REASON_LABEL: &str =
    "node(s) didn't match pod topology spread constraints (missing required label)";

/// Matching pods per domain of one constraint.
#[derive(Clone)]
struct Domains {
    constraint: Arc<Constraint>,
    column: Arc<TopologyColumn>,
    /// By value; `None`: no node of that domain counts.
    counts: Vec<Option<i32>>,
    /// How many domains count.
    domains: i32,
    /// The smallest two counts with their domains: moving one pod changes one domain, so two are enough to know the smallest
    /// afterwards. Upstream: `criticalPaths`.
    smallest: [(ValueId, i32); 2],
    self_match: i32,
}

impl Domains {
    fn minimum(&self) -> i32 {
        if self.domains < self.constraint.min_domains {
            return 0;
        }
        self.smallest[0].1
    }

    fn note(&mut self, value: ValueId, count: i32) {
        let [first, second] = &mut self.smallest;
        if first.0 == value || second.0 == value {
            if first.0 == value {
                first.1 = count;
            } else {
                second.1 = count;
            }
            if first.1 > second.1 {
                self.smallest.swap(0, 1);
            }
        } else if count < first.1 {
            self.smallest = [(value, count), self.smallest[0]];
        } else if count < second.1 {
            *second = (value, count);
        }
    }

    fn change(&mut self, value: ValueId, by: i32) {
        let at = value as usize;
        if self.counts.len() <= at {
            self.counts.resize(at + 1, None);
        }
        if self.counts[at].is_none() {
            self.domains += 1;
        }
        let count = self.counts[at].unwrap_or(0) + by;
        self.counts[at] = Some(count);
        self.note(value, count);
    }
}

#[derive(Clone)]
struct PreFilterState {
    domains: Vec<Domains>,
    constraints: Arc<Vec<Constraint>>,
}

impl PreFilter for PodTopologySpread {
    fn pre_filter(&self, cycle: &Cycle<'_>, state: &mut CycleState) -> Result<NodeNames, Status> {
        let pod = cycle.pod();
        let constraints = self
            .constraints(pod, Action::DoNotSchedule)
            .map_err(|error| {
                Status::error(format!(
                    "get constraints from pod: obtaining pod's hard topology spread constraints: {error}"
                ))
            })?;
        if constraints.is_empty() {
            return Err(Status::skip());
        }
        let inclusion = Inclusion {
            pod,
            affinity: RequiredNodeAffinity::new(pod),
            comparison_operators: self.comparison_operators,
        };
        let columns: Vec<Arc<TopologyColumn>> = constraints
            .iter()
            .map(|constraint| cycle.snapshot.column(&constraint.topology_key))
            .collect();
        let mut domains: Vec<Domains> = constraints
            .iter()
            .zip(&columns)
            .map(|(constraint, column)| Domains {
                constraint: Arc::new(constraint.clone()),
                column: column.clone(),
                counts: vec![None; column.len()],
                domains: 0,
                smallest: [(0, i32::MAX); 2],
                self_match: i32::from(constraint.selector.matches(&pod.metadata.labels)),
            })
            .collect();
        let counts: Vec<_> = constraints
            .iter()
            .map(|constraint| {
                // An empty selector selects nothing here.
                (!constraint.selector.is_empty()).then(|| {
                    let namespace = &pod.metadata.namespace;
                    cycle
                        .snapshot
                        .count(Question::spreading(namespace, constraint.selector.clone()))
                })
            })
            .collect();
        for node in cycle.snapshot.nodes() {
            // A node counts for a constraint only if it has the labels of all of them.
            if columns
                .iter()
                .any(|column| column.value(node.slot).is_none())
            {
                continue;
            }
            for (domains, counts) in domains.iter_mut().zip(&counts) {
                if !domains.constraint.counts_node(&inclusion, node.node()) {
                    continue;
                }
                let Some(value) = domains.column.value(node.slot) else {
                    continue;
                };
                let matching = counts
                    .as_ref()
                    .and_then(|counts| counts.get(&node.slot))
                    .copied()
                    .unwrap_or(0);
                let slot = &mut domains.counts[value as usize];
                if slot.is_none() {
                    domains.domains += 1;
                }
                *slot = Some(slot.unwrap_or(0) + matching as i32);
            }
        }
        for domains in &mut domains {
            for value in 0..domains.counts.len() {
                if let Some(count) = domains.counts[value] {
                    domains.note(value as ValueId, count);
                }
            }
        }
        state.write(
            PRE_FILTER,
            PreFilterState {
                domains,
                constraints: Arc::new(constraints),
            },
        );
        Ok(None)
    }

    fn extensions(&self) -> Option<&dyn PreFilterExtensions> {
        Some(self)
    }
}

impl PodTopologySpread {
    fn update(
        &self,
        cycle: &Cycle<'_>,
        state: &mut CycleState,
        other: &PodInfo,
        node: &NodeInfo,
        by: i32,
    ) -> Verdict {
        let state = state
            .read_mut::<PreFilterState>(PRE_FILTER)
            .ok_or_else(|| Status::error(format!("reading \"{PRE_FILTER}\" from cycleState")))?;
        let pod = cycle.pod();
        if other.pod.metadata.namespace != pod.metadata.namespace
            || !has_all_keys(&node.node().metadata.labels, &state.constraints)
        {
            return Ok(());
        }
        let inclusion = Inclusion {
            pod,
            affinity: RequiredNodeAffinity::new(pod),
            comparison_operators: self.comparison_operators,
        };
        for domains in &mut state.domains {
            if domains
                .constraint
                .selector
                .matches(&other.pod.metadata.labels)
                && domains.constraint.counts_node(&inclusion, node.node())
                && let Some(value) = domains.column.value(node.slot)
            {
                domains.change(value, by);
            }
        }
        Ok(())
    }
}

impl PreFilterExtensions for PodTopologySpread {
    fn add_pod(
        &self,
        cycle: &Cycle<'_>,
        state: &mut CycleState,
        other: &PodInfo,
        node: &NodeInfo,
    ) -> Verdict {
        self.update(cycle, state, other, node, 1)
    }

    fn remove_pod(
        &self,
        cycle: &Cycle<'_>,
        state: &mut CycleState,
        other: &PodInfo,
        node: &NodeInfo,
    ) -> Verdict {
        self.update(cycle, state, other, node, -1)
    }
}

impl Filter for PodTopologySpread {
    fn filter(&self, _: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Verdict {
        let state = state
            .read::<PreFilterState>(PRE_FILTER)
            .ok_or_else(|| Status::error(format!("reading \"{PRE_FILTER}\" from cycleState")))?;
        for domains in &state.domains {
            let Some(value) = domains.column.value(node.slot) else {
                return Err(Status::unresolvable(REASON_LABEL));
            };
            let matching = domains
                .counts
                .get(value as usize)
                .copied()
                .flatten()
                .unwrap_or(0);
            // In 64 bits: the minimum is a very large number if no node counts.
            let skew =
                i64::from(matching) + i64::from(domains.self_match) - i64::from(domains.minimum());
            if skew > i64::from(domains.constraint.max_skew) {
                return Err(Status::unschedulable(REASON_CONSTRAINTS));
            }
        }
        Ok(())
    }
}
