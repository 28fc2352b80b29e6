//! Whether a value conforms to its type.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Collected, Errors, Shape, entry, first_shape, item_element, shapes};
use crate::managedfields::path::PathElement;
use crate::managedfields::schema::{ListRelationship, ObjectType, Scalar, Schema, TypeId};

pub(super) fn validate(
    value: &Value,
    ty: &ObjectType,
    allow_duplicates: bool,
) -> Result<(), Errors> {
    Validator {
        schema: &ty.schema,
        allow_duplicates,
    }
    .visit(value, ty.root)
}

struct Validator<'a> {
    schema: &'a Schema,
    allow_duplicates: bool,
}

impl Validator<'_> {
    fn visit(&self, value: &Value, ty: TypeId) -> Result<(), Errors> {
        let atom = self.schema.atom(ty);
        match first_shape(shapes(self.schema, ty, Some(value)))? {
            Shape::Scalar => atom
                .scalar
                .map_or(Ok(()), |scalar| validate_scalar(scalar, Some(value), "")),
            Shape::Map => match value {
                Value::Null => Ok(()),
                Value::Object(fields) => {
                    let mut errors = Collected::default();
                    for (key, value) in fields {
                        let (element, ty) = entry(self.schema, ty, key);
                        let result = match ty {
                            Some(ty) => self.visit(value, ty),
                            None => Err(Errors::one("field not declared in schema")),
                        };
                        errors.add(result, &element);
                    }
                    errors.finish()
                }
                other => Err(Errors::one(format!(
                    "expected map, got &{{{}}}",
                    go_value(other)
                ))),
            },
            Shape::List => match value {
                Value::Null => Ok(()),
                Value::Array(items) => self.visit_items(items, ty),
                other => Err(Errors::one(format!(
                    "expected list, got &{{{}}}",
                    go_value(other)
                ))),
            },
        }
    }

    fn visit_items(&self, items: &[Value], ty: TypeId) -> Result<(), Errors> {
        let Some(list) = &self.schema.atom(ty).list else {
            return Ok(());
        };
        let mut errors = Collected::default();
        let mut seen = BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let element = if list.relationship == ListRelationship::Atomic {
                PathElement::Index(i as i64)
            } else {
                match item_element(self.schema, list, item) {
                    Ok(element) => element,
                    Err(problem) => {
                        errors
                            .0
                            .extend(Errors::one(format!("element {i}: {problem}")).0);
                        return errors.finish();
                    }
                }
            };
            if list.relationship != ListRelationship::Atomic
                && !self.allow_duplicates
                && !seen.insert(element.clone())
            {
                errors
                    .0
                    .extend(Errors::one(format!("duplicate entries for key {element}")).0);
            }
            errors.add(self.visit(item, list.element), &element);
        }
        errors.finish()
    }
}

/// Checks a scalar; what is absent, and null, fits.
pub(super) fn validate_scalar(
    scalar: Scalar,
    value: Option<&Value>,
    prefix: &str,
) -> Result<(), Errors> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(());
    };
    let fits = match scalar {
        Scalar::Numeric => value.is_number(),
        Scalar::String => value.is_string(),
        Scalar::Boolean => value.is_boolean(),
        Scalar::Untyped => value.is_number() || value.is_string() || value.is_boolean(),
    };
    if fits {
        return Ok(());
    }
    let shown = go_value(value);
    Err(Errors::one(match scalar {
        Scalar::Numeric => format!(
            "{prefix}expected numeric (int or float), got {}",
            go_type(value)
        ),
        Scalar::String => format!(
            "{prefix}expected string, got &value.valueUnstructured{{Value:{}}}",
            go_syntax(value)
        ),
        Scalar::Boolean => format!("{prefix}expected boolean, got &{{{shown}}}"),
        Scalar::Untyped => format!("{prefix}expected any scalar, got &{{{shown}}}"),
    }))
}

/// Go's `%T` of a decoded value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Go's `%v` of a decoded value.
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_value).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{key}:{}", go_value(value)))
                .collect();
            format!("map[{}]", fields.join(" "))
        }
        scalar => scalar.to_string(),
    }
}

/// Go's `%#v` of a decoded value.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => crate::quote::quote(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{}:{}", crate::quote::quote(key), go_syntax(value)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
        scalar => scalar.to_string(),
    }
}
