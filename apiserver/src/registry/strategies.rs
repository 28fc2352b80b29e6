//! Which strategy a kind has. Upstream: the strategy.go files of pkg/registry.

use api_types::core::v1::{Namespace, PersistentVolume, Pod};
use api_types::meta::v1::DeleteOptions;

use super::object::Object;
use super::strategy::{Context, GarbageCollection, Strategy};

/// What most kinds do, with the few switches in which they differ.
struct Plain {
    /// Status of a new object is kept instead of cleared.
    keeps_status_on_create: bool,
    /// The generation starts at 1 and counts changes outside metadata and status.
    generation: bool,
    create_on_update: bool,
    unconditional_update: bool,
    garbage_collection: GarbageCollection,
}

const PLAIN: Plain = Plain {
    keeps_status_on_create: false,
    generation: false,
    create_on_update: false,
    unconditional_update: true,
    garbage_collection: GarbageCollection::DeleteDependents,
};
const COUNTED: Plain = Plain {
    generation: true,
    ..PLAIN
};
const GUARDED: Plain = Plain {
    unconditional_update: false,
    ..PLAIN
};
const COUNTED_GUARDED: Plain = Plain {
    generation: true,
    unconditional_update: false,
    ..PLAIN
};
const UPSERT: Plain = Plain {
    create_on_update: true,
    ..PLAIN
};

/// Kinds that differ from `PLAIN`.
static ROWS: &[(&str, &str, Plain)] = &[
    ("", "Endpoints", UPSERT),
    (
        "",
        "Event",
        Plain {
            create_on_update: true,
            garbage_collection: GarbageCollection::Unsupported,
            ..PLAIN
        },
    ),
    ("", "LimitRange", UPSERT),
    (
        "",
        "Node",
        Plain {
            keeps_status_on_create: true,
            ..PLAIN
        },
    ),
    ("", "Pod", COUNTED),
    ("", "PodTemplate", COUNTED),
    (
        "",
        "ReplicationController",
        Plain {
            generation: true,
            garbage_collection: GarbageCollection::OrphanDependents,
            ..PLAIN
        },
    ),
    ("", "Service", UPSERT),
    (
        "admissionregistration.k8s.io",
        "MutatingAdmissionPolicy",
        COUNTED_GUARDED,
    ),
    (
        "admissionregistration.k8s.io",
        "MutatingAdmissionPolicyBinding",
        COUNTED_GUARDED,
    ),
    (
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration",
        COUNTED_GUARDED,
    ),
    (
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicy",
        COUNTED_GUARDED,
    ),
    (
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicyBinding",
        COUNTED_GUARDED,
    ),
    (
        "admissionregistration.k8s.io",
        "ValidatingWebhookConfiguration",
        COUNTED_GUARDED,
    ),
    (
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        COUNTED_GUARDED,
    ),
    ("apiregistration.k8s.io", "APIService", GUARDED),
    ("apps", "DaemonSet", COUNTED),
    ("apps", "Deployment", COUNTED),
    ("apps", "ReplicaSet", COUNTED),
    ("apps", "StatefulSet", COUNTED),
    ("batch", "CronJob", COUNTED),
    (
        "batch",
        "Job",
        Plain {
            generation: true,
            garbage_collection: GarbageCollection::OrphanDependents,
            ..PLAIN
        },
    ),
    (
        "coordination.k8s.io",
        "Lease",
        Plain {
            create_on_update: true,
            unconditional_update: false,
            ..PLAIN
        },
    ),
    ("discovery.k8s.io", "EndpointSlice", COUNTED),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", COUNTED),
    (
        "flowcontrol.apiserver.k8s.io",
        "PriorityLevelConfiguration",
        COUNTED,
    ),
    ("networking.k8s.io", "Ingress", COUNTED),
    ("networking.k8s.io", "IngressClass", COUNTED),
    ("networking.k8s.io", "NetworkPolicy", COUNTED),
    (
        "node.k8s.io",
        "RuntimeClass",
        Plain {
            create_on_update: true,
            unconditional_update: false,
            ..PLAIN
        },
    ),
    ("policy", "PodDisruptionBudget", COUNTED_GUARDED),
    ("rbac.authorization.k8s.io", "ClusterRole", UPSERT),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", UPSERT),
    ("rbac.authorization.k8s.io", "Role", UPSERT),
    ("rbac.authorization.k8s.io", "RoleBinding", UPSERT),
    ("resource.k8s.io", "DeviceClass", COUNTED),
    ("resource.k8s.io", "ResourceSlice", COUNTED),
    ("scheduling.k8s.io", "PriorityClass", COUNTED),
    ("storage.k8s.io", "CSIDriver", GUARDED),
    ("storage.k8s.io", "CSINode", GUARDED),
    ("storage.k8s.io", "CSIStorageCapacity", GUARDED),
    ("storage.k8s.io", "VolumeAttachment", GUARDED),
];

