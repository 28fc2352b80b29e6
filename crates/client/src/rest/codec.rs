//! Objects in requests and answers, by content type.

use api_types::{
    Struct, decode_envelope, decode_json_into, decode_protobuf_into, encode_envelope, encode_json,
};
use serde::Deserialize;

use crate::config::ContentType;
use crate::error::Error;

pub(crate) const JSON: &str = "application/json";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// As upstream's components: protobuf first, and JSON for what has no protobuf form.
pub(crate) const ACCEPT_PROTOBUF: &str = "application/vnd.kubernetes.protobuf,application/json";

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Protobuf,
}

impl Media {
    /// By the Content-Type header; anything that is not protobuf is tried as JSON.
    pub(crate) fn of(headers: &http::HeaderMap) -> Self {
        let content_type = headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if content_type
            .split(';')
            .next()
            .is_some_and(|media| media.trim() == PROTOBUF)
        {
            Self::Protobuf
        } else {
            Self::Json
        }
    }
}

impl ContentType {
    pub(crate) fn accept(self) -> &'static str {
        match self {
            Self::Protobuf => ACCEPT_PROTOBUF,
            Self::Json => JSON,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Protobuf => PROTOBUF,
            Self::Json => JSON,
        }
    }

    pub(crate) fn encode(self, object: &dyn Struct) -> Vec<u8> {
        match self {
            Self::Protobuf => encode_envelope(object),
            Self::Json => encode_json(object),
        }
    }
}

/// Reads an object of a known kind. The kind in the body is not compared: the caller knows what it asked for.
pub(crate) fn decode<T: Struct + Default>(media: Media, body: &[u8]) -> Result<T, Error> {
    let mut object = T::default();
    decode_into(media, body, &mut object)?;
    Ok(object)
}

/// Reads an object into one that is zero.
pub(crate) fn decode_into(media: Media, body: &[u8], object: &mut dyn Struct) -> Result<(), Error> {
    let decoded = match media {
        Media::Json => decode_json_into(object, body),
        Media::Protobuf => decode_envelope(body).and_then(|envelope| {
            if envelope.content_type == JSON {
                decode_json_into(object, envelope.raw)
            } else {
                decode_protobuf_into(object, envelope.raw)
            }
        }),
    };
    decoded.map_err(|error| Error::decode(object.schema().name, error))
}

/// The apiVersion and kind a body says it is.
pub(crate) fn kind_of(media: Media, body: &[u8]) -> Option<(String, String)> {
    match media {
        Media::Protobuf => {
            let envelope = decode_envelope(body).ok()?;
            Some((envelope.api_version.to_string(), envelope.kind.to_string()))
        }
        Media::Json => {
            #[derive(Deserialize)]
            struct TypeMeta {
                #[serde(rename = "apiVersion")]
                api_version: String,
                kind: String,
            }
            let meta: TypeMeta = serde_json::from_slice(body).ok()?;
            Some((meta.api_version, meta.kind))
        }
    }
}
