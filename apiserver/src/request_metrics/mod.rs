//! What is counted of requests: how many, how long, how large. Upstream: apiserver/pkg/endpoints/metrics and its filterlatency.
//!
//! - `route` has the series of the requests with the same labels, found by one look into a table.
//! - `histogram` is what they count in, `collect` what `/metrics` shows of them.
//! - A [`Measurement`] goes with a request from the handler on, and counts it when the last who works on it lets go: at the end of a
//!   watch, of a long list, of a connection to a pod.
//!
//! Invariant: only paths that the server has make series. What is refused before, for whatever reason, has none of its own.

mod collect;
mod histogram;
mod route;
mod writes;

use std::collections::hash_map::RandomState;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use component_base::metrics::{Metrics, MetricsOptions};
use component_base::serving::{Observer, Response};
use http::Method;
use indexmap::{Equivalent, IndexSet};
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::request::RequestInfo;
use crate::request::context::{AuditAnnotations, RequestContext};
use crate::server::httplog::Details;
use histogram::Histogram;
use route::SystemClient;
pub(crate) use route::{Labels, Route};
pub(crate) use writes::{Comparison, PostTimeout};
use writes::{Comparisons, PostTimeouts, Source};

/// `component` of what the API consists of.
pub(crate) const API_SERVER: &str = "apiserver";
/// What a request is counted as that nobody answered: its time was up.
const UNANSWERED: u16 = 504;

/// A part of the chain that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    Authentication,
    Audit,
    Impersonation,
    PriorityAndFairness,
    Authorization,
}

/// All routes. Cheap to clone.
#[derive(Clone)]
pub struct RequestMetrics(Arc<Inner>);

struct Inner {
    routes: RwLock<IndexSet<Handle, RandomState>>,
    filters: [Histogram; 5],
    post_timeouts: PostTimeouts,
    comparisons: Comparisons,
    /// What the filter of impersonation is called, which has two forms.
    impersonation: &'static str,
    /// Which families are shown.
    shown: MetricsOptions,
}

struct Handle(Arc<Route>);

impl Hash for Handle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.labels().hash(state);
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Handle) -> bool {
        self.0.labels() == other.0.labels()
    }
}

impl Eq for Handle {}

impl Equivalent<Handle> for Labels<'_> {
    fn equivalent(&self, handle: &Handle) -> bool {
        *self == handle.0.labels()
    }
}

impl RequestMetrics {
    /// To be called once for a registry. `constrained` is whether impersonation may be.
    pub fn new(metrics: &Metrics, constrained: bool) -> RequestMetrics {
        let new = RequestMetrics(Arc::new(Inner {
            routes: RwLock::default(),
            filters: std::array::from_fn(|_| Histogram::new(&histogram::FILTERS)),
            post_timeouts: PostTimeouts::default(),
            comparisons: Comparisons::default(),
            impersonation: if constrained {
                "constrainedimpersonation"
            } else {
                "impersonation"
            },
            shown: metrics.options().clone(),
        }));
        writes::register_declarative(metrics);
        if let Some(collector) = collect::RequestCollector::new(&new) {
            metrics.register(Box::new(collector));
        }
        let routes = new.clone();
        metrics.on_reset(move || routes.0.routes.write().clear());
        new
    }

    /// The series of these labels.
    pub(crate) fn route(&self, labels: &Labels<'_>) -> Arc<Route> {
        if let Some(known) = self.0.routes.read().get(labels) {
            return known.0.clone();
        }
        let mut routes = self.0.routes.write();
        if let Some(known) = routes.get(labels) {
            return known.0.clone();
        }
        let route = Arc::new(Route::new(labels));
        routes.insert(Handle(route.clone()));
        route
    }

    /// Counts what a part of the chain took.
    pub fn filtered(&self, filter: Filter, took: Duration) {
        if let Some(histogram) = self.0.filters.get(filter as usize) {
            histogram.observe_duration(took);
        }
    }

