//! Pods leave when the node runs out of memory, disk or process ids. Upstream: `pkg/kubelet/eviction`.
//!
//! Every ten seconds the signals are measured. A hard threshold acts at once, a soft one after its grace period. While one is
//! met, and for the transition period after, the node says so and refuses new best-effort pods; one pod at a time is ended,
//! those first that use more than they asked for.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::core::v1::{Pod, PodCondition, PodStatus};
use api_types::{Format, Quantity};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::admission::Rejection;
use crate::cm::ContainerManager;
use crate::cri::Cri;
use crate::events::{Kind, Recorder};
use crate::images::gc::{ImageFs, ImageGc};
use crate::metrics::Metrics;
use crate::node::status::Pressure;
use crate::pod_resources::{QosClass, pod_requests, qos_class};
use crate::pod_workers::PodWorkers;
use crate::sources::is_critical_pod;
use crate::sys::fs_usage;

const PERIOD: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Memory of the node.
    MemoryAvailable,
    /// Bytes where pods' volumes and logs are.
    NodeFsAvailable,
    /// Inodes there.
    NodeFsInodesFree,
    /// Bytes where images are.
    ImageFsAvailable,
    /// Inodes there.
    ImageFsInodesFree,
    /// Process ids.
    PidAvailable,
}

impl Signal {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "memory.available" => Signal::MemoryAvailable,
            "nodefs.available" => Signal::NodeFsAvailable,
            "nodefs.inodesFree" => Signal::NodeFsInodesFree,
            "imagefs.available" | "containerfs.available" => Signal::ImageFsAvailable,
            "imagefs.inodesFree" | "containerfs.inodesFree" => Signal::ImageFsInodesFree,
            "pid.available" => Signal::PidAvailable,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Signal::MemoryAvailable => "memory.available",
            Signal::NodeFsAvailable => "nodefs.available",
            Signal::NodeFsInodesFree => "nodefs.inodesFree",
            Signal::ImageFsAvailable => "imagefs.available",
            Signal::ImageFsInodesFree => "imagefs.inodesFree",
            Signal::PidAvailable => "pid.available",
        }
    }

    fn pressure(self) -> Pressure {
        match self {
            Signal::MemoryAvailable => Pressure::Memory,
            Signal::PidAvailable => Pressure::Pid,
            _ => Pressure::Disk,
        }
    }

    fn resource(self) -> &'static str {
        match self {
            Signal::MemoryAvailable => "memory",
            Signal::PidAvailable => "pids",
            Signal::NodeFsAvailable | Signal::ImageFsAvailable => "ephemeral-storage",
            Signal::NodeFsInodesFree | Signal::ImageFsInodesFree => "inodes",
        }
    }
}

/// A limit below which a signal may not fall: an amount, or a part of the capacity.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Of what.
    pub signal: Signal,
    /// As written: `100Mi` or `10%`.
    pub text: String,
    /// How long it must be met; zero acts at once.
    pub grace: Duration,
}

impl Threshold {
    /// The amount for a capacity.
    #[must_use]
    pub fn amount(&self, capacity: i64) -> i64 {
        amount_of(&self.text, capacity).unwrap_or(0)
    }
}

/// `10%` of a capacity, or a quantity.
fn amount_of(text: &str, capacity: i64) -> Option<i64> {
    match text.strip_suffix('%') {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "upstream computes in floats too"
        )]
        Some(percent) => Some((capacity as f64 * percent.parse::<f64>().ok()? / 100.0) as i64),
        None => Some(Quantity::parse(text).ok()?.value()),
    }
}

/// Reads thresholds from the configuration.
///
/// # Errors
/// When a signal or value makes no sense.
pub fn parse_thresholds(
    hard: &BTreeMap<String, String>,
    soft: &BTreeMap<String, String>,
    grace_periods: &BTreeMap<String, String>,
) -> Result<Vec<Threshold>, String> {
    let mut thresholds = Vec::new();
    let mut add = |name: &str, text: &str, grace: Duration| {
        let signal =
            Signal::parse(name).ok_or_else(|| format!("unsupported eviction signal {name}"))?;
        let amount = amount_of(text, 1 << 20)
            .ok_or_else(|| format!("eviction threshold {name} has no valid value: {text:?}"))?;
        if amount < 0 {
            return Err(format!(
                "eviction threshold {name} must be positive: {text:?}"
            ));
        }
        // Zero percent turns a threshold off.
        if text != "0%" && text != "100%" {
            thresholds.push(Threshold {
                signal,
                text: text.to_owned(),
                grace,
            });
        }
        Ok(())
    };
    for (name, text) in hard {
        add(name, text, Duration::ZERO)?;
    }
    for (name, text) in soft {
        let grace = grace_periods.get(name).ok_or_else(|| {
            format!("grace period must be specified for the soft eviction threshold {name}")
        })?;
        let nanos = apimachinery::duration::parse(grace).map_err(|error| error.to_string())?;
        add(
            name,
            text,
            Duration::from_nanos(u64::try_from(nanos).map_err(|_| {
                format!(
                    "invalid eviction grace period specified: {grace}, must be a positive value"
                )
            })?),
        )?;
    }
    Ok(thresholds)
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Left.
    pub available: i64,
    /// All there is.
    pub capacity: i64,
}

