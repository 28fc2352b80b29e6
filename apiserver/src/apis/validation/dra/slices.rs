//! Resource slices: what devices are there, what they are like, and where.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use apimachinery::resource::is_native_resource;
use regex::Regex;

use super::capacities::request_policy;
use super::*;

const MOST_DEVICES: usize = 128;
/// Where devices have taints, use counters or have attributes with several values.
const MOST_ADVANCED_DEVICES: usize = 64;
const MOST_COUNTER_SETS: usize = 8;
/// Of a set, and of what a device uses of one.
const MOST_COUNTERS: usize = 32;
const MOST_CONSUMPTIONS: usize = 2;
/// Attributes and capacities of a device.
pub(super) const MOST_NAMES: usize = 32;
/// Values of all attributes of a device.
const MOST_VALUES: usize = 48;
const MOST_TAINTS: usize = 16;
const MOST_CONDITIONS: usize = 4;
/// Of attributes that are texts or versions.
pub(super) const LONGEST_VALUE: usize = 64;
const LONGEST_NAME: usize = LONGEST_DOMAIN + 1 + LONGEST_ID;

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
    let advanced = spec.devices.iter().any(|device| {
        !device.taints.is_empty()
            || !device.consumes_counters.is_empty()
            || device.attributes.values().any(|it| entries(it) != 1)
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
        |new, path| {
            let old = old.and_then(|old| old.devices.iter().find(|old| old.name == new.name));
            device(new, old, spec.per_device_node_selection == Some(true), path)
        },
    ));
    errors.extend(set(
        &spec.shared_counters,
        MOST_COUNTER_SETS,
        &path.child("sharedCounters"),
        |counters| &counters.name,
        |set, path| {
            let name = (set.name.as_str(), "name");
            counters(name, &set.counters, path)
        },
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

/// How many values an attribute has.
fn entries(attribute: &DeviceAttribute) -> usize {
    let several = attribute.ints.len()
        + attribute.bools.len()
        + attribute.strings.len()
        + attribute.versions.len();
    several.max(1)
}

/// A set of counters, or what a device uses of one. `name` is the set's, and where it stands.
fn counters(
    (name, child): (&str, &'static str),
    counters: &BTreeMap<String, Counter>,
    path: &Path,
) -> ErrorList {
    let name_path = path.child(child);
    let mut errors = if name.is_empty() {
        field::required(&name_path, "").into()
    } else {
        dns_label(name, &name_path)
    };
    let path = path.child("counters");
    if counters.is_empty() {
        errors.push(field::required(&path, ""));
    } else if counters.len() > MOST_COUNTERS {
        errors.push(field::too_many(&path, Some(counters.len()), MOST_COUNTERS));
    } else {
        errors.extend(counters.keys().flat_map(|name| dns_label(name, &path)));
    }
    errors
}

fn device(device: &Device, old: Option<&Device>, chooses_nodes: bool, path: &Path) -> ErrorList {
    let mut errors = dns_label(&device.name, &path.child("name"));
    let names = device.attributes.len() + device.capacity.len();
    let values: usize = device.attributes.values().map(entries).sum();
    for (number, most, what) in [
        (names, MOST_NAMES, "attributes and capacities"),
        (values, MOST_VALUES, "attribute values"),
    ] {
        if number > most {
            let detail = format!("the total number of {what} must not exceed {most}");
            errors.push(field::invalid(path, number as i64, detail));
        }
    }
    let attributes_path = path.child("attributes");
    for (name, attribute) in &device.attributes {
        errors.extend(qualified_name(name, &attributes_path));
        let path = attributes_path.key(shortened(name));
        errors.extend(device_attribute(attribute, &path));
    }
    let capacity_path = path.child("capacity");
    for (name, capacity) in &device.capacity {
        errors.extend(qualified_name(name, &capacity_path));
        let Some(policy) = &capacity.request_policy else {
            continue;
        };
        let path = capacity_path.key(shortened(name)).child("requestPolicy");
        if device.allow_multiple_allocations == Some(true) {
            errors.extend(request_policy(&capacity.value, policy, &path));
        } else {
            errors.push(field::forbidden(
                &path,
                "allowMultipleAllocations must be true",
            ));
        }
    }
    if old.is_none_or(|old| old.taints != device.taints) {
        errors.extend(items(
            &device.taints,
            MOST_TAINTS,
            &path.child("taints"),
            taint,
        ));
    }
    errors.extend(set(
        &device.consumes_counters,
        MOST_CONSUMPTIONS,
        &path.child("consumesCounters"),
        |consumption| &consumption.counter_set,
        |consumption, path| {
            let name = (consumption.counter_set.as_str(), "counterSet");
            counters(name, &consumption.counters, path)
        },
    ));
    errors.extend(device_nodes(device, chooses_nodes, path));
    errors.extend(binding_conditions(
        &device.binding_conditions,
        &device.binding_failure_conditions,
        path,
    ));
    errors.extend(node_resources(
        device,
        &path.child("nodeAllocatableResourceMappings"),
    ));
    errors
}

/// A key in a path: the middle of a long one is left out.
fn shortened(name: &str) -> String {
    const ELLIPSIS: &str = "...";
    if name.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    let rest = LONGEST_NAME - ELLIPSIS.len();
    let bytes = name.as_bytes();
    let (start, end) = (&bytes[..rest.div_ceil(2)], &bytes[bytes.len() - rest / 2..]);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{ELLIPSIS}{}", text(start), text(end))
}

/// The name of an attribute or capacity. As upstream, more than one slash is not minded.
fn qualified_name(name: &str, path: &Path) -> ErrorList {
    let identifier = |id: &str| {
        let mut errors = ErrorList::new();
        if id.len() > LONGEST_ID {
            errors.push(field::too_long(path, LONGEST_ID));
        }
        errors.extend(invalids(path, id, rules::is_c_identifier(id)));
        errors
    };
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(id),
        [domain, id] => {
            let mut errors = if domain.is_empty() {
                field::invalid(path, "", "the domain must not be empty").into()
            } else {
                driver_name(domain, path)
            };
            if id.is_empty() {
                errors.push(field::invalid(path, "", "the name must not be empty"));
            } else {
                errors.extend(identifier(id));
            }
            errors
        }
        _ => ErrorList::new(),
    }
}

fn device_attribute(attribute: &DeviceAttribute, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(text) = &attribute.string {
        errors.extend(short_text(text, &path.child("string")));
    }
    if let Some(text) = &attribute.version {
        errors.extend(version(text, &path.child("version")));
    }
    for (i, text) in attribute.strings.iter().enumerate() {
        errors.extend(short_text(text, &path.child("strings").index(i)));
    }
    for (i, text) in attribute.versions.iter().enumerate() {
        errors.extend(version(text, &path.child("versions").index(i)));
    }
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
    let detail = "exactly one value must be specified";
    match values.iter().filter(|set| **set).count() {
        0 => errors.push(field::invalid(path, "", detail)),
        1 => {}
        _ => errors.push(field::invalid(path, go_value::bad_value(attribute), detail)),
    }
    errors
}

fn short_text(text: &str, path: &Path) -> ErrorList {
    if text.len() > LONGEST_VALUE {
        return field::too_long(path, LONGEST_VALUE).into();
    }
    ErrorList::new()
}

fn version(text: &str, path: &Path) -> ErrorList {
    static SEMANTIC: LazyLock<Regex> = LazyLock::new(|| {
        const NUMBER: &str = r"(?:0|[1-9][0-9]*)";
        const BEFORE: &str = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)";
        const BUILD: &str = r"[0-9a-zA-Z-]+";
        let text = format!(
            r"^{NUMBER}\.{NUMBER}\.{NUMBER}(?:-{BEFORE}(?:\.{BEFORE})*)?(?:\+{BUILD}(?:\.{BUILD})*)?$"
        );
        Regex::new(&text).expect("a constant pattern")
    });
    let mut errors = ErrorList::new();
    if !SEMANTIC.is_match(text) {
        let detail = "must be a string compatible with semver.org spec 2.0.0";
        errors.push(field::invalid(path, text, detail));
    }
    errors.extend(short_text(text, path));
    errors
}

fn taint(taint: &DeviceTaint, path: &Path) -> ErrorList {
    let mut errors = rules::validate_label_name(&taint.key, &path.child("key"));
    if !taint.value.is_empty() {
        let problems = rules::is_label_value(&taint.value);
        errors.extend(invalids(&path.child("value"), &taint.value, problems));
    }
    errors.extend(required_one_of(
        &taint.effect,
        &["NoExecute", "NoSchedule", "None"],
        &path.child("effect"),
    ));
    errors
}

/// Where one device can be reached from, in a slice whose devices say so themselves.
fn device_nodes(device: &Device, chooses_nodes: bool, path: &Path) -> ErrorList {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    let mut errors = ErrorList::new();
    if !chooses_nodes {
        let says = device.node_name.is_some()
            || device.node_selector.is_some()
            || device.all_nodes.is_some();
        if says {
            let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            let value = BadValue::Text("null".to_owned());
            errors.push(field::invalid(path, value, detail));
        }
        return errors;
    }
    let mut said = Vec::new();
    if let Some(name) = &device.node_name {
        let path = path.child("nodeName");
        if name.is_empty() {
            errors.push(field::invalid(&path, "", "must not be empty"));
        } else {
            said.push("`nodeName`");
            errors.extend(dns_subdomain(name, &path));
        }
    }
    if let Some(selector) = &device.node_selector {
        said.push("`nodeSelector`");
        errors.extend(node_selector(selector, false, &path.child("nodeSelector")));
    }
    match device.all_nodes {
        Some(true) => said.push("`allNodes`"),
        Some(false) => {
            let detail = "must be either unset or set to true";
            errors.push(field::invalid(&path.child("allNodes"), false, detail));
        }
        None => {}
    }
    match said.len() {
        0 => errors.push(field::required(path, ONE)),
        1 => {}
        _ => errors.push(field::invalid(
            path,
            format!("{{{}}}", said.join(", ")),
            ONE,
        )),
    }
    errors
}

/// What a device must come to before a pod is bound, and what it must not come to.
fn binding_conditions(wanted: &[String], failed: &[String], path: &Path) -> ErrorList {
    let (wanted_path, failed_path) = (
        path.child("bindingConditions"),
        path.child("bindingFailureConditions"),
    );
    let label = |name: &String, path: &Path| rules::validate_label_name(name, path);
    let mut errors = items(wanted, MOST_CONDITIONS, &wanted_path, label);
    errors.extend(items(failed, MOST_CONDITIONS, &failed_path, label));
    let all_wanted: HashSet<&String> = wanted.iter().collect();
    for (list, path) in [(wanted, &wanted_path), (failed, &failed_path)] {
        let mut seen = HashSet::new();
        for (i, name) in list.iter().enumerate() {
            if !seen.insert(name) {
                errors.push(field::duplicate(&path.index(i), name));
            }
            if std::ptr::eq(list, failed) && all_wanted.contains(name) {
                let detail = "bindingFailureConditions must not overlap with bindingConditions";
                errors.push(field::invalid(&path.index(i), name, detail));
            }
        }
    }
    if wanted.is_empty() && !failed.is_empty() {
        let detail = "bindingConditions are required to use bindingFailureConditions";
        let none = BadValue::Text("null".to_owned());
        errors.push(field::invalid(&wanted_path, none, detail));
    }
    if failed.is_empty() && !wanted.is_empty() {
        let detail = "bindingFailureConditions are required to use bindingConditions";
        let none = BadValue::Text("null".to_owned());
        errors.push(field::invalid(&failed_path, none, detail));
    }
    errors
}

/// Which resources of its node a device takes, and how much of them.
fn node_resources(device: &Device, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (name, mapping) in &device.node_allocatable_resource_mappings {
        let path = path.key(name);
        if !is_native_resource(name) {
            let detail = "must be a node allocatable resource name";
            errors.push(field::invalid(&path, name, detail));
        }
        if mapping.allocation_multiplier.is_none() && mapping.capacity_key.is_none() {
            let detail = "at least one of allocationMultiplier or capacityKey must be set";
            errors.push(field::invalid(&path, "", detail));
        }
        if let Some(factor) = mapping
            .allocation_multiplier
            .as_ref()
            .filter(|factor| factor.signum() <= 0)
        {
            let path = path.child("allocationMultiplier");
            errors.push(field::invalid(
                &path,
                factor.to_string(),
                "must be positive",
            ));
        }
        if let Some(key) = &mapping.capacity_key {
            let path = path.child("capacityKey");
            if key.is_empty() {
                let detail = "capacityKey must not be an empty string";
                errors.push(field::invalid(&path, "", detail));
            } else if !device.capacity.contains_key(key) {
                errors.push(field::not_found(&path, key));
            }
        }
    }
    errors
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::super::tests::{check, decode};
    use super::*;

    fn slice(spec: serde_json::Value) -> ResourceSlice {
        let mut slice: ResourceSlice = decode(json!({"spec": spec}));
        slice.metadata.namespace.clear();
        slice
    }

    /// Errors of one device in a slice that is right otherwise.
    pub(in super::super) fn of_device(mut device: serde_json::Value) -> ErrorList {
        device["name"] = "d".into();
        validate_resource_slice(&slice(json!({
            "driver": "example.com", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1},
            "devices": [device],
        })))
    }

    #[test]
    fn slices_say_where_their_devices_are() {
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
    fn attributes_have_one_value() {
        check(
            of_device(json!({"attributes": {
                "/x": {"string": "x".repeat(65)}, "c": {}, "d": {"int": 1, "bool": true}, "e": {"version": "01.0.0"},
                "f": {"version": "1.0.0-a.1+b"},
            }})),
            &[
                "spec.devices[0].attributes: Invalid value: \"\": the domain must not be empty",
                "spec.devices[0].attributes[/x].string: Too long: may not be more than 64 bytes",
                "spec.devices[0].attributes[c]: Invalid value: \"\": exactly one value must be specified",
                "spec.devices[0].attributes[d]: Invalid value: {\"IntValue\":1,\"BoolValue\":true,\"StringValue\":null,\"VersionValue\":null,\"IntValues\":null,\"BoolValues\":null,\"StringValues\":null,\"VersionValues\":null}: exactly one value must be specified",
                "spec.devices[0].attributes[e].version: Invalid value: \"01.0.0\": must be a string compatible with semver.org spec 2.0.0",
            ],
        );
        let many: serde_json::Map<_, _> = (0..33)
            .map(|i| (format!("a{i}"), json!({"int": i})))
            .collect();
        check(
            of_device(json!({"attributes": many})),
            &[
                "spec.devices[0]: Invalid value: 33: the total number of attributes and capacities must not exceed 32",
            ],
        );
    }

    #[test]
    fn devices_are_tainted_counted_and_bound() {
        check(
            of_device(json!({
                "taints": [{"key": "", "effect": "X"}],
                "consumesCounters": [{"counterSet": "s", "counters": {}}],
                "allNodes": true,
                "bindingFailureConditions": ["a", "a"],
            })),
            &[
                "spec.devices[0].taints[0].key: Invalid value: \"\": name part must be non-empty",
                "spec.devices[0].taints[0].key: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                "spec.devices[0].taints[0].effect: Unsupported value: \"X\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
                "spec.devices[0].consumesCounters[0].counters: Required value",
                "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
                "spec.devices[0].bindingFailureConditions[1]: Duplicate value: \"a\"",
                "spec.devices[0].bindingConditions: Invalid value: null: bindingConditions are required to use bindingFailureConditions",
            ],
        );
        let counters = slice(json!({
            "driver": "example.com", "allNodes": true, "pool": {"name": "p", "resourceSliceCount": 1},
            "sharedCounters": [{"name": "Not_A", "counters": {}}, {"counters": {"c": {"value": "1"}}}],
        }));
        let errors = validate_resource_slice(&counters);
        let paths: Vec<String> = errors.iter().map(|error| error.path.to_string()).collect();
        assert_eq!(
            paths,
            [
                "spec.sharedCounters[0].name",
                "spec.sharedCounters[0].counters",
                "spec.sharedCounters[1].name"
            ]
        );
    }
}
