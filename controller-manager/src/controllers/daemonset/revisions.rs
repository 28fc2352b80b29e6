//! The ControllerRevisions of a DaemonSet. Upstream: `constructHistory`, `snapshot`, `cleanupHistory` in update.go.

use std::collections::HashSet;
use std::sync::Arc;

use api_types::RawExtension;
use api_types::apps::v1::{ControllerRevision, DaemonSet};
use api_types::core::v1::Pod;
use api_types::meta::v1::{DeleteOptions, ObjectMeta, PatchOptions};
use client::Patch;
use serde_json::json;

use super::DaemonSetController;
use super::placement::HASH_LABEL;
use crate::controllers::controller_ref::{Claimer, new_controller_ref, selector_of};
use crate::controllers::{SyncError, history, template_hash};

impl DaemonSetController {
    /// The revision of the present template, created if needed, and all older ones.
    pub(super) async fn revisions(
        &self,
        ds: &DaemonSet,
        pods: &[Arc<Pod>],
    ) -> Result<(Arc<ControllerRevision>, Vec<Arc<ControllerRevision>>), SyncError> {
        let selector = selector_of(ds.spec.selector.as_deref())?;
        let candidates = self
            .history
            .revisions
            .list_namespace(&ds.metadata.namespace);
        let claimed = Claimer::new(&self.client, ds, &selector)
            .claim(candidates, |_| true, |_| ())
            .await?;
        let api = self
            .client
            .namespaced::<ControllerRevision>(&ds.metadata.namespace);
        let data = history::template_patch(&ds.spec.template)?;
        let (mut current, mut old) = (Vec::new(), Vec::new());
        for mut revision in claimed {
            if !revision.metadata.labels.contains_key(HASH_LABEL) {
                // The name is unique, also where a hash was not.
                let mut labelled = (*revision).clone();
                labelled
                    .metadata
                    .labels
                    .insert(HASH_LABEL.to_owned(), labelled.metadata.name.clone());
                revision = Arc::new(api.update(&labelled).await?);
            }
            let same = revision.data.raw == data;
            if same {
                current.push(revision)
            } else {
                old.push(revision)
            }
        }
        let number = old
            .iter()
            .map(|revision| revision.revision)
            .max()
            .unwrap_or(0)
            .max(0)
            + 1;
        let Some(newest) = newest(&current).cloned() else {
            return Ok((Arc::new(self.snapshot(ds, data, number).await?), old));
        };
        if current.len() > 1 {
            self.drop_duplicates(ds, pods, &newest, &current).await?;
        }
        if newest.revision < number {
            let mut renumbered = (*newest).clone();
            renumbered.revision = number;
            api.update(&renumbered).await?;
        }
        Ok((newest, old))
    }

    /// Several revisions have the template: pods move to the newest one, the others go.
    async fn drop_duplicates(
        &self,
        ds: &DaemonSet,
        pods: &[Arc<Pod>],
        keep: &ControllerRevision,
        current: &[Arc<ControllerRevision>],
    ) -> Result<(), SyncError> {
        let hash = keep.metadata.labels.get(HASH_LABEL);
        let patch = Patch::Merge(
            json!({"metadata": {"labels": {HASH_LABEL: hash}}})
                .to_string()
                .into_bytes(),
        );
        let api = self.client.namespaced::<Pod>(&ds.metadata.namespace);
        for pod in pods
            .iter()
            .filter(|pod| pod.metadata.labels.get(HASH_LABEL) != hash)
        {
            api.patch(&pod.metadata.name, &patch, &PatchOptions::default())
                .await?;
        }
        for revision in current
            .iter()
            .filter(|revision| revision.metadata.name != keep.metadata.name)
        {
            self.history.delete(revision).await?;
        }
        Ok(())
    }

