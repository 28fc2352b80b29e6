//! Attribute based access control: a file of policies, read once. Upstream: pkg/auth/authorizer/abac.

mod policy;

use std::path::Path;

use component_base::auth::{Attributes, AuthorizeError, Authorizer, BoxFuture, Decision, UserInfo};

use super::{NonResourceRule, ResourceRule, RuleResolver, Rules};
pub use policy::{Policy, PolicyFileError};

/// The policies of `--authorization-policy-file`; one that matches allows.
#[derive(Debug, Default)]
pub struct Abac(Vec<Policy>);

impl Abac {
    pub fn new(policies: Vec<Policy>) -> Self {
        Self(policies)
    }

    pub fn from_file(path: &Path) -> Result<Self, PolicyFileError> {
        policy::read(path).map(Self)
    }

    fn decide(&self, attributes: &Attributes) -> Decision {
        if self.0.iter().any(|policy| policy.matches(attributes)) {
            Decision::allow()
        } else {
            Decision::NoOpinion("No policy matched.".to_owned())
        }
    }
}

impl Authorizer for Abac {
    fn authorize<'a>(
        &'a self,
        attributes: &'a Attributes,
    ) -> BoxFuture<'a, Result<Decision, AuthorizeError>> {
        Box::pin(std::future::ready(Ok(self.decide(attributes))))
    }
}

impl RuleResolver for Abac {
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mut rules = Rules::default();
        let policies = self.0.iter().filter(|policy| policy.is_about(user));
        for policy in policies.filter(|policy| is_or_all(&policy.namespace, namespace)) {
            let verbs: &[&str] = if policy.readonly {
                &["get", "list", "watch"]
            } else {
                &["*"]
            };
            let verbs = || verbs.iter().map(|verb| (*verb).to_owned()).collect();
            if !policy.resource.is_empty() {
                rules.resource.push(ResourceRule {
                    verbs: verbs(),
                    api_groups: vec![policy.api_group.clone()],
                    resources: vec![policy.resource.clone()],
                    ..ResourceRule::default()
                });
            }
            if !policy.non_resource_path.is_empty() {
                rules.non_resource.push(NonResourceRule {
                    verbs: verbs(),
                    non_resource_urls: vec![policy.non_resource_path.clone()],
                });
            }
        }
        rules
    }
}

impl Policy {
    fn matches(&self, attributes: &Attributes) -> bool {
        let reads = matches!(attributes.verb.as_str(), "get" | "list" | "watch");
        self.is_about(&attributes.user)
            && (reads || !self.readonly)
            && if attributes.resource_request {
                is_or_all(&self.namespace, &attributes.namespace)
                    && is_or_all(&self.resource, &attributes.resource)
                    && is_or_all(&self.api_group, &attributes.api_group)
            } else {
                self.covers_path(&attributes.path)
            }
    }

    /// User and group must both match where both are named; a policy that names neither is about nobody.
    fn is_about(&self, user: &UserInfo) -> bool {
        let user_matches = self.user.is_empty() || is_or_all(&self.user, &user.name);
        let group_matches =
            matches!(self.group.as_str(), "" | "*") || user.groups.contains(&self.group);
        let names_any = !self.user.is_empty() || !self.group.is_empty();
        names_any && user_matches && group_matches
    }

    fn covers_path(&self, path: &str) -> bool {
        let pattern = self.non_resource_path.as_str();
        pattern == path
            || (pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*')))
    }
}

fn is_or_all(pattern: &str, value: &str) -> bool {
    pattern == "*" || pattern == value
}

#[cfg(test)]
mod tests;
