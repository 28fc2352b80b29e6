//! Who owns which field, for every write. Upstream: endpoints/handlers/fieldmanager.
//!
//! Ownership is tracked in the version a client uses. Updates compare typed objects of that version; applies, and updates
//! where another manager used another version, work on their JSON. A write never fails for this bookkeeping; only an apply does.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use api_types::meta::v1::ManagedFieldsEntry;
use api_types::{Struct, Time};
use apimachinery::gvk::GroupVersionKind;
use apimachinery::managedfields::{
    ApplyError, BuiltInTypes, ConversionError, FieldManager, Filter, ObjectType, Path, PathElement,
    Set, TypeConverter, decode_managed_fields, revert_timestamp_updates,
};
use apimachinery::status::{self, StatusError};
use parking_lot::RwLock;
use serde_json::Value;

use super::convert;
use super::object::Object;
use super::resource::Resource;
use super::sent_empty;
use crate::apis::gates;
use crate::custom_resources::CustomResource;
use crate::request_metrics::Comparison;

const SCALE_VERSION: &str = "autoscaling/v1";

/// One field manager per served version, resource and subresource, made when first used.
type Managers = HashMap<(&'static str, &'static str, String), Arc<FieldManager>>;
static MANAGERS: LazyLock<RwLock<Managers>> = LazyLock::new(RwLock::default);

fn manager_of(resource: &Resource, subresource: &str) -> Arc<FieldManager> {
    if let Some(custom) = &resource.custom
        && subresource != "scale"
    {
        return custom.manager(subresource);
    }
    let key = (
        resource.api_version,
        resource.info.resource,
        subresource.to_owned(),
    );
    if let Some(manager) = MANAGERS.read().get(&key) {
        return manager.clone();
    }
    let manager = Arc::new(if subresource == "scale" {
        FieldManager::new(
            GroupVersionKind::from_api_version_and_kind(SCALE_VERSION, "Scale"),
            subresource,
            Arc::new(BuiltInTypes::single_version("Scale")),
            BTreeMap::new(),
        )
    } else {
        FieldManager::new(
            GroupVersionKind::from_api_version_and_kind(resource.api_version, resource.info.kind),
            subresource,
            Arc::new(types_of(resource)),
            reset_fields(resource, subresource),
        )
    });
    MANAGERS.write().entry(key).or_insert(manager).clone()
}

fn types_of(resource: &Resource) -> BuiltInTypes {
    let kind = resource.info.kind;
    if convert::has_versions(resource.hub) {
        BuiltInTypes::with_conversion(kind, convert_version)
    } else {
        BuiltInTypes::single_version(kind)
    }
}

/// How objects of a resource merge, in the version that is served.
pub fn merge_type(resource: &Resource) -> Option<ObjectType> {
    manager_of(resource, "").object_type()
}

/// What a request through an endpoint cannot set, and so cannot own.
fn reset_fields(resource: &Resource, subresource: &str) -> BTreeMap<String, Filter> {
    // Upstream's strategies of these have filters, which its endpoints do not ask for.
    if matches!(subresource, "ephemeralcontainers" | "resize") {
        return BTreeMap::new();
    }
    let schema = resource.served.schema;
    let strategy =
        super::strategies::strategy(resource.info.group, resource.info.kind, subresource);
    let mut set = Set::new();
    for field in schema.fields {
        let resets = match field.go {
            "TypeMeta" => false,
            // Its metadata is reset, too, which upstream's strategy does not say.
            "ObjectMeta" if resource.info.kind == "PodCertificateRequest" => false,
            "ObjectMeta" => strategy.reset_fields().contains(&field.go),
            "Status" => {
                let kept = resource.info.kind == "ServiceCIDR"
                    && !gates::enabled("ServiceCIDRStatusFieldWiping");
                !kept && !matches!(subresource, "status" | "approval")
            }
            _ => {
                matches!(subresource, "status" | "approval")
                    || strategy.reset_fields().contains(&field.go)
            }
        };
        if resets {
            set.insert(&Path::of_fields(&[field.json]));
        }
    }
    let metadata: &[&str] = match (resource.info.kind, subresource) {
        ("Pod", "status") => &["deletionTimestamp", "ownerReferences"],
        ("Deployment", "status") => &["labels"],
        _ => &[],
    };
    for name in metadata {
        set.insert(&Path::of_fields(&["metadata", name]));
    }
    if (resource.info.kind, subresource) == ("CertificateSigningRequest", "status") {
        set.insert(&Path::of_fields(&["status", "conditions"]));
    }
    if (resource.info.kind, subresource) == ("CertificateSigningRequest", "approval") {
        set.insert(&Path::of_fields(&["status", "certificate"]));
    }
    if set.is_empty() {
        return BTreeMap::new();
    }
    BTreeMap::from([(resource.api_version.to_owned(), Filter::Exclude(set))])
}

