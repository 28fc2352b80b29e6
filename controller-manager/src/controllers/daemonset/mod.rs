//! One pod on every node that fits. Upstream: pkg/controller/daemon.
//!
//! - `mod.rs`: waking, the sync, creating and deleting pods
//! - `placement.rs`: nodes, and what to do on each; `update.rs`: rolling updates; both pure
//! - `revisions.rs`: history; `backoff.rs`: spacing of failures

mod backoff;
mod placement;
mod revisions;
mod update;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_types::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use api_types::core::v1::{Node, ObjectReference, Pod};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::LabelSelector;
use client::{Client, EventRecorder, Lister, ObjectKey, object_reference};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::backoff::Backoff as FailureBackoff;
use self::placement::{
    ByNode, Fit, by_node, fit, is_updated, oldest_first, pin, plan_node, pod_template, without_node,
};
use super::controller_ref::{
    Claimer, controller_of, index_by_controller, key_of, new_controller_ref, selector_of,
};
use super::expectations::{Expectations, pod_key};
use super::history::History;
use super::own_writes::OwnWrites;
use super::pod_control::{
    PodControl, SLOW_START_INITIAL_BATCH_SIZE, is_namespace_terminating, pod_from_template,
    slow_start,
};
use super::pod_state::{is_available, is_ready};
use super::{Backoff, BuildError, Controller, Next, SyncError, owners};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::{self, Queue};

/// Pods created or deleted in one sync at most.
const BURST_REPLICAS: usize = 250;
/// How often the backoff of failed pods is cleared of old entries.
const BACKOFF_GC_INTERVAL: Duration = Duration::from_secs(60);
/// Name of the index of pods by node.
const NODE_INDEX: &str = "podNodeName";

/// The daemonset-controller.
pub struct DaemonSetController {
    client: Client,
    recorder: EventRecorder,
    control: PodControl,
    sets: Lister<DaemonSet>,
    pods: Lister<Pod>,
    nodes: Lister<Node>,
    history: History,
    expectations: Arc<Expectations<ObjectKey>>,
    own_writes: Arc<OwnWrites>,
    failed_pods: FailureBackoff,
    queue: Queue<ObjectKey>,
    /// Names of nodes whose labels or taints changed.
    node_updates: Queue<String>,
    workers: usize,
    comparison_operators: bool,
    clock: Clock,
}

