//! Request options, managed fields entries and conditions. Upstream: apimachinery/pkg/apis/meta/v1/validation.

use api_types::meta::v1::{
    Condition, CreateOptions, DeleteOptions, ManagedFieldsEntry, PatchOptions, TableOptions,
    UpdateOptions,
};

use super::content::{has_shape, regex_error};
use super::selectors::validate_label_name;
use crate::field::{self, ErrorList, LazyText, Path};
use crate::quote::is_print;

/// Longest name of a field manager, in bytes.
pub const FIELD_MANAGER_MAX_LENGTH: usize = 128;
/// Longest subresource in a managed fields entry, in bytes.
pub const MAX_SUBRESOURCE_NAME_LENGTH: usize = 256;

/// Checks the options of a delete.
pub fn validate_delete_options(options: &DeleteOptions) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("propagationPolicy");
    let policy = options.propagation_policy.as_deref();
    if options.orphan_dependents.is_some() && policy.is_some() {
        errors.push(field::invalid(
            &path,
            policy,
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    if let Some(policy) =
        policy.filter(|policy| !matches!(*policy, "Foreground" | "Background" | "Orphan"))
    {
        errors.push(field::not_supported(
            &path,
            policy,
            &["Foreground", "Background", "Orphan", "nil"],
        ));
    }
    errors.extend(validate_dry_run(&Path::new("dryRun"), &options.dry_run));
    errors.extend(validate_ignore_store_read_error(
        &Path::new("ignoreStoreReadErrorWithClusterBreakingPotential"),
        options,
    ));
    errors
}

/// Checks the options of a create.
pub fn validate_create_options(options: &CreateOptions) -> ErrorList {
    validate_write_options(
        &options.field_manager,
        &options.dry_run,
        &options.field_validation,
    )
}

/// Checks the options of an update.
pub fn validate_update_options(options: &UpdateOptions) -> ErrorList {
    validate_write_options(
        &options.field_manager,
        &options.dry_run,
        &options.field_validation,
    )
}

/// Checks the options of a patch. Server-side apply needs a field manager; the others may not be forced.
pub fn validate_patch_options(options: &PatchOptions, is_apply: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    if is_apply {
        if options.field_manager.is_empty() {
            errors.push(field::required(
                &Path::new("fieldManager"),
                "is required for apply patch",
            ));
        }
    } else if options.force.is_some() {
        errors.push(field::forbidden(
            &Path::new("force"),
            "may not be specified for non-apply patch",
        ));
    }
    errors.extend(validate_write_options(
        &options.field_manager,
        &options.dry_run,
        &options.field_validation,
    ));
    errors
}

fn validate_write_options(
    field_manager: &str,
    dry_run: &[String],
    field_validation: &str,
) -> ErrorList {
    let mut errors = validate_field_manager(field_manager, &Path::new("fieldManager"));
    errors.extend(validate_dry_run(&Path::new("dryRun"), dry_run));
    errors.extend(validate_field_validation(
        &Path::new("fieldValidation"),
        field_validation,
    ));
    errors
}

/// Checks the name of a field manager: its length, and that all of it can be printed. Empty is fine.
pub fn validate_field_manager(field_manager: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if field_manager.len() > FIELD_MANAGER_MAX_LENGTH {
        errors.push(field::too_long(path, FIELD_MANAGER_MAX_LENGTH));
    }
    for (position, c) in field_manager.char_indices().filter(|(_, c)| !is_print(*c)) {
        let detail = LazyText(move || {
            format!(
                "invalid character U+{:04X} (at position {position})",
                c as u32
            )
        });
        errors.push(field::invalid(path, field_manager, detail));
    }
    errors
}

/// Checks the `dryRun` parameter, which knows only `All`.
pub fn validate_dry_run(path: &Path, dry_run: &[String]) -> ErrorList {
    if dry_run.iter().all(|value| value == "All") {
        return ErrorList::new();
    }
    field::not_supported(path, dry_run, &["All"]).into()
}

/// Checks the `fieldValidation` parameter.
pub fn validate_field_validation(path: &Path, field_validation: &str) -> ErrorList {
    let known = ["", "Ignore", "Strict", "Warn"];
    if known.contains(&field_validation) {
        return ErrorList::new();
    }
    field::not_supported(path, field_validation, &known).into()
}

/// Checks the options of a request for a table.
pub fn validate_table_options(options: &TableOptions) -> ErrorList {
    if matches!(
        options.include_object.as_str(),
        "" | "None" | "Metadata" | "Object"
    ) {
        return ErrorList::new();
    }
    let detail = "must be 'Metadata', 'Object', 'None', or empty";
    field::invalid(&Path::new("includeObject"), &options.include_object, detail).into()
}

/// Checks that a delete of something that cannot be read asks for nothing else.
pub fn validate_ignore_store_read_error(path: &Path, options: &DeleteOptions) -> ErrorList {
    if options.ignore_store_read_error_with_cluster_breaking_potential != Some(true) {
        return ErrorList::new();
    }
    let set = [
        ("dryRun", !options.dry_run.is_empty()),
        ("propagationPolicy", options.propagation_policy.is_some()),
        ("orphanDependents", options.orphan_dependents.is_some()),
        ("gracePeriodSeconds", options.grace_period_seconds.is_some()),
        ("preconditions", options.preconditions.is_some()),
    ];
    set.iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(name, _)| field::invalid(path, true, format!("cannot be set together with .{name}")))
        .collect()
}

/// Checks `metadata.managedFields` as a client sends it.
pub fn validate_managed_fields(entries: &[ManagedFieldsEntry], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, entry) in entries.iter().enumerate() {
        let path = path.index(i);
        if !matches!(entry.operation.as_str(), "Apply" | "Update") {
            errors.push(field::invalid(
                &path.child("operation"),
                &entry.operation,
                "must be `Apply` or `Update`",
            ));
        }
        if !matches!(entry.fields_type.as_str(), "" | "FieldsV1") {
            errors.push(field::invalid(
                &path.child("fieldsType"),
                &entry.fields_type,
                "must be `FieldsV1`",
            ));
        }
        errors.extend(validate_field_manager(
            &entry.manager,
            &path.child("manager"),
        ));
        if entry.subresource.len() > MAX_SUBRESOURCE_NAME_LENGTH {
            errors.push(field::too_long(
                &path.child("subresource"),
                MAX_SUBRESOURCE_NAME_LENGTH,
            ));
        }
    }
    errors
}

