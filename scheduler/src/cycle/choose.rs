//! Filters, scores, picks. Upstream: schedule_one.go (`schedulePod` and below).

use std::sync::Arc;
use std::time::Instant;

use super::{Failure, ScheduleResult, Scheduler, Worker};
use crate::framework::cycle_state::CycleState;
use crate::framework::diagnosis::{Diagnosis, FitError};
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::Cycle;
use crate::framework::pod_info::PodInfo;
use crate::framework::runtime::Framework;
use crate::framework::status::{Code, Status};
use crate::plugins::names::EXTENDER;

/// Clusters up to this size are searched whole.
const MIN_FEASIBLE_NODES_TO_FIND: usize = 100;
/// However large the cluster, at least this share of it is searched.
const MIN_FEASIBLE_NODES_PERCENTAGE_TO_FIND: usize = 5;

/// How many nodes that will do are enough. Upstream: `numFeasibleNodesToFind`.
pub(super) fn num_feasible_nodes_to_find(percentage: i32, nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE_NODES_TO_FIND {
        return nodes;
    }
    let percentage = match usize::try_from(percentage) {
        Ok(percentage) if percentage > 0 => percentage,
        _ => 50_usize
            .saturating_sub(nodes / 125)
            .max(MIN_FEASIBLE_NODES_PERCENTAGE_TO_FIND),
    };
    (nodes * percentage / 100).max(MIN_FEASIBLE_NODES_TO_FIND)
}

impl Scheduler {
    /// The best node for the pod.
    pub(super) fn schedule_pod(
        &self,
        worker: &mut Worker,
        framework: &Framework,
        state: &mut CycleState,
        pod: &Arc<PodInfo>,
    ) -> Result<ScheduleResult, Failure> {
        let Worker {
            snapshot,
            next_start,
        } = worker;
        let num_all_nodes = snapshot.nodes().len();
        if num_all_nodes == 0 {
            return Err(Failure::NoNodes);
        }
        let cycle = Cycle { snapshot, pod };
        let mut diagnosis = Diagnosis::default();
        let feasible = self
            .find_nodes_that_fit(&cycle, framework, state, next_start, &mut diagnosis)
            .map_err(Failure::Error)?;
        let evaluated_nodes = feasible.len() + diagnosis.nodes.len();
        let host = match feasible.as_slice() {
            [] => {
                return Err(Failure::Unfit(Box::new(FitError {
                    num_all_nodes,
                    diagnosis,
                })));
            }
            [only] => only.name().to_owned(),
            several => {
                let scores = self
                    .prioritize(&cycle, framework, state, several)
                    .map_err(Failure::Error)?;
                select_host(several, &scores).to_owned()
            }
        };
        Ok(ScheduleResult {
            host,
            evaluated_nodes,
            feasible_nodes: feasible.len(),
        })
    }

