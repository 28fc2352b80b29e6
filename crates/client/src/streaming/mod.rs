//! Exec, attach and port-forward: byte streams over an upgraded connection.
//! Upstream: `k8s.io/streaming`, `client-go/tools/remotecommand`, `apiserver/pkg/util/proxy`, KEP-4006 (WebSockets in place of SPDY).
//!
//! Clients speak either SPDY/3.1 or WebSocket; container runtimes speak SPDY and old WebSocket protocols. Three things are done with
//! a connection, and nothing else:
//! - [`relay`] passes bytes on after both sides have agreed to switch protocols: SPDY to SPDY, or any WebSocket to a server that knows it;
//! - [`remotecommand::translate`] makes WebSocket `v5.channel.k8s.io` out of a runtime's SPDY streams;
//! - [`portforward::tunnel`] takes SPDY bytes out of WebSocket messages (`SPDY/3.1+portforward.k8s.io`).
//!
//! SPDY is spoken as a client only.

pub mod channels;
pub mod portforward;
pub mod remotecommand;
pub mod spdy;
pub mod websocket;

use std::io;
use std::pin::pin;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

/// The `Upgrade` of SPDY.
pub const SPDY_31: &str = "SPDY/3.1";
/// Lists the stream protocols a SPDY client offers, and names the one the server took.
pub const PROTOCOL_VERSION: &str = "x-stream-protocol-version";

/// Passes bytes both ways until both directions have ended; the end of one direction is passed on at once. Gives the bytes from `a`
/// to `b` and back. An error on either side ends both.
pub async fn relay<A, B>(a: A, b: B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    const BUFFER: usize = 32 * 1024;
    let (mut a_read, mut a_write) = tokio::io::split(a);
    let (mut b_read, mut b_write) = tokio::io::split(b);
    let forth = async {
        let copied = copy(&mut a_read, &mut b_write, BUFFER).await?;
        b_write.shutdown().await?;
        Ok::<_, io::Error>(copied)
    };
    let back = async {
        let copied = copy(&mut b_read, &mut a_write, BUFFER).await?;
        a_write.shutdown().await?;
        Ok::<_, io::Error>(copied)
    };
    let (forth, back) = (pin!(forth), pin!(back));
    tokio::try_join!(forth, back)
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    buffer: usize,
) -> io::Result<u64> {
    let mut reader = tokio::io::BufReader::with_capacity(buffer, from);
    tokio::io::copy_buf(&mut reader, to).await
}

/// Whether a request asks to switch protocols.
pub fn is_upgrade_request(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.to_ascii_lowercase().contains("upgrade"))
    })
}

/// Whether an answer of 101 really switches to `protocol`.
pub fn is_upgraded_to(headers: &HeaderMap, protocol: &str) -> bool {
    is_upgrade_request(headers)
        && headers
            .get(header::UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()))
}

/// A request to switch to SPDY, offering stream protocols in order of preference. `path` with query.
pub fn spdy_request(
    method: Method,
    path: &str,
    protocols: &[&str],
) -> Result<Request<Bytes>, http::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, SPDY_31);
    for protocol in protocols {
        request = request.header(PROTOCOL_VERSION, *protocol);
    }
    request.body(Bytes::new())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn relay_passes_bytes_and_ends_on() {
        let (mut client, a) = tokio::io::duplex(16);
        let (b, mut server) = tokio::io::duplex(16);
        let relaying = tokio::spawn(relay(a, b));
        let sent: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let (mut client_read, mut client_write) = tokio::io::split(&mut client);
        let (mut server_read, mut server_write) = tokio::io::split(&mut server);
        let (mut there, mut back) = (Vec::new(), Vec::new());
        let (result, ..) = tokio::join!(
            async {
                client_write.write_all(&sent).await.unwrap();
                client_write.shutdown().await.unwrap();
            },
            async {
                server_read.read_to_end(&mut there).await.unwrap();
                // Half closed: the answer still arrives.
                server_write.write_all(b"goodbye").await.unwrap();
                server_write.shutdown().await.unwrap();
            },
            async { client_read.read_to_end(&mut back).await.unwrap() },
        );
        let () = result;
        assert_eq!((there, back.as_slice()), (sent, &b"goodbye"[..]));
        assert_eq!(relaying.await.unwrap().unwrap(), (100_000, 7));
    }

    #[test]
    fn upgrade_headers() {
        let request = spdy_request(
            Method::POST,
            "/exec/x?command=sh",
            &["v4.channel.k8s.io", "v3.channel.k8s.io"],
        )
        .unwrap();
        assert!(
            is_upgrade_request(request.headers()) && is_upgraded_to(request.headers(), "spdy/3.1")
        );
        assert!(!is_upgraded_to(request.headers(), "websocket"));
        assert_eq!(
            request.headers().get_all(PROTOCOL_VERSION).iter().count(),
            2
        );
        assert!(!is_upgrade_request(&HeaderMap::new()));
    }
}
