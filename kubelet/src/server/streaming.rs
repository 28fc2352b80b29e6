//! `/exec`, `/attach`, `/portForward` and `/run`: finds the container and connects the client to the runtime.
//!
//! Upstream: the handlers of `pkg/kubelet/server` with `proxy.UpgradeAwareHandler` and `proxy.StreamTranslatorHandler`. The
//! runtime names a URL of its own streaming server. SPDY clients, and WebSocket clients of old protocols, are relayed byte by
//! byte once the runtime has agreed to switch; WebSocket clients of protocol v5, which no runtime knows, are translated.

use bytes::Bytes;
use client::streaming::spdy::Connection;
use client::streaming::{self, PROTOCOL_VERSION, portforward, relay, remotecommand, websocket};
use component_base::serving::{Body, Request, Response, connection, error_response};
use http::{HeaderMap, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::host::{Host, StreamError};
use super::route::ContainerPath;
use super::{KubeletServer, failed, json, query_values};
use crate::container::{RuntimePod, find_container_spec, pod_full_name};
use crate::cri::v1;

const UPGRADE_REQUIRED: &str = "Upgrade request required";

/// The running pod of that name; with a UID only that one.
async fn find_pod(
    host: &dyn Host,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<Option<RuntimePod>, StreamError> {
    let uid = host.translate_uid(uid);
    let pods = host.running_pods().await?;
    Ok(pods.into_iter().find(|pod| {
        if uid.is_empty() {
            pod.name == name && pod.namespace == namespace
        } else {
            pod.uid == uid
        }
    }))
}

/// Id of the running container of that name.
pub(super) async fn find_container(
    host: &dyn Host,
    namespace: &str,
    name: &str,
    uid: &str,
    container: &str,
) -> Result<Option<String>, StreamError> {
    let pod = find_pod(host, namespace, name, uid).await?;
    Ok(pod
        .and_then(|pod| {
            pod.containers
                .into_iter()
                .find(|found| found.name == container)
        })
        .map(|found| found.id.id))
}

/// Streams a client asks for.
fn options(request: &Request) -> Result<remotecommand::Options, &'static str> {
    let on = |name: &str| {
        query_values(request, name)
            .first()
            .is_some_and(|value| value == "1")
    };
    let (tty, stdin, stdout) = (on("tty"), on("input"), on("output"));
    // A terminal has one output.
    let stderr = on("error") && !tty;
    if !stdin && !stdout && !stderr {
        return Err("you must specify at least 1 of stdin, stdout, stderr");
    }
    Ok(remotecommand::Options {
        stdin,
        stdout,
        stderr,
        tty,
    })
}

fn stream_failed(error: &StreamError) -> Response {
    let mut response = failed(error.status(), error.to_string());
    if error.status() == StatusCode::TOO_MANY_REQUESTS {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, http::HeaderValue::from_static("60"));
    }
    response
}

