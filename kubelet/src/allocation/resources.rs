//! What a pod was granted against what it asks for: pure comparisons.
//!
//! Upstream: `updatePodFromAllocation`, `allocationFromPod` and `isResizeIncreasingRequests` in `allocation_manager.go`,
//! `recordContainerResizeOperations` in `kubelet.go`.

use std::sync::Arc;

use api_types::core::v1::{Container, Pod, ResourceRequirements};

use super::ResizeFeatures;
use super::state::PodResources;
use crate::container::is_sidecar;
use crate::pod_resources::{get, pod_requests};

/// Containers whose resources may change while they run, of both lists.
pub fn resizable_containers(
    pod: &Pod,
    features: ResizeFeatures,
) -> impl Iterator<Item = &Container> {
    let init = pod
        .spec
        .init_containers
        .iter()
        .filter(move |container| features.init_containers || is_sidecar(container));
    init.chain(&pod.spec.containers)
}

/// What is granted when the pod gets all it asks for.
#[must_use]
pub fn allocation_of(pod: &Pod, features: ResizeFeatures) -> PodResources {
    PodResources {
        containers: resizable_containers(pod, features)
            .map(|container| (container.name.clone(), container.resources.clone()))
            .collect(),
        pod: pod
            .spec
            .resources
            .as_deref()
            .filter(|_| features.pod_level)
            .cloned(),
    }
}

/// The pod with what it was granted in place of what it asks for; none when these are the same.
#[must_use]
pub fn with_allocation(
    pod: &Arc<Pod>,
    granted: &PodResources,
    features: ResizeFeatures,
) -> Option<Arc<Pod>> {
    let differs = |container: &Container| {
        granted
            .containers
            .get(&container.name)
            .is_some_and(|resources| *resources != container.resources)
    };
    let whole_differs = features.pod_level && pod.spec.resources.as_deref() != granted.pod.as_ref();
    let spec = &pod.spec;
    if !whole_differs
        && !spec
            .containers
            .iter()
            .chain(&spec.init_containers)
            .any(differs)
    {
        return None;
    }
    let mut pod = Pod::clone(pod);
    if whole_differs {
        pod.spec.resources = granted.pod.clone().map(Box::new);
    }
    let spec = &mut pod.spec;
    for container in spec.containers.iter_mut().chain(&mut spec.init_containers) {
        if let Some(resources) = granted.containers.get(&container.name) {
            container.resources.clone_from(resources);
        }
    }
    Some(Arc::new(pod))
}

/// Whether the pod asks for more CPU or more memory than it was granted.
#[must_use]
pub fn increases_requests(granted: &Pod, wanted: &Pod) -> bool {
    let (granted, wanted) = (pod_requests(granted), pod_requests(wanted));
    ["cpu", "memory"]
        .iter()
        .any(|name| wanted.get(*name).unwrap_or(&0) > granted.get(*name).unwrap_or(&0))
}

/// One change of one number, as the metric of requested resizes counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResizeOperation {
    /// `cpu` or `memory`.
    pub resource: &'static str,
    /// `requests` or `limits`.
    pub requirement: &'static str,
    /// `add`, `remove`, `increase` or `decrease`.
    pub operation: &'static str,
}

/// What changed in the containers from one version of a pod to the next.
#[must_use]
pub fn resize_operations(old: &Pod, new: &Pod, features: ResizeFeatures) -> Vec<ResizeOperation> {
    let mut operations = Vec::new();
    for before in resizable_containers(old, features) {
        let Some(after) =
            resizable_containers(new, features).find(|after| after.name == before.name)
        else {
            continue;
        };
        for resource in ["memory", "cpu"] {
            let (before, after) = (&before.resources, &after.resources);
            for (requirement, before, after) in [
                ("requests", &before.requests, &after.requests),
                ("limits", &before.limits, &after.limits),
            ] {
                let operation = match (get(before, resource), get(after, resource)) {
                    (before, after) if before == after => continue,
                    (_, 0) => "remove",
                    (0, _) => "add",
                    (before, after) if after < before => "decrease",
                    _ => "increase",
                };
                operations.push(ResizeOperation {
                    resource,
                    requirement,
                    operation,
                });
            }
        }
    }
    operations
}

/// The limits that hold for a container: those of the pod where it has none of its own.
#[must_use]
pub fn effective_resources(
    of_pod: Option<&ResourceRequirements>,
    of_container: &ResourceRequirements,
    features: ResizeFeatures,
) -> ResourceRequirements {
    let mut effective = of_container.clone();
    if let Some(of_pod) = of_pod.filter(|_| features.pod_level) {
        for name in ["cpu", "memory"] {
            if get(&effective.limits, name) == 0 && get(&of_pod.limits, name) != 0 {
                effective
                    .limits
                    .insert(name.to_owned(), of_pod.limits[name].clone());
            }
        }
    }
    effective
}
