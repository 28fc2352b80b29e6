//! Object metadata on create and update. Upstream: apimachinery/pkg/api/validation objectmeta.go.

use std::collections::{BTreeMap, BTreeSet};

use api_types::meta::v1::{ObjectMeta, OwnerReference};

use super::content::is_label_key;
use super::names::validate_namespace_name;
use super::options::validate_managed_fields;
use super::selectors::validate_labels;
use crate::field::{self, BadValue, ErrorList, Lazily, LazyText, Path};
use crate::gvk::GroupVersionKind;
use crate::quote::go_syntax_list;

/// Detail of the error for a field that may not change.
pub const FIELD_IMMUTABLE_ERROR: &str = "field is immutable";
/// Detail of the error for a number below zero.
pub const IS_NEGATIVE_ERROR: &str = "must be greater than or equal to 0";
/// Most that all annotations of an object may take together, keys and values, in bytes.
pub const TOTAL_ANNOTATION_SIZE_LIMIT: usize = 256 * 1024;
/// Finalizer that keeps dependents when an object is deleted.
pub const FINALIZER_ORPHAN_DEPENDENTS: &str = "orphan";
/// Finalizer that deletes dependents before their owner.
pub const FINALIZER_DELETE_DEPENDENTS: &str = "foregroundDeletion";

/// Checks annotations: their keys, and their size together.
pub fn validate_annotations(annotations: &BTreeMap<String, String>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for key in annotations.keys() {
        // Keys are qualified names in any case, so that upper case prefixes pass.
        for problem in is_label_key(&key.to_lowercase()) {
            errors.push(field::invalid(path, key, problem));
        }
    }
    if annotations_size(annotations) > TOTAL_ANNOTATION_SIZE_LIMIT {
        errors.push(field::too_long(path, TOTAL_ANNOTATION_SIZE_LIMIT));
    }
    errors
}

/// Bytes that the annotations take, keys and values.
pub fn annotations_size(annotations: &BTreeMap<String, String>) -> usize {
    annotations
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

/// Checks owner references; at most one is the controller. All errors are at the list's path, as upstream.
pub fn validate_owner_references(references: &[OwnerReference], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut first_controller: Option<String> = None;
    for reference in references {
        errors.extend(validate_owner_reference(reference, path));
        if reference.controller == Some(true) {
            let current = format!("{}/{}", reference.kind, reference.name);
            match &first_controller {
                None => first_controller = Some(current),
                Some(first) => errors.push(field::invalid(
                    path,
                    Lazily(|| list_of(references)),
                    LazyText(|| {
                        format!(
                            "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                             and {current}"
                        )
                    }),
                )),
            }
        }
    }
    errors
}

fn list_of(references: &[OwnerReference]) -> BadValue {
    let items: Vec<String> = references
        .iter()
        .map(|reference| match BadValue::of(reference) {
            BadValue::Text(text) => text,
            BadValue::String(_) | BadValue::Omitted => String::new(),
        })
        .collect();
    BadValue::Text(format!("[{}]", items.join(",")))
}

fn validate_owner_reference(reference: &OwnerReference, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let gvk = GroupVersionKind::from_api_version_and_kind(&reference.api_version, &reference.kind);
    if gvk.version.is_empty() {
        errors.push(field::invalid(
            &path.child("apiVersion"),
            &reference.api_version,
            "version must not be empty",
        ));
    }
    for (name, value) in [
        ("kind", &reference.kind),
        ("name", &reference.name),
        ("uid", &reference.uid),
    ] {
        if value.is_empty() {
            errors.push(field::invalid(
                &path.child(name),
                value,
                "must not be empty",
            ));
        }
    }
    // Events go away on their own and must not keep anything.
    if gvk == GroupVersionKind::new("", "v1", "Event") {
        let detail = format!("{gvk} is disallowed from being an owner");
        errors.push(field::invalid(path, BadValue::of(reference), detail));
    }
    errors
}

/// Checks the name of a finalizer.
pub fn validate_finalizer_name(name: &str, path: &Path) -> ErrorList {
    is_label_key(name)
        .into_iter()
        .map(|problem| field::invalid(path, name, problem))
        .collect()
}

/// Checks finalizers: their names, and that dependents are not both orphaned and deleted.
pub fn validate_finalizers(finalizers: &[String], path: &Path) -> ErrorList {
    let mut errors: ErrorList = finalizers
        .iter()
        .flat_map(|name| validate_finalizer_name(name, path))
        .collect();
    let has = |finalizer: &str| finalizers.iter().any(|name| name == finalizer);
    if has(FINALIZER_ORPHAN_DEPENDENTS) && has(FINALIZER_DELETE_DEPENDENTS) {
        let detail = format!(
            "finalizer {FINALIZER_ORPHAN_DEPENDENTS} and {FINALIZER_DELETE_DEPENDENTS} cannot be both set"
        );
        errors.push(field::invalid(path, finalizers, detail));
    }
    errors
}

/// Checks that an object being deleted gets no finalizer it did not have.
pub fn validate_no_new_finalizers(new: &[String], old: &[String], path: &Path) -> ErrorList {
    let old: BTreeSet<&String> = old.iter().collect();
    let extra: BTreeSet<&String> = new.iter().filter(|name| !old.contains(name)).collect();
    if extra.is_empty() {
        return ErrorList::new();
    }
    let extra: Vec<&String> = extra.into_iter().collect();
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers {}",
        go_syntax_list(&extra)
    );
    field::forbidden(path, detail).into()
}

