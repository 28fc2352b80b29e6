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

    /// The same change with its object in another form.
    fn try_map<U>(
        self,
        change: impl FnOnce(T) -> Result<U, Error>,
    ) -> Result<WatchEvent<U>, Error> {
        let (event, object): (fn(U) -> WatchEvent<U>, T) = match self {
            Self::Added(object) => (WatchEvent::Added, object),
            Self::Modified(object) => (WatchEvent::Modified, object),
            Self::Deleted(object) => (WatchEvent::Deleted, object),
            Self::Bookmark(object) => (WatchEvent::Bookmark, object),
        };
        change(object).map(event)
    }
}

pub(crate) type Decode<T> = fn(Media, &[u8]) -> Result<T, Error>;

/// The events of a watch. Dropping it ends the watch.
pub struct WatchStream<T> {
    events: EncodedEvents,
    decode: Decode<T>,
}

/// The events of a watch with their objects as they came: what has to be done whatever their type is.
struct EncodedEvents {
    body: ResponseBody,
    frames: Frames,
    media: Media,
    ready: VecDeque<Bytes>,
    ended: bool,
}

/// An object as it came.
struct Encoded {
    media: Media,
    bytes: Bytes,
}

impl<T> fmt::Debug for WatchStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("media", &self.events.media)
            .field("ended", &self.events.ended)
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
        events: EncodedEvents {
            body: response.into_body(),
            frames: Frames::new(media),
            media,
            ready: VecDeque::new(),
            ended: false,
        },
        decode,
    }
}

impl<T> WatchStream<T> {
    /// The same events, their objects read in another way.
    pub(crate) fn decoded_by<U>(self, decode: Decode<U>) -> WatchStream<U> {
        WatchStream {
            events: self.events,
            decode,
        }
    }
}

impl<T> Stream for WatchStream<T> {
    type Item = Result<WatchEvent<T>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let event = match ready!(this.events.poll_next(cx)) {
            Some(Ok(event)) => event,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        };
        let event = event.try_map(|object| (this.decode)(object.media, &object.bytes));
        if event.is_err() {
            this.events.end();
        }
        Poll::Ready(Some(event))
    }
}

impl EncodedEvents {
    fn read(&self, frame: &Bytes) -> Result<WatchEvent<Encoded>, Error> {
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
                event_of(event.r#type, frame.slice_ref(event.object.get().as_bytes()))
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
                event_of(&event.type_, Bytes::from(event.object.raw))
            }
        }
    }

    /// No event comes after this.
    fn end(&mut self) {
        self.ended = true;
        self.ready.clear();
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<WatchEvent<Encoded>, Error>>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                let event = self.read(&frame);
                if event.is_err() {
                    self.end();
                }
                return Poll::Ready(Some(event));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let broken = |source: crate::rest::BoxError| Error::Transport {
                method: http::Method::GET,
                url: "watch".into(),
                source: TransportError::new(TransportErrorKind::Broken, source),
            };
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    self.ended = true;
                    if self.frames.is_inside() {
                        return Poll::Ready(Some(Err(broken(
                            "unexpected EOF during watch stream event decoding".into(),
                        ))));
                    }
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && let Err(error) = self.frames.push(&data, &mut self.ready)
                    {
                        self.ended = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(broken(error))));
                }
            }
        }
    }
}

fn event_of(kind: &str, bytes: Bytes) -> Result<WatchEvent<Encoded>, Error> {
    // Inside a protobuf event an object without a protobuf form is JSON.
    let media = if api_types::codec::is_envelope(&bytes) {
        Media::Protobuf
    } else {
        Media::Json
    };
    let object = Encoded { media, bytes };
    match kind {
        "ADDED" => Ok(WatchEvent::Added(object)),
        "MODIFIED" => Ok(WatchEvent::Modified(object)),
        "DELETED" => Ok(WatchEvent::Deleted(object)),
        "BOOKMARK" => Ok(WatchEvent::Bookmark(object)),
        "ERROR" => Err(Error::Api(Box::new(decode::<Status>(
            media,
            &object.bytes,
        )?))),
        other => Err(Error::decode(
            "watch event",
            format!("got invalid watch event type: {other}"),
        )),
    }
}
