//! Generic storage of API objects and the strategies that say how kinds differ. Upstream: apiserver/pkg/registry and
//! pkg/registry.
//!
//! Reads decode custom objects only, whose schema may have changed since they were stored; for all others [`resource`]
//! splices the resourceVersion into stored bytes. Writes decode once, and the order of their steps is fixed in [`store`].

/// Nobody grants rights that they do not have.
pub mod claim_rights;
/// Conversions between versions of one key space.
pub mod convert;
/// Values made of all objects of a resource.
pub mod derived;
/// Storage failures as Status errors.
pub mod errors;
pub mod escalation;
/// Selectable fields.
pub mod fields;
/// Changes of a resource inside the process.
pub mod follow;
/// What is counted of certificates.
pub mod issued_certificates;
/// Releases that deprecate and remove versions.
pub mod lifecycle;
/// Server-side apply's record of who owns which field.
pub mod managed_fields;
/// Deletion of namespaces.
pub mod namespaces;
/// Fields that say the same.
pub mod normalize;
/// A decoded object of any kind.
pub mod object;
/// One served resource.
pub mod resource;
/// Empty lists that are not the same as none.
pub mod sent_empty;
/// Signs of life of API servers.
pub mod server_leases;
/// Cluster IPs and node ports.
pub mod service;
pub mod signing_rights;
/// Create, update, delete.
pub mod store;
/// What is filled in when an object is read.
mod stored_defaults;
/// Stored JSON and YAML.
pub mod stored_text;
/// The strategy of each kind.
pub mod strategies;
/// What differs between kinds.
pub mod strategy;
/// All served resources.
pub mod table;
/// Single fields of stored messages.
pub mod wire;
