//! Plugins that are called by gRPC over a Unix socket: key services and signers of tokens.
//!
//! Calls wait until the plugin is there, as gRPC's "wait for ready", and say what Go's client says when they fail.

use std::path::{Path, PathBuf};
use std::time::Duration;

use client::config::dial_error;
use http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

/// Between two attempts to reach a plugin that is not there.
const RECONNECT: Duration = Duration::from_millis(200);

/// A plugin. The connection is made when it is first needed, and again when it was lost.
#[derive(Clone)]
pub struct Plugin {
    channel: Channel,
}

/// A call that failed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("rpc error: code = {code} desc = {message}")]
pub struct CallError {
    /// Go's name of the code.
    pub code: &'static str,
    message: String,
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        CallError {
            code: component_base::grpc::code_name(status.code().into()),
            message: status.message().to_owned(),
        }
    }
}

impl Plugin {
    /// At a socket; one in the kernel's abstract namespace starts with a zero byte.
    pub fn new(socket: PathBuf) -> Plugin {
        // The URI is never resolved: the connector dials the socket.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { dial(&socket).await }
            }),
        );
        Plugin { channel }
    }

    /// Calls until the plugin was reached or the time is over.
    pub async fn call<Request, Response>(
        &self,
        method: &'static str,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, CallError>
    where
        Request: prost::Message + Clone + 'static,
        Response: prost::Message + Default + 'static,
    {
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
        let outcome = tokio::time::timeout(timeout, reached).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(match last {
                Some(why) => {
                    format!("latest balancer error: {why}")
                }
                None => "context deadline exceeded".to_owned(),
            }))
        });
        outcome.map_err(CallError::from)
    }
}

/// Connects to a socket. The error is what Go's client says.
pub(crate) async fn dial(
    socket: &Path,
) -> std::io::Result<hyper_util::rt::TokioIo<tokio::net::UnixStream>> {
    match tokio::net::UnixStream::connect(socket).await {
        Ok(stream) => Ok(hyper_util::rt::TokioIo::new(stream)),
        Err(error) => {
            let shown = socket.display().to_string().replacen('\0', "@", 1);
            let why = dial_error("unix", &shown, &error);
            let text =
                format!("connection error: desc = \"transport: Error while dialing: {why}\"");
            Err(std::io::Error::new(error.kind(), text))
        }
    }
}

pub(crate) async fn unary<Request, Response>(
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
