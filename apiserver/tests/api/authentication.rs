//! Tokens of OpenID Connect issuers and of a webhook: a TLS server of the test's own is both.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apiserver::authn::jws::PrivateKey;
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::*;

const SELF_REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const TOKEN_REVIEW: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const AUDIENCE: &str = "https://kubernetes.default.svc";

/// What the server has at its paths, and what it was asked.
#[derive(Default)]
struct Documents {
    texts: HashMap<String, String>,
    asked: Vec<String>,
    reviews: Vec<Value>,
}

/// A TLS server. It is gone with the test.
pub(super) struct Issuers {
    port: u16,
    ca: String,
    documents: Arc<Mutex<Documents>>,
    folder: tempfile::TempDir,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Issuers {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(super) fn new_key() -> PrivateKey {
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    PrivateKey::from_pem(pem.as_bytes()).unwrap()
}

impl Issuers {
    pub(super) async fn start() -> Issuers {
        let (config, ca) = self_signed("127.0.0.1");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let documents = Arc::new(Mutex::new(Documents::default()));
        let shared = documents.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, documents) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(|request| answer(request, documents.clone()));
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Issuers {
            port,
            ca,
            documents,
            folder: tempfile::tempdir().unwrap(),
            serving,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    fn set(&self, path: &str, text: impl ToString) {
        let mut documents = self.documents.lock();
        documents.texts.insert(path.to_owned(), text.to_string());
    }

    /// An issuer below a path, with these keys.
    pub(super) fn issuer(&self, path: &str, keys: &[&PrivateKey]) {
        let keys_path = format!("{path}/keys");
        let document = json!({"issuer": self.url(path), "jwks_uri": self.url(&keys_path)});
        self.set(
            &format!("{path}/.well-known/openid-configuration"),
            document,
        );
        let keys: Vec<_> = keys.iter().map(|key| key.public().to_jwk()).collect();
        self.set(&keys_path, json!({"keys": keys}));
    }

    /// Claims of a token that is good for an hour, with more or others.
    pub(super) fn token(&self, path: &str, key: &PrivateKey, more: Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut claims = json!({
            "iss": self.url(path), "aud": "kube", "sub": "jane", "exp": now.as_secs() + 3600,
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        key.sign(claims.to_string().as_bytes()).unwrap()
    }

    /// An authenticator of the configuration file.
    pub(super) fn authenticator(&self, path: &str, more: Value) -> Value {
        let mut authenticator = json!({
            "issuer": {
                "url": self.url(path), "audiences": ["kube"], "certificateAuthority": self.ca,
            },
            "claimMappings": {
                "username": {"claim": "sub", "prefix": "oidc:"},
                "groups": {"claim": "groups", "prefix": ""},
            },
        });
        for (name, value) in more.as_object().unwrap() {
            authenticator[name] = value.clone();
        }
        authenticator
    }

    pub(super) fn write(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }

    /// A kubeconfig whose server is this one, at a path.
    pub(super) fn kubeconfig(&self, path: &str) -> std::path::PathBuf {
        let ca = self.write("ca.crt", &self.ca);
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {
                "server": self.url(path), "certificate-authority": ca,
            }}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        });
        self.write("webhook.conf", &kubeconfig.to_string())
    }

    /// The flag with which a server asks this one about tokens.
    pub(super) fn webhook_flag(&self) -> String {
        format!(
            "--authentication-token-webhook-config-file={}",
            self.kubeconfig("/authn").display()
        )
    }

    /// The reviews that were posted.
    pub(super) fn reviews(&self) -> Vec<Value> {
        self.documents.lock().reviews.clone()
    }

    pub(super) fn configure(&self, jwt: Value, more: Value) -> std::path::PathBuf {
        let mut file = json!({
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": jwt,
        });
        for (name, value) in more.as_object().unwrap() {
            file[name] = value.clone();
        }
        self.write("authentication.yaml", &file.to_string())
    }
}

fn token_status(review: &Value) -> Value {
    match review["spec"]["token"].as_str().unwrap() {
        "good" => json!({"authenticated": true, "user": {
            "username": "hook", "uid": "7", "groups": ["g"], "extra": {"k": ["v"]},
        }}),
        "other-audience" => {
            json!({"authenticated": true, "user": {"username": "hook"}, "audiences": ["x"]})
        }
        "wrong" => json!({"authenticated": false, "error": "no such token"}),
        _ => json!({"authenticated": false}),
    }
}

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    documents: Arc<Mutex<Documents>>,
) -> Result<http::Response<Full<Bytes>>, std::convert::Infallible> {
    let path = request.uri().path().to_owned();
    let review = request.method() == http::Method::POST;
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut documents = documents.lock();
    documents.asked.push(path.clone());
    let (code, text) = if review {
        let review: Value = serde_json::from_slice(&body).unwrap();
        let status = match review["kind"].as_str() {
            Some("TokenReview") => token_status(&review),
            _ => super::authorization::access_status(&review),
        };
        let answer = json!({
            "apiVersion": review["apiVersion"], "kind": review["kind"], "status": status,
        });
        documents.reviews.push(review);
        (200, answer.to_string())
    } else {
        match documents.texts.get(&path) {
            Some(text) => (200, text.clone()),
            None => (404, "nothing here".to_owned()),
        }
    };
    let response = http::Response::builder()
        .status(code)
        .header("content-type", JSON)
        .body(Full::new(Bytes::from(text)))
        .unwrap();
    Ok(response)
}

impl Server {
    /// Who the server takes the bearer of a token for.
    pub(super) async fn who(&self, token: &str) -> Answer {
        let authorization = format!("Bearer {token}");
        let headers = [
            ("content-type", JSON),
            ("authorization", authorization.as_str()),
        ];
        self.send("POST", SELF_REVIEW, &headers, "{}").await
    }

