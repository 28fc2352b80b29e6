//! Ways out: connections to the cluster, the control plane and etcd may go through proxies. Upstream:
//! apiserver/pkg/server/egressselector, KEP-1281.
//!
//! A proxy is asked for a tunnel by HTTP CONNECT or by gRPC. What is not configured is dialled straight.

/// The file.
mod configuration;
mod http_connect;
mod metrics;
mod proxy_service;
mod tunnel;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use client::config::dial_error;
use component_base::metrics::Metrics;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, ToSocketAddrs, UnixStream};
use tokio_rustls::client::TlsStream;

use http_connect::HttpConnect;
use metrics::EgressMetrics;
use tunnel::{TunnelStream, Tunnels};

/// As Go's default transport.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The ways out of a server.
#[derive(Clone, Default)]
pub struct Egress {
    /// To kubelets, pods, services and API servers behind this one.
    pub cluster: Dialer,
    /// To webhooks by URL, those that kubeconfigs name, and the other API servers of the cluster.
    pub control_plane: Dialer,
    pub etcd: Dialer,
    /// What the file has a word about. None without a file.
    named: Option<Vec<String>>,
}

/// Why there is no way out of some name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// There are no egress selectors.
    NoSelectors,
    /// They say nothing of it.
    NoSelection,
}

impl Egress {
    /// Reads `--egress-selector-config-file`.
    ///
    /// # Errors
    /// In upstream's words, when the file or what it names cannot be used.
    pub fn read(file: &Path, metrics: &Metrics) -> Result<Egress, String> {
        configuration::read(file, &EgressMetrics::new(metrics))
    }

    /// The way out of a name, `cluster` or `controlplane`, that the file has to have.
    pub fn named(&self, name: &str) -> Result<Dialer, Unnamed> {
        let named = self.named.as_ref().ok_or(Unnamed::NoSelectors)?;
        if !named.iter().any(|known| known == name) {
            return Err(Unnamed::NoSelection);
        }
        match name {
            "cluster" => Ok(self.cluster.clone()),
            "controlplane" => Ok(self.control_plane.clone()),
            _ => Err(Unnamed::NoSelection),
        }
    }
}

/// One way out. By default it is straight.
#[derive(Clone, Default)]
pub struct Dialer(Option<Proxy>);

#[derive(Clone)]
enum Proxy {
    HttpConnect(Arc<HttpConnect>),
    Grpc(Arc<Tunnels>),
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Direct"),
            Some(Proxy::HttpConnect(proxy)) => f.write_str(&proxy.at.shown()),
            Some(Proxy::Grpc(proxy)) => write!(f, "{}", proxy.socket.display()),
        }
    }
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
    /// Connects to a TCP address, or gives up after a time.
    pub async fn dial(&self, host: &str, port: u16) -> Result<Stream, DialError> {
        let target = authority(host, port);
        match &self.0 {
            None => straight((host, port)).await.map_err(DialError::Direct),
            Some(Proxy::HttpConnect(proxy)) => proxy.dial(&target).await.map_err(DialError::Proxy),
            Some(Proxy::Grpc(proxy)) => {
                let tunnel = proxy.dial(&target).await;
                tunnel.map(Stream::Tunnel).map_err(DialError::Proxy)
            }
        }
    }

    /// The same, of a host whose addresses have been found and judged: a straight connection goes to these and no others, whatever the
    /// host's name means by now. A proxy has its own view of names.
    pub async fn dial_found(
        &self,
        host: &str,
        found: &[IpAddr],
        port: u16,
    ) -> Result<Stream, DialError> {
        if self.0.is_some() || found.is_empty() {
            return self.dial(host, port).await;
        }
        let addresses: Vec<SocketAddr> = found.iter().map(|ip| (*ip, port).into()).collect();
        let stream = straight(addresses.as_slice()).await;
        stream.map_err(DialError::Direct)
    }

    /// For clients that a kubeconfig is of; none when connections are straight.
    pub fn of_client(&self) -> Option<Arc<dyn client::Dial>> {
        self.0.as_ref()?;
        Some(Arc::new(self.clone()))
    }
}

impl client::Dial for Dialer {
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<client::AnyStream>> {
        Box::pin(async move {
            match self.dial(host, port).await {
                Ok(stream) => Ok(Box::pin(stream) as client::AnyStream),
                Err(error) => Err(io::Error::other(error.text(&authority(host, port)))),
            }
        })
    }
}

async fn straight(address: impl ToSocketAddrs) -> io::Result<Stream> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // Interactive streams are made of small pieces.
    let _ = stream.set_nodelay(true);
    Ok(Stream::Tcp(stream))
}

/// `host:port`, with brackets around an IPv6 address.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// A connection, straight or through a proxy.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    Tunnel(TunnelStream),
}

macro_rules! of_any {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tls($stream) => $call,
            Stream::Tunnel($stream) => $call,
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
