//! Defaults and exemptions. Upstream: pod-security-admission/admission/api, read from the file of apiserver/pkg/admission/config.go.

use std::path::Path;

use api_types::apiserver_config::v1::{AdmissionConfiguration, AdmissionPluginConfiguration};
use api_types::pod_security::v1::{PodSecurityConfiguration, PodSecurityExemptions};
use apimachinery::field::{self, ErrorList, Path as FieldPath};
use apimachinery::os_error;
use apimachinery::quote::quote;
use apimachinery::validation::{name_is_dns_label, name_is_dns_subdomain};
use component_base::config::{ConfigError, Document};

use super::NAME;
use super::levels::{Level, LevelVersion, Policy, Version};

/// What holds for namespaces that say nothing, and whom nothing holds for.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub(super) defaults: Policy,
    pub(super) exemptions: PodSecurityExemptions,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            defaults: Policy::PRIVILEGED,
            exemptions: PodSecurityExemptions::default(),
        }
    }
}

impl Configuration {
    /// Reads what `--admission-control-config-file` says to this plugin.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|error| {
            let why = os_error::on_reading(path, &error);
            let path = quote(&path.to_string_lossy());
            format!("failed to apply admission: failed to read plugin config: unable to read admission control configuration from {path} [{why}]")
        })?;
        let file = read_admission_configuration(&text).map_err(|error| {
            format!("failed to apply admission: failed to read plugin config: {error}")
        })?;
        for other in file.plugins.iter().filter(|plugin| plugin.name != NAME) {
            tracing::warn!(
                plugin = other.name,
                "The admission configuration of this plugin is not read by this version of kube-apiserver"
            );
        }
        let Some(plugin) = file.plugins.iter().find(|plugin| plugin.name == NAME) else {
            return Ok(Self::default());
        };
        let cannot = |error: String| {
            format!("failed to apply admission: couldn't init admission plugin \"{NAME}\": {error}")
        };
        match own_text(plugin, path).map_err(cannot)? {
            Some(text) => Self::parse(&text),
            None => Ok(Self::default()),
        }
    }

    /// Reads a PodSecurityConfiguration.
    fn parse(text: &[u8]) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let object = read_own(text).map_err(|error| {
            format!("failed to apply admission: couldn't init admission plugin \"{NAME}\": {error}")
        })?;
        let refuse = |what: &str, why: String| {
            format!(
                "failed to apply admission: failed to initialize admission plugin \"{NAME}\": {NAME} {what}: {why}"
            )
        };
        let mut errors = Vec::new();
        let defaults = &object.defaults;
        let mut mode = |name: &str, level: &str, version: &str| {
            let mut read = |name: String, error: &str| errors.push(format!("{name}: {error}"));
            let level = match level {
                "" => Level::Privileged,
                level => Level::parse(level).unwrap_or_else(|error| {
                    read(name.to_owned(), error);
                    Level::Restricted
                }),
            };
            let version = match version {
                "" => Version::Latest,
                version => Version::parse(version).unwrap_or_else(|error| {
                    read(format!("{name}-version"), error);
                    Version::Latest
                }),
            };
            LevelVersion { level, version }
        };
        let defaults = Policy {
            enforce: mode("enforce", &defaults.enforce, &defaults.enforce_version),
            audit: mode("audit", &defaults.audit, &defaults.audit_version),
            warn: mode("warn", &defaults.warn, &defaults.warn_version),
        };
        if let Some(errors) = field::aggregate(errors) {
            return Err(refuse("configuration error", errors));
        }
        let errors = validate_exemptions(&object.exemptions);
        if let Some(errors) = errors.aggregate() {
            return Err(refuse("invalid", errors));
        }
        Ok(Self {
            defaults,
            exemptions: object.exemptions,
        })
    }
}

/// The kind of the whole file, in all its versions.
fn read_admission_configuration(text: &[u8]) -> Result<AdmissionConfiguration, ConfigError> {
    let document = Document::parse(text)?;
    match (document.api_version.as_str(), document.kind.as_str()) {
        ("apiserver.config.k8s.io/v1" | "apiserver.k8s.io/v1alpha1", "AdmissionConfiguration") => {
            document.decode_fields()
        }
        _ => Err(document.unknown()),
    }
}

/// The kind of this plugin's part, in all its versions.
fn read_own(text: &[u8]) -> Result<PodSecurityConfiguration, ConfigError> {
    let document = Document::parse(text)?;
    let version = document
        .api_version
        .strip_prefix("pod-security.admission.config.k8s.io/");
    match (version, document.kind.as_str()) {
        (Some("v1" | "v1beta1" | "v1alpha1"), "PodSecurityConfiguration") => {
            document.decode_fields()
        }
        _ => Err(document.unknown()),
    }
}

