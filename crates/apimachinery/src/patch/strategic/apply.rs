//! Applying a patch to a document.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::schema::PatchSchema;
use super::{
    DELETE, DELETE_FROM_LIST, DIRECTIVE, Error, Kind, MERGE, REPLACE, RETAIN_KEYS, SET_ORDER,
    element_kind, go_list, go_map, go_text, identity, is_deletion, key_of, kind_of, positions,
    require_merge_key, sort_by_order,
};

/// The document with the patch applied. Upstream: `StrategicMergeMapPatch`.
pub fn apply(
    mut original: Map<String, Value>,
    patch: Map<String, Value>,
    schema: PatchSchema,
) -> Result<Map<String, Value>, Error> {
    merge_map(&mut original, patch, schema)?;
    Ok(original)
}

fn merge_map(
    original: &mut Map<String, Value>,
    mut patch: Map<String, Value>,
    schema: PatchSchema,
) -> Result<(), Error> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        match directive.as_str() {
            Some(REPLACE) => {
                patch.remove(DIRECTIVE);
                *original = patch;
            }
            Some(DELETE) => original.clear(),
            _ => {
                return Err(bad_directive(directive, &patch));
            }
        }
        return Ok(());
    }
    retain_keys(original, &mut patch)?;
    merge_ordered_lists(original, &mut patch, schema)?;

    for (key, value) in patch {
        let (key, is_deletion_list) = match key.strip_prefix(DELETE_FROM_LIST) {
            None => (key, false),
            Some(rest) => (
                rest.strip_prefix('/')
                    .ok_or(Error::BadPrimitiveList)?
                    .to_owned(),
                true,
            ),
        };
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        let current = match original.get_mut(&key) {
            Some(current) if kind_of(current) == kind_of(&value) => current,
            _ if is_deletion_list => continue,
            _ => {
                // Nothing to merge with: the value is taken as it is, without what only means something to a merge.
                match without_directives(without_nulls(value)) {
                    Some(value) => original.insert(key, value),
                    None => original.remove(&key),
                };
                continue;
            }
        };
        match (current, value) {
            (Value::Object(current), Value::Object(value)) => {
                let (field, meta) = schema.field(&key)?;
                if meta.replace {
                    *current = value;
                } else {
                    merge_map(current, value, field)?;
                }
            }
            (Value::Array(current), Value::Array(value)) => {
                let (item, meta) = schema.list_field(&key)?;
                if meta.merge || is_deletion_list {
                    let merged = merge_list(
                        std::mem::take(current),
                        value,
                        item,
                        meta.merge_key,
                        is_deletion_list,
                    )?;
                    *current = merged;
                } else {
                    *current = value;
                }
            }
            (current, value) => *current = value,
        }
    }
    Ok(())
}

fn bad_directive(directive: &Value, patch: &Map<String, Value>) -> Error {
    Error::Other(format!(
        "unknown patch type: {} in map: {}",
        go_text(directive),
        go_map(patch)
    ))
}

/// Removes what `$retainKeys` does not name, and checks that it names all that the patch sets.
fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), Error> {
    let Some(list) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let list = list.as_array().ok_or(Error::BadRetainKeys)?;
    let kept: HashSet<&str> = list.iter().filter_map(Value::as_str).collect();
    let unnamed = |(key, value): (&String, &Value)| {
        !value.is_null()
            && !key.starts_with(DELETE_FROM_LIST)
            && !key.starts_with(SET_ORDER)
            && !kept.contains(key.as_str())
    };
    if patch.iter().any(unnamed) {
        return Err(Error::BadRetainKeys);
    }
    original.retain(|key, _| kept.contains(key.as_str()));
    Ok(())
}