    /// Records the present template.
    async fn snapshot(
        &self,
        ds: &DaemonSet,
        data: Vec<u8>,
        number: i64,
    ) -> Result<ControllerRevision, SyncError> {
        let metadata = &ds.metadata;
        let hash = template_hash::compute(&ds.spec.template, ds.status.collision_count)?;
        let mut labels = ds.spec.template.metadata.labels.clone();
        labels.insert(HASH_LABEL.to_owned(), hash.clone());
        let revision = ControllerRevision {
            metadata: ObjectMeta {
                name: format!("{}-{hash}", metadata.name),
                namespace: metadata.namespace.clone(),
                labels,
                annotations: metadata.annotations.clone(),
                owner_references: vec![new_controller_ref(ds)],
                ..Default::default()
            },
            data: RawExtension { raw: data },
            revision: number,
            ..Default::default()
        };
        let api = self
            .client
            .namespaced::<ControllerRevision>(&metadata.namespace);
        let error = match api.create(&revision).await {
            Err(error) if error.is_already_exists() => error,
            result => return Ok(result?),
        };
        let existing = api.get(&revision.metadata.name).await?;
        if history::equal(&existing, &revision) {
            return Ok(existing);
        }
        // Another template has the name. The count must be raised only once per collision, so the live object decides.
        let sets = self.client.namespaced::<DaemonSet>(&metadata.namespace);
        let mut live = sets.get(&metadata.name).await?;
        if live.status.collision_count != ds.status.collision_count {
            return Err(SyncError::other(format!(
                "found a stale collision count ({:?}, expected {:?}) of DaemonSet {:?} while processing; will retry until it is updated",
                ds.status.collision_count, live.status.collision_count, metadata.name
            )));
        }
        live.status.collision_count = Some(live.status.collision_count.unwrap_or(0) + 1);
        sets.update_status(&live).await?;
        Err(error.into())
    }

    /// Deletes the oldest revisions beyond the limit that no pod runs.
    pub(super) async fn clean_up_revisions(
        &self,
        ds: &DaemonSet,
        pods: &[Arc<Pod>],
        old: Vec<Arc<ControllerRevision>>,
    ) -> Result<(), SyncError> {
        let api = self
            .client
            .namespaced::<ControllerRevision>(&ds.metadata.namespace);
        for revision in surplus(ds.spec.revision_history_limit.unwrap_or(10), pods, old) {
            api.delete(&revision.metadata.name, &DeleteOptions::default())
                .await
                .map_err(|error| {
                    SyncError::other(format!(
                        "failed to clean up revisions of DaemonSet: {error}"
                    ))
                })?;
        }
        Ok(())
    }
}

fn newest(revisions: &[Arc<ControllerRevision>]) -> Option<&Arc<ControllerRevision>> {
    revisions.iter().max_by_key(|revision| revision.revision)
}

fn surplus(
    limit: i32,
    pods: &[Arc<Pod>],
    mut old: Vec<Arc<ControllerRevision>>,
) -> Vec<Arc<ControllerRevision>> {
    let count = old
        .len()
        .saturating_sub(usize::try_from(limit).unwrap_or(0));
    let live: HashSet<&String> = pods
        .iter()
        .filter_map(|pod| pod.metadata.labels.get(HASH_LABEL))
        .collect();
    old.sort_by_key(|revision| revision.revision);
    old.retain(|revision| {
        revision
            .metadata
            .labels
            .get(HASH_LABEL)
            .is_none_or(|hash| !live.contains(hash))
    });
    old.truncate(count);
    old
}

#[cfg(test)]
mod tests {
    use super::super::placement::tests::pod;
    use super::*;

    #[test]
    fn revisions_of_pods_stay() {
        let revision = |number: i64| {
            let mut revision = ControllerRevision {
                revision: number,
                ..Default::default()
            };
            revision
                .metadata
                .labels
                .insert(HASH_LABEL.into(), number.to_string());
            Arc::new(revision)
        };
        let old = || vec![revision(3), revision(1), revision(2)];
        let pods = [pod("p", "n", "1", "ready")];
        let numbers = |limit, pods: &[Arc<Pod>]| {
            surplus(limit, pods, old())
                .iter()
                .map(|revision| revision.revision)
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(1, &[]), [1, 2]);
        assert_eq!(
            numbers(1, &pods),
            [2, 3],
            "a live revision does not count against the others"
        );
        assert_eq!(numbers(2, &pods), [2]);
        assert!(numbers(3, &pods).is_empty());
        assert_eq!(newest(&old()).unwrap().revision, 3);
    }
}
