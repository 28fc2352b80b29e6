//! Creating, correcting and deleting a StatefulSet's pods with their claims, and the events about it. Upstream:
//! stateful_pod_control.go.

use std::sync::Arc;

use api_types::Resource;
use api_types::apps::v1::StatefulSet;
use api_types::core::v1::{ObjectReference, PersistentVolumeClaim, Pod};
use api_types::meta::v1::DeleteOptions;
use client::{Client, EventRecorder, Lister, ObjectKey};

use super::identity::{
    claim_name, claims, identity_matches, ordinal, set_identity, set_storage, storage_matches,
};
use super::retention::{
    deletes_when_scaled, has_stale_owner, has_unexpected_controller, is_up_to_date, update_owners,
};
use crate::controllers::SyncError;
use crate::controllers::controller_ref::key_of;
use crate::controllers::own_writes::OwnWrites;

/// How often a pod is updated again on conflict, as client-go's DefaultBackoff.
const UPDATE_ATTEMPTS: u32 = 4;

pub(super) struct StatefulPods {
    pub client: Client,
    pub recorder: EventRecorder,
    pub claims: Lister<PersistentVolumeClaim>,
    pub own_writes: Arc<OwnWrites>,
}

/// The set a pod is handled for, and the subject of its events.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub set: &'a StatefulSet,
    pub reference: &'a ObjectReference,
}

impl StatefulPods {
    fn wrote<T: Resource>(&self, set: &StatefulSet, object: &T) {
        self.own_writes.wrote(&key_of(&set.metadata), object);
    }

    /// Creates the pod's claims, then the pod.
    pub(super) async fn create(&self, of: Of<'_>, pod: &Pod) -> Result<(), SyncError> {
        if let Err(error) = self.create_claims(of, pod).await {
            self.record("Create", of, pod, Err(&error));
            return Err(error);
        }
        let result = match self
            .client
            .namespaced::<Pod>(&pod.metadata.namespace)
            .create(pod)
            .await
        {
            Ok(created) => {
                self.wrote(of.set, &created);
                Ok(())
            }
            // The cache is late: no event about a pod that is there.
            Err(error) if error.is_already_exists() => return Err(error.into()),
            Err(error) => Err(SyncError::from(error)),
        };
        if let Err(error) = self.update_claim_owners(of, pod).await {
            self.record("Update", of, pod, Err(&error));
            return Err(error);
        }
        self.record("Create", of, pod, result.as_ref().copied());
        result
    }

    /// Deletes the pod; one that is gone already counts as deleted.
    pub(super) async fn delete(&self, of: Of<'_>, pod: &Pod) -> Result<(), SyncError> {
        let api = self.client.namespaced::<Pod>(&pod.metadata.namespace);
        let result = match api
            .delete(&pod.metadata.name, &DeleteOptions::default())
            .await
        {
            Err(error) if !error.is_not_found() => Err(SyncError::from(error)),
            _ => Ok(()),
        };
        self.record("Delete", of, pod, result.as_ref().copied());
        result
    }

    /// Corrects identity, volumes and the claims' owners where they differ.
    pub(super) async fn update(&self, of: Of<'_>, pod: &Pod) -> Result<(), SyncError> {
        let (mut pod, mut attempt) = (pod.clone(), 1);
        loop {
            let mut consistent = true;
            if !identity_matches(of.set, &pod) {
                set_identity(of.set, &mut pod);
                consistent = false;
            }
            if !storage_matches(of.set, &pod) {
                set_storage(of.set, &mut pod);
                consistent = false;
                if let Err(error) = self.create_claims(of, &pod).await {
                    self.record("Update", of, &pod, Err(&error));
                    return Err(error);
                }
            }
            if !self.claim_owners_match(of.set, &pod) {
                if let Err(error) = self.update_claim_owners(of, &pod).await {
                    self.record("Update", of, &pod, Err(&error));
                    return Err(error);
                }
                consistent = false;
            }
            if consistent {
                return Ok(());
            }
            match self
                .client
                .namespaced::<Pod>(&pod.metadata.namespace)
                .update(&pod)
                .await
            {
                Ok(updated) => {
                    self.wrote(of.set, &updated);
                    self.record("Update", of, &pod, Ok(()));
                    return Ok(());
                }
                Err(error) if error.is_conflict() && attempt < UPDATE_ATTEMPTS => {
                    attempt += 1;
                    pod = self
                        .client
                        .namespaced::<Pod>(&of.set.metadata.namespace)
                        .get(&pod.metadata.name)
                        .await?;
                }
                Err(error) => {
                    let error = SyncError::from(error);
                    self.record("Update", of, &pod, Err(&error));
                    return Err(error);
                }
            }
        }
    }

