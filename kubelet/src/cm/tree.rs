//! cgroups as files, version 1 and version 2 behind one trait.
//!
//! Upstream: `pkg/kubelet/cm/cgroup_manager_linux.go` on libcontainer. A tree works on whatever folder it is given, so tests
//! use an ordinary one. Paths are relative to the root the kubelet sees, such as `kubepods/burstable/pod<uid>`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::shares::{shares_to_weight, weight_to_shares};
use crate::pod_resources::NO_MEMORY_LIMIT;

/// Limits of a cgroup; what is `None` is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// cpu.shares (cgroup v1 units in both versions).
    pub cpu_shares: Option<i64>,
    /// CFS quota in microseconds per period; -1 or 0 for none.
    pub cpu_quota: Option<i64>,
    /// CFS period in microseconds.
    pub cpu_period: Option<i64>,
    /// Memory in bytes.
    pub memory: Option<i64>,
    /// Processes and threads.
    pub pids: Option<i64>,
    /// Bytes by huge page size as cgroups name it, such as `2MB`.
    pub huge_pages: BTreeMap<String, i64>,
}

/// Memory of a cgroup, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// All charged memory.
    pub usage: u64,
    /// Without page cache that can be dropped at once.
    pub working_set: u64,
}

/// A cgroup hierarchy.
pub trait CgroupTree: Send + Sync {
    /// 1 or 2.
    fn version(&self) -> u8;
    /// Whether the cgroup exists with every controller we use.
    fn exists(&self, path: &Path) -> bool;
    /// Makes the cgroup and its parents.
    ///
    /// # Errors
    /// As the kernel says; all operations name the file.
    fn create(&self, path: &Path) -> io::Result<()>;
    /// Sets limits of an existing cgroup.
    ///
    /// # Errors
    /// As the kernel says.
    fn set(&self, path: &Path, limits: &Limits) -> io::Result<()>;
    /// Removes the cgroup and those in it. One that is gone is fine.
    ///
    /// # Errors
    /// When processes are left in it.
    fn destroy(&self, path: &Path) -> io::Result<()>;
    /// Processes in the cgroup and those in it.
    fn pids(&self, path: &Path) -> Vec<i32>;
    /// Names of the cgroups right under it.
    fn children(&self, path: &Path) -> Vec<String>;
    /// Memory use.
    ///
    /// # Errors
    /// When the cgroup is gone.
    fn memory(&self, path: &Path) -> io::Result<MemoryUsage>;
    /// CPU shares, quota, period and memory limit that are set; a quota or limit that is not set is `None`.
    ///
    /// # Errors
    /// When the cgroup is gone.
    fn limits(&self, path: &Path) -> io::Result<Limits>;
}

/// A number in a file; none for `max`, which is what the kernel writes when there is no limit.
fn number(file: &Path) -> io::Result<Option<i64>> {
    let text = read_trimmed(file)?;
    if text == "max" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| named(io::ErrorKind::InvalidData.into(), file))
}

fn named(error: io::Error, file: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

fn write(file: &Path, value: &str) -> io::Result<()> {
    fs::write(file, value).map_err(|error| named(error, file))
}

fn read_trimmed(file: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(file)
        .map_err(|error| named(error, file))?
        .trim()
        .to_owned())
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(named(error, dir)),
        Ok(()) => Ok(()),
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(named(error, dir)),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(named(error, dir)),
        Ok(()) => Ok(()),
    }
}

fn pids_under(dir: &Path) -> Vec<i32> {
    let mut pids: Vec<i32> = fs::read_to_string(dir.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(pids_under(&entry.path()));
        }
    }
    pids
}

fn children_of(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn stat(file: &Path, key: &str) -> u64 {
    fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
        .unwrap_or(0)
}

/// Version 1: one tree per controller.
pub struct V1 {
    /// Mount point by controller.
    mounts: BTreeMap<String, PathBuf>,
}

/// Controllers a pod's cgroup is made in.
const V1_CONTROLLERS: [&str; 8] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "pids",
    "hugetlb",
    "systemd",
    "name=systemd",
];

impl V1 {
    /// A hierarchy with these mount points.
    #[must_use]
    pub fn new(mounts: BTreeMap<String, PathBuf>) -> Self {
        V1 {
            mounts: mounts
                .into_iter()
                .filter(|(name, _)| V1_CONTROLLERS.contains(&name.as_str()))
                .collect(),
        }
    }

    fn dir(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        Some(self.mounts.get(controller)?.join(path))
    }

