//! Node selectors and node affinity, parsed once and matched often. Upstream: component-helpers nodeaffinity.

use std::collections::BTreeMap;

use api_types::core::v1::{
    self, Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PreferredSchedulingTerm,
    TopologySelectorTerm,
};

use crate::field::{self, ErrorList, Path};
use crate::fields;
use crate::labels::{Operator, Requirement, Selector};

/// A parsed `v1.NodeSelector`: terms of which one must match.
#[derive(Debug, Clone)]
pub struct NodeSelector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone)]
struct Term {
    labels: Option<Selector>,
    fields: Option<fields::Selector>,
    errors: ErrorList,
}

impl NodeSelector {
    /// Parses a selector; fails if any term is invalid.
    pub fn new(selector: &v1::NodeSelector, path: &Path) -> Result<Self, ErrorList> {
        let parsed = Self::lazy(selector, path);
        let errors: ErrorList = parsed
            .terms
            .iter()
            .flat_map(|term| term.errors.clone())
            .collect();
        errors.into_result().map(|()| parsed)
    }

    /// Parses a selector whose invalid terms fail only when no other term matches.
    pub fn lazy(selector: &v1::NodeSelector, path: &Path) -> Self {
        let path = path.child("nodeSelectorTerms");
        let terms = selector.node_selector_terms.iter().enumerate();
        // A term without conditions matches nothing.
        let terms = terms.filter(|(_, term)| !is_empty_term(term));
        Self {
            terms: terms
                .map(|(i, term)| Term::new(term, &path.index(i)))
                .collect(),
        }
    }

    /// Whether the node matches one of the terms.
    pub fn matches(&self, node: &Node) -> Result<bool, ErrorList> {
        self.matches_labels(&node.metadata.labels, &node.metadata.name)
    }

    /// Whether a node of that name with these labels matches one of the terms.
    pub fn matches_labels(
        &self,
        labels: &BTreeMap<String, String>,
        name: &str,
    ) -> Result<bool, ErrorList> {
        let mut errors = ErrorList::new();
        for term in &self.terms {
            if !term.errors.is_empty() {
                errors.extend(term.errors.clone());
            } else if term.matches(labels, name) {
                return Ok(true);
            }
        }
        errors.into_result().map(|()| false)
    }
}

fn is_empty_term(term: &NodeSelectorTerm) -> bool {
    term.match_expressions.is_empty() && term.match_fields.is_empty()
}

impl Term {
    fn new(term: &NodeSelectorTerm, path: &Path) -> Self {
        let mut errors = ErrorList::new();
        let mut parsed = Self {
            labels: None,
            fields: None,
            errors: ErrorList::new(),
        };
        if !term.match_expressions.is_empty() {
            parsed.labels =
                label_conditions(&term.match_expressions, &path.child("matchExpressions"))
                    .map_err(|e| errors.extend(e))
                    .ok();
        }
        if !term.match_fields.is_empty() {
            parsed.fields = field_conditions(&term.match_fields, &path.child("matchFields"))
                .map_err(|e| errors.extend(e))
                .ok();
        }
        parsed.errors = errors;
        parsed
    }

    fn matches(&self, labels: &BTreeMap<String, String>, name: &str) -> bool {
        if self
            .labels
            .as_ref()
            .is_some_and(|selector| !selector.matches(labels))
        {
            return false;
        }
        // A node without a name has no fields, and then conditions on them do not count.
        name.is_empty()
            || self.fields.as_ref().is_none_or(|selector| {
                selector.matches(|field| (field == "metadata.name").then_some(name))
            })
    }
}

fn label_conditions(
    requirements: &[NodeSelectorRequirement],
    path: &Path,
) -> Result<Selector, ErrorList> {
    let mut errors = ErrorList::new();
    let mut parsed = Vec::with_capacity(requirements.len());
    for (i, requirement) in requirements.iter().enumerate() {
        let path = path.index(i);
        let operator = match requirement.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::GreaterThan,
            "Lt" => Operator::LessThan,
            other => {
                let known = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
                errors.push(field::not_supported(&path.child("operator"), other, &known));
                continue;
            }
        };
        match Requirement::new_at(
            requirement.key.clone(),
            operator,
            requirement.values.clone(),
            &path,
        ) {
            Ok(requirement) => parsed.push(requirement),
            Err(problems) => errors.extend(problems),
        }
    }
    errors.into_result().map(|()| Selector::from_iter(parsed))
}

