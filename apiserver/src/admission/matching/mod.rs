//! Whether a webhook or a policy is about a request: rules, selectors, equivalent versions and match conditions.
//! Upstream: apiserver/pkg/admission/plugin/webhook/{predicates,generic,matchconditions} and plugin/policy/matching.

/// CEL match conditions.
mod conditions;
/// Operations, groups, versions, resources and scopes.
mod rules;

use std::sync::Arc;

use api_types::admissionregistration::v1::{MatchResources, RuleWithOperations};
use api_types::meta::v1::LabelSelector;
use apimachinery::gvk::{GroupResource, GroupVersionKind, GroupVersionResource};
use apimachinery::labels::Selector;
use apimachinery::status::{self, StatusError};

pub use conditions::{Conditions, Outcome, compile_condition};
use rules::{Rule, Subject};

use super::{Attributes, Cluster, Freshness, Operation};
use crate::registry::object::Object;

/// The version of a request's resource that rules matched: the request's own, or an equivalent one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    pub resource: GroupVersionResource,
    /// Kind of the endpoint in this version.
    pub kind: GroupVersionKind,
}

impl Matched {
    /// The request's own version.
    pub fn request(attributes: &Attributes) -> Matched {
        Matched {
            resource: attributes.resource.clone(),
            kind: attributes.kind.clone(),
        }
    }
}

/// What requests a webhook or a policy is about.
#[derive(Debug)]
pub struct Criteria {
    rules: Vec<Rule>,
    /// These are not matched, whatever else says so.
    excluded: Vec<Rule>,
    /// Everything matches when there are no rules (policies).
    all_without_rules: bool,
    equivalent: bool,
    namespace_selector: Result<Selector, String>,
    object_selector: Result<Selector, String>,
}

impl Criteria {
    /// Of a webhook.
    pub fn of_webhook(
        rules: &[RuleWithOperations],
        match_policy: Option<&str>,
        namespace_selector: Option<&LabelSelector>,
        object_selector: Option<&LabelSelector>,
    ) -> Criteria {
        Criteria {
            rules: rules.iter().map(|rule| Rule::new(rule, &[])).collect(),
            excluded: Vec::new(),
            all_without_rules: false,
            equivalent: match_policy == Some("Equivalent"),
            namespace_selector: selector(namespace_selector),
            object_selector: selector(object_selector),
        }
    }

    /// Of a policy or its binding.
    pub fn of_resources(resources: &MatchResources) -> Criteria {
        let rules = |rules: &[api_types::admissionregistration::v1::NamedRuleWithOperations]| {
            rules
                .iter()
                .map(|rule| Rule::new(&rule.rule_with_operations, &rule.resource_names))
                .collect()
        };
        Criteria {
            rules: rules(&resources.resource_rules),
            excluded: rules(&resources.exclude_resource_rules),
            all_without_rules: true,
            equivalent: resources.match_policy.as_deref() == Some("Equivalent"),
            namespace_selector: selector(resources.namespace_selector.as_deref()),
            object_selector: selector(resources.object_selector.as_deref()),
        }
    }

    /// The version that is matched, if any is. What is wrong with selectors counts only for requests that rules match.
    pub async fn matches(
        &self,
        attributes: &Attributes,
        cluster: &dyn Cluster,
    ) -> Result<Option<Matched>, StatusError> {
        let equivalents = Equivalents::new(attributes, cluster);
        let Some(matched) = self.match_rules(attributes, &equivalents) else {
            return Ok(None);
        };
        // A selector that says no wins over one that cannot tell.
        let by_object = self.match_object(attributes);
        if matches!(by_object, Ok(false)) {
            return Ok(None);
        }
        if !self.match_namespace(attributes, cluster).await? {
            return Ok(None);
        }
        by_object?;
        Ok(Some(matched))
    }

    fn match_rules(
        &self,
        attributes: &Attributes,
        equivalents: &Equivalents<'_>,
    ) -> Option<Matched> {
        if self
            .first(&self.excluded, attributes, equivalents)
            .is_some()
        {
            return None;
        }
        if self.rules.is_empty() && self.all_without_rules {
            return Some(Matched::request(attributes));
        }
        self.first(&self.rules, attributes, equivalents)
    }

    /// The request's own version if any rule has it, else the first equivalent one of the first rule that has one.
    fn first(
        &self,
        rules: &[Rule],
        attributes: &Attributes,
        equivalents: &Equivalents<'_>,
    ) -> Option<Matched> {
        let own = Subject::new(attributes, &attributes.resource);
        if rules.iter().any(|rule| rule.matches(&own)) {
            return Some(Matched::request(attributes));
        }
        if !self.equivalent || rules.is_empty() {
            return None;
        }
        let equivalents = equivalents.get();
        rules.iter().find_map(|rule| {
            equivalents
                .iter()
                .find(|matched| rule.matches(&Subject::new(attributes, &matched.resource)))
                .cloned()
        })
    }

    fn match_object(&self, attributes: &Attributes) -> Result<bool, StatusError> {
        let selector = self.object_selector.as_ref().map_err(status::internal)?;
        if selector.is_empty() {
            return Ok(true);
        }
        let matches = |object: Option<&Object>| {
            object
                .filter(|object| object.has_metadata())
                .is_some_and(|object| selector.matches(&object.metadata().labels))
        };
        Ok(matches(attributes.object.as_ref()) || matches(attributes.old_object.as_deref()))
    }

    async fn match_namespace(
        &self,
        attributes: &Attributes,
        cluster: &dyn Cluster,
    ) -> Result<bool, StatusError> {
        // Cluster-scoped objects are never exempted by a namespace.
        if attributes.namespace.is_empty() && attributes.resource.resource != "namespaces" {
            return Ok(true);
        }
        let selector = self.namespace_selector.as_ref().map_err(status::internal)?;
        if selector.is_empty() {
            return Ok(true);
        }
        // A Namespace that is written has the labels it is written with.
        if attributes.resource.resource == "namespaces"
            && attributes.subresource.is_empty()
            && matches!(attributes.operation, Operation::Create | Operation::Update)
        {
            let object = attributes.object.as_ref();
            return Ok(object.is_some_and(|object| selector.matches(&object.metadata().labels)));
        }
        let namespace = namespace(cluster, &attributes.namespace).await?;
        Ok(selector.matches(&namespace.metadata().labels))
    }
}

/// A namespace from the cache, or from storage when the cache does not have it yet.
pub async fn namespace(cluster: &dyn Cluster, name: &str) -> Result<Arc<Object>, StatusError> {
    for freshness in [Freshness::Cached, Freshness::Consistent] {
        if let Some(found) = cluster.get("", "namespaces", "", name, freshness).await? {
            return Ok(found);
        }
    }
    Err(status::not_found(
        &GroupResource::new("", "namespaces"),
        name,
    ))
}

/// The other versions of a request's resource, looked up at the first question.
struct Equivalents<'a> {
    attributes: &'a Attributes,
    cluster: &'a dyn Cluster,
    found: std::sync::OnceLock<Vec<Matched>>,
}

impl<'a> Equivalents<'a> {
    fn new(attributes: &'a Attributes, cluster: &'a dyn Cluster) -> Self {
        Self {
            attributes,
            cluster,
            found: std::sync::OnceLock::new(),
        }
    }

    fn get(&self) -> &[Matched] {
        self.found.get_or_init(|| {
            self.cluster
                .equivalents(&self.attributes.resource, &self.attributes.subresource)
        })
    }
}

fn selector(selector: Option<&LabelSelector>) -> Result<Selector, String> {
    Selector::from_label_selector(selector).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
