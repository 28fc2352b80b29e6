//! Role based access control. Upstream: plugin/pkg/auth/authorizer/rbac and pkg/registry/rbac/validation.
//!
//! Roles and bindings are kept in an index by subject, so a check costs the caller's bindings and not the cluster's.
//! The index is fed from the watch caches (`set_*` and `remove_*`); a check never reads storage.

pub mod bootstrap;
mod covers;
mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use api_types::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use apimachinery::quote::quote;
use component_base::auth::{Attributes, AuthorizeError, Authorizer, BoxFuture, Decision, UserInfo};
use parking_lot::RwLock;

use super::{NonResourceRule, ResourceRule, RuleResolver, Rules};
pub use covers::{Coverage, Limits, covers, covers_within};
pub use rules::rule_allows;

/// The RBAC authorizer and the index it reads.
#[derive(Default)]
pub struct Rbac {
    index: RwLock<Index>,
}

#[derive(Default)]
struct Index {
    cluster_roles: HashMap<String, Arc<[PolicyRule]>>,
    roles: HashMap<(String, String), Arc<[PolicyRule]>>,
    /// By namespace ("" for ClusterRoleBindings), then name.
    bindings: HashMap<String, HashMap<String, Arc<BoundRole>>>,
    /// Which bindings of a namespace ("" for ClusterRoleBindings) name a subject.
    by_subject: HashMap<String, HashMap<SubjectKey, BTreeSet<String>>>,
}

struct BoundRole {
    subjects: Vec<BoundSubject>,
    role: RoleRef,
}

struct BoundSubject {
    key: SubjectKey,
    /// As the binding names it: a user can be named like a service account.
    named: String,
}

/// A subject in the form a caller is compared in: service accounts are users by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum SubjectKey {
    User(String),
    Group(String),
}

/// The rules that apply to a caller in a namespace.
#[derive(Debug, Default)]
pub struct ResolvedRules {
    pub rules: Vec<PolicyRule>,
    /// Roles that bindings name and that do not exist.
    pub errors: Vec<String>,
}

impl Rbac {
    pub fn set_cluster_role(&self, role: &ClusterRole) {
        self.index
            .write()
            .cluster_roles
            .insert(role.metadata.name.clone(), role.rules.clone().into());
    }

    pub fn remove_cluster_role(&self, name: &str) {
        self.index.write().cluster_roles.remove(name);
    }

    pub fn set_role(&self, role: &Role) {
        self.index.write().roles.insert(
            (role.metadata.namespace.clone(), role.metadata.name.clone()),
            role.rules.clone().into(),
        );
    }

    pub fn remove_role(&self, namespace: &str, name: &str) {
        self.index
            .write()
            .roles
            .remove(&(namespace.to_owned(), name.to_owned()));
    }

    pub fn set_cluster_role_binding(&self, binding: &ClusterRoleBinding) {
        self.index.write().bind(
            "",
            &binding.metadata.name,
            &binding.subjects,
            &binding.role_ref,
        );
    }

    pub fn remove_cluster_role_binding(&self, name: &str) {
        self.index.write().unbind("", name);
    }

    pub fn set_role_binding(&self, binding: &RoleBinding) {
        self.index.write().bind(
            &binding.metadata.namespace,
            &binding.metadata.name,
            &binding.subjects,
            &binding.role_ref,
        );
    }

    pub fn remove_role_binding(&self, namespace: &str, name: &str) {
        self.index.write().unbind(namespace, name);
    }

    /// Every rule that applies to the caller in a namespace (or cluster-wide with an empty one).
    pub fn policy_rules(&self, user: &UserInfo, namespace: &str) -> ResolvedRules {
        let mut resolved = ResolvedRules::default();
        self.index.read().visit(user, namespace, &mut |_, found| {
            match found {
                Ok(rules) => resolved.rules.extend(rules.iter().cloned()),
                Err(error) => resolved.errors.push(error),
            }
            true
        });
        resolved
    }

