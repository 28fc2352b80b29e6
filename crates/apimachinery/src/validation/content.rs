//! The rules that declarative validation uses. Upstream: apimachinery/pkg/api/validate/content.
//!
//! A few exist a second time, in [`super::names`], for handwritten validation: there, a message about length counts
//! characters, here it counts bytes. Users see both.

/// Longest label of a DNS name, and longest label value, in bytes.
pub const LABEL_VALUE_MAX_LENGTH: usize = 63;

pub(super) const DNS1123_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
pub(super) const DNS1123_SUBDOMAIN: &str =
    "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
pub(super) const DNS1123_LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
     characters or '-', and must start and end with an alphanumeric character";
pub(super) const DNS1123_SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case \
     alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_KEY_MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// Longest DNS name, in bytes.
const SUBDOMAIN_MAX_LENGTH: usize = 253;

/// "must be no more than N bytes".
pub fn max_len_error(length: usize) -> String {
    format!("must be no more than {length} bytes")
}

/// "must be non-empty".
pub fn empty_error() -> &'static str {
    "must be non-empty"
}

/// What a text must look like, with examples and the pattern.
pub fn regex_error(message: &str, pattern: &str, examples: &[&str]) -> String {
    let mut text = message.to_owned();
    text.push_str(" (");
    for (i, example) in examples.iter().enumerate() {
        text.push_str(if i == 0 { "e.g. '" } else { " or '" });
        text.push_str(example);
        text.push_str("', ");
    }
    text.push_str("regex used for validation is '");
    text.push_str(pattern);
    text.push_str("')");
    text
}

fn lower_alnum(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Whether the text is not empty, starts and ends with `edge`, and has only `middle` between.
pub(super) fn has_shape(value: &str, edge: fn(u8) -> bool, middle: fn(u8) -> bool) -> bool {
    let bytes = value.as_bytes();
    match bytes {
        [] => false,
        [only] => edge(*only),
        [first, between @ .., last] => {
            edge(*first) && edge(*last) && between.iter().all(|byte| middle(*byte))
        }
    }
}

pub(super) fn matches_dns1123_label(value: &str) -> bool {
    has_shape(value, lower_alnum, |byte| lower_alnum(byte) || byte == b'-')
}

pub(super) fn matches_dns1123_subdomain(value: &str) -> bool {
    value.split('.').all(matches_dns1123_label)
}

/// A DNS label: `my-name`.
pub fn is_dns1123_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_VALUE_MAX_LENGTH {
        errors.push(max_len_error(LABEL_VALUE_MAX_LENGTH));
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
    if value.len() > SUBDOMAIN_MAX_LENGTH {
        errors.push(max_len_error(SUBDOMAIN_MAX_LENGTH));
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

/// A DNS subdomain that may have upper case letters: `Example.com`.
pub fn is_dns1123_subdomain_caseless(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX_LENGTH {
        errors.push(max_len_error(SUBDOMAIN_MAX_LENGTH));
    }
    if !matches_dns1123_subdomain(&value.to_ascii_lowercase()) {
        let message = "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end \
                       with an alphanumeric character";
        errors.push(regex_error(message, DNS1123_SUBDOMAIN, &["Example.com"]));
    }
    errors
}

/// A label's key, or any other qualified name: `[prefix/]name`.
pub fn is_label_key(value: &str) -> Vec<String> {
    let examples = ["MyName", "my.name", "123-abc"];
    let mut errors = Vec::new();
    let name = match value.split_once('/') {
        None => value,
        Some((_, name)) if name.contains('/') => {
            errors.push(format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex_error(LABEL_KEY_MESSAGE, LABEL_KEY, &examples)
            ));
            return errors;
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                errors.push(format!("prefix part {}", empty_error()));
            } else {
                errors.extend(
                    is_dns1123_subdomain(prefix)
                        .into_iter()
                        .map(|message| format!("prefix part {message}")),
                );
            }
            name
        }
    };
    if name.is_empty() {
        errors.push(format!("name part {}", empty_error()));
    } else if name.len() > 63 {
        errors.push(format!("name part {}", max_len_error(63)));
    }
    if !matches_label_key(name) {
        errors.push(format!(
            "name part {}",
            regex_error(LABEL_KEY_MESSAGE, LABEL_KEY, &examples)
        ));
    }
    errors
}

fn matches_label_key(name: &str) -> bool {
    has_shape(
        name,
        |byte| byte.is_ascii_alphanumeric(),
        |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
    )
}

/// A label's value, which may be empty.
pub fn is_label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_VALUE_MAX_LENGTH {
        errors.push(max_len_error(LABEL_VALUE_MAX_LENGTH));
    }
    if !value.is_empty() && !matches_label_key(value) {
        let message = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                       must start and end with an alphanumeric character";
        let pattern = format!("({LABEL_KEY})?");
        errors.push(regex_error(
            message,
            &pattern,
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// An identifier of the C language, of any length.
pub fn is_c_identifier(value: &str) -> Vec<String> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let fine = value.bytes().all(word)
        && value
            .bytes()
            .next()
            .is_some_and(|first| !first.is_ascii_digit());
    if fine {
        return Vec::new();
    }
    let message = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
                   characters or '_'";
    vec![regex_error(
        message,
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A name that can stand in a URL path and in a storage key. Empty and very long names pass.
pub fn is_path_segment_name(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    is_path_segment_prefix(name)
}

/// The start of a name that can stand in a URL path.
pub fn is_path_segment_prefix(name: &str) -> Vec<String> {
    ["/", "%"]
        .iter()
        .filter(|part| name.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// A decimal integer the way a person writes it: no plus sign, no leading zeros.
pub fn is_decimal_integer(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec![empty_error().to_owned()];
    }
    let digits = value.strip_prefix('-').unwrap_or(value);
    let canonical = value == "0"
        || (digits.bytes().all(|byte| byte.is_ascii_digit())
            && digits.bytes().next().is_some_and(|first| first != b'0'));
    if canonical {
        Vec::new()
    } else {
        vec!["must be a valid decimal integer in canonical form".to_owned()]
    }
}
