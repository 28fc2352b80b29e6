use super::{Folder, KUBECONFIGS};

const DAEMON: &str = "kube-proxy";
const HEADER: &str =
    "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n";
/// The machine's connection tracking is left alone.
const HARMLESS: &[&str] = &[
    "--proxy-mode=nftables",
    "--conntrack-max-per-core=0",
    "--conntrack-min=0",
    "--conntrack-tcp-timeout-established=0",
    "--conntrack-tcp-timeout-close-wait=0",
    "--healthz-bind-address=127.0.0.1:{port}",
    "--metrics-bind-address=127.0.0.1:{port}",
];

#[test]
fn flags() {
    Folder::new().check(
        DAEMON,
        HARMLESS,
        &[
            (&["--nope"], "unknown flag: --nope"),
            (&["--kubeconfig"], "flag needs an argument: --kubeconfig"),
            (
                &["--proxy-mode=foo"],
                "failed validate: KubeProxyConfiguration.Mode.ProxyMode: Invalid value: \"foo\": must be iptables, ipvs, nftables or blank (blank \
                 means the best-available proxy [currently iptables])",
            ),
            (
                &["--proxy-mode=iptables"],
                "mode: only nftables is supported by this release: set mode: nftables in the configuration file or --proxy-mode=nftables",
            ),
            (&["--hostname-override= "], "failed complete: empty hostname-override is invalid"),
            (
                &["--feature-gates=ImageVolume=false"],
                "failed complete: cannot set feature gate ImageVolume to false, feature is locked to true",
            ),
            (
                &["--nodeport-addresses=x"],
                "failed validate: KubeProxyConfiguration.NodePortAddresses[0]: Invalid value: \"x\": must be a valid CIDR",
            ),
        ],
    );
}

#[test]
fn kubeconfigs() {
    Folder::new().check(DAEMON, HARMLESS, KUBECONFIGS);
}

#[test]
fn configurations() {
    let folder = Folder::new();
    let check = |text: &str, want: &str| {
        folder.write("config.yaml", text);
        folder.check(DAEMON, &[], &[(&["--config={dir}/config.yaml"], want)]);
    };
    let with = |fields: &str, want: &str| check(&format!("{HEADER}{fields}"), want);
    folder.check(
        DAEMON,
        &[],
        &[(
            &["--config=/nonexistent"],
            "failed complete: open /nonexistent: no such file or directory",
        )],
    );
    check(
        "",
        "failed complete: failed to decode: Object 'Kind' is missing in ''",
    );
    check(
        "a: [\n",
        "failed complete: failed to decode: yaml: line 1: unclosed bracket '['",
    );
    check(
        "apiVersion: v1\nkind: Pod\n",
        "failed complete: failed to decode: no kind \"Pod\" is registered for version \"v1\"",
    );
    with(
        "configSyncPeriod: x\n",
        "failed complete: failed to decode: time: invalid duration \"x\"",
    );
    // Unknown fields are no reason not to start: the next mistake is told.
    with(
        "foo: 1\noomScoreAdj: -2000\n",
        "failed validate: KubeProxyConfiguration.KubeProxyLinuxConfiguration.OOMScoreAdj: Invalid value: -2000: must be within the range [-1000, 1000]",
    );
    with(
        "bindAddress: x\nhealthzBindAddress: 127.0.0.1:99999\nmetricsBindAddress: foo\n",
        "failed validate: [KubeProxyConfiguration.BindAddress: Invalid value: \"x\": not a valid textual representation of an IP address, \
         KubeProxyConfiguration.HealthzBindAddress: Invalid value: \"99999\": must be a valid port, KubeProxyConfiguration.MetricsBindAddress: \
         Invalid value: \"foo\": must be IP:port]",
    );
    with(
        "clusterCIDR: 10.0.0.0/8,10.1.0.0/16\n",
        "failed validate: KubeProxyConfiguration.DetectLocalConfiguration.ClusterCIDRs: Invalid value: [\"10.0.0.0/8\",\"10.1.0.0/16\"]: must be a \
         either a single CIDR or dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]",
    );
    with(
        "nftables: {syncPeriod: -1s, minSyncPeriod: -2s}\n",
        "failed validate: [KubeProxyConfiguration.SyncPeriod: Invalid value: \"-1s\": must be greater than 0, KubeProxyConfiguration.MinSyncPeriod: \
         Invalid value: \"-2s\": must be greater than or equal to 0]",
    );
    with(
        "detectLocalMode: Foo\n",
        "failed validate: KubeProxyConfiguration.DetectLocalMode: Unsupported value: \"Foo\": supported values: \"ClusterCIDR\", \"NodeCIDR\", \
         \"BridgeInterface\", \"InterfaceNamePrefix\", \"\"",
    );
    with(
        "logging: {format: foo}\n",
        "initialize logging: logging.format: Invalid value: \"foo\": Unsupported log format",
    );
}
