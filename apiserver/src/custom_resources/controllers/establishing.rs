//! A CRD whose names are accepted becomes established. Upstream: pkg/controller/establish.

use api_types::apiextensions::v1::CustomResourceDefinition;

use super::super::conditions::{self, ESTABLISHED, NAMES_ACCEPTED, condition};
use crate::apis::validation::api_extensions::has_invalid_ca_bundle;

/// Whether the CRD waits for it.
pub(super) fn is_due(crd: &CustomResourceDefinition) -> bool {
    conditions::is_true(crd, NAMES_ACCEPTED) && !conditions::is_true(crd, ESTABLISHED)
}

/// Sets the condition. Whether that changed anything.
pub(super) fn sync(crd: &mut CustomResourceDefinition) -> bool {
    let condition = if has_invalid_ca_bundle(&crd.spec) {
        condition(
            ESTABLISHED,
            false,
            "InvalidCABundle",
            "The conversion webhook CABundle is invalid",
        )
    } else {
        condition(
            ESTABLISHED,
            true,
            "InitialNamesAccepted",
            "the initial names have been accepted",
        )
    };
    if conditions::equivalent(conditions::find(crd, ESTABLISHED), Some(&condition)) {
        return false;
    }
    conditions::set(crd, condition);
    true
}
