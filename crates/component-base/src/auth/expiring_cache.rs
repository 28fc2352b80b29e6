//! Answers of the apiserver that are good for a while. Upstream: authentication/token/cache, the webhook authorizer's LRU.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Values by key, each with its own end. Callers that ask for the same key at once share one fetch.
pub struct ExpiringCache<K, V> {
    entries: Mutex<HashMap<K, Arc<Slot<V>>>>,
    capacity: usize,
}

type Slot<V> = tokio::sync::Mutex<Option<(V, Instant)>>;

impl<K: Hash + Eq + Clone, V: Clone> ExpiringCache<K, V> {
    /// With room for so many keys.
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: Mutex::new(HashMap::new()),
            capacity,
        }
    }

    /// The value in the cache, or else what `fetch` gives, which is kept for the time it says (zero: not kept).
    pub async fn get_or_fetch<E, F, Fut>(&self, key: &K, fetch: F) -> Result<V, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<(V, Duration), E>>,
    {
        let slot = self.slot(key);
        let mut slot = slot.lock().await;
        if let Some((value, until)) = &*slot
            && *until > Instant::now()
        {
            return Ok(value.clone());
        }
        let (value, keep) = fetch().await?;
        *slot = (!keep.is_zero()).then(|| (value.clone(), Instant::now() + keep));
        Ok(value)
    }

    fn slot(&self, key: &K) -> Arc<Slot<V>> {
        let mut entries = self.entries.lock();
        if let Some(slot) = entries.get(key) {
            return slot.clone();
        }
        if entries.len() >= self.capacity {
            let now = Instant::now();
            // A slot that is locked is being fetched: it stays.
            entries.retain(|_, slot| match slot.try_lock() {
                Ok(slot) => slot.as_ref().is_some_and(|(_, until)| *until > now),
                Err(_) => true,
            });
            if entries.len() >= self.capacity {
                entries.clear();
            }
        }
        let slot = Arc::new(Slot::new(None));
        entries.insert(key.clone(), slot.clone());
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn ask(
        cache: &ExpiringCache<u32, usize>,
        key: u32,
        calls: &AtomicUsize,
        keep: u64,
    ) -> Result<usize, ()> {
        cache
            .get_or_fetch(&key, || async {
                let call = calls.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok((call, Duration::from_secs(keep)))
            })
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn values_are_shared_and_expire() {
        let cache = ExpiringCache::new(2);
        let calls = AtomicUsize::new(0);
        let (a, b) = tokio::join!(ask(&cache, 1, &calls, 10), ask(&cache, 1, &calls, 10));
        assert_eq!((a, b), (Ok(0), Ok(0)));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(ask(&cache, 1, &calls, 10).await, Ok(0));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(ask(&cache, 1, &calls, 10).await, Ok(1));
        assert_eq!(ask(&cache, 2, &calls, 0).await, Ok(2));
        assert_eq!(ask(&cache, 2, &calls, 0).await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_not_kept_and_room_is_made() {
        let cache: ExpiringCache<u32, u32> = ExpiringCache::new(2);
        assert_eq!(
            cache.get_or_fetch(&1, || async { Err("down") }).await,
            Err("down")
        );
        for key in 0..10 {
            let value = cache
                .get_or_fetch(&key, || async {
                    Ok::<_, ()>((key, Duration::from_secs(5)))
                })
                .await;
            assert_eq!(value, Ok(key));
        }
        assert!(cache.entries.lock().len() <= 2);
    }
}