/// Merges the lists for which the patch sets an order, and removes them from the patch.
///
/// The order of the result is that of `$setElementOrder`; items that only the server has stay between the same neighbours
/// as far as possible.
fn merge_ordered_lists(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    schema: PatchSchema,
) -> Result<(), Error> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|key| key.starts_with(SET_ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            other => {
                return Err(Error::bad_type(
                    &Value::Array(Vec::new()),
                    &other.unwrap_or_default(),
                ));
            }
        };
        let key = directive[SET_ORDER.len()..]
            .strip_prefix('/')
            .ok_or(Error::BadSetElementOrder)?;
        for side in [&*original, &*patch] {
            if let Some(value) = side.get(key).filter(|value| !value.is_array()) {
                return Err(Error::bad_type(&Value::Array(Vec::new()), value));
            }
        }
        let (item, meta) = schema.list_field(key)?;
        let merge_key = meta.merge_key;
        let empty = Vec::new();
        let patch_list = patch.get(key).and_then(Value::as_array);
        check_order(patch_list.unwrap_or(&empty), &order, merge_key)?;

        let original_list = original.get(key).and_then(Value::as_array);
        if original_list.is_none() && patch_list.is_none() {
            continue;
        }
        let kind = element_kind(&[
            original_list.unwrap_or(&empty),
            patch_list.unwrap_or(&empty),
        ]);
        let server_order = order_after_merge(
            original_list.unwrap_or(&empty),
            patch_list.unwrap_or(&empty),
            merge_key,
        );
        let merged = match (original_list.is_some(), patch.remove(key)) {
            (true, Some(Value::Array(changes))) => {
                let current = match original.remove(key) {
                    Some(Value::Array(current)) => current,
                    _ => Vec::new(),
                };
                if meta.merge {
                    merge_list(current, changes, item, merge_key, false)?
                } else {
                    changes
                }
            }
            (false, Some(added)) => match without_directives(added) {
                Some(Value::Array(added)) => added,
                _ => continue,
            },
            _ => original_list.unwrap_or(&empty).clone(),
        };
        let merged = in_order(merged, &order, &server_order, merge_key, kind?)?;
        original.insert(key.to_owned(), Value::Array(merged));
    }
    Ok(())
}

/// The order of the server's list against which the merged list is sorted.
///
/// Upstream merges in place, so items that the patch adds take the places of items that it deletes, and count as known to
/// the server. That decides where they stand among items that only the server has.
fn order_after_merge(original: &[Value], patch: &[Value], merge_key: &str) -> Vec<Value> {
    let deleted: HashSet<String> = patch
        .iter()
        .filter(|item| is_deletion(item))
        .map(|item| identity(key_of(item, merge_key)))
        .collect();
    if merge_key.is_empty() || deleted.is_empty() {
        return original.to_vec();
    }
    let mut order: Vec<Value> = original
        .iter()
        .filter(|item| !deleted.contains(&identity(key_of(item, merge_key))))
        .cloned()
        .collect();
    if patch
        .iter()
        .any(|item| item.get(DIRECTIVE).and_then(Value::as_str) == Some(REPLACE))
    {
        return order;
    }
    let mut known: HashSet<String> = order
        .iter()
        .map(|item| identity(key_of(item, merge_key)))
        .collect();
    let added = patch.iter().filter(|item| item.get(DIRECTIVE).is_none());
    let added = added.filter(|item| known.insert(identity(key_of(item, merge_key))));
    order.extend(
        added
            .take(original.len() - order.len())
            .cloned()
            .collect::<Vec<_>>(),
    );
    order
}

/// Checks that the items of the patch's list come in the order that `$setElementOrder` says, and are all in it.
fn check_order(patch_list: &[Value], order: &[Value], merge_key: &str) -> Result<(), Error> {
    if patch_list.is_empty() || order.is_empty() {
        return Ok(());
    }
    if !merge_key.is_empty()
        && let Some(other) = patch_list.iter().find(|item| !item.is_object())
    {
        return Err(Error::bad_type(&Value::Object(Map::new()), other));
    }
    let mut wanted = order.iter();
    let items = patch_list
        .iter()
        .filter(|item| merge_key.is_empty() || !is_deletion(item));
    for item in items.filter(|item| item.get(DIRECTIVE).is_none()) {
        loop {
            let Some(next) = wanted.next() else {
                return Err(Error::Other(format!(
                    "The order in patch list:\n{}\n doesn't match {SET_ORDER} list:\n{}\n",
                    go_list(patch_list),
                    go_list(order)
                )));
            };
            if !merge_key.is_empty() {
                require_merge_key([item, next], merge_key)?;
            }
            let same = if merge_key.is_empty() {
                item == next
            } else {
                item.get(merge_key) == next.get(merge_key)
            };
            if same {
                break;
            }
        }
    }
    Ok(())
}

/// Splits a merged list into items named by `patch_order` and others, sorts each, and weaves them together.
fn in_order(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: &str,
    kind: Kind,
) -> Result<Vec<Value>, Error> {
    if !merge_key.is_empty() {
        require_merge_key(&merged, merge_key)?;
    }
    let named: HashSet<String> = patch_order
        .iter()
        .map(|item| identity(key_of(item, merge_key)))
        .collect();
    let (mut from_patch, mut server_only): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|item| named.contains(&identity(key_of(item, merge_key))));
    sort_by_order(&mut from_patch, patch_order, merge_key, kind)?;
    sort_by_order(&mut server_only, server_order, merge_key, kind)?;
    let positions = positions(server_order, merge_key);
    let position = |item: &Value| positions.get(&identity(key_of(item, merge_key))).copied();

    let mut out = Vec::with_capacity(from_patch.len() + server_only.len());
    let mut server_only = server_only.into_iter().peekable();
    for item in from_patch {
        let here = position(&item);
        while let Some(before) = server_only.next_if(
            |other| matches!((position(other), here), (Some(other), Some(here)) if other < here),
        ) {
            out.push(before);
        }
        out.push(item);
    }
    out.extend(server_only);
    Ok(out)
}

