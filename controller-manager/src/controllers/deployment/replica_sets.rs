//! Pure questions about a Deployment and its ReplicaSets. Upstream: pkg/controller/deployment/util.

use std::sync::Arc;

use api_types::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use api_types::core::v1::PodTemplateSpec;

use crate::controllers::SyncError;
use crate::controllers::int_or_percent::{fenceposts, scaled};
use crate::controllers::owners::by_creation;

/// The label with a template's hash on ReplicaSets and their pods.
pub(super) const HASH_LABEL: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
pub(super) const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
/// Longest revision history annotation, about a hundred revisions.
const MAX_HISTORY_CHARS: usize = 2000;

pub(super) const ROLLING_UPDATE: &str = "RollingUpdate";
pub(super) const RECREATE: &str = "Recreate";

pub(super) fn desired(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

pub(super) fn size(rs: &ReplicaSet) -> i32 {
    rs.spec.replicas.unwrap_or(1)
}

pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    deployment.spec.strategy.type_ == ROLLING_UPDATE
}

/// Templates are compared without the hash label, which only the ReplicaSet's has.
pub(super) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let unhashed = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        template.metadata.labels.remove(HASH_LABEL);
        template
    };
    // The spec decides nearly always, and needs no copy.
    a.spec == b.spec && unhashed(a) == unhashed(b)
}

/// The Deployment's current ReplicaSet, the oldest one when several have its template, and all others, oldest first.
pub(super) fn split(
    deployment: &Deployment,
    mut all: Vec<Arc<ReplicaSet>>,
) -> (Option<Arc<ReplicaSet>>, Vec<Arc<ReplicaSet>>) {
    all.sort_by(|a, b| by_creation(&a.metadata, &b.metadata));
    let new = all
        .iter()
        .position(|rs| same_template(&rs.spec.template, &deployment.spec.template))
        .map(|at| all.remove(at));
    (new, all)
}

/// The ReplicaSets that have, or should have, pods.
pub(super) fn active(sets: &[Arc<ReplicaSet>]) -> Vec<Arc<ReplicaSet>> {
    sets.iter().filter(|rs| size(rs) > 0).cloned().collect()
}

/// Old sets and the new one, in that order.
pub(super) fn all(old: &[Arc<ReplicaSet>], new: Option<&Arc<ReplicaSet>>) -> Vec<Arc<ReplicaSet>> {
    old.iter().chain(new).cloned().collect()
}

pub(super) fn total_size(sets: &[Arc<ReplicaSet>]) -> i32 {
    sets.iter().map(|rs| size(rs)).sum()
}

pub(super) fn total_actual(sets: &[Arc<ReplicaSet>]) -> i32 {
    sets.iter().map(|rs| rs.status.replicas).sum()
}

pub(super) fn total_ready(sets: &[Arc<ReplicaSet>]) -> i32 {
    sets.iter().map(|rs| rs.status.ready_replicas).sum()
}

pub(super) fn total_available(sets: &[Arc<ReplicaSet>]) -> i32 {
    sets.iter().map(|rs| rs.status.available_replicas).sum()
}

/// Unknown as soon as one ReplicaSet that was synced does not report its terminating pods.
pub(super) fn total_terminating(sets: &[Arc<ReplicaSet>]) -> Option<i32> {
    let synced = |rs: &&Arc<ReplicaSet>| {
        rs.status.observed_generation != 0 || rs.status.terminating_replicas.is_some()
    };
    sets.iter()
        .filter(synced)
        .map(|rs| rs.status.terminating_replicas)
        .sum()
}

pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    if !is_rolling(deployment) || desired(deployment) == 0 {
        return 0;
    }
    rolling_fenceposts(deployment).1.min(desired(deployment))
}

pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) {
        rolling_fenceposts(deployment).0
    } else {
        0
    }
}

/// Values that validation would have refused count as zero.
fn rolling_fenceposts(deployment: &Deployment) -> (i32, i32) {
    let rolling = deployment.spec.strategy.rolling_update.as_deref();
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    fenceposts(surge, unavailable, desired(deployment)).unwrap_or((0, 0))
}

/// The size the new ReplicaSet may have now.
pub(super) fn new_size(
    deployment: &Deployment,
    all: &[Arc<ReplicaSet>],
    new_now: i32,
) -> Result<i32, SyncError> {
    match deployment.spec.strategy.type_.as_str() {
        ROLLING_UPDATE => {
            let surge = deployment
                .spec
                .strategy
                .rolling_update
                .as_deref()
                .and_then(|rolling| rolling.max_surge.as_ref());
            let Some(surge) = surge else {
                return Err(SyncError::other("nil value for IntOrString"));
            };
            let most = desired(deployment) + scaled(surge, desired(deployment), true)?;
            let now = total_size(all);
            if now >= most {
                return Ok(new_now);
            }
            Ok(new_now + (most - now).min(desired(deployment) - new_now))
        }
        RECREATE => Ok(desired(deployment)),
        other => Err(SyncError::other(format!(
            "deployment type {other} isn't supported"
        ))),
    }
}

