//! Connections that the server relays: logs, exec, attach, port-forward and proxies, to kubelets, pods and services.

use crate::config::Config;

/// The client's side of an upgrade, if its connection can be upgraded.
pub type Upgrade = Option<hyper::upgrade::OnUpgrade>;

/// Dials kubelets.
pub struct Connector {}

impl Connector {
    pub fn new(_config: &Config) -> Result<Connector, component_base::Error> {
        Ok(Connector {})
    }
}
