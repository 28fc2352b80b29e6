//! One served resource: its row of the table, its strategy, its storage, and the way between stored bytes, the hub
//! type that strategies work on, and the version that clients see. Upstream: registry.Store and the storage codecs.
//!
//! Three forms of an object:
//! - *stored*: bytes as etcd holds them (protobuf envelope or JSON, without resourceVersion);
//! - *hub*: the decoded type strategies and admission work on, one per key space;
//! - *served*: the version of the request. Most often it is the hub, or has its fields ([`super::convert`]).

use std::sync::Arc;
use std::time::Duration;

use api_types::kinds::KindInfo;
use api_types::resources::ResourceInfo;
use api_types::{CustomObject, Struct};
use apimachinery::gvk::{GroupKind, GroupResource};
use apimachinery::status::{self, StatusError};
use bytes::Bytes;

use super::convert::{self, Conversion};
use super::fields::{self, Reader};
use super::object::Object;
use super::stored_defaults;
use super::stored_text::{self, StoredMedia};
use super::strategy::Strategy;
use super::wire;
use crate::custom_resources::CustomResource;
use crate::handlers::yaml;
use crate::storage::{self, Header, HeaderError, Pairs, Storage};

/// How objects are written to etcd.
#[derive(Clone, Copy, Debug)]
pub struct StoredForm {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub media: StoredMedia,
}

impl StoredForm {
    fn header(&self) -> api_types::codec::Header<'static> {
        api_types::codec::Header {
            api_version: self.api_version,
            kind: self.kind,
        }
    }
}

/// One served resource.
pub struct Resource {
    pub info: &'static ResourceInfo,
    /// `group/version` as clients see it.
    pub api_version: &'static str,
    pub served: &'static KindInfo,
    pub hub: &'static KindInfo,
    pub stored: StoredForm,
    /// Between hub and served, where they differ.
    pub conversion: Option<&'static Conversion>,
    /// None for virtual resources.
    pub storage: Option<Storage>,
    pub strategy: StrategyRef,
    /// What a CustomResourceDefinition says, if one made the resource.
    pub custom: Option<Arc<CustomResource>>,
    /// Time to live of new objects (events).
    pub ttl: Option<Duration>,
    /// Deletion answers with the object instead of a Status.
    pub returns_deleted_object: bool,
}

/// The strategy of a resource: one of the program's, or a custom resource's own.
#[derive(Clone)]
pub enum StrategyRef {
    BuiltIn(&'static dyn Strategy),
    Custom(Arc<CustomResource>),
}

impl std::ops::Deref for StrategyRef {
    type Target = dyn Strategy;

    fn deref(&self) -> &Self::Target {
        match self {
            StrategyRef::BuiltIn(strategy) => *strategy,
            StrategyRef::Custom(custom) => &custom.main,
        }
    }
}

/// A served object as protobuf (custom objects: as JSON).
pub enum Served<'a> {
    /// Stored bytes with their version.
    Stored(storage::Spliced<'a>),
    /// Stored in another form, and decoded.
    Made(Vec<u8>),
}

impl Served<'_> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Served::Stored(spliced) => spliced.len(),
            Served::Made(bytes) => bytes.len(),
        }
    }

    /// Appends the bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Served::Stored(spliced) => spliced.write(out),
            Served::Made(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// The bytes, in a buffer that is reused where they have to be put together.
    pub fn contiguous<'b>(&'b self, buffer: &'b mut Vec<u8>) -> &'b [u8] {
        match self {
            Served::Stored(spliced) => {
                buffer.clear();
                spliced.write(buffer);
                buffer
            }
            Served::Made(bytes) => bytes,
        }
    }
}

