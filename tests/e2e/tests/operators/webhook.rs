//! The admission webhook behind a Service: it changes and refuses, looks something up as its own ServiceAccount, and its failure policy counts while it is away.

use e2e::Cluster;

use super::kube_rs::{apply_website, website};
use super::{LIMIT, NAMESPACE, SITES, apply, available, certificates};

const REFUSED: &str = "admission webhook \"validate.websites.e2e.example.com\" denied the request: the word \"rubbish\" is forbidden";

pub(super) fn admits(cluster: &Cluster) {
    let authority = certificates::make(cluster, "website-webhook");
    apply(cluster, include_str!("manifests/webhook.yaml"));
    available(cluster, "website-webhook");
    let configuration = include_str!("manifests/webhook-configurations.yaml");
    apply(cluster, &configuration.replace("@CA@", &authority));

    let dry = ["create", "--dry-run=server", "-f", "-"];
    // The configurations take effect some time after they are made.
    let end = std::time::Instant::now() + LIMIT;
    loop {
        let created = cluster.kubectl(&dry, &website("bad", "this is rubbish", 0));
        match &created {
            Err(error) if error.contains(REFUSED) => break,
            _ => assert!(std::time::Instant::now() < end, "not refused: {created:?}"),
        }
    }
    apply_website(cluster, "noted", "fine", 0);
    let annotation = "jsonpath={.metadata.annotations.e2e\\.example\\.com/asked-for-by}";
    cluster.expect(
        LIMIT,
        "kubernetes-admin",
        &["-n", SITES, "get", "website", "noted", "-o", annotation],
    );
    // The operator's own writes are admitted too.
    cluster.expect(
        LIMIT,
        "0/1",
        &[
            "-n",
            SITES,
            "get",
            "website",
            "noted",
            "-o",
            "jsonpath={.status.ready}/{.status.observedGeneration}",
        ],
    );
    cluster
        .kubectl(
            &["-n", SITES, "delete", "website", "noted", "--timeout=60s"],
            "",
        )
        .expect("the finalizer is taken off");

    let scale = |replicas| {
        [
            "-n",
            NAMESPACE,
            "scale",
            "deployment",
            "website-webhook",
            replicas,
        ]
    };
    cluster
        .kubectl(&scale("--replicas=0"), "")
        .expect("it is there");
    let pods = [
        "-n",
        NAMESPACE,
        "get",
        "pods",
        "-l",
        "app=website-webhook",
        "-o",
        "name",
    ];
    cluster.expect(LIMIT, "", &pods);
    let error = cluster
        .kubectl(&dry, &website("away", "fine", 0))
        .expect_err("its failure policy is Fail");
    assert!(
        error.contains("failed calling webhook \"mutate.websites.e2e.example.com\""),
        "{error}"
    );
    cluster
        .kubectl(&scale("--replicas=1"), "")
        .expect("it is there");
    available(cluster, "website-webhook");
}
