//! API priority and fairness: which requests are executed at once, which wait, which are turned away. Upstream:
//! apiserver/pkg/util/flowcontrol and server/filters/priority-and-fairness.go.
//!
//! A request is classified by flow schemas (`classify`), its work is estimated (`work`), and the priority level of its schema
//! gives it seats at once or in its turn (`queue_set` under the lock of `level`). `control` makes levels and schemas of the
//! objects in the cluster and moves seats between levels. A [`Ticket`] gives its seats back when it is dropped, whatever
//! became of the request: a client that goes away takes no seat along.
//!
//! Cost: one lock of the level when a request begins and one when it ends, under which all its metrics are counted too.
//! Classification allocates nothing.

/// Seats for levels by their demand.
mod allocation;
/// Requests to flow schemas.
mod classify;
/// Objects to levels.
mod control;
/// `Retry-After`.
mod dropped;
/// Debug endpoints.
pub mod dump;
/// A level's lock and places in it.
mod level;
mod metrics;
/// Fair queuing.
mod queue_set;
/// Units of work.
mod seats;
/// Shuffle sharding.
mod shuffle;
/// Numbers of a level.
mod stats;
/// Who watches what.
mod watches;
/// Seats of a request.
mod work;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use api_types::Resource as ApiResource;
use api_types::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::registry::follow::{Change, follow};
use crate::registry::table::Resources;
use crate::request::context::RequestContext;
use crate::request::latencies::Latency;
use crate::server::httplog::{Details, Flow};

use control::{BORROWING_PERIOD, Compiled, Control};
use dropped::DroppedRequests;
use level::{Begun, Shared};
use queue_set::{Arrival, Distinguisher};
use work::WorkEstimator;

pub use control::Schema;
pub(crate) use level::READ_WRITE_RATIOS;
pub use level::Ticket;
pub(crate) use metrics::without_levels;
pub(crate) use stats::TimingHistogram;

static FLOW_SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
static PRIORITY_LEVEL_UID: HeaderName =
    HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// No request waits longer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What a server is to allow.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Seats of all levels together.
    pub total: u32,
    /// Requests without a deadline wait a quarter of this.
    pub request_timeout: Duration,
    pub lists_by_size: bool,
    pub watch_list: bool,
}

/// Priority and fairness of one server.
pub struct FlowControl {
    settings: Settings,
    resources: Arc<Resources>,
    shared: Arc<Shared>,
    control: Mutex<Control>,
    compiled: ArcSwap<Compiled>,
    estimator: WorkEstimator,
    dropped: DroppedRequests,
    hasher: RandomState,
}

/// What was decided about a request.
pub struct Admission {
    /// Which it belongs to, for the client to know.
    pub schema: Arc<Schema>,
    /// The request's seats, or for how many seconds the client is to stay away.
    pub outcome: Result<Ticket, u64>,
}

impl Schema {
    /// Names the schema and its level.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        headers.insert(&FLOW_SCHEMA_UID, self.uid.clone());
        headers.insert(&PRIORITY_LEVEL_UID, self.level_uid.clone());
    }
}

impl FlowControl {
    /// One with only the mandatory schemas and levels, until [`Self::start`] has read the others.
    pub fn new(resources: &Arc<Resources>, settings: Settings) -> Arc<FlowControl> {
        let shared = Shared::new();
        let (control, compiled) = Control::new(settings.total, shared.clone());
        Arc::new(FlowControl {
            settings,
            resources: resources.clone(),
            shared,
            control: Mutex::new(control),
            compiled: ArcSwap::from_pointee(compiled),
            estimator: WorkEstimator::new(
                resources.clone(),
                settings.lists_by_size,
                settings.watch_list,
            ),
            dropped: DroppedRequests::default(),
            hasher: RandomState::new(),
        })
    }

