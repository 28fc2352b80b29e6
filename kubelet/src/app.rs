//! Wires a kubelet from its options and runs it. Upstream: `cmd/kubelet/app/server.go` and `NewMainKubelet`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api_types::Quantity;
use api_types::core::v1::Service;
use api_types::node::v1::RuntimeClass;
use apimachinery::os_error;
use arc_swap::ArcSwap;
use client::{
    Client, ClientConfig, ConfigError, EventRecorder, ListScope, RestMetrics, SharedInformer,
};
use component_base::flagz::Flagz;
use component_base::metrics::MetricsOptions;
use component_base::run::Start;
use component_base::serving::{CertificateSlot, Server};
use component_base::{Error, healthz, version};
use jiff::SignedDuration;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::allocation::{AllocationManager, ResizeFeatures, open_states};
use crate::backoff::Backoff;
use crate::certificate::request::Wanted;
use crate::certificate::{self, Rotation};
use crate::cm::{CmOptions, ContainerManager, tree};
use crate::config::Options;
use crate::cri::{Cri, CriOptions};
use crate::events::{Kind, Recorder};
use crate::eviction::{
    EvictionManager, EvictionOptions, EvictionParts, Signal, Threshold, parse_thresholds,
};
use crate::hooks::Hooks;
use crate::images::gc::{ImageGc, ImageGcPolicy};
use crate::images::{ImageManager, Keyring};
use crate::metrics::Metrics;
use crate::node::machine::{Machine, Reservations, allocatable, capacity, huge_page_cgroup_name};
use crate::node::{NodeInfo, NodeReporter, Registration, renew_lease, watch_node};
use crate::objects::ObjectManager;
use crate::pleg::{Pleg, PodCache};
use crate::pod_manager::PodManager;
use crate::pod_options::PodOptions;
use crate::pod_options::dns::DnsConfigurer;
use crate::pod_workers::PodWorkers;
use crate::prober::ProbeManager;
use crate::prober::results::ResultsManager;
use crate::runtime::gc::GcPolicy;
use crate::runtime::log_rotation::LogRotation;
use crate::runtime::logs::CONTAINER_LOGS_DIR;
use crate::runtime::{ResourceDefaults, Runtime, RuntimeOptions, RuntimeParts};
use crate::runtime_class::RuntimeClasses;
use crate::sources::{FileSource, MirrorClient, PodConfig, Source, watch_api_server};
use crate::status::StatusManager;
use crate::sync_loop::{Kubelet, LoopInputs, ReasonCache, RuntimeState};
use crate::sys::{create_dir_all, fs_usage};
use crate::wiring::{Served, check_auth, secure_serving};

/// Features of this kubelet that the scheduler may ask for, with the gate that turns each on.
///
/// Not yet ExtendWebSocketsToKubelet: `client::streaming::channels` closes connections without a status, which kubectl takes for
/// an error (`close 1005`). Until then API servers send SPDY.
const DECLARED_FEATURES: [&str; 3] = [
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
];

fn std_duration(duration: &api_types::Duration) -> Duration {
    Duration::from_nanos(u64::try_from(duration.0).unwrap_or(0))
}

fn fail(text: impl Into<String>) -> Error {
    text.into().into()
}

const CGROUP_V1: &str = "cgroup v1 detected. cgroup v1 support is deprecated and will be removed in a future release. Please migrate to \
                         cgroup v2. More information at https://git.k8s.io/enhancements/keps/sig-node/5573-remove-cgroup-v1";

/// Refuses cgroups the configuration does not allow.
fn check_cgroups(options: &Options) -> Result<(), Error> {
    if tree::is_unified() {
        return Ok(());
    }
    if options.config.fail_cgroup_v1 == Some(true) {
        return Err(fail(
            "failed to validate kubelet configuration, error: kubelet is configured to not run on a host using cgroup v1. \
             cgroup v1 support is unsupported and will be removed in a future release",
        ));
    }
    tracing::warn!("{CGROUP_V1}");
    Ok(())
}