fn field_conditions(
    requirements: &[NodeSelectorRequirement],
    path: &Path,
) -> Result<fields::Selector, ErrorList> {
    let mut errors = ErrorList::new();
    let mut parsed = Vec::with_capacity(requirements.len());
    for (i, requirement) in requirements.iter().enumerate() {
        let path = path.index(i);
        let operator = match requirement.operator.as_str() {
            "In" => fields::Operator::Equals,
            "NotIn" => fields::Operator::NotEquals,
            other => {
                errors.push(field::not_supported(
                    &path.child("operator"),
                    other,
                    &["In", "NotIn"],
                ));
                continue;
            }
        };
        match requirement.values.as_slice() {
            [value] => {
                parsed.push(fields::Requirement {
                    field: requirement.key.clone(),
                    operator,
                    value: value.clone(),
                });
            }
            values => errors.push(field::invalid(
                &path.child("values"),
                values,
                "must have one element",
            )),
        }
    }
    errors
        .into_result()
        .map(|()| fields::Selector::from_iter(parsed))
}

/// Parsed preferences: terms with weights.
#[derive(Debug, Clone, Default)]
pub struct PreferredSchedulingTerms {
    terms: Vec<(Term, i64)>,
}

impl PreferredSchedulingTerms {
    /// Parses preferences. Terms that can add nothing are not looked at.
    pub fn new(terms: &[PreferredSchedulingTerm], path: &Path) -> Result<Self, ErrorList> {
        let mut errors = ErrorList::new();
        let mut parsed = Vec::with_capacity(terms.len());
        for (i, term) in terms.iter().enumerate() {
            if term.weight == 0 || is_empty_term(&term.preference) {
                continue;
            }
            let preference = Term::new(&term.preference, &path.index(i));
            errors.extend(preference.errors.clone());
            parsed.push((preference, i64::from(term.weight)));
        }
        errors.into_result().map(|()| Self { terms: parsed })
    }

    /// The sum of the weights of the terms that the node matches.
    pub fn score(&self, node: &Node) -> i64 {
        self.score_labels(&node.metadata.labels, &node.metadata.name)
    }

    /// Like [`PreferredSchedulingTerms::score`] for a node of that name with these labels.
    pub fn score_labels(&self, labels: &BTreeMap<String, String>, name: &str) -> i64 {
        self.terms
            .iter()
            .filter(|(term, _)| term.matches(labels, name))
            .map(|(_, weight)| weight)
            .sum()
    }
}

/// What a pod demands of its node: `spec.nodeSelector` and the required node affinity.
#[derive(Debug, Clone)]
pub struct RequiredNodeAffinity {
    labels: Selector,
    affinity: Option<NodeSelector>,
}

impl RequiredNodeAffinity {
    /// The pod's demands. What is invalid in them shows when they are matched.
    pub fn new(pod: &Pod) -> Self {
        let affinity = pod
            .spec
            .affinity
            .as_deref()
            .and_then(|affinity| affinity.node_affinity.as_deref());
        let required = affinity.and_then(|node| {
            node.required_during_scheduling_ignored_during_execution
                .as_deref()
        });
        Self {
            labels: Selector::from_set(&pod.spec.node_selector),
            affinity: required.map(|selector| NodeSelector::lazy(selector, &Path::nil())),
        }
    }

    /// Whether the pod demands nothing.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.affinity.is_none()
    }

    /// Whether the node meets the demands.
    pub fn matches(&self, node: &Node) -> Result<bool, ErrorList> {
        self.matches_labels(&node.metadata.labels, &node.metadata.name)
    }

    /// Whether a node of that name with these labels meets the demands.
    pub fn matches_labels(
        &self,
        labels: &BTreeMap<String, String>,
        name: &str,
    ) -> Result<bool, ErrorList> {
        if !self.labels.matches(labels) {
            return Ok(false);
        }
        self.affinity
            .as_ref()
            .map_or(Ok(true), |affinity| affinity.matches_labels(labels, name))
    }
}

/// Whether labels match one of the terms, as `allowedTopologies` of a StorageClass means it. No terms match everything;
/// an empty term matches nothing.
pub fn match_topology_selector_terms(
    terms: &[TopologySelectorTerm],
    labels: &BTreeMap<String, String>,
) -> bool {
    terms.is_empty()
        || terms.iter().any(|term| {
            let expressions = &term.match_label_expressions;
            let conditions: Result<Vec<Requirement>, _> = expressions
                .iter()
                .map(|expression| {
                    Requirement::new(&expression.key, Operator::In, expression.values.clone())
                })
                .collect();
            match conditions {
                Ok(conditions) => {
                    !conditions.is_empty() && Selector::from_iter(conditions).matches(labels)
                }
                Err(_) => false,
            }
        })
}
