//! The schema of the built-in kinds, made from the tables of the API types.
//!
//! Upstream publishes the same facts in OpenAPI and reads them back (kube-openapi/pkg/schemaconv); a test compares the two.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

use api_types::schema::{FieldPath, FieldSchema, JsonForm, Omit, StructSchema, TypeRef};
use serde_json::Value;

use super::path::PathElement;
use super::schema::{
    Atom, Field, List, ListRelationship, MapType, ObjectType, Scalar, Schema, TypeId,
};

/// Structs that are owned as a whole wherever they appear. They carry the marker `+structType=atomic` upstream.
pub const ATOMIC_STRUCTS: &[(&str, &str)] = &[
    ("k8s.io/api/admissionregistration/v1", "MatchResources"),
    (
        "k8s.io/api/admissionregistration/v1",
        "NamedRuleWithOperations",
    ),
    ("k8s.io/api/admissionregistration/v1", "ParamKind"),
    ("k8s.io/api/admissionregistration/v1", "ParamRef"),
    ("k8s.io/api/admissionregistration/v1", "Variable"),
    (
        "k8s.io/api/admissionregistration/v1alpha1",
        "MatchResources",
    ),
    (
        "k8s.io/api/admissionregistration/v1alpha1",
        "NamedRuleWithOperations",
    ),
    ("k8s.io/api/admissionregistration/v1alpha1", "ParamKind"),
    ("k8s.io/api/admissionregistration/v1alpha1", "ParamRef"),
    ("k8s.io/api/admissionregistration/v1beta1", "MatchResources"),
    (
        "k8s.io/api/admissionregistration/v1beta1",
        "NamedRuleWithOperations",
    ),
    ("k8s.io/api/admissionregistration/v1beta1", "ParamKind"),
    ("k8s.io/api/admissionregistration/v1beta1", "ParamRef"),
    ("k8s.io/api/admissionregistration/v1beta1", "Variable"),
    ("k8s.io/api/autoscaling/v1", "CrossVersionObjectReference"),
    ("k8s.io/api/core/v1", "ConfigMapKeySelector"),
    ("k8s.io/api/core/v1", "EndpointAddress"),
    ("k8s.io/api/core/v1", "EndpointPort"),
    ("k8s.io/api/core/v1", "FileKeySelector"),
    ("k8s.io/api/core/v1", "LocalObjectReference"),
    ("k8s.io/api/core/v1", "NodeSelector"),
    ("k8s.io/api/core/v1", "NodeSelectorTerm"),
    ("k8s.io/api/core/v1", "ObjectFieldSelector"),
    ("k8s.io/api/core/v1", "ObjectReference"),
    ("k8s.io/api/core/v1", "ResourceFieldSelector"),
    ("k8s.io/api/core/v1", "ScopeSelector"),
    ("k8s.io/api/core/v1", "SecretKeySelector"),
    ("k8s.io/api/core/v1", "SecretReference"),
    ("k8s.io/api/core/v1", "TopologySelectorTerm"),
    ("k8s.io/api/core/v1", "TypedLocalObjectReference"),
    ("k8s.io/api/discovery/v1", "EndpointPort"),
    ("k8s.io/api/networking/v1", "ServiceBackendPort"),
    ("k8s.io/api/rbac/v1", "RoleRef"),
    ("k8s.io/api/rbac/v1", "Subject"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "LabelSelector"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "OwnerReference"),
];

/// The type of a built-in kind.
pub fn built_in_type(group: &str, version: &str, kind: &str) -> Option<ObjectType> {
    let info = api_types::kinds::lookup(group, version, kind)?;
    let built_in = built_in();
    Some(ObjectType {
        schema: Arc::clone(&built_in.schema),
        root: built_in.root(info.schema)?,
    })
}

/// The types of all built-in kinds.
pub(super) struct BuiltIn {
    pub schema: Arc<Schema>,
    /// Types of structs by the address of their table.
    structs: HashMap<usize, TypeId>,
    /// Fields by the struct's type. A struct whose field says how it merges has a type for that field only.
    fields: Vec<OnceLock<Vec<PlannedField>>>,
}

/// A field of a struct, ready to be compared.
pub(super) struct PlannedField {
    pub field: &'static FieldSchema,
    /// Where the struct has it.
    pub path: FieldPath,
    pub element: PathElement,
    pub ty: TypeId,
}

