//! Cases of upstream's tests are in `testdata/strategic-merge-patch.json`; they use a made-up type.

use api_types::core::v1::{Pod, Service};
use api_types::schema::{FieldSchema, JsonForm, StructSchema, TypeRef};
use proptest::prelude::*;
use serde_json::json;

use super::*;

static MERGE_ITEM: StructSchema = StructSchema {
    name: "MergeItem",
    package: "",
    kind: None,
    json_form: JsonForm::Object,
    wire: &[],
    tags: &[],
    written_when_absent: 0,
    introduced: "",
    deprecated: "",
    fields: &[
        FieldSchema {
            json: "name",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "value",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "other",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "mergingList",
            ty: TypeRef::List(&MERGE_ITEM_REF),
            patch_strategy: "merge",
            patch_merge_key: "name",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "nonMergingList",
            ty: TypeRef::List(&MERGE_ITEM_REF),
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "mergingIntList",
            ty: TypeRef::List(&TypeRef::Int64),
            patch_strategy: "merge",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "nonMergingIntList",
            ty: TypeRef::List(&TypeRef::Int64),
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "mergeItemPtr",
            ty: TypeRef::Pointer(&MERGE_ITEM_REF),
            patch_strategy: "merge",
            patch_merge_key: "name",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "simpleMap",
            ty: TypeRef::Map(&TypeRef::String),
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "replacingItem",
            ty: TypeRef::RawExtension,
            patch_strategy: "replace",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "jsonItem",
            ty: TypeRef::Json,
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "retainKeysMap",
            ty: TypeRef::Struct(&RETAIN_KEYS_ITEM),
            patch_strategy: "retainKeys",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "retainKeysMergingList",
            ty: TypeRef::List(&MERGE_ITEM_REF),
            patch_strategy: "merge,retainKeys",
            patch_merge_key: "name",
            ..FieldSchema::NONE
        },
    ],
};

static MERGE_ITEM_REF: TypeRef = TypeRef::Struct(&MERGE_ITEM);

static RETAIN_KEYS_ITEM: StructSchema = StructSchema {
    name: "RetainKeysMergeItem",
    package: "",
    kind: None,
    json_form: JsonForm::Object,
    wire: &[],
    tags: &[],
    written_when_absent: 0,
    introduced: "",
    deprecated: "",
    fields: &[
        FieldSchema {
            json: "name",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "value",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "other",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "simpleMap",
            ty: TypeRef::Map(&TypeRef::String),
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "mergingIntList",
            ty: TypeRef::List(&TypeRef::Int64),
            patch_strategy: "merge",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "mergingList",
            ty: TypeRef::List(&MERGE_ITEM_REF),
            patch_strategy: "merge",
            patch_merge_key: "name",
            ..FieldSchema::NONE
        },
        FieldSchema {
            json: "nonMergingList",
            ty: TypeRef::List(&MERGE_ITEM_REF),
            ..FieldSchema::NONE
        },
    ],
};

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn item_schema() -> PatchSchema {
    PatchSchema::new(&MERGE_ITEM)
}

