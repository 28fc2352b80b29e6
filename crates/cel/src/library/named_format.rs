//! Names, labels and other texts with a known form. Upstream: apiserver/pkg/cel/library/format.go.

use std::sync::LazyLock;

use apimachinery::validation::{self as names, content, is_qualified_name};
use regex::Regex;

use super::{opaque, text, url};
use crate::env::{Function, Implementation};
use crate::types::Type;
use crate::value::{Opaque, Value, parse_timestamp};

/// A form of text.
#[derive(Debug)]
pub struct NamedFormat {
    /// Its name, as upstream shows it.
    pub name: &'static str,
    /// The name of the function that gives it.
    key: &'static str,
    function: &'static str,
    validate: fn(&str) -> Vec<String>,
    /// How long the regular expression is that checks it.
    pub(crate) regex_size: u64,
}

/// All formats: the function, the name, the length of the regular expression, the check.
macro_rules! formats {
    ($(($key:literal, $name:literal, $size:literal, $validate:expr),)*) => {
        const FORMATS: &[NamedFormat] = &[$(NamedFormat {
            name: $name,
            key: $key,
            function: concat!("format.", $key),
            validate: $validate,
            regex_size: $size,
        },)*];

        fn constructors() -> Vec<Function> {
            let of = || Type::object("kubernetes.NamedFormat");
            vec![$({
                let make: Implementation = |_| Ok(made($key));
                Function::new(concat!("format.", $key)).global(concat!("format.", $key), &[], of(), make)
            },)*]
        }
    };
}

formats![
    ("dns1123Label", "DNS1123Label", 30, |text| {
        names::is_dns1123_label(text)
    }),
    ("dns1123Subdomain", "DNS1123Subdomain", 60, |text| {
        names::is_dns1123_subdomain(text)
    }),
    ("dns1035Label", "DNS1035Label", 30, |text| {
        names::is_dns1035_label(text)
    }),
    ("qualifiedName", "QualifiedName", 60, |text| {
        is_qualified_name(text)
    }),
    ("dns1123LabelPrefix", "DNS1123LabelPrefix", 30, |text| {
        names::is_dns1123_label(&masked(text))
    }),
    (
        "dns1123SubdomainPrefix",
        "DNS1123SubdomainPrefix",
        60,
        |text| names::is_dns1123_subdomain(&masked(text))
    ),
    ("dns1035LabelPrefix", "DNS1035LabelPrefix", 30, |text| {
        names::is_dns1035_label(&masked(text))
    }),
    ("labelValue", "LabelValue", 40, |text| {
        content::is_label_value(text)
    }),
    ("uri", "URI", 1103, |text| url::parse_request_uri(text)
        .err()
        .into_iter()
        .collect()),
    ("uuid", "uuid", 70, |text| valid(
        UUID.is_match(text),
        "does not match the UUID format"
    )),
    ("byte", "byte", 84, |text| valid(
        BASE64.is_match(text),
        "invalid base64"
    )),
    ("date", "date", 71, |text| valid(
        is_date(text),
        "invalid date"
    )),
    ("datetime", "datetime", 71, |text| valid(
        is_date_time(text),
        "invalid datetime"
    )),
];

static UUID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("(?i-u)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$")
        .expect("a valid pattern")
});
static BASE64: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$")
        .expect("a valid pattern")
});
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$")
        .expect("a valid pattern")
});

fn valid(is_valid: bool, message: &str) -> Vec<String> {
    if is_valid {
        Vec::new()
    } else {
        vec![message.to_owned()]
    }
}

/// A prefix may end in a dash: something will follow.
fn masked(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        // As upstream, the character in front of the dash goes, too.
        Some(rest) if !rest.is_empty() => format!("{}a", &rest[..rest.len() - 1]),
        _ => prefix.to_owned(),
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && matches!(parse_timestamp(&format!("{text}T00:00:00Z")), Some(Ok(_)))
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else {
        return false;
    };
    is_date(date)
        && TIME
            .captures(time)
            .is_some_and(|found| &found[1] <= "23" && &found[2] <= "59" && &found[3] <= "59")
}

fn made<'a>(key: &str) -> Value<'a> {
    match FORMATS.iter().find(|format| format.key == key) {
        Some(format) => Opaque::NamedFormat(format).into(),
        None => Value::Null,
    }
}

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let of = || Type::object("kubernetes.NamedFormat");
    let mut functions = constructors();
    functions.push(Function::new("format.named").global(
        "format-named",
        &[Type::String],
        Type::optional(of()),
        |args| {
            let name = text(args, 0)?;
            let found = FORMATS.iter().find(|format| format.key == name);
            Ok(found.map_or(Value::NONE, |format| {
                Value::some(Opaque::NamedFormat(format).into())
            }))
        },
    ));
    let errors = Type::optional(Type::list(Type::String));
    functions.push(Function::new("validate").member(
        "format-validate",
        &[of(), Type::String],
        errors,
        |args| {
            let errors = (opaque!(args, 0, NamedFormat)?.validate)(text(args, 1)?);
            if errors.is_empty() {
                return Ok(Value::NONE);
            }
            Ok(Value::some(Value::from(
                errors.into_iter().map(Value::from).collect::<Vec<_>>(),
            )))
        },
    ));
    functions
}

impl NamedFormat {
    /// The function that gives it, as expressions write it.
    pub fn function(&self) -> &'static str {
        self.function
    }
}
