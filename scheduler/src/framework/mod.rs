//! Extension points, and the runtime that calls plugins at them. Upstream: pkg/scheduler/framework, kube-scheduler/framework.

/// What plugins remember during a cycle.
pub mod cycle_state;
/// Why a pod fits nowhere.
pub mod diagnosis;
/// Changes in the cluster, and hints about them.
pub mod event;
/// What plugins are built from.
pub mod handle;
/// A node with the sums over its pods.
pub mod node_info;
/// The extension points.
pub mod plugin;
/// A pod with what follows from it.
pub mod pod_info;
/// Amounts as integers.
pub mod resource;
/// Calls the plugins of a profile.
pub mod runtime;
/// Answers of plugins.
pub mod status;
/// Pods between assume and bind.
pub mod waiting;
