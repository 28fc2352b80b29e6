//! Requests through the whole server, on a real socket where connections are upgraded.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use api_types::core::v1::{Container, ContainerState, ContainerStateRunning, ContainerStatus, Pod};
use component_base::healthz;
use component_base::metrics::MetricsOptions;
use component_base::serving::{Body, Server, bind_plain};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::fake_host::FakeHost;
use super::stats::tests::FakeSource;
use super::*;

const ON: Switches = Switches {
    enable_debugging_handlers: true,
    enable_system_log_handler: true,
    enable_system_log_query: false,
    enable_profiling_handler: true,
    enable_debug_flags_handler: true,
    checkpoint: true,
    split_log_streams: false,
    websockets: true,
};

fn pod() -> Arc<Pod> {
    let mut pod = Pod::default();
    pod.metadata.namespace = "ns".to_owned();
    pod.metadata.name = "web".to_owned();
    pod.metadata.uid = "uid-1".to_owned();
    let container = |name: &str| Container {
        name: name.to_owned(),
        ..Default::default()
    };
    pod.spec.containers = vec![container("c"), container("down")];
    pod.status.container_statuses = vec![ContainerStatus {
        name: "c".to_owned(),
        container_id: "containerd://id-c".to_owned(),
        state: ContainerState {
            running: Some(Box::new(ContainerStateRunning::default())),
            ..Default::default()
        },
        ..Default::default()
    }];
    Arc::new(pod)
}

fn server(host: FakeHost, switches: Switches) -> (Arc<KubeletServer>, Arc<FakeHost>) {
    let host = Arc::new(FakeHost {
        pods: vec![pod()],
        ..host
    });
    let registry = Metrics::bare(MetricsOptions::default());
    let server = KubeletServer::new(ServerParts {
        host: host.clone(),
        auth: None,
        switches,
        health: HealthChecks::new("/healthz", [healthz::ping()]),
        health_metrics: HealthMetrics::default(),
        metrics: ServerMetrics::new(&registry),
        registry,
        probes: Metrics::bare(MetricsOptions::default()),
        stats: FakeSource::provider(Path::new("/nowhere")),
        configz: Configz::default(),
        flagz: None,
    });
    (Arc::new(server), host)
}

async fn ask(server: &KubeletServer, method: &str, path: &str) -> (u16, String) {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .expect("request");
    let response = server.handle(request).await;
    let status = response.status().as_u16();
    let body = tokio::time::timeout(
        Duration::from_secs(10),
        response.into_body().collect(1 << 20),
    )
    .await
    .expect("in time");
    (
        status,
        String::from_utf8(body.expect("body").to_vec()).expect("text"),
    )
}

