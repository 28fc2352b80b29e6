//! Containers of a pod: names, images, ports, environment, mounts, probes, hooks and restart rules.
//! Upstream: pkg/apis/core/validation.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use api_types::IntOrString;
use api_types::core::v1::*;

use super::pod_options::PodOptions;
use super::resources::container_requirements;
use super::security::security_context;
use super::volumes::{Choice, Volumes, local_descending_path, no_backsteps};
use super::*;

pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ENV_PATHS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCE_PATHS: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// What the checks of a container know of its pod.
pub(super) struct PodView<'a> {
    pub volumes: &'a Volumes<'a>,
    pub claims: &'a BTreeSet<&'a str>,
    pub restart_policy: &'a str,
    pub grace_period: Option<i64>,
    pub os: Option<&'a PodOS>,
    pub host_users: bool,
    pub options: &'a PodOptions,
}

pub(super) fn validate_containers(
    containers: &[Container],
    pod: &PodView<'_>,
    path: &Path,
) -> ErrorList {
    if containers.is_empty() {
        return field::required(path, "").into();
    }
    let mut errors = ErrorList::new();
    let mut names = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        let path = path.index(i);
        errors.extend(common(container, pod, &path));
        if !names.insert(&container.name) {
            errors.push(field::duplicate(&path.child("name"), &container.name));
        }
        errors.extend(running(container, pod, &path));
        if pod.options.container_restart_rules {
            let policy = container.restart_policy.as_deref();
            errors.extend(restart_policy_rules(
                policy,
                &container.restart_policy_rules,
                &path,
                pod.options,
            ));
        } else if container.restart_policy.is_some() {
            let detail = "may not be set for non-init containers";
            errors.push(field::forbidden(&path.child("restartPolicy"), detail));
        }
    }
    errors.extend(unique_host_ports(containers, path));
    errors
}

/// Hooks and probes.
fn running(container: &Container, pod: &PodView<'_>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(hooks) = &container.lifecycle {
        errors.extend(lifecycle(hooks, pod, &path.child("lifecycle")));
    }
    let must_be_one = |probe: &Probe, path: &Path| {
        if probe.success_threshold == 1 {
            return ErrorList::new();
        }
        field::invalid(
            &path.child("successThreshold"),
            probe.success_threshold,
            "must be 1",
        )
        .into()
    };
    if let Some(liveness) = &container.liveness_probe {
        let path = path.child("livenessProbe");
        errors.extend(probe(liveness, pod, &path));
        errors.extend(must_be_one(liveness, &path));
    }
    if let Some(readiness) = &container.readiness_probe {
        let path = path.child("readinessProbe");
        errors.extend(probe(readiness, pod, &path));
        if let Some(seconds) = readiness.termination_grace_period_seconds {
            let detail = "must not be set for readinessProbes";
            errors.push(field::invalid(
                &path.child("terminationGracePeriodSeconds"),
                seconds,
                detail,
            ));
        }
    }
    if let Some(startup) = &container.startup_probe {
        let path = path.child("startupProbe");
        errors.extend(probe(startup, pod, &path));
        errors.extend(must_be_one(startup, &path));
    }
    errors
}

pub(super) fn validate_init_containers(
    containers: &[Container],
    regular: &[Container],
    pod: &PodView<'_>,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut names: BTreeSet<&str> = regular
        .iter()
        .map(|container| container.name.as_str())
        .collect();
    for (i, container) in containers.iter().enumerate() {
        let own = path.index(i);
        errors.extend(common(container, pod, &own));
        errors.extend(init_restart_policy(container, pod.options, &own));
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        if names.contains(container.name.as_str()) {
            errors.push(field::duplicate(&own.child("name"), &container.name));
        } else if !container.name.is_empty() {
            names.insert(&container.name);
        }
        errors.extend(unique_host_ports(std::slice::from_ref(container), path));
        if sidecar {
            errors.extend(running(container, pod, &own));
        } else {
            let detail = "may not be set for init containers without restartPolicy=Always";
            for (set, child) in [
                (container.lifecycle.is_some(), "lifecycle"),
                (container.liveness_probe.is_some(), "livenessProbe"),
                (container.readiness_probe.is_some(), "readinessProbe"),
                (container.startup_probe.is_some(), "startupProbe"),
            ] {
                if set {
                    errors.push(field::forbidden(&own.child(child), detail));
                }
            }
        }
        if !pod.options.allow_sidecar_resize_policy && !container.resize_policy.is_empty() {
            let value = go_value::bad_list(&container.resize_policy);
            let detail = "must not be set for init containers";
            errors.push(field::invalid(&own.child("resizePolicy"), value, detail));
        }
        if !sidecar && !pod.options.allow_restart_container_for_init {
            for (j, policy) in container.resize_policy.iter().enumerate() {
                if policy.restart_policy == "RestartContainer" {
                    errors.push(field::invalid(
                        &own.child("resizePolicy").index(j).child("restartPolicy"),
                        &policy.restart_policy,
                        "must not be set to 'RestartContainer' for non-sidecar initContainers",
                    ));
                }
            }
        }
    }
    errors
}

