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
        (Value::Array(lefts), Value::Array(rights)) => {
            if lefts.len() == rights.len() && same_in_another_order(lefts, rights) {
                out.push(difference(
                    format!("{path}(order)"),
                    Some(left),
                    Some(right),
                ));
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
        _ if left == right => {}
        _ => out.push(difference(path.to_owned(), Some(left), Some(right))),
    }
}

fn difference(path: String, left: Option<&Value>, right: Option<&Value>) -> Difference {
    Difference {
        path,
        left: left.cloned(),
        right: right.cloned(),
    }
}

fn same_in_another_order(lefts: &[Value], rights: &[Value]) -> bool {
    if lefts == rights {
        return false;
    }
    let mut rest: Vec<&Value> = rights.iter().collect();
    lefts.iter().all(|left| {
        rest.iter()
            .position(|right| *right == left)
            .map(|found| rest.swap_remove(found))
            .is_some()
    })
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
            json!([1]),
            &[("body[1]", Some(json!(2)), None)],
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
