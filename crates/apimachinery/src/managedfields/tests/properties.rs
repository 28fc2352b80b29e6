//! What must hold for any object and any configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::Time;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::gvk::GroupVersionKind;

fn fields() -> FieldManager {
    let kind = GroupVersionKind::new("apps", "v1", "Deployment");
    FieldManager::new(
        kind,
        "",
        Arc::new(BuiltInTypes::single_version("Deployment")),
        BTreeMap::new(),
    )
}

fn now() -> Time {
    Time::parse("2024-01-01T00:00:00Z").expect("a time")
}

fn live_with(applied: &Applied) -> Value {
    let entries: Vec<Value> = applied
        .managed_fields
        .iter()
        .map(|entry| serde_json::from_slice(&api_types::encode_json(entry)).expect("JSON"))
        .collect();
    let mut live = applied.object.clone();
    live["metadata"]["managedFields"] = Value::from(entries);
    live["metadata"]["uid"] = Value::from("1");
    live
}

fn any_container() -> impl Strategy<Value = Value> {
    (
        "[a-c]",
        prop::option::of("[x-z]"),
        prop::option::of(prop::collection::vec("[a-b]", 0..3)),
        prop::option::of(prop::collection::btree_map(
            1u16..4,
            prop::option::of("[p-q]"),
            1..3,
        )),
        prop::option::of(prop::collection::btree_map("[a-b]", "[0-1]", 1..3)),
    )
        .prop_map(|(name, image, args, ports, env)| {
            let mut container = json!({"name": name});
            if let Some(image) = image {
                container["image"] = json!(image);
            }
            if let Some(args) = args {
                container["args"] = json!(args);
            }
            if let Some(ports) = ports {
                let ports = ports.into_iter().map(|(port, name)| match name {
                    Some(name) => json!({"containerPort": port, "name": name}),
                    None => json!({"containerPort": port}),
                });
                container["ports"] = ports.collect();
            }
            if let Some(env) = env {
                container["env"] = env
                    .into_iter()
                    .map(|(name, value)| json!({"name": name, "value": value}))
                    .collect();
            }
            container
        })
}

/// A configuration of a Deployment, with lists in any order. Empty associative lists are left out: nobody can own one, so
/// that it goes when another manager withdraws its items.
fn any_config() -> impl Strategy<Value = Value> {
    (
        prop::option::of(0i64..3),
        prop::option::of(prop::collection::btree_map("[a-c]", "[0-1]", 0..3)),
        prop::option::of(prop::collection::btree_map("[a-c]", "[0-1]", 0..3)),
        prop::collection::vec(any_container(), 1..4),
        prop::option::of(prop::collection::vec("[a-c]", 1..3)),
    )
        .prop_map(
            |(replicas, labels, node_selector, containers, finalizers)| {
                let mut config = json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "d"}, "spec": {"template": {"spec": {}}}});
                if let Some(replicas) = replicas {
                    config["spec"]["replicas"] = json!(replicas);
                }
                if let Some(labels) = labels {
                    config["metadata"]["labels"] = json!(labels);
                }
                if let Some(mut finalizers) = finalizers {
                    finalizers.sort();
                    finalizers.dedup();
                    config["metadata"]["finalizers"] = json!(finalizers);
                }
                if let Some(selector) = node_selector {
                    config["spec"]["template"]["spec"]["nodeSelector"] = json!(selector);
                }
                let mut names = std::collections::HashSet::new();
                let containers: Vec<Value> = containers
                    .into_iter()
                    .filter(|c| names.insert(c["name"].to_string()))
                    .collect();
                config["spec"]["template"]["spec"]["containers"] = json!(containers);
                config
            },
        )
}

