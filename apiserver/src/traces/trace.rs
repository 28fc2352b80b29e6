//! What goes on in a request, step by step: the lines that the log has of slow requests at `-v=2`, and the inner spans of traces.
//! Upstream: k8s.io/utils/trace and component-base/tracing.
//!
//! A request has a [`Trace`] only if somebody wants to know; the task that works on it finds it by [`CURRENT`]. Nothing is
//! recorded, allocated or locked for any other.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use apimachinery::status::StatusError;
use component_base::logs;
use component_base::serving::Response;
use http::{HeaderMap, HeaderValue, Version};
use http_body::Body as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::task::futures::TaskLocalFuture;

use super::lines::{self, SLOW};
use crate::request::context::RequestContext;
use crate::request_metrics;

/// Verbosity of the lines, and of those that leave nothing out.
const LINES: u32 = 2;
const ALL_STEPS: u32 = 4;
/// Steps and spans that are kept of a request.
const MAX_ITEMS: usize = 512;
const MAX_USER_AGENT: usize = 1024;
const MAX_AUDIT_ID: usize = 64;

tokio::task_local! {
    static CURRENT: Arc<Trace>;
}

/// Whether there was ever a trace. Until then a step is one look at this.
static USED: AtomicBool = AtomicBool::new(false);

/// What is recorded of a request.
#[derive(Debug)]
pub struct Trace {
    audit_id: String,
    protocol: Version,
    /// Whether slow spans are logged.
    logged: bool,
    /// Whether spans go to a collector.
    sampled: Option<[u8; 16]>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    items: Vec<Item>,
    /// The span that what comes now belongs to.
    current: Option<usize>,
}

/// A step, or a span, which may have items below it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: &'static str,
    pub(super) at: Instant,
    pub(super) parent: Option<usize>,
    pub(super) fields: Fields,
    pub(super) span: Option<Span>,
}

#[derive(Debug)]
pub(super) struct Span {
    pub(super) kind: Kind,
    pub(super) end: Option<Instant>,
    pub(super) id: [u8; 8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Part of the work.
    Work,
    /// A call to somebody else, which the log does not tell.
    Call,
    /// What a request goes through on its way to its handler, which the log does not tell either.
    Filter,
}

/// What is said of a step or span.
#[derive(Debug, Default)]
pub struct Fields(pub(super) Vec<(&'static str, Value)>);

#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Number(i64),
}

impl Fields {
    pub fn text(&mut self, key: &'static str, value: impl Into<String>) -> &mut Fields {
        self.0.push((key, Value::Text(value.into())));
        self
    }

    pub fn number(&mut self, key: &'static str, value: usize) -> &mut Fields {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.0.push((key, Value::Number(value)));
        self
    }
}

/// Whether slow requests are logged.
pub fn logged() -> bool {
    logs::v_in(LINES, file!())
}

/// Notes that something has been done.
pub fn step(name: &'static str) {
    step_with(name, |_| {});
}

/// The same with more to say.
pub fn step_with(name: &'static str, fields: impl FnOnce(&mut Fields)) {
    with_current(|trace| trace.add(name, fields, None));
}

/// A part of the work begins, which ends when what is given back is dropped. What is noted until then belongs to it.
pub fn begin(name: &'static str, fields: impl FnOnce(&mut Fields)) -> Open {
    open(name, fields, Kind::Work, true)
}

/// The same of a part beside which others may go on.
pub fn begin_beside(name: &'static str, fields: impl FnOnce(&mut Fields)) -> Open {
    open(name, fields, Kind::Work, false)
}

/// The same of work for a request's storage, which is told by the audit ID.
pub fn begin_in_storage(name: &'static str, fields: impl FnOnce(&mut Fields)) -> Open {
    with_current(|trace| {
        let with_id = |all: &mut Fields| {
            all.text("audit-id", truncated(&trace.audit_id, MAX_AUDIT_ID));
            fields(all);
        };
        trace.open(name, with_id, Kind::Work, true)
    })
    .unwrap_or_default()
}

/// A call to another process, for traces only.
pub fn call(name: &'static str) -> Open {
    open(name, |_| {}, Kind::Call, false)
}

/// A request has come to a filter, which lasts as long as the request: what comes now is within it. For traces only.
/// Upstream: filterlatency.TrackStarted.
pub fn filter(cx: &RequestContext, name: &'static str) {
    let Some(trace) = &cx.trace else { return };
    if trace.sampled.is_none() {
        return;
    }
    let span = Span {
        kind: Kind::Filter,
        end: None,
        id: rand::random(),
    };
    if let Some(at) = trace.add(name, |_| {}, Some(span)) {
        trace.state.lock().current = Some(at);
    }
}

/// Encodes an answer. Upstream: responsewriters.SerializeObject.
pub fn serialize(
    cx: &RequestContext,
    respond: impl FnOnce() -> Result<Response, StatusError>,
) -> Result<Response, StatusError> {
    let open = begin("SerializeObject", |_| {});
    let response = respond();
    if let Ok(response) = &response {
        if let Some(size) = response.body().size_hint().exact() {
            step_with("About to start writing response", |fields| {
                fields.number("size", usize::try_from(size).unwrap_or(usize::MAX));
            });
        }
        open.describe(|trace, fields| {
            let media_type = response.headers().get(http::header::CONTENT_TYPE);
            let media_type = media_type.and_then(|value| value.to_str().ok());
            fields
                .text("audit-id", truncated(&trace.audit_id, MAX_AUDIT_ID))
                .text("method", cx.method.as_str())
                .text("url", cx.info.path.as_str())
                .text("protocol", trace.protocol())
                .text("mediaType", media_type.unwrap_or_default());
        });
    }
    response
}

fn open(name: &'static str, fields: impl FnOnce(&mut Fields), kind: Kind, nested: bool) -> Open {
    with_current(|trace| trace.open(name, fields, kind, nested)).unwrap_or_default()
}

fn with_current<T>(with: impl FnOnce(&Arc<Trace>) -> T) -> Option<T> {
    if !USED.load(Ordering::Relaxed) {
        return None;
    }
    CURRENT.try_with(with).ok()
}

/// Starts a task that goes on with the request of this one.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    match with_current(Arc::clone) {
        None => tokio::spawn(work),
        Some(trace) => tokio::spawn(trace.during(work)),
    }
}

