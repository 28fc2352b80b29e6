//! Compiling and evaluating what policies typically say.

use std::hint::black_box;

use cel::{Activation, Budget, Env, Type, Value};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;

const POLICIES: [(&str, &str); 5] = [
    ("replicas", "object.spec.replicas <= 5"),
    (
        "labels",
        "has(object.metadata.labels) && object.metadata.labels.all(key, key.startsWith('app') || key in ['env', 'tier'])",
    ),
    (
        "images",
        "object.spec.template.spec.containers.all(c, c.image.matches('^registry[.]example[.]com/') && has(c.resources.limits))",
    ),
    (
        "limits",
        "object.spec.template.spec.containers.all(c, quantity(c.resources.limits.memory).isLessThan(quantity('1Gi')))",
    ),
    (
        "message",
        "'%s/%s must not have %d replicas'.format([object.metadata.namespace, object.metadata.name, object.spec.replicas])",
    ),
];

fn environment() -> Env {
    Env::builder()
        .variable("object", Type::Dyn)
        .variable("oldObject", Type::Dyn)
        .build()
}

fn policies(c: &mut Criterion) {
    let env = environment();
    let containers: Vec<_> = (0..4)
        .map(|number| {
            json!({
                "name": format!("c{number}"),
                "image": "registry.example.com/app:v1",
                "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}},
            })
        })
        .collect();
    let object = json!({
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web", "env": "prod", "tier": "front"}},
        "spec": {"replicas": 3, "template": {"spec": {"containers": containers}}},
    });
    for (name, expression) in POLICIES {
        c.bench_function(&format!("compile/{name}"), |b| {
            b.iter(|| env.compile(black_box(expression)).expect("it compiles"));
        });
        let program = env.compile(expression).expect("it compiles");
        c.bench_function(&format!("evaluate/{name}"), |b| {
            b.iter(|| {
                let activation = Activation::new()
                    .with("object", Value::from_json(black_box(&object)))
                    .with("oldObject", Value::Null);
                program
                    .evaluate(&activation, &mut Budget::default())
                    .is_ok()
            });
        });
    }
}

criterion_group!(benches, policies);
criterion_main!(benches);
