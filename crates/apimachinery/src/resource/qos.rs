//! Quality of service classes. Upstream: pkg/apis/core/v1/helper/qos.

use api_types::core::v1::{Pod, ResourceRequirements, pod_qos_class};

use super::{CPU, MEMORY, ResourceList};

/// The class in the pod's status, or else the one its spec gives.
pub fn pod_qos(pod: &Pod) -> &str {
    match pod.status.qos_class.as_str() {
        "" => compute_pod_qos(pod),
        class => class,
    }
}

/// The class that the pod's spec gives.
///
/// Guaranteed: every container has limits for CPU and memory, and requests where set equal them in sum. BestEffort: no
/// container has either. Burstable: everything else. Resources of the pod as a whole take the place of the containers'.
pub fn compute_pod_qos(pod: &Pod) -> &'static str {
    let (mut requests, mut limits) = (ResourceList::new(), ResourceList::new());
    let mut guaranteed = true;
    if let Some(resources) = pod.spec.resources.as_deref() {
        add_positive(&mut requests, &resources.requests);
        if !resources.limits.is_empty() {
            add_positive(&mut limits, &resources.limits);
            guaranteed = limits_cpu_and_memory(resources);
        }
    } else {
        // Ephemeral containers have no resources.
        for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
            add_positive(&mut requests, &container.resources.requests);
            add_positive(&mut limits, &container.resources.limits);
            guaranteed &= limits_cpu_and_memory(&container.resources);
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return pod_qos_class::BEST_EFFORT;
    }
    let equal = requests.iter().all(|(name, amount)| {
        limits
            .get(name)
            .is_some_and(|limit| limit.cmp(amount).is_eq())
    });
    if guaranteed && equal && requests.len() == limits.len() {
        return pod_qos_class::GUARANTEED;
    }
    pod_qos_class::BURSTABLE
}

fn limits_cpu_and_memory(resources: &ResourceRequirements) -> bool {
    [CPU, MEMORY].iter().all(|name| {
        resources
            .limits
            .get(*name)
            .is_some_and(|limit| limit.signum() > 0)
    })
}

/// Adds what counts: CPU and memory above zero.
fn add_positive(sum: &mut ResourceList, more: &ResourceList) {
    for name in [CPU, MEMORY] {
        if let Some(amount) = more.get(name).filter(|amount| amount.signum() > 0) {
            match sum.get_mut(name) {
                Some(total) => total.add(amount),
                None => {
                    sum.insert(name.to_owned(), amount.clone());
                }
            }
        }
    }
}
