//! Keeps the wanted number of pods of a ReplicaSet, or of a ReplicationController. Upstream: pkg/controller/replicaset and
//! pkg/controller/replication, which also share one implementation.
//!
//! - `mod.rs`: waking, the sync, creating and deleting pods
//! - `owner.rs`: what both kinds have in common
//! - `status.rs`: the status from the pods

mod owner;
mod status;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::apps::v1::ReplicaSet;
use api_types::core::v1::{ObjectReference, Pod, ReplicationController};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use apimachinery::labels::Selector;
use client::{Client, Lister, ObjectKey, object_reference};
use component_base::metrics::{Histogram, Opts, exponential_buckets};
use jiff::Timestamp;

use self::owner::{ReplicaOwner, Status};
use super::controller_ref::{
    Claimer, controller_of, index_by_controller, is_controlled_by, key_of, new_controller_ref,
};
use super::expectations::{Expectations, pod_key};
use super::own_writes::OwnWrites;
use super::pod_control::{
    PodControl, SLOW_START_INITIAL_BATCH_SIZE, is_namespace_terminating, pod_from_template,
    slow_start,
};
use super::pod_ranking::pods_to_delete;
use super::pod_state::{is_active, is_ready, is_terminating, next_availability_check};
use super::{BuildError, Controller, Next, SyncError, owners};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::Queue;

/// The replicaset-controller.
pub type ReplicaSetController = Replicas<ReplicaSet>;
/// The replicationcontroller-controller.
pub type ReplicationControllerController = Replicas<ReplicationController>;

/// Pods created or deleted in one sync at most; the next sync goes on.
const BURST_REPLICAS: usize = 500;

/// The controller of one of the two kinds.
pub struct Replicas<O: ReplicaOwner> {
    client: Client,
    owners: Lister<O>,
    pods: Lister<Pod>,
    control: PodControl,
    expectations: Arc<Expectations<ObjectKey>>,
    own_writes: Arc<OwnWrites>,
    report_terminating: bool,
    deletion_age_ratio: Option<Histogram>,
    clock: Clock,
}

