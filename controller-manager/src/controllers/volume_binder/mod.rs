//! Binds PersistentVolumeClaims to PersistentVolumes and lets volumes go when their claim does. Upstream:
//! pkg/controller/volume/persistentvolume.
//!
//! Binding takes four writes: the volume's claimRef, its phase, the claim's volumeName, its status. Any of them may be the last one
//! before a crash: each sync goes on where the last one ended. Two claims cannot take one volume, since the write of claimRef is
//! guarded by the volume's version.
//!
//! Volumes are made and deleted by external provisioners. Upstream's few remaining in-tree ones are not here.

/// Which volume suits a claim.
mod matching;

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::storage::v1::StorageClass;
use client::{Client, EventRecorder, Lister, ObjectKey, object_reference};
use tokio_util::sync::CancellationToken;

use self::matching::{claim_class, default_class, is_bound_to, modes_differ, names_class};
use super::controller_ref::key_of;
use super::volume_protection::{CLAIM_INDEX, index_by_claim};
use super::{Backoff, BuildError, Controller, Next, SyncError};
use crate::context::{Setup, on_change};
use crate::runner::{Queue, work};

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONER: [&str; 2] = [
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/storage-provisioner",
];

/// The persistentvolume-binder-controller. Its keys are claims; volumes have a queue of their own.
pub struct VolumeBinderController {
    client: Client,
    recorder: EventRecorder,
    claims: Lister<PersistentVolumeClaim>,
    volumes: Lister<PersistentVolume>,
    classes: Lister<StorageClass>,
    pods: Lister<Pod>,
    queue: Queue<ObjectKey>,
    changed_volumes: Queue<ObjectKey>,
    period: Duration,
}

