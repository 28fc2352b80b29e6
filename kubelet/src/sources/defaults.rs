//! API defaults for pods that no API server has seen. Upstream: `pkg/apis/core/v1/defaults.go`.

use api_types::core::v1::{Container, Pod, Probe};

fn probe(probe: &mut Option<Box<Probe>>) {
    let Some(probe) = probe else { return };
    let default = |value: &mut i32, default: i32| {
        if *value == 0 {
            *value = default;
        }
    };
    default(&mut probe.timeout_seconds, 1);
    default(&mut probe.period_seconds, 10);
    default(&mut probe.success_threshold, 1);
    default(&mut probe.failure_threshold, 3);
    if let Some(get) = &mut probe.probe_handler.http_get {
        set(&mut get.path, "/");
        set(&mut get.scheme, "HTTP");
    }
    if let Some(grpc) = &mut probe.probe_handler.grpc
        && grpc.service.is_none()
    {
        grpc.service = Some(String::new());
    }
}

fn set(value: &mut String, default: &str) {
    if value.is_empty() {
        default.clone_into(value);
    }
}

fn container(container: &mut Container, host_network: bool) {
    set(
        &mut container.termination_message_path,
        "/dev/termination-log",
    );
    set(&mut container.termination_message_policy, "File");
    if container.image_pull_policy.is_empty() {
        let latest =
            crate::images::parse(&container.image).is_ok_and(|image| image.tag == "latest");
        container.image_pull_policy = if latest { "Always" } else { "IfNotPresent" }.to_owned();
    }
    for port in &mut container.ports {
        set(&mut port.protocol, "TCP");
        if host_network && port.host_port == 0 {
            port.host_port = port.container_port;
        }
    }
    probe(&mut container.liveness_probe);
    probe(&mut container.readiness_probe);
    probe(&mut container.startup_probe);
    if let Some(lifecycle) = &mut container.lifecycle {
        for handler in [&mut lifecycle.post_start, &mut lifecycle.pre_stop]
            .into_iter()
            .flatten()
        {
            if let Some(get) = &mut handler.http_get {
                set(&mut get.path, "/");
                set(&mut get.scheme, "HTTP");
            }
        }
    }
    // A limit counts as the request where there is none.
    for (name, limit) in container.resources.limits.clone() {
        container.resources.requests.entry(name).or_insert(limit);
    }
}

/// Fills in what the API server would have.
pub fn set_pod_defaults(pod: &mut Pod) {
    let spec = &mut pod.spec;
    set(&mut spec.restart_policy, "Always");
    set(&mut spec.dns_policy, "ClusterFirst");
    set(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    spec.security_context.get_or_insert_default();
    let host_network = spec.host_network;
    for each in spec.init_containers.iter_mut().chain(&mut spec.containers) {
        container(each, host_network);
    }
    for volume in &mut spec.volumes {
        let source = &mut volume.volume_source;
        if let Some(host_path) = &mut source.host_path {
            host_path.type_.get_or_insert_default();
        }
        if let Some(downward) = &mut source.downward_api {
            downward.default_mode.get_or_insert(0o644);
        }
        if let Some(projected) = &mut source.projected {
            projected.default_mode.get_or_insert(0o644);
        }
    }
}