impl Controller for DaemonSetController {
    const NAME: &'static str = "daemonset-controller";
    const ALIASES: &'static [&'static str] = &["daemonset"];
    const SERVICE_ACCOUNT: &'static str = "daemon-set-controller";
    const QUEUE: &'static str = "daemonset";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let (sets, revisions) = (
            setup.informer::<DaemonSet>(),
            setup.informer::<ControllerRevision>(),
        );
        let (pods, nodes) = (setup.informer::<Pod>(), setup.informer::<Node>());
        index_by_controller(&pods);
        index_by_controller(&revisions);
        index_by_node(&pods);
        let node_updates = setup.queue::<String>("daemonset-node-updates", Backoff::DEFAULT);
        let expectations = Arc::new(Expectations::new(setup.clock()));
        let gate = "StaleControllerConsistencyDaemonSet";
        let own_writes = OwnWrites::new(setup, gate, "daemonset_controller", "DaemonSet");
        let own_writes = Arc::new(own_writes.follow(&pods).follow(&sets));
        let wake = Arc::new(Wake {
            queue: queue.clone(),
            sets: sets.lister(),
            expectations: expectations.clone(),
            own_writes: own_writes.clone(),
        });
        let waker = wake.clone();
        on_change(&sets, move |change| waker.set(change));
        let waker = wake.clone();
        on_change(&revisions, move |change| waker.revision(change));
        on_change(&pods, move |change| wake.pod(change));
        let changed_nodes = node_updates.clone();
        on_change(&nodes, move |change| match change {
            Change::Added(node, _) => changed_nodes.add(node.metadata.name.clone()),
            Change::Updated(old, new)
                if old.metadata.labels == new.metadata.labels
                    && old.spec.taints == new.spec.taints => {}
            Change::Updated(_, node) => changed_nodes.add(node.metadata.name.clone()),
            Change::Deleted(_) => {}
        });
        let recorder = setup.recorder("daemonset-controller");
        Ok(Some(Self {
            client: setup.client.clone(),
            control: PodControl {
                client: setup.client.clone(),
                recorder: recorder.clone(),
            },
            recorder,
            sets: sets.lister(),
            pods: pods.lister(),
            nodes: nodes.lister(),
            history: History {
                client: setup.client.clone(),
                revisions: revisions.lister(),
            },
            expectations,
            own_writes,
            failed_pods: FailureBackoff::default(),
            queue: queue.clone(),
            node_updates,
            workers: Self::workers(setup.config()),
            comparison_operators: setup.enabled("TaintTolerationComparisonOperators"),
            clock: setup.clock(),
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        usize::try_from(config.daemon_set_controller.concurrent_daemon_set_syncs).unwrap_or(0)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        if !self.own_writes.is_ready(key) {
            return Ok(Next::Retry);
        }
        let Some(ds) = self.sets.get(key) else {
            self.expectations.delete(key);
            self.own_writes.clear(key);
            return Ok(Next::Done);
        };
        if ds.spec.selector.as_deref() == Some(&LabelSelector::default()) {
            let message =
                "This daemon set is selecting all pods. A non-empty selector is required.";
            self.recorder
                .event(&object_reference(&*ds), "Warning", "SelectingAll", message);
            return Ok(Next::Done);
        }
        // The history of a DaemonSet that is being deleted may be gone already: no status can be computed from it.
        if ds.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let nodes: Vec<_> = self
            .nodes
            .list()
            .into_iter()
            .map(|node| (fit(&node, &ds, self.comparison_operators), node))
            .collect();
        let pods = self.claim(&ds).await?;
        let (current, old) = self
            .revisions(&ds, &pods)
            .await
            .map_err(|error| match error {
                SyncError::Api(error) => SyncError::Api(error),
                other => SyncError::other(format!(
                    "failed to construct revisions of DaemonSet: {other}"
                )),
            })?;
        let hash = current
            .metadata
            .labels
            .get(placement::HASH_LABEL)
            .cloned()
            .unwrap_or_default();
        let work = Work {
            key,
            ds: &ds,
            reference: object_reference(&*ds),
            nodes: &nodes,
            hash: &hash,
        };
        let (result, observed) = if self.expectations.satisfied(key) {
            (self.update(&work, &pods, old).await, true)
        } else {
            (Ok(()), false)
        };
        let status = self.write_status(&work, observed).await;
        result?;
        status
    }

    async fn run(&self, stop: CancellationToken) {
        let collect = async {
            let mut tick = tokio::time::interval(BACKOFF_GC_INTERVAL);
            loop {
                tick.tick().await;
                self.failed_pods.collect(self.clock.now());
            }
        };
        let node_updates = runner::work(
            Self::NAME,
            &self.node_updates,
            self.workers,
            &stop,
            |node: String| std::future::ready(self.sync_node(&node)),
        );
        tokio::select! {
            () = collect => {}
            () = node_updates => {}
        }
    }
}

/// One sync of one DaemonSet.
struct Work<'a> {
    key: &'a ObjectKey,
    ds: &'a Arc<DaemonSet>,
    reference: ObjectReference,
    nodes: &'a [(Fit, Arc<Node>)],
    hash: &'a str,
}

impl Work<'_> {
    fn desired(&self) -> Vec<String> {
        self.nodes
            .iter()
            .filter(|(fit, _)| fit.runs())
            .map(|(_, node)| node.metadata.name.clone())
            .collect()
    }
}

