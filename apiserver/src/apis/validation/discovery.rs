//! Endpoint slices. Upstream: pkg/apis/discovery/validation.

use std::collections::BTreeSet;

use api_types::discovery::v1::*;

use super::containers::PROTOCOLS;
use super::services::endpoint_ip;
use super::*;

pub fn validate_endpoint_slice(slice: &EndpointSlice) -> ErrorList {
    slice_rules(slice, None)
}

pub fn validate_endpoint_slice_update(new: &EndpointSlice, old: &EndpointSlice) -> ErrorList {
    let mut errors = slice_rules(new, Some(old));
    let path = Path::new("addressType");
    errors.extend(rules::validate_immutable_field(
        &new.address_type,
        &old.address_type,
        &path,
    ));
    errors
}

fn slice_rules(slice: &EndpointSlice, old: Option<&EndpointSlice>) -> ErrorList {
    let mut errors = object_meta(&slice.metadata, true, rules::name_is_dns_subdomain);
    let type_path = Path::new("addressType");
    errors.extend(required_one_of(
        &slice.address_type,
        &["FQDN", "IPv4", "IPv6"],
        &type_path,
    ));
    errors.extend(ports(&slice.ports));
    // What is stored may stay, also when newer rules refuse it.
    if old.is_none_or(|old| old.endpoints != slice.endpoints) {
        errors.extend(endpoints(slice));
    }
    errors
}

fn ports(ports: &[EndpointPort]) -> ErrorList {
    let path = Path::new("ports");
    if ports.len() > 20_000 {
        return field::too_many(&path, Some(ports.len()), 20_000).into();
    }
    let mut errors = ErrorList::new();
    let mut names = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = port.name.as_deref().unwrap_or("");
        if !name.is_empty() {
            errors.extend(dns_label(name, &path.child("name")));
        }
        if !names.insert(name) {
            errors.push(field::duplicate(&path.child("name"), name));
        }
        match &port.protocol {
            None => errors.push(field::required(&path.child("protocol"), "")),
            Some(protocol) => errors.extend(one_of(protocol, &PROTOCOLS, &path.child("protocol"))),
        }
        if let Some(protocol) = &port.app_protocol {
            errors.extend(qualified_name(protocol, &path.child("appProtocol")));
        }
    }
    errors
}

fn endpoints(slice: &EndpointSlice) -> ErrorList {
    let path = Path::new("endpoints");
    let list = &slice.endpoints;
    if list.len() > 1000 {
        return field::too_many(&path, Some(list.len()), 1000).into();
    }
    let mut errors = ErrorList::new();
    for (i, endpoint) in list.iter().enumerate() {
        let path = path.index(i);
        let addresses_path = path.child("addresses");
        if endpoint.addresses.is_empty() {
            errors.push(field::required(
                &addresses_path,
                "must contain at least 1 address",
            ));
        } else if endpoint.addresses.len() > 100 {
            errors.push(field::too_many(
                &addresses_path,
                Some(endpoint.addresses.len()),
                100,
            ));
        }
        for (j, address) in endpoint.addresses.iter().enumerate() {
            errors.extend(endpoint_address(
                address,
                &slice.address_type,
                &addresses_path,
                j,
            ));
        }
        if let Some(node) = &endpoint.node_name {
            errors.extend(dns_subdomain(node, &path.child("nodeName")));
        }
        let topology_path = path.child("deprecatedTopology");
        if endpoint.deprecated_topology.len() > 16 {
            errors.push(field::too_many(
                &topology_path,
                Some(endpoint.deprecated_topology.len()),
                16,
            ));
        }
        errors.extend(rules::validate_labels(
            &endpoint.deprecated_topology,
            &topology_path,
        ));
        if let Some(name) = &endpoint.hostname {
            errors.extend(dns_label(name, &path.child("hostname")));
        }
        if let Some(hints) = &endpoint.hints {
            errors.extend(endpoint_hints(hints, &path.child("hints")));
        }
    }
    errors
}

fn endpoint_address(address: &str, ty: &str, path: &Path, index: usize) -> ErrorList {
    let own = path.index(index);
    let (mut errors, v6) = match ty {
        "IPv4" => (legacy_ip(&own, address, &Known::new()), false),
        "IPv6" => (rules::is_valid_ip(&own, address), true),
        "FQDN" => return rules::is_fully_qualified_domain_name(&own, address),
        _ => return ErrorList::new(),
    };
    if errors.is_empty() {
        if rules::parse_ip_sloppy(address).is_some_and(|ip| ip.is_ipv6() != v6) {
            let detail = format!("must be an {ty} address");
            errors.push(field::invalid(path, address, detail));
        }
        errors.extend(endpoint_ip(address, &own));
    }
    errors
}

fn endpoint_hints(hints: &EndpointHints, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let zones: Vec<&str> = hints
        .for_zones
        .iter()
        .map(|zone| zone.name.as_str())
        .collect();
    let nodes: Vec<&str> = hints
        .for_nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    let checks: [(_, &'static str, fn(&str) -> Vec<String>); 2] = [
        (zones, "forZones", rules::is_label_value),
        (nodes, "forNodes", rules::is_dns1123_subdomain),
    ];
    for (names, child, check) in checks {
        let path = path.child(child);
        if names.len() > 8 {
            errors.push(field::too_many(&path, Some(names.len()), 8));
            return errors;
        }
        let mut seen = BTreeSet::new();
        for (i, name) in names.into_iter().enumerate() {
            let path = path.index(i).child("name");
            if !seen.insert(name) {
                errors.push(field::duplicate(&path, name));
            }
            errors.extend(invalids(&path, name, check(name)));
        }
    }
    errors
}
