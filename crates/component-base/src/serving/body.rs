//! The one body type of requests and responses.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use super::produced::{Produced, Producer};
use crate::Error;

/// A request's or response's body: nothing, bytes at hand, what a peer sends, or what a task sends.
/// Cheap cases cost no allocation.
#[derive(Default)]
pub struct Body {
    repr: Repr,
    observed: Option<Observed>,
    held: Held,
}

/// Is told what becomes of a body, see [`Body::observed_by`].
pub trait Observer: Send + Sync {
    /// So many bytes of it were taken in all, mostly to be sent. Told when the body is dropped.
    fn taken(&self, bytes: u64);
    /// It breaks off.
    fn failed(&self);
}

/// A body's observer is let go with it. What is taken is counted here: the observer is in no processor's cache when a watch that has
/// been quiet sends an event.
struct Observed {
    observer: Arc<dyn Observer>,
    taken: u64,
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.observer.taken(self.taken);
    }
}

/// What is dropped with a body, and what was held before it.
type Held = Option<Box<dyn Any + Send + Sync>>;

#[derive(Default)]
enum Repr {
    #[default]
    Empty,
    Full(Bytes),
    Incoming(hyper::body::Incoming),
    Channel(mpsc::Receiver<Result<Frame<Bytes>, Error>>),
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = Error> + Send + Sync>>),
}

/// The writing end of [`Body::channel`]. Dropping it ends the body.
#[derive(Clone, Debug)]
pub struct BodySender(mpsc::Sender<Result<Frame<Bytes>, Error>>);

/// Why a body could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("reading the body")]
    Read(#[source] Error),
}

impl Body {
    pub const fn empty() -> Self {
        Self::of(Repr::Empty)
    }

    const fn of(repr: Repr) -> Self {
        Self {
            repr,
            observed: None,
            held: None,
        }
    }

