use bytes::BytesMut;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::streaming::spdy::{Frame, HeaderReader, HeaderWriter, decode, encode};
use crate::streaming::websocket;

/// A runtime that takes streams, echoes stdin to stdout in upper case until it ends, and then answers on the error stream.
async fn runtime(mut io: tokio::io::DuplexStream, outcome: &'static str) -> Vec<String> {
    let (mut reader, mut writer) = (HeaderReader::new(), HeaderWriter::new().unwrap());
    let mut buffer = BytesMut::new();
    let mut kinds: Vec<(u32, String)> = Vec::new();
    let mut seen = Vec::new();
    loop {
        let frame = loop {
            if let Some(frame) = decode(&mut buffer, &mut reader).unwrap() {
                break frame;
            }
            if io.read_buf(&mut buffer).await.unwrap() == 0 {
                return seen;
            }
        };
        let mut answers = Vec::new();
        let id = |kinds: &[(u32, String)], wanted: &str| {
            kinds
                .iter()
                .find(|(_, kind)| kind == wanted)
                .map(|(id, _)| *id)
        };
        match frame {
            Frame::SynStream {
                stream, headers, ..
            } => {
                seen.push(headers[0].1.clone());
                kinds.push((stream, headers[0].1.clone()));
                answers.push(Frame::SynReply {
                    stream,
                    fin: false,
                    headers: Vec::new(),
                });
            }
            Frame::Data { stream, data, fin } => {
                let kind = kinds
                    .iter()
                    .find(|(id, _)| *id == stream)
                    .unwrap()
                    .1
                    .clone();
                match kind.as_str() {
                    "stdin" => {
                        if !data.is_empty() {
                            let stream = id(&kinds, "stdout").unwrap();
                            answers.push(Frame::Data {
                                stream,
                                fin: false,
                                data: data.to_ascii_uppercase().into(),
                            });
                        }
                        if fin {
                            for kind in ["stdout", "stderr"] {
                                if let Some(stream) = id(&kinds, kind) {
                                    answers.push(Frame::Data {
                                        stream,
                                        fin: true,
                                        data: Bytes::new(),
                                    });
                                }
                            }
                            let stream = id(&kinds, "error").unwrap();
                            answers.push(Frame::Data {
                                stream,
                                fin: false,
                                data: Bytes::from_static(outcome.as_bytes()),
                            });
                            // containerd resets the stream behind its last data.
                            answers.push(Frame::RstStream { stream, status: 5 });
                        }
                    }
                    "resize" if !data.is_empty() => {
                        seen.push(String::from_utf8(data.to_vec()).unwrap())
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        let mut out = BytesMut::new();
        for answer in answers {
            encode(&answer, &mut writer, &mut out).unwrap();
        }
        if io.write_all(&out).await.is_err() {
            return seen;
        }
    }
}

struct Run {
    messages: Vec<(u8, String)>,
    result: Result<(), ExecError>,
    runtime: Vec<String>,
}

/// A v5 client types `input` and closes stdin.
async fn run(options: Options, outcome: &'static str, input: &[&'static [u8]]) -> Run {
    let (client, server) = tokio::io::duplex(256);
    let (near, far) = tokio::io::duplex(256);
    let runtime = tokio::spawn(runtime(far, outcome));
    let translating = tokio::spawn(async move {
        let session = Session::open(websocket::server(server).await, V5, options)
            .await
            .unwrap();
        let connection = Connection::client(near).unwrap();
        translate(session, &connection, V4, options).await
    });
    let mut client = websocket::client(client).await;
    for message in input {
        client
            .send(Message::Binary(Bytes::from_static(message)))
            .await
            .unwrap();
    }
    let mut messages = Vec::new();
    while let Some(Ok(message)) = client.next().await {
        if let Message::Binary(data) = message {
            messages.push((data[0], String::from_utf8(data[1..].to_vec()).unwrap()));
        }
    }
    Run {
        messages,
        result: translating.await.unwrap(),
        runtime: runtime.await.unwrap(),
    }
}

const INPUT: Options = Options {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

#[tokio::test]
async fn a_command_that_ends_well() {
    let run = run(
        INPUT,
        r#"{"metadata":{},"status":"Success"}"#,
        &[b"\x00hello ", b"\x00world", &[255, 0]],
    )
    .await;
    assert_eq!(run.result, Ok(()));
    assert_eq!(run.runtime, ["error", "stdin", "stdout", "stderr"]);
    assert_eq!(
        run.messages[0],
        (1, String::new()),
        "the empty message says that the connection is there"
    );
    let output: String = run
        .messages
        .iter()
        .filter(|(channel, _)| *channel == 1)
        .map(|(_, text)| text.as_str())
        .collect();
    assert_eq!(output, "HELLO WORLD");
    assert_eq!(
        run.messages.last().unwrap(),
        &(3, r#"{"metadata":{},"status":"Success"}"#.to_owned())
    );
}

#[tokio::test]
async fn exit_codes_and_failures_reach_the_client() {
    let failed = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
    let run = self::run(INPUT, failed, &[&[255, 0]]).await;
    assert_eq!(run.result, Err(ExecError::ExitCode(7)));
    let (channel, status) = run.messages.last().unwrap();
    assert_eq!(*channel, 3);
    let status: Status = decode_json(status.as_bytes()).unwrap();
    assert_eq!(
        (status.reason.as_str(), status.message.as_str()),
        (
            "NonZeroExitCode",
            "command terminated with non-zero exit code: command terminated with exit code 7"
        )
    );
    assert_eq!(status.details.unwrap().causes[0].message, "7");

    let run = self::run(
        INPUT,
        r#"{"status":"Failure","reason":"InternalError","message":"no such file"}"#,
        &[&[255, 0]],
    )
    .await;
    assert_eq!(run.result, Err(ExecError::Remote("no such file".into())));
    let status: Status = decode_json(run.messages.last().unwrap().1.as_bytes()).unwrap();
    assert_eq!(
        (status.code, status.message.as_str()),
        (500, "Internal error occurred: no such file")
    );

    let run = self::run(INPUT, "garbage", &[&[255, 0]]).await;
    assert!(matches!(run.result, Err(ExecError::Protocol(_))));
}

#[tokio::test]
async fn terminals_have_sizes_and_no_stderr() {
    let options = Options {
        stdin: true,
        stdout: true,
        stderr: false,
        tty: true,
    };
    let run = run(
        options,
        "",
        &[b"\x04{\"Width\":80,\"Height\":24}\n", b"\x00x", &[255, 0]],
    )
    .await;
    assert_eq!(run.result, Ok(()));
    assert_eq!(run.runtime[..4], ["error", "stdin", "stdout", "resize"]);
}

#[test]
fn sizes_have_gos_names() {
    let size: TerminalSize = serde_json::from_str(r#"{"Width":80,"Height":24}"#).unwrap();
    assert_eq!(
        size,
        TerminalSize {
            width: 80,
            height: 24
        }
    );
    assert_eq!(
        serde_json::to_string(&size).unwrap(),
        r#"{"Width":80,"Height":24}"#
    );
}

#[tokio::test]
async fn old_protocols_get_plain_errors() {
    for (protocol, status, expected) in [
        (PRE_V4, "Failure", Some("\u{3}boom")),
        (PRE_V4, "Success", None),
        (
            V4_BASE64,
            "Success",
            Some("3eyJtZXRhZGF0YSI6e30sInN0YXR1cyI6IlN1Y2Nlc3MiLCJtZXNzYWdlIjoiYm9vbSJ9"),
        ),
    ] {
        let (client, server) = tokio::io::duplex(256);
        let session = Session::open(
            websocket::server(server).await,
            protocol,
            Options {
                stdout: true,
                ..Options::default()
            },
        )
        .await
        .unwrap();
        session
            .error
            .write_status(&Status {
                status: status.into(),
                message: "boom".into(),
                ..Status::default()
            })
            .await
            .unwrap();
        drop(session);
        let mut client = websocket::client(client).await;
        client.next().await.unwrap().unwrap();
        let next = client.next().await.unwrap().unwrap();
        match expected {
            Some(expected) => assert_eq!(
                String::from_utf8(next.into_data().to_vec()).unwrap(),
                expected,
                "{protocol}"
            ),
            None => assert!(matches!(next, Message::Close(_))),
        }
    }
}

/// Against upstream's SPDY library, when `CLIENT_TEST_SPDY_SERVER` names a server that takes four streams, answers stdin in upper
/// case on stdout, its length on stderr, and ends with exit code 42.
#[tokio::test]
async fn another_implementation_understands_us() {
    let Ok(address) = std::env::var("CLIENT_TEST_SPDY_SERVER") else {
        eprintln!("skipped: CLIENT_TEST_SPDY_SERVER is not set");
        return;
    };
    let connection =
        Connection::client(tokio::net::TcpStream::connect(address).await.unwrap()).unwrap();
    let mut execution = Execution::open(&connection, V4, INPUT).await.unwrap();
    let mut stdin = execution.stdin.take().unwrap();
    let input = "some text ".repeat(100_000);
    stdin.write(Bytes::from(input.clone())).await.unwrap();
    stdin.finish().await.unwrap();
    let (mut stdout, mut stderr) = (
        execution.stdout.take().unwrap(),
        execution.stderr.take().unwrap(),
    );
    let (out, err) = tokio::join!(stdout.read_to_end(), stderr.read_to_end());
    assert!(out.unwrap() == input.to_uppercase().into_bytes());
    assert_eq!(String::from_utf8(err.unwrap()).unwrap(), "1000000 bytes");
    assert_eq!(execution.outcome().await, Err(ExecError::ExitCode(42)));
}
