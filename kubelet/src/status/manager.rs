//! Keeps the latest status of each pod and brings it to the API server, in order and without repeats.
//!
//! Upstream: `pkg/kubelet/status/status_manager.go`. Invariants: a status never goes back (terminated containers stay
//! terminated, phases stay terminal); the last write for a pod that ends is its deletion, and that happens only when nothing
//! of it can run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::Time;
use api_types::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus,
};
use api_types::meta::v1::{DeleteOptions, PatchOptions, Preconditions};
use apimachinery::patch::strategic::{PatchSchema, create_two_way};
use client::{Client, Patch};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::conditions::{containers_ready, find_condition, is_owned, pod_ready, terminal};
use super::resize::ResizeConditions;
use crate::container::{
    CONTAINER_STATUS_UNKNOWN, ContainerId, MAX_POD_TERMINATION_MESSAGE,
    all_containers_could_restart, container_should_restart, is_sidecar,
};
use crate::metrics::Metrics;
use crate::pod_manager::PodManager;
use crate::sources::{is_mirror_pod, is_static_pod};

/// All statuses are compared with the API this often.
const SYNC_PERIOD: Duration = Duration::from_secs(10);

/// Whether containers of a pod may still run; decides when a terminal phase may be shown.
pub trait DeletionSafety: Send + Sync {
    /// The pod could have running containers.
    fn could_have_running_containers(&self, uid: &str) -> bool;
}

#[derive(Clone)]
struct Versioned {
    status: PodStatus,
    version: u64,
    name: String,
    namespace: String,
    finished: bool,
    since: Instant,
}

/// The status manager.
pub struct StatusManager {
    client: Option<Client>,
    pods: Arc<PodManager>,
    metrics: Arc<Metrics>,
    statuses: Mutex<HashMap<String, Versioned>>,
    /// Version last written, by UID of the pod or of its mirror.
    written: Mutex<HashMap<String, u64>>,
    changed: Notify,
    /// Conditions about resizes.
    pub resize: Arc<ResizeConditions>,
}

