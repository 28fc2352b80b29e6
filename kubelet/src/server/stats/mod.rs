//! Use of resources: `/stats/summary`, `/metrics/resource`, `/metrics/cadvisor`.
//!
//! Upstream: `pkg/kubelet/stats`, `pkg/kubelet/server/stats`, cAdvisor. CPU, memory and processes come from cgroup files, the
//! network from /proc, writable layers and images from the runtime, volumes from the volume manager. Rates need two samples:
//! [`StatsProvider::run`] takes one every ten seconds. Walks over volumes and logs are cached for `volumeStatsAggPeriod`.

mod cadvisor;
pub mod cgroups;
pub mod model;
mod network;
mod resource;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::core::v1::Pod;
use component_base::serving::{Request, Response};
use futures::future::BoxFuture;
use http::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::cgroups::{CgroupUsage, Cgroups};
use self::model::{
    ContainerStats, CpuStats, FsStats, MemoryStats, NodeStats, PodReference, PodStats,
    ProcessStats, PvcReference, RlimitStats, RuntimeStats, Summary, SwapStats, Time, VolumeStats,
};
use super::{failed, json, query_values};
use crate::cri::{CriError, v1};
use crate::runtime::labels;
use crate::runtime::logs::pod_logs_dir;
use crate::sys::FsUsage;
use crate::volume::VolumeManager;
use crate::volume::measure::disk_usage;

const SAMPLE_PERIOD: Duration = Duration::from_secs(10);

/// What the statistics ask the rest of the kubelet.
pub trait StatsSource: Send + Sync {
    /// Name of the node.
    fn node_name(&self) -> String;
    /// Pods to run.
    fn pods(&self) -> Vec<Arc<Pod>>;
    /// When the kubelet started a pod, by its status.
    fn pod_start(&self, uid: &str) -> Option<Timestamp>;
    /// The cgroup of a pod, relative to the root of cgroups.
    fn pod_cgroup(&self, pod: &Pod) -> PathBuf;
    /// Containers that run.
    fn running_containers(&self) -> BoxFuture<'_, Result<Vec<v1::Container>, CriError>>;
    /// Writable layers and more, from the runtime.
    fn container_stats(&self) -> BoxFuture<'_, Result<Vec<v1::ContainerStats>, CriError>>;
    /// File systems of the runtime.
    fn image_fs_info(&self) -> BoxFuture<'_, Result<v1::ImageFsInfoResponse, CriError>>;
}

/// Settings.
#[derive(Clone, Debug)]
pub struct StatsOptions {
    /// Root folder of the kubelet.
    pub root_dir: PathBuf,
    /// `podLogsDir`.
    pub pod_logs_dir: PathBuf,
    /// `cgroupRoot` with `kubepods` below it.
    pub pods_cgroup: PathBuf,
    /// `volumeStatsAggPeriod`; volumes are not measured when it is zero.
    pub volume_period: Duration,
}

/// Measured disk use of a pod.
#[derive(Clone, Default)]
struct DiskUse {
    volumes: Vec<(VolumeStats, bool)>,
    /// Bytes and inodes of logs, by container.
    logs: HashMap<String, (u64, u64)>,
    /// Bytes of the pod's own files.
    other: (u64, u64),
}

struct Sample {
    at: Instant,
    cpu: u64,
    rate: Option<u64>,
}

/// Makes statistics.
pub struct StatsProvider {
    source: Arc<dyn StatsSource>,
    volumes: Option<VolumeManager>,
    options: StatsOptions,
    cgroups: Cgroups,
    samples: Mutex<HashMap<PathBuf, Sample>>,
    disk: Mutex<HashMap<String, (Instant, DiskUse)>>,
}

/// A container with its use.
struct Measured {
    container: v1::Container,
    pod_name: String,
    namespace: String,
    name: String,
    cgroup: PathBuf,
    usage: CgroupUsage,
}

