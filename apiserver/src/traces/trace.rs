//! What goes on in a request, step by step: the lines that the log has of slow requests at `-v=2`, and the inner spans of traces.
//! Upstream: k8s.io/utils/trace and component-base/tracing.
//!
//! A request has a [`Trace`] only if somebody wants to know; the task that works on it finds it by [`CURRENT`]. Nothing is
//! recorded, allocated or locked for any other.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use component_base::logs;
use http::{HeaderMap, HeaderValue, Version};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::task::futures::TaskLocalFuture;

use crate::request::context::RequestContext;
use crate::request_metrics;

/// What takes longer is logged.
const SLOW: Duration = Duration::from_millis(500);
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

    /// As klog has them.
    fn write(&self, out: &mut String) {
        for (at, (key, value)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let _ = match value {
                Value::Text(text) => write!(out, "{comma}{key}:{text}"),
                Value::Number(number) => write!(out, "{comma}{key}:{number}"),
            };
        }
        if !self.0.is_empty() {
            out.push(' ');
        }
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
    let path = match trace.protocol {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
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
        .text("protocol", path)
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
        if self.logged && parent.is_none() {
            let all = logs::v_in(ALL_STEPS, file!());
            log_slow(&state.items, at, all, &mut |line| tracing::info!("{line}"));
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

/// The items right below a span that the log tells of.
fn below(items: &[Item], of: usize) -> impl Iterator<Item = (usize, &Item)> {
    items
        .iter()
        .enumerate()
        .skip(of + 1)
        .filter(move |(_, item)| {
            let told = |span: &Span| span.kind == Kind::Work;
            item.parent == Some(of) && item.span.as_ref().is_none_or(told)
        })
}

fn duration(item: &Item) -> Option<Duration> {
    let end = item.span.as_ref()?.end?;
    Some(end.saturating_duration_since(item.at))
}

fn is_slow(item: &Item) -> bool {
    duration(item).is_some_and(|took| took >= SLOW)
}

/// Logs a span that took long, or those below it that did.
fn log_slow(items: &[Item], at: usize, all: bool, log: &mut dyn FnMut(&str)) {
    let Some(item) = items.get(at) else { return };
    let Some(took) = duration(item).filter(|took| *took >= SLOW) else {
        for (nested, _) in below(items, at).filter(|(_, item)| item.span.is_some()) {
            log_slow(items, nested, all, log);
        }
        return;
    };
    let number = rand::random::<u32>() >> 1;
    let total = go_duration(took);
    let mut line = format!("Trace[{number}]: \"{}\" ", item.name);
    item.fields.write(&mut line);
    let started = wall_clock(item.at).strftime("%d-%b-%Y %H:%M:%S%.3f");
    let _ = write!(line, "({started}) (total time: {}ms):", took.as_millis());
    let start = format!("\nTrace[{number}]: ");
    write_items(&mut line, items, at, all, &start);
    let _ = write!(line, "{start}[{total}] [{total}] END");
    log(&line);
}

/// The items below a span, each with what has passed since the one before.
fn write_items(line: &mut String, items: &[Item], of: usize, all: bool, start: &str) {
    let share = share_of_a_step(items, of);
    let mut last = items.get(of).map(|item| item.at);
    for (at, item) in below(items, of) {
        match &item.span {
            None => {
                let took = last.map_or(Duration::ZERO, |last| {
                    item.at.saturating_duration_since(last)
                });
                if took >= share || all {
                    let _ = write!(line, "{start}---");
                    write_summary(line, item, took, item.at);
                }
                last = Some(item.at);
            }
            Some(span) => {
                write_span(line, items, at, all, start);
                last = Some(span.end.unwrap_or(item.at));
            }
        }
    }
}

fn write_span(line: &mut String, items: &[Item], at: usize, all: bool, start: &str) {
    let Some(item) = items.get(at) else { return };
    if !is_slow(item) && !all {
        for (nested, _) in below(items, at).filter(|(_, item)| item.span.is_some()) {
            write_span(line, items, nested, all, start);
        }
        return;
    }
    let _ = write!(line, "{start}[");
    // As upstream, until now.
    write_summary(line, item, item.at.elapsed(), item.at);
    write_items(line, items, at, all, &format!("{start} "));
    line.push(']');
}

fn write_summary(line: &mut String, item: &Item, took: Duration, at: Instant) {
    let _ = write!(line, "\"{}\" ", item.name);
    item.fields.write(line);
    let at = wall_clock(at).strftime("%H:%M:%S%.3f");
    let _ = write!(line, "{}ms ({at})", took.as_millis());
}

/// Steps that took less than their share of what is slow are left out. Upstream: calculateStepThreshold.
fn share_of_a_step(items: &[Item], of: usize) -> Duration {
    let (mut left, mut steps) = (SLOW, 1_u32);
    let mut all = 1_u32;
    for (_, item) in below(items, of) {
        all += 1;
        match item.span.as_ref().and_then(|span| span.end) {
            Some(_) => left = left.saturating_sub(SLOW),
            None => steps += 1,
        }
    }
    if left < SLOW / 4 {
        (left, steps) = (SLOW / 4, all);
    }
    left / steps
}

fn go_duration(took: Duration) -> String {
    apimachinery::duration::format(i64::try_from(took.as_nanos()).unwrap_or(i64::MAX))
}

fn wall_clock(at: Instant) -> jiff::Zoned {
    let ago = jiff::SignedDuration::try_from(at.elapsed()).unwrap_or_default();
    let now = jiff::Zoned::now();
    now.checked_sub(ago).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items whose times are milliseconds.
    struct Recorded(Instant, Vec<Item>);

    impl Recorded {
        fn new() -> Recorded {
            let long_ago = Instant::now().checked_sub(Duration::from_secs(60));
            Recorded(long_ago.unwrap(), Vec::new())
        }

        fn at(&self, ms: u64) -> Instant {
            self.0 + Duration::from_millis(ms)
        }

        fn add(&mut self, name: &'static str, parent: Option<usize>, from: u64, to: Option<u64>) {
            let mut fields = Fields::default();
            fields.number("len", self.1.len()).text("name", name);
            let end = to.map(|to| Some(self.at(to)));
            let (kind, id) = (Kind::Work, [0; 8]);
            self.1.push(Item {
                name,
                at: self.at(from),
                parent,
                fields,
                span: end.map(|end| Span { kind, end, id }),
            });
        }

        /// What is logged of the first span, without times of day and numbers of traces.
        fn lines(&self, all: bool) -> Vec<String> {
            let mut text = String::new();
            log_slow(&self.1, 0, all, &mut |line| {
                text = format!("{text}{line}\n")
            });
            let without_times = |line: &str| {
                let mut parts = line.split('(');
                let mut out = parts.next().unwrap_or_default().to_owned();
                for part in parts {
                    let (_, after) = part.split_once(')').expect("a pair");
                    out.push_str(after);
                }
                out
            };
            text.lines().map(without_times).collect()
        }
    }

    #[test]
    fn slow_requests_are_told_with_their_slow_steps() {
        let mut recorded = Recorded::new();
        recorded.add("Create", None, 0, Some(700));
        recorded.add("limitedReadBody succeeded", Some(0), 2, None);
        recorded.add("Create etcd3", Some(0), 10, Some(600));
        recorded.add("Txn call succeeded", Some(2), 590, None);
        recorded.add("Write to database call succeeded", Some(0), 600, None);
        recorded.add("Writing http response done", Some(0), 690, None);
        let lines = recorded.lines(false);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert!(
            lines[0].ends_with("\"Create\" len:0,name:Create  :"),
            "{}",
            lines[0]
        );
        assert!(
            lines[1].contains(": [\"Create etcd3\" len:2,name:Create etcd3 "),
            "{}",
            lines[1]
        );
        assert!(
            lines[2]
                .ends_with(":  ---\"Txn call succeeded\" len:3,name:Txn call succeeded 580ms ]"),
            "{}",
            lines[2]
        );
        assert!(
            lines[3].contains(": ---\"Writing http response done\" "),
            "{}",
            lines[3]
        );
        assert!(lines[4].ends_with(": [700ms] [700ms] END"), "{}", lines[4]);
        let all = recorded.lines(true);
        assert_eq!(all.len(), 7, "{all:#?}");
    }

    #[test]
    fn of_quick_requests_only_slow_parts_are_told() {
        let mut recorded = Recorded::new();
        recorded.add("Get", None, 0, Some(499));
        assert!(recorded.lines(true).is_empty());
        // A part that has outlived its request.
        recorded.add("cacher.Get", Some(0), 0, Some(500));
        let lines = recorded.lines(false);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("\"cacher.Get\" "), "{}", lines[0]);
    }

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