fn init_restart_policy(container: &Container, options: &PodOptions, path: &Path) -> ErrorList {
    let rules = &container.restart_policy_rules;
    let Some(policy) = container.restart_policy.as_deref() else {
        if rules.is_empty() {
            return ErrorList::new();
        }
        let detail = "must specify restartPolicy when restart rules are used";
        return field::required(&path.child("restartPolicy"), detail).into();
    };
    if !options.container_restart_rules {
        return one_of(policy, &["Always"], &path.child("restartPolicy"));
    }
    if policy != "Always" || options.restart_all_containers {
        return restart_policy_rules(Some(policy), rules, path, options);
    }
    if rules.is_empty() {
        return ErrorList::new();
    }
    let detail =
        "restartPolicyRules are not allowed for init containers with restart policy Always";
    field::forbidden(&path.child("restartPolicyRules"), detail).into()
}

fn restart_policy_rules(
    policy: Option<&str>,
    rules: &[ContainerRestartRule],
    path: &Path,
    options: &PodOptions,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let policy_path = path.child("restartPolicy");
    match policy {
        None if rules.is_empty() => return errors,
        None => {
            let detail = "must specify restartPolicy when restart rules are used";
            errors.push(field::required(&policy_path, detail));
        }
        Some(policy) => errors.extend(one_of(
            policy,
            &["Always", "Never", "OnFailure"],
            &policy_path,
        )),
    }
    let rules_path = path.child("restartPolicyRules");
    if rules.len() > 20 {
        errors.push(field::too_many(&rules_path, Some(rules.len()), 20));
    }
    let actions: &[&str] = if options.restart_all_containers {
        &["Restart", "RestartAllContainers"]
    } else {
        &["Restart"]
    };
    for (i, rule) in rules.iter().enumerate() {
        let path = rules_path.index(i);
        errors.extend(one_of(&rule.action, actions, &path.child("action")));
        let codes_path = path.child("exitCodes");
        let Some(codes) = &rule.exit_codes else {
            errors.push(field::required(&codes_path, "must be specified"));
            continue;
        };
        errors.extend(one_of(
            &codes.operator,
            &["In", "NotIn"],
            &codes_path.child("operator"),
        ));
        if codes.values.len() > 255 {
            errors.push(field::too_many(
                &codes_path.child("values"),
                Some(codes.values.len()),
                255,
            ));
        }
    }
    errors
}

