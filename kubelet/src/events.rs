//! Events about pods, containers and the node. Reasons: upstream's `pkg/kubelet/events`.

use api_types::core::v1::{ObjectReference, Pod};
use client::EventRecorder;
use parking_lot::Mutex;

use crate::container::{ContainerKind, field_path};

/// `Normal` or `Warning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it should be.
    Normal,
    /// Something a person may have to look at.
    Warning,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Normal => "Normal",
            Kind::Warning => "Warning",
        }
    }
}

/// Writes events with the kubelet as their source; without an API server they are dropped.
pub struct Recorder {
    sink: Sink,
    node_name: String,
}

enum Sink {
    Api(EventRecorder),
    Nowhere,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests read back what would have been sent")
    )]
    Memory(Mutex<Vec<String>>),
}

impl Recorder {
    /// Sends to the API server.
    #[must_use]
    pub fn new(recorder: Option<EventRecorder>, node_name: &str) -> Self {
        Recorder {
            sink: recorder.map_or(Sink::Nowhere, Sink::Api),
            node_name: node_name.to_owned(),
        }
    }

    /// Keeps events as `<type> <reason> <message>` for tests.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Recorder {
            sink: Sink::Memory(Mutex::default()),
            node_name: "node".to_owned(),
        }
    }

    /// The events kept so far.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> Vec<String> {
        match &self.sink {
            Sink::Memory(events) => std::mem::take(&mut events.lock()),
            _ => Vec::new(),
        }
    }

    fn send(&self, reference: &ObjectReference, kind: Kind, reason: &str, message: &str) {
        match &self.sink {
            Sink::Api(recorder) => recorder.event(reference, kind.as_str(), reason, message),
            Sink::Nowhere => {}
            Sink::Memory(events) => events
                .lock()
                .push(format!("{} {reason} {message}", kind.as_str())),
        }
    }

    /// An event about a pod.
    pub fn pod(&self, pod: &Pod, kind: Kind, reason: &str, message: &str) {
        self.send(&pod_reference(pod, ""), kind, reason, message);
    }

    /// An event about a container of a pod.
    ///
    /// Ids of containers in the message are replaced by the name: they would make every event a new one.
    pub fn container(
        &self,
        pod: &Pod,
        container: (&str, ContainerKind),
        id: &str,
        kind: Kind,
        reason: &str,
        message: &str,
    ) {
        let (name, container_kind) = container;
        let message = if id.is_empty() {
            message.to_owned()
        } else {
            message.replace(id, name)
        };
        self.send(
            &pod_reference(pod, &field_path(name, container_kind)),
            kind,
            reason,
            &message,
        );
    }

    /// An event about this node.
    pub fn node(&self, kind: Kind, reason: &str, message: &str) {
        let reference = ObjectReference {
            kind: "Node".to_owned(),
            name: self.node_name.clone(),
            // Upstream puts the name where the UID belongs; `kubectl describe node` looks for exactly that.
            uid: self.node_name.clone(),
            ..Default::default()
        };
        self.send(&reference, kind, reason, message);
    }
}

fn pod_reference(pod: &Pod, field_path: &str) -> ObjectReference {
    ObjectReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: field_path.to_owned(),
    }
}
