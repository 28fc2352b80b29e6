//! `/metrics/cadvisor`: the families of cAdvisor that dashboards are built on. Upstream: `cadvisor/metrics/prometheus.go`.

use std::path::Path;

use jiff::Timestamp;

use super::cgroups::{CgroupUsage, Cgroups};
use super::model::Time;
use super::resource::{Family, float, seconds};
use super::{MeasuredPod, network};

/// One cgroup with the labels of its container; empty labels for cgroups that are none.
struct Row<'a> {
    container: &'a str,
    id: String,
    image: &'a str,
    name: &'a str,
    namespace: &'a str,
    pod: &'a str,
    created_at: i64,
    usage: &'a CgroupUsage,
}

impl Row<'_> {
    fn labels(&self) -> [(&str, &str); 6] {
        [
            ("container", self.container),
            ("id", &self.id),
            ("image", self.image),
            ("name", self.name),
            ("namespace", self.namespace),
            ("pod", self.pod),
        ]
    }
}

fn absolute(path: &Path) -> String {
    let path = path.to_string_lossy();
    if path.starts_with('/') {
        path.into_owned()
    } else {
        format!("/{path}")
    }
}

type Value = fn(&Row<'_>) -> Option<f64>;

/// Name, type, help, value. In the order of their names.
const FAMILIES: &[(&str, &str, &str, Value)] = &[
    (
        "container_cpu_cfs_periods_total",
        "counter",
        "Number of elapsed enforcement period intervals.",
        |row| {
            row.usage
                .throttling
                .filter(|(periods, ..)| *periods > 0)
                .map(|(periods, ..)| float(periods))
        },
    ),
    (
        "container_cpu_cfs_throttled_periods_total",
        "counter",
        "Number of throttled period intervals.",
        |row| {
            row.usage
                .throttling
                .filter(|(periods, ..)| *periods > 0)
                .map(|(_, throttled, _)| float(throttled))
        },
    ),
    (
        "container_cpu_cfs_throttled_seconds_total",
        "counter",
        "Total time duration the container has been throttled.",
        |row| {
            row.usage
                .throttling
                .filter(|(periods, ..)| *periods > 0)
                .map(|(_, _, time)| seconds(time))
        },
    ),
    (
        "container_cpu_system_seconds_total",
        "counter",
        "Cumulative system cpu time consumed in seconds.",
        |row| Some(seconds(row.usage.cpu_system)),
    ),
    (
        "container_cpu_user_seconds_total",
        "counter",
        "Cumulative user cpu time consumed in seconds.",
        |row| Some(seconds(row.usage.cpu_user)),
    ),
    (
        "container_memory_cache",
        "gauge",
        "Number of bytes of page cache memory.",
        |row| Some(float(row.usage.cache)),
    ),
    (
        "container_memory_mapped_file",
        "gauge",
        "Size of memory mapped files in bytes.",
        |row| Some(float(row.usage.mapped_file)),
    ),
    (
        "container_memory_max_usage_bytes",
        "gauge",
        "Maximum memory usage recorded in bytes",
        |row| row.usage.max_memory.map(float),
    ),
    (
        "container_memory_rss",
        "gauge",
        "Size of RSS in bytes.",
        |row| Some(float(row.usage.rss)),
    ),
    (
        "container_memory_swap",
        "gauge",
        "Container swap usage in bytes.",
        |row| Some(float(row.usage.swap)),
    ),
    (
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |row| Some(float(row.usage.memory)),
    ),
    (
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set in bytes.",
        |row| Some(float(row.usage.working_set)),
    ),
    (
        "container_processes",
        "gauge",
        "Number of processes running inside the container.",
        |row| Some(float(row.usage.processes)),
    ),
    (
        "container_spec_memory_limit_bytes",
        "gauge",
        "Memory limit for the container.",
        |row| Some(float(row.usage.memory_limit.unwrap_or(0))),
    ),
];

/// The text; without pods only an error and the machine.
pub(super) fn text(
    pods: Option<&[MeasuredPod]>,
    special: &[(String, CgroupUsage)],
    cgroups: &Cgroups,
) -> String {
    let now = Time(Some(Timestamp::now()));
    let mut rows: Vec<Row<'_>> = Vec::new();
    let none = |id: String, usage| Row {
        container: "",
        id,
        image: "",
        name: "",
        namespace: "",
        pod: "",
        created_at: 0,
        usage,
    };
    rows.extend(
        special
            .iter()
            .map(|(path, usage)| none(absolute(Path::new(path)), usage)),
    );
    for pod in pods.unwrap_or_default() {
        let metadata = &pod.pod.metadata;
        if let Some(usage) = &pod.usage {
            // cAdvisor finds the pod of a pod's cgroup by its path.
            rows.push(Row {
                namespace: &metadata.namespace,
                pod: &metadata.name,
                ..none(absolute(&pod.cgroup), usage)
            });
        }
        rows.extend(pod.containers.iter().map(|measured| {
            Row {
                container: &measured.name,
                id: absolute(&measured.cgroup),
                image: measured
                    .container
                    .image
                    .as_ref()
                    .map(|image| image.image.as_str())
                    .unwrap_or_default(),
                name: &measured.container.id,
                namespace: &measured.namespace,
                pod: &measured.pod_name,
                created_at: measured.container.created_at,
                usage: &measured.usage,
            }
        }));
    }
    let mut output = String::new();
    let info = component_base::version::Info::get();
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut version = Family::new(
        "cadvisor_version_info",
        "gauge",
        "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & cadvisor revision.",
    );
    version.sample(
        &[
            ("cadvisorRevision", ""),
            ("cadvisorVersion", &info.git_version),
            ("dockerVersion", ""),
            ("kernelVersion", &kernel),
            ("osVersion", ""),
        ],
        1.0,
        None,
    );
    output.push_str(&version.text());
    let mut total = Family::new(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed in seconds.",
    );
    let mut last_seen = Family::new(
        "container_last_seen",
        "gauge",
        "Last time a container was seen by the exporter",
    );
    let mut start = Family::new(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds.",
    );
    for row in &rows {
        let labels = row.labels();
        let [container, rest @ ..] = labels;
        let mut with_cpu = vec![container, ("cpu", "total")];
        with_cpu.extend(rest);
        total.sample(&with_cpu, seconds(row.usage.cpu), Some(now));
        if let Time(Some(now)) = now {
            last_seen.sample(&labels, now.as_second() as f64, Some(Time(Some(now))));
        }
        start.sample(&labels, (row.created_at / 1_000_000_000) as f64, None);
    }
    let mut families: Vec<(&str, String)> = Vec::new();
    for (name, kind, help, value) in FAMILIES {
        let mut family = Family::new(name, kind, help);
        for row in &rows {
            if let Some(value) = value(row) {
                family.sample(&row.labels(), value, Some(now));
            }
        }
        families.push((name, family.text()));
    }
    families.push(("container_cpu_usage_seconds_total", total.text()));
    families.push(("container_last_seen", last_seen.text()));
    families.push(("container_start_time_seconds", start.text()));
    families.extend(networks(pods.unwrap_or_default(), cgroups, now));
    let mut error = Family::new(
        "container_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    error.sample(&[], if pods.is_some() { 0.0 } else { 1.0 }, None);
    families.push(("container_scrape_error", error.text()));
    families.extend(machine());
    families.sort_by_key(|(name, _)| *name);
    output.extend(families.into_iter().map(|(_, text)| text));
    output
}

/// Traffic of pods, by interface. It is the sandbox's, which has no container name.
fn networks(pods: &[MeasuredPod], cgroups: &Cgroups, now: Time) -> Vec<(&'static str, String)> {
    let mut received = Family::new(
        "container_network_receive_bytes_total",
        "counter",
        "Cumulative count of bytes received",
    );
    let mut received_bad = Family::new(
        "container_network_receive_errors_total",
        "counter",
        "Cumulative count of errors encountered while receiving",
    );
    let mut sent = Family::new(
        "container_network_transmit_bytes_total",
        "counter",
        "Cumulative count of bytes transmitted",
    );
    let mut sent_bad = Family::new(
        "container_network_transmit_errors_total",
        "counter",
        "Cumulative count of errors encountered while transmitting",
    );
    for pod in pods.iter().filter(|pod| !pod.pod.spec.host_network) {
        let pids = cgroups.process_ids(&pod.cgroup);
        let Some(stats) = pids.iter().find_map(|pid| network::of_process(*pid, now)) else {
            continue;
        };
        let id = absolute(&pod.cgroup);
        let metadata = &pod.pod.metadata;
        for interface in &stats.interfaces {
            let labels = [
                ("container", ""),
                ("id", id.as_str()),
                ("image", ""),
                ("interface", interface.name.as_str()),
                ("name", ""),
                ("namespace", metadata.namespace.as_str()),
                ("pod", metadata.name.as_str()),
            ];
            for (family, value) in [
                (&mut received, interface.rx_bytes),
                (&mut received_bad, interface.rx_errors),
                (&mut sent, interface.tx_bytes),
                (&mut sent_bad, interface.tx_errors),
            ] {
                if let Some(value) = value {
                    family.sample(&labels, float(value), Some(now));
                }
            }
        }
    }
    vec![
        ("container_network_receive_bytes_total", received.text()),
        (
            "container_network_receive_errors_total",
            received_bad.text(),
        ),
        ("container_network_transmit_bytes_total", sent.text()),
        ("container_network_transmit_errors_total", sent_bad.text()),
    ]
}

fn machine() -> Vec<(&'static str, String)> {
    let read = |file: &str| {
        std::fs::read_to_string(file)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let (machine_id, system, boot) = (
        read("/etc/machine-id"),
        read("/sys/class/dmi/id/product_uuid"),
        read("/proc/sys/kernel/random/boot_id"),
    );
    let labels = [
        ("boot_id", boot.as_str()),
        ("machine_id", machine_id.as_str()),
        ("system_uuid", system.as_str()),
    ];
    let mut cores = Family::new("machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    let count = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    cores.sample(&labels, float(count as u64), None);
    let (memory, swap) = crate::sys::memory().unwrap_or_default();
    let mut memory_family = Family::new(
        "machine_memory_bytes",
        "gauge",
        "Amount of memory installed on the machine.",
    );
    memory_family.sample(&labels, float(memory), None);
    let mut swap_family = Family::new(
        "machine_swap_bytes",
        "gauge",
        "Amount of swap memory available on the machine.",
    );
    swap_family.sample(&labels, float(swap), None);
    vec![
        ("machine_cpu_cores", cores.text()),
        ("machine_memory_bytes", memory_family.text()),
        ("machine_swap_bytes", swap_family.text()),
    ]
}
