//! Services: types, ports, addresses, families and policies. Upstream: pkg/apis/core/validation.

use std::collections::BTreeSet;

use api_types::core::v1::*;

use super::containers::{PROTOCOLS, port_number_or_name};
use super::*;

const FOR_LOAD_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";
const SET_ONCE: &str = "may not change once set";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// Whether the service has no address of its own.
pub(crate) fn is_headless(service: &Service) -> bool {
    matches!(&service.spec.cluster_ips[..], [ip] if ip == "None")
}

fn is_externally_accessible(spec: &ServiceSpec) -> bool {
    matches!(spec.type_.as_str(), "LoadBalancer" | "NodePort")
        || spec.type_ == "ClusterIP" && !spec.external_ips.is_empty()
}

/// Whether load balancers ask nodes for a health check.
pub(crate) fn needs_health_check(spec: &ServiceSpec) -> bool {
    spec.type_ == "LoadBalancer" && spec.external_traffic_policy == "Local"
}

pub fn validate_service(service: &Service) -> ErrorList {
    let name: rules::NameFn = if gates::enabled("RelaxedServiceNameValidation") {
        rules::name_is_dns_label
    } else {
        rules::name_is_dns1035_label
    };
    let mut errors = object_meta(&service.metadata, true, name);
    errors.extend(service_rules(service, None));
    errors
}

pub fn validate_service_update(new: &Service, old: &Service) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(cluster_ips_change(new, old));
    errors.extend(families_change(new, old));
    let balanced = |service: &Service| service.spec.type_ == "LoadBalancer";
    if balanced(new)
        && balanced(old)
        && new.spec.load_balancer_class != old.spec.load_balancer_class
    {
        let class = new.spec.load_balancer_class.as_deref();
        errors.push(field::invalid(
            &path(&["spec", "loadBalancerClass"]),
            class,
            SET_ONCE,
        ));
    }
    errors.extend(load_balancer_class(&new.spec));
    let checked = needs_health_check(&old.spec) && needs_health_check(&new.spec);
    if checked && new.spec.health_check_node_port != old.spec.health_check_node_port {
        errors.push(field::forbidden(
            &path(&["spec", "healthCheckNodePort"]),
            IMMUTABLE,
        ));
    }
    errors.extend(service_rules(new, Some(old)));
    errors
}

pub fn validate_service_status_update(new: &Service, old: &Service) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(load_balancer_status(
        new,
        old,
        &path(&["status", "loadBalancer", "ingress"]),
    ));
    errors
}

fn load_balancer_status(new: &Service, old: &Service, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let ingress = &new.status.load_balancer.ingress;
    if new.spec.type_ != "LoadBalancer" && !ingress.is_empty() {
        return field::forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")
            .into();
    }
    let known = old.status.load_balancer.ingress.iter();
    let known: Known<'_> = known
        .map(|ingress| ingress.ip.as_str())
        .filter(|ip| !ip.is_empty())
        .collect();
    for (i, ingress) in ingress.iter().enumerate() {
        let path = path.index(i);
        let mode_path = path.child("ipMode");
        if !ingress.ip.is_empty() {
            errors.extend(legacy_ip(&path.child("ip"), &ingress.ip, &known));
        }
        match &ingress.ip_mode {
            None if !ingress.ip.is_empty() => {
                errors.push(field::required(
                    &mode_path,
                    "must be specified when `ip` is set",
                ));
            }
            None => {}
            Some(_) if ingress.ip.is_empty() => {
                errors.push(field::forbidden(
                    &mode_path,
                    "may not be specified when `ip` is not set",
                ));
            }
            Some(mode) => errors.extend(one_of(mode, &["Proxy", "VIP"], &mode_path)),
        }
        if !ingress.hostname.is_empty() {
            let path = path.child("hostname");
            errors.extend(dns_subdomain(&ingress.hostname, &path));
            if rules::parse_ip_sloppy(&ingress.hostname).is_some() {
                let detail = "must be a DNS name, not an IP address";
                errors.push(field::invalid(&path, &ingress.hostname, detail));
            }
        }
    }
    errors
}

