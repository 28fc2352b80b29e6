//! The kubelet's own view of what the runtime runs: pods, containers, states, and what a sync of a pod did.
//!
//! Upstream: `pkg/kubelet/container`. These types hold facts only; `runtime` fills them from CRI, everything else reads them.

mod expansion;
mod hash;
mod restart;
mod sync_result;

use std::fmt;

use api_types::core::v1::{Container, EphemeralContainer, Pod, PodSpec};
use jiff::Timestamp;

pub use expansion::{expand, expand_with};
pub use hash::hash_container;
pub use restart::{
    all_containers_could_restart, all_containers_restart_cleaned_up, container_should_restart,
    find_matching_restart_rule, is_container_restartable, is_sidecar,
    should_all_containers_restart, should_container_be_restarted,
};
pub use sync_result::{PodSyncResult, StartError, SyncAction, SyncResult};

/// Reason of a container whose end nobody saw.
pub const CONTAINER_STATUS_UNKNOWN: &str = "ContainerStatusUnknown";
/// Longest termination message read from the file, in bytes.
pub const MAX_TERMINATION_MESSAGE: usize = 4096;
/// Longest termination message taken from the log, in bytes.
pub const MAX_TERMINATION_MESSAGE_LOG: usize = 2048;
/// Lines of log a termination message may have.
pub const MAX_TERMINATION_MESSAGE_LOG_LINES: usize = 80;
/// Termination messages of all containers of a pod together, in bytes.
pub const MAX_POD_TERMINATION_MESSAGE: usize = 12 * 1024;

/// A container or sandbox of one runtime; prints as `containerd://<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ContainerId {
    /// Runtime name, as the Version call gave it.
    pub runtime: String,
    /// Id in the runtime.
    pub id: String,
}

impl ContainerId {
    /// Reads `containerd://<id>`, with or without quotes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (runtime, id) = text.trim_matches('"').split_once("://")?;
        Some(ContainerId {
            runtime: runtime.to_owned(),
            id: id.to_owned(),
        })
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.runtime, self.id)
    }
}

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Made, never started.
    Created,
    /// Its process lives.
    Running,
    /// Its process ended.
    Exited,
    /// The runtime cannot say.
    Unknown,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Created => "created",
            State::Running => "running",
            State::Exited => "exited",
            State::Unknown => "unknown",
        })
    }
}

/// A container in a list of the runtime; less than [`Status`] and cheaper to get.
#[derive(Clone, Debug)]
pub struct RuntimeContainer {
    /// Identity.
    pub id: ContainerId,
    /// Name in the pod's spec; empty for a sandbox.
    pub name: String,
    /// State at the time of the list.
    pub state: State,
    /// Spec hash the container was made with.
    pub hash: u64,
    /// Sandbox it lives in.
    pub sandbox_id: String,
    /// Image it was made from, as the runtime names it.
    pub image_ref: String,
    /// Nanoseconds since 1970.
    pub created_at: i64,
}

/// Everything of one pod in the runtime, from one list.
#[derive(Clone, Debug)]
pub struct RuntimePod {
    /// Pod UID.
    pub uid: String,
    /// Pod name.
    pub name: String,
    /// Pod namespace.
    pub namespace: String,
    /// Creation of the oldest part, nanoseconds since 1970.
    pub created_at: i64,
    /// Containers of every state (or the running ones, when the list asked for those).
    pub containers: Vec<RuntimeContainer>,
    /// Sandboxes as containers, newest first.
    pub sandboxes: Vec<RuntimeContainer>,
    /// When the list was made.
    pub timestamp: Timestamp,
}

impl RuntimePod {
    /// A pod object with nothing but identity, for messages about pods whose spec is gone.
    #[must_use]
    pub fn to_api_pod(&self) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.uid.clone_from(&self.uid);
        pod.metadata.name.clone_from(&self.name);
        pod.metadata.namespace.clone_from(&self.namespace);
        pod.spec.containers = self
            .containers
            .iter()
            .map(|container| Container {
                name: container.name.clone(),
                ..Default::default()
            })
            .collect();
        pod
    }
}

/// CPU and memory the runtime reports for a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActualResources {
    /// From cpu shares, in milli-CPU.
    pub cpu_request: Option<i64>,
    /// From quota and period, in milli-CPU.
    pub cpu_limit: Option<i64>,
    /// In bytes; what the runtime was told.
    pub memory_request: Option<i64>,
    /// In bytes.
    pub memory_limit: Option<i64>,
}