/// Converts an object between the versions of one kind. Of a version in another group nothing is known, as upstream: who wrote an
/// Event of the core group owns nothing of it any more once it is written as one of events.k8s.io.
fn convert_version(object: &Value, api_version: &str) -> Result<Value, ConversionError> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (from, kind) = (text("apiVersion"), text("kind"));
    if from == api_version {
        return Ok(object.clone());
    }
    let group = |api_version: &str| {
        api_version
            .split_once('/')
            .map(|(group, _)| group.to_owned())
    };
    if group(from) != group(api_version) {
        return Err(ConversionError::MissingVersion);
    }
    let lookup = |api_version: &str| api_types::kinds::lookup_api_version(api_version, kind);
    let (Some(from), Some(to)) = (lookup(from), lookup(api_version)) else {
        return Err(ConversionError::MissingVersion);
    };
    let mut decoded = Object::new((from.new)());
    api_types::decode_json_into(decoded.value_mut(), object.to_string().as_bytes())
        .map_err(|error| ConversionError::Failed(error.to_string()))?;
    let converted = convert::between(decoded, from, to).ok_or(ConversionError::MissingVersion)?;
    let converted = converted.map_err(ConversionError::Failed)?;
    Ok(document(converted.value(), api_version, kind))
}

/// A typed object as JSON with its apiVersion and kind.
fn document(value: &dyn Struct, api_version: &str, kind: &str) -> Value {
    let json = api_types::encode_json_as(value, api_types::codec::Header { api_version, kind });
    serde_json::from_slice(&json).unwrap_or_default()
}

/// A hub object as clients of the resource see it.
fn served_document(resource: &Resource, object: &Object) -> Result<Value, StatusError> {
    if resource.conversion.is_none() {
        return Ok(document(
            object.value(),
            resource.api_version,
            resource.info.kind,
        ));
    }
    let served = resource.to_served(object.clone())?;
    Ok(document(
        served.value(),
        resource.api_version,
        resource.info.kind,
    ))
}

fn empty(resource: &Resource) -> Value {
    if let Some(custom) = &resource.custom {
        let names = custom.type_meta();
        return serde_json::json!({"apiVersion": names.api_version, "kind": names.kind});
    }
    types_of(resource).empty_object(resource.api_version)
}

/// Sets the managed fields of an object that is about to replace `live`, or to be created.
pub fn update(
    resource: &Resource,
    live: Option<&Object>,
    object: &mut Object,
    manager: &str,
    subresource: &str,
) {
    if !object.has_metadata() {
        return;
    }
    let entries = of_update(resource, live, object, manager, subresource).unwrap_or_default();
    object.edit_metadata(|metadata| metadata.managed_fields = entries);
}

fn of_update(
    resource: &Resource,
    live: Option<&Object>,
    object: &Object,
    manager: &str,
    subresource: &str,
) -> Result<Vec<ManagedFieldsEntry>, StatusError> {
    let zero;
    let (live, new) = if resource.conversion.is_some() {
        let live = live.map(|live| resource.to_served(live.clone()));
        (
            live.transpose()?.map(Cow::Owned),
            Cow::Owned(resource.to_served(object.clone())?),
        )
    } else {
        (live.map(Cow::Borrowed), Cow::Borrowed(object))
    };
    let live = match &live {
        Some(live) => live.value(),
        None => {
            zero = resource.new_served();
            zero.value()
        }
    };
    let document = |value| document(value, resource.api_version, resource.info.kind);
    // Only JSON tells an empty list from none.
    if !object.sent_empty.is_empty() {
        let mut new = document(new.value());
        sent_empty::restore(object, &mut new);
        return Ok(manager_of(resource, subresource).update_no_errors(
            &document(live),
            &new,
            manager,
            Time::now(),
        ));
    }
    if resource.custom.is_some() {
        return Ok(manager_of(resource, subresource).update_no_errors(
            &document(live),
            &document(new.value()),
            manager,
            Time::now(),
        ));
    }
    Ok(manager_of(resource, subresource).update_objects(
        live,
        new.value(),
        manager,
        Time::now(),
        || (document(live), document(new.value())),
    ))
}

