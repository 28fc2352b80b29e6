//! Against proxies that do as the test says. Time is the test's: it goes on when nothing else does.

use std::convert::Infallible;

use component_base::metrics::{Metrics, MetricsOptions};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::server::NamedService;
use tonic::{Request, Response};

use super::super::metrics::EgressMetrics;
use super::*;

/// The proxy's end of a tunnel.
struct Peer {
    packets: Streaming<Packet>,
    answers: mpsc::Sender<Result<Packet, Status>>,
}

impl Peer {
    /// Waits for a dial and lets it have an outcome.
    async fn dialled(&mut self, connection: i64, error: &str) {
        let asked = self.next().await.expect("a dial");
        let (address, random) = asked.asked().expect("a dial");
        assert_eq!(address, "10.0.0.1:10250");
        self.say(Packet::dialled(random, connection, error)).await;
    }

    async fn say(&self, packet: Packet) {
        // The other side may have gone.
        let _ = self.answers.send(Ok(packet)).await;
    }

    /// None when the other side says no more.
    async fn next(&mut self) -> Option<Packet> {
        self.packets.message().await.ok().flatten()
    }
}

/// What a proxy does with a tunnel.
trait Script: Fn(Peer) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static {}
impl<S: Fn(Peer) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static> Script for S {}

#[derive(Clone)]
struct Service<S>(S);

impl<S> NamedService for Service<S> {
    const NAME: &'static str = "ProxyService";
}

impl<S: Script> tonic::server::StreamingService<Packet> for Service<S> {
    type Response = Packet;
    type ResponseStream = ReceiverStream<Result<Packet, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Packet>>) -> Self::Future {
        let (answers, sent) = mpsc::channel(1);
        tokio::spawn((self.0)(Peer {
            packets: request.into_inner(),
            answers,
        }));
        std::future::ready(Ok(Response::new(ReceiverStream::new(sent))))
    }
}

impl<S: Script> tower::Service<http::Request<tonic::body::Body>> for Service<S> {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::<Packet, Packet>::default();
            Ok(tonic::server::Grpc::new(codec)
                .streaming(service, request)
                .await)
        })
    }
}

/// A proxy, what reaches it, and what is counted.
struct Rig {
    tunnels: Arc<Tunnels>,
    metrics: Metrics,
    folder: tempfile::TempDir,
    serving: Option<tokio::task::JoinHandle<()>>,
    /// The sockets of its connections, once more.
    connections: Arc<Mutex<Vec<std::os::unix::net::UnixStream>>>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

impl Rig {
    fn without_proxy() -> Rig {
        let folder = tempfile::tempdir().expect("a folder");
        let metrics = Metrics::bare(MetricsOptions::default());
        let counted = EgressMetrics::new(&metrics);
        let tunnels = Tunnels {
            socket: folder.path().join("proxy"),
            dials: counted.dials("grpc", "uds"),
            metrics: counted.tunnels.clone(),
        };
        Rig {
            tunnels: Arc::new(tunnels),
            metrics,
            folder,
            serving: None,
            connections: Arc::default(),
        }
    }

    fn new(script: impl Script) -> Rig {
        let mut rig = Rig::without_proxy();
        rig.serve(script);
        rig
    }

    fn serve(&mut self, script: impl Script) {
        let listener = tokio::net::UnixListener::bind(self.folder.path().join("proxy"));
        let connections = self.connections.clone();
        let incoming = UnixListenerStream::new(listener.expect("a socket")).map(move |stream| {
            let stream = stream?.into_std()?;
            connections.lock().push(stream.try_clone()?);
            tokio::net::UnixStream::from_std(stream)
        });
        let server = tonic::transport::Server::builder()
            .add_service(Service(script))
            .serve_with_incoming(incoming);
        self.serving = Some(tokio::spawn(async move {
            let _ = server.await;
        }));
    }

    /// The proxy goes away.
    fn cut(&self) {
        for connection in self.connections.lock().drain(..) {
            let both = std::net::Shutdown::Both;
            connection.shutdown(both).expect("shut down");
        }
    }

    async fn dial(&self) -> Result<TunnelStream, String> {
        self.tunnels.dial("10.0.0.1:10250").await
    }

    async fn refusal(&self) -> String {
        self.dial().await.err().expect("no connection")
    }

