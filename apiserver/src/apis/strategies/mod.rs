//! How each built-in kind is written: what a write resets, keeps and counts, and which rules it must satisfy.
//! Upstream: the strategy.go files of pkg/registry.
//!
//! A kind is a [`Kind`]: two functions of validation and a few that differ from what most kinds do. Its `/status` is a
//! [`Status`]. [`strategy_for`] is the table; kinds that are not in it have no rules of their own.

mod admission_registration;
mod api_extensions;
pub(crate) mod api_registration;
mod certificates;
mod claim_fields;
mod cluster;
mod core;
mod flowcontrol;
mod pod_fields;
mod pod_warnings;
mod pods;
mod resource;
mod scheduling;
mod services;
mod storage_versions;
mod workloads;

use api_types::Struct;
use api_types::meta::v1::{DeleteOptions, ObjectMeta};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as rules;

use crate::apis::defaults;
use crate::registry::normalize::follow_template_labels;
use crate::registry::object::Object;
use crate::registry::sent_empty::is_another_spec;
use crate::registry::strategy::{Context, GarbageCollection, Strategy};

/// The strategy for writing a kind, or through one of its subresources, where it needs more than the plain one.
pub fn strategy_for(group: &str, kind: &str, subresource: &str) -> Option<&'static dyn Strategy> {
    let tables: [&[Row]; 13] = [
        pods::ROWS,
        services::ROWS,
        core::ROWS,
        workloads::ROWS,
        cluster::ROWS,
        admission_registration::ROWS,
        api_extensions::ROWS,
        api_registration::ROWS,
        certificates::ROWS,
        flowcontrol::ROWS,
        resource::ROWS,
        scheduling::ROWS,
        storage_versions::ROWS,
    ];
    tables
        .into_iter()
        .flatten()
        .find(|row| row.group == group && row.kind == kind && row.subresource == subresource)
        .map(|row| row.strategy)
}

/// A strategy and what it is for.
pub(crate) struct Row {
    group: &'static str,
    kind: &'static str,
    subresource: &'static str,
    strategy: &'static (dyn Strategy + 'static),
}

const fn row(
    group: &'static str,
    kind: &'static str,
    subresource: &'static str,
    strategy: &'static (dyn Strategy + 'static),
) -> Row {
    Row {
        group,
        kind,
        subresource,
        strategy,
    }
}

/// When a write counts as a new generation.
#[derive(Clone, Copy, PartialEq)]
enum Generation {
    /// Never.
    None,
    /// Never, but new objects have generation 1.
    First,
    /// When anything but metadata and status differs. New objects have generation 1.
    Spec,
    /// As `Spec`, and also when annotations differ.
    SpecOrAnnotations,
}

/// What a kind does when it is written.
struct Kind<T: Struct> {
    validate: fn(&Context, &T) -> ErrorList,
    validate_update: fn(&Context, &T, &T) -> ErrorList,
    prepare: fn(&Context, &mut T),
    prepare_update: fn(&Context, &mut T, &T),
    warn: fn(&Context, &T) -> Vec<String>,
    warn_update: fn(&Context, &T, &T) -> Vec<String>,
    canonicalize: fn(&mut T),
    /// The period and whether deletion is graceful at all.
    graceful_delete: Option<fn(&T, &mut DeleteOptions)>,
    generation: Generation,
    /// New objects keep the status that they come with.
    keeps_status: bool,
    create_on_update: bool,
    unconditional_update: bool,
    garbage_collection: GarbageCollection,
    /// The name that `generateName` stands for.
    generate_name: fn(&str) -> String,
    /// Go's names of the fields that an update cannot change.
    reset_fields: &'static [&'static str],
}

impl<T: Struct> Kind<T> {
    const fn new(
        validate: fn(&Context, &T) -> ErrorList,
        validate_update: fn(&Context, &T, &T) -> ErrorList,
    ) -> Kind<T> {
        Kind {
            validate,
            validate_update,
            prepare: |_, _| {},
            prepare_update: |_, _, _| {},
            warn: |_, _| Vec::new(),
            warn_update: |_, _, _| Vec::new(),
            canonicalize: |_| {},
            graceful_delete: None,
            generation: Generation::None,
            keeps_status: false,
            create_on_update: false,
            unconditional_update: true,
            garbage_collection: GarbageCollection::DeleteDependents,
            generate_name: apimachinery::rand_suffix::generate_name,
            reset_fields: &["Status"],
        }
    }
}

