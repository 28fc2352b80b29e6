//! Keeps `v1` events from flooding the server. Upstream: `client-go/tools/record/events_cache.go`.

use std::collections::HashSet;
use std::time::Duration;

use api_types::Time;
use api_types::core::v1::Event;
use apimachinery::lru::Lru;
use serde_json::json;
use tokio::time::Instant;

use crate::flowcontrol::TokenBucket;

const ENTRIES: usize = 4096;
/// Events that differ only in their message are combined when there are this many within this time.
const SIMILAR_EVENTS: usize = 10;
const SIMILAR_PERIOD: Duration = Duration::from_secs(600);
/// What one source may say about one object.
const SPAM_BURST: u32 = 25;
const SPAM_QPS: f64 = 1.0 / 300.0;

/// What to do with an event.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Too many from this source about this object.
    Drop,
    /// Make it.
    Create(Box<Event>),
    /// It exists: change it with this strategic merge patch. The event is what to make if it no longer exists.
    Patch(Box<Event>, Vec<u8>),
}

/// See the module comment of `record`.
pub(super) struct Correlator {
    similar: Lru<Vec<String>, Similar>,
    observed: Lru<Vec<String>, Observed>,
    spam: Lru<Vec<String>, TokenBucket>,
}

struct Similar {
    messages: HashSet<String>,
    last: Instant,
}

/// The last event with the same key.
#[derive(Default)]
struct Observed {
    count: i32,
    first: Time,
    name: String,
    resource_version: String,
}

impl Observed {
    fn of(event: &Event) -> Self {
        Self {
            count: event.count,
            first: event.first_timestamp,
            name: event.metadata.name.clone(),
            resource_version: event.metadata.resource_version.clone(),
        }
    }
}

impl Correlator {
    pub(super) fn new() -> Self {
        Self {
            similar: Lru::new(ENTRIES),
            observed: Lru::new(ENTRIES),
            spam: Lru::new(ENTRIES),
        }
    }

    pub(super) fn correlate(&mut self, event: Event, now: jiff::Timestamp) -> Verdict {
        let (event, key) = self.aggregate(event, now);
        let (event, patch) = self.observe(event, &key);
        let bucket = self
            .spam
            .get_or_insert_with(&spam_key(&event), || TokenBucket::new(SPAM_QPS, SPAM_BURST));
        if !bucket.try_take() {
            return Verdict::Drop;
        }
        match patch {
            None => Verdict::Create(Box::new(event)),
            Some(patch) => Verdict::Patch(Box::new(event), patch),
        }
    }

    /// What the server has now.
    pub(super) fn stored(&mut self, event: &Event) {
        self.observed.insert(exact_key(event), Observed::of(event));
    }

    /// The event itself, or one that stands for many similar ones, with the key it is counted under.
    fn aggregate(&mut self, event: Event, now: jiff::Timestamp) -> (Event, Vec<String>) {
        let exact = exact_key(&event);
        let key = similar_key(&event);
        let fresh = || Similar {
            messages: HashSet::new(),
            last: Instant::now(),
        };
        let similar = self.similar.get_or_insert_with(&key, fresh);
        if similar.last.elapsed() > SIMILAR_PERIOD {
            *similar = fresh();
        }
        similar.messages.insert(event.message.clone());
        similar.last = Instant::now();
        if similar.messages.len() < SIMILAR_EVENTS {
            return (event, exact);
        }
        // Do not collect more messages than are needed to know that there are many.
        if let Some(any) = similar.messages.iter().next().cloned() {
            similar.messages.remove(&any);
        }
        let mut combined = Event {
            count: 1,
            first_timestamp: Time::from_timestamp(now),
            last_timestamp: Time::from_timestamp(now),
            message: format!("(combined from similar events): {}", event.message),
            type_: event.type_,
            reason: event.reason,
            source: event.source,
            ..Event::default()
        };
        combined.metadata.name = super::event_name(&event.involved_object.name, now);
        combined.metadata.namespace = event.metadata.namespace;
        combined.involved_object = event.involved_object;
        (combined, key)
    }

    fn observe(&mut self, mut event: Event, key: &Vec<String>) -> (Event, Option<Vec<u8>>) {
        let observed = self.observed.get_or_insert_with(key, Observed::default);
        let mut patch = None;
        if observed.count > 0 {
            event.metadata.name = observed.name.clone();
            event.metadata.resource_version = observed.resource_version.clone();
            event.first_timestamp = observed.first;
            event.count = observed.count.saturating_add(1);
            let mut changes =
                json!({ "count": event.count, "lastTimestamp": event.last_timestamp.to_string() });
            if !event.message.is_empty() {
                changes["message"] = json!(event.message);
            }
            patch = Some(changes.to_string().into_bytes());
        }
        *observed = Observed::of(&event);
        (event, patch)
    }
}

