use super::{Folder, listener};

const DAEMON: &str = "kube-apiserver";

/// What a server needs, but etcd.
const COMPLETE: &[&str] = &[
    "--etcd-servers=http://127.0.0.1:1",
    "--service-account-issuer=https://issuer",
    "--service-account-key-file={dir}/server.key",
    "--service-account-signing-key-file={dir}/server.key",
    "--bind-address=127.0.0.1",
    "--secure-port={port}",
    "--cert-dir={dir}",
];

#[test]
fn flags() {
    Folder::new().check(
        DAEMON,
        &[],
        &[
            (&["--nope"], "unknown flag: --nope"),
            (&["x"], "\"kube-apiserver\" does not take any arguments, got [\"x\"]"),
            (&["--etcd-prefix"], "flag needs an argument: --etcd-prefix"),
            (
                &["--secure-port=x"],
                "invalid argument \"x\" for \"--secure-port\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                &["--advertise-address=10.0.0.1", "--cert-dir={dir}"],
                "[--etcd-servers must be specified, service-account-issuer is a required flag, either `--service-account-key-file` or \
                 `--service-account-signing-endpoint` must be set, --service-account-signing-key-file and --service-account-issuer are required flags]",
            ),
        ],
    );
}

#[test]
fn values() {
    Folder::new().check(
        DAEMON,
        COMPLETE,
        &[
            (&["--authorization-mode=Foo"], "authorization-mode \"Foo\" is not a valid mode"),
            (
                &["--authorization-mode=RBAC,RBAC"],
                "authorization-mode [\"RBAC\" \"RBAC\"] has mode specified more than once",
            ),
            (
                &["--authorization-mode=Webhook"],
                "authorization-mode Webhook's authorization config file not passed",
            ),
            (
                &["--enable-admission-plugins=Bar"],
                "enable-admission-plugins plugin \"Bar\" is unknown",
            ),
            (
                &["--enable-admission-plugins=NodeRestriction", "--disable-admission-plugins=NodeRestriction"],
                "[NodeRestriction] in enable-admission-plugins and disable-admission-plugins overlapped",
            ),
            (&["--runtime-config=x/y=true"], "unknown api groups x/y"),
            (&["--runtime-config=apps=true"], "runtime-config invalid key apps"),
            (&["--runtime-config=api/all=maybe"], "invalid value api/all=maybe"),
            (
                &["--runtime-config=apps/v9=true"],
                "group version apps/v9 that has not been registered",
            ),
            (
                &["--runtime-config=api/all=false"],
                "[--runtime-config=api/all=false conflicts with --enable-priority-and-fairness=true, invalid runtime-config with only api/all=false]",
            ),
            (&["--service-cluster-ip-range=x"], "service-cluster-ip-range[0] is not a valid cidr"),
            (
                &["--service-cluster-ip-range=10.0.0.0/24,x"],
                "service-cluster-ip-range[1] is not an ip net",
            ),
            (
                &["--service-cluster-ip-range=10.0.0.0/24,10.1.0.0/24"],
                "--service-cluster-ip-range[0] and --service-cluster-ip-range[1] must be of different IP family",
            ),
            (
                &["--service-cluster-ip-range=10.0.0.0/31"],
                "error determining service IP ranges for primary service cidr: the service cluster IP range must be at least 8 IP addresses",
            ),
            (
                &["--service-cluster-ip-range=fd00::/108"],
                "service IP family \"fd00::/108\" must match public address family \"127.0.0.1\"",
            ),
            (&["--feature-gates=Nope=true"], "unrecognized feature gate: Nope"),
            (
                &["--feature-gates=ImageVolume=false"],
                "cannot set feature gate ImageVolume to false, feature is locked to true",
            ),
            (
                &["--secure-port=70000"],
                "--secure-port 70000 must be between 1 and 65535, inclusive. It cannot be turned off with 0",
            ),
            (
                &["--kubernetes-service-node-port=100"],
                "kubernetes service node port range 30000-32767 doesn't contain 100",
            ),
            (
                &["--storage-backend=etcd2"],
                "--storage-backend invalid, allowed values: etcd3. If not specified, it will default to 'etcd3'",
            ),
            (&["--max-requests-inflight=-1"], "--max-requests-inflight can not be negative value"),
            (
                &["--goaway-chance=0.5", "--request-timeout=-1s"],
                "[--request-timeout can not be negative value, --goaway-chance can not be less than 0 or greater than 0.02]",
            ),
            (
                &["--service-account-max-token-expiration=1m"],
                "the service-account-max-token-expiration must be between 1 hour and 2^32 seconds",
            ),
            (
                &["--service-account-jwks-uri=foo"],
                "service-account-jwks-uri requires https scheme, parsed as: foo",
            ),
            (
                &["--requestheader-group-headers= "],
                "empty value in \"requestheader-group-headers\"",
            ),
            (&["--watch-cache-sizes=pods#x"], "invalid size of watch cache size: pods#x"),
            (
                &["--emulated-version=9.9"],
                "emulation version 9.9 is not between [1.33, 1.36.0]",
            ),
            (&["--tls-min-version=foo"], "unknown tls version \"foo\""),
            (&["--tls-cipher-suites=foo"], "Cipher suite foo not supported or doesn't exist"),
            (&["--logging-format=foo"], "format: Invalid value: \"foo\": Unsupported log format"),
            (&["--endpoint-reconciler-type=foo"], "Reconciler not implemented: foo"),
        ],
    );
}

