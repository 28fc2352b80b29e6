//! What is counted. Upstream: pod-security-admission/metrics.

use component_base::metrics::{CounterVec, Metrics, Opts};

use super::levels::{Level, LevelVersion, Version};
use crate::admission::{Attributes, Operation};

/// The minor version that this server is of.
const OWN_MINOR: i64 = 36;

/// The families, cheap to clone.
#[derive(Clone)]
pub struct PodSecurityMetrics {
    evaluations: CounterVec,
    exemptions: CounterVec,
    errors: CounterVec,
}

impl PodSecurityMetrics {
    /// Registers all families.
    pub fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            metrics.counter_vec(Opts::new(name, help), labels)
        };
        let families = Self {
            evaluations: counter(
                "pod_security_evaluations_total",
                "Number of policy evaluations that occurred, not counting ignored or exempt requests.",
                &[
                    "decision",
                    "policy_level",
                    "policy_version",
                    "mode",
                    "request_operation",
                    "resource",
                    "subresource",
                ],
            ),
            exemptions: counter(
                "pod_security_exemptions_total",
                "Number of exempt requests, not counting ignored or out of scope requests.",
                &["request_operation", "resource", "subresource"],
            ),
            errors: counter(
                "pod_security_errors_total",
                "Number of errors preventing normal evaluation. Non-fatal errors may result in the latest restricted profile being used for evaluation.",
                &["fatal", "request_operation", "resource", "subresource"],
            ),
        };
        // There from the start.
        for operation in ["create", "update"] {
            let labels = [
                "allow",
                "privileged",
                "latest",
                "enforce",
                operation,
                "pod",
                "",
            ];
            families.evaluations.with_label_values(&labels);
            for resource in ["pod", "controller"] {
                let labels = [operation, resource, ""];
                families.exemptions.with_label_values(&labels);
            }
        }
        families
    }

    pub(super) fn evaluated(
        &self,
        allowed: bool,
        policy: LevelVersion,
        mode: &str,
        attributes: &Attributes,
    ) {
        let version = match policy.version {
            _ if policy.level == Level::Privileged => "latest".to_owned(),
            Version::Minor(minor) if minor > OWN_MINOR => "future".to_owned(),
            version => version.to_string(),
        };
        let decision = if allowed { "allow" } else { "deny" };
        let [operation, resource, subresource] = labels(attributes);
        let level = policy.level.as_str();
        let labels = [
            decision,
            level,
            &version,
            mode,
            operation,
            resource,
            subresource,
        ];
        self.evaluations.with_label_values(&labels).inc();
    }

    pub(super) fn exempt(&self, attributes: &Attributes) {
        self.exemptions.with_label_values(&labels(attributes)).inc();
    }

    pub(super) fn failed(&self, fatal: bool, attributes: &Attributes) {
        let [operation, resource, subresource] = labels(attributes);
        let fatal = if fatal { "true" } else { "false" };
        let labels = [fatal, operation, resource, subresource];
        self.errors.with_label_values(&labels).inc();
    }
}

fn labels(attributes: &Attributes) -> [&str; 3] {
    let operation = match attributes.operation {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Connect => "connect",
    };
    let resource = if attributes.is("", "pods") {
        "pod"
    } else {
        "controller"
    };
    [operation, resource, &attributes.subresource]
}
