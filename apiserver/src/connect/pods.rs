//! Logs of pods and streams into them, through the kubelet. Upstream: pkg/registry/core/pod/strategy.go (LogLocation,
//! streamLocation, PortForwardLocation) and pod/rest/{log,subresources}.go.

use std::sync::Arc;

use api_types::core::v1::Pod;
use apimachinery::field::{self, ErrorList, Path};
use apimachinery::gvk::{GroupKind, GroupResource};
use apimachinery::quote::quote;
use apimachinery::status::{self, StatusError};
use client::streaming::remotecommand::{self, Options};
use client::streaming::spdy::Connection;
use client::streaming::{self, portforward, websocket};
use component_base::serving::{Body, Response};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::dial::{self, Target};
use super::metrics::ConnectMetrics;
use super::relay::{self, plain_error};
use super::{Kubelet, Upgrade, authorize_upgrade, node_of, pod_of};
use crate::apis::gates;
use crate::handlers;
use crate::request::context::RequestContext;
use crate::request::query::Query;
use crate::server::ApiServer;

/// Texts of failing kubelets are cut here.
const MAX_ERROR: usize = 50_000;

fn bad_query(error: impl std::fmt::Display) -> StatusError {
    status::bad_request(error.to_string())
}

/// The container a request means.
fn container_of(pod: &Pod, asked: &str) -> Result<String, StatusError> {
    let containers: Vec<&str> = pod
        .spec
        .containers
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    let init: Vec<&str> = pod
        .spec
        .init_containers
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    let ephemeral: Vec<&str> = pod
        .spec
        .ephemeral_containers
        .iter()
        .map(|c| c.ephemeral_container_common.name.as_str())
        .collect();
    let name = &pod.metadata.name;
    if !asked.is_empty() {
        if [&containers, &init, &ephemeral]
            .iter()
            .any(|names| names.contains(&asked))
        {
            return Ok(asked.to_owned());
        }
        return Err(status::bad_request(format!(
            "container {asked} is not valid for pod {name}"
        )));
    }
    match containers.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(status::bad_request(format!(
            "a container name must be specified for pod {name}"
        ))),
        _ => {
            let mut text = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                containers.join(" ")
            );
            if !init.is_empty() {
                text += &format!(" or one of the init containers: [{}]", init.join(" "));
            }
            if !ephemeral.is_empty() {
                text += &format!(
                    " or one of the ephemeral containers: [{}]",
                    ephemeral.join(" ")
                );
            }
            Err(status::bad_request(text))
        }
    }
}

async fn kubelet_of(
    server: &Arc<ApiServer>,
    node_name: &str,
    insecure: bool,
) -> Result<Kubelet, StatusError> {
    let node = node_of(server, "pods", node_name).await?;
    server.connector.kubelet(&node, insecure)
}

fn encoded(pairs: &[(&str, String)]) -> String {
    let mut pairs = pairs.to_vec();
    pairs.sort_by(|a, b| a.0.cmp(b.0));
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    query.finish()
}

fn with_query(path: String, pairs: &[(&str, String)]) -> String {
    if pairs.is_empty() {
        path
    } else {
        format!("{path}?{}", encoded(pairs))
    }
}

