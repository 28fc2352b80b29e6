//! What the machine is and has. Upstream reads the same files through cAdvisor.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use api_types::core::v1::{NodeSwapStatus, NodeSystemInfo};
use api_types::{Format, Quantity};

/// Hardware and software of the node.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Logical CPUs.
    pub cpus: i64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of swap.
    pub swap: u64,
    /// Huge pages: size in bytes and how many are reserved.
    pub huge_pages: Vec<(u64, u64)>,
    /// For `status.nodeInfo`.
    pub info: NodeSystemInfo,
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn first_of(paths: &[&str]) -> String {
    paths
        .iter()
        .map(|path| first_line(path))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

/// `PRETTY_NAME` of os-release.
fn os_image(text: &str) -> String {
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(
            || "Unknown".to_owned(),
            |name| name.trim_matches('"').to_owned(),
        )
}

fn huge_pages(root: &Path) -> Vec<(u64, u64)> {
    let mut pages: Vec<(u64, u64)> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let kib: u64 = name
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            let count = fs::read_to_string(entry.path().join("nr_hugepages"))
                .ok()?
                .trim()
                .parse()
                .ok()?;
            Some((kib * 1024, count))
        })
        .collect();
    pages.sort_unstable();
    pages
}

/// `hugepages-2Mi`.
fn huge_page_resource(size: u64) -> String {
    format!(
        "hugepages-{}",
        Quantity::from_value(i64::try_from(size).unwrap_or(i64::MAX), Format::BinarySI)
    )
}

/// `2MB`, as cgroups name sizes.
#[must_use]
pub fn huge_page_cgroup_name(size: u64) -> String {
    match size {
        size if size >= 1 << 30 => format!("{}GB", size >> 30),
        size if size >= 1 << 20 => format!("{}MB", size >> 20),
        size => format!("{}KB", size >> 10),
    }
}

impl Machine {
    /// Looks at the machine.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn detect(runtime_version: &str, kubelet_version: &str) -> io::Result<Self> {
        let (memory, swap) = crate::sys::memory()?;
        let uname = rustix::system::uname();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        let os_release = fs::read_to_string("/etc/os-release")
            .or_else(|_| fs::read_to_string("/usr/lib/os-release"));
        Ok(Machine {
            cpus: std::thread::available_parallelism()
                .map_or(1, |cpus| i64::try_from(cpus.get()).unwrap_or(1))
                .max(online_cpus()),
            memory,
            swap,
            huge_pages: huge_pages(Path::new("/sys/kernel/mm/hugepages")),
            info: NodeSystemInfo {
                machine_id: first_of(&["/etc/machine-id", "/var/lib/dbus/machine-id"]),
                system_uuid: first_of(&[
                    "/sys/class/dmi/id/product_uuid",
                    "/proc/device-tree/system-id",
                    "/proc/device-tree/vm,uuid",
                    "/etc/machine-id",
                ]),
                boot_id: first_line("/proc/sys/kernel/random/boot_id"),
                kernel_version: uname.release().to_string_lossy().into_owned(),
                os_image: os_image(&os_release.unwrap_or_default()),
                container_runtime_version: runtime_version.to_owned(),
                kubelet_version: kubelet_version.to_owned(),
                kube_proxy_version: String::new(),
                operating_system: "linux".to_owned(),
                architecture: architecture.to_owned(),
                swap: (swap > 0).then(|| {
                    Box::new(NodeSwapStatus {
                        capacity: Some(i64::try_from(swap).unwrap_or(i64::MAX)),
                    })
                }),
            },
        })
    }
}

fn online_cpus() -> i64 {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    i64::try_from(
        text.lines()
            .filter(|line| line.starts_with("processor"))
            .count(),
    )
    .unwrap_or(0)
}

/// What is taken from the capacity before pods get the rest.
#[derive(Clone, Debug, Default)]
pub struct Reservations {
    /// `kubeReserved` and `systemReserved` together.
    pub reserved: BTreeMap<String, Quantity>,
    /// Hard eviction thresholds by resource: memory and ephemeral-storage, in bytes.
    pub eviction: BTreeMap<String, i64>,
}