fn service_rules(service: &Service, old: Option<&Service>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = &service.spec;
    let ty = spec.type_.as_str();
    let path = Path::new("spec");
    let annotations = &service.metadata.annotations;
    if let (Some(mode), Some(hints)) = (
        annotations.get(TOPOLOGY_MODE),
        annotations.get(TOPOLOGY_HINTS),
    ) && mode != hints
    {
        let path = super::path(&["metadata", "annotations"]).key(TOPOLOGY_MODE);
        let detail = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
        errors.push(field::invalid(&path, mode, detail));
    }
    let headless = is_headless(service);
    let ports_path = path.child("ports");
    if spec.ports.is_empty() && !headless && ty != "ExternalName" {
        errors.push(field::required(&ports_path, ""));
    }
    match ty {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {ty} services");
            errors.push(field::invalid(
                &path.child("clusterIPs").index(0),
                "None",
                detail,
            ));
        }
        "ExternalName" => errors.extend(external_name(spec, &path)),
        _ => {}
    }
    let mut names = BTreeSet::new();
    for (i, port) in spec.ports.iter().enumerate() {
        errors.extend(service_port(
            port,
            spec.ports.len() > 1,
            &mut names,
            &ports_path.index(i),
        ));
    }
    errors.extend(rules::validate_labels(
        &spec.selector,
        &path.child("selector"),
    ));
    errors.extend(session_affinity(spec, &path));
    errors.extend(cluster_ips(service, old, &path));
    let known = old.map_or(&[][..], |old| &old.spec.external_ips);
    let known: Known<'_> = known.iter().map(String::as_str).collect();
    for (i, ip) in spec.external_ips.iter().enumerate() {
        let path = path.child("externalIPs").index(i);
        let problems = legacy_ip(&path, ip, &known);
        if problems.is_empty() {
            errors.extend(endpoint_ip(ip, &path));
        } else {
            errors.extend(problems);
        }
    }
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    errors.extend(required_one_of(ty, &types, &path.child("type")));
    if ty == "ClusterIP" {
        for (i, _) in spec
            .ports
            .iter()
            .enumerate()
            .filter(|(_, port)| port.node_port != 0)
        {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(field::forbidden(
                &ports_path.index(i).child("nodePort"),
                detail,
            ));
        }
    }
    let mut node_ports = BTreeSet::new();
    for (i, port) in spec.ports.iter().enumerate() {
        if port.node_port != 0 && !node_ports.insert((&port.protocol, port.node_port)) {
            errors.push(field::duplicate(
                &ports_path.index(i).child("nodePort"),
                port.node_port,
            ));
        }
    }
    let mut ports = BTreeSet::new();
    for (i, port) in spec.ports.iter().enumerate() {
        if !ports.insert((&port.protocol, port.port)) {
            let key = ServicePort {
                protocol: port.protocol.clone(),
                port: port.port,
                ..ServicePort::default()
            };
            errors.push(field::duplicate(
                &ports_path.index(i),
                go_value::bad_value(&key),
            ));
        }
    }
    errors.extend(source_ranges(service, old, &path));
    let allocate = spec.allocate_load_balancer_node_ports;
    if allocate.is_some() && ty != "LoadBalancer" {
        errors.push(field::forbidden(
            &path.child("allocateLoadBalancerNodePorts"),
            FOR_LOAD_BALANCERS,
        ));
    }
    if allocate.is_none() && ty == "LoadBalancer" {
        errors.push(field::required(
            &Path::new("allocateLoadBalancerNodePorts"),
            "",
        ));
    }
    errors.extend(load_balancer_class(spec));
    errors.extend(traffic_policies(spec, &path));
    errors
}

fn external_name(spec: &ServiceSpec, path: &Path) -> ErrorList {
    const DETAIL: &str = "may not be set for ExternalName services";
    let mut errors = ErrorList::new();
    for (set, child) in [
        (!spec.cluster_ips.is_empty(), "clusterIPs"),
        (!spec.ip_families.is_empty(), "ipFamilies"),
        (spec.ip_family_policy.is_some(), "ipFamilyPolicy"),
    ] {
        if set {
            errors.push(field::forbidden(&path.child(child), DETAIL));
        }
    }
    let path = path.child("externalName");
    let name = spec
        .external_name
        .strip_suffix('.')
        .unwrap_or(&spec.external_name);
    if name.is_empty() {
        errors.push(field::required(&path, ""));
    } else {
        errors.extend(dns_subdomain(name, &path));
    }
    errors
}

