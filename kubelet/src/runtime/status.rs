//! From CRI's lists and statuses to the kubelet's view of pods.
//!
//! Upstream: `GetPods`, `GetPodStatus` and `toKubeContainerStatus`.

use std::collections::HashMap;

use jiff::Timestamp;

use super::resize::reported_resources;
use super::{Runtime, labels, logs, resources};
use crate::container::{
    ContainerId, PodStatus, RuntimeContainer, RuntimePod, SandboxStatus, State, Status,
};
use crate::cri::{CriError, v1};

fn state_of(state: i32) -> State {
    match v1::ContainerState::try_from(state) {
        Ok(v1::ContainerState::ContainerCreated) => State::Created,
        Ok(v1::ContainerState::ContainerRunning) => State::Running,
        Ok(v1::ContainerState::ContainerExited) => State::Exited,
        _ => State::Unknown,
    }
}

fn sandbox_ready(state: i32) -> bool {
    v1::PodSandboxState::try_from(state) == Ok(v1::PodSandboxState::SandboxReady)
}

fn time(nanoseconds: i64) -> Option<Timestamp> {
    // Zero is CRI's "never".
    if nanoseconds == 0 {
        None
    } else {
        Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()
    }
}

impl Runtime {
    fn selector(uid: Option<&str>) -> HashMap<String, String> {
        uid.map(|uid| (labels::POD_UID.to_owned(), uid.to_owned()))
            .into_iter()
            .collect()
    }

    /// Containers, of one pod or of all, of every state or only running ones.
    pub(crate) async fn containers(
        &self,
        uid: Option<&str>,
        running_only: bool,
    ) -> Result<Vec<v1::Container>, CriError> {
        self.cri
            .list_containers(Some(v1::ContainerFilter {
                label_selector: Self::selector(uid),
                state: running_only.then(|| v1::ContainerStateValue {
                    state: v1::ContainerState::ContainerRunning.into(),
                }),
                ..Default::default()
            }))
            .await
    }

    /// Sandboxes, newest first.
    pub(crate) async fn sandboxes(
        &self,
        uid: Option<&str>,
        ready_only: bool,
    ) -> Result<Vec<v1::PodSandbox>, CriError> {
        let mut sandboxes = self
            .cri
            .list_pod_sandboxes(Some(v1::PodSandboxFilter {
                label_selector: Self::selector(uid),
                state: ready_only.then(|| v1::PodSandboxStateValue {
                    state: v1::PodSandboxState::SandboxReady.into(),
                }),
                ..Default::default()
            }))
            .await?;
        let attempt = |sandbox: &v1::PodSandbox| {
            sandbox
                .metadata
                .as_ref()
                .map_or(0, |metadata| metadata.attempt)
        };
        sandboxes.sort_by(|a, b| {
            (attempt(b), b.created_at)
                .cmp(&(attempt(a), a.created_at))
                .then_with(|| a.id.cmp(&b.id))
        });
        Ok(sandboxes)
    }

