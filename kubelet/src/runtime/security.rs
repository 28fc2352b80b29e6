//! Security contexts of pods and containers in CRI's terms.
//!
//! Upstream: `pkg/kubelet/kuberuntime/security_context.go`, `pkg/securitycontext`, `pkg/security/apparmor`.
//! A missing or empty field is an error or the documented default, never "off by accident" (CVE-2023-2431).

use std::path::Path;
use std::sync::OnceLock;

use api_types::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile,
    SecurityContext,
};

use crate::cri::v1;
use crate::cri::v1::security_profile::ProfileType;

/// The container's security context with the pod's values where the container has none.
#[must_use]
pub fn effective_security_context(pod: &Pod, container: &Container) -> SecurityContext {
    let own = container.security_context.as_deref();
    let Some(shared) = pod.spec.security_context.as_deref() else {
        return own.cloned().unwrap_or_default();
    };
    let mut effective = SecurityContext {
        se_linux_options: shared.se_linux_options.clone(),
        run_as_user: shared.run_as_user,
        run_as_group: shared.run_as_group,
        run_as_non_root: shared.run_as_non_root,
        ..Default::default()
    };
    let Some(own) = own else { return effective };
    if own.se_linux_options.is_some() {
        effective.se_linux_options.clone_from(&own.se_linux_options);
    }
    effective.capabilities.clone_from(&own.capabilities);
    effective.privileged = own.privileged;
    effective.run_as_user = own.run_as_user.or(effective.run_as_user);
    effective.run_as_group = own.run_as_group.or(effective.run_as_group);
    effective.run_as_non_root = own.run_as_non_root.or(effective.run_as_non_root);
    effective.read_only_root_filesystem = own.read_only_root_filesystem;
    effective.allow_privilege_escalation = own.allow_privilege_escalation;
    effective.proc_mount.clone_from(&own.proc_mount);
    effective
}

/// Refuses a container that must not run as root but would.
///
/// # Errors
/// The text is shown as the container's waiting message.
pub fn verify_run_as_non_root(
    pod: &Pod,
    container: &Container,
    image_uid: Option<i64>,
    image_user: &str,
) -> Result<(), String> {
    let effective = effective_security_context(pod, container);
    if effective.run_as_non_root != Some(true) {
        return Ok(());
    }
    let desc = crate::container::pod_desc(pod);
    if let Some(user) = effective.run_as_user {
        if user == 0 {
            return Err(format!(
                "container's runAsUser breaks non-root policy (pod: {desc:?}, container: {})",
                container.name
            ));
        }
        return Ok(());
    }
    match image_uid {
        Some(0) => Err(format!(
            "container has runAsNonRoot and image will run as root (pod: {desc:?}, container: {})",
            container.name
        )),
        None if !image_user.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root (pod: {desc:?}, container: {})",
            container.name
        )),
        _ => Ok(()),
    }
}

fn se_linux(options: &SELinuxOptions) -> v1::SeLinuxOption {
    v1::SeLinuxOption {
        user: options.user.clone(),
        role: options.role.clone(),
        r#type: options.type_.clone(),
        level: options.level.clone(),
    }
}

fn int64(value: Option<i64>) -> Option<v1::Int64Value> {
    value.map(|value| v1::Int64Value { value })
}

fn profile(kind: ProfileType, localhost: &str) -> v1::SecurityProfile {
    v1::SecurityProfile {
        profile_type: kind.into(),
        localhost_ref: localhost.to_owned(),
    }
}

fn seccomp_of(wanted: &SeccompProfile, root: &Path) -> Result<v1::SecurityProfile, String> {
    match wanted.type_.as_str() {
        "RuntimeDefault" => Ok(profile(ProfileType::RuntimeDefault, "")),
        "Localhost" => match wanted.localhost_profile.as_deref() {
            Some(name) if !name.is_empty() => Ok(profile(
                ProfileType::Localhost,
                &root.join(name).to_string_lossy(),
            )),
            _ => {
                Err("localhostProfile must be set if seccompProfile type is Localhost.".to_owned())
            }
        },
        _ => Ok(profile(ProfileType::Unconfined, "")),
    }
}