impl Controller for VolumeBinderController {
    const NAME: &'static str = "persistentvolume-binder-controller";
    const ALIASES: &'static [&'static str] = &["persistentvolume-binder"];
    const SERVICE_ACCOUNT: &'static str = "persistent-volume-binder";
    const QUEUE: &'static str = "claims";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let changed_volumes: Queue<ObjectKey> = setup.queue("volumes", Backoff::DEFAULT);
        let claims = setup.informer::<PersistentVolumeClaim>();
        let (to, volumes_to) = (queue.clone(), changed_volumes.clone());
        on_change(&claims, move |change| {
            let claim = change.object();
            to.add(key_of(&claim.metadata));
            // The claim's end releases its volume.
            if !claim.spec.volume_name.is_empty() {
                volumes_to.add(ObjectKey::cluster(claim.spec.volume_name.as_str()));
            }
        });
        let volumes = setup.informer::<PersistentVolume>();
        let to = changed_volumes.clone();
        on_change(&volumes, move |change| {
            to.add(key_of(&change.object().metadata))
        });
        let pods = setup.informer::<Pod>();
        index_by_claim(&pods);
        let config = &setup.config().persistent_volume_binder_controller;
        Ok(Some(Self {
            client: setup.client.clone(),
            recorder: setup.recorder("persistentvolume-controller"),
            claims: claims.lister(),
            volumes: volumes.lister(),
            classes: setup.informer::<StorageClass>().lister(),
            pods: pods.lister(),
            queue: queue.clone(),
            changed_volumes,
            period: config.pv_claim_binder_sync_period.as_std(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        1
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        if let Some(claim) = self.claims.get(key) {
            if claim.metadata.annotations.contains_key(BIND_COMPLETED) {
                self.sync_bound(&claim).await?;
            } else {
                self.sync_unbound(&claim).await?;
            }
        }
        Ok(Next::Done)
    }

    async fn run(&self, stop: CancellationToken) {
        let volumes = work(
            Self::NAME,
            &self.changed_volumes,
            1,
            &stop,
            |key: ObjectKey| async move {
                if let Some(volume) = self.volumes.get(&key) {
                    self.sync_volume((*volume).clone()).await?;
                }
                Ok(Next::Done)
            },
        );
        let resync = async {
            let mut tick = tokio::time::interval(self.period.max(Duration::from_secs(1)));
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                for key in self.volumes.keys() {
                    self.changed_volumes.add(key);
                }
                for key in self.claims.keys() {
                    self.queue.add(key);
                }
            }
        };
        futures::future::join(volumes, resync).await;
    }
}

impl VolumeBinderController {
    // === Claims ===

    async fn sync_unbound(&self, claim: &PersistentVolumeClaim) -> Result<(), SyncError> {
        if claim.spec.volume_name.is_empty() {
            return self.find_volume(claim).await;
        }
        let name = &claim.spec.volume_name;
        let Some(volume) = self.volumes.get(&ObjectKey::cluster(name.as_str())) else {
            return self.set_claim_phase(claim, "Pending", None).await.map(drop);
        };
        if volume.spec.claim_ref.is_none() {
            if let Err(problem) = matching::check(&volume, claim) {
                let message = format!("Cannot bind to requested volume {name:?}: {problem}");
                self.record(claim, "Warning", "VolumeMismatch", &message);
                return self.set_claim_phase(claim, "Pending", None).await.map(drop);
            }
            return self.bind((*volume).clone(), claim).await;
        }
        if is_bound_to(&volume, claim) {
            return self.bind((*volume).clone(), claim).await;
        }
        let message = format!("volume {name:?} already bound to a different claim.");
        self.record(claim, "Warning", "FailedBinding", &message);
        if !claim.metadata.annotations.contains_key(BOUND_BY_CONTROLLER) {
            // The user asked for it and may wait until it is free.
            return self.set_claim_phase(claim, "Pending", None).await.map(drop);
        }
        let owner = volume
            .spec
            .claim_ref
            .as_ref()
            .map(|owner| format!("{}/{}", owner.namespace, owner.name));
        Err(SyncError::other(format!(
            "invalid binding of claim \"{}\" to volume {name:?}: volume already claimed by {:?}",
            key_of(&claim.metadata),
            owner.unwrap_or_default()
        )))
    }

    async fn find_volume(&self, claim: &PersistentVolumeClaim) -> Result<(), SyncError> {
        let class_name = claim_class(claim);
        let class = self.classes.get(&ObjectKey::cluster(class_name.as_str()));
        let delay = class.as_ref().is_some_and(|class| {
            class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
        });
        let key = key_of(&claim.metadata);
        let found = matching::find(claim, &self.volumes.list(), delay).map_err(|error| {
            SyncError::other(format!("error finding PV for claim \"{key}\": {error}"))
        })?;
        if let Some(volume) = found {
            return self.bind((*volume).clone(), claim).await;
        }
        if !names_class(claim)
            && let Some(default) = default_class(&self.classes.list())
        {
            let mut changed = claim.clone();
            changed.spec.storage_class_name = Some(default.metadata.name.clone());
            self.claim_api(claim)
                .update(&changed)
                .await
                .map_err(|error| {
                    SyncError::other(format!(
                        "can't update PersistentVolumeClaim[\"{key}\"]: {error}"
                    ))
                })?;
            return Ok(());
        }
        if delay && !claim.metadata.annotations.contains_key(SELECTED_NODE) {
            self.record_waiting(claim);
        } else if !class_name.is_empty() {
            return self.provision(claim, &class_name, class).await;
        } else {
            let message =
                "no persistent volumes available for this claim and no storage class is set";
            self.record(claim, "Normal", "FailedBinding", message);
        }
        self.set_claim_phase(claim, "Pending", None).await.map(drop)
    }

    fn record_waiting(&self, claim: &PersistentVolumeClaim) {
        let index = format!("{}/{}", claim.metadata.namespace, claim.metadata.name);
        let mut pods: Vec<String> = self
            .pods
            .by_index(CLAIM_INDEX, &index)
            .iter()
            .filter(|pod| pod.spec.node_name.is_empty() && !super::pod_state::is_terminal(pod))
            .map(|pod| pod.metadata.name.clone())
            .collect();
        pods.sort();
        let (reason, message) = match pods.as_slice() {
            [] => (
                "WaitForFirstConsumer",
                "waiting for first consumer to be created before binding".to_owned(),
            ),
            [pod] => (
                "WaitForPodScheduled",
                format!("waiting for pod {pod} to be scheduled"),
            ),
            pods => (
                "WaitForPodScheduled",
                format!("waiting for pods {} to be scheduled", pods.join(",")),
            ),
        };
        self.record(claim, "Normal", reason, &message);
    }

    /// Asks the external provisioner of the claim's class for a volume.
    async fn provision(
        &self,
        claim: &PersistentVolumeClaim,
        class_name: &str,
        class: Option<Arc<StorageClass>>,
    ) -> Result<(), SyncError> {
        let Some(class) = class else {
            let message = format!("storageclass.storage.k8s.io {class_name:?} not found");
            self.record(claim, "Warning", "ProvisioningFailed", &message);
            return Err(SyncError::other(message));
        };
        let provisioner = &class.provisioner;
        if provisioner.starts_with("kubernetes.io/") {
            let message = format!("no volume plugin matched name: {provisioner}");
            self.record(claim, "Warning", "ProvisioningFailed", &message);
            return Err(SyncError::other(message));
        }
        let mut changed = claim.clone();
        for key in PROVISIONER {
            changed
                .metadata
                .annotations
                .insert(key.to_owned(), provisioner.clone());
        }
        if changed.metadata.annotations != claim.metadata.annotations {
            self.claim_api(claim).update(&changed).await?;
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        self.record(claim, "Normal", "ExternalProvisioning", &message);
        Ok(())
    }

    async fn sync_bound(&self, claim: &PersistentVolumeClaim) -> Result<(), SyncError> {
        let name = &claim.spec.volume_name;
        let lost = if name.is_empty() {
            (
                "ClaimLost",
                "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            )
        } else {
            match self.volumes.get(&ObjectKey::cluster(name.as_str())) {
                None => (
                    "ClaimLost",
                    "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
                ),
                Some(volume)
                    if volume
                        .spec
                        .claim_ref
                        .as_ref()
                        .is_none_or(|owner| owner.uid == claim.metadata.uid) =>
                {
                    return self.bind((*volume).clone(), claim).await;
                }
                Some(_) => (
                    "ClaimMisbound",
                    "Two claims are bound to the same volume, this one is bound incorrectly",
                ),
            }
        };
        if claim.status.phase != "Lost" {
            self.set_claim_phase(claim, "Lost", None).await?;
            self.record(claim, "Warning", lost.0, lost.1);
        }
        Ok(())
    }

    // === Volumes ===

    async fn sync_volume(&self, volume: PersistentVolume) -> Result<(), SyncError> {
        let Some(owner) = volume.spec.claim_ref.clone() else {
            return self
                .set_volume_phase(volume, "Available", "")
                .await
                .map(drop);
        };
        if owner.uid.is_empty() {
            // Reserved for a claim that was not bound yet.
            return self
                .set_volume_phase(volume, "Available", "")
                .await
                .map(drop);
        }
        let cached = self.claims.get(&ObjectKey::new(
            owner.namespace.as_str(),
            owner.name.as_str(),
        ));
        let claim = match cached.filter(|claim| claim.metadata.uid == owner.uid) {
            Some(claim) => Some((*claim).clone()),
            None if volume.status.phase == "Released" || volume.status.phase == "Failed" => None,
            // Data may be at stake: the apiserver decides whether the claim is gone.
            None => {
                let api = self
                    .client
                    .namespaced::<PersistentVolumeClaim>(owner.namespace.as_str());
                let live = api.get_optional(&owner.name).await?;
                live.filter(|claim| claim.metadata.uid == owner.uid)
            }
        };
        let Some(claim) = claim else {
            return self.release(volume).await;
        };
        if claim.spec.volume_name.is_empty() {
            if modes_differ(&claim, &volume) {
                let message = format!(
                    "Cannot bind PersistentVolume to requested PersistentVolumeClaim {:?} due to incompatible volumeMode.",
                    claim.metadata.name
                );
                self.recorder.event(
                    &object_reference(&volume),
                    "Warning",
                    "VolumeMismatch",
                    &message,
                );
                let message = format!(
                    "Cannot bind PersistentVolume {:?} to requested PersistentVolumeClaim due to incompatible volumeMode.",
                    volume.metadata.name
                );
                self.record(&claim, "Warning", "VolumeMismatch", &message);
                return Ok(());
            }
            self.queue.add(key_of(&claim.metadata));
            return Ok(());
        }
        if claim.spec.volume_name == volume.metadata.name {
            return self.set_volume_phase(volume, "Bound", "").await.map(drop);
        }
        // The claim has another volume.
        let provisioned = volume.metadata.annotations.contains_key(PROVISIONED_BY);
        if provisioned && volume.spec.persistent_volume_reclaim_policy == "Delete" {
            return self.release(volume).await;
        }
        self.unbind(volume).await
    }

    async fn release(&self, volume: PersistentVolume) -> Result<(), SyncError> {
        let volume = if volume.status.phase == "Released" || volume.status.phase == "Failed" {
            volume
        } else {
            self.set_volume_phase(volume, "Released", "").await?
        };
        if volume.metadata.annotations.contains_key(MIGRATED_TO) {
            return Ok(());
        }
        let name = volume.metadata.name.clone();
        let external = volume
            .metadata
            .annotations
            .get(PROVISIONED_BY)
            .is_some_and(|provisioner| !provisioner.starts_with("kubernetes.io/"));
        let (reason, message) = match volume.spec.persistent_volume_reclaim_policy.as_str() {
            "Recycle" => (
                "VolumeFailedRecycle",
                "No recycler plugin found for the volume!".to_owned(),
            ),
            "Delete" if !external => (
                "VolumeFailedDelete",
                format!(
                    "error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"
                ),
            ),
            // Retained, or its provisioner deletes it.
            _ => return Ok(()),
        };
        if volume.status.phase != "Failed" {
            let reference = object_reference(&volume);
            self.set_volume_phase(volume, "Failed", &message).await?;
            self.recorder.event(&reference, "Warning", reason, &message);
        }
        Ok(())
    }

    /// Takes back what this controller wrote; a user's reservation stays.
    async fn unbind(&self, mut volume: PersistentVolume) -> Result<(), SyncError> {
        if volume
            .metadata
            .annotations
            .remove(BOUND_BY_CONTROLLER)
            .is_some()
        {
            volume.spec.claim_ref = None;
        } else if let Some(owner) = &mut volume.spec.claim_ref {
            owner.uid = String::new();
        }
        let volume = self
            .client
            .api::<PersistentVolume>()
            .update(&volume)
            .await?;
        self.set_volume_phase(volume, "Available", "")
            .await
            .map(drop)
    }

    // === Writes ===

    async fn bind(
        &self,
        volume: PersistentVolume,
        claim: &PersistentVolumeClaim,
    ) -> Result<(), SyncError> {
        let volume = match bound_volume(&volume, claim) {
            Some(changed) => {
                self.client
                    .api::<PersistentVolume>()
                    .update(&changed)
                    .await?
            }
            None => volume,
        };
        let volume = self.set_volume_phase(volume, "Bound", "").await?;
        let claim = match bound_claim(claim, &volume) {
            Some(changed) => self.claim_api(claim).update(&changed).await?,
            None => claim.clone(),
        };
        self.set_claim_phase(&claim, "Bound", Some(&volume))
            .await
            .map(drop)
    }

    async fn set_volume_phase(
        &self,
        mut volume: PersistentVolume,
        phase: &str,
        message: &str,
    ) -> Result<PersistentVolume, SyncError> {
        if volume.status.phase == phase {
            return Ok(volume);
        }
        volume.status.phase = phase.to_owned();
        volume.status.message = message.to_owned();
        Ok(self
            .client
            .api::<PersistentVolume>()
            .update_status(&volume)
            .await?)
    }

    async fn set_claim_phase(
        &self,
        claim: &PersistentVolumeClaim,
        phase: &str,
        volume: Option<&PersistentVolume>,
    ) -> Result<(), SyncError> {
        if let Some(changed) = claim_in_phase(claim, phase, volume)? {
            self.claim_api(claim).update_status(&changed).await?;
        }
        Ok(())
    }

    fn claim_api(&self, claim: &PersistentVolumeClaim) -> client::Api<PersistentVolumeClaim> {
        self.client.namespaced(claim.metadata.namespace.as_str())
    }

    fn record(&self, claim: &PersistentVolumeClaim, type_: &str, reason: &str, message: &str) {
        self.recorder
            .event(&object_reference(claim), type_, reason, message);
    }
}

/// The volume with its claim, unless it has it.
fn bound_volume(
    volume: &PersistentVolume,
    claim: &PersistentVolumeClaim,
) -> Option<PersistentVolume> {
    let mut changed = volume.clone();
    let complete = volume.spec.claim_ref.as_ref().is_some_and(|owner| {
        owner.uid == claim.metadata.uid
            && owner.name == claim.metadata.name
            && owner.namespace == claim.metadata.namespace
    });
    if !complete {
        changed.spec.claim_ref = Some(Box::new(object_reference(claim)));
    }
    // Remember that nobody else reserved it.
    if !is_bound_to(volume, claim) {
        changed
            .metadata
            .annotations
            .entry(BOUND_BY_CONTROLLER.to_owned())
            .or_insert_with(|| "yes".to_owned());
    }
    (changed != *volume).then_some(changed)
}

/// The claim with its volume, unless it has it.
fn bound_claim(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Option<PersistentVolumeClaim> {
    let mut changed = claim.clone();
    let annotations = &mut changed.metadata.annotations;
    if claim.spec.volume_name != volume.metadata.name {
        changed.spec.volume_name = volume.metadata.name.clone();
        annotations
            .entry(BOUND_BY_CONTROLLER.to_owned())
            .or_insert_with(|| "yes".to_owned());
    }
    annotations
        .entry(BIND_COMPLETED.to_owned())
        .or_insert_with(|| "yes".to_owned());
    (changed != *claim).then_some(changed)
}

/// The claim in this phase with what its volume gives, unless it is so.
fn claim_in_phase(
    claim: &PersistentVolumeClaim,
    phase: &str,
    volume: Option<&PersistentVolume>,
) -> Result<Option<PersistentVolumeClaim>, SyncError> {
    let mut changed = claim.clone();
    changed.status.phase = phase.to_owned();
    match volume {
        None => {
            changed.status.access_modes.clear();
            changed.status.capacity.clear();
            changed.status.current_volume_attributes_class_name = None;
        }
        Some(volume) => {
            changed.status.access_modes = volume.spec.access_modes.clone();
            // Later changes of the size are the resizer's to tell.
            if claim.status.phase != phase {
                if !volume.spec.capacity.contains_key("storage") {
                    return Err(SyncError::other(format!(
                        "PersistentVolume {:?} is without a storage capacity",
                        volume.metadata.name
                    )));
                }
                changed.status.capacity = volume.spec.capacity.clone();
            }
            if claim.status.phase == "Pending" && phase == "Bound" {
                changed.status.current_volume_attributes_class_name =
                    volume.spec.volume_attributes_class_name.clone();
            }
        }
    }
    Ok((changed != *claim).then_some(changed))
}

#[cfg(test)]
mod tests {
    use api_types::Quantity;

    use super::*;

    fn claim() -> PersistentVolumeClaim {
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.name = "c".into();
        claim.metadata.namespace = "ns".into();
        claim.metadata.uid = "u".into();
        claim.status.phase = "Pending".into();
        claim
    }

    fn volume() -> PersistentVolume {
        let mut volume = PersistentVolume::default();
        volume.metadata.name = "v".into();
        volume.spec.access_modes = vec!["ReadWriteOnce".into()];
        volume
            .spec
            .capacity
            .insert("storage".into(), Quantity::parse("1Gi").unwrap());
        volume
    }

    #[test]
    fn binding_is_repeatable() {
        let bound = bound_volume(&volume(), &claim()).unwrap();
        let owner = bound.spec.claim_ref.clone().unwrap();
        assert_eq!(
            (owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()),
            ("PersistentVolumeClaim", "c", "u")
        );
        assert_eq!(bound.metadata.annotations[BOUND_BY_CONTROLLER], "yes");
        assert_eq!(bound_volume(&bound, &claim()), None);

        let with_volume = bound_claim(&claim(), &bound).unwrap();
        assert_eq!(with_volume.spec.volume_name, "v");
        assert!(
            with_volume
                .metadata
                .annotations
                .contains_key(BIND_COMPLETED)
        );
        assert_eq!(bound_claim(&with_volume, &bound), None);

        let done = claim_in_phase(&with_volume, "Bound", Some(&bound))
            .unwrap()
            .unwrap();
        assert_eq!(done.status.capacity, bound.spec.capacity);
        assert_eq!(claim_in_phase(&done, "Bound", Some(&bound)).unwrap(), None);
        let lost = claim_in_phase(&done, "Lost", None).unwrap().unwrap();
        assert!(lost.status.capacity.is_empty() && lost.status.access_modes.is_empty());
    }

    #[test]
    fn reservations_of_users_are_not_ours() {
        let mut reserved = volume();
        reserved.spec.claim_ref = Some(Box::new(api_types::core::v1::ObjectReference {
            name: "c".into(),
            namespace: "ns".into(),
            ..Default::default()
        }));
        let bound = bound_volume(&reserved, &claim()).unwrap();
        assert!(!bound.metadata.annotations.contains_key(BOUND_BY_CONTROLLER));
        assert_eq!(bound.spec.claim_ref.unwrap().uid, "u");
        let mut asked = claim();
        asked.spec.volume_name = "v".into();
        let asked = bound_claim(&asked, &reserved).unwrap();
        assert!(!asked.metadata.annotations.contains_key(BOUND_BY_CONTROLLER));
    }

    #[test]
    fn sizes_are_told_once() {
        let mut bound = claim();
        bound.status.phase = "Bound".into();
        bound.status.access_modes = vec!["ReadWriteOnce".into()];
        assert_eq!(
            claim_in_phase(&bound, "Bound", Some(&volume())).unwrap(),
            None
        );
        let mut without = volume();
        without.spec.capacity.clear();
        assert!(claim_in_phase(&claim(), "Bound", Some(&without)).is_err());
    }
}
