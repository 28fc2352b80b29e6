//! The Node object of this kubelet: registered, kept current, and its Lease renewed.
//!
//! Upstream: `pkg/kubelet/kubelet_node_status.go`, `nodestatus/setters.go`, `component-helpers/apimachinery/lease`.

mod lease;
pub mod machine;
mod register;
pub mod status;
mod watch;

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};

use api_types::Quantity;
use api_types::core::v1::{Node, NodeAddress, Taint};
use arc_swap::ArcSwap;

pub use lease::renew_lease;
pub use register::{NodeConditions, NodeReporter, Registration};
pub use watch::watch_node;

use self::machine::Machine;

/// Facts about this node that others ask for.
pub struct NodeInfo {
    /// Name of the Node object.
    pub name: String,
    /// Host name.
    pub hostname: String,
    /// The machine.
    pub machine: Machine,
    node_ips: Vec<IpAddr>,
    capacity: BTreeMap<String, Quantity>,
    allocatable: BTreeMap<String, Quantity>,
    /// The Node object as last seen; none before it was registered.
    object: ArcSwap<Option<Node>>,
}

impl NodeInfo {
    /// Puts the facts together. Without addresses from `--node-ip` the one of the default route is taken.
    #[must_use]
    pub fn new(
        name: &str,
        hostname: &str,
        machine: Machine,
        node_ips: &[IpAddr],
        capacity: BTreeMap<String, Quantity>,
        allocatable: BTreeMap<String, Quantity>,
    ) -> Self {
        let specified: Vec<IpAddr> = node_ips
            .iter()
            .copied()
            .filter(|ip| !ip.is_unspecified())
            .collect();
        let node_ips = if specified.is_empty() {
            default_route_ip().into_iter().collect()
        } else {
            specified
        };
        NodeInfo {
            name: name.to_owned(),
            hostname: hostname.to_owned(),
            machine,
            node_ips,
            capacity,
            allocatable,
            object: ArcSwap::default(),
        }
    }

    /// Addresses of the node, first family first.
    #[must_use]
    pub fn node_ips(&self) -> &[IpAddr] {
        &self.node_ips
    }

    /// Addresses as pods see them in `status.hostIP(s)`.
    #[must_use]
    pub fn host_ips(&self) -> Vec<String> {
        self.node_ips.iter().map(IpAddr::to_string).collect()
    }

    /// Addresses for the Node object.
    #[must_use]
    pub fn addresses(&self) -> Vec<NodeAddress> {
        let address = |type_: &str, address: String| NodeAddress {
            type_: type_.to_owned(),
            address,
        };
        let mut addresses: Vec<NodeAddress> = self
            .node_ips
            .iter()
            .map(|ip| address("InternalIP", ip.to_string()))
            .collect();
        addresses.push(address("Hostname", self.hostname.clone()));
        addresses
    }

    /// All there is.
    #[must_use]
    pub fn capacity(&self) -> BTreeMap<String, Quantity> {
        self.capacity.clone()
    }

    /// What pods may use.
    #[must_use]
    pub fn allocatable(&self) -> BTreeMap<String, Quantity> {
        self.allocatable.clone()
    }

    /// Remembers the Node object, unless a newer state of it is known: answers to writes and the watch overtake each other.
    pub fn set_object(&self, node: Node) {
        let version = |node: &Node| node.metadata.resource_version.parse::<u64>().ok();
        let node = std::sync::Arc::new(Some(node));
        self.object
            .rcu(|known| match (known.as_ref(), node.as_ref()) {
                (Some(known_node), Some(new))
                    if known_node.metadata.uid == new.metadata.uid
                        && version(known_node) > version(new) =>
                {
                    std::sync::Arc::clone(known)
                }
                _ => std::sync::Arc::clone(&node),
            });
    }

    /// Labels of the Node object; the ones it would be registered with before that.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        match self.object.load().as_ref() {
            Some(node) => node.metadata.labels.clone(),
            None => register::default_labels(&self.hostname),
        }
    }

    /// Taints of the Node object.
    #[must_use]
    pub fn taints(&self) -> Vec<Taint> {
        self.object
            .load()
            .as_ref()
            .as_ref()
            .map(|node| node.spec.taints.clone())
            .unwrap_or_default()
    }

    /// UID of the Node object.
    #[must_use]
    pub fn uid(&self) -> Option<String> {
        self.object
            .load()
            .as_ref()
            .as_ref()
            .map(|node| node.metadata.uid.clone())
    }
}

/// The address the default route would use. Nothing is sent.
fn default_route_ip() -> Option<IpAddr> {
    for (local, remote) in [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
        let found = UdpSocket::bind(local).and_then(|socket| {
            socket.connect(remote)?;
            socket.local_addr()
        });
        if let Ok(address) = found
            && !address.ip().is_unspecified()
        {
            return Some(address.ip());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_state_of_the_node_is_not_remembered() {
        let node = NodeInfo::new(
            "n",
            "n",
            Machine::default(),
            &[],
            BTreeMap::new(),
            BTreeMap::new(),
        );
        let state = |uid: &str, version: &str, label: &str| {
            let mut state = Node::default();
            state.metadata.uid = uid.to_owned();
            state.metadata.resource_version = version.to_owned();
            state.metadata.labels = [("l".to_owned(), label.to_owned())].into();
            state
        };
        for (uid, version, label, seen) in [
            ("a", "9", "first", "first"),
            ("a", "10", "newer", "newer"),
            ("a", "9", "late", "newer"),
            ("a", "10", "same", "same"),
            ("b", "1", "another node", "another node"),
        ] {
            node.set_object(state(uid, version, label));
            assert_eq!(node.labels()["l"], seen, "after {label}");
        }
    }
}
