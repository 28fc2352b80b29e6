//! Connections to the API server as client-go opens them: HTTP/2 over TLS, Go's cipher order and windows. Answers are counted, not
//! decoded, so that a request costs the load generator as little as it can.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use client::config::{Auth, CertificateSource, ClientConfig, Impersonation, TlsSettings};
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{CipherSuite, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use crate::Result;

pub(crate) const JSON: &str = "application/json";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

const REQUEST_LIMIT: Duration = Duration::from_secs(120);
/// How much of an answer is kept: a list's metadata, an error's text.
const HEAD: usize = 4096;
/// Of an answer that is kept in whole.
const TEXT_LIMIT: usize = 64 << 20;

/// An API server on this machine, and who we are there.
pub(crate) struct Server {
    address: SocketAddr,
    origin: String,
    name: ServerName<'static>,
    tls: TlsConnector,
    /// Sent with every request.
    headers: HeaderMap,
}

/// One HTTP/2 connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    task: AbortHandle,
    silent: Arc<AtomicBool>,
}

/// A socket that can stop being read while it stays open.
struct Socket {
    tcp: TcpStream,
    silent: Arc<AtomicBool>,
}

/// A request before it has an address.
pub(crate) struct Call {
    method: Method,
    path: String,
    accept: &'static str,
    gzip: bool,
    content_type: &'static str,
    body: Bytes,
}

/// What is kept of a successful answer.
pub(crate) struct Answer {
    pub(crate) bytes: usize,
    pub(crate) head: Vec<u8>,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            accept: JSON,
            gzip: false,
            content_type: "",
            body: Bytes::new(),
        }
    }

    pub(crate) fn with_body(
        method: Method,
        path: impl Into<String>,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        Self {
            method,
            content_type,
            body: body.into(),
            ..Self::get(path)
        }
    }

    pub(crate) fn accept(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }

    pub(crate) fn gzip(self) -> Self {
        Self { gzip: true, ..self }
    }
}

impl Server {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self> {
        let url = url::Url::parse(&config.server)
            .map_err(|error| format!("{}: {error}", config.server))?;
        if url.scheme() != "https" {
            return Err(format!("{url}: only https is measured").into());
        }
        let host = url.host_str().ok_or("the server has no host")?;
        let host = config.tls.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("perf"));
        if let Some(token) = bearer_token(&config.auth)? {
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse()?);
        }
        let Impersonation { user, groups, .. } = &config.impersonation;
        if !user.is_empty() {
            headers.insert("impersonate-user", user.parse()?);
        }
        for group in groups {
            headers.append("impersonate-group", group.parse()?);
        }
        Ok(Self {
            address: local_address(&url)?,
            origin: url.as_str().trim_end_matches('/').to_owned(),
            name,
            tls: tls_connector(&config.tls)?,
            headers,
        })
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(self.address)
            .await
            .map_err(|error| format!("{}: {error}", self.address))?;
        tcp.set_nodelay(true)?;
        let silent = Arc::new(AtomicBool::new(false));
        let socket = Socket {
            tcp,
            silent: Arc::clone(&silent),
        };
        let tls = self.tls.connect(self.name.clone(), socket).await?;
        if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err("the server does not speak HTTP/2".into());
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            // As Go's client.
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(1 << 30)
            .handshake(TokioIo::new(tls))
            .await?;
        // Ends when the last sender is dropped or the server closes; requests under way then tell the error.
        let task = tokio::spawn(connection).abort_handle();
        Ok(Connection {
            sender,
            task,
            silent,
        })
    }

    /// Several connections, as from that many clients.
    pub(crate) async fn connect_many(&self, count: usize) -> Result<Vec<Connection>> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(self.connect().await?);
        }
        Ok(connections)
    }

    pub(crate) fn request(&self, call: Call) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(call.body));
        *request.method_mut() = call.method;
        *request.uri_mut() = format!("{}{}", self.origin, call.path).try_into()?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(ACCEPT, HeaderValue::from_static(call.accept));
        if call.gzip {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if !call.content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(call.content_type));
        }
        Ok(request)
    }
}

