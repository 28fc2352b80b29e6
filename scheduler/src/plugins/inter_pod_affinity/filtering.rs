//! Terms that must hold. Upstream: interpodaffinity/filtering.go.

use std::sync::Arc;

use super::{InterPodAffinity, matches_all};
use crate::cache::counters::{Counts, Question, TermKind};
use crate::cache::snapshot::Snapshot;
use crate::cache::topology::{TopologyColumn, ValueId};
use crate::framework::cycle_state::CycleState;
use crate::framework::node_info::{NodeInfo, Slot};
use crate::framework::plugin::{Cycle, Filter, NodeNames, PreFilter, PreFilterExtensions};
use crate::framework::pod_info::{AffinityTerm, PodInfo};
use crate::framework::status::{Status, Verdict};

const PRE_FILTER: &str = "PreFilterInterPodAffinity";

pub(super) const REASON_EXISTING_ANTI: &str =
    "node(s) didn't satisfy existing pods anti-affinity rules";
pub(super) const REASON_AFFINITY: &str = "node(s) didn't match pod affinity rules";
pub(super) const REASON_ANTI: &str = "node(s) didn't match pod anti-affinity rules";

/// Counts by (label, value).
#[derive(Clone, Default)]
struct DomainCounts {
    labels: Vec<LabelCounts>,
    /// How many of all counts are not zero.
    non_zero: usize,
}

#[derive(Clone)]
struct LabelCounts {
    key: Arc<str>,
    column: Arc<TopologyColumn>,
    counts: Vec<i64>,
}

impl DomainCounts {
    fn label(&mut self, snapshot: &Snapshot, key: &str) -> usize {
        if let Some(at) = self.labels.iter().position(|label| *label.key == *key) {
            return at;
        }
        let column = snapshot.column(key);
        self.labels.push(LabelCounts {
            key: Arc::from(key),
            counts: vec![0; column.len()],
            column,
        });
        self.labels.len() - 1
    }

    fn add(&mut self, label: usize, value: ValueId, by: i64) {
        let counts = &mut self.labels[label].counts;
        let at = value as usize;
        if counts.len() <= at {
            counts.resize(at + 1, 0);
        }
        let was = counts[at];
        counts[at] += by;
        match (was == 0, counts[at] == 0) {
            (true, false) => self.non_zero += 1,
            (false, true) => self.non_zero -= 1,
            _ => {}
        }
    }

    /// Adds pods per node to the domains their nodes are in.
    fn add_counts(&mut self, snapshot: &Snapshot, key: &str, counts: &Counts) {
        let label = self.label(snapshot, key);
        for (slot, count) in counts {
            if snapshot.by_slot(*slot).is_some() {
                self.add_at(label, *slot, i64::from(*count));
            }
        }
    }

    fn add_at(&mut self, label: usize, slot: Slot, by: i64) {
        if let Some(value) = self.labels[label].column.value(slot) {
            self.add(label, value, by);
        }
    }

    /// `None`: the node lacks the label.
    fn at(&self, key: &str, slot: Slot) -> Option<i64> {
        let label = self.labels.iter().find(|label| *label.key == *key)?;
        let value = label.column.value(slot)?;
        Some(label.counts.get(value as usize).copied().unwrap_or(0))
    }

    fn any_positive_at(&self, slot: Slot) -> bool {
        self.non_zero > 0
            && self.labels.iter().any(|label| {
                label
                    .column
                    .value(slot)
                    .and_then(|value| label.counts.get(value as usize))
                    .is_some_and(|count| *count > 0)
            })
    }
}

#[derive(Clone)]
struct PreFilterState {
    /// Pods whose anti-affinity the pod would violate.
    existing_anti: DomainCounts,
    /// Pods that match all affinity terms.
    affinity: DomainCounts,
    /// Pods that match an anti-affinity term.
    anti: DomainCounts,
    terms: Arc<Terms>,
}

/// The pod's own terms, resolved.
struct Terms {
    affinity: Vec<AffinityTerm>,
    anti: Vec<AffinityTerm>,
    namespace_labels: std::collections::BTreeMap<String, String>,
    /// The pod matches its own affinity: the first of a group may go anywhere.
    matches_itself: bool,
}

