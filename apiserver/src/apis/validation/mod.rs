//! What makes an object of a built-in kind valid, on create and on update. Upstream: pkg/apis/*/validation.
//!
//! Functions are pure; errors have upstream's order, paths, causes and messages. Where upstream walks a map, whose order Go
//! does not define, errors come in key order. A bad value that is a struct prints as upstream's internal type does, with
//! Go's field names ([`go_value`]).

pub mod admission_registration;
pub mod api_extensions;
pub mod api_registration;
pub mod apps;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod containers;
pub mod coordination;
pub mod core;
pub mod cron;
pub mod discovery;
pub mod dra;
pub mod events;
pub mod flowcontrol;
pub mod go_value;
mod job_status;
pub mod networking;
pub mod nodes;
pub mod persistent_volumes;
pub mod pod_certificates;
pub mod pod_groups;
pub mod pod_options;
pub mod pod_spec;
pub mod pod_status;
pub mod pods;
pub mod policy;
pub mod quotas;
pub mod rbac;
pub mod resources;
pub mod scheduling;
pub mod security;
pub mod services;
pub mod storage;
pub mod storage_versions;
pub mod volumes;

use std::collections::{BTreeMap, HashSet};

use api_types::Quantity;
use api_types::meta::v1::{LabelSelector, ObjectMeta};
pub(crate) use apimachinery::field::{self, BadValue, Error, ErrorList, Path};
pub(crate) use apimachinery::validation as rules;
use apimachinery::validation::{LabelSelectorValidationOptions, NameFn};

use crate::apis::gates;

/// "field is immutable".
pub(crate) const IMMUTABLE: &str = rules::FIELD_IMMUTABLE_ERROR;
const NOT_POSITIVE: &str = "must be greater than zero";
const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// A path of several names.
pub(crate) fn path(names: &[&'static str]) -> Path {
    names
        .iter()
        .fold(Path::nil(), |path, name| path.child(*name))
}

/// One error per problem that a rule found in a value.
pub(crate) fn invalids(path: &Path, value: &str, problems: Vec<String>) -> ErrorList {
    problems
        .into_iter()
        .map(|problem| field::invalid(path, value, problem))
        .collect()
}

/// One error per problem with a number.
pub(crate) fn invalid_numbers(path: &Path, value: i64, problems: Vec<String>) -> ErrorList {
    problems
        .into_iter()
        .map(|problem| field::invalid(path, value, problem))
        .collect()
}

pub(crate) fn dns_label(value: &str, path: &Path) -> ErrorList {
    invalids(path, value, rules::is_dns1123_label(value))
}

pub(crate) fn dns_subdomain(value: &str, path: &Path) -> ErrorList {
    invalids(path, value, rules::is_dns1123_subdomain(value))
}

pub(crate) fn qualified_name(value: &str, path: &Path) -> ErrorList {
    invalids(path, value, rules::is_qualified_name(value))
}

pub(crate) fn port_number(value: i32, path: &Path) -> ErrorList {
    invalid_numbers(path, value.into(), rules::is_valid_port_num(value.into()))
}

pub(crate) fn nonnegative(value: i64, path: &Path) -> ErrorList {
    rules::validate_nonnegative_field(value, path)
}

pub(crate) fn positive(value: i64, path: &Path) -> ErrorList {
    if value <= 0 {
        field::invalid(path, value, NOT_POSITIVE).into()
    } else {
        ErrorList::new()
    }
}

pub(crate) fn nonnegative_quantity(value: &Quantity, path: &Path) -> ErrorList {
    if value.signum() < 0 {
        field::invalid(path, value.to_string(), rules::IS_NEGATIVE_ERROR).into()
    } else {
        ErrorList::new()
    }
}

pub(crate) fn positive_quantity(value: &Quantity, path: &Path) -> ErrorList {
    if value.signum() <= 0 {
        field::invalid(path, value.to_string(), NOT_POSITIVE).into()
    } else {
        ErrorList::new()
    }
}

/// A required text that is one of several. `supported` prints in its order.
pub(crate) fn one_of(value: &str, supported: &[&str], path: &Path) -> ErrorList {
    if supported.contains(&value) {
        ErrorList::new()
    } else {
        field::not_supported(path, value, supported).into()
    }
}

/// Like [`one_of`], with its own words for a text that is missing.
pub(crate) fn required_one_of(value: &str, supported: &[&str], path: &Path) -> ErrorList {
    if value.is_empty() {
        field::required(path, "").into()
    } else {
        one_of(value, supported, path)
    }
}

/// What an object had before, and may keep whatever the rules are now.
pub(crate) type Known<'a> = HashSet<&'a str>;

/// An address in a field that is older than the strict rules.
pub(crate) fn legacy_ip(path: &Path, value: &str, known: &Known<'_>) -> ErrorList {
    if known.contains(value) {
        return ErrorList::new();
    }
    let strict = gates::enabled("StrictIPCIDRValidation");
    rules::is_valid_ip_for_legacy_field(path, value, strict, &[])
}

/// A CIDR block in a field that is older than the strict rules.
pub(crate) fn legacy_cidr(path: &Path, value: &str, known: &Known<'_>) -> ErrorList {
    if known.contains(value) {
        return ErrorList::new();
    }
    let strict = gates::enabled("StrictIPCIDRValidation");
    rules::is_valid_cidr_for_legacy_field(path, value, strict, &[])
}

/// Whether there are addresses of both families. `None`: one of them is no address.
pub(crate) fn is_dual_stack<'a>(ips: impl IntoIterator<Item = &'a str>) -> Option<bool> {
    let (mut v4, mut v6) = (false, false);
    for ip in ips {
        if rules::parse_ip_sloppy(ip)?.is_ipv6() {
            v6 = true;
        } else {
            v4 = true;
        }
    }
    Some(v4 && v6)
}

