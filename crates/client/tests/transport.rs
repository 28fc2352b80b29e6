//! Real connections: HTTP/1.1 and HTTP/2, TLS, certificates, tokens, upgrades.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api_types::core::v1::ConfigMap;
use bytes::Bytes;
use client::config::CertificateSource;
use client::{Client, ClientConfig, ListOptions};
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

fn text(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed_unsync()
}

/// What one request looked like to the server.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    connection: usize,
    version: http::Version,
    line: String,
    authorization: String,
    user_agent: String,
    /// Common name of the client's certificate.
    peer: String,
}

struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    _stop: DropGuard,
}

const CONFIG_MAP: &str =
    r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","resourceVersion":"1"}}"#;

async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let json = |body: Body| {
        Response::builder()
            .header("content-type", "application/json")
            .body(body)
            .unwrap()
    };
    if request.headers().contains_key("upgrade") {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let mut buffer = [0; 5];
            io.read_exact(&mut buffer).await.unwrap();
            io.write_all(&buffer.map(|byte| byte.to_ascii_uppercase()))
                .await
                .unwrap();
            io.shutdown().await.unwrap();
        });
        return Ok(Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "echo")
            .body(text(""))
            .unwrap());
    }
    if request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch=true"))
    {
        let first = format!("{{\"type\":\"ADDED\",\"object\":{CONFIG_MAP}}}\n");
        let events = futures::stream::iter([Ok(http_body::Frame::data(Bytes::from(first)))])
            .chain(futures::stream::pending());
        return Ok(json(StreamBody::new(events).boxed_unsync()));
    }
    if request
        .headers()
        .get("accept-encoding")
        .is_some_and(|value| value == "gzip")
        && request.uri().path().ends_with("/big")
    {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, CONFIG_MAP.as_bytes()).unwrap();
        let mut response = json(text(gzip.finish().unwrap()));
        response
            .headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
        return Ok(response);
    }
    Ok(json(text(CONFIG_MAP)))
}

async fn serve(tls: Option<rustls::ServerConfig>, requests_per_connection: usize) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let connections = Arc::new(AtomicUsize::new(0));
    let server = Server {
        address,
        seen: seen.clone(),
        connections: connections.clone(),
        _stop: token.clone().drop_guard(),
    };
    let acceptor = tls.map(|tls| tokio_rustls::TlsAcceptor::from(Arc::new(tls)));
    tokio::spawn(token.clone().run_until_cancelled_owned(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let connection = connections.fetch_add(1, Ordering::SeqCst);
            let (seen, acceptor) = (seen.clone(), acceptor.clone());
            tokio::spawn(token.clone().run_until_cancelled_owned(async move {
                let left = Arc::new(AtomicUsize::new(requests_per_connection));
                let serving = |peer: String| {
                    let (seen, left) = (seen.clone(), left.clone());
                    service_fn(move |request: Request<Incoming>| {
                        let header = |name: &str| {
                            request
                                .headers()
                                .get(name)
                                .map(|value| value.to_str().unwrap().to_owned())
                                .unwrap_or_default()
                        };
                        seen.lock().push(Seen {
                            connection,
                            version: request.version(),
                            line: format!("{} {}", request.method(), request.uri().path()),
                            authorization: header("authorization"),
                            user_agent: header("user-agent"),
                            peer: peer.clone(),
                        });
                        let last = left.fetch_sub(1, Ordering::SeqCst) == 1;
                        async move {
                            let mut response = answer(request).await.unwrap();
                            if last {
                                response
                                    .headers_mut()
                                    .insert("connection", "close".parse().unwrap());
                            }
                            Ok::<_, Infallible>(response)
                        }
                    })
                };
                let mut builder =
                    hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                builder.http2().max_concurrent_streams(40);
                let result = match acceptor {
                    None => {
                        builder
                            .serve_connection_with_upgrades(
                                TokioIo::new(tcp),
                                serving(String::new()),
                            )
                            .await
                    }
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(tcp).await else {
                            return;
                        };
                        let peer = stream
                            .get_ref()
                            .1
                            .peer_certificates()
                            .map(|chain| common_name(&chain[0]))
                            .unwrap_or_default();
                        builder
                            .serve_connection_with_upgrades(TokioIo::new(stream), serving(peer))
                            .await
                    }
                };
                drop(result);
            }));
        }
    }));
    server
}

fn common_name(certificate: &CertificateDer<'_>) -> String {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    parsed
        .subject()
        .iter_common_name()
        .next()
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "test-ca");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    params
        .subject_alt_names
        .push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Certificate and key, PEM.
