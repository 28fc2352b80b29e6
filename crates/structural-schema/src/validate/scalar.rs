//! Types, strings, numbers and enum values. Upstream: type.go, validator.go and values.go of kube-openapi's validate.

use apimachinery::field::Path;
use serde_json::{Number, Value};

use super::Run;
use super::message::{Finding, Place};
use crate::node::{Check, Kind, Node};
use crate::number::{GoNumber, is_json_integer};
use crate::validate::format::Format;

/// Whether a schema names types. `x-kubernetes-int-or-string` names two, except where defaults are checked.
pub(super) fn is_typed(node: &Node, is_default: bool) -> bool {
    node.kind != Kind::Any || (node.flags.int_or_string && !is_default)
}

/// The types as messages name them.
pub(super) fn type_names(node: &Node, is_default: bool) -> String {
    if node.flags.int_or_string && !is_default {
        "integer,string".to_owned()
    } else {
        node.type_name().to_owned()
    }
}

pub(super) struct TypeError<'a> {
    at: &'a Place<'a>,
    expected: String,
    actual: &'static str,
}

impl TypeError<'_> {
    pub(super) fn into_finding(self, path: &Path) -> Finding {
        Finding::wrong_type(path, self.at, &self.expected, self.actual)
    }
}

/// What is wrong with the type of a value that is not null.
pub(super) fn type_error<'a>(
    node: &Node,
    value: &Value,
    at: &'a Place<'a>,
    is_default: bool,
) -> Option<TypeError<'a>> {
    let int_or_string = node.flags.int_or_string && !is_default;
    let names = |kind: Kind| {
        if int_or_string {
            matches!(kind, Kind::Integer | Kind::String)
        } else {
            node.kind == kind
        }
    };
    let (actual, actual_format) = match value {
        Value::Null => return None,
        Value::Bool(_) => (Kind::Boolean, ""),
        Value::String(_) => (Kind::String, ""),
        Value::Array(_) => (Kind::Array, ""),
        Value::Object(_) => (Kind::Object, ""),
        Value::Number(number) => match GoNumber::new(number) {
            GoNumber::Int(_) => (Kind::Integer, "int64"),
            GoNumber::Float(_) => (Kind::Number, "float64"),
        },
    };
    let fits = names(actual)
        || match value {
            Value::Number(number) => match GoNumber::new(number) {
                GoNumber::Int(_) => names(Kind::Number),
                GoNumber::Float(number) => names(Kind::Integer) && is_json_integer(number),
            },
            _ => false,
        };
    if let Some((_, format)) = node.format(is_default) {
        let is_text = matches!(value, Value::String(_) | Value::Array(_));
        if !is_text && !fits && actual_format != format {
            return Some(TypeError {
                at,
                expected: format.to_owned(),
                actual: actual_format,
            });
        }
        // As upstream: with a format of strings, lists pass too.
        if is_text && !names(Kind::Number) && !names(Kind::Integer) {
            return None;
        }
    }
    (!fits).then(|| TypeError {
        at,
        expected: type_names(node, is_default),
        actual: actual.name(),
    })
}

/// Whether a value is an allowed one. Go converts the value to the type of the allowed one first, which makes 1.5 an
/// allowed 1, and 65 an allowed "A". Null is never an allowed value.
pub(super) fn is_same(value: &Value, allowed: &Value) -> bool {
    match (value, allowed) {
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Number(value), Value::Number(allowed)) => {
            match (GoNumber::new(value), GoNumber::new(allowed)) {
                (GoNumber::Float(value), GoNumber::Int(allowed)) => value as i64 == allowed,
                (value, GoNumber::Float(allowed)) => value.as_f64() == allowed,
                (value, allowed) => value == allowed,
            }
        }
        (Value::Number(value), Value::String(allowed)) => {
            let GoNumber::Int(code) = GoNumber::new(value) else {
                return false;
            };
            let c = u32::try_from(code).ok().and_then(char::from_u32);
            let mut buffer = [0; 4];
            *c.unwrap_or('\u{fffd}').encode_utf8(&mut buffer) == **allowed
        }
        (value, allowed) => value == allowed,
    }
}

