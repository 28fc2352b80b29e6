//! The main loop: pods from the sources, events of the runtime, results of probes and timers become work of pod workers.
//!
//! Upstream: `pkg/kubelet/kubelet.go`, `syncLoop`. The loop itself never waits for a pod.

mod api_status;
mod cleanup;
mod reasons;
mod resize;
mod runtime_state;
mod syncer;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::core::v1::{
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, Pod, PodStatus as ApiPodStatus,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use reasons::ReasonCache;
pub use runtime_state::RuntimeState;

use crate::admission::{Admission, matches_node};
use crate::allocation::{AllocationManager, Trigger};
use crate::backoff::Backoff;
use crate::events::{Kind, Recorder};
use crate::eviction::EvictionManager;
use crate::images::gc::ImageGc;
use crate::metrics::Metrics;
use crate::node::status::Pressure;
use crate::node::{NodeConditions, NodeReporter};
use crate::objects::ObjectManager;
use crate::pleg::{Event, Pleg, PodCache, PodEvent};
use crate::pod_manager::PodManager;
use crate::pod_options::{HandlerFeatures, PodOptions, PodStates};
use crate::pod_resources::qos_class;
use crate::pod_workers::{PodWorkers, Subject, UpdateType};
use crate::prober::ProbeManager;
use crate::prober::results::{ProbeResult, Update};
use crate::runtime::Runtime;
use crate::runtime::gc::GcPolicy;
use crate::sources::{MirrorClient, Op, PodConfig, SourceEvent};
use crate::status::{DeletionSafety, StatusManager, needs_readiness_reconcile};

const HOUSEKEEPING_PERIOD: Duration = Duration::from_secs(2);
const SYNC_PERIOD: Duration = Duration::from_secs(1);
const RUNTIME_CHECK_PERIOD: Duration = Duration::from_secs(5);
/// Until runtime and network work for the first time, and for this long at most, the runtime is asked more often: nothing can
/// run before. Upstream: `fastStatusUpdateOnce`.
const RUNTIME_START_PERIOD: Duration = Duration::from_millis(100);
const RUNTIME_START_LIMIT: Duration = Duration::from_secs(120);
const CONTAINER_GC_PERIOD: Duration = Duration::from_secs(60);
const IMAGE_GC_PERIOD: Duration = Duration::from_secs(300);
const IMAGE_LIST_PERIOD: Duration = Duration::from_secs(30);

/// Removes the folders of all pods but the given ones; answers what could not be removed. Blocks.
pub type OrphanCleaner = Arc<dyn Fn(&HashSet<String>) -> Vec<String> + Send + Sync>;

/// The parts of a kubelet, wired by [`crate::app`].
pub struct Kubelet {
    /// Containers and sandboxes.
    pub runtime: Arc<Runtime>,
    /// The node's side of pods.
    pub options: Arc<PodOptions>,
    /// ConfigMaps and Secrets.
    pub objects: Arc<ObjectManager>,
    /// Pods to run.
    pub pods: Arc<PodManager>,
    /// One worker per pod.
    pub workers: Arc<PodWorkers>,
    /// Statuses.
    pub status: Arc<StatusManager>,
    /// Probes.
    pub probes: Arc<ProbeManager>,
    /// Lists of the runtime.
    pub pleg: Arc<Pleg>,
    /// Statuses of the runtime.
    pub cache: Arc<PodCache>,
    /// Failed starts.
    pub reasons: ReasonCache,
    /// Whether runtime and network work.
    pub runtime_state: RuntimeState,
    /// Delays of crashing containers.
    pub crash_loop: Backoff,
    /// Mirror pods.
    pub mirrors: MirrorClient,
    /// Who may run here.
    pub admission: Admission,
    /// What pods were granted.
    pub allocation: Arc<AllocationManager>,
    /// Who must leave.
    pub eviction: Arc<EvictionManager>,
    /// Unused images.
    pub image_gc: Arc<ImageGc>,
    /// Dead containers.
    pub gc_policy: GcPolicy,
    /// Events.
    pub recorder: Arc<Recorder>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// There is an API server.
    pub has_api_server: bool,
    /// Sources have told all they had.
    pub sources_ready: Mutex<bool>,
    /// When the loop last turned.
    pub last_loop: Mutex<Option<Instant>>,
    /// Folders of pods that are gone.
    pub orphans: OrphanCleaner,
    /// Reports the node; told when the runtime's state changes.
    pub reporter: Mutex<Option<Arc<NodeReporter>>>,
}

/// What wakes the loop.
pub struct LoopInputs {
    /// Changes of pods.
    pub sources: mpsc::UnboundedReceiver<SourceEvent>,
    /// Merges them.
    pub config: PodConfig,
    /// Changes in the runtime.
    pub pleg: mpsc::Receiver<PodEvent>,
}

impl Kubelet {
    /// Whether everything the kubelet should know of has been told.
    #[must_use]
    pub fn all_sources_ready(&self) -> bool {
        *self.sources_ready.lock()
    }

