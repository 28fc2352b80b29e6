//! The schemas of CustomResourceDefinitions: whether one is valid, and what it does to objects.
//!
//! Everything here is a function of its arguments, over `serde_json::Value`; the apiserver decides when to call what. A
//! [`Structural`] is made once per version of a CRD from its `openAPIV3Schema`, is cheap to clone and small: descriptions
//! are left out and equal subtrees are stored once. Patterns are compiled when it is made, CEL rules when they are first
//! needed. Reading a request's object goes through these, in this order:
//!
//! 1. [`Structural::coerce`] checks and cleans the metadata of the object's embedded resources,
//! 2. [`Structural::prune`] drops fields that the schema does not know,
//! 3. [`Structural::prune_nulls`] and [`Structural::apply_defaults`] fill in what is missing,
//! 4. [`Structural::validate`] or [`Structural::validate_update`], [`Structural::validate_embedded`] and
//!    [`Structural::validate_list_types`] say what is wrong,
//! 5. [`Structural::validate_rules`] evaluates `x-kubernetes-validations`, unless [`blocking_error`] says that it cannot.
//!
//! [`validate_custom_resource_validation`] is what a CRD's own validation calls for a schema. Upstream:
//! apiextensions-apiserver/pkg/apiserver/{schema,validation}, pkg/apis/apiextensions/validation, kube-openapi/pkg/validation.

// A schema in memory.
mod build;
mod node;
mod pattern;

// What it does to objects.
mod default;
mod embedded;
mod prune;

// What is wrong with objects.
mod correlate;
mod list_type;
mod rules;
mod validate;

#[cfg(test)]
mod testing;

// What is wrong with schemas.
mod crd;
mod crd_defaults;
mod crd_paths;
mod go_value;
mod structural;

// Paths into objects.
mod field_path;
pub mod json_path;
mod number;
pub mod scale;

pub use build::Problem;
pub use crd::{
    CUSTOM_RESOURCE_COST_LIMIT, Options, RULE_COST_LIMIT, has_defaults, unrecognized_formats,
    validate_custom_resource_validation,
};
pub use crd_paths::{validate_printer_column, validate_selectable_fields, validate_subresources};
pub use embedded::{CoerceOptions, unknown_field};
pub use go_value::schema as bad_value;
pub use node::Structural;
pub use rules::{Outcome, RUNTIME_BUDGET};
pub use structural::validate_structural;
pub use validate::blocking_error;
