//! The values of fields.

use super::super::DecodeError;
use super::super::json_write::{
    write_base64, write_float, write_int, write_int_or_string, write_json_string, write_micro_time,
    write_raw, write_text, write_time,
};
use super::super::proto_read::{
    Payload, Records, error, read_duration, read_entry, read_int_or_string, read_micro_time,
    read_quantity, read_raw, read_time,
};
use super::beside::Beside;
use super::plan::FieldPlan;
use super::{Merged, Run, Transcoder};
use crate::schema::TypeRef;

impl<'a> Transcoder<'a> {
    /// Writes the JSON of a field; `empty` is what an empty list looks like.
    pub(super) fn field_value(
        &mut self,
        planned: &'static FieldPlan,
        run: Run,
        empty: &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let mut ty = &planned.field.ty;
        if let TypeRef::Pointer(inner) = ty {
            if run.is_absent() {
                out.extend_from_slice(b"null");
                return Ok(());
            }
            ty = inner;
        }
        match ty {
            TypeRef::Struct(_) => match self.merged(run, planned.field)? {
                Merged::Whole(raw) => {
                    self.message(planned.of_struct()?, raw, depth, Beside::Nothing, out)
                }
                Merged::Joined(raw) => {
                    let beside = Beside::Nothing;
                    Transcoder::new().message(planned.of_struct()?, &raw, depth, beside, out)
                }
            },
            TypeRef::List(item) => self.list(item, run, planned, empty, depth, out),
            TypeRef::Map(item) => self.map(item, run, planned, depth, out),
            _ => self.plain_field(ty, run, planned, empty, depth, out),
        }
    }

    /// A field that holds no structs.
    #[inline(never)]
    fn plain_field(
        &mut self,
        ty: &TypeRef,
        run: Run,
        planned: &'static FieldPlan,
        empty: &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        match ty {
            TypeRef::RawExtension | TypeRef::FieldsV1 | TypeRef::Json => {
                match self.merged(run, planned.field)? {
                    Merged::Whole(raw) => write_raw(read_raw(raw)?.unwrap_or_default(), out),
                    Merged::Joined(raw) => write_raw(read_raw(&raw)?.unwrap_or_default(), out),
                }
                Ok(())
            }
            TypeRef::WrappedList(item) => {
                let start = out.len();
                for at in run.start..run.end {
                    let payload = self.records[at].payload;
                    self.wrapped_items(item, payload, planned, start, depth, out)?;
                }
                close_list(start, empty, out);
                Ok(())
            }
            TypeRef::Bytes => match self.last(run) {
                Some(payload) if !payload.bytes(planned.field.go)?.is_empty() => {
                    self.item(ty, payload, planned, depth, out)
                }
                _ => {
                    out.extend_from_slice(b"null");
                    Ok(())
                }
            },
            _ => {
                let payload = self.last(run).unwrap_or(match ty {
                    TypeRef::Bool | TypeRef::Int32 | TypeRef::Int64 | TypeRef::Uint32 => {
                        Payload::Varint(0)
                    }
                    TypeRef::Float64 => Payload::Fixed64(0),
                    TypeRef::Float32 => Payload::Fixed32(0),
                    _ => Payload::Bytes(&[]),
                });
                self.item(ty, payload, planned, depth, out)
            }
        }
    }

    fn list(
        &mut self,
        item: &TypeRef,
        run: Run,
        planned: &'static FieldPlan,
        empty: &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let start = out.len();
        for at in run.start..run.end {
            match self.records[at].payload {
                Payload::Bytes(packed) if is_packable(item) => {
                    let mut rest = packed;
                    while !rest.is_empty() {
                        let (number, used) = read_varint(rest)?;
                        rest = &rest[used..];
                        out.push(if out.len() == start { b'[' } else { b',' });
                        self.item(item, Payload::Varint(number), planned, depth, out)?;
                    }
                }
                payload => {
                    out.push(if out.len() == start { b'[' } else { b',' });
                    self.item(item, payload, planned, depth, out)?;
                }
            }
        }
        if out.len() == start {
            out.extend_from_slice(empty);
        } else {
            out.push(b']');
        }
        Ok(())
    }

    fn wrapped_items(
        &mut self,
        item: &TypeRef,
        payload: Payload<'a>,
        planned: &'static FieldPlan,
        start: usize,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        for inner in Records::new(payload.bytes(planned.field.go)?) {
            let (tag, payload) = inner?;
            if tag == 1 {
                out.push(if out.len() == start { b'[' } else { b',' });
                self.item(item, payload, planned, depth, out)?;
            }
        }
        Ok(())
    }

