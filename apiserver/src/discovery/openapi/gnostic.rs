//! The protobuf form of the Swagger 2.0 document. Upstream: gnostic-models/openapiv2.
//!
//! Takes JSON values and knows the message of each place. Values that the messages have no field for (extensions,
//! enum members) travel as YAML text.

use serde_json::{Map, Value};

/// Appends protobuf fields.
#[derive(Debug, Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn data(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// A text; empty ones are left out, as proto3 does.
    pub(super) fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.data(field, text.as_bytes());
        }
    }

    fn flag(&mut self, field: u32, value: bool) {
        if value {
            self.varint(u64::from(field) << 3);
            self.varint(1);
        }
    }

    /// A flag of a choice, which is written whatever it is.
    pub(super) fn always_flag(&mut self, field: u32, value: bool) {
        self.varint(u64::from(field) << 3);
        self.varint(u64::from(value));
    }

    /// A number of a choice.
    pub(super) fn always_double(&mut self, field: u32, value: f64) {
        self.varint(u64::from(field) << 3 | 1);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A text of a choice.
    pub(super) fn always_text(&mut self, field: u32, text: &str) {
        self.data(field, text.as_bytes());
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn message(&mut self, field: u32, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.data(field, &inner.bytes);
    }

    pub(super) fn texts(&mut self, field: u32, list: Option<&Value>) {
        for item in list.and_then(Value::as_array).into_iter().flatten() {
            self.data(field, item.as_str().unwrap_or_default().as_bytes());
        }
    }

    pub(super) fn member_text(&mut self, field: u32, object: &Map<String, Value>, key: &str) {
        self.text(
            field,
            object.get(key).and_then(Value::as_str).unwrap_or_default(),
        );
    }

    pub(super) fn member_flag(&mut self, field: u32, object: &Map<String, Value>, key: &str) {
        self.flag(field, object.get(key) == Some(&Value::Bool(true)));
    }

    /// A whole number; zero is left out, as proto3 does.
    pub(super) fn member_int(&mut self, field: u32, object: &Map<String, Value>, key: &str) {
        let value = object.get(key).and_then(Value::as_i64).unwrap_or_default();
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value.cast_unsigned());
        }
    }

    pub(super) fn member_double(&mut self, field: u32, object: &Map<String, Value>, key: &str) {
        let value = object.get(key).and_then(Value::as_f64).unwrap_or_default();
        if value != 0.0 {
            self.varint(u64::from(field) << 3 | 1);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// `NamedAny` for every `x-` member.
    pub(super) fn extensions(&mut self, field: u32, object: &Map<String, Value>) {
        for (key, value) in object.iter().filter(|(key, _)| key.starts_with("x-")) {
            self.message(field, |named| {
                named.text(1, key);
                named.message(2, |any| any.text(2, &yaml(value)));
            });
        }
    }
}

/// The document while it is put together.
#[derive(Debug, Default)]
pub(super) struct Document {
    paths: Message,
    definitions: Message,
    parameters: Message,
}

impl Document {
    pub(super) fn path(&mut self, path: &str, item: &Value) {
        self.paths.message(2, |named| {
            named.text(1, path);
            named.message(2, |out| path_item(out, item));
        });
    }

    pub(super) fn definition(&mut self, name: &str, value: &Value) {
        self.definitions.message(1, |named| {
            named.text(1, name);
            named.message(2, |out| schema(out, value));
        });
    }

    pub(super) fn parameter(&mut self, name: &str, value: &Value) {
        self.parameters.message(1, |named| {
            named.text(1, name);
            named.message(2, |out| parameter(out, value));
        });
    }

    /// The paths, definitions and parameters alone, to append to a document.
    pub(super) fn tables(self) -> Vec<u8> {
        let mut out = Message::default();
        out.data(8, &self.paths.bytes);
        out.data(9, &self.definitions.bytes);
        out.data(10, &self.parameters.bytes);
        out.bytes
    }

    pub(super) fn finish(self, title: &str, version: &str) -> Vec<u8> {
        let mut out = Message::default();
        out.text(1, "2.0");
        out.message(2, |info| {
            info.text(1, title);
            info.text(2, version);
        });
        out.data(8, &self.paths.bytes);
        out.data(9, &self.definitions.bytes);
        out.data(10, &self.parameters.bytes);
        out.message(12, |requirement| {
            requirement.message(1, |named| {
                named.text(1, "BearerToken");
                named.message(2, |_| {});
            });
        });
        out.message(13, |definitions| {
            definitions.message(1, |named| {
                named.text(1, "BearerToken");
                named.message(2, |item| {
                    item.message(2, |key| {
                        key.text(1, "apiKey");
                        key.text(2, "authorization");
                        key.text(3, "header");
                        key.text(4, "Bearer Token authentication");
                    });
                });
            });
        });
        out.bytes
    }
}

fn path_item(out: &mut Message, item: &Value) {
    let Some(item) = item.as_object() else { return };
    for (field, method) in [
        (2, "get"),
        (3, "put"),
        (4, "post"),
        (5, "delete"),
        (6, "options"),
        (7, "head"),
        (8, "patch"),
    ] {
        if let Some(value) = item.get(method).and_then(Value::as_object) {
            out.message(field, |out| operation(out, value));
        }
    }
    parameters(out, 9, item);
}

fn operation(out: &mut Message, value: &Map<String, Value>) {
    out.texts(1, value.get("tags"));
    out.member_text(3, value, "description");
    out.member_text(5, value, "operationId");
    out.texts(6, value.get("produces"));
    out.texts(7, value.get("consumes"));
    parameters(out, 8, value);
    out.message(9, |responses| {
        let codes = value.get("responses").and_then(Value::as_object);
        for (code, response) in codes.into_iter().flatten() {
            responses.message(1, |named| {
                named.text(1, code);
                named.message(2, |value| {
                    value.message(1, |out| {
                        if let Some(response) = response.as_object() {
                            out.member_text(1, response, "description");
                            if let Some(content) = response.get("schema") {
                                out.message(2, |item| item.message(1, |out| schema(out, content)));
                            }
                        }
                    });
                });
            });
        }
    });
    out.texts(10, value.get("schemes"));
    out.extensions(13, value);
}

fn parameters(out: &mut Message, field: u32, owner: &Map<String, Value>) {
    let list = owner.get("parameters").and_then(Value::as_array);
    for value in list.into_iter().flatten() {
        out.message(field, |item| {
            match value.get("$ref").and_then(Value::as_str) {
                Some(reference) => item.message(2, |out| out.text(1, reference)),
                None => item.message(1, |out| parameter(out, value)),
            }
        });
    }
}

fn parameter(out: &mut Message, value: &Value) {
    let Some(value) = value.as_object() else {
        return;
    };
    let location = value.get("in").and_then(Value::as_str).unwrap_or_default();
    if location == "body" {
        out.message(1, |body| {
            body.member_text(1, value, "description");
            body.member_text(2, value, "name");
            body.text(3, location);
            body.member_flag(4, value, "required");
            if let Some(content) = value.get("schema") {
                body.message(5, |out| schema(out, content));
            }
        });
        return;
    }
    out.message(2, |other| {
        let query = location == "query";
        other.message(if query { 3 } else { 4 }, |out| {
            out.member_flag(1, value, "required");
            out.text(2, location);
            out.member_text(3, value, "description");
            out.member_text(4, value, "name");
            // Queries have `allow_empty_value` in between.
            out.member_text(if query { 6 } else { 5 }, value, "type");
            out.member_flag(if query { 20 } else { 19 }, value, "uniqueItems");
        });
    });
}

fn schema(out: &mut Message, value: &Value) {
    let Some(value) = value.as_object() else {
        return;
    };
    out.member_text(1, value, "$ref");
    out.member_text(2, value, "format");
    out.member_text(3, value, "title");
    out.member_text(4, value, "description");
    out.member_double(6, value, "multipleOf");
    out.member_double(7, value, "maximum");
    out.member_flag(8, value, "exclusiveMaximum");
    out.member_double(9, value, "minimum");
    out.member_flag(10, value, "exclusiveMinimum");
    out.member_int(11, value, "maxLength");
    out.member_int(12, value, "minLength");
    out.member_text(13, value, "pattern");
    out.member_int(14, value, "maxItems");
    out.member_int(15, value, "minItems");
    out.member_flag(16, value, "uniqueItems");
    out.member_int(17, value, "maxProperties");
    out.member_int(18, value, "minProperties");
    out.texts(19, value.get("required"));
    for item in value
        .get("enum")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        out.message(20, |any| any.text(2, &yaml(item)));
    }
    if let Some(values) = value.get("additionalProperties") {
        out.message(21, |item| match values {
            Value::Bool(allowed) => item.flag(2, *allowed),
            values => item.message(1, |out| schema(out, values)),
        });
    }
    if let Some(ty) = value.get("type").and_then(Value::as_str) {
        out.message(22, |item| item.text(1, ty));
    }
    if let Some(items) = value.get("items") {
        out.message(23, |list| list.message(1, |out| schema(out, items)));
    }
    if let Some(properties) = value.get("properties").and_then(Value::as_object) {
        out.message(25, |list| {
            for (name, property) in properties {
                list.message(1, |named| {
                    named.text(1, name);
                    named.message(2, |out| schema(out, property));
                });
            }
        });
    }
    if let Some(documents) = value.get("externalDocs").and_then(Value::as_object) {
        out.message(29, |out| {
            out.member_text(1, documents, "description");
            out.member_text(2, documents, "url");
        });
    }
    if let Some(example) = value.get("example") {
        out.message(30, |any| any.text(2, &yaml(example)));
    }
    out.extensions(31, value);
}

