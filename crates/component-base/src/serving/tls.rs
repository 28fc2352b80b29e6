//! TLS: certificates that can be replaced while serving, and client certificates that are asked for but not judged.
//! Upstream: apiserver/pkg/server/dynamiccertificates, component-base/cli/flag/ciphersuites_flag.go.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use apimachinery::validation::name_is_dns_subdomain;
use arc_swap::{ArcSwap, ArcSwapOption};
use client::config::{KeyPairError, key_pair};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, DigitallySignedStruct, DistinguishedName, NamedGroup, ServerConfig,
    SignatureScheme,
};

use super::ServingError;

/// A serving certificate that can be replaced while connections are made. Clones share the certificate.
#[derive(Clone, Debug, Default)]
pub struct CertificateSlot {
    current: Arc<ArcSwapOption<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    certificate_pem: Vec<u8>,
    key_pem: Vec<u8>,
    key: Arc<CertifiedKey>,
    names: Vec<String>,
}

impl CertificateSlot {
    /// Puts a certificate chain and its key in place. Returns whether it differs from what was there.
    pub fn set_pem(&self, certificate_pem: &[u8], key_pem: &[u8]) -> Result<bool, ServingError> {
        self.replace(certificate_pem, key_pem)
            .map_err(|error| ServingError::Certificate(error.to_string()))
    }

    pub(super) fn replace(
        &self,
        certificate_pem: &[u8],
        key_pem: &[u8],
    ) -> Result<bool, KeyPairError> {
        let current = self.current.load();
        if current
            .as_ref()
            .is_some_and(|old| old.certificate_pem == certificate_pem && old.key_pem == key_pem)
        {
            return Ok(false);
        }
        let key = key_pair(certificate_pem, key_pem)?;
        let names = key.cert.first().map(names_of).unwrap_or_default();
        self.current.store(Some(Arc::new(Loaded {
            certificate_pem: certificate_pem.to_vec(),
            key_pem: key_pem.to_vec(),
            key: Arc::new(key),
            names,
        })));
        Ok(true)
    }

    /// The PEM of the chain in place.
    pub fn certificate_pem(&self) -> Option<Vec<u8>> {
        self.current
            .load()
            .as_ref()
            .map(|loaded| loaded.certificate_pem.clone())
    }

    /// Whether there is a certificate to serve with.
    pub fn is_set(&self) -> bool {
        self.current.load().is_some()
    }

    fn key(&self) -> Option<Arc<CertifiedKey>> {
        self.current
            .load()
            .as_ref()
            .map(|loaded| loaded.key.clone())
    }
}

/// The names a certificate is chosen by: its common name, unless that is an address or no name of a host, and its DNS names. Its
/// addresses are not among them. Upstream: dynamiccertificates getCertificateNames.
fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    use x509_parser::extensions::GeneralName;
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let is_host = |name: &&str| {
        let host = name.strip_prefix("*.").unwrap_or(name);
        name.parse::<IpAddr>().is_err()
            && (*name == "*" || name_is_dns_subdomain(host, false).is_empty())
    };
    let mut common_names = certificate.subject().iter_common_name();
    let common_name = common_names.next().and_then(|name| name.as_str().ok());
    let common_name = common_name.filter(is_host);
    let mut names: Vec<String> = common_name
        .map(str::to_ascii_lowercase)
        .into_iter()
        .collect();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    names
}

/// Certificates by server name, and one for everybody else.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    pub(super) default: CertificateSlot,
    /// In order of preference; names empty means those in the certificate.
    pub(super) by_name: Vec<(Vec<String>, CertificateSlot)>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.select(hello.server_name().unwrap_or_default())
            .or_else(|| self.default.key())
            .or_else(|| self.by_name.first()?.1.key())
    }
}

impl Certificates {
    /// Exact names before wildcards, and names given on the command line before names in certificates.
    fn select(&self, wanted: &str) -> Option<Arc<CertifiedKey>> {
        if wanted.is_empty() {
            return None;
        }
        self.named(wanted).or_else(|| {
            let (_, parent) = wanted.split_once('.')?;
            self.named(&format!("*.{parent}"))
        })
    }

    fn named(&self, wanted: &str) -> Option<Arc<CertifiedKey>> {
        self.explicitly_named(wanted).or_else(|| {
            let unnamed = self.by_name.iter().filter(|(names, _)| names.is_empty());
            unnamed
                .filter_map(|(_, slot)| slot.current.load_full())
                .find(|loaded| is_among(&loaded.names, wanted))
                .map(|loaded| loaded.key.clone())
        })
    }

