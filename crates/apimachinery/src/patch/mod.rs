//! The three kinds of patches besides server-side apply, over JSON documents.
//!
//! [`json`] is RFC 6902, [`merge`] is RFC 7386, and [`strategic`] is Kubernetes' own, which knows from a type's table how
//! lists merge. Each has the quirks of the library that upstream uses.

pub mod json;
mod lazy;
pub mod merge;
pub mod strategic;
