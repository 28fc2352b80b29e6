//! Conversions between versions of one key space. Upstream: the conversion.go files of pkg/apis.
//!
//! Every resource has a hub: the version that strategies, admission and printers work on. Another version that is served has a row
//! in [`versions`], and functions where its fields are not the hub's:
//!
//! - autoscaling/v1 HorizontalPodAutoscaler and v2, which is stored;
//! - events.k8s.io/v1 Event and core/v1 Event, which is stored;
//! - resource.k8s.io/v1beta1 and v1, which is stored.
//!
//! CustomResourceDefinitions are served as v1 and stored as v1beta1 JSON. What older servers stored in versions that are no longer
//! the stored ones is read by the functions of [`dynamic_resources`] and [`older`].

pub(crate) mod autoscaling;
pub(crate) mod crd;
mod dynamic_resources;
pub(crate) mod event;
mod older;
mod versions;

use api_types::kinds::KindInfo;
use api_types::resources::ResourceInfo;
use api_types::{Described, Struct};

use super::object::Object;

/// Turns an object of one version into one of another.
pub type Convert = fn(Object) -> Result<Object, String>;

/// Between the hub type of a resource and a version it is served in.
pub enum Conversion {
    /// The versions have the same fields in the same wire form, with one meaning.
    SameFields,
    /// The fields differ.
    Functions(&'static Functions),
}

/// The two ways between versions with different fields.
pub struct Functions {
    pub to_hub: Convert,
    pub to_served: Convert,
}

impl Conversion {
    /// An object of the served version as one of the hub.
    pub fn to_hub(&self, served: Object, hub: &KindInfo) -> Result<Object, String> {
        match self {
            Conversion::SameFields => served.retyped(hub),
            Conversion::Functions(functions) => (functions.to_hub)(served),
        }
    }

    /// An object of the hub as one of the served version.
    pub fn to_served(&self, hub: Object, served: &KindInfo) -> Result<Object, String> {
        match self {
            Conversion::SameFields => hub.retyped(served),
            Conversion::Functions(functions) => (functions.to_served)(hub),
        }
    }
}

/// Rewrites JSON on its way to and from etcd.
pub struct StoredJson {
    pub to_stored: fn(Vec<u8>) -> Vec<u8>,
    pub from_stored: fn(Vec<u8>) -> Vec<u8>,
}

/// The hub kind of a resource that has another served version, and the way there.
pub fn conversion(info: &ResourceInfo) -> Option<(&'static KindInfo, &'static Conversion)> {
    let row = versions::find(info.group, info.version, info.kind)?;
    Some((row.hub_kind()?, &row.conversion))
}

/// Whether a kind has another version than its hub.
pub fn has_versions(hub: &KindInfo) -> bool {
    versions::ROWS
        .iter()
        .any(|row| row.hub == (hub.group, hub.version) && row.kind == hub.kind)
}

/// An object of one version of a kind in another one. None if they are not versions of one kind.
pub fn between(
    object: Object,
    from: &'static KindInfo,
    to: &'static KindInfo,
) -> Option<Result<Object, String>> {
    let (from_row, to_row) = (versions::of(from), versions::of(to));
    let hub_of = |kind: &KindInfo, row: Option<&versions::Row>| {
        row.map_or((kind.group, kind.version), |row| row.hub)
    };
    let hub = hub_of(from, from_row);
    if from.kind != to.kind || hub != hub_of(to, to_row) {
        return None;
    }
    let hub = api_types::kinds::lookup(hub.0, hub.1, to.kind)?;
    let in_hub = match from_row {
        Some(row) => row.conversion.to_hub(object, hub),
        None => Ok(object),
    };
    Some(match to_row {
        Some(row) => in_hub.and_then(|object| row.conversion.to_served(object, to)),
        None => in_hub,
    })
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
            autoscaling::FUNCTIONS.to_hub,
        ),
        // v1beta1 has the fields of v1.
        ("events", "events.k8s.io/v1" | "events.k8s.io/v1beta1") => {
            ("events.k8s.io", "v1", "Event", event::FUNCTIONS.to_hub)
        }
        ("resourceclaims", "resource.k8s.io/v1beta1") => (
            "resource.k8s.io",
            "v1beta1",
            "ResourceClaim",
            dynamic_resources::CLAIM.to_hub,
        ),
        ("resourceclaimtemplates", "resource.k8s.io/v1beta1") => (
            "resource.k8s.io",
            "v1beta1",
            "ResourceClaimTemplate",
            dynamic_resources::CLAIM_TEMPLATE.to_hub,
        ),
        ("resourceslices", "resource.k8s.io/v1beta1") => (
            "resource.k8s.io",
            "v1beta1",
            "ResourceSlice",
            dynamic_resources::SLICE.to_hub,
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
        for info in RESOURCES {
            let Some(stored) = &info.storage else {
                continue;
            };
            let hub = conversion(info).map(|(hub, _)| hub);
            let Some(hub) = hub.or_else(|| lookup(stored.group, stored.version, info.kind)) else {
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

    #[test]
    fn rows_lead_to_hubs() {
        for row in versions::ROWS {
            let name = (row.group, row.version, row.kind);
            let hub = row.hub_kind().expect(row.kind);
            let served = lookup(row.group, row.version, row.kind).expect(row.kind);
            assert!(versions::of(hub).is_none(), "{name:?}");
            assert!(has_versions(hub), "{name:?}");
            let same = same_wire(served.schema, hub.schema, &mut BTreeSet::new());
            let says_same = matches!(row.conversion, Conversion::SameFields);
            assert_eq!(same, says_same, "{name:?}");
            let rows = versions::ROWS.iter();
            let of_name = rows.filter(|row| (row.group, row.version, row.kind) == name);
            assert_eq!(of_name.count(), 1, "{name:?}");
        }
    }

    #[test]
    fn the_hub_and_the_stored_version_have_the_same_fields() {
        for info in RESOURCES {
            let Some(stored) = &info.storage else {
                continue;
            };
            let served = lookup(info.group, info.version, info.kind);
            let hub = conversion(info).map(|(hub, _)| hub).or(served);
            // The stored version of CustomResourceDefinitions has no type.
            let stored = lookup(stored.group, stored.version, info.kind);
            if let (Some(hub), Some(stored)) = (hub, stored) {
                let same = same_wire(hub.schema, stored.schema, &mut BTreeSet::new());
                assert!(same, "{info:?}");
            }
        }
    }
}
