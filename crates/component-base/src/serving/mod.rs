//! Listeners, TLS and HTTP: what stands between a socket and a daemon's handler.
//! Upstream: k8s.io/apiserver/pkg/server (secure_serving.go, options/serving.go, dynamiccertificates) and Go's net/http.
//!
//! Life of a server: [`SecureServingOptions::bind`] (or [`bind_plain`]) opens the socket, so that a busy port stops the
//! daemon and a test can ask for its port; [`Server::serve`] then answers until it is told to stop, says GOAWAY and
//! `Connection: close`, and waits for requests in flight.
//!
//! Invariants: a client certificate is only requested and its possession proven here, whom it names is decided by the
//! authenticators; serving certificates are re-read when their files change; a panic in a handler is a logged 500.

mod activity;
mod bind;
mod body;
mod gather;
mod options;
mod produced;
pub(crate) mod self_signed;
mod server;
mod streams;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

pub use bind::{BindError, Listener, bind_plain};
pub use body::{Body, BodySender, CollectError, Observer};
pub use gather::PIECE;
pub use options::{InMemoryCert, SecureServingOptions, ServingError};
pub use produced::Producer;
pub use self_signed::{SelfSigned, generate_self_signed};
pub use server::{Server, ServerLimits};
pub use tls::{CertificateSlot, cipher_suite_names, tls_version_names};

use crate::auth::BoxFuture;

/// A request as handlers see it. Its extensions hold an `Arc<ConnectionInfo>`, and hyper's upgrade handle
/// (`hyper::upgrade::on`).
pub type Request = http::Request<Body>;
/// A response as handlers make it.
pub type Response = http::Response<Body>;

/// Answers requests. Implementations are shared by all connections.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, request: Request) -> BoxFuture<'_, Response>;
}

impl<H: Handler + ?Sized> Handler for Arc<H> {
    fn handle(&self, request: Request) -> BoxFuture<'_, Response> {
        (**self).handle(request)
    }
}

/// A handler made of an async function.
pub fn handler_fn<F, Fut>(function: F) -> impl Handler
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    struct HandlerFn<F>(F);

    impl<F, Fut> Handler for HandlerFn<F>
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        fn handle(&self, request: Request) -> BoxFuture<'_, Response> {
            Box::pin((self.0)(request))
        }
    }

    HandlerFn(function)
}

/// What is known about the connection a request came on.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// IPv4 clients of a dual-stack socket have their IPv4 address here.
    pub remote_addr: SocketAddr,
    pub local_addr: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The name the client asked for in its handshake.
    pub server_name: Option<String>,
    /// DER certificates the client proved possession of, leaf first; checked against no CA.
    pub peer_certificates: Arc<[Vec<u8>]>,
    /// Told to finish its requests and close.
    close: tokio_util::sync::CancellationToken,
}

impl ConnectionInfo {
    /// For requests that come from inside the process, and for tests.
    pub fn in_process() -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            remote_addr: nowhere,
            local_addr: nowhere,
            tls: true,
            server_name: None,
            peer_certificates: Arc::from([]),
            close: tokio_util::sync::CancellationToken::new(),
        }
    }

    /// Has the connection closed once its requests are answered: GOAWAY on HTTP/2, `Connection: close` on HTTP/1.1.
    /// What `--goaway-chance` needs.
    pub fn close_gracefully(&self) {
        self.close.cancel();
    }

    /// Whether the connection will be closed so.
    pub fn closes(&self) -> bool {
        self.close.is_cancelled()
    }
}

/// The connection of a request; requests made in the process have [`ConnectionInfo::in_process`].
pub fn connection(request: &Request) -> Arc<ConnectionInfo> {
    request
        .extensions()
        .get::<Arc<ConnectionInfo>>()
        .cloned()
        .unwrap_or_else(|| Arc::new(ConnectionInfo::in_process()))
}

/// A response with a text body, as Go's handlers write it.
pub fn text_response(status: http::StatusCode, text: impl Into<String>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        http::header::X_CONTENT_TYPE_OPTIONS,
        http::HeaderValue::from_static("nosniff"),
    );
    response
}

/// Go's `http.Error`: the text and a newline.
pub fn error_response(status: http::StatusCode, text: &str) -> Response {
    text_response(status, format!("{text}\n"))
}

/// Go's `404 page not found`.
pub fn not_found() -> Response {
    error_response(http::StatusCode::NOT_FOUND, "404 page not found")
}

/// A response with a JSON body.
pub fn json_response(status: http::StatusCode, json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod http2_tests;
#[cfg(test)]
mod tests;
