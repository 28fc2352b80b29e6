//! The versions that are served besides the hub of their kind: one row each.

use api_types::kinds::{self, KindInfo};

use super::{Conversion, Functions, autoscaling, dynamic_resources, event};

/// A version of a kind that is not the hub.
pub(super) struct Row {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    /// Group and version of the hub.
    pub(super) hub: (&'static str, &'static str),
    pub(super) conversion: Conversion,
}

impl Row {
    pub(super) fn hub_kind(&self) -> Option<&'static KindInfo> {
        kinds::lookup(self.hub.0, self.hub.1, self.kind)
    }
}

/// A version with the fields of another one of its group.
const fn same(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    hub: &'static str,
) -> Row {
    Row {
        group,
        version,
        kind,
        hub: (group, hub),
        conversion: Conversion::SameFields,
    }
}

/// A version with fields of its own.
const fn other(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    hub: (&'static str, &'static str),
    functions: &'static Functions,
) -> Row {
    Row {
        group,
        version,
        kind,
        hub,
        conversion: Conversion::Functions(functions),
    }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const COORDINATION: &str = "coordination.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const RESOURCE: &str = "resource.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const POLICY: &str = "MutatingAdmissionPolicy";
const BINDING: &str = "MutatingAdmissionPolicyBinding";
const TEMPLATE: &str = "ResourceClaimTemplate";
const RESOURCE_V1: (&str, &str) = (RESOURCE, "v1");

#[rustfmt::skip]
pub(super) static ROWS: &[Row] = &[
    other("autoscaling", "v1", "HorizontalPodAutoscaler", ("autoscaling", "v2"), &autoscaling::FUNCTIONS),
    other("events.k8s.io", "v1", "Event", ("", "v1"), &event::FUNCTIONS),
    same(ADMISSION, "v1beta1", POLICY, "v1"),
    same(ADMISSION, "v1alpha1", POLICY, "v1"),
    same(ADMISSION, "v1beta1", BINDING, "v1"),
    same(ADMISSION, "v1alpha1", BINDING, "v1"),
    same(CERTIFICATES, "v1alpha1", "ClusterTrustBundle", "v1beta1"),
    same(COORDINATION, "v1alpha2", "LeaseCandidate", "v1beta1"),
    same(NETWORKING, "v1beta1", "IPAddress", "v1"),
    same(NETWORKING, "v1beta1", "ServiceCIDR", "v1"),
    same(RESOURCE, "v1beta2", "DeviceClass", "v1"),
    same(RESOURCE, "v1beta2", "ResourceClaim", "v1"),
    same(RESOURCE, "v1beta2", TEMPLATE, "v1"),
    same(RESOURCE, "v1beta2", "ResourceSlice", "v1"),
    same(RESOURCE, "v1beta1", "DeviceClass", "v1"),
    other(RESOURCE, "v1beta1", "ResourceClaim", RESOURCE_V1, &dynamic_resources::CLAIM),
    other(RESOURCE, "v1beta1", TEMPLATE, RESOURCE_V1, &dynamic_resources::CLAIM_TEMPLATE),
    other(RESOURCE, "v1beta1", "ResourceSlice", RESOURCE_V1, &dynamic_resources::SLICE),
    same(RESOURCE, "v1alpha3", "DeviceTaintRule", "v1beta2"),
    same(STORAGE, "v1beta1", "VolumeAttributesClass", "v1"),
];

pub(super) fn find(group: &str, version: &str, kind: &str) -> Option<&'static Row> {
    ROWS.iter()
        .find(|row| row.kind == kind && row.group == group && row.version == version)
}

/// The row of a kind that is not its own hub.
pub(super) fn of(kind: &KindInfo) -> Option<&'static Row> {
    find(kind.group, kind.version, kind.kind)
}
