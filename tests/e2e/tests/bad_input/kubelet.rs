use std::path::Path;

use super::{Folder, Row};

const DAEMON: &str = "kubelet";
/// A kubelet that keeps to the folder and finds no runtime.
const HEADER: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupV1: false\nfailSwapOn: false\n\
    containerRuntimeEndpoint: unix:///nonexistent.sock\nauthentication: {anonymous: {enabled: true}, webhook: {enabled: false}}\n\
    authorization: {mode: AlwaysAllow}\n";
const FOLDERS: &[&str] = &[
    "--root-dir={dir}/root",
    "--cert-dir={dir}/pki",
    "--hostname-override=n",
    "--config={dir}/config.yaml",
];
const NO_RUNTIME: &str = "failed to run Kubelet: validate service connection: validate CRI v1 runtime API for endpoint \"unix:///nonexistent.sock\": \
    rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial unix /nonexistent.sock: connect: no such \
    file or directory\"";

/// Checks a file, with the fields after [`HEADER`].
#[track_caller]
fn check_fields(folder: &Folder, fields: &str, want: &str) {
    folder.write(
        "config.yaml",
        &format!(
            "{HEADER}podLogsDir: {}/logs\n{fields}",
            folder.path().display()
        ),
    );
    folder.check(DAEMON, FOLDERS, &[(&[], want)]);
}

#[test]
fn flags() {
    let folder = Folder::new();
    folder.write("config.yaml", HEADER);
    folder.check(
        DAEMON,
        FOLDERS,
        &[
            (&["--nope"], "failed to parse kubelet flag: unknown flag: --nope"),
            (&["x"], "unknown command x"),
            (
                &["--max-pods=x"],
                "failed to parse kubelet flag: invalid argument \"x\" for \"--max-pods\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                &["--register-with-taints=foo"],
                "failed to parse kubelet flag: invalid argument \"foo\" for \"--register-with-taints\" flag: invalid taint spec: foo",
            ),
            (
                &["--config-dir=/nonexistent"],
                "failed to merge kubelet configs: failed to walk through kubelet dropin directory \"/nonexistent\": lstat /nonexistent: no such file or \
                 directory",
            ),
            (
                &["--exit-on-lock-contention"],
                "failed to run Kubelet: cannot exit on lock file contention: no lock file specified",
            ),
        ],
    );
}

#[test]
fn configurations() {
    let folder = Folder::new();
    let load = "failed to load kubelet config file, path: {dir}/config.yaml, error: failed to load Kubelet config file {dir}/config.yaml, error";
    let check = |text: &str, want: &str| {
        folder.write("config.yaml", text);
        folder.check(DAEMON, FOLDERS, &[(&[], &format!("{load} {want}"))]);
    };
    check("", "kubelet config file \"{dir}/config.yaml\" was empty");
    check(
        "a: [\n",
        "failed to decode: yaml: line 1: unclosed bracket '['",
    );
    check(
        "apiVersion: v1\nkind: Pod\n",
        "failed to decode: no kind \"Pod\" is registered for version \"v1\"",
    );
    check(
        &format!("{HEADER}maxPods: x\n"),
        "failed to decode: json: cannot unmarshal string into Go struct field KubeletConfiguration.maxPods of type int32",
    );
    let missing: Row<'_> = (
        &["--config=/nonexistent"],
        "failed to load kubelet config file, path: /nonexistent, error: failed to load Kubelet config file /nonexistent, error failed to read kubelet \
         config file \"/nonexistent\", error: open /nonexistent: no such file or directory",
    );
    folder.check(DAEMON, FOLDERS, &[missing]);
    for (fields, want) in [
        (
            "maxPods: -1\npodsPerCore: -1\n",
            "failed to validate kubelet configuration, error: [invalid configuration: maxPods (--max-pods) -1 must not be a negative number, invalid \
             configuration: podsPerCore (--pods-per-core) -1 must not be a negative number]",
        ),
        // Unknown fields are no reason not to start: the next mistake is told.
        (
            "foo: 1\nhairpinMode: foo\n",
            "failed to validate kubelet configuration, error: invalid configuration: option \"foo\" specified for hairpinMode (--hairpin-mode). Valid \
             options are \"none\", \"hairpin-veth\" or \"promiscuous-bridge\"",
        ),
        (
            "registerWithTaints: [{key: a, effect: Foo}]\n",
            "failed to validate kubelet configuration, error: invalid taint: {a  Foo <nil>}",
        ),
        (
            "containerLogMaxWorkers: 0\ncontainerLogMonitorInterval: 1s\n",
            "failed to validate kubelet configuration, error: [invalid configuration: containerLogMaxWorkers must be greater than or equal to 1, invalid \
             configuration: containerLogMonitorInterval must be a positive time duration greater than or equal to 3s]",
        ),
        (
            "featureGates: {ImageVolume: false}\n",
            "failed to set feature gates from initial flags-based config: cannot set feature gate ImageVolume to false, feature is locked to true",
        ),
        (
            "logging: {format: foo}\n",
            "initialize logging: logging.format: Invalid value: \"foo\": Unsupported log format",
        ),
        (
            "tlsMinVersion: foo\n",
            "failed to construct kubelet dependencies: unknown tls version \"foo\"",
        ),
    ] {
        check_fields(&folder, fields, want);
    }
}

