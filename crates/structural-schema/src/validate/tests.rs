//! Cases.

use apimachinery::field::Path;
use serde_json::{Value, json};

use super::blocking_error;
use crate::testing::{schema, texts};

#[track_caller]
fn check(property: Value, value: Value, want: &[&str]) {
    let schema = schema(json!({"type": "object", "properties": {"p": property}}));
    let errors = schema.validate(&json!({ "p": value }), &Path::nil());
    assert_eq!(texts(&errors), want);
}

#[test]
fn types() {
    check(json!({"type": "string"}), json!("x"), &[]);
    check(
        json!({"type": "string"}),
        json!(5),
        &["p: Invalid value: \"integer\": p in body must be of type string: \"integer\""],
    );
    check(json!({"type": "number"}), json!(5), &[]);
    check(json!({"type": "integer"}), json!(5.0), &[]);
    check(
        json!({"type": "integer"}),
        json!(5.5),
        &[
            "p: Invalid value: \"number\": p in body must be of type integer: \"number\"",
            "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in p",
        ],
    );
    check(
        json!({"type": "string"}),
        Value::Null,
        &["p: Invalid value: \"null\": p in body must be of type string: \"null\""],
    );
    check(
        json!({"type": "string", "nullable": true}),
        Value::Null,
        &[],
    );
    let int_or_string = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
    check(int_or_string.clone(), json!("5%"), &[]);
    check(int_or_string.clone(), json!(5), &[]);
    check(
        int_or_string,
        json!(true),
        &[
            "p: Invalid value: \"boolean\": p in body must be of type integer,string: \"boolean\"",
            "<nil>: Invalid value: \"\": \"p\" must validate at least one schema (anyOf)",
            "p: Invalid value: \"boolean\": p in body must be of type integer: \"boolean\"",
        ],
    );
    // As upstream: with a format of strings, a list is a string.
    check(json!({"type": "string", "format": "date"}), json!([1]), &[]);
}

#[test]
fn limits() {
    check(
        json!({"type": "string", "maxLength": 2, "pattern": "^a"}),
        json!("日本語"),
        &["p: Too long: may not be more than 2 bytes"],
    );
    check(
        json!({"type": "string", "minLength": 2}),
        json!("é"),
        &["p: Invalid value: \"é\": p in body should be at least 2 chars long"],
    );
    check(
        json!({"type": "string", "pattern": "^a"}),
        json!("b"),
        &["p: Invalid value: \"b\": p in body should match '^a'"],
    );
    check(
        json!({"type": "integer", "maximum": 5, "exclusiveMaximum": true, "multipleOf": 2}),
        json!(5),
        &[
            "p: Invalid value: 5: p in body should be a multiple of 2",
            "p: Invalid value: 5: p in body should be less than 5",
        ],
    );
    check(
        json!({"type": "string", "enum": ["a", "b"]}),
        json!("c"),
        &["p: Unsupported value: \"c\": supported values: \"a\", \"b\""],
    );
    check(
        json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
        json!(["a", 1]),
        &[
            "p[1]: Invalid value: \"integer\": p[1] in body must be of type string: \"integer\"",
            "p: Too many: 2: must have at most 1 item",
        ],
    );
    check(
        json!({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 3}),
        json!({"a.b": "x"}),
        &[
            "p: Invalid value: 1: p in body should have at least 3 properties",
            "p.a.b: Invalid value: \"string\": p.a.b in body must be of type integer: \"string\"",
        ],
    );
    check(
        json!({"type": "object", "required": ["a", "b"]}),
        json!({"b": 1}),
        &["p.a: Required value"],
    );
}

#[test]
fn the_schema_that_fits_best_is_explained() {
    let any_of = json!({"type": "object", "anyOf": [
        {"required": ["a"], "properties": {"x": {"type": "string"}}},
        {"required": ["b"], "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}},
    ], "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}});
    check(
        any_of,
        json!({"x": 1, "y": 2}),
        &[
            "<nil>: Invalid value: \"\": \"p\" must validate at least one schema (anyOf)",
            "p.b: Required value",
        ],
    );
    check(
        json!({"type": "integer", "oneOf": [{"minimum": 1}, {"minimum": 2}]}),
        json!(3),
        &[
            "<nil>: Invalid value: \"\": \"p\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ],
    );
    check(
        json!({"type": "integer", "allOf": [{"minimum": 5}], "not": {"minimum": 1}}),
        json!(3),
        &[
            "p: Invalid value: 3: p in body should be greater than or equal to 5",
            "<nil>: Invalid value: \"\": \"p\" must validate all the schemas (allOf). None validated",
            "<nil>: Invalid value: \"\": \"p\" must not validate the schema (not)",
        ],
    );
}

#[test]
fn what_did_not_change_is_forgiven() {
    let schema = schema(
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "string", "maxLength": 1},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}},
        }}}}),
    );
    let update = |old: Value, new: Value| {
        let (old, new) = (json!({ "spec": old }), json!({ "spec": new }));
        texts(&schema.validate_update(&new, &old, &Path::nil()))
    };
    assert!(update(json!({"a": "long"}), json!({"a": "long", "list": []})).is_empty());
    assert_eq!(
        update(json!({"a": "long"}), json!({"a": "longer"})),
        ["spec.a: Too long: may not be more than 1 byte"]
    );
    let old = json!({"list": [{"k": "x", "v": 5}, {"k": "y", "v": 6}]});
    assert!(update(old.clone(), json!({"list": [{"k": "y", "v": 6}]})).is_empty());
    assert_eq!(
        update(
            old,
            json!({"list": [{"k": "y", "v": 7}, {"k": "x", "v": 5}]})
        ),
        [
            "spec.list[0].v: Invalid value: 7: spec.list[0].v in body should be less than or equal to 1"
        ]
    );
}

#[test]
fn some_errors_keep_rules_from_running() {
    let schema = schema(json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 1}, "n": {"type": "integer", "maximum": 1}}}));
    let blocks = |object: Value| {
        let error = blocking_error(&schema.validate(&object, &Path::nil()));
        error.map(|error| error.to_string())
    };
    assert_eq!(blocks(json!({"n": 5})), None);
    assert_eq!(
        blocks(json!({"a": "xx"})).as_deref(),
        Some(
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; \
             correct the existing errors to complete validation"
        )
    );
}

/// As many findings as elements, and each says where it is, which is a long way.
#[test]
fn findings_are_no_longer_than_can_be_told() {
    let schema = schema(
        json!({"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}),
    );
    let numbers = Value::from(vec![1; 50_000]);
    let object = |key: &str| json!({ key: numbers.clone() });
    assert_eq!(schema.validate(&object("k"), &Path::nil()).len(), 50_000);
    let errors = schema.validate(&object(&"k".repeat(10_000)), &Path::nil());
    assert!((100..2_000).contains(&errors.len()), "{}", errors.len());
    let last = errors.last().unwrap().to_string();
    assert_eq!(
        last,
        "<omitted>: Invalid value: there are more errors than can be told"
    );
}
