//! The part of the table that does not depend on Services: base chains, dispatch, empty sets and maps.

use std::net::IpAddr;

use ipnet::IpNet;

use super::LocalDetector;
use super::transaction::Transaction;
use crate::sys::Family;

pub(super) const CLUSTER_IPS: &str = "cluster-ips";
pub(super) const NODE_PORT_IPS: &str = "nodeport-ips";
pub(super) const HAIRPIN: &str = "hairpin-connections";
pub(super) const SERVICE_IPS: &str = "service-ips";
pub(super) const SERVICE_NODE_PORTS: &str = "service-nodeports";
pub(super) const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
pub(super) const NO_ENDPOINT_NODE_PORTS: &str = "no-endpoint-nodeports";
pub(super) const FIREWALL_IPS: &str = "firewall-ips";
pub(super) const REJECT: &str = "reject-chain";

/// Name, type, hook and priority. Before DNAT is ten below nftables' `dstnat`.
const BASE_CHAINS: [(&str, &str, &str, i32); 8] = [
    ("filter-prerouting-pre-dnat", "filter", "prerouting", -110),
    ("filter-output-pre-dnat", "filter", "output", -110),
    ("filter-input", "filter", "input", 0),
    ("filter-forward", "filter", "forward", 0),
    ("filter-output", "filter", "output", 0),
    ("nat-prerouting", "nat", "prerouting", -100),
    ("nat-output", "nat", "output", -100),
    ("nat-postrouting", "nat", "postrouting", 100),
];

/// From, to, and whether only the first packet of a connection goes there.
const JUMPS: [(&str, &str, bool); 11] = [
    ("filter-input", "nodeport-endpoints-check", true),
    ("filter-input", "service-endpoints-check", true),
    ("filter-forward", "service-endpoints-check", true),
    ("filter-forward", "cluster-ips-check", true),
    ("filter-output", "service-endpoints-check", true),
    ("filter-output", "cluster-ips-check", true),
    ("filter-prerouting-pre-dnat", "firewall-check", true),
    ("filter-output-pre-dnat", "firewall-check", true),
    ("nat-output", "services", false),
    ("nat-prerouting", "services", false),
    ("nat-postrouting", "masquerading", false),
];

const DISPATCH_CHAINS: [&str; 7] = [
    "nodeport-endpoints-check",
    "service-endpoints-check",
    "cluster-ips-check",
    "firewall-check",
    "services",
    "masquerading",
    REJECT,
];

/// What the layout depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    pub family: Family,
    /// The bit of the packet mark that asks for masquerading.
    pub masquerade_bit: u32,
    pub masquerade_all: bool,
    pub local: LocalDetector,
    pub service_ranges: Vec<IpNet>,
    /// None: node ports answer on every local address.
    pub node_port_addresses: Option<Vec<IpAddr>>,
}

impl Layout {
    /// The statement that marks a packet for masquerading.
    pub(super) fn masquerade(&self) -> String {
        format!("mark set mark or {:#x}", self.mark())
    }

    fn mark(&self) -> u32 {
        1u32.checked_shl(self.masquerade_bit).unwrap_or(1 << 14)
    }

    /// Writes everything, over whatever is there: existing chains are emptied, sets and maps too.
    pub(super) fn write(&self, tx: &mut Transaction, first: bool) {
        tx.add_table();
        if first {
            // An older release may have other hooks or priorities under these names: made anew, they are right.
            for (name, ..) in BASE_CHAINS {
                tx.add_chain(name);
                tx.flush_chain(name);
                tx.delete_chain(name);
            }
        }
        for (name, kind, hook, priority) in BASE_CHAINS {
            tx.add_base_chain(name, kind, hook, priority);
            tx.flush_chain(name);
        }
        for name in DISPATCH_CHAINS {
            tx.add_chain(name);
            tx.flush_chain(name);
        }
        for (from, to, new_only) in JUMPS {
            let condition = if new_only { "ct state new " } else { "" };
            tx.add_rule(from, &format!("{condition}jump {to}"));
        }
        self.write_containers(tx);
        self.write_dispatch(tx);
    }

