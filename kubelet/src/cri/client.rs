//! The CRI client: one method per call the kubelet makes, with time limits and metrics.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::config::dial_error;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Response, Status};

use super::v1::image_service_client::ImageServiceClient;
use super::v1::runtime_service_client::RuntimeServiceClient;
use super::v1::{self, ContainerFilter, PodSandboxFilter};
use crate::metrics::Metrics;

/// Largest message either side may send, as upstream's client.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// How to reach the runtime.
#[derive(Clone, Debug)]
pub struct CriOptions {
    /// `containerRuntimeEndpoint`, for example `unix:///run/containerd/containerd.sock`.
    pub runtime_endpoint: String,
    /// `imageServiceEndpoint`; the runtime endpoint when empty.
    pub image_endpoint: String,
    /// `runtimeRequestTimeout`: limit of every call but pulls and streams.
    pub timeout: Duration,
}

/// A CRI call that failed.
///
/// The text is that of Go's gRPC errors, because it is shown in events and pod statuses.
///
/// Except that pulls that failed with an unknown code have only the description, as upstream's client does it.
#[derive(Clone, Debug)]
pub struct CriError {
    /// The call, in the words of the `operation_type` metric label.
    pub operation: &'static str,
    /// What the runtime, or the connection to it, answered.
    pub status: Status,
}

impl std::fmt::Display for CriError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.status.message();
        match self.status.code() {
            Code::Unknown if self.operation == "pull_image" => formatter.write_str(text),
            code => write!(
                formatter,
                "rpc error: code = {} desc = {text}",
                component_base::grpc::code_name(code.into())
            ),
        }
    }
}

impl std::error::Error for CriError {}

impl CriError {
    /// The description alone, without the gRPC code in front.
    #[must_use]
    pub fn message(&self) -> &str {
        self.status.message()
    }

    /// The object named in the call does not exist in the runtime.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status.code() == Code::NotFound
    }

    /// The runtime is older than this call.
    #[must_use]
    pub fn is_unimplemented(&self) -> bool {
        self.status.code() == Code::Unimplemented
    }

    /// The call took longer than allowed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.status.code() == Code::DeadlineExceeded
    }
}

/// An endpoint text that names no Unix socket.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}container runtime endpoint {endpoint:?} is not a Unix socket: write it as unix:///path/to/the.sock",
    protocol(endpoint)
)]
pub struct EndpointError {
    endpoint: String,
}

/// Upstream's words for a URL of another scheme.
fn protocol(endpoint: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, _)) if scheme != "unix" => format!("protocol {scheme:?} not supported: "),
        _ => String::new(),
    }
}

fn socket_path(endpoint: &str) -> Result<PathBuf, EndpointError> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(EndpointError {
            endpoint: endpoint.to_owned(),
        })
    }
}

fn channel(path: &Path) -> Channel {
    let path = path.to_owned();
    // The URI is never resolved: the connector below dials the socket. Connecting is lazy, so that a runtime that
    // restarts is found again without a new client.
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(
        move |_: Uri| {
            let path = path.clone();
            async move {
                match tokio::net::UnixStream::connect(&path).await {
                    Ok(stream) => Ok(hyper_util::rt::TokioIo::new(stream)),
                    Err(error) => {
                        let why = dial_error("unix", &path.display().to_string(), &error);
                        Err(std::io::Error::new(
                            error.kind(),
                            format!(
                                "connection error: desc = \"transport: Error while dialing: {why}\""
                            ),
                        ))
                    }
                }
            }
        },
    ))
}

