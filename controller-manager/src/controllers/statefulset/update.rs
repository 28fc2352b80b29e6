//! One step of a StatefulSet towards its spec. Upstream: stateful_set_control.go.

use std::sync::Arc;

use api_types::apps::v1::{StatefulSet, StatefulSetStatus};
use api_types::core::v1::{Pod, pod_phase};
use jiff::Timestamp;

use super::StatefulSetController;
use super::identity::{
    identity_matches, in_range, new_pod, ordinal, replicas, revision_of, start,
    starts_at_current_revision, storage_matches,
};
use super::pods::Of;
use super::revisions::Revisions;
use crate::controllers::controller_ref::key_of;
use crate::controllers::int_or_percent::scaled;
use crate::controllers::pod_control::{SLOW_START_INITIAL_BATCH_SIZE, slow_start};
use crate::controllers::pod_state::{is_available, is_ready};
use crate::controllers::{SyncError, history};

fn is_created(pod: &Pod) -> bool {
    !pod.status.phase.is_empty()
}

fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_running_and_ready(pod: &Pod) -> bool {
    pod.status.phase == pod_phase::RUNNING && is_ready(pod)
}

fn is_unavailable(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    !is_available(pod, min_ready_seconds, now) || is_terminating(pod)
}

/// The pods of a set sorted into places.
#[derive(Debug, Default, PartialEq)]
struct Places {
    /// One pod per ordinal; those that do not exist yet have an empty phase.
    replicas: Vec<Arc<Pod>>,
    /// Pods out of range, highest ordinal first.
    condemned: Vec<Arc<Pod>>,
}

impl Places {
    fn all(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.replicas.iter().chain(&self.condemned)
    }

    /// The pod the ordered policy waits for: lowest ordinal first, those that stay before those that go.
    fn first_unavailable(&self, min_ready_seconds: i32, now: Timestamp) -> Option<&Arc<Pod>> {
        self.replicas
            .iter()
            .chain(self.condemned.iter().rev())
            .find(|pod| is_unavailable(pod, min_ready_seconds, now))
    }
}

fn place(
    set: &StatefulSet,
    pods: &[Arc<Pod>],
    new: impl Fn(i32) -> Result<Pod, SyncError>,
) -> Result<Places, SyncError> {
    let mut existing: Vec<Option<Arc<Pod>>> =
        vec![None; usize::try_from(replicas(set)).unwrap_or(0)];
    let mut condemned = Vec::new();
    for pod in pods {
        let Some(ordinal) = ordinal(pod) else {
            continue;
        };
        if in_range(set, pod) {
            existing[(ordinal - start(set)) as usize] = Some(pod.clone());
        } else {
            condemned.push(pod.clone());
        }
    }
    condemned.sort_by_key(|pod| std::cmp::Reverse(ordinal(pod)));
    let replicas = existing
        .into_iter()
        .enumerate()
        .map(|(index, pod)| pod.map_or_else(|| new(start(set) + index as i32).map(Arc::new), Ok))
        .collect::<Result<_, _>>()?;
    Ok(Places {
        replicas,
        condemned,
    })
}

/// Counts pods into the status.
fn count<'a>(
    status: &mut StatefulSetStatus,
    set: &StatefulSet,
    pods: impl Iterator<Item = &'a Arc<Pod>>,
    now: Timestamp,
) {
    (
        status.replicas,
        status.ready_replicas,
        status.available_replicas,
    ) = (0, 0, 0);
    (status.current_replicas, status.updated_replicas) = (0, 0);
    for pod in pods {
        status.replicas += i32::from(is_created(pod));
        if is_running_and_ready(pod) {
            status.ready_replicas += 1;
            status.available_replicas +=
                i32::from(is_available(pod, set.spec.min_ready_seconds, now));
        }
        if is_created(pod) && !is_terminating(pod) {
            status.current_replicas += i32::from(revision_of(pod) == status.current_revision);
            status.updated_replicas += i32::from(revision_of(pod) == status.update_revision);
        }
    }
}

