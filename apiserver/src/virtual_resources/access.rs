//! Reviews of what users may do, answered by the server's own authorizer.
//! Upstream: pkg/registry/authorization and its util package.

use api_types::authorization::v1::{
    FieldSelectorAttributes, LabelSelectorAttributes, LocalSubjectAccessReview,
    NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectRulesReview,
    SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
    SubjectRulesReviewStatus,
};
use apimachinery::gvk::GroupKind;
use apimachinery::status::{self, StatusError};
use apimachinery::{fields, labels};
use component_base::auth::{Attributes, Decision, UserInfo};

use crate::apis::validation::authorization;
use crate::registry::object::Object;
use crate::request::context::RequestContext;
use crate::server::ApiServer;

/// What is asked, and what of it could not be understood.
struct Question {
    attributes: Attributes,
    problems: Vec<String>,
}

fn question(
    user: UserInfo,
    resource: Option<&ResourceAttributes>,
    other: Option<&NonResourceAttributes>,
) -> Question {
    let mut attributes = Attributes {
        user,
        ..Attributes::default()
    };
    let mut problems = Vec::new();
    if let Some(resource) = resource {
        attributes.verb.clone_from(&resource.verb);
        attributes.namespace.clone_from(&resource.namespace);
        attributes.api_group.clone_from(&resource.group);
        attributes.api_version = match resource.version.as_str() {
            "" => "*".to_owned(),
            version => version.to_owned(),
        };
        attributes.resource.clone_from(&resource.resource);
        attributes.subresource.clone_from(&resource.subresource);
        attributes.name.clone_from(&resource.name);
        attributes.resource_request = true;
        let mut problem = |name: &str, any: bool| {
            let partially = if any { "partially " } else { "" };
            problems.push(format!(
                "spec.resourceAttributes.{name} {partially}ignored due to parse error"
            ));
        };
        if let Some(selector) = &resource.field_selector {
            let (requirements, all) = field_requirements(selector);
            if !all {
                problem("fieldSelector", !requirements.is_empty());
            }
            attributes.field_selector = requirements;
        }
        if let Some(selector) = &resource.label_selector {
            let (requirements, all) = label_requirements(selector);
            if !all {
                problem("labelSelector", !requirements.is_empty());
            }
            attributes.label_selector = requirements;
        }
    } else if let Some(other) = other {
        attributes.verb.clone_from(&other.verb);
        attributes.path.clone_from(&other.path);
    }
    Question {
        attributes,
        problems,
    }
}

/// The requirements that are understood, and whether that is all of them. Those that are not are left out: what is asked is then
/// more, never less.
fn field_requirements(selector: &FieldSelectorAttributes) -> (Vec<fields::Requirement>, bool) {
    if selector.requirements.is_empty() {
        return match fields::Selector::parse(&selector.raw_selector) {
            Ok(parsed) => (parsed.requirements().to_vec(), true),
            Err(_) => (Vec::new(), false),
        };
    }
    let understood = selector.requirements.iter().filter_map(|requirement| {
        let operator = match requirement.operator.as_str() {
            "In" => fields::Operator::Equals,
            "NotIn" => fields::Operator::NotEquals,
            _ => return None,
        };
        let [value] = requirement.values.as_slice() else {
            return None;
        };
        Some(fields::Requirement {
            field: requirement.key.clone(),
            operator,
            value: value.clone(),
        })
    });
    let understood: Vec<_> = understood.collect();
    let all = understood.len() == selector.requirements.len();
    (understood, all)
}

fn label_requirements(selector: &LabelSelectorAttributes) -> (Vec<labels::Requirement>, bool) {
    if selector.requirements.is_empty() {
        return match labels::Selector::parse(&selector.raw_selector) {
            Ok(parsed) => (parsed.requirements().to_vec(), true),
            Err(_) => (Vec::new(), false),
        };
    }
    let understood = selector.requirements.iter().filter_map(|requirement| {
        let operator = match requirement.operator.as_str() {
            "In" => labels::Operator::In,
            "NotIn" => labels::Operator::NotIn,
            "Exists" => labels::Operator::Exists,
            "DoesNotExist" => labels::Operator::DoesNotExist,
            _ => return None,
        };
        let values = requirement.values.clone();
        labels::Requirement::new(requirement.key.as_str(), operator, values).ok()
    });
    let understood: Vec<_> = understood.collect();
    let all = understood.len() == selector.requirements.len();
    (understood, all)
}

