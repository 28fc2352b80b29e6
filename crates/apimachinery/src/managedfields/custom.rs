//! The types of custom resources, made from the schemas of their definitions.
//! Upstream: kube-openapi/pkg/schemaconv over what apiextensions-apiserver/pkg/controller/openapi/builder makes of a schema.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use api_types::Described;
use api_types::apiextensions::v1::JSONSchemaProps;
use api_types::meta::v1::ObjectMeta;

use super::built_in::Builder;
use super::schema::{
    Atom, Field, List, ListRelationship, MapType, ObjectType, Scalar, Schema, TypeId,
};

/// The types that all custom resources have.
struct Common {
    schema: Schema,
    metadata: TypeId,
    text: TypeId,
}

static COMMON: LazyLock<Common> = LazyLock::new(|| {
    let mut builder = Builder::default();
    Common {
        metadata: builder.struct_type(ObjectMeta::SCHEMA),
        text: builder.scalar("string", Scalar::String),
        schema: builder.into_schema(),
    }
});

/// The type of a custom resource's objects. `preserve_unknown_fields` is the definition's own: everything may have other fields.
pub fn custom_type(schema: &JSONSchemaProps, preserve_unknown_fields: bool) -> ObjectType {
    let mut converter = Converter {
        schema: Schema::on(&COMMON.schema),
        known: HashMap::new(),
    };
    let root = converter.type_of(schema, preserve_unknown_fields, true);
    converter.schema.shrink();
    ObjectType {
        schema: Arc::new(converter.schema),
        root,
    }
}

struct Converter {
    schema: Schema,
    /// Types that are the same are there once: most of a schema's leaves, and what definitions repeat, say pod templates.
    known: HashMap<Atom, TypeId>,
}

impl Converter {
    fn add(&mut self, atom: Atom) -> TypeId {
        if let Some(known) = self.known.get(&atom) {
            return *known;
        }
        let ty = self.schema.add(atom.clone());
        self.known.insert(atom, ty);
        ty
    }

    /// Adds a schema's type. Once a schema preserves unknown fields, so does everything below it.
    fn type_of(&mut self, schema: &JSONSchemaProps, preserve: bool, resource: bool) -> TypeId {
        let preserve = preserve || schema.x_kubernetes_preserve_unknown_fields == Some(true);
        let resource = resource || schema.x_kubernetes_embedded_resource;
        let scalar = |kind| match kind {
            "string" => Some(Scalar::String),
            "integer" | "number" => Some(Scalar::Numeric),
            "boolean" => Some(Scalar::Boolean),
            "" => Some(Scalar::Untyped),
            _ => None,
        };
        let kind = schema.type_.as_str();
        let atom = Atom {
            scalar: scalar(kind),
            list: matches!(kind, "" | "array").then(|| self.list(schema, preserve)),
            map: matches!(kind, "" | "object").then(|| self.map(schema, preserve, resource)),
        };
        self.add(atom)
    }

    fn list(&mut self, schema: &JSONSchemaProps, preserve: bool) -> List {
        let items = schema
            .items
            .as_ref()
            .and_then(|items| items.schema.as_deref());
        let element = match items {
            Some(items) => self.type_of(items, preserve, false),
            None => Schema::UNTYPED_ATOMIC,
        };
        let keys = &schema.x_kubernetes_list_map_keys;
        let relationship = match schema.x_kubernetes_list_type.as_deref() {
            Some("set") => ListRelationship::Set,
            Some("map") => ListRelationship::Map(keys.iter().cloned().map(Cow::Owned).collect()),
            _ => ListRelationship::Atomic,
        };
        List {
            element,
            relationship,
        }
    }

    fn map(&mut self, schema: &JSONSchemaProps, preserve: bool, resource: bool) -> MapType {
        let mut fields = Vec::new();
        if resource {
            for (name, ty) in [
                ("apiVersion", COMMON.text),
                ("kind", COMMON.text),
                ("metadata", COMMON.metadata),
            ] {
                fields.push(Field {
                    name: Cow::Borrowed(name),
                    ty,
                    default: None,
                });
            }
        }
        for (name, property) in &schema.properties {
            if resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let default = property
                .default
                .as_ref()
                .and_then(|json| serde_json::from_slice(&json.raw).ok())
                .map(Box::new);
            fields.push(Field {
                name: Cow::Owned(name.clone()),
                ty: self.type_of(property, preserve, false),
                default,
            });
        }
        let element = match schema.additional_properties.as_deref() {
            None => (preserve || fields.is_empty()).then_some(Schema::UNTYPED_DEDUCED),
            Some(additional) => match &additional.schema {
                Some(schema) => Some(self.type_of(schema, preserve, false)),
                None => additional.allows.then_some(Schema::UNTYPED_DEDUCED),
            },
        };
        let atomic = schema.x_kubernetes_map_type.as_deref() == Some("atomic");
        MapType::new(fields, element, atomic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::managedfields::TypedValue;
    use serde_json::json;

    fn fields_of(schema: serde_json::Value, object: serde_json::Value) -> String {
        let schema = api_types::decode_json(schema.to_string().as_bytes()).unwrap();
        let typed = TypedValue::new(object, custom_type(&schema, false), false).unwrap();
        String::from_utf8(typed.to_field_set().to_fields_v1().raw).unwrap()
    }

    #[test]
    fn lists_and_maps_are_owned_as_their_schema_says() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "whole": {"type": "array", "items": {"type": "string"}},
            "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
            "free": {"x-kubernetes-preserve-unknown-fields": true},
        }}}});
        let object = json!({"apiVersion": "e/v1", "kind": "T", "metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {
            "ports": [{"name": "p", "port": 1}], "set": ["s"], "whole": ["w"], "atomic": {"k": "v"}, "free": {"deep": {"er": 1}},
        }});
        assert_eq!(
            fields_of(schema, object),
            r#"{"f:apiVersion":{},"f:kind":{},"f:metadata":{"f:labels":{"f:x":{}},"f:name":{}},"f:spec":{"f:atomic":{},"f:free":{"f:deep":{".":{},"f:er":{}}},"f:ports":{"k:{\"name\":\"p\"}":{".":{},"f:name":{},"f:port":{}}},"f:set":{"v:\"s\"":{}},"f:whole":{}}}"#
        );
    }

    #[test]
    fn types_that_are_the_same_are_there_once() {
        let with_fields = |count: usize| {
            let one = json!({"type": "object", "properties": {"name": {"type": "string"}, "replicas": {"type": "integer"}}});
            let fields: serde_json::Map<_, _> = (0..count)
                .map(|n| (format!("field{n}"), one.clone()))
                .collect();
            let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}});
            let schema = api_types::decode_json(schema.to_string().as_bytes()).unwrap();
            custom_type(&schema, false).schema.len() - COMMON.schema.len()
        };
        assert_eq!(with_fields(1), with_fields(100));
    }

    #[test]
    fn fields_that_the_schema_does_not_know_are_an_error() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}});
        let schema = api_types::decode_json(schema.to_string().as_bytes()).unwrap();
        let object = json!({"apiVersion": "e/v1", "kind": "T", "spec": {"b": 1}});
        let error = TypedValue::new(object.clone(), custom_type(&schema, false), false)
            .map(drop)
            .unwrap_err();
        assert_eq!(error.to_string(), ".spec.b: field not declared in schema");
        assert!(TypedValue::new(object, custom_type(&schema, true), false).is_ok());
    }
}
