//! Which part of an old object a part of a new one was. Upstream: apiserver/pkg/cel/common/{equality,maplist}.go.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;

use serde_json::Value;

use crate::node::{Kind, ListType, Node};
use crate::number::{GoNumber, format_float};

/// A value, what it was before, and their schema.
pub(crate) struct Correlated<'a> {
    pub(crate) node: &'a Node,
    pub(crate) new: &'a Value,
    pub(crate) old: &'a Value,
    equal: Cell<Option<bool>>,
    items: OnceCell<ItemsByKey<'a>>,
}

impl<'a> Correlated<'a> {
    pub(crate) fn new(node: &'a Node, new: &'a Value, old: &'a Value) -> Self {
        Correlated {
            node,
            new,
            old,
            equal: Cell::new(None),
            items: OnceCell::new(),
        }
    }

    /// The field of that name, where both objects have it and the schema says what it is.
    pub(crate) fn key(&self, name: &str) -> Option<Correlated<'a>> {
        let new = self.new.as_object()?.get(name)?;
        let old = self.old.as_object()?.get(name)?;
        Some(Correlated::new(self.node.field(name)?, new, old))
    }

    /// The item at that position in the new list, where the list is one by key.
    pub(crate) fn index(&self, index: usize) -> Option<Correlated<'a>> {
        let new = self.new.as_array()?.get(index)?;
        let old = self.old.as_array()?;
        if self.node.list_type != ListType::Map {
            return None;
        }
        let items = self.items.get_or_init(|| ItemsByKey::new(self.node, old));
        Some(Correlated::new(
            self.node.items.as_deref()?,
            new,
            items.get(new)?,
        ))
    }

    /// Whether nothing changed. As upstream, what the schema does not know never counts as unchanged.
    pub(crate) fn is_unchanged(&self) -> bool {
        match self.equal.get() {
            Some(equal) => equal,
            None => {
                let equal = self.compare();
                self.equal.set(Some(equal));
                equal
            }
        }
    }

    fn compare(&self) -> bool {
        match (self.new, self.old) {
            (Value::Array(new), Value::Array(old)) => {
                if new.len() != old.len() {
                    return false;
                }
                if self.node.list_type != ListType::Map {
                    return new == old;
                }
                (0..new.len())
                    .all(|index| self.index(index).is_some_and(|child| child.is_unchanged()))
            }
            (Value::Object(new), Value::Object(old)) => {
                new.len() == old.len()
                    && new
                        .keys()
                        .all(|name| self.key(name).is_some_and(|child| child.is_unchanged()))
            }
            (new, old) => new == old,
        }
    }
}

/// The items of a list of type map by their keys; the first item of each.
pub(crate) struct ItemsByKey<'a> {
    node: &'a Node,
    items: HashMap<String, &'a Value>,
}

impl<'a> ItemsByKey<'a> {
    /// Of another list than one by key nothing is found.
    pub(crate) fn new(node: &'a Node, list: &'a [Value]) -> Self {
        let mut items = HashMap::new();
        if node.kind == Kind::Array && node.list_type == ListType::Map && !node.list_keys.is_empty()
        {
            for item in list {
                if let Some(key) = key_of(node, item) {
                    items.entry(key).or_insert(item);
                }
            }
        }
        ItemsByKey { node, items }
    }

    /// The item with the keys of this one.
    pub(crate) fn get(&self, item: &Value) -> Option<&'a Value> {
        if self.items.is_empty() {
            return None;
        }
        self.items.get(&key_of(self.node, item)?).copied()
    }
}

/// An item's keys as one text; none if one is missing or no scalar.
fn key_of(node: &Node, item: &Value) -> Option<String> {
    let item = item.as_object()?;
    let one_key = node.list_keys.len() == 1;
    let mut out = String::new();
    for key in &node.list_keys {
        out.push('\0');
        match item.get(&**key)? {
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::String(text) => {
                out.push('"');
                out.push_str(text);
                out.push('"');
            }
            Value::Number(number) => match GoNumber::new(number) {
                GoNumber::Int(number) => out.push_str(&number.to_string()),
                // Several keys are compared by their first six decimals, as upstream.
                GoNumber::Float(number) if one_key => {
                    out.push('f');
                    out.push_str(&format_float(number));
                }
                GoNumber::Float(number) => out.push_str(&format!("{number:.6}")),
            },
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::schema;
    use serde_json::json;

    #[track_caller]
    fn check(new: Value, old: Value, want: bool) {
        let schema = schema(json!({"type": "object", "properties": {
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"type": "object", "properties": {
                    "a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "string"}}}},
            "set": {"type": "array", "items": {"type": "string"}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}));
        let correlated = Correlated::new(&schema.root, &new, &old);
        assert_eq!(correlated.is_unchanged(), want, "{new} {old}");
    }

    #[test]
    fn items_are_found_by_key() {
        let one = json!({"a": "x", "b": 1, "c": "same"});
        let two = json!({"a": "x", "b": 2});
        check(
            json!({"list": [one, two]}),
            json!({"list": [two, one]}),
            true,
        );
        check(
            json!({"list": [one, two]}),
            json!({"list": [one, {"a": "y", "b": 2}]}),
            false,
        );
        check(
            json!({"list": [{"a": "x"}]}),
            json!({"list": [{"a": "x"}]}),
            false,
        );
        check(
            json!({"set": ["a", "b"]}),
            json!({"set": ["b", "a"]}),
            false,
        );
        check(json!({"set": ["a", "b"]}), json!({"set": ["a", "b"]}), true);
        check(json!({"map": {"k": "v"}}), json!({"map": {"k": "v"}}), true);
        check(json!({"map": {"k": "v"}}), json!({"map": {}}), false);
        // Upstream looks for the schema of each field, and what has none is not known to be the same.
        check(json!({"any": {"k": 1}}), json!({"any": {"k": 1}}), false);
        check(json!({"set": null}), json!({"set": null}), true);
        check(json!({"set": null}), json!({"set": []}), false);
    }
}
