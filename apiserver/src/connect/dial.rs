//! Connections to kubelets, pods and services: one per request, HTTP/1.1, so that every one of them can be upgraded.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apimachinery::os_error;
use client::config::{always, handshake_error, key_pair};
use component_base::auth::x509::CaBundle;
use component_base::serving::Body;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;

use crate::config::KubeletConfig;
use crate::egress::{Dialer, Stream};
use crate::webhook::certificates::Faults;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Certificate files are read again when this much time passed.
const RELOAD: Duration = Duration::from_secs(60);

/// How the other side is spoken to.
#[derive(Clone)]
pub(super) enum Security {
    Plain,
    Tls(Arc<ClientConfig>),
}

/// Where a connection goes.
#[derive(Clone)]
pub(super) struct Target {
    pub security: Security,
    pub host: String,
    /// Addresses that the host was found to have when they were judged: where a straight connection goes. Empty when nobody looked.
    pub found: Vec<IpAddr>,
    pub port: u16,
    /// The way there.
    pub via: Dialer,
}

impl Target {
    /// `host:port`.
    pub(super) fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    pub(super) fn scheme(&self) -> &'static str {
        match self.security {
            Security::Plain => "http",
            Security::Tls(_) => "https",
        }
    }
}

/// No answer came. The text is what upstream's clients show.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct DialError {
    text: String,
    /// What the handshake failed for.
    pub(crate) faults: Faults,
}

impl DialError {
    pub(crate) fn new(text: impl std::fmt::Display) -> DialError {
        DialError {
            text: text.to_string(),
            faults: Faults::default(),
        }
    }
}

type Made = (Instant, Arc<ClientConfig>, Arc<ClientConfig>);

/// TLS settings towards kubelets and towards everything else.
pub(super) struct TlsConfigs {
    kubelet: Option<KubeletConfig>,
    provider: Arc<CryptoProvider>,
    /// When they were read; checking the kubelet's certificate, and not.
    made: Mutex<Option<Made>>,
    any: Arc<ClientConfig>,
}

impl TlsConfigs {
    pub(super) fn new(kubelet: &KubeletConfig) -> Result<TlsConfigs, component_base::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let any = Arc::new(unverified(&provider)?.with_no_client_auth());
        let configs = TlsConfigs {
            kubelet: Some(kubelet.clone()),
            made: Mutex::new(None),
            any,
            provider,
        };
        // Wrong files are told at the start.
        configs.kubelet(false)?;
        Ok(configs)
    }

    /// Towards pods and services: nobody vouches for their certificates.
    pub(super) fn any(&self) -> Arc<ClientConfig> {
        self.any.clone()
    }

    /// Towards kubelets, with our certificate. `insecure` skips the check of theirs.
    pub(super) fn kubelet(
        &self,
        insecure: bool,
    ) -> Result<Arc<ClientConfig>, component_base::Error> {
        let mut made = self.made.lock();
        if made.as_ref().is_none_or(|(at, ..)| at.elapsed() > RELOAD) {
            match self.read() {
                Ok((checked, unchecked)) => *made = Some((Instant::now(), checked, unchecked)),
                // What was read before goes on being used.
                Err(error) if made.is_some() => {
                    tracing::error!(error = %error, "Could not read the kubelet client certificate again");
                    if let Some(made) = made.as_mut() {
                        made.0 = Instant::now();
                    }
                }
                Err(error) => return Err(error),
            }
        }
        match &*made {
            Some((_, checked, unchecked)) => Ok(if insecure {
                unchecked.clone()
            } else {
                checked.clone()
            }),
            None => Err("no TLS settings for kubelets".into()),
        }
    }

    fn read(&self) -> Result<(Arc<ClientConfig>, Arc<ClientConfig>), component_base::Error> {
        let Some(kubelet) = &self.kubelet else {
            return Ok((self.any.clone(), self.any.clone()));
        };
        let identity = || -> Result<_, component_base::Error> {
            match (&kubelet.client_certificate, &kubelet.client_key) {
                (Some(certificate), Some(key)) => {
                    let pair = key_pair(&read(certificate)?, &read(key)?).map_err(|error| {
                        format!(
                            "kubelet client certificate {} and key {}: {error}",
                            certificate.display(),
                            key.display()
                        )
                    })?;
                    Ok(Some(pair))
                }
                _ => Ok(None),
            }
        };
        let finish =
            |builder: rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>| {
                Ok::<_, component_base::Error>(Arc::new(match identity()? {
                    Some(pair) => builder.with_client_cert_resolver(always(pair)),
                    None => builder.with_no_client_auth(),
                }))
            };
        let unchecked = finish(unverified(&self.provider)?)?;
        let checked = match &kubelet.certificate_authority {
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate)?;
                }
                finish(
                    ClientConfig::builder_with_provider(self.provider.clone())
                        .with_safe_default_protocol_versions()?
                        .with_root_certificates(roots),
                )?
            }
            None => unchecked.clone(),
        };
        Ok((checked, unchecked))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, component_base::Error> {
    std::fs::read(path).map_err(|error| os_error::on_reading(path, &error).into())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, component_base::Error> {
    let bundle = CaBundle::from_pem(&read(path)?).map_err(|error| {
        format!(
            "unable to load root certificates: kubelet certificate authority {}: {error}",
            path.display()
        )
    })?;
    Ok(bundle.certificates().into_iter().map(Into::into).collect())
}

fn unverified(
    provider: &Arc<CryptoProvider>,
) -> Result<
    rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>,
    component_base::Error,
> {
    Ok(ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider.clone()))))
}

