//! Events that are written in batches by a task. Upstream: plugin/pkg/audit/buffered.

use std::time::Duration;

use client::flowcontrol::TokenBucket;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Sent, Sink, lost};
use crate::audit::event::Line;
use crate::audit::metrics::AuditMetrics;

const PLUGIN: &str = "buffered";

/// How many batches go out.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    pub qps: f64,
    pub burst: u32,
}

/// How batches are made.
#[derive(Clone, Copy, Debug)]
pub struct BatchConfig {
    /// How many events may wait; more are lost.
    pub buffer_size: usize,
    pub max_size: usize,
    /// A batch that is not full is sent when its first event has waited so long.
    pub max_wait: Duration,
    pub throttle: Option<Throttle>,
    /// The next batch does not wait until one is written.
    pub concurrent: bool,
}

/// Events that wait for their batch.
pub struct Buffer {
    waiting: mpsc::Sender<Line>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Buffer {
    pub(super) fn start(sink: Sink, config: BatchConfig, metrics: AuditMetrics) -> Buffer {
        let (sender, receiver) = mpsc::channel(config.buffer_size);
        let stop = CancellationToken::new();
        let batcher = Batcher {
            waiting: receiver,
            sink,
            config,
            bucket: config
                .throttle
                .map(|throttle| TokenBucket::new(throttle.qps, throttle.burst)),
            stop: stop.clone(),
            under_way: TaskTracker::new(),
            metrics,
        };
        Buffer {
            waiting: sender,
            stop,
            task: Mutex::new(Some(tokio::spawn(batcher.run()))),
        }
    }

    /// Adds an event, if there is room.
    pub(super) fn push(&self, line: Line, metrics: &AuditMetrics) {
        let (line, why) = match self.waiting.try_send(line) {
            Ok(()) => return,
            Err(TrySendError::Full(line)) => (line, "audit buffer queue blocked"),
            Err(TrySendError::Closed(line)) => (line, "audit backend shut down"),
        };
        lost(metrics, PLUGIN, why, &[line]);
    }

    /// Waits until all are written.
    pub(super) async fn shutdown(&self) {
        self.stop.cancel();
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(error = %error, "Audit events may be lost");
        }
    }
}

/// The task.
struct Batcher {
    waiting: mpsc::Receiver<Line>,
    sink: Sink,
    config: BatchConfig,
    bucket: Option<TokenBucket>,
    stop: CancellationToken,
    under_way: TaskTracker,
    metrics: AuditMetrics,
}

impl Batcher {
    async fn run(mut self) {
        while !self.stop.is_cancelled() {
            let batch = self.collect().await;
            self.send(batch).await;
        }
        // What came last is written too.
        self.waiting.close();
        loop {
            let mut batch = Vec::new();
            self.waiting
                .recv_many(&mut batch, self.config.max_size)
                .await;
            if batch.is_empty() {
                break;
            }
            self.send(batch).await;
        }
        self.under_way.close();
        self.under_way.wait().await;
    }

    /// The next batch; empty when the server stops.
    async fn collect(&mut self) -> Vec<Line> {
        let mut batch = Vec::new();
        let mut deadline = None;
        while batch.len() < self.config.max_size {
            let over = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                line = self.waiting.recv() => match line {
                    Some(line) => batch.push(line),
                    None => break,
                },
                () = over => break,
            }
            deadline.get_or_insert_with(|| Instant::now() + self.config.max_wait);
        }
        batch
    }

    async fn send(&self, batch: Vec<Line>) {
        if batch.is_empty() {
            return;
        }
        if let Some(bucket) = &self.bucket {
            tokio::time::sleep(bucket.reserve()).await;
        }
        match self.sink.write(batch, &self.metrics) {
            Sent::Done(_) => {}
            Sent::Pending(kept) if self.config.concurrent => {
                self.under_way.spawn(kept);
            }
            Sent::Pending(kept) => {
                kept.await;
            }
        }
    }
}
