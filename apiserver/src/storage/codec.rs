//! The envelope around stored protobuf objects, and putting a resourceVersion into protobuf bytes without decoding
//! them. Upstream: apimachinery/pkg/runtime/serializer/protobuf.
//!
//! Lengths come from stored bytes: all arithmetic is checked, and nothing here panics on any input.

use std::ops::Range;

use bytes::BufMut;

/// First bytes of every protobuf value.
const MAGIC: &[u8; 4] = b"k8s\0";
/// Of an object's metadata in its message.
const METADATA_TAG: u8 = 0x0a;

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
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 8);
    put_bytes(&mut meta, 0x0a, api_version.as_bytes());
    put_bytes(&mut meta, 0x12, kind.as_bytes());
    let mut out = Vec::with_capacity(raw.len() + meta.len() + 24);
    out.put_slice(MAGIC);
    put_bytes(&mut out, 0x0a, &meta);
    put_bytes(&mut out, 0x12, raw);
    // contentEncoding and contentType are not pointers: written although empty.
    out.put_slice(&[0x1a, 0, 0x22, 0]);
    out
}

/// The object's message in an envelope of this apiVersion, when it is laid out as every encoder does; `None` is no verdict. Much
/// quicker than [`decode_envelope`] for what is read most.
pub fn raw_of_version<'a>(value: &'a [u8], api_version: &str) -> Option<&'a [u8]> {
    let (raw, len) = begin_of_version(value, api_version)?;
    raw.get(..len)
}

/// Where the message of an envelope begins, and its length, of which only the beginning has to be at hand.
fn begin_of_version<'a>(value: &'a [u8], api_version: &str) -> Option<(&'a [u8], usize)> {
    let rest = value.strip_prefix(MAGIC)?.strip_prefix(&[0x0a])?;
    let (&length, rest) = rest.split_first().filter(|(length, _)| **length < 0x80)?;
    let (meta, rest) = rest.split_at_checked(usize::from(length))?;
    let version = meta.strip_prefix(&[0x0a, u8::try_from(api_version.len()).ok()?])?;
    if !version.starts_with(api_version.as_bytes()) {
        return None;
    }
    let mut rest = rest.strip_prefix(&[0x12])?;
    let length = usize::try_from(read_varint(&mut rest)?).ok()?;
    Some((rest, length))
}

/// An object's message with another `metadata.resourceVersion`, not put together yet.
#[derive(Clone, Copy, Debug)]
pub struct Spliced<'a> {
    /// The fields before the metadata.
    head: &'a [u8],
    /// The fields of the metadata before the version.
    before: &'a [u8],
    /// The fields of the metadata behind the version, and the object's other fields, as far as they are in one piece with these.
    after: &'a [u8],
    /// The pieces behind that.
    more: &'a [&'a [u8]],
    /// Bytes of the last of them that are none of the message's.
    cut: usize,
    /// Length of the metadata with the new version.
    metadata: usize,
    version: Decimal,
}

impl Spliced<'_> {
    /// Length of the message in bytes.
    pub fn len(&self) -> usize {
        let version = 2 + self.version.text().len();
        let metadata = 1 + varint_len(self.metadata as u64);
        let more: usize = self.more.iter().map(|piece| piece.len()).sum();
        self.head.len() + metadata + self.before.len() + version + self.after.len() + more
            - self.cut
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.len());
        out.put_slice(self.head);
        out.put_u8(METADATA_TAG);
        put_varint(out, self.metadata as u64);
        out.put_slice(self.before);
        put_bytes(out, 0x32, self.version.text());
        out.put_slice(self.after);
        if let Some((last, pieces)) = self.more.split_last() {
            for piece in pieces {
                out.put_slice(piece);
            }
            out.put_slice(&last[..last.len() - self.cut]);
        }
    }
}

/// Sets `metadata.resourceVersion` of an object's message (`Envelope::raw`). `None` when `raw` has no metadata message.
pub fn splice_resource_version(raw: &[u8], resource_version: u64) -> Option<Spliced<'_>> {
    spliced(raw, raw.len(), resource_version)
}

