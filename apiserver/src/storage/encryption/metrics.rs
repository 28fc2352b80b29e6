//! Metrics of encryption at rest, with upstream's names. Upstream: storage/value/metrics.go, envelope/metrics,
//! encryptionconfig/metrics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use component_base::metrics::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, Metrics, Opts,
    exponential_buckets,
};
use parking_lot::Mutex;

use crate::storage::transformer::TransformError;

/// Key IDs that have series of their own: no more than these.
const KEY_IDS: usize = 100;

/// All families.
pub(super) struct EncryptionMetrics {
    durations: HistogramVec,
    operations: CounterVec,
    /// Of KMS v1, as the next one.
    pub(super) cache_fill: Gauge,
    arrivals: HistogramVec,
    last_arrivals: Mutex<BTreeMap<&'static str, Instant>>,
    pub(super) cache_misses: Counter,
    pub(super) data_key_generation: Histogram,
    pub(super) data_key_failures: Counter,
    pub(super) kms_operations: HistogramVec,
    key_id_total: CounterVec,
    key_id_last: GaugeVec,
    key_id_status: GaugeVec,
    pub(super) invalid_key_ids: CounterVec,
    pub(super) cache_size: GaugeVec,
    reloads: CounterVec,
    reload_last: GaugeVec,
    config_info: GaugeVec,
    /// `sha256:` and the hash of this server's identity.
    server: String,
    used: Mutex<VecDeque<[String; 3]>>,
    reported: Mutex<VecDeque<[String; 2]>>,
    applied: Mutex<Option<String>>,
}

/// Counts the uses of one key ID in one direction.
#[derive(Clone)]
pub(super) struct KeyIdUse {
    total: Counter,
    last: Gauge,
}

