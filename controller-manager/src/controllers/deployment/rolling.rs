//! The RollingUpdate strategy. Upstream: pkg/controller/deployment/rolling.go.

use std::sync::Arc;

use api_types::apps::v1::ReplicaSet;

use super::replica_sets::{
    active, all, desired, is_complete, max_unavailable, new_size, size, total_available, total_size,
};
use super::{DeploymentController, Rollout};
use crate::controllers::owners::by_creation;
use crate::controllers::{Next, SyncError};

impl DeploymentController {
    /// One step: scale the new ReplicaSet up, else old ones down, as far as surge and availability allow.
    pub(super) async fn roll(&self, rollout: &mut Rollout) -> Result<Next, SyncError> {
        self.find_new(rollout, true).await?;
        if self.scale_new(rollout).await? || self.scale_old(rollout).await? {
            return self.write_rollout_status(rollout).await;
        }
        if is_complete(&rollout.deployment, &rollout.deployment.status) {
            self.clean_up(rollout).await?;
        }
        self.write_rollout_status(rollout).await
    }

    async fn scale_new(&self, rollout: &mut Rollout) -> Result<bool, SyncError> {
        let Some(new) = rollout.new.clone() else {
            return Ok(false);
        };
        let wanted = desired(&rollout.deployment);
        let to = if size(&new) > wanted {
            wanted
        } else {
            new_size(
                &rollout.deployment,
                &all(&rollout.old, Some(&new)),
                size(&new),
            )?
        };
        self.resize(rollout, &new, to, false).await
    }

    async fn scale_old(&self, rollout: &mut Rollout) -> Result<bool, SyncError> {
        let Some(new) = rollout.new.clone() else {
            return Ok(false);
        };
        let old = active(&rollout.old);
        let min_available = desired(&rollout.deployment) - max_unavailable(&rollout.deployment);
        let mut removed = 0;
        let budget = unhealthy_budget(
            total_size(&all(&rollout.old, Some(&new))),
            min_available,
            &new,
        );
        if total_size(&old) == 0 || budget <= 0 {
            return Ok(false);
        }
        for (rs, to) in without_unhealthy(&old, budget) {
            removed += size(&rs) - to;
            if let Err(error) = self.resize(rollout, &rs, to, false).await {
                // As upstream: the status is still written, and the change of a ReplicaSet wakes us again.
                tracing::debug!(%error, "Could not scale down an old replica set");
                return Ok(false);
            }
        }
        let old = active(&rollout.old);
        let surplus = total_available(&all(&old, Some(&new))) - min_available;
        for (rs, to) in without_available(&old, surplus) {
            removed += size(&rs) - to;
            if let Err(error) = self.resize(rollout, &rs, to, false).await {
                tracing::debug!(%error, "Could not scale down an old replica set");
                return Ok(false);
            }
        }
        Ok(removed > 0)
    }
}

/// How many pods may go: what is there, without what must stay available and without the new pods that are not yet available.
/// So pods of the new ReplicaSet that fail never cause old ones to be removed.
fn unhealthy_budget(total: i32, min_available: i32, new: &ReplicaSet) -> i32 {
    total - min_available - (size(new) - new.status.available_replicas)
}

/// Sizes without pods that are not available, oldest ReplicaSet first. Removing them costs no availability.
fn without_unhealthy(old: &[Arc<ReplicaSet>], mut budget: i32) -> Vec<(Arc<ReplicaSet>, i32)> {
    let mut sizes = Vec::new();
    for rs in oldest_first(old) {
        let count = budget.min(size(&rs) - rs.status.available_replicas);
        if budget <= 0 {
            break;
        }
        if count > 0 {
            budget -= count;
            let to = size(&rs) - count;
            sizes.push((rs, to));
        }
    }
    sizes
}

/// Sizes that give up `surplus` available pods, oldest ReplicaSet first.
fn without_available(old: &[Arc<ReplicaSet>], mut surplus: i32) -> Vec<(Arc<ReplicaSet>, i32)> {
    let mut sizes = Vec::new();
    for rs in oldest_first(old) {
        if surplus <= 0 {
            break;
        }
        let count = surplus.min(size(&rs));
        if count > 0 {
            surplus -= count;
            let to = size(&rs) - count;
            sizes.push((rs, to));
        }
    }
    sizes
}

fn oldest_first(old: &[Arc<ReplicaSet>]) -> Vec<Arc<ReplicaSet>> {
    let mut sorted = old.to_vec();
    sorted.sort_by(|a, b| by_creation(&a.metadata, &b.metadata));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rs(name: &str, size: i32, available: i32) -> Arc<ReplicaSet> {
        let mut rs = ReplicaSet::default();
        rs.metadata.name = name.into();
        rs.spec.replicas = Some(size);
        rs.status.available_replicas = available;
        Arc::new(rs)
    }

    fn sizes(changes: Vec<(Arc<ReplicaSet>, i32)>) -> Vec<(String, i32)> {
        changes
            .into_iter()
            .map(|(rs, to)| (rs.metadata.name.clone(), to))
            .collect()
    }

    #[test]
    fn failing_new_pods_do_not_cost_old_ones() {
        // Ten wanted, eight must stay, thirteen are there, five new ones crash.
        assert_eq!(unhealthy_budget(13, 8, &rs("new", 5, 0)), 0);
        // After a rollback to the old set one pod of it is unavailable: four of the crashing ones may go.
        assert_eq!(unhealthy_budget(13, 8, &rs("new", 8, 7)), 4);
        // Another template on top: the crashing ones make room for it.
        assert_eq!(unhealthy_budget(13, 8, &rs("new", 0, 0)), 5);
    }

    #[test]
    fn unhealthy_pods_go_first() {
        assert_eq!(
            sizes(without_unhealthy(
                &[rs("a", 10, 8), rs("b", 8, 8), rs("c", 4, 0)],
                3
            )),
            [("a".to_owned(), 8), ("c".to_owned(), 3)]
        );
        assert_eq!(sizes(without_unhealthy(&[rs("a", 10, 10)], 3)), []);
        assert_eq!(sizes(without_unhealthy(&[rs("a", 10, 0)], 0)), []);
        assert_eq!(
            sizes(without_unhealthy(&[rs("a", 2, 3), rs("b", 2, 0)], 1)),
            [("b".to_owned(), 1)]
        );
    }

    #[test]
    fn available_pods_go_within_the_surplus() {
        assert_eq!(
            sizes(without_available(&[rs("a", 2, 2), rs("b", 5, 5)], 4)),
            [("a".to_owned(), 0), ("b".to_owned(), 3)]
        );
        assert_eq!(sizes(without_available(&[rs("a", 2, 2)], 0)), []);
        assert_eq!(sizes(without_available(&[rs("a", 2, 2)], -1)), []);
        assert_eq!(
            sizes(without_available(&[rs("a", 2, 2)], 9)),
            [("a".to_owned(), 0)]
        );
    }
}