/// [`raw_of_version`] and [`splice_resource_version`] of a stored value in pieces. `None` is no verdict: not everything before the
/// version's place is in the first piece, or the value is laid out in another way.
pub fn splice_pieces<'a>(
    pieces: &'a [&'a [u8]],
    api_version: &str,
    resource_version: u64,
) -> Option<Spliced<'a>> {
    let (first, more) = pieces.split_first()?;
    let (begin, len) = begin_of_version(first, api_version)?;
    let Some(last) = more.last() else {
        return spliced(begin.get(..len)?, len, resource_version);
    };
    let more_len: usize = more.iter().map(|piece| piece.len()).sum();
    let cut = (begin.len() + more_len).checked_sub(len)?;
    if cut > last.len() {
        return None;
    }
    let spliced = spliced(begin, len, resource_version)?;
    Some(Spliced {
        more,
        cut,
        ..spliced
    })
}

/// Sets the version of a message of so many bytes, of which the first are at hand.
fn spliced(raw: &[u8], len: usize, resource_version: u64) -> Option<Spliced<'_>> {
    const RESOURCE_VERSION: u64 = 6;
    let mut rest = raw;
    while !rest.is_empty() {
        let start = raw.len() - rest.len();
        let mut ahead = rest;
        if read_varint(&mut ahead)? != u64::from(METADATA_TAG) {
            read_field(&mut rest)?;
            continue;
        }
        let metadata_len = usize::try_from(read_varint(&mut ahead)?).ok()?;
        let begin = raw.len() - ahead.len();
        let end = begin.checked_add(metadata_len).filter(|end| *end <= len)?;
        let metadata = raw.get(begin..end.min(raw.len()))?;

        // Where the resourceVersion sits, or where it belongs: before the first field with a higher number.
        let mut inner = metadata;
        let old = loop {
            let at = metadata.len() - inner.len();
            if inner.is_empty() {
                if end > raw.len() {
                    return None;
                }
                break (at, at);
            }
            let mut ahead = inner;
            let field = read_varint(&mut ahead)? >> 3;
            if field > RESOURCE_VERSION {
                break (at, at);
            }
            read_field(&mut inner)?;
            if field == RESOURCE_VERSION {
                break (at, metadata.len() - inner.len());
            }
        };

        let version = Decimal::new(resource_version);
        return Some(Spliced {
            head: raw.get(..start)?,
            before: metadata.get(..old.0)?,
            after: raw.get(begin + old.1..)?,
            more: &[],
            cut: 0,
            metadata: metadata_len - (old.1 - old.0) + 2 + version.text().len(),
            version,
        });
    }
    None
}

/// Where the JSON of each set of fields is in a stored protobuf value (`metadata.managedFields[].fieldsV1.Raw`), in ascending order.
pub(crate) fn field_sets(value: &[u8]) -> impl Iterator<Item = Range<usize>> {
    const MESSAGE: u64 = 2;
    const METADATA: u64 = 1;
    const MANAGED_FIELDS: u64 = 17;
    const FIELDS_V1: u64 = 7;
    const RAW: u64 = 1;
    let metadata = value
        .strip_prefix(MAGIC)
        .and_then(|envelope| first(envelope, MESSAGE))
        .and_then(|message| first(message, METADATA));
    let mut rest = metadata.unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            // What is broken has no more of them.
            let (MANAGED_FIELDS, Payload::Bytes(entry)) = read_field(&mut rest)? else {
                continue;
            };
            let set = first(entry, FIELDS_V1).and_then(|fields| first(fields, RAW));
            if let Some(set) = set {
                let start = set.as_ptr().addr() - value.as_ptr().addr();
                return Some(start..start + set.len());
            }
        }
    })
}

