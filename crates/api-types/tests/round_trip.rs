//! Every kind, empty and with every field set, through both encodings.

use api_types::kinds::{KINDS, KindInfo};
use api_types::{Struct, decode_json_into, decode_protobuf_into, encode_json, encode_protobuf};

use crate::fill::fill_struct;

fn filled(info: &KindInfo) -> Box<dyn Struct> {
    let mut value = (info.new)();
    fill_struct(&mut *value, &mut Vec::new());
    value
}

/// Compares long texts and shows only where they part.
#[track_caller]
fn same(info: &KindInfo, got: &[u8], want: &[u8]) {
    if got != want {
        let at = got.iter().zip(want).take_while(|(a, b)| a == b).count();
        let part = |bytes: &[u8]| {
            text(&bytes[at.saturating_sub(60).min(bytes.len())..(at + 60).min(bytes.len())])
        };
        panic!(
            "{info:?} differs at byte {at}:\n  got  {}\n  want {}",
            part(got),
            part(want)
        );
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check_json(info: &KindInfo, value: &dyn Struct) {
    let json = encode_json(value);
    let parsed: serde_json::Value = serde_json::from_slice(&json)
        .unwrap_or_else(|err| panic!("{info:?}: {err} in {}", text(&json)));
    assert!(parsed.is_object());
    let mut again = (info.new)();
    let problems = api_types::codec::decode_json_reporting_into(&mut *again, &json)
        .unwrap_or_else(|err| panic!("{info:?}: {err} in {}", text(&json)));
    assert!(problems.is_empty(), "{info:?}: {problems:?}");
    same(info, &encode_json(&*again), &json);
}

fn check_protobuf(info: &KindInfo, value: &dyn Struct) {
    if info.schema.wire.is_empty() {
        return; // Component configs have no protobuf form.
    }
    let bytes = encode_protobuf(value);
    let mut again = (info.new)();
    decode_protobuf_into(&mut *again, &bytes).unwrap_or_else(|err| panic!("{info:?}: {err}"));
    assert!(encode_protobuf(&*again) == bytes, "{info:?}");
    let mut transcoded = Vec::new();
    api_types::transcode_protobuf_to_json(info.schema, &bytes, None, &mut transcoded)
        .unwrap_or_else(|err| panic!("{info:?}: {err}"));
    same(info, &transcoded, &encode_json(&*again));
}

/// The records of a message.
fn records(mut message: &[u8]) -> Vec<&[u8]> {
    fn varint(bytes: &[u8]) -> (u64, usize) {
        let length = bytes.iter().position(|byte| *byte < 0x80).expect("whole") + 1;
        let groups = bytes[..length].iter().rev();
        (
            groups.fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)),
            length,
        )
    }
    let mut records = Vec::new();
    while !message.is_empty() {
        let (key, mut length) = varint(message);
        length += match key & 7 {
            0 => varint(&message[length..]).1,
            1 => 8,
            5 => 4,
            _ => {
                let (size, digits) = varint(&message[length..]);
                digits + usize::try_from(size).expect("small")
            }
        };
        let (record, rest) = message.split_at(length);
        records.push(record);
        message = rest;
    }
    records
}

/// Encoders write records in the order of their tags; decoders take any order, and one field in pieces.
#[test]
fn records_may_come_in_any_order() {
    for info in KINDS.iter().filter(|info| !info.schema.wire.is_empty()) {
        let bytes = encode_protobuf(&*filled(info));
        let records = records(&bytes);
        let reversed: Vec<u8> = records.iter().rev().copied().flatten().copied().collect();
        let twice = [&bytes[..], &bytes[..]].concat();
        let mixed = [&reversed[..], &bytes[..]].concat();
        for message in [reversed, twice, mixed] {
            let mut value = (info.new)();
            decode_protobuf_into(&mut *value, &message)
                .unwrap_or_else(|err| panic!("{info:?}: {err}"));
            let mut transcoded = Vec::new();
            api_types::transcode_protobuf_to_json(info.schema, &message, None, &mut transcoded)
                .unwrap_or_else(|err| panic!("{info:?}: {err}"));
            same(info, &transcoded, &encode_json(&*value));
        }
    }
}

