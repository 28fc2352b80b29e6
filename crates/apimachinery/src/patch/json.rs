//! JSON patch (RFC 6902). Upstream: evanphx/json-patch v4, patch.go.
//!
//! Where that library is laxer than the standard, so are we: negative indices count from the end, `replace` of an absent
//! key adds it, `test` of an absent key holds against null, `copy` of an absent key copies null. It is stricter in one
//! way: the whole document can be replaced and tested, not added or removed.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::lazy::{MAX_DEPTH, Node};

/// Most operations that an API server accepts in one patch.
pub const MAX_OPERATIONS: usize = 10_000;

/// Most bytes that the `copy` operations of one patch may add together, as an API server sets it.
pub const MAX_COPY_BYTES: usize = 3 * 1024 * 1024;

/// Why a patch does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// Text that is not a JSON patch.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is not JSON, or not an array of objects.
    #[error("error decoding patch: {0}")]
    Json(#[from] serde_json::Error),
}

/// Operations to apply in order. They are checked when applied, not when parsed, as upstream.
#[derive(Debug, Clone, Default)]
pub struct Patch(Vec<BTreeMap<String, Box<RawValue>>>);

impl Patch {
    /// Parses the text of a patch: an array of operations, or null for none.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let operations: Option<Vec<Option<BTreeMap<String, Box<RawValue>>>>> =
            serde_json::from_slice(text)?;
        Ok(Self(
            operations
                .unwrap_or_default()
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect(),
        ))
    }

    /// How many operations there are. Callers refuse more than [`MAX_OPERATIONS`].
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no operations.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The document with all operations applied, or why one of them does not apply. Both are JSON text; objects that no
    /// operation goes into keep the order of their keys.
    pub fn apply(&self, document: &[u8]) -> Result<Vec<u8>, Error> {
        let mut document = Node::parse(document)
            .filter(|document| document.is_object() || document.is_array())
            .ok_or_else(|| {
                Error("the document to patch must be a JSON object or array".to_owned())
            })?;
        let mut copied = 0;
        for operation in &self.0 {
            apply_operation(&mut document, operation, &mut copied)?;
        }
        Ok(document.to_text())
    }
}

const MISSING: &str = "missing value";
const BAD_INDEX: &str = "invalid index referenced";

