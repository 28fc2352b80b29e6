//! Lists and maps, wherever their elements are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::schema::Schema;
use super::{Str, Value, json};
use crate::error::EvalError;

/// A list that makes its elements when they are asked for.
pub trait ListView<'a>: fmt::Debug + Sync {
    /// How many elements there are.
    fn len(&'a self) -> usize;

    /// Whether there is none.
    fn is_empty(&'a self) -> bool {
        self.len() == 0
    }

    /// The element at a position below `len`.
    fn get(&'a self, index: usize) -> Result<Value<'a>, EvalError>;
}

/// A map from strings that makes its values when they are asked for: the variables of a policy, a struct of ours.
pub trait MapView<'a>: fmt::Debug + Sync {
    /// How many entries there are.
    fn len(&'a self) -> usize;

    /// Whether there is none.
    fn is_empty(&'a self) -> bool {
        self.len() == 0
    }

    /// The value of a key, if it has one.
    fn get(&'a self, key: &str) -> Result<Option<Value<'a>>, EvalError>;

    /// All keys.
    fn keys(&'a self) -> Vec<Str<'a>>;
}

/// A list.
#[derive(Clone)]
pub enum List<'a> {
    /// Built while evaluating.
    Owned(Arc<Vec<Value<'a>>>),
    /// A constant of the program.
    Static(Arc<Vec<Value<'static>>>),
    /// In an object without a schema.
    Json(&'a [serde_json::Value]),
    /// In an object with a schema; this is the schema of the list.
    Typed(&'a [serde_json::Value], &'a Schema),
    /// Made on demand.
    View(&'a dyn ListView<'a>),
}

/// A map.
#[derive(Clone)]
pub enum Map<'a> {
    /// Built while evaluating.
    Owned(Arc<OwnedMap<'a>>),
    /// A constant of the program.
    Static(Arc<OwnedMap<'static>>),
    /// An object without a schema.
    Json(&'a serde_json::Map<String, serde_json::Value>),
    /// An object or map with a schema.
    Typed(&'a serde_json::Map<String, serde_json::Value>, &'a Schema),
    /// Made on demand.
    View(&'a dyn MapView<'a>),
}

pub(crate) type OwnedMap<'a> = BTreeMap<Key<'a>, Value<'a>>;

/// A value that can be a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// The bits of a floating point number.
    Double(u64),
    /// Text.
    String(Str<'a>),
}

impl<'a> TryFrom<&Value<'a>> for Key<'a> {
    type Error = EvalError;

    fn try_from(value: &Value<'a>) -> Result<Self, EvalError> {
        Ok(match value {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(number) => Key::Int(*number),
            Value::Uint(number) => Key::Uint(*number),
            Value::Double(number) => Key::Double(number.to_bits()),
            Value::String(text) => Key::String(text.clone()),
            other => {
                return Err(EvalError::new(format!(
                    "unsupported key type: {}",
                    other.type_of().name()
                )));
            }
        })
    }
}

impl<'a> From<&Key<'a>> for Value<'a> {
    fn from(key: &Key<'a>) -> Self {
        match key {
            Key::Bool(value) => Value::Bool(*value),
            Key::Int(number) => Value::Int(*number),
            Key::Uint(number) => Value::Uint(*number),
            Key::Double(bits) => Value::Double(f64::from_bits(*bits)),
            Key::String(text) => Value::String(text.clone()),
        }
    }
}

impl<'a> List<'a> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            List::Owned(elements) => elements.len(),
            List::Static(elements) => elements.len(),
            List::Json(elements) | List::Typed(elements, _) => elements.len(),
            List::View(view) => view.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at a position.
    pub fn get(&self, index: usize) -> Result<Value<'a>, EvalError> {
        match self {
            List::Owned(elements) => elements.get(index).cloned(),
            List::Static(elements) => elements.get(index).map(Value::from_static),
            List::Json(elements) => elements.get(index).map(json::view),
            List::Typed(elements, schema) => match elements.get(index) {
                Some(element) => return schema.items().view(element),
                None => None,
            },
            List::View(view) if index < view.len() => return view.get(index),
            List::View(_) => None,
        }
        .ok_or_else(|| {
            EvalError::new(format!(
                "index '{index}' out of range in list size '{}'",
                self.len()
            ))
        })
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'a>, EvalError>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Both lists, one after the other. Reuses `self` when nobody else has it.
    pub(crate) fn concat(self, other: List<'a>) -> Result<List<'a>, EvalError> {
        if let List::Typed(elements, schema) = &self
            && let Some(merged) = schema.merge(elements, &other)?
        {
            return Ok(merged);
        }
        if self.is_empty() {
            return Ok(other);
        }
        if other.is_empty() {
            return Ok(self);
        }
        let mut elements = match self {
            List::Owned(elements) => elements,
            list => Arc::new(list.iter().collect::<Result<_, _>>()?),
        };
        let into = Arc::make_mut(&mut elements);
        into.reserve(other.len());
        for element in other.iter() {
            into.push(element?);
        }
        Ok(List::Owned(elements))
    }
}

impl<'a> Map<'a> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Map::Owned(entries) => entries.len(),
            Map::Static(entries) => entries.len(),
            Map::Json(entries) | Map::Typed(entries, _) => entries.len(),
            Map::View(view) => view.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key, if it has one. Numbers that are equal are the same key.
    pub fn find(&self, key: &Value<'_>) -> Result<Option<Value<'a>>, EvalError> {
        if let (Value::String(text), false) = (key, matches!(self, Map::Owned(_) | Map::Static(_)))
        {
            return self.find_str(text);
        }
        match self {
            Map::Owned(entries) => Ok(find(entries, key).cloned()),
            Map::Static(entries) => Ok(find(entries, key).map(Value::from_static)),
            Map::Typed(..) => Err(EvalError::NO_SUCH_OVERLOAD),
            Map::Json(_) | Map::View(_) => Ok(None),
        }
    }

    /// The value of a key that is text.
    pub fn find_str(&self, key: &str) -> Result<Option<Value<'a>>, EvalError> {
        match self {
            Map::Json(entries) => Ok(entries.get(key).map(json::view)),
            Map::Typed(entries, schema) => schema.find(entries, key),
            Map::View(view) => view.get(key),
            Map::Owned(entries) => Ok(find(entries, &Value::from(key)).cloned()),
            Map::Static(entries) => Ok(find(entries, &Value::from(key)).map(Value::from_static)),
        }
    }

    /// All keys, in order where there is one.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Map::Owned(entries) => entries.keys().map(Value::from).collect(),
            Map::Static(entries) => entries
                .keys()
                .map(|key| Value::from_static(&Value::from(key)))
                .collect(),
            Map::Json(entries) => entries
                .keys()
                .map(|key| Value::from(key.as_str()))
                .collect(),
            Map::Typed(entries, schema) => schema.keys(entries),
            Map::View(view) => view.keys().into_iter().map(Value::String).collect(),
        }
    }
}

fn find<'m, 'a>(entries: &'m OwnedMap<'a>, key: &Value<'_>) -> Option<&'m Value<'a>> {
    // A map of keys that live for 'a answers keys that live shorter: keys are compared, not kept.
    let get = |key: Key<'_>| {
        let shorter: &'m BTreeMap<Key<'a>, Value<'a>> = entries;
        lookup(shorter, &key)
    };
    if let Some(found) = get(Key::try_from(key).ok()?) {
        return Some(found);
    }
    match key {
        Value::Int(number) => get(Key::Uint(u64::try_from(*number).ok()?)),
        Value::Uint(number) => get(Key::Int(i64::try_from(*number).ok()?)),
        Value::Double(number) => lossless_int(*number)
            .and_then(|number| get(Key::Int(number)))
            .or_else(|| lossless_uint(*number).and_then(|number| get(Key::Uint(number)))),
        _ => None,
    }
}

fn lookup<'m, 'a>(entries: &'m OwnedMap<'a>, key: &Key<'_>) -> Option<&'m Value<'a>> {
    match key {
        Key::String(text) if entries.len() <= 8 => entries.iter().find_map(|(candidate, value)| {
            matches!(candidate, Key::String(have) if **have == **text).then_some(value)
        }),
        Key::String(text) => entries.get(&Key::String(Str::Owned((**text).into()))),
        Key::Bool(value) => entries.get(&Key::Bool(*value)),
        Key::Int(number) => entries.get(&Key::Int(*number)),
        Key::Uint(number) => entries.get(&Key::Uint(*number)),
        Key::Double(bits) => entries.get(&Key::Double(*bits)),
    }
}

pub(crate) fn lossless_int(number: f64) -> Option<i64> {
    let limit = 9_223_372_036_854_775_808.0;
    (number > -limit && number < limit && number.fract() == 0.0).then_some(number as i64)
}

pub(crate) fn lossless_uint(number: f64) -> Option<u64> {
    ((0.0..18_446_744_073_709_551_616.0).contains(&number) && number.fract() == 0.0)
        .then_some(number as u64)
}

impl fmt::Debug for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.keys().into_iter().map(|key| {
                let value = self.find(&key);
                (key, value)
            }))
            .finish()
    }
}
