//! Events about objects: what happened to them and why, for people to read. Upstream: `client-go/tools/{record,events}`.
//!
//! Recording never waits and never fails: an event goes into a bounded queue (full: dropped, with a log line), one task sends it.
//! Two APIs are spoken. The older `v1` one, used by all but the scheduler, correlates on this side: equal events become one with
//! a count, ten that differ only in their message within ten minutes become one "combined from similar events", and more than 25
//! from one source about one object are dropped down to one in five minutes. `events.k8s.io/v1` counts repetitions in a series.

mod core_v1;
mod correlator;
mod events_v1;
mod sink;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use api_types::Object;
use api_types::core::v1::ObjectReference;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Error;
use crate::rest::Client;

pub use sink::{CoreEventSink, EventSink};

/// As upstream.
const QUEUE: usize = 1000;
const TRIES: u32 = 12;
const RETRY_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// An event as it was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordedEvent {
    /// What it is about.
    pub regarding: ObjectReference,
    /// Another object that has to do with it.
    pub related: Option<ObjectReference>,
    /// Annotations of the event object.
    pub annotations: BTreeMap<String, String>,
    /// `Normal` or `Warning`.
    pub type_: String,
    /// A word for machines.
    pub reason: String,
    /// What was done, a word for machines; events.k8s.io only.
    pub action: String,
    /// A sentence for people.
    pub message: String,
    /// Who says so.
    component: String,
    instance: String,
}

/// Records events. Clones share the queue.
#[derive(Clone)]
pub struct EventRecorder {
    component: String,
    instance: String,
    output: Output,
}

#[derive(Clone)]
enum Output {
    Nowhere,
    Test(mpsc::UnboundedSender<RecordedEvent>),
    Server {
        queue: mpsc::Sender<RecordedEvent>,
        end: Arc<End>,
    },
}

/// Ends the sender when the last recorder is dropped, or when told to.
struct End {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl fmt::Debug for EventRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRecorder")
            .field("component", &self.component)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl EventRecorder {
    /// Records `v1` events of a component (`kubelet`, `deployment-controller`). `host` is the node's name for what runs on a
    /// node, else "". Starts a task: needs a runtime.
    pub fn new(client: &Client, component: impl Into<String>, host: impl Into<String>) -> Self {
        Self::core_v1_to(Arc::new(client.clone()), component, host)
    }

    /// The same, written in another way than by requests.
    pub fn core_v1_to(
        sink: Arc<dyn CoreEventSink>,
        component: impl Into<String>,
        host: impl Into<String>,
    ) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let end = Arc::new(End {
            token: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        end.tasks
            .spawn(core_v1::Sender::new(sink, end.token.clone()).run(receiver));
        end.tasks.close();
        Self {
            component: component.into(),
            instance: host.into(),
            output: Output::Server { queue, end },
        }
    }

    /// Records `events.k8s.io/v1` events of a controller (`default-scheduler`); the reporting instance is `<controller>-<host>`, as
    /// upstream. Starts a task: needs a runtime.
    pub fn events_v1(client: &Client, reporting_controller: impl Into<String>, host: &str) -> Self {
        Self::events_v1_to(Arc::new(client.clone()), reporting_controller, host)
    }

    /// The same, written in another way than by requests.
    pub fn events_v1_to(
        sink: Arc<dyn EventSink>,
        reporting_controller: impl Into<String>,
        host: &str,
    ) -> Self {
        let component = reporting_controller.into();
        let (queue, receiver) = mpsc::channel(QUEUE);
        let end = Arc::new(End {
            token: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        end.tasks
            .spawn(events_v1::Sender::new(sink, end.token.clone()).run(receiver));
        end.tasks.close();
        Self {
            instance: format!("{component}-{host}"),
            component,
            output: Output::Server { queue, end },
        }
    }

    /// Records nothing.
    pub fn discarding() -> Self {
        Self {
            component: String::new(),
            instance: String::new(),
            output: Output::Nowhere,
        }
    }

    /// Hands the events to the receiver, for tests.
    pub fn recording() -> (Self, mpsc::UnboundedReceiver<RecordedEvent>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (
            Self {
                component: "test".into(),
                instance: String::new(),
                output: Output::Test(sender),
            },
            receiver,
        )
    }

    /// The same queue for another component.
    pub fn with_component(&self, component: impl Into<String>) -> Self {
        Self {
            component: component.into(),
            ..self.clone()
        }
    }

    /// Records that something happened to an object. `type_` is `Normal` or `Warning`.
    pub fn event(
        &self,
        regarding: &ObjectReference,
        type_: &str,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.record(
            regarding,
            None,
            BTreeMap::new(),
            type_,
            reason,
            "",
            message.into(),
        );
    }

    /// The same with annotations on the event.
    pub fn annotated(
        &self,
        regarding: &ObjectReference,
        annotations: BTreeMap<String, String>,
        type_: &str,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.record(
            regarding,
            None,
            annotations,
            type_,
            reason,
            "",
            message.into(),
        );
    }

    /// The same with what was done and another object. `v1` events carry neither, as upstream.
    pub fn event_with(
        &self,
        regarding: &ObjectReference,
        related: Option<&ObjectReference>,
        type_: &str,
        reason: &str,
        action: &str,
        message: impl Into<String>,
    ) {
        self.record(
            regarding,
            related,
            BTreeMap::new(),
            type_,
            reason,
            action,
            message.into(),
        );
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the public methods name them in their own ways"
    )]
    fn record(
        &self,
        regarding: &ObjectReference,
        related: Option<&ObjectReference>,
        annotations: BTreeMap<String, String>,
        type_: &str,
        reason: &str,
        action: &str,
        message: String,
    ) {
        if !matches!(type_, "Normal" | "Warning") {
            tracing::error!(event_type = type_, "Unsupported event type");
            return;
        }
        tracing::debug!(
            object = %crate::ObjectKey::new(regarding.namespace.as_str(), regarding.name.as_str()),
            kind = regarding.kind, event_type = type_, reason, message, "Event occurred"
        );
        let event = RecordedEvent {
            regarding: regarding.clone(),
            related: related.cloned(),
            annotations,
            type_: type_.into(),
            reason: reason.into(),
            action: action.into(),
            message,
            component: self.component.clone(),
            instance: self.instance.clone(),
        };
        match &self.output {
            Output::Nowhere => {}
            Output::Test(sender) => drop(sender.send(event)),
            Output::Server { queue, .. } => match queue.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    tracing::error!(
                        ?event,
                        "Unable to record event: too many queued events, dropped event"
                    );
                }
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    tracing::debug!("Unable to record event: recorder is shut down")
                }
            },
        }
    }

