//! What the server asks the rest of the kubelet. Upstream: `HostInterface`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Pod, PodStatus};
use futures::future::BoxFuture;
use http::StatusCode;

use crate::container::RuntimePod;
use crate::cri::{CriError, v1};

/// A stream that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The container or pod does not run.
    #[error("{0}")]
    NotFound(String),
    /// The runtime refused.
    #[error(transparent)]
    Runtime(#[from] CriError),
}

impl StreamError {
    /// The status of the answer. A container that does not run is a 500, as upstream.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            StreamError::NotFound(_) => StatusCode::INTERNAL_SERVER_ERROR,
            StreamError::Runtime(error) => match error.status.code() {
                tonic::Code::NotFound => StatusCode::NOT_FOUND,
                tonic::Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}

/// The kubelet as the server sees it.
pub trait Host: Send + Sync {
    /// Pods to run, with the statuses the kubelet has for them.
    fn pods(&self) -> Vec<Arc<Pod>>;

    /// The pod of that name.
    fn pod_by_name(&self, namespace: &str, name: &str) -> Option<Arc<Pod>>;

    /// The status of a pod the kubelet has, or the one in the pod.
    ///
    /// # Errors
    /// For the mirror of a static pod that is gone.
    fn pod_status(&self, pod: &Arc<Pod>) -> Result<PodStatus, String>;

    /// The UID the runtime knows a pod by.
    fn translate_uid(&self, uid: &str) -> String;

    /// Pods the runtime has running.
    fn running_pods(&self) -> BoxFuture<'_, Result<Vec<RuntimePod>, CriError>>;

    /// State of a container.
    fn container_status<'a>(
        &'a self,
        id: &'a str,
    ) -> BoxFuture<'a, Result<v1::ContainerStatus, CriError>>;

    /// URL of the runtime's streaming server for a command.
    fn exec(&self, request: v1::ExecRequest) -> BoxFuture<'_, Result<String, CriError>>;

    /// The same for the process of a container.
    fn attach(&self, request: v1::AttachRequest) -> BoxFuture<'_, Result<String, CriError>>;

    /// The same for ports of a sandbox.
    fn port_forward<'a>(
        &'a self,
        sandbox: &'a str,
        ports: Vec<i32>,
    ) -> BoxFuture<'a, Result<String, CriError>>;

    /// Runs a command; answers what it wrote.
    fn run<'a>(
        &'a self,
        container: &'a str,
        command: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<u8>, String>>;

    /// Has the runtime write a checkpoint of a container into a file.
    fn checkpoint<'a>(
        &'a self,
        container: &'a str,
        file: &'a str,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<(), CriError>>;

    /// Folder of checkpoints.
    fn checkpoints_dir(&self) -> PathBuf;
}
