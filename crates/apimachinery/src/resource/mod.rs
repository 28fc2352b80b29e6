//! What a pod asks for and may use: sums over its containers, its QoS class, and the names of resources.
//!
//! Upstream: component-helpers/resource, pkg/apis/core/v1/helper and its qos package. The scheduler, the kubelet, quota and
//! several controllers must agree on these numbers, so they are computed here only.

mod names;
mod pod;
mod qos;

use std::collections::BTreeMap;

use api_types::Quantity;

pub use names::*;
pub use pod::*;
pub use qos::{compute_pod_qos, pod_qos};

/// Amounts by resource name.
pub type ResourceList = BTreeMap<String, Quantity>;

/// Adds each amount of `more` to `list`.
pub fn add_resources(list: &mut ResourceList, more: &ResourceList) {
    for (name, amount) in more {
        match list.get_mut(name) {
            Some(sum) => sum.add(amount),
            None => {
                list.insert(name.clone(), amount.clone());
            }
        }
    }
}

/// Raises each amount of `list` to that of `other`.
pub fn max_resources(list: &mut ResourceList, other: &ResourceList) {
    for (name, amount) in other {
        match list.get_mut(name) {
            Some(largest) => {
                if amount.cmp(largest).is_gt() {
                    *largest = amount.clone();
                }
            }
            None => {
                list.insert(name.clone(), amount.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
