//! A proxy of the tests' own that speaks gRPC, as konnectivity's server with its agent.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};

const DIAL_REQ: i32 = 0;
const DIAL_RSP: i32 = 1;
const CLOSE_REQ: i32 = 2;
const CLOSE_RSP: i32 = 3;
const DATA: i32 = 4;
const DIAL_CLS: i32 = 5;

/// konnectivity-client/proto/client/client.proto, of which each packet has one payload.
#[derive(Clone, PartialEq, prost::Message)]
struct Packet {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    dial_request: Option<DialRequest>,
    #[prost(message, optional, tag = "3")]
    dial_response: Option<DialResponse>,
    #[prost(message, optional, tag = "4")]
    data: Option<Data>,
    #[prost(message, optional, tag = "5")]
    close_request: Option<CloseRequest>,
    #[prost(message, optional, tag = "6")]
    close_response: Option<CloseResponse>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DialRequest {
    #[prost(string, tag = "1")]
    protocol: String,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(int64, tag = "3")]
    random: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DialResponse {
    #[prost(string, tag = "1")]
    error: String,
    #[prost(int64, tag = "2")]
    connection: i64,
    #[prost(int64, tag = "3")]
    random: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Data {
    #[prost(int64, tag = "1")]
    connection: i64,
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct CloseRequest {
    #[prost(int64, tag = "1")]
    connection: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CloseResponse {
    #[prost(string, tag = "1")]
    error: String,
    #[prost(int64, tag = "2")]
    connection: i64,
}

/// The proxy, and what it was asked for.
pub(super) struct Proxy {
    asked: Arc<Mutex<HashMap<String, usize>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    pub(super) fn start(socket: &Path) -> Proxy {
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let service = Service::default();
        let asked = service.asked.clone();
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(UnixListenerStream::new(listener));
        let serving = tokio::spawn(async move { server.await.unwrap() });
        Proxy { asked, serving }
    }

    /// How often it was asked for an address.
    pub(super) fn asked(&self, address: &str) -> usize {
        self.asked.lock().get(address).copied().unwrap_or(0)
    }
}

#[derive(Clone, Default)]
struct Service {
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl NamedService for Service {
    const NAME: &'static str = "ProxyService";
}

type Answers = mpsc::Sender<Result<Packet, Status>>;

/// As an agent: dials, and relays until one side closes.
async fn tunnel(service: Service, mut packets: Streaming<Packet>, answers: Answers) {
    let mut open: HashMap<i64, OwnedWriteHalf> = HashMap::new();
    while let Ok(Some(packet)) = packets.message().await {
        match packet.kind {
            DIAL_REQ => {
                let request = packet.dial_request.unwrap();
                assert_eq!(request.protocol, "tcp");
                let address = request.address;
                *service.asked.lock().entry(address.clone()).or_default() += 1;
                let connection = request.random | 1;
                let mut response = DialResponse {
                    error: String::new(),
                    connection,
                    random: request.random,
                };
                match TcpStream::connect(&address).await {
                    Ok(stream) => {
                        let (read, write) = stream.into_split();
                        open.insert(connection, write);
                        let said = Packet {
                            kind: DIAL_RSP,
                            dial_response: Some(response),
                            ..Packet::default()
                        };
                        let _ = answers.send(Ok(said)).await;
                        tokio::spawn(backend(connection, read, answers.clone()));
                    }
                    Err(_) => {
                        response.error = format!("dial tcp {address}: connect: connection refused");
                        let said = Packet {
                            kind: DIAL_RSP,
                            dial_response: Some(response),
                            ..Packet::default()
                        };
                        let _ = answers.send(Ok(said)).await;
                    }
                }
            }
            DATA => {
                let data = packet.data.unwrap();
                if let Some(stream) = open.get_mut(&data.connection) {
                    let _ = stream.write_all(&data.data).await;
                }
            }
            CLOSE_REQ => {
                let connection = packet.close_request.unwrap().connection;
                open.remove(&connection);
                let _ = answers.send(Ok(closed(connection))).await;
            }
            DIAL_CLS => return,
            other => panic!("a client does not send packets of type {other}"),
        }
    }
}

async fn backend(connection: i64, mut read: tokio::net::tcp::OwnedReadHalf, answers: Answers) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match read.read(&mut buffer).await {
            Ok(length) if length > 0 => {
                let data = Data {
                    connection,
                    data: buffer[..length].to_vec(),
                };
                let said = Packet {
                    kind: DATA,
                    data: Some(data),
                    ..Packet::default()
                };
                if answers.send(Ok(said)).await.is_err() {
                    return;
                }
            }
            _ => {
                let _ = answers.send(Ok(closed(connection))).await;
                return;
            }
        }
    }
}

fn closed(connection: i64) -> Packet {
    Packet {
        kind: CLOSE_RSP,
        close_response: Some(CloseResponse {
            error: String::new(),
            connection,
        }),
        ..Packet::default()
    }
}

impl tonic::server::StreamingService<Packet> for Service {
    type Response = Packet;
    type ResponseStream = ReceiverStream<Result<Packet, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Packet>>) -> Self::Future {
        let (answers, said) = mpsc::channel(4);
        tokio::spawn(tunnel(self.clone(), request.into_inner(), answers));
        std::future::ready(Ok(Response::new(ReceiverStream::new(said))))
    }
}

impl tower::Service<http::Request<tonic::body::Body>> for Service {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            assert_eq!(request.uri().path(), "/ProxyService/Proxy");
            let codec = tonic_prost::ProstCodec::<Packet, Packet>::default();
            Ok(tonic::server::Grpc::new(codec)
                .streaming(service, request)
                .await)
        })
    }
}
