//! One worker per pod: syncing, then terminating, then terminated, and never back.
//!
//! Upstream: `pkg/kubelet/pod_workers.go`. The worker of a pod calls the syncer with the newest update and a runtime status
//! newer than its last call; updates that arrive meanwhile replace each other. Invariants:
//! - a pod that was asked to end never starts anything again, even if its object comes back;
//! - a pod is terminated only after its containers were seen stopped;
//! - two static pods of one name do not run at once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use api_types::core::v1::{Pod, PodStatus as ApiPodStatus};
use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::container::{PodStatus, RuntimePod, State, pod_full_name};
use crate::events::{Kind, Recorder};
use crate::metrics::Metrics;
use crate::pleg::PodCache;
use crate::sources::is_static_pod;

/// Retry delay after a failure.
const BACK_OFF_PERIOD: Duration = Duration::from_secs(10);
/// Retry delay when only the node's network is not ready yet.
const TRANSIENT_BACK_OFF: Duration = Duration::from_secs(1);

/// What an update is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateType {
    /// The pod is new.
    Create,
    /// Its object changed.
    Update,
    /// A look at it is due.
    Sync,
    /// It is to end.
    Kill,
}

impl UpdateType {
    fn as_str(self) -> &'static str {
        match self {
            UpdateType::Create => "create",
            UpdateType::Update => "update",
            UpdateType::Sync => "sync",
            UpdateType::Kill => "kill",
        }
    }
}

/// Changes the status of a pod that is being killed, for example to say that it was evicted.
pub type StatusFunction = Arc<dyn Fn(&mut ApiPodStatus) + Send + Sync>;

/// How to end a pod.
#[derive(Default)]
pub struct KillOptions {
    /// Told when the containers have stopped.
    pub completed: Option<oneshot::Sender<()>>,
    /// The kubelet evicts it.
    pub evict: bool,
    /// Applied to the status.
    pub status: Option<StatusFunction>,
    /// Grace period in seconds instead of the pod's.
    pub grace_period: Option<i64>,
}

/// A pod, or what is left of one in the runtime.
#[derive(Clone)]
pub enum Subject {
    /// A pod with its object, and its mirror if it is static.
    Pod(Arc<Pod>, Option<Arc<Pod>>),
    /// Containers whose pod nobody knows.
    Runtime(Arc<RuntimePod>),
}

impl Subject {
    fn uid(&self) -> &str {
        match self {
            Subject::Pod(pod, _) => &pod.metadata.uid,
            Subject::Runtime(pod) => &pod.uid,
        }
    }
}

/// A failed sync.
#[derive(Clone, Debug, Default)]
pub struct SyncError {
    /// For the log.
    pub message: String,
    /// No use to retry before this.
    pub retry_at: Option<Timestamp>,
    /// Only the network of the node is missing.
    pub network_not_ready: bool,
    /// The sync was told to stop.
    pub cancelled: bool,
}

impl<T: Into<String>> From<T> for SyncError {
    fn from(message: T) -> Self {
        SyncError {
            message: message.into(),
            ..Default::default()
        }
    }
}

/// Does the work of each phase. Implemented by the kubelet.
pub trait PodSyncer: Send + Sync {
    /// Brings the pod to its spec. Answers whether it has ended by itself.
    fn sync_pod<'a>(
        &'a self,
        update: UpdateType,
        pod: &'a Arc<Pod>,
        mirror: Option<&'a Arc<Pod>>,
        status: &'a PodStatus,
        token: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<bool, SyncError>>;
    /// Stops the pod's containers.
    fn sync_terminating_pod<'a>(
        &'a self,
        pod: &'a Arc<Pod>,
        status: &'a PodStatus,
        grace_period: Option<i64>,
        change_status: Option<StatusFunction>,
    ) -> BoxFuture<'a, Result<(), SyncError>>;
    /// Stops containers without a pod.
    fn sync_terminating_runtime_pod<'a>(
        &'a self,
        pod: &'a RuntimePod,
    ) -> BoxFuture<'a, Result<(), SyncError>>;
    /// Cleans up after a stopped pod.
    fn sync_terminated_pod<'a>(
        &'a self,
        pod: &'a Arc<Pod>,
        status: &'a PodStatus,
        token: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), SyncError>>;
    /// The next status of the pod should come soon.
    fn request_relist(&self, uid: &str);
    /// The pod with the resources it was granted, which need not be those its spec asks for.
    fn allocated(&self, pod: &Arc<Pod>) -> Arc<Pod>;
}

