//! The condition about approval of APIs in Kubernetes' own groups. Upstream: pkg/controller/apiapproval.

use api_types::apiextensions::v1::CustomResourceDefinition;

use super::super::conditions::{self, API_APPROVAL, Approval, condition};

/// Sets the condition. Whether that changed anything.
pub(super) fn sync(crd: &mut CustomResourceDefinition) -> bool {
    if !conditions::is_protected_group(&crd.spec.group) {
        return false;
    }
    let (state, message) = conditions::approval(&crd.metadata);
    let (status, reason) = match state {
        Approval::Invalid => (false, "InvalidAnnotation"),
        Approval::Missing => (false, "MissingAnnotation"),
        Approval::Approved => (true, "ApprovedAnnotation"),
        Approval::Bypassed => (false, "UnapprovedAnnotation"),
    };
    let condition = condition(API_APPROVAL, status, reason, message);
    if conditions::equivalent(conditions::find(crd, API_APPROVAL), Some(&condition)) {
        return false;
    }
    conditions::set(crd, condition);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kubernetes_groups_have_it() {
        let mut crd = CustomResourceDefinition::default();
        "example.com".clone_into(&mut crd.spec.group);
        assert!(!sync(&mut crd));
        "x.k8s.io".clone_into(&mut crd.spec.group);
        let annotations = &mut crd.metadata.annotations;
        annotations.insert(conditions::API_APPROVED.to_owned(), "unapproved".to_owned());
        assert!(sync(&mut crd));
        assert!(!sync(&mut crd));
        let condition = &crd.status.conditions[0];
        assert_eq!(condition.reason, "UnapprovedAnnotation");
        assert_eq!(condition.message, "not approved: \"unapproved\"");
    }
}
