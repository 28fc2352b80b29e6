//! Component config files. Upstream: the strict decoding of apimachinery/pkg/runtime/serializer that every daemon uses for
//! its `--config`.
//!
//! A file is YAML or JSON. It says its kind; the daemon picks the type by it and decodes. Unknown and repeated fields are
//! errors. Defaults are the daemon's business.

use std::path::{Path, PathBuf};

use api_types::{Described, Kind, codec, decode_json_reporting};
use apimachinery::os_error;
use apimachinery::quote::quote;
use apimachinery::yaml::{self, DuplicateKeyPolicy};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}", os_error::on_reading(path, error))]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{0}")]
    Yaml(String),
    #[error("couldn't get version/kind; json parse error: {0}")]
    Json(String),
    #[error(
        "couldn't get version/kind; json parse error: json: cannot unmarshal {0} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
    )]
    NotAMapping(&'static str),
    #[error("Object '{what}' is missing in '{text}'")]
    Missing { what: &'static str, text: String },
    #[error(
        "no kind {} is registered for version {}",
        quote(kind),
        quote(api_version)
    )]
    UnknownKind { api_version: String, kind: String },
    #[error("strict decoding error: {0}")]
    Strict(String),
    #[error("{0}")]
    Decode(String),
}

/// A config file whose kind is known and whose fields are not yet read.
#[derive(Clone, Debug)]
pub struct Document {
    pub api_version: String,
    pub kind: String,
    json: Vec<u8>,
    /// Keys the YAML had twice in a map.
    duplicates: Option<String>,
}

impl Document {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let bytes = std::fs::read(path).map_err(|error| ConfigError::Read {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&bytes)
    }

    /// Reads YAML or JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| ConfigError::Yaml("yaml: invalid leading UTF-8 octet".to_owned()))?;
        // What looks like an object of JSON is read as nothing else.
        let (value, json, duplicates) = if text.trim_start().starts_with('{') {
            let value = serde_json::from_slice(bytes)
                .map_err(|error| ConfigError::Json(json_syntax_error(bytes, &error)))?;
            (value, bytes.to_vec(), None)
        } else {
            let (value, duplicates) = to_json(text)?;
            let json =
                serde_json::to_vec(&value).map_err(|error| ConfigError::Yaml(error.to_string()))?;
            (value, json, duplicates)
        };
        let field = |name: &str| {
            value
                .get(name)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let (api_version, kind) = (field("apiVersion"), field("kind"));
        if !matches!(
            value,
            serde_json::Value::Null | serde_json::Value::Object(_)
        ) {
            return Err(ConfigError::NotAMapping(match value {
                serde_json::Value::Array(_) => "array",
                serde_json::Value::String(_) => "string",
                serde_json::Value::Bool(_) => "bool",
                _ => "number",
            }));
        }
        let missing = |what| {
            // In one line, and not a whole book of it.
            let shown: String = text.trim_end().escape_debug().take(200).collect();
            Err(ConfigError::Missing { what, text: shown })
        };
        if kind.is_empty() {
            return missing("Kind");
        }
        if api_version.is_empty() {
            return missing("apiVersion");
        }
        Ok(Self {
            api_version,
            kind,
            json,
            duplicates,
        })
    }

    /// Whether the document is of this kind.
    pub fn is<T: Kind>(&self) -> bool {
        self.kind == T::KIND && self.api_version == T::API_VERSION
    }

    /// Decodes the document as a kind it must be of.
    pub fn decode<T: Kind>(&self) -> Result<T, ConfigError> {
        if !self.is::<T>() {
            return Err(self.unknown());
        }
        self.decode_fields()
    }

    /// Decodes a document whose unknown and repeated fields are no reason not to start: they are logged. That is so for
    /// kinds that were once read leniently.
    pub fn decode_leniently<T: Kind>(&self) -> Result<T, ConfigError> {
        if !self.is::<T>() {
            return Err(self.unknown());
        }
        let (value, problems) = self.decode_reporting()?;
        if let Some(problems) = problems {
            tracing::warn!(
                error = %ConfigError::Strict(problems),
                "Using lenient decoding as strict decoding failed"
            );
        }
        Ok(value)
    }

    /// Decodes the document's fields without a look at its kind.
    pub fn decode_fields<T: Described>(&self) -> Result<T, ConfigError> {
        match self.decode_reporting()? {
            (value, None) => Ok(value),
            (_, Some(problems)) => Err(ConfigError::Strict(problems)),
        }
    }

    /// The value, and what is unknown or repeated in it.
    fn decode_reporting<T: Described>(&self) -> Result<(T, Option<String>), ConfigError> {
        let (value, problems) = decode_json_reporting::<T>(&self.json)
            .map_err(|error| ConfigError::Decode(error.to_string()))?;
        let mut found: Vec<String> = self.duplicates.iter().cloned().collect();
        found.extend(problems.iter().map(ToString::to_string));
        Ok((value, (!found.is_empty()).then(|| found.join(", "))))
    }

    /// The document as JSON.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Names the kind as one that the daemon does not know.
    pub fn unknown(&self) -> ConfigError {
        ConfigError::UnknownKind {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
        }
    }
}

