//! What is counted of JWT authenticators. Upstream: apiserver/plugin/pkg/authenticator/token/oidc/metrics.go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use component_base::metrics::{GaugeVec, HistogramVec, Metrics, Opts};
use parking_lot::Mutex;

use crate::config::reload::hash;

/// Clones count together.
#[derive(Clone)]
pub struct OidcMetrics {
    latency: HistogramVec,
    fetched: GaugeVec,
    key_set: GaugeVec,
    /// The hash shown for each issuer's hash.
    shown: Arc<Mutex<HashMap<String, String>>>,
    server: String,
}

impl OidcMetrics {
    /// `server` is the name of this server among its peers.
    pub fn new(metrics: &Metrics, server: &str) -> Self {
        Self {
            latency: metrics.histogram_vec(
                Opts::new("apiserver_authentication_jwt_authenticator_latency_seconds", "Latency of jwt authentication operations in seconds. This is the time spent authenticating a token for cache miss only (i.e. when the token is not found in the cache).")
                    .buckets(vec![0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
                &["result", "jwt_issuer_hash"],
            ),
            fetched: metrics.gauge_vec(
                Opts::new("apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds", "Timestamp of the last successful or failed JWKS fetch split by result, api server identity and jwt issuer for the JWT authenticator."),
                &["result", "jwt_issuer_hash", "apiserver_id_hash"],
            ),
            key_set: metrics.gauge_vec(
                Opts::new("apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info", "Information about the last JWKS fetched by the JWT authenticator with hash as label, split by api server identity and jwt issuer."),
                &["jwt_issuer_hash", "apiserver_id_hash", "hash"],
            ),
            shown: Arc::default(),
            server: hash(server.as_bytes()),
        }
    }

    pub(super) fn authenticated(&self, issuer_hash: &str, worked: bool, took: Duration) {
        self.latency
            .with_label_values(&[result(worked), issuer_hash])
            .observe(took.as_secs_f64());
    }

    /// A key set was fetched, or could not be.
    pub(super) fn fetched(&self, issuer_hash: &str, key_set: Option<&[u8]>) {
        if let Some(key_set) = key_set {
            let new = hash(key_set);
            let mut shown = self.shown.lock();
            let old = shown.insert(issuer_hash.to_owned(), new.clone());
            if let Some(old) = old.filter(|old| *old != new) {
                let _ = self
                    .key_set
                    .remove_label_values(&[issuer_hash, &self.server, &old]);
            }
            self.key_set
                .with_label_values(&[issuer_hash, &*self.server, &new])
                .set(1.0);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.fetched
            .with_label_values(&[result(key_set.is_some()), issuer_hash, &*self.server])
            .set(now.map_or(0.0, |now| now.as_secs_f64()));
    }

    /// An issuer is not configured any more.
    pub(super) fn forget(&self, issuer: &str) {
        let issuer = hash(issuer.as_bytes());
        if let Some(shown) = self.shown.lock().remove(&issuer) {
            let _ = self
                .key_set
                .remove_label_values(&[&issuer, &self.server, &shown]);
        }
        for worked in [true, false] {
            let _ = self
                .fetched
                .remove_label_values(&[result(worked), &issuer, &self.server]);
        }
    }
}

fn result(worked: bool) -> &'static str {
    if worked { "success" } else { "failure" }
}