static DEFAULT: Plain = PLAIN;
static STATUS: StatusUpdate = StatusUpdate;
static FINALIZE: Finalize = Finalize;
static EPHEMERAL_CONTAINERS: PodPart = PodPart(take_ephemeral_containers);
static RESIZE: PodPart = PodPart(take_resources);
static STATUS_FIELD: &[&str] = &["Status"];

/// The strategy for writing a kind, or one of its subresources.
pub fn strategy(group: &str, kind: &str, subresource: &str) -> &'static dyn Strategy {
    if let Some(strategy) = crate::apis::strategies::strategy_for(group, kind, subresource) {
        return strategy;
    }
    match subresource {
        "status" | "approval" => return &STATUS,
        "finalize" => return &FINALIZE,
        "ephemeralcontainers" => return &EPHEMERAL_CONTAINERS,
        "resize" => return &RESIZE,
        _ => {}
    }
    ROWS.iter()
        .find(|(row_group, row_kind, _)| *row_group == group && *row_kind == kind)
        .map_or(&DEFAULT, |(_, _, plain)| plain)
}

/// Whether anything but metadata and status differs.
fn spec_changed(object: &Object, old: &Object) -> bool {
    let fields = object.value().schema().fields;
    fields
        .iter()
        .filter(|field| !matches!(field.go, "TypeMeta" | "ObjectMeta" | "Status"))
        .any(|field| !object.field_equals(old, field.go))
}

impl Strategy for Plain {
    fn default(&self, object: &mut Object) {
        crate::apis::defaults::set_defaults(object.value_mut());
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Object) {
        if !self.keeps_status_on_create {
            object.clear_field("Status");
        }
        if self.generation {
            object.edit_metadata(|metadata| metadata.generation = 1);
        }
        if let Some(pod) = object.get_mut::<Pod>() {
            pod.status.phase = "Pending".to_owned();
        } else if let Some(namespace) = object.get_mut::<Namespace>() {
            namespace.status.phase = "Active".to_owned();
            if !namespace
                .spec
                .finalizers
                .iter()
                .any(|finalizer| finalizer == "kubernetes")
            {
                namespace.spec.finalizers.push("kubernetes".to_owned());
            }
        } else if let Some(volume) = object.get_mut::<PersistentVolume>() {
            volume.status.phase = "Pending".to_owned();
            volume.status.last_phase_transition_time = Some(api_types::Time::now());
        }
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Object, old: &Object) {
        object.copy_field(old, "Status");
        if let (Some(namespace), Some(old)) =
            (object.get_mut::<Namespace>(), old.get::<Namespace>())
        {
            namespace.spec.finalizers.clone_from(&old.spec.finalizers);
        }
        if self.generation && spec_changed(object, old) {
            object.edit_metadata(|metadata| metadata.generation += 1);
        }
    }

    fn allow_create_on_update(&self) -> bool {
        self.create_on_update
    }

    fn allow_unconditional_update(&self) -> bool {
        self.unconditional_update
    }

    fn garbage_collection(&self, _: &Context) -> GarbageCollection {
        self.garbage_collection
    }

    fn supports_graceful_delete(&self) -> bool {
        // Decided by the object in `check_graceful_delete`: only pods are deleted gracefully.
        true
    }

