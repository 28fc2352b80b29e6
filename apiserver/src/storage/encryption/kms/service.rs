//! The key service: gRPC over a Unix socket. Upstream: envelope/kmsv2/grpc_service.go, k8s.io/kms/apis/v2.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::metrics::EncryptionMetrics;
use crate::grpc::Plugin;
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

/// A plugin.
pub(super) struct Service {
    provider: String,
    plugin: Plugin,
    timeout: Duration,
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
            plugin: Plugin::new(socket(endpoint)),
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

    /// Calls, and measures.
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
        let outcome = self.plugin.call(method, request, self.timeout).await;
        let code = outcome.as_ref().err().map_or("OK", |error| error.code);
        self.metrics
            .kms_operations
            .with_label_values(&[self.provider.as_str(), method, code])
            .observe(started.elapsed().as_secs_f64());
        outcome.map_err(|error| {
            TransformError::transient(error.to_string()).with_code(Some(error.code))
        })
    }
}

/// The socket that `unix://...` names. Upstream: k8s.io/kms/pkg/util.ParseEndpoint.
pub(in super::super) fn socket(endpoint: &str) -> PathBuf {
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
