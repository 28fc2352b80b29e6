//! Requests and limits of pods as integers, and the quality of service class.
//!
//! Upstream: `component-helpers/resource` and `pkg/apis/core/v1/helper/qos`. Amounts are milli-CPU for `cpu` and whole units
//! (bytes, pieces) for everything else, which is what cgroups, admission and eviction count in.

use std::collections::BTreeMap;

use api_types::core::v1::{Container, Pod, ResourceRequirements};
use api_types::{Format, Quantity};
use apimachinery::resource::{self, PodResourcesOptions};

use crate::cm::PodCgroupResources;
use crate::cm::shares::MIN_SHARES;
use crate::container::is_sidecar;

/// Memory limits from here on are none: cgroup v1 writes the most bytes it can count, in whole pages.
pub const NO_MEMORY_LIMIT: i64 = 1 << 62;

/// Amounts by resource name: milli-CPU for `cpu`, whole units otherwise.
pub type Amounts = BTreeMap<String, i64>;

/// Quality of service classes of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QosClass {
    /// Every container has equal requests and limits of CPU and memory.
    Guaranteed,
    /// Some container asks for something.
    Burstable,
    /// Nothing is asked for.
    BestEffort,
}

impl QosClass {
    /// The name in pod statuses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            QosClass::Guaranteed => "Guaranteed",
            QosClass::Burstable => "Burstable",
            QosClass::BestEffort => "BestEffort",
        }
    }
}

/// One quantity in the unit of its resource.
#[must_use]
pub fn amount(name: &str, quantity: &Quantity) -> i64 {
    if name == "cpu" {
        quantity.milli_value()
    } else {
        quantity.value()
    }
}

/// A resource list in integers.
#[must_use]
pub fn amounts(list: &BTreeMap<String, Quantity>) -> Amounts {
    list.iter()
        .map(|(name, quantity)| (name.clone(), amount(name, quantity)))
        .collect()
}

/// The amount of one resource in a list; zero when it is not there.
#[must_use]
pub fn get(list: &BTreeMap<String, Quantity>, name: &str) -> i64 {
    list.get(name).map_or(0, |quantity| amount(name, quantity))
}

fn add(total: &mut Amounts, list: &Amounts) {
    for (name, amount) in list {
        let entry = total.entry(name.clone()).or_default();
        *entry = entry.saturating_add(*amount);
    }
}

fn max(total: &mut Amounts, list: &Amounts) {
    for (name, amount) in list {
        let entry = total.entry(name.clone()).or_insert(*amount);
        *entry = (*entry).max(*amount);
    }
}

/// Containers, sidecars and init containers together: what the pod needs at its worst moment.
fn aggregate(pod: &Pod, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut total = Amounts::new();
    for container in &pod.spec.containers {
        add(&mut total, &of(container));
    }
    let mut sidecars = Amounts::new();
    let mut init = Amounts::new();
    for container in &pod.spec.init_containers {
        let mut wanted = of(container);
        if is_sidecar(container) {
            add(&mut total, &wanted);
            add(&mut sidecars, &wanted);
            wanted = sidecars.clone();
        } else {
            // An init container runs beside the sidecars that were started before it.
            add(&mut wanted, &sidecars);
        }
        max(&mut init, &wanted);
    }
    max(&mut total, &init);
    total
}

fn pod_level(pod: &Pod) -> Option<&ResourceRequirements> {
    pod.spec.resources.as_deref()
}

fn is_pod_level_resource(name: &str) -> bool {
    name == "cpu" || name == "memory" || name.starts_with("hugepages-")
}

/// What the pod asks for, with overhead.
#[must_use]
pub fn pod_requests(pod: &Pod) -> Amounts {
    let mut total = pod_requests_without_overhead(pod);
    add(&mut total, &amounts(&pod.spec.overhead));
    total
}

/// What the pod asks for, without overhead.
#[must_use]
pub fn pod_requests_without_overhead(pod: &Pod) -> Amounts {
    let mut total = aggregate(pod, |container| amounts(&container.resources.requests));
    if let Some(resources) = pod_level(pod) {
        for (name, quantity) in &resources.requests {
            if is_pod_level_resource(name) {
                total.insert(name.clone(), amount(name, quantity));
            }
        }
    }
    total
}

