//! `int(x)`, `string(x)` and the like. Upstream: the `ConvertToType` methods in common/types of cel-go.

use crate::env::Function;
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{
    Timestamp, Value, duration_text, format_double, parse_duration, parse_timestamp,
};

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let a = || Type::Param("A");
    vec![
        Function::new("type")
            .unguarded()
            .global("type", &[a()], Type::type_of(a()), |args| {
                Ok(Value::Type(args[0].type_of()))
            }),
        Function::new("dyn")
            .unguarded()
            .global("to_dyn", &[a()], Type::Dyn, |args| Ok(args[0].clone())),
        Function::new("bool")
            .global("bool_to_bool", &[Type::Bool], Type::Bool, same)
            .global("string_to_bool", &[Type::String], Type::Bool, to_bool),
        Function::new("bytes")
            .global("bytes_to_bytes", &[Type::Bytes], Type::Bytes, same)
            .global("string_to_bytes", &[Type::String], Type::Bytes, to_bytes),
        Function::new("double")
            .global("double_to_double", &[Type::Double], Type::Double, same)
            .global("int64_to_double", &[Type::Int], Type::Double, to_double)
            .global("string_to_double", &[Type::String], Type::Double, to_double)
            .global("uint64_to_double", &[Type::Uint], Type::Double, to_double),
        Function::new("duration")
            .global(
                "duration_to_duration",
                &[Type::Duration],
                Type::Duration,
                same,
            )
            .global("int64_to_duration", &[Type::Int], Type::Duration, |args| {
                to_duration(&args[0])
            })
            .global(
                "string_to_duration",
                &[Type::String],
                Type::Duration,
                |args| to_duration(&args[0]),
            ),
        Function::new("int")
            .global("int64_to_int64", &[Type::Int], Type::Int, same)
            .global("double_to_int64", &[Type::Double], Type::Int, to_int)
            .global("duration_to_int64", &[Type::Duration], Type::Int, to_int)
            .global("string_to_int64", &[Type::String], Type::Int, to_int)
            .global("timestamp_to_int64", &[Type::Timestamp], Type::Int, to_int)
            .global("uint64_to_int64", &[Type::Uint], Type::Int, to_int),
        Function::new("string")
            .global("string_to_string", &[Type::String], Type::String, same)
            .global("bool_to_string", &[Type::Bool], Type::String, to_string)
            .global("bytes_to_string", &[Type::Bytes], Type::String, to_string)
            .global("double_to_string", &[Type::Double], Type::String, to_string)
            .global(
                "duration_to_string",
                &[Type::Duration],
                Type::String,
                to_string,
            )
            .global("int64_to_string", &[Type::Int], Type::String, to_string)
            .global(
                "timestamp_to_string",
                &[Type::Timestamp],
                Type::String,
                to_string,
            )
            .global("uint64_to_string", &[Type::Uint], Type::String, to_string),
        Function::new("timestamp")
            .global(
                "timestamp_to_timestamp",
                &[Type::Timestamp],
                Type::Timestamp,
                same,
            )
            .global(
                "int64_to_timestamp",
                &[Type::Int],
                Type::Timestamp,
                |args| to_timestamp(&args[0]),
            )
            .global(
                "string_to_timestamp",
                &[Type::String],
                Type::Timestamp,
                |args| to_timestamp(&args[0]),
            ),
        Function::new("uint")
            .global("uint64_to_uint64", &[Type::Uint], Type::Uint, same)
            .global("double_to_uint64", &[Type::Double], Type::Uint, to_uint)
            .global("int64_to_uint64", &[Type::Int], Type::Uint, to_uint)
            .global("string_to_uint64", &[Type::String], Type::Uint, to_uint),
    ]
}

fn same<'a>(args: &[Value<'a>]) -> Result<'a> {
    Ok(args[0].clone())
}

fn refused<'a>(value: &Value<'_>, to: &Type) -> Result<'a> {
    let from = value.type_of();
    // Types are shown with their parameters here.
    Err(EvalError::new(format!(
        "type conversion error from '{from}' to '{to}'"
    )))
}

fn overflow<'a>(what: &str) -> Result<'a> {
    Err(EvalError::new(format!("{what} overflow")))
}

fn to_bool<'a>(args: &[Value<'a>]) -> Result<'a> {
    match args[0].as_str() {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Value::Bool(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Value::Bool(false)),
        _ => refused(&args[0], &Type::Bool),
    }
}

fn to_bytes<'a>(args: &[Value<'a>]) -> Result<'a> {
    match args[0].as_str() {
        Some(text) => Ok(Value::Bytes(text.as_bytes().into())),
        None => refused(&args[0], &Type::Bytes),
    }
}

fn to_double<'a>(args: &[Value<'a>]) -> Result<'a> {
    match &args[0] {
        Value::Int(number) => Ok(Value::Double(*number as f64)),
        Value::Uint(number) => Ok(Value::Double(*number as f64)),
        Value::String(text) => match parse_double(text) {
            Some(number) => Ok(Value::Double(number)),
            None => refused(&args[0], &Type::Double),
        },
        other => refused(other, &Type::Double),
    }
}

