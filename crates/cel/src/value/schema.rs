//! Schemas: what type each field of an object has, and how large it may be.
//!
//! Upstream: apiserver/pkg/cel/common/schemas.go and apiserver/pkg/cel/types.go.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::escape::escape;
use crate::types::Type;

/// No request is larger, so nothing in one is.
const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;

/// A schema, ready for checking, estimating and reading values.
#[derive(Debug)]
pub struct Schema {
    pub(super) kind: Kind,
    pub(super) nullable: bool,
    /// Its type in expressions; none where expressions cannot reach it.
    cel_type: Option<Type>,
    /// How many characters, elements or entries there can be.
    max_elements: u64,
    /// The least bytes of JSON it can be.
    min_size: u64,
}

#[derive(Debug)]
pub(super) enum Kind {
    IntOrString,
    List {
        items: Option<Box<Schema>>,
        order: ListType,
    },
    Object(Object),
    Map(Box<Schema>),
    String(Format),
    Number,
    Integer,
    Boolean,
    /// Kept as it is, of unknown type.
    Preserved,
    Unknown(String),
}

#[derive(Debug)]
pub(super) struct Object {
    /// Fields by the name in the object.
    pub(super) fields: BTreeMap<String, Schema>,
    /// Whether the schema names fields at all.
    pub(super) declared: bool,
    type_name: Arc<str>,
}

/// The types of an object's fields, by the names expressions use.
type Fields = BTreeMap<String, Type>;

#[derive(Debug)]
pub(super) enum ListType {
    Atomic,
    Set,
    Map(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Format {
    Plain,
    Bytes,
    Duration,
    Date,
    DateTime,
}

fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name).and_then(Json::as_bool) == Some(true)
}

fn limit(schema: &Json, name: &str) -> Option<u64> {
    schema
        .get(name)
        .and_then(Json::as_i64)
        .map(|limit| limit.max(0) as u64)
}

impl Schema {
    /// Reads an OpenAPI v3 schema, as CustomResourceDefinitions and the API's own descriptions have it.
    ///
    /// `type_name` names the root's type in messages. A resource's root has `kind`, `apiVersion` and `metadata`.
    pub fn from_openapi(schema: &Json, type_name: &str, is_resource: bool) -> Schema {
        let nullable = flag(schema, "nullable");
        if flag(schema, "x-kubernetes-int-or-string") {
            let max = limit(schema, "maxLength")
                .map_or(MAX_REQUEST_BYTES - 2, |length| length.saturating_mul(4));
            return Schema {
                kind: Kind::IntOrString,
                nullable,
                cel_type: Some(Type::Dyn),
                max_elements: max,
                min_size: 1,
            };
        }
        let simple = |kind, cel_type, max_elements, min_size| Schema {
            kind,
            nullable,
            cel_type: Some(cel_type),
            max_elements,
            min_size,
        };
        match schema.get("type").and_then(Json::as_str).unwrap_or("") {
            "array" => Self::list(schema, type_name, nullable),
            "object" => Self::object(schema, type_name, is_resource, nullable),
            "string" => {
                let length = limit(schema, "maxLength");
                match schema.get("format").and_then(Json::as_str).unwrap_or("") {
                    "byte" => {
                        let max = length.unwrap_or(MAX_REQUEST_BYTES - 2);
                        simple(Kind::String(Format::Bytes), Type::Bytes, max, 2)
                    }
                    "duration" => simple(Kind::String(Format::Duration), Type::Duration, 32, 3),
                    "date" => simple(Kind::String(Format::Date), Type::Timestamp, 12, 12),
                    "date-time" => simple(Kind::String(Format::DateTime), Type::Timestamp, 32, 21),
                    _ => {
                        let max = match (length, schema.get("enum").and_then(Json::as_array)) {
                            (Some(length), _) => length.saturating_mul(4),
                            (None, Some(values)) if !values.is_empty() => values
                                .iter()
                                .filter_map(Json::as_str)
                                .map(str::len)
                                .max()
                                .unwrap_or(0)
                                as u64,
                            _ => MAX_REQUEST_BYTES - 2,
                        };
                        simple(Kind::String(Format::Plain), Type::String, max, 2)
                    }
                }
            }
            "boolean" => simple(Kind::Boolean, Type::Bool, 0, 4),
            "number" => simple(Kind::Number, Type::Double, 0, 1),
            "integer" => simple(Kind::Integer, Type::Int, 0, 1),
            other => {
                let preserved = flag(schema, "x-kubernetes-preserve-unknown-fields");
                let kind = if preserved {
                    Kind::Preserved
                } else {
                    Kind::Unknown(other.to_owned())
                };
                Schema {
                    kind,
                    nullable,
                    cel_type: None,
                    max_elements: 0,
                    min_size: 0,
                }
            }
        }
    }

