//! Requests for aggregated API servers. Upstream: kube-aggregator/pkg/apiserver/handler_proxy.go and
//! apimachinery/pkg/util/proxy.

use std::sync::Arc;
use std::time::Duration;

use client::streaming;
use component_base::serving::{self, Body, Response};
use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyStream, StreamBody};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::link::Link;
use super::{Remote, set_user_headers};
use crate::apis::gates;
use crate::connect::{self, Upgrade};
use crate::request::context::RequestContext;
use crate::server::ApiServer;
use crate::traces::trace;

/// Clients learn what there is from all servers in turn: one that does not answer must not hold them up.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// What Go leaves alone in paths.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// Passes a request on.
pub(crate) async fn serve(
    server: &ApiServer,
    cx: &RequestContext,
    remote: &Arc<Remote>,
    body: Body,
    upgrade: Upgrade,
) -> Response {
    let aggregator = &server.aggregator;
    let unavailable = |text: &str| serving::error_response(StatusCode::SERVICE_UNAVAILABLE, text);
    let internal = |text: &str| serving::error_response(StatusCode::INTERNAL_SERVER_ERROR, text);
    if !remote.available {
        return unavailable("service unavailable");
    }
    if let Some(error) = remote.link.error() {
        return internal(error);
    }
    let (host, port) = match aggregator.resolve(remote) {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(
                name = remote.name(),
                error,
                "The Service of an APIService has no address"
            );
            return unavailable("service unavailable");
        }
    };
    let target = Target {
        link: &remote.link,
        host: &host,
        port,
        reject_redirects: aggregator.reject_redirects,
        mark: None,
    };
    forward(server, cx, target, body, upgrade).await
}

/// Where a request is passed on to.
pub(crate) struct Target<'a> {
    pub(crate) link: &'a Link,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// `--aggregator-reject-forwarding-redirect`
    pub(crate) reject_redirects: bool,
    /// A header that says `true` there.
    pub(crate) mark: Option<&'static str>,
}

/// Passes a request on as its caller.
pub(crate) async fn forward(
    server: &ApiServer,
    cx: &RequestContext,
    target: Target<'_>,
    body: Body,
    upgrade: Upgrade,
) -> Response {
    let unavailable = |text: &str| serving::error_response(StatusCode::SERVICE_UNAVAILABLE, text);
    let internal = |text: &str| serving::error_response(StatusCode::INTERNAL_SERVER_ERROR, text);
    let Target {
        link,
        host,
        port,
        reject_redirects,
        mark,
    } = target;
    let authority = connect::authority(host, port);
    let upgrade = upgrade.filter(|_| streaming::is_upgrade_request(&cx.headers));
    // Peers are always told.
    let tells_uid = mark.is_some() || gates::enabled("RemoteRequestHeaderUID");
    let mut request = match request(cx, &authority, body, upgrade.is_some(), tells_uid) {
        Ok(request) => request,
        Err(error) => return internal(&error.to_string()),
    };
    if let Some(mark) = mark {
        let headers = request.headers_mut();
        headers.insert(mark, HeaderValue::from_static("true"));
    }
    // Certificates of peers are not counted.
    let count = |answer: &Result<http::Response<Incoming>, connect::DialError>| {
        let faults = match answer {
            Ok(answer) => answer.extensions().get().copied().unwrap_or_default(),
            Err(error) => error.faults,
        };
        if mark.is_none() {
            let certificates = &server.aggregator.certificates;
            certificates.count(faults, host, &cx.annotations);
        }
    };
    if let Some(client) = upgrade {
        let wanted = cx.header(header::UPGRADE);
        let answer = link.switch(host, port, request).await;
        count(&answer);
        return match answer {
            Ok(answer) => connect::switched(cx, answer, wanted, client)
                .unwrap_or_else(|error| unavailable(&error.to_string())),
            Err(error) => unavailable(&format!("error dialing backend: {error}")),
        };
    }
    let call = trace::call(match cx.method.as_str() {
        "GET" => "HTTP GET",
        "POST" => "HTTP POST",
        "PUT" => "HTTP PUT",
        "PATCH" => "HTTP PATCH",
        "DELETE" => "HTTP DELETE",
        _ => "HTTP",
    });
    call.tell(request.headers_mut());
    let sent = link.send(&authority, request);
    let answer = if is_discovery(cx) {
        tokio::time::timeout(DISCOVERY_TIMEOUT, sent)
            .await
            .unwrap_or_else(|_| Err(connect::DialError::new("context deadline exceeded")))
    } else {
        sent.await
    };
    drop(call);
    count(&answer);
    match answer {
        Ok(answer)
            if reject_redirects
                && answer.status().is_redirection()
                && answer.headers().contains_key(header::LOCATION) =>
        {
            let mut refused = Response::new(Body::from(
                "the backend attempted to redirect this request, which is not permitted",
            ));
            *refused.status_mut() = StatusCode::BAD_GATEWAY;
            refused
        }
        Ok(answer) if cx.info.verb == "watch" => {
            // Ends with the server, which would else wait for it.
            let stop = server.shutdown_watches.clone().cancelled_owned();
            connect::passed_on(answer)
                .map(|body| Body::wrap(StreamBody::new(BodyStream::new(body).take_until(stop))))
        }
        Ok(answer) => connect::passed_on(answer),
        Err(error) => unavailable(&format!("error trying to reach service: {error}")),
    }
}

/// `/apis/group/version`: what the server has.
fn is_discovery(cx: &RequestContext) -> bool {
    !cx.info.is_resource_request && cx.info.path.trim_matches('/').split('/').count() == 3
}

/// The request as the aggregated server gets it.
fn request(
    cx: &RequestContext,
    authority: &str,
    body: Body,
    upgrade: bool,
    tells_uid: bool,
) -> Result<Request<Body>, http::Error> {
    // Encoded anew: the server must see the path that was judged here.
    let mut path = utf8_percent_encode(&cx.info.path, ESCAPED).to_string();
    let forwarded = path.clone();
    if let Some(query) = cx.uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut headers = if upgrade {
        connect::upgrade_headers(cx)
    } else {
        connect::own_headers(cx)
    };
    if !upgrade {
        connect::remove_hop_by_hop(&mut headers);
        set(&mut headers, "x-forwarded-uri", &forwarded)?;
        set(&mut headers, "x-forwarded-host", authority)?;
        set(&mut headers, "x-forwarded-proto", "https")?;
    } else {
        headers.insert(header::HOST, HeaderValue::try_from(authority)?);
    }
    set(&mut headers, "audit-id", &cx.audit_id)?;
    let user = &cx.user;
    set_user_headers(
        &mut headers,
        &user.name,
        if tells_uid { &user.uid } else { "" },
        &user.groups,
        &user.extra,
    )?;
    let mut request = Request::builder()
        .method(cx.method.clone())
        .uri(path)
        .body(if upgrade { Body::empty() } else { body })?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn set(headers: &mut HeaderMap, name: &'static str, text: &str) -> Result<(), http::Error> {
    headers.insert(HeaderName::from_static(name), HeaderValue::try_from(text)?);
    Ok(())
}
