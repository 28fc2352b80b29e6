//! Limit ranges and resource quotas. Upstream: pkg/apis/core/validation.

use std::collections::BTreeSet;

use api_types::core::v1::*;
use apimachinery::resource::is_overcommit_allowed;

use super::resources::{
    container_resource_name, is_standard_quota_resource, quota_resource_name, resource_name,
    resource_quantity,
};
use super::*;

fn limit_type(ty: &str, path: &Path) -> ErrorList {
    let errors = qualified_name(ty, path);
    if !errors.is_empty()
        || ty.contains('/')
        || matches!(ty, "Pod" | "Container" | "PersistentVolumeClaim")
    {
        return errors;
    }
    field::invalid(path, ty, "must be a standard limit type or fully qualified").into()
}

pub fn validate_limit_range(range: &LimitRange) -> ErrorList {
    let mut errors = object_meta(&range.metadata, true, rules::name_is_dns_subdomain);
    let mut types = BTreeSet::new();
    for (i, limit) in range.spec.limits.iter().enumerate() {
        let path = path(&["spec", "limits"]).index(i);
        errors.extend(limit_type(&limit.type_, &path.child("type")));
        if !types.insert(&limit.type_) {
            errors.push(field::duplicate(&path.child("type"), &limit.type_));
        }
        errors.extend(limit_item(limit, &path));
    }
    errors
}

fn limit_item(limit: &LimitRangeItem, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut keys = BTreeSet::new();
    let pod = limit.type_ == "Pod";
    let names = |list: &Amounts, child: &'static str, errors: &mut ErrorList| {
        for name in list.keys() {
            let path = path.child(child).key(name.as_str());
            errors.extend(match limit.type_.as_str() {
                "Pod" | "Container" => container_resource_name(name, &path),
                _ => resource_name(name, &path),
            });
        }
    };
    names(&limit.max, "max", &mut errors);
    names(&limit.min, "min", &mut errors);
    keys.extend(limit.max.keys().chain(limit.min.keys()));
    let (empty, none) = (Amounts::new(), Amounts::new());
    let (defaults, default_requests) = if pod {
        (&empty, &none)
    } else {
        (&limit.default, &limit.default_request)
    };
    if pod {
        for (set, child) in [
            (!limit.default.is_empty(), "default"),
            (!limit.default_request.is_empty(), "defaultRequest"),
        ] {
            if set {
                let detail = "may not be specified when `type` is 'Pod'";
                errors.push(field::forbidden(&path.child(child), detail));
            }
        }
    } else {
        names(defaults, "default", &mut errors);
        names(default_requests, "defaultRequest", &mut errors);
        keys.extend(defaults.keys().chain(default_requests.keys()));
    }
    let storage = limit.min.contains_key("storage") || limit.max.contains_key("storage");
    if limit.type_ == "PersistentVolumeClaim" && !storage {
        let detail =
            "either minimum or maximum storage value is required, but neither was provided";
        errors.push(field::required(&path.child("limits"), detail));
    }
    names(
        &limit.max_limit_request_ratio,
        "maxLimitRequestRatio",
        &mut errors,
    );
    keys.extend(limit.max_limit_request_ratio.keys());
    for key in keys {
        let at = |child: &'static str| path.child(child).key(key.as_str());
        let (min, max) = (limit.min.get(key), limit.max.get(key));
        let (default, request) = (defaults.get(key), default_requests.get(key));
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            let detail = format!("min value {min} is greater than max value {max}");
            errors.push(field::invalid(&at("min"), min, detail));
        }
        if let (Some(request), Some(min)) = (request, min)
            && min > request
        {
            let detail = format!("min value {min} is greater than default request value {request}");
            errors.push(field::invalid(&at("defaultRequest"), request, detail));
        }
        if let (Some(request), Some(max)) = (request, max)
            && request > max
        {
            let detail = format!("default request value {request} is greater than max value {max}");
            errors.push(field::invalid(&at("defaultRequest"), request, detail));
        }
        if let (Some(request), Some(default)) = (request, default)
            && request > default
        {
            let detail = format!(
                "default request value {request} is greater than default limit value {default}"
            );
            errors.push(field::invalid(&at("defaultRequest"), request, detail));
        }
        if let (Some(default), Some(min)) = (default, min)
            && min > default
        {
            let detail = format!("min value {min} is greater than default value {default}");
            errors.push(field::invalid(&at("default"), min, detail));
        }
        if let (Some(default), Some(max)) = (default, max)
            && default > max
        {
            let detail = format!("default value {default} is greater than max value {max}");
            errors.push(field::invalid(&at("default"), max, detail));
        }
        if let Some(ratio) = limit.max_limit_request_ratio.get(key) {
            errors.extend(limit_ratio(ratio, min, max, &at("maxLimitRequestRatio")));
        }
        if let (Some(default), Some(request)) = (default, request)
            && default != request
            && !is_overcommit_allowed(key)
        {
            let detail = format!(
                "default value {default} must equal to defaultRequest value {request} in {key}"
            );
            errors.push(field::invalid(&at("defaultRequest"), request, detail));
        }
    }
    errors
}

