//! Accepts connections and runs HTTP on them. Upstream: secure_serving.go RunServer, Go's net/http and x/net/http2.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::activity::{Activity, Noted, Over};
use super::bind::Listener;
use super::gather::{self, Gathered};
use super::streams::{Driver, Streams};
use super::tls::CurrentTls;
use super::{Body, ConnectionInfo, Handler, error_response};

/// Limits on what one connection may ask for; the defaults are upstream's.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    pub http2_max_streams: u32,
    /// Size of request line and headers.
    pub max_header_bytes: usize,
    /// Time a client has to send the headers of a request, and to finish its TLS handshake.
    pub read_header_timeout: Duration,
    /// Time a connection may be without a request after one.
    pub idle_timeout: Duration,
    /// Sizes of HTTP/2 frames and of one stream's receive window.
    pub http2_stream_window: u32,
    /// Counts failed TLS handshakes.
    pub handshake_errors: Option<prometheus::Counter>,
    /// Text of the 500 that answers a request whose handler panicked.
    pub panic_text: &'static str,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            http2_max_streams: 100,
            max_header_bytes: 1 << 20,
            read_header_timeout: Duration::from_secs(32),
            idle_timeout: Duration::from_secs(90),
            http2_stream_window: 256 * 1024,
            handshake_errors: None,
            panic_text: "This request caused apiserver to panic. Look in the logs for details.",
        }
    }
}

/// How long a client that has agreed on HTTP/2 has to speak it: prefaceTimeout of x/net/http2.
pub(super) const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub(super) enum Tls {
    Off,
    On(CurrentTls),
}

/// A server whose socket is open and which does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    tls: Tls,
    limits: ServerLimits,
}

impl Server {
    pub(super) fn new(listener: Listener, tls: Tls, limits: ServerLimits) -> Self {
        Self {
            listener,
            tls,
            limits,
        }
    }

    /// A server without TLS on an open socket.
    pub fn plain(listener: Listener) -> Self {
        Self::new(listener, Tls::Off, ServerLimits::default())
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Answers requests as a task of its own until `stop`, then stops listening, asks connections to close (GOAWAY,
    /// `Connection: close`) and waits up to `grace` for requests in flight; what is left then is cut off. Upgraded
    /// connections are the handlers'.
    ///
    /// That it serves is logged before it returns: a start that fails afterwards has its error as the last line.
    pub fn spawn(
        self,
        handler: Arc<dyn Handler>,
        stop: CancellationToken,
        grace: Duration,
    ) -> tokio::task::JoinHandle<()> {
        if matches!(self.tls, Tls::On(_)) {
            tracing::info!("Serving securely on {}", self.local_addr());
        }
        tokio::spawn(self.serve(handler, stop, grace))
    }

    async fn serve(self, handler: Arc<dyn Handler>, stop: CancellationToken, grace: Duration) {
        let address = self.local_addr();
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        let shared = Shared::new(self.tls, self.limits, handler, stop.clone());
        let shared = Arc::new(shared);
        let mut backoff = Duration::from_millis(5);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.inner.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => {
                    backoff = Duration::from_millis(5);
                    let shared = shared.clone();
                    let cut = cut.clone();
                    connections.spawn(async move {
                        tokio::select! {
                            () = cut.cancelled() => {}
                            () = shared.connection(stream, remote) => {}
                        }
                    });
                }
                Err(error) => {
                    // Out of files or memory: waiting is what is left, as in Go.
                    tracing::warn!(
                        "http: Accept error: {error}; retrying in {}ms",
                        backoff.as_millis()
                    );
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(Duration::from_secs(1));
                }
            }
        }
        drop(self.listener);
        tracing::info!("Stopped listening on {address}");
        connections.close();
        if tokio::time::timeout(grace, connections.wait())
            .await
            .is_err()
        {
            cut.cancel();
            connections.wait().await;
        }
    }
}

fn http1_builder(limits: &ServerLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // It would run while a connection waits for its next request, and not before there is a first byte.
        .header_read_timeout(None)
        .max_buf_size(limits.max_header_bytes.max(8192));
    builder
}

