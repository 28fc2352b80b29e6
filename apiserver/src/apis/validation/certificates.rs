//! Certificate requests, trust bundles, and the names of signers. Upstream: pkg/apis/certificates/validation and
//! pkg/apis/core/validation/names.go.

use std::collections::{BTreeMap, HashSet};

use api_types::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition as Condition, key_usage,
};
use api_types::certificates::v1beta1::ClusterTrustBundle;
use apimachinery::quote::quote;
use base64::Engine as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::*;

// === CertificateSigningRequest ===

pub(crate) const APPROVED: &str = "Approved";
pub(crate) const DENIED: &str = "Denied";
const FAILED: &str = "Failed";
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const SHORTEST_SECONDS: i32 = 600;

/// What an endpoint is for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowed {
    /// Approved and Denied conditions.
    pub approval: bool,
    /// The issued certificate.
    pub certificate: bool,
}

pub(crate) fn validate_signing_request(request: &CertificateSigningRequest) -> ErrorList {
    signing_request(request, None)
}

pub(crate) fn validate_signing_request_update(
    new: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
    allowed: Allowed,
) -> ErrorList {
    let mut errors = signing_request(new, Some(old));
    let path = path(&["status", "conditions"]);
    fn of_kind<'a>(request: &'a CertificateSigningRequest, kind: &str) -> Vec<&'a Condition> {
        let conditions = request.status.conditions.iter();
        conditions
            .filter(|condition| condition.type_ == kind)
            .collect()
    }
    for kind in [APPROVED, DENIED, FAILED] {
        if of_kind(new, kind).len() < of_kind(old, kind).len() {
            let detail = format!("updates may not remove a condition of type {}", quote(kind));
            errors.push(field::forbidden(&path, detail));
        }
    }
    if !allowed.approval {
        for kind in [APPROVED, DENIED] {
            let (now, before) = (of_kind(new, kind), of_kind(old, kind));
            let verb = if now.len() > before.len() {
                "add"
            } else if now.len() == before.len() && now != before {
                "modify"
            } else {
                continue;
            };
            let detail = format!("updates may not {verb} a condition of type {}", quote(kind));
            errors.push(field::forbidden(&path, detail));
        }
    }
    let (certificate, before) = (&new.status.certificate.0, &old.status.certificate.0);
    if certificate != before {
        let path = super::path(&["status", "certificate"]);
        if !allowed.certificate {
            let detail = "updates may not set certificate content";
            errors.push(field::forbidden(&path, detail));
        } else if !before.is_empty() {
            let detail = "updates may not modify existing certificate content";
            errors.push(field::forbidden(&path, detail));
        }
    }
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    errors
}

/// What is wrong with a request. What was wrong with the stored one already is let be.
fn signing_request(
    request: &CertificateSigningRequest,
    old: Option<&CertificateSigningRequest>,
) -> ErrorList {
    // Names are whatever a client likes.
    let mut errors = object_meta(&request.metadata, false, |_, _| Vec::new());
    let (path, spec) = (Path::new("spec"), &request.spec);
    if let Err(problem) = check_request(&spec.request.0) {
        let value = match spec.request.0.as_slice() {
            [] => BadValue::Text("null".to_owned()),
            bytes => base64::engine::general_purpose::STANDARD
                .encode(bytes)
                .into(),
        };
        errors.push(field::invalid(&path.child("request"), value, problem));
    }
    let usages_path = path.child("usages");
    if spec.usages.is_empty() {
        errors.push(field::required(&usages_path, ""));
    }
    let unknown = |usages: &[String]| usages.iter().any(|usage| !USAGES.contains(&usage.as_str()));
    if !old.is_some_and(|old| unknown(&old.spec.usages)) {
        for (i, usage) in spec.usages.iter().enumerate() {
            errors.extend(one_of(usage, &USAGES, &usages_path.index(i)));
        }
    }
    if !old.is_some_and(|old| has_duplicates(&old.spec.usages)) {
        errors.extend(duplicates(&spec.usages, |i| usages_path.index(i)));
    }
    let signer_path = path.child("signerName");
    if spec.signer_name == LEGACY_SIGNER
        && old.is_none_or(|old| old.spec.signer_name != LEGACY_SIGNER)
    {
        let detail = "the legacy signerName is not allowed via this API version";
        errors.push(field::invalid(&signer_path, &spec.signer_name, detail));
    } else {
        errors.extend(validate_signer_name(&signer_path, &spec.signer_name));
    }
    if let Some(seconds) = spec
        .expiration_seconds
        .filter(|seconds| *seconds < SHORTEST_SECONDS)
    {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(field::invalid(
            &path.child("expirationSeconds"),
            seconds,
            detail,
        ));
    }
    errors.extend(conditions(request, old));
    let certificate = |request: &CertificateSigningRequest| {
        check_certificates(&request.status.certificate.0).err()
    };
    let kept = old.is_some_and(|old| {
        old.status.certificate == request.status.certificate || certificate(old).is_some()
    });
    if let Some(problem) = certificate(request).filter(|_| !kept) {
        let path = super::path(&["status", "certificate"]);
        errors.push(field::invalid(&path, "<certificate data>", problem));
    }
    errors
}