fn is_terminal(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

impl StatusManager {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(client: Option<Client>, pods: Arc<PodManager>, metrics: Arc<Metrics>) -> Self {
        StatusManager {
            client,
            pods,
            resize: Arc::new(ResizeConditions::new(metrics.clone())),
            metrics,
            statuses: Mutex::default(),
            written: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The latest status of a pod.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<PodStatus> {
        self.statuses
            .lock()
            .get(uid)
            .map(|versioned| versioned.status.clone())
    }

    /// Sets the status of a pod.
    pub fn set(&self, pod: &Pod, mut status: PodStatus) {
        status.observed_generation = pod.metadata.generation;
        // A pod that is being deleted writes even an equal status: the write may be followed by the deletion.
        let force = pod.metadata.deletion_timestamp.is_some();
        self.update(&mut self.statuses.lock(), pod, status, force, false);
    }

    /// A readiness probe changed its mind.
    pub fn set_container_readiness(&self, pod_uid: &str, container: &ContainerId, ready: bool) {
        let Some(pod) = self.pods.by_uid(pod_uid) else {
            return;
        };
        let mut statuses = self.statuses.lock();
        let Some(old) = statuses.get(pod_uid) else {
            tracing::info!(pod = %pod.metadata.name, %container, "Container readiness changed before pod has synced");
            return;
        };
        let mut status = old.status.clone();
        let Some(found) = find_container(&mut status, &container.to_string()) else {
            tracing::info!(pod = %pod.metadata.name, %container, "Container readiness changed for unknown container");
            return;
        };
        if found.ready == ready {
            return;
        }
        found.ready = ready;
        let all: Vec<ContainerStatus> = status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .cloned()
            .collect();
        let phase = status.phase.clone();
        let pod_condition = pod_ready(&pod, &status.conditions, &all, &phase);
        let containers_condition = containers_ready(&pod, &all, &phase);
        replace_condition(&mut status.conditions, pod_condition);
        replace_condition(&mut status.conditions, containers_condition);
        self.update(&mut statuses, &pod, status, false, false);
    }

    /// A startup probe changed its mind.
    pub fn set_container_startup(&self, pod_uid: &str, container: &ContainerId, started: bool) {
        let Some(pod) = self.pods.by_uid(pod_uid) else {
            return;
        };
        let mut statuses = self.statuses.lock();
        let Some(old) = statuses.get(pod_uid) else {
            return;
        };
        let mut status = old.status.clone();
        let Some(found) = find_container(&mut status, &container.to_string()) else {
            return;
        };
        if found.started == Some(started) {
            return;
        }
        found.started = Some(started);
        self.update(&mut statuses, &pod, status, false, false);
    }

    /// The pod is over and cleaned up: whatever still seems to run does not, and the pod object may go.
    pub fn terminate(&self, pod: &Pod) {
        let mut statuses = self.statuses.lock();
        let mut status = statuses
            .get(&pod.metadata.uid)
            .map_or_else(|| pod.status.clone(), |cached| cached.status.clone());
        let gone = || ContainerState {
            terminated: Some(Box::new(ContainerStateTerminated {
                reason: CONTAINER_STATUS_UNKNOWN.to_owned(),
                message: "The container could not be located when the pod was terminated"
                    .to_owned(),
                exit_code: 137,
                ..Default::default()
            })),
            ..Default::default()
        };
        if has_initialized(pod) {
            for container in status
                .container_statuses
                .iter_mut()
                .filter(|container| container.state.terminated.is_none())
            {
                container.state = gone();
            }
        }
        let started = initialized_count(&status.init_container_statuses);
        for container in status.init_container_statuses[..started]
            .iter_mut()
            .filter(|container| container.state.terminated.is_none())
        {
            container.state = gone();
        }
        // A static pod keeps its phase: it will run again.
        if !is_static_pod(pod) && !is_terminal(&status.phase) {
            status.phase = "Failed".to_owned();
        }
        self.update(&mut statuses, pod, status, true, true);
    }

    fn update(
        &self,
        statuses: &mut HashMap<String, Versioned>,
        pod: &Pod,
        mut status: PodStatus,
        force: bool,
        finished: bool,
    ) {
        let uid = &pod.metadata.uid;
        let cached = statuses.get(uid);
        let mut finished = finished;
        let mirror;
        let old = match cached {
            Some(cached) => {
                finished |= cached.finished && !is_static_pod(pod);
                &cached.status
            }
            None => {
                mirror = self.pods.mirror_of(pod);
                mirror.as_ref().map_or(&pod.status, |mirror| &mirror.status)
            }
        };
        if let Err(error) = check_transition(old, &status, pod) {
            tracing::error!(pod = %pod.metadata.name, %error, "Status update on pod aborted");
            return;
        }
        for type_ in [
            "ContainersReady",
            "Ready",
            "Initialized",
            "PodReadyToStartContainers",
            "PodScheduled",
            "DisruptionTarget",
            "AllContainersRestarting",
        ] {
            update_transition_time(&mut status.conditions, &old.conditions, type_);
        }
        match &old.start_time {
            Some(start) if !start.is_zero() => status.start_time = Some(*start),
            _ => {
                if status.start_time.is_none() {
                    status.start_time = Some(Time::now());
                }
            }
        }
        status.observed_generation = status.observed_generation.max(old.observed_generation);
        normalize(pod, &mut status);
        self.count_terminations(old, &status);
        if cached.is_some() && !force && equal_for_kubelet(old, &status) {
            return;
        }
        let entry = Versioned {
            status,
            version: cached.map_or(1, |cached| cached.version + 1),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            finished,
            since: cached.map_or_else(Instant::now, |cached| cached.since),
        };
        statuses.insert(uid.clone(), entry);
        self.changed.notify_one();
    }

    fn count_terminations(&self, old: &PodStatus, new: &PodStatus) {
        for (old, new, kind) in [
            (
                &old.init_container_statuses,
                &new.init_container_statuses,
                "init_container",
            ),
            (
                &old.container_statuses,
                &new.container_statuses,
                "container",
            ),
            (
                &old.ephemeral_container_statuses,
                &new.ephemeral_container_statuses,
                "ephemeral_container",
            ),
        ] {
            for status in new {
                let Some(ended) = &status.state.terminated else {
                    continue;
                };
                let before = old.iter().find(|old| old.name == status.name);
                if before.is_none_or(|before| before.state.terminated.is_none()) {
                    let code = ended.exit_code.to_string();
                    self.metrics
                        .terminated_containers
                        .with_label_values(&[kind, code.as_str(), ended.reason.as_str()])
                        .inc();
                }
            }
        }
    }

    /// Forgets statuses of pods that are not in the set.
    pub fn remove_orphans(&self, known: &HashSet<String>) {
        self.statuses.lock().retain(|uid, _| known.contains(uid));
        self.resize.retain(known);
    }

    /// Writes statuses until the token ends it.
    pub async fn run(&self, safety: Arc<dyn DeletionSafety>, token: CancellationToken) {
        if self.client.is_none() {
            tracing::info!("Kubernetes client is nil, not starting status manager");
            return;
        }
        let mut ticks = tokio::time::interval(SYNC_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                () = self.changed.notified() => self.sync_batch(&*safety, false).await,
                _ = ticks.tick() => self.sync_batch(&*safety, true).await,
            }
        }
    }

    async fn sync_batch(&self, safety: &dyn DeletionSafety, all: bool) {
        let mirrors = self.pods.mirror_uids();
        let mut updates = Vec::new();
        {
            let statuses = self.statuses.lock();
            let mut written = self.written.lock();
            if all {
                let mirror_uids: HashSet<&String> = mirrors.values().flatten().collect();
                written.retain(|uid, _| statuses.contains_key(uid) || mirror_uids.contains(uid));
            }
            for (uid, versioned) in statuses.iter() {
                let api_uid = match mirrors.get(uid) {
                    // A static pod without a mirror has no status to write to.
                    Some(None) => continue,
                    Some(Some(mirror)) => mirror,
                    None => uid,
                };
                let is_written = written
                    .get(api_uid)
                    .is_some_and(|version| *version >= versioned.version);
                let wanted = if !is_written {
                    true
                } else if !all {
                    false
                } else if self.deletable_now(uid, versioned) {
                    true
                } else if self.needs_reconcile(uid, &versioned.status) {
                    written.remove(api_uid);
                    true
                } else {
                    false
                };
                if wanted {
                    updates.push((uid.clone(), versioned.clone()));
                }
            }
        }
        // Each pod waits for its own answers; several at once, so that one slow write holds up no other.
        let syncs = updates
            .into_iter()
            .map(|(uid, versioned)| async move { self.sync_pod(safety, &uid, versioned).await });
        use futures::StreamExt as _;
        futures::stream::iter(syncs)
            .buffer_unordered(16)
            .collect::<Vec<()>>()
            .await;
    }

    fn deletable_now(&self, uid: &str, versioned: &Versioned) -> bool {
        self.pods
            .by_uid(uid)
            .is_some_and(|pod| can_be_deleted(&pod, versioned.finished))
    }

    fn needs_reconcile(&self, uid: &str, status: &PodStatus) -> bool {
        let Some(mut pod) = self.pods.by_uid(uid) else {
            return false;
        };
        if is_static_pod(&pod) {
            match self.pods.mirror_of(&pod) {
                Some(mirror) => pod = mirror,
                None => return false,
            }
        }
        let mut current = pod.status.clone();
        normalize(&pod, &mut current);
        !equal_for_kubelet(&current, status)
    }

    async fn sync_pod(&self, safety: &dyn DeletionSafety, uid: &str, versioned: Versioned) {
        let Some(client) = &self.client else { return };
        let api = client.namespaced::<Pod>(versioned.namespace.as_str());
        let mut pod = match api.get(&versioned.name).await {
            Ok(pod) => pod,
            Err(error) if error.is_not_found() => return,
            Err(error) => {
                tracing::error!(pod = %versioned.name, namespace = %versioned.namespace, %error, "Failed to get status for pod");
                return;
            }
        };
        if self.pods.translate_uid(&pod.metadata.uid) != uid {
            // Another pod of the same name: ours is gone.
            self.forget(uid);
            return;
        }
        let running = safety.could_have_running_containers(uid);
        let merged = merge_status(&pod, &pod.status, versioned.status.clone(), running);
        match patch_bytes(&pod, &merged) {
            Ok(None) => {}
            Ok(Some(patch)) => {
                match api
                    .patch_status(
                        &versioned.name,
                        &Patch::Strategic(patch),
                        &PatchOptions::default(),
                    )
                    .await
                {
                    Ok(patched) => pod = patched,
                    Err(error) => {
                        tracing::error!(pod = %versioned.name, namespace = %versioned.namespace, %error, "Failed to update status for pod");
                        return;
                    }
                }
            }
            Err(error) => {
                tracing::error!(pod = %versioned.name, %error, "Failed to make a patch of the status of pod");
                return;
            }
        }
        self.metrics
            .pod_status_sync_duration
            .observe(versioned.since.elapsed().as_secs_f64());
        self.written
            .lock()
            .insert(pod.metadata.uid.clone(), versioned.version);
        if let Some(entry) = self
            .statuses
            .lock()
            .get_mut(uid)
            .filter(|entry| entry.version == versioned.version)
        {
            entry.since = Instant::now();
        }
        if can_be_deleted(&pod, versioned.finished) {
            let options = DeleteOptions {
                grace_period_seconds: Some(0),
                // A pod of the same name may have been made meanwhile.
                preconditions: Some(Box::new(Preconditions {
                    uid: Some(pod.metadata.uid.clone()),
                    ..Default::default()
                })),
                ..Default::default()
            };
            if let Err(error) = api.delete(&versioned.name, &options).await {
                tracing::info!(pod = %versioned.name, %error, "Failed to delete status for pod");
                return;
            }
            tracing::debug!(pod = %versioned.name, "Pod fully terminated and removed from etcd");
            self.forget(uid);
        }
    }

    fn forget(&self, uid: &str) {
        self.statuses.lock().remove(uid);
        self.resize.remove(uid);
    }
}

fn can_be_deleted(pod: &Pod, finished: bool) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        && !is_mirror_pod(pod)
        && is_terminal(&pod.status.phase)
        && finished
}

/// The strategic merge patch from the pod's status to another; nothing when they are equal.
fn patch_bytes(pod: &Pod, status: &PodStatus) -> Result<Option<Vec<u8>>, String> {
    let document = |status: &PodStatus, uid: &str| {
        let mut only_status = Pod {
            status: status.clone(),
            ..Default::default()
        };
        only_status.metadata.uid = uid.to_owned();
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(
            &api_types::encode_json(&only_status),
        )
        .map_err(|error| error.to_string())
    };
    if pod.status == *status {
        return Ok(None);
    }
    // The UID is in the patch, so that it fails on another pod of the same name.
    let (before, after) = (
        document(&pod.status, "")?,
        document(status, &pod.metadata.uid)?,
    );
    if before.get("status") == after.get("status") {
        return Ok(None);
    }
    let patch = create_two_way(&before, &after, PatchSchema::of::<Pod>())
        .map_err(|error| error.to_string())?;
    serde_json::to_vec(&patch)
        .map(Some)
        .map_err(|error| error.to_string())
}

fn find_container<'a>(status: &'a mut PodStatus, id: &str) -> Option<&'a mut ContainerStatus> {
    status
        .container_statuses
        .iter_mut()
        .chain(&mut status.init_container_statuses)
        .find(|container| container.container_id == id)
}

