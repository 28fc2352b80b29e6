//! Connections to the API server. Upstream: `client-go/transport` over Go's `net/http`.
//!
//! One pool per client. HTTP/2 connections are shared by all requests, up to the number of streams the server allows (the API
//! server: 100), then a further one is opened; HTTP/1.1 connections carry one request at a time and are kept for the next.
//! An HTTP/2 connection on which nothing was read for 30 s is pinged and given up 15 s later, which is how a watch over a dead
//! link is noticed.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::config::{
    BaseUrl, ConfigError, Credentials, TlsConfigs, TlsSource, dial_error, handshake_error,
};

/// Streams on one connection until the server has said how many it takes, and at most.
const INITIAL_STREAMS: usize = 100;
const MAX_STREAMS: usize = 1000;
/// As Go's transport settings in client-go.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(30);
const READ_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
const IDLE_HTTP1: Duration = Duration::from_secs(90);
const IDLE_HTTP1_CONNECTIONS: usize = 25;

/// A boxed error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, held whole so that it can be sent again.
pub type RequestBody = Full<Bytes>;

/// The body of a response as it arrives.
pub type ResponseBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// A byte stream, whatever carries it.
pub type AnyStream = Pin<Box<dyn Stream>>;

/// The two directions of a connection after `101 Switching Protocols`.
pub type UpgradedIo = AnyStream;

/// Both directions of a byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// Reaches servers in another way than by TCP straight to them. Upstream: `rest.Config.Dial`.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// A connection to a host's port, on which TLS and HTTP are spoken as on any. Users are shown the error as it is.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<AnyStream>>;
}

/// What a server's answer to an upgrade request was.
pub enum UpgradeOutcome {
    /// `101`: the connection is ours.
    Upgraded(Response<()>, UpgradedIo),
    /// Anything else.
    Refused(Response<ResponseBody>),
}

/// Why no answer was received.
#[derive(Debug)]
pub struct TransportError {
    kind: TransportErrorKind,
    source: BoxError,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// No connection could be made.
    Connect,
    /// The request certainly was not processed: it may be sent again.
    NotSent,
    /// The connection broke after the request was sent, and before or during the answer.
    Broken,
    /// Credentials or TLS files are unusable.
    Config,
}

impl TransportError {
    /// An error of a kind with its cause.
    pub fn new(kind: TransportErrorKind, source: impl Into<BoxError>) -> Self {
        Self {
            kind,
            source: source.into(),
        }
    }

    /// How far the request came.
    pub fn kind(&self) -> TransportErrorKind {
        self.kind
    }

    /// Whether nobody listens at the server's address.
    pub fn is_connection_refused(&self) -> bool {
        self.has_io_kind(|kind| kind == io::ErrorKind::ConnectionRefused)
    }

    /// Whether the other side dropped the connection, which tells nothing about the request: reads may be repeated.
    pub fn is_reset(&self) -> bool {
        self.kind == TransportErrorKind::Broken
    }

    fn has_io_kind(&self, wanted: impl Fn(io::ErrorKind) -> bool) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&*self.source);
        while let Some(error) = next {
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| wanted(error.kind()))
            {
                return true;
            }
            next = error.source();
        }
        false
    }
}

