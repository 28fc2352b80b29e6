//! Port-forwarding. Upstream: `cri-streaming/pkg/streaming/portforward`, `apiserver/pkg/util/proxy/streamtunnel.go`.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::channels::{self, ChannelReader, ChannelWriter, Codec};
use super::spdy::{Connection, SpdyError, Stream};
use super::websocket::TUNNELING_PREFIX;

/// The SPDY stream protocol.
pub const PORT_FORWARD_V1: &str = "portforward.k8s.io";
/// WebSocket protocols: two channels per port, data and error.
pub const WEBSOCKET_PROTOCOLS: &[&str] = &["v4.channel.k8s.io", "v4.base64.channel.k8s.io"];

/// The SPDY protocols among a client's tunnelling subprotocols: `SPDY/3.1+x.k8s.io` is `x.k8s.io`.
pub fn tunneled_protocols(requested: &[String]) -> Vec<String> {
    let names = requested
        .iter()
        .filter(|protocol| protocol.ends_with("k8s.io"));
    names
        .filter_map(|protocol| protocol.strip_prefix(TUNNELING_PREFIX).map(str::to_owned))
        .collect()
}

/// Passes SPDY bytes between the binary messages of a WebSocket client and an upgraded connection, until either side ends.
pub async fn tunnel<S, B>(socket: WebSocketStream<S>, backend: B) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite,
{
    let (mut sink, mut source) = socket.split();
    let (mut read, mut write) = tokio::io::split(backend);
    let forth = async {
        while let Some(message) = source.next().await {
            match message {
                Ok(Message::Binary(data)) => {
                    write.write_all(&data).await?;
                    write.flush().await?;
                }
                Ok(Message::Close(_)) | Err(_) => break,
                Ok(Message::Text(_)) => {
                    return Err(std::io::Error::other(
                        "tunneled SPDY must come in binary messages",
                    ));
                }
                Ok(_) => {}
            }
        }
        Ok(())
    };
    let back = async {
        let mut buffer = vec![0u8; 32 * 1024];
        loop {
            let length = read.read(&mut buffer).await?;
            if length == 0 {
                break;
            }
            sink.send(Message::Binary(Bytes::copy_from_slice(&buffer[..length])))
                .await
                .map_err(std::io::Error::other)?;
        }
        Ok(())
    };
    let result = tokio::select! {
        result = forth => result,
        result = back => result,
    };
    // A close frame lets the client tell an end from a loss.
    let _ = sink.send(channels::goodbye()).await;
    let _ = write.shutdown().await;
    result
}

/// One forwarded port of a WebSocket client.
#[derive(Debug)]
pub struct ForwardedPort {
    /// The port in the pod.
    pub port: u16,
    /// What the client sends.
    pub input: ChannelReader,
    /// What it gets.
    pub output: ChannelWriter,
    /// Where a failure is told, as text.
    pub error: ChannelWriter,
}

/// The most ports one WebSocket can carry: channel numbers are bytes, and 255 is taken.
pub const MAX_PORTS: usize = 127;

/// Opens the channels of a WebSocket client's ports (`?ports=80,81`): data and error for each, and on each of them first the port's
/// number in two bytes, low byte first. `None` when there are too many ports or the client has gone.
pub async fn open<S>(
    socket: WebSocketStream<S>,
    base64: bool,
    ports: &[u16],
) -> Option<Vec<ForwardedPort>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // In base64 protocols the channel is one digit.
    if ports.len() > if base64 { 5 } else { MAX_PORTS } {
        return None;
    }
    let data: Vec<u8> = (0..ports.len()).map(|index| (index * 2) as u8).collect();
    let all: Vec<u8> = (0..ports.len() * 2).map(|channel| channel as u8).collect();
    let codec = if base64 { Codec::Base64 } else { Codec::Binary };
    let (readers, writers) = channels::open(socket, codec, false, &data, &all);
    let mut writers = writers.into_iter();
    let mut forwarded = Vec::new();
    for (&port, input) in ports.iter().zip(readers) {
        let (output, error) = (writers.next()?, writers.next()?);
        output.write(&port.to_le_bytes()).await.ok()?;
        error.write(&port.to_le_bytes()).await.ok()?;
        forwarded.push(ForwardedPort {
            port,
            input,
            output,
            error,
        });
    }
    Some(forwarded)
}

