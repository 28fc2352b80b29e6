//! Fields of claims that features bring. Upstream: pkg/api/resourceclaimspec, pkg/registry/resource/resourceclaim/strategy.go.

use api_types::resource::v1::{
    DeviceClaim, DeviceRequestAllocationResult, ResourceClaim, ResourceClaimSpec,
};

use crate::apis::gates;

struct Feature {
    gate: &'static str,
    in_use: fn(&DeviceClaim) -> bool,
    drop: fn(&mut DeviceClaim),
}

/// In upstream's order: alternatives go before the fields that they have.
const FEATURES: [Feature; 3] = [
    Feature {
        gate: "DRAPrioritizedList",
        in_use: |devices| {
            let mut requests = devices.requests.iter();
            requests.any(|request| !request.first_available.is_empty())
        },
        drop: |devices| {
            for request in &mut devices.requests {
                request.first_available.clear();
            }
        },
    },
    Feature {
        gate: "DRADeviceTaints",
        in_use: |devices| {
            devices.requests.iter().any(|request| {
                let exactly = request.exactly.as_ref();
                exactly.is_some_and(|exactly| !exactly.tolerations.is_empty())
                    || request
                        .first_available
                        .iter()
                        .any(|one| !one.tolerations.is_empty())
            })
        },
        drop: |devices| {
            for request in &mut devices.requests {
                if let Some(exactly) = &mut request.exactly {
                    exactly.tolerations.clear();
                }
                for one in &mut request.first_available {
                    one.tolerations.clear();
                }
            }
        },
    },
    Feature {
        gate: "DRAConsumableCapacity",
        in_use: consumes_capacity,
        drop: |devices| {
            for constraint in &mut devices.constraints {
                constraint.distinct_attribute = None;
            }
            for request in &mut devices.requests {
                if let Some(exactly) = &mut request.exactly {
                    exactly.capacity = None;
                }
                for one in &mut request.first_available {
                    one.capacity = None;
                }
            }
        },
    },
];

fn consumes_capacity(devices: &DeviceClaim) -> bool {
    let mut constraints = devices.constraints.iter();
    constraints.any(|constraint| constraint.distinct_attribute.is_some())
        || devices.requests.iter().any(|request| {
            let exactly = request.exactly.as_ref();
            exactly.is_some_and(|exactly| exactly.capacity.is_some())
                || request
                    .first_available
                    .iter()
                    .any(|one| one.capacity.is_some())
        })
}

/// Takes away what features that are off have brought, unless the old claim uses them.
pub(super) fn drop_disabled(spec: &mut ResourceClaimSpec, old: Option<&ResourceClaimSpec>) {
    for feature in &FEATURES {
        let in_use = old.is_some_and(|old| (feature.in_use)(&old.devices));
        if !gates::enabled(feature.gate) && !in_use {
            (feature.drop)(&mut spec.devices);
        }
    }
}

/// A feature that brings fields to the status of claims. Where the old claim uses it, in its status or spec, they stay.
struct StatusFeature {
    gate: &'static str,
    in_use: fn(&ResourceClaim) -> bool,
    drop: fn(&mut ResourceClaim),
}

const STATUS_FEATURES: [StatusFeature; 3] = [
    StatusFeature {
        gate: "DRAAdminAccess",
        in_use: |claim| {
            let mut requests = claim.spec.devices.requests.iter();
            let of_request = requests.any(|request| {
                let exactly = request.exactly.as_ref();
                exactly.is_some_and(|exactly| exactly.admin_access.is_some())
            });
            of_request || results(claim).any(|result| result.admin_access.is_some())
        },
        drop: |claim| results_mut(claim).for_each(|result| result.admin_access = None),
    },
    StatusFeature {
        gate: "DRAConsumableCapacity",
        in_use: |claim| {
            let mut devices = claim.status.devices.iter();
            consumes_capacity(&claim.spec.devices)
                || results(claim)
                    .any(|result| result.share_id.is_some() || !result.consumed_capacity.is_empty())
                || devices.any(|device| device.share_id.is_some())
        },
        drop: |claim| {
            for result in results_mut(claim) {
                result.share_id = None;
                result.consumed_capacity.clear();
            }
            for device in &mut claim.status.devices {
                device.share_id = None;
            }
        },
    },
    StatusFeature {
        gate: "DRADeviceBindingConditions",
        in_use: |claim| {
            results(claim).any(|result| {
                !result.binding_conditions.is_empty()
                    || !result.binding_failure_conditions.is_empty()
            })
        },
        drop: |claim| {
            for result in results_mut(claim) {
                result.binding_conditions.clear();
                result.binding_failure_conditions.clear();
            }
        },
    },
];

fn results(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let allocation = claim.status.allocation.iter();
    allocation.flat_map(|allocation| &allocation.devices.results)
}

fn results_mut(
    claim: &mut ResourceClaim,
) -> impl Iterator<Item = &mut DeviceRequestAllocationResult> {
    let allocation = claim.status.allocation.iter_mut();
    allocation.flat_map(|allocation| &mut allocation.devices.results)
}

/// The same of a status. Upstream: dropDisabledStatusFields.
pub(super) fn drop_disabled_of_status(claim: &mut ResourceClaim, old: &ResourceClaim) {
    drop_of_status(claim, old, gates::enabled);
}

fn drop_of_status(claim: &mut ResourceClaim, old: &ResourceClaim, enabled: fn(&str) -> bool) {
    for feature in &STATUS_FEATURES {
        if !enabled(feature.gate) && !(feature.in_use)(old) {
            (feature.drop)(claim);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_loses_what_features_that_are_off_have_brought() {
        let claim = json!({
            "status": {
                "allocation": {"devices": {"results": [{
                    "request": "r", "driver": "d", "pool": "p", "device": "e", "adminAccess": true, "shareID": "id",
                    "consumedCapacity": {"c": "1"}, "bindingConditions": ["b"], "bindingFailureConditions": ["f"]
                }]}},
                "devices": [{"driver": "d", "pool": "p", "device": "e", "shareID": "id"}]
            }
        });
        let claim: ResourceClaim = api_types::decode_json(claim.to_string().as_bytes()).unwrap();
        let dropped = |old: &ResourceClaim, enabled: fn(&str) -> bool| {
            let mut new = claim.clone();
            drop_of_status(&mut new, old, enabled);
            new
        };
        let unused = ResourceClaim::default();
        assert_eq!(dropped(&unused, |_| true), claim);
        assert_eq!(dropped(&claim, |_| false), claim);
        let new = dropped(&unused, |_| false);
        let left = json!([{"request": "r", "driver": "d", "pool": "p", "device": "e"}]);
        let json: serde_json::Value =
            serde_json::from_slice(&api_types::encode_json(&new)).unwrap();
        assert_eq!(json["status"]["allocation"]["devices"]["results"], left);
        assert_eq!(new.status.devices.len(), 1);
        assert_eq!(new.status.devices[0].share_id, None);
        let asked = json!({"spec": {"devices": {"constraints": [{"distinctAttribute": "a/b"}]}}});
        let asked: ResourceClaim = api_types::decode_json(asked.to_string().as_bytes()).unwrap();
        assert_eq!(
            dropped(&asked, |gate| gate != "DRAConsumableCapacity"),
            claim
        );
    }
}
