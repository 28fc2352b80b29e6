//! What reading and checking an ordinary object costs: some forty fields, a list, a map, two rules.

use apimachinery::field::Path;
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use structural_schema::{CoerceOptions, RUNTIME_BUDGET, Structural};

fn schema() -> Structural {
    let fields = |count: usize| -> serde_json::Map<String, Value> {
        let field = json!({"type": "string", "maxLength": 64, "pattern": "^[a-z0-9-]*$"});
        (0..count)
            .map(|n| (format!("field{n}"), field.clone()))
            .collect()
    };
    let mut spec = fields(20);
    spec.insert(
        "list".to_owned(),
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["field0"],
            "items": {"type": "object", "required": ["field0"], "properties": fields(4),
                "x-kubernetes-validations": [{"rule": "self.field0.size() < 60"}]}}),
    );
    spec.insert(
        "map".to_owned(),
        json!({"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}]}}),
    );
    spec.insert(
        "replicas".to_owned(),
        json!({"type": "integer", "format": "int32", "minimum": 0, "default": 1,
            "x-kubernetes-validations": [{"rule": "self >= oldSelf || self > 0"}]}),
    );
    let schema =
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}});
    let props = api_types::decode_json(schema.to_string().as_bytes()).expect("a schema");
    let schema = Structural::new(&props).expect("a structural schema");
    schema.compile_rules();
    schema
}

fn object() -> Value {
    let fields = |count: usize| -> serde_json::Map<String, Value> {
        (0..count)
            .map(|n| (format!("field{n}"), json!(format!("value-{n}"))))
            .collect()
    };
    let mut spec = fields(20);
    let items: Vec<Value> = (0..5)
        .map(|n| {
            let mut item = fields(4);
            item.insert("field0".to_owned(), json!(format!("item-{n}")));
            item.into()
        })
        .collect();
    spec.insert("list".to_owned(), items.into());
    spec.insert("map".to_owned(), json!({"cpu": "100m", "pods": 5}));
    spec.insert("replicas".to_owned(), json!(3));
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec})
}

fn benches(c: &mut Criterion) {
    let (schema, object) = (schema(), object());
    let path = Path::nil();
    c.bench_function("read", |b| {
        // Nothing changes, so the same object can be read again and again.
        let mut object = object.clone();
        b.iter(|| {
            let coerced = schema.coerce(&mut object, false, CoerceOptions::default());
            coerced.expect("nothing is wrong");
            schema.prune(&mut object, true);
            schema.prune_nulls(&mut object);
            schema.apply_defaults(&mut object);
        });
    });
    c.bench_function("validate", |b| {
        b.iter(|| schema.validate(&object, &path));
    });
    c.bench_function("validate an update", |b| {
        b.iter(|| schema.validate_update(&object, &object, &path));
    });
    c.bench_function("rules", |b| {
        b.iter(|| schema.validate_rules(&object, Some(&object), &path, RUNTIME_BUDGET as i64));
    });
}

criterion_group!(objects, benches);
criterion_main!(objects);
