//! Decides which slices a Service has, changing as few as possible. Upstream: `reconcileByAddressType` and
//! `reconcileByPortMapping` in k8s.io/endpointslice.
//!
//! Nothing here reads or writes anything outside its arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api_types::Time;
use api_types::core::v1::{Node, ObjectReference, Pod, Service};
use api_types::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use api_types::meta::v1::OwnerReference;
use apimachinery::validation::{name_is_dns_subdomain, parse_ip_sloppy};

use super::super::controller_ref::new_controller_ref;
use super::super::pod_state;
use super::pods::{find_port, has_endpoint, is_cluster_ip_set, shows_hostname};
use super::{HEADLESS, MANAGED_BY, SERVICE_NAME};

/// The annotation with the time of the change that led to a write.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Identifies the ports of a slice: slices of one Service are grouped by them.
pub type PortsKey = Vec<(Option<String>, Option<String>, Option<i32>, Option<String>)>;

/// The key of a group of ports, whatever their order.
pub fn ports_key(ports: &[EndpointPort]) -> PortsKey {
    let mut key: PortsKey = ports
        .iter()
        .map(|port| {
            (
                port.name.clone(),
                port.protocol.clone(),
                port.port,
                port.app_protocol.clone(),
            )
        })
        .collect();
    key.sort();
    key
}

/// Upstream sorts a slice's ports by a hash of Go's dump of each; the order is visible, so it is ours too.
pub fn sort_ports(ports: &mut [EndpointPort]) {
    ports.sort_by_key(|port| {
        fn text<T: std::fmt::Display>(value: Option<&T>) -> String {
            value.map_or_else(|| "<nil>".to_owned(), ToString::to_string)
        }
        let dump = format!(
            "(v1.EndpointPort){{Name:(*string){} Protocol:(*v1.Protocol){} Port:(*int32){} AppProtocol:(*string){}}}",
            text(port.name.as_ref()),
            text(port.protocol.as_ref()),
            text(port.port.as_ref()),
            text(port.app_protocol.as_ref())
        );
        fnv128a(dump.as_bytes())
    });
}

fn fnv128a(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    })
}

/// What makes an endpoint the same one: the rest can change in place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointKey {
    addresses: Vec<String>,
    hostname: String,
    namespace: String,
    name: String,
}

impl EndpointKey {
    /// The identity of an endpoint.
    pub fn of(endpoint: &Endpoint) -> Self {
        let mut addresses = endpoint.addresses.clone();
        addresses.sort();
        let target = endpoint.target_ref.as_deref();
        Self {
            addresses,
            hostname: endpoint.hostname.clone().unwrap_or_default(),
            namespace: target.map(|t| t.namespace.clone()).unwrap_or_default(),
            name: target.map(|t| t.name.clone()).unwrap_or_default(),
        }
    }
}

/// Endpoints by identity.
pub type EndpointSet = BTreeMap<EndpointKey, Endpoint>;

/// Endpoints with the same identity are equal, hints aside.
pub fn equal_beyond_key(a: &Endpoint, b: &Endpoint) -> bool {
    let target = |endpoint: &Endpoint| {
        endpoint.target_ref.clone().map(|mut target| {
            target.resource_version = String::new();
            target
        })
    };
    a.node_name == b.node_name
        && a.zone == b.zone
        && a.conditions == b.conditions
        && target(a) == target(b)
}

/// The groups of wanted endpoints, and what went wrong while they were found.
#[derive(Default)]
pub struct Desired {
    /// Ports and endpoints of each group.
    pub groups: BTreeMap<PortsKey, (Vec<EndpointPort>, EndpointSet)>,
    /// Pods that had to be left out.
    pub errors: Vec<String>,
}