fn limit_ratio(
    ratio: &Quantity,
    min: Option<&Quantity>,
    max: Option<&Quantity>,
    path: &Path,
) -> ErrorList {
    /// The largest value whose thousandths fit 64 bits. Upstream: resource.MaxMilliValue.
    const MAX_MILLI: i64 = i64::MAX / 1000;
    let mut errors = ErrorList::new();
    if ratio.cmp_i64(1).is_lt() {
        errors.push(field::invalid(
            path,
            ratio,
            format!("ratio {ratio} is less than 1"),
        ));
    }
    let (Some(min), Some(max)) = (min, max) else {
        return errors;
    };
    let milli = [ratio, min, max]
        .iter()
        .all(|amount| amount.value() < MAX_MILLI);
    let (ratio_value, min, max) = if milli {
        (
            ratio.milli_value() as f64 / 1000.0,
            min.milli_value() as f64,
            max.milli_value() as f64,
        )
    } else {
        (ratio.value() as f64, min.value() as f64, max.value() as f64)
    };
    let limit = max / min;
    if ratio_value > limit {
        let detail = format!("ratio {ratio} is greater than max/min = {limit:.6}");
        errors.push(field::invalid(path, ratio, detail));
    }
    errors
}

// === Quotas ===

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];

fn scope_fits(scope: &str, resource: &str) -> bool {
    let compute = matches!(
        resource,
        "cpu" | "memory" | "limits.cpu" | "limits.memory" | "requests.cpu" | "requests.memory"
    );
    match scope {
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => resource == "pods" || compute,
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ => true,
    }
}

/// There is an error for each pair of a scope and a resource; a list of more tells nobody more.
const MOST_MISFITS: usize = 10_000;

/// Tells how many resources a scope does not fit. What it tells sums up to [`MOST_MISFITS`] at most.
fn misfits(hard: &Amounts) -> impl FnMut(&str) -> usize {
    let counts = SCOPES.map(|scope| {
        hard.keys()
            .filter(|name| is_standard_quota_resource(name) && !scope_fits(scope, name))
            .count()
    });
    let mut left = MOST_MISFITS;
    move |scope: &str| {
        let known = SCOPES.iter().position(|known| *known == scope);
        let count = known.map_or(0, |i| counts[i]).min(left);
        left -= count;
        count
    }
}

fn conflicting(scopes: &BTreeSet<&str>) -> usize {
    [
        ["BestEffort", "NotBestEffort"],
        ["Terminating", "NotTerminating"],
    ]
    .iter()
    .filter(|pair| pair.iter().all(|scope| scopes.contains(scope)))
    .count()
}

fn quota_amounts(list: &Amounts, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (name, amount) in list {
        let path = path.key(name.as_str());
        errors.extend(quota_resource_name(name, &path));
        errors.extend(resource_quantity(name, amount, &path));
    }
    errors
}

