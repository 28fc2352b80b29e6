//! The smaller kinds of the core group. Upstream: pkg/apis/core/validation.

use api_types::core::v1::*;

use super::containers::PROTOCOLS;
use super::pod_options::PodOptions;
use super::pods::validate_pod_template_spec;
use super::services::endpoint_ip;
use super::*;

/// Largest data of a ConfigMap or Secret, in bytes.
const MAX_SIZE: usize = 1024 * 1024;
const SEALED: &str = "field is immutable when `immutable` is set";

// === ConfigMap ===

pub fn validate_config_map(map: &ConfigMap) -> ErrorList {
    let mut errors = object_meta(&map.metadata, true, rules::name_is_dns_subdomain);
    let mut size = 0;
    for (key, value) in &map.data {
        let path = Path::new("data").key(key.as_str());
        errors.extend(invalids(&path, key, rules::is_config_map_key(key)));
        if map.binary_data.contains_key(key) {
            errors.push(field::invalid(
                &path,
                key,
                "duplicate of key present in binaryData",
            ));
        }
        size += value.len();
    }
    for (key, value) in &map.binary_data {
        let path = Path::new("binaryData").key(key.as_str());
        errors.extend(invalids(&path, key, rules::is_config_map_key(key)));
        size += value.0.len();
    }
    if size > MAX_SIZE {
        errors.push(field::too_long(&Path::new(""), MAX_SIZE));
    }
    errors
}

pub fn validate_config_map_update(new: &ConfigMap, old: &ConfigMap) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    if old.immutable == Some(true) {
        if new.immutable != Some(true) {
            errors.push(field::forbidden(&Path::new("immutable"), SEALED));
        }
        if new.data != old.data {
            errors.push(field::forbidden(&Path::new("data"), SEALED));
        }
        if new.binary_data != old.binary_data {
            errors.push(field::forbidden(&Path::new("binaryData"), SEALED));
        }
    }
    errors.extend(validate_config_map(new));
    errors
}

// === Secret ===

pub fn validate_secret(secret: &Secret) -> ErrorList {
    let mut errors = object_meta(&secret.metadata, true, rules::name_is_dns_subdomain);
    let path = Path::new("data");
    let mut size = 0;
    for (key, value) in &secret.data {
        errors.extend(invalids(
            &path.key(key.as_str()),
            key,
            rules::is_config_map_key(key),
        ));
        size += value.0.len();
    }
    if size > MAX_SIZE {
        errors.push(field::too_long(&path, MAX_SIZE));
    }
    let has = |key: &str| secret.data.contains_key(key);
    let missing = |key: &'static str| field::required(&path.key(key), "");
    match secret.type_.as_str() {
        "kubernetes.io/service-account-token" => {
            const NAME: &str = "kubernetes.io/service-account.name";
            if secret
                .metadata
                .annotations
                .get(NAME)
                .is_none_or(String::is_empty)
            {
                let path = super::path(&["metadata", "annotations"]).key(NAME);
                errors.push(field::required(&path, ""));
            }
        }
        "kubernetes.io/dockercfg" => errors.extend(docker_config(secret, ".dockercfg", &path)),
        "kubernetes.io/dockerconfigjson" => {
            errors.extend(docker_config(secret, ".dockerconfigjson", &path))
        }
        "kubernetes.io/basic-auth" => {
            if !has("username") && !has("password") {
                errors.push(missing("username"));
                errors.push(missing("password"));
            }
        }
        "kubernetes.io/ssh-auth" => {
            if secret
                .data
                .get("ssh-privatekey")
                .is_none_or(|key| key.0.is_empty())
            {
                errors.push(missing("ssh-privatekey"));
            }
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if !has(key) {
                    errors.push(missing(key));
                }
            }
        }
        _ => {}
    }
    errors
}

fn docker_config(secret: &Secret, key: &'static str, path: &Path) -> Option<Error> {
    let path = path.key(key);
    let Some(value) = secret.data.get(key) else {
        return Some(field::required(&path, ""));
    };
    let problem = crate::go_json::parse_object(&value.0).err()?;
    Some(field::invalid(&path, "<secret contents redacted>", problem))
}

