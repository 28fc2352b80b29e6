//! The canonical layout of an Endpoints object's subsets. Upstream: pkg/api/v1/endpoints.
//!
//! Upstream orders ports and subsets by a hash of Go's dump of each. The order can be seen by users, so it is kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api_types::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};

/// The most addresses an Endpoints object holds.
pub const MAX_CAPACITY: usize = 1000;

/// Ports as a key of a map; `None` stands for the addresses of a subset without ports.
type PortKey = Option<(String, i32, String, Option<String>)>;
/// Address and uid of what is behind it.
type AddressKey = (String, Option<String>);

fn address_key(address: &EndpointAddress) -> AddressKey {
    let uid = address.target_ref.as_ref().map(|target| target.uid.clone());
    (address.ip.clone(), uid)
}

/// Each set of addresses once, with all the ports it offers.
pub fn repack(subsets: &[EndpointSubset]) -> Vec<EndpointSubset> {
    let mut addresses: BTreeMap<AddressKey, EndpointAddress> = BTreeMap::new();
    let mut by_port: BTreeMap<PortKey, BTreeMap<AddressKey, bool>> = BTreeMap::new();
    for subset in subsets {
        let ports: Vec<PortKey> = if subset.ports.is_empty() {
            vec![None]
        } else {
            let key = |port: &EndpointPort| {
                Some((
                    port.name.clone(),
                    port.port,
                    port.protocol.clone(),
                    port.app_protocol.clone(),
                ))
            };
            subset.ports.iter().map(key).collect()
        };
        for port in ports {
            let ready = subset.addresses.iter().map(|address| (address, true));
            let not_ready = subset
                .not_ready_addresses
                .iter()
                .map(|address| (address, false));
            for (address, is_ready) in ready.chain(not_ready) {
                let key = address_key(address);
                addresses
                    .entry(key.clone())
                    .or_insert_with(|| address.clone());
                // Not ready anywhere is not ready.
                let known = by_port
                    .entry(port.clone())
                    .or_default()
                    .entry(key)
                    .or_insert(is_ready);
                *known &= is_ready;
            }
        }
    }
    let mut by_addresses: BTreeMap<Vec<(AddressKey, bool)>, Vec<EndpointPort>> = BTreeMap::new();
    for (port, offered) in by_port {
        let ports = by_addresses
            .entry(offered.into_iter().collect())
            .or_default();
        if let Some((name, number, protocol, app_protocol)) = port {
            ports.push(EndpointPort {
                name,
                port: number,
                protocol,
                app_protocol,
            });
        }
    }
    let mut packed: Vec<EndpointSubset> = by_addresses
        .into_iter()
        .map(|(offered, mut ports)| {
            let pick = |wanted: bool| {
                offered
                    .iter()
                    .filter(|(_, ready)| *ready == wanted)
                    .filter_map(|(key, _)| addresses.get(key).cloned())
                    .collect()
            };
            ports.sort_by_key(|port| fnv128a(&format!("(v1.EndpointPort){}", dump_port(port))));
            EndpointSubset {
                addresses: pick(true),
                not_ready_addresses: pick(false),
                ports,
            }
        })
        .collect();
    packed.sort_by_key(|subset| fnv128a(&dump(subset)));
    packed
}

fn fnv128a(text: &str) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    })
}

fn pointer(value: Option<&String>) -> &str {
    value.map_or("<nil>", String::as_str)
}

fn dump_port(port: &EndpointPort) -> String {
    format!(
        "{{Name:(string){} Port:(int32){} Protocol:(v1.Protocol){} AppProtocol:(*string){}}}",
        port.name,
        port.port,
        port.protocol,
        pointer(port.app_protocol.as_ref())
    )
}

fn dump_address(address: &EndpointAddress) -> String {
    let mut text = format!(
        "{{IP:(string){} Hostname:(string){} NodeName:(*string){} TargetRef:(*v1.ObjectReference)",
        address.ip,
        address.hostname,
        pointer(address.node_name.as_ref())
    );
    // Writing to a String does not fail.
    let _ = match &address.target_ref {
        None => write!(text, "<nil>"),
        Some(target) => write!(
            text,
            "{{Kind:(string){} Namespace:(string){} Name:(string){} UID:(types.UID){} APIVersion:(string){} ResourceVersion:(string){} FieldPath:(string){}}}",
            target.kind,
            target.namespace,
            target.name,
            target.uid,
            target.api_version,
            target.resource_version,
            target.field_path
        ),
    };
    text + "}"
}

fn dump(subset: &EndpointSubset) -> String {
    fn list(items: Vec<String>) -> String {
        if items.is_empty() {
            "<nil>".to_owned()
        } else {
            format!("[{}]", items.join(" "))
        }
    }
    format!(
        "(v1.EndpointSubset){{Addresses:([]v1.EndpointAddress){} NotReadyAddresses:([]v1.EndpointAddress){} Ports:([]v1.EndpointPort){}}}",
        list(subset.addresses.iter().map(dump_address).collect()),
        list(
            subset
                .not_ready_addresses
                .iter()
                .map(dump_address)
                .collect()
        ),
        list(subset.ports.iter().map(dump_port).collect())
    )
}

/// Equal but for the versions of what is behind the addresses.
pub fn equal(a: &[EndpointSubset], b: &[EndpointSubset]) -> bool {
    let plain = |subsets: &[EndpointSubset]| {
        let mut subsets = subsets.to_vec();
        for address in subsets.iter_mut().flat_map(|subset| {
            subset
                .addresses
                .iter_mut()
                .chain(&mut subset.not_ready_addresses)
        }) {
            if let Some(target) = &mut address.target_ref {
                target.resource_version = String::new();
            }
        }
        subsets
    };
    plain(a) == plain(b)
}