/// What of a log is wanted, for the kubelet's query.
fn log_query(cx: &RequestContext) -> Result<Vec<(&'static str, String)>, StatusError> {
    let query = &cx.query;
    let mut pairs = Vec::new();
    let mut errors = ErrorList::new();
    for name in ["follow", "previous", "timestamps"] {
        if query.bool(name) {
            pairs.push((name, "true".to_owned()));
        }
    }
    let number = |name: &str| query.optional_i64(name).map_err(bad_query);
    if let Some(lines) = number("tailLines")? {
        if lines < 0 {
            errors.push(field::invalid(
                &Path::new("tailLines"),
                lines,
                "must be greater than or equal to 0",
            ));
        }
        pairs.push(("tailLines", lines.to_string()));
    }
    if let Some(limit) = number("limitBytes")? {
        if limit < 1 {
            errors.push(field::invalid(
                &Path::new("limitBytes"),
                limit,
                "must be greater than 0",
            ));
        }
        pairs.push(("limitBytes", limit.to_string()));
    }
    let seconds = number("sinceSeconds")?;
    let time = query.first("sinceTime").filter(|time| !time.is_empty());
    match (seconds, time) {
        (Some(_), Some(_)) => errors.push(field::forbidden(
            &Path::new("[]"),
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        )),
        (Some(seconds), None) => {
            if seconds < 1 {
                errors.push(field::invalid(
                    &Path::new("sinceSeconds"),
                    seconds,
                    "must be greater than 0",
                ));
            }
            pairs.push(("sinceSeconds", seconds.to_string()));
        }
        (None, Some(time)) => pairs.push(("sinceTime", time.to_owned())),
        (None, None) => {}
    }
    if let Some(stream) = query.first("stream").filter(|stream| !stream.is_empty()) {
        match stream {
            "All" => {}
            "Stdout" | "Stderr" => {
                if pairs.iter().any(|(name, _)| *name == "tailLines") {
                    errors.push(field::forbidden(
                        &Path::new("[]"),
                        "`tailLines` and specific `stream` are mutually exclusive for now",
                    ));
                }
                pairs.push(("stream", stream.to_owned()));
            }
            other => errors.push(field::not_supported(
                &Path::new("stream"),
                other,
                &["All", "Stderr", "Stdout"],
            )),
        }
    }
    if errors.is_empty() {
        return Ok(pairs);
    }
    let kind = GroupKind {
        group: String::new(),
        kind: "PodLogOptions".to_owned(),
    };
    Err(status::invalid(&kind, &cx.info.name, &errors))
}

/// GET of a container's log.
pub(super) async fn log(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    upgrade: Upgrade,
) -> Result<Response, StatusError> {
    let insecure = cx.query.bool("insecureSkipTLSVerifyBackend");
    let metrics = &server.connector.metrics;
    metrics.log(insecure);
    let pairs = log_query(cx)?;
    let pod = pod_of(server, &cx.info.namespace, &cx.info.name).await?;
    let container = container_of(&pod, cx.query.first("container").unwrap_or_default())?;
    if pod.spec.node_name.is_empty() {
        // Nothing ran yet.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let kubelet = kubelet_of(server, &pod.spec.node_name, insecure).await?;
    let path = with_query(
        format!(
            "/containerLogs/{}/{}/{container}",
            pod.metadata.namespace, pod.metadata.name
        ),
        &pairs,
    );
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path
        .parse()
        .map_err(|error| plain_error(format!("{error}")))?;
    let answer = dial::send(&kubelet.target, request)
        .await
        .map_err(|error| {
            if error.to_string().contains("x509:") {
                metrics.log_not_trusted();
            }
            let url = format!(
                "{}://{}{path}",
                kubelet.target.scheme(),
                kubelet.target.authority()
            );
            plain_error(format!("Get {url:?}: {error}"))
        })?;
    if let Some(location) = redirect_of(&answer) {
        let location = quote(location);
        return Err(plain_error(format!("Get {location}: redirects forbidden")));
    }
    if !matches!(answer.status().as_u16(), 200..=206) {
        return Err(log_error(&cx.info.name, answer).await);
    }
    let body = Body::wrap(answer.into_body());
    if let Some(client) = handlers::websocket::wanted(cx, upgrade) {
        return handlers::websocket::reader(cx, client, body);
    }
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// Where else a kubelet says that a log is. Upstream: PreventRedirects of pkg/registry/generic/rest, and what Go's client takes for
/// a redirect.
fn redirect_of(answer: &http::Response<hyper::body::Incoming>) -> Option<&str> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers().get(header::LOCATION)?.to_str().ok()?;
    Some(location).filter(|location| !location.is_empty())
}

async fn log_error(name: &str, answer: http::Response<hyper::body::Incoming>) -> StatusError {
    let code = answer.status().as_u16();
    let body = answer
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let body = body.unwrap_or_default();
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_ERROR)]).into_owned();
    match code {
        500 => status::internal(text),
        400 => status::bad_request(text),
        _ => {
            let resource = GroupResource::new("", "pods/log");
            status::generic_server_response(code, "", &resource, name, &text, 0, false)
        }
    }
}