/// Seccomp profile of a container: its own, the pod's, or the node's default.
fn seccomp(
    pod: &Pod,
    container: &Container,
    root: &Path,
    default_profile: bool,
) -> Result<v1::SecurityProfile, String> {
    let own = container
        .security_context
        .as_ref()
        .and_then(|context| context.seccomp_profile.as_deref());
    let shared = pod
        .spec
        .security_context
        .as_ref()
        .and_then(|context| context.seccomp_profile.as_deref());
    match own.or(shared) {
        Some(wanted) => seccomp_of(wanted, root),
        None if default_profile => Ok(profile(ProfileType::RuntimeDefault, "")),
        None => Ok(profile(ProfileType::Unconfined, "")),
    }
}

/// AppArmor profile of a container, from fields or the annotation that static pods may still carry.
#[must_use]
pub fn app_armor_profile(pod: &Pod, container: &Container) -> Option<AppArmorProfile> {
    if let Some(profile) = container
        .security_context
        .as_ref()
        .and_then(|context| context.app_armor_profile.as_deref())
    {
        return Some(profile.clone());
    }
    let annotation = format!(
        "container.apparmor.security.beta.kubernetes.io/{}",
        container.name
    );
    if let Some(value) = pod.metadata.annotations.get(&annotation) {
        let of = |kind: &str, name: Option<&str>| {
            Some(AppArmorProfile {
                type_: kind.to_owned(),
                localhost_profile: name.map(str::to_owned),
            })
        };
        match value.as_str() {
            "runtime/default" => return of("RuntimeDefault", None),
            "unconfined" => return of("Unconfined", None),
            other => {
                if let Some(name) = other.strip_prefix("localhost/") {
                    return of("Localhost", Some(name));
                }
            }
        }
    }
    pod.spec
        .security_context
        .as_ref()
        .and_then(|context| context.app_armor_profile.as_deref())
        .cloned()
}

fn app_armor(
    pod: &Pod,
    container: &Container,
) -> Result<(Option<v1::SecurityProfile>, String), String> {
    let Some(wanted) = app_armor_profile(pod, container) else {
        return Ok((None, String::new()));
    };
    match wanted.type_.as_str() {
        "RuntimeDefault" => Ok((
            Some(profile(ProfileType::RuntimeDefault, "")),
            "runtime/default".to_owned(),
        )),
        "Unconfined" => Ok((
            Some(profile(ProfileType::Unconfined, "")),
            "unconfined".to_owned(),
        )),
        "Localhost" => {
            let name = wanted
                .localhost_profile
                .ok_or("missing localhost apparmor profile name")?;
            Ok((
                Some(profile(ProfileType::Localhost, &name)),
                format!("localhost/{name}"),
            ))
        }
        other => Err(format!("unknown apparmor profile type: {other:?}")),
    }
}

/// Paths of /proc and /sys a container may not see, and may not write. Kept equal to upstream's lists.
fn masked_paths() -> &'static [String] {
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let mut paths: Vec<String> = [
            "/proc/asound",
            "/proc/acpi",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/sys/firmware",
            "/sys/devices/virtual/powercap",
        ]
        .map(str::to_owned)
        .into();
        let mut cpus: Vec<u32> = std::fs::read_dir("/sys/devices/system/cpu")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                entry
                    .file_name()
                    .to_str()?
                    .strip_prefix("cpu")?
                    .parse()
                    .ok()
            })
            .collect();
        cpus.sort_unstable();
        for cpu in cpus {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle");
            if Path::new(&path).exists() {
                paths.push(path);
            }
        }
        paths
    })
}

const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

fn supplemental_groups_policy(context: &PodSecurityContext) -> Result<i32, String> {
    match context.supplemental_groups_policy.as_deref() {
        None => Ok(v1::SupplementalGroupsPolicy::Merge.into()),
        Some("Merge") => Ok(v1::SupplementalGroupsPolicy::Merge.into()),
        Some("Strict") => Ok(v1::SupplementalGroupsPolicy::Strict.into()),
        Some(other) => Err(format!("unsupported supplementalGroupsPolicy: {other}")),
    }
}

