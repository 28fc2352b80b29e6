//! Whom the server asks on behalf of clients: kubelets, pods, services, API servers behind it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::super::aggregation::{API_SERVICES, Authority, GROUP, api_service};
use super::super::egress::{selections, through};
use super::super::{AUTHORIZATION, JSON, MERGE, Server};

const NAMESPACE: &str = "/api/v1/namespaces/default";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SOON: Duration = Duration::from_secs(20);

/// What a backend was sent on one connection, until the other side closed it.
struct Seen {
    text: String,
    /// The other side said who it is.
    certificate: bool,
}

/// A TLS server that answers the first request of a connection, and then listens to what else is said there.
struct Backend {
    port: u16,
    seen: mpsc::UnboundedReceiver<Seen>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn head_of(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

impl Backend {
    /// Its answers are functions of the heads of requests. It asks for certificates of an authority.
    async fn start(clients: &Authority, answer: fn(&str) -> String) -> Backend {
        let servers = Authority::new();
        let (certificate, key) = servers.issue("backend", ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(clients.der.clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()
                .unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, seen) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, tell) = (acceptor.clone(), tell.clone());
                connections.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let certificate = stream.get_ref().1.peer_certificates().is_some();
                    let mut text = head_of(&mut stream).await;
                    let mut answered = answer(&text);
                    if !wants_switch(&text) {
                        // Only one request is answered: connections must not be kept for others.
                        answered = answered.replacen("\r\n", "\r\nConnection: close\r\n", 1);
                    }
                    let _ = stream.write_all(answered.as_bytes()).await;
                    let mut after = Vec::new();
                    let _ = stream.read_to_end(&mut after).await;
                    text.push_str(&String::from_utf8_lossy(&after));
                    let _ = tell.send(Seen { text, certificate });
                });
            }
        });
        Backend {
            port,
            seen,
            accepting,
        }
    }

    /// The next connection that has ended, of those whose request has this path.
    async fn seen(&mut self, path: &str) -> Seen {
        let found = async {
            loop {
                let seen = self.seen.recv().await.unwrap();
                if seen.text.contains(path) {
                    return seen;
                }
            }
        };
        let found = tokio::time::timeout(SOON, found).await;
        found.unwrap_or_else(|_| panic!("the connection of {path} has not ended"))
    }
}

/// A proxy on the way to the cluster that leads to one port of this host, whatever it is asked for.
struct Detour {
    asked: Arc<Mutex<Vec<String>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Detour {
    /// And the flag of a server that takes this way.
    fn start(folder: &Path, port: u16) -> (Detour, String) {
        let socket = folder.join("proxy.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let log = log.clone();
                connections.spawn(async move {
                    let head = head_of(&mut stream).await;
                    let target = head.split(' ').nth(1).unwrap_or_default();
                    log.lock().push(target.to_owned());
                    let Ok(mut other) = TcpStream::connect(("127.0.0.1", port)).await else {
                        return;
                    };
                    let answer = b"HTTP/1.1 200 OK\r\n\r\n";
                    let _ = stream.write_all(answer).await;
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
                });
            }
        });
        let selection = json!([{"name": "cluster", "connection": through("HTTPConnect", &socket)}]);
        let flag = selections(folder, selection);
        (Detour { asked, serving }, flag)
    }
}

fn node(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {
        "addresses": [{"type": "InternalIP", "address": address}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
    }})
}

