use super::{Folder, KUBECONFIGS};

const DAEMON: &str = "kube-controller-manager";
const SERVING: &[&str] = &[
    "--bind-address=127.0.0.1",
    "--secure-port={port}",
    "--cert-dir={dir}",
    "--leader-elect=false",
];

#[test]
fn flags() {
    Folder::new().check(
        DAEMON,
        SERVING,
        &[
            (&["--nope"], "unknown flag: --nope"),
            (&["--kubeconfig"], "flag needs an argument: --kubeconfig"),
            (
                &["--kube-api-qps=x"],
                "invalid argument \"x\" for \"--kube-api-qps\" flag: strconv.ParseFloat: parsing \"x\": invalid syntax",
            ),
            (&["--controllers=nope"], "\"nope\" is not in the list of known controllers"),
            (
                &["--secure-port=70000", "--leader-elect=true", "--leader-elect-resource-lock=foo"],
                "[resourceLock value must be \"leases\", --secure-port 70000 must be between 1 and 65535, inclusive. It cannot be turned off with 0]",
            ),
            (
                &["--concurrent-job-syncs=0", "--concurrent-resourceclaim-syncs=0"],
                "[concurrent-resourceclaim-syncs must be larger than 0, got 0, concurrent-job-syncs must be greater than 0, but got 0]",
            ),
            (
                &["--max-endpoints-per-slice=5000"],
                "max-endpoints-per-slice must not be more than 1000, but got 5000",
            ),
            (
                &["--attach-detach-reconcile-sync-period=0s"],
                "duration time must be greater than one second as set via command line option reconcile-sync-loop-period",
            ),
            (
                &["--cluster-signing-kubelet-client-cert-file=/x"],
                "\"cluster-signing-kube-apiserver-client\": cannot specify cert without key",
            ),
            (
                &["--cloud-provider=gce"],
                "cloud provider \"gce\" was specified, but built-in cloud providers are disabled. Please set --cloud-provider=external and migrate \
                 to an external cloud provider",
            ),
            (
                &["--kube-api-burst=-1"],
                "burst is required to be greater than 0 when RateLimiter is not set and QPS is set to greater than 0",
            ),
            (
                &["--enable-leader-migration", "--leader-migration-config=/nonexistent"],
                "unable to read leader migration configuration from \"/nonexistent\": open /nonexistent: no such file or directory",
            ),
            (
                &["--kubeconfig={dir}/dead.conf", "--requestheader-client-ca-file=/nonexistent"],
                "unable to create request header authentication config: open /nonexistent: no such file or directory",
            ),
            (
                &["--kubeconfig={dir}/dead.conf", "--authentication-kubeconfig={dir}/dead.conf"],
                "unable to load configmap based request-header-client-ca-file: Get \
                 \"https://127.0.0.1:1/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication\": dial tcp 127.0.0.1:1: \
                 connect: connection refused",
            ),
            (
                &["--kubeconfig={dir}/dead.conf", "--authorization-kubeconfig={dir}/context.conf"],
                "failed to get delegated authorization kubeconfig: invalid configuration: [context was not found for specified context: nope, cluster \
                 has no server defined]",
            ),
        ],
    );
}

#[test]
fn kubeconfigs() {
    Folder::new().check(DAEMON, SERVING, KUBECONFIGS);
}

/// It takes the 10 seconds that the API server has.
#[test]
fn without_an_api_server() {
    Folder::new().check(
        DAEMON,
        SERVING,
        &[(
            &["--kubeconfig={dir}/dead.conf"],
            "failed to wait for apiserver being healthy: timed out waiting for the condition: failed to get apiserver /healthz status: Get \
             \"https://127.0.0.1:1/healthz\": dial tcp 127.0.0.1:1: connect: connection refused",
        )],
    );
}
