//! Horizontal pod autoscalers and scales. Upstream: pkg/apis/autoscaling/validation.

use std::collections::BTreeSet;

use api_types::autoscaling::v2::*;

use super::resources::container_resource_name;
use super::*;

pub fn validate_horizontal_pod_autoscaler(autoscaler: &HorizontalPodAutoscaler) -> ErrorList {
    let mut errors = object_meta(&autoscaler.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(spec_rules(&autoscaler.spec, None));
    errors
}

pub fn validate_horizontal_pod_autoscaler_update(
    new: &HorizontalPodAutoscaler,
    old: &HorizontalPodAutoscaler,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(spec_rules(&new.spec, Some(&old.spec)));
    errors
}

pub fn validate_horizontal_pod_autoscaler_status_update(
    new: &HorizontalPodAutoscaler,
    old: &HorizontalPodAutoscaler,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let status = &new.status;
    errors.extend(nonnegative(
        status.current_replicas.into(),
        &path(&["status", "currentReplicas"]),
    ));
    errors.extend(nonnegative(
        status.desired_replicas.into(),
        &path(&["status", "desiredReplicas"]),
    ));
    errors
}

fn spec_rules(
    spec: &HorizontalPodAutoscalerSpec,
    old: Option<&HorizontalPodAutoscalerSpec>,
) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = ErrorList::new();
    let to_zero =
        gates::enabled("HPAScaleToZero") || old.is_some_and(|old| old.min_replicas == Some(0));
    let least = if to_zero { 0 } else { 1 };
    if let Some(min) = spec.min_replicas.filter(|min| *min < least) {
        let detail = format!("must be greater than or equal to {least}");
        errors.push(field::invalid(&path.child("minReplicas"), min, detail));
    }
    let max_path = path.child("maxReplicas");
    if spec.max_replicas == 0 {
        errors.push(field::required(&max_path, "must be set and greater than 0"));
    } else if spec.max_replicas < 0 {
        let detail = "must be greater than or equal to 1";
        errors.push(field::invalid(&max_path, spec.max_replicas, detail));
    }
    if spec.min_replicas.is_some_and(|min| spec.max_replicas < min) {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(field::invalid(&max_path, spec.max_replicas, detail));
    }
    // References that are stored already may keep an API version that is refused in new objects.
    let target = &spec.scale_target_ref;
    let keep = old.is_some_and(|old| {
        let before = &old.scale_target_ref;
        before.api_version == target.api_version && before.kind == target.kind
    });
    let no_group = target.kind == "ReplicationController";
    errors.extend(object_reference(
        target,
        keep,
        no_group,
        &path.child("scaleTargetRef"),
    ));
    errors.extend(metrics(spec, old, &path.child("metrics")));
    if let Some(behavior) = &spec.behavior {
        let path = path.child("behavior");
        for (rules, child) in [
            (&behavior.scale_up, "scaleUp"),
            (&behavior.scale_down, "scaleDown"),
        ] {
            if let Some(rules) = rules {
                errors.extend(scaling_rules(rules, &path.child(child)));
            }
        }
    }
    errors
}

fn api_version_problem(api_version: &str, allow_no_group: bool) -> Option<String> {
    match api_version.matches('/').count() {
        0 if !allow_no_group => Some("apiVersion must specify API group".to_owned()),
        0 | 1 => None,
        _ => Some(format!("unexpected GroupVersion string: {api_version}")),
    }
}

fn object_reference(
    reference: &CrossVersionObjectReference,
    any_api_version: bool,
    allow_no_group: bool,
    path: &Path,
) -> ErrorList {
    let mut errors = super::networking::path_segment(&reference.kind, &path.child("kind"));
    errors.extend(super::networking::path_segment(
        &reference.name,
        &path.child("name"),
    ));
    if !any_api_version
        && let Some(problem) = api_version_problem(&reference.api_version, allow_no_group)
    {
        errors.push(field::invalid(
            &path.child("apiVersion"),
            &reference.api_version,
            problem,
        ));
    }
    errors
}

const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

