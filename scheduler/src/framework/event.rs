//! Changes in the cluster that can make a waiting pod fit. Upstream: kube-scheduler/framework/types.go, framework/events.go.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::{Container, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use api_types::storage::v1::{
    CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment,
};
use apimachinery::resource::{PodResourcesOptions, pod_requests};

/// What happened, as bits, so that a plugin can register for several at once. Upstream: `ActionType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Action(pub u32);

impl Action {
    pub const NONE: Self = Self(0);
    pub const ADD: Self = Self(1);
    pub const DELETE: Self = Self(1 << 1);
    pub const UPDATE_NODE_ALLOCATABLE: Self = Self(1 << 2);
    pub const UPDATE_NODE_LABEL: Self = Self(1 << 3);
    pub const UPDATE_NODE_TAINT: Self = Self(1 << 4);
    pub const UPDATE_NODE_CONDITION: Self = Self(1 << 5);
    pub const UPDATE_NODE_ANNOTATION: Self = Self(1 << 6);
    pub const UPDATE_NODE_DECLARED_FEATURE: Self = Self(1 << 7);
    pub const UPDATE_POD_LABEL: Self = Self(1 << 8);
    pub const UPDATE_POD_SCALE_DOWN: Self = Self(1 << 9);
    pub const UPDATE_POD_TOLERATION: Self = Self(1 << 10);
    pub const UPDATE_POD_SCHEDULING_GATES_ELIMINATED: Self = Self(1 << 11);
    pub const UPDATE_POD_GENERATED_RESOURCE_CLAIM: Self = Self(1 << 12);
    pub const ALL: Self = Self((1 << 13) - 1);
    /// Any update.
    pub const UPDATE: Self = Self(Self::ALL.0 & !Self::ADD.0 & !Self::DELETE.0);

    /// Both.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn name(self) -> &'static str {
        match self {
            Self::ADD => "Add",
            Self::DELETE => "Delete",
            Self::UPDATE_NODE_ALLOCATABLE => "UpdateNodeAllocatable",
            Self::UPDATE_NODE_LABEL => "UpdateNodeLabel",
            Self::UPDATE_NODE_TAINT => "UpdateNodeTaint",
            Self::UPDATE_NODE_CONDITION => "UpdateNodeCondition",
            Self::UPDATE_NODE_ANNOTATION => "UpdateNodeAnnotation",
            Self::UPDATE_NODE_DECLARED_FEATURE => "UpdateNodeDeclaredFeature",
            Self::UPDATE_POD_LABEL => "UpdatePodLabel",
            Self::UPDATE_POD_SCALE_DOWN => "UpdatePodScaleDown",
            Self::UPDATE_POD_TOLERATION => "UpdatePodToleration",
            Self::UPDATE_POD_SCHEDULING_GATES_ELIMINATED => "UpdatePodSchedulingGatesEliminated",
            Self::UPDATE_POD_GENERATED_RESOURCE_CLAIM => "UpdatePodGeneratedResourceClaim",
            Self::ALL => "All",
            Self::UPDATE => "Update",
            _ => "",
        }
    }
}

/// What it happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventResource {
    /// Any pod; used to register.
    Pod,
    /// A pod on a node.
    AssignedPod,
    /// A pod that is on no node.
    UnschedulablePod,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    CsiNode,
    CsiDriver,
    CsiStorageCapacity,
    StorageClass,
    VolumeAttachment,
    /// Everything.
    WildCard,
}

impl EventResource {
    /// Upstream's name, as in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::AssignedPod => "AssignedPod",
            Self::UnschedulablePod => "UnschedulablePod",
            Self::Node => "Node",
            Self::PersistentVolume => "PersistentVolume",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::CsiNode => "storage.k8s.io/CSINode",
            Self::CsiDriver => "storage.k8s.io/CSIDriver",
            Self::CsiStorageCapacity => "storage.k8s.io/CSIStorageCapacity",
            Self::StorageClass => "storage.k8s.io/StorageClass",
            Self::VolumeAttachment => "storage.k8s.io/VolumeAttachment",
            Self::WildCard => "*",
        }
    }

    fn covers(self, other: Self) -> bool {
        self == Self::WildCard
            || self == other
            || self == Self::Pod && matches!(other, Self::AssignedPod | Self::UnschedulablePod)
    }
}

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterEvent {
    pub resource: EventResource,
    pub action: Action,
    /// Shown instead of resource and action, if set.
    custom_label: &'static str,
}

