//! Protobuf decoding. Unknown fields are skipped, nesting is bounded, and every length is checked against what is left.

use std::borrow::Cow;

use super::{DecodeError, MAX_TYPED_DEPTH};
use crate::schema::TypeRef;
use crate::special::{Duration, IntOrString, MicroTime, Quantity, Time};
use crate::value::{Described, Struct, Value, ViewMut};

/// Decodes a protobuf message.
pub fn decode_protobuf<T: Described>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut value = T::default();
    merge_struct(&mut value, bytes, 0)?;
    Ok(value)
}

/// Decodes a protobuf message into a value that is zero, or merges it into one that is not.
pub fn decode_protobuf_into(value: &mut dyn Struct, bytes: &[u8]) -> Result<(), DecodeError> {
    merge_struct(value, bytes, 0)
}

pub(super) fn error(message: impl Into<String>) -> DecodeError {
    DecodeError::Protobuf(message.into())
}

/// The value of one record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Payload<'a> {
    fn wire(&self) -> u8 {
        match self {
            Payload::Varint(_) => 0,
            Payload::Fixed64(_) => 1,
            Payload::Bytes(_) => 2,
            Payload::Fixed32(_) => 5,
        }
    }

    pub(super) fn bytes(&self, field: &str) -> Result<&'a [u8], DecodeError> {
        match self {
            Payload::Bytes(bytes) => Ok(bytes),
            other => Err(error(format!(
                "proto: wrong wireType = {} for field {field}",
                other.wire()
            ))),
        }
    }

    pub(super) fn varint(&self, field: &str) -> Result<u64, DecodeError> {
        match self {
            Payload::Varint(value) => Ok(*value),
            other => Err(error(format!(
                "proto: wrong wireType = {} for field {field}",
                other.wire()
            ))),
        }
    }
}

/// The records of a message, in order. Groups (a form no API message has) are skipped like unknown fields.
pub(super) struct Records<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Records { data, at: 0 }
    }

    /// How many bytes were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.data[self.at..]
    }

    /// The records behind so many bytes of what was not read yet.
    pub(super) fn skipped(&self, bytes: usize) -> Self {
        Records {
            data: self.data,
            at: self.data.len().min(self.at + bytes),
        }
    }

    /// The tag of the next record, if it is a usual one.
    pub(super) fn next_tag(&self) -> Option<u32> {
        short(self.rest()).map(|key| key.value >> 3)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self
                .data
                .get(self.at)
                .ok_or_else(|| error("unexpected EOF"))?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(error("proto: integer overflow"))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        if len > i64::MAX as u64 {
            return Err(error("proto: negative length found during unmarshaling"));
        }
        let left = &self.data[self.at..];
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= left.len())
            .ok_or_else(|| error("unexpected EOF"))?;
        self.at += len;
        Ok(&left[..len])
    }

    /// The next record if it is a usual one of bytes: a tag below 2,048, less than 16 KiB. Apart from [`Records::read`] since
    /// what comes in registers is much quicker to store than a [`Payload`] that was put together in memory.
    #[inline(always)]
    pub(super) fn read_bytes(&mut self) -> Option<(u32, &'a [u8])> {
        let left = &self.data[self.at..];
        let (key, length) = short_pair(left)?;
        if key.value & 7 != 2 || key.value < 8 {
            return None;
        }
        let start = key.size + length.size;
        let bytes = left.get(start..start + length.value as usize)?;
        self.at += start + bytes.len();
        Some((key.value >> 3, bytes))
    }

    /// The next record if it is a usual number: a tag below 2,048, a value below 16,384.
    #[inline(always)]
    pub(super) fn read_number(&mut self) -> Option<(u32, u64)> {
        let (key, number) = short_pair(&self.data[self.at..])?;
        if key.value & 7 != 0 || key.value < 8 {
            return None;
        }
        self.at += key.size + number.size;
        Some((key.value >> 3, u64::from(number.value)))
    }

    /// The next record, None at the end.
    #[inline]
    fn read(&mut self) -> Result<Option<(u32, Payload<'a>)>, DecodeError> {
        if let Some((tag, bytes)) = self.read_bytes() {
            return Ok(Some((tag, Payload::Bytes(bytes))));
        }
        if let Some((tag, number)) = self.read_number() {
            return Ok(Some((tag, Payload::Varint(number))));
        }
        if self.at >= self.data.len() {
            return Ok(None);
        }
        self.read_any()
    }

    /// The next record, of any form.
    #[inline(never)]
    pub(super) fn read_any(&mut self) -> Result<Option<(u32, Payload<'a>)>, DecodeError> {
        let mut group_depth = 0_u32;
        loop {
            if self.at >= self.data.len() {
                return if group_depth == 0 {
                    Ok(None)
                } else {
                    Err(error("unexpected EOF"))
                };
            }
            let key = self.varint()?;
            let tag = (key >> 3) as u32;
            let payload = match key & 7 {
                0 => Payload::Varint(self.varint()?),
                1 => {
                    let bytes = self.take(8)?;
                    Payload::Fixed64(
                        bytes
                            .iter()
                            .rev()
                            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
                    )
                }
                2 => {
                    let len = self.varint()?;
                    Payload::Bytes(self.take(len)?)
                }
                3 => {
                    group_depth += 1;
                    continue;
                }
                4 => {
                    group_depth = group_depth
                        .checked_sub(1)
                        .ok_or_else(|| error("proto: unexpected end of group"))?;
                    continue;
                }
                5 => {
                    let bytes = self.take(4)?;
                    Payload::Fixed32(
                        bytes
                            .iter()
                            .rev()
                            .fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
                    )
                }
                other => return Err(error(format!("proto: illegal wireType {other}"))),
            };
            if tag == 0 || key >> 3 > u64::from(u32::MAX >> 3) {
                return Err(error(format!(
                    "proto: illegal tag {} (wire type {})",
                    key >> 3,
                    key & 7
                )));
            }
            if group_depth == 0 {
                return Ok(Some((tag, payload)));
            }
        }
    }
}

