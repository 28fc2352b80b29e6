//! Reviews of what users may do, answered by the server's own authorizer.
//! Upstream: pkg/registry/authorization and its util package.

use api_types::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, NonResourceRule, ResourceAttributes,
    ResourceRule, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use apimachinery::field::{self, BadValue, ErrorList, Path};
use apimachinery::gvk::GroupKind;
use apimachinery::status::{self, StatusError};
use component_base::auth::{Attributes, Decision, SYSTEM_PRIVILEGED_GROUP, UserInfo};

use crate::apis::validation::go_value::bad_option;
use crate::registry::object::Object;
use crate::request::context::RequestContext;
use crate::server::ApiServer;

const NODES: &str = "system:nodes";

fn attributes(
    user: UserInfo,
    resource: Option<&ResourceAttributes>,
    other: Option<&NonResourceAttributes>,
) -> Attributes {
    let mut attributes = Attributes {
        user,
        ..Attributes::default()
    };
    if let Some(resource) = resource {
        attributes.verb.clone_from(&resource.verb);
        attributes.namespace.clone_from(&resource.namespace);
        attributes.api_group.clone_from(&resource.group);
        attributes.api_version.clone_from(&resource.version);
        attributes.resource.clone_from(&resource.resource);
        attributes.subresource.clone_from(&resource.subresource);
        attributes.name.clone_from(&resource.name);
        attributes.resource_request = true;
        if let Some(selector) = &resource.field_selector {
            attributes.field_selector.clone_from(&selector.raw_selector);
        }
        if let Some(selector) = &resource.label_selector {
            attributes.label_selector.clone_from(&selector.raw_selector);
        }
    } else if let Some(other) = other {
        attributes.verb.clone_from(&other.verb);
        attributes.path.clone_from(&other.path);
    }
    attributes
}

fn user_of(spec: &SubjectAccessReviewSpec) -> UserInfo {
    UserInfo {
        name: spec.user.clone(),
        uid: spec.uid.clone(),
        groups: spec.groups.clone(),
        extra: spec
            .extra
            .iter()
            .map(|(key, values)| (key.to_ascii_lowercase(), values.clone()))
            .collect(),
    }
}

fn nothing() -> BadValue {
    BadValue::json(&serde_json::Value::Null)
}

