//! Warnings about the pods of a namespace, and which updates of pods count.

use api_types::core::v1::Pod as ApiPod;
use serde_json::json;

use super::*;
use levels::Version;

const BASELINE: LevelVersion = LevelVersion {
    level: Level::Baseline,
    version: Version::Latest,
};

fn plugin() -> PodSecurity {
    PodSecurity::new(&Settings::default(), Configuration::default())
}

fn pod(name: &str, owner: &str, spec: serde_json::Value) -> ApiPod {
    let owners = match owner {
        "" => json!([]),
        uid => json!([{"uid": uid, "controller": true}]),
    };
    let pod = json!({"metadata": {"name": name, "ownerReferences": owners}, "spec": spec});
    api_types::decode_json(pod.to_string().as_bytes()).unwrap()
}

#[test]
fn existing_pods_are_counted() {
    let (network, pid) = (json!({"hostNetwork": true}), json!({"hostPID": true}));
    let path = json!({"hostPID": true, "volumes": [{"name": "v", "hostPath": {}}]});
    let pods = [
        pod("e", "", network.clone()),
        pod("d", "", pid),
        pod("c", "", json!({})),
        pod("b", "", network),
        pod("a", "", path),
    ];
    assert_eq!(
        plugin().warnings("n", BASELINE, pods.iter(), || false),
        [
            "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a: host namespaces, hostPath volumes",
            "b (and 2 other pods): host namespaces",
        ]
    );
    assert!(
        plugin()
            .warnings("n", BASELINE, pods[2..3].iter(), || true)
            .is_empty()
    );
}

#[test]
fn not_all_pods_are_looked_at() {
    let pods: Vec<ApiPod> = (0..3002)
        .map(|i| pod(&i.to_string(), "", json!({})))
        .collect();
    let first = |count| {
        vec![format!(
            "new PodSecurity enforce level only checked against the first {count} of 3002 existing pods"
        )]
    };
    assert_eq!(
        plugin().warnings("n", BASELINE, pods.iter(), || false),
        first(3000)
    );
    assert_eq!(
        plugin().warnings("n", BASELINE, pods.iter(), || true),
        first(1)
    );
    // Every controller's first pod comes first.
    let bad = json!({"hostPID": true});
    let pods = [
        pod("a", "1", json!({})),
        pod("b", "1", bad.clone()),
        pod("c", "2", bad),
    ];
    let calls = std::cell::Cell::new(0);
    let late_at_second = || {
        calls.set(calls.get() + 1);
        calls.get() == 2
    };
    assert_eq!(
        plugin().warnings("n", BASELINE, pods.iter(), late_at_second),
        [
            "new PodSecurity enforce level only checked against the first 2 of 3 existing pods",
            "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "c: host namespaces",
        ]
    );
}

#[test]
fn only_containers_and_images_count() {
    let spec = |image: &str| json!({"containers": [{"name": "a", "image": image}]});
    let mut debugged = spec("x");
    debugged["ephemeralContainers"] = json!([{"name": "e", "image": "x"}]);
    let mut labelled = spec("x");
    labelled["activeDeadlineSeconds"] = json!(3);
    let old = pod("p", "", spec("x"));
    for (new, expected) in [
        (spec("x"), false),
        (spec("y"), true),
        (debugged.clone(), true),
        (labelled, false),
    ] {
        assert_eq!(is_significant(&pod("p", "", new).spec, &old.spec), expected);
    }
    let debugged = pod("p", "", debugged);
    assert!(!is_significant(&debugged.spec, &debugged.spec));
}