    /// What `/metrics` shows of it.
    pub fn collector(self: &Arc<Self>) -> prometheus::Result<Box<dyn prometheus::core::Collector>> {
        Ok(Box::new(metrics::FlowCollector::new(self)?))
    }

    /// Follows the objects and lends seats until `stop`.
    pub fn start(self: &Arc<Self>, stop: CancellationToken) {
        let objects = Arc::new(Objects::default());
        self.follow(&objects, &stop, |objects| &objects.schemas);
        self.follow(&objects, &stop, |objects| &objects.levels);
        let flow = self.clone();
        tokio::spawn(async move {
            let first = Instant::now() + BORROWING_PERIOD;
            let mut lend = tokio::time::interval_at(first, BORROWING_PERIOD);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = objects.changed.notified() => flow.digest(&objects),
                    () = flow.shared.drained.notified() => flow.digest(&objects),
                    _ = lend.tick() => flow.control.lock().lend(true),
                }
            }
        });
    }

    fn follow<T: ApiResource + Clone>(
        &self,
        objects: &Arc<Objects>,
        stop: &CancellationToken,
        part: fn(&Objects) -> &Mutex<Known<T>>,
    ) {
        let Some(resource) = self.resources.get(T::GROUP, T::VERSION, T::PLURAL) else {
            return;
        };
        let objects = objects.clone();
        follow::<T>(resource, stop.clone(), move |change| {
            let mut known = part(&objects).lock();
            match change {
                Change::Set(object) => {
                    known
                        .objects
                        .insert(object.metadata().name.clone(), *object);
                }
                Change::Gone { name, .. } => {
                    known.objects.remove(&name);
                }
                Change::Synced => known.synced = true,
            }
            if known.synced {
                objects.changed.notify_one();
            }
        });
    }

    fn digest(&self, objects: &Objects) {
        let (schemas, levels) = (objects.schemas.lock(), objects.levels.lock());
        if !schemas.synced || !levels.synced {
            return;
        }
        let mut control = self.control.lock();
        let compiled = control.digest(&schemas.objects, &levels.objects);
        self.compiled.store(Arc::new(compiled));
    }

    /// Lets a request in, at once or in its turn, or not.
    pub async fn admit(&self, cx: &Arc<RequestContext>) -> Admission {
        let schema = self.compiled.load().classify(&cx.user, &cx.info).clone();
        let (estimate, watch_count) = self.estimator.estimate(cx, schema.max_seats);
        if let Some(line) = &cx.line {
            line.classified(Flow {
                level: schema.level.name.clone(),
                schema: schema.name.clone(),
                initial_seats: estimate.initial_seats,
                final_seats: estimate.final_seats,
                additional_latency: estimate.additional_latency,
            });
        }
        let flow = match schema.distinguisher {
            Distinguisher::None => "",
            Distinguisher::ByUser => cx.user.name.as_str(),
            Distinguisher::ByNamespace => cx.info.namespace.as_str(),
        };
        let hash = if schema.sharded {
            self.hasher.hash_one((schema.name.as_str(), flow))
        } else {
            0
        };
        let verb = cx.info.verb.as_str();
        let arrival = Arrival {
            schema: schema.place,
            hash,
            estimate,
            watch_count,
            watch: verb == "watch",
            distinguisher: schema.distinguisher,
            context: Arc::downgrade(cx),
        };
        let mutating = !matches!(verb, "get" | "list" | "watch");
        let ticket = match schema.level.begin(arrival, mutating) {
            Begun::Run(ticket) => Some(ticket),
            Begun::Rejected => None,
            Begun::Wait(mut ticket, turn) => {
                let queued = Instant::now();
                let came = ticket.wait(turn, self.longest_wait(cx)).await;
                let latencies = cx.annotations.latencies();
                latencies.add(Latency::QueueWait, queued.elapsed());
                came.then_some(ticket)
            }
        };
        let outcome = ticket.ok_or_else(|| {
            let second = self.shared.clock.now() / 1_000_000_000;
            self.dropped.note(&schema.level.name, second)
        });
        Admission { schema, outcome }
    }

    /// A request may wait for a quarter of its time.
    fn longest_wait(&self, cx: &RequestContext) -> Instant {
        let time = match cx.deadline {
            Some(deadline) => deadline.saturating_duration_since(cx.received),
            None => self.settings.request_timeout,
        };
        cx.received + (time / 4).min(LONGEST_WAIT)
    }

    /// Lets a request keep its seats as long as something works on it: a write that has begun goes on without its client.
    /// A watch keeps them until it has started, and is counted as long as it runs.
    pub fn keep(&self, cx: &RequestContext, ticket: Ticket) {
        cx.place.0.get_or_init(|| {
            if cx.info.verb != "watch" {
                return Kept::Request(Mutex::new(Some(ticket)));
            }
            let since = Instant::now();
            Kept::Watch(Arc::new(WatchPlace {
                ticket: Mutex::new(Some(ticket)),
                line: cx.line.clone().map(|line| (line, since)),
                _tracked: self.estimator.watches.register(&cx.info, &cx.query),
            }))
        });
    }
}

