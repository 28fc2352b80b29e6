//! The client handle: sends requests and reads answers.

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use api_types::meta::v1::Status;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::time::Instant;

use super::call::{Call, Target};
use super::codec::{Media, decode, kind_of};
use super::transport::{
    Pool, RequestBody, ResponseBody, Transport, TransportError, TransportErrorKind, UpgradeOutcome,
    UpgradedIo,
};
use crate::config::{BaseUrl, ClientConfig, Credentials, Impersonation, TlsSource};
use crate::error::Error;
use crate::flowcontrol::TokenBucket;

/// As upstream.
const MAX_RETRIES: u32 = 10;
const DEFAULT_QPS: f32 = 5.0;
const DEFAULT_BURST: u32 = 10;
/// How much of an answer that is no Status goes into an error.
const MAX_ERROR_TEXT: usize = 2048;

/// A handle on an API server. Clones share connections, throttle and credentials.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    config: ClientConfig,
    base: BaseUrl,
    transport: Arc<dyn Transport>,
    credentials: Arc<Credentials>,
    limiter: Option<Arc<TokenBucket>>,
    user_agent: HeaderValue,
    impersonation: Vec<(HeaderName, HeaderValue)>,
}

/// A connection after `101 Switching Protocols`.
pub struct Upgraded {
    /// The answer's head.
    pub response: Response<()>,
    /// Both directions of the connection.
    pub io: UpgradedIo,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("server", &self.inner.config.server)
            .field("user_agent", &self.inner.config.user_agent)
            .finish()
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded")
            .field("response", &self.response)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client with its own connections. Nothing is opened until the first request.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        let base = config.base_url()?;
        let credentials = Arc::new(Credentials::new(&config.auth)?);
        let tls = TlsSource::new(config.tls.clone());
        if base.tls {
            // Wrong files are told now and not at the first request. An exec plugin is not run yet.
            tls.configs(None)?;
        }
        let transport = Arc::new(Pool::new(
            base.clone(),
            tls,
            credentials.clone(),
            config.dial.clone(),
        ));
        Self::assemble(config, base, transport, credentials)
    }

    /// A client over a transport of the caller.
    pub fn with_transport(
        config: ClientConfig,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, Error> {
        let base = config.base_url()?;
        let credentials = Arc::new(Credentials::new(&config.auth)?);
        Self::assemble(config, base, transport, credentials)
    }

    fn assemble(
        config: ClientConfig,
        base: BaseUrl,
        transport: Arc<dyn Transport>,
        credentials: Arc<Credentials>,
    ) -> Result<Self, Error> {
        let qps = if config.qps == 0.0 {
            DEFAULT_QPS
        } else {
            config.qps
        };
        let burst = if config.burst == 0 {
            DEFAULT_BURST
        } else {
            config.burst
        };
        let limiter = (qps > 0.0).then(|| Arc::new(TokenBucket::new(f64::from(qps), burst)));
        let user_agent = header_value(&config.user_agent)?;
        let impersonation = config.impersonation.headers()?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                base,
                transport,
                credentials,
                limiter,
                user_agent,
                impersonation,
            }),
        })
    }

    /// The configuration the client was made from.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    fn changed(&self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = (*self.inner).clone();
        change(&mut inner);
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The same connections without the client-side throttle: for what must not wait, such as leases.
    pub fn without_rate_limit(&self) -> Self {
        self.changed(|inner| inner.limiter = None)
    }

    /// The same connections with a throttle of its own. Negative `qps` means none.
    pub fn with_rate_limit(&self, qps: f32, burst: u32) -> Self {
        self.changed(|inner| {
            inner.limiter = (qps > 0.0).then(|| Arc::new(TokenBucket::new(f64::from(qps), burst)))
        })
    }

    /// The same connections under another User-Agent. Upstream appends a controller's name: `<agent>/<name>`.
    pub fn with_user_agent(&self, user_agent: impl Into<String>) -> Result<Self, Error> {
        let user_agent = user_agent.into();
        let value = header_value(&user_agent)?;
        Ok(self.changed(|inner| {
            inner.user_agent = value;
            inner.config.user_agent = user_agent;
        }))
    }

    /// The same connections, acting as someone else.
    pub fn impersonating(&self, impersonation: Impersonation) -> Result<Self, Error> {
        let headers = impersonation.headers()?;
        Ok(self.changed(|inner| {
            inner.impersonation = headers;
            inner.config.impersonation = impersonation;
        }))
    }

    /// The same connections with a limit for every request but watches.
    pub fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        self.changed(|inner| inner.config.timeout = timeout)
    }

    /// Sends any request and reads the whole answer, whatever its code. The URI is a path with an optional query.
    pub fn raw(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, Error>> {
        Box::pin(async move { self.collect(&raw_call(request)).await })
    }

    /// Like [`Self::raw`]; an answer that is not 2xx is an error.
    pub async fn raw_checked(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        self.read(raw_call(request)).await
    }

    /// Posts JSON to the server's address itself, without adding to its path, and reads the answer, which must be 2xx: how
    /// webhooks that are configured by a kubeconfig are called.
    pub async fn post_to_server(
        &self,
        query: &str,
        body: Vec<u8>,
    ) -> Result<Response<Bytes>, Error> {
        let path = if self.inner.base.prefix.is_empty() {
            format!("/?{query}")
        } else {
            format!("?{query}")
        };
        let call = Call::new(Method::POST, path, Target::default())
            .header(ACCEPT, "application/json, */*")
            .body("application/json", body);
        self.read(call).await
    }

    /// Sends any request and returns once the answer's head is there. An answer that is not 2xx is an error.
    pub async fn raw_stream(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<ResponseBody>, Error> {
        self.stream(raw_call(request)).await
    }

    /// Asks the server to switch protocols. The caller sets `Connection` and `Upgrade` and all headers of the new protocol.
    pub async fn raw_upgrade(&self, request: Request<Bytes>) -> Result<Upgraded, Error> {
        let call = raw_call(request);
        let (request, _) = self.build(&call, false).await?;
        match self.inner.transport.upgrade(request).await {
            Ok(UpgradeOutcome::Upgraded(response, io)) => Ok(Upgraded { response, io }),
            Ok(UpgradeOutcome::Refused(response)) => {
                let (parts, body) = response.into_parts();
                let body = body
                    .collect()
                    .await
                    .map(http_body_util::Collected::to_bytes)
                    .unwrap_or_default();
                match self.failure(&call, &parts, &body) {
                    Error::Api(status)
                        if !status.reason.is_empty()
                            && status
                                .details
                                .as_ref()
                                .is_none_or(|details| details.causes.is_empty()) =>
                    {
                        Err(Error::Api(status))
                    }
                    _ => Err(Error::UpgradeRefused {
                        url: self.url(&call),
                        status: parts.status,
                        body: text(&body),
                    }),
                }
            }
            Err(source) => Err(self.transport_error(&call, source)),
        }
    }

    /// `/version` of the server.
    pub async fn server_version(&self) -> Result<serde_json::Value, Error> {
        let response = self
            .read(Call::new(Method::GET, "/version".into(), Target::default()))
            .await?;
        serde_json::from_slice(response.body())
            .map_err(|error| Error::decode("version.Info", error))
    }

    /// Sends a call, reads the answer and checks its code. Boxed, so that the futures around it stay small and do not bring all
    /// this along in code of their own.
    pub(crate) fn read(&self, call: Call) -> BoxFuture<'_, Result<Response<Bytes>, Error>> {
        Box::pin(async move {
            let response = self.collect(&call).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let (parts, body) = response.into_parts();
            Err(self.failure(&call, &parts, &body))
        })
    }

    /// Sends a call and reads the answer, whatever its code.
    async fn collect(&self, call: &Call) -> Result<Response<Bytes>, Error> {
        let started = Instant::now();
        let result = match self.inner.config.timeout {
            None => self.collect_now(call).await,
            Some(timeout) => tokio::time::timeout(timeout, self.collect_now(call))
                .await
                .unwrap_or_else(|_| {
                    Err(Error::Timeout {
                        method: call.method.clone(),
                        url: self.url(call),
                        timeout,
                    })
                }),
        };
        if let Some(metrics) = &self.inner.config.metrics {
            metrics.finished(&call.method, &self.inner.base.authority, started.elapsed());
            if let Ok(response) = &result {
                metrics.sizes(
                    &call.method,
                    &self.inner.base.authority,
                    call.body.len(),
                    response.body().len(),
                );
            }
        }
        result
    }

    async fn collect_now(&self, call: &Call) -> Result<Response<Bytes>, Error> {
        let mut retry = Retry::default();
        loop {
            let response = self
                .attempt(call, !self.inner.config.disable_compression, &mut retry)
                .await?;
            let (parts, body) = response.into_parts();
            // An answer that breaks off is a broken connection too: a GET may be sent again.
            match body.collect().await {
                Ok(body) => {
                    let body = decompress(&parts.headers, body.to_bytes())?;
                    return Ok(Response::from_parts(parts, body));
                }
                Err(error) => {
                    let error = TransportError::new(TransportErrorKind::Broken, error);
                    match retry.after_error(&call.method, &error) {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None => return Err(self.transport_error(call, error)),
                    }
                }
            }
        }
    }

    /// Sends a call and returns when the head of a 2xx answer is there. Not limited by the client's timeout. Boxed as
    /// [`Self::read`] is.
    pub(crate) fn stream(
        &self,
        call: Call,
    ) -> BoxFuture<'_, Result<Response<ResponseBody>, Error>> {
        Box::pin(async move {
            // Streams are not compressed by the server, and decompressing one would delay its events.
            let response = self.attempt(&call, false, &mut Retry::default()).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let (parts, body) = response.into_parts();
            let body = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            Err(self.failure(&call, &parts, &body))
        })
    }

    /// Sends until an answer comes that is not to be retried. Its code may be anything.
    async fn attempt(
        &self,
        call: &Call,
        gzip: bool,
        retry: &mut Retry,
    ) -> Result<Response<ResponseBody>, Error> {
        let host = self.inner.base.authority.as_str();
        loop {
            self.throttle(call).await;
            let (request, exec) = self.build(call, gzip).await?;
            let result = self.inner.transport.send(request).await;
            if let Some(metrics) = &self.inner.config.metrics {
                metrics.attempt(
                    result.as_ref().ok().map(Response::status),
                    &call.method,
                    host,
                    retry.attempts > 0,
                );
            }
            let wait = match result {
                Ok(response) => {
                    if !self.config().ignore_warnings {
                        warn_of(&response);
                    }
                    if response.status() == StatusCode::UNAUTHORIZED
                        && let Some(used) = exec
                    {
                        self.inner.credentials.refused(&used).await;
                    }
                    match retry.after_answer(response.status(), response.headers()) {
                        Some(wait) => wait,
                        None => return Ok(response),
                    }
                }
                Err(error) => match retry.after_error(&call.method, &error) {
                    Some(wait) => wait,
                    None => return Err(self.transport_error(call, error)),
                },
            };
            tracing::debug!(
                url = self.url(call),
                ?wait,
                attempt = retry.attempts,
                "retrying request"
            );
            tokio::time::sleep(wait).await;
        }
    }

    async fn throttle(&self, call: &Call) {
        let Some(limiter) = &self.inner.limiter else {
            return;
        };
        let wait = limiter.reserve();
        if !wait.is_zero() {
            if wait > Duration::from_secs(1) {
                tracing::info!(delay = ?wait, verb = %call.method, url = self.url(call), "Waited before sending request: client-side throttling, not priority and fairness");
            }
            tokio::time::sleep(wait).await;
        }
        if let Some(metrics) = &self.inner.config.metrics {
            metrics.throttled(&call.method, &self.inner.base.authority, wait);
        }
    }

    async fn build(
        &self,
        call: &Call,
        gzip: bool,
    ) -> Result<
        (
            Request<RequestBody>,
            Option<Arc<crate::config::ExecCredentials>>,
        ),
        Error,
    > {
        let inner = &*self.inner;
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = http::Uri::try_from(self.url(call))
            .map_err(|error| Error::InvalidRequest(format!("{}: {error}", call.path)))?;
        let headers = request.headers_mut();
        *headers = call.headers.clone();
        if !headers.contains_key(USER_AGENT) && !inner.user_agent.is_empty() {
            headers.insert(USER_AGENT, inner.user_agent.clone());
        }
        for (name, value) in &inner.impersonation {
            headers.append(name, value.clone());
        }
        if gzip && !headers.contains_key(ACCEPT_ENCODING) {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let exec = inner.credentials.apply(headers).await?;
        Ok((request, exec))
    }

    fn url(&self, call: &Call) -> String {
        let base = &self.inner.base;
        format!(
            "{}://{}{}{}",
            base.scheme(),
            base.authority,
            base.prefix,
            call.path_and_query()
        )
    }

    fn transport_error(&self, call: &Call, source: TransportError) -> Error {
        Error::Transport {
            method: call.method.clone(),
            url: self.url(call),
            source,
        }
    }

    /// The error for an answer that is not 2xx: the server's Status, or one made up.
    fn failure(&self, call: &Call, parts: &http::response::Parts, body: &[u8]) -> Error {
        let media = Media::of(&parts.headers);
        if kind_of(media, body).is_some_and(|(_, kind)| kind == "Status")
            && let Ok(status) = decode::<Status>(media, body)
            && status.status != "Success"
        {
            return Error::Api(Box::new(status));
        }
        let retry_after = retry_after(&parts.headers)
            .map_or(0, |wait| i32::try_from(wait.as_secs()).unwrap_or(i32::MAX));
        let content_type = parts
            .headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("text/plain");
        let message = if content_type.starts_with("text/") {
            text(body)
        } else {
            "unknown".to_owned()
        };
        let Target {
            group,
            resource,
            name,
        } = &call.target;
        Error::unexpected(
            parts.status,
            &call.method,
            group,
            resource,
            name,
            &message,
            retry_after,
        )
    }
}

