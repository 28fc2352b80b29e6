//! Probes: one worker per container and kind of probe.
//!
//! Upstream: `pkg/kubelet/prober`. Readiness decides the pod's Ready condition; liveness and startup failures kill the
//! container at the next sync. A restarted kubelet does not flip what was ready before.

pub mod http;
pub mod results;
mod run;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::core::v1::{Container, ContainerStatus, Pod, PodStatus, Probe};
use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::results::{ProbeResult, ResultsManager};
use self::run::{Outcome, run_probe};
use crate::container::{
    ContainerId, container_should_restart, find_container_spec, is_sidecar,
    should_all_containers_restart,
};
use crate::events::{Kind, Recorder};
use crate::metrics::Metrics;
use crate::runtime::Runtime;
use crate::status::StatusManager;

/// A probe that could not be made is tried again at once this often.
const MAX_RETRIES: usize = 3;

/// Kinds of probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// Does it live?
    Liveness,
    /// May it get traffic?
    Readiness,
    /// Has it started?
    Startup,
}

impl ProbeKind {
    const ALL: [ProbeKind; 3] = [
        ProbeKind::Startup,
        ProbeKind::Readiness,
        ProbeKind::Liveness,
    ];

    fn label(self) -> &'static str {
        match self {
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Startup => "Startup",
        }
    }

    fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            ProbeKind::Liveness => container.liveness_probe.as_deref(),
            ProbeKind::Readiness => container.readiness_probe.as_deref(),
            ProbeKind::Startup => container.startup_probe.as_deref(),
        }
    }

    /// What counts before the first probe.
    fn initial(self) -> ProbeResult {
        match self {
            ProbeKind::Liveness => ProbeResult::Success,
            ProbeKind::Readiness => ProbeResult::Failure,
            ProbeKind::Startup => ProbeResult::Unknown,
        }
    }
}

type Key = (String, String, ProbeKind);

struct Handle {
    token: CancellationToken,
    trigger: Arc<Notify>,
}

/// All probe workers.
pub struct ProbeManager {
    runtime: Arc<Runtime>,
    status: Arc<StatusManager>,
    recorder: Arc<Recorder>,
    metrics: Arc<Metrics>,
    /// Liveness results.
    pub liveness: Arc<ResultsManager>,
    /// Readiness results.
    pub readiness: Arc<ResultsManager>,
    /// Startup results.
    pub startup: Arc<ResultsManager>,
    workers: RwLock<HashMap<Key, Handle>>,
    started: Timestamp,
    started_instant: Instant,
    token: CancellationToken,
}

struct Worker {
    manager: Arc<ProbeManager>,
    pod: Arc<Pod>,
    container: Container,
    kind: ProbeKind,
    id: Option<ContainerId>,
    on_hold: bool,
    last: ProbeResult,
    run: i32,
}

