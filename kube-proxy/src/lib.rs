//! kube-proxy: Services on nftables.
//!
//! Services and EndpointSlices are watched ([`tracker`]); what they ask for is worked out per Service port as chains, set and map
//! elements ([`proxier::fragment`], pure), compared with what was written before ([`proxier::table`]), and only the difference goes to
//! the kernel, in one transaction. Nothing is written before both caches are filled, and nothing is taken away when the process
//! ends: connections outlive it, and the next start converges from whatever it finds.

/// The daemon's life.
pub mod app;
/// Flags and the configuration file.
pub mod config;
/// Flows of UDP Services whose endpoint has gone.
pub mod conntrack;
/// Whether this node's proxy, and a Service's local endpoints, are well.
pub mod healthcheck;
/// The process's metrics by upstream's names.
pub mod metrics;
/// From Services to kernel rules.
pub mod proxier;
/// The kernel, behind a trait.
pub mod sys;
/// What Services and EndpointSlices mean on this node.
pub mod tracker;