    /// The rules of a role that a binding refers to, or None when there is no such role. `namespace` is the binding's.
    pub fn role_rules(&self, reference: &RoleRef, namespace: &str) -> Option<Arc<[PolicyRule]>> {
        self.index.read().rules_of(reference, namespace)
    }

    fn decide(&self, attributes: &Attributes) -> Decision {
        let (user, namespace) = (&attributes.user, &attributes.namespace);
        let mut allowed = None;
        let mut errors = Vec::new();
        self.index
            .read()
            .visit(user, namespace, &mut |binding, found| {
                match found {
                    Ok(rules) if rules.iter().any(|rule| rule_allows(rule, attributes)) => {
                        allowed = Some(format!("RBAC: allowed by {}", binding.describe(user)));
                    }
                    Ok(_) => {}
                    Err(error) => errors.push(error),
                }
                allowed.is_none()
            });
        if let Some(reason) = allowed {
            return Decision::Allow(reason);
        }
        Decision::NoOpinion(if errors.is_empty() {
            String::new()
        } else {
            format!("RBAC: {}", component_base::aggregate(&errors))
        })
    }
}

impl Authorizer for Rbac {
    fn authorize<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        let decision = self.decide(attributes);
        Box::pin(async move { Ok(decision) })
    }
}

impl RuleResolver for Rbac {
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        let resolved = self.policy_rules(user, namespace);
        let mut rules = Rules {
            errors: resolved.errors,
            ..Rules::default()
        };
        for rule in resolved.rules {
            if !rule.resources.is_empty() {
                rules.resource.push(ResourceRule {
                    verbs: rule.verbs.clone(),
                    api_groups: rule.api_groups,
                    resources: rule.resources,
                    resource_names: rule.resource_names,
                });
            }
            if !rule.non_resource_urls.is_empty() {
                rules.non_resource.push(NonResourceRule {
                    verbs: rule.verbs,
                    non_resource_urls: rule.non_resource_urls,
                });
            }
        }
        rules
    }
}

impl Index {
    fn bind(&mut self, namespace: &str, name: &str, subjects: &[Subject], role: &RoleRef) {
        self.unbind(namespace, name);
        let subjects: Vec<BoundSubject> = subjects
            .iter()
            .filter_map(|subject| bound_subject(subject, namespace))
            .collect();
        let by_subject = self.by_subject.entry(namespace.to_owned()).or_default();
        for subject in &subjects {
            by_subject
                .entry(subject.key.clone())
                .or_default()
                .insert(name.to_owned());
        }
        self.bindings
            .entry(namespace.to_owned())
            .or_default()
            .insert(
                name.to_owned(),
                Arc::new(BoundRole {
                    subjects,
                    role: role.clone(),
                }),
            );
    }

    fn unbind(&mut self, namespace: &str, name: &str) {
        let Some(bindings) = self.bindings.get_mut(namespace) else {
            return;
        };
        let Some(bound) = bindings.remove(name) else {
            return;
        };
        if bindings.is_empty() {
            self.bindings.remove(namespace);
        }
        let Some(by_subject) = self.by_subject.get_mut(namespace) else {
            return;
        };
        for subject in &bound.subjects {
            if let Some(names) = by_subject.get_mut(&subject.key) {
                names.remove(name);
                if names.is_empty() {
                    by_subject.remove(&subject.key);
                }
            }
        }
        if by_subject.is_empty() {
            self.by_subject.remove(namespace);
        }
    }