impl DaemonSetController {
    async fn claim(&self, ds: &Arc<DaemonSet>) -> Result<Vec<Arc<Pod>>, SyncError> {
        let selector = selector_of(ds.spec.selector.as_deref())?;
        let candidates = owners::pods_of(&self.pods, &**ds, true);
        let key = key_of(&ds.metadata);
        let wrote = |pod: &Pod| self.own_writes.wrote(&key, pod);
        Claimer::new(&self.client, &**ds, &selector)
            .claim(candidates, |_| true, wrote)
            .await
    }

    async fn update(
        &self,
        work: &Work<'_>,
        pods: &[Arc<Pod>],
        old: Vec<Arc<ControllerRevision>>,
    ) -> Result<(), SyncError> {
        let now = self.clock.now();
        let (create, delete) = self.plan(work, &by_node(pods, false), now);
        self.apply(work, &create, &delete).await?;
        if work.ds.spec.update_strategy.type_ == "RollingUpdate"
            && self.expectations.satisfied(work.key)
        {
            let fits: HashMap<&str, Fit> = work
                .nodes
                .iter()
                .map(|(fit, node)| (node.metadata.name.as_str(), *fit))
                .collect();
            // The cache may show by now what was just created and deleted.
            let pods = self.claim(work.ds).await?;
            let step = update::plan(
                work.ds,
                by_node(&pods, false),
                &work.desired(),
                |node| fits.get(node).copied(),
                work.hash,
                now,
            )?;
            self.apply(work, &step.create, &step.delete).await?;
        }
        self.clean_up_revisions(work.ds, pods, old).await
    }

    /// Nodes that need a pod, and pods that must go, with the events about pods that ended.
    fn plan(
        &self,
        work: &Work<'_>,
        grouped: &ByNode,
        now: Timestamp,
    ) -> (Vec<String>, Vec<String>) {
        let (mut create, mut delete) = (Vec::new(), Vec::new());
        let namespace = &work.key.namespace;
        for (fit, node) in work.nodes {
            let name = &node.metadata.name;
            let plan = plan_node(*fit, grouped.get(name), work.ds, work.hash, now);
            if plan.create {
                create.push(name.clone());
            }
            for pod in plan.failed {
                let key = format!(
                    "{}/{}/{name}",
                    work.ds.metadata.uid, work.ds.status.observed_generation
                );
                if let Some(delay) = self.failed_pods.waiting(&key, now) {
                    self.queue.add_after(work.key.clone(), delay);
                    continue;
                }
                self.failed_pods.note(&key, now);
                let message = format!(
                    "Found failed daemon pod {namespace}/{pod} on node {name}, will try to kill it"
                );
                self.recorder
                    .event(&work.reference, "Warning", "FailedDaemonPod", &message);
                delete.push(pod);
            }
            for pod in plan.succeeded {
                let message = format!(
                    "Found succeeded daemon pod {namespace}/{pod} on node {name}, will try to delete it"
                );
                self.recorder
                    .event(&work.reference, "Normal", "SucceededDaemonPod", &message);
                delete.push(pod);
            }
            delete.extend(plan.delete);
        }
        let nodes: Vec<_> = work.nodes.iter().map(|(_, node)| node.clone()).collect();
        delete.extend(without_node(&nodes, grouped));
        (create, delete)
    }

