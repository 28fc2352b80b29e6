//! The envelope around stored protobuf objects, and putting a resourceVersion into protobuf bytes without decoding
//! them. Upstream: apimachinery/pkg/runtime/serializer/protobuf.
//!
//! Lengths come from stored bytes: all arithmetic is checked, and nothing here panics on any input.

use bytes::{BufMut, Bytes, BytesMut};

/// First bytes of every protobuf value.
const MAGIC: &[u8; 4] = b"k8s\0";

/// `runtime.Unknown` of a stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// apiVersion of the object.
    pub api_version: &'a str,
    /// Kind of the object.
    pub kind: &'a str,
    /// The object's own message.
    pub raw: &'a [u8],
    /// Empty for protobuf.
    pub content_type: &'a str,
}

/// The bytes are no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf value: the k8s\\0 prefix or the message behind it is broken")]
pub struct EnvelopeError;

/// Opens an envelope; an error when the bytes are something else (JSON) or broken.
pub fn decode_envelope(value: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    read_envelope(value).ok_or(EnvelopeError)
}

fn read_envelope(value: &[u8]) -> Option<Envelope<'_>> {
    let mut rest = value.strip_prefix(MAGIC)?;
    let mut envelope = Envelope {
        api_version: "",
        kind: "",
        raw: &[],
        content_type: "",
    };
    while !rest.is_empty() {
        let (field, payload) = read_field(&mut rest)?;
        match (field, payload) {
            (1, Payload::Bytes(mut meta)) => {
                while !meta.is_empty() {
                    match read_field(&mut meta)? {
                        (1, Payload::Bytes(text)) => {
                            envelope.api_version = std::str::from_utf8(text).ok()?
                        }
                        (2, Payload::Bytes(text)) => {
                            envelope.kind = std::str::from_utf8(text).ok()?
                        }
                        _ => {}
                    }
                }
            }
            (2, Payload::Bytes(raw)) => envelope.raw = raw,
            (4, Payload::Bytes(text)) => envelope.content_type = std::str::from_utf8(text).ok()?,
            _ => {}
        }
    }
    Some(envelope)
}

/// Wraps an object's message as upstream writes it.
pub fn encode_envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut meta = BytesMut::with_capacity(api_version.len() + kind.len() + 8);
    put_bytes(&mut meta, 0x0a, api_version.as_bytes());
    put_bytes(&mut meta, 0x12, kind.as_bytes());
    let mut out = BytesMut::with_capacity(raw.len() + meta.len() + 24);
    out.put_slice(MAGIC);
    put_bytes(&mut out, 0x0a, &meta);
    put_bytes(&mut out, 0x12, raw);
    // contentEncoding and contentType are not pointers: written although empty.
    out.put_slice(&[0x1a, 0, 0x22, 0]);
    out.into()
}

/// The object's message (`Envelope::raw`) with `metadata.resourceVersion` set, as three parts to be written one after
/// the other. Head and tail are slices of `raw`. `None` when `raw` has no metadata message.
pub fn splice_resource_version(
    raw: &Bytes,
    resource_version: u64,
) -> Option<(Bytes, Bytes, Bytes)> {
    const METADATA: u64 = 1;
    const RESOURCE_VERSION: u64 = 6;
    let mut rest: &[u8] = raw;
    while !rest.is_empty() {
        let field_start = raw.len() - rest.len();
        let (field, payload) = read_field(&mut rest)?;
        let (METADATA, Payload::Bytes(metadata)) = (field, payload) else {
            continue;
        };
        let field_end = raw.len() - rest.len();
        let metadata_start = field_end - metadata.len();

        // Where the resourceVersion sits, or where it belongs: before the first field with a higher number.
        let mut old = (metadata.len(), metadata.len());
        let mut inner = metadata;
        while !inner.is_empty() {
            let start = metadata.len() - inner.len();
            let (field, _) = read_field(&mut inner)?;
            if field == RESOURCE_VERSION {
                old = (start, metadata.len() - inner.len());
                break;
            }
            if field > RESOURCE_VERSION {
                old = (start, start);
                break;
            }
        }

        let mut digits = [0_u8; 20];
        let digits = format_decimal(resource_version, &mut digits);
        let new_length = metadata.len() - (old.1 - old.0) + 2 + digits.len();
        let mut middle = BytesMut::with_capacity(16 + old.0 + digits.len());
        middle.put_u8(0x0a);
        put_varint(&mut middle, new_length as u64);
        middle.put_slice(metadata.get(..old.0)?);
        put_bytes(&mut middle, 0x32, digits);
        return Some((
            raw.slice(..field_start),
            middle.freeze(),
            raw.slice(metadata_start + old.1..),
        ));
    }
    None
}