fn user_of(spec: &SubjectAccessReviewSpec) -> UserInfo {
    UserInfo {
        name: spec.user.clone(),
        uid: spec.uid.clone(),
        groups: spec.groups.clone(),
        extra: spec.extra.clone(),
    }
}

/// Refuses what is no question. Upstream's refusals name no kind.
pub(super) fn validate(cx: &RequestContext, object: &Object) -> Result<(), StatusError> {
    let errors = if let Some(review) = object.get::<SubjectAccessReview>() {
        authorization::validate_subject_access_review(review)
    } else if let Some(review) = object.get::<SelfSubjectAccessReview>() {
        authorization::validate_self_subject_access_review(review)
    } else if let Some(review) = object.get::<LocalSubjectAccessReview>() {
        authorization::validate_local_subject_access_review(review)
    } else if let Some(review) = object.get::<SelfSubjectRulesReview>() {
        if review.spec.namespace.is_empty() {
            return Err(status::bad_request("no namespace on request"));
        }
        return Ok(());
    } else {
        return Ok(());
    };
    if !errors.is_empty() {
        let kind = GroupKind {
            group: "authorization.k8s.io".to_owned(),
            kind: String::new(),
        };
        return Err(status::invalid(&kind, "", &errors));
    }
    let namespace = &cx.info.namespace;
    if object
        .get::<LocalSubjectAccessReview>()
        .is_some_and(|review| review.metadata.namespace != *namespace)
    {
        return Err(status::bad_request(format!(
            "spec.resourceAttributes.namespace must match namespace: {namespace}"
        )));
    }
    Ok(())
}

async fn decide(server: &ApiServer, question: Question) -> SubjectAccessReviewStatus {
    let mut answer = SubjectAccessReviewStatus::default();
    let mut errors = Vec::new();
    match server.authorizer.authorize(&question.attributes).await {
        Ok(Decision::Allow(reason)) => {
            answer.allowed = true;
            answer.reason = reason;
        }
        Ok(Decision::Deny(reason)) => {
            answer.denied = true;
            answer.reason = reason;
        }
        Ok(Decision::NoOpinion(reason)) => answer.reason = reason,
        Err(error) => {
            answer.denied = error.denied;
            answer.reason = error.reason;
            errors.push(error.message);
        }
    }
    errors.extend(question.problems);
    answer.evaluation_error = errors.join("; ");
    answer
}

/// Answers a SubjectAccessReview, LocalSubjectAccessReview or SelfSubjectAccessReview that is valid.
pub(super) async fn review(
    server: &ApiServer,
    cx: &RequestContext,
    object: &mut Object,
) -> Result<(), StatusError> {
    if let Some(review) = object.get_mut::<SelfSubjectAccessReview>() {
        let question = question(
            cx.user.clone(),
            review.spec.resource_attributes.as_deref(),
            review.spec.non_resource_attributes.as_deref(),
        );
        review.status = decide(server, question).await;
        return Ok(());
    }
    if let Some(review) = object.get_mut::<LocalSubjectAccessReview>() {
        review.status = decide(server, question_of(&review.spec)).await;
        return Ok(());
    }
    let review = object
        .get_mut::<SubjectAccessReview>()
        .ok_or_else(|| status::bad_request("not a SubjectAccessReview"))?;
    review.status = decide(server, question_of(&review.spec)).await;
    Ok(())
}

fn question_of(spec: &SubjectAccessReviewSpec) -> Question {
    question(
        user_of(spec),
        spec.resource_attributes.as_deref(),
        spec.non_resource_attributes.as_deref(),
    )
}

/// SelfSubjectRulesReview: what the authorizers allow the caller in a namespace, as far as they can list it.
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
    let rules = server.rules.rules_for(&cx.user, &namespace);
    review.status = SubjectRulesReviewStatus {
        resource_rules: rules.resource,
        non_resource_rules: rules.non_resource,
        incomplete: rules.incomplete,
        evaluation_error: match rules.errors.as_slice() {
            [] => String::new(),
            errors => component_base::aggregate(errors),
        },
    };
    Ok(())
}
