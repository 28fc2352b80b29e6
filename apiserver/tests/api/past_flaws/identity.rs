//! Who asks, and what identities are worth.

use std::sync::Arc;
use std::time::Duration;

use apiserver::authz::rbac::bootstrap;
use apiserver::server::Service;
use component_base::serving::{Body, ConnectionInfo, Handler as _};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};

use super::super::aggregation::Authority;
use super::super::{AUTHORIZATION, JSON, Server};

const SELF_REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const SOON: Duration = Duration::from_secs(20);

/// A server with a listener of its own on this host.
struct Listening {
    server: Server,
    address: std::net::SocketAddr,
    /// The certificates of front proxies.
    proxies: Authority,
    servers: Authority,
    _folder: tempfile::TempDir,
}

impl Listening {
    async fn start(authorization_mode: &str) -> Option<Listening> {
        let folder = tempfile::tempdir().unwrap();
        let (servers, proxies) = (Authority::new(), Authority::new());
        let (certificate, key) = servers.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth);
        let file = |flag: &str, name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            format!("--{flag}={}", path.display())
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let flags = [
            file("tls-cert-file", "server.crt", &certificate.pem()),
            file("tls-private-key-file", "server.key", &key.serialize_pem()),
            file("requestheader-client-ca-file", "proxies.crt", &proxies.pem),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            "--requestheader-allowed-names=front-proxy-client".to_owned(),
            format!("--authorization-mode={authorization_mode}"),
            format!("--secure-port={}", address.port()),
        ];
        let server = Server::start_with(&flags).await?;
        let inner = server.inner();
        let bound = inner.config.serving.clone().bind(&server.stop).unwrap();
        bound.spawn(
            Arc::new(Service(inner.clone())),
            server.stop.clone(),
            Duration::ZERO,
        );
        Some(Listening {
            server,
            address,
            proxies,
            servers,
            _folder: folder,
        })
    }

    /// A connection of HTTP/2 to a name, without a certificate.
    async fn connect(
        &self,
        name: &'static str,
    ) -> (
        hyper::client::conn::http2::SendRequest<Empty<bytes::Bytes>>,
        tokio::task::JoinHandle<Result<(), hyper::Error>>,
    ) {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.servers.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name.try_into().unwrap(), stream)
            .await
            .unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        (sender, tokio::spawn(connection))
    }
}

