//! The endpoint_slice_controller_* metrics. Upstream: k8s.io/endpointslice/metrics.

use std::collections::{BTreeMap, HashMap};

use client::ObjectKey;
use component_base::metrics::{
    CounterVec, GaugeVec, HistogramVec, Metrics as Base, Opts, Stability, exponential_buckets,
};
use parking_lot::Mutex;

use super::plan::Efficiency;

/// Handles of the families, and the sums behind the gauges.
pub(super) struct Metrics {
    max: usize,
    added: HistogramVec,
    removed: HistogramVec,
    desired_endpoints: GaugeVec,
    slices: GaugeVec,
    desired_slices: GaugeVec,
    changes: CounterVec,
    changed: HistogramVec,
    syncs: CounterVec,
    distributions: GaugeVec,
    totals: Mutex<Totals>,
}

#[derive(Default)]
struct Totals {
    services: HashMap<ObjectKey, Total>,
    sum: Total,
    distributions: BTreeMap<ObjectKey, String>,
}

/// What one Service, or all of them, take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Total {
    endpoints: usize,
    slices: usize,
    desired: usize,
}

/// One Service: there is always at least one slice.
fn total(groups: &[Efficiency], max: usize) -> Total {
    Total {
        endpoints: groups.iter().map(|group| group.endpoints).sum(),
        slices: groups.iter().map(|group| group.slices).sum(),
        desired: groups
            .iter()
            .map(|group| group.endpoints.div_ceil(max.max(1)))
            .sum::<usize>()
            .max(1),
    }
}

impl Metrics {
    pub(super) fn new(base: &Base, max: usize) -> Self {
        let beta = |name: &str, help: &str| {
            Opts::new(format!("endpoint_slice_controller_{name}"), help).stability(Stability::Beta)
        };
        let alpha =
            |name: &str, help: &str| Opts::new(format!("endpoint_slice_controller_{name}"), help);
        let buckets = || exponential_buckets(2.0, 2.0, 15);
        let added = beta(
            "endpoints_added_per_sync",
            "Number of endpoints added on each Service sync",
        );
        let removed = beta(
            "endpoints_removed_per_sync",
            "Number of endpoints removed on each Service sync",
        );
        Self {
            max,
            added: base.histogram_vec(added.buckets(buckets()), &[]),
            removed: base.histogram_vec(removed.buckets(buckets()), &[]),
            desired_endpoints: base.gauge_vec(
                beta("endpoints_desired", "Number of endpoints desired"),
                &[],
            ),
            slices: base.gauge_vec(beta("num_endpoint_slices", "Number of EndpointSlices"), &[]),
            desired_slices: base.gauge_vec(
                beta(
                    "desired_endpoint_slices",
                    "Number of EndpointSlices that would exist with perfect endpoint allocation",
                ),
                &[],
            ),
            changes: base.counter_vec(
                alpha("changes", "Number of EndpointSlice changes"),
                &["operation"],
            ),
            changed: base.histogram_vec(
                alpha(
                    "endpointslices_changed_per_sync",
                    "Number of EndpointSlices changed on each Service sync",
                ),
                &["topology", "traffic_distribution"],
            ),
            syncs: base.counter_vec(alpha("syncs", "Number of EndpointSlice syncs"), &["result"]),
            distributions: base.gauge_vec(
                beta(
                    "services_count_by_traffic_distribution",
                    "Number of Services using some specific trafficDistribution",
                ),
                &["traffic_distribution"],
            ),
            totals: Mutex::default(),
        }
    }

    pub(super) fn synced(&self, result: &str) {
        self.syncs.with_label_values(&[result]).inc();
    }

    pub(super) fn changed_slice(&self, operation: &str) {
        self.changes.with_label_values(&[operation]).inc();
    }

    pub(super) fn changed_slices(&self, topology: &str, distribution: &str, count: usize) {
        self.changed
            .with_label_values(&[topology, distribution])
            .observe(float(count));
    }

    pub(super) fn planned(
        &self,
        service: &ObjectKey,
        groups: &[Efficiency],
        added: usize,
        removed: usize,
    ) {
        let none: &[&str] = &[];
        self.added.with_label_values(none).observe(float(added));
        self.removed.with_label_values(none).observe(float(removed));
        let mut totals = self.totals.lock();
        let new = total(groups, self.max);
        let old = totals
            .services
            .insert(service.clone(), new)
            .unwrap_or_default();
        totals.sum.replace(old, new);
        self.show(totals.sum);
    }

    pub(super) fn set_distribution(&self, service: &ObjectKey, distribution: Option<&str>) {
        let mut totals = self.totals.lock();
        let old = match distribution {
            Some(new) => totals.distributions.insert(service.clone(), new.to_owned()),
            None => totals.distributions.remove(service),
        };
        if old.as_deref() != distribution {
            self.show_distributions(&totals);
        }
    }

    pub(super) fn forget(&self, service: &ObjectKey) {
        let mut totals = self.totals.lock();
        if totals.distributions.remove(service).is_some() {
            self.show_distributions(&totals);
        }
        if let Some(old) = totals.services.remove(service) {
            totals.sum.replace(old, Total::default());
            self.show(totals.sum);
        }
    }

    fn show(&self, sum: Total) {
        let none: &[&str] = &[];
        self.desired_endpoints
            .with_label_values(none)
            .set(float(sum.endpoints));
        self.slices.with_label_values(none).set(float(sum.slices));
        self.desired_slices
            .with_label_values(none)
            .set(float(sum.desired));
    }

    fn show_distributions(&self, totals: &Totals) {
        self.distributions.reset();
        for distribution in totals.distributions.values() {
            self.distributions.with_label_values(&[distribution]).inc();
        }
    }
}

impl Total {
    fn replace(&mut self, old: Self, new: Self) {
        let change = |sum: usize, old: usize, new: usize| (sum + new).saturating_sub(old);
        self.endpoints = change(self.endpoints, old.endpoints, new.endpoints);
        self.slices = change(self.slices, old.slices, new.slices);
        self.desired = change(self.desired, old.desired, new.desired);
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals() {
        let group = |endpoints, slices| Efficiency { endpoints, slices };
        let check = |groups: &[Efficiency], expected: (usize, usize, usize)| {
            let total = total(groups, 100);
            assert_eq!((total.endpoints, total.slices, total.desired), expected);
        };
        check(&[], (0, 0, 1));
        check(&[group(0, 1)], (0, 1, 1));
        check(&[group(100, 2), group(101, 3)], (201, 5, 3));
    }
}
