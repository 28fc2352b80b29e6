//! Requests to an etcd cluster: which endpoint, how long, and what an error means for the caller.
//!
//! One endpoint is used until it fails, then the next. Reads are tried again. Writes are sent again only when the
//! connection could not be made at all; in every other case their outcome is unknown and the error says so.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::config::handshake_error;
use etcd_client::{ConnectOptions, KvClient, LeaseClient, MaintenanceClient, WatchClient};
use futures::FutureExt as _;
use tokio::time::{Instant, timeout_at};
use tonic::Code;

use crate::storage::error::Error;
use crate::storage::etcd3::config::EtcdConfig;
use crate::storage::etcd3::connect;

/// Pauses between attempts of a read.
const READ_BACKOFF: [Duration; 5] = [
    Duration::from_millis(0),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
];

/// Pause between attempts to reach a first member.
const CONNECT_PAUSE: Duration = Duration::from_millis(250);
/// Go's words for a time that is over.
const DEADLINE: &str = "context deadline exceeded";

/// What etcd answered, as far as storage makes a difference.
#[derive(Debug, Clone)]
pub(crate) enum EtcdError {
    /// The connection could not be made: nothing happened.
    NotSent(String),
    /// No answer, or an answer that leaves the outcome open.
    Unknown(String),
    /// The revision is compacted.
    Compacted,
    /// The revision lies in the future.
    FutureRevision,
    /// Everything else; nothing happened.
    Refused { code: Code, message: String },
}

/// The services of one endpoint. Watches and lists have connections of their own: a big list on a shared connection
/// starves the watches (etcd #15402).
#[derive(Clone)]
pub(crate) struct EndpointClient {
    pub(crate) url: String,
    pub(crate) kv: KvClient,
    pub(crate) list: KvClient,
    pub(crate) watch: WatchClient,
    pub(crate) lease: LeaseClient,
    pub(crate) maintenance: MaintenanceClient,
}

/// A cluster.
pub(crate) struct EtcdClient {
    endpoints: Vec<EndpointClient>,
    current: AtomicUsize,
    request_timeout: Duration,
}