fn problems(
    resource: bool,
    other: Option<&NonResourceAttributes>,
    subject: Option<&SubjectAccessReviewSpec>,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = Path::new("spec");
    if resource && other.is_some() {
        errors.push(field::invalid(
            &spec.child("nonResourceAttributes"),
            bad_option(other),
            "cannot be specified in combination with resourceAttributes",
        ));
    }
    if !resource && other.is_none() {
        errors.push(field::invalid(
            &spec.child("resourceAttributes"),
            nothing(),
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    }
    if let Some(subject) = subject
        && subject.user.is_empty()
        && subject.groups.is_empty()
    {
        errors.push(field::invalid(
            &spec.child("user"),
            "",
            "at least one of user or group must be specified",
        ));
    }
    errors
}

fn check(errors: &ErrorList) -> Result<(), StatusError> {
    if errors.is_empty() {
        return Ok(());
    }
    let kind = GroupKind {
        group: "authorization.k8s.io".to_owned(),
        kind: String::new(),
    };
    Err(status::invalid(&kind, "", errors))
}

async fn decide(server: &ApiServer, attributes: &Attributes) -> SubjectAccessReviewStatus {
    let mut answer = SubjectAccessReviewStatus::default();
    match server.authorizer.authorize(attributes).await {
        Ok(Decision::Allow) => {
            answer.allowed = true;
            answer.reason = reason(server, attributes);
        }
        Ok(Decision::Deny(reason)) => {
            answer.denied = true;
            answer.reason = reason;
        }
        Ok(Decision::NoOpinion(reason)) => answer.reason = reason,
        Err(error) => answer.evaluation_error = error.to_string(),
    }
    answer
}

/// Why something is allowed. Only RBAC says; who need not ask it, and nodes, are allowed without a word.
pub(crate) fn reason(server: &ApiServer, attributes: &Attributes) -> String {
    let groups = &attributes.user.groups;
    if groups
        .iter()
        .any(|group| [SYSTEM_PRIVILEGED_GROUP, NODES].contains(&group.as_str()))
    {
        return String::new();
    }
    let rbac = server.rbac.as_ref();
    rbac.and_then(|rbac| rbac.reason(attributes))
        .unwrap_or_default()
}

/// SubjectAccessReview, LocalSubjectAccessReview and SelfSubjectAccessReview.
pub(super) async fn review(
    server: &ApiServer,
    cx: &RequestContext,
    object: &mut Object,
) -> Result<(), StatusError> {
    if let Some(review) = object.get_mut::<SelfSubjectAccessReview>() {
        let (resource, other) = (
            review.spec.resource_attributes.as_deref(),
            review.spec.non_resource_attributes.as_deref(),
        );
        check(&problems(resource.is_some(), other, None))?;
        review.status = decide(server, &attributes(cx.user.clone(), resource, other)).await;
        return Ok(());
    }
    if let Some(review) = object.get_mut::<LocalSubjectAccessReview>() {
        let spec = &review.spec;
        let (resource, other) = (
            spec.resource_attributes.as_deref(),
            spec.non_resource_attributes.as_deref(),
        );
        let mut errors = problems(resource.is_some(), other, Some(spec));
        if let Some(resource) = resource
            && resource.namespace != review.metadata.namespace
        {
            errors.push(field::invalid(
                &Path::new("spec")
                    .child("resourceAttributes")
                    .child("namespace"),
                resource.namespace.as_str(),
                "must match metadata.namespace",
            ));
        }
        if other.is_some() {
            errors.push(field::invalid(
                &Path::new("spec").child("nonResourceAttributes"),
                bad_option(other),
                "disallowed on this kind of request",
            ));
        }
        check(&errors)?;
        let namespace = &cx.info.namespace;
        if resource.is_some_and(|resource| resource.namespace != *namespace) {
            return Err(status::bad_request(format!(
                "spec.resourceAttributes.namespace must match namespace: {namespace}"
            )));
        }
        review.status = decide(server, &attributes(user_of(spec), resource, other)).await;
        return Ok(());
    }
    let review = object
        .get_mut::<SubjectAccessReview>()
        .ok_or_else(|| status::bad_request("not a SubjectAccessReview"))?;
    let spec = &review.spec;
    let (resource, other) = (
        spec.resource_attributes.as_deref(),
        spec.non_resource_attributes.as_deref(),
    );
    check(&problems(resource.is_some(), other, Some(spec)))?;
    review.status = decide(server, &attributes(user_of(spec), resource, other)).await;
    Ok(())
}

/// SelfSubjectRulesReview: what RBAC grants the caller in a namespace.
pub(super) fn review_rules(
    server: &ApiServer,
    cx: &RequestContext,
    object: &mut Object,
) -> Result<(), StatusError> {
    let review = object
        .get_mut::<SelfSubjectRulesReview>()
        .ok_or_else(|| status::bad_request("not a SelfSubjectRulesReview"))?;
    // The answer is made anew: it has a status and nothing of the question.
    let namespace = std::mem::take(review).spec.namespace;
    if namespace.is_empty() {
        return Err(status::bad_request("no namespace on request"));
    }
    let mut errors = Vec::new();
    // Which rules hold for nodes depends on the objects that exist.
    let node = cx.user.name.starts_with("system:node:")
        && cx.user.groups.iter().any(|group| group == NODES);
    if node {
        errors.push(format!(
            "node authorizer does not support user rule resolution for user {:?}",
            cx.user.name
        ));
    }
    let answer = &mut review.status;
    if let Some(rbac) = &server.rbac {
        let resolved = rbac.rules_for(&cx.user, &namespace);
        errors.extend(resolved.errors);
        for rule in resolved.rules {
            if !rule.resources.is_empty() {
                answer.resource_rules.push(ResourceRule {
                    verbs: rule.verbs.clone(),
                    api_groups: rule.api_groups,
                    resources: rule.resources,
                    resource_names: rule.resource_names,
                });
            }
            if !rule.non_resource_urls.is_empty() {
                answer.non_resource_rules.push(NonResourceRule {
                    verbs: rule.verbs,
                    non_resource_urls: rule.non_resource_urls,
                });
            }
        }
    }
    answer.incomplete = node || !errors.is_empty();
    answer.evaluation_error = errors.join(", ");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_question_is_shown() {
        let other = NonResourceAttributes {
            path: "/x".to_owned(),
            verb: "get".to_owned(),
        };
        let text = |errors: ErrorList| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            text(problems(true, Some(&other), None)),
            [
                "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/x\",\"Verb\":\"get\"}: cannot be specified in combination with resourceAttributes"
            ]
        );
        assert_eq!(
            text(problems(false, None, None)),
            [
                "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
            ]
        );
    }
}
