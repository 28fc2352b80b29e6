//! `apiextensions.JSON`: any JSON value, kept as text.

use std::fmt;

/// Any JSON value as text; empty is nil, and JSON `null` reads as nil.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct JSON {
    /// JSON text.
    pub raw: Vec<u8>,
}

impl JSON {
    /// Wraps JSON text.
    pub fn new(raw: impl Into<Vec<u8>>) -> Self {
        JSON { raw: raw.into() }
    }
}

impl fmt::Debug for JSON {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON({})", String::from_utf8_lossy(&self.raw))
    }
}
