//! Which ControllerRevisions a StatefulSet's pods run and should run. Upstream: `getStatefulSetRevisions` and
//! `truncateHistory` in stateful_set_control.go.

use std::collections::HashSet;
use std::sync::Arc;

use api_types::apps::v1::{ControllerRevision, StatefulSet};
use api_types::core::v1::Pod;

use super::StatefulSetController;
use super::identity::revision_of;
use crate::controllers::{SyncError, history};

/// The revisions of one sync.
pub(super) struct Revisions {
    pub current: Arc<ControllerRevision>,
    pub update: Arc<ControllerRevision>,
    pub collision_count: i32,
}

/// What the set's template means for its history, oldest revision first.
#[derive(Debug, PartialEq)]
enum Update {
    /// The newest revision records the template.
    Unchanged,
    /// An older one does: it becomes the newest.
    RollBack(usize),
    /// None does.
    Create,
}

fn decide(
    revisions: &[Arc<ControllerRevision>],
    proposed: &ControllerRevision,
    semantic: bool,
) -> Update {
    let Some(newest) = revisions.last() else {
        return Update::Create;
    };
    if history::equal(newest, proposed) {
        return Update::Unchanged;
    }
    if let Some(at) = revisions
        .iter()
        .rposition(|revision| history::equal(revision, proposed))
    {
        return Update::RollBack(at);
    }
    // The newest revision may have been written by a version that encoded the same template in other bytes.
    if semantic && says_the_same(newest, proposed) {
        Update::Unchanged
    } else {
        Update::Create
    }
}

fn says_the_same(recorded: &ControllerRevision, proposed: &ControllerRevision) -> bool {
    history::template_of(recorded)
        .and_then(|template| history::template_patch(&template))
        .is_ok_and(|data| data == proposed.data.raw)
}

impl StatefulSetController {
    pub(super) async fn revisions(
        &self,
        set: &StatefulSet,
        known: &[Arc<ControllerRevision>],
    ) -> Result<Revisions, SyncError> {
        let mut collision_count = set.status.collision_count.unwrap_or(0);
        let data = history::template_patch(&set.spec.template)?;
        let number = history::next_revision(known);
        let mut proposed = history::new_revision(
            set,
            &set.spec.template.metadata.labels,
            data,
            number,
            Some(collision_count),
        );
        proposed.metadata.annotations = set.metadata.annotations.clone();
        let update = match (
            decide(known, &proposed, self.semantic_revisions),
            known.last(),
        ) {
            (Update::Unchanged, Some(newest)) => newest.clone(),
            (Update::RollBack(at), _) => Arc::new(self.history.renumber(&known[at], number).await?),
            _ => Arc::new(
                self.history
                    .create(&set.metadata.name, &proposed, &mut collision_count)
                    .await?,
            ),
        };
        let current = known
            .iter()
            .find(|revision| revision.metadata.name == set.status.current_revision);
        Ok(Revisions {
            current: current.unwrap_or(&update).clone(),
            update,
            collision_count,
        })
    }

    /// Deletes the oldest revisions beyond the limit that no pod runs.
    pub(super) async fn truncate_history(
        &self,
        set: &StatefulSet,
        pods: &[Arc<Pod>],
        known: &[Arc<ControllerRevision>],
        in_use: Option<&Revisions>,
    ) -> Result<(), SyncError> {
        let limit = set.spec.revision_history_limit.unwrap_or(10);
        for revision in surplus(limit, pods, known, in_use) {
            self.history.delete(&revision).await?;
        }
        Ok(())
    }
}

fn surplus(
    limit: i32,
    pods: &[Arc<Pod>],
    known: &[Arc<ControllerRevision>],
    in_use: Option<&Revisions>,
) -> Vec<Arc<ControllerRevision>> {
    let Ok(limit) = usize::try_from(limit) else {
        return Vec::new();
    };
    let mut live: HashSet<&str> = pods.iter().map(|pod| revision_of(pod)).collect();
    if let Some(revisions) = in_use {
        live.insert(&revisions.current.metadata.name);
        live.insert(&revisions.update.metadata.name);
    }
    let mut old: Vec<_> = known
        .iter()
        .filter(|revision| !live.contains(revision.metadata.name.as_str()))
        .cloned()
        .collect();
    old.truncate(old.len().saturating_sub(limit));
    old
}

#[cfg(test)]
mod tests {
    use api_types::RawExtension;

    use super::super::identity::tests::{pod_of, set};
    use super::*;

    fn revision(name: &str, data: &str) -> Arc<ControllerRevision> {
        let mut revision = ControllerRevision {
            data: RawExtension {
                raw: data.as_bytes().to_vec(),
            },
            ..Default::default()
        };
        revision.metadata.name = name.into();
        Arc::new(revision)
    }

    #[test]
    fn the_history_says_what_a_template_is() {
        let known = [revision("1", "a"), revision("2", "b"), revision("3", "c")];
        assert_eq!(decide(&known, &revision("", "c"), true), Update::Unchanged);
        assert_eq!(
            decide(&known, &revision("", "a"), true),
            Update::RollBack(0)
        );
        assert_eq!(decide(&known, &revision("", "d"), true), Update::Create);
        assert_eq!(decide(&[], &revision("", "d"), true), Update::Create);
    }

    #[test]
    fn other_bytes_of_the_same_template_are_no_update() {
        let template = history::template_patch(&set(1).spec.template).unwrap();
        let proposed = revision("", std::str::from_utf8(&template).unwrap());
        let spaced = String::from_utf8(template)
            .unwrap()
            .replace("{\"spec\"", "{ \"spec\"");
        let old = [revision(
            "1",
            &spaced.replace(
                "\"metadata\":{",
                "\"metadata\":{\"creationTimestamp\":null,",
            ),
        )];
        assert_eq!(decide(&old, &proposed, true), Update::Unchanged);
        assert_eq!(decide(&old, &proposed, false), Update::Create);
    }

    #[test]
    fn revisions_of_pods_stay() {
        let known = [
            revision("1", "a"),
            revision("rev", "b"),
            revision("3", "c"),
            revision("4", "d"),
        ];
        let pods = [Arc::new(pod_of(&set(1), 0))];
        let in_use = Revisions {
            current: known[2].clone(),
            update: known[3].clone(),
            collision_count: 0,
        };
        let names = |limit| {
            surplus(limit, &pods, &known, Some(&in_use))
                .iter()
                .map(|r| r.metadata.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(0), ["1"]);
        assert!(names(1).is_empty() && names(-1).is_empty());
    }
}
