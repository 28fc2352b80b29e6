//! Values of objects with a schema. Upstream: apiserver/pkg/cel/common/valuesunstructured.go.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use serde_json::Value as Json;

use super::collections::{List, Map};
use super::schema::{Format, Kind, ListType, Schema};
use super::{Str, Timestamp, Value, compare, display, json, parse_duration, parse_timestamp};
use crate::error::EvalError;
use crate::escape::{escape, unescape};

impl Schema {
    pub(crate) fn items(&self) -> &Schema {
        match &self.kind {
            Kind::List {
                items: Some(items), ..
            } => items,
            _ => self,
        }
    }

    /// The value of JSON that has this schema.
    pub fn view<'a>(&'a self, json: &'a Json) -> Result<Value<'a>, EvalError> {
        if json.is_null() {
            return if self.nullable {
                Ok(Value::Null)
            } else {
                Err(EvalError::new(
                    "invalid data, got null for schema with nullable=false",
                ))
            };
        }
        let invalid = |expected: &str| EvalError::new(format!("invalid data, expected {expected}"));
        let wrong = |expected: &str| invalid(&format!("{expected}, got {}", go_type(json)));
        match &self.kind {
            Kind::IntOrString => match json {
                Json::String(text) => Ok(Value::from(text.as_str())),
                Json::Number(number) if number.as_i64().is_some() => Ok(json::view(json)),
                _ => Err(invalid(
                    "XIntOrString value to be either a string or integer",
                )),
            },
            Kind::Object(_) | Kind::Map(_) => match json {
                Json::Object(entries) => Ok(Value::Map(Map::Typed(entries, self))),
                _ => Err(invalid("a map for the provided schema with type=object")),
            },
            Kind::List { items, .. } => match (json, items) {
                (Json::Array(_), None) => Err(EvalError::new(
                    "invalid array type, expected Items with a non-empty Schema",
                )),
                (Json::Array(elements), Some(_)) => Ok(Value::List(List::Typed(elements, self))),
                _ => Err(invalid("an array for the provided schema with type=array")),
            },
            Kind::String(format) => match json {
                Json::String(text) => read_string(text, *format),
                _ => Err(wrong("string")),
            },
            Kind::Number => json
                .as_f64()
                .map(Value::Double)
                .ok_or_else(|| wrong("float")),
            Kind::Integer => json.as_i64().map(Value::Int).ok_or_else(|| wrong("int")),
            Kind::Boolean => json.as_bool().map(Value::Bool).ok_or_else(|| wrong("bool")),
            Kind::Preserved => Ok(Value::Preserved(json)),
            Kind::Unknown(name) => Err(EvalError::new(format!(
                "invalid type, expected object, array, number, integer, boolean or string, or no type with \
                 x-kubernetes-int-or-string or x-kubernetes-preserve-unknown-fields is true, got {name}"
            ))),
        }
    }

    fn field(&self, name: &str) -> Option<&Schema> {
        match &self.kind {
            Kind::Object(object) => object.fields.get(name),
            Kind::Map(values) => Some(values),
            _ => None,
        }
    }

    fn is_object(&self) -> bool {
        matches!(&self.kind, Kind::Object(object) if object.declared)
    }

