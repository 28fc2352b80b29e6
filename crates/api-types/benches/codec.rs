//! What reading and writing a running pod of ordinary size costs in each form.

use std::hint::black_box;

use api_types::core::v1::Pod;
use api_types::{ListTranscoder, decode_json, decode_protobuf, encode_json, encode_protobuf};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// As a kubelet left it, managed fields included.
const POD: &str = include_str!("pod.json");

fn codec(c: &mut Criterion) {
    let pod: Pod = decode_json(POD.as_bytes()).expect("a pod");
    // Without the file's blanks, which the managed fields keep.
    let json = encode_json(&pod);
    let pod: Pod = decode_json(&json).expect("a pod");
    let protobuf = encode_protobuf(&pod);
    let schema = api_types::Struct::schema(&pod);

    let mut group = c.benchmark_group("json");
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function("decode", |b| {
        b.iter(|| decode_json::<Pod>(black_box(&json)));
    });
    group.bench_function("encode", |b| b.iter(|| encode_json(black_box(&pod))));
    group.bench_function("from protobuf", |b| {
        let mut out = Vec::new();
        b.iter(|| {
            out.clear();
            api_types::transcode_protobuf_to_json(schema, black_box(&protobuf), None, &mut out)
        });
    });
    // Each of a list: pods of one template, and pods that have little in common.
    let alike: Vec<_> = (0..100)
        .map(|number| {
            let mut pod = pod.clone();
            pod.metadata.name = format!("{}-{number}", pod.metadata.name);
            pod.metadata.uid = format!("{number:08}-6f0e-4b5f-9f0a-0d4c7c1a2b3e");
            pod.spec.volumes[0].name = format!("volume-{number}");
            encode_protobuf(&pod)
        })
        .collect();
    let unlike: Vec<_> = (0..100)
        .map(|number| {
            let mut json: serde_json::Value = serde_json::from_slice(&json).expect("a pod");
            differ(&mut json, number);
            encode_protobuf(&decode_json::<Pod>(json.to_string().as_bytes()).expect("a pod"))
        })
        .collect();
    for (name, items) in [
        ("list of pods alike", alike),
        ("list of pods unlike", unlike),
    ] {
        group.bench_function(name, |b| {
            let mut out = Vec::new();
            let mut list = ListTranscoder::new(schema);
            let mut items = items.iter().cycle();
            b.iter(|| {
                out.clear();
                list.write(black_box(items.next().expect("endless")), &mut out)
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("protobuf");
    group.throughput(Throughput::Bytes(protobuf.len() as u64));
    group.bench_function("decode", |b| {
        b.iter(|| decode_protobuf::<Pod>(black_box(&protobuf)));
    });
    group.bench_function("encode", |b| b.iter(|| encode_protobuf(black_box(&pod))));
    group.finish();
}

/// Changes all text that may be anything.
fn differ(value: &mut serde_json::Value, number: usize) {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if TEXT.contains(&name.as_str()) => {
                        text.push_str(&number.to_string());
                    }
                    value => differ(value, number),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                differ(item, number);
            }
        }
        _ => {}
    }
}

const TEXT: &[&str] = &[
    "name",
    "value",
    "path",
    "mountPath",
    "image",
    "imageID",
    "manager",
    "key",
    "fieldPath",
    "type",
];

criterion_group!(benches, codec);
criterion_main!(benches);