pub(super) fn validate_ephemeral_containers(
    containers: &[EphemeralContainer],
    spec: &PodSpec,
    pod: &PodView<'_>,
    path: &Path,
) -> ErrorList {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    let mut errors = ErrorList::new();
    let others: BTreeSet<&str> = spec
        .containers
        .iter()
        .chain(&spec.init_containers)
        .map(|container| container.name.as_str())
        .collect();
    let mut names = others.clone();
    for (i, ephemeral) in containers.iter().enumerate() {
        let path = path.index(i);
        let container = as_container(&ephemeral.ephemeral_container_common);
        errors.extend(common(&container, pod, &path));
        errors.extend(image_whitespace(&container, &path));
        if !names.insert(&ephemeral.ephemeral_container_common.name) {
            errors.push(field::duplicate(&path.child("name"), &container.name));
        }
        let target = ephemeral.target_container_name.as_str();
        if !target.is_empty() && !others.contains(target) {
            errors.push(field::not_found(&path.child("targetContainerName"), target));
        }
        let resources = &container.resources;
        for (set, child) in [
            (!container.ports.is_empty(), "ports"),
            (resources != &ResourceRequirements::default(), "resources"),
            (!container.resize_policy.is_empty(), "resizePolicy"),
            (container.restart_policy.is_some(), "restartPolicy"),
            (
                !container.restart_policy_rules.is_empty(),
                "restartPolicyRules",
            ),
            (container.liveness_probe.is_some(), "livenessProbe"),
            (container.readiness_probe.is_some(), "readinessProbe"),
            (container.startup_probe.is_some(), "startupProbe"),
            (container.lifecycle.is_some(), "lifecycle"),
        ] {
            if set {
                errors.push(field::forbidden(&path.child(child), DETAIL));
            }
        }
        for (i, mount) in container.volume_mounts.iter().enumerate() {
            let path = path.child("volumeMounts").index(i);
            if !mount.sub_path.is_empty() {
                errors.push(field::forbidden(&path.child("subPath"), DETAIL));
            }
            if !mount.sub_path_expr.is_empty() {
                errors.push(field::forbidden(&path.child("subPathExpr"), DETAIL));
            }
        }
    }
    errors
}

/// The common part of an ephemeral container as a container, whose fields it has.
pub(crate) fn as_container(common: &EphemeralContainerCommon) -> Container {
    let common = common.clone();
    Container {
        name: common.name,
        image: common.image,
        command: common.command,
        args: common.args,
        working_dir: common.working_dir,
        ports: common.ports,
        env_from: common.env_from,
        env: common.env,
        resources: common.resources,
        resize_policy: common.resize_policy,
        restart_policy: common.restart_policy,
        restart_policy_rules: common.restart_policy_rules,
        volume_mounts: common.volume_mounts,
        volume_devices: common.volume_devices,
        liveness_probe: common.liveness_probe,
        readiness_probe: common.readiness_probe,
        startup_probe: common.startup_probe,
        lifecycle: common.lifecycle,
        termination_message_path: common.termination_message_path,
        termination_message_policy: common.termination_message_policy,
        image_pull_policy: common.image_pull_policy,
        security_context: common.security_context,
        stdin: common.stdin,
        stdin_once: common.stdin_once,
        tty: common.tty,
    }
}

pub(super) fn image_whitespace(container: &Container, path: &Path) -> ErrorList {
    if container.image.trim().len() == container.image.len() {
        return ErrorList::new();
    }
    let detail = "must not have leading or trailing whitespace";
    field::invalid(&path.child("image"), &container.image, detail).into()
}

fn common(container: &Container, pod: &PodView<'_>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let name_path = path.child("name");
    if container.name.is_empty() {
        errors.push(field::required(&name_path, ""));
    } else {
        errors.extend(dns_label(&container.name, &name_path));
    }
    if container.image.is_empty() {
        errors.push(field::required(&path.child("image"), ""));
    }
    errors.extend(required_one_of(
        &container.termination_message_policy,
        &["File", "FallbackToLogsOnError"],
        &path.child("terminationMessagePolicy"),
    ));
    let options = pod.options;
    errors.extend(ports(&container.ports, &path.child("ports")));
    errors.extend(env(&container.env, &path.child("env"), options));
    errors.extend(env_from(
        &container.env_from,
        &path.child("envFrom"),
        options,
    ));
    errors.extend(volume_mounts(
        container,
        pod.volumes,
        &path.child("volumeMounts"),
    ));
    errors.extend(volume_devices(
        container,
        pod.volumes,
        &path.child("volumeDevices"),
    ));
    errors.extend(pull_policy(
        &container.image_pull_policy,
        &path.child("imagePullPolicy"),
    ));
    errors.extend(container_requirements(
        &container.resources,
        pod.claims,
        &path.child("resources"),
        options,
    ));
    errors.extend(resize_policy(
        &container.resize_policy,
        pod.restart_policy,
        &path.child("resizePolicy"),
    ));
    if let Some(context) = &container.security_context {
        errors.extend(security_context(
            context,
            pod.host_users,
            &path.child("securityContext"),
        ));
    }
    errors
}

