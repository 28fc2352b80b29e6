//! What is counted of custom resources. Upstream: apiserver/pkg/cel/metrics, as far as the rules of schemas go, and conversion/metrics.go.

use std::time::{Duration, Instant};

use component_base::metrics::{
    CounterVec, Histogram, HistogramVec, Metrics, Opts, Stability, exponential_buckets,
};

/// The families, cheap to clone.
#[derive(Clone)]
pub struct CustomResourceMetrics {
    compilations: Histogram,
    evaluations: Histogram,
    conversions: HistogramVec,
    ratcheting: Histogram,
    webhook_requests: CounterVec,
    webhook_seconds: HistogramVec,
}

impl CustomResourceMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        let by_result = ["result", "failure_type"];
        Self {
            compilations: metrics.histogram(
                Opts::new(
                    "apiserver_cel_compilation_duration_seconds",
                    "CEL compilation time in seconds.",
                )
                .stability(Stability::Beta),
            ),
            evaluations: metrics.histogram(
                Opts::new(
                    "apiserver_cel_evaluation_duration_seconds",
                    "CEL evaluation time in seconds.",
                )
                .stability(Stability::Beta),
            ),
            ratcheting: metrics.histogram(
                Opts::new(
                    "apiextensions_apiserver_validation_ratcheting_seconds",
                    "Time for comparison of old to new for the purposes of CRDValidationRatcheting during an UPDATE in seconds.",
                )
                .buckets(exponential_buckets(0.000_01, 4.0, 10)),
            ),
            conversions: metrics.histogram_vec(
                Opts::new(
                    "apiserver_crd_conversion_webhook_duration_seconds",
                    "CRD webhook conversion duration in seconds",
                )
                .buckets(exponential_buckets(0.001, 2.0, 15)),
                &["crd_name", "from_version", "to_version", "succeeded"],
            ),
            webhook_requests: metrics.counter_vec(
                Opts::new(
                    "apiserver_conversion_webhook_request_total",
                    "Counter for conversion webhook requests with success/failure and failure error type",
                ),
                &by_result,
            ),
            webhook_seconds: metrics.histogram_vec(
                Opts::new(
                    "apiserver_conversion_webhook_duration_seconds",
                    "Conversion webhook request latency",
                )
                .buckets(vec![
                    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0,
                    60.0,
                ]),
                &by_result,
            ),
        }
    }

    /// A schema with its rules was compiled.
    pub(super) fn compiled(&self, start: Instant) {
        self.compilations.observe(start.elapsed().as_secs_f64());
    }

    /// The rules of a schema were evaluated.
    pub(super) fn evaluated(&self, start: Instant) {
        self.evaluations.observe(start.elapsed().as_secs_f64());
    }

    /// An update was judged by what it changes.
    pub(super) fn ratcheted(&self, start: Instant) {
        self.ratcheting.observe(start.elapsed().as_secs_f64());
    }

    /// A webhook was asked; `failure` is upstream's type of it.
    pub(super) fn converted(
        &self,
        crd: &str,
        (from, to): (&str, &str),
        elapsed: Duration,
        failure: Option<&str>,
    ) {
        let seconds = elapsed.as_secs_f64();
        let succeeded = if failure.is_none() { "true" } else { "false" };
        let labels = [crd, from, to, succeeded];
        self.conversions.with_label_values(&labels).observe(seconds);
        let labels = match failure {
            None => ["success", ""],
            Some(failure) => ["failure", failure],
        };
        self.webhook_requests.with_label_values(&labels).inc();
        let of_webhooks = self.webhook_seconds.with_label_values(&labels);
        of_webhooks.observe(seconds);
    }
}

impl std::fmt::Debug for CustomResourceMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CustomResourceMetrics")
    }
}