pub(crate) fn replace_condition(conditions: &mut Vec<PodCondition>, condition: PodCondition) {
    match conditions
        .iter_mut()
        .find(|old| old.type_ == condition.type_)
    {
        Some(slot) => *slot = condition,
        None => conditions.push(condition),
    }
}

fn update_transition_time(conditions: &mut [PodCondition], old: &[PodCondition], type_: &str) {
    let Some(condition) = conditions
        .iter_mut()
        .find(|condition| condition.type_ == type_)
    else {
        return;
    };
    condition.last_transition_time = match find_condition(old, type_) {
        Some(old) if old.status == condition.status => old.last_transition_time,
        _ => Time::now(),
    };
}

/// Whether the pod got past its init containers, judged by the status in its object.
fn has_initialized(pod: &Pod) -> bool {
    if pod.spec.init_containers.is_empty() {
        return true;
    }
    if pod
        .status
        .container_statuses
        .iter()
        .any(|status| status.last_state.terminated.is_some() || status.state.waiting.is_none())
    {
        return true;
    }
    let (Some(last), Some(container)) = (
        pod.status.init_container_statuses.last(),
        pod.spec.init_containers.last(),
    ) else {
        return false;
    };
    if is_sidecar(container) {
        return last.state.running.is_some() && last.started == Some(true);
    }
    let succeeded = |state: &ContainerState| {
        state
            .terminated
            .as_ref()
            .is_some_and(|ended| ended.exit_code == 0)
    };
    succeeded(&last.last_state) || succeeded(&last.state)
}

