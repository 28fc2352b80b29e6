//! The parts every path of a Deployment's sync shares. Upstream: pkg/controller/deployment/sync.go.

use std::sync::Arc;

use api_types::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use api_types::meta::v1::{DeleteOptions, ObjectMeta};
use client::ObjectKey;

use super::conditions::{self, PROGRESSING};
use super::replica_sets::{
    HASH_LABEL, REVISION, active, active_or_latest, all, desired, has_progress_deadline,
    is_rolling, is_saturated, max_revision, new_size, proportional_sizes, replica_set_name,
    revision, revision_history_limit, same_template, set_deployment_revision, set_new_annotations,
    set_replicas_annotations, size,
};
use super::{DeploymentController, Rollout, progress, rollback};
use crate::controllers::controller_ref::{is_controlled_by, new_controller_ref};
use crate::controllers::owners::by_creation;
use crate::controllers::pod_control::is_namespace_terminating;
use crate::controllers::{Next, SyncError, template_hash};

impl DeploymentController {
    /// Writes the status (and annotations: the status endpoint takes them) and goes on with what the server made of it.
    pub(super) async fn write_status(&self, deployment: &mut Deployment) -> Result<(), SyncError> {
        *deployment = self
            .client
            .namespaced::<Deployment>(&deployment.metadata.namespace)
            .update_status(deployment)
            .await?;
        deployment.metadata.managed_fields.clear();
        Ok(())
    }

    /// Writes the status that follows from counting alone.
    pub(super) async fn write_counted_status(
        &self,
        rollout: &mut Rollout,
    ) -> Result<Next, SyncError> {
        let now = self.clock.now_time();
        let status = progress::calculate(
            &rollout.deployment,
            rollout.new.as_ref(),
            &rollout.old,
            self.report_terminating,
            now,
        );
        if status != rollout.deployment.status {
            rollout.deployment.status = status;
            self.write_status(&mut rollout.deployment).await?;
        }
        Ok(Next::Done)
    }

    /// Writes the status of a rollout in progress, and says when to look again.
    pub(super) async fn write_rollout_status(
        &self,
        rollout: &mut Rollout,
    ) -> Result<Next, SyncError> {
        let (now, deployment) = (self.clock.now(), &rollout.deployment);
        let counted = progress::calculate(
            deployment,
            rollout.new.as_ref(),
            &rollout.old,
            self.report_terminating,
            self.clock.now_time(),
        );
        let status =
            progress::with_progress(deployment, rollout.new.as_ref(), &rollout.old, counted, now);
        if status == deployment.status {
            return Ok(progress::next_check(deployment, &status, now));
        }
        rollout.deployment.status = status;
        self.write_status(&mut rollout.deployment).await?;
        Ok(Next::Done)
    }

    /// Scales without rolling out: the Deployment is paused, or its size was changed.
    pub(super) async fn scale_only(&self, rollout: &mut Rollout) -> Result<Next, SyncError> {
        self.find_new(rollout, false).await?;
        self.scale(rollout).await?;
        if rollout.deployment.spec.paused && rollback::rollback_to(&rollout.deployment).is_none() {
            self.clean_up(rollout).await?;
        }
        self.write_counted_status(rollout).await
    }

    /// Brings the new ReplicaSet's annotations up to date, or creates it.
    pub(super) async fn find_new(
        &self,
        rollout: &mut Rollout,
        create: bool,
    ) -> Result<(), SyncError> {
        let new_revision = max_revision(&rollout.old) + 1;
        if let Some(new) = rollout.new.clone() {
            return self.update_new(rollout, &new, new_revision).await;
        }
        if create {
            self.create_new(rollout, new_revision).await
        } else {
            Ok(())
        }
    }

    async fn update_new(
        &self,
        rollout: &mut Rollout,
        new: &Arc<ReplicaSet>,
        new_revision: i64,
    ) -> Result<(), SyncError> {
        let deployment = &mut rollout.deployment;
        let mut copy = (**new).clone();
        let annotations_changed = set_new_annotations(deployment, &mut copy, new_revision, true);
        if annotations_changed || copy.spec.min_ready_seconds != deployment.spec.min_ready_seconds {
            copy.spec.min_ready_seconds = deployment.spec.min_ready_seconds;
            let updated = self
                .client
                .namespaced::<ReplicaSet>(&copy.metadata.namespace)
                .update(&copy)
                .await?;
            rollout.new = Some(Arc::new(updated));
            return Ok(());
        }
        let noted = copy
            .metadata
            .annotations
            .get(REVISION)
            .cloned()
            .unwrap_or_default();
        let mut changed = set_deployment_revision(deployment, &noted);
        if has_progress_deadline(deployment)
            && conditions::find(&deployment.status, PROGRESSING).is_none()
        {
            let message = format!("Found new replica set {:?}", copy.metadata.name);
            let condition = conditions::new(
                PROGRESSING,
                "True",
                "FoundNewReplicaSet",
                message,
                self.clock.now_time(),
            );
            conditions::set(&mut deployment.status, condition);
            changed = true;
        }
        if changed {
            self.write_status(deployment).await
        } else {
            Ok(())
        }
    }