#[test]
fn items_of_lists_do_not_say_what_they_are() {
    for info in KINDS.iter().filter(|info| !info.schema.wire.is_empty()) {
        let value = filled(info);
        let bytes = encode_protobuf(&*value);
        let (mut whole, mut item, mut written) = (Vec::new(), Vec::new(), Vec::new());
        let none = api_types::codec::Header {
            api_version: "",
            kind: "",
        };
        api_types::transcode_protobuf_to_json(info.schema, &bytes, Some(none), &mut whole)
            .unwrap_or_else(|err| panic!("{info:?}: {err}"));
        api_types::transcode_protobuf_to_json_item(info.schema, &bytes, &mut item)
            .unwrap_or_else(|err| panic!("{info:?}: {err}"));
        same(info, &item, &whole);
        api_types::codec::write_json_item(&*value, &mut written);
        same(info, &written, &item);
    }
}

#[test]
fn filled_values_survive_both_encodings() {
    for info in KINDS {
        let value = filled(info);
        check_json(info, &*value);
        check_protobuf(info, &*value);
    }
}

#[test]
fn zero_values_survive_both_encodings() {
    for info in KINDS {
        let value = (info.new)();
        check_json(info, &*value);
        check_protobuf(info, &*value);
        // An empty message means the same as the zero value.
        if !info.schema.wire.is_empty() {
            let mut transcoded = Vec::new();
            api_types::transcode_protobuf_to_json(info.schema, &[], None, &mut transcoded)
                .expect("empty is valid");
            assert_eq!(text(&transcoded), text(&encode_json(&*value)), "{info:?}");
        }
    }
}

#[test]
fn json_and_protobuf_carry_the_same() {
    for info in KINDS
        .iter()
        .filter(|info| info.schema.wire.len() + 1 >= info.schema.fields.len())
    {
        let value = filled(info);
        let mut from_json = (info.new)();
        decode_json_into(&mut *from_json, &encode_json(&*value)).expect("own output is valid");
        if !info.schema.wire.is_empty() {
            assert!(
                encode_protobuf(&*from_json) == encode_protobuf(&*value),
                "{info:?}"
            );
        }
    }
}

#[test]
fn copies_are_equal_and_independent() {
    for info in KINDS {
        let value = filled(info);
        let copy = (info.clone)(&*value).expect("a kind copies its own type");
        assert!(api_types::value::structs_equal(&*value, &*copy), "{info:?}");
        assert!(
            !api_types::value::structs_equal(&*value, &*(info.new)()),
            "{info:?}"
        );
    }
}

#[test]
fn kinds_are_sorted_and_found() {
    let name = |info: &KindInfo| (info.group, info.version, info.kind);
    for pair in KINDS.windows(2) {
        assert!(
            name(&pair[0]) < name(&pair[1]),
            "{:?} before {:?}",
            pair[0],
            pair[1]
        );
    }
    for info in KINDS {
        let found = api_types::kinds::lookup(info.group, info.version, info.kind)
            .expect("a listed kind is found");
        assert_eq!(name(found), name(info));
    }
    assert!(api_types::kinds::lookup("apps", "v1", "DeleteOptions").is_some());
    assert!(api_types::kinds::lookup("apps", "v1", "Pod").is_none());
    assert!(api_types::kinds::lookup_api_version("v1", "Pod").is_some());
}

#[test]
fn boxed_kinds_give_their_type_back() {
    let info = api_types::kinds::lookup("", "v1", "Pod").expect("known");
    let mut boxed = (info.new)();
    boxed
        .downcast_mut::<api_types::core::v1::Pod>()
        .expect("a pod")
        .metadata
        .name = "a".into();
    assert!(boxed.downcast_ref::<api_types::core::v1::Node>().is_none());
    let boxed = boxed
        .downcast::<api_types::core::v1::Node>()
        .expect_err("no node");
    assert_eq!(
        boxed
            .downcast::<api_types::core::v1::Pod>()
            .expect("a pod")
            .metadata
            .name,
        "a"
    );
}

#[test]
fn metadata_is_reached_without_knowing_the_type() {
    for row in api_types::resources::RESOURCES {
        let info = api_types::kinds::lookup(row.group, row.version, row.kind).expect("listed");
        let mut value = (info.new)();
        value
            .object_meta_mut()
            .expect("resources have metadata")
            .name = "a".into();
        assert_eq!(value.object_meta().expect("still there").name, "a");
        assert!(value.list_meta().is_none());
        value.type_meta_mut().expect("resources are kinds").kind = "Other".into();
        assert!(text(&encode_json(&*value)).starts_with(r#"{"kind":"Other","apiVersion":"#));
    }
    let probe = api_types::core::v1::Probe::default();
    assert!(
        (&probe as &dyn Struct).field("httpGet").is_some(),
        "inlined fields are found"
    );
    assert!((&probe as &dyn Struct).field("nonsense").is_none());
}