/// A label selector with no invalid values.
pub(crate) fn label_selector(selector: Option<&LabelSelector>, path: &Path) -> ErrorList {
    rules::validate_label_selector(selector, LabelSelectorValidationOptions::default(), path)
}

/// A label selector that may keep invalid values.
pub(crate) fn label_selector_allowing(
    selector: Option<&LabelSelector>,
    invalid_values: bool,
    path: &Path,
) -> ErrorList {
    let options = LabelSelectorValidationOptions {
        allow_invalid_label_value_in_selector: invalid_values,
        ..LabelSelectorValidationOptions::default()
    };
    rules::validate_label_selector(selector, options, path)
}

const STANDARD_FINALIZERS: [&str; 3] = [
    "kubernetes",
    rules::FINALIZER_ORPHAN_DEPENDENTS,
    rules::FINALIZER_DELETE_DEPENDENTS,
];

/// A finalizer's name without a domain must be one of the well-known ones.
pub(crate) fn kube_finalizer_name(name: &str, path: &Path) -> ErrorList {
    if name.contains('/') || STANDARD_FINALIZERS.contains(&name) {
        return ErrorList::new();
    }
    let detail = "name is neither a standard finalizer name nor is it fully qualified";
    field::invalid(path, name, detail).into()
}

fn kube_finalizers(metadata: &ObjectMeta) -> ErrorList {
    let path = path(&["metadata", "finalizers"]);
    let names = metadata.finalizers.iter().enumerate();
    names
        .flat_map(|(i, name)| kube_finalizer_name(name, &path.index(i)))
        .collect()
}

/// Metadata of a new object of a kind in the core and older groups. Upstream: core validation's ValidateObjectMeta.
pub(crate) fn object_meta(metadata: &ObjectMeta, namespaced: bool, name: NameFn) -> ErrorList {
    let mut errors =
        rules::validate_object_meta(metadata, namespaced, name, &Path::new("metadata"));
    errors.extend(kube_finalizers(metadata));
    errors
}

/// Metadata of a new object whose name check is newer. Upstream: ValidateObjectMetaWithOpts.
pub(crate) fn object_meta_with_opts(
    metadata: &ObjectMeta,
    namespaced: bool,
    name: impl Fn(&Path, &str) -> ErrorList,
) -> ErrorList {
    let mut errors =
        rules::validate_object_meta_with_opts(metadata, namespaced, name, &Path::new("metadata"));
    errors.extend(kube_finalizers(metadata));
    errors
}

/// Metadata of a new object of a kind whose finalizers need no domain. Upstream: apimachinery's ValidateObjectMeta.
pub(crate) fn plain_object_meta(
    metadata: &ObjectMeta,
    namespaced: bool,
    name: NameFn,
) -> ErrorList {
    rules::validate_object_meta(metadata, namespaced, name, &Path::new("metadata"))
}

/// Metadata of a changed object of such a kind.
pub(crate) fn plain_object_meta_update(new: &ObjectMeta, old: &ObjectMeta) -> ErrorList {
    rules::validate_object_meta_update(new, old, &Path::new("metadata"))
}

/// Metadata of a changed object.
pub(crate) fn object_meta_update(new: &ObjectMeta, old: &ObjectMeta) -> ErrorList {
    let mut errors = rules::validate_object_meta_update(new, old, &Path::new("metadata"));
    errors.extend(kube_finalizers(new));
    errors
}

/// A name in metadata that is a DNS subdomain, with the checks of declarative validation.
pub(crate) fn long_name(path: &Path, name: &str) -> ErrorList {
    invalids(path, name, rules::content::is_dns1123_subdomain(name))
}

/// A struct did not change.
pub(crate) fn immutable<T>(
    new: &T,
    old: &T,
    path: &Path,
    bad_value: impl FnOnce() -> BadValue,
) -> ErrorList
where
    T: PartialEq + ?Sized,
{
    if new == old {
        ErrorList::new()
    } else {
        field::invalid(path, bad_value(), IMMUTABLE).into()
    }
}

/// Amounts in key order.
pub(crate) type Amounts = BTreeMap<String, Quantity>;
