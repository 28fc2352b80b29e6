//! The scheduler's own metrics, by upstream's names. Upstream: pkg/scheduler/metrics.

use component_base::metrics::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, Metrics as Base, Opts,
    Stability, exponential_buckets,
};

/// Handles of all metrics.
#[derive(Clone)]
pub struct Metrics {
    pub schedule_attempts: CounterVec,
    pub scheduling_attempt_duration: HistogramVec,
    pub scheduling_algorithm_duration: Histogram,
    pub event_handling_duration: HistogramVec,
    pub preemption_victims: Histogram,
    pub preemption_attempts: Counter,
    pub pending_pods: PendingPods,
    pub in_flight_events: GaugeVec,
    pub goroutines: GaugeVec,
    pub pod_scheduling_sli_duration: HistogramVec,
    pub pod_scheduling_attempts: Histogram,
    pub pod_scheduled_after_flush: Counter,
    pub extension_point_duration: HistogramVec,
    pub plugin_execution_duration: HistogramVec,
    pub queueing_hint_execution_duration: HistogramVec,
    pub queue_incoming_pods: CounterVec,
    pub permit_wait_duration: HistogramVec,
    pub cache_size: GaugeVec,
    pub unschedulable_pods: GaugeVec,
    pub plugin_evaluation: CounterVec,
    pub preemption_goroutines_duration: HistogramVec,
    pub preemption_goroutines_execution: CounterVec,
    pub volume_scheduling_stage_errors: CounterVec,
}

/// `scheduler_pending_pods`, by queue.
#[derive(Clone)]
pub struct PendingPods {
    pub active: Gauge,
    pub backoff: Gauge,
    pub unschedulable: Gauge,
    pub gated: Gauge,
}