impl ProbeManager {
    /// No workers yet.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts are independent and named alike at the only call"
    )]
    pub fn new(
        runtime: Arc<Runtime>,
        status: Arc<StatusManager>,
        recorder: Arc<Recorder>,
        metrics: Arc<Metrics>,
        liveness: Arc<ResultsManager>,
        readiness: Arc<ResultsManager>,
        startup: Arc<ResultsManager>,
        token: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(ProbeManager {
            runtime,
            status,
            recorder,
            metrics,
            liveness,
            readiness,
            startup,
            workers: RwLock::default(),
            started: Timestamp::now(),
            started_instant: Instant::now(),
            token,
        })
    }

    fn results(&self, kind: ProbeKind) -> &ResultsManager {
        match kind {
            ProbeKind::Liveness => &self.liveness,
            ProbeKind::Readiness => &self.readiness,
            ProbeKind::Startup => &self.startup,
        }
    }

    /// Starts the workers of a pod that do not run yet.
    pub fn add_pod(self: &Arc<Self>, pod: &Arc<Pod>) {
        let sidecars = pod
            .spec
            .init_containers
            .iter()
            .filter(|container| is_sidecar(container));
        for container in pod.spec.containers.iter().chain(sidecars) {
            for kind in ProbeKind::ALL {
                if kind.of(container).is_none() {
                    continue;
                }
                let key = (pod.metadata.uid.clone(), container.name.clone(), kind);
                let mut workers = self.workers.write();
                if workers.contains_key(&key) {
                    continue;
                }
                let token = self.token.child_token();
                let trigger = Arc::new(Notify::new());
                workers.insert(
                    key.clone(),
                    Handle {
                        token: token.clone(),
                        trigger: trigger.clone(),
                    },
                );
                let worker = Worker {
                    manager: self.clone(),
                    pod: pod.clone(),
                    container: container.clone(),
                    kind,
                    id: None,
                    on_hold: false,
                    last: ProbeResult::Unknown,
                    run: 0,
                };
                tokio::spawn(worker.run(key, token, trigger));
            }
        }
    }

    /// Ends liveness and startup probes of a pod that is being stopped.
    pub fn stop_liveness_and_startup(&self, pod: &Pod) {
        for ((uid, _, kind), handle) in self.workers.read().iter() {
            if *uid == pod.metadata.uid && *kind != ProbeKind::Readiness {
                handle.token.cancel();
            }
        }
    }

    /// Ends all probes of a pod.
    pub fn remove_pod(&self, pod: &Pod) {
        for ((uid, _, _), handle) in self.workers.read().iter() {
            if *uid == pod.metadata.uid {
                handle.token.cancel();
            }
        }
    }

    /// Ends probes of pods that are not in the set.
    pub fn cleanup(&self, running: &HashSet<String>) {
        for ((uid, _, _), handle) in self.workers.read().iter() {
            if !running.contains(uid) {
                handle.token.cancel();
            }
        }
    }

    fn trigger(&self, uid: &str, container: &str, kind: ProbeKind) -> bool {
        match self
            .workers
            .read()
            .get(&(uid.to_owned(), container.to_owned(), kind))
        {
            Some(handle) => {
                handle.trigger.notify_one();
                true
            }
            None => false,
        }
    }

    fn has_worker(&self, uid: &str, container: &str, kind: ProbeKind) -> bool {
        self.workers
            .read()
            .contains_key(&(uid.to_owned(), container.to_owned(), kind))
    }

    /// Whether the container ran before this kubelet started.
    fn ran_before(&self, status: &ContainerStatus) -> bool {
        status.state.running.as_ref().is_some_and(|running| {
            !running.started_at.is_zero()
                && running.started_at.timestamp() < self.started - Duration::from_secs(10)
        })
    }

    fn is_started(&self, pod: &Pod, status: &ContainerStatus) -> bool {
        if status.state.running.is_none() {
            return false;
        }
        let result = ContainerId::parse(&status.container_id).and_then(|id| self.startup.get(&id));
        if let Some(result) = result {
            return result == ProbeResult::Success;
        }
        if status.started == Some(true) && self.ran_before(status) {
            return true;
        }
        !self.has_worker(&pod.metadata.uid, &status.name, ProbeKind::Startup)
    }

    fn is_ready(&self, pod: &Pod, status: &ContainerStatus, container: Option<&Container>) -> bool {
        if status.state.running.is_none() {
            return false;
        }
        let result =
            ContainerId::parse(&status.container_id).and_then(|id| self.readiness.get(&id));
        if result == Some(ProbeResult::Success) {
            return true;
        }
        // No probe, no doubt. With one: ask it now rather than at its next turn.
        let mut ready = !self.trigger(&pod.metadata.uid, &status.name, ProbeKind::Readiness);
        if self.ran_before(status) {
            if !ready && result.is_none() {
                ready = true;
            }
            let pod_ready = pod
                .status
                .conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True");
            if container.is_some_and(|container| container.readiness_probe.is_some()) && !pod_ready
            {
                ready = false;
            }
        }
        ready
    }

    /// Fills `started` and `ready` of all containers in.
    pub fn update_pod_status(&self, pod: &Pod, status: &mut PodStatus) {
        for container in &mut status.container_statuses {
            let started = self.is_started(pod, container);
            container.started = Some(started);
            if started {
                let spec = pod
                    .spec
                    .containers
                    .iter()
                    .find(|spec| spec.name == container.name);
                container.ready = self.is_ready(pod, container, spec);
            }
        }
        for container in &mut status.init_container_statuses {
            let started = self.is_started(pod, container);
            container.started = Some(started);
            let Some(spec) = pod
                .spec
                .init_containers
                .iter()
                .find(|spec| spec.name == container.name)
            else {
                continue;
            };
            if is_sidecar(spec) {
                if started {
                    container.ready = self.is_ready(pod, container, Some(spec));
                }
            } else if container
                .state
                .terminated
                .as_ref()
                .is_some_and(|ended| ended.exit_code == 0)
            {
                container.ready = true;
            }
        }
    }
}