    /// A field by the name expressions use.
    pub(crate) fn find<'a>(
        &'a self,
        entries: &'a serde_json::Map<String, Json>,
        key: &str,
    ) -> Result<Option<Value<'a>>, EvalError> {
        let is_object = self.is_object();
        let unescaped = if is_object {
            unescape(key)
        } else {
            Some(key.into())
        };
        let Some(name) = unescaped else {
            return Ok(None);
        };
        match (entries.get(&*name), self.field(&name)) {
            (Some(Json::Null), _) if is_object => Ok(None),
            (Some(value), Some(field)) => field.view(value).map(Some),
            _ => Ok(None),
        }
    }

    /// The names of the fields that are there and that expressions know.
    pub(crate) fn keys<'a>(&self, entries: &'a serde_json::Map<String, Json>) -> Vec<Value<'a>> {
        let is_object = self.is_object();
        let known = entries.keys().filter(|key| self.field(key).is_some());
        known
            .map(|key| match escape(key) {
                Some(escaped) if is_object && escaped != *key => Value::from(escaped),
                _ => Value::String(Str::Borrowed(key)),
            })
            .collect()
    }

    /// `a + b` of sets and of lists of maps: what is in both is there once. None for other lists.
    pub(crate) fn merge<'a>(
        &'a self,
        elements: &'a [Json],
        other: &List<'a>,
    ) -> Result<Option<List<'a>>, EvalError> {
        let Kind::List { order, .. } = &self.kind else {
            return Ok(None);
        };
        let mut merged: Vec<Value<'a>> = Vec::with_capacity(elements.len() + other.len());
        let mut positions = HashMap::new();
        let key_of = |value: &Json| match order {
            ListType::Atomic => None,
            ListType::Set => Some(value.to_string()),
            ListType::Map(keys) => Some(map_key(value, keys)),
        };
        for element in elements {
            let Some(key) = key_of(element) else {
                return Ok(None);
            };
            positions.insert(key, merged.len());
            merged.push(self.items().view(element)?);
        }
        for element in other.iter() {
            let element = element?;
            let Some(key) = element.to_json().ok().as_ref().and_then(key_of) else {
                return Ok(None);
            };
            match positions.get(&key) {
                Some(position) if matches!(order, ListType::Map(_)) => merged[*position] = element,
                Some(_) => {}
                None => {
                    positions.insert(key, merged.len());
                    merged.push(element);
                }
            }
        }
        Ok(Some(List::Owned(Arc::new(merged))))
    }
}

/// What identifies an element of a list of maps.
fn map_key(element: &Json, keys: &[String]) -> String {
    let parts: Vec<&Json> = keys
        .iter()
        .map(|key| element.get(key).unwrap_or(&Json::Null))
        .collect();
    serde_json::to_string(&parts).unwrap_or_default()
}

/// The name of the type Go reads JSON into.
fn go_type(json: &Json) -> &'static str {
    match json {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.as_i64().is_some() => "int64",
        Json::Number(_) => "float64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    }
}

fn read_string(text: &str, format: Format) -> Result<Value<'_>, EvalError> {
    let broken = |what: &str, why: &str| EvalError::new(format!("Invalid {what} {text}: {why}"));
    match format {
        Format::Plain => Ok(Value::from(text)),
        Format::Bytes => match base64::engine::general_purpose::URL_SAFE.decode(text) {
            Ok(bytes) => Ok(Value::Bytes(bytes.into())),
            Err(error) => Err(broken("byte formatted string", &error.to_string())),
        },
        Format::Duration => match openapi_duration(text) {
            Some(nanoseconds) => Ok(Value::Duration(nanoseconds)),
            None => Err(broken(
                "duration",
                &format!("unable to parse {text} as duration"),
            )),
        },
        Format::Date => match parse_timestamp(&format!("{text}T00:00:00Z")) {
            Some(time) if text.len() == 10 => time.map(Value::Timestamp),
            _ => Err(broken("date formatted string", "cannot parse")),
        },
        Format::DateTime if text.is_empty() => Timestamp::from_unix(0, 0).map(Value::Timestamp),
        Format::DateTime => {
            match parse_timestamp(text).or_else(|| parse_timestamp(&format!("{text}Z"))) {
                Some(time) => time.map(Value::Timestamp),
                None => Err(broken("date-time formatted string", "cannot parse")),
            }
        }
    }
}

