//! The spec of a pod or of a template, but for its containers and volumes. Upstream: ValidatePodSpec in pkg/apis/core/validation.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use api_types::core::v1::*;
use api_types::meta::v1::{LabelSelector, ObjectMeta};
use apimachinery::resource::{
    PodResourcesOptions, aggregate_container_limits, aggregate_container_requests,
    is_huge_page_resource_name,
};

use super::containers::{
    PodView, validate_containers, validate_ephemeral_containers, validate_init_containers,
};
use super::pod_options::PodOptions;
use super::pods::{MIRROR, containers};
use super::resources::{container_requirements, pod_requirements};
use super::*;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks a spec. `metadata` is the pod's, none for templates.
pub fn validate_pod_spec(
    spec: &PodSpec,
    metadata: Option<&ObjectMeta>,
    path: &Path,
    options: &PodOptions,
) -> ErrorList {
    let mut errors = ErrorList::new();
    if spec.termination_grace_period_seconds.is_none() {
        errors.push(field::required(
            &path.child("terminationGracePeriodSeconds"),
            "",
        ));
    }
    let (volumes, volume_errors) =
        super::volumes::validate_volumes(&spec.volumes, metadata, &path.child("volumes"), options);
    errors.extend(volume_errors);
    let claims: BTreeSet<&str> = spec
        .resource_claims
        .iter()
        .map(|claim| claim.name.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    errors.extend(resource_claims(
        &spec.resource_claims,
        metadata,
        &path.child("resourceClaims"),
    ));
    let view = PodView {
        volumes: &volumes,
        claims: &claims,
        restart_policy: &spec.restart_policy,
        grace_period: spec.termination_grace_period_seconds,
        os: spec.os.as_deref(),
        host_users: spec.host_users != Some(false),
        options,
    };
    errors.extend(validate_containers(
        &spec.containers,
        &view,
        &path.child("containers"),
    ));
    let init_path = path.child("initContainers");
    errors.extend(validate_init_containers(
        &spec.init_containers,
        &spec.containers,
        &view,
        &init_path,
    ));
    let ephemeral_path = path.child("ephemeralContainers");
    errors.extend(validate_ephemeral_containers(
        &spec.ephemeral_containers,
        spec,
        &view,
        &ephemeral_path,
    ));
    if options.pod_level_resources {
        errors.extend(pod_resources(spec, &claims, path, options));
    }
    errors.extend(host_network_ports(spec, path, options));
    let restart_path = path.child("restartPolicy");
    errors.extend(required_one_of(
        &spec.restart_policy,
        &["Always", "OnFailure", "Never"],
        &restart_path,
    ));
    let dns_policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    errors.extend(required_one_of(
        &spec.dns_policy,
        &dns_policies,
        &path.child("dnsPolicy"),
    ));
    errors.extend(rules::validate_labels(
        &spec.node_selector,
        &path.child("nodeSelector"),
    ));
    errors.extend(super::security::pod_security_context(
        spec,
        &path.child("securityContext"),
        options,
    ));
    if let Some(affinity) = &spec.affinity {
        errors.extend(validate_affinity(
            affinity,
            options,
            &path.child("affinity"),
        ));
    }
    errors.extend(dns_config(spec, &path.child("dnsConfig"), options));
    for (i, gate) in spec.readiness_gates.iter().enumerate() {
        let path = path.child("readinessGates").index(i).child("conditionType");
        errors.extend(qualified_name(&gate.condition_type, &path));
    }
    errors.extend(scheduling_gates(
        &spec.scheduling_gates,
        &path.child("schedulingGates"),
    ));
    let spread_path = path.child("topologySpreadConstraints");
    errors.extend(topology_spread(
        &spec.topology_spread_constraints,
        &spread_path,
        options,
    ));
    errors.extend(super::security::host_process(spec, path));
    errors.extend(host_users(spec, path, options));
    errors.extend(hostname_override(spec, path));
    if !spec.service_account_name.is_empty() {
        errors.extend(dns_subdomain(
            &spec.service_account_name,
            &path.child("serviceAccountName"),
        ));
    }
    if !spec.node_name.is_empty() {
        errors.extend(dns_subdomain(&spec.node_name, &path.child("nodeName")));
    }
    if let Some(seconds) = spec.active_deadline_seconds {
        let max = i64::from(i32::MAX);
        if !(1..=max).contains(&seconds) {
            let detail = rules::inclusive_range_error(1, max);
            errors.push(field::invalid(
                &path.child("activeDeadlineSeconds"),
                seconds,
                detail,
            ));
        }
    }
    if !spec.hostname.is_empty() {
        errors.extend(dns_label(&spec.hostname, &path.child("hostname")));
    }
    if !spec.subdomain.is_empty() {
        errors.extend(dns_label(&spec.subdomain, &path.child("subdomain")));
    }
    errors.extend(validate_tolerations(
        &spec.tolerations,
        &path.child("tolerations"),
        options,
    ));
    for (i, alias) in spec.host_aliases.iter().enumerate() {
        let path = path.child("hostAliases").index(i);
        errors.extend(legacy_ip(&path.child("ip"), &alias.ip, &Known::new()));
        for (j, name) in alias.hostnames.iter().enumerate() {
            errors.extend(dns_subdomain(name, &path.child("hostnames").index(j)));
        }
    }
    if !spec.priority_class_name.is_empty() {
        errors.extend(dns_subdomain(
            &spec.priority_class_name,
            &path.child("priorityClassName"),
        ));
    }
    if let Some(name) = &spec.runtime_class_name {
        errors.extend(dns_subdomain(name, &path.child("runtimeClassName")));
    }
    if let Some(policy) = &spec.preemption_policy {
        errors.extend(preemption_policy(policy, &path.child("preemptionPolicy")));
    }
    if !spec.overhead.is_empty() {
        let overhead = ResourceRequirements {
            limits: spec.overhead.clone(),
            ..ResourceRequirements::default()
        };
        errors.extend(container_requirements(
            &overhead,
            &BTreeSet::new(),
            &path.child("overhead"),
            options,
        ));
    }
    if let Some(os) = &spec.os {
        let os_path = path.child("os");
        match os.name.as_str() {
            "" => errors.push(field::required(&os_path.child("name"), "")),
            "linux" => errors.extend(super::security::linux(spec, path)),
            "windows" => errors.extend(super::security::windows(spec, path)),
            other => errors.push(field::not_supported(&os_path, other, &["linux", "windows"])),
        }
    }
    if let Some(group) = &spec.scheduling_group {
        let path = path.child("schedulingGroup").child("podGroupName");
        match &group.pod_group_name {
            None => {
                let missing = Option::<&str>::None;
                errors.push(field::invalid(
                    &path,
                    missing,
                    "must specify one of: `podGroupName`",
                ));
            }
            Some(name) => errors.extend(dns_subdomain(name, &path)),
        }
    }
    errors.extend(file_key_volumes(spec, path));
    errors
}

/// Whether pods of a priority preempt others.
pub(super) fn preemption_policy(policy: &str, path: &Path) -> ErrorList {
    required_one_of(policy, &["PreemptLowerPriority", "Never"], path)
}

fn resource_claims(
    claims: &[PodResourceClaim],
    metadata: Option<&ObjectMeta>,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut names = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        if metadata.is_some_and(|metadata| metadata.annotations.contains_key(MIRROR)) {
            let detail = "static pods do not support resource claims";
            errors.push(field::forbidden(&Path::new(""), detail));
            continue;
        }
        let path = path.index(i);
        let name_path = path.child("name");
        if claim.name.is_empty() {
            errors.push(field::required(&name_path, ""));
        } else if names.insert(&claim.name) {
            errors.extend(dns_label(&claim.name, &name_path));
        } else {
            errors.push(field::duplicate(&name_path, &claim.name));
        }
        let (name, template) = (
            &claim.resource_claim_name,
            &claim.resource_claim_template_name,
        );
        if name.is_some() && template.is_some() {
            let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
            errors.push(field::invalid(&path, go_value::bad_value(claim), detail));
        }
        if name.is_none() && template.is_none() {
            let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
            errors.push(field::invalid(&path, go_value::bad_value(claim), detail));
        }
        if let Some(name) = name {
            errors.extend(dns_subdomain(name, &path.child("resourceClaimName")));
        }
        if let Some(template) = template {
            errors.extend(dns_subdomain(
                template,
                &path.child("resourceClaimTemplateName"),
            ));
        }
    }
    errors
}