fn service_port<'a>(
    port: &'a ServicePort,
    require_name: bool,
    names: &mut BTreeSet<&'a str>,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let name_path = path.child("name");
    if require_name && port.name.is_empty() {
        errors.push(field::required(&name_path, ""));
    } else if !port.name.is_empty() {
        errors.extend(dns_label(&port.name, &name_path));
        if !names.insert(&port.name) {
            errors.push(field::duplicate(&name_path, &port.name));
        }
    }
    errors.extend(port_number(port.port, &path.child("port")));
    errors.extend(required_one_of(
        &port.protocol,
        &PROTOCOLS,
        &path.child("protocol"),
    ));
    errors.extend(port_number_or_name(
        &port.target_port,
        &path.child("targetPort"),
    ));
    if let Some(protocol) = &port.app_protocol {
        errors.extend(qualified_name(protocol, &path.child("appProtocol")));
    }
    errors
}

fn session_affinity(spec: &ServiceSpec, path: &Path) -> ErrorList {
    const WHEN: &str = "when session affinity type is ClientIP";
    let affinity = spec.session_affinity.as_str();
    let mut errors = required_one_of(
        affinity,
        &["ClientIP", "None"],
        &path.child("sessionAffinity"),
    );
    let path = path.child("sessionAffinityConfig");
    match (affinity, &spec.session_affinity_config) {
        ("ClientIP", None) => errors.push(field::required(&path, WHEN)),
        ("ClientIP", Some(config)) => {
            let path = path.child("clientIP");
            let seconds_path = path.child("timeoutSeconds");
            match config
                .client_ip
                .as_ref()
                .map(|config| config.timeout_seconds)
            {
                None => errors.push(field::required(&path, WHEN)),
                Some(None) => errors.push(field::required(&seconds_path, WHEN)),
                Some(Some(seconds)) if seconds <= 0 || seconds > 86400 => {
                    let detail = "must be greater than 0 and less than 86400";
                    errors.push(field::invalid(&seconds_path, seconds, detail));
                }
                Some(Some(_)) => {}
            }
        }
        ("None", Some(_)) => {
            errors.push(field::forbidden(
                &path,
                "must not be set when session affinity is None",
            ));
        }
        _ => {}
    }
    errors
}

fn source_ranges(service: &Service, old: Option<&Service>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = &service.spec;
    let balanced = spec.type_ == "LoadBalancer";
    if !spec.load_balancer_source_ranges.is_empty() {
        let path = path.child("LoadBalancerSourceRanges");
        if !balanced {
            errors.push(field::forbidden(&path, FOR_LOAD_BALANCERS));
        }
        let known = old.map_or(&[][..], |old| &old.spec.load_balancer_source_ranges);
        let known: Known<'_> = known.iter().map(|range| range.trim()).collect();
        for (i, range) in spec.load_balancer_source_ranges.iter().enumerate() {
            errors.extend(legacy_cidr(&path.index(i), range.trim(), &known));
        }
    } else if let Some(text) = service.metadata.annotations.get(SOURCE_RANGES) {
        let path = super::path(&["metadata", "annotations"]).key(SOURCE_RANGES);
        if !balanced {
            errors.push(field::forbidden(&path, FOR_LOAD_BALANCERS));
        }
        let before = old.and_then(|old| old.metadata.annotations.get(SOURCE_RANGES));
        let text_changed = old.is_none() || before.map_or("", String::as_str) != text;
        if text_changed && !text.trim().is_empty() {
            for range in text.trim().split(',') {
                errors.extend(legacy_cidr(&path, range.trim(), &Known::new()));
            }
        }
    }
    errors
}

fn load_balancer_class(spec: &ServiceSpec) -> ErrorList {
    let path = path(&["spec", "loadBalancerClass"]);
    match &spec.load_balancer_class {
        None => ErrorList::new(),
        Some(class) if spec.type_ == "LoadBalancer" => qualified_name(class, &path),
        Some(_) => field::forbidden(&path, FOR_LOAD_BALANCERS).into(),
    }
}