impl PreFilter for InterPodAffinity {
    fn pre_filter(&self, cycle: &Cycle<'_>, state: &mut CycleState) -> Result<NodeNames, Status> {
        let (pod, snapshot) = (cycle.pod(), cycle.snapshot);
        if let Some(error) = &cycle.pod.invalid_terms {
            return Err(Status::unresolvable(format!("parsing pod: {error}")));
        }
        let own = &cycle.pod.terms;
        let resolve = |terms: &[AffinityTerm]| -> Vec<AffinityTerm> {
            terms.iter().map(|term| self.resolved(term)).collect()
        };
        let affinity = resolve(&own.required_affinity);
        let terms = Terms {
            matches_itself: matches_all(&affinity, pod),
            affinity,
            anti: resolve(&own.required_anti_affinity),
            namespace_labels: self.namespace_labels(&pod.metadata.namespace),
        };
        // The visit holds the lock that columns need, so what matches is collected first.
        let mut matching: Vec<(String, Counts)> = Vec::new();
        snapshot.for_each_carried_term(|carried| {
            if carried.kind == TermKind::RequiredAntiAffinity
                && carried.term.matches(pod, Some(&terms.namespace_labels))
            {
                matching.push((carried.term.topology_key.clone(), carried.counts.clone()));
            }
        });
        let mut existing_anti = DomainCounts::default();
        for (key, counts) in &matching {
            existing_anti.add_counts(snapshot, key, counts);
        }
        let mut affinity_counts = DomainCounts::default();
        if !terms.affinity.is_empty() {
            let counts = snapshot.count(Question::affinity(&terms.affinity));
            for term in &terms.affinity {
                affinity_counts.add_counts(snapshot, &term.topology_key, &counts);
            }
        }
        let mut anti_counts = DomainCounts::default();
        for term in &terms.anti {
            let counts = snapshot.count(Question::affinity([term]));
            anti_counts.add_counts(snapshot, &term.topology_key, &counts);
        }
        if existing_anti.non_zero == 0 && terms.affinity.is_empty() && terms.anti.is_empty() {
            return Err(Status::skip());
        }
        state.write(
            PRE_FILTER,
            PreFilterState {
                existing_anti,
                affinity: affinity_counts,
                anti: anti_counts,
                terms: Arc::new(terms),
            },
        );
        Ok(None)
    }

    fn extensions(&self) -> Option<&dyn PreFilterExtensions> {
        Some(self)
    }
}

impl InterPodAffinity {
    fn update(
        &self,
        cycle: &Cycle<'_>,
        state: &mut CycleState,
        other: &PodInfo,
        node: &NodeInfo,
        by: i64,
    ) -> Verdict {
        let PreFilterState {
            existing_anti,
            affinity,
            anti,
            terms,
        } = state
            .read_mut::<PreFilterState>(PRE_FILTER)
            .ok_or_else(|| {
                Status::error(format!("error reading \"{PRE_FILTER}\" from cycleState"))
            })?;
        let snapshot = cycle.snapshot;
        for term in &other.terms.required_anti_affinity {
            if term.matches(cycle.pod(), Some(&terms.namespace_labels)) {
                let label = existing_anti.label(snapshot, &term.topology_key);
                existing_anti.add_at(label, node.slot, by);
            }
        }
        if matches_all(&terms.affinity, &other.pod) {
            for term in &terms.affinity {
                let label = affinity.label(snapshot, &term.topology_key);
                affinity.add_at(label, node.slot, by);
            }
        }
        for term in &terms.anti {
            if term.matches(&other.pod, None) {
                let label = anti.label(snapshot, &term.topology_key);
                anti.add_at(label, node.slot, by);
            }
        }
        Ok(())
    }
}

impl PreFilterExtensions for InterPodAffinity {
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

impl PreFilterState {
    fn satisfies_affinity(&self, slot: Slot) -> bool {
        let mut all_present = true;
        for term in &self.terms.affinity {
            match self.affinity.at(&term.topology_key, slot) {
                None => return false,
                Some(count) if count <= 0 => all_present = false,
                Some(_) => {}
            }
        }
        // The first pod of a group that wants to be with itself has nobody to be with.
        all_present || self.affinity.non_zero == 0 && self.terms.matches_itself
    }

    fn satisfies_anti_affinity(&self, slot: Slot) -> bool {
        self.anti.non_zero == 0
            || self.terms.anti.iter().all(|term| {
                self.anti
                    .at(&term.topology_key, slot)
                    .is_none_or(|count| count <= 0)
            })
    }
}

impl Filter for InterPodAffinity {
    fn filter(&self, _: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Verdict {
        let state = state.read::<PreFilterState>(PRE_FILTER).ok_or_else(|| {
            Status::error(format!("error reading \"{PRE_FILTER}\" from cycleState"))
        })?;
        if !state.satisfies_affinity(node.slot) {
            return Err(Status::unresolvable(REASON_AFFINITY));
        }
        if !state.satisfies_anti_affinity(node.slot) {
            return Err(Status::unschedulable(REASON_ANTI));
        }
        if state.existing_anti.any_positive_at(node.slot) {
            return Err(Status::unschedulable(REASON_EXISTING_ANTI));
        }
        Ok(())
    }
}
