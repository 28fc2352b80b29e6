//! What decides where a pod may run: taints and tolerations, node selectors and node affinity, priority.
//!
//! Upstream: component-helpers/scheduling/corev1, k8s.io/api/core/v1 toleration.go, pkg/util/taints. The scheduler, the
//! kubelet's admission, the DaemonSet controller and taint eviction must agree on these.

mod node_affinity;
mod taints;

use api_types::core::v1::Pod;

pub use node_affinity::{
    NodeSelector, PreferredSchedulingTerms, RequiredNodeAffinity, match_topology_selector_terms,
};
pub use taints::*;

/// The pod's priority; without one, a running pod has the default of the time before it existed.
pub fn pod_priority(pod: &Pod) -> i32 {
    pod.spec.priority.unwrap_or_default()
}

#[cfg(test)]
mod tests;
