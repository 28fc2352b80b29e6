//! JSON encoding, byte for byte as Go's encoding/json writes the same objects.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Header;
use super::bytes::{position, text};
use super::json_scan::write_compact;
use crate::custom::CustomObject;
use crate::schema::{FieldSchema, JsonForm, Omit, StructSchema};
use crate::special::{IntOrString, MicroTime, Time, TimeOrMetaDuration};
use crate::value::{Struct, Value, View, is_empty, is_zero};

/// Encodes a struct. A kind gets `kind` and `apiVersion` from its `type_meta`, or from its type where that is empty.
pub fn encode_json(value: &dyn Struct) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_json(value, None, &mut out);
    out
}

/// Encodes a struct under another kind or version.
pub fn encode_json_as(value: &dyn Struct, header: Header<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_json(value, Some(header), &mut out);
    out
}

/// Appends the JSON of a struct to a buffer.
pub fn write_json(value: &dyn Struct, header: Option<Header<'_>>, out: &mut Vec<u8>) {
    let schema = value.schema();
    let Some(name) = schema.kind else {
        write_struct(value, out);
        return;
    };
    let (mut kind, mut api_version) = (name.kind, name.api_version);
    // A custom object's kind is not its type's.
    if let Some(header) = header.filter(|header| !header.kind.is_empty() || !is_custom(schema)) {
        (kind, api_version) = (header.kind, header.api_version);
    } else if let View::Struct(type_meta) = value.get(0).view() {
        if let View::String(text) = type_meta.get(0).view()
            && !text.is_empty()
        {
            kind = text;
        }
        if let View::String(text) = type_meta.get(1).view()
            && !text.is_empty()
        {
            api_version = text;
        }
    }
    if let Some(custom) = value.downcast_ref::<CustomObject>() {
        return write_custom(custom, kind, api_version, out);
    }
    out.push(b'{');
    let mut first = true;
    write_header(kind, api_version, &mut first, out);
    write_fields(value, 1, &mut first, out);
    out.push(b'}');
}

/// Appends the JSON of a struct without its apiVersion and kind, as an item of a list has it.
pub fn write_json_item(value: &dyn Struct, out: &mut Vec<u8>) {
    let from = usize::from(value.schema().kind.is_some());
    out.push(b'{');
    write_fields(value, from, &mut true, out);
    out.push(b'}');
}

fn is_custom(schema: &StructSchema) -> bool {
    schema.json_form == JsonForm::Custom
}

/// Writes a custom object with its keys in order.
fn write_custom(object: &CustomObject, kind: &str, api_version: &str, out: &mut Vec<u8>) {
    enum Part<'a> {
        Text(&'a str),
        Metadata,
    }
    let mut own = [
        ("apiVersion", Part::Text(api_version)),
        ("kind", Part::Text(kind)),
        ("metadata", Part::Metadata),
    ]
    .into_iter()
    .filter(|(_, part)| !matches!(part, Part::Text("")))
    .peekable();
    let mut first = true;
    let mut write_own = |until: Option<&str>, first: &mut bool, out: &mut Vec<u8>| {
        while let Some((key, part)) = own.next_if(|(key, _)| until.is_none_or(|until| *key < until))
        {
            write_key(key, first, out);
            match part {
                Part::Text(text) => write_json_string(text, out),
                Part::Metadata => write_sorted(&object.metadata, out),
            }
        }
    };
    out.push(b'{');
    for (key, value) in &object.content {
        write_own(Some(key), &mut first, out);
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write_json_string(key, out);
        out.push(b':');
        write_raw(&value.raw, out);
    }
    write_own(None, &mut first, out);
    out.push(b'}');
}

/// Writes a struct with its keys in byte order, as Go writes one that it has made a map of.
fn write_sorted(value: &dyn Struct, out: &mut Vec<u8>) {
    let schema = value.schema();
    let mut order: Vec<usize> = (0..schema.fields.len()).collect();
    order.sort_unstable_by_key(|index| schema.fields[*index].json);
    out.push(b'{');
    let mut first = true;
    for index in order {
        let (field, value) = (&schema.fields[index], value.get(index));
        if field.json.is_empty() || json_is_left_out(field, value) {
            continue;
        }
        match value.view() {
            View::Time(time) if time.is_zero() => {}
            View::List(list) if field.ty.struct_schema().is_some() => {
                write_key(field.json, &mut first, out);
                out.push(b'[');
                for index in 0..list.len() {
                    if index > 0 {
                        out.push(b',');
                    }
                    if let View::Struct(item) = list.item(index).view() {
                        write_sorted(item, out);
                    }
                }
                out.push(b']');
            }
            _ => write_field(schema, index, value, &mut first, out),
        }
    }
    out.push(b'}');
}

