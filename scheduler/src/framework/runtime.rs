//! Calls the plugins of one profile. Upstream: framework/runtime/framework.go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::core::v1::Pod;

use super::cycle_state::CycleState;
use super::diagnosis::{Diagnosis, NodeToStatus};
use super::event::ClusterEventWithHint;
use super::handle::Handle;
use super::node_info::NodeInfo;
use super::plugin::{
    Bind, Cycle, Filter, Instance, MAX_NODE_SCORE, NodeNames, NominatingInfo, Permit, PostBind,
    PostFilter, PreBind, PreEnqueue, PreFilter, PreScore, QueueSort, Reserve, Score,
};
use super::pod_info::PodInfo;
use super::status::{Code, Status, Verdict, code_of};

/// Plugins of a profile, by extension point, in the order they are called.
#[derive(Clone, Default)]
pub struct ProfilePlugins {
    pub pre_enqueue: Vec<Arc<dyn PreEnqueue>>,
    pub queue_sort: Vec<Arc<dyn QueueSort>>,
    pub pre_filter: Vec<Arc<dyn PreFilter>>,
    pub filter: Vec<Arc<dyn Filter>>,
    pub post_filter: Vec<Arc<dyn PostFilter>>,
    pub pre_score: Vec<Arc<dyn PreScore>>,
    /// With weights.
    pub score: Vec<(Arc<dyn Score>, i64)>,
    pub reserve: Vec<Arc<dyn Reserve>>,
    pub permit: Vec<Arc<dyn Permit>>,
    pub pre_bind: Vec<Arc<dyn PreBind>>,
    pub bind: Vec<Arc<dyn Bind>>,
    pub post_bind: Vec<Arc<dyn PostBind>>,
}

/// A profile, ready to run.
pub struct Framework {
    /// The scheduler name that pods ask for.
    pub profile: String,
    /// How many nodes are enough, in percent; `None` takes the scheduler's.
    pub percentage_of_nodes_to_score: Option<i32>,
    /// What calls plugins needs.
    pub handle: Handle,
    plugins: ProfilePlugins,
    events: Vec<(&'static str, Vec<ClusterEventWithHint>)>,
}

/// Scores of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeScore {
    /// Index into the nodes that were scored.
    pub node: usize,
    /// Weighted sum.
    pub total: i64,
}

/// The longest a pod may wait for Permit, whatever plugins say. Upstream: `maxTimeout`.
const MAX_PERMIT_WAIT: Duration = Duration::from_secs(15 * 60);

impl Framework {
    /// Puts plugins together. `instances` are those the profile uses, for their events.
    pub fn new(
        profile: impl Into<String>,
        percentage_of_nodes_to_score: Option<i32>,
        handle: Handle,
        plugins: ProfilePlugins,
        instances: &[Instance],
    ) -> Self {
        Self {
            profile: profile.into(),
            percentage_of_nodes_to_score,
            handle,
            plugins,
            events: instances
                .iter()
                .map(|instance| (instance.name, instance.events.clone()))
                .collect(),
        }
    }