    async fn create_new(&self, rollout: &mut Rollout, new_revision: i64) -> Result<(), SyncError> {
        let deployment = &mut rollout.deployment;
        let hash =
            template_hash::compute(&deployment.spec.template, deployment.status.collision_count)?;
        let mut template = deployment.spec.template.clone();
        template
            .metadata
            .labels
            .insert(HASH_LABEL.to_owned(), hash.clone());
        let mut selector = deployment.spec.selector.clone().unwrap_or_default();
        selector
            .match_labels
            .insert(HASH_LABEL.to_owned(), hash.clone());
        let size = new_size(deployment, &rollout.old, 0)?;
        let mut wanted = ReplicaSet {
            metadata: ObjectMeta {
                // Named by the template, so that a repeated sync meets the same object.
                name: replica_set_name(&deployment.metadata.name, &hash),
                namespace: deployment.metadata.namespace.clone(),
                owner_references: vec![new_controller_ref(deployment)],
                labels: template.metadata.labels.clone(),
                ..Default::default()
            },
            spec: ReplicaSetSpec {
                replicas: Some(size),
                min_ready_seconds: deployment.spec.min_ready_seconds,
                selector: Some(selector),
                template,
            },
            ..Default::default()
        };
        set_new_annotations(deployment, &mut wanted, new_revision, false);

        let result = self
            .client
            .namespaced::<ReplicaSet>(&wanted.metadata.namespace)
            .create(&wanted)
            .await;
        let (created, existed) = match result {
            Ok(created) => (Arc::new(created), false),
            Err(error) if error.is_already_exists() => (
                self.existing_or_collision(deployment, &wanted, error)
                    .await?,
                true,
            ),
            Err(error) if is_namespace_terminating(&error) => return Err(error.into()),
            Err(error) => {
                let message = format!(
                    "Failed to create new replica set {:?}: {error}",
                    wanted.metadata.name
                );
                if has_progress_deadline(deployment) {
                    let condition = conditions::new(
                        PROGRESSING,
                        "False",
                        "ReplicaSetCreateError",
                        &*message,
                        self.clock.now_time(),
                    );
                    conditions::set(&mut deployment.status, condition);
                    if let Err(error) = self.write_status(deployment).await {
                        // The creation's error is the one to report and retry.
                        tracing::debug!(%error, "Could not write the status of a deployment whose replica set was refused");
                    }
                }
                self.recorder.event(
                    &rollout.reference,
                    "Warning",
                    "ReplicaSetCreateError",
                    &message,
                );
                return Err(error.into());
            }
        };
        let name = &created.metadata.name;
        if !existed && size > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {size}");
            self.recorder
                .event(&rollout.reference, "Normal", "ScalingReplicaSet", &message);
        }
        let mut changed = set_deployment_revision(deployment, &new_revision.to_string());
        if !existed && has_progress_deadline(deployment) {
            let message = format!("Created new replica set {name:?}");
            let condition = conditions::new(
                PROGRESSING,
                "True",
                "NewReplicaSetCreated",
                message,
                self.clock.now_time(),
            );
            conditions::set(&mut deployment.status, condition);
            changed = true;
        }
        rollout.new = Some(created);
        if changed {
            self.write_status(&mut rollout.deployment).await
        } else {
            Ok(())
        }
    }

    /// The name is taken: by our own ReplicaSet that the cache showed late, or by another template with this hash. In the
    /// second case the collision count grows and the next sync tries another name.
    async fn existing_or_collision(
        &self,
        deployment: &mut Deployment,
        wanted: &ReplicaSet,
        error: client::Error,
    ) -> Result<Arc<ReplicaSet>, SyncError> {
        let key = ObjectKey::new(&*wanted.metadata.namespace, &*wanted.metadata.name);
        let Some(existing) = self.replica_sets.get(&key) else {
            return Err(SyncError::other(format!(
                "replicaset.apps {:?} not found",
                key.name
            )));
        };
        let ours = is_controlled_by(&existing.metadata, &deployment.metadata);
        if ours && same_template(&deployment.spec.template, &existing.spec.template) {
            return Ok(existing);
        }
        let count = deployment.status.collision_count.unwrap_or(0);
        deployment.status.collision_count = Some(count + 1);
        match self.write_status(deployment).await {
            Ok(()) => {
                tracing::info!(deployment = %key, collision_count = count + 1, "Found a hash collision for deployment")
            }
            Err(error) => {
                tracing::debug!(deployment = %key, %error, "Could not write the collision count")
            }
        }
        Err(error.into())
    }

    /// Sizes for a change of the Deployment's size.
    async fn scale(&self, rollout: &mut Rollout) -> Result<(), SyncError> {
        let wanted = desired(&rollout.deployment);
        if let Some(only) = active_or_latest(rollout.new.as_ref(), &rollout.old) {
            if size(&only) != wanted {
                self.resize(rollout, &only, wanted, false).await?;
            }
        } else if is_saturated(&rollout.deployment, rollout.new.as_ref()) {
            for old in active(&rollout.old) {
                self.resize(rollout, &old, 0, false).await?;
            }
        } else if is_rolling(&rollout.deployment) {
            let sets = active(&all(&rollout.old, rollout.new.as_ref()));
            for (rs, size) in proportional_sizes(&rollout.deployment, sets) {
                // Also where the size stays: the annotations must follow the Deployment's size.
                self.resize(rollout, &rs, size, true).await?;
            }
        }
        Ok(())
    }

    /// Sets a ReplicaSet's size, and puts the result into the rollout. Returns whether the size changed.
    pub(super) async fn resize(
        &self,
        rollout: &mut Rollout,
        rs: &Arc<ReplicaSet>,
        to: i32,
        force: bool,
    ) -> Result<bool, SyncError> {
        let from = size(rs);
        if !force && from == to {
            return Ok(false);
        }
        let mut copy = (**rs).clone();
        let annotations_changed = set_replicas_annotations(&mut copy, &rollout.deployment);
        if from == to && !annotations_changed {
            return Ok(false);
        }
        copy.spec.replicas = Some(to);
        let updated = Arc::new(
            self.client
                .namespaced::<ReplicaSet>(&copy.metadata.namespace)
                .update(&copy)
                .await?,
        );
        let name = updated.metadata.name.clone();
        let uid = &updated.metadata.uid;
        for slot in rollout
            .old
            .iter_mut()
            .chain(&mut rollout.new)
            .filter(|slot| &slot.metadata.uid == uid)
        {
            *slot = updated.clone();
        }
        if from != to {
            let direction = if from < to { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
            self.recorder
                .event(&rollout.reference, "Normal", "ScalingReplicaSet", &message);
        }
        Ok(from != to)
    }

    /// Deletes old ReplicaSets beyond the revision history limit.
    pub(super) async fn clean_up(&self, rollout: &Rollout) -> Result<(), SyncError> {
        let Some(limit) = revision_history_limit(&rollout.deployment) else {
            return Ok(());
        };
        for rs in to_clean_up(&rollout.old, limit) {
            let api = self.client.namespaced::<ReplicaSet>(&rs.metadata.namespace);
            match api
                .delete(&rs.metadata.name, &DeleteOptions::default())
                .await
            {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The oldest revisions beyond `limit`, without those that still have pods.
fn to_clean_up(old: &[Arc<ReplicaSet>], limit: i32) -> Vec<Arc<ReplicaSet>> {
    let mut alive: Vec<_> = old
        .iter()
        .filter(|rs| rs.metadata.deletion_timestamp.is_none())
        .cloned()
        .collect();
    let surplus = alive
        .len()
        .saturating_sub(usize::try_from(limit).unwrap_or(0));
    alive.sort_by(|a, b| match (revision(a), revision(b)) {
        (Some(x), Some(y)) if x != y => x.cmp(&y),
        _ => by_creation(&a.metadata, &b.metadata),
    });
    alive.truncate(surplus);
    alive.retain(|rs| {
        rs.status.replicas == 0
            && size(rs) == 0
            && rs.metadata.generation <= rs.status.observed_generation
    });
    alive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rs(revision: &str, size: i32, generation: i64) -> Arc<ReplicaSet> {
        let mut rs = ReplicaSet::default();
        rs.metadata.name = revision.into();
        rs.metadata
            .annotations
            .insert(REVISION.into(), revision.into());
        rs.metadata.generation = generation;
        rs.status.observed_generation = 1;
        rs.spec.replicas = Some(size);
        Arc::new(rs)
    }

    #[track_caller]
    fn check(old: &[Arc<ReplicaSet>], limit: i32, expected: &[&str]) {
        let names: Vec<_> = to_clean_up(old, limit)
            .iter()
            .map(|rs| rs.metadata.name.clone())
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn the_oldest_empty_sets_are_cleaned_up() {
        let three = [rs("10", 0, 1), rs("9", 0, 1), rs("2", 0, 1)];
        check(&three, 3, &[]);
        check(&three, 1, &["2", "9"]);
        check(&three, 0, &["2", "9", "10"]);
        check(&[rs("1", 1, 1), rs("2", 0, 1), rs("3", 0, 1)], 1, &["2"]);
        check(&[rs("1", 0, 2), rs("2", 0, 1)], 0, &["2"]);
        let mut deleting = (*rs("1", 0, 1)).clone();
        deleting.metadata.deletion_timestamp = Some(api_types::Time::now());
        check(&[Arc::new(deleting), rs("2", 0, 1)], 1, &[]);
    }
}
