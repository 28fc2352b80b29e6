//! Security contexts of pods and containers: users, profiles, sysctls, Windows options. Upstream: pkg/apis/core/validation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use api_types::core::v1::*;
use apimachinery::quote::quote;
use regex::Regex;

use super::pod_options::PodOptions;
use super::pods::containers;
use super::volumes::{local_descending_path, regex};
use super::*;

pub(crate) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(crate) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(crate) const APPARMOR_CONTAINER: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(super) fn security_context(
    context: &SecurityContext,
    host_users: bool,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let privileged = context.privileged == Some(true);
    if privileged && !gates::allow_privileged() {
        errors.push(field::forbidden(
            &path.child("privileged"),
            "disallowed by cluster policy",
        ));
    }
    if let Some(uid) = context.run_as_user {
        errors.extend(invalid_numbers(
            &path.child("runAsUser"),
            uid,
            rules::is_valid_user_id(uid),
        ));
    }
    if let Some(gid) = context.run_as_group {
        errors.extend(invalid_numbers(
            &path.child("runAsGroup"),
            gid,
            rules::is_valid_group_id(gid),
        ));
    }
    if let Some(mount) = &context.proc_mount {
        let path = path.child("procMount");
        errors.extend(one_of(mount, &["Default", "Unmasked"], &path));
        if host_users && mount == "Unmasked" {
            errors.push(field::invalid(
                &path,
                mount,
                "`hostUsers` must be false to use `Unmasked`",
            ));
        }
    }
    errors.extend(seccomp_profile(
        context.seccomp_profile.as_deref(),
        &path.child("seccompProfile"),
    ));
    if context.allow_privilege_escalation == Some(false) {
        if privileged {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(field::invalid(path, go_value::bad_value(context), detail));
        }
        for _ in added(context).filter(|name| *name == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(field::invalid(path, go_value::bad_value(context), detail));
        }
    }
    errors.extend(windows_options(
        context.windows_options.as_deref(),
        &path.child("windowsOptions"),
    ));
    errors.extend(apparmor_profile(
        context.app_armor_profile.as_deref(),
        &path.child("appArmorProfile"),
    ));
    errors
}

fn added(context: &SecurityContext) -> impl Iterator<Item = &str> {
    context
        .capabilities
        .iter()
        .flat_map(|capabilities| &capabilities.add)
        .map(String::as_str)
}

pub(super) fn pod_security_context(spec: &PodSpec, path: &Path, options: &PodOptions) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(context) = &spec.security_context else {
        // Internally this field is in the security context, which it brings into being.
        return shared_process_namespace(spec, path);
    };
    if let Some(gid) = context.fs_group {
        errors.extend(invalid_numbers(
            &path.child("fsGroup"),
            gid,
            rules::is_valid_group_id(gid),
        ));
    }
    if let Some(uid) = context.run_as_user {
        errors.extend(invalid_numbers(
            &path.child("runAsUser"),
            uid,
            rules::is_valid_user_id(uid),
        ));
    }
    if let Some(gid) = context.run_as_group {
        errors.extend(invalid_numbers(
            &path.child("runAsGroup"),
            gid,
            rules::is_valid_group_id(gid),
        ));
    }
    for (i, gid) in context.supplemental_groups.iter().enumerate() {
        let path = path.child("supplementalGroups").index(i);
        errors.extend(invalid_numbers(&path, *gid, rules::is_valid_group_id(*gid)));
    }
    errors.extend(shared_process_namespace(spec, path));
    errors.extend(sysctls(context, spec, &path.child("sysctls"), options));
    if let Some(policy) = &context.fs_group_change_policy {
        errors.extend(one_of(
            policy,
            &["Always", "OnRootMismatch"],
            &path.child("fsGroupChangePolicy"),
        ));
    }
    errors.extend(seccomp_profile(
        context.seccomp_profile.as_deref(),
        &path.child("seccompProfile"),
    ));
    errors.extend(windows_options(
        context.windows_options.as_deref(),
        &path.child("windowsOptions"),
    ));
    errors.extend(apparmor_profile(
        context.app_armor_profile.as_deref(),
        &path.child("appArmorProfile"),
    ));
    if let Some(policy) = &context.supplemental_groups_policy {
        errors.extend(one_of(
            policy,
            &["Merge", "Strict"],
            &path.child("supplementalGroupsPolicy"),
        ));
    }
    if let Some(policy) = &context.se_linux_change_policy {
        let known: &[&str] = if options.only_recursive_selinux_change {
            &["Recursive"]
        } else {
            &["MountOption", "Recursive"]
        };
        errors.extend(one_of(policy, known, &path.child("seLinuxChangePolicy")));
    }
    errors
}

