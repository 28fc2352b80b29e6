//! Connections through a proxy of the test's own.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixListener};

use super::authentication::Issuers;
use super::konnectivity;
use super::*;

/// A proxy behind a Unix socket, and the addresses it was asked for.
struct Proxy {
    asked: Arc<Mutex<Vec<String>>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    fn start(socket: &Path, refused: &'static str) -> Proxy {
        let listener = UnixListener::bind(socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let log = log.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut lines = Vec::new();
                    loop {
                        let mut line = String::new();
                        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                            return;
                        }
                        if line == "\r\n" {
                            break;
                        }
                        lines.push(line);
                    }
                    let target = lines[0].split(' ').nth(1).unwrap().to_owned();
                    log.lock().push(target.clone());
                    if target == refused {
                        let answer = b"HTTP/1.1 403 Forbidden\r\n\r\n";
                        let _ = stream.write_all(answer).await;
                        return;
                    }
                    let Ok(mut other) = TcpStream::connect(&target).await else {
                        return;
                    };
                    let answer = b"HTTP/1.1 200 OK\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
                });
            }
        });
        Proxy { asked, serving }
    }
}

pub(super) fn through(protocol: &str, socket: &Path) -> Value {
    json!({"proxyProtocol": protocol, "transport": {"uds": {"udsName": socket}}})
}

/// The flag of a file with these selections.
pub(super) fn selections(folder: &Path, selections: Value) -> String {
    let configuration = json!({
        "apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration",
        "egressSelections": selections,
    });
    let file = folder.join("egress.json");
    std::fs::write(&file, configuration.to_string()).unwrap();
    format!("--egress-selector-config-file={}", file.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_and_webhooks_are_behind_a_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("proxy.sock");
    let refused = "127.0.0.1:9";
    let proxy = Proxy::start(&socket, refused);
    let through = through("HTTPConnect", &socket);
    let flag = selections(
        folder.path(),
        json!([
            {"name": "etcd", "connection": through},
            {"name": "controlplane", "connection": through},
            {"name": "cluster", "connection": {"proxyProtocol": "Direct"}},
        ]),
    );
    let Some(server) = Server::start_with(&[flag]).await else {
        return;
    };
    server.namespace("default").await;
    let etcd = server._etcd.endpoint();
    let etcd = etcd.trim_start_matches("http://").to_owned();
    assert!(proxy.asked.lock().iter().all(|target| *target == etcd));
    assert!(!proxy.asked.lock().is_empty());

    webhook_at(&server, refused).await;
    server.post(CONFIG_MAPS, config_map("a")).await.refuses(
        500,
        &format!(
            "Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook: Post \"https://{refused}/w?timeout=10s\": \
             proxy error from {} while dialing {refused}, code 403: 403 Forbidden",
            socket.display()
        ),
    );
    assert!(proxy.asked.lock().iter().any(|target| target == refused));
    server.has_series(&[
        "apiserver_egress_dialer_dial_start_total{protocol=\"http_connect\",transport=\"uds\"} ",
        "apiserver_egress_dialer_dial_failure_count{protocol=\"http_connect\",stage=\"proxy\",transport=\"uds\"} 1\n",
        "apiserver_egress_dialer_dial_duration_seconds_count{protocol=\"http_connect\",transport=\"uds\"} ",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregated_servers_are_behind_a_proxy_by_grpc() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("proxy.sock");
    let proxy = konnectivity::Proxy::start(&socket);
    let selection = json!([{"name": "cluster", "connection": through("GRPC", &socket)}]);
    let flag = selections(folder.path(), selection);
    let Some(port) = aggregation::aggregates(&[flag]).await else {
        return;
    };
    assert!(proxy.asked(&format!("localhost:{port}")) > 0);
}

/// A kubelet that has one log and one thing to exec.
///
/// Its port, and who is told when an exec has ended.
pub(super) async fn kubelet() -> (u16, Arc<tokio::sync::Notify>) {
    let (config, _) = self_signed("kubelet");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let ended = Arc::new(tokio::sync::Notify::new());
    let told = ended.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, told) = (acceptor.clone(), told.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(
                        hyper_util::rt::TokioIo::new(stream),
                        hyper::service::service_fn(|request| kubelet_answer(request, told.clone())),
                    )
                    .with_upgrades()
                    .await;
            });
        }
    });
    (port, ended)
}

/// Longer than packets, windows and buffers.
const LOG: usize = 3 << 20;

