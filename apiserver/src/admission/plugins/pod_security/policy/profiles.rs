//! AppArmor, seccomp and SELinux.

use std::collections::BTreeSet;

use api_types::core::v1::SELinuxOptions;
use apimachinery::quote::quote;

use super::pod::{
    Container, Pod, Refusal, containers, plural, quoted, quoted_set, refuse, setters,
};

const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Profiles of the runtime or of the node; what stays is not switched off.
fn is_confined(profile: &str) -> bool {
    matches!(profile, "RuntimeDefault" | "Localhost")
}

pub(super) fn app_armor(pod: Pod<'_>) -> Option<Refusal> {
    let mut values = BTreeSet::new();
    let of_pod = pod
        .security()
        .and_then(|security| security.app_armor_profile.as_deref())
        .map(|profile| profile.type_.as_str())
        .filter(|profile| !is_confined(profile));
    values.extend(of_pod);
    let wrong = pod.wrong_containers(|container| {
        let security = container.security;
        let profile = security
            .and_then(|security| security.app_armor_profile.as_deref())
            .map(|profile| profile.type_.as_str())
            .filter(|profile| !is_confined(profile));
        values.extend(profile);
        profile.is_some()
    });
    // Sorted by the whole text, as the keys and then the values are.
    let mut annotations: Vec<String> = pod
        .annotations()
        .iter()
        .filter(|(key, value)| {
            let is_allowed =
                value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with(APP_ARMOR_ANNOTATION) && !is_allowed
        })
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    annotations.sort_unstable();
    let mut who: Vec<String> = setters(of_pod.is_some(), &wrong).into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let values: Vec<&str> = values
        .into_iter()
        .chain(annotations.iter().map(String::as_str))
        .collect();
    let reason = plural(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
        values.len(),
    );
    let who = who.join(" and ");
    refuse(
        reason,
        format!(
            "{who} must not set AppArmor profile type to {}",
            quoted(values)
        ),
    )
}

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Before there were fields.
pub(super) fn seccomp_annotations(pod: Pod<'_>) -> Option<Refusal> {
    let keys = pod
        .containers()
        .map(|container| format!("{SECCOMP_CONTAINER}{}", container.name));
    let found: BTreeSet<String> = std::iter::once(SECCOMP_POD.to_owned())
        .chain(keys)
        .filter_map(|key| {
            let value = pod.annotations().get(&key)?;
            let is_allowed = matches!(value.as_str(), "runtime/default" | "docker/default")
                || value.starts_with("localhost/");
            (!is_allowed).then(|| format!("{key}={}", quote(value)))
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    let noun = plural("annotation", "annotations", found.len());
    let found: Vec<String> = found.into_iter().collect();
    refuse(
        "seccompProfile",
        format!("forbidden {noun} {}", found.join(", ")),
    )
}

fn seccomp_of_pod(pod: Pod<'_>) -> Option<&str> {
    let profile = pod.security()?.seccomp_profile.as_deref()?;
    Some(&profile.type_)
}

fn seccomp_of<'a>(container: &Container<'a>) -> Option<&'a str> {
    let profile = container.security?.seccomp_profile.as_deref()?;
    Some(&profile.type_)
}

/// Nobody is unconfined by choice.
pub(super) fn seccomp(pod: Pod<'_>) -> Option<Refusal> {
    let mut values = BTreeSet::new();
    let of_pod = seccomp_of_pod(pod).filter(|profile| !is_confined(profile));
    values.extend(of_pod);
    let wrong = pod.wrong_containers(|container| {
        let profile = seccomp_of(container).filter(|profile| !is_confined(profile));
        values.extend(profile);
        profile.is_some()
    });
    let who = setters(of_pod.is_some(), &wrong)?;
    refuse(
        "seccompProfile",
        format!(
            "{who} must not set securityContext.seccompProfile.type to {}",
            quoted_set(&values)
        ),
    )
}

/// Everybody is confined.
pub(super) fn restricted_seccomp(pod: Pod<'_>) -> Option<Refusal> {
    if let Some(refusal) = seccomp(pod) {
        return Some(refusal);
    }
    if seccomp_of_pod(pod).is_some() {
        return None;
    }
    let silent = pod.wrong_containers(|container| seccomp_of(container).is_none());
    if silent.is_empty() {
        return None;
    }
    refuse(
        "seccompProfile",
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers(&silent)
        ),
    )
}

pub(super) fn se_linux_1_0(pod: Pod<'_>) -> Option<Refusal> {
    se_linux(
        pod,
        &["", "container_t", "container_init_t", "container_kvm_t"],
    )
}

pub(super) fn se_linux_1_31(pod: Pod<'_>) -> Option<Refusal> {
    let types = [
        "",
        "container_t",
        "container_init_t",
        "container_kvm_t",
        "container_engine_t",
    ];
    se_linux(pod, &types)
}

fn se_linux<'a>(pod: Pod<'a>, allowed: &[&str]) -> Option<Refusal> {
    let mut types = BTreeSet::new();
    let (mut has_user, mut has_role) = (false, false);
    let of_pod = pod
        .security()
        .and_then(|security| security.se_linux_options.as_deref());
    let mut is_wrong = |options: &'a SELinuxOptions| {
        let (user, role, type_) = (&options.user, &options.role, &options.type_);
        let is_wrong = !allowed.contains(&type_.as_str());
        if is_wrong {
            types.insert(type_.as_str());
        }
        has_user |= !user.is_empty();
        has_role |= !role.is_empty();
        is_wrong || !user.is_empty() || !role.is_empty()
    };
    let by_pod = of_pod.is_some_and(&mut is_wrong);
    let wrong = pod.wrong_containers(|container| {
        let security = container.security;
        let options = security.and_then(|security| security.se_linux_options.as_deref());
        options.is_some_and(&mut is_wrong)
    });
    let who = setters(by_pod, &wrong)?;
    let mut what = Vec::new();
    if !types.is_empty() {
        let noun = plural("type", "types", types.len());
        what.push(format!("{noun} {}", quoted_set(&types)));
    }
    if has_user {
        what.push("user may not be set".to_owned());
    }
    if has_role {
        what.push("role may not be set".to_owned());
    }
    let what = what.join("; ");
    refuse(
        "seLinuxOptions",
        format!("{who} set forbidden securityContext.seLinuxOptions: {what}"),
    )
}