    /// Creates pods on nodes and deletes pods by name.
    async fn apply(
        &self,
        work: &Work<'_>,
        create: &[String],
        delete: &[String],
    ) -> Result<(), SyncError> {
        let create = &create[..create.len().min(BURST_REPLICAS)];
        let delete = &delete[..delete.len().min(BURST_REPLICAS)];
        let namespace = &work.key.namespace;
        let keys = delete
            .iter()
            .map(|name| format!("{namespace}/{name}"))
            .collect();
        self.expectations.expect(work.key, create.len(), keys);

        let template = pod_template(work.ds, work.hash);
        let pod = pod_from_template(
            &template,
            namespace,
            &work.key.name,
            new_controller_ref(&**work.ds),
        );
        let create_one = async |at: usize| {
            let mut pod = pod.clone();
            pin(&mut pod.spec, &create[at]);
            match self.control.create(&work.reference, &pod).await {
                Ok(created) => {
                    self.own_writes.wrote(work.key, &created);
                    Ok(())
                }
                Err(error) if is_namespace_terminating(&error) => Ok(()),
                Err(error) => Err(error.into()),
            }
        };
        let (successes, created) =
            slow_start(create.len(), SLOW_START_INITIAL_BATCH_SIZE, create_one).await;
        self.expectations
            .creations_observed(work.key, create.len() - successes);

        let delete_one = |name: &String| {
            let name = name.clone();
            async move {
                let result = self.control.delete(&work.reference, namespace, &name).await;
                if result.is_err() {
                    self.expectations
                        .deletion_observed(work.key, &format!("{namespace}/{name}"));
                }
                result
            }
        };
        let deleted = futures::future::join_all(delete.iter().map(delete_one)).await;
        let mut errors: Vec<SyncError> = created.err().into_iter().collect();
        let failed = deleted
            .into_iter()
            .filter_map(Result::err)
            .filter(|error| !error.is_not_found());
        errors.extend(
            failed.map(|error| SyncError::other(format!("unable to delete pods: {error}"))),
        );
        SyncError::aggregate(errors)
    }

    async fn write_status(&self, work: &Work<'_>, observed: bool) -> Result<Next, SyncError> {
        let pods = owners::pods_of(&self.pods, &**work.ds, false);
        let status = count(
            work.ds,
            work.nodes,
            by_node(&pods, false),
            work.hash,
            self.clock.now(),
        );
        let waits =
            work.ds.spec.min_ready_seconds > 0 && status.number_ready != status.number_available;
        let generation = work.ds.metadata.generation;
        let is_current = work.ds.status.observed_generation >= generation;
        if !(is_current && with_counts(&work.ds.status, &status) == work.ds.status) {
            let api = self.client.namespaced::<DaemonSet>(&work.key.namespace);
            let change = |object: &mut DaemonSet| {
                object.status = with_counts(&object.status, &status);
                if observed {
                    object.status.observed_generation = generation;
                }
            };
            let mut object = DaemonSet::clone(work.ds);
            change(&mut object);
            let updated = match api.update_status(&object).await {
                Ok(updated) => updated,
                Err(_) => {
                    let mut fresh = api.get(&work.key.name).await?;
                    change(&mut fresh);
                    api.update_status(&fresh).await?
                }
            };
            self.own_writes.wrote(work.key, &updated);
        }
        // Against skew of clocks: the pods' own changes wake us too.
        Ok(if waits {
            Next::After(Duration::from_secs(work.ds.spec.min_ready_seconds as u64))
        } else {
            Next::Done
        })
    }

    /// Wakes the DaemonSets for which a changed node means something.
    fn sync_node(&self, name: &str) -> Result<Next, SyncError> {
        let Some(node) = self.nodes.get(&ObjectKey::cluster(name)) else {
            return Ok(Next::Done);
        };
        let pods = self.pods.by_index(NODE_INDEX, name);
        for ds in self.sets.list() {
            let owned = |pod: &Arc<Pod>| {
                let controller = controller_of(&pod.metadata);
                pod.metadata.namespace == ds.metadata.namespace
                    && controller
                        .is_some_and(|c| c.kind == "DaemonSet" && c.name == ds.metadata.name)
            };
            let scheduled = pods.iter().any(owned);
            let concerns = match fit(&node, &ds, self.comparison_operators) {
                Fit::Run => !scheduled,
                Fit::Keep => false,
                Fit::Leave => scheduled,
            };
            // A pod that was out of place may be in place again: the status must be counted anew.
            if concerns || (scheduled && ds.status.number_misscheduled > 0) {
                self.queue.add(key_of(&ds.metadata));
            }
        }
        Ok(Next::Done)
    }
}