pub(super) fn pull_policy(policy: &str, path: &Path) -> ErrorList {
    required_one_of(policy, &["Always", "IfNotPresent", "Never"], path)
}

fn resize_policy(policies: &[ContainerResizePolicy], pod_policy: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, policy) in policies.iter().enumerate() {
        if !seen.insert(&policy.resource_name) {
            errors.push(field::duplicate(&path.index(i), &policy.resource_name));
        }
        errors.extend(required_one_of(
            &policy.resource_name,
            &["cpu", "memory"],
            path,
        ));
        let restart = policy.restart_policy.as_str();
        errors.extend(required_one_of(
            restart,
            &["NotRequired", "RestartContainer"],
            path,
        ));
        if pod_policy == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(field::invalid(path, restart, detail));
        }
    }
    errors
}

// === Ports ===

fn ports(ports: &[ContainerPort], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut names = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        if !port.name.is_empty() {
            let problems = rules::is_valid_port_name(&port.name);
            let fine = problems.is_empty();
            errors.extend(invalids(&path.child("name"), &port.name, problems));
            if fine && !names.insert(&port.name) {
                errors.push(field::duplicate(&path.child("name"), &port.name));
            }
        }
        if port.container_port == 0 {
            errors.push(field::required(&path.child("containerPort"), ""));
        } else {
            errors.extend(port_number(
                port.container_port,
                &path.child("containerPort"),
            ));
        }
        if port.host_port != 0 {
            errors.extend(port_number(port.host_port, &path.child("hostPort")));
        }
        errors.extend(required_one_of(
            &port.protocol,
            &PROTOCOLS,
            &path.child("protocol"),
        ));
    }
    errors
}

fn unique_host_ports(containers: &[Container], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut taken = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in container.ports.iter().enumerate() {
            if port.host_port == 0 {
                continue;
            }
            let text = format!("{}/{}/{}", port.protocol, port.host_ip, port.host_port);
            if taken.contains(&text) {
                let path = path.index(i).child("ports").index(j).child("hostPort");
                errors.push(field::duplicate(&path, text));
            } else {
                taken.insert(text);
            }
        }
    }
    errors
}

/// A port's number, or its name.
pub(super) fn port_number_or_name(port: &IntOrString, path: &Path) -> ErrorList {
    match port {
        IntOrString::Int(number) => port_number(*number, path),
        IntOrString::String(name) => invalids(path, name, rules::is_valid_port_name(name)),
    }
}

// === Environment ===

fn env_name(name: &str, options: &PodOptions) -> Vec<String> {
    if options.relaxed_env_names {
        rules::is_relaxed_env_var_name(name)
    } else {
        rules::is_env_var_name(name)
    }
}

fn env(variables: &[EnvVar], path: &Path, options: &PodOptions) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, variable) in variables.iter().enumerate() {
        let path = path.index(i);
        let name_path = path.child("name");
        if variable.name.is_empty() {
            errors.push(field::required(&name_path, ""));
        } else {
            errors.extend(invalids(
                &name_path,
                &variable.name,
                env_name(&variable.name, options),
            ));
        }
        if let Some(source) = &variable.value_from {
            errors.extend(value_from(
                source,
                &variable.value,
                &path.child("valueFrom"),
                options,
            ));
        }
    }
    errors
}