fn http2_builder(limits: &ServerLimits, streams: Streams) -> http2::Builder<Streams> {
    let connection_window = limits
        .http2_stream_window
        .saturating_mul(limits.http2_max_streams)
        .min((1 << 31) - 1);
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_max_streams)
        .initial_stream_window_size(limits.http2_stream_window)
        .initial_connection_window_size(connection_window)
        .max_frame_size(limits.http2_stream_window)
        // What a peer that does not read holds, besides what is gathered: as much again.
        .max_send_buf_size(2 * gather::PIECE)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(30));
    builder
}

/// What all connections of a server have in common.
pub(super) struct Shared {
    tls: Tls,
    limits: ServerLimits,
    handler: Arc<dyn Handler>,
    stop: CancellationToken,
}

impl Shared {
    pub(super) fn new(
        tls: Tls,
        limits: ServerLimits,
        handler: Arc<dyn Handler>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            tls,
            limits,
            handler,
            stop,
        }
    }

    async fn connection(&self, stream: TcpStream, remote: SocketAddr) {
        let _ = stream.set_nodelay(true);
        keep_alive(&stream);
        let remote_addr = canonical(remote);
        let local_addr = stream.local_addr().map_or(remote_addr, canonical);
        let mut info = ConnectionInfo {
            remote_addr,
            local_addr,
            tls: false,
            ..ConnectionInfo::in_process()
        };
        match &self.tls {
            Tls::Off => self.http1(stream, info).await,
            Tls::On(tls) => {
                let handshake = async {
                    let accepted = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
                    let config = tls.at(local_addr.ip(), &accepted.client_hello());
                    accepted.into_stream(config).await
                };
                let handshake =
                    tokio::time::timeout(self.limits.read_header_timeout, handshake).await;
                let mut stream = match handshake {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => {
                        return self.handshake_failed(remote_addr, &error.to_string());
                    }
                    Err(_) => return self.handshake_failed(remote_addr, "i/o timeout"),
                };
                let session = stream.get_mut().1;
                // What is gathered is encrypted at once.
                session.set_buffer_limit(Some(gather::LIMIT));
                info.tls = true;
                info.server_name = session.server_name().map(str::to_owned);
                if let Some(chain) = session.peer_certificates() {
                    info.peer_certificates = chain
                        .iter()
                        .map(|certificate| certificate.to_vec())
                        .collect();
                }
                if session.alpn_protocol() == Some(b"h2") {
                    self.http2(stream, info).await;
                } else {
                    self.http1(stream, info).await;
                }
            }
        }
    }

    fn handshake_failed(&self, remote: SocketAddr, why: &str) {
        tracing::trace!("http: TLS handshake error from {remote}: {why}");
        if let Some(counter) = &self.limits.handshake_errors {
            counter.inc();
        }
    }

    /// Answers the requests of a connection: in its task, or `apart` in tasks of their own.
    fn service(
        &self,
        info: &Arc<ConnectionInfo>,
        activity: &Arc<Activity>,
        apart: bool,
    ) -> impl hyper::service::Service<
        http::Request<Incoming>,
        Response = super::Response,
        Error = Infallible,
        Future: Send + 'static,
    > + use<> {
        let (info, activity) = (info.clone(), activity.clone());
        let handler = self.handler.clone();
        let panic_text = self.limits.panic_text;
        hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let mut request = request.map(Body::from);
            request.extensions_mut().insert(info.clone());
            let handler = handler.clone();
            let open = activity.request(request.version() == http::Version::HTTP_2);
            let is_head = request.method() == http::Method::HEAD;
            async move {
                let answer =
                    AssertUnwindSafe(async move { handler.handle(request).await }).catch_unwind();
                let answer = if apart {
                    match AbortOnDropHandle::new(tokio::spawn(answer)).await {
                        Ok(answer) => answer,
                        // The process ends.
                        Err(_) => std::future::pending().await,
                    }
                } else {
                    answer.await
                };
                let answer = answer.unwrap_or_else(|panic| {
                    tracing::error!(panic = text_of_panic(&*panic), "Observed a panic");
                    error_response(http::StatusCode::INTERNAL_SERVER_ERROR, panic_text)
                });
                let answer = if is_head {
                    without_body(answer)
                } else {
                    answer
                };
                Ok::<_, Infallible>(answer.map(|body| body.holding(open)))
            }
        })
    }

    /// The server ends, a handler wants the connection closed, or nobody uses it. False when there is nothing to wait for.
    async fn closing(&self, info: &ConnectionInfo, activity: &Activity) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => true,
            () = info.close.cancelled() => true,
            over = activity.over(&self.limits) => over == Over::Idle,
        }
    }

    /// The peer does not take what is left for it.
    async fn stuck(&self, activity: &Activity) {
        tokio::time::sleep(self.limits.idle_timeout).await;
        activity.over(&self.limits).await;
    }

    /// Answers what is asked over HTTP/1 until one side closes the connection.
    pub(super) async fn http1<S>(&self, stream: S, info: ConnectionInfo)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let info = Arc::new(info);
        let activity = Activity::new(false);
        let service = self.service(&info, &activity, false);
        let stream = Noted::new(stream, &activity);
        let mut connection = pin!(
            http1_builder(&self.limits)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
        );
        tokio::select! {
            result = connection.as_mut() => return ended(&info, result.map_err(Into::into)),
            gracefully = self.closing(&info, &activity) => if !gracefully { return },
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            result = connection.as_mut() => ended(&info, result.map_err(Into::into)),
            () = self.stuck(&activity) => {}
        }
    }

    /// HTTP/2 that TLS has agreed on. Frames are gathered before they are encrypted.
    pub(super) async fn http2<S>(&self, stream: S, info: ConnectionInfo)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let info = Arc::new(info);
        let activity = Activity::new(true);
        let service = self.service(&info, &activity, true);
        let stream = Gathered::new(stream);
        let streams = Streams::default();
        let mut connection = pin!(
            http2_builder(&self.limits, streams.clone())
                .serve_connection(TokioIo::new(stream.clone()), service)
        );
        let mut driver = Driver::new(streams);
        let mut drive = |connection: Pin<&mut _>, cx: &mut Context<'_>| {
            let polled = driver.poll(connection, cx);
            let polled = polled.map(|ended: hyper::Result<()>| ended.map_err(crate::Error::from));
            stream.poll_send(polled, activity.is_shared(), cx)
        };
        tokio::select! {
            result = poll_fn(|cx| drive(connection.as_mut(), cx)) => return ended(&info, result),
            () = silent(&stream) => return,
            gracefully = self.closing(&info, &activity) => if !gracefully { return },
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            result = poll_fn(|cx| drive(connection.as_mut(), cx)) => ended(&info, result),
            () = self.stuck(&activity) => {}
        }
    }
}

