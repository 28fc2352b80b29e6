//! Defaults of core/v1. Upstream: pkg/apis/core/v1/defaults.go.

use api_types::core::v1::*;
use api_types::{IntOrString, Quantity};
use apimachinery::image_reference;
use std::collections::BTreeMap;

use super::{Row, row};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(pod),
        row(pod_spec),
        row(volume),
        row(container),
        row(ephemeral_container_common),
        row(probe),
        row(http_get),
        row(secret_volume),
        row(config_map_volume),
        row(downward_api_volume),
        row(projected_volume),
        row(service_account_token),
        row(host_path),
        row(object_field_selector),
        row(service),
        row(secret),
        row(endpoints),
        row(namespace),
        row(namespace_status),
        row(node_status),
        row(persistent_volume),
        row(persistent_volume_claim),
        row(persistent_volume_claim_spec),
        row(limit_range_item),
        row(replication_controller),
    ]
}

/// Sets a text that is empty.
fn text(slot: &mut String, default: &str) {
    if slot.is_empty() {
        *slot = default.to_owned();
    }
}

/// Sets a number that is zero.
fn number(slot: &mut i32, default: i32) {
    if *slot == 0 {
        *slot = default;
    }
}

/// Copies what `from` has and `to` lacks.
fn fill(to: &mut BTreeMap<String, Quantity>, from: &BTreeMap<String, Quantity>) {
    for (name, amount) in from {
        to.entry(name.clone()).or_insert_with(|| amount.clone());
    }
}

