//! What a write takes out of a pod's spec because its feature is off and the stored pod does not use it.
//! Upstream: dropDisabledFields in pkg/api/pod.
//!
//! Gates that are locked on, as most are, have nothing to drop.

use api_types::core::v1::{Container, ContainerStatus, PodSpec, PodStatus, PodTemplateSpec};

use crate::apis::gates;
use crate::apis::validation::pods::containers;
use apimachinery::field::Path;

/// Changes every container, ephemeral ones through their common part.
macro_rules! each_container {
    ($spec:expr, |$container:ident| $change:expr) => {{
        for $container in $spec
            .init_containers
            .iter_mut()
            .chain(&mut $spec.containers)
        {
            $change;
        }
        for ephemeral in &mut $spec.ephemeral_containers {
            let $container = &mut ephemeral.ephemeral_container_common;
            $change;
        }
    }};
}

fn any_container(spec: Option<&PodSpec>, test: impl Fn(&Container) -> bool) -> bool {
    spec.is_some_and(|spec| {
        containers(spec, &Path::nil())
            .iter()
            .any(|(container, _)| test(container))
    })
}

/// Whether a feature is off that the stored spec does not use either.
fn unused(gate: &str, in_use: bool) -> bool {
    !gates::enabled(gate) && !in_use
}

pub(super) fn drop_disabled_template_fields(
    template: &mut PodTemplateSpec,
    old: Option<&PodTemplateSpec>,
) {
    drop_disabled_fields(&mut template.spec, old.map(|old| &old.spec));
}

pub(super) fn drop_disabled_fields(spec: &mut PodSpec, old: Option<&PodSpec>) {
    if unused(
        "UserNamespacesSupport",
        old.is_some_and(|old| old.host_users.is_some()),
    ) {
        spec.host_users = None;
    }
    let has_resources = |old: &PodSpec| {
        let resources = old.resources.as_ref();
        resources
            .is_some_and(|resources| !resources.requests.is_empty() || !resources.limits.is_empty())
    };
    if unused("PodLevelResources", old.is_some_and(has_resources)) {
        spec.resources = None;
    }
    let unmasked = |container: &Container| {
        let context = container.security_context.as_ref();
        context.is_some_and(|context| {
            context
                .proc_mount
                .as_deref()
                .is_some_and(|mount| mount != "Default")
        })
    };
    if unused("ProcMountType", any_container(old, unmasked)) {
        each_container!(spec, |container| {
            if let Some(context) = &mut container.security_context
                && context.proc_mount.is_some()
            {
                context.proc_mount = Some("Default".to_owned());
            }
        });
    }
    let spread_keys = |old: &PodSpec| {
        let mut constraints = old.topology_spread_constraints.iter();
        constraints.any(|constraint| !constraint.match_label_keys.is_empty())
    };
    if unused(
        "MatchLabelKeysInPodTopologySpread",
        old.is_some_and(spread_keys),
    ) {
        for constraint in &mut spec.topology_spread_constraints {
            constraint.match_label_keys.clear();
        }
    }
    if unused(
        "DynamicResourceAllocation",
        old.is_some_and(|old| !old.resource_claims.is_empty()),
    ) {
        each_container!(spec, |container| container.resources.claims.clear());
        spec.resource_claims.clear();
    }
    projections(spec, old);
    if unused(
        "GenericWorkload",
        old.is_some_and(|old| old.scheduling_group.is_some()),
    ) {
        spec.scheduling_group = None;
    }
    let resizes = |container: &Container| !container.resize_policy.is_empty();
    if unused("InPlacePodVerticalScaling", any_container(old, resizes)) {
        each_container!(spec, |container| container.resize_policy.clear());
    }
    let has_rules = old.is_some_and(|old| {
        old.containers
            .iter()
            .any(|container| container.restart_policy.is_some())
            || old.init_containers.iter().any(|container| {
                container
                    .restart_policy
                    .as_deref()
                    .is_some_and(|policy| policy != "Always")
                    || !container.restart_policy_rules.is_empty()
            })
    });
    if unused("ContainerRestartRules", has_rules) {
        restart_rules(spec);
    }
    if unused(
        "HostnameOverride",
        old.is_some_and(|old| old.hostname_override.is_some()),
    ) {
        spec.hostname_override = None;
    }
    let reads_files = |container: &Container| {
        let mut sources = container
            .env
            .iter()
            .filter_map(|env| env.value_from.as_ref());
        sources.any(|source| source.file_key_ref.is_some())
    };
    if unused("EnvFiles", any_container(old, reads_files)) {
        each_container!(spec, |container| {
            for source in container
                .env
                .iter_mut()
                .filter_map(|env| env.value_from.as_mut())
            {
                source.file_key_ref = None;
            }
        });
    }
    let image_volumes = |spec: &PodSpec| {
        spec.volumes
            .iter()
            .any(|volume| volume.volume_source.image.is_some())
    };
    if unused("ImageVolume", old.is_some_and(image_volumes)) {
        drop_image_volumes(spec);
    }
    let old_context = old.and_then(|old| old.security_context.as_ref());
    let changes_labels =
        old_context.is_some_and(|context| context.se_linux_change_policy.is_some());
    if unused("SELinuxChangePolicy", changes_labels)
        && let Some(context) = &mut spec.security_context
    {
        context.se_linux_change_policy = None;
    }
    let stops = |container: &Container| {
        let hooks = container.lifecycle.as_ref();
        hooks.is_some_and(|hooks| hooks.stop_signal.is_some())
    };
    if unused("ContainerStopSignals", any_container(old, stops)) {
        each_container!(spec, |container| {
            if let Some(hooks) = &mut container.lifecycle
                && hooks.stop_signal.take().is_some()
                && hooks.pre_stop.is_none()
                && hooks.post_start.is_none()
            {
                container.lifecycle = None;
            }
        });
    }
}