    /// What plugins registered for.
    pub fn events(&self) -> &[(&'static str, Vec<ClusterEventWithHint>)] {
        &self.events
    }

    /// PreEnqueue plugins.
    pub fn pre_enqueue(&self) -> &[Arc<dyn PreEnqueue>] {
        &self.plugins.pre_enqueue
    }

    /// The plugin that orders the queue.
    pub fn queue_sort(&self) -> Option<&Arc<dyn QueueSort>> {
        self.plugins.queue_sort.first()
    }

    /// Names and weights of plugins that score, in the order they are called.
    pub fn score_plugins(&self) -> impl Iterator<Item = (&'static str, i64)> + '_ {
        self.plugins
            .score
            .iter()
            .map(|(plugin, weight)| (plugin.name(), *weight))
    }

    /// Whether any plugin scores.
    pub fn has_score_plugins(&self) -> bool {
        !self.plugins.score.is_empty()
    }

    /// Whether any plugin filters.
    pub fn has_filter_plugins(&self) -> bool {
        !self.plugins.filter.is_empty()
    }

    /// Whether any plugin makes room.
    pub fn has_post_filter_plugins(&self) -> bool {
        !self.plugins.post_filter.is_empty()
    }

    fn observe_point(&self, point: &str, code: Code, start: Instant) {
        self.handle
            .metrics
            .extension_point_duration
            .with_label_values(&[point, code.as_str(), &self.profile])
            .observe(start.elapsed().as_secs_f64());
    }

    /// Calls a plugin, and notes how long it took if this cycle is a sampled one.
    fn timed<T>(
        &self,
        state_sampled: bool,
        point: &str,
        plugin: &str,
        code: impl Fn(&T) -> Code,
        call: impl FnOnce() -> T,
    ) -> T {
        if !state_sampled {
            return call();
        }
        let start = Instant::now();
        let result = call();
        self.handle
            .metrics
            .plugin_execution_duration
            .with_label_values(&[plugin, point, code(&result).as_str()])
            .observe(start.elapsed().as_secs_f64());
        result
    }

    fn evaluated(&self, plugin: &str, point: &str, times: usize) {
        self.handle
            .metrics
            .plugin_evaluation
            .with_label_values(&[plugin, point, &self.profile])
            .inc_by(times as f64);
    }

    /// PreFilter: which nodes to look at, or a rejection. Also gives the plugins that narrowed the set of nodes.
    pub fn run_pre_filter(
        &self,
        cycle: &Cycle<'_>,
        state: &mut CycleState,
    ) -> (Result<NodeNames, Status>, BTreeSet<&'static str>) {
        let start = Instant::now();
        let (result, plugins) = self.pre_filter(cycle, state);
        let code = result.as_ref().err().map_or(Code::Success, |s| s.code);
        self.observe_point("PreFilter", code, start);
        (result, plugins)
    }

    fn pre_filter(
        &self,
        cycle: &Cycle<'_>,
        state: &mut CycleState,
    ) -> (Result<NodeNames, Status>, BTreeSet<&'static str>) {
        let mut names: NodeNames = None;
        let mut narrowed_by = BTreeSet::new();
        let mut skip = BTreeSet::new();
        let mut rejected: Option<Status> = None;
        for plugin in &self.plugins.pre_filter {
            let name = plugin.name();
            self.evaluated(name, "PreFilter", 1);
            let sampled = state.record_plugin_metrics;
            let result = self.timed(
                sampled,
                "PreFilter",
                name,
                |result: &Result<NodeNames, Status>| {
                    result.as_ref().err().map_or(Code::Success, |s| s.code)
                },
                || plugin.pre_filter(cycle, state),
            );
            match result {
                Ok(None) => {}
                Ok(Some(only)) => {
                    narrowed_by.insert(name);
                    names = Some(match names {
                        None => only,
                        Some(names) => names.intersection(&only).cloned().collect(),
                    });
                    if names.as_ref().is_some_and(BTreeSet::is_empty) {
                        let plugins: Vec<&str> = narrowed_by.iter().copied().collect();
                        let message = if plugins.len() == 1 {
                            format!("node(s) didn't satisfy plugin {}", plugins[0])
                        } else {
                            let plugins = plugins.join(" ");
                            format!("node(s) didn't satisfy plugin(s) [{plugins}] simultaneously")
                        };
                        // As upstream: the plugins that narrowed take the blame, none in particular.
                        return (Err(Status::unresolvable(message)), narrowed_by);
                    }
                }
                Err(status) if status.is_skip() => {
                    skip.insert(name);
                }
                Err(status) => {
                    let status = status.from_plugin(name);
                    if status.code == Code::UnschedulableAndUnresolvable {
                        return (Err(status), BTreeSet::new());
                    }
                    if status.is_rejected() {
                        // Others may turn it down for good, which saves a preemption.
                        rejected = Some(status);
                        continue;
                    }
                    let message =
                        format!("running PreFilter plugin \"{name}\": {}", status.message());
                    return (
                        Err(Status::error(message).from_plugin(name)),
                        BTreeSet::new(),
                    );
                }
            }
        }
        state.skip_filter = skip;
        match rejected {
            Some(status) => (Err(status), narrowed_by),
            None => (Ok(names), narrowed_by),
        }
    }

    /// Tells plugins that a pod is (`added`) or is not on a node in this what-if.
    pub fn run_pre_filter_extension(
        &self,
        cycle: &Cycle<'_>,
        state: &mut CycleState,
        other: &PodInfo,
        node: &NodeInfo,
        added: bool,
    ) -> Verdict {
        for plugin in &self.plugins.pre_filter {
            let name = plugin.name();
            let Some(extensions) = plugin.extensions() else {
                continue;
            };
            if state.skip_filter.contains(name) {
                continue;
            }
            let (verdict, what) = if added {
                (extensions.add_pod(cycle, state, other, node), "AddPod")
            } else {
                (
                    extensions.remove_pod(cycle, state, other, node),
                    "RemovePod",
                )
            };
            verdict.map_err(|status| {
                Status::error(format!(
                    "running {what} on PreFilter plugin \"{name}\": {}",
                    status.message()
                ))
            })?;
        }
        Ok(())
    }

    /// Filter: the first plugin that says no.
    pub fn run_filter(&self, cycle: &Cycle<'_>, state: &CycleState, node: &NodeInfo) -> Verdict {
        for plugin in &self.plugins.filter {
            let name = plugin.name();
            if state.skip_filter.contains(name) {
                continue;
            }
            let verdict = self.timed(state.record_plugin_metrics, "Filter", name, code_of, || {
                plugin.filter(cycle, state, node)
            });
            if let Err(status) = verdict {
                if status.is_rejected() {
                    return Err(status.from_plugin(name));
                }
                let message = format!("running \"{name}\" filter plugin: {}", status.message());
                return Err(Status::error(message).from_plugin(name));
            }
        }
        Ok(())
    }

    /// Counts calls of Filter plugins for one search over that many nodes.
    pub fn count_filter_evaluations(&self, state: &CycleState, nodes: usize) {
        for plugin in &self.plugins.filter {
            if !state.skip_filter.contains(plugin.name()) {
                self.evaluated(plugin.name(), "Filter", nodes);
            }
        }
    }

    /// Observes the duration of Filter over all nodes.
    pub fn observe_filter(&self, code: Code, start: Instant) {
        self.observe_point("Filter", code, start);
    }

    /// Filter, twice if pods of the same or higher priority are nominated to the node: it must hold with them there, since
    /// they may come, and without them, since they may not (affinity to them must not count). Upstream: `RunFilterPluginsWithNominatedPods`.
    pub fn run_filter_with_nominated_pods(
        &self,
        cycle: &Cycle<'_>,
        state: &CycleState,
        node: &NodeInfo,
    ) -> Verdict {
        if let Some((state, node)) = self.with_nominated_pods(cycle, state, node)? {
            self.run_filter(cycle, &state, &node)?;
        }
        self.run_filter(cycle, state, node)
    }

    fn with_nominated_pods(
        &self,
        cycle: &Cycle<'_>,
        state: &CycleState,
        node: &NodeInfo,
    ) -> Result<Option<(CycleState, NodeInfo)>, Status> {
        let Some(queue) = self.handle.queue() else {
            return Ok(None);
        };
        let nominated = queue.nominated_pods_for_node(node.name());
        let mut what_if: Option<(CycleState, NodeInfo)> = None;
        for pod in nominated {
            if pod.priority < cycle.pod.priority || pod.uid() == cycle.pod.uid() {
                continue;
            }
            let (state, node) = what_if.get_or_insert_with(|| (state.clone(), node.clone()));
            node.add_pod(pod.clone());
            self.run_pre_filter_extension(cycle, state, &pod, node, true)?;
        }
        Ok(what_if)
    }

    /// PostFilter: the first plugin that makes room, or is sure that nobody can.
    pub fn run_post_filter(
        &self,
        cycle: &Cycle<'_>,
        state: &CycleState,
        nodes: &NodeToStatus,
    ) -> (Option<NominatingInfo>, Verdict) {
        let start = Instant::now();
        let result = self.post_filter(cycle, state, nodes);
        self.observe_point("PostFilter", code_of(&result.1), start);
        result
    }

    fn post_filter(
        &self,
        cycle: &Cycle<'_>,
        state: &CycleState,
        nodes: &NodeToStatus,
    ) -> (Option<NominatingInfo>, Verdict) {
        let mut result = None;
        let mut reasons = super::status::Reasons::new();
        let mut rejector = "";
        for plugin in &self.plugins.post_filter {
            let name = plugin.name();
            let (info, verdict) = plugin.post_filter(self, cycle, state, nodes);
            match verdict {
                Ok(()) => return (info, Ok(())),
                Err(status) if status.code == Code::UnschedulableAndUnresolvable => {
                    return (info, Err(status.from_plugin(name)));
                }
                Err(status) if !status.is_rejected() => {
                    return (None, Err(Status::error(status.message())));
                }
                Err(status) => {
                    if info.is_some() {
                        result = info;
                    }
                    reasons.extend(status.reasons);
                    if rejector.is_empty() {
                        rejector = name;
                    }
                }
            }
        }
        let status = Status {
            code: Code::Unschedulable,
            reasons,
            plugin: rejector,
        };
        (result, Err(status))
    }

    /// PreScore.
    pub fn run_pre_score(
        &self,
        cycle: &Cycle<'_>,
        state: &mut CycleState,
        nodes: &[Arc<NodeInfo>],
    ) -> Verdict {
        let start = Instant::now();
        let mut skip = BTreeSet::new();
        let mut verdict = Ok(());
        for plugin in &self.plugins.pre_score {
            let name = plugin.name();
            self.evaluated(name, "PreScore", 1);
            let sampled = state.record_plugin_metrics;
            let result = self.timed(sampled, "PreScore", name, code_of, || {
                plugin.pre_score(cycle, state, nodes)
            });
            match result {
                Ok(()) => {}
                Err(status) if status.is_skip() => {
                    skip.insert(name);
                }
                Err(status) => {
                    verdict = Err(Status::error(format!(
                        "running PreScore plugin \"{name}\": {}",
                        status.message()
                    )));
                    break;
                }
            }
        }
        state.skip_score = skip;
        self.observe_point("PreScore", code_of(&verdict), start);
        verdict
    }

    /// Score: normalised, weighted, summed up.
    pub fn run_score(
        &self,
        cycle: &Cycle<'_>,
        state: &CycleState,
        nodes: &[Arc<NodeInfo>],
    ) -> Result<Vec<i64>, Status> {
        let start = Instant::now();
        let result = self.score(cycle, state, nodes);
        let code = result.as_ref().err().map_or(Code::Success, |s| s.code);
        self.observe_point("Score", code, start);
        result
    }

    fn score(
        &self,
        cycle: &Cycle<'_>,
        state: &CycleState,
        nodes: &[Arc<NodeInfo>],
    ) -> Result<Vec<i64>, Status> {
        let mut totals = vec![0_i64; nodes.len()];
        let mut scores = Vec::with_capacity(nodes.len());
        for (plugin, weight) in &self.plugins.score {
            let name = plugin.name();
            if state.skip_score.contains(name) {
                continue;
            }
            self.evaluated(name, "Score", nodes.len());
            scores.clear();
            self.timed(
                state.record_plugin_metrics,
                "Score",
                name,
                code_of,
                || -> Verdict {
                    for node in nodes {
                        scores.push(plugin.score(cycle, state, node)?);
                    }
                    Ok(())
                },
            )
            .map_err(|status| {
                Status::error(format!(
                    "plugin \"{name}\" failed with: {}",
                    status.message()
                ))
            })?;
            plugin
                .normalize(state, nodes, &mut scores)
                .map_err(|status| {
                    Status::error(format!(
                        "normalizing score for plugin \"{name}\": {}",
                        status.message()
                    ))
                })?;
            for (total, score) in totals.iter_mut().zip(&scores) {
                if !(0..=MAX_NODE_SCORE).contains(score) {
                    return Err(Status::error(format!(
                        "plugin \"{name}\" returns an invalid score {score}, it should in the range of [0, {MAX_NODE_SCORE}] after normalizing"
                    )));
                }
                *total += score * weight;
            }
        }
        Ok(totals)
    }

    /// Reserve.
    pub fn run_reserve(&self, state: &mut CycleState, pod: &Arc<PodInfo>, node: &str) -> Verdict {
        let start = Instant::now();
        let mut verdict = Ok(());
        for plugin in &self.plugins.reserve {
            let name = plugin.name();
            if let Err(status) = plugin.reserve(state, pod, node) {
                verdict = Err(if status.is_rejected() {
                    status.from_plugin(name)
                } else {
                    Status::error(format!(
                        "running Reserve plugin \"{name}\": {}",
                        status.message()
                    ))
                });
                break;
            }
        }
        self.observe_point("Reserve", code_of(&verdict), start);
        verdict
    }

    /// Unreserve, in reverse order.
    pub fn run_unreserve(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &str) {
        let start = Instant::now();
        for plugin in self.plugins.reserve.iter().rev() {
            plugin.unreserve(state, pod, node);
        }
        self.observe_point("Unreserve", Code::Success, start);
    }

    /// Permit: `Err` with [`Code::Wait`] after the pod was put among those that wait.
    pub fn run_permit(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &str) -> Verdict {
        let start = Instant::now();
        let verdict = self.permit(state, pod, node);
        self.observe_point("Permit", code_of(&verdict), start);
        verdict
    }

    fn permit(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &str) -> Verdict {
        let mut waits = BTreeMap::new();
        for plugin in &self.plugins.permit {
            let name = plugin.name();
            let (verdict, timeout) = plugin.permit(state, pod, node);
            match verdict {
                Ok(()) => {}
                Err(status) if status.is_rejected() => return Err(status.from_plugin(name)),
                Err(status) if status.code == Code::Wait => {
                    waits.insert(name, timeout.min(MAX_PERMIT_WAIT));
                }
                Err(status) => {
                    return Err(Status::error(format!(
                        "running Permit plugin \"{name}\": {}",
                        status.message()
                    ))
                    .from_plugin(name));
                }
            }
        }
        if waits.is_empty() {
            return Ok(());
        }
        self.handle.unbound.add_waiting(pod.uid(), waits);
        Err(Status::new(
            Code::Wait,
            format!(
                "one or more plugins asked to wait and no plugin rejected pod \"{}\"",
                pod.pod.metadata.name
            ),
        ))
    }

    /// Waits until Permit plugins let the pod go.
    pub async fn wait_on_permit(&self, pod: &Arc<PodInfo>) -> Verdict {
        if self.handle.unbound.waiting(pod.uid()).is_none() {
            return Ok(());
        }
        let start = Instant::now();
        let verdict = self.handle.unbound.wait_on_permit(pod.uid()).await;
        self.handle
            .metrics
            .permit_wait_duration
            .with_label_values(&[code_of(&verdict).as_str()])
            .observe(start.elapsed().as_secs_f64());
        verdict.map_err(|status| {
            if status.is_rejected() {
                return status;
            }
            let message = format!("waiting on permit for pod: {}", status.message());
            Status::error(message).from_plugin(status.plugin)
        })
    }

    /// PreBindPreFlight: `Ok` if some PreBind has work, [`Code::Skip`] if none.
    pub fn run_pre_bind_pre_flight(
        &self,
        state: &mut CycleState,
        pod: &Arc<PodInfo>,
        node: &str,
    ) -> Verdict {
        let mut skip = BTreeSet::new();
        for plugin in &self.plugins.pre_bind {
            let name = plugin.name();
            match plugin.pre_flight(state, pod, node) {
                Ok(()) => {}
                Err(status) if status.is_skip() => {
                    skip.insert(name);
                }
                Err(status) => {
                    return Err(Status::error(format!(
                        "running PreBindPreFlight \"{name}\": {}",
                        status.message()
                    ))
                    .from_plugin(name));
                }
            }
        }
        let nothing_to_do = skip.len() == self.plugins.pre_bind.len();
        state.skip_pre_bind = skip;
        if nothing_to_do {
            return Err(Status::skip());
        }
        Ok(())
    }

    /// PreBind. All plugins with work run at the same time.
    pub async fn run_pre_bind(
        &self,
        state: &CycleState,
        pod: &Arc<PodInfo>,
        node: &str,
    ) -> Verdict {
        let start = Instant::now();
        let working = self
            .plugins
            .pre_bind
            .iter()
            .filter(|plugin| !state.skip_pre_bind.contains(plugin.name()))
            .map(|plugin| async move {
                plugin.pre_bind(state, pod, node).await.map_err(|status| {
                    let name = plugin.name();
                    if status.is_rejected() {
                        status.from_plugin(name)
                    } else {
                        Status::error(format!(
                            "running PreBind plugin \"{name}\": {}",
                            status.message()
                        ))
                    }
                })
            });
        let verdict = futures::future::try_join_all(working).await.map(drop);
        self.observe_point("PreBind", code_of(&verdict), start);
        verdict
    }

    /// Bind: the first plugin that does not skip.
    pub async fn run_bind(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &str) -> Verdict {
        let start = Instant::now();
        let verdict = self.bind(state, pod, node).await;
        self.observe_point("Bind", code_of(&verdict), start);
        verdict
    }

    async fn bind(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &str) -> Verdict {
        for plugin in &self.plugins.bind {
            let name = plugin.name();
            match plugin.bind(state, pod, node).await {
                Err(status) if status.is_skip() => {}
                Ok(()) => return Ok(()),
                Err(status) if status.is_rejected() => return Err(status.from_plugin(name)),
                Err(status) => {
                    return Err(Status::error(format!(
                        "running Bind plugin \"{name}\": {}",
                        status.message()
                    )));
                }
            }
        }
        Err(Status::skip())
    }

    /// PostBind.
    pub fn run_post_bind(&self, state: &CycleState, pod: &Arc<PodInfo>, node: &str) {
        let start = Instant::now();
        for plugin in &self.plugins.post_bind {
            plugin.post_bind(state, pod, node);
        }
        self.observe_point("PostBind", Code::Success, start);
    }

    /// Notes in a diagnosis that a status came up in the binding half, on one node.
    pub fn single_node_diagnosis(node: &str, status: &Status) -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        diagnosis.nodes.set(node, status.clone());
        diagnosis.add_plugin_status(status);
        diagnosis
    }

    /// Whether the profile takes care of a pod.
    pub fn is_responsible_for(&self, pod: &Pod) -> bool {
        pod.spec.scheduler_name == self.profile
    }
}
