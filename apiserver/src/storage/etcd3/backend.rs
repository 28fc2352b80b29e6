//! One etcd cluster with everything that all resources stored in it share.
//! Upstream: storagebackend/factory/etcd3.go.

use std::sync::{Arc, Weak};
use std::time::Duration;

use etcd_client::GetOptions;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::storage::cacher::cache::Cache;
use crate::storage::cacher::consistency;
use crate::storage::error::Error;
use crate::storage::etcd3::client::EtcdClient;
use crate::storage::etcd3::compact::{self, COMPACT_REV_KEY, CompactRevision};
use crate::storage::etcd3::config::EtcdConfig;
use crate::storage::etcd3::connect::DIAL_TIMEOUT;
pub use crate::storage::etcd3::hub::EtcdVersion;
use crate::storage::etcd3::hub::Hub;
use crate::storage::etcd3::lease::LeaseManager;
use crate::storage::etcd3::revision::RevisionReader;
use crate::storage::etcd3::store::Store;
use crate::storage::key::{Keys, normalize_prefix};
use crate::storage::metrics::{ResourceMetrics, StorageMetrics};
use crate::storage::options::ResourceConfig;
use crate::storage::resource::Storage;

/// How often what has become history is packed.
const PACK_PERIOD: Duration = Duration::from_millis(250);

/// A connection to one etcd cluster. Cheap to clone.
#[derive(Clone)]
pub struct Backend {
    inner: Arc<Inner>,
}

struct Inner {
    config: EtcdConfig,
    prefix: String,
    client: Arc<EtcdClient>,
    revisions: Arc<RevisionReader>,
    leases: Arc<LeaseManager>,
    compacted: Arc<CompactRevision>,
    hub: Arc<Hub>,
    /// Resources without a cache whose objects are counted in etcd.
    uncached: Mutex<Vec<Weak<Store>>>,
    metrics: Arc<StorageMetrics>,
    token: CancellationToken,
}