fn pod_resources(
    spec: &PodSpec,
    claims: &BTreeSet<&str>,
    path: &Path,
    options: &PodOptions,
) -> ErrorList {
    let Some(resources) = &spec.resources else {
        return ErrorList::new();
    };
    let path = path.child("resources");
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return field::forbidden(&path, "may not be set for a windows pod").into();
    }
    let mut errors = ErrorList::new();
    if !resources.claims.is_empty() {
        let detail = "claims may not be set for Resources at pod-level";
        errors.push(field::forbidden(&path.child("claims"), detail));
    }
    errors.extend(pod_requirements(resources, claims, &path, options));
    let pod = Pod {
        spec: spec.clone(),
        ..Pod::default()
    };
    for (name, total) in
        aggregate_container_requests(&pod, &PodResourcesOptions::default(), &mut |_, _| {})
    {
        if let Some(own) = resources.requests.get(&name)
            && total > *own
        {
            let detail =
                format!("must be greater than or equal to aggregate container requests of {total}");
            let path = path.child("requests").key(name.as_str());
            errors.push(field::invalid(&path, own.to_string(), detail));
        }
    }
    for (name, total) in
        aggregate_container_limits(&pod, &PodResourcesOptions::default(), &mut |_, _| {})
    {
        if let Some(own) = resources.limits.get(&name)
            && is_huge_page_resource_name(&name)
            && total > *own
        {
            let detail =
                format!("must be greater than or equal to aggregate container limits of {total}");
            let path = path.child("limits").key(name.as_str());
            errors.push(field::invalid(&path, own.to_string(), detail));
        }
    }
    for (i, container) in spec.containers.iter().enumerate() {
        for (name, limit) in &container.resources.limits {
            if let Some(own) = resources.limits.get(name)
                && limit > own
            {
                let path = path
                    .child("containers")
                    .index(i)
                    .key(name.as_str())
                    .child("limits");
                let detail = format!("must be less than or equal to pod limits of {own}");
                errors.push(field::invalid(&path, limit.to_string(), detail));
            }
        }
    }
    errors
}

