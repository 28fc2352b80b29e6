//! Several byte channels in one WebSocket: each message begins with the number of its channel. Upstream: `wsstream.Conn`.
//!
//! Binary protocols put the number into the first byte; base64 ones use text messages, a digit and base64. With `v5` a message of 255
//! and a channel number says that the client sends nothing more on that channel.
//!
//! One task reads and one writes. A channel whose reader is slow stops the reading of all, as TCP would; a channel nobody reads is
//! read and dropped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

const CLOSE_CHANNEL: u8 = 255;
/// As the API server and the kubelet: a connection without any message in this time is given up.
const IDLE: Duration = Duration::from_secs(4 * 60 * 60);
const QUEUE: usize = 32;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Binary messages.
    Binary,
    /// Text messages with base64.
    Base64,
}

/// The connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the websocket connection is closed")]
pub struct Closed;

/// What the other side sends on one channel.
#[derive(Debug)]
pub struct ChannelReader(mpsc::Receiver<Bytes>);

impl ChannelReader {
    /// The next message; `None` when the channel or the connection is closed.
    pub async fn read(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}

/// Sends on one channel.
#[derive(Clone, Debug)]
pub struct ChannelWriter {
    channel: u8,
    codec: Codec,
    messages: mpsc::Sender<Message>,
}

impl ChannelWriter {
    /// Sends one message; waits while the connection is slow. An empty one is sent too.
    pub async fn write(&self, data: &[u8]) -> Result<(), Closed> {
        self.messages
            .send(encode(self.codec, self.channel, data))
            .await
            .map_err(|_| Closed)
    }
}

fn encode(codec: Codec, channel: u8, data: &[u8]) -> Message {
    match codec {
        Codec::Binary => {
            let mut message = BytesMut::with_capacity(data.len() + 1);
            message.put_u8(channel);
            message.put_slice(data);
            Message::Binary(message.freeze())
        }
        Codec::Base64 => {
            let mut message = String::from(char::from(b'0' + channel));
            STANDARD.encode_string(data, &mut message);
            Message::Text(message.into())
        }
    }
}

/// Channel and data of a message; `None` for what is not understood.
fn decode(codec: Codec, message: &Message) -> Option<(u8, Bytes)> {
    let (Message::Binary(_) | Message::Text(_)) = message else {
        return None;
    };
    let data = message.clone().into_data();
    let first = *data.first()?;
    match codec {
        Codec::Binary => Some((first, data.slice(1..))),
        Codec::Base64 => {
            let channel = first.checked_sub(b'0')?;
            STANDARD
                .decode(&data[1..])
                .ok()
                .map(|data| (channel, data.into()))
        }
    }
}

/// Opens `readable` and `writable` channels on a WebSocket. Each list names channel numbers; the results are in the same order. The
/// connection is closed in the ordinary way when all writers are dropped, and at once when the other side closes.
pub fn open<S>(
    socket: WebSocketStream<S>,
    codec: Codec,
    stream_close: bool,
    readable: &[u8],
    writable: &[u8],
) -> (Vec<ChannelReader>, Vec<ChannelWriter>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut source) = socket.split();
    let (messages, mut outgoing) = mpsc::channel::<Message>(QUEUE);
    let mut readers = Vec::new();
    let mut inputs: Vec<Option<(u8, mpsc::Sender<Bytes>)>> = Vec::new();
    for &channel in readable {
        let (sender, receiver) = mpsc::channel(QUEUE);
        inputs.push(Some((channel, sender)));
        readers.push(ChannelReader(receiver));
    }
    let writers = writable
        .iter()
        .map(|&channel| ChannelWriter {
            channel,
            codec,
            messages: messages.clone(),
        })
        .collect();
    drop(messages);