/// State of one container, as the runtime knows it.
#[derive(Clone, Debug)]
pub struct Status {
    /// Identity.
    pub id: ContainerId,
    /// Name in the pod's spec.
    pub name: String,
    /// What it does.
    pub state: State,
    /// Creation.
    pub created_at: Timestamp,
    /// Start; none before it started.
    pub started_at: Option<Timestamp>,
    /// End; none before it ended.
    pub finished_at: Option<Timestamp>,
    /// Exit code, once it ended.
    pub exit_code: i32,
    /// Image name.
    pub image: String,
    /// Image reference (digest), shown as `imageID` in pod statuses.
    pub image_ref: String,
    /// Spec hash the container was made with.
    pub hash: u64,
    /// Restarts before this container.
    pub restart_count: i32,
    /// Short reason of its end, such as `Completed`, `Error`, `OOMKilled`.
    pub reason: String,
    /// Longer text, including the termination message.
    pub message: String,
    /// Resources in effect, when the runtime reports them.
    pub resources: Option<ActualResources>,
    /// uid, gid and groups of the first process, when the runtime reports them.
    pub user: Option<(i64, i64, Vec<i64>)>,
    /// Sandbox the container belongs to; empty when unknown.
    pub sandbox_id: String,
}

/// State of a sandbox.
#[derive(Clone, Debug)]
pub struct SandboxStatus {
    /// Id in the runtime.
    pub id: String,
    /// Whether it is ready.
    pub ready: bool,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// Whether it uses the node's network namespace.
    pub host_network: bool,
    /// First address; none for the node's network, empty when the runtime lost it.
    pub ip: Option<String>,
    /// Further addresses.
    pub additional_ips: Vec<String>,
    /// Creation, nanoseconds since 1970.
    pub created_at: i64,
}

/// Everything the runtime knows about one pod.
#[derive(Clone, Debug)]
pub struct PodStatus {
    /// Pod UID.
    pub uid: String,
    /// Pod name.
    pub name: String,
    /// Pod namespace.
    pub namespace: String,
    /// Addresses of the ready sandbox.
    pub ips: Vec<String>,
    /// Containers, newest first; several per name.
    pub containers: Vec<Status>,
    /// Containers of the ready sandbox, newest first.
    pub active_containers: Vec<Status>,
    /// Sandboxes, newest first.
    pub sandboxes: Vec<SandboxStatus>,
    /// The status is at least as new as this.
    pub timestamp: Timestamp,
}

impl PodStatus {
    /// A status that knows nothing.
    #[must_use]
    pub fn empty(uid: &str, name: &str, namespace: &str, timestamp: Timestamp) -> Self {
        PodStatus {
            uid: uid.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            ips: Vec::new(),
            containers: Vec::new(),
            active_containers: Vec::new(),
            sandboxes: Vec::new(),
            timestamp,
        }
    }

    /// Newest container of that name.
    #[must_use]
    pub fn find_container(&self, name: &str) -> Option<&Status> {
        self.containers.iter().find(|status| status.name == name)
    }

    /// Containers that run.
    #[must_use]
    pub fn running(&self) -> Vec<&Status> {
        self.containers
            .iter()
            .filter(|status| status.state == State::Running)
            .collect()
    }

    /// The part of the pod that must be stopped to end it: running containers and all sandboxes.
    #[must_use]
    pub fn to_running_pod(&self) -> RuntimePod {
        RuntimePod {
            uid: self.uid.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            created_at: 0,
            containers: self
                .containers
                .iter()
                .filter(|status| status.state == State::Running)
                .map(|status| RuntimeContainer {
                    id: status.id.clone(),
                    name: status.name.clone(),
                    state: status.state,
                    hash: status.hash,
                    sandbox_id: status.sandbox_id.clone(),
                    image_ref: status.image_ref.clone(),
                    created_at: 0,
                })
                .collect(),
            sandboxes: self
                .sandboxes
                .iter()
                .map(|sandbox| RuntimeContainer {
                    id: ContainerId {
                        runtime: String::new(),
                        id: sandbox.id.clone(),
                    },
                    name: String::new(),
                    state: if sandbox.ready {
                        State::Running
                    } else {
                        State::Exited
                    },
                    hash: 0,
                    sandbox_id: sandbox.id.clone(),
                    image_ref: String::new(),
                    created_at: sandbox.created_at,
                })
                .collect(),
            timestamp: self.timestamp,
        }
    }
}

/// A container of a pod, of any of the three lists.
///
/// An ephemeral container has the fields of a container but is another type in the API.
#[must_use]
pub fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let common = &ephemeral.ephemeral_container_common;
    Container {
        name: common.name.clone(),
        image: common.image.clone(),
        command: common.command.clone(),
        args: common.args.clone(),
        working_dir: common.working_dir.clone(),
        ports: common.ports.clone(),
        env_from: common.env_from.clone(),
        env: common.env.clone(),
        resources: common.resources.clone(),
        resize_policy: common.resize_policy.clone(),
        restart_policy: common.restart_policy.clone(),
        restart_policy_rules: common.restart_policy_rules.clone(),
        volume_mounts: common.volume_mounts.clone(),
        volume_devices: common.volume_devices.clone(),
        liveness_probe: common.liveness_probe.clone(),
        readiness_probe: common.readiness_probe.clone(),
        startup_probe: common.startup_probe.clone(),
        lifecycle: common.lifecycle.clone(),
        termination_message_path: common.termination_message_path.clone(),
        termination_message_policy: common.termination_message_policy.clone(),
        image_pull_policy: common.image_pull_policy.clone(),
        security_context: common.security_context.clone(),
        stdin: common.stdin,
        stdin_once: common.stdin_once,
        tty: common.tty,
    }
}