    fn list(schema: &Json, type_name: &str, nullable: bool) -> Schema {
        let items = schema.get("items").map(|items| {
            let embedded = flag(items, "x-kubernetes-embedded-resource");
            Box::new(Schema::from_openapi(
                items,
                &format!("{type_name}.@idx"),
                embedded,
            ))
        });
        let order = match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
            Some("set") => ListType::Set,
            Some("map") => {
                let keys = schema
                    .get("x-kubernetes-list-map-keys")
                    .and_then(Json::as_array);
                let keys = keys.into_iter().flatten().filter_map(Json::as_str);
                ListType::Map(
                    keys.map(|key| escape(key).unwrap_or_else(|| key.to_owned()))
                        .collect(),
                )
            }
            _ => ListType::Atomic,
        };
        let (cel_type, max_elements) = match &items {
            Some(items) => {
                let max = (MAX_REQUEST_BYTES - 2) / (items.min_size + 1);
                (
                    items.cel_type.clone().map(Type::list),
                    limit(schema, "maxItems").unwrap_or(max),
                )
            }
            None => (None, 0),
        };
        Schema {
            kind: Kind::List { items, order },
            nullable,
            cel_type,
            max_elements,
            min_size: 2,
        }
    }

    fn object(schema: &Json, type_name: &str, is_resource: bool, nullable: bool) -> Schema {
        let properties = schema.get("properties").and_then(Json::as_object);
        let embedded = is_resource || flag(schema, "x-kubernetes-embedded-resource");
        if let Some(values) = schema
            .get("additionalProperties")
            .filter(|values| values.is_object())
        {
            let embedded = flag(values, "x-kubernetes-embedded-resource");
            let values = Schema::from_openapi(values, &format!("{type_name}.@elem"), embedded);
            let cel_type = values
                .cel_type
                .clone()
                .map(|values| Type::map(Type::String, values));
            // The shortest entry is `"":` with a value and a comma.
            let max = (MAX_REQUEST_BYTES - 2) / (values.min_size + 6);
            let max_elements = limit(schema, "maxProperties").unwrap_or(max);
            return Schema {
                kind: Kind::Map(Box::new(values)),
                nullable,
                cel_type,
                max_elements,
                min_size: 2,
            };
        }
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Json::as_array)
            .map(|names| names.iter().filter_map(Json::as_str).collect())
            .unwrap_or_default();
        let mut fields = BTreeMap::new();
        let mut min_size = 2;
        let with_meta = embedded.then(|| with_type_and_object_meta(properties));
        for (name, property) in with_meta.as_ref().or(properties).into_iter().flatten() {
            let escaped = escape(name);
            let field_type = format!("{type_name}.{}", escaped.as_deref().unwrap_or(name));
            let embedded = flag(property, "x-kubernetes-embedded-resource");
            let field = Schema::from_openapi(property, &field_type, embedded);
            if field.cel_type.is_some()
                && required.contains(&name.as_str())
                && property.get("default").is_none()
            {
                min_size += name.len() as u64 + field.min_size + 4;
            }
            fields.insert(name.clone(), field);
        }
        let type_name: Arc<str> = type_name.into();
        let cel_type = Some(Type::Struct(type_name.clone()));
        let declared = embedded || properties.is_some();
        Schema {
            kind: Kind::Object(Object {
                fields,
                declared,
                type_name,
            }),
            nullable,
            cel_type,
            max_elements: 0,
            min_size,
        }
    }

    /// The type expressions see, if they can see this at all.
    pub fn cel_type(&self) -> Option<&Type> {
        self.cel_type.as_ref()
    }

    /// How often at most data of this schema can be in a request, where nothing else limits it.
    pub fn max_cardinality(&self) -> u64 {
        MAX_REQUEST_BYTES / (self.min_size + 1)
    }

    /// The most characters, elements or entries of what a path leads to. `@items`, `@values` and `@keys` are what is in
    /// lists and maps.
    pub fn max_elements(&self, path: &[&str]) -> Option<u64> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self.max_elements);
        };
        match (&self.kind, *first) {
            (
                Kind::List {
                    items: Some(items), ..
                },
                "@items" | "@values",
            ) => items.reachable()?.max_elements(rest),
            (Kind::Map(values), "@items" | "@values") => values.reachable()?.max_elements(rest),
            (Kind::Map(_), "@keys") => rest.is_empty().then_some(0),
            (Kind::Object(object), name) => {
                let (_, field) = object
                    .fields
                    .iter()
                    .find(|(field, _)| escape(field).as_deref() == Some(name))?;
                field.reachable()?.max_elements(rest)
            }
            _ => None,
        }
    }

    fn reachable(&self) -> Option<&Schema> {
        self.cel_type.is_some().then_some(self)
    }

    /// Calls `declare` for each object type in here, with the names and types of its fields.
    pub(crate) fn declare_types(&self, declare: &mut impl FnMut(&Arc<str>, Fields)) {
        match &self.kind {
            Kind::List {
                items: Some(items), ..
            } => items.declare_types(declare),
            Kind::Map(values) => values.declare_types(declare),
            Kind::Object(object) => {
                let fields = object
                    .fields
                    .iter()
                    .filter_map(|(name, field)| Some((escape(name)?, field.cel_type.clone()?)));
                declare(&object.type_name, fields.collect());
                for field in object.fields.values() {
                    field.declare_types(declare);
                }
            }
            _ => {}
        }
    }
}

fn with_type_and_object_meta(
    properties: Option<&serde_json::Map<String, Json>>,
) -> serde_json::Map<String, Json> {
    let mut properties = properties.cloned().unwrap_or_default();
    let string = serde_json::json!({"type": "string"});
    let has_names = properties.get("metadata").is_some_and(|metadata| {
        let names = metadata.get("properties");
        names.and_then(|names| names.get("name")).is_some()
            && names.and_then(|names| names.get("generateName")).is_some()
    });
    if properties.contains_key("kind") && properties.contains_key("apiVersion") && has_names {
        return properties;
    }
    properties.insert("kind".to_owned(), string.clone());
    properties.insert("apiVersion".to_owned(), string.clone());
    let names = serde_json::json!({"name": string, "generateName": string});
    properties.insert(
        "metadata".to_owned(),
        serde_json::json!({"type": "object", "properties": names}),
    );
    properties
}