/// A varint of one or two bytes.
struct Short {
    value: u32,
    size: usize,
}

#[inline(always)]
fn short(bytes: &[u8]) -> Option<Short> {
    match *bytes {
        [byte @ 0..0x80, ..] => Some(Short {
            value: u32::from(byte),
            size: 1,
        }),
        [low, high @ 0..0x80, ..] => Some(Short {
            value: u32::from(low & 0x7f) | u32::from(high) << 7,
            size: 2,
        }),
        _ => None,
    }
}

/// Two varints that follow each other.
#[inline(always)]
fn short_pair(bytes: &[u8]) -> Option<(Short, Short)> {
    let first = short(bytes)?;
    let second = short(&bytes[first.size..])?;
    Some((first, second))
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(u32, Payload<'a>), DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Ok(record) => record.map(Ok),
            Err(err) => {
                self.at = self.data.len();
                Some(Err(err))
            }
        }
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    super::bytes::text(bytes).into_owned()
}

pub(super) fn too_deep() -> DecodeError {
    error("proto: message nests too deeply")
}

fn merge_struct(value: &mut dyn Struct, bytes: &[u8], depth: usize) -> Result<(), DecodeError> {
    if depth > MAX_TYPED_DEPTH {
        return Err(too_deep());
    }
    let schema = value.schema();
    // Encoders write in tag order, so the field after the last one is nearly always the next.
    let mut hint = 0;
    let mut records = Records::new(bytes);
    loop {
        let (tag, payload) = if let Some((tag, bytes)) = records.read_bytes() {
            (tag, Payload::Bytes(bytes))
        } else if let Some((tag, number)) = records.read_number() {
            (tag, Payload::Varint(number))
        } else {
            match records.next() {
                Some(record) => record?,
                None => return Ok(()),
            }
        };
        let Some(index) = find_tag(schema, tag, &mut hint) else {
            continue;
        };
        let field = &schema.fields[index];
        merge_value(
            value.get_mut(index),
            &field.ty,
            payload,
            field.go,
            depth + 1,
        )?;
    }
}

