//! What ResourceClaims count for. Upstream: pkg/quota/v1/evaluator/core/resource_claims.go and
//! dynamic-resource-allocation/deviceclass/extendedresourcecache; KEP-4381, KEP-5004.
//!
//! Devices may be asked for in a claim, or by the name of an extended resource in a pod. Both count against the same limit, and
//! only once: for a pod of the second kind the scheduler makes a claim, which counts for no more than the pod does not already.

use std::collections::BTreeMap;

use api_types::core::v1::Pod;
use api_types::meta::v1::OwnerReference;
use api_types::resource::v1::{DeviceClass, DeviceRequest, ResourceClaim};
use api_types::{Format, Quantity, Time};

use super::{Amounts, pod_usage};
use crate::owner_ref::controller_of;
use crate::resource::{DEVICE_CLASS_PREFIX, REQUESTS_PREFIX};

/// What follows the class in the name of a limit on devices.
const DEVICES_SUFFIX: &str = ".deviceclass.resource.k8s.io/devices";
/// Marks the claims that the scheduler makes.
const EXTENDED_RESOURCE_CLAIM: &str = "resource.kubernetes.io/extended-resource-claim";
/// No claim gets more devices than this.
const MOST_DEVICES: i64 = 32;

/// A claim, and what it takes to count it.
#[derive(Clone, Copy)]
pub struct CountedClaim<'a> {
    pub claim: &'a ResourceClaim,
    /// None where devices have no extended resources (gate DRAExtendedResource).
    pub classes: Option<&'a DeviceClasses>,
    /// The pod that the scheduler made the claim for, see [`is_made_for`].
    pub pod: Option<&'a Pod>,
}

/// The extended resources that device classes go by.
#[derive(Clone, Debug, Default)]
pub struct DeviceClasses(BTreeMap<String, Option<String>>);

impl DeviceClasses {
    pub fn of<'a>(classes: impl IntoIterator<Item = &'a DeviceClass>) -> Self {
        let names = classes.into_iter().map(|class| {
            let resource = class.spec.extended_resource_name.clone();
            let resource = resource.filter(|resource| !resource.is_empty());
            (class.metadata.name.clone(), resource)
        });
        Self(names.collect())
    }

    /// Whether a limit of this name is one on requests for devices of some class.
    fn are_limited_by(&self, name: &str) -> bool {
        let Some(resource) = name.strip_prefix(REQUESTS_PREFIX) else {
            return false;
        };
        match resource.strip_prefix(DEVICE_CLASS_PREFIX) {
            Some(class) => self.0.contains_key(class),
            None => self.0.values().flatten().any(|known| known == resource),
        }
    }
}

/// Whether claims count against a limit of this name.
pub(super) fn are_limited_by(name: &str, classes: Option<&DeviceClasses>) -> bool {
    name.ends_with(DEVICES_SUFFIX) || classes.is_some_and(|classes| classes.are_limited_by(name))
}

/// The pod that a claim says it was made for, because of extended resources that the pod asks for.
pub fn made_for(claim: &ResourceClaim) -> Option<&OwnerReference> {
    let is_marked = claim
        .metadata
        .annotations
        .get(EXTENDED_RESOURCE_CLAIM)
        .is_some_and(|value| value == "true");
    controller_of(&claim.metadata)
        .filter(|owner| is_marked && owner.kind == "Pod" && owner.api_version == "v1")
}

/// Whether the claim is the one that was made for the pod: the one that the pod names, or else the first of those that say so.
/// `claims` are those of the namespace.
pub fn is_made_for<'a>(
    claim: &ResourceClaim,
    pod: &Pod,
    claims: impl IntoIterator<Item = &'a ResourceClaim>,
) -> bool {
    let says_so =
        |claim: &ResourceClaim| made_for(claim).is_some_and(|owner| owner.uid == pod.metadata.uid);
    let age = |claim: &ResourceClaim| {
        let metadata = &claim.metadata;
        (metadata.creation_timestamp, metadata.name.clone())
    };
    if !says_so(claim) {
        return false;
    }
    match &pod.status.extended_resource_claim_status {
        Some(status) => status.resource_claim_name == claim.metadata.name,
        None => claims
            .into_iter()
            .filter(|other| says_so(other))
            .all(|other| age(other) >= age(claim)),
    }
}

pub(super) fn claim_usage(counted: CountedClaim<'_>, now: Time, usage: &mut Amounts) {
    let mut devices = BTreeMap::new();
    for request in &counted.claim.spec.devices.requests {
        for (class, count) in devices_of(request) {
            let total: &mut i64 = devices.entry(class).or_default();
            *total = total.saturating_add(count);
        }
    }
    let amount = |count: i64| Quantity::from_value(count, Format::DecimalSI);
    for (class, count) in &devices {
        usage.insert(format!("{class}{DEVICES_SUFFIX}"), amount(*count));
    }
    let Some(DeviceClasses(classes)) = counted.classes else {
        return;
    };
    let mut extended: BTreeMap<String, i64> = BTreeMap::new();
    for (class, count) in devices.into_iter().filter(|(class, _)| !class.is_empty()) {
        extended.insert(
            format!("{REQUESTS_PREFIX}{DEVICE_CLASS_PREFIX}{class}"),
            count,
        );
        if let Some(Some(resource)) = classes.get(class) {
            let total = extended.entry(format!("{REQUESTS_PREFIX}{resource}"));
            let total = total.or_default();
            *total = total.saturating_add(count);
        }
    }
    let mut of_pod = Amounts::new();
    if let Some(pod) = counted.pod {
        pod_usage(pod, now, &mut of_pod);
    }
    for (name, count) in extended {
        let mut more = amount(count);
        if let Some(counted) = of_pod.get(&name) {
            more.sub(counted);
        }
        if more.signum() > 0 {
            usage.insert(name, more);
        }
    }
}

/// The most devices of each class that a request may get. Requests and modes of later versions count for nothing.
fn devices_of(request: &DeviceRequest) -> BTreeMap<&str, i64> {
    let count = |mode: &str, count: i64| match mode {
        "ExactCount" => count,
        "All" => MOST_DEVICES,
        _ => 0,
    };
    let mut devices = BTreeMap::new();
    if let (Some(request), true) = (&request.exactly, request.first_available.is_empty()) {
        let count = count(&request.allocation_mode, request.count);
        devices.insert(request.device_class_name.as_str(), count);
    }
    for request in &request.first_available {
        let most: &mut i64 = devices.entry(&*request.device_class_name).or_default();
        *most = (*most).max(count(&request.allocation_mode, request.count));
    }
    devices
}
