//! Cluster IPs as IPAddress objects. Upstream: pkg/registry/core/service/ipallocator (ipallocator.go, cidrallocator.go).
//!
//! The lower part of a range is kept for addresses people ask for by hand: free ones are looked for above it first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use api_types::core::v1::Service;
use api_types::networking::v1::{IPAddress, ParentReference, ServiceCIDR};
use apimachinery::field::{self, Path};
use apimachinery::gvk::GroupKind;
use apimachinery::status::{self, StatusError};
use ipnet::IpNet;
use rand::Rng;

use super::metrics::{AddressMetrics, Scope};
use crate::loopback::Loopback;

const IP_FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";

/// How many addresses are tried at random before the range is searched in order.
const RANDOM_ATTEMPTS: usize = 8;

/// The ranges of a cluster.
#[derive(Clone)]
pub struct IpAddresses {
    ranges: Arc<[IpNet]>,
    metrics: AddressMetrics,
}

fn family(range: &IpNet) -> &'static str {
    if range.addr().is_ipv4() {
        "IPv4"
    } else {
        "IPv6"
    }
}

/// Usable addresses of a range, as numbers: without the network's own, and the broadcast address of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usable {
    first: u128,
    count: u128,
    ipv4: bool,
}

impl Usable {
    fn of(range: &IpNet) -> Usable {
        match range {
            IpNet::V4(net) => {
                let size = 1u128 << (32 - net.prefix_len());
                Usable {
                    first: u128::from(u32::from(net.network())) + 1,
                    count: size.saturating_sub(2),
                    ipv4: true,
                }
            }
            IpNet::V6(net) => {
                // Upstream searches at most 64 bits of an IPv6 range.
                let size = 1u128 << (128 - net.prefix_len()).min(64);
                Usable {
                    first: u128::from(net.network()) + 1,
                    count: size.saturating_sub(1),
                    ipv4: false,
                }
            }
        }
    }

    fn at(self, index: u128) -> IpAddr {
        let number = self.first + index;
        if self.ipv4 {
            IpAddr::V4(Ipv4Addr::from(number as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from(number))
        }
    }

    fn contains(self, ip: IpAddr) -> bool {
        let number = match ip {
            IpAddr::V4(ip) if self.ipv4 => u128::from(u32::from(ip)),
            IpAddr::V6(ip) if !self.ipv4 => u128::from(ip),
            _ => return false,
        };
        number >= self.first && number - self.first < self.count
    }

    /// Size of the lower part: a sixteenth of the range, at least 16 and at most 256 addresses.
    fn static_band(self) -> u128 {
        if self.count < 16 {
            0
        } else {
            (self.count / 16).clamp(16, 256)
        }
    }
}

impl IpAddresses {
    pub fn new(ranges: &[IpNet], metrics: AddressMetrics) -> IpAddresses {
        IpAddresses {
            ranges: ranges.into(),
            metrics,
        }
    }

    /// The families of the cluster, the default one first.
    pub fn families(&self) -> Vec<&'static str> {
        let mut families = Vec::new();
        for range in self.ranges.iter() {
            if !families.contains(&family(range)) {
                families.push(family(range));
            }
        }
        families
    }

    /// All ranges of a family: those of the command line and those of ServiceCIDR objects.
    async fn ranges_of(&self, client: &Loopback, wanted: &str) -> Vec<IpNet> {
        let mut ranges: Vec<IpNet> = self
            .ranges
            .iter()
            .filter(|range| family(range) == wanted)
            .copied()
            .collect();
        if let Ok(cidrs) = client.list::<ServiceCIDR>("").await {
            let ready =
                |cidr: &&ServiceCIDR| {
                    cidr.metadata.deletion_timestamp.is_none()
                        && cidr.status.conditions.iter().any(|condition| {
                            condition.type_ == "Ready" && condition.status == "True"
                        })
                };
            for range in cidrs
                .iter()
                .filter(ready)
                .flat_map(|cidr| &cidr.spec.cidrs)
                .filter_map(|text| text.parse::<IpNet>().ok())
            {
                if family(&range) == wanted && !ranges.contains(&range) {
                    ranges.push(range);
                }
            }
        }
        ranges
    }

