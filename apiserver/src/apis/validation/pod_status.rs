//! What nodes and schedulers report of pods. Upstream: ValidatePodStatusUpdate in pkg/apis/core/validation.

use std::collections::{BTreeSet, HashMap, HashSet};

use api_types::core::v1::*;
use apimachinery::resource::is_native_resource;

use super::pods::update_options;
use super::*;

/// A changed status.
pub fn validate_pod_status_update(new: &Pod, old: &Pod) -> ErrorList {
    let options = update_options(new, old);
    let (status, before) = (&new.status, &old.status);
    let mut errors = object_meta_update(&new.metadata, &old.metadata);
    errors.extend(super::pods::status_annotations(new, old, &options));
    let path = Path::new("status");
    errors.extend(conditions(&status.conditions, &path.child("conditions")));
    if new.spec.node_name != old.spec.node_name {
        errors.push(field::forbidden(
            &path.child("nodeName"),
            "may not be changed directly",
        ));
    }
    let nominated = status.nominated_node_name.as_str();
    let nominated_path = path.child("nominatedNodeName");
    if nominated != before.nominated_node_name && !nominated.is_empty() {
        errors.extend(dns_subdomain(nominated, &nominated_path));
        if gates::enabled("ClearingNominatedNodeNameAfterBinding") && !old.spec.node_name.is_empty()
        {
            let detail = "may not be set on pods that are already bound to a node";
            errors.push(field::forbidden(&nominated_path, detail));
        }
    }
    if status.observed_generation < 0 {
        let detail = "must be a non-negative integer";
        errors.push(field::invalid(
            &path.child("observedGeneration"),
            status.observed_generation,
            detail,
        ));
    }
    errors.extend(rules::validate_immutable_field(
        &status.qos_class,
        &before.qos_class,
        &path.child("qosClass"),
    ));
    let lists = [
        (
            &status.container_statuses,
            &before.container_statuses,
            "containerStatuses",
        ),
        (
            &status.init_container_statuses,
            &before.init_container_statuses,
            "initContainerStatuses",
        ),
        (
            &status.ephemeral_container_statuses,
            &before.ephemeral_container_statuses,
            "ephemeralContainerStatuses",
        ),
    ];
    for (list, before, child) in lists {
        errors.extend(transitions(
            list,
            before,
            child,
            &old.spec,
            &options,
            &path.child(child),
        ));
    }
    errors.extend(claim_statuses(
        status,
        &new.spec,
        &path.child("resourceClaimStatuses"),
    ));
    errors.extend(extended_claim(
        status,
        &new.spec,
        &path.child("extendedResourceClaimStatus"),
    ));
    errors.extend(allocatable_claims(
        status,
        &new.spec,
        &path.child("nodeAllocatableResourceClaimStatuses"),
    ));
    errors.extend(pod_ips(status, before, &path.child("podIPs")));
    errors.extend(host_ips(status, before, &path.child("hostIPs")));
    let os = new.spec.os.as_ref().map_or("linux", |os| os.name.as_str());
    for (list, _, child) in lists {
        errors.extend(users(list, os, &path.child(child)));
    }
    for (list, containers, child) in [
        (
            &status.container_statuses,
            &new.spec.containers,
            "containerStatuses",
        ),
        (
            &status.init_container_statuses,
            &new.spec.init_containers,
            "initContainerStatuses",
        ),
    ] {
        errors.extend(allocated_resources(list, containers, &path.child(child)));
    }
    for (i, container) in status.ephemeral_container_statuses.iter().enumerate() {
        if !container.allocated_resources_status.is_empty() {
            let path = path
                .child("ephemeralContainerStatuses")
                .index(i)
                .child("allocatedResourcesStatus");
            errors.push(field::forbidden(
                &path,
                "must not be specified in container status",
            ));
        }
    }
    if options.image_volume_digest {
        for (list, _, child) in lists {
            errors.extend(volume_statuses(list, &path.child(child)));
        }
    }
    errors
}

fn conditions(conditions: &[PodCondition], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, condition) in conditions.iter().enumerate() {
        let path = path.index(i);
        if condition.observed_generation < 0 {
            let detail = "must be a non-negative integer";
            errors.push(field::invalid(
                &path.child("observedGeneration"),
                condition.observed_generation,
                detail,
            ));
        }
        if !matches!(
            condition.type_.as_str(),
            "PodScheduled" | "Ready" | "Initialized"
        ) {
            errors.extend(qualified_name(&condition.type_, &path.child("Type")));
        }
    }
    errors
}

