//! What an HTTP/2 connection writes between two waits leaves in as few pieces as possible.
//!
//! The HTTP/2 implementation flushes after every frame that is not tiny. Behind TLS each flush is a record and a system call, so fifty
//! watches of a connection that see the same event would cost fifty of both, and a long list one per 16 KiB. Here flushing is put
//! off while the connection is polled: [`Gathered::poll_send`] does it once, when the connection has nothing more to say for now.
//!
//! Invariants: what was accepted is sent in order, and nothing is kept back once the connection waits; a peer that does not read
//! holds at most [`LIMIT`] bytes here besides what TLS holds; a connection that has nothing to send has no buffer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered before they are sent without waiting for more: eight full TLS records.
pub(super) const LIMIT: usize = 128 * 1024;
/// The length of a frame of a peer that did not ask for longer ones, and of its head (RFC 9113, section 4).
const FRAME: usize = 16 * 1024;
const FRAME_HEAD: usize = 9;

/// Pieces of a long body that are so many bytes long leave in full TLS records, as many as are sent at once.
pub const PIECE: usize = LIMIT - LIMIT / FRAME * FRAME_HEAD;

/// A stream that is written by one connection only. Clones are the same stream.
pub(super) struct Gathered<S>(Arc<Mutex<State<S>>>);

struct State<S> {
    stream: S,
    buffer: Vec<u8>,
    /// How much of the buffer is sent.
    sent: usize,
    /// The connection lets other tasks run before its buffer is sent.
    waits: bool,
    /// The peer has sent something.
    heard: bool,
}

impl<S> Clone for Gathered<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gathered<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(State {
            stream,
            buffer: Vec::new(),
            sent: 0,
            waits: false,
            heard: false,
        })))
    }

    /// Whether the peer has sent anything.
    pub(super) fn has_heard(&self) -> bool {
        self.state().heard
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what the connection that writes to this stream wrote when it was `polled`. If it serves `several` requests, that is kept
    /// for one round of the tasks that are ready to run, since among them may be some whose answers go the same way.
    pub(super) fn poll_send<E>(
        &self,
        polled: Poll<Result<(), E>>,
        several: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), E>>
    where
        E: From<io::Error>,
    {
        let mut state = self.state();
        if polled.is_pending() && state.is_filling() && !state.waits && several {
            state.waits = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        state.waits = false;
        match (polled, state.poll_flush(cx)) {
            // Nobody would look at the error before the next write, which may never come.
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error.into())),
            (polled, _) => polled,
        }
    }
}

impl<S: AsyncWrite + Unpin> State<S> {
    /// There is something to send, but little.
    fn is_filling(&self) -> bool {
        self.sent == 0 && !self.buffer.is_empty() && self.buffer.len() < LIMIT / 2
    }