    /// Takes an address: the one asked for, or a free one.
    pub async fn allocate(
        &self,
        client: &Loopback,
        service: &Service,
        family: &str,
        asked: &str,
        dry_run: bool,
    ) -> Result<String, StatusError> {
        let ranges = self.ranges_of(client, family).await;
        let path = Path::new("spec").child("clusterIPs");
        let invalid = |detail: String| {
            let errors = field::invalid(&path, service.spec.cluster_ips.as_slice(), detail).into();
            status::invalid(
                &GroupKind {
                    group: String::new(),
                    kind: "Service".to_owned(),
                },
                &service.metadata.name,
                &errors,
            )
        };
        if !asked.is_empty() {
            let ip: IpAddr = asked
                .parse()
                .map_err(|_| status::internal(format!("failed to parse service IP {asked:?}")))?;
            // A dry run neither looks further than the first range nor at what is taken, as upstream.
            if dry_run {
                return match ranges.first() {
                    Some(range) if !Usable::of(range).contains(ip) => Err(invalid(format!(
                        "failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range. The range of valid IPs is {range}"
                    ))),
                    _ => Ok(asked.to_owned()),
                };
            }
            let mut ranges = ranges.iter();
            let Some(range) = ranges.find(|range| Usable::of(range).contains(ip)) else {
                return Err(invalid(format!(
                    "failed to allocate IP {asked}: the provided network does not match the current range"
                )));
            };
            let taking = Taking {
                client,
                service,
                range,
                scope: Scope::Static,
            };
            return match self.timed(&taking, self.take(&taking, ip)).await {
                Ok(()) => Ok(asked.to_owned()),
                Err(error) if status::is_already_exists(&error) => Err(invalid(format!(
                    "failed to allocate IP {asked}: provided IP is already allocated"
                ))),
                Err(error) => Err(invalid(format!(
                    "failed to allocate IP {asked}: {}",
                    error.message
                ))),
            };
        }
        if dry_run && let Some(range) = ranges.first() {
            return Ok(range.network().to_string());
        }
        for range in &ranges {
            let taking = Taking {
                client,
                service,
                range,
                scope: Scope::Dynamic,
            };
            let taken = self.timed(&taking, self.take_any(&taking)).await;
            let taken =
                taken.map_err(|error| invalid(format!("failed to allocate IP: {}", error.message)));
            if let Some(ip) = taken? {
                return Ok(ip.to_string());
            }
        }
        Err(status::internal(format!(
            "failed to allocate a serviceIP for Service {:?}: range is full",
            service.metadata.name
        )))
    }

    /// Counts what an allocation takes when it succeeds.
    async fn timed<T>(
        &self,
        taking: &Taking<'_>,
        allocation: impl Future<Output = Result<T, StatusError>>,
    ) -> Result<T, StatusError> {
        let started = Instant::now();
        let outcome = allocation.await;
        if outcome.is_ok() {
            let range = taking.range.to_string();
            self.metrics.took(&range, started.elapsed());
        }
        outcome
    }

    async fn take_any(&self, taking: &Taking<'_>) -> Result<Option<IpAddr>, StatusError> {
        let usable = Usable::of(taking.range);
        let band = usable.static_band();
        // Above the band first, then in it; in each at random, then in order.
        for (start, end) in [(band, usable.count), (0, band)] {
            if start >= end {
                continue;
            }
            let mut candidates: Vec<u128> = (0..RANDOM_ATTEMPTS)
                .map(|_| rand::rng().random_range(start..end))
                .collect();
            candidates.dedup();
            for index in candidates {
                if let Some(ip) = self.try_take(taking, usable.at(index)).await? {
                    return Ok(Some(ip));
                }
            }
            let offset = rand::rng().random_range(start..end);
            // A range that is nearly full is searched from a random place; one that is too large to search never is.
            for index in (offset..end).chain(start..offset).take(1 << 16) {
                if let Some(ip) = self.try_take(taking, usable.at(index)).await? {
                    return Ok(Some(ip));
                }
            }
        }
        let range = taking.range.to_string();
        self.metrics.failed(&range, Scope::Dynamic);
        Ok(None)
    }

