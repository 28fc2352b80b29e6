//! Pod statuses: computed from what runs, kept, and written to the API server.
//!
//! Upstream: `pkg/kubelet/status`, and the status part of `kubelet_pods.go`.

pub mod conditions;
pub mod containers;
mod manager;
pub mod phase;
mod resize;

pub(crate) use manager::replace_condition;
pub use manager::{DeletionSafety, StatusManager, needs_readiness_reconcile};
pub use resize::ResizeConditions;
