//! Cases.

use serde_json::{Value, json};

use super::*;
use crate::testing::{props, texts};

#[track_caller]
fn check_with(options: &Options, schema: Value, want: &[&str]) {
    let path = Path::new("spec");
    let errors = validate_custom_resource_validation(&props(&schema), false, options, &path);
    assert_eq!(texts(&errors), want);
}

#[track_caller]
fn check(schema: Value, want: &[&str]) {
    check_with(&Options::default(), schema, want);
}

fn object(name: &str, property: Value) -> Value {
    json!({"type": "object", "properties": {name: property}})
}

#[test]
fn what_crds_cannot_have() {
    check(object("a", json!({"type": "string"})), &[]);
    check(
        object(
            "a",
            json!({"type": "string", "$ref": "#/definitions/x", "id": "x", "uniqueItems": true}),
        ),
        &[
            "spec.openAPIV3Schema.properties[a].id: Forbidden: id is not supported",
            "spec.openAPIV3Schema.properties[a].$ref: Forbidden: $ref is not supported",
            "spec.openAPIV3Schema.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ],
    );
    check(
        object(
            "a",
            json!({"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": false}),
        ),
        &[
            "spec.openAPIV3Schema.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ],
    );
    check(
        object("a", json!({"type": "text"})),
        &[
            "spec.openAPIV3Schema.properties[a].type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ],
    );
    check(
        object("a", json!({"type": "array", "items": [{"type": "string"}]})),
        &[
            "spec.openAPIV3Schema.properties[a].items: Forbidden: items must be a schema object and not an array",
        ],
    );
}

#[test]
fn defaults_are_valid() {
    check(object("a", json!({"type": "string", "default": "x"})), &[]);
    check(
        object("a", json!({"type": "string", "default": 5})),
        &[
            "spec.openAPIV3Schema.properties[a].default: Invalid value: \"integer\":  in body must be of type string: \"integer\"",
        ],
    );
    let unpruned = object("a", json!({"type": "object", "default": {"x": 1}}));
    check(
        unpruned.clone(),
        &[
            "spec.openAPIV3Schema.properties[a].default: Invalid value: {\"x\":1}: must not have unknown fields",
        ],
    );
    // What was there before may stay.
    let old = props(&unpruned);
    check_with(
        &Options::for_update([&old].into_iter(), [&old].into_iter(), false),
        unpruned,
        &[],
    );
    check(
        object("kind", json!({"type": "string", "default": "x"})),
        &[
            "spec.openAPIV3Schema.properties[kind].default: Forbidden: must not be set in top-level kind",
        ],
    );
}

#[test]
fn rules_compile() {
    let rule = |rule: Value| {
        object(
            "a",
            json!({"type": "string", "maxLength": 9, "x-kubernetes-validations": [rule]}),
        )
    };
    check(rule(json!({"rule": "self == 'a'"})), &[]);
    check(
        rule(json!({"rule": "self == 5"})),
        &[
            "spec.openAPIV3Schema.properties[a].x-kubernetes-validations[0].rule: Invalid value: {\"Rule\":\"self == 5\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: compilation failed: ERROR: <input>:1:6: found no matching overload for '_==_' applied to '(string, int)'\n | self == 5\n | .....^",
        ],
    );
    check(
        rule(json!({"rule": " ", "reason": "Because"})),
        &[
            "spec.openAPIV3Schema.properties[a].x-kubernetes-validations[0].rule: Required value: rule is not specified",
            "spec.openAPIV3Schema.properties[a].x-kubernetes-validations[0].reason: Unsupported value: \"Because\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
        ],
    );
    check(
        object(
            "a",
            json!({"type": "array", "items": {"type": "string", "maxLength": 5, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}),
        ),
        &[
            "spec.openAPIV3Schema.properties[a].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within spec.openAPIV3Schema.properties[a]",
        ],
    );
}

#[test]
fn rules_are_cheap() {
    let all = "self.all(x, self.all(y, x == y))";
    let list = |max: Option<u32>| {
        let mut list = json!({"type": "array", "items": {"type": "string", "maxLength": 10},
            "x-kubernetes-validations": [{"rule": all}]});
        if let Some(max) = max {
            list["maxItems"] = max.into();
        }
        object("a", list)
    };
    check(list(Some(10)), &[]);
    let hint = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
    check(
        list(None),
        &[
            &format!(
                "spec.openAPIV3Schema.properties[a].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {hint}"
            ),
            "spec.openAPIV3Schema.properties[a].x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
            &format!(
                "spec.openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x {hint}"
            ),
        ],
    );
}

#[test]
fn unknown_formats_are_found() {
    let schema = json!({"type": "object", "format": "x", "properties": {
        "a": {"type": "string", "format": "date"}, "b": {"type": "string", "format": "int32"},
        "c": {"x-kubernetes-int-or-string": true, "format": "x"}}});
    assert_eq!(unrecognized_formats(&props(&schema)), ["x", "int32"]);
}
