//! Metrics of the kubelet, with upstream's names and help texts. Upstream: `pkg/kubelet/metrics`, `pkg/kubelet/prober`.
//!
//! Made once and handed down. Probe metrics have their own registry, because they are served at `/metrics/probes`.

use component_base::metrics::{
    self, Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, MetricsOptions, Opts,
    exponential_buckets,
};

const POD_STARTUP: [f64; 25] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0,
    300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];
const IMAGE_PULL: [f64; 18] = [
    1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0, 900.0,
    1200.0, 1800.0, 2700.0, 3600.0,
];
const STATUS_SYNC: [f64; 11] = [
    0.010, 0.050, 0.100, 0.500, 1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0,
];
const RESIZE: [f64; 14] = [
    10.0, 50.0, 100.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 20_000.0, 30_000.0, 60_000.0,
    120_000.0, 300_000.0, 600_000.0,
];

/// Handles of all metrics. Field names are the metrics' names without prefix and unit.
#[expect(
    missing_docs,
    reason = "each field is described by the help text of its metric below"
)]
pub struct Metrics {
    pub node_name: GaugeVec,
    pub pod_worker_duration: HistogramVec,
    pub pod_start_duration: Histogram,
    pub pod_start_sli_duration: Histogram,
    pub pod_worker_start_duration: Histogram,
    pub pod_status_sync_duration: Histogram,
    pub pleg_relist_duration: Histogram,
    pub pleg_relist_interval: Histogram,
    pub pleg_last_seen: Gauge,
    pub pleg_discard_events: Counter,
    pub runtime_operations: CounterVec,
    pub runtime_operations_duration: HistogramVec,
    pub runtime_operations_errors: CounterVec,
    pub evictions: CounterVec,
    pub preemptions: CounterVec,
    pub running_pods: Gauge,
    pub running_containers: GaugeVec,
    pub desired_pods: GaugeVec,
    pub active_pods: GaugeVec,
    pub mirror_pods: Gauge,
    pub orphaned_runtime_pods: Counter,
    pub restarted_pods: CounterVec,
    pub started_pods: Counter,
    pub started_pods_errors: Counter,
    pub started_containers: CounterVec,
    pub started_containers_errors: CounterVec,
    pub terminated_containers: CounterVec,
    pub lifecycle_http_fallbacks: Counter,
    pub image_garbage_collected: CounterVec,
    pub image_pull_duration: HistogramVec,
    pub cgroup_version: Gauge,
    pub cgroup_manager_duration: HistogramVec,
    pub admission_rejections: CounterVec,
    pub container_requested_resizes: CounterVec,
    pub pod_resize_duration: HistogramVec,
    pub pod_pending_resizes: GaugeVec,
    pub pod_infeasible_resizes: CounterVec,
    pub pod_in_progress_resizes: Gauge,
    pub pod_deferred_accepted_resizes: CounterVec,
    pub probe_total: CounterVec,
    pub probe_duration: HistogramVec,
    /// Served at `/metrics/probes`.
    pub probes: metrics::Metrics,
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("kubelet_{name}"), help)
}

