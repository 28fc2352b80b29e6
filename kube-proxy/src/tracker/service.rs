//! One port of one Service in one family. Upstream: proxy.BaseServicePortInfo.

use std::fmt;
use std::net::IpAddr;

use api_types::core::v1::Service;
use ipnet::IpNet;

use crate::sys::Family;

/// The port's identity: `namespace/service:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortName {
    pub namespace: String,
    pub service: String,
    /// Empty for a Service with one unnamed port.
    pub port: String,
    /// tcp, udp or sctp.
    pub protocol: &'static str,
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service)?;
        if self.port.is_empty() {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

/// What the proxy needs to know of a port.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    pub name: PortName,
    pub cluster_ip: IpAddr,
    pub port: u16,
    /// 0 for none.
    pub node_port: u16,
    pub external_ips: Vec<IpAddr>,
    /// Load balancer addresses that are handled here (ipMode VIP).
    pub load_balancer_ips: Vec<IpAddr>,
    pub load_balancer_source_ranges: Vec<IpNet>,
    /// Seconds for which a client stays with its endpoint; None without session affinity.
    pub affinity_seconds: Option<u32>,
    pub internal_policy_local: bool,
    pub external_policy_local: bool,
    /// 0 for none.
    pub health_check_node_port: u16,
}

impl ServicePort {
    pub fn externally_accessible(&self) -> bool {
        self.node_port != 0 || !self.load_balancer_ips.is_empty() || !self.external_ips.is_empty()
    }

    /// Whether traffic may go to any endpoint of the cluster. With an external policy of Local, traffic from pods still may.
    pub fn uses_cluster_endpoints(&self) -> bool {
        !self.internal_policy_local || self.externally_accessible()
    }

    /// Whether some traffic may go to endpoints of this node only.
    pub fn uses_local_endpoints(&self) -> bool {
        self.internal_policy_local || (self.external_policy_local && self.externally_accessible())
    }
}

/// The ports of a Service that are proxied in a family; none for headless and external-name Services.
pub fn service_ports(service: &Service, family: Family) -> Vec<ServicePort> {
    const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
    let spec = &service.spec;
    if spec.type_ == "ExternalName"
        || spec.cluster_ip == "None"
        || spec.cluster_ip.is_empty()
        || service.metadata.labels.contains_key(PROXY_NAME_LABEL)
    {
        return Vec::new();
    }
    let all = if spec.cluster_ips.is_empty() {
        std::slice::from_ref(&spec.cluster_ip)
    } else {
        &spec.cluster_ips
    };
    let Some(cluster_ip) = addresses(all, family).into_iter().next() else {
        return Vec::new();
    };
    let affinity_seconds = (spec.session_affinity == "ClientIP").then(|| {
        let configured = spec
            .session_affinity_config
            .as_ref()
            .and_then(|config| config.client_ip.as_ref())
            .and_then(|config| config.timeout_seconds);
        u32::try_from(configured.unwrap_or(10800)).unwrap_or(10800)
    });
    let ingress = service
        .status
        .load_balancer
        .ingress
        .iter()
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .map(|ingress| ingress.ip.clone());
    let load_balancer_ips = addresses(&ingress.collect::<Vec<_>>(), family);
    let external_policy_local = spec.external_traffic_policy == "Local"
        && spec.type_ != "ClusterIP"
        || spec.external_traffic_policy == "Local" && !spec.external_ips.is_empty();
    spec.ports
        .iter()
        .filter_map(|port| {
            Some(ServicePort {
                name: PortName {
                    namespace: service.metadata.namespace.clone(),
                    service: service.metadata.name.clone(),
                    port: port.name.clone(),
                    protocol: protocol(&port.protocol)?,
                },
                cluster_ip,
                port: u16::try_from(port.port).ok()?,
                node_port: u16::try_from(port.node_port).unwrap_or_default(),
                external_ips: addresses(&spec.external_ips, family),
                load_balancer_ips: load_balancer_ips.clone(),
                load_balancer_source_ranges: source_ranges(service, family),
                affinity_seconds,
                internal_policy_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
                external_policy_local,
                health_check_node_port: if external_policy_local {
                    u16::try_from(spec.health_check_node_port).unwrap_or_default()
                } else {
                    0
                },
            })
        })
        .collect()
}

/// The protocol's name in rules; None for one that no rule can match.
pub(super) fn protocol(name: &str) -> Option<&'static str> {
    match name {
        "TCP" | "" => Some("tcp"),
        "UDP" => Some("udp"),
        "SCTP" => Some("sctp"),
        _ => None,
    }
}

/// Addresses of a family. Old objects may hold leading zeros, which mean decimal numbers here as in the rest of the cluster.
fn addresses(texts: &[String], family: Family) -> Vec<IpAddr> {
    texts
        .iter()
        .filter_map(|text| apimachinery::validation::parse_ip_sloppy(text.trim()))
        .filter(|address| Family::of(address) == family)
        .collect()
}

fn source_ranges(service: &Service, family: Family) -> Vec<IpNet> {
    let ranges = service
        .spec
        .load_balancer_source_ranges
        .iter()
        .filter_map(|range| range.trim().parse::<IpNet>().ok())
        .map(|range| range.trunc());
    ranges
        .filter(|range| Family::of(&range.addr()) == family)
        .collect()
}
