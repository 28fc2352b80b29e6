//! Who manages which fields of an object: `metadata.managedFields` and server-side apply.
//!
//! Upstream: apimachinery/pkg/util/managedfields and structured-merge-diff. From the inside out:
//!
//! - [`PathElement`], [`Path`], [`Set`]: fields, and their form in `fieldsV1`;
//! - [`Schema`]: how values of a type merge, for built-in kinds from their tables, for custom resources made at run time;
//! - [`TypedValue`]: comparing and merging JSON documents by their types;
//! - `updater`: what an update or an apply does to the sets of all managers;
//! - [`FieldManager`]: the same in terms of objects, with entries, times and the rules about metadata.
//!
//! Objects are JSON documents with `apiVersion` and `kind`; updates take the API's own types too, which are compared without
//! making documents of them. Invariant: no two entries have the same manager, operation,
//! subresource and (for updates) version, and no entry is empty.

mod built_in;
mod conflict;
mod custom;
mod entries;
mod field_manager;
mod fields_v1;
mod last_applied;
mod parsed;
mod path;
mod schema;
mod set;
mod typed;
mod updater;

pub use built_in::{ATOMIC_STRUCTS, built_in_type};
pub use conflict::{Conflict, Conflicts};
pub use custom::custom_type;
pub use entries::{DecodeError, decode_managed_fields, revert_timestamp_updates};
pub use field_manager::{
    Applied, ApplyError, BuiltInTypes, ConversionError, ExtractError, FieldManager, TypeConverter,
    UpdateError, extract,
};
pub use fields_v1::ParseSetError;
pub use last_applied::LAST_APPLIED_ANNOTATION;
pub use path::{Path, PathElement};
pub use schema::{
    Atom, Field, List, ListRelationship, MapType, ObjectType, Scalar, Schema, TypeId,
};
pub use set::{Filter, Matcher, Set};
pub use typed::{Comparison, Errors, TypedValue};

/// Most managers with operation Update that an object keeps apart; the oldest are put together beyond that.
pub const MAX_UPDATE_MANAGERS: usize = 10;

#[cfg(test)]
mod tests;