/// Checks a list of conditions, with one of each type.
pub fn validate_conditions(conditions: &[Condition], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut types = std::collections::HashSet::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i);
        if !types.insert(condition.type_.as_str()) {
            errors.push(field::duplicate(&path.child("type"), &condition.type_));
        }
        errors.extend(validate_condition(condition, &path));
    }
    errors
}

/// Checks one condition.
pub fn validate_condition(condition: &Condition, path: &Path) -> ErrorList {
    const MAX_REASON: usize = 1024;
    const MAX_MESSAGE: usize = 32 * 1024;
    let mut errors = validate_label_name(&condition.type_, &path.child("type"));
    if !matches!(condition.status.as_str(), "True" | "False" | "Unknown") {
        errors.push(field::not_supported(
            &path.child("status"),
            &condition.status,
            &["False", "True", "Unknown"],
        ));
    }
    if condition.observed_generation < 0 {
        let detail = "must be greater than or equal to zero";
        errors.push(field::invalid(
            &path.child("observedGeneration"),
            condition.observed_generation,
            detail,
        ));
    }
    if condition.last_transition_time.is_zero() {
        errors.push(field::required(&path.child("lastTransitionTime"), ""));
    }
    let reason_path = path.child("reason");
    if condition.reason.is_empty() {
        errors.push(field::required(&reason_path, ""));
    } else {
        if !is_condition_reason(&condition.reason) {
            let message = "a condition reason must start with alphabetic character, optionally followed by a string of \
                           alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
            let pattern = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
            let examples = [
                "my_name",
                "MY_NAME",
                "MyName",
                "ReasonA,ReasonB",
                "ReasonA:ReasonB",
            ];
            errors.push(field::invalid(
                &reason_path,
                &condition.reason,
                regex_error(message, pattern, &examples),
            ));
        }
        if condition.reason.len() > MAX_REASON {
            errors.push(field::too_long(&reason_path, MAX_REASON));
        }
    }
    if condition.message.len() > MAX_MESSAGE {
        errors.push(field::too_long(&path.child("message"), MAX_MESSAGE));
    }
    errors
}

fn is_condition_reason(reason: &str) -> bool {
    reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && has_shape(
            reason,
            |b| b.is_ascii_alphanumeric() || b == b'_',
            |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b',' | b':'),
        )
}
