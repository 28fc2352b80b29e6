//! The queue itself: FIFO, dirty and processing sets, and a heap of delayed keys, under one lock.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::limiter::{DefaultControllerLimiter, RateLimiter};
use super::metrics::{InProgress, NamedMetrics, QueueMetrics};

/// A queue of keys with delays and a failure limiter. Clones share the queue. See the module for what it promises.
pub struct RateLimitingQueue<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    /// Wakes one worker per key pushed, and all of them on shutdown.
    available: Notify,
    /// Wakes whoever drains, when the last key in work is done.
    idle: Notify,
    limiter: Box<dyn RateLimiter<K>>,
    metrics: Option<NamedMetrics>,
}

struct State<K> {
    /// Keys to hand out. Every one is in `dirty` and none is in `processing`.
    queue: VecDeque<K>,
    /// Keys that need work, with the time they were added.
    dirty: HashMap<K, Instant>,
    /// Keys in work, with the time they were handed out. A key may be here and in `dirty`.
    processing: HashMap<K, Instant>,
    /// Delayed keys by due time; the number keeps keys with equal due times apart and in order.
    delayed: BTreeMap<(Instant, u64), K>,
    due: HashMap<K, (Instant, u64)>,
    sequence: u64,
    shutting_down: bool,
    drain: bool,
}