impl ClusterEvent {
    pub const ASSIGNED_POD_ADD: Self = Self::new(EventResource::AssignedPod, Action::ADD);
    pub const ASSIGNED_POD_UPDATE: Self = Self::new(EventResource::AssignedPod, Action::UPDATE);
    pub const ASSIGNED_POD_DELETE: Self = Self::new(EventResource::AssignedPod, Action::DELETE);
    pub const UNSCHEDULED_POD_ADD: Self = Self::new(EventResource::UnschedulablePod, Action::ADD);
    pub const UNSCHEDULED_POD_UPDATE: Self =
        Self::new(EventResource::UnschedulablePod, Action::UPDATE);
    pub const UNSCHEDULED_POD_DELETE: Self =
        Self::new(EventResource::UnschedulablePod, Action::DELETE);
    /// The pod waited for so long that it is tried again whatever happened.
    pub const UNSCHEDULABLE_TIMEOUT: Self = Self::wildcard("UnschedulableTimeout");
    /// A plugin asked to try a pod again.
    pub const FORCE_ACTIVATE: Self = Self::wildcard("ForceActivate");

    /// A change of a kind of object.
    pub const fn new(resource: EventResource, action: Action) -> Self {
        Self {
            resource,
            action,
            custom_label: "",
        }
    }

    const fn wildcard(custom_label: &'static str) -> Self {
        Self {
            resource: EventResource::WildCard,
            action: Action::ALL,
            custom_label,
        }
    }

    /// Whether it stands for every change.
    pub fn is_wildcard(&self) -> bool {
        self.resource == EventResource::WildCard && self.action == Action::ALL
    }

    /// The text in metrics.
    pub fn label(&self) -> String {
        if self.custom_label.is_empty() {
            format!("{}{}", self.resource.as_str(), self.action.name())
        } else {
            self.custom_label.to_owned()
        }
    }

    /// Whether this registration covers what happened. Upstream: `MatchClusterEvents`.
    pub fn covers(&self, incoming: &ClusterEvent) -> bool {
        self.is_wildcard()
            || self.resource.covers(incoming.resource)
                && self.action.0 & incoming.action.0 != 0
                && incoming.action <= self.action
    }
}

/// The object a change is about.
#[derive(Clone, Debug)]
pub enum EventObject {
    Pod(Arc<Pod>),
    Node(Arc<Node>),
    PersistentVolume(Arc<PersistentVolume>),
    PersistentVolumeClaim(Arc<PersistentVolumeClaim>),
    CsiNode(Arc<CSINode>),
    CsiDriver(Arc<CSIDriver>),
    CsiStorageCapacity(Arc<CSIStorageCapacity>),
    StorageClass(Arc<StorageClass>),
    VolumeAttachment(Arc<VolumeAttachment>),
}

/// An object before and after. Neither is there for wildcard events.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub old: Option<EventObject>,
    pub new: Option<EventObject>,
}

macro_rules! change_of {
    ($($function:ident, $variant:ident, $type:ty;)*) => {
        impl Change {
            $(
                /// The change if it is one of this kind of object: before and after.
                pub fn $function(&self) -> (Option<&Arc<$type>>, Option<&Arc<$type>>) {
                    fn of(object: Option<&EventObject>) -> Option<&Arc<$type>> {
                        match object {
                            Some(EventObject::$variant(object)) => Some(object),
                            _ => None,
                        }
                    }
                    (of(self.old.as_ref()), of(self.new.as_ref()))
                }
            )*
        }
        $(
            impl From<&Arc<$type>> for EventObject {
                fn from(object: &Arc<$type>) -> Self {
                    Self::$variant(object.clone())
                }
            }
        )*
    };
}

change_of! {
    pods, Pod, Pod;
    nodes, Node, Node;
    persistent_volumes, PersistentVolume, PersistentVolume;
    persistent_volume_claims, PersistentVolumeClaim, PersistentVolumeClaim;
    csi_nodes, CsiNode, CSINode;
    csi_drivers, CsiDriver, CSIDriver;
    csi_storage_capacities, CsiStorageCapacity, CSIStorageCapacity;
    storage_classes, StorageClass, StorageClass;
    volume_attachments, VolumeAttachment, VolumeAttachment;
}

