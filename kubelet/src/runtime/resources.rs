//! CPU, memory, huge page and swap limits of sandboxes and containers in CRI's terms.
//!
//! Upstream: `pkg/kubelet/kuberuntime/kuberuntime_container_linux.go` and `kuberuntime_sandbox_linux.go`.

use std::collections::HashMap;

use api_types::core::v1::{Container, Pod};

use crate::cm::shares::{
    milli_cpu_to_quota, milli_cpu_to_shares, oom_score_adj, quota_to_milli_cpu, shares_to_milli_cpu,
};
use crate::cm::tree::Limits;
use crate::container::ActualResources;
use crate::cri::v1;
use crate::pod_resources::{
    Amounts, amount, get, pod_limits_without_overhead, pod_requests_without_overhead,
};

/// What the node contributes to limits.
#[derive(Clone, Debug)]
pub struct ResourceDefaults {
    /// `cpuCFSQuota`: whether CPU limits are enforced.
    pub cpu_cfs_quota: bool,
    /// `cpuCFSQuotaPeriod`, in microseconds.
    pub cpu_cfs_period_micros: i64,
    /// Memory of the node, in bytes.
    pub memory_capacity: i64,
    /// cgroup v2.
    pub unified: bool,
    /// `singleProcessOOMKill`: the kernel kills one process, not the container.
    pub single_process_oom_kill: bool,
    /// The kernel accounts swap per cgroup.
    pub swap_controller: bool,
    /// Huge page sizes of the node as cgroups name them, such as `2MB`.
    pub huge_page_sizes: Vec<String>,
}

impl ResourceDefaults {
    fn linux(
        &self,
        cpu_request: Option<i64>,
        cpu_limit: i64,
        memory_limit: i64,
    ) -> v1::LinuxContainerResources {
        // A limit without a request counts as the request; the API server does the same when it can.
        let shares = milli_cpu_to_shares(cpu_request.unwrap_or(cpu_limit));
        let mut resources = v1::LinuxContainerResources {
            cpu_shares: shares,
            memory_limit_in_bytes: memory_limit,
            ..Default::default()
        };
        if self.cpu_cfs_quota {
            resources.cpu_period = self.cpu_cfs_period_micros;
            resources.cpu_quota = milli_cpu_to_quota(cpu_limit, self.cpu_cfs_period_micros);
        }
        if self.unified && !self.single_process_oom_kill {
            resources.unified = HashMap::from([("memory.oom.group".to_owned(), "1".to_owned())]);
        }
        resources
    }

    /// Limits of one container.
    #[must_use]
    pub fn container(&self, pod: &Pod, container: &Container) -> v1::LinuxContainerResources {
        // A container without its own limit may use the pod's.
        let pod_limit = |name: &str| {
            pod.spec
                .resources
                .as_deref()
                .map_or(0, |resources| get(&resources.limits, name))
        };
        let limit = |name: &str| match get(&container.resources.limits, name) {
            0 => pod_limit(name),
            own => own,
        };
        let cpu_request = container
            .resources
            .requests
            .get("cpu")
            .map(|quantity| amount("cpu", quantity));
        let mut resources = self.linux(cpu_request, limit("cpu"), limit("memory"));
        resources.oom_score_adj = oom_score_adj(pod, container, self.memory_capacity);
        resources.hugepage_limits = self.huge_pages(pod, container);
        if self.swap_controller {
            if self.unified {
                resources
                    .unified
                    .insert("memory.swap.max".to_owned(), "0".to_owned());
            } else {
                // Memory plus swap equal to memory: no swap.
                resources.memory_swap_limit_in_bytes = resources.memory_limit_in_bytes;
            }
        }
        resources
    }

    fn huge_pages(&self, pod: &Pod, container: &Container) -> Vec<v1::HugepageLimit> {
        let mut wanted: HashMap<String, u64> = HashMap::new();
        let pod_limits = pod
            .spec
            .resources
            .as_deref()
            .map(|resources| &resources.limits);
        for (name, quantity) in pod_limits
            .into_iter()
            .flatten()
            .chain(&container.resources.limits)
        {
            if let Some(size) = huge_page_size(name) {
                wanted.insert(size, u64::try_from(quantity.value()).unwrap_or(0));
            }
        }
        // Every size is limited, to zero where nothing is asked for.
        self.huge_page_sizes
            .iter()
            .map(|size| v1::HugepageLimit {
                page_size: size.clone(),
                limit: wanted.get(size).copied().unwrap_or(0),
            })
            .collect()
    }

    /// Limits of the pod without its overhead, told to the sandbox.
    #[must_use]
    pub fn sandbox(&self, pod: &Pod) -> v1::LinuxContainerResources {
        let requests = pod_requests_without_overhead(pod);
        let limits = pod_limits_without_overhead(pod);
        let of = |list: &Amounts, name: &str| list.get(name).copied().unwrap_or(0);
        self.linux(
            requests.get("cpu").copied(),
            of(&limits, "cpu"),
            of(&limits, "memory"),
        )
    }

