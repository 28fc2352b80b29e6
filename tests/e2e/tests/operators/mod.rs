//! What others run in a cluster, in pods with ServiceAccounts of their own: an operator of kube-rs, an admission webhook, an API server behind ours
//! (all three the program of tests/operator), and an operator of kopf.

mod aggregated;
mod certificates;
mod kopf;
mod kube_rs;
mod webhook;

use std::time::Duration;

use e2e::Cluster;

/// The namespace of the programs; the objects that they are about are in `sites`.
const NAMESPACE: &str = "operators";
const SITES: &str = "sites";
/// For a thing that takes a pod's start at most.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs all of them, one after the other, since each is about what the one before has made; removes everything.
pub(crate) fn run(cluster: &Cluster) {
    apply(cluster, include_str!("manifests/operator.yaml"));
    kube_rs::publishes(cluster);
    webhook::admits(cluster);
    aggregated::serves(cluster);
    kube_rs::survives_the_api_server(cluster);
    kube_rs::tidies_up(cluster);
    kopf::runs(cluster);
    remove(cluster);
}

#[track_caller]
fn apply(cluster: &Cluster, manifest: &str) {
    if let Err(error) = cluster.kubectl(&["apply", "-f", "-"], manifest) {
        panic!("kubectl apply: {error}");
    }
}

/// Waits until all pods of a Deployment serve. Their logs are in the message when they do not.
#[track_caller]
fn available(cluster: &Cluster, deployment: &str) {
    let name = format!("deployment/{deployment}");
    let wait = ["-n", NAMESPACE, "rollout", "status", &name, "--timeout=90s"];
    if let Err(error) = cluster.kubectl(&wait, "") {
        let logs = cluster.kubectl(&["-n", NAMESPACE, "logs", &name, "--tail=20"], "");
        let pods = cluster.kubectl(&["-n", NAMESPACE, "describe", "pods"], "");
        panic!("{deployment} does not become available: {error}\n{logs:?}\n{pods:?}");
    }
}

fn remove(cluster: &Cluster) {
    for (kind, name) in [
        ("validatingwebhookconfiguration", "websites.e2e.example.com"),
        ("mutatingwebhookconfiguration", "websites.e2e.example.com"),
        ("apiservice", "v1.wares.example.com"),
        ("namespace", SITES),
        ("namespace", NAMESPACE),
        ("crd", "websites.e2e.example.com"),
        ("clusterrole", "website-operator"),
        ("clusterrolebinding", "website-operator"),
        ("clusterrolebinding", "wares:system:auth-delegator"),
    ] {
        let delete = ["delete", kind, name, "--timeout=90s"];
        if let Err(error) = cluster.kubectl(&delete, "") {
            panic!("kubectl {delete:?}: {error}");
        }
    }
    let binding = [
        "-n",
        "kube-system",
        "delete",
        "rolebinding",
        "wares-auth-reader",
    ];
    cluster.kubectl(&binding, "").expect("it was made");
}