/// A pod with its use.
struct MeasuredPod {
    pod: Arc<Pod>,
    cgroup: PathBuf,
    usage: Option<CgroupUsage>,
    containers: Vec<Measured>,
}

impl StatsProvider {
    /// Statistics of this machine.
    #[must_use]
    pub fn new(
        source: Arc<dyn StatsSource>,
        volumes: Option<VolumeManager>,
        options: StatsOptions,
    ) -> Self {
        Self::with_cgroups(source, volumes, options, Cgroups::detect())
    }

    fn with_cgroups(
        source: Arc<dyn StatsSource>,
        volumes: Option<VolumeManager>,
        options: StatsOptions,
        cgroups: Cgroups,
    ) -> Self {
        StatsProvider {
            source,
            volumes,
            options,
            cgroups,
            samples: Mutex::default(),
            disk: Mutex::default(),
        }
    }

    /// Samples CPU until the token ends it.
    pub async fn run(self: Arc<Self>, token: CancellationToken) {
        let mut ticks = tokio::time::interval(SAMPLE_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.measure().await {
                tracing::debug!(%error, "Could not sample the use of containers");
            }
            self.node_usage();
            self.rate(
                &self.options.pods_cgroup.clone(),
                self.cgroups
                    .usage(&self.options.pods_cgroup)
                    .map_or(0, |usage| usage.cpu),
            );
            let old = Instant::now().checked_sub(SAMPLE_PERIOD * 6);
            self.samples
                .lock()
                .retain(|_, sample| old.is_none_or(|old| sample.at > old));
        }
    }

    /// Notes a sample and answers the rate of use, once there are two.
    fn rate(&self, cgroup: &Path, cpu: u64) -> Option<u64> {
        let now = Instant::now();
        let mut samples = self.samples.lock();
        let Some(sample) = samples.get_mut(cgroup) else {
            samples.insert(
                cgroup.to_owned(),
                Sample {
                    at: now,
                    cpu,
                    rate: None,
                },
            );
            return None;
        };
        let elapsed = now.duration_since(sample.at);
        // Two requests in a row must not make a rate of a moment.
        if elapsed >= SAMPLE_PERIOD / 2 {
            let used = cpu.saturating_sub(sample.cpu);
            let rate = u128::from(used) * 1_000_000_000 / elapsed.as_nanos().max(1);
            *sample = Sample {
                at: now,
                cpu,
                rate: Some(u64::try_from(rate).unwrap_or(u64::MAX)),
            };
        }
        sample.rate
    }

    fn node_usage(&self) -> Option<(CgroupUsage, Option<u64>)> {
        let usage = self.cgroups.usage(Path::new("/"))?;
        let rate = self.rate(Path::new("/"), usage.cpu);
        Some((usage, rate))
    }

    /// Cgroups of all pods and of their running containers.
    async fn measure(&self) -> Result<Vec<MeasuredPod>, CriError> {
        let mut by_pod: HashMap<String, Vec<v1::Container>> = HashMap::new();
        for container in self.source.running_containers().await? {
            if let Some(uid) = container.labels.get(labels::POD_UID) {
                by_pod.entry(uid.clone()).or_default().push(container);
            }
        }
        let mut measured = Vec::new();
        for pod in self.source.pods() {
            let cgroup = self.source.pod_cgroup(&pod);
            let usage = self.cgroups.usage(&cgroup);
            if let Some(usage) = &usage {
                self.rate(&cgroup, usage.cpu);
            }
            let mut containers = Vec::new();
            for container in by_pod.remove(&pod.metadata.uid).unwrap_or_default() {
                let Some(path) = self.cgroups.container(&cgroup, &container.id) else {
                    continue;
                };
                let Some(usage) = self.cgroups.usage(&path) else {
                    continue;
                };
                self.rate(&path, usage.cpu);
                let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
                containers.push(Measured {
                    pod_name: label(labels::POD_NAME),
                    namespace: label(labels::POD_NAMESPACE),
                    name: label(labels::CONTAINER_NAME),
                    cgroup: path,
                    usage,
                    container,
                });
            }
            containers.sort_by(|a, b| a.name.cmp(&b.name));
            if usage.is_some() || !containers.is_empty() {
                measured.push(MeasuredPod {
                    pod,
                    cgroup,
                    usage,
                    containers,
                });
            }
        }
        measured.sort_by(|a, b| {
            let key = |pod: &MeasuredPod| {
                (
                    pod.pod.metadata.namespace.clone(),
                    pod.pod.metadata.name.clone(),
                )
            };
            key(a).cmp(&key(b))
        });
        Ok(measured)
    }

