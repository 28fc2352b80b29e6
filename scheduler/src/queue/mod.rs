//! Pods that wait for a node. Upstream: pkg/scheduler/backend/queue.
//!
//! A pod is in exactly one of: the active queue (ordered by the QueueSort plugin), the backoff queue (was turned down lately, or failed
//! with an error), the unschedulable pods (waits for an event that may make it fit, or is gated), or in flight (being scheduled). Events move it:
//! each plugin that turned a pod down says which changes concern it and judges them ([`HintFn`](crate::framework::event::HintFn)).
//!
//! Invariant: a popped pod stays in flight until [`SchedulingQueue::done`] or [`SchedulingQueue::add_unschedulable`]; events of that time are replayed.

mod heap;
mod in_flight;
mod nominator;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api_types::core::v1::Pod;
use client::cache::Lister;
use parking_lot::{Condvar, Mutex};
use tokio_util::sync::CancellationToken;

use self::heap::Heap;
use self::in_flight::InFlight;
use self::nominator::Nominator;
use crate::framework::event::{
    Change, ClusterEvent, Hint, HintFn, pod_scheduling_properties_change,
};
use crate::framework::plugin::{NominatingInfo, PreEnqueue, QueueSort};
use crate::framework::pod_info::{PodInfo, full_name};
use crate::framework::runtime::Framework;
use crate::framework::status::code_of;
use crate::metrics::Metrics;

/// Nanoseconds since 1970, of the wall clock: backoff ends on whole seconds.
pub type Nanos = i64;

const SECOND: Nanos = 1_000_000_000;
/// Backoff expiry is rounded down to this, so that pods of one window are ordered by priority.
const ORDERING_WINDOW: Nanos = SECOND;
/// How often pods that wait too long are looked for.
const FLUSH_UNSCHEDULABLE_PERIOD: Duration = Duration::from_secs(30);

/// Labels of moves that no cluster event caused.
const SCHEDULE_ATTEMPT_FAILURE: &str = "ScheduleAttemptFailure";
const BACKOFF_COMPLETE: &str = "BackoffComplete";
const POP_FROM_BACKOFF_Q: &str = "PopFromBackoffQ";

/// A pod with its history of attempts. Upstream: `QueuedPodInfo`.
#[derive(Clone, Debug)]
pub struct QueuedPodInfo {
    /// `namespace/name`.
    pub key: String,
    pub pod: Arc<PodInfo>,
    /// When it came into the queue, or was turned down last.
    pub timestamp: Nanos,
    /// How often it was tried.
    pub attempts: u32,
    /// How often it was turned down.
    pub unschedulable_count: u32,
    /// How often in a row something went wrong.
    pub consecutive_errors: u32,
    /// Whether it was moved here because it waited too long.
    pub was_flushed: bool,
    /// When it was first let into the active queue.
    pub initial_attempt: Option<Nanos>,
    /// Plugins that turned it down.
    pub unschedulable_plugins: BTreeSet<&'static str>,
    /// Plugins that wait for something outside.
    pub pending_plugins: BTreeSet<&'static str>,
    /// The PreEnqueue plugin that keeps it out, or "".
    pub gating_plugin: &'static str,
    /// Computed when first needed after an attempt.
    backoff_expiration: Option<Nanos>,
}

impl QueuedPodInfo {
    /// A pod that has not been tried yet.
    pub fn new(pod: Arc<PodInfo>, now: Nanos) -> Self {
        Self {
            key: pod.full_name(),
            pod,
            timestamp: now,
            attempts: 0,
            unschedulable_count: 0,
            consecutive_errors: 0,
            was_flushed: false,
            initial_attempt: None,
            unschedulable_plugins: BTreeSet::new(),
            pending_plugins: BTreeSet::new(),
            gating_plugin: "",
            backoff_expiration: None,
        }
    }

    /// Whether a PreEnqueue plugin keeps it out.
    pub fn is_gated(&self) -> bool {
        !self.gating_plugin.is_empty()
    }

    /// Forgets who turned it down.
    pub fn clear_rejector_plugins(&mut self) {
        self.unschedulable_plugins.clear();
        self.pending_plugins.clear();
        self.gating_plugin = "";
    }

    fn rejectors(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.unschedulable_plugins
            .union(&self.pending_plugins)
            .copied()
    }

