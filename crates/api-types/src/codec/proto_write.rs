//! Protobuf encoding. Messages are written from their end to their beginning, as gogo's generated code does, so a
//! length is known when it is written and no second pass is needed.

use crate::schema::TypeRef;
use crate::special::IntOrString;
use crate::value::{Struct, Value, View};

/// Room at first: most objects need no more than four times as much.
pub(super) const FIRST: usize = 2048;

/// Encodes a struct as a protobuf message.
pub fn encode_protobuf(value: &dyn Struct) -> Vec<u8> {
    let mut buffer = BackBuffer::with_capacity(FIRST);
    write_struct(value, &mut buffer);
    buffer.into_vec()
}

/// Appends a struct's protobuf message to a buffer.
pub fn write_protobuf(value: &dyn Struct, out: &mut Vec<u8>) {
    let mut buffer = BackBuffer::with_capacity(FIRST);
    write_struct(value, &mut buffer);
    out.extend_from_slice(buffer.written());
}

/// A buffer that fills from its end.
pub(super) struct BackBuffer {
    buffer: Vec<u8>,
    /// Start of what is written.
    start: usize,
}

impl BackBuffer {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        BackBuffer {
            buffer: vec![0; capacity],
            start: capacity,
        }
    }

    pub(super) fn written(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    pub(super) fn into_vec(mut self) -> Vec<u8> {
        self.buffer.drain(..self.start);
        self.buffer
    }

    fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    #[inline]
    fn reserve(&mut self, more: usize) {
        if self.start < more {
            self.grow(more);
        }
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let used = self.len();
        let capacity = (self.buffer.len() * 2).max(used + more).max(64);
        let mut grown = vec![0; capacity];
        grown[capacity - used..].copy_from_slice(&self.buffer[self.start..]);
        self.buffer = grown;
        self.start = capacity - used;
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let from = self.start - bytes.len();
        self.buffer[from..self.start].copy_from_slice(bytes);
        self.start = from;
    }

    fn varint(&mut self, mut value: u64) {
        if value < 0x80 {
            self.reserve(1);
            self.start -= 1;
            self.buffer[self.start] = value as u8;
            return;
        }
        let mut text = [0_u8; 10];
        let mut len = 0;
        while value >= 0x80 {
            text[len] = value as u8 | 0x80;
            value >>= 7;
            len += 1;
        }
        text[len] = value as u8;
        self.bytes(&text[..=len]);
    }

    fn key(&mut self, tag: u32, wire: u32) {
        self.varint(u64::from(tag << 3 | wire));
    }

    /// Key and length of a record of bytes.
    #[inline]
    fn header(&mut self, tag: u32, length: usize) {
        if tag < 16 && length < 0x80 {
            self.reserve(2);
            self.start -= 2;
            if let [key, size, ..] = &mut self.buffer[self.start..] {
                (*key, *size) = ((tag << 3 | 2) as u8, length as u8);
            }
            return;
        }
        self.varint(length as u64);
        self.key(tag, 2);
    }

    fn int(&mut self, tag: u32, value: i64) {
        self.varint(value as u64);
        self.key(tag, 0);
    }

    pub(super) fn text(&mut self, tag: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes(bytes);
        }
        self.header(tag, bytes.len());
    }

    pub(super) fn message(&mut self, tag: u32, body: impl FnOnce(&mut Self)) {
        let before = self.len();
        body(self);
        let written = self.len() - before;
        self.header(tag, written);
    }
}

pub(super) fn write_struct(value: &dyn Struct, out: &mut BackBuffer) {
    let schema = value.schema();
    let present = value.present();
    for index in schema.wire.iter().rev() {
        let index = usize::from(*index);
        let field = &schema.fields[index];
        if index < 128 && present >> index & 1 == 0 && !is_written_when_empty(&field.ty) {
            continue;
        }
        write_field(value.get(index), field.tag, &field.ty, out);
    }
}

/// Whether a field has a record though there is nothing in it: scalars that are no pointers.
fn is_written_when_empty(ty: &TypeRef) -> bool {
    !matches!(
        ty,
        TypeRef::Pointer(_)
            | TypeRef::List(_)
            | TypeRef::WrappedList(_)
            | TypeRef::Map(_)
            | TypeRef::Bytes
    )
}

