//! Exec and attach. Upstream: `client-go/tools/remotecommand`, `cri-streaming/pkg/streaming/remotecommand`,
//! `apiserver/pkg/util/proxy/streamtranslator.go`.

use api_types::codec::Header;
use api_types::meta::v1::{Status, StatusCause, StatusDetails};
use api_types::{decode_json, encode_json_as};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;

use super::channels::{self, ChannelReader, ChannelWriter, Closed, Codec};
use super::spdy::{Connection, SpdyError, Stream, StreamReader, StreamWriter};

/// WebSocket and SPDY: closing single channels.
pub const V5: &str = "v5.channel.k8s.io";
/// Exit codes in a Status on the error stream.
pub const V4: &str = "v4.channel.k8s.io";
/// Terminal resizing (SPDY).
pub const V3: &str = "v3.channel.k8s.io";
/// First with all fixes (SPDY).
pub const V2: &str = "v2.channel.k8s.io";
/// WebSocket protocols before v4.
pub const PRE_V4: &str = "channel.k8s.io";
/// The same in base64.
pub const PRE_V4_BASE64: &str = "base64.channel.k8s.io";
/// v4 in base64.
pub const V4_BASE64: &str = "v4.base64.channel.k8s.io";

/// What a server that runs commands itself speaks over WebSocket; "" for clients that name none.
pub const WEBSOCKET_PROTOCOLS: &[&str] = &["", PRE_V4, PRE_V4_BASE64, V4, V4_BASE64, V5];
/// What we offer a runtime over SPDY, in order of preference.
pub const SPDY_PROTOCOLS: &[&str] = &[V4, V3, V2, PRE_V4];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// The streams a command is run with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The client sends input.
    pub stdin: bool,
    /// The client wants output.
    pub stdout: bool,
    /// The client wants errors; not with a terminal.
    pub stderr: bool,
    /// The command has a terminal.
    pub tty: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A client's end of an exec or attach over WebSocket.
#[derive(Debug)]
pub struct Session {
    /// What the client types.
    pub stdin: Option<ChannelReader>,
    /// What the command prints.
    pub stdout: Option<ChannelWriter>,
    /// What it prints as errors.
    pub stderr: Option<ChannelWriter>,
    /// Sizes of the client's terminal, JSON messages; see [`Session::next_size`].
    pub resize: Option<ChannelReader>,
    /// How it ended.
    pub error: ErrorChannel,
}

/// Tells the client how the command ended.
#[derive(Debug)]
pub struct ErrorChannel {
    channel: ChannelWriter,
    /// Protocols before v4 have text here.
    plain: bool,
}

impl ErrorChannel {
    /// Sends the outcome. Old protocols get nothing on success and the message on failure.
    pub async fn write_status(&self, status: &Status) -> Result<(), Closed> {
        if self.plain {
            return if status.status == "Success" {
                Ok(())
            } else {
                self.channel.write(status.message.as_bytes()).await
            };
        }
        // As Go writes a bare Status: without kind and apiVersion.
        self.channel
            .write(&encode_json_as(
                status,
                Header {
                    api_version: "",
                    kind: "",
                },
            ))
            .await
    }
}

impl Session {
    /// Opens the channels on an accepted WebSocket with its negotiated protocol, one of [`WEBSOCKET_PROTOCOLS`], and tells the client
    /// so with an empty message.
    pub async fn open<S>(
        socket: WebSocketStream<S>,
        protocol: &str,
        options: Options,
    ) -> Result<Self, Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let codec = if matches!(protocol, PRE_V4_BASE64 | V4_BASE64) {
            Codec::Base64
        } else {
            Codec::Binary
        };
        let plain = matches!(protocol, "" | PRE_V4 | PRE_V4_BASE64);
        let mut readable = Vec::new();
        if options.stdin {
            readable.push(STDIN);
        }
        if options.tty {
            readable.push(RESIZE);
        }
        let mut writable = vec![ERROR];
        if options.stderr {
            writable.push(STDERR);
        }
        if options.stdout {
            writable.push(STDOUT);
        }
        let (readers, mut writers) =
            channels::open(socket, codec, protocol == V5, &readable, &writable);
        let mut readers = readers.into_iter();
        let stdin = if options.stdin { readers.next() } else { None };
        let resize = if options.tty { readers.next() } else { None };
        let stdout = if options.stdout { writers.pop() } else { None };
        let stderr = if options.stderr { writers.pop() } else { None };
        let channel = writers.pop().ok_or(Closed)?;
        stdout
            .as_ref()
            .or(stderr.as_ref())
            .unwrap_or(&channel)
            .write(b"")
            .await?;
        Ok(Self {
            stdin,
            stdout,
            stderr,
            resize,
            error: ErrorChannel { channel, plain },
        })
    }
}