    /// Begins to measure a request that has a route, but for the verb as in `labels`. Answers to reads are `sized`.
    pub(crate) fn begin(&self, cx: &RequestContext, labels: &Labels<'_>, sized: bool) {
        let by_path = cx.info.verb == "watch" && cx.info.verb_via_path_prefix;
        let verb = if by_path {
            "WATCH"
        } else {
            verb(cx, canonical(&cx.method, labels.scope))
        };
        let route = self.route(&Labels { verb, ..*labels });
        cx.measured.0.get_or_init(|| {
            Arc::new(Measurement {
                route,
                received: cx.received,
                dry_run: dry_run(cx),
                client: SystemClient::of(cx.user_agent()),
                notes: cx.annotations.clone(),
                line: cx.line.clone(),
                sized,
                code: AtomicU16::new(UNANSWERED),
                written: AtomicU64::new(0),
                running: OnceLock::new(),
            })
        });
    }

    /// The series of a request by what its path says. Unknown resources have none.
    fn of_path(&self, cx: &RequestContext, known: bool) -> Arc<Route> {
        let info = &cx.info;
        let scope = scope_of(info);
        let verb = verb(cx, canonical(&cx.method, scope));
        let text = |text: &'_ str| -> Box<str> {
            if known && info.is_resource_request {
                text.into()
            } else {
                "".into()
            }
        };
        self.route(&Labels {
            verb,
            group: &text(&info.api_group),
            version: &text(&info.api_version),
            resource: &text(&info.resource),
            subresource: &text(&info.subresource),
            scope,
            component: API_SERVER,
        })
    }

    /// There were too many requests: this one was refused.
    pub(crate) fn dropped(&self, cx: &RequestContext, known: bool) {
        let route = self.of_path(cx, known);
        route.answered(429, &dry_run(cx), SystemClient::default());
        route.terminated(429);
    }

    /// The time of a request was up.
    pub(crate) fn timed_out(&self, cx: &RequestContext, known: bool) {
        self.of_path(cx, known).terminated(UNANSWERED);
        // What worked on it ended with its time.
        let counts = &self.0.post_timeouts;
        counts.count(Source::TimeoutHandler, PostTimeout::Ok);
    }

    /// What has become of a write that nobody waits for.
    pub(crate) fn post_timeout(&self, outcome: PostTimeout) {
        self.0.post_timeouts.count(Source::RestHandler, outcome);
    }

    /// Those, by outcome.
    #[cfg(test)]
    pub(crate) fn post_timeouts(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.post_timeouts.counts();
        counts.map(|(_, status, count)| (status, count)).collect()
    }

    /// An update was compared with what there was.
    pub(crate) fn compared(&self, outcome: Comparison, took: Duration) {
        self.0.comparisons.observe(outcome, took);
    }

    /// Counts a watch or a connection among those that run, until its measurement ends.
    pub(crate) fn long_running(&self, cx: &RequestContext) {
        if let Some(measurement) = cx.measured.get() {
            measurement.running.get_or_init(|| {
                let route = self.of_path(cx, true);
                route.running().fetch_add(1, Ordering::Relaxed);
                route
            });
        }
    }
}

/// A request on its way. It is counted when this is dropped.
pub(crate) struct Measurement {
    route: Arc<Route>,
    received: Instant,
    dry_run: Box<str>,
    client: SystemClient,
    /// Where webhooks and queues note what they took.
    notes: AuditAnnotations,
    /// What the log is to say.
    line: Option<Arc<Details>>,
    /// Answers to reads are measured in bytes.
    sized: bool,
    code: AtomicU16,
    written: AtomicU64,
    /// Where it is one of those that run for long. Their labels say what a request selects, where others say how it was asked.
    running: OnceLock<Arc<Route>>,
}

impl Measurement {
    pub(crate) fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// What was asked for is on its way out; it is gone in a release, if that is known.
    pub(crate) fn deprecated(&self, removed_release: String) {
        self.route.deprecated.get_or_init(|| removed_release);
    }