#[tokio::test]
async fn plain_answers() {
    let (server, host) = server(FakeHost::default(), ON);
    for (method, path, status, text) in [
        ("GET", "/healthz", 200, "ok"),
        ("GET", "/nope", 404, "404 page not found\n"),
        ("GET", "/pods/x", 404, "404: Page Not Found"),
        ("PUT", "/pods", 405, "405: Method Not Allowed"),
        ("POST", "/run/ns/web/c?cmd=ls+-l", 200, "id-c: ls|-l"),
        (
            "POST",
            "/run/ns/web/down?cmd=ls",
            500,
            "container not found (\"down\")",
        ),
        ("POST", "/run/ns/none/c?cmd=ls", 404, "pod does not exist"),
        (
            "POST",
            "/exec/ns/web/c?command=ls",
            400,
            "you must specify at least 1 of stdin, stdout, stderr",
        ),
        (
            "POST",
            "/exec/ns/none/c?command=ls&output=1",
            404,
            "pod does not exist",
        ),
        (
            "POST",
            "/exec/ns/web/down?command=ls&output=1",
            500,
            "container not found (\"down\")",
        ),
        (
            "POST",
            "/attach/ns/web/down?output=1",
            500,
            "container down not found in pod web_ns",
        ),
        (
            "POST",
            "/portForward/ns/web/other-uid",
            404,
            "pod not found",
        ),
        (
            "GET",
            "/containerLogs/ns/none/c",
            404,
            "pod \"none\" does not exist",
        ),
        (
            "GET",
            "/containerLogs/ns/web/none",
            404,
            "container \"none\" not found in pod \"web\"",
        ),
        (
            "GET",
            "/containerLogs/ns/web/down",
            400,
            "container \"down\" in pod \"web\" is not available",
        ),
        (
            "GET",
            "/containerLogs/ns/web/c?tailLines=x",
            400,
            "{\"message\": \"Unable to decode query.\"}",
        ),
        (
            "GET",
            "/containerLogs/ns/web/c?tailLines=-1",
            422,
            "{\"message\": \"Invalid request.\"}",
        ),
        (
            "POST",
            "/checkpoint/ns/web/none",
            404,
            "container none does not exist",
        ),
        (
            "POST",
            "/checkpoint/ns/web/c?timeout=x",
            404,
            "cannot parse value of timeout parameter",
        ),
        (
            "GET",
            "/debug/pprof/heap",
            501,
            "this daemon is not written in Go and has no Go profiles; use perf or a similar tool on the process\n",
        ),
    ] {
        assert_eq!(
            ask(&server, method, path).await,
            (status, text.to_owned()),
            "{method} {path}"
        );
    }
    let (status, text) = ask(&server, "GET", "/pods").await;
    assert_eq!(status, 200);
    assert!(
        text.starts_with("{\"kind\":\"PodList\",\"apiVersion\":\"v1\"")
            && text.contains("\"name\":\"web\""),
        "{text}"
    );
    let (status, text) = ask(&server, "POST", "/checkpoint/ns/web/c?timeout=5").await;
    assert_eq!(status, 200);
    assert!(
        text.starts_with("{\"items\":[\"/var/lib/kubelet/checkpoints/checkpoint-web_ns-c-"),
        "{text}"
    );
    assert!(
        host.asked
            .lock()
            .last()
            .expect("asked")
            .starts_with("checkpoint id-c /var/lib/kubelet/checkpoints/")
    );
    let (_, text) = ask(&server, "GET", "/metrics").await;
    let line = "kubelet_http_requests_total{long_running=\"true\",method=\"POST\",path=\"exec\",server_type=\"readonly\"} 3";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn without_debugging_handlers() {
    let (server, _) = server(
        FakeHost::default(),
        Switches {
            enable_debugging_handlers: false,
            ..ON
        },
    );
    for path in [
        "/exec/ns/web/c",
        "/containerLogs/ns/web/c",
        "/runningpods/",
        "/logs/",
    ] {
        assert_eq!(
            ask(&server, "GET", path).await,
            (405, "Debug endpoints are disabled.\n".to_owned()),
            "{path}"
        );
    }
    assert_eq!(ask(&server, "GET", "/pods").await.0, 200);
}

#[tokio::test]
async fn logs() {
    let dir = tempfile::tempdir().expect("folder");
    let log_path = dir.path().join("0.log");
    std::fs::write(
        &log_path,
        "2024-01-01T00:00:00Z stdout F one\n2024-01-01T00:00:01Z stderr F two\n",
    )
    .expect("write");
    let (server, _) = server(
        FakeHost {
            log_path: log_path.clone(),
            ..Default::default()
        },
        ON,
    );
    let logs = "/containerLogs/ns/web/c";
    assert_eq!(
        ask(&server, "GET", logs).await,
        (200, "one\ntwo\n".to_owned())
    );
    assert_eq!(
        ask(&server, "GET", &format!("{logs}?tail=1")).await,
        (200, "two\n".to_owned())
    );
    assert_eq!(
        ask(
            &server,
            "GET",
            &format!("{logs}?follow=true&timestamps=true&limitBytes=35")
        )
        .await,
        (200, "2024-01-01T00:00:00.000000000Z one\n".to_owned())
    );
    assert_eq!(
        ask(&server, "GET", &format!("{logs}?stream=Stdout")).await,
        (
            400,
            "unable to return the given log stream: \"Stdout\". Please enable PodLogsQuerySplitStreams feature gate in kubelet".to_owned()
        )
    );
    // Once the answer has begun an error is text in it, as upstream.
    std::fs::remove_file(&log_path).expect("remove");
    let (status, text) = ask(&server, "GET", logs).await;
    assert_eq!(status, 200);
    assert!(
        text.starts_with("failed to try resolving symlinks in path "),
        "{text}"
    );
}

/// A streaming server that answers every upgrade with this head, and echoes in capitals.
async fn runtime(head: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!(
        "http://{}/exec/token",
        listener.local_addr().expect("address")
    );
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(stream.read_u8().await.expect("request"));
        }
        stream.write_all(head.as_bytes()).await.expect("answer");
        if head.starts_with("HTTP/1.1 101") {
            let mut data = [0; 5];
            stream.read_exact(&mut data).await.expect("data");
            stream
                .write_all(&data.to_ascii_uppercase())
                .await
                .expect("echo");
        }
        String::from_utf8(seen).expect("text")
    });
    (url, task)
}