/// The endpoints of a Service in one address family.
pub fn desired(
    service: &Service,
    pods: &[Arc<Pod>],
    address_type: &str,
    node: impl Fn(&str) -> Option<Arc<Node>>,
) -> Desired {
    let mut desired = Desired::default();
    for pod in pods.iter().filter(|pod| has_endpoint(pod, true)) {
        let mut ports = endpoint_ports(service, pod);
        sort_ports(&mut ports);
        let group = desired
            .groups
            .entry(ports_key(&ports))
            .or_insert_with(|| (ports, EndpointSet::new()));
        let node = node(&pod.spec.node_name);
        // A pod of a missing node is retried, and left out meanwhile so that it does not hold the others up.
        if node.is_none() && !service.spec.publish_not_ready_addresses {
            desired.errors.push(format!(
                "skipping Pod {} for Service {}/{}: Node {} Not Found",
                pod.metadata.name,
                service.metadata.namespace,
                service.metadata.name,
                pod.spec.node_name
            ));
            continue;
        }
        let endpoint = endpoint(pod, node.as_deref(), service, address_type);
        if !endpoint.addresses.is_empty() {
            group.1.insert(EndpointKey::of(&endpoint), endpoint);
        }
    }
    desired
}

fn endpoint(pod: &Pod, node: Option<&Node>, service: &Service, address_type: &str) -> Endpoint {
    let serving = pod_state::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let addresses = pod
        .status
        .pod_ips
        .iter()
        .filter_map(|ip| parse_ip_sloppy(&ip.ip))
        .filter(|ip| ip.is_ipv6() == (address_type == "IPv6"))
        .map(|ip| ip.to_string())
        .collect();
    Endpoint {
        addresses,
        conditions: EndpointConditions {
            ready: Some(service.spec.publish_not_ready_addresses || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        },
        hostname: shows_hostname(pod, service).then(|| pod.spec.hostname.clone()),
        target_ref: Some(Box::new(ObjectReference {
            kind: "Pod".to_owned(),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        })),
        node_name: Some(pod.spec.node_name.clone()).filter(|name| !name.is_empty()),
        zone: node
            .and_then(|node| node.metadata.labels.get(ZONE).cloned())
            .filter(|zone| !zone.is_empty()),
        ..Default::default()
    }
}

fn endpoint_ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    service
        .spec
        .ports
        .iter()
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone()),
                port: Some(find_port(pod, port)?),
                protocol: Some(port.protocol.clone()),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

/// The address families of a Service.
pub fn address_types(service: &Service) -> BTreeSet<&'static str> {
    let families: BTreeSet<&'static str> = service
        .spec
        .ip_families
        .iter()
        .filter_map(|family| match family.as_str() {
            "IPv4" => Some("IPv4"),
            "IPv6" => Some("IPv6"),
            _ => None,
        })
        .collect();
    if !families.is_empty() {
        return families;
    }
    // An apiserver that does not default the families yet: go by the address, and take headless Services for dual stack.
    if is_cluster_ip_set(service) {
        let v6 = parse_ip_sloppy(&service.spec.cluster_ip).is_some_and(|ip| ip.is_ipv6());
        return BTreeSet::from([if v6 { "IPv6" } else { "IPv4" }]);
    }
    BTreeSet::from(["IPv4", "IPv6"])
}

fn is_reserved(label: &str) -> bool {
    label == SERVICE_NAME || label == MANAGED_BY || label == HEADLESS
}

