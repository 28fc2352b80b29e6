//! Requests and limits of a whole pod. Upstream: component-helpers/resource; the formula is KEP-753's.
//!
//! Init containers run one after the other, each beside the restartable ones (sidecars) before it, so the pod needs the
//! largest of those moments, or what its containers and sidecars need together, whichever is more.

use std::borrow::Cow;
use std::collections::HashMap;

use api_types::core::v1::{Container, ContainerStatus, Pod};

use super::{ResourceList, add_resources, is_supported_pod_level_resource, max_resources};

/// Which containers a list of resources is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerType {
    /// An ordinary container.
    Containers,
    /// An init container, together with the restartable ones before it.
    InitContainers,
}

/// What [`pod_requests`] and [`pod_limits`] count.
#[derive(Debug, Clone, Default)]
pub struct PodResourcesOptions<'a> {
    /// Count what the status says is allocated and in use, for pods that are being resized.
    pub use_status_resources: bool,
    /// The same for resources of the pod as a whole.
    pub in_place_pod_level_resources_vertical_scaling_enabled: bool,
    /// Leave the overhead of the sandbox out.
    pub exclude_overhead: bool,
    /// Requests for containers that do not have any.
    pub non_missing_container_requests: Option<&'a ResourceList>,
    /// Leave resources of the pod as a whole out.
    pub skip_pod_level_resources: bool,
    /// Leave resources of containers out; for requests only, as upstream.
    pub skip_container_level_resources: bool,
    /// Count what resource claims take from the node's allocatable.
    pub use_dra_node_allocatable_resource_claim_status: bool,
}

/// Whether resources of the pod as a whole are set.
pub fn is_pod_level_resources_set(pod: &Pod) -> bool {
    is_pod_level_requests_set(pod) || is_pod_level_limits_set(pod)
}

/// Whether requests of the pod as a whole are set.
pub fn is_pod_level_requests_set(pod: &Pod) -> bool {
    pod.spec.resources.as_deref().is_some_and(|r| {
        r.requests
            .keys()
            .any(|name| is_supported_pod_level_resource(name))
    })
}

/// Whether limits of the pod as a whole are set.
pub fn is_pod_level_limits_set(pod: &Pod) -> bool {
    pod.spec.resources.as_deref().is_some_and(|r| {
        r.limits
            .keys()
            .any(|name| is_supported_pod_level_resource(name))
    })
}

/// Whether the pod's resize cannot happen on its node.
pub fn is_pod_resize_infeasible(pod: &Pod) -> bool {
    resize_pending_reason(pod) == Some("Infeasible")
}

/// Whether the pod's resize has to wait.
pub fn is_pod_resize_deferred(pod: &Pod) -> bool {
    resize_pending_reason(pod) == Some("Deferred")
}

fn resize_pending_reason(pod: &Pod) -> Option<&str> {
    pod.status
        .conditions
        .iter()
        .find(|c| c.type_ == "PodResizePending")
        .map(|c| c.reason.as_str())
}

