//! Labels, and label and field selectors in API objects. Upstream: apimachinery/pkg/apis/meta/v1/validation.

use std::collections::BTreeMap;

use api_types::meta::v1::{FieldSelectorRequirement, LabelSelector, LabelSelectorRequirement};

use super::content::{is_label_key, is_label_value};
use crate::field::{self, ErrorList, Path};

/// What [`validate_label_selector`] lets pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct LabelSelectorValidationOptions {
    /// Accept invalid values, because the stored object has such already.
    pub allow_invalid_label_value_in_selector: bool,
    /// Accept operators that nobody knows, as access reviews do.
    pub allow_unknown_operator_in_requirement: bool,
}

/// Whether an expression of the selector has an invalid value.
pub fn label_selector_has_invalid_label_value(selector: Option<&LabelSelector>) -> bool {
    selector.is_some_and(|selector| {
        selector
            .match_expressions
            .iter()
            .flat_map(|e| &e.values)
            .any(|value| !is_label_value(value).is_empty())
    })
}

/// Checks a label selector; none is fine.
pub fn validate_label_selector(
    selector: Option<&LabelSelector>,
    options: LabelSelectorValidationOptions,
    path: &Path,
) -> ErrorList {
    let Some(selector) = selector else {
        return ErrorList::new();
    };
    let mut errors = validate_labels(&selector.match_labels, &path.child("matchLabels"));
    let expressions = path.child("matchExpressions");
    for (i, requirement) in selector.match_expressions.iter().enumerate() {
        errors.extend(validate_label_selector_requirement(
            requirement,
            options,
            &expressions.index(i),
        ));
    }
    errors
}

/// Checks one expression of a label selector.
pub fn validate_label_selector_requirement(
    requirement: &LabelSelectorRequirement,
    options: LabelSelectorValidationOptions,
    path: &Path,
) -> ErrorList {
    let mut errors = validate_operator(
        &requirement.operator,
        &requirement.values,
        options.allow_unknown_operator_in_requirement,
        path,
    );
    errors.extend(validate_label_name(&requirement.key, &path.child("key")));
    if !options.allow_invalid_label_value_in_selector {
        for (i, value) in requirement.values.iter().enumerate() {
            for problem in is_label_value(value) {
                errors.push(field::invalid(
                    &path.child("values").index(i),
                    value,
                    problem,
                ));
            }
        }
    }
    errors
}

/// Checks one expression of a field selector, as access reviews carry them.
pub fn validate_field_selector_requirement(
    requirement: &FieldSelectorRequirement,
    allow_unknown_operator: bool,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    if requirement.key.is_empty() {
        errors.push(field::required(&path.child("key"), "must be specified"));
    }
    errors.extend(validate_operator(
        &requirement.operator,
        &requirement.values,
        allow_unknown_operator,
        path,
    ));
    errors
}

fn validate_operator(
    operator: &str,
    values: &[String],
    allow_unknown: bool,
    path: &Path,
) -> ErrorList {
    match operator {
        "In" | "NotIn" if values.is_empty() => field::required(
            &path.child("values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )
        .into(),
        "Exists" | "DoesNotExist" if !values.is_empty() => field::forbidden(
            &path.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )
        .into(),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => ErrorList::new(),
        _ if allow_unknown => ErrorList::new(),
        _ => field::invalid(
            &path.child("operator"),
            operator,
            "not a valid selector operator",
        )
        .into(),
    }
}

/// Checks a label's key.
pub fn validate_label_name(name: &str, path: &Path) -> ErrorList {
    is_label_key(name)
        .into_iter()
        .map(|problem| field::invalid(path, name, problem))
        .collect()
}

/// Checks labels. All errors are at the same path, as upstream.
pub fn validate_labels(labels: &BTreeMap<String, String>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, value) in labels {
        errors.extend(validate_label_name(key, path));
        errors.extend(
            is_label_value(value)
                .into_iter()
                .map(|problem| field::invalid(path, value, problem)),
        );
    }
    errors
}