    fn cpu(&self, cgroup: &Path, usage: &CgroupUsage, now: Time) -> CpuStats {
        let rate = self
            .samples
            .lock()
            .get(cgroup)
            .and_then(|sample| sample.rate);
        CpuStats {
            time: now,
            usage_nano_cores: rate,
            usage_core_nano_seconds: Some(usage.cpu),
        }
    }

    fn container(&self, measured: &Measured, now: Time) -> ContainerStats {
        ContainerStats {
            name: measured.name.clone(),
            start_time: Time(
                Timestamp::from_nanosecond(i128::from(measured.container.created_at)).ok(),
            ),
            cpu: Some(self.cpu(&measured.cgroup, &measured.usage, now)),
            memory: Some(memory(&measured.usage, now)),
            swap: Some(swap(&measured.usage, now)),
            ..Default::default()
        }
    }

    /// The whole summary, or the part of it that is cheap to have.
    ///
    /// # Errors
    /// When a part of it cannot be had.
    pub async fn summary(&self, only_cpu_and_memory: bool) -> Result<Summary, String> {
        let now = Time(Some(Timestamp::now()));
        let (usage, _) = self
            .node_usage()
            .ok_or("failed to get root cgroup stats: the root cgroup cannot be read")?;
        let measured = self
            .measure()
            .await
            .map_err(|error| format!("failed to list pod stats: {error}"))?;
        let mut node = NodeStats {
            node_name: self.source.node_name(),
            start_time: Time(boot_time()),
            cpu: Some(self.cpu(Path::new("/"), &usage, now)),
            memory: Some(node_memory(&usage, now)),
            swap: node_swap(now),
            system_containers: self.system_containers(now),
            ..Default::default()
        };
        let disks = if only_cpu_and_memory {
            None
        } else {
            Some(self.disks(&mut node, now).await?)
        };
        let mut pods = Vec::new();
        for pod in &measured {
            let uid = &pod.pod.metadata.uid;
            let mut stats = PodStats {
                pod_ref: PodReference {
                    name: pod.pod.metadata.name.clone(),
                    namespace: pod.pod.metadata.namespace.clone(),
                    uid: uid.clone(),
                },
                start_time: Time(self.source.pod_start(uid)),
                containers: pod
                    .containers
                    .iter()
                    .map(|container| self.container(container, now))
                    .collect(),
                cpu: pod
                    .usage
                    .as_ref()
                    .map(|usage| self.cpu(&pod.cgroup, usage, now)),
                memory: pod.usage.as_ref().map(|usage| memory(usage, now)),
                swap: pod.usage.as_ref().map(|usage| swap(usage, now)),
                ..Default::default()
            };
            if let Some(disks) = &disks {
                // A pod the kubelet did not start yet is left out, as upstream.
                if stats.start_time.0.is_none() {
                    continue;
                }
                let pids = self.cgroups.process_ids(&pod.cgroup);
                stats.process_stats = Some(ProcessStats {
                    process_count: Some(pids.len() as u64),
                });
                if !pod.pod.spec.host_network {
                    stats.network = pids.iter().find_map(|pid| network::of_process(*pid, now));
                }
                let used = self.disk_use(&pod.pod, now).await;
                disks.fill(&mut stats, pod, &used, now);
            }
            pods.push(stats);
        }
        Ok(Summary { node, pods })
    }

