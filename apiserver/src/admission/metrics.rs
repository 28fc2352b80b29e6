//! What is counted of admission. Upstream: apiserver/pkg/admission/metrics and plugin/policy/{validating,mutating}/metrics.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use component_base::metrics::{
    Counter, CounterVec, Histogram, HistogramVec, Metrics, Opts, Stability,
};

use super::Operation;
use super::cel::Input;
use super::matching::{Conditions, Outcome};
use super::summary::Summary;

const BUCKETS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const CONDITION: [&str; 4] = ["name", "kind", "type", "operation"];
/// As the `type` label has it.
pub(super) const ADMIT: &str = "admit";
pub(super) const VALIDATE: &str = "validate";

/// What the chain, its plugins and their policies count, cheap to clone.
#[derive(Clone)]
pub struct AdmissionMetrics {
    pub(super) plugins: HistogramVec,
    pub(super) steps: HistogramVec,
    pub(super) summary: Summary,
    pub(super) conditions: ConditionMetrics,
    pub(super) validating_policies: PolicyMetrics,
    pub(super) mutating_policies: PolicyMetrics,
}

impl AdmissionMetrics {
    /// To be called once for a registry.
    pub fn new(metrics: &Metrics) -> Self {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("apiserver_admission_{name}"), help)
                .stability(Stability::Stable)
                .buckets(BUCKETS.to_vec())
        };
        let summary = Summary::new(
            "apiserver_admission_step_admission_duration_seconds_summary",
            "[ALPHA] Admission sub-step latency summary in seconds, broken out for each operation and API resource and step type (validate or admit).",
        );
        if let Some(summary) = &summary {
            metrics.register(Box::new(summary.clone()));
        }
        Self {
            plugins: metrics.histogram_vec(
                opts(
                    "controller_admission_duration_seconds",
                    "Admission controller latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
                ),
                &["name", "type", "operation", "rejected"],
            ),
            steps: metrics.histogram_vec(
                opts(
                    "step_admission_duration_seconds",
                    "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type (validate or admit).",
                ),
                &["type", "operation", "rejected"],
            ),
            summary: summary.unwrap_or_default(),
            conditions: ConditionMetrics::new(metrics),
            validating_policies: PolicyMetrics::validating(metrics),
            mutating_policies: PolicyMetrics::mutating(metrics),
        }
    }
}

/// The series of one plugin in one step, or of the step: each is made with its first value.
pub(super) struct Timer {
    /// And the labels before `operation`.
    family: Option<(HistogramVec, Vec<&'static str>)>,
    series: [[OnceLock<Histogram>; 2]; 4],
}

impl Timer {
    pub(super) fn new(family: Option<&HistogramVec>, labels: &[&'static str]) -> Self {
        Self {
            family: family.map(|family| (family.clone(), labels.to_vec())),
            series: Default::default(),
        }
    }

    pub(super) fn observe(&self, operation: Operation, rejected: bool, elapsed: Duration) {
        let Some((family, labels)) = &self.family else {
            return;
        };
        let series = &self.series[operation as usize][usize::from(rejected)];
        let series = series.get_or_init(|| {
            let rejected = if rejected { "true" } else { "false" };
            let labels = [labels, &[operation.as_str(), rejected][..]].concat();
            family.with_label_values(&labels)
        });
        series.observe(elapsed.as_secs_f64());
    }
}

/// What is counted of match conditions.
#[derive(Clone)]
pub struct ConditionMetrics {
    errors: CounterVec,
    exclusions: CounterVec,
    seconds: HistogramVec,
}

impl ConditionMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("apiserver_admission_match_condition_{name}"), help)
        };
        Self {
            errors: metrics.counter_vec(
                opts(
                    "evaluation_errors_total",
                    "Admission match condition evaluation errors count, identified by name of resource containing the match condition and broken out for each kind containing matchConditions (webhook or policy), operation and admission type (validate or admit).",
                ),
                &CONDITION,
            ),
            exclusions: metrics.counter_vec(
                opts(
                    "exclusions_total",
                    "Admission match condition evaluation exclusions count, identified by name of resource containing the match condition and broken out for each kind containing matchConditions (webhook or policy), operation and admission type (validate or admit).",
                ),
                &CONDITION,
            ),
            seconds: metrics.histogram_vec(
                opts(
                    "evaluation_seconds",
                    "Admission match condition evaluation time in seconds, identified by name and broken out for each kind containing matchConditions (webhook or policy), operation and type (validate or admit).",
                )
                .buckets(vec![0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25]),
                &CONDITION,
            ),
        }
    }

    /// A webhook was not asked.
    pub fn excluded(&self, labels: &[&str; 4]) {
        self.exclusions.with_label_values(labels).inc();
    }
}