    fn find_nodes_that_fit(
        &self,
        cycle: &Cycle<'_>,
        framework: &Framework,
        state: &mut CycleState,
        next_start: &mut usize,
        diagnosis: &mut Diagnosis,
    ) -> Result<Vec<Arc<NodeInfo>>, String> {
        let (names, narrowed_by) = framework.run_pre_filter(cycle, state);
        diagnosis.unschedulable_plugins = narrowed_by.clone();
        let names = match names {
            Ok(names) => names,
            Err(status) if status.is_rejected() => {
                diagnosis.pre_filter_message = status.message();
                diagnosis.add_plugin_status(&status);
                // Preemption looks at this answer for each node.
                diagnosis.nodes.set_absent(status);
                return Ok(Vec::new());
            }
            Err(status) => return Err(status.message()),
        };
        let all = cycle.snapshot.nodes();
        // The promised node is likely the only one, so it is tried alone first.
        let nominated = &cycle.pod().status.nominated_node_name;
        if !nominated.is_empty() {
            match self.evaluate_nominated_node(cycle, framework, state, nominated) {
                Ok(feasible) if !feasible.is_empty() => return Ok(feasible),
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(
                        pod = cycle.pod.full_name(),
                        node = nominated,
                        error,
                        "Evaluation failed on nominated node"
                    );
                }
            }
        }
        let narrowed: Vec<Arc<NodeInfo>>;
        let nodes = match &names {
            None => all,
            Some(names) => {
                narrowed = names
                    .iter()
                    .filter_map(|name| cycle.snapshot.get(name).cloned())
                    .collect();
                let plugins: Vec<&str> = narrowed_by.iter().copied().collect();
                let message = format!("node(s) didn't satisfy plugin(s) [{}]", plugins.join(" "));
                diagnosis.nodes.set_absent(Status::unresolvable(message));
                &narrowed
            }
        };
        let result = self.find_nodes_that_pass_filters(
            cycle,
            framework,
            state,
            nodes,
            *next_start,
            diagnosis,
        );
        let processed = result.as_ref().map_or(0, Vec::len) + diagnosis.nodes.len();
        *next_start = (*next_start + processed) % all.len();
        let feasible = result?;
        let found = feasible.len();
        let feasible = self.find_nodes_that_pass_extenders(cycle, feasible, diagnosis)?;
        if feasible.len() != found {
            diagnosis.unschedulable_plugins.insert(EXTENDER);
        }
        Ok(feasible)
    }

    fn evaluate_nominated_node(
        &self,
        cycle: &Cycle<'_>,
        framework: &Framework,
        state: &CycleState,
        name: &str,
    ) -> Result<Vec<Arc<NodeInfo>>, String> {
        let node = cycle
            .snapshot
            .get(name)
            .ok_or_else(|| format!("nodeinfo not found for node name \"{name}\""))?;
        let nodes = std::slice::from_ref(node);
        let mut diagnosis = Diagnosis::default();
        let feasible =
            self.find_nodes_that_pass_filters(cycle, framework, state, nodes, 0, &mut diagnosis)?;
        self.find_nodes_that_pass_extenders(cycle, feasible, &mut diagnosis)
    }

    fn find_nodes_that_pass_filters(
        &self,
        cycle: &Cycle<'_>,
        framework: &Framework,
        state: &CycleState,
        nodes: &[Arc<NodeInfo>],
        start: usize,
        diagnosis: &mut Diagnosis,
    ) -> Result<Vec<Arc<NodeInfo>>, String> {
        let began = Instant::now();
        let extenders = &self.handle.extenders;
        let ranked = framework.has_score_plugins()
            || extenders.iter().any(|extender| extender.is_prioritizer())
            || extenders.iter().any(|extender| extender.is_filter());
        let wanted = if ranked {
            let percentage = framework
                .percentage_of_nodes_to_score
                .unwrap_or(self.percentage_of_nodes_to_score);
            num_feasible_nodes_to_find(percentage, nodes.len())
        } else {
            1
        };
        let mut feasible = Vec::with_capacity(wanted.min(nodes.len()));
        let mut looked_at = 0;
        let mut result = Ok(());
        for i in 0..nodes.len() {
            if feasible.len() >= wanted {
                break;
            }
            let node = &nodes[(start + i) % nodes.len()];
            looked_at += 1;
            match framework.run_filter_with_nominated_pods(cycle, state, node) {
                Ok(()) => feasible.push(node.clone()),
                Err(status) if status.code == Code::Error => {
                    result = Err(status.message());
                    break;
                }
                Err(status) => {
                    diagnosis.add_plugin_status(&status);
                    diagnosis.nodes.set(node.name(), status);
                }
            }
        }
        let code = if result.is_ok() {
            Code::Success
        } else {
            Code::Error
        };
        framework.count_filter_evaluations(state, looked_at);
        framework.observe_filter(code, began);
        result.map(|()| feasible)
    }

    fn find_nodes_that_pass_extenders(
        &self,
        cycle: &Cycle<'_>,
        mut feasible: Vec<Arc<NodeInfo>>,
        diagnosis: &mut Diagnosis,
    ) -> Result<Vec<Arc<NodeInfo>>, String> {
        for extender in self.handle.extenders.iter() {
            if feasible.is_empty() {
                break;
            }
            if !extender.is_interested(cycle.pod()) {
                continue;
            }
            let asked = self
                .handle
                .tasks
                .block_on(extender.filter(cycle.pod(), &feasible));
            let filtered = match asked {
                Ok(filtered) => filtered,
                Err(error) if extender.is_ignorable() => {
                    tracing::info!(extender = extender.name(), %error, "Skipping extender as it returned error and has ignorable flag set");
                    continue;
                }
                Err(error) => return Err(error.to_string()),
            };
            for (node, message) in &filtered.failed {
                diagnosis
                    .nodes
                    .set(node, Status::unschedulable(message.clone()));
            }
            for (node, message) in &filtered.failed_and_unresolvable {
                diagnosis
                    .nodes
                    .set(node, Status::unresolvable(message.clone()));
            }
            feasible = filtered.nodes;
        }
        Ok(feasible)
    }

    fn prioritize(
        &self,
        cycle: &Cycle<'_>,
        framework: &Framework,
        state: &mut CycleState,
        nodes: &[Arc<NodeInfo>],
    ) -> Result<Vec<i64>, String> {
        let extenders = &self.handle.extenders;
        if extenders.is_empty() && !framework.has_score_plugins() {
            return Ok(vec![1; nodes.len()]);
        }
        framework
            .run_pre_score(cycle, state, nodes)
            .map_err(|status| status.message())?;
        let mut scores = framework
            .run_score(cycle, state, nodes)
            .map_err(|status| status.message())?;
        let interested: Vec<_> = extenders
            .iter()
            .filter(|extender| extender.is_interested(cycle.pod()))
            .collect();
        if interested.is_empty() {
            return Ok(scores);
        }
        let asked = interested
            .iter()
            .map(|extender| extender.prioritize(cycle.pod(), nodes));
        let answers = self.handle.tasks.block_on(futures::future::join_all(asked));
        for (extender, answer) in interested.iter().zip(answers) {
            match answer {
                Ok(points) => {
                    for (node, score) in nodes.iter().zip(&mut scores) {
                        *score += points.get(node.name()).copied().unwrap_or(0);
                    }
                }
                // Others can rank the nodes as well.
                Err(error) => {
                    tracing::debug!(v = 5, extender = extender.name(), %error, "Failed to run extender's priority function. No score given by this extender.");
                }
            }
        }
        Ok(scores)
    }
}

/// The node with the highest score; of equals any one, with equal chances.
fn select_host<'a>(nodes: &'a [Arc<NodeInfo>], scores: &[i64]) -> &'a str {
    let best = scores.iter().max();
    let best: Vec<&Arc<NodeInfo>> = nodes
        .iter()
        .zip(scores)
        .filter(|(_, score)| Some(*score) == best)
        .map(|(node, _)| node)
        .collect();
    match best.len() {
        0 => nodes.first().map_or("", |node| node.name()),
        1 => best[0].name(),
        several => best[rand::random_range(0..several)].name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_nodes_are_enough() {
        #[track_caller]
        fn check(percentage: i32, nodes: usize, expected: usize) {
            assert_eq!(num_feasible_nodes_to_find(percentage, nodes), expected);
        }
        check(0, 10, 10);
        check(40, 10, 10);
        check(0, 1000, 420);
        check(40, 1000, 400);
        check(0, 6000, 300);
        check(40, 6000, 2400);
        check(0, 500, 230);
        check(1, 500, 100);
        check(100, 500, 500);
    }
}
