//! Runs one controller, whatever it does. Upstream: the `Run`, `worker` and `processNextWorkItem` functions that each
//! controller of pkg/controller repeats.
//!
//! The runner owns the queue, the workers, retries with backoff, the span of a sync, and waiting for caches. A panic in a
//! controller is not caught here: it ends the process, as upstream, because half a controller is worse than a restart.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use client::workqueue::{
    BucketLimiter, ItemExponentialFailure, MaxOf, QueueMetrics, RateLimitingQueue,
};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::context::{Context, Setup, SyncCheck};
use crate::controllers::{Backoff, BuildError, Controller, Key, Next, SyncError};

/// The queue of keys that wait for a sync. Cheap to clone.
pub type Queue<K> = RateLimitingQueue<K>;

/// How often unfilled caches are looked at while a controller waits for them, as upstream's WaitForCacheSync.
const SYNC_CHECK_PERIOD: Duration = Duration::from_millis(100);
/// Retries of all keys of one queue together, beside each key's own backoff.
const RETRIES_PER_SECOND: f64 = 10.0;
const RETRY_BURST: u32 = 100;

/// A built controller, ready to run.
pub trait Runnable: Send {
    /// The canonical name.
    fn name(&self) -> &'static str;
    /// The health check to serve for it.
    fn health(&self) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync>;
    /// Runs until `stop`.
    fn run(self: Box<Self>, stop: CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

struct Built<C: Controller> {
    controller: Arc<C>,
    queue: Queue<C::Key>,
    workers: usize,
    synced: Vec<SyncCheck>,
}

/// Builds `C` with a client of its own identity. The boxed form of [`Controller::build`].
pub(crate) async fn build<C: Controller>(
    context: Arc<Context>,
) -> Result<Option<Box<dyn Runnable>>, BuildError> {
    let client = if C::ACTS_AS_DAEMON {
        context.clients.root_client(C::SERVICE_ACCOUNT)?
    } else {
        context.clients.client(C::SERVICE_ACCOUNT).await?
    };
    let setup = Setup::new(context, client, C::NAME);
    let queue = new_queue(C::QUEUE, C::BACKOFF, setup.context.metrics.workqueue());
    let Some(controller) = C::build(&setup, &queue).await? else {
        return Ok(None);
    };
    let workers = C::workers(setup.config()).max(1);
    Ok(Some(Box::new(Built {
        controller: Arc::new(controller),
        queue,
        workers,
        synced: setup.take_sync_checks(),
    })))
}

/// A queue with metrics under `name`.
pub(crate) fn new_queue<K: Key>(name: &str, backoff: Backoff, metrics: &QueueMetrics) -> Queue<K> {
    let items = ItemExponentialFailure::new(backoff.base, backoff.max);
    if !backoff.shared_limit {
        return RateLimitingQueue::with_limiter(name, items, Some(metrics));
    }
    let limiter: MaxOf<K> = MaxOf::new(vec![
        Box::new(items),
        Box::new(BucketLimiter::new(RETRIES_PER_SECOND, RETRY_BURST)),
    ]);
    RateLimitingQueue::with_limiter(name, limiter, Some(metrics))
}

impl<C: Controller> Runnable for Built<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn health(&self) -> Arc<dyn Fn() -> Result<(), String> + Send + Sync> {
        let controller = self.controller.clone();
        Arc::new(move || controller.healthy())
    }

    fn run(self: Box<Self>, stop: CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            run(*self, stop).await;
        })
    }
}

async fn run<C: Controller>(built: Built<C>, stop: CancellationToken) {
    let Built {
        controller,
        queue,
        workers,
        synced,
    } = built;
    tracing::info!(controller = C::NAME, "Starting controller");
    if !wait_for_caches(&synced, &stop).await {
        return;
    }
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let (controller, queue) = (controller.clone(), queue.clone());
        tasks.spawn(async move { worker(&*controller, &queue).await }.in_current_span());
    }
    let (beside, stopped) = (controller.clone(), stop.clone());
    tasks.spawn(async move { beside.run(stopped).await }.in_current_span());
    // A worker or `run` that ends early has panicked, or had nothing to do.
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = tasks.join_next() => hand_on_panic(ended),
        }
    }
    tracing::info!(controller = C::NAME, "Shutting down controller");
    queue.shut_down();
    // A sync in progress is finished; `run` ends by itself.
    while let Some(ended) = tasks.join_next().await {
        hand_on_panic(ended);
    }
}

/// Panics again in the task that joins, so that the process ends.
fn hand_on_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

