//! Strategic merge patch: a merge patch that knows from a type's table which lists merge by which key.
//!
//! Upstream: apimachinery/pkg/util/strategicpatch. Documents are JSON values. A patch may carry directives:
//! `$patch` (replace, delete) in objects, `$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>` and `$retainKeys`
//! beside fields. Lists without a merge strategy are replaced whole. Only built-in types have tables; custom resources
//! refuse this kind of patch.

mod apply;
mod diff;
mod restore;
mod schema;

use std::fmt::Write;

use serde_json::{Map, Value};

pub use apply::apply;
pub use diff::create_two_way;
pub use restore::restore_problem;
pub use schema::PatchSchema;

const DIRECTIVE: &str = "$patch";
const DELETE: &str = "delete";
const REPLACE: &str = "replace";
const MERGE: &str = "merge";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// Why a strategic merge patch cannot be applied or made. The texts are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a JSON object.
    #[error("invalid JSON document")]
    BadDocument,
    /// A list in a list, which no API type has.
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// `$deleteFromPrimitiveList` without a field.
    #[error("invalid patch format of primitive list")]
    BadPrimitiveList,
    /// `$retainKeys` that is no list, or does not name a field that the patch sets.
    #[error("invalid patch format of retainKeys")]
    BadRetainKeys,
    /// `$setElementOrder` without a field, or that is no list.
    #[error("invalid patch format of setElementOrder list")]
    BadSetElementOrder,
    /// The type has no table to merge by.
    #[error("strategic merge patch format is not supported")]
    Unsupported,
    /// Anything else, in upstream's words.
    #[error("{0}")]
    Other(String),
}

impl Error {
    fn no_merge_key(map: &Map<String, Value>, key: &str) -> Self {
        Self::Other(format!(
            "map: {} does not contain declared merge key: {key}",
            go_map(map)
        ))
    }

    fn bad_type(expected: &Value, actual: &Value) -> Self {
        Self::Other(format!(
            "expected a {}, but received a {}",
            go_type(expected),
            go_type(actual)
        ))
    }
}

/// Applies a patch, both as JSON text. Upstream: `StrategicMergePatch`.
pub fn apply_bytes(
    original: &[u8],
    patch: &[u8],
    schema: PatchSchema,
) -> Result<Map<String, Value>, Error> {
    let parse = |text: &[u8]| {
        serde_json::from_slice::<Map<String, Value>>(text).map_err(|_| Error::BadDocument)
    };
    apply(parse(original)?, parse(patch)?, schema)
}

/// The kinds of JSON values that Go tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Int,
    Float,
    String,
    List,
    Map,
}

fn kind_of(value: &Value) -> Kind {
    match value {
        Value::Null => Kind::Null,
        Value::Bool(_) => Kind::Bool,
        Value::Number(number) if number.is_i64() => Kind::Int,
        Value::Number(_) => Kind::Float,
        Value::String(_) => Kind::String,
        Value::Array(_) => Kind::List,
        Value::Object(_) => Kind::Map,
    }
}

/// The one kind of all items of the lists.
fn element_kind(lists: &[&[Value]]) -> Result<Kind, Error> {
    let mut kinds = lists.iter().flat_map(|list| list.iter()).map(kind_of);
    let Some(first) = kinds.next() else {
        return Err(Error::Other(
            "no elements in any of the given slices".to_owned(),
        ));
    };
    if first == Kind::List {
        return Err(Error::ListOfLists);
    }
    if first == Kind::Null || kinds.any(|kind| kind != first) {
        let lists: Vec<String> = lists.iter().map(|list| go_list(list)).collect();
        return Err(Error::Other(format!(
            "list element types are not identical: [{}]",
            lists.join(" ")
        )));
    }
    Ok(first)
}

/// Text that is equal for equal values only, to index lists by.
fn identity(value: &Value) -> String {
    value.to_string()
}

/// Go's `%T` of a decoded JSON value.
fn go_type(value: &Value) -> &'static str {
    match kind_of(value) {
        Kind::Null => "%!s(<nil>)",
        Kind::Bool => "bool",
        Kind::Int => "int64",
        Kind::Float => "float64",
        Kind::String => "string",
        Kind::List => "[]interface {}",
        Kind::Map => "map[string]interface {}",
    }
}

/// Go's `%v` of a decoded JSON value.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => go_list(items),
        Value::Object(fields) => go_map(fields),
        scalar => scalar.to_string(),
    }
}

fn go_list(items: &[Value]) -> String {
    let items: Vec<String> = items.iter().map(go_text).collect();
    format!("[{}]", items.join(" "))
}

/// Go's `%v` of a decoded JSON object, in which errors about patches show them.
pub fn go_map(fields: &Map<String, Value>) -> String {
    let mut entries: Vec<(&String, &Value)> = fields.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    let mut out = "map[".to_owned();
    for (i, (key, value)) in entries.into_iter().enumerate() {
        let space = if i > 0 { " " } else { "" };
        let _ = write!(out, "{space}{key}:{}", go_text(value));
    }
    out.push(']');
    out
}

/// Positions of the items of a list by identity, of their merge key where there is one. The first of equal items counts.
fn positions(list: &[Value], merge_key: &str) -> std::collections::HashMap<String, usize> {
    let mut positions = std::collections::HashMap::with_capacity(list.len());
    for (position, item) in list.iter().enumerate() {
        let key = identity(key_of(item, merge_key));
        positions.entry(key).or_insert(position);
    }
    positions
}

/// What tells an item from others in its list: its merge key, or itself.
fn key_of<'a>(item: &'a Value, merge_key: &str) -> &'a Value {
    match item {
        Value::Object(fields) => fields.get(merge_key).unwrap_or(&Value::Null),
        scalar => scalar,
    }
}

/// Fails unless all items are objects that have the merge key.
fn require_merge_key<'a>(
    items: impl IntoIterator<Item = &'a Value>,
    merge_key: &str,
) -> Result<(), Error> {
    for item in items {
        match item {
            Value::Object(fields) if fields.contains_key(merge_key) => {}
            Value::Object(fields) => return Err(Error::no_merge_key(fields, merge_key)),
            other => return Err(Error::bad_type(&Value::Object(Map::new()), other)),
        }
    }
    Ok(())
}

/// Whether an item asks for its own deletion.
fn is_deletion(item: &Value) -> bool {
    item.get(DIRECTIVE).and_then(Value::as_str) == Some(DELETE)
}

/// Puts items in the order they have in another list; deletions go last.
fn sort_by_order(
    items: &mut Vec<Value>,
    order: &[Value],
    merge_key: &str,
    kind: Kind,
) -> Result<(), Error> {
    let mut deletions = Vec::new();
    if kind == Kind::Map {
        require_merge_key(items.iter().chain(order), merge_key)?;
        deletions = items.extract_if(.., |item| is_deletion(item)).collect();
    }
    let positions = positions(order, merge_key);
    items.sort_by_key(|item| positions.get(&identity(key_of(item, merge_key))).copied());
    items.append(&mut deletions);
    Ok(())
}

#[cfg(test)]
mod tests;