impl KeyIdUse {
    pub(super) fn record(&self) {
        self.total.inc();
        self.last.set(now());
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}

/// `sha256:` and the hash in hex; nothing of nothing. Upstream: GetHashIfNotEmpty.
pub(super) fn hash_text(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
    let hex: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// Remembers a set of labels; gives back the one that is too many.
fn remember<const N: usize>(
    known: &mut VecDeque<[String; N]>,
    labels: [String; N],
) -> Option<[String; N]> {
    if let Some(at) = known.iter().position(|have| *have == labels) {
        known.remove(at);
    }
    known.push_back(labels);
    (known.len() > KEY_IDS).then(|| known.pop_front()).flatten()
}

impl EncryptionMetrics {
    pub(super) fn new(metrics: &Metrics, server_id: &str) -> Arc<Self> {
        let envelope = |name: &str, help: &str| {
            Opts::new(format!("apiserver_envelope_encryption_{name}"), help)
        };
        let storage = |name: &str, help: &str| Opts::new(format!("apiserver_storage_{name}"), help);
        let config = |name: &str, help: &str| {
            Opts::new(
                format!("apiserver_encryption_config_controller_{name}"),
                help,
            )
        };
        Arc::new(Self {
            durations: metrics.histogram_vec(
                storage("transformation_duration_seconds", "Latencies in seconds of value transformation operations.")
                    .buckets(exponential_buckets(5e-6, 2.0, 25)),
                &["transformation_type", "transformer_prefix"],
            ),
            operations: metrics.counter_vec(
                storage("transformation_operations_total", "Total number of transformations. Successful transformation will have a status 'OK' and a varied status string when the transformation fails. The status, resource, and transformation_type fields can be used for alerting purposes. For example, you can monitor for encryption/decryption failures using the transformation_type (e.g., from_storage for decryption and to_storage for encryption). Additionally, these fields can be used to ensure that the correct transformers are applied to each resource."),
                &["resource", "transformation_type", "transformer_prefix", "status"],
            ),
            cache_fill: metrics.gauge(envelope(
                "dek_cache_fill_percent",
                "Percent of the cache slots currently occupied by cached DEKs.",
            )),
            arrivals: metrics.histogram_vec(
                envelope("dek_cache_inter_arrival_time_seconds", "Time (in seconds) of inter arrival of transformation requests.")
                    .buckets(exponential_buckets(60.0, 2.0, 10)),
                &["transformation_type"],
            ),
            cache_misses: metrics.counter(storage(
                "envelope_transformation_cache_misses_total",
                "Total number of cache misses while accessing key decryption key(KEK).",
            )),
            data_key_generation: metrics.histogram(
                storage("data_key_generation_duration_seconds", "Latencies in seconds of data encryption key(DEK) generation operations.")
                    .buckets(exponential_buckets(5e-6, 2.0, 14)),
            ),
            data_key_failures: metrics.counter(storage(
                "data_key_generation_failures_total",
                "Total number of failed data encryption key(DEK) generation operations.",
            )),
            kms_operations: metrics.histogram_vec(
                envelope("kms_operations_latency_seconds", "KMS operation duration with gRPC error code status total.")
                    .buckets(exponential_buckets(0.0001, 2.0, 20)),
                &["provider_name", "method_name", "grpc_status_code"],
            ),
            key_id_total: metrics.counter_vec(
                envelope("key_id_hash_total", "Number of times a keyID is used split by transformation type, provider, and apiserver identity."),
                &["transformation_type", "provider_name", "key_id_hash", "apiserver_id_hash"],
            ),
            key_id_last: metrics.gauge_vec(
                envelope("key_id_hash_last_timestamp_seconds", "The last time in seconds when a keyID was used."),
                &["transformation_type", "provider_name", "key_id_hash", "apiserver_id_hash"],
            ),
            key_id_status: metrics.gauge_vec(
                envelope("key_id_hash_status_last_timestamp_seconds", "The last time in seconds when a keyID was returned by the Status RPC call."),
                &["provider_name", "key_id_hash", "apiserver_id_hash"],
            ),
            invalid_key_ids: metrics.counter_vec(
                envelope("invalid_key_id_from_status_total", "Number of times an invalid keyID is returned by the Status RPC call split by error."),
                &["provider_name", "error"],
            ),
            cache_size: metrics.gauge_vec(
                envelope("dek_source_cache_size", "Number of records in data encryption key (DEK) source cache. On a restart, this value is an approximation of the number of decrypt RPC calls the server will make to the KMS plugin."),
                &["provider_name"],
            ),
            reloads: metrics.counter_vec(
                config("automatic_reloads_total", "Total number of reload successes and failures of encryption configuration split by apiserver identity."),
                &["status", "apiserver_id_hash"],
            ),
            reload_last: metrics.gauge_vec(
                config("automatic_reload_last_timestamp_seconds", "Timestamp of the last successful or failed automatic reload of encryption configuration split by apiserver identity."),
                &["status", "apiserver_id_hash"],
            ),
            config_info: metrics.gauge_vec(
                config("last_config_info", "Information about the last applied encryption configuration with hash as label, split by apiserver identity."),
                &["apiserver_id_hash", "hash"],
            ),
            server: hash_text(server_id.as_bytes()),
            last_arrivals: Mutex::default(),
            used: Mutex::default(),
            reported: Mutex::default(),
            applied: Mutex::default(),
        })
    }

    /// Notes one sealing or opening.
    pub(super) fn transformed(
        &self,
        resource: &str,
        direction: &str,
        prefix: &str,
        started: Instant,
        error: Option<&TransformError>,
    ) {
        let status = match error {
            None => "OK",
            Some(error) => error.code.unwrap_or("unknown-non-grpc"),
        };
        self.operations
            .with_label_values(&[resource, direction, prefix, status])
            .inc();
        if error.is_none() {
            self.durations
                .with_label_values(&[direction, prefix])
                .observe(started.elapsed().as_secs_f64());
        }
    }

    /// A value is about to be sealed or opened by KMS v1.
    pub(super) fn arrived(&self, direction: &'static str) {
        let mut last = self.last_arrivals.lock();
        let now = Instant::now();
        let before = last.insert(direction, now).unwrap_or(now);
        self.arrivals
            .with_label_values(&[direction])
            .observe((now - before).as_secs_f64());
    }

    /// What counts the uses of a key ID.
    pub(super) fn key_id(&self, direction: &str, provider: &str, key_id: &str) -> KeyIdUse {
        let hash = hash_text(key_id.as_bytes());
        let labels = [direction, provider, &hash, &self.server];
        let used = KeyIdUse {
            total: self.key_id_total.with_label_values(&labels),
            last: self.key_id_last.with_label_values(&labels),
        };
        let old = remember(
            &mut self.used.lock(),
            [direction.to_owned(), provider.to_owned(), hash],
        );
        if let Some([direction, provider, hash]) = old {
            let labels = [direction.as_str(), &provider, &hash, &self.server];
            let _ = self.key_id_total.remove_label_values(&labels);
            let _ = self.key_id_last.remove_label_values(&labels);
        }
        used
    }

    /// A plugin has named its key.
    pub(super) fn key_id_reported(&self, provider: &str, key_id: &str) {
        let hash = hash_text(key_id.as_bytes());
        self.key_id_status
            .with_label_values(&[provider, &hash, &self.server])
            .set(now());
        let old = remember(&mut self.reported.lock(), [provider.to_owned(), hash]);
        if let Some([provider, hash]) = old {
            let _ =
                self.key_id_status
                    .remove_label_values(&[provider.as_str(), &hash, &self.server]);
        }
    }

    /// A changed file was taken over, or not.
    pub(super) fn reloaded(&self, success: bool) {
        let labels = [if success { "success" } else { "failure" }, &self.server];
        self.reloads.with_label_values(&labels).inc();
        self.reload_last.with_label_values(&labels).set(now());
    }

    /// The configuration that counts now.
    pub(super) fn applied(&self, hash: &str) {
        let mut applied = self.applied.lock();
        if let Some(old) = applied.replace(hash.to_owned()) {
            let _ = self
                .config_info
                .remove_label_values(&[self.server.as_str(), &old]);
        }
        self.config_info
            .with_label_values(&[self.server.as_str(), hash])
            .set(1.0);
    }
}
