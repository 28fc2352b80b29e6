//! The same as [`canary`](super::canary) of the program itself: all that it writes to standard error at the highest verbosity, from all of
//! its threads and about its own files, is searched for what only secrets, keys, tokens and credentials held.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair};
use serde_json::{Value, json};

use super::aggregation::Authority;
use super::canary::forms;
use crate::storage::etcd::Etcd;

const BEARER: &str = "canary-3f61d0a94c7b-bearer";
const WRONG_BEARER: &str = "canary-91e2c85b07fa-wrong-bearer";
const PASSWORD: &str = "canary-b7790c3de154-password";
const VALUE: &str = "canary-20ad8e6f35c9-value";
const BOOTSTRAP: &str = "c4n4ry9876543210";
const AES_KEY: &[u8; 32] = b"canary-aes-key-5a1f03d7e94b8c26x";
const BOX_KEY: &[u8; 32] = b"canary-box-key-c04e7b1296d8fa35x";
const SOON: Duration = Duration::from_secs(60);

/// The program. It ends with the test.
struct Program {
    child: Child,
    port: u16,
    tls: tokio_rustls::TlsConnector,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn file(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A kubeconfig of a webhook that nobody answers for, with credentials in its URL and beside it.
fn webhook(folder: &Path, name: &str) -> String {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {
            "server": format!("https://somebody:{PASSWORD}@127.0.0.1:9/{name}"),
        }}],
        "users": [{"name": "u", "user": {"username": "somebody", "password": PASSWORD}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    file(folder, name, kubeconfig.to_string())
}

fn flags(folder: &Path, authority: &Authority, signing_key: &KeyPair, etcd: &Etcd) -> Vec<String> {
    let (certificate, key) = authority.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth);
    let keys = |name: &str, secret: &[u8]| json!({name: {"keys": [{"name": "k", "secret": STANDARD.encode(secret)}]}});
    let encryption = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{
            "resources": ["secrets"],
            "providers": [keys("aescbc", AES_KEY), keys("secretbox", BOX_KEY), {"identity": {}}],
        }],
    });
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";
    let tokens = format!("{BEARER},tester,1,system:masters\n");
    let account_key = file(folder, "sa.key", signing_key.serialize_pem());
    vec![
        "-v=10".to_owned(),
        format!("--etcd-servers={}", etcd.endpoint()),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=10.1.2.3".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={account_key}"),
        format!("--service-account-signing-key-file={account_key}"),
        format!(
            "--tls-cert-file={}",
            file(folder, "tls.crt", certificate.pem())
        ),
        format!(
            "--tls-private-key-file={}",
            file(folder, "tls.key", key.serialize_pem())
        ),
        format!("--token-auth-file={}", file(folder, "tokens.csv", tokens)),
        format!(
            "--encryption-provider-config={}",
            file(folder, "encryption.yaml", encryption.to_string())
        ),
        "--enable-bootstrap-token-auth=true".to_owned(),
        format!(
            "--authentication-token-webhook-config-file={}",
            webhook(folder, "authn")
        ),
        "--authorization-mode=RBAC,Webhook".to_owned(),
        format!(
            "--authorization-webhook-config-file={}",
            webhook(folder, "authz")
        ),
        format!("--audit-webhook-config-file={}", webhook(folder, "audit")),
        format!(
            "--audit-policy-file={}",
            file(folder, "policy.yaml", policy)
        ),
        "--audit-webhook-batch-max-wait=100ms".to_owned(),
        // What could not be sent is sent again at the end, five times.
        "--audit-webhook-initial-backoff=10ms".to_owned(),
    ]
}

