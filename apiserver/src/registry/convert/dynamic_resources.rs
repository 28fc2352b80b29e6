//! resource.k8s.io/v1beta1, whose objects are those of v1. Upstream: pkg/apis/resource/v1beta1/conversion.go.
//!
//! v1 moved the fields of a request below `exactly`, and those of a device out of `basic`. v1beta2 has the fields of v1.

use std::collections::BTreeMap;

use api_types::Described;
use api_types::Struct;

use api_types::resource::{v1, v1beta1};

use super::super::object::Object;
use super::{Functions, reshape, reshape_all, take};

pub(super) static CLAIM: Functions = Functions {
    to_hub: claim,
    to_served: older_claim,
};
pub(super) static CLAIM_TEMPLATE: Functions = Functions {
    to_hub: claim_template,
    to_served: older_claim_template,
};
pub(super) static SLICE: Functions = Functions {
    to_hub: slice,
    to_served: older_slice,
};

fn claim(object: Object) -> Result<Object, String> {
    let mut old: v1beta1::ResourceClaim = take(object)?;
    let requests = std::mem::take(&mut old.spec.devices.requests);
    let mut new: v1::ResourceClaim = reshape(&old)?;
    new.spec.devices.requests = all_requests(requests)?;
    Ok(Object::from(new))
}

fn claim_template(object: Object) -> Result<Object, String> {
    let mut old: v1beta1::ResourceClaimTemplate = take(object)?;
    let requests = std::mem::take(&mut old.spec.spec.devices.requests);
    let mut new: v1::ResourceClaimTemplate = reshape(&old)?;
    new.spec.spec.devices.requests = all_requests(requests)?;
    Ok(Object::from(new))
}

