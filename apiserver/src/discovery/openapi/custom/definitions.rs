//! Definitions of a custom resource's kind and of its list. Upstream: apiextensions-apiserver's controller/openapi
//! (builder and v2) and apiserver/schema (convert, unfold, kubeopenapi).
//!
//! Works on the JSON form of the schema, which has the members of the published one. A schema that cannot be
//! published, because no structural one can be made of it, publishes a kind of which nothing is said.

use api_types::apiextensions::v1::JSONSchemaProps;
use apimachinery::field::Path;
use serde_json::{Map, Value, json};
use structural_schema::validate_structural;

use super::super::schemas::{API_VERSION_TEXT, Form, KIND_TEXT, reference};
use super::Description;

type Members = Map<String, Value>;

/// The schema has something that structural schemas cannot say.
#[derive(Debug)]
struct Unsupported;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const METADATA_TEXT: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA_TEXT: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const EMBEDDED_API_VERSION_TEXT: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const EMBEDDED_KIND_TEXT: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// Members that are taken as they are.
const PLAIN: &[&str] = &[
    "type",
    "description",
    "title",
    "nullable",
    "default",
    "externalDocs",
    "example",
    PRESERVE,
    EMBEDDED,
    INT_OR_STRING,
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
    "format",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "enum",
    "maxProperties",
    "minProperties",
    "required",
];
/// The types of OpenAPI v3.
const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const JUNCTORS: &[&str] = &["allOf", "anyOf", "oneOf"];
const UNSUPPORTED: &[&str] = &[
    "id",
    "$schema",
    "$ref",
    "patternProperties",
    "dependencies",
    "additionalItems",
    "definitions",
];

/// The definitions by name.
pub(super) fn definitions(form: Form, description: &Description<'_>) -> [(String, Value); 2] {
    [
        (
            description.definition(description.kind),
            kind(form, description),
        ),
        (
            description.definition(description.list_kind),
            list(form, description),
        ),
    ]
}

fn is_true(schema: &Members, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}

fn kind(form: Form, description: &Description<'_>) -> Value {
    let schema = description
        .schema
        .and_then(Value::as_object)
        .filter(|schema| is_structural(schema))
        .and_then(|schema| structural(form, schema).ok());
    let mut out = match schema {
        // To name some properties would make kubectl refuse all others.
        Some((_, preserve)) if form == Form::V2 && (preserve || description.preserve) => {
            only_object()
        }
        Some((mut out, _)) => {
            set(&mut out, "apiVersion", text(API_VERSION_TEXT));
            set(&mut out, "kind", text(KIND_TEXT));
            set(&mut out, "metadata", metadata(form));
            embedded(form, &mut out);
            out
        }
        None => only_object(),
    };
    finish(&mut out, description, description.kind);
    Value::Object(out)
}

/// Whether the schema of this version, whatever the others say, is a structural one.
fn is_structural(schema: &Members) -> bool {
    let text = Value::Object(schema.clone()).to_string();
    let schema = api_types::decode_json::<JSONSchemaProps>(text.as_bytes());
    schema.is_ok_and(|schema| validate_structural(&schema, &Path::new("")).is_empty())
}

fn only_object() -> Members {
    Members::from_iter([("type".to_owned(), Value::from("object"))])
}

fn finish(out: &mut Members, description: &Description<'_>, kind: &str) {
    out.insert(
        "x-kubernetes-group-version-kind".to_owned(),
        json!([{"group": description.group, "kind": kind, "version": description.version}]),
    );
    if !description.selectable.is_empty() {
        let fields: Vec<Value> = description
            .selectable
            .iter()
            .map(|path| json!({"fieldPath": path.trim_start_matches('.')}))
            .collect();
        out.insert("x-kubernetes-selectable-fields".to_owned(), fields.into());
    }
}