/// Pods to delete because they run an old revision, highest ordinal first.
fn outdated(
    set: &StatefulSet,
    replicas: &[Arc<Pod>],
    update_revision: &str,
    use_max_unavailable: bool,
    now: Timestamp,
) -> Result<Vec<Arc<Pod>>, SyncError> {
    let rolling = set.spec.update_strategy.rolling_update.as_deref();
    let partition = rolling
        .and_then(|rolling| rolling.partition)
        .map_or(0, |partition| usize::try_from(partition).unwrap_or(0));
    let is_outdated = |pod: &Pod| revision_of(pod) != update_revision && !is_terminating(pod);
    let unavailable = |pod: &Pod| is_unavailable(pod, set.spec.min_ready_seconds, now);
    let candidates = replicas.iter().skip(partition).rev();
    if use_max_unavailable {
        let limit = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let limit = limit
            .map_or(Ok(1), |limit| scaled(limit, replicas.len() as i32, false))?
            .max(1);
        let room = usize::try_from(limit)
            .unwrap_or(1)
            .saturating_sub(replicas.iter().filter(|pod| unavailable(pod)).count());
        return Ok(candidates
            .filter(|pod| is_outdated(pod))
            .take(room)
            .cloned()
            .collect());
    }
    for pod in candidates {
        if is_outdated(pod) {
            return Ok(vec![pod.clone()]);
        }
        if unavailable(pod) {
            break;
        }
    }
    Ok(Vec::new())
}

/// All pods run the update revision and are ready: it is the current one now.
fn complete_rolling_update(set: &StatefulSet, status: &mut StatefulSetStatus) {
    let wanted = replicas(set);
    let counts = [
        status.updated_replicas,
        status.ready_replicas,
        status.replicas,
    ];
    if set.spec.update_strategy.type_ == "RollingUpdate" && counts == [wanted; 3] {
        status.current_replicas = status.updated_replicas;
        status.current_revision = status.update_revision.clone();
    }
}

fn is_status_outdated(set: &StatefulSet, status: &StatefulSetStatus) -> bool {
    let old = &set.status;
    let fields = |s: &StatefulSetStatus| {
        (
            s.replicas,
            s.current_replicas,
            s.ready_replicas,
            s.updated_replicas,
            s.available_replicas,
            s.current_revision.clone(),
            s.update_revision.clone(),
        )
    };
    status.observed_generation > old.observed_generation || fields(status) != fields(old)
}

/// Whether the next pods are looked at.
#[derive(PartialEq)]
enum Flow {
    Continue,
    Stop,
}

/// What happens next to a pod that should stay. Pure.
#[derive(Debug, PartialEq)]
enum ReplicaStep {
    /// It ended: delete it, and wait.
    Replace,
    /// It ended and is being deleted: wait.
    Wait,
    Create,
    /// It is there; `wait` says that the ordered policy goes no further.
    Keep {
        wait: bool,
    },
}

fn replica_step(pod: &Pod, ordered: bool, min_ready_seconds: i32, now: Timestamp) -> ReplicaStep {
    let ended = pod.status.phase == pod_phase::FAILED || pod.status.phase == pod_phase::SUCCEEDED;
    if ended {
        return if is_terminating(pod) {
            ReplicaStep::Wait
        } else {
            ReplicaStep::Replace
        };
    }
    if !is_created(pod) {
        return ReplicaStep::Create;
    }
    let settled = !is_terminating(pod)
        && is_running_and_ready(pod)
        && is_available(pod, min_ready_seconds, now);
    ReplicaStep::Keep {
        wait: ordered && !settled,
    }
}