enum Payload<'a> {
    Bytes(&'a [u8]),
    Other,
}

fn read_field<'a>(input: &mut &'a [u8]) -> Option<(u64, Payload<'a>)> {
    let tag = read_varint(input)?;
    let payload = match tag & 7 {
        0 => {
            read_varint(input)?;
            Payload::Other
        }
        1 => {
            take(input, 8)?;
            Payload::Other
        }
        2 => {
            let length = usize::try_from(read_varint(input)?).ok()?;
            Payload::Bytes(take(input, length)?)
        }
        5 => {
            take(input, 4)?;
            Payload::Other
        }
        _ => return None,
    };
    Some((tag >> 3, payload))
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = input.split_at_checked(length)?;
    *input = tail;
    Some(head)
}

fn read_varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn put_bytes(out: &mut BytesMut, tag: u8, bytes: &[u8]) {
    out.put_u8(tag);
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn format_decimal(mut value: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &buffer[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ObjectMeta with the fields around resourceVersion, as upstream writes them.
    fn object(name: &str, resource_version: Option<&str>, spec: &[u8]) -> Bytes {
        let mut metadata = BytesMut::new();
        put_bytes(&mut metadata, 0x0a, name.as_bytes());
        put_bytes(&mut metadata, 0x2a, b"uid");
        if let Some(version) = resource_version {
            put_bytes(&mut metadata, 0x32, version.as_bytes());
        }
        metadata.put_slice(&[0x38, 5]);
        let mut raw = BytesMut::new();
        put_bytes(&mut raw, 0x0a, &metadata);
        put_bytes(&mut raw, 0x12, spec);
        raw.freeze()
    }

    fn splice(raw: &Bytes, version: u64) -> Vec<u8> {
        let (head, middle, tail) = splice_resource_version(raw, version).unwrap();
        [head, middle, tail].concat()
    }

    #[test]
    fn resource_version_is_put_into_place() {
        for name in ["a".to_owned(), "n".repeat(120), "n".repeat(300)] {
            let expected = object(&name, Some("18446744073709551615"), b"spec");
            for old in [None, Some(""), Some("12")] {
                assert_eq!(
                    splice(&object(&name, old, b"spec"), u64::MAX),
                    expected,
                    "{old:?}"
                );
            }
        }
        assert_eq!(
            splice(&object("a", Some(""), b""), 7),
            object("a", Some("7"), b"")
        );
    }

    #[test]
    fn envelope_round_trip() {
        let value = encode_envelope("apps/v1", "Deployment", b"raw");
        assert_eq!(
            decode_envelope(&value).unwrap(),
            Envelope {
                api_version: "apps/v1",
                kind: "Deployment",
                raw: b"raw",
                content_type: ""
            }
        );
        assert_eq!(decode_envelope(b"{}"), Err(EnvelopeError));
        assert!(decode_envelope(b"k8s\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_envelope(&bytes);
            let _ = splice_resource_version(&Bytes::from(bytes.clone()), 1);
            let _ = decode_envelope(&[MAGIC.as_slice(), &bytes].concat());
        }
    }
}
