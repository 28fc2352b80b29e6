//! Pod lifecycle event generator: lists the runtime's pods, finds what changed, keeps each pod's status for its worker.
//!
//! Upstream: `pkg/kubelet/pleg/generic.go` and `pkg/kubelet/container/cache.go`. A relist runs every second, and at once when
//! a worker asks or when the runtime sends events. Workers wait here for a status newer than what they did last.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::container::{PodStatus, RuntimePod, State};
use crate::metrics::Metrics;
use crate::runtime::Runtime;

const RELIST_PERIOD: Duration = Duration::from_secs(1);
/// Without a relist for this long the node is not ready.
const RELIST_THRESHOLD: Duration = Duration::from_secs(180);

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A container (or sandbox) runs.
    Started,
    /// It ended.
    Died,
    /// It is gone from the runtime.
    Removed,
    /// The runtime cannot say what it does.
    Changed,
    /// Nothing of the above: the pod was looked at because somebody asked.
    Inspected,
}

/// A change of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// Pod UID.
    pub uid: String,
    /// What changed.
    pub event: Event,
    /// Container or sandbox id.
    pub container: String,
}

struct Cached {
    status: Result<Arc<PodStatus>, String>,
    modified: Timestamp,
}

#[derive(Default)]
struct CacheState {
    pods: HashMap<String, Cached>,
    /// Pods without an entry have nothing in the runtime as of this time.
    timestamp: Option<Timestamp>,
}

/// Statuses of all pods as of the last relist.
pub struct PodCache {
    state: Mutex<CacheState>,
    version: watch::Sender<u64>,
}

impl Default for PodCache {
    fn default() -> Self {
        PodCache {
            state: Mutex::default(),
            version: watch::Sender::new(0),
        }
    }
}

impl PodCache {
    /// The last known status; an empty one for a pod the runtime does not have.
    ///
    /// # Errors
    /// With what the runtime said when it was asked about the pod.
    pub fn get(&self, uid: &str) -> Result<Arc<PodStatus>, String> {
        match self.state.lock().pods.get(uid) {
            Some(cached) => cached.status.clone(),
            None => Ok(Arc::new(PodStatus::empty(
                uid,
                "",
                "",
                Timestamp::UNIX_EPOCH,
            ))),
        }
    }

    /// Waits for a status from after `newer_than`.
    ///
    /// # Errors
    /// As [`PodCache::get`].
    pub async fn get_newer_than(
        &self,
        uid: &str,
        newer_than: Timestamp,
    ) -> Result<Arc<PodStatus>, String> {
        let mut version = self.version.subscribe();
        loop {
            version.mark_unchanged();
            {
                let state = self.state.lock();
                match state.pods.get(uid) {
                    Some(cached)
                        if cached.modified > newer_than
                            || state.timestamp.is_some_and(|time| time > newer_than) =>
                    {
                        return cached.status.clone();
                    }
                    None if state.timestamp.is_some_and(|time| time > newer_than) => {
                        return Ok(Arc::new(PodStatus::empty(uid, "", "", newer_than)));
                    }
                    _ => {}
                }
            }
            if version.changed().await.is_err() {
                return Err("the kubelet is stopping".to_owned());
            }
        }
    }

    fn set(&self, uid: &str, status: Result<Arc<PodStatus>, String>, modified: Timestamp) {
        self.state
            .lock()
            .pods
            .insert(uid.to_owned(), Cached { status, modified });
        self.bump();
    }

    fn delete(&self, uid: &str) {
        self.state.lock().pods.remove(uid);
    }

    fn update_time(&self, timestamp: Timestamp) {
        self.state.lock().timestamp = Some(timestamp);
        self.bump();
    }

    /// A relist that found nothing new.
    #[cfg(test)]
    pub(crate) fn tick_for_tests(&self) {
        self.update_time(Timestamp::now());
    }

