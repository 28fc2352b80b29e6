//! The options of each verb, read from the query (or, for deletion, the body) and checked.
//! Upstream: metainternalversion.ParameterCodec and apimachinery's option validation.

use api_types::meta::v1::{
    CreateOptions, DeleteOptions, PatchOptions, Preconditions, UpdateOptions,
};
use apimachinery::field::{self, ErrorList, Path};
use apimachinery::gvk::GroupKind;
use apimachinery::status::{self, StatusError};
use apimachinery::validation as checks;

use crate::request::query::Query;

fn invalid(kind: &str, errors: &ErrorList) -> StatusError {
    status::invalid(
        &GroupKind {
            group: "meta.k8s.io".to_owned(),
            kind: kind.to_owned(),
        },
        "",
        errors,
    )
}

fn check(kind: &str, errors: ErrorList) -> Result<(), StatusError> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(invalid(kind, &errors))
    }
}

fn bad_request(error: impl std::fmt::Display) -> StatusError {
    status::bad_request(error.to_string())
}

fn dry_run(query: &Query) -> Vec<String> {
    query.all("dryRun").map(str::to_owned).collect()
}

pub fn create_options(query: &Query) -> Result<CreateOptions, StatusError> {
    let options = CreateOptions {
        dry_run: dry_run(query),
        field_manager: query.text("fieldManager"),
        field_validation: query.text("fieldValidation"),
        ..CreateOptions::default()
    };
    check("CreateOptions", checks::validate_create_options(&options))?;
    Ok(options)
}

pub fn update_options(query: &Query) -> Result<UpdateOptions, StatusError> {
    let options = UpdateOptions {
        dry_run: dry_run(query),
        field_manager: query.text("fieldManager"),
        field_validation: query.text("fieldValidation"),
        ..UpdateOptions::default()
    };
    check("UpdateOptions", checks::validate_update_options(&options))?;
    Ok(options)
}

pub fn patch_options(query: &Query, is_apply: bool) -> Result<PatchOptions, StatusError> {
    let options = PatchOptions {
        dry_run: dry_run(query),
        force: query.optional_bool("force"),
        field_manager: query.text("fieldManager"),
        field_validation: query.text("fieldValidation"),
        ..PatchOptions::default()
    };
    check(
        "PatchOptions",
        checks::validate_patch_options(&options, is_apply),
    )?;
    Ok(options)
}

/// Delete options out of the query; used when there is no body.
pub fn delete_options_from_query(query: &Query) -> Result<DeleteOptions, StatusError> {
    Ok(DeleteOptions {
        grace_period_seconds: query
            .optional_i64("gracePeriodSeconds")
            .map_err(bad_request)?,
        // As upstream: preconditions cannot be said in the query but for these two names.
        preconditions: preconditions(query),
        orphan_dependents: query.optional_bool("orphanDependents"),
        propagation_policy: query.first("propagationPolicy").map(str::to_owned),
        dry_run: dry_run(query),
        ..DeleteOptions::default()
    })
}

fn preconditions(query: &Query) -> Option<Box<Preconditions>> {
    let uid = query.first("uid").map(str::to_owned);
    let resource_version = query
        .first("preconditions.resourceVersion")
        .map(str::to_owned);
    (uid.is_some() || resource_version.is_some()).then(|| {
        Box::new(Preconditions {
            uid,
            resource_version,
        })
    })
}

pub fn check_delete_options(options: &DeleteOptions) -> Result<(), StatusError> {
    check("DeleteOptions", checks::validate_delete_options(options))
}

/// Options of lists, watches and deletions of collections.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub label_selector: apimachinery::labels::Selector,
    pub field_selector: apimachinery::fields::Selector,
    /// What only an object that a webhook has converted can be asked for, and storage cannot.
    pub converted_fields: apimachinery::fields::Selector,
    pub watch: bool,
    pub allow_watch_bookmarks: bool,
    pub resource_version: String,
    pub resource_version_match: String,
    pub timeout_seconds: Option<i64>,
    pub limit: i64,
    pub continue_token: String,
    pub send_initial_events: Option<bool>,
}

