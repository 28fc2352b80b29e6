//! Ways out: connections to the cluster, the control plane and etcd may go through proxies. Upstream:
//! apiserver/pkg/server/egressselector, KEP-1281.
//!
//! A proxy is asked for a tunnel by HTTP CONNECT, over TLS or a Unix socket. What is not configured is dialled straight.

/// The file.
mod configuration;
mod metrics;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use client::config::{dial_error, handshake_error};
use component_base::metrics::Metrics;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use metrics::EgressMetrics;

/// A proxy does not need more than this to say yes.
const MAX_ANSWER: usize = 1 << 20;

/// The ways out of a server.
#[derive(Clone, Default)]
pub struct Egress {
    /// To kubelets, pods, services and API servers behind this one.
    pub cluster: Dialer,
    /// To webhooks by URL.
    pub control_plane: Dialer,
    pub etcd: Dialer,
}

impl Egress {
    /// Reads `--egress-selector-config-file`.
    ///
    /// # Errors
    /// In upstream's words, when the file or what it names cannot be used.
    pub fn read(file: &Path, metrics: &Metrics) -> Result<Egress, String> {
        configuration::read(file, &Arc::new(EgressMetrics::new(metrics)))
    }
}

/// One way out. By default it is straight.
#[derive(Clone, Default)]
pub struct Dialer(Option<Arc<Proxy>>);

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Direct"),
            Some(proxy) => f.write_str(&proxy.at.shown()),
        }
    }
}

struct Proxy {
    at: Address,
    metrics: Arc<EgressMetrics>,
}

enum Address {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
        /// None for a proxy that is spoken to in the clear.
        tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    },
}

/// Nobody was reached.
#[derive(Debug)]
pub enum DialError {
    /// The address itself does not answer.
    Direct(io::Error),
    /// The proxy does not, or does not want to.
    Proxy(String),
}

impl DialError {
    /// What Go says of it.
    pub fn text(&self, address: &str) -> String {
        match self {
            DialError::Direct(error) => dial_error("tcp", address, error),
            DialError::Proxy(text) => text.clone(),
        }
    }
}

impl Dialer {
    /// Connects to a TCP address.
    pub async fn dial(&self, host: &str, port: u16) -> Result<Stream, DialError> {
        let Some(proxy) = &self.0 else {
            let stream = TcpStream::connect((host, port)).await;
            let stream = stream.map_err(DialError::Direct)?;
            // Interactive streams are made of small pieces.
            let _ = stream.set_nodelay(true);
            return Ok(Stream::Tcp(stream));
        };
        proxy
            .dial(&authority(host, port))
            .await
            .map_err(DialError::Proxy)
    }
}

/// `host:port`, with brackets around an IPv6 address.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

impl Proxy {
    async fn dial(&self, target: &str) -> Result<Stream, String> {
        let started = Instant::now();
        let transport = self.at.transport();
        self.metrics.started(transport);
        let stream = match self.at.connect().await {
            Ok(stream) => stream,
            Err(error) => {
                self.metrics.failed(transport, "connect");
                return Err(error);
            }
        };
        match tunnel(stream, &self.at.shown(), target).await {
            Ok(stream) => {
                self.metrics.took(transport, started.elapsed());
                Ok(stream)
            }
            Err(error) => {
                self.metrics.failed(transport, "proxy");
                Err(error)
            }
        }
    }
}

impl Address {
    fn transport(&self) -> &'static str {
        match self {
            Address::Unix(_) => "uds",
            Address::Tcp { .. } => "tcp",
        }
    }

    fn shown(&self) -> String {
        match self {
            Address::Unix(path) => path.display().to_string(),
            Address::Tcp { host, port, .. } => authority(host, *port),
        }
    }

    async fn connect(&self) -> Result<Stream, String> {
        let (host, port, tls) = match self {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                return stream
                    .map(Stream::Unix)
                    .map_err(|error| dial_error("unix", &self.shown(), &error));
            }
            Address::Tcp { host, port, tls } => (host, *port, tls),
        };
        let stream = TcpStream::connect((host.as_str(), port)).await;
        let stream = stream.map_err(|error| dial_error("tcp", &self.shown(), &error))?;
        let _ = stream.set_nodelay(true);
        let Some((config, name)) = tls else {
            return Ok(Stream::Tcp(stream));
        };
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        let stream = connector.connect(name.clone(), stream).await;
        stream
            .map(|stream| Stream::Tls(Box::new(stream)))
            .map_err(|error| handshake_error(&error))
    }
}