    fn bump(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}

/// States of a pod's containers and sandboxes by id.
fn states(pod: Option<&RuntimePod>) -> HashMap<&str, State> {
    pod.into_iter()
        .flat_map(|pod| pod.containers.iter().chain(&pod.sandboxes))
        .map(|container| (container.id.id.as_str(), container.state))
        .collect()
}

/// What changed in one pod between two lists.
fn compare(uid: &str, old: Option<&RuntimePod>, new: Option<&RuntimePod>) -> Vec<PodEvent> {
    let (old, new) = (states(old), states(new));
    let ids: HashSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let mut events = Vec::new();
    for id in ids {
        let mut push = |event| {
            events.push(PodEvent {
                uid: uid.to_owned(),
                event,
                container: id.to_owned(),
            })
        };
        // "Created" is as little known as "unknown".
        let known = |state: Option<&State>| {
            state.map(|state| {
                if *state == State::Created {
                    State::Unknown
                } else {
                    *state
                }
            })
        };
        let (before, after) = (known(old.get(id)), known(new.get(id)));
        if before == after {
            continue;
        }
        match (before, after) {
            (_, Some(State::Running)) => push(Event::Started),
            (_, Some(State::Exited)) => push(Event::Died),
            (_, Some(_)) => push(Event::Changed),
            (Some(State::Exited), None) => push(Event::Removed),
            (_, None) => {
                push(Event::Died);
                push(Event::Removed);
            }
        }
    }
    events
}

/// The generator.
pub struct Pleg {
    runtime: Arc<Runtime>,
    cache: Arc<PodCache>,
    metrics: Arc<Metrics>,
    events: mpsc::Sender<PodEvent>,
    /// Pods to look at in the next relist whether they changed or not.
    requested: Mutex<HashSet<String>>,
    /// Those of which there is to be an event too.
    reinspect: Mutex<HashSet<String>>,
    wake: Notify,
    last: Mutex<Option<Instant>>,
}

impl Pleg {
    /// The generator and the channel of its events.
    #[must_use]
    pub fn new(
        runtime: Arc<Runtime>,
        cache: Arc<PodCache>,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, mpsc::Receiver<PodEvent>) {
        let (events, receiver) = mpsc::channel(1000);
        let pleg = Pleg {
            runtime,
            cache,
            metrics,
            events,
            requested: Mutex::default(),
            reinspect: Mutex::default(),
            wake: Notify::new(),
            last: Mutex::new(None),
        };
        (Arc::new(pleg), receiver)
    }

    /// Looks at the pod at once.
    pub fn request_relist(&self, uid: &str) {
        self.requested.lock().insert(uid.to_owned());
        self.wake.notify_one();
    }

    /// Looks at the pod in the next relist, and has it synced then: something that lists do not show may have changed.
    pub fn request_reinspect(&self, uid: &str) {
        self.reinspect.lock().insert(uid.to_owned());
    }

    /// Whether relists happen.
    ///
    /// # Errors
    /// With upstream's text when the last one is too long ago.
    pub fn healthy(&self) -> Result<(), String> {
        match *self.last.lock() {
            None => Err("pleg has yet to be successful".to_owned()),
            Some(last) if last.elapsed() > RELIST_THRESHOLD => Err(format!(
                "pleg was last seen active {} ago; threshold is 3m0s",
                apimachinery::duration::format(
                    i64::try_from(last.elapsed().as_nanos()).unwrap_or(i64::MAX)
                )
            )),
            Some(_) => Ok(()),
        }
    }

    /// Relists until the token ends it.
    pub async fn run(self: Arc<Self>, token: CancellationToken) {
        tokio::spawn(self.clone().follow_runtime_events(token.clone()));
        let mut ticks = tokio::time::interval(RELIST_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut known: HashMap<String, RuntimePod> = HashMap::new();
        let mut previous: Option<Instant> = None;
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.wake.notified() => {}
            }
            let start = Instant::now();
            if let Some(previous) = previous.replace(start) {
                self.metrics
                    .pleg_relist_interval
                    .observe((start - previous).as_secs_f64());
            }
            self.relist(&mut known).await;
            self.metrics
                .pleg_relist_duration
                .observe(start.elapsed().as_secs_f64());
        }
    }

