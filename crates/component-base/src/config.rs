//! Component config files. Upstream: the strict decoding of apimachinery/pkg/runtime/serializer that every daemon uses for
//! its `--config`.
//!
//! A file is YAML or JSON. It says its kind; the daemon picks the type by it and decodes. Unknown and repeated fields are
//! errors. Defaults are the daemon's business.

use std::path::{Path, PathBuf};

use api_types::{Described, Kind, decode_json_reporting};
use apimachinery::quote::quote;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read config file {}, error: {source}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("error converting YAML to JSON: {0}")]
    Yaml(String),
    #[error("Object 'Kind' is missing in {0}")]
    KindMissing(String),
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
        let bytes = std::fs::read(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&bytes)
    }

    /// Reads YAML or JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let text =
            std::str::from_utf8(bytes).map_err(|error| ConfigError::Yaml(error.to_string()))?;
        let (value, duplicates) = to_json(text)?;
        let json =
            serde_json::to_vec(&value).map_err(|error| ConfigError::Yaml(error.to_string()))?;
        let field = |name: &str| {
            value
                .get(name)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let (api_version, kind) = (field("apiVersion"), field("kind"));
        if kind.is_empty() {
            return Err(ConfigError::KindMissing(quote(text)));
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

    /// Decodes the document's fields without a look at its kind.
    pub fn decode_fields<T: Described>(&self) -> Result<T, ConfigError> {
        let (value, problems) = decode_json_reporting::<T>(&self.json)
            .map_err(|error| ConfigError::Decode(error.to_string()))?;
        let mut found: Vec<String> = self.duplicates.iter().cloned().collect();
        found.extend(problems.iter().map(ToString::to_string));
        if found.is_empty() {
            Ok(value)
        } else {
            Err(ConfigError::Strict(found.join(", ")))
        }
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

/// YAML (of which JSON is a part) as JSON, and what its maps had twice.
fn to_json(text: &str) -> Result<(serde_json::Value, Option<String>), ConfigError> {
    match serde_saphyr::from_str::<serde_json::Value>(text) {
        Ok(value) => Ok((value, None)),
        Err(strict) => {
            // Upstream reads such a file and then complains about all its repeated keys.
            let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins };
            match serde_saphyr::from_str_with_options(text, options) {
                Ok(value) => Ok((value, Some(strict.to_string()))),
                Err(error) => Err(ConfigError::Yaml(error.to_string())),
            }
        }
    }
}
