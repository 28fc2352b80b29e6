//! Amounts of resources as integers, so that the hot path never parses a quantity. Upstream: framework/types.go (`Resource`).

use std::sync::Arc;

use api_types::core::v1::Pod;
use api_types::{Format, Quantity};
use apimachinery::resource::{
    PodResourcesOptions, ResourceList, is_attachable_volume_resource_name,
    is_extended_resource_name, is_huge_page_resource_name, is_pod_level_requests_set,
    is_prefixed_native_resource, pod_requests,
};

/// Requested for scoring by a container that requests no CPU. Upstream: pkg/scheduler/util/pod_resources.go.
pub const DEFAULT_MILLI_CPU_REQUEST: i64 = 100;
/// The same for memory, in bytes.
pub const DEFAULT_MEMORY_REQUEST: i64 = 200 * 1024 * 1024;

/// Amounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// How many pods a node takes.
    pub allowed_pods: i64,
    /// Extended resources, huge pages and the like, sorted by name. Few, so a list.
    pub scalar: Vec<(Arc<str>, i64)>,
}

/// Whether a resource is counted by name. Upstream: `IsScalarResourceName`.
pub fn is_scalar_resource_name(name: &str) -> bool {
    is_extended_resource_name(name)
        || is_huge_page_resource_name(name)
        || is_prefixed_native_resource(name)
        || is_attachable_volume_resource_name(name)
}

impl Resource {
    /// The amounts in a list.
    pub fn new(list: &ResourceList) -> Self {
        let mut resource = Self::default();
        for (name, quantity) in list {
            match name.as_str() {
                "cpu" => resource.milli_cpu += quantity.milli_value(),
                "memory" => resource.memory += quantity.value(),
                "pods" => resource.allowed_pods += quantity.value(),
                "ephemeral-storage" => resource.ephemeral_storage += quantity.value(),
                name if is_scalar_resource_name(name) => {
                    *resource.scalar_mut(name) += quantity.value();
                }
                _ => {}
            }
        }
        resource
    }

    /// The amount of a resource that is counted by name; zero if there is none.
    pub fn scalar(&self, name: &str) -> i64 {
        self.scalar_if_listed(name).unwrap_or(0)
    }

    /// The same, `None` if it is not listed at all.
    pub fn scalar_if_listed(&self, name: &str) -> Option<i64> {
        self.scalar
            .binary_search_by(|(other, _)| (**other).cmp(name))
            .ok()
            .map(|i| self.scalar[i].1)
    }

    fn scalar_mut(&mut self, name: &str) -> &mut i64 {
        let at = match self
            .scalar
            .binary_search_by(|(other, _)| (**other).cmp(name))
        {
            Ok(at) => at,
            Err(at) => {
                self.scalar.insert(at, (Arc::from(name), 0));
                at
            }
        };
        &mut self.scalar[at].1
    }

    /// Adds `sign` times the other amounts; the number of pods is not an amount.
    pub fn add(&mut self, other: &Resource, sign: i64) {
        self.milli_cpu += sign * other.milli_cpu;
        self.memory += sign * other.memory;
        self.ephemeral_storage += sign * other.ephemeral_storage;
        for (name, amount) in &other.scalar {
            *self.scalar_mut(name) += sign * amount;
        }
    }

    /// Whether nothing is asked for.
    pub fn requests_nothing(&self) -> bool {
        self.milli_cpu == 0
            && self.memory == 0
            && self.ephemeral_storage == 0
            && self.scalar.is_empty()
    }
}

/// What a pod takes from a node.
#[derive(Clone, Debug, Default)]
pub struct PodResource {
    /// What it requests, counting resizes in progress: what it takes once it is on a node.
    pub request: Resource,
    /// CPU with a default for containers that request none, in thousandths.
    pub non_zero_milli_cpu: i64,
    /// Memory with a default, in bytes.
    pub non_zero_memory: i64,
}

/// Computes what a pod takes. Upstream: `PodInfo.CalculateResource`.
pub fn pod_resource(pod: &Pod) -> PodResource {
    let options = PodResourcesOptions {
        use_status_resources: true,
        in_place_pod_level_resources_vertical_scaling_enabled: true,
        ..PodResourcesOptions::default()
    };
    let requests = pod_requests(pod, &options);
    let pod_level = is_pod_level_requests_set(pod);
    let mut missing = ResourceList::new();
    if !pod_level || !requests.contains_key("cpu") {
        missing.insert(
            "cpu".to_owned(),
            Quantity::from_milli(DEFAULT_MILLI_CPU_REQUEST, Format::DecimalSI),
        );
    }
    if !pod_level || !requests.contains_key("memory") {
        missing.insert(
            "memory".to_owned(),
            Quantity::from_value(DEFAULT_MEMORY_REQUEST, Format::DecimalSI),
        );
    }
    let non_zero = if missing.is_empty() {
        requests.clone()
    } else {
        pod_requests(
            pod,
            &PodResourcesOptions {
                non_missing_container_requests: Some(&missing),
                ..options
            },
        )
    };
    PodResource {
        non_zero_milli_cpu: non_zero.get("cpu").map_or(0, Quantity::milli_value),
        non_zero_memory: non_zero.get("memory").map_or(0, Quantity::value),
        request: Resource::new(&requests),
    }
}

/// What a pod that is not yet on a node requests. Upstream: `computePodResourceRequest`.
pub fn pod_request(pod: &Pod) -> Resource {
    let mut request = Resource::new(&pod_requests(pod, &PodResourcesOptions::default()));
    request.allowed_pods = 0;
    request
}
