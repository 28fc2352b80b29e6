//! Integration tests against a real etcd. They pass with a message when there is no `etcd` in PATH.

use apiserver::storage as under_test;

/// The API as clients see it.
mod api;
/// Storage by itself.
mod storage;
