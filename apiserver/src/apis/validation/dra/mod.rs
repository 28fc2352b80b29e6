//! Device classes, resource claims and their templates, resource slices. Upstream: pkg/apis/resource/validation.

/// Parts of devices.
mod capacities;
/// Questions about pools.
pub(crate) mod pool_requests;
/// Expressions that choose devices.
mod selectors;
/// What devices say of themselves.
pub(crate) mod slices;
/// What schedulers and drivers say of claims.
mod status;
/// Taints that an administrator puts on devices.
pub(crate) mod taint_rules;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use api_types::RawExtension;
use api_types::resource::v1::*;
use apimachinery::resource::is_extended_resource_name;

use selectors::selectors;
pub(crate) use status::{drop_stale_devices, validate_resource_claim_status_update};

use super::pod_spec::node_selector;
use super::volumes::csi_driver_name;
use super::*;

const MOST_REQUESTS: usize = 32;
const MOST_SUB_REQUESTS: usize = 8;
const MOST_CONSTRAINTS: usize = 32;
const MOST_CONFIGS: usize = 32;
const MOST_CONSUMERS: usize = 256;
const MOST_RESULTS: usize = 32;
const LONGEST_PARAMETERS: usize = 10 * 1024;
const LONGEST_POOL_NAME: usize = 253;
const LONGEST_ID: usize = 32;
const LONGEST_DOMAIN: usize = 63;
/// The label of namespaces that may use devices for administration.
const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";

/// Checks the items of a list that is not too long; one that is too long is refused unread.
fn items<T>(
    list: &[T],
    most: usize,
    path: &Path,
    check: impl Fn(&T, &Path) -> ErrorList,
) -> ErrorList {
    if list.len() > most {
        return field::too_many(path, Some(list.len()), most).into();
    }
    let items = list.iter().enumerate();
    items
        .flat_map(|(i, item)| check(item, &path.index(i)))
        .collect()
}

/// As [`items`], of a list whose items have different keys.
fn set<T>(
    list: &[T],
    most: usize,
    path: &Path,
    key: impl Fn(&T) -> &str,
    check: impl Fn(&T, &Path) -> ErrorList,
) -> ErrorList {
    let mut errors = items(list, most, path, check);
    if list.len() <= most {
        let mut seen = HashSet::new();
        for (i, item) in list.iter().enumerate() {
            if !seen.insert(key(item)) {
                errors.push(field::duplicate(&path.index(i), key(item)));
            }
        }
    }
    errors
}

fn driver_name(name: &str, path: &Path) -> ErrorList {
    csi_driver_name(name, path)
}

fn pool_name(name: &str, path: &Path) -> ErrorList {
    if name.is_empty() {
        return field::required(path, "").into();
    }
    let mut errors = ErrorList::new();
    if name.len() > LONGEST_POOL_NAME {
        errors.push(field::too_long(path, LONGEST_POOL_NAME));
    }
    errors.extend(name.split('/').flat_map(|part| dns_subdomain(part, path)));
    errors
}

// === DeviceClass ===

pub(crate) fn validate_device_class(class: &DeviceClass) -> ErrorList {
    let mut errors = object_meta_with_opts(&class.metadata, false, long_name);
    errors.extend(class_spec(&class.spec, None));
    errors
}

fn class_spec(spec: &DeviceClassSpec, old: Option<&DeviceClassSpec>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let stored = old.is_some_and(|old| old.config == spec.config);
    errors.extend(selectors(&spec.selectors, &path.child("selectors")));
    let configs = items(
        &spec.config,
        MOST_CONFIGS,
        &path.child("config"),
        |it, path| configuration(&it.device_configuration, stored, path),
    );
    errors.extend(configs);
    if let Some(name) = &spec.extended_resource_name
        && !is_extended_resource_name(name)
    {
        errors.push(field::invalid(
            &path.child("extendedResourceName"),
            name,
            "must be a valid extended resource name",
        ));
    }
    errors
}

pub(crate) fn validate_device_class_update(new: &DeviceClass, old: &DeviceClass) -> ErrorList {
    let mut errors = object_meta_with_opts(&new.metadata, false, long_name);
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    errors.extend(class_spec(&new.spec, Some(&old.spec)));
    errors
}