fn metrics(
    spec: &HorizontalPodAutoscalerSpec,
    old: Option<&HorizontalPodAutoscalerSpec>,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let keep = old.is_some_and(|old| {
        let mut objects = old
            .metrics
            .iter()
            .filter_map(|metric| metric.object.as_ref());
        objects
            .any(|object| api_version_problem(&object.described_object.api_version, true).is_some())
    });
    for (i, metric) in spec.metrics.iter().enumerate() {
        errors.extend(metric_spec(metric, keep, &path.index(i)));
    }
    let measured = spec
        .metrics
        .iter()
        .any(|metric| matches!(metric.type_.as_str(), "Object" | "External"));
    if spec.min_replicas == Some(0) && !measured {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(field::forbidden(path, detail));
    }
    errors
}

fn metric_spec(metric: &MetricSpec, keep: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let type_path = path.child("type");
    let names: Vec<&str> = SOURCES.iter().map(|(ty, _)| *ty).collect();
    if metric.type_.is_empty() {
        errors.push(field::required(
            &type_path,
            "must specify a metric source type",
        ));
    }
    errors.extend(one_of(&metric.type_, &names, &type_path));
    let mut present: BTreeSet<&'static str> = BTreeSet::new();
    if let Some(source) = &metric.object {
        present.insert("object");
        errors.extend(object_source(source, keep, &path.child("object")));
    }
    if let Some(source) = &metric.external
        && present.insert("external")
        && present.len() == 1
    {
        errors.extend(external_source(source, &path.child("external")));
    }
    if let Some(source) = &metric.pods
        && present.insert("pods")
        && present.len() == 1
    {
        let path = path.child("pods");
        errors.extend(metric_identifier(&source.metric, &path.child("metric")));
        errors.extend(metric_target(&source.target, &path.child("target")));
        if source.target.average_value.is_none() {
            let detail = "must specify a positive target averageValue";
            errors.push(field::required(
                &path.child("target").child("averageValue"),
                detail,
            ));
        }
    }
    if let Some(source) = &metric.resource
        && present.insert("resource")
        && present.len() == 1
    {
        let path = path.child("resource");
        if source.name.is_empty() {
            errors.push(field::required(
                &path.child("name"),
                "must specify a resource name",
            ));
        }
        errors.extend(resource_target(&source.target, &path.child("target")));
    }
    if let Some(source) = &metric.container_resource
        && present.insert("containerResource")
        && present.len() == 1
    {
        let path = path.child("containerResource");
        if source.name.is_empty() {
            errors.push(field::required(
                &path.child("name"),
                "must specify a resource name",
            ));
        } else {
            errors.extend(container_resource_name(&source.name, &path.child("name")));
        }
        if source.container.is_empty() {
            errors.push(field::required(
                &path.child("container"),
                "must specify a container",
            ));
        } else {
            errors.extend(dns_label(&source.container, &path.child("container")));
        }
        errors.extend(resource_target(&source.target, &path.child("target")));
    }
    let expected = SOURCES
        .iter()
        .find(|(ty, _)| *ty == metric.type_)
        .map(|(_, child)| *child);
    match expected {
        Some(child) if !present.contains(child) => {
            let detail = "must populate information for the given metric source";
            errors.push(field::required(&path.child(child), detail));
        }
        Some(_) => {}
        None => errors.extend(one_of(&metric.type_, &names, &type_path)),
    }
    if present.len() != 1 {
        for child in present.into_iter().filter(|child| Some(*child) != expected) {
            errors.push(field::forbidden(
                &path.child(child),
                "must populate the given metric source only",
            ));
        }
    }
    errors
}

fn object_source(source: &ObjectMetricSource, keep: bool, path: &Path) -> ErrorList {
    let mut errors = object_reference(
        &source.described_object,
        keep,
        true,
        &path.child("describedObject"),
    );
    errors.extend(metric_identifier(&source.metric, &path.child("metric")));
    let target_path = path.child("target");
    errors.extend(metric_target(&source.target, &target_path));
    if source.target.value.is_none() && source.target.average_value.is_none() {
        let detail = "must set either a target value or averageValue";
        errors.push(field::required(&target_path.child("averageValue"), detail));
    }
    errors
}