    /// Pods that use resources of the node.
    #[must_use]
    pub fn active_pods(&self) -> Vec<Arc<Pod>> {
        self.pods
            .pods()
            .into_iter()
            .filter(|pod| !self.is_inactive(pod))
            .collect()
    }

    /// Pods that use resources of the node, with what they were granted.
    #[must_use]
    pub fn allocated_pods(&self) -> Vec<Arc<Pod>> {
        self.allocation.allocated_pods(&self.active_pods())
    }

    fn is_inactive(&self, pod: &Pod) -> bool {
        let uid = &pod.metadata.uid;
        if self.workers.is_known_terminated(uid) {
            return true;
        }
        let over = |phase: &str| matches!(phase, "Succeeded" | "Failed");
        let terminal = over(&pod.status.phase)
            || self
                .status
                .get(uid)
                .is_some_and(|status| over(&status.phase));
        terminal && !self.workers.is_termination_requested(uid)
    }

    /// Whether the loop turns.
    ///
    /// # Errors
    /// With the text of the `syncloop` health check.
    pub fn sync_loop_healthy(&self) -> Result<(), String> {
        match *self.last_loop.lock() {
            Some(last) if last.elapsed() > Duration::from_secs(300) => {
                Err("sync Loop took longer than expected".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Runs until the token ends it.
    pub async fn run(self: Arc<Self>, mut inputs: LoopInputs, token: CancellationToken) {
        let (Some(mut liveness), Some(mut readiness), Some(mut startup)) = (
            self.probes.liveness.take_updates(),
            self.probes.readiness.take_updates(),
            self.probes.startup.take_updates(),
        ) else {
            tracing::error!("The sync loop was started twice");
            return;
        };
        self.clone().spawn_periodic(&token);
        let mut sync = tokio::time::interval(SYNC_PERIOD);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING_PERIOD);
        for ticks in [&mut sync, &mut housekeeping] {
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let mut wait = Duration::from_millis(100);
        tracing::info!("Starting kubelet main sync loop");
        loop {
            if let Some(error) = self.runtime_state.runtime_errors() {
                tracing::error!(%error, "Skipping pod synchronization");
                tokio::select! {
                    () = token.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
                wait = (wait * 2).min(Duration::from_secs(5));
                continue;
            }
            wait = Duration::from_millis(100);
            *self.last_loop.lock() = Some(Instant::now());
            tokio::select! {
                () = token.cancelled() => return,
                event = inputs.sources.recv() => match event {
                    Some(event) => {
                        if let Some((op, pod)) = inputs.config.apply(event) {
                            if matches!(op, Op::Add) {
                                self.know_labels_for(&pod).await;
                            }
                            self.handle(op, pod);
                        }
                        *self.sources_ready.lock() = inputs.config.all_ready();
                    }
                    None => {
                        tracing::error!("Update channel is closed, exiting the sync loop");
                        return;
                    }
                },
                Some(event) = inputs.pleg.recv() => self.handle_runtime_event(&event).await,
                _ = sync.tick() => self.sync_due(),
                Some(update) = liveness.recv() => {
                    if update.result == ProbeResult::Failure {
                        self.sync_pod_of(&update);
                    }
                }
                Some(update) = readiness.recv() => {
                    let ready = update.result == ProbeResult::Success;
                    self.status.set_container_readiness(&update.pod_uid, &update.container, ready);
                    self.sync_pod_of(&update);
                }
                Some(update) = startup.recv() => {
                    let started = update.result == ProbeResult::Success;
                    self.status.set_container_startup(&update.pod_uid, &update.container, started);
                    self.sync_pod_of(&update);
                }
                _ = housekeeping.tick() => {
                    if self.all_sources_ready() {
                        self.housekeeping().await;
                    }
                }
            }
        }
    }

    fn spawn_periodic(self: Arc<Self>, token: &CancellationToken) {
        async fn every<F: Future<Output = ()>>(
            period: Duration,
            token: CancellationToken,
            mut work: impl FnMut() -> F,
        ) {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = token.cancelled() => return,
                    _ = ticks.tick() => work().await,
                }
            }
        }
        let (kubelet, ended) = (self.clone(), token.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = kubelet.check_runtime_often() => {}
            }
            every(RUNTIME_CHECK_PERIOD, ended, move || {
                let kubelet = kubelet.clone();
                async move { kubelet.check_runtime().await }
            })
            .await;
        });
        let kubelet = self.clone();
        tokio::spawn(every(CONTAINER_GC_PERIOD, token.clone(), move || {
            let kubelet = kubelet.clone();
            async move { kubelet.collect_containers().await }
        }));
        let (kubelet, ended) = (self.clone(), token.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = kubelet.retry_resizes() => {}
            }
        });
        let kubelet = self.clone();
        tokio::spawn(every(IMAGE_LIST_PERIOD, token.clone(), move || {
            let kubelet = kubelet.clone();
            async move {
                if let Err(error) = kubelet.image_gc.detect(jiff::Timestamp::now()).await {
                    tracing::info!(%error, "Failed to monitor images");
                }
            }
        }));
        let kubelet = self;
        tokio::spawn(every(IMAGE_GC_PERIOD, token.clone(), move || {
            let kubelet = kubelet.clone();
            async move { kubelet.collect_images().await }
        }));
    }

