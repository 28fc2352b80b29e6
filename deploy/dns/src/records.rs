//! What a name in the cluster's zone means. Source: the Kubernetes DNS specification 1.1 and CoreDNS's kubernetes plugin.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use api_types::core::v1::{Namespace, Service};
use api_types::discovery::v1::{Endpoint, EndpointSlice};
use client::{InformerFactory, ListScope, Lister, ObjectKey, SharedInformer};
use hickory_proto::ProtoError;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Seconds that answers may be kept, as in kubeadm's configuration of CoreDNS.
const TTL: u32 = 30;
const BY_ADDRESS: &str = "address";
const BY_SERVICE: &str = "service";

/// The answer to a question about the zone.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// The name exists; `records` may be empty for the type that was asked for. `extra` goes along with SRV records.
    Found {
        records: Vec<Record>,
        extra: Vec<Record>,
    },
    /// There is no such name.
    NoSuchName,
    /// The name is not in a zone of this server.
    NotOurs,
}

/// The caches that answers come from.
pub struct Records {
    zone: Vec<String>,
    apex: Name,
    services: Lister<Service>,
    slices: Lister<EndpointSlice>,
    namespaces: Lister<Namespace>,
    synced: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Records {
    /// Sets up the caches; they fill once the factory is started. Errors when the zone is no DNS name.
    pub fn new(factory: &InformerFactory, zone: &str) -> Result<Self, ProtoError> {
        let services: SharedInformer<Service> = factory.informer();
        let slices: SharedInformer<EndpointSlice> = factory.informer_with(ListScope {
            label_selector: "kubernetes.io/service-name".to_owned(),
            ..ListScope::default()
        });
        let namespaces: SharedInformer<Namespace> = factory.informer();
        services.add_index(BY_ADDRESS, |service| {
            service
                .spec
                .cluster_ips
                .iter()
                .chain(&service.spec.external_ips)
                .cloned()
                .collect()
        });
        slices.add_index(BY_SERVICE, |slice| {
            service_of(slice).map(|key| vec![key]).unwrap_or_default()
        });
        slices.add_index(BY_ADDRESS, |slice| {
            slice
                .endpoints
                .iter()
                .flat_map(|endpoint| endpoint.addresses.iter().cloned())
                .collect()
        });
        let (a, b, c) = (services.clone(), slices.clone(), namespaces.clone());
        Self::over(
            zone,
            services.lister(),
            slices.lister(),
            namespaces.lister(),
            Box::new(move || a.has_synced() && b.has_synced() && c.has_synced()),
        )
    }

    fn over(
        zone: &str,
        services: Lister<Service>,
        slices: Lister<EndpointSlice>,
        namespaces: Lister<Namespace>,
        synced: Box<dyn Fn() -> bool + Send + Sync>,
    ) -> Result<Self, ProtoError> {
        let mut apex = Name::from_str(zone)?.to_lowercase();
        apex.set_fqdn(true);
        Ok(Self {
            zone: labels(&apex),
            apex,
            services,
            slices,
            namespaces,
            synced,
        })
    }

    pub fn is_synced(&self) -> bool {
        (self.synced)()
    }

    /// The record that answers without records carry, so that resolvers know for how long to believe them.
    pub fn authority(&self) -> Record {
        let name = |text: &str| {
            Name::from_str(text)
                .and_then(|name| name.append_domain(&self.apex))
                .unwrap_or_else(|_| self.apex.clone())
        };
        let soa = SOA::new(
            name("ns.dns"),
            name("hostmaster"),
            1,
            7200,
            1800,
            86400,
            TTL,
        );
        Record::from_rdata(self.apex.clone(), TTL, RData::SOA(soa))
    }

    /// What the server says to a question.
    pub fn answer(&self, question: &Name, kind: RecordType) -> Answer {
        let mut name = question.to_lowercase();
        name.set_fqdn(true);
        if let Some(address) = reverse_address(&labels(&name)) {
            return self.reverse(&name, address, kind);
        }
        let all = labels(&name);
        let Some(inside) = all.strip_suffix(self.zone.as_slice()) else {
            return Answer::NotOurs;
        };
        let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
        match inside.as_slice() {
            [] if matches!(kind, RecordType::SOA | RecordType::ANY) => {
                found(vec![self.authority()])
            }
            [] if kind == RecordType::NS => {
                let server = Name::from_str("ns.dns")
                    .and_then(|name| name.append_domain(&self.apex))
                    .unwrap_or_else(|_| self.apex.clone());
                found(vec![Record::from_rdata(
                    self.apex.clone(),
                    TTL,
                    RData::NS(hickory_proto::rr::rdata::NS(server)),
                )])
            }
            [] | ["svc" | "pod"] => found(Vec::new()),
            ["dns-version"] => found(typed(kind, RecordType::TXT, || {
                Record::from_rdata(
                    name.clone(),
                    TTL,
                    RData::TXT(TXT::new(vec!["1.1.0".to_owned()])),
                )
            })),
            [namespace, "svc" | "pod"] => {
                match self.namespaces.get(&ObjectKey::new("", *namespace)) {
                    Some(_) => found(Vec::new()),
                    None => Answer::NoSuchName,
                }
            }
            [address, namespace, "pod"] => self.pod(&name, address, namespace, kind),
            [service, namespace, "svc"] => self.service(&name, namespace, service, kind),
            [
                protocol @ ("_tcp" | "_udp" | "_sctp"),
                service,
                namespace,
                "svc",
            ] => self.port(&name, None, protocol, namespace, service, kind),
            [
                port,
                protocol @ ("_tcp" | "_udp" | "_sctp"),
                service,
                namespace,
                "svc",
            ] if port.starts_with('_') => {
                self.port(&name, Some(&port[1..]), protocol, namespace, service, kind)
            }
            [host, service, namespace, "svc"] => {
                self.endpoint(&name, host, namespace, service, kind)
            }
            _ => Answer::NoSuchName,
        }
    }

    /// `1-2-3-4.namespace.pod`: the address is in the name, nobody checks that the pod exists (CoreDNS's `pods insecure`).
    fn pod(&self, name: &Name, address: &str, namespace: &str, kind: RecordType) -> Answer {
        if self
            .namespaces
            .get(&ObjectKey::new("", namespace))
            .is_none()
        {
            return Answer::NoSuchName;
        }
        let dotted = address
            .replace('-', ".")
            .parse::<Ipv4Addr>()
            .map(IpAddr::V4);
        match dotted.or_else(|_| {
            address
                .replace('-', ":")
                .parse::<Ipv6Addr>()
                .map(IpAddr::V6)
        }) {
            Ok(address) => found(address_records(name, [address], kind)),
            Err(_) => Answer::NoSuchName,
        }
    }

    fn service(&self, name: &Name, namespace: &str, service: &str, kind: RecordType) -> Answer {
        let Some(service) = self.services.get(&ObjectKey::new(namespace, service)) else {
            return Answer::NoSuchName;
        };
        if service.spec.type_ == "ExternalName" {
            return self.external(name, &service, kind);
        }
        if kind == RecordType::SRV {
            return self.all_ports(name, &service, None, None);
        }
        if !is_headless(&service) {
            return found(address_records(
                name,
                service
                    .spec
                    .cluster_ips
                    .iter()
                    .filter_map(|ip| ip.parse().ok()),
                kind,
            ));
        }
        let endpoints = self.endpoints(&service);
        if endpoints.is_empty() {
            // CoreDNS: a headless service without endpoints is no name.
            return Answer::NoSuchName;
        }
        found(address_records(
            name,
            endpoints
                .iter()
                .flat_map(|endpoint| endpoint.addresses.iter().copied()),
            kind,
        ))
    }

    fn external(&self, name: &Name, service: &Service, kind: RecordType) -> Answer {
        // An address as external name is answered as an address would be.
        if let Ok(address) = service.spec.external_name.parse::<IpAddr>() {
            return found(address_records(name, [address], kind));
        }
        let Ok(mut target) = Name::from_str(&service.spec.external_name) else {
            return Answer::NoSuchName;
        };
        target.set_fqdn(true);
        if !matches!(
            kind,
            RecordType::A | RecordType::AAAA | RecordType::CNAME | RecordType::ANY
        ) {
            return found(Vec::new());
        }
        let alias = Record::from_rdata(name.clone(), TTL, RData::CNAME(CNAME(target.clone())));
        let mut records = vec![alias];
        if kind != RecordType::CNAME
            && let Answer::Found { records: more, .. } = self.answer(&target, kind)
        {
            records.extend(more);
        }
        found(records)
    }

    /// `_port._protocol.service...`, or all ports of a protocol.
    fn port(
        &self,
        name: &Name,
        port: Option<&str>,
        protocol: &str,
        namespace: &str,
        service: &str,
        kind: RecordType,
    ) -> Answer {
        let Some(service) = self.services.get(&ObjectKey::new(namespace, service)) else {
            return Answer::NoSuchName;
        };
        match self.all_ports(name, &service, port, Some(&protocol[1..])) {
            Answer::Found { records, .. } if records.is_empty() => Answer::NoSuchName,
            Answer::Found { records, extra }
                if kind == RecordType::SRV || kind == RecordType::ANY =>
            {
                Answer::Found { records, extra }
            }
            Answer::Found { .. } => found(Vec::new()),
            other => other,
        }
    }

    fn all_ports(
        &self,
        name: &Name,
        service: &Service,
        port: Option<&str>,
        protocol: Option<&str>,
    ) -> Answer {
        let (mut records, mut extra) = (Vec::new(), Vec::new());
        let wanted = |name: &str, of: &str| {
            port.is_none_or(|port| port.eq_ignore_ascii_case(name))
                && protocol.is_none_or(|protocol| protocol.eq_ignore_ascii_case(of))
        };
        let Ok(target) = self.service_name(service) else {
            return Answer::NoSuchName;
        };
        let mut targets: Vec<(Name, u16, Vec<IpAddr>)> = Vec::new();
        if is_headless(service) {
            for endpoint in self.endpoints(service) {
                let Ok(host) =
                    Name::from_str(&endpoint.host).and_then(|host| host.append_domain(&target))
                else {
                    continue;
                };
                for (name, protocol, number) in &endpoint.ports {
                    if wanted(name, protocol) {
                        targets.push((host.clone(), *number, endpoint.addresses.clone()));
                    }
                }
            }
        } else {
            let addresses: Vec<IpAddr> = service
                .spec
                .cluster_ips
                .iter()
                .filter_map(|ip| ip.parse().ok())
                .collect();
            for port in &service.spec.ports {
                if wanted(&port.name, &port.protocol) {
                    targets.push((
                        target.clone(),
                        u16::try_from(port.port).unwrap_or_default(),
                        addresses.clone(),
                    ));
                }
            }
        }
        // The weights of equal targets add up to a hundred.
        let weight = u16::try_from(100 / targets.len().max(1))
            .unwrap_or(1)
            .max(1);
        for (target, number, addresses) in targets {
            records.push(Record::from_rdata(
                name.clone(),
                TTL,
                RData::SRV(SRV::new(0, weight, number, target.clone())),
            ));
            for record in address_records(&target, addresses, RecordType::ANY) {
                if !extra.contains(&record) {
                    extra.push(record);
                }
            }
        }
        Answer::Found { records, extra }
    }

    /// `host.service...`: one endpoint of a headless service.
    fn endpoint(
        &self,
        name: &Name,
        host: &str,
        namespace: &str,
        service: &str,
        kind: RecordType,
    ) -> Answer {
        let Some(service) = self
            .services
            .get(&ObjectKey::new(namespace, service))
            .filter(|service| is_headless(service))
        else {
            return Answer::NoSuchName;
        };
        let addresses: Vec<IpAddr> = self
            .endpoints(&service)
            .into_iter()
            .filter(|endpoint| endpoint.host == host)
            .flat_map(|endpoint| endpoint.addresses)
            .collect();
        if addresses.is_empty() {
            Answer::NoSuchName
        } else {
            found(address_records(name, addresses, kind))
        }
    }

    fn reverse(&self, name: &Name, address: IpAddr, kind: RecordType) -> Answer {
        let text = address.to_string();
        let mut targets = Vec::new();
        for service in self.services.by_index(BY_ADDRESS, &text) {
            if service.spec.cluster_ips.contains(&text) {
                targets.extend(self.service_name(&service));
            }
        }
        if targets.is_empty() {
            for slice in self.slices.by_index(BY_ADDRESS, &text) {
                let Some(service) =
                    service_of(&slice).and_then(|key| self.services.get(&key_of(&key)))
                else {
                    continue;
                };
                let Ok(service) = self.service_name(&service) else {
                    continue;
                };
                for endpoint in slice
                    .endpoints
                    .iter()
                    .filter(|endpoint| endpoint.addresses.contains(&text))
                {
                    targets.extend(
                        Name::from_str(&host_of(endpoint, &text))
                            .and_then(|host| host.append_domain(&service)),
                    );
                }
            }
        }
        if targets.is_empty() {
            return Answer::NotOurs;
        }
        targets.sort();
        targets.dedup();
        if !matches!(kind, RecordType::PTR | RecordType::ANY) {
            return found(Vec::new());
        }
        found(
            targets
                .into_iter()
                .map(|target| Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target))))
                .collect(),
        )
    }

    fn service_name(&self, service: &Service) -> Result<Name, ProtoError> {
        Name::from_str(&format!(
            "{}.{}.svc",
            service.metadata.name, service.metadata.namespace
        ))?
        .append_domain(&self.apex)
    }

    /// Endpoints that take connections, in the order of their slices.
    fn endpoints(&self, service: &Service) -> Vec<Target> {
        let mut slices = self.slices.by_index(
            BY_SERVICE,
            &format!("{}/{}", service.metadata.namespace, service.metadata.name),
        );
        slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let mut targets = Vec::new();
        for slice in &slices {
            let ports: Vec<(String, String, u16)> = slice
                .ports
                .iter()
                .map(|port| {
                    let number = port
                        .port
                        .and_then(|port| u16::try_from(port).ok())
                        .unwrap_or_default();
                    (
                        port.name.clone().unwrap_or_default(),
                        port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                        number,
                    )
                })
                .collect();
            for endpoint in slice
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.conditions.ready != Some(false))
            {
                for text in &endpoint.addresses {
                    if let Ok(address) = text.parse() {
                        targets.push(Target {
                            host: host_of(endpoint, text),
                            addresses: vec![address],
                            ports: ports.clone(),
                        });
                    }
                }
            }
        }
        targets
    }
}

