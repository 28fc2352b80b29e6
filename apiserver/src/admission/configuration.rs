//! `--admission-control-config-file`: what it says to each plugin. Upstream: apiserver/pkg/admission/config.go.

use std::path::{Path, PathBuf};

use api_types::apiserver_config::v1::{AdmissionConfiguration, AdmissionPluginConfiguration};
use apimachinery::os_error;
use apimachinery::quote::quote;
use apimachinery::yaml::{self, DuplicateKeyPolicy};
use component_base::config::{ConfigError, Document};

/// The parts of the file, each for a plugin.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    plugins: Vec<AdmissionPluginConfiguration>,
    /// Paths in the file start here.
    folder: PathBuf,
}

/// Plugins whose file once was the whole file, and the members by which such a file is known.
const UNVERSIONED: [(&str, &str); 2] = [
    ("ImagePolicyWebhook", "imagePolicy"),
    ("PodNodeSelector", "podNodeSelectorPluginConfig"),
];

impl Configuration {
    /// Reads the file.
    ///
    /// # Errors
    /// In upstream's words, when it cannot be read or is of another kind.
    pub fn read(path: &Path) -> Result<Configuration, String> {
        let failed =
            |why: String| format!("failed to apply admission: failed to read plugin config: {why}");
        let text = std::fs::read(path).map_err(|error| {
            let why = os_error::on_reading(path, &error);
            let path = quote(&path.to_string_lossy());
            failed(format!(
                "unable to read admission control configuration from {path} [{why}]"
            ))
        })?;
        let plugins = match parse(&text) {
            Ok(configuration) => configuration.plugins,
            Err(error) if is_unversioned(&error, &text) => UNVERSIONED
                .map(|(name, _)| AdmissionPluginConfiguration {
                    name: name.to_owned(),
                    path: absolute(path),
                    ..AdmissionPluginConfiguration::default()
                })
                .to_vec(),
            Err(error) => return Err(failed(error.to_string())),
        };
        Ok(Configuration {
            plugins,
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        })
    }

    /// A plugin's part: in the file itself, or in one that it names, beside itself when the path is relative.
    pub fn of(&self, plugin: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(found) = self.plugins.iter().find(|found| found.name == plugin) else {
            return Ok(None);
        };
        if let Some(configuration) = &found.configuration {
            return Ok(Some(configuration.raw.clone()));
        }
        if found.path.is_empty() {
            return Ok(None);
        }
        let path = self.folder.join(&found.path);
        std::fs::read(&path)
            .map(Some)
            .map_err(|error| os_error::on_reading(&path, &error))
    }
}

fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.to_string_lossy().into_owned()
}

/// The kind of the whole file, in all its versions.
fn parse(text: &[u8]) -> Result<AdmissionConfiguration, ConfigError> {
    let document = Document::parse(text)?;
    match (document.api_version.as_str(), document.kind.as_str()) {
        ("apiserver.config.k8s.io/v1" | "apiserver.k8s.io/v1alpha1", "AdmissionConfiguration") => {
            document.decode_fields()
        }
        _ => Err(document.unknown()),
    }
}

/// Whether it is a plugin's own file of old.
fn is_unversioned(error: &ConfigError, text: &[u8]) -> bool {
    if !matches!(
        error,
        ConfigError::Missing { .. } | ConfigError::UnknownKind { .. }
    ) {
        return false;
    }
    let members = unversioned(text).unwrap_or_default();
    UNVERSIONED
        .iter()
        .any(|(_, member)| members.contains_key(*member))
}

/// A plugin's part that says what it is and has known members only. Members are asked about by the path of what they are in,
/// without numbers, and their name.
pub(crate) fn strict<T: serde::de::DeserializeOwned>(
    text: &[u8],
    kinds: &[(&str, &str)],
    known: &dyn Fn(&str, &str) -> bool,
) -> Result<T, String> {
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    let kind = (document.api_version.as_str(), document.kind.as_str());
    if !kinds.contains(&kind) {
        return Err(document.unknown().to_string());
    }
    let value: serde_json::Value =
        serde_json::from_slice(document.json()).map_err(|error| error.to_string())?;
    let mut unknown = Vec::new();
    find_unknown(&value, "", "", known, &mut unknown);
    if !unknown.is_empty() {
        return Err(format!("strict decoding error: {}", unknown.join(", ")));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn find_unknown(
    value: &serde_json::Value,
    shown: &str,
    path: &str,
    known: &dyn Fn(&str, &str) -> bool,
    unknown: &mut Vec<String>,
) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                let below = |path: &str| match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                let is_kind = path.is_empty() && ["apiVersion", "kind"].contains(&&**name);
                if !is_kind && !known(path, name) {
                    unknown.push(format!("unknown field {}", quote(&below(shown))));
                } else {
                    find_unknown(member, &below(shown), &below(path), known, unknown);
                }
            }
        }
        serde_json::Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_unknown(item, &format!("{shown}[{index}]"), path, known, unknown);
            }
        }
        _ => {}
    }
}

/// YAML or JSON that does not say what it is.
pub(crate) fn unversioned(
    text: &[u8],
) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    match yaml::from_str(text, DuplicateKeyPolicy::Error) {
        Ok(serde_json::Value::Object(members)) => Ok(members),
        Ok(serde_json::Value::Null) => Ok(serde_json::Map::new()),
        Ok(_) => Err("want a mapping of fields to values".to_owned()),
        Err(error) => Err(yaml::error_text(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("admission.yaml");
        std::fs::write(&file, text).expect("written");
        (folder, file)
    }

    #[test]
    fn parts_are_in_the_file_or_beside_it() {
        let header = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n";
        let (folder, file) = write(&format!(
            "{header}plugins:\n- {{name: A, path: a.yaml}}\n- {{name: B, configuration: {{b: 1}}}}\n- {{name: C, path: c.yaml}}\n"
        ));
        std::fs::write(folder.path().join("a.yaml"), "a: 1").expect("written");
        let read = Configuration::read(&file).expect("a file");
        assert_eq!(read.of("A"), Ok(Some(b"a: 1".to_vec())));
        assert_eq!(read.of("B"), Ok(Some(br#"{"b":1}"#.to_vec())));
        assert!(
            read.of("C")
                .is_err_and(|why| why.ends_with("c.yaml: no such file or directory"))
        );
        assert_eq!(read.of("D"), Ok(None));
    }

    #[test]
    fn files_of_old_are_of_their_plugins() {
        let text = "podNodeSelectorPluginConfig:\n  ns: a=b\n";
        let (_folder, file) = write(text);
        let read = Configuration::read(&file).expect("a file");
        assert_eq!(read.of("PodNodeSelector"), Ok(Some(text.into())));
        assert_eq!(read.of("EventRateLimit"), Ok(None));
        let (_folder, file) = write("other: 1\n");
        let why = Configuration::read(&file).expect_err("no kind");
        assert_eq!(
            why,
            "failed to apply admission: failed to read plugin config: Object 'Kind' is missing in 'other: 1'"
        );
    }
}