/// Phase of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkerState {
    /// The pod runs, or is about to.
    Syncing,
    /// Its containers are being stopped.
    Terminating,
    /// They have stopped.
    Terminated,
}

/// A worker as housekeeping sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerSummary {
    /// Phase.
    pub state: WorkerState,
    /// Its pod is not in the config any more.
    pub orphan: bool,
    /// There is a pod object.
    pub has_config: bool,
    /// It is a static pod.
    pub is_static: bool,
}

struct PendingUpdate {
    update: UpdateType,
    subject: Subject,
    start: Option<Instant>,
}

struct PodState {
    full_name: String,
    started: bool,
    terminating: bool,
    started_terminating: bool,
    terminated: bool,
    finished: bool,
    deleted: bool,
    evicted: bool,
    restart_requested: bool,
    observed_runtime: bool,
    grace_period: i64,
    completed: Vec<oneshot::Sender<()>>,
    status_function: Option<StatusFunction>,
    pending: Option<PendingUpdate>,
    active: Option<(UpdateType, Subject)>,
    cancel: Option<CancellationToken>,
    wake: Arc<Notify>,
    has_worker: bool,
}

impl PodState {
    fn new(full_name: String) -> Self {
        PodState {
            full_name,
            started: false,
            terminating: false,
            started_terminating: false,
            terminated: false,
            finished: false,
            deleted: false,
            evicted: false,
            restart_requested: false,
            observed_runtime: false,
            grace_period: 0,
            completed: Vec::new(),
            status_function: None,
            pending: None,
            active: None,
            cancel: None,
            wake: Arc::new(Notify::new()),
            has_worker: false,
        }
    }

    fn work(&self) -> WorkerState {
        if self.terminated {
            WorkerState::Terminated
        } else if self.terminating {
            WorkerState::Terminating
        } else {
            WorkerState::Syncing
        }
    }

    fn current_pod(&self) -> Option<(Arc<Pod>, Option<Arc<Pod>>)> {
        let pending = self.pending.as_ref().map(|pending| &pending.subject);
        let active = self.active.as_ref().map(|(_, subject)| subject);
        [pending, active]
            .into_iter()
            .flatten()
            .find_map(|subject| match subject {
                Subject::Pod(pod, mirror) => Some((pod.clone(), mirror.clone())),
                Subject::Runtime(_) => None,
            })
    }

    /// Has the worker run once more with what it had.
    fn requeue(&mut self) {
        if self.pending.is_none()
            && let Some((update, subject)) = self.active.clone()
        {
            self.pending = Some(PendingUpdate {
                update,
                subject,
                start: None,
            });
            self.wake.notify_one();
        }
    }
}

#[derive(Default)]
struct Shared {
    pods: HashMap<String, PodState>,
    /// Housekeeping has compared workers with the config at least once.
    synced: bool,
    /// UID of the static pod that runs under a full name.
    started_static: HashMap<String, String>,
    waiting_static: HashMap<String, VecDeque<String>>,
}

/// When pods are due for a look.
#[derive(Default)]
pub struct WorkQueue {
    due: Mutex<HashMap<String, Instant>>,
}

impl WorkQueue {
    fn enqueue(&self, uid: &str, delay: Duration) {
        self.due
            .lock()
            .insert(uid.to_owned(), Instant::now() + delay);
    }

