use super::{Folder, KUBECONFIGS, listener};

const DAEMON: &str = "kube-scheduler";
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
            (&["x"], "\"kube-scheduler\" does not take any arguments, got [\"x\"]"),
            (&["--kubeconfig"], "flag needs an argument: --kubeconfig"),
            (
                &["--leader-elect=maybe"],
                "invalid argument \"maybe\" for \"--leader-elect\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                &["--secure-port=70000", "--requestheader-username-headers= "],
                "[--secure-port 70000 must be between 1 and 65535, inclusive. It cannot be turned off with 0, empty value in \
                 \"requestheader-username-headers\"]",
            ),
            (
                &["--feature-gates=ImageVolume=false"],
                "cannot set feature gate ImageVolume to false, feature is locked to true",
            ),
            (
                &["--show-hidden-metrics-for-version=9.9"],
                "metrics.showHiddenMetricsForVersion: Invalid value: \"9.9\": must be omitted or have the value '1.35'; only the previous minor \
                 version is allowed",
            ),
            (
                &["--allow-metric-labels-manifest=/nonexistent"],
                "metrics.allowListMappingManifest: Invalid value: \"/nonexistent\": failed to read allow list manifest: open /nonexistent: no such \
                 file or directory",
            ),
            (
                &["--emulated-version=kube=1.20"],
                "[emulation version 1.20 is not between [1.33, 1.36.0], minCompatibilityVersion version 1.33 is not between [1.33, 1.20]]",
            ),
            (
                &["--log-flush-frequency=-1s"],
                "flushFrequency: Invalid value: \"-1s\": Must be greater than zero",
            ),
            (
                &[],
                "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable",
            ),
            (
                &["--kubeconfig={dir}/dead.conf", "--client-ca-file=/nonexistent"],
                "unable to load client CA provider: open /nonexistent: no such file or directory",
            ),
            (
                &["--kubeconfig={dir}/dead.conf", "--authentication-kubeconfig=/nonexistent"],
                "failed to get delegated authentication kubeconfig: stat /nonexistent: no such file or directory",
            ),
        ],
    );
}

#[test]
fn kubeconfigs() {
    Folder::new().check(DAEMON, SERVING, KUBECONFIGS);
}

#[test]
fn configurations() {
    let folder = Folder::new();
    let header = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
    let check = |text: &str, want: &str| {
        folder.write("config.yaml", text);
        folder.check(DAEMON, SERVING, &[(&["--config={dir}/config.yaml"], want)]);
    };
    let with = |fields: &str, want: &str| check(&format!("{header}{fields}"), want);
    folder.check(
        DAEMON,
        SERVING,
        &[
            (
                &["--config=/nonexistent"],
                "open /nonexistent: no such file or directory",
            ),
            (
                &["--config={dir}/folder"],
                "read {dir}/folder: is a directory",
            ),
        ],
    );
    check("", "Object 'Kind' is missing in ''");
    check("a: [\n", "yaml: line 1: unclosed bracket '['");
    check("kind: X\n", "Object 'apiVersion' is missing in 'kind: X'");
    check(
        "apiVersion: v1\nkind: Pod\n",
        "no kind \"Pod\" is registered for version \"v1\"",
    );
    with("foo: 1\n", "strict decoding error: unknown field \"foo\"");
    with(
        "parallelism: x\n",
        "json: cannot unmarshal string into Go struct field KubeSchedulerConfiguration.parallelism of type int32",
    );
    with(
        "parallelism: 0\npercentageOfNodesToScore: 200\n",
        "[parallelism: Invalid value: 0: should be an integer value greater than zero, percentageOfNodesToScore: Invalid value: 200: not in \
         valid range [0-100]]",
    );
    with(
        "profiles:\n- pluginConfig:\n  - name: InterPodAffinity\n    args: {hardPodAffinityWeight: x}\n",
        "decoding .profiles[0].pluginConfig[0]: decoding args for plugin InterPodAffinity: json: cannot unmarshal string into Go struct field \
         InterPodAffinityArgs.hardPodAffinityWeight of type int32",
    );
    with(
        "clientConnection: {kubeconfig: dead.conf}\nprofiles:\n- plugins: {filter: {enabled: [{name: Foo}]}}\n",
        "initializing profiles: creating profile for scheduler name default-scheduler: FilterPlugin \"Foo\" does not exist",
    );
}

#[test]
fn a_busy_port() {
    let busy = listener();
    let address = busy.local_addr().expect("an address");
    let port = format!("--secure-port={}", address.port());
    let want = format!(
        "failed to create listener: failed to listen on {address}: listen tcp {address}: bind: address already in use"
    );
    let row: &[&str] = &["--kubeconfig={dir}/dead.conf", &port];
    Folder::new().check(DAEMON, SERVING, &[(row, &want)]);
}
