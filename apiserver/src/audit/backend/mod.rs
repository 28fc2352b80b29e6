//! Where events go: a file or a webhook, at once or in batches. Upstream: plugin/pkg/audit and server/options/audit.go.

/// Batches.
mod buffered;
/// Files and standard output.
mod log;
/// Files that are replaced when they are full.
mod rotate;
/// HTTP servers that take events.
mod webhook;

use std::sync::Arc;

use component_base::auth::BoxFuture;

use super::event::Line;
use super::legacy;
use super::metrics::AuditMetrics;
use super::policy::Level;
pub use buffered::{BatchConfig, Throttle};
pub use log::{Format, Log, Output};
pub use rotate::{RotatingFile, Rotation};
pub use webhook::Webhook;

/// What became of an event. False: it is lost, and the request may not go on without it.
pub enum Sent {
    Done(bool),
    Pending(BoxFuture<'static, bool>),
}

impl Sent {
    /// Both have to do well.
    pub fn and(self, other: Sent) -> Sent {
        match (self, other) {
            (Sent::Done(one), Sent::Done(two)) => Sent::Done(one && two),
            (one, two) => Sent::Pending(Box::pin(async move {
                let (one, two) = futures::join!(one.wait(), two.wait());
                one && two
            })),
        }
    }

    async fn wait(self) -> bool {
        match self {
            Sent::Done(kept) => kept,
            Sent::Pending(kept) => kept.await,
        }
    }
}

/// Who writes events in the end.
#[derive(Clone)]
pub enum Sink {
    Log(Arc<Log>),
    Webhook(Arc<Webhook>),
}

impl Sink {
    /// Writes events. Events that are lost are told of before this returns.
    fn write(&self, lines: Vec<Line>, metrics: &AuditMetrics) -> Sent {
        match self {
            Sink::Log(log) => Sent::Done(log.write(&lines, metrics)),
            Sink::Webhook(webhook) => {
                let (webhook, metrics) = (webhook.clone(), metrics.clone());
                Sent::Pending(Box::pin(
                    async move { webhook.write(lines, &metrics).await },
                ))
            }
        }
    }
}

/// When events are written.
pub enum Mode {
    /// Before the request goes on, which it does whatever comes of it.
    Blocking,
    /// Before the request goes on; it fails where its first event is lost.
    BlockingStrict,
    /// Later, by a task.
    Batch(buffered::Buffer),
}

/// One of the places that events go to.
pub struct Backend {
    sink: Sink,
    mode: Mode,
    /// Longer events go without their objects, or not at all.
    max_event_size: Option<usize>,
    metrics: AuditMetrics,
}

impl Backend {
    pub fn new(
        sink: Sink,
        mode: Mode,
        max_event_size: Option<usize>,
        metrics: AuditMetrics,
    ) -> Backend {
        Backend {
            sink,
            mode,
            max_event_size,
            metrics,
        }
    }

    /// A mode that writes in batches.
    pub fn batch(sink: &Sink, config: BatchConfig, metrics: &AuditMetrics) -> Mode {
        Mode::Batch(buffered::Buffer::start(
            sink.clone(),
            config,
            metrics.clone(),
        ))
    }

    /// Sends one event. `line` makes it anew, without its objects, where it is too long.
    pub fn send(&self, level: Level, whole: &Line, line: &dyn Fn(bool) -> Line) -> Sent {
        let line = match self.max_event_size {
            Some(max) if whole.bytes().len() > max => {
                let short = match level {
                    Level::None | Level::Metadata => whole.clone(),
                    Level::Request | Level::RequestResponse => line(false),
                };
                if short.bytes().len() > max {
                    let why = "event is too large even after truncating";
                    lost(&self.metrics, "truncate", why, &[short]);
                    return Sent::Done(true);
                }
                short
            }
            _ => whole.clone(),
        };
        match &self.mode {
            Mode::Batch(buffer) => {
                buffer.push(line, &self.metrics);
                Sent::Done(true)
            }
            Mode::BlockingStrict => self.sink.write(vec![line], &self.metrics),
            Mode::Blocking => match self.sink.write(vec![line], &self.metrics) {
                Sent::Done(_) => Sent::Done(true),
                Sent::Pending(kept) => Sent::Pending(Box::pin(async move {
                    kept.await;
                    true
                })),
            },
        }
    }

    /// Waits until everything is written.
    pub async fn shutdown(&self) {
        if let Mode::Batch(buffer) = &self.mode {
            buffer.shutdown().await;
        }
    }
}

/// Counts and shows events that are lost.
fn lost(metrics: &AuditMetrics, plugin: &str, why: &str, lines: &[Line]) {
    metrics.failed(plugin, lines.len());
    let mut text = format!(
        "Error in audit plugin '{plugin}' affecting {} audit events: {why}\nImpacted events:\n",
        lines.len()
    );
    for line in lines {
        text.push_str(&legacy::text(line));
        text.push('\n');
    }
    tracing::error!("{text}");
}
