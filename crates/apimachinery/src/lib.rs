//! Selectors, validation, Status errors, patches and server-side apply: the pure part of the API machinery.
//!
//! Everything here is a function of its arguments: no tokio, no clock, no input or output. Upstream:
//! staging/src/k8s.io/apimachinery, structured-merge-diff, and the parts of component-helpers that several daemons need.

// Names of things, and text.
pub mod duration;
pub mod gvk;
pub mod hash;
pub mod image_reference;
pub mod os_error;
pub mod pem;
pub mod pretty;
pub mod quote;
pub mod rand_suffix;
pub mod yaml;

// What clients ask for.
pub mod fields;
pub mod labels;

// What is wrong with what they send.
pub mod field;
pub mod status;
pub mod validation;

// How objects relate to each other.
pub mod owner_ref;

// What pods ask for, and where they may run.
pub mod quota;
pub mod resource;
pub mod scheduling;

// How objects change.
pub mod lru;
pub mod managedfields;
pub mod patch;
