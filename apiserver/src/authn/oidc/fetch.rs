//! Documents of issuers: what discovery, key sets and distributed claims are fetched with. Upstream: the http.Client that
//! apiserver/plugin/pkg/authenticator/token/oidc makes.
//!
//! Fetches are rare, so each has a connection of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::config::{CertificateSource, TlsSettings, handshake_error};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;

use crate::egress::Dialer;

/// For everything: connecting, the request, the answer and redirects.
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 10;
/// An issuer cannot make the server hold more than this.
const MAX_BODY: usize = 8 << 20;
const USER_AGENT: HeaderValue = HeaderValue::from_static("Go-http-client/1.1");

/// What was answered.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Document {
    /// Code and reason, as an answer's first line has them.
    pub(super) fn status_line(&self) -> String {
        let reason = self.status.canonical_reason().unwrap_or_default();
        format!("{} {reason}", self.status.as_u16())
    }

    pub(super) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// What the body says as JSON, in the words of go-oidc where it does not.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&serde_json::Value) -> Result<T, String>,
    ) -> Result<T, String> {
        let result = crate::go_json::parse(&self.body).and_then(|json| read(&json));
        result.map_err(|error| {
            let kind = self
                .headers
                .get(header::CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            if kind.split(';').next().unwrap_or_default().trim() == "application/json" {
                format!(
                    "got Content-Type = application/json, but could not unmarshal as JSON: {error}"
                )
            } else {
                format!(
                    "expected Content-Type = application/json, got {}: {error}",
                    apimachinery::quote::quote(kind)
                )
            }
        })
    }
}

/// Fetches from servers that certain authorities vouch for.
#[derive(Clone)]
pub(super) struct Fetcher {
    /// Without any authority nothing can be fetched, which is no reason not to start.
    tls: Result<Arc<rustls::ClientConfig>, String>,
    via: Dialer,
}

impl Fetcher {
    /// With the authorities in a PEM text, or with the system's where it is empty.
    pub(super) fn new(authorities: &str, via: Dialer) -> Self {
        let settings = TlsSettings {
            ca: (!authorities.is_empty())
                .then(|| CertificateSource::Data(authorities.as_bytes().to_vec())),
            ..TlsSettings::default()
        };
        let tls = settings.client_config(&[b"http/1.1"]);
        Self {
            tls: tls.map(Arc::new).map_err(|error| error.to_string()),
            via,
        }
    }

    /// Follows redirects, and gives the answer whatever its code.
    pub(super) async fn get(&self, url: &str, bearer: &str) -> Result<Document, String> {
        let fetched = tokio::time::timeout(TIMEOUT, self.follow(url, bearer)).await;
        let result = fetched.unwrap_or_else(|_| {
            Err(
                "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                    .to_owned(),
            )
        });
        result.map_err(|error| format!("Get {}: {error}", apimachinery::quote::quote(url)))
    }

    async fn follow(&self, url: &str, bearer: &str) -> Result<Document, String> {
        let mut url = url::Url::parse(url).map_err(|error| error.to_string())?;
        let first_host = url.host_str().map(str::to_owned);
        for _ in 0..MAX_REDIRECTS {
            // As Go, a token does not follow a redirect to another host.
            let same_host = url.host_str() == first_host.as_deref();
            let answer = self.ask(&url, if same_host { bearer } else { "" }).await?;
            let (head, body) = answer.into_parts();
            let target = matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308)
                .then(|| head.headers.get(header::LOCATION)?.to_str().ok())
                .flatten();
            if let Some(target) = target {
                url = url.join(target).map_err(|error| {
                    format!("failed to parse Location header {target:?}: {error}")
                })?;
                continue;
            }
            let body = Limited::new(body, MAX_BODY).collect().await;
            return Ok(Document {
                status: head.status,
                headers: head.headers,
                body: body
                    .map_err(|error| format!("unable to read response body: {error}"))?
                    .to_bytes(),
            });
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    }

    async fn ask(&self, url: &url::Url, bearer: &str) -> Result<Response<Incoming>, String> {
        let host = match url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(address)) => address.to_string(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            None => return Err("http: no Host in request URL".to_owned()),
        };
        let port = url.port_or_known_default().unwrap_or(443);
        let shown = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let stream = self.via.dial(&host, port).await;
        let stream = stream.map_err(|error| error.text(&format!("{shown}:{port}")))?;
        let mut request = Request::get(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(
                header::HOST,
                match url.port() {
                    Some(port) => format!("{shown}:{port}"),
                    None => shown,
                },
            )
            .header(header::USER_AGENT, USER_AGENT)
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        if !bearer.is_empty() {
            let mut value = HeaderValue::try_from(format!("Bearer {bearer}")).map_err(|_| {
                "net/http: invalid header field value for \"Authorization\"".to_owned()
            })?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        match url.scheme() {
            "https" => {
                let tls = self.tls.clone()?;
                let name = match host.parse::<IpAddr>() {
                    Ok(address) => ServerName::IpAddress(address.into()),
                    Err(_) => ServerName::try_from(host).map_err(|error| error.to_string())?,
                };
                let stream = tokio_rustls::TlsConnector::from(tls)
                    .connect(name, stream)
                    .await
                    .map_err(|error| handshake_error(&error))?;
                exchange(stream, request).await
            }
            "http" => exchange(stream, request).await,
            other => Err(format!("unsupported protocol scheme {other:?}")),
        }
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: hyper::Error| {
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            "EOF".to_owned()
        } else {
            error.to_string()
        }
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    // Ends with the answer: the connection is not kept.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "A connection to an issuer ended");
        }
    });
    sender.send_request(request).await.map_err(text)
}