/// A value as YAML with a final newline.
pub(super) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    write_yaml(&mut out, value, 0, true);
    out
}

fn write_yaml(out: &mut String, value: &Value, indent: usize, at_line_start: bool) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 || at_line_start {
                    out.extend(std::iter::repeat_n(' ', indent));
                }
                out.push_str("- ");
                write_yaml(out, item, indent + 2, false);
            }
        }
        Value::Object(members) if !members.is_empty() => {
            for (index, (key, member)) in members.iter().enumerate() {
                if index > 0 || at_line_start {
                    out.extend(std::iter::repeat_n(' ', indent));
                }
                out.push_str(&scalar(key));
                out.push(':');
                match member {
                    Value::Array(items) if !items.is_empty() => {
                        out.push('\n');
                        write_yaml(out, member, (indent / 4 + 1) * 4, true);
                    }
                    Value::Object(inner) if !inner.is_empty() => {
                        out.push('\n');
                        write_yaml(out, member, (indent / 4 + 1) * 4, true);
                    }
                    plain => {
                        out.push(' ');
                        write_yaml(out, plain, indent, false);
                    }
                }
            }
        }
        Value::String(text) => {
            out.push_str(&scalar(text));
            out.push('\n');
        }
        other => {
            out.push_str(&other.to_string());
            out.push('\n');
        }
    }
}

