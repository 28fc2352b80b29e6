//! Server verification and client certificates. Upstream: `client-go/transport` (tls_cache, cert_rotation, ca_rotation).
//!
//! Files are read when a connection is made, and looked at again at most once in [`CHECK_PERIOD`] while connections are in use: when
//! one changed, new requests go out on new connections made with the new files, and requests under way finish on the old ones.
//!
//! Kept from Go's verifier: a certificate that is itself in the list of authorities is trusted even if it is no authority (the
//! self-signed serving certificate of a kubelet or an aggregated server is pinned this way). Not kept: X.509 v1 certificates of servers.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::pem;
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::time::Instant;

use super::{ConfigError, always, key_pair};

/// How often files are looked at while connections are in use.
pub(crate) const CHECK_PERIOD: Duration = Duration::from_secs(10);

/// Where Go looks for the system's authorities on Linux.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// PEM given as bytes or as a file that may change.
#[derive(Clone, PartialEq)]
pub enum CertificateSource {
    /// The PEM itself.
    Data(Vec<u8>),
    /// A file, read when needed.
    File(PathBuf),
}

impl fmt::Debug for CertificateSource {
    /// Keys may be in here: data is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(data) => write!(f, "Data({} bytes)", data.len()),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl CertificateSource {
    pub(crate) fn read(&self) -> Result<Vec<u8>, ConfigError> {
        match self {
            Self::Data(data) => Ok(data.clone()),
            Self::File(path) => std::fs::read(path).map_err(|error| ConfigError::Read {
                path: path.clone(),
                error,
            }),
        }
    }

    fn name(&self, what: &str) -> String {
        match self {
            Self::Data(_) => what.to_owned(),
            Self::File(path) => format!("{what} {}", path.display()),
        }
    }
}

/// How the server is verified and which certificate we show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsSettings {
    /// Authorities for the server's certificate; `None` means the system's.
    pub ca: Option<CertificateSource>,
    /// The name to expect in the server's certificate instead of its host.
    pub server_name: Option<String>,
    /// Accept any server certificate.
    pub insecure: bool,
    /// Our certificate chain.
    pub client_certificate: Option<CertificateSource>,
    /// Its key: PKCS#8, PKCS#1 or SEC1. May be the same file.
    pub client_key: Option<CertificateSource>,
}

impl TlsSettings {
    pub(super) fn is_configured(&self) -> bool {
        self.insecure || self.ca.is_some() || self.client_certificate.is_some()
    }

    /// A configuration for connections that this crate does not make, from the files as they are now. `alpn` in order of preference.
    pub fn client_config(&self, alpn: &[&[u8]]) -> Result<rustls::ClientConfig, ConfigError> {
        self.build(&self.read()?, alpn, None)
    }

    fn read(&self) -> Result<Material, ConfigError> {
        let read = |source: &Option<CertificateSource>| {
            source.as_ref().map(CertificateSource::read).transpose()
        };
        Ok(Material {
            ca: read(&self.ca)?,
            certificate: read(&self.client_certificate)?,
            key: read(&self.client_key)?,
        })
    }

