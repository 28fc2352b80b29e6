//! `"...%s...".format([...])`. Upstream: ext/formatting.go of cel-go.

use apimachinery::quote;

use super::conversions::{parse_double, text_of};
use crate::checker::Checked;
use crate::syntax::ast::{Expr, Kind};
use crate::types::Type;
use crate::value::{List, Map, Value};

const DEFAULT_PRECISION: usize = 6;
/// More digits are not written.
const MAX_PRECISION: usize = 1_000_000;

/// What stands after a `%`.
#[derive(Clone, Copy, PartialEq)]
enum Clause {
    String,
    Decimal,
    Fixed(usize),
    Scientific(usize),
    Binary,
    Hex { upper: bool },
    Octal,
}

impl Clause {
    fn refusal(self, of: &str) -> String {
        let what = match self {
            Clause::String => {
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, \
                 and timestamps"
            }
            Clause::Decimal => "decimal clause can only be used on integers",
            Clause::Fixed(_) => "fixed-point clause can only be used on doubles",
            Clause::Scientific(_) => "scientific clause can only be used on doubles",
            Clause::Binary => "only integers and bools can be formatted as binary",
            Clause::Hex { .. } => {
                "only integers, byte buffers, and strings can be formatted as hex"
            }
            Clause::Octal => "octal clause can only be used on integers",
        };
        format!("{what}, was given {of}")
    }
}

/// Formats values.
pub(crate) fn format(format: &str, args: &List<'_>) -> Result<String, String> {
    walk(format, |index, clause, out| {
        let arg = args
            .get(index)
            .map_err(|_| format!("index {index} out of range"))?;
        let Some(clause) = clause? else {
            return Err("unexpected end of string".to_owned());
        };
        let text =
            render(clause, &arg).map_err(|error| format!("error during formatting: {error}"))?;
        out.push_str(&text);
        Ok(())
    })
}

/// Checks the types of arguments. An error names the argument it is about, if it is about one.
pub(crate) fn check(
    format: &str,
    args: &[Expr],
    checked: &Checked,
) -> Result<(), (Option<u32>, String)> {
    let mut blamed = None;
    let mut seen = 0;
    walk(format, |index, clause, _| {
        seen = index + 1;
        let Some(clause) = clause? else {
            return Err("unexpected end of string".to_owned());
        };
        let arg = args
            .get(index)
            .ok_or_else(|| format!("index {index} out of range"))?;
        if let Some((id, of)) = misfit(clause, arg, checked) {
            blamed = Some(id);
            return Err(format!("error during formatting: {}", clause.refusal(&of)));
        }
        Ok(())
    })
    .map_err(|message| (blamed, message))?;
    if args.len() > seen {
        let given = args.len();
        return Err((
            None,
            format!("too many arguments supplied to string.format (expected {seen}, got {given})"),
        ));
    }
    Ok(())
}

/// Goes over a format; calls `insert` with the number of each argument and its clause, none where the text ends.
fn walk(
    format: &str,
    mut insert: impl FnMut(usize, Result<Option<Clause>, String>, &mut String) -> Result<(), String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(format.len());
    let mut rest = format;
    let mut index = 0;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        match parse_clause(rest) {
            Ok((length, clause)) => {
                insert(index, Ok(clause), &mut out)?;
                rest = &rest[length..];
            }
            Err(error) => insert(
                index,
                Err(format!("could not parse formatting clause: {error}")),
                &mut out,
            )?,
        }
        index += 1;
    }
    out.push_str(rest);
    Ok(out)
}

fn parse_clause(text: &str) -> Result<(usize, Option<Clause>), String> {
    let mut at = 0;
    let mut precision = DEFAULT_PRECISION;
    if let Some(digits) = text.strip_prefix('.') {
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        if length == digits.len() {
            return Err(
                "error while parsing precision: could not find end of precision specifier"
                    .to_owned(),
            );
        }
        precision = digits[..length].parse().map_err(|_| {
            let why = if length == 0 { "invalid syntax" } else { "value out of range" };
            format!(
                "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing {}: \
                 {why}",
                quote::quote(&digits[..length])
            )
        })?;
        at = 1 + length;
    }
    let clause = match text[at..].bytes().next() {
        None => return Ok((at, None)),
        Some(b's') => Clause::String,
        Some(b'd') => Clause::Decimal,
        Some(b'f') => Clause::Fixed(precision),
        Some(b'e') => Clause::Scientific(precision),
        Some(b'b') => Clause::Binary,
        Some(b'x') => Clause::Hex { upper: false },
        Some(b'X') => Clause::Hex { upper: true },
        Some(b'o') => Clause::Octal,
        Some(other) => {
            return Err(format!(
                "unrecognized formatting clause \"{}\"",
                char::from(other)
            ));
        }
    };
    Ok((at + 1, Some(clause)))
}

