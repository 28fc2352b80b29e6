//! Access to etcd: connections, transactions, leases, the watch that feeds all caches, compaction.
//! Upstream: storage/etcd3, storage/storagebackend/factory.

pub(crate) mod backend;
pub(crate) mod client;
pub(crate) mod compact;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod hub;
pub(crate) mod lease;
pub(crate) mod list;
pub(crate) mod revision;
pub(crate) mod store;
pub(crate) mod watch;