/// Merges two lists of objects by their key, or of scalars as sets.
fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    item: PatchSchema,
    merge_key: &str,
    is_deletion_list: bool,
) -> Result<Vec<Value>, Error> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let kind = element_kind(&[&original, &patch])?;
    if kind != Kind::Map {
        let patched: HashSet<String> = patch.iter().map(identity).collect();
        if is_deletion_list {
            return Ok(original
                .into_iter()
                .filter(|item| !patched.contains(&identity(item)))
                .collect());
        }
        let mut seen = HashSet::new();
        let merged = original
            .iter()
            .chain(&patch)
            .filter(|item| seen.insert(identity(item)))
            .cloned()
            .collect();
        return in_order(merged, &patch, &original, merge_key, kind);
    }
    if merge_key.is_empty() {
        return Err(Error::Other(format!(
            "cannot merge lists without merge key for {}",
            item.name()
        )));
    }
    let (original, patch) = apply_special_items(original, patch, merge_key)?;
    let (server_order, patch_order) = (
        keys_only(&original, merge_key),
        keys_only(&patch, merge_key),
    );
    let merged = merge_items(original, patch, item, merge_key)?;
    in_order(merged, &patch_order, &server_order, merge_key, kind)
}

/// The items with nothing but their merge key, which is all that ordering looks at.
fn keys_only(items: &[Value], merge_key: &str) -> Vec<Value> {
    items
        .iter()
        .map(|item| match item.get(merge_key) {
            Some(key) => Value::Object(Map::from_iter([(merge_key.to_owned(), key.clone())])),
            None => item.clone(),
        })
        .collect()
}

/// Acts on the items of a patch that carry a directive: deletes from the original, or replaces it with the rest.
fn apply_special_items(
    original: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut deleted = HashSet::new();
    let mut replaced = false;
    let mut rest = Vec::with_capacity(patch.len());
    for item in patch {
        let Some(directive) = item.get(DIRECTIVE) else {
            rest.push(item);
            continue;
        };
        let fields = item.as_object().map_or_else(Map::new, Clone::clone);
        match directive.as_str() {
            Some(DELETE) => match fields.get(merge_key) {
                Some(key) => {
                    deleted.insert(identity(key));
                }
                None => return Err(Error::no_merge_key(&fields, merge_key)),
            },
            Some(REPLACE) => replaced = true,
            Some(MERGE) => {
                return Err(Error::Other(
                    "merging lists cannot yet be specified in the patch".to_owned(),
                ));
            }
            _ => return Err(bad_directive(directive, &fields)),
        }
    }
    if replaced {
        return Ok((rest, Vec::new()));
    }
    let mut original = original;
    if !deleted.is_empty() {
        original.retain(|item| {
            item.get(merge_key)
                .is_none_or(|key| !deleted.contains(&identity(key)))
        });
    }
    Ok((original, rest))
}

fn merge_items(
    mut merged: Vec<Value>,
    patch: Vec<Value>,
    item: PatchSchema,
    merge_key: &str,
) -> Result<Vec<Value>, Error> {
    let mut positions: HashMap<String, usize> = HashMap::with_capacity(merged.len());
    for (position, item) in merged.iter().enumerate() {
        if let Some(key) = item.get(merge_key) {
            positions.entry(identity(key)).or_insert(position);
        }
    }
    for change in patch {
        let Value::Object(change) = change else {
            return Err(Error::bad_type(&Value::Object(Map::new()), &change));
        };
        let Some(key) = change.get(merge_key) else {
            return Err(Error::no_merge_key(&change, merge_key));
        };
        match positions.get(&identity(key)) {
            Some(position) => {
                if let Value::Object(current) = &mut merged[*position] {
                    merge_map(current, change, item)?;
                }
            }
            None => {
                positions.insert(identity(key), merged.len());
                merged.push(Value::Object(change));
            }
        }
    }
    Ok(merged)
}

/// The value without null fields of objects, at any depth.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(k, v)| (k, without_nulls(v)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        scalar => scalar,
    }
}

/// The value without objects that carry a `$patch` directive; nothing if it is one itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => Some(Value::Object(
            fields
                .into_iter()
                .filter_map(|(k, v)| without_directives(v).map(|v| (k, v)))
                .collect(),
        )),
        Value::Array(items) => Some(Value::Array(
            items.into_iter().filter_map(without_directives).collect(),
        )),
        scalar => Some(scalar),
    }
}
