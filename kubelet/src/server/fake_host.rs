//! A kubelet of a few pods, for tests of the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Pod, PodStatus};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::host::Host;
use crate::container::{ContainerId, RuntimeContainer, RuntimePod, State};
use crate::cri::{CriError, v1};

#[derive(Default)]
pub(super) struct FakeHost {
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) url: String,
    pub(super) log_path: PathBuf,
    pub(super) running: bool,
    pub(super) refuse: Option<tonic::Status>,
    pub(super) asked: Mutex<Vec<String>>,
}

impl FakeHost {
    fn stream(&self, asked: String) -> BoxFuture<'_, Result<String, CriError>> {
        self.asked.lock().push(asked);
        let result = match &self.refuse {
            Some(status) => Err(CriError {
                operation: "exec",
                status: status.clone(),
            }),
            None => Ok(self.url.clone()),
        };
        Box::pin(async move { result })
    }
}

fn running(name: &str, id: &str) -> RuntimeContainer {
    RuntimeContainer {
        id: ContainerId {
            runtime: "containerd".to_owned(),
            id: id.to_owned(),
        },
        name: name.to_owned(),
        state: State::Running,
        hash: 0,
        sandbox_id: "sandbox".to_owned(),
        image_ref: String::new(),
        created_at: 0,
    }
}

impl Host for FakeHost {
    fn pods(&self) -> Vec<Arc<Pod>> {
        self.pods.clone()
    }

    fn pod_by_name(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.pods
            .iter()
            .find(|pod| pod.metadata.namespace == namespace && pod.metadata.name == name)
            .cloned()
    }

    fn pod_status(&self, pod: &Arc<Pod>) -> Result<PodStatus, String> {
        Ok(pod.status.clone())
    }

    fn translate_uid(&self, uid: &str) -> String {
        uid.to_owned()
    }

    fn running_pods(&self) -> BoxFuture<'_, Result<Vec<RuntimePod>, CriError>> {
        let pods = self
            .pods
            .iter()
            .map(|pod| RuntimePod {
                uid: pod.metadata.uid.clone(),
                name: pod.metadata.name.clone(),
                namespace: pod.metadata.namespace.clone(),
                created_at: 0,
                containers: pod
                    .spec
                    .containers
                    .iter()
                    .filter(|c| c.name != "down")
                    .map(|c| running(&c.name, &format!("id-{}", c.name)))
                    .collect(),
                sandboxes: vec![running("", "sandbox")],
                timestamp: jiff::Timestamp::UNIX_EPOCH,
            })
            .collect();
        Box::pin(async move { Ok(pods) })
    }

    fn container_status<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<v1::ContainerStatus, CriError>> {
        let state = if self.running {
            v1::ContainerState::ContainerRunning
        } else {
            v1::ContainerState::ContainerExited
        };
        let log_path = self.log_path.to_string_lossy().into_owned();
        Box::pin(async move {
            Ok(v1::ContainerStatus {
                state: state.into(),
                log_path,
                ..Default::default()
            })
        })
    }

    fn exec(&self, request: v1::ExecRequest) -> BoxFuture<'_, Result<String, CriError>> {
        self.stream(format!(
            "exec {} {:?} stdin={} tty={}",
            request.container_id, request.cmd, request.stdin, request.tty
        ))
    }

    fn attach(&self, request: v1::AttachRequest) -> BoxFuture<'_, Result<String, CriError>> {
        self.stream(format!(
            "attach {} tty={}",
            request.container_id, request.tty
        ))
    }

    fn port_forward<'a>(
        &'a self,
        sandbox: &'a str,
        ports: Vec<i32>,
    ) -> BoxFuture<'a, Result<String, CriError>> {
        self.stream(format!("port-forward {sandbox} {ports:?}"))
    }

    fn run<'a>(
        &'a self,
        container: &'a str,
        command: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async move { Ok(format!("{container}: {}", command.join("|")).into_bytes()) })
    }

    fn checkpoint<'a>(
        &'a self,
        container: &'a str,
        file: &'a str,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<(), CriError>> {
        self.asked
            .lock()
            .push(format!("checkpoint {container} {file} {timeout:?}"));
        Box::pin(async { Ok(()) })
    }

    fn checkpoints_dir(&self) -> PathBuf {
        PathBuf::from("/var/lib/kubelet/checkpoints")
    }
}
