//! In which releases versions of kinds are deprecated and removed. Upstream: the prerelease-lifecycle markers of k8s.io/api and
//! apiserver/pkg/endpoints/deprecation.

use api_types::kinds::KindInfo;

/// This release is 1.36.
const THIS_MINOR: u32 = 36;

/// A kind that is on its way out, or will be. Releases are minor versions of 1.
pub struct Lifecycle {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    deprecated: u32,
    removed: Option<u32>,
    /// `apiVersion Kind` to use instead.
    replacement: &'static str,
}

const fn row(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    deprecated: u32,
    removed: u32,
) -> Lifecycle {
    Lifecycle {
        group,
        version,
        kind,
        deprecated,
        removed: Some(removed),
        replacement: "",
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

#[rustfmt::skip]
static ROWS: &[Lifecycle] = &[
    Lifecycle { removed: None, ..row("", "v1", "ComponentStatus", 19, 0) },
    Lifecycle { removed: None, replacement: "discovery.k8s.io/v1 EndpointSlice", ..row("", "v1", "Endpoints", 33, 0) },
    Lifecycle { replacement: "admissionregistration.k8s.io/v1 MutatingAdmissionPolicy", ..row(ADMISSION, "v1beta1", POLICY, 37, 40) },
    Lifecycle { replacement: "admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding", ..row(ADMISSION, "v1beta1", BINDING, 37, 40) },
    row(ADMISSION, "v1alpha1", POLICY, 35, 38),
    row(ADMISSION, "v1alpha1", BINDING, 35, 38),
    row(CERTIFICATES, "v1beta1", "ClusterTrustBundle", 37, 40),
    row(CERTIFICATES, "v1beta1", "PodCertificateRequest", 38, 41),
    row(CERTIFICATES, "v1alpha1", "ClusterTrustBundle", 34, 37),
    row(COORDINATION, "v1beta1", "LeaseCandidate", 36, 39),
    row(COORDINATION, "v1alpha2", "LeaseCandidate", 35, 38),
    row(NETWORKING, "v1beta1", "IPAddress", 34, 37),
    row(NETWORKING, "v1beta1", "ServiceCIDR", 34, 37),
    row(RESOURCE, "v1beta2", "DeviceClass", 36, 39),
    row(RESOURCE, "v1beta2", "DeviceTaintRule", 39, 42),
    row(RESOURCE, "v1beta2", "ResourceClaim", 36, 39),
    row(RESOURCE, "v1beta2", TEMPLATE, 36, 39),
    row(RESOURCE, "v1beta2", "ResourceSlice", 36, 39),
    row(RESOURCE, "v1beta1", "DeviceClass", 35, 38),
    row(RESOURCE, "v1beta1", "ResourceClaim", 35, 38),
    row(RESOURCE, "v1beta1", TEMPLATE, 35, 38),
    row(RESOURCE, "v1beta1", "ResourceSlice", 35, 38),
    row(RESOURCE, "v1alpha3", "DeviceTaintRule", 36, 39),
    row(RESOURCE, "v1alpha3", "ResourcePoolStatusRequest", 39, 42),
    Lifecycle { replacement: "storage.k8s.io/v1 VolumeAttributesClass", ..row(STORAGE, "v1beta1", "VolumeAttributesClass", 34, 37) },
    row("storagemigration.k8s.io", "v1beta1", "StorageVersionMigration", 38, 41),
];

impl Lifecycle {
    /// What clients are told.
    pub fn warning(&self) -> String {
        let slash = if self.group.is_empty() { "" } else { "/" };
        let mut text = format!(
            "{}{slash}{} {} is deprecated in v1.{}+",
            self.group, self.version, self.kind, self.deprecated
        );
        if let Some(removed) = self.removed {
            text.push_str(&format!(", unavailable in v1.{removed}+"));
        }
        if !self.replacement.is_empty() {
            text.push_str(&format!("; use {}", self.replacement));
        }
        text
    }

    /// The first release without it, empty if that is not known.
    pub fn removed_release(&self) -> String {
        self.removed
            .map(|minor| format!("1.{minor}"))
            .unwrap_or_default()
    }
}

/// What there is to say of a kind that is deprecated by now.
pub fn deprecated(kind: &KindInfo) -> Option<&'static Lifecycle> {
    ROWS.iter().find(|row| {
        row.kind == kind.kind
            && row.group == kind.group
            && row.version == kind.version
            && row.deprecated <= THIS_MINOR
    })
}

#[cfg(test)]
mod tests {
    use api_types::kinds::lookup;
    use api_types::resources::RESOURCES;

    use super::*;

    fn warning(group: &str, version: &str, kind: &str) -> Option<String> {
        deprecated(lookup(group, version, kind).expect("a kind")).map(Lifecycle::warning)
    }

    #[test]
    fn what_is_deprecated_says_so() {
        for (group, version, kind, text) in [
            (
                "",
                "v1",
                "ComponentStatus",
                "v1 ComponentStatus is deprecated in v1.19+",
            ),
            (
                "",
                "v1",
                "Endpoints",
                "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
            ),
            (
                NETWORKING,
                "v1beta1",
                "IPAddress",
                "networking.k8s.io/v1beta1 IPAddress is deprecated in v1.34+, unavailable in v1.37+",
            ),
            (
                STORAGE,
                "v1beta1",
                "VolumeAttributesClass",
                "storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+, unavailable in v1.37+; use storage.k8s.io/v1 VolumeAttributesClass",
            ),
        ] {
            assert_eq!(warning(group, version, kind).as_deref(), Some(text));
        }
        assert_eq!(warning(ADMISSION, "v1beta1", POLICY), None);
        assert_eq!(warning("", "v1", "Pod"), None);
    }

    #[test]
    fn every_version_before_v1_has_a_row_or_is_known_to_have_none() {
        // Upstream has no releases for these alpha versions.
        const NONE: [&str; 3] = ["PodGroup", "Workload", "StorageVersion"];
        for info in RESOURCES.iter().filter(|info| !info.default_on) {
            let has_row = ROWS.iter().any(|row| {
                (row.group, row.version, row.kind) == (info.group, info.version, info.kind)
            });
            assert_ne!(has_row, NONE.contains(&info.kind), "{info:?}");
        }
    }
}