impl Change {
    /// Something came.
    pub fn added(new: impl Into<EventObject>) -> Self {
        Self {
            old: None,
            new: Some(new.into()),
        }
    }
    /// Something changed.
    pub fn updated(old: impl Into<EventObject>, new: impl Into<EventObject>) -> Self {
        Self {
            old: Some(old.into()),
            new: Some(new.into()),
        }
    }
    /// Something went.
    pub fn deleted(old: impl Into<EventObject>) -> Self {
        Self {
            old: Some(old.into()),
            new: None,
        }
    }
}

/// Whether a change may make a pod fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// It cannot.
    Skip,
    /// It may.
    Queue,
}

impl Hint {
    /// [`Hint::Queue`] if true.
    pub fn queue_if(worth_it: bool) -> Self {
        if worth_it { Self::Queue } else { Self::Skip }
    }
}

/// A hint, or an error that counts as [`Hint::Queue`].
pub type HintResult = Result<Hint, String>;

/// Judges a change for a pod that the plugin turned down. Upstream: `QueueingHintFn`.
pub type HintFn = Arc<dyn Fn(&Arc<Pod>, &Change) -> HintResult + Send + Sync>;

/// A kind of change that a plugin wants to hear about.
#[derive(Clone)]
pub struct ClusterEventWithHint {
    pub event: ClusterEvent,
    /// Without one, every such change may make the pod fit.
    pub hint: Option<HintFn>,
}

impl ClusterEventWithHint {
    /// Every such change counts.
    pub fn always(resource: EventResource, action: Action) -> Self {
        Self {
            event: ClusterEvent::new(resource, action),
            hint: None,
        }
    }

    /// A function decides.
    pub fn hinted(
        resource: EventResource,
        action: Action,
        hint: impl Fn(&Arc<Pod>, &Change) -> HintResult + Send + Sync + 'static,
    ) -> Self {
        Self {
            event: ClusterEvent::new(resource, action),
            hint: Some(Arc::new(hint)),
        }
    }
}

/// What changed in a pod, as events. Upstream: `PodSchedulingPropertiesChange`.
pub fn pod_scheduling_properties_change(new: &Pod, old: &Pod) -> Vec<ClusterEvent> {
    let resource = if new.spec.node_name.is_empty() {
        EventResource::UnschedulablePod
    } else {
        EventResource::AssignedPod
    };
    let mut events = Vec::new();
    let mut note = |changed: bool, action: Action| {
        if changed {
            events.push(ClusterEvent::new(resource, action));
        }
    };
    note(
        new.metadata.labels != old.metadata.labels,
        Action::UPDATE_POD_LABEL,
    );
    note(is_scaled_down(new, old), Action::UPDATE_POD_SCALE_DOWN);
    note(
        new.spec.scheduling_gates.is_empty() && !old.spec.scheduling_gates.is_empty(),
        Action::UPDATE_POD_SCHEDULING_GATES_ELIMINATED,
    );
    // Tolerations can only be added.
    note(
        new.spec.tolerations.len() != old.spec.tolerations.len(),
        Action::UPDATE_POD_TOLERATION,
    );
    note(
        new.status.resource_claim_statuses != old.status.resource_claim_statuses
            || new.status.extended_resource_claim_status
                != old.status.extended_resource_claim_status,
        Action::UPDATE_POD_GENERATED_RESOURCE_CLAIM,
    );
    if events.is_empty() {
        events.push(ClusterEvent::new(resource, Action::UPDATE));
    }
    events
}

fn is_scaled_down(new: &Pod, old: &Pod) -> bool {
    // Most updates touch no amounts: find that out without adding any up.
    let same = |a: &[Container], b: &[Container]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.resources == b.resources)
    };
    if new.spec.resources == old.spec.resources
        && new.status.container_statuses == old.status.container_statuses
        && same(&new.spec.containers, &old.spec.containers)
        && same(&new.spec.init_containers, &old.spec.init_containers)
    {
        return false;
    }
    let options = PodResourcesOptions {
        use_status_resources: true,
        in_place_pod_level_resources_vertical_scaling_enabled: true,
        ..PodResourcesOptions::default()
    };
    let requests = pod_requests(new, &options);
    pod_requests(old, &options)
        .iter()
        .any(|(name, old)| match requests.get(name) {
            Some(new) => old.milli_value() > new.milli_value(),
            None => true,
        })
}

