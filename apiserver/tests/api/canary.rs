//! Secrets do not get into the log, at any verbosity: everything that is logged anywhere in the process, by libraries too, is searched
//! for what only secrets, tokens and credentials held.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span;

use super::authentication::{Issuers, config_flag, new_key};
use super::*;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// All events and spans as text.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<String>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {field}={value}");
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut Fields(&mut self.0.lock()));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Fields(&mut self.0.lock()));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        // What is shown may log itself: it is written before the lock is taken.
        let mut line = event.metadata().target().to_owned();
        event.record(&mut Fields(&mut line));
        line.push('\n');
        self.0.lock().push_str(&line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The forms in which a secret could be told.
pub(super) fn forms(secret: &[u8]) -> Vec<String> {
    let bytes = format!("{secret:?}");
    let mut forms = vec![
        String::from_utf8_lossy(secret).into_owned(),
        bytes.trim_matches(['[', ']']).to_owned(),
        bytes.replace(' ', "").trim_matches(['[', ']']).to_owned(),
        secret.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
        URL_SAFE_NO_PAD.encode(secret),
    ];
    // Inside other bytes, its base64 begins at one of three places.
    for before in ["", "x", "xx"] {
        let encoded = STANDARD.encode([before.as_bytes(), secret].concat());
        forms.push(encoded[4..encoded.len() - 4].to_owned());
    }
    forms
}

impl Log {
    #[track_caller]
    pub(super) fn tells(&self, secret: &str) -> Option<String> {
        let text = self.0.lock();
        let mut lines = text.lines();
        lines
            .find(|line| {
                forms(secret.as_bytes())
                    .iter()
                    .any(|form| line.contains(form.as_str()))
            })
            .map(|line| line.chars().take(600).collect())
    }
}

async fn secrets(server: &Server, value: &str) {
    let encoded = STANDARD.encode(value);
    let secret = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "data": {"a": encoded}, "stringData": {"b": value},
        })
    };
    server.post(SECRETS, secret("a")).await.expect(201);
    server
        .post(SECRETS, secret("a"))
        .await
        .refuses(409, "secrets \"a\" already exists");
    let one = format!("{SECRETS}/a");
    server.put(&one, secret("a")).await.expect(200);
    server
        .patch(&one, MERGE, json!({"stringData": {"c": value}}).to_string())
        .await
        .expect(200);
    server
        .patch(&one, STRATEGIC, json!({"data": {"d": encoded}}).to_string())
        .await
        .expect(200);
    let operation = json!([{"op": "add", "path": "/data/e", "value": encoded}]);
    server
        .patch(&one, JSON_PATCH, operation.to_string())
        .await
        .expect(200);
    let operation = json!([{"op": "test", "path": "/data/e", "value": value}]);
    assert_eq!(
        server
            .patch(&one, JSON_PATCH, operation.to_string())
            .await
            .code,
        422
    );
    let applied = format!("{one}?fieldManager=m&force=true");
    server.patch(&applied, APPLY, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"f": encoded}}).to_string()).await.expect(200);
    for accept in [
        JSON,
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
    ] {
        assert_eq!(server.accept(&one, accept).await.code, 200);
        assert_eq!(server.accept(SECRETS, accept).await.code, 200);
        let watch = format!("{SECRETS}?watch=true&resourceVersion=0&timeoutSeconds=1");
        // A watch has no YAML.
        let code = if accept == "application/yaml" {
            406
        } else {
            200
        };
        assert_eq!(server.accept(&watch, accept).await.code, code);
    }
    // Bodies that are wrong in many ways.
    for (code, body) in [
        (400, format!("{{\"data\": {{\"a\": \"{value}")),
        (400, json!({"metadata": {"name": "b"}, "data": {"a": format!("!{value}")}}).to_string()),
        (400, json!({"metadata": {"name": "b"}, "data": [value]}).to_string()),
        (400, json!({"metadata": {"name": "b"}, "data": value}).to_string()),
        (422, json!({"metadata": {"name": "B!"}, "stringData": {"a": value}}).to_string()),
        (422, json!({"metadata": {"name": "b"}, "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": value}}).to_string()),
        (201, json!({"metadata": {"name": "c"}, "strungData": value, "stringData": {"a": value}}).to_string()),
    ] {
        let answer = server.send("POST", SECRETS, &[("content-type", JSON)], body.clone()).await;
        assert_eq!(answer.code, code, "{body}: {}", answer.message());
    }
    server.delete(&one, json!({})).await.expect(200);
    server.delete(SECRETS, json!({})).await.expect(200);
}

