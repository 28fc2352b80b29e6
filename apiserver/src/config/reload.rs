//! What is counted of configuration files that are followed. Upstream: the metrics packages beside
//! apiserver/pkg/server/options/{authenticationconfig,authorizationconfig} and apiserver/pkg/util/configmetrics.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use component_base::metrics::{CounterVec, GaugeVec, Metrics, Opts, Stability};

/// `sha256:` and the digest; nothing of nothing.
pub(crate) fn hash(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let digest = digest::digest(&digest::SHA256, data);
    let mut text = String::from("sha256:");
    for byte in digest.as_ref() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Of one file.
pub struct ReloadMetrics {
    total: CounterVec,
    last: GaugeVec,
    info: GaugeVec,
    server: String,
}

impl ReloadMetrics {
    /// `what` is configured: `authentication` or `authorization`. `server` is this server's name among its peers.
    pub fn new(metrics: &Metrics, what: &str, server: &str) -> Self {
        let opts = |name: &str, help: String| {
            Opts::new(format!("apiserver_{what}_config_controller_{name}"), help)
        };
        let by_status = |name: &str, help: &str| {
            let help =
                format!("{help} {what} configuration split by status and apiserver identity.");
            opts(name, help).stability(Stability::Beta)
        };
        let info = format!(
            "Information about the last applied {what} configuration with hash as label, split by apiserver identity."
        );
        Self {
            total: metrics.counter_vec(
                by_status(
                    "automatic_reloads_total",
                    "Total number of automatic reloads of",
                ),
                &["status", "apiserver_id_hash"],
            ),
            last: metrics.gauge_vec(
                by_status(
                    "automatic_reload_last_timestamp_seconds",
                    "Timestamp of the last automatic reload of",
                ),
                &["status", "apiserver_id_hash"],
            ),
            info: metrics.gauge_vec(
                opts("last_config_info", info),
                &["apiserver_id_hash", "hash"],
            ),
            server: hash(server.as_bytes()),
        }
    }

    /// This text is what counts now.
    pub fn applied(&self, text: &[u8]) {
        self.info.reset();
        self.info
            .with_label_values(&[&*self.server, &hash(text)])
            .set(1.0);
    }

    /// A changed file was taken over, or could not be.
    pub fn count(&self, worked: bool) {
        let labels = [if worked { "success" } else { "failure" }, &*self.server];
        self.total.with_label_values(&labels).inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last
            .with_label_values(&labels)
            .set(now.map_or(0.0, |now| now.as_secs_f64()));
    }
}