impl Resource {
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.info.group, self.info.resource)
    }

    pub fn group_kind(&self) -> GroupKind {
        GroupKind {
            group: self.info.group.to_owned(),
            kind: self.info.kind.to_owned(),
        }
    }

    pub fn storage(&self) -> Result<&Storage, StatusError> {
        self.storage
            .as_ref()
            .ok_or_else(|| status::internal(format!("{} is not stored", self.info.resource)))
    }

    /// The kind of lists.
    pub fn list_kind(&self) -> String {
        match &self.custom {
            Some(custom) => custom.definition.list_kind.to_owned(),
            None => format!("{}List", self.info.kind),
        }
    }

    pub fn has_verb(&self, verb: &str) -> bool {
        self.info.verbs.contains(&verb)
    }

    /// An empty object of the served version.
    pub fn new_served(&self) -> Object {
        if let Some(custom) = &self.custom {
            return custom.empty();
        }
        Object::new((self.served.new)())
    }

    /// An empty object of the hub type.
    pub fn new_hub(&self) -> Object {
        if let Some(custom) = &self.custom {
            return custom.empty();
        }
        Object::new((self.hub.new)())
    }

    /// Whether the fields of the served version are not those of the hub.
    pub fn has_own_fields(&self) -> bool {
        matches!(self.conversion, Some(Conversion::Functions(_)))
    }

    pub fn to_hub(&self, served: Object) -> Result<Object, StatusError> {
        if let Some(custom) = &self.custom {
            return custom.in_this_version(served).map_err(status::internal);
        }
        match self.conversion {
            None => Ok(served),
            Some(conversion) => conversion
                .to_hub(served, self.hub)
                .map_err(status::internal),
        }
    }

    pub fn to_served(&self, hub: Object) -> Result<Object, StatusError> {
        if let Some(custom) = &self.custom {
            return custom.in_this_version(hub).map_err(status::internal);
        }
        match self.conversion {
            None => Ok(hub),
            Some(conversion) => conversion
                .to_served(hub, self.served)
                .map_err(status::internal),
        }
    }

    /// The bytes to store for a hub object: no resourceVersion, no selfLink.
    pub fn encode_stored(&self, object: &mut Object) -> Result<Bytes, StatusError> {
        if let Some(custom) = &self.custom {
            let object = object.get::<CustomObject>().cloned().unwrap_or_default();
            return Ok(custom.write(object).map_err(status::internal)?.into());
        }
        let mut served_only = (String::new(), String::new());
        object.edit_metadata(|metadata| {
            served_only = (
                std::mem::take(&mut metadata.resource_version),
                std::mem::take(&mut metadata.self_link),
            );
        });
        let bytes = self.encode(object);
        object.edit_metadata(|metadata| {
            (metadata.resource_version, metadata.self_link) = served_only;
        });
        Ok(bytes)
    }

    fn encode(&self, object: &Object) -> Bytes {
        if self.stored.media == StoredMedia::Protobuf {
            return api_types::encode_envelope_as(object.value(), self.stored.header()).into();
        }
        let mut json = api_types::encode_json_as(object.value(), self.stored.header());
        if let Some(rewrite) = convert::stored_json(self.info.resource) {
            json = (rewrite.to_stored)(json);
        }
        if self.stored.media == StoredMedia::Yaml {
            return yaml::from_json(&json).into();
        }
        // Upstream's JSON encoder ends every object with a newline.
        if json.last() != Some(&b'\n') {
            json.push(b'\n');
        }
        json.into()
    }

    /// The hub object that stored bytes hold.
    pub fn decode_stored(
        &self,
        value: &[u8],
        resource_version: u64,
    ) -> Result<Object, StatusError> {
        let mut object = self
            .decode_any(value)
            .map_err(|message| self.corrupt(&message))?;
        object.edit_metadata(|metadata| metadata.resource_version = resource_version.to_string());
        Ok(object)
    }

    fn corrupt(&self, message: &str) -> StatusError {
        status::internal(format!(
            "unable to decode a stored object of {}: {message}",
            self.group_resource()
        ))
    }

    fn decode_any(&self, value: &[u8]) -> Result<Object, String> {
        if let Some(custom) = &self.custom {
            return Ok(Object::from(custom.read(value)?));
        }
        if !value.starts_with(b"k8s\0") {
            let mut json = stored_text::json_of(value)?;
            if let Some(rewrite) = convert::stored_json(self.info.resource) {
                json = (rewrite.from_stored)(json.into_owned()).into();
            }
            let mut object = stored_text::decode(self.info, self.hub, &json)?;
            stored_defaults::complete(&mut object);
            return Ok(object);
        }
        let envelope = api_types::decode_envelope(value).map_err(|error| error.to_string())?;
        if let Some(conversion) = convert::from_stored_version(self.info, envelope.api_version) {
            let mut object = Object::new((conversion.0.new)());
            api_types::decode_protobuf_into(object.value_mut(), envelope.raw)
                .map_err(|error| error.to_string())?;
            return (conversion.1)(object);
        }
        // Versions of one key space that are not listed above have the hub's wire form.
        let mut object = self.new_hub();
        api_types::decode_protobuf_into(object.value_mut(), envelope.raw)
            .map_err(|error| error.to_string())?;
        stored_defaults::complete(&mut object);
        Ok(object)
    }

    /// The served object with its resourceVersion, taken from stored bytes. Objects stored in a version with the fields of the one
    /// that is served are not decoded.
    pub fn served<'a>(
        &self,
        value: &'a [u8],
        resource_version: u64,
    ) -> Result<Served<'a>, StatusError> {
        if self.custom.is_some() {
            let object = self.decode_stored(value, resource_version)?;
            return Ok(Served::Made(raw_of(object.value())));
        }
        if !self.has_own_fields()
            && let Some(raw) = self.raw(value)
            && let Some(spliced) = storage::splice_resource_version(raw, resource_version)
        {
            return Ok(Served::Stored(spliced));
        }
        let hub = self.decode_stored(value, resource_version)?;
        let served = self.to_served(hub)?;
        Ok(Served::Made(api_types::encode_protobuf(served.value())))
    }

    /// [`Self::served`] of stored bytes in pieces. `None` is no verdict: they have to be put together first.
    pub fn served_pieces<'a>(
        &self,
        pieces: &'a [&'a [u8]],
        resource_version: u64,
    ) -> Option<Served<'a>> {
        if self.custom.is_some()
            || self.has_own_fields()
            || stored_defaults::can_be_incomplete(self.info)
        {
            return None;
        }
        storage::splice_pieces(pieces, self.stored.api_version, resource_version)
            .map(Served::Stored)
    }

    /// Length of what [`Self::served`] gives for an object of the cache. An object that is served as it is stored remembers it.
    pub fn served_len(&self, entry: &storage::Entry) -> Result<usize, StatusError> {
        let as_stored = self.custom.is_none() && !self.has_own_fields();
        if as_stored && let Some(len) = entry.message_len() {
            return Ok(len);
        }
        entry.with_value(|value| {
            let served = self.served(value, entry.resource_version())?;
            if matches!(served, Served::Stored(_)) {
                entry.keep_message_len(served.len());
            }
            Ok(served.len())
        })
    }

    /// The bytes of a decoded object of the served version, as [`Self::served`] has them.
    pub fn raw_of(&self, served: &Object) -> Bytes {
        raw_of(served.value()).into()
    }

    /// The message inside stored bytes, when they are protobuf of the hub's wire form and nothing is to be filled in.
    pub fn raw<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        let raw = self.message(value)?;
        (!stored_defaults::is_incomplete(self.info, raw)).then_some(raw)
    }

    /// Whether what is stored lacks what readers are shown.
    pub fn is_incomplete(&self, value: &[u8]) -> bool {
        let message = self.message(value);
        message.is_some_and(|message| stored_defaults::is_incomplete(self.info, message))
    }

    fn message<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        if let Some(raw) = storage::raw_of_version(value, self.stored.api_version) {
            return Some(raw);
        }
        let envelope = storage::decode_envelope(value).ok()?;
        if envelope.api_version != self.stored.api_version
            && convert::from_stored_version(self.info, envelope.api_version).is_some()
        {
            return None;
        }
        Some(envelope.raw)
    }
}

