//! The resource table against recorded discovery documents.

use api_types::kinds;
use api_types::resources::{RESOURCES, ResourceInfo};
use serde_json::Value;

fn recorded() -> Value {
    serde_json::from_str(include_str!("discovery.json")).expect("the recording is JSON")
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map(|items| items.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

#[test]
fn what_is_on_by_default_equals_the_recording() {
    let recorded = recorded();
    let mut expected = 0;
    for (group_version, resources) in recorded.as_object().expect("an object") {
        let (group, version) = group_version.rsplit_once('/').expect("group/version");
        for want in resources.as_array().expect("a list") {
            expected += 1;
            let name = want["resource"].as_str().expect("text");
            let got = api_types::resources::lookup(group, version, name)
                .unwrap_or_else(|| panic!("{group_version} {name} is missing"));
            assert!(got.default_on, "{name}");
            assert_eq!(got.kind, want["kind"], "{name}");
            assert_eq!(got.singular, want["singular"], "{name}");
            assert_eq!(got.namespaced, want["scope"] == "Namespaced", "{name}");
            assert_eq!(got.short_names, strings(&want["shortNames"]), "{name}");
            assert_eq!(got.categories, strings(&want["categories"]), "{name}");
            assert_eq!(got.verbs, strings(&want["verbs"]), "{name}");
            let empty = Vec::new();
            let subresources = want["subresources"].as_array().unwrap_or(&empty);
            assert_eq!(got.subresources.len(), subresources.len(), "{name}");
            for (got, want) in got.subresources.iter().zip(subresources) {
                assert_eq!(got.name, want["name"], "{name}");
                assert_eq!(got.verbs, strings(&want["verbs"]), "{name}/{}", got.name);
                let kind = want["kind"].as_str().expect("text").rsplit('/').next();
                assert_eq!(Some(got.kind), kind, "{name}/{}", got.name);
            }
        }
    }
    assert_eq!(
        RESOURCES.iter().filter(|row| row.default_on).count(),
        expected
    );
    assert_eq!(expected, 68);
    let subresources: usize = RESOURCES
        .iter()
        .filter(|row| row.default_on)
        .map(|row| row.subresources.len())
        .sum();
    assert_eq!(subresources, 45);
}

#[test]
fn every_kind_of_the_table_exists() {
    for row in RESOURCES {
        let found = kinds::lookup(row.group, row.version, row.kind);
        assert!(found.is_some(), "{row:?}");
        for sub in row.subresources {
            assert!(
                kinds::lookup(sub.group, sub.version, sub.kind).is_some(),
                "{}/{}: {sub:?}",
                row.resource,
                sub.name
            );
        }
    }
}

#[test]
fn storage_is_as_upstream_lays_it_out() {
    let of = |group, version, resource| {
        let row: &ResourceInfo =
            api_types::resources::lookup(group, version, resource).expect("listed");
        row.storage
            .map(|storage| (storage.group, storage.version, storage.prefix))
    };
    for (group, version, resource, want) in [
        ("", "v1", "pods", Some(("", "v1", "pods"))),
        ("", "v1", "nodes", Some(("", "v1", "minions"))),
        ("", "v1", "services", Some(("", "v1", "services/specs"))),
        (
            "",
            "v1",
            "endpoints",
            Some(("", "v1", "services/endpoints")),
        ),
        (
            "",
            "v1",
            "replicationcontrollers",
            Some(("", "v1", "controllers")),
        ),
        ("", "v1", "bindings", None),
        (
            "networking.k8s.io",
            "v1",
            "ingresses",
            Some(("networking.k8s.io", "v1", "ingress")),
        ),
        ("events.k8s.io", "v1", "events", Some(("", "v1", "events"))),
        (
            "autoscaling",
            "v1",
            "horizontalpodautoscalers",
            Some(("autoscaling", "v2", "horizontalpodautoscalers")),
        ),
        (
            "admissionregistration.k8s.io",
            "v1",
            "mutatingadmissionpolicies",
            Some((
                "admissionregistration.k8s.io",
                "v1beta1",
                "mutatingadmissionpolicies",
            )),
        ),
        (
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            Some((
                "apiextensions.k8s.io",
                "v1beta1",
                "apiextensions.k8s.io/customresourcedefinitions",
            )),
        ),
        (
            "resource.k8s.io",
            "v1beta1",
            "resourceclaims",
            Some(("resource.k8s.io", "v1", "resourceclaims")),
        ),
    ] {
        assert_eq!(
            of(group, version, resource),
            want,
            "{group}/{version} {resource}"
        );
    }
    let keys: std::collections::BTreeSet<_> = RESOURCES
        .iter()
        .filter(|row| row.default_on)
        .filter_map(|row| row.storage.map(|s| s.prefix))
        .collect();
    assert_eq!(
        keys.len(),
        58,
        "upstream's default configuration has 58 key spaces"
    );
}
