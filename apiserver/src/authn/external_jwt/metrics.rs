//! How a signer does. Upstream: pkg/serviceaccount/externaljwt/metrics.

use std::time::Duration;

use component_base::metrics::{CounterVec, GaugeVec, HistogramVec, Metrics, Opts};
use jiff::Timestamp;

/// What is counted of a signer.
pub(super) struct ExternalJwtMetrics {
    last_fetch: GaugeVec,
    data: GaugeVec,
    fetches: CounterVec,
    signatures: CounterVec,
    durations: HistogramVec,
}

const DURATIONS: [f64; 14] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

impl ExternalJwtMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let opts =
            |name: &str, help: &str| Opts::new(format!("apiserver_externaljwt_{name}"), help);
        Self {
            last_fetch: metrics.gauge_vec(
                opts(
                    "fetch_keys_success_timestamp",
                    "Unix Timestamp in seconds of the last successful FetchKeys request",
                ),
                &[],
            ),
            data: metrics.gauge_vec(
                opts(
                    "fetch_keys_data_timestamp",
                    "Unix Timestamp in seconds of the last successful FetchKeys data_timestamp value returned by the external signer",
                ),
                &[],
            ),
            fetches: metrics.counter_vec(
                opts(
                    "fetch_keys_request_total",
                    "Total attempts at syncing supported JWKs",
                ),
                &["code"],
            ),
            signatures: metrics.counter_vec(
                opts("sign_request_total", "Total attempts at signing JWT"),
                &["code"],
            ),
            durations: metrics.histogram_vec(
                opts(
                    "request_duration_seconds",
                    "Request duration and time for calls to external-jwt-signer",
                )
                .buckets(DURATIONS.to_vec()),
                &["method", "code"],
            ),
        }
    }

    /// Keys were asked for.
    pub(super) fn fetched(&self, code: &str) {
        self.fetches.with_label_values(&[code]).inc();
        if code == "OK" {
            self.last_fetch
                .with_label_values::<&str>(&[])
                .set(seconds(Timestamp::now()));
        }
    }

    /// The signer knows its keys since then.
    pub(super) fn data_of(&self, time: Timestamp) {
        self.data.with_label_values::<&str>(&[]).set(seconds(time));
    }

    pub(super) fn signed(&self, code: &str) {
        self.signatures.with_label_values(&[code]).inc();
    }

    pub(super) fn called(&self, method: &str, code: &str, took: Duration) {
        self.durations
            .with_label_values(&[method, code])
            .observe(took.as_secs_f64());
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