impl Worker {
    fn probe(&self) -> &Probe {
        self.kind
            .of(&self.container)
            .expect("a worker is made for a probe that exists")
    }

    async fn run(mut self, key: Key, token: CancellationToken, trigger: Arc<Notify>) {
        let period = Duration::from_secs(
            u64::try_from(self.probe().period_seconds)
                .unwrap_or(10)
                .max(1),
        );
        // After a restart of the kubelet all containers would be probed at once: spread them over their period.
        if period > self.manager.started_instant.elapsed() {
            let delay = period.mul_f64(rand::random());
            tokio::select! {
                () = token.cancelled() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            let keep_going = tokio::select! {
                () = token.cancelled() => false,
                keep_going = self.step() => keep_going,
            };
            if !keep_going {
                break;
            }
            tokio::select! {
                () = token.cancelled() => break,
                _ = ticks.tick() => {}
                () = trigger.notified() => ticks.reset(),
            }
        }
        if let Some(id) = &self.id {
            self.manager.results(self.kind).remove(id);
        }
        self.manager.workers.write().remove(&key);
        let metadata = &self.pod.metadata;
        for result in ["successful", "failed", "unknown"] {
            // Absent labels are no failure.
            let _ = self.manager.metrics.probe_total.remove_label_values(&[
                self.kind.label(),
                result,
                self.container.name.as_str(),
                metadata.name.as_str(),
                metadata.namespace.as_str(),
                metadata.uid.as_str(),
            ]);
        }
    }

    fn set(&self, result: ProbeResult) {
        if let Some(id) = &self.id {
            self.manager
                .results(self.kind)
                .set(id, result, &self.pod.metadata.uid);
        }
    }

    /// One turn. Answers whether there will be another.
    async fn step(&mut self) -> bool {
        let Some(status) = self.manager.status.get(&self.pod.metadata.uid) else {
            return true;
        };
        if matches!(status.phase.as_str(), "Failed" | "Succeeded") {
            return false;
        }
        let of_container = |list: &[ContainerStatus]| {
            list.iter()
                .find(|found| found.name == self.container.name && !found.container_id.is_empty())
                .cloned()
        };
        let Some(found) = of_container(&status.container_statuses)
            .or_else(|| of_container(&status.init_container_statuses))
        else {
            return true;
        };
        let id = ContainerId::parse(&found.container_id);
        if self.id != id {
            if let Some(old) = &self.id {
                self.manager.results(self.kind).remove(old);
            }
            self.id = id;
            let ran_before = self.manager.ran_before(&found);
            if self.kind == ProbeKind::Startup
                && is_sidecar(&self.container)
                && found.started == Some(true)
            {
                self.set(ProbeResult::Success);
            }
            if !ran_before {
                self.set(self.kind.initial());
            }
            self.on_hold = false;
        }
        if self.on_hold {
            return true;
        }
        let Some(running) = &found.state.running else {
            self.set(ProbeResult::Failure);
            return match &found.state.terminated {
                None => true,
                Some(ended) => {
                    let empty =
                        crate::container::PodStatus::empty("", "", "", Timestamp::UNIX_EPOCH);
                    container_should_restart(&self.container, &self.pod.spec, ended.exit_code)
                        || should_all_containers_restart(&self.pod, &empty, &status)
                }
            };
        };
        let deleted = self.pod.metadata.deletion_timestamp.is_some();
        if deleted && self.kind != ProbeKind::Readiness {
            self.set(ProbeResult::Success);
            return false;
        }
        let age = Timestamp::now()
            .duration_since(running.started_at.timestamp())
            .as_secs();
        if age < i64::from(self.probe().initial_delay_seconds) {
            return true;
        }
        // Startup gates the others, and is over once it succeeded.
        if (found.started == Some(true)) == (self.kind == ProbeKind::Startup) {
            return true;
        }
        let Some(result) = self.probe_once(&status).await else {
            return true;
        };
        if self.last == result {
            self.run += 1;
        } else {
            self.last = result;
            self.run = 1;
        }
        let threshold = match result {
            ProbeResult::Failure => self.probe().failure_threshold,
            _ => self.probe().success_threshold,
        };
        if self.run < threshold {
            return true;
        }
        self.set(result);
        if self.kind == ProbeKind::Startup
            || (self.kind == ProbeKind::Liveness && result == ProbeResult::Failure)
        {
            // The container will be replaced, or the probe is done: nothing to ask before there is a new one.
            self.on_hold = true;
            self.run = 0;
        }
        true
    }

    /// Probes, with retries of probes that could not be made. Nothing when even that failed.
    async fn probe_once(&self, status: &PodStatus) -> Option<ProbeResult> {
        let id = self.id.as_ref()?;
        let start = Instant::now();
        let mut outcome = Outcome::Error(String::new());
        for _ in 0..MAX_RETRIES {
            outcome = run_probe(
                &self.manager.runtime,
                self.probe(),
                &self.pod,
                &self.container,
                id,
                &status.pod_ip,
            )
            .await;
            if !matches!(outcome, Outcome::Error(_)) {
                break;
            }
        }
        let label = self.kind.label();
        let event = |reason: &str, message: &str| {
            let kind = find_container_spec(&self.pod.spec, &self.container.name)
                .map_or(crate::container::ContainerKind::Regular, |(_, kind)| kind);
            self.manager.recorder.container(
                &self.pod,
                (&self.container.name, kind),
                "",
                Kind::Warning,
                reason,
                message,
            );
        };
        let result = match outcome {
            Outcome::Success => ProbeResult::Success,
            Outcome::Warning(output) => {
                event("ProbeWarning", &format!("{label} probe warning: {output}"));
                ProbeResult::Success
            }
            Outcome::Failure(output) => {
                event("Unhealthy", &format!("{label} probe failed: {output}"));
                ProbeResult::Failure
            }
            Outcome::Error(error) => {
                event(
                    "Unhealthy",
                    &format!("{label} probe errored and resulted in unknown state: {error}"),
                );
                return None;
            }
        };
        let metadata = &self.pod.metadata;
        let names = [
            self.container.name.as_str(),
            metadata.name.as_str(),
            metadata.namespace.as_str(),
        ];
        let word = if result == ProbeResult::Success {
            "successful"
        } else {
            "failed"
        };
        self.manager
            .metrics
            .probe_total
            .with_label_values(&[
                label,
                word,
                names[0],
                names[1],
                names[2],
                metadata.uid.as_str(),
            ])
            .inc();
        if result == ProbeResult::Success {
            self.manager
                .metrics
                .probe_duration
                .with_label_values(&[label, names[0], names[1], names[2]])
                .observe(start.elapsed().as_secs_f64());
        }
        Some(result)
    }
}