fn value_from(source: &EnvVarSource, value: &str, path: &Path, options: &PodOptions) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut count = 0;
    if let Some(field_ref) = &source.field_ref {
        count += 1;
        errors.extend(field_selector(
            field_ref,
            &ENV_PATHS,
            &path.child("fieldRef"),
        ));
    }
    if let Some(resource) = &source.resource_field_ref {
        count += 1;
        errors.extend(resource_field_selector(
            resource,
            &path.child("resourceFieldRef"),
            false,
        ));
    }
    if let Some(key) = &source.config_map_key_ref {
        count += 1;
        let name = &key.local_object_reference.name;
        errors.extend(key_selector(name, &key.key, &path.child("configMapKeyRef")));
    }
    if let Some(key) = &source.secret_key_ref {
        count += 1;
        let name = &key.local_object_reference.name;
        errors.extend(key_selector(name, &key.key, &path.child("secretKeyRef")));
    }
    if let Some(key) = &source.file_key_ref {
        count += 1;
        errors.extend(file_key_selector(key, &path.child("fileKeyRef")));
    }
    if count == 0 {
        let detail = if options.env_files {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        } else {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        };
        errors.push(field::invalid(path, "", detail));
    } else if !value.is_empty() {
        errors.push(field::invalid(
            path,
            "",
            "may not be specified when `value` is not empty",
        ));
    } else if count > 1 {
        errors.push(field::invalid(
            path,
            "",
            "may not have more than one field specified at a time",
        ));
    }
    errors
}

/// `metadata.labels['key']` as its path and its key.
fn split_subscript(text: &str) -> Option<(&str, &str)> {
    let (path, subscript) = text.strip_suffix("']")?.split_once("['")?;
    (!path.is_empty()).then_some((path, subscript))
}

/// A field of the pod that its containers may see. `known` is sorted.
pub(super) fn field_selector(
    selector: &ObjectFieldSelector,
    known: &[&str],
    path: &Path,
) -> ErrorList {
    const LABELS: [&str; 15] = [
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.serviceAccountName",
        "spec.schedulerName",
        "status.phase",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
        "spec.host",
    ];
    if selector.api_version.is_empty() {
        return field::required(&path.child("apiVersion"), "").into();
    }
    let text = selector.field_path.as_str();
    let field_path = path.child("fieldPath");
    if text.is_empty() {
        return field::required(&field_path, "").into();
    }
    let cannot = |problem: String| -> ErrorList {
        field::invalid(
            &field_path,
            text,
            format!("error converting fieldPath: {problem}"),
        )
        .into()
    };
    if selector.api_version != "v1" {
        return cannot(format!("unsupported pod version: {}", selector.api_version));
    }
    if let Some((base, subscript)) = split_subscript(text) {
        return match base {
            "metadata.annotations" => qualified_name(&subscript.to_lowercase(), path),
            "metadata.labels" => qualified_name(subscript, path),
            _ => cannot(format!("field label does not support subscript: {text}")),
        };
    }
    if !LABELS.contains(&text) {
        return cannot(format!("field label not supported: {text}"));
    }
    let internal = if text == "spec.host" {
        "spec.nodeName"
    } else {
        text
    };
    one_of(internal, known, &field_path)
}

