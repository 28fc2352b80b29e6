//! Requests through the whole server, in this process, on an etcd of each test's own.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod access_reviews;
mod admission_plugins;
mod aggregation;
mod audit;
mod authentication;
mod authorization;
mod canary;
mod canary_process;
mod claims;
mod custom_resources;
mod definitions;
mod egress;
mod encryption;
mod escalation;
mod external_jwt;
mod flow_control;
mod gates;
mod group_versions;
mod grpc;
mod hooks;
mod impersonation;
mod kms_v1;
mod konnectivity;
mod leader_election;
mod lists;
mod manifests;
mod media_types;
mod pages;
mod past_flaws;
mod peers;
mod pod_certificates;
mod pod_security;
mod policies;
mod quotas;
#[path = "../../src/authz/reference.rs"]
mod reference;
mod request_metrics;
mod resources;
mod reviews;
mod service_account_tokens;
mod service_repair;
mod serving;
mod storage_versions;
mod stored_versions;
mod subresources;
mod traces;
mod unauthorized;
mod watches;
mod webhooks;
mod websocket;
mod writes;

use std::sync::Arc;

use apiserver::config::{self, Config};
use apiserver::server::health::CRDS_HOOK;
use apiserver::server::{ApiServer, Service};
use component_base::flags::Flags;
use component_base::metrics::{Metrics, MetricsOptions};
use component_base::serving::{Body, ConnectionInfo, Handler as _, Response};
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::storage::etcd::Etcd;

/// The credential of requests that bring none of their own.
const AUTHORIZATION: &str = "Bearer the-testers-token";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A server that ends with the test.
pub(crate) struct Server {
    service: Service,
    stop: CancellationToken,
    _etcd: Arc<Etcd>,
    _keys: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What the server answered.
pub(crate) struct Answer {
    code: u16,
    headers: HeaderMap,
    text: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.text)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.text)))
    }

    fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    #[track_caller]
    fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", String::from_utf8_lossy(&self.text));
        self.json()
    }

    /// Asserts code and message of a Status.
    #[track_caller]
    fn refuses(&self, code: u16, message: &str) {
        assert_eq!((self.code, self.message().as_str()), (code, message));
    }
}

impl Server {
    /// `None` when there is no etcd.
    async fn start() -> Option<Server> {
        let server = Server::start_empty().await?;
        server.namespace("default").await;
        Some(server)
    }

    /// A server without any object.
    async fn start_empty() -> Option<Server> {
        Server::start_with(&[]).await
    }

    /// A server without any object, with more flags.
    async fn start_with(more: &[String]) -> Option<Server> {
        Some(Server::serve(Arc::new(Etcd::start().await?), more).await)
    }

    /// What a server says that does not start, with more flags.
    async fn try_start_with(more: &[String]) -> Option<Result<Server, String>> {
        Some(Server::try_serve(Arc::new(Etcd::start().await?), more).await)
    }

    /// Another server on the etcd of one.
    async fn on(first: &Server, encryption: &std::path::Path) -> Server {
        let flags = [
            format!("--encryption-provider-config={}", encryption.display()),
            "--encryption-provider-config-automatic-reload=true".to_owned(),
        ];
        Server::serve(first._etcd.clone(), &flags).await
    }

    async fn serve(etcd: Arc<Etcd>, more: &[String]) -> Server {
        Server::try_serve(etcd, more).await.unwrap()
    }

    async fn try_serve(etcd: Arc<Etcd>, more: &[String]) -> Result<Server, String> {
        let server = Server::serve_as(etcd, more, |_| {}).await?;
        // There are no CustomResourceDefinitions that could be read before a hook is started.
        server.inner().health.hook_done(CRDS_HOOK);
        Ok(server)
    }

