//! Paths of JSON patches. Upstream: apiserver/pkg/cel/library/jsonpatch.go.

use super::text;
use crate::env::Function;
use crate::types::Type;
use crate::value::Value;

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    vec![Function::new("jsonpatch.escapeKey").global(
        "string_jsonpatch_escapeKey_string",
        &[Type::String],
        Type::String,
        |args| {
            Ok(Value::from(
                text(args, 0)?.replace('~', "~0").replace('/', "~1"),
            ))
        },
    )]
}