impl Server {
    async fn pod_at(&self, namespace: &str, name: &str, address: &str) {
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let pod = json!({"metadata": {"name": name}, "spec": {
            "nodeName": "n", "containers": [{"name": "c", "image": "i"}],
        }});
        self.post(&pods, pod).await.expect(201);
        let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}});
        let path = format!("{pods}/{name}/status");
        self.patch(&path, MERGE, status.to_string())
            .await
            .expect(200);
    }

    /// A service that has one endpoint.
    async fn service_of(&self, name: &str, address: &str, target: Value) {
        let service = json!({"metadata": {"name": name}, "spec": {"clusterIP": "None", "ports": [{"name": "web", "port": 443}]}});
        let services = format!("{NAMESPACE}/services");
        self.post(&services, service).await.expect(201);
        let slice = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"name": "web", "port": 443}],
            "endpoints": [{"addresses": [address], "targetRef": target}],
        });
        let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        self.post(slices, slice).await.expect(201);
    }

    /// A node, a pod and a service.
    async fn backends(&self) {
        self.namespace("default").await;
        self.post("/api/v1/nodes", node("n", "10.9.8.6"))
            .await
            .expect(201);
        self.pod_at("default", "p", "10.9.8.7").await;
        let target = json!({"kind": "Pod", "namespace": "default", "name": "p"});
        self.service_of("s", "10.9.8.7", target).await;
    }

    /// An API server behind this one, which has been found to be available.
    async fn aggregated(&self) {
        apiserver::hooks::start(self.inner(), self.stop.clone());
        let namespace = json!({"metadata": {"name": "wardle"}});
        self.post("/api/v1/namespaces", namespace).await.expect(201);
        let service = json!({"metadata": {"name": "api"}, "spec": {"type": "ExternalName", "externalName": "api.example.com"}});
        self.post("/api/v1/namespaces/wardle/services", service)
            .await
            .expect(201);
        let mut service = api_service(443, "");
        let spec = service["spec"].as_object_mut().unwrap();
        spec.remove("caBundle");
        spec.insert("insecureSkipTLSVerify".to_owned(), true.into());
        self.post(API_SERVICES, service).await.expect(201);
        self.until(&format!("{GROUP}/things"), JSON, |answer| {
            answer.code != 503 && answer.code != 404
        })
        .await;
    }

    /// What comes back for a request to switch protocols that is followed by other bytes, until the server closes.
    async fn switch(&self, path: &str, headers: &str, after: &str) -> String {
        let mut connection = self.connection();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: {AUTHORIZATION}\r\nConnection: Upgrade\r\n{headers}\r\n{after}"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(SOON, connection.read_to_end(&mut answer)).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(ended.is_ok(), "{path}: still open after {answer}");
        answer
    }
}

const SPDY: &str = "Upgrade: SPDY/3.1\r\n";
const WEB_SOCKET: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n";

/// Every way to have a connection switched, and what of its path the backend sees.
fn switches() -> Vec<(String, &'static str, &'static str)> {
    let exec = format!("{PODS}/p/exec?command=x&stdout=true");
    vec![
        (format!("{PODS}/https:p:443/proxy/pod"), SPDY, "/pod "),
        (
            format!("{NAMESPACE}/services/https:s:web/proxy/service"),
            SPDY,
            "/service ",
        ),
        (
            "/api/v1/nodes/n/proxy/kubelet".to_owned(),
            SPDY,
            "/kubelet ",
        ),
        (
            "/api/v1/nodes/https:n:443/proxy/node".to_owned(),
            SPDY,
            "/node ",
        ),
        (exec.clone(), SPDY, "/exec/default/p/c?"),
        (exec, WEB_SOCKET, "/exec/default/p/c?"),
        (
            format!("{PODS}/p/attach?stdout=true"),
            SPDY,
            "/attach/default/p/c?",
        ),
        (
            format!("{PODS}/p/portforward"),
            SPDY,
            "/portForward/default/p ",
        ),
        (format!("{GROUP}/things/switch"), SPDY, "/things/switch "),
    ]
}

fn answer(code: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {code}\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// Whether the request is to switch protocols.
fn wants_switch(head: &str) -> bool {
    head.to_lowercase().contains("\r\nupgrade:")
}

/// Whether it is the request that finds out whether an API server behind this one is available.
fn is_probe(head: &str) -> bool {
    !wants_switch(head) && head.contains(GROUP)
}

/// After a failed upgrade the connection to the backend stayed open, and the client went on to speak there as the API server.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2018_1002105_what_did_not_switch_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut backend = Backend::start(&Authority::new(), |head| {
        if is_probe(head) {
            return answer("200 OK", "", "{}");
        }
        answer("403 Forbidden", "X-Backend: 1\r\n", "not for you")
    })
    .await;
    let (_detour, flag) = Detour::start(folder.path(), backend.port);
    let Some(server) = Server::start_with(&[flag]).await else {
        return;
    };
    server.backends().await;
    server.aggregated().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\nX-Remote-User: system:admin\r\n\r\n";
    for (path, headers, seen) in switches() {
        let told = server.switch(&path, headers, smuggled).await;
        assert!(told.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{told}");
        assert!(told.contains("x-backend: 1\r\n"), "{told}");
        assert!(told.ends_with("\r\n\r\nnot for you"), "{path}: {told}");
        let seen = backend.seen(seen).await.text;
        assert!(!seen.contains("smuggled"), "{path}: {seen}");
    }
}

