//! The process's metrics, by upstream's names. Upstream: pkg/proxy/metrics.

use std::time::Duration;

use component_base::metrics::{
    CounterVec, GaugeVec, HistogramVec, Metrics as Registry, MetricsOptions, Opts,
    exponential_buckets, linear_buckets, merge_buckets,
};

use crate::sys::Family;

/// Handles of all metric families. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    sync: HistogramVec,
    full_sync: HistogramVec,
    partial_sync: HistogramVec,
    programming: HistogramVec,
    last: GaugeVec,
    last_queued: GaugeVec,
    no_local: GaugeVec,
    sync_failures: CounterVec,
    cleanup_failures: CounterVec,
    flows_deleted: CounterVec,
    healthz: CounterVec,
    livez: CounterVec,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Self {
        let family = &["ip_family"];
        let opts = |name: &str, help: &str| Opts::new(format!("kubeproxy_{name}"), help);
        let latency = || exponential_buckets(0.001, 2.0, 15);
        // Quarter seconds to a second, seconds to a minute, then minutes.
        let programming = merge_buckets(&[
            &linear_buckets(0.25, 0.25, 2),
            &linear_buckets(1.0, 1.0, 59),
            &linear_buckets(60.0, 5.0, 12),
            &linear_buckets(120.0, 30.0, 7),
        ]);
        Self {
            sync: registry.histogram_vec(
                opts(
                    "sync_proxy_rules_duration_seconds",
                    "SyncProxyRules latency in seconds",
                )
                .buckets(latency()),
                family,
            ),
            full_sync: registry.histogram_vec(
                opts(
                    "sync_full_proxy_rules_duration_seconds",
                    "SyncProxyRules latency in seconds for full resyncs",
                )
                .buckets(latency()),
                family,
            ),
            partial_sync: registry.histogram_vec(
                opts(
                    "sync_partial_proxy_rules_duration_seconds",
                    "SyncProxyRules latency in seconds for partial resyncs",
                )
                .buckets(latency()),
                family,
            ),
            programming: registry.histogram_vec(
                opts(
                    "network_programming_duration_seconds",
                    "In Cluster Network Programming Latency in seconds",
                )
                .buckets(programming),
                family,
            ),
            last: registry.gauge_vec(
                opts(
                    "sync_proxy_rules_last_timestamp_seconds",
                    "The last time proxy rules were successfully synced",
                ),
                family,
            ),
            last_queued: registry.gauge_vec(
                opts(
                    "sync_proxy_rules_last_queued_timestamp_seconds",
                    "The last time a sync of proxy rules was queued",
                ),
                family,
            ),
            no_local: registry.gauge_vec(
                opts(
                    "sync_proxy_rules_no_local_endpoints_total",
                    "Number of services with a Local traffic policy and no endpoints",
                ),
                &["traffic_policy", "ip_family"],
            ),
            sync_failures: registry.counter_vec(
                opts(
                    "sync_proxy_rules_nftables_sync_failures_total",
                    "Cumulative proxy nftables sync failures",
                ),
                family,
            ),
            cleanup_failures: registry.counter_vec(
                opts(
                    "sync_proxy_rules_nftables_cleanup_failures_total",
                    "Cumulative proxy nftables cleanup failures",
                ),
                family,
            ),
            flows_deleted: registry.counter_vec(
                opts(
                    "conntrack_reconciler_deleted_entries_total",
                    "Cumulative conntrack flows deleted by conntrack reconciler",
                ),
                family,
            ),
            healthz: registry.counter_vec(
                opts(
                    "proxy_healthz_total",
                    "Cumulative proxy healthz HTTP status",
                ),
                &["code"],
            ),
            livez: registry.counter_vec(
                opts("proxy_livez_total", "Cumulative proxy livez HTTP status"),
                &["code"],
            ),
        }
    }

    /// Handles on a registry of their own.
    pub fn for_tests() -> Self {
        Self::new(&Registry::bare(MetricsOptions::default()))
    }

    pub fn queued(&self, family: Family) {
        self.last_queued
            .with_label_values(&[family.api()])
            .set(now());
    }

    pub fn synced(
        &self,
        family: Family,
        took: Duration,
        full: bool,
        no_local_internal: usize,
        no_local_external: usize,
    ) {
        let label = &[family.api()];
        let seconds = took.as_secs_f64();
        self.sync.with_label_values(label).observe(seconds);
        if full {
            &self.full_sync
        } else {
            &self.partial_sync
        }
        .with_label_values(label)
        .observe(seconds);
        self.last.with_label_values(label).set(now());
        self.no_local
            .with_label_values(&["internal", family.api()])
            .set(no_local_internal as f64);
        self.no_local
            .with_label_values(&["external", family.api()])
            .set(no_local_external as f64);
    }

    pub fn programmed(&self, family: Family, seconds: f64) {
        self.programming
            .with_label_values(&[family.api()])
            .observe(seconds);
    }

    pub fn failed(&self, family: Family) {
        self.sync_failures.with_label_values(&[family.api()]).inc();
    }

    pub fn cleanup_failed(&self, family: Family) {
        self.cleanup_failures
            .with_label_values(&[family.api()])
            .inc();
    }

    pub fn flows_deleted(&self, family: Family, count: usize) {
        self.flows_deleted
            .with_label_values(&[family.api()])
            .inc_by(count as f64);
    }

    pub fn health_asked(&self, live: bool, code: u16) {
        if live { &self.livez } else { &self.healthz }
            .with_label_values(&[&code.to_string()])
            .inc();
    }
}

fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}
