//! Kinds of resource.k8s.io. Upstream: pkg/registry/resource.

use api_types::Time;
use api_types::resource::v1::{
    DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice, ResourceSliceSpec,
};
use api_types::resource::v1alpha3::ResourcePoolStatusRequest;
use api_types::resource::v1beta2::DeviceTaintRule;
use apimachinery::quote::quote;

use super::{Generation, Kind, Row, Status, claim_fields, row};
use crate::apis::gates;
use crate::apis::validation::dra::{self, pool_requests, taint_rules};

const RESOURCE: &str = "resource.k8s.io";
const POOL_REQUEST: &str = "ResourcePoolStatusRequest";

pub(super) static ROWS: &[Row] = &[
    row(RESOURCE, "DeviceClass", "", &DEVICE_CLASS),
    row(RESOURCE, "ResourceClaim", "", &CLAIM),
    row(RESOURCE, "ResourceClaim", "status", &CLAIM_STATUS),
    row(RESOURCE, "ResourceClaimTemplate", "", &CLAIM_TEMPLATE),
    row(RESOURCE, "ResourceSlice", "", &SLICE),
    row(RESOURCE, "DeviceTaintRule", "", &TAINT_RULE),
    row(RESOURCE, "DeviceTaintRule", "status", &TAINT_RULE_STATUS),
    row(RESOURCE, POOL_REQUEST, "", &POOL_STATUS_REQUEST),
    row(RESOURCE, POOL_REQUEST, "status", &POOL_STATUS),
];

static DEVICE_CLASS: Kind<DeviceClass> = Kind {
    prepare: |_, class| drop_extended_resource(class, None),
    prepare_update: |_, class, old| drop_extended_resource(class, Some(old)),
    generation: Generation::Spec,
    ..Kind::new(
        |_, class| dra::validate_device_class(class),
        |_, class, old| dra::validate_device_class_update(class, old),
    )
};

fn drop_extended_resource(class: &mut DeviceClass, old: Option<&DeviceClass>) {
    let in_use = old.is_some_and(|old| old.spec.extended_resource_name.is_some());
    if !gates::enabled("DRAExtendedResource") && !in_use {
        class.spec.extended_resource_name = None;
    }
}

static CLAIM: Kind<ResourceClaim> = Kind {
    prepare: |_, claim| claim_fields::drop_disabled(&mut claim.spec, None),
    prepare_update: |_, claim, old| {
        claim_fields::drop_disabled(&mut claim.spec, Some(&old.spec));
    },
    ..Kind::new(
        |context, claim| dra::validate_resource_claim(claim, &context.admin_access),
        |_, claim, old| dra::validate_resource_claim_update(claim, old),
    )
};

static CLAIM_STATUS: Status<ResourceClaim> = Status {
    keeps_metadata: true,
    prepare: |_, claim, old| {
        claim_fields::drop_disabled_of_status(claim, old);
        dra::drop_stale_devices(claim, old);
    },
    ..Status::new(|context, claim, old| {
        dra::validate_resource_claim_status_update(claim, old, &context.admin_access)
    })
};

static CLAIM_TEMPLATE: Kind<ResourceClaimTemplate> = Kind {
    prepare: |_, template| claim_fields::drop_disabled(&mut template.spec.spec, None),
    prepare_update: |_, template, old| {
        claim_fields::drop_disabled(&mut template.spec.spec, Some(&old.spec.spec));
    },
    ..Kind::new(
        |context, template| dra::validate_claim_template(template, &context.admin_access),
        |_, template, old| dra::validate_claim_template_update(template, old),
    )
};

static SLICE: Kind<ResourceSlice> = Kind {
    prepare: |_, slice| drop_disabled_slice_fields(&mut slice.spec, None),
    prepare_update: |_, slice, old| {
        // What is dropped counts as a change, too.
        if slice.spec != old.spec {
            slice.metadata.generation = old.metadata.generation + 1;
        }
        drop_disabled_slice_fields(&mut slice.spec, Some(&old.spec));
    },
    warn: |_, slice| driver_warning(slice),
    warn_update: |_, slice, _| driver_warning(slice),
    generation: Generation::Spec,
    ..Kind::new(
        |_, slice| dra::slices::validate_resource_slice(slice),
        |_, slice, old| dra::slices::validate_resource_slice_update(slice, old),
    )
};

fn driver_warning(slice: &ResourceSlice) -> Vec<String> {
    let driver = &slice.spec.driver;
    if *driver == driver.to_lowercase() {
        return Vec::new();
    }
    let driver = quote(driver);
    vec![format!(
        "spec.driver: driver names should be lowercase; {driver} contains uppercase characters"
    )]
}

/// One feature of devices: the gates it needs, whether a slice uses it, and what goes away without it.
struct DeviceFeature {
    gates: &'static [&'static str],
    in_use: fn(&ResourceSliceSpec) -> bool,
    drop: fn(&mut ResourceSliceSpec),
}