/// The most the pod may use, with overhead. A resource that some container may use without limit still shows the sum of the
/// others, as upstream: callers that need "all limited" check the containers.
#[must_use]
pub fn pod_limits(pod: &Pod) -> Amounts {
    let mut total = pod_limits_without_overhead(pod);
    for (name, quantity) in &pod.spec.overhead {
        if let Some(entry) = total.get_mut(name)
            && *entry != 0
        {
            *entry = entry.saturating_add(amount(name, quantity));
        }
    }
    total
}

/// The most the pod may use, without overhead.
#[must_use]
pub fn pod_limits_without_overhead(pod: &Pod) -> Amounts {
    let mut total = aggregate(pod, |container| amounts(&container.resources.limits));
    if let Some(resources) = pod_level(pod) {
        for (name, quantity) in &resources.limits {
            if is_pod_level_resource(name) {
                total.insert(name.clone(), amount(name, quantity));
            }
        }
    }
    total
}

/// `status.allocatedResources`: what was promised to the pod, as it was written, fractions and all.
#[must_use]
pub fn requests_as_quantities(pod: &Pod) -> BTreeMap<String, Quantity> {
    resource::pod_requests(pod, &PodResourcesOptions::default())
}

/// `status.resources`: requests and limits of the pod as a whole.
#[must_use]
pub fn pod_level_status(pod: &Pod) -> ResourceRequirements {
    ResourceRequirements {
        requests: requests_as_quantities(pod),
        limits: resource::pod_limits(pod, &PodResourcesOptions::default()),
        claims: pod
            .spec
            .resources
            .as_deref()
            .map(|resources| resources.claims.clone())
            .unwrap_or_default(),
    }
}

/// Requests and limits in the status of a pod that runs: what its cgroup has, `before` where that does not tell.
///
/// CPU below the least the kernel can express stays as the pod wrote it.
#[must_use]
pub fn running_pod_level_status(
    pod: &Pod,
    actual: &PodCgroupResources,
    before: Option<&ResourceRequirements>,
) -> ResourceRequirements {
    const LEAST_CPU_LIMIT: i64 = 10;
    let mut status = pod.spec.resources.as_deref().cloned().unwrap_or_default();
    let old = |list: fn(&ResourceRequirements) -> &BTreeMap<String, Quantity>, name: &str| {
        list(before?).get(name).cloned()
    };
    let cpu = |milli: i64| Quantity::from_milli(milli, Format::DecimalSI);
    match actual.cpu_request {
        Some(milli) if milli > MIN_SHARES || get(&status.requests, "cpu") > MIN_SHARES => {
            status.requests.insert("cpu".to_owned(), cpu(milli));
        }
        Some(_) => {}
        None => status
            .requests
            .extend(old(|of| &of.requests, "cpu").map(|cpu| ("cpu".to_owned(), cpu))),
    }
    if !status.requests.contains_key("memory")
        && let Some(memory) = requests_as_quantities(pod).remove("memory")
    {
        status.requests.insert("memory".to_owned(), memory);
    }
    status
        .requests
        .extend(old(|of| &of.requests, "memory").map(|memory| ("memory".to_owned(), memory)));
    match actual.cpu_limit {
        Some(milli) if milli > LEAST_CPU_LIMIT || get(&status.limits, "cpu") > LEAST_CPU_LIMIT => {
            status.limits.insert("cpu".to_owned(), cpu(milli));
        }
        Some(_) => {}
        None => status
            .limits
            .extend(old(|of| &of.limits, "cpu").map(|cpu| ("cpu".to_owned(), cpu))),
    }
    let memory = match actual.memory_limit {
        Some(bytes) => Some(Quantity::from_value(bytes, Format::BinarySI)),
        // Upstream's kubelet writes the kernel's largest number for "no limit".
        None => old(|of| &of.limits, "memory").filter(|limit| limit.value() < NO_MEMORY_LIMIT),
    };
    status
        .limits
        .extend(memory.map(|memory| ("memory".to_owned(), memory)));
    status
}

/// The class of a pod: as the API server recorded it, or by its resources.
#[must_use]
pub fn qos_class(pod: &Pod) -> QosClass {
    match pod.status.qos_class.as_str() {
        "Guaranteed" => return QosClass::Guaranteed,
        "Burstable" => return QosClass::Burstable,
        "BestEffort" => return QosClass::BestEffort,
        _ => {}
    }
    compute_qos_class(pod)
}

