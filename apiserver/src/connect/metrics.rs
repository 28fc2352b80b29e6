//! What is counted of connections to kubelets. Upstream: apiserver/pkg/util/proxy/metrics, pkg/registry/core/pod/rest/metrics.go.

use component_base::metrics::{Counter, CounterVec, Metrics, Opts};

/// The families. Those of logs begin with the first log that is asked for, as upstream's.
pub(super) struct ConnectMetrics {
    metrics: Metrics,
    translated: CounterVec,
    tunneled: CounterVec,
    streaming: CounterVec,
}

impl ConnectMetrics {
    pub(super) fn new(metrics: &Metrics) -> ConnectMetrics {
        ConnectMetrics {
            metrics: metrics.clone(),
            translated: metrics.counter_vec(
                Opts::new(
                    "apiserver_stream_translator_requests_total",
                    "Total number of requests that were handled by the StreamTranslatorProxy, which processes streaming RemoteCommand/V5",
                ),
                &["code"],
            ),
            tunneled: metrics.counter_vec(
                Opts::new(
                    "apiserver_stream_tunnel_requests_total",
                    "Total number of requests that were handled by the StreamTunnelProxy, which processes streaming PortForward/V2",
                ),
                &["code"],
            ),
            streaming: metrics.counter_vec(
                Opts::new(
                    "apiserver_websocket_streaming_requests_total",
                    "Total number of WebSocket streaming requests (exec/attach/portforward) routed by the API server, labeled by subresource and proxy_type. proxy_type is proxied_to_kubelet when the kubelet handles the request directly; otherwise translated_at_apiserver.",
                ),
                &["subresource", "proxy_type"],
            ),
        }
    }

    /// A command was carried over from WebSocket to SPDY, or not.
    pub(super) fn translated(&self, code: u16) -> Counter {
        self.translated.with_label_values(&[&code.to_string()])
    }

    /// A tunnel was made, or not.
    pub(super) fn tunneled(&self, code: u16) {
        self.tunneled.with_label_values(&[&code.to_string()]).inc();
    }

    /// A stream goes to a kubelet that takes WebSockets, or not.
    pub(super) fn streamed(&self, subresource: &str, takes_web_sockets: bool) {
        let kind = match takes_web_sockets {
            true => "proxied_to_kubelet",
            false => "translated_at_apiserver",
        };
        let labels = [subresource, kind];
        self.streaming.with_label_values(&labels).inc();
    }

    /// A log was asked for.
    pub(super) fn log(&self, insecure: bool) {
        let usage = match insecure {
            true => "skip_tls_allowed",
            false => "enforce_tls",
        };
        let help = "Total number of requests for pods/logs sliced by usage type: enforce_tls, skip_tls_allowed, skip_tls_denied";
        let [current, deprecated] = of_logs("insecure_backend_total", help);
        for opts in [current, deprecated] {
            let family = self.metrics.counter_vec(opts, &["usage"]);
            family.with_label_values(&[usage]).inc();
        }
        self.failures();
    }

    /// The certificate of a log's kubelet was not accepted.
    pub(super) fn log_not_trusted(&self) {
        self.failures().iter().for_each(Counter::inc);
    }

    fn failures(&self) -> [Counter; 2] {
        let help = "Total number of requests for pods/logs that failed due to kubelet server TLS verification";
        of_logs("backend_tls_failure_total", help).map(|opts| self.metrics.counter(opts))
    }
}

/// Names changed in 1.27.
fn of_logs(name: &str, help: &str) -> [Opts; 2] {
    let opts = |name: String| Opts::new(name, help);
    [
        opts(format!("kube_apiserver_pod_logs_{name}")),
        opts(format!("kube_apiserver_pod_logs_pods_logs_{name}")).deprecated_since(27),
    ]
}
