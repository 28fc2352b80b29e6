//! Protobuf: decoding of every kind, the envelope, and the way to JSON without decoding.

use api_types::kinds::KindInfo;
use api_types::{
    DecodeError, Header, ListTranscoder, decode_envelope, decode_protobuf_into, encode_envelope,
    encode_json, encode_protobuf, transcode_protobuf_to_json, transcode_protobuf_to_json_item,
};

use crate::fill;
use crate::target::{Case, Outcome, Target, Verdict, same, same_text};

/// Messages of every kind.
pub const DECODE: Target = Target {
    name: "protobuf/decode",
    promise: "what is decoded is written and read again as it was; transcoding gives the JSON of decoding and encoding",
    cases: 2500,
    seed: message,
    tokens: TOKENS,
    check: decode,
};

/// Envelopes, with whatever is in them.
pub const ENVELOPE: Target = Target {
    name: "protobuf/envelope",
    promise: "an envelope that is made of an opened one opens to the same",
    cases: 2500,
    seed: envelope,
    tokens: TOKENS,
    check: open,
};

/// Keys, lengths and varints as they occur, and as they must not.
const TOKENS: &[&str] = &[
    "\x08",
    "\x0a",
    "\x0a\x00",
    "\x0a\x02\x0a\x00",
    "\x0a\x7f",
    "\x12",
    "\x12\x00",
    "\x1a",
    "\x22",
    "\x0b",
    "\x0c",
    "\x0d",
    "\x09",
    "\x00",
    "\x01",
    "\x7f",
    "k8s\0",
    "v1",
    "Pod",
    "\x0a\x03a/b",
    "\x0a\x01a\x12\x01b",
    "\x10\x01",
    "\x18\x01",
    "\x0b\x0b\x0b\x0b\x0c\x0c\x0c\x0c",
    "application/json",
];

/// Only kinds that have a protobuf form.
fn protobuf_kind(number: u32) -> (&'static KindInfo, u32) {
    (number..)
        .map(|number| (fill::kind(number), number))
        .find(|(info, _)| !info.schema.wire.is_empty())
        .expect("there are such kinds")
}

fn message(number: u32) -> Vec<u8> {
    match number % 29 {
        0 => vec![0x0b; 5000],
        1 => [vec![0x0b; 300], vec![0x0c; 300]].concat(),
        2 => {
            // Messages in messages, each whole.
            let mut inner = Vec::new();
            while inner.len() < 120 {
                inner = [vec![0x0a, inner.len() as u8], inner].concat();
            }
            inner
        }
        3 => vec![0xff; 30],
        4 => [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f].to_vec(),
        _ => {
            let (info, number) = protobuf_kind(number);
            encode_protobuf(&*fill::object_of(info, number))
        }
    }
}

fn decode(case: &Case) -> Outcome {
    let (info, _) = protobuf_kind(case.number);
    let Some(value) = transcodes(info, &case.bytes)? else {
        return Ok(Verdict::Refused);
    };
    let written = encode_protobuf(&*value);
    let mut again = (info.new)();
    decode_protobuf_into(&mut *again, &written)
        .map_err(|error| format!("{info:?}: own output is refused: {error}"))?;
    same_text("own output", &encode_protobuf(&*again), &written)?;
    same_text("as JSON", &encode_json(&*again), &encode_json(&*value))?;
    let copy = (info.clone)(&*value).ok_or("a kind copies its own type")?;
    same_text("copied", &encode_protobuf(&*copy), &written)?;
    Ok(Verdict::Accepted)
}

/// Decodes a message and compares both ways to its JSON.
pub(crate) fn transcodes(
    info: &KindInfo,
    bytes: &[u8],
) -> Result<Option<Box<dyn api_types::Struct>>, String> {
    let mut value = (info.new)();
    let decoded = decode_protobuf_into(&mut *value, bytes);
    let mut json = Vec::new();
    let transcoded = transcode_protobuf_to_json(info.schema, bytes, None, &mut json);
    match (decoded, transcoded) {
        (Ok(()), Ok(())) => {
            same_text("transcoded", &json, &encode_json(&*value))?;
            listed(info, bytes)?;
            Ok(Some(value))
        }
        (Ok(()), Err(error)) => Err(format!(
            "{info:?}: decodes, but does not transcode: {error}"
        )),
        (Err(DecodeError::Protobuf(text)), _) if text.is_empty() => {
            Err("an error without text".to_owned())
        }
        (Err(_), _) => Ok(None),
    }
}

/// In a list an object is written as it is on its own, whatever stands before it.
fn listed(info: &KindInfo, bytes: &[u8]) -> Result<(), String> {
    let written = |error| format!("{info:?}: transcodes, but not in a list: {error}");
    let mut item = Vec::new();
    transcode_protobuf_to_json_item(info.schema, bytes, &mut item).map_err(written)?;
    let other = encode_protobuf(&*fill::object_of(info, 0));
    let mut list = ListTranscoder::new(info.schema);
    for before in [&other[..], &other, bytes, bytes] {
        list.write(before, &mut Vec::new()).map_err(written)?;
        let mut out = Vec::new();
        list.write(bytes, &mut out).map_err(written)?;
        same_text("in a list", &out, &item)?;
    }
    Ok(())
}

fn envelope(number: u32) -> Vec<u8> {
    let (info, number) = protobuf_kind(number);
    encode_envelope(&*fill::object_of(info, number))
}

fn open(case: &Case) -> Outcome {
    let Ok(opened) = decode_envelope(&case.bytes) else {
        return Ok(Verdict::Refused);
    };
    let header = Header {
        api_version: opened.api_version,
        kind: opened.kind,
    };
    let closed = api_types::codec::write_envelope(opened.raw, header);
    let again = decode_envelope(&closed).map_err(|error| format!("own envelope: {error}"))?;
    same("raw", &again.raw, &opened.raw)?;
    same("apiVersion", &again.api_version, &opened.api_version)?;
    same("kind", &again.kind, &opened.kind)?;
    if let Some(info) = api_types::kinds::lookup_api_version(opened.api_version, opened.kind)
        && !info.schema.wire.is_empty()
    {
        let _ = transcodes(info, opened.raw)?;
    }
    Ok(Verdict::Accepted)
}