    fn explicitly_named(&self, wanted: &str) -> Option<Arc<CertifiedKey>> {
        let mut found = self
            .by_name
            .iter()
            .filter(|(names, _)| is_among(names, wanted));
        found.find_map(|(_, slot)| slot.key())
    }
}

fn is_among(names: &[String], wanted: &str) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(wanted))
}

/// The settings for connections that come from now on.
#[derive(Clone, Debug)]
pub(super) struct CurrentTls {
    pub(super) config: Arc<ArcSwap<ServerConfig>>,
    pub(super) certificates: Arc<Certificates>,
}

impl CurrentTls {
    /// The settings for a connection to this address. Clients that connect to an address name no server, since SNI takes
    /// none: a certificate that is for the address by name is theirs. Upstream: dynamiccertificates GetConfigForClient.
    ///
    /// A client that would rather not have AES, since its processor has no instructions for it, gets the suite that it names
    /// first; all others the one that the server prefers. Upstream: Go's crypto/tls.
    pub(super) fn at(&self, address: IpAddr, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let mut config = self.config.load_full();
        let rank = hello.cipher_suites().iter().find_map(preference);
        if rank.is_none_or(|rank| rank >= PREFERENCE_WITH_AES) {
            Arc::make_mut(&mut config).ignore_client_order = false;
        }
        if let Some(for_address) = self.certificates.explicitly_named(&address.to_string()) {
            Arc::make_mut(&mut config).cert_resolver = Arc::new(AtAddress {
                certificates: self.certificates.clone(),
                for_address,
            });
        }
        config
    }
}

/// Certificates where one is for those who name no server.
#[derive(Debug)]
struct AtAddress {
    certificates: Arc<Certificates>,
    for_address: Arc<CertifiedKey>,
}

impl ResolvesServerCert for AtAddress {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.server_name().is_none() {
            return Some(self.for_address.clone());
        }
        self.certificates.resolve(hello)
    }
}

/// Asks for a client certificate and checks that the client has its key, nothing else: which CAs count is decided by
/// the authenticators, whose bundles change while connections live.
#[derive(Debug)]
struct PossessionOnly {
    provider: Arc<CryptoProvider>,
    /// Clients with several certificates choose by these.
    accepted: Vec<DistinguishedName>,
}

impl PossessionOnly {
    /// rustls's own check refuses X.509 version 1 certificates, which upstream takes; so the key is taken out by hand.
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let bad_encoding =
            || rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|_| bad_encoding())?;
        let key = parsed.public_key();
        let algorithm = crate::auth::x509::algorithm_bytes(key.raw).ok_or_else(bad_encoding)?;
        let (_, candidates) = self
            .provider
            .signature_verification_algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme)
            .ok_or(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let valid = candidates.iter().any(|candidate| {
            candidate.public_key_alg_id().as_ref() == algorithm
                && candidate
                    .verify_signature(&key.subject_public_key.data, message, signed.signature())
                    .is_ok()
        });
        if valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(
                rustls::CertificateError::BadSignature,
            ))
        }
    }
}

impl ClientCertVerifier for PossessionOnly {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.accepted
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if matches!(
            signed.scheme,
            SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
        ) {
            return Err(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        self.verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// What the TLS flags ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsSettings {
    pub(super) cipher_suites: Vec<String>,
    pub(super) min_version: String,
    /// Go's CurveIDs.
    pub(super) curves: Vec<i32>,
    pub(super) disable_http2: bool,
    pub(super) request_client_certificate: bool,
    /// Files with CAs that client certificates may be of, in PEM. What cannot be read is left out: authenticators tell of it.
    pub(super) client_cas: Vec<PathBuf>,
}

const VERSIONS: &[&str] = &[
    "VersionTLS10",
    "VersionTLS11",
    "VersionTLS12",
    "VersionTLS13",
];

/// Names `--tls-min-version` takes.
pub fn tls_version_names() -> &'static [&'static str] {
    VERSIONS
}

/// Go's name, and the suite where this implementation has it. Suites without forward secrecy or with CBC are not served.
const SUITES: &[(&str, Option<CipherSuite>)] = &[
    (
        "TLS_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS13_AES_128_GCM_SHA256),
    ),
    (
        "TLS_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS13_AES_256_GCM_SHA384),
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", None),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", None),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", None),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", None),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", None),
    ("TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", None),
    ("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", None),
    ("TLS_ECDHE_RSA_WITH_RC4_128_SHA", None),
    ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", None),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_RSA_WITH_AES_128_CBC_SHA256", None),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", None),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", None),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", None),
    ("TLS_RSA_WITH_RC4_128_SHA", None),
];

