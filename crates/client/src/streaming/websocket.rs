//! The server side of a WebSocket handshake. Upstream: `k8s.io/streaming/pkg/httpstream/wsstream`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// SPDY inside WebSocket messages: this and the name of a SPDY stream protocol.
pub const TUNNELING_PREFIX: &str = "SPDY/3.1+";
/// The only one that is tunnelled.
pub const TUNNELING_PORT_FORWARD: &str = "SPDY/3.1+portforward.k8s.io";

/// Largest message taken in, as upstream's default of Go's websocket package.
const MAX_MESSAGE: usize = 32 << 20;

/// Why a handshake is refused. All are the client's fault: 400.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HandshakeError {
    /// Not a GET, or headers are missing.
    #[error("not a websocket request: {0}")]
    NotWebSocket(&'static str),
    /// None of the client's subprotocols is spoken here.
    #[error("requested protocol(s) are not supported: [{requested}]; supports [{supported}]")]
    Protocol {
        /// What the client offered.
        requested: String,
        /// What is spoken here.
        supported: String,
    },
}

/// Whether a request wants a WebSocket.
pub fn is_websocket_request(headers: &HeaderMap) -> bool {
    super::is_upgraded_to(headers, "websocket")
}

/// The subprotocols a client offers, in its order.
pub fn requested_protocols(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let texts = values.iter().filter_map(|value| value.to_str().ok());
    texts
        .flat_map(|text| text.split(','))
        .map(|protocol| protocol.trim().to_owned())
        .filter(|protocol| !protocol.is_empty())
        .collect()
}

/// Whether a WebSocket client can close single channels (`v5.channel.k8s.io`), so that its streams can be translated to SPDY.
pub fn offers_stream_close(headers: &HeaderMap) -> bool {
    is_websocket_request(headers)
        && requested_protocols(headers)
            .iter()
            .any(|protocol| protocol == super::remotecommand::V5)
}

/// Whether a WebSocket client wants to tunnel SPDY.
pub fn offers_tunneling(headers: &HeaderMap) -> bool {
    is_websocket_request(headers)
        && requested_protocols(headers)
            .iter()
            .any(|protocol| protocol.starts_with(TUNNELING_PREFIX) && protocol.ends_with("k8s.io"))
}

/// The first of the client's subprotocols that is in `supported`. A client that offers none gets "", if that is supported.
pub fn negotiate(headers: &HeaderMap, supported: &[&str]) -> Result<String, HandshakeError> {
    let mut requested = requested_protocols(headers);
    if requested.is_empty() {
        requested.push(String::new());
    }
    match requested
        .iter()
        .find(|protocol| supported.contains(&protocol.as_str()))
    {
        Some(protocol) => Ok(protocol.clone()),
        None => Err(HandshakeError::Protocol {
            requested: requested.join(" "),
            supported: supported.join(" "),
        }),
    }
}

/// The 101 answer to a handshake, with the negotiated subprotocol unless it is "".
pub fn accept_response(
    method: &Method,
    headers: &HeaderMap,
    protocol: &str,
) -> Result<Response<()>, HandshakeError> {
    if method != Method::GET {
        return Err(HandshakeError::NotWebSocket("the method is not GET"));
    }
    if !is_websocket_request(headers) {
        return Err(HandshakeError::NotWebSocket(
            "Connection and Upgrade do not ask for one",
        ));
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(HandshakeError::NotWebSocket(
            "Sec-WebSocket-Version is not 13",
        ));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| {
        STANDARD
            .decode(key.as_bytes())
            .is_ok_and(|key| key.len() == 16)
    });
    let key = key.ok_or(HandshakeError::NotWebSocket(
        "Sec-WebSocket-Key is missing or malformed",
    ))?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| HandshakeError::NotWebSocket("Sec-WebSocket-Key"))?;
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if !protocol.is_empty() {
        let protocol = HeaderValue::try_from(protocol)
            .map_err(|_| HandshakeError::NotWebSocket("Sec-WebSocket-Protocol"))?;
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response)
}

/// The WebSocket on a connection after the 101 answer was sent.
pub async fn server<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await
}

/// The client's end of a WebSocket after a 101 answer was received.
pub async fn client<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    WebSocketStream::from_raw_socket(io, Role::Client, Some(config())).await
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(protocols: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            "connection",
            HeaderValue::from_static("keep-alive, Upgrade"),
        );
        headers.insert("upgrade", HeaderValue::from_static("WebSocket"));
        headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
        headers.insert(
            "sec-websocket-key",
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        if !protocols.is_empty() {
            headers.insert(
                "sec-websocket-protocol",
                HeaderValue::from_str(protocols).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn the_clients_order_decides() {
        let ours = ["v4.channel.k8s.io", "v5.channel.k8s.io"];
        assert_eq!(
            negotiate(&headers("x, v5.channel.k8s.io,v4.channel.k8s.io"), &ours).unwrap(),
            "v5.channel.k8s.io"
        );
        assert_eq!(negotiate(&headers(""), &["", "x"]).unwrap(), "");
        let error = negotiate(&headers("a"), &ours).unwrap_err().to_string();
        assert_eq!(
            error,
            "requested protocol(s) are not supported: [a]; supports [v4.channel.k8s.io v5.channel.k8s.io]"
        );
        assert!(negotiate(&headers(""), &ours).is_err());
    }

    #[test]
    fn what_clients_offer() {
        assert!(
            offers_stream_close(&headers("v5.channel.k8s.io"))
                && !offers_stream_close(&headers("v4.channel.k8s.io"))
        );
        assert!(
            offers_tunneling(&headers(TUNNELING_PORT_FORWARD))
                && !offers_tunneling(&headers("portforward.k8s.io"))
        );
    }

    #[test]
    fn the_answer_of_the_standard() {
        let answer = accept_response(&Method::GET, &headers(""), "chat").unwrap();
        assert_eq!(
            answer.headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
        assert!(accept_response(&Method::POST, &headers(""), "").is_err());
        for missing in [
            "connection",
            "upgrade",
            "sec-websocket-version",
            "sec-websocket-key",
        ] {
            let mut headers = headers("");
            headers.remove(missing);
            assert!(
                accept_response(&Method::GET, &headers, "").is_err(),
                "{missing}"
            );
        }
    }
}