    fn map(
        &mut self,
        item: &TypeRef,
        run: Run,
        planned: &'static FieldPlan,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        if run.is_absent() {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        let mut entries = self.records[run.start..run.end]
            .iter()
            .map(|record| read_entry(record.payload.bytes(planned.field.go)?))
            .collect::<Result<Vec<_>, _>>()?;
        // Encoders sort, so this is nearly always done already. The last of equal keys counts.
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        out.push(b'{');
        let mut first = true;
        for (index, (key, payload)) in entries.iter().enumerate() {
            if entries.get(index + 1).is_some_and(|next| next.0 == *key) {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            write_json_string(key, out);
            out.push(b':');
            let payload = payload.unwrap_or(match item {
                TypeRef::Bool | TypeRef::Int32 | TypeRef::Int64 | TypeRef::Uint32 => {
                    Payload::Varint(0)
                }
                TypeRef::Float64 => Payload::Fixed64(0),
                _ => Payload::Bytes(&[]),
            });
            self.item(item, payload, planned, depth + 1, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// Writes one value that is present.
    fn item(
        &mut self,
        ty: &TypeRef,
        payload: Payload<'a>,
        planned: &'static FieldPlan,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        match ty {
            TypeRef::Struct(_) => {
                let raw = payload.bytes(planned.field.go)?;
                self.message(planned.of_struct()?, raw, depth, Beside::Nothing, out)
            }
            TypeRef::WrappedList(item) => {
                let start = out.len();
                self.wrapped_items(item, payload, planned, start, depth, out)?;
                close_list(start, b"null", out);
                Ok(())
            }
            TypeRef::Pointer(inner) => self.item(inner, payload, planned, depth, out),
            _ => write_leaf(ty, payload, planned.field.go, out),
        }
    }
}

/// Writes a value that holds no others; apart from the rest to keep the recursive frames small.
#[inline(never)]
pub(super) fn write_leaf(
    ty: &TypeRef,
    payload: Payload<'_>,
    name: &str,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    match ty {
        TypeRef::String => write_text(payload.bytes(name)?, out),
        TypeRef::Bool => out.extend_from_slice(if payload.varint(name)? != 0 {
            b"true"
        } else {
            b"false"
        }),
        TypeRef::Int32 => write_int(i64::from(payload.varint(name)? as i32), out),
        TypeRef::Int64 => write_int(payload.varint(name)? as i64, out),
        TypeRef::Uint32 => write_int(i64::from(payload.varint(name)? as u32), out),
        TypeRef::Float64 => match payload {
            Payload::Fixed64(bits) => write_float(f64::from_bits(bits), out),
            _ => return Err(error(format!("proto: wrong wireType for field {name}"))),
        },
        TypeRef::Float32 => match payload {
            Payload::Fixed32(bits) => write_float(f64::from(f32::from_bits(bits)), out),
            _ => return Err(error(format!("proto: wrong wireType for field {name}"))),
        },
        TypeRef::Bytes => write_base64(payload.bytes(name)?, out),
        TypeRef::Quantity => {
            out.push(b'"');
            let bytes = payload.bytes(name)?;
            match plain_quantity(bytes) {
                Some(text) => out.extend_from_slice(text),
                None => read_quantity(bytes)?.write_canonical(out),
            }
            out.push(b'"');
        }
        TypeRef::Time => write_time(read_time(payload.bytes(name)?)?, out),
        TypeRef::MicroTime => write_micro_time(read_micro_time(payload.bytes(name)?)?, out),
        TypeRef::Duration | TypeRef::TimeOrMetaDuration => {
            write_json_string(&read_duration(payload.bytes(name)?)?.to_string(), out);
        }
        TypeRef::IntOrString => {
            write_int_or_string(&read_int_or_string(payload.bytes(name)?)?, out)
        }
        TypeRef::RawExtension | TypeRef::FieldsV1 | TypeRef::Json => {
            write_raw(read_raw(payload.bytes(name)?)?.unwrap_or_default(), out);
        }
        // No API type nests a bare list or map in another container: protobuf cannot express it.
        TypeRef::List(_)
        | TypeRef::Map(_)
        | TypeRef::Struct(_)
        | TypeRef::WrappedList(_)
        | TypeRef::Pointer(_) => {
            return Err(error(format!("proto: field {name} nests containers")));
        }
    }
    Ok(())
}

/// The text of a quantity that is canonical as it is: one to three digits that begin with none, and a suffix that they do not carry
/// over.
fn plain_quantity(message: &[u8]) -> Option<&[u8]> {
    let [0x0a, length, text @ ..] = message else {
        return None;
    };
    if text.len() != usize::from(*length) || !matches!(text.first(), Some(b'1'..=b'9')) {
        return None;
    }
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let suffix = &text[digits..];
    let plain = matches!(
        suffix,
        b"" | b"m" | b"k" | b"M" | b"G" | b"T" | b"Ki" | b"Mi" | b"Gi" | b"Ti"
    );
    (digits <= 3 && plain).then_some(text)
}

fn close_list(start: usize, empty: &[u8], out: &mut Vec<u8>) {
    if out.len() == start {
        out.extend_from_slice(empty);
    } else {
        out.push(b']');
    }
}

pub(super) fn is_packable(item: &TypeRef) -> bool {
    matches!(
        item,
        TypeRef::Int32 | TypeRef::Int64 | TypeRef::Bool | TypeRef::Uint32
    )
}

fn read_varint(bytes: &[u8]) -> Result<(u64, usize), DecodeError> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Ok((value, index + 1));
        }
    }
    Err(error(if bytes.len() < 10 {
        "unexpected EOF"
    } else {
        "proto: integer overflow"
    }))
}
