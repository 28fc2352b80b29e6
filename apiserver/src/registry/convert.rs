//! Conversions between versions of one key space. Upstream: the conversion.go files of pkg/apis.
//!
//! - autoscaling/v1 HorizontalPodAutoscaler and v2, which is stored;
//! - events.k8s.io/v1 Event and core/v1 Event, which is stored;
//! - CustomResourceDefinitions, served as v1 and stored as v1beta1 JSON.
//!
//! What older servers stored in versions that are no longer served is in [`dynamic_resources`] and [`older`].
//!
//! Other version pairs (MutatingAdmissionPolicy v1 and v1beta1) have the same fields and only change their apiVersion.

pub(crate) mod autoscaling;
pub(crate) mod crd;
mod dynamic_resources;
pub(crate) mod event;
mod older;

use api_types::kinds::KindInfo;
use api_types::resources::ResourceInfo;
use api_types::{Described, Struct};

use super::object::Object;

/// Turns an object of one version into one of another.
pub type Convert = fn(Object) -> Result<Object, String>;

/// Between the hub type of a resource and a version it is served in.
pub struct Conversion {
    pub to_hub: Convert,
    pub to_served: Convert,
}

/// Rewrites JSON on its way to and from etcd.
pub struct StoredJson {
    pub to_stored: fn(Vec<u8>) -> Vec<u8>,
    pub from_stored: fn(Vec<u8>) -> Vec<u8>,
}

/// The hub kind of a resource that has another served version, and the way there.
pub fn conversion(info: &ResourceInfo) -> Option<(&'static KindInfo, &'static Conversion)> {
    match (info.group, info.version, info.resource) {
        ("autoscaling", "v1", "horizontalpodautoscalers") => Some((
            api_types::kinds::lookup("autoscaling", "v2", "HorizontalPodAutoscaler")?,
            &autoscaling::CONVERSION,
        )),
        ("events.k8s.io", "v1", "events") => Some((
            api_types::kinds::lookup("", "v1", "Event")?,
            &event::CONVERSION,
        )),
        _ => None,
    }
}

/// How to read objects that an older server stored in another version than today's.
pub fn from_stored_version(
    info: &ResourceInfo,
    api_version: &str,
) -> Option<(&'static KindInfo, Convert)> {
    let (group, version, kind, convert): (_, _, _, Convert) = match (info.resource, api_version) {
        ("horizontalpodautoscalers", "autoscaling/v1") => (
            "autoscaling",
            "v1",
            "HorizontalPodAutoscaler",
            autoscaling::CONVERSION.to_hub,
        ),
        // v1beta1 has the fields of v1.
        ("events", "events.k8s.io/v1" | "events.k8s.io/v1beta1") => {
            ("events.k8s.io", "v1", "Event", event::CONVERSION.to_hub)
        }
        ("resourceclaims", "resource.k8s.io/v1beta1") => (
            "resource.k8s.io",
            "v1beta1",
            "ResourceClaim",
            dynamic_resources::claim,
        ),
        ("resourceclaimtemplates", "resource.k8s.io/v1beta1") => (
            "resource.k8s.io",
            "v1beta1",
            "ResourceClaimTemplate",
            dynamic_resources::claim_template,
        ),
        ("resourceslices", "resource.k8s.io/v1beta1") => (
            "resource.k8s.io",
            "v1beta1",
            "ResourceSlice",
            dynamic_resources::slice,
        ),
        ("endpointslices", "discovery.k8s.io/v1beta1") => (
            "discovery.k8s.io",
            "v1beta1",
            "EndpointSlice",
            older::endpoint_slice,
        ),
        // The type moved between the groups as it was.
        ("ingresses", "networking.k8s.io/v1beta1" | "extensions/v1beta1") => {
            ("networking.k8s.io", "v1beta1", "Ingress", older::ingress)
        }
        ("poddisruptionbudgets", "policy/v1beta1") => (
            "policy",
            "v1beta1",
            "PodDisruptionBudget",
            older::disruption_budget,
        ),
        ("prioritylevelconfigurations", "flowcontrol.apiserver.k8s.io/v1beta1") => (
            "flowcontrol.apiserver.k8s.io",
            "v1beta1",
            "PriorityLevelConfiguration",
            older::priority_level_v1beta1,
        ),
        ("prioritylevelconfigurations", "flowcontrol.apiserver.k8s.io/v1beta2") => (
            "flowcontrol.apiserver.k8s.io",
            "v1beta2",
            "PriorityLevelConfiguration",
            older::priority_level_v1beta2,
        ),
        ("prioritylevelconfigurations", "flowcontrol.apiserver.k8s.io/v1beta3") => (
            "flowcontrol.apiserver.k8s.io",
            "v1beta3",
            "PriorityLevelConfiguration",
            older::priority_level_v1beta3,
        ),
        _ => return None,
    };
    Some((api_types::kinds::lookup(group, version, kind)?, convert))
}

