//! Tokens of Secrets, and what is noted of those who use them.

use std::time::Duration;

use apiserver::authn::jws::PrivateKey;

use super::*;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";

struct Legacy {
    server: Server,
    token: String,
    audit: std::path::PathBuf,
    _files: tempfile::TempDir,
}

impl Legacy {
    /// A server, and a token in the Secret `legacy`.
    async fn start() -> Option<Legacy> {
        let files = tempfile::tempdir().unwrap();
        let policy = files.path().join("policy.yaml");
        let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n";
        std::fs::write(&policy, text).unwrap();
        let audit = files.path().join("audit.log");
        let flags = [
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", audit.display()),
        ];
        let server = Server::start_with(&flags).await?;
        server.namespace("default").await;
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        let account = server.get(account).await.expect(200);
        let pem = std::fs::read(server._keys.path().join("sa.key")).unwrap();
        let claims = json!({
            "iss": "kubernetes/serviceaccount",
            "sub": "system:serviceaccount:default:default",
            "kubernetes.io/serviceaccount/namespace": "default",
            "kubernetes.io/serviceaccount/secret.name": "legacy",
            "kubernetes.io/serviceaccount/service-account.name": "default",
            "kubernetes.io/serviceaccount/service-account.uid": account["metadata"]["uid"],
        });
        let key = PrivateKey::from_pem(&pem).unwrap();
        let token = key.sign(claims.to_string().as_bytes()).unwrap();
        let secret = json!({
            "metadata": {"name": "legacy", "annotations": {"kubernetes.io/service-account.name": "default"}},
            "type": "kubernetes.io/service-account-token",
            "stringData": {"token": token},
        });
        server.post(SECRETS, secret).await.expect(201);
        Some(Legacy {
            server,
            token,
            audit,
            _files: files,
        })
    }

    async fn who(&self, id: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", &*bearer),
            ("content-type", JSON),
            ("audit-id", id),
        ];
        self.server.send("POST", WHO, &headers, "{}").await
    }

    fn annotations(&self, id: &str) -> Value {
        let log = std::fs::read_to_string(&self.audit).unwrap();
        let mut events = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let event = events.rfind(|event| event["auditID"] == id);
        event.expect("an event")["annotations"].clone()
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let limit = Duration::from_secs(60);
        let held = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(limit, held).await.expect(what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_of_old_tokens_are_noted() {
    let Some(legacy) = Legacy::start().await else {
        return;
    };
    let server = &legacy.server;
    let who = legacy.who("first").await.expect(201);
    assert_eq!(
        who["status"]["userInfo"]["username"],
        "system:serviceaccount:default:default"
    );
    // The second answer comes out of a cache, and says the same.
    for id in ["first", "second"] {
        legacy.who(id).await.expect(201);
        let annotations = legacy.annotations(id);
        assert_eq!(
            annotations["authentication.k8s.io/legacy-token"],
            "system:serviceaccount:default:default"
        );
        assert_eq!(
            annotations["authentication.k8s.io/legacy-token-manual-secret"],
            "legacy"
        );
    }
    let secret = format!("{SECRETS}/legacy");
    let labels = server.get(&secret).await.expect(200)["metadata"]["labels"].clone();
    let day = labels[LAST_USED].as_str().unwrap_or_default();
    assert_eq!(day.len(), "2026-01-01".len(), "{labels}");

    // Marked by a controller, it is good for nothing, once it is not remembered any more.
    let mark =
        r#"{"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}}}"#;
    server.patch(&secret, MERGE, mark).await.expect(200);
    legacy
        .until("the mark is seen", async || {
            legacy.who("marked").await.code == 401
        })
        .await;
    let review = json!({"spec": {"token": legacy.token}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = server.post(reviews, review).await.expect(201);
    assert_eq!(
        review["status"]["error"],
        "[invalid bearer token, the token in secret default/legacy for service account default/default has been marked invalid. Use \
         tokens from the TokenRequest API or manually created secret-based tokens, or remove the \
         'kubernetes.io/legacy-token-invalid-since' label from the secret to temporarily allow use of this token]"
    );
    let metrics = String::from_utf8(server.get("/metrics").await.text).unwrap();
    for name in [
        "serviceaccount_legacy_tokens_total",
        "serviceaccount_legacy_manual_token_uses_total",
        "serviceaccount_invalid_legacy_auto_token_uses_total",
    ] {
        let line = metrics.lines().find(|line| line.starts_with(name));
        let count = line.and_then(|line| line.rsplit_once(' ')).expect(name).1;
        assert!(count.parse::<f64>().unwrap() >= 1.0, "{name} {count}");
    }
    assert!(metrics.contains("serviceaccount_legacy_auto_token_uses_total 0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_its_account_names_is_warned_of() {
    let Some(legacy) = Legacy::start().await else {
        return;
    };
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    let names = r#"{"secrets": [{"name": "legacy"}]}"#;
    legacy.server.patch(account, MERGE, names).await.expect(200);
    let warned = async || legacy.who("warned").await.headers.contains_key("warning");
    legacy.until("the caller is warned", warned).await;
    let answer = legacy.who("last").await;
    assert_eq!(
        answer.headers["warning"],
        "299 - \"Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based \
         tokens.\""
    );
    assert_eq!(
        legacy.annotations("last")["authentication.k8s.io/legacy-token-autogenerated-secret"],
        "legacy"
    );
}
