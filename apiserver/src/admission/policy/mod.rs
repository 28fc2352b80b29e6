//! Admission policies written in CEL: what validating and mutating ones share.
//! Upstream: apiserver/pkg/admission/plugin/policy and plugin/cel.

/// Expressions and variables.
pub mod composition;
/// What mutating policies make of an object.
pub mod mutating;
/// Parameters.
pub mod params;
/// What authors of policies must be allowed to read.
pub mod rights;
/// Policies and bindings that are in force.
pub mod source;
/// What validating policies say.
pub mod validating;
/// What expressions see of a request.
pub mod versions;

use apimachinery::gvk::GroupVersionResource;

/// Whether requests about a resource change policies: stored policies are not asked about these, since nobody could correct them then.
fn is_about_policies(resource: &GroupVersionResource) -> bool {
    resource.group == "admissionregistration.k8s.io"
        && matches!(
            resource.resource.as_str(),
            "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
                | "mutatingadmissionpolicies"
                | "mutatingadmissionpolicybindings"
        )
}

/// Whether a resource is a review, without which the cluster may not work: no policy is ever asked about it.
fn is_review(resource: &GroupVersionResource) -> bool {
    match resource.group.as_str() {
        "authentication.k8s.io" => matches!(
            resource.resource.as_str(),
            "selfsubjectreviews" | "tokenreviews"
        ),
        "authorization.k8s.io" => matches!(
            resource.resource.as_str(),
            "localsubjectaccessreviews"
                | "selfsubjectaccessreviews"
                | "selfsubjectrulesreviews"
                | "subjectaccessreviews"
        ),
        _ => false,
    }
}
