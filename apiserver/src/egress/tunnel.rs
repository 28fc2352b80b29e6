//! Connections through a proxy that speaks gRPC, as konnectivity's. Upstream: udsGRPCConnector, and pkg/client of the konnectivity client
//! in sigs.k8s.io/apiserver-network-proxy.
//!
//! Every connection has a tunnel, which is a gRPC connection of its own, and a task that serves it. The task dials, passes data to who
//! reads the connection, and closes both when the connection is dropped. Little waits in between: the proxy is not read from while the
//! reader is behind, and one that stays behind loses the connection, since it holds up what else the proxy has to pass on.

use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use http::uri::PathAndQuery;
use rand::Rng as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard, PollSender};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};

use super::metrics::{Counted, Dials, Segment, Stage, TunnelMetrics};
use super::proxy_service::{PROXY, Packet, Told};
use crate::grpc;

/// How long things take at most, as upstream: reaching the proxy, its reaching the target, reading what came once [`UNREAD`] packets
/// wait, and the proxy's closing of a connection.
const CONNECT: Duration = Duration::from_secs(30);
const DIAL: Duration = Duration::from_secs(30);
const READ: Duration = Duration::from_secs(10);
const CLOSE: Duration = Duration::from_secs(10);
/// Between attempts to reach the proxy, as gRPC in Go.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const GROWTH: f64 = 1.6;
const JITTER: f64 = 0.2;
/// Packets that wait for who reads the connection, as upstream, and for the proxy.
const UNREAD: usize = 10;
const UNSENT: usize = 4;
/// How much a packet of ours holds.
const MAX_DATA: usize = 32 << 10;
/// What the proxy may send before it was read.
const WINDOW: u32 = 256 << 10;

/// A proxy behind a Unix socket.
pub(super) struct Tunnels {
    pub(super) socket: PathBuf,
    pub(super) dials: Dials,
    pub(super) metrics: TunnelMetrics,
}

/// Where the outcome of a dial goes.
type Answer = oneshot::Sender<Result<TunnelStream, String>>;

impl Tunnels {
    /// Connects to `host:port`. When nobody waits for that any more, the dial is given up.
    pub(super) async fn dial(self: &Arc<Self>, target: &str) -> Result<TunnelStream, String> {
        let (answer, dialled) = oneshot::channel();
        tokio::spawn(self.clone().run(target.to_owned(), answer));
        dialled
            .await
            .unwrap_or_else(|_| Err(Failure::TunnelClosed.to_string()))
    }

    /// The life of a tunnel.
    async fn run(self: Arc<Self>, target: String, answer: Answer) {
        let started = Instant::now();
        self.dials.started();
        let channel = match self.connect().await {
            Ok(channel) => channel,
            Err(error) => {
                self.dials.failed(Stage::Connect);
                // Nobody may wait for it any more.
                let _ = answer.send(Err(error));
                return;
            }
        };
        let (requests, unsent) = mpsc::channel(UNSENT);
        let ended = CancellationToken::new();
        let unsent = ReceiverStream::new(unsent).take_until(ended.clone().cancelled_owned());
        let _end = ended.drop_guard();
        let tunnel = Tunnel {
            counted: self.metrics.connection(),
            proxy: self,
            requests,
            started,
        };
        let packets = async {
            let mut grpc = tonic::client::Grpc::new(channel);
            let unready = |error: tonic::transport::Error| Status::from_error(Box::new(error));
            grpc.ready().await.map_err(unready)?;
            let codec = tonic_prost::ProstCodec::<Packet, Packet>::default();
            let path = PathAndQuery::from_static(PROXY);
            let answered = grpc.streaming(tonic::Request::new(unsent), path, codec);
            answered.await.map(tonic::Response::into_inner)
        };
        if let Some((tunnel, packets, connection)) = tunnel.dial(&target, packets, answer).await {
            tunnel.serve(packets, connection).await;
        }
    }

    /// Reaches the proxy, which may take more than one attempt. Upstream: grpc.DialContext with WithBlock.
    async fn connect(&self) -> Result<Channel, String> {
        let mut last = None;
        let reached = async {
            let mut wait = FIRST_WAIT;
            loop {
                match self.connect_once().await {
                    Ok(channel) => return channel,
                    Err(error) => {
                        tracing::error!(
                            "failed to create connection to uds name {}, error: {error}",
                            self.socket.display()
                        );
                        last = Some(error);
                    }
                }
                let jitter = rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER);
                sleep(wait.mul_f64(jitter)).await;
                wait = wait.mul_f64(GROWTH);
            }
        };
        let reached = timeout(CONNECT, reached).await;
        reached.map_err(|_| match last {
            Some(error) => format!("context deadline exceeded: {error}"),
            None => "context deadline exceeded".to_owned(),
        })
    }

    async fn connect_once(&self) -> Result<Channel, String> {
        let stream = grpc::dial(&self.socket).await;
        let mut stream = Some(stream.map_err(|error| error.to_string())?);
        // The URI is never resolved, and the channel connects once.
        let connector = tower::service_fn(move |_: Uri| {
            let stream = stream.take();
            std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
        });
        Endpoint::from_static("http://localhost")
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .connect_with_connector(connector)
            .await
            .map_err(|error| format!("connection error: desc = \"{error}\""))
    }
}

