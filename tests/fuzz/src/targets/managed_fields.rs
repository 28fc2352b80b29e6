//! Server-side apply, and the managed fields that clients send back.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::meta::v1::ManagedFieldsEntry;
use api_types::{FieldsV1, Time};
use apimachinery::gvk::GroupVersionKind;
use apimachinery::managedfields::{
    Applied, BuiltInTypes, FieldManager, Set, TypeConverter, decode_managed_fields,
};
use serde_json::Value;

use super::JSON_TOKENS;
use crate::fill;
use crate::target::{Case, Outcome, Target, Verdict, listed, nested, same, same_text};

/// `fieldsV1` of an entry.
pub const SET: Target = Target {
    name: "managed-fields/set",
    promise: "what is written is read as the same set and written as the same text; a set joined with itself is itself",
    cases: 3000,
    seed: set,
    tokens: &[
        "{",
        "}",
        ":",
        ",",
        "{}",
        "\"f:a\":{}",
        "\".\":{}",
        "\"k:{\\\"name\\\":\\\"a\\\"}\":{}",
        "\"v:1\":{}",
        "\"i:0\":{}",
        "f:a",
        "f:",
        ".",
        "k:{}",
        "k:{\"a\":1.0}",
        "k:{\"a\":[{}],\"b\":null}",
        "v:\"x\"",
        "v:1e2",
        "v:{\"b\":1,\"a\":2}",
        "v:[]",
        "i:-1",
        "i:+1",
        "i:99999999999",
        "x:a",
        "f",
        "v:1.0",
        "v:18446744073709551615",
        "f:é\u{2028}<\"\\",
    ],
    check: check_set,
};

/// `application/apply-patch+yaml`, once it is JSON.
pub const APPLY: Target = Target {
    name: "managed-fields/apply",
    promise: "applying once more changes nothing; the managed fields can be read",
    cases: 800,
    seed: configuration,
    tokens: JSON_TOKENS,
    check: apply,
};

/// What a PUT makes of the managed fields.
pub const UPDATE: Target = Target {
    name: "managed-fields/update",
    promise: "the managed fields can be read; an update without changes leaves them as they are",
    cases: 800,
    seed: configuration,
    tokens: JSON_TOKENS,
    check: update,
};

fn set(number: u32) -> Vec<u8> {
    match number % 4 {
        0 => nested("{\"f:a\":", "{}", "}", 120),
        1 => nested("{\".\":{},\"k:{\\\"name\\\":\\\"a\\\"}\":", "{}", "}", 5000),
        _ => listed(
            &[
                r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:replicas":{}}}"#,
                r#"{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{}}}}}}"#,
                r#"{"f:metadata":{"f:finalizers":{".":{},"v:\"a\"":{},"v:1.5":{}}}}"#,
                r#"{"i:0":{},"i:1":{"f:a":{}},"x:later":{}}"#,
                "{}",
            ],
            number / 4,
        ),
    }
}

fn check_set(case: &Case) -> Outcome {
    let Ok(set) = Set::parse(&FieldsV1::new(case.bytes.clone())) else {
        return Ok(Verdict::Refused);
    };
    let written = set.to_fields_v1();
    let again = Set::parse(&written).map_err(|error| format!("{written:?}: {error}"))?;
    same_text("written again", &again.to_fields_v1().raw, &written.raw)?;
    if again != set {
        return Err(format!("{written:?} is read as {again:?}, not {set:?}"));
    }
    same("union", &set.union(&set), &set)?;
    same("intersection", &set.intersection(&set), &set)?;
    if !set.difference(&set).is_empty() || !set.recursive_difference(&set).is_empty() {
        return Err("a set without itself is not empty".to_owned());
    }
    same("number of paths", &set.paths().len(), &set.len())?;
    if let Some(path) = set.paths().iter().find(|path| !set.has(path)) {
        return Err(format!("{path:?} is not a member"));
    }
    let _ = set.leaves();
    Ok(Verdict::Accepted)
}

fn manager(number: u32) -> (FieldManager, BuiltInTypes, String) {
    let info = fill::resource(number);
    let kind = GroupVersionKind::new(info.group, info.version, info.kind);
    let api_version = kind.api_version();
    let types = || BuiltInTypes::single_version(info.kind);
    let fields = FieldManager::new(kind, "", Arc::new(types()), BTreeMap::new());
    (fields, types(), api_version)
}