impl BuiltIn {
    /// The type of a struct by itself.
    pub(super) fn root(&self, table: &'static StructSchema) -> Option<TypeId> {
        self.structs
            .get(&(std::ptr::from_ref(table) as usize))
            .copied()
    }

    /// The fields of a struct in the order of their names, as a type that stands for the struct has them.
    pub(super) fn fields(&self, ty: TypeId, table: &'static StructSchema) -> &[PlannedField] {
        self.fields[ty.index()].get_or_init(|| {
            let map = self.schema.atom(ty).map.as_ref();
            let fields = map.map(MapType::fields).unwrap_or_default();
            fields
                .iter()
                .filter_map(|of_type| {
                    let (path, field) = table.find_json(&of_type.name)?;
                    Some(PlannedField {
                        field,
                        path,
                        element: PathElement::Field(of_type.name.clone()),
                        ty: of_type.ty,
                    })
                })
                .collect()
        })
    }
}

/// The types of all built-in kinds, made when first asked for.
pub(super) fn built_in() -> &'static BuiltIn {
    static BUILT_IN: LazyLock<BuiltIn> = LazyLock::new(|| {
        let mut builder = Builder::default();
        for info in api_types::kinds::KINDS {
            builder.struct_type(info.schema);
        }
        let fields = std::iter::repeat_with(OnceLock::new).take(builder.schema.len());
        BuiltIn {
            fields: fields.collect(),
            structs: std::mem::take(&mut builder.structs),
            schema: Arc::new(builder.into_schema()),
        }
    });
    &BUILT_IN
}

/// Makes the types of structs, in a schema that may have others too.
#[derive(Default)]
pub(super) struct Builder {
    schema: Schema,
    /// Types of structs by the address of their table.
    structs: HashMap<usize, TypeId>,
    scalars: HashMap<&'static str, TypeId>,
}

impl Builder {
    pub(super) fn into_schema(mut self) -> Schema {
        self.schema.shrink();
        self.schema
    }

    pub(super) fn struct_type(&mut self, table: &'static StructSchema) -> TypeId {
        let address = std::ptr::from_ref(table) as usize;
        if let Some(ty) = self.structs.get(&address) {
            return *ty;
        }
        let ty = self.schema.reserve();
        self.structs.insert(address, ty);
        let atomic = ATOMIC_STRUCTS.contains(&(table.package, table.name));
        let atom = match table.json_form {
            JsonForm::Object => Atom {
                map: Some(self.struct_map(table, atomic)),
                ..Default::default()
            },
            // Either this or that: OpenAPI names no type for these.
            JsonForm::SchemaOrArray
            | JsonForm::SchemaOrBool
            | JsonForm::SchemaOrStringArray
            | JsonForm::Custom => any(),
        };
        self.schema.define(ty, atom);
        ty
    }

    fn struct_map(&mut self, table: &'static StructSchema, atomic: bool) -> MapType {
        let mut fields: Vec<Field> = Vec::new();
        if table.has_type_meta() {
            for name in ["apiVersion", "kind"] {
                let ty = self.scalar("string", Scalar::String);
                fields.push(Field {
                    name: Cow::Borrowed(name),
                    ty,
                    default: None,
                });
            }
        }
        for field in table.json_fields() {
            if fields.iter().any(|known| known.name == field.json) {
                continue;
            }
            let ty = self.field_type(field);
            fields.push(Field {
                name: Cow::Borrowed(field.json),
                ty,
                default: default_of(field).map(Box::new),
            });
        }
        // An object without fields may have any.
        let element = fields.is_empty().then_some(Schema::UNTYPED_DEDUCED);
        MapType::new(fields, element, atomic)
    }

    /// A field's type, with what the field itself says about merging.
    fn field_type(&mut self, field: &'static FieldSchema) -> TypeId {
        let relationship = match (field.map_type, field.struct_type) {
            ("atomic", _) | (_, "atomic") => Some(true),
            ("granular", _) | (_, "granular") => Some(false),
            _ => None,
        };
        match (field.ty.deref(), relationship) {
            (TypeRef::Map(element), _) => {
                let element = self.type_of(element);
                let map = MapType::new(Vec::new(), Some(element), relationship == Some(true));
                self.schema.add(Atom {
                    map: Some(map),
                    ..Default::default()
                })
            }
            (TypeRef::Struct(table), Some(atomic)) if table.json_form == JsonForm::Object => {
                // Make the type itself first, so that a type which contains itself ends here.
                self.struct_type(table);
                let map = self.struct_map(table, atomic);
                self.schema.add(Atom {
                    map: Some(map),
                    ..Default::default()
                })
            }
            (TypeRef::List(element) | TypeRef::WrappedList(element), _) => {
                let element = self.type_of(element);
                let list = List {
                    element,
                    relationship: list_relationship(field),
                };
                self.schema.add(Atom {
                    list: Some(list),
                    ..Default::default()
                })
            }
            (ty, _) => {
                let ty = *ty;
                self.type_of(&ty)
            }
        }
    }

