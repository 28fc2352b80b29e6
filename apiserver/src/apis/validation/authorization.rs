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
    let value = go_value::bad_value(metadata);
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
