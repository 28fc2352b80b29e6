//! What containers may do and as whom.

use std::collections::BTreeSet;

use super::pod::{Pod, Refusal, containers, quoted_set, refuse, setters};

pub(super) fn privileged(pod: Pod<'_>) -> Option<Refusal> {
    let wrong = pod.wrong_containers(|container| {
        container
            .security
            .is_some_and(|security| security.privileged == Some(true))
    });
    if wrong.is_empty() {
        return None;
    }
    let who = containers(&wrong);
    refuse(
        "privileged",
        format!("{who} must not set securityContext.privileged=true"),
    )
}

pub(super) fn escalation(pod: Pod<'_>) -> Option<Refusal> {
    let wrong = pod.wrong_containers(|container| {
        container
            .security
            .is_none_or(|security| security.allow_privilege_escalation != Some(false))
    });
    if wrong.is_empty() {
        return None;
    }
    refuse(
        "allowPrivilegeEscalation != false",
        format!(
            "{} must set securityContext.allowPrivilegeEscalation=false",
            containers(&wrong)
        ),
    )
}

/// What container runtimes give anyhow.
const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The containers that add other capabilities than these, and which.
fn added<'a>(pod: Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut found = BTreeSet::new();
    let wrong = pod.wrong_containers(|container| {
        let security = container.security;
        let Some(capabilities) = security.and_then(|security| security.capabilities.as_deref())
        else {
            return false;
        };
        let added = capabilities.add.iter().map(String::as_str);
        let mut any = false;
        for capability in added.filter(|capability| !allowed.contains(capability)) {
            any = true;
            found.insert(capability);
        }
        any
    });
    (wrong, found)
}

fn must_not_add(wrong: &[&str], found: &BTreeSet<&str>) -> String {
    let who = containers(wrong);
    format!(
        "{who} must not include {} in securityContext.capabilities.add",
        quoted_set(found)
    )
}

pub(super) fn capabilities(pod: Pod<'_>) -> Option<Refusal> {
    let (wrong, found) = added(pod, &DEFAULT_CAPABILITIES);
    if wrong.is_empty() {
        return None;
    }
    refuse("non-default capabilities", must_not_add(&wrong, &found))
}

pub(super) fn restricted_capabilities(pod: Pod<'_>) -> Option<Refusal> {
    let keeping = pod.wrong_containers(|container| {
        let security = container.security;
        let capabilities = security.and_then(|security| security.capabilities.as_deref());
        capabilities.is_none_or(|capabilities| !capabilities.drop.iter().any(|drop| drop == "ALL"))
    });
    let (adding, found) = added(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = containers(&keeping);
        details.push(format!(
            "{who} must set securityContext.capabilities.drop=[\"ALL\"]"
        ));
    }
    if !adding.is_empty() {
        details.push(must_not_add(&adding, &found));
    }
    if details.is_empty() {
        return None;
    }
    refuse("unrestricted capabilities", details.join("; "))
}

pub(super) fn non_root(pod: Pod<'_>) -> Option<Refusal> {
    let by_pod = pod.security().and_then(|security| security.run_as_non_root);
    let of = |container: &super::pod::Container<'_>| {
        container
            .security
            .and_then(|security| security.run_as_non_root)
    };
    let roots = pod.wrong_containers(|container| of(container) == Some(false));
    let reason = "runAsNonRoot != true";
    if let Some(who) = setters(by_pod == Some(false), &roots) {
        return refuse(
            reason,
            format!("{who} must not set securityContext.runAsNonRoot=false"),
        );
    }
    if by_pod == Some(true) {
        return None;
    }
    let silent = pod.wrong_containers(|container| of(container).is_none());
    if silent.is_empty() {
        return None;
    }
    let who = containers(&silent);
    refuse(
        reason,
        format!("pod or {who} must set securityContext.runAsNonRoot=true"),
    )
}

pub(super) fn user(pod: Pod<'_>) -> Option<Refusal> {
    let by_pod = pod.security().and_then(|security| security.run_as_user);
    let wrong = pod.wrong_containers(|container| {
        container
            .security
            .is_some_and(|security| security.run_as_user == Some(0))
    });
    let who = setters(by_pod == Some(0), &wrong)?;
    refuse("runAsUser=0", format!("{who} must not set runAsUser=0"))
}
