//! Rolls Deployments out: one ReplicaSet per pod template, scaled up and down by the strategy. Upstream:
//! pkg/controller/deployment.
//!
//! - `mod.rs`: waking, and which of the paths a sync takes
//! - `sync.rs`: finding or creating the new ReplicaSet, scaling, cleaning up
//! - `rolling.rs`, `recreate.rs`: the strategies; `rollback.rs`: the deprecated rollback annotation
//! - `progress.rs`: the status; `conditions.rs`, `replica_sets.rs`: pure parts
//!
//! The current ReplicaSet is the one with the Deployment's template, whatever its name: see [`replica_sets::split`].

mod conditions;
mod progress;
mod recreate;
mod replica_sets;
mod rollback;
mod rolling;
mod sync;

use std::sync::Arc;

use api_types::apps::v1::{Deployment, ReplicaSet};
use api_types::core::v1::{ObjectReference, Pod};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::LabelSelector;
use client::{Client, EventRecorder, Lister, ObjectKey, object_reference};

use self::conditions::{PAUSED, PROGRESSING, TIMED_OUT};
use super::controller_ref::{
    Claimer, controller_of, index_by_controller, is_controlled_by, key_of, selector_of,
};
use super::pod_control::is_namespace_terminating;
use super::{BuildError, Controller, Next, SyncError, owners};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

/// The deployment-controller.
pub struct DeploymentController {
    client: Client,
    recorder: EventRecorder,
    deployments: Lister<Deployment>,
    replica_sets: Lister<ReplicaSet>,
    pods: Lister<Pod>,
    report_terminating: bool,
    clock: Clock,
}

/// A Deployment during one sync: our copy, its ReplicaSets, and the subject of its events.
struct Rollout {
    deployment: Deployment,
    reference: ObjectReference,
    new: Option<Arc<ReplicaSet>>,
    old: Vec<Arc<ReplicaSet>>,
}