fn about(event: &Event) -> Vec<String> {
    let object = &event.involved_object;
    [
        &event.source.component,
        &event.source.host,
        &object.kind,
        &object.namespace,
        &object.name,
        &object.uid,
        &object.api_version,
        &event.type_,
    ]
    .map(String::clone)
    .to_vec()
}

fn spam_key(event: &Event) -> Vec<String> {
    about(event)
}

fn similar_key(event: &Event) -> Vec<String> {
    let mut key = about(event);
    key.extend(
        [
            &event.reason,
            &event.reporting_component,
            &event.reporting_instance,
        ]
        .map(String::clone),
    );
    key
}

fn exact_key(event: &Event) -> Vec<String> {
    let mut key = about(event);
    // One longer than the other keys, so that an event and its aggregate never meet.
    key.extend(
        [
            &event.involved_object.field_path,
            &event.reason,
            &event.message,
        ]
        .map(String::clone),
    );
    key.push(String::new());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(object: &str, reason: &str, message: &str) -> Event {
        let mut event = Event {
            count: 1,
            reason: reason.into(),
            message: message.into(),
            type_: "Normal".into(),
            ..Event::default()
        };
        event.source.component = "kubelet".into();
        event.involved_object.kind = "Pod".into();
        event.involved_object.namespace = "ns".into();
        event.involved_object.name = object.into();
        event.metadata.namespace = "ns".into();
        event.metadata.name = format!("{object}.{reason}");
        event.first_timestamp = Time::from_unix(100);
        event.last_timestamp = Time::from_unix(200);
        event
    }

    fn at() -> jiff::Timestamp {
        jiff::Timestamp::from_second(1000).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn equal_events_are_counted() {
        let mut correlator = Correlator::new();
        assert!(
            matches!(correlator.correlate(event("a", "r", "m"), at()), Verdict::Create(event) if event.count == 1)
        );
        for count in 2..6 {
            let Verdict::Patch(event, patch) = correlator.correlate(event("a", "r", "m"), at())
            else {
                panic!("want a patch")
            };
            assert_eq!(event.count, count);
            let patch: serde_json::Value = serde_json::from_slice(&patch).unwrap();
            assert_eq!(
                patch,
                json!({"count": count, "lastTimestamp": "1970-01-01T00:03:20Z", "message": "m"})
            );
        }
        assert!(
            matches!(
                correlator.correlate(event("b", "r", "m"), at()),
                Verdict::Create(_)
            ),
            "another object is another event"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_servers_state_is_what_is_patched() {
        let mut correlator = Correlator::new();
        let Verdict::Create(mut created) = correlator.correlate(event("a", "r", "m"), at()) else {
            panic!("want a create")
        };
        created.metadata.name = "other".into();
        created.count = 7;
        correlator.stored(&created);
        let Verdict::Patch(next, _) = correlator.correlate(event("a", "r", "m"), at()) else {
            panic!("want a patch")
        };
        assert_eq!((next.metadata.name.as_str(), next.count), ("other", 8));
    }

    #[tokio::test(start_paused = true)]
    async fn ten_similar_events_become_one() {
        let mut correlator = Correlator::new();
        for n in 0..9 {
            let verdict = correlator.correlate(event("a", "r", &format!("message {n}")), at());
            assert!(
                matches!(&verdict, Verdict::Create(event) if event.message == format!("message {n}")),
                "{verdict:?}"
            );
        }
        let Verdict::Create(combined) = correlator.correlate(event("a", "r", "message 9"), at())
        else {
            panic!("want a create")
        };
        assert_eq!(
            combined.message,
            "(combined from similar events): message 9"
        );
        assert_eq!(combined.metadata.name, "a.e8d4a51000");
        let Verdict::Patch(next, patch) = correlator.correlate(event("a", "r", "message 10"), at())
        else {
            panic!("want a patch")
        };
        assert_eq!(
            (next.count, next.metadata.name.as_str()),
            (2, "a.e8d4a51000")
        );
        assert!(
            String::from_utf8(patch)
                .unwrap()
                .contains("(combined from similar events): message 10")
        );
        tokio::time::advance(SIMILAR_PERIOD + Duration::from_secs(1)).await;
        let verdict = correlator.correlate(event("a", "r", "later"), at());
        assert!(matches!(verdict, Verdict::Create(event) if event.message == "later"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_source_cannot_flood_one_object() {
        let mut correlator = Correlator::new();
        for n in 0..25 {
            assert_ne!(
                correlator.correlate(event("a", &format!("reason{n}"), "m"), at()),
                Verdict::Drop,
                "{n}"
            );
        }
        assert_eq!(
            correlator.correlate(event("a", "more", "m"), at()),
            Verdict::Drop
        );
        assert_ne!(
            correlator.correlate(event("b", "more", "m"), at()),
            Verdict::Drop
        );
        tokio::time::advance(Duration::from_secs(301)).await;
        assert_ne!(
            correlator.correlate(event("a", "more", "m"), at()),
            Verdict::Drop
        );
        assert_eq!(
            correlator.correlate(event("a", "more", "m"), at()),
            Verdict::Drop
        );
    }
}