/// Refuses machines the configuration does not allow.
fn check_machine(options: &Options) -> Result<(), Error> {
    let config = &options.config;
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    // The first line is a heading. Swap in compressed memory counts as well.
    if swaps.lines().skip(1).any(|line| !line.trim().is_empty()) {
        let text = "running with swap on is not supported, please disable swap or set --fail-swap-on flag to false";
        if config.fail_swap_on == Some(true) {
            return Err(fail(text));
        }
        tracing::info!("{text}, continuing because failSwapOn is false");
    }
    Ok(())
}

fn quantities(
    map: &BTreeMap<String, String>,
    what: &str,
) -> Result<BTreeMap<String, Quantity>, Error> {
    map.iter()
        .map(
            |(name, text)| match (name.as_str(), Quantity::parse(text)) {
                ("cpu" | "memory" | "ephemeral-storage" | "pid", Ok(quantity))
                    if quantity.signum() >= 0 =>
                {
                    Ok((name.clone(), quantity))
                }
                ("cpu" | "memory" | "ephemeral-storage" | "pid", Ok(_)) => Err(fail(format!(
                    "resource quantity for {name:?} cannot be negative: {text}"
                ))),
                ("cpu" | "memory" | "ephemeral-storage" | "pid", Err(error)) => Err(fail(format!(
                    "failed to parse quantity {text:?} for {name:?} resource of {what}: {error}"
                ))),
                _ => Err(fail(format!("cannot reserve {name:?} resource"))),
            },
        )
        .collect()
}

/// What is kept from pods.
fn reservations(
    options: &Options,
    thresholds: &[Threshold],
    memory: i64,
    storage: i64,
) -> Result<Reservations, Error> {
    let mut reserved = quantities(&options.config.kube_reserved, "kubeReserved")?;
    for (name, quantity) in quantities(&options.config.system_reserved, "systemReserved")? {
        match reserved.get_mut(&name) {
            Some(sum) => sum.add(&quantity),
            None => {
                reserved.insert(name, quantity);
            }
        }
    }
    let mut eviction = BTreeMap::new();
    for threshold in thresholds
        .iter()
        .filter(|threshold| threshold.grace.is_zero())
    {
        match threshold.signal {
            Signal::MemoryAvailable => {
                eviction.insert("memory".to_owned(), threshold.amount(memory))
            }
            Signal::NodeFsAvailable => {
                eviction.insert("ephemeral-storage".to_owned(), threshold.amount(storage))
            }
            _ => None,
        };
    }
    Ok(Reservations { reserved, eviction })
}

/// Connects to the runtime.
async fn connect(
    options: &Options,
    metrics: &Arc<Metrics>,
) -> Result<(Cri, String, String), Error> {
    let config = &options.config;
    let cri = Cri::new(
        &CriOptions {
            runtime_endpoint: config.container_runtime_endpoint.clone(),
            image_endpoint: config.image_service_endpoint.clone(),
            timeout: std_duration(&config.runtime_request_timeout),
        },
        metrics.clone(),
    )?;
    let answer = cri.version().await.map_err(|error| {
        fail(format!(
            "validate service connection: validate CRI v1 runtime API for endpoint {:?}: {error}",
            config.container_runtime_endpoint
        ))
    })?;
    tracing::info!(name = %answer.runtime_name, version = %answer.runtime_version, api = %answer.runtime_api_version, "Container runtime initialized");
    // Older runtimes cannot say which driver they use: then ours is the configured one.
    match cri.runtime_config().await {
        Ok(runtime) => {
            let driver = runtime.linux.map(|linux| linux.cgroup_driver());
            if driver == Some(crate::cri::v1::CgroupDriver::Systemd) {
                return Err(fail(NO_SYSTEMD));
            }
        }
        Err(error) if error.is_unimplemented() => {
            if config.cgroup_driver != "cgroupfs" {
                return Err(fail(NO_SYSTEMD));
            }
        }
        Err(error) => {
            return Err(fail(format!(
                "unable to get runtime configuration: {error}"
            )));
        }
    }
    let version = format!(
        "{}://{}",
        answer.runtime_name,
        plain_version(&answer.runtime_version)
    );
    Ok((cri, answer.runtime_name, version))
}