/// Number of addresses, ready or not.
pub fn count(subsets: &[EndpointSubset]) -> usize {
    subsets
        .iter()
        .map(|subset| subset.addresses.len() + subset.not_ready_addresses.len())
        .sum()
}

/// Drops addresses beyond [`MAX_CAPACITY`], not ready ones first, in proportion to each subset's size. Whether any were dropped.
pub fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let ready: usize = subsets.iter().map(|subset| subset.addresses.len()).sum();
    let total = count(subsets);
    if total <= MAX_CAPACITY {
        return false;
    }
    let cut_ready = ready > MAX_CAPACITY;
    let (room, candidates) = if cut_ready {
        (MAX_CAPACITY, ready)
    } else {
        (MAX_CAPACITY - ready, total - ready)
    };
    let mut left = room;
    for subset in subsets {
        if cut_ready {
            subset.not_ready_addresses.clear();
        }
        let addresses = if cut_ready {
            &mut subset.addresses
        } else {
            &mut subset.not_ready_addresses
        };
        let share = (addresses.len() * room)
            .div_ceil(candidates.max(1))
            .min(left);
        addresses.truncate(share);
        left -= addresses.len();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ip: &str) -> EndpointAddress {
        EndpointAddress {
            ip: ip.into(),
            ..Default::default()
        }
    }

    fn subset(ready: &[&str], not_ready: &[&str], ports: &[i32]) -> EndpointSubset {
        EndpointSubset {
            addresses: ready.iter().map(|ip| address(ip)).collect(),
            not_ready_addresses: not_ready.iter().map(|ip| address(ip)).collect(),
            ports: ports
                .iter()
                .map(|port| EndpointPort {
                    port: *port,
                    ..Default::default()
                })
                .collect(),
        }
    }

    /// Order aside: it is arbitrary.
    #[track_caller]
    fn check(given: &[EndpointSubset], expected: &[EndpointSubset]) {
        let shown = |subsets: &[EndpointSubset]| {
            let mut shown: Vec<String> = subsets
                .iter()
                .map(|subset| {
                    let ips = |addresses: &[EndpointAddress]| {
                        addresses
                            .iter()
                            .map(|a| a.ip.clone())
                            .collect::<Vec<_>>()
                            .join(",")
                    };
                    let mut ports: Vec<i32> = subset.ports.iter().map(|port| port.port).collect();
                    ports.sort_unstable();
                    format!(
                        "{}/{}/{ports:?}",
                        ips(&subset.addresses),
                        ips(&subset.not_ready_addresses)
                    )
                })
                .collect();
            shown.sort();
            shown
        };
        let packed = repack(given);
        assert_eq!(shown(&packed), shown(expected));
        assert_eq!(repack(&packed), packed, "what is packed stays as it is");
    }

    #[test]
    fn packing() {
        check(&[], &[]);
        check(&[subset(&[], &[], &[])], &[]);
        check(&[subset(&[], &[], &[111])], &[]);
        check(
            &[subset(&["1.2.3.4"], &[], &[])],
            &[subset(&["1.2.3.4"], &[], &[])],
        );
        check(
            &[
                subset(&["1.2.3.4"], &[], &[111]),
                subset(&["1.2.3.4"], &[], &[222]),
            ],
            &[subset(&["1.2.3.4"], &[], &[111, 222])],
        );
        check(
            &[
                subset(&["1.2.3.4"], &[], &[111]),
                subset(&["5.6.7.8"], &[], &[111]),
            ],
            &[subset(&["1.2.3.4", "5.6.7.8"], &[], &[111])],
        );
        check(
            &[
                subset(&["1.2.3.4"], &[], &[111]),
                subset(&[], &["1.2.3.4"], &[111]),
            ],
            &[subset(&[], &["1.2.3.4"], &[111])],
        );
        check(
            &[
                subset(&["1.2.3.4"], &[], &[111]),
                subset(&[], &["1.2.3.4"], &[222]),
            ],
            &[
                subset(&["1.2.3.4"], &[], &[111]),
                subset(&[], &["1.2.3.4"], &[222]),
            ],
        );
        check(
            &[subset(&["1.2.3.4", "1.2.3.4"], &[], &[111, 111])],
            &[subset(&["1.2.3.4"], &[], &[111])],
        );
    }

    #[test]
    fn truncation_keeps_ready_addresses_and_proportions() {
        #[track_caller]
        fn check(given: &[(usize, usize)], expected: Option<&[(usize, usize)]>) {
            let many = |count| vec![address("1.2.3.4"); count];
            let mut subsets: Vec<_> = given
                .iter()
                .map(|(ready, not_ready)| EndpointSubset {
                    addresses: many(*ready),
                    not_ready_addresses: many(*not_ready),
                    ..Default::default()
                })
                .collect();
            assert_eq!(truncate(&mut subsets), expected.is_some());
            let sizes: Vec<_> = subsets
                .iter()
                .map(|subset| (subset.addresses.len(), subset.not_ready_addresses.len()))
                .collect();
            assert_eq!(sizes, expected.unwrap_or(given));
        }
        check(&[(500, 500)], None);
        check(&[(1001, 0)], Some(&[(1000, 0)]));
        check(&[(500, 501)], Some(&[(500, 500)]));
        check(&[(1000, 200)], Some(&[(1000, 0)]));
        check(&[(300, 0), (900, 50)], Some(&[(250, 0), (750, 0)]));
        check(&[(300, 500), (300, 500)], Some(&[(300, 200), (300, 200)]));
    }
}
