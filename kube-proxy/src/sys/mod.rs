//! What the proxy asks of the kernel, behind one trait, so that everything above is tested without root.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

mod linux;

pub use linux::Linux;

/// A boxed future, for the trait's use as an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An IP family, with the words nftables and the API have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// nftables' name of the family, in table names and in rules.
    pub fn nft(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// nftables' type of an address.
    pub fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    /// The API's name, also the value of the metric label ip_family.
    pub fn api(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    pub fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// Names of the objects in a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableNames {
    pub chains: BTreeSet<String>,
    pub sets: BTreeSet<String>,
    pub maps: BTreeSet<String>,
}

/// A UDP flow as the kernel tracks it: what the client sent to, and who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub source: IpAddr,
    pub source_port: u16,
    pub destination: IpAddr,
    pub destination_port: u16,
    /// Where replies come from: the endpoint that was chosen.
    pub reply_source: IpAddr,
}

/// The kernel refused, or a tool is missing.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("cannot run {tool}: {source}; is its package installed?")]
    Start {
        tool: &'static str,
        source: std::io::Error,
    },
    #[error("{tool} failed: {message}")]
    Failed { tool: &'static str, message: String },
    #[error("cannot write {path}: {source}")]
    Write {
        path: String,
        source: std::io::Error,
    },
}

/// The kernel's packet filter, connection tracking and settings.
pub trait Kernel: Send + Sync {
    /// Applies commands of nft's language, all or nothing.
    fn apply<'a>(&'a self, commands: &'a str) -> BoxFuture<'a, Result<(), KernelError>>;

    /// What a table holds, by name; None when there is no such table.
    fn table<'a>(
        &'a self,
        family: Family,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Option<TableNames>, KernelError>>;

    /// Whether the kernel has the family at all.
    fn supports(&self, family: Family) -> bool;

    /// All tracked UDP flows of a family.
    fn udp_flows(&self, family: Family) -> BoxFuture<'_, Result<Vec<Flow>, KernelError>>;

    fn delete_udp_flow<'a>(&'a self, flow: &'a Flow) -> BoxFuture<'a, Result<(), KernelError>>;

    /// The value of a kernel setting such as `net/netfilter/nf_conntrack_max`; None where it does not exist.
    fn sysctl(&self, name: &str) -> Option<i64>;

    fn set_sysctl(&self, name: &str, value: i64) -> Result<(), KernelError>;
}