fn get(path: &str, headers: &[(&str, &str)]) -> Request<Empty<bytes::Bytes>> {
    let mut request = Request::get(format!("https://localhost{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Empty::new()).unwrap()
}

/// Streams that are opened and reset at once cost the client nothing. Clients that nobody knows have no connection to do it on:
/// it ends with their first answer. (Streams of one connection: component-base's `serving/tests.rs`.)
#[tokio::test(flavor = "multi_thread")]
async fn cve_2023_44487_strangers_keep_no_connection() {
    let Some(listening) = Listening::start("RBAC").await else {
        return;
    };
    for (headers, code) in [
        (&[][..], 403),
        (&[("authorization", "Bearer wrong")][..], 401),
    ] {
        let (mut sender, connection) = listening.connect("localhost").await;
        let answer = sender.send_request(get("/api/v1/nodes", headers)).await;
        assert_eq!(answer.unwrap().status(), code);
        let ended = tokio::time::timeout(SOON, connection).await;
        assert!(ended.is_ok(), "{code}: the connection goes on");
    }
    let (mut sender, connection) = listening.connect("localhost").await;
    for _ in 0..3 {
        let known = [("authorization", AUTHORIZATION)];
        sender.ready().await.unwrap();
        let answer = sender.send_request(get("/api/v1/nodes", &known)).await;
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert!(!connection.is_finished());
    connection.abort();
}

/// The server's own identity had a token that worked from outside, for those who asked for the right name in the handshake. There is
/// no such token, and nothing that the listener could take for it.
#[tokio::test(flavor = "multi_thread")]
async fn ncc_47w_the_servers_own_identity_is_not_for_others() {
    let Some(listening) = Listening::start("RBAC").await else {
        return;
    };
    let headers = [
        ("x-remote-user", "system:apiserver"),
        ("x-remote-group", "system:masters"),
    ];
    let (mut sender, connection) = listening.connect("localhost").await;
    let answer = sender.send_request(get("/api/v1/nodes", &headers)).await;
    let body = answer.unwrap().into_body().collect().await.unwrap();
    let status: Value = serde_json::from_slice(&body.to_bytes()).unwrap();
    assert_eq!(
        status["message"],
        "nodes is forbidden: User \"system:anonymous\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
    );
    connection.abort();
    for token in ["", "loopback", "system:apiserver"] {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str())];
        let answer = listening.server.send("GET", "/api", &headers, "").await;
        assert_ne!(answer.code, 200, "{token:?}");
    }
}

/// Headers that say who asks count from front proxies only: with a certificate of their authority, and with an allowed name. What
/// others send is gone before anybody could look at it.
#[tokio::test(flavor = "multi_thread")]
async fn ncc_yvu_headers_of_identity_are_front_proxies() {
    let Some(listening) = Listening::start("AlwaysAllow").await else {
        return;
    };
    let certificate = |authority: &Authority, name: &str| {
        let (certificate, _) = authority.issue(name, ExtendedKeyUsagePurpose::ClientAuth);
        certificate.der().to_vec()
    };
    let ask = async |certificates: Vec<Vec<u8>>, authorization: &str| {
        let mut request = Request::post(SELF_REVIEW)
            .header("content-type", JSON)
            .header("x-remote-user", "jane")
            .header("X-Remote-Group", "painters")
            .header("x-remote-extra-scope", "one");
        if !authorization.is_empty() {
            request = request.header("authorization", authorization);
        }
        let mut request = request.body(Body::from("{}")).unwrap();
        let mut connection = ConnectionInfo::in_process();
        connection.peer_certificates = certificates.into();
        request.extensions_mut().insert(Arc::new(connection));
        let response = listening.server.service.handle(request).await;
        let code = response.status().as_u16();
        let body = response.into_body().collect(1 << 20).await.unwrap();
        let review: Value = serde_json::from_slice(&body).unwrap();
        (code, review["status"]["userInfo"].clone())
    };
    let proxy = certificate(&listening.proxies, "front-proxy-client");
    let (code, user) = ask(vec![proxy.clone()], "").await;
    assert_eq!(code, 201);
    assert_eq!(
        user,
        json!({"username": "jane", "groups": ["painters", "system:authenticated"], "extra": {"scope": ["one"]}})
    );
    let of_another = certificate(&Authority::new(), "front-proxy-client");
    for certificates in [
        vec![],
        vec![certificate(&listening.proxies, "somebody")],
        vec![of_another.clone()],
        // The first is the one that the client has the key of.
        vec![of_another, proxy],
    ] {
        let (got, _) = ask(certificates.clone(), "").await;
        assert_eq!(got, 401);
        let (got, user) = ask(certificates, AUTHORIZATION).await;
        assert_eq!(got, 201);
        assert_eq!(user["username"], "tester");
        assert!(user.get("extra").is_none(), "{user}");
    }
}

/// Who may write endpoints can lead others' traffic anywhere: the roles of users do not say so.
#[test]
fn cve_2021_25740_roles_of_users_do_not_write_endpoints() {
    let roles = bootstrap::cluster_roles(|_| false);
    let of_users = roles.iter().filter(|role| {
        let labels = role.metadata.labels.keys();
        let mut aggregated =
            labels.filter(|label| label.starts_with("rbac.authorization.k8s.io/aggregate-to-"));
        aggregated.next().is_some() || ["admin", "edit", "view"].contains(&&*role.metadata.name)
    });
    let mut seen = 0;
    for role in of_users {
        seen += 1;
        for rule in &role.rules {
            let endpoints = ["*", "endpoints", "endpointslices", "*/*"];
            let has = |list: &[String], any: &[&str]| {
                list.iter().any(|item| any.contains(&item.as_str()))
            };
            let writes = has(
                &rule.verbs,
                &[
                    "*",
                    "create",
                    "update",
                    "patch",
                    "delete",
                    "deletecollection",
                ],
            );
            let them = has(&rule.resources, &endpoints)
                && has(&rule.api_groups, &["*", "", "discovery.k8s.io"]);
            assert!(!(writes && them), "{}: {rule:?}", role.metadata.name);
        }
    }
    assert!(seen >= 6, "only {seen} roles");
}
