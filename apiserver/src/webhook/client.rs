//! One webhook server: its address, its connections, one request at a time. Upstream: ClientManager.HookClient, client-go/rest.
//!
//! As upstream only servers on this host are offered HTTP/2: connections to others are many, so that a Service spreads the load.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api_types::meta::v1::Status;
use apimachinery::gvk::GroupResource;
use apimachinery::status::{self, StatusError};
use bytes::Bytes;
use client::config::{CertificateSource, RequestAuth, TlsSettings, handshake_error};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::time::Instant;

use crate::egress::{Dialer, Egress};
use crate::request::context::AuditAnnotations;
use crate::traces::trace;

use super::certificates::{CertificateMetrics, Faults};
use super::{Authentication, CallError, ClientConfig, ConfigError, DEFAULT_PORT, ServiceResolver};

/// As Go's transport in client-go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(90);
const IDLE_CONNECTIONS: usize = 25;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// A webhook cannot make the server hold more than this.
const MAX_ANSWER: usize = 64 << 20;
/// How often a server that asks for another attempt gets one.
const RETRIES: u32 = 10;
/// What Go says when there was no answer in time.
const LATE: &str = "context deadline exceeded";
/// How much of an error page is shown.
const MAX_ERROR_TEXT: usize = 2048;
const USER_AGENT: HeaderValue = HeaderValue::from_static("kube-apiserver-admission");

type Http1 = http1::SendRequest<Full<Bytes>>;
type Http2 = http2::SendRequest<Full<Bytes>>;

/// Posts to one webhook server.
pub struct Client {
    target: Target,
    /// `host[:port]` as the Host header has it.
    authority: String,
    path: String,
    tls: Arc<rustls::ClientConfig>,
    server_name: ServerName<'static>,
    services: Arc<dyn ServiceResolver>,
    via: Dialer,
    /// How this server says who it is.
    auth: Option<RequestAuth>,
    idle: Mutex<Idle>,
    /// What the server showed last.
    faults: Mutex<Faults>,
    certificates: CertificateMetrics,
}

enum Target {
    Service {
        namespace: String,
        name: String,
        port: u16,
    },
    Host(String, u16),
}

#[derive(Default)]
struct Idle {
    http1: Vec<(Instant, Http1)>,
    http2: Option<Http2>,
}

enum Connection {
    /// And whether it was used before.
    Http1(Http1, bool),
    Http2(Http2, bool),
}

/// A request did not get through.
enum SendError {
    /// It was never sent: a kept connection had gone.
    Unsent(String),
    Broken(String),
}