impl<O: ReplicaOwner> Controller for Replicas<O> {
    const NAME: &'static str = O::CONTROLLER;
    const ALIASES: &'static [&'static str] = &[O::ALIAS];
    const SERVICE_ACCOUNT: &'static str = O::SERVICE_ACCOUNT;
    const QUEUE: &'static str = O::QUEUE;
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let (owners, pods) = (setup.informer::<O>(), setup.informer::<Pod>());
        index_by_controller(&pods);
        index_by_controller(&owners);
        let expectations = Arc::new(Expectations::new(setup.clock()));
        let own_writes = match O::CONSISTENCY_GATE {
            Some(gate) => OwnWrites::new(setup, gate, "replicaset_controller", O::KIND)
                .follow(&pods)
                .follow(&owners),
            None => OwnWrites::off(),
        };
        let own_writes = Arc::new(own_writes);
        let wake = Arc::new(Wake {
            queue: queue.clone(),
            owners: owners.lister(),
            expectations: expectations.clone(),
            own_writes: own_writes.clone(),
        });
        let waker = wake.clone();
        on_change(&owners, move |change| waker.owner(change));
        on_change(&pods, move |change| wake.pod(change));
        Ok(Some(Self {
            client: setup.client.clone(),
            owners: owners.lister(),
            pods: pods.lister(),
            control: PodControl {
                client: setup.client.clone(),
                recorder: setup.recorder(O::COMPONENT),
            },
            expectations,
            own_writes,
            report_terminating: O::REPORTS_TERMINATING
                && setup.enabled("DeploymentReplicaSetTerminatingReplicas"),
            deletion_age_ratio: O::REPORTS_TERMINATING.then(|| deletion_age_ratio(setup)),
            clock: setup.clock(),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        usize::try_from(O::workers(config)).unwrap_or(0)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        if !self.own_writes.is_ready(key) {
            return Ok(Next::Retry);
        }
        let Some(owner) = self.owners.get(key) else {
            self.own_writes.clear(key);
            self.expectations.delete(key);
            return Ok(Next::Done);
        };
        let needs_sync = self.expectations.satisfied(key);
        let selector = match owner.selector() {
            Ok(selector) => selector,
            Err(error) => {
                tracing::error!(kind = O::KIND, %key, %error, "Error converting pod selector to selector");
                return Ok(Next::Done);
            }
        };

        let all = owners::pods_of(&self.pods, &*owner, true);
        let terminating = self.report_terminating.then(|| {
            let claimed = |pod: &Pod| {
                is_controlled_by(&pod.metadata, owner.metadata())
                    && selector.matches(&pod.metadata.labels)
            };
            all.iter()
                .filter(|pod| is_terminating(pod) && claimed(pod))
                .count()
        });
        let active = self.claim(&owner, &selector, all).await?;

        let mut failure = None;
        if needs_sync && owner.metadata().deletion_timestamp.is_none() {
            failure = self.manage(key, &owner, &active).await.err();
        }
        let evaluated = self.clock.now();
        let message = failure.as_ref().map(ToString::to_string);
        let wanted =
            status::calculate(&*owner, &active, terminating, message.as_deref(), evaluated);
        let updated = self.update_status(&owner, wanted).await?;
        if let Some(error) = failure {
            return Err(error);
        }
        let status = updated.status();
        if updated.min_ready_seconds() > 0 && status.ready != status.available {
            // Last line of defence: one queue key stands for all pods, so a wake for one pod may hide that of another.
            let fallback = Duration::from_secs(updated.min_ready_seconds() as u64);
            let check = next_availability_check(
                &active,
                updated.min_ready_seconds(),
                evaluated,
                self.clock.now(),
            );
            return Ok(Next::After(check.unwrap_or(fallback)));
        }
        Ok(Next::Done)
    }
}

/// How old deleted pods were, compared with the youngest ready one. Both kinds share it upstream.
fn deletion_age_ratio(setup: &Setup) -> Histogram {
    let help = "The ratio of chosen deleted pod's ages to the current youngest pod's age (at the time). Should be <2. The intent of this metric is to measure the rough efficacy of the LogarithmicScaleDown feature gate's effect on the sorting (and deletion) of pods when a replicaset scales down. This only considers Ready pods when calculating and reporting.";
    let opts = Opts::new("replicaset_controller_sorting_deletion_age_ratio", help);
    setup
        .metrics()
        .histogram(opts.buckets(exponential_buckets(0.25, 2.0, 6)))
}

/// For each ready pod among the chosen, its age as a multiple of the youngest ready pod's, cut to whole numbers.
fn age_ratios(active: &[Arc<Pod>], chosen: &[Arc<Pod>], now: Timestamp) -> Vec<f64> {
    let age = |pod: &Arc<Pod>| {
        now.duration_since(pod.metadata.creation_timestamp.timestamp())
            .as_millis()
    };
    let Some(youngest) = active
        .iter()
        .filter(|pod| is_ready(pod))
        .map(age)
        .min()
        .filter(|age| *age > 0)
    else {
        return Vec::new();
    };
    chosen
        .iter()
        .filter(|pod| is_ready(pod))
        .map(|pod| (age(pod) / youngest) as f64)
        .collect()
}

impl<O: ReplicaOwner> Replicas<O> {
    async fn claim(
        &self,
        owner: &Arc<O>,
        selector: &Selector,
        all: Vec<Arc<Pod>>,
    ) -> Result<Vec<Arc<Pod>>, SyncError> {
        let candidates = all.into_iter().filter(|pod| is_active(pod)).collect();
        let key = key_of(owner.metadata());
        let wrote = |pod: &Pod| self.own_writes.wrote(&key, pod);
        Claimer::new(&self.client, &**owner, selector)
            .claim(candidates, |_| true, wrote)
            .await
    }

    /// Creates missing or deletes surplus pods.
    async fn manage(
        &self,
        key: &ObjectKey,
        owner: &Arc<O>,
        active: &[Arc<Pod>],
    ) -> Result<(), SyncError> {
        let wanted = usize::try_from(owner.replicas()).unwrap_or(0);
        let reference = object_reference(&**owner);
        if active.len() < wanted {
            self.create_pods(
                key,
                owner,
                &reference,
                (wanted - active.len()).min(BURST_REPLICAS),
            )
            .await
        } else if active.len() > wanted {
            let surplus = (active.len() - wanted).min(BURST_REPLICAS);
            let related = self.related_pods(owner);
            let chosen = pods_to_delete(active.to_vec(), &related, surplus, self.clock.now());
            if let Some(metric) = self
                .deletion_age_ratio
                .as_ref()
                .filter(|_| surplus < active.len())
            {
                age_ratios(active, &chosen, self.clock.now())
                    .into_iter()
                    .for_each(|ratio| metric.observe(ratio));
            }
            self.delete_pods(key, owner, &reference, chosen).await
        } else {
            Ok(())
        }
    }

    async fn create_pods(
        &self,
        key: &ObjectKey,
        owner: &Arc<O>,
        reference: &ObjectReference,
        count: usize,
    ) -> Result<(), SyncError> {
        let Some(template) = owner.template() else {
            return Err(SyncError::other(format!(
                "{} {key} has no pod template",
                O::KIND
            )));
        };
        self.expectations.expect_creations(key, count);
        tracing::debug!(kind = O::KIND, %key, need = owner.replicas(), creating = count, "Too few replicas");
        let pod = pod_from_template(
            template,
            &key.namespace,
            &key.name,
            new_controller_ref(&**owner),
        );
        let create = async |_| match self.control.create(reference, &pod).await {
            Ok(created) => {
                self.own_writes.wrote(key, &created);
                Ok(())
            }
            // Every further creation would fail too, and nothing needs to be retried.
            Err(error) if is_namespace_terminating(&error) => Ok(()),
            Err(error) => Err(error.into()),
        };
        let (successes, result) = slow_start(count, SLOW_START_INITIAL_BATCH_SIZE, create).await;
        if successes < count {
            // The informer will not see the pods that were never created; the next sync starts slowly again.
            self.expectations.creations_observed(key, count - successes);
        }
        result
    }

    async fn delete_pods(
        &self,
        key: &ObjectKey,
        owner: &Arc<O>,
        reference: &ObjectReference,
        chosen: Vec<Arc<Pod>>,
    ) -> Result<(), SyncError> {
        tracing::debug!(kind = O::KIND, %key, need = owner.replicas(), deleting = chosen.len(), "Too many replicas");
        self.expectations
            .expect_deletions(key, chosen.iter().map(|pod| pod_key(pod)));
        let delete = |pod: Arc<Pod>| async move {
            let result = self
                .control
                .delete(reference, &key.namespace, &pod.metadata.name)
                .await;
            if result.is_err() {
                self.expectations.deletion_observed(key, &pod_key(&pod));
            }
            result
        };
        let results = futures::future::join_all(chosen.into_iter().map(delete)).await;
        // The errors are reported as events already and likely the same: the first one stands for all.
        match results
            .into_iter()
            .filter_map(Result::err)
            .find(|error| !error.is_not_found())
        {
            Some(error) => Err(SyncError::other(format!("unable to delete pods: {error}"))),
            None => Ok(()),
        }
    }

    /// The pods selected by any owner with the same controller: the other ReplicaSets of a Deployment.
    fn related_pods(&self, owner: &O) -> Vec<Arc<Pod>> {
        let metadata = owner.metadata();
        let Some(controller) = controller_of(metadata) else {
            return Vec::new();
        };
        let key =
            super::controller_ref::controller_index_key(&metadata.namespace, Some(controller));
        let mut seen = HashSet::new();
        let mut related = Vec::new();
        for sibling in self
            .owners
            .by_index(super::controller_ref::CONTROLLER_INDEX, &key)
        {
            let Ok(selector) = sibling.selector() else {
                continue;
            };
            for pod in self.pods.list_namespace(&metadata.namespace) {
                if selector.matches(&pod.metadata.labels) && seen.insert(pod.metadata.uid.clone()) {
                    related.push(pod);
                }
            }
        }
        related
    }

    /// Writes the status if it differs, with one retry on the live object.
    async fn update_status(&self, owner: &Arc<O>, mut wanted: Status) -> Result<Arc<O>, SyncError> {
        let (current, generation) = (owner.status(), owner.metadata().generation);
        if current == wanted && current.observed_generation == generation {
            return Ok(owner.clone());
        }
        // The generation we acted on, also when the retry reads a newer object.
        wanted.observed_generation = generation;
        let api = self.client.namespaced::<O>(&owner.metadata().namespace);
        let mut object = (**owner).clone();
        object.set_status(wanted.clone());
        let updated = match api.update_status(&object).await {
            Ok(updated) => updated,
            Err(_) => {
                let mut fresh = api.get(&owner.metadata().name).await?;
                fresh.set_status(wanted);
                api.update_status(&fresh).await?
            }
        };
        self.own_writes.wrote(&key_of(owner.metadata()), &updated);
        Ok(Arc::new(updated))
    }
}

/// Turns changes into keys, and lowers expectations.
struct Wake<O: ReplicaOwner> {
    queue: Queue<ObjectKey>,
    owners: Lister<O>,
    expectations: Arc<Expectations<ObjectKey>>,
    own_writes: Arc<OwnWrites>,
}

impl<O: ReplicaOwner> Wake<O> {
    fn owner(&self, change: Change<'_, O>) {
        match change {
            Change::Added(owner, _) => self.queue.add(key_of(owner.metadata())),
            Change::Updated(old, new) => {
                if old.metadata().uid != new.metadata().uid {
                    self.owner_gone(old);
                }
                self.queue.add(key_of(new.metadata()));
            }
            Change::Deleted(owner) => self.owner_gone(owner),
        }
    }

    fn owner_gone(&self, owner: &O) {
        let key = key_of(owner.metadata());
        self.own_writes.clear(&key);
        // A new owner of the same name starts clean.
        self.expectations.delete(&key);
        self.queue.add(key);
    }

    fn pod(&self, change: Change<'_, Pod>) {
        match change {
            // After a restart a pod may show up while it is being deleted: that is no creation.
            Change::Added(pod, _) if pod.metadata.deletion_timestamp.is_some() => {
                self.pod_gone(pod)
            }
            Change::Added(pod, _) => match self.owner_of(pod) {
                Some(Some(owner)) => {
                    let key = key_of(owner.metadata());
                    self.expectations.creation_observed(&key);
                    self.queue.add(key);
                }
                Some(None) => {}
                None => self.wake_selecting(pod),
            },
            Change::Updated(old, new)
                if old.metadata.resource_version == new.metadata.resource_version => {}
            Change::Updated(old, new) => self.pod_updated(old, new),
            Change::Deleted(pod) => self.pod_gone(pod),
        }
    }

    /// `None` for an orphan; `Some(None)` when someone else controls the pod.
    fn owner_of(&self, pod: &Pod) -> Option<Option<Arc<O>>> {
        controller_of(&pod.metadata)
            .map(|reference| owners::resolve(&self.owners, &pod.metadata.namespace, reference))
    }

    fn pod_gone(&self, pod: &Pod) {
        if let Some(Some(owner)) = self.owner_of(pod) {
            let key = key_of(owner.metadata());
            self.expectations.deletion_observed(&key, &pod_key(pod));
            self.queue.add(key);
        }
    }

    fn pod_updated(&self, old: &Arc<Pod>, new: &Arc<Pod>) {
        let labels_changed = old.metadata.labels != new.metadata.labels;
        if new.metadata.deletion_timestamp.is_some() {
            // A pod that begins to terminate is replaced now, not when it is gone.
            self.pod_gone(new);
            if labels_changed {
                self.pod_gone(old);
            }
            return;
        }
        let controller_changed = controller_of(&old.metadata) != controller_of(&new.metadata);
        if controller_changed && let Some(Some(owner)) = self.owner_of(old) {
            self.queue.add(key_of(owner.metadata()));
        }
        match self.owner_of(new) {
            Some(Some(owner)) => {
                let key = key_of(owner.metadata());
                self.queue.add(key.clone());
                if !is_ready(old) && is_ready(new) && owner.min_ready_seconds() > 0 {
                    self.queue
                        .add_after(key, Duration::from_secs(owner.min_ready_seconds() as u64));
                }
            }
            Some(None) => {}
            None if labels_changed || controller_changed => self.wake_selecting(new),
            None => {}
        }
    }

    /// Wakes every owner that might adopt an orphan.
    fn wake_selecting(&self, pod: &Pod) {
        let selects = |owner: &O, labels: &_| {
            owner
                .selector()
                .is_ok_and(|selector| !selector.is_empty() && selector.matches(labels))
        };
        for owner in owners::selecting(
            &self.owners,
            &pod.metadata.namespace,
            &pod.metadata.labels,
            selects,
        ) {
            self.queue.add(key_of(owner.metadata()));
        }
    }
}

#[cfg(test)]
mod tests {
    use api_types::Time;

    use super::super::pod_state::tests::ready_since;
    use super::*;

    #[test]
    fn ages_are_compared_with_the_youngest_ready_pod() {
        let pod = |created, ready| {
            let mut pod = if ready {
                ready_since(created)
            } else {
                Pod::default()
            };
            pod.metadata.creation_timestamp =
                Time::from_timestamp(Timestamp::from_second(created).unwrap());
            Arc::new(pod)
        };
        let pods = [pod(0, true), pod(50, true), pod(90, false), pod(70, true)];
        let now = Timestamp::from_second(100).unwrap();
        assert_eq!(age_ratios(&pods, &pods[..3], now), [3.0, 1.0]);
        assert!(age_ratios(&pods[2..3], &pods, now).is_empty());
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod sync_tests;
