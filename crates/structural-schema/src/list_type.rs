//! Lists that are sets or maps have no duplicates. Upstream: apiserver/schema/listtype.

use std::collections::HashMap;

use apimachinery::field::{self, ErrorList, Path};
use serde_json::{Map, Value};

use crate::node::{Additional, ListType, Node, Structural};
use crate::number::GoNumber;

impl Structural {
    /// Duplicates in lists of type set and map. On update, upstream asks only if the old object had none.
    pub fn validate_list_types(&self, object: &Value, path: &Path) -> ErrorList {
        let mut errors = ErrorList::new();
        // The root is never a list.
        if object.is_object() {
            check(&self.root, object, path, &mut errors);
        }
        errors
    }
}

fn check(node: &Node, value: &Value, path: &Path, errors: &mut ErrorList) {
    if !node.flags.has_lists {
        return;
    }
    match value {
        Value::Object(fields) => {
            if let Additional::Schema(values) = &node.additional {
                for (name, value) in fields {
                    check(values, value, &path.key(name.clone()), errors);
                }
            }
            for (name, value) in fields {
                if let Some(property) = node.property(name).filter(|node| node.flags.has_lists) {
                    check(property, value, &path.child(name.clone()), errors);
                }
            }
        }
        Value::Array(items) => {
            match node.list_type {
                ListType::Atomic => {}
                ListType::Set => {
                    for (index, item) in repeats(items) {
                        errors.push(field::duplicate(
                            &path.index(index),
                            crate::validate::bad(item),
                        ));
                    }
                }
                ListType::Map => check_map(node, items, path, errors),
            }
            if let Some(schema) = node.items.as_deref().filter(|node| node.flags.has_lists) {
                for (index, item) in items.iter().enumerate() {
                    check(schema, item, &path.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

fn check_map(node: &Node, items: &[Value], path: &Path, errors: &mut ErrorList) {
    let odd = items
        .iter()
        .position(|item| !item.is_object() && !item.is_null());
    if let Some(index) = odd {
        errors.push(field::invalid(
            &path.index(index),
            crate::validate::bad(&items[index]),
            "must be an object for an array of list-type map",
        ));
        return;
    }
    if items.len() < 2 {
        return;
    }
    let keys: Vec<Value> = items
        .iter()
        .map(|item| {
            let mut key = Map::new();
            for name in &node.list_keys {
                if let Some(value) = item.get(&**name) {
                    key.insert(name.to_string(), value.clone());
                }
            }
            Value::Object(key)
        })
        .collect();
    for (index, key) in repeats(&keys) {
        errors.push(field::duplicate(&path.index(index), BadKey(key)));
    }
}

struct BadKey<'a>(&'a Value);

impl From<BadKey<'_>> for field::BadValue {
    fn from(key: BadKey<'_>) -> Self {
        field::BadValue::json(key.0)
    }
}

/// The first repeat of each value that is there more than once.
fn repeats(items: &[Value]) -> Vec<(usize, &Value)> {
    if items.len() < 2 {
        return Vec::new();
    }
    let mut times: HashMap<String, u32> = HashMap::with_capacity(items.len());
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let times = times.entry(identity(item)).or_default();
        *times += 1;
        if *times == 2 {
            found.push((index, item));
        }
    }
    found
}

/// Equal texts are equal values to Go: scalars by type, all else by its JSON.
fn identity(value: &Value) -> String {
    match value {
        Value::Number(number) => match GoNumber::new(number) {
            GoNumber::Int(number) => number.to_string(),
            GoNumber::Float(number) => format!("f{}", number.to_bits()),
        },
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{schema, texts};
    use serde_json::json;

    #[track_caller]
    fn check_texts(object: Value, want: &[&str]) {
        let schema = schema(json!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "sets": {"type": "object", "additionalProperties":
                {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "x-kubernetes-map-type": "atomic"}}},
            "one": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
                "items": {"type": "object", "properties": {"a": {"type": "string"},
                    "inner": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}}}}},
            "two": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}},
        }}));
        assert_eq!(
            texts(&schema.validate_list_types(&object, &Path::nil())),
            want
        );
    }

    #[test]
    fn repeats_are_found_once() {
        check_texts(
            json!({"set": ["a", "b", "a", "a", "b"]}),
            &[
                "set[2]: Duplicate value: \"a\"",
                "set[4]: Duplicate value: \"b\"",
            ],
        );
        check_texts(
            json!({"set": [1, 1.0, "1", null, null]}),
            &["set[4]: Duplicate value: null"],
        );
        check_texts(
            json!({"sets": {"k": [{"x": 1}, {"x": 1}]}}),
            &["sets[k][1]: Duplicate value: {\"x\":1}"],
        );
    }

    #[test]
    fn maps_are_by_key() {
        check_texts(
            json!({"one": [{"a": "x", "inner": [1, 1]}, {"a": "x"}, {}, null]}),
            &[
                "one[1]: Duplicate value: {\"a\":\"x\"}",
                "one[3]: Duplicate value: {}",
                "one[0].inner[1]: Duplicate value: 1",
            ],
        );
        check_texts(
            json!({"two": [{"a": "x", "b": 1}, {"a": "x", "b": 2}, {"b": 1, "a": "x", "c": 3}]}),
            &["two[2]: Duplicate value: {\"a\":\"x\",\"b\":1}"],
        );
        check_texts(
            json!({"one": ["x", {}, {}]}),
            &["one[0]: Invalid value: \"x\": must be an object for an array of list-type map"],
        );
    }
}
