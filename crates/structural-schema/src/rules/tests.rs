//! Cases.

use serde_json::json;

use super::*;
use crate::testing::{schema, texts};

/// What the rules of a property say when it changes from one value to another.
#[track_caller]
fn check(property: Value, old: Option<Value>, new: Value, want: &[&str]) {
    let schema = schema(json!({"type": "object", "properties": {"p": property}}));
    let old = old.map(|old| json!({ "p": old }));
    let new = json!({ "p": new });
    let budget = RUNTIME_BUDGET as i64;
    let outcome = schema.validate_rules(&new, old.as_ref(), &Path::nil(), budget);
    assert_eq!(texts(&outcome.errors), want);
}

fn string(rule: Value) -> Value {
    json!({"type": "string", "x-kubernetes-validations": [rule]})
}

#[test]
fn rules_say_what_they_are_told_to() {
    check(
        string(json!({"rule": "self == 'a'"})),
        None,
        json!("a"),
        &[],
    );
    check(
        string(json!({"rule": "self == 'a'"})),
        None,
        json!("b"),
        &["p: Invalid value: \"b\": failed rule: self == 'a'"],
    );
    check(
        string(
            json!({"rule": "self == 'a'", "message": " not a ", "reason": "FieldValueForbidden"}),
        ),
        None,
        json!("b"),
        &["p: Forbidden: not a"],
    );
    check(
        string(json!({"rule": "self == 'a'", "messageExpression": "self + ' is not a'"})),
        None,
        json!("b"),
        &["p: Invalid value: \"b\": b is not a"],
    );
    // A message with a line break is not used.
    check(
        string(
            json!({"rule": "self == 'a'", "messageExpression": "'x\\ny'", "message": "fall back"}),
        ),
        None,
        json!("b"),
        &["p: Invalid value: \"b\": fall back"],
    );
    check(
        json!({"type": "object", "properties": {"x": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.x > 1", "fieldPath": ".x"}]}),
        None,
        json!({"x": 1}),
        &["p.x: Invalid value: failed rule: self.x > 1"],
    );
    check(
        json!({"type": "object", "properties": {"x": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.x > 1"}]}),
        None,
        json!({}),
        &["p: Invalid value: \"object\": no such key: x evaluating rule: self.x > 1"],
    );
}

#[test]
fn transitions_need_a_value_before() {
    let immutable = string(json!({"rule": "self == oldSelf", "message": "immutable"}));
    check(immutable.clone(), None, json!("a"), &[]);
    check(immutable.clone(), Some(json!("a")), json!("a"), &[]);
    check(
        immutable,
        Some(json!("a")),
        json!("b"),
        &["p: Invalid value: \"b\": immutable"],
    );
    let first =
        string(json!({"rule": "oldSelf.hasValue() || self == 'first'", "optionalOldSelf": true}));
    check(first.clone(), None, json!("first"), &[]);
    check(first.clone(), Some(json!("first")), json!("second"), &[]);
    check(
        first,
        None,
        json!("second"),
        &["p: Invalid value: \"second\": failed rule: oldSelf.hasValue() || self == 'first'"],
    );
}

#[test]
fn what_did_not_change_is_a_warning() {
    let schema = schema(
        json!({"type": "object", "properties": {"p": string(json!({"rule": "self == 'a'"}))}}),
    );
    let object = json!({"p": "b"});
    let outcome =
        schema.validate_rules(&object, Some(&object), &Path::nil(), RUNTIME_BUDGET as i64);
    assert!(outcome.errors.is_empty());
    assert_eq!(
        outcome.warnings,
        ["p: Invalid value: \"b\": failed rule: self == 'a'"]
    );
}

#[test]
fn budgets_end() {
    let schema = schema(
        json!({"type": "object", "properties": {"list": {"type": "array",
        "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self.contains('x')"}]}}}}),
    );
    let object = json!({"list": ["x", "x", "x", "x"]});
    let outcome = schema.validate_rules(&object, None, &Path::nil(), RUNTIME_BUDGET as i64);
    assert!(outcome.errors.is_empty());
    let each = (RUNTIME_BUDGET as i64 - outcome.budget) / 4;
    let outcome = schema.validate_rules(&object, None, &Path::nil(), each * 2 + 1);
    assert_eq!(
        texts(&outcome.errors),
        [
            "list[2]: Invalid value: \"string\": validation failed due to running out of cost budget, no further validation rules will be run"
        ]
    );
    assert!(outcome.budget < 0);

    let schema = schema_of_quadratic_rule();
    let object = json!({ "list": vec!["a"; 3000] });
    let outcome = schema.validate_rules(&object, None, &Path::nil(), i64::MAX);
    assert_eq!(
        texts(&outcome.errors),
        [
            "list: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: self.all(x, self.all(y, x == y))"
        ]
    );
}

fn schema_of_quadratic_rule() -> Structural {
    schema(
        json!({"type": "object", "properties": {"list": {"type": "array", "items": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]}}}),
    )
}

#[test]
fn equal_parts_share_their_programs() {
    let rule =
        json!({"type": "object", "properties": {"a": string(json!({"rule": "self != 'x'"}))}});
    let schema = schema(json!({"type": "object", "properties": {"one": rule, "two": rule}}));
    let root = &schema.root;
    let part = |name: &str| root.property(name).expect("a property").clone();
    assert!(std::sync::Arc::ptr_eq(&part("one"), &part("two")));
    assert_eq!(schema.compile_rules(), 2);
}