/// Containers by their names. The first one counts where a name is there twice.
fn by_name<'a>(
    containers: impl DoubleEndedIterator<Item = &'a Container>,
) -> HashMap<&'a String, &'a Container> {
    containers
        .rev()
        .map(|container| (&container.name, container))
        .collect()
}

/// A container that ended does not run again unless its policies say so.
fn transitions(
    new: &[ContainerStatus],
    old: &[ContainerStatus],
    list: &str,
    spec: &PodSpec,
    options: &super::pod_options::PodOptions,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let containers = match list {
        "containerStatuses" => Some(&spec.containers),
        "initContainerStatuses" => Some(&spec.init_containers),
        _ => None,
    };
    if containers.is_some() && options.container_restart_rules && options.restart_all_containers {
        let mut all = spec.init_containers.iter().chain(&spec.containers);
        if all.any(|container| {
            container
                .restart_policy_rules
                .iter()
                .any(|rule| rule.action == "RestartAllContainers")
        }) {
            return errors;
        }
    }
    let containers = containers.map(|containers| by_name(containers.iter()));
    let running: HashSet<&String> = new
        .iter()
        .filter(|status| status.state.terminated.is_none())
        .map(|status| &status.name)
        .collect();
    for (i, before) in old.iter().enumerate() {
        let Some(terminated) = &before.state.terminated else {
            continue;
        };
        let code = terminated.exit_code;
        let runs_again = running.contains(&before.name);
        let allowed = match &containers {
            None => false,
            Some(containers) => {
                let container = containers.get(&before.name).copied();
                if options.container_restart_rules {
                    container.is_some_and(|container| should_restart(container, spec, code))
                } else {
                    let policy = spec.restart_policy.as_str();
                    let sidecar = list == "initContainerStatuses"
                        && container.is_some_and(|container| {
                            container.restart_policy.as_deref() == Some("Always")
                        });
                    policy == "Always" || code != 0 && policy == "OnFailure" || sidecar
                }
            }
        };
        if runs_again && !allowed {
            let detail = "may not be transitioned to non-terminated state";
            errors.push(field::forbidden(&path.index(i).child("state"), detail));
        }
    }
    errors
}

/// Whether the kubelet restarts a container that ended with a code.
fn should_restart(container: &Container, spec: &PodSpec, code: i32) -> bool {
    let by_policy = |policy: &str| match policy {
        "Always" => Some(true),
        "OnFailure" => Some(code != 0),
        "Never" => Some(false),
        _ => None,
    };
    if let Some(policy) = &container.restart_policy {
        let rule = container.restart_policy_rules.iter().find(|rule| {
            rule.exit_codes
                .as_ref()
                .is_some_and(|codes| match codes.operator.as_str() {
                    "In" => codes.values.contains(&code),
                    "NotIn" => !codes.values.contains(&code),
                    _ => false,
                })
        });
        match rule.map(|rule| rule.action.as_str()) {
            Some("Restart") => return true,
            Some("RestartAllContainers")
                if gates::enabled("RestartAllContainersOnContainerExits") =>
            {
                return true;
            }
            _ => {}
        }
        if let Some(restarts) = by_policy(policy) {
            return restarts;
        }
    }
    by_policy(&spec.restart_policy).unwrap_or(true)
}

fn claim_statuses(status: &PodStatus, spec: &PodSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut names = BTreeSet::new();
    let known: HashSet<&String> = spec.resource_claims.iter().map(|it| &it.name).collect();
    for (i, claim) in status.resource_claim_statuses.iter().enumerate() {
        let path = path.index(i);
        if !known.contains(&claim.name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(field::invalid(&path.child("name"), &claim.name, detail));
        }
        if !names.insert(&claim.name) {
            errors.push(field::duplicate(&path.child("name"), &claim.name));
        }
        if let Some(name) = &claim.resource_claim_name {
            errors.extend(dns_subdomain(name, &path.child("resourceClaimName")));
        }
    }
    errors
}

