//! The key service: gRPC over a Unix socket. Upstream: envelope/kmsv2/grpc_service.go, k8s.io/kms/apis/v2.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::config::dial_error;
use http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use super::super::metrics::EncryptionMetrics;
use crate::storage::transformer::TransformError;

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

/// What a plugin says of itself.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusResponse {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    #[prost(string, tag = "2")]
    pub(super) healthz: String,
    #[prost(string, tag = "3")]
    pub(super) key_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

/// A sealed seed.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(super) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(super) annotations: BTreeMap<String, Vec<u8>>,
}

/// Between two attempts to reach a plugin that is not there.
const RECONNECT: Duration = Duration::from_millis(200);

/// A plugin. The connection is made when it is first needed, and again when it was lost.
pub(super) struct Service {
    provider: String,
    channel: Channel,
    pub(super) timeout: Duration,
    metrics: Arc<EncryptionMetrics>,
}

impl Service {
    /// Of an endpoint that validation has seen.
    pub(super) fn new(
        endpoint: &str,
        provider: &str,
        timeout: Duration,
        metrics: Arc<EncryptionMetrics>,
    ) -> Service {
        Service {
            provider: provider.to_owned(),
            channel: channel(socket(endpoint)),
            timeout,
            metrics,
        }
    }

    pub(super) async fn status(&self) -> Result<StatusResponse, TransformError> {
        self.call("/v2.KeyManagementService/Status", StatusRequest {})
            .await
    }

    pub(super) async fn encrypt(
        &self,
        uid: &str,
        plaintext: &[u8],
    ) -> Result<EncryptResponse, TransformError> {
        let request = EncryptRequest {
            plaintext: plaintext.to_vec(),
            uid: uid.to_owned(),
        };
        self.call("/v2.KeyManagementService/Encrypt", request).await
    }

    pub(super) async fn decrypt(
        &self,
        uid: &str,
        ciphertext: &[u8],
        key_id: &str,
        annotations: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Vec<u8>, TransformError> {
        let request = DecryptRequest {
            ciphertext: ciphertext.to_vec(),
            uid: uid.to_owned(),
            key_id: key_id.to_owned(),
            annotations: annotations.clone(),
        };
        let response: DecryptResponse = self
            .call("/v2.KeyManagementService/Decrypt", request)
            .await?;
        Ok(response.plaintext)
    }

    /// Calls until the plugin was reached or the time is over, as gRPC's "wait for ready".
    async fn call<Request, Response>(
        &self,
        method: &'static str,
        request: Request,
    ) -> Result<Response, TransformError>
    where
        Request: prost::Message + Clone + 'static,
        Response: prost::Message + Default + 'static,
    {
        let started = Instant::now();
        let mut last = None;
        let reached = async {
            loop {
                match unary(self.channel.clone(), method, request.clone()).await {
                    Err(status) if unreachable(&status) => {
                        last = root_cause(&status);
                        tokio::time::sleep(RECONNECT).await;
                    }
                    answered => return answered,
                }
            }
        };
        let outcome = tokio::time::timeout(self.timeout, reached).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(match last {
                Some(why) => {
                    format!("latest balancer error: {why}")
                }
                None => "context deadline exceeded".to_owned(),
            }))
        });
        let code = outcome
            .as_ref()
            .err()
            .map_or("OK", |status| go_code(status.code()));
        self.metrics
            .kms_operations
            .with_label_values(&[self.provider.as_str(), method, code])
            .observe(started.elapsed().as_secs_f64());
        outcome.map_err(|status| {
            let text = format!("rpc error: code = {code} desc = {}", status.message());
            TransformError::transient(text).with_code(Some(code))
        })
    }
}

async fn unary<Request, Response>(
    channel: Channel,
    method: &'static str,
    request: Request,
) -> Result<Response, Status>
where
    Request: prost::Message + 'static,
    Response: prost::Message + Default + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready()
        .await
        .map_err(|error| Status::from_error(Box::new(error)))?;
    let codec = tonic_prost::ProstCodec::<Request, Response>::default();
    let path = PathAndQuery::from_static(method);
    let response = grpc
        .unary(tonic::Request::new(request), path, codec)
        .await?;
    Ok(response.into_inner())
}

/// Whether a call never left because the socket cannot be dialled.
fn unreachable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown)
        && std::error::Error::source(status).is_some()
        && root_cause(status).is_some()
}

/// The connector's error at the end of the chain.
fn root_cause(status: &Status) -> Option<String> {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.to_string()).filter(|text| text.starts_with("connection error: "));
        }
        cause = error.source();
    }
    None
}

/// The socket that `unix://...` names. Upstream: k8s.io/kms/pkg/util.ParseEndpoint.
fn socket(endpoint: &str) -> PathBuf {
    let rest = endpoint.split_once(':').map_or("", |(_, rest)| rest);
    // What would be a host is none.
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.find('/').map_or("", |at| &rest[at..]),
        None => rest,
    };
    match path.strip_prefix("/@") {
        // The kernel's abstract namespace.
        Some(name) => PathBuf::from(format!("\0{name}")),
        None => PathBuf::from(path),
    }
}

fn channel(path: PathBuf) -> Channel {
    // The URI is never resolved: the connector below dials the socket.
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(
        move |_: Uri| {
            let path = path.clone();
            async move {
                match tokio::net::UnixStream::connect(&path).await {
                    Ok(stream) => Ok(hyper_util::rt::TokioIo::new(stream)),
                    Err(error) => {
                        let why = dial_error("unix", &path.display().to_string(), &error);
                        let text = format!(
                            "connection error: desc = \"transport: Error while dialing: {why}\""
                        );
                        Err(std::io::Error::new(error.kind(), text))
                    }
                }
            }
        },
    ))
}

/// Go's name of a code.
fn go_code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets() {
        assert_eq!(
            socket("unix:///run/kms.sock"),
            PathBuf::from("/run/kms.sock")
        );
        assert_eq!(
            socket("unix://host/run/kms.sock"),
            PathBuf::from("/run/kms.sock")
        );
        assert_eq!(socket("unix:///@kms"), PathBuf::from("\0kms"));
        assert_eq!(socket("unix:/run/kms.sock"), PathBuf::from("/run/kms.sock"));
    }
}