/// The suites that are served, best first. Upstream: the order of Go's crypto/tls.
const PREFERENCE: [CipherSuite; 9] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];
/// How many of them are AES.
const PREFERENCE_WITH_AES: usize = 6;

/// How many suites are preferred to this one, if it is served.
fn preference(suite: &CipherSuite) -> Option<usize> {
    PREFERENCE.iter().position(|known| known == suite)
}

/// Names `--tls-cipher-suites` takes; some of them are not served.
pub fn cipher_suite_names() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|(name, _)| *name)
}

/// The names of the CAs in these files, each once.
fn subjects(files: &[PathBuf]) -> Vec<DistinguishedName> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for block in files
        .iter()
        .filter_map(|file| pem::parse_many(std::fs::read(file).ok()?).ok())
        .flatten()
        .filter(|block| block.tag() == "CERTIFICATE")
    {
        if let Ok((_, certificate)) = x509_parser::parse_x509_certificate(block.contents()) {
            let name = certificate.subject().as_raw();
            if !names.iter().any(|known| known == name) {
                names.push(name.to_vec());
            }
        }
    }
    names.into_iter().map(DistinguishedName::from).collect()
}

/// rustls's settings for what the flags ask for. What cannot be served is logged as a warning, what does not exist is an
/// error.
pub(super) fn server_config(
    settings: &TlsSettings,
    certificates: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, ServingError> {
    let mut provider = aws_lc_rs::default_provider();
    if !settings.cipher_suites.is_empty() {
        let mut suites = Vec::new();
        for name in &settings.cipher_suites {
            match SUITES.iter().find(|(known, _)| known == name) {
                None => return Err(ServingError::UnknownCipherSuite(name.clone())),
                Some((_, None)) => tracing::warn!(
                    "Cipher suite {name} is not served: it lacks forward secrecy or uses CBC"
                ),
                Some((_, Some(suite))) => suites.push(*suite),
            }
        }
        // As in Go, the suites of TLS 1.3 cannot be switched off.
        provider
            .cipher_suites
            .retain(|suite| suite.tls13().is_some() || suites.contains(&suite.suite()));
    }
    provider
        .cipher_suites
        .sort_by_key(|suite| preference(&suite.suite()).unwrap_or(PREFERENCE.len()));
    if !settings.curves.is_empty() {
        let mut groups = Vec::new();
        for id in &settings.curves {
            let group = u16::try_from(*id).map(NamedGroup::from).ok();
            let found = aws_lc_rs::ALL_KX_GROUPS
                .iter()
                .find(|known| Some(known.name()) == group);
            match found {
                Some(known) => groups.push(*known),
                // P-521 and the hybrids of other curves: Go's names of key exchanges this library does without.
                None if matches!(id, 25 | 4587 | 4589) => {
                    tracing::warn!("Key exchange {id} of --tls-curve-preferences is not served")
                }
                None => return Err(ServingError::UnknownCurve(*id)),
            }
        }
        if groups.is_empty() {
            return Err(ServingError::NoCurve);
        }
        provider.kx_groups = groups;
    }
    let versions: &[&rustls::SupportedProtocolVersion] = match settings.min_version.as_str() {
        "" | "VersionTLS12" => &[&rustls::version::TLS13, &rustls::version::TLS12],
        "VersionTLS10" | "VersionTLS11" => {
            tracing::warn!(
                "{} is not served, TLS 1.2 is the oldest version",
                settings.min_version
            );
            &[&rustls::version::TLS13, &rustls::version::TLS12]
        }
        "VersionTLS13" => &[&rustls::version::TLS13],
        other => return Err(ServingError::UnknownTlsVersion(other.to_owned())),
    };
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| ServingError::Certificate(error.to_string()))?;
    let builder = if settings.request_client_certificate {
        builder.with_client_cert_verifier(Arc::new(PossessionOnly {
            provider,
            accepted: subjects(&settings.client_cas),
        }))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_cert_resolver(certificates);
    config.ignore_client_order = true;
    config.alpn_protocols = if settings.disable_http2 {
        vec![b"http/1.1".to_vec()]
    } else {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    };
    Ok(config)
}
