//! The operator of kube-rs: what it owns follows the object, its status and events are seen, it goes on after the API server was away, and its
//! finalizer holds an object until it has tidied up.

use std::time::Duration;

use e2e::Cluster;

use super::{LIMIT, NAMESPACE, SITES, apply, available};

const READY: &str = "jsonpath={.status.ready}/{.status.observedGeneration}";

pub(super) fn publishes(cluster: &Cluster) {
    available(cluster, "website-operator");
    // The operator defines its kind itself.
    apply_website(cluster, "home", "welcome", 2);
    let home = ["-n", SITES, "get", "website", "home", "-o"];
    cluster.expect(LIMIT, "2/1", &[&home[..], &[READY]].concat());
    let owner =
        "jsonpath={.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].controller}";
    for kind in ["configmap", "deployment"] {
        cluster.expect(
            LIMIT,
            "Website/true",
            &["-n", SITES, "get", kind, "home", "-o", owner],
        );
    }
    let events = [
        "-n",
        SITES,
        "get",
        "events",
        "--field-selector=reason=Published",
        "-o",
        "jsonpath={.items[*].message}",
    ];
    cluster.expect_that(LIMIT, &events, "tells of pods that serve", |printed| {
        printed.is_ok_and(|printed| printed.contains("2 pods serve the page"))
    });
    // What it owns comes back, and follows.
    cluster
        .kubectl(&["-n", SITES, "delete", "configmap", "home"], "")
        .expect("it is there");
    apply_website(cluster, "home", "welcome back", 1);
    let page = [
        "-n",
        SITES,
        "get",
        "configmap",
        "home",
        "-o",
        "jsonpath={.data.index\\.html}",
    ];
    cluster.expect(LIMIT, "welcome back", &page);
    cluster.expect(LIMIT, "1/2", &[&home[..], &[READY]].concat());
    // The status is a subresource: a write of the object leaves it.
    let patch = [
        "-n",
        SITES,
        "patch",
        "website",
        "home",
        "--type=merge",
        "-p",
        r#"{"status":{"ready":77}}"#,
    ];
    cluster
        .kubectl(&patch, "")
        .expect("it is allowed and has no effect");
    cluster.expect(LIMIT, "1/2", &[&home[..], &[READY]].concat());
}

/// Watches break with the API server and begin again with it.
pub(super) fn survives_the_api_server(cluster: &Cluster) {
    cluster.kill("kube-apiserver");
    cluster.start_what_is_missing();
    apply_website(cluster, "second", "after the interruption", 1);
    let second = ["-n", SITES, "get", "website", "second", "-o", READY];
    // Clients wait longer and longer between their attempts.
    cluster.expect(Duration::from_secs(180), "1/1", &second);
}

/// Nothing but the finalizer strikes a Website out of the ledger; the garbage collector takes the rest.
pub(super) fn tidies_up(cluster: &Cluster) {
    let ledger = ["-n", NAMESPACE, "get", "configmap", "ledger", "-o"];
    let line = [&ledger[..], &["jsonpath={.data.sites\\.second}"]].concat();
    cluster.expect(LIMIT, "after the interruption", &line);
    let stop = [
        "-n",
        NAMESPACE,
        "scale",
        "deployment",
        "website-operator",
        "--replicas=0",
    ];
    cluster.kubectl(&stop, "").expect("it is there");
    let pods = [
        "-n",
        NAMESPACE,
        "get",
        "pods",
        "-l",
        "app=website-operator",
        "-o",
        "name",
    ];
    cluster.expect(LIMIT, "", &pods);
    let delete = ["-n", SITES, "delete", "website", "second", "--wait=false"];
    cluster.kubectl(&delete, "").expect("it is there");
    let finalizers = [
        "-n",
        SITES,
        "get",
        "website",
        "second",
        "-o",
        "jsonpath={.metadata.finalizers[0]}",
    ];
    cluster.expect(LIMIT, "e2e.example.com/ledger", &finalizers);
    cluster.expect(LIMIT, "after the interruption", &line);
    let start = [
        "-n",
        NAMESPACE,
        "scale",
        "deployment",
        "website-operator",
        "--replicas=1",
    ];
    cluster.kubectl(&start, "").expect("it is there");
    let left = [
        "-n",
        SITES,
        "get",
        "website,configmap,deployment",
        "-l",
        "e2e.example.com/website=second",
        "-o",
        "name",
    ];
    cluster.expect(LIMIT, "", &line);
    cluster.expect(LIMIT, "", &left);
    cluster.expect(
        LIMIT,
        "website.e2e.example.com/home",
        &["-n", SITES, "get", "website", "-o", "name"],
    );
}

#[track_caller]
pub(super) fn apply_website(cluster: &Cluster, name: &str, text: &str, replicas: u32) {
    apply(cluster, &website(name, text, replicas));
}

pub(super) fn website(name: &str, text: &str, replicas: u32) -> String {
    format!(
        "apiVersion: e2e.example.com/v1\nkind: Website\nmetadata: {{name: {name}, namespace: {SITES}}}\nspec: {{text: {text:?}, replicas: {replicas}}}\n"
    )
}
