//! The roles and bindings every cluster starts with, and how an existing cluster's are brought up to them at each start.
//! Upstream: plugin/pkg/auth/authorizer/rbac/bootstrappolicy and component-helpers/auth/rbac/reconciliation.
//!
//! Reconciling adds: rules, subjects, labels that a cluster's administrator added stay, but for a binding to another role, which is
//! made anew, and an aggregation that is not ours. An object whose annotation
//! `rbac.authorization.kubernetes.io/autoupdate` is `false` is left alone.

mod bindings;
mod cluster_roles;
mod controller_roles;
mod gated;
mod namespaced_roles;

use std::collections::BTreeMap;

use api_types::Resource as ApiResource;
use api_types::meta::v1::{LabelSelector, ObjectMeta};
use api_types::rbac::v1;

use super::covers::covers;
use super::merged;

const GROUP: &str = "rbac.authorization.k8s.io";
const BOOTSTRAPPING: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
/// Objects with this annotation set to "false" are not reconciled.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// One row of the role tables.
struct Role {
    /// Empty for a ClusterRole.
    namespace: &'static str,
    name: &'static str,
    /// Labels beside the bootstrapping one.
    labels: &'static [(&'static str, &'static str)],
    /// Labels whose ClusterRoles are gathered into this one.
    aggregates: &'static [&'static str],
    rules: &'static [Rule],
}

struct Rule {
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    names: &'static [&'static str],
    urls: &'static [&'static str],
    verbs: &'static [&'static str],
}

const fn rule(
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule {
        groups,
        resources,
        names: &[],
        urls: &[],
        verbs,
    }
}

const fn named(
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    names: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule {
        groups,
        resources,
        names,
        urls: &[],
        verbs,
    }
}

const fn urls(urls: &'static [&'static str], verbs: &'static [&'static str]) -> Rule {
    Rule {
        groups: &[],
        resources: &[],
        names: &[],
        urls,
        verbs,
    }
}

/// One row of the binding tables.
struct Binding {
    /// Empty for a ClusterRoleBinding.
    namespace: &'static str,
    name: &'static str,
    role_kind: &'static str,
    role: &'static str,
    subjects: &'static [Subject],
}