fn allocatable_claims(status: &PodStatus, spec: &PodSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let claims = spec.resource_claims.iter();
    let statuses = status.resource_claim_statuses.iter();
    let known: HashSet<&String> = claims
        .map(|claim| &claim.resource_claim_name)
        .chain(statuses.map(|claim| &claim.resource_claim_name))
        .flatten()
        .collect();
    for (i, claim) in status
        .node_allocatable_resource_claim_statuses
        .iter()
        .enumerate()
    {
        let path = path.index(i);
        let (name, name_path) = (&claim.resource_claim_name, path.child("resourceClaimName"));
        if name.is_empty() {
            errors.push(field::required(&name_path, "must not be empty"));
        }
        if !known.contains(name) {
            errors.push(field::invalid(
                &name_path,
                name,
                "no mapping found in pod reference",
            ));
        }
        if claim.containers.is_empty() {
            errors.push(field::required(
                &path.child("containers"),
                "must not be empty",
            ));
        }
        let resources_path = path.child("resources");
        if claim.resources.is_empty() {
            errors.push(field::required(&resources_path, "must not be empty"));
        }
        for (name, amount) in &claim.resources {
            let path = resources_path.key(name.as_str());
            if !is_native_resource(name) {
                errors.push(field::invalid(
                    &path,
                    name,
                    "must be a node allocatable resource name",
                ));
            }
            if amount.signum() < 0 {
                errors.push(field::invalid(
                    &path,
                    amount.to_string(),
                    "must be non-negative",
                ));
            }
        }
    }
    errors
}

fn extended_claim(status: &PodStatus, spec: &PodSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(claim) = &status.extended_resource_claim_status else {
        return errors;
    };
    let mappings_path = path.child("requestMappings");
    if claim.request_mappings.is_empty() {
        errors.push(field::required(
            &mappings_path,
            "at least one request mapping is required",
        ));
    }
    let containers = by_name(spec.containers.iter().chain(&spec.init_containers));
    let mut seen = BTreeSet::new();
    for (i, mapping) in claim.request_mappings.iter().enumerate() {
        let own = mappings_path.index(i);
        match containers.get(&mapping.container_name) {
            None => errors.push(field::invalid(
                &own.child("containerName"),
                &mapping.container_name,
                "must match the name of an entry in spec.initContainers.name or spec.containers.name",
            )),
            Some(container) if !container.resources.requests.contains_key(&mapping.resource_name) => {
                errors.push(field::invalid(
                    &own.child("resourceName"),
                    &mapping.resource_name,
                    "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests",
                ));
            }
            Some(_) => {}
        }
        errors.extend(dns_label(&mapping.request_name, &path.child("requestName")));
        if !seen.insert((
            &mapping.container_name,
            &mapping.resource_name,
            &mapping.request_name,
        )) {
            errors.push(field::duplicate(
                &own.child("containerName"),
                &mapping.container_name,
            ));
            errors.push(field::duplicate(
                &own.child("resourceName"),
                &mapping.resource_name,
            ));
            errors.push(field::duplicate(
                &own.child("requestName"),
                &mapping.request_name,
            ));
        }
    }
    let name_path = path.child("resourceClaimName");
    if claim.resource_claim_name.is_empty() {
        errors.push(field::required(&name_path, ""));
    } else {
        errors.extend(dns_subdomain(&claim.resource_claim_name, &name_path));
    }
    errors
}

const ONE_PER_FAMILY: &str = "may specify no more than one IP for each IP family";

fn pod_ips(status: &PodStatus, old: &PodStatus, path: &Path) -> ErrorList {
    let existing: Known<'_> = old.pod_ips.iter().map(|ip| ip.ip.as_str()).collect();
    let ips: Vec<&str> = status.pod_ips.iter().map(|ip| ip.ip.as_str()).collect();
    families(&ips, &existing, path, || {
        go_value::bad_list(&status.pod_ips)
    })
}

fn host_ips(status: &PodStatus, old: &PodStatus, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(first) = status.host_ips.first() else {
        return errors;
    };
    if status.host_ip != first.ip {
        errors.push(field::invalid(
            &path.index(0).child("ip"),
            &first.ip,
            "must be equal to `hostIP`",
        ));
    }
    let existing: Known<'_> = old.host_ips.iter().map(|ip| ip.ip.as_str()).collect();
    let ips: Vec<&str> = status.host_ips.iter().map(|ip| ip.ip.as_str()).collect();
    errors.extend(families(&ips, &existing, path, || {
        go_value::bad_list(&status.host_ips)
    }));
    errors
}

fn families(
    ips: &[&str],
    existing: &Known<'_>,
    path: &Path,
    bad_value: impl FnOnce() -> BadValue,
) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, ip) in ips.iter().enumerate() {
        errors.extend(legacy_ip(&path.index(i), ip, existing));
    }
    if ips.len() > 1 {
        let dual = is_dual_stack(ips.iter().copied());
        if dual.is_none() {
            let wrong = ips.iter().find(|ip| rules::parse_ip_sloppy(ip).is_none());
            let problem = format!(
                "failed to check for dual stack with error:invalid IP address: {}",
                wrong.copied().unwrap_or_default()
            );
            errors.push(field::internal(path, problem));
        }
        if dual != Some(true) || ips.len() > 2 {
            errors.push(field::invalid(path, bad_value(), ONE_PER_FAMILY));
        }
    }
    errors
}