/// All objects, as they were last heard of.
#[derive(Default)]
struct Objects {
    schemas: Mutex<Known<FlowSchema>>,
    levels: Mutex<Known<PriorityLevelConfiguration>>,
    changed: Notify,
}

struct Known<T> {
    objects: BTreeMap<String, T>,
    synced: bool,
}

impl<T> Default for Known<T> {
    fn default() -> Known<T> {
        Known {
            objects: BTreeMap::new(),
            synced: false,
        }
    }
}

/// The place of a watch. Upstream: util/flowcontrol/apf_context.go.
pub struct WatchPlace {
    ticket: Mutex<Option<Ticket>>,
    /// What the log is to say, and since when it is executed.
    line: Option<(Arc<Details>, Instant)>,
    _tracked: Option<watches::TrackedWatch>,
}

impl WatchPlace {
    /// The initial events are out.
    pub fn started(&self) {
        let ticket = self.ticket.lock().take();
        if ticket.is_some()
            && let Some((line, since)) = &self.line
        {
            line.initialized(since.elapsed());
        }
    }
}

/// Where a request's context keeps its place. A copy of the context has none.
#[derive(Default)]
pub struct Place(OnceLock<Kept>);

enum Kept {
    /// Given back with the context.
    Request(Mutex<Option<Ticket>>),
    Watch(Arc<WatchPlace>),
}

impl Place {
    /// The place of a watch.
    pub fn watch(&self) -> Option<Arc<WatchPlace>> {
        match self.0.get()? {
            Kept::Request(_) => None,
            Kept::Watch(place) => Some(place.clone()),
        }
    }
}

impl Place {
    /// Keeps the seats of a request whose answer is still worked on while it is sent, but not beyond its deadline: a client that
    /// does not read holds no seats.
    pub fn while_sent(&self, deadline: Option<Instant>) -> Option<WhileSent> {
        let Kept::Request(ticket) = self.0.get()? else {
            return None;
        };
        let ticket = Arc::new(Mutex::new(ticket.lock().take()));
        let alarm = deadline.map(|deadline| {
            let ticket = ticket.clone();
            let alarm = tokio::spawn(async move {
                tokio::time::sleep_until(deadline).await;
                drop(ticket.lock().take());
            });
            alarm.abort_handle()
        });
        Some(WhileSent { ticket, alarm })
    }
}

/// See [`Place::while_sent`].
pub struct WhileSent {
    ticket: Arc<Mutex<Option<Ticket>>>,
    alarm: Option<AbortHandle>,
}

impl Drop for WhileSent {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            alarm.abort();
        }
        drop(self.ticket.lock().take());
    }
}

impl Clone for Place {
    fn clone(&self) -> Place {
        Place::default()
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
