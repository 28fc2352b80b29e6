//! Access reviews, token reviews and token requests. Upstream: pkg/apis/authorization/validation and
//! pkg/apis/authentication/validation.

use api_types::authentication::v1::TokenRequest;
use api_types::authorization::v1::*;
use api_types::meta::v1::ObjectMeta;

use super::*;

/// How long a token may live, in seconds.
pub(super) fn token_lifetime(seconds: i64, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if seconds < 600 {
        errors.push(field::invalid(
            path,
            seconds,
            "may not specify a duration less than 10 minutes",
        ));
    }
    if seconds > 1 << 32 {
        errors.push(field::invalid(
            path,
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        ));
    }
    errors
}

pub fn validate_token_request(request: &TokenRequest) -> ErrorList {
    let seconds = request.spec.expiration_seconds.unwrap_or(0);
    token_lifetime(seconds, &path(&["spec", "expirationSeconds"]))
}

fn attributes(
    resource: Option<&ResourceAttributes>,
    non_resource: Option<&NonResourceAttributes>,
) -> (ErrorList, ErrorList) {
    let path = Path::new("spec");
    let mut errors = ErrorList::new();
    match (resource, non_resource) {
        (Some(_), Some(attributes)) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            let value = go_value::bad_value(attributes);
            errors.push(field::invalid(
                &path.child("nonResourceAttributes"),
                value,
                detail,
            ));
        }
        (None, None) => {
            let detail =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let value = Option::<&str>::None;
            errors.push(field::invalid(
                &path.child("resourceAttributes"),
                value,
                detail,
            ));
        }
        _ => {}
    }
    let Some(resource) = resource else {
        return (errors, ErrorList::new());
    };
    let path = Path::new("spec.resourceAttributes");
    let mut later = ErrorList::new();
    let count = |raw: &str, requirements: usize, path: &Path, later: &mut ErrorList| {
        if !raw.is_empty() && requirements > 0 {
            let detail = "may not specified at the same time as requirements";
            later.push(field::invalid(&path.child("rawSelector"), raw, detail));
        }
        if raw.is_empty() && requirements == 0 {
            let detail =
                format!("when {path} is specified, requirements or rawSelector is required");
            later.push(field::required(&path.child("requirements"), detail));
        }
    };
    if let Some(selector) = &resource.field_selector {
        let path = path.child("fieldSelector");
        count(
            &selector.raw_selector,
            selector.requirements.len(),
            &path,
            &mut later,
        );
        for (i, requirement) in selector.requirements.iter().enumerate() {
            let path = path.child("requirements").index(i);
            later.extend(rules::validate_field_selector_requirement(
                requirement,
                true,
                &path,
            ));
        }
    }
    if let Some(selector) = &resource.label_selector {
        let path = path.child("labelSelector");
        count(
            &selector.raw_selector,
            selector.requirements.len(),
            &path,
            &mut later,
        );
        let options = LabelSelectorValidationOptions {
            allow_unknown_operator_in_requirement: true,
            ..LabelSelectorValidationOptions::default()
        };
        for (i, requirement) in selector.requirements.iter().enumerate() {
            let path = path.child("requirements").index(i);
            later.extend(rules::validate_label_selector_requirement(
                requirement,
                options,
                &path,
            ));
        }
    }
    (errors, later)
}

fn review_spec(spec: &SubjectAccessReviewSpec) -> ErrorList {
    let (mut errors, later) = attributes(
        spec.resource_attributes.as_deref(),
        spec.non_resource_attributes.as_deref(),
    );
    if spec.user.is_empty() && spec.groups.is_empty() {
        let detail = "at least one of user or group must be specified";
        errors.push(field::invalid(&path(&["spec", "user"]), &spec.user, detail));
    }
    errors.extend(later);
    errors
}

/// Reviews are not stored, so they have no metadata.
fn no_metadata(metadata: &ObjectMeta, namespaced: bool) -> Option<Error> {
    let mut rest = ObjectMeta {
        managed_fields: Vec::new(),
        ..metadata.clone()
    };
    let detail = if namespaced {
        rest.namespace.clear();
        "must be empty except for namespace"
    } else {
        "must be empty"
    };
    let value = BadValue::of(metadata);
    (rest != ObjectMeta::default()).then(|| field::invalid(&Path::new("metadata"), value, detail))
}

pub fn validate_subject_access_review(review: &SubjectAccessReview) -> ErrorList {
    let mut errors = review_spec(&review.spec);
    errors.extend(no_metadata(&review.metadata, false));
    errors
}

pub fn validate_self_subject_access_review(review: &SelfSubjectAccessReview) -> ErrorList {
    let spec = &review.spec;
    let (mut errors, later) = attributes(
        spec.resource_attributes.as_deref(),
        spec.non_resource_attributes.as_deref(),
    );
    errors.extend(later);
    errors.extend(no_metadata(&review.metadata, false));
    errors
}

