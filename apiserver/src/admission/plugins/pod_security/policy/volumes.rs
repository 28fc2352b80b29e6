//! The sources of volumes.

use std::collections::BTreeSet;

use api_types::core::v1::VolumeSource;

use super::pod::{Pod, Refusal, plural, quoted, quoted_set, refuse};

/// Only volumes of the API and of storage drivers.
pub(super) fn restricted(pod: Pod<'_>) -> Option<Refusal> {
    let mut types = BTreeSet::new();
    let mut wrong = Vec::new();
    for volume in &pod.spec.volumes {
        if !is_allowed(&volume.volume_source) {
            wrong.push(volume.name.as_str());
            types.insert(type_of(&volume.volume_source));
        }
    }
    if wrong.is_empty() {
        return None;
    }
    let noun = plural("volume", "volumes", wrong.len());
    let verb = plural("uses", "use", wrong.len());
    let kind = plural(
        "restricted volume type",
        "restricted volume types",
        types.len(),
    );
    let (wrong, types) = (quoted(wrong), quoted_set(&types));
    refuse(
        "restricted volume types",
        format!("{noun} {wrong} {verb} {kind} {types}"),
    )
}

fn is_allowed(source: &VolumeSource) -> bool {
    source.config_map.is_some()
        || source.csi.is_some()
        || source.downward_api.is_some()
        || source.empty_dir.is_some()
        || source.ephemeral.is_some()
        || source.image.is_some()
        || source.persistent_volume_claim.is_some()
        || source.projected.is_some()
        || source.secret.is_some()
}

fn type_of(source: &VolumeSource) -> &'static str {
    [
        (source.host_path.is_some(), "hostPath"),
        (source.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (
            source.aws_elastic_block_store.is_some(),
            "awsElasticBlockStore",
        ),
        (source.git_repo.is_some(), "gitRepo"),
        (source.nfs.is_some(), "nfs"),
        (source.iscsi.is_some(), "iscsi"),
        (source.glusterfs.is_some(), "glusterfs"),
        (source.rbd.is_some(), "rbd"),
        (source.flex_volume.is_some(), "flexVolume"),
        (source.cinder.is_some(), "cinder"),
        (source.cephfs.is_some(), "cephfs"),
        (source.flocker.is_some(), "flocker"),
        (source.fc.is_some(), "fc"),
        (source.azure_file.is_some(), "azureFile"),
        (source.vsphere_volume.is_some(), "vsphereVolume"),
        (source.quobyte.is_some(), "quobyte"),
        (source.azure_disk.is_some(), "azureDisk"),
        (
            source.photon_persistent_disk.is_some(),
            "photonPersistentDisk",
        ),
        (source.portworx_volume.is_some(), "portworxVolume"),
        (source.scale_io.is_some(), "scaleIO"),
        (source.storageos.is_some(), "storageos"),
    ]
    .into_iter()
    .find_map(|(is_set, name)| is_set.then_some(name))
    .unwrap_or("unknown")
}