pub fn validate_secret_update(new: &Secret, old: &Secret) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(rules::validate_immutable_field(
        &new.type_,
        &old.type_,
        &Path::new("type"),
    ));
    if old.immutable == Some(true) {
        if new.immutable != Some(true) {
            errors.push(field::forbidden(&Path::new("immutable"), SEALED));
        }
        if new.data != old.data {
            errors.push(field::forbidden(&Path::new("data"), SEALED));
        }
    }
    errors.extend(validate_secret(new));
    errors
}

// === ServiceAccount ===

pub fn validate_service_account(account: &ServiceAccount) -> ErrorList {
    object_meta(
        &account.metadata,
        true,
        rules::validate_service_account_name,
    )
}

pub fn validate_service_account_update(new: &ServiceAccount, old: &ServiceAccount) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(validate_service_account(new));
    errors
}

// === Namespace ===

fn finalizer_name(name: &str, path: &Path) -> ErrorList {
    let mut errors = rules::validate_finalizer_name(name, path);
    errors.extend(kube_finalizer_name(name, path));
    errors
}

pub fn validate_namespace(namespace: &Namespace) -> ErrorList {
    let mut errors = object_meta(&namespace.metadata, false, rules::validate_namespace_name);
    for name in &namespace.spec.finalizers {
        errors.extend(finalizer_name(name, &path(&["spec", "finalizers"])));
    }
    errors
}

pub fn validate_namespace_update(new: &Namespace, old: &Namespace) -> ErrorList {
    object_meta_update(&new.metadata, &old.metadata)
}

pub fn validate_namespace_status_update(new: &Namespace, old: &Namespace) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let (phase, path) = (new.status.phase.as_str(), path(&["status", "Phase"]));
    let deleted = new.metadata.deletion_timestamp.is_some();
    if !deleted && phase != "Active" {
        let detail = "may only be 'Active' if `deletionTimestamp` is empty";
        errors.push(field::invalid(&path, phase, detail));
    }
    if deleted && phase != "Terminating" {
        let detail = "may only be 'Terminating' if `deletionTimestamp` is not empty";
        errors.push(field::invalid(&path, phase, detail));
    }
    errors
}

pub fn validate_namespace_finalize_update(new: &Namespace, old: &Namespace) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let path = path(&["spec", "finalizers"]);
    for (i, name) in new.spec.finalizers.iter().enumerate() {
        errors.extend(finalizer_name(name, &path.index(i)));
    }
    errors
}

// === Endpoints ===

pub fn validate_endpoints(endpoints: &Endpoints) -> ErrorList {
    let mut errors = object_meta(&endpoints.metadata, true, rules::name_is_dns_subdomain);
    errors.extend(subsets(endpoints));
    errors
}

pub fn validate_endpoints_update(new: &Endpoints, old: &Endpoints) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(object_meta(
        &new.metadata,
        true,
        rules::name_is_dns_subdomain,
    ));
    // What is stored may stay, also when newer rules refuse it.
    if new.subsets != old.subsets {
        errors.extend(subsets(new));
    }
    errors
}

fn subsets(endpoints: &Endpoints) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, subset) in endpoints.subsets.iter().enumerate() {
        let path = Path::new("subsets").index(i);
        if subset.addresses.is_empty() && subset.not_ready_addresses.is_empty() {
            errors.push(field::required(
                &path,
                "must specify `addresses` or `notReadyAddresses`",
            ));
        }
        for (list, child) in [
            (&subset.addresses, "addresses"),
            (&subset.not_ready_addresses, "notReadyAddresses"),
        ] {
            for (j, address) in list.iter().enumerate() {
                errors.extend(endpoint_address(address, &path.child(child).index(j)));
            }
        }
        for (j, port) in subset.ports.iter().enumerate() {
            errors.extend(endpoint_port(
                port,
                subset.ports.len() > 1,
                &path.child("ports").index(j),
            ));
        }
    }
    errors
}

fn endpoint_address(address: &EndpointAddress, path: &Path) -> ErrorList {
    let mut errors = legacy_ip(&path.child("ip"), &address.ip, &Known::new());
    if !address.hostname.is_empty() {
        errors.extend(dns_label(&address.hostname, &path.child("hostname")));
    }
    if let Some(node) = &address.node_name {
        errors.extend(dns_subdomain(node, &path.child("nodeName")));
    }
    errors.extend(endpoint_ip(&address.ip, &path.child("ip")));
    errors
}

