//! Bad start-up input: what each daemon says, and with which exit code it ends, for wrong flags, files, certificates, kubeconfigs
//! and addresses nobody answers at. The texts are upstream's, with a file or an address added where upstream names none.
//!
//! A file per daemon holds its table. A row is a command line; `{dir}` in it is a folder with the files of [`Folder::new`], and
//! `{port}` is free. The binaries of this build are run as they are, without root and in bounded time.

mod apiserver;
mod controller_manager;
mod kube_proxy;
mod kubelet;
mod scheduler;

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

/// The longest any row takes: 20 seconds of waiting for etcd, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The arguments, and the error that must be the last thing said.
type Row<'a> = (&'a [&'a str], &'a str);

/// Kubeconfigs that no client takes: every daemon says the same of them.
const KUBECONFIGS: &[Row<'static>] = &[
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
];

/// Files that rows name.
struct Folder(tempfile::TempDir);

impl Folder {
    /// Certificates `ca.crt`, `server.crt`, `expired.crt`, the keys `server.key` and `other.key`; files `empty`, `junk` (no PEM, no
    /// YAML mapping) and `broken.crt` (PEM of nothing); the folder `folder`; kubeconfigs `*.conf`, of which `dead.conf` is in order but
    /// for its server, where nobody listens.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        let key = || KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, key()).expect("an authority");
        let (server_key, other_key) = (key(), key());
        let certificate = |params: CertificateParams| {
            let signed = params.signed_by(&server_key, &ca);
            signed.expect("a certificate").pem()
        };
        let mut expired = CertificateParams::default();
        expired.not_before = date_time_ymd(2020, 1, 1);
        expired.not_after = date_time_ymd(2021, 1, 1);
        folder.write("ca.crt", &ca.pem());
        folder.write("server.crt", &certificate(CertificateParams::default()));
        folder.write("expired.crt", &certificate(expired));
        folder.write("server.key", &server_key.serialize_pem());
        folder.write("other.key", &other_key.serialize_pem());
        folder.write("empty", "");
        folder.write("junk", "not what is wanted\n");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        folder.write("broken.crt", broken);
        std::fs::create_dir(folder.path().join("folder")).expect("a folder");
        folder.kubeconfigs();
        folder
    }

    fn kubeconfigs(&self) {
        let config = |server: &str, cluster: &str, user: &str| {
            format!(
                "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {{server: '{server}', {cluster}}}\n\
                 users:\n- name: u\n  user: {{{user}}}\ncontexts:\n- name: x\n  context: {{cluster: c, user: u}}\ncurrent-context: x\n"
            )
        };
        let dead = "https://127.0.0.1:1";
        let trusted = "certificate-authority: ca.crt";
        let good = config(dead, trusted, "token: t");
        self.write("dead.conf", &good);
        self.write(
            "context.conf",
            &good.replace("current-context: x", "current-context: nope"),
        );
        self.write("kind.conf", &good.replace("kind: Config", "kind: Pod"));
        self.write("nothing.conf", "apiVersion: v1\nkind: Config\n");
        self.write("yaml.conf", "a: [\n");
        self.write("address.conf", &config("https://[::1", trusted, "token: t"));
        let no_ca = config(dead, "certificate-authority: /nonexistent", "token: t");
        self.write("no-ca.conf", &no_ca);
        let bad_ca = config(dead, "certificate-authority: junk", "token: t");
        self.write("bad-ca.conf", &bad_ca);
        let no_token = config(dead, trusted, "tokenFile: /nonexistent");
        self.write("no-token.conf", &no_token);
        let no_key = config(dead, trusted, "client-certificate: server.crt");
        self.write("no-key.conf", &no_key);
        let other = "client-certificate: server.crt, client-key: other.key";
        self.write("other-key.conf", &config(dead, trusted, other));
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path().join(name), content).expect("a file is written");
    }

    /// Runs a daemon with `before` and each row's arguments, and tells all rows that went otherwise.
    #[track_caller]
    fn check(&self, daemon: &str, before: &[&str], rows: &[Row<'_>]) {
        let wrong: Vec<String> = rows
            .iter()
            .filter_map(|(arguments, want)| {
                let all: Vec<&str> = before.iter().chain(*arguments).copied().collect();
                self.problem(daemon, &all, want)
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// [`Self::check`] of rows that take long, side by side. Each has a folder of its own: a daemon without a certificate writes one
    /// and its key, and two that do so in one folder mix them up.
    #[track_caller]
    fn check_at_once(daemon: &str, before: &[&str], rows: &[Row<'_>]) {
        std::thread::scope(|scope| {
            let running: Vec<_> = rows
                .iter()
                .map(|row| {
                    scope.spawn(|| Self::new().check(daemon, before, std::slice::from_ref(row)))
                })
                .collect();
            for row in running {
                if let Err(panic) = row.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
    }

    /// What is not as wanted; `None` when all is.
    fn problem(&self, daemon: &str, arguments: &[&str], want: &str) -> Option<String> {
        let port = free_port().to_string();
        let dir = self.path().display().to_string();
        let fill = |text: &str| text.replace("{dir}", &dir).replace("{port}", &port);
        let arguments: Vec<String> = arguments.iter().map(|one| fill(one)).collect();
        let (code, stderr) = run(self.path(), daemon, &arguments);
        let (want, said) = (fill(want), said(&stderr));
        if code == Some(1) && said.as_deref() == Some(&*want) && !stderr.contains("panicked at") {
            return None;
        }
        Some(format!(
            "{daemon} {}\n  code {code:?}\n  said {}\n  want {want}",
            arguments.join(" "),
            said.unwrap_or(stderr)
        ))
    }
}

/// Ends a daemon that does not end by itself with no exit code.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no runtime here whose workers could be blocked"
)]
fn run(dir: &Path, daemon: &str, arguments: &[String]) -> (Option<i32>, String) {
    let program = e2e::binaries().join(daemon);
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut child = Command::new(&program)
        .args(arguments)
        .current_dir(dir)
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env_remove("KUBERNETES_MASTER")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.reopen().expect("a temporary file"))
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}; `cargo build --bins` makes it",
                program.display()
            )
        });
    let end = Instant::now() + LIMIT;
    let code = loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => break status.code(),
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
        }
    };
    let stderr = std::fs::read(log.path()).expect("the log");
    (code, String::from_utf8_lossy(&stderr).into_owned())
}

/// The error of the last line after "Error: ", or of the log line "command failed", after which other threads may log.
fn said(stderr: &str) -> Option<String> {
    let last = stderr.lines().rfind(|line| !line.trim().is_empty())?;
    if let Some(error) = last.strip_prefix("Error: ") {
        return Some(error.to_owned());
    }
    let (_, quoted) = stderr
        .lines()
        .rev()
        .find_map(|line| line.split_once("\"command failed\" err=\""))?;
    let text = quoted.strip_suffix('"')?;
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                'n' => plain.push('\n'),
                other => plain.push(other),
            },
            other => plain.push(other),
        }
    }
    Some(plain)
}

fn free_port() -> u16 {
    listener().local_addr().expect("an address").port()
}

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")
}
