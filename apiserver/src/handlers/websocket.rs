//! Answers as WebSocket messages, for browsers: watches and logs. Upstream: apimachinery/pkg/util/httpstream/wsstream and the
//! WebSocket half of endpoints/handlers/watch.go.

use apimachinery::status::{self, StatusError};
use base64::Engine as _;
use bytes::Bytes;
use client::streaming::websocket;
use component_base::serving::{self, Body, Response};
use futures::{SinkExt as _, StreamExt as _};
use http::{StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::Message;

use crate::connect::Upgrade;
use crate::request::context::RequestContext;

/// What a log may be asked for as: bytes as they are, or as base64.
const READER_PROTOCOLS: &[&str] = &["", "binary.k8s.io", BASE64];
const BASE64: &str = "base64.binary.k8s.io";
/// A message holds no more of a log than this.
const CHUNK: usize = 2048;

/// How pieces of an answer become messages.
#[derive(Clone, Copy)]
enum Framing {
    /// Every piece is a JSON event.
    Text,
    /// Every piece is a protobuf event behind its length, which a message does not need.
    LengthPrefixed,
    Binary,
    Base64,
}

impl Framing {
    fn messages(self, piece: Bytes) -> Vec<Message> {
        match self {
            Framing::Text => std::str::from_utf8(&piece)
                .map(|text| vec![Message::text(text)])
                .unwrap_or_default(),
            Framing::LengthPrefixed => vec![Message::binary(piece.slice(piece.len().min(4)..))],
            Framing::Binary => piece
                .chunks(CHUNK)
                .map(|chunk| Message::binary(piece.slice_ref(chunk)))
                .collect(),
            Framing::Base64 => piece
                .chunks(CHUNK)
                .map(|chunk| Message::text(base64::engine::general_purpose::STANDARD.encode(chunk)))
                .collect(),
        }
    }
}

/// The client's connection if the request wants a WebSocket and can have one.
pub fn wanted(cx: &RequestContext, upgrade: Upgrade) -> Option<OnUpgrade> {
    upgrade.filter(|_| websocket::is_websocket_request(&cx.headers))
}

/// A watch: one event a message. Each piece of `events` is one frame of the watch.
pub fn watch(
    cx: &RequestContext,
    client: OnUpgrade,
    events: Body,
    text: bool,
) -> Result<Response, StatusError> {
    // As Go's handler does, which guards browsers' users against other sites.
    if !cx.headers.contains_key(header::ORIGIN) {
        return Ok(serving::error_response(StatusCode::FORBIDDEN, ""));
    }
    let protocol = match websocket::requested_protocols(&cx.headers).as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        _ => return Ok(serving::error_response(StatusCode::BAD_REQUEST, "")),
    };
    let framing = if text {
        Framing::Text
    } else {
        Framing::LengthPrefixed
    };
    switch(cx, client, &protocol, events, framing)
}

/// A stream of bytes.
pub fn reader(
    cx: &RequestContext,
    client: OnUpgrade,
    bytes: Body,
) -> Result<Response, StatusError> {
    let protocol = websocket::negotiate(&cx.headers, READER_PROTOCOLS)
        .map_err(|error| status::bad_request(error.to_string()))?;
    let framing = if protocol == BASE64 {
        Framing::Base64
    } else {
        Framing::Binary
    };
    switch(cx, client, &protocol, bytes, framing)
}

fn switch(
    cx: &RequestContext,
    client: OnUpgrade,
    protocol: &str,
    body: Body,
    framing: Framing,
) -> Result<Response, StatusError> {
    let accepted = websocket::accept_response(&cx.method, &cx.headers, protocol)
        .map_err(|error| status::bad_request(error.to_string()))?;
    let noted = cx.until_the_end();
    tokio::spawn(async move {
        let _until_the_end = noted;
        match client.await {
            Ok(client) => pump(client, body, framing).await,
            Err(error) => tracing::debug!(error = %error, "A connection could not be switched"),
        }
    });
    Ok(accepted.map(|()| Body::empty()))
}

/// Sends until the body ends or the client goes. What the client sends is dropped.
async fn pump(client: hyper::upgrade::Upgraded, mut body: Body, framing: Framing) {
    let socket = websocket::server(TokioIo::new(client)).await;
    let (mut sink, mut incoming) = socket.split();
    loop {
        let frame = tokio::select! {
            message = incoming.next() => match message {
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return,
            },
            frame = body.frame() => frame,
        };
        let Some(Ok(frame)) = frame else { break };
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        for message in framing.messages(piece) {
            if sink.send(message).await.is_err() {
                return;
            }
        }
    }
    let _ = sink.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_messages() {
        let bytes = Bytes::from(vec![b'a'; CHUNK + 1]);
        assert_eq!(Framing::Binary.messages(bytes.clone()).len(), 2);
        assert_eq!(
            Framing::Base64.messages(Bytes::from_static(b"log\n")),
            [Message::text("bG9nCg==")]
        );
        assert_eq!(
            Framing::Text.messages(Bytes::from_static(b"{}\n")),
            [Message::text("{}\n")]
        );
        assert_eq!(
            Framing::LengthPrefixed.messages(Bytes::from_static(b"\0\0\0\x02ab")),
            [Message::binary(&b"ab"[..])]
        );
    }
}
