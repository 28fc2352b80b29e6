//! Making a patch from two versions of a document.

use serde_json::{Map, Value};

use super::schema::PatchSchema;
use super::{
    DELETE, DELETE_FROM_LIST, DIRECTIVE, Error, Kind, RETAIN_KEYS, SET_ORDER, element_kind,
    go_text, require_merge_key, sort_by_order,
};

/// The patch that makes `modified` of `original`. Upstream: `CreateTwoWayMergePatch`.
pub fn create_two_way(
    original: &Map<String, Value>,
    modified: &Map<String, Value>,
    schema: PatchSchema,
) -> Result<Map<String, Value>, Error> {
    diff_maps(original, modified, schema, false)
}

fn diff_maps(
    original: &Map<String, Value>,
    modified: &Map<String, Value>,
    schema: PatchSchema,
    retain_keys: bool,
) -> Result<Map<String, Value>, Error> {
    let mut patch = Map::new();
    for (key, new) in modified {
        let Some(old) = original.get(key) else {
            patch.insert(key.clone(), new.clone());
            continue;
        };
        if key == DIRECTIVE {
            if !old.is_string() || !new.is_string() {
                return Err(Error::Other(format!(
                    "invalid value for special key: {DIRECTIVE}"
                )));
            }
            if old != new {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        }
        match (old, new) {
            (Value::Object(old_fields), Value::Object(new_fields)) => {
                let (field, meta) = match schema.field(key) {
                    Ok(found) => found,
                    // What the table does not know matters only if it changed.
                    Err(_) if old == new => continue,
                    Err(error) => return Err(error),
                };
                if meta.replace {
                    // Upstream sends such a field even if it did not change.
                    patch.insert(key.clone(), new.clone());
                    continue;
                }
                let changes = diff_maps(old_fields, new_fields, field, meta.retain_keys)?;
                if !changes.is_empty() {
                    patch.insert(key.clone(), Value::Object(changes));
                }
            }
            (Value::Array(old_items), Value::Array(new_items)) => {
                let (item, meta) = match schema.list_field(key) {
                    Ok(found) => found,
                    Err(_) if old == new => continue,
                    Err(error) => return Err(error),
                };
                if meta.merge {
                    diff_lists(
                        key,
                        old_items,
                        new_items,
                        item,
                        meta.merge_key,
                        meta.retain_keys,
                        &mut patch,
                    )?;
                } else if old != new {
                    patch.insert(key.clone(), new.clone());
                }
            }
            _ if old != new => {
                patch.insert(key.clone(), new.clone());
            }
            _ => {}
        }
    }
    for key in original.keys().filter(|key| !modified.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    if retain_keys {
        let kept: Vec<&String> = modified
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, _)| key)
            .collect();
        let has_removed = original
            .iter()
            .any(|(key, value)| !value.is_null() && !modified.contains_key(key));
        if !kept.is_empty() && (!patch.is_empty() || has_removed) {
            let mut kept: Vec<Value> = kept
                .into_iter()
                .map(|key| Value::from(key.as_str()))
                .collect();
            kept.sort_by_key(go_text);
            patch.insert(RETAIN_KEYS.to_owned(), Value::Array(kept));
        }
    }
    Ok(patch)
}