async fn credentials(server: &Server, canary: &str) {
    let token = |scheme: &str| format!("{scheme} {canary}");
    let protocol = format!(
        "base64url.bearer.authorization.k8s.io.{}",
        URL_SAFE_NO_PAD.encode(canary)
    );
    for headers in [
        vec![("authorization", token("Bearer"))],
        vec![("authorization", token("Basic"))],
        vec![("authorization", token("Nonsense"))],
        vec![
            ("authorization", "none".to_owned()),
            ("connection", "Upgrade".to_owned()),
            ("upgrade", "websocket".to_owned()),
            (
                "sec-websocket-protocol",
                format!("{protocol}, v4.channel.k8s.io"),
            ),
        ],
    ] {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = server.send("GET", SECRETS, &headers, "").await;
        assert_eq!(answer.code, 401);
    }
    assert!(
        server
            .review(canary, &[])
            .await
            .get("authenticated")
            .is_none()
    );
    assert!(
        server
            .review(canary, &["other"])
            .await
            .get("authenticated")
            .is_none()
    );
}

/// Tokens that the server gives out: used, changed, and asked about.
async fn service_account_tokens(server: &Server) -> String {
    let account = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let issued = server.post(account, json!({"spec": {}})).await.expect(201);
    let token = issued["status"]["token"].as_str().unwrap().to_owned();
    server.who(&token).await.expect(201);
    assert_eq!(server.review(&token, &[]).await["authenticated"], true);
    server.review(&token, &["other"]).await;
    assert_eq!(server.who(&format!("{token}x")).await.code, 401);
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(server.who(&format!("{signed}.AAAA")).await.code, 401);
    token
}

#[tokio::test]
async fn the_log_tells_no_secrets() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let issuers = Issuers::start().await;
    let (key, wrong_key) = (new_key(), new_key());
    issuers.issuer("/a", &[&key]);
    let file = issuers.configure(json!([issuers.authenticator("/a", json!({}))]), json!({}));
    let flags = [
        config_flag(&file),
        issuers.webhook_flag(),
        "--authentication-token-webhook-version=v1".to_owned(),
        "--enable-bootstrap-token-auth=true".to_owned(),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.namespace("default").await;
    server.namespace("kube-system").await;
    let value = "canary-0f7e2b9c41d8-value";
    secrets(&server, value).await;
    let credential = "canary-5d21c7aa90e3-credential";
    credentials(&server, credential).await;
    let of_account = service_account_tokens(&server).await;

    // Bootstrap tokens are Secrets whose parts are a credential.
    let bootstrap = json!({
        "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
        "stringData": {"token-id": "abcdef", "token-secret": "c4n4ry0123456789", "usage-bootstrap-authentication": "true"},
    });
    server
        .post("/api/v1/namespaces/kube-system/secrets", bootstrap)
        .await
        .expect(201);
    server
        .get("/api/v1/namespaces/kube-system/secrets")
        .await
        .expect(200);
    server.who("abcdef.c4n4ry0123456789").await.expect(201);
    assert_eq!(server.who("abcdef.c4n4ry9999999999").await.code, 401);

    // Tokens of an issuer: good ones, wrong ones, and one whose claims another server is asked for with a credential.
    let access = "canary-77ab01-access";
    let sources = json!({"s": {"endpoint": issuers.url("/nothing"), "access_token": access}});
    let distributed = json!({"_claim_names": {"groups": "s"}, "_claim_sources": sources});
    let good = issuers.token("/a", &key, json!({}));
    server.who_in_time(&good, 201).await;
    let mut tokens = vec![good];
    for (key, claims) in [
        (&wrong_key, json!({})),
        (&key, json!({"exp": 1})),
        (&key, json!({"aud": "other"})),
        (&key, json!({"sub": 1})),
        (&key, distributed),
    ] {
        let token = issuers.token("/a", key, claims);
        assert_eq!(server.who(&token).await.code, 401);
        server.review(&token, &[]).await;
        tokens.push(token);
    }
    assert!(server.who("good").await.code == 201, "the webhook knows it");

    let text = log.0.lock().len();
    assert!(text > 10_000, "only {text} bytes were logged");
    for secret in [
        value,
        credential,
        "c4n4ry0123456789",
        "c4n4ry9999999999",
        access,
        AUTHORIZATION,
    ] {
        assert_eq!(log.tells(secret), None, "{secret}");
    }
    for token in tokens.iter().chain([&of_account]) {
        let signature = token.rsplit('.').next().unwrap();
        assert_eq!(log.tells(signature), None);
    }
    // The search finds what is there.
    tracing::trace!(secret = ?value.as_bytes(), "a mistake");
    assert!(log.tells(value).is_some());
}