/// All containers of a pod: init, regular, ephemeral.
#[must_use]
pub fn all_containers(spec: &PodSpec) -> Vec<std::borrow::Cow<'_, Container>> {
    use std::borrow::Cow;
    let plain = spec
        .init_containers
        .iter()
        .chain(&spec.containers)
        .map(Cow::Borrowed);
    plain
        .chain(
            spec.ephemeral_containers
                .iter()
                .map(|container| Cow::Owned(as_container(container))),
        )
        .collect()
}

/// Which list of the pod a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    /// `spec.containers`.
    Regular,
    /// `spec.initContainers`.
    Init,
    /// `spec.ephemeralContainers`.
    Ephemeral,
}

impl ContainerKind {
    /// Value of the `container_type` metric label.
    #[must_use]
    pub fn metric_label(self) -> &'static str {
        match self {
            ContainerKind::Regular => "container",
            ContainerKind::Init => "init_container",
            ContainerKind::Ephemeral => "ephemeral_container",
        }
    }
}

/// The container of that name with its kind, from any of the three lists.
#[must_use]
pub fn find_container_spec(spec: &PodSpec, name: &str) -> Option<(Container, ContainerKind)> {
    if let Some(container) = spec
        .containers
        .iter()
        .find(|container| container.name == name)
    {
        return Some((container.clone(), ContainerKind::Regular));
    }
    if let Some(container) = spec
        .init_containers
        .iter()
        .find(|container| container.name == name)
    {
        return Some((container.clone(), ContainerKind::Init));
    }
    spec.ephemeral_containers
        .iter()
        .find(|container| container.ephemeral_container_common.name == name)
        .map(|container| (as_container(container), ContainerKind::Ephemeral))
}

/// Field path of a container in events, for example `spec.containers{web}`.
#[must_use]
pub fn field_path(name: &str, kind: ContainerKind) -> String {
    match kind {
        ContainerKind::Regular => format!("spec.containers{{{name}}}"),
        ContainerKind::Init => format!("spec.initContainers{{{name}}}"),
        ContainerKind::Ephemeral => format!("spec.ephemeralContainers{{{name}}}"),
    }
}

/// Whether any container asks to be privileged.
#[must_use]
pub fn has_privileged_container(spec: &PodSpec) -> bool {
    let privileged = |context: &Option<Box<api_types::core::v1::SecurityContext>>| {
        context
            .as_ref()
            .and_then(|context| context.privileged)
            .unwrap_or(false)
    };
    spec.containers
        .iter()
        .chain(&spec.init_containers)
        .any(|container| privileged(&container.security_context))
        || spec
            .ephemeral_containers
            .iter()
            .any(|container| privileged(&container.ephemeral_container_common.security_context))
}

/// Whether a regular container of the ready sandbox runs or ran: the pod is past its init containers in this sandbox.
#[must_use]
pub fn has_any_active_regular_container_started(spec: &PodSpec, status: &PodStatus) -> bool {
    spec.containers.iter().any(|container| {
        status.active_containers.iter().any(|active| {
            active.name == container.name && matches!(active.state, State::Running | State::Exited)
        })
    })
}

/// Whether any regular container was made, in whatever sandbox.
#[must_use]
pub fn has_any_regular_container_created(spec: &PodSpec, status: &PodStatus) -> bool {
    spec.containers.iter().any(|container| {
        status.find_container(&container.name).is_some_and(|found| {
            matches!(found.state, State::Created | State::Running | State::Exited)
        })
    })
}

/// `name_namespace(uid)`, the way upstream names pods in messages.
#[must_use]
pub fn pod_desc(pod: &Pod) -> String {
    format!(
        "{}_{}({})",
        pod.metadata.name, pod.metadata.namespace, pod.metadata.uid
    )
}

/// `name_namespace`: one value for a static pod and its mirror.
#[must_use]
pub fn pod_full_name(pod: &Pod) -> String {
    format!("{}_{}", pod.metadata.name, pod.metadata.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids() {
        let id = ContainerId::parse("containerd://abc").expect("valid");
        assert_eq!(id.to_string(), "containerd://abc");
        assert_eq!(ContainerId::parse("abc"), None);
    }
}