fn typed(value: &Value) -> TypedValue {
    let mut value = value.clone();
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    TypedValue::new(value, deployment_type(), true).expect("a Deployment")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn applying_twice_is_applying_once(first in any_config(), second in any_config()) {
        let (fields, now) = (fields(), now());
        let empty = BuiltInTypes::single_version("Deployment").empty_object("apps/v1");
        let applied = fields.apply(&empty, &first, "a", false, now).expect("the first applier has no conflicts");
        let applied = fields.apply(&live_with(&applied), &second, "b", true, now).expect("forced");
        let again = fields.apply(&live_with(&applied), &second, "b", false, now).expect("its own fields do not conflict");
        prop_assert!(!again.changed);
        prop_assert_eq!(&again.managed_fields, &applied.managed_fields);
        prop_assert_eq!(typed(&again.object).value, typed(&live_with(&applied)).value);
    }

    #[test]
    fn what_is_applied_is_there(first in any_config(), second in any_config()) {
        let (fields, now) = (fields(), now());
        let empty = BuiltInTypes::single_version("Deployment").empty_object("apps/v1");
        let applied = fields.apply(&empty, &first, "a", false, now).expect("no conflicts");
        let applied = fields.apply(&live_with(&applied), &second, "b", true, now).expect("forced");
        let compared = typed(&second).compare(&typed(&applied.object)).expect("same type");
        // Empty lists and maps of the configuration do not empty those of others.
        prop_assert!(compared.removed.is_empty() && compared.modified.is_empty(), "{:?}", compared);
    }

    #[test]
    fn withdrawing_leaves_what_others_own(first in any_config(), second in any_config()) {
        let (fields, now) = (fields(), now());
        let empty = BuiltInTypes::single_version("Deployment").empty_object("apps/v1");
        let nothing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
        let alone = fields.apply(&empty, &first, "a", false, now).expect("no conflicts");
        let Ok(both) = fields.apply(&live_with(&alone), &second, "b", false, now) else { return Ok(()) };
        let rest = fields.apply(&live_with(&both), &nothing, "b", false, now).expect("nothing to conflict");
        // Everything that the first applied is still there, and still the first's.
        let compared = typed(&first).compare(&typed(&rest.object)).expect("same type");
        prop_assert!(compared.removed.is_empty() && compared.modified.is_empty(), "{:?}", compared);
        prop_assert!(rest.managed_fields.iter().all(|entry| entry.manager == "a"));
        prop_assert_eq!(&rest.managed_fields, &alone.managed_fields);
    }

    #[test]
    fn every_field_of_a_created_object_has_one_owner(config in any_config(), changed in any_config()) {
        let (fields, now) = (fields(), now());
        let empty = BuiltInTypes::single_version("Deployment").empty_object("apps/v1");
        let created = fields.update(&empty, &config, "a", now).expect("create");
        let live = live_with(&Applied { object: config, managed_fields: created, changed: true });
        let mut new = changed;
        new["metadata"]["managedFields"] = live["metadata"]["managedFields"].clone();
        new["metadata"]["uid"] = json!("1");
        let entries = fields.update(&live, &new, "b", now).expect("update");
        let sets: Vec<Set> =
            entries.iter().map(|e| Set::parse(e.fields_v1.as_ref().expect("fields")).expect("a set")).collect();
        for (i, a) in sets.iter().enumerate() {
            for b in &sets[i + 1..] {
                prop_assert!(a.intersection(b).is_empty());
            }
        }
        let all = sets.iter().fold(Set::new(), |all, set| all.union(set));
        // Nobody owns what is not there. Empty lists are, though they are in no field set.
        let compared = typed(&new).compare(&typed(&empty)).expect("same type");
        let there = typed(&new).to_field_set().union(&compared.removed).union(&compared.modified);
        for path in all.leaves().paths() {
            prop_assert!(there.has(&path), "{path}");
        }
    }

    #[test]
    fn nothing_panics(
        live in crate::patch::json::tests::any_object(true),
        config in crate::patch::json::tests::any_object(true),
        part in any_config(),
    ) {
        let fields = fields();
        let mut live = live;
        live["metadata"] = part["metadata"].clone();
        let mut config = config;
        config["apiVersion"] = json!("apps/v1");
        config["kind"] = json!("Deployment");
        config["spec"] = part["spec"].clone();
        let now = now();
        let _ = fields.apply(&live, &config, "a", true, now);
        let _ = fields.apply(&part, &config, "a", false, now);
        let _ = fields.update(&part, &config, "a", now);
        let deduced = |value: &Value| TypedValue::new(value.clone(), ObjectType::deduced(), true);
        if let (Ok(a), Ok(b)) = (deduced(&live), deduced(&config)) {
            let _ = a.merge(&b);
            let compared = a.compare(&b).expect("anything compares");
            let _ = a.remove_items(&compared.removed);
            let _ = a.extract_items(&compared.modified);
        }
    }
}