/// Asks a proxy for a tunnel.
async fn tunnel(mut stream: Stream, proxy: &str, target: &str) -> Result<Stream, String> {
    let unread = |why: &dyn std::fmt::Display| {
        format!("reading HTTP response from CONNECT to {target} via proxy {proxy} failed: {why}")
    };
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let sent = stream.write_all(request.as_bytes()).await;
    sent.map_err(|error| unread(&error))?;
    stream.flush().await.map_err(|error| unread(&error))?;
    let mut answer = Vec::with_capacity(256);
    let end = loop {
        let found = answer.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(at) = found {
            break at + 4;
        }
        let read = stream.read_buf(&mut answer).await;
        if read.map_err(|error| unread(&error))? == 0 || answer.len() > MAX_ANSWER {
            return Err(unread(&"unexpected EOF"));
        }
    };
    let line = answer
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line.split_once(' ').map_or("", |(_, status)| status.trim());
    let code = status.split(' ').next().unwrap_or_default();
    if !line.starts_with("HTTP/") || code.len() != 3 || code.parse::<u16>().is_err() {
        let shown = apimachinery::quote::quote(&line);
        return Err(unread(&format!("malformed HTTP response {shown}")));
    }
    if code != "200" {
        return Err(format!(
            "proxy error from {proxy} while dialing {target}, code {code}: {status}"
        ));
    }
    // The other side of a tunnel does not speak first.
    let more = answer.len() - end;
    if more > 0 {
        let proxy = apimachinery::quote::quote(proxy);
        return Err(format!(
            "unexpected {more} bytes of buffered data from CONNECT proxy {proxy}"
        ));
    }
    Ok(stream)
}

/// A connection, straight or through a proxy.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! of_any {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        of_any!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        of_any!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_any!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_any!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a proxy that answers so.
    async fn asked(answer: &'static [u8]) -> (Result<Stream, String>, String) {
        let (ours, mut theirs) = UnixStream::pair().expect("sockets");
        let proxy = tokio::spawn(async move {
            let mut request = vec![0; 512];
            let length = theirs.read(&mut request).await.expect("a request");
            theirs.write_all(answer).await.expect("answered");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let stream = tunnel(Stream::Unix(ours), "/run/proxy", "10.0.0.1:10250").await;
        (stream, proxy.await.expect("asked"))
    }

    #[tokio::test]
    async fn tunnels() {
        let (stream, request) = asked(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n").await;
        assert!(stream.is_ok());
        assert_eq!(
            request,
            "CONNECT 10.0.0.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        );
        let reading =
            "reading HTTP response from CONNECT to 10.0.0.1:10250 via proxy /run/proxy failed:";
        for (answer, expected) in [
            (
                &b"HTTP/1.1 403 Forbidden\r\n\r\n"[..],
                "proxy error from /run/proxy while dialing 10.0.0.1:10250, code 403: 403 Forbidden",
            ),
            (
                b"HTTP/1.1 200 OK\r\n\r\nhello",
                "unexpected 5 bytes of buffered data from CONNECT proxy \"/run/proxy\"",
            ),
            (b"HTTP/1.1 200", &*format!("{reading} unexpected EOF")),
            (
                b"nonsense\r\n\r\n",
                &*format!("{reading} malformed HTTP response \"nonsense\""),
            ),
        ] {
            let (stream, _) = asked(answer).await;
            assert_eq!(stream.err().as_deref(), Some(expected));
        }
    }
}
