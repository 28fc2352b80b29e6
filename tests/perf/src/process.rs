//! CPU time and memory of a process, from /proc.

use std::fs;
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
