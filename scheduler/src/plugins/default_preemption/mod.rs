//! Makes room for a pod by removing pods of lower priority. Upstream: plugins/defaultpreemption, framework/preemption.

mod candidates;
mod executor;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::core::v1::Pod;
use api_types::kube_scheduler_config::v1::DefaultPreemptionArgs;

use self::candidates::{Candidate, pick_one_node};
use self::executor::Executor;
use crate::extender::Extender;
use crate::framework::cycle_state::CycleState;
use crate::framework::diagnosis::{Diagnosis, FitError, NodeToStatus};
use crate::framework::event::{Action, ClusterEventWithHint, EventResource, Hint};
use crate::framework::handle::Handle;
use crate::framework::node_info::NodeInfo;
use crate::framework::plugin::{Cycle, NominatingInfo, Plugin, PostFilter, PreEnqueue};
use crate::framework::runtime::Framework;
use crate::framework::status::{Code, Status, Verdict};

pub struct DefaultPreemption {
    min_candidate_nodes_percentage: usize,
    min_candidate_nodes_absolute: usize,
    handle: Handle,
    executor: Arc<Executor>,
}

impl DefaultPreemption {
    /// As configured.
    pub fn new(args: &DefaultPreemptionArgs, handle: Handle) -> Self {
        let number = |value: Option<i32>| usize::try_from(value.unwrap_or(0)).unwrap_or(0);
        Self {
            min_candidate_nodes_percentage: number(args.min_candidate_nodes_percentage),
            min_candidate_nodes_absolute: number(args.min_candidate_nodes_absolute),
            executor: Arc::new(Executor::new(handle.clone())),
            handle,
        }
    }

    fn num_candidates(&self, nodes: usize) -> usize {
        (nodes * self.min_candidate_nodes_percentage / 100)
            .max(self.min_candidate_nodes_absolute)
            .min(nodes)
    }

