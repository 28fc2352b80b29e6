//! Sends `events.k8s.io/v1` events. Upstream: `client-go/tools/events`, KEP-383.
//!
//! A repetition of an event makes it a series: the second one is written at once, further ones are only counted here and the count
//! is written every 30 minutes, and once more when the series has been silent for six.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::MicroTime;
use api_types::core::v1::ObjectReference;
use api_types::events::v1::{Event, EventSeries};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{
    EventSink, RETRY_WAIT, RecordedEvent, TRIES, event_name, event_namespace, next, worth_retrying,
};
use crate::error::Error;

const FINISH: Duration = Duration::from_secs(6 * 60);
const REFRESH: Duration = Duration::from_secs(30 * 60);

/// What makes two events the same.
type Key = (String, String, String, String, String, String);

struct Known {
    event: Event,
    last: Instant,
}

pub(super) struct Sender {
    shared: Arc<Shared>,
}

struct Shared {
    sink: Arc<dyn EventSink>,
    token: CancellationToken,
    known: Mutex<HashMap<Key, Known>>,
}

impl Sender {
    pub(super) fn new(sink: Arc<dyn EventSink>, token: CancellationToken) -> Self {
        Self {
            shared: Arc::new(Shared {
                sink,
                token,
                known: Mutex::new(HashMap::new()),
            }),
        }
    }

    pub(super) async fn run(self, mut receiver: mpsc::Receiver<RecordedEvent>) {
        let mut finish = tokio::time::interval_at(Instant::now() + FINISH, FINISH);
        let mut refresh = tokio::time::interval_at(Instant::now() + REFRESH, REFRESH);
        finish.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A write that has to wait must not hold up the others: each has a task.
        let writes = TaskTracker::new();
        loop {
            let due = tokio::select! {
                event = next(&mut receiver, &self.shared.token) => match event {
                    None => break,
                    Some(event) => self.shared.note(event).into_iter().collect(),
                },
                _ = finish.tick() => self.shared.finished(),
                _ = refresh.tick() => self.shared.series(),
            };
            for event in due {
                let shared = self.shared.clone();
                writes.spawn(async move { shared.send(event).await });
            }
        }
        writes.close();
        writes.wait().await;
    }
}

impl Shared {
    /// Counts an event; gives what has to be written now.
    fn note(&self, recorded: RecordedEvent) -> Option<Event> {
        let now = jiff::Timestamp::now();
        let event = make(recorded, now);
        let mut known = self.known.lock();
        match known.entry(key(&event)) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Known {
                    event: event.clone(),
                    last: Instant::now(),
                });
                Some(event)
            }
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.last = Instant::now();
                let last_observed_time = MicroTime::from_timestamp(now);
                match &mut known.event.series {
                    Some(series) => {
                        series.count = series.count.saturating_add(1);
                        series.last_observed_time = last_observed_time;
                        None
                    }
                    none => {
                        *none = Some(Box::new(EventSeries {
                            count: 2,
                            last_observed_time,
                        }));
                        Some(known.event.clone())
                    }
                }
            }
        }
    }

    /// Forgets what was silent for six minutes; gives the series among it, for their final count.
    fn finished(&self) -> Vec<Event> {
        let mut ended = Vec::new();
        self.known.lock().retain(|_, known| {
            let keep = known.last.elapsed() < FINISH;
            if !keep && known.event.series.is_some() {
                ended.push(known.event.clone());
            }
            keep
        });
        ended
    }

    /// All running series: writing them keeps the server from expiring them.
    fn series(&self) -> Vec<Event> {
        self.known
            .lock()
            .values()
            .filter(|known| known.event.series.is_some())
            .map(|known| known.event.clone())
            .collect()
    }

    async fn send(&self, event: Event) {
        for _ in 0..TRIES {
            let error = match self.write(&event).await {
                Ok(()) => return,
                Err(error) => error,
            };
            // Two of the same in quick succession: the first one's create came in between. Patch next time.
            let raced = event.series.is_some() && error.is_already_exists();
            if !raced && !worth_retrying(&error) {
                if error.is_already_exists() {
                    tracing::debug!(%error, "Server rejected event (will not retry!)");
                } else {
                    tracing::error!(%error, reason = event.reason, object = event.regarding.name, "Server rejected event (will not retry!)");
                }
                return;
            }
            if self.token.is_cancelled() {
                return;
            }
            tracing::error!(%error, "Unable to write event (may retry after sleeping)");
            let wait = RETRY_WAIT.mul_f64(1.0 + 0.25 * rand::random::<f64>());
            self.token
                .run_until_cancelled(tokio::time::sleep(wait))
                .await;
        }
        tracing::error!(
            reason = event.reason,
            object = event.regarding.name,
            "Unable to write event (retry limit exceeded!)"
        );
    }

    async fn write(&self, event: &Event) -> Result<(), Error> {
        if let Some(series) = &event.series {
            let patch = json!({ "series": { "count": series.count, "lastObservedTime": series.last_observed_time.to_string() } });
            let metadata = &event.metadata;
            let patched = self.sink.patch(&metadata.namespace, &metadata.name, patch);
            match patched.await {
                Err(error) if error.is_not_found() => {}
                other => return other,
            }
        }
        self.sink.create(event).await
    }
}

fn key(event: &Event) -> Key {
    let reference = |object: &ObjectReference| {
        let parts = [
            &object.kind,
            &object.namespace,
            &object.name,
            &object.uid,
            &object.api_version,
            &object.resource_version,
            &object.field_path,
        ];
        parts.map(String::as_str).join("\u{0}")
    };
    (
        event.type_.clone(),
        event.action.clone(),
        event.reason.clone(),
        format!(
            "{}\u{0}{}",
            event.reporting_controller, event.reporting_instance
        ),
        reference(&event.regarding),
        event.related.as_deref().map(reference).unwrap_or_default(),
    )
}

fn make(recorded: RecordedEvent, now: jiff::Timestamp) -> Event {
    let mut event = Event {
        event_time: MicroTime::from_timestamp(now),
        reporting_controller: recorded.component,
        reporting_instance: recorded.instance,
        action: recorded.action,
        reason: recorded.reason,
        related: recorded.related.map(Box::new),
        note: recorded.message,
        type_: recorded.type_,
        ..Event::default()
    };
    event.metadata.name = event_name(&recorded.regarding.name, now);
    event.metadata.namespace = event_namespace(&recorded.regarding);
    event.metadata.annotations = recorded.annotations;
    event.regarding = recorded.regarding;
    event
}