fn list(form: Form, description: &Description<'_>) -> Value {
    let Description {
        kind,
        list_kind,
        plural,
        ..
    } = description;
    let items = reference(form, &description.definition(kind));
    let text_of_items = format!(
        "List of {plural}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
    );
    let mut out = Members::new();
    out.insert(
        "description".to_owned(),
        format!("{list_kind} is a list of {kind}").into(),
    );
    out.insert("type".to_owned(), "object".into());
    out.insert("required".to_owned(), json!(["items"]));
    set(&mut out, "apiVersion", text(API_VERSION_TEXT));
    set(&mut out, "kind", text(KIND_TEXT));
    set(
        &mut out,
        "items",
        json!({"description": text_of_items, "type": "array", "items": items}),
    );
    set(
        &mut out,
        "metadata",
        described_reference(form, LIST_META, LIST_METADATA_TEXT),
    );
    finish(&mut out, description, list_kind);
    Value::Object(out)
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn metadata(form: Form) -> Value {
    described_reference(form, OBJECT_META, METADATA_TEXT)
}

fn described_reference(form: Form, name: &str, description: &str) -> Value {
    let mut out = match form {
        Form::V2 => reference(form, name),
        Form::V3 => json!({"allOf": [reference(form, name)]}),
    };
    out["description"] = description.into();
    out
}

/// Sets a property.
fn set(schema: &mut Members, name: &str, value: Value) {
    let properties = schema
        .entry("properties")
        .or_insert_with(|| Value::Object(Members::new()));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(name.to_owned(), value);
    }
}

/// Adds what every object has to the objects inside.
fn embedded(form: Form, schema: &mut Members) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            embedded(form, property);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key).and_then(Value::as_object_mut) {
            embedded(form, inner);
        }
    }
    // With named properties, kubectl would refuse all others.
    if !is_true(schema, EMBEDDED) || (form == Form::V2 && is_true(schema, PRESERVE)) {
        return;
    }
    set(schema, "apiVersion", text(EMBEDDED_API_VERSION_TEXT));
    set(schema, "kind", text(EMBEDDED_KIND_TEXT));
    set(schema, "metadata", metadata(form));
    let required = schema
        .entry("required")
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Some(required) = required.as_array_mut() {
        for name in ["kind", "apiVersion"] {
            if !required.iter().any(|known| known == name) {
                required.push(name.into());
            }
        }
    }
}

/// Whether a member says nothing: Go leaves it out.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn check(schema: &Members) -> Result<(), Unsupported> {
    let has = |key: &&&str| {
        schema.get(**key).is_some_and(|value| match value {
            Value::Object(members) => **key == "additionalItems" || !members.is_empty(),
            Value::Bool(_) => true,
            other => !says_nothing(other),
        })
    };
    let list_of_items = schema.get("items").is_some_and(Value::is_array);
    let ty = schema.get("type").and_then(Value::as_str);
    let unknown_type = ty.is_some_and(|ty| !ty.is_empty() && !TYPES.contains(&ty));
    match UNSUPPORTED.iter().any(|key| has(&key))
        || list_of_items
        || unknown_type
        || schema.get(PRESERVE) == Some(&Value::Bool(false))
    {
        true => Err(Unsupported),
        false => Ok(()),
    }
}

fn plain(schema: &Members) -> Members {
    PLAIN
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), schema.get(*key)?)))
        .filter(|(key, value)| match key.as_str() {
            "default" | "example" => !value.is_null(),
            _ => !says_nothing(value),
        })
        .map(|(key, value)| (key, value.clone()))
        .collect()
}

/// A schema under a junctor.
fn nested(schema: &Members) -> Result<Value, Unsupported> {
    check(schema)?;
    let mut out = plain(schema);
    junctors(schema, &mut out)?;
    if let Some(items) = schema.get("items").and_then(Value::as_object) {
        out.insert("items".to_owned(), nested(items)?);
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let properties = properties
            .iter()
            .filter_map(|(name, property)| Some((name.clone(), property.as_object()?)))
            .map(|(name, property)| Ok((name, nested(property)?)))
            .collect::<Result<Members, Unsupported>>()?;
        out.insert("properties".to_owned(), Value::Object(properties));
    }
    // What a structural schema cannot hold here is checked like the rest, and not published.
    if let Some(values) = schema
        .get("additionalProperties")
        .and_then(Value::as_object)
    {
        nested(values)?;
    }
    Ok(Value::Object(out))
}