fn traffic_policies(spec: &ServiceSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (external, external_path) = (
        spec.external_traffic_policy.as_str(),
        path.child("externalTrafficPolicy"),
    );
    if is_externally_accessible(spec) {
        errors.extend(required_one_of(
            external,
            &["Cluster", "Local"],
            &external_path,
        ));
    } else if !external.is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.push(field::invalid(&external_path, external, detail));
    }
    let (port, port_path) = (
        spec.health_check_node_port,
        path.child("healthCheckNodePort"),
    );
    if !needs_health_check(spec) {
        if port != 0 {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(field::invalid(&port_path, port, detail));
        }
    } else if port == 0 {
        errors.push(field::required(&port_path, ""));
    } else {
        errors.extend(port_number(port, &port_path));
    }
    let internal_path = path.child("internalTrafficPolicy");
    match &spec.internal_traffic_policy {
        None if matches!(
            spec.type_.as_str(),
            "NodePort" | "LoadBalancer" | "ClusterIP"
        ) =>
        {
            errors.push(field::required(&internal_path, ""));
        }
        None => {}
        Some(policy) => errors.extend(one_of(policy, &["Cluster", "Local"], &internal_path)),
    }
    if let Some(distribution) = &spec.traffic_distribution {
        let known: &[&str] = if gates::enabled("PreferSameTrafficDistribution") {
            &["PreferClose", "PreferSameZone", "PreferSameNode"]
        } else {
            &["PreferClose"]
        };
        errors.extend(one_of(
            distribution,
            known,
            &path.child("trafficDistribution"),
        ));
    }
    errors
}

/// What is wrong with the addresses and families of a service.
pub(crate) fn cluster_ips(service: &Service, old: Option<&Service>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = &service.spec;
    if spec.type_ == "ExternalName" {
        return errors;
    }
    let ips = &spec.cluster_ips;
    let ips_path = path.child("clusterIPs");
    match ips.first() {
        None if !spec.cluster_ip.is_empty() => errors.push(field::required(&ips_path, "")),
        Some(_) if spec.cluster_ip.is_empty() => {
            errors.push(field::invalid(
                &ips_path,
                ips,
                "must be empty when `clusterIP` is not specified",
            ));
        }
        Some(first) if *first != spec.cluster_ip => {
            errors.push(field::invalid(
                &ips_path,
                ips,
                "first value must match `clusterIP`",
            ));
        }
        _ => {}
    }
    let families_path = path.child("ipFamilies");
    let mut seen = BTreeSet::new();
    for (i, family) in spec.ip_families.iter().enumerate() {
        errors.extend(one_of(family, &["IPv4", "IPv6"], &families_path.index(i)));
        if !seen.insert(family) {
            errors.push(field::duplicate(&families_path.index(i), family));
        }
    }
    if let Some(policy) = &spec.ip_family_policy {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        errors.extend(one_of(policy, &policies, &path.child("ipFamilyPolicy")));
    }
    let known = old.map_or(&[][..], |old| &old.spec.cluster_ips);
    let known: Known<'_> = known.iter().map(String::as_str).collect();
    let mut any_invalid = false;
    for (i, ip) in ips.iter().enumerate() {
        if i == 0 && ip == "None" {
            if ips.len() > 1 {
                any_invalid = true;
                errors.push(field::invalid(
                    &ips_path,
                    ips,
                    "'None' must be the first and only value",
                ));
            }
            continue;
        }
        let problems = legacy_ip(&ips_path.index(i), ip, &known);
        any_invalid |= !problems.is_empty();
        errors.extend(problems);
    }
    if ips.len() > 2 {
        errors.push(field::invalid(
            &ips_path,
            ips,
            "may only hold up to 2 values",
        ));
    }
    if any_invalid {
        return errors;
    }
    if ips.len() > 1 && is_dual_stack(ips.iter().map(String::as_str)) != Some(true) {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(field::invalid(&ips_path, ips, detail));
    }
    if !is_headless(service) {
        for (i, (ip, family)) in ips.iter().zip(&spec.ip_families).enumerate() {
            let v6 = rules::parse_ip_sloppy(ip).is_some_and(|ip| ip.is_ipv6());
            let expected = match family.as_str() {
                "IPv4" if v6 => "an IPv4",
                "IPv6" if !v6 => "an IPv6",
                _ => continue,
            };
            let detail = format!("expected {expected} value as indicated by `ipFamilies[{i}]`");
            errors.push(field::invalid(&ips_path.index(i), ip, detail));
        }
    }
    errors
}

