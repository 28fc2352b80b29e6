//! The Kubernetes API types with their JSON and protobuf codecs.
//!
//! Upstream: k8s.io/api, k8s.io/apimachinery/pkg/{apis/meta/v1,runtime,api/resource}, the component config packages.
//!
//! - [`schema`]: the static tables that describe every type; [`value`]: reflection over values.
//! - [`codec`]: JSON and protobuf, typed, and the direct transcoder from protobuf to JSON.
//! - [`special`]: quantities, times and the other types that marshal themselves.
//! - [`descriptions`]: what `explain` shows.
//! - [`CustomObject`]: objects of kinds that are known at run time only.
//! - [`kinds`] and [`resources`]: every kind, and every REST resource.
//! - the generated modules, `api_types::<group>::<version>::<Type>`.
//!
//! Invariant: a value decoded and encoded again gives the bytes that upstream's codecs give; nothing here does IO.

pub mod codec;
mod custom;
pub mod descriptions;
#[rustfmt::skip]
mod generated;
pub mod kinds;
mod object;
pub mod resources;
pub mod schema;
pub mod special;
pub mod value;

pub use codec::{
    DecodeError, Envelope, FieldProblem, FieldProblemKind, Header, ListTranscoder, decode_envelope,
    decode_json, decode_json_into, decode_json_reporting, decode_protobuf, decode_protobuf_into,
    encode_envelope, encode_envelope_as, encode_json, encode_json_as, encode_protobuf,
    transcode_protobuf_to_json, transcode_protobuf_to_json_item,
};
pub use custom::CustomObject;
pub use generated::*;
pub use object::{Kind, List, Object, Resource};
pub use schema::{FieldSchema, StructSchema, TypeRef};
pub use special::{
    ByteString, Duration, FieldsV1, Format, IntOrString, JSON, MicroTime, ParseDurationError,
    ParseQuantityError, ParseTimeError, Quantity, RawExtension, Time, TimeOrMetaDuration,
};
pub use value::{Described, ListView, MapView, PointerView, Struct, Value, View, ViewMut};
