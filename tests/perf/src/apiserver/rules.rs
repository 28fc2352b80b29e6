//! rules: what CEL costs an object, in a CustomResourceDefinition and in a ValidatingAdmissionPolicy.
//!
//! Three definitions have the same schema and get the same objects. The second has rules, and about the third's objects there is a
//! policy with as many validations. All exist all the time; what is compared are creations, which are dry runs.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::bench::Bench;
use super::compare::{Variant, compare};
use super::objects::NAMESPACE;
use super::setup::{self, ADMISSION, DEFINITIONS, create, labels};
use crate::Result;
use crate::connection::{Call, JSON};

const GROUP: &str = "perf.example.com";
const PLAIN: &str = "plain";
const RULED: &str = "ruled";
const GOVERNED: &str = "governed";

pub(super) async fn measure(bench: &mut Bench<'_>) -> Result<()> {
    let client = &bench.client;
    let count = bench.options.rules;
    for (name, rules) in [
        (PLAIN, json!([])),
        (RULED, rules(count, "self")),
        (GOVERNED, json!([])),
    ] {
        create(client, DEFINITIONS, &definition(name, rules)).await?;
    }
    for (resource, object) in policy(count) {
        create(client, &format!("{ADMISSION}/{resource}"), &object).await?;
    }
    let good = |name: &str| object(name, 3);
    for name in [PLAIN, RULED, GOVERNED] {
        setup::until(
            client,
            Method::POST,
            &path(name),
            &good(name),
            |status, _| status.is_success(),
        )
        .await?;
    }
    // More than the most that every rule allows.
    for name in [RULED, GOVERNED] {
        setup::until(
            client,
            Method::POST,
            &path(name),
            &object(name, 50),
            |status, _| status == StatusCode::UNPROCESSABLE_ENTITY,
        )
        .await?;
    }
    let variant = |workload, name| {
        let body = good(name).to_string();
        Variant {
            workload,
            caller: &bench.admin,
            call: Box::new(move |_| Call::with_body(Method::POST, path(name), JSON, body.clone())),
        }
    };
    let mut records = compare(
        bench,
        &[
            variant("rules-none", PLAIN),
            variant("rules-definition", RULED),
            variant("rules-policy", GOVERNED),
        ],
    )
    .await?;
    for record in &mut records[1..] {
        record.note = format!("{count} rules, {}", record.note);
    }
    bench.write(records)
}

fn path(name: &str) -> String {
    format!("/apis/{GROUP}/v1/namespaces/{NAMESPACE}/{name}s?dryRun=All")
}

/// Rules of the kinds that people write, about an object of that name.
fn rules(count: usize, object: &str) -> Value {
    let kinds = [
        format!("{object}.spec.replicas <= {object}.spec.maxReplicas"),
        format!("{object}.spec.image.matches('^[a-z0-9.-]+/[a-z0-9/-]+:[0-9.]+$')"),
        format!("{object}.spec.ports.all(port, port.number > 0 && port.number < 65536)"),
        format!(
            "!has({object}.spec.suspend) || !{object}.spec.suspend || {object}.spec.replicas == 0"
        ),
        format!("{object}.spec.ports.exists_one(port, port.name == 'http')"),
    ];
    (0..count)
        .map(|number| {
            // No two are the same text.
            let rule = &kinds[number % kinds.len()];
            json!(format!(
                "{object}.spec.maxReplicas >= {} && {rule}",
                number / kinds.len() % 10
            ))
        })
        .collect()
}

fn definition(name: &str, rules: Value) -> Value {
    let rules: Vec<Value> = rules
        .as_array()
        .into_iter()
        .flatten()
        .map(|rule| json!({"rule": rule, "message": "is not allowed"}))
        .collect();
    let mut schema = json!({
        "type": "object",
        "properties": {"spec": {
            "type": "object",
            "required": ["replicas", "maxReplicas", "image", "ports"],
            "properties": {
                "replicas": {"type": "integer"},
                "maxReplicas": {"type": "integer"},
                "suspend": {"type": "boolean"},
                "image": {"type": "string", "maxLength": 200},
                "ports": {"type": "array", "maxItems": 10, "items": {
                    "type": "object",
                    "required": ["name", "number"],
                    "properties": {"name": {"type": "string", "maxLength": 20}, "number": {"type": "integer"}}
                }}
            }
        }},
        "required": ["spec"]
    });
    if !rules.is_empty() {
        schema["x-kubernetes-validations"] = rules.into();
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{name}s.{GROUP}"), "labels": labels()},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": format!("{name}s"), "singular": name, "kind": kind(name)},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]
        }
    })
}

fn kind(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_uppercase() + rest
}

/// The policy and its binding.
fn policy(count: usize) -> [(&'static str, Value); 2] {
    let rules = rules(count, "object");
    let validations: Vec<Value> = rules
        .as_array()
        .into_iter()
        .flatten()
        .map(|rule| json!({"expression": rule}))
        .collect();
    let metadata = json!({"name": "governed.perf.example.com", "labels": labels()});
    [
        (
            "validatingadmissionpolicies",
            json!({
                "metadata": metadata,
                "spec": {
                    "failurePolicy": "Fail",
                    "matchConstraints": {"resourceRules": [{
                        "apiGroups": [GROUP], "apiVersions": ["v1"], "resources": [format!("{GOVERNED}s")], "operations": ["CREATE"]
                    }]},
                    "validations": validations
                }
            }),
        ),
        (
            "validatingadmissionpolicybindings",
            json!({
                "metadata": metadata,
                "spec": {
                    "policyName": "governed.perf.example.com",
                    "validationActions": ["Deny"],
                    "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}
                }
            }),
        ),
    ]
}

fn object(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind(name),
        "metadata": {"name": "checkout"},
        "spec": {
            "replicas": replicas,
            "maxReplicas": 10,
            "image": "registry.example.com/shop/checkout:4.17.2",
            "ports": [{"name": "http", "number": 8080}, {"name": "metrics", "number": 9090}]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_differ() {
        let rules = rules(50, "self");
        let rules: std::collections::HashSet<_> = rules.as_array().unwrap().iter().collect();
        assert_eq!(rules.len(), 50);
    }
}
