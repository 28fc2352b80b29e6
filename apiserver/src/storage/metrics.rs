//! Metrics of etcd access and of the watch cache, with upstream's names, labels and buckets.
//! Upstream: storage/etcd3/metrics, storage/cacher/metrics.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, Opts, Registry,
};

/// Every storage metric family; one per process, shared by all backends.
pub struct StorageMetrics {
    etcd_request_duration: HistogramVec,
    etcd_requests: CounterVec,
    etcd_request_errors: CounterVec,
    storage_objects: GaugeVec,
    resource_objects: GaugeVec,
    resource_size: GaugeVec,
    storage_size: GaugeVec,
    storage_events_received: CounterVec,
    /// Deprecated since 1.36: only shown with `--show-hidden-metrics-for-version`.
    etcd_bookmark_counts: Option<GaugeVec>,
    etcd_bookmark_total: CounterVec,
    lease_object_counts: HistogramVec,
    list_total: CounterVec,
    list_fetched: CounterVec,
    list_evaluated: CounterVec,
    list_returned: CounterVec,
    decode_errors: CounterVec,
    cache_list_total: CounterVec,
    cache_list_fetched: CounterVec,
    cache_list_returned: CounterVec,
    init_events: CounterVec,
    events_received: CounterVec,
    events_dispatched: CounterVec,
    terminated_watchers: CounterVec,
    resource_version: GaugeVec,
    capacity_increase: CounterVec,
    capacity_decrease: CounterVec,
    capacity: GaugeVec,
    initializations: CounterVec,
    read_wait: HistogramVec,
    consistent_read: CounterVec,
    consistency_checks: CounterVec,
}

const GROUP_RESOURCE: &[&str] = &["group", "resource"];

impl StorageMetrics {
    /// Registers all families.
    pub fn new(registry: &Registry) -> prometheus::Result<Arc<Self>> {
        Self::showing(registry, false)
    }

