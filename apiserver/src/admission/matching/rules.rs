//! Rules of webhooks and policies. Upstream: webhook/predicates/rules.

use api_types::admissionregistration::v1::RuleWithOperations;
use apimachinery::gvk::GroupVersionResource;

use crate::admission::Attributes;

/// One rule, with the names it is restricted to.
#[derive(Debug)]
pub(super) struct Rule {
    rule: RuleWithOperations,
    /// Empty for all.
    names: Vec<String>,
}

/// What a rule is asked about: a request, in one version of its resource.
pub(super) struct Subject<'a> {
    attributes: &'a Attributes,
    resource: &'a GroupVersionResource,
}

impl<'a> Subject<'a> {
    pub(super) fn new(attributes: &'a Attributes, resource: &'a GroupVersionResource) -> Self {
        Subject {
            attributes,
            resource,
        }
    }

    /// Namespaces themselves are cluster-scoped, although their requests have a namespace.
    fn is_namespaced(&self) -> bool {
        let GroupVersionResource {
            group,
            version,
            resource,
        } = self.resource;
        let is_namespace = (&**group, &**version, &**resource) == ("", "v1", "namespaces");
        !is_namespace && !self.attributes.namespace.is_empty()
    }
}

impl Rule {
    pub(super) fn new(rule: &RuleWithOperations, names: &[String]) -> Rule {
        Rule {
            rule: rule.clone(),
            names: names.to_vec(),
        }
    }

    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        let rule = &self.rule.rule;
        let attributes = subject.attributes;
        self.scope(subject)
            && named(&self.rule.operations, attributes.operation.as_str())
            && named(&rule.api_groups, &subject.resource.group)
            && named(&rule.api_versions, &subject.resource.version)
            && rule.resources.iter().any(|wanted| {
                let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
                (resource == "*" || resource == subject.resource.resource)
                    && (subresource == "*" || subresource == attributes.subresource)
            })
            && (self.names.is_empty() || self.names.contains(&attributes.name))
    }

    fn scope(&self, subject: &Subject<'_>) -> bool {
        match self.rule.rule.scope.as_deref() {
            None | Some("*") => true,
            Some("Namespaced") => subject.is_namespaced(),
            Some("Cluster") => !subject.is_namespaced(),
            Some(_) => false,
        }
    }
}

fn named(names: &[String], wanted: &str) -> bool {
    names.iter().any(|name| name == "*" || name == wanted)
}