static DEVICE_FEATURES: [DeviceFeature; 6] = [
    DeviceFeature {
        gates: &["DRADeviceTaints"],
        in_use: |spec| spec.devices.iter().any(|device| !device.taints.is_empty()),
        drop: |spec| {
            spec.devices
                .iter_mut()
                .for_each(|device| device.taints.clear())
        },
    },
    DeviceFeature {
        gates: &["DRAPartitionableDevices"],
        in_use: |spec| {
            !spec.shared_counters.is_empty()
                || spec.per_device_node_selection.is_some()
                || spec.devices.iter().any(|device| {
                    !device.consumes_counters.is_empty()
                        || device.node_name.is_some()
                        || device.node_selector.is_some()
                        || device.all_nodes.is_some()
                })
        },
        drop: |spec| {
            spec.shared_counters.clear();
            spec.per_device_node_selection = None;
            for device in &mut spec.devices {
                device.consumes_counters.clear();
                device.node_name = None;
                device.node_selector = None;
                device.all_nodes = None;
            }
        },
    },
    DeviceFeature {
        gates: &["DRADeviceBindingConditions", "DRAResourceClaimDeviceStatus"],
        in_use: |spec| {
            spec.devices.iter().any(|device| {
                !device.binding_conditions.is_empty()
                    || !device.binding_failure_conditions.is_empty()
                    || device.binds_to_node.is_some()
            })
        },
        drop: |spec| {
            for device in &mut spec.devices {
                device.binding_conditions.clear();
                device.binding_failure_conditions.clear();
                device.binds_to_node = None;
            }
        },
    },
    DeviceFeature {
        gates: &["DRAConsumableCapacity"],
        in_use: |spec| {
            spec.devices.iter().any(|device| {
                let mut capacities = device.capacity.values();
                device.allow_multiple_allocations.is_some()
                    || capacities.any(|capacity| capacity.request_policy.is_some())
            })
        },
        drop: |spec| {
            for device in &mut spec.devices {
                device.allow_multiple_allocations = None;
                let capacities = device.capacity.values_mut();
                capacities.for_each(|capacity| capacity.request_policy = None);
            }
        },
    },
    DeviceFeature {
        gates: &["DRANodeAllocatableResources"],
        in_use: |spec| {
            let mut devices = spec.devices.iter();
            devices.any(|device| !device.node_allocatable_resource_mappings.is_empty())
        },
        drop: |spec| {
            let devices = spec.devices.iter_mut();
            devices.for_each(|device| device.node_allocatable_resource_mappings.clear());
        },
    },
    DeviceFeature {
        gates: &["DRAListTypeAttributes"],
        in_use: |spec| {
            let attributes = spec.devices.iter().flat_map(|it| it.attributes.values());
            attributes.into_iter().any(|attribute| {
                !attribute.bools.is_empty()
                    || !attribute.ints.is_empty()
                    || !attribute.strings.is_empty()
                    || !attribute.versions.is_empty()
            })
        },
        drop: |spec| {
            let devices = spec.devices.iter_mut();
            for attribute in devices.flat_map(|device| device.attributes.values_mut()) {
                attribute.bools.clear();
                attribute.ints.clear();
                attribute.strings.clear();
                attribute.versions.clear();
            }
        },
    },
];

fn drop_disabled_slice_fields(spec: &mut ResourceSliceSpec, old: Option<&ResourceSliceSpec>) {
    for feature in &DEVICE_FEATURES {
        let enabled = feature.gates.iter().all(|gate| gates::enabled(gate));
        if !enabled && !old.is_some_and(feature.in_use) {
            (feature.drop)(spec);
        }
    }
}

static TAINT_RULE: Kind<DeviceTaintRule> = Kind {
    prepare_update: |_, rule, old| {
        let (taint, old) = (&mut rule.spec.taint, &old.spec.taint);
        // The time is that of the effect.
        if taint.effect != old.effect && taint.time_added == old.time_added {
            taint.time_added = Some(Time::now());
        }
    },
    generation: Generation::Spec,
    ..Kind::new(
        |_, rule| taint_rules::validate_taint_rule(rule),
        |_, rule, old| taint_rules::validate_taint_rule_update(rule, old),
    )
};

static TAINT_RULE_STATUS: Status<DeviceTaintRule> = Status {
    keeps_metadata: true,
    ..Status::new(|_, rule, old| taint_rules::validate_taint_rule_status_update(rule, old))
};

static POOL_STATUS_REQUEST: Kind<ResourcePoolStatusRequest> = Kind {
    unconditional_update: false,
    ..Kind::new(
        |_, request| pool_requests::validate_pool_request(request),
        |_, request, old| pool_requests::validate_pool_request_update(request, old),
    )
};

static POOL_STATUS: Status<ResourcePoolStatusRequest> = Status {
    keeps_metadata: true,
    unconditional_update: false,
    ..Status::new(|_, request, old| {
        pool_requests::validate_pool_request_status_update(request, old)
    })
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_of_features_that_are_off_stay_where_they_were_used() {
        let spec = |device: serde_json::Value| -> ResourceSliceSpec {
            let json = json!({"devices": [device]});
            api_types::decode_json(json.to_string().as_bytes()).unwrap()
        };
        let lists = spec(json!({"attributes": {"a": {"ints": [1, 2]}}}));
        let mut new = lists.clone();
        drop_disabled_slice_fields(&mut new, None);
        assert!(new.devices[0].attributes["a"].ints.is_empty());
        let mut new = lists.clone();
        drop_disabled_slice_fields(&mut new, Some(&lists));
        assert_eq!(new, lists);
        let tainted = spec(json!({"taints": [{"key": "a", "effect": "NoSchedule"}]}));
        let mut new = tainted.clone();
        drop_disabled_slice_fields(&mut new, None);
        assert_eq!(new, tainted);
    }
}