async fn wait_for_caches(synced: &[SyncCheck], stop: &CancellationToken) -> bool {
    let mut tick = tokio::time::interval(SYNC_CHECK_PERIOD);
    loop {
        tokio::select! {
            () = stop.cancelled() => return false,
            _ = tick.tick() => {}
        }
        if synced.iter().all(|filled| filled()) {
            return true;
        }
    }
}

async fn worker<C: Controller>(controller: &C, queue: &Queue<C::Key>) {
    while let Some(key) = queue.get().await {
        let span = tracing::debug_span!("sync", key = ?key);
        let result = controller.sync(&key).instrument(span).await;
        conclude(C::NAME, C::MAX_RETRIES, queue, &key, result);
        queue.done(&key);
    }
}

/// Serves a further queue of the controller `name` with `workers` loops until `stop`, as the runner serves its first one.
/// For use in [`Controller::run`].
pub async fn work<K, F, Fut>(
    name: &'static str,
    queue: &Queue<K>,
    workers: usize,
    stop: &CancellationToken,
    sync: F,
) where
    K: Key,
    F: Fn(K) -> Fut + Sync,
    Fut: Future<Output = Result<Next, SyncError>> + Send,
{
    let sync = &sync;
    let one = move |_| async move {
        while let Some(key) = queue.get().await {
            let result = sync(key.clone()).await;
            conclude(name, None, queue, &key, result);
            queue.done(&key);
        }
    };
    let all = futures::future::join_all((0..workers.max(1)).map(one));
    let shut_down = async {
        stop.cancelled().await;
        queue.shut_down();
    };
    futures::future::join(all, shut_down).await;
}

/// Decides when a key is synced again.
fn conclude<K: Key>(
    controller: &'static str,
    max_retries: Option<u32>,
    queue: &Queue<K>,
    key: &K,
    result: Result<Next, SyncError>,
) {
    match result {
        Ok(Next::Done) => queue.forget(key),
        Ok(Next::After(delay)) => {
            queue.forget(key);
            queue.add_after(key.clone(), delay);
        }
        Ok(Next::Retry) => queue.add_rate_limited(key.clone()),
        Err(error) if max_retries.is_some_and(|max| queue.num_requeues(key) >= max) => {
            tracing::warn!(controller, key = ?key, %error, "Dropping key out of the queue after too many failures");
            queue.forget(key);
        }
        // Somebody else was faster, or our cache is late: the retry puts it right, nobody needs to look.
        Err(error) if error.api().is_some_and(client::Error::is_conflict) => {
            tracing::debug!(v = 2, controller, key = ?key, %error, "Error syncing, will retry");
            queue.add_rate_limited(key.clone());
        }
        Err(error) => {
            tracing::error!(controller, key = ?key, %error, "Error syncing, will retry");
            queue.add_rate_limited(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    fn queue() -> Queue<u32> {
        let items = ItemExponentialFailure::new(Duration::from_millis(1), Duration::from_millis(5));
        RateLimitingQueue::with_limiter("test", items, None)
    }

    #[tokio::test]
    async fn failures_are_retried_until_success_or_the_limit() {
        let queue = queue();
        let tries = Mutex::new(Vec::new());
        let stop = CancellationToken::new();
        queue.add(1);
        let sync = |key: u32| {
            let tries = &tries;
            let stop = &stop;
            async move {
                tries.lock().push(key);
                if tries.lock().len() < 4 {
                    return Err(SyncError::other("not yet"));
                }
                stop.cancel();
                Ok(Next::Done)
            }
        };
        work("test", &queue, 1, &stop, sync).await;
        assert_eq!(*tries.lock(), [1, 1, 1, 1]);
        assert_eq!(queue.num_requeues(&1), 0);
    }

    #[tokio::test]
    async fn the_outcome_decides_about_the_next_sync() {
        let queue = queue();
        let fail = || Err(SyncError::other("no"));
        let attempts = |result, max| {
            conclude("test", max, &queue, &7, result);
            queue.num_requeues(&7)
        };
        assert_eq!(attempts(fail(), Some(2)), 1);
        assert_eq!(attempts(Ok(Next::Retry), Some(2)), 2);
        // The limit is reached: forgotten, so that the next event starts anew.
        assert_eq!(attempts(fail(), Some(2)), 0);
        assert_eq!(attempts(fail(), None), 1);
        assert_eq!(attempts(Ok(Next::Done), None), 0);
        assert_eq!(attempts(fail(), None), 1);
        assert_eq!(
            attempts(Ok(Next::After(Duration::from_millis(20))), None),
            0
        );
        assert_eq!(queue.get().await, Some(7));
    }

    #[tokio::test]
    async fn a_panic_goes_on_to_whoever_joins() {
        let ended = tokio::spawn(async { panic!("broken") }).await;
        let caught =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hand_on_panic(ended)));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"broken"));
    }
}