    /// Until the runtime works.
    async fn check_runtime_often(&self) {
        let started = Instant::now();
        while started.elapsed() < RUNTIME_START_LIMIT {
            self.check_runtime().await;
            let state = &self.runtime_state;
            if state.runtime_errors().is_none() && state.network_error().is_none() {
                return;
            }
            tokio::time::sleep(RUNTIME_START_PERIOD).await;
        }
    }

    async fn check_runtime(&self) {
        match self.runtime.cri().status(false).await {
            Ok(status) => {
                let before = (
                    self.runtime_state.runtime_errors(),
                    self.runtime_state.network_error(),
                );
                self.runtime_state.update(&status);
                let features = status
                    .runtime_handlers
                    .iter()
                    .map(|handler| {
                        let features = handler.features.as_ref();
                        let features = HandlerFeatures {
                            recursive_read_only_mounts: features
                                .is_some_and(|features| features.recursive_read_only_mounts),
                            user_namespaces: features
                                .is_some_and(|features| features.user_namespaces),
                        };
                        (handler.name.clone(), features)
                    })
                    .collect();
                self.options.handlers.store(Arc::new(features));
                let after = (
                    self.runtime_state.runtime_errors(),
                    self.runtime_state.network_error(),
                );
                if before != after
                    && let Some(reporter) = self.reporter.lock().as_ref()
                {
                    reporter.wake();
                }
            }
            Err(error) => tracing::error!(%error, "Container runtime sanity check failed"),
        }
    }

    async fn collect_containers(&self) {
        if let Err(error) = self
            .runtime
            .garbage_collect(self.gc_policy, self.all_sources_ready(), false)
            .await
        {
            tracing::error!(%error, "Container garbage collection failed");
            self.recorder
                .node(Kind::Warning, "ContainerGCFailed", &error);
        }
    }

