//! The skeleton of `main`. Upstream: k8s.io/component-base/cli (run.go), cobra.
//!
//! A daemon's `main` names its [`Command`] and an async function; everything between `exec` and that function is here:
//! arguments, `--help`, `--version`, logs, the TLS provider, the runtime, signals, and the exit code.

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::flags::{Command, Flags, ParseError, Parsed, UsageStyle, help, usage};
use crate::{Chain, Error, logs, shutdown, version};

/// What a daemon gets to run with.
#[derive(Debug)]
pub struct Start {
    pub flags: Flags,
    /// Cancelled when the daemon is told to stop.
    pub stop: CancellationToken,
}

/// Why a daemon cannot go on: logged as it is, and the exit code is 255, as after klog's Fatal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Fatal(pub String);

/// Runs a daemon to its end and gives the exit code of the process: 0 after `--help`, `--version` and an orderly end, 1
/// after bad arguments and after an error, which is logged as `"command failed" err="..."`; 255 after a [`Fatal`] one.
pub fn main_with<F, Fut>(command: &'static Command, run: F) -> ExitCode
where
    F: FnOnce(Start) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    main_with_arguments(command, arguments(), run)
}

/// [`main_with`] for arguments that do not come from the process.
pub fn main_with_arguments<F, Fut>(
    command: &'static Command,
    arguments: impl IntoIterator<Item = String>,
    run: F,
) -> ExitCode
where
    F: FnOnce(Start) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let flags = match Flags::parse(command, arguments) {
        Ok(Parsed::Help) => return print(&help(command)),
        Ok(Parsed::Version(asked)) => return print(&format!("{}\n", version::text(&asked))),
        Ok(Parsed::Run(flags)) => flags,
        Err(errors) => {
            report(command, &errors);
            return ExitCode::FAILURE;
        }
    };
    for line in flags.deprecations() {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    match logs::Options::from_flags(&flags) {
        Ok(options) => logs::init(&options),
        Err(why) => {
            logs::init(&logs::Options::default());
            tracing::error!(error = %why, "command failed");
            return ExitCode::FAILURE;
        }
    }
    tracing::debug!(
        v = 1,
        version = version::GIT_VERSION,
        daemon = command.name,
        "Starting"
    );
    for (name, value) in flags.all() {
        tracing::debug!(
            v = 1,
            "FLAG: --{name}={}",
            apimachinery::quote::quote(&value)
        );
    }
    for (name, reason) in flags.without_effect() {
        tracing::warn!(flag = name, reason, "Flag has no effect");
    }
    if let Some(reported) = flags.reported_version() {
        // The parser took only a version that can be set.
        let _ = version::set_reported(reported);
    }
    install_crypto_provider();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let result = runtime.block_on(async {
        let stop = shutdown::on_signals()?;
        run(Start { flags, stop }).await
    });
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    };
    // Blocking work that hangs (a dead NFS mount) must not keep the process.
    runtime.shutdown_background();
    code
}

/// Makes aws-lc-rs the process's one provider of cryptography. Tests that use TLS call it too; repeats are fine.
pub fn install_crypto_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn arguments() -> impl Iterator<Item = String> {
    std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
}

/// A runtime for a daemon: one worker per processor, but no more than are of use and not less than two, so that one
/// busy task cannot stop all others. Sockets are looked at more often than by default, which makes a busy server answer small
/// requests beside large ones sooner.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.clamp(2, 16))
        .event_interval(16)
        .thread_name("worker")
        // Bodies may be nested, and frames of parsers are large. What is not used costs address space only.
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Somebody closed the pipe (`--help | head`): they have what they want.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn report(command: &Command, errors: &[ParseError]) {
    let mut text = String::new();
    match command.usage_style {
        UsageStyle::LogLine => {
            logs::init(&logs::Options::default());
            for error in errors {
                let why = error.to_string();
                let prefix = if why.starts_with("unknown command") {
                    ""
                } else {
                    "failed to parse kubelet flag: "
                };
                tracing::error!(error = %format!("{prefix}{why}"), "command failed");
            }
            return;
        }
        UsageStyle::UsageThenError => {
            text.push_str(&usage(command));
            text.push('\n');
        }
        UsageStyle::ErrorOnly => {}
    }
    for error in errors {
        text.push_str(&format!("Error: {error}\n"));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn failed(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    if let Some(fatal) = error.downcast_ref::<Fatal>() {
        tracing::error!("{fatal}");
        return ExitCode::from(255);
    }
    tracing::error!(error = %Chain(error), "command failed");
    ExitCode::FAILURE
}
