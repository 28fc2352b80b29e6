//! The rollback that old API versions asked for with `spec.rollbackTo`, which lives on as an annotation. Upstream:
//! pkg/controller/deployment/rollback.go.

use api_types::apps::v1::Deployment;

use super::replica_sets::{ROLLBACK_TO, all, last_revision, restore, revision, same_template};
use super::{DeploymentController, Rollout};
use crate::controllers::{Next, SyncError};

const NOT_FOUND: &str = "DeploymentRollbackRevisionNotFound";

/// The revision to go back to; 0 means the last one.
pub(super) fn rollback_to(deployment: &Deployment) -> Option<i64> {
    deployment
        .metadata
        .annotations
        .get(ROLLBACK_TO)?
        .parse()
        .ok()
}

impl DeploymentController {
    pub(super) async fn rollback(
        &self,
        rollout: &mut Rollout,
        mut wanted: i64,
    ) -> Result<Next, SyncError> {
        self.find_new(rollout, true).await?;
        let sets = all(&rollout.old, rollout.new.as_ref());
        if wanted == 0 {
            wanted = last_revision(&sets);
            if wanted == 0 {
                self.recorder.event(
                    &rollout.reference,
                    "Warning",
                    NOT_FOUND,
                    "Unable to find last revision.",
                );
                return self.finish_rollback(rollout).await;
            }
        }
        let Some(rs) = sets.iter().find(|rs| revision(rs) == Some(wanted)) else {
            self.recorder.event(
                &rollout.reference,
                "Warning",
                NOT_FOUND,
                "Unable to find the revision to rollback to.",
            );
            return self.finish_rollback(rollout).await;
        };
        let name = rollout.deployment.metadata.name.clone();
        if same_template(&rollout.deployment.spec.template, &rs.spec.template) {
            let message = format!(
                "The rollback revision contains the same template as current deployment {name:?}"
            );
            self.recorder.event(
                &rollout.reference,
                "Warning",
                "DeploymentRollbackTemplateUnchanged",
                &message,
            );
            return self.finish_rollback(rollout).await;
        }
        restore(&mut rollout.deployment, rs);
        self.finish_rollback(rollout).await?;
        let message = format!("Rolled back deployment {name:?} to revision {wanted}");
        self.recorder
            .event(&rollout.reference, "Normal", "DeploymentRollback", &message);
        Ok(Next::Done)
    }

    /// Writes the Deployment without the wish to roll back.
    async fn finish_rollback(&self, rollout: &mut Rollout) -> Result<Next, SyncError> {
        let deployment = &mut rollout.deployment;
        deployment.metadata.annotations.remove(ROLLBACK_TO);
        self.client
            .namespaced::<Deployment>(&deployment.metadata.namespace)
            .update(deployment)
            .await?;
        Ok(Next::Done)
    }
}