    /// Limits of the pod's cgroup without the pod's overhead, told to a sandbox that is there.
    #[must_use]
    pub fn sandbox_of(&self, pod: &Pod, limits: &Limits) -> v1::LinuxContainerResources {
        let overhead = |name: &str| get(&pod.spec.overhead, name);
        let period = limits.cpu_period.unwrap_or(self.cpu_cfs_period_micros);
        let shares = |shares: i64| match overhead("cpu") {
            0 => shares,
            cpu => milli_cpu_to_shares(shares_to_milli_cpu(shares) - cpu),
        };
        v1::LinuxContainerResources {
            cpu_shares: limits.cpu_shares.map_or(0, shares),
            cpu_period: limits.cpu_period.unwrap_or(0),
            cpu_quota: match limits.cpu_quota {
                Some(quota) if quota > 0 => quota - milli_cpu_to_quota(overhead("cpu"), period),
                _ => -1,
            },
            memory_limit_in_bytes: limits
                .memory
                .map_or(0, |memory| memory - overhead("memory")),
            ..Default::default()
        }
    }

    /// The overhead of the pod's runtime class, told to the sandbox.
    #[must_use]
    pub fn overhead(&self, pod: &Pod) -> v1::LinuxContainerResources {
        if pod.spec.overhead.is_empty() {
            return v1::LinuxContainerResources::default();
        }
        let cpu = get(&pod.spec.overhead, "cpu");
        self.linux(Some(cpu), cpu, get(&pod.spec.overhead, "memory"))
    }
}

/// `hugepages-2Mi` as cgroups name it: `2MB`.
#[must_use]
pub fn huge_page_size(resource: &str) -> Option<String> {
    let bytes = api_types::Quantity::parse(resource.strip_prefix("hugepages-")?)
        .ok()?
        .value();
    for (unit, name) in [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")] {
        if bytes >= unit && bytes % unit == 0 {
            return Some(format!("{}{name}", bytes / unit));
        }
    }
    None
}

/// The limits a runtime reports, in the units of the API.
#[must_use]
pub fn actual_resources(resources: &v1::LinuxContainerResources) -> Option<ActualResources> {
    let positive = |value: i64| (value > 0).then_some(value);
    let actual = ActualResources {
        cpu_request: positive(shares_to_milli_cpu(resources.cpu_shares)),
        cpu_limit: positive(quota_to_milli_cpu(
            resources.cpu_quota,
            resources.cpu_period,
        )),
        // Runtimes do not report it.
        memory_request: None,
        memory_limit: positive(resources.memory_limit_in_bytes),
    };
    (actual != ActualResources::default()).then_some(actual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_resources::tests::container;

    fn node() -> ResourceDefaults {
        ResourceDefaults {
            cpu_cfs_quota: true,
            cpu_cfs_period_micros: 100_000,
            memory_capacity: 8 << 30,
            unified: false,
            single_process_oom_kill: false,
            swap_controller: false,
            huge_page_sizes: vec!["2MB".to_owned(), "1GB".to_owned()],
        }
    }

    #[track_caller]
    fn check(
        requests: &[(&str, &str)],
        limits: &[(&str, &str)],
        shares: i64,
        quota: i64,
        memory: i64,
    ) {
        let mut pod = Pod::default();
        pod.spec.containers = vec![container("c", requests, limits)];
        let got = node().container(&pod, &pod.spec.containers[0]);
        assert_eq!(
            (got.cpu_shares, got.cpu_quota, got.memory_limit_in_bytes),
            (shares, quota, memory)
        );
    }

    #[test]
    fn limits() {
        check(&[], &[], 2, 0, 0);
        check(
            &[("cpu", "100m")],
            &[("memory", "200Mi")],
            102,
            0,
            200 << 20,
        );
        check(&[], &[("cpu", "500m")], 512, 50_000, 0);
        check(
            &[("cpu", "1")],
            &[("cpu", "2"), ("memory", "1G")],
            1024,
            200_000,
            1_000_000_000,
        );
    }

    #[test]
    fn huge_pages() {
        let mut pod = Pod::default();
        pod.spec.containers = vec![container("c", &[], &[("hugepages-2Mi", "4Mi")])];
        let got = node()
            .container(&pod, &pod.spec.containers[0])
            .hugepage_limits;
        assert_eq!(
            got[0],
            v1::HugepageLimit {
                page_size: "2MB".to_owned(),
                limit: 4 << 20
            }
        );
        assert_eq!(
            got[1],
            v1::HugepageLimit {
                page_size: "1GB".to_owned(),
                limit: 0
            }
        );
    }
}