impl fmt::Display for TransportError {
    /// The whole chain: hyper's own texts say too little without their causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut next = self.source.source();
        let mut last = self.source.to_string();
        while let Some(error) = next {
            let text = error.to_string();
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
            next = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for TransportError {}

impl From<ConfigError> for TransportError {
    fn from(error: ConfigError) -> Self {
        Self::new(TransportErrorKind::Config, error)
    }
}

/// Carries requests to the server. The real one is a connection pool; tests and an API server talking to itself bring their own.
///
/// Requests have an absolute URI and all headers; the transport adds nothing but what the protocol needs.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and returns the answer's head; the body follows as it arrives.
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'_, Result<Response<ResponseBody>, TransportError>>;

    /// Sends an upgrade request on a connection of its own.
    fn upgrade(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'_, Result<UpgradeOutcome, TransportError>>;
}

/// The connection pool.
pub(crate) struct Pool {
    shared: Arc<PoolShared>,
}

struct PoolShared {
    base: BaseUrl,
    tls: TlsSource,
    credentials: Arc<Credentials>,
    dial: Option<Arc<dyn Dial>>,
    connections: Mutex<Connections>,
    /// Held while connecting, so that a burst of first requests shares one HTTP/2 connection.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Connections {
    http2: Vec<Http2>,
    http1: Vec<IdleHttp1>,
    /// The server was seen to speak HTTP/1.1 only: connecting need not be serialised.
    http1_only: bool,
}

#[derive(Clone)]
struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    streams: Arc<AtomicUsize>,
    /// What the server allows now.
    limit: Arc<AtomicUsize>,
    generation: u64,
}

struct IdleHttp1 {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
    generation: u64,
}

/// A place on a connection.
enum Lease {
    Http2(http2::SendRequest<RequestBody>, StreamGuard),
    Http1(http1::SendRequest<RequestBody>, u64),
}

/// Counts one stream as open until dropped.
struct StreamGuard(Arc<AtomicUsize>);

impl StreamGuard {
    fn new(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::AcqRel);
        Self(streams.clone())
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pool {
    pub(crate) fn new(
        base: BaseUrl,
        tls: TlsSource,
        credentials: Arc<Credentials>,
        dial: Option<Arc<dyn Dial>>,
    ) -> Self {
        let shared = PoolShared {
            base,
            tls,
            credentials,
            dial,
            connections: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl Transport for Pool {
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'_, Result<Response<ResponseBody>, TransportError>> {
        Box::pin(async move { self.shared.clone().send(request).await })
    }

    fn upgrade(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'_, Result<UpgradeOutcome, TransportError>> {
        Box::pin(async move { self.shared.upgrade(request).await })
    }
}

impl PoolShared {
    async fn send(
        self: Arc<Self>,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, TransportError> {
        // A pooled connection may turn out closed when it is used; a fresh one may not be needed more than a few times in a row.
        let mut attempt = 0;
        loop {
            attempt += 1;
            let lease = self.lease().await?;
            match self.send_on(lease, request.clone()).await {
                Err(error) if error.kind() == TransportErrorKind::NotSent && attempt < 4 => {}
                done => return done,
            }
        }
    }

    async fn send_on(
        self: &Arc<Self>,
        lease: Lease,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, TransportError> {
        match lease {
            Lease::Http2(mut sender, guard) => {
                let response = sender.send_request(request).await.map_err(sending_error)?;
                Ok(response.map(|body| {
                    boxed(Tracked {
                        body,
                        end: End::Http2(guard),
                    })
                }))
            }
            Lease::Http1(mut sender, generation) => {
                let response = sender
                    .send_request(origin_form(request))
                    .await
                    .map_err(sending_error)?;
                let end = End::Http1(Some((sender, generation, self.clone())));
                Ok(response.map(|body| boxed(Tracked { body, end })))
            }
        }
    }

    async fn configs(&self) -> Result<Option<TlsConfigs>, TransportError> {
        if !self.base.tls {
            return Ok(None);
        }
        let exec = self.credentials.certificate().await?;
        Ok(Some(self.tls.configs(exec)?))
    }

    async fn lease(&self) -> Result<Lease, TransportError> {
        let configs = self.configs().await?;
        let generation = configs.as_ref().map_or(0, |configs| configs.generation);
        if let Some(lease) = self.pooled(generation) {
            return Ok(lease);
        }
        let serialised = if self.connections.lock().http1_only {
            None
        } else {
            Some(self.connecting.lock().await)
        };
        if serialised.is_some()
            && let Some(lease) = self.pooled(generation)
        {
            return Ok(lease);
        }
        let (io, is_http2) = self
            .connect(configs.as_ref().map(|configs| &configs.any))
            .await?;
        if is_http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(READ_IDLE_TIMEOUT)
                .keep_alive_timeout(PING_TIMEOUT)
                .keep_alive_while_idle(true)
                // As Go: windows wide enough that a slow reader of one watch does not hold up the others.
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(1 << 30)
                .max_frame_size(1 << 20)
                .max_header_list_size(10 << 20)
                .handshake(TokioIo::new(io))
                .await
                .map_err(|error| TransportError::new(TransportErrorKind::Connect, error))?;
            let streams = Arc::new(AtomicUsize::new(0));
            let limit = Arc::new(AtomicUsize::new(INITIAL_STREAMS));
            let lease = Lease::Http2(sender.clone(), StreamGuard::new(&streams));
            let mut connections = self.connections.lock();
            connections.http1_only = false;
            connections.http2.push(Http2 {
                sender,
                streams,
                limit: limit.clone(),
                generation,
            });
            drop(connections);
            spawn_connection(async move {
                let mut connection = std::pin::pin!(connection);
                std::future::poll_fn(|cx| {
                    let polled = connection.as_mut().poll(cx);
                    let allowed = connection.current_max_send_streams();
                    limit.store(allowed.min(MAX_STREAMS), Ordering::Release);
                    polled
                })
                .await
            });
            Ok(lease)
        } else {
            let (sender, connection) = http1::Builder::new()
                .handshake(TokioIo::new(io))
                .await
                .map_err(|error| TransportError::new(TransportErrorKind::Connect, error))?;
            self.connections.lock().http1_only = true;
            spawn_connection(connection);
            Ok(Lease::Http1(sender, generation))
        }
    }

    fn pooled(&self, generation: u64) -> Option<Lease> {
        let mut connections = self.connections.lock();
        // A connection made with older certificates goes when its streams have ended: dropping the sender lets it finish.
        connections.http2.retain(|connection| {
            connection.generation == generation && !connection.sender.is_closed()
        });
        connections.http1.retain(|idle| {
            idle.generation == generation
                && !idle.sender.is_closed()
                && idle.since.elapsed() < IDLE_HTTP1
        });
        for connection in &connections.http2 {
            if connection.streams.load(Ordering::Acquire) < connection.limit.load(Ordering::Acquire)
            {
                return Some(Lease::Http2(
                    connection.sender.clone(),
                    StreamGuard::new(&connection.streams),
                ));
            }
        }
        while let Some(idle) = connections.http1.pop() {
            if idle.sender.is_ready() {
                return Some(Lease::Http1(idle.sender, idle.generation));
            }
        }
        None
    }

    async fn connect(
        &self,
        tls: Option<&Arc<rustls::ClientConfig>>,
    ) -> Result<(Box<dyn Io>, bool), TransportError> {
        match &self.dial {
            Some(dial) => {
                let stream = dial.dial(&self.base.host, self.base.port).await;
                self.secure(stream.map_err(connect_error)?, tls).await
            }
            None => self.secure(self.straight().await?, tls).await,
        }
    }

    async fn straight(&self) -> Result<TcpStream, TransportError> {
        let address = (self.base.host.as_str(), self.base.port);
        let tcp = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|_| timed_out("connecting"))
            .and_then(|result| result)
            .map_err(|error| {
                let host = &self.base.host;
                let address = if host.contains(':') {
                    format!("[{host}]:{}", self.base.port)
                } else {
                    format!("{host}:{}", self.base.port)
                };
                let text = dial_error("tcp", &address, &error);
                connect_error(io::Error::new(error.kind(), text))
            })?;
        tcp.set_nodelay(true).map_err(connect_error)?;
        set_tcp_keepalive(&tcp);
        Ok(tcp)
    }

    /// Does the handshake, where there is one, and says whether HTTP/2 came out of it.
    async fn secure<S>(
        &self,
        stream: S,
        tls: Option<&Arc<rustls::ClientConfig>>,
    ) -> Result<(Box<dyn Io>, bool), TransportError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Some(tls) = tls else {
            return Ok((Box::new(stream), false));
        };
        let name: ServerName<'static> = self.tls.server_name(&self.base.host)?;
        let handshake = tokio_rustls::TlsConnector::from(tls.clone()).connect(name, stream);
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| timed_out("TLS handshake"))
            .and_then(|result| result)
            .map_err(|error| {
                connect_error(io::Error::new(error.kind(), handshake_error(&error)))
            })?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Box::new(stream), is_http2))
    }

