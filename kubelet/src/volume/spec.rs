//! What a volume of a pod is, once claims are followed to their PersistentVolumes.
//!
//! Upstream: `volume.Spec` and `createVolumeSpec` of the desired state populator.

use std::sync::Arc;

use api_types::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeSource, Pod, Volume, VolumeSource,
};

use super::VolumeHost;

const GID_ANNOTATION: &str = "pv.beta.kubernetes.io/gid";
const MOUNT_OPTIONS_ANNOTATION: &str = "volume.beta.kubernetes.io/mount-options";
const PVC_PROTECTION: &str = "kubernetes.io/pvc-protection";

/// Where the volume's description comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The pod itself.
    Inline(Box<VolumeSource>),
    /// A PersistentVolume.
    Persistent(Arc<PersistentVolume>),
}

/// A volume as plugins see it.
#[derive(Clone, Debug)]
pub struct VolumeSpec {
    /// Name on disk: of the volume in the pod, or of the PersistentVolume.
    pub name: String,
    /// What it is.
    pub source: Source,
    /// The claim asks for read-only.
    pub read_only: bool,
    /// Name of the claim, if there is one.
    pub claim: Option<String>,
}

impl VolumeSpec {
    /// A volume that the pod describes.
    #[must_use]
    pub fn inline(name: &str, source: VolumeSource) -> Self {
        VolumeSpec {
            name: name.to_owned(),
            source: Source::Inline(Box::new(source)),
            read_only: false,
            claim: None,
        }
    }

    /// A volume behind a claim.
    #[must_use]
    pub fn persistent(volume: Arc<PersistentVolume>, claim: &str, read_only: bool) -> Self {
        VolumeSpec {
            name: volume.metadata.name.clone(),
            source: Source::Persistent(volume),
            read_only,
            claim: Some(claim.to_owned()),
        }
    }

    /// The description in the pod.
    #[must_use]
    pub fn volume(&self) -> Option<&VolumeSource> {
        match &self.source {
            Source::Inline(source) => Some(source),
            Source::Persistent(_) => None,
        }
    }

    /// The description in the PersistentVolume.
    #[must_use]
    pub fn persistent_source(&self) -> Option<&PersistentVolumeSource> {
        self.persistent_volume()
            .map(|volume| &volume.spec.persistent_volume_source)
    }

    /// The PersistentVolume.
    #[must_use]
    pub fn persistent_volume(&self) -> Option<&PersistentVolume> {
        match &self.source {
            Source::Inline(_) => None,
            Source::Persistent(volume) => Some(volume),
        }
    }

    /// Mount options of the PersistentVolume: of its annotation if it has that, else of its spec.
    #[must_use]
    pub fn mount_options(&self) -> Vec<String> {
        let Some(volume) = self.persistent_volume() else {
            return Vec::new();
        };
        match volume.metadata.annotations.get(MOUNT_OPTIONS_ANNOTATION) {
            Some(options) => options
                .split(',')
                .map(|option| option.trim().to_owned())
                .filter(|option| !option.is_empty())
                .collect(),
            None => volume.spec.mount_options.clone(),
        }
    }

    /// Group that containers need to use the volume.
    #[must_use]
    pub fn gid(&self) -> Option<i64> {
        self.persistent_volume()?
            .metadata
            .annotations
            .get(GID_ANNOTATION)?
            .parse()
            .ok()
    }
}

/// Follows a volume of a pod to what it is.
///
/// # Errors
/// With the text of the FailedMount event when a claim cannot be used.
pub async fn resolve(host: &VolumeHost, pod: &Pod, volume: &Volume) -> Result<VolumeSpec, String> {
    let source = &volume.volume_source;
    let (claim_name, read_only, ephemeral) =
        match (&source.persistent_volume_claim, &source.ephemeral) {
            (Some(claim), _) => (claim.claim_name.clone(), claim.read_only, false),
            (None, Some(_)) => (
                format!("{}-{}", pod.metadata.name, volume.name),
                false,
                true,
            ),
            (None, None) => return Ok(VolumeSpec::inline(&volume.name, source.clone())),
        };
    let namespace = &pod.metadata.namespace;
    let wrap = |error: String| format!("error processing PVC {namespace}/{claim_name}: {error}");
    let client = host
        .client
        .as_ref()
        .ok_or_else(|| wrap("no kubeClient defined".to_owned()))?;
    let claim = client
        .namespaced::<PersistentVolumeClaim>(namespace.as_str())
        .get(&claim_name)
        .await
        .map_err(|error| wrap(format!("failed to fetch PVC from API server: {error}")))?;
    let name = usable_claim(&claim).map_err(wrap)?;
    if ephemeral {
        claim_is_for_pod(pod, &claim)?;
    }
    let persistent = client
        .api::<PersistentVolume>()
        .get(name)
        .await
        .map_err(|error| {
            wrap(format!(
                "failed to fetch PV {name} from API server: {error}"
            ))
        })?;
    bound_to(&persistent, &claim.metadata.uid).map_err(wrap)?;
    check_mode(pod, &volume.name, &persistent)?;
    Ok(VolumeSpec::persistent(
        Arc::new(persistent),
        &claim_name,
        read_only,
    ))
}

/// Name of the PersistentVolume of a claim that may be used.
fn usable_claim(claim: &PersistentVolumeClaim) -> Result<&str, String> {
    let metadata = &claim.metadata;
    if metadata.deletion_timestamp.is_some()
        && !metadata
            .finalizers
            .iter()
            .any(|finalizer| finalizer == PVC_PROTECTION)
    {
        return Err("PVC is being deleted".to_owned());
    }
    if claim.status.phase != "Bound" {
        return Err("PVC is not bound".to_owned());
    }
    if claim.spec.volume_name.is_empty() {
        return Err("PVC has empty pvc.Spec.VolumeName".to_owned());
    }
    Ok(&claim.spec.volume_name)
}