impl Client {
    pub(super) fn new(
        config: &ClientConfig,
        services: Arc<dyn ServiceResolver>,
        egress: &Egress,
        authentication: Option<&Authentication>,
        certificates: CertificateMetrics,
    ) -> Result<Client, ConfigError> {
        let (target, authority, path, server_name, local) = match (&config.service, &config.url) {
            (Some(service), _) => {
                let port = service.port.unwrap_or(DEFAULT_PORT);
                let server_name = format!("{}.{}.svc", service.name, service.namespace);
                let target = Target::Service {
                    namespace: service.namespace.clone(),
                    name: service.name.clone(),
                    port,
                };
                let authority = format!("{server_name}:{port}");
                (
                    target,
                    authority,
                    clean_path(&service.path),
                    server_name,
                    false,
                )
            }
            (None, Some(url)) if !url.is_empty() => {
                let parsed = url::Url::parse(url)
                    .map_err(|error| ConfigError(format!("Unparsable URL: {error}")))?;
                if parsed.scheme() != "https" {
                    return Err(ConfigError(format!(
                        "webhooks are called by https, not {:?}",
                        parsed.scheme()
                    )));
                }
                let host = match parsed.host() {
                    Some(url::Host::Domain(name)) => name.to_owned(),
                    Some(url::Host::Ipv4(address)) => address.to_string(),
                    Some(url::Host::Ipv6(address)) => address.to_string(),
                    None => return Err(ConfigError("Unparsable URL: no host".to_owned())),
                };
                let shown = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host.clone()
                };
                let authority = match parsed.port() {
                    Some(port) => format!("{shown}:{port}"),
                    None => shown,
                };
                let port = parsed.port().unwrap_or(DEFAULT_PORT);
                let local = is_local(&host);
                (
                    Target::Host(host.clone(), port),
                    authority,
                    clean_path(parsed.path()),
                    host,
                    local,
                )
            }
            _ => {
                return Err(ConfigError(
                    "webhook configuration must have either service or URL".to_owned(),
                ));
            }
        };
        let via = match target {
            Target::Service { .. } => egress.cluster.clone(),
            Target::Host(..) => egress.control_plane.clone(),
        };
        let user = match authentication {
            Some(authentication) => authentication.of(&host_and_port(&authority))?,
            None => None,
        };
        let auth = user.as_ref().map(RequestAuth::new).transpose();
        let auth = auth.map_err(|error| ConfigError(error.to_string()))?;
        let settings = TlsSettings {
            ca: (!config.ca_bundle.is_empty())
                .then(|| CertificateSource::Data(config.ca_bundle.clone())),
            ..user.map(|user| user.tls).unwrap_or_default()
        };
        let alpn: &[&[u8]] = if local {
            &[b"h2", b"http/1.1"]
        } else {
            &[b"http/1.1"]
        };
        let tls = settings.client_config(alpn).map_err(|error| match error {
            client::config::ConfigError::Tls { reason, .. } => ConfigError(reason),
            other => ConfigError(other.to_string()),
        })?;
        let server_name = match server_name.parse::<IpAddr>() {
            Ok(address) => ServerName::IpAddress(address.into()),
            Err(_) => ServerName::try_from(server_name.clone())
                .map_err(|error| ConfigError(format!("server name {server_name:?}: {error}")))?,
        };
        Ok(Client {
            target,
            authority,
            path,
            tls: Arc::new(tls),
            server_name,
            via,
            services,
            auth,
            idle: Mutex::default(),
            faults: Mutex::default(),
            certificates,
        })
    }

    /// Posts JSON and returns the body of a successful answer. The timeout is for everything, and the webhook is told of it. What
    /// is wrong with the server's certificate is noted for the request on account of which this is done.
    pub async fn post(
        &self,
        body: Bytes,
        timeout: Option<Duration>,
        annotations: &AuditAnnotations,
    ) -> Result<Bytes, CallError> {
        let path = match timeout {
            Some(timeout) => format!("{}?timeout={}", self.path, whole_seconds(timeout)),
            None => self.path.clone(),
        };
        let failed = |text: String| {
            CallError::Failed(format!("Post \"https://{}{path}\": {text}", self.authority))
        };
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut retries = 0;
        let (head, body) = loop {
            let sent = Box::pin(self.send(&path, body.clone(), annotations));
            let sent = within(deadline, sent).await;
            let sent = sent.ok_or_else(|| failed(LATE.to_owned()))?;
            let sent = sent.map_err(failed)?;
            self.note_faults(*self.faults.lock(), annotations);
            let (head, answer) = self.read(sent, deadline).await?;
            let Some(wait) = retry_after(&head).filter(|_| retries < RETRIES) else {
                break (head, answer);
            };
            retries += 1;
            let waited = within(deadline, tokio::time::sleep(wait)).await;
            waited.ok_or_else(|| failed(LATE.to_owned()))?;
        };
        if head.status.is_success() && head.status.as_u16() <= 206 {
            if body.is_empty() {
                return Err(CallError::Failed(format!(
                    "0-length response with status code: {} and content type: {}",
                    head.status.as_u16(),
                    content_type(&head.headers)
                )));
            }
            return Ok(body);
        }
        Err(CallError::Status(Box::new(refusal(&head, &body))))
    }

    /// The whole answer. Its connection is kept.
    async fn read(
        &self,
        (response, connection): (Response<Incoming>, Connection),
        deadline: Option<Instant>,
    ) -> Result<(http::response::Parts, Bytes), CallError> {
        let (head, incoming) = response.into_parts();
        let unread = |why: &str| {
            CallError::Failed(format!(
                "unexpected error when reading response body. Please retry. Original error: {why}"
            ))
        };
        let read = Limited::new(incoming, MAX_ANSWER).collect();
        let body = match within(deadline, read).await {
            Some(Ok(body)) => body.to_bytes(),
            Some(Err(error)) => return Err(unread(&error.to_string())),
            None => return Err(unread(LATE)),
        };
        self.keep(connection);
        Ok((head, body))
    }

    async fn send(
        &self,
        path: &str,
        body: Bytes,
        annotations: &AuditAnnotations,
    ) -> Result<(Response<Incoming>, Connection), String> {
        loop {
            let connection = self.connection(annotations).await?;
            let reused = matches!(
                connection,
                Connection::Http1(_, true) | Connection::Http2(_, true)
            );
            match self.send_on(connection, path, body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(SendError::Unsent(_)) if reused => {}
                Err(SendError::Unsent(text) | SendError::Broken(text)) => return Err(text),
            }
        }
    }

    async fn send_on(
        &self,
        connection: Connection,
        path: &str,
        body: Bytes,
    ) -> Result<(Response<Incoming>, Connection), SendError> {
        let over_http2 = matches!(connection, Connection::Http2(..));
        let uri = if over_http2 {
            format!("https://{}{path}", self.authority)
        } else {
            path.to_owned()
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(body))
            .map_err(|error| SendError::Broken(error.to_string()))?;
        if !over_http2 {
            let host = HeaderValue::try_from(&self.authority)
                .map_err(|error| SendError::Broken(error.to_string()))?;
            request.headers_mut().insert(header::HOST, host);
        }
        let call = trace::call("HTTP POST");
        call.tell(request.headers_mut());
        if let Some(auth) = &self.auth {
            let applied = auth.apply(request.headers_mut()).await;
            applied.map_err(|error| SendError::Broken(error.to_string()))?;
        }
        match connection {
            Connection::Http1(mut sender, _) => {
                let response = sender.send_request(request).await.map_err(send_error)?;
                Ok((response, Connection::Http1(sender, true)))
            }
            Connection::Http2(mut sender, _) => {
                let response = sender.send_request(request).await.map_err(send_error)?;
                Ok((response, Connection::Http2(sender, true)))
            }
        }
    }

    fn note_faults(&self, faults: Faults, annotations: &AuditAnnotations) {
        let host = self.server_name.to_str();
        self.certificates.count(faults, &host, annotations);
    }

    /// A connection that carries nothing now.
    async fn connection(&self, annotations: &AuditAnnotations) -> Result<Connection, String> {
        if let Some(sender) = self.shared() {
            return Ok(Connection::Http2(sender, true));
        }
        // An answer can be read before its connection is ready for the next request.
        while let Some(mut sender) = self.unused() {
            if sender.ready().await.is_ok() {
                return Ok(Connection::Http1(sender, true));
            }
        }
        let (host, port) = match &self.target {
            Target::Host(host, port) => (host.clone(), *port),
            Target::Service {
                namespace,
                name,
                port,
            } => self.services.resolve(namespace, name, *port).await?,
        };
        let address = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let stream = self.via.dial(&host, port).await;
        let stream = stream.map_err(|error| error.text(&address))?;
        let handshake = tokio_rustls::TlsConnector::from(self.tls.clone())
            .connect(self.server_name.clone(), stream);
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| "net/http: TLS handshake timeout".to_owned())?
            .map_err(|error| {
                self.note_faults(Faults::of_failure(&error), annotations);
                handshake_error(&error)
            })?;
        let chain = stream.get_ref().1.peer_certificates();
        *self.faults.lock() = chain.map(Faults::of_chain).unwrap_or_default();
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(text_of)?;
            spawn(connection);
            self.idle.lock().http2 = Some(sender.clone());
            return Ok(Connection::Http2(sender, false));
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(text_of)?;
        spawn(connection);
        Ok(Connection::Http1(sender, false))
    }

    fn shared(&self) -> Option<Http2> {
        let idle = self.idle.lock();
        idle.http2
            .as_ref()
            .filter(|sender| !sender.is_closed())
            .cloned()
    }

    fn unused(&self) -> Option<Http1> {
        let mut idle = self.idle.lock();
        idle.http1
            .retain(|(since, sender)| since.elapsed() < IDLE && !sender.is_closed());
        idle.http1.pop().map(|(_, sender)| sender)
    }

    /// Takes a connection back once its answer was read.
    fn keep(&self, connection: Connection) {
        if let Connection::Http1(sender, _) = connection
            && !sender.is_closed()
        {
            let mut idle = self.idle.lock();
            if idle.http1.len() < IDLE_CONNECTIONS {
                idle.http1.push((Instant::now(), sender));
            }
        }
    }
}