/// `stored` parameters may be longer than new ones.
fn configuration(configuration: &DeviceConfiguration, stored: bool, path: &Path) -> ErrorList {
    let path = path.child("opaque");
    let Some(opaque) = &configuration.opaque else {
        return field::required(&path, "").into();
    };
    let mut errors = driver_name(&opaque.driver, &path.child("driver"));
    errors.extend(parameters(
        &opaque.parameters,
        stored,
        &path.child("parameters"),
    ));
    errors
}

fn parameters(parameters: &RawExtension, stored: bool, path: &Path) -> ErrorList {
    let omitted = |detail: String| field::invalid(path, "<value omitted>", detail).into();
    if parameters.raw.is_empty() {
        return field::required(path, "").into();
    }
    if !stored && parameters.raw.len() > LONGEST_PARAMETERS {
        return field::too_long(path, LONGEST_PARAMETERS).into();
    }
    match crate::go_json::parse(&parameters.raw) {
        Ok(serde_json::Value::Object(_)) => ErrorList::new(),
        Ok(serde_json::Value::Null) => field::required(path, "").into(),
        Ok(_) => omitted("must be a valid JSON object".to_owned()),
        Err(problem) => omitted(format!("error parsing data as JSON: {problem}")),
    }
}

// === ResourceClaim ===

/// Names of requests, and of the alternatives of each.
type Requests<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn request_names(claim: &DeviceClaim) -> Requests<'_> {
    let requests = claim.requests.iter().map(|request| {
        let alternatives = request.first_available.iter();
        let names = alternatives.map(|it| it.name.as_str()).collect();
        (request.name.as_str(), names)
    });
    requests.collect()
}

/// Whether a namespace may have devices for administration, also those that others use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdminAccess {
    #[default]
    Denied,
    Allowed,
    /// The namespace could not be read.
    Unknown(String),
}

impl AdminAccess {
    /// What a namespace's labels say.
    pub fn of(labels: &BTreeMap<String, String>) -> AdminAccess {
        match labels.get(ADMIN_LABEL).map(String::as_str) {
            Some("true") => AdminAccess::Allowed,
            _ => AdminAccess::Denied,
        }
    }
}

fn admin_access(claim: &DeviceClaim, allowed: &AdminAccess) -> ErrorList {
    let asks = |request: &DeviceRequest| {
        let exactly = request.exactly.as_ref();
        exactly.and_then(|exactly| exactly.admin_access) == Some(true)
    };
    match claim.requests.iter().position(asks) {
        // Also for templates it is the path in claims.
        Some(index) => {
            let path = path(&["spec", "devices", "requests"]).index(index);
            denied_access(allowed, &path.child("adminAccess"))
        }
        None => ErrorList::new(),
    }
}

fn denied_access(allowed: &AdminAccess, path: &Path) -> ErrorList {
    match allowed {
        AdminAccess::Allowed => ErrorList::new(),
        AdminAccess::Denied => {
            let detail = format!(
                "admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"
            );
            field::forbidden(path, detail).into()
        }
        AdminAccess::Unknown(problem) => {
            let problem = format!("could not retrieve namespace to verify admin access: {problem}");
            field::internal(path, problem).into()
        }
    }
}

pub(crate) fn validate_resource_claim(claim: &ResourceClaim, admin: &AdminAccess) -> ErrorList {
    let mut errors = admin_access(&claim.spec.devices, admin);
    errors.extend(object_meta(
        &claim.metadata,
        true,
        rules::name_is_dns_subdomain,
    ));
    errors.extend(device_claim(
        &claim.spec.devices,
        &path(&["spec", "devices"]),
    ));
    errors
}

