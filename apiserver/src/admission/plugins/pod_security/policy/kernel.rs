//! /proc and sysctls.

use std::collections::BTreeSet;

use super::pod::{Pod, Refusal, containers, quoted_set, refuse};

pub(super) fn proc_mount(pod: Pod<'_>) -> Option<Refusal> {
    let mut kinds = BTreeSet::new();
    let wrong = pod.wrong_containers(|container| {
        let security = container.security;
        let kind = security
            .and_then(|security| security.proc_mount.as_deref())
            .filter(|kind| *kind != "Default");
        kinds.extend(kind);
        kind.is_some()
    });
    if wrong.is_empty() {
        return None;
    }
    let who = containers(&wrong);
    let kinds = quoted_set(&kinds);
    refuse(
        "procMount",
        format!("{who} must not set securityContext.procMount to {kinds}"),
    )
}

/// Sysctls that touch nothing beyond the pod, by the version that took them in.
const SAFE_SYSCTLS: [(i64, &str); 12] = [
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

/// Only sysctls that were safe in 1.`SINCE`.
pub(super) fn sysctls<const SINCE: i64>(pod: Pod<'_>) -> Option<Refusal> {
    let is_safe = |name: &str| {
        let mut safe = SAFE_SYSCTLS.iter();
        safe.any(|(since, safe)| *since <= SINCE && *safe == name)
    };
    let wrong: Vec<&str> = pod
        .security()?
        .sysctls
        .iter()
        .map(|sysctl| sysctl.name.as_str())
        .filter(|name| !is_safe(name))
        .collect();
    if wrong.is_empty() {
        return None;
    }
    refuse("forbidden sysctls", wrong.join(", "))
}
