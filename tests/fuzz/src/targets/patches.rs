//! Patches of the three kinds, each applied to an object of the number's kind.

use apimachinery::patch::{json, merge, strategic};
use serde_json::Value;

use super::JSON_TOKENS;
use crate::fill;
use crate::target::{Case, Outcome, Target, Verdict, nested, same, same_text};

/// `application/json-patch+json`.
pub const JSON: Target = Target {
    name: "patches/json",
    promise: "the result is JSON, the same each time, and no longer than document, patch and what may be copied",
    cases: 2000,
    seed: json_patch,
    tokens: &[
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "\"op\":\"add\"",
        "\"op\":\"remove\"",
        "\"op\":\"copy\"",
        "\"op\":\"move\"",
        "\"op\":\"test\"",
        "\"op\":\"replace\"",
        "\"path\":\"\"",
        "\"path\":\"/metadata\"",
        "\"path\":\"/a/-\"",
        "\"from\":\"/metadata\"",
        "\"value\":null",
        "\"value\":[]",
        "add",
        "remove",
        "replace",
        "move",
        "copy",
        "test",
        "op",
        "path",
        "from",
        "value",
        "",
        "/",
        "/-",
        "/0",
        "/-1",
        "/99999999999999999999",
        "/metadata",
        "/metadata/name",
        "/metadata/labels",
        "/spec",
        "~0",
        "~1",
        "~",
        "/metadata/labels/a",
        "/+1",
        "/01",
    ],
    check: apply_json,
};

/// `application/merge-patch+json`.
pub const MERGE: Target = Target {
    name: "patches/merge",
    promise: "the result is JSON; without nulls, applying it again changes nothing; the patch from one to the other works",
    cases: 2000,
    seed: part_of_object,
    tokens: JSON_TOKENS,
    check: apply_merge,
};

/// `application/strategic-merge-patch+json`.
pub const STRATEGIC: Target = Target {
    name: "patches/strategic",
    promise: "the result is the same each time, and an object of its type or refused",
    cases: 2500,
    seed: part_of_object,
    tokens: &[
        "$patch",
        "delete",
        "replace",
        "merge",
        "$retainKeys",
        "$setElementOrder/containers",
        "$setElementOrder/finalizers",
        "$deleteFromPrimitiveList/finalizers",
        "$setElementOrder/",
        "$deleteFromPrimitiveList/",
        "containers",
        "ports",
        "name",
        "containerPort",
        "finalizers",
        "metadata",
        "spec",
        "template",
        "strategy",
        "volumes",
        "env",
        "a",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "\"$patch\":\"delete\"",
        "\"name\":\"name0\"",
        "ownerReferences",
        "uid",
        "conditions",
        "type",
        "tolerations",
    ],
    check: apply_strategic,
};

/// The object that a patch meets.
fn document(number: u32) -> Vec<u8> {
    // Patch and document come of the same number, so that a patch finds something.
    api_types::encode_json(&*fill::object_of(fill::resource(number), number))
}

fn json_patch(number: u32) -> Vec<u8> {
    match number % 17 {
        0 => return nested(r#"[{"op":"add","path":"/a","value":"#, "[]", "}]", 1),
        1 => {
            // Each copies all that is there.
            let copy = r#"{"op":"copy","from":"","path":"/metadata/annotations"}"#;
            return format!("[{}]", [copy; 60].join(",")).into_bytes();
        }
        2 => {
            let deep = "/a".repeat(3000);
            return format!(r#"[{{"op":"add","path":"{deep}","value":1}}]"#).into_bytes();
        }
        3 => {
            let deep = String::from_utf8_lossy(&nested("[", "", "]", 120)).into_owned();
            return format!(r#"[{{"op":"add","path":"/spec","value":{deep}}},{{"op":"test","path":"/spec","value":{deep}}}]"#)
                .into_bytes();
        }
        _ => {}
    }
    let document: Value = serde_json::from_slice(&document(number)).unwrap_or_default();
    let mut paths = Vec::new();
    collect_paths(&document, String::new(), &mut paths);
    let path = |at: u32| &paths[(number / 17 + at * 7) as usize % paths.len()];
    let operations = [
        serde_json::json!({"op": "test", "path": path(0), "value": document.pointer(path(0))}),
        serde_json::json!({"op": "replace", "path": path(1), "value": document.pointer(path(2))}),
        serde_json::json!({"op": "copy", "from": path(2), "path": path(3)}),
        serde_json::json!({"op": "move", "from": path(4), "path": "/metadata/annotations"}),
        serde_json::json!({"op": "add", "path": format!("{}/-", path(5)), "value": {"a": null}}),
        serde_json::json!({"op": "remove", "path": path(6)}),
    ];
    let first = number as usize % operations.len();
    Value::from(&operations[first..]).to_string().into_bytes()
}

fn collect_paths(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                let key = key.replace('~', "~0").replace('/', "~1");
                collect_paths(field, format!("{path}/{key}"), paths);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                collect_paths(item, format!("{path}/{at}"), paths);
            }
        }
        _ => {}
    }
    paths.push(path);
}

