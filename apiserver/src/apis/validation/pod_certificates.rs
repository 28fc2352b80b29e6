//! Requests of kubelets for certificates of pods. Upstream: pkg/apis/certificates/validation, feature PodCertificateRequest of KEP-4317.

use api_types::Time;
use api_types::certificates::v1beta1::{
    PodCertificateRequest, PodCertificateRequestSpec, PodCertificateRequestStatus,
};
use apimachinery::validation::validate_conditions;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use jiff::SignedDuration;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::certificates::{user_annotations, validate_signer_name};
use super::*;

const ISSUED: &str = "Issued";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";
const LONGEST_UID: usize = 128;
const LONGEST_KEY: usize = 10 * 1024;
const LONGEST_CHAIN: usize = 100 * 1024;
const HOUR: i32 = 60 * 60;
const LONGEST_SECONDS: i32 = 91 * 24 * HOUR;
/// Of Kubernetes' own signers.
const LONGEST_OWN_SECONDS: i32 = 24 * HOUR;
/// How far the server's time may be from a certificate's start.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
const REFRESH_MARGIN: SignedDuration = SignedDuration::from_mins(10);

pub(crate) fn validate_create(request: &PodCertificateRequest) -> ErrorList {
    let mut errors = object_meta(&request.metadata, true, rules::name_is_dns_subdomain);
    let (path, spec) = (Path::new("spec"), &request.spec);
    errors.extend(validate_signer_name(
        &path.child("signerName"),
        &spec.signer_name,
    ));
    errors.extend(user_annotations(
        &spec.unverified_user_annotations,
        &path.child("unverifiedUserAnnotations"),
    ));
    for (name, value, uid_name, uid) in [
        ("podName", &spec.pod_name, "podUID", &spec.pod_uid),
        (
            "serviceAccountName",
            &spec.service_account_name,
            "serviceAccountUID",
            &spec.service_account_uid,
        ),
        ("nodeName", &spec.node_name, "nodeUID", &spec.node_uid),
    ] {
        errors.extend(dns_subdomain(value, &path.child(name)));
        let path = path.child(uid_name);
        if uid.is_empty() {
            errors.push(field::invalid(&path, uid, "must not be empty"));
        }
        if uid.len() > LONGEST_UID {
            errors.push(field::too_long(&path, LONGEST_UID));
        }
    }
    let seconds_path = path.child("maxExpirationSeconds");
    let Some(seconds) = spec.max_expiration_seconds else {
        errors.push(field::required(&seconds_path, "must be set"));
        return errors;
    };
    let longest = if is_kubernetes_signer(&spec.signer_name) {
        LONGEST_OWN_SECONDS
    } else {
        LONGEST_SECONDS
    };
    if !(HOUR..=longest).contains(&seconds) {
        let detail = format!("must be in the range [{HOUR}, {longest}]");
        errors.push(field::invalid(&seconds_path, seconds, detail));
    }
    let given = |bytes: &[u8]| !bytes.is_empty();
    match (
        given(&spec.stub_pkcs10_request.0),
        given(&spec.pkix_public_key.0),
        given(&spec.proof_of_possession.0),
    ) {
        (true, false, false) => errors.extend(check_request(spec).err()),
        (false, true, true) => errors.extend(check_key(spec).err()),
        _ => errors.push(field::invalid(
            &path,
            BadValue::Omitted,
            "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set",
        )),
    }
    errors
}

pub(crate) fn validate_update(
    new: &PodCertificateRequest,
    old: &PodCertificateRequest,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(immutable(&new.spec, &old.spec, &Path::new("spec"), || {
        go_value::bad_value(&new.spec)
    }));
    errors
}