    /// Sends the whole buffer, and gives its memory back.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.buffer.len() {
            let rest = &self.buffer[self.sent..];
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        self.buffer = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// How much can be added to the buffer, which is sent first if it has no room for a whole frame of this length: so the frames of a
    /// long body stay with each other in full records, whatever was sent before it.
    fn poll_room(&mut self, frame: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.len() + frame.min(LIMIT) > LIMIT {
            ready!(self.poll_drain(cx))?;
        }
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(LIMIT);
        }
        Poll::Ready(Ok(LIMIT - self.buffer.len()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = buffer.filled().len();
        let polled = Pin::new(&mut state.stream).poll_read(cx, buffer);
        state.heard |= buffer.filled().len() > before;
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        let frame = pieces.iter().map(|piece| piece.len()).sum();
        let room = ready!(state.poll_room(frame, cx))?;
        let mut left = room;
        for piece in pieces {
            let taken = piece.len().min(left);
            state.buffer.extend_from_slice(&piece[..taken]);
            left -= taken;
        }
        Poll::Ready(Ok(room - left))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Put off until the connection has been polled.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        ready!(state.poll_drain(cx))?;
        Pin::new(&mut state.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Takes so many bytes, and remembers what it took at once.
    #[derive(Default)]
    struct Peer {
        room: usize,
        broken: bool,
        taken: Vec<Vec<u8>>,
        flushed: usize,
        closed: bool,
    }

    impl AsyncRead for Peer {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Peer {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if self.room == 0 {
                return Poll::Pending;
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            self.taken.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushed += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.closed = true;
            Poll::Ready(Ok(()))
        }
    }

    fn gathered(room: usize) -> Gathered<Peer> {
        Gathered::new(Peer {
            room,
            ..Peer::default()
        })
    }

    /// Polls a connection once.
    fn drive<C>(stream: &Gathered<Peer>, connection: Pin<&mut C>) -> Poll<io::Result<()>>
    where
        C: Future<Output = io::Result<()>>,
    {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        stream.poll_send(connection.poll(&mut cx), true, &mut cx)
    }

    #[test]
    fn what_is_written_between_two_waits_is_sent_at_once() {
        let stream = gathered(usize::MAX);
        let mut writer = stream.clone();
        let mut connection = pin!(async move {
            for _ in 0..50 {
                writer.write_all(b"frame ").await?;
                writer.flush().await?;
            }
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            writer.write_all(b"last").await?;
            writer.shutdown().await
        });
        assert!(drive(&stream, connection.as_mut()).is_pending());
        assert!(
            stream.state().taken().is_empty(),
            "others have a turn first"
        );
        assert!(drive(&stream, connection.as_mut()).is_pending());
        assert_eq!(stream.state().taken(), [b"frame ".repeat(50)]);
        assert_eq!(stream.state().stream.flushed, 1);
        assert_eq!(stream.state().buffer.capacity(), 0, "no buffer while idle");

        assert!(matches!(
            drive(&stream, connection.as_mut()),
            Poll::Ready(Ok(()))
        ));
        let state = stream.state();
        assert_eq!(state.taken().last(), Some(&b"last".to_vec()));
        assert!(state.stream.closed);
    }

    #[test]
    fn a_request_that_is_alone_waits_for_no_other() {
        let stream = gathered(usize::MAX);
        let mut writer = stream.clone();
        let mut connection = pin!(async move {
            writer.write_all(b"answer").await?;
            std::future::pending::<io::Result<()>>().await
        });
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let polled = stream.poll_send(connection.as_mut().poll(&mut cx), false, &mut cx);
        assert!(polled.is_pending());
        assert_eq!(stream.state().taken(), [b"answer"]);
    }

    #[test]
    fn frames_of_a_long_body_leave_in_full_records() {
        let stream = gathered(usize::MAX);
        let mut writer = stream.clone();
        let mut connection = pin!(async move {
            writer.write_all(&[0; 50]).await?;
            for _ in 0..3 {
                for payload in [vec![1; PIECE]]
                    .iter()
                    .flat_map(|piece| piece.chunks(FRAME))
                {
                    let head = [2; FRAME_HEAD];
                    let parts = [IoSlice::new(&head), IoSlice::new(payload)];
                    let written = writer.write_vectored(&parts).await?;
                    assert_eq!(written, FRAME_HEAD + payload.len());
                }
            }
            std::future::pending::<io::Result<()>>().await
        });
        assert!(drive(&stream, connection.as_mut()).is_pending());
        assert!(drive(&stream, connection.as_mut()).is_pending());
        let state = stream.state();
        let lengths: Vec<usize> = state.taken().iter().map(Vec::len).collect();
        let whole = (LIMIT / FRAME - 1) * (FRAME_HEAD + FRAME);
        assert_eq!(lengths, [50 + whole, LIMIT, LIMIT, LIMIT - whole]);
    }

    #[test]
    fn a_peer_that_does_not_read_holds_a_bounded_buffer_and_gets_everything_in_order() {
        let sent: Vec<u8> = (0..10 * LIMIT + 7).map(|at| (at / 3) as u8).collect();
        let stream = gathered(0);
        let mut writer = stream.clone();
        let bytes = sent.clone();
        let mut connection = pin!(async move {
            for piece in bytes.chunks(16_393) {
                writer.write_all(piece).await?;
                writer.flush().await?;
            }
            writer.shutdown().await
        });
        let mut done = false;
        let mut received = 0;
        while !done {
            done = drive(&stream, connection.as_mut()).is_ready();
            let mut state = stream.state();
            assert!(state.buffer.len() <= LIMIT);
            assert!(state.buffer.capacity() <= LIMIT);
            state.stream.room = 1_000;
            received += 1_000;
            assert!(received < 2 * sent.len(), "it ends");
        }
        assert_eq!(stream.state().taken().concat(), sent);
    }

    #[test]
    fn an_error_ends_a_connection_that_waits() {
        let stream = gathered(usize::MAX);
        stream.state().stream.broken = true;
        let mut writer = stream.clone();
        let mut connection = pin!(async move {
            writer.write_all(b"x").await?;
            std::future::pending().await
        });
        assert!(drive(&stream, connection.as_mut()).is_pending());
        match drive(&stream, connection.as_mut()) {
            Poll::Ready(Err(error)) => assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
            other => panic!("{other:?}"),
        }
    }

    impl State<Peer> {
        fn taken(&self) -> &[Vec<u8>] {
            &self.stream.taken
        }
    }
}
