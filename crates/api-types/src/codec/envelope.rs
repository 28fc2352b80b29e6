//! The envelope of protobuf objects: four magic bytes, then a `runtime.Unknown` message that names the kind.

use super::proto_read::{Payload, Records};
use super::proto_write::{BackBuffer, FIRST, write_struct};
use super::{DecodeError, Header};
use crate::value::Struct;

/// `k8s` and a zero byte.
const MAGIC: &[u8] = b"k8s\0";

/// An opened envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `apiVersion` of the object.
    pub api_version: &'a str,
    /// Kind of the object.
    pub kind: &'a str,
    /// The object's own message.
    pub raw: &'a [u8],
    /// Encoding of `raw`; empty in practice.
    pub content_encoding: &'a str,
    /// Media type of `raw`; empty means protobuf.
    pub content_type: &'a str,
}

/// Whether bytes begin with the magic number.
pub fn is_envelope(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Opens an envelope. Nothing is copied.
pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let Some(message) = bytes.strip_prefix(MAGIC) else {
        return Err(DecodeError::Envelope(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".to_string(),
        ));
    };
    let mut out = Envelope {
        api_version: "",
        kind: "",
        raw: &[],
        content_encoding: "",
        content_type: "",
    };
    let text = |bytes| {
        std::str::from_utf8(bytes)
            .map_err(|_| DecodeError::Envelope("envelope text is not UTF-8".into()))
    };
    for record in Records::new(message) {
        match record? {
            (1, Payload::Bytes(type_meta)) => {
                for record in Records::new(type_meta) {
                    match record? {
                        (1, Payload::Bytes(bytes)) => out.api_version = text(bytes)?,
                        (2, Payload::Bytes(bytes)) => out.kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Payload::Bytes(bytes)) => out.raw = bytes,
            (3, Payload::Bytes(bytes)) => out.content_encoding = text(bytes)?,
            (4, Payload::Bytes(bytes)) => out.content_type = text(bytes)?,
            _ => {}
        }
    }
    Ok(out)
}

/// Encodes an object into its envelope, with the kind from its type.
pub fn encode_envelope(value: &dyn Struct) -> Vec<u8> {
    let name = value.schema().kind;
    let (api_version, kind) = name.map_or(("", ""), |name| (name.api_version, name.kind));
    encode_envelope_as(value, Header { api_version, kind })
}

/// Encodes an object into an envelope that names another kind or version.
pub fn encode_envelope_as(value: &dyn Struct, header: Header<'_>) -> Vec<u8> {
    let mut buffer = BackBuffer::with_capacity(FIRST);
    close_envelope(&mut buffer, header, |buffer| write_struct(value, buffer));
    buffer.into_vec()
}

/// Puts the bytes of an encoded object into an envelope.
pub fn write_envelope(raw: &[u8], header: Header<'_>) -> Vec<u8> {
    let mut buffer =
        BackBuffer::with_capacity(raw.len() + header.api_version.len() + header.kind.len() + 32);
    close_envelope(&mut buffer, header, |buffer| buffer.bytes(raw));
    buffer.into_vec()
}

fn close_envelope(buffer: &mut BackBuffer, header: Header<'_>, body: impl FnOnce(&mut BackBuffer)) {
    buffer.text(4, b"");
    buffer.text(3, b"");
    buffer.message(2, body);
    buffer.message(1, |buffer| {
        buffer.text(2, header.kind.as_bytes());
        buffer.text(1, header.api_version.as_bytes());
    });
    buffer.bytes(MAGIC);
}