    /// A configuration for one kind of connection. `alpn` in order of preference; `certificate` is an exec plugin's.
    fn build(
        &self,
        material: &Material,
        alpn: &[&[u8]],
        exec: Option<&(Vec<u8>, Vec<u8>)>,
    ) -> Result<rustls::ClientConfig, ConfigError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls_error = |what: &str, reason: &dyn fmt::Display| ConfigError::Tls {
            what: what.to_owned(),
            reason: reason.to_string(),
        };
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| tls_error("versions", &error))?;
        let verifier: Arc<dyn ServerCertVerifier> = if self.insecure {
            Arc::new(AcceptAll(provider))
        } else {
            let (name, pem) = match (&self.ca, &material.ca) {
                (Some(source), Some(pem)) => (source.name("certificate-authority"), pem.clone()),
                _ => ("system certificate authorities".to_owned(), system_roots()?),
            };
            let roots = root_certificates(&pem).map_err(|reason| ConfigError::Tls {
                what: name.clone(),
                reason,
            })?;
            Arc::new(Verifier::new(roots, provider, &name)?)
        };
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let names = |source: &Option<CertificateSource>, what: &str| match source {
            Some(source) => source.name(what),
            None => what.to_owned(),
        };
        let pair = match (&material.certificate, &material.key, exec) {
            (Some(certificate), Some(key), _) => {
                let what = format!(
                    "{} and {}",
                    names(&self.client_certificate, "client certificate"),
                    names(&self.client_key, "key")
                );
                Some((what, key_pair(certificate, key)))
            }
            (_, _, Some((certificate, key))) => Some((
                "exec plugin's certificate and key".to_owned(),
                key_pair(certificate, key),
            )),
            _ => None,
        };
        let mut config = match pair {
            Some((what, pair)) => {
                let pair = pair.map_err(|error| tls_error(&what, &error))?;
                builder.with_client_cert_resolver(always(pair))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

/// The bytes a configuration was made from; compared to see whether a file changed.
#[derive(Clone, Debug, Default, PartialEq)]
struct Material {
    ca: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

/// The rustls configurations made from [`TlsSettings`], kept until a file or an exec plugin's certificate changes.
#[derive(Debug)]
pub(crate) struct TlsSource {
    settings: TlsSettings,
    current: Mutex<Option<Current>>,
}

#[derive(Debug, Clone)]
struct Current {
    material: Material,
    exec: Option<(Vec<u8>, Vec<u8>)>,
    configs: TlsConfigs,
    checked: Instant,
}

/// One configuration that offers HTTP/2 and one that does not (upgrades need HTTP/1.1).
#[derive(Debug, Clone)]
pub(crate) struct TlsConfigs {
    pub any: Arc<rustls::ClientConfig>,
    pub http1: Arc<rustls::ClientConfig>,
    /// Grows with every change; connections made with a smaller one are not used for new requests.
    pub generation: u64,
}

impl TlsSource {
    pub(crate) fn new(settings: TlsSettings) -> Self {
        Self {
            settings,
            current: Mutex::new(None),
        }
    }

    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, ConfigError> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|error| ConfigError::Tls {
            what: format!("server name {name:?}"),
            reason: error.to_string(),
        })
    }

    /// The configurations to use now. Files that cannot be read keep the last good ones in use.
    pub(crate) fn configs(
        &self,
        exec: Option<(Vec<u8>, Vec<u8>)>,
    ) -> Result<TlsConfigs, ConfigError> {
        let mut current = self.current.lock();
        if let Some(known) = &mut *current {
            if known.exec == exec && known.checked.elapsed() < CHECK_PERIOD {
                return Ok(known.configs.clone());
            }
            known.checked = Instant::now();
            let rebuilt = self.settings.read().and_then(|material| {
                if material == known.material && exec == known.exec {
                    return Ok(None);
                }
                self.make(material, exec, known.configs.generation + 1)
                    .map(Some)
            });
            match rebuilt {
                Ok(None) => {}
                Ok(Some(next)) => {
                    tracing::info!(
                        "Certificate rotation detected, new connections use the new files"
                    );
                    *known = next;
                }
                // A half-written pair is the usual cause; the next look finds it whole.
                Err(error) => {
                    tracing::error!(%error, "loading changed certificates failed, keeping the loaded ones")
                }
            }
            return Ok(known.configs.clone());
        }
        let fresh = self.make(self.settings.read()?, exec, 0)?;
        let configs = fresh.configs.clone();
        *current = Some(fresh);
        Ok(configs)
    }

    fn make(
        &self,
        material: Material,
        exec: Option<(Vec<u8>, Vec<u8>)>,
        generation: u64,
    ) -> Result<Current, ConfigError> {
        let any = Arc::new(
            self.settings
                .build(&material, &[b"h2", b"http/1.1"], exec.as_ref())?,
        );
        let mut http1 = (*any).clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let configs = TlsConfigs {
            any,
            http1: Arc::new(http1),
            generation,
        };
        Ok(Current {
            material,
            exec,
            configs,
            checked: Instant::now(),
        })
    }
}

/// The certificates of a PEM text that can be read, or why there are none. Upstream: rootCertPool of client-go/transport.
pub fn root_certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let is_good = |der: &[u8]| {
        x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty())
    };
    let found: Vec<CertificateDer<'static>> = pem::blocks(text)
        .filter(|block| block.is_certificate() && is_good(&block.contents))
        .map(|block| CertificateDer::from(block.contents))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let mut rest = text;
    let problem = loop {
        if rest.is_empty() {
            break "no valid certificate authority data seen";
        }
        match pem::decode(rest) {
            None => break "unable to parse bytes as PEM block",
            Some((block, _)) if block.is_certificate() => {
                break "failed to parse certificate: x509: malformed certificate";
            }
            Some((_, after)) => rest = after,
        }
    };
    Err(format!("unable to load root certificates: {problem}"))
}

