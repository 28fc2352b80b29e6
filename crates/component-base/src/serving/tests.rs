use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::logs::{self, tests::capture};
use crate::run::install_crypto_provider;

const LIMIT: Duration = Duration::from_secs(10);

/// A server on the loopback address that goes away with the value.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) ca: CertificateDer<'static>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

pub(super) fn options() -> (SecureServingOptions, SelfSigned) {
    install_crypto_provider();
    let made = generate_self_signed("localhost", &[IpAddr::V4(Ipv4Addr::LOCALHOST)], &[]).unwrap();
    let slot = CertificateSlot::default();
    slot.set_pem(made.certificate_pem.as_bytes(), made.key_pem.as_bytes())
        .unwrap();
    let options = SecureServingOptions {
        bind_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        certificate: Some(slot),
        ..SecureServingOptions::default()
    };
    (options, made)
}

fn ca_of(made: &SelfSigned) -> CertificateDer<'static> {
    CertificateDer::pem_slice_iter(made.certificate_pem.as_bytes())
        .nth(1)
        .unwrap()
        .unwrap()
}

pub(super) fn serve(
    options: SecureServingOptions,
    made: &SelfSigned,
    handler: impl Handler,
) -> Running {
    serve_with_grace(options, made, handler, LIMIT)
}

fn serve_with_grace(
    options: SecureServingOptions,
    made: &SelfSigned,
    handler: impl Handler,
    grace: Duration,
) -> Running {
    let stop = CancellationToken::new();
    let server = options.bind(&stop).unwrap();
    let address = server.local_addr();
    let task = server.spawn(Arc::new(handler), stop.clone(), grace);
    Running {
        address,
        ca: ca_of(made),
        stop,
        task,
    }
}

/// Says what it knows about the request.
fn describe() -> impl Handler {
    handler_fn(|request: Request| async move {
        let connection = connection(&request);
        let text = format!(
            "{:?} {} tls={} certificates={} from={}",
            request.version(),
            request.uri().path(),
            connection.tls,
            connection.peer_certificates.len(),
            connection.remote_addr.ip()
        );
        text_response(StatusCode::OK, text)
    })
}

pub(super) struct Client {
    /// PEM of a certificate and its key.
    identity: Option<SelfSigned>,
    protocols: Vec<Vec<u8>>,
    name: &'static str,
    versions: &'static [&'static rustls::SupportedProtocolVersion],
}

const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

impl Client {
    fn http1() -> Self {
        Self {
            identity: None,
            protocols: vec![b"http/1.1".to_vec()],
            name: "localhost",
            versions: BOTH,
        }
    }

    pub(super) fn http2() -> Self {
        Self {
            identity: None,
            protocols: vec![b"h2".to_vec()],
            name: "localhost",
            versions: BOTH,
        }
    }

    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        ca: &CertificateDer<'static>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.clone()).unwrap();
        let builder = rustls::ClientConfig::builder_with_protocol_versions(self.versions)
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
                    .unwrap()
            }
        };
        config.alpn_protocols = self.protocols.clone();
        let stream = TcpStream::connect(address).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector
            .connect(ServerName::try_from(self.name).unwrap(), stream)
            .await
    }
}