    /// Whether the pod may preempt others now; `Err` says why not.
    fn check_eligible(
        &self,
        cycle: &Cycle<'_>,
        pod: &Pod,
        nodes: &NodeToStatus,
    ) -> Result<(), &'static str> {
        if pod.spec.preemption_policy.as_deref() == Some("Never") {
            return Err("not eligible due to preemptionPolicy=Never.");
        }
        let nominated = &pod.status.nominated_node_name;
        if nominated.is_empty() || nodes.get(nominated).code == Code::UnschedulableAndUnresolvable {
            return Ok(());
        }
        let waiting_for_victims = cycle.snapshot.get(nominated).is_some_and(|node| {
            node.pods.iter().any(|other| {
                other.priority < cycle.pod.priority && is_terminating_by_preemption(&other.pod)
            })
        });
        if waiting_for_victims {
            return Err("not eligible due to a terminating pod on the nominated node.");
        }
        Ok(())
    }

    fn preempt(
        &self,
        framework: &Framework,
        cycle: &Cycle<'_>,
        state: &CycleState,
        nodes: &NodeToStatus,
    ) -> (Option<NominatingInfo>, Verdict) {
        let meta = &cycle.pod().metadata;
        let Some(pod) = self.handle.listers.pods.get_in(&meta.namespace, &meta.name) else {
            let message = format!("pod \"{}\" not found", meta.name);
            return (None, Err(Status::error(message)));
        };
        if let Err(why) = self.check_eligible(cycle, &pod, nodes) {
            return (None, Err(Status::unschedulable(why)));
        }
        let potential: Vec<&Arc<NodeInfo>> = cycle
            .snapshot
            .nodes()
            .iter()
            .filter(|node| nodes.get(node.name()).code == Code::Unschedulable)
            .collect();
        let (found, statuses) = self.dry_run(framework, cycle, state, &potential);
        if found.is_empty() {
            let mut diagnosis = Diagnosis {
                nodes: statuses,
                ..Diagnosis::default()
            };
            diagnosis.nodes.set_absent(Status::unresolvable(
                "Preemption is not helpful for scheduling",
            ));
            let error = FitError {
                num_all_nodes: cycle.snapshot.nodes().len(),
                diagnosis,
            };
            return (
                NominatingInfo::clear(),
                Err(Status::unschedulable(error.to_string())),
            );
        }
        let found = match self.ask_extenders(cycle, found) {
            Ok(found) => found,
            Err(error) => return (None, Err(Status::error(error))),
        };
        let Some(best) = pick_one_node(found) else {
            return (
                None,
                Err(Status::unschedulable("no candidate node for preemption")),
            );
        };
        tracing::info!(
            node = best.node,
            pod = cycle.pod.full_name(),
            victims = best.victims.len(),
            "the target node for the preemption is determined"
        );
        let info = NominatingInfo {
            node: best.node.clone(),
        };
        self.executor.clone().prepare_candidate_async(best, pod);
        (Some(info), Ok(()))
    }

    fn dry_run(
        &self,
        framework: &Framework,
        cycle: &Cycle<'_>,
        state: &CycleState,
        potential: &[&Arc<NodeInfo>],
    ) -> (Vec<Candidate>, NodeToStatus) {
        let mut statuses = NodeToStatus::default();
        if potential.is_empty() {
            return (Vec::new(), statuses);
        }
        let budgets = self.handle.listers.pod_disruption_budgets.list();
        let offset = rand::random_range(0..potential.len());
        let wanted = self.num_candidates(potential.len());
        let (mut clean, mut violating) = (Vec::new(), Vec::new());
        for i in 0..potential.len() {
            let node = potential[(offset + i) % potential.len()];
            match candidates::select_victims_on_node(framework, cycle, state, node, &budgets) {
                Ok(candidate) if candidate.pdb_violations == 0 => clean.push(candidate),
                Ok(candidate) => violating.push(candidate),
                Err(status) => statuses.set(node.name(), status),
            }
            if !clean.is_empty() && clean.len() + violating.len() >= wanted {
                break;
            }
        }
        clean.extend(violating);
        (clean, statuses)
    }

    fn ask_extenders(
        &self,
        cycle: &Cycle<'_>,
        mut found: Vec<Candidate>,
    ) -> Result<Vec<Candidate>, String> {
        for extender in self.handle.extenders.iter() {
            if !extender.supports_preemption() || !extender.is_interested(cycle.pod()) {
                continue;
            }
            let asked = self.ask_extender(extender, cycle, &found);
            match asked {
                Ok(answer) => found = answer,
                Err(error) if extender.is_ignorable() => {
                    tracing::info!(extender = extender.name(), %error, "Skipped extender as it returned error and has ignorable flag set");
                }
                Err(error) => return Err(error.to_string()),
            }
            if found.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    fn ask_extender(
        &self,
        extender: &Extender,
        cycle: &Cycle<'_>,
        found: &[Candidate],
    ) -> Result<Vec<Candidate>, String> {
        let victims: Vec<(String, Vec<Arc<Pod>>, i64)> = found
            .iter()
            .map(|candidate| {
                let pods = candidate.victims.iter().map(|pod| pod.pod.clone());
                (
                    candidate.node.clone(),
                    pods.collect(),
                    candidate.pdb_violations,
                )
            })
            .collect();
        let answer = self
            .handle
            .tasks
            .block_on(extender.process_preemption(cycle.pod(), &victims))
            .map_err(|error| error.to_string())?;
        let mut candidates = Vec::new();
        for (node_name, uids, pdb_violations) in answer {
            let node = cycle
                .snapshot
                .get(&node_name)
                .ok_or_else(|| format!("nodeinfo not found for node name \"{node_name}\""))?;
            if uids.is_empty() {
                if extender.is_ignorable() {
                    continue;
                }
                return Err(format!(
                    "expected at least one victim pod on node \"{node_name}\""
                ));
            }
            let victims = uids
                .iter()
                .map(|uid| {
                    let pod = node.pods.iter().find(|pod| pod.uid() == uid).cloned();
                    pod.ok_or_else(|| format!("extender: {} claims to preempt pod (UID: {uid}) on node: {node_name}, but the pod is not found on that node", extender.name()))
                })
                .collect::<Result<Vec<_>, String>>()?;
            candidates.push(Candidate {
                node: node_name,
                victims,
                pdb_violations,
            });
        }
        Ok(candidates)
    }
}

fn is_terminating_by_preemption(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        && pod.status.conditions.iter().any(|condition| {
            condition.type_ == "DisruptionTarget"
                && condition.status == "True"
                && condition.reason == "PreemptionByScheduler"
        })
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        super::names::DEFAULT_PREEMPTION
    }

    fn events(self: Arc<Self>) -> Vec<ClusterEventWithHint> {
        // Only so that PreEnqueue runs again when a victim is gone; whether the pod fits is for the plugins that turned it down to say.
        vec![ClusterEventWithHint::hinted(
            EventResource::Pod,
            Action::DELETE,
            |_, _| Ok(Hint::Skip),
        )]
    }
}

impl PreEnqueue for DefaultPreemption {
    fn pre_enqueue(&self, pod: &Pod) -> Verdict {
        if self.executor.is_running(&pod.metadata.uid) {
            return Err(Status::unresolvable(
                "waiting for the preemption for this pod to be finished",
            ));
        }
        Ok(())
    }
}

impl PostFilter for DefaultPreemption {
    fn post_filter(
        &self,
        framework: &Framework,
        cycle: &Cycle<'_>,
        state: &CycleState,
        nodes: &NodeToStatus,
    ) -> (Option<NominatingInfo>, Verdict) {
        let (info, verdict) = self.preempt(framework, cycle, state, nodes);
        self.handle.metrics.preemption_attempts.inc();
        let verdict = verdict.map_err(|status| {
            let message = status.message();
            if message.is_empty() {
                status
            } else {
                Status::new(status.code, format!("preemption: {message}"))
            }
        });
        (info, verdict)
    }
}