/// Redirects of kubelets, of servers that should switch and of API servers behind this one were followed with the server's
/// credentials, or led clients elsewhere with theirs.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2018_1002102_and_2020_8559_and_2022_3172_redirects_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    static ELSEWHERE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let address = elsewhere.local_addr().unwrap();
    let location = ELSEWHERE.get_or_init(|| format!("https://{address}/there"));
    let mut backend = Backend::start(&Authority::new(), |head| {
        if is_probe(head) && !head.contains("/redirected ") {
            return answer("200 OK", "", "{}");
        }
        let location = ELSEWHERE.get().unwrap();
        answer("302 Found", &format!("Location: {location}\r\n"), "")
    })
    .await;
    let (_detour, flag) = Detour::start(folder.path(), backend.port);
    let Some(server) = Server::start_with(&[flag]).await else {
        return;
    };
    server.backends().await;
    server.aggregated().await;
    for (path, headers, seen) in switches() {
        let mut connection = server.connection();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: {AUTHORIZATION}\r\nConnection: Upgrade\r\n{headers}\r\n"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let head = head_of(&mut connection).await;
        let aggregated = path.starts_with(GROUP);
        let code = if aggregated { 503 } else { 500 };
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{head}");
        assert!(!head.to_lowercase().contains("location:"), "{head}");
        backend.seen(seen).await;
    }
    let redirected = server.get(&format!("{GROUP}/redirected")).await;
    assert_eq!(redirected.code, 502);
    assert!(!redirected.headers.contains_key("location"));
    assert_eq!(
        String::from_utf8_lossy(&redirected.text),
        "the backend attempted to redirect this request, which is not permitted"
    );
    let log = server.get(&format!("{PODS}/p/log")).await;
    log.refuses(500, &format!("Get {location:?}: redirects forbidden"));
    // Clients of a proxy are shown the redirect, and follow it without this server.
    for path in [
        format!("{PODS}/https:p:443/proxy/a"),
        format!("{NAMESPACE}/services/https:s:web/proxy/a"),
        "/api/v1/nodes/n/proxy/a".to_owned(),
    ] {
        let answer = server.get(&path).await;
        assert_eq!(answer.code, 302, "{path}");
        assert_eq!(answer.headers["location"], location.as_str(), "{path}");
    }
    let reached = elsewhere.accept().map(|_| ());
    let nobody = reached.unwrap_err().kind();
    assert_eq!(nobody, std::io::ErrorKind::WouldBlock, "it was followed");
}

/// Where the server's connections go is not for the writers of Nodes and of pods' status to say: addresses of the server's own host
/// and link are refused in every spelling, whether the kubelet's port is named or not.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2022_3294_and_2020_8562_addresses_of_this_host_are_not_proxied_to() {
    let Some(server) = Server::start().await else {
        return;
    };
    let refused = async |path: &str, address: &str| {
        let answer = server.get(path).await;
        let got = (answer.code, answer.message());
        let wanted = (400, "address not allowed".to_owned());
        assert_eq!(got, wanted, "{path}: {address}");
    };
    for (index, address) in [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "localhost",
        "127.1",
        "0177.0.0.1",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("n{index}");
        server
            .post("/api/v1/nodes", node(&name, address))
            .await
            .expect(201);
        for id in [
            name.clone(),
            format!("{name}:10250"),
            format!("https:{name}:10250"),
            format!("http:{name}:80"),
        ] {
            refused(&format!("/api/v1/nodes/{id}/proxy/pods"), address).await;
        }
    }
    for (index, address) in ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1"]
        .into_iter()
        .enumerate()
    {
        let name = format!("p{index}");
        server.pod_at("default", &name, address).await;
        refused(&format!("{PODS}/{name}/proxy/"), address).await;
        refused(&format!("{PODS}/https:{name}:443/proxy/"), address).await;
    }
}

