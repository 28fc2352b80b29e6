//! From Services to nftables rules. Upstream: pkg/proxy/nftables.
//!
//! Layout: one table `kube-proxy` per family. Base chains jump to dispatch chains, those look a packet up in verdict maps, and a map's
//! element goes to the chain of one Service port. So a change of one Service touches its own chains and elements only.
//!
//! Invariants: a transaction is applied whole or not at all; after a failed one everything is written anew, since what the kernel holds
//! is then not known; a chain is emptied in one transaction and deleted in a later one, since kernels refuse to delete a chain that an
//! element of the same transaction still pointed to.

pub mod fragment;
mod layout;
mod names;
mod sync;
pub mod table;
pub mod transaction;

pub use layout::Layout;
pub use sync::{BY_SERVICE, Proxier, ProxierConfig, Surroundings};

/// The table's name, in both families.
pub const TABLE: &str = "kube-proxy";

/// How traffic from pods of this node is told from other traffic. Upstream: proxyutil.LocalTrafficDetector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LocalDetector {
    /// Not known: then nothing is masqueraded for coming from elsewhere.
    #[default]
    None,
    /// Sources in a range are local.
    Range(ipnet::IpNet),
    /// What comes in through a bridge is local.
    Bridge(String),
    /// What comes in through interfaces with a prefix is local.
    InterfacePrefix(String),
}

impl LocalDetector {
    /// The condition that traffic is local, as nft writes it.
    pub fn if_local(&self) -> Option<String> {
        self.condition("")
    }

    /// The condition that traffic is not local.
    pub fn if_not_local(&self) -> Option<String> {
        self.condition("!= ")
    }

    fn condition(&self, operator: &str) -> Option<String> {
        match self {
            Self::None => None,
            Self::Range(range) if range.addr().is_ipv4() => {
                Some(format!("ip saddr {operator}{range}"))
            }
            Self::Range(range) => Some(format!("ip6 saddr {operator}{range}")),
            Self::Bridge(name) => Some(format!("iifname {operator}{name}")),
            Self::InterfacePrefix(prefix) => Some(format!("iifname {operator}{prefix}*")),
        }
    }
}