/// Reads list options. `convert` maps a field label to the stored name or complains.
pub fn list_options(
    query: &Query,
    watch: bool,
    convert: impl Fn(&str) -> Result<String, String>,
) -> Result<ListOptions, StatusError> {
    let label_selector =
        apimachinery::labels::Selector::parse(query.first("labelSelector").unwrap_or_default())
            .map_err(bad_request)?;
    let field_selector =
        apimachinery::fields::Selector::parse(query.first("fieldSelector").unwrap_or_default())
            .map_err(bad_request)?;
    let mut options = ListOptions {
        label_selector,
        field_selector,
        converted_fields: apimachinery::fields::Selector::everything(),
        watch: watch || query.bool("watch"),
        allow_watch_bookmarks: query.bool("allowWatchBookmarks"),
        resource_version: query.text("resourceVersion"),
        resource_version_match: query.text("resourceVersionMatch"),
        timeout_seconds: query.optional_i64("timeoutSeconds").map_err(bad_request)?,
        limit: query
            .optional_i64("limit")
            .map_err(bad_request)?
            .unwrap_or(0),
        continue_token: query.text("continue"),
        send_initial_events: query.optional_bool("sendInitialEvents"),
    };
    // A watch from "" or "0" means: the state first, then changes. This is what it was before WatchList had a name.
    if options.send_initial_events.is_none()
        && options.resource_version_match.is_empty()
        && options.watch
        && matches!(options.resource_version.as_str(), "" | "0")
    {
        options.send_initial_events = Some(true);
        options.resource_version_match = "NotOlderThan".to_owned();
    }
    check("ListOptions", list_problems(&options))?;
    options.field_selector = options
        .field_selector
        .transform(|field, value| convert(field).map(|field| (field, value.to_owned())))
        .map_err(bad_request)?;
    Ok(options)
}

fn list_problems(options: &ListOptions) -> ErrorList {
    let mut errors = ErrorList::new();
    let version_match = options.resource_version_match.as_str();
    let path = Path::new("resourceVersionMatch");
    if options.watch {
        if options.send_initial_events.is_some() && version_match != "NotOlderThan" {
            errors.push(field::forbidden(
                &path,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if !version_match.is_empty() {
            if options.send_initial_events.is_none() {
                errors.push(field::forbidden(&path, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"));
            }
            if version_match != "NotOlderThan" {
                errors.push(field::not_supported(
                    &path,
                    version_match,
                    &["NotOlderThan"],
                ));
            }
            if !options.continue_token.is_empty() {
                errors.push(field::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
        }
        return errors;
    }
    if !version_match.is_empty() {
        if options.resource_version.is_empty() {
            errors.push(field::forbidden(
                &path,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if !options.continue_token.is_empty() {
            errors.push(field::forbidden(
                &path,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if !matches!(version_match, "Exact" | "NotOlderThan") {
            errors.push(field::not_supported(
                &path,
                version_match,
                &["Exact", "NotOlderThan", ""],
            ));
        }
        if version_match == "Exact" && options.resource_version == "0" {
            errors.push(field::forbidden(
                &path,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if options.send_initial_events.is_some() {
        errors.push(field::forbidden(
            &Path::new("sendInitialEvents"),
            "sendInitialEvents is forbidden for list",
        ));
    }
    errors
}

/// How unknown and duplicate fields of a body are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    /// The option's text, checked before; nothing means Warn.
    pub fn parse(text: &str) -> FieldValidation {
        match text {
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            _ => FieldValidation::Warn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_list(query: &str, watch: bool, expected: Result<(), &str>) {
        let got = list_options(&Query::parse(query), watch, |field| Ok(field.to_owned()));
        match (got, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(text)) => {
                assert!(error.message.contains(text), "{query}: {}", error.message)
            }
            (got, _) => panic!("{query}: {got:?}"),
        }
    }

    #[test]
    fn list_options_are_checked_as_upstream_does() {
        check_list("", false, Ok(()));
        check_list(
            "limit=x",
            false,
            Err("strconv.ParseInt: parsing \"x\": invalid syntax"),
        );
        check_list(
            "resourceVersionMatch=Exact",
            false,
            Err("resourceVersionMatch is forbidden unless resourceVersion is provided"),
        );
        check_list(
            "resourceVersionMatch=Exact&resourceVersion=0",
            false,
            Err("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""),
        );
        check_list(
            "sendInitialEvents=true",
            false,
            Err("sendInitialEvents is forbidden for list"),
        );
        check_list(
            "sendInitialEvents=true",
            true,
            Err("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        );
        check_list(
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            true,
            Ok(()),
        );
        check_list("resourceVersion=5", true, Ok(()));
    }

    #[test]
    fn a_watch_from_nowhere_begins_with_the_state() {
        let options = list_options(&Query::parse("resourceVersion=0"), true, |field| {
            Ok(field.to_owned())
        })
        .unwrap();
        assert_eq!(options.send_initial_events, Some(true));
    }
}
