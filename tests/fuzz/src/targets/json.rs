//! JSON: decoding of every kind, and the scanner under it.

use api_types::codec::{compact, decode_json_reporting_into};
use api_types::{DecodeError, decode_json_into, encode_json};

use super::JSON_TOKENS;
use crate::fill;
use crate::target::{Case, Outcome, Target, Verdict, nested, same, same_text};

/// Objects of every kind.
pub const DECODE: Target = Target {
    name: "json/decode",
    promise: "strict and lenient decoding agree, and what is written is read again as it was, without complaints",
    cases: 2000,
    seed: object,
    tokens: JSON_TOKENS,
    check: decode,
};

/// Values that are kept as text.
pub const COMPACT: Target = Target {
    name: "json/compact",
    promise: "whatever serde_json takes is taken; compacting neither changes a value nor itself",
    cases: 2000,
    seed: value,
    tokens: JSON_TOKENS,
    check: scan,
};

pub(crate) fn object(number: u32) -> Vec<u8> {
    match number % 23 {
        0 => nested("{\"metadata\":", "{}", "}", 2000),
        1 => nested("[", "", "]", 5000),
        2 => [
            b"{\"spec\":{\"versions\":[{\"schema\":{\"openAPIV3Schema\":".to_vec(),
            nested("{\"items\":", "{}", "}", 300),
            b"}}]}}".to_vec(),
        ]
        .concat(),
        _ => encode_json(&*fill::object(number)),
    }
}

fn decode(case: &Case) -> Outcome {
    let info = fill::kind(case.number);
    let mut strict = (info.new)();
    let strictly = decode_json_reporting_into(&mut *strict, &case.bytes);
    let mut value = (info.new)();
    let leniently = decode_json_into(&mut *value, &case.bytes);
    if strictly.is_ok() != leniently.is_ok() {
        return Err(format!(
            "{info:?}: strict {strictly:?}, lenient {leniently:?}"
        ));
    }
    if let Err(error) = leniently {
        if error.to_string().is_empty() {
            return Err("an error without text".to_owned());
        }
        return Ok(Verdict::Refused);
    }
    let written = encode_json(&*value);
    same_text("strict and lenient", &encode_json(&*strict), &written)?;
    let mut again = (info.new)();
    if let Err(error) = decode_json_into(&mut *again, &written) {
        // A year that its zone makes 10000 is written and not read, as in Go.
        if error.to_string().starts_with("parsing time \"10000-") {
            return Ok(Verdict::Accepted);
        }
        return Err(format!("{info:?}: own output is refused: {error}"));
    }
    same_text("own output", &encode_json(&*again), &written)?;
    // Text that is kept as it came may have bytes that are no UTF-8, as in Go.
    if std::str::from_utf8(&written).is_ok()
        && serde_json::from_slice::<serde_json::Value>(&written)
            .is_err_and(|error| !error.to_string().contains("recursion limit"))
    {
        return Err(format!(
            "{info:?}: written JSON is no JSON: {}",
            String::from_utf8_lossy(&written)
        ));
    }
    if !info.schema.wire.is_empty() {
        // What a client sends in JSON is stored as protobuf.
        let stored = api_types::encode_protobuf(&*value);
        super::protobuf::transcodes(info, &stored)?;
    }
    Ok(Verdict::Accepted)
}

fn value(number: u32) -> Vec<u8> {
    match number % 11 {
        0 => nested("[", "1", "]", 9_990),
        1 => nested("{\"a\":", "1", "}", 9_990),
        2 => nested("[", "", "", 20_000),
        3 => br#" { "a" : [ 1 , -2.5e+10 , "\u003c\ud83d\ude00\n" , null ] , "<&>" : "   " } "#
            .to_vec(),
        4 => "\"\u{2028}\u{2029}\\\" \\\\\"".into(),
        5 => br#"{"a":1,"a":2,"A":3}"#.to_vec(),
        _ => object(number),
    }
}

/// The value as an item of a List, whose items are kept as they came.
fn scan(case: &Case) -> Outcome {
    let compacted = compact(&case.bytes);
    let text = [b"{\"items\":[".as_slice(), &case.bytes, b"]}"].concat();
    let list = api_types::decode_json::<api_types::meta::v1::List>(&text);
    let parsed = serde_json::from_slice::<serde_json::Value>(&case.bytes);
    match (list, parsed) {
        (Err(error @ DecodeError::Syntax { .. }), Ok(_)) => {
            Err(format!("serde_json takes what is refused here: {error}"))
        }
        (Ok(_), Ok(value)) => {
            let again = serde_json::from_slice::<serde_json::Value>(&compacted)
                .map_err(|error| format!("compacting breaks it: {error}"))?;
            same("compacted", &again, &value)?;
            same_text("compacted twice", &compact(&compacted), &compacted)?;
            Ok(Verdict::Accepted)
        }
        (Ok(_), Err(_)) => Ok(Verdict::Accepted),
        (Err(_), _) => Ok(Verdict::Refused),
    }
}
