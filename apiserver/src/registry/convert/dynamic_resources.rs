//! Objects of resource.k8s.io that were stored as v1beta1. Upstream: pkg/apis/resource/v1beta1/conversion.go.
//!
//! v1 moved the fields of a request below `exactly`, and those of a device out of `basic`. v1beta2 has the fields of v1.

use api_types::resource::{v1, v1beta1};

use super::super::object::Object;
use super::{reshape, reshape_all, take};

pub(super) fn claim(object: Object) -> Result<Object, String> {
    let mut old: v1beta1::ResourceClaim = take(object)?;
    let requests = std::mem::take(&mut old.spec.devices.requests);
    let mut new: v1::ResourceClaim = reshape(&old)?;
    new.spec.devices.requests = all_requests(requests)?;
    Ok(Object::from(new))
}

pub(super) fn claim_template(object: Object) -> Result<Object, String> {
    let mut old: v1beta1::ResourceClaimTemplate = take(object)?;
    let requests = std::mem::take(&mut old.spec.spec.devices.requests);
    let mut new: v1::ResourceClaimTemplate = reshape(&old)?;
    new.spec.spec.devices.requests = all_requests(requests)?;
    Ok(Object::from(new))
}

pub(super) fn slice(object: Object) -> Result<Object, String> {
    let mut old: v1beta1::ResourceSlice = take(object)?;
    let devices = std::mem::take(&mut old.spec.devices);
    let mut new: v1::ResourceSlice = reshape(&old)?;
    // In v1beta1 these have no other way to be absent.
    new.spec.node_name = Some(old.spec.node_name).filter(|name| !name.is_empty());
    new.spec.all_nodes = Some(old.spec.all_nodes).filter(|all| *all);
    new.spec.devices = devices.into_iter().map(device).collect::<Result<_, _>>()?;
    Ok(Object::from(new))
}

fn all_requests(old: Vec<v1beta1::DeviceRequest>) -> Result<Vec<v1::DeviceRequest>, String> {
    old.into_iter().map(request).collect()
}

fn request(old: v1beta1::DeviceRequest) -> Result<v1::DeviceRequest, String> {
    let is_exact = !old.device_class_name.is_empty()
        || !old.selectors.is_empty()
        || !old.allocation_mode.is_empty()
        || old.count != 0
        || old.admin_access.is_some()
        || !old.tolerations.is_empty()
        || old.capacity.is_some();
    let first_available = reshape_all(&old.first_available)?;
    let exactly = if is_exact {
        Some(Box::new(v1::ExactDeviceRequest {
            device_class_name: old.device_class_name,
            selectors: reshape_all(&old.selectors)?,
            allocation_mode: old.allocation_mode,
            count: old.count,
            admin_access: old.admin_access,
            tolerations: reshape_all(&old.tolerations)?,
            capacity: old
                .capacity
                .map(|capacity| reshape(&*capacity).map(Box::new))
                .transpose()?,
        }))
    } else {
        None
    };
    Ok(v1::DeviceRequest {
        name: old.name,
        exactly,
        first_available,
    })
}

fn device(old: v1beta1::Device) -> Result<v1::Device, String> {
    let basic = old.basic.map(|basic| *basic).unwrap_or_default();
    Ok(v1::Device {
        name: old.name,
        attributes: reshape_map(basic.attributes)?,
        capacity: reshape_map(basic.capacity)?,
        consumes_counters: reshape_all(&basic.consumes_counters)?,
        node_name: basic.node_name,
        node_selector: basic.node_selector,
        all_nodes: basic.all_nodes,
        taints: reshape_all(&basic.taints)?,
        binds_to_node: basic.binds_to_node,
        binding_conditions: basic.binding_conditions,
        binding_failure_conditions: basic.binding_failure_conditions,
        allow_multiple_allocations: basic.allow_multiple_allocations,
        node_allocatable_resource_mappings: reshape_map(basic.node_allocatable_resource_mappings)?,
    })
}

fn reshape_map<A: api_types::Struct, B: api_types::Described>(
    old: std::collections::BTreeMap<String, A>,
) -> Result<std::collections::BTreeMap<String, B>, String> {
    old.into_iter()
        .map(|(key, value)| Ok((key, reshape(&value)?)))
        .collect()
}