/// How many init containers were started: up to the last one with a state; at least the first.
fn initialized_count(statuses: &[ContainerStatus]) -> usize {
    let last = statuses.iter().rposition(|status| {
        status.state.waiting.is_none() || status.last_state.terminated.is_some()
    });
    match last {
        Some(index) => index + 1,
        None => statuses.len().min(1),
    }
}

/// Refuses to bring an ended container back to life in the status.
fn check_transition(old: &PodStatus, new: &PodStatus, pod: &Pod) -> Result<(), String> {
    let spec = &pod.spec;
    if spec.restart_policy == "Always" || all_containers_could_restart(spec) {
        return Ok(());
    }
    let check = |old: &[ContainerStatus],
                 new: &[ContainerStatus],
                 containers: &[api_types::core::v1::Container]| {
        for before in old {
            let Some(ended) = &before.state.terminated else {
                continue;
            };
            let container = containers
                .iter()
                .find(|container| container.name == before.name);
            if container.is_some_and(|container| {
                is_sidecar(container) || container_should_restart(container, spec, ended.exit_code)
            }) {
                continue;
            }
            if new
                .iter()
                .any(|after| after.name == before.name && after.state.terminated.is_none())
            {
                return Err(format!(
                    "terminated container {} attempted illegal transition to non-terminated state",
                    before.name
                ));
            }
        }
        Ok(())
    };
    check(
        &old.container_statuses,
        &new.container_statuses,
        &spec.containers,
    )?;
    check(
        &old.init_container_statuses,
        &new.init_container_statuses,
        &spec.init_containers,
    )
}