/// A container's request or limit that containers may see.
pub(super) fn resource_field_selector(
    selector: &ResourceFieldSelector,
    path: &Path,
    volume: bool,
) -> ErrorList {
    let resource = selector.resource.as_str();
    let huge_pages =
        resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
    let mut errors = ErrorList::new();
    if volume && selector.container_name.is_empty() {
        errors.push(field::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(field::required(&path.child("resource"), ""));
    } else if !huge_pages {
        errors.extend(one_of(resource, &RESOURCE_PATHS, &path.child("resource")));
    }
    errors.extend(divisor(resource, huge_pages, &selector.divisor, path));
    errors
}

fn divisor(resource: &str, huge_pages: bool, divisor: &Quantity, path: &Path) -> ErrorList {
    const BYTES: [&str; 13] = [
        "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    if divisor.is_zero() {
        return ErrorList::new();
    }
    let text = divisor.to_string();
    let bytes = |what: &str| {
        format!(
            "only divisor's values {} are supported with the {what} resource",
            BYTES.join(", ")
        )
    };
    let detail = match resource {
        "limits.cpu" | "requests.cpu" if !["1m", "1"].contains(&text.as_str()) => {
            "only divisor's values 1m and 1 are supported with the cpu resource".to_owned()
        }
        "limits.cpu" | "requests.cpu" => return ErrorList::new(),
        _ if BYTES.contains(&text.as_str()) => return ErrorList::new(),
        "limits.memory" | "requests.memory" => bytes("memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            bytes("local ephemeral storage")
        }
        _ if huge_pages => bytes("hugepages"),
        _ => return ErrorList::new(),
    };
    field::invalid(&path.child("divisor"), resource, detail).into()
}

fn key_selector(name: &str, key: &str, path: &Path) -> ErrorList {
    let mut errors = dns_subdomain(name, &path.child("name"));
    let key_path = path.child("key");
    if key.is_empty() {
        errors.push(field::required(&key_path, ""));
    } else {
        errors.extend(invalids(&key_path, key, rules::is_config_map_key(key)));
    }
    errors
}

fn file_key_selector(selector: &FileKeySelector, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (key, volume, file) = (&selector.key, &selector.volume_name, &selector.path);
    if key.is_empty() {
        errors.push(field::required(&path.child("key"), ""));
    } else {
        errors.extend(invalids(
            &path.child("key"),
            key,
            rules::is_relaxed_env_var_name(key),
        ));
    }
    if volume.is_empty() {
        errors.push(field::required(&path.child("volumeName"), ""));
    } else {
        errors.extend(dns_label(volume, &path.child("volumeName")));
    }
    if file.is_empty() {
        errors.push(field::required(&path.child("path"), ""));
    } else {
        errors.extend(no_backsteps(file, &path.child("path")));
    }
    errors
}

fn env_from(sources: &[EnvFromSource], path: &Path, options: &PodOptions) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, source) in sources.iter().enumerate() {
        let own = path.index(i);
        if !source.prefix.is_empty() {
            let problems = env_name(&source.prefix, options);
            errors.extend(invalids(&own.child("prefix"), &source.prefix, problems));
        }
        let mut count = 0;
        let mut named = |name: &str, child: &'static str, errors: &mut ErrorList| {
            count += 1;
            let path = own.child(child).child("name");
            if name.is_empty() {
                errors.push(field::required(&path, ""));
            } else {
                errors.extend(invalids(
                    &path,
                    name,
                    rules::name_is_dns_subdomain(name, true),
                ));
            }
        };
        if let Some(config_map) = &source.config_map_ref {
            named(
                &config_map.local_object_reference.name,
                "configMapRef",
                &mut errors,
            );
        }
        if let Some(secret) = &source.secret_ref {
            named(
                &secret.local_object_reference.name,
                "secretRef",
                &mut errors,
            );
        }
        if count == 0 {
            let detail = "must specify one of: `configMapRef` or `secretRef`";
            errors.push(field::invalid(path, "", detail));
        } else if count > 1 {
            let detail = "may not have more than one field specified at a time";
            errors.push(field::invalid(path, "", detail));
        }
    }
    errors
}

// === Mounts and devices ===

fn volume_mounts(container: &Container, volumes: &Volumes<'_>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let devices: BTreeMap<&str, &str> = container
        .volume_devices
        .iter()
        .map(|device| (device.name.as_str(), device.device_path.as_str()))
        .collect();
    let device_paths: HashSet<&str> = devices.values().copied().collect();
    let mut targets = BTreeSet::new();
    for (i, mount) in container.volume_mounts.iter().enumerate() {
        let own = path.index(i);
        let (name, target) = (own.child("name"), own.child("mountPath"));
        if mount.name.is_empty() {
            errors.push(field::required(&name, ""));
        }
        if !volumes.contains_key(mount.name.as_str()) {
            errors.push(field::not_found(&name, &mount.name));
        }
        if mount.mount_path.is_empty() {
            errors.push(field::required(&target, ""));
        }
        if !targets.insert(&mount.mount_path) {
            errors.push(field::invalid(&target, &mount.mount_path, "must be unique"));
        }
        if devices.contains_key(mount.name.as_str()) {
            errors.push(field::invalid(
                &name,
                &mount.name,
                "must not already exist in volumeDevices",
            ));
        }
        if device_paths.contains(mount.mount_path.as_str()) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.push(field::invalid(&target, &mount.mount_path, detail));
        }
        if !mount.sub_path.is_empty() {
            errors.extend(local_descending_path(
                &mount.sub_path,
                &path.child("subPath"),
            ));
        }
        if !mount.sub_path_expr.is_empty() {
            if !mount.sub_path.is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.push(field::invalid(
                    &own.child("subPathExpr"),
                    &mount.sub_path_expr,
                    detail,
                ));
            }
            errors.extend(local_descending_path(
                &mount.sub_path_expr,
                &path.child("subPathExpr"),
            ));
        }
        if let Some(propagation) = &mount.mount_propagation {
            let path = path.child("mountPropagation");
            errors.extend(one_of(
                propagation,
                &["Bidirectional", "HostToContainer", "None"],
                &path,
            ));
            let context = container.security_context.as_ref();
            let privileged = context.is_some_and(|context| context.privileged == Some(true));
            if propagation == "Bidirectional" && !privileged {
                let detail =
                    "Bidirectional mount propagation is available only to privileged containers";
                errors.push(field::forbidden(&path, detail));
            }
        }
        errors.extend(recursive_read_only(mount, &path.child("recursiveReadOnly")));
    }
    errors
}