/// A version without what distributions append: `1.6.20~ds1` becomes `1.6.20`; a pre-release or build stays.
fn plain_version(text: &str) -> &str {
    let text = text.trim().trim_start_matches('v');
    let numbers = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    if numbers == 0 || text[numbers..].starts_with(['-', '+']) {
        text
    } else {
        text[..numbers].trim_end_matches('.')
    }
}

const NO_SYSTEMD: &str = "the systemd cgroup driver is not available in this kubelet: set the runtime (SystemdCgroup = false) and \
                          cgroupDriver to cgroupfs";

/// The client, if there is an API server to talk to.
///
/// With a bootstrap kubeconfig the first certificate is asked for before; with `rotateCertificates` it is kept current.
async fn api_client(
    options: &Options,
    metrics: &component_base::metrics::Metrics,
    token: &CancellationToken,
) -> Result<Option<Client>, Error> {
    let Some(path) = &options.kubeconfig else {
        tracing::warn!("Standalone mode, no API client");
        return Ok(None);
    };
    let config = &options.config;
    if let Some(bootstrap) = &options.bootstrap_kubeconfig {
        tokio::select! {
            () = token.cancelled() => return Err(fail("told to stop before there was a client certificate")),
            done = certificate::bootstrap(path, bootstrap, &options.cert_dir, &options.node_name) => done.map_err(fail)?,
        }
    }
    let unusable = |error: ConfigError| {
        fail(match &error {
            ConfigError::Server { .. } | ConfigError::Unsupported(_) | ConfigError::Tls { .. } => {
                format!("failed to initialize kubelet client: {error}")
            }
            error if config.rotate_certificates => format!("unable to load kubeconfig: {error}"),
            error => format!("invalid kubeconfig: {error}"),
        })
    };
    let mut client_config = ClientConfig::from_kubeconfig(path)
        .map_err(unusable)?
        .with_user_agent(version::user_agent("kubelet"))
        .with_qps(as_f32(config.kube_api_qps.unwrap_or(50)))
        .with_burst(u32::try_from(config.kube_api_burst).unwrap_or(100))
        .with_metrics(RestMetrics::new(metrics.registry())?);
    if !config.rotate_certificates {
        return Ok(Some(Client::new(client_config).map_err(|error| {
            fail(format!("failed to initialize kubelet client: {error}"))
        })?));
    }
    let (followed, store, renew_now) = certificate::follow_store(client_config, &options.cert_dir)
        .map_err(|error| {
            fail(format!(
                "failed to initialize client certificate store: {error}"
            ))
        })?;
    client_config = followed;
    let client = Client::new(client_config)?;
    let rotation = Rotation::of_client(client.clone(), &options.node_name, store, renew_now);
    tokio::spawn(rotation.run(token.clone()));
    Ok(Some(client))
}

#[expect(clippy::cast_precision_loss, reason = "rates are small numbers")]
fn as_f32(value: i32) -> f32 {
    value as f32
}

/// Runs a kubelet until it is told to stop.
///
/// # Errors
/// When it cannot start: options, machine, runtime, API server's address.
pub async fn run(start: Start) -> Result<(), Error> {
    let options = Options::load(&start.flags)?;
    component_base::logs::reconfigure(&options.logging);
    check_cgroups(&options)?;
    secure_serving(&options)
        .check_tls()
        .map_err(|error| fail(format!("failed to construct kubelet dependencies: {error}")))?;
    let flagz = Flagz::new("kubelet", &start.flags);
    let token = start.stop;
    run_with(options, flagz, token)
        .await
        .map_err(|error| fail(format!("failed to run Kubelet: {error}")))
}