    /// Pods that are due; they leave the queue.
    pub fn take_due(&self) -> HashSet<String> {
        let now = Instant::now();
        let mut due = self.due.lock();
        let ready: HashSet<String> = due
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(uid, _)| uid.clone())
            .collect();
        due.retain(|uid, _| !ready.contains(uid));
        ready
    }
}

/// A delay with up to `factor` of it added at random.
fn jitter(delay: Duration, factor: f64) -> Duration {
    delay.mul_f64(1.0 + rand::random::<f64>() * factor)
}

/// The grace period to use, in seconds, and whether it is shorter than the one in use.
fn effective_grace_period(state: &PodState, pod: &Pod, options: &KillOptions) -> (i64, bool) {
    let mut grace = state.grace_period;
    let mut overridden = false;
    for candidate in [
        pod.metadata.deletion_grace_period_seconds,
        options.grace_period,
    ]
    .into_iter()
    .flatten()
    {
        if grace == 0 || candidate < grace {
            grace = candidate;
            overridden = true;
        }
    }
    if !overridden && grace == 0 {
        grace = pod.spec.termination_grace_period_seconds.unwrap_or(0);
    }
    // Zero would be a kill without any warning.
    let grace = grace.max(1);
    (
        grace,
        state.grace_period != 0 && state.grace_period != grace,
    )
}

fn nothing_runs(status: &PodStatus) -> bool {
    status
        .containers
        .iter()
        .all(|container| container.state != State::Running)
        && status.sandboxes.iter().all(|sandbox| !sandbox.ready)
}

/// The workers.
pub struct PodWorkers {
    shared: Mutex<Shared>,
    syncer: OnceLock<Arc<dyn PodSyncer>>,
    cache: Arc<PodCache>,
    recorder: Arc<Recorder>,
    metrics: Arc<Metrics>,
    /// Pods that are due for a look.
    pub queue: WorkQueue,
    resync_interval: Duration,
    token: CancellationToken,
}

impl PodWorkers {
    /// No workers yet; all end with the token.
    #[must_use]
    pub fn new(
        cache: Arc<PodCache>,
        recorder: Arc<Recorder>,
        metrics: Arc<Metrics>,
        resync_interval: Duration,
        token: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(PodWorkers {
            shared: Mutex::default(),
            syncer: OnceLock::new(),
            cache,
            recorder,
            metrics,
            queue: WorkQueue::default(),
            resync_interval,
            token,
        })
    }

    /// Sets who does the work; before the first update.
    pub fn set_syncer(&self, syncer: Arc<dyn PodSyncer>) {
        // A second syncer is ignored: there is one kubelet.
        let _ = self.syncer.set(syncer);
    }

    /// Hands an update to the pod's worker, starting it if there is none.
    pub fn update(
        self: &Arc<Self>,
        update: UpdateType,
        subject: Subject,
        kill: Option<KillOptions>,
    ) {
        let uid = subject.uid().to_owned();
        let mut shared = self.shared.lock();
        let shared = &mut *shared;
        let is_runtime = matches!(subject, Subject::Runtime(_));
        let first_time = !shared.pods.contains_key(&uid);
        if first_time {
            let mut state = PodState::new(match &subject {
                Subject::Pod(pod, _) => pod_full_name(pod),
                Subject::Runtime(pod) => format!("{}_{}", pod.name, pod.namespace),
            });
            if let Subject::Pod(pod, _) = &subject
                && matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
                && self
                    .cache
                    .get(&uid)
                    .is_ok_and(|status| nothing_runs(&status))
            {
                // It ended before this kubelet started: only the cleaning up is left.
                state.terminating = true;
                state.started_terminating = true;
                state.terminated = true;
            }
            shared.pods.insert(uid.clone(), state);
        }
        let Some(state) = shared.pods.get_mut(&uid) else {
            return;
        };

        let mut subject = subject;
        if is_runtime {
            state.observed_runtime = true;
            // The worker knows the pod object: it can do better than without.
            if let Some((pod, mirror)) = state.current_pod() {
                subject = Subject::Pod(pod, mirror);
            }
        }
        let pod = match &subject {
            Subject::Pod(pod, _) => pod.clone(),
            Subject::Runtime(runtime) => Arc::new(runtime.to_api_pod()),
        };
        if !first_time && state.terminating && update == UpdateType::Create {
            // The same pod came back before it ended: it must end first, then housekeeping starts it anew.
            state.restart_requested = true;
            return;
        }
        if state.finished {
            if let Some(done) = kill.and_then(|kill| kill.completed) {
                let _ = done.send(());
            }
            return;
        }

        let mut became_terminating = false;
        if !state.terminating {
            let evict = kill.as_ref().is_some_and(|kill| kill.evict);
            if is_runtime || pod.metadata.deletion_timestamp.is_some() {
                state.deleted = true;
                became_terminating = true;
            } else if matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") {
                became_terminating = true;
            } else if update == UpdateType::Kill {
                state.evicted = evict;
                became_terminating = true;
            }
            state.terminating = became_terminating;
        }

