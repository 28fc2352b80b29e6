//! Queues of keys that need work. Upstream: `client-go/util/workqueue`.
//!
//! What a controller can rely on:
//! - **Fair**: keys are handed out in the order they were added.
//! - **Stingy**: a key added several times before it is handed out is handed out once.
//! - **Never the same key twice at once**: a key added while it is being worked on waits until [`RateLimitingQueue::done`]
//!   is called for it, and is then handed out again.
//! - **Shutdown is orderly**: after [`RateLimitingQueue::shut_down`] nothing more is taken in, what is queued is still
//!   handed out, and then every waiting worker gets `None`. Keys that were waiting for their delay are dropped.
//!
//! There is no background task: a delay is waited for by the workers inside [`RateLimitingQueue::get`], and whatever
//! touches the queue first moves over what has become due. A queue can therefore be made outside a runtime, and dropping the
//! last handle ends it.

mod limiter;
mod metrics;
mod queue;

pub use limiter::{
    BucketLimiter, DefaultControllerLimiter, ItemExponentialFailure, ItemFastSlow, MaxOf,
    RateLimiter,
};
pub use metrics::QueueMetrics;
pub use queue::RateLimitingQueue;