pub(crate) fn validate_resource_claim_update(
    new: &ResourceClaim,
    old: &ResourceClaim,
) -> ErrorList {
    let mut errors = object_meta(&new.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    errors.extend(immutable(&new.spec, &old.spec, &Path::new("spec"), || {
        go_value::bad_value(&new.spec)
    }));
    errors
}

fn device_claim(claim: &DeviceClaim, path: &Path) -> ErrorList {
    let known = request_names(claim);
    let mut errors = set(
        &claim.requests,
        MOST_REQUESTS,
        &path.child("requests"),
        |request| &request.name,
        device_request,
    );
    errors.extend(items(
        &claim.constraints,
        MOST_CONSTRAINTS,
        &path.child("constraints"),
        |constraint, path| device_constraint(constraint, &known, path),
    ));
    errors.extend(items(
        &claim.config,
        MOST_CONFIGS,
        &path.child("config"),
        |config, path| {
            let mut errors = request_references(&config.requests, &known, path);
            errors.extend(configuration(&config.device_configuration, false, path));
            errors
        },
    ));
    errors
}

fn device_request(request: &DeviceRequest, path: &Path) -> ErrorList {
    let mut errors = dns_label(&request.name, &path.child("name"));
    match (&request.exactly, request.first_available.is_empty()) {
        (None, true) => errors.push(field::required(
            path,
            "exactly one of `exactly` or `firstAvailable` is required",
        )),
        (Some(_), false) => errors.push(field::invalid(
            path,
            BadValue::Text("null".to_owned()),
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        )),
        (Some(exactly), true) => {
            let path = path.child("exactly");
            errors.extend(device_class_name(&exactly.device_class_name, &path));
            errors.extend(selectors(&exactly.selectors, &path.child("selectors")));
            errors.extend(allocation_mode(
                &exactly.allocation_mode,
                exactly.count,
                &path,
            ));
            errors.extend(tolerations(&exactly.tolerations, &path));
        }
        (None, false) => errors.extend(set(
            &request.first_available,
            MOST_SUB_REQUESTS,
            &path.child("firstAvailable"),
            |request| &request.name,
            |request, path| {
                let mut errors = dns_label(&request.name, &path.child("name"));
                errors.extend(device_class_name(&request.device_class_name, path));
                errors.extend(selectors(&request.selectors, &path.child("selectors")));
                errors.extend(allocation_mode(
                    &request.allocation_mode,
                    request.count,
                    path,
                ));
                errors.extend(tolerations(&request.tolerations, path));
                errors
            },
        )),
    }
    errors
}

fn device_class_name(name: &str, path: &Path) -> ErrorList {
    let path = path.child("deviceClassName");
    if name.is_empty() {
        field::required(&path, "").into()
    } else {
        dns_subdomain(name, &path)
    }
}

fn allocation_mode(mode: &str, count: i64, path: &Path) -> ErrorList {
    let count_path = path.child("count");
    match mode {
        "All" if count != 0 => field::invalid(
            &count_path,
            count,
            "must not be specified when allocationMode is 'All'",
        )
        .into(),
        "ExactCount" => positive(count, &count_path),
        mode => one_of(mode, &["All", "ExactCount"], &path.child("allocationMode")),
    }
}

fn tolerations(list: &[DeviceToleration], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, toleration) in list.iter().enumerate() {
        let path = path.child("tolerations").index(i);
        if !toleration.key.is_empty() {
            errors.extend(rules::validate_label_name(
                &toleration.key,
                &path.child("key"),
            ));
        }
        match toleration.operator.as_str() {
            "Exists" => {
                if !toleration.value.is_empty() {
                    let detail = "must be empty for operator `Exists`";
                    let value = &toleration.value;
                    errors.push(field::invalid(&path.child("value"), value, detail));
                }
            }
            "Equal" => errors.extend(invalids(
                &path.child("value"),
                &toleration.value,
                rules::is_label_value(&toleration.value),
            )),
            other => errors.extend(required_one_of(
                other,
                &["Equal", "Exists"],
                &path.child("operator"),
            )),
        }
        if !toleration.effect.is_empty() {
            errors.extend(one_of(
                &toleration.effect,
                &["NoExecute", "NoSchedule", "None"],
                &path.child("effect"),
            ));
        }
    }
    errors
}

fn request_references(requests: &[String], known: &Requests<'_>, path: &Path) -> ErrorList {
    set(
        requests,
        MOST_REQUESTS,
        &path.child("requests"),
        |name| name,
        |name, path| request_reference(name, known, path),
    )
}