fn pod(pod: &mut Pod) {
    // Only a pod's own containers: a template keeps what its author wrote.
    for container in pod
        .spec
        .containers
        .iter_mut()
        .chain(&mut pod.spec.init_containers)
    {
        fill(
            &mut container.resources.requests,
            &container.resources.limits,
        );
    }
    pod_level_resources(pod);
    pod.spec.enable_service_links.get_or_insert(true);
    if pod.spec.host_network {
        for port in pod
            .spec
            .containers
            .iter_mut()
            .chain(&mut pod.spec.init_containers)
            .flat_map(|container| &mut container.ports)
        {
            if port.host_port == 0 {
                port.host_port = port.container_port;
            }
        }
    }
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_pod_level_resource(name: &str) -> bool {
    name == "cpu" || name == "memory" || is_huge_page(name)
}

/// KEP-2837: requests of the whole pod come from its containers, or from the pod's limits.
fn pod_level_resources(pod: &mut Pod) {
    if pod.spec.resources.is_none() {
        return;
    }
    let options = apimachinery::resource::PodResourcesOptions::default();
    let container_limits =
        apimachinery::resource::aggregate_container_limits(pod, &options, &mut |_, _| {});
    let container_requests =
        apimachinery::resource::aggregate_container_requests(pod, &options, &mut |_, _| {});
    let Some(resources) = &mut pod.spec.resources else {
        return;
    };
    if !resources.limits.is_empty() || !resources.requests.is_empty() {
        for (name, amount) in &container_limits {
            if is_huge_page(name) && !resources.requests.contains_key(name) {
                resources
                    .limits
                    .entry(name.clone())
                    .or_insert_with(|| amount.clone());
            }
        }
    }
    if resources.limits.is_empty() {
        return;
    }
    for (name, amount) in &container_requests {
        // Huge pages cannot be overcommitted: their request is their limit.
        if is_pod_level_resource(name) && !is_huge_page(name) {
            resources
                .requests
                .entry(name.clone())
                .or_insert_with(|| amount.clone());
        }
    }
    for (name, amount) in &resources.limits {
        if is_pod_level_resource(name) {
            resources
                .requests
                .entry(name.clone())
                .or_insert_with(|| amount.clone());
        }
    }
}

fn pod_spec(spec: &mut PodSpec) {
    text(&mut spec.dns_policy, "ClusterFirst");
    text(&mut spec.restart_policy, "Always");
    spec.security_context.get_or_insert_default();
    spec.termination_grace_period_seconds.get_or_insert(30);
    text(&mut spec.scheduler_name, "default-scheduler");
}

fn volume(volume: &mut Volume) {
    if volume.volume_source == VolumeSource::default() {
        volume.volume_source.empty_dir = Some(Box::default());
    }
    if let Some(image) = &mut volume.volume_source.image {
        pull_policy(&mut image.pull_policy, &image.reference);
    }
}

/// Always for the tag `latest`, said or implied. What is no image name has no tag.
fn pull_policy(policy: &mut String, image: &str) {
    if policy.is_empty() {
        let found = match image_reference::parse(image) {
            Ok(reference) if reference.tag == "latest" => "Always",
            _ => "IfNotPresent",
        };
        found.clone_into(policy);
    }
}

fn container(container: &mut Container) {
    pull_policy(&mut container.image_pull_policy, &container.image);
    text(
        &mut container.termination_message_path,
        "/dev/termination-log",
    );
    text(&mut container.termination_message_policy, "File");
}

fn ephemeral_container_common(container: &mut EphemeralContainerCommon) {
    pull_policy(&mut container.image_pull_policy, &container.image);
    text(
        &mut container.termination_message_path,
        "/dev/termination-log",
    );
    text(&mut container.termination_message_policy, "File");
}

fn probe(probe: &mut Probe) {
    number(&mut probe.timeout_seconds, 1);
    number(&mut probe.period_seconds, 10);
    number(&mut probe.success_threshold, 1);
    number(&mut probe.failure_threshold, 3);
}

fn http_get(action: &mut HTTPGetAction) {
    text(&mut action.path, "/");
    text(&mut action.scheme, "HTTP");
}

fn secret_volume(volume: &mut SecretVolumeSource) {
    volume.default_mode.get_or_insert(0o644);
}

fn config_map_volume(volume: &mut ConfigMapVolumeSource) {
    volume.default_mode.get_or_insert(0o644);
}

fn downward_api_volume(volume: &mut DownwardAPIVolumeSource) {
    volume.default_mode.get_or_insert(0o644);
}

fn projected_volume(volume: &mut ProjectedVolumeSource) {
    volume.default_mode.get_or_insert(0o644);
}

fn service_account_token(projection: &mut ServiceAccountTokenProjection) {
    projection.expiration_seconds.get_or_insert(3600);
}

fn host_path(volume: &mut HostPathVolumeSource) {
    volume.type_.get_or_insert_default();
}

fn object_field_selector(selector: &mut ObjectFieldSelector) {
    text(&mut selector.api_version, "v1");
}

fn service(service: &mut Service) {
    let spec = &mut service.spec;
    text(&mut spec.session_affinity, "None");
    if spec.session_affinity == "None" {
        spec.session_affinity_config = None;
    }
    if spec.session_affinity == "ClientIP" {
        let timeout = spec
            .session_affinity_config
            .as_ref()
            .and_then(|config| config.client_ip.as_ref())
            .and_then(|config| config.timeout_seconds);
        if timeout.is_none() {
            const THREE_HOURS: i32 = 10800;
            let client_ip = Some(Box::new(ClientIPConfig {
                timeout_seconds: Some(THREE_HOURS),
            }));
            spec.session_affinity_config = Some(Box::new(SessionAffinityConfig { client_ip }));
        }
    }
    text(&mut spec.type_, "ClusterIP");
    for port in &mut spec.ports {
        text(&mut port.protocol, "TCP");
        if port.target_port == IntOrString::Int(0)
            || port.target_port == IntOrString::String(String::new())
        {
            port.target_port = IntOrString::Int(port.port);
        }
    }
    let load_balancer = spec.type_ == "LoadBalancer";
    let externally_accessible = load_balancer
        || spec.type_ == "NodePort"
        || (spec.type_ == "ClusterIP" && !spec.external_ips.is_empty());
    if externally_accessible {
        text(&mut spec.external_traffic_policy, "Cluster");
    }
    if matches!(
        spec.type_.as_str(),
        "NodePort" | "LoadBalancer" | "ClusterIP"
    ) {
        spec.internal_traffic_policy
            .get_or_insert_with(|| "Cluster".to_owned());
    }
    if load_balancer {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
        for ingress in &mut service.status.load_balancer.ingress {
            if !ingress.ip.is_empty() {
                ingress.ip_mode.get_or_insert_with(|| "VIP".to_owned());
            }
        }
    }
}

fn secret(secret: &mut Secret) {
    text(&mut secret.type_, "Opaque");
}

fn endpoints(endpoints: &mut Endpoints) {
    for port in endpoints
        .subsets
        .iter_mut()
        .flat_map(|subset| &mut subset.ports)
    {
        text(&mut port.protocol, "TCP");
    }
}

fn namespace(namespace: &mut Namespace) {
    // An object that is being generated has no name yet: its label comes with the name.
    if !namespace.metadata.name.is_empty() {
        let name = namespace.metadata.name.clone();
        namespace
            .metadata
            .labels
            .insert("kubernetes.io/metadata.name".to_owned(), name);
    }
}

fn namespace_status(status: &mut NamespaceStatus) {
    text(&mut status.phase, "Active");
}

fn node_status(status: &mut NodeStatus) {
    if status.allocatable.is_empty() {
        status.allocatable = status.capacity.clone();
    }
}

fn persistent_volume(volume: &mut PersistentVolume) {
    text(&mut volume.status.phase, "Pending");
    text(&mut volume.spec.persistent_volume_reclaim_policy, "Retain");
    volume
        .spec
        .volume_mode
        .get_or_insert_with(|| "Filesystem".to_owned());
}

fn persistent_volume_claim(claim: &mut PersistentVolumeClaim) {
    text(&mut claim.status.phase, "Pending");
}

fn persistent_volume_claim_spec(spec: &mut PersistentVolumeClaimSpec) {
    spec.volume_mode
        .get_or_insert_with(|| "Filesystem".to_owned());
}

fn limit_range_item(item: &mut LimitRangeItem) {
    if item.type_ != "Container" {
        return;
    }
    fill(&mut item.default, &item.max);
    fill(&mut item.default_request, &item.default);
    fill(&mut item.default_request, &item.min);
}

fn replication_controller(controller: &mut ReplicationController) {
    let Some(labels) = controller
        .spec
        .template
        .as_ref()
        .map(|template| template.metadata.labels.clone())
        .filter(|labels| !labels.is_empty())
    else {
        return;
    };
    if controller.spec.selector.is_empty() {
        controller.spec.selector.clone_from(&labels);
    }
    if controller.metadata.labels.is_empty() {
        controller.metadata.labels = labels;
    }
}

#[cfg(test)]
mod tests {
    fn pull_policy(image: &str) -> String {
        let mut policy = String::new();
        super::pull_policy(&mut policy, image);
        policy
    }

    #[test]
    fn what_is_said_stays() {
        let mut policy = "Never".to_owned();
        super::pull_policy(&mut policy, "nginx");
        assert_eq!(policy, "Never");
    }

    #[test]
    fn the_tag_latest() {
        for image in [
            "nginx",
            "nginx:latest",
            "registry:5000/nginx",
            "library/nginx:latest",
        ] {
            assert_eq!(pull_policy(image), "Always", "{image}");
        }
        for image in [
            "nginx:1",
            "registry:5000/nginx:1",
            &format!("nginx@sha256:{}", "0".repeat(64)),
            &format!("nginx:1@sha256:{}", "0".repeat(64)),
            "nginx@sha256:0123",
            "Nginx",
            "a b",
            "",
        ] {
            assert_eq!(pull_policy(image), "IfNotPresent", "{image}");
        }
    }
}
