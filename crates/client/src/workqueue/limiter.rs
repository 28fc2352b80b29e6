//! How long a key that failed has to wait. Upstream: `client-go/util/workqueue/default_rate_limiters.go`.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;

use crate::flowcontrol::TokenBucket;

/// Decides when a key may be worked on again.
pub trait RateLimiter<K>: Send + Sync + 'static {
    /// Counts one more failure of `key` and returns how long it has to wait.
    fn when(&self, key: &K) -> Duration;
    /// Stops tracking `key`: it succeeded, or is given up for good.
    fn forget(&self, key: &K);
    /// How many failures `key` has had since it was last forgotten.
    fn num_requeues(&self, key: &K) -> u32;
}

/// `base * 2^failures`, at most `max`.
pub struct ItemExponentialFailure<K> {
    failures: Mutex<HashMap<K, u32>>,
    base: Duration,
    max: Duration,
}

impl<K> ItemExponentialFailure<K> {
    /// `base` is the wait after the first failure, `max` the longest wait.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            failures: Mutex::new(HashMap::new()),
            base,
            max,
        }
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> RateLimiter<K> for ItemExponentialFailure<K> {
    fn when(&self, key: &K) -> Duration {
        let mut failures = self.failures.lock();
        let count = failures.entry(key.clone()).or_insert(0);
        let exponent = *count;
        *count = count.saturating_add(1);
        let nanos = self.base.as_nanos() as f64 * 2f64.powi(exponent.min(i32::MAX as u32) as i32);
        if nanos >= self.max.as_nanos() as f64 {
            self.max
        } else {
            Duration::from_nanos(nanos as u64)
        }
    }

    fn forget(&self, key: &K) {
        self.failures.lock().remove(key);
    }

    fn num_requeues(&self, key: &K) -> u32 {
        self.failures.lock().get(key).copied().unwrap_or(0)
    }
}

/// A short wait for the first `max_fast_attempts` failures, a long one after.
pub struct ItemFastSlow<K> {
    failures: Mutex<HashMap<K, u32>>,
    fast: Duration,
    slow: Duration,
    max_fast_attempts: u32,
}

impl<K> ItemFastSlow<K> {
    /// `fast` up to and including failure number `max_fast_attempts`, then `slow`.
    pub fn new(fast: Duration, slow: Duration, max_fast_attempts: u32) -> Self {
        Self {
            failures: Mutex::new(HashMap::new()),
            fast,
            slow,
            max_fast_attempts,
        }
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> RateLimiter<K> for ItemFastSlow<K> {
    fn when(&self, key: &K) -> Duration {
        let mut failures = self.failures.lock();
        let count = failures.entry(key.clone()).or_insert(0);
        *count = count.saturating_add(1);
        if *count <= self.max_fast_attempts {
            self.fast
        } else {
            self.slow
        }
    }

    fn forget(&self, key: &K) {
        self.failures.lock().remove(key);
    }

    fn num_requeues(&self, key: &K) -> u32 {
        self.failures.lock().get(key).copied().unwrap_or(0)
    }
}

/// One token bucket for all keys together; it has no memory of single keys.
pub struct BucketLimiter(TokenBucket);

impl BucketLimiter {
    /// `qps` retries per second, `burst` at once.
    pub fn new(qps: f64, burst: u32) -> Self {
        Self(TokenBucket::new(qps, burst))
    }
}

impl<K> RateLimiter<K> for BucketLimiter {
    fn when(&self, _key: &K) -> Duration {
        self.0.reserve()
    }
    fn forget(&self, _key: &K) {}
    fn num_requeues(&self, _key: &K) -> u32 {
        0
    }
}

/// Asks several limiters and takes the longest wait.
pub struct MaxOf<K>(Vec<Box<dyn RateLimiter<K>>>);

impl<K> MaxOf<K> {
    /// The limiters to ask; every one of them counts the failure.
    pub fn new(limiters: Vec<Box<dyn RateLimiter<K>>>) -> Self {
        Self(limiters)
    }
}

impl<K: 'static> RateLimiter<K> for MaxOf<K> {
    fn when(&self, key: &K) -> Duration {
        self.0
            .iter()
            .map(|limiter| limiter.when(key))
            .max()
            .unwrap_or(Duration::ZERO)
    }

    fn forget(&self, key: &K) {
        for limiter in &self.0 {
            limiter.forget(key);
        }
    }

    fn num_requeues(&self, key: &K) -> u32 {
        self.0
            .iter()
            .map(|limiter| limiter.num_requeues(key))
            .max()
            .unwrap_or(0)
    }
}

/// What controllers use unless they say otherwise: 5 ms doubling to 1000 s per key, and 10 per second (burst 100) over all keys.
pub struct DefaultControllerLimiter<K>(MaxOf<K>);

impl<K: Hash + Eq + Clone + Send + Sync + 'static> DefaultControllerLimiter<K> {
    /// A limiter with no failures counted yet.
    pub fn new() -> Self {
        Self(MaxOf::new(vec![
            Box::new(ItemExponentialFailure::new(
                Duration::from_millis(5),
                Duration::from_secs(1000),
            )),
            Box::new(BucketLimiter::new(10.0, 100)),
        ]))
    }