/// The node that a clause cannot format, with its type.
fn misfit(clause: Clause, arg: &Expr, checked: &Checked) -> Option<(u32, String)> {
    let of = checked.type_of(arg);
    let fits = match clause {
        _ if of.is_dyn() => true,
        Clause::String => !matches!(of, Type::Opaque(..) | Type::Struct(_) | Type::Error),
        Clause::Decimal | Clause::Octal => matches!(of, Type::Int | Type::Uint),
        Clause::Fixed(_) | Clause::Scientific(_) => matches!(of, Type::Double | Type::String),
        Clause::Binary => matches!(of, Type::Int | Type::Uint | Type::Bool),
        Clause::Hex { .. } => matches!(of, Type::Int | Type::Uint | Type::String | Type::Bytes),
    };
    if !fits {
        return Some((arg.id, of.name().into_owned()));
    }
    match (&arg.kind, clause) {
        (Kind::List { elements, .. }, Clause::String) => elements
            .iter()
            .find_map(|element| misfit(clause, element, checked)),
        (Kind::Map { entries }, Clause::String) => entries.iter().find_map(|entry| {
            misfit(clause, &entry.key, checked).or_else(|| misfit(clause, &entry.value, checked))
        }),
        _ => None,
    }
}

fn render(clause: Clause, value: &Value<'_>) -> Result<String, String> {
    Ok(match (clause, value) {
        (Clause::String, value) => return render_string(value),
        (Clause::Decimal, Value::Int(number)) => number.to_string(),
        (Clause::Decimal, Value::Uint(number)) => number.to_string(),
        (Clause::Fixed(precision), value) if let Some(number) = number_of(value) => {
            fixed(number, precision)?
        }
        (Clause::Scientific(precision), value) if let Some(number) = number_of(value) => {
            scientific(number, precision)?
        }
        (Clause::Binary, Value::Int(number)) => signed(*number, |number| format!("{number:b}")),
        (Clause::Binary, Value::Uint(number)) => format!("{number:b}"),
        (Clause::Binary, Value::Bool(value)) => if *value { "1" } else { "0" }.to_owned(),
        (Clause::Octal, Value::Int(number)) => signed(*number, |number| format!("{number:o}")),
        (Clause::Octal, Value::Uint(number)) => format!("{number:o}"),
        (Clause::Hex { upper }, value) => {
            let text = match value {
                Value::Int(number) => signed(*number, |number| format!("{number:x}")),
                Value::Uint(number) => format!("{number:x}"),
                Value::String(text) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
                Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                other => return Err(clause.refusal(&other.type_of().name())),
            };
            if upper {
                text.to_ascii_uppercase()
            } else {
                text
            }
        }
        (clause, other) => return Err(clause.refusal(&other.type_of().name())),
    })
}

fn signed(number: i64, render: impl Fn(u64) -> String) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", render(number.unsigned_abs()))
}

/// A double, or the text of one that has no digits.
fn number_of(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(number) => Some(*number),
        Value::String(text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => {
            parse_double(text)
        }
        _ => None,
    }
}

/// Digits after the point, however many are asked for.
fn digits(number: f64, precision: usize) -> Result<String, String> {
    if precision > MAX_PRECISION {
        return Err(format!("precision {precision} is too large"));
    }
    // No double has more.
    let exact = precision.min(1100);
    Ok(format!("{number:.exact$}{}", "0".repeat(precision - exact)))
}

fn without_digits(number: f64) -> Option<String> {
    match number {
        number if number.is_nan() => Some("NaN".to_owned()),
        number if number.is_infinite() => Some(if number > 0.0 { "∞" } else { "-∞" }.to_owned()),
        _ => None,
    }
}

