//! Schemas of types, from the tables. Upstream: kube-openapi's builder over the generated openapi definitions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use api_types::descriptions;
use api_types::schema::{FieldSchema, JsonForm, Omit, StructSchema, TypeRef};
use serde_json::{Map, Value, json};

const META: &str = "k8s.io/apimachinery/pkg/apis/meta/v1";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const REFERENCE: &str = "#/components/schemas/";

/// Group and version of the types of a Go package.
fn group_version(package: &str) -> (&'static str, &'static str) {
    static PACKAGES: LazyLock<HashMap<&'static str, (&'static str, &'static str)>> =
        LazyLock::new(|| {
            let mut packages = HashMap::new();
            for kind in api_types::kinds::KINDS {
                if let Some(name) = kind.schema.kind {
                    packages
                        .entry(kind.schema.package)
                        .or_insert((name.group, name.version));
                }
            }
            packages.insert(META, ("meta.k8s.io", "v1"));
            packages
        });
    PACKAGES.get(package).copied().unwrap_or_default()
}

/// `io.k8s.api.core.v1.Pod` for `k8s.io/api/core/v1` and `Pod`.
fn canonical(package: &str, name: &str) -> String {
    let (host, path) = package.split_once('/').unwrap_or((package, ""));
    let mut parts: Vec<&str> = host.rsplit('.').collect();
    parts.extend(path.split('/').filter(|part| !part.is_empty()));
    parts.push(name);
    parts.join(".")
}

pub(super) fn name_of(schema: &StructSchema) -> String {
    canonical(schema.package, schema.name)
}

fn described(group: &str, version: &str, name: &str) -> String {
    descriptions::of(group, version, name, "").unwrap_or_default()
}

/// Whether a struct is replaced as a whole by server-side apply. The tables say so at every field of its type.
fn is_atomic(schema: &'static StructSchema) -> bool {
    static ATOMIC: LazyLock<HashSet<usize>> = LazyLock::new(|| {
        let (mut seen, mut atomic) = (HashSet::new(), HashSet::new());
        let mut rest: Vec<&'static StructSchema> = api_types::kinds::KINDS
            .iter()
            .map(|kind| kind.schema)
            .collect();
        while let Some(schema) = rest.pop() {
            if !seen.insert(std::ptr::from_ref(schema) as usize) {
                continue;
            }
            for field in schema.fields {
                if let Some(inner) = field.ty.struct_schema() {
                    if field.struct_type == "atomic" {
                        atomic.insert(std::ptr::from_ref(inner) as usize);
                    }
                    rest.push(inner);
                }
            }
        }
        atomic
    });
    ATOMIC.contains(&(std::ptr::from_ref(schema) as usize))
}

