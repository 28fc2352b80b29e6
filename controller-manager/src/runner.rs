//! Runs one controller, whatever it does. Upstream: the `Run`, `worker` and `processNextWorkItem` functions that each
//! controller of pkg/controller repeats.
//!
//! The runner owns the queue, the workers, retries with backoff, the span of a sync, and waiting for caches. A panic in a
//! controller is not caught here: it ends the process, as upstream, because half a controller is worse than a restart.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use client::workqueue::{RateLimiter, RateLimitingQueue};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::context::{Context, Setup, SyncCheck};
use crate::controllers::{BuildError, BuildFuture, Controller, Next};

/// The queue of keys that wait for a sync. Cheap to clone.
pub type Queue<K> = RateLimitingQueue<K>;

/// How often unfilled caches are looked at while a controller waits for them, as upstream's WaitForCacheSync.
const SYNC_CHECK_PERIOD: Duration = Duration::from_millis(100);

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
pub(crate) async fn build<C: Controller>(context: Arc<Context>) -> Result<Option<Box<dyn Runnable>>, BuildError> {
    let client = context.clients.client(C::SERVICE_ACCOUNT).await?;
    let setup = Setup::new(context, client, C::NAME);
    let queue = new_queue::<C>(&setup);
    let Some(controller) = C::build(&setup, &queue).await? else { return Ok(None) };
    let workers = C::workers(setup.config()).max(1);
    Ok(Some(Box::new(Built { controller: Arc::new(controller), queue, workers, synced: setup.take_sync_checks() })))
}

const _: fn() -> Option<BuildFuture> = || None;

fn new_queue<C: Controller>(setup: &Setup) -> Queue<C::Key> {
    let limiter = RateLimiter::exponential(C::BACKOFF.base, C::BACKOFF.max);
    RateLimitingQueue::new(C::QUEUE, limiter, Some(setup.context.metrics.workqueue()))
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
            let span = tracing::info_span!("controller", controller = C::NAME);
            run(*self, stop).instrument(span).await;
        })
    }
}

async fn run<C: Controller>(built: Built<C>, stop: CancellationToken) {
    let Built { controller, queue, workers, synced } = built;
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
    stop.cancelled().await;
    tracing::info!(controller = C::NAME, "Shutting down controller");
    queue.shut_down();
    // A sync in progress is finished; `run` ends by itself. A panic in either is handed on to whoever joins this task.
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
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
        process(controller, queue, &key).await;
        queue.done(&key);
    }
}

/// Syncs one key and decides when it is synced again.
async fn process<C: Controller>(controller: &C, queue: &Queue<C::Key>, key: &C::Key) {
    let span = tracing::debug_span!("sync", key = ?key);
    match controller.sync(key).instrument(span).await {
        Ok(Next::Done) => queue.forget(key),
        Ok(Next::After(delay)) => {
            queue.forget(key);
            queue.add_after(key.clone(), delay);
        }
        Ok(Next::Retry) => queue.add_rate_limited(key.clone()),
        Err(error) if C::MAX_RETRIES.is_some_and(|max| queue.num_requeues(key) >= max as usize) => {
            tracing::warn!(controller = C::NAME, key = ?key, %error, "Dropping key out of the queue after too many failures");
            queue.forget(key);
        }
        Err(error) => {
            tracing::error!(controller = C::NAME, key = ?key, %error, "Error syncing, will retry");
            queue.add_rate_limited(key.clone());
        }
    }
}