/// Go's durations, and numbers with the unit written out: `2 weeks`.
fn openapi_duration(text: &str) -> Option<i64> {
    if let Some(nanoseconds) = parse_duration(text) {
        return Some(nanoseconds);
    }
    const UNITS: [(&[&str], i64); 8] = [
        (&["ns", "nano"], 1),
        (&["us", "µs", "micro"], 1_000),
        (&["ms", "milli"], 1_000_000),
        (&["s", "sec"], 1_000_000_000),
        (&["m", "min"], 60_000_000_000),
        (&["h", "hr", "hour"], 3_600_000_000_000),
        (&["d", "day"], 86_400_000_000_000),
        (&["w", "wk", "week"], 604_800_000_000_000),
    ];
    let mut total = None;
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = &rest[start..];
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let factor: i64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest
            .find(|c: char| !(c.is_ascii_alphabetic() || c == 'µ'))
            .unwrap_or(rest.len());
        let unit = rest[..letters].to_lowercase();
        rest = &rest[letters..];
        for (names, nanoseconds) in UNITS {
            let last = names[names.len() - 1];
            if !unit.is_empty() && (names.contains(&unit.as_str()) || unit.starts_with(last)) {
                total = Some(
                    total
                        .unwrap_or(0i64)
                        .wrapping_add(factor.wrapping_mul(nanoseconds)),
                );
            }
        }
    }
    total
}

/// `a == b` where `a` is a list with a schema. Order does not count in sets and lists of maps.
pub(crate) fn list_equals(
    elements: &[Json],
    schema: &Schema,
    other: &Value<'_>,
) -> Result<bool, EvalError> {
    let Value::List(other) = other else {
        return Err(EvalError::NO_SUCH_OVERLOAD);
    };
    if elements.len() != other.len() {
        return Ok(false);
    }
    let Kind::List { order, .. } = &schema.kind else {
        return Ok(false);
    };
    let by_key: Option<HashMap<String, &Json>> = match order {
        ListType::Atomic => None,
        ListType::Set => Some(
            elements
                .iter()
                .map(|element| (element.to_string(), element))
                .collect(),
        ),
        ListType::Map(keys) => Some(
            elements
                .iter()
                .map(|element| (map_key(element, keys), element))
                .collect(),
        ),
    };
    for (index, there) in other.iter().enumerate() {
        let there = there?;
        let here = match (&by_key, order) {
            (None, _) => schema.items().view(&elements[index])?,
            (Some(by_key), ListType::Map(keys)) => {
                let key = there.to_json().map(|json| map_key(&json, keys));
                match key.ok().and_then(|key| by_key.get(&key)) {
                    Some(here) => schema.items().view(here)?,
                    None => return Ok(false),
                }
            }
            (Some(by_key), _) => match there.to_json() {
                Ok(json) if by_key.contains_key(&json.to_string()) => continue,
                _ => return Ok(false),
            },
        };
        if !compare::equals(&here, &there)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `a == b` where `a` is an object or map with a schema.
pub(crate) fn map_equals(
    entries: &serde_json::Map<String, Json>,
    schema: &Schema,
    other: &Value<'_>,
) -> Result<bool, EvalError> {
    let Value::Map(other) = other else {
        return Err(EvalError::NO_SUCH_OVERLOAD);
    };
    if entries.len() != other.len() {
        return Ok(false);
    }
    for (key, value) in entries {
        if schema.field(key).is_some() {
            // As upstream, the name in the object is taken for one in an expression.
            match (schema.find(entries, key)?, other.find_str(key)?) {
                (Some(here), Some(there)) if !compare::equals(&here, &there)? => return Ok(false),
                (Some(_), Some(_)) | (None, None) => {}
                _ => return Ok(false),
            }
        } else {
            let Map::Typed(others, _) = other else {
                return Err(EvalError::NO_SUCH_OVERLOAD);
            };
            if others.get(key).is_some_and(|there| there != value) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// `a == b` where `a` is of unknown type.
pub(crate) fn json_equals(json: &Json, other: &Value<'_>) -> bool {
    match other {
        Value::Preserved(other) => json == *other,
        Value::Double(number) => json
            .as_f64()
            .is_some_and(|own| display::double(own) == display::double(*number)),
        other => other.to_json().is_ok_and(|other| *json == other),
    }
}