/// Runs a command with streams.
pub(super) async fn exec(
    server: &KubeletServer,
    request: Request,
    path: &ContainerPath,
) -> Response {
    let options = match options(&request) {
        Ok(options) => options,
        Err(why) => return failed(StatusCode::BAD_REQUEST, why),
    };
    let host = &*server.parts.host;
    let Some(pod) = host.pod_by_name(&path.namespace, &path.pod) else {
        return failed(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let url = async {
        let uid = path.uid.as_deref().unwrap_or_default();
        let container = find_container(
            host,
            &pod.metadata.namespace,
            &pod.metadata.name,
            uid,
            &path.container,
        )
        .await?
        .ok_or_else(|| {
            StreamError::NotFound(format!("container not found ({:?})", path.container))
        })?;
        let request = v1::ExecRequest {
            container_id: container,
            cmd: query_values(&request, "command"),
            tty: options.tty,
            stdin: options.stdin,
            stdout: options.stdout,
            stderr: options.stderr,
        };
        Ok::<_, StreamError>(host.exec(request).await?)
    };
    match url.await {
        Ok(url) => connect(server, request, &url, "exec", options).await,
        Err(error) => stream_failed(&error),
    }
}

/// Attaches to the process of a container.
pub(super) async fn attach(
    server: &KubeletServer,
    request: Request,
    path: &ContainerPath,
) -> Response {
    let options = match options(&request) {
        Ok(options) => options,
        Err(why) => return failed(StatusCode::BAD_REQUEST, why),
    };
    let host = &*server.parts.host;
    let Some(pod) = host.pod_by_name(&path.namespace, &path.pod) else {
        return failed(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let url = async {
        let name = pod_full_name(&pod);
        let missing = || {
            StreamError::NotFound(format!(
                "container {} not found in pod {name}",
                path.container
            ))
        };
        let uid = path.uid.as_deref().unwrap_or_default();
        let container = find_container(
            host,
            &pod.metadata.namespace,
            &pod.metadata.name,
            uid,
            &path.container,
        )
        .await?
        .ok_or_else(missing)?;
        if !uid.is_empty() && pod.metadata.uid != uid {
            return Err(StreamError::NotFound(format!("pod {name} not found")));
        }
        // Whether a process has a terminal was decided when it was started, not by who attaches.
        let (spec, _) = find_container_spec(&pod.spec, &path.container).ok_or_else(missing)?;
        let request = v1::AttachRequest {
            container_id: container,
            stdin: options.stdin,
            tty: spec.tty,
            stdout: options.stdout,
            stderr: options.stderr && !spec.tty,
        };
        Ok(host.attach(request).await?)
    };
    match url.await {
        Ok(url) => connect(server, request, &url, "attach", options).await,
        Err(error) => stream_failed(&error),
    }
}

/// Forwards ports of a pod.
pub(super) async fn port_forward(
    server: &KubeletServer,
    request: Request,
    namespace: &str,
    name: &str,
    uid: Option<&str>,
) -> Response {
    let tunnel = server.parts.switches.websockets && websocket::offers_tunneling(request.headers());
    let ports = match ports(&request, tunnel) {
        Ok(ports) => ports,
        Err(why) => return failed(StatusCode::BAD_REQUEST, why),
    };
    let host = &*server.parts.host;
    let Some(pod) = host.pod_by_name(namespace, name) else {
        return failed(StatusCode::NOT_FOUND, "pod does not exist");
    };
    if uid.is_some_and(|uid| !uid.is_empty() && uid != pod.metadata.uid) {
        return failed(StatusCode::NOT_FOUND, "pod not found");
    }
    let url = async {
        let found = find_pod(host, namespace, name, &pod.metadata.uid).await?;
        let sandbox = found.and_then(|found| found.sandboxes.into_iter().next());
        let sandbox = sandbox.ok_or_else(|| {
            StreamError::NotFound(format!("pod not found ({:?})", pod_full_name(&pod)))
        })?;
        Ok::<_, StreamError>(host.port_forward(&sandbox.id.id, ports).await?)
    };
    match url.await {
        Ok(url) if tunnel => {
            server.parts.metrics.websocket("portforward");
            answer(tunnel_ports(request, &url).await)
        }
        Ok(url) => answer(relay_to(request, &url).await),
        Err(error) => stream_failed(&error),
    }
}

/// Ports that a WebSocket client names in its query; SPDY clients name them later.
fn ports(request: &Request, tunnel: bool) -> Result<Vec<i32>, String> {
    if tunnel || !websocket::is_websocket_request(request.headers()) {
        return Ok(Vec::new());
    }
    let texts = query_values(request, "port");
    if texts.is_empty() {
        return Err("query parameter \"port\" is required".to_owned());
    }
    let mut ports = Vec::new();
    for text in &texts {
        if text.is_empty() {
            return Err("query parameter \"port\" cannot be empty".to_owned());
        }
        for port in text.split(',') {
            let number: u16 = port
                .parse()
                .map_err(|_| format!("unable to parse {text:?} as a port: strconv.ParseUint: parsing {port:?}: invalid syntax"))?;
            if number == 0 {
                // Go prints the number as a character here.
                return Err("port '\\x00' must be > 0".to_owned());
            }
            ports.push(i32::from(number));
        }
    }
    Ok(ports)
}

/// Runs a command without streams; answers what it wrote.
pub(super) async fn run(host: &dyn Host, request: &Request, path: &ContainerPath) -> Response {
    let Some(pod) = host.pod_by_name(&path.namespace, &path.pod) else {
        return failed(StatusCode::NOT_FOUND, "pod does not exist");
    };
    // One parameter that is split at blanks, other than for exec: the way it always was.
    let command = super::query_value(request, "cmd").unwrap_or_default();
    let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let uid = path.uid.as_deref().unwrap_or_default();
    let found = find_container(
        host,
        &pod.metadata.namespace,
        &pod.metadata.name,
        uid,
        &path.container,
    )
    .await;
    let result = match found {
        Ok(Some(container)) => host.run(&container, &command).await,
        Ok(None) => Err(format!("container not found ({:?})", path.container)),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(output) => json(output),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

async fn connect(
    server: &KubeletServer,
    request: Request,
    url: &str,
    kind: &str,
    options: remotecommand::Options,
) -> Response {
    if server.parts.switches.websockets && websocket::offers_stream_close(request.headers()) {
        server.parts.metrics.websocket(kind);
        return answer(translate(request, url, options).await);
    }
    answer(relay_to(request, url).await)
}

/// Why a client could not be connected to the runtime.
enum Refusal {
    /// Our own answer.
    Text(StatusCode, String),
    /// What the runtime answered in place of 101.
    Runtime(Box<http::Response<Incoming>>),
}

impl Refusal {
    fn internal(error: impl std::fmt::Display) -> Self {
        Refusal::Text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

fn answer(result: Result<Response, Refusal>) -> Response {
    match result {
        Ok(response) => response,
        Err(Refusal::Text(status, text)) => error_response(status, &text),
        Err(Refusal::Runtime(response)) => {
            let (mut parts, body) = response.into_parts();
            // The connection that was to be upgraded is ours alone.
            for name in [
                header::CONNECTION,
                header::TRANSFER_ENCODING,
                header::UPGRADE,
            ] {
                parts.headers.remove(name);
            }
            Response::from_parts(parts, Body::from(body))
        }
    }
}

/// Headers that are not the runtime's business.
const HOP: [header::HeaderName; 4] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::COOKIE,
];

/// Sends an upgrade request to the runtime's streaming server; answers its 101 and the raw connection behind it.
async fn upgrade(
    url: &str,
    method: http::Method,
    headers: HeaderMap,
) -> Result<(HeaderMap, Upgraded), Refusal> {
    let url = url::Url::parse(url).map_err(|error| {
        Refusal::internal(format!("invalid streaming URL of the runtime: {error}"))
    })?;
    if url.scheme() != "http" {
        return Err(Refusal::internal(format!(
            "the runtime's streaming server is reached by {}, and only http is supported",
            url.scheme()
        )));
    }
    let (host, port) = (
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or(80),
    );
    let dialed = TcpStream::connect((host.trim_matches(['[', ']']), port)).await;
    let stream = dialed.map_err(|error| {
        Refusal::internal(format!(
            "error dialing backend: dial tcp {host}:{port}: {error}"
        ))
    })?;
    let _ = stream.set_nodelay(true);
    let (mut sender, backend) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(Refusal::internal)?;
    tokio::spawn(async move {
        if let Err(error) = backend.with_upgrades().await {
            tracing::debug!(%error, "Connection to the runtime's streaming server");
        }
    });
    let path = url.query().map_or_else(
        || url.path().to_owned(),
        |query| format!("{}?{query}", url.path()),
    );
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .body(Full::default())
        .map_err(Refusal::internal)?;
    *request.headers_mut() = headers;
    let authority =
        http::HeaderValue::try_from(format!("{host}:{port}")).map_err(Refusal::internal)?;
    request.headers_mut().insert(header::HOST, authority);
    let mut response = sender
        .send_request(request)
        .await
        .map_err(Refusal::internal)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refusal::Runtime(Box::new(response)));
    }
    let upgraded = hyper::upgrade::on(&mut response)
        .await
        .map_err(Refusal::internal)?;
    Ok((response.headers().clone(), upgraded))
}

/// The client's end, once our 101 is sent.
async fn client_end(on_upgrade: OnUpgrade) -> Option<TokioIo<Upgraded>> {
    match on_upgrade.await {
        Ok(upgraded) => Some(TokioIo::new(upgraded)),
        Err(error) => {
            tracing::debug!(%error, "The client left before its connection was upgraded");
            None
        }
    }
}

fn switching(headers: HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

/// Lets client and runtime talk without looking at what they say.
async fn relay_to(mut request: Request, url: &str) -> Result<Response, Refusal> {
    if !streaming::is_upgrade_request(request.headers()) {
        return Err(Refusal::internal(UPGRADE_REQUIRED));
    }
    let mut headers = request.headers().clone();
    for name in HOP {
        headers.remove(name);
    }
    let remote = connection(&request).remote_addr.ip().to_string();
    let seen = headers
        .get("x-forwarded-for")
        .and_then(|value| value.to_str().ok());
    let chain = seen.map_or_else(|| remote.clone(), |seen| format!("{seen}, {remote}"));
    if let Ok(chain) = http::HeaderValue::try_from(chain) {
        headers.insert("x-forwarded-for", chain);
    }
    let (answered, backend) = upgrade(url, request.method().clone(), headers).await?;
    let asked = request
        .headers()
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !streaming::is_upgraded_to(&answered, asked) {
        return Err(Refusal::internal(
            "the runtime switched to another protocol than was asked for",
        ));
    }
    let on_upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Some(client) = client_end(on_upgrade).await
            && let Err(error) = relay(client, TokioIo::new(backend)).await
        {
            tracing::debug!(%error, "A relayed stream ended");
        }
    });
    Ok(switching(answered))
}

/// Connects to the runtime by SPDY, offering these protocols; answers the one it took.
async fn spdy(url: &str, protocols: &[&str]) -> Result<(String, Upgraded), Refusal> {
    let request =
        streaming::spdy_request(http::Method::POST, "/", protocols).map_err(Refusal::internal)?;
    let (answered, backend) = upgrade(url, http::Method::POST, request.headers().clone()).await?;
    if !streaming::is_upgraded_to(&answered, streaming::SPDY_31) {
        return Err(Refusal::internal("the runtime did not switch to SPDY/3.1"));
    }
    let protocol = answered
        .get(PROTOCOL_VERSION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    Ok((protocol.to_owned(), backend))
}

/// Makes a WebSocket v5 session out of the runtime's SPDY streams.
async fn translate(
    mut request: Request,
    url: &str,
    options: remotecommand::Options,
) -> Result<Response, Refusal> {
    let bad = |error: websocket::HandshakeError| {
        Refusal::Text(StatusCode::BAD_REQUEST, error.to_string())
    };
    let accepted =
        websocket::accept_response(request.method(), request.headers(), remotecommand::V5)
            .map_err(bad)?;
    let (protocol, backend) = spdy(url, remotecommand::SPDY_PROTOCOLS).await?;
    let backend = Connection::client(TokioIo::new(backend)).map_err(Refusal::internal)?;
    let on_upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Some(client) = client_end(on_upgrade).await else {
            return;
        };
        let socket = websocket::server(client).await;
        match remotecommand::Session::open(socket, remotecommand::V5, options).await {
            Ok(session) => {
                if let Err(error) =
                    remotecommand::translate(session, &backend, &protocol, options).await
                {
                    tracing::debug!(%error, "A translated command did not end well");
                }
            }
            Err(_) => tracing::debug!("The client left before its streams were open"),
        }
        backend.go_away().await;
    });
    Ok(switching(accepted.headers().clone()))
}

/// Takes SPDY for port-forwarding out of WebSocket messages.
async fn tunnel_ports(mut request: Request, url: &str) -> Result<Response, Refusal> {
    let bad = |error: websocket::HandshakeError| {
        Refusal::Text(StatusCode::BAD_REQUEST, error.to_string())
    };
    let accepted = websocket::accept_response(
        request.method(),
        request.headers(),
        websocket::TUNNELING_PORT_FORWARD,
    )
    .map_err(bad)?;
    let (_, backend) = spdy(url, &[portforward::PORT_FORWARD_V1]).await?;
    let on_upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Some(client) = client_end(on_upgrade).await else {
            return;
        };
        let socket = websocket::server(client).await;
        if let Err(error) = portforward::tunnel(socket, TokioIo::new(backend)).await {
            tracing::debug!(%error, "A tunnelled port-forward ended");
        }
    });
    Ok(switching(accepted.headers().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = http::Request::get(format!("/exec/ns/pod/c?{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).expect("request")
    }

    #[test]
    fn stream_options() {
        let got = options(&request("input=1&output=1&tty=1&error=1", &[])).expect("valid");
        assert_eq!(
            got,
            remotecommand::Options {
                stdin: true,
                stdout: true,
                stderr: false,
                tty: true
            }
        );
        assert!(options(&request("output=true", &[])).is_err());
        assert_eq!(
            options(&request("tty=1&error=1", &[])),
            Err("you must specify at least 1 of stdin, stdout, stderr")
        );
    }

    #[test]
    fn forwarded_ports() {
        let socket = [("connection", "Upgrade"), ("upgrade", "websocket")];
        let of = |query: &str| ports(&request(query, &socket), false);
        assert_eq!(of("port=80&port=443,8080"), Ok(vec![80, 443, 8080]));
        assert_eq!(
            of(""),
            Err("query parameter \"port\" is required".to_owned())
        );
        assert_eq!(
            of("port="),
            Err("query parameter \"port\" cannot be empty".to_owned())
        );
        assert!(
            of("port=x")
                .expect_err("invalid")
                .starts_with("unable to parse \"x\" as a port: ")
        );
        assert!(of("port=0").is_err());
        assert_eq!(ports(&request("", &[]), false), Ok(Vec::new()));
    }
}
