//! Does one rule allow one request? Upstream: pkg/apis/rbac/v1/evaluation_helpers.go.

use api_types::rbac::v1::PolicyRule;
use component_base::auth::Attributes;

/// Whether the rule allows what the attributes describe.
pub fn rule_allows(rule: &PolicyRule, attributes: &Attributes) -> bool {
    if !attributes.resource_request {
        return has_or_all(&rule.verbs, &attributes.verb) && path_matches(rule, &attributes.path);
    }
    has_or_all(&rule.verbs, &attributes.verb)
        && has_or_all(&rule.api_groups, &attributes.api_group)
        && resource_matches(rule, &attributes.resource, &attributes.subresource)
        && (rule.resource_names.is_empty()
            || rule
                .resource_names
                .iter()
                .any(|name| *name == attributes.name))
}

fn has_or_all(values: &[String], wanted: &str) -> bool {
    values.iter().any(|value| value == "*" || value == wanted)
}

/// `*`, `pods`, `pods/log`, or `*/scale` for the subresource of any resource. `*` covers subresources too.
fn resource_matches(rule: &PolicyRule, resource: &str, subresource: &str) -> bool {
    rule.resources.iter().any(|pattern| {
        if pattern == "*" {
            return true;
        }
        if subresource.is_empty() {
            return pattern == resource;
        }
        match pattern.split_once('/') {
            Some(("*", of_any)) => of_any == subresource,
            Some((of, sub)) => of == resource && sub == subresource,
            None => false,
        }
    })
}

/// `*`, a path, or a prefix that ends in `*`.
fn path_matches(rule: &PolicyRule, path: &str) -> bool {
    rule.non_resource_urls
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => pattern == path,
        })
}
