//! One HTTP GET, as probes and lifecycle hooks make it. Upstream: `pkg/probe/http`.
//!
//! Each request has its own connection. Certificates are not checked: the kubelet asks a container of its own node whether it
//! lives, and containers have certificates of whatever authority. Redirects are followed on the same host only.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use api_types::IntOrString;
use api_types::core::v1::{Container, HTTPGetAction};
use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use url::Url;

/// Bytes of an answer that are read.
const MAX_BODY: usize = 10 * 1024;
const MAX_REDIRECTS: usize = 10;

/// Checks possession of the key only.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn tls() -> tokio_rustls::TlsConnector {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default protocol versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        Arc::new(config)
    });
    tokio_rustls::TlsConnector::from(config.clone())
}

/// The port a probe means: a number, or the name of one of the container's ports.
///
/// # Errors
/// When there is no such port.
pub fn resolve_port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => match container.ports.iter().find(|port| port.name == *name) {
            Some(port) => port.container_port,
            None => name.parse().map_err(|_| {
                format!(
                    "couldn't find port: {name:?} in container {}",
                    container.name
                )
            })?,
        },
    };
    u16::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

/// A request, ready to be sent.
#[derive(Clone, Debug)]
pub struct Get {
    /// Where to.
    pub url: Url,
    /// Headers, those of the spec and the default ones.
    pub headers: HeaderMap,
}

/// Host in a URL: IPv6 addresses in brackets.
fn bracketed(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => host.to_owned(),
    }
}

/// The request for an httpGet action.
///
/// # Errors
/// When port, path or headers are not usable.
pub fn get_request(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
    purpose: &str,
) -> Result<Get, String> {
    let scheme = if action.scheme.is_empty() {
        "http".to_owned()
    } else {
        action.scheme.to_lowercase()
    };
    let host = if action.host.is_empty() {
        pod_ip
    } else {
        &action.host
    };
    let port = resolve_port(&action.port, container)?;
    let path = if action.path.starts_with('/') {
        action.path.clone()
    } else {
        format!("/{}", action.path)
    };
    let text = format!("{scheme}://{}:{port}{path}", bracketed(host));
    let url = Url::parse(&text).map_err(|error| format!("parse {text:?}: {error}"))?;
    let mut headers = HeaderMap::new();
    for header in &action.http_headers {
        let name =
            HeaderName::from_bytes(header.name.as_bytes()).map_err(|error| error.to_string())?;
        headers.append(
            name,
            HeaderValue::from_str(&header.value).map_err(|error| error.to_string())?,
        );
    }
    if !headers.contains_key(USER_AGENT) {
        let agent = format!("kube-{purpose}/1.36");
        headers.insert(
            USER_AGENT,
            HeaderValue::from_str(&agent).map_err(|error| error.to_string())?,
        );
    }
    match headers.get(ACCEPT) {
        None => {
            headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        }
        // An empty one in the spec means: send none.
        Some(accept) if accept.is_empty() => {
            headers.remove(ACCEPT);
        }
        Some(_) => {}
    }
    Ok(Get { url, headers })
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The first part of the body.
    pub body: String,
}

/// Why there was no answer.
#[derive(Clone, Debug)]
pub struct GetError {
    /// In Go's words.
    pub message: String,
    /// The server speaks HTTP on a port that HTTPS was expected on.
    pub plain_http: bool,
}

impl Get {
    /// Sends the request and follows redirects on the same host.
    ///
    /// # Errors
    /// When there is no answer within the limit.
    pub async fn send(&self, limit: Option<Duration>) -> Result<Answer, GetError> {
        let fail = |message: String, plain_http| GetError {
            message: format!("Get {:?}: {message}", self.url.as_str()),
            plain_http,
        };
        let work = self.follow();
        let result = match limit {
            Some(limit) => match tokio::time::timeout(limit, work).await {
                Ok(result) => result,
                Err(_) => {
                    let text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
                    return Err(fail(text.to_owned(), false));
                }
            },
            None => work.await,
        };
        result.map_err(|(message, plain)| fail(message, plain))
    }

