//! How proxies do. Upstream: apiserver/pkg/server/egressselector/metrics, and pkg/client/metrics and pkg/common/metrics of the
//! konnectivity client in sigs.k8s.io/apiserver-network-proxy.

use std::time::Duration;

use component_base::metrics::{CounterVec, GaugeVec, HistogramVec, Metrics, Opts};

/// What is counted of dials through proxies, and of tunnels.
#[derive(Clone)]
pub(super) struct EgressMetrics {
    starts: CounterVec,
    durations: HistogramVec,
    failures: CounterVec,
    pub(super) tunnels: TunnelMetrics,
}

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
            tunnels: TunnelMetrics::new(metrics),
        }
    }

    /// Those of one proxy.
    pub(super) fn dials(&self, protocol: &'static str, transport: &'static str) -> Dials {
        Dials {
            metrics: self.clone(),
            labels: [protocol, transport],
        }
    }
}

/// What is counted of dials through one proxy.
pub(super) struct Dials {
    metrics: EgressMetrics,
    labels: [&'static str; 2],
}

/// How far a dial came that failed.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// The proxy was not reached.
    Connect,
    /// It did not reach the target.
    Proxy,
}

impl Dials {
    pub(super) fn started(&self) {
        self.metrics.starts.with_label_values(&self.labels).inc();
    }

    pub(super) fn took(&self, time: Duration) {
        self.metrics
            .durations
            .with_label_values(&self.labels)
            .observe(time.as_secs_f64());
    }

    pub(super) fn failed(&self, stage: Stage) {
        let [protocol, transport] = self.labels;
        let stage = match stage {
            Stage::Connect => "connect",
            Stage::Proxy => "proxy",
        };
        self.metrics
            .failures
            .with_label_values(&[protocol, transport, stage])
            .inc();
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy)]
pub(super) enum Segment {
    FromClient,
    ToClient,
}

impl Segment {
    fn as_str(self) -> &'static str {
        match self {
            Self::FromClient => "from_client",
            Self::ToClient => "to_client",
        }
    }
}

/// What is counted of tunnels.
#[derive(Clone)]
pub(super) struct TunnelMetrics {
    packets: CounterVec,
    errors: CounterVec,
    dial_failures: CounterVec,
    connections: GaugeVec,
}

impl TunnelMetrics {
    fn new(metrics: &Metrics) -> Self {
        // The client library's own metrics promise nothing of their stability: their help has no prefix.
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let opts =
                prometheus::Opts::new(format!("konnectivity_network_proxy_client_{name}"), help);
            let made = CounterVec::new(opts, labels).expect("the metric is well formed");
            metrics.register(Box::new(made.clone()));
            made
        };
        let connections = GaugeVec::new(
            prometheus::Opts::new(
                "konnectivity_network_proxy_client_client_connections",
                "Number of open client connections, by status (Example: dialing)",
            ),
            &["status"],
        )
        .expect("the metric is well formed");
        metrics.register(Box::new(connections.clone()));
        Self {
            packets: counters(
                "stream_packets_total",
                "Count of packets processed, by segment and packet type (example: from_client, DIAL_REQ)",
                &["segment", "packet_type"],
            ),
            errors: counters(
                "stream_errors_total",
                "Count of gRPC stream errors, by segment, grpc Code, packet type. (example: from_agent, Code.Unavailable, DIAL_RSP)",
                &["segment", "code", "packet_type"],
            ),
            dial_failures: counters(
                "dial_failure_total",
                "Number of dial failures observed, by reason (example: remote endpoint error)",
                &["reason"],
            ),
            connections,
        }
    }

    pub(super) fn packet(&self, segment: Segment, kind: &str) {
        let labels = [segment.as_str(), kind];
        self.packets.with_label_values(&labels).inc();
    }

    /// No packet came, for a reason that has a gRPC code.
    pub(super) fn read_failed(&self, code: &str) {
        let labels = [Segment::ToClient.as_str(), code, "Unknown"];
        self.errors.with_label_values(&labels).inc();
    }

    pub(super) fn dial_failed(&self, reason: &str) {
        self.dial_failures.with_label_values(&[reason]).inc();
    }

    /// One more open connection to the proxy.
    pub(super) fn connection(&self) -> Counted {
        let counted = Counted {
            connections: self.connections.clone(),
            status: "created",
        };
        counted.gauge().inc();
        counted
    }
}

/// A connection that counts as open until dropped.
pub(super) struct Counted {
    connections: GaugeVec,
    status: &'static str,
}

impl Counted {
    fn gauge(&self) -> prometheus::Gauge {
        self.connections.with_label_values(&[self.status])
    }

    pub(super) fn becomes(&mut self, status: &'static str) {
        self.gauge().dec();
        self.status = status;
        self.gauge().inc();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauge().dec();
    }
}