    /// Wakes the relist when the runtime reports an event. Runtimes without events are left to the timer.
    async fn follow_runtime_events(self: Arc<Self>, token: CancellationToken) {
        loop {
            let stream = tokio::select! {
                () = token.cancelled() => return,
                stream = self.runtime.cri().container_events() => stream,
            };
            match stream {
                Ok(mut stream) => loop {
                    let message = tokio::select! {
                        () = token.cancelled() => return,
                        message = stream.message() => message,
                    };
                    match message {
                        Ok(Some(_)) => self.wake.notify_one(),
                        Ok(None) => break,
                        Err(status) if status.code() == tonic::Code::Unimplemented => return,
                        Err(_) => break,
                    }
                },
                Err(error) if error.is_unimplemented() => return,
                Err(_) => {}
            }
            // The runtime is restarting, or was not up yet.
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(RELIST_PERIOD) => {}
            }
        }
    }

    async fn relist(&self, known: &mut HashMap<String, RuntimePod>) {
        let requested: HashSet<String> = std::mem::take(&mut self.requested.lock());
        let reinspect: HashSet<String> = std::mem::take(&mut self.reinspect.lock());
        let timestamp = Timestamp::now();
        let pods = match self.runtime.list_pods(None, true).await {
            Ok(pods) => pods,
            Err(error) => {
                tracing::error!(%error, "GenericPLEG: Unable to retrieve pods");
                self.requested.lock().extend(requested);
                self.reinspect.lock().extend(reinspect);
                return;
            }
        };
        *self.last.lock() = Some(Instant::now());
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        self.metrics
            .pleg_last_seen
            .set(timestamp.as_second() as f64);
        self.count(&pods);

        let uids: HashSet<String> = known.keys().chain(pods.keys()).cloned().collect();
        for uid in uids {
            let (old, new) = (known.get(&uid), pods.get(&uid));
            let mut events = compare(&uid, old, new);
            if events.is_empty() && reinspect.contains(&uid) {
                events.push(PodEvent {
                    uid: uid.clone(),
                    event: Event::Inspected,
                    container: String::new(),
                });
            }
            if events.is_empty() && !requested.contains(&uid) {
                continue;
            }
            match new {
                Some(pod) => match self.runtime.pod_status(pod).await {
                    Ok(mut status) => {
                        if status.ips.is_empty()
                            && pod
                                .sandboxes
                                .iter()
                                .all(|sandbox| sandbox.state != State::Running)
                        {
                            // A pod keeps its addresses in its status after its sandbox ended.
                            if let Ok(before) = self.cache.get(&uid) {
                                status.ips.clone_from(&before.ips);
                            }
                        }
                        self.cache.set(&uid, Ok(Arc::new(status)), timestamp);
                    }
                    Err(error) => {
                        tracing::debug!(pod = %pod.name, %error, "PLEG: Ignoring events for pod");
                        self.cache.set(&uid, Err(error.to_string()), timestamp);
                        // Looked at again although nothing changes: this change is not yet delivered.
                        self.requested.lock().insert(uid.clone());
                        if reinspect.contains(&uid) {
                            self.reinspect.lock().insert(uid.clone());
                        }
                        continue;
                    }
                },
                None => self.cache.delete(&uid),
            }
            for event in events {
                if event.event == Event::Removed {
                    continue;
                }
                if self.events.try_send(event).is_err() {
                    self.metrics.pleg_discard_events.inc();
                    tracing::error!("Event channel is full, discard this relist() cycle event");
                }
            }
        }
        *known = pods;
        // Pods without changes are as new as this list.
        self.cache.update_time(timestamp);
    }

    fn count(&self, pods: &HashMap<String, RuntimePod>) {
        let running = pods
            .values()
            .filter(|pod| {
                pod.sandboxes
                    .iter()
                    .any(|sandbox| sandbox.state == State::Running)
            })
            .count();
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        self.metrics.running_pods.set(running as f64);
        for state in [
            State::Created,
            State::Running,
            State::Exited,
            State::Unknown,
        ] {
            let count = pods
                .values()
                .flat_map(|pod| &pod.containers)
                .filter(|container| container.state == state)
                .count();
            #[expect(clippy::cast_precision_loss, reason = "counts are small")]
            self.metrics
                .running_containers
                .with_label_values(&[state.to_string().as_str()])
                .set(count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{ContainerId, RuntimeContainer};

    fn pod(containers: &[(&str, State)]) -> RuntimePod {
        RuntimePod {
            uid: "uid".into(),
            name: "pod".into(),
            namespace: "ns".into(),
            created_at: 0,
            containers: containers
                .iter()
                .map(|(id, state)| RuntimeContainer {
                    id: ContainerId {
                        runtime: "fake".into(),
                        id: (*id).into(),
                    },
                    name: (*id).into(),
                    state: *state,
                    hash: 0,
                    sandbox_id: String::new(),
                    image_ref: String::new(),
                    created_at: 0,
                })
                .collect(),
            sandboxes: Vec::new(),
            timestamp: Timestamp::UNIX_EPOCH,
        }
    }

    #[track_caller]
    fn check(old: Option<State>, new: Option<State>, want: &[Event]) {
        let of = |state: Option<State>| state.map(|state| pod(&[("c", state)]));
        let got: Vec<Event> = compare("uid", of(old).as_ref(), of(new).as_ref())
            .into_iter()
            .map(|event| event.event)
            .collect();
        assert_eq!(got, want, "{old:?} -> {new:?}");
    }

    #[test]
    fn transitions() {
        use State::{Created, Exited, Running, Unknown};
        check(None, Some(Running), &[Event::Started]);
        check(None, Some(Exited), &[Event::Died]);
        check(None, Some(Created), &[Event::Changed]);
        check(Some(Running), Some(Exited), &[Event::Died]);
        check(Some(Running), Some(Running), &[]);
        check(Some(Created), Some(Unknown), &[]);
        check(Some(Running), Some(Unknown), &[Event::Changed]);
        check(Some(Exited), None, &[Event::Removed]);
        check(Some(Running), None, &[Event::Died, Event::Removed]);
    }

    #[tokio::test]
    async fn waiting_for_news() {
        let cache = Arc::new(PodCache::default());
        let at = |second| Timestamp::from_second(second).expect("time");
        let waiter = {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get_newer_than("uid", at(10)).await })
        };
        cache.update_time(at(5));
        cache.set(
            "uid",
            Ok(Arc::new(PodStatus::empty("uid", "old", "ns", at(9)))),
            at(9),
        );
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        cache.set(
            "uid",
            Ok(Arc::new(PodStatus::empty("uid", "new", "ns", at(11)))),
            at(11),
        );
        assert_eq!(waiter.await.expect("joined").expect("status").name, "new");
        // A pod the runtime does not have is known not to be there as of the last list.
        cache.update_time(at(12));
        assert!(
            cache
                .get_newer_than("other", at(11))
                .await
                .expect("status")
                .containers
                .is_empty()
        );
    }
}