struct Target {
    host: String,
    addresses: Vec<IpAddr>,
    /// Name, protocol, number.
    ports: Vec<(String, String, u16)>,
}

fn found(records: Vec<Record>) -> Answer {
    Answer::Found {
        records,
        extra: Vec::new(),
    }
}

fn typed(asked: RecordType, kind: RecordType, record: impl FnOnce() -> Record) -> Vec<Record> {
    if asked == kind || asked == RecordType::ANY {
        vec![record()]
    } else {
        Vec::new()
    }
}

fn is_headless(service: &Service) -> bool {
    service.spec.cluster_ip == "None"
}

/// The endpoint's own host name, or its address with dashes.
fn host_of(endpoint: &Endpoint, address: &str) -> String {
    match &endpoint.hostname {
        Some(hostname) if !hostname.is_empty() => hostname.to_ascii_lowercase(),
        _ => address.replace(['.', ':'], "-"),
    }
}

fn service_of(slice: &EndpointSlice) -> Option<String> {
    let service = slice.metadata.labels.get("kubernetes.io/service-name")?;
    Some(format!("{}/{service}", slice.metadata.namespace))
}

fn key_of(text: &str) -> ObjectKey {
    let (namespace, name) = text.split_once('/').unwrap_or(("", text));
    ObjectKey::new(namespace, name)
}

