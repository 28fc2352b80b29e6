//! Connections to one aggregated API server, or to peers: TLS with the name of its Service, our front-proxy certificate, kept alive
//! and shared by requests. Upstream: client-go/transport, kube-aggregator's BuildTransportConfig.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api_types::apiregistration::v1::{APIService, ServiceReference};
use client::config::{CertificateSource, ConfigError, TlsSettings};
use component_base::serving::Body;
use http::{Method, Request, Response, Uri, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio_rustls::client::TlsStream;

use crate::connect::{self, DialError};
use crate::egress;
use crate::webhook::certificates::Faults;

/// Idle connections are kept this long, and this many of them, as Go's transport does for client-go.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
const IDLE_CONNECTIONS: usize = 25;
/// How many connections that turn out to be closed a request may meet.
const STALE_CONNECTIONS: usize = 3;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// The certificate that tells aggregated servers that we are the front proxy, in PEM.
#[derive(PartialEq, Eq)]
pub(crate) struct Identity {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

/// What connections depend on.
#[derive(Clone, PartialEq, Eq)]
struct Settings {
    server_name: String,
    ca_bundle: Vec<u8>,
    insecure: bool,
    identity: Option<Arc<Identity>>,
}

/// The name that certificates of API servers have, whatever address they are reached at.
const OF_PEERS: &str = "kubernetes.default.svc";

/// The way to one server.
pub(crate) struct Link {
    settings: Settings,
    /// Why there is none is told to clients.
    ready: Result<Ready, String>,
}

struct Ready {
    pooled: Client<Dialer, Body>,
    /// For connections that are upgraded, which HTTP/2 ones cannot be.
    single: Dialer,
}

impl Link {
    /// A way to the server of an APIService; `old` when nothing about it has changed, with its connections.
    pub(super) fn new(
        service: &APIService,
        reference: &ServiceReference,
        identity: Option<Arc<Identity>>,
        via: &egress::Dialer,
        old: Option<&Arc<Link>>,
    ) -> Arc<Link> {
        let settings = Settings {
            server_name: format!("{}.{}.svc", reference.name, reference.namespace),
            ca_bundle: service.spec.ca_bundle.0.clone(),
            insecure: service.spec.insecure_skip_tls_verify,
            identity,
        };
        if let Some(old) = old
            && old.settings == settings
        {
            return old.clone();
        }
        let ready = Ready::new(&settings, via);
        if let Err(error) = &ready {
            tracing::warn!(
                name = service.metadata.name,
                error,
                "An aggregated API server cannot be reached"
            );
        }
        Arc::new(Link { settings, ready })
    }

    /// A way to the other API servers of the cluster; `old` when nothing has changed, with its connections.
    pub(crate) fn to_peers(
        ca: &[u8],
        identity: Option<Arc<Identity>>,
        via: &egress::Dialer,
        old: Option<&Arc<Link>>,
    ) -> Arc<Link> {
        let settings = Settings {
            server_name: OF_PEERS.to_owned(),
            ca_bundle: ca.to_vec(),
            insecure: false,
            identity,
        };
        if let Some(old) = old
            && old.settings == settings
        {
            return old.clone();
        }
        let ready = Ready::new(&settings, via);
        if let Err(error) = &ready {
            tracing::warn!(error, "Other API servers cannot be reached");
        }
        Arc::new(Link { settings, ready })
    }

    /// Why no connection can be made.
    pub(crate) fn error(&self) -> Option<&str> {
        self.ready.as_ref().err().map(String::as_str)
    }

    fn ready(&self) -> Result<&Ready, DialError> {
        self.ready
            .as_ref()
            .map_err(|error| DialError::new(error.clone()))
    }

    /// Sends a request whose URI is a path, and returns once the head of the answer is there.
    pub(super) async fn send(
        &self,
        authority: &str,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, DialError> {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let uri: Uri = format!("https://{authority}{path}")
            .parse()
            .map_err(DialError::new)?;
        *request.uri_mut() = uri;
        request.headers_mut().remove(header::HOST);
        let pooled = &self.ready()?.pooled;
        for _ in 0..STALE_CONNECTIONS {
            let Some(again) = copy_of(&request) else {
                break;
            };
            match pooled.request(request).await {
                // An idle connection that the server had closed: it has not seen the request.
                Err(error) if !error.is_connect() => request = again,
                answer => return answer.map_err(|error| reason(&error)),
            }
        }
        let answer = pooled.request(request).await;
        answer.map_err(|error| reason(&error))
    }

    /// Sends a request to switch protocols, over a connection of its own.
    pub(super) async fn switch(
        &self,
        host: &str,
        port: u16,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, DialError> {
        let dialer = &self.ready()?.single;
        let (name, config) = (dialer.server_name.clone(), dialer.config.clone());
        let stream = connect::secure(&dialer.via, host, port, name, config).await?;
        let faults = faults_of(&stream);
        let mut answer = connect::exchange(stream, request).await?;
        answer.extensions_mut().insert(faults);
        Ok(answer)
    }
}

/// A request that may be sent twice, again. Upstream: Go's Transport sends those once more that a reused connection lost.
fn copy_of(request: &Request<Body>) -> Option<Request<Body>> {
    let method = request.method();
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    if !safe || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = method.clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

impl Ready {
    fn new(settings: &Settings, via: &egress::Dialer) -> Result<Ready, String> {
        let data = |bytes: &[u8]| Some(CertificateSource::Data(bytes.to_vec()));
        let identity = settings.identity.as_deref();
        let tls = TlsSettings {
            ca: data(&settings.ca_bundle).filter(|_| !settings.ca_bundle.is_empty()),
            server_name: None,
            insecure: settings.insecure,
            client_certificate: identity.and_then(|identity| data(&identity.certificate)),
            client_key: identity.and_then(|identity| data(&identity.key)),
        };
        let told = |error: ConfigError| match error {
            ConfigError::Tls { reason, .. } => reason,
            other => other.to_string(),
        };
        let server_name = ServerName::try_from(settings.server_name.clone())
            .map_err(|error| error.to_string())?;
        let dialer = |alpn: &[&[u8]]| {
            Ok::<_, String>(Dialer {
                config: Arc::new(tls.client_config(alpn).map_err(told)?),
                server_name: server_name.clone(),
                via: via.clone(),
            })
        };
        let pooled = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .build(dialer(&[b"h2", b"http/1.1"])?);
        Ok(Ready {
            pooled,
            single: dialer(&[b"http/1.1"])?,
        })
    }
}

/// The innermost reason of a failure, as Go's transport tells it.
fn reason(error: &legacy::Error) -> DialError {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut last = String::new();
    while let Some(error) = next {
        if let Some(dial) = error.downcast_ref::<DialError>() {
            return dial.clone();
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled())
        {
            return DialError::new("EOF");
        }
        last = match error.downcast_ref::<std::io::Error>() {
            Some(io) => apimachinery::os_error::text(io),
            None => error.to_string(),
        };
        next = error.source();
    }
    DialError::new(last)
}

/// Dials the address of a URI and expects the name of the Service there.
#[derive(Clone)]
struct Dialer {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    via: egress::Dialer,
}

impl tower::Service<Uri> for Dialer {
    type Response = Stream;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port = uri.port_u16().unwrap_or(443);
            let stream =
                connect::secure(&dialer.via, host, port, dialer.server_name, dialer.config).await?;
            Ok(Stream(TokioIo::new(stream)))
        })
    }
}

/// A connection that knows whether it speaks HTTP/2.
struct Stream(TokioIo<TlsStream<egress::Stream>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let stream = self.0.inner();
        // Every answer has them among its extensions.
        let connected = Connected::new().extra(faults_of(stream));
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

fn faults_of(stream: &TlsStream<egress::Stream>) -> Faults {
    let chain = stream.get_ref().1.peer_certificates();
    chain.map(Faults::of_chain).unwrap_or_default()
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, buffers)
    }
}