/// Exec, attach and port-forward.
pub(super) async fn stream(
    server: &Arc<ApiServer>,
    cx: &Arc<RequestContext>,
    kind: &str,
    upgrade: Upgrade,
) -> Result<Response, StatusError> {
    authorize_upgrade(server, cx).await?;
    let pod = pod_of(server, &cx.info.namespace, &cx.info.name).await?;
    let (path, options) = match kind {
        "portforward" => (forward_path(&pod, &cx.query), Options::default()),
        _ => command_path(&pod, &cx.query, kind)?,
    };
    if pod.spec.node_name.is_empty() {
        return Err(status::bad_request(format!(
            "pod {} does not have a host assigned",
            pod.metadata.name
        )));
    }
    let kubelet = kubelet_of(server, &pod.spec.node_name, false).await?;
    let metrics = &server.connector.metrics;
    let may_take = match kind {
        "portforward" => "PortForwardWebsockets",
        _ => "TranslateStreamCloseWebsocketRequests",
    };
    if gates::enabled(may_take) {
        metrics.streamed(kind, kubelet.takes_web_sockets);
    }
    if !streaming::is_upgrade_request(&cx.headers) {
        return Err(status::bad_request("Upgrade request required"));
    }
    let Some(client) = upgrade else {
        return Err(status::bad_request("Upgrade request required"));
    };
    if !kubelet.takes_web_sockets {
        let may = gates::enabled(may_take);
        if kind == "portforward" && may && websocket::offers_tunneling(&cx.headers) {
            let answer = tunnel(cx, &kubelet.target, &path, client).await;
            metrics.tunneled(answer.as_ref().map_or_else(
                |error| u16::try_from(error.code).unwrap_or(500),
                |answer| answer.status().as_u16(),
            ));
            return answer;
        }
        if kind != "portforward" && may && websocket::offers_stream_close(&cx.headers) {
            return translate(cx, metrics, &kubelet.target, &path, options, client).await;
        }
    }
    relay::upgrade(cx, &kubelet.target, &path, client).await
}

fn forward_path(pod: &Pod, query: &Query) -> String {
    let ports: Vec<(&str, String)> = query
        .all("ports")
        .flat_map(|ports| ports.split(','))
        .filter(|port| !port.is_empty())
        .map(|port| ("port", port.to_owned()))
        .collect();
    let path = format!(
        "/portForward/{}/{}",
        pod.metadata.namespace, pod.metadata.name
    );
    with_query(path, &ports)
}

fn command_path(pod: &Pod, query: &Query, kind: &str) -> Result<(String, Options), StatusError> {
    let container = container_of(pod, query.first("container").unwrap_or_default())?;
    let default = kind == "attach";
    let wants = |name: &str, default| query.optional_bool(name).unwrap_or(default);
    let options = Options {
        stdin: wants("stdin", false),
        stdout: wants("stdout", default),
        stderr: wants("stderr", default),
        tty: wants("tty", false),
    };
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for (name, on) in [
        ("input", options.stdin),
        ("output", options.stdout),
        ("error", options.stderr),
        ("tty", options.tty),
    ] {
        if on {
            pairs.push((name, "1".to_owned()));
        }
    }
    if kind == "exec" {
        pairs.extend(
            query
                .all("command")
                .map(|part| ("command", part.to_owned())),
        );
    }
    let path = format!(
        "/{kind}/{}/{}/{container}",
        pod.metadata.namespace, pod.metadata.name
    );
    Ok((with_query(path, &pairs), options))
}

/// The answer that switches a WebSocket client.
fn accepted(cx: &RequestContext, protocol: &str) -> Result<Response, StatusError> {
    let accepted = websocket::accept_response(&cx.method, &cx.headers, protocol)
        .map_err(|error| status::bad_request(error.to_string()))?;
    Ok(accepted.map(|()| Body::empty()))
}

