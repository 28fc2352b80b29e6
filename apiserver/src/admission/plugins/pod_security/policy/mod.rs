//! All checks, one row per check and version. Upstream: pod-security-admission/policy.

mod host;
mod kernel;
mod pod;
mod privileges;
mod profiles;
#[cfg(test)]
mod tests;
mod volumes;

pub(super) use pod::{Pod, Refusal};

use super::levels::{Level, LevelVersion, Version};

/// A check as it is from a version on.
struct Row {
    /// Refusals come in the order of levels and, within them, of these names.
    id: &'static str,
    level: Level,
    /// The first version 1.x.
    since: i64,
    check: fn(Pod<'_>) -> Option<Refusal>,
    /// The check of the baseline that this one takes the place of.
    instead_of: &'static str,
}

const fn baseline(id: &'static str, since: i64, check: fn(Pod<'_>) -> Option<Refusal>) -> Row {
    Row {
        id,
        level: Level::Baseline,
        since,
        check,
        instead_of: "",
    }
}

const fn restricted(
    id: &'static str,
    since: i64,
    check: fn(Pod<'_>) -> Option<Refusal>,
    instead_of: &'static str,
) -> Row {
    Row {
        id,
        level: Level::Restricted,
        since,
        check,
        instead_of,
    }
}

/// Sorted as refusals are, and the versions of a check by age.
const CHECKS: &[Row] = &[
    baseline("appArmorProfile", 0, profiles::app_armor),
    baseline("capabilities_baseline", 0, privileges::capabilities),
    baseline("hostNamespaces", 0, host::namespaces),
    baseline("hostPathVolumes", 0, host::paths),
    baseline("hostPorts", 0, host::ports),
    baseline("hostProbesAndHostLifecycle", 34, host::probes),
    baseline("privileged", 0, privileges::privileged),
    baseline("procMount", 0, kernel::proc_mount),
    baseline("procMount", 35, |pod| {
        of_host_users(pod, kernel::proc_mount)
    }),
    baseline("seLinuxOptions", 0, profiles::se_linux_1_0),
    baseline("seLinuxOptions", 31, profiles::se_linux_1_31),
    baseline("seccompProfile_baseline", 0, profiles::seccomp_annotations),
    baseline("seccompProfile_baseline", 19, profiles::seccomp),
    baseline("sysctls", 0, kernel::sysctls::<0>),
    baseline("sysctls", 27, kernel::sysctls::<27>),
    baseline("sysctls", 29, kernel::sysctls::<29>),
    baseline("sysctls", 32, kernel::sysctls::<32>),
    baseline("windowsHostProcess", 0, host::windows_process),
    restricted("allowPrivilegeEscalation", 8, privileges::escalation, ""),
    restricted(
        "allowPrivilegeEscalation",
        25,
        |pod| of_linux(pod, privileges::escalation),
        "",
    ),
    restricted(
        "capabilities_restricted",
        22,
        privileges::restricted_capabilities,
        "capabilities_baseline",
    ),
    restricted(
        "capabilities_restricted",
        25,
        |pod| of_linux(pod, privileges::restricted_capabilities),
        "capabilities_baseline",
    ),
    restricted("procMount_restricted", 35, kernel::proc_mount, "procMount"),
    restricted(
        "restrictedVolumes",
        0,
        volumes::restricted,
        "hostPathVolumes",
    ),
    restricted("runAsNonRoot", 0, privileges::non_root, ""),
    restricted(
        "runAsNonRoot",
        35,
        |pod| of_host_users(pod, privileges::non_root),
        "",
    ),
    restricted("runAsUser", 23, privileges::user, ""),
    restricted(
        "runAsUser",
        35,
        |pod| of_host_users(pod, privileges::user),
        "",
    ),
    restricted(
        "seccompProfile_restricted",
        19,
        profiles::restricted_seccomp,
        "seccompProfile_baseline",
    ),
    restricted(
        "seccompProfile_restricted",
        25,
        |pod| of_linux(pod, profiles::restricted_seccomp),
        "seccompProfile_baseline",
    ),
];

/// A check that says nothing to pods of Windows.
fn of_linux(pod: Pod<'_>, check: fn(Pod<'_>) -> Option<Refusal>) -> Option<Refusal> {
    if pod.is_windows() { None } else { check(pod) }
}

/// A check that says nothing to pods whose users are not those of the host.
fn of_host_users(pod: Pod<'_>, check: fn(Pod<'_>) -> Option<Refusal>) -> Option<Refusal> {
    if pod.has_own_users() {
        None
    } else {
        check(pod)
    }
}

/// The checks of a level in a version.
fn checks(asked: LevelVersion) -> impl Iterator<Item = &'static Row> {
    let counts = move |index: usize, row: &Row| {
        let is_past = |row: &Row| Version::Minor(row.since) <= asked.version;
        let next = CHECKS.get(index + 1).filter(|next| next.id == row.id);
        row.level <= asked.level && is_past(row) && !next.is_some_and(is_past)
    };
    let active = move || {
        let rows = CHECKS.iter().enumerate();
        rows.filter(move |(index, row)| counts(*index, row))
            .map(|(_, row)| row)
    };
    active().filter(move |row| !active().any(|other| other.instead_of == row.id))
}

/// Why a level in a version refuses a pod: nothing for a pod that it lets pass.
pub(super) fn evaluate(asked: LevelVersion, pod: Pod<'_>) -> Vec<Refusal> {
    if asked.level == Level::Privileged {
        return Vec::new();
    }
    checks(asked).filter_map(|row| (row.check)(pod)).collect()
}

/// All that is wrong, for one pod.
pub(super) fn details(refusals: &[Refusal]) -> String {
    let texts: Vec<String> = refusals
        .iter()
        .map(|Refusal { reason, detail }| {
            if detail.is_empty() {
                (*reason).to_owned()
            } else {
                format!("{reason} ({detail})")
            }
        })
        .collect();
    texts.join(", ")
}

/// As [`details`], for many pods: without what differs between them.
pub(super) fn reasons(refusals: &[Refusal]) -> String {
    let reasons: Vec<&str> = refusals.iter().map(|refusal| refusal.reason).collect();
    reasons.join(", ")
}
