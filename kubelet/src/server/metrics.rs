//! Metrics of the server itself. Upstream: `pkg/kubelet/server/metrics`.

use std::time::Duration;

use component_base::metrics::{CounterVec, Gauge, GaugeVec, HistogramVec, Metrics, Opts};
use http::Method;

const LABELS: [&str; 4] = ["method", "path", "server_type", "long_running"];

/// Paths that are told apart; others are `other`.
const BUCKETS: [&str; 20] = [
    "attach",
    "checkpoint",
    "configz",
    "containerLogs",
    "debug",
    "exec",
    "flagz",
    "healthz",
    "logs",
    "metrics",
    "metrics/cadvisor",
    "metrics/probes",
    "metrics/resource",
    "pods",
    "portForward",
    "run",
    "runningpods",
    "stats",
    "statusz",
    "pprof",
];

/// Handles; clones are the same metrics.
#[derive(Clone)]
pub struct ServerMetrics {
    requests: CounterVec,
    duration: HistogramVec,
    in_flight: GaugeVec,
    websockets: CounterVec,
}

impl ServerMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(registry: &Metrics) -> Self {
        let opts = |name: &str, help: &str| Opts::new(format!("kubelet_{name}"), help);
        registry
            .gauge_vec(
                opts("metrics_provider", "Metrics provider used by kubelet to collect container stats. Values can be 'cadvisor' and 'cri'"),
                &["provider"],
            )
            .with_label_values(&["cadvisor"])
            .set(1.0);
        ServerMetrics {
            requests: registry.counter_vec(opts("http_requests_total", "Number of the http requests received since the server started"), &LABELS),
            duration: registry.histogram_vec(opts("http_requests_duration_seconds", "Duration in seconds to serve http requests"), &LABELS),
            in_flight: registry.gauge_vec(opts("http_inflight_requests", "Number of the inflight http requests"), &LABELS),
            websockets: registry.counter_vec(
                opts(
                    "websocket_streaming_requests_total",
                    "Total number of WebSocket streaming requests (exec/attach/portforward) received by the kubelet.",
                ),
                &["subresource"],
            ),
        }
    }

    /// A request came; it is in flight until the guard is dropped.
    pub(super) fn started(&self, labels: &Labels) -> InFlight {
        self.requests.with_label_values(&labels.values()).inc();
        let gauge = self.in_flight.with_label_values(&labels.values());
        gauge.inc();
        InFlight(gauge)
    }

    pub(super) fn finished(&self, labels: &Labels, took: Duration) {
        self.duration
            .with_label_values(&labels.values())
            .observe(took.as_secs_f64());
    }

    pub(super) fn websocket(&self, subresource: &str) {
        self.websockets.with_label_values(&[subresource]).inc();
    }
}

/// Also counts down when a client goes away in the middle of its request.
pub(super) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Labels of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Labels {
    method: String,
    path: &'static str,
    server_type: &'static str,
}

impl Labels {
    pub(super) fn of(method: &Method, path: &str, server_type: &'static str) -> Self {
        const METHODS: [&str; 8] = [
            "OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT",
        ];
        let method = if METHODS.contains(&method.as_str()) {
            method.as_str()
        } else {
            "other"
        };
        let mut parts = path.strip_prefix('/').unwrap_or(path).splitn(3, '/');
        let root = parts.next().unwrap_or_default();
        let root = match parts.next() {
            Some(second) if root == "metrics" => format!("{root}/{second}"),
            _ => root.to_owned(),
        };
        let path = BUCKETS
            .iter()
            .find(|bucket| **bucket == root)
            .copied()
            .unwrap_or("other");
        Labels {
            method: method.to_owned(),
            path,
            server_type,
        }
    }

    fn values(&self) -> [&str; 4] {
        // Upstream compares with "portforward", so the path with the capital never counts.
        let long_running = matches!(self.path, "exec" | "attach" | "portforward" | "debug");
        [
            &self.method,
            self.path,
            self.server_type,
            if long_running { "true" } else { "false" },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets() {
        for (path, want, long) in [
            ("/healthz/ping", "healthz", "false"),
            ("/metrics", "metrics", "false"),
            ("/metrics/cadvisor", "metrics/cadvisor", "false"),
            ("/metrics/nope", "other", "false"),
            ("/exec/a/b/c", "exec", "true"),
            ("/portForward/a/b", "portForward", "false"),
            ("/../etc", "other", "false"),
        ] {
            let labels = Labels::of(&Method::GET, path, "readwrite");
            assert_eq!(labels.values(), ["GET", want, "readwrite", long], "{path}");
        }
        assert_eq!(
            Labels::of(&Method::PATCH, "/", "readonly").values()[0],
            "other"
        );
    }
}
