//! Admission webhooks and policies. Upstream: pkg/registry/admissionregistration.

use api_types::admissionregistration::v1::*;
use api_types::meta::v1::ObjectMeta;
use apimachinery::field::{self, ErrorList, Path};

use super::{Generation, Kind, Row, Status, row};
use crate::apis::gates;
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
    warn: |_, object| warnings_of_new(&object.metadata),
    warn_update: |_, object, _| warnings(&object.metadata),
    ..Kind::new(
        |_, hooks| {
            not_reserved(
                checks::validate_validating_webhooks(hooks, None),
                &hooks.metadata,
            )
        },
        |_, hooks, old| checks::validate_validating_webhooks(hooks, Some(old)),
    )
};

static MUTATING_WEBHOOKS: Kind<MutatingWebhookConfiguration> = Kind {
    generation: Generation::Spec,
    unconditional_update: false,
    warn: |_, object| warnings_of_new(&object.metadata),
    warn_update: |_, object, _| warnings(&object.metadata),
    ..Kind::new(
        |_, hooks| {
            not_reserved(
                checks::validate_mutating_webhooks(hooks, None),
                &hooks.metadata,
            )
        },
        |_, hooks, old| checks::validate_mutating_webhooks(hooks, Some(old)),
    )
};

static VALIDATING_POLICY: Kind<ValidatingAdmissionPolicy> = Kind {
    generation: Generation::Spec,
    unconditional_update: false,
    warn: |_, object| warnings_of_new(&object.metadata),
    warn_update: |_, object, _| warnings(&object.metadata),
    ..Kind::new(
        |_, policy| {
            not_reserved(
                checks::validate_validating_policy(policy, None),
                &policy.metadata,
            )
        },
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
    warn: |_, object| warnings_of_new(&object.metadata),
    warn_update: |_, object, _| warnings(&object.metadata),
    ..Kind::new(
        |_, binding| {
            not_reserved(
                checks::validate_validating_binding(binding),
                &binding.metadata,
            )
        },
        |_, binding, _| checks::validate_validating_binding(binding),
    )
};

static MUTATING_POLICY: Kind<MutatingAdmissionPolicy> = Kind {
    generation: Generation::Spec,
    unconditional_update: false,
    warn: |_, object| warnings_of_new(&object.metadata),
    warn_update: |_, object, _| warnings(&object.metadata),
    ..Kind::new(
        |_, policy| {
            not_reserved(
                checks::validate_mutating_policy(policy, None),
                &policy.metadata,
            )
        },
        |_, policy, old| checks::validate_mutating_policy(policy, Some(old)),
    )
};

static MUTATING_BINDING: Kind<MutatingAdmissionPolicyBinding> = Kind {
    generation: Generation::Spec,
    unconditional_update: false,
    warn: |_, object| warnings_of_new(&object.metadata),
    warn_update: |_, object, _| warnings(&object.metadata),
    ..Kind::new(
        |_, binding| {
            not_reserved(
                checks::validate_mutating_binding(binding),
                &binding.metadata,
            )
        },
        |_, binding, _| checks::validate_mutating_binding(binding),
    )
};

/// What is wrong with a reserved name. Upstream: validation/static_suffix.go.
fn reserved(metadata: &ObjectMeta) -> Option<String> {
    let suffix = checks::STATIC_SUFFIX;
    metadata.name.ends_with(suffix).then(|| {
        format!(
            "names ending with {suffix:?} are reserved for static manifest-based configurations and cannot be managed via the API"
        )
    })
}

fn are_reserved() -> bool {
    gates::enabled("ManifestBasedAdmissionControlConfig")
}

/// With an error for a reserved name, where names are reserved.
fn not_reserved(mut errors: ErrorList, metadata: &ObjectMeta) -> ErrorList {
    if let Some(why) = reserved(metadata).filter(|_| are_reserved()) {
        let path = Path::new("metadata").child("name");
        errors.push(field::invalid(&path, &metadata.name, why));
    }
    errors
}

fn warnings(metadata: &ObjectMeta) -> Vec<String> {
    let warning = reserved(metadata).map(|why| format!("metadata.name: {why}"));
    warning.into_iter().collect()
}

fn warnings_of_new(metadata: &ObjectMeta) -> Vec<String> {
    if are_reserved() {
        return Vec::new();
    }
    warnings(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_warned_about() {
        let of = |name: &str| ObjectMeta {
            name: name.to_owned(),
            ..ObjectMeta::default()
        };
        let want = "metadata.name: names ending with \".static.k8s.io\" are reserved for static manifest-based configurations and cannot be managed via the API";
        assert_eq!(warnings(&of("a.static.k8s.io")), [want]);
        assert_eq!(warnings_of_new(&of("a.static.k8s.io")), [want]);
        assert!(not_reserved(ErrorList::new(), &of("a.static.k8s.io")).is_empty());
        assert_eq!(warnings(&of("a.k8s.io")), [""; 0]);
    }
}