    /// Takes in no more events, sends what is queued (each is tried once) and returns when that is done.
    pub async fn shut_down(&self) {
        if let Output::Server { end, .. } = &self.output {
            end.token.cancel();
            end.tasks.wait().await;
        }
    }
}

/// The reference to an object that events and owners carry.
pub fn object_reference<T: Object>(object: &T) -> ObjectReference {
    let metadata = object.metadata();
    ObjectReference {
        kind: T::KIND.into(),
        api_version: T::API_VERSION.into(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// `<object>.<nanoseconds in hex>`, or a random name if that is not a valid one.
fn event_name(object: &str, now: jiff::Timestamp) -> String {
    let name = format!("{object}.{:x}", now.as_nanosecond());
    if apimachinery::validation::is_dns1123_subdomain(&name).is_empty() {
        name
    } else {
        uuid::Uuid::new_v4().to_string()
    }
}

fn event_namespace(regarding: &ObjectReference) -> String {
    if regarding.namespace.is_empty() {
        "default".into()
    } else {
        regarding.namespace.clone()
    }
}

/// Whether trying again later may help: no answer came, or it was not understood.
fn worth_retrying(error: &Error) -> bool {
    matches!(
        error,
        Error::Transport { .. } | Error::Timeout { .. } | Error::Decode { .. }
    )
}

/// The next queued event. After the token is cancelled: what is still queued, then `None`.
async fn next(
    receiver: &mut mpsc::Receiver<RecordedEvent>,
    token: &CancellationToken,
) -> Option<RecordedEvent> {
    tokio::select! {
        biased;
        () = token.cancelled(), if !receiver.is_closed() => {
            receiver.close();
            receiver.recv().await
        }
        event = receiver.recv() => event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid() {
        let now = jiff::Timestamp::from_nanosecond(0x17a_8c0f_2d3e_4b5a).unwrap();
        assert_eq!(event_name("web-1", now), "web-1.17a8c0f2d3e4b5a");
        assert_eq!(event_name("system:node:x", now).len(), 36);
    }

    #[test]
    fn test_recorder_hands_over_what_was_asked_for() {
        let (recorder, mut events) = EventRecorder::recording();
        let pod = ObjectReference {
            kind: "Pod".into(),
            name: "a".into(),
            ..ObjectReference::default()
        };
        recorder.event(&pod, "Normal", "Started", "Started container");
        recorder.event(&pod, "Odd", "Nope", "unknown types are refused");
        recorder.event_with(
            &pod,
            None,
            "Warning",
            "FailedScheduling",
            "Scheduling",
            "no nodes",
        );
        let first = events.try_recv().unwrap();
        assert_eq!((first.regarding, first.reason.as_str()), (pod, "Started"));
        assert_eq!(events.try_recv().unwrap().action, "Scheduling");
        assert!(events.try_recv().is_err());
    }
}