    /// Calls `visitor` with the rules of every binding of the caller, cluster-wide ones first, until it returns false.
    /// A binding whose role is missing is an error that does not end the visit.
    fn visit(
        &self,
        user: &UserInfo,
        namespace: &str,
        visitor: &mut dyn FnMut(Binding<'_>, Result<&[PolicyRule], String>) -> bool,
    ) {
        let mut scopes = vec![""];
        if !namespace.is_empty() {
            scopes.push(namespace);
        }
        for scope in scopes {
            let (Some(by_subject), Some(bindings)) =
                (self.by_subject.get(scope), self.bindings.get(scope))
            else {
                continue;
            };
            let mut names: BTreeSet<&str> = BTreeSet::new();
            let subjects = std::iter::once(SubjectKey::User(user.name.clone()))
                .chain(user.groups.iter().cloned().map(SubjectKey::Group));
            for subject in subjects {
                names.extend(
                    by_subject
                        .get(&subject)
                        .into_iter()
                        .flatten()
                        .map(String::as_str),
                );
            }
            for name in names {
                let Some(bound) = bindings.get(name) else {
                    continue;
                };
                let binding = Binding {
                    namespace: scope,
                    name,
                    bound,
                };
                let go_on = match self.rules_of(&bound.role, scope) {
                    Some(rules) => visitor(binding, Ok(&rules)),
                    None => visitor(binding, Err(missing_role(&bound.role))),
                };
                if !go_on {
                    return;
                }
            }
        }
    }

    fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<Arc<[PolicyRule]>> {
        match role.kind.as_str() {
            "ClusterRole" => self.cluster_roles.get(&role.name).cloned(),
            "Role" => self
                .roles
                .get(&(namespace.to_owned(), role.name.clone()))
                .cloned(),
            _ => None,
        }
    }
}

/// A binding that names the caller.
struct Binding<'a> {
    /// Empty for a ClusterRoleBinding.
    namespace: &'a str,
    name: &'a str,
    bound: &'a BoundRole,
}

impl Binding<'_> {
    /// What binds which role to the caller, in upstream's words.
    fn describe(&self, user: &UserInfo) -> String {
        let role = &self.bound.role;
        let (kind, name) = if self.namespace.is_empty() {
            ("ClusterRoleBinding", self.name.to_owned())
        } else {
            ("RoleBinding", format!("{}/{}", self.name, self.namespace))
        };
        let mut subjects = self.bound.subjects.iter();
        let subject = subjects.find(|subject| match &subject.key {
            SubjectKey::User(name) => *name == user.name,
            SubjectKey::Group(name) => user.groups.contains(name),
        });
        let subject = subject.map_or("", |subject| &subject.named);
        format!(
            "{kind} {name:?} of {} {:?} to {subject}",
            role.kind, role.name
        )
    }
}

fn missing_role(role: &RoleRef) -> String {
    match role.kind.as_str() {
        "ClusterRole" => format!(
            "clusterrole.rbac.authorization.k8s.io \"{}\" not found",
            role.name
        ),
        "Role" => format!("role.rbac.authorization.k8s.io \"{}\" not found", role.name),
        kind => format!("unsupported role reference kind: \"{kind}\""),
    }
}

/// None for a subject of a kind that no caller can be, and for a service account without a namespace.
fn bound_subject(subject: &Subject, binding_namespace: &str) -> Option<BoundSubject> {
    let name = &subject.name;
    let (key, named) = match subject.kind.as_str() {
        "User" => (SubjectKey::User(name.clone()), name.clone()),
        "Group" => (SubjectKey::Group(name.clone()), name.clone()),
        "ServiceAccount" => {
            let namespace = if subject.namespace.is_empty() {
                binding_namespace
            } else {
                &subject.namespace
            };
            if namespace.is_empty() {
                return None;
            }
            let user = format!("system:serviceaccount:{namespace}:{name}");
            (SubjectKey::User(user), format!("{name}/{namespace}"))
        }
        _ => return None,
    };
    let named = format!("{} {}", subject.kind, quote(&named));
    Some(BoundSubject { key, named })
}

/// The object's labels and annotations with the wanted ones set, and whether that changed anything.
fn merged(
    existing: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> Option<BTreeMap<String, String>> {
    let mut result = existing.clone();
    // A value that an administrator changed stays: autoupdate and labels of one's own survive.
    for (key, value) in wanted {
        result.entry(key.clone()).or_insert_with(|| value.clone());
    }
    (result.len() != existing.len()).then_some(result)
}

#[cfg(test)]
mod tests;
