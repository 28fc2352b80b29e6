//! Use of cgroups, from their files, version 1 and version 2. Upstream: cAdvisor.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What one cgroup uses. Times are nanoseconds, sizes bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupUsage {
    /// CPU time.
    pub cpu: u64,
    /// CPU time in user mode.
    pub cpu_user: u64,
    /// CPU time in the kernel.
    pub cpu_system: u64,
    /// Periods of the CPU quota, periods that were throttled, nanoseconds throttled.
    pub throttling: Option<(u64, u64, u64)>,
    /// Charged memory.
    pub memory: u64,
    /// Charged memory without page cache that can be dropped at once.
    pub working_set: u64,
    /// Anonymous memory.
    pub rss: u64,
    /// Page cache.
    pub cache: u64,
    /// Mapped files.
    pub mapped_file: u64,
    /// Swap.
    pub swap: u64,
    /// Limit of swap, if there is one.
    pub swap_limit: Option<u64>,
    /// Limit of memory, if there is one.
    pub memory_limit: Option<u64>,
    /// Most memory there ever was, if it is known.
    pub max_memory: Option<u64>,
    /// Page faults.
    pub page_faults: u64,
    /// Page faults that had to read.
    pub major_page_faults: u64,
    /// Processes.
    pub processes: u64,
}

/// Where cgroups are.
#[derive(Clone, Debug)]
pub enum Cgroups {
    /// One tree per controller below this folder.
    V1(PathBuf),
    /// One tree.
    V2(PathBuf),
}

/// Limits above this are none: version 1 writes the largest multiple of a page.
const NO_LIMIT: u64 = 1 << 62;

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// `key value` lines.
fn table(file: &Path) -> HashMap<String, u64> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            line.split_once(' ')
                .and_then(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?)))
        })
        .collect()
}

impl Cgroups {
    /// Those of this machine.
    #[must_use]
    pub fn detect() -> Self {
        let root = PathBuf::from("/sys/fs/cgroup");
        if root.join("cgroup.controllers").exists() {
            Cgroups::V2(root)
        } else {
            Cgroups::V1(root)
        }
    }

    fn dir(&self, controller: &str, path: &Path) -> PathBuf {
        let relative = path.strip_prefix("/").unwrap_or(path);
        match self {
            Cgroups::V1(root) => root.join(controller).join(relative),
            Cgroups::V2(root) => root.join(relative),
        }
    }

    /// Use of a cgroup; nothing when it is gone.
    #[must_use]
    pub fn usage(&self, path: &Path) -> Option<CgroupUsage> {
        match self {
            Cgroups::V1(_) => self.usage_v1(path),
            Cgroups::V2(_) => self.usage_v2(path),
        }
    }

    fn usage_v1(&self, path: &Path) -> Option<CgroupUsage> {
        let cpu_dir = self.dir("cpuacct", path);
        let memory_dir = self.dir("memory", path);
        let cpu = number(&cpu_dir.join("cpuacct.usage"))?;
        // In hundredths of a second.
        let modes = table(&cpu_dir.join("cpuacct.stat"));
        let mode = |name: &str| modes.get(name).copied().unwrap_or(0) * 10_000_000;
        let throttled = table(&self.dir("cpu", path).join("cpu.stat"));
        let stat = table(&memory_dir.join("memory.stat"));
        let of = |name: &str| stat.get(name).copied().unwrap_or(0);
        let memory = number(&memory_dir.join("memory.usage_in_bytes")).unwrap_or(0);
        let limit =
            number(&memory_dir.join("memory.limit_in_bytes")).filter(|limit| *limit < NO_LIMIT);
        let swap_limit = number(&memory_dir.join("memory.memsw.limit_in_bytes"))
            .filter(|limit| *limit < NO_LIMIT)
            .map(|both| both.saturating_sub(limit.unwrap_or(0)));
        Some(CgroupUsage {
            cpu,
            cpu_user: mode("user"),
            cpu_system: mode("system"),
            throttling: throttled.get("nr_periods").map(|periods| {
                let of = |name: &str| throttled.get(name).copied().unwrap_or(0);
                (*periods, of("nr_throttled"), of("throttled_time"))
            }),
            memory,
            working_set: memory.saturating_sub(of("total_inactive_file")),
            rss: of("total_rss"),
            cache: of("total_cache"),
            mapped_file: of("total_mapped_file"),
            swap: of("total_swap"),
            swap_limit,
            memory_limit: limit,
            max_memory: number(&memory_dir.join("memory.max_usage_in_bytes")),
            page_faults: of("total_pgfault"),
            major_page_faults: of("total_pgmajfault"),
            processes: self.process_ids(path).len() as u64,
        })
    }

    fn usage_v2(&self, path: &Path) -> Option<CgroupUsage> {
        let dir = self.dir("", path);
        let cpu = table(&dir.join("cpu.stat"));
        let usage = cpu.get("usage_usec")? * 1000;
        let of_cpu = |name: &str| cpu.get(name).copied().unwrap_or(0);
        let stat = table(&dir.join("memory.stat"));
        let of = |name: &str| stat.get(name).copied().unwrap_or(0);
        // The root cgroup has no memory.current; there cAdvisor counts anonymous memory and cache.
        let memory = number(&dir.join("memory.current")).unwrap_or_else(|| of("anon") + of("file"));
        Some(CgroupUsage {
            cpu: usage,
            cpu_user: of_cpu("user_usec") * 1000,
            cpu_system: of_cpu("system_usec") * 1000,
            throttling: cpu.get("nr_periods").map(|periods| {
                (
                    *periods,
                    of_cpu("nr_throttled"),
                    of_cpu("throttled_usec") * 1000,
                )
            }),
            memory,
            working_set: memory.saturating_sub(of("inactive_file")),
            rss: of("anon"),
            cache: of("file"),
            mapped_file: of("file_mapped"),
            swap: number(&dir.join("memory.swap.current")).unwrap_or(0),
            swap_limit: number(&dir.join("memory.swap.max")),
            memory_limit: number(&dir.join("memory.max")),
            max_memory: number(&dir.join("memory.peak")),
            page_faults: of("pgfault"),
            major_page_faults: of("pgmajfault"),
            processes: self.process_ids(path).len() as u64,
        })
    }

