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

use super::Attributes;

/// Whether policies are never asked about a request: about policies, which nobody could correct then, and about reviews, without which
/// the cluster may not work.
pub fn is_exempt(attributes: &Attributes) -> bool {
    let resource = &attributes.resource;
    match resource.group.as_str() {
        "admissionregistration.k8s.io" => matches!(
            resource.resource.as_str(),
            "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
                | "mutatingadmissionpolicies"
                | "mutatingadmissionpolicybindings"
        ),
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
