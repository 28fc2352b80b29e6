//! What each built-in kind demands of its objects. Upstream: pkg/apis and pkg/registry.

pub mod defaults;
