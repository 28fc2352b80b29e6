//! What is counted of allocations and their repair. Upstream: metrics.go of pkg/registry/core/service/ipallocator, portallocator and
//! their controllers.

use std::time::Duration;

use component_base::metrics::{Counter, CounterVec, Gauge, GaugeVec, HistogramVec, Metrics, Opts};

/// How an address or a port was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// By who asked for it.
    Static,
    Dynamic,
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Scope::Static => "static",
            Scope::Dynamic => "dynamic",
        }
    }
}

/// Of cluster IPs, by range.
#[derive(Clone)]
pub struct AddressMetrics {
    allocated: GaugeVec,
    available: GaugeVec,
    allocations: CounterVec,
    errors: CounterVec,
    seconds: HistogramVec,
}

impl AddressMetrics {
    pub fn new(metrics: &Metrics) -> AddressMetrics {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("kube_apiserver_clusterip_allocator_{name}"), help)
        };
        AddressMetrics {
            allocated: metrics.gauge_vec(
                opts(
                    "allocated_ips",
                    "Gauge measuring the number of allocated IPs for Services",
                ),
                &["cidr"],
            ),
            available: metrics.gauge_vec(
                opts(
                    "available_ips",
                    "Gauge measuring the number of available IPs for Services",
                ),
                &["cidr"],
            ),
            allocations: metrics.counter_vec(
                opts("allocation_total", "Number of Cluster IPs allocations"),
                &["cidr", "scope"],
            ),
            errors: metrics.counter_vec(
                opts(
                    "allocation_errors_total",
                    "Number of errors trying to allocate Cluster IPs",
                ),
                &["cidr", "scope"],
            ),
            seconds: metrics.histogram_vec(
                opts(
                    "allocation_duration_seconds",
                    "Duration in seconds to allocate a Cluster IP by ServiceCIDR",
                ),
                &["cidr"],
            ),
        }
    }

    pub(super) fn allocated(&self, range: &str, scope: Scope) {
        let labels = [range, scope.as_str()];
        self.allocations.with_label_values(&labels).inc();
    }

    pub(super) fn failed(&self, range: &str, scope: Scope) {
        let labels = [range, scope.as_str()];
        self.errors.with_label_values(&labels).inc();
    }

    pub(super) fn took(&self, range: &str, time: Duration) {
        let seconds = self.seconds.with_label_values(&[range]);
        seconds.observe(time.as_secs_f64());
    }

    /// How many addresses of a range are taken, of how many.
    pub(super) fn set(&self, range: &str, used: u128, size: u128) {
        let free = size.saturating_sub(used);
        self.allocated.with_label_values(&[range]).set(used as f64);
        self.available.with_label_values(&[range]).set(free as f64);
    }
}

/// Of node ports.
#[derive(Clone)]
pub struct PortMetrics {
    allocated: Gauge,
    available: Gauge,
    allocations: CounterVec,
    errors: CounterVec,
    /// What the repair loop has found, by type.
    pub(super) found: CounterVec,
    pub(super) repair_failed: Counter,
}

impl PortMetrics {
    pub fn new(metrics: &Metrics) -> PortMetrics {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("kube_apiserver_nodeport_allocator_{name}"), help)
        };
        let repair =
            |name: &str, help: &str| Opts::new(format!("apiserver_nodeport_repair_{name}"), help);
        PortMetrics {
            allocated: metrics.gauge(opts(
                "allocated_ports",
                "Gauge measuring the number of allocated NodePorts for Services",
            )),
            available: metrics.gauge(opts(
                "available_ports",
                "Gauge measuring the number of available NodePorts for Services",
            )),
            allocations: metrics.counter_vec(
                opts("allocation_total", "Number of NodePort allocations"),
                &["scope"],
            ),
            errors: metrics.counter_vec(
                opts(
                    "allocation_errors_total",
                    "Number of errors trying to allocate NodePort",
                ),
                &["scope"],
            ),
            found: metrics.counter_vec(
                repair(
                    "port_errors_total",
                    "Number of errors detected on ports by the repair loop broken down by type of error: leak, repair, full, outOfRange, duplicate, unknown",
                ),
                &["type"],
            ),
            repair_failed: metrics.counter(repair(
                "reconcile_errors_total",
                "Number of reconciliation failures on the nodeport repair reconcile loop",
            )),
        }
    }

    pub(super) fn counted(&self, scope: Scope, success: bool) {
        let family = if success {
            &self.allocations
        } else {
            &self.errors
        };
        family.with_label_values(&[scope.as_str()]).inc();
    }

    pub(super) fn set(&self, used: usize, size: usize) {
        self.allocated.set(used as f64);
        self.available.set(size.saturating_sub(used) as f64);
    }
}