impl Controller for DeploymentController {
    const NAME: &'static str = "deployment-controller";
    const ALIASES: &'static [&'static str] = &["deployment"];
    const SERVICE_ACCOUNT: &'static str = "deployment-controller";
    const QUEUE: &'static str = "deployment";
    const MAX_RETRIES: Option<u32> = Some(15);
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let (deployments, replica_sets, pods) = (
            setup.informer::<Deployment>(),
            setup.informer::<ReplicaSet>(),
            setup.informer::<Pod>(),
        );
        index_by_controller(&pods);
        index_by_controller(&replica_sets);
        let wake = Arc::new(Wake {
            queue: queue.clone(),
            deployments: deployments.lister(),
            replica_sets: replica_sets.lister(),
            pods: pods.lister(),
        });
        let waker = wake.clone();
        on_change(&deployments, move |change| {
            waker.queue.add(key_of(&change.object().metadata))
        });
        let waker = wake.clone();
        on_change(&replica_sets, move |change| waker.replica_set(change));
        on_change(&pods, move |change| wake.pod(change));
        Ok(Some(Self {
            client: setup.client.clone(),
            recorder: setup.recorder("deployment-controller"),
            deployments: deployments.lister(),
            replica_sets: replica_sets.lister(),
            pods: pods.lister(),
            report_terminating: setup.enabled("DeploymentReplicaSetTerminatingReplicas"),
            clock: setup.clock(),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        usize::try_from(config.deployment_controller.concurrent_deployment_syncs).unwrap_or(0)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        match self.sync_deployment(key).await {
            // Nothing can be created in a namespace that ends: no reason to try again.
            Err(error) if error.api().is_some_and(is_namespace_terminating) => Ok(Next::Done),
            result => result,
        }
    }
}

impl DeploymentController {
    async fn sync_deployment(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(cached) = self.deployments.get(key) else {
            return Ok(Next::Done);
        };
        let mut deployment = (*cached).clone();
        let reference = object_reference(&deployment);

        if deployment.spec.selector.as_deref() == Some(&LabelSelector::default()) {
            let message =
                "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder
                .event(&reference, "Warning", "SelectingAll", message);
            if deployment.status.observed_generation < deployment.metadata.generation {
                deployment.status.observed_generation = deployment.metadata.generation;
                self.write_status(&mut deployment).await?;
            }
            return Ok(Next::Done);
        }

        let claimed = self.claim(&cached).await?;
        let (new, old) = replica_sets::split(&deployment, claimed);
        let mut rollout = Rollout {
            deployment,
            reference,
            new,
            old,
        };

        if rollout.deployment.metadata.deletion_timestamp.is_some() {
            self.find_new(&mut rollout, false).await?;
            return self.write_counted_status(&mut rollout).await;
        }
        self.check_paused(&mut rollout.deployment).await?;
        if rollout.deployment.spec.paused {
            return self.scale_only(&mut rollout).await;
        }
        // A rollback does not proceed with the rollout: the next sync sees the restored template.
        if let Some(revision) = rollback::rollback_to(&rollout.deployment) {
            return self.rollback(&mut rollout, revision).await;
        }
        self.find_new(&mut rollout, false).await?;
        if is_scaling_event(&rollout) {
            return self.scale_only(&mut rollout).await;
        }
        match rollout.deployment.spec.strategy.type_.as_str() {
            replica_sets::RECREATE => self.recreate(&mut rollout).await,
            replica_sets::ROLLING_UPDATE => self.roll(&mut rollout).await,
            other => Err(SyncError::other(format!(
                "unexpected deployment strategy type: {other}"
            ))),
        }
    }

    async fn claim(&self, deployment: &Arc<Deployment>) -> Result<Vec<Arc<ReplicaSet>>, SyncError> {
        let metadata = &deployment.metadata;
        let selector = selector_of(deployment.spec.selector.as_deref()).map_err(|error| {
            SyncError::other(format!(
                "deployment {} has invalid label selector: {error}",
                key_of(metadata)
            ))
        })?;
        let candidates = self.replica_sets.list_namespace(&metadata.namespace);
        Claimer::new(&self.client, &**deployment, &selector)
            .claim(candidates, |_| true, |_| ())
            .await
    }

    /// A paused rollout is not judged by its deadline, and the time begins anew when it is resumed.
    async fn check_paused(&self, deployment: &mut Deployment) -> Result<(), SyncError> {
        if !replica_sets::has_progress_deadline(deployment) {
            return Ok(());
        }
        let reason = conditions::find(&deployment.status, PROGRESSING)
            .map(|condition| condition.reason.as_str());
        if reason == Some(TIMED_OUT) {
            return Ok(());
        }
        let (reason, message) = match (deployment.spec.paused, reason == Some(PAUSED)) {
            (true, false) => (PAUSED, "Deployment is paused"),
            (false, true) => ("DeploymentResumed", "Deployment is resumed"),
            _ => return Ok(()),
        };
        let condition = conditions::new(
            PROGRESSING,
            "Unknown",
            reason,
            message,
            self.clock.now_time(),
        );
        conditions::set(&mut deployment.status, condition);
        self.write_status(deployment).await
    }
}

/// The Deployment's size is not the one that its ReplicaSets were made for.
fn is_scaling_event(rollout: &Rollout) -> bool {
    let wanted = replica_sets::desired(&rollout.deployment);
    let sets = replica_sets::active(&replica_sets::all(&rollout.old, rollout.new.as_ref()));
    sets.iter()
        .filter_map(|rs| replica_sets::desired_annotation(rs))
        .any(|noted| noted != wanted)
}

struct Wake {
    queue: Queue<ObjectKey>,
    deployments: Lister<Deployment>,
    replica_sets: Lister<ReplicaSet>,
    pods: Lister<Pod>,
}

impl Wake {
    fn replica_set(&self, change: Change<'_, ReplicaSet>) {
        match change {
            Change::Added(rs, _) if rs.metadata.deletion_timestamp.is_some() => self.wake_owner(rs),
            Change::Added(rs, _) => self.wake(rs, true),
            Change::Updated(old, new)
                if old.metadata.resource_version == new.metadata.resource_version => {}
            Change::Updated(old, new) => {
                let controller_changed =
                    controller_of(&old.metadata) != controller_of(&new.metadata);
                if controller_changed {
                    self.wake_owner(old);
                }
                self.wake(
                    new,
                    controller_changed || old.metadata.labels != new.metadata.labels,
                );
            }
            Change::Deleted(rs) => self.wake_owner(rs),
        }
    }

    /// Wakes the owner, or every Deployment that may adopt an orphan.
    fn wake(&self, rs: &ReplicaSet, look_for_adopters: bool) {
        if controller_of(&rs.metadata).is_some() {
            self.wake_owner(rs);
        } else if look_for_adopters {
            for deployment in owners::selecting(
                &self.deployments,
                &rs.metadata.namespace,
                &rs.metadata.labels,
                selects,
            ) {
                self.queue.add(key_of(&deployment.metadata));
            }
        }
    }

    fn wake_owner(&self, rs: &ReplicaSet) {
        if let Some(deployment) = self.owner_of(rs) {
            self.queue.add(key_of(&deployment.metadata));
        }
    }

    fn owner_of(&self, rs: &ReplicaSet) -> Option<Arc<Deployment>> {
        owners::resolve(
            &self.deployments,
            &rs.metadata.namespace,
            controller_of(&rs.metadata)?,
        )
    }

    /// A Deployment of strategy Recreate goes on when its last old pod is gone.
    fn pod(&self, change: Change<'_, Pod>) {
        let Change::Deleted(pod) = change else { return };
        let Some(reference) = controller_of(&pod.metadata) else {
            return;
        };
        let Some(rs) = owners::resolve(&self.replica_sets, &pod.metadata.namespace, reference)
        else {
            return;
        };
        let Some(deployment) = self.owner_of(&rs) else {
            return;
        };
        if deployment.spec.strategy.type_ != replica_sets::RECREATE {
            return;
        }
        let siblings = self.replica_sets.list_namespace(&rs.metadata.namespace);
        let mut owned = siblings
            .iter()
            .filter(|rs| is_controlled_by(&rs.metadata, &deployment.metadata));
        if owned.all(|rs| owners::pods_of(&self.pods, &**rs, false).is_empty()) {
            self.queue.add(key_of(&deployment.metadata));
        }
    }
}

fn selects(deployment: &Deployment, labels: &std::collections::BTreeMap<String, String>) -> bool {
    selector_of(deployment.spec.selector.as_deref())
        .is_ok_and(|selector| !selector.is_empty() && selector.matches(labels))
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod sync_tests;