fn users(statuses: &[ContainerStatus], os: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, status) in statuses.iter().enumerate() {
        let Some(user) = status.user.as_ref().and_then(|user| user.linux.as_ref()) else {
            continue;
        };
        let path = path.index(i).child("user").child("linux");
        match os {
            "windows" => errors.push(field::forbidden(&path, "cannot be set for a windows pod")),
            "linux" => {
                errors.extend(invalid_numbers(
                    &path.child("uid"),
                    user.uid,
                    rules::is_valid_user_id(user.uid),
                ));
                errors.extend(invalid_numbers(
                    &path.child("gid"),
                    user.gid,
                    rules::is_valid_group_id(user.gid),
                ));
                for (i, gid) in user.supplemental_groups.iter().enumerate() {
                    let path = path.child("supplementalGroups").index(i);
                    errors.extend(invalid_numbers(&path, *gid, rules::is_valid_group_id(*gid)));
                }
            }
            _ => {}
        }
    }
    errors
}

fn allocated_resources(
    statuses: &[ContainerStatus],
    containers: &[Container],
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let containers = by_name(containers.iter());
    let mut claims: HashMap<&String, HashSet<String>> = HashMap::new();
    for (i, status) in statuses.iter().enumerate() {
        let container = containers.get(&status.name).copied();
        for (j, resource) in status.allocated_resources_status.iter().enumerate() {
            let path = path.index(i).child("allocatedResourcesStatus").index(j);
            if let Some(container) = container {
                let claims = claims
                    .entry(&container.name)
                    .or_insert_with(|| claim_requests(container));
                errors.extend(allocated_name(
                    &resource.name,
                    container,
                    claims,
                    &path.child("name"),
                ));
            }
            let mut ids = BTreeSet::new();
            for (k, health) in resource.resources.iter().enumerate() {
                let path = path.child("resources").index(k);
                errors.extend(one_of(
                    &health.health,
                    &["Healthy", "Unhealthy", "Unknown"],
                    &path.child("health"),
                ));
                match &health.message {
                    Some(message) if message.is_empty() => {
                        errors.push(field::required(
                            &path.child("message"),
                            "must be non-empty if specified",
                        ));
                    }
                    Some(message) if message.len() > 1024 => {
                        errors.push(field::too_long(&path.child("message"), 1024));
                    }
                    _ => {}
                }
                if !ids.insert(&health.resource_id) {
                    errors.push(field::duplicate(
                        &path.child("resourceID"),
                        &health.resource_id,
                    ));
                }
            }
        }
    }
    errors
}

/// What a container claims, as the status names it.
fn claim_requests(container: &Container) -> HashSet<String> {
    let claims = container.resources.claims.iter();
    claims
        .map(|own| {
            if own.request.is_empty() {
                own.name.clone()
            } else {
                format!("{}/{}", own.name, own.request)
            }
        })
        .collect()
}

fn allocated_name(
    name: &str,
    container: &Container,
    claims: &HashSet<String>,
    path: &Path,
) -> Option<Error> {
    let (found, detail) = if let Some(claim) = name.strip_prefix("claim:") {
        let found = claims.contains(claim);
        let detail = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
        (found, detail)
    } else {
        let found = container.resources.requests.contains_key(name);
        (found, "must match one of the container's resource requests")
    };
    (!found).then(|| field::invalid(path, name, detail))
}

fn volume_statuses(statuses: &[ContainerStatus], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, status) in statuses.iter().enumerate() {
        for (j, mount) in status.volume_mounts.iter().enumerate() {
            let Some(image) = mount
                .volume_status
                .as_ref()
                .and_then(|status| status.image.as_ref())
            else {
                continue;
            };
            let path = path
                .index(i)
                .child("volumeMounts")
                .index(j)
                .child("volumeStatus");
            let path = path.child("imageVolumeStatus").child("imageRef");
            if image.image_ref.is_empty() {
                errors.push(field::required(&path, "imageRef must not be empty"));
            }
            if image.image_ref.len() > 256 {
                errors.push(field::too_long(&path, 256));
            }
        }
    }
    errors
}
