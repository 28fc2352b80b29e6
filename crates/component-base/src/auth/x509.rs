//! Client certificates: which CA bundles count now, whether a chain leads to one, and whom the leaf names.
//! Upstream: k8s.io/apiserver/pkg/authentication/request/x509 over Go's crypto/x509.
//!
//! The chain is checked here and not by webpki, because upstream takes two things webpki refuses: certificates of X.509
//! version 1, and a leaf that is itself in the bundle. Not checked, as in Go's client use: revocation, and host names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apimachinery::os_error;
use apimachinery::pem::{Block, blocks};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::Histogram;
use tokio_util::sync::CancellationToken;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::x509::X509Version;

use super::{
    AuthenticateError, Authenticated, Authenticator, BoxFuture, Credentials, UserInfo,
    certificate_detail,
};
use crate::file_watch::watch_files;
use crate::logs;
use crate::metrics::{Metrics, Opts};

/// Extra key with the fingerprint of the certificate a caller came with.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// Attribute of a subject that holds a user's UID.
const UID_OID: &str = "1.3.6.1.4.1.57683.2";
/// A chain longer than this is refused; real ones have two or three certificates.
const MAX_CHAIN: usize = 10;
/// So long a judgement of a chain is used again: checking signatures costs more than all else in a small request.
const JUDGED_FOR: Duration = Duration::from_secs(10);
const MAX_JUDGED: usize = 4096;

/// A bundle of CA certificates that can be replaced while in use. Clones share the bundle. An empty one trusts nobody.
#[derive(Clone, Debug, Default)]
pub struct CaBundle {
    current: Arc<ArcSwap<Bundle>>,
}

#[derive(Debug, Default)]
struct Bundle {
    pem: Vec<u8>,
    certificates: Vec<Vec<u8>>,
    judged: Mutex<HashMap<Arc<[Vec<u8>]>, Arc<Judgement>>>,
}

/// What a bundle says of a client's chain.
#[derive(Debug)]
pub(super) struct Judgement {
    /// Whether the chain leads to the bundle. The error text is Go's.
    pub(super) trusted: Result<(), String>,
    /// Whom the leaf names, without a UID. See [`user_of`].
    pub(super) user: Result<Option<UserInfo>, String>,
    /// The UID that the leaf's subject has, or empty.
    uid: Result<String, String>,
    /// When the leaf expires, in seconds since 1970.
    not_after: Option<i64>,
    /// When it must be judged again.
    until: SystemTime,
}