pub(super) fn write_header(kind: &str, api_version: &str, first: &mut bool, out: &mut Vec<u8>) {
    if !kind.is_empty() {
        write_key("kind", first, out);
        write_json_string(kind, out);
    }
    if !api_version.is_empty() {
        write_key("apiVersion", first, out);
        write_json_string(api_version, out);
    }
}

pub(super) fn write_key(key: &str, first: &mut bool, out: &mut Vec<u8>) {
    if !*first {
        out.push(b',');
    }
    *first = false;
    // Keys of API types are plain ASCII and need no escapes.
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn write_struct(value: &dyn Struct, out: &mut Vec<u8>) {
    match value.schema().json_form {
        JsonForm::Custom => write_json(value, None, out),
        JsonForm::Object => {
            out.push(b'{');
            let mut first = true;
            write_fields(value, 0, &mut first, out);
            out.push(b'}');
        }
        JsonForm::SchemaOrArray => match is_empty(value.get(1)) {
            false => write_json_value(value.get(1), out),
            true => write_json_value(value.get(0), out),
        },
        JsonForm::SchemaOrStringArray => match is_empty(value.get(1)) {
            false => write_json_value(value.get(1), out),
            true => write_json_value(value.get(0), out),
        },
        JsonForm::SchemaOrBool => match is_empty(value.get(1)) {
            false => write_json_value(value.get(1), out),
            true => write_json_value(value.get(0), out),
        },
    }
}

/// Whether JSON leaves a field out.
pub fn json_is_left_out(field: &FieldSchema, value: &dyn Value) -> bool {
    match field.omit {
        Omit::Never => false,
        Omit::Empty => is_empty(value),
        Omit::Zero => is_zero(value),
    }
}

fn write_fields(value: &dyn Struct, from: usize, first: &mut bool, out: &mut Vec<u8>) {
    let schema = value.schema();
    for index in value.shown(from) {
        let field = &schema.fields[index];
        let inner = value.get(index);
        if field.inline {
            if let View::Struct(inner) = inner.view() {
                write_fields(inner, 0, first, out);
            }
            continue;
        }
        write_field(schema, index, inner, first, out);
    }
}

/// Appends a field of a struct with its key, and a comma where `out` does not end in the struct's brace. Fields that JSON leaves
/// out add nothing; neither do inlined ones.
pub fn write_json_field(value: &dyn Struct, index: usize, out: &mut Vec<u8>) {
    let mut first = out.last() == Some(&b'{');
    if !value.schema().fields[index].inline {
        write_field(value.schema(), index, value.get(index), &mut first, out);
    }
}

fn write_field(
    schema: &StructSchema,
    index: usize,
    value: &dyn Value,
    first: &mut bool,
    out: &mut Vec<u8>,
) {
    let field = &schema.fields[index];
    if field.json.is_empty() || json_is_left_out(field, value) {
        return;
    }
    write_key(field.json, first, out);
    match value.view() {
        View::List(list) if list.is_empty() => out.extend_from_slice(empty_list(schema, index)),
        View::StringMap(map) if map.is_empty() => out.extend_from_slice(b"null"),
        View::Map(map) if map.is_empty() => out.extend_from_slice(b"null"),
        View::Bytes(bytes) if bytes.0.is_empty() => out.extend_from_slice(b"null"),
        _ => write_json_value(value, out),
    }
}

/// What an empty list that must be written looks like: Go writes `null` for a nil slice, but the API server always
/// gives lists of objects a slice.
pub(super) fn empty_list(schema: &StructSchema, index: usize) -> &'static [u8] {
    if schema.kind.is_some() && schema.fields[index].json == "items" {
        b"[]"
    } else {
        b"null"
    }
}

/// Appends the JSON of any value.
pub fn write_json_value(value: &dyn Value, out: &mut Vec<u8>) {
    match value.view() {
        View::String(v) => write_json_string(v, out),
        View::Bool(v) => out.extend_from_slice(if v { b"true" } else { b"false" }),
        View::Int32(v) => write_int(i64::from(v), out),
        View::Int64(v) => write_int(v, out),
        View::Uint32(v) => write_int(i64::from(v), out),
        View::Float64(v) => write_float(v, out),
        View::Float32(v) => write_float32(v, out),
        View::Bytes(v) => write_base64(&v.0, out),
        View::Quantity(v) => {
            out.push(b'"');
            v.write_canonical(out);
            out.push(b'"');
        }
        View::Time(v) => write_time(v, out),
        View::MicroTime(v) => write_micro_time(v, out),
        View::Duration(v) => write_json_string(&v.to_string(), out),
        View::TimeOrMetaDuration(v) => write_time_or_duration(v, out),
        View::IntOrString(v) => write_int_or_string(v, out),
        View::RawJson(v) => write_raw(v, out),
        View::Struct(v) => write_struct(v, out),
        View::List(v) => {
            if v.is_empty() {
                out.extend_from_slice(b"null");
                return;
            }
            out.push(b'[');
            for index in 0..v.len() {
                if index > 0 {
                    out.push(b',');
                }
                write_json_value(v.item(index), out);
            }
            out.push(b']');
        }
        View::StringMap(map) => {
            out.push(b'{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json_string(key, out);
                out.push(b':');
                write_json_string(value, out);
            }
            out.push(b'}');
        }
        View::Map(map) => {
            out.push(b'{');
            for (index, (key, value)) in map.entries().into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json_string(key, out);
                out.push(b':');
                write_json_value(value, out);
            }
            out.push(b'}');
        }
        View::Nil => out.extend_from_slice(b"null"),
        View::Pointer(v) => write_json_value(v, out),
    }
}

