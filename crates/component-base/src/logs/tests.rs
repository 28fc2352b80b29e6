use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The options are the process's: tests that set them take turns.
static TURN: Mutex<()> = Mutex::new(());

/// The lines that `work` logs on this thread.
pub(crate) fn capture(options: &Options, work: impl FnOnce()) -> Vec<String> {
    let _turn = TURN.lock();
    reconfigure(options);
    let out = Capture::default();
    let subscriber = tracing_subscriber::registry().with(KlogLayer::new(out.clone()));
    tracing::subscriber::with_default(subscriber, || {
        tracing::callsite::rebuild_interest_cache();
        work();
    });
    let bytes = out.0.lock().clone();
    String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn at(verbosity: u32) -> Options {
    Options {
        verbosity,
        ..Options::default()
    }
}

/// The line without its header.
#[track_caller]
fn body(line: &str) -> &str {
    line.split_once("] ")
        .unwrap_or_else(|| panic!("no header in {line}"))
        .1
}

#[test]
fn text_lines_look_like_klogs() {
    let lines = capture(&at(0), || {
        tracing::info!("Serving securely on [::]:10259");
        tracing::warn!(pod = "default/a", count = 3, on = true, "Pod is late");
        let error = std::io::Error::other("no route");
        tracing::error!(error = &error as &dyn std::error::Error, list = ?["a", "b"], name = %"x y", "Watch failed");
    });
    assert_eq!(lines.len(), 3);
    let header: Vec<&str> = lines[0].split_whitespace().collect();
    assert!(
        header[0].starts_with('I') && header[0].len() == 5,
        "{}",
        lines[0]
    );
    assert_eq!(header[2], std::process::id().to_string());
    assert!(
        header[3].starts_with("tests.rs:") && header[3].ends_with(']'),
        "{}",
        lines[0]
    );
    assert_eq!(body(&lines[0]), "Serving securely on [::]:10259");
    assert_eq!(
        body(&lines[1]),
        "\"Pod is late\" pod=\"default/a\" count=3 on=true"
    );
    assert!(lines[2].starts_with('E'));
    assert_eq!(
        body(&lines[2]),
        "\"Watch failed\" err=\"no route\" list=[\"a\", \"b\"] name=\"x y\""
    );
}

#[test]
fn verbosity_decides() {
    let work = || {
        tracing::debug!("four");
        tracing::debug!(v = 2, "two");
        tracing::trace!("six");
        tracing::debug!(target: "hyper::proto", "nine");
    };
    assert_eq!(capture(&at(0), work).len(), 0);
    assert_eq!(
        capture(&at(2), work)
            .iter()
            .map(|line| body(line))
            .collect::<Vec<_>>(),
        ["two"]
    );
    assert_eq!(
        capture(&at(4), work)
            .iter()
            .map(|line| body(line))
            .collect::<Vec<_>>(),
        ["four", "two"]
    );
    assert_eq!(capture(&at(6), work).len(), 3);
    assert_eq!(capture(&at(9), work).len(), 4);
    let vmodule = Options {
        vmodule: vec![("te?t*".to_owned(), 4)],
        ..Options::default()
    };
    assert_eq!(capture(&vmodule, work).len(), 2);
    capture(&vmodule, || {
        assert!(v_in(4, "src/tests.rs") && !v_in(5, "src/tests.rs"));
        assert!(!v_in(1, "src/other.rs") && !v(1));
    });
    let other = Options {
        vmodule: vec![("kubelet".to_owned(), 4)],
        ..Options::default()
    };
    assert_eq!(capture(&other, work).len(), 0);
}

#[test]
fn spans_add_their_fields() {
    let lines = capture(&at(0), || {
        let span = tracing::info_span!("sync", controller = "job");
        let _entered = span.enter();
        tracing::info!("Synced");
    });
    assert_eq!(body(&lines[0]), "Synced controller=\"job\"");
}

#[test]
fn several_lines_are_a_block() {
    let lines = capture(&at(0), || tracing::info!(text = "a\nb", "Got"));
    assert_eq!(lines[1..], ["\ta", "\tb", " >"]);
    assert!(lines[0].ends_with("\"Got\" text=<"));
}

#[test]
fn json_lines() {
    let options = Options {
        format: Format::Json,
        ..Options::default()
    };
    let lines = capture(&options, || {
        tracing::info!(pod = "a", count = 3, "Hello");
        tracing::error!(error = %"bad", "Broken");
    });
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(
        (
            line["msg"].as_str(),
            line["v"].as_i64(),
            line["count"].as_i64()
        ),
        (Some("Hello"), Some(0), Some(3))
    );
    assert!(line["ts"].is_number() && line["caller"].as_str().unwrap().starts_with("tests.rs:"));
    let line: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(line["err"], "bad");
    assert!(line.get("v").is_none());
}

#[test]
fn options() {
    let error = Options::new("x", 0, "").unwrap_err();
    assert_eq!(
        error,
        "format: Invalid value: \"x\": Unsupported log format"
    );
    assert_eq!(
        Options::new("text", 2, "a=1,b*=3").unwrap().vmodule,
        [("a".to_owned(), 1), ("b*".to_owned(), 3)]
    );
}
