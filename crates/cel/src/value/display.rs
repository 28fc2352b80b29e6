//! Values in error messages, as Go's `%v` prints them.

use std::fmt;

use super::Value;

/// A number as Go's `%v` and `%g` print it: the shortest text that reads back the same, with an exponent from 1e6 on.
pub(crate) fn double(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{number}")
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("NULL_VALUE"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(number) => write!(f, "{number}"),
            Value::Uint(number) => write!(f, "{number}"),
            Value::Double(number) => f.write_str(&double(*number)),
            Value::String(text) => f.write_str(text),
            Value::Bytes(bytes) => {
                f.write_str("[")?;
                for (index, byte) in bytes.iter().enumerate() {
                    write!(f, "{}{byte}", if index == 0 { "" } else { " " })?;
                }
                f.write_str("]")
            }
            Value::Timestamp(time) => write!(f, "{time}"),
            Value::Duration(nanoseconds) => {
                f.write_str(&apimachinery::duration::format(*nanoseconds))
            }
            Value::List(list) => {
                f.write_str("[")?;
                for (index, element) in list.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    match element {
                        Ok(element) => write!(f, "{comma}{element}")?,
                        Err(error) => write!(f, "{comma}{error}")?,
                    }
                }
                f.write_str("]")
            }
            Value::Map(map) => {
                f.write_str("{")?;
                for (index, key) in map.keys().into_iter().enumerate() {
                    write!(f, "{}{key}: ", if index == 0 { "" } else { ", " })?;
                    if let Ok(Some(value)) = map.find(&key) {
                        write!(f, "{value}")?;
                    }
                }
                f.write_str("}")
            }
            Value::Type(of) => write!(f, "{of}"),
            Value::Optional(None) => f.write_str("optional.none()"),
            Value::Optional(Some(value)) => write!(f, "optional({value})"),
            Value::Opaque(opaque) => f.write_str(&opaque.text().unwrap_or_default()),
            Value::Struct(object) => f.write_str(&object.type_name),
            Value::Preserved(json) => write!(f, "{json}"),
        }
    }
}
