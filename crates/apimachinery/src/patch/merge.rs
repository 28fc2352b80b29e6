//! JSON merge patch (RFC 7386). Upstream: evanphx/json-patch v4, merge.go.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::lazy::Node;

/// Why a merge patch cannot be applied or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The document to patch is not JSON, is null, or nests too deeply.
    #[error("Invalid JSON Document")]
    BadDocument,
    /// The patch is not JSON, is neither an object nor an array, or nests too deeply.
    #[error("Invalid JSON Patch")]
    BadPatch,
}

/// Applies a patch to a document.
///
/// An array in place of the patch replaces the document, and a document that is not an object is replaced, as upstream
/// has it; whoever decodes the result refuses what is not an object.
pub fn apply(document: Value, patch: Value) -> Result<Value, Error> {
    let merged = apply_bytes(
        document.to_string().as_bytes(),
        patch.to_string().as_bytes(),
    )?;
    serde_json::from_slice(&merged).map_err(|_| Error::BadDocument)
}

/// Applies a patch to a document, both as JSON text. Objects that the patch does not go into keep the order of their keys.
pub fn apply_bytes(document: &[u8], patch: &[u8]) -> Result<Vec<u8>, Error> {
    let mut document = Node::parse(document).ok_or(Error::BadDocument)?;
    let mut patch = Node::parse(patch).ok_or(Error::BadPatch)?;
    if document.is_null() {
        return Err(Error::BadDocument);
    }
    if !patch.is_object() && !patch.is_array() {
        return Err(Error::BadPatch);
    }
    match (document.open_object(), patch.open_object()) {
        (Some(fields), Some(changes)) => {
            merge_objects(fields, std::mem::take(changes));
            Ok(document.to_text())
        }
        _ => Ok(without_nulls(patch).to_text()),
    }
}

fn merge_objects(document: &mut BTreeMap<String, Node>, patch: BTreeMap<String, Node>) {
    for (key, mut value) in patch {
        if value.is_null() {
            document.remove(&key);
            continue;
        }
        match document.get_mut(&key).and_then(Node::open_object) {
            Some(current) => match value.open_object() {
                Some(changes) => merge_objects(current, std::mem::take(changes)),
                // Where the old value is an object and the new one is not, nulls in the new one stay, as upstream.
                None => {
                    document.insert(key, value);
                }
            },
            None => {
                document.insert(key, without_nulls(value));
            }
        }
    }
}

/// The value without null fields of objects, at any depth. Null items of arrays stay.
fn without_nulls(mut value: Node) -> Node {
    if let Some(fields) = value.open_object() {
        let kept = std::mem::take(fields).into_iter();
        let kept = kept.filter(|(_, value)| !value.is_null());
        Node::Object(
            kept.map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        )
    } else if let Some(items) = value.open_array() {
        Node::Array(
            std::mem::take(items)
                .into_iter()
                .map(without_nulls)
                .collect(),
        )
    } else {
        value
    }
}

/// The patch that makes `modified` of `original`; both are objects. `None` if they are equal.
pub fn create(
    original: &Map<String, Value>,
    modified: &Map<String, Value>,
) -> Option<Map<String, Value>> {
    let mut patch = Map::new();
    for (key, new) in modified {
        match (original.get(key), new) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                if let Some(changes) = create(old, new) {
                    patch.insert(key.clone(), Value::Object(changes));
                }
            }
            (_, new) => {
                patch.insert(key.clone(), new.clone());
            }
        }
    }
    for key in original.keys().filter(|key| !modified.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Patches come from clients: merging must not need a stack as deep as they are.
    #[test]
    fn deep_patches_are_refused() {
        let nested = |levels: usize| "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
        assert!(apply_bytes(b"{}", nested(256).as_bytes()).is_ok());
        let deep = nested(100_000);
        assert_eq!(apply_bytes(b"{}", deep.as_bytes()), Err(Error::BadPatch));
        assert_eq!(apply_bytes(deep.as_bytes(), b"{}"), Err(Error::BadDocument));
    }

    #[test]
    fn rfc_7386_examples() {
        let cases = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
            (
                json!({"a":1}),
                json!({"a":{"b":null,"c":[null,{"d":null}]}}),
                json!({"a":{"c":[null,{}]}}),
            ),
        ];
        for (document, patch, want) in cases {
            assert_eq!(
                apply(document.clone(), patch.clone()),
                Ok(want),
                "{document} {patch}"
            );
        }
        assert_eq!(apply(json!(null), json!({})), Err(Error::BadDocument));
        assert_eq!(apply(json!({}), json!(null)), Err(Error::BadPatch));
        assert_eq!(apply(json!({}), json!("x")), Err(Error::BadPatch));
        assert_eq!(apply_bytes(b"{}", b"{"), Err(Error::BadPatch));
        assert_eq!(apply_bytes(b"{", b"{}"), Err(Error::BadDocument));
    }

    #[test]
    fn what_a_patch_leaves_alone_keeps_its_order() {
        let merged = apply_bytes(
            br#"{"z":{"b":1,"a":2},"y":{"d":1,"c":{"f":1,"e":2}},"x":1}"#,
            br#"{"y":{"d":{"h":1,"g":null,"a":1}},"w":"<"}"#,
        );
        assert_eq!(
            String::from_utf8(merged.unwrap()).unwrap(),
            r#"{"w":"\u003c","x":1,"y":{"c":{"f":1,"e":2},"d":{"a":1,"h":1}},"z":{"b":1,"a":2}}"#
        );
    }

    proptest! {
        #[test]
        fn created_patches_apply(
            old in crate::patch::json::tests::any_object(false),
            new in crate::patch::json::tests::any_object(false),
        ) {
            let (Value::Object(old), Value::Object(new)) = (old, new) else { unreachable!("both are objects") };
            let patch = create(&old, &new);
            prop_assert_eq!(patch.is_none(), old == new);
            let patched = apply(Value::Object(old), Value::Object(patch.unwrap_or_default()));
            prop_assert_eq!(patched, Ok(Value::Object(new)));
        }
    }
}