/// The container runtime. Cheap to clone.
#[derive(Clone)]
pub struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    image: ImageServiceClient<Channel>,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Cri {
    /// Prepares the client. Nothing is dialled yet: [`Cri::version`] is the first call of a kubelet.
    ///
    /// # Errors
    /// When an endpoint is not a Unix socket.
    pub fn new(options: &CriOptions, metrics: Arc<Metrics>) -> Result<Self, EndpointError> {
        let runtime = socket_path(&options.runtime_endpoint)?;
        let image = match options.image_endpoint.as_str() {
            "" => runtime.clone(),
            endpoint => socket_path(endpoint)?,
        };
        Ok(Cri {
            runtime: RuntimeServiceClient::new(channel(&runtime))
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            image: ImageServiceClient::new(channel(&image))
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            timeout: options.timeout,
            metrics,
        })
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        limit: Option<Duration>,
        request: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CriError> {
        let start = Instant::now();
        self.metrics
            .runtime_operations
            .with_label_values(&[operation])
            .inc();
        let result = match limit {
            Some(limit) => match tokio::time::timeout(limit, request).await {
                Ok(result) => result,
                Err(_) => Err(Status::deadline_exceeded("context deadline exceeded")),
            },
            None => request.await,
        };
        self.metrics
            .runtime_operations_duration
            .with_label_values(&[operation])
            .observe(start.elapsed().as_secs_f64());
        match result {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => {
                self.metrics
                    .runtime_operations_errors
                    .with_label_values(&[operation])
                    .inc();
                // A connection that cannot be made is "Unavailable" to Go's client; tonic hides the cause in the chain.
                let status = match status.code() {
                    Code::Unavailable | Code::Unknown
                        if status.message() == "transport error"
                            || status.message() == "tcp connect error" =>
                    {
                        Status::unavailable(format!("connection error: {}", root_cause(&status)))
                    }
                    _ => status,
                };
                Err(CriError { operation, status })
            }
        }
    }

    /// Runtime name and versions.
    ///
    /// # Errors
    /// All methods fail with what the runtime answered, or a time-out.
    pub async fn version(&self) -> Result<v1::VersionResponse, CriError> {
        let request = v1::VersionRequest {
            version: "0.1.0".to_owned(),
        };
        self.call(
            "version",
            Some(self.timeout),
            self.runtime.clone().version(request),
        )
        .await
    }

    /// Conditions (RuntimeReady, NetworkReady), handlers and features.
    pub async fn status(&self, verbose: bool) -> Result<v1::StatusResponse, CriError> {
        self.call(
            "status",
            Some(self.timeout),
            self.runtime.clone().status(v1::StatusRequest { verbose }),
        )
        .await
    }

    /// The cgroup driver of the runtime; older runtimes answer Unimplemented.
    pub async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse, CriError> {
        self.call(
            "runtime_config",
            Some(self.timeout),
            self.runtime
                .clone()
                .runtime_config(v1::RuntimeConfigRequest {}),
        )
        .await
    }

    /// Tells the runtime the node's pod CIDR.
    pub async fn update_pod_cidr(&self, pod_cidr: &str) -> Result<(), CriError> {
        let request = v1::UpdateRuntimeConfigRequest {
            runtime_config: Some(v1::RuntimeConfig {
                network_config: Some(v1::NetworkConfig {
                    pod_cidr: pod_cidr.to_owned(),
                }),
            }),
        };
        self.call(
            "update_runtime_config",
            Some(self.timeout),
            self.runtime.clone().update_runtime_config(request),
        )
        .await?;
        Ok(())
    }

    /// Creates and starts a sandbox; answers its id. Network set-up is part of it, so it gets twice the usual time.
    pub async fn run_pod_sandbox(
        &self,
        config: v1::PodSandboxConfig,
        handler: &str,
    ) -> Result<String, CriError> {
        let request = v1::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: handler.to_owned(),
        };
        let response = self
            .call(
                "run_podsandbox",
                Some(self.timeout * 2),
                self.runtime.clone().run_pod_sandbox(request),
            )
            .await?;
        if response.pod_sandbox_id.is_empty() {
            return Err(CriError {
                operation: "run_podsandbox",
                status: Status::unknown("PodSandboxId is not set for sandbox"),
            });
        }
        Ok(response.pod_sandbox_id)
    }

    /// Stops a sandbox and everything in it; done already is fine.
    pub async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = v1::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        self.call(
            "stop_podsandbox",
            Some(self.timeout),
            self.runtime.clone().stop_pod_sandbox(request),
        )
        .await?;
        Ok(())
    }

    /// Removes a stopped sandbox.
    pub async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = v1::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        self.call(
            "remove_podsandbox",
            Some(self.timeout),
            self.runtime.clone().remove_pod_sandbox(request),
        )
        .await?;
        Ok(())
    }

    /// State, addresses and namespaces of a sandbox.
    pub async fn pod_sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus, CriError> {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: false,
        };
        let response = self
            .call(
                "podsandbox_status",
                Some(self.timeout),
                self.runtime.clone().pod_sandbox_status(request),
            )
            .await?;
        response.status.ok_or_else(|| CriError {
            operation: "podsandbox_status",
            status: Status::unknown("pod sandbox status is nil"),
        })
    }

    /// Sandboxes that match the filter; all without one.
    pub async fn list_pod_sandboxes(
        &self,
        filter: Option<PodSandboxFilter>,
    ) -> Result<Vec<v1::PodSandbox>, CriError> {
        let request = v1::ListPodSandboxRequest { filter };
        Ok(self
            .call(
                "list_podsandbox",
                Some(self.timeout),
                self.runtime.clone().list_pod_sandbox(request),
            )
            .await?
            .items)
    }

    /// Creates a container in a sandbox; answers its id.
    pub async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String, CriError> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        Ok(self
            .call(
                "create_container",
                Some(self.timeout),
                self.runtime.clone().create_container(request),
            )
            .await?
            .container_id)
    }

    /// Starts a created container.
    pub async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let request = v1::StartContainerRequest {
            container_id: id.to_owned(),
        };
        self.call(
            "start_container",
            Some(self.timeout),
            self.runtime.clone().start_container(request),
        )
        .await?;
        Ok(())
    }

    /// Stops a container: its stop signal, then after `grace_seconds` KILL. The call returns when it has ended.
    pub async fn stop_container(&self, id: &str, grace_seconds: i64) -> Result<(), CriError> {
        let request = v1::StopContainerRequest {
            container_id: id.to_owned(),
            timeout: grace_seconds,
        };
        let limit = self.timeout + Duration::from_secs(u64::try_from(grace_seconds).unwrap_or(0));
        self.call(
            "stop_container",
            Some(limit),
            self.runtime.clone().stop_container(request),
        )
        .await?;
        Ok(())
    }

    /// Removes a container that does not run.
    pub async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        let request = v1::RemoveContainerRequest {
            container_id: id.to_owned(),
        };
        self.call(
            "remove_container",
            Some(self.timeout),
            self.runtime.clone().remove_container(request),
        )
        .await?;
        Ok(())
    }

    /// Containers that match the filter; all without one.
    pub async fn list_containers(
        &self,
        filter: Option<ContainerFilter>,
    ) -> Result<Vec<v1::Container>, CriError> {
        let request = v1::ListContainersRequest { filter };
        Ok(self
            .call(
                "list_containers",
                Some(self.timeout),
                self.runtime.clone().list_containers(request),
            )
            .await?
            .containers)
    }

    /// Full state of a container.
    pub async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus, CriError> {
        let request = v1::ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        let response = self
            .call(
                "container_status",
                Some(self.timeout),
                self.runtime.clone().container_status(request),
            )
            .await?;
        response.status.ok_or_else(|| CriError {
            operation: "container_status",
            status: Status::unknown("container status is nil"),
        })
    }

    /// Changes the limits of a running container.
    pub async fn update_container_resources(
        &self,
        id: &str,
        linux: v1::LinuxContainerResources,
    ) -> Result<(), CriError> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(linux),
            ..Default::default()
        };
        self.call(
            "update_container_resources",
            Some(self.timeout),
            self.runtime.clone().update_container_resources(request),
        )
        .await?;
        Ok(())
    }

    /// Tells the runtime that a pod's resources changed; older runtimes answer Unimplemented.
    pub async fn update_pod_sandbox_resources(
        &self,
        request: v1::UpdatePodSandboxResourcesRequest,
    ) -> Result<(), CriError> {
        self.call(
            "update_podsandbox_resources",
            Some(self.timeout),
            self.runtime.clone().update_pod_sandbox_resources(request),
        )
        .await?;
        Ok(())
    }

    /// Asks the runtime to open a container's log file anew, after rotation.
    pub async fn reopen_container_log(&self, id: &str) -> Result<(), CriError> {
        let request = v1::ReopenContainerLogRequest {
            container_id: id.to_owned(),
        };
        self.call(
            "reopen_container_log",
            Some(self.timeout),
            self.runtime.clone().reopen_container_log(request),
        )
        .await?;
        Ok(())
    }

    /// Runs a command in a container and waits for it. No limit when `timeout` is zero.
    ///
    /// A command that ends with another code than zero is not an error: see `exit_code`.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<v1::ExecSyncResponse, CriError> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let request = v1::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            timeout: seconds,
        };
        // The runtime enforces the limit of the command; ours only guards against a runtime that does not answer.
        let limit = (!timeout.is_zero()).then_some(timeout + self.timeout);
        self.call("exec_sync", limit, self.runtime.clone().exec_sync(request))
            .await
    }

    /// URL of a streaming server that runs the command.
    pub async fn exec(&self, request: v1::ExecRequest) -> Result<String, CriError> {
        Ok(self
            .call(
                "exec",
                Some(self.timeout),
                self.runtime.clone().exec(request),
            )
            .await?
            .url)
    }

    /// URL of a streaming server that attaches to the container.
    pub async fn attach(&self, request: v1::AttachRequest) -> Result<String, CriError> {
        Ok(self
            .call(
                "attach",
                Some(self.timeout),
                self.runtime.clone().attach(request),
            )
            .await?
            .url)
    }

    /// URL of a streaming server that forwards ports of the sandbox.
    pub async fn port_forward(
        &self,
        sandbox_id: &str,
        ports: Vec<i32>,
    ) -> Result<String, CriError> {
        let request = v1::PortForwardRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            port: ports,
        };
        Ok(self
            .call(
                "port_forward",
                Some(self.timeout),
                self.runtime.clone().port_forward(request),
            )
            .await?
            .url)
    }

    /// Writes a checkpoint archive of a running container.
    pub async fn checkpoint_container(
        &self,
        id: &str,
        location: &str,
        timeout: Duration,
    ) -> Result<(), CriError> {
        let request = v1::CheckpointContainerRequest {
            container_id: id.to_owned(),
            location: location.to_owned(),
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(0),
        };
        let limit = if timeout.is_zero() {
            self.timeout
        } else {
            timeout
        };
        self.call(
            "checkpoint_container",
            Some(limit),
            self.runtime.clone().checkpoint_container(request),
        )
        .await?;
        Ok(())
    }

    /// CPU, memory and disk use of every container.
    pub async fn list_container_stats(&self) -> Result<Vec<v1::ContainerStats>, CriError> {
        let request = v1::ListContainerStatsRequest { filter: None };
        Ok(self
            .call(
                "list_container_stats",
                Some(self.timeout),
                self.runtime.clone().list_container_stats(request),
            )
            .await?
            .stats)
    }

    /// The runtime's event stream. Ends when the runtime does; older runtimes answer Unimplemented.
    pub async fn container_events(
        &self,
    ) -> Result<tonic::Streaming<v1::ContainerEventResponse>, CriError> {
        self.call(
            "get_container_events",
            None,
            self.runtime
                .clone()
                .get_container_events(v1::GetEventsRequest {}),
        )
        .await
    }

    /// Images the runtime has; with a name only that one.
    pub async fn list_images(&self) -> Result<Vec<v1::Image>, CriError> {
        let request = v1::ListImagesRequest { filter: None };
        Ok(self
            .call(
                "list_images",
                Some(self.timeout),
                self.image.clone().list_images(request),
            )
            .await?
            .images)
    }

    /// One image; nothing when the runtime has none of that name.
    pub async fn image_status(&self, spec: v1::ImageSpec) -> Result<Option<v1::Image>, CriError> {
        let request = v1::ImageStatusRequest {
            image: Some(spec),
            verbose: false,
        };
        let image = self
            .call(
                "image_status",
                Some(self.timeout),
                self.image.clone().image_status(request),
            )
            .await?
            .image;
        match image {
            Some(image) if image.id.is_empty() || image.size == 0 => Err(CriError {
                operation: "image_status",
                status: Status::unknown("id or size of image is not set"),
            }),
            image => Ok(image),
        }
    }

    /// Pulls an image, however long that takes; answers its reference.
    pub async fn pull_image(
        &self,
        spec: v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox_config: Option<v1::PodSandboxConfig>,
    ) -> Result<String, CriError> {
        let name = spec.image.clone();
        let request = v1::PullImageRequest {
            image: Some(spec),
            auth,
            sandbox_config,
        };
        let reference = self
            .call("pull_image", None, self.image.clone().pull_image(request))
            .await?
            .image_ref;
        if reference.is_empty() {
            return Err(CriError {
                operation: "pull_image",
                status: Status::unknown(format!("imageRef of image {name:?} is not set")),
            });
        }
        Ok(reference)
    }

    /// Removes an image; one that is not there is fine.
    pub async fn remove_image(&self, spec: v1::ImageSpec) -> Result<(), CriError> {
        let request = v1::RemoveImageRequest { image: Some(spec) };
        self.call(
            "remove_image",
            Some(self.timeout),
            self.image.clone().remove_image(request),
        )
        .await?;
        Ok(())
    }

    /// The file systems that hold images and containers.
    pub async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse, CriError> {
        self.call(
            "image_fs_info",
            Some(self.timeout),
            self.image.clone().image_fs_info(v1::ImageFsInfoRequest {}),
        )
        .await
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (endpoint, want) in [
            (
                "unix:///run/containerd/containerd.sock",
                Some("/run/containerd/containerd.sock"),
            ),
            ("/run/crio/crio.sock", Some("/run/crio/crio.sock")),
            ("tcp://127.0.0.1:1", None),
            ("unix://relative.sock", None),
        ] {
            let got = socket_path(endpoint).ok();
            assert_eq!(got.as_deref(), want.map(Path::new), "{endpoint}");
        }
    }

    #[test]
    fn errors_read_like_go() {
        let error = CriError {
            operation: "run_podsandbox",
            status: Status::unknown("failed to reserve sandbox name"),
        };
        assert_eq!(
            error.to_string(),
            "rpc error: code = Unknown desc = failed to reserve sandbox name"
        );
        assert_eq!(error.message(), "failed to reserve sandbox name");
    }
}
