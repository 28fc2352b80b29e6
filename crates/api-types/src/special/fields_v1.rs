//! `metav1.FieldsV1`: a set of fields in the JSON form of structured-merge-diff.

use std::fmt;

/// The fields a manager owns, as JSON text; empty is nil.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FieldsV1 {
    /// JSON text.
    pub raw: Vec<u8>,
}

impl FieldsV1 {
    /// Wraps JSON text.
    pub fn new(raw: impl Into<Vec<u8>>) -> Self {
        FieldsV1 { raw: raw.into() }
    }
}

impl fmt::Debug for FieldsV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FieldsV1({})", String::from_utf8_lossy(&self.raw))
    }
}