fn projections(spec: &mut PodSpec, old: Option<&PodSpec>) {
    let old_sources: Vec<_> = old
        .into_iter()
        .flat_map(|old| &old.volumes)
        .filter_map(|volume| volume.volume_source.projected.as_ref())
        .flat_map(|projected| &projected.sources)
        .collect();
    let bundles = unused(
        "ClusterTrustBundleProjection",
        old_sources
            .iter()
            .any(|source| source.cluster_trust_bundle.is_some()),
    );
    let certificates = unused(
        "PodCertificateRequest",
        old_sources
            .iter()
            .any(|source| source.pod_certificate.is_some()),
    );
    for volume in &mut spec.volumes {
        let Some(projected) = &mut volume.volume_source.projected else {
            continue;
        };
        for source in &mut projected.sources {
            if bundles {
                source.cluster_trust_bundle = None;
            }
            if certificates {
                source.pod_certificate = None;
            }
        }
    }
}

fn restart_rules(spec: &mut PodSpec) {
    for container in &mut spec.init_containers {
        if container
            .restart_policy
            .as_deref()
            .is_some_and(|policy| policy != "Always")
        {
            container.restart_policy = None;
        }
        container.restart_policy_rules.clear();
    }
    for container in &mut spec.containers {
        container.restart_policy = None;
        container.restart_policy_rules.clear();
    }
    for ephemeral in &mut spec.ephemeral_containers {
        ephemeral.ephemeral_container_common.restart_policy = None;
        ephemeral
            .ephemeral_container_common
            .restart_policy_rules
            .clear();
    }
}

fn drop_image_volumes(spec: &mut PodSpec) {
    let names: Vec<String> = spec
        .volumes
        .iter()
        .filter(|volume| volume.volume_source.image.is_some())
        .map(|volume| volume.name.clone())
        .collect();
    spec.volumes
        .retain(|volume| volume.volume_source.image.is_none());
    each_container!(spec, |container| {
        container
            .volume_mounts
            .retain(|mount| !names.contains(&mount.name));
    });
}

/// The same for what is reported of a pod.
pub(super) fn drop_disabled_status_fields(status: &mut PodStatus, old: Option<&PodStatus>) {
    let has_resources =
        |old: &PodStatus| old.resources.is_some() || !old.allocated_resources.is_empty();
    if unused(
        "InPlacePodLevelResourcesVerticalScaling",
        old.is_some_and(has_resources),
    ) {
        status.resources = None;
        status.allocated_resources.clear();
    }
    if unused(
        "DRAExtendedResource",
        old.is_some_and(|old| old.extended_resource_claim_status.is_some()),
    ) {
        status.extended_resource_claim_status = None;
    }
    let any = |test: fn(&ContainerStatus) -> bool| {
        old.is_some_and(|old| {
            let mut all = old
                .container_statuses
                .iter()
                .chain(&old.init_container_statuses)
                .chain(&old.ephemeral_container_statuses);
            all.any(test)
        })
    };
    let health = unused(
        "ResourceHealthStatus",
        any(|status| !status.allocated_resources_status.is_empty()),
    );
    let digests = unused(
        "ImageVolumeWithDigest",
        any(|status| {
            status
                .volume_mounts
                .iter()
                .any(|mount| mount.volume_status.is_some())
        }),
    );
    let messages = unused(
        "ResourceHealthStatusMessage",
        any(|status| {
            let mut all = status
                .allocated_resources_status
                .iter()
                .flat_map(|resource| &resource.resources);
            all.any(|health| health.message.is_some())
        }),
    );
    let all = status
        .container_statuses
        .iter_mut()
        .chain(&mut status.init_container_statuses)
        .chain(&mut status.ephemeral_container_statuses);
    for container in all {
        if health {
            container.allocated_resources_status.clear();
        }
        if digests {
            for mount in &mut container.volume_mounts {
                mount.volume_status = None;
            }
        }
        if messages {
            let resources = container.allocated_resources_status.iter_mut();
            for health in resources.flat_map(|resource| &mut resource.resources) {
                health.message = None;
            }
        }
    }
    let claims = |old: &PodStatus| !old.node_allocatable_resource_claim_statuses.is_empty();
    if unused("DRANodeAllocatableResources", old.is_some_and(claims)) {
        status.node_allocatable_resource_claim_statuses.clear();
    }
}
