//! What an object counts for against a ResourceQuota. Upstream: pkg/quota/v1 and its evaluators.
//!
//! The apiserver charges a request with the usage of its object; the resource quota controller adds up the usage of all objects.
//! Both must count alike, so the counting is here.

mod devices;

use std::collections::{BTreeMap, BTreeSet};

use api_types::core::v1::{
    Container, PersistentVolumeClaim, Pod, PodAffinityTerm, ResourceQuota,
    ScopedResourceSelectorRequirement, Service,
};
use api_types::{Format, Quantity, Time};

pub use self::devices::{CountedClaim, DeviceClasses, is_made_for, made_for};
use crate::resource::{
    DEVICE_CLASS_PREFIX, PodResourcesOptions, compute_pod_qos, is_extended_resource_name,
    is_huge_page_resource_name, is_native_resource, is_pod_level_resources_set, pod_limits,
    pod_requests,
};

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// An object of which usage is counted.
#[derive(Clone, Copy)]
pub enum Counted<'a> {
    Pod(&'a Pod),
    Service(&'a Service),
    PersistentVolumeClaim(&'a PersistentVolumeClaim),
    ResourceClaim(CountedClaim<'a>),
    /// Anything else only counts as one object.
    Other,
}

/// Resources that every container must ask for once a quota limits them.
const MUST_BE_SPECIFIED: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];

/// Resources with a count of their own name, from before `count/...` existed.
const OLD_COUNTS: [&str; 7] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

fn number(count: usize) -> Quantity {
    Quantity::from_value(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSI)
}

/// Whether objects of a resource are never counted: most are not stored, and there are too many events. Upstream:
/// pkg/quota/v1/install.
pub fn is_ignored(group: &str, resource: &str) -> bool {
    match group {
        "" => matches!(resource, "bindings" | "componentstatuses" | "events"),
        "events.k8s.io" => resource == "events",
        "authentication.k8s.io" => matches!(resource, "tokenreviews" | "selfsubjectreviews"),
        "authorization.k8s.io" => matches!(
            resource,
            "subjectaccessreviews"
                | "selfsubjectaccessreviews"
                | "localsubjectaccessreviews"
                | "selfsubjectrulesreviews"
        ),
        _ => false,
    }
}

/// The name under which objects of a resource are counted: `count/deployments.apps`.
pub fn count_name(group: &str, resource: &str) -> String {
    if group.is_empty() {
        format!("count/{resource}")
    } else {
        format!("count/{resource}.{group}")
    }
}

/// What an object counts for. `now` decides whether a pod that is being deleted still holds its resources.
pub fn usage(group: &str, resource: &str, object: Counted<'_>, now: Time) -> Amounts {
    let mut usage = Amounts::from([(count_name(group, resource), number(1))]);
    match object {
        Counted::Pod(pod) => pod_usage(pod, now, &mut usage),
        Counted::Service(service) => service_usage(service, &mut usage),
        Counted::PersistentVolumeClaim(claim) => volume_usage(claim, &mut usage),
        Counted::ResourceClaim(claim) => devices::claim_usage(claim, now, &mut usage),
        Counted::Other => {
            if group.is_empty() && OLD_COUNTS.contains(&resource) {
                usage.insert(resource.to_owned(), number(1));
            }
        }
    }
    usage
}

fn pod_usage(pod: &Pod, now: Time, usage: &mut Amounts) {
    // A finished pod only counts as an object.
    if !holds_resources(pod, now) {
        return;
    }
    // A pod that is being resized counts with the most it has or is to get.
    let options = PodResourcesOptions {
        use_status_resources: true,
        ..PodResourcesOptions::default()
    };
    compute_usage(
        &pod_requests(pod, &options),
        &pod_limits(pod, &options),
        usage,
    );
}

/// A pod holds its resources until it is finished, or its grace period is over though nobody says that it is gone.
fn holds_resources(pod: &Pod, now: Time) -> bool {
    if pod.status.phase == "Failed" || pod.status.phase == "Succeeded" {
        return false;
    }
    match (
        pod.metadata.deletion_timestamp,
        pod.metadata.deletion_grace_period_seconds,
    ) {
        (Some(deleted), Some(grace)) => {
            now.timestamp().as_second() <= deleted.timestamp().as_second().saturating_add(grace)
        }
        _ => true,
    }
}

fn compute_usage(requests: &Amounts, limits: &Amounts, usage: &mut Amounts) {
    usage.insert("pods".to_owned(), number(1));
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = requests.get(name) {
            usage.insert(name.to_owned(), amount.clone());
            usage.insert(format!("requests.{name}"), amount.clone());
        }
        if let Some(amount) = limits.get(name) {
            usage.insert(format!("limits.{name}"), amount.clone());
        }
    }
    for (name, amount) in requests {
        if is_huge_page_resource_name(name) {
            usage.insert(name.clone(), amount.clone());
            usage.insert(format!("requests.{name}"), amount.clone());
        } else if is_extended_resource_name(name) || name.starts_with(DEVICE_CLASS_PREFIX) {
            usage.insert(format!("requests.{name}"), amount.clone());
        }
    }
}

fn service_usage(service: &Service, usage: &mut Amounts) {
    let ports = service.spec.ports.len();
    let (load_balancers, node_ports) = match service.spec.type_.as_str() {
        "NodePort" => (0, ports),
        "LoadBalancer" if service.spec.allocate_load_balancer_node_ports == Some(false) => (
            1,
            service
                .spec
                .ports
                .iter()
                .filter(|port| port.node_port != 0)
                .count(),
        ),
        "LoadBalancer" => (1, ports),
        _ => (0, 0),
    };
    usage.insert("services".to_owned(), number(1));
    usage.insert("services.loadbalancers".to_owned(), number(load_balancers));
    usage.insert("services.nodeports".to_owned(), number(node_ports));
}

fn volume_usage(claim: &PersistentVolumeClaim, usage: &mut Amounts) {
    const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
    let class = claim
        .metadata
        .annotations
        .get(OLD_CLASS)
        .or(claim.spec.storage_class_name.as_ref())
        .filter(|class| !class.is_empty());
    usage.insert("persistentvolumeclaims".to_owned(), number(1));
    if let Some(class) = class {
        usage.insert(
            format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"),
            number(1),
        );
    }
    let Some(requested) = claim.spec.resources.requests.get("storage") else {
        return;
    };
    // A claim that is being grown counts with what was allocated already, if that is more.
    let allocated = claim.status.allocated_resources.get("storage");
    let mut storage = allocated.map_or(requested, |a| a.max(requested)).clone();
    storage.round_up(0);
    usage.insert("requests.storage".to_owned(), storage.clone());
    if let Some(class) = class {
        usage.insert(
            format!("{class}.storageclass.storage.k8s.io/requests.storage"),
            storage,
        );
    }
}

/// Whether two states of a claim with the same spec may count differently.
pub fn volume_status_counts(old: &PersistentVolumeClaim, new: &PersistentVolumeClaim) -> bool {
    let allocated =
        |claim: &PersistentVolumeClaim| claim.status.allocated_resources.get("storage").cloned();
    allocated(old) != allocated(new) || attributes_classes(old) != attributes_classes(new)
}

/// The VolumeAttributesClasses that a claim is to have, has, or is getting.
fn attributes_classes(claim: &PersistentVolumeClaim) -> BTreeSet<&str> {
    let status = &claim.status;
    let target = status.modify_volume_status.as_deref();
    let target = target.map(|modify| &modify.target_volume_attributes_class_name);
    [
        claim.spec.volume_attributes_class_name.as_ref(),
        status.current_volume_attributes_class_name.as_ref(),
        target,
    ]
    .into_iter()
    .flatten()
    .map(String::as_str)
    .filter(|class| !class.is_empty())
    .collect()
}

/// Whether objects of the resource count against a limit of a name. ResourceClaims may count against limits on the extended
/// resources of device classes, see [`CountedClaim::classes`].
pub fn limits_resource(
    name: &str,
    group: &str,
    resource: &str,
    classes: Option<&DeviceClasses>,
) -> bool {
    if name == count_name(group, resource) {
        return true;
    }
    match (group, resource) {
        ("", "pods") => {
            name == "pods"
                || ["", "requests.", "limits."].iter().any(|prefix| {
                    name.strip_prefix(prefix)
                        .is_some_and(|rest| matches!(rest, "cpu" | "memory" | "ephemeral-storage"))
                })
                || is_huge_page_resource_name(name.strip_prefix("requests.").unwrap_or(name))
                || name.strip_prefix("requests.").is_some_and(|rest| {
                    !is_native_resource(rest) || rest.starts_with(DEVICE_CLASS_PREFIX)
                })
        }
        ("", "services") => matches!(
            name,
            "services" | "services.nodeports" | "services.loadbalancers"
        ),
        ("", "persistentvolumeclaims") => {
            let own = match name.split_once(".storageclass.storage.k8s.io/") {
                Some((_, own)) => own,
                None => name,
            };
            matches!(own, "persistentvolumeclaims" | "requests.storage")
        }
        ("resource.k8s.io", "resourceclaims") => devices::are_limited_by(name, classes),
        ("", _) => name == resource && OLD_COUNTS.contains(&resource),
        _ => false,
    }
}

/// The scopes of a quota, those listed and those with selectors.
pub fn scopes(quota: &ResourceQuota) -> Vec<ScopedResourceSelectorRequirement> {
    let listed = quota
        .spec
        .scopes
        .iter()
        .map(|scope| ScopedResourceSelectorRequirement {
            scope_name: scope.clone(),
            operator: "Exists".to_owned(),
            ..ScopedResourceSelectorRequirement::default()
        });
    let selected = quota
        .spec
        .scope_selector
        .iter()
        .flat_map(|selector| selector.match_expressions.iter().cloned());
    listed.chain(selected).collect()
}

/// Whether all scopes of a quota take in the object. Only pods and claims have scopes.
pub fn in_scope(quota: &ResourceQuota, object: Counted<'_>) -> bool {
    scopes(quota)
        .iter()
        .all(|scope| matches_scope(scope, object))
}

/// Whether a scope takes in the object.
pub fn matches_scope(scope: &ScopedResourceSelectorRequirement, object: Counted<'_>) -> bool {
    match object {
        Counted::Pod(pod) => pod_in_scope(pod, scope),
        Counted::PersistentVolumeClaim(claim) => {
            let classes = attributes_classes(claim);
            scope.scope_name == "VolumeAttributesClass"
                && match classes.is_empty() {
                    true => matches(scope, ""),
                    false => classes.iter().any(|class| matches(scope, class)),
                }
        }
        _ => false,
    }
}

/// Whether the pod will end by itself at some time: the scope Terminating.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.spec
        .active_deadline_seconds
        .is_some_and(|seconds| seconds >= 0)
}