/// Checks that a field did not change.
pub fn validate_immutable_field<'a, T>(new: &'a T, old: &T, path: &Path) -> ErrorList
where
    T: PartialEq + ?Sized,
    &'a T: Into<BadValue>,
{
    if new == old {
        ErrorList::new()
    } else {
        field::invalid(path, new, FIELD_IMMUTABLE_ERROR).into()
    }
}

/// Checks that a number is not negative.
pub fn validate_nonnegative_field(value: i64, path: &Path) -> ErrorList {
    if value < 0 {
        field::invalid(path, value, IS_NEGATIVE_ERROR).into()
    } else {
        ErrorList::new()
    }
}

/// Checks the metadata of an object to be created, after its name was generated.
pub fn validate_object_meta(
    meta: &ObjectMeta,
    namespaced: bool,
    name_fn: impl Fn(&str, bool) -> Vec<String>,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    if !meta.generate_name.is_empty() {
        for problem in name_fn(&meta.generate_name, true) {
            errors.push(field::invalid(
                &path.child("generateName"),
                &meta.generate_name,
                problem,
            ));
        }
    }
    if meta.name.is_empty() {
        errors.push(field::required(
            &path.child("name"),
            "name or generateName is required",
        ));
    } else {
        for problem in name_fn(&meta.name, false) {
            errors.push(field::invalid(&path.child("name"), &meta.name, problem));
        }
    }
    errors.extend(validate_object_meta_without_name(meta, namespaced, path));
    errors
}

/// Like [`validate_object_meta`] for kinds whose name check returns field errors and which do not check `generateName`.
/// Upstream: `ValidateObjectMetaWithOpts`.
pub fn validate_object_meta_with_opts(
    meta: &ObjectMeta,
    namespaced: bool,
    name_fn: impl Fn(&Path, &str) -> ErrorList,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let name_path = path.child("name");
    if meta.name.is_empty() {
        if !meta.generate_name.is_empty() {
            let generate_name = crate::quote::quote(&meta.generate_name);
            let problem =
                format!("generateName was specified ({generate_name}), but no name was generated");
            errors.push(field::internal(&name_path, problem));
        }
        errors.push(field::required(
            &name_path,
            "name or generateName is required",
        ));
    } else {
        errors.extend(name_fn(&name_path, &meta.name));
    }
    errors.extend(validate_object_meta_without_name(meta, namespaced, path));
    errors
}