async fn text(response: http::Response<hyper::body::Incoming>) -> String {
    String::from_utf8(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

fn get(path: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(path)
        .header("host", "localhost")
        .body(Empty::new())
        .unwrap()
}

use bytes::Bytes;

async fn get_http1(running: &Running, client: &Client, path: &str) -> (StatusCode, String) {
    let stream = client.connect(running.address, &running.ca).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(get(path)).await.unwrap();
    (response.status(), text(response).await)
}

#[tokio::test]
async fn speaks_both_versions_of_http() {
    let (options, made) = options();
    let running = serve(options, &made, describe());
    let (status, body) = get_http1(&running, &Client::http1(), "/a").await;
    assert_eq!(
        (status, body.as_str()),
        (
            StatusCode::OK,
            "HTTP/1.1 /a tls=true certificates=0 from=127.0.0.1"
        )
    );

    let stream = Client::http2()
        .connect(running.address, &running.ca)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://localhost/b")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let shown = text(response).await;
    assert_eq!(shown, "HTTP/2.0 /b tls=true certificates=0 from=127.0.0.1");

    // A body would break the stream.
    let request = http::Request::head("https://localhost/b")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(
        response.headers()["content-length"],
        shown.len().to_string()
    );
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn http2_can_be_switched_off() {
    let (mut options, made) = options();
    options.disable_http2 = true;
    let running = serve(options, &made, describe());
    let both = Client {
        protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        ..Client::http1()
    };
    let stream = both.connect(running.address, &running.ca).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn client_certificates_are_seen_and_not_judged() {
    let (options, made) = options();
    let running = serve(options, &made, describe());
    // Nobody here trusts this certificate; who it is from is for the authenticators.
    let stranger = generate_self_signed("stranger", &[], &[]).unwrap();
    for (name, versions) in [("1.3", &BOTH[..1]), ("1.2", &BOTH[1..])] {
        let client = Client {
            identity: Some(stranger.clone()),
            versions,
            ..Client::http1()
        };
        let (_, body) = get_http1(&running, &client, "/").await;
        assert!(body.contains("certificates=2"), "TLS {name}: {body}");
    }
}

#[tokio::test]
async fn not_asking_for_certificates_sees_none() {
    let (mut options, made) = options();
    options.request_client_certificate = false;
    let running = serve(options, &made, describe());
    let client = Client {
        identity: Some(generate_self_signed("x", &[], &[]).unwrap()),
        ..Client::http1()
    };
    let (_, body) = get_http1(&running, &client, "/").await;
    assert!(body.contains("certificates=0"), "{body}");
}

fn write_pair(folder: &Path, made: &SelfSigned) {
    for (name, text) in [
        ("tls.crt", &made.certificate_pem),
        ("tls.key", &made.key_pem),
    ] {
        let next = folder.join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, folder.join(name)).unwrap();
    }
}

#[tokio::test]
async fn certificates_are_reloaded() {
    install_crypto_provider();
    let first = generate_self_signed("localhost", &[], &[]).unwrap();
    let second = generate_self_signed("localhost", &[], &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), &first);
    let options = SecureServingOptions {
        bind_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        cert_file: Some(folder.path().join("tls.crt")),
        key_file: Some(folder.path().join("tls.key")),
        ..SecureServingOptions::default()
    };
    let running = serve(options, &first, describe());
    Client::http1()
        .connect(running.address, &running.ca)
        .await
        .unwrap();
    write_pair(folder.path(), &second);
    let reloaded = async {
        while Client::http1()
            .connect(running.address, &ca_of(&second))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, reloaded)
        .await
        .expect("the new certificate is not served");
    assert!(
        Client::http1()
            .connect(running.address, &running.ca)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn server_names_choose_certificates() {
    let home = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let named = generate_self_signed("a.foo.example", &[], &[]).unwrap();
    let wild = generate_self_signed("any", &[], &["b.foo.example".to_owned()]).unwrap();
    let by_itself = generate_self_signed("c.foo.example", &[home], &[]).unwrap();
    let at_home = generate_self_signed("127.0.0.1", &[], &["localhost".to_owned()]).unwrap();
    let memory = |names: &[&str], made: &SelfSigned| InMemoryCert {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        certificate_pem: made.certificate_pem.clone(),
        key_pem: made.key_pem.clone(),
    };
    for for_address in [false, true] {
        let (mut options, made) = options();
        options.in_memory_certs = vec![
            memory(&[], &by_itself),
            memory(&["*.foo.example"], &wild),
            memory(&["a.foo.example"], &named),
        ];
        // Clients that connect to an address name no server. A certificate that only contains the address is not for it.
        let mut expected = &made;
        if for_address {
            let certificate = memory(&["other.example", "127.0.0.1"], &at_home);
            options.in_memory_certs.push(certificate);
            expected = &at_home;
        }
        let running = serve(options, &made, describe());
        for (name, ca) in [
            ("localhost", &made),
            ("a.foo.example", &named),
            ("b.foo.example", &wild),
            ("c.foo.example", &by_itself),
            ("127.0.0.1", expected),
        ] {
            let client = Client {
                name,
                ..Client::http1()
            };
            client
                .connect(running.address, &ca_of(ca))
                .await
                .unwrap_or_else(|error| panic!("{name}, {for_address}: {error}"));
        }
    }
}

#[tokio::test]
async fn connections_can_be_upgraded() {
    let (options, made) = options();
    let echo = handler_fn(|mut request: Request| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
            .headers_mut()
            .insert("connection", "Upgrade".parse().unwrap());
        response
            .headers_mut()
            .insert("upgrade", "echo".parse().unwrap());
        response
    });
    let running = serve(options, &made, echo);
    let stream = Client::http1()
        .connect(running.address, &running.ca)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut request = get("/");
    request
        .headers_mut()
        .insert("connection", "Upgrade".parse().unwrap());
    request
        .headers_mut()
        .insert("upgrade", "echo".parse().unwrap());
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"ping");
}

#[tokio::test]
async fn shutdown_lets_requests_finish() {
    let (options, made) = options();
    let (arrived, go_on) = (
        Arc::new(tokio::sync::Notify::new()),
        Arc::new(tokio::sync::Notify::new()),
    );
    let (seen, wait) = (arrived.clone(), go_on.clone());
    let slow = handler_fn(move |_| {
        let (seen, wait) = (seen.clone(), wait.clone());
        async move {
            seen.notify_one();
            wait.notified().await;
            text_response(StatusCode::OK, "done")
        }
    });
    let mut running = serve(options, &made, slow);
    let stream = Client::http2()
        .connect(running.address, &running.ca)
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let closed = tokio::spawn(connection);
    let request = || {
        http::Request::get("https://localhost/")
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    let answer = tokio::spawn(sender.send_request(request()));
    arrived.notified().await;
    running.stop.cancel();
    // The port is closed while the request is still being answered.
    let refused = async {
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, refused)
        .await
        .expect("the port is still open");
    go_on.notify_one();
    let response = answer.await.unwrap().unwrap();
    assert_eq!(text(response).await, "done");
    // GOAWAY ends the connection although the client keeps it.
    tokio::time::timeout(LIMIT, closed)
        .await
        .expect("the connection is still open")
        .unwrap()
        .unwrap();
    tokio::time::timeout(LIMIT, &mut running.task)
        .await
        .expect("the server still runs")
        .unwrap();
    drop(sender);
}

#[tokio::test]
async fn shutdown_cuts_off_after_the_grace_period() {
    let (options, made) = options();
    let arrived = Arc::new(tokio::sync::Notify::new());
    let seen = arrived.clone();
    let stuck = handler_fn(move |_| {
        let seen = seen.clone();
        async move {
            seen.notify_one();
            std::future::pending::<Response>().await
        }
    });
    let mut running = serve_with_grace(options, &made, stuck, Duration::from_millis(20));
    let stream = Client::http1()
        .connect(running.address, &running.ca)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let answer = tokio::spawn(async move { sender.send_request(get("/")).await });
    arrived.notified().await;
    running.stop.cancel();
    tokio::time::timeout(LIMIT, &mut running.task)
        .await
        .expect("the server still runs")
        .unwrap();
    assert!(answer.await.unwrap().is_err());
}

#[tokio::test]
async fn a_handler_can_close_its_connection() {
    let (options, made) = options();
    let close = handler_fn(|request: Request| async move {
        connection(&request).close_gracefully();
        text_response(StatusCode::OK, "bye")
    });
    let running = serve(options, &made, close);
    let stream = Client::http2()
        .connect(running.address, &running.ca)
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let closed = tokio::spawn(connection);
    let request = http::Request::get("https://localhost/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    assert_eq!(
        text(sender.send_request(request).await.unwrap()).await,
        "bye"
    );
    tokio::time::timeout(LIMIT, closed)
        .await
        .expect("the connection is still open")
        .unwrap()
        .unwrap();
    drop(sender);
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let (options, made) = options();
    let running = serve(
        options,
        &made,
        handler_fn(|request: Request| async move {
            assert_ne!(request.uri().path(), "/panic", "as asked");
            text_response(StatusCode::OK, "fine")
        }),
    );
    let (status, body) = get_http1(&running, &Client::http1(), "/panic").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        body,
        "This request caused apiserver to panic. Look in the logs for details.\n"
    );
    assert_eq!(get_http1(&running, &Client::http1(), "/").await.1, "fine");
}

#[tokio::test]
async fn failed_handshakes_are_counted() {
    let (mut options, made) = options();
    let counter = prometheus::Counter::new("errors", "x").unwrap();
    options.limits.handshake_errors = Some(counter.clone());
    let running = serve(options, &made, describe());
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    let counted = async {
        while counter.get() == 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, counted)
        .await
        .expect("the handshake is not counted");
}

#[tokio::test]
async fn serves_without_tls() {
    let server = Server::plain(bind_plain(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap());
    let address = server.local_addr();
    let stop = CancellationToken::new();
    let task = server.spawn(Arc::new(describe()), stop.clone(), LIMIT);
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(get("/healthz")).await.unwrap();
    assert_eq!(
        text(response).await,
        "HTTP/1.1 /healthz tls=false certificates=0 from=127.0.0.1"
    );
    stop.cancel();
    tokio::time::timeout(LIMIT, task)
        .await
        .expect("an idle connection holds the server")
        .unwrap();
}

/// A start that fails later has its error as the last line, whichever thread the server gets.
#[tokio::test]
async fn that_it_serves_is_logged_at_once() {
    let (options, _) = options();
    let stop = CancellationToken::new();
    let server = options.bind(&stop).unwrap();
    let want = format!("Serving securely on {}", server.local_addr());
    let lines = capture(&logs::Options::default(), || {
        server.spawn(Arc::new(describe()), stop.clone(), LIMIT);
    });
    stop.cancel();
    assert!(lines.iter().any(|line| line.ends_with(&want)), "{lines:?}");
}

#[tokio::test]
async fn all_addresses_means_both_families() {
    let server = Server::plain(bind_plain(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap());
    let port = server.local_addr().port();
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    server.spawn(Arc::new(describe()), stop, LIMIT);
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    // The IPv4 client is seen with its IPv4 address.
    assert!(
        text(sender.send_request(get("/")).await.unwrap())
            .await
            .ends_with("from=127.0.0.1")
    );
}

#[tokio::test]
async fn self_signed_certificates_are_kept() {
    install_crypto_provider();
    let folder = tempfile::tempdir().unwrap();
    let mut options = SecureServingOptions {
        cert_dir: Some(folder.path().join("pki")),
        pair_name: "kubelet".to_owned(),
        ..SecureServingOptions::default()
    };
    options.default_self_signed("node-a", &[], &[]).unwrap();
    let cert = folder.path().join("pki/kubelet.crt");
    let first = std::fs::read_to_string(&cert).unwrap();
    assert_eq!(options.cert_file.as_deref(), Some(cert.as_path()));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(folder.path().join("pki/kubelet.key"))
            .unwrap()
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    options.cert_file = None;
    options.key_file = None;
    options.default_self_signed("node-a", &[], &[]).unwrap();
    assert_eq!(std::fs::read_to_string(&cert).unwrap(), first);
    let mut in_memory = SecureServingOptions::default();
    in_memory
        .default_self_signed("localhost", &[], &[])
        .unwrap();
    assert!(in_memory.certificate.is_some_and(|slot| slot.is_set()));
}

#[tokio::test]
async fn what_cannot_be_served_is_an_error() {
    let stop = CancellationToken::new();
    let refuse = |change: fn(&mut SecureServingOptions)| {
        let (mut options, _) = options();
        change(&mut options);
        options.bind(&stop).unwrap_err().to_string()
    };
    assert_eq!(
        refuse(|options| options.cipher_suites = vec!["TLS_NONE".to_owned()]),
        "Cipher suite TLS_NONE not supported or doesn't exist"
    );
    assert_eq!(
        refuse(|options| options.min_tls_version = "VersionTLS9".to_owned()),
        "unknown tls version \"VersionTLS9\""
    );
    let (mut old, _) = options();
    old.cipher_suites = vec!["TLS_RSA_WITH_AES_128_CBC_SHA".to_owned()];
    old.min_tls_version = "VersionTLS10".to_owned();
    let first = old.clone().bind(&stop).unwrap();
    old.bind_port = first.local_addr().port();
    let text = old.bind(&stop).unwrap_err().to_string();
    let address = first.local_addr();
    assert_eq!(
        text,
        format!(
            "failed to create listener: failed to listen on {address}: listen tcp {address}: bind: address already in use"
        )
    );
}

#[test]
fn a_key_must_fit_its_certificate() {
    let a = generate_self_signed("a", &[], &[]).unwrap();
    let b = generate_self_signed("b", &[], &[]).unwrap();
    let slot = CertificateSlot::default();
    let error = slot
        .set_pem(a.certificate_pem.as_bytes(), b.key_pem.as_bytes())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "tls: private key does not match public key"
    );
    assert!(!slot.is_set());
    assert!(
        slot.set_pem(a.certificate_pem.as_bytes(), a.key_pem.as_bytes())
            .unwrap()
    );
    assert!(
        !slot
            .set_pem(a.certificate_pem.as_bytes(), a.key_pem.as_bytes())
            .unwrap()
    );
}

/// As in Go: a client that puts AES first gets what the server prefers, another one what it prefers itself.
#[tokio::test]
async fn the_server_prefers_the_cheapest_aes() {
    use rustls::CipherSuite;
    let (options, made) = options();
    let running = serve(options, &made, describe());
    const AES_128: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;
    const AES_256: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;
    const CHACHA: CipherSuite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    const OLD_AES_128: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    const OLD_AES_256: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    for (offered, chosen) in [
        (&[AES_256, CHACHA, AES_128][..], AES_128),
        (&[AES_128, AES_256], AES_128),
        (&[AES_256, CHACHA], AES_256),
        (&[CHACHA, AES_256, AES_128], CHACHA),
        (&[OLD_AES_256, OLD_AES_128], OLD_AES_128),
    ] {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .retain(|suite| offered.contains(&suite.suite()));
        provider
            .cipher_suites
            .sort_by_key(|suite| offered.iter().position(|one| *one == suite.suite()));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(running.ca.clone()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(running.address).await.unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
            .unwrap();
        let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap();
        assert_eq!(suite.suite(), chosen, "of {offered:?}");
    }
}

/// Notes of which CAs a certificate may be, and has none.
#[derive(Debug, Default)]
struct Asked(std::sync::Mutex<Vec<Vec<u8>>>);

impl rustls::client::ResolvesClientCert for Asked {
    fn resolve(
        &self,
        subjects: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        *self.0.lock().unwrap() = subjects.iter().map(|name| name.to_vec()).collect();
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The names of the CAs that a server says client certificates may be of.
async fn names_of_client_cas(running: &Running) -> Vec<String> {
    let asked = Arc::new(Asked::default());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(running.ca.clone()).unwrap();
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_cert_resolver(asked.clone());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(running.address).await.unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
        .unwrap();
    let names = asked.0.lock().unwrap();
    names
        .iter()
        .map(|der| {
            use x509_parser::prelude::FromDer as _;
            let (_, name) = x509_parser::x509::X509Name::from_der(der).unwrap();
            name.to_string()
        })
        .collect()
}

fn authority(name: &str) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.self_signed(&key).unwrap().pem()
}

#[tokio::test]
async fn clients_are_told_which_cas_their_certificates_may_be_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (first, second) = (authority("first"), authority("second"));
    std::fs::write(file("clients"), format!("{first}{first}")).unwrap();
    std::fs::write(file("proxies"), &second).unwrap();
    let (mut options, made) = options();
    options.client_ca_files = vec![file("clients"), file("proxies")];
    let running = serve(options, &made, describe());
    assert_eq!(
        names_of_client_cas(&running).await,
        ["CN=first", "CN=second"]
    );
    std::fs::write(file("proxies"), authority("third")).unwrap();
    let changed = async {
        while names_of_client_cas(&running).await != ["CN=first", "CN=third"] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, changed).await.unwrap();
}