/// Usages that a request may ask for, in the order in which errors list them.
const USAGES: [&str; 23] = [
    key_usage::ANY,
    key_usage::CERT_SIGN,
    key_usage::CLIENT_AUTH,
    key_usage::CODE_SIGNING,
    key_usage::CONTENT_COMMITMENT,
    key_usage::CRL_SIGN,
    key_usage::DATA_ENCIPHERMENT,
    key_usage::DECIPHER_ONLY,
    key_usage::DIGITAL_SIGNATURE,
    key_usage::EMAIL_PROTECTION,
    key_usage::ENCIPHER_ONLY,
    key_usage::IPSEC_END_SYSTEM,
    key_usage::IPSEC_TUNNEL,
    key_usage::IPSEC_USER,
    key_usage::KEY_AGREEMENT,
    key_usage::KEY_ENCIPHERMENT,
    key_usage::MICROSOFT_SGC,
    key_usage::NETSCAPE_SGC,
    key_usage::OCSP_SIGNING,
    key_usage::S_MIME,
    key_usage::SERVER_AUTH,
    key_usage::SIGNING,
    key_usage::TIMESTAMPING,
];

fn conditions(
    request: &CertificateSigningRequest,
    old: Option<&CertificateSigningRequest>,
) -> ErrorList {
    let path = path(&["status", "conditions"]);
    let mut errors = ErrorList::new();
    let before = old.map_or(&[][..], |old| &old.status.conditions);
    let has = |kind: &str| before.iter().any(|condition| condition.type_ == kind);
    let kinds = |conditions: &[Condition]| -> Vec<String> {
        let kinds = conditions.iter().map(|condition| condition.type_.clone());
        kinds.collect()
    };
    let (both_allowed, empty_allowed) = (has(APPROVED) && has(DENIED), has(""));
    let duplicates_allowed = has_duplicates(&kinds(before));
    let mut seen = HashSet::new();
    for (i, condition) in request.status.conditions.iter().enumerate() {
        let (path, list) = (path.index(i), &path);
        let kind = condition.type_.as_str();
        if kind.is_empty() && !empty_allowed {
            errors.push(field::required(&path.child("type"), ""));
        }
        let statuses: &[&str] = match kind {
            APPROVED | DENIED | FAILED => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        errors.extend(required_one_of(
            &condition.status,
            statuses,
            &path.child("status"),
        ));
        let opposite = match kind {
            APPROVED => DENIED,
            DENIED => APPROVED,
            _ => "",
        };
        if !both_allowed && !opposite.is_empty() && seen.contains(opposite) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(field::invalid(list, kind, detail));
        }
        if !seen.insert(kind) && !duplicates_allowed {
            errors.push(field::duplicate(&path.child("type"), kind));
        }
    }
    errors
}

fn has_duplicates(values: &[String]) -> bool {
    !duplicates(values, |_| Path::nil()).is_empty()
}

fn duplicates(values: &[String], path: impl Fn(usize) -> Path) -> ErrorList {
    let mut seen = HashSet::new();
    let repeated = values.iter().enumerate();
    let repeated = repeated.filter(|(_, value)| !seen.insert(value.as_str()));
    repeated
        .map(|(i, value)| field::duplicate(&path(i), value))
        .collect()
}

/// A PKCS#10 request in PEM, signed with the key it is for.
fn check_request(bytes: &[u8]) -> Result<(), String> {
    let block = pem::parse(bytes)
        .ok()
        .filter(|block| block.tag() == "CERTIFICATE REQUEST")
        .ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (_, request) =
        X509CertificationRequest::from_der(block.contents()).map_err(|error| error.to_string())?;
    request
        .verify_signature()
        .map_err(|_| "x509: signature check failed".to_owned())
}