    fn write_containers(&self, tx: &mut Transaction) {
        let address = self.family.address_type();
        tx.add_set(
            HAIRPIN,
            &format!("{address} . {address} . inet_proto . inet_service"),
            "service hairpin connections",
        );
        tx.add_set(CLUSTER_IPS, address, "Active ClusterIPs");
        tx.add_set(NODE_PORT_IPS, address, "IPs that accept NodePort traffic");
        let by_address = format!("{address} . inet_proto . inet_service");
        let by_port = "inet_proto . inet_service";
        tx.add_map(
            NO_ENDPOINT_SERVICES,
            &by_address,
            "vmap to drop or reject packets to services with no endpoints",
        );
        tx.add_map(
            NO_ENDPOINT_NODE_PORTS,
            by_port,
            "vmap to drop or reject packets to service nodeports with no endpoints",
        );
        tx.add_map(
            FIREWALL_IPS,
            &by_address,
            "destinations that are subject to LoadBalancerSourceRanges",
        );
        tx.add_map(
            SERVICE_IPS,
            &by_address,
            "ClusterIP, ExternalIP and LoadBalancer IP traffic",
        );
        tx.add_map(SERVICE_NODE_PORTS, by_port, "NodePort traffic");
        for set in [HAIRPIN, CLUSTER_IPS, NODE_PORT_IPS] {
            tx.flush_set(set);
        }
        for map in [
            NO_ENDPOINT_SERVICES,
            NO_ENDPOINT_NODE_PORTS,
            FIREWALL_IPS,
            SERVICE_IPS,
            SERVICE_NODE_PORTS,
        ] {
            tx.flush_map(map);
        }
        match &self.node_port_addresses {
            None => tx.delete_set(NODE_PORT_IPS),
            Some(addresses) => {
                for address in addresses {
                    tx.add_element(NODE_PORT_IPS, &address.to_string());
                }
            }
        }
    }

    fn write_dispatch(&self, tx: &mut Transaction) {
        let ip = self.family.nft();
        let destination = format!("{ip} daddr . meta l4proto . th dport");
        let mark = self.mark();
        tx.add_rule(
            "masquerading",
            &format!("mark and {mark:#x} != 0 mark set mark xor {mark:#x} masquerade fully-random"),
        );
        tx.add_rule("masquerading", &format!("ct status dnat {ip} saddr . {ip} daddr . meta l4proto . th dport @{HAIRPIN} masquerade fully-random"));

        tx.add_rule("cluster-ips-check", &format!("{ip} daddr @{CLUSTER_IPS} reject comment \"Reject traffic to invalid ports of ClusterIPs\""));
        if !self.service_ranges.is_empty() {
            let ranges: Vec<String> = self
                .service_ranges
                .iter()
                .map(ToString::to_string)
                .collect();
            tx.add_rule(
                "cluster-ips-check",
                &format!(
                    "{ip} daddr {{ {} }} drop comment \"Drop traffic to unallocated ClusterIPs\"",
                    ranges.join(", ")
                ),
            );
        }
        tx.add_rule(REJECT, "reject");
        tx.add_rule(
            "service-endpoints-check",
            &format!("{destination} vmap @{NO_ENDPOINT_SERVICES}"),
        );
        tx.add_rule(
            "firewall-check",
            &format!("{destination} vmap @{FIREWALL_IPS}"),
        );

        if self.masquerade_all {
            tx.add_rule(
                "services",
                &format!(
                    "{ip} daddr @{CLUSTER_IPS} {} comment \"masquerade all clusterIP traffic\"",
                    self.masquerade()
                ),
            );
        } else if let Some(not_local) = self.local.if_not_local() {
            tx.add_rule("services", &format!("{ip} daddr @{CLUSTER_IPS} {not_local} {} comment \"masquerade clusterIP traffic from outside cluster\"", self.masquerade()));
        }
        tx.add_rule("services", &format!("{destination} vmap @{SERVICE_IPS}"));

        // Node ports of localhost are not supported: packets from there cannot be sent on to other machines.
        let localhost = if self.family == Family::V4 {
            "127.0.0.0/8"
        } else {
            "::1"
        };
        let (checked, dispatched) = match &self.node_port_addresses {
            None => (
                format!("{ip} daddr != {localhost}"),
                format!("fib daddr type local {ip} daddr != {localhost}"),
            ),
            Some(_) => (
                format!("{ip} daddr @{NODE_PORT_IPS}"),
                format!("{ip} daddr @{NODE_PORT_IPS}"),
            ),
        };
        tx.add_rule(
            "nodeport-endpoints-check",
            &format!("{checked} meta l4proto . th dport vmap @{NO_ENDPOINT_NODE_PORTS}"),
        );
        tx.add_rule(
            "services",
            &format!("{dispatched} meta l4proto . th dport vmap @{SERVICE_NODE_PORTS}"),
        );
    }
}