fn apply_json(case: &Case) -> Outcome {
    let Ok(patch) = json::Patch::parse(&case.bytes) else {
        return Ok(Verdict::Refused);
    };
    // Callers refuse it.
    if patch.len() > json::MAX_OPERATIONS {
        return Ok(Verdict::Refused);
    }
    let document = document(case.number);
    let result = patch.apply(&document);
    same("applied twice", &patch.apply(&document), &result)?;
    let Ok(result) = result else {
        return Ok(Verdict::Refused);
    };
    // Text may grow sixfold by escapes.
    let most = 6 * (document.len() + case.bytes.len() + json::MAX_COPY_BYTES);
    if result.len() > most {
        return Err(format!(
            "the result has {} bytes, more than {most}",
            result.len()
        ));
    }
    check_json(&result)?;
    decode_result(case, &result);
    Ok(Verdict::Accepted)
}

fn check_json(text: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<Value>(text) {
        Err(error) if !error.to_string().contains("recursion limit") => Err(format!(
            "the result is no JSON: {error}: {}",
            String::from_utf8_lossy(text)
        )),
        _ => Ok(()),
    }
}

/// What the API server does next.
fn decode_result(case: &Case, text: &[u8]) -> bool {
    let mut value = (fill::resource(case.number).new)();
    api_types::codec::decode_json_reporting_into(&mut *value, text).is_ok()
}

/// The object itself: changed, it is a patch that knows its fields.
fn part_of_object(number: u32) -> Vec<u8> {
    match number % 13 {
        0 => nested("{\"spec\":", "{}", "}", 2000),
        1 => nested("{\"metadata\":{\"labels\":", "{}", "}}", 60),
        2 => br#"{"metadata":{"labels":null,"annotations":{"a":null}},"spec":null}"#.to_vec(),
        3 => br#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"$setElementOrder/finalizers":["b","a"],"finalizers":["b"]}}"#.to_vec(),
        4 => br#"{"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[{"name":"a","$patch":"delete"},{"name":"b","image":"c"}]}}"#.to_vec(),
        5 => br#"{"spec":{"template":{"spec":{"containers":[{"$patch":"replace"},{"name":"a","ports":[{"containerPort":1,"$patch":"delete"}]}],"volumes":[{"name":"v","$retainKeys":["name","emptyDir"],"emptyDir":{}}]}},"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}"#.to_vec(),
        6 => br#"{"$patch":"replace","metadata":{"name":"a"}}"#.to_vec(),
        _ => document(number),
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

fn apply_merge(case: &Case) -> Outcome {
    let document = document(case.number);
    let Ok(result) = merge::apply_bytes(&document, &case.bytes) else {
        return Ok(Verdict::Refused);
    };
    check_json(&result)?;
    decode_result(case, &result);
    let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    if let (Some(patch), Some(document), Some(after)) =
        (parse(&case.bytes), parse(&document), parse(&result))
    {
        if !has_null(&patch) {
            let again =
                merge::apply_bytes(&result, &case.bytes).map_err(|error| error.to_string())?;
            same_text("applied again", &again, &result)?;
        }
        if let (Value::Object(before), Value::Object(wanted)) = (&document, &after)
            && !has_null(&after)
            && let Some(patch) = merge::create(before, wanted)
        {
            let made = merge::apply(document.clone(), Value::Object(patch))
                .map_err(|error| error.to_string())?;
            same("by the patch made of both", &made, &after)?;
        }
    }
    Ok(Verdict::Accepted)
}

fn apply_strategic(case: &Case) -> Outcome {
    let info = fill::resource(case.number);
    let schema = strategic::PatchSchema::new(info.schema);
    let document = document(case.number);
    let result = strategic::apply_bytes(&document, &case.bytes, schema);
    same(
        "applied twice",
        &strategic::apply_bytes(&document, &case.bytes, schema),
        &result,
    )?;
    let Ok(result) = result else {
        return Ok(Verdict::Refused);
    };
    let problem = strategic::restore_problem(&result, info.schema);
    let _ = strategic::go_map(&result);
    let text = Value::Object(result.clone()).to_string().into_bytes();
    let decodes = decode_result(case, &text);
    // And the way back, which must end whatever it says.
    if let Ok(before) = serde_json::from_slice::<serde_json::Map<String, Value>>(&document) {
        if let Ok(patch) = strategic::create_two_way(&result, &before, schema) {
            let _ = strategic::apply(result.clone(), patch, schema);
        }
        let _ = strategic::create_two_way(&before, &result, schema);
    }
    Ok(if problem.is_none() && decodes {
        Verdict::Accepted
    } else {
        Verdict::Refused
    })
}