/// Which namespaces a pod's containers share.
#[must_use]
pub fn namespace_options(
    pod: &Pod,
    user_namespace: Option<v1::UserNamespace>,
) -> v1::NamespaceOption {
    let node_if = |host: bool| {
        if host {
            v1::NamespaceMode::Node
        } else {
            v1::NamespaceMode::Pod
        }
    };
    let pid = if pod.spec.host_pid {
        v1::NamespaceMode::Node
    } else if pod.spec.share_process_namespace == Some(true) {
        v1::NamespaceMode::Pod
    } else {
        v1::NamespaceMode::Container
    };
    v1::NamespaceOption {
        network: node_if(pod.spec.host_network).into(),
        pid: pid.into(),
        ipc: node_if(pod.spec.host_ipc).into(),
        target_id: String::new(),
        userns_options: user_namespace,
    }
}

/// What the node adds to security contexts.
pub struct SecurityDefaults<'a> {
    /// Folder of `Localhost` seccomp profiles.
    pub seccomp_root: &'a Path,
    /// `seccompDefault`: RuntimeDefault where a pod says nothing.
    pub seccomp_default: bool,
    /// Groups the pod's volumes ask for.
    pub extra_groups: &'a [i64],
    /// User namespace of the pod, if it has its own.
    pub user_namespace: Option<v1::UserNamespace>,
}

/// Security context of a sandbox.
///
/// # Errors
/// When the pod asks for something that does not exist.
pub fn sandbox_security_context(
    pod: &Pod,
    node: &SecurityDefaults<'_>,
) -> Result<v1::LinuxSandboxSecurityContext, String> {
    let mut context = v1::LinuxSandboxSecurityContext {
        privileged: crate::container::has_privileged_container(&pod.spec),
        // The sandbox process always runs confined, so that a pod with "Unconfined" leaves no unconfined pause process.
        seccomp: Some(profile(ProfileType::RuntimeDefault, "")),
        namespace_options: Some(namespace_options(pod, node.user_namespace.clone())),
        ..Default::default()
    };
    if let Some(shared) = pod.spec.security_context.as_deref() {
        context.run_as_user = int64(shared.run_as_user);
        context.run_as_group = int64(shared.run_as_group);
        context.supplemental_groups.extend(shared.fs_group);
        context
            .supplemental_groups
            .extend_from_slice(node.extra_groups);
        context
            .supplemental_groups
            .extend_from_slice(&shared.supplemental_groups);
        context.supplemental_groups_policy = supplemental_groups_policy(shared)?;
        context.selinux_options = shared.se_linux_options.as_deref().map(se_linux);
    }
    Ok(context)
}

/// Security context of a container. The user of the image applies where nobody asked for another.
///
/// # Errors
/// When the pod asks for something that does not exist.
pub fn container_security_context(
    pod: &Pod,
    container: &Container,
    image_uid: Option<i64>,
    image_user: &str,
    node: &SecurityDefaults<'_>,
) -> Result<v1::LinuxContainerSecurityContext, String> {
    let effective = effective_security_context(pod, container);
    let (apparmor, apparmor_profile) = app_armor(pod, container)?;
    let unmasked = effective.proc_mount.as_deref() == Some("Unmasked");
    let mut context = v1::LinuxContainerSecurityContext {
        capabilities: effective
            .capabilities
            .as_deref()
            .map(|wanted| v1::Capability {
                add_capabilities: wanted.add.clone(),
                drop_capabilities: wanted.drop.clone(),
                add_ambient_capabilities: Vec::new(),
            }),
        privileged: effective.privileged.unwrap_or(false),
        namespace_options: Some(namespace_options(pod, node.user_namespace.clone())),
        selinux_options: effective.se_linux_options.as_deref().map(se_linux),
        run_as_user: int64(effective.run_as_user),
        run_as_group: int64(effective.run_as_group),
        readonly_rootfs: effective.read_only_root_filesystem.unwrap_or(false),
        apparmor,
        no_new_privs: effective.allow_privilege_escalation == Some(false),
        masked_paths: if unmasked {
            Vec::new()
        } else {
            masked_paths().to_vec()
        },
        readonly_paths: if unmasked {
            Vec::new()
        } else {
            READONLY_PATHS.map(str::to_owned).into()
        },
        seccomp: Some(seccomp(
            pod,
            container,
            node.seccomp_root,
            node.seccomp_default,
        )?),
        ..Default::default()
    };
    set_deprecated_app_armor(&mut context, apparmor_profile);
    if context.run_as_user.is_none() {
        context.run_as_user = int64(image_uid);
        image_user.clone_into(&mut context.run_as_username);
    }
    if let Some(shared) = pod.spec.security_context.as_deref() {
        context.supplemental_groups.extend(shared.fs_group);
        context
            .supplemental_groups
            .extend_from_slice(&shared.supplemental_groups);
        context.supplemental_groups_policy = supplemental_groups_policy(shared)?;
    }
    context
        .supplemental_groups
        .extend_from_slice(node.extra_groups);
    Ok(context)
}