fn seconds_of(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

impl Judgement {
    fn of(chain: &[Vec<u8>], roots: &[Vec<u8>], now: SystemTime) -> Self {
        let leaf = chain.first().map(Vec::as_slice).unwrap_or_default();
        let not_after = x509_parser::parse_x509_certificate(leaf)
            .ok()
            .map(|(_, parsed)| parsed.validity().not_after.timestamp());
        let expires = not_after
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        let until = now + JUDGED_FOR;
        Self {
            trusted: verify_client(chain, roots, now),
            user: user_of(leaf),
            uid: uid_of(leaf),
            not_after,
            until: expires
                .filter(|expires| *expires > now)
                .map_or(until, |expires| expires.min(until)),
        }
    }
}

/// Why a bundle cannot be used; the texts are upstream's.
#[derive(Debug, thiserror::Error)]
pub enum CaBundleError {
    #[error("{}", os_error::on_reading(path, error))]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("missing content for CA bundle \"{purpose}::{}\"", path.display())]
    EmptyFile {
        purpose: &'static str,
        path: PathBuf,
    },
    #[error("error loading CA bundle for \"{purpose}::{}\": {why}", path.display())]
    File {
        purpose: &'static str,
        path: PathBuf,
        why: Box<CaBundleError>,
    },
    #[error("data does not contain any valid RSA or ECDSA certificates")]
    NoCertificate,
    #[error("x509: malformed certificate")]
    Malformed,
}

/// What [`CaBundle::from_file`] calls the bundle of `--client-ca-file`.
pub const CLIENT_CA: &str = "client-ca-bundle";
/// What [`CaBundle::from_file`] calls the bundle of `--requestheader-client-ca-file`.
pub const REQUEST_HEADER_CA: &str = "request-header";

impl CaBundle {
    /// The certificates of a PEM text.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CaBundleError> {
        let this = Self::default();
        this.set_pem(pem)?;
        Ok(this)
    }

    /// The certificates of a file, followed while it changes, until `stop`. `purpose` names the bundle in errors. Must be
    /// called inside a runtime.
    pub fn from_file(
        purpose: &'static str,
        path: &Path,
        stop: &CancellationToken,
    ) -> Result<Self, CaBundleError> {
        let this = Self::default();
        this.load(purpose, path)?;
        let (bundle, path) = (this.clone(), path.to_owned());
        watch_files(vec![path.clone()], stop.clone(), move || {
            match bundle.load(purpose, &path) {
                Ok(true) => tracing::info!(file = %path.display(), "Reloaded the client CA bundle"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "Keeping the earlier client CA bundle"),
            }
        });
        Ok(this)
    }

    /// Whether [`Self::from_file`] will take a file now.
    pub fn check_file(purpose: &'static str, path: &Path) -> Result<(), CaBundleError> {
        Self::default().load(purpose, path).map(|_| ())
    }

    fn load(&self, purpose: &'static str, path: &Path) -> Result<bool, CaBundleError> {
        let path = path.to_owned();
        match std::fs::read(&path) {
            Err(error) => Err(CaBundleError::Read { path, error }),
            Ok(pem) if pem.is_empty() => Err(CaBundleError::EmptyFile { purpose, path }),
            Ok(pem) => {
                let name = format!("{purpose}::{}", path.display());
                let changed = self.set_pem(&pem).map_err(|why| CaBundleError::File {
                    purpose,
                    path,
                    why: Box::new(why),
                })?;
                if changed && logs::v_in(2, file!()) {
                    self.log(&name);
                }
                Ok(changed)
            }
        }
    }

    /// Tells the log what was loaded.
    fn log(&self, name: &str) {
        tracing::debug!(v = 2, name, "Loaded a new CA Bundle and Verifier");
        for (index, der) in self.certificates().iter().enumerate() {
            let detail = certificate_detail(der).unwrap_or_default();
            tracing::debug!(
                v = 2,
                index,
                certName = name,
                certDetail = detail,
                "Loaded client CA"
            );
        }
    }

    /// Replaces the bundle; a text without certificates is refused. Returns whether it changed.
    pub fn set_pem(&self, pem: &[u8]) -> Result<bool, CaBundleError> {
        if !pem.is_empty() && self.current.load().pem == pem {
            return Ok(false);
        }
        let certificates: Vec<Vec<u8>> = blocks(pem)
            .filter(Block::is_certificate)
            .map(|block| block.contents)
            .collect();
        if certificates.is_empty() {
            return Err(CaBundleError::NoCertificate);
        }
        if certificates
            .iter()
            .any(|der| x509_parser::parse_x509_certificate(der).is_err())
        {
            return Err(CaBundleError::Malformed);
        }
        self.current.store(Arc::new(Bundle {
            pem: pem.to_vec(),
            certificates,
            judged: Mutex::default(),
        }));
        Ok(true)
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.current.load().certificates.is_empty()
    }

    /// The certificates, DER encoded.
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        self.current.load().certificates.clone()
    }

    /// The bundle's text.
    pub fn pem(&self) -> Vec<u8> {
        self.current.load().pem.clone()
    }

    /// Checks that a chain (leaf first) leads to this bundle and that the leaf may identify a client, and says whom. `None`
    /// when the bundle is empty.
    pub(super) fn judge(&self, chain: &Arc<[Vec<u8>]>, now: SystemTime) -> Option<Arc<Judgement>> {
        let bundle = self.current.load();
        if bundle.certificates.is_empty() {
            return None;
        }
        if let Some(known) = bundle.judged.lock().get(chain)
            && known.until > now
        {
            return Some(known.clone());
        }
        let judgement = Arc::new(Judgement::of(chain, &bundle.certificates, now));
        let mut judged = bundle.judged.lock();
        if judged.len() >= MAX_JUDGED {
            judged.retain(|_, known| known.until > now);
            if judged.len() >= MAX_JUDGED {
                judged.clear();
            }
        }
        judged.insert(chain.clone(), judgement.clone());
        Some(judgement)
    }
}