    /// A server on this etcd, with more flags and what flags do not say.
    async fn serve_as(
        etcd: Arc<Etcd>,
        more: &[String],
        set: impl FnOnce(&mut Config),
    ) -> Result<Server, String> {
        let keys = tempfile::tempdir().unwrap();
        let key = keys.path().join("sa.key");
        std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let token = AUTHORIZATION.trim_start_matches("Bearer ");
        let tokens = keys.path().join("tokens.csv");
        std::fs::write(&tokens, format!("{token},tester,1,system:masters\n")).unwrap();
        let arguments = [
            format!("--token-auth-file={}", tokens.display()),
            format!("--etcd-servers={}", etcd.endpoint()),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", key.display()),
            format!("--service-account-signing-key-file={}", key.display()),
            "--authorization-mode=AlwaysAllow".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--advertise-address=10.1.2.3".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
        ];
        let given = |start: &str| more.iter().any(|flag| flag.starts_with(start));
        // A list flag given twice is one longer list.
        let other_mode = given("--authorization-mode=") || given("--authorization-config=");
        let signer = given("--service-account-signing-endpoint=");
        let replaced = |flag: &String| {
            (other_mode && flag.starts_with("--authorization-mode="))
                || (signer && flag.starts_with("--service-account-") && flag.ends_with("sa.key"))
        };
        let arguments = arguments
            .into_iter()
            .filter(|flag| !replaced(flag))
            .chain(more.iter().cloned());
        let parsed = Flags::parse(&config::flags::COMMAND, arguments).unwrap();
        let component_base::flags::Parsed::Run(flags) = parsed else {
            panic!("flags")
        };
        let metrics = Metrics::for_daemon(MetricsOptions::from_flags(&flags).unwrap());
        let mut config = Config::new(flags).map_err(|error| error.to_string())?;
        set(&mut config);
        let stop = CancellationToken::new();
        let server = ApiServer::build(config, metrics, stop.clone())
            .await
            .map_err(|error| error.to_string())?;
        Ok(Server {
            service: Service(server),
            stop,
            _etcd: etcd,
            _keys: keys,
        })
    }

    pub(crate) fn inner(&self) -> &Arc<ApiServer> {
        &self.service.0
    }

    /// Makes a namespace that pods can be created in.
    async fn namespace(&self, name: &str) {
        let namespaces = "/api/v1/namespaces";
        self.post(namespaces, json!({"metadata": {"name": name}}))
            .await
            .expect(201);
        let accounts = format!("{namespaces}/{name}/serviceaccounts");
        self.post(&accounts, json!({"metadata": {"name": "default"}}))
            .await
            .expect(201);
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Answer {
        let response = self.open(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let text = body.collect(64 << 20).await.unwrap();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            text: text.to_vec(),
        }
    }

    /// The metrics have all of these lines or beginnings of lines.
    async fn has_series(&self, all: &[&str]) {
        let metrics = String::from_utf8(self.get("/metrics").await.text).unwrap();
        for series in all {
            assert!(metrics.contains(series), "{series}");
        }
    }

    /// Sends a request whose answer may still be under way. Without a credential of its own it is the tester's.
    async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.into())).unwrap();
        if !request.headers().contains_key("authorization") {
            let value = http::HeaderValue::from_static(AUTHORIZATION);
            request.headers_mut().insert("authorization", value);
        }
        request
            .extensions_mut()
            .insert(Arc::new(ConnectionInfo::in_process()));
        self.service.handle(request).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    async fn accept(&self, path: &str, accept: &str) -> Answer {
        self.send("GET", path, &[("accept", accept)], "").await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[("content-type", JSON)], body.to_string())
            .await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, &[("content-type", JSON)], body.to_string())
            .await
    }

    async fn patch(&self, path: &str, kind: &str, body: impl Into<bytes::Bytes>) -> Answer {
        self.send("PATCH", path, &[("content-type", kind)], body)
            .await
    }

    async fn delete(&self, path: &str, options: Value) -> Answer {
        self.send(
            "DELETE",
            path,
            &[("content-type", JSON)],
            options.to_string(),
        )
        .await
    }
}

/// A port for a program that takes its time to listen. Those that connections get by themselves are higher.
fn unused_port() -> u16 {
    loop {
        let port = rand::random_range(10_240..32_768);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Events of a watch that ended.
fn events(answer: &Answer) -> Vec<Value> {
    serde_json::Deserializer::from_slice(&answer.text)
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// What a server needs for TLS under a name, and its certificate in PEM, which is its own authority.
fn self_signed(name: &str) -> (rustls::ServerConfig, String) {
    self_signed_for(vec![name.to_owned()])
}

fn self_signed_for(names: Vec<String>) -> (rustls::ServerConfig, String) {
    let key = rcgen::generate_simple_self_signed(names).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![key.cert.der().clone()],
            rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    (config, key.cert.pem())
}
