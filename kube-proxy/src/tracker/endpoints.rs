//! Endpoints of a Service port, and which of them may be chosen. Upstream: proxy.CategorizeEndpoints and endpointslicecache.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api_types::discovery::v1::EndpointSlice;

use super::service::{ServicePort, protocol};
use crate::sys::Family;

/// One endpoint of a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
    /// On this node.
    pub local: bool,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub zone_hints: Vec<String>,
    pub node_hints: Vec<String>,
}

/// The endpoints that traffic of each policy may go to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoints {
    pub cluster: Vec<Endpoint>,
    pub local: Vec<Endpoint>,
    /// Whether the Service has any endpoint that takes traffic, here or elsewhere.
    pub any: bool,
}

impl Endpoints {
    /// All that rules of this node refer to, once each.
    pub fn reachable(&self) -> Vec<&Endpoint> {
        let mut all: Vec<&Endpoint> = self.cluster.iter().chain(&self.local).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// The endpoints of a port in a family, from all slices of its Service. An address that is in several slices counts once, and as
/// ready if one of them says so.
pub fn endpoints_of<'a>(
    port: &ServicePort,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    family: Family,
    node: &str,
) -> Vec<Endpoint> {
    let mut found: BTreeMap<(IpAddr, u16), Endpoint> = BTreeMap::new();
    for slice in slices
        .into_iter()
        .filter(|slice| slice.address_type == family.api())
    {
        let ports = slice.ports.iter().filter(|candidate| {
            candidate.name.as_deref().unwrap_or_default() == port.name.port
                && protocol(candidate.protocol.as_deref().unwrap_or_default())
                    == Some(port.name.protocol)
        });
        for number in ports.filter_map(|port| u16::try_from(port.port?).ok()) {
            for endpoint in &slice.endpoints {
                // All addresses of an endpoint are equal; the first stands for it.
                let Some(address) = endpoint
                    .addresses
                    .first()
                    .and_then(|address| apimachinery::validation::parse_ip_sloppy(address))
                else {
                    continue;
                };
                let ready = endpoint.conditions.ready.unwrap_or(true);
                let hints = endpoint.hints.as_deref();
                let candidate = Endpoint {
                    address,
                    port: number,
                    local: endpoint.node_name.as_deref() == Some(node),
                    ready,
                    serving: endpoint.conditions.serving.unwrap_or(ready),
                    terminating: endpoint.conditions.terminating.unwrap_or(false),
                    zone_hints: hints
                        .map(|hints| {
                            hints
                                .for_zones
                                .iter()
                                .map(|zone| zone.name.clone())
                                .collect()
                        })
                        .unwrap_or_default(),
                    node_hints: hints
                        .map(|hints| {
                            hints
                                .for_nodes
                                .iter()
                                .map(|node| node.name.clone())
                                .collect()
                        })
                        .unwrap_or_default(),
                };
                match found.get(&(address, number)) {
                    Some(before) if before.ready && !candidate.ready => {}
                    _ => {
                        found.insert((address, number), candidate);
                    }
                }
            }
        }
    }
    found.into_values().collect()
}

/// Chooses by policy, readiness and hints. `zone` is this node's zone, if it has one.
pub fn categorize(
    endpoints: &[Endpoint],
    port: &ServicePort,
    node: &str,
    zone: Option<&str>,
) -> Endpoints {
    let mut result = Endpoints::default();
    let ready = |endpoint: &&Endpoint| endpoint.ready;
    let leaving = |endpoint: &&Endpoint| endpoint.serving && endpoint.terminating;
    if port.uses_cluster_endpoints() {
        let hints = usable_hints(endpoints, node, zone);
        result.cluster = endpoints
            .iter()
            .filter(ready)
            .filter(|endpoint| hints.admits(endpoint, node, zone))
            .cloned()
            .collect();
        // When all are on their way out, those that still serve are better than none.
        if result.cluster.is_empty() {
            result.cluster = endpoints.iter().filter(leaving).cloned().collect();
        }
        result.any = !result.cluster.is_empty();
    }
    if port.uses_local_endpoints() {
        result.local = endpoints
            .iter()
            .filter(|endpoint| endpoint.local)
            .filter(ready)
            .cloned()
            .collect();
        if result.local.is_empty() {
            result.local = endpoints
                .iter()
                .filter(|endpoint| endpoint.local)
                .filter(leaving)
                .cloned()
                .collect();
        }
        if !port.uses_cluster_endpoints() {
            let takes_traffic =
                |endpoint: &Endpoint| endpoint.ready || (endpoint.serving && endpoint.terminating);
            result.any = endpoints.iter().any(takes_traffic);
        }
    }
    result
}

#[derive(Clone, Copy, PartialEq)]
enum Hints {
    None,
    Zone,
    Node,
}

impl Hints {
    fn admits(self, endpoint: &Endpoint, node: &str, zone: Option<&str>) -> bool {
        match self {
            Self::None => true,
            Self::Node => endpoint.node_hints.iter().any(|hint| hint == node),
            Self::Zone => endpoint
                .zone_hints
                .iter()
                .any(|hint| Some(hint.as_str()) == zone),
        }
    }
}

/// Hints count only when every ready endpoint has one and one of them is for here; the node's come before the zone's.
fn usable_hints(endpoints: &[Endpoint], node: &str, zone: Option<&str>) -> Hints {
    let usable = |hints: Hints, of: fn(&Endpoint) -> &[String]| {
        let mut ready = endpoints
            .iter()
            .filter(|endpoint| endpoint.ready)
            .peekable();
        ready.peek().is_some()
            && endpoints
                .iter()
                .filter(|endpoint| endpoint.ready)
                .all(|endpoint| !of(endpoint).is_empty())
            && ready.any(|endpoint| hints.admits(endpoint, node, zone))
    };
    if usable(Hints::Node, |endpoint| &endpoint.node_hints) {
        return Hints::Node;
    }
    if zone.is_some() && usable(Hints::Zone, |endpoint| &endpoint.zone_hints) {
        return Hints::Zone;
    }
    Hints::None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::PortName;

    fn port(edit: impl FnOnce(&mut ServicePort)) -> ServicePort {
        let mut port = ServicePort {
            name: PortName {
                namespace: "ns".into(),
                service: "svc".into(),
                port: "p".into(),
                protocol: "tcp",
            },
            cluster_ip: "10.0.0.1".parse().expect("an address"),
            port: 80,
            node_port: 0,
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            load_balancer_source_ranges: Vec::new(),
            affinity_seconds: None,
            internal_policy_local: false,
            external_policy_local: false,
            health_check_node_port: 0,
        };
        edit(&mut port);
        port
    }

    /// `1` ready and remote, `l` local, `!` not ready, `t` terminating but serving, `d` terminating and done, `z`/`n` with a hint for here, `Z`/`N` for elsewhere.
    fn endpoints(texts: &[&str]) -> Vec<Endpoint> {
        texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let has = |letter| text.contains(letter);
                let hint = |here: char, there: char, name: &str| match (has(here), has(there)) {
                    (true, _) => vec![name.to_owned()],
                    (_, true) => vec!["elsewhere".to_owned()],
                    _ => Vec::new(),
                };
                Endpoint {
                    address: IpAddr::from([10, 1, 0, u8::try_from(index).expect("few endpoints")]),
                    port: 8080,
                    local: has('l'),
                    ready: !has('!') && !has('t') && !has('d'),
                    serving: !has('!') && !has('d'),
                    terminating: has('t') || has('d'),
                    zone_hints: hint('z', 'Z', "zone"),
                    node_hints: hint('n', 'N', "node"),
                }
            })
            .collect()
    }

    #[track_caller]
    fn check(port: &ServicePort, texts: &[&str], cluster: &[usize], local: &[usize], any: bool) {
        let all = endpoints(texts);
        let result = categorize(&all, port, "node", Some("zone"));
        let chosen = |indexes: &[usize]| {
            indexes
                .iter()
                .map(|index| all[*index].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (result.cluster, result.local, result.any),
            (chosen(cluster), chosen(local), any),
            "{texts:?}"
        );
    }

    #[test]
    fn cluster_policy() {
        let p = port(|_| {});
        check(&p, &["1", "1l"], &[0, 1], &[], true);
        check(&p, &["1", "!"], &[0], &[], true);
        check(&p, &["t", "!"], &[0], &[], true);
        check(&p, &["1", "t"], &[0], &[], true);
        check(&p, &["d", "!"], &[], &[], false);
        check(&p, &[], &[], &[], false);
    }

    #[test]
    fn hints() {
        let p = port(|_| {});
        check(&p, &["z", "Z"], &[0], &[], true);
        check(&p, &["z", "1"], &[0, 1], &[], true);
        check(&p, &["Z", "Z"], &[0, 1], &[], true);
        check(&p, &["zN", "Zn"], &[1], &[], true);
        check(&p, &["z", "Z", "!"], &[0], &[], true);
    }

    #[test]
    fn local_policies() {
        let internal = port(|port| port.internal_policy_local = true);
        check(&internal, &["1", "1l"], &[], &[1], true);
        check(&internal, &["1"], &[], &[], true);
        check(&internal, &["!l"], &[], &[], false);
        let external = port(|port| {
            port.external_policy_local = true;
            port.node_port = 30000;
        });
        check(&external, &["1", "1l"], &[0, 1], &[1], true);
        check(&external, &["1", "tl"], &[0], &[1], true);
        check(&external, &["1"], &[0], &[], true);
    }
}
