//! Two values, field by field.

use serde_json::Value;

/// One field that differs. A side without the field has `None`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    /// `body.spec.containers[0].name`, `status`, `header.warning`.
    pub path: String,
    pub left: Option<Value>,
    pub right: Option<Value>,
}

/// Appends what differs below `path`.
pub(crate) fn diff(path: &str, left: &Value, right: &Value, out: &mut Vec<Difference>) {
    match (left, right) {
        (Value::Object(lefts), Value::Object(rights)) => {
            if lefts.contains_key("object") && lefts.get("type") != rights.get("type") {
                // Events of different types have nothing in common.
                out.push(difference(path.to_owned(), Some(left), Some(right)));
                return;
            }
            for (key, left) in lefts {
                let path = format!("{path}.{key}");
                match rights.get(key) {
                    Some(right) => diff(&path, left, right, out),
                    None => out.push(difference(path, Some(left), None)),
                }
            }
            for (key, right) in rights.iter().filter(|(key, _)| !lefts.contains_key(*key)) {
                out.push(difference(format!("{path}.{key}"), None, Some(right)));
            }
        }
        (Value::Array(lefts), Value::Array(rights)) => lists(path, lefts, rights, out),
        _ if left == right => {}
        _ => out.push(difference(path.to_owned(), Some(left), Some(right))),
    }
}

/// Lists: by name where items have one, scalars as what only one side has, else by position.
fn lists(path: &str, lefts: &[Value], rights: &[Value], out: &mut Vec<Difference>) {
    if lefts == rights {
        return;
    }
    let whole = |items: &[Value]| Value::Array(items.to_vec());
    let (only_left, only_right) = (without(lefts, rights), without(rights, lefts));
    if only_left.is_empty() && only_right.is_empty() && lefts.len() == rights.len() {
        let path = format!("{path}(order)");
        out.push(difference(path, Some(&whole(lefts)), Some(&whole(rights))));
        return;
    }
    let is_scalar = |item: &Value| !item.is_object() && !item.is_array();
    if lefts.iter().chain(rights).all(is_scalar) {
        let path = format!("{path}(only)");
        out.push(difference(
            path,
            Some(&whole(&only_left)),
            Some(&whole(&only_right)),
        ));
        return;
    }
    if let (Some(lefts), Some(rights)) = (named(lefts), named(rights)) {
        for (name, left) in &lefts {
            let path = format!("{path}[{name}]");
            match rights.iter().find(|(other, _)| other == name) {
                Some((_, right)) => diff(&path, left, right, out),
                None => out.push(difference(path, Some(left), None)),
            }
        }
        for (name, right) in &rights {
            if !lefts.iter().any(|(other, _)| other == name) {
                out.push(difference(format!("{path}[{name}]"), None, Some(right)));
            }
        }
        return;
    }
    for index in 0..lefts.len().max(rights.len()) {
        let path = format!("{path}[{index}]");
        match (lefts.get(index), rights.get(index)) {
            (Some(left), Some(right)) => diff(&path, left, right, out),
            (left, right) => out.push(difference(path, left, right)),
        }
    }
}

/// The items of one list that another lacks, repeated ones as often as they are more.
fn without(items: &[Value], others: &[Value]) -> Vec<Value> {
    let mut rest: Vec<&Value> = others.iter().collect();
    items
        .iter()
        .filter(|item| match rest.iter().position(|other| other == item) {
            Some(found) => {
                rest.swap_remove(found);
                false
            }
            None => true,
        })
        .cloned()
        .collect()
}

/// What tells the items of the API's lists apart.
const NAMES: &[&[&str]] = &[
    &["/metadata/namespace", "/metadata/name"],
    &["/manager", "/operation", "/subresource"],
    &["/name"],
    &["/type", "/message"],
    &["/groupVersion"],
    &["/resource"],
    &["/subresource"],
    &["/version"],
];

/// The items with their names, when all have one and no two the same.
fn named(items: &[Value]) -> Option<Vec<(String, &Value)>> {
    NAMES.iter().find_map(|pointers| {
        let mut found: Vec<(String, &Value)> = Vec::with_capacity(items.len());
        for item in items {
            if item.get("object").is_some() {
                // Events and rows: their order is what they are about.
                return None;
            }
            let parts: Vec<&str> = pointers
                .iter()
                .filter_map(|pointer| item.pointer(pointer)?.as_str())
                .collect();
            let name = parts.join("/");
            if name.is_empty() || found.iter().any(|(other, _)| *other == name) {
                return None;
            }
            found.push((name, item));
        }
        Some(found)
    })
}

fn difference(path: String, left: Option<&Value>, right: Option<&Value>) -> Difference {
    Difference {
        path,
        left: left.cloned(),
        right: right.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(left: Value, right: Value, expected: &[(&str, Option<Value>, Option<Value>)]) {
        let mut found = Vec::new();
        diff("body", &left, &right, &mut found);
        let expected: Vec<Difference> = expected
            .iter()
            .map(|(path, left, right)| {
                difference((*path).to_owned(), left.as_ref(), right.as_ref())
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn fields() {
        check(json!({"a": 1}), json!({"a": 1}), &[]);
        check(
            json!({"a": 1, "b": {"c": 1}}),
            json!({"a": 2, "b": {"d": 1}}),
            &[
                ("body.a", Some(json!(1)), Some(json!(2))),
                ("body.b.c", Some(json!(1)), None),
                ("body.b.d", None, Some(json!(1))),
            ],
        );
        check(
            json!([1, 2]),
            json!([1, 3]),
            &[("body(only)", Some(json!([2])), Some(json!([3])))],
        );
        check(
            json!([[1], [2]]),
            json!([[1]]),
            &[("body[1]", Some(json!([2])), None)],
        );
        check(
            json!([{"name": "a", "b": 1}, {"name": "c"}]),
            json!([{"name": "c"}, {"name": "a", "b": 2}]),
            &[("body[a].b", Some(json!(1)), Some(json!(2)))],
        );
        check(
            json!([{"type": "ERROR", "object": {"code": 1}}]),
            json!([{"type": "ADDED", "object": {"code": 2}}]),
            &[(
                "body[0]",
                Some(json!({"type": "ERROR", "object": {"code": 1}})),
                Some(json!({"type": "ADDED", "object": {"code": 2}})),
            )],
        );
        check(
            json!([1, 2]),
            json!([2, 1]),
            &[("body(order)", Some(json!([1, 2])), Some(json!([2, 1])))],
        );
        check(
            json!("1"),
            json!(1),
            &[("body", Some(json!("1")), Some(json!(1)))],
        );
    }
}