fn pod_in_scope(pod: &Pod, scope: &ScopedResourceSelectorRequirement) -> bool {
    let best_effort = || compute_pod_qos(pod) == "BestEffort";
    match scope.scope_name.as_str() {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => matches(scope, &pod.spec.priority_class_name),
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

/// A selector on a name; without a name only the negative operators match.
fn matches(scope: &ScopedResourceSelectorRequirement, name: &str) -> bool {
    match scope.operator.as_str() {
        "Exists" => !name.is_empty(),
        "DoesNotExist" => name.is_empty(),
        "In" => !name.is_empty() && scope.values.iter().any(|value| value == name),
        "NotIn" => name.is_empty() || !scope.values.iter().any(|value| value == name),
        _ => false,
    }
}

fn crosses_namespaces(pod: &Pod) -> bool {
    let Some(affinity) = &pod.spec.affinity else {
        return false;
    };
    let crosses =
        |term: &PodAffinityTerm| !term.namespaces.is_empty() || term.namespace_selector.is_some();
    let near = affinity.pod_affinity.as_ref().is_some_and(|affinity| {
        affinity
            .required_during_scheduling_ignored_during_execution
            .iter()
            .any(crosses)
            || affinity
                .preferred_during_scheduling_ignored_during_execution
                .iter()
                .any(|term| crosses(&term.pod_affinity_term))
    });
    let apart = affinity.pod_anti_affinity.as_ref().is_some_and(|affinity| {
        affinity
            .required_during_scheduling_ignored_during_execution
            .iter()
            .any(crosses)
            || affinity
                .preferred_during_scheduling_ignored_during_execution
                .iter()
                .any(|term| crosses(&term.pod_affinity_term))
    });
    near || apart
}

/// What containers of a pod leave out that a quota on `limited` resources demands; None when nothing.
pub fn unspecified(pod: &Pod, limited: &BTreeSet<&str>) -> Option<String> {
    if is_pod_level_resources_set(pod) {
        return None;
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let specified = |container: &Container| {
        let mut usage = Amounts::new();
        compute_usage(
            &container.resources.requests,
            &container.resources.limits,
            &mut usage,
        );
        usage
    };
    for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
        let usage = specified(container);
        for name in MUST_BE_SPECIFIED
            .iter()
            .filter(|name| limited.contains(**name) && !usage.contains_key(**name))
        {
            missing.entry(name).or_default().insert(&container.name);
        }
    }
    let texts: Vec<String> = missing
        .into_iter()
        .map(|(name, containers)| {
            format!(
                "{name} for: {}",
                containers.into_iter().collect::<Vec<_>>().join(",")
            )
        })
        .collect();
    (!texts.is_empty()).then(|| format!("must specify {}", texts.join("; ")))
}

/// `a + b`, over the names of both.
pub fn add(a: &Amounts, b: &Amounts) -> Amounts {
    let mut sum = a.clone();
    for (name, amount) in b {
        match sum.get_mut(name) {
            Some(total) => total.add(amount),
            None => {
                sum.insert(name.clone(), amount.clone());
            }
        }
    }
    sum
}

/// `a - b` where that is positive, over the names of `a`.
pub fn subtract_to_zero(a: &Amounts, b: &Amounts) -> Amounts {
    let mut difference = a.clone();
    for (name, amount) in &mut difference {
        if let Some(less) = b.get(name) {
            amount.sub(less);
            if amount.signum() < 0 {
                *amount = number(0);
            }
        }
    }
    difference
}

/// Only the named amounts.
pub fn mask<'a>(amounts: &Amounts, names: impl Fn(&str) -> bool + 'a) -> Amounts {
    amounts
        .iter()
        .filter(|(name, _)| names(name))
        .map(|(name, amount)| (name.clone(), amount.clone()))
        .collect()
}

/// `a=1,b=2`, as messages show amounts.
pub fn pretty(amounts: &Amounts) -> String {
    amounts
        .iter()
        .map(|(name, amount)| format!("{name}={amount}"))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests;