/// The authorities that the system trusts, as PEM.
pub fn system_roots() -> Result<Vec<u8>, ConfigError> {
    SYSTEM_ROOTS
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .ok_or_else(|| ConfigError::Tls {
            what: "system certificate authorities".into(),
            reason: "no bundle was found: set certificate-authority in the kubeconfig".into(),
        })
}

/// WebPKI, plus trust in a certificate that is listed itself.
#[derive(Debug)]
struct Verifier {
    webpki: Option<Arc<WebPkiServerVerifier>>,
    listed: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(
        listed: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
        name: &str,
    ) -> Result<Self, ConfigError> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(listed.iter().cloned());
        let webpki = if store.is_empty() {
            None
        } else {
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
                    .build();
            Some(built.map_err(|error| ConfigError::Tls {
                what: name.to_owned(),
                reason: error.to_string(),
            })?)
        };
        Ok(Self {
            webpki,
            listed,
            provider,
        })
    }

    fn verify_listed(
        &self,
        end_entity: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Option<Result<(), rustls::Error>> {
        if !self
            .listed
            .iter()
            .any(|listed| listed.as_ref() == end_entity.as_ref())
        {
            return None;
        }
        Some((|| {
            let (_, parsed) = x509_parser::parse_x509_certificate(end_entity.as_ref())
                .map_err(|_| CertificateError::BadEncoding)?;
            let now = i64::try_from(now.as_secs()).map_err(|_| CertificateError::BadEncoding)?;
            if now < parsed.validity().not_before.timestamp() {
                return Err(CertificateError::NotValidYet.into());
            }
            if now > parsed.validity().not_after.timestamp() {
                return Err(CertificateError::Expired.into());
            }
            rustls::client::verify_server_name(
                &ParsedCertificate::try_from(end_entity)?,
                server_name,
            )
        })())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = match &self.webpki {
            Some(webpki) => webpki.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match verdict {
            Ok(verified) => Ok(verified),
            Err(error) => match self.verify_listed(end_entity, server_name, now) {
                Some(verdict) => verdict.map(|()| ServerCertVerified::assertion()),
                None => Err(error),
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// `insecure-skip-tls-verify`: any certificate, but the server must hold its key.
#[derive(Debug)]
struct AcceptAll(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
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
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_certificates_are_found_among_others() {
        let good = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let good = good.cert.pem().replace("\r\n", "\n");
        let malformed = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";
        let broken = "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n";
        let other = "-----BEGIN KEY-----\nYWJj\n-----END KEY-----\n";
        let with_header = good.replacen("-----\n", "-----\na: b\n\n", 1);
        let found = |text: &str| root_certificates(text.as_bytes()).map(|found| found.len());
        for bad in [malformed, broken, other, &with_header, "text\n"] {
            assert_eq!(found(&format!("{bad}{good}{bad}")), Ok(1), "{bad}");
            assert_eq!(found(&format!("{good}{bad}{good}")), Ok(2), "{bad}");
        }
        const NO_BLOCK: &str = "unable to parse bytes as PEM block";
        const NONE: &str = "no valid certificate authority data seen";
        const MALFORMED: &str = "failed to parse certificate: x509: malformed certificate";
        for (text, want) in [
            ("nonsense".to_owned(), NO_BLOCK),
            (broken.to_owned(), NO_BLOCK),
            (other.to_owned(), NONE),
            (with_header, NONE),
            (format!("{other}text"), NO_BLOCK),
            (malformed.to_owned(), MALFORMED),
            (format!("{malformed}{broken}"), MALFORMED),
            (format!("{broken}{other}{malformed}"), MALFORMED),
        ] {
            let want = format!("unable to load root certificates: {want}");
            assert_eq!(found(&text), Err(want), "{text}");
        }
    }
}