fn address_records(
    name: &Name,
    addresses: impl IntoIterator<Item = IpAddr>,
    kind: RecordType,
) -> Vec<Record> {
    let record = |address| match address {
        IpAddr::V4(address) if matches!(kind, RecordType::A | RecordType::ANY) => {
            Some(RData::A(A(address)))
        }
        IpAddr::V6(address) if matches!(kind, RecordType::AAAA | RecordType::ANY) => {
            Some(RData::AAAA(AAAA(address)))
        }
        _ => None,
    };
    addresses
        .into_iter()
        .filter_map(record)
        .map(|data| Record::from_rdata(name.clone(), TTL, data))
        .collect()
}

/// The labels of a name as text, in lower case, the leftmost first.
fn labels(name: &Name) -> Vec<String> {
    name.iter()
        .map(|label| String::from_utf8_lossy(label).to_ascii_lowercase())
        .collect()
}

/// The address that a name below in-addr.arpa or ip6.arpa stands for.
fn reverse_address(labels: &[String]) -> Option<IpAddr> {
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    match labels.as_slice() {
        [d, c, b, a, "in-addr", "arpa"] => format!("{a}.{b}.{c}.{d}").parse().ok().map(IpAddr::V4),
        [digits @ .., "ip6", "arpa"]
            if digits.len() == 32 && digits.iter().all(|digit| digit.len() == 1) =>
        {
            let hex: String = digits.iter().rev().copied().collect();
            u128::from_str_radix(&hex, 16)
                .ok()
                .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