    /// The per-key part alone, as upstream's `DefaultItemBasedRateLimiter` (1 ms doubling to 1000 s).
    pub fn item_based() -> ItemExponentialFailure<K> {
        ItemExponentialFailure::new(Duration::from_millis(1), Duration::from_secs(1000))
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Default for DefaultControllerLimiter<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: 'static> RateLimiter<K> for DefaultControllerLimiter<K> {
    fn when(&self, key: &K) -> Duration {
        self.0.when(key)
    }
    fn forget(&self, key: &K) {
        self.0.forget(key);
    }
    fn num_requeues(&self, key: &K) -> u32 {
        self.0.num_requeues(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis<K>(limiter: &impl RateLimiter<K>, key: &K, times: usize) -> Vec<u128> {
        (0..times).map(|_| limiter.when(key).as_millis()).collect()
    }

    #[test]
    fn exponential_per_key() {
        let limiter = ItemExponentialFailure::new(Duration::from_millis(1), Duration::from_secs(1));
        assert_eq!(millis(&limiter, &"one", 5), [1, 2, 4, 8, 16]);
        assert_eq!(limiter.num_requeues(&"one"), 5);
        assert_eq!(millis(&limiter, &"two", 2), [1, 2]);
        limiter.forget(&"one");
        assert_eq!(limiter.num_requeues(&"one"), 0);
        assert_eq!(millis(&limiter, &"one", 1), [1]);
    }

    #[test]
    fn exponential_never_overflows() {
        let limiter =
            ItemExponentialFailure::new(Duration::from_millis(1), Duration::from_secs(1000));
        for _ in 0..5 {
            limiter.when(&"one");
        }
        assert_eq!(limiter.when(&"one"), Duration::from_millis(32));
        for _ in 0..2000 {
            limiter.when(&"one");
        }
        assert_eq!(limiter.when(&"one"), Duration::from_secs(1000));
    }

    #[test]
    fn fast_then_slow() {
        let limiter = ItemFastSlow::new(Duration::from_millis(5), Duration::from_secs(10), 3);
        assert_eq!(millis(&limiter, &"one", 5), [5, 5, 5, 10_000, 10_000]);
        limiter.forget(&"one");
        assert_eq!(millis(&limiter, &"one", 1), [5]);
    }

    #[test]
    fn the_longest_wait_wins() {
        let limiter = MaxOf::new(vec![
            Box::new(ItemFastSlow::new(
                Duration::from_millis(5),
                Duration::from_secs(3),
                3,
            )) as Box<dyn RateLimiter<&str>>,
            Box::new(ItemExponentialFailure::new(
                Duration::from_millis(1),
                Duration::from_secs(1),
            )),
        ]);
        assert_eq!(millis(&limiter, &"one", 5), [5, 5, 5, 3000, 3000]);
        assert_eq!(limiter.num_requeues(&"one"), 5);
    }
}