/// A pod's processes share one namespace, or the host's, not both.
fn shared_process_namespace(spec: &PodSpec, path: &Path) -> ErrorList {
    if spec.host_pid && spec.share_process_namespace == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        return field::invalid(&path.child("shareProcessNamespace"), true, detail).into();
    }
    ErrorList::new()
}

static SYSCTL: LazyLock<Regex> = LazyLock::new(|| regex(SYSCTL_PATTERN));
const SYSCTL_PATTERN: &str =
    r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn sysctls(
    context: &PodSecurityContext,
    spec: &PodSpec,
    path: &Path,
    options: &PodOptions,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut names = BTreeSet::new();
    for (i, sysctl) in context.sysctls.iter().enumerate() {
        let path = path.index(i).child("name");
        let name = sysctl.name.as_str();
        if name.is_empty() {
            errors.push(field::required(&path, ""));
        } else if name.len() > 253 || !SYSCTL.is_match(name) {
            let detail =
                format!("must have at most 253 characters and match regex {SYSCTL_PATTERN}");
            errors.push(field::invalid(&path, name, detail));
        } else if names.contains(name) {
            errors.push(field::duplicate(&path, name));
        }
        if !options.allow_namespaced_sysctls_for_host {
            errors.extend(host_sysctl(name, spec, &path));
        }
        names.insert(name);
    }
    errors
}

/// What is wrong with a sysctl of a namespace that the pod shares with the host.
pub(super) fn host_sysctl(name: &str, spec: &PodSpec, path: &Path) -> Option<Error> {
    const IPC: [&str; 10] = [
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.shm",
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.msg",
    ];
    // Slashes separate as dots do, if one comes first.
    let separator = name.find(['.', '/']).map(|at| &name[at..=at]);
    let normal: String = match separator {
        Some("/") => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    };
    let prefix = normal.split('*').next().unwrap_or_default();
    if spec.host_network && prefix.starts_with("net.") {
        let detail = "may not be specified when 'hostNetwork' is true";
        return Some(field::invalid(path, name, detail));
    }
    if spec.host_ipc && (IPC.contains(&prefix) || prefix.starts_with("fs.mqueue.")) {
        return Some(field::invalid(
            path,
            name,
            "may not be specified when 'hostIPC' is true",
        ));
    }
    None
}

fn seccomp_profile(profile: Option<&SeccompProfile>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(profile) = profile else {
        return errors;
    };
    let type_path = path.child("type");
    if profile.type_.is_empty() {
        errors.push(field::required(
            &type_path,
            "type is required when seccompProfile is set",
        ));
    } else {
        let types = ["Localhost", "RuntimeDefault", "Unconfined"];
        errors.extend(one_of(&profile.type_, &types, &type_path));
    }
    let local_path = path.child("localhostProfile");
    match (&profile.localhost_profile, profile.type_ == "Localhost") {
        (None, true) => {
            errors.push(field::required(
                &local_path,
                "must be set when seccomp type is Localhost",
            ));
        }
        (Some(target), true) => errors.extend(local_descending_path(target, &local_path)),
        (Some(_), false) => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(field::invalid(
                &local_path,
                go_value::bad_value(profile),
                detail,
            ));
        }
        (None, false) => {}
    }
    errors
}