/// The bytes inside the AlgorithmIdentifier of a SubjectPublicKeyInfo.
pub(crate) fn algorithm_bytes(public_key_info: &[u8]) -> Option<&[u8]> {
    let (content, _) = der_sequence(public_key_info)?;
    der_sequence(content).map(|(algorithm, _)| algorithm)
}

/// Content of the DER SEQUENCE at the start, and what follows it.
fn der_sequence(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    if tag != 0x30 {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                bytes
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte)),
                rest,
            )
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn verify_client(chain: &[Vec<u8>], roots: &[Vec<u8>], now: SystemTime) -> Result<(), String> {
    let parse =
        |der: &'_ [u8]| -> Option<()> { x509_parser::parse_x509_certificate(der).ok().map(|_| ()) };
    let [leaf, ..] = chain else {
        return Err("x509: no certificates".to_owned());
    };
    if chain.len() > MAX_CHAIN {
        return Err("x509: too many certificates in the chain".to_owned());
    }
    // An intermediate that cannot be read is as good as none.
    let intermediates: Vec<X509Certificate<'_>> = chain[1..]
        .iter()
        .filter(|der| parse(der).is_some())
        .filter_map(|der| {
            x509_parser::parse_x509_certificate(der)
                .ok()
                .map(|(_, certificate)| certificate)
        })
        .collect();
    let roots_parsed: Vec<X509Certificate<'_>> = roots
        .iter()
        .filter_map(|der| Some(x509_parser::parse_x509_certificate(der).ok()?.1))
        .collect();
    let (_, leaf_parsed) = x509_parser::parse_x509_certificate(leaf)
        .map_err(|error| format!("x509: malformed certificate: {error}"))?;
    let seconds = seconds_of(now);
    check_certificate(&leaf_parsed, seconds)?;
    if roots.contains(leaf) {
        return check_usage(&[&leaf_parsed]);
    }
    let mut best = "x509: certificate signed by unknown authority".to_owned();
    let mut path = vec![&leaf_parsed];
    if find_chain(&mut path, &intermediates, &roots_parsed, seconds, &mut best) {
        Ok(())
    } else {
        Err(best)
    }
}

/// Extends the path with issuers until it ends in a root; `best` is the most telling reason it does not.
fn find_chain<'a>(
    path: &mut Vec<&'a X509Certificate<'a>>,
    intermediates: &'a [X509Certificate<'a>],
    roots: &'a [X509Certificate<'a>],
    now: i64,
    best: &mut String,
) -> bool {
    let Some(child) = path.last().copied() else {
        return false;
    };
    if path.len() > MAX_CHAIN {
        return false;
    }
    for (candidate, is_root) in roots
        .iter()
        .map(|root| (root, true))
        .chain(intermediates.iter().map(|i| (i, false)))
    {
        if candidate.subject().as_raw() != child.issuer().as_raw()
            || path.iter().any(|seen| std::ptr::eq(*seen, candidate))
        {
            continue;
        }
        let issued = check_certificate(candidate, now)
            .and_then(|()| check_issuer(candidate, path.len()))
            .and_then(|()| check_signature(child, candidate));
        if let Err(why) = issued {
            *best = why;
            continue;
        }
        path.push(candidate);
        let found = if is_root {
            check_usage(path).map_err(|why| *best = why).is_ok()
        } else {
            find_chain(path, intermediates, roots, now, best)
        };
        if found {
            return true;
        }
        path.pop();
    }
    false
}

fn check_certificate(certificate: &X509Certificate<'_>, now: i64) -> Result<(), String> {
    let validity = certificate.validity();
    let time = |seconds: i64| {
        jiff::Timestamp::from_second(seconds)
            .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            .unwrap_or_default()
    };
    if now < validity.not_before.timestamp() {
        return Err(format!(
            "x509: certificate has expired or is not yet valid: current time {} is before {}",
            time(now),
            time(validity.not_before.timestamp())
        ));
    }
    if now > validity.not_after.timestamp() {
        return Err(format!(
            "x509: certificate has expired or is not yet valid: current time {} is after {}",
            time(now),
            time(validity.not_after.timestamp())
        ));
    }
    let unhandled = certificate.extensions().iter().any(|extension| {
        extension.critical
            && !matches!(
                extension.parsed_extension(),
                ParsedExtension::KeyUsage(_)
                    | ParsedExtension::BasicConstraints(_)
                    | ParsedExtension::SubjectAlternativeName(_)
                    | ParsedExtension::ExtendedKeyUsage(_)
                    | ParsedExtension::SubjectKeyIdentifier(_)
                    | ParsedExtension::AuthorityKeyIdentifier(_)
                    | ParsedExtension::CertificatePolicies(_)
            )
    });
    // Name constraints count as unhandled when critical: a CA that limits itself is not followed further than it says.
    if unhandled {
        Err("x509: unhandled critical extension".to_owned())
    } else {
        Ok(())
    }
}

