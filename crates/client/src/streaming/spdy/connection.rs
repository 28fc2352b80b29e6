//! A client connection with its streams.
//!
//! One task writes: it numbers new streams and compresses their headers, so both happen in the order of the wire. One task reads and
//! hands data to the streams; a stream that is read slowly stops the reading of all (there is no flow control), a stream nobody reads
//! any more is drained.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, FrameError, decode, encode};
use super::headers::{HeaderBlock, HeaderReader, HeaderWriter};

/// How long the server may take to accept a stream, as upstream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// As upstream's executors: keeps middle boxes from dropping a silent connection.
const PING_PERIOD: Duration = Duration::from_secs(5);
const QUEUE: usize = 32;
/// Longer writes are sent in several frames.
const MAX_DATA: usize = 64 * 1024;
/// Largest frame taken in beyond which the peer is considered broken.
const MAX_BUFFER: usize = 32 << 20;

const REFUSED_STREAM: u32 = 3;
const CANCEL: u32 = 5;

/// Why a stream or connection cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpdyError {
    /// The connection has ended.
    #[error("the SPDY connection is closed")]
    Closed,
    /// The server ended the stream.
    #[error("the SPDY stream was reset with status {0}")]
    Reset(u32),
    /// The server did not accept the stream in time.
    #[error("timed out waiting for the SPDY stream to be accepted")]
    OpenTimeout,
}

enum Command {
    Open {
        headers: HeaderBlock,
        incoming: mpsc::Sender<Incoming>,
        opened: oneshot::Sender<Result<u32, SpdyError>>,
    },
    Send(Frame),
}

enum Incoming {
    Data(Bytes),
    Fin,
    Reset(u32),
}

#[derive(Default)]
struct Streams {
    open: HashMap<u32, Entry>,
}

struct Entry {
    incoming: mpsc::Sender<Incoming>,
    opened: Option<oneshot::Sender<Result<u32, SpdyError>>>,
}

/// A client connection. Clones share it; it ends when the server closes it, or when all clones and streams are dropped.
#[derive(Clone, Debug)]
pub struct Connection {
    commands: mpsc::Sender<Command>,
    ended: CancellationToken,
}

impl Connection {
    /// Speaks SPDY on a connection after a 101 answer. Starts two tasks.
    pub fn client<S>(io: S) -> Result<Self, FrameError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(io);
        let (commands, receiver) = mpsc::channel(QUEUE);
        let ended = CancellationToken::new();
        let streams = Arc::new(Mutex::new(Streams::default()));
        let writer = Writer {
            headers: HeaderWriter::new()?,
            next_stream: 1,
            streams: streams.clone(),
        };
        // Answers to pings must not keep the connection open: the reader holds a weak handle.
        let reader = Reader {
            streams: streams.clone(),
            commands: commands.downgrade(),
        };
        tokio::spawn({
            let ended = ended.clone();
            async move {
                let result = tokio::select! {
                    result = writer.run(write, receiver) => result,
                    result = reader.run(read) => result,
                };
                if let Err(error) = result {
                    tracing::debug!(%error, "SPDY connection ended");
                }
                ended.cancel();
                // Dropping the senders ends every stream.
                streams.lock().open.clear();
            }
        });
        Ok(Self { commands, ended })
    }

    /// Opens a stream and waits for the server to accept it.
    pub async fn open(&self, headers: &[(&str, &str)]) -> Result<Stream, SpdyError> {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let (incoming, receiver) = mpsc::channel(QUEUE);
        let (opened, answer) = oneshot::channel();
        self.commands
            .send(Command::Open {
                headers,
                incoming,
                opened,
            })
            .await
            .map_err(|_| SpdyError::Closed)?;
        let id = tokio::time::timeout(OPEN_TIMEOUT, answer)
            .await
            .map_err(|_| SpdyError::OpenTimeout)?
            .map_err(|_| SpdyError::Closed)??;
        Ok(Stream {
            reader: StreamReader {
                incoming: receiver,
                ended: false,
            },
            writer: StreamWriter {
                id,
                commands: self.commands.clone(),
                finished: false,
            },
        })
    }

    /// Tells the server that we are leaving. The servers we know end all streams then: call it last.
    pub async fn go_away(&self) {
        let _ = self
            .commands
            .send(Command::Send(Frame::GoAway {
                last_stream: 0,
                status: 0,
            }))
            .await;
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) {
        self.ended.cancelled().await;
    }
}

