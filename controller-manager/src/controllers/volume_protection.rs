//! Keeps claims that pods use and volumes that claims use from being deleted, with finalizers. Upstream:
//! pkg/controller/volume/{pvcprotection,pvprotection}.

use std::collections::BTreeSet;

use api_types::List as _;
use api_types::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::{ListOptions, ObjectMeta};
use client::{Client, Lister, ObjectKey};

use super::controller_ref::{is_controlled_by, key_of};
use super::ephemeral_volume::claim_name;
use super::pod_state;
use super::{BuildError, Controller, Next, SyncError};
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
/// Name of the index of pods by the claims they use.
pub(super) const CLAIM_INDEX: &str = "pod-pvc-index";

/// What the finalizer of an object calls for.
#[derive(Debug, PartialEq)]
enum Need {
    Nothing,
    Add,
    /// Remove it when the object is not in use.
    Remove,
}

fn need(metadata: &ObjectMeta, finalizer: &str) -> Need {
    let has = metadata
        .finalizers
        .iter()
        .any(|present| present == finalizer);
    match (metadata.deletion_timestamp.is_some(), has) {
        (true, true) => Need::Remove,
        (false, false) => Need::Add,
        _ => Need::Nothing,
    }
}

fn change(metadata: &mut ObjectMeta, need: &Need, finalizer: &str) {
    match need {
        Need::Add => metadata.finalizers.push(finalizer.to_owned()),
        Need::Remove => metadata.finalizers.retain(|present| present != finalizer),
        Need::Nothing => {}
    }
}

/// The persistentvolume-protection-controller. Its keys are PersistentVolumes.
pub struct PvProtectionController {
    client: Client,
    volumes: Lister<PersistentVolume>,
}

