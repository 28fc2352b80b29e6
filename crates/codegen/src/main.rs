//! Writes the generated parts of the workspace.
//!
//! `cargo codegen api-types` rewrites `crates/api-types/src/generated` from `crates/api-types/schema`.
//! `cargo codegen descriptions` rewrites `crates/api-types/descriptions.txt` from the sources of k8s-openapi.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod api_types;
mod descriptions;

fn main() -> ExitCode {
    let workspace = workspace_root();
    let result = match std::env::args().nth(1).as_deref() {
        Some("api-types") => write_api_types(&workspace),
        Some("descriptions") => write_descriptions(&workspace),
        _ => Err("usage: cargo codegen <api-types|descriptions>".to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("codegen: {message}");
            ExitCode::FAILURE
        }
    }
}

fn workspace_root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .ancestors()
        .nth(2)
        .unwrap_or(manifest)
        .to_path_buf()
}

fn write_api_types(workspace: &Path) -> Result<(), String> {
    let crate_dir = workspace.join("crates/api-types");
    let files = api_types::generate(&crate_dir.join("schema"))?;
    let target = crate_dir.join("src/generated");
    if target.exists() {
        std::fs::remove_dir_all(&target)
            .map_err(|err| format!("removing {}: {err}", target.display()))?;
    }
    for (name, text) in &files {
        let path = target.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|err| format!("creating {}: {err}", parent.display()))?;
        }
        std::fs::write(&path, text).map_err(|err| format!("writing {}: {err}", path.display()))?;
    }
    Ok(())
}

fn write_descriptions(workspace: &Path) -> Result<(), String> {
    let crate_dir = workspace.join("crates/api-types");
    let group_versions = api_types::group_versions(&crate_dir.join("schema"))?;
    let text = descriptions::generate(workspace, &group_versions)?;
    let path = crate_dir.join("descriptions.txt");
    std::fs::write(&path, text).map_err(|err| format!("writing {}: {err}", path.display()))
}