/// The typed object.
fn take<T: Struct + Described>(object: Object) -> Result<T, String> {
    let value = object.into_value().downcast::<T>();
    value
        .map(|value| *value)
        .map_err(|_| format!("not a {}", T::SCHEMA.name))
}

/// A value of one version as the other version's type. Fields that share a protobuf tag must share its meaning.
fn reshape<T: Described>(value: &dyn Struct) -> Result<T, String> {
    api_types::decode_protobuf(&api_types::encode_protobuf(value))
        .map_err(|error| error.to_string())
}

fn reshape_all<A: Struct, B: Described>(values: &[A]) -> Result<Vec<B>, String> {
    values.iter().map(|value| reshape(value)).collect()
}

/// The rewriting of a resource that is stored in JSON of another version.
pub fn stored_json(resource: &str) -> Option<&'static StoredJson> {
    (resource == "customresourcedefinitions").then_some(&crd::STORED)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use api_types::kinds::{KINDS, lookup};
    use api_types::resources::RESOURCES;
    use api_types::schema::{StructSchema, TypeRef};

    use super::*;

    /// Alpha versions that no server of a cluster in use has stored: rules and handlers sit below other tags.
    const NEVER_STORED: [(&str, &str); 2] = [
        ("rbac.authorization.k8s.io", "v1alpha1"),
        ("node.k8s.io", "v1alpha1"),
    ];

    fn same_type(one: &TypeRef, other: &TypeRef, seen: &mut BTreeSet<(usize, usize)>) -> bool {
        match (one.deref(), other.deref()) {
            (TypeRef::Struct(one), TypeRef::Struct(other)) => same_wire(one, other, seen),
            (TypeRef::List(one), TypeRef::List(other))
            | (TypeRef::WrappedList(one), TypeRef::WrappedList(other))
            | (TypeRef::Map(one), TypeRef::Map(other)) => same_type(one, other, seen),
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }

    /// Whether bytes of one type mean the same as bytes of the other.
    fn same_wire(
        one: &'static StructSchema,
        other: &'static StructSchema,
        seen: &mut BTreeSet<(usize, usize)>,
    ) -> bool {
        if !seen.insert((
            std::ptr::from_ref(one).addr(),
            std::ptr::from_ref(other).addr(),
        )) {
            return true;
        }
        let fields = |schema: &'static StructSchema| {
            schema
                .wire
                .iter()
                .map(|at| &schema.fields[usize::from(*at)])
        };
        one.tags == other.tags
            && fields(one)
                .zip(fields(other))
                .all(|(one, other)| one.json == other.json && same_type(&one.ty, &other.ty, seen))
    }

    #[test]
    fn versions_of_another_wire_form_are_converted() {
        let mut converted = 0;
        for info in RESOURCES.iter().filter(|info| info.default_on) {
            let Some(stored) = &info.storage else {
                continue;
            };
            let Some(hub) = lookup(stored.group, stored.version, info.kind) else {
                continue;
            };
            for kind in KINDS
                .iter()
                .filter(|kind| kind.kind == info.kind && kind.group == info.group)
            {
                if NEVER_STORED.contains(&(kind.group, kind.version)) {
                    continue;
                }
                let api_version = kind.schema.kind.map_or("", |name| name.api_version);
                let from = from_stored_version(info, api_version);
                converted += usize::from(from.is_some());
                assert!(
                    from.is_some() || same_wire(kind.schema, hub.schema, &mut BTreeSet::new()),
                    "{kind:?}"
                );
            }
        }
        assert!(converted >= 10, "{converted}");
    }
}
