//! Empty lists that a client sent, where they mean something else than no list. The types do not tell the two apart, as
//! protobuf does not; Go's JSON does, and in two places clients see it: a list that is merged by its items, and that JSON
//! always has, belongs to the manager who sent it empty; and `metadata.managedFields: []` resets the managed fields. Of maps there
//! is one: a pod's overhead, which nobody may send who has no RuntimeClass with one. Of kinds there are two: an autoscaler whose rules
//! have no policies is refused, not given the default ones; and a network policy that says of a list or map that it is empty is not the one
//! that was stored.
//! Upstream: structured-merge-diff's typed.ToFieldSet, isResetManagedFields of apimachinery's managedfields, and where slices are
//! compared with nil.

use api_types::autoscaling::v2::HorizontalPodAutoscaler;
use api_types::meta::v1::ManagedFieldsEntry;
use api_types::schema::{Omit, StructSchema, TypeRef};
use serde_json::Value;

use super::object::Object;

/// Errors about what was sent empty.
mod explain;

pub use explain::explain;

const OVERHEAD: &str = "/spec/overhead";
const POLICIES: [&str; 2] = [
    "/spec/behavior/scaleUp/policies",
    "/spec/behavior/scaleDown/policies",
];
const SPEC: &str = "/spec";
const AUTOSCALER: &str = "HorizontalPodAutoscaler";
const NETWORK_POLICY: &str = "NetworkPolicy";

/// Notes in an object of a built-in kind which lists the JSON it was decoded from has empty. Texts without an empty list,
/// nearly all, cost a search for one.
pub fn note(object: &mut Object, json: &[u8]) {
    let pod = object.value().schema().name == "Pod";
    let overhead = pod && memchr::memmem::find(json, b"\"overhead\"").is_some();
    let policy = object.value().schema().name == NETWORK_POLICY;
    let maps = policy && memchr::memmem::find(json, b"\"matchLabels\"").is_some();
    if !overhead && !maps && !has_empty_list(json) {
        return;
    }
    let Ok(document) = serde_json::from_slice::<Value>(json) else {
        return;
    };
    if is_empty_list(document.pointer("/metadata/managedFields")) {
        // The other form of the same wish.
        object.edit_metadata(|metadata| {
            metadata.managed_fields = vec![ManagedFieldsEntry::default()];
        });
    }
    let mut found = Vec::new();
    collect(
        object.value().schema(),
        &document,
        &mut String::new(),
        &mut found,
    );
    let map = document.pointer(OVERHEAD).and_then(Value::as_object);
    if overhead && map.is_some_and(serde_json::Map::is_empty) {
        found.push(OVERHEAD.to_owned());
    }
    let empty = |pointer: &&str| is_empty_list(document.pointer(pointer));
    match object.value().schema().name {
        AUTOSCALER => found.extend(
            POLICIES
                .iter()
                .filter(|it| empty(it))
                .map(ToString::to_string),
        ),
        NETWORK_POLICY if document.pointer(SPEC).is_some_and(has_an_empty_part) => {
            found.push(SPEC.to_owned());
        }
        _ => {}
    }
    object.sent_empty = found;
}

/// Whether a network policy's spec has a list or a map without items. Of its maps there is one.
fn has_an_empty_part(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty() || items.iter().any(has_an_empty_part),
        Value::Object(fields) => fields.iter().any(|(name, field)| {
            let map = field.as_object().filter(|_| name == "matchLabels");
            map.is_some_and(serde_json::Map::is_empty) || has_an_empty_part(field)
        }),
        _ => false,
    }
}

/// Takes defaults out where an empty list was sent, which validation is to see.
pub fn take_out_defaults(object: &mut Object) {
    let [up, down] = POLICIES.map(|pointer| object.sent_empty.iter().any(|it| it == pointer));
    if !(up || down) {
        return;
    }
    let autoscaler = object.get_mut::<HorizontalPodAutoscaler>();
    let Some(behavior) = autoscaler.and_then(|it| it.spec.behavior.as_mut()) else {
        return;
    };
    for (sent, rules) in [
        (up, &mut behavior.scale_up),
        (down, &mut behavior.scale_down),
    ] {
        if let (true, Some(rules)) = (sent, rules) {
            rules.policies.clear();
        }
    }
}

/// Whether a spec counts as a new one although it has the same values.
pub fn is_another_spec(object: &Object) -> bool {
    object.value().schema().name == NETWORK_POLICY
        && object.sent_empty.iter().any(|pointer| pointer == SPEC)
}

/// Whether a pod was sent with an overhead of nothing.
pub fn has_empty_overhead(object: &Object) -> bool {
    object.sent_empty.iter().any(|pointer| pointer == OVERHEAD)
}

/// Makes lists that are null in an object's JSON empty, where they were sent so.
pub fn restore(object: &Object, document: &mut Value) {
    for pointer in &object.sent_empty {
        if let Some(list) = document.pointer_mut(pointer)
            && list.is_null()
        {
            *list = Value::Array(Vec::new());
        }
    }
}

/// Whether a list without items is in a JSON text. Brackets inside of texts are found too, which does no harm.
fn has_empty_list(json: &[u8]) -> bool {
    memchr::memchr_iter(b'[', json).any(|at| {
        let mut after = json[at + 1..].iter();
        after.find(|byte| !byte.is_ascii_whitespace()) == Some(&b']')
    })
}

fn is_empty_list(value: Option<&Value>) -> bool {
    value
        .and_then(Value::as_array)
        .is_some_and(|list| list.is_empty())
}

