//! The metrics of the job controller. Upstream: pkg/controller/job/metrics.

use component_base::metrics::{
    CounterVec, HistogramVec, Metrics, Opts, Stability, exponential_buckets,
};

pub(super) struct JobMetrics {
    pub sync_duration: HistogramVec,
    pub syncs: CounterVec,
    pub finished: CounterVec,
    pub external: CounterVec,
    pub pods_finished: CounterVec,
    pub policy_actions: CounterVec,
    pub tracked_pods: CounterVec,
    pub finished_indexes: CounterVec,
    pub pods_created: CounterVec,
}

impl JobMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let opts = |name: &str, help: &str, stability| {
            Opts::new(format!("job_controller_{name}"), help).stability(stability)
        };
        Self {
            sync_duration: metrics.histogram_vec(
                opts("job_sync_duration_seconds", "The time it took to sync a job", Stability::Stable).buckets(exponential_buckets(0.004, 2.0, 15)),
                &["completion_mode", "result", "action"],
            ),
            syncs: metrics.counter_vec(opts("job_syncs_total", "The number of job syncs", Stability::Stable), &["completion_mode", "result", "action"]),
            finished: metrics.counter_vec(opts("jobs_finished_total", "The number of finished jobs", Stability::Stable), &["completion_mode", "result", "reason"]),
            external: metrics.counter_vec(
                opts("jobs_by_external_controller_total", "The number of Jobs managed by an external controller", Stability::Stable),
                &["controller_name"],
            ),
            pods_finished: metrics.counter_vec(
                opts("job_pods_finished_total", "The number of finished Pods that are fully tracked", Stability::Stable),
                &["completion_mode", "result"],
            ),
            policy_actions: metrics.counter_vec(
                opts(
                    "pod_failures_handled_by_failure_policy_total",
                    "The number of failed Pods handled by failure policy with\n\t\t\trespect to the failure policy action applied based on the matched\n\t\t\trule. Possible values of the action label correspond to the\n\t\t\tpossible values for the failure policy rule action, which are:\n\t\t\t\"FailJob\", \"Ignore\" and \"Count\".",
                    Stability::Alpha,
                ),
                &["action"],
            ),
            tracked_pods: metrics.counter_vec(
                opts(
                    "terminated_pods_tracking_finalizer_total",
                    "The number of terminated pods (phase=Failed|Succeeded)\nthat have the finalizer batch.kubernetes.io/job-tracking\nThe event label can be \"add\" or \"delete\".",
                    Stability::Alpha,
                ),
                &["event"],
            ),
            finished_indexes: metrics.counter_vec(
                opts(
                    "job_finished_indexes_total",
                    "The number of finished indexes. Possible values for the\n\t\t\tstatus label are: \"succeeded\", \"failed\". Possible values for the\n\t\t\tbackoffLimit label are: \"perIndex\" and \"global\"",
                    Stability::Alpha,
                ),
                &["status", "backoffLimit"],
            ),
            pods_created: metrics.counter_vec(
                opts(
                    "job_pods_creation_total",
                    "The number of Pods created by the Job controller labelled with a reason for the Pod creation.\nThis metric also distinguishes between Pods created using different PodReplacementPolicy settings.\nPossible values of the \"reason\" label are:\n\"new\", \"recreate_terminating_or_failed\", \"recreate_failed\".\nPossible values of the \"status\" label are:\n\"succeeded\", \"failed\".",
                    Stability::Alpha,
                ),
                &["reason", "status"],
            ),
        }
    }
}