impl Backend {
    /// Checks the configuration and reads the TLS files. Connects when first used. Everything started from it ends with
    /// the token.
    pub fn new(
        config: EtcdConfig,
        metrics: Arc<StorageMetrics>,
        token: CancellationToken,
    ) -> Result<Self, Error> {
        let prefix = normalize_prefix(&config.prefix)?;
        let client = Arc::new(EtcdClient::new(&config)?);
        let revisions = RevisionReader::new(Arc::clone(&client), &prefix);
        let leases = Arc::new(LeaseManager::new(
            Arc::clone(&client),
            Arc::clone(&metrics),
            config.lease.clone(),
        ));
        let compacted = Arc::new(CompactRevision::default());
        let hub = Arc::new(Hub::new(
            Arc::clone(&client),
            Arc::clone(&revisions),
            Arc::clone(&compacted),
            prefix.clone(),
        ));
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                prefix,
                client,
                revisions,
                leases,
                compacted,
                hub,
                uncached: Mutex::default(),
                metrics,
                token,
            }),
        })
    }

    /// Waits until etcd answers, for as long as upstream does; then the start has failed.
    pub async fn connected(&self) -> Result<(), Error> {
        self.inner.client.connected(DIAL_TIMEOUT).await
    }

    /// Starts the watch that feeds the caches, compaction and the size metrics. Call it once, inside a runtime.
    pub fn start(&self) {
        let inner = &self.inner;
        tokio::spawn(Arc::clone(&inner.hub).run(inner.token.clone()));
        let (token, backend) = (inner.token.clone(), self.clone());
        tokio::spawn(async move {
            let _ = token.run_until_cancelled(backend.pack_histories()).await;
        });
        if !inner.config.compaction_interval.is_zero() {
            tokio::spawn(compact::run(
                Arc::clone(&inner.client),
                inner.config.compaction_interval,
                Arc::clone(&inner.compacted),
                inner.token.clone(),
            ));
        }
        let period = inner.config.consistency_check_period;
        if !period.is_zero() {
            let (token, hub) = (inner.token.clone(), Arc::clone(&inner.hub));
            tokio::spawn(async move {
                let _ = token
                    .run_until_cancelled(consistency::run(hub, period))
                    .await;
            });
        }
        let token = inner.token.clone();
        let backend = self.clone();
        tokio::spawn(async move {
            let _ = token.run_until_cancelled(backend.learn_compaction()).await;
        });
        if !inner.config.db_metric_poll_interval.is_zero() {
            let (token, backend) = (inner.token.clone(), self.clone());
            tokio::spawn(async move {
                let _ = token
                    .run_until_cancelled(backend.poll_database_size())
                    .await;
            });
        }
        if !inner.config.count_metric_poll_period.is_zero() {
            let (token, backend) = (inner.token.clone(), self.clone());
            tokio::spawn(async move {
                let _ = token.run_until_cancelled(backend.poll_counts()).await;
            });
        }
    }

    /// The storage of one resource. A cached one begins to fill at once; call it inside a runtime.
    pub fn storage(&self, config: ResourceConfig) -> Result<Storage, Error> {
        let inner = &self.inner;
        let keys = Keys::new(&inner.config.prefix, &config.prefix, config.namespaced)?;
        let metrics = Arc::new(ResourceMetrics::new(
            Arc::clone(&inner.metrics),
            &config.group,
            &config.resource,
        ));
        let cached = config.watch_cache;
        let period = inner.config.count_metric_poll_period;
        let store = Arc::new(Store {
            client: Arc::clone(&inner.client),
            leases: Arc::clone(&inner.leases),
            revisions: Arc::clone(&inner.revisions),
            config,
            keys,
            metrics,
        });
        let token = inner.token.child_token();
        if cached && !inner.config.consistency_check_period.is_zero() {
            let (group, resource) = (&store.config.group, &store.config.resource);
            debug!(v = 3, group, resource, "Cache consistency check start");
        }
        let cache = if cached {
            let cache = Cache::new(
                Arc::clone(&store),
                Arc::clone(&inner.hub.clock),
                inner.config.events_history_window,
                inner.config.events_history_bytes,
                token.clone(),
            );
            inner.hub.attach(store.keys.root(), Arc::clone(&cache))?;
            tokio::spawn({
                let (cache, hub, root) = (
                    Arc::clone(&cache),
                    Arc::clone(&inner.hub),
                    Arc::clone(store.keys.root()),
                );
                async move {
                    Arc::clone(&cache).run().await;
                    hub.detach(&root, &cache);
                }
            });
            if !period.is_zero() {
                let (token, cache) = (token.clone(), Arc::clone(&cache));
                tokio::spawn(token.run_until_cancelled_owned(async move {
                    let _ = cache.wait_ready(period).await;
                    tell_size_of_cached(&cache);
                }));
            }
            Some(cache)
        } else {
            if store.config.counted {
                inner.uncached.lock().push(Arc::downgrade(&store));
                if !period.is_zero() {
                    let (token, store) = (token.clone(), Arc::clone(&store));
                    tokio::spawn(token.run_until_cancelled_owned(async move {
                        tell_size_of_uncached(&store).await;
                    }));
                }
            }
            None
        };
        Ok(Storage::new(
            store,
            cache,
            Arc::clone(&inner.compacted),
            token,
        ))
    }

    /// The version of the member in use.
    pub async fn version(&self) -> Result<EtcdVersion, Error> {
        let status = self
            .inner
            .client
            .read(|endpoint| {
                let mut maintenance = endpoint.maintenance.clone();
                async move { maintenance.status().await }
            })
            .await
            .map_err(|error| error.into_read_error("status"))?;
        EtcdVersion::parse(status.version())
            .ok_or_else(|| Error::internal(format!("etcd: unknown version {:?}", status.version())))
    }

    /// Reads the version and logs it; fails for an etcd too old to work with.
    pub async fn check_version(&self) -> Result<EtcdVersion, Error> {
        let version = self.version().await?;
        if version
            < (EtcdVersion {
                major: 3,
                minor: 4,
                patch: 0,
            })
        {
            return Err(Error::internal(format!(
                "etcd {version} is too old: 3.4 or newer is needed"
            )));
        }
        if version
            < (EtcdVersion {
                major: 3,
                minor: 5,
                patch: 24,
            })
        {
            warn!(%version, "etcd is older than the oldest version this release is supported with (3.5.24)");
        } else {
            info!(%version, "etcd");
        }
        Ok(version)
    }

    /// A revision at least as new as all writes acknowledged before the call. Concurrent callers share reads.
    pub async fn current_revision(&self) -> Result<u64, Error> {
        self.inner.revisions.current().await
    }

    /// Whether etcd answers a quorum read: the checks "etcd" (`--etcd-healthcheck-timeout`) and "etcd-readiness"
    /// (`--etcd-readycheck-timeout`).
    pub async fn health(&self, timeout: Duration) -> Result<(), Error> {
        let key = format!("{}health", self.inner.prefix);
        let (index, endpoint) = self.inner.client.endpoint();
        let mut kv = endpoint.kv.clone();
        match tokio::time::timeout(timeout, kv.get(key, None)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                self.inner.client.failed(index);
                Err(Error::Unreachable {
                    message: format!("error getting data from etcd: {error}"),
                })
            }
            Err(_) => {
                self.inner.client.failed(index);
                Err(Error::Unreachable {
                    message: "error getting data from etcd: context deadline exceeded".to_owned(),
                })
            }
        }
    }

    /// The newest revision known to be compacted, 0 when none is.
    pub fn compact_revision(&self) -> u64 {
        self.inner.compacted.get()
    }

    /// The revision all caches have reached, 0 before the first.
    pub fn cache_revision(&self) -> u64 {
        self.inner.hub.clock.revision()
    }

    /// What others compacted before we started; the hub sees the rest.
    async fn learn_compaction(&self) {
        let read = self.inner.client.read(|endpoint| {
            let mut kv = endpoint.kv.clone();
            async move { kv.get(COMPACT_REV_KEY, Some(GetOptions::new())).await }
        });
        match read.await {
            Ok(response) => {
                if let Some(kv) = response.kvs().first() {
                    self.inner.compacted.observe_value(kv.value());
                }
            }
            Err(error) => warn!(%error, "etcd: cannot read {COMPACT_REV_KEY}"),
        }
    }

    async fn poll_database_size(&self) {
        loop {
            for (number, endpoint) in self.inner.client.endpoints().iter().enumerate() {
                let mut maintenance = endpoint.maintenance.clone();
                if let Ok(Ok(status)) =
                    tokio::time::timeout(Duration::from_secs(10), maintenance.status()).await
                {
                    self.inner
                        .metrics
                        .set_storage_size(&format!("etcd-{number}"), status.db_size() as f64);
                }
            }
            let pause = self.inner.config.db_metric_poll_interval;
            tokio::time::sleep(pause.mul_f64(1.0 + rand::random::<f64>() * 0.5)).await;
        }
    }

    async fn pack_histories(&self) {
        let mut ticks = tokio::time::interval(PACK_PERIOD);
        loop {
            ticks.tick().await;
            for cache in self.inner.hub.caches() {
                cache.pack_history().await;
            }
        }
    }

    /// Those that are still served.
    fn uncached(&self) -> Vec<Arc<Store>> {
        let mut uncached = self.inner.uncached.lock();
        uncached.retain(|store| store.strong_count() > 0);
        uncached.iter().filter_map(Weak::upgrade).collect()
    }

    /// The first count is each storage's own.
    async fn poll_counts(&self) {
        loop {
            tokio::time::sleep(self.inner.config.count_metric_poll_period).await;
            for cache in self.inner.hub.caches() {
                tell_size_of_cached(&cache);
            }
            for store in self.uncached() {
                tell_size_of_uncached(&store).await;
            }
        }
    }
}

fn tell_size_of_cached(cache: &Cache) {
    match cache.check_ready() {
        Ok(_) => {
            let (count, bytes) = cache.size();
            cache.store.metrics.set_objects(Some(count), Some(bytes));
        }
        Err(_) => cache.store.metrics.set_objects(None, None),
    }
}

async fn tell_size_of_uncached(store: &Store) {
    let count = store.count().await.ok();
    // As upstream: sizes are known of what is cached.
    let bytes = count.filter(|count| *count == 0);
    store.metrics.set_objects(count, bytes);
}