    fn type_of(&mut self, ty: &TypeRef) -> TypeId {
        match ty {
            TypeRef::String | TypeRef::Bytes | TypeRef::Duration => {
                self.scalar("string", Scalar::String)
            }
            TypeRef::Bool => self.scalar("boolean", Scalar::Boolean),
            TypeRef::Int32
            | TypeRef::Int64
            | TypeRef::Uint32
            | TypeRef::Float64
            | TypeRef::Float32 => self.scalar("numeric", Scalar::Numeric),
            // Strings with a format of their own.
            TypeRef::Quantity
            | TypeRef::Time
            | TypeRef::MicroTime
            | TypeRef::IntOrString
            | TypeRef::TimeOrMetaDuration => self.scalar("untyped", Scalar::Untyped),
            TypeRef::RawExtension => Schema::UNTYPED_ATOMIC,
            // An object without declared fields.
            TypeRef::FieldsV1 => {
                let map = MapType::new(Vec::new(), Some(Schema::UNTYPED_DEDUCED), false);
                self.schema.add(Atom {
                    map: Some(map),
                    ..Default::default()
                })
            }
            TypeRef::Json => self.schema.add(any()),
            TypeRef::Struct(table) => self.struct_type(table),
            TypeRef::Pointer(target) => self.type_of(target),
            TypeRef::List(element) | TypeRef::WrappedList(element) => {
                let element = self.type_of(element);
                let list = List {
                    element,
                    relationship: ListRelationship::Atomic,
                };
                self.schema.add(Atom {
                    list: Some(list),
                    ..Default::default()
                })
            }
            TypeRef::Map(element) => {
                let element = self.type_of(element);
                let map = MapType::new(Vec::new(), Some(element), false);
                self.schema.add(Atom {
                    map: Some(map),
                    ..Default::default()
                })
            }
        }
    }

    pub(super) fn scalar(&mut self, name: &'static str, scalar: Scalar) -> TypeId {
        let schema = &mut self.schema;
        *self.scalars.entry(name).or_insert_with(|| {
            schema.add(Atom {
                scalar: Some(scalar),
                ..Default::default()
            })
        })
    }
}

/// A value of which OpenAPI says nothing.
fn any() -> Atom {
    Atom {
        scalar: Some(Scalar::Untyped),
        list: Some(List {
            element: Schema::UNTYPED_ATOMIC,
            relationship: ListRelationship::Atomic,
        }),
        map: Some(MapType::new(
            Vec::new(),
            Some(Schema::UNTYPED_DEDUCED),
            false,
        )),
    }
}

/// The list type's marker decides, and without one the strategy of patches does.
fn list_relationship(field: &FieldSchema) -> ListRelationship {
    let keys = |names: &[&'static str]| {
        ListRelationship::Map(names.iter().map(|name| Cow::Borrowed(*name)).collect())
    };
    match (field.list_type, field.patch_strategy) {
        ("map", _) => keys(field.list_map_keys),
        ("set", _) => ListRelationship::Set,
        ("atomic", _) => ListRelationship::Atomic,
        (_, "merge" | "merge,retainKeys") if field.patch_merge_key.is_empty() => {
            ListRelationship::Set
        }
        (_, "merge" | "merge,retainKeys") => keys(&[field.patch_merge_key]),
        _ => ListRelationship::Atomic,
    }
}

/// What an absent field counts as where it is a key: its declared default, or the zero value of a scalar that Go always writes.
fn default_of(field: &FieldSchema) -> Option<Value> {
    if !field.default.is_empty()
        && let Ok(value) = serde_json::from_str(field.default)
    {
        return Some(value);
    }
    if field.omit != Omit::Never {
        return None;
    }
    match field.ty {
        TypeRef::String => Some(Value::from("")),
        TypeRef::Bool => Some(Value::from(false)),
        TypeRef::Int32 | TypeRef::Int64 | TypeRef::Uint32 | TypeRef::Float32 | TypeRef::Float64 => {
            Some(Value::from(0))
        }
        _ => None,
    }
}
