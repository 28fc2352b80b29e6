//! The kubelet behind the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Pod, PodStatus};
use futures::future::BoxFuture;

use super::host::Host;
use crate::container::RuntimePod;
use crate::cri::{CriError, v1};
use crate::sync_loop::Kubelet;

/// Answers the server from the parts of a kubelet.
pub struct KubeletHost {
    /// The kubelet.
    pub kubelet: Arc<Kubelet>,
    /// Its root folder.
    pub root_dir: PathBuf,
}

impl Host for KubeletHost {
    fn pods(&self) -> Vec<Arc<Pod>> {
        let with_status = |pod: Arc<Pod>| match self.kubelet.status.get(&pod.metadata.uid) {
            Some(status) => Arc::new(Pod {
                status,
                ..(*pod).clone()
            }),
            None => pod,
        };
        self.kubelet
            .pods
            .pods()
            .into_iter()
            .map(with_status)
            .collect()
    }

    fn pod_by_name(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.kubelet.pods.by_name(namespace, name)
    }

    fn pod_status(&self, pod: &Arc<Pod>) -> Result<PodStatus, String> {
        let name = &pod.metadata.name;
        let (own, _, _) = self.kubelet.pods.pod_and_mirror(pod);
        let own =
            own.ok_or_else(|| format!("mirror pod {name:?} does not have a corresponding pod"))?;
        Ok(self
            .kubelet
            .status
            .get(&own.metadata.uid)
            .unwrap_or_else(|| own.status.clone()))
    }

    fn translate_uid(&self, uid: &str) -> String {
        self.kubelet.pods.translate_uid(uid)
    }

    fn running_pods(&self) -> BoxFuture<'_, Result<Vec<RuntimePod>, CriError>> {
        Box::pin(async {
            Ok(self
                .kubelet
                .runtime
                .list_pods(None, false)
                .await?
                .into_values()
                .collect())
        })
    }

    fn container_status<'a>(
        &'a self,
        id: &'a str,
    ) -> BoxFuture<'a, Result<v1::ContainerStatus, CriError>> {
        Box::pin(self.kubelet.runtime.cri().container_status(id))
    }

    fn exec(&self, request: v1::ExecRequest) -> BoxFuture<'_, Result<String, CriError>> {
        Box::pin(self.kubelet.runtime.cri().exec(request))
    }

    fn attach(&self, request: v1::AttachRequest) -> BoxFuture<'_, Result<String, CriError>> {
        Box::pin(self.kubelet.runtime.cri().attach(request))
    }

    fn port_forward<'a>(
        &'a self,
        sandbox: &'a str,
        ports: Vec<i32>,
    ) -> BoxFuture<'a, Result<String, CriError>> {
        Box::pin(self.kubelet.runtime.cri().port_forward(sandbox, ports))
    }

    fn run<'a>(
        &'a self,
        container: &'a str,
        command: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let result = self
                .kubelet
                .runtime
                .run_in_container(container, command, Duration::ZERO)
                .await;
            result.map_err(|error| error.to_string())
        })
    }

    fn checkpoint<'a>(
        &'a self,
        container: &'a str,
        file: &'a str,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<(), CriError>> {
        Box::pin(
            self.kubelet
                .runtime
                .cri()
                .checkpoint_container(container, file, timeout),
        )
    }

    fn checkpoints_dir(&self) -> PathBuf {
        self.root_dir.join("checkpoints")
    }
}
