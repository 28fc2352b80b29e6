//! The test binary runs itself again as a daemon: the test `child` below is its `main`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command as Process, ExitCode, Stdio};

use component_base::flags::{Command, FlagRow, Group, Kind, UsageStyle, common};
use component_base::run::{Start, main_with_arguments};

const ARGUMENTS: &str = "COMPONENT_BASE_TEST_ARGUMENTS";

const COMMAND: Command = Command {
    name: "kube-test",
    description: "Tests.",
    flags: &[
        Group {
            section: "Misc",
            rows: &[
                FlagRow::new("fail", Kind::Bool, "false", "Whether to fail."),
                FlagRow::new("old", Kind::Bool, "false", "Old.")
                    .deprecated("use nothing")
                    .hidden(),
                FlagRow::new("ignored", Kind::String, "", "Ignored.").without_effect("for a test"),
            ],
        },
        Group {
            section: "Logs",
            rows: common::LOGS,
        },
        Group {
            section: "Global",
            rows: common::VERSION,
        },
    ],
    features: &[],
    usage_style: UsageStyle::UsageThenError,
};

#[derive(Debug, thiserror::Error)]
#[error("starting")]
struct Failed(#[source] std::io::Error);

async fn run(start: Start) -> Result<(), component_base::Error> {
    if start.flags.bool("fail") {
        return Err(Failed(std::io::Error::other("no disk")).into());
    }
    tracing::info!("Ready");
    start.stop.cancelled().await;
    tracing::info!("Bye");
    Ok(())
}

#[test]
fn child() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else {
        return;
    };
    let code = main_with_arguments(
        &COMMAND,
        arguments.split_whitespace().map(str::to_owned),
        run,
    );
    std::process::exit(if code == ExitCode::SUCCESS { 0 } else { 1 });
}

fn start(arguments: &str) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "daemon::child", "--nocapture"])
        .env(ARGUMENTS, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Exit code, stdout and stderr.
fn finish(arguments: &str) -> (i32, String, String) {
    let output = start(arguments).wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn bad_arguments_show_usage_and_all_errors() {
    let (code, _, stderr) = finish("--foo --fail=x");
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with("Usage:\n  kube-test [flags]\n\nMisc flags:\n"),
        "{stderr}"
    );
    assert!(
        stderr.ends_with(
            "\n\nError: unknown flag: --foo\nError: invalid argument \"x\" for \"--fail\" flag: strconv.ParseBool: parsing \"x\": invalid syntax\n"
        ),
        "{stderr}"
    );
}

#[test]
fn help_and_version_go_to_stdout() {
    let (code, stdout, _) = finish("--help");
    assert!(
        code == 0 && stdout.contains("Tests.\n\nUsage:\n"),
        "{stdout}"
    );
    let (code, stdout, _) = finish("--version");
    assert!(
        code == 0 && stdout.contains("Kubernetes v1.36.2\n"),
        "{stdout}"
    );
    let (code, stdout, _) = finish("--version=raw");
    assert!(
        code == 0 && stdout.contains("version.Info{Major:\"1\", Minor:\"36\""),
        "{stdout}"
    );
}

#[test]
fn errors_are_logged_with_their_causes() {
    let (code, _, stderr) = finish("--fail --old --ignored=x");
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with("Flag --old has been deprecated, use nothing\n"),
        "{stderr}"
    );
    assert!(
        stderr.contains("\"Flag has no effect\" flag=\"ignored\" reason=\"for a test\""),
        "{stderr}"
    );
    let last = stderr.lines().last().unwrap();
    assert!(
        last.starts_with('E') && last.ends_with("\"command failed\" err=\"starting: no disk\""),
        "{last}"
    );
    let (code, _, stderr) = finish("--logging-format=x");
    assert!(
        code == 1
            && stderr.ends_with(
                r#""command failed" err="format: Invalid value: \"x\": Unsupported log format"
"#
            ),
        "{stderr}"
    );
}

#[test]
fn a_signal_ends_it_in_order() {
    let mut child = start("");
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("Ready") {
        line.clear();
        assert_ne!(
            stderr.read_line(&mut line).unwrap(),
            0,
            "the daemon is not ready"
        );
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(
        rest.contains("signal=\"SIGTERM\"") && rest.contains("Bye"),
        "{rest}"
    );
}
