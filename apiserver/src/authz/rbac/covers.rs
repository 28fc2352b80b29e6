//! Do some rules grant at least what others grant? Upstream: component-helpers/auth/rbac/validation/policy_comparator.go.
//!
//! Rules are taken apart into single grants (one verb on one resource of one group, with or without a name), and each must be
//! granted by one rule of the owner.

use api_types::rbac::v1::PolicyRule;

/// The outcome of a comparison.
#[derive(Debug, Default, PartialEq)]
pub struct Coverage {
    /// Single grants of the servant that no rule of the owner grants. Empty when all are covered.
    pub uncovered: Vec<PolicyRule>,
}

impl Coverage {
    pub fn is_complete(&self) -> bool {
        self.uncovered.is_empty()
    }
}

/// Compares what `servant` rules grant with what `owner` rules grant.
pub fn covers(owner: &[PolicyRule], servant: &[PolicyRule]) -> Coverage {
    let mut uncovered = Vec::new();
    for grant in servant.iter().flat_map(single_grants) {
        if !owner.iter().any(|rule| rule_covers(rule, &grant)) {
            uncovered.push(grant);
        }
    }
    Coverage { uncovered }
}

fn single_grants(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut grants = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let grant = PolicyRule {
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    verbs: vec![verb.clone()],
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    grants.push(grant);
                } else {
                    grants.extend(rule.resource_names.iter().map(|name| PolicyRule {
                        resource_names: vec![name.clone()],
                        ..grant.clone()
                    }));
                }
            }
        }
    }
    for path in &rule.non_resource_urls {
        for verb in &rule.verbs {
            grants.push(PolicyRule {
                non_resource_urls: vec![path.clone()],
                verbs: vec![verb.clone()],
                ..PolicyRule::default()
            });
        }
    }
    grants
}

fn rule_covers(owner: &PolicyRule, grant: &PolicyRule) -> bool {
    let verbs = contains_all_or_any(&owner.verbs, &grant.verbs);
    let groups = contains_all_or_any(&owner.api_groups, &grant.api_groups);
    let paths = grant
        .non_resource_urls
        .iter()
        .all(|path| path_covered(&owner.non_resource_urls, path));
    // An owner without names may touch any; an owner with names covers only a grant that names some of them.
    let names = owner.resource_names.is_empty()
        || (!grant.resource_names.is_empty()
            && grant
                .resource_names
                .iter()
                .all(|name| owner.resource_names.contains(name)));
    verbs && groups && resources_cover(&owner.resources, &grant.resources) && paths && names
}

fn contains_all_or_any(owner: &[String], wanted: &[String]) -> bool {
    owner.iter().any(|value| value == "*") || wanted.iter().all(|value| owner.contains(value))
}

fn resources_cover(owner: &[String], wanted: &[String]) -> bool {
    if owner.iter().any(|value| value == "*") {
        return true;
    }
    wanted.iter().all(|resource| {
        owner.contains(resource)
            || resource.split_once('/').is_some_and(|(_, subresource)| {
                owner
                    .iter()
                    .any(|value| value.strip_prefix("*/") == Some(subresource))
            })
    })
}

fn path_covered(owner: &[String], path: &str) -> bool {
    owner.iter().any(|pattern| {
        pattern == path
            || pattern
                .strip_suffix('*')
                .is_some_and(|prefix| path.starts_with(prefix))
    })
}
