//! Objects that were stored in a version that is no longer served. Upstream: the conversion.go files of
//! pkg/apis/{discovery,networking,policy}/v1beta1 and pkg/apis/flowcontrol.

use api_types::IntOrString;
use api_types::meta::v1::{LabelSelector, LabelSelectorRequirement};
use api_types::{discovery, flowcontrol, networking, policy};

use super::super::object::Object;
use super::{reshape, take};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST_NAME: &str = "kubernetes.io/hostname";

/// Of an endpoint's topology, v1 has the zone and the node in fields.
pub(super) fn endpoint_slice(object: Object) -> Result<Object, String> {
    let mut old: discovery::v1beta1::EndpointSlice = take(object)?;
    let endpoints = std::mem::take(&mut old.endpoints);
    let mut new: discovery::v1::EndpointSlice = reshape(&old)?;
    for old in endpoints {
        let mut topology = old.topology;
        let zone = topology.remove(ZONE);
        if old.node_name.is_some() && topology.get(HOST_NAME) == old.node_name.as_ref() {
            topology.remove(HOST_NAME);
        }
        new.endpoints.push(discovery::v1::Endpoint {
            addresses: old.addresses,
            conditions: reshape(&old.conditions)?,
            hostname: old.hostname,
            target_ref: old.target_ref,
            deprecated_topology: topology,
            node_name: old.node_name,
            zone,
            hints: old
                .hints
                .map(|hints| reshape(&*hints).map(Box::new))
                .transpose()?,
        });
    }
    Ok(Object::from(new))
}

pub(super) fn ingress(object: Object) -> Result<Object, String> {
    let old: networking::v1beta1::Ingress = take(object)?;
    let mut new: networking::v1::Ingress = reshape(&old)?;
    if let (Some(new), Some(old)) = (&mut new.spec.default_backend, old.spec.backend) {
        new.service = backend_service(*old);
    }
    for (new, old) in new.spec.rules.iter_mut().zip(old.spec.rules) {
        let (Some(new), Some(old)) = (
            &mut new.ingress_rule_value.http,
            old.ingress_rule_value.http,
        ) else {
            continue;
        };
        for (new, old) in new.paths.iter_mut().zip(old.paths) {
            // The default of v1beta1, which v1 has not.
            new.path_type
                .get_or_insert_with(|| "ImplementationSpecific".to_owned());
            new.backend.service = backend_service(old.backend);
        }
    }
    Ok(Object::from(new))
}

fn backend_service(
    old: networking::v1beta1::IngressBackend,
) -> Option<Box<networking::v1::IngressServiceBackend>> {
    let is_set = !old.service_name.is_empty() || old.service_port != IntOrString::Int(0);
    let mut new = networking::v1::IngressServiceBackend {
        name: old.service_name,
        ..Default::default()
    };
    match old.service_port {
        IntOrString::Int(number) => new.port.number = number,
        IntOrString::String(name) => new.port.name = name,
    }
    is_set.then(|| Box::new(new))
}

/// In selectors of v1 that stand for what v1beta1 meant by another.
const EMPTY_SELECTOR: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

/// An empty selector matched no pod in v1beta1, and matches every pod in v1.
pub(super) fn disruption_budget(object: Object) -> Result<Object, String> {
    let old: policy::v1beta1::PodDisruptionBudget = take(object)?;
    let mut new: policy::v1::PodDisruptionBudget = reshape(&old)?;
    let Some(selector) = &mut new.spec.selector else {
        return Ok(Object::from(new));
    };
    if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
        selector.match_expressions.push(LabelSelectorRequirement {
            key: EMPTY_SELECTOR.to_owned(),
            operator: "Exists".to_owned(),
            ..LabelSelectorRequirement::default()
        });
    } else if matches_all(selector) {
        selector.match_expressions.clear();
    } else {
        selector.match_labels.remove(EMPTY_SELECTOR);
        selector
            .match_expressions
            .retain(|requirement| requirement.key != EMPTY_SELECTOR);
    }
    Ok(Object::from(new))
}

/// How v1beta1 wrote that every pod matches.
fn matches_all(selector: &LabelSelector) -> bool {
    selector.match_labels.is_empty()
        && matches!(&selector.match_expressions[..], [only]
            if only.key == EMPTY_SELECTOR && only.operator == "DoesNotExist" && only.values.is_empty())
}

const KEEP_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
const DEFAULT_SHARES: i32 = 30;

/// v1beta1 and v1beta2 name the shares differently. They have no way to say that there are none.
pub(super) fn priority_level_v1beta1(object: Object) -> Result<Object, String> {
    let old: flowcontrol::v1beta1::PriorityLevelConfiguration = take(object)?;
    priority_level(reshape(&old)?, false)
}

pub(super) fn priority_level_v1beta2(object: Object) -> Result<Object, String> {
    let old: flowcontrol::v1beta2::PriorityLevelConfiguration = take(object)?;
    priority_level(reshape(&old)?, false)
}

/// v1beta3 says in an annotation that there are no shares.
pub(super) fn priority_level_v1beta3(object: Object) -> Result<Object, String> {
    let old: flowcontrol::v1beta3::PriorityLevelConfiguration = take(object)?;
    let mut new: flowcontrol::v1::PriorityLevelConfiguration = reshape(&old)?;
    let keep_zero = new.metadata.annotations.remove(KEEP_ZERO).is_some();
    priority_level(new, keep_zero)
}

fn priority_level(
    mut level: flowcontrol::v1::PriorityLevelConfiguration,
    keep_zero: bool,
) -> Result<Object, String> {
    if let Some(limited) = &mut level.spec.limited
        && limited.nominal_concurrency_shares.unwrap_or_default() == 0
    {
        limited.nominal_concurrency_shares = Some(if keep_zero { 0 } else { DEFAULT_SHARES });
    }
    Ok(Object::from(level))
}
