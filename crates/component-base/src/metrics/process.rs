//! The process's own numbers. Upstream: prometheus/client_golang collectors.ProcessCollector.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

/// The kernel reports CPU time to user space in hundredths of a second, whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct ProcessCollector {
    cpu: Counter,
    open_files: Gauge,
    max_files: Gauge,
    virtual_memory: Gauge,
    max_virtual_memory: Gauge,
    resident: Gauge,
    started: Gauge,
}

impl ProcessCollector {
    pub(super) fn new() -> Self {
        let gauge =
            |name: &str, help: &str| Gauge::new(name, help).expect("the metric is well formed");
        let this = Self {
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
            )
            .expect("the metric is well formed"),
            open_files: gauge("process_open_fds", "Number of open file descriptors."),
            max_files: gauge(
                "process_max_fds",
                "Maximum number of open file descriptors.",
            ),
            virtual_memory: gauge(
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes.",
            ),
            max_virtual_memory: gauge(
                "process_virtual_memory_max_bytes",
                "Maximum amount of virtual memory available in bytes.",
            ),
            resident: gauge(
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
            ),
            started: gauge(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            ),
        };
        this.started.set(start_time_seconds());
        this
    }

    fn update(&self) {
        if let Some(stat) = Stat::read() {
            let seconds = stat.cpu_ticks as f64 / TICKS_PER_SECOND;
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
            self.virtual_memory.set(stat.virtual_bytes as f64);
        }
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            let resident = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
            self.resident.set(resident.unwrap_or(0.0) * 1024.0);
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // Reading the folder holds one itself.
            self.open_files.set(files.count().saturating_sub(1) as f64);
        }
        if let Ok(limits) = std::fs::read_to_string("/proc/self/limits") {
            let soft = |name: &str| {
                let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
                let word = rest.split_whitespace().next()?;
                // Go's collector shows the largest unsigned number for "unlimited".
                Some(if word == "unlimited" {
                    u64::MAX as f64
                } else {
                    word.parse().ok()?
                })
            };
            self.max_files.set(soft("Max open files").unwrap_or(0.0));
            self.max_virtual_memory
                .set(soft("Max address space").unwrap_or(0.0));
        }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.cpu.desc();
        for gauge in [
            &self.open_files,
            &self.max_files,
            &self.virtual_memory,
            &self.max_virtual_memory,
            &self.resident,
            &self.started,
        ] {
            all.extend(gauge.desc());
        }
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.update();
        let mut all = self.cpu.collect();
        for gauge in [
            &self.open_files,
            &self.max_files,
            &self.virtual_memory,
            &self.max_virtual_memory,
            &self.resident,
            &self.started,
        ] {
            all.extend(gauge.collect());
        }
        all
    }
}

struct Stat {
    cpu_ticks: u64,
    started_ticks: u64,
    virtual_bytes: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The command may contain spaces; fields are counted from behind it. Field 3 (state) is the first here.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: number(14)? + number(15)?,
            started_ticks: number(22)?,
            virtual_bytes: number(23)?,
        })
    }
}

/// When this process started, in seconds since the Unix epoch; 0 when the kernel does not tell.
pub fn start_time_seconds() -> f64 {
    let boot = std::fs::read_to_string("/proc/stat").ok().and_then(|stat| {
        stat.lines()
            .find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok())
    });
    match (boot, Stat::read()) {
        (Some(boot), Some(stat)) => boot + stat.started_ticks as f64 / TICKS_PER_SECOND,
        _ => 0.0,
    }
}