/// The index of the field with a tag; `hint` is a position in `schema.wire` to look at first.
pub(super) fn find_tag(schema: &crate::StructSchema, tag: u32, hint: &mut usize) -> Option<usize> {
    let tags = schema.tags;
    let tag = u16::try_from(tag).ok()?;
    let mut position = *hint;
    if tags.get(position).is_none_or(|at| *at > tag) {
        position = 0;
    }
    let found = position + tags[position..].iter().position(|at| *at >= tag)?;
    if tags[found] != tag {
        return None;
    }
    *hint = found;
    schema.wire.get(found).map(|index| usize::from(*index))
}

fn merge_value(
    value: &mut dyn Value,
    ty: &TypeRef,
    payload: Payload<'_>,
    field: &str,
    depth: usize,
) -> Result<(), DecodeError> {
    match value.view_mut() {
        ViewMut::Struct(v) => merge_struct(v, payload.bytes(field)?, depth)?,
        ViewMut::Pointer(v) => merge_value(v.get_or_default(), ty.deref(), payload, field, depth)?,
        ViewMut::List(v) => match ty {
            TypeRef::WrappedList(item) => {
                for record in Records::new(payload.bytes(field)?) {
                    let (tag, payload) = record?;
                    if tag == 1 {
                        merge_value(v.push_default(), item, payload, field, depth + 1)?;
                    }
                }
            }
            TypeRef::List(item) => match (item, payload) {
                // Numbers may come packed.
                (
                    TypeRef::Int32 | TypeRef::Int64 | TypeRef::Bool | TypeRef::Uint32,
                    Payload::Bytes(packed),
                ) => {
                    let mut records = Records::new(packed);
                    while records.at < packed.len() {
                        let number = records.varint()?;
                        merge_value(
                            v.push_default(),
                            item,
                            Payload::Varint(number),
                            field,
                            depth,
                        )?;
                    }
                }
                _ => merge_value(v.push_default(), item, payload, field, depth)?,
            },
            _ => return Err(error(format!("proto: field {field} is no list"))),
        },
        ViewMut::Map(v) => {
            let (key, item) = read_entry(payload.bytes(field)?)?;
            let slot = v.insert_default(key.into_owned());
            if let Some(payload) = item {
                merge_value(
                    slot,
                    ty.map_value().unwrap_or(&TypeRef::String),
                    payload,
                    field,
                    depth + 1,
                )?;
            }
        }
        leaf => merge_leaf(leaf, payload, field)?,
    }
    Ok(())
}

/// The types that hold no other values; apart from the rest to keep the recursive frame small.
#[inline(never)]
fn merge_leaf(target: ViewMut<'_>, payload: Payload<'_>, field: &str) -> Result<(), DecodeError> {
    match target {
        ViewMut::String(v) => *v = text(payload.bytes(field)?),
        ViewMut::Bool(v) => *v = payload.varint(field)? != 0,
        ViewMut::Int32(v) => *v = payload.varint(field)? as i32,
        ViewMut::Int64(v) => *v = payload.varint(field)? as i64,
        ViewMut::Uint32(v) => *v = payload.varint(field)? as u32,
        ViewMut::Float64(v) => match payload {
            Payload::Fixed64(bits) => *v = f64::from_bits(bits),
            other => {
                return Err(error(format!(
                    "proto: wrong wireType = {} for field {field}",
                    other.wire()
                )));
            }
        },
        ViewMut::Float32(v) => match payload {
            Payload::Fixed32(bits) => *v = f32::from_bits(bits),
            other => {
                return Err(error(format!(
                    "proto: wrong wireType = {} for field {field}",
                    other.wire()
                )));
            }
        },
        ViewMut::Bytes(v) => v.0 = payload.bytes(field)?.to_vec(),
        ViewMut::Quantity(v) => *v = read_quantity(payload.bytes(field)?)?,
        ViewMut::Time(v) => *v = read_time(payload.bytes(field)?)?,
        ViewMut::MicroTime(v) => *v = read_micro_time(payload.bytes(field)?)?,
        ViewMut::Duration(v) => *v = read_duration(payload.bytes(field)?)?,
        ViewMut::TimeOrMetaDuration(v) => v.duration = read_duration(payload.bytes(field)?)?,
        ViewMut::IntOrString(v) => *v = read_int_or_string(payload.bytes(field)?)?,
        ViewMut::RawJson(v) => {
            if let Some(raw) = read_raw(payload.bytes(field)?)? {
                *v = raw.to_vec();
            }
        }
        ViewMut::StringMap(v) => {
            let (key, item) = read_entry(payload.bytes(field)?)?;
            let item = match item {
                Some(payload) => text(payload.bytes(field)?),
                None => String::new(),
            };
            v.insert(key.into_owned(), item);
        }
        ViewMut::Struct(_) | ViewMut::Pointer(_) | ViewMut::List(_) | ViewMut::Map(_) => {
            return Err(error(format!("proto: field {field} holds other values")));
        }
    }
    Ok(())
}

