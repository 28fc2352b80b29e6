//! Schemas and objects made by chance: nothing panics, and what has to hold holds.

use api_types::apiextensions::v1::JSONSchemaProps;
use apimachinery::field::Path;
use proptest::prelude::*;
use serde_json::{Value, json};
use structural_schema::json_path::JsonPath;
use structural_schema::{
    CoerceOptions, Options, RUNTIME_BUDGET, Structural, validate_custom_resource_validation,
};

fn props(schema: &Value) -> JSONSchemaProps {
    api_types::decode_json(schema.to_string().as_bytes()).expect("a schema")
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..5).prop_map(Value::from),
        Just(json!(2.5)),
        Just(json!(u64::MAX)),
        "[a-c5é]{0,3}".prop_map(Value::from),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]",
        Just("metadata".to_owned()),
        Just("kind".to_owned())
    ]
}

fn object() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn limits() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        (0..4).prop_map(|n| json!({"maxLength": n, "maxItems": n, "maxProperties": n})),
        (0..4).prop_map(|n| json!({"minLength": n, "minItems": n, "minProperties": n})),
        Just(json!({"pattern": "^[a-b]*$", "format": "ipv4"})),
        Just(json!({"pattern": "a("})),
        Just(json!({"enum": ["a", 1, null]})),
        Just(json!({"maximum": 2, "multipleOf": 0, "format": "int32"})),
        Just(json!({"minimum": 1.5, "exclusiveMinimum": true})),
        Just(json!({"required": ["a", "b"]})),
        Just(json!({"nullable": true, "default": {"a": [1]}})),
        Just(json!({"default": "a"})),
        Just(json!({"x-kubernetes-preserve-unknown-fields": true})),
        Just(json!({"x-kubernetes-embedded-resource": true})),
        Just(json!({"x-kubernetes-int-or-string": true})),
        Just(json!({"x-kubernetes-list-type": "set"})),
        Just(json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]})),
        Just(
            json!({"x-kubernetes-validations": [{"rule": "self == oldSelf"}, {"rule": "self.a", "fieldPath": ".a"}]})
        ),
        Just(
            json!({"x-kubernetes-validations": [{"rule": "has(self.a)", "messageExpression": "self.a"}, {"rule": "("}]})
        ),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "", "string", "integer", "number", "boolean", "object", "array", "foo",
    ]);
    let leaf = (kind, limits()).prop_map(|(kind, limits)| with(limits, "type", json!(kind)));
    leaf.prop_recursive(4, 24, 4, |inner| {
        let kind = prop::sample::select(vec!["object", "array"]);
        let fields = prop::collection::btree_map(name(), inner.clone(), 0..4)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()));
        let nested = prop::collection::vec(inner.clone(), 1..3);
        let place = prop::sample::select(vec![
            "properties",
            "items",
            "additionalProperties",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ]);
        (kind, limits(), fields, inner, nested, place).prop_map(
            |(kind, limits, fields, inner, nested, place)| {
                let schema = with(with(limits, "type", json!(kind)), "properties", fields);
                let value = match place {
                    "properties" => return schema,
                    "allOf" | "anyOf" | "oneOf" => nested.into(),
                    _ => inner,
                };
                with(schema, place, value)
            },
        )
    })
}

fn with(mut schema: Value, name: &str, value: Value) -> Value {
    if value != json!("") {
        schema[name] = value;
    }
    schema
}