/// Both directions of a stream.
#[derive(Debug)]
pub struct Stream {
    /// What the server sends.
    pub reader: StreamReader,
    /// What we send.
    pub writer: StreamWriter,
}

/// The server's side of a stream.
#[derive(Debug)]
pub struct StreamReader {
    incoming: mpsc::Receiver<Incoming>,
    ended: bool,
}

impl StreamReader {
    /// The next bytes; `None` at the end.
    pub async fn read(&mut self) -> Result<Option<Bytes>, SpdyError> {
        if self.ended {
            return Ok(None);
        }
        match self.incoming.recv().await {
            Some(Incoming::Data(data)) => Ok(Some(data)),
            Some(Incoming::Fin) => {
                self.ended = true;
                Ok(None)
            }
            Some(Incoming::Reset(status)) => {
                self.ended = true;
                Err(SpdyError::Reset(status))
            }
            None => {
                self.ended = true;
                Err(SpdyError::Closed)
            }
        }
    }

    /// Everything up to the end.
    pub async fn read_to_end(&mut self) -> Result<Vec<u8>, SpdyError> {
        let mut all = Vec::new();
        while let Some(data) = self.read().await? {
            all.extend_from_slice(&data);
        }
        Ok(all)
    }
}

/// Our side of a stream. Dropping it ends that side.
#[derive(Debug)]
pub struct StreamWriter {
    id: u32,
    commands: mpsc::Sender<Command>,
    finished: bool,
}

impl StreamWriter {
    /// Sends bytes; waits while the connection is slow.
    pub async fn write(&self, mut data: Bytes) -> Result<(), SpdyError> {
        while !data.is_empty() {
            let part = data.split_to(data.len().min(MAX_DATA));
            self.send(Frame::Data {
                stream: self.id,
                fin: false,
                data: part,
            })
            .await?;
        }
        Ok(())
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) -> Result<(), SpdyError> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        self.send(Frame::Data {
            stream: self.id,
            fin: true,
            data: Bytes::new(),
        })
        .await
    }

    /// Ends both sides at once.
    pub async fn reset(mut self) {
        self.finished = true;
        let _ = self
            .send(Frame::RstStream {
                stream: self.id,
                status: CANCEL,
            })
            .await;
    }

    async fn send(&self, frame: Frame) -> Result<(), SpdyError> {
        self.commands
            .send(Command::Send(frame))
            .await
            .map_err(|_| SpdyError::Closed)
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let fin = Command::Send(Frame::Data {
            stream: self.id,
            fin: true,
            data: Bytes::new(),
        });
        if let Err(mpsc::error::TrySendError::Full(fin)) = self.commands.try_send(fin)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let commands = self.commands.clone();
            runtime.spawn(async move { commands.send(fin).await });
        }
    }
}

struct Writer {
    headers: HeaderWriter,
    next_stream: u32,
    streams: Arc<Mutex<Streams>>,
}

impl Writer {
    async fn run(
        mut self,
        mut io: impl AsyncWrite + Unpin,
        mut commands: mpsc::Receiver<Command>,
    ) -> io::Result<()> {
        let mut pings =
            tokio::time::interval_at(tokio::time::Instant::now() + PING_PERIOD, PING_PERIOD);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = 1u32;
        let mut out = BytesMut::new();
        loop {
            let frame = tokio::select! {
                command = commands.recv() => match command {
                    None => return io.shutdown().await,
                    Some(Command::Send(frame)) => frame,
                    Some(Command::Open { headers, incoming, opened }) => {
                        let stream = self.next_stream;
                        self.next_stream += 2;
                        self.streams.lock().open.insert(stream, Entry { incoming, opened: Some(opened) });
                        Frame::SynStream { stream, associated: 0, priority: 0, fin: false, unidirectional: false, headers }
                    }
                },
                _ = pings.tick() => {
                    ping = ping.wrapping_add(2);
                    Frame::Ping(ping)
                }
            };
            encode(&frame, &mut self.headers, &mut out).map_err(io::Error::other)?;
            // What else is waiting goes out with it.
            if !commands.is_empty() && out.len() < MAX_DATA {
                continue;
            }
            io.write_all(&out).await?;
            io.flush().await?;
            out.clear();
        }
    }
}