    /// A new cpuset is empty and takes no process: it gets what its parent has.
    fn inherit_cpuset(mount: &Path, path: &Path) -> io::Result<()> {
        let mut dir = mount.to_owned();
        for part in path {
            let parent = dir.clone();
            dir.push(part);
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let own = dir.join(file);
                if own.exists() && read_trimmed(&own)?.is_empty() {
                    write(&own, &read_trimmed(&parent.join(file))?)?;
                }
            }
        }
        Ok(())
    }
}

impl CgroupTree for V1 {
    fn version(&self) -> u8 {
        1
    }

    fn exists(&self, path: &Path) -> bool {
        self.mounts
            .iter()
            .filter(|(name, _)| !name.ends_with("systemd"))
            .all(|(_, mount)| mount.join(path).is_dir())
    }

    fn create(&self, path: &Path) -> io::Result<()> {
        for (controller, mount) in &self.mounts {
            let mut dir = mount.clone();
            for part in path {
                dir.push(part);
                make_dir(&dir)?;
            }
            if controller == "cpuset" {
                Self::inherit_cpuset(mount, path)?;
            }
        }
        Ok(())
    }

    fn set(&self, path: &Path, limits: &Limits) -> io::Result<()> {
        if let Some(cpu) = self.dir("cpu", path) {
            if let Some(shares) = limits.cpu_shares {
                write(&cpu.join("cpu.shares"), &shares.to_string())?;
            }
            if let Some(period) = limits.cpu_period {
                write(&cpu.join("cpu.cfs_period_us"), &period.to_string())?;
            }
            if let Some(quota) = limits.cpu_quota {
                write(
                    &cpu.join("cpu.cfs_quota_us"),
                    &if quota > 0 { quota } else { -1 }.to_string(),
                )?;
            }
        }
        if let (Some(memory), Some(limit)) = (self.dir("memory", path), limits.memory) {
            write(&memory.join("memory.limit_in_bytes"), &limit.to_string())?;
        }
        if let (Some(pids), Some(limit)) = (self.dir("pids", path), limits.pids) {
            write(
                &pids.join("pids.max"),
                &if limit > 0 {
                    limit.to_string()
                } else {
                    "max".to_owned()
                },
            )?;
        }
        if let Some(huge) = self.dir("hugetlb", path) {
            for (size, limit) in &limits.huge_pages {
                write(
                    &huge.join(format!("hugetlb.{size}.limit_in_bytes")),
                    &limit.to_string(),
                )?;
            }
        }
        Ok(())
    }

    fn destroy(&self, path: &Path) -> io::Result<()> {
        for mount in self.mounts.values() {
            remove_tree(&mount.join(path))?;
        }
        Ok(())
    }

    fn pids(&self, path: &Path) -> Vec<i32> {
        let mut pids: Vec<i32> = self
            .mounts
            .values()
            .flat_map(|mount| pids_under(&mount.join(path)))
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    fn children(&self, path: &Path) -> Vec<String> {
        let mut names: Vec<String> = self
            .mounts
            .values()
            .flat_map(|mount| children_of(&mount.join(path)))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn memory(&self, path: &Path) -> io::Result<MemoryUsage> {
        let dir = self
            .dir("memory", path)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let usage = read_trimmed(&dir.join("memory.usage_in_bytes"))?
            .parse()
            .unwrap_or(0);
        let inactive = stat(&dir.join("memory.stat"), "total_inactive_file ");
        Ok(MemoryUsage {
            usage,
            working_set: usage.saturating_sub(inactive),
        })
    }

    fn limits(&self, path: &Path) -> io::Result<Limits> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let cpu = self.dir("cpu", path).ok_or_else(missing)?;
        let memory = self.dir("memory", path).ok_or_else(missing)?;
        Ok(Limits {
            cpu_shares: number(&cpu.join("cpu.shares"))?,
            cpu_quota: number(&cpu.join("cpu.cfs_quota_us"))?.filter(|quota| *quota >= 0),
            cpu_period: number(&cpu.join("cpu.cfs_period_us"))?,
            // Where there is no limit the kernel shows the most it can count.
            memory: number(&memory.join("memory.limit_in_bytes"))?
                .filter(|limit| *limit < NO_MEMORY_LIMIT),
            ..Default::default()
        })
    }
}

/// Version 2: one tree.
pub struct V2 {
    root: PathBuf,
}

impl V2 {
    /// The hierarchy at this mount point.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        V2 { root }
    }

    /// Hands every controller of a cgroup on to its children.
    fn delegate(dir: &Path) -> io::Result<()> {
        let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
        for controller in controllers.split_whitespace() {
            // One that cannot be delegated (a real-time one, for example) must not keep the others.
            if let Err(error) = write(
                &dir.join("cgroup.subtree_control"),
                &format!("+{controller}"),
            ) && matches!(controller, "cpu" | "memory" | "pids")
            {
                return Err(error);
            }
        }
        Ok(())
    }
}