fn slice(object: Object) -> Result<Object, String> {
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
    let subrequests = old.first_available.into_iter().map(subrequest);
    let first_available = subrequests.collect::<Result<_, _>>()?;
    let exactly = if is_exact {
        Some(Box::new(v1::ExactDeviceRequest {
            device_class_name: old.device_class_name,
            selectors: reshape_all(&old.selectors)?,
            allocation_mode: old.allocation_mode,
            count: old.count,
            admin_access: old.admin_access,
            tolerations: reshape_all(&old.tolerations)?,
            capacity: reshape_box(old.capacity)?,
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

/// Tolerations and capacity have other tags.
fn subrequest(old: v1beta1::DeviceSubRequest) -> Result<v1::DeviceSubRequest, String> {
    Ok(v1::DeviceSubRequest {
        name: old.name,
        device_class_name: old.device_class_name,
        selectors: reshape_all(&old.selectors)?,
        allocation_mode: old.allocation_mode,
        count: old.count,
        tolerations: reshape_all(&old.tolerations)?,
        capacity: reshape_box(old.capacity)?,
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

fn older_claim(object: Object) -> Result<Object, String> {
    let mut new: v1::ResourceClaim = take(object)?;
    let requests = std::mem::take(&mut new.spec.devices.requests);
    let mut old: v1beta1::ResourceClaim = reshape(&new)?;
    old.spec.devices.requests = all_older_requests(requests)?;
    Ok(Object::from(old))
}

fn older_claim_template(object: Object) -> Result<Object, String> {
    let mut new: v1::ResourceClaimTemplate = take(object)?;
    let requests = std::mem::take(&mut new.spec.spec.devices.requests);
    let mut old: v1beta1::ResourceClaimTemplate = reshape(&new)?;
    old.spec.spec.devices.requests = all_older_requests(requests)?;
    Ok(Object::from(old))
}

fn older_slice(object: Object) -> Result<Object, String> {
    let mut new: v1::ResourceSlice = take(object)?;
    let devices = std::mem::take(&mut new.spec.devices);
    let mut old: v1beta1::ResourceSlice = reshape(&new)?;
    let devices = devices.into_iter().map(older_device);
    old.spec.devices = devices.collect::<Result<_, _>>()?;
    Ok(Object::from(old))
}

fn all_older_requests(new: Vec<v1::DeviceRequest>) -> Result<Vec<v1beta1::DeviceRequest>, String> {
    new.into_iter().map(older_request).collect()
}

fn older_request(new: v1::DeviceRequest) -> Result<v1beta1::DeviceRequest, String> {
    let subrequests = new.first_available.into_iter().map(older_subrequest);
    let mut old = v1beta1::DeviceRequest {
        name: new.name,
        first_available: subrequests.collect::<Result<_, _>>()?,
        ..v1beta1::DeviceRequest::default()
    };
    if let Some(exactly) = new.exactly {
        old.device_class_name = exactly.device_class_name;
        old.selectors = reshape_all(&exactly.selectors)?;
        old.allocation_mode = exactly.allocation_mode;
        old.count = exactly.count;
        old.admin_access = exactly.admin_access;
        old.tolerations = reshape_all(&exactly.tolerations)?;
        old.capacity = reshape_box(exactly.capacity)?;
    }
    Ok(old)
}

fn older_subrequest(new: v1::DeviceSubRequest) -> Result<v1beta1::DeviceSubRequest, String> {
    Ok(v1beta1::DeviceSubRequest {
        name: new.name,
        device_class_name: new.device_class_name,
        selectors: reshape_all(&new.selectors)?,
        allocation_mode: new.allocation_mode,
        count: new.count,
        tolerations: reshape_all(&new.tolerations)?,
        capacity: reshape_box(new.capacity)?,
    })
}

/// A device without any fields has an empty `basic`, too.
fn older_device(new: v1::Device) -> Result<v1beta1::Device, String> {
    Ok(v1beta1::Device {
        name: new.name,
        basic: Some(Box::new(v1beta1::BasicDevice {
            attributes: reshape_map(new.attributes)?,
            capacity: reshape_map(new.capacity)?,
            consumes_counters: reshape_all(&new.consumes_counters)?,
            node_name: new.node_name,
            node_selector: new.node_selector,
            all_nodes: new.all_nodes,
            taints: reshape_all(&new.taints)?,
            binds_to_node: new.binds_to_node,
            binding_conditions: new.binding_conditions,
            binding_failure_conditions: new.binding_failure_conditions,
            allow_multiple_allocations: new.allow_multiple_allocations,
            node_allocatable_resource_mappings: reshape_map(
                new.node_allocatable_resource_mappings,
            )?,
        })),
    })
}

fn reshape_map<A: Struct, B: Described>(
    from: BTreeMap<String, A>,
) -> Result<BTreeMap<String, B>, String> {
    from.into_iter()
        .map(|(key, value)| Ok((key, reshape(&value)?)))
        .collect()
}

fn reshape_box<A: Struct, B: Described>(from: Option<Box<A>>) -> Result<Option<Box<B>>, String> {
    from.map(|value| reshape(&*value).map(Box::new)).transpose()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn there_and_back<Old: Struct + Described, New: Struct + Described>(
        functions: &Functions,
        old: Value,
        new: Value,
    ) {
        let decode = |json: &Value| api_types::decode_json::<Old>(json.to_string().as_bytes());
        let served = decode(&old).expect("the old version");
        let hub = (functions.to_hub)(Object::from(served)).expect("a conversion");
        let wanted: New = api_types::decode_json(new.to_string().as_bytes()).expect("v1");
        assert_eq!(
            hub.get::<New>().map(|it| api_types::encode_json(it)),
            Some(api_types::encode_json(&wanted))
        );
        let back = (functions.to_served)(hub).expect("a conversion");
        let wanted = decode(&old).expect("the old version");
        assert_eq!(
            back.get::<Old>().map(|it| api_types::encode_json(it)),
            Some(api_types::encode_json(&wanted))
        );
    }

    #[test]
    fn requests_and_devices_are_elsewhere_in_v1beta1() {
        let exact = json!({
            "deviceClassName": "c", "selectors": [{"cel": {"expression": "true"}}], "allocationMode": "All",
            "adminAccess": true, "tolerations": [{"key": "k", "operator": "Exists"}],
            "capacity": {"requests": {"memory": "1Gi"}},
        });
        let mut flat = exact.clone();
        flat["name"] = "a".into();
        let any = json!({"name": "b", "firstAvailable": [{
            "name": "c", "deviceClassName": "d", "selectors": [{"cel": {"expression": "true"}}],
            "allocationMode": "ExactCount", "count": 2, "tolerations": [{"key": "k"}],
            "capacity": {"requests": {"memory": "1Gi"}},
        }]});
        let spec = |request: Value| json!({"devices": {"requests": [request, any]}});
        let (old, new) = (spec(flat), spec(json!({"name": "a", "exactly": exact})));
        there_and_back::<v1beta1::ResourceClaim, v1::ResourceClaim>(
            &CLAIM,
            json!({"spec": old}),
            json!({"spec": new}),
        );
        there_and_back::<v1beta1::ResourceClaimTemplate, v1::ResourceClaimTemplate>(
            &CLAIM_TEMPLATE,
            json!({"spec": {"spec": old}}),
            json!({"spec": {"spec": new}}),
        );
        let device = json!({
            "attributes": {"a": {"int": 1}}, "capacity": {"m": {"value": "1"}}, "nodeName": "n",
            "taints": [{"key": "k", "effect": "NoSchedule"}], "bindsToNode": true,
            "bindingConditions": ["x"], "bindingFailureConditions": ["y"], "allowMultipleAllocations": false,
        });
        let mut flat = device.clone();
        flat["name"] = "a".into();
        let spec =
            |devices: Value| json!({"spec": {"driver": "d", "nodeName": "n", "devices": devices}});
        there_and_back::<v1beta1::ResourceSlice, v1::ResourceSlice>(
            &SLICE,
            spec(json!([{"name": "a", "basic": device}, {"name": "b", "basic": {}}])),
            spec(json!([flat, {"name": "b"}])),
        );
    }
}