    async fn collect_images(&self) {
        let Some(fs) = self.eviction.image_fs().await else {
            return;
        };
        if let Err(error) = self.image_gc.collect(fs).await {
            tracing::error!(%error, "Image garbage collection failed");
            self.recorder.node(Kind::Warning, "ImageGCFailed", &error);
        }
    }

    fn handle(self: &Arc<Self>, op: Op, pod: Arc<Pod>) {
        match op {
            Op::Add => self.add(pod),
            Op::Update | Op::Delete => self.update(pod),
            Op::Remove => self.remove(pod),
            Op::Reconcile => self.reconcile(pod),
        }
    }

    /// The scheduler may have seen labels of this node that the watch has not brought yet: a pod that does not match is a
    /// reason to read the Node anew before the pod is refused. Upstream: `getNodeAnyWay` in `predicateAdmitHandler`.
    async fn know_labels_for(&self, pod: &Pod) {
        if matches_node(pod, &self.options.node) {
            return;
        }
        let reporter = self.reporter.lock().clone();
        if let Some(reporter) = reporter
            && let Err(error) = reporter.refresh().await
        {
            tracing::error!(pod = %pod.metadata.name, %error, "Cannot read the Node to check the pod's affinity");
        }
    }

    fn add(&self, pod: Arc<Pod>) {
        self.pods.update(&pod);
        let (pod, mirror, was_mirror) = self.pods.pod_and_mirror(&pod);
        let Some(pod) = pod else { return };
        if was_mirror {
            self.workers
                .update(UpdateType::Update, Subject::Pod(pod, mirror), None);
            return;
        }
        let over = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        let admit = !over && !self.workers.is_termination_requested(&pod.metadata.uid);
        if admit && let Err(rejection) = self.allocation.add_pod(self, &pod) {
            self.reject(&pod, &rejection.reason, &rejection.message);
            self.metrics
                .admission_rejections
                .with_label_values(&[rejection.metric_label()])
                .inc();
            return;
        }
        self.status.resize.backfill(&pod);
        let waits = admit && self.allocation.pending_allocation(&pod).is_some();
        let uid = pod.metadata.uid.clone();
        self.workers
            .update(UpdateType::Create, Subject::Pod(pod, mirror), None);
        if waits {
            self.allocation.push_pending(self, &uid);
            self.allocation.retry_pending(self, Trigger::PodsAdded);
        }
    }

    /// Refuses a pod for good.
    fn reject(&self, pod: &Arc<Pod>, reason: &str, message: &str) {
        self.recorder.pod(pod, Kind::Warning, reason, message);
        let status = ApiPodStatus {
            qos_class: qos_class(pod).as_str().to_owned(),
            phase: "Failed".to_owned(),
            reason: reason.to_owned(),
            message: format!("Pod was rejected: {message}"),
            ..Default::default()
        };
        self.status.set(pod, status);
    }

    fn update(&self, pod: Arc<Pod>) {
        let old = self.pods.by_uid(&pod.metadata.uid);
        self.pods.update(&pod);
        if let (Some(pod), mirror, _) = self.pods.pod_and_mirror(&pod) {
            self.resize_if_changed(old.as_ref(), &pod);
            self.workers
                .update(UpdateType::Update, Subject::Pod(pod, mirror), None);
        }
    }

    fn remove(&self, pod: Arc<Pod>) {
        self.end(pod);
        self.allocation.retry_pending(self, Trigger::PodsRemoved);
    }

    fn end(&self, pod: Arc<Pod>) {
        self.pods.remove(&pod);
        self.allocation.remove_pod(&pod.metadata.uid);
        let (found, mirror, was_mirror) = self.pods.pod_and_mirror(&pod);
        if was_mirror {
            // The static pod is still there: it wants its mirror back.
            if let Some(pod) = found {
                let _ = mirror;
                self.workers
                    .update(UpdateType::Update, Subject::Pod(pod, None), None);
            }
            return;
        }
        // Before all sources are there the pod may only seem to be gone.
        if self.all_sources_ready() {
            self.workers
                .update(UpdateType::Kill, Subject::Pod(pod, mirror), None);
        }
    }

