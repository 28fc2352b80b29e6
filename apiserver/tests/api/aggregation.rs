//! An aggregated API server behind the server: what it is sent, and what of it clients see.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::*;

pub(super) const GROUP: &str = "/apis/wardle.example.com/v1alpha1";
pub(super) const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const API_SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.wardle.example.com";
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const SOON: Duration = Duration::from_secs(20);

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) der: CertificateDer<'static>,
    pub(super) pem: String,
}

impl Authority {
    pub(super) fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            issuer: Issuer::new(params, key),
            der: certificate.der().clone(),
            pem: certificate.pem(),
        }
    }

    pub(super) fn issue(
        &self,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// A server that tells what it was sent. It talks to front proxies with a certificate only.
struct Aggregated {
    port: u16,
    told: Arc<Told>,
    accepting: tokio::task::JoinHandle<()>,
}

/// What the test tells the server, and the server the test.
#[derive(Default)]
struct Told {
    /// Lets watches go on.
    go_on: Notify,
    /// How often the OpenAPI document of the second form was asked for.
    asked: AtomicUsize,
    /// There is no such document any more.
    gone: AtomicBool,
}

impl Drop for Aggregated {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Aggregated {
    async fn start(servers: &Authority, proxies: &Authority) -> Aggregated {
        let (certificate, key) =
            servers.issue("api.wardle.svc", ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(proxies.der.clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = Arc::new(Told::default());
        let shared = told.clone();
        let accepting = tokio::spawn(async move {
            // Connections end with the server.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, told) = (acceptor.clone(), shared.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| answer(request, told.clone()));
                    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Aggregated {
            port,
            told,
            accepting,
        }
    }
}

async fn answer(
    mut request: Request<Incoming>,
    told: Arc<Told>,
) -> Result<Response<Body>, Infallible> {
    let json = |content_type: &str, value: Value| {
        Response::builder()
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(value.to_string().into_bytes()))
            .unwrap()
    };
    let things = json!({"resource": "things", "singularResource": "thing", "scope": "Namespaced", "verbs": ["get"],
        "responseKind": {"group": "", "version": "", "kind": "Thing"}});
    let path = request.uri().path().to_owned();
    if request.headers().contains_key(header::UPGRADE) {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut text = [0; 4];
            stream.read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"ping");
            stream.write_all(b"pong").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for name in [header::CONNECTION, header::UPGRADE] {
            let value = request.headers()[&name].clone();
            response.headers_mut().insert(name, value);
        }
        return Ok(response);
    }
    if request.uri().query() == Some("watch=1") {
        let (sender, body) = Body::channel(1);
        tokio::spawn(async move {
            sender.send("first\n").await;
            told.go_on.notified().await;
            sender.send("second\n").await;
        });
        return Ok(Response::new(body));
    }
    Ok(match path.as_str() {
        "/apis" => json(
            DISCOVERY,
            json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": [{"metadata": {"name": "wardle.example.com"},
                "versions": [{"version": "v1alpha1", "freshness": "Current", "resources": [things]}]}]}),
        ),
        "/openapi/v3" => json(
            JSON,
            json!({"paths": {
                "apis/wardle.example.com/v1alpha1": {"serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=ABC"},
                "apis/wardle.example.com/v1beta1": {"serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1beta1"},
                "version": {"serverRelativeURL": "/openapi/v3/version?hash=ABC"},
            }}),
        ),
        "/openapi/v2" => {
            let asked = told.asked.fetch_add(1, Ordering::SeqCst);
            if told.gone.load(Ordering::SeqCst) {
                let response = Response::builder().status(StatusCode::NOT_FOUND);
                return Ok(response.body(Body::empty()).unwrap());
            }
            json(
                JSON,
                json!({"swagger": "2.0", "info": {"title": "Wardle", "version": "1"}, "paths": {
                    "/apis/wardle.example.com/v1alpha1/things": {"description": asked.to_string()},
                }, "definitions": {}}),
            )
        }
        "/apis/wardle.example.com/v1alpha1/elsewhere" => Response::builder()
            .status(StatusCode::FOUND)
            .header(header::LOCATION, "https://example.com/")
            .body(Body::empty())
            .unwrap(),
        _ => {
            let (head, body) = request.into_parts();
            let body = Body::wrap(body).collect(1 << 20).await.unwrap();
            let headers: Vec<(String, String)> = head
                .headers
                .iter()
                .map(|(name, value)| {
                    (
                        name.to_string(),
                        value.to_str().unwrap_or_default().to_owned(),
                    )
                })
                .collect();
            json(
                JSON,
                json!({"method": head.method.as_str(), "uri": head.uri.path_and_query().unwrap().as_str(), "headers": headers,
                    "body": String::from_utf8_lossy(&body)}),
            )
        }
    })
}

