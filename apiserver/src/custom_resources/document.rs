//! Custom objects as JSON documents, for what works on those: schemas, managed fields, conversion.

use api_types::codec::{self, Header};
use api_types::{CustomObject, JSON};
use serde_json::{Map, Value};

/// The whole object. Fails for content that is nested deeper than documents are read.
pub fn of(object: &CustomObject) -> Result<Value, serde_json::Error> {
    let mut fields = content(object)?;
    for (key, text) in [
        ("apiVersion", &object.type_meta.api_version),
        ("kind", &object.type_meta.kind),
    ] {
        fields.insert(key.to_owned(), Value::String(text.clone()));
    }
    let metadata = metadata_of(object);
    fields.insert("metadata".to_owned(), metadata);
    Ok(Value::Object(fields))
}

fn metadata_of(object: &CustomObject) -> Value {
    let alone = CustomObject {
        metadata: object.metadata.clone(),
        ..CustomObject::default()
    };
    let json = codec::encode_json(&alone);
    match serde_json::from_slice(&json) {
        Ok(Value::Object(mut fields)) => fields.remove("metadata").unwrap_or_default(),
        _ => Value::Null,
    }
}

/// The fields besides apiVersion, kind and metadata.
pub fn content(object: &CustomObject) -> Result<Map<String, Value>, serde_json::Error> {
    object
        .content
        .iter()
        .map(|(key, json)| Ok((key.clone(), serde_json::from_slice(&json.raw)?)))
        .collect()
}

/// Replaces the fields besides apiVersion, kind and metadata.
pub fn set_content(object: &mut CustomObject, fields: Map<String, Value>) {
    object.content = fields
        .into_iter()
        .filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"))
        .map(|(key, value)| {
            let mut raw = Vec::new();
            write(&value, &mut raw);
            (key, JSON::new(raw))
        })
        .collect();
}

/// Appends a value as Go writes it: keys in order, whole floats without a fraction.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Number(number) => match number.as_i64() {
            Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
            None => codec::write_json_float(number.as_f64().unwrap_or_default(), out),
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

/// The JSON of an object under its own names.
pub fn json(object: &CustomObject) -> Vec<u8> {
    codec::encode_json_as(
        object,
        Header {
            api_version: &object.type_meta.api_version,
            kind: &object.type_meta.kind,
        },
    )
}

/// Reads a document back.
pub fn parse_object(document: &Value) -> Result<CustomObject, codec::DecodeError> {
    let mut text = Vec::new();
    write(document, &mut text);
    codec::decode_json(&text)
}