/// The new ReplicaSet has all pods of the Deployment, available, and was made for this size.
pub(super) fn is_saturated(deployment: &Deployment, new: Option<&Arc<ReplicaSet>>) -> bool {
    let Some(new) = new else { return false };
    let annotated = new
        .metadata
        .annotations
        .get(DESIRED_REPLICAS)
        .and_then(|text| text.parse::<i32>().ok());
    let desired = desired(deployment);
    annotated == Some(desired) && size(new) == desired && new.status.available_replicas == desired
}

/// The one ReplicaSet with pods; the newest when none has any; nothing when several have.
pub(super) fn active_or_latest(
    new: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
) -> Option<Arc<ReplicaSet>> {
    let with_pods = active(&all(old, new));
    match with_pods.as_slice() {
        [] => new
            .or_else(|| {
                old.iter()
                    .max_by(|a, b| by_creation(&a.metadata, &b.metadata))
            })
            .cloned(),
        [only] => Some(only.clone()),
        _ => None,
    }
}

/// The sizes of several active ReplicaSets when the Deployment is scaled in the middle of an update: what is to be added or
/// removed is shared in proportion, and the largest one takes the remainder.
pub(super) fn proportional_sizes(
    deployment: &Deployment,
    mut sets: Vec<Arc<ReplicaSet>>,
) -> Vec<(Arc<ReplicaSet>, i32)> {
    let allowed = if desired(deployment) > 0 {
        desired(deployment) + max_surge(deployment)
    } else {
        0
    };
    let to_add = allowed - total_size(&sets);
    // Of sets of one size, growing prefers the newer and shrinking the older.
    sets.sort_by(|a, b| {
        let age = by_creation(&a.metadata, &b.metadata);
        size(b)
            .cmp(&size(a))
            .then(if to_add > 0 { age.reverse() } else { age })
    });
    let mut added = 0;
    let mut sizes: Vec<i32> = sets
        .iter()
        .map(|rs| {
            let share = proportion(rs, deployment, to_add, added);
            added += share;
            size(rs) + share
        })
        .collect();
    if let Some(largest) = sizes.first_mut()
        && to_add != 0
    {
        *largest = (*largest + to_add - added).max(0);
    }
    sets.into_iter().zip(sizes).collect()
}

fn proportion(rs: &ReplicaSet, deployment: &Deployment, to_add: i32, added: i32) -> i32 {
    if size(rs) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let (share, left) = (fraction(rs, deployment), to_add - added);
    if to_add > 0 {
        share.min(left)
    } else {
        share.max(left)
    }
}

fn fraction(rs: &ReplicaSet, deployment: &Deployment) -> i32 {
    if desired(deployment) == 0 {
        return -size(rs);
    }
    // The annotation holds the most pods the Deployment had before; without it its present count has to do.
    let before = match replicas_annotation(rs, MAX_REPLICAS) {
        Some(before) if before != 0 => before,
        _ => deployment.status.replicas,
    };
    if before == 0 {
        return 0;
    }
    let most = desired(deployment) + max_surge(deployment);
    // Upstream multiplies in int32.
    let wanted = f64::from(size(rs).wrapping_mul(most)) / f64::from(before);
    let rounded = if wanted < 0.0 {
        (wanted - 0.5) as i32
    } else {
        (wanted + 0.5) as i32
    };
    rounded - size(rs)
}

fn replicas_annotation(rs: &ReplicaSet, key: &str) -> Option<i32> {
    let text = rs.metadata.annotations.get(key)?;
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits_only.then(|| text.parse().ok()).flatten()
}

/// The Deployment's size when this ReplicaSet was last scaled by it.
pub(super) fn desired_annotation(rs: &ReplicaSet) -> Option<i32> {
    replicas_annotation(rs, DESIRED_REPLICAS)
}

/// Notes the Deployment's size on the ReplicaSet. Returns whether anything changed.
pub(super) fn set_replicas_annotations(rs: &mut ReplicaSet, deployment: &Deployment) -> bool {
    let mut changed = false;
    for (key, value) in [
        (DESIRED_REPLICAS, desired(deployment)),
        (MAX_REPLICAS, desired(deployment) + max_surge(deployment)),
    ] {
        let value = value.to_string();
        if rs.metadata.annotations.get(key) != Some(&value) {
            rs.metadata.annotations.insert(key.to_owned(), value);
            changed = true;
        }
    }
    changed
}

/// The ReplicaSet's revision number: 0 without annotation, `None` when it is not a number.
pub(super) fn revision(rs: &ReplicaSet) -> Option<i64> {
    rs.metadata
        .annotations
        .get(REVISION)
        .map_or(Some(0), |text| text.parse().ok())
}

pub(super) fn max_revision(sets: &[Arc<ReplicaSet>]) -> i64 {
    sets.iter()
        .filter_map(|rs| revision(rs))
        .max()
        .unwrap_or(0)
        .max(0)
}