    /// The same, asked again until the answer has this code: issuers are asked beside the requests.
    pub(super) async fn who_in_time(&self, token: &str, code: u16) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.who(token).await;
            if answer.code == code {
                return answer.json()["status"]["userInfo"].clone();
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{}: {}",
                answer.code,
                answer.message()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn review(&self, token: &str, audiences: &[&str]) -> Value {
        let review = json!({"spec": {"token": token, "audiences": audiences}});
        self.post(TOKEN_REVIEW, review).await.expect(201)["status"].clone()
    }
}

pub(super) fn config_flag(path: &Path) -> String {
    format!("--authentication-config={}", path.display())
}

#[tokio::test]
async fn tokens_of_issuers() {
    let issuers = Issuers::start().await;
    let (key, second) = (new_key(), new_key());
    issuers.issuer("/a", &[&key]);
    issuers.issuer("/b", &[&key]);
    let rules = json!({
        "claimMappings": {
            "username": {"expression": "claims.sub + '@' + claims.tenant"},
            "groups": {"expression": "claims.?roles.orValue([])"},
            "uid": {"expression": "claims.id"},
            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}],
        },
        "claimValidationRules": [{"expression": "claims.tenant == 'acme'", "message": "not ours"}],
        "userValidationRules": [
            {"expression": "user.groups.all(g, !g.startsWith('system:'))", "message": "reserved"},
        ],
    });
    let jwt = json!([
        issuers.authenticator("/a", json!({})),
        issuers.authenticator("/b", rules),
    ]);
    let file = issuers.configure(jwt, json!({}));
    let Some(server) = Server::start_with(&[config_flag(&file)]).await else {
        return;
    };
    let token = issuers.token("/a", &key, json!({"groups": ["dev"], "jti": "id"}));
    let user = json!({
        "username": "oidc:jane",
        "groups": ["dev", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=id"]},
    });
    assert_eq!(server.who_in_time(&token, 201).await, user);
    let review = server.review(&token, &[]).await;
    let want = json!({"authenticated": true, "user": user, "audiences": [AUDIENCE]});
    assert_eq!(review, want);
    let review = server.review(&token, &["other"]).await;
    assert_eq!(review["error"], "invalid bearer token");

    let claims = json!({"tenant": "acme", "id": "1", "roles": ["ops", ""]});
    let user = json!({
        "username": "jane@acme", "uid": "1", "groups": ["ops", "system:authenticated"],
        "extra": {"example.com/tenant": ["acme"]},
    });
    let token = issuers.token("/b", &key, claims);
    assert_eq!(server.who_in_time(&token, 201).await, user);

    let refused = [
        (
            "/a",
            &key,
            json!({"aud": "other"}),
            r#"oidc: verify token: oidc: expected audience "kube" got ["other"]"#,
        ),
        (
            "/a",
            &key,
            json!({"exp": 1}),
            "oidc: verify token: oidc: token is expired (Token Expiry: 1970-01-01 00:00:01 +0000 UTC)",
        ),
        (
            "/a",
            &second,
            json!({}),
            "oidc: verify token: failed to verify signature: failed to verify id token signature",
        ),
        (
            "/b",
            &key,
            json!({"tenant": "evil", "id": "1"}),
            "oidc: error evaluating claim validation expression: validation expression 'claims.tenant == 'acme'' failed: not ours",
        ),
        (
            "/b",
            &key,
            json!({"tenant": "acme", "id": "1", "roles": ["system:masters"]}),
            "oidc: error evaluating user info validation rule: validation expression 'user.groups.all(g, !g.startsWith('system:'))' failed: reserved",
        ),
        (
            "/b",
            &key,
            json!({"tenant": "acme", "id": 1}),
            "oidc: error evaluating uid claim expression: uid claim expression must return a string",
        ),
    ];
    for (issuer, key, claims, error) in refused {
        let token = issuers.token(issuer, key, claims);
        let answer = server.who(&token).await;
        answer.refuses(401, "Unauthorized");
        let review = server.review(&token, &[]).await;
        assert_eq!(review["error"], format!("[invalid bearer token, {error}]"));
    }
    let unknown = issuers.token("/c", &key, json!({}));
    let review = server.review(&unknown, &[]).await;
    assert_eq!(review["error"], "invalid bearer token");

    // Keys are fetched anew for a token that none of them has signed.
    let token = issuers.token("/a", &second, json!({"sub": "joe"}));
    assert_eq!(server.who(&token).await.code, 401);
    issuers.issuer("/a", &[&second]);
    assert_eq!(
        server.who(&token).await.expect(201)["status"]["userInfo"]["username"],
        "oidc:joe"
    );
    let metrics = String::from_utf8(server.get("/metrics").await.text).unwrap();
    for name in [
        "apiserver_authentication_jwt_authenticator_latency_seconds_count{jwt_issuer_hash=\"sha256:",
        "apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds{apiserver_id_hash=\"sha256:",
        "apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info{apiserver_id_hash=\"sha256:",
        "apiserver_authentication_config_controller_last_config_info{apiserver_id_hash=\"sha256:",
    ] {
        assert!(metrics.contains(name), "{name}");
    }
}

#[tokio::test]
async fn the_configuration_is_followed() {
    let issuers = Issuers::start().await;
    let key = new_key();
    issuers.issuer("/a", &[&key]);
    issuers.issuer("/b", &[&key]);
    let only = |path: &str| json!([issuers.authenticator(path, json!({}))]);
    let file = issuers.configure(only("/a"), json!({}));
    let Some(server) = Server::start_with(&[config_flag(&file)]).await else {
        return;
    };
    let (a, b) = (
        issuers.token("/a", &key, json!({})),
        issuers.token("/b", &key, json!({})),
    );
    server.who_in_time(&a, 201).await;
    assert_eq!(server.who(&b).await.code, 401);
    // A wrong file changes nothing, one with the other issuer does.
    issuers.write("authentication.yaml", "nonsense");
    let failed = "automatic_reloads_total{apiserver_id_hash=";
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let metrics = String::from_utf8(server.get("/metrics").await.text).unwrap();
        let mut lines = metrics.lines();
        if lines.any(|line| line.contains(failed) && line.ends_with("status=\"failure\"} 1")) {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no failure is counted"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.who_in_time(&a, 201).await;
    issuers.configure(only("/b"), json!({}));
    server.who_in_time(&b, 201).await;
    // The verdict on the first token may still be remembered; one that was never seen is refused.
    let fresh = issuers.token("/a", &key, json!({"sub": "joe"}));
    assert_eq!(server.who(&fresh).await.code, 401);
}

#[tokio::test]
async fn an_issuer_by_flags() {
    let issuers = Issuers::start().await;
    let key = new_key();
    issuers.issuer("", &[&key]);
    let ca = issuers.write("ca.crt", &issuers.ca);
    let flags = [
        format!("--oidc-issuer-url={}", issuers.url("")),
        "--oidc-client-id=kube".to_owned(),
        format!("--oidc-ca-file={}", ca.display()),
        "--oidc-groups-claim=groups".to_owned(),
        "--oidc-groups-prefix=g:".to_owned(),
        "--oidc-required-claim=hd=x".to_owned(),
        "--oidc-signing-algs=ES256".to_owned(),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    let token = issuers.token("", &key, json!({"hd": "x", "groups": "dev"}));
    let user = json!({
        "username": format!("{}#jane", issuers.url("")),
        "groups": ["g:dev", "system:authenticated"],
    });
    assert_eq!(server.who_in_time(&token, 201).await, user);
    let token = issuers.token("", &key, json!({"hd": "y"}));
    assert_eq!(server.who(&token).await.code, 401);
}

#[tokio::test]
async fn anonymous_callers_on_some_paths() {
    let issuers = Issuers::start().await;
    let anonymous = json!({"anonymous": {"enabled": true, "conditions": [{"path": "/version"}]}});
    let file = issuers.configure(json!([]), anonymous);
    let Some(server) = Server::start_with(&[config_flag(&file)]).await else {
        return;
    };
    // No credential at all, not the tester's.
    let nobody = [("authorization", "none")];
    for (path, code) in [("/version", 200), ("/version/", 401), ("/api", 401)] {
        assert_eq!(
            server.send("GET", path, &nobody, "").await.code,
            code,
            "{path}"
        );
    }
}

#[tokio::test]
async fn nobody_is_anonymous_where_all_is_allowed() {
    let Some(server) = Server::start_empty().await else {
        return;
    };
    let answer = server
        .send("GET", "/api", &[("authorization", "none")], "")
        .await;
    answer.refuses(401, "Unauthorized");
}

#[tokio::test]
async fn tokens_that_a_webhook_knows() {
    let hooks = Issuers::start().await;
    let flags = [
        hooks.webhook_flag(),
        "--authentication-token-webhook-version=v1".to_owned(),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    let user = server.who("good").await.expect(201)["status"]["userInfo"].clone();
    let want = json!({
        "username": "hook", "uid": "7", "groups": ["g", "system:authenticated"],
        "extra": {"k": ["v"]},
    });
    assert_eq!(user, want);
    server.who("good").await.expect(201);
    {
        let documents = hooks.documents.lock();
        assert_eq!(documents.asked, ["/authn"], "the verdict is remembered");
        let review = &documents.reviews[0];
        assert_eq!(review["apiVersion"], "authentication.k8s.io/v1");
        assert_eq!(review["kind"], "TokenReview");
        assert_eq!(
            review["spec"],
            json!({"token": "good", "audiences": [AUDIENCE]})
        );
    }
    for (token, error) in [
        ("other-audience", "invalid bearer token"),
        ("unknown", "invalid bearer token"),
        ("wrong", "[invalid bearer token, no such token]"),
    ] {
        assert_eq!(server.who(token).await.code, 401);
        assert_eq!(server.review(token, &[]).await["error"], error);
    }
    let review = server.review("other-audience", &["x", "y"]).await;
    let user = json!({"username": "hook", "groups": ["system:authenticated"]});
    let want = json!({"authenticated": true, "user": user, "audiences": ["x"]});
    assert_eq!(review, want);
}

#[tokio::test]
async fn tokens_are_in_headers_or_subprotocols() {
    let Some(server) = Server::start().await else {
        return;
    };
    const TOKEN: &str = "base64url.bearer.authorization.k8s.io.";
    let token = AUTHORIZATION.trim_start_matches("Bearer ");
    let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token);
    let with = |others: &str| format!("{TOKEN}{encoded}{others}");
    for (authorization, protocols, code) in [
        (format!("bearer {token} more"), String::new(), 200),
        (format!("Bearer  {token}"), String::new(), 401),
        ("Bearer x".to_owned(), String::new(), 401),
        ("Basic x".to_owned(), with(", v4.channel.k8s.io"), 200),
        ("Bearer x".to_owned(), with(", v4.channel.k8s.io"), 200),
        ("Basic x".to_owned(), with(""), 401),
        ("Basic x".to_owned(), with(&format!(", x, {TOKEN}eA")), 401),
    ] {
        let headers = [
            ("authorization", authorization.as_str()),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-protocol", protocols.as_str()),
        ];
        let answer = server.send("GET", CONFIG_MAPS, &headers, "").await;
        assert_eq!(answer.code, code, "{authorization}, {protocols}");
        // Without a wish to switch protocols there is no protocol to choose.
        let answer = server
            .send("GET", CONFIG_MAPS, &[headers[0], headers[3]], "")
            .await;
        let code = if protocols.is_empty() { code } else { 401 };
        assert_eq!(answer.code, code, "{authorization}, {protocols}");
    }
}