/// Why a target was not reached. The text is what users see.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The proxy, or the agent behind it, says so.
    #[error("{0}")]
    Endpoint(String),
    #[error("dial closed")]
    DialClosed,
    #[error("tunnel closed")]
    TunnelClosed,
    #[error("dial timeout, backstop")]
    Timeout,
    /// Nobody waits any more.
    #[error("dial timeout, context")]
    Context,
}

impl Failure {
    /// As metrics have it.
    fn reason(&self) -> &'static str {
        match self {
            Self::Endpoint(_) => "endpoint",
            Self::DialClosed => "dialclosed",
            Self::TunnelClosed => "tunnelclosed",
            Self::Timeout => "timeout",
            Self::Context => "context",
        }
    }
}

/// A gRPC connection to the proxy, and what the task that serves it knows.
struct Tunnel {
    proxy: Arc<Tunnels>,
    requests: mpsc::Sender<Packet>,
    counted: Counted,
    started: Instant,
}

/// The task's end of a connection.
struct Connection {
    id: i64,
    unread: mpsc::Sender<Bytes>,
    /// Nobody writes to it any more.
    closing: CancellationToken,
}

impl Tunnel {
    /// Asks the proxy to connect, and tells who waits what came of it. None when the tunnel has ended.
    async fn dial(
        mut self,
        target: &str,
        packets: impl Future<Output = Result<Streaming<Packet>, Status>>,
        mut answer: Answer,
    ) -> Option<(Tunnel, Streaming<Packet>, Connection)> {
        self.counted.becomes("dialing");
        let random = rand::rng().random_range(0..=i64::MAX);
        self.send(Packet::dial(target, random)).await;
        let proxy = self.proxy.clone();
        let mut answered = pin!(first_answer(packets, random, &proxy.metrics));
        let outcome = tokio::select! {
            outcome = &mut answered => outcome,
            () = sleep(DIAL) => Err(Failure::Timeout),
            () = answer.closed() => Err(Failure::Context),
        };
        let failure = match outcome {
            Ok((packets, id)) => {
                proxy.dials.took(self.started.elapsed());
                self.counted.becomes("ok");
                let (connection, stream) = self.connection(id);
                // When nobody takes it, it is closed as any other.
                let _ = answer.send(Ok(stream));
                return Some((self, packets, connection));
            }
            Err(failure) => failure,
        };
        proxy.metrics.dial_failed(failure.reason());
        proxy.dials.failed(Stage::Proxy);
        let gave_up = matches!(failure, Failure::Timeout | Failure::Context);
        let _ = answer.send(Err(failure.to_string()));
        if gave_up {
            self.send(Packet::close_dial(random)).await;
            // Go's client ends by closing its connection, and counts that as an error.
            proxy.metrics.read_failed("Canceled");
            // The proxy ends the stream once it has read that this side did.
            drop(self.requests);
            let _ = timeout(CLOSE, answered).await;
        }
        None
    }

    /// Both ends of a connection that the proxy has made.
    fn connection(&self, id: i64) -> (Connection, TunnelStream) {
        let (unread, incoming) = mpsc::channel(UNREAD);
        let closing = CancellationToken::new();
        let stream = TunnelStream {
            id,
            incoming,
            rest: Bytes::new(),
            requests: PollSender::new(self.requests.clone()),
            metrics: self.proxy.metrics.clone(),
            closing: closing.clone().drop_guard(),
        };
        let connection = Connection {
            id,
            unread,
            closing,
        };
        (connection, stream)
    }