/// Endpoints are not all that can be reached through a service: only pods of its namespace are, whoever wrote the endpoints.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2021_25740_services_lead_to_pods_of_their_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start(&Authority::new(), |_| answer("200 OK", "", "reached")).await;
    let (detour, flag) = Detour::start(folder.path(), backend.port);
    let Some(server) = Server::start_with(&[flag]).await else {
        return;
    };
    server.backends().await;
    server.namespace("other").await;
    server.pod_at("other", "p", "10.9.8.8").await;
    let pod = |namespace: &str| json!({"kind": "Pod", "namespace": namespace, "name": "p"});
    for (name, address, target) in [
        ("nothing", "10.9.8.7", Value::Null),
        ("elsewhere", "10.9.8.8", pod("other")),
        ("other-address", "10.9.8.9", pod("default")),
        (
            "nobody",
            "10.9.8.7",
            json!({"kind": "Pod", "namespace": "default", "name": "q"}),
        ),
    ] {
        server.service_of(name, address, target).await;
        let path = format!("{NAMESPACE}/services/https:{name}:web/proxy/");
        let expected = format!("no endpoints available for service \"https:{name}:web\"");
        server.get(&path).await.refuses(503, &expected);
    }
    assert!(detour.asked.lock().is_empty());
    let path = format!("{NAMESPACE}/services/https:s:web/proxy/");
    assert_eq!(server.get(&path).await.text, b"reached");
    assert_eq!(*detour.asked.lock(), ["10.9.8.7:443"]);
}

/// Leading zeros are octal to some: they are not written any more. (What was stored before is decimal: `connect/proxy.rs` and
/// apimachinery's `validation`.)
#[tokio::test(flavor = "multi_thread")]
async fn cve_2021_29923_leading_zeros_are_refused() {
    let Some(server) = Server::start().await else {
        return;
    };
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}], "externalIPs": ["010.9.8.7"]}});
    let cidr = json!({"metadata": {"name": "c"}, "spec": {"cidrs": ["010.1.0.0/24"]}});
    let endpoints = json!({"metadata": {"name": "e"}, "subsets": [{"addresses": [{"ip": "127.000.000.001"}], "ports": [{"port": 1}]}]});
    let slice = json!({"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": [{"addresses": ["0177.0.0.1"]}]});
    for (path, object) in [
        (format!("{NAMESPACE}/services"), service),
        ("/apis/networking.k8s.io/v1/servicecidrs".to_owned(), cidr),
        (format!("{NAMESPACE}/endpoints"), endpoints),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices".to_owned(),
            slice,
        ),
    ] {
        let answer = server.post(&path, object).await;
        assert_eq!(answer.code, 422, "{path}: {}", answer.message());
        let told = answer.message();
        assert!(told.contains("must not have leading 0s"), "{told}");
    }
}