impl CgroupTree for V2 {
    fn version(&self) -> u8 {
        2
    }

    fn exists(&self, path: &Path) -> bool {
        self.root.join(path).is_dir()
    }

    fn create(&self, path: &Path) -> io::Result<()> {
        let mut dir = self.root.clone();
        for part in path {
            Self::delegate(&dir)?;
            dir.push(part);
            make_dir(&dir)?;
        }
        Ok(())
    }

    fn set(&self, path: &Path, limits: &Limits) -> io::Result<()> {
        let dir = self.root.join(path);
        if let Some(shares) = limits.cpu_shares {
            write(
                &dir.join("cpu.weight"),
                &shares_to_weight(shares).to_string(),
            )?;
        }
        if let Some(quota) = limits.cpu_quota {
            let period = limits.cpu_period.unwrap_or(super::shares::QUOTA_PERIOD);
            let value = if quota > 0 {
                format!("{quota} {period}")
            } else {
                format!("max {period}")
            };
            write(&dir.join("cpu.max"), &value)?;
        }
        if let Some(limit) = limits.memory {
            write(
                &dir.join("memory.max"),
                &if limit > 0 {
                    limit.to_string()
                } else {
                    "max".to_owned()
                },
            )?;
        }
        if let Some(limit) = limits.pids {
            write(
                &dir.join("pids.max"),
                &if limit > 0 {
                    limit.to_string()
                } else {
                    "max".to_owned()
                },
            )?;
        }
        for (size, limit) in &limits.huge_pages {
            write(&dir.join(format!("hugetlb.{size}.max")), &limit.to_string())?;
        }
        Ok(())
    }

    fn destroy(&self, path: &Path) -> io::Result<()> {
        remove_tree(&self.root.join(path))
    }

    fn pids(&self, path: &Path) -> Vec<i32> {
        pids_under(&self.root.join(path))
    }

    fn children(&self, path: &Path) -> Vec<String> {
        children_of(&self.root.join(path))
    }

    fn memory(&self, path: &Path) -> io::Result<MemoryUsage> {
        let dir = self.root.join(path);
        let usage = read_trimmed(&dir.join("memory.current"))?
            .parse()
            .unwrap_or(0);
        let inactive = stat(&dir.join("memory.stat"), "inactive_file ");
        Ok(MemoryUsage {
            usage,
            working_set: usage.saturating_sub(inactive),
        })
    }

    fn limits(&self, path: &Path) -> io::Result<Limits> {
        let dir = self.root.join(path);
        let max = read_trimmed(&dir.join("cpu.max"))?;
        let (quota, period) = max.split_once(' ').unwrap_or((&max, ""));
        Ok(Limits {
            cpu_shares: number(&dir.join("cpu.weight"))?.map(weight_to_shares),
            cpu_quota: quota.parse().ok(),
            cpu_period: period.parse().ok(),
            memory: number(&dir.join("memory.max"))?,
            ..Default::default()
        })
    }
}

/// Whether the machine has only cgroup v2 at the usual place.
#[must_use]
pub fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The hierarchy of this machine.
///
/// # Errors
/// When no controllers are mounted.
pub fn detect() -> io::Result<Box<dyn CgroupTree>> {
    if is_unified() {
        return Ok(Box::new(V2::new(PathBuf::from("/sys/fs/cgroup"))));
    }
    let mounts = v1_mounts(&fs::read_to_string("/proc/self/mountinfo")?);
    if !mounts.contains_key("cpu") || !mounts.contains_key("memory") {
        return Err(io::Error::other(
            "no cgroup hierarchy with the cpu and memory controllers is mounted under /sys/fs/cgroup",
        ));
    }
    Ok(Box::new(V1::new(mounts)))
}

