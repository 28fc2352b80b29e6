//! What audit counts. Upstream: apiserver/pkg/audit/metrics.go.

use component_base::metrics::{Counter, CounterVec, Metrics, Opts};

use super::policy::Level;

/// The counters, under `apiserver_audit_`.
#[derive(Clone)]
pub struct AuditMetrics {
    pub events: Counter,
    errors: CounterVec,
    levels: CounterVec,
    pub rejected: Counter,
}

impl AuditMetrics {
    pub fn new(metrics: &Metrics) -> AuditMetrics {
        AuditMetrics {
            events: metrics.counter(Opts::new(
                "apiserver_audit_event_total",
                "Counter of audit events generated and sent to the audit backend.",
            )),
            errors: metrics.counter_vec(
                Opts::new(
                    "apiserver_audit_error_total",
                    "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.",
                ),
                &["plugin"],
            ),
            levels: metrics.counter_vec(
                Opts::new(
                    "apiserver_audit_level_total",
                    "Counter of policy levels for audit events (1 per request).",
                ),
                &["level"],
            ),
            rejected: metrics.counter(Opts::new(
                "apiserver_audit_requests_rejected_total",
                "Counter of apiserver requests rejected due to an error in audit logging backend.",
            )),
        }
    }

    pub fn level(&self, level: Level) {
        self.levels.with_label_values(&[level.as_str()]).inc();
    }

    pub fn failed(&self, plugin: &str, events: usize) {
        let counter = self.errors.with_label_values(&[plugin]);
        counter.inc_by(events as f64);
    }
}