/// Speaks WebSocket with the client and SPDY with the kubelet.
async fn translate(
    cx: &RequestContext,
    metrics: &ConnectMetrics,
    target: &Target,
    path: &str,
    options: Options,
    client: OnUpgrade,
) -> Result<Response, StatusError> {
    let protocol = websocket::negotiate(&cx.headers, &[remotecommand::V5]).map_err(|error| {
        metrics.translated(400).inc();
        status::bad_request(error.to_string())
    })?;
    let response = accepted(cx, &protocol)?;
    let mut answer =
        match relay::switch_to_spdy(target, path, remotecommand::SPDY_PROTOCOLS).await? {
            Ok(answer) => answer,
            Err(refused) => {
                metrics.translated(refused.status().as_u16()).inc();
                return Ok(refused);
            }
        };
    let (done, failed) = (metrics.translated(200), metrics.translated(500));
    let spdy_protocol = answer
        .headers()
        .get(streaming::PROTOCOL_VERSION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let backend = hyper::upgrade::on(&mut answer);
    let noted = cx.until_the_end();
    tokio::spawn(async move {
        let _until_the_end = noted;
        let Ok((client, backend)) = tokio::try_join!(client, backend) else {
            return;
        };
        let socket = websocket::server(TokioIo::new(client)).await;
        let Ok(session) = remotecommand::Session::open(socket, &protocol, options).await else {
            return;
        };
        match Connection::client(TokioIo::new(backend)) {
            Ok(connection) => {
                let ended =
                    remotecommand::translate(session, &connection, &spdy_protocol, options).await;
                match ended {
                    Ok(_) => done.inc(),
                    Err(error) => {
                        failed.inc();
                        tracing::debug!(error = %error, "A translated command did not end well");
                    }
                }
                connection.go_away().await;
            }
            Err(error) => tracing::debug!(error = %error, "SPDY could not be spoken"),
        }
    });
    Ok(response)
}

/// Takes the client's SPDY out of its WebSocket.
async fn tunnel(
    cx: &RequestContext,
    target: &Target,
    path: &str,
    client: OnUpgrade,
) -> Result<Response, StatusError> {
    let inner = portforward::tunneled_protocols(&websocket::requested_protocols(&cx.headers));
    let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
    let response = accepted(cx, websocket::TUNNELING_PORT_FORWARD)?;
    let mut answer = match relay::switch_to_spdy(target, path, &inner).await? {
        Ok(answer) => answer,
        Err(refused) => return Ok(refused),
    };
    let backend = hyper::upgrade::on(&mut answer);
    let noted = cx.until_the_end();
    tokio::spawn(async move {
        let _until_the_end = noted;
        let Ok((client, backend)) = tokio::try_join!(client, backend) else {
            return;
        };
        let socket = websocket::server(TokioIo::new(client)).await;
        if let Err(error) = portforward::tunnel(socket, TokioIo::new(backend)).await {
            tracing::debug!(error = %error, "A tunnel ended with an error");
        }
    });
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::Container;

    fn pod(containers: &[&str]) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = "p".to_owned();
        pod.metadata.namespace = "n".to_owned();
        pod.spec.containers = containers
            .iter()
            .map(|name| Container {
                name: (*name).to_owned(),
                ..Container::default()
            })
            .collect();
        pod
    }

    #[test]
    fn a_container_must_be_named_when_there_are_several() {
        assert_eq!(container_of(&pod(&["a"]), "").unwrap(), "a");
        assert_eq!(
            container_of(&pod(&["a", "b"]), "").unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b]"
        );
        assert_eq!(
            container_of(&pod(&["a"]), "x").unwrap_err().message,
            "container x is not valid for pod p"
        );
    }

    #[test]
    fn paths_at_the_kubelet() {
        let query = Query::parse("command=ls&command=-l&stdout=true&stdin=1&tty=0");
        let (path, options) = command_path(&pod(&["a"]), &query, "exec").unwrap();
        assert_eq!(path, "/exec/n/p/a?command=ls&command=-l&input=1&output=1");
        assert!(options.stdin && options.stdout && !options.stderr && !options.tty);
        assert_eq!(
            forward_path(&pod(&[]), &Query::parse("ports=80,81")),
            "/portForward/n/p?port=80&port=81"
        );
    }
}