/// The class of a pod by its resources.
#[must_use]
pub fn compute_qos_class(pod: &Pod) -> QosClass {
    const COUNTED: [&str; 2] = ["cpu", "memory"];
    let positive = |list: &BTreeMap<String, Quantity>| -> Amounts {
        COUNTED
            .iter()
            .map(|name| ((*name).to_owned(), get(list, name)))
            .filter(|(_, amount)| *amount > 0)
            .collect()
    };
    let (requests, limits, guaranteed) =
        match pod_level(pod).filter(|r| !r.requests.is_empty() || !r.limits.is_empty()) {
            Some(resources) => {
                let limits = positive(&resources.limits);
                let guaranteed = limits.len() == COUNTED.len();
                (positive(&resources.requests), limits, guaranteed)
            }
            None => {
                let mut requests = Amounts::new();
                let mut limits = Amounts::new();
                let mut guaranteed = true;
                for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
                    add(&mut requests, &positive(&container.resources.requests));
                    let own = positive(&container.resources.limits);
                    guaranteed &= own.len() == COUNTED.len();
                    add(&mut limits, &own);
                }
                (requests, limits, guaranteed)
            }
        };
    if requests.is_empty() && limits.is_empty() {
        QosClass::BestEffort
    } else if guaranteed && requests == limits {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A resource list from pairs, for tables.
    pub(crate) fn list(pairs: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    (*name).to_owned(),
                    Quantity::parse(value).expect("quantity"),
                )
            })
            .collect()
    }

    pub(crate) fn container(
        name: &str,
        requests: &[(&str, &str)],
        limits: &[(&str, &str)],
    ) -> Container {
        Container {
            name: name.to_owned(),
            resources: ResourceRequirements {
                requests: list(requests),
                limits: list(limits),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    #[track_caller]
    fn check_qos(containers: Vec<Container>, want: QosClass) {
        let mut pod = Pod::default();
        pod.spec.containers = containers;
        assert_eq!(compute_qos_class(&pod), want);
    }

    #[test]
    fn classes() {
        check_qos(vec![container("a", &[], &[])], QosClass::BestEffort);
        check_qos(
            vec![container("a", &[("cpu", "0")], &[])],
            QosClass::BestEffort,
        );
        check_qos(
            vec![container("a", &[("example.com/gpu", "1")], &[])],
            QosClass::BestEffort,
        );
        let full: &[(&str, &str)] = &[("cpu", "100m"), ("memory", "100Mi")];
        check_qos(vec![container("a", full, full)], QosClass::Guaranteed);
        check_qos(
            vec![container("a", full, full), container("b", full, full)],
            QosClass::Guaranteed,
        );
        check_qos(
            vec![container("a", full, full), container("b", &[], &[])],
            QosClass::Burstable,
        );
        check_qos(
            vec![container("a", &[("cpu", "100m")], full)],
            QosClass::Burstable,
        );
        check_qos(
            vec![container("a", &[("cpu", "100m")], &[])],
            QosClass::Burstable,
        );
    }

    #[test]
    fn statuses_keep_what_was_written() {
        let mut pod = Pod::default();
        pod.spec.containers = vec![container("c", &[("memory", "10m")], &[("memory", "1500M")])];
        let status = pod_level_status(&pod);
        assert_eq!(status.requests["memory"].to_string(), "10m");
        assert_eq!(status.limits["memory"].to_string(), "1500M");
        assert_eq!(status.requests, requests_as_quantities(&pod));
    }

    #[test]
    fn init_containers_and_sidecars() {
        let mut pod = Pod::default();
        pod.spec.containers = vec![container("app", &[("cpu", "1")], &[])];
        let mut sidecar = container("proxy", &[("cpu", "200m")], &[]);
        sidecar.restart_policy = Some("Always".to_owned());
        pod.spec.init_containers = vec![sidecar, container("init", &[("cpu", "1500m")], &[])];
        // The init container runs beside the sidecar: 1500m + 200m > 1000m + 200m.
        assert_eq!(pod_requests(&pod)["cpu"], 1700);
        pod.spec.overhead = list(&[("cpu", "50m")]);
        assert_eq!(pod_requests(&pod)["cpu"], 1750);
    }
}
