//! Device classes, resource claims and their templates, resource slices. Upstream: pkg/apis/resource/validation.
//!
//! CEL selectors are checked for being there, not compiled; what devices say of consumable capacity is not checked.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use api_types::RawExtension;
use api_types::resource::v1::*;
use apimachinery::resource::is_extended_resource_name;

use super::pod_spec::node_selector;
use super::volumes::csi_driver_name;
use super::*;

const MOST_REQUESTS: usize = 32;
const MOST_SUB_REQUESTS: usize = 8;
const MOST_CONSTRAINTS: usize = 32;
const MOST_CONFIGS: usize = 32;
const MOST_SELECTORS: usize = 32;
const MOST_CONSUMERS: usize = 256;
const MOST_RESULTS: usize = 32;
const MOST_DEVICES: usize = 128;
/// Where devices have taints, use counters or have attributes with several values.
const MOST_ADVANCED_DEVICES: usize = 64;
const LONGEST_PARAMETERS: usize = 10 * 1024;
const LONGEST_EXPRESSION: usize = 10 * 1024;
const LONGEST_POOL_NAME: usize = 253;
const LONGEST_ID: usize = 32;
const LONGEST_DOMAIN: usize = 63;

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
    let (path, spec) = (Path::new("spec"), &class.spec);
    errors.extend(selectors(&spec.selectors, &path.child("selectors")));
    let configs = items(
        &spec.config,
        MOST_CONFIGS,
        &path.child("config"),
        |it, path| configuration(&it.device_configuration, path),
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
    let mut errors = validate_device_class(new);
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    errors
}

fn selectors(list: &[DeviceSelector], path: &Path) -> ErrorList {
    items(list, MOST_SELECTORS, path, |selector, path| {
        let path = path.child("cel");
        match &selector.cel {
            None => field::required(&path, "").into(),
            Some(cel) if cel.expression.len() > LONGEST_EXPRESSION => {
                field::too_long(&path.child("expression"), LONGEST_EXPRESSION).into()
            }
            Some(_) => ErrorList::new(),
        }
    })
}

fn configuration(configuration: &DeviceConfiguration, path: &Path) -> ErrorList {
    let path = path.child("opaque");
    let Some(opaque) = &configuration.opaque else {
        return field::required(&path, "").into();
    };
    let mut errors = driver_name(&opaque.driver, &path.child("driver"));
    errors.extend(parameters(&opaque.parameters, &path.child("parameters")));
    errors
}