    async fn upgrade(
        &self,
        request: Request<RequestBody>,
    ) -> Result<UpgradeOutcome, TransportError> {
        let configs = self.configs().await?;
        let (io, _) = self
            .connect(configs.as_ref().map(|configs| &configs.http1))
            .await?;
        let (mut sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| TransportError::new(TransportErrorKind::Connect, error))?;
        spawn_connection(connection.with_upgrades());
        let mut response = sender
            .send_request(origin_form(request))
            .await
            .map_err(sending_error)?;
        if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(UpgradeOutcome::Refused(response.map(|body| {
                boxed(Tracked {
                    body,
                    end: End::Alone(sender),
                })
            })));
        }
        let upgraded = hyper::upgrade::on(&mut response)
            .await
            .map_err(|error| TransportError::new(TransportErrorKind::Broken, error))?;
        Ok(UpgradeOutcome::Upgraded(
            response.map(|_| ()),
            Box::pin(TokioIo::new(upgraded)),
        ))
    }

    fn put_back(&self, sender: http1::SendRequest<RequestBody>, generation: u64) {
        let mut connections = self.connections.lock();
        if connections.http1.len() < IDLE_HTTP1_CONNECTIONS {
            connections.http1.push(IdleHttp1 {
                sender,
                since: Instant::now(),
                generation,
            });
        }
    }
}

