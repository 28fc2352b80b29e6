//! What the table of a type says about merging its fields.

use api_types::schema::{StructSchema, TypeRef};

use super::{Error, MERGE, REPLACE};
use crate::quote::quote;

/// The type of a JSON value, to look up its fields.
#[derive(Debug, Clone, Copy)]
pub struct PatchSchema(TypeRef);

/// How a field merges.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PatchMeta {
    /// Fields that the patch does not mention are removed.
    pub retain_keys: bool,
    /// The value is replaced instead of merged.
    pub replace: bool,
    /// A list is merged instead of replaced.
    pub merge: bool,
    /// Key of the items of a list that is merged.
    pub merge_key: &'static str,
}

impl PatchSchema {
    /// The schema of a kind.
    pub fn new(schema: &'static StructSchema) -> Self {
        Self(TypeRef::Struct(schema))
    }

    /// The schema of a Rust type.
    pub fn of<T: api_types::Described>() -> Self {
        Self::new(T::SCHEMA)
    }

    /// The type and the merge rules of a field that holds an object.
    pub(super) fn field(self, key: &str) -> Result<(Self, PatchMeta), Error> {
        let TypeRef::Struct(schema) = self.0.deref() else {
            return Err(match struct_name(self.0.deref()) {
                Some(name) => no_field(name, key),
                None => Error::Other(format!(
                    "merging an object in json but data type is not struct, instead is: {}",
                    go_kind(self.0.deref())
                )),
            });
        };
        // JSON keys that differ in case only are one field to Go; decoding the result drops them later.
        let field = schema.find_json(key).map(|(_, field)| field).or_else(|| {
            schema
                .json_fields()
                .into_iter()
                .find(|field| field.json.eq_ignore_ascii_case(key))
        });
        let field = field.ok_or_else(|| no_field(schema.name, key))?;
        let mut meta = PatchMeta {
            merge_key: field.patch_merge_key,
            ..Default::default()
        };
        let strategies: Vec<&str> = field.patch_strategy.split(',').collect();
        if strategies.len() > 2 || (strategies.len() == 2 && !strategies.contains(&"retainKeys")) {
            return Err(Error::Other(format!(
                "unexpected patch strategy: [{}]",
                strategies.join(" ")
            )));
        }
        for strategy in strategies {
            match strategy {
                "retainKeys" => meta.retain_keys = true,
                REPLACE => meta.replace = true,
                MERGE => meta.merge = true,
                _ => {}
            }
        }
        Ok((Self(field.ty), meta))
    }

    /// The type of the items, and the merge rules, of a field that holds a list.
    pub(super) fn list_field(self, key: &str) -> Result<(Self, PatchMeta), Error> {
        let (field, meta) = self.field(key)?;
        let item = match field.0 {
            TypeRef::List(item) | TypeRef::WrappedList(item) => match item {
                TypeRef::List(_) | TypeRef::WrappedList(_) | TypeRef::Bytes => {
                    return Err(Error::Other("unexpected slice of slice".to_owned()));
                }
                item => *item,
            },
            // The items of `[]byte` are numbers; nothing is ever looked up in them.
            TypeRef::Bytes => TypeRef::Int32,
            TypeRef::Pointer(target) => target.list_item().copied().unwrap_or(*target),
            _ => {
                return Err(Error::Other(format!(
                    "expected slice or array type, but got: {}",
                    go_kind(self.0.deref())
                )));
            }
        };
        Ok((Self(item), meta))
    }

    /// Go's name for the kind of type.
    pub(super) fn name(self) -> &'static str {
        go_kind(&self.0)
    }
}

fn no_field(name: &str, key: &str) -> Error {
    Error::Other(format!(
        "unable to find api field in struct {name} for the json field {}",
        quote(key)
    ))
}

/// Name of the types that are structs to Go and scalars to us.
fn struct_name(ty: &TypeRef) -> Option<&'static str> {
    Some(match ty {
        TypeRef::Quantity => "Quantity",
        TypeRef::Time => "Time",
        TypeRef::MicroTime => "MicroTime",
        TypeRef::Duration => "Duration",
        TypeRef::IntOrString => "IntOrString",
        TypeRef::RawExtension => "RawExtension",
        TypeRef::FieldsV1 => "FieldsV1",
        TypeRef::Json => "JSON",
        TypeRef::TimeOrMetaDuration => "TimeOrMetaDuration",
        _ => return None,
    })
}

fn go_kind(ty: &TypeRef) -> &'static str {
    match ty {
        TypeRef::String => "string",
        TypeRef::Bool => "bool",
        TypeRef::Int32 => "int32",
        TypeRef::Int64 => "int64",
        TypeRef::Uint32 => "uint32",
        TypeRef::Float64 => "float64",
        TypeRef::Float32 => "float32",
        TypeRef::Bytes | TypeRef::List(_) | TypeRef::WrappedList(_) => "slice",
        TypeRef::Map(_) => "map",
        TypeRef::Pointer(_) => "ptr",
        _ => "struct",
    }
}