    fn system_containers(&self, now: Time) -> Vec<ContainerStats> {
        let path = &self.options.pods_cgroup;
        let Some(usage) = self.cgroups.usage(path) else {
            return Vec::new();
        };
        vec![ContainerStats {
            name: "pods".to_owned(),
            start_time: Time(None),
            cpu: Some(self.cpu(path, &usage, now)),
            memory: Some(memory(&usage, now)),
            swap: Some(swap(&usage, now)),
            ..Default::default()
        }]
    }

    /// Fills in the file systems of the node; answers what containers need of them.
    async fn disks(&self, node: &mut NodeStats, now: Time) -> Result<Disks, String> {
        let root = crate::sys::fs_usage(&self.options.root_dir)
            .map_err(|error| format!("failed to get rootFs stats: {error}"))?;
        node.fs = Some(whole_fs(&root, now));
        node.rlimit = Some(rlimit(now));
        node.network = network::of_node(now);
        let info = self
            .source
            .image_fs_info()
            .await
            .map_err(|error| format!("failed to get imageFs stats: {error}"))?;
        let of = |list: &[v1::FilesystemUsage]| {
            let first = list.first()?;
            let mountpoint = first
                .fs_id
                .as_ref()
                .map(|id| id.mountpoint.clone())
                .unwrap_or_default();
            let usage = crate::sys::fs_usage(Path::new(&mountpoint)).unwrap_or(root);
            Some((
                usage,
                FsStats {
                    used_bytes: first.used_bytes.as_ref().map(|value| value.value),
                    inodes_used: first.inodes_used.as_ref().map(|value| value.value),
                    ..whole_fs(&usage, now)
                },
            ))
        };
        let image = of(&info.image_filesystems);
        let container = of(&info.container_filesystems).or_else(|| image.clone());
        let layers = match self.source.container_stats().await {
            Ok(stats) => stats
                .into_iter()
                .filter_map(|stats| {
                    let layer = stats.writable_layer?;
                    let value = |value: Option<v1::UInt64Value>| value.map(|value| value.value);
                    Some((
                        stats.attributes?.id,
                        (value(layer.used_bytes), value(layer.inodes_used)),
                    ))
                })
                .collect(),
            Err(error) if error.is_unimplemented() => HashMap::new(),
            Err(error) => return Err(format!("failed to list pod stats: {error}")),
        };
        let layer_fs = container
            .as_ref()
            .or(image.as_ref())
            .map_or(root, |(usage, _)| *usage);
        node.runtime = Some(RuntimeStats {
            image_fs: image.map(|(_, stats)| stats),
            container_fs: container.map(|(_, stats)| stats),
        });
        Ok(Disks {
            root,
            layer_fs,
            layers,
        })
    }