/// As written in American English: groups of three digits.
fn fixed(number: f64, precision: usize) -> Result<String, String> {
    if let Some(text) = without_digits(number) {
        return Ok(text);
    }
    let text = digits(number, precision)?;
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", text.as_str()),
    };
    let whole = unsigned.find('.').unwrap_or(unsigned.len());
    let mut out = sign.to_owned();
    for (index, c) in unsigned[..whole].char_indices() {
        if index > 0 && (whole - index) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    out.push_str(&unsigned[whole..]);
    Ok(out)
}

/// `1.500000×10⁰³`, with at least two digits in the exponent. What is written as precision upstream takes for the width.
fn scientific(number: f64, width: usize) -> Result<String, String> {
    if width > MAX_PRECISION {
        return Err(format!("precision {width} is too large"));
    }
    let text = without_digits(number).unwrap_or_else(|| {
        const SUPERSCRIPT: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
        let text = format!("{number:.DEFAULT_PRECISION$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ("⁻", exponent),
            None => ("", exponent),
        };
        let digits = format!("{exponent:0>2}");
        let digits: String = digits
            .bytes()
            .map(|digit| SUPERSCRIPT[usize::from(digit - b'0')])
            .collect();
        format!("{mantissa}×10{sign}{digits}")
    });
    Ok(format!(
        "{}{text}",
        " ".repeat(width.saturating_sub(text.chars().count()))
    ))
}

fn render_string(value: &Value<'_>) -> Result<String, String> {
    match value {
        Value::List(list) => render_list(list),
        Value::Map(map) => render_map(map),
        Value::Optional(_) | Value::Opaque(_) | Value::Struct(_) | Value::Preserved(_) => {
            Err(Clause::String.refusal(&value.type_of().name()))
        }
        value => match text_of(value) {
            Ok(Value::String(text)) => Ok(text.to_string()),
            Ok(_) => Err("could not convert argument to string".to_owned()),
            Err(error) => Err(format!(
                "could not convert argument {} to string",
                quote::quote(&error.to_string())
            )),
        },
    }
}

/// A value inside of a list or map.
fn render_element(value: &Value<'_>) -> Result<String, String> {
    Ok(match value {
        Value::String(text) => quote::quote(text),
        Value::Bytes(bytes) => format!("b{}", quote::quote(&String::from_utf8_lossy(bytes))),
        Value::Timestamp(time) => format!("timestamp({})", quote::quote(&time.to_string())),
        Value::Duration(_) => format!("duration({})", quote::quote(&render_string(value)?)),
        Value::Double(number) if number.is_nan() => "\"NaN\"".to_owned(),
        Value::Double(number) if number.is_infinite() => if *number > 0.0 {
            "\"+Inf\""
        } else {
            "\"-Inf\""
        }
        .to_owned(),
        Value::Double(number) => digits(*number, DEFAULT_PRECISION)?,
        Value::Optional(_) | Value::Opaque(_) | Value::Struct(_) | Value::Preserved(_) => {
            return Err(format!(
                "no formatting function for {}",
                value.type_of().name()
            ));
        }
        value => return render_string(value),
    })
}

fn render_list(list: &List<'_>) -> Result<String, String> {
    let mut parts = Vec::with_capacity(list.len());
    for element in list.iter() {
        parts.push(render_element(
            &element.map_err(|error| error.to_string())?,
        )?);
    }
    Ok(format!("[{}]", parts.join(", ")))
}

fn render_map(map: &Map<'_>) -> Result<String, String> {
    let mut parts = Vec::with_capacity(map.len());
    for key in map.keys() {
        if !matches!(
            key,
            Value::String(_) | Value::Bool(_) | Value::Int(_) | Value::Uint(_)
        ) {
            return Err(format!(
                "no formatting function for map key of type {}",
                key.type_of().name()
            ));
        }
        let value = map
            .find(&key)
            .map_err(|error| error.to_string())?
            .unwrap_or(Value::Null);
        parts.push((render_element(&key)?, render_element(&value)?));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(key, value)| format!("{key}:{value}"))
        .collect();
    Ok(format!("{{{}}}", parts.join(", ")))
}