fn request_reference(name: &str, known: &Requests<'_>, path: &Path) -> ErrorList {
    let unknown = || {
        let detail = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        field::invalid(path, name, detail)
    };
    let parts: Vec<&str> = name.split('/').collect();
    let is_known = match parts[..] {
        [request] => known.contains_key(request),
        [request, alternative] => known
            .get(request)
            .is_some_and(|alternatives| alternatives.contains(alternative)),
        _ => return unknown().into(),
    };
    let mut errors: ErrorList = parts
        .iter()
        .flat_map(|part| dns_label(part, path))
        .collect();
    if !is_known {
        errors.push(unknown());
    }
    errors
}

fn device_constraint(
    constraint: &DeviceConstraint,
    known: &Requests<'_>,
    path: &Path,
) -> ErrorList {
    let mut errors = request_references(&constraint.requests, known, path);
    match (&constraint.match_attribute, &constraint.distinct_attribute) {
        (Some(name), _) => errors.extend(fully_qualified(name, &path.child("matchAttribute"))),
        (None, Some(name)) => {
            errors.extend(fully_qualified(name, &path.child("distinctAttribute")));
        }
        (None, None) if gates::enabled("DRAConsumableCapacity") => {
            errors.push(field::required(path, "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set"));
        }
        (None, None) => errors.push(field::required(&path.child("matchAttribute"), "")),
    }
    errors
}

/// A name of an attribute, with or without the domain that defines it.
fn attribute_name(name: &str, path: &Path) -> ErrorList {
    if name.is_empty() {
        return field::required(path, "name required").into();
    }
    let mut errors = ErrorList::new();
    let id = match name.split_once('/') {
        None => name,
        Some((domain, id)) => {
            if domain.is_empty() {
                errors.push(field::required(path, "the domain must not be empty"));
            } else {
                if domain.len() > LONGEST_DOMAIN {
                    errors.push(field::too_long(path, LONGEST_DOMAIN));
                }
                errors.extend(dns_subdomain(domain, path));
            }
            if id.is_empty() {
                errors.push(field::required(path, "the name must not be empty"));
                return errors;
            }
            id
        }
    };
    if id.len() > LONGEST_ID {
        errors.push(field::too_long(path, LONGEST_ID));
    }
    errors.extend(invalids(path, id, rules::is_c_identifier(id)));
    errors
}

fn fully_qualified(name: &str, path: &Path) -> ErrorList {
    let mut errors = attribute_name(name, path);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(field::invalid(path, name, detail));
    }
    errors
}

// === ResourceClaimTemplate ===

pub(crate) fn validate_claim_template(
    template: &ResourceClaimTemplate,
    admin: &AdminAccess,
) -> ErrorList {
    let mut errors = admin_access(&template.spec.spec.devices, admin);
    errors.extend(claim_template(template));
    errors
}

fn claim_template(template: &ResourceClaimTemplate) -> ErrorList {
    let mut errors = object_meta(&template.metadata, true, rules::name_is_dns_subdomain);
    let path = Path::new("spec");
    let (metadata, metadata_path) = (&template.spec.metadata, path.child("metadata"));
    errors.extend(rules::validate_annotations(
        &metadata.annotations,
        &metadata_path.child("annotations"),
    ));
    errors.extend(rules::validate_labels(
        &metadata.labels,
        &metadata_path.child("labels"),
    ));
    errors.extend(device_claim(
        &template.spec.spec.devices,
        &path.child("spec").child("devices"),
    ));
    errors
}