/// A number as Go reads it: also with grouped digits, `inf` in any case, and hexadecimal digits.
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    // Digits may be grouped.
    if text.contains('_') {
        let grouped = text.split('_').collect::<Vec<_>>();
        let joined = grouped.windows(2).all(|pair| {
            pair[0].ends_with(|c: char| c.is_ascii_hexdigit())
                && pair[1].starts_with(|c: char| c.is_ascii_hexdigit())
        });
        return if joined {
            parse_double(&grouped.concat())
        } else {
            None
        };
    }
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(rest) if text.starts_with('-') => (-1.0, rest),
        Some(rest) => (1.0, rest),
        None => (1.0, text),
    };
    match digits.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => return Some(sign * f64::INFINITY),
        "nan" if digits.len() == text.len() => return Some(f64::NAN),
        lower if lower.starts_with("0x") => {
            return hexadecimal(&lower[2..]).map(|number| sign * number);
        }
        _ => {}
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// `1.8p3`, without the `0x`.
fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut number = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        number = number * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let exponent: i32 = exponent.parse().ok()?;
    Some(number * 2f64.powi(exponent.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?))
        .filter(|n| n.is_finite())
}

/// The value as a duration.
pub(crate) fn to_duration<'a>(value: &Value<'_>) -> Result<'a> {
    match value {
        Value::Duration(nanoseconds) => Ok(Value::Duration(*nanoseconds)),
        Value::String(text) => match parse_duration(text) {
            Some(nanoseconds) => Ok(Value::Duration(nanoseconds)),
            None => refused(value, &Type::Duration),
        },
        other => refused(other, &Type::Duration),
    }
}

/// The value as a point in time.
pub(crate) fn to_timestamp<'a>(value: &Value<'_>) -> Result<'a> {
    match value {
        Value::Timestamp(time) => Ok(Value::Timestamp(*time)),
        Value::Int(seconds) => Timestamp::from_unix(*seconds, 0).map(Value::Timestamp),
        Value::String(text) => match parse_timestamp(text) {
            Some(time) => time.map(Value::Timestamp),
            None => refused(value, &Type::Timestamp),
        },
        other => refused(other, &Type::Timestamp),
    }
}

fn to_int<'a>(args: &[Value<'a>]) -> Result<'a> {
    match &args[0] {
        Value::Uint(number) => match i64::try_from(*number) {
            Ok(number) => Ok(Value::Int(number)),
            Err(_) => overflow("integer"),
        },
        Value::Double(number) => {
            let limit = 9_223_372_036_854_775_808.0;
            if *number > -limit && *number < limit {
                Ok(Value::Int(*number as i64))
            } else {
                overflow("integer")
            }
        }
        Value::Duration(nanoseconds) => Ok(Value::Int(*nanoseconds)),
        Value::Timestamp(time) => Ok(Value::Int(time.unix())),
        Value::String(text) => match text.parse() {
            Ok(number) => Ok(Value::Int(number)),
            Err(_) => refused(&args[0], &Type::Int),
        },
        other => refused(other, &Type::Int),
    }
}

fn to_uint<'a>(args: &[Value<'a>]) -> Result<'a> {
    match &args[0] {
        Value::Int(number) => match u64::try_from(*number) {
            Ok(number) => Ok(Value::Uint(number)),
            Err(_) => overflow("unsigned integer"),
        },
        Value::Double(number) => {
            let fits = *number >= 0.0 && *number < 18_446_744_073_709_551_616.0;
            if fits {
                Ok(Value::Uint(*number as u64))
            } else {
                overflow("unsigned integer")
            }
        }
        Value::String(text) => match text.parse() {
            Ok(number) if !text.starts_with('+') => Ok(Value::Uint(number)),
            _ => refused(&args[0], &Type::Uint),
        },
        other => refused(other, &Type::Uint),
    }
}

fn to_string<'a>(args: &[Value<'a>]) -> Result<'a> {
    text_of(&args[0])
}

/// The value as text.
pub(crate) fn text_of<'a>(value: &Value<'a>) -> Result<'a> {
    Ok(match value {
        Value::String(_) => value.clone(),
        Value::Null => Value::from("null".to_owned()),
        Value::Bool(value) => Value::from(value.to_string()),
        Value::Int(number) => Value::from(number.to_string()),
        Value::Uint(number) => Value::from(number.to_string()),
        Value::Double(number) => Value::from(format_double(*number)),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::from(text.to_owned()),
            Err(_) => {
                return Err(EvalError::new(
                    "invalid UTF-8 in bytes, cannot convert to string",
                ));
            }
        },
        Value::Timestamp(time) => Value::from(time.to_string()),
        Value::Duration(nanoseconds) => Value::from(duration_text(*nanoseconds)),
        Value::Type(of) => Value::from(of.name().into_owned()),
        other => return refused(other, &Type::String),
    })
}