struct Reader {
    streams: Arc<Mutex<Streams>>,
    commands: mpsc::WeakSender<Command>,
}

impl Reader {
    async fn run(self, mut io: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut headers = HeaderReader::new();
        let mut buffer = BytesMut::with_capacity(16 * 1024);
        loop {
            while let Some(frame) = decode(&mut buffer, &mut headers).map_err(io::Error::other)? {
                self.handle(frame).await;
            }
            if buffer.len() > MAX_BUFFER {
                return Err(io::Error::other(FrameError::TooLarge(buffer.len())));
            }
            if io.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn handle(&self, frame: Frame) {
        match frame {
            Frame::SynReply { stream, fin, .. } => {
                let opened = self
                    .streams
                    .lock()
                    .open
                    .get_mut(&stream)
                    .and_then(|entry| entry.opened.take());
                if let Some(opened) = opened {
                    let _ = opened.send(Ok(stream));
                }
                if fin {
                    self.end(stream, Incoming::Fin).await;
                }
            }
            Frame::Data { stream, fin, data } => {
                if !data.is_empty() {
                    let incoming = self
                        .streams
                        .lock()
                        .open
                        .get(&stream)
                        .map(|entry| entry.incoming.clone());
                    if let Some(incoming) = incoming {
                        let _ = incoming.send(Incoming::Data(data)).await;
                    }
                }
                if fin {
                    self.end(stream, Incoming::Fin).await;
                }
            }
            Frame::Headers {
                stream, fin: true, ..
            } => self.end(stream, Incoming::Fin).await,
            Frame::RstStream { stream, status } => self.end(stream, Incoming::Reset(status)).await,
            Frame::SynStream { stream, .. } => {
                self.answer(Frame::RstStream {
                    stream,
                    status: REFUSED_STREAM,
                })
                .await
            }
            // Even numbers are the server's own pings, odd ones are answers to ours.
            Frame::Ping(id) if id % 2 == 0 => self.answer(Frame::Ping(id)).await,
            Frame::Ping(_)
            | Frame::Headers { .. }
            | Frame::Settings(_)
            | Frame::WindowUpdate { .. }
            | Frame::GoAway { .. }
            | Frame::Unknown(_) => {}
        }
    }

    async fn end(&self, stream: u32, last: Incoming) {
        let Some(entry) = self.streams.lock().open.remove(&stream) else {
            return;
        };
        if let (Some(opened), Incoming::Reset(status)) = (entry.opened, &last) {
            let _ = opened.send(Err(SpdyError::Reset(*status)));
        }
        let _ = entry.incoming.send(last).await;
    }

    async fn answer(&self, frame: Frame) {
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(Command::Send(frame)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other end of a connection, driven by hand.
    pub(crate) struct Peer {
        io: tokio::io::DuplexStream,
        buffer: BytesMut,
        reader: HeaderReader,
        writer: HeaderWriter,
    }

    impl Peer {
        fn new(io: tokio::io::DuplexStream) -> Self {
            Self {
                io,
                buffer: BytesMut::new(),
                reader: HeaderReader::new(),
                writer: HeaderWriter::new().unwrap(),
            }
        }

        async fn next(&mut self) -> Option<Frame> {
            loop {
                if let Some(frame) = decode(&mut self.buffer, &mut self.reader).unwrap() {
                    return Some(frame);
                }
                if self.io.read_buf(&mut self.buffer).await.unwrap() == 0 {
                    return None;
                }
            }
        }

        async fn send(&mut self, frame: Frame) {
            let mut out = BytesMut::new();
            encode(&frame, &mut self.writer, &mut out).unwrap();
            self.io.write_all(&out).await.unwrap();
        }
    }

    #[tokio::test]
    async fn streams_are_opened_used_and_ended() {
        let (near, far) = tokio::io::duplex(64);
        let mut peer = Peer::new(far);
        let connection = Connection::client(near).unwrap();
        let opening = tokio::spawn({
            let connection = connection.clone();
            async move {
                (
                    connection.open(&[("streamType", "error")]).await.unwrap(),
                    connection.open(&[("streamtype", "stdin")]).await.unwrap(),
                )
            }
        });
        for (id, kind) in [(1, "error"), (3, "stdin")] {
            let Some(Frame::SynStream {
                stream, headers, ..
            }) = peer.next().await
            else {
                panic!("want a new stream")
            };
            assert_eq!(
                (stream, headers),
                (id, vec![("streamtype".to_owned(), kind.to_owned())])
            );
            peer.send(Frame::SynReply {
                stream,
                fin: false,
                headers: Vec::new(),
            })
            .await;
        }
        let (mut error, mut stdin) = opening.await.unwrap();
        stdin
            .writer
            .write(Bytes::from_static(b"ls\n"))
            .await
            .unwrap();
        assert_eq!(
            peer.next().await,
            Some(Frame::Data {
                stream: 3,
                fin: false,
                data: Bytes::from_static(b"ls\n")
            })
        );
        stdin.writer.finish().await.unwrap();
        assert_eq!(
            peer.next().await,
            Some(Frame::Data {
                stream: 3,
                fin: true,
                data: Bytes::new()
            })
        );
        peer.send(Frame::Data {
            stream: 1,
            fin: false,
            data: Bytes::from_static(b"oh "),
        })
        .await;
        peer.send(Frame::Data {
            stream: 1,
            fin: true,
            data: Bytes::from_static(b"no"),
        })
        .await;
        assert_eq!(error.reader.read_to_end().await.unwrap(), b"oh no");
        peer.send(Frame::RstStream {
            stream: 3,
            status: 5,
        })
        .await;
        assert_eq!(stdin.reader.read().await, Err(SpdyError::Reset(5)));
        peer.send(Frame::Ping(2)).await;
        assert_eq!(peer.next().await, Some(Frame::Ping(2)));
        peer.send(Frame::SynStream {
            stream: 2,
            associated: 0,
            priority: 0,
            fin: false,
            unidirectional: false,
            headers: Vec::new(),
        })
        .await;
        assert_eq!(
            peer.next().await,
            Some(Frame::RstStream {
                stream: 2,
                status: REFUSED_STREAM
            })
        );
        drop(error);
        assert_eq!(
            peer.next().await,
            Some(Frame::Data {
                stream: 1,
                fin: true,
                data: Bytes::new()
            })
        );
        drop((stdin, connection));
        assert_eq!(
            peer.next().await,
            None,
            "the last handle ends the connection"
        );
    }

    #[tokio::test]
    async fn a_lost_connection_ends_everything() {
        let (near, far) = tokio::io::duplex(64);
        let mut peer = Peer::new(far);
        let connection = Connection::client(near).unwrap();
        let opening = tokio::spawn({
            let connection = connection.clone();
            async move { connection.open(&[]).await }
        });
        peer.next().await.unwrap();
        peer.send(Frame::SynReply {
            stream: 1,
            fin: false,
            headers: Vec::new(),
        })
        .await;
        let mut stream = opening.await.unwrap().unwrap();
        drop(peer);
        assert_eq!(stream.reader.read().await, Err(SpdyError::Closed));
        connection.closed().await;
        assert_eq!(connection.open(&[]).await.unwrap_err(), SpdyError::Closed);
        assert!(stream.writer.write(Bytes::from_static(b"x")).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_is_not_waited_for_for_ever() {
        let (near, _far) = tokio::io::duplex(1 << 16);
        let connection = Connection::client(near).unwrap();
        assert_eq!(
            connection.open(&[]).await.unwrap_err(),
            SpdyError::OpenTimeout
        );
    }
}
