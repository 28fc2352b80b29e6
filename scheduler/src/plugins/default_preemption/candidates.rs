//! Which pods would have to go from a node, and which node costs least. Upstream: default_preemption.go (`SelectVictimsOnNode`),
//! framework/preemption/preemption.go (`pickOneNodeForPreemption`).

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use api_types::Time;
use api_types::core::v1::Pod;
use api_types::policy::v1::PodDisruptionBudget;
use apimachinery::labels::Selector;

use crate::framework::cycle_state::CycleState;
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::Cycle;
use crate::framework::pod_info::PodInfo;
use crate::framework::runtime::Framework;
use crate::framework::status::{Status, Verdict};

/// A node and who would have to go, most important first.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub node: String,
    pub victims: Vec<Arc<PodInfo>>,
    pub pdb_violations: i64,
}

fn start_time(pod: &Pod) -> Time {
    match pod.status.start_time {
        Some(time) => time,
        // Assumed pods have none.
        None => Time::now(),
    }
}

/// More important first: priority, then who started earlier. Upstream: `util.MoreImportantPod`.
fn by_importance(a: &Arc<PodInfo>, b: &Arc<PodInfo>) -> Ordering {
    b.priority.cmp(&a.priority).then_with(|| {
        start_time(&a.pod)
            .timestamp()
            .cmp(&start_time(&b.pod).timestamp())
    })
}

/// The smallest set of pods whose removal makes room, found by removing all and letting the most important stay while it fits.
pub(super) fn select_victims_on_node(
    framework: &Framework,
    cycle: &Cycle<'_>,
    state: &CycleState,
    node: &NodeInfo,
    budgets: &[Arc<PodDisruptionBudget>],
) -> Result<Candidate, Status> {
    let mut what_if = WhatIf {
        framework,
        cycle,
        state: state.clone(),
        node: node.clone(),
    };
    let mut potential: Vec<Arc<PodInfo>> = node
        .pods
        .iter()
        .filter(|other| other.priority < cycle.pod.priority)
        .cloned()
        .collect();
    if potential.is_empty() {
        return Err(Status::unresolvable(
            "No preemption victims found for incoming pod",
        ));
    }
    for pod in &potential {
        what_if.remove(pod)?;
    }
    what_if.fits()?;
    potential.sort_by(by_importance);
    let (violating, others) = split_by_budgets(potential, budgets);
    let mut victims = Vec::new();
    let mut pdb_violations = 0;
    let both = !violating.is_empty() && !others.is_empty();
    for pod in violating {
        if !what_if.reprieve(&pod)? {
            pdb_violations += 1;
            victims.push(pod);
        }
    }
    for pod in others {
        if !what_if.reprieve(&pod)? {
            victims.push(pod);
        }
    }
    if both {
        victims.sort_by(by_importance);
    }
    if victims.is_empty() {
        return Err(Status::error(format!(
            "expected at least one victim pod on node \"{}\"",
            node.name()
        )));
    }
    Ok(Candidate {
        node: node.name().to_owned(),
        victims,
        pdb_violations,
    })
}

struct WhatIf<'a> {
    framework: &'a Framework,
    cycle: &'a Cycle<'a>,
    state: CycleState,
    node: NodeInfo,
}

impl WhatIf<'_> {
    fn remove(&mut self, pod: &Arc<PodInfo>) -> Verdict {
        self.node.remove_pod(pod.uid());
        self.framework
            .run_pre_filter_extension(self.cycle, &mut self.state, pod, &self.node, false)
    }

    fn fits(&self) -> Verdict {
        self.framework
            .run_filter_with_nominated_pods(self.cycle, &self.state, &self.node)
    }

    /// Puts a pod back if the preemptor fits nevertheless.
    fn reprieve(&mut self, pod: &Arc<PodInfo>) -> Result<bool, Status> {
        self.node.add_pod(pod.clone());
        self.framework.run_pre_filter_extension(
            self.cycle,
            &mut self.state,
            pod,
            &self.node,
            true,
        )?;
        let fits = self.fits().is_ok();
        if !fits {
            self.remove(pod)?;
        }
        Ok(fits)
    }
}

/// Those whose removal would break a disruption budget, and the others; order is kept.
fn split_by_budgets(
    pods: Vec<Arc<PodInfo>>,
    budgets: &[Arc<PodDisruptionBudget>],
) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut budgets: Vec<(&PodDisruptionBudget, Selector, i32)> = budgets
        .iter()
        .filter_map(|budget| {
            let selector = Selector::from_label_selector(budget.spec.selector.as_deref()).ok()?;
            (!selector.is_empty() && !selector.is_nothing())
                .then(|| (&**budget, selector, budget.status.disruptions_allowed))
        })
        .collect();
    pods.into_iter().partition(|pod| {
        let meta = &pod.pod.metadata;
        let mut violates = false;
        if meta.labels.is_empty() {
            return false;
        }
        for (budget, selector, allowed) in &mut budgets {
            // A pod that is being evicted already was counted by the budget.
            if budget.metadata.namespace != meta.namespace
                || !selector.matches(&meta.labels)
                || budget.status.disrupted_pods.contains_key(&meta.name)
            {
                continue;
            }
            *allowed -= 1;
            violates |= *allowed < 0;
        }
        violates
    })
}

/// The node that costs least; the first of equals.
pub(super) fn pick_one_node(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().min_by_key(|candidate| {
        let highest = candidate
            .victims
            .first()
            .map_or(i32::MIN, |pod| pod.priority);
        // Shifted, so that many pods of negative priority weigh more than few.
        let sum: i64 = candidate
            .victims
            .iter()
            .map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1)
            .sum();
        let earliest_start = candidate
            .victims
            .iter()
            .filter(|pod| pod.priority == highest)
            .map(|pod| start_time(&pod.pod).timestamp())
            .min();
        (
            candidate.pdb_violations,
            highest,
            sum,
            candidate.victims.len(),
            Reverse(earliest_start),
        )
    })
}
