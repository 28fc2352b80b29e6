//! Questions about pools of devices, and their answers. Upstream's rules for the fields are in the markers of the types.

use api_types::resource::v1alpha3::{
    PoolStatus, ResourcePoolStatusRequest, ResourcePoolStatusRequestSpec,
    ResourcePoolStatusRequestStatus,
};
use apimachinery::validation::validate_conditions;

use super::*;

const HIGHEST_LIMIT: i32 = 1000;
const MOST_POOLS: usize = 1000;
const MOST_CONDITIONS: usize = 10;
const LONGEST_ERROR: usize = 256;

pub(crate) fn validate_pool_request(request: &ResourcePoolStatusRequest) -> ErrorList {
    let mut errors = object_meta(&request.metadata, false, rules::name_is_dns_subdomain);
    errors.extend(spec(&request.spec));
    errors
}

pub(crate) fn validate_pool_request_update(
    new: &ResourcePoolStatusRequest,
    old: &ResourcePoolStatusRequest,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let path = Path::new("spec");
    errors.extend(immutable(&new.spec, &old.spec, &path, || {
        BadValue::Text("null".to_owned())
    }));
    errors
}

/// The answer is given once.
pub(crate) fn validate_pool_request_status_update(
    new: &ResourcePoolStatusRequest,
    old: &ResourcePoolStatusRequest,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let path = Path::new("status");
    let changed = new.status != old.status;
    if old.status.is_some() {
        if changed {
            let value = go_value::bad_option(new.status.as_deref());
            errors.push(field::invalid(&path, value, IMMUTABLE));
        }
    } else if let Some(status) = &new.status {
        errors.extend(validate_conditions(
            &status.conditions,
            &path.child("conditions"),
        ));
    }
    if let Some(status) = new.status.as_deref().filter(|_| changed) {
        errors.extend(answer(status, old.status.as_deref(), &path));
    }
    errors
}

fn spec(spec: &ResourcePoolStatusRequestSpec) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = driver(&spec.driver, &path.child("driver"));
    if let Some(pool) = &spec.pool_name {
        errors.extend(full_pool_name(pool, &path.child("poolName")));
    }
    let limit = spec.limit.unwrap_or_default();
    if limit > HIGHEST_LIMIT {
        let detail = format!("must be less than or equal to {HIGHEST_LIMIT}");
        errors.push(field::invalid(&path.child("limit"), limit, detail));
    }
    errors.extend(at_least(Some(limit), 1, &path.child("limit")));
    errors
}

fn driver(name: &str, path: &Path) -> ErrorList {
    if name.is_empty() {
        return field::required(path, "").into();
    }
    let problems = rules::content::is_dns1123_subdomain_caseless(name);
    invalids(path, name, problems)
}

fn full_pool_name(name: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if name.len() > LONGEST_POOL_NAME {
        errors.push(field::too_long(path, LONGEST_POOL_NAME));
    }
    for (i, part) in name.split('/').enumerate() {
        if part.is_empty() {
            let detail = format!("segment {i}: must not be empty");
            errors.push(field::invalid(path, name, detail));
            continue;
        }
        for problem in rules::content::is_dns1123_subdomain(part) {
            let detail = format!("segment {i}: {problem}");
            errors.push(field::invalid(path, part, detail));
        }
    }
    errors
}

fn at_least(value: Option<i32>, least: i32, path: &Path) -> ErrorList {
    match value.filter(|value| *value < least) {
        Some(value) => {
            let detail = format!("must be greater than or equal to {least}");
            field::invalid(path, value, detail).into()
        }
        None => ErrorList::new(),
    }
}

fn answer(
    status: &ResourcePoolStatusRequestStatus,
    old: Option<&ResourcePoolStatusRequestStatus>,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let count = path.child("poolCount");
    match status.pool_count {
        None => errors.push(field::required(&count, "")),
        Some(_) => errors.extend(at_least(status.pool_count, 0, &count)),
    }
    if old.is_none_or(|old| old.pools != status.pools) {
        errors.extend(items(&status.pools, MOST_POOLS, &path.child("pools"), pool));
    }
    if old.is_none_or(|old| old.conditions != status.conditions) {
        let path = path.child("conditions");
        let conditions = &status.conditions;
        if conditions.len() > MOST_CONDITIONS {
            errors.push(field::too_many(
                &path,
                Some(conditions.len()),
                MOST_CONDITIONS,
            ));
        } else {
            let mut seen = HashSet::new();
            for (i, condition) in conditions.iter().enumerate() {
                if !seen.insert(condition.type_.as_str()) {
                    errors.push(field::duplicate(&path.index(i), BadValue::of(condition)));
                }
            }
        }
    }
    errors
}

fn pool(pool: &PoolStatus, path: &Path) -> ErrorList {
    let mut errors = driver(&pool.driver, &path.child("driver"));
    let name = path.child("poolName");
    if pool.pool_name.is_empty() {
        errors.push(field::required(&name, ""));
    } else {
        errors.extend(full_pool_name(&pool.pool_name, &name));
    }
    let generation = path.child("generation");
    match pool.generation {
        0 => errors.push(field::required(&generation, "")),
        number if number < 0 => {
            let detail = "must be greater than or equal to 0";
            errors.push(field::invalid(&generation, number, detail));
        }
        _ => {}
    }
    for (value, least, name) in [
        (pool.resource_slice_count, 1, "resourceSliceCount"),
        (pool.total_devices, 0, "totalDevices"),
        (pool.allocated_devices, 0, "allocatedDevices"),
        (pool.available_devices, 0, "availableDevices"),
        (pool.unavailable_devices, 0, "unavailableDevices"),
    ] {
        errors.extend(at_least(value, least, &path.child(name)));
    }
    if let Some(node) = &pool.node_name {
        errors.extend(long_name(&path.child("nodeName"), node));
    }
    let text = pool.validation_error.as_deref().unwrap_or_default();
    if text.len() > LONGEST_ERROR {
        errors.push(field::too_long(
            &path.child("validationError"),
            LONGEST_ERROR,
        ));
    }
    errors
}