/// The next size of the terminal; messages that are none are skipped.
pub async fn next_size(resize: &mut ChannelReader) -> Option<TerminalSize> {
    loop {
        let message = resize.read().await?;
        if let Ok(size) = serde_json::from_slice(&message) {
            return Some(size);
        }
    }
}

/// Why a command did not end well.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExecError {
    /// It ran and gave this exit code.
    #[error("command terminated with exit code {0}")]
    ExitCode(i32),
    /// The server says why it could not be run.
    #[error("{0}")]
    Remote(String),
    /// The server's error stream is not understood.
    #[error("error stream protocol error: {0}")]
    Protocol(String),
    /// The connection to the server failed.
    #[error(transparent)]
    Connection(#[from] SpdyError),
}

impl ExecError {
    /// The Status a client gets for it.
    pub fn status(&self) -> Status {
        match self {
            Self::ExitCode(code) => Status {
                status: "Failure".into(),
                reason: "NonZeroExitCode".into(),
                message: format!("command terminated with non-zero exit code: {self}"),
                details: Some(Box::new(StatusDetails {
                    causes: vec![StatusCause {
                        reason: "ExitCode".into(),
                        message: code.to_string(),
                        ..StatusCause::default()
                    }],
                    ..StatusDetails::default()
                })),
                ..Status::default()
            },
            other => Status {
                status: "Failure".into(),
                reason: "InternalError".into(),
                message: format!("Internal error occurred: {other}"),
                code: 500,
                details: Some(Box::new(StatusDetails {
                    causes: vec![StatusCause {
                        message: other.to_string(),
                        ..StatusCause::default()
                    }],
                    ..StatusDetails::default()
                })),
                ..Status::default()
            },
        }
    }
}

/// A command at a server that speaks SPDY: its open streams.
#[derive(Debug)]
pub struct Execution {
    /// Its input.
    pub stdin: Option<StreamWriter>,
    /// Its output.
    pub stdout: Option<StreamReader>,
    /// Its errors.
    pub stderr: Option<StreamReader>,
    /// Where sizes go, JSON.
    pub resize: Option<StreamWriter>,
    error: StreamReader,
    protocol: String,
}

impl Execution {
    /// Opens the streams. `protocol` is what the server answered in `X-Stream-Protocol-Version`; an answer without means the oldest.
    pub async fn open(
        connection: &Connection,
        protocol: &str,
        options: Options,
    ) -> Result<Self, SpdyError> {
        let open = async |kind: &str| connection.open(&[("streamtype", kind)]).await;
        // Our half of streams that only the server writes is closed at once.
        let readable = |stream: Stream| stream.reader;
        let error = readable(open("error").await?);
        let stdin = if options.stdin {
            Some(open("stdin").await?.writer)
        } else {
            None
        };
        let stdout = if options.stdout {
            Some(readable(open("stdout").await?))
        } else {
            None
        };
        let stderr = if options.stderr && !options.tty {
            Some(readable(open("stderr").await?))
        } else {
            None
        };
        let resize = if options.tty && matches!(protocol, V3 | V4 | V5) {
            Some(open("resize").await?.writer)
        } else {
            None
        };
        Ok(Self {
            stdin,
            stdout,
            stderr,
            resize,
            error,
            protocol: protocol.to_owned(),
        })
    }

    /// Waits for the end of the command. Read output first: the server may hold the outcome back until it is delivered.
    pub async fn outcome(mut self) -> Result<(), ExecError> {
        outcome(&mut self.error, &self.protocol).await
    }
}

/// What a stream brings until its end. Runtimes reset their streams when a command has ended, right behind the last data: to Go's
/// client that is an end like any other, and the exit code of a command would be lost if it were not.
async fn read_outcome(error: &mut StreamReader) -> Result<Vec<u8>, SpdyError> {
    let mut all = Vec::new();
    loop {
        match error.read().await {
            Ok(Some(data)) => all.extend_from_slice(&data),
            Ok(None) | Err(SpdyError::Reset(_)) => return Ok(all),
            Err(error) => return Err(error),
        }
    }
}