/// Capacity of the node.
#[must_use]
pub fn capacity(
    machine: &Machine,
    ephemeral_storage: Option<u64>,
    max_pods: i64,
    pods_per_core: i64,
) -> BTreeMap<String, Quantity> {
    let bytes = |value: u64| {
        Quantity::from_value(i64::try_from(value).unwrap_or(i64::MAX), Format::BinarySI)
    };
    let pods = if pods_per_core > 0 {
        max_pods.min(machine.cpus * pods_per_core)
    } else {
        max_pods
    };
    let mut capacity = BTreeMap::from([
        (
            "cpu".to_owned(),
            Quantity::from_milli(machine.cpus * 1000, Format::DecimalSI),
        ),
        ("memory".to_owned(), bytes(machine.memory)),
        (
            "pods".to_owned(),
            Quantity::from_value(pods, Format::DecimalSI),
        ),
    ]);
    for (size, count) in &machine.huge_pages {
        capacity.insert(huge_page_resource(*size), bytes(size * count));
    }
    if let Some(storage) = ephemeral_storage {
        capacity.insert("ephemeral-storage".to_owned(), bytes(storage));
    }
    capacity
}

/// What pods may use: capacity less reservations and hard eviction thresholds. Huge pages also come off the memory.
#[must_use]
pub fn allocatable(
    capacity: &BTreeMap<String, Quantity>,
    reservations: &Reservations,
) -> BTreeMap<String, Quantity> {
    let mut allocatable = capacity.clone();
    for (name, quantity) in &mut allocatable {
        let milli = name == "cpu";
        let amount = |quantity: &Quantity| {
            if milli {
                quantity.milli_value()
            } else {
                quantity.value()
            }
        };
        let mut taken = reservations.reserved.get(name).map_or(0, amount);
        taken += reservations.eviction.get(name).copied().unwrap_or(0);
        if taken == 0 {
            continue;
        }
        let left = (amount(quantity) - taken).max(0);
        *quantity = if milli {
            Quantity::from_milli(left, Format::DecimalSI)
        } else {
            Quantity::from_value(left, Format::BinarySI)
        };
    }
    let huge: i64 = capacity
        .iter()
        .filter(|(name, _)| name.starts_with("hugepages-"))
        .map(|(_, quantity)| quantity.value())
        .sum();
    if huge > 0
        && let Some(memory) = allocatable.get_mut("memory")
    {
        *memory = Quantity::from_value((memory.value() - huge).max(0), Format::BinarySI);
    }
    allocatable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_resources::tests::list;

    #[test]
    fn os_names() {
        assert_eq!(
            os_image("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(os_image(""), "Unknown");
    }

    #[test]
    fn resources() {
        let machine = Machine {
            cpus: 4,
            memory: 8 << 30,
            huge_pages: vec![(2 << 20, 10)],
            ..Default::default()
        };
        let capacity = capacity(&machine, Some(100 << 30), 110, 0);
        assert_eq!(capacity["cpu"].to_string(), "4");
        assert_eq!(capacity["hugepages-2Mi"].to_string(), "20Mi");
        let reservations = Reservations {
            reserved: list(&[("cpu", "500m"), ("memory", "1Gi")]),
            eviction: BTreeMap::from([
                ("memory".to_owned(), 100 << 20),
                ("ephemeral-storage".to_owned(), 10 << 30),
            ]),
        };
        let allocatable = allocatable(&capacity, &reservations);
        assert_eq!(allocatable["cpu"].to_string(), "3500m");
        assert_eq!(
            allocatable["memory"].value(),
            (8 << 30) - (1 << 30) - (100 << 20) - (20 << 20)
        );
        assert_eq!(allocatable["ephemeral-storage"].to_string(), "90Gi");
        assert_eq!(allocatable["pods"].to_string(), "110");
        assert_eq!(
            super::capacity(&machine, None, 110, 10)["pods"].to_string(),
            "40"
        );
    }
}
