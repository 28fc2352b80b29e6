//! Fields of claims that features bring. Upstream: pkg/api/resourceclaimspec.

use api_types::resource::v1::{DeviceClaim, ResourceClaimSpec};

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
        in_use: |devices| {
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
        },
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

/// Takes away what features that are off have brought, unless the old claim uses them.
pub(super) fn drop_disabled(spec: &mut ResourceClaimSpec, old: Option<&ResourceClaimSpec>) {
    for feature in &FEATURES {
        let in_use = old.is_some_and(|old| (feature.in_use)(&old.devices));
        if !gates::enabled(feature.gate) && !in_use {
            (feature.drop)(&mut spec.devices);
        }
    }
}