/// Makes the function that reads an object's header out of its stored bytes.
pub fn header_parser(info: &'static ResourceInfo, hub: &'static KindInfo) -> storage::HeaderParser {
    let selectable = fields::selectable(info.group, info.resource);
    let readers: Vec<Reader> = selectable
        .map_or(&[][..], |selectable| selectable.fields)
        .iter()
        .filter_map(|field| Reader::new(hub.schema, field))
        .collect();
    let event = info.resource == "events";
    Arc::new(move |_key, value| {
        let decoded;
        let message = if value.starts_with(b"k8s\0") {
            let envelope = storage::decode_envelope(value);
            envelope
                .map_err(|error| HeaderError(error.to_string()))?
                .raw
        } else {
            let json = stored_text::json_of(value).map_err(HeaderError)?;
            if readers.is_empty() {
                return json_header(&json);
            }
            let object = stored_text::decode(info, hub, &json).map_err(HeaderError)?;
            decoded = api_types::encode_protobuf(object.value());
            &decoded
        };
        let mut header = message_header(message).map_err(|error| HeaderError(error.to_string()))?;
        let mut pairs: Vec<(&'static str, String)> = Vec::with_capacity(readers.len());
        for reader in &readers {
            let value = reader
                .read(message)
                .map_err(|error| HeaderError(error.to_string()))?;
            if !value.is_empty() {
                pairs.push((reader.name, value));
            }
        }
        // Events of newer clients name their source in reportingComponent only.
        if event
            && !pairs.iter().any(|(name, _)| *name == "source")
            && let Some((_, component)) = pairs
                .iter()
                .find(|(name, _)| *name == "reportingComponent")
                .cloned()
        {
            pairs.push(("source", component));
        }
        header.fields = Pairs::new(pairs);
        Ok(header)
    })
}

/// Tags of ObjectMeta: uid, deletionTimestamp, labels.
const METADATA: u32 = 1;
const UID: u32 = 5;
const DELETION_TIMESTAMP: u32 = 9;
const LABELS: u32 = 11;

fn message_header(raw: &[u8]) -> Result<Header, wire::WireError> {
    let mut header = Header::default();
    let Some(metadata) = wire::find(raw, &[METADATA])?.and_then(wire::Wire::bytes) else {
        return Ok(header);
    };
    let mut labels: Vec<(&str, &str)> = Vec::new();
    for field in wire::fields(metadata) {
        match field? {
            (UID, value) => header.uid = value.text().ok_or(wire::WireError)?.into(),
            (DELETION_TIMESTAMP, _) => header.deleting = true,
            (LABELS, value) => {
                let entry = value.bytes().ok_or(wire::WireError)?;
                let part = |tag| {
                    wire::find(entry, &[tag])
                        .map(|part| part.and_then(wire::Wire::text).unwrap_or_default())
                };
                labels.push((part(1)?, part(2)?));
            }
            _ => {}
        }
    }
    header.labels = Pairs::new(labels);
    Ok(header)
}

pub fn json_header(value: &[u8]) -> Result<Header, HeaderError> {
    #[derive(serde::Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Metadata {
        uid: String,
        labels: Option<std::collections::BTreeMap<String, String>>,
        deletion_timestamp: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Stored {
        #[serde(default)]
        metadata: Metadata,
    }
    let stored: Stored =
        serde_json::from_slice(value).map_err(|error| HeaderError(error.to_string()))?;
    Ok(Header {
        uid: stored.metadata.uid.into(),
        labels: Pairs::new(stored.metadata.labels.unwrap_or_default()),
        fields: Pairs::default(),
        deleting: stored.metadata.deletion_timestamp.is_some(),
    })
}

/// An object as protobuf, or as JSON where it has no protobuf form.
pub fn raw_of(value: &dyn Struct) -> Vec<u8> {
    match value.downcast_ref::<CustomObject>() {
        Some(custom) => crate::custom_resources::document::json(custom),
        None => api_types::encode_protobuf(value),
    }
}

/// The ObjectMeta message of a served object.
pub fn metadata_of(raw: &[u8]) -> &[u8] {
    wire::find(raw, &[METADATA])
        .ok()
        .flatten()
        .and_then(wire::Wire::bytes)
        .unwrap_or_default()
}

/// A dyn Struct's apiVersion and kind from its table.
pub fn type_of(value: &dyn Struct) -> (&'static str, &'static str) {
    value
        .schema()
        .kind
        .map_or(("", ""), |kind| (kind.api_version, kind.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::Pod;

    fn info(resource: &str) -> &'static ResourceInfo {
        api_types::resources::lookup("", "v1", resource).unwrap()
    }

    #[test]
    fn headers_hold_what_selection_needs() {
        let mut pod = Pod::default();
        pod.metadata.uid = "u".to_owned();
        pod.metadata
            .labels
            .insert("app".to_owned(), "web".to_owned());
        pod.metadata.deletion_timestamp = Some(api_types::Time::now());
        pod.spec.node_name = "n1".to_owned();
        let kind = api_types::kinds::lookup("", "v1", "Pod").unwrap();
        let parse = header_parser(info("pods"), kind);
        let json = api_types::encode_json(&pod);
        let yaml = yaml::from_json(&json);
        for stored in [api_types::encode_envelope(&pod), json, yaml] {
            let header = parse("/registry/pods/a/b", &stored).unwrap();
            assert_eq!(
                (
                    &*header.uid,
                    header.labels.get("app"),
                    header.fields.get("spec.nodeName"),
                    header.deleting
                ),
                ("u", Some("web"), Some("n1"), true)
            );
            assert_eq!(header.fields.get("status.phase"), None);
        }
        assert!(parse("k", b"k8s\0\x0a\xff").is_err());
    }
}
