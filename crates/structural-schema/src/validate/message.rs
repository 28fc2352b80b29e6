//! What is wrong with a value, in upstream's words. Upstream: kube-openapi/pkg/validation/errors and the conversion to field
//! errors in apiserver/validation/validation.go.

use std::fmt;

use apimachinery::field::{self, BadValue, Error, Path};
use apimachinery::quote::quote;
use serde_json::Value;

use crate::number::{GoNumber, format_float};

/// Where a value is. Printed as upstream prints it, which is not how field paths print.
pub(crate) enum Place<'a> {
    Root,
    /// A property; no dot after the root.
    Property(&'a Place<'a>, &'a str),
    /// A value under any name; a dot even after the root.
    Value(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Root => Ok(()),
            Place::Property(Place::Root, name) => f.write_str(name),
            Place::Property(parent, name) | Place::Value(parent, name) => {
                write!(f, "{parent}.{name}")
            }
            Place::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl Place<'_> {
    /// The field's path below the given one.
    fn below(&self, path: &Path) -> Path {
        let place = self.to_string();
        if place.is_empty() || place == "." {
            return path.clone();
        }
        path.child(place.strip_prefix('.').map(str::to_owned).unwrap_or(place))
    }
}

/// A value as errors print it.
pub(crate) fn bad_value(value: &Value) -> BadValue {
    match value {
        Value::String(text) => BadValue::String(text.clone()),
        Value::Number(number) => BadValue::Text(match GoNumber::new(number) {
            GoNumber::Int(number) => number.to_string(),
            GoNumber::Float(number) => format_float(number),
        }),
        value => BadValue::json(&whole(value)),
    }
}

/// JSON as Go writes it has no fraction in floats that are whole.
pub(crate) fn whole(value: &Value) -> Value {
    match value {
        Value::Number(number) => match GoNumber::new(number) {
            GoNumber::Float(number) if number.fract() == 0.0 && number.abs() < 1e18 => {
                (number as i64).into()
            }
            _ => value.clone(),
        },
        Value::Array(items) => items.iter().map(whole).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), whole(value)))
            .collect(),
        value => value.clone(),
    }
}

fn number(value: GoNumber) -> BadValue {
    BadValue::Text(match value {
        GoNumber::Int(number) => number.to_string(),
        GoNumber::Float(number) => format_float(number),
    })
}

/// An error, and the message by which repeats are found.
pub(crate) struct Finding {
    pub(crate) message: String,
    pub(crate) error: Error,
}

impl Finding {
    /// Stands for all that is not told.
    pub(crate) fn untold() -> Self {
        Self {
            message: String::new(),
            error: field::untold(),
        }
    }

    fn invalid(path: &Path, at: &Place<'_>, value: BadValue, message: String) -> Self {
        let error = field::invalid(&at.below(path), value, message.clone());
        Finding { message, error }
    }

    /// An error that upstream does not know the place of.
    pub(super) fn plain(path: &Path, message: String) -> Self {
        let error = field::invalid(path, "", message.clone());
        Finding { message, error }
    }

    fn wrong(path: &Path, at: &Place<'_>, expected: &str, value: &str) -> Self {
        let message = format!("{at} in body must be of type {expected}: {}", quote(value));
        let error = field::type_invalid(&at.below(path), value, message.clone());
        Finding { message, error }
    }

    /// The type that the value has instead of the expected one.
    pub(super) fn wrong_type(path: &Path, at: &Place<'_>, expected: &str, actual: &str) -> Self {
        Self::wrong(path, at, expected, actual)
    }

    pub(super) fn format(path: &Path, at: &Place<'_>, format: &str, text: &str) -> Self {
        Self::wrong(path, at, format, text)
    }

    pub(super) fn any_of(path: &Path, at: &Place<'_>) -> Self {
        let place = quote(&at.to_string());
        let message = format!("{place} must validate at least one schema (anyOf)");
        Self::plain(path, message)
    }

    pub(super) fn one_of(path: &Path, at: &Place<'_>, valid: usize) -> Self {
        let place = quote(&at.to_string());
        let found = match valid {
            0 => "Found none valid".to_owned(),
            valid => format!("Found {valid} valid alternatives"),
        };
        let message = format!("{place} must validate one and only one schema (oneOf). {found}");
        Self::plain(path, message)
    }

    pub(super) fn all_of(path: &Path, at: &Place<'_>, none: bool) -> Self {
        let place = quote(&at.to_string());
        let none = if none { ". None validated" } else { "" };
        let message = format!("{place} must validate all the schemas (allOf){none}");
        Self::plain(path, message)
    }

