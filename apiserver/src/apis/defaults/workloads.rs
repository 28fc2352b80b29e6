//! Defaults of apps, batch and autoscaling. Upstream: pkg/apis/{apps,batch,autoscaling}/v*/defaults.go.

use api_types::IntOrString;
use api_types::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use api_types::autoscaling::{v1 as autoscaling_v1, v2};
use api_types::batch::v1::{CronJob, Job, PodFailurePolicyOnPodConditionsPattern};

use super::{Row, row};
use crate::apis::gates;
use crate::apis::validation::apps::TEMPLATE_GENERATION;

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(deployment),
        row(daemon_set),
        row(stateful_set),
        row(replica_set),
        row(job),
        row(cron_job),
        row(pod_conditions_pattern),
        row(horizontal_pod_autoscaler_v1),
        row(horizontal_pod_autoscaler),
    ]
}

fn deployment(deployment: &mut Deployment) {
    let spec = &mut deployment.spec;
    spec.replicas.get_or_insert(1);
    if spec.strategy.type_.is_empty() {
        spec.strategy.type_ = "RollingUpdate".to_owned();
    }
    if spec.strategy.type_ == "RollingUpdate" {
        let rolling = spec.strategy.rolling_update.get_or_insert_default();
        rolling
            .max_unavailable
            .get_or_insert_with(|| IntOrString::from("25%").into());
        rolling
            .max_surge
            .get_or_insert_with(|| IntOrString::from("25%").into());
    }
    spec.revision_history_limit.get_or_insert(10);
    spec.progress_deadline_seconds.get_or_insert(600);
}

fn daemon_set(set: &mut DaemonSet) {
    // The internal type has it as a number, so the versioned one always shows it, and whoever writes it owns it.
    let annotations = &mut set.metadata.annotations;
    annotations
        .entry(TEMPLATE_GENERATION.to_owned())
        .or_insert_with(|| "0".to_owned());
    let spec = &mut set.spec;
    if spec.update_strategy.type_.is_empty() {
        spec.update_strategy.type_ = "RollingUpdate".to_owned();
    }
    if spec.update_strategy.type_ == "RollingUpdate" {
        let rolling = spec.update_strategy.rolling_update.get_or_insert_default();
        rolling
            .max_unavailable
            .get_or_insert_with(|| IntOrString::Int(1).into());
        rolling
            .max_surge
            .get_or_insert_with(|| IntOrString::Int(0).into());
    }
    spec.revision_history_limit.get_or_insert(10);
}

fn stateful_set(set: &mut StatefulSet) {
    let spec = &mut set.spec;
    if spec.pod_management_policy.is_empty() {
        spec.pod_management_policy = "OrderedReady".to_owned();
    }
    if spec.update_strategy.type_.is_empty() {
        spec.update_strategy.type_ = "RollingUpdate".to_owned();
        spec.update_strategy.rolling_update.get_or_insert_default();
    }
    if spec.update_strategy.type_ == "RollingUpdate"
        && let Some(rolling) = &mut spec.update_strategy.rolling_update
    {
        rolling.partition.get_or_insert(0);
        if gates::enabled("MaxUnavailableStatefulSet") {
            rolling
                .max_unavailable
                .get_or_insert_with(|| IntOrString::Int(1).into());
        }
    }
    let retention = spec
        .persistent_volume_claim_retention_policy
        .get_or_insert_default();
    for policy in [&mut retention.when_deleted, &mut retention.when_scaled] {
        if policy.is_empty() {
            *policy = "Retain".to_owned();
        }
    }
    spec.replicas.get_or_insert(1);
    spec.revision_history_limit.get_or_insert(10);
}

fn replica_set(set: &mut ReplicaSet) {
    set.spec.replicas.get_or_insert(1);
}

fn job(job: &mut Job) {
    let spec = &mut job.spec;
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    let backoff = if spec.backoff_limit_per_index.is_some() {
        i32::MAX
    } else {
        6
    };
    spec.backoff_limit.get_or_insert(backoff);
    spec.completion_mode
        .get_or_insert_with(|| "NonIndexed".to_owned());
    spec.suspend.get_or_insert(false);
    let replacement = if spec.pod_failure_policy.is_some() {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    spec.pod_replacement_policy
        .get_or_insert_with(|| replacement.to_owned());
    spec.manual_selector.get_or_insert(false);
}

fn cron_job(cron_job: &mut CronJob) {
    let spec = &mut cron_job.spec;
    if spec.concurrency_policy.is_empty() {
        spec.concurrency_policy = "Allow".to_owned();
    }
    spec.suspend.get_or_insert(false);
    spec.successful_jobs_history_limit.get_or_insert(3);
    spec.failed_jobs_history_limit.get_or_insert(1);
}

fn pod_conditions_pattern(pattern: &mut PodFailurePolicyOnPodConditionsPattern) {
    if pattern.status.is_empty() {
        pattern.status = "True".to_owned();
    }
}

fn horizontal_pod_autoscaler_v1(autoscaler: &mut autoscaling_v1::HorizontalPodAutoscaler) {
    autoscaler.spec.min_replicas.get_or_insert(1);
}

fn horizontal_pod_autoscaler(autoscaler: &mut v2::HorizontalPodAutoscaler) {
    let spec = &mut autoscaler.spec;
    spec.min_replicas.get_or_insert(1);
    if spec.metrics.is_empty() {
        let target = v2::MetricTarget {
            type_: "Utilization".to_owned(),
            average_utilization: Some(80),
            ..v2::MetricTarget::default()
        };
        spec.metrics.push(v2::MetricSpec {
            type_: "Resource".to_owned(),
            resource: Some(Box::new(v2::ResourceMetricSource {
                name: "cpu".to_owned(),
                target,
            })),
            ..v2::MetricSpec::default()
        });
    }
    if let Some(behavior) = &mut spec.behavior {
        scaling_rules(
            behavior.scale_up.get_or_insert_default(),
            Some(0),
            &[("Pods", 4), ("Percent", 100)],
        );
        scaling_rules(
            behavior.scale_down.get_or_insert_default(),
            None,
            &[("Percent", 100)],
        );
    }
}

fn scaling_rules(
    rules: &mut v2::HPAScalingRules,
    stabilization_seconds: Option<i32>,
    policies: &[(&str, i32)],
) {
    const PERIOD_SECONDS: i32 = 15;
    rules.select_policy.get_or_insert_with(|| "Max".to_owned());
    rules.stabilization_window_seconds =
        rules.stabilization_window_seconds.or(stabilization_seconds);
    if rules.policies.is_empty() {
        let policy = |(kind, value): &(&str, i32)| v2::HPAScalingPolicy {
            type_: (*kind).to_owned(),
            value: *value,
            period_seconds: PERIOD_SECONDS,
        };
        rules.policies = policies.iter().map(policy).collect();
    }
}
