//! Reading single fields out of stored protobuf messages, without decoding them.
//!
//! Invariant: nothing here allocates or trusts a length; broken bytes end the walk with an error.

use crate::storage;

/// The bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("stored value is not a valid protobuf message")]
pub struct WireError;

/// A field's value on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Fixed 32 or 64 bit.
    Fixed,
}

impl<'a> Wire<'a> {
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Wire::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

/// The fields of a message, in order.
pub struct Fields<'a> {
    rest: &'a [u8],
}

pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    storage::read_varint(bytes).ok_or(WireError)
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], WireError> {
    let length = usize::try_from(length).map_err(|_| WireError)?;
    let (head, tail) = bytes.split_at_checked(length).ok_or(WireError)?;
    *bytes = tail;
    Ok(head)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut read = || -> Result<(u32, Wire<'a>), WireError> {
            let key = varint(&mut self.rest)?;
            let tag = u32::try_from(key >> 3).map_err(|_| WireError)?;
            let value = match key & 7 {
                0 => Wire::Varint(varint(&mut self.rest)?),
                1 => take(&mut self.rest, 8).map(|_| Wire::Fixed)?,
                2 => {
                    let length = varint(&mut self.rest)?;
                    Wire::Bytes(take(&mut self.rest, length)?)
                }
                5 => take(&mut self.rest, 4).map(|_| Wire::Fixed)?,
                _ => return Err(WireError),
            };
            Ok((tag, value))
        };
        let result = read();
        if result.is_err() {
            self.rest = &[];
        }
        Some(result)
    }
}

/// The last value of a field reached by tags from the message.
pub fn find<'a>(message: &'a [u8], tags: &[u32]) -> Result<Option<Wire<'a>>, WireError> {
    let Some((tag, rest)) = tags.split_first() else {
        return Ok(None);
    };
    let mut found = None;
    for field in fields(message) {
        let (have, value) = field?;
        if have == *tag {
            found = Some(value);
        }
    }
    match (found, rest.is_empty()) {
        (found, true) => Ok(found),
        (Some(Wire::Bytes(inner)), false) => find(inner, rest),
        _ => Ok(None),
    }
}

/// Which length-delimited fields of a message to keep: those with these tags, whole, or parts of them.
#[derive(Debug)]
pub struct Kept(pub &'static [(u32, Option<Kept>)]);

/// Appends what is kept of a message, a message of the same type.
pub fn keep(message: &[u8], kept: &Kept, out: &mut Vec<u8>) -> Result<(), WireError> {
    for field in fields(message) {
        let (tag, Wire::Bytes(bytes)) = field? else {
            continue;
        };
        match kept.0.iter().find(|(of, _)| *of == tag) {
            Some((_, None)) => put_bytes(out, tag, bytes),
            Some((_, Some(kept))) => {
                let mut part = Vec::with_capacity(bytes.len());
                keep(bytes, kept, &mut part)?;
                put_bytes(out, tag, &part);
            }
            None => {}
        }
    }
    Ok(())
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How long a varint is.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends the key and length of a length-delimited field.
pub fn put_header(out: &mut Vec<u8>, tag: u32, length: usize) {
    put_varint(out, u64::from(tag) << 3 | 2);
    put_varint(out, length as u64);
}

/// Appends a length-delimited field.
pub fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    put_header(out, tag, bytes.len());
    out.extend_from_slice(bytes);
}

/// The start of an envelope around `length` bytes of an object: everything up to those bytes. The envelope ends with
/// [`ENVELOPE_TAIL`].
pub fn envelope_head(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut type_meta = Vec::with_capacity(api_version.len() + kind.len() + 4);
    put_bytes(&mut type_meta, 1, api_version.as_bytes());
    put_bytes(&mut type_meta, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(type_meta.len() + 16);
    out.extend_from_slice(b"k8s\0");
    put_bytes(&mut out, 1, &type_meta);
    put_header(&mut out, 2, length);
    out
}

/// Empty contentEncoding and contentType, which upstream always writes.
pub const ENVELOPE_TAIL: &[u8] = &[0x1a, 0, 0x22, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_nested_fields_and_refuses_broken_ones() {
        let mut inner = Vec::new();
        put_bytes(&mut inner, 1, b"name");
        put_bytes(&mut inner, 5, b"uid");
        let mut message = vec![0x18, 0x96, 0x01];
        put_bytes(&mut message, 1, &inner);
        assert_eq!(
            find(&message, &[1, 5]).unwrap().and_then(Wire::text),
            Some("uid")
        );
        assert_eq!(find(&message, &[3]).unwrap(), Some(Wire::Varint(150)));
        assert_eq!(find(&message, &[1, 9]).unwrap(), None);
        assert_eq!(find(&[0x0a, 0x7f, 1], &[1]), Err(WireError));
        assert_eq!(
            find(
                &[
                    0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01
                ],
                &[1]
            ),
            Err(WireError)
        );
    }

    #[test]
    fn keeps_fields_whole_and_in_part() {
        let message = |fields: &[(u32, &[u8])]| {
            let mut out = Vec::new();
            for (tag, bytes) in fields {
                put_bytes(&mut out, *tag, bytes);
            }
            out
        };
        let inner = message(&[(1, b"a"), (2, b"b"), (1, b"c")]);
        let mut whole = message(&[(1, &inner), (2, &inner), (3, b"d"), (1, &inner)]);
        whole.extend([0x20, 1]);
        const KEPT: Kept = Kept(&[(1, Some(Kept(&[(1, None)]))), (2, None)]);
        let part = message(&[(1, b"a"), (1, b"c")]);
        let mut out = Vec::new();
        assert_eq!(keep(&whole, &KEPT, &mut out), Ok(()));
        assert_eq!(out, message(&[(1, &part), (2, &inner), (1, &part)]));
        assert_eq!(keep(&[0x0a, 2, 1], &KEPT, &mut out), Err(WireError));
    }

    #[test]
    fn varint_lengths() {
        for value in [0, 1, 127, 128, 16383, 16384, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
    }
}
