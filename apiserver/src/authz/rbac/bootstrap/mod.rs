//! The roles and bindings every cluster starts with, and how an existing cluster's are brought up to them at each start.
//! Upstream: plugin/pkg/auth/authorizer/rbac/bootstrappolicy and component-helpers/auth/rbac/reconciliation.
//!
//! Reconciling only ever adds: rules, subjects, labels that a cluster's administrator added stay. An object whose annotation
//! `rbac.authorization.kubernetes.io/autoupdate` is `false` is left alone.

mod bindings;
mod cluster_roles;
mod controller_roles;
mod namespaced_roles;

use std::collections::BTreeMap;

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

/// The ClusterRoles that every cluster has.
pub fn cluster_roles() -> Vec<v1::ClusterRole> {
    cluster_roles::CLUSTER_ROLES
        .iter()
        .chain(controller_roles::CONTROLLER_ROLES)
        .map(Role::cluster_role)
        .collect()
}

/// The ClusterRoleBindings that every cluster has.
pub fn cluster_role_bindings() -> Vec<v1::ClusterRoleBinding> {
    bindings::CLUSTER_ROLE_BINDINGS
        .iter()
        .chain(bindings::CONTROLLER_ROLE_BINDINGS)
        .map(Binding::cluster_role_binding)
        .collect()
}

/// The rules of a ClusterRole of the tables; empty for a name that is not there.
pub fn rules_of(name: &str) -> Vec<v1::PolicyRule> {
    cluster_roles::CLUSTER_ROLES
        .iter()
        .find(|role| role.name == name)
        .map(Role::policy_rules)
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
    fn cluster_role(&self) -> v1::ClusterRole {
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
            rules: self.policy_rules(),
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
        self.rules
            .iter()
            .map(|rule| v1::PolicyRule {
                verbs: owned(rule.verbs),
                api_groups: owned(rule.groups),
                resources: owned(rule.resources),
                resource_names: owned(rule.names),
                non_resource_urls: owned(rule.urls),
            })
            .collect()
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

/// The object to write so that an existing ClusterRole grants what it should, or None when nothing is missing or it is protected.
pub fn reconcile_cluster_role(
    existing: &v1::ClusterRole,
    wanted: &v1::ClusterRole,
) -> Option<v1::ClusterRole> {
    if is_protected(&existing.metadata) {
        return None;
    }
    let mut result = existing.clone();
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
        None => changed |= add_missing_rules(&mut result.rules, &wanted.rules),
    }
    changed.then_some(result)
}

/// As [`reconcile_cluster_role`], for a Role.
pub fn reconcile_role(existing: &v1::Role, wanted: &v1::Role) -> Option<v1::Role> {
    if is_protected(&existing.metadata) {
        return None;
    }
    let mut result = existing.clone();
    let mut changed = reconcile_metadata(&mut result.metadata, &wanted.metadata);
    changed |= add_missing_rules(&mut result.rules, &wanted.rules);
    changed.then_some(result)
}

/// What has to be done with an existing binding.
#[derive(Debug, PartialEq)]
pub enum BindingChange<B> {
    Update(B),
    /// The role of a binding cannot be changed: it is deleted and made anew.
    Recreate(B),
}

/// What to do so that an existing ClusterRoleBinding has every subject it should; None when nothing.
pub fn reconcile_cluster_role_binding(
    existing: &v1::ClusterRoleBinding,
    wanted: &v1::ClusterRoleBinding,
) -> Option<BindingChange<v1::ClusterRoleBinding>> {
    if is_protected(&existing.metadata) {
        return None;
    }
    let mut result = existing.clone();
    let mut changed = reconcile_metadata(&mut result.metadata, &wanted.metadata);
    changed |= add_missing_subjects(&mut result.subjects, &wanted.subjects);
    if existing.role_ref != wanted.role_ref {
        result.role_ref = wanted.role_ref.clone();
        result.metadata = fresh(result.metadata);
        return Some(BindingChange::Recreate(result));
    }
    changed.then_some(BindingChange::Update(result))
}

/// As [`reconcile_cluster_role_binding`], for a RoleBinding.
pub fn reconcile_role_binding(
    existing: &v1::RoleBinding,
    wanted: &v1::RoleBinding,
) -> Option<BindingChange<v1::RoleBinding>> {
    if is_protected(&existing.metadata) {
        return None;
    }
    let mut result = existing.clone();
    let mut changed = reconcile_metadata(&mut result.metadata, &wanted.metadata);
    changed |= add_missing_subjects(&mut result.subjects, &wanted.subjects);
    if existing.role_ref != wanted.role_ref {
        result.role_ref = wanted.role_ref.clone();
        result.metadata = fresh(result.metadata);
        return Some(BindingChange::Recreate(result));
    }
    changed.then_some(BindingChange::Update(result))
}

/// Metadata for an object that is created anew: what the server gave the old one is gone.
fn fresh(metadata: ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        namespace: metadata.namespace,
        name: metadata.name,
        labels: metadata.labels,
        annotations: metadata.annotations,
        ..ObjectMeta::default()
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
