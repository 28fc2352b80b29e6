//! What Services and EndpointSlices mean on this node. Upstream: pkg/proxy/{serviceport,endpoint,topology}.go.
//!
//! Everything here is a function of the objects: which ports of which Services are proxied in a family, and which of their endpoints
//! may be chosen. Changes only say which Services to look at again.

mod endpoints;
mod service;

pub use endpoints::{Endpoint, Endpoints, categorize, endpoints_of};
pub use service::{PortName, ServicePort, service_ports};
