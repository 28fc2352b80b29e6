//! Upstream: apiserver/pkg/admission/metrics, the part about webhooks and match conditions.

use std::time::Duration;

use prometheus::{CounterVec, HistogramOpts, HistogramVec, Opts, Registry};

/// Codes above this are counted as this, so that there are not too many.
const MAX_CODE: i32 = 600;

/// The families, cheap to clone.
#[derive(Clone)]
pub struct WebhookMetrics {
    duration: HistogramVec,
    rejections: CounterVec,
    failed_open: CounterVec,
    requests: CounterVec,
    condition_errors: CounterVec,
    condition_exclusions: CounterVec,
    condition_seconds: HistogramVec,
}

const CONDITION: &[&str] = &["name", "kind", "type", "operation"];

impl WebhookMetrics {
    /// Registers all families.
    pub fn new(registry: &Registry) -> prometheus::Result<WebhookMetrics> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let metric = CounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            prometheus::Result::Ok(metric)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64], labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let metric = HistogramVec::new(options, labels)?;
            registry.register(Box::new(metric.clone()))?;
            prometheus::Result::Ok(metric)
        };
        Ok(WebhookMetrics {
            duration: histogram(
                "apiserver_admission_webhook_admission_duration_seconds",
                "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
                &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0],
                &["name", "type", "operation", "rejected"],
            )?,
            rejections: counter(
                "apiserver_admission_webhook_rejection_count",
                "Admission webhook rejection count, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify an error type (calling_webhook_error or apiserver_internal_error if an error occurred; no_error otherwise) and optionally a non-zero rejection code if the webhook rejects the request with an HTTP status code (honored by the apiserver when the code is greater or equal to 400). Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
                &["name", "type", "operation", "error_type", "rejection_code"],
            )?,
            failed_open: counter(
                "apiserver_admission_webhook_fail_open_count",
                "Admission webhook fail open count, identified by name and broken out for each admission type (validating or admit).",
                &["name", "type"],
            )?,
            requests: counter(
                "apiserver_admission_webhook_request_total",
                "Admission webhook request total, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify whether the request was rejected or not and an HTTP status code. Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
                &["name", "type", "operation", "code", "rejected"],
            )?,
            condition_errors: counter(
                "apiserver_admission_match_condition_evaluation_errors_total",
                "Admission match condition evaluation errors count, identified by name of resource containing the match condition and broken out for each kind containing matchConditions (webhook or policy), operation and admission type (validate or admit).",
                CONDITION,
            )?,
            condition_exclusions: counter(
                "apiserver_admission_match_condition_exclusions_total",
                "Admission match condition evaluation exclusions count, identified by name of resource containing the match condition and broken out for each kind containing matchConditions (webhook or policy), operation and admission type (validate or admit).",
                CONDITION,
            )?,
            condition_seconds: histogram(
                "apiserver_admission_match_condition_evaluation_seconds",
                "Admission match condition evaluation time in seconds, identified by name and broken out for each kind containing matchConditions (webhook or policy), operation and type (validate or admit).",
                &[0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25],
                CONDITION,
            )?,
        })
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

    /// Labels: name of the webhook or policy, `webhook` or the policy's kind, type, operation.
    pub fn condition_error(&self, labels: &[&str; 4]) {
        self.condition_errors.with_label_values(labels).inc();
    }

    pub fn condition_exclusion(&self, labels: &[&str; 4]) {
        self.condition_exclusions.with_label_values(labels).inc();
    }

    pub fn condition_time(&self, labels: &[&str; 4], elapsed: Duration) {
        self.condition_seconds
            .with_label_values(labels)
            .observe(elapsed.as_secs_f64());
    }
}