async fn start(server: Arc<KubeletServer>, stop: &CancellationToken) -> SocketAddr {
    let listener = bind_plain(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bind");
    let server_socket = Server::plain(listener);
    let address = server_socket.local_addr();
    server_socket.spawn(server, stop.clone(), Duration::from_secs(1));
    address
}

async fn upgrade(address: SocketAddr, path: &str) -> (String, TcpStream) {
    let mut client = TcpStream::connect(address).await.expect("connect");
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Stream-Protocol-Version: v3.channel.k8s.io\r\nContent-Length: 0\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.expect("request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(Duration::from_secs(10), client.read_u8())
            .await
            .expect("in time")
            .expect("answer");
        head.push(byte);
    }
    (String::from_utf8(head).expect("text"), client)
}

#[tokio::test]
async fn spdy_is_relayed_byte_by_byte() {
    let (url, task) = runtime(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n",
    )
    .await;
    let (server, host) = server(
        FakeHost {
            url,
            ..Default::default()
        },
        ON,
    );
    let stop = CancellationToken::new();
    let address = start(server, &stop).await;
    let (head, mut client) = upgrade(
        address,
        "/exec/ns/web/uid-1/c?command=sh&command=-c&input=1&output=1&tty=1",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(
        head.to_lowercase()
            .contains("x-stream-protocol-version: v4.channel.k8s.io"),
        "{head}"
    );
    client.write_all(b"hello").await.expect("data");
    let mut back = [0; 5];
    tokio::time::timeout(Duration::from_secs(10), client.read_exact(&mut back))
        .await
        .expect("in time")
        .expect("echo");
    assert_eq!(&back, b"HELLO");
    assert_eq!(
        host.asked.lock().as_slice(),
        ["exec id-c [\"sh\", \"-c\"] stdin=true tty=true"]
    );
    let seen = task.await.expect("runtime").to_lowercase();
    assert!(seen.starts_with("post /exec/token http/1.1\r\n"), "{seen}");
    assert_eq!(
        seen.matches("x-stream-protocol-version").count(),
        2,
        "{seen}"
    );
    assert!(seen.contains("x-forwarded-for: 127.0.0.1"), "{seen}");
    stop.cancel();
}

#[tokio::test]
async fn a_runtime_that_does_not_switch_is_not_relayed() {
    let (url, task) = runtime("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope").await;
    let (server, _) = server(
        FakeHost {
            url,
            ..Default::default()
        },
        ON,
    );
    let stop = CancellationToken::new();
    let address = start(server, &stop).await;
    let (head, mut client) = upgrade(address, "/portForward/ns/web").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    let mut body = [0; 4];
    client.read_exact(&mut body).await.expect("body");
    assert_eq!(&body, b"nope");
    task.await.expect("runtime");
    // Nor is one that answers 101 for something else.
    let (url, _task) =
        runtime("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
            .await;
    let (server, _) = self::server(
        FakeHost {
            url,
            ..Default::default()
        },
        ON,
    );
    let address = start(server, &stop).await;
    let (head, _) = upgrade(address, "/portForward/ns/web").await;
    assert!(head.starts_with("HTTP/1.1 500"), "{head}");
    stop.cancel();
}

#[tokio::test]
async fn what_the_runtime_refuses_is_told() {
    for (refuse, status, text) in [
        (
            tonic::Status::not_found("no such container"),
            404,
            "rpc error: code = NotFound desc = no such container",
        ),
        (
            tonic::Status::resource_exhausted("too many"),
            429,
            "rpc error: code = ResourceExhausted desc = too many",
        ),
        (
            tonic::Status::unknown("broken"),
            500,
            "rpc error: code = Unknown desc = broken",
        ),
    ] {
        let (server, _) = server(
            FakeHost {
                refuse: Some(refuse),
                ..Default::default()
            },
            ON,
        );
        assert_eq!(
            ask(&server, "POST", "/exec/ns/web/c?command=ls&output=1").await,
            (status, text.to_owned())
        );
    }
    // A request that is no upgrade.
    let (server, _) = server(
        FakeHost {
            url: "http://127.0.0.1:1/x".to_owned(),
            ..Default::default()
        },
        ON,
    );
    assert_eq!(
        ask(&server, "POST", "/exec/ns/web/c?command=ls&output=1").await,
        (500, "Upgrade request required\n".to_owned())
    );
}
