//! Passing on of requests, answers and upgraded connections. Upstream: apimachinery/pkg/util/proxy/upgradeaware.go.

use apimachinery::status::StatusError;
use client::streaming;
use component_base::serving::{Body, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::dial::{self, Target};
pub(super) use crate::registry::errors::plain as plain_error;
use crate::request::context::RequestContext;

/// Headers that are about one connection.
static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Drops the headers that are about one connection, and those that Connection names.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Says for whom the request is.
pub(super) fn forwarded_for(cx: &RequestContext, headers: &mut HeaderMap) {
    let name = HeaderName::from_static("x-forwarded-for");
    let mut hops: Vec<String> = headers
        .get_all(&name)
        .iter()
        .filter_map(|value| value.to_str().ok().map(str::to_owned))
        .collect();
    hops.push(cx.connection.remote_addr.ip().to_string());
    if let Ok(value) = HeaderValue::try_from(hops.join(", ")) {
        headers.insert(name, value);
    }
}

/// The request's own headers, without what proved who sent it.
pub(crate) fn own_headers(cx: &RequestContext) -> HeaderMap {
    let mut headers = cx.headers.clone();
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::HOST);
    forwarded_for(cx, &mut headers);
    headers
}

/// The same of a request to switch protocols, which is passed on without its body.
pub(crate) fn upgrade_headers(cx: &RequestContext) -> HeaderMap {
    let mut headers = own_headers(cx);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    headers
}

/// Another server's answer as ours.
pub(crate) fn passed_on(answer: http::Response<Incoming>) -> Response {
    let (mut parts, body) = answer.into_parts();
    remove_hop_by_hop(&mut parts.headers);
    parts.version = http::Version::HTTP_11;
    Response::from_parts(parts, Body::wrap(body))
}

/// Asks the other side to switch to what the client asked for, and relays from then on.
pub(super) async fn upgrade(
    cx: &RequestContext,
    target: &Target,
    path: &str,
    client: OnUpgrade,
) -> Result<Response, StatusError> {
    let wanted = cx.header(header::UPGRADE).to_owned();
    let mut request = Request::new(Body::empty());
    *request.method_mut() = cx.method.clone();
    *request.uri_mut() = path
        .parse()
        .map_err(|error| plain_error(format!("{error}")))?;
    *request.headers_mut() = upgrade_headers(cx);
    let answer = switch(target, request).await?;
    switched(cx, answer, &wanted, client)
}

/// Relays between the client and a server that was asked to switch to `wanted`.
pub(crate) fn switched(
    cx: &RequestContext,
    mut answer: http::Response<Incoming>,
    wanted: &str,
    client: OnUpgrade,
) -> Result<Response, StatusError> {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return refused(answer);
    }
    if !streaming::is_upgraded_to(answer.headers(), wanted) {
        return Err(plain_error(format!(
            "invalid upgrade response: the backend did not switch to {wanted}"
        )));
    }
    let backend = hyper::upgrade::on(&mut answer);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = answer.headers().clone();
    let noted = cx.until_the_end();
    tokio::spawn(async move {
        let _until_the_end = noted;
        match tokio::try_join!(client, backend) {
            Ok((client, backend)) => {
                let ended = streaming::relay(TokioIo::new(client), TokioIo::new(backend)).await;
                if let Err(error) = ended {
                    tracing::debug!(error = %error, "A relayed connection ended with an error");
                }
            }
            Err(error) => tracing::debug!(error = %error, "A connection could not be switched"),
        }
    });
    Ok(response)
}

/// Sends a request to switch protocols.
pub(super) async fn switch(
    target: &Target,
    request: Request<Body>,
) -> Result<http::Response<Incoming>, StatusError> {
    dial::send(target, request)
        .await
        .map_err(|error| plain_error(format!("error dialing backend: {error}")))
}

/// Asks a server to switch to SPDY on behalf of a WebSocket client.
pub(super) async fn switch_to_spdy(
    target: &Target,
    path: &str,
    protocols: &[&str],
) -> Result<Result<http::Response<Incoming>, Response>, StatusError> {
    let request = streaming::spdy_request(Method::POST, path, protocols)
        .map_err(|error| plain_error(error.to_string()))?
        .map(Body::from);
    let answer = switch(target, request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return refused(answer).map(Err);
    }
    if !streaming::is_upgraded_to(answer.headers(), streaming::SPDY_31) {
        return Err(plain_error(
            "invalid upgrade response: the backend did not switch to SPDY/3.1".to_owned(),
        ));
    }
    Ok(Ok(answer))
}

/// The other side's answer when it did not switch: errors are passed on, anything else is one. Both connections end with it: what
/// the client sends after it is meant for a server that does not listen.
fn refused(answer: http::Response<Incoming>) -> Result<Response, StatusError> {
    if answer.status().as_u16() < 400 {
        return Err(plain_error(format!(
            "invalid upgrade response: status code {}",
            answer.status().as_u16()
        )));
    }
    let mut response = passed_on(answer);
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONNECTION,
            HeaderValue::from_static("X-Mine, close"),
        );
        headers.insert("x-mine", HeaderValue::from_static("1"));
        headers.insert(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
        headers.insert("x-other", HeaderValue::from_static("2"));
        remove_hop_by_hop(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-other"]
        );
    }
}