/// The peer has said nothing at all.
async fn silent<S: AsyncRead + AsyncWrite + Unpin>(stream: &Gathered<S>) {
    tokio::time::sleep(PREFACE_TIMEOUT).await;
    if stream.has_heard() {
        std::future::pending().await
    }
}

fn ended(info: &ConnectionInfo, result: Result<(), crate::Error>) {
    if let Err(error) = result {
        tracing::trace!(remote = %info.remote_addr, %error, "Connection ended");
    }
}

/// The answer to HEAD: the headers of one to GET. Over HTTP/2 nobody else takes the body away, and clients take it for a
/// broken protocol.
fn without_body(answer: super::Response) -> super::Response {
    let (mut parts, body) = answer.into_parts();
    if let Some(bytes) = body.bytes() {
        parts
            .headers
            .entry(http::header::CONTENT_LENGTH)
            .or_insert_with(|| http::HeaderValue::from(bytes.len()));
    }
    http::Response::from_parts(parts, Body::empty())
}

/// What a panic said.
pub(crate) fn text_of_panic(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without text")
}

/// An IPv4 client of a dual-stack socket has a mapped address; everybody expects the plain one.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(IpAddr::V4(ip), address.port()),
            None => address,
        },
        IpAddr::V4(_) => address,
    }
}

/// Finds peers that went away without a word; upstream's period is three minutes.
fn keep_alive(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(180));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(180));
}