/// One or more certificates in PEM and nothing else, or no bytes at all.
fn check_certificates(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Ok(());
    }
    let blocks = pem::parse_many(bytes).unwrap_or_default();
    if blocks.is_empty() {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    for block in blocks {
        if block.tag() != "CERTIFICATE" {
            return Err(format!(
                "only CERTIFICATE PEM blocks are allowed, found {}",
                quote(block.tag())
            ));
        }
        if block.headers().iter().next().is_some() {
            return Err("no PEM block headers are permitted".to_owned());
        }
        x509_parser::certificate::X509Certificate::from_der(block.contents())
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

// === Signers ===

/// The name of a signer: `example.com/signer-name`.
pub(crate) fn validate_signer_name(path: &Path, name: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    if name.is_empty() {
        return field::required(path, "").into();
    }
    let segments: Vec<&str> = name.split('/').collect();
    let [domain, signer] = segments[..] else {
        let detail =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return field::invalid(path, name, detail).into();
    };
    if domain.len() > 253 {
        errors.push(field::too_long(path, 253));
    }
    let first_wrong = |segment: &str, check: fn(&str) -> Vec<String>| -> ErrorList {
        for label in segment.split('.') {
            let problems = check(label);
            if !problems.is_empty() {
                let described = problems.into_iter().map(|problem| {
                    let detail = format!("validating label {}: {problem}", quote(label));
                    field::invalid(path, segment, detail)
                });
                return described.collect();
            }
        }
        ErrorList::new()
    };
    errors.extend(first_wrong(domain, rules::is_dns1123_label));
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(field::invalid(path, domain, detail));
    }
    errors.extend(first_wrong(signer, rules::is_dns1123_subdomain));
    let longest = 253 + 1 + 253 + 63 + 1;
    if name.len() > longest {
        errors.push(field::too_long(path, longest));
    }
    errors
}

/// What is wrong with a trust bundle's name, or the beginning of one. `signer` is empty for bundles that no signer has.
pub(crate) fn validate_cluster_trust_bundle_name(
    signer: &str,
    name: &str,
    prefix: bool,
) -> Vec<String> {
    if signer.is_empty() {
        if name.contains(':') {
            return vec![
                "ClusterTrustBundle without signer name must not have \":\" in its name".to_owned(),
            ];
        }
        return rules::name_is_dns_subdomain(name, prefix);
    }
    let required = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&required) {
        Some(rest) => rules::name_is_dns_subdomain(rest, prefix),
        None => vec![format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {required}"
        )],
    }
}

// === ClusterTrustBundle ===

const LARGEST_BUNDLE: usize = 1024 * 1024;

pub(crate) fn validate_cluster_trust_bundle(bundle: &ClusterTrustBundle) -> ErrorList {
    let mut errors = trust_bundle_names(bundle);
    errors.extend(trust_anchors(&bundle.spec.trust_bundle));
    errors
}

/// What does not change is not read again.
pub(crate) fn validate_cluster_trust_bundle_update(
    new: &ClusterTrustBundle,
    old: &ClusterTrustBundle,
) -> ErrorList {
    let mut errors = trust_bundle_names(new);
    if new.spec.trust_bundle != old.spec.trust_bundle {
        errors.extend(trust_anchors(&new.spec.trust_bundle));
    }
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    let (new, old) = (&new.spec.signer_name, &old.spec.signer_name);
    let path = path(&["spec", "signerName"]);
    errors.extend(immutable(new, old, &path, || new.into()));
    errors
}

fn trust_bundle_names(bundle: &ClusterTrustBundle) -> ErrorList {
    let signer = &bundle.spec.signer_name;
    let mut errors = rules::validate_object_meta(
        &bundle.metadata,
        false,
        |name, prefix| validate_cluster_trust_bundle_name(signer, name, prefix),
        &Path::new("metadata"),
    );
    errors.extend(kube_finalizers(&bundle.metadata));
    if !signer.is_empty() {
        errors.extend(validate_signer_name(&path(&["spec", "signerName"]), signer));
    }
    errors
}