/// Types that are no structs of the tables.
fn special(name: &str) -> Option<(String, Value)> {
    let meta = |name: &str| (canonical(META, name), described("meta.k8s.io", "v1", name));
    Some(match name {
        "Quantity" => (
            canonical("k8s.io/apimachinery/pkg/api/resource", name),
            json!({"description": described("", "", name), "oneOf": [{"type": "string"}, {"type": "number"}]}),
        ),
        "IntOrString" => (
            canonical("k8s.io/apimachinery/pkg/util/intstr", name),
            json!({"description": described("", "", name), "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        ),
        "RawExtension" => (
            canonical("k8s.io/apimachinery/pkg/runtime", name),
            json!({"description": described("", "", name), "type": "object"}),
        ),
        "Time" | "MicroTime" => {
            let (key, description) = meta(name);
            (
                key,
                json!({"description": description, "type": "string", "format": "date-time"}),
            )
        }
        "Duration" => {
            let (key, description) = meta(name);
            (key, json!({"description": description, "type": "string"}))
        }
        "FieldsV1" | "Patch" => {
            let (key, description) = meta(name);
            (key, json!({"description": description, "type": "object"}))
        }
        "JSON" => (
            canonical(
                "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
                name,
            ),
            json!({"description": described("apiextensions.k8s.io", "v1", name)}),
        ),
        _ => return None,
    })
}

/// Collects schemas and everything they refer to.
#[derive(Default)]
pub(super) struct Schemas {
    pub(super) done: BTreeMap<String, Value>,
    /// Group of the document, for types that belong to all groups.
    group: String,
    version: String,
}

impl Schemas {
    pub(super) fn new(group: &str, version: &str) -> Schemas {
        Schemas {
            done: BTreeMap::new(),
            group: group.to_owned(),
            version: version.to_owned(),
        }
    }

    /// A reference to a struct, whose schema is added when it is new.
    pub(super) fn reference(&mut self, schema: &'static StructSchema) -> Value {
        let name = name_of(schema);
        if !self.done.contains_key(&name) {
            // Types may refer to themselves.
            self.done.insert(name.clone(), Value::Null);
            let definition = self.definition(schema);
            self.done.insert(name.clone(), definition);
        }
        json!({"$ref": format!("{REFERENCE}{name}")})
    }

    /// A reference to a type that is no struct.
    pub(super) fn special(&mut self, name: &str) -> Value {
        match special(name) {
            Some((key, definition)) => {
                let reference = format!("{REFERENCE}{key}");
                self.done.insert(key, definition);
                json!({"$ref": reference})
            }
            None => json!({}),
        }
    }

    fn definition(&mut self, schema: &'static StructSchema) -> Value {
        let (group, version) = group_version(schema.package);
        let mut out = Map::new();
        let description = described(group, version, schema.name);
        if !description.is_empty() {
            out.insert("description".to_owned(), description.into());
        }
        if schema.json_form != JsonForm::Object {
            return Value::Object(out);
        }
        out.insert("type".to_owned(), "object".into());
        let mut properties = Map::new();
        let mut required = Vec::new();
        self.fields(schema, &mut properties, &mut required);
        if !required.is_empty() {
            out.insert("required".to_owned(), required.into());
        }
        if !properties.is_empty() {
            out.insert("properties".to_owned(), Value::Object(properties));
        }
        if is_atomic(schema) {
            out.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
        }
        if let Some(kinds) = self.kinds_of(schema) {
            out.insert("x-kubernetes-group-version-kind".to_owned(), kinds);
        }
        Value::Object(out)
    }

    /// The kinds of a type. Options and watch events belong to every group version.
    fn kinds_of(&self, schema: &StructSchema) -> Option<Value> {
        let row = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
        if schema.package == META && matches!(schema.name, "DeleteOptions" | "WatchEvent") {
            let mut rows = vec![row("", "v1", schema.name)];
            if !self.group.is_empty() {
                rows.push(row(&self.group, &self.version, schema.name));
            }
            return Some(rows.into());
        }
        let kind = schema.kind?;
        let group = if schema.package == META {
            ""
        } else {
            kind.group
        };
        Some(json!([row(group, kind.version, kind.kind)]))
    }

    fn fields(
        &mut self,
        schema: &'static StructSchema,
        properties: &mut Map<String, Value>,
        required: &mut Vec<Value>,
    ) {
        let (group, version) = group_version(schema.package);
        for field in schema.fields {
            if field.inline {
                if field.go == "TypeMeta" {
                    for (name, description) in [("kind", KIND), ("apiVersion", API_VERSION)] {
                        properties.insert(
                            name.to_owned(),
                            json!({"type": "string", "description": description}),
                        );
                    }
                } else if let Some(inner) = field.ty.struct_schema() {
                    self.fields(inner, properties, required);
                }
                continue;
            }
            if field.json.is_empty() {
                continue;
            }
            if field.required {
                required.push(field.json.into());
            }
            let description = descriptions::of(group, version, schema.name, field.json);
            let property = self.property(field, description);
            properties.insert(field.json.to_owned(), property);
        }
    }

    fn property(&mut self, field: &'static FieldSchema, description: Option<String>) -> Value {
        let mut extra = Map::new();
        let mut description = description.unwrap_or_default();
        if !field.enum_values.is_empty() {
            let mut values = field.enum_values.to_vec();
            values.sort_unstable();
            if !description.contains("Possible enum values:") {
                description += "\n\nPossible enum values:";
                for value in &values {
                    description += &format!("\n - `{value:?}`");
                }
            }
            extra.insert("enum".to_owned(), json!(values));
        }
        if !description.is_empty() {
            extra.insert("description".to_owned(), description.into());
        }
        if let Some(default) = default_of(field) {
            extra.insert("default".to_owned(), default);
        }
        let mut extension = |name: &str, text: &str| {
            if !text.is_empty() {
                extra.insert(format!("x-kubernetes-{name}"), text.into());
            }
        };
        extension("list-type", field.list_type);
        extension("map-type", field.map_type);
        extension("patch-strategy", field.patch_strategy);
        extension("patch-merge-key", field.patch_merge_key);
        if !field.list_map_keys.is_empty() {
            extra.insert(
                "x-kubernetes-list-map-keys".to_owned(),
                json!(field.list_map_keys),
            );
        }
        let ty = self.ty(&field.ty);
        let Value::Object(mut ty) = ty else { return ty };
        if ty.contains_key("$ref") {
            // Nothing may stand beside a reference.
            if extra.is_empty() {
                return Value::Object(ty);
            }
            extra.insert("allOf".to_owned(), json!([ty]));
            return Value::Object(extra);
        }
        if let Some(values) = extra.remove("enum") {
            // Of a list of values, each is one of them.
            match ty.get_mut("items").and_then(Value::as_object_mut) {
                Some(items) => items.insert("enum".to_owned(), values),
                None => extra.insert("enum".to_owned(), values),
            };
        }
        ty.extend(extra);
        Value::Object(ty)
    }

    fn ty(&mut self, ty: &TypeRef) -> Value {
        let integer = |format: &str| json!({"type": "integer", "format": format});
        match ty {
            TypeRef::String => json!({"type": "string"}),
            TypeRef::Bool => json!({"type": "boolean"}),
            TypeRef::Int32 => integer("int32"),
            TypeRef::Int64 | TypeRef::Uint32 => integer("int64"),
            TypeRef::Float64 | TypeRef::Float32 => json!({"type": "number", "format": "double"}),
            TypeRef::Bytes => json!({"type": "string", "format": "byte"}),
            TypeRef::Quantity => self.special("Quantity"),
            TypeRef::Time => self.special("Time"),
            TypeRef::MicroTime => self.special("MicroTime"),
            TypeRef::Duration | TypeRef::TimeOrMetaDuration => self.special("Duration"),
            TypeRef::IntOrString => self.special("IntOrString"),
            TypeRef::RawExtension => self.special("RawExtension"),
            TypeRef::FieldsV1 => self.special("FieldsV1"),
            TypeRef::Json => self.special("JSON"),
            TypeRef::Struct(schema) => self.reference(schema),
            TypeRef::List(item) | TypeRef::WrappedList(item) => {
                json!({"type": "array", "items": self.ty(item)})
            }
            TypeRef::Map(value) => {
                json!({"type": "object", "additionalProperties": self.ty(value)})
            }
            TypeRef::Pointer(inner) => self.ty(inner),
        }
    }
}

/// The declared default, or the zero value of what is always written.
fn default_of(field: &FieldSchema) -> Option<Value> {
    if !field.default.is_empty() {
        return serde_json::from_str(field.default).ok();
    }
    match field.ty {
        TypeRef::Struct(_) if field.omit != Omit::Zero => Some(json!({})),
        _ if field.omit != Omit::Never => None,
        TypeRef::String => Some("".into()),
        TypeRef::Bool => Some(false.into()),
        TypeRef::Int32 | TypeRef::Int64 | TypeRef::Uint32 => Some(0.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::Described;

    #[test]
    fn pods_have_everything_they_refer_to() {
        let mut schemas = Schemas::new("", "v1");
        schemas.reference(api_types::core::v1::Pod::SCHEMA);
        let spec = &schemas.done["io.k8s.api.core.v1.PodSpec"]["properties"];
        assert_eq!(spec["containers"]["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(
            spec["containers"]["x-kubernetes-list-map-keys"],
            json!(["name"])
        );
        let port = &schemas.done["io.k8s.api.core.v1.ContainerPort"];
        assert_eq!(port["required"], json!(["containerPort"]));
        assert_eq!(port["properties"]["containerPort"]["format"], "int32");
        let text = serde_json::to_string(&schemas.done).unwrap();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schemas.done.contains_key(name), "{name}");
        }
        assert!(
            schemas
                .done
                .values()
                .all(|definition| !definition.is_null())
        );
    }
}
