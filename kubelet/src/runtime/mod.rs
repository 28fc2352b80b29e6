//! Brings sandboxes and containers of a pod to what its spec says, through CRI.
//!
//! Upstream: `pkg/kubelet/kuberuntime`. Everything here is for one pod at a time and is called by that pod's worker only, so
//! nothing locks. The runtime's own state (labels and annotations of its objects) is the memory, and for resources, which
//! runtimes report in part only, a file.

pub mod actions;
pub mod gc;
mod kill;
pub mod labels;
pub mod log_rotation;
pub mod logs;
pub mod resize;
pub mod resources;
pub mod security;
mod start;
mod status;
mod sync;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Container, Pod};
use futures::future::BoxFuture;

use crate::allocation::{ResizeFeatures, ResourceState};
use crate::cm::ContainerManager;
use crate::container::{ContainerId, ContainerKind, RuntimePod};
use crate::cri::{Cri, CriError, v1};
use crate::events::{Kind, Recorder};
use crate::images::ImageManager;
use crate::metrics::Metrics;
use crate::prober::results::ResultsManager;

pub use resources::ResourceDefaults;

/// Shortest time between the stop signal and the kill, in seconds.
pub const MIN_GRACE_PERIOD_SECONDS: i64 = 2;

/// A mount of a container.
#[derive(Clone, Debug, Default)]
pub struct Mount {
    /// Volume name.
    pub name: String,
    /// Path in the container.
    pub container_path: String,
    /// Path on the node; empty for an image volume.
    pub host_path: String,
    /// No writing.
    pub read_only: bool,
    /// No writing in submounts either.
    pub recursive_read_only: bool,
    /// The runtime relabels it for SELinux.
    pub selinux_relabel: bool,
    /// CRI `MountPropagation`.
    pub propagation: v1::MountPropagation,
    /// Image to mount, for an image volume.
    pub image: Option<v1::ImageSpec>,
    /// Path inside the image.
    pub image_sub_path: String,
}

/// What the node gives a container besides its spec.
#[derive(Clone, Debug, Default)]
pub struct RunContainerOptions {
    /// Environment, all sources resolved.
    pub envs: Vec<(String, String)>,
    /// Volumes and /etc/hosts.
    pub mounts: Vec<Mount>,
    /// Devices, including block volumes.
    pub devices: Vec<v1::Device>,
    /// Devices by CDI name.
    pub cdi_devices: Vec<String>,
    /// Annotations device plugins ask for.
    pub annotations: Vec<(String, String)>,
    /// Folder of the container for its termination message.
    pub container_dir: Option<PathBuf>,
}

/// What the runtime asks the rest of the kubelet. Upstream: `kubecontainer.RuntimeHelper`.
pub trait RuntimeHelper: Send + Sync {
    /// resolv.conf of the pod.
    ///
    /// # Errors
    /// All texts are shown to users.
    fn pod_dns(&self, pod: &Pod) -> Result<v1::DnsConfig, String>;
    /// Host name and domain.
    ///
    /// # Errors
    /// When the pod's names are no DNS names.
    fn hostname_and_domain(&self, pod: &Pod) -> Result<(String, String), String>;
    /// cgroup of the pod, as the runtime wants it.
    fn cgroup_parent(&self, pod: &Pod) -> String;
    /// Groups the pod's volumes need.
    fn extra_supplemental_groups(&self, pod: &Pod) -> Vec<i64>;
    /// User namespace of the pod, if it wants its own.
    ///
    /// # Errors
    /// When the runtime cannot do it.
    fn user_namespace(&self, pod: &Pod) -> Result<Option<v1::UserNamespace>, String>;
    /// Runtime handler of the pod's RuntimeClass; empty for the default.
    ///
    /// # Errors
    /// When there is no such class.
    fn runtime_handler(&self, pod: &Pod) -> Result<String, String>;
    /// Environment, mounts and devices.
    fn run_container_options<'a>(
        &'a self,
        pod: &'a Pod,
        container: &'a Container,
        pod_ips: &'a [String],
        image_volumes: &'a std::collections::HashMap<String, v1::ImageSpec>,
    ) -> BoxFuture<'a, Result<RunContainerOptions, String>>;
    /// The sandbox is up: the pod's status may say so.
    fn on_sandbox_ready<'a>(&'a self, pod: &'a Pod) -> BoxFuture<'a, ()>;
    /// Whether the pod is to end, or has ended.
    fn is_termination_requested(&self, uid: &str) -> bool;
    /// Whether nothing of the pod may remain in the runtime.
    fn should_content_be_removed(&self, uid: &str) -> bool;
    /// Whether the pod's sandboxes and containers may go although the pod object is still there.
    fn should_runtime_be_removed(&self, uid: &str) -> bool;
}

