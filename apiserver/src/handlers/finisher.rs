//! Writes that go on without their clients. Upstream: endpoints/handlers/finisher.

use std::pin::Pin;
use std::time::Duration;

use apimachinery::status::{self, StatusError};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::request_metrics::{PostTimeout, RequestMetrics};
use crate::traces::trace;

/// Single-object writes are answered within this, however long the client would wait.
const WRITE_TIMEOUT: Duration = Duration::from_secs(34);

/// How long it is waited for a write whose request is over, to count what became of it.
const POST_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Runs a write in a task of its own, so that a client that goes away does not break it off half-way. Writes are some kilobytes,
/// which would be copied on their way into the task.
pub async fn run_write<T, F>(metrics: RequestMetrics, write: Pin<Box<F>>) -> Result<T, StatusError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StatusError>> + Send + 'static,
{
    let task = Some(trace::spawn(write));
    let mut running = Running { task, metrics };
    let Some(task) = &mut running.task else {
        return Err(status::internal("a write was not started"));
    };
    let Ok(ended) = tokio::time::timeout(WRITE_TIMEOUT, task).await else {
        return Err(status::timeout(
            "request did not complete within requested timeout - context deadline exceeded",
            0,
        ));
    };
    running.task = None;
    ended.unwrap_or_else(|panicked| Err(status::internal(panicked)))
}

/// A write that somebody waits for, or has given up. Upstream: endpoints/handlers/finisher.
struct Running<T: Send + 'static> {
    task: Option<JoinHandle<Result<T, StatusError>>>,
    metrics: RequestMetrics,
}

impl<T: Send + 'static> Drop for Running<T> {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else { return };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (metrics, since) = (self.metrics.clone(), Instant::now());
        runtime.spawn(async move {
            let outcome = match tokio::time::timeout(POST_TIMEOUT, task).await {
                Err(_) => PostTimeout::Pending,
                Ok(Err(_)) => PostTimeout::Panic,
                Ok(Ok(Err(_))) => PostTimeout::Error,
                Ok(Ok(Ok(_))) => PostTimeout::Ok,
            };
            tracing::error!(took = ?since.elapsed(), ?outcome, "FinishRequest: post-timeout activity");
            metrics.post_timeout(outcome);
        });
    }
}

#[cfg(test)]
mod tests {
    use component_base::metrics::{Metrics, MetricsOptions};
    use tokio::time::sleep;

    use super::*;

    /// What is counted of a write that takes so long, with a client that waits so long, in seconds.
    async fn counted(takes: u64, waits: u64, fails: bool) -> Vec<(&'static str, u64)> {
        let metrics = Metrics::bare(MetricsOptions::default());
        let metrics = RequestMetrics::new(&metrics, true);
        let write = run_write(
            metrics.clone(),
            Box::pin(async move {
                sleep(Duration::from_secs(takes)).await;
                match fails {
                    true => Err(status::bad_request("no")),
                    false => Ok(()),
                }
            }),
        );
        let _ = tokio::time::timeout(Duration::from_secs(waits), write).await;
        // Longer than anybody waits.
        sleep(POST_TIMEOUT * 2).await;
        metrics.post_timeouts()
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_waits_for_is_counted_by_its_end() {
        assert_eq!(counted(1, 2, false).await, []);
        assert_eq!(counted(3, 2, false).await, [("ok", 1)]);
        assert_eq!(counted(3, 2, true).await, [("error", 1)]);
        // Clients are told earlier than they would go away.
        assert_eq!(counted(40, 60, false).await, [("ok", 1)]);
        assert_eq!(counted(400, 60, false).await, [("pending", 1)]);
    }
}