fn parameters(parameters: &RawExtension, path: &Path) -> ErrorList {
    let omitted = |detail: String| field::invalid(path, "<value omitted>", detail).into();
    if parameters.raw.is_empty() {
        return field::required(path, "").into();
    }
    if parameters.raw.len() > LONGEST_PARAMETERS {
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

pub(crate) fn validate_resource_claim(claim: &ResourceClaim) -> ErrorList {
    let mut errors = object_meta(&claim.metadata, true, rules::name_is_dns_subdomain);
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
            errors.extend(configuration(&config.device_configuration, path));
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

pub(crate) fn validate_resource_claim_status_update(
    new: &ResourceClaim,
    old: &ResourceClaim,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let (path, status) = (Path::new("status"), &new.status);
    let reserved_path = path.child("reservedFor");
    errors.extend(set(
        &status.reserved_for,
        MOST_CONSUMERS,
        &reserved_path,
        |consumer| &consumer.uid,
        |consumer, path| {
            let fields = [
                ("resource", &consumer.resource),
                ("name", &consumer.name),
                ("uid", &consumer.uid),
            ];
            let missing = fields.into_iter().filter(|(_, value)| value.is_empty());
            missing
                .map(|(child, _)| field::required(&path.child(child), ""))
                .collect()
        },
    ));
    let before = &old.status.reserved_for;
    if !status.reserved_for.is_empty() && status.allocation.is_none() {
        let detail = "may not be specified when `allocated` is not set";
        errors.push(field::forbidden(&reserved_path, detail));
    } else if new.metadata.deletion_timestamp.is_some()
        && status.reserved_for.iter().any(|it| !before.contains(it))
    {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(field::forbidden(&reserved_path, detail));
    }
    let path = path.child("allocation");
    match (&status.allocation, &old.status.allocation) {
        (Some(allocation), Some(before)) => {
            errors.extend(immutable(&**allocation, &**before, &path, || {
                go_value::bad_value(&**allocation)
            }));
        }
        (Some(allocation), None) => {
            let known = request_names(&new.spec.devices);
            errors.extend(allocation_result(allocation, &known, &path));
        }
        _ => {}
    }
    errors
}

fn allocation_result(
    allocation: &AllocationResult,
    known: &Requests<'_>,
    path: &Path,
) -> ErrorList {
    let devices_path = path.child("devices");
    let mut errors = items(
        &allocation.devices.results,
        MOST_RESULTS,
        &devices_path.child("results"),
        |result, path| {
            let mut errors = request_reference(&result.request, known, &path.child("request"));
            errors.extend(driver_name(&result.driver, &path.child("driver")));
            errors.extend(pool_name(&result.pool, &path.child("pool")));
            errors.extend(dns_label(&result.device, &path.child("device")));
            errors
        },
    );
    errors.extend(items(
        &allocation.devices.config,
        2 * MOST_CONFIGS,
        &devices_path.child("config"),
        |config, path| {
            let sources = ["FromClaim", "FromClass"];
            let mut errors = required_one_of(&config.source, &sources, &path.child("source"));
            errors.extend(request_references(&config.requests, known, path));
            errors.extend(configuration(&config.device_configuration, path));
            errors
        },
    ));
    if let Some(selector) = &allocation.node_selector {
        errors.extend(node_selector(selector, false, &path.child("nodeSelector")));
    }
    errors
}

// === ResourceClaimTemplate ===

pub(crate) fn validate_claim_template(template: &ResourceClaimTemplate) -> ErrorList {
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
    let mut errors = validate_claim_template(new);
    errors.extend(object_meta_update(&new.metadata, &old.metadata));
    errors.extend(immutable(&new.spec, &old.spec, &Path::new("spec"), || {
        go_value::bad_value(&new.spec)
    }));
    errors
}

// === ResourceSlice ===

pub(crate) fn validate_resource_slice(slice: &ResourceSlice) -> ErrorList {
    let mut errors = object_meta(&slice.metadata, false, rules::name_is_dns_subdomain);
    errors.extend(slice_spec(&slice.spec, None));
    errors
}

pub(crate) fn validate_resource_slice_update(
    new: &ResourceSlice,
    old: &ResourceSlice,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(slice_spec(&new.spec, Some(&old.spec)));
    errors
}

fn slice_spec(spec: &ResourceSliceSpec, old: Option<&ResourceSliceSpec>) -> ErrorList {
    let path = Path::new("spec");
    let pool_path = path.child("pool");
    let mut errors = driver_name(&spec.driver, &path.child("driver"));
    errors.extend(pool_name(&spec.pool.name, &pool_path.child("name")));
    if spec.pool.resource_slice_count <= 0 {
        errors.push(field::invalid(
            &pool_path.child("resourceSliceCount"),
            spec.pool.resource_slice_count,
            NOT_POSITIVE,
        ));
    }
    if spec.pool.generation < 0 {
        errors.push(field::invalid(
            &pool_path.child("generation"),
            spec.pool.generation,
            "must be greater than or equal to zero",
        ));
    }
    if let Some(old) = old {
        for (value, before, path) in [
            (&spec.pool.name, &old.pool.name, pool_path.child("name")),
            (&spec.driver, &old.driver, path.child("driver")),
        ] {
            errors.extend(rules::validate_immutable_field(value, before, &path));
        }
        if spec.node_name != old.node_name {
            let value = spec.node_name.as_deref();
            errors.push(field::invalid(&path.child("nodeName"), value, IMMUTABLE));
        }
    }
    errors.extend(slice_nodes(spec, &path));
    if !spec.shared_counters.is_empty() && !spec.devices.is_empty() {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(field::invalid(&path, "", detail));
    }
    let several_values = |attribute: &DeviceAttribute| {
        !attribute.bools.is_empty()
            || !attribute.ints.is_empty()
            || !attribute.strings.is_empty()
            || !attribute.versions.is_empty()
    };
    let advanced = spec.devices.iter().any(|device| {
        !device.taints.is_empty()
            || !device.consumes_counters.is_empty()
            || device.attributes.values().any(several_values)
    });
    let most = if advanced {
        MOST_ADVANCED_DEVICES
    } else {
        MOST_DEVICES
    };
    errors.extend(set(
        &spec.devices,
        most,
        &path.child("devices"),
        |device| &device.name,
        device,
    ));
    errors
}

/// Where the devices of a slice can be reached from; exactly one way is to be said.
fn slice_nodes(spec: &ResourceSliceSpec, path: &Path) -> ErrorList {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut errors = ErrorList::new();
    let mut said = Vec::new();
    if let Some(name) = &spec.node_name {
        let path = path.child("nodeName");
        if name.is_empty() {
            let detail = "must be either unset or set to a non-empty string";
            errors.push(field::invalid(&path, name, detail));
        } else {
            said.push("`nodeName`");
            errors.extend(dns_subdomain(name, &path));
        }
    }
    if let Some(selector) = &spec.node_selector {
        said.push("`nodeSelector`");
        let path = path.child("nodeSelector");
        errors.extend(node_selector(selector, false, &path));
        if selector.node_selector_terms.len() != 1 {
            errors.push(field::invalid(
                &path.child("nodeSelectorTerms"),
                go_value::bad_list(&selector.node_selector_terms),
                "must have exactly one node selector term",
            ));
        }
    }
    for (value, child, quoted) in [
        (spec.all_nodes, "allNodes", "`allNodes`"),
        (
            spec.per_device_node_selection,
            "perDeviceNodeSelection",
            "`perDeviceNodeSelection`",
        ),
    ] {
        match value {
            Some(true) => said.push(quoted),
            Some(false) => errors.push(field::invalid(
                &path.child(child),
                false,
                "must be either unset or set to true",
            )),
            None => {}
        }
    }
    match said.len() {
        0 => errors.push(field::required(path, ONE)),
        1 => {}
        _ => {
            let value = format!("{{{}}}", said.join(", "));
            let detail = format!("{ONE}, but multiple fields are set");
            errors.push(field::invalid(path, value, detail));
        }
    }
    errors
}

fn device(device: &Device, path: &Path) -> ErrorList {
    let mut errors = dns_label(&device.name, &path.child("name"));
    let attributes_path = path.child("attributes");
    for (name, attribute) in &device.attributes {
        errors.extend(attribute_name(name, &attributes_path));
        errors.extend(device_attribute(attribute, &attributes_path.key(name)));
    }
    let capacity_path = path.child("capacity");
    for name in device.capacity.keys() {
        errors.extend(attribute_name(name, &capacity_path));
    }
    errors
}

fn device_attribute(attribute: &DeviceAttribute, path: &Path) -> ErrorList {
    let values = [
        attribute.int.is_some(),
        attribute.bool.is_some(),
        attribute.string.is_some(),
        attribute.version.is_some(),
        !attribute.ints.is_empty(),
        !attribute.bools.is_empty(),
        !attribute.strings.is_empty(),
        !attribute.versions.is_empty(),
    ];
    if values.iter().filter(|set| **set).count() == 0 {
        let detail = "exactly one value must be specified";
        return field::invalid(path, "", detail).into();
    }
    ErrorList::new()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(errors: ErrorList, want: &[&str]) {
        let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(got, want);
    }

    fn decode<T: api_types::Described>(json: serde_json::Value) -> T {
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
        check(validate_resource_claim(&good), &[]);
        check(validate_resource_claim_update(&good, &good), &[]);
        check(
            validate_resource_claim(&claim(json!({
                "requests": [
                    {"name": "r"},
                    {"name": "r", "exactly": {"deviceClassName": "", "allocationMode": "All", "count": 2}},
                ],
                "constraints": [{"requests": ["none"], "matchAttribute": "nonsense"}],
                "config": [{"requests": ["r/x"]}],
            }))),
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
    fn claims_are_reserved_once_allocated() {
        let old: ResourceClaim = decode(json!({}));
        let new: ResourceClaim =
            decode(json!({"status": {"reservedFor": [{"resource": "pods", "name": "p"}]}}));
        check(
            validate_resource_claim_status_update(&new, &old),
            &[
                "status.reservedFor[0].uid: Required value",
                "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
            ],
        );
        let new: ResourceClaim = decode(json!({"status": {"allocation": {"devices": {"results": [
            {"request": "none", "driver": "example.com", "pool": "p", "device": "d"},
        ]}}}}));
        check(
            validate_resource_claim_status_update(&new, &old),
            &[
                "status.allocation.devices.results[0].request: Invalid value: \"none\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            ],
        );
        check(validate_resource_claim_status_update(&new, &new), &[]);
    }

    #[test]
    fn slices_say_where_their_devices_are() {
        let slice = |spec: serde_json::Value| -> ResourceSlice {
            let mut slice: ResourceSlice = decode(json!({"spec": spec}));
            slice.metadata.namespace.clear();
            slice
        };
        let good = slice(
            json!({"driver": "example.com", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1},
            "devices": [{"name": "d", "attributes": {"example.com/model": {"string": "x"}}, "capacity": {"memory": {"value": "1Gi"}}}]}),
        );
        check(validate_resource_slice(&good), &[]);
        check(
            validate_resource_slice(&slice(json!({}))),
            &[
                "spec.driver: Required value",
                "spec.pool.name: Required value",
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
            ],
        );
        let mut other = good.clone();
        other.spec.all_nodes = Some(true);
        other.spec.node_name = Some("m".to_owned());
        check(
            validate_resource_slice_update(&other, &good),
            &[
                "spec.nodeName: Invalid value: \"m\": field is immutable",
                "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            ],
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