/// The labels of a Service's slices: the Service's, and ours. Whether the former differ from `present`.
fn slice_labels(
    present: &BTreeMap<String, String>,
    service: &Service,
    manager: &str,
) -> (BTreeMap<String, String>, bool) {
    let own = |labels: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        labels
            .iter()
            .filter(|(key, _)| !is_reserved(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let mut labels = own(&service.metadata.labels);
    let changed = own(present) != labels;
    if !is_cluster_ip_set(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone());
    labels.insert(MANAGED_BY.to_owned(), manager.to_owned());
    (labels, changed)
}

/// Prefix of a slice's generated name.
pub fn name_prefix(service: &str) -> String {
    let prefix = format!("{service}-");
    if name_is_dns_subdomain(&prefix, true).is_empty() {
        prefix
    } else {
        service.to_owned()
    }
}

fn new_slice(
    service: &Service,
    ports: Vec<EndpointPort>,
    address_type: &str,
    manager: &str,
) -> EndpointSlice {
    let mut slice = EndpointSlice {
        address_type: address_type.to_owned(),
        ports,
        ..Default::default()
    };
    slice.metadata.namespace = service.metadata.namespace.clone();
    slice.metadata.generate_name = name_prefix(&service.metadata.name);
    slice.metadata.owner_references = vec![new_controller_ref(service)];
    slice.metadata.labels = slice_labels(&BTreeMap::new(), service, manager).0;
    slice
}

/// The slice belongs to this very Service.
pub(super) fn is_owned(slice: &EndpointSlice, service: &Service) -> bool {
    slice
        .metadata
        .owner_references
        .iter()
        .any(|owner: &OwnerReference| {
            owner.uid == service.metadata.uid
                && owner.kind == "Service"
                && owner.api_version == "v1"
        })
}

/// Number of endpoints and of slices of one group of ports, for metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Efficiency {
    /// Endpoints.
    pub endpoints: usize,
    /// Slices they take.
    pub slices: usize,
}

/// What has to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// New slices, without a name.
    pub create: Vec<EndpointSlice>,
    /// Changed slices.
    pub update: Vec<EndpointSlice>,
    /// Slices to delete.
    pub delete: Vec<Arc<EndpointSlice>>,
    /// Slices that stay as they are.
    pub unchanged: Vec<Arc<EndpointSlice>>,
    /// Endpoints that are new.
    pub added: usize,
    /// Endpoints that go.
    pub removed: usize,
    /// Sizes by group.
    pub efficiency: Vec<Efficiency>,
}

/// The slices of one address family: from those that exist to those that are wanted.
pub fn plan(
    service: &Service,
    existing: &[Arc<EndpointSlice>],
    desired: Desired,
    address_type: &str,
    max: usize,
    manager: &str,
) -> Plan {
    let mut plan = Plan::default();
    let mut by_ports: BTreeMap<PortsKey, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing {
        if is_owned(slice, service) {
            by_ports
                .entry(ports_key(&slice.ports))
                .or_default()
                .push(slice.clone());
        } else {
            plan.delete.push(slice.clone());
        }
    }
    for (key, (ports, endpoints)) in desired.groups {
        let count = endpoints.len();
        let present = by_ports.remove(&key).unwrap_or_default();
        let (created, deleted) = (plan.create.len(), plan.delete.len());
        plan_group(
            &mut plan,
            service,
            &present,
            endpoints,
            &|| new_slice(service, ports.clone(), address_type, manager),
            max,
            manager,
        );
        plan.efficiency.push(Efficiency {
            endpoints: count,
            slices: present.len() + (plan.create.len() - created) - (plan.delete.len() - deleted),
        });
    }
    // Ports that no pod has any more.
    plan.delete.extend(by_ports.into_values().flatten());
    // Consumers take the absence of slices for a slow controller: a Service always has one.
    if existing.len() == plan.delete.len() && plan.create.is_empty() {
        let placeholder = new_slice(service, Vec::new(), address_type, manager);
        if plan.delete.len() == 1 && is_placeholder(&plan.delete[0], &placeholder) {
            plan.delete.clear();
        } else {
            plan.create.push(placeholder);
        }
        plan.efficiency.push(Efficiency {
            endpoints: 0,
            slices: 1,
        });
    }
    plan.unchanged = existing
        .iter()
        .filter(|slice| {
            let name = &slice.metadata.name;
            !plan
                .update
                .iter()
                .any(|changed| changed.metadata.name == *name)
                && !plan.delete.iter().any(|gone| gone.metadata.name == *name)
        })
        .cloned()
        .collect();
    plan
}

/// Only what we set is compared.
fn is_placeholder(slice: &EndpointSlice, placeholder: &EndpointSlice) -> bool {
    let labels = |a: &EndpointSlice, b: &EndpointSlice| {
        a.metadata
            .labels
            .iter()
            .all(|(key, value)| b.metadata.labels.get(key).map_or("", String::as_str) == value)
    };
    slice.metadata.namespace == placeholder.metadata.namespace
        && labels(slice, placeholder)
        && labels(placeholder, slice)
        && slice.address_type == placeholder.address_type
        && slice.endpoints.is_empty()
        && slice.ports.is_empty()
}

