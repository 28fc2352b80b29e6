//! How custom objects are written. Upstream: apiextensions-apiserver/pkg/registry/customresource.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use api_types::CustomObject;
use api_types::meta::v1::ObjectMeta;
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as checks;
use serde_json::Value;
use structural_schema::{RUNTIME_BUDGET, blocking_error, scale};

use super::{Definition, Version, document};
use crate::registry::object::Object;
use crate::registry::strategy::{Context, Strategy};

/// The strategy of a custom resource, or of its status.
pub struct CustomStrategy {
    definition: Arc<Definition>,
    version: usize,
    status: bool,
}

const STATUS: &str = "status";

impl CustomStrategy {
    pub fn new(definition: Arc<Definition>, version: usize, status: bool) -> CustomStrategy {
        CustomStrategy {
            definition,
            version,
            status,
        }
    }

    fn version(&self) -> &Version {
        &self.definition.versions[self.version]
    }

    fn scale_errors(&self, document: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        if let Some(paths) = self.version().scale.as_deref() {
            if !self.status {
                errors.extend(scale::validate_spec(document, paths));
            }
            errors.extend(scale::validate_status(document, paths));
        }
        errors
    }

    /// CEL rules come last, and only if what they would see makes sense.
    /// What was wrong before already, in parts that did not change, is a warning.
    fn rule_errors(
        &self,
        context: &Context,
        errors: &mut ErrorList,
        document: &Value,
        old: Option<&Value>,
    ) {
        let schema = &self.version().schema;
        if !schema.has_rules() {
            return;
        }
        if let Some(error) = blocking_error(errors) {
            errors.push(error);
            return;
        }
        let start = Instant::now();
        let outcome = schema.validate_rules(document, old, &Path::nil(), RUNTIME_BUDGET as i64);
        self.definition.metrics.evaluated(start);
        errors.extend(outcome.errors);
        for warning in outcome.warnings {
            context.warnings.add(warning);
        }
    }

    /// Duplicates count only where there were none before.
    fn list_errors(&self, document: &Value, old: &Value) -> ErrorList {
        let schema = &self.version().schema;
        let errors = schema.validate_list_types(document, &Path::nil());
        if errors.is_empty() || !schema.validate_list_types(old, &Path::nil()).is_empty() {
            return ErrorList::new();
        }
        errors
    }
}

fn both<'a>(
    object: &'a mut Object,
    old: &'a Object,
) -> Option<(&'a mut CustomObject, &'a CustomObject)> {
    Some((object.get_mut()?, old.get()?))
}

fn document(object: &Object) -> Option<Value> {
    document::of(object.get::<CustomObject>()?).ok()
}

impl Strategy for CustomStrategy {
    fn default(&self, object: &mut Object) {
        let type_meta = &self.version().api_version;
        if let Some(object) = object.get_mut::<CustomObject>() {
            super::resource::fill_defaults(self.version(), object);
            (*type_meta).clone_into(&mut object.type_meta.api_version);
            self.definition.kind.clone_into(&mut object.type_meta.kind);
        }
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Object) {
        if let Some(object) = object.get_mut::<CustomObject>() {
            if self.version().has_status {
                object.content.remove(STATUS);
            }
            object.metadata.generation = 1;
        }
    }

    fn validate(&self, context: &Context, object: &Object) -> ErrorList {
        let Some(document) = document(object) else {
            return ErrorList::new();
        };
        let schema = &self.version().schema;
        let mut errors = checks::validate_object_meta(
            object.metadata(),
            self.definition.namespaced,
            checks::name_is_dns_subdomain,
            &Path::new("metadata"),
        );
        errors.extend(schema.validate(&document, &Path::nil()));
        errors.extend(self.scale_errors(&document));
        errors.extend(schema.validate_embedded(&document, &Path::nil(), false));
        errors.extend(schema.validate_list_types(&document, &Path::nil()));
        self.rule_errors(context, &mut errors, &document, None);
        errors
    }