/// A text as a YAML scalar: plain where no reader can take it for something else. Texts of several lines are quoted,
/// where upstream's encoder makes blocks of them.
fn scalar(text: &str) -> String {
    if is_other_scalar(text) || !text.chars().all(is_printable) {
        return double_quoted(text);
    }
    if is_plain(text) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// Whether an unquoted text is null, a boolean, a number or a time.
fn is_other_scalar(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number_like = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    match text.to_ascii_lowercase().as_str() {
        "" | "~" | "null" | "true" | "false" | "<<" | ".nan" | ".inf" | "+.inf" | "-.inf" => true,
        _ if !number_like => false,
        lower => {
            let based = ["0x", "0o", "0b"];
            let digits = lower.trim_start_matches(['+', '-']);
            let date = digits.len() > 4
                && digits.bytes().take(4).all(|byte| byte.is_ascii_digit())
                && digits.as_bytes().get(4) == Some(&b'-');
            date || based.iter().any(|prefix| digits.starts_with(prefix))
                || lower.replace('_', "").parse::<f64>().is_ok()
        }
    }
}

/// Whether a text stands for itself in a quoted scalar of one line.
fn is_printable(c: char) -> bool {
    // The separators of lines and paragraphs, and the byte order mark, are not the text's own to a reader.
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Whether an unquoted text that is printable reads as itself.
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    let space_after = |index: usize| {
        let rest = text.get(index + 1..).unwrap_or_default();
        rest.is_empty() || rest.starts_with(' ')
    };
    let starts = match first {
        '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
        | '@' | '`' | ' ' => false,
        '?' | '-' => !space_after(0),
        _ => !text.starts_with("---") && !text.starts_with("..."),
    };
    starts
        && !text.ends_with(' ')
        && text.char_indices().all(|(index, c)| match c {
            ':' => !space_after(index),
            '#' => !text[..index].ends_with(' '),
            _ => true,
        })
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c => out.push_str(&format!("\\u{:04X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn extensions_are_yaml() {
        for (value, text) in [
            (json!("merge"), "merge\n"),
            (json!(""), "\"\"\n"),
            (json!("*"), "'*'\n"),
            (json!("client auth"), "client auth\n"),
            (json!("n"), "n\n"),
            (json!("true"), "\"true\"\n"),
            (json!("8080"), "\"8080\"\n"),
            (json!("1_000"), "\"1_000\"\n"),
            (json!("2026-01-02"), "\"2026-01-02\"\n"),
            (json!("1.2.3"), "1.2.3\n"),
            (json!("self.a < self.b"), "self.a < self.b\n"),
            (json!("!has(x) # y"), "'!has(x) # y'\n"),
            (json!("a: b"), "'a: b'\n"),
            (json!("it's: b"), "'it''s: b'\n"),
            (json!("- a"), "'- a'\n"),
            (
                json!("a\nb\u{7f}\u{2028}\\"),
                "\"a\\nb\\u007F\\u2028\\\\\"\n",
            ),
            (json!("merge,retainKeys"), "merge,retainKeys\n"),
            (json!(["name", "port"]), "- name\n- port\n"),
            (
                json!({"group": "", "kind": "Pod", "version": "v1"}),
                "group: \"\"\nkind: Pod\nversion: v1\n",
            ),
            (
                json!([{"discriminator": "type", "fields": {"a": "A"}}]),
                "- discriminator: type\n  fields:\n    a: A\n",
            ),
            (
                json!([{"group": "apps", "kind": "Deployment"}, {"group": "", "kind": "Pod"}]),
                "- group: apps\n  kind: Deployment\n- group: \"\"\n  kind: Pod\n",
            ),
        ] {
            assert_eq!(yaml(&value), text);
        }
    }

    #[test]
    fn a_schema_has_its_fields_in_order() {
        let mut out = Message::default();
        schema(&mut out, &json!({"type": "string", "format": "byte"}));
        assert_eq!(out.bytes, b"\x12\x04byte\xb2\x01\x08\x0a\x06string");
    }
}
