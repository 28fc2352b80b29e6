//! How proxies do. Upstream: apiserver/pkg/server/egressselector/metrics.

use std::time::Duration;

use component_base::metrics::{CounterVec, HistogramVec, Metrics, Opts};

/// What is counted of dials through proxies.
pub(super) struct EgressMetrics {
    starts: CounterVec,
    durations: HistogramVec,
    failures: CounterVec,
}

const PROTOCOL: &str = "http_connect";

impl EgressMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let opts =
            |name: &str, help: &str| Opts::new(format!("apiserver_egress_dialer_{name}"), help);
        Self {
            starts: metrics.counter_vec(
                opts(
                    "dial_start_total",
                    "Dial starts, labeled by the protocol (http-connect or grpc) and transport (tcp or uds).",
                ),
                &["protocol", "transport"],
            ),
            durations: metrics.histogram_vec(
                opts(
                    "dial_duration_seconds",
                    "Dial latency histogram in seconds, labeled by the protocol (http-connect or grpc), transport (tcp or uds)",
                )
                .buckets(vec![0.005, 0.025, 0.1, 0.5, 2.5, 12.5]),
                &["protocol", "transport"],
            ),
            failures: metrics.counter_vec(
                opts(
                    "dial_failure_count",
                    "Dial failure count, labeled by the protocol (http-connect or grpc), transport (tcp or uds), and stage (connect or proxy). The stage indicates at which stage the dial failed",
                ),
                &["protocol", "transport", "stage"],
            ),
        }
    }

    pub(super) fn started(&self, transport: &str) {
        self.starts.with_label_values(&[PROTOCOL, transport]).inc();
    }

    pub(super) fn took(&self, transport: &str, time: Duration) {
        self.durations
            .with_label_values(&[PROTOCOL, transport])
            .observe(time.as_secs_f64());
    }

    pub(super) fn failed(&self, transport: &str, stage: &str) {
        self.failures
            .with_label_values(&[PROTOCOL, transport, stage])
            .inc();
    }
}