fn host_network_ports(spec: &PodSpec, path: &Path, options: &PodOptions) -> ErrorList {
    let mut errors = ErrorList::new();
    if !spec.host_network {
        return errors;
    }
    for (i, container) in spec.containers.iter().enumerate() {
        for (j, port) in container.ports.iter().enumerate() {
            let counts = options.resource_is_pod || port.host_port != 0;
            if counts && port.host_port != port.container_port {
                let path = path
                    .child("containers")
                    .index(i)
                    .child("ports")
                    .index(j)
                    .child("hostPort");
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(field::invalid(&path, port.host_port, detail));
            }
        }
    }
    errors
}

fn dns_config(spec: &PodSpec, path: &Path, options: &PodOptions) -> ErrorList {
    let mut errors = ErrorList::new();
    let none = spec.dns_policy == "None";
    let Some(config) = &spec.dns_config else {
        if none {
            let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(field::required(path, detail));
        }
        return errors;
    };
    let servers_path = path.child("nameservers");
    if none && config.nameservers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        return field::required(&servers_path, detail).into();
    }
    if config.nameservers.len() > 3 {
        let detail = "must not have more than 3 nameservers";
        errors.push(field::invalid(&servers_path, &config.nameservers, detail));
    }
    for (i, server) in config.nameservers.iter().enumerate() {
        errors.extend(legacy_ip(&servers_path.index(i), server, &Known::new()));
    }
    let searches_path = path.child("searches");
    if config.searches.len() > 32 {
        let detail = "must not have more than 32 search paths";
        errors.push(field::invalid(&searches_path, &config.searches, detail));
    }
    if config.searches.join(" ").len() > 2048 {
        let detail =
            "must not have more than 2048 characters (including spaces) in the search list";
        errors.push(field::invalid(&searches_path, &config.searches, detail));
    }
    for (i, search) in config.searches.iter().enumerate() {
        let path = searches_path.index(i);
        let name = search.strip_suffix('.').unwrap_or(search);
        if !options.relaxed_dns_search {
            errors.extend(dns_subdomain(name, &path));
        } else if search != "." {
            errors.extend(invalids(
                &path,
                name,
                rules::is_dns1123_subdomain_with_underscore(name),
            ));
        }
    }
    for (i, option) in config.options.iter().enumerate() {
        if option.name.is_empty() {
            errors.push(field::required(
                &path.child("options").index(i),
                "must not be empty",
            ));
        }
    }
    errors
}