/// Refuses the claim of somebody else that has the name of an ephemeral volume's claim.
fn claim_is_for_pod(pod: &Pod, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let owner = claim
        .metadata
        .owner_references
        .iter()
        .find(|owner| owner.controller == Some(true));
    if claim.metadata.namespace != pod.metadata.namespace
        || owner.is_none_or(|owner| owner.uid != pod.metadata.uid)
    {
        return Err(format!(
            "PVC {}/{} was not created for pod {}/{} (pod is not owner)",
            claim.metadata.namespace,
            claim.metadata.name,
            pod.metadata.namespace,
            pod.metadata.name
        ));
    }
    Ok(())
}

fn bound_to(volume: &PersistentVolume, claim_uid: &str) -> Result<(), String> {
    let name = &volume.metadata.name;
    match volume.spec.claim_ref.as_deref() {
        None => Err(format!(
            "found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        )),
        Some(claim) if claim.uid != claim_uid => Err(format!(
            "found PV object {name} but its pv.Spec.ClaimRef.UID {} does not point to claim.UID {claim_uid}",
            claim.uid
        )),
        Some(_) => Ok(()),
    }
}

/// Refuses volumes of another mode than the containers want.
fn check_mode(pod: &Pod, name: &str, volume: &PersistentVolume) -> Result<(), String> {
    let mode = volume.spec.volume_mode.as_deref().unwrap_or("Filesystem");
    let containers = crate::container::all_containers(&pod.spec);
    if mode != "Filesystem"
        && containers.iter().any(|container| {
            container
                .volume_mounts
                .iter()
                .any(|mount| mount.name == name)
        })
    {
        return Err(format!(
            "volume {name} has volumeMode {mode}, but is specified in volumeMounts"
        ));
    }
    if containers.iter().any(|container| {
        container
            .volume_devices
            .iter()
            .any(|device| device.name == name)
    }) {
        if mode != "Block" {
            return Err(format!(
                "volume {name} has volumeMode {mode}, but is specified in volumeDevices"
            ));
        }
        return Err(format!(
            "volume {name} has volumeMode Block, and block volumes cannot be used on this node"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{Container, ObjectReference, VolumeMount};
    use api_types::meta::v1::OwnerReference;

    use super::*;

    #[test]
    fn claims() {
        let mut claim = PersistentVolumeClaim::default();
        assert_eq!(usable_claim(&claim), Err("PVC is not bound".to_owned()));
        claim.status.phase = "Bound".to_owned();
        assert_eq!(
            usable_claim(&claim),
            Err("PVC has empty pvc.Spec.VolumeName".to_owned())
        );
        claim.spec.volume_name = "pv".to_owned();
        assert_eq!(usable_claim(&claim), Ok("pv"));
        claim.metadata.deletion_timestamp = Some(api_types::Time::now());
        assert_eq!(usable_claim(&claim), Err("PVC is being deleted".to_owned()));
        claim.metadata.finalizers.push(PVC_PROTECTION.to_owned());
        assert_eq!(usable_claim(&claim), Ok("pv"));
    }

    #[test]
    fn ephemeral_claims_belong_to_their_pod() {
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".to_owned();
        pod.metadata.name = "pod".to_owned();
        pod.metadata.uid = "1".to_owned();
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.namespace = "ns".to_owned();
        claim.metadata.name = "pod-v".to_owned();
        assert_eq!(
            claim_is_for_pod(&pod, &claim),
            Err("PVC ns/pod-v was not created for pod ns/pod (pod is not owner)".to_owned())
        );
        claim.metadata.owner_references = vec![OwnerReference {
            uid: "1".to_owned(),
            controller: Some(true),
            ..Default::default()
        }];
        assert_eq!(claim_is_for_pod(&pod, &claim), Ok(()));
    }

    #[test]
    fn volumes_of_claims() {
        let mut volume = PersistentVolume::default();
        volume.metadata.name = "pv".to_owned();
        assert!(
            bound_to(&volume, "1")
                .expect_err("unbound")
                .contains("nil pv.Spec.ClaimRef")
        );
        volume.spec.claim_ref = Some(Box::new(ObjectReference {
            uid: "2".to_owned(),
            ..Default::default()
        }));
        assert_eq!(
            bound_to(&volume, "1"),
            Err(
                "found PV object pv but its pv.Spec.ClaimRef.UID 2 does not point to claim.UID 1"
                    .to_owned()
            )
        );
        assert_eq!(bound_to(&volume, "2"), Ok(()));
        volume.spec.volume_mode = Some("Block".to_owned());
        let mut pod = Pod::default();
        pod.spec.containers = vec![Container {
            volume_mounts: vec![VolumeMount {
                name: "v".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        }];
        assert_eq!(
            check_mode(&pod, "v", &volume),
            Err("volume v has volumeMode Block, but is specified in volumeMounts".to_owned())
        );
        volume.spec.mount_options = vec!["hard".to_owned()];
        let spec = VolumeSpec::persistent(Arc::new(volume.clone()), "c", false);
        assert_eq!(spec.mount_options(), ["hard"]);
        volume
            .metadata
            .annotations
            .insert(MOUNT_OPTIONS_ANNOTATION.to_owned(), "ro,soft".to_owned());
        volume
            .metadata
            .annotations
            .insert(GID_ANNOTATION.to_owned(), "42".to_owned());
        let spec = VolumeSpec::persistent(Arc::new(volume), "c", false);
        assert_eq!(spec.mount_options(), ["ro", "soft"]);
        assert_eq!(spec.gid(), Some(42));
    }
}
