//! Errors show values as Go has them, where an empty list, map or text is not the same as none. The types do not tell the two
//! apart: what is shown as null is looked up in what was sent. Upstream: field.Error of apimachinery.

use std::fmt;

use api_types::schema::{FieldSchema, StructSchema, TypeRef};
use apimachinery::status::StatusError;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// What errors start with that show a value.
const SHOWN: [&str; 2] = ["Invalid value: ", "Unsupported value: "];
const NULL: &str = "null";

/// Says of invalid values what was sent in JSON, where they or parts of them are shown as null.
pub fn explain(error: StatusError, json: &[u8], schema: &'static StructSchema) -> StatusError {
    if error.code != 422 || !error.message.contains(NULL) {
        return error;
    }
    let Ok(document) = serde_json::from_slice::<Value>(json) else {
        return error;
    };
    let mut status = error.into_status();
    let causes = status.details.iter_mut().flat_map(|it| &mut it.causes);
    for cause in causes {
        let Some(told) = explained(&cause.message, &cause.field, &document, schema) else {
            continue;
        };
        let said = |message: &str| format!("{}: {message}", cause.field);
        status.message = status
            .message
            .replacen(&said(&cause.message), &said(&told), 1);
        cause.message = told;
    }
    status.into()
}

/// The message with the value that was sent, if it is another one.
fn explained(
    message: &str,
    field: &str,
    document: &Value,
    schema: &'static StructSchema,
) -> Option<String> {
    let start = SHOWN.iter().find(|start| message.starts_with(**start))?;
    let rest = &message[start.len()..];
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
    let shown = values.next()?.ok()?.get();
    let rest = &rest[values.byte_offset()..];
    let sent = at(document, field)?;
    let told = value(shown, sent, type_at(schema, field).as_ref())?;
    (told != shown).then(|| format!("{start}{told}{rest}"))
}

/// A value as Go shows it. None where it cannot be read.
fn value(shown: &str, sent: &Value, ty: Option<&TypeRef>) -> Option<String> {
    let ty = ty.map(TypeRef::deref);
    let told = match (sent, shown.as_bytes().first()) {
        (Value::Array(items), _) if shown == NULL && items.is_empty() => "[]".to_owned(),
        // Of a struct the error shows a part that is not there.
        (Value::Object(fields), _) if shown == NULL && fields.is_empty() => match ty {
            Some(TypeRef::Map(_)) => "{}".to_owned(),
            _ => NULL.to_owned(),
        },
        (Value::String(text), _) if shown == NULL && text.is_empty() => "\"\"".to_owned(),
        (Value::Array(sent), Some(b'[')) => {
            let items: Vec<&RawValue> = serde_json::from_str(shown).ok()?;
            if items.len() != sent.len() {
                return Some(shown.to_owned());
            }
            let ty = ty.and_then(TypeRef::list_item);
            let items = items.iter().zip(sent);
            let items: Option<Vec<String>> = items
                .map(|(shown, sent)| value(shown.get(), sent, ty))
                .collect();
            format!("[{}]", items?.join(","))
        }
        (Value::Object(_), Some(b'{')) => {
            let Some(TypeRef::Struct(schema)) = ty else {
                return Some(shown.to_owned());
            };
            let fields = serde_json::Deserializer::from_str(shown)
                .deserialize_map(Fields)
                .ok()?;
            let fields: Option<Vec<String>> = fields
                .into_iter()
                .map(|(name, shown)| {
                    let found = find_go(schema, &name);
                    let told = match found.and_then(|field| Some((field, sent.get(field.json)?))) {
                        Some((field, sent)) => value(shown.get(), sent, Some(&field.ty))?,
                        None => shown.get().to_owned(),
                    };
                    Some(format!("\"{name}\":{told}"))
                })
                .collect();
            format!("{{{}}}", fields?.join(","))
        }
        _ => shown.to_owned(),
    };
    Some(told)
}

/// The fields of an object in their order.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a struct")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(field) = fields.next_entry()? {
            found.push(field);
        }
        Ok(found)
    }
}

/// The field that Go calls so, in the struct or in one that it embeds.
fn find_go(schema: &'static StructSchema, name: &str) -> Option<&'static FieldSchema> {
    schema.fields.iter().find_map(|field| match field.inline {
        true => find_go(field.ty.struct_schema()?, name),
        false => (field.go == name && !field.json.is_empty()).then_some(field),
    })
}

/// The parts of a path as errors have them, `spec.items[0].map[a.key].field`: names, and what is in brackets.
fn parts(path: &str) -> Option<Vec<(bool, &str)>> {
    let mut parts = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let part;
        let inside = rest.strip_prefix('[');
        if let Some(inside) = inside {
            (part, rest) = inside.split_once(']')?;
        } else {
            let start = rest.strip_prefix('.').unwrap_or(rest);
            let end = start.find(['.', '[']).unwrap_or(start.len());
            (part, rest) = start.split_at(end);
        }
        parts.push((inside.is_some(), part));
    }
    Some(parts)
}

