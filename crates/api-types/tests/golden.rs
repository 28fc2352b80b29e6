//! Upstream's recorded objects: the JSON and protobuf forms of every kind with every field set.

use std::path::{Path, PathBuf};

use api_types::kinds::{self, KindInfo};
use api_types::{Header, codec};

fn folder() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata/api-golden");
    if path.is_dir() {
        Some(path)
    } else {
        eprintln!("skipped: {} is missing", path.display());
        None
    }
}

/// Calls `check` for each recorded kind and fails with all complaints.
fn for_each(check: impl Fn(&Golden) -> Result<(), String>) {
    let Some(folder) = folder() else { return };
    let mut count = 0;
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("the folder is readable") {
        let path = entry.expect("the folder is readable").path();
        if path.extension().is_none_or(|ext| ext != "pb") {
            continue;
        }
        count += 1;
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("file names are UTF-8")
            .to_string();
        let envelope = std::fs::read(&path).expect("the file is readable");
        let json =
            std::fs::read(path.with_extension("json")).expect("each protobuf file has a JSON twin");
        let opened = codec::decode_envelope(&envelope).expect("a recorded envelope opens");
        // WatchEvent has no TypeMeta, so its envelope names no kind; the file's name does.
        let kind = name.rsplit('.').next().unwrap_or_default();
        let api_version = if opened.api_version.is_empty() {
            "v1"
        } else {
            opened.api_version
        };
        let info = kinds::lookup_api_version(api_version, kind)
            .unwrap_or_else(|| panic!("{name}: no kind {api_version} {kind}"));
        let golden = Golden {
            json,
            envelope: envelope.clone(),
            info,
        };
        if let Err(message) = check(&golden) {
            failures.push(format!("{name}: {message}"));
        }
    }
    assert!(count >= 157, "only {count} recorded kinds were found");
    assert!(
        failures.is_empty(),
        "{} of {count}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

struct Golden {
    json: Vec<u8>,
    envelope: Vec<u8>,
    info: &'static KindInfo,
}

impl Golden {
    fn raw(&self) -> codec::Envelope<'_> {
        codec::decode_envelope(&self.envelope).expect("a recorded envelope opens")
    }

    /// The recorded JSON without indentation. WatchEvent, which has no TypeMeta, is recorded without a header.
    fn compact_json(&self) -> Vec<u8> {
        codec::compact(&self.json)
    }
}

#[track_caller]
fn same(what: &str, got: &[u8], want: &[u8]) -> Result<(), String> {
    if got == want {
        return Ok(());
    }
    let at = got.iter().zip(want).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| {
        let end = (at + 60).min(bytes.len());
        String::from_utf8_lossy(&bytes[at.saturating_sub(40).min(end)..end]).into_owned()
    };
    Err(format!(
        "{what} differs at byte {at}:\n  got  {:?}\n  want {:?}",
        show(got),
        show(want)
    ))
}

fn header<'a>(golden: &'a Golden) -> Header<'a> {
    let raw = golden.raw();
    Header {
        api_version: raw.api_version,
        kind: raw.kind,
    }
}

#[test]
fn json_round_trips_byte_for_byte() {
    for_each(|golden| {
        let mut value = (golden.info.new)();
        let problems = codec::decode_json_reporting_into(&mut *value, &golden.json)
            .map_err(|err| err.to_string())?;
        if !problems.is_empty() {
            return Err(format!("problems: {problems:?}"));
        }
        same(
            "JSON",
            &api_types::encode_json(&*value),
            &golden.compact_json(),
        )
    });
}

#[test]
fn protobuf_round_trips_byte_for_byte() {
    for_each(|golden| {
        let mut value = (golden.info.new)();
        api_types::decode_protobuf_into(&mut *value, golden.raw().raw)
            .map_err(|err| err.to_string())?;
        same(
            "message",
            &api_types::encode_protobuf(&*value),
            golden.raw().raw,
        )?;
        same(
            "envelope",
            &api_types::encode_envelope_as(&*value, header(golden)),
            &golden.envelope,
        )
    });
}

#[test]
fn json_becomes_the_recorded_protobuf() {
    for_each(|golden| {
        let mut value = (golden.info.new)();
        api_types::decode_json_into(&mut *value, &golden.json).map_err(|err| err.to_string())?;
        // JSON inside of JSON keeps the spaces it came with, and the recording has them; protobuf has its own form.
        let mut from_protobuf = (golden.info.new)();
        api_types::decode_protobuf_into(&mut *from_protobuf, golden.raw().raw)
            .map_err(|err| err.to_string())?;
        let compacted = api_types::encode_json_as(&*value, header(golden));
        same(
            "JSON",
            &compacted,
            &api_types::encode_json_as(&*from_protobuf, header(golden)),
        )?;
        let mut again = (golden.info.new)();
        api_types::decode_json_into(&mut *again, &compacted).map_err(|err| err.to_string())?;
        same(
            "message",
            &api_types::encode_protobuf(&*again),
            golden.raw().raw,
        )
    });
}

#[test]
fn protobuf_becomes_the_recorded_json() {
    for_each(|golden| {
        let mut value = (golden.info.new)();
        api_types::decode_protobuf_into(&mut *value, golden.raw().raw)
            .map_err(|err| err.to_string())?;
        same(
            "JSON",
            &api_types::encode_json_as(&*value, header(golden)),
            &golden.compact_json(),
        )
    });
}

#[test]
fn transcoding_gives_the_recorded_json() {
    for_each(|golden| {
        let mut out = Vec::new();
        let header = golden.info.schema.has_type_meta().then(|| header(golden));
        api_types::transcode_protobuf_to_json(
            golden.info.schema,
            golden.raw().raw,
            header,
            &mut out,
        )
        .map_err(|err| err.to_string())?;
        same("JSON", &out, &golden.compact_json())
    });
}