    /// Pods by UID. With `all` also what does not run.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn list_pods(
        &self,
        uid: Option<&str>,
        all: bool,
    ) -> Result<HashMap<String, RuntimePod>, CriError> {
        // Taken before the lists: what is in them is at least this new.
        let timestamp = Timestamp::now();
        let mut pods: HashMap<String, RuntimePod> = HashMap::new();
        for sandbox in self.sandboxes(uid, !all).await? {
            let Some(metadata) = &sandbox.metadata else {
                continue;
            };
            let pod = pods
                .entry(metadata.uid.clone())
                .or_insert_with(|| RuntimePod {
                    uid: metadata.uid.clone(),
                    name: metadata.name.clone(),
                    namespace: metadata.namespace.clone(),
                    created_at: sandbox.created_at,
                    containers: Vec::new(),
                    sandboxes: Vec::new(),
                    timestamp,
                });
            pod.created_at = pod.created_at.min(sandbox.created_at);
            pod.sandboxes.push(RuntimeContainer {
                id: ContainerId {
                    runtime: self.name.clone(),
                    id: sandbox.id.clone(),
                },
                name: String::new(),
                state: if sandbox_ready(sandbox.state) {
                    State::Running
                } else {
                    State::Exited
                },
                hash: 0,
                sandbox_id: sandbox.id.clone(),
                image_ref: String::new(),
                created_at: sandbox.created_at,
            });
        }
        let mut containers = self.containers(uid, !all).await?;
        containers.sort_by(|a, b| {
            b.created_at
                .cmp(&a.created_at)
                .then_with(|| a.id.cmp(&b.id))
        });
        for container in containers {
            let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
            let pod_uid = label(labels::POD_UID);
            if pod_uid.is_empty() {
                // Not one of ours: something else uses the runtime too.
                continue;
            }
            let pod = pods.entry(pod_uid.clone()).or_insert_with(|| RuntimePod {
                uid: pod_uid,
                name: label(labels::POD_NAME),
                namespace: label(labels::POD_NAMESPACE),
                created_at: container.created_at,
                containers: Vec::new(),
                sandboxes: Vec::new(),
                timestamp,
            });
            let annotations = labels::read_annotations(&container.annotations);
            pod.containers.push(RuntimeContainer {
                id: ContainerId {
                    runtime: self.name.clone(),
                    id: container.id,
                },
                name: container
                    .metadata
                    .map(|metadata| metadata.name)
                    .unwrap_or_default(),
                state: state_of(container.state),
                hash: annotations.hash,
                sandbox_id: container.pod_sandbox_id,
                image_ref: container.image_ref,
                created_at: container.created_at,
            });
        }
        Ok(pods)
    }

    /// Full state of a pod: one call for each of its sandboxes and containers.
    ///
    /// # Errors
    /// When the runtime does not answer. What is removed meanwhile is left out.
    pub async fn pod_status(&self, pod: &RuntimePod) -> Result<PodStatus, CriError> {
        let mut status = PodStatus::empty(&pod.uid, &pod.name, &pod.namespace, pod.timestamp);
        let mut active_sandbox = None;
        for (index, sandbox) in pod.sandboxes.iter().enumerate() {
            let found = match self.cri.pod_sandbox_status(&sandbox.id.id).await {
                Ok(found) => found,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            let found = sandbox_status(found);
            if index == 0 && found.ready {
                status.ips = sandbox_ips(&found);
                active_sandbox = Some(found.id.clone());
            }
            status.sandboxes.push(found);
        }
        for container in &pod.containers {
            let found = match self.cri.container_status(&container.id.id).await {
                Ok(found) => found,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            let mut found = self.container_status(&found);
            found.sandbox_id.clone_from(&container.sandbox_id);
            if active_sandbox.as_ref() == Some(&container.sandbox_id) {
                status.active_containers.push(found.clone());
            }
            status.containers.push(found);
        }
        let newest_first = |a: &Status, b: &Status| b.created_at.cmp(&a.created_at);
        status.containers.sort_by(newest_first);
        status.active_containers.sort_by(newest_first);
        Ok(status)
    }

    /// State of one container, with its termination message.
    pub(crate) fn container_status(&self, status: &v1::ContainerStatus) -> Status {
        let annotations = labels::read_annotations(&status.annotations);
        let state = state_of(status.state);
        let user = status.user.as_ref().and_then(|user| user.linux.as_ref());
        let reported = status
            .resources
            .as_ref()
            .and_then(|resources| resources.linux.as_ref())
            .and_then(resources::actual_resources);
        let label = |name: &str| status.labels.get(name).map(String::as_str);
        let told = match (label(labels::POD_UID), label(labels::CONTAINER_NAME)) {
            (Some(uid), Some(name)) => self.actuated.container(uid, name),
            _ => None,
        };
        let mut converted = Status {
            id: ContainerId {
                runtime: self.name.clone(),
                id: status.id.clone(),
            },
            name: status
                .labels
                .get(labels::CONTAINER_NAME)
                .cloned()
                .unwrap_or_default(),
            state,
            created_at: time(status.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
            started_at: if state == State::Created {
                None
            } else {
                time(status.started_at)
            },
            finished_at: None,
            exit_code: 0,
            image: status
                .image
                .as_ref()
                .map(|image| image.image.clone())
                .unwrap_or_default(),
            image_ref: status.image_ref.clone(),
            hash: annotations.hash,
            restart_count: annotations.restart_count,
            reason: String::new(),
            message: String::new(),
            resources: reported_resources(reported, told.as_ref()),
            user: user.map(|user| (user.uid, user.gid, user.supplemental_groups.clone())),
            sandbox_id: String::new(),
        };
        if state == State::Exited {
            converted.reason.clone_from(&status.reason);
            converted.message.clone_from(&status.message);
            converted.exit_code = status.exit_code;
            converted.finished_at = time(status.finished_at);
            let fall_back = annotations.termination_message_policy == "FallbackToLogsOnError"
                && status.exit_code != 0
                && status.reason != "ContainerCannotRun";
            let message =
                logs::termination_message(status, &annotations.termination_message_path, fall_back);
            if !message.is_empty() {
                if !converted.message.is_empty() {
                    converted.message.push_str(": ");
                }
                converted.message.push_str(&message);
            }
        }
        converted
    }
}

pub(crate) fn sandbox_status(status: v1::PodSandboxStatus) -> SandboxStatus {
    let namespaces = status
        .linux
        .and_then(|linux| linux.namespaces)
        .and_then(|namespaces| namespaces.options);
    let host_network =
        namespaces.is_some_and(|options| options.network == i32::from(v1::NamespaceMode::Node));
    let network = status.network;
    SandboxStatus {
        id: status.id,
        ready: sandbox_ready(status.state),
        attempt: status.metadata.map_or(0, |metadata| metadata.attempt),
        host_network,
        ip: network.as_ref().map(|network| network.ip.clone()),
        additional_ips: network
            .map(|network| network.additional_ips.into_iter().map(|ip| ip.ip).collect())
            .unwrap_or_default(),
        created_at: status.created_at,
    }
}

/// Addresses of a sandbox; none when one of them is no address.
pub(crate) fn sandbox_ips(sandbox: &SandboxStatus) -> Vec<String> {
    let ips: Vec<String> = sandbox
        .ip
        .iter()
        .filter(|ip| !ip.is_empty())
        .chain(&sandbox.additional_ips)
        .cloned()
        .collect();
    if ips.iter().all(|ip| ip.parse::<std::net::IpAddr>().is_ok()) {
        ips
    } else {
        Vec::new()
    }
}
