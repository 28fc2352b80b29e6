//! JSON merge patch (RFC 7386). Upstream: evanphx/json-patch v4, merge.go.

use serde_json::{Map, Value};

/// Why a merge patch cannot be applied or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The document to patch is not JSON, or is null.
    #[error("Invalid JSON Document")]
    BadDocument,
    /// The patch is not JSON, or is neither an object nor an array.
    #[error("Invalid JSON Patch")]
    BadPatch,
}

/// Applies a patch to a document.
///
/// An array in place of the patch replaces the document, and a document that is not an object is replaced, as upstream
/// has it; whoever decodes the result refuses what is not an object.
pub fn apply(document: Value, patch: Value) -> Result<Value, Error> {
    match (document, patch) {
        (Value::Null, _) => Err(Error::BadDocument),
        (Value::Object(mut document), Value::Object(patch)) => {
            merge_objects(&mut document, patch);
            Ok(Value::Object(document))
        }
        (_, patch @ (Value::Object(_) | Value::Array(_))) => Ok(without_nulls(patch)),
        _ => Err(Error::BadPatch),
    }
}

/// Applies a patch to a document, both as JSON text.
pub fn apply_bytes(document: &[u8], patch: &[u8]) -> Result<Value, Error> {
    let document = serde_json::from_slice(document).map_err(|_| Error::BadDocument)?;
    let patch = serde_json::from_slice(patch).map_err(|_| Error::BadPatch)?;
    apply(document, patch)
}

fn merge_objects(document: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        match (document.get_mut(&key), value) {
            (_, Value::Null) => {
                document.remove(&key);
            }
            (Some(Value::Object(current)), Value::Object(changes)) => {
                merge_objects(current, changes)
            }
            // Where the old value is an object and the new one is not, nulls in the new one stay, as upstream.
            (Some(current @ Value::Object(_)), value) => *current = value,
            (_, value) => {
                document.insert(key, without_nulls(value));
            }
        }
    }
}

/// The value without null fields of objects, at any depth. Null items of arrays stay.
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
