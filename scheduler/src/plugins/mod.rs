//! The in-tree plugins, one file or folder each, and their table. Upstream: framework/plugins.

pub mod default_binder;
pub mod default_preemption;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod names;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources;
pub mod node_unschedulable;
pub mod pod_topology_spread;
pub mod priority_sort;
pub mod registry;
pub mod resource_claims;
pub mod scheduling_gates;
pub mod taint_toleration;
#[cfg(test)]
pub(crate) mod testing;
pub mod volume;

use api_types::core::v1::Pod;

/// Whether a pod neither is on a node nor was promised one, so that it takes nothing from any.
fn was_never_placed(pod: &Pod) -> bool {
    pod.spec.node_name.is_empty() && pod.status.nominated_node_name.is_empty()
}
