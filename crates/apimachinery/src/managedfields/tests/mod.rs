mod field_manager;
mod objects;
mod properties;
mod recorded;
mod schemas;
mod sets;
mod values;

use serde_json::Value;

use super::*;

/// The set that this JSON in the form of `fieldsV1` stands for.
#[track_caller]
fn set(json: &Value) -> Set {
    Set::parse(&api_types::FieldsV1::new(json.to_string())).expect("a set")
}

fn text(set: &Set) -> String {
    String::from_utf8(set.to_fields_v1().raw).expect("UTF-8")
}

fn paths(set: &Set) -> Vec<String> {
    set.paths().iter().map(ToString::to_string).collect()
}

fn deployment_type() -> ObjectType {
    built_in_type("apps", "v1", "Deployment").expect("a built-in kind")
}