/// Takes out the formats of other types. Objects do not heed them; a default does, and with them a list passes for any type
/// (upstream: type.go of kube-openapi's validate).
fn without_foreign_formats(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            let own = match fields.get("type").and_then(Value::as_str) {
                Some("string") => "ipv4",
                Some("integer" | "number") => "int32",
                _ => "",
            };
            if fields.get("format").is_some_and(|format| format != own) {
                fields.remove("format");
            }
            fields
                .values_mut()
                .for_each(|value| *value = without_foreign_formats(value.take()));
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| *item = without_foreign_formats(item.take())),
        _ => {}
    }
    schema
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_panics(schema in schema(), object in object(), old in object()) {
        let props = props(&schema);
        let path = Path::new("spec");
        for has_status in [false, true] {
            let _ = validate_custom_resource_validation(&props, has_status, &Options::default(), &path);
        }
        let _ = Options::for_update([&props].into_iter(), [&props].into_iter(), true);
        let Ok(schema) = Structural::new(&props) else { return Ok(()) };
        let schema = schema.with_pruned_defaults();
        schema.compile_rules();
        for drop_invalid in [false, true] {
            let mut object = object.clone();
            let _ = schema.coerce(&mut object, true, CoerceOptions { drop_invalid, report_unknown: true });
            let _ = schema.validate_embedded(&object, &path, true);
        }
        let budget = RUNTIME_BUDGET as i64;
        let _ = schema.validate(&object, &path);
        let _ = schema.validate_list_types(&object, &path);
        let _ = schema.validate_rules(&object, None, &path, budget);
        let _ = schema.validate_rules(&object, Some(&old), &path, 10);
        // What is wrong with an update is wrong with a new object too.
        let update = schema.validate_update(&object, &old, &path);
        if schema.validate(&object, &path).is_empty() {
            prop_assert!(update.is_empty(), "{update}");
        }
    }

    #[test]
    fn pruning_and_defaulting_settle(schema in schema(), object in object()) {
        let Ok(schema) = Structural::new(&props(&schema)) else { return Ok(()) };
        let mut once = object;
        schema.prune(&mut once, true);
        let mut twice = once.clone();
        prop_assert_eq!(schema.prune_reporting(&mut twice, true), Vec::<String>::new());
        prop_assert_eq!(&once, &twice);

        schema.prune_nulls(&mut once);
        let mut twice = once.clone();
        schema.prune_nulls(&mut twice);
        prop_assert_eq!(&once, &twice);

        schema.apply_defaults(&mut once);
        let mut twice = once.clone();
        schema.apply_defaults(&mut twice);
        prop_assert_eq!(&once, &twice);
    }

    #[test]
    fn defaults_of_a_valid_crd_are_valid(schema in schema().prop_map(without_foreign_formats)) {
        let schema = json!({"type": "object", "properties": {"a": schema}});
        let props = props(&schema);
        let path = Path::new("spec");
        if !validate_custom_resource_validation(&props, false, &Options::default(), &path).is_empty() {
            return Ok(());
        }
        let schema = Structural::new(&props).expect("a valid schema");
        let mut object = json!({});
        schema.apply_defaults(&mut object);
        let errors = schema.validate(&object, &Path::nil());
        prop_assert!(errors.is_empty(), "{object}: {errors}");
        prop_assert!(schema.prune_reporting(&mut object, true).is_empty());
    }

    #[test]
    fn any_text_is_a_path_or_none(text in "[.a-c*@$?(){}'\"=<>0-9,: \\[\\]\\\\-]{0,24}", object in object()) {
        if let Ok(path) = JsonPath::parse(&text) {
            let _ = path.find(&object);
            let _ = path.cell("string", &object, api_types::MicroTime::default());
        }
    }
}

/// Runs on the stack that threads of a server have.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(work)
        .expect("a thread");
    thread.join().expect("no overflow");
}

/// A schema as deep as decoding allows.
fn deep_schema(depth: usize, leaf: Value, wrap: impl Fn(Value) -> Value) -> JSONSchemaProps {
    let mut schema = leaf;
    for _ in 0..depth {
        schema = wrap(schema);
    }
    props(&schema)
}

#[test]
fn deep_schemas_fit_a_small_stack() {
    on_a_small_stack(|| {
        let path = Path::new("spec");
        let leaf = || json!({"type": "object", "default": {"x": 1}});
        let nest = |schema| json!({"type": "object", "properties": {"a": schema}});
        let list = |schema| json!({"type": "array", "items": schema});
        let not = |schema| json!({"type": "object", "not": schema});
        let any_of =
            |schema: Value| json!({"type": "object", "anyOf": [{"required": ["z"]}, schema]});
        for schema in [
            deep_schema(110, leaf(), nest),
            deep_schema(120, leaf(), list),
            deep_schema(120, leaf(), not),
            deep_schema(60, leaf(), any_of),
        ] {
            let _ = validate_custom_resource_validation(&schema, true, &Options::default(), &path);
            let ready = Structural::new(&schema)
                .expect("a schema")
                .with_pruned_defaults();
            let mut object = json!({});
            for _ in 0..100 {
                object = json!({"a": object, "b": [object]});
                // Twice the size each time would be too much.
                if object.to_string().len() > 100_000 {
                    object = json!({"a": {}});
                }
            }
            ready.apply_defaults(&mut object);
            let _ = ready.validate(&object, &path);
            let _ = ready.validate_update(&object.clone(), &object, &path);
            ready.prune(&mut object, true);
        }
    });
}

