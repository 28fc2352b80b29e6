//! Names and amounts of resources, as containers, pods, quotas and limit ranges have them. Upstream: pkg/apis/core/validation
//! and pkg/apis/core/helper.

use std::collections::{BTreeSet, HashMap};

use api_types::core::v1::{ResourceClaim, ResourceRequirements};
use apimachinery::resource::{
    huge_page_size, is_extended_resource_name, is_huge_page_resource_name, is_native_resource,
    is_overcommit_allowed, is_supported_pod_level_resource,
};

use super::pod_options::PodOptions;
use super::*;

const STANDARD_CONTAINER: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const STANDARD_QUOTA: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const INTEGER: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

fn is_quota_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

/// Whether a name without a domain is one that quotas know.
pub(super) fn is_standard_quota_resource(name: &str) -> bool {
    STANDARD_QUOTA.contains(&name) || is_quota_huge_page(name)
}

fn is_standard_resource(name: &str) -> bool {
    is_standard_quota_resource(name) || name == "storage"
}

/// A name that is qualified, or well-known.
pub(super) fn resource_name(name: &str, path: &Path) -> ErrorList {
    let errors = qualified_name(name, path);
    if !errors.is_empty() || name.contains('/') || is_standard_resource(name) {
        return errors;
    }
    field::invalid(
        path,
        name,
        "must be a standard resource type or fully qualified",
    )
    .into()
}

/// A resource that containers can ask for.
pub(super) fn container_resource_name(name: &str, path: &Path) -> ErrorList {
    let mut errors = resource_name(name, path);
    if !name.contains('/') {
        if !STANDARD_CONTAINER.contains(&name) && !is_huge_page_resource_name(name) {
            errors.push(field::invalid(
                path,
                name,
                "must be a standard resource for containers",
            ));
        }
    } else if !is_native_resource(name) && !is_extended_resource_name(name) {
        errors.push(field::invalid(
            path,
            name,
            "doesn't follow extended resource name standard",
        ));
    }
    errors
}

fn pod_resource_name(name: &str, path: &Path) -> ErrorList {
    let mut errors = resource_name(name, path);
    if errors.is_empty() && !is_supported_pod_level_resource(name) {
        errors.push(field::not_supported(
            path,
            name,
            &["cpu", "hugepages-", "memory"],
        ));
    }
    errors
}

/// A resource that quotas can limit.
pub(super) fn quota_resource_name(name: &str, path: &Path) -> ErrorList {
    let mut errors = resource_name(name, path);
    if !name.contains('/') && !is_standard_quota_resource(name) {
        errors.push(field::invalid(
            path,
            name,
            "must be a standard resource for quota",
        ));
    }
    errors
}

/// An amount that is not negative and, for what comes in pieces, whole.
pub(super) fn resource_quantity(name: &str, value: &Quantity, path: &Path) -> ErrorList {
    let mut errors = nonnegative_quantity(value, path);
    let integer = INTEGER.contains(&name) || is_extended_resource_name(name);
    if integer && value.milli_value() % 1000 != 0 {
        errors.push(field::invalid(path, value, "must be an integer"));
    }
    errors
}

/// An amount that is not negative.
pub(super) fn basic_resource(value: &Quantity, path: &Path) -> ErrorList {
    if value.value() < 0 {
        field::invalid(path, value.value(), "must be a valid resource quantity").into()
    } else {
        ErrorList::new()
    }
}

/// Whether an amount of huge pages is a whole number of pages.
pub(super) fn is_huge_page_value_divisible(name: &str, value: &Quantity) -> bool {
    huge_page_size(name).is_some_and(|size| {
        size.signum() > 0 && size.milli_value() % 1000 == 0 && value.value() % size.value() == 0
    })
}

fn huge_page_quantity(
    name: &str,
    value: &Quantity,
    options: &PodOptions,
    path: &Path,
) -> ErrorList {
    if options.allow_indivisible_huge_pages || is_huge_page_value_divisible(name, value) {
        return ErrorList::new();
    }
    let detail = format!("{value} is not positive integer multiple of {name}");
    field::invalid(path, value.to_string(), detail).into()
}

