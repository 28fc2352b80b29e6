//! How often callers impersonate. Upstream: endpoints/filters/impersonation/metrics.

use std::time::Duration;

use component_base::metrics::{CounterVec, HistogramVec, Metrics, Opts, exponential_buckets};

use super::modes::Kind;

/// What is counted of impersonation.
pub(super) struct ImpersonationMetrics {
    /// Requests that impersonate.
    pub(super) attempts: Outcomes,
    /// Questions to authorizers.
    pub(super) authorizations: Outcomes,
}

/// A number and a duration by mode and decision.
pub(super) struct Outcomes {
    total: CounterVec,
    durations: HistogramVec,
}

const LABELS: [&str; 2] = ["mode", "decision"];

impl ImpersonationMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let outcomes = |name: &str, total: &str, duration: &str| Outcomes {
            total: metrics.counter_vec(
                Opts::new(format!("apiserver_impersonation_{name}_total"), total),
                &LABELS,
            ),
            durations: metrics.histogram_vec(
                Opts::new(
                    format!("apiserver_impersonation_{name}_duration_seconds"),
                    duration,
                )
                .buckets(exponential_buckets(0.001, 2.0, 15)),
                &LABELS,
            ),
        };
        Self {
            attempts: outcomes(
                "attempts",
                "Total number of impersonation attempts split by mode and decision.",
                "Latency of impersonation attempts in seconds split by mode and decision.",
            ),
            authorizations: outcomes(
                "authorization_attempts",
                "Total number of authorization checks made by the impersonation handler split by mode and decision.",
                "Latency of authorization checks made by the impersonation handler in seconds split by mode and decision.",
            ),
        }
    }
}

impl Outcomes {
    /// An attempt that was allowed in a mode, or in none.
    pub(super) fn count(&self, allowed: Option<Kind>, took: Duration) {
        match allowed {
            Some(kind) => self.add([kind.name(), "allowed"], took),
            None => self.add(["", "denied"], took),
        }
    }

    /// A question in a mode.
    pub(super) fn count_in(&self, kind: Kind, allowed: bool, took: Duration) {
        let decision = if allowed { "allowed" } else { "denied" };
        self.add([kind.name(), decision], took);
    }

    fn add(&self, labels: [&str; 2], took: Duration) {
        self.total.with_label_values(&labels).inc();
        self.durations
            .with_label_values(&labels)
            .observe(took.as_secs_f64());
    }
}
