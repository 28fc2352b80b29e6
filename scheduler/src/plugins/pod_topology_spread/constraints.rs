//! A pod's constraints, its own or the default ones. Upstream: podtopologyspread/common.go, helper/spread.go.

use std::collections::BTreeMap;

use api_types::core::v1::{Node, Pod, TopologySpreadConstraint};
use apimachinery::labels::{Operator, Requirement, Selector};
use apimachinery::owner_ref::controller_of;
use apimachinery::scheduling::{
    RequiredNodeAffinity, find_matching_untolerated_taint, is_scheduling_taint,
};

use super::PodTopologySpread;

/// `whenUnsatisfiable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    DoNotSchedule,
    ScheduleAnyway,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::DoNotSchedule => "DoNotSchedule",
            Self::ScheduleAnyway => "ScheduleAnyway",
        }
    }
}

/// A parsed constraint.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constraint {
    pub max_skew: i32,
    pub topology_key: String,
    pub selector: Selector,
    pub min_domains: i32,
    /// `nodeAffinityPolicy: Honor`: nodes the pod's affinity excludes do not count.
    pub honor_affinity: bool,
    /// `nodeTaintsPolicy: Honor`: nodes whose taints the pod does not tolerate do not count.
    pub honor_taints: bool,
}

impl Constraint {
    fn new(
        constraint: &TopologySpreadConstraint,
        pod_labels: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let selector = Selector::from_label_selector(constraint.label_selector.as_deref())
            .map_err(|error| error.to_string())?;
        Ok(Self {
            max_skew: constraint.max_skew,
            topology_key: constraint.topology_key.clone(),
            selector: with_label_keys(selector, &constraint.match_label_keys, pod_labels)?,
            min_domains: constraint.min_domains.unwrap_or(1),
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        })
    }

    /// Whether pods on the node count.
    pub(super) fn counts_node(&self, inclusion: &Inclusion<'_>, node: &Node) -> bool {
        (!self.honor_affinity
            || inclusion.affinity.is_empty()
            || inclusion.affinity.matches(node).unwrap_or(false))
            && (!self.honor_taints
                || find_matching_untolerated_taint(
                    &node.spec.taints,
                    &inclusion.pod.spec.tolerations,
                    is_scheduling_taint,
                    inclusion.comparison_operators,
                )
                .is_none())
    }
}

/// What decides whether a node counts.
pub(super) struct Inclusion<'a> {
    pub pod: &'a Pod,
    pub affinity: RequiredNodeAffinity,
    pub comparison_operators: bool,
}

/// The selector, and the pod's own values of these labels.
fn with_label_keys(
    selector: Selector,
    keys: &[String],
    pod_labels: &BTreeMap<String, String>,
) -> Result<Selector, String> {
    if selector.is_nothing() {
        return Ok(selector);
    }
    let mut merged = selector;
    for key in keys {
        if let Some(value) = pod_labels.get(key) {
            let requirement = Requirement::new(key, Operator::Equals, vec![value.clone()])
                .map_err(|error| error.to_string())?;
            merged = merged.and(requirement);
        }
    }
    Ok(merged)
}

/// Whether a node has all the labels that constraints spread over.
pub(super) fn has_all_keys(labels: &BTreeMap<String, String>, constraints: &[Constraint]) -> bool {
    constraints
        .iter()
        .all(|constraint| labels.contains_key(&constraint.topology_key))
}

impl PodTopologySpread {
    /// The pod's constraints of a kind; the default ones if it has none at all.
    pub(super) fn constraints(&self, pod: &Pod, action: Action) -> Result<Vec<Constraint>, String> {
        let parse = |constraints: &[TopologySpreadConstraint]| {
            constraints
                .iter()
                .filter(|constraint| constraint.when_unsatisfiable == action.as_str())
                .map(|constraint| Constraint::new(constraint, &pod.metadata.labels))
                .collect::<Result<Vec<_>, String>>()
        };
        let own = &pod.spec.topology_spread_constraints;
        if !own.is_empty() {
            return parse(own);
        }
        let mut constraints = parse(&self.default_constraints)?;
        if constraints.is_empty() {
            return Ok(constraints);
        }
        let selector = self.default_selector(pod);
        if selector.is_empty() {
            return Ok(Vec::new());
        }
        for constraint in &mut constraints {
            constraint.selector = selector.clone();
        }
        Ok(constraints)
    }

    /// What the services and the controller of a pod select. Upstream: `helper.DefaultSelector`.
    fn default_selector(&self, pod: &Pod) -> Selector {
        let namespace = &pod.metadata.namespace;
        let mut labels = BTreeMap::new();
        for service in self.listers.services.list_namespace(namespace) {
            let selector = &service.spec.selector;
            // A service without selector selects nothing.
            if !selector.is_empty()
                && selector
                    .iter()
                    .all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
            {
                labels.extend(selector.clone());
            }
        }
        let Some(owner) = controller_of(&pod.metadata) else {
            return Selector::from_set(&labels);
        };
        let with = |other: Option<&api_types::meta::v1::LabelSelector>| {
            let selector = Selector::from_set(&labels);
            match Selector::from_label_selector(other) {
                Ok(other) if !other.is_nothing() => other
                    .requirements()
                    .iter()
                    .cloned()
                    .fold(selector, Selector::and),
                _ => selector,
            }
        };
        let name = &owner.name;
        match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("v1", "ReplicationController") => {
                if let Some(controller) =
                    self.listers.replication_controllers.get_in(namespace, name)
                {
                    labels.extend(controller.spec.selector.clone());
                }
                Selector::from_set(&labels)
            }
            ("apps/v1", "ReplicaSet") => match self.listers.replica_sets.get_in(namespace, name) {
                Some(set) => with(set.spec.selector.as_deref()),
                None => Selector::from_set(&labels),
            },
            ("apps/v1", "StatefulSet") => {
                match self.listers.stateful_sets.get_in(namespace, name) {
                    Some(set) => with(set.spec.selector.as_deref()),
                    None => Selector::from_set(&labels),
                }
            }
            _ => Selector::from_set(&labels),
        }
    }
}
