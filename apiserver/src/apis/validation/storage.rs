//! Storage classes, CSI drivers, attachments and capacities. Upstream: pkg/apis/storage/validation.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api_types::core::v1::TopologySelectorTerm;
use api_types::storage::v1::*;

use super::persistent_volumes::volume_spec;
use super::volumes::csi_driver_name;
use super::*;

// === StorageClass and VolumeAttributesClass ===

fn provisioner(name: &str, path: &Path) -> ErrorList {
    if name.is_empty() {
        field::required(path, "").into()
    } else {
        qualified_name(&name.to_lowercase(), path)
    }
}

fn parameters(parameters: &BTreeMap<String, String>, needed: bool) -> ErrorList {
    const MAX_SIZE: usize = 256 * 1024;
    let path = Path::new("parameters");
    if parameters.len() > 512 {
        return field::too_long(&path, 512).into();
    }
    let mut errors = ErrorList::new();
    if parameters.contains_key("") {
        errors.push(field::invalid(&path, "", "field can not be empty."));
    }
    if rules::annotations_size(parameters) > MAX_SIZE {
        errors.push(field::too_long(&path, MAX_SIZE));
    }
    if needed && parameters.is_empty() {
        errors.push(field::required(
            &path,
            "must contain at least one key/value pair",
        ));
    }
    errors
}

pub fn validate_storage_class(class: &StorageClass) -> ErrorList {
    let mut errors = object_meta(&class.metadata, false, rules::name_is_dns_subdomain);
    errors.extend(provisioner(&class.provisioner, &Path::new("provisioner")));
    errors.extend(parameters(&class.parameters, false));
    if let Some(policy) = class
        .reclaim_policy
        .as_deref()
        .filter(|policy| !policy.is_empty())
    {
        errors.extend(one_of(
            policy,
            &["Delete", "Retain"],
            &Path::new("reclaimPolicy"),
        ));
    }
    let mode_path = Path::new("volumeBindingMode");
    match &class.volume_binding_mode {
        None => errors.push(field::required(&mode_path, "")),
        Some(mode) => errors.extend(one_of(
            mode,
            &["Immediate", "WaitForFirstConsumer"],
            &mode_path,
        )),
    }
    errors.extend(topologies(&class.allowed_topologies));
    errors
}

fn topologies(terms: &[TopologySelectorTerm]) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = vec![BTreeMap::new(); terms.len()];
    for (i, term) in terms.iter().enumerate() {
        let path = Path::new("allowedTopologies")
            .index(i)
            .child("matchLabelExpressions");
        let mut keys = BTreeMap::new();
        for (j, expression) in term.match_label_expressions.iter().enumerate() {
            let path = path.index(j);
            let values_path = path.child("values");
            if expression.values.is_empty() {
                errors.push(field::required(&values_path, ""));
            }
            let mut values = BTreeSet::new();
            for (k, value) in expression.values.iter().enumerate() {
                if !values.insert(value.as_str()) {
                    errors.push(field::duplicate(&values_path.index(k), value));
                }
            }
            errors.extend(rules::validate_label_name(
                &expression.key,
                &path.child("key"),
            ));
            if keys.insert(expression.key.as_str(), values).is_some() {
                errors.push(field::duplicate(&path.child("key"), &expression.key));
            }
        }
        // Upstream compares with as many empty terms as there are terms, too.
        for _ in seen.iter().filter(|other| **other == keys) {
            errors.push(field::duplicate(&path, ""));
        }
        seen.push(keys);
    }
    errors
}

pub fn validate_storage_class_update(new: &StorageClass, old: &StorageClass) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let at = Path::new;
    errors.extend(immutable(
        &new.parameters,
        &old.parameters,
        &at("parameters"),
        || (&new.parameters).into(),
    ));
    errors.extend(rules::validate_immutable_field(
        &new.provisioner,
        &old.provisioner,
        &at("provisioner"),
    ));
    errors.extend(immutable(
        &new.reclaim_policy,
        &old.reclaim_policy,
        &at("reclaimPolicy"),
        || new.reclaim_policy.as_deref().into(),
    ));
    let (mode, before) = (&new.volume_binding_mode, &old.volume_binding_mode);
    errors.extend(immutable(mode, before, &at("volumeBindingMode"), || {
        mode.as_deref().into()
    }));
    errors
}

pub fn validate_volume_attributes_class(class: &VolumeAttributesClass) -> ErrorList {
    let mut errors = object_meta(&class.metadata, false, rules::name_is_dns_subdomain);
    errors.extend(provisioner(&class.driver_name, &Path::new("driverName")));
    errors.extend(parameters(&class.parameters, true));
    errors
}

pub fn validate_volume_attributes_class_update(
    new: &VolumeAttributesClass,
    old: &VolumeAttributesClass,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    if new.driver_name != old.driver_name {
        errors.push(field::forbidden(
            &Path::new("driverName"),
            "updates to driverName are forbidden.",
        ));
    }
    if new.parameters != old.parameters {
        errors.push(field::forbidden(
            &Path::new("parameters"),
            "updates to parameters are forbidden.",
        ));
    }
    errors.extend(validate_volume_attributes_class(new));
    errors
}