/// Counts nodes and pods.
fn count(
    ds: &DaemonSet,
    nodes: &[(Fit, Arc<Node>)],
    mut pods: ByNode,
    hash: &str,
    now: Timestamp,
) -> DaemonSetStatus {
    let mut status = DaemonSetStatus::default();
    for (fit, node) in nodes {
        let on_node = pods
            .get_mut(&node.metadata.name)
            .filter(|pods| !pods.is_empty());
        if !fit.runs() {
            status.number_misscheduled += i32::from(on_node.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(on_node) = on_node else { continue };
        status.current_number_scheduled += 1;
        oldest_first(on_node);
        let pod = &on_node[0];
        status.number_ready += i32::from(is_ready(pod));
        status.number_available += i32::from(is_available(pod, ds.spec.min_ready_seconds, now));
        status.updated_number_scheduled += i32::from(is_updated(ds, pod, hash));
    }
    status.number_unavailable = status.desired_number_scheduled - status.number_available;
    status
}

/// A status with new counts; generation, conditions and collisions stay.
fn with_counts(old: &DaemonSetStatus, counts: &DaemonSetStatus) -> DaemonSetStatus {
    DaemonSetStatus {
        observed_generation: old.observed_generation,
        collision_count: old.collision_count,
        conditions: old.conditions.clone(),
        ..counts.clone()
    }
}

fn index_by_node(pods: &client::SharedInformer<Pod>) {
    pods.add_index(NODE_INDEX, |pod| match pod.spec.node_name.as_str() {
        "" => Vec::new(),
        node => vec![node.to_owned()],
    });
}

struct Wake {
    queue: Queue<ObjectKey>,
    sets: Lister<DaemonSet>,
    expectations: Arc<Expectations<ObjectKey>>,
    own_writes: Arc<OwnWrites>,
}

impl Wake {
    fn set(&self, change: Change<'_, DaemonSet>) {
        match change {
            Change::Added(ds, _) => self.queue.add(key_of(&ds.metadata)),
            Change::Updated(old, new) => {
                if old.metadata.uid != new.metadata.uid {
                    self.set_gone(old);
                }
                self.queue.add(key_of(&new.metadata));
            }
            Change::Deleted(ds) => self.set_gone(ds),
        }
    }

    fn set_gone(&self, ds: &DaemonSet) {
        let key = key_of(&ds.metadata);
        self.own_writes.clear(&key);
        self.expectations.delete(&key);
        self.queue.add(key);
    }

    fn owner_of(&self, metadata: &api_types::meta::v1::ObjectMeta) -> Option<Arc<DaemonSet>> {
        owners::resolve(&self.sets, &metadata.namespace, controller_of(metadata)?)
    }

    fn wake_selecting(&self, namespace: &str, labels: &BTreeMap<String, String>) {
        let selects = |ds: &DaemonSet, labels: &_| {
            selector_of(ds.spec.selector.as_deref())
                .is_ok_and(|selector| !selector.is_empty() && selector.matches(labels))
        };
        for ds in owners::selecting(&self.sets, namespace, labels, selects) {
            self.queue.add(key_of(&ds.metadata));
        }
    }

    fn wake_owner(&self, metadata: &api_types::meta::v1::ObjectMeta) {
        if let Some(ds) = self.owner_of(metadata) {
            self.queue.add(key_of(&ds.metadata));
        }
    }

    fn revision(&self, change: Change<'_, ControllerRevision>) {
        match change {
            // Most new revisions are our own.
            Change::Added(revision, _) if controller_of(&revision.metadata).is_some() => {}
            Change::Added(revision, _) if revision.metadata.deletion_timestamp.is_some() => {}
            Change::Added(revision, _) => {
                self.wake_selecting(&revision.metadata.namespace, &revision.metadata.labels)
            }
            Change::Updated(old, new)
                if old.metadata.resource_version == new.metadata.resource_version => {}
            Change::Updated(old, new) => {
                let controller_changed =
                    controller_of(&old.metadata) != controller_of(&new.metadata);
                if controller_changed {
                    self.wake_owner(&old.metadata);
                }
                if controller_of(&new.metadata).is_some() {
                    self.wake_owner(&new.metadata);
                } else if controller_changed || old.metadata.labels != new.metadata.labels {
                    self.wake_selecting(&new.metadata.namespace, &new.metadata.labels);
                }
            }
            Change::Deleted(revision) => self.wake_owner(&revision.metadata),
        }
    }

    fn pod(&self, change: Change<'_, Pod>) {
        match change {
            Change::Added(pod, _) if pod.metadata.deletion_timestamp.is_some() => {
                self.pod_gone(pod)
            }
            Change::Added(pod, _) => {
                if let Some(ds) = self.owner_of(&pod.metadata) {
                    self.expectations.creation_observed(&key_of(&ds.metadata));
                    self.queue.add(key_of(&ds.metadata));
                } else if controller_of(&pod.metadata).is_none() {
                    self.wake_selecting(&pod.metadata.namespace, &pod.metadata.labels);
                }
            }
            Change::Updated(old, new)
                if old.metadata.resource_version == new.metadata.resource_version => {}
            Change::Updated(_, new) if new.metadata.deletion_timestamp.is_some() => {
                self.pod_gone(new)
            }
            Change::Updated(old, new) => self.pod_updated(old, new),
            Change::Deleted(pod) => self.pod_gone(pod),
        }
    }

    fn pod_gone(&self, pod: &Pod) {
        if let Some(ds) = self.owner_of(&pod.metadata) {
            let key = key_of(&ds.metadata);
            self.expectations.deletion_observed(&key, &pod_key(pod));
            self.queue.add(key);
        }
    }

    fn pod_updated(&self, old: &Pod, new: &Pod) {
        let controller_changed = controller_of(&old.metadata) != controller_of(&new.metadata);
        if controller_changed {
            self.wake_owner(&old.metadata);
        }
        if controller_of(&new.metadata).is_none() {
            if controller_changed || old.metadata.labels != new.metadata.labels {
                self.wake_selecting(&new.metadata.namespace, &new.metadata.labels);
            }
            return;
        }
        let Some(ds) = self.owner_of(&new.metadata) else {
            return;
        };
        self.queue.add(key_of(&ds.metadata));
        if !is_ready(old) && is_ready(new) && ds.spec.min_ready_seconds > 0 {
            // A second more, because timers may fire early.
            self.queue.add_after(
                key_of(&ds.metadata),
                Duration::from_secs(ds.spec.min_ready_seconds as u64 + 1),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::placement::tests::{daemon_set, node, pod};
    use super::*;

    #[test]
    fn the_status_counts_nodes() {
        let nodes = [
            (Fit::Run, node("a", &[])),
            (Fit::Run, node("b", &[])),
            (Fit::Run, node("c", &[])),
            (Fit::Keep, node("d", &[])),
            (Fit::Leave, node("e", &[])),
        ];
        let pods = [
            pod("a1", "a", "new", "ready"),
            pod("a2", "a", "new", "running"),
            pod("b1", "b", "old", "running"),
            pod("d1", "d", "new", "ready"),
        ];
        let status = count(
            &daemon_set(0, 1),
            &nodes,
            by_node(&pods, false),
            "new",
            Timestamp::from_second(500).unwrap(),
        );
        assert_eq!(
            (
                status.desired_number_scheduled,
                status.current_number_scheduled,
                status.number_misscheduled,
                status.number_ready
            ),
            (3, 2, 1, 1)
        );
        assert_eq!(
            (
                status.updated_number_scheduled,
                status.number_available,
                status.number_unavailable
            ),
            (1, 1, 2)
        );
    }
}
