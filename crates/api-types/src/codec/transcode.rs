//! Turns a protobuf message into JSON with the tables alone, without building the object. The bytes equal those of
//! decoding and encoding again; LIST in JSON from stored protobuf spends its time here.

use super::bytes::text;
use super::json_write::{
    empty_list, write_base64, write_float, write_header, write_int, write_int_or_string,
    write_json_string, write_key, write_micro_time, write_raw, write_time,
};
use super::proto_read::{
    Payload, Records, error, find_tag, read_duration, read_entry, read_int_or_string,
    read_micro_time, read_quantity, read_raw, read_time, too_deep,
};
use super::{DecodeError, Header, MAX_TYPED_DEPTH};
use crate::schema::{FieldSchema, JsonForm, Omit, StructSchema, TypeRef};

/// Appends the JSON of a protobuf message to `out`. A kind gets `header` at its top, or its type's own names without
/// one. On an error `out` may hold half an object.
pub fn transcode_protobuf_to_json(
    schema: &'static StructSchema,
    raw: &[u8],
    header: Option<Header<'_>>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut transcoder = Transcoder::new();
    let Some(name) = schema.kind else {
        return transcoder.message(schema, raw, 0, out);
    };
    let header = header.unwrap_or(Header {
        api_version: name.api_version,
        kind: name.kind,
    });
    out.push(b'{');
    let mut first = true;
    write_header(header.kind, header.api_version, &mut first, out);
    transcoder.fields(schema, raw, 1, &mut first, 0, out)?;
    out.push(b'}');
    Ok(())
}

const END: u32 = u32::MAX;

/// How many fields of a struct have a bit.
const BITS: usize = 128;

fn bit(index: usize) -> u128 {
    if index < BITS { 1 << index } else { 0 }
}

/// One record of a message being read, linked to the next one of the same field.
#[derive(Clone, Copy)]
struct Record<'a> {
    payload: Payload<'a>,
    next: u32,
}

/// First and last record of a field.
#[derive(Clone, Copy)]
struct Head {
    first: u32,
    last: u32,
}

struct Transcoder<'a> {
    /// Records of all messages that are open, innermost last.
    records: Vec<Record<'a>>,
    /// One entry per field of all messages that are open.
    heads: Vec<Head>,
}

/// The bytes of a singular message field. Protobuf lets one come in pieces, which then are one message.
enum Merged<'a> {
    Whole(&'a [u8]),
    Joined(Vec<u8>),
}

impl<'a> Transcoder<'a> {
    fn new() -> Self {
        Transcoder {
            records: Vec::with_capacity(64),
            heads: Vec::with_capacity(64),
        }
    }