    /// A body written by someone else; `capacity` chunks wait before the writer has to.
    pub fn channel(capacity: usize) -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(capacity);
        (BodySender(sender), Self::of(Repr::Channel(receiver)))
    }

    /// A body that takes long to make: threads of their own make it, see [`Producer`].
    pub fn produced(producer: impl Producer) -> Self {
        Self::boxed(Produced::new(producer))
    }

    /// A body of another type that fails as this one does.
    pub fn boxed(body: impl HttpBody<Data = Bytes, Error = Error> + Send + Sync + 'static) -> Self {
        Self::of(Repr::Boxed(Box::pin(body)))
    }

    /// Any other body, for example a response that is passed on.
    pub fn wrap<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<Error>,
    {
        use http_body_util::BodyExt;
        Self::boxed(body.map_err(Into::into))
    }

    /// This body and something that is dropped with it, when it has been sent or nobody reads it any more.
    pub fn holding(mut self, held: impl Send + Sync + 'static) -> Self {
        self.held = Some(Box::new((held, self.held.take())));
        self
    }

    /// This body, of which the observer is told until it is dropped with it. A body has one observer.
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observed = Some(Observed { observer, taken: 0 });
        self
    }

    /// The bytes, when they are all at hand.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.repr {
            Repr::Full(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Reads the whole body, but not more than `limit` bytes.
    pub async fn collect(self, limit: usize) -> Result<Bytes, CollectError> {
        let mut body = match self.repr {
            Repr::Empty => return Ok(Bytes::new()),
            Repr::Full(bytes) if bytes.len() <= limit => return Ok(bytes),
            repr => Self { repr, ..self },
        };
        if body.size_hint().lower() > limit as u64 {
            return Err(CollectError::TooLarge { limit });
        }
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            let Ok(data) = frame.map_err(CollectError::Read)?.into_data() else {
                continue;
            };
            if first.len() + all.len() + data.len() > limit {
                return Err(CollectError::TooLarge { limit });
            }
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                if all.is_empty() {
                    all.extend_from_slice(&first);
                    first = Bytes::new();
                }
                all.extend_from_slice(&data);
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    /// The next chunk of data; trailers are skipped.
    pub async fn next_chunk(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            match std::future::poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => return Some(Ok(data)),
                    Err(_) => continue,
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl BodySender {
    /// Sends a chunk, waiting for room. False when nobody reads any more.
    pub async fn send(&self, data: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(data.into()))).await.is_ok()
    }

    /// Sends a chunk if there is room now; the chunk comes back when there is none or nobody reads.
    pub fn try_send(&self, data: Bytes) -> Result<(), Bytes> {
        self.0
            .try_send(Ok(Frame::data(data)))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(item) | mpsc::error::TrySendError::Closed(item) => {
                    item.ok()
                        .and_then(|frame| frame.into_data().ok())
                        .unwrap_or_default()
                }
            })
    }

    /// Breaks the body off, so that the peer sees a failure and not an end.
    pub async fn fail(&self, error: impl Into<Error>) {
        let _ = self.0.send(Err(error.into())).await;
    }

    /// Resolves when nobody reads any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.repr {
            Repr::Empty => "Body(empty)",
            Repr::Full(_) => "Body(full)",
            Repr::Incoming(_) => "Body(incoming)",
            Repr::Channel(_) => "Body(channel)",
            Repr::Boxed(_) => "Body(boxed)",
        })
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::empty()
        } else {
            Self::of(Repr::Full(bytes))
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<hyper::body::Incoming> for Body {
    fn from(body: hyper::body::Incoming) -> Self {
        if body.is_end_stream() {
            Self::empty()
        } else {
            Self::of(Repr::Incoming(body))
        }
    }
}

impl Repr {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Channel(receiver) => receiver.poll_recv(cx),
            Self::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let polled = this.repr.poll_frame(cx);
        if let (Poll::Ready(Some(result)), Some(observed)) = (&polled, &mut this.observed) {
            match result {
                Ok(frame) => observed.taken += frame.data_ref().map_or(0, Bytes::len) as u64,
                Err(_) => observed.observer.failed(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.repr {
            Repr::Empty => true,
            Repr::Full(_) | Repr::Channel(_) => false,
            Repr::Incoming(body) => body.is_end_stream(),
            Repr::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.repr {
            Repr::Empty => SizeHint::with_exact(0),
            Repr::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Repr::Channel(_) => SizeHint::default(),
            Repr::Incoming(body) => body.size_hint(),
            Repr::Boxed(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn collects_up_to_the_limit() {
        let (sender, body) = Body::channel(4);
        assert!(sender.send("ab").await);
        assert!(sender.send("cd").await);
        drop(sender);
        assert_eq!(body.collect(4).await.unwrap(), "abcd");

        let (sender, body) = Body::channel(4);
        assert!(sender.send("abcde").await);
        drop(sender);
        assert!(matches!(
            body.collect(4).await,
            Err(CollectError::TooLarge { limit: 4 })
        ));
        assert!(matches!(
            Body::from("abcde").collect(4).await,
            Err(CollectError::TooLarge { limit: 4 })
        ));
        assert_eq!(Body::empty().collect(0).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_failed_body_is_an_error() {
        let (sender, body) = Body::channel(4);
        assert!(sender.send("ab").await);
        sender.fail("broken").await;
        drop(sender);
        assert!(matches!(body.collect(10).await, Err(CollectError::Read(_))));
    }

    #[tokio::test]
    async fn an_observer_is_told_of_all_that_is_taken_and_let_go_with_the_body() {
        use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

        #[derive(Default)]
        struct Told {
            taken: AtomicU64,
            failed: AtomicUsize,
        }
        impl Observer for Told {
            fn taken(&self, bytes: u64) {
                self.taken.fetch_add(bytes, Ordering::Relaxed);
            }
            fn failed(&self) {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        let told = Arc::new(Told::default());
        let (sender, body) = Body::channel(4);
        let mut body = body.observed_by(told.clone());
        assert!(sender.send("ab").await && sender.send("cde").await);
        sender.fail("broken").await;
        while let Some(Ok(_)) = body.next_chunk().await {}
        drop(body);
        let counts = (
            told.taken.load(Ordering::Relaxed),
            told.failed.load(Ordering::Relaxed),
        );
        assert_eq!(counts, (5, 1));
        assert_eq!(Arc::strong_count(&told), 1);
    }

    #[tokio::test]
    async fn a_dropped_reader_is_seen() {
        let (sender, body) = Body::channel(1);
        drop(body);
        sender.closed().await;
        assert!(!sender.send("x").await);
        assert_eq!(sender.try_send(Bytes::from_static(b"x")).unwrap_err(), "x");
    }
}