// === VolumeAttachment ===

pub fn validate_volume_attachment(attachment: &VolumeAttachment) -> ErrorList {
    const EXACTLY_ONE: &str =
        "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let mut errors = object_meta(&attachment.metadata, false, rules::name_is_dns_subdomain);
    let path = Path::new("spec");
    let spec = &attachment.spec;
    errors.extend(csi_driver_name(&spec.attacher, &path.child("attacher")));
    let source_path = path.child("source");
    let name_path = source_path.child("persistentVolumeName");
    match (
        &spec.source.inline_volume_spec,
        &spec.source.persistent_volume_name,
    ) {
        (None, None) => errors.push(field::required(&source_path, EXACTLY_ONE)),
        (Some(_), Some(_)) => errors.push(field::forbidden(&source_path, EXACTLY_ONE)),
        (None, Some(name)) if name.is_empty() => {
            errors.push(field::required(
                &name_path,
                "must specify non empty persistentVolumeName",
            ));
        }
        (None, Some(_)) => {}
        (Some(inline), None) => {
            errors.extend(volume_spec(
                inline,
                "",
                true,
                false,
                &source_path.child("inlineVolumeSpec"),
            ));
        }
    }
    errors.extend(dns_subdomain(&spec.node_name, &path.child("nodeName")));
    errors.extend(attachment_status(&attachment.status));
    if let Some(name) = &spec.source.persistent_volume_name {
        errors.extend(dns_subdomain(name, &name_path));
    }
    errors
}

fn attachment_status(status: &VolumeAttachmentStatus) -> ErrorList {
    const MAX_SIZE: usize = 256 * 1024;
    let path = Path::new("status");
    let mut errors = ErrorList::new();
    if rules::annotations_size(&status.attachment_metadata) > MAX_SIZE {
        errors.push(field::too_long(&path.child("attachmentMetadata"), MAX_SIZE));
    }
    for (error, child) in [
        (&status.attach_error, "attachError"),
        (&status.detach_error, "detachError"),
    ] {
        let Some(error) = error else { continue };
        let path = path.child(child);
        if error.message.len() > 1024 {
            // The limit that upstream prints is another one.
            errors.push(field::too_long(&path.child("message"), MAX_SIZE));
        }
        if let Some(code) = error.error_code.filter(|code| *code < 0) {
            let detail = rules::inclusive_range_error(0, i32::MAX.into());
            errors.push(field::invalid(&path.child("errorCode"), code, detail));
        }
    }
    errors
}

pub fn validate_volume_attachment_update(
    new: &VolumeAttachment,
    old: &VolumeAttachment,
) -> ErrorList {
    let mut errors = validate_volume_attachment(new);
    errors.extend(immutable(&new.spec, &old.spec, &Path::new("spec"), || {
        go_value::bad_value(&new.spec)
    }));
    errors
}

// === CSINode ===

pub fn validate_csi_node(node: &CSINode) -> ErrorList {
    let mut errors = object_meta(&node.metadata, false, rules::name_is_dns_subdomain);
    let mut names = BTreeSet::new();
    for (i, driver) in node.spec.drivers.iter().enumerate() {
        let path = path(&["spec", "drivers"]).index(i);
        errors.extend(csi_driver_name(&driver.name, &path.child("name")));
        let id_path = path.child("nodeID");
        if driver.node_id.is_empty() {
            errors.push(field::required(&id_path, ""));
        }
        if driver.node_id.len() > 256 {
            errors.push(field::invalid(
                &id_path,
                &driver.node_id,
                "must be 256 characters or less",
            ));
        }
        if let Some(count) = driver
            .allocatable
            .as_ref()
            .and_then(|allocatable| allocatable.count)
        {
            errors.extend(nonnegative(
                count.into(),
                &path.child("allocatable").child("count"),
            ));
        }
        if !names.insert(&driver.name) {
            errors.push(field::duplicate(&path.child("name"), &driver.name));
        }
        let mut keys = BTreeSet::new();
        for key in &driver.topology_keys {
            if key.is_empty() {
                errors.push(field::required(&path, ""));
            }
            if !keys.insert(key) {
                errors.push(field::duplicate(&path, key));
            }
            errors.extend(qualified_name(key, &path));
        }
    }
    errors
}

pub fn validate_csi_node_update(new: &CSINode, old: &CSINode) -> ErrorList {
    let mut errors = validate_csi_node(new);
    let mutable = gates::enabled("MutableCSINodeAllocatableCount");
    let mut drivers: HashMap<&String, Vec<&CSINodeDriver>> = HashMap::new();
    for driver in &new.spec.drivers {
        drivers.entry(&driver.name).or_default().push(driver);
    }
    for before in &old.spec.drivers {
        for &driver in drivers.get(&before.name).into_iter().flatten() {
            let (mut driver, mut before) = (driver.clone(), before.clone());
            if mutable {
                driver.allocatable = None;
                before.allocatable = None;
            }
            errors.extend(immutable(
                &driver,
                &before,
                &path(&["spec", "drivers"]),
                || go_value::bad_value(&driver),
            ));
        }
    }
    errors
}

