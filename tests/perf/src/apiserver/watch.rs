//! watch-open and watch-fanout: many watches of one namespace, and how soon and how cheaply each gets every event.
//!
//! An event carries the time at which its write was sent, as nanoseconds of this process's clock in a field of fixed width. A watcher
//! looks for that field in the bytes it gets and decodes nothing. What is measured so is the way from the client through the
//! server's write to etcd, back through etcd's watch, to all watchers; the note says how much of it the write took.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use memchr::memmem;
use tokio::task::JoinSet;

use super::bench::{Bench, text_field};
use super::objects::NAMESPACE;
use crate::Result;
use crate::connection::{Call, Connection, JSON};
use crate::record::Outcome;
use crate::statistics::Percentiles;

/// Half of what Go's server allows on a connection.
pub(super) const WATCHES_PER_CONNECTION: usize = 50;
/// How long watchers may lag behind the last write.
pub(super) const GRACE: Duration = Duration::from_secs(30);

pub(super) async fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let watchers = bench.options.watchers;
    let (object, version) = Stamped::create(bench, "fan-out").await?;
    let watch = watch_path("", &version);
    let connections = connect(bench, watchers).await?;
    let meter = bench.meter()?;
    let (opened, bodies) = open(bench, &connections, &watch, watchers).await;
    bench.record("watch-open", "watch", opened, meter)?;

    let meter = bench.meter()?;
    let outcome = fan_out(bench, &object, bodies, async |_| Ok(())).await?;
    bench.record("watch-fanout", "delivery", outcome, meter)
}

/// The collection that is watched.
pub(super) fn collection() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps")
}

/// A watch from a version, with more parameters or none.
pub(super) fn watch_path(more: &str, version: &str) -> String {
    format!(
        "{}?allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds=1800&watch=true{more}",
        collection()
    )
}

/// Connections for so many watches.
pub(super) async fn connect(bench: &Bench<'_>, watches: usize) -> Result<Vec<Connection>> {
    let connections = watches.div_ceil(WATCHES_PER_CONNECTION);
    bench.admin.server.connect_many(connections).await
}

/// Opens watches: how long each took, and their streams.
pub(super) async fn open(
    bench: &Bench<'_>,
    connections: &[Connection],
    path: &str,
    watches: usize,
) -> (Outcome, Vec<Incoming>) {
    let mut bodies = Vec::with_capacity(watches);
    let mut opened = Outcome {
        note: format!("{watches} watches on {} connections", connections.len()),
        ..Outcome::default()
    };
    let mut openings = stream::iter(0..watches)
        .map(|number| {
            let connection = &connections[number / WATCHES_PER_CONNECTION];
            let request = bench.admin.server.request(Call::get(path));
            async move {
                let begun = Instant::now();
                let body = connection.open(request?).await?;
                Ok::<_, crate::Error>((begun.elapsed(), body))
            }
        })
        .buffer_unordered(bench.options.in_flight);
    while let Some(opening) = openings.next().await {
        match opening {
            Ok((latency, body)) => {
                opened.latencies.push(latency);
                bodies.push(body);
            }
            Err(error) => opened.failed(error),
        }
    }
    drop(openings);
    (opened, bodies)
}

/// Writes `--events` versions of the object, each after what `first` does, and says when each watch got each.
pub(super) async fn fan_out(
    bench: &Bench<'_>,
    object: &Stamped,
    bodies: Vec<Incoming>,
    first: impl AsyncFn(usize) -> Result<()>,
) -> Result<Outcome> {
    let events = bench.options.events;
    let period = Duration::from_secs_f64(1.0 / bench.options.event_rate);
    let writing = period * u32::try_from(events)? + GRACE;
    let deadline = tokio::time::Instant::now() + writing;
    let expected = bodies.len() * events;
    let mut receivers = JoinSet::new();
    for mut body in bodies {
        let clock = object.clock;
        receivers.spawn(async move { receive(&mut body, events, clock, deadline).await });
    }
    let mut writes = Vec::with_capacity(events);
    let mut outcome = Outcome::default();
    let mut ticks = tokio::time::interval(period);
    for number in 0..events {
        ticks.tick().await;
        if let Err(error) = first(number).await {
            outcome.failed(error);
        }
        let begun = Instant::now();
        match object.write(bench).await {
            Ok(_) => writes.push(begun.elapsed()),
            Err(error) => outcome.failed(error),
        }
    }
    while let Some(received) = receivers.join_next().await {
        let (latencies, bytes) = received?;
        outcome.latencies.extend(latencies);
        outcome.bytes += bytes;
    }
    for _ in outcome.latencies.len()..expected {
        outcome.failed("an event did not arrive in time");
    }
    if let Some(writes) = Percentiles::of(writes) {
        outcome.note = format!(
            "{events} events at {}/s; their writes took {:.2} ms p50, {:.2} ms p99",
            bench.options.event_rate, writes.p50, writes.p99
        );
    }
    Ok(outcome)
}