impl Connection {
    /// Sends a request and reads the whole answer. An answer that is not 2xx is an error.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer> {
        tokio::time::timeout(REQUEST_LIMIT, async {
            let response = self.sender.clone().send_request(request).await?;
            let status = response.status();
            let answer = read(response.into_body()).await?;
            if status.is_success() {
                Ok(answer)
            } else {
                Err(format!("{status}: {}", String::from_utf8_lossy(&answer.head)).into())
            }
        })
        .await
        .map_err(|_| format!("no answer in {REQUEST_LIMIT:?}"))?
    }

    /// Sends a request and returns the body as it arrives. An answer that is not 2xx is an error.
    pub(crate) async fn open(&self, request: Request<Full<Bytes>>) -> Result<Incoming> {
        let answer = self.sender.clone().send_request(request);
        let response = tokio::time::timeout(REQUEST_LIMIT, answer)
            .await
            .map_err(|_| format!("no answer in {REQUEST_LIMIT:?}"))??;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let status = response.status();
        let answer = read(response.into_body()).await?;
        Err(format!("{status}: {}", String::from_utf8_lossy(&answer.head)).into())
    }

    /// Sends a request and reads the whole answer as text. An answer that is not 2xx is an error.
    pub(crate) async fn text(&self, request: Request<Full<Bytes>>) -> Result<String> {
        let body = Limited::new(self.open(request).await?, TEXT_LIMIT);
        let bytes = tokio::time::timeout(REQUEST_LIMIT, body.collect())
            .await
            .map_err(|_| format!("no answer in {REQUEST_LIMIT:?}"))??
            .to_bytes();
        Ok(String::from_utf8(bytes.into())?)
    }

    /// Whether no request can be sent over it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Closes the socket in the middle of whatever is under way, as the end of a node or of a load balancer does.
    pub(crate) fn cut(&self) {
        self.task.abort();
    }

    /// Reads nothing more from the socket, which stays open until [`Self::cut`].
    pub(crate) fn fall_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.silent.load(Ordering::Relaxed) {
            // For good: nobody is to be woken.
            return Poll::Pending;
        }
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

async fn read(mut body: Incoming) -> Result<Answer> {
    let mut answer = Answer {
        bytes: 0,
        head: Vec::new(),
    };
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        answer.bytes += data.len();
        let room = HEAD - answer.head.len();
        answer.head.extend_from_slice(&data[..data.len().min(room)]);
    }
    Ok(answer)
}

/// The server's address, if it is one of this machine: what is measured is a process here, and nothing else is to be loaded.
fn local_address(url: &url::Url) -> Result<SocketAddr> {
    let addresses = url.socket_addrs(|| None)?;
    // Only addresses of this machine can be listened on.
    let is_local = |address: &SocketAddr| TcpListener::bind((address.ip(), 0)).is_ok();
    match addresses.first() {
        Some(first) if addresses.iter().all(is_local) => Ok(*first),
        _ => Err(format!("{url}: not an address of this machine").into()),
    }
}

fn bearer_token(auth: &Auth) -> Result<Option<String>> {
    match auth {
        Auth::None => Ok(None),
        Auth::Token(token) => Ok(Some(token.clone())),
        Auth::TokenFile(path, _) => {
            let token = std::fs::read_to_string(path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(Some(token.trim().to_owned()))
        }
        _ => Err("only client certificates and bearer tokens are measured".into()),
    }
}

fn tls_connector(settings: &TlsSettings) -> Result<TlsConnector> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // Go offers AES-128 first. The sort is stable.
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    let authorities = settings
        .ca
        .as_ref()
        .ok_or("the kubeconfig names no certificate authority")?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities)? {
        roots.add(authority)?;
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match (&settings.client_certificate, &settings.client_key) {
        (Some(chain), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(&pem(key)?)?;
            builder.with_client_auth_cert(certificates(chain)?, key)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config).into())
}

fn certificates(source: &CertificateSource) -> Result<Vec<CertificateDer<'static>>> {
    let pem = pem(source)?;
    Ok(CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>()?)
}

fn pem(source: &CertificateSource) -> Result<Vec<u8>> {
    match source {
        CertificateSource::Data(data) => Ok(data.clone()),
        CertificateSource::File(path) => {
            std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, local: bool) {
        let url = url::Url::parse(url).unwrap();
        assert_eq!(local_address(&url).is_ok(), local, "{url}");
    }

    #[test]
    fn only_addresses_of_this_machine() {
        check("https://127.0.0.1:6443", true);
        check("https://127.1.2.3", true);
        check("https://192.0.2.1:6443", false);
        check("https://[2001:db8::1]", false);
    }
}