/// Settings of eviction.
#[derive(Clone, Debug)]
pub struct EvictionOptions {
    /// Thresholds, hard and soft.
    pub thresholds: Vec<Threshold>,
    /// `evictionPressureTransitionPeriod`.
    pub transition: Duration,
    /// `evictionMaxPodGracePeriod`, in seconds, for soft thresholds.
    pub max_grace_period: i64,
    /// Folder whose file system is the node's.
    pub root_dir: PathBuf,
    /// Memory of the node.
    pub memory_capacity: i64,
}

#[derive(Default)]
struct State {
    first_met: HashMap<Signal, Instant>,
    last_met: HashMap<Pressure, Instant>,
}

/// Watches the node and evicts.
pub struct EvictionManager {
    options: EvictionOptions,
    cm: Arc<ContainerManager>,
    cri: Cri,
    image_gc: Arc<ImageGc>,
    recorder: Arc<Recorder>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

/// Parts of an [`EvictionManager`].
pub struct EvictionParts {
    /// Settings.
    pub options: EvictionOptions,
    /// cgroups.
    pub cm: Arc<ContainerManager>,
    /// Runtime.
    pub cri: Cri,
    /// Unused images.
    pub image_gc: Arc<ImageGc>,
    /// Events.
    pub recorder: Arc<Recorder>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

impl EvictionManager {
    /// Nothing is measured yet.
    #[must_use]
    pub fn new(parts: EvictionParts) -> Self {
        let EvictionParts {
            options,
            cm,
            cri,
            image_gc,
            recorder,
            metrics,
        } = parts;
        EvictionManager {
            options,
            cm,
            cri,
            image_gc,
            recorder,
            metrics,
            state: Mutex::default(),
        }
    }

    /// Whether the node lacks a resource, or did within the transition period.
    #[must_use]
    pub fn under_pressure(&self, pressure: Pressure) -> bool {
        self.state
            .lock()
            .last_met
            .get(&pressure)
            .is_some_and(|last| last.elapsed() < self.options.transition)
    }

    /// Refuses pods the node could not keep.
    ///
    /// # Errors
    /// With the conditions of the node.
    pub fn admit(&self, pod: &Pod) -> Result<(), Rejection> {
        let pressures: Vec<(Pressure, &str)> = [
            (Pressure::Memory, "MemoryPressure"),
            (Pressure::Disk, "DiskPressure"),
            (Pressure::Pid, "PIDPressure"),
        ]
        .into_iter()
        .filter(|(pressure, _)| self.under_pressure(*pressure))
        .collect();
        if pressures.is_empty() || is_critical_pod(pod) {
            return Ok(());
        }
        if let [(Pressure::Memory, _)] = pressures.as_slice() {
            let tolerates = pod.spec.tolerations.iter().any(|toleration| {
                (toleration.key.is_empty()
                    || toleration.key == "node.kubernetes.io/memory-pressure")
                    && (toleration.effect.is_empty() || toleration.effect == "NoSchedule")
                    && toleration.operator == "Exists"
            });
            if qos_class(pod) != QosClass::BestEffort || tolerates {
                return Ok(());
            }
        }
        let names: Vec<&str> = pressures.iter().map(|(_, name)| *name).collect();
        Err(Rejection {
            reason: "Evicted".to_owned(),
            message: format!("The node had condition: [{}]. ", names.join(" ")),
        })
    }

    /// The file system images are on.
    pub async fn image_fs(&self) -> Option<ImageFs> {
        let usage = fs_usage(&self.image_path().await?).ok()?;
        Some(ImageFs {
            capacity: i64::try_from(usage.capacity).unwrap_or(i64::MAX),
            available: i64::try_from(usage.available).unwrap_or(i64::MAX),
        })
    }

    async fn image_path(&self) -> Option<PathBuf> {
        let info = self.cri.image_fs_info().await.ok()?;
        let mount = info.image_filesystems.into_iter().next()?.fs_id?.mountpoint;
        Some(PathBuf::from(mount))
    }

