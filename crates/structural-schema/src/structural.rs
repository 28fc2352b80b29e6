//! Whether a schema is structural: every field is known by its path alone, whatever `allOf` and the like say.
//! Upstream: apiserver/schema/validation.go and complete.go.

use api_types::apiextensions::v1::JSONSchemaProps;
use apimachinery::field::{self, ErrorList, Path};

use crate::build::{default, item_schema, json};
use crate::pattern::Pattern;

/// What keeps a schema from being structural, in the order of the messages.
pub fn validate_structural(schema: &JSONSchemaProps, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    invariants(schema, Level::Root, path, &mut errors);
    complete_values(schema, schema, path, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

fn invariants(schema: &JSONSchemaProps, level: Level, path: &Path, errors: &mut ErrorList) {
    let items = schema.items.as_deref().and_then(item_schema);
    if schema.type_ == "array" && items.is_none() {
        errors.push(field::required(&path.child("items"), "must be specified"));
    }
    if let Some(items) = items {
        invariants(items, Level::Item, &path.child("items"), errors);
    }
    let properties = path.child("properties");
    for (name, property) in &schema.properties {
        invariants(property, Level::Field, &properties.key(name), errors);
    }
    if let Some(additional) = &schema.additional_properties {
        let path = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(field::forbidden(&path, "must not be used at the root"));
        }
        if let Some(values) = &additional.schema {
            invariants(values, Level::Field, &path, errors);
        }
    }

    let preserves = schema.x_kubernetes_preserve_unknown_fields == Some(true);
    let embedded = schema.x_kubernetes_embedded_resource;
    if schema.x_kubernetes_int_or_string {
        for (name, set) in [
            ("x-kubernetes-preserve-unknown-fields", preserves),
            ("x-kubernetes-embedded-resource", embedded),
        ] {
            if set {
                let detail = "must be false if x-kubernetes-int-or-string is true";
                errors.push(field::invalid(&path.child(name), true, detail));
            }
        }
    }

    let skip = Skip {
        any_of: is_int_or_string(&schema.any_of),
        first_all_of: schema
            .all_of
            .first()
            .is_some_and(|first| is_int_or_string(&first.any_of)),
    };
    value_invariants(schema, skip, path, errors);

    let type_path = path.child("type");
    if embedded && schema.type_ != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if schema.type_.is_empty() {
            field::required(&type_path, detail)
        } else {
            field::invalid(&type_path, &schema.type_, detail)
        });
    } else if schema.type_.is_empty() && !schema.x_kubernetes_int_or_string && !preserves {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(field::required(&type_path, detail));
    }
    if embedded && schema.additional_properties.is_some() {
        errors.push(field::forbidden(
            &path.child("additionalProperties"),
            "must not be used if x-kubernetes-embedded-resource is set",
        ));
    }
    if level == Level::Root && !schema.type_.is_empty() && schema.type_ != "object" {
        let detail = "must be object at the root";
        errors.push(field::invalid(&type_path, &schema.type_, detail));
    }

    let checks_metadata = level == Level::Root || embedded;
    if checks_metadata {
        for name in ["kind", "apiVersion"] {
            if let Some(property) = schema.properties.get(name)
                && property.type_ != "string"
            {
                let path = properties.key(name).child("type");
                errors.push(field::invalid(&path, &property.type_, "must be string"));
            }
        }
    }
    if let Some(metadata) = schema.properties.get("metadata") {
        let path = properties.key("metadata");
        if checks_metadata && metadata.type_ != "object" {
            let path = path.child("type");
            errors.push(field::invalid(&path, &metadata.type_, "must be object"));
        }
        if level == Level::Root && !restricts_names_only(metadata) {
            errors.push(field::forbidden(
                &path,
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            ));
        }
    }
    if embedded && !preserves && schema.properties.is_empty() {
        errors.push(field::required(
            &properties,
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
}

/// Whether metadata has nothing but a type, a default, and a name or generateName.
fn restricts_names_only(metadata: &JSONSchemaProps) -> bool {
    if !metadata
        .properties
        .keys()
        .all(|name| name == "name" || name == "generateName")
    {
        return false;
    }
    let rest = JSONSchemaProps {
        type_: String::new(),
        default: None,
        properties: Default::default(),
        ..metadata.clone()
    };
    is_zero(&rest)
}

/// Whether a schema says nothing, not even what it is for.
fn is_zero(schema: &JSONSchemaProps) -> bool {
    api_types::encode_json(schema).trim_ascii() == b"{}"
}

/// `anyOf` an integer and a string, and nothing else.
fn is_int_or_string(any_of: &[JSONSchemaProps]) -> bool {
    let is_only = |schema: &JSONSchemaProps, name: &str| {
        schema.type_ == name
            && is_zero(&JSONSchemaProps {
                type_: String::new(),
                ..schema.clone()
            })
    };
    matches!(any_of, [first, second] if is_only(first, "integer") && is_only(second, "string"))
}

/// What int-or-string allows.
#[derive(Clone, Copy, Default)]
struct Skip {
    any_of: bool,
    first_all_of: bool,
}

fn value_invariants(schema: &JSONSchemaProps, skip: Skip, path: &Path, errors: &mut ErrorList) {
    if !skip.any_of {
        for (index, nested) in schema.any_of.iter().enumerate() {
            let path = path.child("anyOf").index(index);
            nested_invariants(nested, Skip::default(), &path, errors);
        }
    }
    for (index, nested) in schema.all_of.iter().enumerate() {
        let skip = Skip {
            any_of: skip.first_all_of && index == 0,
            first_all_of: false,
        };
        nested_invariants(nested, skip, &path.child("allOf").index(index), errors);
    }
    for (index, nested) in schema.one_of.iter().enumerate() {
        let path = path.child("oneOf").index(index);
        nested_invariants(nested, Skip::default(), &path, errors);
    }
    if let Some(not) = &schema.not {
        nested_invariants(not, Skip::default(), &path.child("not"), errors);
    }
    if !schema.pattern.is_empty()
        && let Some(error) = Pattern::new(&schema.pattern).error()
    {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(field::invalid(
            &path.child("pattern"),
            &schema.pattern,
            detail,
        ));
    }
}

fn nested_invariants(schema: &JSONSchemaProps, skip: Skip, path: &Path, errors: &mut ErrorList) {
    value_invariants(schema, skip, path, errors);
    if let Some(items) = schema.items.as_deref().and_then(item_schema) {
        nested_invariants(items, Skip::default(), &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        let path = path.child("properties").key(name);
        nested_invariants(property, Skip::default(), &path, errors);
    }
    let additional = schema.additional_properties.as_deref();
    let default = schema
        .default
        .as_ref()
        .and_then(|json_text| json(json_text).ok()?);
    const EMPTY: &str = "must be empty to be structural";
    const UNDEFINED: &str = "must be undefined to be structural";
    const FALSE: &str = "must be false to be structural";
    let forbidden = [
        (!schema.type_.is_empty(), "type", EMPTY),
        (
            additional.is_some_and(|additional| additional.allows || additional.schema.is_some()),
            "additionalProperties",
            UNDEFINED,
        ),
        (default.is_some(), "default", UNDEFINED),
        (!schema.title.is_empty(), "title", EMPTY),
        (!schema.description.is_empty(), "description", EMPTY),
        (schema.nullable, "nullable", FALSE),
        (
            schema.x_kubernetes_preserve_unknown_fields == Some(true),
            "x-kubernetes-preserve-unknown-fields",
            FALSE,
        ),
        (
            schema.x_kubernetes_embedded_resource,
            "x-kubernetes-embedded-resource",
            FALSE,
        ),
        (
            schema.x_kubernetes_int_or_string,
            "x-kubernetes-int-or-string",
            FALSE,
        ),
        (
            !schema.x_kubernetes_list_map_keys.is_empty(),
            "x-kubernetes-list-map-keys",
            EMPTY,
        ),
        (
            schema.x_kubernetes_list_type.is_some(),
            "x-kubernetes-list-type",
            UNDEFINED,
        ),
        (
            schema.x_kubernetes_map_type.is_some(),
            "x-kubernetes-map-type",
            UNDEFINED,
        ),
        (
            !schema.x_kubernetes_validations.is_empty(),
            "x-kubernetes-validations",
            EMPTY,
        ),
    ];
    for (_, name, detail) in forbidden.iter().filter(|(found, _, _)| *found) {
        errors.push(field::forbidden(&path.child(*name), *detail));
    }
    // It could restrict metadata in ways nobody wants.
    if schema.properties.contains_key("metadata") {
        errors.push(field::forbidden(
            &path.child("properties").key("metadata"),
            "must not be specified in a nested context",
        ));
    }
}

/// What `allOf` and the like talk about has to be there without them.
fn complete_values(
    values: &JSONSchemaProps,
    schema: &JSONSchemaProps,
    path: &Path,
    values_path: &Path,
    errors: &mut ErrorList,
) {
    let nested = values
        .not
        .iter()
        .map(|not| (&**not, values_path.child("not")))
        .chain(indexed(&values.all_of, values_path, "allOf"))
        .chain(indexed(&values.any_of, values_path, "anyOf"))
        .chain(indexed(&values.one_of, values_path, "oneOf"));
    for (nested, values_path) in nested {
        complete(nested, Some(schema), path, &values_path, errors);
    }
}

fn indexed<'a>(
    schemas: &'a [JSONSchemaProps],
    path: &Path,
    name: &'static str,
) -> impl Iterator<Item = (&'a JSONSchemaProps, Path)> {
    let path = path.child(name);
    schemas
        .iter()
        .enumerate()
        .map(move |(index, schema)| (schema, path.index(index)))
}

fn complete(
    nested: &JSONSchemaProps,
    schema: Option<&JSONSchemaProps>,
    path: &Path,
    nested_path: &Path,
    errors: &mut ErrorList,
) {
    let Some(schema) = schema else {
        let detail = format!("because it is defined in {nested_path}");
        errors.push(field::required(path, detail));
        return;
    };
    complete_values(nested, schema, path, nested_path, errors);
    if let Some(items) = nested.items.as_deref().and_then(item_schema) {
        complete(
            items,
            schema.items.as_deref().and_then(item_schema),
            &path.child("items"),
            &nested_path.child("items"),
            errors,
        );
    }
    for (name, property) in &nested.properties {
        complete(
            property,
            schema.properties.get(name),
            &path.child("properties").key(name),
            &nested_path.child("properties").key(name),
            errors,
        );
    }
}

/// Whether a schema has a default, which is not null.
pub(crate) fn has_default(schema: &JSONSchemaProps) -> bool {
    default(schema).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{props, texts};
    use serde_json::{Value, json};

    #[track_caller]
    fn check(schema: Value, want: &[&str]) {
        assert_eq!(
            texts(&validate_structural(&props(&schema), &Path::new("s"))),
            want
        );
    }

    #[test]
    fn types_are_given() {
        check(json!({"type": "object"}), &[]);
        check(
            json!({}),
            &["s.type: Required value: must not be empty at the root"],
        );
        check(
            json!({"type": "array"}),
            &[
                "s.items: Required value: must be specified",
                "s.type: Invalid value: \"array\": must be object at the root",
            ],
        );
        check(
            json!({"type": "object", "properties": {"a": {}, "l": {"type": "array", "items": {}},
                "i": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "j": {"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}]},
                "p": {"x-kubernetes-preserve-unknown-fields": true}}}),
            &[
                "s.properties[a].type: Required value: must not be empty for specified object fields",
                "s.properties[l].items.type: Required value: must not be empty for specified array items",
            ],
        );
        check(
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            &["s.additionalProperties: Forbidden: must not be used at the root"],
        );
    }

    #[test]
    fn nested_schemas_only_restrict() {
        check(
            json!({"type": "object", "properties": {"a": {"type": "string", "not": {"pattern": "a("}}},
                "allOf": [{"properties": {"a": {"minLength": 1}, "b": {"type": "string", "description": "x"}}}],
                "anyOf": [{"items": {"enum": ["x"]}}, {"additionalProperties": true}]}),
            &[
                "s.allOf[0].properties[b].description: Forbidden: must be empty to be structural",
                "s.allOf[0].properties[b].type: Forbidden: must be empty to be structural",
                "s.anyOf[1].additionalProperties: Forbidden: must be undefined to be structural",
                "s.items: Required value: because it is defined in s.anyOf[0].items",
                "s.properties[a].not.pattern: Invalid value: \"a(\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `a(`",
                "s.properties[b]: Required value: because it is defined in s.allOf[0].properties[b]",
            ],
        );
    }

    #[test]
    fn metadata_is_restricted() {
        let names = json!({"name": {"type": "string", "pattern": "^a"}});
        check(
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": names}}}),
            &[],
        );
        check(
            json!({"type": "object", "properties": {"kind": {"type": "integer"},
                "metadata": {"type": "object", "description": "no", "properties": {"labels": {"type": "object"}}}}}),
            &[
                "s.properties[kind].type: Invalid value: \"integer\": must be string",
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
            ],
        );
        check(
            json!({"type": "object", "properties": {"e": {"x-kubernetes-embedded-resource": true}}}),
            &[
                "s.properties[e].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
                "s.properties[e].type: Required value: must be object if x-kubernetes-embedded-resource is true",
            ],
        );
    }
}
