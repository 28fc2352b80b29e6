//! Encryption at rest, as the file of `--encryption-provider-config` says. Upstream: server/options/encryptionconfig,
//! storage/value/encrypt.
//!
//! Invariants
//! - Stored bytes are upstream's: either server reads what the other one wrote.
//! - The first provider and its first key write; all of a resource's providers read; what another one than the first
//!   wrote is written again with the next update, even one that changes nothing.
//! - Errors and logs name resources and keys of etcd, never values or secrets.
//! - A resource that nothing encrypts has no transformer of this module.

mod chain;
mod ciphers;
mod config;
mod kms;
mod kms_v1;
mod metrics;
mod reload;
mod validation;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use component_base::auth::BoxFuture;
use component_base::healthz::HealthCheck;
use component_base::metrics::Metrics;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::chain::Chain;
use self::ciphers::Place;
use self::config::Loaded;
use self::metrics::EncryptionMetrics;
use super::transformer::{Identity, TransformError, Transformer};

/// The configuration of a server, and who uses it.
pub struct Encryption {
    path: PathBuf,
    reload: bool,
    current: ArcSwap<Loaded>,
    /// Transformers of resources, to be told of another configuration. Custom resources come and go.
    users: Mutex<Vec<Weak<ResourceTransformer>>>,
    metrics: Arc<EncryptionMetrics>,
    stop: CancellationToken,
}

impl Encryption {
    /// Reads the configuration at `path`. `reload`: the file will be followed. Key services are asked once; they need not
    /// answer yet. `server_id` is this server's name in metrics.
    pub async fn load(
        path: &Path,
        reload: bool,
        server_id: &str,
        metrics: &Metrics,
        stop: &CancellationToken,
    ) -> Result<Arc<Encryption>, String> {
        let metrics = EncryptionMetrics::new(metrics, server_id);
        let loaded = config::load(path, reload, &metrics, stop.child_token()).await?;
        metrics.applied(&loaded.hash);
        Ok(Arc::new(Encryption {
            path: path.to_owned(),
            reload,
            current: ArcSwap::from_pointee(loaded),
            users: Mutex::default(),
            metrics,
            stop: stop.clone(),
        }))
    }

    /// Shows the metrics of a server that encrypts nothing, which upstream does too.
    pub fn off(server_id: &str, metrics: &Metrics) {
        EncryptionMetrics::new(metrics, server_id);
    }

    /// What a resource's values go through; `None` when they are stored as they are and that cannot change.
    pub fn transformer(&self, group: &str, resource: &str) -> Option<Arc<dyn Transformer>> {
        // Under the lock, so that no change of the configuration is missed.
        let mut users = self.users.lock();
        let chain = self.current.load().rule(group, resource).cloned();
        if chain.is_none() && !self.reload {
            return None;
        }
        let name = if group.is_empty() {
            resource.to_owned()
        } else {
            format!("{resource}.{group}")
        };
        let transformer = Arc::new(ResourceTransformer {
            group: group.to_owned(),
            resource: resource.to_owned(),
            name,
            chain: ArcSwapOption::new(chain),
        });
        if self.reload {
            users.retain(|user| user.strong_count() > 0);
            users.push(Arc::downgrade(&transformer));
        }
        Some(transformer)
    }

    /// The checks of `/healthz` and `/readyz`: one for all key services where these may change, and where all are of KMS v2; one for each
    /// otherwise.
    pub fn health_checks(self: &Arc<Self>) -> Vec<Arc<dyn HealthCheck>> {
        let current = self.current.load();
        if self.reload || current.uses.contains("v2") && !current.uses.contains("v1") {
            return vec![self.clone()];
        }
        let probes = current.probes.iter().enumerate();
        let check = |(index, probe): (usize, &Arc<dyn HealthCheck>)| {
            let (name, probe) = (format!("kms-provider-{index}"), probe.clone());
            Arc::new(ProviderCheck { name, probe }) as Arc<dyn HealthCheck>
        };
        probes.map(check).collect()
    }

    /// Whether the file is followed.
    pub fn reloads(&self) -> bool {
        self.reload
    }
}

/// `kms-provider-N`: one key service.
struct ProviderCheck {
    name: String,
    probe: Arc<dyn HealthCheck>,
}

impl HealthCheck for ProviderCheck {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        self.probe.check()
    }
}

/// `kms-providers`: all key services of the current configuration.
impl HealthCheck for Encryption {
    fn name(&self) -> &str {
        "kms-providers"
    }

    fn check(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.current.load_full().check().await })
    }
}

impl Loaded {
    /// Whether all key services are well.
    async fn check(&self) -> Result<(), String> {
        let mut errors = Vec::new();
        for (index, probe) in self.probes.iter().enumerate() {
            if let Err(why) = probe.check().await {
                errors.push(format!("kms-provider-{index}: {why}"));
            }
        }
        apimachinery::field::aggregate(errors).map_or(Ok(()), Err)
    }
}

/// What counts for one resource now.
struct ResourceTransformer {
    group: String,
    resource: String,
    /// `resource.group`
    name: String,
    /// `None`: stored as it is.
    chain: ArcSwapOption<Chain>,
}

impl Transformer for ResourceTransformer {
    fn to_storage(&self, key: &str, plain: Bytes) -> Result<Bytes, TransformError> {
        match &*self.chain.load() {
            Some(chain) => chain.write(self.place(key), plain),
            None => Ok(plain),
        }
    }

    fn from_storage(&self, key: &str, stored: Bytes) -> Result<(Bytes, bool), TransformError> {
        match &*self.chain.load() {
            Some(chain) => chain.read(self.place(key), stored),
            None => Identity.from_storage(key, stored),
        }
    }
}

impl ResourceTransformer {
    fn place<'a>(&'a self, key: &'a str) -> Place<'a> {
        Place {
            resource: &self.name,
            key,
        }
    }
}

#[cfg(test)]
mod tests;
