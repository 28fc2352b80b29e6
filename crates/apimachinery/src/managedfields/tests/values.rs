use serde_json::json;

use super::*;

#[track_caller]
fn typed(value: Value) -> TypedValue {
    TypedValue::new(value, deployment_type(), true).expect("a Deployment")
}

fn spec(pod_spec: Value) -> Value {
    json!({"spec": {"template": {"spec": pod_spec}}})
}

#[track_caller]
fn check_merge(live: Value, config: Value, want: Value) {
    let merged = typed(spec(live))
        .merge(&typed(spec(config)))
        .expect("merges")
        .value;
    assert_eq!(merged, spec(want));
}

#[test]
fn lists_merge_in_the_applied_order() {
    let named = |names: &[&str]| -> Value {
        json!({"containers": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()})
    };
    let check = |live: &[&str], config: &[&str], want: &[&str]| {
        check_merge(named(live), named(config), named(want))
    };
    check(&["a", "b"], &["a", "b"], &["a", "b"]);
    check(&["a", "b"], &["b", "a"], &["b", "a"]);
    check(&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]);
    check(&["a", "x", "b"], &["b", "a"], &["x", "b", "a"]);
    check(&["x", "a", "b"], &["a", "y", "b"], &["x", "a", "y", "b"]);
    check(&["a", "b"], &["c"], &["a", "b", "c"]);
    check(&[], &["c"], &["c"]);
    check(&["a", "b", "c", "d"], &["d", "b"], &["a", "c", "d", "b"]);
}

#[test]
fn values_merge_by_type() {
    // Associative lists by key, with the default of an absent key.
    check_merge(
        json!({"containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "x"}]}]}),
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": 1}]}]}),
        json!({"containers": [{"name": "a", "image": "1",
            "ports": [{"containerPort": 80, "protocol": "TCP", "name": "x", "hostPort": 1}]}]}),
    );
    // Atomic lists and maps whole.
    check_merge(
        json!({"containers": [{"name": "a", "args": ["1", "2"]}], "nodeSelector": {"a": "1"}}),
        json!({"containers": [{"name": "a", "args": ["3"]}], "nodeSelector": {"b": "2"}}),
        json!({"containers": [{"name": "a", "args": ["3"]}], "nodeSelector": {"b": "2"}}),
    );
    // Granular maps by entry, structs by field, and null wins.
    check_merge(
        json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": "1"}}}], "hostNetwork": true, "hostname": "h"}),
        json!({"containers": [{"name": "a", "resources": {"limits": {"memory": "1"}}}], "hostname": null}),
        json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1"}}}], "hostNetwork": true,
            "hostname": null}),
    );
    // An empty object on one side keeps the other's.
    check_merge(
        json!({"securityContext": {"runAsUser": 1}}),
        json!({"securityContext": {}}),
        json!({"securityContext": {"runAsUser": 1}}),
    );
}

#[test]
fn invalid_values_are_refused_with_their_path() {
    let check = |value: Value, want: &str| {
        let error = TypedValue::new(value, deployment_type(), false).expect_err(want);
        assert_eq!(error.to_string(), want);
    };
    check(
        json!({"spec": {"replicaz": 1}}),
        ".spec.replicaz: field not declared in schema",
    );
    check(
        json!({"spec": {"replicas": "1"}}),
        ".spec.replicas: expected numeric (int or float), got string",
    );
    check(
        json!({"spec": {"paused": "x"}}),
        ".spec.paused: expected boolean, got &{x}",
    );
    check(
        json!({"spec": {"minReadySeconds": 1, "template": {"spec": {"hostname": 1}}}}),
        ".spec.template.spec.hostname: expected string, got &value.valueUnstructured{Value:1}",
    );
    check(json!({"spec": []}), ".spec: expected map, got &{[]}");
    check(
        spec(json!({"containers": {}})),
        ".spec.template.spec.containers: expected list, got &{map[]}",
    );
    check(
        spec(json!({"containers": [{"name": "a"}, {"name": "a"}]})),
        ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]",
    );
    check(
        spec(json!({"containers": [null]})),
        ".spec.template.spec.containers: element 0: associative list with keys may not have a null element",
    );
    check(
        json!({"metadata": {"finalizers": [["x"]]}}),
        ".metadata.finalizers: element 0: not supported: associative list with lists as elements",
    );
    check(
        json!({"spec": {"a": 1, "b": 2}}),
        "errors:\n  .spec.a: field not declared in schema\n  .spec.b: field not declared in schema",
    );
    // What is stored may have duplicates.
    TypedValue::new(
        spec(json!({"containers": [{"name": "a"}, {"name": "a"}]})),
        deployment_type(),
        true,
    )
    .expect("stored");
}

#[test]
fn field_sets() {
    let value = typed(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "a", "labels": {"x": "1"}, "finalizers": ["f/1"], "annotations": {}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"x": "1"}}, "strategy": {"rollingUpdate": null}, "template": {"spec": {
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "resources": {}, "args": []}],
            "volumes": [],
        }}},
    }));
    assert_eq!(
        text(&value.to_field_set()),
        text(&set(&json!({
            "f:apiVersion": {}, "f:kind": {},
            "f:metadata": {"f:name": {}, "f:labels": {"f:x": {}}, "f:finalizers": {"v:\"f/1\"": {}}, "f:annotations": {}},
            "f:spec": {"f:replicas": {}, "f:selector": {}, "f:strategy": {"f:rollingUpdate": {}}, "f:template": {"f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}, "f:resources": {}, "f:args": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}},
            }}},
        })))
    );
}

