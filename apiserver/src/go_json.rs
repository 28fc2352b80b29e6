//! JSON as Go's decoder reads it: its words for text that it cannot decode, since clients see them.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &[u8], want: &str) {
        assert_eq!(parse_object(text), Err(want.to_owned()));
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