/// The span of a request's handler.
pub fn of_request<'a>(cx: &'a RequestContext) -> Option<OfRequest<'a>> {
    cx.trace.as_ref()?;
    let name = match cx.info.verb.as_str() {
        "get" => "Get",
        "list" => "List",
        "create" => "Create",
        "update" => "Update",
        "patch" => "Patch",
        "delete" | "deletecollection" => "Delete",
        _ => return None,
    };
    let open = begin(name, |_| {});
    Some(OfRequest { cx, open })
}

/// See [`of_request`].
pub struct OfRequest<'a> {
    cx: &'a RequestContext,
    open: Open,
}

impl Drop for OfRequest<'_> {
    fn drop(&mut self) {
        // Only here it is known whether anybody wants to read them.
        self.open
            .describe(|trace, fields| describe(self.cx, trace, fields));
    }
}

/// Upstream: traceFields.
fn describe(cx: &RequestContext, trace: &Trace, fields: &mut Fields) {
    let info = &cx.info;
    let agent = match cx.user_agent() {
        "" => "unknown".to_owned(),
        agent if agent.len() > MAX_USER_AGENT => {
            format!("{}...TRUNCATED", truncated(agent, MAX_USER_AGENT))
        }
        agent => agent.to_owned(),
    };
    fields
        .text("accept", cx.header(http::header::ACCEPT))
        .text("audit-id", truncated(&trace.audit_id, MAX_AUDIT_ID))
        .text("client", super::client_address(cx))
        .text("api-group", info.api_group.as_str())
        .text("api-version", info.api_version.as_str())
        .text("name", info.name.as_str())
        .text("subresource", info.subresource.as_str())
        .text("namespace", info.namespace.as_str())
        .text("protocol", trace.protocol())
        .text("resource", info.resource.as_str())
        .text("scope", request_metrics::scope_of(info))
        .text("url", info.path.as_str())
        .text("user-agent", agent)
        .text("verb", request_metrics::normalized_verb(cx));
}