fn recursive_read_only(mount: &VolumeMount, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.read_only {
                errors.push(field::forbidden(
                    path,
                    "may only be specified when readOnly is true",
                ));
            }
            if mount
                .mount_propagation
                .as_deref()
                .is_some_and(|mode| mode != "None")
            {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(field::forbidden(path, detail));
            }
        }
        Some(other) => errors.extend(one_of(other, &["Disabled", "Enabled", "IfPossible"], path)),
    }
    errors
}

fn volume_devices(container: &Container, volumes: &Volumes<'_>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mounts: BTreeMap<&str, &str> = container
        .volume_mounts
        .iter()
        .map(|mount| (mount.name.as_str(), mount.mount_path.as_str()))
        .collect();
    let mount_paths: HashSet<&str> = mounts.values().copied().collect();
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in container.volume_devices.iter().enumerate() {
        let (name, target) = (device.name.as_str(), device.device_path.as_str());
        let own = path.index(i);
        let (name_path, target_path) = (own.child("name"), own.child("devicePath"));
        if name.is_empty() {
            errors.push(field::required(&name_path, ""));
        }
        if names.contains(name) {
            errors.push(field::invalid(&name_path, name, "must be unique"));
        }
        match volumes.get(name) {
            None => errors.push(field::not_found(&name_path, name)),
            Some(source)
                if source.persistent_volume_claim.is_none() && source.ephemeral.is_none() =>
            {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(field::invalid(&name_path, name, detail));
            }
            Some(_) => {}
        }
        if target.is_empty() {
            errors.push(field::required(&target_path, ""));
        }
        if paths.contains(target) {
            errors.push(field::invalid(&target_path, target, "must be unique"));
        }
        if !target.is_empty() && !no_backsteps(target, &target_path).is_empty() {
            errors.push(field::invalid(
                &target_path,
                target,
                "can not contain backsteps ('..')",
            ));
        } else {
            paths.insert(target);
        }
        if mounts.contains_key(name) {
            errors.push(field::invalid(
                &name_path,
                name,
                "must not already exist in volumeMounts",
            ));
        }
        if mount_paths.contains(target) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.push(field::invalid(&target_path, target, detail));
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
    errors
}

// === Probes and hooks ===

const MORE_HANDLERS: &str = "may not specify more than 1 handler type";

fn probe(probe: &Probe, _: &PodView<'_>, path: &Path) -> ErrorList {
    let mut choice = Choice::new(path, MORE_HANDLERS);
    let handler = &probe.probe_handler;
    choice.alternative(&handler.exec, "exec", "exec", exec);
    choice.alternative(&handler.http_get, "httpGet", "httpGet", http_get);
    choice.alternative(
        &handler.tcp_socket,
        "tcpSocket",
        "tcpSocket",
        |tcp, path| port_number_or_name(&tcp.port, &path.child("port")),
    );
    choice.alternative(&handler.grpc, "grpc", "grpc", |grpc, path| {
        port_number(grpc.port, &path.child("port"))
    });
    if !choice.made {
        choice
            .errors
            .push(field::required(path, "must specify a handler type"));
    }
    let mut errors = choice.errors;
    for (value, child) in [
        (probe.initial_delay_seconds, "initialDelaySeconds"),
        (probe.timeout_seconds, "timeoutSeconds"),
        (probe.period_seconds, "periodSeconds"),
        (probe.success_threshold, "successThreshold"),
        (probe.failure_threshold, "failureThreshold"),
    ] {
        errors.extend(nonnegative(value.into(), &path.child(child)));
    }
    if let Some(seconds) = probe.termination_grace_period_seconds
        && seconds <= 0
    {
        let path = path.child("terminationGracePeriodSeconds");
        errors.push(field::invalid(&path, seconds, "must be greater than 0"));
    }
    errors
}

fn exec(action: &ExecAction, path: &Path) -> ErrorList {
    if action.command.is_empty() {
        field::required(&path.child("command"), "").into()
    } else {
        ErrorList::new()
    }
}

fn http_get(action: &HTTPGetAction, path: &Path) -> ErrorList {
    let mut errors = super::volumes::required(&action.path, path, "path");
    errors.extend(port_number_or_name(&action.port, &path.child("port")));
    errors.extend(one_of(
        &action.scheme,
        &["HTTP", "HTTPS"],
        &path.child("scheme"),
    ));
    for header in &action.http_headers {
        let problems = rules::is_http_header_name(&header.name);
        errors.extend(invalids(&path.child("httpHeaders"), &header.name, problems));
    }
    errors
}

fn hook(hook: &LifecycleHandler, pod: &PodView<'_>, path: &Path) -> ErrorList {
    let mut choice = Choice::new(path, MORE_HANDLERS);
    choice.alternative(&hook.exec, "exec", "exec", exec);
    choice.alternative(&hook.http_get, "httpGet", "httpGet", http_get);
    choice.alternative(&hook.tcp_socket, "tcpSocket", "tcpSocket", |tcp, path| {
        port_number_or_name(&tcp.port, &path.child("port"))
    });
    choice.alternative(&hook.sleep, "sleep", "sleep", |sleep, path| {
        let Some(grace) = pod.grace_period else { return ErrorList::new() };
        let zero_fails = !pod.options.sleep_zero && sleep.seconds == 0;
        if sleep.seconds >= 0 && sleep.seconds <= grace && !zero_fails {
            return ErrorList::new();
        }
        let detail = if pod.options.sleep_zero {
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})")
        } else {
            format!(
                "must be greater than 0 and less than terminationGracePeriodSeconds ({grace}). Enable AllowPodLifecycleSleepActionZeroValue feature gate for zero sleep."
            )
        };
        field::invalid(path, sleep.seconds, detail).into()
    });
    if !choice.made {
        choice
            .errors
            .push(field::required(path, "must specify a handler type"));
    }
    choice.errors
}