    fn check_graceful_delete(&self, object: &Object, options: &mut DeleteOptions) -> bool {
        let Some(pod) = object.get::<Pod>() else {
            return false;
        };
        let mut seconds = options
            .grace_period_seconds
            .or(pod.spec.termination_grace_period_seconds)
            .unwrap_or(0);
        if pod.spec.node_name.is_empty()
            || matches!(pod.status.phase.as_str(), "Failed" | "Succeeded")
        {
            seconds = 0;
        }
        if seconds < 0 {
            seconds = 1;
        }
        options.grace_period_seconds = Some(seconds);
        true
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        STATUS_FIELD
    }
}

/// Writes through `/status`: everything but metadata and status stays as it was.
struct StatusUpdate;

impl Strategy for StatusUpdate {
    fn prepare_for_update(&self, _: &Context, object: &mut Object, old: &Object) {
        for field in old.value().schema().fields {
            if !matches!(field.go, "TypeMeta" | "ObjectMeta" | "Status") {
                object.copy_field(old, field.go);
            }
        }
        if object.get::<Pod>().is_some() {
            let owners = old.metadata().owner_references.clone();
            object.edit_metadata(|metadata| {
                metadata.owner_references = owners;
                metadata.deletion_timestamp = None;
            });
        }
        if let (Some(pod), Some(old)) = (object.get_mut::<Pod>(), old.get::<Pod>())
            && pod.status.qos_class.is_empty()
        {
            pod.status.qos_class.clone_from(&old.status.qos_class);
        }
    }
}

/// Writes through a namespace's `/finalize`: its finalizers and metadata.
struct Finalize;

impl Strategy for Finalize {
    fn prepare_for_update(&self, _: &Context, object: &mut Object, old: &Object) {
        object.copy_field(old, "Status");
    }
}

/// Writes through a subresource of pods that is for one part of the spec.
struct PodPart(fn(&Pod, &mut Pod));

impl Strategy for PodPart {
    fn prepare_for_update(&self, _: &Context, object: &mut Object, old: &Object) {
        let Some(asked) = object.get::<Pod>().cloned() else {
            return;
        };
        object.copy_field(old, "Spec");
        object.copy_field(old, "Status");
        let metadata = old.metadata().clone();
        object.edit_metadata(|new| {
            let (version, entries) = (
                std::mem::take(&mut new.resource_version),
                std::mem::take(&mut new.managed_fields),
            );
            *new = metadata;
            new.resource_version = version;
            new.managed_fields = entries;
        });
        if let Some(pod) = object.get_mut::<Pod>() {
            (self.0)(&asked, pod);
        }
        if !object.field_equals(old, "Spec") {
            object.edit_metadata(|metadata| metadata.generation += 1);
        }
    }
}

fn take_ephemeral_containers(asked: &Pod, pod: &mut Pod) {
    pod.spec
        .ephemeral_containers
        .clone_from(&asked.spec.ephemeral_containers);
}

fn take_resources(asked: &Pod, pod: &mut Pod) {
    let lists = [
        (&asked.spec.containers, &mut pod.spec.containers),
        (&asked.spec.init_containers, &mut pod.spec.init_containers),
    ];
    for (from, to) in lists {
        for container in to {
            if let Some(asked) = from.iter().find(|asked| asked.name == container.name) {
                container.resources.clone_from(&asked.resources);
                container.resize_policy.clone_from(&asked.resize_policy);
            }
        }
    }
    pod.spec.resources.clone_from(&asked.spec.resources);
}

#[cfg(test)]
mod tests {
    use api_types::kinds;
    use api_types::resources::RESOURCES;

    use super::super::convert;
    use crate::apis::strategies::strategy_for;

    #[test]
    fn what_can_be_switched_on_has_rules_of_its_own() {
        // What was never checked would get to etcd.
        for info in RESOURCES.iter().filter(|info| !info.default_on) {
            let hub = convert::conversion(info).map(|(hub, _)| hub);
            let hub = hub.or_else(|| kinds::lookup(info.group, info.version, info.kind));
            let hub = hub.expect("a type");
            assert!(strategy_for(hub.group, hub.kind, "").is_some(), "{info:?}");
        }
    }
}
