//! The Recreate strategy: no new pod before the last old one is gone. Upstream: pkg/controller/deployment/recreate.go.

use std::sync::Arc;

use api_types::core::v1::Pod;

use super::replica_sets::{active, desired, is_complete, total_actual};
use super::{DeploymentController, Rollout};
use crate::controllers::pod_state::is_terminal;
use crate::controllers::{Next, SyncError, owners};

impl DeploymentController {
    pub(super) async fn recreate(&self, rollout: &mut Rollout) -> Result<Next, SyncError> {
        // The new ReplicaSet is not created yet, so that nothing starts before the old pods end.
        self.find_new(rollout, false).await?;
        let mut scaled = false;
        for rs in active(&rollout.old) {
            scaled |= self.resize(rollout, &rs, 0, false).await?;
        }
        if scaled || self.old_pods_run(rollout) {
            return self.write_rollout_status(rollout).await;
        }
        if rollout.new.is_none() {
            self.find_new(rollout, true).await?;
        }
        if let Some(new) = rollout.new.clone() {
            let wanted = desired(&rollout.deployment);
            self.resize(rollout, &new, wanted, false).await?;
        }
        if is_complete(&rollout.deployment, &rollout.deployment.status) {
            self.clean_up(rollout).await?;
        }
        self.write_rollout_status(rollout).await
    }

    fn old_pods_run(&self, rollout: &Rollout) -> bool {
        let runs = |pods: Vec<Arc<Pod>>| pods.iter().any(|pod| !is_terminal(pod));
        total_actual(&rollout.old) > 0
            || rollout
                .old
                .iter()
                .any(|rs| runs(owners::pods_of(&self.pods, &**rs, false)))
    }
}