fn lifecycle(hooks: &Lifecycle, pod: &PodView<'_>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(post_start) = &hooks.post_start {
        errors.extend(hook(post_start, pod, &path.child("postStart")));
    }
    if let Some(pre_stop) = &hooks.pre_stop {
        errors.extend(hook(pre_stop, pod, &path.child("preStop")));
    }
    if let Some(signal) = &hooks.stop_signal {
        let path = path.child("stopSignal");
        match pod.os.map(|os| os.name.as_str()) {
            None => errors.push(field::forbidden(
                &path,
                "may not be set for containers with empty `spec.os.name`",
            )),
            Some("windows") => errors.extend(one_of(signal, &["SIGKILL", "SIGTERM"], &path)),
            Some("linux") => {
                let signals = linux_signals();
                let signals: Vec<&str> = signals.iter().map(String::as_str).collect();
                errors.extend(one_of(signal, &signals, &path));
            }
            Some(_) => {}
        }
    }
    errors
}

/// Every signal that Linux containers can be stopped with, sorted.
fn linux_signals() -> Vec<String> {
    let plain = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS \
        TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX";
    let mut signals: Vec<String> = plain
        .split_whitespace()
        .map(|name| format!("SIG{name}"))
        .collect();
    signals.extend((1..=15).map(|offset| format!("SIGRTMIN+{offset}")));
    signals.extend((1..=14).map(|offset| format!("SIGRTMAX-{offset}")));
    signals.sort();
    signals
}
