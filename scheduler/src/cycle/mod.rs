//! Schedules one pod at a time. Upstream: pkg/scheduler/schedule_one.go.
//!
//! The scheduling half (choose a node, assume, reserve, permit) runs on its own thread, in order. The binding half (wait, prepare, bind) runs as a
//! task per pod. A failure in either ends in [`Scheduler::fail`], which gives the pod back to the queue and says why.

/// From an assumed pod to a bound one.
mod binding;
/// Choosing a node.
mod choose;
/// What is done about a pod that could not be scheduled.
mod failure;
/// Writes a pod's conditions.
pub mod status_patch;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use api_types::core::v1::Pod;

use crate::cache::Cache;
use crate::cache::snapshot::Snapshot;
use crate::framework::cycle_state::CycleState;
use crate::framework::diagnosis::FitError;
use crate::framework::handle::Handle;
use crate::framework::plugin::{Cycle, NominatingInfo};
use crate::framework::pod_info::PodInfo;
use crate::framework::runtime::Framework;
use crate::framework::status::{Code, Status};
use crate::queue::{QueuedPodInfo, SchedulingQueue};

/// In this many of a hundred cycles durations of single plugins are recorded. Upstream: `pluginMetricsSamplePercent`.
const PLUGIN_METRICS_SAMPLE_PERCENT: u32 = 10;

/// Why a pod was not scheduled.
#[derive(Clone, Debug)]
pub enum Failure {
    /// There is no node at all.
    NoNodes,
    /// It fits on none.
    Unfit(Box<FitError>),
    /// Something else.
    Error(String),
}

impl Failure {
    fn is_rejection(&self) -> bool {
        !matches!(self, Self::Error(_))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoNodes => f.write_str("no nodes available to schedule pods"),
            Self::Unfit(error) => error.fmt(f),
            Self::Error(error) => f.write_str(error),
        }
    }
}

/// The node a pod goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleResult {
    pub host: String,
    /// How many nodes were looked at.
    pub evaluated_nodes: usize,
    /// How many of them will do.
    pub feasible_nodes: usize,
}

/// What all halves of all cycles share.
pub struct Scheduler {
    pub cache: Arc<Cache>,
    pub queue: Arc<SchedulingQueue>,
    /// By scheduler name.
    pub profiles: HashMap<String, Arc<Framework>>,
    pub handle: Handle,
    /// How many nodes are enough, in percent; zero adapts to the number of nodes.
    pub percentage_of_nodes_to_score: i32,
}

/// What the scheduling thread owns.
#[derive(Default)]
pub struct Worker {
    snapshot: Snapshot,
    /// Where the next search starts, so that all nodes get their turn.
    next_start: usize,
}

/// A pod on its way to a node.
struct Assumed {
    queued: QueuedPodInfo,
    state: CycleState,
    result: ScheduleResult,
    framework: Arc<Framework>,
    start: Instant,
}

impl Scheduler {
    /// Schedules pods until the queue is closed. Blocks: call it on a thread of its own.
    pub fn run(self: &Arc<Self>) {
        let mut worker = Worker::default();
        while let Some(pod) = self.queue.pop() {
            self.schedule_one(&mut worker, pod);
        }
    }

    /// One cycle.
    pub fn schedule_one(self: &Arc<Self>, worker: &mut Worker, queued: QueuedPodInfo) {
        let info = queued.pod.clone();
        let pod = &info.pod;
        let Some(framework) = self.profiles.get(&pod.spec.scheduler_name).cloned() else {
            tracing::error!(
                pod = queued.key,
                profile = pod.spec.scheduler_name,
                "profile not found for scheduler name"
            );
            return self.queue.done(info.uid());
        };
        if self.skip(&framework, pod) {
            return self.queue.done(info.uid());
        }
        tracing::debug!(v = 3, pod = queued.key, "Attempting to schedule pod");
        let start = Instant::now();
        let mut state = CycleState::default();
        state.record_plugin_metrics = rand::random_ratio(PLUGIN_METRICS_SAMPLE_PERCENT, 100);
        self.cache.update_snapshot(&mut worker.snapshot);
        self.observe_cache();
        let chosen = self.choose(worker, &framework, &mut state, &info);
        self.handle
            .metrics
            .scheduling_algorithm_duration
            .observe(start.elapsed().as_secs_f64());
        let result = match chosen {
            Ok(result) => result,
            Err((failure, nominating)) => {
                return self.fail(&framework, queued, failure, nominating, start);
            }
        };
        let mut assumed = Assumed {
            queued,
            state,
            result,
            framework,
            start,
        };
        if let Err(failure) = self.assume_and_permit(&mut assumed) {
            let Assumed {
                queued, framework, ..
            } = assumed;
            return self.fail(&framework, queued, failure, NominatingInfo::clear(), start);
        }
        let scheduler = self.clone();
        self.handle.tasks.spawn(async move {
            let running = scheduler
                .handle
                .metrics
                .goroutines
                .with_label_values(&["binding"]);
            running.inc();
            scheduler.bind_one(assumed).await;
            running.dec();
        });
    }

