//! Resources that CustomResourceDefinitions add. Upstream: apiextensions-apiserver/pkg/apiserver.
//!
//! A [`Definition`] is a CRD made ready for requests: one [`Version`] per version, with its schema. Each served version
//! becomes a row of the table of resources, with a [`CustomResource`] that knows what generic code cannot: how objects
//! are decoded, converted and validated by the version's schema. Everything else (reads, writes, watches, patches,
//! selection) is the code of built-in resources, over [`api_types::CustomObject`].
//!
//! [`serving`] follows the CRDs and keeps the table, discovery and OpenAPI up to date; [`controllers`] keep their status.

/// A version's columns in tables.
pub mod columns;
/// What is said of CRDs in their status.
pub(crate) mod conditions;
/// What keeps the conditions, and deletes what CRDs leave behind.
pub(crate) mod controllers;
/// Between versions.
pub mod conversion;
/// CRDs made ready for requests.
pub mod definition;
/// DELETE of a CRD.
pub(crate) mod deletion;
/// JSON documents of custom objects.
pub mod document;
/// Names that stay.
mod intern;
/// What is counted.
mod metrics;
/// What a row of the table has that built-in resources do not.
pub mod resource;
/// Keeps the table up to date.
pub mod serving;
/// How custom objects are written.
pub mod strategy;
#[cfg(test)]
mod testing;

pub use definition::{Definition, Version};
pub use metrics::CustomResourceMetrics;
pub use resource::CustomResource;
