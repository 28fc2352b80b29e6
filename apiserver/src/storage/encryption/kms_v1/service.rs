//! The key service: gRPC over a Unix socket. Upstream: envelope/grpc_service.go, k8s.io/kms/apis/v1beta1.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::kms::socket;
use crate::grpc::{CallError, Plugin};
use crate::storage::transformer::TransformError;

const VERSION: &str = "v1beta1";

#[derive(Clone, PartialEq, prost::Message)]
struct VersionMessage {
    #[prost(string, tag = "1")]
    version: String,
}

/// What is to be sealed or opened.
#[derive(Clone, PartialEq, prost::Message)]
struct BytesRequest {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(bytes = "vec", tag = "2")]
    bytes: Vec<u8>,
}

/// What it was made into.
#[derive(Clone, PartialEq, prost::Message)]
struct BytesResponse {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
}

/// A plugin.
pub(super) struct Service {
    plugin: Plugin,
    timeout: Duration,
    /// It said that it speaks this version.
    version_is_known: AtomicBool,
}

impl Service {
    /// Of an endpoint that validation has seen.
    pub(super) fn new(endpoint: &str, timeout: Duration) -> Service {
        Service {
            plugin: Plugin::new(socket(endpoint)),
            timeout,
            version_is_known: AtomicBool::new(false),
        }
    }

    pub(super) async fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>, TransformError> {
        let method = "/v1beta1.KeyManagementService/Encrypt";
        self.call(method, plain).await
    }

    pub(super) async fn decrypt(&self, sealed: &[u8]) -> Result<Vec<u8>, TransformError> {
        let method = "/v1beta1.KeyManagementService/Decrypt";
        self.call(method, sealed).await
    }

    /// The version is asked for before the first call, within the time of that.
    async fn call(&self, method: &'static str, bytes: &[u8]) -> Result<Vec<u8>, TransformError> {
        let started = tokio::time::Instant::now();
        self.check_version().await?;
        let request = BytesRequest {
            version: VERSION.to_owned(),
            bytes: bytes.to_vec(),
        };
        let left = self.timeout.saturating_sub(started.elapsed());
        let response: BytesResponse = self
            .plugin
            .call(method, request, left)
            .await
            .map_err(failed)?;
        Ok(response.bytes)
    }

    async fn check_version(&self) -> Result<(), TransformError> {
        if self.version_is_known.load(Ordering::Acquire) {
            return Ok(());
        }
        let method = "/v1beta1.KeyManagementService/Version";
        let request = VersionMessage {
            version: VERSION.to_owned(),
        };
        let answer: Result<VersionMessage, _> =
            self.plugin.call(method, request, self.timeout).await;
        let version = answer.map_err(|error| {
            let why = format!("failed get version from remote KMS provider: {error}");
            TransformError::transient(why)
        });
        let version = version?.version;
        if version != VERSION {
            return Err(TransformError::transient(format!(
                "KMS provider api version {version} is not supported, only {VERSION} is supported now"
            )));
        }
        self.version_is_known.store(true, Ordering::Release);
        Ok(())
    }
}

fn failed(error: CallError) -> TransformError {
    TransformError::transient(error.to_string()).with_code(Some(error.code))
}