#[expect(
    clippy::too_many_lines,
    reason = "one list of parts, each made once, in the order they need each other"
)]
async fn run_with(options: Options, flagz: Flagz, token: CancellationToken) -> Result<(), Error> {
    let config = &options.config;
    check_machine(&options)?;
    let registry = component_base::metrics::Metrics::for_daemon(MetricsOptions::default());
    let metrics = Arc::new(Metrics::new(&registry));
    metrics
        .node_name
        .with_label_values(&[options.node_name.as_str()])
        .set(1.0);
    for dir in [
        "",
        "pods",
        "plugins",
        "plugins_registry",
        "pod-resources",
        "checkpoints",
    ] {
        create_dir_all(&options.root_dir.join(dir), 0o750).map_err(|error| {
            fail(format!(
                "error creating kubelet directory: {}",
                os_error::on_path(
                    "mkdir",
                    &options.root_dir.join(dir).components().collect::<PathBuf>(),
                    &error
                )
            ))
        })?;
    }
    for dir in [
        Path::new(&config.pod_logs_dir),
        Path::new(CONTAINER_LOGS_DIR),
    ] {
        create_dir_all(dir, 0o755).map_err(|error| {
            fail(format!(
                "failed to create directory {:?}: {}",
                dir.display().to_string(),
                os_error::on_path("mkdir", dir, &error)
            ))
        })?;
    }
    set_oom_score(config.oom_score_adj.unwrap_or(-999));
    let client = api_client(&options, &registry, &token).await?;
    check_auth(&options, client.is_some())?;
    let (cri, runtime_name, runtime_version) = connect(&options, &metrics).await?;

    // The node.
    let machine = Machine::detect(&runtime_version, version::git_version())?;
    let memory = i64::try_from(machine.memory).unwrap_or(i64::MAX);
    let local_storage = config.local_storage_capacity_isolation == Some(true);
    let storage = if local_storage {
        Some(fs_usage(&options.root_dir)?.capacity)
    } else {
        None
    };
    let thresholds = parse_thresholds(
        &config.eviction_hard,
        &config.eviction_soft,
        &config.eviction_soft_grace_period,
    )
    .map_err(fail)?;
    let storage_bytes = storage.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let reservations = reservations(&options, &thresholds, memory, storage_bytes)?;
    let node_capacity = capacity(
        &machine,
        storage,
        config.max_pods.into(),
        config.pods_per_core.into(),
    );
    let node_allocatable = allocatable(&node_capacity, &reservations);
    let swap_controller = Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists();
    let huge_page_sizes = machine
        .huge_pages
        .iter()
        .map(|(size, _)| huge_page_cgroup_name(*size))
        .collect();
    // What pods may use together: eviction, other than reservations, is not a limit of their cgroup.
    let cgroup_limits = {
        let mut without_eviction = reservations.clone();
        without_eviction.eviction.clear();
        let mut limits =
            crate::pod_resources::amounts(&allocatable(&node_capacity, &without_eviction));
        limits.retain(|name, _| matches!(name.as_str(), "cpu" | "memory"));
        limits
    };
    let node = Arc::new(NodeInfo::new(
        &options.node_name,
        &options.hostname,
        machine,
        &options.node_ips,
        node_capacity,
        node_allocatable,
    ));
    if node.node_ips().is_empty() {
        return Err(fail(
            "no address of this node found: there is no default route; give one with --node-ip",
        ));
    }
    let events = client.as_ref().map(|client| {
        let client = client.with_rate_limit(
            as_f32(config.event_record_qps.unwrap_or(50)),
            u32::try_from(config.event_burst).unwrap_or(100),
        );
        EventRecorder::new(&client, "kubelet", options.node_name.as_str())
    });
    let recorder = Arc::new(Recorder::new(events, &options.node_name));
    recorder.node(Kind::Normal, "Starting", "Starting kubelet.");
    if !tree::is_unified() {
        recorder.node(Kind::Warning, "CgroupV1", CGROUP_V1);
    }

    // Cgroups.
    let period = config
        .cpu_cfs_quota_period
        .as_ref()
        .map_or(100_000, |period| period.0 / 1000);
    let cfs_quota = config.cpu_cfs_quota == Some(true);
    let cm = Arc::new(ContainerManager::new(
        tree::detect()?,
        CmOptions {
            cgroup_root: config.cgroup_root.clone(),
            cgroups_per_qos: config.cgroups_per_qos == Some(true),
            cpu_cfs_quota: cfs_quota,
            cpu_cfs_period_micros: period,
            pod_pids_limit: config.pod_pids_limit.unwrap_or(-1),
            enforce_pods: config
                .enforce_node_allocatable
                .iter()
                .any(|value| value == "pods"),
            allocatable: cgroup_limits,
        },
        metrics.clone(),
    ));
    cm.start().map_err(|error| {
        fail(format!(
            "failed to initialize top level QOS containers: {error}"
        ))
    })?;
    recorder.node(
        Kind::Normal,
        "NodeAllocatableEnforced",
        "Updated Node Allocatable limit across pods",
    );

    // Objects of the API that pods need.
    let objects = Arc::new(ObjectManager::new(client.clone(), &token));
    let informer_token = token.clone();
    let services = client
        .as_ref()
        .map(|client| spawn_informer::<Service>(client, &informer_token));
    let classes = client
        .as_ref()
        .map(|client| spawn_informer::<RuntimeClass>(client, &informer_token));
    let runtime_classes = Arc::new(RuntimeClasses::new(classes));

    let cluster_dns = config
        .cluster_dns
        .iter()
        .filter_map(|text| match text.parse() {
            Ok(ip) => Some(ip),
            Err(_) => {
                tracing::error!(ip = %text, "Invalid clusterDNS IP");
                None
            }
        })
        .collect();
    let dns = DnsConfigurer::new(
        recorder.clone(),
        node.node_ips().to_vec(),
        cluster_dns,
        &config.cluster_domain,
        config.resolv_conf.as_deref().unwrap_or_default(),
    );
    let volumes = crate::wiring::volumes(
        &options,
        client.as_ref(),
        &objects,
        &node,
        &recorder,
        &token,
    );
    let pod_options = Arc::new(PodOptions {
        root_dir: options.root_dir.clone(),
        dns,
        objects: objects.clone(),
        services,
        volumes: Arc::new(volumes.clone()),
        cm: cm.clone(),
        runtime_classes,
        node: node.clone(),
        handlers: ArcSwap::from_pointee(HashMap::new()),
        states: RwLock::new(None),
    });

    // Resources granted and in effect.
    let resize = ResizeFeatures {
        pod_level: options
            .features
            .enabled("InPlacePodLevelResourcesVerticalScaling"),
        init_containers: options
            .features
            .enabled("InPlacePodVerticalScalingInitContainers"),
    };
    let (allocated, actuated) = open_states(&options.root_dir).map_err(fail)?;

    // The runtime.
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from);
    let images = Arc::new(ImageManager::new(
        cri.clone(),
        recorder.clone(),
        metrics.clone(),
        Keyring::of_node(&options.root_dir, home.as_deref()),
        config.serialize_image_pulls == Some(true),
        config.max_parallel_image_pulls,
    ));
    let (liveness, readiness, startup) = (
        Arc::new(ResultsManager::new()),
        Arc::new(ResultsManager::new()),
        Arc::new(ResultsManager::new()),
    );
    let hooks = Arc::new(Hooks::new(recorder.clone(), metrics.clone()));
    let runtime = Arc::new(Runtime::new(RuntimeParts {
        cri: cri.clone(),
        name: runtime_name,
        options: RuntimeOptions {
            pod_logs_dir: config.pod_logs_dir.clone().into(),
            seccomp_root: options.root_dir.join("seccomp"),
            seccomp_default: config.seccomp_default == Some(true),
            resources: ResourceDefaults {
                cpu_cfs_quota: cfs_quota,
                cpu_cfs_period_micros: period,
                memory_capacity: memory,
                unified: tree::is_unified(),
                single_process_oom_kill: config
                    .single_process_oom_kill
                    .unwrap_or(!tree::is_unified()),
                swap_controller,
                huge_page_sizes,
            },
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
            resize,
        },
        recorder: recorder.clone(),
        images,
        helper: pod_options.clone(),
        hooks: hooks.clone(),
        liveness: liveness.clone(),
        startup: startup.clone(),
        metrics: metrics.clone(),
        cm: cm.clone(),
        actuated,
    }));
    hooks.set_runtime(&runtime);
    let cache = Arc::new(PodCache::default());
    let (pleg, pleg_events) = Pleg::new(runtime.clone(), cache.clone(), metrics.clone());
    let pods = Arc::new(PodManager::default());
    let status = Arc::new(StatusManager::new(
        client.clone(),
        pods.clone(),
        metrics.clone(),
    ));
    let probes = ProbeManager::new(
        runtime.clone(),
        status.clone(),
        recorder.clone(),
        metrics.clone(),
        liveness,
        readiness,
        startup,
        token.clone(),
    );
    let workers = PodWorkers::new(
        cache.clone(),
        recorder.clone(),
        metrics.clone(),
        std_duration(&config.sync_frequency),
        token.clone(),
    );
    let image_gc = Arc::new(ImageGc::new(
        cri.clone(),
        recorder.clone(),
        metrics.clone(),
        ImageGcPolicy {
            high_threshold_percent: config.image_gc_high_threshold_percent.unwrap_or(85).into(),
            low_threshold_percent: config.image_gc_low_threshold_percent.unwrap_or(80).into(),
            min_age: std_duration(&config.image_minimum_gc_age),
            max_age: std_duration(&config.image_maximum_gc_age),
        },
    ));
    let eviction = Arc::new(EvictionManager::new(EvictionParts {
        options: EvictionOptions {
            thresholds,
            transition: std_duration(&config.eviction_pressure_transition_period),
            max_grace_period: config.eviction_max_pod_grace_period.into(),
            root_dir: options.root_dir.clone(),
            memory_capacity: memory,
        },
        cm: cm.clone(),
        cri: cri.clone(),
        image_gc: image_gc.clone(),
        recorder: recorder.clone(),
        metrics: metrics.clone(),
    }));
    let allocation = Arc::new(AllocationManager::new(
        allocated,
        resize,
        status.resize.clone(),
        recorder.clone(),
        metrics.clone(),
    ));
    let crash_loop_max = config
        .crash_loop_back_off
        .max_container_restart_period
        .as_ref()
        .map_or(300_000_000_000, |max| max.0);
    let max_backoff = SignedDuration::from_nanos(crash_loop_max);
    let kubelet = Arc::new(Kubelet {
        runtime: runtime.clone(),
        options: pod_options.clone(),
        objects,
        pods,
        workers: workers.clone(),
        status: status.clone(),
        probes,
        pleg: pleg.clone(),
        cache,
        reasons: ReasonCache::default(),
        runtime_state: RuntimeState::new(pleg.clone()),
        crash_loop: Backoff::new(SignedDuration::from_secs(10).min(max_backoff), max_backoff),
        mirrors: MirrorClient::new(client.clone(), &options.node_name),
        admission: Admission {
            allowed_unsafe_sysctls: config.allowed_unsafe_sysctls.clone(),
            app_armor: std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|text| text.starts_with('Y')),
        },
        allocation,
        eviction: eviction.clone(),
        image_gc,
        gc_policy: GcPolicy {
            min_age: options.min_container_ttl,
            max_per_pod_container: options.max_dead_per_container.into(),
            max_containers: options.max_dead.into(),
        },
        recorder,
        metrics,
        has_api_server: client.is_some(),
        sources_ready: Mutex::new(false),
        last_loop: Mutex::new(None),
        orphans: crate::wiring::orphan_cleaner(&volumes),
        reporter: Mutex::new(None),
    });
    workers.set_syncer(kubelet.clone());
    *pod_options.states.write() = Some(kubelet.clone());

    // Sources.
    let (source_events, sources) = mpsc::unbounded_channel();
    let mut expected = Vec::new();
    if let Some(client) = &client {
        expected.push(Source::Api);
        watch_api_server(
            client.clone(),
            &options.node_name,
            source_events.clone(),
            token.clone(),
        );
    }
    if !config.static_pod_path.is_empty() {
        expected.push(Source::File);
        let source = FileSource {
            path: config.static_pod_path.clone().into(),
            node_name: options.node_name.clone(),
            period: std_duration(&config.file_check_frequency),
        };
        tokio::spawn(source.run(source_events.clone(), token.clone()));
    }

    // Everything moves.
    let health = serve_health(&options, &kubelet, &token)?;
    crate::wiring::server(
        &options,
        &kubelet,
        Served {
            volumes: &volumes,
            client: client.as_ref(),
            registry: &registry,
            flagz,
            certificate: serving_certificate(&options, client.as_ref(), &kubelet, &token)?,
        },
        &token,
    )?;
    tokio::spawn(pleg.run(token.clone()));
    tokio::spawn({
        let (safety, token) = (kubelet.clone(), token.clone());
        async move { status.run(safety, token).await }
    });
    if let Some(client) = client {
        start_node(&options, &kubelet, client, node, local_storage, &token);
    }
    tokio::spawn(eviction.run(
        workers,
        {
            let kubelet = kubelet.clone();
            move || kubelet.allocated_pods()
        },
        {
            let kubelet = kubelet.clone();
            move || {
                if let Some(reporter) = kubelet.reporter.lock().as_ref() {
                    reporter.wake();
                }
            }
        },
        token.clone(),
    ));
    let rotation = LogRotation {
        max_size: Quantity::parse(&config.container_log_max_size)
            .map_err(|error| {
                fail(format!(
                    "failed to parse container log max size {:?}: {error}",
                    config.container_log_max_size
                ))
            })?
            .value(),
        max_files: usize::try_from(config.container_log_max_files.unwrap_or(5)).unwrap_or(5),
        interval: config
            .container_log_monitor_interval
            .as_ref()
            .map_or(Duration::from_secs(10), std_duration),
    };
    tokio::spawn(rotation.run(runtime, token.clone()));
    component_base::notify::ready();
    kubelet
        .clone()
        .run(
            LoopInputs {
                sources,
                config: PodConfig::new(&expected),
                pleg: pleg_events,
            },
            token.clone(),
        )
        .await;
    // The sender outlives the loop: a closed channel would end it.
    drop(source_events);
    drop(health);
    Ok(())
}