/// Whether a certificate may sign others, `below` of them already being in the path.
fn check_issuer(issuer: &X509Certificate<'_>, below: usize) -> Result<(), String> {
    let refused = || {
        Err(
            "x509: invalid certificate: certificate is not authorized to sign other certificates"
                .to_owned(),
        )
    };
    match issuer.basic_constraints() {
        Ok(Some(constraints)) => {
            if !constraints.value.ca {
                return refused();
            }
            // The leaf does not count towards the path length.
            if let Some(limit) = constraints.value.path_len_constraint
                && below as u64 - 1 > u64::from(limit)
            {
                return Err("x509: too many intermediates for path length constraint".to_owned());
            }
        }
        // Certificates of version 1 cannot say that they are a CA; as a root they are believed.
        Ok(None) if issuer.version() != X509Version::V3 => {}
        _ => return refused(),
    }
    match issuer.key_usage() {
        Ok(Some(usage)) if !usage.value.key_cert_sign() => refused(),
        Ok(_) => Ok(()),
        Err(_) => refused(),
    }
}

fn check_signature(
    child: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> Result<(), String> {
    let failed = || {
        "x509: certificate signed by unknown authority (possibly because of an invalid signature)"
            .to_owned()
    };
    let key = issuer.public_key();
    let key_algorithm = algorithm_bytes(key.raw).ok_or_else(failed)?;
    // The signature algorithm follows the signed part in the certificate.
    let (outer, _) = der_sequence(child.as_raw()).ok_or_else(failed)?;
    let signed = child.tbs_certificate.as_ref();
    let after = outer.strip_prefix(signed).ok_or_else(failed)?;
    let (signature_algorithm, _) = der_sequence(after).ok_or_else(failed)?;
    let valid = webpki::ALL_VERIFICATION_ALGS.iter().any(|algorithm| {
        algorithm.signature_alg_id().as_ref() == signature_algorithm
            && algorithm.public_key_alg_id().as_ref() == key_algorithm
            && algorithm
                .verify_signature(
                    &key.subject_public_key.data,
                    signed,
                    &child.signature_value.data,
                )
                .is_ok()
    });
    if valid { Ok(()) } else { Err(failed()) }
}

/// Every certificate of the chain that lists usages must list client authentication, or any.
fn check_usage(chain: &[&X509Certificate<'_>]) -> Result<(), String> {
    for certificate in chain {
        match certificate.extended_key_usage() {
            Ok(Some(usage)) if !usage.value.client_auth && !usage.value.any => {
                return Err("x509: certificate specifies an incompatible key usage".to_owned());
            }
            Ok(_) => {}
            Err(_) => return Err("x509: malformed extended key usage".to_owned()),
        }
    }
    Ok(())
}

/// Whom a certificate names: the common name, organizations as groups, and the certificate's fingerprint as the credential.
/// `None` without a common name.
pub fn user_of(certificate: &[u8]) -> Result<Option<UserInfo>, String> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let subject = parsed.subject();
    // The last one counts, as in Go's pkix.Name.
    let name = subject
        .iter_common_name()
        .last()
        .and_then(|name| name.as_str().ok())
        .unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let groups = subject
        .iter_organization()
        .filter_map(|group| group.as_str().ok())
        .map(str::to_owned)
        .collect();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    let hex: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let extra = [(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={hex}")])].into();
    Ok(Some(UserInfo {
        name: name.to_owned(),
        groups,
        extra,
        ..UserInfo::default()
    }))
}

/// The UID in the subject of a certificate; empty when it has none.
fn uid_of(certificate: &[u8]) -> Result<String, String> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let mut uids = Vec::new();
    for attribute in parsed.subject().iter_attributes() {
        if attribute.attr_type().to_id_string() == UID_OID {
            uids.push(
                attribute
                    .as_str()
                    .map_err(|_| "unable to parse UID into a string".to_owned())?,
            );
        }
    }
    match uids[..] {
        [] => Ok(String::new()),
        [""] => Err("UID cannot be an empty string".to_owned()),
        [uid] => Ok(uid.to_owned()),
        _ => Err(format!(
            "expected 1 UID, but found multiple: [{}]",
            uids.join(" ")
        )),
    }
}

/// How logs name a certificate: `SN=..., SKID=..., AKID=...`.
fn identifier(certificate: &[u8]) -> String {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return "that is malformed".to_owned();
    };
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<Vec<_>>()
            .join(":")
    };
    let (mut subject, mut authority) = (String::new(), String::new());
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => subject = hex(id.0),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                authority = id
                    .key_identifier
                    .as_ref()
                    .map(|id| hex(id.0))
                    .unwrap_or_default();
            }
            _ => {}
        }
    }
    format!(
        "SN={}, SKID={subject}, AKID={authority}",
        parsed.tbs_certificate.serial
    )
}