fn scheduling_gates(gates: &[PodSchedulingGate], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, gate) in gates.iter().enumerate() {
        errors.extend(qualified_name(&gate.name, &path.index(i)));
        if !seen.insert(&gate.name) {
            errors.push(field::duplicate(&path.index(i), &gate.name));
        }
    }
    errors
}

fn host_users(spec: &PodSpec, path: &Path, options: &PodOptions) -> ErrorList {
    const DETAIL: &str = "when `hostUsers` is false";
    let mut errors = ErrorList::new();
    if spec.host_users != Some(false) {
        return errors;
    }
    if spec.host_network && !options.allow_user_namespaces_with_host_network {
        errors.push(field::forbidden(&path.child("hostNetwork"), DETAIL));
    }
    if spec.host_pid {
        errors.push(field::forbidden(&path.child("HostPID"), DETAIL));
    }
    if spec.host_ipc {
        errors.push(field::forbidden(&path.child("HostIPC"), DETAIL));
    }
    if !options.allow_user_namespaces_with_volume_devices {
        for (container, path) in containers(spec, path) {
            if !container.volume_devices.is_empty() {
                errors.push(field::forbidden(&path.child("volumeDevices"), DETAIL));
            }
        }
    }
    errors
}

fn hostname_override(spec: &PodSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(name) = &spec.hostname_override else {
        return errors;
    };
    let path = path.child("hostnameOverride");
    if spec.set_hostname_as_fqdn == Some(true) {
        let detail = "may not be specified when setHostnameAsFQDN is true";
        errors.push(field::forbidden(&path, detail));
    }
    if spec.host_network {
        errors.push(field::forbidden(
            &path,
            "may not be specified when hostNetwork is true",
        ));
    }
    if name.len() > 64 {
        errors.push(field::too_long(&path, 64));
    }
    errors.extend(dns_subdomain(name, &path));
    errors
}

fn file_key_volumes(spec: &PodSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let sources: BTreeMap<&str, &VolumeSource> = spec
        .volumes
        .iter()
        .map(|volume| (volume.name.as_str(), &volume.volume_source))
        .collect();
    for (container, path) in containers(spec, path) {
        for (i, env) in container.env.iter().enumerate() {
            let Some(key) = env
                .value_from
                .as_ref()
                .and_then(|source| source.file_key_ref.as_ref())
            else {
                continue;
            };
            let path = path
                .child("env")
                .index(i)
                .child("valueFrom")
                .child("fileKeyRef")
                .child("volumeName");
            match sources.get(key.volume_name.as_str()) {
                None => errors.push(field::not_found(&path, &key.volume_name)),
                Some(source) if source.empty_dir.is_none() => {
                    let detail = "referenced volume must be of type emptyDir";
                    errors.push(field::invalid(&path, &key.volume_name, detail));
                }
                Some(_) => {}
            }
        }
    }
    errors
}

// === Tolerations ===

/// The effect of a taint or toleration.
pub(super) fn taint_effect(effect: &str, path: &Path) -> ErrorList {
    one_of(effect, &EFFECTS, path)
}

