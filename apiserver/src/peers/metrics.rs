//! Upstream: peerproxy/metrics and endpoints/discovery/aggregated/metrics.go.

use component_base::metrics::{Counter, CounterVec, Metrics, Opts};

pub(super) struct PeerMetrics {
    rerouted: CounterVec,
    errors: CounterVec,
    sync_errors: CounterVec,
    cache_hits: Counter,
    cache_misses: Counter,
    no_peer: Counter,
}

impl PeerMetrics {
    pub(super) fn new(metrics: &Metrics) -> PeerMetrics {
        PeerMetrics {
            rerouted: metrics.counter_vec(
                Opts::new(
                    "apiserver_rerouted_request_total",
                    "Total number of requests that were proxied to a peer kube-apiserver because the local apiserver was not capable of serving it, broken down by 'group', 'version', and 'resource' indicating the GVR of the request. If all three are empty (\"\"), the request is a discovery request.",
                ),
                &["code", "group", "version", "resource"],
            ),
            errors: metrics.counter_vec(
                Opts::new(
                    "apiserver_peer_proxy_errors_total",
                    "Total number of errors encountered while proxying requests to a peer kube apiserver",
                ),
                &["type", "group", "version", "resource"],
            ),
            sync_errors: metrics.counter_vec(
                Opts::new(
                    "apiserver_peer_discovery_sync_errors_total",
                    "Total number of errors encountered while syncing discovery information from a peer kube-apiserver",
                ),
                &["type"],
            ),
            cache_hits: metrics.counter(Opts::new(
                "aggregator_discovery_peer_aggregated_cache_hits_total",
                "Counter of number of times discovery was served from peer-aggregated cache",
            )),
            cache_misses: metrics.counter(Opts::new(
                "aggregator_discovery_peer_aggregated_cache_misses_total",
                "Counter of number of times discovery was aggregated across all API servers",
            )),
            no_peer: metrics.counter(Opts::new(
                "aggregator_discovery_nopeer_requests_total",
                "Counter of number of times no-peer (non peer-aggregated) discovery was requested",
            )),
        }
    }

    /// A peer answered with this code; the resource is empty for its discovery.
    pub(super) fn rerouted(&self, code: u16, [group, version, resource]: [&str; 3]) {
        let code = code.to_string();
        self.rerouted
            .with_label_values(&[&code, group, version, resource])
            .inc();
    }

    /// It is not known where the peers are that have the resource.
    pub(super) fn no_endpoint(&self, [group, version, resource]: [&str; 3]) {
        self.errors
            .with_label_values(&["endpoint_resolution", group, version, resource])
            .inc();
    }

    /// There is no way to peers at all.
    pub(super) fn no_transport(&self, [group, version, resource]: [&str; 3]) {
        self.errors
            .with_label_values(&["proxy_transport", group, version, resource])
            .inc();
    }

    /// What a peer serves could not be found out: `hostport_resolution` or `fetch_discovery`.
    pub(super) fn sync_failed(&self, why: &str) {
        self.sync_errors.with_label_values(&[why]).inc();
    }

    pub(super) fn merged(&self) {
        self.cache_misses.inc();
    }

    pub(super) fn served_merged(&self) {
        self.cache_hits.inc();
    }

    pub(super) fn served_own(&self) {
        self.no_peer.inc();
    }
}
