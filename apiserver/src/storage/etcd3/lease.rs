//! Leases for objects with a time to live. Upstream: etcd3/lease_manager.go.
//!
//! Granting a lease is expensive and nearly all such objects are Events with one time to live: only the last lease is
//! remembered and reused while it lasts long enough.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::storage::error::Error;
use crate::storage::etcd3::client::EtcdClient;
use crate::storage::etcd3::config::LeaseConfig;
use crate::storage::metrics::StorageMetrics;

/// Share of the time to live that a lease may be longer than asked for.
const REUSE_FRACTION: f64 = 0.05;

pub(crate) struct LeaseManager {
    client: Arc<EtcdClient>,
    metrics: Arc<StorageMetrics>,
    config: LeaseConfig,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    id: i64,
    expires: Option<Instant>,
    objects: u64,
}

impl LeaseManager {
    pub(crate) fn new(
        client: Arc<EtcdClient>,
        metrics: Arc<StorageMetrics>,
        mut config: LeaseConfig,
    ) -> Self {
        if config.max_object_count == 0 {
            config.max_object_count = LeaseConfig::default().max_object_count;
        }
        Self {
            client,
            metrics,
            config,
            last: Mutex::default(),
        }
    }

    /// A lease that lives at least `ttl` and not much longer.
    pub(crate) async fn lease(&self, ttl: Duration) -> Result<i64, Error> {
        let ttl = Duration::from_secs(ttl.as_secs().max(1));
        let reuse = reuse_duration(ttl, self.config.reuse_duration);
        let mut last = self.last.lock().await;
        let now = Instant::now();
        // Failed writes count too, as upstream: the number is a bound, not a statistic.
        last.objects += 1;
        if let Some(expires) = last.expires
            && now + ttl < expires
            && now + ttl + reuse > expires
            && last.objects <= self.config.max_object_count
        {
            return Ok(last.id);
        }
        let seconds = i64::try_from((ttl + reuse).as_secs()).unwrap_or(i64::MAX);
        let granted = self
            .client
            .write(|endpoint| {
                let mut lease = endpoint.lease.clone();
                async move { lease.grant(seconds, None).await }
            })
            .await
            .map_err(|error| error.into_write_error("grant a lease"))?;
        last.id = granted.id();
        last.expires = Some(now + ttl + reuse);
        self.metrics.observe_lease_objects(last.objects);
        last.objects = 1;
        Ok(last.id)
    }
}

/// Whole seconds: the smaller of 5 % of the time to live and the limit.
fn reuse_duration(ttl: Duration, limit: Duration) -> Duration {
    Duration::from_secs((ttl.as_secs() as f64 * REUSE_FRACTION) as u64).min(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases of upstream's TestGetReuseDurationSecondsLocked (duration limit 60 s).
    #[test]
    fn reuse_is_the_smaller_of_share_and_limit() {
        for (ttl, limit, expected) in [
            (3600, 60, 60),
            (1000, 60, 50),
            (50, 60, 2),
            (15, 60, 0),
            (3600, 200, 180),
        ] {
            let (ttl, limit) = (Duration::from_secs(ttl), Duration::from_secs(limit));
            assert_eq!(reuse_duration(ttl, limit).as_secs(), expected, "{ttl:?}");
        }
    }
}