#[test]
fn files() {
    Folder::new().check(
        DAEMON,
        COMPLETE,
        &[
            (&["--client-ca-file=/nonexistent"], "open /nonexistent: no such file or directory"),
            (&["--client-ca-file={dir}/folder"], "read {dir}/folder: is a directory"),
            (
                &["--client-ca-file={dir}/empty"],
                "missing content for CA bundle \"client-ca-bundle::{dir}/empty\"",
            ),
            (
                &["--client-ca-file={dir}/junk"],
                "error loading CA bundle for \"client-ca-bundle::{dir}/junk\": data does not contain any valid RSA or ECDSA certificates",
            ),
            (
                &["--requestheader-client-ca-file={dir}/broken.crt"],
                "error loading CA bundle for \"request-header::{dir}/broken.crt\": x509: malformed certificate",
            ),
            (
                &["--tls-cert-file={dir}/server.crt"],
                "missing filename for serving cert: --tls-cert-file and --tls-private-key-file go together",
            ),
            (
                &["--tls-cert-file=/nonexistent", "--tls-private-key-file={dir}/server.key"],
                "open /nonexistent: no such file or directory",
            ),
            (
                &["--tls-cert-file={dir}/server.crt", "--tls-private-key-file={dir}/other.key"],
                "failed to load the serving certificate and key {dir}/server.crt and {dir}/other.key: tls: private key does not match public key",
            ),
            (
                &["--tls-cert-file={dir}/server.key", "--tls-private-key-file={dir}/server.crt"],
                "failed to load the serving certificate and key {dir}/server.key and {dir}/server.crt: tls: failed to find certificate PEM data in \
                 certificate input, but did find a private key; PEM inputs may have been switched",
            ),
            (
                &["--tls-sni-cert-key=/nonexistent,/nonexistent"],
                "failed to load SNI cert and key: open /nonexistent: no such file or directory",
            ),
            (
                &["--cert-dir=/proc/nope"],
                "error creating self-signed certificates: mkdir /proc/nope: no such file or directory",
            ),
            (
                &["--service-account-signing-key-file=/nonexistent"],
                "failed to parse service-account-issuer-key-file: open /nonexistent: no such file or directory",
            ),
            (
                &["--service-account-signing-key-file={dir}/junk"],
                "failed to parse service-account-issuer-key-file: error reading private key file {dir}/junk: data does not contain a valid RSA or \
                 ECDSA private key",
            ),
            (
                &["--service-account-key-file={dir}/junk"],
                "error reading public key file {dir}/junk: data does not contain any valid RSA or ECDSA public keys",
            ),
            (&["--token-auth-file=/nonexistent"], "open /nonexistent: no such file or directory"),
            (
                &["--token-auth-file={dir}/junk"],
                "token file '{dir}/junk' must have at least 3 columns (token, user name, user uid), found 1",
            ),
            (
                &["--encryption-provider-config={dir}/empty"],
                "error while parsing file: error while loading file: encryption provider configuration file \"{dir}/empty\" is empty",
            ),
            (
                &["--authentication-config={dir}/empty"],
                "failed to load authentication configuration from file \"{dir}/empty\": empty config data",
            ),
            (&["--authorization-config=/nonexistent"], "open /nonexistent: no such file or directory"),
            (
                &["--kubelet-client-certificate=/nonexistent", "--kubelet-client-key=/nonexistent"],
                "open /nonexistent: no such file or directory",
            ),
            (&["--etcd-cafile=/nonexistent"], "open /nonexistent: no such file or directory"),
            (
                &["--etcd-certfile={dir}/server.crt"],
                "KeyFile and CertFile must both be present[key: , cert: {dir}/server.crt]",
            ),
            (
                &["--etcd-servers=https://127.0.0.1:1", "--etcd-certfile={dir}/server.crt", "--etcd-keyfile={dir}/other.key"],
                "unable to use etcd's client certificate {dir}/server.crt and key {dir}/other.key: tls: private key does not match public key",
            ),
        ],
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
    Folder::new().check(DAEMON, COMPLETE, &[(&[&port], &want)]);
}

/// Each takes the 20 seconds that etcd has.
#[test]
fn without_etcd() {
    let silent = listener();
    let silent = format!("http://{}", silent.local_addr().expect("an address"));
    let silent_flag = format!("--etcd-servers={silent}");
    let silent_want = format!("etcd at {silent} is not reachable: context deadline exceeded");
    Folder::check_at_once(
        DAEMON,
        &COMPLETE[1..],
        &[
            (
                &["--etcd-servers=http://127.0.0.1:1"],
                "etcd at http://127.0.0.1:1 is not reachable: context deadline exceeded: dial tcp 127.0.0.1:1: connect: connection refused",
            ),
            (
                &[
                    "--etcd-servers=https://127.0.0.1:1",
                    "--tls-cert-file={dir}/expired.crt",
                    "--tls-private-key-file={dir}/server.key",
                ],
                "etcd at https://127.0.0.1:1 is not reachable: context deadline exceeded: dial tcp 127.0.0.1:1: connect: connection refused",
            ),
            (&[&silent_flag], &silent_want),
        ],
    );
}
