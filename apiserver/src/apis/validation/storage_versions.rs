//! In which versions API servers store resources, and migrations to another one. Upstream: pkg/apis/apiserverinternal/validation
//! and pkg/apis/storagemigration/validation.

use std::collections::{BTreeSet, HashMap, HashSet};

use api_types::internal_apiserver::v1alpha1::{
    ServerStorageVersion, StorageVersion, StorageVersionCondition, StorageVersionStatus,
};
use api_types::storagemigration::v1beta1::StorageVersionMigration;
use apimachinery::validation::validate_conditions;

use super::*;

// === StorageVersion ===

/// The spec has no fields, and updates of the rest are not looked at.
pub(crate) fn validate_storage_version(version: &StorageVersion) -> ErrorList {
    let mut errors = object_meta(&version.metadata, false, |name, _| {
        storage_version_name(name)
    });
    errors.extend(storage_version_status(&version.status));
    errors
}

fn storage_version_name(name: &str) -> Vec<String> {
    let Some((group, resource)) = name.rsplit_once('.') else {
        return vec!["name must be in the form of <group>.<resource>".to_owned()];
    };
    let group = rules::is_dns1123_subdomain(group).into_iter();
    let resource = rules::is_dns1035_label(resource).into_iter();
    group
        .map(|problem| format!("the group segment {problem}"))
        .chain(resource.map(|problem| format!("the resource segment {problem}")))
        .collect()
}

pub(crate) fn storage_version_status(status: &StorageVersionStatus) -> ErrorList {
    let path = Path::new("status");
    let mut errors = ErrorList::new();
    let mut servers = BTreeSet::new();
    for (i, version) in status.storage_versions.iter().enumerate() {
        let path = path.child("storageVersions").index(i);
        let id = &version.api_server_id;
        if !servers.insert(id) {
            errors.push(field::duplicate(&path.child("apiServerID"), id));
        }
        errors.extend(server_version(version, &path));
    }
    errors.extend(common_version(status, &path.child("commonEncodingVersion")));
    errors.extend(storage_version_conditions(&status.conditions, &path));
    errors
}

fn server_version(version: &ServerStorageVersion, path: &Path) -> ErrorList {
    let id = &version.api_server_id;
    let mut errors = invalids(
        &path.child("apiServerID"),
        id,
        rules::name_is_dns_subdomain(id, false),
    );
    let is_version = |version: &str, path: &Path| -> ErrorList {
        let problems = api_version(version);
        if problems.is_empty() {
            return ErrorList::new();
        }
        field::invalid(path, version, problems.join(",")).into()
    };
    let encoding = &version.encoding_version;
    errors.extend(is_version(encoding, &path.child("encodingVersion")));
    let decodable = &version.decodable_versions;
    let decodable_path = path.child("decodableVersions");
    for (i, version) in decodable.iter().enumerate() {
        errors.extend(is_version(version, &decodable_path.index(i)));
    }
    let known: HashSet<&String> = decodable.iter().collect();
    if !known.contains(encoding) {
        let detail = format!("decodableVersions must include encodingVersion {encoding}");
        errors.push(field::invalid(&decodable_path, decodable, detail));
    }
    for (i, served) in version.served_versions.iter().enumerate() {
        let path = path.child("servedVersions").index(i);
        errors.extend(is_version(served, &path));
        if !known.contains(served) {
            let detail = field::LazyText(|| {
                format!(
                    "individual served version : {served} must be included in decodableVersions : [{}]",
                    decodable.join(" ")
                )
            });
            errors.push(field::invalid(&path, served, detail));
        }
    }
    errors
}

/// What is wrong with `group/version` or `version`.
fn api_version(text: &str) -> Vec<String> {
    const EMPTY: &str = "must be non-empty";
    let parts: Vec<&str> = text.split('/').collect();
    let (group, version) = match parts[..] {
        [version] => (None, version),
        [group, version] => (Some(group), version),
        _ => {
            return vec!["an apiVersion is a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')".to_owned()];
        }
    };
    let mut problems = Vec::new();
    let mut add = |part: &str, found: Vec<String>| {
        problems.extend(
            found
                .into_iter()
                .map(|problem| format!("{part} part: {problem}")),
        );
    };
    match group {
        None => {}
        Some("") => add("group", vec![EMPTY.to_owned()]),
        Some(group) => add("group", rules::is_dns1123_subdomain(group)),
    }
    if version.is_empty() {
        add("version", vec![EMPTY.to_owned()]);
    } else {
        add("version", rules::is_dns1035_label(version));
    }
    problems
}

