//! The cgroups of pods: `kubepods`, one per quality of service below it, one per pod below that.
//!
//! Upstream: `pkg/kubelet/cm`. Guaranteed pods sit right under `kubepods`. Containers are made by the runtime below the pod's
//! cgroup, whose path it is told. Only the cgroupfs driver is there: the systemd driver is refused at start.

pub mod shares;
pub mod tree;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api_types::core::v1::Pod;

use self::shares::{
    MIN_SHARES, milli_cpu_to_quota, milli_cpu_to_shares, quota_to_milli_cpu, shares_to_milli_cpu,
};
use self::tree::{CgroupTree, Limits, MemoryUsage};
use crate::metrics::Metrics;
use crate::pod_resources::{QosClass, get, pod_limits, pod_requests, qos_class};
use crate::runtime::resources::huge_page_size;

/// Settings of cgroup management.
#[derive(Clone, Debug)]
pub struct CmOptions {
    /// `cgroupRoot`, usually `/`.
    pub cgroup_root: String,
    /// `cgroupsPerQOS`.
    pub cgroups_per_qos: bool,
    /// `cpuCFSQuota`.
    pub cpu_cfs_quota: bool,
    /// `cpuCFSQuotaPeriod` in microseconds.
    pub cpu_cfs_period_micros: i64,
    /// `podPidsLimit`; none when not positive.
    pub pod_pids_limit: i64,
    /// `enforceNodeAllocatable` has `pods`.
    pub enforce_pods: bool,
    /// What pods may use together: milli-CPU, bytes, processes. From capacity less reservations.
    pub allocatable: BTreeMap<String, i64>,
}

/// Makes, limits and removes cgroups.
pub struct ContainerManager {
    tree: Box<dyn CgroupTree>,
    options: CmOptions,
    metrics: Arc<Metrics>,
}

/// What the cgroup of a pod gives it: milli-CPU and bytes. Nothing that is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodCgroupResources {
    /// From the cpu shares.
    pub cpu_request: Option<i64>,
    /// From the CFS quota.
    pub cpu_limit: Option<i64>,
    /// Memory limit.
    pub memory_limit: Option<i64>,
}

/// Limits of a pod's cgroup.
#[must_use]
pub fn pod_limits_config(pod: &Pod, enforce_quota: bool, period_micros: i64, pids: i64) -> Limits {
    let requests = pod_requests(pod);
    let limits = pod_limits(pod);
    let of = |list: &BTreeMap<String, i64>, name: &str| list.get(name).copied().unwrap_or(0);
    // Without a limit on every container the sum would limit those that have none.
    let pod_level = |name: &str| {
        pod.spec
            .resources
            .as_deref()
            .is_some_and(|resources| get(&resources.limits, name) > 0)
    };
    let declared = |name: &str| {
        pod_level(name)
            || pod
                .spec
                .containers
                .iter()
                .chain(&pod.spec.init_containers)
                .all(|container| get(&container.resources.limits, name) > 0)
    };
    let mut config = Limits {
        pids: (pids > 0).then_some(pids),
        ..Default::default()
    };
    for (name, limit) in &limits {
        if let Some(size) = huge_page_size(name) {
            config.huge_pages.insert(size, *limit);
        }
    }
    let shares = milli_cpu_to_shares(of(&requests, "cpu"));
    let quota = || {
        if enforce_quota {
            milli_cpu_to_quota(of(&limits, "cpu"), period_micros)
        } else {
            -1
        }
    };
    match qos_class(pod) {
        QosClass::BestEffort => config.cpu_shares = Some(MIN_SHARES),
        class => {
            config.cpu_shares = Some(shares);
            if class == QosClass::Guaranteed || declared("cpu") {
                config.cpu_quota = Some(quota());
                config.cpu_period = Some(period_micros);
            }
            if class == QosClass::Guaranteed || declared("memory") {
                config.memory = Some(of(&limits, "memory"));
            }
        }
    }
    config
}