fn spawn_informer<T: api_types::Resource + client::cache::Cacheable>(
    client: &Client,
    token: &CancellationToken,
) -> SharedInformer<T> {
    let informer = SharedInformer::<T>::new(client, ListScope::default(), Duration::ZERO);
    let (runner, token) = (informer.clone(), token.clone());
    tokio::spawn(async move { runner.run(token).await });
    informer
}

/// The kubelet itself must survive when memory runs out.
fn set_oom_score(score: i32) {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        tracing::info!(%error, score, "Failed to ApplyOOMScoreAdj");
    }
}

/// The certificate of our server, when the API server is to sign it.
fn serving_certificate(
    options: &Options,
    client: Option<&Client>,
    kubelet: &Kubelet,
    token: &CancellationToken,
) -> Result<Option<CertificateSlot>, Error> {
    let config = &options.config;
    let (Some(client), true, true) = (
        client,
        config.server_tls_bootstrap,
        config.tls_cert_file.is_empty(),
    ) else {
        return Ok(None);
    };
    let node = &kubelet.options.node;
    let mut names = Vec::new();
    let mut addresses = node.node_ips().to_vec();
    match node.hostname.parse() {
        Ok(address) => addresses.push(address),
        Err(_) => names.push(node.hostname.clone()),
    }
    addresses.sort_by_key(ToString::to_string);
    addresses.dedup();
    let wanted = Wanted::serving(&node.name, names, addresses);
    let slot = CertificateSlot::default();
    let rotation = Rotation::of_server(client.clone(), wanted, &options.cert_dir, slot.clone())
        .map_err(|error| {
            fail(format!(
                "failed to initialize server certificate store: {error}"
            ))
        })?;
    tokio::spawn(rotation.run(token.clone()));
    Ok(Some(slot))
}

