//! From and to JSON.

use base64::Engine;

use super::collections::{List, Map};
use super::{Key, Str, Value, duration_text};
use crate::error::EvalError;

/// Deeper nested values do not become JSON.
const MAX_DEPTH: usize = 250;

fn measure(json: &serde_json::Value, left: usize, depth: usize) -> Option<usize> {
    let left = left.checked_sub(1)?;
    let deeper = depth.checked_sub(1)?;
    match json {
        serde_json::Value::String(text) => left.checked_sub(text.len()),
        serde_json::Value::Array(elements) => elements
            .iter()
            .try_fold(left, |left, element| measure(element, left, deeper)),
        serde_json::Value::Object(entries) => {
            entries.iter().try_fold(left, |left, (key, value)| {
                measure(value, left.checked_sub(key.len() + 1)?, deeper)
            })
        }
        _ => Some(left),
    }
}

/// JSON without a schema: strings, integers and floating point numbers are what they look like.
pub(crate) fn view(json: &serde_json::Value) -> Value<'_> {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::String(Str::Borrowed(text)),
        serde_json::Value::Array(elements) => Value::List(List::Json(elements)),
        serde_json::Value::Object(entries) => Value::Map(Map::Json(entries)),
    }
}

/// The same, copied.
pub(crate) fn owned(json: &serde_json::Value) -> Value<'static> {
    match json {
        serde_json::Value::String(text) => Value::from(text.clone()),
        serde_json::Value::Array(elements) => {
            Value::from(elements.iter().map(owned).collect::<Vec<_>>())
        }
        serde_json::Value::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (Key::String(Str::Owned(key.as_str().into())), owned(value)));
            Value::Map(Map::Owned(std::sync::Arc::new(entries.collect())))
        }
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
    }
}

impl<'a> Value<'a> {
    /// A view of JSON that has no schema.
    pub fn from_json(json: &'a serde_json::Value) -> Self {
        view(json)
    }

    /// As [`Self::to_json`], if the text would not be longer than about `limit` bytes and not be nested too deep. A value whose
    /// parts are shared can be far larger than what it was made from.
    pub fn to_json_within(&self, limit: usize) -> Result<serde_json::Value, EvalError> {
        if self.measure(limit, MAX_DEPTH).is_none() {
            return Err(EvalError::new(format!(
                "the value is larger than {limit} bytes or nested deeper than {MAX_DEPTH} levels"
            )));
        }
        self.to_json()
    }

    /// What is left of a number of bytes after this value.
    fn measure(&self, left: usize, depth: usize) -> Option<usize> {
        let left = left.checked_sub(1)?;
        let deeper = depth.checked_sub(1)?;
        match self {
            Value::String(text) => left.checked_sub(text.len()),
            Value::Bytes(bytes) => left.checked_sub(bytes.len()),
            Value::List(List::Json(elements) | List::Typed(elements, _)) => elements
                .iter()
                .try_fold(left, |left, element| measure(element, left, deeper)),
            // What cannot be had makes the conversion fail later.
            Value::List(list) => list.iter().try_fold(left, |left, element| {
                element.map_or(Some(left), |element| element.measure(left, deeper))
            }),
            Value::Map(Map::Json(entries) | Map::Typed(entries, _)) => {
                entries.iter().try_fold(left, |left, (key, value)| {
                    measure(value, left.checked_sub(key.len() + 1)?, deeper)
                })
            }
            Value::Map(map) => map.keys().iter().try_fold(left, |left, key| {
                let left = left.checked_sub(key.as_str().map_or(1, str::len) + 1)?;
                match map.find(key) {
                    Ok(Some(value)) => value.measure(left, deeper),
                    _ => Some(left),
                }
            }),
            Value::Optional(Some(value)) => value.measure(left, deeper),
            Value::Struct(object) => object.fields.iter().try_fold(left, |left, (name, value)| {
                value.measure(left.checked_sub(name.len() + 1)?, deeper)
            }),
            Value::Preserved(json) => measure(json, left, deeper),
            _ => Some(left),
        }
    }

    /// The value as JSON. Bytes become base64, times and durations text; types and opaque values have no JSON.
    pub fn to_json(&self) -> Result<serde_json::Value, EvalError> {
        let unsupported = || {
            Err(EvalError::new(format!(
                "unsupported conversion of {} to JSON",
                self.type_of().name()
            )))
        };
        Ok(match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(number) => (*number).into(),
            Value::Uint(number) => (*number).into(),
            Value::Double(number) => match serde_json::Number::from_f64(*number) {
                Some(number) => serde_json::Value::Number(number),
                None => return Err(EvalError::new(format!("{number} has no JSON"))),
            },
            Value::String(text) => (**text).into(),
            Value::Bytes(bytes) => base64::engine::general_purpose::STANDARD
                .encode(bytes)
                .into(),
            Value::Timestamp(time) => time.to_string().into(),
            Value::Duration(nanoseconds) => duration_text(*nanoseconds).into(),
            Value::List(List::Json(elements) | List::Typed(elements, _)) => {
                elements.to_vec().into()
            }
            Value::List(list) => {
                let elements: Result<Vec<_>, _> =
                    list.iter().map(|element| element?.to_json()).collect();
                elements?.into()
            }
            Value::Map(Map::Json(entries) | Map::Typed(entries, _)) => (*entries).clone().into(),
            Value::Map(map) => {
                let mut entries = serde_json::Map::new();
                for key in map.keys() {
                    let Value::String(name) = &key else {
                        return Err(EvalError::new(format!("map key {key} is not a string")));
                    };
                    entries.insert(
                        name.to_string(),
                        map.find(&key)?.unwrap_or(Value::Null).to_json()?,
                    );
                }
                entries.into()
            }
            Value::Optional(Some(value)) => value.to_json()?,
            Value::Optional(None) => return Err(EvalError::new("optional.none() dereference")),
            Value::Struct(object) => {
                let mut entries = serde_json::Map::new();
                for (name, value) in &object.fields {
                    entries.insert(name.to_string(), value.to_json()?);
                }
                entries.into()
            }
            Value::Preserved(json) => (*json).clone(),
            Value::Opaque(opaque) => match opaque.text() {
                Some(text) => text.into(),
                None => return unsupported(),
            },
            Value::Type(_) => return unsupported(),
        })
    }
}