fn apply_operation(
    document: &mut Node,
    operation: &BTreeMap<String, Box<RawValue>>,
    copied: &mut usize,
) -> Result<(), Error> {
    let text = |field: &str| -> Option<Value> {
        let text = operation.get(field)?;
        serde_json::from_str(text.get()).ok()
    };
    let kind = match text("op") {
        Some(Value::String(kind)) => kind,
        _ => "unknown".to_owned(),
    };
    let kind = kind.as_str();
    let value = || {
        let value = operation.get("value");
        value.map_or_else(Node::null, |value| Node::Text(value.clone()))
    };
    let pointer = |field: &str| -> Result<String, Error> {
        let failed = |cause: &str| {
            Error(format!(
                "{kind} operation failed to decode {field}: {cause}"
            ))
        };
        match text(field) {
            Some(Value::String(text)) => Ok(text),
            Some(Value::Null) | None => Err(failed(&format!(
                "operation missing {field} field: {MISSING}"
            ))),
            Some(other) => Err(failed(&format!("{other} is not a string"))),
        }
    };
    let no_parent = |what: &str, path: &str| {
        // Only these two quote it.
        let path = match kind {
            "add" | "remove" => format!("\"{path}\""),
            _ => path.to_owned(),
        };
        Error(format!(
            "{kind} operation does not apply: doc is missing {what}: {path}: {MISSING}"
        ))
    };
    match kind {
        "add" => {
            let path = &pointer("path")?;
            let (parent, key) = find(document, path).ok_or_else(|| no_parent("path", path))?;
            let value = value();
            check_depth(path, &value)?;
            parent
                .add(key, value)
                .map_err(|error| Error(format!("error in add for path: '{path}': {error}")))
        }
        "remove" => {
            let path = &pointer("path")?;
            let (parent, key) = find(document, path).ok_or_else(|| no_parent("path", path))?;
            parent
                .remove(&key)
                .map_err(|error| Error(format!("error in remove for path: '{path}': {error}")))?;
            Ok(())
        }
        "replace" => {
            let path = &pointer("path")?;
            let value = value();
            check_depth(path, &value)?;
            if path.is_empty() {
                if !value.is_object() && !value.is_array() {
                    return Err(Error(
                        "replace operation value must be object or array".to_owned(),
                    ));
                }
                *document = value;
                return Ok(());
            }
            let (parent, key) = find(document, path).ok_or_else(|| no_parent("path", path))?;
            parent.replace(key, value).map_err(|_| {
                Error(format!(
                    "replace operation does not apply: doc is missing key: {path}: {MISSING}"
                ))
            })
        }
        "move" => {
            let from = &pointer("from")?;
            let (parent, key) = find(document, from).ok_or_else(|| no_parent("from path", from))?;
            let value = parent
                .remove(&key)
                .map_err(|error| Error(format!("error in move for path: '{key}': {error}")))?;
            let path = &pointer("path")?;
            check_depth(path, &value)?;
            let (parent, key) =
                find(document, path).ok_or_else(|| no_parent("destination path", path))?;
            parent
                .add(key, value)
                .map_err(|error| Error(format!("error in move for path: '{path}': {error}")))
        }
        "test" => {
            let path = &pointer("path")?;
            let want = value().value();
            let got = if path.is_empty() {
                document.value()
            } else {
                let (parent, key) = find(document, path).ok_or_else(|| {
                    Error(format!(
                        "test operation does not apply: is missing path: {path}: {MISSING}"
                    ))
                })?;
                parent
                    .get(&key)
                    .map_err(|error| Error(format!("error in test for path: '{path}': {error}")))?
                    .value()
            };
            if got == want {
                Ok(())
            } else {
                Err(Error(format!("testing value {path} failed: test failed")))
            }
        }
        "copy" => {
            let from = &pointer("from")?;
            let (parent, key) = find(document, from).ok_or_else(|| no_parent("from path", from))?;
            let value = parent
                .get(&key)
                .map_err(|error| Error(format!("error in copy for from: '{from}': {error}")))?;
            let path = &pointer("path")?;
            check_depth(path, &value)?;
            let (parent, key) =
                find(document, path).ok_or_else(|| no_parent("destination path", path))?;
            // Copying a value into itself over and over would otherwise fill the memory.
            *copied += value.to_text().len();
            if *copied > MAX_COPY_BYTES {
                return Err(Error(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit \
                     {MAX_COPY_BYTES}"
                )));
            }
            parent
                .add(key, value)
                .map_err(|error| Error(format!("error while adding value during copy: {error}")))
        }
        kind => Err(Error(format!("Unexpected kind: {kind}"))),
    }
}

/// Fails if the document would nest too deeply with the value there: step by step, operations could build a document whose
/// mere end overflows the stack.
fn check_depth(path: &str, value: &Node) -> Result<(), Error> {
    if path.matches('/').count() + value.depth() > MAX_DEPTH {
        return Err(Error("exceeded max depth".to_owned()));
    }
    Ok(())
}

/// The object or array that a pointer's last part is in.
enum Container<'a> {
    Object(&'a mut BTreeMap<String, Node>),
    Array(&'a mut Vec<Node>),
}

fn find<'a>(document: &'a mut Node, pointer: &str) -> Option<(Container<'a>, String)> {
    let (parents, key) = pointer.rsplit_once('/')?;
    let mut current = open(document)?;
    for part in parents.split('/').skip(1) {
        let key = unescape(part);
        current = open(match current {
            Container::Object(fields) => fields.get_mut(&key)?,
            Container::Array(items) => {
                let index = index_of(&key, items.len()).ok()?;
                items.get_mut(index)?
            }
        })?;
    }
    Some((current, unescape(key)))
}

fn open(node: &mut Node) -> Option<Container<'_>> {
    if node.is_object() {
        node.open_object().map(Container::Object)
    } else {
        node.open_array().map(Container::Array)
    }
}

