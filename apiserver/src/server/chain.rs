//! What every request goes through, in request order. Upstream: apiserver/pkg/server/config.go, DefaultBuildHandlerChain.
//!
//! Access log, deadline, authentication, audit, impersonation, priority and fairness, authorization, routing. A panic in a handler is a
//! logged 500 of the listener.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::status::{self, StatusError};
use component_base::auth::{BoxFuture, UserInfo, filter, request_header};
use component_base::serving::{self, Handler, Request, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use super::{ApiServer, Limits, authorization, browser, httplog, inflight, nonresource};
use crate::aggregator;
use crate::connect::Upgrade;
use crate::flowcontrol::{self, Place};
use crate::handlers::{self, respond};
use crate::peers;
use crate::request::RequestInfo;
use crate::request::context::{AuditAnnotations, RequestContext, Warnings};
use crate::request::latencies::Latency;
use crate::request::query::Query;
use crate::request_metrics::{Filter, Measured};
use crate::traces::trace;

static AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

impl ApiServer {
    /// The chain.
    async fn serve(self: &Arc<Self>, mut request: Request) -> Response {
        let received = Instant::now();
        let audit_id = request
            .headers()
            .get(&AUDIT_ID)
            .filter(|id| !id.is_empty())
            .cloned()
            .unwrap_or_else(|| {
                HeaderValue::from_str(&uuid::Uuid::new_v4().to_string())
                    .unwrap_or_else(|_| HeaderValue::from_static(""))
            });
        let mut response = self.chain(&mut request, &audit_id, received).await;
        response.headers_mut().insert(&AUDIT_ID, audit_id);
        response
    }

    async fn chain(
        self: &Arc<Self>,
        request: &mut Request,
        audit_id: &HeaderValue,
        received: Instant,
    ) -> Response {
        let mut cx = match context_of(request, audit_id, received) {
            Ok(cx) => cx,
            Err(response) => return response,
        };
        match httplog::Line::new(&mut cx, audit_id) {
            None => self.in_time(cx, request, audit_id).await,
            Some(line) => line.answer(self.in_time(cx, request, audit_id).await),
        }
    }

    /// What has to be answered at all, and in its time.
    async fn in_time(
        self: &Arc<Self>,
        mut cx: Box<RequestContext>,
        request: &mut Request,
        audit_id: &HeaderValue,
    ) -> Response {
        let received = cx.received;
        if let Some(response) = self.draining.refuse(&cx) {
            return response;
        }
        if self.goaway_chance > 0.0
            && request.version() == http::Version::HTTP_2
            && rand::random::<f64>() < self.goaway_chance
        {
            cx.connection.close_gracefully();
        }
        let long_running = is_long_running(&cx.info);
        let _request = if long_running {
            None
        } else {
            self.draining.enter()
        };
        if !long_running {
            match self.deadline(&cx) {
                Ok(deadline) => cx.deadline = Some(deadline),
                Err(error) => {
                    let refuse = |cx: &RequestContext| respond::error(cx, error);
                    return self.finished(self.refused(&mut cx, refuse).await);
                }
            }
        }
        let response = match cx.deadline {
            None => self.warned(cx, request).await,
            Some(deadline) => {
                let answer = tokio::time::timeout_at(deadline, self.warned(cx, request));
                match answer.await {
                    Ok(response) => response,
                    // The context went with the answer.
                    Err(_) => match context_of(request, audit_id, received) {
                        Ok(cx) => self.timed_out(&cx),
                        Err(response) => response,
                    },
                }
            }
        };
        self.finished(response)
    }

    fn timed_out(&self, cx: &RequestContext) -> Response {
        self.request_metrics.timed_out(cx, self.knows(&cx.info));
        let told = "request did not complete within the allotted timeout";
        respond::error(cx, status::timeout(told, 0))
    }

    /// Whether a path names a resource that there is.
    fn knows(&self, info: &RequestInfo) -> bool {
        let (group, version) = (&info.api_group, &info.api_version);
        let found = self.resources.get(group, version, &info.resource);
        found.is_some_and(|resource| {
            let mut subresources = resource.info.subresources.iter();
            info.subresource.is_empty() || subresources.any(|row| row.name == info.subresource)
        })
    }

    /// Counts what a filter has taken since `started`; the next one starts now.
    fn filtered(
        &self,
        cx: &RequestContext,
        filter: Filter,
        started: Instant,
    ) -> (Instant, Duration) {
        let now = Instant::now();
        let took = now - started;
        self.request_metrics.filtered(filter, took);
        if let Some(line) = &cx.line {
            line.filtered(filter, took);
        }
        (now, took)
    }

    /// Sets what all answers say.
    fn finished(&self, response: Response) -> Response {
        let mut response = no_cache(response);
        if let Some(value) = &self.strict_transport_security {
            browser::set_strict_transport_security(&mut response, value);
        }
        response
    }

    /// Warnings are in every answer, also in one that refuses. Upstream: endpoints/filters/warning.go.
    async fn warned(self: &Arc<Self>, cx: Box<RequestContext>, request: &mut Request) -> Response {
        let warnings = cx.warnings.clone();
        let mut response = self.asked_from_site(cx, request).await;
        for warning in warnings.headers() {
            if let Ok(value) = HeaderValue::from_str(&warning)
                .or_else(|_| HeaderValue::from_bytes(warning.as_bytes()))
            {
                response.headers_mut().append(header::WARNING, value);
            }
        }
        response
    }

    /// Browsers tell from which site a request comes, and may have to be told that it was allowed.
    async fn asked_from_site(
        self: &Arc<Self>,
        cx: Box<RequestContext>,
        request: &mut Request,
    ) -> Response {
        let cors = self.cors.as_ref();
        let Some(origin) = cors.and_then(|cors| cors.origin(&cx.headers)) else {
            return self.authenticated(cx, request).await;
        };
        if cx.method == http::Method::OPTIONS {
            return browser::Cors::preflight(origin);
        }
        let mut response = self.authenticated(cx, request).await;
        browser::Cors::allow(&mut response, origin);
        response
    }

    /// `?timeout=`, bounded by `--request-timeout`.
    fn deadline(&self, cx: &RequestContext) -> Result<Instant, StatusError> {
        let mut timeout = self.config.request_timeout;
        if let Some(text) = cx.query.first("timeout").filter(|text| !text.is_empty()) {
            let asked = apimachinery::duration::parse(text).map_err(|_| {
                status::bad_request(format!(
                    "invalid timeout specified in the request URL - time: invalid duration {text:?}"
                ))
            })?;
            let asked = Duration::from_nanos(u64::try_from(asked).unwrap_or(0));
            if !asked.is_zero() {
                timeout = timeout.min(asked);
            }
        }
        Ok(cx.received + timeout)
    }

    async fn authenticated(
        self: &Arc<Self>,
        mut cx: Box<RequestContext>,
        request: &mut Request,
    ) -> Response {
        let started = Instant::now();
        let credentials = filter::credentials_of(request);
        let found = self.authenticator.authenticate(&credentials).await;
        let took = started.elapsed();
        for warning in credentials.warnings.lock().drain(..) {
            cx.warnings.add(warning);
        }
        let found = match found {
            Ok(Some(found)) => {
                self.authentication_metrics.success(&found.user.name, took);
                Some(found)
            }
            Ok(None) => {
                self.authentication_metrics.failure(took);
                None
            }
            Err(error) => {
                self.authentication_metrics.error(took);
                tracing::error!(error = %error, "Unable to authenticate the request");
                None
            }
        };
        cx.annotations
            .latencies()
            .add(Latency::Authentication, took);
        // Callers nobody knows get no long-lived HTTP/2 connection (CVE-2023-44487).
        let closes = request.version() == http::Version::HTTP_2
            && crate::apis::gates::enabled("UnauthenticatedHTTP2DOSMitigation");
        let Some(found) = found else {
            self.request_metrics.filtered(Filter::Authentication, took);
            if closes {
                cx.connection.close_gracefully();
            }
            let refuse =
                |cx: &RequestContext| respond::error(cx, status::unauthorized("Unauthorized"));
            return self.refused(&mut cx, refuse).await;
        };
        if closes && component_base::auth::combine::is_anonymous(&found.user) {
            cx.connection.close_gracefully();
        }
        cx.user = found.user;
        cx.note(found.notes);
        let config = self
            .request_header
            .as_ref()
            .map(request_header::RequestHeaderAuthenticator::config);
        request_header::clear_authentication_headers(&mut cx.headers, config.as_deref());
        let (started, _) = self.filtered(&cx, Filter::Authentication, started);
        let span = self.traces.start(&cx, request.version());
        cx.trace = span.trace(&cx, request.version());
        trace::filter(&cx, "audit");
        let response = match &self.audit {
            None => self.known(cx, request, started).await,
            Some(audit) => {
                let long_running = is_long_running(&cx.info);
                audit
                    .around(cx, long_running, |cx| self.known(cx, request, started))
                    .await
            }
        };
        span.answer(response)
    }

    /// Refuses a request of which nobody knows who sent it.
    async fn refused(
        &self,
        cx: &mut RequestContext,
        refuse: impl FnOnce(&RequestContext) -> Response,
    ) -> Response {
        match &self.audit {
            None => refuse(cx),
            Some(audit) => audit.refused(cx, refuse).await,
        }
    }

    /// What follows when it is known who sent the request, and since `started` to the audit log, too.
    async fn known(
        self: &Arc<Self>,
        mut cx: Box<RequestContext>,
        request: &mut Request,
        started: Instant,
    ) -> Response {
        let (started, _) = self.filtered(&cx, Filter::Audit, started);
        trace::filter(&cx, self.impersonation.filter_name());
        let asked = self
            .impersonation
            .impersonate(&mut cx, &*self.authorizer)
            .await;
        match (asked, &cx.audit) {
            (Err(error), _) => return no_sniff(respond::error(&cx, error)),
            (Ok(Some(constraint)), Some(audit)) => audit.impersonated(&cx.user, constraint),
            (Ok(_), _) => {}
        }
        let (started, took) = self.filtered(&cx, Filter::Impersonation, started);
        cx.annotations.latencies().add(Latency::Impersonation, took);
        self.limited(Arc::from(cx), request, started).await
    }

    /// Not too many at once. Connections to pods do not count.
    async fn limited(
        self: &Arc<Self>,
        cx: Arc<RequestContext>,
        request: &mut Request,
        started: Instant,
    ) -> Response {
        let flow = match &self.limits {
            Limits::InFlight(inflight) => {
                let place = if is_long_running(&cx.info) {
                    Ok(None)
                } else {
                    inflight.admit(&cx)
                };
                return match place {
                    Ok(None) => self.authorized(cx, request, started).await,
                    Ok(Some(place)) => {
                        let deadline = cx.deadline;
                        place.while_sent(self.authorized(cx, request, started).await, deadline)
                    }
                    Err(inflight::TooMany) => self.dropped(&cx, 1),
                };
            }
            Limits::PriorityAndFairness(flow) => flow,
        };
        trace::filter(&cx, "priorityandfairness");
        if cx.info.verb != "watch" && is_long_running(&cx.info) {
            return self.authorized(cx, request, started).await;
        }
        let flowcontrol::Admission { schema, outcome } = flow.admit(&cx).await;
        let mut response = match outcome {
            Ok(ticket) => {
                let (started, _) = self.filtered(&cx, Filter::PriorityAndFairness, started);
                flow.keep(&cx, ticket);
                let line = cx.line.clone().filter(|_| cx.info.verb != "watch");
                let response = self.authorized(cx, request, started).await;
                if let Some(line) = line {
                    line.executed(started.elapsed());
                }
                response
            }
            Err(seconds) => self.dropped(&cx, seconds),
        };
        schema.set_headers(response.headers_mut());
        response
    }

    /// There are too many requests.
    fn dropped(&self, cx: &RequestContext, seconds: u64) -> Response {
        self.request_metrics.dropped(cx, self.knows(&cx.info));
        too_many_requests(seconds)
    }

    async fn authorized(
        self: &Arc<Self>,
        cx: Arc<RequestContext>,
        request: &mut Request,
        started: Instant,
    ) -> Response {
        trace::filter(&cx, "authorization");
        let attributes = cx.attributes();
        let verdict = self.authorizer.authorize(&attributes).await;
        let took = started.elapsed();
        self.authorization_metrics.count(&verdict, took);
        cx.annotations.latencies().add(Latency::Authorization, took);
        match authorization::outcome(verdict, &attributes) {
            Ok(reason) => {
                self.request_metrics.filtered(Filter::Authorization, took);
                if let Some(line) = &cx.line {
                    line.filtered(Filter::Authorization, took);
                }
                if let Some(audit) = &cx.audit {
                    audit.allowed(reason);
                }
            }
            Err(authorization::Refusal::Forbidden { error, reason }) => {
                let uri = cx.uri.path_and_query();
                let uri = uri.map_or("/", |uri| uri.as_str());
                tracing::debug!(v = 4, URI = uri, reason, "Forbidden");
                if let Some(audit) = &cx.audit {
                    audit.forbidden(reason);
                }
                return no_sniff(respond::error(&cx, error));
            }
            Err(authorization::Refusal::Failed(reason)) => {
                if let Some(audit) = &cx.audit {
                    audit.undecided();
                }
                tracing::error!(reason, "Could not decide whether a request is allowed");
                let text = format!("Internal Server Error: {:?}: {reason}", cx.uri.to_string());
                return serving::error_response(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    &filter::sanitize(&text),
                );
            }
        }
        if let Some(versions) = &self.storage_versions
            && let Err(error) = versions.check(&cx)
        {
            return no_sniff(respond::error(&cx, error));
        }
        let upgrade: Upgrade = request
            .extensions_mut()
            .remove::<hyper::upgrade::OnUpgrade>();
        let body = std::mem::take(request.body_mut());
        match cx.trace.clone() {
            None => self.route(&cx, body, upgrade).await,
            Some(trace) => Box::pin(trace.during(self.route(&cx, body, upgrade))).await,
        }
    }

    /// Whether a request is for a custom resource that there is, in its scope.
    async fn serves_custom(self: &Arc<Self>, info: &RequestInfo) -> bool {
        let found = self
            .resources
            .get(&info.api_group, &info.api_version, &info.resource);
        let found = match found {
            None => self.custom_resources.wait_for(self, info).await,
            found => found,
        };
        let everywhere = matches!(info.verb.as_str(), "list" | "watch");
        found.is_some_and(|resource| {
            let in_namespace = !info.namespace.is_empty();
            resource.info.namespaced == in_namespace || (resource.info.namespaced && everywhere)
        })
    }

    async fn route(
        self: &Arc<Self>,
        cx: &Arc<RequestContext>,
        body: serving::Body,
        upgrade: Upgrade,
    ) -> Response {
        let info = &cx.info;
        if let Some(peers) = &self.peers {
            let able = peers.able(self, cx);
            if !able.is_empty() {
                return Box::pin(peers::serve(self, cx, &able, body, upgrade)).await;
            }
        }
        if let Some(remote) = self.aggregator.remote_of(&info.path) {
            return Box::pin(aggregator::serve(self, cx, &remote, body, upgrade)).await;
        }
        if !info.is_resource_request {
            let response = Box::pin(nonresource::serve(self, cx, body)).await;
            return cx.measured.answered(response);
        }
        let known = if info.api_prefix == "api" {
            info.api_group.is_empty()
        } else {
            self.resources.is_built_in(&info.api_group) || self.serves_custom(info).await
        };
        if !known {
            return nonresource::not_found(self, cx);
        }
        let response = match handlers::dispatch(self, cx, body, upgrade).await {
            Ok(response) => response,
            Err(error) => respond::error(cx, error),
        };
        cx.measured.answered(response)
    }
}

/// Requests that have no deadline and no place among those in flight.
fn is_long_running(info: &RequestInfo) -> bool {
    if matches!(info.verb.as_str(), "watch" | "proxy") {
        return true;
    }
    if info.is_resource_request {
        return matches!(
            info.subresource.as_str(),
            "attach" | "exec" | "proxy" | "log" | "portforward"
        );
    }
    info.path.starts_with("/debug/pprof/")
}

/// 429.
fn too_many_requests(seconds: u64) -> Response {
    let mut response = serving::error_response(
        StatusCode::TOO_MANY_REQUESTS,
        "Too many requests, please try again later.",
    );
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Refusals may quote the request: browsers are not to guess their type.
fn no_sniff(mut response: Response) -> Response {
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// What is known of a request before anybody is asked about it, or the answer to one that makes no sense.
fn context_of(
    request: &Request,
    audit_id: &HeaderValue,
    received: Instant,
) -> Result<Box<RequestContext>, Response> {
    let Ok(path) = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8() else {
        return Err(no_cache(serving::error_response(
            StatusCode::BAD_REQUEST,
            "invalid path encoding",
        )));
    };
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let info = RequestInfo::parse(request.method(), &path, &query).map_err(|error| {
        let text = format!(
            "Internal Server Error: {:?}: failed to create RequestInfo: {error}",
            request
                .uri()
                .path_and_query()
                .map_or("", |path| path.as_str())
        );
        serving::error_response(StatusCode::INTERNAL_SERVER_ERROR, &filter::sanitize(&text))
    })?;
    Ok(Box::new(RequestContext {
        method: request.method().clone(),
        uri: request.uri().clone(),
        info,
        query,
        headers: request.headers().clone(),
        user: UserInfo::default(),
        audit_id: audit_id.to_str().unwrap_or_default().to_owned(),
        warnings: Warnings::default(),
        annotations: AuditAnnotations::default(),
        audit: None,
        received,
        deadline: None,
        connection: serving::connection(request),
        place: Place::default(),
        measured: Measured::default(),
        trace: None,
        line: None,
    }))
}

/// Responses are not to be cached, unless the handler said otherwise.
fn no_cache(mut response: Response) -> Response {
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
    response
}

/// [`ApiServer`] as the listener's handler.
pub struct Service(pub Arc<ApiServer>);

impl Handler for Service {
    fn handle(&self, request: Request) -> BoxFuture<'_, Response> {
        let server = self.0.clone();
        Box::pin(async move { server.serve(request).await })
    }
}