pub(crate) fn validate_status_update(
    new: &PodCertificateRequest,
    old: &PodCertificateRequest,
    now: Time,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    if !errors.is_empty() {
        return errors;
    }
    errors.extend(conditions(&new.status));
    if !errors.is_empty() {
        return errors;
    }
    let path = Path::new("status");
    let differs = |detail: &str| field::invalid(&path, BadValue::Omitted, detail);
    let is = |status: &PodCertificateRequestStatus, kinds: &[&str]| {
        let mut conditions = status.conditions.iter();
        conditions.any(|it| kinds.contains(&&*it.type_) && it.status == "True")
    };
    if is(&old.status, &[ISSUED, DENIED, FAILED]) {
        if new.status != old.status {
            errors.push(differs(
                "immutable after PodCertificateRequest is issued, denied, or failed",
            ));
        }
    } else if is(&new.status, &[DENIED, FAILED]) {
        let wanted = PodCertificateRequestStatus {
            conditions: new.status.conditions.clone(),
            ..PodCertificateRequestStatus::default()
        };
        if new.status != wanted {
            errors.push(differs(
                "non-condition status fields must be empty when denying or failing the PodCertificateRequest",
            ));
        }
    } else if is(&new.status, &[ISSUED]) {
        errors.extend(issued(&new.status, &old.spec, now));
    } else if new.status != old.status {
        errors.push(differs(
            "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"",
        ));
    }
    errors
}

/// At most one, of a known type, that is true.
fn conditions(status: &PodCertificateRequestStatus) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = path(&["status", "conditions"]);
    let mut known = 0;
    for (i, condition) in status.conditions.iter().enumerate() {
        // Upstream makes a name of the index.
        let path = path.child(format!("[{i}]"));
        let kind = condition.type_.as_str();
        if ![ISSUED, DENIED, FAILED].contains(&kind) {
            errors.push(field::not_supported(
                &path.child("type"),
                kind,
                &[ISSUED, DENIED, FAILED],
            ));
            continue;
        }
        known += 1;
        if known > 1 {
            let detail = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            errors.push(field::invalid(&path.child("type"), kind, detail));
        }
        if condition.status != "True" {
            let status = condition.status.as_str();
            errors.push(field::not_supported(
                &path.child("status"),
                status,
                &["True"],
            ));
        }
    }
    errors.extend(validate_conditions(&status.conditions, &path));
    errors
}

/// Signers of `kubernetes.io`.
fn is_kubernetes_signer(name: &str) -> bool {
    let host = name.split('/').next().unwrap_or_default();
    host == "kubernetes.io" || host.ends_with(".kubernetes.io")
}

// === Keys ===