/// Nobody vouches for pods, services and other ports of nodes: to them the server does not say who it is, nor who asks. The kubelet is
/// told, once it has shown a certificate of the authority.
#[tokio::test(flavor = "multi_thread")]
async fn ncc_mre_unverified_servers_get_no_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let clients = Authority::new();
    let mut backend = Backend::start(&clients, |_| answer("403 Forbidden", "", "")).await;
    let (_detour, flag) = Detour::start(folder.path(), backend.port);
    let (certificate, key) = clients.issue("apiserver", ExtendedKeyUsagePurpose::ClientAuth);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let mut flags = vec![
        flag,
        format!(
            "--kubelet-client-certificate={}",
            file("crt", &certificate.pem())
        ),
        format!("--kubelet-client-key={}", file("key", &key.serialize_pem())),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    server.backends().await;
    let headers = [
        ("authorization", AUTHORIZATION),
        ("x-remote-user", "canary"),
        ("x-remote-extra-a", "canary"),
        ("impersonate-user", "jane"),
        ("x-mine", "1"),
    ];
    let pod = format!("{PODS}/https:p:443/proxy/pod");
    let service = format!("{NAMESPACE}/services/https:s:web/proxy/service");
    for (path, seen, certificate) in [
        (pod.as_str(), "/pod ", false),
        (&service, "/service ", false),
        ("/api/v1/nodes/https:n:443/proxy/node", "/node ", false),
        ("/api/v1/nodes/n/proxy/kubelet", "/kubelet ", true),
        ("/api/v1/nodes/n:10250/proxy/kubelet", "/kubelet ", true),
    ] {
        let answer = server.send("GET", path, &headers, "").await;
        assert_eq!(answer.code, 403, "{path}");
        let seen = backend.seen(seen).await;
        assert_eq!(seen.certificate, certificate, "{path}");
        let text = seen.text.to_lowercase();
        assert!(text.contains("x-mine: 1\r\n"), "{text}");
        for secret in ["authorization", "testers-token", "canary", "jane"] {
            assert!(!text.contains(secret), "{path}: {secret}: {text}");
        }
    }
    // Browsers have their tokens elsewhere.
    use base64::Engine as _;
    let token = AUTHORIZATION.trim_start_matches("Bearer ");
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token);
    let mut connection = server.connection();
    let protocols = format!("base64url.bearer.authorization.k8s.io.{token}, mine");
    let request = format!(
        "GET {pod} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: {protocols}\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    assert!(head_of(&mut connection).await.starts_with("HTTP/1.1 403 "));
    let text = backend.seen("/pod ").await.text.to_lowercase();
    assert!(text.contains("sec-websocket-protocol: mine\r\n"), "{text}");
    assert!(!text.contains("bearer"), "{text}");

    // A kubelet whose certificate is of another authority is sent nothing.
    let other = file("ca", &Authority::new().pem);
    flags.push(format!("--kubelet-certificate-authority={other}"));
    let server = Server::start_with(&flags).await.unwrap();
    server.backends().await;
    for path in ["/api/v1/nodes/n/proxy/kubelet", &format!("{PODS}/p/log")] {
        let answer = server.get(path).await;
        assert!(matches!(answer.code, 500 | 503), "{path}: {}", answer.code);
        let told = answer.message();
        assert!(
            told.contains("x509: certificate signed by unknown authority"),
            "{told}"
        );
    }
    backend.accepting.abort();
    while let Some(seen) = backend.seen.recv().await {
        assert!(!seen.text.contains("/kubelet"), "{}", seen.text);
        assert!(!seen.text.contains("containerLogs"), "{}", seen.text);
    }
}

/// WebSockets begin with a GET: who could only look at pods could run commands in them.
#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_133515_running_commands_needs_the_right_to_create() {
    let Some(server) = Server::start_with(&["--authorization-mode=RBAC".to_owned()]).await else {
        return;
    };
    server.namespace("default").await;
    let resources = json!(["pods/exec", "pods/attach", "pods/portforward"]);
    let rule = |verbs: Value| json!([{"apiGroups": [""], "resources": resources, "verbs": verbs}]);
    server.grant("looks", "looks", rule(json!(["get"]))).await;
    server
        .grant("runs", "runs", rule(json!(["create", "get"])))
        .await;
    for what in ["exec", "attach", "portforward"] {
        for upgrade in ["websocket", "SPDY/3.1", ""] {
            let path = format!("{PODS}/p/{what}");
            let get = async |user: &str| {
                let mut headers = vec![("impersonate-user", user)];
                if !upgrade.is_empty() {
                    headers.extend([("connection", "Upgrade"), ("upgrade", upgrade)]);
                }
                server.send("GET", &path, &headers, "").await
            };
            get("looks").await.refuses(403, "pods \"p\" is forbidden: ");
            get("runs").await.refuses(404, "pods \"p\" not found");
        }
    }
}