enum Subject {
    User(&'static str),
    Group(&'static str),
    ServiceAccount(&'static str, &'static str),
}

/// The ClusterRoles that every cluster has where these gates are on.
pub fn cluster_roles(on: impl Fn(&str) -> bool) -> Vec<v1::ClusterRole> {
    let gated = gated::ROLES.iter().filter(|(gate, _)| on(gate));
    cluster_roles::CLUSTER_ROLES
        .iter()
        .chain(controller_roles::CONTROLLER_ROLES)
        .chain(gated.map(|(_, role)| role))
        .map(|role| role.cluster_role(&on))
        .collect()
}

/// The ClusterRoleBindings that every cluster has where these gates are on.
pub fn cluster_role_bindings(on: impl Fn(&str) -> bool) -> Vec<v1::ClusterRoleBinding> {
    let gated = gated::BINDINGS.iter().filter(|(gate, _)| on(gate));
    bindings::CLUSTER_ROLE_BINDINGS
        .iter()
        .chain(bindings::CONTROLLER_ROLE_BINDINGS)
        .chain(gated.map(|(_, binding)| binding))
        .map(Binding::cluster_role_binding)
        .collect()
}

/// The rules of a ClusterRole of the tables; empty for a name that is not there.
pub fn rules_of(name: &str, on: impl Fn(&str) -> bool) -> Vec<v1::PolicyRule> {
    cluster_roles::CLUSTER_ROLES
        .iter()
        .find(|role| role.name == name)
        .map(|role| role.all_rules(&on))
        .unwrap_or_default()
}

/// The Roles in kube-system and kube-public.
pub fn roles() -> Vec<v1::Role> {
    namespaced_roles::ROLES.iter().map(Role::role).collect()
}

/// The RoleBindings in kube-system and kube-public.
pub fn role_bindings() -> Vec<v1::RoleBinding> {
    bindings::ROLE_BINDINGS
        .iter()
        .map(Binding::role_binding)
        .collect()
}

impl Role {
    fn cluster_role(&self, on: &impl Fn(&str) -> bool) -> v1::ClusterRole {
        let aggregation_rule = (!self.aggregates.is_empty()).then(|| {
            let selectors = self.aggregates.iter().map(|label| LabelSelector {
                match_labels: BTreeMap::from([((*label).to_owned(), "true".to_owned())]),
                ..LabelSelector::default()
            });
            Box::new(v1::AggregationRule {
                cluster_role_selectors: selectors.collect(),
            })
        });
        v1::ClusterRole {
            metadata: metadata("", self.name, self.labels),
            rules: self.all_rules(on),
            aggregation_rule,
            ..v1::ClusterRole::default()
        }
    }

    fn role(&self) -> v1::Role {
        v1::Role {
            metadata: metadata(self.namespace, self.name, self.labels),
            rules: self.policy_rules(),
            ..v1::Role::default()
        }
    }

    fn policy_rules(&self) -> Vec<v1::PolicyRule> {
        self.rules.iter().map(Rule::policy_rule).collect()
    }

    /// With those of the features.
    fn all_rules(&self, on: &impl Fn(&str) -> bool) -> Vec<v1::PolicyRule> {
        let mut rules = self.policy_rules();
        let additions = gated::ADDITIONS
            .iter()
            .filter(|addition| addition.role == self.name && on(addition.gate));
        for addition in additions {
            let at = rules.len().saturating_sub(addition.before);
            rules.splice(at..at, addition.rules.iter().map(Rule::policy_rule));
        }
        rules
    }
}

impl Rule {
    fn policy_rule(&self) -> v1::PolicyRule {
        v1::PolicyRule {
            verbs: owned(self.verbs),
            api_groups: owned(self.groups),
            resources: owned(self.resources),
            resource_names: owned(self.names),
            non_resource_urls: owned(self.urls),
        }
    }
}

impl Binding {
    fn cluster_role_binding(&self) -> v1::ClusterRoleBinding {
        v1::ClusterRoleBinding {
            metadata: metadata("", self.name, &[]),
            subjects: self.subjects(),
            role_ref: self.role_ref(),
            ..v1::ClusterRoleBinding::default()
        }
    }

    fn role_binding(&self) -> v1::RoleBinding {
        v1::RoleBinding {
            metadata: metadata(self.namespace, self.name, &[]),
            subjects: self.subjects(),
            role_ref: self.role_ref(),
            ..v1::RoleBinding::default()
        }
    }

    fn role_ref(&self) -> v1::RoleRef {
        v1::RoleRef {
            api_group: GROUP.to_owned(),
            kind: self.role_kind.to_owned(),
            name: self.role.to_owned(),
        }
    }

    fn subjects(&self) -> Vec<v1::Subject> {
        let of = |kind: &str, api_group: &str, namespace: &str, name: &str| v1::Subject {
            kind: kind.to_owned(),
            api_group: api_group.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        };
        self.subjects
            .iter()
            .map(|subject| match subject {
                Subject::User(name) => of("User", GROUP, "", name),
                Subject::Group(name) => of("Group", GROUP, "", name),
                Subject::ServiceAccount(namespace, name) => {
                    of("ServiceAccount", "", namespace, name)
                }
            })
            .collect()
    }
}

fn metadata(namespace: &str, name: &str, labels: &[(&str, &str)]) -> ObjectMeta {
    let labels = labels
        .iter()
        .copied()
        .chain([BOOTSTRAPPING])
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let annotations = BTreeMap::from([(AUTOUPDATE.to_owned(), "true".to_owned())]);
    ObjectMeta {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels,
        annotations,
        ..ObjectMeta::default()
    }
}

fn owned(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn is_protected(metadata: &ObjectMeta) -> bool {
    metadata
        .annotations
        .get(AUTOUPDATE)
        .is_some_and(|value| value == "false")
}

fn reconcile_metadata(existing: &mut ObjectMeta, wanted: &ObjectMeta) -> bool {
    let labels = merged(&existing.labels, &wanted.labels);
    let annotations = merged(&existing.annotations, &wanted.annotations);
    let changed = labels.is_some() || annotations.is_some();
    if let Some(labels) = labels {
        existing.labels = labels;
    }
    if let Some(annotations) = annotations {
        existing.annotations = annotations;
    }
    changed
}

fn add_missing_rules(existing: &mut Vec<v1::PolicyRule>, wanted: &[v1::PolicyRule]) -> bool {
    let missing = covers(existing, wanted).uncovered;
    let changed = !missing.is_empty();
    existing.extend(missing);
    changed
}

/// What has to be done with an existing object.
#[derive(Debug, PartialEq)]
pub enum Change<T> {
    Update(T),
    /// The role of a binding cannot be changed: it is deleted, and the default one made anew. Whom the old one had given its role
    /// does not get this one.
    Recreate(T),
}

/// Objects that are kept complete, unless their annotation says no.
pub trait Reconciled: ApiResource + Clone {
    /// What to do so that `self` grants what `wanted` does; None when nothing is missing or it is protected.
    fn reconcile(&self, wanted: &Self) -> Option<Change<Self>>;
}

impl Reconciled for v1::ClusterRole {
    fn reconcile(&self, wanted: &Self) -> Option<Change<Self>> {
        if is_protected(&self.metadata) {
            return None;
        }
        let mut result = self.clone();
        let mut changed = reconcile_metadata(&mut result.metadata, &wanted.metadata);
        match &wanted.aggregation_rule {
            // An aggregated role's rules belong to the controller that aggregates.
            Some(wanted_rule) => {
                let rule = result.aggregation_rule.get_or_insert_default();
                for selector in &wanted_rule.cluster_role_selectors {
                    if !rule.cluster_role_selectors.contains(selector) {
                        rule.cluster_role_selectors.push(selector.clone());
                        changed = true;
                    }
                }
            }
            // Nor may that controller write the rules of another one.
            None => {
                changed |= result.aggregation_rule.take().is_some();
                changed |= add_missing_rules(&mut result.rules, &wanted.rules);
            }
        }
        changed.then_some(Change::Update(result))
    }
}

impl Reconciled for v1::Role {
    fn reconcile(&self, wanted: &Self) -> Option<Change<Self>> {
        if is_protected(&self.metadata) {
            return None;
        }
        let mut result = self.clone();
        let mut changed = reconcile_metadata(&mut result.metadata, &wanted.metadata);
        changed |= add_missing_rules(&mut result.rules, &wanted.rules);
        changed.then_some(Change::Update(result))
    }
}

impl Reconciled for v1::ClusterRoleBinding {
    fn reconcile(&self, wanted: &Self) -> Option<Change<Self>> {
        if is_protected(&self.metadata) {
            return None;
        }
        if self.role_ref != wanted.role_ref {
            return Some(Change::Recreate(wanted.clone()));
        }
        let mut result = self.clone();
        let mut changed = reconcile_metadata(&mut result.metadata, &wanted.metadata);
        changed |= add_missing_subjects(&mut result.subjects, &wanted.subjects);
        changed.then_some(Change::Update(result))
    }
}

impl Reconciled for v1::RoleBinding {
    fn reconcile(&self, wanted: &Self) -> Option<Change<Self>> {
        if is_protected(&self.metadata) {
            return None;
        }
        if self.role_ref != wanted.role_ref {
            return Some(Change::Recreate(wanted.clone()));
        }
        let mut result = self.clone();
        let mut changed = reconcile_metadata(&mut result.metadata, &wanted.metadata);
        changed |= add_missing_subjects(&mut result.subjects, &wanted.subjects);
        changed.then_some(Change::Update(result))
    }
}

fn add_missing_subjects(existing: &mut Vec<v1::Subject>, wanted: &[v1::Subject]) -> bool {
    let missing: Vec<v1::Subject> = wanted
        .iter()
        .filter(|subject| !existing.contains(subject))
        .cloned()
        .collect();
    let changed = !missing.is_empty();
    existing.extend(missing);
    changed
}
