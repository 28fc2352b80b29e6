//! Which IP families a Service has, and how its singular and plural address fields agree. Upstream: alloc.go and
//! storage.go of pkg/registry/core/service/storage.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use api_types::core::v1::Service;
use apimachinery::field::{self, ErrorList, Path};
use apimachinery::gvk::GroupKind;
use apimachinery::status::{self, StatusError};

use crate::apis::validation::services;

const SINGLE: &str = "SingleStack";
const PREFER_DUAL: &str = "PreferDualStack";
const REQUIRE_DUAL: &str = "RequireDualStack";
const NONE: &str = "None";

fn invalid(service: &Service, errors: &ErrorList) -> StatusError {
    status::invalid(
        &GroupKind {
            group: String::new(),
            kind: "Service".to_owned(),
        },
        &service.metadata.name,
        errors,
    )
}

fn family_of(ip: &str) -> &'static str {
    if ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
        "IPv6"
    } else {
        "IPv4"
    }
}

fn other(family: &str) -> String {
    if family == "IPv4" { "IPv6" } else { "IPv4" }.to_owned()
}

/// Makes clusterIPs follow clusterIP for clients that only know the latter.
pub(super) fn normalize_cluster_ips(service: &mut Service, old: Option<&Service>) {
    let spec = &mut service.spec;
    let Some(old) = old else {
        if !spec.cluster_ip.is_empty() && spec.cluster_ips.is_empty() {
            spec.cluster_ips = vec![spec.cluster_ip.clone()];
        }
        return;
    };
    if !old.spec.cluster_ips.is_empty()
        && spec.cluster_ips.is_empty()
        && old.spec.cluster_ip == spec.cluster_ip
    {
        spec.cluster_ips.clone_from(&old.spec.cluster_ips);
    }
    if old.spec.cluster_ip != spec.cluster_ip && old.spec.cluster_ips == spec.cluster_ips {
        spec.cluster_ips = if !old.spec.cluster_ip.is_empty() && spec.cluster_ip.is_empty() {
            Vec::new()
        } else {
            vec![spec.cluster_ip.clone()]
        };
    }
}

/// Puts allocated values back that the client left out, so that sending the same manifest again works.
pub(super) fn patch_allocated_values(service: &mut Service, old: &Service) {
    let headful = |service: &Service| service.spec.type_ != "ExternalName";
    if headful(old) && headful(service) {
        if service.spec.cluster_ip.is_empty() {
            service.spec.cluster_ip.clone_from(&old.spec.cluster_ip);
        }
        if service.spec.cluster_ips.is_empty() {
            service.spec.cluster_ips.clone_from(&old.spec.cluster_ips);
        }
    }
    let has_ports =
        |service: &Service| matches!(service.spec.type_.as_str(), "NodePort" | "LoadBalancer");
    if has_ports(old) && has_ports(service) {
        let before = old.spec.ports.iter();
        let before: HashMap<&String, i32> =
            before.map(|port| (&port.name, port.node_port)).collect();
        let used: HashSet<i32> = service
            .spec
            .ports
            .iter()
            .map(|port| port.node_port)
            .filter(|port| *port != 0)
            .collect();
        for port in service
            .spec
            .ports
            .iter_mut()
            .filter(|port| port.node_port == 0)
        {
            let known = before.get(&port.name).copied().unwrap_or_default();
            if !used.contains(&known) {
                port.node_port = known;
            }
        }
    }
    let health = |service: &Service| {
        service.spec.type_ == "LoadBalancer" && service.spec.external_traffic_policy == "Local"
    };
    if health(old) && health(service) && service.spec.health_check_node_port == 0 {
        service.spec.health_check_node_port = old.spec.health_check_node_port;
    }
}

/// A service that prefers two families and changed nothing about them keeps what it has, whatever the cluster is now.
fn keeps_preferred(service: &Service, old: &Service) -> bool {
    let policy = |service: &Service| service.spec.ip_family_policy.clone();
    old.spec.type_ != "ExternalName"
        && service.spec.type_ != "ExternalName"
        && policy(service).is_some()
        && policy(service) == policy(old)
        && policy(service).as_deref() == Some(PREFER_DUAL)
        && old.spec.cluster_ips == service.spec.cluster_ips
        && old.spec.ip_families == service.spec.ip_families
}