pub fn validate_tolerations(
    tolerations: &[Toleration],
    path: &Path,
    options: &PodOptions,
) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, toleration) in tolerations.iter().enumerate() {
        let path = path.index(i);
        let operator_path = path.child("operator");
        let (operator, value) = (toleration.operator.as_str(), toleration.value.as_str());
        if !toleration.key.is_empty() {
            errors.extend(rules::validate_label_name(
                &toleration.key,
                &path.child("key"),
            ));
        }
        if toleration.key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(field::invalid(&operator_path, operator, detail));
        }
        if toleration.toleration_seconds.is_some() && toleration.effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(field::invalid(
                &path.child("effect"),
                &toleration.effect,
                detail,
            ));
        }
        match operator {
            "Equal" | "" => {
                let problems = rules::is_label_value(value);
                if !problems.is_empty() {
                    errors.push(field::invalid(&operator_path, value, problems.join(";")));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let detail = "value must be empty when `operator` is 'Exists'";
                    errors.push(field::invalid(&operator_path, value, detail));
                }
            }
            "Lt" | "Gt" if options.toleration_comparison => {
                let path = path.child("value");
                errors.extend(invalids(&path, value, rules::is_decimal_integer(value)));
                if let Err(problem) = go_parse_int(value) {
                    errors.push(field::invalid(&path, value, problem));
                }
            }
            "Lt" | "Gt" => {
                errors.push(field::not_supported(
                    &operator_path,
                    operator,
                    &["Equal", "Exists", "Lt", "Gt"],
                ));
            }
            _ => errors.push(field::not_supported(
                &operator_path,
                operator,
                &["Equal", "Exists"],
            )),
        }
        if !toleration.effect.is_empty() {
            errors.extend(taint_effect(&toleration.effect, &path.child("effect")));
        }
    }
    errors
}

/// Go's strconv.ParseInt for 64 bits, with its error text.
fn go_parse_int(text: &str) -> Result<i64, String> {
    text.parse::<i64>().map_err(|error| {
        let reason = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                "value out of range"
            }
            _ => "invalid syntax",
        };
        format!(
            "strconv.ParseInt: parsing {}: {reason}",
            apimachinery::quote::quote(text)
        )
    })
}

// === Affinity ===

fn validate_affinity(affinity: &Affinity, options: &PodOptions, path: &Path) -> ErrorList {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let mut errors = ErrorList::new();
    let keep_invalid = options.allow_invalid_label_value_in_selector;
    if let Some(node) = &affinity.node_affinity {
        let path = path.child("nodeAffinity");
        if let Some(selector) = &node.required_during_scheduling_ignored_during_execution {
            let keep_invalid = options.allow_invalid_label_value_in_node_affinity;
            errors.extend(node_selector(selector, keep_invalid, &path.child(REQUIRED)));
        }
        let preferred = &node.preferred_during_scheduling_ignored_during_execution;
        for (i, term) in preferred.iter().enumerate() {
            let path = path.child(PREFERRED).index(i);
            errors.extend(weight(term.weight, &path));
            errors.extend(node_selector_term(
                &term.preference,
                true,
                &path.child("preference"),
            ));
        }
    }
    let mut pods =
        |required: &[PodAffinityTerm], preferred: &[WeightedPodAffinityTerm], path: &Path| {
            for (i, term) in required.iter().enumerate() {
                errors.extend(affinity_term(
                    term,
                    keep_invalid,
                    &path.child(REQUIRED).index(i),
                ));
            }
            for (i, term) in preferred.iter().enumerate() {
                let path = path.child(PREFERRED).index(i);
                errors.extend(weight(term.weight, &path));
                let term_path = path.child("podAffinityTerm");
                errors.extend(affinity_term(
                    &term.pod_affinity_term,
                    keep_invalid,
                    &term_path,
                ));
            }
        };
    if let Some(affinity) = &affinity.pod_affinity {
        pods(
            &affinity.required_during_scheduling_ignored_during_execution,
            &affinity.preferred_during_scheduling_ignored_during_execution,
            &path.child("podAffinity"),
        );
    }
    if let Some(affinity) = &affinity.pod_anti_affinity {
        pods(
            &affinity.required_during_scheduling_ignored_during_execution,
            &affinity.preferred_during_scheduling_ignored_during_execution,
            &path.child("podAntiAffinity"),
        );
    }
    errors
}

fn weight(weight: i32, path: &Path) -> ErrorList {
    if (1..=100).contains(&weight) {
        return ErrorList::new();
    }
    field::invalid(&path.child("weight"), weight, "must be in the range 1-100").into()
}