fn validate_object_meta_without_name(
    meta: &ObjectMeta,
    namespaced: bool,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let namespace_path = path.child("namespace");
    if namespaced {
        if meta.namespace.is_empty() {
            errors.push(field::required(&namespace_path, ""));
        } else {
            for problem in validate_namespace_name(&meta.namespace, false) {
                errors.push(field::invalid(&namespace_path, &meta.namespace, problem));
            }
        }
    } else if !meta.namespace.is_empty() {
        errors.push(field::forbidden(
            &namespace_path,
            "not allowed on this type",
        ));
    }
    errors.extend(validate_nonnegative_field(
        meta.generation,
        &path.child("generation"),
    ));
    errors.extend(validate_labels(&meta.labels, &path.child("labels")));
    errors.extend(validate_annotations(
        &meta.annotations,
        &path.child("annotations"),
    ));
    errors.extend(validate_owner_references(
        &meta.owner_references,
        &path.child("ownerReferences"),
    ));
    errors.extend(validate_finalizers(
        &meta.finalizers,
        &path.child("finalizers"),
    ));
    errors.extend(validate_managed_fields(
        &meta.managed_fields,
        &path.child("managedFields"),
    ));
    errors
}

/// Checks the metadata of an object to be updated against the stored one.
pub fn validate_object_meta_update(new: &ObjectMeta, old: &ObjectMeta, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if old.deletion_timestamp.is_some() {
        errors.extend(validate_no_new_finalizers(
            &new.finalizers,
            &old.finalizers,
            &path.child("finalizers"),
        ));
    }
    if new.resource_version.is_empty() {
        let detail = "must be specified for an update";
        errors.push(field::invalid(
            &path.child("resourceVersion"),
            &new.resource_version,
            detail,
        ));
    }
    if new.generation < old.generation {
        errors.push(field::invalid(
            &path.child("generation"),
            new.generation,
            "must not be decremented",
        ));
    }
    errors.extend(validate_immutable_field(
        &new.name,
        &old.name,
        &path.child("name"),
    ));
    errors.extend(validate_immutable_field(
        &new.namespace,
        &old.namespace,
        &path.child("namespace"),
    ));
    errors.extend(validate_immutable_field(
        &new.uid,
        &old.uid,
        &path.child("uid"),
    ));
    if new.creation_timestamp != old.creation_timestamp {
        let value =
            time_text((!new.creation_timestamp.is_zero()).then_some(new.creation_timestamp));
        errors.push(field::invalid(
            &path.child("creationTimestamp"),
            value,
            FIELD_IMMUTABLE_ERROR,
        ));
    }
    if new.deletion_timestamp != old.deletion_timestamp {
        let value = time_text(new.deletion_timestamp);
        errors.push(field::invalid(
            &path.child("deletionTimestamp"),
            value,
            FIELD_IMMUTABLE_ERROR,
        ));
    }
    if new.deletion_grace_period_seconds != old.deletion_grace_period_seconds {
        let value = new.deletion_grace_period_seconds;
        errors.push(field::invalid(
            &path.child("deletionGracePeriodSeconds"),
            value,
            FIELD_IMMUTABLE_ERROR,
        ));
    }
    errors.extend(validate_labels(&new.labels, &path.child("labels")));
    errors.extend(validate_annotations(
        &new.annotations,
        &path.child("annotations"),
    ));
    errors.extend(validate_owner_references(
        &new.owner_references,
        &path.child("ownerReferences"),
    ));
    errors.extend(validate_managed_fields(
        &new.managed_fields,
        &path.child("managedFields"),
    ));
    errors
}

fn time_text(time: Option<api_types::Time>) -> BadValue {
    time.map(|time| time.to_string()).into()
}