/// Whether anything but metadata and status differs.
fn spec_changed(object: &Object, old: &Object) -> bool {
    let fields = object.value().schema().fields.iter();
    fields
        .filter(|field| !matches!(field.go, "TypeMeta" | "ObjectMeta" | "Status"))
        .any(|field| !object.field_equals(old, field.go))
}

impl<T: Struct> Strategy for Kind<T> {
    fn default(&self, object: &mut Object) {
        defaults::set_defaults(object.value_mut());
    }

    fn prepare_for_create(&self, context: &Context, object: &mut Object) {
        if !self.keeps_status {
            object.clear_field("Status");
        }
        if self.generation != Generation::None {
            object.edit_metadata(|metadata| metadata.generation = 1);
        }
        if let Some(value) = object.get_mut::<T>() {
            (self.prepare)(context, value);
        }
        follow_template_labels(object);
    }

    fn validate(&self, context: &Context, object: &Object) -> ErrorList {
        object
            .get::<T>()
            .map(|value| (self.validate)(context, value))
            .unwrap_or_default()
    }

    fn warnings_on_create(&self, context: &Context, object: &Object) -> Vec<String> {
        object
            .get::<T>()
            .map(|value| (self.warn)(context, value))
            .unwrap_or_default()
    }

    fn prepare_for_update(&self, context: &Context, object: &mut Object, old: &Object) {
        for field in self.reset_fields {
            object.copy_field(old, field);
        }
        if let (Some(value), Some(old)) = (object.get_mut::<T>(), old.get::<T>()) {
            (self.prepare_update)(context, value, old);
        }
        let counts = match self.generation {
            Generation::None | Generation::First => false,
            Generation::Spec => spec_changed(object, old) || is_another_spec(object),
            Generation::SpecOrAnnotations => {
                object.metadata().annotations != old.metadata().annotations
                    || spec_changed(object, old)
            }
        };
        if counts {
            let generation = old.metadata().generation + 1;
            object.edit_metadata(|metadata| metadata.generation = generation);
        }
    }

    fn validate_update(&self, context: &Context, object: &Object, old: &Object) -> ErrorList {
        match (object.get::<T>(), old.get::<T>()) {
            (Some(value), Some(old)) => (self.validate_update)(context, value, old),
            _ => ErrorList::default(),
        }
    }

    fn warnings_on_update(&self, context: &Context, object: &Object, old: &Object) -> Vec<String> {
        match (object.get::<T>(), old.get::<T>()) {
            (Some(value), Some(old)) => (self.warn_update)(context, value, old),
            _ => Vec::new(),
        }
    }

    fn canonicalize(&self, object: &mut Object) {
        if let Some(value) = object.get_mut::<T>() {
            (self.canonicalize)(value);
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

    fn generate_name(&self, base: &str) -> String {
        (self.generate_name)(base)
    }

    fn supports_graceful_delete(&self) -> bool {
        self.graceful_delete.is_some()
    }

    fn check_graceful_delete(&self, object: &Object, options: &mut DeleteOptions) -> bool {
        match (self.graceful_delete, object.get::<T>()) {
            (Some(check), Some(value)) => {
                check(value, options);
                true
            }
            _ => false,
        }
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        self.reset_fields
    }
}

/// Writes through `/status` and the like: what the endpoint is not for stays as it was.
struct Status<T: Struct> {
    /// Go's names of the fields that may change, besides metadata.
    fields: &'static [&'static str],
    /// Metadata stays as it was, too, but for what every write may change.
    keeps_metadata: bool,
    prepare: fn(&Context, &mut T, &T),
    validate: fn(&Context, &T, &T) -> ErrorList,
    warn: fn(&Context, &T, &T) -> Vec<String>,
    unconditional_update: bool,
    create_on_update: bool,
}

impl<T: Struct> Status<T> {
    const fn new(validate: fn(&Context, &T, &T) -> ErrorList) -> Status<T> {
        Status {
            fields: &["Status"],
            keeps_metadata: false,
            prepare: |_, _, _| {},
            validate,
            warn: |_, _, _| Vec::new(),
            unconditional_update: true,
            create_on_update: false,
        }
    }
}

impl<T: Struct> Strategy for Status<T> {
    fn default(&self, object: &mut Object) {
        defaults::set_defaults(object.value_mut());
    }