impl<K> Clone for RateLimitingQueue<K> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<K> fmt::Debug for RateLimitingQueue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("RateLimitingQueue")
            .field("queued", &state.queue.len())
            .field("processing", &state.processing.len())
            .field("delayed", &state.delayed.len())
            .finish()
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> RateLimitingQueue<K> {
    /// A queue with the default controller limiter and no metrics.
    pub fn new() -> Self {
        Self::build("", Box::new(DefaultControllerLimiter::new()), None)
    }

    /// A queue with the default controller limiter whose metrics carry `name`.
    pub fn named(name: &str, metrics: &QueueMetrics) -> Self {
        Self::build(
            name,
            Box::new(DefaultControllerLimiter::new()),
            Some(metrics),
        )
    }

    /// A queue with its own limiter.
    pub fn with_limiter(
        name: &str,
        limiter: impl RateLimiter<K>,
        metrics: Option<&QueueMetrics>,
    ) -> Self {
        Self::build(name, Box::new(limiter), metrics)
    }

    fn build(name: &str, limiter: Box<dyn RateLimiter<K>>, metrics: Option<&QueueMetrics>) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                dirty: HashMap::new(),
                processing: HashMap::new(),
                delayed: BTreeMap::new(),
                due: HashMap::new(),
                sequence: 0,
                shutting_down: false,
                drain: false,
            }),
            available: Notify::new(),
            idle: Notify::new(),
            limiter,
            metrics: metrics.map(|metrics| metrics.named(name)),
        });
        if let Some(metrics) = metrics {
            let as_dyn: Arc<dyn InProgress> = shared.clone();
            metrics.follow(name, Arc::downgrade(&as_dyn));
        }
        Self { shared }
    }

    /// Marks `key` as needing work. Ignored after shutdown.
    pub fn add(&self, key: K) {
        let mut state = self.shared.state.lock();
        self.shared.move_due(&mut state);
        self.shared.add(&mut state, key);
    }

    /// Adds `key` when `delay` has passed. A key that already waits keeps the earlier of the two times.
    pub fn add_after(&self, key: K, delay: Duration) {
        let mut state = self.shared.state.lock();
        if state.shutting_down {
            return;
        }
        if let Some(metrics) = &self.shared.metrics {
            metrics.retries.inc();
        }
        if delay.is_zero() {
            self.shared.move_due(&mut state);
            self.shared.add(&mut state, key);
            return;
        }
        let at = Instant::now() + delay;
        if let Some(&existing) = state.due.get(&key) {
            if existing.0 <= at {
                return;
            }
            state.delayed.remove(&existing);
        }
        state.sequence += 1;
        let slot = (at, state.sequence);
        let first = state
            .delayed
            .first_key_value()
            .is_none_or(|(earliest, _)| slot < *earliest);
        state.delayed.insert(slot, key.clone());
        state.due.insert(key, slot);
        drop(state);
        if first {
            // One waiting worker is enough: it takes over the earlier timer.
            self.shared.available.notify_one();
        }
    }

    /// Adds `key` when the limiter allows it; counts one failure of `key`.
    pub fn add_rate_limited(&self, key: K) {
        let delay = self.shared.limiter.when(&key);
        self.add_after(key, delay);
    }

    /// Forgets the failures of `key`. Its place in the queue is not touched.
    pub fn forget(&self, key: &K) {
        self.shared.limiter.forget(key);
    }

    /// Failures of `key` since the last [`Self::forget`].
    pub fn num_requeues(&self, key: &K) -> u32 {
        self.shared.limiter.num_requeues(key)
    }

    /// Waits for a key. `None` means the queue is shut down and empty. Call [`Self::done`] when finished with the key.
    /// Safe to drop while waiting: no key is lost.
    pub async fn get(&self) -> Option<K> {
        loop {
            let mut woken = pin!(self.shared.available.notified());
            // Register before looking, so that a key added in between wakes this worker.
            woken.as_mut().enable();
            let next_due = {
                let mut state = self.shared.state.lock();
                self.shared.move_due(&mut state);
                if let Some(key) = self.shared.take(&mut state) {
                    return Some(key);
                }
                if state.shutting_down {
                    return None;
                }
                state.delayed.first_key_value().map(|((at, _), _)| *at)
            };
            match next_due {
                Some(at) => {
                    tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => woken.await,
            }
        }
    }

    /// Takes a key if one is ready now.
    pub fn try_get(&self) -> Option<K> {
        let mut state = self.shared.state.lock();
        self.shared.move_due(&mut state);
        self.shared.take(&mut state)
    }

    /// Ends the work on `key`. If it was added again meanwhile, it is queued again now.
    pub fn done(&self, key: &K) {
        let mut state = self.shared.state.lock();
        if let Some(since) = state.processing.remove(key)
            && let Some(metrics) = &self.shared.metrics
        {
            metrics.work_duration.observe(since.elapsed().as_secs_f64());
        }
        if state.dirty.contains_key(key) {
            self.shared.push(&mut state, key.clone());
        }
        if state.processing.is_empty() {
            self.shared.idle.notify_waiters();
        }
    }

    /// Keys ready to be handed out. For information: it may change before the caller looks at it.
    pub fn len(&self) -> usize {
        let mut state = self.shared.state.lock();
        self.shared.move_due(&mut state);
        state.queue.len()
    }

    /// Whether no key is ready to be handed out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in nothing more; workers finish what is queued and then get `None`.
    pub fn shut_down(&self) {
        self.close(false);
        self.shared.idle.notify_waiters();
    }

    /// Like [`Self::shut_down`], and waits until every key in work is done. A later [`Self::shut_down`] ends the wait.
    pub async fn shut_down_with_drain(&self) {
        self.close(true);
        loop {
            let mut idle = pin!(self.shared.idle.notified());
            idle.as_mut().enable();
            {
                let state = self.shared.state.lock();
                if state.processing.is_empty() || !state.drain {
                    return;
                }
            }
            idle.await;
        }
    }

    fn close(&self, drain: bool) {
        let mut state = self.shared.state.lock();
        state.shutting_down = true;
        state.drain = drain;
        state.delayed.clear();
        state.due.clear();
        drop(state);
        self.shared.available.notify_waiters();
    }

    /// Whether shutdown has begun.
    pub fn is_shutting_down(&self) -> bool {
        self.shared.state.lock().shutting_down
    }

    /// Keys waiting for their delay, for tests and debugging.
    pub fn delayed(&self) -> HashSet<K> {
        self.shared.state.lock().due.keys().cloned().collect()
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Default for RateLimitingQueue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Shared<K> {
    fn add(&self, state: &mut State<K>, key: K) {
        if state.shutting_down || state.dirty.contains_key(&key) {
            return;
        }
        if let Some(metrics) = &self.metrics {
            metrics.adds.inc();
        }
        state.dirty.insert(key.clone(), Instant::now());
        if !state.processing.contains_key(&key) {
            self.push(state, key);
        }
    }

    fn push(&self, state: &mut State<K>, key: K) {
        state.queue.push_back(key);
        self.set_depth(state);
        self.available.notify_one();
    }

    fn take(&self, state: &mut State<K>) -> Option<K> {
        let key = state.queue.pop_front()?;
        let now = Instant::now();
        if let Some(added) = state.dirty.remove(&key)
            && let Some(metrics) = &self.metrics
        {
            metrics.queue_duration.observe((now - added).as_secs_f64());
        }
        state.processing.insert(key.clone(), now);
        self.set_depth(state);
        if !state.queue.is_empty() || !state.delayed.is_empty() {
            // More to hand out, or a timer this worker leaves behind: another worker takes over.
            self.available.notify_one();
        }
        Some(key)
    }

    fn move_due(&self, state: &mut State<K>) {
        if state.delayed.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(entry) = state.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            state.due.remove(&key);
            self.add(state, key);
        }
    }

    fn set_depth(&self, state: &State<K>) {
        if let Some(metrics) = &self.metrics {
            metrics.depth.set(state.queue.len() as i64);
        }
    }
}

impl<K: Send + Sync> InProgress for Shared<K> {
    fn running_seconds(&self) -> (f64, f64) {
        let state = self.state.lock();
        state
            .processing
            .values()
            .fold((0.0, 0.0), |(sum, longest), since| {
                let seconds = since.elapsed().as_secs_f64();
                (sum + seconds, f64::max(longest, seconds))
            })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn queue() -> RateLimitingQueue<&'static str> {
        RateLimitingQueue::new()
    }

    #[tokio::test]
    async fn a_key_is_never_worked_on_twice_at_once() {
        let queue = queue();
        queue.add("foo");
        let foo = queue.get().await.unwrap();
        queue.add("foo");
        queue.add("bar");
        assert_eq!(queue.get().await, Some("bar"));
        assert_eq!(queue.len(), 0, "foo is in work and must wait for done");
        queue.done(&foo);
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.get().await, Some("foo"));
        queue.done(&"foo");
        queue.done(&"bar");
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test]
    async fn keys_are_merged_and_kept_in_order() {
        let queue = queue();
        for key in ["a", "b", "a", "c", "b"] {
            queue.add(key);
        }
        assert_eq!(queue.len(), 3);
        let order = [queue.get().await, queue.get().await, queue.get().await].map(Option::unwrap);
        assert_eq!(order, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn done_of_an_unchanged_key_queues_nothing() {
        let queue = queue();
        queue.add("foo");
        queue.get().await.unwrap();
        queue.done(&"foo");
        assert!(queue.is_empty());
        queue.done(&"never seen");
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn shutdown_hands_out_what_is_queued_and_refuses_more() {
        let queue = queue();
        queue.add("foo");
        queue.shut_down();
        queue.add("bar");
        queue.add_after("baz", Duration::from_millis(1));
        assert_eq!(queue.get().await, Some("foo"));
        assert_eq!(queue.get().await, None);
        assert!(queue.is_shutting_down());
    }

    #[tokio::test]
    async fn shutdown_wakes_every_waiting_worker() {
        let queue = queue();
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.get().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.shut_down();
        for worker in workers {
            assert_eq!(worker.await.unwrap(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_key_comes_when_it_is_due() {
        let queue = queue();
        queue.add_after("foo", Duration::from_millis(50));
        assert_eq!(queue.len(), 0);
        tokio::time::advance(Duration::from_millis(49)).await;
        assert_eq!(queue.len(), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(queue.len(), 1);
        let started = Instant::now();
        assert_eq!(queue.get().await, Some("foo"));
        queue.done(&"foo");
        queue.add_after("foo", Duration::from_secs(7));
        assert_eq!(
            queue.get().await,
            Some("foo"),
            "a waiting worker wakes by itself"
        );
        assert_eq!(started.elapsed(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_delays_the_earlier_wins() {
        let queue = queue();
        queue.add_after("foo", Duration::from_millis(500));
        queue.add_after("foo", Duration::from_millis(50));
        queue.add_after("foo", Duration::from_millis(900));
        let started = Instant::now();
        assert_eq!(queue.get().await, Some("foo"));
        assert_eq!(started.elapsed(), Duration::from_millis(50));
        queue.done(&"foo");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(queue.len(), 0, "the later times are gone");
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_delay_shortens_a_wait_that_has_begun() {
        let queue = queue();
        queue.add_after("late", Duration::from_secs(100));
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move { (queue.get().await, Instant::now()) }
        });
        let started = Instant::now();
        tokio::task::yield_now().await;
        queue.add_after("early", Duration::from_secs(1));
        let (key, at) = worker.await.unwrap();
        assert_eq!((key, at - started), (Some("early"), Duration::from_secs(1)));
        assert_eq!(
            queue.get().await,
            Some("late"),
            "the timer passes to the next worker"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time() {
        let queue = queue();
        let mut waits = Vec::new();
        for _ in 0..4 {
            let started = Instant::now();
            queue.add_rate_limited("foo");
            queue.get().await.unwrap();
            queue.done(&"foo");
            waits.push(started.elapsed().as_millis());
        }
        assert_eq!(waits, [5, 10, 20, 40]);
        assert_eq!(queue.num_requeues(&"foo"), 4);
        queue.forget(&"foo");
        assert_eq!(queue.num_requeues(&"foo"), 0);
    }

    #[tokio::test]
    async fn drain_waits_for_work_and_shut_down_ends_the_wait() {
        let queue = queue();
        queue.add("foo");
        queue.get().await.unwrap();
        let draining = tokio::spawn({
            let queue = queue.clone();
            async move { queue.shut_down_with_drain().await }
        });
        tokio::task::yield_now().await;
        assert!(!draining.is_finished());
        queue.done(&"foo");
        draining.await.unwrap();

        let queue = self::queue();
        queue.add("bar");
        queue.get().await.unwrap();
        let draining = tokio::spawn({
            let queue = queue.clone();
            async move { queue.shut_down_with_drain().await }
        });
        tokio::task::yield_now().await;
        queue.shut_down();
        draining.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_producers_and_workers_lose_nothing() {
        let queue: RateLimitingQueue<u32> = RateLimitingQueue::new();
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let busy = Arc::new(Mutex::new(HashSet::new()));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let (queue, seen, busy) = (queue.clone(), seen.clone(), busy.clone());
                tokio::spawn(async move {
                    while let Some(key) = queue.get().await {
                        assert!(busy.lock().insert(key), "{key} was handed out twice");
                        tokio::task::yield_now().await;
                        busy.lock().remove(&key);
                        seen.lock().insert(key);
                        queue.done(&key);
                    }
                })
            })
            .collect();
        let producers: Vec<_> = (0..4u32)
            .map(|producer| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    for key in 0..200 {
                        queue.add(key);
                        queue.add_after(
                            1000 + producer * 200 + key,
                            Duration::from_millis(u64::from(key % 5)),
                        );
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for producer in producers {
            producer.await.unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while seen.lock().len() < 1000 {
            assert!(
                Instant::now() < deadline,
                "only {} of 1000 keys were seen",
                seen.lock().len()
            );
            tokio::task::yield_now().await;
        }
        queue.shut_down();
        for worker in workers {
            worker.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn metrics_follow_the_queue() {
        let registry = prometheus::Registry::new();
        let metrics = QueueMetrics::new(&registry).unwrap();
        let queue = RateLimitingQueue::named("test", &metrics);
        let value = |name: &str| -> f64 {
            let families = registry.gather();
            let family = families
                .iter()
                .find(|family| family.name() == name)
                .unwrap_or_else(|| panic!("no metric {name}"));
            let metric = &family.get_metric()[0];
            assert_eq!(metric.get_label()[0].value(), "test");
            metric.get_gauge().get_value()
                + metric.get_counter().get_value()
                + metric.get_histogram().get_sample_sum()
        };
        queue.add("a");
        queue.add("b");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(
            (value("workqueue_depth"), value("workqueue_adds_total")),
            (2.0, 2.0)
        );
        queue.get().await.unwrap();
        queue.get().await.unwrap();
        assert_eq!(value("workqueue_queue_duration_seconds"), 4.0);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(
            (
                value("workqueue_unfinished_work_seconds"),
                value("workqueue_longest_running_processor_seconds")
            ),
            (6.0, 3.0)
        );
        queue.done(&"a");
        queue.done(&"b");
        assert_eq!(
            (
                value("workqueue_unfinished_work_seconds"),
                value("workqueue_work_duration_seconds")
            ),
            (0.0, 6.0)
        );
        queue.add_rate_limited("a");
        assert_eq!(value("workqueue_retries_total"), 1.0);
    }
}