fn affinity_term(term: &PodAffinityTerm, keep_invalid: bool, path: &Path) -> ErrorList {
    let mut errors = affinity_term_selector(term, keep_invalid, path);
    for name in &term.namespaces {
        errors.extend(dns_label(name, &path.child("namespace")));
    }
    let selector = term.label_selector.as_deref();
    errors.extend(match_label_keys(
        path,
        &term.match_label_keys,
        &term.mismatch_label_keys,
        selector,
    ));
    let key_path = path.child("topologyKey");
    if term.topology_key.is_empty() {
        errors.push(field::required(&key_path, "can not be empty"));
    }
    errors.extend(rules::validate_label_name(&term.topology_key, &key_path));
    errors
}

/// The two selectors of a term.
pub(super) fn affinity_term_selector(
    term: &PodAffinityTerm,
    keep_invalid: bool,
    path: &Path,
) -> ErrorList {
    let labels = term.label_selector.as_deref();
    let mut errors = label_selector_allowing(labels, keep_invalid, &path.child("labelSelector"));
    let namespaces = term.namespace_selector.as_deref();
    errors.extend(label_selector_allowing(
        namespaces,
        keep_invalid,
        &path.child("namespaceSelector"),
    ));
    errors
}

/// Label keys whose values the pod's labels give.
pub(super) fn match_label_keys(
    path: &Path,
    keys: &[String],
    mismatch_keys: &[String],
    selector: Option<&LabelSelector>,
) -> ErrorList {
    let keys_path = path.child("matchLabelKeys");
    let mut errors = label_keys(&keys_path, keys, selector);
    errors.extend(label_keys(
        &path.child("mismatchLabelKeys"),
        mismatch_keys,
        selector,
    ));
    if let Some(selector) = selector {
        let mut used: BTreeSet<&String> = selector.match_labels.keys().collect();
        let last: HashMap<&String, usize> = keys.iter().zip(0..).collect();
        for expression in &selector.match_expressions {
            let key = &expression.key;
            if let Some(&i) = last.get(key)
                && used.contains(key)
            {
                let detail = "exists in both matchLabelKeys and labelSelector";
                errors.push(field::invalid(&path.index(i), key, detail));
            }
            used.insert(key);
        }
    }
    let mismatches: HashSet<&String> = mismatch_keys.iter().collect();
    for (i, key) in keys.iter().enumerate() {
        if mismatches.contains(key) {
            let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.push(field::invalid(&keys_path.index(i), key, detail));
        }
    }
    errors
}

const NO_SELECTOR: &str = "must not be specified when labelSelector is not set";

fn label_keys(path: &Path, keys: &[String], selector: Option<&LabelSelector>) -> ErrorList {
    if keys.is_empty() {
        return ErrorList::new();
    }
    if selector.is_none() {
        return field::forbidden(path, NO_SELECTOR).into();
    }
    let named = keys.iter().enumerate();
    named
        .flat_map(|(i, key)| rules::validate_label_name(key, &path.index(i)))
        .collect()
}

/// The older form of [`match_label_keys`], for spread constraints.
pub(super) fn topology_match_label_keys(
    path: &Path,
    keys: &[String],
    selector: Option<&LabelSelector>,
) -> ErrorList {
    let mut errors = ErrorList::new();
    if keys.is_empty() {
        return errors;
    }
    let mut used = BTreeSet::new();
    match selector {
        None => errors.push(field::forbidden(path, NO_SELECTOR)),
        Some(selector) => {
            used.extend(selector.match_labels.keys());
            used.extend(
                selector
                    .match_expressions
                    .iter()
                    .map(|expression| &expression.key),
            );
        }
    }
    for (i, key) in keys.iter().enumerate() {
        errors.extend(rules::validate_label_name(key, &path.index(i)));
        if used.contains(key) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(field::invalid(&path.index(i), key, detail));
        }
    }
    errors
}

/// A selector of nodes.
pub fn node_selector(selector: &NodeSelector, keep_invalid: bool, path: &Path) -> ErrorList {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        return field::required(&path, "must have at least one node selector term").into();
    }
    let terms = selector.node_selector_terms.iter().enumerate();
    terms
        .flat_map(|(i, term)| node_selector_term(term, keep_invalid, &path.index(i)))
        .collect()
}

fn node_selector_term(term: &NodeSelectorTerm, keep_invalid: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, requirement) in term.match_expressions.iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        errors.extend(node_requirement(requirement, keep_invalid, &path));
    }
    for (i, requirement) in term.match_fields.iter().enumerate() {
        errors.extend(node_field_requirement(
            requirement,
            &path.child("matchFields").index(i),
        ));
    }
    errors
}