impl Server {
    /// Waits until the APIService's condition has this reason, and returns its message.
    async fn reason(&self, wanted: &str) -> String {
        let found = async {
            loop {
                let service = self.get(API_SERVICE).await.json();
                let condition = &service["status"]["conditions"][0];
                if condition["reason"] == wanted {
                    return condition["message"].as_str().unwrap().to_owned();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(SOON, found).await;
        found.unwrap_or_else(|_| panic!("no condition with reason {wanted}"))
    }

    /// Waits until the answer is as wanted.
    pub(super) async fn until(
        &self,
        path: &str,
        accept: &str,
        is: impl Fn(&Answer) -> bool,
    ) -> Answer {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let answer = self.accept(path, accept).await;
            if is(&answer) {
                return answer;
            }
            if tokio::time::Instant::now() > deadline {
                let (code, text) = (answer.code, String::from_utf8_lossy(&answer.text));
                let service = self.get(API_SERVICE).await.json();
                let conditions = &service["status"]["conditions"];
                panic!("{path} is not as wanted: {code} {text}; {conditions}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(super) fn api_service(port: u16, ca: &str) -> Value {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    json!({"metadata": {"name": "v1alpha1.wardle.example.com"}, "spec": {
        "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
        "caBundle": ca, "service": {"namespace": "wardle", "name": "api", "port": port}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_to_the_server_of_an_api_service() {
    aggregates(&[]).await;
}

/// What an aggregated server is for, with more flags. Its port, when there is an etcd.
pub(super) async fn aggregates(more: &[String]) -> Option<u16> {
    let (servers, proxies) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) =
        proxies.issue("front-proxy-client", ExtendedKeyUsagePurpose::ClientAuth);
    let (cert_file, key_file) = (folder.path().join("crt"), folder.path().join("key"));
    std::fs::write(&cert_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let mut flags = vec![
        format!("--proxy-client-cert-file={}", cert_file.display()),
        format!("--proxy-client-key-file={}", key_file.display()),
    ];
    flags.extend_from_slice(more);
    let server = Server::start_with(&flags).await?;
    apiserver::hooks::start(server.inner(), server.stop.clone());
    let aggregated = Aggregated::start(&servers, &proxies).await;
    server
        .post(
            "/api/v1/namespaces",
            json!({"metadata": {"name": "wardle"}}),
        )
        .await
        .expect(201);
    server
        .post(API_SERVICES, api_service(aggregated.port, &servers.pem))
        .await
        .expect(201);
    let message = server.reason("ServiceNotFound").await;
    assert_eq!(message, "service/api in \"wardle\" is not present");
    let refused = server.get(&format!("{GROUP}/things")).await;
    assert_eq!(
        (refused.code, refused.text.as_slice()),
        (503, b"service unavailable\n".as_slice())
    );

    // A name for the loopback address, which endpoints must not have.
    server
        .post(
            "/api/v1/namespaces/wardle/services",
            json!({"metadata": {"name": "api"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}),
        )
        .await
        .expect(201);
    let message = server.reason("Passed").await;
    assert_eq!(message, "all checks passed");
    // The server itself learns of it from a watch.
    let path = format!("{GROUP}/things");
    server.until(&path, JSON, |answer| answer.code != 503).await;

    what_the_server_is_sent(&server).await;
    streams(&server, &aggregated).await;
    documents(&server).await;
    second_document(&server, &aggregated.told).await;

    // Nobody is there any more.
    let port = aggregated.port;
    drop(aggregated);
    let gone = server.until(&path, JSON, |answer| answer.code == 503).await;
    let text = String::from_utf8_lossy(&gone.text).into_owned();
    assert!(
        text.starts_with("error trying to reach service: dial tcp ")
            || text == "service unavailable\n",
        "{text}"
    );
    // A change makes it be asked again at once.
    let change = json!({"spec": {"versionPriority": 100}}).to_string();
    server.patch(API_SERVICE, MERGE, change).await.expect(200);
    let message = server.reason("FailedDiscoveryCheck").await;
    assert!(
        message.starts_with("failing or missing response from https://localhost:"),
        "{message}"
    );
    server
        .until("/apis", DISCOVERY, |answer| {
            freshness(&answer.json()).as_deref() == Some("Stale")
        })
        .await;
    server.delete(API_SERVICE, json!({})).await.expect(200);
    server
        .until("/apis", DISCOVERY, |answer| {
            freshness(&answer.json()).is_none()
        })
        .await;
    server.until(&path, JSON, |answer| answer.code == 404).await;
    Some(port)
}

/// The document of the second form is asked for when the APIService changes, and stays when there is none.
async fn second_document(server: &Server, told: &Told) {
    let shown = |answer: &Answer| -> Option<usize> {
        let document = answer.json();
        let item = &document["paths"]["/apis/wardle.example.com/v1alpha1/things"];
        item["description"].as_str()?.parse().ok()
    };
    let mut priority = 150;
    let mut change = async || {
        priority += 1;
        let change = json!({"spec": {"versionPriority": priority}}).to_string();
        server.patch(API_SERVICE, MERGE, change).await.expect(200);
    };
    let asked = told.asked.load(Ordering::SeqCst);
    change().await;
    let new = |answer: &Answer| shown(answer).is_some_and(|shown| shown >= asked);
    server.until("/openapi/v2", JSON, new).await;
    told.gone.store(true, Ordering::SeqCst);
    // When it is asked for a second time, what came of the first is settled.
    for _ in 0..2 {
        let asked = told.asked.load(Ordering::SeqCst);
        change().await;
        let again = |_: &Answer| told.asked.load(Ordering::SeqCst) > asked;
        server.until("/livez", JSON, again).await;
    }
    let answer = server.accept("/openapi/v2", JSON).await;
    assert!(shown(&answer).is_some());
}

fn freshness(document: &Value) -> Option<String> {
    let items = document["items"].as_array()?;
    let item = items
        .iter()
        .find(|item| item["metadata"]["name"] == "wardle.example.com")?;
    Some(item["versions"][0]["freshness"].as_str()?.to_owned())
}

async fn what_the_server_is_sent(server: &Server) {
    let headers = [
        ("content-type", JSON),
        ("impersonate-user", "jane"),
        ("impersonate-uid", "7"),
        ("impersonate-group", "painters"),
        ("impersonate-extra-example.com%2fscope", "one"),
        ("x-remote-user", "root"),
        ("x-remote-group", "system:masters"),
        ("x-remote-extra-a", "b"),
        ("authorization", AUTHORIZATION),
        ("audit-id", "an-id"),
        ("x-mine", "1"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        (
            "sec-websocket-protocol",
            "base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io",
        ),
    ];
    let path = format!("{GROUP}/namespaces/a/things/b%20c?dryRun=All");
    let seen = server
        .send("PUT", &path, &headers, "{\"a\":1}")
        .await
        .expect(200);
    assert_eq!(seen["method"], "PUT");
    assert_eq!(seen["uri"], path);
    assert_eq!(seen["body"], "{\"a\":1}");
    let all: Vec<(String, String)> = serde_json::from_value(seen["headers"].clone()).unwrap();
    let of = |name: &str| -> Vec<&str> {
        all.iter()
            .filter(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
            .collect()
    };
    assert_eq!(of("x-remote-user"), ["jane"]);
    let features = &server.inner().config.features;
    let uid: &[&str] = match features.enabled("RemoteRequestHeaderUID") {
        true => &["7"],
        false => &[],
    };
    assert_eq!(of("x-remote-uid"), uid);
    assert_eq!(of("x-remote-group"), ["painters", "system:authenticated"]);
    assert_eq!(of("x-remote-extra-example.com%2fscope"), ["one"]);
    assert_eq!(of("audit-id"), ["an-id"]);
    assert_eq!(of("x-mine"), ["1"]);
    assert_eq!(of("sec-websocket-protocol"), ["v4.channel.k8s.io"]);
    assert_eq!(of("x-forwarded-proto"), ["https"]);
    for absent in [
        "x-remote-extra-a",
        "authorization",
        "impersonate-user",
        "x-hop",
        "connection",
    ] {
        assert!(of(absent).is_empty(), "{absent}");
    }
    let redirected = server.get(&format!("{GROUP}/elsewhere")).await;
    assert_eq!(redirected.code, 502);
}

impl Server {
    /// The body of a watch, of which nothing has been read.
    async fn watch(&self) -> Body {
        let path = format!("{GROUP}/things?watch=1");
        self.open("GET", &path, &[], "").await.into_body()
    }
}

async fn streams(server: &Server, aggregated: &Aggregated) {
    let mut body = server.watch().await;
    assert_eq!(body.next_chunk().await.unwrap().unwrap(), "first\n");
    aggregated.told.go_on.notify_one();
    assert_eq!(body.next_chunk().await.unwrap().unwrap(), "second\n");
    assert!(body.collect(1 << 10).await.unwrap().is_empty());

    // A server that stops does not wait for watches.
    let mut body = server.watch().await;
    assert_eq!(body.next_chunk().await.unwrap().unwrap(), "first\n");
    server.inner().shutdown_watches.cancel();
    assert!(body.next_chunk().await.is_none());

    let answer = server
        .web_socket(&format!("{GROUP}/namespaces/a/things/b/exec"), &[])
        .await;
    assert_eq!(answer.status(), 101);
    let mut connection = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    connection.write_all(b"ping").await.unwrap();
    let mut text = Vec::new();
    connection.read_to_end(&mut text).await.unwrap();
    assert_eq!(text, b"pong");
}

async fn documents(server: &Server) {
    let document = server
        .until("/apis", DISCOVERY, |answer| {
            freshness(&answer.json()).as_deref() == Some("Current")
        })
        .await
        .json();
    let last = document["items"].as_array().unwrap().last().unwrap();
    assert_eq!(last["metadata"]["name"], "wardle.example.com");
    assert_eq!(last["versions"][0]["resources"][0]["resource"], "things");
    let group = server.get("/apis/wardle.example.com").await.expect(200);
    assert_eq!(
        group["preferredVersion"]["groupVersion"],
        "wardle.example.com/v1alpha1"
    );
    let listed = "apis/wardle.example.com/v1alpha1";
    let index = server
        .until("/openapi/v3", JSON, |answer| {
            answer.json()["paths"].get(listed).is_some()
        })
        .await
        .json();
    let url = index["paths"][listed]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let seen = server.get(url).await.expect(200);
    assert_eq!(seen["uri"], url);
    // One without a hash is as good; what is built in is the server's own.
    let url = "/openapi/v3/apis/wardle.example.com/v1beta1";
    let listed = &index["paths"]["apis/wardle.example.com/v1beta1"];
    assert_eq!(listed["serverRelativeURL"], url);
    assert_eq!(server.get(url).await.expect(200)["uri"], url);
    let own = server.get("/openapi/v3/version").await.expect(200);
    assert_eq!(own["info"]["title"], "Kubernetes");
    server
        .until("/openapi/v2", JSON, |answer| {
            let paths = &answer.json()["paths"];
            paths
                .get("/apis/wardle.example.com/v1alpha1/things")
                .is_some()
        })
        .await;
}