/// One group of ports. Keeps endpoints where they are, fills slices that change anyway, then one that has room for all that is
/// left, and only then makes new ones.
fn plan_group(
    plan: &mut Plan,
    service: &Service,
    existing: &[Arc<EndpointSlice>],
    mut desired: EndpointSet,
    new: &dyn Fn() -> EndpointSlice,
    max: usize,
    manager: &str,
) {
    let mut update: Vec<EndpointSlice> = Vec::new();
    let mut unchanged: Vec<Arc<EndpointSlice>> = Vec::new();
    for slice in existing {
        let mut kept = Vec::new();
        let mut changed = false;
        for endpoint in &slice.endpoints {
            // Once placed, an endpoint needs no other place.
            if let Some(wanted) = desired.remove(&EndpointKey::of(endpoint)) {
                changed |= !equal_beyond_key(&wanted, endpoint);
                kept.push(wanted);
            }
        }
        let (labels, labels_changed) = slice_labels(&slice.metadata.labels, service, manager);
        if changed || kept.len() != slice.endpoints.len() {
            plan.removed += slice.endpoints.len().saturating_sub(kept.len());
            if kept.is_empty() {
                plan.delete.push(slice.clone());
                continue;
            }
            let mut slice = (**slice).clone();
            slice.endpoints = kept;
            slice.metadata.labels = labels;
            update.push(slice);
        } else if labels_changed {
            let mut slice = (**slice).clone();
            slice.metadata.labels = labels;
            update.push(slice);
        } else {
            unchanged.push(slice.clone());
        }
    }
    plan.added += desired.len();

    let fill = |slice: &mut EndpointSlice, desired: &mut EndpointSet| {
        while slice.endpoints.len() < max
            && let Some((_, endpoint)) = desired.pop_first()
        {
            slice.endpoints.push(endpoint);
        }
    };
    // The fullest first.
    update.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.len()));
    for slice in &mut update {
        fill(slice, &mut desired);
    }
    while !desired.is_empty() {
        let roomy = (desired.len() < max)
            .then(|| slice_to_fill(&unchanged, desired.len(), max))
            .flatten();
        let mut slice = match roomy {
            Some(index) => (*unchanged.remove(index)).clone(),
            None => new(),
        };
        fill(&mut slice, &mut desired);
        if slice.metadata.name.is_empty() {
            plan.create.push(slice);
        } else {
            update.push(slice);
        }
    }
    plan.update.extend(update);
}

/// The slice that is closest to full with `more` endpoints, if one has room.
pub fn slice_to_fill(slices: &[Arc<EndpointSlice>], more: usize, max: usize) -> Option<usize> {
    slices
        .iter()
        .enumerate()
        .filter_map(|(index, slice)| {
            let left = max.checked_sub(more + slice.endpoints.len())?;
            (left < max).then_some((left, index))
        })
        .min()
        .map(|(_, index)| index)
}

impl Plan {
    /// Changes slices that would be deleted instead of making new ones.
    pub fn reuse_deleted(&mut self, reusable: impl Fn(&EndpointSlice, &EndpointSlice) -> bool) {
        let mut kept = Vec::new();
        for gone in std::mem::take(&mut self.delete) {
            match self.create.last() {
                Some(new) if reusable(&gone, new) => {
                    if let Some(mut slice) = self.create.pop() {
                        slice.metadata.name = gone.metadata.name.clone();
                        self.update.push(slice);
                    }
                }
                _ => kept.push(gone),
            }
        }
        self.delete = kept;
    }
}

/// Sets or clears the annotation that tells when the change that led here happened.
pub fn annotate_trigger_time(annotations: &mut BTreeMap<String, String>, time: Option<Time>) {
    match time {
        Some(time) => annotations.insert(TRIGGER_TIME.to_owned(), time.to_string()),
        None => annotations.remove(TRIGGER_TIME),
    };
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