/// Counts the attempts of one request.
#[derive(Default)]
struct Retry {
    attempts: u32,
}

impl Retry {
    /// How long to wait before asking again, if the server asks us to.
    fn after_answer(&mut self, code: StatusCode, headers: &HeaderMap) -> Option<Duration> {
        if code != StatusCode::TOO_MANY_REQUESTS && !code.is_server_error() {
            return None;
        }
        let wait = retry_after(headers)?;
        self.again().then_some(wait)
    }

    /// How long to wait before asking again after no answer came.
    fn after_error(&mut self, method: &Method, error: &TransportError) -> Option<Duration> {
        (method == Method::GET && error.is_reset() && self.again())
            .then_some(Duration::from_secs(1))
    }

    fn again(&mut self) -> bool {
        self.attempts += 1;
        self.attempts <= MAX_RETRIES
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

fn header_value(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::try_from(text)
        .map_err(|_| Error::InvalidRequest(format!("{text:?} cannot be a header value")))
}

fn raw_call(request: Request<Bytes>) -> Call {
    let (parts, body) = request.into_parts();
    let path = parts
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str)
        .to_owned();
    Call {
        method: parts.method,
        path,
        query: Vec::new(),
        headers: parts.headers,
        body,
        target: Target::default(),
    }
}

fn text(body: &[u8]) -> String {
    let cut = &body[..body.len().min(MAX_ERROR_TEXT)];
    String::from_utf8_lossy(cut).trim().to_owned()
}

/// Logs the warnings the server attaches to an answer, as upstream's default handler does.
fn warn_of(response: &Response<ResponseBody>) {
    for value in response.headers().get_all(http::header::WARNING) {
        let Ok(value) = value.to_str() else { continue };
        // `299 - "text"`, with backslash escapes in the text.
        let Some(quoted) = value
            .strip_prefix("299 ")
            .and_then(|rest| rest.split_once(' '))
            .map(|(_, quoted)| quoted)
        else {
            continue;
        };
        let inner = quoted.trim().trim_start_matches('"').trim_end_matches('"');
        tracing::warn!("{}", inner.replace("\\\"", "\"").replace("\\\\", "\\"));
    }
}

fn decompress(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Error> {
    if headers
        .get(CONTENT_ENCODING)
        .is_none_or(|value| value != "gzip")
    {
        return Ok(body);
    }
    let mut plain = Vec::with_capacity(body.len() * 4);
    flate2::read::MultiGzDecoder::new(&body[..])
        .read_to_end(&mut plain)
        .map_err(|error| Error::decode("gzip response body", error))?;
    Ok(Bytes::from(plain))
}
