//! The watch cache: each resource's objects in memory, their recent history, and the watchers.
//! Upstream: storage/cacher.
//!
//! - `tree`: the objects as a copy-on-write B-tree; a snapshot is one reference count.
//! - `ring`: the recent events, and snapshots ("checkpoints") every few of them, from which the state at any revision in
//!   the window is rebuilt.
//! - `cache`: both together under one lock, changed by one writer: the backend's watch hub.
//! - `watchers`: who wants to be woken by an event, indexed by namespace, name and one field.
//! - `consistency`: compares a cache with etcd now and then.
//! - `list`, `watch`: what a reader gets.
//!
//! Readers hold the lock only to copy a root pointer or a few event pointers.

pub(crate) mod cache;
pub(crate) mod consistency;
pub(crate) mod interner;
pub(crate) mod list;
pub(crate) mod ring;
pub(crate) mod tree;
pub(crate) mod watch;
pub(crate) mod watchers;