    /// Measures volumes and logs of a pod, or answers what was measured a short time ago.
    async fn disk_use(&self, pod: &Arc<Pod>, now: Time) -> DiskUse {
        let uid = &pod.metadata.uid;
        if let Some((at, found)) = self.disk.lock().get(uid)
            && at.elapsed() < self.options.volume_period
        {
            return found.clone();
        }
        let mut found = DiskUse::default();
        if let Some(volumes) = self
            .volumes
            .as_ref()
            .filter(|_| !self.options.volume_period.is_zero())
        {
            for volume in volumes.measure(uid).await {
                let usage = volume.usage;
                let stats = VolumeStats {
                    fs: FsStats {
                        time: now,
                        available_bytes: Some(usage.available),
                        capacity_bytes: Some(usage.capacity),
                        used_bytes: Some(usage.used),
                        inodes_free: Some(usage.inodes_free),
                        inodes: Some(usage.inodes),
                        inodes_used: Some(usage.inodes_used),
                    },
                    name: volume.name,
                    pvc_ref: volume.claim.map(|name| PvcReference {
                        name,
                        namespace: pod.metadata.namespace.clone(),
                    }),
                };
                found.volumes.push((stats, volume.local_ephemeral));
            }
        }
        let logs = pod_logs_dir(
            &self.options.pod_logs_dir,
            &pod.metadata.namespace,
            &pod.metadata.name,
            uid,
        );
        let hosts = self
            .options
            .root_dir
            .join("pods")
            .join(uid)
            .join("etc-hosts");
        let walked = tokio::task::spawn_blocking(move || {
            let names = crate::volume::layout::read_names(&logs).unwrap_or_default();
            let of = |name: String| disk_usage(&logs.join(&name)).ok().map(|used| (name, used));
            (
                names.into_iter().filter_map(of).collect::<HashMap<_, _>>(),
                disk_usage(&hosts).unwrap_or((0, 0)),
            )
        });
        if let Ok((logs, other)) = walked.await {
            (found.logs, found.other) = (logs, other);
        }
        let known: Vec<String> = self
            .source
            .pods()
            .iter()
            .map(|pod| pod.metadata.uid.clone())
            .collect();
        let mut disk = self.disk.lock();
        disk.retain(|uid, _| known.contains(uid));
        disk.insert(uid.clone(), (Instant::now(), found.clone()));
        found
    }

    /// `/metrics/resource`.
    pub async fn resource_metrics(&self) -> String {
        match self.summary(true).await {
            Ok(summary) => resource::text(Some(&summary)),
            Err(error) => {
                tracing::error!(
                    error,
                    "Error getting summary for resourceMetric prometheus endpoint"
                );
                resource::text(None)
            }
        }
    }

    /// `/metrics/cadvisor`.
    pub async fn cadvisor_metrics(&self) -> String {
        let measured = self.measure().await;
        if let Err(error) = &measured {
            tracing::error!(%error, "Could not list containers for the cadvisor endpoint");
        }
        let special: Vec<(String, CgroupUsage)> =
            ["/", &self.options.pods_cgroup.to_string_lossy()]
                .into_iter()
                .filter_map(|path| Some((path.to_owned(), self.cgroups.usage(Path::new(path))?)))
                .collect();
        cadvisor::text(measured.as_deref().ok(), &special, &self.cgroups)
    }
}

/// What containers need of file systems.
struct Disks {
    root: FsUsage,
    layer_fs: FsUsage,
    /// Bytes and inodes of writable layers, by container id.
    layers: HashMap<String, (Option<u64>, Option<u64>)>,
}

impl Disks {
    fn fill(&self, stats: &mut PodStats, pod: &MeasuredPod, used: &DiskUse, now: Time) {
        let part = |fs: &FsUsage, bytes: Option<u64>, inodes: Option<u64>| FsStats {
            used_bytes: bytes,
            inodes_used: inodes,
            ..part_of(fs, now)
        };
        let (mut bytes, mut inodes) = used.other;
        for (stats, measured) in stats.containers.iter_mut().zip(&pod.containers) {
            let (layer_bytes, layer_inodes) = self
                .layers
                .get(&measured.container.id)
                .copied()
                .unwrap_or_default();
            stats.rootfs = Some(part(&self.layer_fs, layer_bytes, layer_inodes));
            bytes += layer_bytes.unwrap_or(0);
            inodes += layer_inodes.unwrap_or(0);
            if let Some((log_bytes, log_inodes)) = used.logs.get(&measured.name) {
                stats.logs = Some(part(&self.root, Some(*log_bytes), Some(*log_inodes)));
                bytes += log_bytes;
                inodes += log_inodes;
            }
        }
        for (volume, local) in &used.volumes {
            if *local {
                bytes += volume.fs.used_bytes.unwrap_or(0);
                inodes += volume.fs.inodes_used.unwrap_or(0);
            }
            stats.volume_stats.push(volume.clone());
        }
        stats.ephemeral_storage = Some(part(&self.root, Some(bytes), Some(inodes)));
    }
}

