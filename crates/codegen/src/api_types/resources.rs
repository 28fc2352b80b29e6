//! The table of REST resources, from `schema/resources.json`, and the `Resource` impls of their kinds.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

use super::emit::{HEADER, module_path};
use super::model::{Model, Package};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Row {
    group: String,
    version: String,
    resource: String,
    singular: String,
    kind: String,
    namespaced: bool,
    short_names: Vec<String>,
    categories: Vec<String>,
    verbs: Vec<String>,
    subresources: Vec<SubRow>,
    storage: Option<StorageRow>,
    default_on: bool,
    feature_gate: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubRow {
    name: String,
    group: String,
    version: String,
    kind: String,
    verbs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StorageRow {
    group: String,
    version: String,
    prefix: String,
}

pub(crate) fn load(schema_dir: &Path) -> Result<Vec<Row>, String> {
    let path = schema_dir.join("resources.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|err| format!("reading {}: {err}", path.display()))?;
    serde_json::from_str(&text).map_err(|err| format!("parsing {}: {err}", path.display()))
}

fn package<'a>(model: &'a Model, group: &str, version: &str, kind: &str) -> Option<&'a Package> {
    model.packages.values().find(|package| {
        package.group == group
            && package.version == version
            && package
                .types
                .get(kind)
                .is_some_and(|ty| ty.is_object() || ty.has_type_meta())
    })
}

pub(crate) fn emit(
    model: &Model,
    rows: &[Row],
    files: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    let mut out = String::from("//! All REST resources.\n");
    out.push_str(HEADER);
    out.push_str("use crate::resources::{ResourceInfo, StorageInfo, SubresourceInfo};\n\n/// Every REST resource, in discovery order, those off by default last.\npub static RESOURCES: &[ResourceInfo] = &[\n");
    let mut impls = String::new();
    for row in rows {
        let home = package(model, &row.group, &row.version, &row.kind)
            .ok_or_else(|| format!("no type for {}/{} {}", row.group, row.version, row.kind))?;
        let _ = write!(
            out,
            "    ResourceInfo {{\n        group: {:?}, version: {:?}, resource: {:?}, singular: {:?}, kind: {:?}, namespaced: {},\n        short_names: &{:?}, categories: &{:?}, verbs: &{:?},\n        subresources: &[",
            row.group,
            row.version,
            row.resource,
            row.singular,
            row.kind,
            row.namespaced,
            row.short_names,
            row.categories,
            row.verbs
        );
        for sub in &row.subresources {
            let _ = write!(
                out,
                "\n            SubresourceInfo {{ name: {:?}, group: {:?}, version: {:?}, kind: {:?}, verbs: &{:?} }},",
                sub.name, sub.group, sub.version, sub.kind, sub.verbs
            );
        }
        let storage = match &row.storage {
            Some(s) => format!(
                "Some(StorageInfo {{ group: {:?}, version: {:?}, prefix: {:?} }})",
                s.group, s.version, s.prefix
            ),
            None => "None".to_string(),
        };
        let _ = write!(
            out,
            "],\n        storage: {storage}, default_on: {}, feature_gate: {:?},\n    }},\n",
            row.default_on, row.feature_gate
        );
        let list = format!("{}List", row.kind);
        let path = module_path(model, &home.package);
        if home.types[&row.kind].is_object() && home.types.get(&list).is_some_and(|ty| ty.is_list())
        {
            let _ = write!(
                impls,
                "impl crate::Resource for {path}::{kind} {{\n    const PLURAL: &'static str = {:?};\n    const NAMESPACED: bool = {};\n    type List = {path}::{list};\n}}\n",
                row.resource,
                row.namespaced,
                kind = row.kind
            );
        } else if home.types[&row.kind].is_object() {
            // Kinds that are only created (reviews, bindings) have no list: upstream has no type for it either.
            let _ = write!(
                impls,
                "impl crate::Resource for {path}::{kind} {{\n    const PLURAL: &'static str = {:?};\n    const NAMESPACED: bool = {};\n    type List = crate::resources::NoList<{path}::{kind}>;\n}}\n",
                row.resource,
                row.namespaced,
                kind = row.kind
            );
        }
    }
    out.push_str("];\n\n");
    out.push_str(&impls);
    files.insert("resources.rs".into(), out);
    Ok(())
}