/// A ConfigMap of about a kilobyte that says in each of its versions when it was sent.
pub(super) struct Stamped {
    name: &'static str,
    pub(super) clock: Instant,
}

impl Stamped {
    /// Makes the object; gives its version too.
    pub(super) async fn create(bench: &Bench<'_>, name: &'static str) -> Result<(Self, String)> {
        let clock = Instant::now();
        let object = Self { name, clock };
        let call = Call::with_body(Method::POST, collection(), JSON, object.body());
        let version = version(bench, call).await?;
        Ok((object, version))
    }

    /// Writes it as of now; gives the new version.
    pub(super) async fn write(&self, bench: &Bench<'_>) -> Result<String> {
        let path = format!("{}/{}", collection(), self.name);
        let call = Call::with_body(Method::PUT, path, JSON, self.body());
        version(bench, call).await
    }

    fn body(&self) -> String {
        let sent = self.clock.elapsed().as_nanos();
        let filler = "0123456789abcdef".repeat(48);
        format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}},"data":{{"filler":"{filler}",{MARK}{sent:0DIGITS$}"}}}}"#,
            self.name
        )
    }
}

/// Sends a write; gives the version of what was written.
async fn version(bench: &Bench<'_>, call: Call) -> Result<String> {
    let answer = bench.send(0, call).await?;
    let version = text_field(&answer.head, "resourceVersion")
        .ok_or("the answer to a write has no resourceVersion")?;
    Ok(version.to_owned())
}

/// Takes in events until all have come, the stream ends, or time is up.
pub(super) async fn receive(
    body: &mut Incoming,
    events: usize,
    clock: Instant,
    deadline: tokio::time::Instant,
) -> (Vec<Duration>, u64) {
    let mut latencies = Vec::with_capacity(events);
    let mut bytes = 0;
    let mut marks = Marks::default();
    while latencies.len() < events {
        let Ok(Some(Ok(frame))) = tokio::time::timeout_at(deadline, body.frame()).await else {
            break;
        };
        if let Ok(data) = frame.into_data() {
            bytes += data.len() as u64;
            let now = clock.elapsed();
            marks.push(&data, |sent| latencies.push(now.saturating_sub(sent)));
        }
    }
    (latencies, bytes)
}

const MARK: &str = r#""sent":""#;
const DIGITS: usize = 20;

/// Finds the times in a stream of events, wherever it is cut.
#[derive(Default)]
struct Marks {
    rest: Vec<u8>,
}

impl Marks {
    fn push(&mut self, data: &[u8], mut found: impl FnMut(Duration)) {
        self.rest.extend_from_slice(data);
        let mut looked_at = 0;
        while let Some(at) = memmem::find(&self.rest[looked_at..], MARK.as_bytes()) {
            let begin = looked_at + at;
            let digits = begin + MARK.len()..begin + MARK.len() + DIGITS;
            let Some(digits) = self.rest.get(digits) else {
                self.rest.drain(..begin);
                return;
            };
            looked_at = begin + MARK.len() + DIGITS;
            let nanoseconds = std::str::from_utf8(digits)
                .ok()
                .and_then(|text| text.parse().ok());
            if let Some(nanoseconds) = nanoseconds {
                found(Duration::from_nanos(nanoseconds));
            }
        }
        // A mark may have begun in the last bytes.
        let keep = looked_at.max((self.rest.len() + 1).saturating_sub(MARK.len()));
        self.rest.drain(..keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_wherever_the_stream_is_cut() {
        let stream = format!(
            r#"{{"a":1,{MARK}{:020}"}}{MARK}{:020}",{MARK}{:020}{MARK}"#,
            5, 123_456_789_012_u64, 7
        );
        for cut in 0..=stream.len() {
            for second in cut..=stream.len() {
                let mut marks = Marks::default();
                let mut found = Vec::new();
                for part in [&stream[..cut], &stream[cut..second], &stream[second..]] {
                    marks.push(part.as_bytes(), |sent| found.push(sent.as_nanos()));
                }
                assert_eq!(found, [5, 123_456_789_012, 7], "cut at {cut} and {second}");
            }
        }
    }

    #[test]
    fn an_object_has_one_mark() {
        let clock = Instant::now();
        let object = Stamped { name: "a", clock }.body();
        serde_json::from_str::<serde_json::Value>(&object).unwrap();
        let mut found = 0;
        Marks::default().push(object.as_bytes(), |_| found += 1);
        assert_eq!(found, 1);
    }
}