/// Takes every server certificate whose key the server has. Upstream: InsecureSkipVerify.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Sends a request whose URI is a path, and returns once the head of the answer is there.
pub(super) async fn send(
    target: &Target,
    mut request: Request<Body>,
) -> Result<Response<Incoming>, DialError> {
    let host = HeaderValue::try_from(target.authority()).map_err(DialError::new)?;
    request.headers_mut().insert(header::HOST, host);
    let connected = async || {
        let stream = target
            .via
            .dial_found(&target.host, &target.found, target.port);
        let stream = stream.await;
        stream.map_err(|error| DialError::new(error.text(&target.authority())))
    };
    match &target.security {
        Security::Plain => exchange(connected().await?, request).await,
        Security::Tls(config) => {
            let name = match target.host.parse::<IpAddr>() {
                Ok(address) => ServerName::IpAddress(address.into()),
                Err(_) => ServerName::try_from(target.host.clone())
                    .map_err(|error| DialError::new(format!("dial tcp: {error}")))?,
            };
            let stream = handshake(connected().await?, name, config.clone()).await?;
            exchange(stream, request).await
        }
    }
}

/// Connects to a server that has to be called `name`, whatever its address.
pub(crate) async fn secure(
    via: &Dialer,
    host: &str,
    port: u16,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<Stream>, DialError> {
    let stream = via.dial(host, port).await;
    let stream = stream.map_err(|error| DialError::new(error.text(&authority(host, port))))?;
    handshake(stream, name, config).await
}

async fn handshake(
    stream: Stream,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<Stream>, DialError> {
    let handshake = tokio_rustls::TlsConnector::from(config).connect(name, stream);
    tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
        .await
        .map_err(|_| DialError::new("net/http: TLS handshake timeout"))?
        .map_err(|error| DialError {
            text: handshake_error(&error),
            faults: Faults::of_failure(&error),
        })
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Sends one request over a connection of its own, which may be upgraded.
pub(crate) async fn exchange<S>(
    stream: S,
    request: Request<Body>,
) -> Result<Response<Incoming>, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| DialError::new(error);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(error = %error, "A relayed connection ended with an error");
        }
    });
    sender.send_request(request).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refused_connections_are_told_in_gos_words() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let target = Target {
            security: Security::Plain,
            host: "127.0.0.1".to_owned(),
            found: Vec::new(),
            port,
            via: Dialer::default(),
        };
        let error = send(&target, Request::new(Body::empty()))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("dial tcp 127.0.0.1:{port}: connect: connection refused")
        );
    }

    /// CVE-2020-8562: the name of a host was looked up again after its address had been judged.
    #[tokio::test]
    async fn cve_2020_8562_names_are_not_looked_up_again() {
        use tokio::io::AsyncWriteExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target {
            security: Security::Plain,
            // A name that nobody has (RFC 6761).
            host: "node.invalid".to_owned(),
            found: vec![IpAddr::from([127, 0, 0, 1])],
            port: listener.local_addr().unwrap().port(),
            via: Dialer::default(),
        };
        let answered = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        });
        let answer = send(&target, Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.status(), 204);
        answered.await.unwrap();
        let unjudged = Target {
            found: Vec::new(),
            ..target
        };
        assert!(send(&unjudged, Request::new(Body::empty())).await.is_err());
    }
}