    /// Creates claims that a pending pod lacks, and brings their owners up to date.
    pub(super) async fn create_missing_claims(
        &self,
        of: Of<'_>,
        pod: &Pod,
    ) -> Result<(), SyncError> {
        self.create_claims(of, pod).await?;
        let result = self.update_claim_owners(of, pod).await;
        if let Err(error) = &result {
            self.record("Update", of, pod, Err(error));
        }
        result
    }

    async fn create_claims(&self, of: Of<'_>, pod: &Pod) -> Result<(), SyncError> {
        let mut errors = Vec::new();
        for claim in claims(of.set, pod) {
            let name = &claim.metadata.name;
            match self.claims.get(&key_of(&claim.metadata)) {
                Some(existing) if existing.metadata.deletion_timestamp.is_some() => {
                    errors.push(SyncError::other(format!("pvc {name} is being deleted")));
                }
                Some(_) => {}
                None => match self
                    .client
                    .namespaced::<PersistentVolumeClaim>(&claim.metadata.namespace)
                    .create(&claim)
                    .await
                {
                    Ok(created) => {
                        self.wrote(of.set, &created);
                        self.record_claim(of, pod, name, None);
                    }
                    Err(error) => {
                        if !error.is_already_exists() {
                            self.record_claim(of, pod, name, Some(&error));
                        }
                        errors.push(SyncError::other(format!(
                            "failed to create PVC {name}: {error}"
                        )));
                    }
                },
            }
        }
        SyncError::aggregate(errors)
    }

    fn cached_claims(&self, set: &StatefulSet, pod: &Pod) -> Vec<Arc<PersistentVolumeClaim>> {
        let ordinal = ordinal(pod).unwrap_or(-1);
        let get = |template| {
            self.claims.get(&ObjectKey::new(
                &*set.metadata.namespace,
                claim_name(set, template, ordinal),
            ))
        };
        set.spec
            .volume_claim_templates
            .iter()
            .filter_map(get)
            .collect()
    }

    /// A claim that is missing does not count: it is created in a later round.
    pub(super) fn claim_owners_match(&self, set: &StatefulSet, pod: &Pod) -> bool {
        self.cached_claims(set, pod)
            .iter()
            .all(|claim| is_up_to_date(claim, set, pod))
    }

    pub(super) async fn update_claim_owners(&self, of: Of<'_>, pod: &Pod) -> Result<(), SyncError> {
        for claim in self.cached_claims(of.set, pod) {
            let name = &claim.metadata.name;
            if has_unexpected_controller(&claim, of.set, pod) {
                let message = format!(
                    "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim"
                );
                self.recorder
                    .event(of.reference, "Warning", "ConflictingController", &message);
            }
            if is_up_to_date(&claim, of.set, pod) {
                continue;
            }
            let mut claim = (*claim).clone();
            update_owners(&mut claim, of.set, pod);
            let api = self
                .client
                .namespaced::<PersistentVolumeClaim>(&claim.metadata.namespace);
            match api.update(&claim).await {
                Ok(updated) => self.wrote(of.set, &updated),
                Err(error) => {
                    let name = &claim.metadata.name;
                    return Err(SyncError::other(format!(
                        "could not update claim {name} for delete policy ownerRefs: {error}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// A claim of an earlier pod of this name is about to be deleted: the new pod must wait for it to go.
    pub(super) fn has_stale_claim(&self, set: &StatefulSet, pod: &Pod) -> bool {
        deletes_when_scaled(set)
            && self
                .cached_claims(set, pod)
                .iter()
                .any(|claim| has_stale_owner(claim, pod))
    }

    fn record(&self, verb: &str, of: Of<'_>, pod: &Pod, result: Result<(), &SyncError>) {
        let (pod, set) = (&pod.metadata.name, &of.set.metadata.name);
        match result {
            Ok(()) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} successful");
                self.recorder.event(
                    of.reference,
                    "Normal",
                    &format!("Successful{verb}"),
                    &message,
                );
            }
            Err(error) => {
                let message =
                    format!("{verb} Pod {pod} in StatefulSet {set} failed error: {error}");
                self.recorder
                    .event(of.reference, "Warning", &format!("Failed{verb}"), &message);
            }
        }
    }

    fn record_claim(&self, of: Of<'_>, pod: &Pod, claim: &str, error: Option<&client::Error>) {
        let (pod, set) = (&pod.metadata.name, &of.set.metadata.name);
        match error {
            None => {
                let message =
                    format!("Create Claim {claim} Pod {pod} in StatefulSet {set} success");
                self.recorder
                    .event(of.reference, "Normal", "SuccessfulCreate", &message);
            }
            Some(error) => {
                let message = format!(
                    "Create Claim {claim} for Pod {pod} in StatefulSet {set} failed error: {error}"
                );
                self.recorder
                    .event(of.reference, "Warning", "FailedCreate", &message);
            }
        }
    }
}