    fn is_rejected(&self) -> bool {
        !self.unschedulable_plugins.is_empty() || !self.pending_plugins.is_empty()
    }
}

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Nanos + Send + Sync>;

/// The wall clock.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
            })
    })
}

/// What profiles' plugins contribute.
#[derive(Default)]
pub struct ProfileHooks {
    pub pre_enqueue: Vec<Arc<dyn PreEnqueue>>,
    /// Per plugin, what it registered for.
    pub hints: Vec<(ClusterEvent, &'static str, Option<HintFn>)>,
}

impl ProfileHooks {
    /// What a profile's plugins contribute. Profiles with extenders hear of everything on their behalf: extenders cannot register.
    pub fn of(framework: &Framework) -> Self {
        let hints = framework
            .events()
            .iter()
            .flat_map(|(plugin, events)| {
                events
                    .iter()
                    .map(|event| (event.event, *plugin, event.hint.clone()))
            })
            .collect();
        Self {
            pre_enqueue: framework.pre_enqueue().to_vec(),
            hints,
        }
    }
}

/// How the queue behaves.
pub struct Options {
    pub initial_backoff: Duration,
    pub max_backoff: Duration,
    pub max_in_unschedulable_pods: Duration,
    pub clock: Clock,
    /// Profiles by scheduler name.
    pub profiles: HashMap<String, ProfileHooks>,
    pub queue_sort: Arc<dyn QueueSort>,
    pub pods: Option<Lister<Pod>>,
    pub metrics: Metrics,
}

/// Where a pod went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    Backoff,
    Unschedulable,
}

/// What an event means for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strategy {
    Skip,
    AfterBackoff,
    Immediately,
}

/// Pods that wait for an event, with the number of those that are gated.
#[derive(Default)]
struct UnschedulablePods {
    pods: HashMap<String, QueuedPodInfo>,
    gated: usize,
}

impl UnschedulablePods {
    fn insert(&mut self, pod: QueuedPodInfo) {
        self.gated += usize::from(pod.is_gated());
        if let Some(old) = self.pods.insert(pod.key.clone(), pod) {
            self.gated -= usize::from(old.is_gated());
        }
    }

    fn remove(&mut self, key: &str) -> Option<QueuedPodInfo> {
        let pod = self.pods.remove(key)?;
        self.gated -= usize::from(pod.is_gated());
        Some(pod)
    }
}

struct State {
    active: Heap,
    backoff: Heap,
    error_backoff: Heap,
    unschedulable: UnschedulablePods,
    in_flight: InFlight,
    closed: bool,
}

/// The queue.
pub struct SchedulingQueue {
    state: Mutex<State>,
    changed: Condvar,
    nominator: Nominator,
    options: Options,
}

impl SchedulingQueue {
    /// An empty queue.
    pub fn new(options: Options) -> Self {
        Self {
            state: Mutex::new(State {
                active: Heap::default(),
                backoff: Heap::default(),
                error_backoff: Heap::default(),
                unschedulable: UnschedulablePods::default(),
                in_flight: InFlight::new(options.metrics.in_flight_events.clone()),
                closed: false,
            }),
            changed: Condvar::new(),
            nominator: Nominator::new(options.pods.clone()),
            options,
        }
    }

    fn now(&self) -> Nanos {
        (self.options.clock)()
    }