#[test]
fn upstream_cases() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../../../testdata/strategic-merge-patch.json"))
            .expect("test data");
    let mut failures = Vec::new();
    let mut checks = 0;
    for case in &cases {
        let description = case["description"].as_str().unwrap_or_default();
        let mut expect = |what: &str, got: Result<Map<String, Value>, Error>, want: &Value| {
            checks += 1;
            let got = got.map(Value::Object).map_err(|error| error.to_string());
            if got.as_ref() != Ok(want) {
                failures.push(format!(
                    "{description}, {what}:\n  got  {got:?}\n  want {want}"
                ));
            }
        };
        let original = object(&case["original"]);
        let has = |key: &str| case.get(key).is_some();
        if let Some(error) = case.get("error") {
            let got = apply(original, object(&case["two_way"]), item_schema());
            let message = got.expect_err(description).to_string();
            assert!(
                message.contains(error.as_str().unwrap_or_default()),
                "{description}: {message}"
            );
            continue;
        }
        if !has("custom") && has("modified") && has("two_way") {
            let got = create_two_way(&original, &object(&case["modified"]), item_schema());
            expect("making the two-way patch", got, &case["two_way"]);
        }
        if has("two_way") && (has("two_way_result") || has("modified")) {
            let want = if has("two_way_result") {
                &case["two_way_result"]
            } else {
                &case["modified"]
            };
            expect(
                "applying the two-way patch",
                apply(original, object(&case["two_way"]), item_schema()),
                want,
            );
        }
        if has("three_way") && has("result") && !has("custom") {
            let got = apply(
                object(&case["current"]),
                object(&case["three_way"]),
                item_schema(),
            );
            expect("applying the three-way patch", got, &case["result"]);
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {checks} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(checks > 300, "only {checks} checks ran");
}

#[test]
fn pods_and_services() {
    let pod = object(&json!({"spec": {"containers": [
        {"name": "a", "image": "1", "ports": [{"containerPort": 80, "name": "http"}]},
        {"name": "b", "image": "1"},
    ], "nodeSelector": {"x": "y"}}}));
    let patch = object(&json!({"spec": {"containers": [
        {"name": "b", "image": "2"},
        {"name": "a", "ports": [{"containerPort": 443}]},
        {"name": "c", "image": "3"},
    ], "nodeSelector": {"x": null, "z": "1"}}}));
    let patched = apply(pod.clone(), patch, PatchSchema::of::<Pod>()).expect("patch applies");
    // The patch's order wins among its items.
    assert_eq!(
        Value::Object(patched),
        json!({"spec": {"containers": [
            {"name": "b", "image": "2"},
            {"name": "a", "image": "1", "ports": [{"containerPort": 443}, {"containerPort": 80, "name": "http"}]},
            {"name": "c", "image": "3"},
        ], "nodeSelector": {"z": "1"}}})
    );
    let patch = object(&json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}));
    let patched = apply(pod.clone(), patch, PatchSchema::of::<Pod>()).expect("patch applies");
    assert_eq!(
        patched["spec"]["containers"],
        json!([{"name": "b", "image": "1"}])
    );

    let service = object(&json!({"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}));
    let patch = object(
        &json!({"spec": {"ports": [{"port": 80, "name": "http"}], "selector": {"$patch": "replace", "c": "d"}}}),
    );
    let patched = apply(service, patch, PatchSchema::of::<Service>()).expect("patch applies");
    assert_eq!(
        Value::Object(patched),
        json!({"spec": {"ports": [{"port": 80, "name": "http"}], "selector": {"c": "d"}}})
    );
}

#[test]
fn errors_say_what_upstream_says() {
    let check = |original: Value, patch: Value, want: &str| {
        let error = apply(object(&original), object(&patch), item_schema()).expect_err(want);
        assert_eq!(error.to_string(), want);
    };
    check(
        json!({"mergingList": [{"name": "a"}]}),
        json!({"mergingList": [{"value": "b"}]}),
        "map: map[value:b] does not contain declared merge key: name",
    );
    check(
        json!({"mergingList": [{"name": "a"}]}),
        json!({"mergingList": [1]}),
        "list element types are not identical: [[map[name:a]] [1]]",
    );
    check(
        json!({}),
        json!({"$patch": "frob", "a": 1}),
        "unknown patch type: frob in map: map[$patch:frob a:1]",
    );
    check(
        json!({}),
        json!({"$setElementOrder": []}),
        "invalid patch format of setElementOrder list",
    );
    check(
        json!({}),
        json!({"$deleteFromPrimitiveList": []}),
        "invalid patch format of primitive list",
    );
    check(
        json!({}),
        json!({"$retainKeys": ["a"], "b": 1}),
        "invalid patch format of retainKeys",
    );
    check(
        json!({"x": {"a": 1}}),
        json!({"x": {"a": 2}}),
        "unable to find api field in struct MergeItem for the json field \"x\"",
    );
    check(
        json!({"mergingList": [{"name": "a"}]}),
        json!({"mergingList": [{"name": "a", "$patch": "merge"}]}),
        "merging lists cannot yet be specified in the patch",
    );
    check(
        json!({"mergingIntList": [[1]]}),
        json!({"mergingIntList": [1]}),
        "lists of lists are not supported",
    );
    check(
        json!({}),
        json!({"$setElementOrder/mergingList": 1}),
        "expected a []interface {}, but received a int64",
    );
}

fn any_item(depth: u32) -> BoxedStrategy<Value> {
    let name = "[a-c]".prop_map(Value::from);
    let ints = prop::collection::btree_set(0i64..4, 0..4)
        .prop_map(|set| set.into_iter().collect::<Vec<_>>())
        .prop_map(Value::from);
    let map = prop::collection::btree_map("[x-z]", "[a-b]", 0..3)
        .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k, Value::from(v))).collect()));
    let inner = if depth == 0 {
        Just(Value::from(Vec::<Value>::new())).boxed()
    } else {
        any_items(depth - 1)
    };
    (
        name,
        prop::option::of("[a-b]"),
        prop::option::of(ints),
        prop::option::of(map),
        prop::option::of(inner),
    )
        .prop_map(|(name, value, ints, map, inner)| {
            let mut item = Map::new();
            item.insert("name".to_owned(), name);
            for (key, value) in [
                ("value", value.map(Value::from)),
                ("mergingIntList", ints),
                ("simpleMap", map),
                ("mergingList", inner),
            ] {
                if let Some(value) = value {
                    item.insert(key.to_owned(), value);
                }
            }
            Value::Object(item)
        })
        .boxed()
}

fn any_items(depth: u32) -> BoxedStrategy<Value> {
    prop::collection::vec(any_item(depth), 0..4)
        .prop_map(|mut items| {
            let mut names = std::collections::HashSet::new();
            items.retain(|item| names.insert(item["name"].as_str().unwrap_or_default().to_owned()));
            Value::from(items)
        })
        .boxed()
}

proptest! {
    #[test]
    fn created_patches_apply(old in any_item(2), new in any_item(2)) {
        let (old, new) = (object(&old), object(&new));
        let patch = create_two_way(&old, &new, item_schema()).expect("documents fit the schema");
        let patched = apply(old, patch.clone(), item_schema());
        // A list that becomes empty is emptied item by item and stays; everything else is exact.
        prop_assert_eq!(patched.map(Value::Object), Ok(Value::Object(new)), "{:?}", patch);
    }

    #[test]
    fn no_patch_panics(
        original in crate::patch::json::tests::any_object(true),
        patch in crate::patch::json::tests::any_object(true),
        item in any_item(1),
        directive in prop::sample::select(vec!["$patch", "$retainKeys", "$setElementOrder/mergingList",
            "$setElementOrder/mergingIntList", "$deleteFromPrimitiveList/mergingIntList", "mergingList", "mergingIntList"]),
        value in crate::patch::json::tests::any_value(true),
    ) {
        let (mut original, mut patch) = (object(&original), object(&patch));
        original.extend(object(&item));
        patch.extend(object(&item));
        patch.insert(directive.to_owned(), value);
        let _ = apply(original.clone(), patch.clone(), item_schema());
        let _ = create_two_way(&original, &patch, item_schema());
        let _ = apply(patch, original, item_schema());
    }
}