enum Key<'a> {
    Ed25519(&'a [u8]),
    /// The curve's name, and the point.
    Elliptic(&'static str, &'a [u8]),
    /// Bits of the modulus in whole bytes, and the key in PKCS#1.
    Rsa(usize, &'a [u8]),
    Other,
}

/// The key of a PKIX public key. None when it is none.
fn key_of<'a>(info: &'a SubjectPublicKeyInfo<'a>) -> Option<Key<'a>> {
    let bytes: &[u8] = &info.subject_public_key.data;
    Some(match info.algorithm.algorithm.to_id_string().as_str() {
        "1.3.101.112" if bytes.len() == 32 => Key::Ed25519(bytes),
        "1.2.840.10045.2.1" => {
            let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
            let name = match curve.to_id_string().as_str() {
                "1.3.132.0.33" => "P-224",
                "1.2.840.10045.3.1.7" => "P-256",
                "1.3.132.0.34" => "P-384",
                "1.3.132.0.35" => "P-521",
                _ => return None,
            };
            Key::Elliptic(name, bytes)
        }
        "1.2.840.113549.1.1.1" => match info.parsed() {
            Ok(PublicKey::RSA(key)) => Key::Rsa(key.key_size().div_ceil(8) * 8, bytes),
            _ => return None,
        },
        "1.3.101.112" => return None,
        _ => Key::Other,
    })
}

/// Whether a key is one that certificates may be for.
fn check_kind(key: &Key<'_>, path: &Path, curves: &str, other: BadValue) -> Result<(), Error> {
    match key {
        Key::Elliptic("P-224", _) => Err(field::invalid(
            path,
            "curve P-224",
            format!("elliptic public keys must use curve {curves}"),
        )),
        Key::Rsa(bits, _) if ![3072, 4096].contains(bits) => Err(field::invalid(
            path,
            format!("{bits}-bit modulus"),
            "RSA keys must have modulus size 3072 or 4096",
        )),
        Key::Other => Err(field::invalid(
            path,
            other,
            "unknown public key type; supported types are Ed25519, ECDSA, and RSA",
        )),
        _ => Ok(()),
    }
}

/// A PKCS#10 request that is signed with its key. What else it says does not matter.
fn check_request(spec: &PodCertificateRequestSpec) -> Result<(), Error> {
    let path = path(&["spec", "stubPKCS10Request"]);
    let bytes = &spec.stub_pkcs10_request.0;
    if bytes.len() > LONGEST_KEY {
        return Err(field::too_long(&path, LONGEST_KEY));
    }
    let wrong = |detail: &str| field::invalid(&path, BadValue::Omitted, detail);
    let malformed = || wrong("must be a valid PKCS#10 CSR");
    let request = parse_request(bytes).ok_or_else(malformed)?;
    let info = &request.certification_request_info;
    let key = key_of(&info.subject_pki).ok_or_else(malformed)?;
    check_kind(&key, &path, "P256, P384, or P521", BadValue::Omitted)?;
    let signed = match key {
        Key::Elliptic("P-521", point) => {
            let algorithm: &dyn VerificationAlgorithm = match request
                .signature_algorithm
                .algorithm
                .to_id_string()
                .as_str()
            {
                "1.2.840.10045.4.3.2" => &signature::ECDSA_P521_SHA256_ASN1,
                "1.2.840.10045.4.3.3" => &signature::ECDSA_P521_SHA384_ASN1,
                "1.2.840.10045.4.3.4" => &signature::ECDSA_P521_SHA512_ASN1,
                _ => return Err(wrong("invalid signature")),
            };
            UnparsedPublicKey::new(algorithm, point)
                .verify(info.raw, &request.signature_value.data)
                .is_ok()
        }
        _ => request.verify_signature().is_ok(),
    };
    if signed {
        Ok(())
    } else {
        Err(wrong("invalid signature"))
    }
}

fn parse_request(bytes: &[u8]) -> Option<X509CertificationRequest<'_>> {
    let (rest, request) = X509CertificationRequest::from_der(bytes).ok()?;
    rest.is_empty().then_some(request)
}

fn parse_key(bytes: &[u8]) -> Option<SubjectPublicKeyInfo<'_>> {
    let (rest, key) = SubjectPublicKeyInfo::from_der(bytes).ok()?;
    rest.is_empty().then_some(key)
}

/// A key, and the pod's UID signed with it.
fn check_key(spec: &PodCertificateRequestSpec) -> Result<(), Error> {
    let key_path = path(&["spec", "pkixPublicKey"]);
    let proof_path = path(&["spec", "proofOfPossession"]);
    let (bytes, proof) = (&spec.pkix_public_key.0, &spec.proof_of_possession.0);
    for (bytes, path) in [(bytes, &key_path), (proof, &proof_path)] {
        if bytes.len() > LONGEST_KEY {
            return Err(field::too_long(path, LONGEST_KEY));
        }
    }
    let shown = || BadValue::from(base64::engine::general_purpose::STANDARD.encode(bytes));
    let malformed = || {
        let detail = "must be a valid PKIX-serialized public key";
        field::invalid(&key_path, shown(), detail)
    };
    let info = parse_key(bytes).ok_or_else(malformed)?;
    let key = key_of(&info).ok_or_else(malformed)?;
    check_kind(&key, &key_path, "P256 or P384", shown())?;
    let (algorithm, key): (&dyn VerificationAlgorithm, &[u8]) = match key {
        Key::Ed25519(key) => (&signature::ED25519, key),
        Key::Elliptic("P-256", point) => (&signature::ECDSA_P256_SHA256_ASN1, point),
        Key::Elliptic("P-384", point) => (&signature::ECDSA_P384_SHA256_ASN1, point),
        Key::Elliptic(_, point) => (&signature::ECDSA_P521_SHA256_ASN1, point),
        Key::Rsa(_, key) => (&signature::RSA_PSS_2048_8192_SHA256, key),
        Key::Other => return Ok(()),
    };
    UnparsedPublicKey::new(algorithm, key)
        .verify(spec.pod_uid.as_bytes(), proof)
        .map_err(|_| {
            let detail = "could not verify proof-of-possession signature";
            field::invalid(&proof_path, BadValue::Omitted, detail)
        })
}