impl StatefulSetController {
    /// One step, the status, and the history. Returns the status.
    pub(super) async fn step(
        &self,
        of: Of<'_>,
        pods: &[Arc<Pod>],
        now: Timestamp,
    ) -> Result<StatefulSetStatus, SyncError> {
        let mut known = self.list_revisions(of.set)?;
        history::sort(&mut known);
        let revisions = match self.revisions(of.set, &known).await {
            Ok(revisions) => revisions,
            Err(error) => {
                let truncated = self.truncate_history(of.set, pods, &known, None).await;
                return Err(with(error, truncated));
            }
        };
        let (status, result) = match self.perform(of, &revisions, pods, now).await {
            Ok((mut status, result)) => {
                complete_rolling_update(of.set, &mut status);
                let written = self.write_status(of.set, &status).await;
                (Some(status), result.and(written))
            }
            Err(error) => (None, Err(error)),
        };
        let truncated = self
            .truncate_history(of.set, pods, &known, Some(&revisions))
            .await;
        match (result, status) {
            (Err(error), _) => Err(with(error, truncated)),
            (Ok(()), status) => truncated.map(|()| status.unwrap_or_default()),
        }
    }

    async fn write_status(
        &self,
        set: &StatefulSet,
        status: &StatefulSetStatus,
    ) -> Result<(), SyncError> {
        if !is_status_outdated(set, status) {
            return Ok(());
        }
        let mut status = status.clone();
        // Conditions belong to others; this controller sets none.
        status.conditions = set.status.conditions.clone();
        let api = self
            .client
            .namespaced::<StatefulSet>(&set.metadata.namespace);
        let mut object = set.clone();
        let mut attempt = 1;
        loop {
            object.status = status.clone();
            match api.update_status(&object).await {
                Ok(updated) => {
                    self.own_writes.wrote(&key_of(&set.metadata), &updated);
                    return Ok(());
                }
                Err(error) if error.is_conflict() && attempt < 5 => {
                    attempt += 1;
                    object = api.get(&set.metadata.name).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Creates and deletes pods. The status is valid also when that failed.
    async fn perform(
        &self,
        of: Of<'_>,
        revisions: &Revisions,
        pods: &[Arc<Pod>],
        now: Timestamp,
    ) -> Result<(StatefulSetStatus, Result<(), SyncError>), SyncError> {
        let set = of.set;
        let current_template = history::template_of(&revisions.current)?;
        let update_template = history::template_of(&revisions.update)?;
        let mut status = StatefulSetStatus {
            observed_generation: set.metadata.generation,
            current_revision: revisions.current.metadata.name.clone(),
            update_revision: revisions.update.metadata.name.clone(),
            collision_count: Some(revisions.collision_count),
            ..Default::default()
        };
        count(&mut status, set, pods.iter(), now);
        let places = place(set, pods, |ordinal| {
            Ok(if starts_at_current_revision(set, ordinal) {
                new_pod(set, &current_template, &status.current_revision, ordinal)
            } else {
                new_pod(set, &update_template, &status.update_revision, ordinal)
            })
        })?;
        if set.metadata.deletion_timestamp.is_some() {
            return Ok((status, Ok(())));
        }
        let ordered = set.spec.pod_management_policy != "Parallel";
        let phases = self.settle(of, &places, ordered, now).await;
        count(&mut status, set, places.all(), now);
        let result = match phases {
            Ok(Flow::Continue) if set.spec.update_strategy.type_ != "OnDelete" => {
                self.roll(of, &places, &mut status, now).await
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        Ok((status, result))
    }

    /// Brings pods that stay into being, then removes those that go. `Stop` when the ordered policy waits for one.
    async fn settle(
        &self,
        of: Of<'_>,
        places: &Places,
        ordered: bool,
        now: Timestamp,
    ) -> Result<Flow, SyncError> {
        let replica = |at: usize| self.replica(of, &places.replicas[at], ordered, now);
        if for_all(places.replicas.len(), ordered, replica).await? == Flow::Stop {
            return Ok(Flow::Stop);
        }
        let claims = |at: usize| async move {
            let pod = &places.condemned[at];
            if !self.pods_control.claim_owners_match(of.set, pod) {
                self.pods_control.update_claim_owners(of, pod).await?;
            }
            Ok(Flow::Continue)
        };
        for_all(places.condemned.len(), ordered, claims).await?;
        let first = places.first_unavailable(of.set.spec.min_ready_seconds, now);
        let condemn = |at: usize| self.condemn(of, &places.condemned[at], first, ordered, now);
        for_all(places.condemned.len(), ordered, condemn).await
    }

    async fn replica(
        &self,
        of: Of<'_>,
        pod: &Arc<Pod>,
        ordered: bool,
        now: Timestamp,
    ) -> Result<Flow, SyncError> {
        let wait = match replica_step(pod, ordered, of.set.spec.min_ready_seconds, now) {
            // The new pod comes when this one has left the cluster.
            ReplicaStep::Replace => {
                self.pods_control.delete(of, pod).await?;
                return Ok(Flow::Stop);
            }
            ReplicaStep::Wait => return Ok(Flow::Stop),
            ReplicaStep::Create => {
                if self.pods_control.has_stale_claim(of.set, pod) {
                    return Ok(Flow::Stop);
                }
                self.pods_control.create(of, pod).await?;
                return Ok(if ordered { Flow::Stop } else { Flow::Continue });
            }
            ReplicaStep::Keep { wait } => wait,
        };
        if pod.status.phase == pod_phase::PENDING {
            self.pods_control.create_missing_claims(of, pod).await?;
        }
        if wait {
            return Ok(Flow::Stop);
        }
        if !(identity_matches(of.set, pod)
            && storage_matches(of.set, pod)
            && self.pods_control.claim_owners_match(of.set, pod))
        {
            self.pods_control.update(of, pod).await?;
        }
        Ok(Flow::Continue)
    }

    async fn condemn(
        &self,
        of: Of<'_>,
        pod: &Arc<Pod>,
        first_unavailable: Option<&Arc<Pod>>,
        ordered: bool,
        now: Timestamp,
    ) -> Result<Flow, SyncError> {
        if is_terminating(pod) {
            return Ok(if ordered { Flow::Stop } else { Flow::Continue });
        }
        // In order, an unhealthy pod may only go when it is the first of them.
        let settled =
            is_running_and_ready(pod) && is_available(pod, of.set.spec.min_ready_seconds, now);
        if ordered && !settled && !first_unavailable.is_some_and(|first| Arc::ptr_eq(first, pod)) {
            return Ok(Flow::Stop);
        }
        tracing::debug!(pod = %pod.metadata.name, statefulset = %of.set.metadata.name, "Pod of StatefulSet is terminating for scale down");
        self.pods_control.delete(of, pod).await?;
        Ok(Flow::Stop)
    }

    async fn roll(
        &self,
        of: Of<'_>,
        places: &Places,
        status: &mut StatefulSetStatus,
        now: Timestamp,
    ) -> Result<(), SyncError> {
        for pod in outdated(
            of.set,
            &places.replicas,
            &status.update_revision,
            self.use_max_unavailable,
            now,
        )? {
            tracing::debug!(pod = %pod.metadata.name, statefulset = %of.set.metadata.name, "Pod of StatefulSet is terminating for update");
            self.pods_control.delete(of, &pod).await?;
            status.current_replicas -= 1;
        }
        Ok(())
    }
}

/// In order until one says stop; or all of them in growing batches, where stopping one stops none.
async fn for_all<Fut>(
    count: usize,
    ordered: bool,
    step: impl Fn(usize) -> Fut,
) -> Result<Flow, SyncError>
where
    Fut: Future<Output = Result<Flow, SyncError>>,
{
    if ordered {
        for at in 0..count {
            if step(at).await? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
    } else {
        let one = |at| {
            let step = step(at);
            async move { step.await.map(drop) }
        };
        slow_start(count, SLOW_START_INITIAL_BATCH_SIZE, one)
            .await
            .1?;
    }
    Ok(Flow::Continue)
}

fn with(error: SyncError, further: Result<(), SyncError>) -> SyncError {
    match further {
        Ok(()) => error,
        Err(further) => SyncError::Several(vec![error, further]),
    }
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