pub(crate) fn validate_claim_template_update(
    new: &ResourceClaimTemplate,
    old: &ResourceClaimTemplate,
) -> ErrorList {
    let mut errors = claim_template(new);
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    errors.extend(immutable(&new.spec, &old.spec, &Path::new("spec"), || {
        go_value::bad_value(&new.spec)
    }));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    pub(super) fn check(errors: ErrorList, want: &[&str]) {
        let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(got, want);
    }

    pub(super) fn decode<T: api_types::Described>(json: serde_json::Value) -> T {
        let mut json = json;
        json["metadata"] = json!({"name": "a", "namespace": "b", "resourceVersion": "1"});
        api_types::decode_json(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn claims_ask_for_devices() {
        let claim = |devices: serde_json::Value| -> ResourceClaim {
            decode(json!({"spec": {"devices": devices}}))
        };
        let good = claim(json!({
            "requests": [
                {"name": "a", "exactly": {"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}},
                {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "c", "allocationMode": "All"}]},
            ],
            "constraints": [{"requests": ["a", "b/x"], "matchAttribute": "example.com/model"}],
            "config": [{"requests": ["b"], "opaque": {"driver": "example.com", "parameters": {}}}],
        }));
        check(validate_resource_claim(&good, &AdminAccess::Denied), &[]);
        check(validate_resource_claim_update(&good, &good), &[]);
        check(
            validate_resource_claim(
                &claim(json!({
                    "requests": [
                        {"name": "r"},
                        {"name": "r", "exactly": {"deviceClassName": "", "allocationMode": "All", "count": 2}},
                    ],
                    "constraints": [{"requests": ["none"], "matchAttribute": "nonsense"}],
                    "config": [{"requests": ["r/x"]}],
                })),
                &AdminAccess::Denied,
            ),
            &[
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
                "spec.devices.requests[1].exactly.deviceClassName: Required value",
                "spec.devices.requests[1].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
                "spec.devices.requests[1]: Duplicate value: \"r\"",
                "spec.devices.constraints[0].requests[0]: Invalid value: \"none\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
                "spec.devices.constraints[0].matchAttribute: Invalid value: \"nonsense\": a fully qualified name must be a domain and a name separated by a slash",
                "spec.devices.config[0].requests[0]: Invalid value: \"r/x\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
                "spec.devices.config[0].opaque: Required value",
            ],
        );
    }

    #[test]
    fn administration_is_for_namespaces_that_say_so() {
        let request = json!({"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "All", "adminAccess": true}});
        let claim: ResourceClaim =
            decode(json!({"spec": {"devices": {"requests": [request.clone()]}}}));
        let template: ResourceClaimTemplate =
            decode(json!({"spec": {"spec": {"devices": {"requests": [request]}}}}));
        check(validate_resource_claim(&claim, &AdminAccess::Allowed), &[]);
        check(
            validate_claim_template(&template, &AdminAccess::Allowed),
            &[],
        );
        let denied = "spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
        check(
            validate_resource_claim(&claim, &AdminAccess::Denied),
            &[denied],
        );
        check(
            validate_claim_template(&template, &AdminAccess::Denied),
            &[denied],
        );
        check(
            validate_resource_claim(&claim, &AdminAccess::Unknown("gone".to_owned())),
            &[
                "spec.devices.requests[0].adminAccess: Internal error: could not retrieve namespace to verify admin access: gone",
            ],
        );
    }

    #[test]
    fn claims_are_reserved_once_allocated() {
        let old: ResourceClaim = decode(json!({}));
        let new: ResourceClaim =
            decode(json!({"status": {"reservedFor": [{"resource": "pods", "name": "p"}]}}));
        check(
            validate_resource_claim_status_update(&new, &old, &AdminAccess::Denied),
            &[
                "status.reservedFor[0].uid: Required value",
                "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
            ],
        );
        let new: ResourceClaim = decode(json!({"status": {"allocation": {"devices": {"results": [
            {"request": "none", "driver": "example.com", "pool": "p", "device": "d"},
        ]}}}}));
        check(
            validate_resource_claim_status_update(&new, &old, &AdminAccess::Denied),
            &[
                "status.allocation.devices.results[0].request: Invalid value: \"none\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            ],
        );
        check(
            validate_resource_claim_status_update(&new, &new, &AdminAccess::Denied),
            &[],
        );
    }

    #[test]
    fn classes_select_and_configure() {
        let mut class: DeviceClass = decode(json!({"spec": {
            "selectors": [{}],
            "config": [{}, {"opaque": {"driver": "example.com", "parameters": 5}}],
            "extendedResourceName": "nonsense",
        }}));
        class.metadata.namespace.clear();
        check(
            validate_device_class(&class),
            &[
                "spec.selectors[0].cel: Required value",
                "spec.config[0].opaque: Required value",
                "spec.config[1].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object",
                "spec.extendedResourceName: Invalid value: \"nonsense\": must be a valid extended resource name",
            ],
        );
    }
}