impl ContainerManager {
    /// Works on a hierarchy; nothing is made yet.
    #[must_use]
    pub fn new(tree: Box<dyn CgroupTree>, options: CmOptions, metrics: Arc<Metrics>) -> Self {
        metrics.cgroup_version.set(f64::from(tree.version()));
        ContainerManager {
            tree,
            options,
            metrics,
        }
    }

    /// The cgroup all pods are in, relative to the hierarchy.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        let root = self.options.cgroup_root.trim_matches('/');
        let mut path = PathBuf::from(root);
        if self.options.cgroups_per_qos {
            path.push("kubepods");
        }
        path
    }

    fn qos_path(&self, class: QosClass) -> PathBuf {
        match class {
            QosClass::Guaranteed => self.root(),
            QosClass::Burstable => self.root().join("burstable"),
            QosClass::BestEffort => self.root().join("besteffort"),
        }
    }

    /// Path of a pod's cgroup, relative to the hierarchy.
    #[must_use]
    pub fn pod_path(&self, pod: &Pod) -> PathBuf {
        if self.options.cgroups_per_qos {
            self.qos_path(qos_class(pod))
                .join(format!("pod{}", pod.metadata.uid))
        } else {
            self.root()
        }
    }

    /// Path of a pod's cgroup as the runtime wants it; empty leaves it to the runtime.
    #[must_use]
    pub fn pod_cgroup_parent(&self, pod: &Pod) -> String {
        let path = self.pod_path(pod);
        if path.as_os_str().is_empty() {
            String::new()
        } else {
            format!("/{}", path.display())
        }
    }

    fn timed<T>(&self, operation: &str, work: impl FnOnce() -> T) -> T {
        let start = std::time::Instant::now();
        let result = work();
        self.metrics
            .cgroup_manager_duration
            .with_label_values(&[operation])
            .observe(start.elapsed().as_secs_f64());
        result
    }

    /// Makes the cgroups that all pods are in, and limits them to what pods may use.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(&self) -> io::Result<()> {
        if !self.options.cgroups_per_qos {
            return Ok(());
        }
        for class in [
            QosClass::Guaranteed,
            QosClass::Burstable,
            QosClass::BestEffort,
        ] {
            self.timed("create", || self.tree.create(&self.qos_path(class)))?;
        }
        self.tree.set(
            &self.qos_path(QosClass::BestEffort),
            &Limits {
                cpu_shares: Some(MIN_SHARES),
                ..Default::default()
            },
        )?;
        if self.options.enforce_pods {
            let of = |name: &str| self.options.allocatable.get(name).copied();
            self.tree.set(
                &self.root(),
                &Limits {
                    cpu_shares: of("cpu").map(milli_cpu_to_shares),
                    memory: of("memory"),
                    pids: of("pid"),
                    ..Default::default()
                },
            )?;
        }
        Ok(())
    }

    /// Gives the burstable class the CPU its pods ask for together.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn update_qos(&self, active: &[Arc<Pod>]) -> io::Result<()> {
        if !self.options.cgroups_per_qos {
            return Ok(());
        }
        let burstable: i64 = active
            .iter()
            .filter(|pod| qos_class(pod) == QosClass::Burstable)
            .map(|pod| pod_requests(pod).get("cpu").copied().unwrap_or(0))
            .sum();
        let limits = Limits {
            cpu_shares: Some(milli_cpu_to_shares(burstable)),
            ..Default::default()
        };
        self.timed("update", || {
            self.tree.set(&self.qos_path(QosClass::Burstable), &limits)
        })
    }

    /// Whether the pod's cgroup is there.
    #[must_use]
    pub fn exists(&self, pod: &Pod) -> bool {
        !self.options.cgroups_per_qos || self.tree.exists(&self.pod_path(pod))
    }

    /// Makes the pod's cgroup with its limits.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn ensure(&self, pod: &Pod) -> io::Result<()> {
        if !self.options.cgroups_per_qos {
            return Ok(());
        }
        let path = self.pod_path(pod);
        self.timed("create", || self.tree.create(&path))?;
        self.set_pod_cgroup(pod, &self.wanted_limits(pod))
    }

    /// The limits the pod's cgroup is to have.
    #[must_use]
    pub fn wanted_limits(&self, pod: &Pod) -> Limits {
        let options = &self.options;
        pod_limits_config(
            pod,
            options.cpu_cfs_quota,
            options.cpu_cfs_period_micros,
            options.pod_pids_limit,
        )
    }

    /// The limits of CPU and memory the pod's cgroup has.
    ///
    /// # Errors
    /// When the cgroup is gone.
    pub fn pod_cgroup(&self, pod: &Pod) -> io::Result<Limits> {
        if !self.options.cgroups_per_qos {
            return Ok(Limits::default());
        }
        self.tree.limits(&self.pod_path(pod))
    }

    /// Sets limits of the pod's cgroup; those that are not given stay.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_pod_cgroup(&self, pod: &Pod, limits: &Limits) -> io::Result<()> {
        if !self.options.cgroups_per_qos {
            return Ok(());
        }
        self.timed("update", || self.tree.set(&self.pod_path(pod), limits))
    }

    /// Ends what is left in the pod's cgroup and removes it.
    ///
    /// # Errors
    /// When processes cannot be ended.
    pub fn destroy(&self, path: &Path) -> io::Result<()> {
        if !self.options.cgroups_per_qos {
            return Ok(());
        }
        self.timed("destroy", || {
            for pid in self.tree.pids(path) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    tracing::info!(pid = pid.as_raw_nonzero().get(), cgroup = %path.display(), "Attempting to kill process of cgroup");
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            self.tree.destroy(path)
        })
    }

    /// Cgroups of pods that are there, by pod UID.
    #[must_use]
    pub fn pod_cgroups(&self) -> HashMap<String, PathBuf> {
        let mut found = HashMap::new();
        if !self.options.cgroups_per_qos {
            return found;
        }
        for class in [
            QosClass::Guaranteed,
            QosClass::Burstable,
            QosClass::BestEffort,
        ] {
            let parent = self.qos_path(class);
            for child in self.tree.children(&parent) {
                if let Some(uid) = child.strip_prefix("pod") {
                    found.insert(uid.to_owned(), parent.join(&child));
                }
            }
        }
        found
    }

    /// Lets an orphaned pod's processes have as little CPU as possible until they end.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn throttle(&self, path: &Path) -> io::Result<()> {
        self.tree.set(
            path,
            &Limits {
                cpu_shares: Some(MIN_SHARES),
                ..Default::default()
            },
        )
    }

    /// What a pod's cgroup gives it.
    ///
    /// # Errors
    /// When the cgroup is gone.
    pub fn pod_resources(&self, pod: &Pod) -> io::Result<PodCgroupResources> {
        let limits = self.pod_cgroup(pod)?;
        let some = |value: i64| (value > 0).then_some(value);
        Ok(PodCgroupResources {
            cpu_request: limits.cpu_shares.map(shares_to_milli_cpu).and_then(some),
            cpu_limit: match (limits.cpu_quota, limits.cpu_period) {
                (Some(quota), Some(period)) => some(quota_to_milli_cpu(quota, period)),
                _ => None,
            },
            memory_limit: limits.memory.and_then(some),
        })
    }

    /// Memory of a pod.
    ///
    /// # Errors
    /// When its cgroup is gone.
    pub fn pod_memory(&self, pod: &Pod) -> io::Result<MemoryUsage> {
        self.tree.memory(&self.pod_path(pod))
    }

    /// Bytes charged to one container of a pod; none when it has no cgroup below the pod's.
    #[must_use]
    pub fn container_memory(&self, pod: &Pod, id: &str) -> Option<u64> {
        let path = self.pod_path(pod);
        // Runtimes name it by the id, some with more around it.
        let name = self
            .tree
            .children(&path)
            .into_iter()
            .find(|name| name.contains(id))?;
        Some(self.tree.memory(&path.join(name)).ok()?.usage)
    }

    /// Memory of the whole node.
    ///
    /// # Errors
    /// When the hierarchy has no memory controller.
    pub fn node_memory(&self) -> io::Result<MemoryUsage> {
        self.tree.memory(Path::new(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cm::tree::V2;
    use crate::pod_resources::tests::container;

    fn pod(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.uid = "u1".into();
        pod.spec.containers = vec![container("c", requests, limits)];
        pod
    }

    #[track_caller]
    fn check(pod: &Pod, shares: i64, quota: Option<i64>, memory: Option<i64>) {
        let got = pod_limits_config(pod, true, 100_000, 0);
        assert_eq!(
            (got.cpu_shares, got.cpu_quota, got.memory),
            (Some(shares), quota, memory)
        );
    }

    #[test]
    fn limits_by_class() {
        check(&pod(&[], &[]), 2, None, None);
        check(
            &pod(&[("cpu", "100m"), ("memory", "100Mi")], &[]),
            102,
            None,
            None,
        );
        check(
            &pod(&[("cpu", "100m")], &[("cpu", "200m"), ("memory", "200Mi")]),
            102,
            Some(20_000),
            Some(200 << 20),
        );
        check(
            &pod(
                &[("cpu", "100m"), ("memory", "100Mi")],
                &[("cpu", "100m"), ("memory", "100Mi")],
            ),
            102,
            Some(10_000),
            Some(100 << 20),
        );
        // One container without a limit: the pod has none.
        let mut mixed = pod(&[("cpu", "100m")], &[("memory", "100Mi")]);
        mixed.spec.containers.push(container("d", &[], &[]));
        check(&mixed, 102, None, None);
        let unenforced =
            pod_limits_config(&pod(&[("cpu", "1")], &[("cpu", "2")]), false, 100_000, 5);
        assert_eq!((unenforced.cpu_quota, unenforced.pids), (Some(-1), Some(5)));
    }

    #[test]
    fn a_pods_life_on_a_fake_tree() {
        let dir = tempfile::tempdir().expect("folder");
        let manager = ContainerManager::new(
            Box::new(V2::new(dir.path().to_owned())),
            CmOptions {
                cgroup_root: "/".into(),
                cgroups_per_qos: true,
                cpu_cfs_quota: true,
                cpu_cfs_period_micros: 100_000,
                pod_pids_limit: 10,
                enforce_pods: true,
                allocatable: BTreeMap::from([
                    ("cpu".to_owned(), 2000),
                    ("memory".to_owned(), 1 << 30),
                ]),
            },
            Metrics::for_tests(),
        );
        manager.start().expect("started");
        let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).expect(file);
        assert_eq!(read("kubepods/memory.max"), (1_u64 << 30).to_string());
        let burstable = pod(&[("cpu", "500m")], &[]);
        assert_eq!(
            manager.pod_cgroup_parent(&burstable),
            "/kubepods/burstable/podu1"
        );
        assert!(!manager.exists(&burstable));
        manager.ensure(&burstable).expect("made");
        assert!(manager.exists(&burstable));
        assert_eq!(read("kubepods/burstable/podu1/pids.max"), "10");
        manager
            .update_qos(&[Arc::new(burstable.clone())])
            .expect("updated");
        assert_eq!(
            read("kubepods/burstable/cpu.weight"),
            shares::shares_to_weight(512).to_string()
        );
        assert_eq!(
            manager.pod_cgroups()["u1"],
            Path::new("kubepods/burstable/podu1")
        );
        let guaranteed = pod(
            &[("cpu", "1"), ("memory", "1Gi")],
            &[("cpu", "1"), ("memory", "1Gi")],
        );
        assert_eq!(manager.pod_cgroup_parent(&guaranteed), "/kubepods/podu1");
    }
}