impl Controller for PvProtectionController {
    const NAME: &'static str = "persistentvolume-protection-controller";
    const ALIASES: &'static [&'static str] = &["pv-protection"];
    const SERVICE_ACCOUNT: &'static str = "pv-protection-controller";
    const QUEUE: &'static str = "pvprotection";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let volumes = setup.informer::<PersistentVolume>();
        let to = queue.clone();
        on_change(&volumes, move |change| match change {
            Change::Added(volume, _) | Change::Updated(_, volume)
                if need(&volume.metadata, VOLUME_FINALIZER) != Need::Nothing =>
            {
                to.add(key_of(&volume.metadata))
            }
            _ => {}
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            volumes: volumes.lister(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        1
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(volume) = self.volumes.get(key) else {
            return Ok(Next::Done);
        };
        let need = need(&volume.metadata, VOLUME_FINALIZER);
        if need == Need::Nothing || (need == Need::Remove && volume.status.phase == "Bound") {
            return Ok(Next::Done);
        }
        let mut volume = (*volume).clone();
        change(&mut volume.metadata, &need, VOLUME_FINALIZER);
        self.client
            .api::<PersistentVolume>()
            .update(&volume)
            .await?;
        Ok(Next::Done)
    }
}

/// The persistentvolumeclaim-protection-controller. Its keys are PersistentVolumeClaims.
pub struct PvcProtectionController {
    client: Client,
    claims: Lister<PersistentVolumeClaim>,
    pods: Lister<Pod>,
}

impl Controller for PvcProtectionController {
    const NAME: &'static str = "persistentvolumeclaim-protection-controller";
    const ALIASES: &'static [&'static str] = &["pvc-protection"];
    const SERVICE_ACCOUNT: &'static str = "pvc-protection-controller";
    const QUEUE: &'static str = "pvcprotection";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let claims = setup.informer::<PersistentVolumeClaim>();
        let to = queue.clone();
        on_change(&claims, move |change| match change {
            Change::Added(claim, _) | Change::Updated(_, claim)
                if need(&claim.metadata, CLAIM_FINALIZER) != Need::Nothing =>
            {
                to.add(key_of(&claim.metadata))
            }
            _ => {}
        });
        let pods = setup.informer::<Pod>();
        index_by_claim(&pods);
        let to = queue.clone();
        on_change(&pods, move |change| {
            let add = |pod: &Pod| {
                for name in claims_of(pod) {
                    to.add(ObjectKey::new(&*pod.metadata.namespace, name));
                }
            };
            // Only pods that stop using their claims free them.
            match change {
                Change::Deleted(pod) => add(pod),
                Change::Added(pod, _) | Change::Updated(_, pod)
                    if is_shut_down(pod) || pod.spec.node_name.is_empty() =>
                {
                    add(pod)
                }
                _ => {}
            }
            if let Change::Updated(old, new) = change
                && old.metadata.uid != new.metadata.uid
            {
                add(old);
            }
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            claims: claims.lister(),
            pods: pods.lister(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        1
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(claim) = self.claims.get(key) else {
            return Ok(Next::Done);
        };
        let need = need(&claim.metadata, CLAIM_FINALIZER);
        if need == Need::Nothing || (need == Need::Remove && self.is_used(&claim).await?) {
            return Ok(Next::Done);
        }
        let mut claim = (*claim).clone();
        change(&mut claim.metadata, &need, CLAIM_FINALIZER);
        let api = self
            .client
            .namespaced::<PersistentVolumeClaim>(key.namespace.as_str());
        api.update(&claim).await?;
        Ok(Next::Done)
    }
}

impl PvcProtectionController {
    /// The cache may not know a pod yet that was just placed: only the apiserver can say that no pod uses the claim.
    async fn is_used(&self, claim: &PersistentVolumeClaim) -> Result<bool, SyncError> {
        let index = format!("{}/{}", claim.metadata.namespace, claim.metadata.name);
        if self
            .pods
            .by_index(CLAIM_INDEX, &index)
            .iter()
            .any(|pod| uses(pod, claim))
        {
            return Ok(true);
        }
        let api = self
            .client
            .namespaced::<Pod>(claim.metadata.namespace.as_str());
        let live = api.list(&ListOptions::default()).await?;
        Ok(live.items().iter().any(|pod| uses(pod, claim)))
    }
}

/// Indexes pods by `namespace/claim`.
pub(super) fn index_by_claim(pods: &client::SharedInformer<Pod>) {
    pods.add_index(CLAIM_INDEX, |pod: &Pod| {
        let namespace = &pod.metadata.namespace;
        claims_of(pod)
            .into_iter()
            .map(|name| format!("{namespace}/{name}"))
            .collect()
    });
}

/// Names of the claims a pod uses, those of its ephemeral volumes among them.
fn claims_of(pod: &Pod) -> BTreeSet<String> {
    pod.spec
        .volumes
        .iter()
        .filter_map(|volume| {
            let source = &volume.volume_source;
            match &source.persistent_volume_claim {
                Some(claim) => Some(claim.claim_name.clone()),
                None => source.ephemeral.as_ref().map(|_| claim_name(pod, volume)),
            }
        })
        .collect()
}

fn is_shut_down(pod: &Pod) -> bool {
    pod_state::is_terminal(pod)
        || (pod.metadata.deletion_timestamp.is_some()
            && pod.metadata.deletion_grace_period_seconds == Some(0))
}

/// The pod keeps the claim from being deleted. One that was never placed does not: it would wait for ever.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let gone = pod.metadata.deletion_timestamp.is_some()
        && pod.metadata.deletion_grace_period_seconds == Some(0);
    !pod.spec.node_name.is_empty()
        && pod.spec.volumes.iter().any(|volume| {
            let source = &volume.volume_source;
            let named = source.persistent_volume_claim.as_ref();
            named.is_some_and(|named| named.claim_name == claim.metadata.name)
                || (!gone
                    && source.ephemeral.is_some()
                    && claim_name(pod, volume) == claim.metadata.name
                    && is_controlled_by(&claim.metadata, &pod.metadata))
        })
}

#[cfg(test)]
mod tests {
    use api_types::Time;
    use api_types::core::v1::{EphemeralVolumeSource, PersistentVolumeClaimVolumeSource, Volume};

    use super::*;

    fn pod_with_claim(name: &str, claim: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".into();
        pod.metadata.name = name.into();
        let mut volume = Volume::default();
        volume.volume_source.persistent_volume_claim =
            Some(Box::new(PersistentVolumeClaimVolumeSource {
                claim_name: claim.into(),
                ..Default::default()
            }));
        pod.spec.volumes.push(volume);
        pod
    }

    #[test]
    fn finalizers() {
        let check = |deleted: bool, has: bool, expected: Need| {
            let metadata = ObjectMeta {
                deletion_timestamp: deleted.then(|| Time::from_unix(1)),
                finalizers: if has {
                    vec!["other".into(), CLAIM_FINALIZER.into()]
                } else {
                    vec![]
                },
                ..Default::default()
            };
            assert_eq!(need(&metadata, CLAIM_FINALIZER), expected);
        };
        check(false, false, Need::Add);
        check(false, true, Need::Nothing);
        check(true, true, Need::Remove);
        check(true, false, Need::Nothing);
    }

    #[test]
    fn who_uses_a_claim() {
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.name = "data".into();
        let mut pod = pod_with_claim("p", "data");
        assert!(!uses(&pod, &claim), "it is not placed");
        pod.spec.node_name = "n".into();
        assert!(uses(&pod, &claim));
        pod.status.phase = "Succeeded".into();
        assert!(
            uses(&pod, &claim),
            "an ended pod may still have the volume mounted"
        );

        let mut pod = Pod::default();
        pod.metadata.name = "p".into();
        pod.metadata.uid = "u".into();
        pod.spec.node_name = "n".into();
        let mut volume = Volume {
            name: "scratch".into(),
            ..Default::default()
        };
        volume.volume_source.ephemeral = Some(Box::new(EphemeralVolumeSource::default()));
        pod.spec.volumes.push(volume);
        claim.metadata.name = "p-scratch".into();
        assert!(!uses(&pod, &claim), "the claim is not the pod's");
        claim
            .metadata
            .owner_references
            .push(super::super::controller_ref::new_controller_ref(&pod));
        assert!(uses(&pod, &claim));
        pod.metadata.deletion_timestamp = Some(Time::from_unix(1));
        pod.metadata.deletion_grace_period_seconds = Some(0);
        assert!(!uses(&pod, &claim));
    }
}