    /// The series with these names and labels, from the start of their lines, once they are there.
    async fn counts(&self, wanted: &[&str]) {
        let mut text = String::new();
        for _ in 0..6000 {
            text = String::from_utf8(self.metrics.text()).expect("text");
            if wanted
                .iter()
                .all(|series| text.contains(&format!("\n{series}\n")))
            {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("not all of {wanted:?} are in\n{text}");
    }
}

const DIALS: &str = "apiserver_egress_dialer_dial";
const TUNNELS: &str = "konnectivity_network_proxy_client";

#[tokio::test(start_paused = true)]
async fn data_goes_both_ways_until_the_connection_is_dropped() {
    let (told, mut asked) = mpsc::unbounded_channel();
    let rig = Rig::new(move |mut peer: Peer| {
        let told = told.clone();
        Box::pin(async move {
            peer.dialled(5, "").await;
            // Of no connection, of another, and not for clients.
            peer.say(Packet::data(0, Bytes::from_static(b"x"))).await;
            peer.say(Packet::data(6, Bytes::from_static(b"x"))).await;
            peer.say(Packet::closed(6)).await;
            peer.say(Packet::data(5, Bytes::from_static(b"hello")))
                .await;
            while let Some(packet) = peer.next().await {
                let closes = packet == Packet::close(5);
                told.send(Some(packet)).expect("kept");
                if closes {
                    peer.say(Packet::closed(5)).await;
                }
            }
            told.send(None).expect("kept");
        })
    });
    let mut stream = rig.dial().await.expect("connected");
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).await.expect("read");
    assert_eq!(&hello, b"hello");
    rig.counts(&[
        &format!("{TUNNELS}_client_connections{{status=\"ok\"}} 1"),
        &format!("{TUNNELS}_client_connections{{status=\"dialing\"}} 0"),
        &format!("{TUNNELS}_client_connections{{status=\"created\"}} 0"),
    ])
    .await;
    // More than a packet holds.
    stream
        .write_all(&[b'y'; MAX_DATA + 1])
        .await
        .expect("written");
    drop(stream);
    assert_eq!(asked.recv().await.expect("told"), Some(Packet::close(6)));
    let data = |length| Packet::data(5, Bytes::from(vec![b'y'; length]));
    assert_eq!(asked.recv().await.expect("told"), Some(data(MAX_DATA)));
    assert_eq!(asked.recv().await.expect("told"), Some(data(1)));
    assert_eq!(asked.recv().await.expect("told"), Some(Packet::close(5)));
    rig.counts(&[
        &format!("{DIALS}_start_total{{protocol=\"grpc\",transport=\"uds\"}} 1"),
        &format!("{DIALS}_duration_seconds_count{{protocol=\"grpc\",transport=\"uds\"}} 1"),
        &format!("{TUNNELS}_client_connections{{status=\"ok\"}} 0"),
        &format!(
            "{TUNNELS}_stream_packets_total{{packet_type=\"DIAL_REQ\",segment=\"from_client\"}} 1"
        ),
        &format!(
            "{TUNNELS}_stream_packets_total{{packet_type=\"DATA\",segment=\"from_client\"}} 2"
        ),
        &format!(
            "{TUNNELS}_stream_packets_total{{packet_type=\"CLOSE_REQ\",segment=\"from_client\"}} 2"
        ),
        &format!("{TUNNELS}_stream_packets_total{{packet_type=\"DATA\",segment=\"to_client\"}} 3"),
        &format!(
            "{TUNNELS}_stream_packets_total{{packet_type=\"CLOSE_RSP\",segment=\"to_client\"}} 2"
        ),
    ])
    .await;
    let text = String::from_utf8(rig.metrics.text()).expect("text");
    assert!(!text.contains("_stream_errors_total"), "{text}");
    // The tunnel ends with the connection.
    assert_eq!(asked.recv().await.expect("told"), None);
}

#[tokio::test(start_paused = true)]
async fn dials_that_the_proxy_refuses() {
    let rig = Rig::new(|mut peer: Peer| {
        Box::pin(async move {
            peer.dialled(0, "dial tcp 10.0.0.1:10250: connect: connection refused")
                .await;
        })
    });
    let refusal = rig.refusal().await;
    assert_eq!(
        refusal,
        "dial tcp 10.0.0.1:10250: connect: connection refused"
    );
    rig.counts(&[
        &format!("{TUNNELS}_dial_failure_total{{reason=\"endpoint\"}} 1"),
        &format!("{DIALS}_failure_count{{protocol=\"grpc\",stage=\"proxy\",transport=\"uds\"}} 1"),
        &format!("{TUNNELS}_client_connections{{status=\"dialing\"}} 0"),
    ])
    .await;

    let rig = Rig::new(|mut peer: Peer| {
        Box::pin(async move {
            let asked = peer.next().await.expect("a dial");
            let (_, random) = asked.asked().expect("a dial");
            peer.say(Packet::close_dial(random)).await;
        })
    });
    assert_eq!(rig.refusal().await, "dial closed");
    rig.counts(&[&format!(
        "{TUNNELS}_dial_failure_total{{reason=\"dialclosed\"}} 1"
    )])
    .await;

    // An answer to another dial, and none at all.
    let rig = Rig::new(|mut peer: Peer| {
        Box::pin(async move {
            let asked = peer.next().await.expect("a dial");
            let (_, random) = asked.asked().expect("a dial");
            peer.say(Packet::dialled(random ^ 1, 5, "")).await;
            while peer.next().await.is_some() {}
        })
    });
    assert_eq!(rig.refusal().await, "tunnel closed");
    let rig = Rig::new(|_| Box::pin(async {}));
    assert_eq!(rig.refusal().await, "tunnel closed");
    rig.counts(&[&format!(
        "{TUNNELS}_dial_failure_total{{reason=\"tunnelclosed\"}} 1"
    )])
    .await;

    let rig = Rig::new(|peer: Peer| {
        Box::pin(async move {
            let refused = Err(Status::permission_denied("not you"));
            let _ = peer.answers.send(refused).await;
        })
    });
    assert_eq!(rig.refusal().await, "tunnel closed");
    let series = "code=\"PermissionDenied\",packet_type=\"Unknown\",segment=\"to_client\"";
    rig.counts(&[&format!("{TUNNELS}_stream_errors_total{{{series}}} 1")])
        .await;
}

#[tokio::test(start_paused = true)]
async fn dials_that_are_given_up() {
    let (told, mut asked) = mpsc::unbounded_channel();
    let rig = Rig::new(move |mut peer: Peer| {
        let told = told.clone();
        Box::pin(async move {
            while let Some(packet) = peer.next().await {
                told.send(packet).expect("kept");
            }
        })
    });
    let started = Instant::now();
    assert_eq!(rig.refusal().await, "dial timeout, backstop");
    assert_eq!(started.elapsed().as_secs(), DIAL.as_secs());
    let (_, random) = asked
        .recv()
        .await
        .expect("a dial")
        .asked()
        .map(owned)
        .expect("a dial");
    assert_eq!(asked.recv().await, Some(Packet::close_dial(random)));
    rig.counts(&[&format!(
        "{TUNNELS}_dial_failure_total{{reason=\"timeout\"}} 1"
    )])
    .await;

    let waiting = tokio::spawn({
        let tunnels = rig.tunnels.clone();
        async move { tunnels.dial("10.0.0.1:10250").await.is_ok() }
    });
    let (_, random) = asked
        .recv()
        .await
        .expect("a dial")
        .asked()
        .map(owned)
        .expect("a dial");
    waiting.abort();
    assert_eq!(asked.recv().await, Some(Packet::close_dial(random)));
    rig.counts(&[
        &format!("{TUNNELS}_dial_failure_total{{reason=\"context\"}} 1"),
        &format!(
            "{TUNNELS}_stream_errors_total{{code=\"Canceled\",packet_type=\"Unknown\",segment=\"to_client\"}} 2"
        ),
        &format!("{DIALS}_failure_count{{protocol=\"grpc\",stage=\"proxy\",transport=\"uds\"}} 2"),
        &format!("{TUNNELS}_client_connections{{status=\"dialing\"}} 0"),
    ])
    .await;
}

fn owned((address, random): (&str, i64)) -> (String, i64) {
    (address.to_owned(), random)
}

#[tokio::test(start_paused = true)]
async fn a_proxy_is_waited_for() {
    let mut rig = Rig::without_proxy();
    let socket = rig.tunnels.socket.clone();
    assert_eq!(
        rig.refusal().await,
        format!(
            "context deadline exceeded: connection error: desc = \"transport: Error while dialing: dial unix {}: connect: no such file or directory\"",
            socket.display()
        )
    );
    rig.counts(&[&format!(
        "{DIALS}_failure_count{{protocol=\"grpc\",stage=\"connect\",transport=\"uds\"}} 1"
    )])
    .await;

    let late = tokio::spawn({
        let tunnels = rig.tunnels.clone();
        async move { tunnels.dial("10.0.0.1:10250").await.is_ok() }
    });
    sleep(CONNECT / 2).await;
    rig.serve(|mut peer: Peer| {
        Box::pin(async move {
            peer.dialled(5, "").await;
            while peer.next().await.is_some() {}
        })
    });
    assert!(late.await.expect("dialled"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_read_does_not_pile_up() {
    const PACKET: usize = 64 << 10;
    let (told, mut sent) = mpsc::unbounded_channel();
    let rig = Rig::new(move |mut peer: Peer| {
        let told = told.clone();
        Box::pin(async move {
            peer.dialled(5, "").await;
            let data = Bytes::from(vec![b'z'; PACKET]);
            while peer
                .answers
                .send(Ok(Packet::data(5, data.clone())))
                .await
                .is_ok()
            {
                told.send(true).expect("kept");
            }
            told.send(false).expect("kept");
        })
    });
    let mut stream = rig.dial().await.expect("connected");
    let started = Instant::now();
    let mut packets = 0;
    while sent.recv().await == Some(true) {
        packets += 1;
    }
    // The reader is given up, and what waits for it is bounded: packets, a window, and what the test's own proxy holds.
    assert!(started.elapsed() >= READ);
    let most = UNREAD + 2 * (WINDOW as usize) / PACKET + 8;
    assert!(packets >= UNREAD && packets <= most, "{packets}");
    // What came is not lost.
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.expect("read");
    assert_eq!(read.len(), UNREAD * PACKET);
    assert!(stream.write_all(b"more").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_the_proxy_does_not_read_waits() {
    let rig = Rig::new(|mut peer: Peer| {
        Box::pin(async move {
            peer.dialled(5, "").await;
            // Holds the tunnel and reads nothing.
            peer.answers.closed().await;
        })
    });
    let mut stream = rig.dial().await.expect("connected");
    let mut written = 0;
    while let Ok(length) = timeout(Duration::from_secs(1), stream.write(&[0; MAX_DATA])).await {
        written += length.expect("written");
        assert!(written < 64 << 20, "writing goes on for ever");
    }
    // And closing such a connection ends.
    let closed = Instant::now();
    drop(stream);
    rig.counts(&[&format!("{TUNNELS}_client_connections{{status=\"ok\"}} 0")])
        .await;
    assert!(closed.elapsed() <= 2 * CLOSE + Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn connections_that_the_other_side_closes() {
    // By an answer that nobody asked for, and by going away.
    for with_answer in [true, false] {
        let rig = Rig::new(move |mut peer: Peer| {
            Box::pin(async move {
                peer.dialled(5, "").await;
                peer.say(Packet::data(5, Bytes::from_static(b"bye"))).await;
                if with_answer {
                    peer.say(Packet::closed(5)).await;
                    while peer.next().await.is_some() {}
                }
            })
        });
        let mut stream = rig.dial().await.expect("connected");
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("read");
        assert_eq!(read, b"bye");
        rig.counts(&[&format!("{TUNNELS}_client_connections{{status=\"ok\"}} 0")])
            .await;
        let error = stream.write_all(b"more").await.expect_err("closed");
        assert_eq!(error.to_string(), "EOF");
    }
}

#[tokio::test(start_paused = true)]
async fn proxies_that_go_away_or_do_not_answer() {
    for goes in [true, false] {
        let rig = Rig::new(|mut peer: Peer| {
            Box::pin(async move {
                peer.dialled(5, "").await;
                peer.say(Packet::data(5, Bytes::from_static(b"bye"))).await;
                while peer.next().await.is_some() {}
            })
        });
        let mut stream = rig.dial().await.expect("connected");
        let mut bye = [0; 3];
        stream.read_exact(&mut bye).await.expect("read");
        let code = if goes {
            rig.cut();
            "Unavailable"
        } else {
            // The answer to this does not come.
            stream.shutdown().await.expect("closed");
            assert!(stream.write_all(b"more").await.is_err());
            "Canceled"
        };
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("read");
        assert!(rest.is_empty());
        let series = format!("code=\"{code}\",packet_type=\"Unknown\",segment=\"to_client\"");
        rig.counts(&[
            &format!("{TUNNELS}_stream_errors_total{{{series}}} 1"),
            &format!("{TUNNELS}_client_connections{{status=\"ok\"}} 0"),
        ])
        .await;
    }
}