pub(super) fn write_int(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(super) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The space is exact, so this cannot fail; if it did, the text would be empty and not garbage.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}

pub(super) fn write_time(value: Time, out: &mut Vec<u8>) {
    if value.is_zero() {
        out.extend_from_slice(b"null");
    } else {
        out.push(b'"');
        value.write(out);
        out.push(b'"');
    }
}

pub(super) fn write_micro_time(value: MicroTime, out: &mut Vec<u8>) {
    if value.is_zero() {
        out.extend_from_slice(b"null");
    } else {
        out.push(b'"');
        value.write(out);
        out.push(b'"');
    }
}

pub(super) fn write_int_or_string(value: &IntOrString, out: &mut Vec<u8>) {
    match value {
        IntOrString::Int(number) => write_int(i64::from(*number), out),
        IntOrString::String(text) => write_json_string(text, out),
    }
}

fn write_time_or_duration(value: &TimeOrMetaDuration, out: &mut Vec<u8>) {
    if value.serialize_as_string {
        write_json_string(&value.duration.to_string(), out);
    } else {
        write_int(value.duration.0, out);
    }
}

/// JSON kept as text: Go compacts it and escapes HTML in it; nil is `null`, and so is what is no JSON at all.
pub(super) fn write_raw(raw: &[u8], out: &mut Vec<u8>) {
    if raw.is_empty() || super::is_envelope(raw) {
        out.extend_from_slice(b"null");
    } else {
        write_compact(raw, out);
    }
}

/// Go's float text: plain digits between 1e-6 and 1e21, an exponent outside. Infinities, which JSON cannot carry and
/// no decoder lets in, become `null`.
/// Appends a number as Go writes a float64; `null` for what JSON has no number for.
pub fn write_json_float(value: f64, out: &mut Vec<u8>) {
    write_float(value, out);
}

pub(super) fn write_float(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        write_exponent(&format!("{value:e}"), out);
    } else {
        out.extend_from_slice(value.to_string().as_bytes());
    }
}

fn write_float32(value: f32, out: &mut Vec<u8>) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        write_exponent(&format!("{value:e}"), out);
    } else {
        out.extend_from_slice(value.to_string().as_bytes());
    }
}

fn write_exponent(text: &str, out: &mut Vec<u8>) {
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => {
            out.extend_from_slice(digits.as_bytes());
            out.extend_from_slice(b"e+");
            out.extend_from_slice(exponent.as_bytes());
        }
        _ => out.extend_from_slice(text.as_bytes()),
    }
}

/// What does not stand for itself in a string; 0xe2 may begin U+2028 or U+2029.
fn is_special(byte: u8) -> bool {
    (byte < 0x20)
        | (byte == b'"')
        | (byte == b'\\')
        | (byte == b'<')
        | (byte == b'>')
        | (byte == b'&')
        | (byte == 0xe2)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a string of a message: as [`write_json_string`], and what is no UTF-8 becomes U+FFFD.
pub(super) fn write_text(bytes: &[u8], out: &mut Vec<u8>) {
    // Plain ASCII needs no more than this one look.
    if position(bytes, |byte| is_special(byte) | (byte >= 0x80)).is_some() {
        return write_json_string(&text(bytes), out);
    }
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    out.extend_from_slice(bytes);
    out.push(b'"');
}

/// Appends a JSON string with Go's escapes.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut start = 0;
    let mut at = 0;
    while let Some(plain) = position(&bytes[at..], is_special) {
        at += plain;
        let byte = bytes[at];
        if byte == 0xe2 {
            // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
            if bytes[at..].starts_with(b"\xe2\x80\xa8") || bytes[at..].starts_with(b"\xe2\x80\xa9")
            {
                out.extend_from_slice(&bytes[start..at]);
                out.extend_from_slice(if bytes[at + 2] == 0xa8 {
                    b"\\u2028"
                } else {
                    b"\\u2029"
                });
                at += 3;
                start = at;
            } else {
                at += 1;
            }
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
        at += 1;
        start = at;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}
