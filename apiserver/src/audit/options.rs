//! What the audit flags ask for. Upstream: apiserver/pkg/server/options/audit.go.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apimachinery::os_error;
use component_base::flags::Flags;

use super::backend::{
    Backend, BatchConfig, Format, Log, Mode, Output, RotatingFile, Rotation, Sink, Throttle,
    Webhook,
};
use super::metrics::AuditMetrics;
use super::policy::Policy;
use crate::egress::Dialer;

const MEGABYTE: u64 = 1 << 20;

/// The policy and the backends, if there are both.
pub(super) fn build(
    flags: &Flags,
    via: &Dialer,
    metrics: &AuditMetrics,
) -> Result<Option<(Policy, Vec<Backend>)>, component_base::Error> {
    let policy = match flags.non_empty("audit-policy-file") {
        Some(file) => Some(Policy::load(Path::new(file))?),
        None => None,
    };
    let output = match flags.non_empty("audit-log-path") {
        Some(path) => Some(output(path, flags)?),
        None => None,
    };
    let webhook = flags.non_empty("audit-webhook-config-file");
    let Some(policy) = policy else {
        if output.is_some() {
            tracing::info!(
                "No audit policy file provided, no events will be recorded for log backend"
            );
        }
        if webhook.is_some() {
            tracing::info!(
                "No audit policy file provided, no events will be recorded for webhook backend"
            );
        }
        return Ok(None);
    };
    let mut backends = Vec::new();
    if let Some(output) = output {
        let format = match flags.string("audit-log-format") {
            "legacy" => Format::Legacy,
            _ => Format::Json,
        };
        let sink = Sink::Log(Arc::new(Log::new(output, format)));
        backends.push(backend("log", sink, flags, metrics));
    }
    if let Some(file) = webhook {
        const DEPRECATED: &str = "audit-webhook-batch-initial-backoff";
        let backoff = if flags.changed(DEPRECATED) {
            flags.duration(DEPRECATED)
        } else {
            flags.duration("audit-webhook-initial-backoff")
        };
        let sink = Sink::Webhook(Arc::new(Webhook::new(Path::new(file), backoff, via)?));
        backends.push(backend("webhook", sink, flags, metrics));
    }
    Ok((!backends.is_empty()).then_some((policy, backends)))
}

fn backend(plugin: &str, sink: Sink, flags: &Flags, metrics: &AuditMetrics) -> Backend {
    let name = |rest: &str| format!("audit-{plugin}-{rest}");
    let number = |rest: &str| usize::try_from(flags.int(&name(rest))).unwrap_or(0);
    let mode = match flags.string(&name("mode")) {
        "batch" => {
            let throttle = Throttle {
                qps: flags.float(&name("batch-throttle-qps")),
                burst: u32::try_from(flags.int(&name("batch-throttle-burst"))).unwrap_or(u32::MAX),
            };
            let config = BatchConfig {
                buffer_size: number("batch-buffer-size"),
                max_size: number("batch-max-size"),
                max_wait: flags.duration(&name("batch-max-wait")),
                throttle: flags
                    .bool(&name("batch-throttle-enable"))
                    .then_some(throttle),
                concurrent: plugin == "webhook",
            };
            Backend::batch(&sink, config, metrics)
        }
        "blocking-strict" => Mode::BlockingStrict,
        _ => Mode::Blocking,
    };
    let max_event_size = flags
        .bool(&name("truncate-enabled"))
        .then(|| number("truncate-max-event-size"));
    Backend::new(sink, mode, max_event_size, metrics.clone())
}

/// Where the log is written. That it cannot be is found out now.
fn output(path: &str, flags: &Flags) -> Result<Output, String> {
    if path == "-" {
        return Ok(Output::Stdout);
    }
    let path = PathBuf::from(path);
    let failed = |operation: &str, path: &Path, error: &io::Error| {
        let why = os_error::on_path(operation, path, error);
        format!("ensureLogFile: {why}")
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| failed("mkdir", folder, &error))?;
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| failed("open", &path, &error))?;
    let number = |name: &str| u64::try_from(flags.int(name)).unwrap_or(0);
    let max_size = number("audit-log-maxsize");
    if max_size == 0 {
        return Ok(Output::File(file));
    }
    let rotation = Rotation {
        max_size: max_size.saturating_mul(MEGABYTE),
        max_age: flags.int("audit-log-maxage"),
        max_backups: usize::try_from(flags.int("audit-log-maxbackup")).unwrap_or(0),
        compress: flags.bool("audit-log-compress"),
    };
    Ok(Output::Rotating(RotatingFile::new(path, rotation)))
}
