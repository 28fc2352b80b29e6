//! Watches over WebSocket, on a connection in memory.

use std::convert::Infallible;
use std::sync::Arc;

use component_base::serving::{Body, ConnectionInfo, Handler as _};
use futures::StreamExt as _;
use http::Request;
use http_body_util::Empty;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::Message;

use super::{AUTHORIZATION, CONFIG_MAPS, Server, config_map};

impl Server {
    /// The client's end of a new connection.
    pub(super) fn connection(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let server = self.inner().clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let service = apiserver::server::Service(server.clone());
                async move {
                    let mut request = request.map(Body::wrap);
                    request
                        .extensions_mut()
                        .insert(Arc::new(ConnectionInfo::in_process()));
                    Ok::<_, Infallible>(service.handle(request).await)
                }
            });
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(theirs), service)
                .with_upgrades()
                .await
        });
        ours
    }

    /// Sends the request of a WebSocket client on a new connection.
    pub(super) async fn web_socket(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> http::Response<hyper::body::Incoming> {
        let ours = self.connection();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours))
            .await
            .unwrap();
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::get(path)
            .header("host", "test")
            .header("authorization", AUTHORIZATION)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        sender
            .send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_watch_sends_an_event_a_message() {
    let Some(server) = Server::start().await else {
        return;
    };
    for name in ["a", "b"] {
        server.post(CONFIG_MAPS, config_map(name)).await.expect(201);
    }
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion=0");
    let answer = server.web_socket(&path, &[]).await;
    assert_eq!(
        answer.status(),
        403,
        "a browser would say where it comes from"
    );

    let answer = server
        .web_socket(&path, &[("origin", "http://localhost")])
        .await;
    assert_eq!(answer.status(), 101);
    let connection = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let mut socket = client::streaming::websocket::client(connection).await;
    for name in ["a", "b"] {
        let Some(Ok(Message::Text(text))) = socket.next().await else {
            panic!("no text message");
        };
        let event: Value = serde_json::from_str(text.as_str()).unwrap();
        assert_eq!(event["type"], "ADDED");
        assert_eq!(event["object"]["metadata"]["name"], name);
    }
}
