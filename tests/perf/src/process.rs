//! CPU time and memory of a process, from /proc.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Result;

/// Clock ticks per second in /proc, which the kernel's interface to programs fixes on the architectures we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    folder: String,
}

impl Process {
    /// A process by its id; it must exist.
    pub(crate) fn new(pid: u32) -> Result<Self> {
        let process = Self {
            folder: format!("/proc/{pid}"),
        };
        process.cpu()?;
        Ok(process)
    }

    /// This process.
    pub(crate) fn own() -> Self {
        Self {
            folder: "/proc/self".to_owned(),
        }
    }

    /// CPU time of all threads, those that have ended too, in user and kernel mode.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let ticks = parse_stat(&self.read("stat")?).ok_or_else(|| self.unreadable("stat"))?;
        Ok(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
    }

    /// Memory that is resident now, in KiB.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.status("VmRSS")
    }

    /// The most memory that was resident since [`Self::reset_peak`], in KiB.
    pub(crate) fn peak(&self) -> Result<u64> {
        self.status("VmHWM")
    }

    /// Begins a new peak. Takes root, or the process's own user.
    pub(crate) fn reset_peak(&self) -> Result<()> {
        let path = format!("{}/clear_refs", self.folder);
        fs::write(&path, "5").map_err(|error| format!("{path}: {error}").into())
    }

    /// Says how much memory the process may use by its control groups, in either version of them.
    pub(crate) fn memory_limit(&self) -> String {
        let groups = self.read("cgroup").unwrap_or_default();
        let limits = limit_files(&groups).filter_map(|file| {
            let text = fs::read_to_string(file).ok()?;
            // "max", and what version 1 says in its place.
            text.trim()
                .parse()
                .ok()
                .filter(|limit: &u64| *limit < 1 << 60)
        });
        match limits.min() {
            Some(limit) => format!("memory limit {} MiB", limit >> 20),
            None => "no memory limit".to_owned(),
        }
    }

    fn status(&self, key: &str) -> Result<u64> {
        Ok(parse_status(&self.read("status")?, key).ok_or_else(|| self.unreadable("status"))?)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("{}/{file}", self.folder);
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}").into())
    }

    fn unreadable(&self, file: &str) -> String {
        format!(
            "{}/{file}: not as expected; has the process ended?",
            self.folder
        )
    }
}

/// utime and stime in ticks. The second field is the program's name in brackets, which may hold anything.
fn parse_stat(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(user + kernel)
}

/// A line like `VmRSS:  1732 kB`, with a tab or more before the number.
fn parse_status(text: &str, key: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.strip_suffix("kB")?.trim().parse().ok()
}

/// The files with the memory limits of a process's control group and those above it, from /proc/PID/cgroup.
fn limit_files(groups: &str) -> impl Iterator<Item = PathBuf> {
    groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let root = match fields.next() {
            Some("") => Some(("/sys/fs/cgroup", "memory.max")),
            Some("memory") => Some(("/sys/fs/cgroup/memory", "memory.limit_in_bytes")),
            _ => None,
        };
        let group = Path::new(fields.next().unwrap_or("/"));
        let above = root.map(|(root, file)| {
            group.ancestors().map(move |group| {
                Path::new(root)
                    .join(group.strip_prefix("/").unwrap_or(group))
                    .join(file)
            })
        });
        above.into_iter().flatten()
    })
}

/// Processor, cores and kernel of this machine, to be kept with what was measured on it.
pub(crate) fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    describe_machine(&cpus, release.trim())
}

fn describe_machine(cpus: &str, release: &str) -> String {
    let models: Vec<&str> = cpus
        .lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim())
        })
        .collect();
    match models.first() {
        Some(model) => format!("{} x {model}, Linux {release}", models.len()),
        None => format!("Linux {release}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_brackets_in_the_name() {
        let text =
            "17 (a) b ) c) S 1 17 17 0 -1 4194560 10 0 0 0 250 31 7 8 20 0 9 0 55 1000 20 1 2";
        assert_eq!(parse_stat(text), Some(281));
        assert_eq!(parse_stat("17 (x) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn status_lines() {
        let text = "Name:\tVmRSS: 9 kB\nVmHWM:\t    1800 kB\nVmRSS:\t    1732 kB\nThreads:\t1\n";
        assert_eq!(parse_status(text, "VmRSS"), Some(1732));
        assert_eq!(parse_status(text, "VmHWM"), Some(1800));
        assert_eq!(parse_status(text, "VmSwap"), None);
        assert_eq!(parse_status(text, "Threads"), None);
    }

    #[test]
    fn files_with_limits() {
        let files = |groups| -> Vec<_> {
            limit_files(groups)
                .map(|file| file.display().to_string())
                .collect()
        };
        assert_eq!(
            files("5:cpu:/x\n4:memory:/a/b\n1:name=systemd:/\n"),
            [
                "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes"
            ]
        );
        assert_eq!(files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert!(files("").is_empty());
    }

    #[test]
    fn machines() {
        let cpus =
            "processor\t: 0\nmodel\t\t: 17\nmodel name\t: Some CPU\n\nmodel name\t: Some CPU\n";
        assert_eq!(describe_machine(cpus, "6.1"), "2 x Some CPU, Linux 6.1");
        assert_eq!(describe_machine("", "6.1"), "Linux 6.1");
    }

    #[test]
    fn this_process_can_be_read() {
        let own = Process::own();
        own.cpu().unwrap();
        assert!(own.peak().unwrap() >= 1);
        assert!(own.resident().unwrap() >= 1);
        assert!(Process::new(u32::MAX).is_err());
    }
}