/// Serves /healthz where only the node itself can ask.
fn serve_health(
    options: &Options,
    kubelet: &Arc<Kubelet>,
    token: &CancellationToken,
) -> Result<Option<tokio::task::JoinHandle<()>>, Error> {
    let port = options.config.healthz_port.unwrap_or(0);
    let Some(port) = u16::try_from(port).ok().filter(|port| *port > 0) else {
        return Ok(None);
    };
    let ip: std::net::IpAddr = options.config.healthz_bind_address.parse().map_err(|_| {
        fail(format!(
            "invalid healthzBindAddress {:?}",
            options.config.healthz_bind_address
        ))
    })?;
    let looped = kubelet.clone();
    let checks = Arc::new(healthz::HealthChecks::new(
        "/healthz",
        [
            healthz::ping(),
            healthz::log(),
            healthz::named_check("syncloop", move || looped.sync_loop_healthy()),
        ],
    ));
    let listener = component_base::serving::bind_plain(std::net::SocketAddr::new(ip, port))?;
    let handler = component_base::serving::handler_fn(move |request| {
        let checks = checks.clone();
        async move {
            checks
                .handle(&request)
                .await
                .unwrap_or_else(component_base::serving::not_found)
        }
    });
    let server = Server::plain(listener);
    let grace = Duration::from_secs(1);
    Ok(Some(server.spawn(Arc::new(handler), token.clone(), grace)))
}

