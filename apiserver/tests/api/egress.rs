//! Connections through a proxy of the test's own.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixListener};

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

#[tokio::test(flavor = "multi_thread")]
async fn etcd_and_webhooks_are_behind_a_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("proxy.sock");
    let refused = "127.0.0.1:9";
    let proxy = Proxy::start(&socket, refused);
    let through =
        json!({"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": socket}}});
    let configuration = json!({
        "apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration",
        "egressSelections": [
            {"name": "etcd", "connection": through},
            {"name": "controlplane", "connection": through},
            {"name": "cluster", "connection": {"proxyProtocol": "Direct"}},
        ],
    });
    let file = folder.path().join("egress.json");
    std::fs::write(&file, configuration.to_string()).unwrap();
    let flag = format!("--egress-selector-config-file={}", file.display());
    let Some(server) = Server::start_with(&[flag]).await else {
        return;
    };
    server.namespace("default").await;
    let etcd = server._etcd.endpoint();
    let etcd = etcd.trim_start_matches("http://").to_owned();
    assert!(proxy.asked.lock().iter().all(|target| *target == etcd));
    assert!(!proxy.asked.lock().is_empty());

    let webhook = json!({"metadata": {"name": "w"}, "webhooks": [{
        "name": "w.example.com", "clientConfig": {"url": format!("https://{refused}/w")},
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"]}],
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
    }]});
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    server.post(path, webhook).await.expect(201);
    server.get(path).await.expect(200);
    server.post(CONFIG_MAPS, config_map("a")).await.refuses(
        500,
        &format!(
            "Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook: Post \"https://{refused}/w?timeout=10s\": \
             proxy error from {} while dialing {refused}, code 403: 403 Forbidden",
            socket.display()
        ),
    );
    assert!(proxy.asked.lock().iter().any(|target| target == refused));
    let metrics = String::from_utf8(server.get("/metrics").await.text).unwrap();
    for series in [
        "apiserver_egress_dialer_dial_start_total{protocol=\"http_connect\",transport=\"uds\"} ",
        "apiserver_egress_dialer_dial_failure_count{protocol=\"http_connect\",stage=\"proxy\",transport=\"uds\"} 1\n",
        "apiserver_egress_dialer_dial_duration_seconds_count{protocol=\"http_connect\",transport=\"uds\"} ",
    ] {
        assert!(metrics.contains(series), "{series}");
    }
}
