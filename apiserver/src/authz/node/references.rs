//! Every object that a pod or a persistent volume names. Upstream: pkg/api/v1/pod VisitPodSecretNames and its siblings.
//!
//! All lists of containers are visited (init, app, ephemeral): a policy that looks at one of them only is a hole.

use api_types::core::v1::{
    EnvFromSource, EnvVar, LocalObjectReference, PersistentVolume, Pod, Volume,
};

use super::graph::{Key, Kind};

const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

pub(super) fn of_pod(pod: &Pod) -> Vec<Key> {
    let namespace = &pod.metadata.namespace;
    let mut keys = vec![(Kind::Pod, namespace.clone(), pod.metadata.name.clone())];
    // A node makes its own mirror pods: they must not be a way to reach anything.
    if pod.metadata.annotations.contains_key(MIRROR_ANNOTATION) {
        return keys;
    }
    let mut add = |kind: Kind, name: &str| {
        if !name.is_empty() {
            let key = (kind, namespace.clone(), name.to_owned());
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    };
    add(Kind::ServiceAccount, &pod.spec.service_account_name);
    for secret in &pod.spec.image_pull_secrets {
        add(Kind::Secret, &secret.name);
    }
    for container in pod.spec.init_containers.iter().chain(&pod.spec.containers) {
        of_environment(&container.env, &container.env_from, &mut add);
    }
    for container in &pod.spec.ephemeral_containers {
        let container = &container.ephemeral_container_common;
        of_environment(&container.env, &container.env_from, &mut add);
    }
    for volume in &pod.spec.volumes {
        of_volume(&pod.metadata.name, volume, &mut add);
    }
    for claim in &pod.spec.resource_claims {
        if let Some(name) = &claim.resource_claim_name {
            add(Kind::ResourceClaim, name);
        } else if let Some(status) = pod
            .status
            .resource_claim_statuses
            .iter()
            .find(|status| status.name == claim.name)
        {
            add(
                Kind::ResourceClaim,
                status.resource_claim_name.as_deref().unwrap_or_default(),
            );
        }
    }
    if let Some(status) = &pod.status.extended_resource_claim_status {
        add(Kind::ResourceClaim, &status.resource_claim_name);
    }
    keys
}

fn of_environment(env: &[EnvVar], env_from: &[EnvFromSource], add: &mut dyn FnMut(Kind, &str)) {
    for source in env_from {
        if let Some(reference) = &source.secret_ref {
            add(Kind::Secret, &reference.local_object_reference.name);
        }
        if let Some(reference) = &source.config_map_ref {
            add(Kind::ConfigMap, &reference.local_object_reference.name);
        }
    }
    for source in env
        .iter()
        .filter_map(|variable| variable.value_from.as_deref())
    {
        if let Some(reference) = &source.secret_key_ref {
            add(Kind::Secret, &reference.local_object_reference.name);
        }
        if let Some(reference) = &source.config_map_key_ref {
            add(Kind::ConfigMap, &reference.local_object_reference.name);
        }
    }
}

fn of_volume(pod: &str, volume: &Volume, add: &mut dyn FnMut(Kind, &str)) {
    let source = &volume.volume_source;
    if let Some(secret) = &source.secret {
        add(Kind::Secret, &secret.secret_name);
    }
    if let Some(config_map) = &source.config_map {
        add(Kind::ConfigMap, &config_map.local_object_reference.name);
    }
    for projection in source
        .projected
        .iter()
        .flat_map(|projected| &projected.sources)
    {
        if let Some(secret) = &projection.secret {
            add(Kind::Secret, &secret.local_object_reference.name);
        }
        if let Some(config_map) = &projection.config_map {
            add(Kind::ConfigMap, &config_map.local_object_reference.name);
        }
    }
    if let Some(claim) = &source.persistent_volume_claim {
        add(Kind::PersistentVolumeClaim, &claim.claim_name);
    } else if source.ephemeral.is_some() {
        add(
            Kind::PersistentVolumeClaim,
            &format!("{pod}-{}", volume.name),
        );
    }
    if let Some(azure) = &source.azure_file {
        add(Kind::Secret, &azure.secret_name);
    }
    let secret_references: [Option<&LocalObjectReference>; 8] = [
        source
            .cephfs
            .as_ref()
            .and_then(|volume| volume.secret_ref.as_deref()),
        source
            .cinder
            .as_ref()
            .and_then(|volume| volume.secret_ref.as_deref()),
        source
            .flex_volume
            .as_ref()
            .and_then(|volume| volume.secret_ref.as_deref()),
        source
            .rbd
            .as_ref()
            .and_then(|volume| volume.secret_ref.as_deref()),
        source
            .scale_io
            .as_ref()
            .and_then(|volume| volume.secret_ref.as_deref()),
        source
            .iscsi
            .as_ref()
            .and_then(|volume| volume.secret_ref.as_deref()),
        source
            .storageos
            .as_ref()
            .and_then(|volume| volume.secret_ref.as_deref()),
        source
            .csi
            .as_ref()
            .and_then(|volume| volume.node_publish_secret_ref.as_deref()),
    ];
    for reference in secret_references.into_iter().flatten() {
        add(Kind::Secret, &reference.name);
    }
}

/// The secrets that a kubelet needs to mount the volume. What only controllers need (publishing, expanding) is left out.
pub(super) fn of_persistent_volume(volume: &PersistentVolume) -> Vec<Key> {
    let source = &volume.spec.persistent_volume_source;
    let claim_namespace = volume
        .spec
        .claim_ref
        .as_ref()
        .map(|claim| claim.namespace.as_str())
        .unwrap_or_default();
    let mut secrets = Vec::new();
    let mut add = |namespace: &str, name: &str| {
        if !name.is_empty() {
            secrets.push((Kind::Secret, namespace.to_owned(), name.to_owned()));
        }
    };
    if let Some(azure) = &source.azure_file {
        let namespace = azure
            .secret_namespace
            .as_deref()
            .filter(|namespace| !namespace.is_empty());
        add(namespace.unwrap_or(claim_namespace), &azure.secret_name);
    }
    // Volumes written before the reference had a namespace mean the claim's.
    let with_fallback = [
        source
            .cephfs
            .as_ref()
            .and_then(|volume| volume.secret_ref.as_deref()),
        source
            .flex_volume
            .as_ref()
            .and_then(|volume| volume.secret_ref.as_deref()),
        source
            .rbd
            .as_ref()
            .and_then(|volume| volume.secret_ref.as_deref()),
        source
            .scale_io
            .as_ref()
            .and_then(|volume| volume.secret_ref.as_deref()),
        source
            .iscsi
            .as_ref()
            .and_then(|volume| volume.secret_ref.as_deref()),
    ];
    for reference in with_fallback.into_iter().flatten() {
        add(
            if reference.namespace.is_empty() {
                claim_namespace
            } else {
                &reference.namespace
            },
            &reference.name,
        );
    }
    if let Some(reference) = source
        .cinder
        .as_ref()
        .and_then(|volume| volume.secret_ref.as_deref())
    {
        add(&reference.namespace, &reference.name);
    }
    if let Some(reference) = source
        .storageos
        .as_ref()
        .and_then(|volume| volume.secret_ref.as_deref())
    {
        add(&reference.namespace, &reference.name);
    }
    if let Some(csi) = &source.csi {
        for reference in [
            &csi.node_publish_secret_ref,
            &csi.node_stage_secret_ref,
            &csi.node_expand_secret_ref,
        ]
        .into_iter()
        .flatten()
        {
            add(&reference.namespace, &reference.name);
        }
    }
    secrets
}