    fn tree(&self, path: &Path) -> PathBuf {
        // Any controller has the same tree of pods.
        self.dir("memory", path)
    }

    /// The cgroup of a container below its pod's, whatever the runtime calls it.
    #[must_use]
    pub fn container(&self, pod: &Path, id: &str) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.tree(pod)).ok()?;
        let found = entries
            .flatten()
            .map(|entry| entry.file_name())
            .find(|name| name.to_string_lossy().contains(id))?;
        Some(pod.join(found))
    }

    /// Processes of a cgroup and of those in it.
    #[must_use]
    pub fn process_ids(&self, path: &Path) -> Vec<u32> {
        fn walk(dir: &Path, found: &mut Vec<u32>) {
            let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    walk(&entry.path(), found);
                }
            }
        }
        let mut found = Vec::new();
        // The root has every process of the machine: they are not counted.
        if path != Path::new("/") && !path.as_os_str().is_empty() {
            walk(&self.tree(path), &mut found);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            std::fs::write(path, text).expect("write");
        }
    }

    #[test]
    fn version_1() {
        let root = tempfile::tempdir().expect("folder");
        write(
            root.path(),
            &[
                ("cpuacct/kubepods/podu/cpuacct.usage", "5000000000\n"),
                (
                    "cpuacct/kubepods/podu/cpuacct.stat",
                    "user 300\nsystem 200\n",
                ),
                (
                    "cpu/kubepods/podu/cpu.stat",
                    "nr_periods 10\nnr_throttled 2\nthrottled_time 7\n",
                ),
                ("memory/kubepods/podu/memory.usage_in_bytes", "1000\n"),
                ("memory/kubepods/podu/memory.limit_in_bytes", "4096\n"),
                (
                    "memory/kubepods/podu/memory.stat",
                    "cache 1\ntotal_cache 300\ntotal_rss 500\ntotal_inactive_file 200\ntotal_pgfault 9\n",
                ),
                ("memory/kubepods/podu/abc123/cgroup.procs", "10\n11\n"),
                ("memory/kubepods/podu/cgroup.procs", ""),
            ],
        );
        let cgroups = Cgroups::V1(root.path().to_owned());
        let usage = cgroups.usage(Path::new("/kubepods/podu")).expect("usage");
        assert_eq!(
            (usage.cpu, usage.cpu_user, usage.cpu_system),
            (5_000_000_000, 3_000_000_000, 2_000_000_000)
        );
        assert_eq!(
            (usage.memory, usage.working_set, usage.rss, usage.cache),
            (1000, 800, 500, 300)
        );
        assert_eq!(
            (usage.memory_limit, usage.page_faults, usage.processes),
            (Some(4096), 9, 2)
        );
        assert_eq!(usage.throttling, Some((10, 2, 7)));
        assert_eq!(
            cgroups.container(Path::new("kubepods/podu"), "abc123"),
            Some("kubepods/podu/abc123".into())
        );
        assert_eq!(cgroups.container(Path::new("kubepods/podu"), "zzz"), None);
        assert_eq!(cgroups.usage(Path::new("kubepods/gone")), None);
    }

    #[test]
    fn version_2() {
        let root = tempfile::tempdir().expect("folder");
        write(
            root.path(),
            &[
                (
                    "kubepods/podu/cpu.stat",
                    "usage_usec 5\nuser_usec 3\nsystem_usec 2\n",
                ),
                ("kubepods/podu/memory.current", "1000\n"),
                ("kubepods/podu/memory.max", "max\n"),
                (
                    "kubepods/podu/memory.stat",
                    "anon 500\nfile 300\ninactive_file 200\npgfault 9\npgmajfault 1\n",
                ),
                (
                    "kubepods/podu/cri-containerd-abc123.scope/cgroup.procs",
                    "10\n",
                ),
                ("cpu.stat", "usage_usec 50\n"),
                ("memory.stat", "anon 600\nfile 400\ninactive_file 100\n"),
            ],
        );
        let cgroups = Cgroups::V2(root.path().to_owned());
        let usage = cgroups.usage(Path::new("kubepods/podu")).expect("usage");
        assert_eq!(
            (
                usage.cpu,
                usage.working_set,
                usage.memory_limit,
                usage.throttling
            ),
            (5000, 800, None, None)
        );
        assert_eq!((usage.processes, usage.major_page_faults), (1, 1));
        let node = cgroups.usage(Path::new("/")).expect("usage");
        assert_eq!(
            (node.cpu, node.memory, node.working_set, node.processes),
            (50_000, 1000, 900, 0)
        );
        assert_eq!(
            cgroups.container(Path::new("kubepods/podu"), "abc123"),
            Some("kubepods/podu/cri-containerd-abc123.scope".into())
        );
    }
}