/// Registers the node, reports its status and renews its lease.
fn start_node(
    options: &Options,
    kubelet: &Arc<Kubelet>,
    client: Client,
    node: Arc<NodeInfo>,
    local_storage: bool,
    token: &CancellationToken,
) {
    let config = &options.config;
    let registration = Registration {
        register: config.register_node == Some(true),
        labels: options.node_labels.clone(),
        taints: config.register_with_taints.clone(),
        provider_id: config.provider_id.clone(),
        external_cloud: options.external_cloud,
        controller_attach_detach: config.enable_controller_attach_detach == Some(true),
        port: config.port,
        max_images: config.node_status_max_images.unwrap_or(50),
        local_storage,
        declared_features: DECLARED_FEATURES
            .iter()
            .filter(|name| options.features.enabled(name))
            .map(|name| (*name).to_owned())
            .collect(),
    };
    let reporter = NodeReporter::new(
        client.clone(),
        node.clone(),
        kubelet.recorder.clone(),
        registration,
        kubelet.clone(),
        std_duration(&config.node_status_update_frequency),
        std_duration(&config.node_status_report_frequency),
    );
    *kubelet.reporter.lock() = Some(reporter.clone());
    watch_node(&client, node.clone(), token.clone());
    tokio::spawn(reporter.run(token.clone()));
    // The lease must not wait behind other requests: a late renewal looks like a dead node.
    let unlimited = client.without_rate_limit();
    tokio::spawn(renew_lease(
        unlimited,
        node,
        config.node_lease_duration_seconds,
        token.clone(),
    ));
}
