//! JSON and protobuf codecs over [`crate::Value`], the envelope of stored objects, and the direct transcoder.
//!
//! Upstream: sigs.k8s.io/json (decoding), encoding/json (encoding), the generated `Marshal` and `Unmarshal` methods,
//! and k8s.io/apimachinery/pkg/runtime/serializer/protobuf for the envelope.
//!
//! Invariants: bytes written are the bytes upstream writes; no input makes a decoder panic or recurse without bound.

mod bytes;
mod envelope;
mod error;
mod json_read;
mod json_scan;
mod json_write;
mod proto_read;
mod proto_write;
mod transcode;

pub use envelope::{
    Envelope, decode_envelope, encode_envelope, encode_envelope_as, is_envelope, write_envelope,
};
pub use error::{DecodeError, FieldProblem, FieldProblemKind};
pub use json_read::{
    decode_json, decode_json_into, decode_json_reporting, decode_json_reporting_into,
};
pub use json_scan::compact;
pub use json_write::{
    encode_json, encode_json_as, json_is_left_out, write_json, write_json_field, write_json_float,
    write_json_item, write_json_string, write_json_value,
};
pub use proto_read::{decode_protobuf, decode_protobuf_into};
pub use proto_write::{encode_protobuf, write_protobuf};
pub use transcode::{ListTranscoder, transcode_protobuf_to_json, transcode_protobuf_to_json_item};

/// `apiVersion` and `kind` that a codec writes at the top of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// `group/version`, or the version alone for the core group.
    pub api_version: &'a str,
    /// Kind.
    pub kind: &'a str,
}

/// How deep typed values may nest. Upstream allows 10000 levels of JSON; the only recursive API type, a CRD's schema,
/// is far below this limit in practice, and a bound that the stack of a worker thread can hold keeps input harmless.
const MAX_TYPED_DEPTH: usize = 256;
