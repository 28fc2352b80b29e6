//! Kinds of resource names. Upstream: pkg/apis/core/v1/helper.

use api_types::Quantity;

use crate::validation::is_qualified_name;

/// Processor time, in cores.
pub const CPU: &str = "cpu";
/// Memory, in bytes.
pub const MEMORY: &str = "memory";
/// Local disk space, in bytes.
pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
/// Number of pods.
pub const PODS: &str = "pods";
/// What the names of huge page resources start with.
pub const HUGE_PAGES_PREFIX: &str = "hugepages-";
/// What the names of attachable volume limits start with.
pub const ATTACHABLE_VOLUMES_PREFIX: &str = "attachable-volumes-";
/// What quota puts in front of a resource name to count requests.
pub const REQUESTS_PREFIX: &str = "requests.";
/// What the names of extended resources that stand for a device class start with.
pub const DEVICE_CLASS_PREFIX: &str = "deviceclass.resource.kubernetes.io/";
/// The domain of native resources.
const NATIVE_DOMAIN: &str = "kubernetes.io/";

/// Whether the name is in the domain of native resources.
pub fn is_prefixed_native_resource(name: &str) -> bool {
    name.contains(NATIVE_DOMAIN)
}

/// Whether the name has no domain, or the native one.
pub fn is_native_resource(name: &str) -> bool {
    !name.contains('/') || is_prefixed_native_resource(name)
}

/// Whether the name is that of an extended resource, such as `example.com/gpu`.
pub fn is_extended_resource_name(name: &str) -> bool {
    !is_native_resource(name)
        && !name.starts_with(REQUESTS_PREFIX)
        && is_qualified_name(&format!("{REQUESTS_PREFIX}{name}")).is_empty()
}

/// Whether the name is that of huge pages of some size.
pub fn is_huge_page_resource_name(name: &str) -> bool {
    name.starts_with(HUGE_PAGES_PREFIX)
}

/// The page size in the name of a huge page resource.
pub fn huge_page_size(name: &str) -> Option<Quantity> {
    Quantity::parse(name.strip_prefix(HUGE_PAGES_PREFIX)?).ok()
}

/// Whether requests for the resource may be less than limits.
pub fn is_overcommit_allowed(name: &str) -> bool {
    is_native_resource(name) && !is_huge_page_resource_name(name)
}

/// Whether the name is that of a limit of attachable volumes.
pub fn is_attachable_volume_resource_name(name: &str) -> bool {
    name.starts_with(ATTACHABLE_VOLUMES_PREFIX)
}

/// Whether the resource may be set for a pod as a whole.
pub fn is_supported_pod_level_resource(name: &str) -> bool {
    matches!(name, CPU | MEMORY) || name.starts_with(HUGE_PAGES_PREFIX)
}