impl Run<'_> {
    /// Only the first thing wrong with a string is said.
    pub(super) fn string(&mut self, node: &Node, text: &str, at: &Place<'_>) {
        let mut length = None;
        let mut length = || *length.get_or_insert_with(|| text.chars().count() as i64);
        for check in &node.checks {
            match check {
                Check::MaxLength(max) if length() > *max => {
                    return self.add(|path| Finding::too_long(path, at, *max));
                }
                Check::MinLength(min) if length() < *min => {
                    return self.add(|path| Finding::too_short(path, at, *min, text));
                }
                Check::Pattern(pattern) => {
                    if let Some(error) = pattern.error() {
                        let pattern =
                            format!("{}, but pattern is invalid: {error}", pattern.source());
                        return self.add(|path| Finding::pattern(path, at, &pattern, text));
                    }
                    if !pattern.is_match(text) {
                        return self.add(|path| Finding::pattern(path, at, pattern.source(), text));
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn number(&mut self, node: &Node, number: &Number, at: &Place<'_>) {
        let value = GoNumber::new(number);
        let range = Range::of(node);
        if !range.holds(value) {
            self.add(|path| Finding::plain(path, range.message("Checked", at)));
        }
        // Upstream's order of messages is not the order of checks: multipleOf, minimum, maximum.
        for check in &node.checks {
            if let Check::MultipleOf(factor) = check {
                let native = range.holds(GoNumber::Float(*factor));
                if !native {
                    self.add(|path| Finding::plain(path, range.message("MultipleOf", at)));
                }
                self.multiple_of(value, *factor, native, at);
            }
        }
        for check in &node.checks {
            let Check::Minimum { limit, exclusive } = check else {
                continue;
            };
            let native = range.holds(GoNumber::Float(*limit));
            if !native {
                self.add(|path| Finding::plain(path, range.message("Minimum boundary", at)));
            }
            let (value, limit) = comparable(value, *limit, native);
            let below = match (value, limit) {
                (GoNumber::Int(value), GoNumber::Int(limit)) => {
                    value < limit || (*exclusive && value == limit)
                }
                (value, limit) => {
                    let (value, limit) = (value.as_f64(), limit.as_f64());
                    value < limit || (*exclusive && value == limit)
                }
            };
            if below {
                self.add(|path| Finding::minimum(path, at, limit, *exclusive, value));
            }
        }
        for check in &node.checks {
            let Check::Maximum { limit, exclusive } = check else {
                continue;
            };
            let native = range.holds(GoNumber::Float(*limit));
            if !native {
                self.add(|path| Finding::plain(path, range.message("Maximum boundary", at)));
            }
            let (value, limit) = comparable(value, *limit, native);
            let above = match (value, limit) {
                (GoNumber::Int(value), GoNumber::Int(limit)) => {
                    value > limit || (*exclusive && value == limit)
                }
                (value, limit) => {
                    let (value, limit) = (value.as_f64(), limit.as_f64());
                    value > limit || (*exclusive && value == limit)
                }
            };
            if above {
                self.add(|path| Finding::maximum(path, at, limit, *exclusive, value));
            }
        }
    }

    fn multiple_of(&mut self, value: GoNumber, factor: f64, native: bool, at: &Place<'_>) {
        let (value, of) = comparable(value, factor, native);
        match (value, of) {
            (GoNumber::Int(number), GoNumber::Int(factor)) => {
                if factor <= 0 {
                    self.add(|path| Finding::factor(path, at, of));
                } else if number % factor != 0 {
                    self.add(|path| Finding::multiple_of(path, at, of, value));
                }
            }
            (value, of) => {
                let number = value.as_f64();
                let factor = of.as_f64();
                if factor <= 0.0 {
                    return self.add(|path| Finding::factor(path, at, of));
                }
                let times = if factor < 1.0 {
                    1.0 / factor * number
                } else {
                    number / factor
                };
                if !is_json_integer(times) {
                    self.add(|path| Finding::multiple_of(path, at, of, value));
                }
            }
        }
    }
}

/// Integers are compared with the integer part of a limit, unless the limit is none their type can have.
fn comparable(value: GoNumber, limit: f64, native: bool) -> (GoNumber, GoNumber) {
    match value {
        // Go leaves open what becomes of a limit that is too large; here it is the largest integer there is.
        GoNumber::Int(_) if native => (value, GoNumber::Int(limit as i64)),
        value => (GoNumber::Float(value.as_f64()), GoNumber::Float(limit)),
    }
}

/// What numbers a type and format can hold.
struct Range<'a> {
    kind: Kind,
    format: Option<(Format, &'a str)>,
}

impl<'a> Range<'a> {
    fn of(node: &'a Node) -> Self {
        let kind = match node.kind {
            kind @ (Kind::Integer | Kind::Number) if !node.flags.int_or_string => kind,
            _ => Kind::Any,
        };
        Range {
            kind,
            format: node
                .format(false)
                .filter(|(format, _)| kind != Kind::Any && !format.is_text()),
        }
    }

    fn holds(&self, value: GoNumber) -> bool {
        let format = self.format.map(|(format, _)| format);
        match self.kind {
            Kind::Integer => {
                let value = match value {
                    GoNumber::Int(value) => value,
                    // As text it has to be an integer that fits.
                    GoNumber::Float(value) => {
                        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
                        if value.fract() != 0.0 || !(-LIMIT..LIMIT).contains(&value) {
                            return false;
                        }
                        value as i64
                    }
                };
                format != Some(Format::Int32) || i32::try_from(value).is_ok()
            }
            _ => {
                let value = value.as_f64();
                format != Some(Format::Float) || !value.is_finite() || (value as f32).is_finite()
            }
        }
    }

    fn message(&self, what: &str, at: &Place<'_>) -> String {
        let kind = self.kind.name();
        match self.format {
            Some((_, format)) => {
                format!("{what} value must be of type {kind} with format {format} in {at}")
            }
            None => format!("{what} value must be of type {kind} (default format) in {at}"),
        }
    }
}
