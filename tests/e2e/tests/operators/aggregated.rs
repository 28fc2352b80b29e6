//! An API server behind ours: found by its APIService, told who asks, and asking whether they may.

use e2e::Cluster;

use super::{LIMIT, SITES, apply, available, certificates};

pub(super) fn serves(cluster: &Cluster) {
    let authority = certificates::make(cluster, "wares");
    apply(
        cluster,
        &include_str!("manifests/aggregated.yaml").replace("@CA@", &authority),
    );
    available(cluster, "wares");
    let condition = "jsonpath={.status.conditions[?(@.type==\"Available\")].status}";
    cluster.expect(
        LIMIT,
        "True",
        &["get", "apiservice", "v1.wares.example.com", "-o", condition],
    );
    let resources = [
        "api-resources",
        "--api-group=wares.example.com",
        "-o",
        "name",
    ];
    cluster.expect(LIMIT, "wares.wares.example.com", &resources);

    // Who asks is passed on, and what they may is asked of the cluster.
    let ware = format!(
        "apiVersion: wares.example.com/v1\nkind: Ware\nmetadata: {{name: cup, namespace: {SITES}}}\n"
    );
    let create = ["create", "--validate=false", "-f", "-"];
    cluster.kubectl(&create, &ware).expect("the admin may");
    let get = [
        "-n",
        SITES,
        "get",
        "wares",
        "cup",
        "-o",
        "jsonpath={.madeBy}",
    ];
    cluster.expect(LIMIT, "kubernetes-admin", &get);
    let account = "--as=system:serviceaccount:sites:default";
    let get_as = [&get[..], &[account]].concat();
    let error = cluster
        .kubectl(&get_as, "")
        .expect_err("the ServiceAccount has no rights");
    assert!(
        error
            .contains("User \"system:serviceaccount:sites:default\" cannot get resource \"wares\""),
        "{error}"
    );
    for command in [
        &[
            "-n",
            SITES,
            "create",
            "role",
            "wares",
            "--verb=get",
            "--resource=wares.wares.example.com",
        ][..],
        &[
            "-n",
            SITES,
            "create",
            "rolebinding",
            "wares",
            "--role=wares",
            "--serviceaccount=sites:default",
        ],
    ] {
        cluster.kubectl(command, "").expect("the admin may");
    }
    cluster.expect(LIMIT, "kubernetes-admin", &get_as);
    cluster
        .kubectl(&["-n", SITES, "delete", "wares", "cup"], "")
        .expect("it is there");

    // Whoever comes another way, without the certificate of the cluster's API server, is nobody.
    let address = [
        "-n",
        super::NAMESPACE,
        "get",
        "service",
        "wares",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ];
    let address = cluster.kubectl(&address, "").expect("it is there");
    let url = format!("https://{address}/apis/wares.example.com/v1/namespaces/{SITES}/wares/cup");
    let answer = std::process::Command::new("curl")
        .args([
            "-sk",
            "--max-time",
            "10",
            "-H",
            "X-Remote-User: kubernetes-admin",
            &url,
        ])
        .output()
        .expect("curl is there");
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(answer.contains("\"code\":401"), "{answer}");

    // Away, it is neither available nor in the way of the rest.
    let scale = |replicas| {
        [
            "-n",
            super::NAMESPACE,
            "scale",
            "deployment",
            "wares",
            replicas,
        ]
    };
    cluster
        .kubectl(&scale("--replicas=0"), "")
        .expect("it is there");
    cluster.expect(
        LIMIT,
        "False",
        &["get", "apiservice", "v1.wares.example.com", "-o", condition],
    );
    cluster
        .kubectl(&["-n", SITES, "get", "configmaps"], "")
        .expect("of ours");
    cluster
        .kubectl(&scale("--replicas=1"), "")
        .expect("it is there");
    cluster.expect(
        LIMIT,
        "True",
        &["get", "apiservice", "v1.wares.example.com", "-o", condition],
    );
}