/// Reads a file of one kind.
pub fn load<T: Kind>(path: &Path) -> Result<T, ConfigError> {
    Document::read(path)?.decode()
}

/// Go's words for what serde found wrong with a text that is no JSON.
pub fn json_syntax_error(text: &[u8], error: &serde_json::Error) -> String {
    // The decoder of types reads any JSON to its end and has Go's words.
    match codec::decode_json::<api_types::meta::v1::Status>(text) {
        Err(codec::DecodeError::Syntax { message, .. }) => message,
        _ => error.to_string(),
    }
}

/// A value that is YAML, of which JSON is a part; of keys that a map has twice the last counts.
pub fn yaml(bytes: &[u8]) -> Result<serde_json::Value, ConfigError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ConfigError::Yaml("yaml: invalid leading UTF-8 octet".to_owned()))?;
    to_json(text).map(|(value, _)| value)
}

/// YAML (of which JSON is a part) as JSON, and what its maps had twice.
fn to_json(text: &str) -> Result<(serde_json::Value, Option<String>), ConfigError> {
    let strict = match yaml::from_str(text, DuplicateKeyPolicy::Error) {
        Ok(value) => return Ok((value, None)),
        Err(strict) => yaml::error_text(&strict),
    };
    // Upstream reads such a file and then complains about all its repeated keys.
    let Some(repeated) = repeated_key(&strict) else {
        return Err(ConfigError::Yaml(strict));
    };
    match yaml::from_str(text, DuplicateKeyPolicy::LastWins) {
        Ok(value) => Ok((value, Some(repeated))),
        Err(error) => Err(ConfigError::Yaml(yaml::error_text(&error))),
    }
}

/// A key that a map has twice, in upstream's words, where the text of an error names one.
fn repeated_key(error: &str) -> Option<String> {
    let (line, rest) = error
        .strip_prefix("yaml: line ")?
        .split_once(": duplicate mapping key: ")?;
    // What follows is advice to programmers.
    let key = rest.split(", set ").next().unwrap_or_default();
    Some(format!(
        "yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map"
    ))
}

#[cfg(test)]
mod tests {
    use api_types::kubelet_config::v1beta1::KubeletConfiguration;

    use super::*;

    const HEADER: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

    fn decode(text: &str) -> Result<KubeletConfiguration, String> {
        let document = Document::parse(text.as_bytes()).map_err(|error| error.to_string())?;
        document.decode().map_err(|error| error.to_string())
    }

    #[test]
    fn reads_yaml_and_json() {
        let config = decode(&format!(
            "{HEADER}clusterDomain: cluster.local\nmaxPods: 42\nclusterDNS:\n- 10.96.0.10\n"
        ))
        .unwrap();
        assert_eq!(
            (config.cluster_domain.as_str(), config.max_pods),
            ("cluster.local", 42)
        );
        assert_eq!(config.cluster_dns, ["10.96.0.10"]);
        let json = r#"{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","maxPods":7}"#;
        assert_eq!(decode(json).unwrap().max_pods, 7);
    }

    #[test]
    fn is_strict() {
        let error = decode(&format!(
            "{HEADER}nonsense: 1\nauthentication:\n  what: 2\n"
        ))
        .unwrap_err();
        assert!(error.starts_with("strict decoding error: "), "{error}");
        assert!(
            error.contains("unknown field \"nonsense\"")
                && error.contains("unknown field \"authentication.what\""),
            "{error}"
        );
        let error = decode(&format!("{HEADER}maxPods: 1\nmaxPods: 2\n")).unwrap_err();
        assert_eq!(
            error,
            "strict decoding error: yaml: unmarshal errors:\n  line 4: key \"maxPods\" already set in map"
        );
    }

    #[test]
    fn knows_its_kind() {
        let error = decode("kind: Other\napiVersion: v1\n").unwrap_err();
        assert_eq!(error, "no kind \"Other\" is registered for version \"v1\"");
        assert!(
            decode("a: b\n")
                .unwrap_err()
                .starts_with("Object 'Kind' is missing in 'a: b'")
        );
        assert!(decode("a: [\n").unwrap_err().starts_with("yaml: line 1: "));
        assert!(decode(&format!("{HEADER}maxPods: many\n")).is_err());
        assert_eq!(decode("").unwrap_err(), "Object 'Kind' is missing in ''");
        assert_eq!(
            decode("kind: A\n").unwrap_err(),
            "Object 'apiVersion' is missing in 'kind: A'"
        );
        assert_eq!(
            decode("hello\n").unwrap_err(),
            "couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }"
        );
        assert_eq!(
            decode("{\"kind\":").unwrap_err(),
            "couldn't get version/kind; json parse error: unexpected end of JSON input"
        );
        let twice = r#"{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","maxPods":7,"maxPods":8}"#;
        assert_eq!(
            decode(twice).unwrap_err(),
            "strict decoding error: duplicate field \"maxPods\""
        );
        let document = Document::parse(format!("{HEADER}maxPods: 3\nnope: 1\n").as_bytes());
        let lenient: KubeletConfiguration = document.unwrap().decode_leniently().unwrap();
        assert_eq!(lenient.max_pods, 3);
    }
}
