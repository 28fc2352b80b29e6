//! Requests and answers of upstream's 1.36 server (`testdata/server-side-apply.json`): sequences of creates, updates, patches
//! and applies on objects of several kinds, with the object or the error that came back.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::Time;
use api_types::meta::v1::ManagedFieldsEntry;
use serde_json::json;

use super::*;
use crate::gvk::GroupVersionKind;
use crate::managedfields::entries::entries_of;

/// What the strategies of the kinds reset: the status on the resource itself, all else on the status.
fn fields(api_version: &str, kind: &str, subresource: &str) -> FieldManager {
    let paths: &[&[&str]] = match (kind, subresource) {
        ("ConfigMap" | "Role", _) => &[],
        (_, "status") => &[&["spec"], &["metadata", "labels"]],
        _ => &[&["status"]],
    };
    let owned = |path: &&[&str]| {
        Path(
            path.iter()
                .map(|name| PathElement::field((*name).to_owned()))
                .collect(),
        )
    };
    let reset: Set = paths.iter().map(owned).collect();
    let filters = BTreeMap::from([(api_version.to_owned(), Filter::Exclude(reset))]);
    let kind = GroupVersionKind::from_api_version_and_kind(api_version, kind);
    let types = Arc::new(BuiltInTypes::single_version(kind.kind.clone()));
    FieldManager::new(kind, subresource, types, filters)
}

/// An entry without what cannot be equal: its time counts as there or not.
fn comparable(entry: &ManagedFieldsEntry) -> String {
    let fields = entry
        .fields_v1
        .as_ref()
        .map(|fields| Set::parse(fields).expect("fields"))
        .unwrap_or_default();
    format!(
        "{} {} {} {:?} {}\n    {}",
        entry.manager,
        entry.operation,
        entry.api_version,
        entry.subresource,
        if entry.time.is_some() {
            "timed"
        } else {
            "untimed"
        },
        text(&fields)
    )
}

/// The server lists what is wrong with fields in the random order of Go's maps.
fn sorted_lines(message: &Value) -> Value {
    let mut lines: Vec<&str> = message.as_str().unwrap_or_default().lines().collect();
    lines.sort_unstable();
    Value::from(lines.join("\n"))
}

#[test]
fn fields_are_written_as_the_server_writes_them() {
    let text = include_str!("../../../testdata/server-side-apply.json");
    let mut sets = 0;
    for (at, name) in text.match_indices("\"fieldsV1\":") {
        let mut values = serde_json::Deserializer::from_str(&text[at + name.len()..])
            .into_iter::<&serde_json::value::RawValue>();
        let raw = values.next().expect("a value").expect("JSON").get();
        let set = Set::parse(&api_types::FieldsV1::new(raw)).expect("a set");
        assert_eq!(super::text(&set), raw);
        sets += 1;
    }
    assert!(sets > 200, "only {sets} sets were found");
}

#[test]
fn the_server_and_we_agree() {
    let objects: Vec<Value> =
        serde_json::from_str(include_str!("../../../testdata/server-side-apply.json"))
            .expect("test data");
    let mut failures = Vec::new();
    let mut checked = 0;
    for object in &objects {
        let (api_version, kind) = (
            object["apiVersion"].as_str().expect("a version"),
            object["kind"].as_str().expect("a kind"),
        );
        let mut live = BuiltInTypes::single_version(kind).empty_object(api_version);
        for (i, step) in object["steps"].as_array().into_iter().flatten().enumerate() {
            checked += 1;
            let manager = step["manager"].as_str().expect("a manager");
            let fields = fields(
                api_version,
                kind,
                step["subresource"].as_str().unwrap_or_default(),
            );
            let result = step.get("result");
            let wanted = result.and_then(entries_of).unwrap_or_default();
            let now = wanted
                .iter()
                .filter_map(|entry| entry.time)
                .max_by_key(|time| time.timestamp());
            let now = now.unwrap_or_else(|| Time::parse("2024-01-01T00:00:00Z").expect("a time"));
            let mut complain =
                |what: String| failures.push(format!("{kind}, step {i} by {manager}: {what}"));

            let got = if step["op"] == "apply" {
                let force = step["force"] == true;
                match (
                    fields.apply(&live, &step["config"], manager, force, now),
                    step.get("error"),
                ) {
                    (Ok(applied), None) => {
                        // The server's object has defaults and metadata besides.
                        let ty = fields.object_type().expect("a built-in kind");
                        let typed = |value: &Value| {
                            let mut value = value.clone();
                            let metadata = value["metadata"].as_object_mut().expect("metadata");
                            for name in ["managedFields", "generation", "resourceVersion"] {
                                metadata.remove(name);
                            }
                            // The strategy takes back what it resets after the apply.
                            if step["subresource"] != "status" {
                                value.as_object_mut().expect("an object").remove("status");
                            }
                            TypedValue::new(value, ty.clone(), true).expect("fits its type")
                        };
                        let result = typed(result.expect("a result"));
                        let compared = typed(&applied.object).compare(&result).expect("same type");
                        if !compared.removed.is_empty() || !compared.modified.is_empty() {
                            let (removed, modified) =
                                (paths(&compared.removed), paths(&compared.modified));
                            complain(format!(
                                "the server lacks {removed:?} and has other values in {modified:?}"
                            ));
                        }
                        applied.managed_fields
                    }
                    // Validation comes later.
                    (Ok(_), Some(error)) if error["code"] == 422 => continue,
                    (Err(error), Some(wanted)) => {
                        let error = error.to_status();
                        let causes: Vec<Value> = error.details.iter().flat_map(|d| &d.causes).map(|cause| {
                            json!({"reason": cause.reason, "message": cause.message, "field": cause.field})
                        }).collect();
                        let mut got = json!({"code": error.code, "message": error.message,
                            "reason": Some(&error.reason).filter(|reason| !reason.is_empty())});
                        if !causes.is_empty() {
                            got["causes"] = Value::from(causes);
                        }
                        let mut wanted = wanted.clone();
                        for error in [&mut got, &mut wanted] {
                            error["message"] = sorted_lines(&error["message"]);
                        }
                        if got != wanted {
                            complain(format!("error is\n  {got}\nnot\n  {wanted}"));
                        }
                        continue;
                    }
                    (Ok(applied), Some(error)) => {
                        complain(format!(
                            "applies ({:?}), where the server says {error}",
                            applied.managed_fields
                        ));
                        continue;
                    }
                    (Err(error), None) => {
                        complain(format!("fails: {error}"));
                        live = result.cloned().unwrap_or_default();
                        continue;
                    }
                }
            } else {
                let mut new = result.cloned().unwrap_or_default();
                match &step["sent"] {
                    Value::Array(sent) => {
                        new["metadata"]["managedFields"] = Value::from(sent.clone())
                    }
                    _ => {
                        new["metadata"]
                            .as_object_mut()
                            .expect("metadata")
                            .remove("managedFields");
                    }
                }
                fields.update(&live, &new, manager, now).expect("update")
            };
            let (got, wanted): (Vec<String>, Vec<String>) = (
                got.iter().map(comparable).collect(),
                wanted.iter().map(comparable).collect(),
            );
            if got != wanted {
                complain(format!(
                    "entries are\n  {}\nnot\n  {}",
                    got.join("\n  "),
                    wanted.join("\n  ")
                ));
            }
            live = result.cloned().unwrap_or_default();
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {checked} steps differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(checked > 60, "only {checked} steps ran");
}