fn junctors(schema: &Members, out: &mut Members) -> Result<(), Unsupported> {
    for key in JUNCTORS {
        let Some(clauses) = schema.get(*key).and_then(Value::as_array) else {
            continue;
        };
        let clauses = clauses
            .iter()
            .filter_map(Value::as_object)
            .map(nested)
            .collect::<Result<Vec<Value>, Unsupported>>()?;
        if !clauses.is_empty() {
            out.insert((*key).to_owned(), clauses.into());
        }
    }
    if let Some(not) = schema.get("not").and_then(Value::as_object) {
        out.insert("not".to_owned(), nested(not)?);
    }
    Ok(())
}

/// The published form of a structural schema, and whether the schema itself keeps unknown fields.
fn structural(form: Form, schema: &Members) -> Result<(Members, bool), Unsupported> {
    check(schema)?;
    let mut out = plain(schema);
    junctors(schema, &mut out)?;
    let preserve = is_true(&out, PRESERVE);
    match form {
        Form::V2 => {
            for key in JUNCTORS.iter().chain(&["not", "default"]) {
                out.remove(*key);
            }
        }
        Form::V3 => unfold(&mut out),
    }
    // Children are converted in any case: they decide whether there is a schema at all.
    let mut nullable_properties = Vec::new();
    let mut properties = Members::new();
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let Some(property) = property.as_object() else {
            continue;
        };
        if is_true(property, "nullable") {
            nullable_properties.push(name.as_str());
        }
        properties.insert(name.clone(), structural(form, property)?.0.into());
    }
    let items = match schema.get("items").and_then(Value::as_object) {
        Some(items) => Some(structural(form, items)?.0),
        None => None,
    };
    let values = match schema.get("additionalProperties") {
        Some(Value::Object(values)) => {
            if form == Form::V2 && is_true(values, "nullable") {
                out.remove("required");
            }
            Some(Value::Object(structural(form, values)?.0))
        }
        Some(Value::Bool(allowed)) => Some(Value::Bool(*allowed)),
        _ => None,
    };
    let nullable = is_true(&out, "nullable");
    // Version 2 cannot say null. Neither it nor kubectl goes on below such a value, or one of unknown fields.
    let opaque = form == Form::V2 && (nullable || preserve);
    if form == Form::V2 {
        out.remove("nullable");
        let ty = out.get("type").and_then(Value::as_str);
        if nullable
            || (ty == Some("array") && (opaque || items.is_none()))
            || (ty == Some("object") && preserve)
        {
            out.remove("type");
        }
        if !opaque && let Some(required) = out.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| !nullable_properties.iter().any(|nullable| name == *nullable));
            if required.is_empty() {
                out.remove("required");
            }
        }
    }
    if !opaque {
        if !properties.is_empty() {
            out.insert("properties".to_owned(), properties.into());
        }
        if let Some(items) = items {
            out.insert("items".to_owned(), items.into());
        }
    }
    if let Some(values) = values {
        out.insert("additionalProperties".to_owned(), values);
    }
    Ok((out, preserve))
}

/// Says in version 3's own words what `x-kubernetes-int-or-string` says.
fn unfold(schema: &mut Members) {
    if !is_true(schema, INT_OR_STRING) {
        return;
    }
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let first_of_all = schema.get("allOf").and_then(|clauses| clauses.get(0));
    if schema.get("anyOf") == Some(&either)
        || first_of_all.is_some_and(|clause| clause.get("anyOf") == Some(&either))
    {
        return;
    }
    if !schema.contains_key("anyOf") {
        schema.insert("anyOf".to_owned(), either);
        return;
    }
    let clauses = schema
        .entry("allOf")
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Some(clauses) = clauses.as_array_mut() {
        clauses.insert(0, json!({"anyOf": either}));
    }
}
