//! Defaults and exemptions. Upstream: pod-security-admission/admission/api.

use api_types::pod_security::v1::{PodSecurityConfiguration, PodSecurityExemptions};
use apimachinery::field::{self, ErrorList, Path as FieldPath};
use apimachinery::validation::{name_is_dns_label, name_is_dns_subdomain};
use component_base::config::{ConfigError, Document};

use super::super::ConfigurationError;
use super::NAME;
use super::levels::{Level, LevelVersion, Policy, Version};

/// What holds for namespaces that say nothing, and whom nothing holds for.
#[derive(Clone, Debug)]
pub(in crate::admission) struct Configuration {
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
    /// Reads the plugin's part of the configuration file.
    pub(in crate::admission) fn new(text: Option<&[u8]>) -> Result<Self, ConfigurationError> {
        text.map_or_else(|| Ok(Self::default()), Self::parse)
    }

    /// Reads a PodSecurityConfiguration.
    fn parse(text: &[u8]) -> Result<Self, ConfigurationError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let object = read_own(text).map_err(|error| error.to_string())?;
        let refuse =
            |what: &str, why: String| ConfigurationError::Invalid(format!("{NAME} {what}: {why}"));
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

    fn read(fields: &str) -> Result<Configuration, ConfigurationError> {
        let text = format!(
            "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n{fields}\n"
        );
        Configuration::new(Some(text.as_bytes()))
    }

    #[test]
    fn defaults_and_exemptions() {
        let read = read(
            "defaults: {enforce: baseline, enforce-version: v1.30}\nexemptions: {namespaces: [a]}",
        )
        .unwrap();
        assert_eq!(read.defaults.enforce.to_string(), "baseline:v1.30");
        assert_eq!(read.defaults.warn, LevelVersion::PRIVILEGED);
        assert_eq!(read.exemptions.namespaces, ["a"]);
        let nothing = Configuration::new(None).unwrap();
        assert_eq!(nothing.defaults, Policy::PRIVILEGED);
    }

    #[test]
    fn wrong_configurations_say_what_is_wrong() {
        let invalid = |why: &str| ConfigurationError::Invalid(why.to_owned());
        let unread = |why: &str| ConfigurationError::Init(why.to_owned());
        for (fields, expected) in [
            (
                "defaults: {enforce: x, warn-version: '1'}",
                invalid(
                    "PodSecurity configuration error: [enforce: must be one of privileged, baseline, restricted, \
                     warn-version: must be \"latest\" or \"v1.x\"]",
                ),
            ),
            (
                "exemptions: {usernames: [a, a]}",
                invalid("PodSecurity invalid: exemptions.usernames[1]: Duplicate value: \"a\""),
            ),
            (
                "nonsense: 1",
                unread("strict decoding error: unknown field \"nonsense\""),
            ),
        ] {
            assert_eq!(read(fields).unwrap_err(), expected);
        }
        let other = Configuration::new(Some(b"apiVersion: v1\nkind: Pod\n")).unwrap_err();
        assert_eq!(
            other,
            unread("no kind \"Pod\" is registered for version \"v1\"")
        );
    }
}