#[test]
fn comparisons() {
    let old = typed(spec(
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}], "hostname": "h",
        "nodeSelector": {"x": "1"}}),
    ));
    let new = typed(spec(
        json!({"containers": [{"name": "a", "image": "2"}, {"name": "c", "image": "1"}], "subdomain": "s",
        "nodeSelector": {"x": "2"}}),
    ));
    let compared = old.compare(&new).expect("same type");
    let at = ".spec.template.spec";
    assert_eq!(
        paths(&compared.removed),
        [
            format!("{at}.hostname"),
            format!("{at}.containers[name=\"b\"]"),
            format!("{at}.containers[name=\"b\"].image"),
            format!("{at}.containers[name=\"b\"].name"),
        ]
    );
    assert_eq!(
        paths(&compared.modified),
        [
            format!("{at}.nodeSelector"),
            format!("{at}.containers[name=\"a\"].image")
        ]
    );
    assert_eq!(
        paths(&compared.added),
        [
            format!("{at}.subdomain"),
            format!("{at}.containers[name=\"c\"]"),
            format!("{at}.containers[name=\"c\"].image"),
            format!("{at}.containers[name=\"c\"].name"),
        ]
    );
    assert!(old.compare(&old).expect("same type").is_same());
    // Null and empty differ, absent and empty too.
    let null = typed(json!({"spec": null}));
    let empty = typed(json!({"spec": {}}));
    assert_eq!(
        paths(&null.compare(&empty).expect("same type").modified),
        [".spec"]
    );
    assert_eq!(
        paths(&typed(json!({})).compare(&empty).expect("same type").added),
        [".spec"]
    );
}

#[test]
fn duplicates_compare_as_one() {
    let env = |values: &[&str]| {
        let env: Vec<Value> = values
            .iter()
            .map(|v| json!({"name": "e", "value": v}))
            .collect();
        typed(spec(json!({"containers": [{"name": "a", "env": env}]})))
    };
    let at = ".spec.template.spec.containers[name=\"a\"].env[name=\"e\"]";
    let compared = env(&["1", "2"])
        .compare(&env(&["1", "3"]))
        .expect("same type");
    assert_eq!(paths(&compared.modified), [at]);
    let compared = env(&["1"]).compare(&env(&["1", "2"])).expect("same type");
    assert_eq!(paths(&compared.added), [at]);
    assert_eq!(
        paths(&compared.removed),
        [at.to_owned(), format!("{at}.name"), format!("{at}.value")]
    );
    assert!(
        env(&["1", "2"])
            .compare(&env(&["1", "2"]))
            .expect("same type")
            .is_same()
    );
    assert!(
        env(&["1", "2"]).to_field_set().has(
            &env(&["1"])
                .to_field_set()
                .paths()
                .into_iter()
                .find(|p| p.to_string() == at)
                .expect("the item")
        )
    );
}

#[test]
fn items_are_removed_and_extracted() {
    let value = typed(spec(
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}], "hostname": "h"}),
    ));
    let items = set(
        &json!({"f:spec": {"f:template": {"f:spec": {"f:hostname": {}, "f:containers": {
            "k:{\"name\":\"a\"}": {"f:image": {}}, "k:{\"name\":\"b\"}": {},
        }}}}}),
    );
    assert_eq!(
        value.remove_items(&items).value,
        spec(json!({"containers": [{"name": "a"}]}))
    );
    assert_eq!(
        value.extract_items(&items).value,
        spec(json!({"containers": [{"image": "1"}, {"name": "b"}], "hostname": "h"}))
    );
    // What loses everything stays, empty.
    let labels = typed(json!({"metadata": {"labels": {"a": "1"}}}));
    let items = set(&json!({"f:metadata": {"f:labels": {"f:a": {}}}}));
    assert_eq!(
        labels.remove_items(&items).value,
        json!({"metadata": {"labels": {}}})
    );
}

#[test]
fn sets_follow_a_schema_that_became_atomic() {
    let value = typed(json!({"spec": {"selector": {"matchLabels": {"a": "1"}}}}));
    let old = set(
        &json!({"f:spec": {"f:replicas": {}, "f:selector": {"f:matchLabels": {".": {}, "f:a": {}}}}}),
    );
    let new = value.reconcile(&old).expect("selectors are atomic now");
    assert_eq!(
        text(&new),
        r#"{"f:spec":{"f:replicas":{},"f:selector":{}}}"#
    );
    assert_eq!(value.reconcile(&new), None);
}

#[test]
fn unknown_types_are_deduced() {
    let value =
        |value: Value| TypedValue::new(value, ObjectType::deduced(), false).expect("anything fits");
    let old = value(json!({"spec": {"a": 1, "list": [1, 2], "map": {"x": {"y": 1}}}}));
    assert_eq!(
        text(&old.to_field_set()),
        r#"{"f:spec":{".":{},"f:a":{},"f:list":{},"f:map":{".":{},"f:x":{".":{},"f:y":{}}}}}"#
    );
    let merged = old
        .merge(&value(json!({"spec": {"list": [3], "map": {"z": 1}}})))
        .expect("merges")
        .value;
    assert_eq!(
        merged,
        json!({"spec": {"a": 1, "list": [3], "map": {"x": {"y": 1}, "z": 1}}})
    );
    let compared = old
        .compare(&value(
            json!({"spec": {"a": {"b": 1}, "list": [1, 2], "map": {"x": {"y": 1}}}}),
        ))
        .expect("same");
    assert_eq!(
        (paths(&compared.modified), paths(&compared.added)),
        (vec![".spec.a".to_owned()], vec![".spec.a.b".to_owned()])
    );
}
