//! Ends UDP flows whose endpoint has gone. Upstream: pkg/proxy/conntrack/cleanup.go.
//!
//! UDP has no end of a connection: a client that keeps sending from one port keeps its flow, and with it an endpoint that is no more.
//! TCP connections end by themselves, and are left alone.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::sys::{Family, Flow, Kernel, KernelError};
use crate::tracker::{Endpoint, ServicePort};

/// Deletes the stale flows of these ports; returns how many.
pub async fn clean(
    kernel: &dyn Kernel,
    family: Family,
    ports: &[(&ServicePort, &[Endpoint])],
) -> Result<usize, KernelError> {
    let flows = kernel.udp_flows(family).await?;
    let mut deleted = 0;
    for flow in stale(&flows, ports) {
        kernel.delete_udp_flow(flow).await?;
        deleted += 1;
    }
    Ok(deleted)
}

/// Flows to a port's addresses that are answered by something else than one of its serving endpoints. A port without endpoints is left
/// alone: its flows cannot be sent elsewhere.
fn stale<'a>(flows: &'a [Flow], ports: &[(&ServicePort, &[Endpoint])]) -> Vec<&'a Flow> {
    let mut by_address: HashMap<(IpAddr, u16), HashSet<IpAddr>> = HashMap::new();
    let mut by_node_port: HashMap<u16, HashSet<IpAddr>> = HashMap::new();
    for (port, endpoints) in ports {
        let serving: HashSet<IpAddr> = endpoints
            .iter()
            .filter(|endpoint| endpoint.serving)
            .map(|endpoint| endpoint.address)
            .collect();
        if serving.is_empty() {
            continue;
        }
        for address in std::iter::once(&port.cluster_ip)
            .chain(&port.external_ips)
            .chain(&port.load_balancer_ips)
        {
            by_address
                .entry((*address, port.port))
                .or_default()
                .extend(&serving);
        }
        if port.node_port != 0 {
            by_node_port
                .entry(port.node_port)
                .or_default()
                .extend(&serving);
        }
    }
    let wrong = |flow: &&Flow| {
        // A flow that was not sent on by a rule has its destination as its answerer.
        let serving = by_address
            .get(&(flow.destination, flow.destination_port))
            .or_else(|| by_node_port.get(&flow.destination_port));
        serving.is_some_and(|serving| !serving.contains(&flow.reply_source))
    };
    flows.iter().filter(wrong).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::PortName;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn flow(destination: &str, port: u16, reply: &str) -> Flow {
        Flow {
            source: address("10.244.9.9"),
            source_port: 4000,
            destination: address(destination),
            destination_port: port,
            reply_source: address(reply),
        }
    }

    #[test]
    fn flows_of_endpoints_that_are_gone() {
        let port = ServicePort {
            name: PortName {
                namespace: "kube-system".into(),
                service: "dns".into(),
                port: "dns".into(),
                protocol: "udp",
            },
            cluster_ip: address("10.96.0.10"),
            port: 53,
            node_port: 30053,
            external_ips: Vec::new(),
            load_balancer_ips: vec![address("192.0.2.1")],
            load_balancer_source_ranges: Vec::new(),
            affinity_seconds: None,
            internal_policy_local: false,
            external_policy_local: false,
            health_check_node_port: 0,
        };
        let endpoint = |text: &str, serving| Endpoint {
            address: address(text),
            port: 53,
            local: false,
            ready: serving,
            serving,
            terminating: false,
            zone_hints: Vec::new(),
            node_hints: Vec::new(),
        };
        let endpoints = [endpoint("10.244.0.1", true), endpoint("10.244.0.2", false)];
        let flows = [
            flow("10.96.0.10", 53, "10.244.0.1"),
            flow("10.96.0.10", 53, "10.244.0.2"),
            flow("10.96.0.10", 53, "10.96.0.10"),
            flow("192.0.2.1", 53, "10.244.0.7"),
            flow("172.16.0.1", 30053, "10.244.0.7"),
            flow("10.96.0.99", 53, "10.244.0.7"),
        ];
        let found: Vec<usize> = stale(&flows, &[(&port, &endpoints)])
            .iter()
            .filter_map(|flow| flows.iter().position(|other| other == *flow))
            .collect();
        assert_eq!(found, [1, 2, 3, 4]);
        assert!(
            stale(&flows, &[(&port, &[])]).is_empty(),
            "without endpoints nothing is deleted"
        );
    }
}