/// Fills in ipFamilyPolicy and ipFamilies. `configured` are the families of the cluster, the default one first.
pub(super) fn init(
    service: &mut Service,
    old: Option<&Service>,
    configured: &[&'static str],
) -> Result<(), StatusError> {
    if service.spec.type_ == "ExternalName" || old.is_some_and(|old| keeps_preferred(service, old))
    {
        return Ok(());
    }
    // What cannot be right is refused before anything is made up or taken.
    let errors = services::cluster_ips(service, old, &Path::new("spec"));
    if !errors.is_empty() {
        return Err(invalid(service, &errors));
    }
    let headless = service.spec.cluster_ip == NONE;
    let selectorless_headless = headless && service.spec.selector.is_empty();
    if service.spec.ip_family_policy.is_none() {
        let inherited = old.and_then(|old| old.spec.ip_family_policy.clone());
        service.spec.ip_family_policy = Some(inherited.unwrap_or_else(|| {
            if selectorless_headless {
                REQUIRE_DUAL
            } else {
                SINGLE
            }
            .to_owned()
        }));
    }
    let policy = service.spec.ip_family_policy.clone().unwrap_or_default();
    let single = policy == SINGLE;
    let spec_path = Path::new("spec");
    let policy_path = spec_path.child("ipFamilyPolicy");
    let mut errors = ErrorList::new();
    if let Some(old) = old {
        if single {
            if old.spec.cluster_ips == service.spec.cluster_ips
                && service.spec.cluster_ips.len() > 1
            {
                service.spec.cluster_ips.truncate(1);
            }
            if old.spec.ip_families == service.spec.ip_families
                && service.spec.ip_families.len() > 1
            {
                service.spec.ip_families.truncate(1);
            }
        } else {
            if reduced(&old.spec.cluster_ips, &service.spec.cluster_ips) {
                errors.push(field::invalid(
                    &policy_path,
                    policy.as_str(),
                    "must be 'SingleStack' to release the secondary cluster IP",
                ));
            }
            if reduced(&old.spec.ip_families, &service.spec.ip_families) {
                errors.push(field::invalid(
                    &policy_path,
                    policy.as_str(),
                    "must be 'SingleStack' to release the secondary IP family",
                ));
            }
        }
    }
    if single {
        if service.spec.cluster_ips.len() == 2 {
            errors.push(field::invalid(&policy_path, policy.as_str(), "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"));
        }
        if service.spec.ip_families.len() == 2 {
            errors.push(field::invalid(&policy_path, policy.as_str(), "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"));
        }
    }
    for (i, ip) in service.spec.cluster_ips.clone().iter().enumerate() {
        if ip == NONE {
            break;
        }
        if ip.is_empty() || i < service.spec.ip_families.len() {
            continue;
        }
        let family = family_of(ip);
        if configured.contains(&family) {
            service.spec.ip_families.push(family.to_owned());
        } else {
            let path = spec_path.child("clusterIPs").index(i);
            errors.push(field::invalid(
                &path,
                service.spec.cluster_ips.as_slice(),
                format!("{family} is not configured on this cluster"),
            ));
        }
    }
    if !errors.is_empty() {
        return Err(invalid(service, &errors));
    }
    let default = configured.first().copied().unwrap_or("IPv4");
    let families = &mut service.spec.ip_families;
    if selectorless_headless {
        if families.is_empty() {
            families.push(default.to_owned());
        }
        if families.len() < 2 && !single {
            let second = other(&families[0]);
            families.push(second);
        }
        return Ok(());
    }
    if policy == REQUIRE_DUAL && configured.len() < 2 {
        errors.push(field::invalid(
            &policy_path,
            policy.as_str(),
            "this cluster is not configured for dual-stack services",
        ));
    }
    for (i, family) in families.iter().enumerate() {
        if !configured.contains(&family.as_str()) {
            errors.push(field::invalid(
                &spec_path.child("ipFamilies").index(i),
                family.as_str(),
                "not configured on this cluster",
            ));
        }
    }
    if !errors.is_empty() {
        return Err(invalid(service, &errors));
    }
    let families = &mut service.spec.ip_families;
    if families.is_empty() {
        families.push(default.to_owned());
    }
    if !single && families.len() == 1 && configured.len() == 2 {
        let second = other(&families[0]);
        families.push(second);
    }
    Ok(())
}

/// Whether there are fewer than before, with the first one kept.
fn reduced(old: &[String], new: &[String]) -> bool {
    !old.is_empty() && !new.is_empty() && new.len() < old.len() && old[0] == new[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(kind: &str, cluster_ip: &str) -> Service {
        let mut service = Service::default();
        kind.clone_into(&mut service.spec.type_);
        cluster_ip.clone_into(&mut service.spec.cluster_ip);
        service.spec.selector.insert("a".to_owned(), "b".to_owned());
        normalize_cluster_ips(&mut service, None);
        service
    }

    #[test]
    fn families_follow_policy_and_cluster() {
        let mut plain = service("ClusterIP", "");
        init(&mut plain, None, &["IPv4"]).unwrap();
        assert_eq!(
            (
                plain.spec.ip_family_policy.as_deref(),
                plain.spec.ip_families.as_slice()
            ),
            (Some(SINGLE), &["IPv4".to_owned()][..])
        );

        let mut preferred = service("ClusterIP", "");
        preferred.spec.ip_family_policy = Some(PREFER_DUAL.to_owned());
        init(&mut preferred, None, &["IPv6", "IPv4"]).unwrap();
        assert_eq!(preferred.spec.ip_families, ["IPv6", "IPv4"]);

        let mut required = service("ClusterIP", "");
        required.spec.ip_family_policy = Some(REQUIRE_DUAL.to_owned());
        assert!(
            init(&mut required, None, &["IPv4"])
                .unwrap_err()
                .message
                .contains("this cluster is not configured for dual-stack services")
        );

        let mut headless = service("ClusterIP", NONE);
        headless.spec.selector.clear();
        init(&mut headless, None, &["IPv4"]).unwrap();
        assert_eq!(headless.spec.ip_families, ["IPv4", "IPv6"]);
    }

    #[test]
    fn the_same_manifest_again_keeps_what_was_allocated() {
        let mut old = service("NodePort", "10.0.0.9");
        old.spec.ports = vec![api_types::core::v1::ServicePort {
            name: "http".to_owned(),
            port: 80,
            node_port: 30080,
            ..Default::default()
        }];
        let mut new = service("NodePort", "");
        new.spec.ports = vec![api_types::core::v1::ServicePort {
            name: "http".to_owned(),
            port: 80,
            ..Default::default()
        }];
        patch_allocated_values(&mut new, &old);
        normalize_cluster_ips(&mut new, Some(&old));
        assert_eq!(
            (
                new.spec.cluster_ip.as_str(),
                new.spec.cluster_ips.as_slice(),
                new.spec.ports[0].node_port
            ),
            ("10.0.0.9", &["10.0.0.9".to_owned()][..], 30080)
        );
    }
}