    async fn follow(&self) -> Result<Answer, (String, bool)> {
        let mut url = self.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let (answer, location) = self.once(&url).await?;
            let Some(next) = location.and_then(|location| url.join(&location).ok()) else {
                return Ok(answer);
            };
            if next.host() != self.url.host() {
                return Ok(answer);
            }
            url = next;
        }
        Err(("stopped after 10 redirects".to_owned(), false))
    }

    async fn once(&self, url: &Url) -> Result<(Answer, Option<String>), (String, bool)> {
        let host = url
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        let stream = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|error| {
                (
                    format!(
                        "dial tcp {}:{port}: connect: {}",
                        bracketed(&host),
                        go_io_error(&error)
                    ),
                    false,
                )
            })?;
        if url.scheme() == "https" {
            let name =
                ServerName::try_from(host.clone()).map_err(|error| (error.to_string(), false))?;
            let stream = tls().connect(name, stream).await.map_err(|error| {
                // Plain HTTP answers a hello with text, which is no TLS record.
                let plain = error.to_string().contains("InvalidContentType")
                    || error.to_string().contains("corrupt message");
                if plain {
                    (
                        "http: server gave HTTP response to HTTPS client".to_owned(),
                        true,
                    )
                } else {
                    (error.to_string(), false)
                }
            })?;
            self.exchange(url, TokioIo::new(stream)).await
        } else {
            self.exchange(url, TokioIo::new(stream)).await
        }
    }

    async fn exchange<T>(
        &self,
        url: &Url,
        io: T,
    ) -> Result<(Answer, Option<String>), (String, bool)>
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let text = |error: &dyn std::fmt::Display| (error.to_string(), false);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .map_err(|error| text(&error))?;
        let task = tokio::spawn(connection);
        let mut target = url.path().to_owned();
        if let Some(query) = url.query() {
            target = format!("{target}?{query}");
        }
        let mut request = Request::get(target)
            .body(Empty::<Bytes>::new())
            .map_err(|error| text(&error))?;
        *request.headers_mut() = self.headers.clone();
        if !self.headers.contains_key(HOST) {
            let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
            request.headers_mut().insert(
                HOST,
                HeaderValue::from_str(host).map_err(|error| text(&error))?,
            );
        }
        request
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
        let outcome = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| text(&error))?;
            let (parts, mut incoming) = response.into_parts();
            let location = parts.status.is_redirection().then(|| {
                parts
                    .headers
                    .get(LOCATION)
                    .and_then(|value| value.to_str().ok())
            });
            let location = location.flatten().map(str::to_owned);
            let mut body = Vec::new();
            while body.len() < MAX_BODY {
                match incoming.frame().await {
                    Some(Ok(frame)) => body.extend(frame.into_data().unwrap_or_default()),
                    Some(Err(error)) => return Err(text(&error)),
                    None => break,
                }
            }
            body.truncate(MAX_BODY);
            Ok((
                Answer {
                    status: parts.status,
                    body: String::from_utf8_lossy(&body).into_owned(),
                },
                location,
            ))
        }
        .await;
        task.abort();
        outcome
    }
}

/// System errors as Go words them.
#[must_use]
pub fn go_io_error(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        ErrorKind::HostUnreachable => "no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{ContainerPort, HTTPHeader};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn container() -> Container {
        Container {
            name: "c".into(),
            ports: vec![ContainerPort {
                name: "web".into(),
                container_port: 8080,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn ports() {
        let resolve = |port: IntOrString| resolve_port(&port, &container());
        assert_eq!(resolve(IntOrString::Int(80)), Ok(80));
        assert_eq!(resolve(IntOrString::String("web".into())), Ok(8080));
        assert_eq!(resolve(IntOrString::String("81".into())), Ok(81));
        assert!(resolve(IntOrString::String("nope".into())).is_err());
        assert_eq!(
            resolve(IntOrString::Int(0)),
            Err("invalid port number: 0".into())
        );
    }

    #[test]
    fn requests() {
        let action = HTTPGetAction {
            path: "/healthz?x=1".into(),
            port: IntOrString::Int(80),
            ..Default::default()
        };
        let get = get_request(&action, &container(), "fd00::1", "probe").expect("request");
        assert_eq!(get.url.as_str(), "http://[fd00::1]/healthz?x=1");
        assert_eq!(get.headers[USER_AGENT], "kube-probe/1.36");
        assert_eq!(get.headers[ACCEPT], "*/*");
        let header = |name: &str, value: &str| HTTPHeader {
            name: name.into(),
            value: value.into(),
        };
        let action = HTTPGetAction {
            http_headers: vec![header("Accept", ""), header("user-agent", "x")],
            ..action
        };
        let get = get_request(&action, &container(), "10.0.0.1", "probe").expect("request");
        assert!(!get.headers.contains_key(ACCEPT));
        assert_eq!(get.headers[USER_AGENT], "x");
    }

    async fn server(answer: String) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    async fn get(port: u16) -> Result<Answer, GetError> {
        let action = HTTPGetAction {
            path: "/".into(),
            port: IntOrString::Int(port.into()),
            ..Default::default()
        };
        get_request(&action, &container(), "127.0.0.1", "probe")
            .expect("request")
            .send(Some(Duration::from_secs(5)))
            .await
    }

    #[tokio::test]
    async fn answers() {
        let port = server("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy".into()).await;
        let answer = get(port).await.expect("answer");
        assert_eq!(
            (answer.status.as_u16(), answer.body.as_str()),
            (503, "busy")
        );
    }

    #[tokio::test]
    async fn foreign_redirects_are_not_followed() {
        let port = server(
            "HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n"
                .into(),
        )
        .await;
        assert_eq!(get(port).await.expect("answer").status.as_u16(), 302);
    }

    #[tokio::test]
    async fn refused_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        drop(listener);
        let error = get(port).await.expect_err("refused");
        assert_eq!(
            error.message,
            format!(
                "Get \"http://127.0.0.1:{port}/\": dial tcp 127.0.0.1:{port}: connect: connection refused"
            )
        );
    }
}