/// The form statuses are compared and written in: bounded messages, a fixed order.
fn normalize(pod: &Pod, status: &mut PodStatus) {
    let count = pod.spec.containers.len()
        + pod.spec.init_containers.len()
        + pod.spec.ephemeral_containers.len();
    let limit = MAX_POD_TERMINATION_MESSAGE / count.max(1);
    let all = status
        .container_statuses
        .iter_mut()
        .chain(&mut status.init_container_statuses)
        .chain(&mut status.ephemeral_container_statuses);
    for container in all {
        for state in [&mut container.state, &mut container.last_state] {
            if let Some(ended) = &mut state.terminated
                && ended.message.len() > limit
            {
                let mut end = limit;
                while !ended.message.is_char_boundary(end) {
                    end -= 1;
                }
                ended.message.truncate(end);
            }
        }
    }
    status
        .container_statuses
        .sort_by(|a, b| a.name.cmp(&b.name));
    status
        .ephemeral_container_statuses
        .sort_by(|a, b| a.name.cmp(&b.name));
    let place = |name: &str| {
        pod.spec
            .init_containers
            .iter()
            .position(|container| container.name == name)
    };
    status
        .init_container_statuses
        .sort_by_key(|container| place(&container.name));
}

/// Whether two statuses are equal in what the kubelet writes.
fn equal_for_kubelet(old: &PodStatus, new: &PodStatus) -> bool {
    let ours = |status: &PodStatus| -> HashMap<String, (String, String, String)> {
        status
            .conditions
            .iter()
            .filter(|condition| is_owned(&condition.type_) || condition.type_ == "DisruptionTarget")
            .map(|c| {
                (
                    c.type_.clone(),
                    (c.status.clone(), c.reason.clone(), c.message.clone()),
                )
            })
            .collect()
    };
    if ours(old) != ours(new) {
        return false;
    }
    let mut old = old.clone();
    old.conditions.clone_from(&new.conditions);
    old.resource_claim_statuses
        .clone_from(&new.resource_claim_statuses);
    old.extended_resource_claim_status
        .clone_from(&new.extended_resource_claim_status);
    old.node_allocatable_resource_claim_statuses
        .clone_from(&new.node_allocatable_resource_claim_statuses);
    old == *new
}