pub(crate) fn apparmor_profile(profile: Option<&AppArmorProfile>, path: &Path) -> ErrorList {
    const MUST: &str = "must be set when AppArmor type is Localhost";
    let mut errors = ErrorList::new();
    let Some(profile) = profile else {
        return errors;
    };
    let local_path = path.child("localhostProfile");
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("Localhost", None) => errors.push(field::required(&local_path, MUST)),
        ("Localhost", Some(local)) => {
            if local.trim() != local {
                errors.push(field::invalid(
                    &local_path,
                    local,
                    "must not be padded with whitespace",
                ));
            } else if local.is_empty() {
                errors.push(field::required(&local_path, MUST));
            }
            if local.len() > 4095 {
                errors.push(field::too_long(&local_path, 4095));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(local)) => {
            let detail = "can only be set when AppArmor type is Localhost";
            errors.push(field::invalid(&local_path, local, detail));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => {
            let detail = "type is required when appArmorProfile is set";
            errors.push(field::required(&path.child("type"), detail));
        }
        (other, _) => {
            let types = ["Localhost", "RuntimeDefault", "Unconfined"];
            errors.extend(one_of(other, &types, &path.child("type")));
        }
    }
    errors
}

// === Annotations from before the fields ===

pub(super) fn profile_annotations(
    annotations: &BTreeMap<String, String>,
    spec: &PodSpec,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(profile) = annotations.get(SECCOMP_POD) {
        errors.extend(seccomp_annotation(profile, &path.child(SECCOMP_POD)));
    }
    for (key, profile) in annotations {
        if key.starts_with(SECCOMP_CONTAINER) {
            errors.extend(seccomp_annotation(profile, &path.child(key.clone())));
        }
    }
    for (key, profile) in annotations {
        let Some(name) = key.strip_prefix(APPARMOR_CONTAINER) else {
            continue;
        };
        let path = path.key(key.as_str());
        if !containers(spec, &Path::nil())
            .iter()
            .any(|(container, _)| container.name == name)
        {
            errors.push(field::invalid(&path, name, "container not found"));
        }
        let known = matches!(profile.as_str(), "" | "runtime/default" | "unconfined");
        if !known && !profile.starts_with("localhost/") {
            let detail = format!("invalid AppArmor profile name: {}", quote(profile));
            errors.push(field::invalid(&path, profile, detail));
        }
    }
    errors
}

fn seccomp_annotation(profile: &str, path: &Path) -> ErrorList {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return ErrorList::new();
    }
    match profile.strip_prefix("localhost/") {
        Some(local) => local_descending_path(local, path),
        None => field::invalid(path, profile, "must be a valid seccomp profile").into(),
    }
}

/// Fields and annotations that say the same must agree.
pub(super) fn annotations_match_fields(
    annotations: &BTreeMap<String, String>,
    spec: &PodSpec,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let pod_context = spec.security_context.as_ref();
    if let Some(profile) = pod_context.and_then(|context| context.seccomp_profile.as_ref())
        && let Some(annotation) = annotations.get(SECCOMP_POD)
    {
        let path = path.child("securityContext").child("seccompProfile");
        errors.extend(seccomp_mismatch(annotation, profile, &path));
    }
    let all = containers(spec, path);
    for (container, path) in &all {
        let context = container.security_context.as_ref();
        if let Some(profile) = context.and_then(|context| context.seccomp_profile.as_ref())
            && let Some(annotation) =
                annotations.get(&format!("{SECCOMP_CONTAINER}{}", container.name))
        {
            let path = path.child("securityContext").child("seccompProfile");
            errors.extend(seccomp_mismatch(annotation, profile, &path));
        }
    }
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return errors;
    }
    let pod_profile = pod_context.and_then(|context| context.app_armor_profile.as_ref());
    for (container, path) in &all {
        let context = container.security_context.as_ref();
        let own = context.and_then(|context| context.app_armor_profile.as_ref());
        if let Some(profile) = own.or(pod_profile)
            && let Some(annotation) =
                annotations.get(&format!("{APPARMOR_CONTAINER}{}", container.name))
        {
            let path = path.child("securityContext").child("appArmorProfile");
            errors.extend(mismatch(
                annotation,
                &profile.type_,
                profile.localhost_profile.as_deref(),
                &["runtime/default"],
                "apparmor",
                &path,
            ));
        }
    }
    errors
}

