//! Sends `v1` events, one after the other. Upstream: `client-go/tools/record/event.go`.

use std::sync::Arc;

use api_types::Time;
use api_types::core::v1::{Event, EventSource};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::correlator::{Correlator, Verdict};
use super::{RETRY_WAIT, RecordedEvent, TRIES, event_name, event_namespace, next, worth_retrying};
use crate::error::Error;
use crate::record::sink::CoreEventSink;

pub(super) struct Sender {
    sink: Arc<dyn CoreEventSink>,
    correlator: Correlator,
    token: CancellationToken,
}

impl Sender {
    pub(super) fn new(sink: Arc<dyn CoreEventSink>, token: CancellationToken) -> Self {
        Self {
            sink,
            correlator: Correlator::new(),
            token,
        }
    }

    pub(super) async fn run(mut self, mut receiver: mpsc::Receiver<RecordedEvent>) {
        while let Some(event) = next(&mut receiver, &self.token).await {
            let now = jiff::Timestamp::now();
            let verdict = self.correlator.correlate(make(event, now), now);
            self.send(verdict).await;
        }
    }

    /// Holds everything up while the server cannot be reached, as upstream: the queue keeps what comes.
    async fn send(&mut self, verdict: Verdict) {
        let (event, mut patch) = match verdict {
            Verdict::Drop => return,
            Verdict::Create(event) => (event, None),
            Verdict::Patch(event, patch) => (event, Some(patch)),
        };
        for attempt in 1..=TRIES {
            let error = match self.write(&event, &mut patch).await {
                Ok(stored) => {
                    self.correlator.stored(&stored);
                    return;
                }
                Err(error) => error,
            };
            if !worth_retrying(&error) {
                if error.is_already_exists() || error.has_cause("NamespaceTerminating") {
                    tracing::debug!(%error, "Server rejected event (will not retry!)");
                } else {
                    tracing::error!(%error, reason = event.reason, object = event.involved_object.name, "Server rejected event (will not retry!)");
                }
                return;
            }
            if self.token.is_cancelled() {
                tracing::error!(%error, "Unable to write event (broadcaster is shut down)");
                return;
            }
            tracing::error!(%error, "Unable to write event (may retry after sleeping)");
            // The first wait is random so that clients do not come back all at once.
            let wait = if attempt == 1 {
                RETRY_WAIT.mul_f64(rand::random())
            } else {
                RETRY_WAIT
            };
            self.token
                .run_until_cancelled(tokio::time::sleep(wait))
                .await;
        }
        tracing::error!(
            reason = event.reason,
            object = event.involved_object.name,
            "Unable to write event (retry limit exceeded!)"
        );
    }

    async fn write(&self, event: &Event, patch: &mut Option<Vec<u8>>) -> Result<Event, Error> {
        if let Some(body) = patch.take() {
            let metadata = &event.metadata;
            let patched = self.sink.patch(&metadata.namespace, &metadata.name, &body);
            match patched.await {
                // Events live for an hour: it may be gone, so make it again.
                Err(error) if error.is_not_found() => {}
                other => {
                    *patch = Some(body);
                    return other;
                }
            }
        }
        let mut event = event.clone();
        event.metadata.resource_version = String::new();
        self.sink.create(&event).await
    }
}

fn make(recorded: RecordedEvent, now: jiff::Timestamp) -> Event {
    let mut event = Event {
        reason: recorded.reason,
        message: recorded.message,
        first_timestamp: Time::from_timestamp(now),
        last_timestamp: Time::from_timestamp(now),
        count: 1,
        type_: recorded.type_,
        source: EventSource {
            component: recorded.component.clone(),
            host: recorded.instance.clone(),
        },
        reporting_component: recorded.component,
        reporting_instance: recorded.instance,
        ..Event::default()
    };
    event.metadata.name = event_name(&recorded.regarding.name, now);
    event.metadata.namespace = event_namespace(&recorded.regarding);
    event.metadata.annotations = recorded.annotations;
    event.involved_object = recorded.regarding;
    event
}