    pub(super) fn not(path: &Path, at: &Place<'_>) -> Self {
        let place = quote(&at.to_string());
        Self::plain(path, format!("{place} must not validate the schema (not)"))
    }

    pub(super) fn enumeration(
        path: &Path,
        at: &Place<'_>,
        value: &Value,
        allowed: &[Value],
    ) -> Self {
        let texts: Vec<String> = allowed
            .iter()
            .map(|allowed| match allowed {
                Value::String(text) => text.clone(),
                value => whole(value).to_string(),
            })
            .collect();
        let message = format!("{at} in body should be one of [{}]", texts.join(" "));
        let error = field::not_supported(&at.below(path), bad_value(value), &texts);
        Finding { message, error }
    }

    pub(super) fn too_long(path: &Path, at: &Place<'_>, max: i64) -> Self {
        let message = format!("{at} in body should be at most {max} chars long");
        let error = field::too_long(&at.below(path), usize::try_from(max).unwrap_or(0));
        Finding { message, error }
    }

    pub(super) fn too_short(path: &Path, at: &Place<'_>, min: i64, text: &str) -> Self {
        let message = format!("{at} in body should be at least {min} chars long");
        Self::invalid(path, at, text.into(), message)
    }

    pub(super) fn pattern(path: &Path, at: &Place<'_>, pattern: &str, text: &str) -> Self {
        let message = format!("{at} in body should match '{pattern}'");
        Self::invalid(path, at, text.into(), message)
    }

    pub(super) fn multiple_of(path: &Path, at: &Place<'_>, of: GoNumber, value: GoNumber) -> Self {
        let message = format!("{at} in body should be a multiple of {}", text(of));
        Self::invalid(path, at, number(value), message)
    }

    pub(super) fn factor(path: &Path, at: &Place<'_>, of: GoNumber) -> Self {
        let of_text = text(of);
        let message = format!("factor MultipleOf declared for {at} must be positive: {of_text}");
        Self::invalid(path, at, number(of), message)
    }

    pub(super) fn maximum(
        path: &Path,
        at: &Place<'_>,
        limit: GoNumber,
        exclusive: bool,
        value: GoNumber,
    ) -> Self {
        let than = if exclusive {
            "less than"
        } else {
            "less than or equal to"
        };
        let message = format!("{at} in body should be {than} {}", text(limit));
        Self::invalid(path, at, number(value), message)
    }

    pub(super) fn minimum(
        path: &Path,
        at: &Place<'_>,
        limit: GoNumber,
        exclusive: bool,
        value: GoNumber,
    ) -> Self {
        let than = if exclusive {
            "greater than"
        } else {
            "greater than or equal to"
        };
        let message = format!("{at} in body should be {than} {}", text(limit));
        Self::invalid(path, at, number(value), message)
    }

    pub(super) fn too_few_items(path: &Path, at: &Place<'_>, min: i64, size: usize) -> Self {
        let message = format!("{at} in body should have at least {min} items");
        Self::invalid(path, at, size.into(), message)
    }

    pub(super) fn too_many_items(path: &Path, at: &Place<'_>, max: i64, size: usize) -> Self {
        let message = format!("{at} in body should have at most {max} items");
        let max = usize::try_from(max).unwrap_or(0);
        let error = field::too_many(&at.below(path), Some(size), max);
        Finding { message, error }
    }

    pub(super) fn duplicates(path: &Path, at: &Place<'_>) -> Self {
        let message = format!("{at} in body shouldn't contain duplicates");
        Self::invalid(path, at, "".into(), message)
    }

    pub(super) fn too_few_properties(path: &Path, at: &Place<'_>, min: i64, size: usize) -> Self {
        let message = format!("{at} in body should have at least {min} properties");
        Self::invalid(path, at, size.into(), message)
    }

    pub(super) fn too_many_properties(path: &Path, at: &Place<'_>, max: i64, size: usize) -> Self {
        let message = format!("{at} in body should have at most {max} properties");
        let max = usize::try_from(max).unwrap_or(0);
        let error = field::too_many(&at.below(path), Some(size), max);
        Finding { message, error }
    }

    pub(super) fn forbidden_property(path: &Path, at: &Place<'_>, name: &str) -> Self {
        let message = format!("{at}.{name} in body is a forbidden property");
        Self::invalid(path, at, name.into(), message)
    }

    pub(super) fn required(path: &Path, at: &Place<'_>) -> Self {
        let message = format!("{at} in body is required");
        let error = field::required(&at.below(path), "");
        Finding { message, error }
    }
}

fn text(value: GoNumber) -> String {
    match value {
        GoNumber::Int(number) => number.to_string(),
        GoNumber::Float(number) => format_float(number),
    }
}
