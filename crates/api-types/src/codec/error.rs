//! What decoding can report.

use std::fmt;

/// Why bytes could not be decoded. The text is upstream's, as users see it in responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The text is no JSON.
    Syntax {
        /// Go's message.
        message: String,
        /// Offset of the byte that was wrong.
        offset: usize,
    },
    /// JSON of the wrong type for a field, or a value that its type refuses.
    Value(String),
    /// Broken protobuf.
    Protobuf(String),
    /// No, or a broken, storage envelope.
    Envelope(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Syntax { message, .. }
            | DecodeError::Value(message)
            | DecodeError::Protobuf(message)
            | DecodeError::Envelope(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for DecodeError {}

/// What is wrong with a field that strict decoding reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldProblemKind {
    /// The type has no such field.
    Unknown,
    /// The key appeared before in the same object.
    Duplicate,
}

/// A finding of strict decoding; displays as upstream's `unknown field "spec.foo"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldProblem {
    /// What is wrong.
    pub kind: FieldProblemKind,
    /// Path of the field, such as `spec.containers[0].foo`.
    pub path: String,
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FieldProblemKind::Unknown => "unknown field",
            FieldProblemKind::Duplicate => "duplicate field",
        };
        write!(f, "{what} {:?}", self.path)
    }
}