impl Metrics {
    /// Registers them.
    pub fn new(base: &Base) -> Self {
        let opts = |name: &str, help: &str, stability| {
            Opts::new(format!("scheduler_{name}"), help).stability(stability)
        };
        let histogram =
            |name: &str, help: &str, stability, start: f64, factor: f64, count: usize| {
                opts(name, help, stability).buckets(exponential_buckets(start, factor, count))
            };
        use Stability::{Alpha, Beta, Stable};
        let pending = base.gauge_vec(
            opts("pending_pods", "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule because they are gated.", Stable),
            &["queue"],
        );
        let queue = |name: &str| pending.with_label_values(&[name]);
        Self {
            schedule_attempts: base.counter_vec(
                opts("schedule_attempts_total", "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.", Stable),
                &["result", "profile"],
            ),
            scheduling_attempt_duration: base.histogram_vec(
                histogram("scheduling_attempt_duration_seconds", "Scheduling attempt latency in seconds (scheduling algorithm + binding)", Stable, 0.001, 2.0, 15),
                &["result", "profile"],
            ),
            scheduling_algorithm_duration: base.histogram(
                histogram("scheduling_algorithm_duration_seconds", "Scheduling algorithm latency in seconds", Alpha, 0.001, 2.0, 15),
            ),
            event_handling_duration: base.histogram_vec(
                histogram("event_handling_duration_seconds", "Event handling latency in seconds.", Alpha, 0.0001, 2.0, 12),
                &["event"],
            ),
            preemption_victims: base.histogram(
                histogram("preemption_victims", "Number of selected preemption victims", Stable, 1.0, 2.0, 7),
            ),
            preemption_attempts: base.counter(
                opts("preemption_attempts_total", "Total preemption attempts in the cluster till now", Stable),
            ),
            pending_pods: PendingPods {
                active: queue("active"),
                backoff: queue("backoff"),
                unschedulable: queue("unschedulable"),
                gated: queue("gated"),
            },
            in_flight_events: base.gauge_vec(
                opts("inflight_events", "Number of events currently tracked in the scheduling queue.", Alpha),
                &["event"],
            ),
            goroutines: base.gauge_vec(
                opts("goroutines", "Number of running goroutines split by the work they do such as binding.", Beta),
                &["operation"],
            ),
            pod_scheduling_sli_duration: base.histogram_vec(
                histogram("pod_scheduling_sli_duration_seconds", "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve multiple scheduling attempts.", Beta, 0.01, 2.0, 20),
                &["attempts"],
            ),
            pod_scheduling_attempts: base.histogram(
                histogram("pod_scheduling_attempts", "Number of attempts to successfully schedule a pod.", Stable, 1.0, 2.0, 5),
            ),
            pod_scheduled_after_flush: base.counter(
                opts("pod_scheduled_after_flush_total", "Number of pods that were successfully scheduled after being flushed from unschedulablePods due to timeout. This metric helps detect potential queueing hint misconfigurations or event handling issues.", Alpha),
            ),
            extension_point_duration: base.histogram_vec(
                histogram("framework_extension_point_duration_seconds", "Latency for running all plugins of a specific extension point.", Stable, 0.0001, 2.0, 12),
                &["extension_point", "status", "profile"],
            ),
            plugin_execution_duration: base.histogram_vec(
                histogram("plugin_execution_duration_seconds", "Duration for running a plugin at a specific extension point.", Alpha, 0.00001, 1.5, 20),
                &["plugin", "extension_point", "status"],
            ),
            queueing_hint_execution_duration: base.histogram_vec(
                histogram("queueing_hint_execution_duration_seconds", "Duration for running a queueing hint function of a plugin.", Alpha, 0.00001, 1.5, 20),
                &["plugin", "event", "hint"],
            ),
            queue_incoming_pods: base.counter_vec(
                opts("queue_incoming_pods_total", "Number of pods added to scheduling queues by event and queue type.", Stable),
                &["queue", "event"],
            ),
            permit_wait_duration: base.histogram_vec(
                histogram("permit_wait_duration_seconds", "Duration of waiting on permit.", Beta, 0.001, 2.0, 15),
                &["result"],
            ),
            cache_size: base.gauge_vec(
                opts("cache_size", "Number of nodes, pods, and assumed (bound) pods in the scheduler cache.", Alpha),
                &["type"],
            ),
            unschedulable_pods: base.gauge_vec(
                opts("unschedulable_pods", "The number of unschedulable pods broken down by plugin name. A pod will increment the gauge for all plugins that caused it to not schedule and so this metric have meaning only when broken down by plugin.", Beta),
                &["plugin", "profile"],
            ),
            plugin_evaluation: base.counter_vec(
                opts("plugin_evaluation_total", "Number of attempts to schedule pods by each plugin and the extension point (available only in PreFilter, Filter, PreScore, and Score).", Beta),
                &["plugin", "extension_point", "profile"],
            ),
            preemption_goroutines_duration: base.histogram_vec(
                histogram("preemption_goroutines_duration_seconds", "Duration in seconds for running goroutines for the preemption.", Alpha, 0.01, 2.0, 20),
                &["result"],
            ),
            preemption_goroutines_execution: base.counter_vec(
                opts("preemption_goroutines_execution_total", "Number of preemption goroutines executed.", Alpha),
                &["result"],
            ),
            volume_scheduling_stage_errors: base.counter_vec(
                Opts::new("scheduler_volume_scheduling_stage_error_total", "Volume scheduling stage error count"),
                &["operation"],
            ),
        }
    }

    /// Metrics that nobody reads.
    pub fn for_tests() -> Self {
        Self::new(&Base::bare(
            component_base::metrics::MetricsOptions::default(),
        ))
    }

    /// The gauge of pods that a plugin turned down.
    pub fn unschedulable_reason(&self, plugin: &str, profile: &str) -> Gauge {
        self.unschedulable_pods
            .with_label_values(&[plugin, profile])
    }

    /// An attempt ended.
    pub fn attempt(&self, result: &str, profile: &str, seconds: f64) {
        self.scheduling_attempt_duration
            .with_label_values(&[result, profile])
            .observe(seconds);
        self.schedule_attempts
            .with_label_values(&[result, profile])
            .inc();
    }
}