/// What admission made of the managed fields counts only if it can be read.
pub fn keep_readable(object: &mut Object, before: &[ManagedFieldsEntry]) {
    let now = &object.metadata().managed_fields;
    if now != before && decode_managed_fields(now).is_err() {
        object.edit_metadata(|metadata| metadata.managed_fields = before.to_vec());
    }
}

/// An update that changes nothing but times in managedFields is no change: the old times stay. Says how that was found out.
pub(crate) fn ignore_timestamp_changes(object: &mut Object, old: &Object) -> Comparison {
    let mut outcome = Comparison::UnequalFast;
    let mut entries = object.metadata().managed_fields.clone();
    let reverted = revert_timestamp_updates(&old.metadata().managed_fields, &mut entries, || {
        outcome = Comparison::UnequalSlow;
        if !object.equals_besides_metadata(old) {
            return false;
        }
        let mut metadata = object.metadata().clone();
        let old = old.metadata();
        metadata.managed_fields.clone_from(&old.managed_fields);
        metadata.resource_version.clone_from(&old.resource_version);
        metadata == *old
    });
    if reverted {
        object.edit_metadata(|metadata| metadata.managed_fields = entries);
        outcome = Comparison::Equal;
    }
    outcome
}

fn refused(error: &ApplyError) -> StatusError {
    error.to_status()
}

/// Applies a configuration to the live hub object, or to nothing. The result is of the served version, without defaults.
pub fn apply(
    resource: &Resource,
    live: Option<&Object>,
    configuration: &Value,
    manager: &str,
    subresource: &str,
    force: bool,
) -> Result<Object, StatusError> {
    let live = match live {
        Some(live) => served_document(resource, live)?,
        None => empty(resource),
    };
    let applied = manager_of(resource, subresource)
        .apply(&live, configuration, manager, force, Time::now())
        .map_err(|error| refused(&error))?;
    let mut object = resource.new_served();
    api_types::decode_json_into(object.value_mut(), applied.object.to_string().as_bytes())
        .map_err(|error| status::internal(format!("failed to convert new object: {error}")))?;
    object.edit_metadata(|metadata| metadata.managed_fields = applied.managed_fields);
    Ok(object)
}

/// Sets the managed fields of a scale that replaces another.
pub fn update_scale(resource: &Resource, old: &Object, new: &mut Object, manager: &str) {
    let of = |scale: &Object| document(scale.value(), SCALE_VERSION, "Scale");
    let entries =
        manager_of(resource, "scale").update_no_errors(&of(old), &of(new), manager, Time::now());
    new.edit_metadata(|metadata| metadata.managed_fields = entries);
}

/// Applies a configuration to a scale.
pub fn apply_scale(
    resource: &Resource,
    old: &Object,
    configuration: &Value,
    manager: &str,
    force: bool,
) -> Result<Object, StatusError> {
    let live = document(old.value(), SCALE_VERSION, "Scale");
    let applied = manager_of(resource, "scale")
        .apply(&live, configuration, manager, force, Time::now())
        .map_err(|error| refused(&error))?;
    let mut object = Object::from(api_types::autoscaling::v1::Scale::default());
    api_types::decode_json_into(object.value_mut(), applied.object.to_string().as_bytes())
        .map_err(|error| status::internal(format!("failed to convert new object: {error}")))?;
    object.edit_metadata(|metadata| metadata.managed_fields = applied.managed_fields);
    object.clear_field("TypeMeta");
    Ok(object)
}

fn set_of(entry: &ManagedFieldsEntry) -> Set {
    entry
        .fields_v1
        .as_ref()
        .and_then(|fields| Set::parse(fields).ok())
        .unwrap_or_default()
}

/// Whether two entries are those of one manager.
fn same_manager(a: &ManagedFieldsEntry, b: &ManagedFieldsEntry) -> bool {
    a.manager == b.manager
        && a.operation == b.operation
        && a.subresource == b.subresource
        && (a.operation == "Apply" || a.api_version == b.api_version)
}

/// Where a workload has its replicas.
fn replicas_path(resource: &Resource) -> Path {
    match resource.custom.as_deref().and_then(CustomResource::scale) {
        Some(scale) => {
            let names = scale.spec_replicas_path.trim_start_matches('.').split('.');
            let fields = names.map(|name| PathElement::Field(name.to_owned().into()));
            Path(fields.collect())
        }
        None => Path::of_fields(&["spec", "replicas"]),
    }
}