    /// The same with those that are deprecated, if they are to be shown.
    pub fn showing(registry: &Registry, deprecated: bool) -> prometheus::Result<Arc<Self>> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let metric = CounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            prometheus::Result::Ok(metric)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let metric = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            prometheus::Result::Ok(metric)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64], labels: &[&str]| {
            let metric = HistogramVec::new(
                HistogramOpts::new(name, help).buckets(buckets.to_vec()),
                labels,
            )?;
            registry.register(Box::new(metric.clone()))?;
            prometheus::Result::Ok(metric)
        };
        Ok(Arc::new(Self {
            etcd_request_duration: histogram(
                "etcd_request_duration_seconds",
                "Etcd request latency in seconds for each operation and object type.",
                &[
                    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0,
                    5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
                ],
                &["operation", "group", "resource"],
            )?,
            etcd_requests: counter(
                "etcd_requests_total",
                "Etcd request counts for each operation and object type.",
                &["operation", "group", "resource"],
            )?,
            etcd_request_errors: counter(
                "etcd_request_errors_total",
                "Etcd failed request counts for each operation and object type.",
                &["operation", "group", "resource"],
            )?,
            storage_objects: gauge(
                "apiserver_storage_objects",
                "[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
                &["resource"],
            )?,
            resource_objects: gauge(
                "apiserver_resource_objects",
                "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
                GROUP_RESOURCE,
            )?,
            resource_size: gauge(
                "apiserver_resource_size_estimate_bytes",
                "Estimated size of stored objects in database. Estimate is based on sum of last observed sizes of serialized objects. In case of a fetching error, the value will be -1.",
                GROUP_RESOURCE,
            )?,
            storage_size: gauge(
                "apiserver_storage_size_bytes",
                "Size of the storage database file physically allocated in bytes.",
                &["storage_cluster_id"],
            )?,
            storage_events_received: counter(
                "apiserver_storage_events_received_total",
                "Number of etcd events received split by kind.",
                GROUP_RESOURCE,
            )?,
            etcd_bookmark_counts: match deprecated {
                true => Some(gauge(
                    "etcd_bookmark_counts",
                    "(Deprecated since 1.36.0) Number of etcd bookmarks (progress notify events) split by kind.",
                    GROUP_RESOURCE,
                )?),
                false => None,
            },
            etcd_bookmark_total: counter(
                "etcd_bookmark_total",
                "Number of etcd bookmarks (progress notify events) split by kind.",
                GROUP_RESOURCE,
            )?,
            lease_object_counts: histogram(
                "etcd_lease_object_counts",
                "Number of objects attached to a single etcd lease.",
                &[10.0, 50.0, 100.0, 500.0, 1000.0, 2500.0, 5000.0],
                &[],
            )?,
            list_total: counter(
                "apiserver_storage_list_total",
                "Number of LIST requests served from storage",
                GROUP_RESOURCE,
            )?,
            list_fetched: counter(
                "apiserver_storage_list_fetched_objects_total",
                "Number of objects read from storage in the course of serving a LIST request",
                GROUP_RESOURCE,
            )?,
            list_evaluated: counter(
                "apiserver_storage_list_evaluated_objects_total",
                "Number of objects tested in the course of serving a LIST request from storage",
                GROUP_RESOURCE,
            )?,
            list_returned: counter(
                "apiserver_storage_list_returned_objects_total",
                "Number of objects returned for a LIST request from storage",
                GROUP_RESOURCE,
            )?,
            decode_errors: counter(
                "apiserver_storage_decode_errors_total",
                "Number of stored object decode errors split by object type",
                GROUP_RESOURCE,
            )?,
            cache_list_total: counter(
                "apiserver_cache_list_total",
                "Number of LIST requests served from watch cache",
                &["group", "resource", "index"],
            )?,
            cache_list_fetched: counter(
                "apiserver_cache_list_fetched_objects_total",
                "Number of objects read from watch cache in the course of serving a LIST request",
                &["group", "resource", "index"],
            )?,
            cache_list_returned: counter(
                "apiserver_cache_list_returned_objects_total",
                "Number of objects returned for a LIST request from watch cache",
                GROUP_RESOURCE,
            )?,
            init_events: counter(
                "apiserver_init_events_total",
                "Counter of init events processed in watch cache broken by resource type.",
                GROUP_RESOURCE,
            )?,
            events_received: counter(
                "apiserver_watch_cache_events_received_total",
                "Counter of events received in watch cache broken by resource type.",
                GROUP_RESOURCE,
            )?,
            events_dispatched: counter(
                "apiserver_watch_cache_events_dispatched_total",
                "Counter of events dispatched in watch cache broken by resource type.",
                GROUP_RESOURCE,
            )?,
            terminated_watchers: counter(
                "apiserver_terminated_watchers_total",
                "Counter of watchers closed due to unresponsiveness broken by resource type.",
                GROUP_RESOURCE,
            )?,
            resource_version: gauge(
                "apiserver_watch_cache_resource_version",
                "Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant digits.",
                GROUP_RESOURCE,
            )?,
            capacity_increase: counter(
                "watch_cache_capacity_increase_total",
                "Total number of watch cache capacity increase events broken by resource type.",
                GROUP_RESOURCE,
            )?,
            capacity_decrease: counter(
                "watch_cache_capacity_decrease_total",
                "Total number of watch cache capacity decrease events broken by resource type.",
                GROUP_RESOURCE,
            )?,
            capacity: gauge(
                "watch_cache_capacity",
                "Total capacity of watch cache broken by resource type.",
                GROUP_RESOURCE,
            )?,
            initializations: counter(
                "apiserver_watch_cache_initializations_total",
                "Counter of watch cache initializations broken by resource type.",
                GROUP_RESOURCE,
            )?,
            read_wait: histogram(
                "apiserver_watch_cache_read_wait_seconds",
                "Histogram of time spent waiting for a watch cache to become fresh.",
                &[
                    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0,
                ],
                GROUP_RESOURCE,
            )?,
            consistent_read: counter(
                "apiserver_watch_cache_consistent_read_total",
                "Counter for consistent reads from cache.",
                &["group", "resource", "success", "fallback"],
            )?,
            consistency_checks: counter(
                "apiserver_storage_consistency_checks_total",
                "Counter for status of consistency checks between etcd and watch cache",
                &["group", "resource", "status"],
            )?,
        }))
    }

    pub(crate) fn set_storage_size(&self, cluster_id: &str, bytes: f64) {
        self.storage_size
            .with_label_values(&[cluster_id])
            .set(bytes);
    }

    pub(crate) fn observe_lease_objects(&self, count: u64) {
        self.lease_object_counts
            .with_label_values::<&str>(&[])
            .observe(count as f64);
    }
}

/// The children of one resource, each made when first used: most resources use a few of them, and as upstream a series is there
/// from its first value on.
macro_rules! children {
    ($($name:ident: $metric:ty),* $(,)?) => {
        #[derive(Default)]
        struct Children {
            $($name: OnceLock<$metric>,)*
        }

        impl ResourceMetrics {
            $(pub(crate) fn $name(&self) -> &$metric {
                self.children.$name.get_or_init(|| {
                    self.all.$name.with_label_values(&[&self.group, &self.resource])
                })
            })*
        }
    };
}

