//! Certificate requests, trust bundles, and the names of signers. Upstream: pkg/apis/certificates/validation and
//! pkg/apis/core/validation/names.go.

use std::collections::BTreeMap;

use apimachinery::quote::quote;

use super::*;

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

/// What is wrong with a trust bundle's name. `signer` is empty for bundles that no signer has.
pub(crate) fn validate_cluster_trust_bundle_name(signer: &str, name: &str) -> Vec<String> {
    if signer.is_empty() {
        if name.contains(':') {
            return vec![
                "ClusterTrustBundle without signer name must not have \":\" in its name".to_owned(),
            ];
        }
        return rules::is_dns1123_subdomain(name);
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => rules::is_dns1123_subdomain(rest),
        None => vec![format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
        )],
    }
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
