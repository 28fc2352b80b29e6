//! What is counted of manifests. Upstream: plugin/manifest/metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use component_base::metrics::{CounterVec, GaugeVec, Metrics, Opts};
use parking_lot::Mutex;

use crate::config::reload::hash;

/// Of all plugins.
#[derive(Clone)]
pub struct ManifestMetrics {
    total: CounterVec,
    last: GaugeVec,
    info: GaugeVec,
    /// The hash of this server's name among its peers.
    server: String,
    /// The hash of what each plugin goes by.
    current: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl ManifestMetrics {
    /// `server` is this server's name among its peers.
    pub fn new(metrics: &Metrics, server: &str) -> Self {
        let opts = |name: &str, help: &str| {
            let name = format!("apiserver_manifest_admission_config_controller_{name}");
            Opts::new(name, help)
        };
        let labels = ["status", "plugin", "apiserver_id_hash"];
        let total = opts(
            "automatic_reloads_total",
            "Total number of automatic reloads of admission manifest configuration split by status, plugin, and apiserver identity.",
        );
        let last = opts(
            "automatic_reload_last_timestamp_seconds",
            "Timestamp of the last automatic reload of admission manifest configuration split by status, plugin, and apiserver identity.",
        );
        let info = opts(
            "last_config_info",
            "Information about the last applied admission manifest configuration with hash as label, split by plugin and apiserver identity.",
        );
        Self {
            total: metrics.counter_vec(total, &labels),
            last: metrics.gauge_vec(last, &labels),
            info: metrics.gauge_vec(info, &["plugin", "apiserver_id_hash", "hash"]),
            server: hash(server.as_bytes()),
            current: Arc::default(),
        }
    }

    fn count(&self, plugin: &str, status: &str) {
        let labels = [status, plugin, &*self.server];
        self.total.with_label_values(&labels).inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last
            .with_label_values(&labels)
            .set(now.map_or(0.0, |now| now.as_secs_f64()));
    }

    /// A plugin's manifests could not be taken over.
    pub(super) fn failed(&self, plugin: &'static str) {
        self.count(plugin, "failure");
    }

    /// A plugin goes by the manifests with this hash.
    pub(super) fn applied(&self, plugin: &'static str, hash: &str) {
        self.count(plugin, "success");
        if self.server.is_empty() {
            return;
        }
        let mut current = self.current.lock();
        if let Some(before) = current.insert(plugin, hash.to_owned()) {
            // There is none where it has just been reset.
            let _ = self
                .info
                .remove_label_values(&[plugin, &self.server, &before]);
        }
        self.info
            .with_label_values(&[plugin, &*self.server, hash])
            .set(1.0);
    }
}