fn connect_error(error: io::Error) -> TransportError {
    TransportError::new(TransportErrorKind::Connect, error)
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} timed out"))
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

fn set_tcp_keepalive(tcp: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(TCP_KEEP_ALIVE)
        .with_interval(TCP_KEEP_ALIVE);
    if let Err(error) = socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "setting TCP keep-alive");
    }
}

fn spawn_connection<F>(connection: F)
where
    F: Future<Output = Result<(), hyper::Error>> + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the API server ended");
        }
    });
}

/// HTTP/1.1 wants the path alone and the host in a header.
fn origin_form(mut request: Request<RequestBody>) -> Request<RequestBody> {
    let uri = request.uri().clone();
    if let Some(authority) = uri.authority()
        && !request.headers().contains_key(http::header::HOST)
        && let Ok(value) = http::HeaderValue::try_from(authority.as_str())
    {
        request.headers_mut().insert(http::header::HOST, value);
    }
    if let Some(path) = uri.path_and_query()
        && let Ok(uri) = http::Uri::try_from(path.as_str())
    {
        *request.uri_mut() = uri;
    }
    request
}

fn sending_error(error: hyper::Error) -> TransportError {
    // `canceled`: the connection was gone before the request was handed to it.
    let kind = if error.is_canceled() {
        TransportErrorKind::NotSent
    } else {
        TransportErrorKind::Broken
    };
    TransportError::new(kind, error)
}

fn boxed(body: Tracked) -> ResponseBody {
    use http_body_util::BodyExt as _;
    body.map_err(|error| Box::new(error) as BoxError)
        .boxed_unsync()
}

/// A response body that holds its place on the connection until it has ended.
struct Tracked {
    body: Incoming,
    end: End,
}

enum End {
    #[expect(dead_code, reason = "held for its drop")]
    Http2(StreamGuard),
    Http1(Option<(http1::SendRequest<RequestBody>, u64, Arc<PoolShared>)>),
    /// Not pooled; dropping the sender would close the connection before the body is read.
    #[expect(dead_code, reason = "held for its drop")]
    Alone(http1::SendRequest<RequestBody>),
}

impl Tracked {
    /// The body was read to its end, so the HTTP/1.1 connection can carry the next request.
    fn ended(&mut self) {
        if let End::Http1(lease) = &mut self.end
            && let Some((mut sender, generation, pool)) = lease.take()
        {
            tokio::spawn(async move {
                if sender.ready().await.is_ok() {
                    pool.put_back(sender, generation);
                }
            });
        }
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.ended(),
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => self.ended(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