async fn outcome(error: &mut StreamReader, protocol: &str) -> Result<(), ExecError> {
    let message = read_outcome(error).await?;
    if message.is_empty() {
        return Ok(());
    }
    if !matches!(protocol, V4 | V5) {
        return Err(ExecError::Remote(format!(
            "error executing remote command: {}",
            String::from_utf8_lossy(&message)
        )));
    }
    let status: Status = decode_json(&message).map_err(|error| {
        ExecError::Protocol(format!(
            "{error} in {:?}",
            String::from_utf8_lossy(&message)
        ))
    })?;
    match (status.status.as_str(), status.reason.as_str()) {
        ("Success", _) => Ok(()),
        ("Failure", "NonZeroExitCode") => {
            let causes = status
                .details
                .as_ref()
                .map(|details| details.causes.as_slice())
                .unwrap_or_default();
            let code = causes
                .iter()
                .find(|cause| cause.reason == "ExitCode")
                .map(|cause| cause.message.parse());
            match code {
                Some(Ok(code)) => Err(ExecError::ExitCode(code)),
                Some(Err(_)) => Err(ExecError::Protocol("invalid exit code value".into())),
                None => Err(ExecError::Protocol("no ExitCode cause given".into())),
            }
        }
        ("Failure", _) => Err(ExecError::Remote(status.message)),
        _ => Err(ExecError::Protocol("unknown error".into())),
    }
}

/// Runs a WebSocket client's session with the streams of a SPDY server, and tells the client the outcome. Returns it too, for
/// metrics. Ends when the command ends, or when the client goes away.
pub async fn translate(
    session: Session,
    connection: &Connection,
    protocol: &str,
    options: Options,
) -> Result<(), ExecError> {
    let Session {
        stdin,
        stdout,
        stderr,
        resize,
        error,
    } = session;
    let result = match Execution::open(connection, protocol, options).await {
        Ok(execution) => pump(stdin, stdout, stderr, resize, execution).await,
        Err(error) => Err(error.into()),
    };
    let status = match &result {
        Ok(()) => Status {
            status: "Success".into(),
            ..Status::default()
        },
        Err(failure) => failure.status(),
    };
    if error.write_status(&status).await.is_err() {
        tracing::debug!("the client left before the outcome of its command");
    }
    result
}

async fn pump(
    stdin: Option<ChannelReader>,
    stdout: Option<ChannelWriter>,
    stderr: Option<ChannelWriter>,
    resize: Option<ChannelReader>,
    execution: Execution,
) -> Result<(), ExecError> {
    let Execution {
        stdin: to_stdin,
        stdout: from_stdout,
        stderr: from_stderr,
        resize: to_resize,
        error: mut from_error,
        protocol,
    } = execution;
    // Input is copied beside everything else and never waited for: the command may end without reading it.
    let input = tokio::spawn(copy_in(stdin, to_stdin));
    let sizes = tokio::spawn(copy_in(resize, to_resize));
    let (out, err, outcome) = tokio::join!(
        copy_out(from_stdout, stdout),
        copy_out(from_stderr, stderr),
        outcome(&mut from_error, &protocol)
    );
    input.abort();
    sizes.abort();
    outcome?;
    out?;
    err?;
    Ok(())
}

async fn copy_in(from: Option<ChannelReader>, to: Option<StreamWriter>) {
    let (Some(mut from), Some(mut to)) = (from, to) else {
        return;
    };
    while let Some(data) = from.read().await {
        if to.write(data).await.is_err() {
            return;
        }
    }
    let _ = to.finish().await;
}

async fn copy_out(from: Option<StreamReader>, to: Option<ChannelWriter>) -> Result<(), SpdyError> {
    let Some(mut from) = from else { return Ok(()) };
    let mut to = to;
    loop {
        let data: Bytes = match from.read().await {
            Ok(Some(data)) => data,
            Ok(None) | Err(SpdyError::Reset(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        // A client that has gone does not stop the command; what it prints is read and dropped until it ends.
        if let Some(channel) = &to
            && channel.write(&data).await.is_err()
        {
            to = None;
        }
    }
}

#[cfg(test)]
mod tests;