    /// The initial events of a watch are out.
    pub(crate) fn listed(&self) {
        let lists = &self.route.watch_lists;
        let lists = lists.get_or_init(|| Histogram::new(&histogram::WATCH_LISTS));
        let took = self.received.elapsed();
        lists.observe_duration(took);
        if let Some(line) = &self.line {
            line.listed(took);
        }
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        if let Some(route) = self.running.get() {
            route.running().fetch_sub(1, Ordering::Relaxed);
        }
        let route = &self.route;
        let took = self.received.elapsed();
        route.answered(*self.code.get_mut(), &self.dry_run, self.client);
        if self.dry_run.is_empty() {
            let durations = &route.durations;
            let durations = durations.get_or_init(|| Histogram::new(&histogram::DURATIONS));
            durations.observe_duration(took);
            let level = &route.service_level;
            let level = level.get_or_init(|| Histogram::new(&histogram::SERVICE_LEVEL));
            level.observe_duration(took.saturating_sub(self.notes.latencies().elsewhere()));
        } else {
            let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            route.dry_run_took(&self.dry_run, nanoseconds);
        }
        if self.sized {
            let responses = &route.responses;
            let responses = responses.get_or_init(|| Histogram::new(&histogram::RESPONSES));
            responses.observe(*self.written.get_mut());
        }
    }
}

/// Where a request's context keeps its measurement. A copy of the context has none.
#[derive(Default)]
pub struct Measured(OnceLock<Arc<Measurement>>);

impl Measured {
    pub(crate) fn get(&self) -> Option<&Arc<Measurement>> {
        self.0.get()
    }

    /// Counts the body of the request, in bytes.
    pub(crate) fn body(&self, size: usize) {
        if let Some(measurement) = self.get() {
            let bodies = &measurement.route.bodies;
            let bodies = bodies.get_or_init(|| Histogram::new(&histogram::BODIES));
            bodies.observe(size as u64);
        }
    }

    /// Notes the answer. One that is still made while it is sent is measured until its end.
    pub(crate) fn answered(&self, response: Response) -> Response {
        let Some(measurement) = self.get() else {
            return response;
        };
        let code = response.status().as_u16();
        measurement.code.store(code, Ordering::Relaxed);
        match http_body::Body::size_hint(response.body()).exact() {
            Some(size) => {
                measurement.written.store(size, Ordering::Relaxed);
                response
            }
            None => response.map(|body| body.observed_by(measurement.clone())),
        }
    }
}

impl Clone for Measured {
    fn clone(&self) -> Measured {
        Measured::default()
    }
}

impl std::fmt::Debug for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measured").finish_non_exhaustive()
    }
}

/// The end of an answer's body is the end of its request.
impl Observer for Measurement {
    fn taken(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    fn failed(&self) {
        self.route.aborts.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where a path leads: to one object, to those of a namespace, to all.
pub(crate) fn scope_of(info: &RequestInfo) -> &'static str {
    if !info.name.is_empty() || info.verb == "create" {
        "resource"
    } else if !info.namespace.is_empty() {
        "namespace"
    } else if info.is_resource_request {
        "cluster"
    } else {
        ""
    }
}

/// Reads of many have a name of their own.
fn canonical(method: &Method, scope: &str) -> &'static str {
    match *method {
        Method::GET | Method::HEAD if matches!(scope, "resource" | "") => "GET",
        Method::GET | Method::HEAD => "LIST",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        _ => "other",
    }
}

/// The verb that a request is counted under.
fn verb(cx: &RequestContext, canonical: &'static str) -> &'static str {
    const CONNECTIONS: [&str; 5] = ["log", "exec", "portforward", "attach", "proxy"];
    let info = &cx.info;
    if info.is_resource_request && CONNECTIONS.contains(&info.subresource.as_str()) {
        return "CONNECT";
    }
    if cx.method == Method::GET && cx.query.bool("watch") {
        return "WATCH";
    }
    let content_type = http::header::CONTENT_TYPE;
    if canonical == "PATCH" && cx.header(content_type) == "application/apply-patch+yaml" {
        return "APPLY";
    }
    canonical
}

/// The verb of a request as logs have it.
pub(crate) fn normalized_verb(cx: &RequestContext) -> &'static str {
    verb(cx, canonical(&cx.method, scope_of(&cx.info)))
}

/// The option as a label: all of its values, or that they make no sense.
fn dry_run(cx: &RequestContext) -> Box<str> {
    let mut label = "";
    for value in cx.query.all("dryRun") {
        if value != "All" {
            return "invalid".into();
        }
        label = "All";
    }
    label.into()
}