/// The value at a path.
fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    parts(path)?
        .into_iter()
        .try_fold(document, |value, (_, part)| match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            value => value.get(part),
        })
}

/// What there is at a path.
fn type_at(schema: &'static StructSchema, path: &str) -> Option<TypeRef> {
    let root = TypeRef::Struct(schema);
    parts(path)?
        .into_iter()
        .try_fold(root, |ty, (in_brackets, part)| {
            if in_brackets {
                return ty.list_item().or_else(|| ty.map_value()).copied();
            }
            match ty.deref() {
                TypeRef::Struct(schema) => Some(schema.find_json(part)?.1.ty),
                _ => None,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_what_was_sent() {
        use api_types::Described;
        use api_types::core::v1::PersistentVolume;
        use apimachinery::field::{self, ErrorList, Path};
        use apimachinery::gvk::GroupKind;
        let path = |text: &'static str| Path::new(text);
        let null = Value::Null;
        let mut errors = ErrorList::new();
        for (path, why) in [
            (path("spec").child("accessModes"), "no list"),
            (path("spec").child("capacity"), "no map"),
            (path("metadata").child("annotations"), "no map"),
            (path("spec").child("claimRef"), "no struct"),
            (path("spec").child("storageClassName"), "no text"),
            (
                path("metadata")
                    .child("ownerReferences")
                    .index(0)
                    .child("name"),
                "no name",
            ),
            (path("spec").child("none"), "nothing"),
        ] {
            errors.push(field::invalid(&path, &null, why));
        }
        let kind = GroupKind {
            group: String::new(),
            kind: "Kind".to_owned(),
        };
        let error = apimachinery::status::invalid(&kind, "name", &errors);
        let sent = br#"{"metadata":{"annotations":{},"ownerReferences":[{"name":""}]},"spec":{"accessModes":[],"capacity":{},"claimRef":{},"storageClassName":""}}"#;
        let told = explain(error, sent, PersistentVolume::SCHEMA);
        assert_eq!(
            told.message,
            "Kind \"name\" is invalid: [spec.accessModes: Invalid value: []: no list, spec.capacity: Invalid value: {}: no map, metadata.annotations: Invalid value: {}: no map, spec.claimRef: Invalid value: null: no struct, spec.storageClassName: Invalid value: \"\": no text, metadata.ownerReferences[0].name: Invalid value: \"\": no name, spec.none: Invalid value: null: nothing]"
        );
        let causes = &told.details.as_ref().unwrap().causes;
        assert_eq!(causes[0].message, "Invalid value: []: no list");
        assert_eq!(causes[6].message, "Invalid value: null: nothing");
    }

    #[test]
    fn parts_of_a_value_are_what_was_sent() {
        use api_types::Described;
        use api_types::batch::v1::Job;
        let check = |sent: &str, shown: &str, want: &str| {
            let document: Value = serde_json::from_str(sent).unwrap();
            let message = format!("Invalid value: {shown}: field is immutable");
            let told = explained(&message, "spec", &document, Job::SCHEMA);
            let want = format!("Invalid value: {want}: field is immutable");
            assert_eq!(told.unwrap_or(message), want, "{sent}");
        };
        check(
            r#"{"spec":{"podFailurePolicy":{"rules":[]}}}"#,
            r#"{"PodFailurePolicy":{"Rules":null}}"#,
            r#"{"PodFailurePolicy":{"Rules":[]}}"#,
        );
        // In items, in what Go embeds, and a map.
        check(
            r#"{"spec":{"template":{"spec":{"nodeSelector":{},"tolerations":[],"volumes":[{"name":"v","projected":{"sources":[]}}]}}}}"#,
            r#"{"Template":{"Spec":{"Volumes":[{"Name":"v","Projected":{"Sources":null}}],"NodeSelector":null,"Tolerations":null,"ImagePullSecrets":null}}}"#,
            r#"{"Template":{"Spec":{"Volumes":[{"Name":"v","Projected":{"Sources":[]}}],"NodeSelector":{},"Tolerations":[],"ImagePullSecrets":null}}}"#,
        );
        // What was not sent, what has another shape, and what Go does not call so.
        for shown in [
            r#"{"PodFailurePolicy":null,"Selector":null}"#,
            r#"{"PodFailurePolicy":{"Rules":[null]}}"#,
            r#"{"Nothing":{"Rules":null}}"#,
            r#""text""#,
        ] {
            check(
                r#"{"spec":{"podFailurePolicy":{"rules":[]},"selector":{}}}"#,
                shown,
                shown,
            );
        }
    }
}
