//! Real etcd, certificates, processes and clients for tests.