/// JSON pointers of lists that are empty, always written, and merged by their items. What is atomic is not looked into.
fn collect(schema: &StructSchema, value: &Value, pointer: &mut String, found: &mut Vec<String>) {
    for field in schema.fields {
        if field.inline {
            if let Some(inner) = field.ty.struct_schema() {
                collect(inner, value, pointer, found);
            }
            continue;
        }
        let Some(part) = value.get(field.json) else {
            continue;
        };
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(field.json);
        match (field.ty.deref(), part) {
            (TypeRef::Struct(inner), Value::Object(_)) if field.struct_type != "atomic" => {
                collect(inner, part, pointer, found);
            }
            (TypeRef::List(item), Value::Array(items)) if merges(field.list_type) => {
                if items.is_empty() && field.omit == Omit::Never {
                    found.push(pointer.clone());
                }
                if let TypeRef::Struct(inner) = item.deref() {
                    for (index, item) in items.iter().enumerate() {
                        let length = pointer.len();
                        pointer.push_str(&format!("/{index}"));
                        collect(inner, item, pointer, found);
                        pointer.truncate(length);
                    }
                }
            }
            _ => {}
        }
        pointer.truncate(length);
    }
}

fn merges(list_type: &str) -> bool {
    matches!(list_type, "map" | "set")
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::ConfigMap;
    use api_types::resource::v1::ResourceClaim;
    use api_types::storage::v1::CSINode;

    fn noted<T: api_types::Struct + Default>(json: &str) -> Object {
        let mut object = Object::from(T::default());
        api_types::decode_json_into(object.value_mut(), json.as_bytes()).unwrap();
        note(&mut object, json.as_bytes());
        object
    }

    #[test]
    fn an_empty_list_of_managed_fields_is_a_reset() {
        for (managed_fields, resets) in [
            ("[]", true),
            ("[ \n]", true),
            ("[{}]", true),
            ("null", false),
            ("[{\"manager\":\"a\"}]", false),
        ] {
            let json = format!("{{\"metadata\":{{\"managedFields\":{managed_fields}}}}}");
            let object = noted::<ConfigMap>(&json);
            let entries = &object.metadata().managed_fields;
            assert_eq!(
                *entries == [ManagedFieldsEntry::default()],
                resets,
                "{json}"
            );
        }
        // Inside of a text, and elsewhere, it means nothing.
        let object = noted::<ConfigMap>(r#"{"data":{"managedFields":"[]"}}"#);
        assert!(object.metadata().managed_fields.is_empty());
    }

    #[test]
    fn an_overhead_of_nothing_is_noted() {
        use api_types::core::v1::Pod;
        for (spec, empty) in [
            (r#"{"overhead":{}}"#, true),
            (r#"{"overhead":null}"#, false),
            (r#"{"overhead":{"cpu":"1"}}"#, false),
            (r#"{"hostname":"overhead"}"#, false),
        ] {
            let object = noted::<Pod>(&format!("{{\"spec\":{spec}}}"));
            assert_eq!(has_empty_overhead(&object), empty, "{spec}");
        }
        let object = noted::<ConfigMap>(r#"{"spec":{"overhead":{}}}"#);
        assert!(!has_empty_overhead(&object));
    }

    #[test]
    fn kinds_for_which_an_empty_list_means_something() {
        use api_types::networking::v1::NetworkPolicy;
        let sent = r#"{"spec":{"behavior":{"scaleUp":{"policies":[]},"scaleDown":{}}}}"#;
        let mut object = noted::<HorizontalPodAutoscaler>(sent);
        let policy = api_types::autoscaling::v2::HPAScalingPolicy::default();
        let autoscaler = object.get_mut::<HorizontalPodAutoscaler>().unwrap();
        let behavior = autoscaler.spec.behavior.get_or_insert_default();
        for rules in [&mut behavior.scale_up, &mut behavior.scale_down] {
            rules.get_or_insert_default().policies = vec![policy.clone()];
        }
        take_out_defaults(&mut object);
        let autoscaler = object.get::<HorizontalPodAutoscaler>().unwrap();
        let behavior = autoscaler.spec.behavior.as_ref().unwrap();
        let policies = [&behavior.scale_up, &behavior.scale_down]
            .map(|rules| rules.as_ref().unwrap().policies.len());
        assert_eq!(policies, [0, 1]);
        for (spec, another) in [
            (r#"{"egress":[]}"#, true),
            (r#"{"ingress":[{"from":[]}]}"#, true),
            (r#"{"podSelector":{"matchLabels":{}}}"#, true),
            (
                r#"{"podSelector":{"matchLabels":{"a":"b"}},"ingress":[{}]}"#,
                false,
            ),
        ] {
            let object = noted::<NetworkPolicy>(&format!("{{\"spec\":{spec}}}"));
            assert_eq!(is_another_spec(&object), another, "{spec}");
        }
    }

    #[test]
    fn lists_that_are_merged_are_noted_where_json_always_has_them() {
        let object = noted::<CSINode>(r#"{"spec":{"drivers":[]}}"#);
        assert_eq!(object.sent_empty, ["/spec/drivers"]);
        let mut document = serde_json::json!({"spec": {"drivers": null}});
        restore(&object, &mut document);
        assert_eq!(document, serde_json::json!({"spec": {"drivers": []}}));
        assert!(
            noted::<CSINode>(r#"{"spec":{"drivers":null}}"#)
                .sent_empty
                .is_empty()
        );
        // Within an item; `data` is no list, and `requests` is replaced as a whole.
        let object = noted::<ResourceClaim>(
            r#"{"spec":{"devices":{"requests":[]}},"status":{"devices":[{"device":"a"},{"conditions":[]}]}}"#,
        );
        assert_eq!(object.sent_empty, ["/status/devices/1/conditions"]);
    }
}
