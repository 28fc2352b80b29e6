//! Cases of upstream's `logs_test.go`.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use component_base::serving::Body;

use super::*;

struct Container(AtomicBool);

impl Running for Container {
    fn is_running(&self) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(async { Ok(self.0.load(Ordering::SeqCst)) })
    }
}

const FILE: &str = "2020-10-20T18:39:20.57606443Z stdout F line1\n\
                    2020-10-20T18:39:21.57606443Z stderr F line2\n\
                    2020-10-20T18:39:22.57606443Z stdout P par\n\
                    2020-10-20T18:39:22.57606444Z stdout P t\n\
                    2020-10-20T18:39:22.57606445Z stdout F ial\n";

async fn read(content: &str, options: &LogOptions) -> Result<String, String> {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("0.log");
    std::fs::write(&path, content).expect("write");
    let (sender, body) = Body::channel(64);
    read_logs(&path, options, &Container(AtomicBool::new(false)), &sender).await?;
    drop(sender);
    let body = body.collect(1 << 20).await.expect("body");
    Ok(String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn options() {
    let none = LogOptions::default;
    for (options, want) in [
        (none(), "line1\nline2\npartial\n"),
        (
            LogOptions {
                tail_lines: Some(0),
                ..none()
            },
            "",
        ),
        // Lines of the file are counted, so half of a long line may be shown.
        (
            LogOptions {
                tail_lines: Some(1),
                ..none()
            },
            "ial\n",
        ),
        (
            LogOptions {
                tail_lines: Some(4),
                ..none()
            },
            "line2\npartial\n",
        ),
        (
            LogOptions {
                tail_lines: Some(100),
                ..none()
            },
            "line1\nline2\npartial\n",
        ),
        (
            LogOptions {
                limit_bytes: Some(8),
                ..none()
            },
            "line1\nli",
        ),
        (
            LogOptions {
                limit_bytes: Some(6),
                ..none()
            },
            "line1\n",
        ),
        (
            LogOptions {
                limit_bytes: Some(1000),
                ..none()
            },
            "line1\nline2\npartial\n",
        ),
        (
            LogOptions {
                since: Some("2020-10-20T18:39:21.5Z".parse().expect("time")),
                ..none()
            },
            "line2\npartial\n",
        ),
        (
            LogOptions {
                stderr: false,
                ..none()
            },
            "line1\npartial\n",
        ),
        (
            LogOptions {
                stdout: false,
                ..none()
            },
            "line2\n",
        ),
        (
            LogOptions {
                timestamps: true,
                ..none()
            },
            "2020-10-20T18:39:20.576064430Z line1\n2020-10-20T18:39:21.576064430Z line2\n2020-10-20T18:39:22.576064430Z partial\n",
        ),
        (
            LogOptions {
                follow: true,
                ..none()
            },
            "line1\nline2\npartial\n",
        ),
    ] {
        assert_eq!(
            read(FILE, &options).await.as_deref(),
            Ok(want),
            "{options:?}"
        );
    }
}

#[tokio::test]
async fn broken_lines_are_left_out() {
    let content = "no log line\n2020-10-20T18:39:20Z stdout F good\n2020-10-20T18:39:20Z sideways F x\n2020-10-20T18:39:20Z stdout F cut";
    assert_eq!(
        read(content, &LogOptions::default()).await.as_deref(),
        Ok("good\ncut")
    );
}

#[tokio::test]
async fn no_file() {
    let (sender, _body) = Body::channel(1);
    let result = read_logs(
        Path::new("/nowhere/0.log"),
        &LogOptions::default(),
        &Container(AtomicBool::new(false)),
        &sender,
    )
    .await;
    assert_eq!(
        result,
        Err("failed to try resolving symlinks in path \"/nowhere/0.log\": lstat /nowhere/0.log: no such file or directory".to_owned())
    );
}

#[test]
fn lines() {
    let parsed = parse(b"2016-10-06T00:17:09.669794202Z stdout F log content 1\n").expect("valid");
    assert_eq!(
        (parsed.stdout, parsed.text),
        (true, b"log content 1\n".as_slice())
    );
    let parsed =
        parse(b"2016-10-06T00:17:09.669794202Z stderr P:TAG1:TAG2 log content\n").expect("valid");
    assert_eq!(
        (parsed.stdout, parsed.text),
        (false, b"log content".as_slice())
    );
    assert_eq!(
        parse(b"2016-10-06T00:17:09Z stdout F \n")
            .expect("valid")
            .text,
        b"\n"
    );
    for broken in [
        "",
        "x",
        "2016-10-06T00:17:09Z stdout",
        "2016-10-06T00:17:09Z stdin F x",
        "yesterday stdout F x",
    ] {
        assert!(parse(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn times() {
    for (text, want) in [
        (
            "2016-10-06T00:17:09.6697Z",
            "2016-10-06T00:17:09.669700000Z",
        ),
        ("2016-10-06T00:17:09Z", "2016-10-06T00:17:09.000000000Z"),
        (
            "2016-10-06T00:17:09.669794202-07:00",
            "2016-10-06T00:17:09.669794202-07:00",
        ),
        (
            "2016-10-06T00:17:09.1+00:00",
            "2016-10-06T00:17:09.100000000Z",
        ),
    ] {
        assert_eq!(fixed_time(text), want);
    }
}

#[tokio::test]
async fn tails() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("f");
    let long = "a".repeat(1023) + "\n";
    for (content, count, want) in [
        ("a\nb\nc\n".to_owned(), 2, 2),
        ("a\nb\nc".to_owned(), 1, 2),
        ("a\nb\nc\n".to_owned(), 3, 0),
        ("a\nb\n".to_owned(), -1, 0),
        ("a\nb\n".to_owned(), 0, 4),
        (long.repeat(3), 1, 2048),
        (long.repeat(3), 2, 1024),
        (String::new(), 5, 0),
    ] {
        std::fs::write(&path, &content).expect("write");
        let mut file = File::open(&path).await.expect("open");
        assert_eq!(
            tail_start(&mut file, count).await.expect("read"),
            want,
            "{} {count}",
            content.len()
        );
    }
}

#[tokio::test]
async fn following_goes_on_after_rotation() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("0.log");
    let line = |text: &str| format!("2020-10-20T18:39:20Z stdout F {text}\n");
    std::fs::write(&path, line("one")).expect("write");
    let container = std::sync::Arc::new(Container(AtomicBool::new(true)));
    let (sender, mut body) = Body::channel(16);
    let reading = tokio::spawn({
        let (path, container) = (path.clone(), container.clone());
        async move {
            read_logs(
                &path,
                &LogOptions {
                    follow: true,
                    ..Default::default()
                },
                &*container,
                &sender,
            )
            .await
        }
    });
    let mut got = String::new();
    let mut until = async |want: &str| {
        while !got.ends_with(want) {
            let chunk = tokio::time::timeout(Duration::from_secs(10), body.next_chunk()).await;
            let chunk = chunk
                .unwrap_or_else(|_| panic!("waiting for {want:?}, got {got:?}"))
                .expect("more")
                .expect("chunk");
            got.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    };
    until("one\n").await;
    // A line that arrives in two pieces is one line.
    let whole = line("two");
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("open");
    file.write_all(&whole.as_bytes()[..30]).expect("write");
    file.flush().expect("flush");
    file.write_all(&whole.as_bytes()[30..]).expect("write");
    until("two\n").await;
    std::fs::rename(&path, dir.path().join("0.log.20201020-183920")).expect("rotate");
    std::fs::write(&path, line("three")).expect("write");
    until("three\n").await;
    container.0.store(false, Ordering::SeqCst);
    reading
        .await
        .expect("task")
        .expect("ended with the container");
    assert_eq!(got, "one\ntwo\nthree\n");
}

#[tokio::test]
async fn a_rotation_before_anything_is_watched_is_noticed() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("0.log");
    let line = |text: &str| format!("2020-10-20T18:39:20Z stdout F {text}\n");
    let long = "x".repeat(1000);
    std::fs::write(&path, line(&long).repeat(200)).expect("write");
    let container = std::sync::Arc::new(Container(AtomicBool::new(true)));
    // With room for one piece the reader waits in the middle of the file until somebody reads.
    let (sender, mut body) = Body::channel(1);
    let reading = tokio::spawn({
        let (path, container) = (path.clone(), container.clone());
        async move {
            let options = LogOptions {
                follow: true,
                ..Default::default()
            };
            read_logs(&path, &options, &*container, &sender).await
        }
    });
    let mut got = Vec::new();
    let mut rotated = false;
    while !got.ends_with(b"after\n") {
        let chunk = tokio::time::timeout(Duration::from_secs(10), body.next_chunk()).await;
        let chunk = chunk.unwrap_or_else(|_| panic!("waiting with {} bytes", got.len()));
        got.extend_from_slice(&chunk.expect("more").expect("chunk"));
        if !rotated {
            std::fs::rename(&path, dir.path().join("0.log.20201020-183920")).expect("rotate");
            std::fs::write(&path, line("after")).expect("write");
            rotated = true;
        }
    }
    assert_eq!(got.len(), 200 * 1001 + "after\n".len());
    container.0.store(false, Ordering::SeqCst);
    reading
        .await
        .expect("task")
        .expect("ended with the container");
}