fn issue(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params(name).signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn server_tls(
    certificate: &str,
    key: &str,
    client_ca: Option<&str>,
    alpn: &[&[u8]],
) -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = rustls::RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
                .unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            )
            .build()
            .unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let mut config = builder
        .with_single_cert(
            chain,
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

fn https(server: &Server) -> ClientConfig {
    ClientConfig::plain(&format!("https://{}", server.address))
        .unwrap()
        .with_qps(-1.0)
        .with_user_agent("test/1")
}

async fn get(client: &Client) -> Result<ConfigMap, client::Error> {
    client.namespaced::<ConfigMap>("ns").get("a").await
}

#[tokio::test]
async fn http1_connections_are_used_again() {
    let server = serve(None, usize::MAX).await;
    let client = Client::new(
        ClientConfig::plain(&server.address.to_string())
            .unwrap()
            .with_qps(-1.0)
            .with_token("abc")
            .with_user_agent("test/1"),
    )
    .unwrap();
    for _ in 0..20 {
        assert_eq!(get(&client).await.unwrap().metadata.name, "a");
        // The connection is given back when its task has seen the end of the answer.
        tokio::task::yield_now().await;
    }
    let seen = server.seen.lock().clone();
    assert_eq!(
        (
            seen[0].authorization.as_str(),
            seen[0].user_agent.as_str(),
            seen[0].line.as_str()
        ),
        (
            "Bearer abc",
            "test/1",
            "GET /api/v1/namespaces/ns/configmaps/a"
        )
    );
    assert_eq!(seen[0].version, http::Version::HTTP_11);
    assert!(
        server.connections.load(Ordering::SeqCst) <= 3,
        "{} connections for 20 requests",
        server.connections.load(Ordering::SeqCst)
    );
}

#[tokio::test]
async fn a_server_that_closes_idle_connections_costs_no_request() {
    let server = serve(None, 2).await;
    let client = Client::new(
        ClientConfig::plain(&server.address.to_string())
            .unwrap()
            .with_qps(-1.0),
    )
    .unwrap();
    for _ in 0..20 {
        get(&client).await.unwrap();
    }
    assert_eq!(server.seen.lock().len(), 20);
}

#[tokio::test]
async fn http2_carries_everything_on_one_connection_up_to_its_limit() {
    let authority = authority();
    let (certificate, key) = issue(&authority, "server");
    let server = serve(Some(server_tls(&certificate, &key, None, BOTH)), usize::MAX).await;
    let client = Client::new(https(&server).with_ca(authority.pem().into_bytes())).unwrap();
    let results = futures::future::join_all((0..30).map(|_| get(&client))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    assert!(
        server
            .seen
            .lock()
            .iter()
            .all(|seen| seen.version == http::Version::HTTP_2)
    );
    // More watches than one connection may carry, as a kubelet has for its config maps and secrets.
    let mut watches = Vec::new();
    for _ in 0..150 {
        let mut watch = client
            .api::<ConfigMap>()
            .watch(&ListOptions::default())
            .await
            .unwrap();
        watch.next().await.unwrap().unwrap();
        watches.push(watch);
    }
    get(&client).await.unwrap();
    assert_eq!(server.connections.load(Ordering::SeqCst), 4);
    drop(watches);
    get(&client).await.unwrap();
    assert_eq!(server.connections.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn servers_are_verified() {
    let (trusted, other) = (authority(), authority());
    let (certificate, key) = issue(&trusted, "server");
    let server = serve(Some(server_tls(&certificate, &key, None, BOTH)), usize::MAX).await;
    let config = https(&server);
    let with = |change: &dyn Fn(&mut ClientConfig)| {
        let mut config = config.clone();
        change(&mut config);
        Client::new(config).unwrap()
    };
    let ca = |authority: &CertifiedIssuer<'static, KeyPair>| {
        Some(CertificateSource::Data(authority.pem().into_bytes()))
    };
    get(&with(&|config| config.tls.ca = ca(&trusted)))
        .await
        .unwrap();
    let error = get(&with(&|config| config.tls.ca = ca(&other)))
        .await
        .unwrap_err();
    assert!(
        error.is_connection()
            && error
                .to_string()
                .contains("x509: certificate signed by unknown authority"),
        "{error}"
    );
    get(&with(&|config| config.tls.insecure = true))
        .await
        .unwrap();
    let error = get(&with(&|config| {
        config.tls.ca = ca(&trusted);
        config.tls.server_name = Some("kubernetes".into());
    }))
    .await
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("x509: certificate is valid for localhost, 127.0.0.1, not kubernetes"),
        "{error}"
    );
    get(&with(&|config| {
        config.tls.ca = ca(&trusted);
        config.tls.server_name = Some("localhost".into());
    }))
    .await
    .unwrap();
    // A self-signed serving certificate, no authority, pinned.
    let key = KeyPair::generate().unwrap();
    let certificate = params("pinned").self_signed(&key).unwrap().pem();
    let server = serve(
        Some(server_tls(&certificate, &key.serialize_pem(), None, BOTH)),
        usize::MAX,
    )
    .await;
    get(&Client::new(https(&server).with_ca(certificate.into_bytes())).unwrap())
        .await
        .unwrap();
    assert!(
        get(&Client::new(https(&server).with_ca(trusted.pem().into_bytes())).unwrap())
            .await
            .is_err()
    );
}

/// Writes a pair as the kubelet does: one file, swapped whole.
fn write_pair(path: &Path, (certificate, key): &(String, String)) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, format!("{certificate}{key}")).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

#[tokio::test]
async fn a_rotated_client_certificate_is_used_by_new_requests() {
    let authority = authority();
    let (certificate, key) = issue(&authority, "server");
    let server = serve(
        Some(server_tls(&certificate, &key, Some(&authority.pem()), BOTH)),
        usize::MAX,
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let pair = folder.path().join("current.pem");
    write_pair(&pair, &issue(&authority, "system:node:old"));
    let config = https(&server)
        .with_ca(authority.pem().into_bytes())
        .with_client_certificate_files(&pair, &pair);
    let client = Client::new(config).unwrap();
    get(&client).await.unwrap();
    let mut watch = client
        .api::<ConfigMap>()
        .watch(&ListOptions::default())
        .await
        .unwrap();
    watch.next().await.unwrap().unwrap();
    write_pair(&pair, &issue(&authority, "system:node:new"));
    // Files are looked at every ten seconds.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    get(&client).await.unwrap();
    let peers: Vec<String> = server
        .seen
        .lock()
        .iter()
        .map(|seen| seen.peer.clone())
        .collect();
    assert_eq!(
        peers,
        ["system:node:old", "system:node:old", "system:node:new"]
    );
    // The watch goes on undisturbed on its old connection.
    assert!(futures::poll!(watch.next()).is_pending());
    // A broken file does not end a working client.
    std::fs::write(&pair, "garbage").unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    get(&client).await.unwrap();
}

#[tokio::test]
async fn wrong_files_are_told_at_once() {
    let config = ClientConfig::plain("https://127.0.0.1:1").unwrap();
    let error = Client::new(
        config
            .clone()
            .with_client_certificate_files("/nonexistent/c", "/nonexistent/k"),
    )
    .unwrap_err();
    assert!(format!("{error:?}").contains("/nonexistent/c"), "{error:?}");
    let error = Client::new(config.with_ca(b"garbage".to_vec())).unwrap_err();
    assert!(
        format!("{error:?}").contains("certificate-authority"),
        "{error:?}"
    );
}

#[tokio::test]
async fn keys_of_all_three_formats_are_read() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let authority = authority();
    let (certificate, key) = issue(&authority, "server");
    let server = serve(
        Some(server_tls(&certificate, &key, Some(&authority.pem()), BOTH)),
        usize::MAX,
    )
    .await;
    for (name, expected) in [
        ("sec1.key", "BEGIN EC PRIVATE KEY"),
        ("pkcs1.key", "BEGIN RSA PRIVATE KEY"),
    ] {
        let pem = std::fs::read_to_string(data.join(name)).unwrap();
        assert!(pem.contains(expected));
        let key =
            KeyPair::try_from(&PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let certificate = params(name).signed_by(&key, &authority).unwrap();
        let mut config = https(&server).with_ca(authority.pem().into_bytes());
        config.tls.client_certificate =
            Some(CertificateSource::Data(certificate.pem().into_bytes()));
        config.tls.client_key = Some(CertificateSource::Data(pem.into_bytes()));
        get(&Client::new(config).unwrap()).await.unwrap();
        assert_eq!(server.seen.lock().last().unwrap().peer, name);
    }
}

#[tokio::test]
async fn connections_can_be_upgraded_over_tls() {
    let authority = authority();
    let (certificate, key) = issue(&authority, "server");
    let server = serve(Some(server_tls(&certificate, &key, None, BOTH)), usize::MAX).await;
    let client = Client::new(
        https(&server)
            .with_ca(authority.pem().into_bytes())
            .with_token("abc"),
    )
    .unwrap();
    let request = Request::get("/exec")
        .header("connection", "Upgrade")
        .header("upgrade", "echo")
        .body(Bytes::new())
        .unwrap();
    let mut upgraded = client.raw_upgrade(request).await.unwrap();
    assert_eq!(upgraded.response.headers()["upgrade"], "echo");
    upgraded.io.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    upgraded.io.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "HELLO");
    assert_eq!(server.seen.lock()[0].authorization, "Bearer abc");
    let refused = client
        .raw_upgrade(Request::get("/plain").body(Bytes::new()).unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, client::Error::UpgradeRefused { status, .. } if status == 200),
        "{refused}"
    );
}

#[tokio::test]
async fn compressed_answers_are_read() {
    let server = serve(None, usize::MAX).await;
    let client = Client::new(ClientConfig::plain(&server.address.to_string()).unwrap()).unwrap();
    assert_eq!(
        client
            .namespaced::<ConfigMap>("ns")
            .get("big")
            .await
            .unwrap()
            .metadata
            .name,
        "a"
    );
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(ClientConfig::plain(&address.to_string()).unwrap()).unwrap();
    let error = get(&client).await.unwrap_err();
    assert!(error.is_connection_refused(), "{error}");
    assert!(
        error.to_string().contains(&format!("dial tcp {address}")),
        "{error}"
    );
}