    /// Moves pods whose backoff or whose patience is over, until told to stop.
    pub async fn run(&self, stop: &CancellationToken) {
        let window = Duration::from_nanos(ORDERING_WINDOW as u64);
        let into_window = Duration::from_nanos((self.now() % ORDERING_WINDOW) as u64);
        let now = tokio::time::Instant::now();
        let mut backoff = tokio::time::interval_at(now + (window - into_window), window);
        let mut leftover = tokio::time::interval(FLUSH_UNSCHEDULABLE_PERIOD);
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.close(),
                _ = backoff.tick() => self.flush_backoff_completed(),
                _ = leftover.tick() => self.flush_unschedulable_leftover(),
            }
        }
    }

    /// No more pods are given out.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    // What the scheduling loop calls.

    /// The next pod to be scheduled; waits for one. `None` once the queue is closed.
    pub fn pop(&self) -> Option<QueuedPodInfo> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(pod) = self.pop_locked(&mut state) {
                return Some(pod);
            }
            self.changed.wait(&mut state);
        }
    }

    /// The next pod, if there is one.
    pub fn try_pop(&self) -> Option<QueuedPodInfo> {
        self.pop_locked(&mut self.state.lock())
    }

    fn pop_locked(&self, state: &mut State) -> Option<QueuedPodInfo> {
        loop {
            let mut pod = match state.active.pop(&|a, b| self.less(a, b)) {
                Some(pod) => pod,
                None => {
                    // Nothing better to do: a pod need not wait for its backoff to end, unless it failed with an error.
                    let pod = state.backoff.pop(&|a, b| self.less_backoff(a, b))?;
                    self.incoming("active", POP_FROM_BACKOFF_Q);
                    pod
                }
            };
            pod.attempts += 1;
            if !state.in_flight.start(pod.pod.uid()) {
                tracing::error!(
                    pod = pod.key,
                    "The same pod is tracked in multiple places in the scheduler, discarding it"
                );
                continue;
            }
            self.count_rejectors(&pod, -1.0);
            self.observe_sizes(state);
            return Some(pod);
        }
    }

    /// The pod needs no events any more: it is bound, or gone.
    pub fn done(&self, uid: &str) {
        self.state.lock().in_flight.done(uid);
    }

    /// Takes back a pod that was turned down or failed. It goes to where the events since it was popped send it.
    pub fn add_unschedulable(&self, mut pod: QueuedPodInfo) -> Result<(), String> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let uid = pod.pod.uid().to_owned();
        let result = self.add_unschedulable_locked(state, &mut pod);
        state.in_flight.done(&uid);
        self.observe_sizes(state);
        result
    }

    fn add_unschedulable_locked(
        &self,
        state: &mut State,
        pod: &mut QueuedPodInfo,
    ) -> Result<(), String> {
        let present = if state.unschedulable.pods.contains_key(&pod.key) {
            Some("unschedulable")
        } else if state.active.contains(&pod.key) {
            Some("the active")
        } else if state.backoff.contains(&pod.key) || state.error_backoff.contains(&pod.key) {
            Some("the backoff")
        } else {
            None
        };
        if let Some(queue) = present {
            return Err(format!(
                "Pod {} is already present in {queue} queue",
                pod.key
            ));
        }
        if pod.is_rejected() {
            pod.unschedulable_count += 1;
            pod.consecutive_errors = 0;
        } else {
            pod.consecutive_errors += 1;
        }
        pod.timestamp = self.now();
        pod.backoff_expiration = None;
        pod.was_flushed = false;
        self.count_rejectors(pod, 1.0);
        let strategy = self.strategy_after_flight(state, pod);
        let place = self.requeue(state, pod.clone(), strategy, SCHEDULE_ATTEMPT_FAILURE);
        tracing::debug!(v = 3, pod = pod.key, queue = ?place, "Pod moved to an internal scheduling queue");
        if place != Place::Unschedulable {
            self.changed.notify_all();
        }
        Ok(())
    }

    fn strategy_after_flight(&self, state: &State, pod: &QueuedPodInfo) -> Strategy {
        if !pod.is_rejected() {
            return Strategy::AfterBackoff;
        }
        let Some(events) = state.in_flight.events_for(pod.pod.uid()) else {
            tracing::error!(
                pod = pod.key,
                "In flight Pod isn't found in the scheduling queue"
            );
            return Strategy::AfterBackoff;
        };
        let mut strategy = Strategy::Skip;
        for (event, change) in &events {
            match self.is_worth_requeuing(pod, event, change) {
                Strategy::Skip => {}
                Strategy::Immediately => return Strategy::Immediately,
                Strategy::AfterBackoff => {
                    strategy = Strategy::AfterBackoff;
                    if pod.pending_plugins.is_empty() {
                        break;
                    }
                }
            }
        }
        strategy
    }

    // What informers call.

    /// A pod without a node came.
    pub fn add(&self, pod: Arc<Pod>) {
        let pod = QueuedPodInfo::new(Arc::new(PodInfo::new(pod)), self.now());
        let mut state = self.state.lock();
        if self.move_to_active(
            &mut state,
            pod,
            &ClusterEvent::UNSCHEDULED_POD_ADD.label(),
            false,
        ) {
            self.changed.notify_all();
        }
        self.observe_sizes(&state);
    }

    /// A pod without a node changed.
    pub fn update(&self, old: &Arc<Pod>, new: &Arc<Pod>) {
        let mut state = self.state.lock();
        self.update_locked(&mut state, old, new);
        self.observe_sizes(&state);
    }

    fn update_locked(&self, state: &mut State, old: &Arc<Pod>, new: &Arc<Pod>) {
        let events = pod_scheduling_properties_change(new, old);
        let change = Change::updated(old, new);
        if state.in_flight.contains(&new.metadata.uid) {
            for event in events {
                state.in_flight.note(event, &change);
            }
            return;
        }
        let key = full_name(new);
        if let Some(mut pod) = state.active.remove(&key, &|a, b| self.less(a, b)) {
            pod.pod = Arc::new(pod.pod.updated(new.clone()));
            self.nominator.update(old, &pod.pod);
            state.active.push(pod, &|a, b| self.less(a, b));
            return;
        }
        if let Some(mut pod) = state.backoff.remove(&key, &|a, b| self.less_backoff(a, b)) {
            pod.pod = Arc::new(pod.pod.updated(new.clone()));
            self.nominator.update(old, &pod.pod);
            state.backoff.push(pod, &|a, b| self.less_backoff(a, b));
            return;
        }
        if let Some(mut pod) = state
            .error_backoff
            .remove(&key, &|a, b| self.less_expiration(a, b))
        {
            pod.pod = Arc::new(pod.pod.updated(new.clone()));
            self.nominator.update(old, &pod.pod);
            state
                .error_backoff
                .push(pod, &|a, b| self.less_expiration(a, b));
            return;
        }
        if let Some(pod) = state.unschedulable.pods.get_mut(&key) {
            pod.pod = Arc::new(pod.pod.updated(new.clone()));
            self.nominator.update(old, &pod.pod);
            let pod = pod.clone();
            for event in events {
                // The plugin that gates a pod sees its updates through PreEnqueue as well as through hints.
                let strategy = self.is_worth_requeuing(&pod, &event, &change);
                let place = self.requeue(state, pod.clone(), strategy, &event.label());
                if place != Place::Unschedulable {
                    self.changed.notify_all();
                    break;
                }
            }
            return;
        }
        let pod = QueuedPodInfo::new(Arc::new(PodInfo::new(new.clone())), self.now());
        if self.move_to_active(
            state,
            pod,
            &ClusterEvent::UNSCHEDULED_POD_UPDATE.label(),
            false,
        ) {
            self.changed.notify_all();
        }
    }

    /// A pod without a node is gone, or has a node now.
    pub fn delete(&self, pod: &Pod) {
        let mut state = self.state.lock();
        self.nominator.remove(&pod.metadata.uid);
        let key = full_name(pod);
        let found = state
            .active
            .remove(&key, &|a, b| self.less(a, b))
            .or_else(|| state.backoff.remove(&key, &|a, b| self.less_backoff(a, b)))
            .or_else(|| {
                state
                    .error_backoff
                    .remove(&key, &|a, b| self.less_expiration(a, b))
            })
            .or_else(|| state.unschedulable.remove(&key));
        if let Some(pod) = found {
            self.count_rejectors(&pod, -1.0);
        }
        self.observe_sizes(&state);
    }

    /// Something changed that may make pods fit.
    pub fn move_all(
        &self,
        event: ClusterEvent,
        change: &Change,
        pre_check: Option<&dyn Fn(&Pod) -> bool>,
    ) {
        let mut state = self.state.lock();
        if !self.is_of_interest(&event) {
            return;
        }
        let keys: Vec<String> = state
            .unschedulable
            .pods
            .values()
            .filter(|pod| pre_check.is_none_or(|check| check(&pod.pod.pod)))
            .map(|pod| pod.key.clone())
            .collect();
        self.move_pods(&mut state, keys, event, change);
        self.observe_sizes(&state);
    }

    /// Tries pods again at once, whatever they wait for.
    pub fn activate<'a>(&self, pods: impl IntoIterator<Item = &'a Pod>) {
        let mut state = self.state.lock();
        let mut activated = false;
        for pod in pods {
            let key = full_name(pod);
            if let Some(pod) = state.unschedulable.remove(&key) {
                activated |= self.move_to_active(&mut state, pod, "ForceActivate", false);
                continue;
            }
            let backing_off = state
                .backoff
                .remove(&key, &|a, b| self.less_backoff(a, b))
                .or_else(|| {
                    state
                        .error_backoff
                        .remove(&key, &|a, b| self.less_expiration(a, b))
                });
            match backing_off {
                Some(pod) => {
                    activated |= self.move_to_active(&mut state, pod, "ForceActivate", true);
                }
                None if state.in_flight.contains(&pod.metadata.uid) => {
                    let pod = Arc::new(pod.clone());
                    state
                        .in_flight
                        .note(ClusterEvent::FORCE_ACTIVATE, &Change::added(&pod));
                }
                None => {}
            }
        }
        if activated {
            self.changed.notify_all();
        }
        self.observe_sizes(&state);
    }

    fn flush_backoff_completed(&self) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut completed = Vec::new();
        while state
            .backoff
            .peek()
            .is_some_and(|pod| !self.is_backing_off(pod))
        {
            completed.extend(state.backoff.pop(&|a, b| self.less_backoff(a, b)));
        }
        while state
            .error_backoff
            .peek()
            .is_some_and(|pod| !self.is_backing_off(pod))
        {
            completed.extend(state.error_backoff.pop(&|a, b| self.less_expiration(a, b)));
        }
        let mut activated = false;
        for pod in completed {
            activated |= self.move_to_active(state, pod, BACKOFF_COMPLETE, true);
        }
        if activated {
            self.changed.notify_all();
        }
        self.observe_sizes(state);
    }

    fn flush_unschedulable_leftover(&self) {
        let mut state = self.state.lock();
        let now = self.now();
        let patience = self.options.max_in_unschedulable_pods.as_nanos() as Nanos;
        let mut keys = Vec::new();
        for pod in state.unschedulable.pods.values_mut() {
            if now - pod.timestamp > patience {
                pod.was_flushed = true;
                keys.push(pod.key.clone());
            }
        }
        if !keys.is_empty() {
            let event = ClusterEvent::UNSCHEDULABLE_TIMEOUT;
            self.move_pods(&mut state, keys, event, &Change::default());
        }
        self.observe_sizes(&state);
    }

    // Nominations.

    /// Notes where the pod is nominated to; see [`NominatingInfo`].
    pub fn add_nominated_pod(&self, pod: &Arc<PodInfo>, info: Option<&NominatingInfo>) {
        self.nominator.add(pod, info);
    }

    /// The pod is nominated no more.
    pub fn delete_nominated_pod(&self, uid: &str) {
        self.nominator.remove(uid);
    }

    /// Pods nominated to a node.
    pub fn nominated_pods_for_node(&self, node: &str) -> Vec<Arc<PodInfo>> {
        self.nominator.for_node(node)
    }

    // Orders.

    fn less(&self, a: &QueuedPodInfo, b: &QueuedPodInfo) -> bool {
        self.options.queue_sort.less(a, b)
    }

    fn less_expiration(&self, a: &QueuedPodInfo, b: &QueuedPodInfo) -> bool {
        self.backoff_expiration(a) < self.backoff_expiration(b)
    }

    fn less_backoff(&self, a: &QueuedPodInfo, b: &QueuedPodInfo) -> bool {
        let (at, bt) = (self.backoff_expiration(a), self.backoff_expiration(b));
        if at == bt { self.less(a, b) } else { at < bt }
    }

    /// When the pod may be tried again; zero if there is nothing to wait for.
    fn backoff_expiration(&self, pod: &QueuedPodInfo) -> Nanos {
        if let Some(at) = pod.backoff_expiration {
            return at;
        }
        let max = self.options.max_backoff.as_nanos() as Nanos;
        let count = if pod.consecutive_errors > 0 {
            pod.consecutive_errors
        } else {
            pod.unschedulable_count
        };
        if max == 0 || count == 0 {
            return 0;
        }
        let initial = self.options.initial_backoff.as_nanos() as Nanos;
        let shift = (count - 1).min(62);
        let duration = if initial > max >> shift {
            max
        } else {
            initial << shift
        };
        align(pod.timestamp + duration)
    }

    fn is_backing_off(&self, pod: &QueuedPodInfo) -> bool {
        self.backoff_expiration(pod) >= align(self.now())
    }

    // Moves.

    fn move_pods(
        &self,
        state: &mut State,
        keys: Vec<String>,
        event: ClusterEvent,
        change: &Change,
    ) {
        if !self.is_of_interest(&event) {
            return;
        }
        let mut activated = false;
        for key in keys {
            let Some(pod) = state.unschedulable.pods.get(&key) else {
                continue;
            };
            if pod.is_gated() && !self.is_of_interest_to(pod, &event) {
                continue;
            }
            let strategy = self.is_worth_requeuing(pod, &event, change);
            if strategy == Strategy::Skip {
                continue;
            }
            let Some(pod) = state.unschedulable.remove(&key) else {
                continue;
            };
            let place = self.requeue(state, pod, strategy, &event.label());
            activated |= place != Place::Unschedulable;
        }
        state.in_flight.note(event, change);
        if activated {
            self.changed.notify_all();
        }
    }

    fn requeue(
        &self,
        state: &mut State,
        pod: QueuedPodInfo,
        strategy: Strategy,
        event: &str,
    ) -> Place {
        match strategy {
            Strategy::Skip => {
                self.keep_unschedulable(state, pod, event);
                Place::Unschedulable
            }
            Strategy::AfterBackoff if self.is_backing_off(&pod) => {
                if self.move_to_backoff(state, pod, event) {
                    Place::Backoff
                } else {
                    Place::Unschedulable
                }
            }
            Strategy::AfterBackoff | Strategy::Immediately => {
                if self.move_to_active(state, pod, event, false) {
                    Place::Active
                } else {
                    Place::Unschedulable
                }
            }
        }
    }

    fn keep_unschedulable(&self, state: &mut State, pod: QueuedPodInfo, event: &str) {
        if !state.unschedulable.pods.contains_key(&pod.key) {
            let queue = if pod.is_gated() {
                "gated"
            } else {
                "unschedulable"
            };
            self.incoming(queue, event);
        }
        state.unschedulable.insert(pod);
    }

    /// `false` if the pod turns out to be gated.
    fn move_to_active(
        &self,
        state: &mut State,
        mut pod: QueuedPodInfo,
        event: &str,
        from_backoff: bool,
    ) -> bool {
        // Pods in the backoff queue passed PreEnqueue on their way in.
        if !from_backoff {
            self.run_pre_enqueue(&mut pod);
        }
        if pod.is_gated() {
            if !state.active.contains(&pod.key)
                && !state.backoff.contains(&pod.key)
                && !state.error_backoff.contains(&pod.key)
            {
                self.keep_unschedulable(state, pod, event);
            }
            return false;
        }
        if pod.initial_attempt.is_none() {
            pod.initial_attempt = Some(self.now());
        }
        state.unschedulable.remove(&pod.key);
        let info = pod.pod.clone();
        state.active.push(pod, &|a, b| self.less(a, b));
        self.incoming("active", event);
        if event == "UnschedulablePodAdd" || event == "UnschedulablePodUpdate" {
            self.nominator.add(&info, None);
        }
        true
    }

    /// `false` if the pod turns out to be gated.
    fn move_to_backoff(&self, state: &mut State, mut pod: QueuedPodInfo, event: &str) -> bool {
        self.run_pre_enqueue(&mut pod);
        if pod.is_gated() {
            self.keep_unschedulable(state, pod, event);
            return false;
        }
        state.unschedulable.remove(&pod.key);
        pod.backoff_expiration = Some(self.backoff_expiration(&pod));
        if pod.is_rejected() {
            state.backoff.push(pod, &|a, b| self.less_backoff(a, b));
        } else {
            state
                .error_backoff
                .push(pod, &|a, b| self.less_expiration(a, b));
        }
        self.incoming("backoff", event);
        true
    }

    fn run_pre_enqueue(&self, pod: &mut QueuedPodInfo) {
        let profile = &pod.pod.pod.spec.scheduler_name;
        let Some(hooks) = self.options.profiles.get(profile) else {
            return;
        };
        let start = Instant::now();
        let gating = pod.gating_plugin;
        // The plugin that said no last time is the likeliest to say no again.
        let (first, rest): (Vec<_>, Vec<_>) = hooks
            .pre_enqueue
            .iter()
            .partition(|plugin| plugin.name() == gating);
        let mut verdict = Ok(());
        for plugin in first.into_iter().chain(rest) {
            let name = plugin.name();
            verdict = plugin.pre_enqueue(&pod.pod.pod);
            if let Err(status) = &verdict {
                if !pod.unschedulable_plugins.contains(name) && !pod.pending_plugins.contains(name)
                {
                    self.options
                        .metrics
                        .unschedulable_reason(name, profile)
                        .inc();
                }
                tracing::debug!(v = 4, pod = pod.key, plugin = name, status = %status.message(), "Status after running PreEnqueue plugin");
                pod.unschedulable_plugins.insert(name);
                pod.gating_plugin = name;
                break;
            }
        }
        if verdict.is_ok() {
            pod.gating_plugin = "";
        }
        self.options
            .metrics
            .extension_point_duration
            .with_label_values(&["PreEnqueue", code_of(&verdict).as_str(), profile])
            .observe(start.elapsed().as_secs_f64());
    }

    // Events.

    fn is_of_interest(&self, event: &ClusterEvent) -> bool {
        event.is_wildcard()
            || self
                .options
                .profiles
                .values()
                .any(|hooks| hooks.hints.iter().any(|(to, _, _)| to.covers(event)))
    }

    /// Whether the plugin that gates the pod registered for the event.
    fn is_of_interest_to(&self, pod: &QueuedPodInfo, event: &ClusterEvent) -> bool {
        self.options.profiles.values().any(|hooks| {
            hooks
                .hints
                .iter()
                .any(|(to, plugin, _)| *plugin == pod.gating_plugin && to.covers(event))
        })
    }

    fn is_worth_requeuing(
        &self,
        pod: &QueuedPodInfo,
        event: &ClusterEvent,
        change: &Change,
    ) -> Strategy {
        if !pod.is_rejected() {
            return Strategy::AfterBackoff;
        }
        if event.is_wildcard() {
            // One that is for another pod.
            if let Some(new) = &change.new
                && !matches!(new, crate::framework::event::EventObject::Pod(other)
                    if other.metadata.uid == pod.pod.uid())
            {
                return Strategy::Skip;
            }
            return Strategy::AfterBackoff;
        }
        let profile = &pod.pod.pod.spec.scheduler_name;
        let Some(hooks) = self.options.profiles.get(profile) else {
            return Strategy::AfterBackoff;
        };
        let mut strategy = Strategy::Skip;
        for (registered, plugin, hint) in &hooks.hints {
            let rejected_by_it =
                pod.unschedulable_plugins.contains(plugin) || pod.pending_plugins.contains(plugin);
            if !rejected_by_it || !registered.covers(event) {
                continue;
            }
            let start = Instant::now();
            let result = hint
                .as_ref()
                .map_or(Ok(Hint::Queue), |hint| hint(&pod.pod.pod, change));
            let label = match &result {
                Ok(Hint::Queue) => "Queue",
                Ok(Hint::Skip) => "QueueSkip",
                Err(error) => {
                    tracing::error!(
                        pod = pod.key,
                        plugin,
                        event = event.label(),
                        error,
                        "QueueingHintFn returns error"
                    );
                    "Error"
                }
            };
            self.options
                .metrics
                .queueing_hint_execution_duration
                .with_label_values(&[*plugin, event.label().as_str(), label])
                .observe(start.elapsed().as_secs_f64());
            if result == Ok(Hint::Skip) {
                continue;
            }
            if pod.pending_plugins.contains(plugin) {
                return Strategy::Immediately;
            }
            strategy = Strategy::AfterBackoff;
            if pod.pending_plugins.is_empty() {
                break;
            }
        }
        strategy
    }

    // Metrics.

    fn incoming(&self, queue: &str, event: &str) {
        self.options
            .metrics
            .queue_incoming_pods
            .with_label_values(&[queue, event])
            .inc();
    }

    fn count_rejectors(&self, pod: &QueuedPodInfo, by: f64) {
        let profile = &pod.pod.pod.spec.scheduler_name;
        for plugin in pod.rejectors() {
            self.options
                .metrics
                .unschedulable_reason(plugin, profile)
                .add(by);
        }
    }

    fn observe_sizes(&self, state: &State) {
        let pending = &self.options.metrics.pending_pods;
        pending.active.set(state.active.len() as f64);
        pending
            .backoff
            .set((state.backoff.len() + state.error_backoff.len()) as f64);
        let gated = state.unschedulable.gated;
        pending.gated.set(gated as f64);
        pending
            .unschedulable
            .set((state.unschedulable.pods.len() - gated) as f64);
    }
}

fn align(time: Nanos) -> Nanos {
    time - time.rem_euclid(ORDERING_WINDOW)
}

#[cfg(test)]
pub(crate) mod tests;
