//! Lists of objects that are much alike, each written beside another.

use api_types::kinds::{KINDS, KindInfo};
use api_types::{
    ListTranscoder, Struct, Value, ViewMut, encode_protobuf, transcode_protobuf_to_json_item,
};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::fill::fill_struct;

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Changes a few of the fields.
fn vary_struct(target: &mut dyn Struct, odds: u64, dice: &mut Dice) {
    let schema = target.schema();
    let first = usize::from(schema.kind.is_some());
    for index in first..schema.fields.len() {
        vary(target.get_mut(index), odds, dice);
    }
}

fn vary(value: &mut dyn Value, odds: u64, dice: &mut Dice) {
    let hit = dice.one_in(odds);
    match value.view_mut() {
        ViewMut::String(v) if hit => *v = "x\n".repeat(dice.below(4) as usize),
        ViewMut::Bool(v) if hit => *v = !*v,
        ViewMut::Int32(v) if hit => *v = dice.below(3) as i32,
        ViewMut::Int64(v) if hit => *v = dice.below(3) as i64,
        ViewMut::Bytes(v) if hit => v.0.push(dice.below(256) as u8),
        ViewMut::Time(v) if hit => *v = api_types::Time::from_unix(dice.below(3) as i64),
        ViewMut::RawJson(v) if hit => *v = br#"{ "a" : 1 }"#.to_vec(),
        ViewMut::Struct(v) => vary_struct(v, odds, dice),
        ViewMut::Pointer(v) if hit && dice.one_in(2) => v.clear(),
        ViewMut::Pointer(v) => {
            if v.target().is_some() {
                vary(v.get_or_default(), odds, dice);
            }
        }
        ViewMut::List(v) => {
            if hit {
                match dice.below(3) {
                    0 => v.clear(),
                    _ => {
                        v.push_default();
                    }
                }
            }
            for index in 0..v.len() {
                vary(v.item_mut(index), odds, dice);
            }
        }
        ViewMut::StringMap(v) if hit => {
            v.insert(dice.below(9).to_string(), dice.below(2).to_string());
        }
        ViewMut::Map(v) if hit => {
            v.insert_default(dice.below(9).to_string());
        }
        _ => {}
    }
}

fn variant(info: &KindInfo, odds: u64, dice: &mut Dice) -> Vec<u8> {
    let mut value = (info.new)();
    if !dice.one_in(16) {
        fill_struct(&mut *value, &mut Vec::new());
        vary_struct(&mut *value, odds, dice);
    }
    let mut bytes = encode_protobuf(&*value);
    if dice.one_in(8) && !bytes.is_empty() {
        // Broken, or its records in another order.
        let at = dice.below(bytes.len() as u64) as usize;
        match dice.below(4) {
            0 => bytes.rotate_left(at),
            1 => bytes.truncate(at),
            2 => bytes.extend_from_within(..),
            _ => bytes[at] ^= 1 << dice.below(8),
        }
    }
    bytes
}

proptest! {
    #[test]
    fn objects_come_out_as_on_their_own(
        kind in 0..KINDS.len(),
        seed in any::<u64>(),
        odds in prop::sample::select(&[3_u64, 20, 200, 2000][..]),
    ) {
        let info = &KINDS[kind];
        if info.schema.wire.is_empty() {
            return Ok(()); // Component configs have no protobuf form.
        }
        let mut dice = Dice(seed);
        let mut list = ListTranscoder::new(info.schema);
        for _ in 0..12 {
            let bytes = variant(info, odds, &mut dice);
            let (mut alone, mut beside) = (Vec::new(), b"[".to_vec());
            let wanted = transcode_protobuf_to_json_item(info.schema, &bytes, &mut alone);
            let got = list.write(&bytes, &mut beside);
            // Which of several faults is told depends on the order they are met in.
            prop_assert_eq!(got.is_ok(), wanted.is_ok(), "{:?}", info);
            if wanted.is_ok() {
                prop_assert_eq!(
                    String::from_utf8_lossy(&beside[1..]),
                    String::from_utf8_lossy(&alone),
                    "{:?}",
                    info
                );
            }
        }
    }
}

/// What differs can be of any length, be missing, or come twice.
#[test]
fn every_kind_beside_what_lacks_a_record() -> Result<(), TestCaseError> {
    for info in KINDS.iter().filter(|info| !info.schema.wire.is_empty()) {
        let mut value = (info.new)();
        fill_struct(&mut *value, &mut Vec::new());
        let whole = encode_protobuf(&*value);
        for index in 1..info.schema.fields.len() {
            let mut other = (info.new)();
            fill_struct(&mut *other, &mut Vec::new());
            vary(other.get_mut(index), 1, &mut Dice(index as u64));
            let other = encode_protobuf(&*other);
            for order in [[&whole, &whole, &other], [&other, &other, &whole]] {
                let mut list = ListTranscoder::new(info.schema);
                for bytes in order {
                    let (mut alone, mut beside) = (Vec::new(), Vec::new());
                    transcode_protobuf_to_json_item(info.schema, bytes, &mut alone).expect("valid");
                    list.write(bytes, &mut beside).expect("valid");
                    prop_assert_eq!(
                        String::from_utf8_lossy(&beside),
                        String::from_utf8_lossy(&alone),
                        "{:?} {}",
                        info,
                        index
                    );
                }
            }
        }
    }
    Ok(())
}