/// The managers of a workload's replicas as managers of its scale. Upstream: scalehandler.go, ToSubresource.
pub fn scale_entries(
    resource: &Resource,
    parent: &[ManagedFieldsEntry],
) -> Vec<ManagedFieldsEntry> {
    let replicas = replicas_path(resource);
    let of_scale = Set::from_iter([Path::of_fields(&["spec", "replicas"])]);
    parent
        .iter()
        .filter(|entry| entry.api_version == resource.api_version && set_of(entry).has(&replicas))
        .map(|entry| ManagedFieldsEntry {
            api_version: SCALE_VERSION.to_owned(),
            fields_v1: Some(of_scale.to_fields_v1()),
            ..entry.clone()
        })
        .collect()
}

/// The managers of a workload after its scale changed. Upstream: scalehandler.go, ToParent.
pub fn parent_entries(
    resource: &Resource,
    parent: &[ManagedFieldsEntry],
    scale: &[ManagedFieldsEntry],
) -> Vec<ManagedFieldsEntry> {
    let replicas = replicas_path(resource);
    let only_replicas = Set::from_iter([replicas.clone()]);
    // Seen from the scale, a manager that updated the workload has the scale's version.
    let as_scale = |entry: &ManagedFieldsEntry| ManagedFieldsEntry {
        api_version: SCALE_VERSION.to_owned(),
        ..entry.clone()
    };
    let mut entries = Vec::new();
    for entry in parent
        .iter()
        .filter(|entry| entry.api_version == resource.api_version)
    {
        let set = set_of(entry);
        if !set.has(&replicas)
            || scale
                .iter()
                .any(|other| same_manager(other, &as_scale(entry)))
        {
            entries.push(entry.clone());
            continue;
        }
        let rest = set.difference(&only_replicas);
        if !rest.is_empty() {
            entries.push(ManagedFieldsEntry {
                fields_v1: Some(rest.to_fields_v1()),
                ..entry.clone()
            });
        }
    }
    for entry in scale {
        if !parent
            .iter()
            .any(|other| same_manager(entry, &as_scale(other)))
        {
            entries.push(ManagedFieldsEntry {
                api_version: resource.api_version.to_owned(),
                // As upstream: the time of the scale's entry is lost.
                time: None,
                fields_v1: Some(only_replicas.to_fields_v1()),
                ..entry.clone()
            });
        }
    }
    entries.sort_by(|a, b| {
        let key = |entry: &ManagedFieldsEntry| {
            (
                entry.operation.clone(),
                entry.time.map(|time| time.timestamp()),
                entry.manager.clone(),
                entry.api_version.clone(),
                entry.subresource.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    entries
}

/// Sets the managed fields of an object that is posted and not stored.
pub fn update_posted(object: &mut Object, subresource: &str, manager: &str) {
    let Some(kind) = object.value().schema().kind else {
        return;
    };
    let types = BuiltInTypes::single_version(kind.kind);
    let live = types.empty_object(kind.api_version);
    let gvk = GroupVersionKind::from_api_version_and_kind(kind.api_version, kind.kind);
    let fields = FieldManager::new(gvk, subresource, Arc::new(types), BTreeMap::new());
    let new = document(object.value(), kind.api_version, kind.kind);
    let entries = fields.update_no_errors(&live, &new, manager, Time::now());
    object.edit_metadata(|metadata| metadata.managed_fields = entries);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_one_kind_convert() {
        let v1 = serde_json::json!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
                     "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}},
        });
        let v2 = convert_version(&v1, "autoscaling/v2").unwrap();
        assert_eq!(
            v2.pointer("/spec/metrics/0/resource/target/averageUtilization"),
            Some(&Value::from(50))
        );
        assert_eq!(v2["apiVersion"], "autoscaling/v2");
        let back = convert_version(&v2, "autoscaling/v1").unwrap();
        assert_eq!(
            back.pointer("/spec/targetCPUUtilizationPercentage"),
            Some(&Value::from(50))
        );
        assert_eq!(
            convert_version(&v1, "autoscaling/v7"),
            Err(ConversionError::MissingVersion)
        );
    }

    #[test]
    fn an_event_of_another_group_has_other_owners() {
        let event =
            serde_json::json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"}});
        assert_eq!(
            convert_version(&event, "events.k8s.io/v1"),
            Err(ConversionError::MissingVersion)
        );
    }
}
