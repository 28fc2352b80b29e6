//! `runtime.RawExtension`: an object of a type that is not known here.

use std::fmt;

/// An object kept in its encoded form, normally JSON; empty is nil.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawExtension {
    /// JSON text (or a protobuf envelope when it came inside a protobuf message).
    pub raw: Vec<u8>,
}

impl RawExtension {
    /// Wraps an encoded object.
    pub fn new(raw: impl Into<Vec<u8>>) -> Self {
        RawExtension { raw: raw.into() }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }
}

impl fmt::Debug for RawExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawExtension({})", String::from_utf8_lossy(&self.raw))
    }
}
