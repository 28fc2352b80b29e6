//! What reading and writing a running pod of ordinary size costs in each form.

use std::hint::black_box;

use api_types::core::v1::Pod;
use api_types::{decode_json, decode_protobuf, encode_json, encode_protobuf};
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
    group.finish();

    let mut group = c.benchmark_group("protobuf");
    group.throughput(Throughput::Bytes(protobuf.len() as u64));
    group.bench_function("decode", |b| {
        b.iter(|| decode_protobuf::<Pod>(black_box(&protobuf)));
    });
    group.bench_function("encode", |b| b.iter(|| encode_protobuf(black_box(&pod))));
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