/// The plugin's part: in the file itself, or in one that it names, beside itself when the path is relative.
fn own_text(plugin: &AdmissionPluginConfiguration, file: &Path) -> Result<Option<Vec<u8>>, String> {
    if let Some(configuration) = &plugin.configuration {
        return Ok(Some(configuration.raw.clone()));
    }
    if plugin.path.is_empty() {
        return Ok(None);
    }
    let path = file.parent().unwrap_or(Path::new("")).join(&plugin.path);
    std::fs::read(&path)
        .map(Some)
        .map_err(|error| os_error::on_reading(&path, &error))
}

fn validate_exemptions(exemptions: &PodSecurityExemptions) -> ErrorList {
    let username = |name: &str, _: bool| {
        if name.is_empty() {
            vec!["username must not be empty".to_owned()]
        } else {
            Vec::new()
        }
    };
    let mut errors = Vec::new();
    for (name, values, check) in [
        (
            "namespaces",
            &exemptions.namespaces,
            name_is_dns_label as fn(&str, bool) -> Vec<String>,
        ),
        (
            "runtimeClasses",
            &exemptions.runtime_classes,
            name_is_dns_subdomain,
        ),
        ("usernames", &exemptions.usernames, username),
    ] {
        for (index, value) in values.iter().enumerate() {
            let path = FieldPath::new("exemptions").child(name).index(index);
            let problems = check(value, false);
            if !problems.is_empty() {
                errors.push(field::invalid(&path, value.as_str(), problems.join(", ")));
            } else if values[..index].contains(value) {
                errors.push(field::duplicate(&path, value.as_str()));
            }
        }
    }
    ErrorList(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n";

    fn read(plugin: &str) -> Result<Configuration, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("admission.yaml");
        let own = "defaults: {enforce: baseline, enforce-version: v1.30}\nexemptions: {namespaces: [a]}\n";
        std::fs::write(dir.path().join("own.yaml"), format!("{HEADER}{own}")).unwrap();
        let header = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n";
        std::fs::write(
            &file,
            format!("{header}plugins:\n- name: PodSecurity\n  {plugin}\n"),
        )
        .unwrap();
        Configuration::from_file(&file)
    }

    fn inline(fields: &str) -> String {
        format!(
            "configuration: {{apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, {fields}}}"
        )
    }

    #[test]
    fn a_file_may_name_another() {
        for plugin in [
            "path: own.yaml".to_owned(),
            inline(
                "defaults: {enforce: baseline, enforce-version: v1.30}, exemptions: {namespaces: [a]}",
            ),
        ] {
            let read = read(&plugin).unwrap();
            assert_eq!(read.defaults.enforce.to_string(), "baseline:v1.30");
            assert_eq!(read.defaults.warn, LevelVersion::PRIVILEGED);
            assert_eq!(read.exemptions.namespaces, ["a"]);
        }
        let nothing = read("path: \"\"").unwrap();
        assert_eq!(nothing.defaults, Policy::PRIVILEGED);
    }

    #[test]
    fn wrong_files_say_what_is_wrong() {
        for (plugin, expected) in [
            (
                inline("defaults: {enforce: x, warn-version: '1'}"),
                "failed to initialize admission plugin \"PodSecurity\": PodSecurity configuration error: \
                 [enforce: must be one of privileged, baseline, restricted, warn-version: must be \"latest\" or \"v1.x\"]",
            ),
            (
                inline("exemptions: {usernames: [a, a]}"),
                "failed to initialize admission plugin \"PodSecurity\": PodSecurity invalid: \
                 exemptions.usernames[1]: Duplicate value: \"a\"",
            ),
            (
                inline("nonsense: 1"),
                "couldn't init admission plugin \"PodSecurity\": strict decoding error: unknown field \"nonsense\"",
            ),
            (
                "configuration: {apiVersion: v1, kind: Pod}".to_owned(),
                "couldn't init admission plugin \"PodSecurity\": no kind \"Pod\" is registered for version \"v1\"",
            ),
        ] {
            let error = read(&plugin).unwrap_err();
            assert_eq!(error, format!("failed to apply admission: {expected}"));
        }
        let missing = read("path: other.yaml").unwrap_err();
        assert!(
            missing.ends_with("other.yaml: no such file or directory"),
            "{missing}"
        );
    }
}