// === Issued certificates ===

/// What is wrong with the certificates that a signer has issued, and with what the status says of them.
fn issued(
    status: &PodCertificateRequestStatus,
    spec: &PodCertificateRequestSpec,
    now: Time,
) -> ErrorList {
    let path = path(&["status", "certificateChain"]);
    let chain = &status.certificate_chain;
    if chain.len() > LONGEST_CHAIN {
        return field::too_long(&path, LONGEST_CHAIN).into();
    }
    let wrong = |detail: &str| -> ErrorList { field::invalid(&path, chain, detail).into() };
    let blocks = pem::parse_many(chain).unwrap_or_default();
    let Some((leaf, others)) = blocks.split_first() else {
        return wrong("issued certificate chain must contain at least one certificate");
    };
    if leaf.tag() != "CERTIFICATE" {
        return wrong("issued certificate chain must consist entirely of CERTIFICATE PEM blocks");
    }
    let Some(leaf) = parse_certificate(leaf.contents()) else {
        return wrong("leaf certificate does not parse as valid X.509");
    };
    let mut errors = names(&leaf, &path);
    // Upstream goes on with names that are wrong, and tells of them with the first other problem.
    let (request, key);
    let asked = if spec.stub_pkcs10_request.0.is_empty() {
        key = parse_key(&spec.pkix_public_key.0);
        key.as_ref().map(|key| key.raw).ok_or_else(|| {
            (
                "pkixPublicKey",
                "must be a valid PKIX-serialized public key",
            )
        })
    } else {
        request = parse_request(&spec.stub_pkcs10_request.0);
        request
            .as_ref()
            .map(|request| request.certification_request_info.subject_pki.raw)
            .ok_or(("stubPKCS10Request", "must be a valid PKCS#10 CSR"))
    };
    match asked {
        Err((name, detail)) => {
            let path = super::path(&["spec", name]);
            errors.push(field::invalid(&path, BadValue::Omitted, detail));
            return errors;
        }
        Ok(asked) if asked != leaf.public_key().raw => {
            errors.extend(wrong(
                "leaf certificate was not issued to the requested public key",
            ));
            return errors;
        }
        Ok(_) => {}
    }
    let times = match times(status) {
        Ok(times) => times,
        Err(missing) => {
            errors.extend(missing);
            return errors;
        }
    };
    if !errors.is_empty() {
        return errors;
    }
    if let Err(error) = check_times(&times, &leaf, spec, now) {
        return error.into();
    }
    for other in others {
        if other.tag() != "CERTIFICATE" {
            // Upstream's spelling.
            return wrong(
                "issued certificate chain must consist entirely of CERTFICATE PEM blocks",
            );
        }
        if parse_certificate(other.contents()).is_none() {
            return wrong("intermediate certificate does not parse as valid X.509");
        }
    }
    errors
}

fn parse_certificate(bytes: &[u8]) -> Option<X509Certificate<'_>> {
    let (rest, certificate) = X509Certificate::from_der(bytes).ok()?;
    rest.is_empty().then_some(certificate)
}

/// What is wrong with the names of a certificate.
fn names(certificate: &X509Certificate<'_>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|it| &it.value.general_names);
    let mut emails = Vec::new();
    for name in names {
        match name {
            GeneralName::DNSName(name) => {
                let mut wrong = |detail: &str| errors.push(field::invalid(path, *name, detail));
                if name.is_empty() {
                    wrong("leaf certificate should not contain empty DNSName");
                }
                if name.contains("..") {
                    wrong("leaf certificate's DNSName should not contain '..'");
                }
                if name.starts_with('.') || name.ends_with('.') {
                    wrong("leaf certificate's DNSName should not start or end with '.'");
                }
            }
            GeneralName::RFC822Name(name) => emails.push(*name),
            _ => {}
        }
    }
    let wrong = emails.into_iter().filter(|email| !is_address(email));
    let detail = "leaf certificate should not contain invalid EmailAddress";
    errors.extend(wrong.map(|email| field::invalid(path, email, detail)));
    errors
}

