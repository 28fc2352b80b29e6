//! Every field of every kind with a value of another type: what decoders say about it.

use std::collections::BTreeSet;

use api_types::schema::{StructSchema, TypeRef};
use serde_json::{Value, json};

use super::resource::Subject;
use crate::case::{Case, Changes, Step};

/// Fields below this depth belong to types that some kind has higher up.
const DEEPEST: usize = 9;

pub(crate) fn cases(subjects: &[Subject]) -> Vec<Case> {
    let mut seen = BTreeSet::new();
    let mut cases = Vec::new();
    for subject in subjects {
        let info = subject.info;
        let Some(kind) = api_types::kinds::lookup(info.group, info.version, info.kind) else {
            continue;
        };
        let mut rows = Vec::new();
        walk(kind.schema, "", 0, &mut seen, &mut rows);
        let steps: Vec<Step> = rows
            .into_iter()
            .map(|(pointer, value)| Step {
                object: Some(Changes::from([(pointer, value)])),
                ..Step::send("POST ${base}?dryRun=All")
            })
            .collect();
        let name = format!("decode/{}/types", subject.key());
        cases.extend(subject.case("decode", 0, &name, &steps));
    }
    cases
}

/// Visits each struct type once, wherever it is met first.
fn walk(
    schema: &'static StructSchema,
    pointer: &str,
    depth: usize,
    seen: &mut BTreeSet<(&'static str, &'static str)>,
    rows: &mut Vec<(String, Value)>,
) {
    if depth > DEEPEST || !seen.insert((schema.package, schema.name)) {
        return;
    }
    for field in schema.fields {
        if field.inline {
            if let Some(inner) = field.ty.struct_schema() {
                walk(inner, pointer, depth, seen, rows);
            }
            continue;
        }
        if field.json.is_empty() || matches!(field.json, "apiVersion" | "kind") {
            continue;
        }
        let pointer = format!("{pointer}/{}", field.json);
        rows.extend(wrong(&field.ty).map(|value| (pointer.clone(), value)));
        if let Some(inner) = field.ty.struct_schema() {
            walk(inner, &below(&field.ty, &pointer), depth + 1, seen, rows);
        }
    }
}

/// The place of the struct in a field.
fn below(ty: &TypeRef, pointer: &str) -> String {
    match ty {
        TypeRef::List(inner) | TypeRef::WrappedList(inner) => below(inner, &format!("{pointer}/0")),
        TypeRef::Map(inner) => below(inner, &format!("{pointer}/key")),
        TypeRef::Pointer(inner) => below(inner, pointer),
        _ => pointer.to_owned(),
    }
}

/// A value that the type does not take.
fn wrong(ty: &TypeRef) -> Option<Value> {
    Some(match ty {
        TypeRef::String | TypeRef::Time | TypeRef::MicroTime | TypeRef::Duration => json!(7),
        TypeRef::Bool => json!("true"),
        TypeRef::Int32 | TypeRef::Int64 | TypeRef::Uint32 | TypeRef::Float64 | TypeRef::Float32 => {
            json!("seven")
        }
        TypeRef::Bytes => json!("not base64!"),
        TypeRef::Quantity => json!("seven"),
        TypeRef::IntOrString => json!(true),
        TypeRef::FieldsV1 | TypeRef::Struct(_) => json!("text"),
        TypeRef::List(_) | TypeRef::WrappedList(_) => json!({"a": 1}),
        TypeRef::Map(_) => json!([1]),
        TypeRef::Pointer(inner) => return wrong(inner),
        TypeRef::RawExtension | TypeRef::Json | TypeRef::TimeOrMetaDuration => return None,
    })
}
