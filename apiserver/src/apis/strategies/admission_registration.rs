//! Admission webhooks and policies. Upstream: pkg/registry/admissionregistration.

use api_types::admissionregistration::v1::*;

use super::{Generation, Kind, Row, Status, row};
use crate::apis::validation::admission_registration as checks;

const ADMISSION: &str = "admissionregistration.k8s.io";

pub(super) static ROWS: &[Row] = &[
    row(
        ADMISSION,
        "ValidatingWebhookConfiguration",
        "",
        &VALIDATING_WEBHOOKS,
    ),
    row(
        ADMISSION,
        "MutatingWebhookConfiguration",
        "",
        &MUTATING_WEBHOOKS,
    ),
    row(
        ADMISSION,
        "ValidatingAdmissionPolicy",
        "",
        &VALIDATING_POLICY,
    ),
    row(
        ADMISSION,
        "ValidatingAdmissionPolicy",
        "status",
        &VALIDATING_POLICY_STATUS,
    ),
    row(
        ADMISSION,
        "ValidatingAdmissionPolicyBinding",
        "",
        &VALIDATING_BINDING,
    ),
    row(ADMISSION, "MutatingAdmissionPolicy", "", &MUTATING_POLICY),
    row(
        ADMISSION,
        "MutatingAdmissionPolicyBinding",
        "",
        &MUTATING_BINDING,
    ),
];

static VALIDATING_WEBHOOKS: Kind<ValidatingWebhookConfiguration> = Kind {
    generation: Generation::Spec,
    unconditional_update: false,
    ..Kind::new(
        |_, hooks| checks::validate_validating_webhooks(hooks, None),
        |_, hooks, old| checks::validate_validating_webhooks(hooks, Some(old)),
    )
};

static MUTATING_WEBHOOKS: Kind<MutatingWebhookConfiguration> = Kind {
    generation: Generation::Spec,
    unconditional_update: false,
    ..Kind::new(
        |_, hooks| checks::validate_mutating_webhooks(hooks, None),
        |_, hooks, old| checks::validate_mutating_webhooks(hooks, Some(old)),
    )
};

static VALIDATING_POLICY: Kind<ValidatingAdmissionPolicy> = Kind {
    generation: Generation::Spec,
    unconditional_update: false,
    ..Kind::new(
        |_, policy| checks::validate_validating_policy(policy, None),
        |_, policy, old| checks::validate_validating_policy(policy, Some(old)),
    )
};

static VALIDATING_POLICY_STATUS: Status<ValidatingAdmissionPolicy> = Status {
    keeps_metadata: true,
    unconditional_update: false,
    ..Status::new(|_, policy, _| checks::validate_validating_policy_status(policy))
};

static VALIDATING_BINDING: Kind<ValidatingAdmissionPolicyBinding> = Kind {
    generation: Generation::Spec,
    unconditional_update: false,
    ..Kind::new(
        |_, binding| checks::validate_validating_binding(binding),
        |_, binding, _| checks::validate_validating_binding(binding),
    )
};

static MUTATING_POLICY: Kind<MutatingAdmissionPolicy> = Kind {
    generation: Generation::Spec,
    unconditional_update: false,
    ..Kind::new(
        |_, policy| checks::validate_mutating_policy(policy, None),
        |_, policy, old| checks::validate_mutating_policy(policy, Some(old)),
    )
};

static MUTATING_BINDING: Kind<MutatingAdmissionPolicyBinding> = Kind {
    generation: Generation::Spec,
    unconditional_update: false,
    ..Kind::new(
        |_, binding| checks::validate_mutating_binding(binding),
        |_, binding, _| checks::validate_mutating_binding(binding),
    )
};
