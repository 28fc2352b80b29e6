//! Upstream: apiserver/pkg/admission/metrics, the part about webhooks.

use std::time::Duration;

use component_base::metrics::{CounterVec, HistogramVec, Metrics, Opts, Stability};

use crate::admission::ConditionMetrics;

/// Codes above this are counted as this, so that there are not too many.
const MAX_CODE: i32 = 600;

/// The families, cheap to clone.
#[derive(Clone)]
pub struct WebhookMetrics {
    duration: HistogramVec,
    rejections: CounterVec,
    failed_open: CounterVec,
    requests: CounterVec,
    pub(super) conditions: ConditionMetrics,
}

impl WebhookMetrics {
    /// To be called once for a registry.
    pub fn new(metrics: &Metrics) -> WebhookMetrics {
        let opts =
            |name: &str, help: &str| Opts::new(format!("apiserver_admission_webhook_{name}"), help);
        WebhookMetrics {
            duration: metrics.histogram_vec(
                opts(
                    "admission_duration_seconds",
                    "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
                )
                .stability(Stability::Stable)
                .buckets(vec![0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0]),
                &["name", "type", "operation", "rejected"],
            ),
            rejections: metrics.counter_vec(
                opts(
                    "rejection_count",
                    "Admission webhook rejection count, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify an error type (calling_webhook_error or apiserver_internal_error if an error occurred; no_error otherwise) and optionally a non-zero rejection code if the webhook rejects the request with an HTTP status code (honored by the apiserver when the code is greater or equal to 400). Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
                ),
                &["name", "type", "operation", "error_type", "rejection_code"],
            ),
            failed_open: metrics.counter_vec(
                opts(
                    "fail_open_count",
                    "Admission webhook fail open count, identified by name and broken out for each admission type (validating or admit).",
                ),
                &["name", "type"],
            ),
            requests: metrics.counter_vec(
                opts(
                    "request_total",
                    "Admission webhook request total, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify whether the request was rejected or not and an HTTP status code. Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
                ),
                &["name", "type", "operation", "code", "rejected"],
            ),
            conditions: ConditionMetrics::new(metrics),
        }
    }

    /// A webhook was asked; `rejection` is why the request ends, if it does.
    pub fn called(
        &self,
        name: &str,
        kind: &str,
        operation: &str,
        elapsed: Duration,
        code: i32,
        rejection: Option<&str>,
    ) {
        let rejected = if rejection.is_some() { "true" } else { "false" };
        let code = code.min(MAX_CODE).to_string();
        if let Some(error_type) = rejection {
            self.rejections
                .with_label_values(&[name, kind, operation, error_type, &code])
                .inc();
        }
        self.requests
            .with_label_values(&[name, kind, operation, &code, rejected])
            .inc();
        self.duration
            .with_label_values(&[name, kind, operation, rejected])
            .observe(elapsed.as_secs_f64());
    }

    pub fn failed_open(&self, name: &str, kind: &str) {
        self.failed_open.with_label_values(&[name, kind]).inc();
    }
}
