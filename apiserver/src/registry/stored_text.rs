//! Objects that are stored as text: `--storage-media-type`. Whatever the flag says now, what it said before can be read.
//! Upstream: server/storage/storage_codec.go.

use std::borrow::Cow;

use api_types::kinds::KindInfo;
use api_types::resources::ResourceInfo;

use super::convert;
use super::object::Object;
use crate::handlers::body::version_and_kind;
use crate::handlers::yaml;

/// How new objects are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoredMedia {
    #[default]
    Protobuf,
    Json,
    Yaml,
}

impl StoredMedia {
    /// A value of the flag that was checked.
    pub fn of_flag(value: &str) -> StoredMedia {
        match value {
            "application/json" => StoredMedia::Json,
            "application/yaml" => StoredMedia::Yaml,
            _ => StoredMedia::Protobuf,
        }
    }
}

/// The JSON of stored text.
pub fn json_of(text: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if text.trim_ascii_start().starts_with(b"{") {
        return Ok(Cow::Borrowed(text));
    }
    let value = yaml::to_json(text).map_err(|error| error.to_string())?;
    let json = serde_json::to_vec(&value).map_err(|error| error.to_string())?;
    Ok(Cow::Owned(json))
}

/// The hub object of a built-in kind that JSON holds.
pub fn decode(info: &ResourceInfo, hub: &KindInfo, json: &[u8]) -> Result<Object, String> {
    let (api_version, _) = version_and_kind(json)?;
    let conversion = convert::from_stored_version(info, &api_version);
    let stored = conversion.map_or(hub, |(kind, _)| kind);
    let mut object = Object::new((stored.new)());
    api_types::decode_json_into(object.value_mut(), json).map_err(|error| error.to_string())?;
    object.clear_field("TypeMeta");
    match conversion {
        Some((_, convert)) => convert(object),
        None => Ok(object),
    }
}
