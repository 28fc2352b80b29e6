//! Arbitrary bytes: decoders may refuse them but never panic, and both ways from protobuf to JSON agree (CVE-2021-3121).

use api_types::Described;
use api_types::kinds::KINDS;
use proptest::prelude::*;

use crate::fill::fill_struct;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(index in 0..KINDS.len(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(index, &bytes)?;
        let _ = api_types::decode_envelope(&bytes);
        let mut enveloped = b"k8s\0".to_vec();
        enveloped.extend_from_slice(&bytes);
        let _ = api_types::decode_envelope(&enveloped);
    }

    /// Real messages with a few bytes changed reach further into the decoders.
    #[test]
    fn damaged_messages(
        index in 0..KINDS.len(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut value = (KINDS[index].new)();
        fill_struct(&mut *value, &mut Vec::new());
        for mut bytes in [api_types::encode_protobuf(&*value), api_types::encode_json(&*value)] {
            if bytes.is_empty() {
                continue;
            }
            for (place, byte) in &damage {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            if damage.len() % 2 == 1 {
                let end = cut.index(bytes.len());
                bytes.truncate(end);
            }
            check(index, &bytes)?;
        }
    }
}

fn check(index: usize, bytes: &[u8]) -> Result<(), TestCaseError> {
    let info = &KINDS[index];
    let mut from_json = (info.new)();
    if api_types::decode_json_into(&mut *from_json, bytes).is_ok() {
        let written = api_types::encode_json(&*from_json);
        let mut again = (info.new)();
        api_types::decode_json_into(&mut *again, &written).map_err(|err| {
            TestCaseError::fail(format!(
                "{info:?}: {err}: {}",
                String::from_utf8_lossy(&written)
            ))
        })?;
        prop_assert_eq!(api_types::encode_json(&*again), written);
    }
    if info.schema.wire.is_empty() {
        return Ok(());
    }
    let mut from_protobuf = (info.new)();
    let decoded = api_types::decode_protobuf_into(&mut *from_protobuf, bytes);
    let mut transcoded = Vec::new();
    let result = api_types::transcode_protobuf_to_json(info.schema, bytes, None, &mut transcoded);
    if decoded.is_ok() {
        prop_assert!(result.is_ok(), "{:?}: {:?}", info, result);
        let typed = api_types::encode_json(&*from_protobuf);
        prop_assert_eq!(
            String::from_utf8_lossy(&transcoded),
            String::from_utf8_lossy(&typed),
            "{:?}",
            info
        );
    }
    Ok(())
}

/// The deepest values that decoders let in must fit a small stack in every operation, drop included.
#[test]
fn the_deepest_values_fit_a_small_stack() {
    // A map's values, and the structs in one another.
    for level in [(r#"{"properties":{"a":"#, "}}"), (r#"{"not":"#, "}")] {
        deepest(level);
    }
}

fn deepest(level: (&'static str, &'static str)) {
    use api_types::apiextensions::v1::CustomResourceDefinition as Definition;
    let nested = move |levels: usize| {
        let (open, close) = (level.0.repeat(levels), level.1.repeat(levels));
        format!(
            r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{open}{{}}{close}}}}}]}}}}"#
        )
    };
    let work = move || {
        let levels = (1..1000)
            .take_while(|levels| {
                api_types::decode_json::<Definition>(nested(*levels).as_bytes()).is_ok()
            })
            .last()
            .expect("one level is fine");
        assert!(levels >= 100, "only {levels} levels are accepted");
        let value: Definition =
            api_types::decode_json(nested(levels).as_bytes()).expect("was accepted before");
        let bytes = api_types::encode_protobuf(&value);
        let back: Definition =
            api_types::decode_protobuf(&bytes).expect("protobuf nests no deeper");
        assert_eq!(back, value.clone());
        assert!(format!("{value:?}").len() > levels);
        let mut json = Vec::new();
        api_types::transcode_protobuf_to_json(Definition::SCHEMA, &bytes, None, &mut json)
            .expect("valid");
        assert_eq!(json, api_types::encode_json(&value));
        let mut list = api_types::ListTranscoder::new(Definition::SCHEMA);
        for _ in 0..4 {
            list.write(&bytes, &mut Vec::new()).expect("valid");
        }
    };
    std::thread::Builder::new()
        .stack_size(3 << 20)
        .spawn(work)
        .expect("a thread starts")
        .join()
        .expect("the work fits the stack");
}