fn configuration(number: u32) -> Vec<u8> {
    let info = fill::resource(number);
    api_types::encode_json(&*fill::object_of(info, number / 3))
}

/// The object that is there already, managed by somebody else.
fn live(number: u32, fields: &FieldManager, empty: &Value) -> Value {
    let object = fill::object_of(fill::resource(number), number);
    let mut live: Value =
        serde_json::from_slice(&api_types::encode_json(&*object)).unwrap_or_default();
    if let Ok(entries) = fields.update(empty, &live, "somebody", now()) {
        put_entries(&mut live, &entries);
    }
    live
}

fn put_entries(object: &mut Value, entries: &[ManagedFieldsEntry]) {
    let entries: Vec<Value> = entries
        .iter()
        .filter_map(|entry| serde_json::from_slice(&api_types::encode_json(entry)).ok())
        .collect();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("managedFields".to_owned(), Value::from(entries));
    }
}

/// The entries with their sets in one order: going through `Value` sorts keys by their text, which is then kept.
fn in_order(mut entries: Vec<ManagedFieldsEntry>) -> Vec<ManagedFieldsEntry> {
    for fields in entries
        .iter_mut()
        .filter_map(|entry| entry.fields_v1.as_mut())
    {
        if let Ok(set) = Set::parse(fields) {
            *fields = set.to_fields_v1();
        }
    }
    entries
}

fn now() -> Time {
    Time::from_unix(1_772_323_199)
}

fn apply(case: &Case) -> Outcome {
    let Ok(config) = serde_json::from_slice::<Value>(&case.bytes) else {
        return Ok(Verdict::Refused);
    };
    let (fields, types, api_version) = manager(case.number);
    let empty = types.empty_object(&api_version);
    let live = if case.number.is_multiple_of(2) {
        live(case.number, &fields, &empty)
    } else {
        empty
    };
    let force = !case.number.is_multiple_of(5);
    let Applied {
        mut object,
        managed_fields,
        ..
    } = match fields.apply(&live, &config, "us", force, now()) {
        Ok(applied) => applied,
        Err(error) => {
            let _ = error.to_status();
            return Ok(Verdict::Refused);
        }
    };
    decode_managed_fields(&managed_fields)
        .map_err(|error| format!("own managed fields: {error}"))?;
    // Without metadata there is no place for managed fields.
    if !object["metadata"].is_object() {
        return Ok(Verdict::Accepted);
    }
    put_entries(&mut object, &managed_fields);
    let again = fields
        .apply(&object, &config, "us", force, now())
        .map_err(|error| format!("the second apply fails: {error}"))?;
    if again.changed {
        return Err(format!(
            "the second apply changes the object\n  {object}\n  {}",
            again.object
        ));
    }
    same(
        "managed fields",
        &in_order(again.managed_fields),
        &in_order(managed_fields),
    )?;
    Ok(Verdict::Accepted)
}

fn update(case: &Case) -> Outcome {
    let info = fill::resource(case.number);
    // An update is decoded before its managed fields are worked out.
    let mut new = (info.new)();
    if api_types::decode_json_into(&mut *new, &case.bytes).is_err() {
        return Ok(Verdict::Refused);
    }
    let Ok(mut new) = serde_json::from_slice::<Value>(&api_types::encode_json(&*new)) else {
        return Ok(Verdict::Refused);
    };
    let (fields, types, api_version) = manager(case.number);
    let live = live(case.number, &fields, &types.empty_object(&api_version));
    let Ok(entries) = fields.update(&live, &new, "us", now()) else {
        return Ok(Verdict::Refused);
    };
    decode_managed_fields(&entries).map_err(|error| format!("own managed fields: {error}"))?;
    put_entries(&mut new, &entries);
    // An object that does not fit its schema is updated without its fields being worked out, and is no base for more.
    let Ok(again) = fields.update(&new, &new, "us", now()) else {
        return Ok(Verdict::Refused);
    };
    same(
        "an update without changes",
        &in_order(again),
        &in_order(entries),
    )?;
    Ok(Verdict::Accepted)
}