    /// Passes on what comes until one side closes the connection.
    async fn serve(self, mut packets: Streaming<Packet>, connection: Connection) {
        // When it is over, once this side has asked the proxy to close the connection.
        let mut over: Option<Instant> = None;
        loop {
            let packet = tokio::select! {
                packet = next(&mut packets, &self.proxy.metrics) => packet,
                () = connection.closing.cancelled(), if over.is_none() => {
                    self.send(Packet::close(connection.id)).await;
                    over = Some(Instant::now() + CLOSE);
                    continue;
                }
                () = until(over) => {
                    self.proxy.metrics.read_failed("Canceled");
                    return;
                }
            };
            match packet.map(Packet::told) {
                Some(Told::Data(data)) if data.connection == connection.id => {
                    if !self.deliver(data.data, &connection).await {
                        return;
                    }
                }
                Some(Told::Data(data)) if data.connection == 0 => {
                    tracing::error!("Received packet missing ConnectID");
                }
                Some(Told::Data(data)) => {
                    tracing::error!(connection = data.connection, "Connection not recognized");
                    self.send(Packet::close(data.connection)).await;
                }
                Some(Told::Closed(closed)) if closed.connection != connection.id => {}
                Some(Told::Other) => {}
                // Closed, or what ends a tunnel that is not dialling.
                Some(Told::Closed(_) | Told::Dialled(_) | Told::DialClosed(_)) | None => return,
            }
        }
    }

    /// False when the reader is too far behind.
    async fn deliver(&self, data: Bytes, connection: &Connection) -> bool {
        // What nobody reads any more is thrown away.
        if data.is_empty() || connection.unread.is_closed() {
            return true;
        }
        let delivered = timeout(READ, connection.unread.send(data)).await;
        if delivered.is_err() {
            tracing::error!(
                connection = connection.id,
                "readTimeout has been reached, the grpc connection to the proxy server will be closed"
            );
        }
        delivered.is_ok()
    }

    /// As far as the proxy reads.
    async fn send(&self, packet: Packet) {
        self.proxy
            .metrics
            .packet(Segment::FromClient, &packet.name());
        // A tunnel that has ended takes nothing, and its task learns of that by reading.
        let _ = timeout(CLOSE, self.requests.send(packet)).await;
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What comes of a dial.
async fn first_answer(
    packets: impl Future<Output = Result<Streaming<Packet>, Status>>,
    random: i64,
    metrics: &TunnelMetrics,
) -> Result<(Streaming<Packet>, i64), Failure> {
    let mut packets = packets.await.map_err(|status| {
        read_failed(metrics, &status);
        Failure::TunnelClosed
    })?;
    while let Some(packet) = next(&mut packets, metrics).await {
        match packet.told() {
            Told::Dialled(response) if response.random != random => {
                tracing::debug!(dial = response.random, "DialResp not recognized; dropped");
                return Err(Failure::TunnelClosed);
            }
            Told::Dialled(response) if response.error.is_empty() => {
                return Ok((packets, response.connection));
            }
            Told::Dialled(response) => return Err(Failure::Endpoint(response.error)),
            Told::DialClosed(closed) if closed.random == random => {
                return Err(Failure::DialClosed);
            }
            Told::DialClosed(_) => return Err(Failure::TunnelClosed),
            Told::Data(_) | Told::Closed(_) | Told::Other => {}
        }
    }
    Err(Failure::TunnelClosed)
}

/// The next packet; none when there are no more, for whatever reason.
async fn next(packets: &mut Streaming<Packet>, metrics: &TunnelMetrics) -> Option<Packet> {
    match packets.message().await {
        Ok(packet) => {
            let packet = packet?;
            metrics.packet(Segment::ToClient, &packet.name());
            Some(packet)
        }
        Err(status) => {
            read_failed(metrics, &status);
            None
        }
    }
}

fn read_failed(metrics: &TunnelMetrics, status: &Status) {
    // Go's client gives everything that befalls a connection this code.
    let lost = std::error::Error::source(status).is_some();
    let code = if lost {
        Code::Unavailable
    } else {
        status.code()
    };
    let code = component_base::grpc::code_name(code.into());
    tracing::error!(
        "stream read failure: rpc error: code = {code} desc = {}",
        status.message()
    );
    metrics.read_failed(code);
}

/// A connection in a tunnel. Nothing in it can be closed in one direction only: shutting down what is written closes it, and what
/// is on its way is read until the other side has closed it too.
pub struct TunnelStream {
    id: i64,
    incoming: mpsc::Receiver<Bytes>,
    /// Of what came last.
    rest: Bytes,
    requests: PollSender<Packet>,
    metrics: TunnelMetrics,
    closing: DropGuard,
}

/// What Go's client says of a tunnel that has ended.
fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "EOF")
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            let Some(data) = ready!(self.incoming.poll_recv(cx)) else {
                return Poll::Ready(Ok(()));
            };
            self.rest = data;
        }
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.requests.poll_reserve(cx)).map_err(|_| ended())?;
        let data = &bytes[..bytes.len().min(MAX_DATA)];
        let packet = Packet::data(self.id, Bytes::copy_from_slice(data));
        self.metrics.packet(Segment::FromClient, &packet.name());
        self.requests.send_item(packet).map_err(|_| ended())?;
        Poll::Ready(Ok(data.len()))
    }

    /// What was written is the proxy's once it reads it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.requests.close();
        self.closing.token().cancel();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
