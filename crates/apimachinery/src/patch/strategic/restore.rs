//! Why a patched document is no object of its type, in the words of the converter that upstream takes here instead of a
//! JSON decoder. Upstream: apimachinery/pkg/runtime/converter.go, fromUnstructured.

use api_types::schema::{JsonForm, StructSchema, TypeRef};
use serde_json::{Map, Value};

use super::{Kind, kind_of};

/// The first value of a wrong type. Types with a reader of their own (times, quantities, ...) report by themselves.
pub fn restore_problem(document: &Map<String, Value>, schema: &StructSchema) -> Option<String> {
    schema.fields.iter().find_map(|field| {
        if field.inline {
            let inner = field.ty.struct_schema()?;
            return restore_problem(document, inner);
        }
        problem(document.get(field.json)?, &field.ty, field.go_type)
    })
}

fn problem(value: &Value, ty: &TypeRef, go_type: &str) -> Option<String> {
    if value.is_null() {
        return None;
    }
    let kind = reflect_kind(value);
    match (ty, value) {
        (TypeRef::Pointer(inner), _) => problem(value, inner, go_type.trim_start_matches('*')),
        (TypeRef::Struct(schema), _) if schema.json_form != JsonForm::Object => None,
        (TypeRef::Struct(schema), Value::Object(fields)) => restore_problem(fields, schema),
        (TypeRef::Struct(_), _) => Some(format!("cannot restore struct from: {kind}")),
        (TypeRef::Map(inner), Value::Object(fields)) => {
            let go_type = go_type.split_once(']').map_or("string", |(_, ty)| ty);
            fields
                .values()
                .find_map(|value| problem(value, inner, go_type))
        }
        (TypeRef::Map(_), _) => Some(format!("cannot restore map from {kind}")),
        (TypeRef::List(inner) | TypeRef::WrappedList(inner), Value::Array(items)) => {
            let go_type = go_type.strip_prefix("[]").unwrap_or("string");
            items
                .iter()
                .find_map(|value| problem(value, inner, go_type))
        }
        (TypeRef::List(_) | TypeRef::WrappedList(_), _) => {
            Some(format!("cannot restore slice from {kind}"))
        }
        (TypeRef::Bytes, Value::String(_)) => None,
        (TypeRef::Bytes, _) => Some(format!("cannot restore slice from {kind}")),
        (TypeRef::String, _) => scalar(value, kind, go_type, "string", |kind| kind == Kind::String),
        (TypeRef::Bool, _) => scalar(value, kind, go_type, "bool", |kind| kind == Kind::Bool),
        (TypeRef::Int32, _) => whole(value, kind, go_type, "int32"),
        (TypeRef::Int64, _) => whole(value, kind, go_type, "int64"),
        (TypeRef::Uint32, _) => whole(value, kind, go_type, "uint32"),
        _ => None,
    }
}

fn whole(value: &Value, kind: &str, go_type: &str, own: &str) -> Option<String> {
    let fraction = value.as_f64().is_some_and(|number| number.fract() != 0.0);
    scalar(value, kind, go_type, own, |kind| {
        matches!(kind, Kind::Int | Kind::Float) && !fraction
    })
}

fn scalar(
    value: &Value,
    kind: &str,
    go_type: &str,
    own: &str,
    taken: impl Fn(Kind) -> bool,
) -> Option<String> {
    if taken(kind_of(value)) {
        return None;
    }
    // Go's reflection can turn whole numbers into text and numbers into each other, which the converter then refuses.
    let convertible = match kind_of(value) {
        Kind::Int => own != "bool",
        Kind::Float => own != "bool" && own != "string",
        _ => false,
    };
    Some(if convertible {
        format!("cannot convert {kind} to {go_type}")
    } else {
        format!("unrecognized type: {own}")
    })
}

/// Go's kind of a decoded JSON value.
fn reflect_kind(value: &Value) -> &'static str {
    match kind_of(value) {
        Kind::Null => "invalid",
        Kind::Bool => "bool",
        Kind::Int => "int64",
        Kind::Float => "float64",
        Kind::String => "string",
        Kind::List => "slice",
        Kind::Map => "map",
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::Pod;
    use api_types::value::Described;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(document: Value, want: Option<&str>) {
        let Value::Object(document) = document else {
            unreachable!("documents are objects")
        };
        assert_eq!(restore_problem(&document, Pod::SCHEMA).as_deref(), want);
    }

    #[test]
    fn wrong_types_have_the_converters_words() {
        check(
            json!({"metadata":{"name":"a","labels":{"a":"b"}},"spec":{"containers":[{"name":"c"}],"nodeName":null}}),
            None,
        );
        check(
            json!({"metadata":7}),
            Some("cannot restore struct from: int64"),
        );
        check(
            json!({"metadata":{"labels":7.5}}),
            Some("cannot restore map from float64"),
        );
        check(
            json!({"metadata":{"labels":{"a":1}}}),
            Some("cannot convert int64 to string"),
        );
        check(
            json!({"metadata":{"labels":{"a":true}}}),
            Some("unrecognized type: string"),
        );
        check(
            json!({"spec":{"containers":{}}}),
            Some("cannot restore slice from map"),
        );
        check(
            json!({"spec":{"containers":[{"name":[]}]}}),
            Some("unrecognized type: string"),
        );
        check(
            json!({"spec":{"restartPolicy":1}}),
            Some("cannot convert int64 to v1.RestartPolicy"),
        );
        check(
            json!({"spec":{"activeDeadlineSeconds":1.5}}),
            Some("cannot convert float64 to int64"),
        );
        check(json!({"kind":1}), Some("cannot convert int64 to string"));
    }
}