    /// Whether the pod needs no node any more, or has one already.
    fn skip(&self, framework: &Framework, pod: &Pod) -> bool {
        if pod.metadata.deletion_timestamp.is_some() {
            framework.handle.recorder.event_with(
                &client::object_reference(pod),
                None,
                "Warning",
                "FailedScheduling",
                "Scheduling",
                format!(
                    "skip schedule deleting pod: {}/{}",
                    pod.metadata.namespace, pod.metadata.name
                ),
            );
            return true;
        }
        self.cache.is_assumed(pod)
    }

    /// Chooses a node; if there is none, tries to make room.
    fn choose(
        &self,
        worker: &mut Worker,
        framework: &Framework,
        state: &mut CycleState,
        pod: &Arc<PodInfo>,
    ) -> Result<ScheduleResult, (Failure, Option<NominatingInfo>)> {
        let mut error = match self.schedule_pod(worker, framework, state, pod) {
            Ok(result) => return Ok(result),
            Err(Failure::Unfit(error)) => error,
            Err(failure) => return Err((failure, NominatingInfo::clear())),
        };
        if !framework.has_post_filter_plugins() {
            return Err((Failure::Unfit(error), NominatingInfo::clear()));
        }
        let cycle = Cycle {
            snapshot: &worker.snapshot,
            pod,
        };
        let (nominating, verdict) =
            framework.run_post_filter(&cycle, state, &error.diagnosis.nodes);
        if let Err(status) = verdict {
            error.diagnosis.post_filter_message = status.message();
            if status.code == Code::Error {
                tracing::error!(pod = pod.full_name(), status = %status.message(), "Status after running PostFilter plugins for pod");
            }
        }
        Err((Failure::Unfit(error), nominating))
    }

    /// Takes what the pod needs, in memory.
    fn assume_and_permit(&self, assumed: &mut Assumed) -> Result<(), Failure> {
        let Assumed {
            queued,
            state,
            result,
            framework,
            ..
        } = assumed;
        let (pod, host) = (&queued.pod, &result.host);
        self.cache
            .assume(pod.clone(), host)
            .map_err(|error| Failure::Error(error.to_string()))?;
        self.queue.delete_nominated_pod(pod.uid());
        let verdict = framework.run_reserve(state, pod, host).and_then(|()| {
            match framework.run_permit(state, pod, host) {
                Err(status) if status.code == Code::Wait => Ok(()),
                verdict => verdict,
            }
        });
        verdict.map_err(|status| {
            self.unreserve_and_forget(framework, state, pod, host);
            failure_on_node(host, status)
        })
    }

    fn unreserve_and_forget(
        &self,
        framework: &Framework,
        state: &CycleState,
        pod: &Arc<PodInfo>,
        host: &str,
    ) -> bool {
        framework.run_unreserve(state, pod, host);
        match self.cache.forget(&pod.pod) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(pod = pod.full_name(), %error, "ForgetPod failed");
                false
            }
        }
    }

    fn observe_cache(&self) {
        let sizes = self.cache.sizes();
        let gauge = &self.handle.metrics.cache_size;
        for (type_, size) in [
            ("nodes", sizes.nodes),
            ("pods", sizes.pods),
            ("assumed_pods", sizes.assumed_pods),
        ] {
            gauge.with_label_values(&[type_]).set(size as f64);
        }
    }
}

/// What a status that came up after a node was chosen means.
fn failure_on_node(host: &str, status: Status) -> Failure {
    if !status.is_rejected() {
        return Failure::Error(status.message());
    }
    Failure::Unfit(Box::new(FitError {
        num_all_nodes: 1,
        diagnosis: Framework::single_node_diagnosis(host, &status),
    }))
}
