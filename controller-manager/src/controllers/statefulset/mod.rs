//! Pods with stable names, storage and order. Upstream: pkg/controller/statefulset.
//!
//! - `mod.rs`: waking and claiming
//! - `update.rs`: one step towards the spec
//! - `pods.rs`: pods and claims, written with their events
//! - `identity.rs`, `retention.rs`, `revisions.rs`: names, who owns claims, history

mod identity;
mod pods;
mod retention;
mod revisions;
mod update;

use std::sync::Arc;
use std::time::Duration;

use api_types::apps::v1::{ControllerRevision, StatefulSet};
use api_types::core::v1::{PersistentVolumeClaim, Pod};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use client::{Client, Lister, ObjectKey, object_reference};

use self::pods::{Of, StatefulPods};
use super::controller_ref::{Claimer, controller_of, index_by_controller, key_of, selector_of};
use super::history::History;
use super::own_writes::OwnWrites;
use super::pod_state::{is_ready, next_availability_check};
use super::{BuildError, Controller, Next, SyncError, owners};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

/// The statefulset-controller.
pub struct StatefulSetController {
    client: Client,
    sets: Lister<StatefulSet>,
    pods: Lister<Pod>,
    pods_control: StatefulPods,
    history: History,
    own_writes: Arc<OwnWrites>,
    semantic_revisions: bool,
    use_max_unavailable: bool,
    clock: Clock,
}

impl Controller for StatefulSetController {
    const NAME: &'static str = "statefulset-controller";
    const ALIASES: &'static [&'static str] = &["statefulset"];
    const SERVICE_ACCOUNT: &'static str = "statefulset-controller";
    const QUEUE: &'static str = "statefulset";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let (pods, sets) = (setup.informer::<Pod>(), setup.informer::<StatefulSet>());
        let (claims, revisions) = (
            setup.informer::<PersistentVolumeClaim>(),
            setup.informer::<ControllerRevision>(),
        );
        index_by_controller(&pods);
        index_by_controller(&revisions);
        let gate = "StaleControllerConsistencyStatefulSet";
        let own_writes = OwnWrites::new(setup, gate, "statefulset_controller", "StatefulSet");
        let own_writes = Arc::new(own_writes.follow(&pods).follow(&claims).follow(&sets));
        let wake = Wake {
            queue: queue.clone(),
            sets: sets.lister(),
        };
        on_change(&pods, move |change| wake.pod(change));
        let queue = queue.clone();
        on_change(&sets, move |change| {
            queue.add(key_of(&change.object().metadata))
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            sets: sets.lister(),
            pods: pods.lister(),
            pods_control: StatefulPods {
                client: setup.client.clone(),
                recorder: setup.recorder("statefulset-controller"),
                claims: claims.lister(),
                own_writes: own_writes.clone(),
            },
            history: History {
                client: setup.client.clone(),
                revisions: revisions.lister(),
            },
            own_writes,
            semantic_revisions: setup.enabled("StatefulSetSemanticRevisionComparison"),
            use_max_unavailable: setup.enabled("MaxUnavailableStatefulSet"),
            clock: setup.clock(),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        usize::try_from(config.stateful_set_controller.concurrent_stateful_set_syncs).unwrap_or(0)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        if !self.own_writes.is_ready(key) {
            return Ok(Next::Retry);
        }
        let Some(set) = self.sets.get(key) else {
            self.own_writes.clear(key);
            return Ok(Next::Done);
        };
        let selector = match selector_of(set.spec.selector.as_deref()) {
            Ok(selector) => selector,
            Err(error) => {
                // A retry would not make the selector valid.
                tracing::error!(statefulset = %key, %error, "Error converting StatefulSet selector");
                return Ok(Next::Done);
            }
        };
        let claimer = Claimer::new(&self.client, &*set, &selector);
        let orphans = self
            .list_revisions(&set)?
            .into_iter()
            .filter(|revision| controller_of(&revision.metadata).is_none())
            .collect();
        claimer
            .claim::<ControllerRevision>(orphans, |_| true, |_| ())
            .await?;
        let candidates = owners::pods_of(&self.pods, &*set, true);
        let wrote = |pod: &Pod| self.own_writes.wrote(key, pod);
        let pods = claimer
            .claim(candidates, |pod| identity::is_member(&set, pod), wrote)
            .await?;

        let evaluated = self.clock.now();
        let reference = object_reference(&*set);
        let status = self
            .step(
                Of {
                    set: &set,
                    reference: &reference,
                },
                &pods,
                evaluated,
            )
            .await?;
        let min_ready_seconds = set.spec.min_ready_seconds;
        if min_ready_seconds > 0 && status.ready_replicas != status.available_replicas {
            let check =
                next_availability_check(&pods, min_ready_seconds, evaluated, self.clock.now());
            return Ok(Next::After(
                check.unwrap_or(Duration::from_secs(min_ready_seconds as u64)),
            ));
        }
        Ok(Next::Done)
    }
}

impl StatefulSetController {
    fn list_revisions(&self, set: &StatefulSet) -> Result<Vec<Arc<ControllerRevision>>, SyncError> {
        Ok(self
            .history
            .list(set, &selector_of(set.spec.selector.as_deref())?))
    }
}

struct Wake {
    queue: Queue<ObjectKey>,
    sets: Lister<StatefulSet>,
}

impl Wake {
    fn pod(&self, change: Change<'_, Pod>) {
        match change {
            Change::Added(pod, _) if pod.metadata.deletion_timestamp.is_some() => {
                self.wake_owner(pod)
            }
            Change::Added(pod, _) => self.wake(pod, true),
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
                if let Some(set) = self.owner_of(new)
                    && set.spec.min_ready_seconds > 0
                    && !is_ready(old)
                    && is_ready(new)
                {
                    self.queue.add_after(
                        key_of(&set.metadata),
                        Duration::from_secs(set.spec.min_ready_seconds as u64),
                    );
                }
            }
            Change::Deleted(pod) => self.wake_owner(pod),
        }
    }

    fn wake(&self, pod: &Pod, look_for_adopters: bool) {
        if controller_of(&pod.metadata).is_some() {
            self.wake_owner(pod);
        } else if look_for_adopters {
            let selects = |set: &StatefulSet, labels: &_| {
                selector_of(set.spec.selector.as_deref())
                    .is_ok_and(|selector| !selector.is_empty() && selector.matches(labels))
            };
            for set in owners::selecting(
                &self.sets,
                &pod.metadata.namespace,
                &pod.metadata.labels,
                selects,
            ) {
                self.queue.add(key_of(&set.metadata));
            }
        }
    }

    fn wake_owner(&self, pod: &Pod) {
        if let Some(set) = self.owner_of(pod) {
            self.queue.add(key_of(&set.metadata));
        }
    }

    fn owner_of(&self, pod: &Pod) -> Option<Arc<StatefulSet>> {
        owners::resolve(
            &self.sets,
            &pod.metadata.namespace,
            controller_of(&pod.metadata)?,
        )
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod sync_tests;