children! {
    list_total: Counter,
    list_fetched: Counter,
    list_evaluated: Counter,
    list_returned: Counter,
    decode_errors: Counter,
    cache_list_returned: Counter,
    init_events: Counter,
    storage_events_received: Counter,
    events_received: Counter,
    events_dispatched: Counter,
    terminated_watchers: Counter,
    resource_version: Gauge,
    capacity_increase: Counter,
    capacity_decrease: Counter,
    capacity: Gauge,
    initializations: Counter,
    read_wait: Histogram,
}

/// The metrics of one resource.
pub(crate) struct ResourceMetrics {
    all: Arc<StorageMetrics>,
    group: String,
    resource: String,
    children: Children,
    operations: [OnceLock<Operation>; OPERATIONS.len()],
}

/// What etcd is asked for on behalf of a resource. The names are the `operation` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Get,
    List,
    Create,
    Update,
    Delete,
    Count,
}

const OPERATIONS: [(Op, &str); 6] = [
    (Op::Get, "get"),
    (Op::List, "list"),
    (Op::Create, "create"),
    (Op::Update, "update"),
    (Op::Delete, "delete"),
    (Op::Count, "listWithCount"),
];

struct Operation {
    duration: Histogram,
    requests: Counter,
}

impl ResourceMetrics {
    pub(crate) fn new(all: Arc<StorageMetrics>, group: &str, resource: &str) -> Self {
        Self {
            all,
            group: group.to_owned(),
            resource: resource.to_owned(),
            children: Children::default(),
            operations: Default::default(),
        }
    }

    /// One request to etcd has ended.
    pub(crate) fn etcd_request(&self, op: Op, started: Instant, failed: bool) {
        let Some(at) = OPERATIONS
            .iter()
            .position(|(candidate, _)| *candidate == op)
        else {
            return;
        };
        let labels = [OPERATIONS[at].1, &self.group, &self.resource];
        let operation = self.operations[at].get_or_init(|| Operation {
            duration: self.all.etcd_request_duration.with_label_values(&labels),
            requests: self.all.etcd_requests.with_label_values(&labels),
        });
        operation.duration.observe(started.elapsed().as_secs_f64());
        operation.requests.inc();
        if failed {
            let errors = &self.all.etcd_request_errors;
            errors.with_label_values(&labels).inc();
        }
    }

    pub(crate) fn cache_list(&self, index: &str, fetched: usize) {
        let labels = [self.group.as_str(), self.resource.as_str()];
        self.all
            .cache_list_total
            .with_label_values(&[labels[0], labels[1], index])
            .inc();
        self.all
            .cache_list_fetched
            .with_label_values(&[labels[0], labels[1], index])
            .inc_by(fetched as f64);
    }

    pub(crate) fn consistent_read(&self, success: bool, fallback: bool) {
        let text = |value: bool| if value { "true" } else { "false" };
        self.all
            .consistent_read
            .with_label_values(&[&self.group, &self.resource, text(success), text(fallback)])
            .inc();
    }

    /// A comparison of the cache with etcd has ended.
    pub(crate) fn consistency_check(&self, status: &str) {
        self.all
            .consistency_checks
            .with_label_values(&[&self.group, &self.resource, status])
            .inc();
    }

    /// A progress notification moved the cache on.
    pub(crate) fn bookmark(&self) {
        let labels = [self.group.as_str(), self.resource.as_str()];
        if let Some(counts) = &self.all.etcd_bookmark_counts {
            counts.with_label_values(&labels).inc();
        }
        self.all
            .etcd_bookmark_total
            .with_label_values(&labels)
            .inc();
    }

    /// `None` when counting failed.
    pub(crate) fn set_objects(&self, count: Option<u64>, bytes: Option<u64>) {
        let value = |number: Option<u64>| number.map_or(-1.0, |number| number as f64);
        let full = if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        };
        self.all
            .storage_objects
            .with_label_values(&[full.as_str()])
            .set(value(count));
        let labels = [self.group.as_str(), self.resource.as_str()];
        self.all
            .resource_objects
            .with_label_values(&labels)
            .set(value(count));
        self.all
            .resource_size
            .with_label_values(&labels)
            .set(value(bytes));
    }
}