    async fn observe(&self) -> HashMap<Signal, Observation> {
        let mut seen = HashMap::new();
        let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        if let Ok(memory) = self.cm.node_memory() {
            let capacity = self.options.memory_capacity;
            seen.insert(
                Signal::MemoryAvailable,
                Observation {
                    available: capacity - int(memory.working_set),
                    capacity,
                },
            );
        }
        if let Ok(fs) = fs_usage(&self.options.root_dir) {
            seen.insert(
                Signal::NodeFsAvailable,
                Observation {
                    available: int(fs.available),
                    capacity: int(fs.capacity),
                },
            );
            seen.insert(
                Signal::NodeFsInodesFree,
                Observation {
                    available: int(fs.inodes_free),
                    capacity: int(fs.inodes),
                },
            );
        }
        if let Some(path) = self.image_path().await
            && let Ok(fs) = fs_usage(&path)
        {
            seen.insert(
                Signal::ImageFsAvailable,
                Observation {
                    available: int(fs.available),
                    capacity: int(fs.capacity),
                },
            );
            seen.insert(
                Signal::ImageFsInodesFree,
                Observation {
                    available: int(fs.inodes_free),
                    capacity: int(fs.inodes),
                },
            );
        }
        let read = |path: &str| {
            std::fs::read_to_string(path)
                .ok()?
                .trim()
                .parse::<i64>()
                .ok()
        };
        if let Some(max) = read("/proc/sys/kernel/pid_max")
            && let Ok(load) = std::fs::read_to_string("/proc/loadavg")
            && let Some(running) = load
                .split_whitespace()
                .nth(3)
                .and_then(|field| field.split_once('/')?.1.parse::<i64>().ok())
        {
            let max = max.min(read("/proc/sys/kernel/threads-max").unwrap_or(max));
            seen.insert(
                Signal::PidAvailable,
                Observation {
                    available: max - running,
                    capacity: max,
                },
            );
        }
        seen
    }

    /// Measures and evicts until the token ends it.
    pub async fn run(
        self: Arc<Self>,
        workers: Arc<PodWorkers>,
        active: impl Fn() -> Vec<Arc<Pod>> + Send + Sync + 'static,
        wake_reporter: impl Fn() + Send + Sync + 'static,
        token: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let pressures = |manager: &Self| {
                [Pressure::Memory, Pressure::Disk, Pressure::Pid].map(|p| manager.under_pressure(p))
            };
            let before = pressures(&self);
            let observations = self.observe().await;
            let due = self.thresholds_due(&observations, Instant::now());
            if pressures(&self) != before {
                wake_reporter();
            }
            let Some(threshold) = due.first() else {
                continue;
            };
            tracing::warn!(signal = threshold.signal.name(), "Attempting to reclaim");
            let text = format!("Attempting to reclaim {}", threshold.signal.resource());
            self.recorder
                .node(Kind::Warning, "EvictionThresholdMet", &text);
            if threshold.signal.pressure() == Pressure::Disk {
                // Images nobody uses go before pods do.
                if let Err(error) = self.image_gc.delete_unused().await {
                    tracing::info!(%error, "Unable to delete unused images");
                }
                let again = self.observe().await;
                if again
                    .get(&threshold.signal)
                    .is_some_and(|seen| seen.available > threshold.amount(seen.capacity))
                {
                    continue;
                }
            }
            self.evict_one(threshold, &observations, &workers, active())
                .await;
        }
    }

    /// Thresholds that are met and out of grace, most urgent first; remembers pressures.
    fn thresholds_due(
        &self,
        observations: &HashMap<Signal, Observation>,
        now: Instant,
    ) -> Vec<Threshold> {
        let mut state = self.state.lock();
        let mut due = Vec::new();
        let mut met_signals = Vec::new();
        for threshold in &self.options.thresholds {
            let Some(seen) = observations.get(&threshold.signal) else {
                continue;
            };
            if seen.available >= threshold.amount(seen.capacity) {
                continue;
            }
            met_signals.push(threshold.signal);
            let first = *state.first_met.entry(threshold.signal).or_insert(now);
            if now.duration_since(first) >= threshold.grace {
                state.last_met.insert(threshold.signal.pressure(), now);
                due.push(threshold.clone());
            }
        }
        state
            .first_met
            .retain(|signal, _| met_signals.contains(signal));
        // Memory first: it runs out fastest.
        due.sort_by_key(|threshold| (threshold.signal, threshold.grace));
        due
    }