/// Whether an init container keeps running beside the others.
pub fn is_restartable_init_container(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// All that the pod requests.
pub fn pod_requests(pod: &Pod, options: &PodResourcesOptions<'_>) -> ResourceList {
    pod_requests_with(pod, options, &mut |_, _| {})
}

/// Like [`pod_requests`], and tells what each container adds.
pub fn pod_requests_with(
    pod: &Pod,
    options: &PodResourcesOptions<'_>,
    visit: &mut dyn FnMut(&ResourceList, ContainerType),
) -> ResourceList {
    let mut requests = if options.skip_container_level_resources {
        ResourceList::new()
    } else {
        aggregate_container_requests(pod, options, visit)
    };
    if let Some(resources) = pod.spec.resources.as_deref()
        && !options.skip_pod_level_resources
        && is_pod_level_requests_set(pod)
    {
        let in_use = pod.status.resources.as_deref().filter(|_| {
            options.in_place_pod_level_resources_vertical_scaling_enabled
                && options.use_status_resources
        });
        let effective = in_use.map(|in_use| {
            effective_requests(
                pod,
                &resources.requests,
                &in_use.requests,
                &pod.status.allocated_resources,
            )
        });
        for (name, amount) in &resources.requests {
            if is_supported_pod_level_resource(name) {
                let amount = match &effective {
                    None => amount.clone(),
                    Some(effective) => effective.get(name).cloned().unwrap_or_default(),
                };
                requests.insert(name.clone(), amount);
            }
        }
    }
    if !options.exclude_overhead {
        add_resources(&mut requests, &pod.spec.overhead);
    }
    requests
}

/// All that the pod may use. Overhead is added where there is a limit.
pub fn pod_limits(pod: &Pod, options: &PodResourcesOptions<'_>) -> ResourceList {
    pod_limits_with(pod, options, &mut |_, _| {})
}

/// Like [`pod_limits`], and tells what each container adds.
pub fn pod_limits_with(
    pod: &Pod,
    options: &PodResourcesOptions<'_>,
    visit: &mut dyn FnMut(&ResourceList, ContainerType),
) -> ResourceList {
    let mut limits = aggregate_container_limits(pod, options, visit);
    if let Some(resources) = pod.spec.resources.as_deref()
        && !options.skip_pod_level_resources
        && is_pod_level_resources_set(pod)
    {
        let in_use = pod.status.resources.as_deref().filter(|_| {
            options.in_place_pod_level_resources_vertical_scaling_enabled
                && options.use_status_resources
        });
        let effective =
            in_use.map(|in_use| effective_limits(pod, &resources.limits, &in_use.limits));
        for (name, amount) in &resources.limits {
            if is_supported_pod_level_resource(name) {
                let amount = match &effective {
                    None => amount.clone(),
                    Some(effective) => effective.get(name).cloned().unwrap_or_default(),
                };
                limits.insert(name.clone(), amount);
            }
        }
    }
    if !options.exclude_overhead {
        for (name, amount) in &pod.spec.overhead {
            if let Some(limit) = limits.get_mut(name).filter(|limit| !limit.is_zero()) {
                limit.add(amount);
            }
        }
    }
    limits
}

/// All that the pod's containers request, without overhead and without resources of the pod as a whole.
pub fn aggregate_container_requests(
    pod: &Pod,
    options: &PodResourcesOptions<'_>,
    visit: &mut dyn FnMut(&ResourceList, ContainerType),
) -> ResourceList {
    let statuses = statuses_by_name(pod, options.use_status_resources);
    let of_container = |container: &Container, has_status: bool| -> ResourceList {
        let status = statuses.get(container.name.as_str()).filter(|_| has_status);
        let mut requests =
            match status.and_then(|status| Some((status, status.resources.as_deref()?))) {
                None => container.resources.requests.clone(),
                Some((status, in_use)) => effective_requests(
                    pod,
                    &container.resources.requests,
                    &in_use.requests,
                    &status.allocated_resources,
                ),
            };
        for (name, amount) in options.non_missing_container_requests.into_iter().flatten() {
            requests
                .entry(name.clone())
                .or_insert_with(|| amount.clone());
        }
        requests
    };
    let mut requests = aggregate(pod, of_container, visit);
    if options.use_dra_node_allocatable_resource_claim_status {
        for claim in &pod.status.node_allocatable_resource_claim_statuses {
            add_resources(&mut requests, &claim.resources);
        }
    }
    requests
}

/// All that the pod's containers may use, without overhead and without resources of the pod as a whole.
pub fn aggregate_container_limits(
    pod: &Pod,
    options: &PodResourcesOptions<'_>,
    visit: &mut dyn FnMut(&ResourceList, ContainerType),
) -> ResourceList {
    let statuses = statuses_by_name(pod, options.use_status_resources);
    let of_container = |container: &Container, has_status: bool| {
        let status = statuses.get(container.name.as_str()).filter(|_| has_status);
        match status.and_then(|status| status.resources.as_deref()) {
            None => container.resources.limits.clone(),
            Some(in_use) => effective_limits(pod, &container.resources.limits, &in_use.limits),
        }
    };
    aggregate(pod, of_container, visit)
}

/// Sums over containers by KEP-753's formula. `of_container` gets whether the container's status may count.
fn aggregate(
    pod: &Pod,
    of_container: impl Fn(&Container, bool) -> ResourceList,
    visit: &mut dyn FnMut(&ResourceList, ContainerType),
) -> ResourceList {
    let mut total = ResourceList::new();
    for container in &pod.spec.containers {
        let resources = of_container(container, true);
        visit(&resources, ContainerType::Containers);
        add_resources(&mut total, &resources);
    }
    let (mut restartable, mut largest_init) = (ResourceList::new(), ResourceList::new());
    for container in &pod.spec.init_containers {
        let is_restartable = is_restartable_init_container(container);
        let mut resources = of_container(container, is_restartable);
        let at_that_moment = if is_restartable {
            add_resources(&mut total, &resources);
            add_resources(&mut restartable, &resources);
            Cow::Borrowed(&restartable)
        } else {
            add_resources(&mut resources, &restartable);
            Cow::Owned(resources)
        };
        visit(&at_that_moment, ContainerType::InitContainers);
        max_resources(&mut largest_init, &at_that_moment);
    }
    max_resources(&mut total, &largest_init);
    total
}

fn statuses_by_name(pod: &Pod, wanted: bool) -> HashMap<&str, &ContainerStatus> {
    if !wanted {
        return HashMap::new();
    }
    let statuses = pod
        .status
        .container_statuses
        .iter()
        .chain(&pod.status.init_container_statuses);
    statuses
        .map(|status| (status.name.as_str(), status))
        .collect()
}

/// What counts of a container that may be in the middle of a resize: the most of what is wanted, in use and allocated. A
/// resize that cannot happen is not wanted.
fn effective_requests(
    pod: &Pod,
    spec: &ResourceList,
    in_use: &ResourceList,
    allocated: &ResourceList,
) -> ResourceList {
    let mut requests = if is_pod_resize_infeasible(pod) {
        ResourceList::new()
    } else {
        spec.clone()
    };
    max_resources(&mut requests, in_use);
    max_resources(&mut requests, allocated);
    requests
}

fn effective_limits(pod: &Pod, spec: &ResourceList, in_use: &ResourceList) -> ResourceList {
    let mut limits = in_use.clone();
    if !is_pod_resize_infeasible(pod) {
        max_resources(&mut limits, spec);
    }
    limits
}