#[allow(
    deprecated,
    reason = "runtimes before CRI 0.23 read the profile from this field only"
)]
fn set_deprecated_app_armor(context: &mut v1::LinuxContainerSecurityContext, profile: String) {
    context.apparmor_profile = profile;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> SecurityDefaults<'static> {
        SecurityDefaults {
            seccomp_root: Path::new("/var/lib/kubelet/seccomp"),
            seccomp_default: false,
            extra_groups: &[],
            user_namespace: None,
        }
    }

    fn container_with(context: SecurityContext) -> Container {
        Container {
            name: "c".to_owned(),
            security_context: Some(Box::new(context)),
            ..Default::default()
        }
    }

    #[test]
    fn container_wins_over_pod() {
        let mut pod = Pod::default();
        pod.spec.security_context = Some(Box::new(PodSecurityContext {
            run_as_user: Some(1),
            run_as_group: Some(2),
            fs_group: Some(3),
            ..Default::default()
        }));
        let container = container_with(SecurityContext {
            run_as_user: Some(7),
            ..Default::default()
        });
        let got =
            container_security_context(&pod, &container, Some(0), "", &node()).expect("context");
        assert_eq!(got.run_as_user, int64(Some(7)));
        assert_eq!(got.run_as_group, int64(Some(2)));
        assert_eq!(got.supplemental_groups, [3]);
    }

    #[test]
    fn image_user_applies_when_nobody_asked() {
        let pod = Pod::default();
        let container = Container::default();
        let got = container_security_context(&pod, &container, Some(65532), "", &node())
            .expect("context");
        assert_eq!(got.run_as_user, int64(Some(65532)));
        let got =
            container_security_context(&pod, &container, None, "nobody", &node()).expect("context");
        assert_eq!(
            (got.run_as_user, got.run_as_username.as_str()),
            (None, "nobody")
        );
    }

    #[test]
    fn empty_localhost_seccomp_is_refused() {
        // CVE-2023-2431: an empty profile name once meant "unconfined".
        for name in [None, Some(String::new())] {
            let container = container_with(SecurityContext {
                seccomp_profile: Some(Box::new(SeccompProfile {
                    type_: "Localhost".to_owned(),
                    localhost_profile: name,
                })),
                ..Default::default()
            });
            let error = container_security_context(&Pod::default(), &container, None, "", &node())
                .expect_err("refused");
            assert_eq!(
                error,
                "localhostProfile must be set if seccompProfile type is Localhost."
            );
        }
    }

    #[test]
    fn non_root() {
        let mut pod = Pod::default();
        pod.metadata.name = "p".to_owned();
        pod.metadata.namespace = "ns".to_owned();
        pod.metadata.uid = "u".to_owned();
        let strict = |user| {
            container_with(SecurityContext {
                run_as_non_root: Some(true),
                run_as_user: user,
                ..Default::default()
            })
        };
        assert!(verify_run_as_non_root(&pod, &strict(Some(1)), Some(0), "").is_ok());
        assert_eq!(
            verify_run_as_non_root(&pod, &strict(Some(0)), Some(1), "").expect_err("root"),
            "container's runAsUser breaks non-root policy (pod: \"p_ns(u)\", container: c)"
        );
        assert_eq!(
            verify_run_as_non_root(&pod, &strict(None), Some(0), "").expect_err("root"),
            "container has runAsNonRoot and image will run as root (pod: \"p_ns(u)\", container: c)"
        );
        assert!(
            verify_run_as_non_root(&pod, &strict(None), None, "nobody")
                .expect_err("name")
                .contains("non-numeric user (nobody)")
        );
        assert!(verify_run_as_non_root(&pod, &strict(None), Some(5), "").is_ok());
    }
}
