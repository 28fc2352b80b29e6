//! The signer: gRPC over a Unix socket. Upstream: k8s.io/externaljwt/apis/v1.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::metrics::ExternalJwtMetrics;
use crate::grpc::{CallError, Plugin};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SignJwtRequest {
    /// The second part of the token to be.
    #[prost(string, tag = "1")]
    pub(super) claims: String,
}

/// The first and the last part of a token.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SignJwtResponse {
    #[prost(string, tag = "1")]
    pub(super) header: String,
    #[prost(string, tag = "2")]
    pub(super) signature: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FetchKeysRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FetchKeysResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) keys: Vec<Key>,
    /// When the signer learnt of these keys.
    #[prost(message, optional, tag = "2")]
    pub(super) data_timestamp: Option<Timestamp>,
    #[prost(int64, tag = "3")]
    pub(super) refresh_hint_seconds: i64,
}

/// google.protobuf.Timestamp.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Key {
    #[prost(string, tag = "1")]
    pub(super) key_id: String,
    /// DER SubjectPublicKeyInfo.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) key: Vec<u8>,
    /// It checks tokens of earlier days, and signs none.
    #[prost(bool, tag = "3")]
    pub(super) exclude_from_oidc_discovery: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MetadataRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MetadataResponse {
    #[prost(int64, tag = "1")]
    pub(super) max_token_expiration_seconds: i64,
}

pub(super) const SIGN: &str = "/v1.ExternalJWTSigner/Sign";
pub(super) const FETCH_KEYS: &str = "/v1.ExternalJWTSigner/FetchKeys";
pub(super) const METADATA: &str = "/v1.ExternalJWTSigner/Metadata";

/// The signer's calls, measured.
#[derive(Clone)]
pub(super) struct Service {
    plugin: Plugin,
    pub(super) metrics: Arc<ExternalJwtMetrics>,
}

impl Service {
    pub(super) fn new(socket: PathBuf, metrics: Arc<ExternalJwtMetrics>) -> Service {
        Service {
            plugin: Plugin::new(socket),
            metrics,
        }
    }

    pub(super) async fn call<Request, Response>(
        &self,
        method: &'static str,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, CallError>
    where
        Request: prost::Message + Clone + 'static,
        Response: prost::Message + Default + 'static,
    {
        let started = Instant::now();
        let answer = self.plugin.call(method, request, timeout).await;
        let code = answer.as_ref().err().map_or("OK", |error| error.code);
        self.metrics.called(method, code, started.elapsed());
        answer
    }
}