/// What changed in a node, as events. Upstream: `NodeSchedulingPropertiesChange`.
pub fn node_scheduling_properties_change(new: &Node, old: &Node) -> Vec<ClusterEvent> {
    let mut events = Vec::new();
    let mut note = |changed: bool, action: Action| {
        if changed {
            events.push(ClusterEvent::new(EventResource::Node, action));
        }
    };
    note(
        old.spec.unschedulable && !new.spec.unschedulable,
        Action::UPDATE_NODE_TAINT,
    );
    note(
        old.status.allocatable != new.status.allocatable,
        Action::UPDATE_NODE_ALLOCATABLE,
    );
    note(
        old.metadata.labels != new.metadata.labels,
        Action::UPDATE_NODE_LABEL,
    );
    note(
        old.spec.taints != new.spec.taints,
        Action::UPDATE_NODE_TAINT,
    );
    let conditions = |node: &Node| -> BTreeMap<String, String> {
        node.status
            .conditions
            .iter()
            .map(|condition| (condition.type_.clone(), condition.status.clone()))
            .collect()
    };
    note(
        conditions(old) != conditions(new),
        Action::UPDATE_NODE_CONDITION,
    );
    note(
        old.metadata.annotations != new.metadata.annotations,
        Action::UPDATE_NODE_ANNOTATION,
    );
    note(
        old.status.declared_features != new.status.declared_features,
        Action::UPDATE_NODE_DECLARED_FEATURE,
    );
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_upstreams() {
        assert_eq!(
            ClusterEvent::ASSIGNED_POD_DELETE.label(),
            "AssignedPodDelete"
        );
        assert_eq!(
            ClusterEvent::new(EventResource::CsiNode, Action::UPDATE).label(),
            "storage.k8s.io/CSINodeUpdate"
        );
        assert_eq!(
            ClusterEvent::UNSCHEDULABLE_TIMEOUT.label(),
            "UnschedulableTimeout"
        );
    }

    #[test]
    fn registrations_cover_events() {
        let node = |action| ClusterEvent::new(EventResource::Node, action);
        let registered = node(Action::ADD.or(Action::UPDATE_NODE_TAINT));
        assert!(registered.covers(&node(Action::ADD)));
        assert!(registered.covers(&node(Action::UPDATE_NODE_TAINT)));
        assert!(!registered.covers(&node(Action::UPDATE_NODE_LABEL)));
        // A general update is wider than what was asked for.
        assert!(!registered.covers(&node(Action::UPDATE)));
        assert!(
            ClusterEvent::new(EventResource::Pod, Action::DELETE)
                .covers(&ClusterEvent::ASSIGNED_POD_DELETE)
        );
        assert!(!ClusterEvent::ASSIGNED_POD_DELETE.covers(&ClusterEvent::UNSCHEDULED_POD_DELETE));
        assert!(ClusterEvent::FORCE_ACTIVATE.covers(&node(Action::ADD)));
    }

    #[test]
    fn node_changes() {
        let mut old = Node::default();
        old.spec.unschedulable = true;
        let mut new = old.clone();
        assert_eq!(node_scheduling_properties_change(&new, &old), []);
        new.spec.unschedulable = false;
        new.metadata.labels.insert("a".into(), "b".into());
        let actions: Vec<Action> = node_scheduling_properties_change(&new, &old)
            .iter()
            .map(|event| event.action)
            .collect();
        assert_eq!(
            actions,
            [Action::UPDATE_NODE_TAINT, Action::UPDATE_NODE_LABEL]
        );
    }

    #[test]
    fn pod_changes() {
        let old = Pod::default();
        let mut new = old.clone();
        assert_eq!(
            pod_scheduling_properties_change(&new, &old),
            [ClusterEvent::UNSCHEDULED_POD_UPDATE]
        );
        new.spec.node_name = "n".into();
        new.metadata.labels.insert("a".into(), "b".into());
        assert_eq!(
            pod_scheduling_properties_change(&new, &old),
            [ClusterEvent::new(
                EventResource::AssignedPod,
                Action::UPDATE_POD_LABEL
            )]
        );
    }
}