/// The first record of a field, when all before it is well-formed.
fn first(mut message: &[u8], field: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        match read_field(&mut message)? {
            (found, Payload::Bytes(payload)) if found == field => return Some(payload),
            _ => {}
        }
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

/// Takes a number off the beginning of a message.
#[inline]
pub fn read_varint(input: &mut &[u8]) -> Option<u64> {
    // Nearly all are short.
    match **input {
        [byte @ 0..0x80, ref rest @ ..] => {
            *input = rest;
            Some(u64::from(byte))
        }
        [low, high @ 0..0x80, ref rest @ ..] => {
            *input = rest;
            Some(u64::from(low & 0x7f) | u64::from(high) << 7)
        }
        _ => read_long_varint(input),
    }
}

#[inline(never)]
fn read_long_varint(input: &mut &[u8]) -> Option<u64> {
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

fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_bytes(out: &mut impl BufMut, tag: u8, bytes: &[u8]) {
    out.put_u8(tag);
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// A number's digits.
#[derive(Clone, Copy, Debug)]
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    fn new(mut value: u64) -> Decimal {
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return Decimal { digits, start };
            }
        }
    }

    fn text(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ObjectMeta with the fields around resourceVersion, as upstream writes them.
    fn object(name: &str, resource_version: Option<&str>, spec: &[u8]) -> Vec<u8> {
        let mut metadata = Vec::new();
        put_bytes(&mut metadata, 0x0a, name.as_bytes());
        put_bytes(&mut metadata, 0x2a, b"uid");
        if let Some(version) = resource_version {
            put_bytes(&mut metadata, 0x32, version.as_bytes());
        }
        metadata.put_slice(&[0x38, 5]);
        let mut raw = Vec::new();
        put_bytes(&mut raw, 0x0a, &metadata);
        put_bytes(&mut raw, 0x12, spec);
        raw
    }

    fn splice(raw: &[u8], version: u64) -> Vec<u8> {
        let spliced = splice_resource_version(raw, version).unwrap();
        let mut out = b"before".to_vec();
        spliced.write(&mut out);
        assert_eq!(out.len(), 6 + spliced.len());
        out.split_off(6)
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
    fn pieces_make_what_the_whole_makes() {
        for (name, old) in [("a", None), ("a", Some("12")), ("n", Some(""))] {
            let raw = object(&name.repeat(150), old, &[7; 200]);
            let value = encode_envelope("v1", "Pod", &raw);
            let whole = splice(&raw, 4711);
            let mut told = 0;
            for first in 0..=value.len() {
                for second in (first..=value.len()).step_by(7) {
                    let pieces = [&value[..first], &value[first..second], &value[second..]];
                    let Some(spliced) = splice_pieces(&pieces, "v1", 4711) else {
                        continue;
                    };
                    let mut out = Vec::new();
                    spliced.write(&mut out);
                    assert_eq!(out, whole, "{first} {second}");
                    assert_eq!(out.len(), spliced.len());
                    told += usize::from(second + 4 < value.len());
                }
            }
            // Any first piece will do that reaches behind the version.
            assert!(told > 1000, "{told}");
            assert!(splice_pieces(&[&value], "v1", 4711).is_some());
            assert!(splice_pieces(&[&value], "v2", 4711).is_none());
            assert!(splice_pieces(&[&value[..value.len() - 5]], "v1", 4711).is_none());
        }
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
        assert_eq!(raw_of_version(&value, "apps/v1"), Some(&b"raw"[..]));
        assert_eq!(raw_of_version(&value, "apps/v"), None);
        assert_eq!(raw_of_version(&value, "apps/v1beta1"), None);
        assert_eq!(decode_envelope(b"{}"), Err(EnvelopeError));
        assert!(decode_envelope(b"k8s\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_envelope(&bytes);
            if let Some(spliced) = splice_resource_version(&bytes, 1) {
                let mut out = Vec::new();
                spliced.write(&mut out);
                prop_assert_eq!(out.len(), spliced.len());
            }
            let value = [MAGIC.as_slice(), &bytes].concat();
            for at in 0..value.len() {
                let pieces = [&value[..at], &value[at..]];
                if let Some(spliced) = splice_pieces(&pieces, "v1", 1) {
                    let mut out = Vec::new();
                    spliced.write(&mut out);
                    prop_assert_eq!(out.len(), spliced.len());
                }
            }
            if let Some(raw) = raw_of_version(&value, "v1")
                && let Ok(envelope) = decode_envelope(&value)
                && envelope.api_version == "v1"
            {
                prop_assert!(envelope.raw.len() <= value.len() && raw.len() <= value.len());
            }
        }
    }
}