impl EtcdClient {
    /// Checks endpoints and TLS files; connects when first used.
    pub(crate) fn new(config: &EtcdConfig) -> Result<Self, Error> {
        if config.endpoints.is_empty() {
            return Err(Error::internal("no etcd endpoint given (--etcd-servers)"));
        }
        let client = |url: &str, require_leader: bool| {
            let channel = connect::channel(url, &config.tls, &config.via)?;
            let options = ConnectOptions::new().with_require_leader(require_leader);
            // Without user and password this does no IO.
            etcd_client::Client::from_channel(etcd_client::Channel::Tonic(channel), Some(options))
                .now_or_never()
                .ok_or_else(|| Error::internal("etcd client did not start"))?
                .map_err(|error| Error::internal(error.to_string()))
        };
        let endpoints = config
            .endpoints
            .iter()
            .map(|url| {
                let kv = client(url, false)?;
                Ok(EndpointClient {
                    url: url.clone(),
                    kv: kv.kv_client().max_decoding_message_size(i32::MAX as usize),
                    list: client(url, false)?
                        .kv_client()
                        .max_decoding_message_size(i32::MAX as usize),
                    watch: client(url, true)?
                        .watch_client()
                        .max_decoding_message_size(i32::MAX as usize),
                    lease: kv.lease_client(),
                    maintenance: kv.maintenance_client(),
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(Self {
            endpoints,
            current: AtomicUsize::new(0),
            request_timeout: config.request_timeout,
        })
    }

    pub(crate) fn endpoints(&self) -> &[EndpointClient] {
        &self.endpoints
    }

    /// The endpoint in use.
    pub(crate) fn endpoint(&self) -> (usize, &EndpointClient) {
        let index = self.current.load(Ordering::Relaxed) % self.endpoints.len();
        (index, &self.endpoints[index])
    }

    /// The endpoint failed: whoever notices first moves everybody to the next.
    pub(crate) fn failed(&self, index: usize) {
        let next = (index + 1) % self.endpoints.len();
        // Losing the race means that somebody else has moved on already.
        let _ = self
            .current
            .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Waits until any member answers. The error tells what came of the last attempt.
    pub(crate) async fn connected(&self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        let mut last = String::new();
        loop {
            let (index, endpoint) = self.endpoint();
            let mut maintenance = endpoint.maintenance.clone();
            let outcome = timeout_at(deadline, maintenance.status()).await;
            match outcome.map(|outcome| outcome.map_err(classify)) {
                Ok(Err(EtcdError::NotSent(why) | EtcdError::Unknown(why))) => last = why,
                Ok(_) => return Ok(()),
                Err(_) => {
                    let urls: Vec<&str> = self.endpoints.iter().map(|one| &*one.url).collect();
                    let mut message =
                        format!("etcd at {} is not reachable: {DEADLINE}", urls.join(","));
                    if !last.is_empty() {
                        message.push_str(": ");
                        message.push_str(&last);
                    }
                    return Err(Error::Unreachable { message });
                }
            }
            self.failed(index);
            let _ = timeout_at(deadline, tokio::time::sleep(CONNECT_PAUSE)).await;
        }
    }

    /// A request that changes nothing.
    pub(crate) async fn read<T, F, Fut>(&self, request: F) -> Result<T, EtcdError>
    where
        F: Fn(&EndpointClient) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let deadline = Instant::now() + self.request_timeout;
        let mut last = EtcdError::Unknown("not tried".to_owned());
        for pause in READ_BACKOFF {
            if !pause.is_zero() {
                tokio::time::sleep(pause.mul_f64(1.0 + rand::random::<f64>() * 0.1)).await;
            }
            match self.attempt(deadline, &request).await {
                Err(error @ (EtcdError::NotSent(_) | EtcdError::Unknown(_)))
                    if Instant::now() < deadline =>
                {
                    last = error
                }
                outcome => return outcome,
            }
        }
        Err(last)
    }

    /// A request that may change something.
    pub(crate) async fn write<T, F, Fut>(&self, request: F) -> Result<T, EtcdError>
    where
        F: Fn(&EndpointClient) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let deadline = Instant::now() + self.request_timeout;
        let mut last = EtcdError::NotSent("not tried".to_owned());
        for pause in READ_BACKOFF {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            match self.attempt(deadline, &request).await {
                Err(error @ EtcdError::NotSent(_)) if Instant::now() < deadline => last = error,
                outcome => return outcome,
            }
        }
        Err(last)
    }

    async fn attempt<T, F, Fut>(&self, deadline: Instant, request: &F) -> Result<T, EtcdError>
    where
        F: Fn(&EndpointClient) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let (index, endpoint) = self.endpoint();
        let outcome = match timeout_at(deadline, request(endpoint)).await {
            Ok(outcome) => outcome.map_err(classify),
            Err(_) => Err(EtcdError::Unknown(DEADLINE.to_owned())),
        };
        if let Err(EtcdError::NotSent(_) | EtcdError::Unknown(_)) = &outcome {
            self.failed(index);
        }
        outcome
    }
}

/// What an error of the client library means.
pub(crate) fn classify(error: etcd_client::Error) -> EtcdError {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return EtcdError::Unknown(error.to_string());
    };
    let message = status.message();
    if message.contains("required revision has been compacted") {
        return EtcdError::Compacted;
    }
    if message.contains("required revision is a future revision") {
        return EtcdError::FutureRevision;
    }
    let mut source = std::error::Error::source(&status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return EtcdError::NotSent(chain(error));
        }
        source = error.source();
    }
    // Of a broken connection the status says only that; its causes say more.
    let broken = match std::error::Error::source(&status) {
        Some(cause) if message == "transport error" => last_cause(cause),
        _ => message.to_owned(),
    };
    match status.code() {
        // etcd's own word that it has not proposed the request.
        Code::ResourceExhausted if message.contains("too many requests") => EtcdError::Refused {
            code: status.code(),
            message: message.to_owned(),
        },
        // The write that crosses the quota is applied first, then the alarm is raised.
        Code::ResourceExhausted
        | Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal
        | Code::Aborted
        | Code::DataLoss => EtcdError::Unknown(broken),
        code => EtcdError::Refused {
            code,
            message: message.to_owned(),
        },
    }
}

/// What lies at the bottom of an error, in Go's words where it is one of the connection.
fn last_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    match last.downcast_ref::<std::io::Error>() {
        Some(error) => handshake_error(error),
        None => last.to_string(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

impl EtcdError {
    /// The error of a read.
    pub(crate) fn into_read_error(self, what: &str) -> Error {
        match self {
            Self::NotSent(message) | Self::Unknown(message) => Error::Unreachable {
                message: format!("etcd: {what}: {message}"),
            },
            other => other.into_error(what),
        }
    }

    /// The error of a write.
    pub(crate) fn into_write_error(self, what: &str) -> Error {
        match self {
            Self::NotSent(message) => Error::Unreachable {
                message: format!("etcd: {what}: {message}"),
            },
            Self::Unknown(message) => Error::Timeout {
                message: format!("etcd: {what}: outcome unknown: {message}"),
            },
            other => other.into_error(what),
        }
    }

    fn into_error(self, what: &str) -> Error {
        match self {
            Self::Compacted => {
                Error::expired("The resourceVersion for the provided list is too old.")
            }
            Self::FutureRevision => {
                Error::internal("etcdserver: mvcc: required revision is a future revision")
            }
            Self::Refused { message, .. } => Error::Internal { message },
            Self::NotSent(message) | Self::Unknown(message) => {
                Error::internal(format!("etcd: {what}: {message}"))
            }
        }
    }
}

impl std::fmt::Display for EtcdError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(message) | Self::Unknown(message) | Self::Refused { message, .. } => {
                f.write_str(message)
            }
            Self::Compacted => {
                f.write_str("etcdserver: mvcc: required revision has been compacted")
            }
            Self::FutureRevision => {
                f.write_str("etcdserver: mvcc: required revision is a future revision")
            }
        }
    }
}