fn seccomp_mismatch(annotation: &str, profile: &SeccompProfile, path: &Path) -> Option<Error> {
    let defaults = ["runtime/default", "docker/default"];
    let local = profile.localhost_profile.as_deref();
    mismatch(
        annotation,
        &profile.type_,
        local,
        &defaults,
        "seccomp",
        path,
    )
}

fn mismatch(
    annotation: &str,
    ty: &str,
    local: Option<&str>,
    defaults: &[&str],
    what: &str,
    path: &Path,
) -> Option<Error> {
    let wrong_type = || {
        let detail = format!("{what} type in annotation and field must match");
        Some(field::forbidden(&path.child("type"), detail))
    };
    match ty {
        "Unconfined" if annotation != "unconfined" => wrong_type(),
        "RuntimeDefault" if !defaults.contains(&annotation) => wrong_type(),
        "Localhost" => match annotation.strip_prefix("localhost/") {
            None => wrong_type(),
            Some(name) if local != Some(name) => {
                let detail = format!("{what} profile in annotation and field must match");
                Some(field::forbidden(&path.child("localhostProfile"), detail))
            }
            Some(_) => None,
        },
        _ => None,
    }
}

// === Windows ===

static NETBIOS: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$"#));
static DOMAIN: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$",
    )
});

fn windows_options(options: Option<&WindowsSecurityContextOptions>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(options) = options else {
        return errors;
    };
    if let Some(name) = &options.gmsa_credential_spec_name {
        errors.extend(dns_subdomain(name, &path.child("gmsaCredentialSpecName")));
    }
    if let Some(spec) = &options.gmsa_credential_spec {
        let path = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.push(field::invalid(
                &path,
                spec,
                "gmsaCredentialSpec cannot be an empty string",
            ));
        } else if spec.len() > 64 * 1024 {
            errors.push(field::invalid(
                &path,
                spec,
                "gmsaCredentialSpec size must be under 64 KiB",
            ));
        }
    }
    if let Some(name) = &options.run_as_user_name {
        let path = path.child("runAsUserName");
        for detail in user_name_problems(name) {
            errors.push(field::invalid(&path, name, detail));
        }
    }
    errors
}

fn user_name_problems(name: &str) -> Vec<&'static str> {
    let mut problems = Vec::new();
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string"];
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters"];
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash"],
    };
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            problems.push("runAsUserName's Domain length must be under 256 characters");
        }
        if !NETBIOS.is_match(domain) && !DOMAIN.is_match(domain) {
            problems.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        problems.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        problems.push("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        problems.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(|c: char| "\"/\\:;|=,+*?<>@[]".contains(c)) {
        problems.push(
            r##"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"##,
        );
    }
    problems
}

/// Either all containers of a Windows pod run on the host, or none does.
pub(super) fn host_process(spec: &PodSpec, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let pod_value = spec
        .security_context
        .as_ref()
        .and_then(|context| context.windows_options.as_ref())
        .and_then(|options| options.host_process);
    let all = containers(spec, path);
    let mut count = 0;
    for (container, path) in &all {
        let context = container.security_context.as_ref();
        let value = context
            .and_then(|context| context.windows_options.as_ref())
            .and_then(|options| options.host_process);
        if let (Some(pod), Some(own)) = (pod_value, value)
            && pod != own
        {
            let path = path
                .child("securityContext")
                .child("windowsOptions")
                .child("hostProcess");
            let detail =
                format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.push(field::invalid(&path, own, detail));
        }
        if value.or(pod_value) == Some(true) {
            count += 1;
        }
    }
    if count > 0 {
        if count != all.len() {
            let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
            errors.push(field::invalid(path, "", detail));
        }
        if !spec.host_network {
            let detail = "hostNetwork must be true if pod contains any hostProcess containers";
            errors.push(field::invalid(&path.child("hostNetwork"), false, detail));
        }
        if !gates::allow_privileged() {
            let detail = "hostProcess containers are disallowed by cluster policy";
            errors.push(field::forbidden(path, detail));
        }
    }
    errors
}

