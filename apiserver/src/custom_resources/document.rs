//! Custom objects as JSON documents, for what works on those: schemas, managed fields, conversion.

use api_types::codec::{self, Header};
use api_types::{CustomObject, JSON};
use serde_json::{Map, Value};

use crate::go_json;

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
            go_json::write(&value, &mut raw);
            (key, JSON::new(raw))
        })
        .collect();
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
    go_json::write(document, &mut text);
    codec::decode_json(&text)
}