async fn kubelet_answer(
    mut request: Request<hyper::body::Incoming>,
    ended: Arc<tokio::sync::Notify>,
) -> Result<http::Response<Body>, std::convert::Infallible> {
    if request.uri().path().starts_with("/containerLogs/") {
        return Ok(http::Response::new(Body::from(vec![b'l'; LOG])));
    }
    let mut response = http::Response::new(Body::empty());
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    for name in ["connection", "upgrade", "sec-websocket-protocol"] {
        if let Some(value) = request.headers().get(name).cloned() {
            response.headers_mut().insert(name, value);
        }
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // What comes goes back, until the client closes.
        let stream = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        ended.notify_one();
    });
    Ok(response)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_behind_a_proxy_by_grpc() {
    use tokio::io::AsyncReadExt as _;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("proxy.sock");
    let proxy = konnectivity::Proxy::start(&socket);
    let names = ["etcd", "controlplane", "cluster"];
    let selected = names.map(|name| json!({"name": name, "connection": through("GRPC", &socket)}));
    let flag = selections(folder.path(), json!(selected));
    let Some(server) = Server::start_with(&[flag]).await else {
        return;
    };
    server.namespace("default").await;
    let etcd = server._etcd.endpoint();
    assert!(proxy.asked(etcd.trim_start_matches("http://")) > 0);

    let (port, ended) = kubelet().await;
    let nodes = "/api/v1/nodes";
    let node = json!({"metadata": {"name": "n"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "declaredFeatures": ["ExtendWebSocketsToKubelet"],
    }});
    server.post(nodes, node).await.expect(201);
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "n", "containers": [{"name": "c", "image": "i"}],
    }});
    server.post(pods, pod).await.expect(201);
    let log = server.get(&format!("{pods}/p/log")).await;
    assert_eq!((log.code, log.text.len()), (200, LOG));
    assert!(log.text.iter().all(|byte| *byte == b'l'));

    let headers = [("sec-websocket-protocol", "v5.channel.k8s.io")];
    let exec = format!("{pods}/p/exec?command=x&stdin=true&stdout=true");
    let answer = server.web_socket(&exec, &headers).await;
    assert_eq!(answer.status(), 101);
    let mut connection = hyper_util::rt::TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    for text in [&b"ping"[..], &[b'x'; 100_000]] {
        connection.write_all(text).await.unwrap();
        let mut back = vec![0; text.len()];
        connection.read_exact(&mut back).await.unwrap();
        assert!(back == text);
    }
    drop(connection);
    let kubelet = format!("127.0.0.1:{port}");
    assert_eq!(proxy.asked(&kubelet), 2);
    // The kubelet learns that the client has gone.
    let limit = std::time::Duration::from_secs(20);
    let told = tokio::time::timeout(limit, ended.notified()).await;
    told.expect("the exec ends");

    let refused = "127.0.0.1:9";
    webhook_at(&server, refused).await;
    server.post(CONFIG_MAPS, config_map("a")).await.refuses(
        500,
        &format!(
            "Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook: Post \"https://{refused}/w?timeout=10s\": \
             dial tcp {refused}: connect: connection refused"
        ),
    );
    server.has_series(&[
        "apiserver_egress_dialer_dial_failure_count{protocol=\"grpc\",stage=\"proxy\",transport=\"uds\"} 1\n",
        "konnectivity_network_proxy_client_dial_failure_total{reason=\"endpoint\"} 1\n",
        "konnectivity_network_proxy_client_client_connections{status=\"ok\"} ",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_control_plane_asks_is_behind_a_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("proxy.sock");
    let proxy = Proxy::start(&socket, "");
    let selection =
        json!([{"name": "controlplane", "connection": through("HTTPConnect", &socket)}]);
    let (issuers, tokens, access) = (
        Issuers::start().await,
        Issuers::start().await,
        Issuers::start().await,
    );
    let key = authentication::new_key();
    issuers.issuer("/i", &[&key]);
    let mut authenticator = issuers.authenticator("/i", json!({}));
    authenticator["issuer"]["egressSelectorType"] = "controlplane".into();
    let configuration = issuers.configure(json!([authenticator]), json!({}));
    let (audit, mut events) = audit::hook(0).await;
    let policy = folder.path().join("policy.yaml");
    let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";
    std::fs::write(&policy, text).unwrap();
    let flags = [
        selections(folder.path(), selection),
        authentication::config_flag(&configuration),
        tokens.webhook_flag(),
        "--authorization-mode=Webhook,AlwaysAllow".to_owned(),
        format!(
            "--authorization-webhook-config-file={}",
            access.kubeconfig("/authz").display()
        ),
        audit::kubeconfig(&folder, &audit),
        format!("--audit-policy-file={}", policy.display()),
        "--audit-webhook-mode=blocking".to_owned(),
    ];
    let Some(server) = Server::start_with(&flags).await else {
        return;
    };
    let token = issuers.token("/i", &key, json!({}));
    let user = server.who_in_time(&token, 201).await;
    assert_eq!(user["username"], "oidc:jane");
    let user = server.who("good").await.expect(201);
    assert_eq!(user["status"]["userInfo"]["username"], "hook");
    assert!(events.recv().await.is_some());
    for asked in [
        issuers.url(""),
        tokens.url(""),
        access.url(""),
        audit.trim_end_matches("/events").to_owned(),
    ] {
        let address = asked.split("//").nth(1).unwrap();
        let addresses = proxy.asked.lock();
        assert!(addresses.iter().any(|asked| asked == address), "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_have_to_have_the_selector_that_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let issuers = Issuers::start().await;
    let mut authenticator = issuers.authenticator("/i", json!({}));
    authenticator["issuer"]["egressSelectorType"] = "cluster".into();
    let configuration = issuers.configure(json!([authenticator]), json!({}));
    let issuer = authentication::config_flag(&configuration);
    let other = json!([{"name": "controlplane", "connection": {"proxyProtocol": "Direct"}}]);
    let selectors = selections(folder.path(), other);
    for (flags, why) in [
        (
            vec![issuer.clone()],
            "oidc: egress lookup required with egress selector type \"cluster\"",
        ),
        (
            vec![issuer, selectors],
            "oidc: egress lookup for \"cluster\" is not configured",
        ),
    ] {
        let Some(started) = Server::try_start_with(&flags).await else {
            return;
        };
        assert_eq!(started.err().as_deref(), Some(why));
    }
}

/// A webhook of ConfigMaps at an address, which the server knows.
async fn webhook_at(server: &Server, address: &str) {
    let webhook = json!({"metadata": {"name": "w"}, "webhooks": [{
        "name": "w.example.com", "clientConfig": {"url": format!("https://{address}/w")},
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"]}],
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
    }]});
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    server.post(path, webhook).await.expect(201);
    server.get(path).await.expect(200);
}