    fn reconcile(&self, pod: Arc<Pod>) {
        let old = self.pods.by_uid(&pod.metadata.uid);
        self.pods.update(&pod);
        let (Some(pod), mirror, _) = self.pods.pod_and_mirror(&pod) else {
            return;
        };
        self.retry_if_freed(old.as_ref(), &pod);
        if needs_readiness_reconcile(&pod) {
            self.workers
                .update(UpdateType::Sync, Subject::Pod(pod, mirror), None);
        }
    }

    fn sync_now(&self, pod: &Arc<Pod>) {
        if let (Some(pod), mirror, false) = self.pods.pod_and_mirror(pod) {
            self.workers
                .update(UpdateType::Sync, Subject::Pod(pod, mirror), None);
        }
    }

    fn sync_pod_of(&self, update: &Update) {
        if let Some(pod) = self.pods.by_uid(&update.pod_uid) {
            self.sync_now(&pod);
        }
    }

    fn sync_due(&self) {
        let due = self.workers.queue.take_due();
        for pod in self.pods.pods() {
            let overdue = || {
                let status = self.status.get(&pod.metadata.uid);
                let over = status
                    .as_ref()
                    .is_some_and(|status| matches!(status.phase.as_str(), "Succeeded" | "Failed"));
                !over && self.exceeds_active_deadline(&pod, &pod.status).is_some()
            };
            if due.contains(&pod.metadata.uid) || overdue() {
                self.sync_now(&pod);
            }
        }
    }

    async fn handle_runtime_event(&self, event: &PodEvent) {
        if let Some(pod) = self.pods.by_uid(&event.uid) {
            self.sync_now(&pod);
        }
        if event.event == Event::Died {
            self.remove_dead_containers(&event.uid, &event.container)
                .await;
        }
    }
}

impl PodStates for Kubelet {
    fn is_termination_requested(&self, uid: &str) -> bool {
        self.workers.is_termination_requested(uid)
    }

    fn should_content_be_removed(&self, uid: &str) -> bool {
        self.workers.should_content_be_removed(uid)
    }

    fn should_runtime_be_removed(&self, uid: &str) -> bool {
        self.workers.should_runtime_be_removed(uid)
    }

    fn on_sandbox_ready<'a>(&'a self, pod: &'a Pod) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // The status with the sandbox in it: images may take long to pull.
            let found = self.runtime.pod(&pod.metadata.uid).await;
            if let Ok(Some(found)) = found
                && let Ok(status) = self.runtime.pod_status(&found).await
            {
                let status = self.api_status(pod, &status, false);
                self.status.set(pod, status);
            }
        })
    }
}

impl DeletionSafety for Kubelet {
    fn could_have_running_containers(&self, uid: &str) -> bool {
        self.workers.could_have_running_containers(uid)
    }
}

impl NodeConditions for Kubelet {
    fn not_ready(&self) -> Vec<String> {
        self.runtime_state
            .runtime_errors()
            .into_iter()
            .chain(self.runtime_state.network_error())
            .collect()
    }

    fn under_pressure(&self, pressure: Pressure) -> bool {
        self.eviction.under_pressure(pressure)
    }

    fn images(&self) -> Vec<crate::cri::v1::Image> {
        self.image_gc.cached_images()
    }

    fn volumes_in_use(&self) -> Vec<String> {
        self.options.volumes.volumes_in_use()
    }

    fn volumes_reported(&self, volumes: &[String]) {
        self.options
            .volumes
            .mark_volumes_as_reported_in_use(volumes);
    }

    fn runtime_handlers(&self) -> Vec<NodeRuntimeHandler> {
        self.runtime_state
            .handlers()
            .into_iter()
            .map(|handler| NodeRuntimeHandler {
                name: handler.name,
                features: handler.features.map(|features| {
                    Box::new(NodeRuntimeHandlerFeatures {
                        recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
                        user_namespaces: Some(features.user_namespaces),
                    })
                }),
            })
            .collect()
    }

    fn supplemental_groups_policy(&self) -> Option<bool> {
        self.runtime_state.supplemental_groups_policy()
    }
}