/// Key and last value of a map entry.
pub(super) fn read_entry(bytes: &[u8]) -> Result<(Cow<'_, str>, Option<Payload<'_>>), DecodeError> {
    let mut key = Cow::Borrowed("");
    let mut value = None;
    let mut records = Records::new(bytes);
    // As encoders write entries of text.
    if let Some((1, text)) = records.read_bytes()
        && let Some((2, payload)) = records.read_bytes()
        && records.at == bytes.len()
    {
        return Ok((super::bytes::text(text), Some(Payload::Bytes(payload))));
    }
    for record in Records::new(bytes) {
        match record? {
            (1, payload) => key = super::bytes::text(payload.bytes("mapkey")?),
            (2, payload) => value = Some(payload),
            _ => {}
        }
    }
    Ok((key, value))
}

pub(super) fn read_quantity(bytes: &[u8]) -> Result<Quantity, DecodeError> {
    let mut string: &[u8] = &[];
    let mut seen = false;
    for record in Records::new(bytes) {
        if let (1, payload) = record? {
            string = payload.bytes("String")?;
            seen = true;
        }
    }
    if !seen {
        return Ok(Quantity::default());
    }
    Quantity::parse(&text(string)).map_err(|err| error(err.to_string()))
}

fn read_seconds(bytes: &[u8]) -> Result<(i64, i32), DecodeError> {
    let (mut seconds, mut nanos) = (0, 0);
    for record in Records::new(bytes) {
        match record? {
            (1, payload) => seconds = payload.varint("Seconds")? as i64,
            (2, payload) => nanos = payload.varint("Nanos")? as i32,
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

pub(super) fn read_time(bytes: &[u8]) -> Result<Time, DecodeError> {
    if bytes.is_empty() {
        return Ok(Time::default());
    }
    read_seconds(bytes).map(|(seconds, _)| Time::from_unix(seconds))
}

pub(super) fn read_micro_time(bytes: &[u8]) -> Result<MicroTime, DecodeError> {
    if bytes.is_empty() {
        return Ok(MicroTime::default());
    }
    let (seconds, nanos) = read_seconds(bytes)?;
    Ok(MicroTime::from_unix_micros(
        seconds
            .saturating_mul(1_000_000)
            .saturating_add(i64::from(nanos / 1_000)),
    ))
}

pub(super) fn read_duration(bytes: &[u8]) -> Result<Duration, DecodeError> {
    let mut nanos = 0;
    for record in Records::new(bytes) {
        if let (1, payload) = record? {
            nanos = payload.varint("Duration")? as i64;
        }
    }
    Ok(Duration(nanos))
}

pub(super) fn read_int_or_string(bytes: &[u8]) -> Result<IntOrString, DecodeError> {
    let (mut kind, mut number, mut string) = (0, 0, &[][..]);
    for record in Records::new(bytes) {
        match record? {
            (1, payload) => kind = payload.varint("Type")?,
            (2, payload) => number = payload.varint("IntVal")? as i32,
            (3, payload) => string = payload.bytes("StrVal")?,
            _ => {}
        }
    }
    Ok(if kind == 1 {
        IntOrString::String(text(string))
    } else {
        IntOrString::Int(number)
    })
}

/// The bytes of a message `{1: bytes}`, `None` when they are absent.
pub(super) fn read_raw(bytes: &[u8]) -> Result<Option<&[u8]>, DecodeError> {
    let mut raw = None;
    for record in Records::new(bytes) {
        if let (1, payload) = record? {
            raw = Some(payload.bytes("Raw")?);
        }
    }
    Ok(raw)
}
