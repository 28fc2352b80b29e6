//! CVE-2023-44487 and what is like it: clients that open streams and do not wait for answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::tests::{Client, Running, options, serve};
use super::*;

const LIMIT: Duration = Duration::from_secs(20);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// RFC 9113, sections 6 and 7.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET https://localhost/` without a body.
fn request(stream: u32) -> Vec<u8> {
    // Indexed fields of the static table, and one literal (RFC 7541).
    let fields = [&[0x82, 0x87, 0x84, 0x41, 9][..], b"localhost"].concat();
    frame(HEADERS, 0b101, stream, &fields)
}

struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The 32-bit number at a place of the payload.
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A client that writes frames as it likes.
struct Rude(tokio_rustls::client::TlsStream<tokio::net::TcpStream>);

impl Rude {
    async fn connect(running: &Running) -> Rude {
        let client = Client::http2();
        let stream = client.connect(running.address, &running.ca).await.unwrap();
        let mut rude = Rude(stream);
        rude.write(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
            .await;
        rude
    }

    async fn write(&mut self, bytes: &[u8]) {
        // The server may have had enough.
        let _ = self.0.write_all(bytes).await;
        let _ = self.0.flush().await;
    }

    /// The next frame, until the server closes.
    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        let read = tokio::time::timeout(LIMIT, self.0.read_exact(&mut head)).await;
        read.expect("the server says nothing").ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            stream: u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff,
            payload,
        })
    }
}

/// Requests that are being answered, and the most there were at once.
#[derive(Default)]
struct Counted {
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

struct One(Arc<Counted>);

impl One {
    fn new(counted: &Arc<Counted>) -> One {
        counted.all.fetch_add(1, Ordering::SeqCst);
        let now = counted.now.fetch_add(1, Ordering::SeqCst) + 1;
        counted.most.fetch_max(now, Ordering::SeqCst);
        One(counted.clone())
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Never answers.
fn stuck(counted: &Arc<Counted>) -> impl Handler + use<> {
    let counted = counted.clone();
    handler_fn(move |_| {
        let counted = counted.clone();
        async move {
            let _one = One::new(&counted);
            std::future::pending::<Response>().await
        }
    })
}

#[tokio::test]
async fn cve_2023_44487_a_connection_has_so_many_streams() {
    let (options, made) = options();
    let counted = Arc::default();
    let running = serve(options, &made, stuck(&counted));
    let mut client = Rude::connect(&running).await;
    let streams = (0..150).map(|n| 2 * n + 1);
    let all: Vec<u8> = streams.flat_map(request).collect();
    client.write(&all).await;
    let mut most = None;
    let mut refused = Vec::new();
    while refused.len() < 50 {
        let frame = client.read().await.expect("the connection goes on");
        match frame.kind {
            SETTINGS => {
                let mut settings = frame.payload.chunks(6);
                let found = settings.find(|pair| pair[..2] == MAX_CONCURRENT_STREAMS.to_be_bytes());
                if let Some(pair) = found {
                    most = Some(u32::from_be_bytes(pair[2..].try_into().unwrap()));
                }
            }
            RST_STREAM => {
                assert_eq!(frame.number(0), REFUSED_STREAM);
                refused.push(frame.stream);
            }
            GOAWAY => panic!("the connection ends"),
            _ => {}
        }
    }
    assert_eq!(most, Some(100));
    assert!(refused.iter().all(|stream| *stream > 200), "{refused:?}");
    assert!(counted.most.load(Ordering::SeqCst) <= 100);
}

#[tokio::test]
async fn cve_2023_44487_resets_are_counted() {
    let (options, made) = options();
    let counted: Arc<Counted> = Arc::default();
    let running = serve(options, &made, stuck(&counted));
    let mut client = Rude::connect(&running).await;
    let mut sent = Vec::new();
    for stream in (1..20_000).step_by(2) {
        sent.extend(request(stream));
        sent.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    }
    client.write(&sent).await;
    let reason = loop {
        let frame = client.read().await.expect("the server says why it closes");
        if frame.kind == GOAWAY {
            break frame.number(4);
        }
    };
    assert_eq!(reason, ENHANCE_YOUR_CALM);
    let closed = async { while client.read().await.is_some() {} };
    tokio::time::timeout(LIMIT, closed)
        .await
        .expect("the connection is closed");
    assert!(counted.most.load(Ordering::SeqCst) <= 100);
    // What was begun has ended, and others are served.
    let idle = async {
        while counted.now.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, idle)
        .await
        .expect("requests end with their streams");
    assert!(counted.all.load(Ordering::SeqCst) < 5_000);
}

/// Streams that are reset once their requests have begun cost no more than those that wait for answers.
#[tokio::test]
async fn cve_2023_44487_what_is_reset_is_given_up() {
    let (options, made) = options();
    let counted: Arc<Counted> = Arc::default();
    let running = serve(options, &made, stuck(&counted));
    let mut client = Rude::connect(&running).await;
    for round in 0..300 {
        let stream = 2 * round + 1;
        client.write(&request(stream)).await;
        let begun = async {
            while counted.all.load(Ordering::SeqCst) <= round as usize {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, begun)
            .await
            .expect("a request begins");
        let reset = frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        client.write(&reset).await;
    }
    let idle = async {
        while counted.now.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, idle)
        .await
        .expect("requests end with their streams");
    assert!(counted.most.load(Ordering::SeqCst) <= 2);
}