#[test]
fn deep_objects_fit_a_small_stack() {
    on_a_small_stack(|| {
        let schema = json!({"type": "object", "properties": {
            "any": {"x-kubernetes-preserve-unknown-fields": true},
            "list": {"type": "array", "items": {"type": "string"}},
            "free": {"type": "object", "additionalProperties": true}}});
        let schema = Structural::new(&props(&schema)).expect("a schema");
        let text = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let deep: Value = serde_json::from_str(&text(120)).expect("JSON");
        let mut object = json!({"any": deep, "list": deep, "free": {"x": deep}, "unknown": deep});
        schema.prune(&mut object, true);
        schema.prune_nulls(&mut object);
        schema.apply_defaults(&mut object);
        let _ = schema.validate(&object, &Path::nil());
        assert_eq!(object.get("unknown"), None);
    });
}

#[test]
fn a_failing_any_of_costs_no_more_than_its_size() {
    // Each level looks at every schema below once, however deep it is.
    let wrap = |schema: Value| json!({"anyOf": [schema, {"minimum": 10}], "oneOf": [{"minimum": 20}, {"minimum": 30}]});
    let schema = deep_schema(40, json!({"minimum": 5}), wrap);
    let mut schema = schema;
    schema.type_ = "integer".to_owned();
    let schema = Structural::new(&schema).expect("a schema");
    let start = std::time::Instant::now();
    assert!(!schema.validate(&json!(1), &Path::nil()).is_empty());
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
}

/// A CRD as operators have them: a pod template in a spec, with descriptions.
fn large_crd() -> JSONSchemaProps {
    let description =
        "What this field is for, in as many words as such descriptions have. ".repeat(3);
    let string = json!({"type": "string", "description": description});
    let env = json!({"type": "array", "description": description, "items": {"type": "object", "required": ["name"],
        "properties": {"name": string, "value": string, "valueFrom": {"type": "object", "properties": {
            "configMapKeyRef": {"type": "object", "properties": {"key": string, "name": string, "optional": {"type": "boolean"}}},
            "secretKeyRef": {"type": "object", "properties": {"key": string, "name": string, "optional": {"type": "boolean"}}}}}}}});
    let fields = |count: usize, kind: &Value| -> serde_json::Map<String, Value> {
        (0..count)
            .map(|n| (format!("setting{n}"), kind.clone()))
            .collect()
    };
    let mut container = fields(30, &string);
    container.insert("env".to_owned(), env);
    container.insert(
        "replicas".to_owned(),
        json!({"type": "integer", "format": "int32", "minimum": 0, "maximum": 100, "default": 1}),
    );
    let container = json!({"type": "object", "properties": container});
    let mut pod = fields(40, &string);
    for name in ["containers", "initContainers", "ephemeralContainers"] {
        pod.insert(
            name.to_owned(),
            json!({"type": "array", "items": container}),
        );
    }
    let pod = json!({"type": "object", "properties": pod});
    let mut spec = fields(60, &string);
    for n in 0..8 {
        spec.insert(
            format!("template{n}"),
            json!({"type": "object", "properties": {"spec": pod}}),
        );
    }
    props(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}}),
    )
}

#[test]
fn a_large_crd_is_small_in_memory() {
    let crd = large_crd();
    let json = api_types::encode_json(&crd).len();
    let memory = Structural::new(&crd).expect("a schema").memory();
    assert!(json > 300_000, "{json} bytes of JSON");
    assert!(memory < 100_000, "{memory} bytes for {json} bytes of JSON");
}