/// Writes the changes of a list that merges, with the list of deletions and of the order beside it.
fn diff_lists(
    key: &str,
    original: &[Value],
    modified: &[Value],
    item: PatchSchema,
    merge_key: &str,
    retain_keys: bool,
    patch: &mut Map<String, Value>,
) -> Result<(), Error> {
    if original.is_empty() {
        if !modified.is_empty() {
            patch.insert(key.to_owned(), Value::from(modified));
        }
        return Ok(());
    }
    let mut set = |key: String, items: Vec<Value>| {
        if !items.is_empty() {
            patch.insert(key, Value::Array(items));
        }
    };
    if element_kind(&[original, modified])? == Kind::Map {
        let (mut changes, deletions) =
            diff_objects(original, modified, item, merge_key, retain_keys)?;
        sort_by_order(&mut changes, modified, merge_key, Kind::Map)?;
        require_merge_key(original, merge_key)?;
        let same_order = original.len() == modified.len()
            && original
                .iter()
                .zip(modified)
                .all(|(old, new)| old.get(merge_key) == new.get(merge_key));
        changes.extend(deletions);
        if !changes.is_empty() || !same_order {
            let order = modified
                .iter()
                .map(|item| {
                    let value = item.get(merge_key).cloned().unwrap_or_default();
                    Value::Object(Map::from_iter([(merge_key.to_owned(), value)]))
                })
                .collect();
            set(format!("{SET_ORDER}/{key}"), order);
        }
        set(key.to_owned(), changes);
    } else {
        let (mut additions, deletions) = diff_scalars(original, modified);
        sort_by_order(&mut additions, modified, merge_key, Kind::String)?;
        if !deletions.is_empty() || original != modified {
            set(format!("{SET_ORDER}/{key}"), modified.to_vec());
        }
        set(key.to_owned(), additions);
        set(format!("{DELETE_FROM_LIST}/{key}"), deletions);
    }
    Ok(())
}

/// Two lists of scalars compared as sorted text: what is new, and what is gone.
fn diff_scalars(original: &[Value], modified: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let sorted = |items: &[Value]| {
        let mut items: Vec<(String, Value)> = items
            .iter()
            .map(|item| (go_text(item), item.clone()))
            .collect();
        items.sort_by(|a, b| a.0.cmp(&b.0));
        items
    };
    let (mut additions, mut deletions) = (Vec::new(), Vec::new());
    walk_sorted(sorted(original), sorted(modified), |old, new| {
        match (old, new) {
            (None, Some(new)) => additions.push(new),
            (Some(old), None) => deletions.push(old),
            _ => {}
        }
        Ok(())
    })
    .unwrap_or_default();
    deletions.dedup();
    (additions, deletions)
}

/// Two lists of objects compared by merge key: additions and changes, and deletions.
fn diff_objects(
    original: &[Value],
    modified: &[Value],
    item: PatchSchema,
    merge_key: &str,
    retain_keys: bool,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let sorted = |items: &[Value]| -> Result<Vec<(String, Value)>, Error> {
        require_merge_key(items, merge_key)?;
        let key = |item: &Value| item.get(merge_key).map(go_text).unwrap_or_default();
        let mut items: Vec<(String, Value)> =
            items.iter().map(|item| (key(item), item.clone())).collect();
        items.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(items)
    };
    let (mut changes, mut deletions) = (Vec::new(), Vec::new());
    walk_sorted(sorted(original)?, sorted(modified)?, |old, new| {
        match (old, new) {
            (Some(Value::Object(old)), Some(Value::Object(mut new))) => {
                let mut change = diff_maps(&old, &new, item, retain_keys)?;
                if !change.is_empty() {
                    change.insert(
                        merge_key.to_owned(),
                        new.remove(merge_key).unwrap_or_default(),
                    );
                    changes.push(Value::Object(change));
                }
            }
            (None, Some(new)) => changes.push(new),
            (Some(old), None) => {
                let key = old.get(merge_key).cloned().unwrap_or_default();
                deletions.push(Value::Object(Map::from_iter([
                    (merge_key.to_owned(), key),
                    (DIRECTIVE.to_owned(), Value::from(DELETE)),
                ])));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok((changes, deletions))
}

/// Walks two sorted lists together: equal keys in pairs, the others alone.
fn walk_sorted(
    old: Vec<(String, Value)>,
    new: Vec<(String, Value)>,
    mut visit: impl FnMut(Option<Value>, Option<Value>) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        let (take_old, take_new) = match (old.peek(), new.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some((a, _)), Some((b, _))) => (a <= b, a >= b),
        };
        let old_item = if take_old {
            old.next().map(|(_, item)| item)
        } else {
            None
        };
        let new_item = if take_new {
            new.next().map(|(_, item)| item)
        } else {
            None
        };
        visit(old_item, new_item)?;
    }
}