fn quota_spec(spec: &ResourceQuotaSpec, path: &Path) -> ErrorList {
    let mut errors = quota_amounts(&spec.hard, &path.child("hard"));
    let scopes_path = path.child("scopes");
    let mut seen = BTreeSet::new();
    let mut misfits = misfits(&spec.hard);
    for scope in &spec.scopes {
        let scopes = || BadValue::from(&spec.scopes);
        if !SCOPES.contains(&scope.as_str()) {
            let detail = "unsupported scope";
            errors.push(field::invalid(&scopes_path, field::Lazily(scopes), detail));
        }
        for _ in 0..misfits(scope) {
            let detail = "unsupported scope applied to resource";
            errors.push(field::invalid(&scopes_path, field::Lazily(scopes), detail));
        }
        seen.insert(scope.as_str());
    }
    for _ in 0..conflicting(&seen) {
        errors.push(field::invalid(
            &scopes_path,
            &spec.scopes,
            "conflicting scopes",
        ));
    }
    if let Some(selector) = &spec.scope_selector {
        errors.extend(scope_selector(
            selector,
            spec,
            &path.child("scopeSelector").child("matchExpressions"),
        ));
    }
    errors
}

fn scope_selector(selector: &ScopeSelector, spec: &ResourceQuotaSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = BTreeSet::new();
    let mut misfits = misfits(&spec.hard);
    for requirement in &selector.match_expressions {
        let (scope, operator) = (
            requirement.scope_name.as_str(),
            requirement.operator.as_str(),
        );
        if !SCOPES.contains(&scope) {
            errors.push(field::invalid(
                &path.child("scopeName"),
                scope,
                "unsupported scope",
            ));
        }
        for _ in 0..misfits(scope) {
            let value = field::Lazily(|| go_value::bad_value(selector));
            let detail = "unsupported scope applied to resource";
            errors.push(field::invalid(path, value, detail));
        }
        let exists_only = matches!(
            scope,
            "BestEffort"
                | "NotBestEffort"
                | "Terminating"
                | "NotTerminating"
                | "CrossNamespacePodAffinity"
        );
        if exists_only && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(field::invalid(&path.child("operator"), operator, detail));
        }
        match operator {
            "In" | "NotIn" if requirement.values.is_empty() => errors.push(field::required(
                &path.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            )),
            "Exists" | "DoesNotExist" if !requirement.values.is_empty() => errors.push(field::invalid(
                &path.child("values"),
                &requirement.values,
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(field::invalid(&path.child("operator"), operator, "not a valid selector operator")),
        }
        seen.insert(scope);
    }
    for _ in 0..conflicting(&seen) {
        errors.push(field::invalid(
            path,
            go_value::bad_list(&spec.scopes),
            "conflicting scopes",
        ));
    }
    errors
}

pub fn validate_resource_quota(quota: &ResourceQuota) -> ErrorList {
    let mut errors = object_meta(&quota.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(quota_spec(&quota.spec, &Path::new("spec")));
    errors.extend(quota_amounts(
        &quota.status.hard,
        &path(&["status", "hard"]),
    ));
    errors.extend(quota_amounts(
        &quota.status.used,
        &path(&["status", "used"]),
    ));
    errors
}

pub fn validate_resource_quota_update(new: &ResourceQuota, old: &ResourceQuota) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(quota_spec(&new.spec, &Path::new("spec")));
    let set = |quota: &ResourceQuota| {
        quota
            .spec
            .scopes
            .iter()
            .cloned()
            .collect::<BTreeSet<String>>()
    };
    if set(new) != set(old) {
        let value = go_value::bad_list(&new.spec.scopes);
        errors.push(field::invalid(&path(&["spec", "scopes"]), value, IMMUTABLE));
    }
    errors
}

pub fn validate_resource_quota_status_update(
    new: &ResourceQuota,
    old: &ResourceQuota,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    if new.metadata.resource_version.is_empty() {
        errors.push(field::required(&Path::new("resourceVersion"), ""));
    }
    errors.extend(quota_amounts(&new.status.hard, &path(&["status", "hard"])));
    errors.extend(quota_amounts(&new.status.used, &path(&["status", "used"])));
    errors
}