/// What may be written: others' conditions stay, and a terminal phase waits until nothing can run.
fn merge_status(
    pod: &Pod,
    old: &PodStatus,
    mut new: PodStatus,
    could_have_running_containers: bool,
) -> PodStatus {
    let becomes_terminal = !is_terminal(&old.phase) && is_terminal(&new.phase);
    let mut conditions: Vec<PodCondition> = old
        .conditions
        .iter()
        .filter(|condition| !is_owned(&condition.type_))
        .cloned()
        .collect();
    let ours = std::mem::take(&mut new.conditions);
    for mut condition in ours {
        if is_owned(&condition.type_) {
            conditions.push(condition);
        } else if condition.type_ == "DisruptionTarget"
            && becomes_terminal
            && !could_have_running_containers
        {
            condition.last_transition_time =
                match find_condition(&old.conditions, "DisruptionTarget") {
                    Some(before) if before.status == condition.status => {
                        before.last_transition_time
                    }
                    _ => Time::now(),
                };
            replace_condition(&mut conditions, condition);
        }
    }
    new.conditions = conditions;
    new.resource_claim_statuses
        .clone_from(&old.resource_claim_statuses);
    new.extended_resource_claim_status
        .clone_from(&old.extended_resource_claim_status);
    new.node_allocatable_resource_claim_statuses
        .clone_from(&old.node_allocatable_resource_claim_statuses);
    if becomes_terminal && could_have_running_containers {
        new.phase.clone_from(&old.phase);
        new.reason.clone_from(&old.reason);
        new.message.clone_from(&old.message);
    }
    if is_terminal(&new.phase) {
        let ready = |type_: &str| {
            find_condition(&new.conditions, type_)
                .is_some_and(|condition| condition.status == "True")
        };
        if ready("Ready") || ready("ContainersReady") {
            for type_ in ["ContainersReady", "Ready"] {
                let mut condition = terminal(pod, type_, &new.phase);
                condition.last_transition_time = Time::now();
                replace_condition(&mut new.conditions, condition);
            }
        }
    }
    new
}