impl Metrics {
    /// Registers everything.
    #[must_use]
    pub fn new(registry: &metrics::Metrics) -> Self {
        let probes = metrics::Metrics::bare(MetricsOptions::default());
        Metrics {
            node_name: registry.gauge_vec(opts("node_name", "The node's name. The count is always 1."), &["node"]),
            pod_worker_duration: registry.histogram_vec(opts("pod_worker_duration_seconds", "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync"), &["operation_type"]),
            pod_start_duration: registry.histogram(opts("pod_start_duration_seconds", "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run").buckets(POD_STARTUP.to_vec())),
            pod_start_sli_duration: registry.histogram(opts("pod_start_sli_duration_seconds", "Duration in seconds to start a pod, excluding time to pull images and run init containers, measured from pod creation timestamp to when all its containers are reported as started and observed via watch").buckets(POD_STARTUP.to_vec())),
            pod_worker_start_duration: registry.histogram(opts("pod_worker_start_duration_seconds", "Duration in seconds from kubelet seeing a pod to starting a worker.")),
            pod_status_sync_duration: registry.histogram(opts("pod_status_sync_duration_seconds", "Duration in seconds to sync a pod status update. Measures time from detection of a change to pod status until the API is successfully updated for that pod, even if multiple intevening changes to pod status occur.").buckets(STATUS_SYNC.to_vec())),
            pleg_relist_duration: registry.histogram(opts("pleg_relist_duration_seconds", "Duration in seconds for relisting pods in PLEG.")),
            pleg_relist_interval: registry.histogram(opts("pleg_relist_interval_seconds", "Interval in seconds between relisting in PLEG.")),
            pleg_last_seen: registry.gauge(opts("pleg_last_seen_seconds", "Timestamp in seconds when PLEG was last seen active.")),
            pleg_discard_events: registry.counter(opts("pleg_discard_events", "The number of discard events in PLEG.")),
            runtime_operations: registry.counter_vec(opts("runtime_operations_total", "Cumulative number of runtime operations by operation type."), &["operation_type"]),
            runtime_operations_duration: registry.histogram_vec(opts("runtime_operations_duration_seconds", "Duration in seconds of runtime operations. Broken down by operation type.").buckets(exponential_buckets(0.005, 2.5, 14)), &["operation_type"]),
            runtime_operations_errors: registry.counter_vec(opts("runtime_operations_errors_total", "Cumulative number of runtime operation errors by operation type."), &["operation_type"]),
            evictions: registry.counter_vec(opts("evictions", "Cumulative number of pod evictions by eviction signal"), &["eviction_signal"]),
            preemptions: registry.counter_vec(opts("preemptions", "Cumulative number of pod preemptions by preemption resource"), &["preemption_signal"]),
            running_pods: registry.gauge(opts("running_pods", "Number of pods that have a running pod sandbox")),
            running_containers: registry.gauge_vec(opts("running_containers", "Number of containers currently running"), &["container_state"]),
            desired_pods: registry.gauge_vec(opts("desired_pods", "The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver."), &["static"]),
            active_pods: registry.gauge_vec(opts("active_pods", "The number of pods the kubelet considers active and which are being considered when admitting new pods. static is true if the pod is not from the apiserver."), &["static"]),
            mirror_pods: registry.gauge(opts("mirror_pods", "The number of mirror pods the kubelet will try to create (one per admitted static pod)")),
            orphaned_runtime_pods: registry.counter(opts("orphaned_runtime_pods_total", "Number of pods that have been detected in the container runtime without being already known to the pod worker. This typically indicates the kubelet was restarted while a pod was force deleted in the API or in the local configuration, which is unusual.")),
            restarted_pods: registry.counter_vec(opts("restarted_pods_total", "Number of pods that have been restarted because they were deleted and recreated with the same UID while the kubelet was watching them (common for static pods, extremely uncommon for API pods)"), &["static"]),
            started_pods: registry.counter(opts("started_pods_total", "Cumulative number of pods started")),
            started_pods_errors: registry.counter(opts("started_pods_errors_total", "Cumulative number of errors when starting pods")),
            started_containers: registry.counter_vec(opts("started_containers_total", "Cumulative number of containers started"), &["container_type"]),
            started_containers_errors: registry.counter_vec(opts("started_containers_errors_total", "Cumulative number of errors when starting containers"), &["container_type", "code"]),
            terminated_containers: registry.counter_vec(opts("terminated_containers_total", "Cumulative number of container terminations."), &["container_type", "exit_code", "reason"]),
            lifecycle_http_fallbacks: registry.counter(opts("lifecycle_handler_http_fallbacks_total", "The number of times lifecycle handlers successfully fell back to http from https.")),
            image_garbage_collected: registry.counter_vec(opts("image_garbage_collected_total", "Total number of images garbage collected by the kubelet, whether through disk usage or image age."), &["reason"]),
            image_pull_duration: registry.histogram_vec(opts("image_pull_duration_seconds", "Duration in seconds to pull an image.").buckets(IMAGE_PULL.to_vec()), &["image_size_in_bytes"]),
            cgroup_version: registry.gauge(opts("cgroup_version", "cgroup version on the hosts.")),
            cgroup_manager_duration: registry.histogram_vec(opts("cgroup_manager_duration_seconds", "Duration in seconds for cgroup manager operations. Broken down by method."), &["operation_type"]),
            admission_rejections: registry.counter_vec(opts("admission_rejections_total", "Cumulative number pod admission rejections by the Kubelet."), &["reason"]),
            container_requested_resizes: registry.counter_vec(opts("container_requested_resizes_total", "Number of requested resizes, counted at the container level. Different resources on the same container are counted separately. The 'requirement' label refers to 'memory' or 'limits'; the 'operation' label can be one of 'add', 'remove', 'increase' or 'decrease'."), &["resource", "requirement", "operation"]),
            pod_resize_duration: registry.histogram_vec(opts("pod_resize_duration_milliseconds", "Duration in milliseconds to actuate a pod resize").buckets(RESIZE.to_vec()), &["success"]),
            pod_pending_resizes: registry.gauge_vec(opts("pod_pending_resizes", "Number of pending resizes for pods."), &["reason"]),
            pod_infeasible_resizes: registry.counter_vec(opts("pod_infeasible_resizes_total", "Number of infeasible resizes for pods."), &["reason_detail"]),
            pod_in_progress_resizes: registry.gauge(opts("pod_in_progress_resizes", "Number of in-progress resizes for pods.")),
            pod_deferred_accepted_resizes: registry.counter_vec(opts("pod_deferred_accepted_resizes_total", "Cumulative number of resizes that were accepted after being deferred."), &["retry_trigger"]),
            probe_total: probes.counter_vec(
                Opts::new(
                    "prober_probe_total",
                    "Cumulative number of a liveness, readiness or startup probe for a container by result.",
                ),
                &["probe_type", "result", "container", "pod", "namespace", "pod_uid"],
            ),
            probe_duration: probes.histogram_vec(
                Opts::new("prober_probe_duration_seconds", "Duration in seconds for a probe response."),
                &["probe_type", "container", "pod", "namespace"],
            ),
            probes,
        }
    }

    /// Metrics nobody serves, for tests.
    #[cfg(test)]
    pub(crate) fn for_tests() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self::new(
            &metrics::Metrics::bare(MetricsOptions::default()),
        ))
    }
}
