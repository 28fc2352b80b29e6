//! Generates the API types: structs, tables, traits, kinds and resources.
//!
//! The input is one JSON file per Go package (its structs with their tags and markers) and `resources.json`. The
//! output is a map from file name (below `src/generated`) to text, so that a test can compare it with what is committed.

mod emit;
mod model;
mod names;
mod resources;

use std::collections::BTreeMap;
use std::path::Path;

/// All generated files, by their path below `src/generated`.
pub(crate) fn generate(schema_dir: &Path) -> Result<BTreeMap<String, String>, String> {
    let model = model::Model::load(schema_dir)?;
    let mut files = BTreeMap::new();
    emit::packages(&model, &mut files)?;
    emit::kinds(&model, &mut files)?;
    let table = resources::load(schema_dir)?;
    resources::emit(&model, &table, &mut files)?;
    emit::modules(&model, &mut files);
    Ok(files)
}

/// Group and version by Go package.
pub(crate) type GroupVersions = BTreeMap<String, (String, String)>;

/// Group and version of every package in the schema folder.
pub(crate) fn group_versions(schema_dir: &Path) -> Result<GroupVersions, String> {
    let model = model::Model::load(schema_dir)?;
    let pairs = model
        .packages
        .into_values()
        .map(|package| (package.package, (package.group, package.version)));
    Ok(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_output_is_current() {
        let crate_dir = crate::workspace_root().join("crates/api-types");
        let files = generate(&crate_dir.join("schema")).expect("the schema folder is readable");
        let mut stale = Vec::new();
        for (name, text) in &files {
            let committed = std::fs::read_to_string(crate_dir.join("src/generated").join(name))
                .unwrap_or_default();
            if committed != *text {
                stale.push(name.as_str());
            }
        }
        assert!(
            stale.is_empty(),
            "run `cargo codegen api-types`; these files are stale: {stale:?}"
        );
    }
}
