//! kubelet: runs the pods of one node on a CRI runtime.
//!
//! A tour, in the order things happen:
//! [`config`] reads flags and files; [`app`] makes the parts and starts them. [`sources`] bring pods, [`sync_loop`] hands each
//! to its worker in [`pod_workers`], and the worker has [`runtime`] make and stop sandboxes and containers through [`cri`].
//! [`pleg`] sees what changed in the runtime, [`prober`] asks containers how they are, [`status`] tells the API server.
//! [`node`] is the Node object; [`cm`], [`images`], [`pod_options`], [`eviction`], [`admission`] and [`allocation`] are the node's
//! side of pods.
//!
//! State that outlives the process is in the runtime (labels and annotations of containers), on disk in upstream's layout, and
//! in the API server. A kubelet that starts anew finds its containers and restarts none.

pub mod app;
pub mod certificate;
pub mod config;

pub mod pod_manager;
pub mod pod_workers;
pub mod sources;
pub mod sync_loop;

pub mod container;
pub mod cri;
pub mod hooks;
pub mod images;
pub mod pleg;
pub mod prober;
pub mod runtime;
pub mod runtime_class;
pub mod status;

pub mod admission;
pub mod allocation;
pub mod backoff;
pub mod cm;
pub mod eviction;
pub mod pod_resources;

pub mod objects;
pub mod pod_options;
pub mod pod_volumes;

pub mod events;
pub mod metrics;
pub mod node;
pub mod server;
pub mod sys;
pub mod volume;
mod wiring;