        let mut grace_shortened = false;
        if state.terminated {
            if is_runtime {
                return;
            }
            if let Some(done) = kill.and_then(|kill| kill.completed) {
                let _ = done.send(());
            }
        } else if state.terminating {
            let mut kill = kill.unwrap_or_default();
            state.completed.extend(kill.completed.take());
            if kill.status.is_some() {
                state.status_function = kill.status.take();
            }
            let (grace, shortened) = effective_grace_period(state, &pod, &kill);
            grace_shortened = shortened;
            state.grace_period = grace;
        } else if let Some(done) = kill.and_then(|kill| kill.completed) {
            let _ = done.send(());
        }

        let start = state
            .pending
            .as_ref()
            .and_then(|pending| pending.start)
            .or_else(|| Some(Instant::now()));
        if let (Subject::Pod(pod, _), Some(syncer)) = (&mut subject, self.syncer.get()) {
            *pod = syncer.allocated(pod);
        }
        state.pending = Some(PendingUpdate {
            update,
            subject,
            start,
        });
        if !state.has_worker {
            state.has_worker = true;
            if is_static_pod(&pod) {
                shared
                    .waiting_static
                    .entry(state.full_name.clone())
                    .or_default()
                    .push_back(uid.clone());
            }
            tokio::spawn(self.clone().run_worker(uid, state.wake.clone()));
        }
        state.wake.notify_one();
        if (became_terminating || grace_shortened)
            && let Some(cancel) = &state.cancel
        {
            cancel.cancel();
        }
    }

    /// Whether a static pod may run: no other of its name does, and it waited longest.
    fn may_start(shared: &mut Shared, uid: &str, full_name: &str) -> bool {
        if let Some(started) = shared.started_static.get(full_name) {
            return started == uid;
        }
        let waiting = shared
            .waiting_static
            .entry(full_name.to_owned())
            .or_default();
        while let Some(first) = waiting.front() {
            if shared.pods.get(first).is_none_or(|state| state.terminating) {
                waiting.pop_front();
                continue;
            }
            if first != uid {
                return false;
            }
            waiting.pop_front();
            break;
        }
        if waiting.is_empty() {
            shared.waiting_static.remove(full_name);
        }
        shared
            .started_static
            .insert(full_name.to_owned(), uid.to_owned());
        true
    }

    /// Takes the pending update. `None` when there is nothing to do now; `Err` when the worker is to end.
    #[expect(
        clippy::type_complexity,
        reason = "one caller takes the parts apart at once"
    )]
    fn take_work(
        &self,
        uid: &str,
    ) -> Result<
        Option<(
            WorkerState,
            PendingUpdate,
            CancellationToken,
            i64,
            Option<StatusFunction>,
        )>,
        (),
    > {
        let mut shared = self.shared.lock();
        let shared = &mut *shared;
        let Some(state) = shared.pods.get(uid) else {
            return Err(());
        };
        let Some(pending) = &state.pending else {
            return Ok(None);
        };
        if !state.started
            && let Subject::Pod(pod, _) = &pending.subject
            && is_static_pod(pod)
        {
            if state.terminating {
                // It never ran: nothing to stop or clean up.
                let full_name = state.full_name.clone();
                if let Some(state) = shared.pods.get_mut(uid) {
                    state.finished = true;
                    state.terminated = true;
                    state.has_worker = false;
                    state.completed.drain(..).for_each(|done| {
                        let _ = done.send(());
                    });
                }
                if shared
                    .started_static
                    .get(&full_name)
                    .is_some_and(|started| started == uid)
                {
                    shared.started_static.remove(&full_name);
                }
                return Err(());
            }
            let full_name = state.full_name.clone();
            if !Self::may_start(shared, uid, &full_name) {
                self.queue.enqueue(uid, jitter(BACK_OFF_PERIOD, 0.5));
                return Ok(None);
            }
        }
        let Some(state) = shared.pods.get_mut(uid) else {
            return Err(());
        };
        let Some(pending) = state.pending.take() else {
            return Ok(None);
        };
        let is_runtime = matches!(pending.subject, Subject::Runtime(_));
        if !is_runtime {
            state.started = true;
        }
        state.active = Some((pending.update, pending.subject.clone()));
        let cancel = self.token.child_token();
        state.cancel = Some(cancel.clone());
        let work = state.work();
        if work == WorkerState::Terminating {
            state.started_terminating = true;
        }
        Ok(Some((
            work,
            pending,
            cancel,
            state.grace_period,
            state.status_function.clone(),
        )))
    }

    async fn run_worker(self: Arc<Self>, uid: String, wake: Arc<Notify>) {
        let mut last_sync = Timestamp::UNIX_EPOCH;
        loop {
            tokio::select! {
                () = self.token.cancelled() => return,
                () = wake.notified() => {}
            }
            loop {
                let (work, pending, cancel, grace, change_status) = match self.take_work(&uid) {
                    Ok(Some(parts)) => parts,
                    Ok(None) => break,
                    Err(()) => return,
                };
                let outcome = self
                    .work(work, &pending, &cancel, grace, change_status, last_sync)
                    .await;
                last_sync = Timestamp::now();
                let label = if work == WorkerState::Terminated {
                    "terminated"
                } else {
                    pending.update.as_str()
                };
                if let Some(start) = pending.start {
                    self.metrics
                        .pod_worker_duration
                        .with_label_values(&[label])
                        .observe(start.elapsed().as_secs_f64());
                }
                if self.complete(&uid, work, &pending.subject, outcome) {
                    return;
                }
            }
        }
    }

    async fn work(
        &self,
        work: WorkerState,
        pending: &PendingUpdate,
        cancel: &CancellationToken,
        grace: i64,
        change_status: Option<StatusFunction>,
        last_sync: Timestamp,
    ) -> Result<bool, SyncError> {
        let Some(syncer) = self.syncer.get() else {
            return Err("the kubelet is not ready".into());
        };
        let (pod, mirror) = match &pending.subject {
            Subject::Runtime(pod) => {
                syncer.sync_terminating_runtime_pod(pod).await?;
                return Ok(false);
            }
            Subject::Pod(pod, mirror) => (pod, mirror.as_ref()),
        };
        let status = tokio::select! {
            () = self.token.cancelled() => return Err(SyncError { cancelled: true, ..Default::default() }),
            status = self.cache.get_newer_than(&pod.metadata.uid, last_sync) => status,
        };
        let status = status.map_err(|error| {
            self.recorder.pod(
                pod,
                Kind::Warning,
                "FailedSync",
                &format!("error determining status: {error}"),
            );
            SyncError::from(error)
        })?;
        // The syncer changes addresses in its copy only.
        match work {
            WorkerState::Syncing => {
                syncer
                    .sync_pod(pending.update, pod, mirror, &status, cancel)
                    .await
            }
            WorkerState::Terminating => {
                let grace = (grace > 0).then_some(grace);
                syncer
                    .sync_terminating_pod(pod, &status, grace, change_status)
                    .await
                    .map(|()| false)
            }
            WorkerState::Terminated => syncer
                .sync_terminated_pod(pod, &status, cancel)
                .await
                .map(|()| false),
        }
    }

    /// Books the outcome. Answers whether the worker ends.
    fn complete(
        &self,
        uid: &str,
        work: WorkerState,
        subject: &Subject,
        outcome: Result<bool, SyncError>,
    ) -> bool {
        let mut shared = self.shared.lock();
        let shared = &mut *shared;
        let Some(state) = shared.pods.get_mut(uid) else {
            return true;
        };
        state.cancel = None;
        match outcome {
            Ok(_) if work == WorkerState::Terminated => {
                state.finished = true;
                state.has_worker = false;
                state.pending = None;
                let full_name = state.full_name.clone();
                Self::release_static(shared, uid, &full_name);
                return true;
            }
            Ok(_) if matches!(subject, Subject::Runtime(_)) => {
                let full_name = state.full_name.clone();
                shared.pods.remove(uid);
                Self::release_static(shared, uid, &full_name);
                return true;
            }
            Ok(ended) => {
                if work == WorkerState::Terminating {
                    state.terminated = true;
                    state.completed.drain(..).for_each(|done| {
                        let _ = done.send(());
                    });
                    state.status_function = None;
                } else if ended {
                    state.terminating = true;
                    state.started_terminating = true;
                }
                if work == WorkerState::Terminating || ended {
                    // On to the next phase at once, with a fresh status.
                    state.requeue();
                    if let Some(syncer) = self.syncer.get() {
                        syncer.request_relist(uid);
                    }
                } else {
                    self.queue.enqueue(uid, jitter(self.resync_interval, 0.5));
                }
            }
            Err(error) => {
                if error.cancelled {
                    self.queue.enqueue(uid, jitter(BACK_OFF_PERIOD, 0.5));
                } else {
                    tracing::error!(pod = %uid, error = %error.message, "Error syncing pod, skipping");
                    let delay = if error.network_not_ready {
                        TRANSIENT_BACK_OFF
                    } else if let Some(at) = error.retry_at {
                        at.duration_since(Timestamp::now())
                            .try_into()
                            .unwrap_or(Duration::ZERO)
                            .min(self.resync_interval)
                    } else {
                        BACK_OFF_PERIOD.min(self.resync_interval)
                    };
                    self.queue.enqueue(uid, jitter(delay, 0.5));
                }
            }
        }
        false
    }

    fn release_static(shared: &mut Shared, uid: &str, full_name: &str) {
        if shared
            .started_static
            .get(full_name)
            .is_some_and(|started| started == uid)
        {
            shared.started_static.remove(full_name);
        }
    }

    /// Compares workers with the pods in the config: finished ones are forgotten, orphans told to end.
    pub fn sync_known_pods(&self, desired: &HashSet<String>) -> HashMap<String, WorkerSummary> {
        let mut shared = self.shared.lock();
        let shared = &mut *shared;
        shared.synced = true;
        let uids: Vec<String> = shared.pods.keys().cloned().collect();
        let mut summary = HashMap::new();
        for uid in uids {
            let orphan = !desired.contains(&uid);
            let Some(state) = shared.pods.get_mut(&uid) else {
                continue;
            };
            if (state.restart_requested || orphan) && Self::forget_or_end(state, orphan) {
                let full_name = state.full_name.clone();
                // The worker, if there is one, finds its pod gone and ends.
                state.wake.notify_one();
                shared.pods.remove(&uid);
                Self::release_static(shared, &uid, &full_name);
                continue;
            }
            let pod = state.current_pod();
            summary.insert(
                uid,
                WorkerSummary {
                    state: state.work(),
                    orphan,
                    has_config: pod.is_some(),
                    is_static: pod.is_some_and(|(pod, _)| is_static_pod(&pod)),
                },
            );
        }
        summary
    }

    /// Whether the worker's state can go; an orphan that is still working is told to end instead.
    fn forget_or_end(state: &mut PodState, orphan: bool) -> bool {
        if state.finished {
            return true;
        }
        if !orphan {
            return false;
        }
        state.deleted = true;
        if !state.started && !state.observed_runtime {
            return true;
        }
        if !state.terminating {
            state.terminating = true;
            if let Some((pod, _)) = state.current_pod() {
                state.grace_period = effective_grace_period(state, &pod, &KillOptions::default()).0;
            } else {
                state.grace_period = 1;
            }
        }
        state.requeue();
        false
    }

    fn with<R>(
        &self,
        uid: &str,
        unknown: impl FnOnce(&Shared) -> R,
        known: impl FnOnce(&PodState) -> R,
    ) -> R {
        let shared = self.shared.lock();
        match shared.pods.get(uid) {
            Some(state) => known(state),
            None => unknown(&shared),
        }
    }

    /// The pod has ended and was cleaned up, or never ran here.
    #[must_use]
    pub fn is_known_terminated(&self, uid: &str) -> bool {
        self.with(uid, |_| false, |state| state.terminated)
    }

    /// The pod may have containers that run: unknown pods before the first housekeeping, and those not yet terminated.
    #[must_use]
    pub fn could_have_running_containers(&self, uid: &str) -> bool {
        self.with(uid, |shared| !shared.synced, |state| !state.terminated)
    }

    /// The pod is over and everything of it was cleaned up.
    #[must_use]
    pub fn should_be_finished(&self, uid: &str) -> bool {
        self.with(uid, |shared| shared.synced, |state| state.finished)
    }

    /// The pod is to end, or has ended, or is not known.
    #[must_use]
    pub fn is_termination_requested(&self, uid: &str) -> bool {
        self.with(uid, |_| false, |state| state.terminating)
    }

    /// Containers of the pod are being stopped, or should be.
    #[must_use]
    pub fn should_containers_be_terminating(&self, uid: &str) -> bool {
        self.with(
            uid,
            |shared| shared.synced,
            |state| state.started_terminating,
        )
    }

    /// What is left of the pod in the runtime may be removed.
    #[must_use]
    pub fn should_runtime_be_removed(&self, uid: &str) -> bool {
        self.with(uid, |shared| shared.synced, |state| state.terminated)
    }

    /// Everything of the pod may be removed: it was deleted or evicted and has ended.
    #[must_use]
    pub fn should_content_be_removed(&self, uid: &str) -> bool {
        self.with(
            uid,
            |shared| shared.synced,
            |state| (state.evicted || state.deleted) && state.terminated,
        )
    }

    /// The static pod of that full name is ending.
    #[must_use]
    pub fn is_static_terminating(&self, full_name: &str) -> bool {
        let shared = self.shared.lock();
        shared
            .started_static
            .get(full_name)
            .and_then(|uid| shared.pods.get(uid))
            .is_some_and(|state| state.terminating && !state.terminated)
    }

    /// Ends a pod now and waits for it, as eviction does.
    ///
    /// # Errors
    /// When it did not end in its time.
    pub async fn kill_now(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        evict: bool,
        grace_period: Option<i64>,
        status: Option<StatusFunction>,
    ) -> Result<(), String> {
        let grace = grace_period
            .or(pod.spec.termination_grace_period_seconds)
            .unwrap_or(0);
        let limit = Duration::from_secs(u64::try_from(grace + grace / 2).unwrap_or(0).max(10));
        let (done, finished) = oneshot::channel();
        self.update(
            UpdateType::Kill,
            Subject::Pod(pod.clone(), None),
            Some(KillOptions {
                completed: Some(done),
                evict,
                status,
                grace_period,
            }),
        );
        match tokio::time::timeout(limit, finished).await {
            Ok(_) => Ok(()),
            Err(_) => {
                self.recorder.pod(
                    pod,
                    Kind::Warning,
                    "ExceededGracePeriod",
                    "Container runtime did not kill the pod within specified grace period.",
                );
                Err("timeout waiting to kill pod".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests;