fn part_of(fs: &FsUsage, now: Time) -> FsStats {
    FsStats {
        time: now,
        available_bytes: Some(fs.available),
        capacity_bytes: Some(fs.capacity),
        inodes: Some(fs.inodes),
        inodes_free: Some(fs.inodes_free),
        used_bytes: None,
        inodes_used: None,
    }
}

fn whole_fs(fs: &FsUsage, now: Time) -> FsStats {
    FsStats {
        used_bytes: Some(fs.capacity.saturating_sub(fs.available)),
        inodes_used: Some(fs.inodes.saturating_sub(fs.inodes_free)),
        ..part_of(fs, now)
    }
}

fn memory(usage: &CgroupUsage, now: Time) -> MemoryStats {
    MemoryStats {
        time: now,
        available_bytes: usage
            .memory_limit
            .map(|limit| limit.saturating_sub(usage.working_set)),
        usage_bytes: Some(usage.memory),
        working_set_bytes: Some(usage.working_set),
        rss_bytes: Some(usage.rss),
        page_faults: Some(usage.page_faults),
        major_page_faults: Some(usage.major_page_faults),
    }
}

fn node_memory(usage: &CgroupUsage, now: Time) -> MemoryStats {
    let total = crate::sys::memory().map_or(0, |(total, _)| total);
    MemoryStats {
        available_bytes: Some(total.saturating_sub(usage.working_set)),
        ..memory(usage, now)
    }
}

fn swap(usage: &CgroupUsage, now: Time) -> SwapStats {
    SwapStats {
        time: now,
        // Without a limit nobody can say what is left.
        swap_available_bytes: usage
            .swap_limit
            .map(|limit| limit.saturating_sub(usage.swap)),
        swap_usage_bytes: Some(usage.swap),
    }
}

fn node_swap(now: Time) -> Option<SwapStats> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let of = |name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(name)?
                .trim()
                .trim_end_matches(" kB")
                .trim()
                .parse::<u64>()
                .ok()
        })
    };
    let (total, free) = (of("SwapTotal:")? * 1024, of("SwapFree:")? * 1024);
    Some(SwapStats {
        time: now,
        swap_available_bytes: Some(free),
        swap_usage_bytes: Some(total.saturating_sub(free)),
    })
}

fn rlimit(now: Time) -> RlimitStats {
    let number = |file: &str| {
        std::fs::read_to_string(file)
            .ok()
            .and_then(|text| text.trim().parse::<i64>().ok())
    };
    let least = number("/proc/sys/kernel/pid_max")
        .into_iter()
        .chain(number("/proc/sys/kernel/threads-max"))
        .min();
    // `0.1 0.2 0.3 1/234 5678`: the number behind the slash counts all processes and threads.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = load
        .split(' ')
        .nth(3)
        .and_then(|part| part.split_once('/'))
        .and_then(|(_, all)| all.parse().ok());
    RlimitStats {
        time: now,
        maxpid: least,
        curproc: running,
    }
}

fn boot_time() -> Option<Timestamp> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Timestamp::from_second(seconds).ok()
}

/// Answers `/stats/summary`.
pub(super) async fn summary(provider: &StatsProvider, request: Request) -> Response {
    let asked = query_values(&request, "only_cpu_and_memory");
    let only = matches!(asked.as_slice(), [only] if only == "true");
    match provider.summary(only).await {
        Ok(summary) => match indented(&summary) {
            Ok(text) => json(text),
            Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        Err(error) => {
            tracing::error!(
                error,
                "HTTP InternalServerError serving, request: /stats/summary"
            );
            failed(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("Internal Error: {error}"),
            )
        }
    }
}

/// As go-restful writes it: indented by one blank.
fn indented(summary: &Summary) -> Result<Vec<u8>, serde_json::Error> {
    let mut output = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut output, formatter);
    serde::Serialize::serialize(summary, &mut serializer)?;
    Ok(output)
}

#[cfg(test)]
pub(super) mod tests;