/// These come after the kubelet has made its folders, one of which only root may make.
#[test]
fn surroundings() {
    if !Path::new("/var/log/containers").exists()
        && std::fs::create_dir("/var/log/containers").is_err()
    {
        eprintln!("skipped: /var/log/containers cannot be made");
        return;
    }
    let folder = Folder::new();
    check_fields(&folder, "", NO_RUNTIME);
    check_fields(
        &folder,
        "containerRuntimeEndpoint: foo://x\n",
        "failed to run Kubelet: protocol \"foo\" not supported: container runtime endpoint \"foo://x\" is not a Unix socket: write it as \
         unix:///path/to/the.sock",
    );
    let authentication =
        |fields: &str| format!("authentication: {{anonymous: {{enabled: true}}, {fields}}}\n");
    check_fields(
        &folder,
        &authentication("webhook: {enabled: true}"),
        "failed to run Kubelet: no client provided, cannot use webhook authentication",
    );
    check_fields(
        &folder,
        &authentication("webhook: {enabled: false}, x509: {clientCAFile: /nonexistent}"),
        "failed to run Kubelet: open /nonexistent: no such file or directory",
    );
    check_fields(
        &folder,
        "authorization: {mode: Foo}\n",
        "failed to run Kubelet: unknown authorization mode Foo",
    );
    check_fields(&folder, "", NO_RUNTIME);
    folder.check(
        DAEMON,
        FOLDERS,
        &[
            (
                &["--kubeconfig=/nonexistent"],
                "failed to run Kubelet: invalid kubeconfig: stat /nonexistent: no such file or directory",
            ),
            (
                &["--kubeconfig={dir}/folder"],
                "failed to run Kubelet: invalid kubeconfig: error loading config file \"{dir}/folder\": read {dir}/folder: is a directory",
            ),
            (
                &["--kubeconfig={dir}/yaml.conf"],
                "failed to run Kubelet: invalid kubeconfig: error loading config file \"{dir}/yaml.conf\": yaml: line 1: unclosed bracket '['",
            ),
            (
                &["--kubeconfig={dir}/kind.conf"],
                "failed to run Kubelet: invalid kubeconfig: error loading config file \"{dir}/kind.conf\": no kind \"Pod\" is registered for version \"v1\": want kind \"Config\" of version \"v1\"",
            ),
            (
                &["--kubeconfig={dir}/nothing.conf"],
                "failed to run Kubelet: invalid kubeconfig: invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable",
            ),
            (
                &["--kubeconfig={dir}/context.conf"],
                "failed to run Kubelet: invalid kubeconfig: invalid configuration: [context was not found for specified context: nope, cluster has no server defined]",
            ),
            (
                &["--kubeconfig={dir}/no-ca.conf"],
                "failed to run Kubelet: invalid kubeconfig: invalid configuration: unable to read certificate-authority /nonexistent for c due to open /nonexistent: no such file or directory",
            ),
            (
                &["--kubeconfig={dir}/no-key.conf"],
                "failed to run Kubelet: invalid kubeconfig: invalid configuration: client-key-data or client-key must be specified for u to use the clientCert authentication method.",
            ),
            (
                &["--kubeconfig={dir}/no-token.conf"],
                "failed to run Kubelet: invalid kubeconfig: open /nonexistent: no such file or directory",
            ),
            (
                &["--kubeconfig={dir}/address.conf"],
                "failed to run Kubelet: failed to initialize kubelet client: host must be a URL or a host:port pair: \"https://[::1\"",
            ),
            (
                &["--kubeconfig={dir}/bad-ca.conf"],
                "failed to run Kubelet: failed to initialize kubelet client: certificate-authority {dir}/junk: unable to load root certificates: unable to parse bytes as PEM block",
            ),
            (
                &["--kubeconfig={dir}/other-key.conf"],
                "failed to run Kubelet: failed to initialize kubelet client: client certificate {dir}/server.crt and key {dir}/other.key: tls: private key does not match public key",
            ),
            (&["--kubeconfig={dir}/dead.conf"], NO_RUNTIME),
            (
                &["--kubeconfig={dir}/new.conf", "--bootstrap-kubeconfig=/nonexistent"],
                "failed to run Kubelet: unable to load bootstrap kubeconfig: stat /nonexistent: no such file or directory",
            ),
        ],
    );
}