fn node_requirement(
    requirement: &NodeSelectorRequirement,
    keep_invalid: bool,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let values_path = path.child("values");
    let count = requirement.values.len();
    match requirement.operator.as_str() {
        "In" | "NotIn" if count == 0 => errors.push(field::required(
            &values_path,
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if count > 0 => errors.push(field::forbidden(
            &values_path,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "Gt" | "Lt" if count != 1 => errors.push(field::required(
            &values_path,
            "must be specified single value when `operator` is 'Lt' or 'Gt'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.push(field::invalid(
            &path.child("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    errors.extend(rules::validate_label_name(
        &requirement.key,
        &path.child("key"),
    ));
    if !keep_invalid {
        for (i, value) in requirement.values.iter().enumerate() {
            errors.extend(invalids(
                &values_path.index(i),
                value,
                rules::is_label_value(value),
            ));
        }
    }
    errors
}

fn node_field_requirement(requirement: &NodeSelectorRequirement, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    match requirement.operator.as_str() {
        "In" | "NotIn" if requirement.values.len() == 1 => {}
        "In" | "NotIn" => errors.push(field::required(
            &path.child("values"),
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        )),
        other => errors.push(field::invalid(
            &path.child("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    if requirement.key == "metadata.name" {
        for (i, value) in requirement.values.iter().enumerate() {
            errors.extend(dns_subdomain(value, &path.child("values").index(i)));
        }
    } else {
        let detail = "not a valid field selector key";
        errors.push(field::invalid(&path.child("key"), &requirement.key, detail));
    }
    errors
}

// === Topology spread ===

fn topology_spread(
    constraints: &[TopologySpreadConstraint],
    path: &Path,
    options: &PodOptions,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let last: HashMap<(&String, &String), usize> = constraints
        .iter()
        .map(|constraint| (&constraint.topology_key, &constraint.when_unsatisfiable))
        .zip(0..)
        .collect();
    for (i, constraint) in constraints.iter().enumerate() {
        let path = path.index(i);
        let (key, action) = (&constraint.topology_key, &constraint.when_unsatisfiable);
        errors.extend(positive(constraint.max_skew.into(), &path.child("maxSkew")));
        if key.is_empty() {
            errors.push(field::required(
                &path.child("topologyKey"),
                "can not be empty",
            ));
        }
        let action_path = path.child("whenUnsatisfiable");
        errors.extend(one_of(
            action,
            &["DoNotSchedule", "ScheduleAnyway"],
            &action_path,
        ));
        if last[&(key, action)] > i {
            let path = path.child("{topologyKey, whenUnsatisfiable}");
            errors.push(field::duplicate(&path, format!("{{{key}, {action}}}")));
        }
        if let Some(domains) = constraint.min_domains {
            let path = path.child("minDomains");
            errors.extend(positive(domains.into(), &path));
            if action != "DoNotSchedule" {
                let detail = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                );
                errors.push(field::invalid(&path, domains, detail));
            }
        }
        for (policy, child) in [
            (&constraint.node_affinity_policy, "nodeAffinityPolicy"),
            (&constraint.node_taints_policy, "nodeTaintsPolicy"),
        ] {
            if let Some(policy) = policy {
                errors.extend(one_of(policy, &["Honor", "Ignore"], &path.child(child)));
            }
        }
        let selector = constraint.label_selector.as_deref();
        let strict = options.spread_match_label_keys
            && if options.spread_selector_merge {
                !options.old_violates_match_label_keys
            } else {
                options.old_violates_legacy_match_label_keys
            };
        if strict {
            errors.extend(match_label_keys(
                &path,
                &constraint.match_label_keys,
                &[],
                selector,
            ));
        } else {
            let keys_path = path.child("matchLabelKeys");
            errors.extend(topology_match_label_keys(
                &keys_path,
                &constraint.match_label_keys,
                selector,
            ));
        }
        if !options.allow_invalid_spread_selector {
            errors.extend(label_selector(selector, &path.child("labelSelector")));
        }
    }
    errors
}
