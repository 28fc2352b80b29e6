//! CustomResourceDefinitions. Upstream: apiextensions-apiserver/pkg/registry/customresourcedefinition.
//!
//! DELETE is in `custom_resources::deletion`.

use std::collections::HashSet;

use api_types::Value;
use api_types::apiextensions::v1::{CustomResourceDefinition, JSONSchemaPropsOrArray};
use api_types::value::{View, ViewMut};
use apimachinery::quote::quote;
use structural_schema::unrecognized_formats;

use super::{Generation, Kind, Row, Status, row};
use crate::apis::gates;
use crate::apis::validation::api_extensions as checks;
use crate::go_json;

const EXTENSIONS: &str = "apiextensions.k8s.io";

pub(super) static ROWS: &[Row] = &[
    row(EXTENSIONS, "CustomResourceDefinition", "", &CRD),
    row(
        EXTENSIONS,
        "CustomResourceDefinition",
        "status",
        &CRD_STATUS,
    ),
];

static CRD: Kind<CustomResourceDefinition> = Kind {
    prepare: |_, crd| {
        add_stored_version(crd);
        drop_disabled_fields(crd, None);
    },
    prepare_update: |_, crd, old| {
        add_stored_version(crd);
        drop_disabled_fields(crd, Some(old));
    },
    warn: |_, crd| warnings(&formats(crd), &[]),
    warn_update: |_, crd, old| warnings(&formats(crd), &formats(old)),
    canonicalize: |crd| canonicalize(&mut crd.spec),
    generation: Generation::Spec,
    unconditional_update: false,
    ..Kind::new(
        |_, crd| checks::validate_crd(crd),
        |_, crd, old| checks::validate_crd_update(crd, old),
    )
};

static CRD_STATUS: Status<CustomResourceDefinition> = Status {
    unconditional_update: false,
    ..Status::new(|_, crd, old| checks::validate_crd_status_update(crd, old))
};

/// Objects may be stored in the storage version from now on.
fn add_stored_version(crd: &mut CustomResourceDefinition) {
    let storage = crd.spec.versions.iter().find(|version| version.storage);
    if let Some(version) = storage
        && !crd.status.stored_versions.contains(&version.name)
    {
        crd.status.stored_versions.push(version.name.clone());
    }
}

fn drop_disabled_fields(
    crd: &mut CustomResourceDefinition,
    old: Option<&CustomResourceDefinition>,
) {
    let status = &mut crd.status;
    let in_use = old.is_some_and(|old| {
        let mut conditions = old.status.conditions.iter();
        old.status.observed_generation != 0 || conditions.any(|it| it.observed_generation != 0)
    });
    if !gates::enabled("CRDObservedGenerationTracking") && !in_use {
        status.observed_generation = 0;
        for condition in &mut status.conditions {
            condition.observed_generation = 0;
        }
    }
}

/// What is neither a schema nor a list of them was read as neither, is written as null, and is not there when it is read again. Defaults,
/// examples and values of an enumeration are read and written again on the way through upstream's internal type.
fn canonicalize(value: &mut dyn Value) {
    match value.view_mut() {
        ViewMut::Struct(fields) => {
            for index in 0..fields.schema().fields.len() {
                canonicalize(fields.get_mut(index));
            }
        }
        ViewMut::List(list) => {
            for index in 0..list.len() {
                canonicalize(list.item_mut(index));
            }
        }
        ViewMut::Map(map) => {
            let keys: Vec<String> = map
                .entries()
                .into_iter()
                .map(|(key, _)| key.to_owned())
                .collect();
            for key in keys {
                if let Some(value) = map.value_mut(&key) {
                    canonicalize(value);
                }
            }
        }
        ViewMut::Pointer(pointer) => {
            let Some(target) = pointer.target() else {
                return;
            };
            if is_empty_items(target) {
                pointer.clear();
            } else {
                canonicalize(pointer.get_or_default());
            }
        }
        ViewMut::RawJson(raw) => {
            if let Ok(value) = go_json::parse(raw) {
                raw.clear();
                go_json::write(&value, raw);
            }
        }
        _ => {}
    }
}

fn is_empty_items(value: &dyn Value) -> bool {
    match value.view() {
        View::Struct(fields) => fields
            .downcast_ref::<JSONSchemaPropsOrArray>()
            .is_some_and(|items| *items == JSONSchemaPropsOrArray::default()),
        _ => false,
    }
}

/// Formats that mean nothing: what all versions share counts once, as in the internal type.
fn formats(crd: &CustomResourceDefinition) -> Vec<String> {
    let versions = &crd.spec.versions;
    let schemas = versions.iter().map(|version| {
        let schema = version.schema.as_ref();
        schema.and_then(|schema| schema.open_api_v3_schema.as_deref())
    });
    let shared = versions
        .windows(2)
        .all(|two| two[0].schema == two[1].schema);
    let schemas = schemas.take(if shared { 1 } else { usize::MAX });
    schemas.flatten().flat_map(unrecognized_formats).collect()
}

fn warnings(new: &[String], old: &[String]) -> Vec<String> {
    let old: HashSet<&String> = old.iter().collect();
    let introduced = new.iter().filter(|format| !old.contains(format));
    introduced
        .map(|format| format!("unrecognized format {}", quote(format)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_in_schemas_is_in_the_order_of_its_keys() {
        let schema = json!({"properties": {"a": {
            "default": {"a": 1}, "example": 1, "enum": [1], "nullable": true,
        }}});
        let crd = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
        let text = crd.to_string();
        let text = text.replace(r#"{"a":1}"#, r#"{"b": [1.0, "<"], "a": {"d": 1, "c": 2}}"#);
        let mut crd: CustomResourceDefinition = api_types::decode_json(text.as_bytes()).unwrap();
        canonicalize(&mut crd.spec);
        let schema = crd.spec.versions[0].schema.as_ref().unwrap();
        let schema = schema.open_api_v3_schema.as_ref().unwrap();
        let property = &schema.properties["a"];
        let default = property.default.as_ref().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&default.raw),
            r#"{"a":{"c":2,"d":1},"b":[1,"\u003c"]}"#
        );
        assert_eq!(property.enum_[0].raw, b"1");
    }

    #[test]
    fn items_that_are_no_schema_are_not_there() {
        let schema = json!({"type": "object", "items": "text", "properties": {
            "a": {"type": "array", "items": {"type": "array", "items": 5}},
            "b": {"type": "array", "items": [{}]},
        }});
        let crd = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
        let mut crd: CustomResourceDefinition =
            api_types::decode_json(crd.to_string().as_bytes()).unwrap();
        canonicalize(&mut crd.spec);
        let schema = crd.spec.versions[0].schema.as_ref().unwrap();
        let schema = schema.open_api_v3_schema.as_ref().unwrap();
        assert!(schema.items.is_none());
        let inner = schema.properties["a"].items.as_ref().unwrap();
        assert!(inner.schema.as_ref().unwrap().items.is_none());
        assert!(schema.properties["b"].items.is_some());
    }
}
