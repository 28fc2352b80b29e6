//! The schema of built-in kinds against the rules that upstream publishes in OpenAPI (`testdata/openapi-merge-rules.json`).

use std::collections::BTreeMap;

use api_types::schema::{StructSchema, TypeRef};
use serde_json::Value;

use super::*;

/// Tables of all structs that kinds are made of, by package and name.
fn tables() -> BTreeMap<(String, String), &'static StructSchema> {
    fn visit(
        table: &'static StructSchema,
        out: &mut BTreeMap<(String, String), &'static StructSchema>,
    ) {
        if out
            .insert((table.package.to_owned(), table.name.to_owned()), table)
            .is_some()
        {
            return;
        }
        for field in table.fields {
            if let Some(inner) = field.ty.struct_schema() {
                visit(inner, out);
            }
        }
    }
    let mut out = BTreeMap::new();
    for info in api_types::kinds::KINDS {
        visit(info.schema, &mut out);
    }
    out
}

/// Finds the type of a struct by walking from a kind that contains it.
fn type_ids() -> (std::sync::Arc<Schema>, BTreeMap<(String, String), TypeId>) {
    fn visit(
        schema: &Schema,
        table: &'static StructSchema,
        ty: TypeId,
        out: &mut BTreeMap<(String, String), TypeId>,
    ) {
        if out
            .insert((table.package.to_owned(), table.name.to_owned()), ty)
            .is_some()
        {
            return;
        }
        let Some(map) = &schema.atom(ty).map else {
            return;
        };
        for field in table.json_fields() {
            let Some(inner) = field.ty.struct_schema() else {
                continue;
            };
            let Some(mut ty) = map.field(field.json).map(|field| field.ty) else {
                continue;
            };
            let mut current: TypeRef = field.ty;
            loop {
                match current {
                    TypeRef::Pointer(target) => current = *target,
                    TypeRef::List(element) | TypeRef::WrappedList(element) => {
                        current = *element;
                        ty = schema.atom(ty).list.as_ref().expect("a list").element;
                    }
                    TypeRef::Map(element) => {
                        current = *element;
                        ty = schema
                            .atom(ty)
                            .map
                            .as_ref()
                            .and_then(|map| map.element)
                            .expect("a map");
                    }
                    _ => break,
                }
            }
            // A field that overrides its struct has a type of its own.
            if field.struct_type.is_empty() && field.map_type.is_empty() {
                visit(schema, inner, ty, out);
            }
        }
    }
    let mut out = BTreeMap::new();
    let mut shared = None;
    for info in api_types::kinds::KINDS {
        let ty = built_in_type(info.group, info.version, info.kind).expect("a kind");
        visit(&ty.schema, info.schema, ty.root, &mut out);
        shared = Some(ty.schema);
    }
    (shared.expect("there are kinds"), out)
}

#[test]
fn merge_rules_equal_openapi() {
    /// Package, name, whether the struct is atomic, its fields, and what is not as by default.
    type Rule = (String, String, String, Vec<String>, Vec<String>);
    let rules: Vec<Rule> =
        serde_json::from_str(include_str!("../../../testdata/openapi-merge-rules.json"))
            .expect("test data");
    let tables = tables();
    let (schema, types) = type_ids();
    let mut failures = Vec::new();
    let mut checked = 0;
    for (package, name, whole, properties, wanted) in rules {
        let key = (package, name);
        let (Some(table), Some(ty)) = (tables.get(&key), types.get(&key)) else {
            continue;
        };
        let Some(map) = &schema.atom(*ty).map else {
            continue;
        };
        // These are scalars or anything to OpenAPI.
        if properties.is_empty() {
            continue;
        }
        checked += 1;
        let mut complain = |what: String| failures.push(format!("{}.{}: {what}", key.0, key.1));
        if map.atomic != (whole == "atomic") {
            complain(format!("atomic is {}", map.atomic));
        }
        let names: Vec<&str> = map
            .fields()
            .iter()
            .map(|field| field.name.as_ref())
            .collect();
        if names != properties {
            complain(format!("fields are {names:?}, not {properties:?}"));
        }
        let mut lists = Vec::new();
        for field in map.fields() {
            let atom = schema.atom(field.ty);
            match atom
                .list
                .as_ref()
                .filter(|_| atom.scalar.is_none())
                .map(|list| &list.relationship)
            {
                Some(ListRelationship::Set) => lists.push(format!("{}=list set", field.name)),
                Some(ListRelationship::Map(keys)) => {
                    lists.push(format!("{}=list map:{}", field.name, keys.join(",")))
                }
                _ => {}
            }
            // Structs that are atomic by themselves are checked where they are defined.
            let override_wanted = wanted
                .iter()
                .find(|rule| rule.starts_with(&format!("{}=map ", field.name)));
            if let (Some(rule), Some(map)) = (override_wanted, &atom.map) {
                let is = if map.atomic { "atomic" } else { "granular" };
                if !rule.ends_with(is) {
                    complain(format!("{} is {is}, not {rule}", field.name));
                }
            }
        }
        let wanted_lists: Vec<&String> = wanted
            .iter()
            .filter(|rule| rule.contains("=list "))
            .collect();
        if lists.iter().collect::<Vec<_>>() != wanted_lists {
            complain(format!("lists are {lists:?}, not {wanted_lists:?}"));
        }
        for rule in wanted
            .iter()
            .filter(|rule| !rule.contains("=list ") && !rule.contains("=map "))
        {
            let (name, default) = rule.split_once('=').expect("name=default");
            let default: Value = serde_json::from_str(default).expect("a default");
            // Defaults that refer to constants are on no field that is a key.
            if table
                .find_json(name)
                .is_some_and(|(_, field)| field.default.starts_with("ref("))
            {
                continue;
            }
            let field = map.field(name);
            if field.and_then(|field| field.default.as_deref()) != Some(&default) {
                complain(format!(
                    "default of {name} is {:?}, not {default}",
                    field.map(|field| &field.default)
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} differences:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(checked > 600, "only {checked} types were compared");
}