/// Mount points of version 1 controllers, from mountinfo.
fn v1_mounts(mountinfo: &str) -> BTreeMap<String, PathBuf> {
    let mut mounts = BTreeMap::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let mut right = right.split_whitespace();
        let (kind, options) = (right.next(), right.nth(1).unwrap_or(""));
        let Some(point) = left.split_whitespace().nth(4) else {
            continue;
        };
        if kind == Some("cgroup") && point.starts_with("/sys/fs/cgroup") {
            for option in options.split(',') {
                mounts
                    .entry(option.to_owned())
                    .or_insert_with(|| PathBuf::from(point));
            }
        }
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_version_1() {
        let text = "30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                    31 25 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                    32 25 0:28 / /mnt/other rw - cgroup cgroup rw,memory\n";
        let mounts = v1_mounts(text);
        assert_eq!(mounts["cpu"], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(mounts["name=systemd"], Path::new("/sys/fs/cgroup/systemd"));
        assert!(!mounts.contains_key("memory"));
    }

    fn limits() -> Limits {
        Limits {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            memory: Some(1 << 20),
            pids: Some(100),
            huge_pages: BTreeMap::from([("2MB".to_owned(), 4 << 20)]),
        }
    }

    #[test]
    fn version_1() {
        let dir = tempfile::tempdir().expect("folder");
        let mounts: BTreeMap<String, PathBuf> =
            ["cpu", "memory", "pids", "hugetlb", "cpuset", "blkio"]
                .iter()
                .map(|name| ((*name).to_owned(), dir.path().join(name)))
                .collect();
        for mount in mounts.values() {
            fs::create_dir(mount).expect("folder");
        }
        let tree = V1::new(mounts);
        let path = Path::new("kubepods/podx");
        assert!(!tree.exists(path));
        tree.create(path).expect("created");
        tree.create(path).expect("created again");
        assert!(tree.exists(path));
        assert!(!dir.path().join("blkio/kubepods").exists());
        tree.set(path, &limits()).expect("set");
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).expect(file);
        assert_eq!(read("cpu/kubepods/podx/cpu.shares"), "1024");
        assert_eq!(read("cpu/kubepods/podx/cpu.cfs_quota_us"), "50000");
        assert_eq!(
            read("memory/kubepods/podx/memory.limit_in_bytes"),
            "1048576"
        );
        assert_eq!(read("pids/kubepods/podx/pids.max"), "100");
        assert_eq!(
            read("hugetlb/kubepods/podx/hugetlb.2MB.limit_in_bytes"),
            "4194304"
        );
        assert_eq!(tree.limits(path).expect("limits").memory, Some(1 << 20));
        // What the kernel shows where there is no limit.
        fs::write(
            dir.path()
                .join("memory/kubepods/podx/memory.limit_in_bytes"),
            "9223372036854771712\n",
        )
        .expect("write");
        assert_eq!(tree.limits(path).expect("limits").memory, None);
        assert_eq!(tree.children(Path::new("kubepods")), ["podx"]);
        fs::write(dir.path().join("cpu/kubepods/podx/cgroup.procs"), "1\n2\n").expect("write");
        assert_eq!(tree.pids(Path::new("kubepods")), [1, 2]);
    }

    #[test]
    fn new_cpusets_inherit() {
        let dir = tempfile::tempdir().expect("folder");
        let (mount, child) = (dir.path().to_owned(), dir.path().join("kubepods"));
        fs::create_dir(&child).expect("folder");
        for (file, value) in [("cpuset.cpus", "0-3"), ("cpuset.mems", "0")] {
            fs::write(mount.join(file), value).expect("write");
            fs::write(child.join(file), "\n").expect("write");
        }
        V1::inherit_cpuset(&mount, Path::new("kubepods")).expect("inherited");
        assert_eq!(
            fs::read_to_string(child.join("cpuset.cpus")).expect("read"),
            "0-3"
        );
    }

    #[test]
    fn version_2() {
        let dir = tempfile::tempdir().expect("folder");
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory pids").expect("write");
        let tree = V2::new(dir.path().to_owned());
        let path = Path::new("kubepods/burstable/podx");
        tree.create(path).expect("created");
        assert_eq!(
            fs::read_to_string(dir.path().join("cgroup.subtree_control")).expect("read"),
            "+pids"
        );
        tree.set(path, &limits()).expect("set");
        let read = |file: &str| {
            fs::read_to_string(dir.path().join("kubepods/burstable/podx").join(file)).expect(file)
        };
        assert_eq!(read("cpu.weight"), "39");
        assert_eq!(read("cpu.max"), "50000 100000");
        assert_eq!(read("memory.max"), "1048576");
        fs::write(
            dir.path().join("kubepods/burstable/podx/memory.current"),
            "1000\n",
        )
        .expect("write");
        fs::write(
            dir.path().join("kubepods/burstable/podx/memory.stat"),
            "anon 1\ninactive_file 300\n",
        )
        .expect("write");
        assert_eq!(
            tree.memory(path).expect("usage"),
            MemoryUsage {
                usage: 1000,
                working_set: 700
            }
        );
        let unlimited = Limits {
            cpu_quota: Some(-1),
            pids: Some(-1),
            ..Default::default()
        };
        tree.set(path, &unlimited).expect("set");
        assert_eq!(read("cpu.max"), "max 100000");
        assert_eq!(read("pids.max"), "max");
    }

    #[test]
    fn what_is_gone_is_removed() {
        let dir = tempfile::tempdir().expect("folder");
        V2::new(dir.path().to_owned())
            .destroy(Path::new("nothing"))
            .expect("fine");
    }
}