/// Requests and limits of a container. `claims` are the names of the pod's resource claims.
pub(super) fn container_requirements(
    requirements: &ResourceRequirements,
    claims: &BTreeSet<&str>,
    path: &Path,
    options: &PodOptions,
) -> ErrorList {
    validate_requirements(requirements, container_resource_name, claims, path, options)
}

/// Requests and limits of a whole pod.
pub(super) fn pod_requirements(
    requirements: &ResourceRequirements,
    claims: &BTreeSet<&str>,
    path: &Path,
    options: &PodOptions,
) -> ErrorList {
    validate_requirements(requirements, pod_resource_name, claims, path, options)
}

fn validate_requirements(
    requirements: &ResourceRequirements,
    name_check: fn(&str, &Path) -> ErrorList,
    claims: &BTreeSet<&str>,
    path: &Path,
    options: &PodOptions,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    let (mut cpu_or_memory, mut huge_pages) = (false, false);
    for (name, amount) in &requirements.limits {
        let path = limits_path.key(name.as_str());
        errors.extend(name_check(name, &path));
        errors.extend(resource_quantity(name, amount, &path));
        if is_huge_page_resource_name(name) {
            huge_pages = true;
            errors.extend(huge_page_quantity(name, amount, options, &path));
        }
        cpu_or_memory |= matches!(name.as_str(), "cpu" | "memory");
    }
    for (name, amount) in &requirements.requests {
        let path = requests_path.key(name.as_str());
        errors.extend(name_check(name, &path));
        errors.extend(resource_quantity(name, amount, &path));
        match requirements.limits.get(name) {
            Some(limit) if amount != limit && !is_overcommit_allowed(name) => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(field::invalid(&requests_path, amount.to_string(), detail));
            }
            Some(limit) if amount > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(field::invalid(&requests_path, amount.to_string(), detail));
            }
            None if !is_overcommit_allowed(name) => {
                let detail = "Limit must be set for non overcommitable resources";
                errors.push(field::required(&limits_path, detail));
            }
            _ => {}
        }
        if is_huge_page_resource_name(name) {
            huge_pages = true;
            errors.extend(huge_page_quantity(name, amount, options, &path));
        }
        cpu_or_memory |= matches!(name.as_str(), "cpu" | "memory");
    }
    if huge_pages && !cpu_or_memory {
        errors.push(field::forbidden(path, "HugePages require cpu or memory"));
    }
    errors.extend(claim_names(
        &requirements.claims,
        claims,
        &path.child("claims"),
    ));
    errors
}

fn claim_names(claims: &[ResourceClaim], pod_claims: &BTreeSet<&str>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    // How many names with a request there are of each claim.
    let mut requested: HashMap<&str, usize> = HashMap::new();
    let unknown = || {
        let mut detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
        if pod_claims.is_empty() {
            detail.push_str(" which is empty");
        } else {
            let all: Vec<&str> = pod_claims.iter().copied().collect();
            detail.push_str(": ");
            detail.push_str(&all.join(", "));
        }
        detail
    };
    for (i, claim) in claims.iter().enumerate() {
        let path = path.index(i);
        if claim.name.is_empty() {
            errors.push(field::required(&path, ""));
            continue;
        }
        if names.contains(&claim.name) {
            errors.push(field::duplicate(&path, &claim.name));
        } else {
            let mut key = claim.name.clone();
            if !claim.request.is_empty() {
                errors.extend(dns_label(&claim.request, &path.child("request")));
                key = format!("{}/{}", claim.name, claim.request);
            }
            if names.contains(&key) {
                errors.push(field::duplicate(&path, &key));
            } else if claim.request.is_empty() {
                let times = requested.get(claim.name.as_str()).copied();
                for _ in 0..times.unwrap_or_default() {
                    errors.push(field::duplicate(&path, &claim.name));
                }
            }
            let has_request = key.contains('/');
            if names.insert(key) && has_request {
                let name = claim.name.split('/').next().unwrap_or_default();
                *requested.entry(name).or_default() += 1;
            }
        }
        if !pod_claims.contains(claim.name.as_str()) {
            let mut error = field::invalid(&path, &claim.name, field::LazyText(unknown));
            error.kind = field::ErrorKind::NotFound;
            errors.push(error);
        }
    }
    errors
}
