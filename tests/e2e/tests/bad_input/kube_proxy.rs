use super::Folder;

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
    Folder::new().check(
        DAEMON,
        HARMLESS,
        &[
            (
                &["--kubeconfig=/nonexistent"],
                "stat /nonexistent: no such file or directory",
            ),
            (
                &["--kubeconfig={dir}/folder"],
                "error loading config file \"{dir}/folder\": read {dir}/folder: is a directory",
            ),
            (
                &["--kubeconfig={dir}/yaml.conf"],
                "error loading config file \"{dir}/yaml.conf\": yaml: line 1: unclosed bracket '['",
            ),
            (
                &["--kubeconfig={dir}/kind.conf"],
                "error loading config file \"{dir}/kind.conf\": no kind \"Pod\" is registered for version \"v1\": want kind \"Config\" of version \"v1\"",
            ),
            (
                &["--kubeconfig={dir}/nothing.conf"],
                "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable",
            ),
            (
                &["--kubeconfig={dir}/context.conf"],
                "invalid configuration: [context was not found for specified context: nope, cluster has no server defined]",
            ),
            (
                &["--kubeconfig={dir}/no-ca.conf"],
                "invalid configuration: unable to read certificate-authority /nonexistent for c due to open /nonexistent: no such file or directory",
            ),
            (
                &["--kubeconfig={dir}/no-key.conf"],
                "invalid configuration: client-key-data or client-key must be specified for u to use the clientCert authentication method.",
            ),
            (
                &["--kubeconfig={dir}/no-token.conf"],
                "open /nonexistent: no such file or directory",
            ),
            (
                &["--kubeconfig={dir}/address.conf"],
                "host must be a URL or a host:port pair: \"https://[::1\"",
            ),
            (
                &["--kubeconfig={dir}/bad-ca.conf"],
                "certificate-authority {dir}/junk: unable to load root certificates: unable to parse bytes as PEM block",
            ),
            (
                &["--kubeconfig={dir}/other-key.conf"],
                "client certificate {dir}/server.crt and key {dir}/other.key: tls: private key does not match public key",
            ),
        ],
    );
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
