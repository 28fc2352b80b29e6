//! What a pod shares with its host.

use std::collections::BTreeSet;

use api_types::core::v1::{HTTPGetAction, TCPSocketAction};

use super::pod::{Pod, Refusal, containers, plural, quoted, quoted_set, refuse, setters};

/// No network, process or IPC namespace of the host.
pub(super) fn namespaces(pod: Pod<'_>) -> Option<Refusal> {
    let shared: Vec<&str> = [
        (pod.spec.host_network, "hostNetwork=true"),
        (pod.spec.host_pid, "hostPID=true"),
        (pod.spec.host_ipc, "hostIPC=true"),
    ]
    .into_iter()
    .filter_map(|(is_shared, text)| is_shared.then_some(text))
    .collect();
    if shared.is_empty() {
        return None;
    }
    refuse("host namespaces", shared.join(", "))
}

/// No paths of the host.
pub(super) fn paths(pod: Pod<'_>) -> Option<Refusal> {
    let volumes = pod.spec.volumes.iter();
    let found: Vec<&str> = volumes
        .filter(|volume| volume.volume_source.host_path.is_some())
        .map(|volume| volume.name.as_str())
        .collect();
    if found.is_empty() {
        return None;
    }
    let noun = plural("volume", "volumes", found.len());
    refuse("hostPath volumes", format!("{noun} {}", quoted(found)))
}

/// No ports of the host.
pub(super) fn ports(pod: Pod<'_>) -> Option<Refusal> {
    let mut ports = BTreeSet::new();
    let wrong = pod.wrong_containers(|container| {
        let found = container.ports.iter().filter(|port| port.host_port != 0);
        let mut any = false;
        for port in found {
            any = true;
            ports.insert(port.host_port.to_string());
        }
        any
    });
    if wrong.is_empty() {
        return None;
    }
    let noun = plural("hostPort", "hostPorts", ports.len());
    let verb = plural("uses", "use", wrong.len());
    let ports: Vec<String> = ports.into_iter().collect();
    let who = containers(&wrong);
    refuse(
        "hostPort",
        format!("{who} {verb} {noun} {}", ports.join(", ")),
    )
}

/// Probes and hooks stay with the pod's own address.
pub(super) fn probes(pod: Pod<'_>) -> Option<Refusal> {
    let mut hosts = BTreeSet::new();
    let mut wrong = BTreeSet::new();
    for container in pod.containers() {
        let probes = container.probes.into_iter().flatten().map(|probe| {
            let handler = &probe.probe_handler;
            (handler.http_get.as_deref(), handler.tcp_socket.as_deref())
        });
        let hooks = container.lifecycle.into_iter().flat_map(|lifecycle| {
            let hooks = [
                lifecycle.post_start.as_deref(),
                lifecycle.pre_stop.as_deref(),
            ];
            hooks
                .into_iter()
                .flatten()
                .map(|hook| (hook.http_get.as_deref(), hook.tcp_socket.as_deref()))
        });
        for (http, tcp) in probes.chain(hooks) {
            for host in named_hosts(http, tcp) {
                hosts.insert(host);
                wrong.insert(container.name);
            }
        }
    }
    if wrong.is_empty() {
        return None;
    }
    let verb = plural("uses", "use", wrong.len());
    let noun = plural(
        "probe or lifecycle host",
        "probe or lifecycle hosts",
        hosts.len(),
    );
    let wrong: Vec<&str> = wrong.into_iter().collect();
    let who = containers(&wrong);
    refuse(
        "probe or lifecycle host",
        format!("{who} {verb} {noun} {}", quoted_set(&hosts)),
    )
}

fn named_hosts<'a>(
    http: Option<&'a HTTPGetAction>,
    tcp: Option<&'a TCPSocketAction>,
) -> impl Iterator<Item = &'a str> {
    let hosts = [http.map(|http| &http.host), tcp.map(|tcp| &tcp.host)];
    hosts
        .into_iter()
        .flatten()
        .map(String::as_str)
        .filter(|host| !host.is_empty())
}

/// No processes of a Windows host.
pub(super) fn windows_process(pod: Pod<'_>) -> Option<Refusal> {
    let wrong = pod.wrong_containers(|container| {
        let security = container.security;
        let options = security.and_then(|security| security.windows_options.as_deref());
        options.is_some_and(|options| options.host_process == Some(true))
    });
    let options = pod
        .security()
        .and_then(|security| security.windows_options.as_deref());
    let by_pod = options.is_some_and(|options| options.host_process == Some(true));
    let who = setters(by_pod, &wrong)?;
    refuse(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}
