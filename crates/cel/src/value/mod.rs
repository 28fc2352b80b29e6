//! What expressions evaluate to. Upstream: common/types/ of cel-go.
//!
//! A value borrows from the objects it came from for `'a`: selecting a field of a request's object copies nothing.

mod collections;
mod compare;
mod display;
mod json;
mod opaque;
mod schema;
mod time;
mod typed;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

pub(crate) use collections::{Key, OwnedMap};
pub use collections::{List, ListView, Map, MapView};
pub(crate) use compare::{compare, equals};
pub(crate) use display::double as format_double;
pub use opaque::{Opaque, StructValue};
pub use schema::Schema;
pub use time::Timestamp;
pub(crate) use time::{duration_text, parse_duration, parse_timestamp};

use crate::error::EvalError;
use crate::types::Type;

/// A value, or a view of one that lives elsewhere. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A floating point number.
    Double(f64),
    /// Text.
    String(Str<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A point in time.
    Timestamp(Timestamp),
    /// Nanoseconds.
    Duration(i64),
    /// A list.
    List(List<'a>),
    /// A map, or an object of an API.
    Map(Map<'a>),
    /// A type.
    Type(Type),
    /// A value that may be absent.
    Optional(Option<Arc<Value<'a>>>),
    /// A value that only functions look into.
    Opaque(Arc<Opaque>),
    /// An object built by the expression, like `Object{}` of mutations.
    Struct(Arc<StructValue<'a>>),
    /// Something a schema keeps without knowing what it is: it can be compared, and nothing else.
    Preserved(&'a serde_json::Value),
}

/// Text that is borrowed or shared.
#[derive(Clone, Debug)]
pub enum Str<'a> {
    /// Lives in the object it came from.
    Borrowed(&'a str),
    /// Was made by an expression.
    Owned(Arc<str>),
}

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Str::Borrowed(text) => text,
            Str::Owned(text) => text,
        }
    }
}

impl PartialEq for Str<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Str<'_> {}

impl PartialOrd for Str<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Str<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Display for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::String(Str::Owned(text.into()))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::String(Str::Borrowed(text))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl<'a> From<Vec<Value<'a>>> for Value<'a> {
    fn from(elements: Vec<Value<'a>>) -> Self {
        Value::List(List::Owned(Arc::new(elements)))
    }
}

impl From<Opaque> for Value<'_> {
    fn from(opaque: Opaque) -> Self {
        Value::Opaque(Arc::new(opaque))
    }
}

impl<'a> Value<'a> {
    /// An optional that has a value.
    pub fn some(value: Value<'a>) -> Self {
        Value::Optional(Some(Arc::new(value)))
    }

    /// The optional without a value.
    pub const NONE: Self = Value::Optional(None);

    /// The value's type as `type(x)` gives it: lists and maps are of anything.
    pub fn type_of(&self) -> Type {
        match self {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Uint(_) => Type::Uint,
            Value::Double(_) => Type::Double,
            Value::String(_) => Type::String,
            Value::Bytes(_) => Type::Bytes,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Duration(_) => Type::Duration,
            Value::List(_) => Type::list(Type::Dyn),
            Value::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Value::Type(_) => Type::Type(None),
            Value::Optional(_) => Type::opaque("optional_type"),
            Value::Opaque(opaque) => opaque.type_of(),
            Value::Struct(object) => Type::Struct(object.type_name.clone()),
            Value::Preserved(_) => Type::object("unknown"),
        }
    }

    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The opaque value, if it is one.
    pub fn as_opaque(&self) -> Option<&Opaque> {
        match self {
            Value::Opaque(opaque) => Some(opaque),
            _ => None,
        }
    }

    /// What `size()` and the cost of functions go by: characters, bytes, elements.
    pub(crate) fn size(&self) -> Option<u64> {
        Some(match self {
            Value::String(text) => text.chars().count() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
            Value::List(list) => list.len() as u64,
            Value::Map(map) => map.len() as u64,
            Value::Opaque(opaque) => opaque.size()?,
            _ => return None,
        })
    }