/// Authenticates callers by the client certificate of their connection.
#[derive(Clone)]
pub struct CertificateAuthenticator {
    ca: CaBundle,
    expiration: Option<Histogram>,
    uids: bool,
}

impl CertificateAuthenticator {
    pub fn new(ca: CaBundle) -> Self {
        Self {
            ca,
            expiration: None,
            uids: true,
        }
    }

    /// Also records how long certificates are still valid, in `apiserver_client_certificate_expiration_seconds`.
    pub fn with_metrics(ca: CaBundle, metrics: &Metrics) -> Self {
        const HOUR: f64 = 3600.0;
        const DAY: f64 = 24.0 * HOUR;
        let buckets = vec![
            0.0,
            0.5 * HOUR,
            HOUR,
            2.0 * HOUR,
            6.0 * HOUR,
            12.0 * HOUR,
            DAY,
            2.0 * DAY,
            4.0 * DAY,
            7.0 * DAY,
            30.0 * DAY,
            91.0 * DAY,
            183.0 * DAY,
            365.0 * DAY,
        ];
        let expiration = metrics.histogram(
            Opts::new(
                "apiserver_client_certificate_expiration_seconds",
                "Distribution of the remaining lifetime on the certificate used to authenticate a request.",
            )
            .buckets(buckets),
        );
        Self {
            ca,
            expiration: Some(expiration),
            uids: true,
        }
    }

    /// Whether UIDs in certificates count (feature gate AllowParsingUserUIDFromCertAuth). They do unless told otherwise.
    pub fn with_uids(mut self, uids: bool) -> Self {
        self.uids = uids;
        self
    }

    fn judge(&self, chain: &Arc<[Vec<u8>]>) -> Result<Option<Authenticated>, AuthenticateError> {
        let Some(leaf) = chain.first() else {
            return Ok(None);
        };
        let now = SystemTime::now();
        let Some(judgement) = self.ca.judge(chain, now) else {
            return Ok(None);
        };
        if let (Some(histogram), Some(not_after)) = (&self.expiration, judgement.not_after) {
            histogram.observe((not_after - seconds_of(now)) as f64);
        }
        if let Err(why) = &judgement.trusted {
            return Err(AuthenticateError(format!(
                "verifying certificate {} failed: {why}",
                identifier(leaf)
            )));
        }
        let Some(mut user) = judgement.user.clone().map_err(AuthenticateError)? else {
            return Ok(None);
        };
        if self.uids {
            user.uid = judgement.uid.clone().map_err(AuthenticateError)?;
        }
        Ok(Some(Authenticated {
            user,
            ..Authenticated::default()
        }))
    }
}

impl Authenticator for CertificateAuthenticator {
    fn authenticate<'a>(
        &'a self,
        request: &'a Credentials,
    ) -> BoxFuture<'a, Result<Option<Authenticated>, AuthenticateError>> {
        let verdict = self.judge(&request.peer_certificates);
        Box::pin(std::future::ready(verdict))
    }
}

#[cfg(test)]
#[path = "x509_tests.rs"]
mod tests;
