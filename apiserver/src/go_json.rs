//! JSON as Go reads it, with its words for text that it cannot decode, since clients see them, and as Go writes it.

use api_types::codec;
pub use component_base::config::json_syntax_error as syntax_error;
use serde_json::{Map, Value};

/// Parses a text.
pub fn parse(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(text).map_err(|error| syntax_error(text, &error))
}

/// Parses a text into a map; null is an empty one.
pub fn parse_object(text: &[u8]) -> Result<Map<String, Value>, String> {
    match parse(text)? {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        other => Err(cannot_unmarshal(
            &other,
            "value of type map[string]interface {}",
        )),
    }
}

/// What is said of a value in the wrong place, such as a `struct field .kind of type string`.
pub fn cannot_unmarshal(value: &Value, target: &str) -> String {
    let what = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {what} into Go {target}")
}

/// Appends a value as Go writes it: keys in order, whole floats without a fraction.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Number(number) => match number.as_i64() {
            Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
            None => write_float(number.as_f64().unwrap_or_default(), out),
        },
        Value::String(text) => codec::write_json_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            out.push(b'{');
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                codec::write_json_string(key, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
    }
}

/// Zero has no sign: without a fraction it is read as an integer.
fn write_float(number: f64, out: &mut Vec<u8>) {
    if number == 0.0 {
        out.push(b'0');
    } else {
        codec::write_json_float(number, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &[u8], want: &str) {
        assert_eq!(parse_object(text), Err(want.to_owned()));
    }

    #[test]
    fn values_are_written_as_go_writes_them() {
        let text =
            r#"{"b": [1.0, -0, -0.0, 1e21, 12345678901234567, 0.5], "a": {"d": "<", "c": null}}"#;
        let mut written = Vec::new();
        write(&parse(text.as_bytes()).unwrap(), &mut written);
        assert_eq!(
            String::from_utf8(written).unwrap(),
            r#"{"a":{"c":null,"d":"\u003c"},"b":[1,0,0,1e+21,12345678901234567,0.5]}"#
        );
    }

    #[test]
    fn broken_text_is_described_as_go_does() {
        assert_eq!(parse_object(b"{}"), Ok(Map::new()));
        assert_eq!(parse_object(b"null"), Ok(Map::new()));
        refused(b"", "unexpected end of JSON input");
        refused(b"{", "unexpected end of JSON input");
        refused(
            b"nonsense",
            "invalid character 'o' in literal null (expecting 'u')",
        );
        refused(
            b"\x9e\x8f",
            r"invalid character '\u009e' looking for beginning of value",
        );
        refused(
            b"[1]",
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        );
    }
}