async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

fn spawn<F>(connection: F)
where
    F: Future<Output = Result<(), hyper::Error>> + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "A connection to a webhook ended");
        }
    });
}

fn send_error(error: hyper::Error) -> SendError {
    if error.is_canceled() {
        SendError::Unsent(text_of(error))
    } else {
        SendError::Broken(text_of(error))
    }
}

/// What Go says when a connection breaks.
fn text_of(error: hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return "EOF".to_owned();
    }
    let source = std::error::Error::source(&error);
    match source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
        Some(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        Some(error) => apimachinery::os_error::text(error),
        None => error.to_string(),
    }
}

/// With the port that is meant when there is none.
fn host_and_port(authority: &str) -> String {
    let address = authority.rsplit(']').next().unwrap_or_default();
    if address.contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:{DEFAULT_PORT}")
    }
}

/// As Go's path.Join with a slash before it.
fn clean_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Rounded up, as Go writes durations.
fn whole_seconds(timeout: Duration) -> String {
    let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
    let nanoseconds = i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000_000);
    apimachinery::duration::format(nanoseconds)
}

fn content_type(headers: &http::HeaderMap) -> &str {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// How long a server wants to be left alone before the next attempt, if it wants one. Upstream: checkWait of client-go/rest.
fn retry_after(head: &http::response::Parts) -> Option<Duration> {
    let may_pass = head.status == StatusCode::TOO_MANY_REQUESTS || head.status.as_u16() >= 500;
    let value = head.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: i64 = value.parse().ok().filter(|_| may_pass)?;
    Some(Duration::from_secs(seconds.try_into().unwrap_or(0)))
}

/// What an answer that is no success says. Upstream: Request.transformResponse and Result.Error.
fn refusal(head: &http::response::Parts, body: &[u8]) -> StatusError {
    let kind = content_type(&head.headers);
    let text = if kind.is_empty() || kind.starts_with("text/") {
        let shown = &body[..body.len().min(MAX_ERROR_TEXT)];
        String::from_utf8_lossy(shown).trim().to_owned()
    } else {
        "unknown".to_owned()
    };
    let retry_after = head
        .headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    let generic = status::generic_server_response(
        head.status.as_u16(),
        "POST",
        &GroupResource::default(),
        "",
        &text,
        retry_after,
        true,
    );
    match api_types::decode_json::<Status>(body) {
        Ok(told)
            if told.type_meta.kind == "Status"
                && told.type_meta.api_version == "v1"
                && told.status == "Failure" =>
        {
            StatusError::from(told)
        }
        _ => generic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_timeouts_rounded_up() {
        for (path, want) in [("", "/"), ("/", "/"), ("/a//b/", "/a/b"), ("a/../b", "/b")] {
            assert_eq!(clean_path(path), want);
        }
        assert_eq!(whole_seconds(Duration::from_secs(10)), "10s");
        assert_eq!(whole_seconds(Duration::from_millis(9001)), "10s");
        assert_eq!(whole_seconds(Duration::from_secs(90)), "1m30s");
    }

    #[test]
    fn only_overload_and_failures_of_the_server_are_tried_again() {
        let after = |code: u16, value: Option<&str>| {
            let mut response = Response::builder().status(code);
            if let Some(value) = value {
                response = response.header(header::RETRY_AFTER, value);
            }
            retry_after(&response.body(()).unwrap().into_parts().0)
        };
        for code in [429, 500, 503] {
            assert_eq!(after(code, Some("2")), Some(Duration::from_secs(2)));
            assert_eq!(after(code, Some("-1")), Some(Duration::ZERO));
            assert_eq!(after(code, Some("soon")), None);
            assert_eq!(after(code, None), None);
        }
        assert_eq!(after(200, Some("2")), None);
        assert_eq!(after(409, Some("2")), None);
    }

    #[test]
    fn servers_of_this_host() {
        assert!(is_local("localhost") && is_local("127.0.0.1") && is_local("::1"));
        assert!(!is_local("10.0.0.1") && !is_local("webhook.default.svc"));
    }
}