fn endpoint_port(port: &EndpointPort, require_name: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if require_name && port.name.is_empty() {
        errors.push(field::required(&path.child("name"), ""));
    } else if !port.name.is_empty() {
        errors.extend(dns_label(&port.name, &path.child("name")));
    }
    errors.extend(port_number(port.port, &path.child("port")));
    errors.extend(required_one_of(
        &port.protocol,
        &PROTOCOLS,
        &path.child("protocol"),
    ));
    if let Some(protocol) = &port.app_protocol {
        errors.extend(qualified_name(protocol, &path.child("appProtocol")));
    }
    errors
}

// === ReplicationController ===

pub fn validate_replication_controller(controller: &ReplicationController) -> ErrorList {
    let mut errors = object_meta_with_opts(&controller.metadata, true, long_name);
    errors.extend(controller_spec(controller, None));
    errors
}

pub fn validate_replication_controller_update(
    new: &ReplicationController,
    old: &ReplicationController,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(controller_spec(new, Some(old)));
    errors
}

fn controller_spec(
    controller: &ReplicationController,
    old: Option<&ReplicationController>,
) -> ErrorList {
    let spec = &controller.spec;
    let path = Path::new("spec");
    let mut errors = nonnegative(
        spec.min_ready_seconds.into(),
        &path.child("minReadySeconds"),
    );
    if spec.selector.is_empty() {
        errors.push(field::required(&path.child("selector"), ""));
    }
    match spec.replicas {
        None => errors.push(field::required(&path.child("replicas"), "")),
        Some(replicas) => errors.extend(nonnegative(replicas.into(), &path.child("replicas"))),
    }
    let template_path = path.child("template");
    let Some(template) = &spec.template else {
        errors.push(field::required(&template_path, ""));
        return errors;
    };
    let labels = &template.metadata.labels;
    if spec
        .selector
        .iter()
        .any(|(key, value)| labels.get(key) != Some(value))
    {
        let path = template_path.child("metadata").child("labels");
        errors.push(field::invalid(
            &path,
            labels,
            "`selector` does not match template `labels`",
        ));
    }
    let old_template = old.and_then(|old| old.spec.template.as_deref());
    let options = PodOptions::of_template(template, old_template);
    errors.extend(validate_pod_template_spec(
        template,
        &template_path,
        &options,
    ));
    let spec_path = template_path.child("spec");
    errors.extend(one_of(
        &template.spec.restart_policy,
        &["Always"],
        &spec_path.child("restartPolicy"),
    ));
    if template.spec.active_deadline_seconds.is_some() {
        let detail = "activeDeadlineSeconds in ReplicationController is not Supported";
        errors.push(field::forbidden(
            &spec_path.child("activeDeadlineSeconds"),
            detail,
        ));
    }
    errors
}

pub fn validate_replication_controller_status_update(
    new: &ReplicationController,
    old: &ReplicationController,
) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    let status = &new.status;
    let path = Path::new("status");
    for (value, child) in [
        (i64::from(status.replicas), "replicas"),
        (status.fully_labeled_replicas.into(), "fullyLabeledReplicas"),
        (status.ready_replicas.into(), "readyReplicas"),
        (status.available_replicas.into(), "availableReplicas"),
        (status.observed_generation, "observedGeneration"),
    ] {
        errors.extend(nonnegative(value, &path.child(child)));
    }
    for (value, child) in [
        (status.fully_labeled_replicas, "fullyLabeledReplicas"),
        (status.ready_replicas, "readyReplicas"),
        (status.available_replicas, "availableReplicas"),
    ] {
        if value > status.replicas {
            errors.push(field::invalid(
                &path.child(child),
                value,
                "cannot be greater than status.replicas",
            ));
        }
    }
    if status.available_replicas > status.ready_replicas {
        let detail = "cannot be greater than readyReplicas";
        errors.push(field::invalid(
            &path.child("availableReplicas"),
            status.available_replicas,
            detail,
        ));
    }
    errors
}