// === CSIDriver ===

pub fn validate_csi_driver(driver: &CSIDriver) -> ErrorList {
    let mut errors = object_meta(&driver.metadata, false, rules::name_is_dns_subdomain);
    errors.extend(driver_spec(&driver.spec));
    errors
}

pub fn validate_csi_driver_update(new: &CSIDriver, old: &CSIDriver) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(driver_spec(&new.spec));
    let (attach, before) = (new.spec.attach_required, old.spec.attach_required);
    errors.extend(immutable(
        &attach,
        &before,
        &path(&["spec", "attachedRequired"]),
        || attach.into(),
    ));
    let (modes, before) = (
        &new.spec.volume_lifecycle_modes,
        &old.spec.volume_lifecycle_modes,
    );
    let path = path(&["spec", "volumeLifecycleModes"]);
    errors.extend(immutable(modes, before, &path, || {
        go_value::bad_list(modes)
    }));
    errors
}

fn driver_spec(spec: &CSIDriverSpec) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = ErrorList::new();
    for (value, child) in [
        (spec.attach_required, "attachedRequired"),
        (spec.pod_info_on_mount, "podInfoOnMount"),
        (spec.storage_capacity, "storageCapacity"),
    ] {
        if value.is_none() {
            errors.push(field::required(&path.child(child), ""));
        }
    }
    if let Some(policy) = &spec.fs_group_policy {
        let known = ["File", "None", "ReadWriteOnceWithFSType"];
        errors.extend(one_of(policy, &known, &path.child("fsGroupPolicy")));
    }
    errors.extend(token_requests(
        &spec.token_requests,
        &path.child("tokenRequests"),
    ));
    for mode in &spec.volume_lifecycle_modes {
        errors.extend(one_of(
            mode,
            &["Persistent", "Ephemeral"],
            &path.child("volumeLifecycleModes"),
        ));
    }
    if spec.se_linux_mount.is_none() && gates::enabled("SELinuxMountReadWriteOncePod") {
        errors.push(field::required(&path.child("seLinuxMount"), ""));
    }
    if let Some(seconds) = spec
        .node_allocatable_update_period_seconds
        .filter(|seconds| *seconds < 10)
    {
        let detail = "must be greater than or equal to 10 seconds";
        errors.push(field::invalid(
            &path.child("nodeAllocatableUpdatePeriodSeconds"),
            seconds,
            detail,
        ));
    }
    if let Some(in_secrets) = spec.service_account_token_in_secrets
        && spec.token_requests.is_empty()
    {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(field::invalid(
            &path.child("serviceAccountTokenInSecrets"),
            in_secrets,
            detail,
        ));
    }
    if spec.prevent_pod_scheduling_if_missing.is_none() && gates::enabled("VolumeLimitScaling") {
        errors.push(field::required(
            &path.child("preventPodSchedulingIfMissing"),
            "",
        ));
    }
    errors
}

fn token_requests(requests: &[TokenRequest], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut audiences = BTreeSet::new();
    for (i, request) in requests.iter().enumerate() {
        let path = path.index(i);
        if !audiences.insert(&request.audience) {
            errors.push(field::duplicate(&path.child("audience"), &request.audience));
            continue;
        }
        if let Some(seconds) = request.expiration_seconds {
            errors.extend(super::authorization::token_lifetime(
                seconds,
                &path.child("expirationSeconds"),
            ));
        }
    }
    errors
}

// === CSIStorageCapacity ===

/// `invalid_values`: the selector may have values that no label has, since the stored one does.
pub fn validate_csi_storage_capacity(
    capacity: &CSIStorageCapacity,
    invalid_values: bool,
) -> ErrorList {
    let mut errors = object_meta(&capacity.metadata, true, rules::name_is_dns_subdomain);
    let topology = capacity.node_topology.as_deref();
    errors.extend(label_selector_allowing(
        topology,
        invalid_values,
        &Path::new("nodeTopology"),
    ));
    errors.extend(dns_subdomain(
        &capacity.storage_class_name,
        &Path::new("storageClassName"),
    ));
    if let Some(amount) = &capacity.capacity {
        errors.extend(nonnegative_quantity(amount, &Path::new("capacity")));
    }
    errors
}

pub fn has_invalid_topology(capacity: &CSIStorageCapacity) -> bool {
    !label_selector(capacity.node_topology.as_deref(), &Path::nil()).is_empty()
}

pub fn validate_csi_storage_capacity_update(
    new: &CSIStorageCapacity,
    old: &CSIStorageCapacity,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(immutable(
        &new.node_topology,
        &old.node_topology,
        &Path::new("nodeTopology"),
        || go_value::bad_option(new.node_topology.as_deref()),
    ));
    let path = Path::new("storageClassName");
    errors.extend(rules::validate_immutable_field(
        &new.storage_class_name,
        &old.storage_class_name,
        &path,
    ));
    errors
}
