//! Services and endpoints. Upstream: pkg/registry/core/service and endpoint.

use std::collections::BTreeSet;

use api_types::core::v1::*;
use apimachinery::field::Path;
use apimachinery::quote::quote;
use apimachinery::validation as rules;

use super::{Kind, Row, Status, path, row};
use crate::apis::validation::core as checks;
use crate::apis::validation::services::{
    needs_health_check, validate_service, validate_service_status_update, validate_service_update,
};

pub(super) static ROWS: &[Row] = &[
    row("", "Service", "", &SERVICE),
    row("", "Service", "status", &SERVICE_STATUS),
    row("", "Endpoints", "", &ENDPOINTS),
];

static SERVICE: Kind<Service> = Kind {
    prepare_update: |_, service, old| drop_type_dependent_fields(service, old),
    warn: |_, service| service_warnings(service),
    warn_update: |_, service, _| service_warnings(service),
    create_on_update: true,
    ..Kind::new(
        |_, service| validate_service(service),
        |_, service, old| validate_service_update(service, old),
    )
};

static SERVICE_STATUS: Status<Service> = Status {
    warn: |_, service, _| {
        let path = path(&["status", "loadBalancer", "ingress"]);
        let ingress = service.status.load_balancer.ingress.iter().enumerate();
        let named = ingress.filter(|(_, ingress)| !ingress.ip.is_empty());
        named
            .flat_map(|(i, ingress)| rules::get_warnings_for_ip(&path.index(i), &ingress.ip))
            .collect()
    },
    create_on_update: true,
    ..Status::new(|_, service, old| validate_service_status_update(service, old))
};

static ENDPOINTS: Kind<Endpoints> = Kind {
    warn: |_, endpoints| endpoints_warnings(endpoints),
    warn_update: |_, endpoints, _| endpoints_warnings(endpoints),
    create_on_update: true,
    ..Kind::new(
        |_, endpoints| checks::validate_endpoints(endpoints),
        |_, endpoints, old| checks::validate_endpoints_update(endpoints, old),
    )
};

/// A client that only changes the type need not clear what belongs to the old type.
fn drop_type_dependent_fields(new: &mut Service, old: &Service) {
    let (spec, before) = (&mut new.spec, &old.spec);
    let has_ip = |spec: &ServiceSpec| spec.type_ != "ExternalName";
    let has_node_port =
        |spec: &ServiceSpec| matches!(spec.type_.as_str(), "NodePort" | "LoadBalancer");
    let balanced = |spec: &ServiceSpec| spec.type_ == "LoadBalancer";
    let accessible = |spec: &ServiceSpec| {
        has_node_port(spec) || spec.type_ == "ClusterIP" && !spec.external_ips.is_empty()
    };
    if has_ip(before) && !has_ip(spec) {
        if before.cluster_ip == spec.cluster_ip && before.cluster_ips == spec.cluster_ips {
            spec.cluster_ip.clear();
            spec.cluster_ips.clear();
        }
        if before.ip_families == spec.ip_families {
            spec.ip_families.clear();
        }
        if before.ip_family_policy == spec.ip_family_policy {
            spec.ip_family_policy = None;
        }
    }
    if has_node_port(before) && !has_node_port(spec) {
        let ports = |spec: &ServiceSpec| -> BTreeSet<i32> {
            spec.ports
                .iter()
                .map(|port| port.node_port)
                .filter(|port| *port != 0)
                .collect()
        };
        if ports(spec).is_subset(&ports(before)) {
            for port in &mut spec.ports {
                port.node_port = 0;
            }
        }
    }
    if needs_health_check(before)
        && !needs_health_check(spec)
        && before.health_check_node_port == spec.health_check_node_port
    {
        spec.health_check_node_port = 0;
    }
    if balanced(before) && !balanced(spec) {
        if before.allocate_load_balancer_node_ports == spec.allocate_load_balancer_node_ports {
            spec.allocate_load_balancer_node_ports = None;
        }
        if before.load_balancer_class == spec.load_balancer_class {
            spec.load_balancer_class = None;
        }
    }
    if accessible(before)
        && !accessible(spec)
        && before.external_traffic_policy == spec.external_traffic_policy
    {
        spec.external_traffic_policy.clear();
    }
    if !balanced(spec) {
        new.status.load_balancer = LoadBalancerStatus::default();
    }
}

fn service_warnings(service: &Service) -> Vec<String> {
    let mut warnings = Vec::new();
    let spec = &service.spec;
    let path = Path::new("spec");
    if service
        .metadata
        .annotations
        .contains_key("service.kubernetes.io/topology-aware-hints")
    {
        warnings.push(
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead"
                .to_owned(),
        );
    }
    if !matches!(spec.cluster_ip.as_str(), "" | "None") {
        for (i, ip) in spec.cluster_ips.iter().enumerate() {
            warnings.extend(rules::get_warnings_for_ip(
                &path.child("clusterIPs").index(i),
                ip,
            ));
        }
    }
    let headless = spec.type_ == "ClusterIP" && spec.cluster_ip == "None";
    if headless {
        for (set, name) in [
            (!spec.load_balancer_ip.is_empty(), "loadBalancerIP"),
            (!spec.external_ips.is_empty(), "externalIPs"),
            (spec.session_affinity != "None", "SessionAffinity"),
        ] {
            if set {
                warnings.push(format!("spec.{name} is ignored for headless services"));
            }
        }
    }
    for (i, ip) in spec.external_ips.iter().enumerate() {
        warnings.extend(rules::get_warnings_for_ip(
            &path.child("externalIPs").index(i),
            ip,
        ));
    }
    let external_name = spec.type_ == "ExternalName";
    if !spec.external_ips.is_empty() && !headless && !external_name {
        let warning =
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
        warnings.push(warning.to_owned());
    }
    if !spec.load_balancer_ip.is_empty() {
        warnings.extend(rules::get_warnings_for_ip(
            &path.child("loadBalancerIP"),
            &spec.load_balancer_ip,
        ));
    }
    for (i, cidr) in spec.load_balancer_source_ranges.iter().enumerate() {
        let path = path.child("loadBalancerSourceRanges").index(i);
        warnings.extend(rules::get_warnings_for_cidr(&path, cidr));
    }
    if external_name && !spec.external_ips.is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !external_name && !spec.external_name.is_empty() {
        warnings
            .push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.traffic_distribution.as_deref() == Some("PreferClose") {
        let (old, new) = (quote("PreferClose"), quote("PreferSameZone"));
        warnings.push(format!(
            "spec.trafficDistribution: {old} is deprecated; use {new}"
        ));
    }
    warnings
}

fn endpoints_warnings(endpoints: &Endpoints) -> Vec<String> {
    let mut warnings = Vec::new();
    let manager = endpoints
        .metadata
        .labels
        .get("endpoints.kubernetes.io/managed-by");
    if manager.is_some_and(|manager| manager == "endpoint-controller") {
        return warnings;
    }
    for (i, subset) in endpoints.subsets.iter().enumerate() {
        let path = Path::new("subsets").index(i);
        for (list, child) in [
            (&subset.addresses, "addresses"),
            (&subset.not_ready_addresses, "notReadyAddresses"),
        ] {
            for (j, address) in list.iter().enumerate() {
                let path = path.child(child).index(j).child("ip");
                warnings.extend(rules::get_warnings_for_ip(&path, &address.ip));
            }
        }
    }
    warnings
}