/// One connection to a port through a SPDY server.
#[derive(Debug)]
pub struct PortStream {
    /// The connection's bytes.
    pub data: Stream,
    /// Text when it fails; ends empty when all is well.
    pub error: super::spdy::StreamReader,
}

/// Opens a connection to a port. `request` tells several ones apart.
pub async fn connect(
    connection: &Connection,
    port: u16,
    request: u64,
) -> Result<PortStream, SpdyError> {
    let (port, request) = (port.to_string(), request.to_string());
    let open = async |kind: &str| {
        connection
            .open(&[
                ("streamtype", kind),
                ("port", &port),
                ("requestid", &request),
            ])
            .await
    };
    // The error stream comes first; nothing is sent on it.
    let mut error = open("error").await?;
    error.writer.finish().await?;
    Ok(PortStream {
        data: open("data").await?,
        error: error.reader,
    })
}

/// Serves one port of a WebSocket client with a connection through a SPDY server.
pub async fn forward(
    port: ForwardedPort,
    connection: &Connection,
    request: u64,
) -> Result<(), SpdyError> {
    let PortStream {
        data: Stream {
            mut reader,
            mut writer,
        },
        mut error,
    } = connect(connection, port.port, request).await?;
    let ForwardedPort {
        mut input,
        output,
        error: to_error,
        ..
    } = port;
    let sending = tokio::spawn(async move {
        while let Some(data) = input.read().await {
            if writer.write(data).await.is_err() {
                return;
            }
        }
        let _ = writer.finish().await;
    });
    let receiving = async {
        while let Some(data) = reader.read().await? {
            if output.write(&data).await.is_err() {
                break;
            }
        }
        Ok::<_, SpdyError>(())
    };
    let failing = async {
        let message = error.read_to_end().await?;
        if !message.is_empty() {
            let _ = to_error.write(&message).await;
        }
        Ok::<_, SpdyError>(())
    };
    let result = tokio::try_join!(receiving, failing).map(drop);
    sending.abort();
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streaming::websocket;

    #[test]
    fn tunnelled_protocols_lose_their_prefix() {
        let requested = [
            "SPDY/3.1+portforward.k8s.io",
            "portforward.k8s.io",
            "SPDY/3.1+other",
        ]
        .map(str::to_owned);
        assert_eq!(tunneled_protocols(&requested), ["portforward.k8s.io"]);
    }

    #[tokio::test]
    async fn a_tunnel_carries_bytes_both_ways() {
        let (client, server) = tokio::io::duplex(64);
        let (backend, mut far) = tokio::io::duplex(64);
        let tunneling =
            tokio::spawn(async move { tunnel(websocket::server(server).await, backend).await });
        let mut client = websocket::client(client).await;
        client
            .send(Message::Binary(Bytes::from_static(b"there")))
            .await
            .unwrap();
        let mut buffer = [0; 5];
        far.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"there");
        far.write_all(b"back").await.unwrap();
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::Binary(Bytes::from_static(b"back"))
        );
        drop(far);
        assert_eq!(client.next().await.unwrap().unwrap(), channels::goodbye());
        tunneling.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn ports_are_announced_on_their_channels() {
        let (client, server) = tokio::io::duplex(256);
        let mut ports = open(websocket::server(server).await, false, &[80, 8080])
            .await
            .unwrap();
        let mut client = websocket::client(client).await;
        for expected in [
            &[0, 80, 0][..],
            &[1, 80, 0],
            &[2, 0x90, 0x1f],
            &[3, 0x90, 0x1f],
        ] {
            assert_eq!(client.next().await.unwrap().unwrap().into_data(), expected);
        }
        client
            .send(Message::Binary(Bytes::from_static(b"\x02hi")))
            .await
            .unwrap();
        assert_eq!(ports[1].input.read().await.unwrap(), "hi");
        let (_client, server) = tokio::io::duplex(256);
        assert!(
            open(websocket::server(server).await, true, &[1; 6])
                .await
                .is_none()
        );
    }
}