impl Program {
    fn start(flags: &[String], authority: &Authority, log: &Path) -> Program {
        let port = super::unused_port();
        let child = Command::new(env!("CARGO_BIN_EXE_kube-apiserver"))
            .args(flags)
            .arg(format!("--secure-port={port}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log).unwrap())
            .spawn()
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Program {
            child,
            port,
            tls: Arc::new(config).into(),
        }
    }

    /// The code and the text of an answer. None while nobody listens.
    async fn send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: &str,
    ) -> Option<(u16, String)> {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await;
        let name = "localhost".try_into().unwrap();
        let stream = self.tls.connect(name, stream.ok()?).await.ok()?;
        let stream = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.ok()?;
        tokio::spawn(connection);
        let kind = match method {
            "PATCH" => super::MERGE,
            _ => super::JSON,
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", kind)
            .body(Full::new(bytes::Bytes::from(body.to_owned())))
            .unwrap();
        let answer = sender.send_request(request).await.ok()?;
        let code = answer.status().as_u16();
        let text = answer.into_body().collect().await.ok()?.to_bytes();
        Some((code, String::from_utf8_lossy(&text).into_owned()))
    }

    async fn expect(&self, method: &str, path: &str, body: Value, code: u16) -> Value {
        let answer = self.send(method, path, BEARER, &body.to_string()).await;
        let (got, text) = answer.unwrap();
        assert_eq!(got, code, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Sends a request until its answer has one of these codes.
    async fn until(&self, method: &str, path: &str, token: &str, body: &str, codes: &[u16]) {
        let there = async {
            loop {
                match self.send(method, path, token, body).await {
                    Some((got, _)) if codes.contains(&got) => return,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let outcome = tokio::time::timeout(SOON, there).await;
        outcome.unwrap_or_else(|_| panic!("{method} {path} is never {codes:?}"));
    }

    /// Asks it to end, and waits until it has.
    async fn stop(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        let ended = async {
            while self.child.try_wait().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(SOON, ended).await.expect("it ends");
    }
}

/// The secret number of a key on P-256: in PKCS#8 the only octet string of 32 bytes.
fn secret_number(key: &KeyPair) -> Vec<u8> {
    let der = key.serialize_der();
    let at = der.windows(2).position(|two| two == [0x04, 0x20]).unwrap();
    der[at + 2..at + 34].to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_tells_no_secrets() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (authority, signing_key) = (Authority::new(), KeyPair::generate().unwrap());
    let flags = flags(folder.path(), &authority, &signing_key, &etcd);
    let log = folder.path().join("log");
    let mut program = Program::start(&flags, &authority, &log);
    program.until("GET", "/readyz", BEARER, "", &[200]).await;

    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let secret = json!({"metadata": {"name": "a"}, "stringData": {"a": VALUE}});
    program.expect("POST", secrets, secret.clone(), 201).await;
    program.expect("POST", secrets, secret.clone(), 409).await;
    let one = format!("{secrets}/a");
    program.expect("PUT", &one, secret, 200).await;
    let patch = json!({"stringData": {"b": VALUE}});
    program.expect("PATCH", &one, patch, 200).await;
    let wrong = json!({"metadata": {"name": "b"}, "data": {"a": format!("!{VALUE}")}});
    program.expect("POST", secrets, wrong, 400).await;
    for path in [&one, secrets] {
        program.expect("GET", path, json!({}), 200).await;
    }
    let hook = json!({
        "metadata": {"name": "w"},
        "webhooks": [{
            "name": "w.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://127.0.0.1:9/w"}, "failurePolicy": "Ignore",
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["secrets"]}],
        }],
    });
    let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    program.expect("POST", hooks, hook, 201).await;
    let secret = json!({"metadata": {"name": "c"}, "stringData": {"a": VALUE}});
    program.expect("POST", secrets, secret, 201).await;

    let bootstrap = json!({
        "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
        "stringData": {"token-id": "abcdef", "token-secret": BOOTSTRAP, "usage-bootstrap-authentication": "true"},
    });
    program.expect("POST", secrets, bootstrap, 201).await;
    // Whom nobody gave a right the webhook is asked about, which is not there.
    let token = format!("abcdef.{BOOTSTRAP}");
    program
        .until("GET", "/api/v1/nodes", &token, "", &[403, 500])
        .await;
    program
        .until("GET", "/api/v1/nodes", WRONG_BEARER, "", &[401])
        .await;
    let accounts = "/api/v1/namespaces/kube-system/serviceaccounts";
    let account = json!({"metadata": {"name": "robot"}});
    program.expect("POST", accounts, account, 201).await;
    let path = format!("{accounts}/robot/token");
    let issued = program
        .expect("POST", &path, json!({"spec": {}}), 201)
        .await;
    let token = issued["status"]["token"].as_str().unwrap().to_owned();
    program
        .until("GET", "/api/v1/nodes", &token, "", &[403, 500])
        .await;
    program.stop().await;

    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    // It is the log of everything, and of those who failed.
    for told in ["FLAG: --token-auth-file=", "dial tcp 127.0.0.1:9: "] {
        assert!(text.contains(told), "{told} is not in {} bytes", text.len());
    }
    // Every request has its line.
    let start = format!("\"HTTP\" verb=\"POST\" URI=\"{path}\" latency=\"");
    let mut lines = text.lines();
    let line = lines.find(|line| line.contains(&start));
    let line = line.unwrap_or_else(|| panic!("no line with {start}"));
    let parts = [
        "ms\" userAgent=\"",
        "\" audit-ID=\"",
        "\" srcIP=\"127.0.0.1:",
    ];
    for part in parts {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(line.ends_with("\" resp=201"), "{line}");
    let number = secret_number(&signing_key);
    let (_, signature) = token.rsplit_once('.').unwrap();
    let tells = |text: &str, secret: &[u8]| {
        let forms = forms(secret);
        let mut lines = text.lines();
        let line = lines.find(|line| forms.iter().any(|form| line.contains(form.as_str())));
        line.map(|line| line.chars().take(600).collect::<String>())
    };
    for secret in [
        BEARER.as_bytes(),
        WRONG_BEARER.as_bytes(),
        PASSWORD.as_bytes(),
        VALUE.as_bytes(),
        BOOTSTRAP.as_bytes(),
        AES_KEY,
        BOX_KEY,
        &number,
        signature.as_bytes(),
    ] {
        let told = tells(&text, secret);
        assert_eq!(told, None, "{}", String::from_utf8_lossy(secret));
        // The search finds what is there.
        let encoded = STANDARD.encode([b"xx", secret].concat());
        assert!(tells(&format!("a\n{encoded}\n"), secret).is_some());
    }
}
