//! A watch response as a stream of events. Upstream: `apimachinery/pkg/watch`, `client-go/rest/watch`.
//!
//! Both encodings are read: JSON objects one after the other, and protobuf frames of a four-byte length and a `WatchEvent` whose
//! object is an envelope of its own. An ERROR event ends the stream with [`Error::Api`]; a body that ends inside a frame ends it
//! with an error too, since what was lost may be an event.

mod frames;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use api_types::meta::v1::{Status, WatchEvent as WireEvent};
use api_types::{Struct, decode_protobuf_into};
use bytes::Bytes;
use futures::Stream;
use http::Response;
use http_body::Body as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::frames::Frames;
use crate::error::Error;
use crate::rest::{Media, ResponseBody, TransportError, TransportErrorKind, decode};

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<T> {
    /// The object is new, or was there when the watch began.
    Added(T),
    /// The object changed.
    Modified(T),
    /// The object is gone, or left the selection; this is its last state.
    Deleted(T),
    /// Nothing changed up to the object's resource version; all else in the object but annotations is empty.
    Bookmark(T),
}

impl<T> WatchEvent<T> {
    /// The object of the event.
    pub fn object(&self) -> &T {
        match self {
            Self::Added(object)
            | Self::Modified(object)
            | Self::Deleted(object)
            | Self::Bookmark(object) => object,
        }
    }
}

type Decode<T> = fn(Media, &[u8]) -> Result<T, Error>;

/// The events of a watch. Dropping it ends the watch.
pub struct WatchStream<T> {
    body: ResponseBody,
    frames: Frames,
    media: Media,
    decode: Decode<T>,
    ready: VecDeque<Bytes>,
    ended: bool,
}

impl<T> fmt::Debug for WatchStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("media", &self.media)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// The events of a response whose objects are of a known type.
pub(crate) fn typed<T: Struct + Default>(response: Response<ResponseBody>) -> WatchStream<T> {
    with_decoder(response, decode::<T>)
}

pub(crate) fn with_decoder<T>(
    response: Response<ResponseBody>,
    decode: Decode<T>,
) -> WatchStream<T> {
    let media = Media::of(response.headers());
    WatchStream {
        body: response.into_body(),
        frames: Frames::new(media),
        media,
        decode,
        ready: VecDeque::new(),
        ended: false,
    }
}

impl<T> WatchStream<T> {
    fn read(&self, frame: &[u8]) -> Result<WatchEvent<T>, Error> {
        match self.media {
            Media::Json => {
                #[derive(Deserialize)]
                struct JsonEvent<'a> {
                    r#type: &'a str,
                    #[serde(borrow)]
                    object: &'a RawValue,
                }
                let event: JsonEvent<'_> = serde_json::from_slice(frame)
                    .map_err(|error| Error::decode("watch event", error))?;
                self.event(event.r#type, event.object.get().as_bytes())
            }
            Media::Protobuf => {
                let mut event = WireEvent::default();
                // Frames are bare messages; one in an envelope is understood as well.
                let raw = match api_types::decode_envelope(frame) {
                    Ok(envelope) => envelope.raw,
                    Err(_) => frame,
                };
                decode_protobuf_into(&mut event, raw)
                    .map_err(|error| Error::decode("watch event", error))?;
                self.event(&event.type_, &event.object.raw)
            }
        }
    }

    fn event(&self, kind: &str, object: &[u8]) -> Result<WatchEvent<T>, Error> {
        // Inside a protobuf event an object without a protobuf form is JSON.
        let media = if api_types::codec::is_envelope(object) {
            Media::Protobuf
        } else {
            Media::Json
        };
        let read = || (self.decode)(media, object);
        match kind {
            "ADDED" => read().map(WatchEvent::Added),
            "MODIFIED" => read().map(WatchEvent::Modified),
            "DELETED" => read().map(WatchEvent::Deleted),
            "BOOKMARK" => read().map(WatchEvent::Bookmark),
            "ERROR" => Err(Error::Api(Box::new(decode::<Status>(media, object)?))),
            other => Err(Error::decode(
                "watch event",
                format!("got invalid watch event type: {other}"),
            )),
        }
    }
}

impl<T> Stream for WatchStream<T> {
    type Item = Result<WatchEvent<T>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(frame) = this.ready.pop_front() {
                let event = this.read(&frame);
                if event.is_err() {
                    this.ended = true;
                    this.ready.clear();
                }
                return Poll::Ready(Some(event));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            let broken = |source: crate::rest::BoxError| Error::Transport {
                method: http::Method::GET,
                url: "watch".into(),
                source: TransportError::new(TransportErrorKind::Broken, source),
            };
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => {
                    this.ended = true;
                    if this.frames.is_inside() {
                        return Poll::Ready(Some(Err(broken(
                            "unexpected EOF during watch stream event decoding".into(),
                        ))));
                    }
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && let Err(error) = this.frames.push(&data, &mut this.ready)
                    {
                        this.ended = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Some(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(broken(error))));
                }
            }
        }
    }
}