/// `~1` is a slash and `~0` a tilde, read once from the left.
fn unescape(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    let mut rest = part;
    while let Some(at) = rest.find('~') {
        out.push_str(&rest[..at]);
        let (text, length) = match rest.as_bytes().get(at + 1) {
            Some(b'1') => ("/", 2),
            Some(b'0') => ("~", 2),
            _ => ("~", 1),
        };
        out.push_str(text);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    out
}

/// The position that an index means in an array of that length; the length itself is not checked.
fn index_of(key: &str, length: usize) -> Result<usize, String> {
    let index: i64 = key
        .parse()
        .map_err(|_| format!("value was not a proper array index: '{key}'"))?;
    let position = if index < 0 {
        index + length as i64
    } else {
        index
    };
    usize::try_from(position)
        .map_err(|_| format!("Unable to access invalid index: {index}: {BAD_INDEX}"))
}

impl Container<'_> {
    fn get(self, key: &str) -> Result<Node, String> {
        match self {
            Self::Object(fields) => Ok(fields.get(key).cloned().unwrap_or_else(Node::null)),
            Self::Array(items) => {
                let index = index_of(key, items.len())?;
                items
                    .get(index)
                    .cloned()
                    .ok_or_else(|| format!("Unable to access invalid index: {key}: {BAD_INDEX}"))
            }
        }
    }

    fn add(self, key: String, value: Node) -> Result<(), String> {
        match self {
            Self::Object(fields) => {
                fields.insert(key, value);
            }
            Self::Array(items) if key == "-" => items.push(value),
            Self::Array(items) => {
                // A negative index counts from behind the new end, so that -1 appends.
                let index = index_of(&key, items.len() + 1)?;
                if index > items.len() {
                    return Err(format!(
                        "Unable to access invalid index: {key}: {BAD_INDEX}"
                    ));
                }
                items.insert(index, value);
            }
        }
        Ok(())
    }

    fn replace(self, key: String, value: Node) -> Result<(), String> {
        match self {
            Self::Object(fields) => {
                fields.insert(key, value);
            }
            Self::Array(items) => {
                let index = index_of(&key, items.len())?;
                *items.get_mut(index).ok_or_else(|| BAD_INDEX.to_owned())? = value;
            }
        }
        Ok(())
    }

    fn remove(self, key: &str) -> Result<Node, String> {
        match self {
            Self::Object(fields) => fields
                .remove(key)
                .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}")),
            Self::Array(items) => {
                let index = index_of(key, items.len())?;
                if index >= items.len() {
                    return Err(format!(
                        "Unable to access invalid index: {key}: {BAD_INDEX}"
                    ));
                }
                Ok(items.remove(index))
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[track_caller]
    fn check(document: Value, patch: Value, want: Result<Value, &str>) {
        let patch = Patch::parse(patch.to_string().as_bytes()).expect("patch");
        let got = patch.apply(document.to_string().as_bytes());
        let got = got.map(|text| serde_json::from_slice(&text).expect("JSON"));
        assert_eq!(
            got.map_err(|error| error.to_string()),
            want.map_err(str::to_owned)
        );
    }

    /// Patches come from clients: no operation may nest the document deeper than a stack holds.
    #[test]
    fn documents_stay_shallow() {
        let apply = |patch: &str| Patch::parse(patch.as_bytes()).unwrap().apply(b"{}");
        let too_deep = Err(Error("exceeded max depth".to_owned()));
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for op in ["add", "replace"] {
            let patch = format!(r#"[{{"op":"{op}","path":"/a","value":{deep}}}]"#);
            assert_eq!(apply(&patch), too_deep);
        }
        // One level deeper each time.
        let round = r#"{"op":"add","path":"/b","value":{}},{"op":"move","from":"/a","path":"/b/a"},
            {"op":"move","from":"/b","path":"/a"},"#;
        let rounds = |count: usize| {
            let start = r#"{"op":"add","path":"/a","value":{}},"#;
            apply(&format!(
                r#"[{start}{}{{"op":"test","path":"/x"}}]"#,
                round.repeat(count)
            ))
        };
        assert!(rounds(200).is_ok());
        assert_eq!(rounds(3000), too_deep);
        let path = "/a".repeat(300_000);
        assert!(apply(&format!(r#"[{{"op":"remove","path":"{path}"}}]"#)).is_err());
    }

    #[test]
    fn operations() {
        check(
            json!({"foo":"bar"}),
            json!([{"op":"add","path":"/baz","value":"qux"}]),
            Ok(json!({"foo":"bar","baz":"qux"})),
        );
        check(
            json!({"foo":["bar","baz"]}),
            json!([{"op":"add","path":"/foo/1","value":"qux"}]),
            Ok(json!({"foo":["bar","qux","baz"]})),
        );
        check(
            json!({"foo":["bar"]}),
            json!([{"op":"add","path":"/foo/-1","value":"qux"}]),
            Ok(json!({"foo":["bar","qux"]})),
        );
        check(
            json!({"foo":["bar"]}),
            json!([{"op":"add","path":"/foo/-","value":1}]),
            Ok(json!({"foo":["bar",1]})),
        );
        check(
            json!({"a":1,"b":2}),
            json!([{"op":"remove","path":"/a"}]),
            Ok(json!({"b":2})),
        );
        check(
            json!({"a":[1,2,3]}),
            json!([{"op":"remove","path":"/a/-1"}]),
            Ok(json!({"a":[1,2]})),
        );
        check(
            json!({"a":1}),
            json!([{"op":"replace","path":"/b","value":2}]),
            Ok(json!({"a":1,"b":2})),
        );
        check(
            json!({"a":[1,2]}),
            json!([{"op":"replace","path":"/a/-2","value":5}]),
            Ok(json!({"a":[5,2]})),
        );
        check(
            json!({"a":1}),
            json!([{"op":"replace","path":"","value":{"b":1}}]),
            Ok(json!({"b":1})),
        );
        check(
            json!({"a":{"b":1,"c":2},"d":{}}),
            json!([{"op":"move","from":"/a/b","path":"/d/b"}]),
            Ok(json!({"a":{"c":2},"d":{"b":1}})),
        );
        check(
            json!({"a":[1]}),
            json!([{"op":"copy","from":"/a/0","path":"/b"}]),
            Ok(json!({"a":[1],"b":1})),
        );
        check(
            json!({"a":1}),
            json!([{"op":"copy","from":"/x","path":"/b"}]),
            Ok(json!({"a":1,"b":null})),
        );
        check(
            json!({"a/b":{"~1":1}}),
            json!([{"op":"remove","path":"/a~1b/~01"}]),
            Ok(json!({"a/b":{}})),
        );
        check(
            json!({"a":1}),
            json!([{"op":"add","path":"/b"}]),
            Ok(json!({"a":1,"b":null})),
        );
        check(
            json!([1, 2]),
            json!([{"op":"remove","path":"/0"}]),
            Ok(json!([2])),
        );
        check(json!({"a":1}), json!(null), Ok(json!({"a":1})));
    }

    #[test]
    fn tests_of_values() {
        check(
            json!({"a":{"b":[1,"x"]}}),
            json!([{"op":"test","path":"/a","value":{"b":[1,"x"]}}]),
            Ok(json!({"a":{"b":[1,"x"]}})),
        );
        check(
            json!({"a":1}),
            json!([{"op":"test","path":"","value":{"a":1}}]),
            Ok(json!({"a":1})),
        );
        check(
            json!({"a":null}),
            json!([{"op":"test","path":"/a","value":null}]),
            Ok(json!({"a":null})),
        );
        check(json!({}), json!([{"op":"test","path":"/a"}]), Ok(json!({})));
        check(
            json!({"a":1}),
            json!([{"op":"test","path":"/a","value":2}]),
            Err("testing value /a failed: test failed"),
        );
        check(
            json!({}),
            json!([{"op":"test","path":"/a","value":2}]),
            Err("testing value /a failed: test failed"),
        );
        check(
            json!({}),
            json!([{"op":"test","path":"/a/b","value":2}]),
            Err("test operation does not apply: is missing path: /a/b: missing value"),
        );
    }

    #[test]
    fn failures() {
        check(
            json!({"foo":"bar"}),
            json!([{"op":"add","path":"/baz/bat","value":"qux"}]),
            Err("add operation does not apply: doc is missing path: \"/baz/bat\": missing value"),
        );
        check(
            json!({"a":1}),
            json!([{"op":"add","path":"/a/b","value":1}]),
            Err("add operation does not apply: doc is missing path: \"/a/b\": missing value"),
        );
        check(
            json!({"a":[]}),
            json!([{"op":"add","path":"/a/1","value":1}]),
            Err(
                "error in add for path: '/a/1': Unable to access invalid index: 1: invalid index referenced",
            ),
        );
        check(
            json!({"a":[]}),
            json!([{"op":"add","path":"/a/-2","value":1}]),
            Err(
                "error in add for path: '/a/-2': Unable to access invalid index: -2: invalid index referenced",
            ),
        );
        check(
            json!({}),
            json!([{"op":"remove","path":"/a"}]),
            Err(
                "error in remove for path: '/a': Unable to remove nonexistent key: a: missing value",
            ),
        );
        check(
            json!({"a":[]}),
            json!([{"op":"replace","path":"/a/0","value":1}]),
            Err("replace operation does not apply: doc is missing key: /a/0: missing value"),
        );
        check(
            json!({}),
            json!([{"op":"add","path":"","value":{}}]),
            Err("add operation does not apply: doc is missing path: \"\": missing value"),
        );
        check(
            json!({}),
            json!([{"op":"frob","path":"/a"}]),
            Err("Unexpected kind: frob"),
        );
        check(json!({}), json!([null]), Err("Unexpected kind: unknown"));
        Patch::parse(b"{}").expect_err("an object is no patch");
        Patch::parse(b"[1]").expect_err("a number is no operation");
    }

    #[test]
    fn what_no_operation_goes_into_keeps_its_order() {
        let patch = br#"[{"op":"add","path":"/y/e","value":{"b":1,"a":2}}]"#;
        let patched = Patch::parse(patch)
            .expect("patch")
            .apply(br#"{"z":{"b":1,"a":2},"y":{"d":1,"c":2}}"#);
        assert_eq!(
            String::from_utf8(patched.expect("applies")).expect("text"),
            r#"{"y":{"c":2,"d":1,"e":{"b":1,"a":2}},"z":{"b":1,"a":2}}"#
        );
    }

    #[test]
    fn copies_are_bounded() {
        let mut operations = vec![json!({"op":"add","path":"/a","value":["x".repeat(1000)]})];
        operations.extend((0..20).map(|_| json!({"op":"copy","from":"/a","path":"/a/-"})));
        let patch = Patch::parse(Value::from(operations).to_string().as_bytes()).expect("patch");
        let error = patch.apply(b"{}").expect_err("doubles each time");
        assert!(
            error.to_string().starts_with("Unable to complete the copy"),
            "{error}"
        );
    }

    pub(crate) fn any_value(nulls: bool) -> BoxedStrategy<Value> {
        let scalar = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (-3i64..3).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        let leaf = if nulls {
            prop_oneof![4 => scalar, 1 => Just(Value::Null)].boxed()
        } else {
            scalar.boxed()
        };
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
        .boxed()
    }

    pub(crate) fn any_object(nulls: bool) -> BoxedStrategy<Value> {
        prop::collection::btree_map("[a-d]", any_value(nulls), 0..5)
            .prop_map(|m| Value::Object(m.into_iter().collect()))
            .boxed()
    }

    proptest! {
        #[test]
        fn no_patch_panics(
            document in any_object(true),
            operations in prop::collection::vec(
                (
                    prop::sample::select(vec!["add", "remove", "replace", "move", "test", "copy", "x"]),
                    "(/([a-d]|-|-?[0-2]|~[01]?)){0,3}",
                    "(/([a-d]|-|-?[0-2])){0,3}",
                    any_value(true),
                ),
                0..5,
            ),
        ) {
            let operations: Vec<Value> = operations
                .into_iter()
                .map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}))
                .collect();
            let patch = Patch::parse(Value::from(operations).to_string().as_bytes());
            let _ = patch
                .expect("well-formed")
                .apply(document.to_string().as_bytes());
        }
    }
}
