//! The rest_client_* metrics. Upstream: `component-base/metrics/prometheus/restclient`.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// The metric families of all clients of a process. Make one per registry and pass it to every client.
#[derive(Clone, Debug)]
pub struct RestMetrics {
    requests: IntCounterVec,
    retries: IntCounterVec,
    duration: HistogramVec,
    throttled: HistogramVec,
    request_size: HistogramVec,
    response_size: HistogramVec,
}

const SECONDS: &[f64] = &[
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0,
];
const BYTES: &[f64] = &[
    64.0,
    256.0,
    512.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

impl RestMetrics {
    /// Registers the families. Fails when the registry already has them: share the first value instead.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            HistogramVec::new(
                HistogramOpts::new(name, help).buckets(buckets.to_vec()),
                &["verb", "host"],
            )
        };
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new(
                    "rest_client_requests_total",
                    "Number of HTTP requests, partitioned by status code, method, and host.",
                ),
                &["code", "method", "host"],
            )?,
            retries: IntCounterVec::new(
                Opts::new(
                    "rest_client_request_retries_total",
                    "Number of request retries, partitioned by status code, verb, and host.",
                ),
                &["code", "verb", "host"],
            )?,
            duration: histogram(
                "rest_client_request_duration_seconds",
                "Request latency in seconds. Broken down by verb, and host.",
                SECONDS,
            )?,
            throttled: histogram(
                "rest_client_rate_limiter_duration_seconds",
                "Client side rate limiter latency in seconds. Broken down by verb, and host.",
                SECONDS,
            )?,
            request_size: histogram(
                "rest_client_request_size_bytes",
                "Request size in bytes. Broken down by verb and host.",
                BYTES,
            )?,
            response_size: histogram(
                "rest_client_response_size_bytes",
                "Response size in bytes. Broken down by verb and host.",
                BYTES,
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.retries.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.throttled.clone()))?;
        registry.register(Box::new(metrics.request_size.clone()))?;
        registry.register(Box::new(metrics.response_size.clone()))?;
        Ok(metrics)
    }

    /// One attempt: `None` when no answer came.
    pub(super) fn attempt(
        &self,
        code: Option<StatusCode>,
        method: &Method,
        host: &str,
        is_retry: bool,
    ) {
        let code = code.map_or("<error>".to_owned(), |code| code.as_str().to_owned());
        self.requests
            .with_label_values(&[code.as_str(), method.as_str(), host])
            .inc();
        if is_retry {
            self.retries
                .with_label_values(&[code.as_str(), method.as_str(), host])
                .inc();
        }
    }

    /// A whole request, with all its attempts and the reading of the answer.
    pub(super) fn finished(&self, method: &Method, host: &str, took: Duration) {
        self.of(&self.duration, method, host)
            .observe(took.as_secs_f64());
    }

    pub(super) fn throttled(&self, method: &Method, host: &str, waited: Duration) {
        self.of(&self.throttled, method, host)
            .observe(waited.as_secs_f64());
    }

    pub(super) fn sizes(&self, method: &Method, host: &str, request: usize, response: usize) {
        if request > 0 {
            self.of(&self.request_size, method, host)
                .observe(request as f64);
        }
        self.of(&self.response_size, method, host)
            .observe(response as f64);
    }

    fn of(&self, family: &HistogramVec, method: &Method, host: &str) -> Histogram {
        family.with_label_values(&[method.as_str(), host])
    }
}
