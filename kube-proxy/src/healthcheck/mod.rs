//! Health of the proxy and of Services' local endpoints. Upstream: pkg/proxy/healthcheck.

mod proxy;
mod service;

pub use proxy::ProxyHealth;
pub use service::ServiceHealth;
