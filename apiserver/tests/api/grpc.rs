//! Plugins of the tests' own, that are called by gRPC over a Unix socket.

use std::convert::Infallible;
use std::path::Path;
use std::task::{Context, Poll};

use tokio_util::sync::CancellationToken;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};

/// What a plugin says, message for message.
pub(super) trait Answers: Clone + Send + Sync + 'static {
    const SERVICE: &'static str;

    fn answer(&self, method: &str, request: &[u8]) -> Result<Vec<u8>, Status>;
}

/// Serves until it is told to stop.
pub(super) fn serve<A: Answers>(plugin: &A, socket: &Path) -> CancellationToken {
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(
        tokio::net::UnixListener::bind(socket).unwrap(),
    );
    let stop = CancellationToken::new();
    let server = tonic::transport::Server::builder()
        .add_service(Service(plugin.clone()))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tokio::spawn(server);
    stop
}

#[derive(Clone)]
struct Service<A>(A);

/// Messages as bytes.
#[derive(Clone, Copy, Default)]
struct Raw;

impl tonic::codec::Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl tonic::codec::Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(
        &mut self,
        item: Vec<u8>,
        out: &mut tonic::codec::EncodeBuf<'_>,
    ) -> Result<(), Status> {
        bytes::BufMut::put_slice(out, &item);
        Ok(())
    }
}

impl tonic::codec::Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(
        &mut self,
        from: &mut tonic::codec::DecodeBuf<'_>,
    ) -> Result<Option<Vec<u8>>, Status> {
        let length = bytes::Buf::remaining(from);
        Ok(Some(bytes::Buf::copy_to_bytes(from, length).to_vec()))
    }
}

struct Method<A>(A, String);

impl<A: Answers> tonic::server::UnaryService<Vec<u8>> for Method<A> {
    type Response = Vec<u8>;
    type Future = std::future::Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        std::future::ready(self.0.answer(&self.1, request.get_ref()).map(Response::new))
    }
}

impl<A: Answers> tower::Service<http::Request<tonic::body::Body>> for Service<A> {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let method = Method(self.0.clone(), request.uri().path().to_owned());
        Box::pin(async move { Ok(tonic::server::Grpc::new(Raw).unary(method, request).await) })
    }
}

impl<A: Answers> NamedService for Service<A> {
    const NAME: &'static str = A::SERVICE;
}