/// What a pod for Linux must not have.
pub(super) fn linux(spec: &PodSpec, path: &Path) -> ErrorList {
    let detail = "windows options cannot be set for a linux pod";
    let mut errors = ErrorList::new();
    let pod_context = spec.security_context.as_ref();
    if pod_context.is_some_and(|context| context.windows_options.is_some()) {
        errors.push(field::forbidden(
            &path.child("securityContext").child("windowsOptions"),
            detail,
        ));
    }
    for (container, path) in containers(spec, path) {
        let context = container.security_context.as_ref();
        if context.is_some_and(|context| context.windows_options.is_some()) {
            errors.push(field::forbidden(
                &path.child("securityContext").child("windowsOptions"),
                detail,
            ));
        }
    }
    errors
}

/// What a pod for Windows must not have.
pub(super) fn windows(spec: &PodSpec, path: &Path) -> ErrorList {
    const DETAIL: &str = "cannot be set for a windows pod";
    let mut errors = ErrorList::new();
    let default = PodSecurityContext::default();
    let context = spec.security_context.as_deref().unwrap_or(&default);
    let inner = path.child("securityContext");
    for (set, parent, child) in [
        (
            context.app_armor_profile.is_some(),
            &inner,
            "appArmorProfile",
        ),
        (context.se_linux_options.is_some(), &inner, "seLinuxOptions"),
        (spec.host_users.is_some(), path, "hostUsers"),
        (spec.host_pid, path, "hostPID"),
        (spec.host_ipc, path, "hostIPC"),
        (context.seccomp_profile.is_some(), &inner, "seccompProfile"),
        (context.fs_group.is_some(), &inner, "fsGroup"),
        (
            context.fs_group_change_policy.is_some(),
            &inner,
            "fsGroupChangePolicy",
        ),
        (!context.sysctls.is_empty(), &inner, "sysctls"),
        (
            spec.share_process_namespace.is_some(),
            path,
            "shareProcessNamespace",
        ),
        (context.run_as_user.is_some(), &inner, "runAsUser"),
        (context.run_as_group.is_some(), &inner, "runAsGroup"),
        (
            !context.supplemental_groups.is_empty(),
            &inner,
            "supplementalGroups",
        ),
        (
            context.supplemental_groups_policy.is_some(),
            &inner,
            "supplementalGroupsPolicy",
        ),
        (
            context.se_linux_change_policy.is_some(),
            &inner,
            "seLinuxChangePolicy",
        ),
    ] {
        if set {
            errors.push(field::forbidden(&parent.child(child), DETAIL));
        }
    }
    for (container, path) in containers(spec, path) {
        let Some(context) = &container.security_context else {
            continue;
        };
        let path = path.child("securityContext");
        for (set, child) in [
            (context.app_armor_profile.is_some(), "appArmorProfile"),
            (context.se_linux_options.is_some(), "seLinuxOptions"),
            (context.seccomp_profile.is_some(), "seccompProfile"),
            (context.capabilities.is_some(), "capabilities"),
            (
                context.read_only_root_filesystem.is_some(),
                "readOnlyRootFilesystem",
            ),
            (context.privileged.is_some(), "privileged"),
            (
                context.allow_privilege_escalation.is_some(),
                "allowPrivilegeEscalation",
            ),
            (context.proc_mount.is_some(), "procMount"),
            (context.run_as_user.is_some(), "runAsUser"),
            (context.run_as_group.is_some(), "runAsGroup"),
        ] {
            if set {
                errors.push(field::forbidden(&path.child(child), DETAIL));
            }
        }
    }
    errors
}