    fn prepare_for_update(&self, context: &Context, object: &mut Object, old: &Object) {
        for field in old.value().schema().fields {
            if !matches!(field.go, "TypeMeta" | "ObjectMeta") && !self.fields.contains(&field.go) {
                object.copy_field(old, field.go);
            }
        }
        if self.keeps_metadata {
            object.edit_metadata(|metadata| reset_metadata(metadata, old.metadata()));
        }
        if let (Some(value), Some(old)) = (object.get_mut::<T>(), old.get::<T>()) {
            (self.prepare)(context, value, old);
        }
    }

    fn validate_update(&self, context: &Context, object: &Object, old: &Object) -> ErrorList {
        match (object.get::<T>(), old.get::<T>()) {
            (Some(value), Some(old)) => (self.validate)(context, value, old),
            _ => ErrorList::default(),
        }
    }

    fn warnings_on_update(&self, context: &Context, object: &Object, old: &Object) -> Vec<String> {
        match (object.get::<T>(), old.get::<T>()) {
            (Some(value), Some(old)) => (self.warn)(context, value, old),
            _ => Vec::new(),
        }
    }

    fn allow_create_on_update(&self) -> bool {
        self.create_on_update
    }

    fn allow_unconditional_update(&self) -> bool {
        self.unconditional_update
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        match (self.keeps_metadata, self.fields) {
            (true, _) => &["ObjectMeta", "Spec"],
            (false, ["Spec"]) => &["Status"],
            (false, _) => &["Spec"],
        }
    }
}

/// Gives the new object the metadata of the old one, but for what every write may change.
/// Upstream: metav1.ResetObjectMetaForStatus.
fn reset_metadata(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.deletion_timestamp = old.deletion_timestamp;
    new.generation = old.generation;
    new.owner_references.clone_from(&old.owner_references);
    new.finalizers.clone_from(&old.finalizers);
    new.labels.clone_from(&old.labels);
    new.annotations.clone_from(&old.annotations);
}

/// A warning for names that become part of host names.
fn host_name_warning(name: &str, used_in: &str) -> Option<String> {
    let problems = rules::is_dns1123_label(name);
    (!problems.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {used_in}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.join(" ")
        )
    })
}

/// A path of several names.
fn path(names: &[&'static str]) -> Path {
    names
        .iter()
        .fold(Path::nil(), |path, name| path.child(*name))
}

#[cfg(test)]
mod tests {
    use api_types::flowcontrol::v1::FlowSchema;
    use api_types::scheduling::v1::PriorityClass;

    use super::*;

    #[test]
    fn generations_count_what_the_kind_counts() {
        let after_change = |group: &str, kind: &str, mut old: Object, change: fn(&mut Object)| {
            let strategy = strategy_for(group, kind, "").unwrap();
            let context = Context::default();
            strategy.prepare_for_create(&context, &mut old);
            let mut new = old.clone();
            change(&mut new);
            strategy.prepare_for_update(&context, &mut new, &old);
            (old.metadata().generation, new.metadata().generation)
        };
        let schema = Object::from(FlowSchema::default());
        assert_eq!(
            after_change("flowcontrol.apiserver.k8s.io", "FlowSchema", schema, |it| {
                it.get_mut::<FlowSchema>().unwrap().spec.matching_precedence = 7;
            }),
            (1, 2)
        );
        let class = Object::from(PriorityClass::default());
        assert_eq!(
            after_change("scheduling.k8s.io", "PriorityClass", class, |it| {
                it.get_mut::<PriorityClass>().unwrap().global_default = true;
            }),
            (1, 1)
        );
    }

    #[test]
    fn status_writes_may_leave_metadata_alone() {
        let strategy =
            strategy_for("flowcontrol.apiserver.k8s.io", "FlowSchema", "status").unwrap();
        let old = Object::from(FlowSchema::default());
        let mut new = old.clone();
        new.edit_metadata(|metadata| {
            metadata.labels.insert("a".to_owned(), "b".to_owned());
        });
        let schema = new.get_mut::<FlowSchema>().unwrap();
        schema.spec.matching_precedence = 7;
        schema.status.conditions.push(Default::default());
        strategy.prepare_for_update(&Context::default(), &mut new, &old);
        assert!(new.metadata().labels.is_empty());
        let schema = new.get::<FlowSchema>().unwrap();
        assert_eq!(schema.spec.matching_precedence, 0);
        assert_eq!(schema.status.conditions.len(), 1);
        assert_eq!(strategy.reset_fields(), ["ObjectMeta", "Spec"]);
    }
}
