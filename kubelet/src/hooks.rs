//! Lifecycle hooks: exec, httpGet, sleep. Upstream: `pkg/kubelet/lifecycle/handlers.go`.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use api_types::core::v1::{Container, LifecycleHandler, Pod};
use futures::future::BoxFuture;

use crate::container::{ContainerId, pod_desc};
use crate::events::{Kind, Recorder};
use crate::metrics::Metrics;
use crate::prober::http::get_request;
use crate::runtime::{ExecError, HookRunner, Runtime};

/// Runs hooks in and against containers.
pub struct Hooks {
    /// The runtime owns this runner: it is set once the runtime exists.
    runtime: OnceLock<Weak<Runtime>>,
    recorder: Arc<Recorder>,
    metrics: Arc<Metrics>,
}

impl Hooks {
    /// A runner without a runtime yet.
    #[must_use]
    pub fn new(recorder: Arc<Recorder>, metrics: Arc<Metrics>) -> Self {
        Hooks {
            runtime: OnceLock::new(),
            recorder,
            metrics,
        }
    }

    /// Sets the runtime hooks run in.
    pub fn set_runtime(&self, runtime: &Arc<Runtime>) {
        // There is one runtime; a second call changes nothing.
        let _ = self.runtime.set(Arc::downgrade(runtime));
    }

    fn runtime(&self) -> Result<Arc<Runtime>, String> {
        self.runtime
            .get()
            .and_then(Weak::upgrade)
            .ok_or_else(|| "the kubelet is stopping".to_owned())
    }

    async fn exec(
        &self,
        id: &ContainerId,
        pod: &Pod,
        container: &Container,
        command: &[String],
    ) -> Result<(), String> {
        match self
            .runtime()?
            .run_in_container(&id.id, command, Duration::ZERO)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => {
                let output = match &error {
                    ExecError::Exit { output, .. } => String::from_utf8_lossy(output).into_owned(),
                    ExecError::Runtime(_) => String::new(),
                };
                let text = match &error {
                    ExecError::Exit { code, .. } => format!(
                        "command '{}' exited with {code}: {output}",
                        command.join(" ")
                    ),
                    ExecError::Runtime(error) => error.to_string(),
                };
                Err(format!(
                    "Exec lifecycle hook ([{}]) for Container {:?} in Pod {:?} failed - error: {text}, message: {output:?}",
                    command.join(" "),
                    container.name,
                    pod_desc(pod)
                ))
            }
        }
    }

    async fn http(
        &self,
        pod: &Pod,
        container: &Container,
        action: &api_types::core::v1::HTTPGetAction,
    ) -> Result<(), String> {
        let pod_ip = if action.host.is_empty() {
            let runtime = self.runtime()?;
            let found = runtime
                .pod(&pod.metadata.uid)
                .await
                .map_err(|error| {
                    format!("unable to get pod, event handlers may be invalid: {error}")
                })?
                .ok_or("unable to get pod, event handlers may be invalid: pod not found")?;
            let status = runtime.pod_status(&found).await.map_err(|error| {
                format!("unable to get pod status, event handlers may be invalid: {error}")
            })?;
            match status.ips.first() {
                Some(ip) => ip.clone(),
                // A pod on the node's network has no address of its own.
                None if pod.spec.host_network => "127.0.0.1".to_owned(),
                None => return Err("failed to find networking container".to_owned()),
            }
        } else {
            String::new()
        };
        let mut request = get_request(action, container, &pod_ip, "lifecycle")?;
        match request.send(None).await {
            Ok(_) => Ok(()),
            Err(error) if error.plain_http => {
                // Servers that were wrongly declared to speak HTTPS worked once; they still do.
                let _ = request.url.set_scheme("http");
                request.headers.remove(http::header::AUTHORIZATION);
                match request.send(None).await {
                    Ok(_) => {
                        self.metrics.lifecycle_http_fallbacks.inc();
                        let host =
                            &request.url[url::Position::BeforeHost..url::Position::AfterPort];
                        let text = format!(
                            "request to HTTPS lifecycle hook {host} got HTTP response, retry with HTTP succeeded"
                        );
                        self.recorder
                            .pod(pod, Kind::Warning, "LifecycleHTTPFallback", &text);
                        Ok(())
                    }
                    Err(_) => Err(error.message),
                }
            }
            Err(error) => Err(error.message),
        }
    }
}

impl HookRunner for Hooks {
    fn run<'a>(
        &'a self,
        id: &'a ContainerId,
        pod: &'a Pod,
        container: &'a Container,
        handler: &'a LifecycleHandler,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            if let Some(exec) = handler.exec.as_deref() {
                return self.exec(id, pod, container, &exec.command).await;
            }
            if let Some(action) = handler.http_get.as_deref() {
                return self.http(pod, container, action).await.map_err(|error| {
                    format!(
                        "HTTP lifecycle hook ({}) for Container {:?} in Pod {:?} failed - error: {error}",
                        action.path,
                        container.name,
                        pod_desc(pod)
                    )
                });
            }
            if let Some(sleep) = handler.sleep.as_deref() {
                tokio::time::sleep(Duration::from_secs(
                    u64::try_from(sleep.seconds).unwrap_or(0),
                ))
                .await;
                return Ok(());
            }
            Err("Cannot run handler: invalid handler".to_owned())
        })
    }
}