/// Whose conditions are looked at, and where that is counted.
#[derive(Clone, Copy, Default)]
pub struct Observed<'a> {
    metrics: Option<&'a ConditionMetrics>,
    labels: [&'a str; 4],
}

impl<'a> Observed<'a> {
    /// The conditions of a policy. Upstream has one type for both kinds of policies.
    pub(super) fn policy(
        metrics: Option<&'a ConditionMetrics>,
        name: &'a str,
        operation: Operation,
    ) -> Self {
        Self {
            metrics,
            labels: [name, "policy", VALIDATE, operation.as_str()],
        }
    }

    pub(super) fn webhook(metrics: &'a ConditionMetrics, labels: [&'a str; 4]) -> Self {
        Self {
            metrics: Some(metrics),
            labels,
        }
    }

    /// What the conditions say. As upstream, the time counts only when they do not all hold.
    pub fn evaluate(&self, conditions: &Conditions, input: &Input) -> Outcome {
        let Some(metrics) = self.metrics else {
            return conditions.evaluate(input, || {});
        };
        let start = Instant::now();
        let outcome = conditions.evaluate(input, || {
            metrics.errors.with_label_values(&self.labels).inc();
        });
        if outcome != Outcome::Matches {
            let seconds = metrics.seconds.with_label_values(&self.labels);
            seconds.observe(start.elapsed().as_secs_f64());
        }
        outcome
    }
}

/// What is counted of the expressions of policies.
#[derive(Clone)]
pub(super) struct PolicyMetrics {
    checks: CounterVec,
    seconds: HistogramVec,
}

impl PolicyMetrics {
    fn new(
        metrics: &Metrics,
        stability: Stability,
        (checks, checks_help): (&str, &str),
        (seconds, seconds_help): (&str, &str),
        labels: &[&str],
    ) -> Self {
        let seconds = Opts::new(seconds, seconds_help)
            .stability(stability)
            .buckets(vec![0.000_000_5, 0.001, 0.01, 0.1, 1.0]);
        Self {
            checks: metrics
                .counter_vec(Opts::new(checks, checks_help).stability(stability), labels),
            seconds: metrics.histogram_vec(seconds, labels),
        }
    }

    fn validating(metrics: &Metrics) -> Self {
        Self::new(
            metrics,
            Stability::Beta,
            (
                "apiserver_validating_admission_policy_check_total",
                "Validation admission policy check total, labeled by policy and further identified by binding and enforcement action taken.",
            ),
            (
                "apiserver_validating_admission_policy_check_duration_seconds",
                "Validation admission latency for individual validation expressions in seconds, labeled by policy and further including binding and enforcement action taken.",
            ),
            &[
                "policy",
                "policy_binding",
                "error_type",
                "enforcement_action",
            ],
        )
    }

    fn mutating(metrics: &Metrics) -> Self {
        Self::new(
            metrics,
            Stability::Alpha,
            (
                "apiserver_mutating_admission_policy_check_total",
                "Mutation admission policy check total, labeled by policy and further identified by binding.",
            ),
            (
                "apiserver_mutating_admission_policy_check_duration_seconds",
                "Mutation admission latency for individual mutation expressions in seconds, labeled by policy and binding.",
            ),
            &["policy", "policy_binding", "error_type"],
        )
    }

    /// An expression was evaluated. Labels: policy, binding, type of the error, and what was done, if the policy validates.
    pub(super) fn checked(&self, labels: &[&str], elapsed: Duration) {
        let checks: Counter = self.checks.with_label_values(labels);
        checks.inc();
        let seconds = self.seconds.with_label_values(labels);
        seconds.observe(elapsed.as_secs_f64());
    }
}

/// The `error_type` of what an expression ended with. Upstream: ErrorType, which goes by the text.
pub(super) fn error_type(message: &str) -> &'static str {
    if message.starts_with("compilation") {
        "compile_error"
    } else if message.starts_with("validation failed due to running out of cost budget") {
        "out_of_budget"
    } else {
        "invalid_error"
    }
}
