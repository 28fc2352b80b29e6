//! Which APIServices are unavailable. Upstream: kube-aggregator/pkg/controllers/status/metrics.

use component_base::metrics::{CounterVec, GaugeVec, Metrics, Opts};

pub(super) struct AvailabilityMetrics {
    now: GaugeVec,
    total: CounterVec,
}

impl AvailabilityMetrics {
    pub(super) fn new(metrics: &Metrics) -> AvailabilityMetrics {
        AvailabilityMetrics {
            now: metrics.gauge_vec(
                Opts::new(
                    "aggregator_unavailable_apiservice",
                    "Gauge of APIServices which are marked as unavailable broken down by APIService name.",
                ),
                &["name"],
            ),
            total: metrics.counter_vec(
                Opts::new(
                    "aggregator_unavailable_apiservice_total",
                    "Counter of APIServices which are marked as unavailable broken down by APIService name and reason.",
                ),
                &["name", "reason"],
            ),
        }
    }

    /// What is true of an APIService now.
    pub(super) fn set(&self, name: &str, available: bool) {
        self.now
            .with_label_values(&[name])
            .set(if available { 0.0 } else { 1.0 });
    }

    /// An available APIService has become unavailable.
    pub(super) fn became_unavailable(&self, name: &str, reason: &str) {
        self.total.with_label_values(&[name, reason]).inc();
    }

    pub(super) fn forget(&self, name: &str) {
        // There may be none.
        let _ = self.now.remove_label_values(&[name]);
    }
}