/// The version that all servers encode in, if there is one, must be said.
fn common_version(status: &StorageVersionStatus, path: &Path) -> ErrorList {
    let mut encoding = status
        .storage_versions
        .iter()
        .map(|it| &it.encoding_version);
    let first = encoding.next();
    let actual = first.filter(|first| encoding.all(|other| other == *first));
    let said = status.common_encoding_version.as_ref();
    if actual == said {
        return ErrorList::new();
    }
    match (actual, said) {
        (None, Some(said)) => field::invalid(
            path,
            said,
            "should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet",
        ),
        (Some(actual), None) => field::invalid(
            path,
            BadValue::Text("null".to_owned()),
            format!("the common encoding version is {actual}"),
        ),
        (actual, said) => field::invalid(
            path,
            said.cloned().unwrap_or_default(),
            format!(
                "the actual common encoding version is {}",
                actual.cloned().unwrap_or_default()
            ),
        ),
    }
    .into()
}

/// Paths lack the name of the list, as upstream's do.
fn storage_version_conditions(conditions: &[StorageVersionCondition], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i);
        let kind = condition.type_.as_str();
        if let Some(other) = seen.insert(kind, i) {
            let detail = format!(
                "the type of the condition is not unique, it also appears in conditions[{other}]"
            );
            errors.push(field::invalid(&path.child("type"), kind, detail));
        }
        errors.extend(qualified_name(kind, &path.child("type")));
        errors.extend(qualified_name(&condition.status, &path.child("status")));
        for (text, name) in [
            (&condition.reason, "reason"),
            (&condition.message, "message"),
        ] {
            if text.is_empty() {
                errors.push(field::required(&path.child(name), ""));
            }
        }
    }
    errors
}

// === StorageVersionMigration ===

pub(crate) fn validate_migration(migration: &StorageVersionMigration) -> ErrorList {
    let mut errors = object_meta(&migration.metadata, false, rules::name_is_dns_subdomain);
    let of = &migration.spec.resource;
    let path = path(&["spec", "resource"]);
    let resource = path.child("resource");
    if of.resource.is_empty() {
        errors.push(field::required(&resource, "resource is required to be set"));
    } else {
        let problems = rules::is_dns1035_label(&of.resource);
        if !problems.is_empty() {
            errors.push(field::invalid(&resource, &of.resource, problems.join(",")));
        }
    }
    if !of.group.is_empty() {
        let problems = rules::is_dns1123_subdomain(&of.group);
        if !problems.is_empty() {
            let path = path.child("group");
            errors.push(field::invalid(&path, &of.group, problems.join(",")));
        }
    }
    errors
}

pub(crate) fn validate_migration_update(
    new: &StorageVersionMigration,
    old: &StorageVersionMigration,
) -> ErrorList {
    let mut errors = validate_migration(new);
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    errors.extend(immutable(&new.spec, &old.spec, &Path::new("spec"), || {
        go_value::bad_value(&new.spec)
    }));
    errors
}

pub(crate) fn validate_migration_status_update(
    new: &StorageVersionMigration,
    old: &StorageVersionMigration,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let path = Path::new("status");
    let version = path.child("resourceVersion");
    let (now, before) = (&new.status.resource_version, &old.status.resource_version);
    let is_number = now.bytes().all(|byte| byte.is_ascii_digit()) && !now.starts_with('0');
    if !now.is_empty() && !is_number {
        let detail = format!("resource version is not well formed: {now}");
        errors.push(field::invalid(&version, now, detail));
    }
    let conditions = path.child("conditions");
    errors.extend(validate_conditions(&new.status.conditions, &conditions));
    if !before.is_empty() && before != now {
        errors.push(field::invalid(&version, now, IMMUTABLE));
    }
    let is = |migration: &StorageVersionMigration, kind: &str| {
        let mut conditions = migration.status.conditions.iter();
        let found = conditions.find(|condition| condition.type_ == kind);
        found.is_some_and(|condition| condition.status == "True")
    };
    let wrong = |detail: &str| {
        let value = go_value::bad_list(&new.status.conditions);
        field::invalid(&conditions, value, detail)
    };
    const SUCCEEDED: &str = "Succeeded";
    const FAILED: &str = "Failed";
    if is(new, SUCCEEDED) && is(new, FAILED) {
        errors.push(wrong(
            "Both success and failed conditions cannot be true at the same time",
        ));
    }
    if is(old, SUCCEEDED) && !is(new, SUCCEEDED) {
        errors.push(wrong(
            "Success condition cannot be set to false once it is true",
        ));
    }
    if is(old, FAILED) && !is(new, FAILED) {
        errors.push(wrong(
            "Failed condition cannot be set to false once it is true",
        ));
    }
    errors
}
