//! Decides whether a caller may do what it asks. Upstream: pkg/kubeapiserver/authorizer and plugin/pkg/auth/authorizer.
//!
//! Invariants: the group system:masters is allowed before any authorizer is asked; the first verdict other than "no opinion" wins;
//! without any verdict a request is refused. Verdicts read indexes in memory, never storage.

pub mod node;
pub mod rbac;
mod union;

pub use union::{AlwaysAllow, AlwaysDeny, Mode, Union, UnknownMode, parse_modes};