/// The second highest revision, 0 when there is none.
pub(super) fn last_revision(sets: &[Arc<ReplicaSet>]) -> i64 {
    let (mut max, mut second) = (0, 0);
    for value in sets.iter().filter_map(|rs| revision(rs)) {
        if value >= max {
            (second, max) = (max, value);
        } else if value > second {
            second = value;
        }
    }
    second
}

fn is_own_annotation(key: &str) -> bool {
    [
        LAST_APPLIED,
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        ROLLBACK_TO,
    ]
    .contains(&key)
}

/// Gives the new ReplicaSet the Deployment's annotations and `new_revision`, keeping the revisions it had before, as a
/// ReplicaSet that is rolled back to has several. Returns whether anything changed.
pub(super) fn set_new_annotations(
    deployment: &Deployment,
    rs: &mut ReplicaSet,
    new_revision: i64,
    exists: bool,
) -> bool {
    let mut changed = false;
    let annotations = &mut rs.metadata.annotations;
    for (key, value) in &deployment.metadata.annotations {
        if !is_own_annotation(key) && annotations.get(key) != Some(value) {
            annotations.insert(key.clone(), value.clone());
            changed = true;
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_number = match old.as_deref() {
        None | Some("") => 0,
        // As upstream: somebody else's text stops all further annotations, and whether any were copied is not told.
        Some(text) => match text.parse::<i64>() {
            Ok(number) => number,
            Err(_) => return false,
        },
    };
    // Old ReplicaSets may have been cleaned up since, so that ours is higher already.
    if old_number < new_revision {
        annotations.insert(REVISION.to_owned(), new_revision.to_string());
        changed = true;
        if let Some(old) = old {
            add_to_history(annotations, &old);
        }
    }
    if !exists && set_replicas_annotations(rs, deployment) {
        changed = true;
    }
    changed
}

fn add_to_history(annotations: &mut std::collections::BTreeMap<String, String>, old: &str) {
    let history = annotations
        .get(REVISION_HISTORY)
        .cloned()
        .unwrap_or_default();
    if history.is_empty() || history.starts_with(',') {
        annotations.insert(REVISION_HISTORY.to_owned(), old.to_owned());
        return;
    }
    let mut length = history.len() + old.len() + 1;
    let mut kept: &str = &history;
    while length > MAX_HISTORY_CHARS && !kept.is_empty() {
        let first = kept.split(',').next().unwrap_or(kept);
        length -= first.len() + 1;
        kept = kept.get(first.len() + 1..).unwrap_or("");
    }
    if length <= MAX_HISTORY_CHARS {
        let history = if kept.is_empty() {
            old.to_owned()
        } else {
            format!("{kept},{old}")
        };
        annotations.insert(REVISION_HISTORY.to_owned(), history);
    }
}

/// Notes the revision on the Deployment. Returns whether it changed.
pub(super) fn set_deployment_revision(deployment: &mut Deployment, revision: &str) -> bool {
    if deployment
        .metadata
        .annotations
        .get(REVISION)
        .is_some_and(|has| has == revision)
    {
        return false;
    }
    deployment
        .metadata
        .annotations
        .insert(REVISION.to_owned(), revision.to_owned());
    true
}

/// Puts the template and annotations of the ReplicaSet that is rolled back to into the Deployment. The Deployment's own
/// bookkeeping annotations stay; all others are those of the old revision.
pub(super) fn restore(deployment: &mut Deployment, rs: &ReplicaSet) {
    deployment.spec.template = rs.spec.template.clone();
    deployment.spec.template.metadata.labels.remove(HASH_LABEL);
    let annotations = &mut deployment.metadata.annotations;
    annotations.retain(|key, _| is_own_annotation(key));
    let old = rs
        .metadata
        .annotations
        .iter()
        .filter(|(key, _)| !is_own_annotation(key));
    annotations.extend(old.map(|(key, value)| (key.clone(), value.clone())));
}

/// All pods are of the current template and available, and the status is that of the newest spec.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let desired = desired(deployment);
    status.updated_replicas == desired
        && status.replicas == desired
        && status.available_replicas == desired
        && status.observed_generation >= deployment.metadata.generation
}

pub(super) fn has_progress_deadline(deployment: &Deployment) -> bool {
    deployment
        .spec
        .progress_deadline_seconds
        .is_some_and(|seconds| seconds != i32::MAX)
}

pub(super) fn revision_history_limit(deployment: &Deployment) -> Option<i32> {
    deployment
        .spec
        .revision_history_limit
        .filter(|limit| *limit != i32::MAX)
}

/// The name of a new ReplicaSet, cut so that the hash fits.
pub(super) fn replica_set_name(deployment: &str, hash: &str) -> String {
    let most = 253 - 1 - hash.len();
    let name = deployment.get(..most).unwrap_or(deployment);
    format!("{name}-{hash}")
}

#[cfg(test)]
#[path = "replica_sets_tests.rs"]
mod tests;