/// CA certificates in PEM, each of them once.
fn trust_anchors(text: &str) -> ErrorList {
    let path = path(&["spec", "trustBundle"]);
    if text.len() > LARGEST_BUNDLE {
        return field::too_long(&path, LARGEST_BUNDLE).into();
    }
    let wrong = |detail: String| field::invalid(&path, "<value omitted>", detail);
    let mut errors = ErrorList::new();
    let mut anchors: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    let blocks = pem::parse_many(text).unwrap_or_default();
    for (i, block) in blocks.into_iter().enumerate() {
        let problem = if block.tag() == "CERTIFICATE" {
            trust_anchor(&block)
        } else {
            Some(format!("has bad block type: {}", block.tag()))
        };
        match problem {
            Some(problem) => errors.push(wrong(format!("entry {i} {problem}"))),
            None => anchors.entry(block.into_contents()).or_default().push(i),
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    if anchors.is_empty() {
        errors.push(wrong(
            "at least one trust anchor must be provided".to_owned(),
        ));
    }
    let mut repeated: Vec<Vec<usize>> = anchors.into_values().filter(|at| at.len() > 1).collect();
    repeated.sort();
    for indices in repeated {
        let indices: Vec<String> = indices.iter().map(usize::to_string).collect();
        let indices = indices.join(" ");
        errors.push(wrong(format!(
            "duplicate trust anchor (indices [{indices}])"
        )));
    }
    errors
}

/// What is wrong with a certificate that is to be trusted.
fn trust_anchor(block: &pem::Pem) -> Option<String> {
    if block.headers().iter().next().is_some() {
        return Some("has PEM block headers".to_owned());
    }
    let parsed = x509_parser::certificate::X509Certificate::from_der(block.contents());
    let Ok((_, certificate)) = parsed else {
        return Some("does not parse as X.509".to_owned());
    };
    let constraints = certificate.basic_constraints().ok().flatten();
    let is_ca = constraints.is_some_and(|constraints| constraints.value.ca);
    (!is_ca).then(|| "does not have the CA bit set".to_owned())
}

/// Annotations that a pod asks its certificate's signer for.
pub(super) fn user_annotations(annotations: &BTreeMap<String, String>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for key in annotations.keys() {
        errors.extend(rules::is_domain_prefixed_key(path, &key.to_lowercase()));
    }
    if rules::annotations_size(annotations) > rules::TOTAL_ANNOTATION_SIZE_LIMIT {
        errors.push(field::too_long(path, rules::TOTAL_ANNOTATION_SIZE_LIMIT));
    }
    errors
}

#[cfg(test)]
mod tests {
    use api_types::ByteString;

    use super::*;

    fn request() -> CertificateSigningRequest {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::default()
            .serialize_request(&key)
            .unwrap()
            .pem()
            .unwrap();
        let mut request = CertificateSigningRequest::default();
        request.metadata.name = "a".to_owned();
        request.metadata.resource_version = "1".to_owned();
        request.spec.request = ByteString(pem.into_bytes());
        request.spec.signer_name = "example.com/signer".to_owned();
        request.spec.usages = vec!["digital signature".to_owned()];
        request
    }

    #[track_caller]
    fn check(errors: ErrorList, want: &[&str]) {
        let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(got, want);
    }

    fn condition(kind: &str, status: &str) -> Condition {
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            ..Condition::default()
        }
    }

    #[test]
    fn requests_are_signed_and_say_what_for() {
        check(validate_signing_request(&request()), &[]);
        let mut empty = CertificateSigningRequest::default();
        empty.metadata.name = "a".to_owned();
        check(
            validate_signing_request(&empty),
            &[
                "spec.request: Invalid value: null: PEM block type must be CERTIFICATE REQUEST",
                "spec.usages: Required value",
                "spec.signerName: Required value",
            ],
        );
        let mut bad = request();
        bad.spec.usages = vec!["any".to_owned(), "any".to_owned()];
        bad.spec.signer_name = LEGACY_SIGNER.to_owned();
        bad.spec.expiration_seconds = Some(5);
        check(
            validate_signing_request(&bad),
            &[
                "spec.usages[1]: Duplicate value: \"any\"",
                "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version",
                "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)",
            ],
        );
        // What is stored may stay.
        let mut later = bad.clone();
        later.spec.expiration_seconds = None;
        check(
            validate_signing_request_update(&later, &bad, Allowed::default()),
            &[],
        );
    }

    #[test]
    fn the_signature_counts() {
        let mut forged = request();
        let mut block = pem::parse(&forged.spec.request.0).unwrap().into_contents();
        let last = block.len() - 1;
        block[last] ^= 1;
        let block = pem::Pem::new("CERTIFICATE REQUEST", block);
        forged.spec.request = ByteString(pem::encode(&block).into_bytes());
        assert_eq!(validate_signing_request(&forged).len(), 1);
    }

    #[test]
    fn each_endpoint_changes_its_own() {
        let old = request();
        let mut new = old.clone();
        new.status.conditions = vec![condition(APPROVED, "True")];
        let (approval, certificate) = (
            Allowed {
                approval: true,
                ..Allowed::default()
            },
            Allowed {
                certificate: true,
                ..Allowed::default()
            },
        );
        check(validate_signing_request_update(&new, &old, approval), &[]);
        check(
            validate_signing_request_update(&new, &old, certificate),
            &["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""],
        );
        check(
            validate_signing_request_update(&old, &new, approval),
            &[
                "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"",
            ],
        );
        new.status.conditions = vec![condition(APPROVED, "True"), condition(DENIED, "False")];
        check(
            validate_signing_request_update(&new, &old, approval),
            &[
                "status.conditions[1].status: Unsupported value: \"False\": supported values: \"True\"",
                "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
            ],
        );
        let mut issued = old.clone();
        issued.status.certificate = ByteString(b"x".to_vec());
        check(
            validate_signing_request_update(&issued, &old, certificate),
            &[
                "status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block",
            ],
        );
        assert_eq!(
            validate_signing_request_update(&issued, &old, approval).len(),
            2
        );
    }
}