    async fn try_take(
        &self,
        taking: &Taking<'_>,
        ip: IpAddr,
    ) -> Result<Option<IpAddr>, StatusError> {
        let client = taking.client;
        if client.is_known::<IPAddress>("", &ip.to_string()) {
            return Ok(None);
        }
        match self.take(taking, ip).await {
            Ok(()) => Ok(Some(ip)),
            Err(error) if status::is_already_exists(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn take(&self, taking: &Taking<'_>, ip: IpAddr) -> Result<(), StatusError> {
        let range = taking.range.to_string();
        let address = address_of(ip, taking.service);
        if let Err(error) = taking.client.create(address).await {
            self.metrics.failed(&range, taking.scope);
            return Err(error);
        }
        self.metrics.allocated(&range, taking.scope);
        self.count(taking.client, taking.range, ip, 1);
        Ok(())
    }

    /// Counts the addresses of a range. What becomes of `changed` the watch cache may not know yet.
    fn count(&self, client: &Loopback, range: &IpNet, changed: IpAddr, more: u128) {
        let usable = Usable::of(range);
        let keys = client.keys::<IPAddress>();
        let others = keys.iter().filter_map(|(_, name)| name.parse().ok());
        let others = others.filter(|ip| *ip != changed && usable.contains(*ip));
        let used = others.count() as u128 + more;
        self.metrics.set(&range.to_string(), used, usable.count);
    }

    /// Gives an address back.
    pub async fn release(&self, client: &Loopback, address: &str) -> Result<(), StatusError> {
        if address.is_empty() {
            return Ok(());
        }
        client.delete::<IPAddress>("", address).await?;
        if let Ok(ip) = address.parse::<IpAddr>() {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let ranges = self.ranges_of(client, family).await;
            let mut ranges = ranges.iter();
            if let Some(range) = ranges.find(|range| Usable::of(range).contains(ip)) {
                self.count(client, range, ip, 0);
            }
        }
        Ok(())
    }
}

/// An allocation.
struct Taking<'a> {
    client: &'a Loopback,
    service: &'a Service,
    range: &'a IpNet,
    scope: Scope,
}

/// The object that an address of a Service is taken by.
pub fn address_of(ip: IpAddr, service: &Service) -> IPAddress {
    let mut address = IPAddress::default();
    address.metadata.name = ip.to_string();
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let labels = [(IP_FAMILY, family), (MANAGED_BY, MANAGER)];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    address.metadata.labels.extend(labels);
    address.spec.parent_ref = Some(Box::new(ParentReference {
        group: String::new(),
        resource: "services".to_owned(),
        namespace: service.metadata.namespace.clone(),
        name: service.metadata.name.clone(),
    }));
    address
}

/// Whether an address was made for a Service.
pub fn is_managed(address: &IPAddress) -> bool {
    let manager = address.metadata.labels.get(MANAGED_BY);
    manager.is_some_and(|manager| manager == MANAGER)
}

/// Whether it has the labels of one.
pub fn has_labels(address: &IPAddress, ip: IpAddr) -> bool {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let labelled = address.metadata.labels.get(IP_FAMILY);
    is_managed(address) && labelled.is_some_and(|labelled| labelled == family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_leave_out_their_ends_and_a_band() {
        let usable = Usable::of(&"10.96.0.0/16".parse().unwrap());
        assert_eq!(
            (usable.at(0).to_string(), usable.count),
            ("10.96.0.1".to_owned(), 65534)
        );
        assert!(!usable.contains("10.96.255.255".parse().unwrap()));
        assert!(!usable.contains("10.96.0.0".parse().unwrap()));
        assert!(usable.contains("10.96.255.254".parse().unwrap()));
        assert_eq!(usable.static_band(), 256);
        assert_eq!(Usable::of(&"10.0.0.0/28".parse().unwrap()).static_band(), 0);
        assert_eq!(
            Usable::of(&"10.0.0.0/24".parse().unwrap()).static_band(),
            16
        );
    }
}