    let mut reading = tokio::spawn(async move {
        loop {
            let message = match tokio::time::timeout(IDLE, source.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) | None) => return,
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "websocket read failed");
                    return;
                }
                Err(_) => {
                    tracing::debug!("websocket idle for too long");
                    return;
                }
            };
            if matches!(message, Message::Close(_)) {
                return;
            }
            let Some((channel, data)) = decode(codec, &message) else {
                continue;
            };
            if stream_close && channel == CLOSE_CHANNEL {
                for input in &mut inputs {
                    input.take_if(|(channel, _)| data.first() == Some(channel));
                }
                continue;
            }
            if let Some((_, sender)) = inputs
                .iter()
                .flatten()
                .find(|(number, _)| *number == channel)
            {
                // A reader that is gone does not end the others.
                let _ = sender.send(data).await;
            }
        }
    });
    tokio::spawn(async move {
        loop {
            tokio::select! {
                message = outgoing.recv() => match message {
                    Some(message) => {
                        if sink.send(message).await.is_err() {
                            break;
                        }
                    }
                    None => {
                        // Everything was sent: say goodbye. What the other side still sends is not waited for.
                        let _ = sink.send(goodbye()).await;
                        break;
                    }
                },
                _ = &mut reading => {
                    // The other side closed: writers see it, readers have what came before.
                    let _ = sink.send(goodbye()).await;
                    return;
                }
            }
        }
        reading.abort();
    });
    (readers, writers)
}

/// The close frame of a normal end (1000). Without a status kubectl takes the end for a loss (1005).
pub(super) fn goodbye() -> Message {
    Message::Close(Some(CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streaming::websocket;

    #[test]
    fn messages_round_trip() {
        for codec in [Codec::Binary, Codec::Base64] {
            for data in [&b""[..], b"hello", &[0, 255, 10]] {
                let (channel, decoded) = decode(codec, &encode(codec, 4, data)).unwrap();
                assert_eq!((channel, &decoded[..]), (4, data), "{codec:?}");
            }
        }
        assert_eq!(
            encode(Codec::Base64, 1, b"\n"),
            Message::Text("1Cg==".into())
        );
        assert!(decode(Codec::Base64, &Message::Text("0***".into())).is_none());
        assert!(decode(Codec::Binary, &Message::Binary(Bytes::new())).is_none());
    }

    #[tokio::test]
    async fn channels_are_separate_and_close_one_by_one() {
        let (near, far) = tokio::io::duplex(1024);
        let mut far = websocket::client(far).await;
        let (mut readers, writers) = open(
            websocket::server(near).await,
            Codec::Binary,
            true,
            &[0, 4],
            &[1, 3],
        );
        far.send(Message::Binary(Bytes::from_static(b"\x00in")))
            .await
            .unwrap();
        far.send(Message::Binary(Bytes::from_static(b"\x04size")))
            .await
            .unwrap();
        far.send(Message::Binary(Bytes::from_static(b"\x07nobody")))
            .await
            .unwrap();
        far.send(Message::Binary(Bytes::from_static(&[255, 0])))
            .await
            .unwrap();
        assert_eq!(readers[0].read().await.unwrap(), "in");
        assert_eq!(readers[0].read().await, None, "stdin was closed");
        assert_eq!(readers[1].read().await.unwrap(), "size");
        writers[0].write(b"out").await.unwrap();
        writers[1].write(b"").await.unwrap();
        assert_eq!(
            far.next().await.unwrap().unwrap(),
            Message::Binary(Bytes::from_static(b"\x01out"))
        );
        assert_eq!(
            far.next().await.unwrap().unwrap(),
            Message::Binary(Bytes::from_static(b"\x03"))
        );
        drop(writers);
        assert_eq!(far.next().await.unwrap().unwrap(), goodbye());
    }

    #[tokio::test]
    async fn writers_see_that_the_other_side_has_gone() {
        let (near, far) = tokio::io::duplex(1024);
        let (mut readers, writers) = open(
            websocket::server(near).await,
            Codec::Base64,
            false,
            &[0],
            &[1],
        );
        drop(far);
        assert_eq!(readers[0].read().await, None);
        while writers[0].write(b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