    fn message(
        &mut self,
        schema: &'static StructSchema,
        raw: &'a [u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        match schema.json_form {
            JsonForm::Object => {
                out.push(b'{');
                let mut first = true;
                self.fields(schema, raw, 0, &mut first, depth, out)?;
                out.push(b'}');
                Ok(())
            }
            JsonForm::Custom => Err(error("custom objects have no protobuf form")),
            // The second field wins where it is there: the list, or the schema of SchemaOrBool.
            _ => self.scoped(schema, raw, depth, |this, heads, _, depth| {
                let index = usize::from(this.heads[heads + 1].first != END);
                let field = &schema.fields[index];
                this.field_value(field, this.heads[heads + index], b"null", depth, out)
            }),
        }
    }

    /// Reads a message's records and calls `body` with the place of its heads, the bits of the fields that there are, and the
    /// depth; forgets them afterwards.
    fn scoped(
        &mut self,
        schema: &'static StructSchema,
        raw: &'a [u8],
        depth: usize,
        body: impl FnOnce(&mut Self, usize, u128, usize) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        if depth > MAX_TYPED_DEPTH {
            return Err(too_deep());
        }
        let (records, heads) = (self.records.len(), self.heads.len());
        self.heads.resize(
            heads + schema.fields.len(),
            Head {
                first: END,
                last: END,
            },
        );
        let mut hint = 0;
        let mut present = 0_u128;
        for record in Records::new(raw) {
            let (tag, payload) = record?;
            let Some(index) = find_tag(schema, tag, &mut hint) else {
                continue;
            };
            let position =
                u32::try_from(self.records.len()).map_err(|_| error("proto: too many records"))?;
            self.records.push(Record { payload, next: END });
            present |= bit(index);
            let head = &mut self.heads[heads + index];
            let before = std::mem::replace(&mut head.last, position);
            if head.first == END {
                head.first = position;
            } else {
                self.records[before as usize].next = position;
            }
        }
        let result = body(self, heads, present, depth + 1);
        self.records.truncate(records);
        self.heads.truncate(heads);
        result
    }

    fn fields(
        &mut self,
        schema: &'static StructSchema,
        raw: &'a [u8],
        from: usize,
        first: &mut bool,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        self.scoped(schema, raw, depth, |this, heads, present, depth| {
            let mut bits = (present | schema.written_when_absent) >> from << from;
            // Fields without a bit are looked at one by one.
            let mut beyond = BITS..schema.fields.len();
            loop {
                let index = if bits != 0 {
                    let lowest = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    lowest
                } else if let Some(index) = beyond.next() {
                    index
                } else {
                    break;
                };
                let field = &schema.fields[index];
                let head = this.heads[heads + index];
                if field.inline {
                    if let TypeRef::Struct(inner) = field.ty {
                        match this.merged(head, field)? {
                            Merged::Whole(raw) => this.fields(inner, raw, 0, first, depth, out)?,
                            Merged::Joined(raw) => {
                                Transcoder::new().fields(inner, &raw, 0, first, depth, out)?
                            }
                        }
                    }
                    continue;
                }
                if field.json.is_empty() {
                    continue;
                }
                let left_out = match field.omit {
                    Omit::Never => false,
                    Omit::Empty => this.is_empty(field, head)?,
                    Omit::Zero => this.is_zero(field, head)?,
                };
                if !left_out {
                    write_key(field.json, first, out);
                    this.field_value(field, head, empty_list(schema, index), depth, out)?;
                }
            }
            Ok(())
        })
    }

    fn merged(&self, head: Head, field: &FieldSchema) -> Result<Merged<'a>, DecodeError> {
        if head.first == END {
            return Ok(Merged::Whole(&[]));
        }
        if head.first == head.last {
            return self.records[head.first as usize]
                .payload
                .bytes(field.go)
                .map(Merged::Whole);
        }
        let mut joined = Vec::new();
        let mut at = head.first;
        while at != END {
            let record = self.records[at as usize];
            joined.extend_from_slice(record.payload.bytes(field.go)?);
            at = record.next;
        }
        Ok(Merged::Joined(joined))
    }

    fn last(&self, head: Head) -> Option<Payload<'a>> {
        self.records
            .get(head.last as usize)
            .filter(|_| head.last != END)
            .map(|record| record.payload)
    }

    fn is_empty(&self, field: &FieldSchema, head: Head) -> Result<bool, DecodeError> {
        let Some(payload) = self.last(head) else {
            // Structs and types that marshal themselves are never empty, not even when absent.
            return Ok(!matches!(
                field.ty,
                TypeRef::Struct(_)
                    | TypeRef::Quantity
                    | TypeRef::Time
                    | TypeRef::MicroTime
                    | TypeRef::Duration
                    | TypeRef::TimeOrMetaDuration
                    | TypeRef::IntOrString
                    | TypeRef::RawExtension
                    | TypeRef::FieldsV1
                    | TypeRef::Json
            ));
        };
        Ok(match &field.ty {
            TypeRef::String | TypeRef::Bytes => payload.bytes(field.go)?.is_empty(),
            TypeRef::Bool | TypeRef::Int64 => payload.varint(field.go)? == 0,
            TypeRef::Int32 | TypeRef::Uint32 => payload.varint(field.go)? as u32 == 0,
            TypeRef::Float64 => {
                matches!(payload, Payload::Fixed64(bits) if f64::from_bits(bits) == 0.0)
            }
            TypeRef::WrappedList(_) => !self.any_item(head, field)?,
            // A list of numbers may be one packed record without any number in it.
            TypeRef::List(_) => self.all_packed_empty(head, field),
            _ => false,
        })
    }

    fn all_packed_empty(&self, head: Head, field: &FieldSchema) -> bool {
        if !field.ty.list_item().is_some_and(is_packable) {
            return false;
        }
        let mut at = head.first;
        while at != END {
            let record = self.records[at as usize];
            if !matches!(record.payload, Payload::Bytes(bytes) if bytes.is_empty()) {
                return false;
            }
            at = record.next;
        }
        true
    }

    fn any_item(&self, head: Head, field: &FieldSchema) -> Result<bool, DecodeError> {
        let mut at = head.first;
        while at != END {
            let record = self.records[at as usize];
            for inner in Records::new(record.payload.bytes(field.go)?) {
                if inner?.0 == 1 {
                    return Ok(true);
                }
            }
            at = record.next;
        }
        Ok(false)
    }

    fn is_zero(&self, field: &FieldSchema, head: Head) -> Result<bool, DecodeError> {
        match (&field.ty, self.last(head)) {
            (_, None) => Ok(true),
            (TypeRef::Time, Some(payload)) => Ok(read_time(payload.bytes(field.go)?)?.is_zero()),
            (TypeRef::MicroTime, Some(payload)) => {
                Ok(read_micro_time(payload.bytes(field.go)?)?.is_zero())
            }
            _ => self.is_empty(field, head),
        }
    }

    /// Writes the JSON of a field; `empty` is what an empty list looks like.
    fn field_value(
        &mut self,
        field: &FieldSchema,
        head: Head,
        empty: &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let mut ty = &field.ty;
        if let TypeRef::Pointer(inner) = ty {
            if head.first == END {
                out.extend_from_slice(b"null");
                return Ok(());
            }
            ty = inner;
        }
        match ty {
            TypeRef::Struct(schema) => match self.merged(head, field)? {
                Merged::Whole(raw) => self.message(schema, raw, depth, out),
                Merged::Joined(raw) => Transcoder::new().message(schema, &raw, depth, out),
            },
            TypeRef::List(item) => self.list(item, head, field, empty, depth, out),
            TypeRef::Map(item) => self.map(item, head, field, depth, out),
            _ => self.plain_field(ty, head, field, empty, depth, out),
        }
    }

    /// A field that holds no structs.
    #[inline(never)]
    fn plain_field(
        &mut self,
        ty: &TypeRef,
        head: Head,
        field: &FieldSchema,
        empty: &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        match ty {
            TypeRef::RawExtension | TypeRef::FieldsV1 | TypeRef::Json => {
                let raw = match self.merged(head, field)? {
                    Merged::Whole(raw) => read_raw(raw)?.map(<[u8]>::to_vec),
                    Merged::Joined(raw) => read_raw(&raw)?.map(<[u8]>::to_vec),
                };
                write_raw(&raw.unwrap_or_default(), out);
                Ok(())
            }
            TypeRef::WrappedList(item) => {
                let start = out.len();
                let mut at = head.first;
                while at != END {
                    let record = self.records[at as usize];
                    self.wrapped_items(item, record.payload, field, start, depth, out)?;
                    at = record.next;
                }
                close_list(start, empty, out);
                Ok(())
            }
            TypeRef::Bytes => match self.last(head) {
                Some(payload) if !payload.bytes(field.go)?.is_empty() => {
                    self.item(ty, payload, field, depth, out)
                }
                _ => {
                    out.extend_from_slice(b"null");
                    Ok(())
                }
            },
            _ => {
                let payload = self.last(head).unwrap_or(match ty {
                    TypeRef::Bool | TypeRef::Int32 | TypeRef::Int64 | TypeRef::Uint32 => {
                        Payload::Varint(0)
                    }
                    TypeRef::Float64 => Payload::Fixed64(0),
                    TypeRef::Float32 => Payload::Fixed32(0),
                    _ => Payload::Bytes(&[]),
                });
                self.item(ty, payload, field, depth, out)
            }
        }
    }

    fn list(
        &mut self,
        item: &TypeRef,
        head: Head,
        field: &FieldSchema,
        empty: &[u8],
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let start = out.len();
        let mut at = head.first;
        while at != END {
            let record = self.records[at as usize];
            match record.payload {
                Payload::Bytes(packed) if is_packable(item) => {
                    let mut rest = packed;
                    while !rest.is_empty() {
                        let (number, used) = read_varint(rest)?;
                        rest = &rest[used..];
                        out.push(if out.len() == start { b'[' } else { b',' });
                        self.item(item, Payload::Varint(number), field, depth, out)?;
                    }
                }
                payload => {
                    out.push(if out.len() == start { b'[' } else { b',' });
                    self.item(item, payload, field, depth, out)?;
                }
            }
            at = record.next;
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
        field: &FieldSchema,
        start: usize,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        for inner in Records::new(payload.bytes(field.go)?) {
            let (tag, payload) = inner?;
            if tag == 1 {
                out.push(if out.len() == start { b'[' } else { b',' });
                self.item(item, payload, field, depth, out)?;
            }
        }
        Ok(())
    }

    fn map(
        &mut self,
        item: &TypeRef,
        head: Head,
        field: &FieldSchema,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        if head.first == END {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        let mut entries = Vec::new();
        let mut at = head.first;
        while at != END {
            let record = self.records[at as usize];
            entries.push(read_entry(record.payload.bytes(field.go)?)?);
            at = record.next;
        }
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
            self.item(item, payload, field, depth + 1, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// Writes one value that is present.
    fn item(
        &mut self,
        ty: &TypeRef,
        payload: Payload<'a>,
        field: &FieldSchema,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        match ty {
            TypeRef::Struct(schema) => self.message(schema, payload.bytes(field.go)?, depth, out),
            TypeRef::WrappedList(item) => {
                let start = out.len();
                self.wrapped_items(item, payload, field, start, depth, out)?;
                close_list(start, b"null", out);
                Ok(())
            }
            TypeRef::Pointer(inner) => self.item(inner, payload, field, depth, out),
            _ => write_leaf(ty, payload, field.go, out),
        }
    }
}

/// Writes a value that holds no others; apart from the rest to keep the recursive frames small.
#[inline(never)]
fn write_leaf(
    ty: &TypeRef,
    payload: Payload<'_>,
    name: &str,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    match ty {
        TypeRef::String => {
            write_json_string(&text(payload.bytes(name)?), out);
        }
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
            read_quantity(payload.bytes(name)?)?.write_canonical(out);
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

fn close_list(start: usize, empty: &[u8], out: &mut Vec<u8>) {
    if out.len() == start {
        out.extend_from_slice(empty);
    } else {
        out.push(b']');
    }
}

fn is_packable(item: &TypeRef) -> bool {
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
