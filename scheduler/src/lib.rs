//! kube-scheduler: binds pods to nodes. Upstream: cmd/kube-scheduler and pkg/scheduler.
//!
//! Informers fill the [`cache`] (nodes, and pods on them) and the [`queue`] (pods without a node). One thread takes a pod from the queue, looks
//! at a [`snapshot`](cache::snapshot) of the cache, asks the [`plugins`] of the pod's profile through the [`framework`], and assumes the pod on the
//! best node; a task per pod then tells the apiserver ([`cycle`]). Whatever changes in the cluster wakes the pods that it may help.
//!
//! Invariants: decisions are made on one thread, on a view of one moment; a cycle costs what its pod asks for and the nodes, never all pods;
//! nothing but the apiserver is talked to, and the extenders that a configuration names.

/// The daemon's life.
pub mod app;
/// What is believed about nodes and the pods on them.
pub mod cache;
/// Flags, configuration, profiles.
pub mod config;
/// Schedules one pod.
pub mod cycle;
/// What informers tell cache and queue.
pub mod event_handlers;
/// HTTP services that have a say.
pub mod extender;
/// Extension points and the runtime that calls plugins.
pub mod framework;
/// The daemon's own metrics.
pub mod metrics;
/// The in-tree plugins.
pub mod plugins;
/// Pods that wait for a node.
pub mod queue;
