//! Names and small values. Upstream: apimachinery/pkg/util/validation and pkg/api/validation generic.go.

use super::content::{
    self, DNS1123_LABEL, DNS1123_LABEL_MESSAGE, DNS1123_SUBDOMAIN, DNS1123_SUBDOMAIN_MESSAGE,
    matches_dns1123_label, matches_dns1123_subdomain,
};
pub use super::content::{empty_error, regex_error};
use crate::field::{self, ErrorList, Path};
use crate::quote::is_print;

/// Longest DNS label of RFC 1123, in bytes.
pub const DNS1123_LABEL_MAX_LENGTH: usize = 63;
/// Longest DNS name of RFC 1123, in bytes.
pub const DNS1123_SUBDOMAIN_MAX_LENGTH: usize = 253;
/// Longest DNS label of RFC 1035, in bytes.
pub const DNS1035_LABEL_MAX_LENGTH: usize = 63;

/// "must be no more than N characters".
pub fn max_len_error(length: usize) -> String {
    format!("must be no more than {length} characters")
}

/// "must be between A and B, inclusive".
pub fn inclusive_range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// A DNS label: `my-name`.
pub fn is_dns1123_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_LABEL_MAX_LENGTH {
        errors.push(max_len_error(DNS1123_LABEL_MAX_LENGTH));
    }
    if !matches_dns1123_label(value) {
        errors.push(if matches_dns1123_subdomain(value) {
            "must not contain dots".to_owned()
        } else {
            regex_error(
                DNS1123_LABEL_MESSAGE,
                DNS1123_LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    errors
}

/// A DNS subdomain: `example.com`.
pub fn is_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !matches_dns1123_subdomain(value) {
        errors.push(regex_error(
            DNS1123_SUBDOMAIN_MESSAGE,
            DNS1123_SUBDOMAIN,
            &["example.com"],
        ));
    }
    errors
}

/// A DNS subdomain whose labels may have underscores, and start with one.
pub fn is_dns1123_subdomain_with_underscore(value: &str) -> Vec<String> {
    let label_fits = |label: &str| {
        let rest = label.strip_prefix('_').unwrap_or(label);
        content::has_shape(
            rest,
            |b| b.is_ascii_lowercase() || b.is_ascii_digit(),
            |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_',
        )
    };
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !value.split('.').all(label_fits) {
        let message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', \
                       and must start and end with an alphanumeric character";
        let pattern = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
        errors.push(regex_error(message, pattern, &["example.com"]));
    }
    errors
}

/// A DNS label that starts with a letter, as names of Services must.
pub fn is_dns1035_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1035_LABEL_MAX_LENGTH {
        errors.push(max_len_error(DNS1035_LABEL_MAX_LENGTH));
    }
    if !(matches_dns1123_label(value) && value.starts_with(|c: char| c.is_ascii_lowercase())) {
        let message = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                       character, and end with an alphanumeric character";
        errors.push(regex_error(
            message,
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// A DNS subdomain after `*.`.
pub fn is_wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if !value
        .strip_prefix("*.")
        .is_some_and(matches_dns1123_subdomain)
    {
        let message = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                       consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        errors.push(regex_error(
            message,
            &format!("\\*\\.{DNS1123_SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    errors
}

/// A DNS name of at least three labels.
pub fn is_fully_qualified_name(path: &Path, name: &str) -> ErrorList {
    if name.is_empty() {
        return field::required(path, "").into();
    }
    let problems = is_dns1123_subdomain(name);
    if !problems.is_empty() {
        return field::invalid(path, name, problems.join(",")).into();
    }
    if name.split('.').count() < 3 {
        return field::invalid(
            path,
            name,
            "should be a domain with at least three segments separated by dots",
        )
        .into();
    }
    ErrorList::new()
}

/// A DNS name of at least two labels; a dot at the end is fine.
pub fn is_fully_qualified_domain_name(path: &Path, name: &str) -> ErrorList {
    if name.is_empty() {
        return field::required(path, "").into();
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let problems = is_dns1123_subdomain(name);
    if !problems.is_empty() {
        return field::invalid(path, name, problems.join(",")).into();
    }
    if name.split('.').count() < 2 {
        return field::invalid(
            path,
            name,
            "should be a domain with at least two segments separated by dots",
        )
        .into();
    }
    for label in name.split('.') {
        let problems = is_dns1123_label(label);
        if !problems.is_empty() {
            return field::invalid(path, label, problems.join(",")).into();
        }
    }
    ErrorList::new()
}

/// A DNS name, a slash, and a URL path: `acme.io/foo`.
pub fn is_domain_prefixed_path(path: &Path, value: &str) -> ErrorList {
    if value.is_empty() {
        return field::required(path, "").into();
    }
    let Some((host, rest)) = value
        .split_once('/')
        .filter(|(host, rest)| !host.is_empty() && !rest.is_empty())
    else {
        return field::invalid(
            path,
            value,
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        )
        .into();
    };
    let mut errors: ErrorList = is_dns1123_subdomain(host)
        .into_iter()
        .map(|problem| field::invalid(path, host, problem))
        .collect();
    let in_path = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(in_path) {
        errors.push(field::invalid(
            path,
            rest,
            regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]),
        ));
    }
    errors
}

/// A label key that has a prefix: `acme.io/foo`.
pub fn is_domain_prefixed_key(path: &Path, key: &str) -> ErrorList {
    if key.is_empty() {
        return field::required(path, "").into();
    }
    let problems = content::is_label_key(key);
    if !problems.is_empty() {
        return problems
            .into_iter()
            .map(|problem| field::invalid(path, key, problem))
            .collect();
    }
    if !key.contains('/') {
        return field::invalid(
            path,
            key,
            "must be a domain-prefixed key (such as \"acme.io/foo\")",
        )
        .into();
    }
    ErrorList::new()
}

/// A port number, 1 to 65535.
pub fn is_valid_port_num(port: i64) -> Vec<String> {
    is_in_range(port, 1, 65535)
}

/// A number in a range that includes both ends.
pub fn is_in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) {
        Vec::new()
    } else {
        vec![inclusive_range_error(low, high)]
    }
}

/// A Unix group id.
pub fn is_valid_group_id(gid: i64) -> Vec<String> {
    is_in_range(gid, 0, i64::from(i32::MAX))
}

/// A Unix user id.
pub fn is_valid_user_id(uid: i64) -> Vec<String> {
    is_in_range(uid, 0, i64::from(i32::MAX))
}

/// The name of a port: an IANA service name in lower case.
pub fn is_valid_port_name(port: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if port.len() > 15 {
        errors.push(max_len_error(15));
    }
    if port.is_empty()
        || !port
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        errors.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !port.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if port.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if port.starts_with('-') || port.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// A percentage: `93%`.
pub fn is_valid_percent(percent: &str) -> Vec<String> {
    let digits = percent.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    let message = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_error(message, "[0-9]+%", &["1%", "93%"])]
}

/// The name of an HTTP header.
pub fn is_http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty()
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        return Vec::new();
    }
    let message = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_error(message, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

fn is_dotted_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')
}

/// The name of an environment variable, by the strict rule.
pub fn is_env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let fits = value.bytes().all(is_dotted_word)
        && value
            .bytes()
            .next()
            .is_some_and(|first| !first.is_ascii_digit());
    if !fits {
        let message = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', \
                       and must not start with a digit";
        let examples = ["my.env-name", "MY_ENV.NAME", "MyEnvName1"];
        errors.push(regex_error(
            message,
            "[-._a-zA-Z][-._a-zA-Z0-9]*",
            &examples,
        ));
    }
    errors.extend(has_change_dir_prefix(value));
    errors
}

/// The name of an environment variable, by the relaxed rule: printable ASCII without an equals sign.
pub fn is_relaxed_env_var_name(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec![format!("environment variable name {}", empty_error())];
    }
    if value
        .chars()
        .any(|c| !c.is_ascii() || !is_print(c) || c == '=')
    {
        return vec![
            "a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned(),
        ];
    }
    Vec::new()
}

/// A key of a ConfigMap or Secret, which becomes a file's name.
pub fn is_config_map_key(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(max_len_error(DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    if value.is_empty() || !value.bytes().all(is_dotted_word) {
        let message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        errors.push(regex_error(
            message,
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    errors.extend(has_change_dir_prefix(value));
    errors
}

fn has_change_dir_prefix(value: &str) -> Option<String> {
    match value {
        "." | ".." => Some(format!("must not be '{value}'")),
        _ if value.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// How the names of a resource's objects are checked. The flag says that the name is a `generateName`, to which something
/// will be added, so that a dash at the end is fine.
pub type NameFn = fn(name: &str, prefix: bool) -> Vec<String>;

/// Names that are DNS subdomains; most resources have such.
pub fn name_is_dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    with_masked_dash(name, prefix, is_dns1123_subdomain)
}

/// Names that are DNS labels.
pub fn name_is_dns_label(name: &str, prefix: bool) -> Vec<String> {
    with_masked_dash(name, prefix, is_dns1123_label)
}

/// Names that are DNS labels starting with a letter.
pub fn name_is_dns1035_label(name: &str, prefix: bool) -> Vec<String> {
    with_masked_dash(name, prefix, is_dns1035_label)
}

/// Names of namespaces.
pub fn validate_namespace_name(name: &str, prefix: bool) -> Vec<String> {
    name_is_dns_label(name, prefix)
}

/// Names of service accounts.
pub fn validate_service_account_name(name: &str, prefix: bool) -> Vec<String> {
    name_is_dns_subdomain(name, prefix)
}

/// Names that only need to stand in a URL path. Upstream: apimachinery/pkg/api/validation/path.
pub fn validate_path_segment_name(name: &str, prefix: bool) -> Vec<String> {
    if prefix {
        content::is_path_segment_prefix(name)
    } else {
        content::is_path_segment_name(name)
    }
}

fn with_masked_dash(name: &str, prefix: bool, check: fn(&str) -> Vec<String>) -> Vec<String> {
    // Upstream drops the character before the dash too: only the shape of the rest matters.
    match name.strip_suffix('-') {
        Some(rest) if prefix && !rest.is_empty() => {
            let mut masked = rest.to_owned();
            masked.pop();
            masked.push('a');
            check(&masked)
        }
        _ => check(name),
    }
}
