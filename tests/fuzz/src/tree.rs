//! Changes to JSON that leave it JSON: what gets past a parser to whatever looks at the values.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

/// One change of one node.
#[derive(Clone, Debug)]
pub(crate) struct NodeEdit {
    at: Index,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    /// Another value of the list below.
    Replace(Index),
    Remove,
    /// The node once more: an item after itself, a field under another name.
    Double,
    /// A field gets another name: a word of the dictionary.
    Rename(Index),
    Wrap(bool),
    /// What is elsewhere in the document.
    CopyOf(Index),
    /// Levels of lists or objects around it.
    Deepen(u8),
    Text(Index),
}

pub(crate) fn edits() -> impl Strategy<Value = Vec<NodeEdit>> {
    let change = prop_oneof![
        4 => any::<Index>().prop_map(Change::Replace),
        2 => Just(Change::Remove),
        2 => Just(Change::Double),
        2 => any::<Index>().prop_map(Change::Rename),
        1 => any::<bool>().prop_map(Change::Wrap),
        2 => any::<Index>().prop_map(Change::CopyOf),
        1 => (1u8..110).prop_map(Change::Deepen),
        2 => any::<Index>().prop_map(Change::Text),
    ];
    let edit = (any::<Index>(), change).prop_map(|(at, change)| NodeEdit { at, change });
    prop::collection::vec(edit, 0..6)
}

/// Changes the bytes if they are JSON.
pub(crate) fn apply(bytes: &mut Vec<u8>, edits: &[NodeEdit], tokens: &[&str]) {
    if edits.is_empty() {
        return;
    }
    let Ok(mut tree) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    for edit in edits {
        let mut left = edit.at.index(count(&tree));
        if let Change::CopyOf(from) = &edit.change {
            let copy = nth(&tree, &mut from.index(count(&tree))).cloned();
            change_nth(&mut tree, &mut left, &mut |slot| {
                slot.set(copy.clone().unwrap_or_default());
            });
        } else {
            change_nth(&mut tree, &mut left, &mut |slot| {
                slot.change(&edit.change, tokens)
            });
        }
    }
    *bytes = tree.to_string().into_bytes();
}

fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!(-0.0),
        json!(1e300),
        json!(""),
        json!("x"),
        json!("25%"),
        json!("1e400"),
        json!("9999-12-31T23:59:59-23:59"),
        json!("0000-00-00T00:00:00Z"),
        json!("\u{0}\u{2028}\u{10ffff}<&>"),
        json!([]),
        json!({}),
        json!([null]),
        json!([[]]),
        json!({"": null}),
        json!({"$patch": "delete"}),
        json!([{"$patch": "replace"}]),
    ]
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

fn nth<'a>(value: &'a Value, left: &mut usize) -> Option<&'a Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter().find_map(|item| nth(item, left)),
        Value::Object(fields) => fields.values().find_map(|field| nth(field, left)),
        _ => None,
    }
}

/// A node and what holds it.
enum Slot<'a> {
    Top(&'a mut Value),
    Item(&'a mut Vec<Value>, usize),
    Field(&'a mut Map<String, Value>, String),
}

impl Slot<'_> {
    fn get(&mut self) -> Option<&mut Value> {
        match self {
            Self::Top(value) => Some(value),
            Self::Item(items, at) => items.get_mut(*at),
            Self::Field(fields, key) => fields.get_mut(key),
        }
    }

    fn set(&mut self, value: Value) {
        if let Some(slot) = self.get() {
            *slot = value;
        }
    }

    fn change(&mut self, change: &Change, tokens: &[&str]) {
        let Some(old) = self.get().map(|value| value.clone()) else {
            return;
        };
        match (change, &mut *self) {
            (Change::Replace(with), _) => self.set(with.get(&values()).clone()),
            (Change::Text(token), _) if !tokens.is_empty() => self.set(json!(token.get(tokens))),
            (Change::Remove, Slot::Item(items, at)) => drop(items.remove(*at)),
            (Change::Remove, Slot::Field(fields, key)) => drop(fields.remove(key)),
            (Change::Double, Slot::Item(items, at)) => items.insert(*at + 1, old),
            (Change::Double, Slot::Field(fields, key)) => {
                fields.insert(format!("{key}2"), old);
            }
            (Change::Rename(token), Slot::Field(fields, key)) if !tokens.is_empty() => {
                fields.remove(key);
                fields.insert((*token.get(tokens)).to_owned(), old);
            }
            (Change::Wrap(true), _) => self.set(json!([old])),
            (Change::Wrap(false), _) => self.set(json!({"x": old})),
            (Change::Deepen(levels), _) => {
                let deep = (0..*levels).fold(old, |inner, level| match levels % 3 {
                    0 => json!([inner]),
                    1 => json!({"a": inner}),
                    _ if level % 2 == 0 => json!({"properties": inner}),
                    _ => json!([inner, null]),
                });
                self.set(deep);
            }
            _ => {}
        }
    }
}

fn change_nth(value: &mut Value, left: &mut usize, change: &mut dyn FnMut(&mut Slot<'_>)) {
    if *left == 0 {
        change(&mut Slot::Top(value));
    } else {
        *left -= 1;
        below(value, left, change);
    }
}

/// Whether the node was found.
fn below(value: &mut Value, left: &mut usize, change: &mut dyn FnMut(&mut Slot<'_>)) -> bool {
    match value {
        Value::Array(items) => {
            for at in 0..items.len() {
                if *left == 0 {
                    change(&mut Slot::Item(items, at));
                    return true;
                }
                *left -= 1;
                if below(&mut items[at], left, change) {
                    return true;
                }
            }
        }
        Value::Object(fields) => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            for key in keys {
                if *left == 0 {
                    change(&mut Slot::Field(fields, key));
                    return true;
                }
                *left -= 1;
                if fields
                    .get_mut(&key)
                    .is_some_and(|field| below(field, left, change))
                {
                    return true;
                }
            }
        }
        _ => {}
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_reached_once() {
        let tree = json!({"a": [1, {"b": 2}], "c": {}});
        assert_eq!(count(&tree), 6);
        let mut seen = Vec::new();
        for at in 0..count(&tree) {
            let mut copy = tree.clone();
            change_nth(&mut copy, &mut { at }, &mut |slot| slot.set(json!("X")));
            assert_ne!(copy, tree);
            assert!(!seen.contains(&copy), "{copy}");
            assert_eq!(nth(&copy, &mut { at }), Some(&json!("X")));
            seen.push(copy);
        }
    }
}