    fn warnings_on_create(&self, _: &Context, object: &Object) -> Vec<String> {
        finalizer_warnings(object.metadata(), None)
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Object, old: &Object) {
        let has_status = self.version().has_status;
        let Some((object, old)) = both(object, old) else {
            return;
        };
        if self.status {
            let status = object.content.remove(STATUS);
            let managed_fields = std::mem::take(&mut object.metadata.managed_fields);
            *object = old.clone();
            object.metadata.managed_fields = managed_fields;
            object.content.remove(STATUS);
            if let Some(status) = status {
                object.content.insert(STATUS.to_owned(), status);
            }
            return;
        }
        if has_status {
            match old.content.get(STATUS) {
                Some(status) => {
                    object.content.insert(STATUS.to_owned(), status.clone());
                }
                None => {
                    object.content.remove(STATUS);
                }
            }
        }
        if object.content != old.content || object.type_meta != old.type_meta {
            object.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, context: &Context, object: &Object, old: &Object) -> ErrorList {
        let (Some(document), Some(before)) = (document(object), document(old)) else {
            return ErrorList::new();
        };
        let schema = &self.version().schema;
        let mut errors = checks::validate_object_meta_update(
            object.metadata(),
            old.metadata(),
            &Path::new("metadata"),
        );
        let start = Instant::now();
        if self.status {
            if let (Some(schema), Some(status)) =
                (&self.version().status_schema, document.get(STATUS))
            {
                let old = before.get(STATUS).unwrap_or(&Value::Null);
                errors.extend(schema.validate_update(status, old, &Path::new(STATUS)));
            }
            self.definition.metrics.ratcheted(start);
            errors.extend(self.scale_errors(&document));
        } else {
            errors.extend(schema.validate_update(&document, &before, &Path::nil()));
            self.definition.metrics.ratcheted(start);
            errors.extend(self.scale_errors(&document));
            errors.extend(schema.validate_embedded(&document, &Path::nil(), false));
        }
        errors.extend(self.list_errors(&document, &before));
        self.rule_errors(context, &mut errors, &document, Some(&before));
        errors
    }

    fn warnings_on_update(&self, _: &Context, object: &Object, old: &Object) -> Vec<String> {
        if self.status {
            return Vec::new();
        }
        finalizer_warnings(object.metadata(), Some(old.metadata()))
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Finalizers that others may use too.
fn finalizer_warnings(new: &ObjectMeta, old: Option<&ObjectMeta>) -> Vec<String> {
    let before: HashSet<&String> = old.into_iter().flat_map(|old| &old.finalizers).collect();
    let mut added: Vec<&String> = new
        .finalizers
        .iter()
        .filter(|finalizer| !before.contains(finalizer))
        .collect();
    added.sort();
    added.dedup();
    let mut warnings = Vec::new();
    for finalizer in added {
        let warning = |text: &str| format!("metadata.finalizers: {finalizer:?}: {text}");
        for problem in checks::is_qualified_name(finalizer) {
            warnings.push(warning(&problem));
        }
        let standard = ["orphan", "foregroundDeletion", "kubernetes"];
        if finalizer.contains('/') || standard.contains(&finalizer.as_str()) {
            continue;
        }
        let path = if finalizer.contains('.') {
            " including a path (/)"
        } else {
            ""
        };
        warnings.push(warning(&format!(
            "prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        )));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::custom_resources::testing::{definition, object};

    #[test]
    fn rules_that_were_broken_before_warn() {
        let definition = definition(
            json!({"versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "properties": {
                    "a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self < 5", "message": "too big"}]},
                    "b": {"type": "integer"},
                }},
            }}]}),
        );
        let strategy = CustomStrategy::new(Arc::new(definition), 0, false);
        let update = |old: Value, new: Value| {
            let context = Context::default();
            let (old, new) = (Object::from(object(old)), Object::from(object(new)));
            let errors = strategy.validate_update(&context, &new, &old);
            (errors.0.len(), context.warnings.headers())
        };
        assert_eq!(
            update(json!({"a": 7, "b": 1}), json!({"a": 7, "b": 2})),
            (
                0,
                vec![r#"299 - "a: Invalid value: 7: too big""#.to_owned()]
            )
        );
        assert_eq!(
            update(json!({"a": 7, "b": 1}), json!({"a": 8, "b": 1})),
            (1, vec![])
        );
    }
}
