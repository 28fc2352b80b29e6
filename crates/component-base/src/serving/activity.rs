//! Whether a connection is used: between requests it may wait for a while, and a request that was begun has to arrive. Upstream: Go's
//! net/http with IdleTimeout and ReadHeaderTimeout, x/net/http2 with IdleTimeout.
//!
//! What is read from the peer, and the beginning and the end of requests are noted; [`Activity::over`] looks at the notes from time to
//! time, so that a request costs no timer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::ServerLimits;

/// The notes on a connection. Times are milliseconds since it was made.
#[derive(Debug)]
pub(super) struct Activity {
    made: Instant,
    http2: AtomicBool,
    /// There was a request.
    used: AtomicBool,
    /// Requests that have no whole answer yet.
    open: AtomicUsize,
    /// When the last of them ended.
    idle_since: AtomicU64,
    /// Something was read since then, and when.
    begun: AtomicBool,
    begun_at: AtomicU64,
}

/// Why a connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Nothing was asked for a long time.
    Idle,
    /// The headers of a request do not arrive.
    Slow,
}

impl Activity {
    pub(super) fn new(http2: bool) -> Arc<Activity> {
        Arc::new(Activity {
            made: Instant::now(),
            http2: http2.into(),
            used: false.into(),
            open: 0.into(),
            idle_since: 0.into(),
            begun: false.into(),
            begun_at: 0.into(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn read(&self) {
        if !self.begun.load(Ordering::Relaxed) {
            self.begun_at.store(self.now(), Ordering::Relaxed);
            self.begun.store(true, Ordering::Release);
        }
    }

    /// A request has come, which lasts as long as the answer's body.
    pub(super) fn request(self: &Arc<Self>, http2: bool) -> Open {
        if http2 {
            self.http2.store(true, Ordering::Relaxed);
        }
        self.used.store(true, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::AcqRel);
        Open(self.clone())
    }

    /// Whether several requests have no whole answer yet.
    pub(super) fn is_shared(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 1
    }

    /// Returns when the connection is of no use any more.
    pub(super) async fn over(&self, limits: &ServerLimits) -> Over {
        loop {
            match self.look(limits) {
                Ok(again) => tokio::time::sleep_until(again).await,
                Err(over) => return over,
            }
        }
    }

    /// When to look again, if all is well.
    fn look(&self, limits: &ServerLimits) -> Result<Instant, Over> {
        let now = Instant::now();
        // Requests begin and end between two looks.
        let again = now + limits.read_header_timeout.min(limits.idle_timeout);
        if self.open.load(Ordering::Acquire) > 0 {
            return Ok(again);
        }
        let at = |milliseconds: &AtomicU64| {
            self.made + Duration::from_millis(milliseconds.load(Ordering::Relaxed))
        };
        // Frames of HTTP/2 are no sign of a request.
        let http2 = self.http2.load(Ordering::Relaxed);
        let begun = !http2 && self.begun.load(Ordering::Acquire);
        let used = self.used.load(Ordering::Relaxed);
        let (deadline, over) = if !used && !http2 {
            (self.made + limits.read_header_timeout, Over::Slow)
        } else if begun {
            (at(&self.begun_at) + limits.read_header_timeout, Over::Slow)
        } else {
            (at(&self.idle_since) + limits.idle_timeout, Over::Idle)
        };
        if now < deadline {
            Ok(deadline.min(again))
        } else {
            Err(over)
        }
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Open(Arc<Activity>);

impl Drop for Open {
    fn drop(&mut self) {
        let activity = &self.0;
        activity.idle_since.store(activity.now(), Ordering::Relaxed);
        activity.begun.store(false, Ordering::Release);
        activity.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection of which it is noted when something is read.
pub(super) struct Noted<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Noted<S> {
    pub(super) fn new(stream: S, activity: &Arc<Activity>) -> Self {
        Self {
            stream,
            activity: activity.clone(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.read();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::{Shared, Tls};
    use super::super::{ConnectionInfo, handler_fn};
    use bytes::Bytes;

    use super::*;
    use crate::serving::Body;
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::time::{sleep, sleep_until};
    use tokio_util::sync::CancellationToken;

    const HEADER: u64 = 32;
    const IDLE: u64 = 90;

    /// A client of a server that answers at once, or after a time that the path says in seconds, and then in pieces for as long. Nothing
    /// but memory is between the two: time goes on when neither has anything to do.
    fn connected(http2: bool) -> DuplexStream {
        let handler = handler_fn(|request| async move {
            let path: &str = http::Request::uri(&request).path();
            let seconds: u64 = path.trim_matches('/').parse().unwrap_or(0);
            if seconds == 0 {
                return http::Response::new(Body::from("ok"));
            }
            sleep(Duration::from_secs(seconds)).await;
            let (sender, body) = Body::channel(1);
            tokio::spawn(async move {
                sleep(Duration::from_secs(seconds)).await;
                sender.send("late").await;
            });
            http::Response::new(body)
        });
        let server = Shared::new(
            Tls::Off,
            ServerLimits::default(),
            Arc::new(handler),
            CancellationToken::new(),
        );
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let info = ConnectionInfo::in_process();
            if http2 {
                server.http2(theirs, info).await
            } else {
                server.http1(theirs, info).await
            }
        });
        ours
    }

    async fn asks(stream: &mut DuplexStream, path: &str, last: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(last.as_bytes()) {
            let read = stream.read_buf(&mut answer).await.expect("read");
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        }
    }

    /// Seconds until the server has closed the connection.
    async fn closed(mut stream: DuplexStream, since: Instant) -> u64 {
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(0) | Err(_) => since.elapsed().as_secs(),
            Ok(_) => panic!("an answer"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_has_to_ask_something() {
        for begun in ["", "G", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            let start = Instant::now();
            let mut stream = connected(false);
            stream.write_all(begun.as_bytes()).await.expect("sent");
            assert_eq!(closed(stream, start).await, HEADER, "{begun:?}");
        }
        // A byte now and then is no help.
        let start = Instant::now();
        let mut stream = connected(false);
        for _ in 0..3 {
            stream.write_all(b"G").await.expect("sent");
            sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(closed(stream, start).await, HEADER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_waits_for_its_next_request() {
        let mut stream = connected(false);
        for _ in 0..3 {
            asks(&mut stream, "/", "ok").await;
            sleep(Duration::from_secs(IDLE - 1)).await;
        }
        asks(&mut stream, "/", "ok").await;
        assert_eq!(closed(stream, Instant::now()).await, IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_request_that_was_begun_has_to_arrive() {
        for begins in [1, 31, 40, 89] {
            let mut stream = connected(false);
            asks(&mut stream, "/", "ok").await;
            let start = Instant::now() + Duration::from_secs(begins);
            sleep_until(start).await;
            stream.write_all(b"GET / HT").await.expect("sent");
            assert_eq!(closed(stream, start).await, HEADER, "{begins}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_may_take_long() {
        let mut stream = connected(false);
        asks(&mut stream, "/500", "late\r\n0\r\n\r\n").await;
        assert_eq!(closed(stream, Instant::now()).await, IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn http2_connections_are_idle_too() {
        let stream = connected(true);
        let (mut sender, connection) =
            hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                .handshake(TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        let connection = tokio::spawn(connection);
        for path in ["/", "/500", "/"] {
            let request = http::Request::get(format!("http://x{path}"));
            let request = request.body(Empty::<Bytes>::new()).expect("a request");
            let answer = sender.send_request(request).await.expect("an answer");
            let body = answer.into_body().collect().await.expect("a body");
            assert!(!body.to_bytes().is_empty());
            sleep(Duration::from_secs(IDLE - 1)).await;
        }
        let since = Instant::now() - Duration::from_secs(IDLE - 1);
        connection.await.expect("a task").expect("a clean end");
        assert_eq!(since.elapsed().as_secs(), IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_client_has_to_say_that_it_is_one() {
        let start = Instant::now();
        let mut greeting = Vec::new();
        let mut stream = connected(true);
        stream.read_to_end(&mut greeting).await.expect("the end");
        assert_eq!(start.elapsed(), super::super::server::PREFACE_TIMEOUT);
    }
}