/// A mailbox at a domain (RFC 5322), without quotes and comments.
fn is_address(text: &str) -> bool {
    let atom = |text: &str| {
        !text.is_empty()
            && text.chars().all(|letter| {
                letter.is_ascii_alphanumeric()
                    || !letter.is_ascii()
                    || "!#$%&'*+-/=?^_`{|}~".contains(letter)
            })
    };
    let atoms = |text: &str| text.split('.').all(atom);
    text.rsplit_once('@')
        .is_some_and(|(mailbox, domain)| atoms(mailbox) && atoms(domain))
}

struct Times {
    not_before: Time,
    not_after: Time,
    begin_refresh_at: Time,
}

fn times(status: &PodCertificateRequestStatus) -> Result<Times, ErrorList> {
    let mut errors = ErrorList::new();
    let mut time = |name: &'static str, time: Option<Time>, detail: &str| {
        if time.is_none() {
            errors.push(field::required(&path(&["status", name]), detail));
        }
        time.unwrap_or_default()
    };
    let consistent = "must be present and consistent with the issued certificate";
    let times = Times {
        not_before: time("notBefore", status.not_before, consistent),
        not_after: time("notAfter", status.not_after, consistent),
        begin_refresh_at: time(
            "beginRefreshAt",
            status.begin_refresh_at,
            "must be present and in the range [notbefore+10min, notafter-10min]",
        ),
    };
    if errors.is_empty() {
        Ok(times)
    } else {
        Err(errors)
    }
}

fn check_times(
    times: &Times,
    leaf: &X509Certificate<'_>,
    spec: &PodCertificateRequestSpec,
    now: Time,
) -> Result<(), Error> {
    let wrong = |name: &'static str, time: Time, detail: &str| {
        let shown = time.timestamp().strftime("%Y-%m-%d %H:%M:%S +0000 UTC");
        let shown = BadValue::Text(shown.to_string());
        Err(field::invalid(&path(&["status", name]), shown, detail))
    };
    let validity = leaf.validity();
    let (start, end) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    let (not_before, not_after) = (times.not_before.timestamp(), times.not_after.timestamp());
    if not_before.as_second() != start {
        return wrong(
            "notBefore",
            times.not_before,
            "must be set to the NotBefore time encoded in the leaf certificate",
        );
    }
    if not_before.duration_since(now.timestamp()).abs() >= SKEW {
        return wrong(
            "notBefore",
            times.not_before,
            "must be set to within 5 minutes of kube-apiserver's current time",
        );
    }
    if not_after.as_second() != end {
        return wrong(
            "notAfter",
            times.not_after,
            "must be set to the NotAfter time encoded in the leaf certificate",
        );
    }
    let life = end - start;
    let longest = spec.max_expiration_seconds.unwrap_or_default();
    let detail = if life < i64::from(HOUR) {
        "leaf certificate lifetime must be >= 1 hour".to_owned()
    } else if life > i64::from(longest) {
        format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({longest})")
    } else {
        String::new()
    };
    if !detail.is_empty() {
        let life = std::time::Duration::from_secs(life.unsigned_abs());
        let shown = BadValue::Text(api_types::Duration::from_std(life).to_string());
        let path = path(&["status", "certificateChain"]);
        return Err(field::invalid(&path, shown, detail));
    }
    let refresh = times.begin_refresh_at.timestamp();
    if refresh.duration_since(not_before) < REFRESH_MARGIN {
        return wrong(
            "beginRefreshAt",
            times.begin_refresh_at,
            "must be at least 10 minutes after status.notBefore",
        );
    }
    if not_after.duration_since(refresh) < REFRESH_MARGIN {
        return wrong(
            "beginRefreshAt",
            times.begin_refresh_at,
            "must be at least 10 minutes before status.notAfter",
        );
    }
    Ok(())
}

#[cfg(test)]
#[path = "pod_certificates_tests.rs"]
mod tests;