/// Runs lifecycle hooks. Upstream: `lifecycle.HandlerRunner`.
pub trait HookRunner: Send + Sync {
    /// Runs the hook to its end.
    fn run<'a>(
        &'a self,
        id: &'a ContainerId,
        pod: &'a Pod,
        container: &'a Container,
        handler: &'a api_types::core::v1::LifecycleHandler,
    ) -> BoxFuture<'a, Result<(), String>>;
}

/// Settings of the runtime part.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// `podLogsDir`.
    pub pod_logs_dir: PathBuf,
    /// Folder of `Localhost` seccomp profiles.
    pub seccomp_root: PathBuf,
    /// `seccompDefault`.
    pub seccomp_default: bool,
    /// Limits of the node.
    pub resources: ResourceDefaults,
    /// SELinux is on.
    pub selinux: bool,
    /// What may be resized while it runs.
    pub resize: ResizeFeatures,
}

/// The runtime manager.
pub struct Runtime {
    pub(crate) cri: Cri,
    pub(crate) name: String,
    pub(crate) options: RuntimeOptions,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) images: Arc<ImageManager>,
    pub(crate) helper: Arc<dyn RuntimeHelper>,
    pub(crate) hooks: Arc<dyn HookRunner>,
    pub(crate) liveness: Arc<ResultsManager>,
    pub(crate) startup: Arc<ResultsManager>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cm: Arc<ContainerManager>,
    /// What the runtime was told of resources.
    pub(crate) actuated: ResourceState,
}

/// Parts a [`Runtime`] is made of.
pub struct RuntimeParts {
    /// CRI client.
    pub cri: Cri,
    /// Runtime name as its Version call answers, for example `containerd`.
    pub name: String,
    /// Settings.
    pub options: RuntimeOptions,
    /// Events.
    pub recorder: Arc<Recorder>,
    /// Image puller.
    pub images: Arc<ImageManager>,
    /// The rest of the kubelet.
    pub helper: Arc<dyn RuntimeHelper>,
    /// Hooks.
    pub hooks: Arc<dyn HookRunner>,
    /// Liveness results.
    pub liveness: Arc<ResultsManager>,
    /// Startup results.
    pub startup: Arc<ResultsManager>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// cgroups of pods.
    pub cm: Arc<ContainerManager>,
    /// What the runtime was told of resources.
    pub actuated: ResourceState,
}

impl Runtime {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: RuntimeParts) -> Self {
        let RuntimeParts {
            cri,
            name,
            options,
            recorder,
            images,
            helper,
            hooks,
            liveness,
            startup,
            metrics,
            cm,
            actuated,
        } = parts;
        Runtime {
            cri,
            name,
            options,
            recorder,
            images,
            helper,
            hooks,
            liveness,
            startup,
            metrics,
            cm,
            actuated,
        }
    }

    /// Name of the runtime, the first part of container ids.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The CRI client, for streaming and stats.
    #[must_use]
    pub fn cri(&self) -> &Cri {
        &self.cri
    }

    fn container_event(
        &self,
        pod: &Pod,
        container: (&str, ContainerKind),
        id: &str,
        kind: Kind,
        reason: &str,
        message: &str,
    ) {
        self.recorder
            .container(pod, container, id, kind, reason, message);
    }

    /// Runs a command in a container; answers what it wrote.
    ///
    /// # Errors
    /// With the exit code when the command failed, or when the runtime did.
    pub async fn run_in_container(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<Vec<u8>, ExecError> {
        let response = self.cri.exec_sync(id, command, timeout).await?;
        let mut output = response.stdout;
        output.extend_from_slice(&response.stderr);
        if response.exit_code == 0 {
            Ok(output)
        } else {
            Err(ExecError::Exit {
                code: response.exit_code,
                output,
            })
        }
    }

    /// Newest sandbox of a pod.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn newest_sandbox(&self, uid: &str) -> Result<Option<String>, CriError> {
        Ok(self
            .sandboxes(Some(uid), false)
            .await?
            .first()
            .map(|sandbox| sandbox.id.clone()))
    }

    /// The pod as the runtime has it now; nothing when it has nothing.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn pod(&self, uid: &str) -> Result<Option<RuntimePod>, CriError> {
        Ok(self.list_pods(Some(uid), true).await?.into_values().next())
    }
}

/// A command in a container that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It ended with another code than zero.
    #[error("command exited with {code}")]
    Exit {
        /// Exit code.
        code: i32,
        /// What it wrote.
        output: Vec<u8>,
    },
    /// The runtime could not run it, or it took too long.
    #[error(transparent)]
    Runtime(#[from] CriError),
}