fn cluster_ips_change(new: &Service, old: &Service) -> ErrorList {
    let mut errors = ErrorList::new();
    let external = new.spec.type_ == "ExternalName" || old.spec.type_ == "ExternalName";
    if external || is_headless(new) && is_headless(old) {
        return errors;
    }
    let path = path(&["spec"]);
    let ips_path = path.child("clusterIPs");
    let (ips, before) = (&new.spec.cluster_ips, &old.spec.cluster_ips);
    if before.len() == ips.len() {
        for (i, _) in before
            .iter()
            .zip(ips)
            .enumerate()
            .filter(|(_, (before, ip))| before != ip)
        {
            errors.push(field::invalid(&ips_path.index(i), ips, SET_ONCE));
        }
        return errors;
    }
    let released = before.len() > ips.len();
    if released && ips.is_empty() {
        errors.push(field::invalid(
            &ips_path.index(0),
            ips,
            "primary clusterIP can not be unset",
        ));
    }
    if let (Some(first), Some(first_before)) = (ips.first(), before.first())
        && first != first_before
    {
        errors.push(field::invalid(&ips_path.index(0), ips, SET_ONCE));
    }
    if released && ips.len() == 1 && new.spec.ip_family_policy.as_deref() != Some("SingleStack") {
        let detail = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        let policy = new.spec.ip_family_policy.as_deref();
        errors.push(field::invalid(
            &path.child("ipFamilyPolicy"),
            policy,
            detail,
        ));
    }
    errors
}

fn families_change(new: &Service, old: &Service) -> ErrorList {
    let mut errors = ErrorList::new();
    let external = new.spec.type_ == "ExternalName" || old.spec.type_ == "ExternalName";
    if external || is_headless(new) != is_headless(old) || is_headless(new) {
        return errors;
    }
    let path = path(&["spec"]);
    let first_path = path.child("ipFamilies").index(0);
    let (families, before) = (&new.spec.ip_families, &old.spec.ip_families);
    if before.len() == families.len() {
        for _ in before
            .iter()
            .zip(families)
            .filter(|(before, family)| before != family)
        {
            errors.push(field::invalid(&first_path, families, SET_ONCE));
        }
        return errors;
    }
    let released = before.len() > families.len();
    if released && new.spec.cluster_ips.is_empty() {
        errors.push(field::invalid(
            &first_path,
            families,
            "primary ipFamily can not be unset",
        ));
    }
    if let (Some(first), Some(first_before)) = (families.first(), before.first())
        && first != first_before
    {
        // Upstream prints the addresses here.
        errors.push(field::invalid(&first_path, &new.spec.cluster_ips, SET_ONCE));
    }
    if released
        && families.len() == 1
        && new.spec.ip_family_policy.as_deref() != Some("SingleStack")
    {
        let detail = "must be set to 'SingleStack' when releasing the secondary ipFamily";
        let policy = new.spec.ip_family_policy.as_deref();
        errors.push(field::invalid(
            &path.child("ipFamilyPolicy"),
            policy,
            detail,
        ));
    }
    errors
}

/// An address that traffic can be sent to.
pub fn endpoint_ip(text: &str, path: &Path) -> ErrorList {
    let Some(ip) = rules::parse_ip_sloppy(text) else {
        return field::invalid(path, text, "must be a valid IP address").into();
    };
    let mut errors = ErrorList::new();
    if ip.is_unspecified() {
        errors.push(field::invalid(
            path,
            text,
            format!("may not be unspecified ({text})"),
        ));
    }
    if ip.is_loopback() {
        let detail = "may not be in the loopback range (127.0.0.0/8, ::1/128)";
        errors.push(field::invalid(path, text, detail));
    }
    let (local, multicast) = match ip {
        std::net::IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(v6) => (
            v6.segments()[0] & 0xffc0 == 0xfe80,
            v6.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    if local {
        let detail = "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
        errors.push(field::invalid(path, text, detail));
    }
    if multicast {
        let detail = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
        errors.push(field::invalid(path, text, detail));
    }
    errors
}