/// Whether a readiness gate changed what the pod's Ready condition should be.
#[must_use]
pub fn needs_readiness_reconcile(pod: &Pod) -> bool {
    if pod.spec.readiness_gates.is_empty() {
        return false;
    }
    let wanted = pod_ready(
        pod,
        &pod.status.conditions,
        &pod.status.container_statuses,
        &pod.status.phase,
    );
    find_condition(&pod.status.conditions, "Ready")
        .is_some_and(|current| current.status != wanted.status || current.message != wanted.message)
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{Container, ContainerStateRunning};

    use super::*;

    fn manager() -> StatusManager {
        StatusManager::new(None, Arc::default(), Metrics::for_tests())
    }

    fn pod() -> Pod {
        let mut pod = Pod::default();
        pod.metadata.uid = "uid".into();
        pod.metadata.name = "pod".into();
        pod.metadata.namespace = "ns".into();
        pod.metadata.generation = 2;
        pod.spec.restart_policy = "Never".into();
        pod.spec.containers = vec![Container {
            name: "c".into(),
            ..Default::default()
        }];
        pod
    }

    fn running() -> PodStatus {
        PodStatus {
            phase: "Running".into(),
            conditions: vec![PodCondition {
                type_: "Ready".into(),
                status: "True".into(),
                ..Default::default()
            }],
            container_statuses: vec![ContainerStatus {
                name: "c".into(),
                ready: true,
                container_id: "fake://1".into(),
                state: ContainerState {
                    running: Some(Box::new(ContainerStateRunning::default())),
                    ..Default::default()
                },
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn ended(code: i32) -> PodStatus {
        let mut status = running();
        status.container_statuses[0].state = ContainerState {
            terminated: Some(Box::new(ContainerStateTerminated {
                exit_code: code,
                ..Default::default()
            })),
            ..Default::default()
        };
        status
    }

    #[test]
    fn equal_statuses_are_not_written_again() {
        let manager = manager();
        let version = |manager: &StatusManager| manager.statuses.lock()["uid"].version;
        manager.set(&pod(), running());
        assert_eq!(version(&manager), 1);
        assert_eq!(manager.get("uid").expect("status").observed_generation, 2);
        manager.set(&pod(), running());
        assert_eq!(version(&manager), 1);
        manager.set(&pod(), ended(0));
        assert_eq!(version(&manager), 2);
    }

    #[test]
    fn the_dead_stay_dead() {
        let manager = manager();
        manager.set(&pod(), ended(0));
        manager.set(&pod(), running());
        assert!(
            manager.get("uid").expect("status").container_statuses[0]
                .state
                .terminated
                .is_some()
        );
        let mut always = pod();
        always.spec.restart_policy = "Always".into();
        manager.set(&always, running());
        assert!(
            manager.get("uid").expect("status").container_statuses[0]
                .state
                .running
                .is_some()
        );
    }

    #[test]
    fn start_and_transition_times_stay() {
        let manager = manager();
        manager.set(&pod(), running());
        let first = manager.get("uid").expect("status");
        assert!(first.start_time.is_some());
        assert!(!first.conditions[0].last_transition_time.is_zero());
        let mut second = running();
        second.reason = "changed".into();
        manager.set(&pod(), second);
        let second = manager.get("uid").expect("status");
        assert_eq!(second.start_time, first.start_time);
        assert_eq!(
            second.conditions[0].last_transition_time,
            first.conditions[0].last_transition_time
        );
    }

    #[test]
    fn terminated_pods_show_no_running_containers() {
        let manager = manager();
        manager.set(&pod(), running());
        manager.terminate(&pod());
        let status = manager.get("uid").expect("status");
        assert_eq!(status.phase, "Failed");
        let ended = status.container_statuses[0]
            .state
            .terminated
            .as_ref()
            .expect("terminated");
        assert_eq!(
            (ended.reason.as_str(), ended.exit_code),
            ("ContainerStatusUnknown", 137)
        );
        assert!(manager.statuses.lock()["uid"].finished);
    }

    #[test]
    fn merging() {
        let condition = |type_: &str, status: &str| PodCondition {
            type_: type_.into(),
            status: status.into(),
            ..Default::default()
        };
        let old = PodStatus {
            phase: "Running".into(),
            conditions: vec![condition("gate", "True"), condition("Ready", "False")],
            ..Default::default()
        };
        let mut new = PodStatus {
            phase: "Failed".into(),
            conditions: vec![condition("Ready", "True")],
            ..Default::default()
        };
        let waits = merge_status(&pod(), &old, new.clone(), true);
        assert_eq!(waits.phase, "Running");
        assert_eq!(waits.conditions.len(), 2);
        assert_eq!(
            find_condition(&waits.conditions, "Ready")
                .expect("ready")
                .status,
            "True"
        );
        let done = merge_status(&pod(), &old, new.clone(), false);
        assert_eq!(done.phase, "Failed");
        assert_eq!(
            find_condition(&done.conditions, "Ready")
                .expect("ready")
                .reason,
            "PodFailed"
        );
        new.conditions.push(condition("gate", "False"));
        // Conditions of others are theirs to write.
        assert_eq!(
            find_condition(&merge_status(&pod(), &old, new, false).conditions, "gate")
                .expect("gate")
                .status,
            "True"
        );
    }

    #[test]
    fn patches_name_the_pod() {
        let mut before = pod();
        before.status = running();
        assert_eq!(patch_bytes(&before, &running()), Ok(None));
        let patch = patch_bytes(&before, &ended(1))
            .expect("patch")
            .expect("a difference");
        let patch: serde_json::Value = serde_json::from_slice(&patch).expect("JSON");
        assert_eq!(patch["metadata"]["uid"], "uid");
        assert_eq!(
            patch["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"],
            1
        );
    }

    #[test]
    fn deletion_waits_for_everything() {
        let mut pod = pod();
        assert!(!can_be_deleted(&pod, true));
        pod.metadata.deletion_timestamp = Some(Time::now());
        assert!(!can_be_deleted(&pod, true), "the phase is not terminal yet");
        pod.status.phase = "Failed".into();
        assert!(can_be_deleted(&pod, true));
        assert!(!can_be_deleted(&pod, false));
    }
}
