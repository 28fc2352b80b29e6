//! Keeps claims that pods use, volumes that claims use, and attributes classes that either names from being deleted, with
//! finalizers. Upstream: pkg/controller/volume/{pvcprotection,pvprotection,vacprotection}.

use std::collections::BTreeSet;

use api_types::List as _;
use api_types::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::{ListOptions, ObjectMeta};
use api_types::storage::v1::VolumeAttributesClass;
use client::{Client, Lister, ObjectKey};

use super::controller_ref::{is_controlled_by, key_of};
use super::ephemeral_volume::claim_name;
use super::pod_state;
use super::{BuildError, Controller, Default, Next, SyncError};
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
const CLASS_FINALIZER: &str = "kubernetes.io/vac-protection";
/// Name of the indexes of claims and volumes by the attributes classes they name.
const CLASS_INDEX: &str = "volumeAttributesClassName";
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

/// The volumeattributesclass-protection-controller. Its keys are VolumeAttributesClasses.
///
/// As upstream's it believes its caches: a claim made in the moment of the deletion may find its class gone.
pub struct VacProtectionController {
    client: Client,
    classes: Lister<VolumeAttributesClass>,
    claims: Lister<PersistentVolumeClaim>,
    volumes: Lister<PersistentVolume>,
}

impl Controller for VacProtectionController {
    const NAME: &'static str = "volumeattributesclass-protection-controller";
    const DEFAULT: Default = Default::Gated(&["VolumeAttributesClass"]);
    const SERVICE_ACCOUNT: &'static str = "volumeattributesclass-protection-controller";
    const QUEUE: &'static str = "vacprotection";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let classes = setup.informer::<VolumeAttributesClass>();
        let to = queue.clone();
        on_change(&classes, move |change| match change {
            Change::Added(class, _) | Change::Updated(_, class)
                if need(&class.metadata, CLASS_FINALIZER) != Need::Nothing =>
            {
                to.add(key_of(&class.metadata))
            }
            _ => {}
        });
        let claims = setup.informer::<PersistentVolumeClaim>();
        claims.add_index(CLASS_INDEX, |claim| classes_of_claim(claim));
        on_change(&claims, freed(queue, classes_of_claim));
        let volumes = setup.informer::<PersistentVolume>();
        volumes.add_index(CLASS_INDEX, |volume| classes_of_volume(volume));
        on_change(&volumes, freed(queue, classes_of_volume));
        Ok(Some(Self {
            client: setup.client.clone(),
            classes: classes.lister(),
            claims: claims.lister(),
            volumes: volumes.lister(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        1
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(class) = self.classes.get(key) else {
            return Ok(Next::Done);
        };
        let need = need(&class.metadata, CLASS_FINALIZER);
        let name = &key.name;
        let used = || {
            !self.volumes.by_index(CLASS_INDEX, name).is_empty()
                || !self.claims.by_index(CLASS_INDEX, name).is_empty()
        };
        if need == Need::Nothing || (need == Need::Remove && used()) {
            return Ok(Next::Done);
        }
        let mut class = (*class).clone();
        change(&mut class.metadata, &need, CLASS_FINALIZER);
        self.client
            .api::<VolumeAttributesClass>()
            .update(&class)
            .await?;
        Ok(Next::Done)
    }
}

/// Wakes the classes that an object does not name any more.
fn freed<T: 'static>(
    queue: &Queue<ObjectKey>,
    classes: fn(&T) -> Vec<String>,
) -> impl Fn(Change<'_, T>) + Send + Sync + 'static {
    let to = queue.clone();
    move |change| {
        let freed = match change {
            Change::Added(..) => Vec::new(),
            Change::Updated(old, new) => {
                let kept = classes(new);
                let mut old = classes(old);
                old.retain(|class| !kept.contains(class));
                old
            }
            Change::Deleted(object) => classes(object),
        };
        for class in freed {
            to.add(ObjectKey::cluster(class));
        }
    }
}

/// The attributes classes a claim names: the wanted, the current, and the one it is on its way to.
fn classes_of_claim(claim: &PersistentVolumeClaim) -> Vec<String> {
    let status = &claim.status;
    let modified = status.modify_volume_status.as_deref();
    let names = [
        claim.spec.volume_attributes_class_name.as_deref(),
        status.current_volume_attributes_class_name.as_deref(),
        modified.map(|modified| modified.target_volume_attributes_class_name.as_str()),
    ];
    let names: BTreeSet<&str> = names
        .into_iter()
        .flatten()
        .filter(|name| !name.is_empty())
        .collect();
    names.into_iter().map(str::to_owned).collect()
}

fn classes_of_volume(volume: &PersistentVolume) -> Vec<String> {
    let name = volume.spec.volume_attributes_class_name.iter();
    name.filter(|name| !name.is_empty()).cloned().collect()
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
    use std::sync::Arc;

    use api_types::Time;
    use api_types::core::v1::{
        EphemeralVolumeSource, ModifyVolumeStatus, PersistentVolumeClaimVolumeSource, Volume,
    };

    use super::*;
    use crate::controllers::test_server::{TestServer, of_json};

    fn pod_with_claim(name: &str, claim: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".into();
        pod.metadata.name = name.into();
        let mut volume = Volume::default();
        volume.volume_source.persistent_volume_claim =
            Some(Box::new(PersistentVolumeClaimVolumeSource {
                claim_name: claim.into(),
                ..std::default::Default::default()
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
                ..std::default::Default::default()
            };
            assert_eq!(need(&metadata, CLAIM_FINALIZER), expected);
        };
        check(false, false, Need::Add);
        check(false, true, Need::Nothing);
        check(true, true, Need::Remove);
        check(true, false, Need::Nothing);
    }

    #[tokio::test]
    async fn a_class_goes_when_nothing_names_it() {
        let server = Arc::new(TestServer::default());
        let class: VolumeAttributesClass = of_json(serde_json::json!({
            "driverName": "d", "metadata": {"name": "gold", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["other", CLASS_FINALIZER]}}));
        server.put(&class);
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.name = "c".into();
        claim.status.modify_volume_status = Some(Box::new(ModifyVolumeStatus {
            target_volume_attributes_class_name: "gold".into(),
            ..std::default::Default::default()
        }));
        claim.spec.volume_attributes_class_name = Some("gold".into());
        assert_eq!(classes_of_claim(&claim), ["gold"]);
        let controller = |claims: Vec<PersistentVolumeClaim>| VacProtectionController {
            client: server.client(),
            classes: Lister::of([class.clone()]),
            claims: Lister::of(claims).with_index(CLASS_INDEX, classes_of_claim),
            volumes: Lister::of([]).with_index(CLASS_INDEX, classes_of_volume),
        };
        let key = ObjectKey::cluster("gold");
        controller(vec![claim]).sync(&key).await.unwrap();
        assert!(server.writes().is_empty(), "a claim names it");
        controller(vec![]).sync(&key).await.unwrap();
        let left = server.all::<VolumeAttributesClass>().remove(0);
        assert_eq!(left.metadata.finalizers, ["other"]);
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
            ..std::default::Default::default()
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
