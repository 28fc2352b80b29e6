//! What one Service port puts into the table: pure, from the port and its endpoints. Upstream: the loop of syncProxyRules.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::layout::{
    CLUSTER_IPS, FIREWALL_IPS, HAIRPIN, Layout, NO_ENDPOINT_NODE_PORTS, NO_ENDPOINT_SERVICES,
    REJECT, SERVICE_IPS, SERVICE_NODE_PORTS,
};
use super::names;
use crate::tracker::{Endpoint, Endpoints, ServicePort};

/// An element of a set or map. Elements of different ports may be equal; a set holds them once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ElementKey {
    pub container: &'static str,
    pub key: String,
}

/// The rules and elements of one Service port in one family.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fragment {
    /// Chains with their rules, in order.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Elements, and for those of maps the rest of the element: `comment "..." : verdict`.
    pub elements: BTreeMap<ElementKey, String>,
    pub affinity_sets: BTreeMap<String, Duration>,
    /// Traffic of the policy has nowhere to go on this node: counted in a metric.
    pub no_local_internal: bool,
    pub no_local_external: bool,
}

impl Fragment {
    fn set(&mut self, container: &'static str, key: String) {
        self.elements
            .insert(ElementKey { container, key }, String::new());
    }

    fn verdict(&mut self, container: &'static str, key: String, verdict: &str) {
        self.elements
            .insert(ElementKey { container, key }, format!(": {verdict}"));
    }

    fn commented(&mut self, container: &'static str, key: String, comment: &str, verdict: &str) {
        self.elements.insert(
            ElementKey { container, key },
            format!("comment \"{comment}\" : {verdict}"),
        );
    }
}

/// Works out the fragment. `node_address` decides whether a load balancer's source ranges include this node.
pub fn fragment(
    port: &ServicePort,
    endpoints: &Endpoints,
    layout: &Layout,
    node_address: Option<IpAddr>,
) -> Fragment {
    let mut result = Fragment::default();
    let chains = Chains::new(port);
    let protocol = port.name.protocol;
    let reachable = endpoints.reachable();

    for endpoint in reachable.iter().filter(|endpoint| endpoint.local) {
        result.set(
            HAIRPIN,
            format!(
                "{0} . {0} . {protocol} . {1}",
                endpoint.address, endpoint.port
            ),
        );
    }

    // Where traffic goes, and what happens to traffic that has nowhere to go.
    let internal_to = if port.internal_policy_local {
        &chains.local
    } else {
        &chains.cluster
    };
    let external_to = if port.external_policy_local {
        &chains.local
    } else {
        &chains.cluster
    };
    let internal_any = endpoints.any && !(port.internal_policy_local && endpoints.local.is_empty());
    let external_any = endpoints.any && !(port.external_policy_local && endpoints.local.is_empty());
    let refusal = if endpoints.any {
        "drop".to_owned()
    } else {
        format!("goto {REJECT}")
    };
    result.no_local_internal = endpoints.any && !internal_any;
    result.no_local_external = endpoints.any && !external_any;

    let comment = port.name.to_string();
    let address_key = |address: &IpAddr| format!("{address} . {protocol} . {}", port.port);
    result.set(CLUSTER_IPS, port.cluster_ip.to_string());
    if internal_any {
        result.verdict(
            SERVICE_IPS,
            address_key(&port.cluster_ip),
            &format!("goto {internal_to}"),
        );
    } else {
        result.commented(
            NO_ENDPOINT_SERVICES,
            address_key(&port.cluster_ip),
            &comment,
            &refusal,
        );
    }
    for address in port.external_ips.iter().chain(&port.load_balancer_ips) {
        if endpoints.any {
            result.verdict(
                SERVICE_IPS,
                address_key(address),
                &format!("goto {}", chains.external),
            );
        }
        if !external_any {
            result.commented(
                NO_ENDPOINT_SERVICES,
                address_key(address),
                &comment,
                &refusal,
            );
        }
    }
    if port.node_port != 0 {
        let key = format!("{protocol} . {}", port.node_port);
        if endpoints.any {
            result.verdict(
                SERVICE_NODE_PORTS,
                key.clone(),
                &format!("goto {}", chains.external),
            );
        }
        if !external_any {
            result.commented(NO_ENDPOINT_NODE_PORTS, key, &comment, &refusal);
        }
    }

    if !port.load_balancer_ips.is_empty() && !port.load_balancer_source_ranges.is_empty() {
        for address in &port.load_balancer_ips {
            result.verdict(
                FIREWALL_IPS,
                address_key(address),
                &format!("goto {}", chains.firewall),
            );
        }
        result.chains.insert(
            chains.firewall.clone(),
            vec![firewall_rule(port, layout, node_address)],
        );
    }
    if endpoints.any && port.externally_accessible() {
        result.chains.insert(
            chains.external.clone(),
            external_rules(
                port,
                layout,
                &chains.cluster,
                external_any.then_some(external_to.as_str()),
            ),
        );
    }
    endpoint_chains(&mut result, port, endpoints, layout, &chains);
    result
}

