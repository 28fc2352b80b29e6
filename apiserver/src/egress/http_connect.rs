//! Tunnels that a proxy is asked for by HTTP CONNECT, over TCP, TLS or a Unix socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::config::{dial_error, handshake_error};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::metrics::{Dials, Stage};
use super::{Stream, authority};

/// For reaching the proxy and its answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A proxy does not need more than this to say yes.
const MAX_ANSWER: usize = 1 << 20;

/// A proxy.
pub(super) struct HttpConnect {
    pub(super) at: Address,
    pub(super) dials: Dials,
}

/// Where a proxy is.
pub(super) enum Address {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
        /// None for a proxy that is spoken to in the clear.
        tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    },
}

impl HttpConnect {
    /// Connects to `host:port`.
    pub(super) async fn dial(&self, target: &str) -> Result<Stream, String> {
        let started = Instant::now();
        self.dials.started();
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let late = |_| format!("dial tcp {target}: i/o timeout");
        let failed = |stage: Stage| {
            move |error: String| {
                self.dials.failed(stage);
                error
            }
        };
        let connected = tokio::time::timeout_at(deadline, self.at.connect()).await;
        let stream = connected
            .map_err(late)
            .flatten()
            .map_err(failed(Stage::Connect))?;
        let shown = self.at.shown();
        let tunnelled = tokio::time::timeout_at(deadline, tunnel(stream, &shown, target)).await;
        let stream = tunnelled
            .map_err(late)
            .flatten()
            .map_err(failed(Stage::Proxy))?;
        self.dials.took(started.elapsed());
        Ok(stream)
    }
}

impl Address {
    /// As metrics have it.
    pub(super) fn transport(&self) -> &'static str {
        match self {
            Address::Unix(_) => "uds",
            Address::Tcp { .. } => "tcp",
        }
    }

    pub(super) fn shown(&self) -> String {
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
