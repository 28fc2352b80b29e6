//! Values together with their types: validation, comparison, merge, field sets, removal and extraction.
//!
//! Upstream: structured-merge-diff typed. A value is looked at by its type, and where a type allows several kinds of values,
//! by what is there; null fits every type.

mod compare;
mod created;
mod field_set;
mod merge;
mod objects;
mod reconcile;
mod remove;
mod validate;

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

pub use compare::Comparison;
pub(super) use created::fields_of_created;
pub(super) use objects::compare_objects;
pub(super) use reconcile::reconcile;

use super::path::PathElement;
use super::schema::{List, ListRelationship, ObjectType, Schema, TypeId};
use super::set::Set;

/// A value and its type.
#[derive(Debug, Clone)]
pub struct TypedValue {
    /// The value.
    pub value: Value,
    /// Its type.
    pub ty: ObjectType,
}

impl TypedValue {
    /// The value with its type, if it conforms. Stored objects may have duplicate list items, which clients may not apply.
    pub fn new(value: Value, ty: ObjectType, allow_duplicates: bool) -> Result<Self, Errors> {
        validate::validate(&value, &ty, allow_duplicates)?;
        Ok(Self { value, ty })
    }

    /// All leaf fields and list items.
    pub fn to_field_set(&self) -> Set {
        field_set::to_field_set(&self.value, &self.ty)
    }

    /// What differs in another value of the same type.
    pub fn compare(&self, other: &Self) -> Result<Comparison, Errors> {
        compare::compare(&self.value, &other.value, &self.ty)
    }

    /// This value with another laid over it.
    pub fn merge(&self, other: &Self) -> Result<Self, Errors> {
        let value = merge::merge(&self.value, &other.value, &self.ty)?;
        Ok(Self {
            value,
            ty: self.ty.clone(),
        })
    }

    /// The value without these fields and items.
    #[must_use]
    pub fn remove_items(&self, items: &Set) -> Self {
        Self {
            value: remove::remove_items(&self.value, items, &self.ty),
            ty: self.ty.clone(),
        }
    }

    /// The value with these fields and items only.
    #[must_use]
    pub fn extract_items(&self, items: &Set) -> Self {
        Self {
            value: remove::extract_items(&self.value, items, &self.ty),
            ty: self.ty.clone(),
        }
    }

    /// A set that was written under an older schema, as this value's schema has it; `None` if nothing changes.
    pub fn reconcile(&self, set: &Set) -> Option<Set> {
        reconcile::reconcile(set, &self.ty)
    }
}

/// One place where a value does not conform.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldError {
    path: String,
    message: String,
}

/// All places where a value does not conform. Prints as upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    pub(super) fn one(message: impl Into<String>) -> Self {
        Self(vec![FieldError {
            path: String::new(),
            message: message.into(),
        }])
    }

    fn with_prefix(mut self, prefix: &PathElement) -> Self {
        let prefix = prefix.to_string();
        for error in &mut self.0 {
            error.path.insert_str(0, &prefix);
        }
        self
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => only.fmt(f),
            all => {
                f.write_str("errors:")?;
                all.iter().try_for_each(|error| write!(f, "\n  {error}"))
            }
        }
    }
}

impl std::error::Error for Errors {}

/// Gathers errors of parts.
#[derive(Default)]
struct Collected(Vec<FieldError>);

impl Collected {
    fn add(&mut self, result: Result<(), Errors>, at: &PathElement) {
        if let Err(errors) = result {
            self.0.extend(errors.with_prefix(at).0);
        }
    }

    fn finish(self) -> Result<(), Errors> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Errors(self.0))
        }
    }
}

/// As what a value is looked at: the part of its type that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Map,
    Scalar,
    List,
}

/// Which parts of its type a value may be. Absent values and null do not say, and then maps come first, as upstream.
fn shapes(schema: &Schema, ty: TypeId, value: Option<&Value>) -> [bool; 3] {
    let atom = schema.atom(ty);
    match value {
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) if atom.scalar.is_some() => {
            [false, true, false]
        }
        Some(Value::Array(_)) if atom.list.is_some() => [false, false, true],
        Some(Value::Object(_)) if atom.map.is_some() => [true, false, false],
        _ => [
            atom.map.is_some(),
            atom.scalar.is_some(),
            atom.list.is_some(),
        ],
    }
}

fn first_shape(shapes: [bool; 3]) -> Result<Shape, Errors> {
    match shapes {
        [true, _, _] => Ok(Shape::Map),
        [_, true, _] => Ok(Shape::Scalar),
        [_, _, true] => Ok(Shape::List),
        _ => Err(Errors::one("schema error: invalid atom: inlined")),
    }
}

/// As what a pair of values is compared or merged: one shape, or two if they differ. The second is the right side's.
fn pair_shapes(
    schema: &Schema,
    ty: TypeId,
    lhs: Option<&Value>,
    rhs: Option<&Value>,
) -> Result<(Option<Shape>, Shape), Errors> {
    let (left, right) = (shapes(schema, ty, lhs), shapes(schema, ty, rhs));
    if rhs.is_none() {
        return Ok((None, first_shape(left)?));
    }
    if lhs.is_none() || left == right {
        return Ok((None, first_shape(right)?));
    }
    Ok((Some(first_shape(left)?), first_shape(right)?))
}

/// The items of a value looked at as a list; nothing for anything else.
fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The entries of a value looked at as a map; nothing for anything else.
fn entries(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

/// The type of a map's entry, and the element that stands for it in paths.
fn entry(schema: &Schema, ty: TypeId, key: &str) -> (PathElement, Option<TypeId>) {
    let map = schema.atom(ty).map.as_ref();
    match map.and_then(|map| map.field(key)) {
        Some(field) => (PathElement::Field(field.name.clone()), Some(field.ty)),
        None => (
            PathElement::Field(Cow::Owned(key.to_owned())),
            map.and_then(|map| map.element),
        ),
    }
}

/// The element that stands for an item of a list in paths.
fn item_element(schema: &Schema, list: &List, item: &Value) -> Result<PathElement, String> {
    match &list.relationship {
        ListRelationship::Atomic => Err("invalid indexing of non-associative list".to_owned()),
        ListRelationship::Set => match item {
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            Value::Array(_) => {
                Err("not supported: associative list with lists as elements".to_owned())
            }
            Value::Null => Err(
                "associative list without keys has an element that's an explicit null".to_owned(),
            ),
            scalar => Ok(PathElement::Value(scalar.clone())),
        },
        ListRelationship::Map(keys) => {
            let fields = match item {
                Value::Null => {
                    return Err("associative list with keys may not have a null element".to_owned());
                }
                Value::Object(fields) => fields,
                _ => {
                    return Err(
                        "associative list with keys may not have non-map elements".to_owned()
                    );
                }
            };
            let mut key = Vec::with_capacity(keys.len());
            for name in keys {
                if let Some(value) = fields.get(name.as_ref()) {
                    key.push((name.clone(), value.clone()));
                    continue;
                }
                let element = schema.atom(list.element).map.as_ref().ok_or_else(|| {
                    format!(
                        "couldn't find default value for {name}: associative list may not have non-map types"
                    )
                })?;
                if let Some(default) = element
                    .field(name)
                    .and_then(|field| field.default.as_deref().cloned())
                {
                    key.push((name.clone(), default));
                }
            }
            if key.is_empty() {
                let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
                return Err(format!(
                    "associative list with keys has an element that omits all key fields {} (and doesn't have default \
                     values for any key fields)",
                    crate::quote::quote_list(&keys)
                ));
            }
            Ok(PathElement::key(key))
        }
    }
}