/// Writes a field's records: none for nil and empty lists, one for scalars and messages.
fn write_field(value: &dyn Value, tag: u32, ty: &TypeRef, out: &mut BackBuffer) {
    match value.view() {
        // Most fields are one of these.
        View::Nil => {}
        View::String(text) => out.text(tag, text.as_bytes()),
        View::Struct(inner) => out.message(tag, |out| write_struct(inner, out)),
        View::Bytes(bytes) if bytes.0.is_empty() => {}
        View::Pointer(inner) => match ty {
            TypeRef::Pointer(ty) => write_field(inner, tag, ty, out),
            _ => write_field(inner, tag, ty, out),
        },
        View::List(list) => match ty {
            TypeRef::WrappedList(_) if !list.is_empty() => write_item(value, tag, ty, out),
            TypeRef::List(item) => {
                for index in (0..list.len()).rev() {
                    write_item(list.item(index), tag, item, out);
                }
            }
            _ => {}
        },
        View::StringMap(map) => {
            for (key, value) in map.iter().rev() {
                out.message(tag, |out| {
                    out.text(2, value.as_bytes());
                    out.text(1, key.as_bytes());
                });
            }
        }
        View::Map(map) => {
            let item = ty.map_value().unwrap_or(&TypeRef::String);
            for (key, value) in map.entries().into_iter().rev() {
                out.message(tag, |out| {
                    write_item(value, 2, item, out);
                    out.text(1, key.as_bytes());
                });
            }
        }
        _ => write_item(value, tag, ty, out),
    }
}

/// Writes exactly one record: a list element, a map value, or a field that is always written.
fn write_item(value: &dyn Value, tag: u32, ty: &TypeRef, out: &mut BackBuffer) {
    match value.view() {
        View::String(v) => out.text(tag, v.as_bytes()),
        View::Bool(v) => out.int(tag, i64::from(v)),
        View::Int32(v) => out.int(tag, i64::from(v)),
        View::Int64(v) => out.int(tag, v),
        View::Uint32(v) => out.int(tag, i64::from(v)),
        View::Float64(v) => {
            out.bytes(&v.to_le_bytes());
            out.key(tag, 1);
        }
        View::Float32(v) => {
            out.bytes(&v.to_le_bytes());
            out.key(tag, 5);
        }
        View::Bytes(v) => out.text(tag, &v.0),
        View::Quantity(v) => {
            let mut text = Vec::with_capacity(24);
            v.write_canonical(&mut text);
            out.message(tag, |out| out.text(1, &text));
        }
        View::Time(v) => out.message(tag, |out| {
            if !v.is_zero() {
                out.int(2, 0);
                out.int(1, v.unix());
            }
        }),
        View::MicroTime(v) => out.message(tag, |out| {
            if !v.is_zero() {
                out.int(2, v.unix_micros().rem_euclid(1_000_000) * 1_000);
                out.int(1, v.unix_micros().div_euclid(1_000_000));
            }
        }),
        View::Duration(v) => out.message(tag, |out| out.int(1, v.0)),
        View::TimeOrMetaDuration(v) => out.message(tag, |out| out.int(1, v.duration.0)),
        View::IntOrString(v) => out.message(tag, |out| {
            let (kind, number, text) = match v {
                IntOrString::Int(number) => (0, *number, ""),
                IntOrString::String(text) => (1, 0, text.as_str()),
            };
            out.text(3, text.as_bytes());
            out.int(2, i64::from(number));
            out.int(1, kind);
        }),
        View::RawJson(v) => out.message(tag, |out| {
            if !v.is_empty() {
                out.text(1, v);
            }
        }),
        View::Struct(v) => out.message(tag, |out| write_struct(v, out)),
        View::List(list) => {
            let item = ty.list_item().unwrap_or(&TypeRef::String);
            out.message(tag, |out| {
                for index in (0..list.len()).rev() {
                    write_item(list.item(index), 1, item, out);
                }
            });
        }
        View::StringMap(_) | View::Map(_) => out.message(tag, |out| write_field(value, 1, ty, out)),
        View::Pointer(inner) => write_item(inner, tag, ty.deref(), out),
        View::Nil => {}
    }
}
