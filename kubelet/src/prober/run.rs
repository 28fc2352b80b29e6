//! One probe: exec, httpGet, tcpSocket or grpc. Upstream: `pkg/kubelet/prober/prober.go` and `pkg/probe`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Container, Pod, Probe};
use http::uri::PathAndQuery;
use prost::Message;

use super::http::{get_request, go_io_error, resolve_port};
use crate::container::{ContainerId, expand, pod_desc};
use crate::runtime::{ExecError, Runtime};

/// Outcome of a single probe, before thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Well.
    Success,
    /// Well, with something to tell.
    Warning(String),
    /// Not well.
    Failure(String),
    /// The probe itself did not work.
    Error(String),
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Runs the probe once.
pub(super) async fn run_probe(
    runtime: &Arc<Runtime>,
    probe: &Probe,
    pod: &Pod,
    container: &Container,
    id: &ContainerId,
    pod_ip: &str,
) -> Outcome {
    let limit = Duration::from_secs(u64::try_from(probe.timeout_seconds).unwrap_or(1).max(1));
    let handler = &probe.probe_handler;
    if let Some(exec) = handler.exec.as_deref() {
        let values: BTreeMap<String, String> = container
            .env
            .iter()
            .map(|variable| (variable.name.clone(), variable.value.clone()))
            .collect();
        let command: Vec<String> = exec
            .command
            .iter()
            .map(|part| expand(part, &values))
            .collect();
        return run_exec(runtime, id, &command, limit).await;
    }
    if let Some(action) = handler.http_get.as_deref() {
        let request = match get_request(action, container, pod_ip, "probe") {
            Ok(request) => request,
            Err(error) => return Outcome::Error(error),
        };
        return match request.send(Some(limit)).await {
            Ok(answer) if answer.status.is_success() => Outcome::Success,
            Ok(answer) if answer.status.is_redirection() => Outcome::Warning(format!(
                "Probe terminated redirects, Response body: {}",
                answer.body
            )),
            Ok(answer) => Outcome::Failure(format!(
                "HTTP probe failed with statuscode: {}",
                answer.status.as_u16()
            )),
            Err(error) => Outcome::Failure(error.message),
        };
    }
    if let Some(action) = handler.tcp_socket.as_deref() {
        let port = match resolve_port(&action.port, container) {
            Ok(port) => port,
            Err(error) => return Outcome::Error(error),
        };
        let host = if action.host.is_empty() {
            pod_ip
        } else {
            &action.host
        };
        return run_tcp(host, port, limit).await;
    }
    if let Some(action) = handler.grpc.as_deref() {
        let Ok(port) = u16::try_from(action.port) else {
            return Outcome::Error(format!("invalid port number: {}", action.port));
        };
        return run_grpc(
            pod_ip,
            port,
            action.service.as_deref().unwrap_or_default(),
            limit,
        )
        .await;
    }
    Outcome::Error(format!(
        "missing probe handler for {}:{}",
        pod_desc(pod),
        container.name
    ))
}

async fn run_exec(
    runtime: &Arc<Runtime>,
    id: &ContainerId,
    command: &[String],
    limit: Duration,
) -> Outcome {
    const MAX_OUTPUT: usize = 10 * 1024;
    match runtime.run_in_container(&id.id, command, limit).await {
        Ok(_) => Outcome::Success,
        Err(ExecError::Exit { mut output, .. }) => {
            output.truncate(MAX_OUTPUT);
            Outcome::Failure(String::from_utf8_lossy(&output).into_owned())
        }
        Err(ExecError::Runtime(error)) if error.is_timeout() => {
            let shown =
                apimachinery::duration::format(i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX));
            let command = command.join(" ");
            Outcome::Failure(format!(
                "command timed out: {command:?} timed out after {shown}"
            ))
        }
        Err(ExecError::Runtime(error)) => Outcome::Error(error.to_string()),
    }
}

async fn run_tcp(host: &str, port: u16, limit: Duration) -> Outcome {
    let shown = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    match tokio::time::timeout(limit, tokio::net::TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(format!(
            "dial tcp {shown}: connect: {}",
            go_io_error(&error)
        )),
        Err(_) => Outcome::Failure(format!("dial tcp {shown}: i/o timeout")),
    }
}

async fn run_grpc(host: &str, port: u16, service: &str, limit: Duration) -> Outcome {
    let address = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let shown = apimachinery::duration::format(i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX));
    let endpoint = match tonic::transport::Endpoint::from_shared(format!("http://{address}")) {
        Ok(endpoint) => endpoint
            .user_agent("kube-probe/1.36")
            .unwrap_or_else(|_| tonic::transport::Endpoint::from_static("http://localhost")),
        Err(error) => return Outcome::Error(error.to_string()),
    };
    let deadline = tokio::time::Instant::now() + limit;
    let channel = match tokio::time::timeout_at(deadline, endpoint.connect()).await {
        Ok(Ok(channel)) => channel,
        // grpc-go keeps on connecting until the time is up.
        Ok(Err(_)) | Err(_) => {
            return Outcome::Failure(format!(
                "timeout: failed to connect service {address:?} within {shown}: context deadline exceeded"
            ));
        }
    };
    let mut client = tonic::client::Grpc::new(channel);
    let call = async {
        client
            .ready()
            .await
            .map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        client
            .unary(
                tonic::Request::new(HealthCheckRequest {
                    service: service.to_owned(),
                }),
                path,
                codec,
            )
            .await
    };
    match tokio::time::timeout_at(deadline, call).await {
        Err(_) => Outcome::Failure(format!(
            "timeout: health rpc did not complete within {shown}"
        )),
        Ok(Err(status)) if status.code() == tonic::Code::Unimplemented => {
            Outcome::Failure(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                status.message()
            ))
        }
        Ok(Err(status)) => Outcome::Failure(format!(
            "error: health rpc probe failed: {}",
            crate::cri::CriError {
                operation: "health",
                status
            }
        )),
        Ok(Ok(response)) => match response.into_inner().status {
            1 => Outcome::Success,
            other => {
                let name = match other {
                    0 => "UNKNOWN",
                    2 => "NOT_SERVING",
                    3 => "SERVICE_UNKNOWN",
                    _ => "INVALID",
                };
                Outcome::Failure(format!("service unhealthy (responded with {name:?})"))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tcp() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bind");
        let port = listener.local_addr().expect("address").port();
        assert_eq!(
            run_tcp("127.0.0.1", port, Duration::from_secs(5)).await,
            Outcome::Success
        );
        drop(listener);
        assert_eq!(
            run_tcp("127.0.0.1", port, Duration::from_secs(5)).await,
            Outcome::Failure(format!(
                "dial tcp 127.0.0.1:{port}: connect: connection refused"
            ))
        );
    }

    #[tokio::test]
    async fn grpc_without_a_server() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bind");
        let port = listener.local_addr().expect("address").port();
        drop(listener);
        let Outcome::Failure(text) = run_grpc("127.0.0.1", port, "", Duration::from_secs(1)).await
        else {
            panic!("no failure")
        };
        assert!(
            text.starts_with(&format!(
                "timeout: failed to connect service \"127.0.0.1:{port}\" within 1s"
            )),
            "{text}"
        );
    }
}
