//! The annotation in which `kubectl apply` keeps what it applied, for objects that move to server-side apply.
//!
//! Upstream: managedfields/internal lastapplied*.go. Only the manager `kubectl` is treated so; users opt out by another name.

use serde_json::{Map, Value};

use super::conflict::Conflicts;
use super::field_manager::FieldManager;
use super::typed::TypedValue;
use crate::field::go_json;
use crate::validation::TOTAL_ANNOTATION_SIZE_LIMIT;

/// Key of the annotation.
pub const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The name of the manager whose applies keep the annotation.
pub(super) const KUBECTL: &str = "kubectl";

/// What the annotation of an object says, if it says anything.
pub(super) fn annotation(object: &Value) -> Option<&str> {
    let value = object
        .get("metadata")?
        .get("annotations")?
        .get(LAST_APPLIED_ANNOTATION)?
        .as_str()?;
    Some(value).filter(|value| !value.is_empty())
}

/// The conflicts that remain when fields count as owned that were applied on the client side and did not change since.
///
/// The whole list comes back if the annotation is missing or of no use.
pub(super) fn remaining_conflicts(
    fields: &FieldManager,
    live: &Value,
    conflicts: Conflicts,
) -> Conflicts {
    match allowed(fields, live) {
        None => conflicts,
        Some(allowed) => Conflicts(
            conflicts
                .0
                .into_iter()
                .filter(|conflict| !allowed.has(&conflict.path))
                .collect(),
        ),
    }
}

fn allowed(fields: &FieldManager, live: &Value) -> Option<super::set::Set> {
    let last_applied: Value = serde_json::from_str(annotation(live)?).ok()?;
    let version = fields.kind().api_version();
    if last_applied.get("apiVersion").and_then(Value::as_str) != Some(version.as_str()) {
        return None;
    }
    let ty = fields.object_type()?;
    let live = TypedValue::new(live.clone(), ty.clone(), false).ok()?;
    let last_applied = TypedValue::new(last_applied, ty, false).ok()?;
    let compared = last_applied.compare(&live).ok()?;
    let set = last_applied.to_field_set();
    Some(
        set.difference(&compared.modified)
            .difference(&compared.added)
            .difference(&compared.removed),
    )
}

/// Brings the annotation up to date with what was applied. It is dropped if annotations become too large with it.
pub(super) fn set_annotation(object: &mut Value, applied: &Value) {
    let mut applied = applied.clone();
    if let Some(Value::Object(annotations)) = applied.pointer_mut("/metadata/annotations") {
        annotations.remove(LAST_APPLIED_ANNOTATION);
    }
    let text = go_json(&applied) + "\n";
    let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") else {
        return;
    };
    annotations.insert(LAST_APPLIED_ANNOTATION.to_owned(), Value::from(text));
    let size = |annotations: &Map<String, Value>| -> usize {
        annotations
            .iter()
            .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
            .sum()
    };
    if size(annotations) > TOTAL_ANNOTATION_SIZE_LIMIT {
        annotations.remove(LAST_APPLIED_ANNOTATION);
    }
}