fn external_source(source: &ExternalMetricSource, path: &Path) -> ErrorList {
    let mut errors = metric_identifier(&source.metric, &path.child("metric"));
    let path = path.child("target");
    errors.extend(metric_target(&source.target, &path));
    match (&source.target.value, &source.target.average_value) {
        (None, None) => {
            let detail = "must set either a target value for metric or a per-pod target";
            errors.push(field::required(&path.child("averageValue"), detail));
        }
        (Some(_), Some(_)) => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.push(field::forbidden(&path.child("value"), detail));
        }
        _ => {}
    }
    errors
}

fn resource_target(target: &MetricTarget, path: &Path) -> ErrorList {
    let mut errors = metric_target(target, path);
    match (target.average_utilization, &target.average_value) {
        (None, None) => {
            let detail = "must set either a target raw value or a target utilization";
            errors.push(field::required(&path.child("averageUtilization"), detail));
        }
        (Some(_), Some(_)) => {
            let detail = "may not set both a target raw value and a target utilization";
            errors.push(field::forbidden(&path.child("averageValue"), detail));
        }
        _ => {}
    }
    errors
}

fn metric_target(target: &MetricTarget, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let type_path = path.child("type");
    if target.type_.is_empty() {
        errors.push(field::required(
            &type_path,
            "must specify a metric target type",
        ));
    }
    if !matches!(
        target.type_.as_str(),
        "Utilization" | "Value" | "AverageValue"
    ) {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(field::invalid(&type_path, &target.type_, detail));
    }
    for (amount, child) in [
        (&target.value, "value"),
        (&target.average_value, "averageValue"),
    ] {
        if let Some(amount) = amount.as_ref().filter(|amount| amount.signum() != 1) {
            errors.push(field::invalid(
                &path.child(child),
                amount,
                "must be positive",
            ));
        }
    }
    if let Some(utilization) = target
        .average_utilization
        .filter(|utilization| *utilization < 1)
    {
        let detail = "must be greater than 0";
        errors.push(field::invalid(
            &path.child("averageUtilization"),
            utilization,
            detail,
        ));
    }
    errors
}

fn metric_identifier(metric: &MetricIdentifier, path: &Path) -> ErrorList {
    let path = path.child("name");
    if metric.name.is_empty() {
        return field::required(&path, "must specify a metric name").into();
    }
    invalids(
        &path,
        &metric.name,
        rules::is_path_segment_name(&metric.name),
    )
}

fn scaling_rules(rules: &HPAScalingRules, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let window_path = path.child("stabilizationWindowSeconds");
    match rules.stabilization_window_seconds {
        Some(seconds) if seconds < 0 => {
            errors.push(field::invalid(
                &window_path,
                seconds,
                "must be greater than or equal to zero",
            ));
        }
        Some(seconds) if seconds > 3600 => {
            errors.push(field::invalid(
                &window_path,
                seconds,
                "must be less than or equal to 3600",
            ));
        }
        _ => {}
    }
    if let Some(policy) = &rules.select_policy {
        errors.extend(one_of(
            policy,
            &["Disabled", "Max", "Min"],
            &path.child("selectPolicy"),
        ));
    }
    let policies_path = path.child("policies");
    if rules.policies.is_empty() {
        errors.push(field::required(
            &policies_path,
            "must specify at least one Policy",
        ));
    }
    for (i, policy) in rules.policies.iter().enumerate() {
        let path = policies_path.index(i);
        errors.extend(one_of(
            &policy.type_,
            &["Percent", "Pods"],
            &path.child("type"),
        ));
        for (value, child) in [
            (policy.value, "value"),
            (policy.period_seconds, "periodSeconds"),
        ] {
            if value <= 0 {
                errors.push(field::invalid(&path.child(child), value, NOT_POSITIVE));
            }
        }
        if policy.period_seconds > 1800 {
            let detail = "must be less than or equal to 1800";
            errors.push(field::invalid(
                &path.child("periodSeconds"),
                policy.period_seconds,
                detail,
            ));
        }
    }
    if let Some(tolerance) = &rules.tolerance {
        errors.extend(nonnegative_quantity(tolerance, &path.child("tolerance")));
    }
    errors
}
