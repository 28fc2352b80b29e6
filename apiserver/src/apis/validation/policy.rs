//! Pod disruption budgets. Upstream: pkg/apis/policy/validation.

use api_types::policy::v1::*;

use super::apps::{at_most_100_percent, int_or_percent};
use super::*;

pub fn validate_pod_disruption_budget(budget: &PodDisruptionBudget) -> ErrorList {
    budget_spec(&budget.spec, false)
}

pub fn validate_pod_disruption_budget_update(
    new: &PodDisruptionBudget,
    old: &PodDisruptionBudget,
) -> ErrorList {
    let keep_invalid = !label_selector(old.spec.selector.as_deref(), &Path::nil()).is_empty();
    budget_spec(&new.spec, keep_invalid)
}

fn budget_spec(spec: &PodDisruptionBudgetSpec, keep_invalid: bool) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = ErrorList::new();
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(field::invalid(&path, go_value::bad_value(spec), detail));
    }
    for (value, child) in [
        (&spec.min_available, "minAvailable"),
        (&spec.max_unavailable, "maxUnavailable"),
    ] {
        if let Some(value) = value {
            errors.extend(int_or_percent(value, &path.child(child)));
            errors.extend(at_most_100_percent(value, &path.child(child)));
        }
    }
    let selector = spec.selector.as_deref();
    errors.extend(label_selector_allowing(
        selector,
        keep_invalid,
        &path.child("selector"),
    ));
    if let Some(policy) = &spec.unhealthy_pod_eviction_policy {
        let path = path.child("unhealthyPodEvictionPolicy");
        errors.extend(one_of(policy, &["AlwaysAllow", "IfHealthyBudget"], &path));
    }
    errors
}

pub fn validate_pod_disruption_budget_status_update(budget: &PodDisruptionBudget) -> ErrorList {
    let path = Path::new("status");
    let status = &budget.status;
    let mut errors = rules::validate_conditions(&status.conditions, &path.child("conditions"));
    for (value, child) in [
        (status.disruptions_allowed, "disruptionsAllowed"),
        (status.current_healthy, "currentHealthy"),
        (status.desired_healthy, "desiredHealthy"),
        (status.expected_pods, "expectedPods"),
    ] {
        errors.extend(nonnegative(value.into(), &path.child(child)));
    }
    errors
}
