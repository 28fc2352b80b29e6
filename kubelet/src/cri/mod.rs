//! The container runtime interface: gRPC over a Unix socket to containerd, CRI-O or another CRI v1 runtime.
//!
//! Upstream: `staging/src/k8s.io/cri-client` and `pkg/kubelet/kuberuntime/instrumented_services.go`.
//! Nothing outside this folder knows that the runtime is reached by gRPC: callers see [`Cri`] and [`CriError`].

mod client;

pub use client::{Cri, CriError, CriOptions};

/// Messages and stubs of `runtime.v1`, generated from `proto/cri-runtime-v1.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    rust_2018_idioms,
    clippy::allow_attributes_without_reason,
    reason = "generated code is not held to the lints of written code"
)]
pub mod v1 {
    include!("generated/runtime_v1.rs");
    #[cfg(test)]
    include!("generated/runtime_v1_server.rs");
}

#[cfg(test)]
pub(crate) mod fake;
