//! A pod with what scheduling asks about it again and again, computed once. Upstream: framework/types.go (`PodInfo`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use api_types::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm};
use apimachinery::labels::{Selector, SelectorError};
use apimachinery::scheduling::pod_priority;

use super::resource::{PodResource, Resource, pod_request, pod_resource};

/// One parsed term of pod affinity or anti-affinity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AffinityTerm {
    /// Namespaces by name.
    pub namespaces: BTreeSet<String>,
    /// Namespaces by label, beside those.
    pub namespace_selector: Selector,
    /// Which pods.
    pub selector: Selector,
    /// The node label whose values are the domains.
    pub topology_key: String,
}

impl AffinityTerm {
    fn new(pod: &Pod, term: &PodAffinityTerm) -> Result<Self, SelectorError> {
        let own_namespace_only = term.namespaces.is_empty() && term.namespace_selector.is_none();
        let namespaces = if own_namespace_only {
            BTreeSet::from([pod.metadata.namespace.clone()])
        } else {
            term.namespaces.iter().cloned().collect()
        };
        Ok(Self {
            namespaces,
            namespace_selector: Selector::from_label_selector(term.namespace_selector.as_deref())?,
            selector: Selector::from_label_selector(term.label_selector.as_deref())?,
            topology_key: term.topology_key.clone(),
        })
    }

    /// Whether the term is about this pod. `namespace_labels` are those of the pod's namespace.
    pub fn matches(&self, pod: &Pod, namespace_labels: Option<&BTreeMap<String, String>>) -> bool {
        static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
        (self.namespaces.contains(&pod.metadata.namespace)
            || self
                .namespace_selector
                .matches(namespace_labels.unwrap_or(&NO_LABELS)))
            && self.selector.matches(&pod.metadata.labels)
    }
}

/// All terms of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AffinityTerms {
    /// Must hold.
    pub required_affinity: Vec<AffinityTerm>,
    /// Must not hold.
    pub required_anti_affinity: Vec<AffinityTerm>,
    /// Would be nice, with weights.
    pub preferred_affinity: Vec<(AffinityTerm, i32)>,
    /// Would better not be, with weights.
    pub preferred_anti_affinity: Vec<(AffinityTerm, i32)>,
}

impl AffinityTerms {
    fn new(pod: &Pod) -> Result<Self, SelectorError> {
        let mut terms = Self::default();
        let Some(affinity) = pod.spec.affinity.as_deref() else {
            return Ok(terms);
        };
        if let Some(affinity) = affinity.pod_affinity.as_deref() {
            terms.required_affinity = required(
                pod,
                &affinity.required_during_scheduling_ignored_during_execution,
            )?;
            terms.preferred_affinity = preferred(
                pod,
                &affinity.preferred_during_scheduling_ignored_during_execution,
            )?;
        }
        if let Some(anti) = affinity.pod_anti_affinity.as_deref() {
            terms.required_anti_affinity = required(
                pod,
                &anti.required_during_scheduling_ignored_during_execution,
            )?;
            terms.preferred_anti_affinity = preferred(
                pod,
                &anti.preferred_during_scheduling_ignored_during_execution,
            )?;
        }
        Ok(terms)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.required_affinity.is_empty()
            && self.required_anti_affinity.is_empty()
            && self.preferred_affinity.is_empty()
            && self.preferred_anti_affinity.is_empty()
    }
}

fn required(pod: &Pod, terms: &[PodAffinityTerm]) -> Result<Vec<AffinityTerm>, SelectorError> {
    terms
        .iter()
        .map(|term| AffinityTerm::new(pod, term))
        .collect()
}

fn preferred(
    pod: &Pod,
    terms: &[WeightedPodAffinityTerm],
) -> Result<Vec<(AffinityTerm, i32)>, SelectorError> {
    terms
        .iter()
        .map(|term| {
            Ok((
                AffinityTerm::new(pod, &term.pod_affinity_term)?,
                term.weight,
            ))
        })
        .collect()
}

/// A port of the host that a pod wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The address, `0.0.0.0` for all.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one host.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ALL_ADDRESSES || other.ip == ALL_ADDRESSES)
    }
}

const ALL_ADDRESSES: &str = "0.0.0.0";

/// The host ports a pod wants. Upstream: `schedutil.GetHostPorts`.
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let sidecars = pod
        .spec
        .init_containers
        .iter()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    pod.spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| &container.ports)
        .filter(|port| port.host_port > 0)
        .map(|port| HostPort {
            ip: non_empty_or(&port.host_ip, ALL_ADDRESSES),
            protocol: non_empty_or(&port.protocol, "TCP"),
            port: port.host_port,
        })
        .collect()
}

fn non_empty_or(text: &str, default: &str) -> String {
    if text.is_empty() { default } else { text }.to_owned()
}

/// A pod and what follows from it.
#[derive(Debug)]
pub struct PodInfo {
    /// The pod itself.
    pub pod: Arc<Pod>,
    /// Affinity to other pods; empty if [`PodInfo::invalid_terms`] says why they cannot be used.
    pub terms: Arc<AffinityTerms>,
    /// Why the terms could not be parsed.
    pub invalid_terms: Option<String>,
    /// Effective priority.
    pub priority: i32,
    /// Ports of the host.
    pub host_ports: Vec<HostPort>,
    resource: OnceLock<PodResource>,
    request: OnceLock<Resource>,
}

impl PodInfo {
    /// Computes what is needed early; amounts are computed when first asked for.
    pub fn new(pod: Arc<Pod>) -> Self {
        let (terms, invalid_terms) = match AffinityTerms::new(&pod) {
            Ok(terms) => (terms, None),
            Err(error) => (AffinityTerms::default(), Some(error.to_string())),
        };
        Self {
            terms: Arc::new(terms),
            invalid_terms,
            priority: pod_priority(&pod),
            host_ports: host_ports(&pod),
            resource: OnceLock::new(),
            request: OnceLock::new(),
            pod,
        }
    }

    /// The same for a newer version of the pod.
    pub fn updated(&self, pod: Arc<Pod>) -> Self {
        // Affinity cannot change in the life of a pod, so parsed terms are kept.
        if pod.metadata.uid != self.pod.metadata.uid {
            return Self::new(pod);
        }
        Self {
            terms: self.terms.clone(),
            invalid_terms: self.invalid_terms.clone(),
            priority: pod_priority(&pod),
            host_ports: self.host_ports.clone(),
            resource: OnceLock::new(),
            request: OnceLock::new(),
            pod,
        }
    }

    /// What the pod takes from the node it is on.
    pub fn resource(&self) -> &PodResource {
        self.resource.get_or_init(|| pod_resource(&self.pod))
    }

    /// What the pod requests of a node it is to go to.
    pub fn request(&self) -> &Resource {
        self.request.get_or_init(|| pod_request(&self.pod))
    }

    /// The pod's identity.
    pub fn uid(&self) -> &str {
        &self.pod.metadata.uid
    }

    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        full_name(&self.pod)
    }
}

/// `namespace/name`.
pub fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace, pod.metadata.name)
}

/// Keys `namespace/claim` of the claims that the pod's volumes name.
pub fn claim_keys(pod: &Pod) -> impl Iterator<Item = String> + '_ {
    pod.spec.volumes.iter().filter_map(|volume| {
        let claim = volume.volume_source.persistent_volume_claim.as_deref()?;
        Some(format!("{}/{}", pod.metadata.namespace, claim.claim_name))
    })
}