fn truncated(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

impl Trace {
    /// The trace of a request, if there is to be one.
    pub(super) fn new(
        audit_id: &str,
        protocol: Version,
        sampled: Option<[u8; 16]>,
    ) -> Option<Arc<Trace>> {
        let logged = logged();
        if !logged && sampled.is_none() {
            return None;
        }
        USED.store(true, Ordering::Relaxed);
        Some(Arc::new(Trace {
            audit_id: audit_id.to_owned(),
            protocol,
            logged,
            sampled,
            state: Mutex::default(),
        }))
    }

    fn protocol(&self) -> &'static str {
        match self.protocol {
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
    }

    /// What is noted while this runs is noted here.
    pub fn during<F: Future>(self: Arc<Self>, work: F) -> TaskLocalFuture<Arc<Trace>, F> {
        CURRENT.scope(self, work)
    }

    fn add(
        &self,
        name: &'static str,
        fields: impl FnOnce(&mut Fields),
        span: Option<Span>,
    ) -> Option<usize> {
        let mut state = self.state.lock();
        if state.items.len() >= MAX_ITEMS {
            return None;
        }
        let mut item = Item {
            name,
            at: Instant::now(),
            parent: state.current,
            fields: Fields::default(),
            span,
        };
        fields(&mut item.fields);
        state.items.push(item);
        Some(state.items.len() - 1)
    }

    fn open(
        self: &Arc<Self>,
        name: &'static str,
        fields: impl FnOnce(&mut Fields),
        kind: Kind,
        nested: bool,
    ) -> Open {
        if kind == Kind::Call && self.sampled.is_none() {
            return Open::default();
        }
        let id = match self.sampled {
            Some(_) => rand::random(),
            None => [0; 8],
        };
        let end = None;
        let Some(at) = self.add(name, fields, Some(Span { kind, end, id })) else {
            return Open::default();
        };
        if nested {
            self.state.lock().current = Some(at);
        }
        Open(Some((self.clone(), at)))
    }

    fn close(&self, at: usize) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(item) = state.items.get_mut(at) else {
            return;
        };
        let parent = item.parent;
        if let Some(span) = &mut item.span {
            span.end = Some(Instant::now());
        }
        if state.current == Some(at) {
            state.current = parent;
        }
        let is_filter = |at: usize| {
            let span = state.items.get(at).and_then(|item| item.span.as_ref());
            span.is_some_and(|span| span.kind == Kind::Filter)
        };
        if self.logged && parent.is_none_or(is_filter) {
            let all = logs::v_in(ALL_STEPS, file!());
            lines::log_slow(&state.items, at, all, &mut |line| tracing::info!("{line}"));
        }
    }

    /// Looks at all spans that have ended, with what is below them.
    pub(super) fn with_items<T>(&self, look: impl FnOnce(&[Item]) -> T) -> T {
        look(&self.state.lock().items)
    }
}

/// A span that goes on. It ends when it is dropped.
#[derive(Default)]
pub struct Open(Option<(Arc<Trace>, usize)>);

impl Open {
    fn describe(&self, fields: impl FnOnce(&Trace, &mut Fields)) {
        let Some((trace, at)) = &self.0 else { return };
        let mut state = trace.state.lock();
        let Some(item) = state.items.get_mut(*at) else {
            return;
        };
        if trace.sampled.is_some() || item.at.elapsed() >= SLOW {
            fields(trace, &mut item.fields);
        }
    }

    /// Notes that something has been done in this part.
    pub fn step(&self, name: &'static str) {
        let Some((trace, at)) = &self.0 else { return };
        if let Some(step) = trace.add(name, |_| {}, None)
            && let Some(item) = trace.state.lock().items.get_mut(step)
        {
            item.parent = Some(*at);
        }
    }

    /// Tells the other end of a call that it belongs to a trace.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if let Some(context) = self.traceparent()
            && let Ok(context) = HeaderValue::try_from(context)
        {
            headers.insert("traceparent", context);
        }
    }

    /// The context of a span (W3C Trace Context).
    fn traceparent(&self) -> Option<String> {
        let (trace, at) = self.0.as_ref()?;
        let trace_id = trace.sampled?;
        let id = trace.with_items(|items| items.get(*at)?.span.as_ref().map(|span| span.id))?;
        let mut text = String::with_capacity(55);
        text.push_str("00-");
        for byte in trace_id {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('-');
        for byte in id {
            let _ = write!(text, "{byte:02x}");
        }
        text.push_str("-01");
        Some(text)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some((trace, at)) = self.0.take() {
            trace.close(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn steps_belong_to_the_span_that_goes_on() {
        USED.store(true, Ordering::Relaxed);
        let trace = Arc::new(Trace {
            audit_id: "id".to_owned(),
            protocol: Version::HTTP_2,
            logged: false,
            sampled: Some([7; 16]),
            state: Mutex::default(),
        });
        step("nobody asked");
        let work = async {
            let outer = begin("Update", |_| {});
            step("read");
            let work = spawn(async {
                let _inner = begin_in_storage("GuaranteedUpdate etcd3", |_| {});
                let called = call("etcdserverpb.KV/Txn");
                step("Transaction committed");
                called.traceparent()
            });
            let told = work.await.expect("a task").expect("a context");
            assert_eq!(told.len(), 55);
            assert!(told.starts_with("00-07070707070707070707070707070707-"));
            step("written");
            drop(outer);
            step("after");
        };
        trace.clone().during(work).await;
        let parents = trace.with_items(|items| {
            let row = |item: &Item| (item.name, item.parent);
            items.iter().map(row).collect::<Vec<_>>()
        });
        let expected = [
            ("Update", None),
            ("read", Some(0)),
            ("GuaranteedUpdate etcd3", Some(0)),
            ("etcdserverpb.KV/Txn", Some(2)),
            ("Transaction committed", Some(2)),
            ("written", Some(0)),
            ("after", None),
        ];
        assert_eq!(parents, expected);
    }
}
