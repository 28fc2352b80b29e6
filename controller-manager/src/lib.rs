//! kube-controller-manager: the reconcilers of the control plane. Upstream: cmd/kube-controller-manager and pkg/controller.
//!
//! `main` parses flags into a [`config::Config`], [`app::run`] serves the secure port, takes the leader Lease and starts the
//! controllers. Each controller is one file (or folder) of [`controllers`], a row of [`controllers::CONTROLLERS`] and an
//! implementation of [`controllers::Controller`]: what wakes which key, and `sync(key)`. The [`runner`] owns queues, workers,
//! retries, spans and metrics, so a controller owns only its decisions.
//!
//! Invariants: a `sync` reads the shared caches, decides with pure functions and writes through the API; it is safe to repeat.
//! One key is never synced twice at once. Nothing here knows another daemon but the apiserver.

/// The daemon's life: serving, leader election, start and stop.
pub mod app;
/// Clients per controller identity, with ServiceAccount tokens when asked for.
pub mod client_builder;
/// Time that a test can set.
pub mod clock;
/// Flags, component configuration, and what they resolve to.
pub mod config;
/// What every controller is built from: clients, caches, clock, configuration.
pub mod context;
/// The controllers and their table.
pub mod controllers;
/// The daemon's own metrics.
pub mod metrics;
/// Runs one controller: queue, workers, backoff, panics.
pub mod runner;