    /// Whether `optional.ofNonZeroValue` takes it for nothing.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::Int(number) => *number == 0,
            Value::Uint(number) => *number == 0,
            Value::Double(number) => *number == 0.0,
            Value::String(text) => text.is_empty(),
            Value::Bytes(bytes) => bytes.is_empty(),
            Value::Duration(nanoseconds) => *nanoseconds == 0,
            Value::Timestamp(time) => time.is_zero(),
            Value::List(List::Typed(..)) | Value::Map(Map::Typed(..)) => false,
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.is_empty(),
            Value::Struct(object) => object.fields.is_empty() && object.is_dynamic(),
            Value::Type(_) | Value::Optional(_) | Value::Opaque(_) | Value::Preserved(_) => false,
        }
    }

    /// A value that borrows nothing, copying what it has to.
    pub fn into_owned(self) -> Result<Value<'static>, EvalError> {
        Ok(match self {
            Value::Null => Value::Null,
            Value::Bool(value) => Value::Bool(value),
            Value::Int(number) => Value::Int(number),
            Value::Uint(number) => Value::Uint(number),
            Value::Double(number) => Value::Double(number),
            Value::String(Str::Owned(text)) => Value::String(Str::Owned(text)),
            Value::String(Str::Borrowed(text)) => Value::String(Str::Owned(text.into())),
            Value::Bytes(bytes) => Value::Bytes(bytes),
            Value::Timestamp(time) => Value::Timestamp(time),
            Value::Duration(nanoseconds) => Value::Duration(nanoseconds),
            Value::Type(of) => Value::Type(of),
            Value::Optional(None) => Value::Optional(None),
            Value::Optional(Some(value)) => Value::some((*value).clone().into_owned()?),
            Value::Opaque(opaque) => Value::Opaque(opaque),
            Value::List(List::Static(elements)) => Value::List(List::Owned(elements)),
            Value::List(list) => {
                let elements: Result<Vec<_>, _> =
                    list.iter().map(|element| element?.into_owned()).collect();
                Value::from(elements?)
            }
            Value::Map(Map::Static(entries)) => Value::Map(Map::Owned(entries)),
            Value::Map(map) => {
                let mut entries = OwnedMap::new();
                for key in map.keys() {
                    let value = map.find(&key)?.unwrap_or(Value::Null);
                    entries.insert(Key::try_from(&key.into_owned()?)?, value.into_owned()?);
                }
                Value::Map(Map::Owned(Arc::new(entries)))
            }
            Value::Struct(object) => {
                let fields = object
                    .fields
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), value.clone().into_owned()?)));
                let fields: Result<_, EvalError> = fields.collect();
                Value::Struct(Arc::new(StructValue {
                    type_name: object.type_name.clone(),
                    fields: fields?,
                }))
            }
            Value::Preserved(json) => json::owned(json),
        })
    }

    /// A constant of a program as a value of one evaluation. Nothing is copied.
    pub(crate) fn from_static(value: &Value<'static>) -> Value<'a> {
        match value {
            Value::Null => Value::Null,
            Value::Bool(value) => Value::Bool(*value),
            Value::Int(number) => Value::Int(*number),
            Value::Uint(number) => Value::Uint(*number),
            Value::Double(number) => Value::Double(*number),
            Value::String(Str::Owned(text)) => Value::String(Str::Owned(text.clone())),
            Value::String(Str::Borrowed(text)) => Value::String(Str::Borrowed(text)),
            Value::Bytes(bytes) => Value::Bytes(bytes.clone()),
            Value::Timestamp(time) => Value::Timestamp(*time),
            Value::Duration(nanoseconds) => Value::Duration(*nanoseconds),
            Value::List(List::Owned(elements) | List::Static(elements)) => {
                Value::List(List::Static(elements.clone()))
            }
            Value::List(list) => Value::from(
                list.iter()
                    .flatten()
                    .map(|element| Value::from_static(&element))
                    .collect::<Vec<_>>(),
            ),
            Value::Map(Map::Owned(entries) | Map::Static(entries)) => {
                Value::Map(Map::Static(entries.clone()))
            }
            Value::Map(_) => Value::Null,
            Value::Type(of) => Value::Type(of.clone()),
            Value::Optional(None) => Value::Optional(None),
            Value::Optional(Some(value)) => Value::some(Value::from_static(value)),
            Value::Opaque(opaque) => Value::Opaque(opaque.clone()),
            Value::Struct(object) => Value::Struct(Arc::new(StructValue {
                type_name: object.type_name.clone(),
                fields: object
                    .fields
                    .iter()
                    .map(|(name, value)| (name.clone(), Value::from_static(value)))
                    .collect(),
            })),
            Value::Preserved(json) => Value::Preserved(json),
        }
    }
}