    async fn evict_one(
        &self,
        threshold: &Threshold,
        observations: &HashMap<Signal, Observation>,
        workers: &Arc<PodWorkers>,
        pods: Vec<Arc<Pod>>,
    ) {
        let memory = threshold.signal == Signal::MemoryAvailable;
        let usage_of = |pod: &Pod| {
            if memory {
                self.cm.pod_memory(pod).map_or(0, |usage| usage.working_set)
            } else {
                0
            }
        };
        let mut ranked: Vec<(Arc<Pod>, i64)> = pods
            .into_iter()
            .filter(|pod| !is_critical_pod(pod))
            .map(|pod| {
                let usage = i64::try_from(usage_of(&pod)).unwrap_or(i64::MAX);
                (pod, usage)
            })
            .collect();
        rank(&mut ranked, threshold.signal.resource());
        let Some((pod, usage)) = ranked.into_iter().next() else {
            tracing::error!(
                "Eviction manager: eviction thresholds have been met, but no pods are active to evict"
            );
            return;
        };
        let resource = threshold.signal.resource();
        let mut message = format!("The node was low on resource: {resource}. ");
        if let Some(seen) = observations.get(&threshold.signal) {
            let binary = |value: i64| Quantity::from_value(value, Format::BinarySI);
            message.push_str(&format!(
                "Threshold quantity: {}, available: {}. ",
                binary(threshold.amount(seen.capacity)),
                // Kilobytes: exact bytes would only look precise.
                format_args!("{}Ki", seen.available / 1024)
            ));
        }
        if memory {
            let requested = pod_requests(&pod).get("memory").copied().unwrap_or(0);
            if usage > requested
                && let [container] = pod.spec.containers.as_slice()
            {
                message.push_str(&format!(
                    "Container {} was using {}Ki, request is {}, has larger consumption of memory. ",
                    container.name,
                    usage / 1024,
                    Quantity::from_value(requested, Format::BinarySI)
                ));
            }
        }
        self.recorder.pod(&pod, Kind::Warning, "Evicted", &message);
        self.metrics
            .evictions
            .with_label_values(&[threshold.signal.name()])
            .inc();
        let grace = if threshold.grace.is_zero() {
            1
        } else {
            self.options.max_grace_period
        };
        let generation = pod.metadata.generation;
        let status = Arc::new(move |status: &mut PodStatus| {
            status.phase = "Failed".to_owned();
            status.reason = "Evicted".to_owned();
            status.message.clone_from(&message);
            crate::status::replace_condition(
                &mut status.conditions,
                PodCondition {
                    type_: "DisruptionTarget".to_owned(),
                    status: "True".to_owned(),
                    reason: "TerminationByKubelet".to_owned(),
                    message: message.clone(),
                    observed_generation: generation,
                    ..Default::default()
                },
            );
        });
        if let Err(error) = workers
            .kill_now(&pod, true, Some(grace), Some(status))
            .await
        {
            tracing::error!(pod = %pod.metadata.name, %error, "Eviction manager: pod failed to evict");
        }
    }
}

/// Orders pods: those over their request first, then by priority, then by how much they use beyond it.
fn rank(pods: &mut [(Arc<Pod>, i64)], resource: &str) {
    pods.sort_by_cached_key(|(pod, usage)| {
        let requested = pod_requests(pod).get(resource).copied().unwrap_or(0);
        let over = usage - requested;
        (over <= 0, pod.spec.priority.unwrap_or(0), -over)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_resources::tests::container;

    #[test]
    fn thresholds() {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let none = BTreeMap::new();
        let got = parse_thresholds(
            &map(&[("memory.available", "100Mi"), ("nodefs.available", "10%")]),
            &none,
            &none,
        )
        .expect("valid");
        assert_eq!(got[0].amount(0), 100 << 20);
        assert_eq!(got[1].amount(1000), 100);
        assert!(parse_thresholds(&map(&[("nope", "1")]), &none, &none).is_err());
        let soft = map(&[("memory.available", "200Mi")]);
        assert_eq!(
            parse_thresholds(&none, &soft, &none).expect_err("no grace"),
            "grace period must be specified for the soft eviction threshold memory.available"
        );
        let with_grace =
            parse_thresholds(&none, &soft, &map(&[("memory.available", "30s")])).expect("valid");
        assert_eq!(with_grace[0].grace, Duration::from_secs(30));
    }

    #[test]
    fn ranking() {
        let pod = |name: &str, request: &str, priority: i32| {
            let mut pod = Pod::default();
            pod.metadata.name = name.into();
            pod.spec.priority = Some(priority);
            pod.spec.containers = vec![container("c", &[("memory", request)], &[])];
            Arc::new(pod)
        };
        let mut pods = vec![
            (pod("within", "100", 0), 50),
            (pod("over-important", "100", 10), 1000),
            (pod("over-a-little", "100", 0), 150),
            (pod("over-a-lot", "100", 0), 500),
        ];
        rank(&mut pods, "memory");
        let names: Vec<&str> = pods
            .iter()
            .map(|(pod, _)| pod.metadata.name.as_str())
            .collect();
        assert_eq!(
            names,
            ["over-a-lot", "over-a-little", "over-important", "within"]
        );
    }
}