struct Chains {
    cluster: String,
    local: String,
    external: String,
    firewall: String,
}

impl Chains {
    fn new(port: &ServicePort) -> Self {
        let base = names::base(&port.name);
        Self {
            cluster: format!("service-{base}"),
            local: format!("local-{base}"),
            external: format!("external-{base}"),
            firewall: format!("firewall-{base}"),
        }
    }
}

/// Only the allowed sources pass.
fn firewall_rule(port: &ServicePort, layout: &Layout, node_address: Option<IpAddr>) -> String {
    let mut sources: Vec<String> = port
        .load_balancer_source_ranges
        .iter()
        .map(ToString::to_string)
        .collect();
    // If the node may, then also when it speaks from the load balancer's address, which it has as its own in some set-ups.
    if node_address.is_some_and(|address| {
        port.load_balancer_source_ranges
            .iter()
            .any(|range| range.contains(&address))
    }) {
        sources.extend(port.load_balancer_ips.iter().map(ToString::to_string));
    }
    format!(
        "{} saddr != {{ {} }} drop",
        layout.family.nft(),
        sources.join(", ")
    )
}

fn external_rules(
    port: &ServicePort,
    layout: &Layout,
    cluster: &str,
    to: Option<&str>,
) -> Vec<String> {
    let masquerade = layout.masquerade();
    let mut rules = Vec::new();
    if port.external_policy_local {
        // Pods and the node itself reach all endpoints, as if they had used the ClusterIP.
        if let Some(local) = layout.local.if_local() {
            rules.push(format!(
                "{local} goto {cluster} comment \"short-circuit pod traffic\""
            ));
        }
        rules.push(format!(
            "fib saddr type local {masquerade} comment \"masquerade local traffic\""
        ));
        rules.push(format!(
            "fib saddr type local goto {cluster} comment \"short-circuit local traffic\""
        ));
    } else {
        rules.push(format!("{masquerade} comment \"masquerade\""));
    }
    rules.extend(to.map(|chain| format!("goto {chain}")));
    rules
}

fn endpoint_chains(
    result: &mut Fragment,
    port: &ServicePort,
    endpoints: &Endpoints,
    layout: &Layout,
    chains: &Chains,
) {
    let sides = [
        (
            &chains.cluster,
            &endpoints.cluster,
            port.uses_cluster_endpoints(),
        ),
        (&chains.local, &endpoints.local, port.uses_local_endpoints()),
    ];
    for (chain, endpoints, used) in sides {
        if used && !endpoints.is_empty() {
            let rules = if port.affinity_seconds.is_some() {
                affinity_rules(port, endpoints, layout)
            } else {
                vec![dnat_rule(port, endpoints, layout)]
            };
            result.chains.insert(chain.clone(), rules);
        }
    }
    let Some(seconds) = port.affinity_seconds else {
        return;
    };
    let ip = layout.family.nft();
    for endpoint in endpoints.reachable() {
        let base = names::endpoint_base(&port.name, endpoint.address, endpoint.port);
        let set = format!("affinity-{base}");
        let rules = vec![
            format!("update @{set} {{ {ip} saddr }}"),
            format!(
                "meta l4proto {} dnat to {}",
                port.name.protocol,
                std::net::SocketAddr::new(endpoint.address, endpoint.port)
            ),
        ];
        result.chains.insert(format!("endpoint-{base}"), rules);
        result
            .affinity_sets
            .insert(set, Duration::from_secs(u64::from(seconds)));
    }
}

/// One rule that picks an endpoint at random.
fn dnat_rule(port: &ServicePort, endpoints: &[Endpoint], layout: &Layout) -> String {
    let choices: Vec<String> = endpoints
        .iter()
        .enumerate()
        .map(|(index, endpoint)| format!("{index} : {} . {}", endpoint.address, endpoint.port))
        .collect();
    format!(
        "meta l4proto {} dnat {} addr . port to numgen random mod {} map {{ {} }}",
        port.name.protocol,
        layout.family.nft(),
        endpoints.len(),
        choices.join(", ")
    )
}

/// Clients that were seen go where they went before; others are spread.
fn affinity_rules(port: &ServicePort, endpoints: &[Endpoint], layout: &Layout) -> Vec<String> {
    let ip = layout.family.nft();
    let bases: Vec<String> = endpoints
        .iter()
        .map(|endpoint| names::endpoint_base(&port.name, endpoint.address, endpoint.port))
        .collect();
    let mut rules: Vec<String> = bases
        .iter()
        .map(|base| format!("{ip} saddr @affinity-{base} goto endpoint-{base}"))
        .collect();
    let choices: Vec<String> = bases
        .iter()
        .enumerate()
        .map(|(index, base)| format!("{index} : goto endpoint-{base}"))
        .collect();
    rules.push(format!(
        "numgen random mod {} vmap {{ {} }}",
        endpoints.len(),
        choices.join(", ")
    ));
    rules
}

#[cfg(test)]
mod tests;