pub fn validate_local_subject_access_review(review: &LocalSubjectAccessReview) -> ErrorList {
    let mut errors = review_spec(&review.spec);
    errors.extend(no_metadata(&review.metadata, true));
    if let Some(attributes) = &review.spec.resource_attributes
        && attributes.namespace != review.metadata.namespace
    {
        let path = Path::new("spec.resourceAttributes.namespace");
        errors.push(field::invalid(
            &path,
            &attributes.namespace,
            "must match metadata.namespace",
        ));
    }
    if let Some(attributes) = &review.spec.non_resource_attributes {
        let path = Path::new("spec.nonResourceAttributes");
        let value = go_value::bad_value(&**attributes);
        errors.push(field::invalid(
            &path,
            value,
            "disallowed on this kind of request",
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use api_types::meta::v1::{FieldSelectorRequirement, LabelSelectorRequirement};

    use super::*;

    fn texts(errors: ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn of(
        resource: Option<ResourceAttributes>,
        other: Option<NonResourceAttributes>,
    ) -> SubjectAccessReview {
        let mut review = SubjectAccessReview::default();
        review.spec.user = "jane".to_owned();
        review.spec.resource_attributes = resource.map(Into::into);
        review.spec.non_resource_attributes = other.map(Into::into);
        review
    }

    #[test]
    fn a_review_is_about_one_thing() {
        let other = NonResourceAttributes {
            path: "/x".to_owned(),
            verb: "get".to_owned(),
        };
        let both = of(Some(ResourceAttributes::default()), Some(other.clone()));
        assert_eq!(
            texts(validate_subject_access_review(&both)),
            [
                "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/x\",\"Verb\":\"get\"}: cannot be specified in combination with resourceAttributes"
            ]
        );
        let mut nothing = of(None, None);
        nothing.spec.user.clear();
        nothing.metadata.name = "x".to_owned();
        assert_eq!(
            texts(validate_subject_access_review(&nothing)),
            [
                "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
                "spec.user: Invalid value: \"\": at least one of user or group must be specified",
                "metadata: Invalid value: {\"name\":\"x\"}: must be empty",
            ]
        );
        assert_eq!(
            texts(validate_subject_access_review(&of(None, Some(other)))),
            Vec::<String>::new()
        );
    }

    #[test]
    fn selectors_are_one_text_or_requirements() {
        let requirement = FieldSelectorRequirement {
            key: "a".to_owned(),
            operator: "In".to_owned(),
            values: vec!["b".to_owned()],
        };
        let unknown = LabelSelectorRequirement {
            key: "a".to_owned(),
            operator: "New".to_owned(),
            ..LabelSelectorRequirement::default()
        };
        let attributes = |fields: FieldSelectorAttributes, labels: LabelSelectorAttributes| {
            let attributes = ResourceAttributes {
                field_selector: Some(fields.into()),
                label_selector: Some(labels.into()),
                ..ResourceAttributes::default()
            };
            let mut review = SelfSubjectAccessReview::default();
            review.spec.resource_attributes = Some(attributes.into());
            texts(validate_self_subject_access_review(&review))
        };
        assert_eq!(
            attributes(
                FieldSelectorAttributes::default(),
                LabelSelectorAttributes {
                    raw_selector: "a=b".to_owned(),
                    requirements: vec![unknown.clone()],
                }
            ),
            [
                "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
                "spec.resourceAttributes.labelSelector.rawSelector: Invalid value: \"a=b\": may not specified at the same time as requirements",
            ]
        );
        assert_eq!(
            attributes(
                FieldSelectorAttributes {
                    requirements: vec![FieldSelectorRequirement {
                        values: Vec::new(),
                        ..requirement.clone()
                    }],
                    ..FieldSelectorAttributes::default()
                },
                LabelSelectorAttributes {
                    raw_selector: "!!".to_owned(),
                    ..LabelSelectorAttributes::default()
                },
            ),
            [
                "spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ]
        );
        assert_eq!(
            attributes(
                FieldSelectorAttributes {
                    requirements: vec![requirement],
                    ..FieldSelectorAttributes::default()
                },
                LabelSelectorAttributes {
                    requirements: vec![unknown],
                    ..LabelSelectorAttributes::default()
                },
            ),
            Vec::<String>::new(),
            "an operator of a newer client is not known, and no error"
        );
    }

    #[test]
    fn a_local_review_has_a_namespace() {
        let mut review = LocalSubjectAccessReview::default();
        review.metadata.namespace = "here".to_owned();
        review.metadata.name = "x".to_owned();
        review.spec = of(Some(ResourceAttributes::default()), None).spec;
        assert_eq!(
            texts(validate_local_subject_access_review(&review)),
            [
                "metadata: Invalid value: {\"name\":\"x\",\"namespace\":\"here\"}: must be empty except for namespace",
                "spec.resourceAttributes.namespace: Invalid value: \"\": must match metadata.namespace",
            ]
        );
    }
}
