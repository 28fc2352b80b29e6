//! Deletes pods from nodes with NoExecute taints that they do not tolerate, or no longer. Upstream: pkg/controller/tainteviction.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Node, ObjectReference, Pod, Taint, Toleration};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::DeleteOptions;
use apimachinery::hash::fnv32a;
use apimachinery::scheduling::matching_tolerations;
use client::{Client, EventRecorder, Lister, ObjectKey};
use component_base::metrics::{Counter, Histogram, Opts};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::node_lifecycle::NODE_INDEX;
use super::{
    Backoff, BuildError, Controller, Default as DefaultState, Next, SyncError, pod_conditions,
};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::{Queue, work};

const WORKERS: usize = 8;
const RETRIES: usize = 5;
const RETRY_WAIT: Duration = Duration::from_millis(10);

/// A pod and the node it was on when it changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodOnNode {
    pod: ObjectKey,
    node: String,
}

/// The taint-eviction-controller. Its keys are nodes.
pub struct TaintEvictionController {
    nodes: Lister<Node>,
    pods: Lister<Pod>,
    clock: Clock,
    changed_pods: Queue<PodOnNode>,
    /// NoExecute taints of the nodes that have some.
    tainted: Mutex<HashMap<String, Vec<Taint>>>,
    /// One lock for each eighth of the nodes: a node and its pods are looked at one after the other.
    turns: [tokio::sync::Mutex<()>; WORKERS],
    evictions: Arc<Evictions>,
    comparison_operators: bool,
}

impl Controller for TaintEvictionController {
    const NAME: &'static str = "taint-eviction-controller";
    const DEFAULT: DefaultState = DefaultState::Gated(&["SeparateTaintEvictionController"]);
    const SERVICE_ACCOUNT: &'static str = "node-controller";
    const QUEUE: &'static str = "noexec_taint_node";
    type Key = String;

    async fn build(setup: &Setup, queue: &Queue<String>) -> Result<Option<Self>, BuildError> {
        let changed_pods: Queue<PodOnNode> = setup.queue("noexec_taint_pod", Backoff::DEFAULT);
        let pods = setup.informer::<Pod>();
        pods.add_index(NODE_INDEX, |pod: &Pod| {
            Some(pod.spec.node_name.clone())
                .filter(|node| !node.is_empty())
                .into_iter()
                .collect()
        });
        let to = changed_pods.clone();
        on_change(&pods, move |change| {
            if let Change::Updated(old, new) = &change
                && old.spec.tolerations == new.spec.tolerations
                && old.spec.node_name == new.spec.node_name
            {
                return;
            }
            let pod = change.object();
            to.add(PodOnNode {
                pod: ObjectKey::new(&*pod.metadata.namespace, &*pod.metadata.name),
                node: pod.spec.node_name.clone(),
            });
        });
        let nodes = setup.informer::<Node>();
        let to = queue.clone();
        on_change(&nodes, move |change| match &change {
            Change::Updated(old, new) if no_execute(old) == no_execute(new) => {}
            change => to.add(change.object().metadata.name.clone()),
        });
        let total = Opts::new(
            "taint_eviction_controller_pod_deletions_total",
            "Total number of Pods deleted by TaintEvictionController since its start.",
        );
        let latency = Opts::new(
            "taint_eviction_controller_pod_deletion_duration_seconds",
            "Latency, in seconds, between the time when a taint effect has been activated for the Pod and its deletion via TaintEvictionController.",
        );
        let buckets = vec![
            0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0,
        ];
        Ok(Some(Self {
            nodes: nodes.lister(),
            pods: pods.lister(),
            clock: setup.clock(),
            changed_pods,
            tainted: Mutex::default(),
            turns: Default::default(),
            evictions: Arc::new(Evictions {
                client: setup.client.clone(),
                recorder: setup.recorder(Self::NAME),
                clock: setup.clock(),
                scheduled: Mutex::default(),
                tasks: TaskTracker::new(),
                total: setup.metrics().counter(total),
                latency: setup.metrics().histogram(latency.buckets(buckets)),
            }),
            comparison_operators: setup.enabled("TaintTolerationComparisonOperators"),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        WORKERS
    }

    async fn sync(&self, key: &String) -> Result<Next, SyncError> {
        let _turn = self.turn(key).await;
        let Some(node) = self.nodes.get(&ObjectKey::cluster(key.as_str())) else {
            self.tainted.lock().remove(key);
            return Ok(Next::Done);
        };
        let taints = no_execute(&node);
        {
            let mut tainted = self.tainted.lock();
            if taints.is_empty() {
                tainted.remove(key);
            } else {
                tainted.insert(key.clone(), taints.clone());
            }
        }
        let now = self.clock.now();
        for pod in self.pods.by_index(NODE_INDEX, key) {
            self.process(&pod, &taints, now);
        }
        Ok(Next::Done)
    }

    async fn run(&self, stop: CancellationToken) {
        work(
            Self::NAME,
            &self.changed_pods,
            WORKERS,
            &stop,
            |change: PodOnNode| async move {
                self.sync_pod(&change).await;
                Ok(Next::Done)
            },
        )
        .await;
        self.evictions.cancel_all().await;
    }
}

fn no_execute(node: &Node) -> Vec<Taint> {
    node.spec
        .taints
        .iter()
        .filter(|taint| taint.effect == "NoExecute")
        .cloned()
        .collect()
}

/// What taints mean for a pod.
#[derive(Debug, PartialEq)]
enum Fate {
    /// It may stay.
    Stays,
    /// It goes now.
    Goes,
    /// It goes after this time.
    GoesAfter(Duration),
}

fn fate(taints: &[Taint], tolerations: &[Toleration], comparison_operators: bool) -> Fate {
    if taints.is_empty() {
        return Fate::Stays;
    }
    let Some(used) = matching_tolerations(taints, tolerations, comparison_operators) else {
        return Fate::Goes;
    };
    let shortest = used
        .iter()
        .filter_map(|toleration| toleration.toleration_seconds)
        .min();
    match shortest.map(u64::try_from) {
        None => Fate::Stays,
        // Zero and less mean at once, but by way of a timer.
        Some(seconds) => Fate::GoesAfter(Duration::from_secs(seconds.unwrap_or(0))),
    }
}

impl TaintEvictionController {
    async fn turn(&self, node: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let shard = fnv32a(node.as_bytes()) as usize % WORKERS;
        self.turns[shard].lock().await
    }

    async fn sync_pod(&self, change: &PodOnNode) {
        let _turn = self.turn(&change.node).await;
        let Some(pod) = self.pods.get(&change.pod) else {
            self.evictions.cancel(&change.pod);
            return;
        };
        if pod.spec.node_name != change.node || change.node.is_empty() {
            return;
        }
        let taints = self.tainted.lock().get(&change.node).cloned();
        if let Some(taints) = taints {
            self.process(&pod, &taints, self.clock.now());
        }
    }

    fn process(&self, pod: &Pod, taints: &[Taint], now: Timestamp) {
        let key = ObjectKey::new(&*pod.metadata.namespace, &*pod.metadata.name);
        match fate(taints, &pod.spec.tolerations, self.comparison_operators) {
            Fate::Stays => self.evictions.cancel(&key),
            Fate::Goes => {
                tracing::debug!(v = 2, pod = %key, node = pod.spec.node_name, "Not all taints are tolerated after update for pod on node");
                self.evictions.cancel(&key);
                self.evictions.schedule(key, now, Duration::ZERO);
            }
            Fate::GoesAfter(time) => {
                let mut start = now;
                if let Some(scheduled) = self.evictions.created_at(&key) {
                    // The clock of an eviction that is under way is not set back.
                    if scheduled < now {
                        return;
                    }
                    start = scheduled;
                    self.evictions.cancel(&key);
                }
                self.evictions.schedule(key, start, time);
            }
        }
    }
}

/// Evictions that are due, or will be.
struct Evictions {
    client: Client,
    recorder: EventRecorder,
    clock: Clock,
    scheduled: Mutex<HashMap<ObjectKey, Option<Scheduled>>>,
    tasks: TaskTracker,
    total: Counter,
    latency: Histogram,
}

/// An eviction that waits. One that is carried out cannot be cancelled any more.
struct Scheduled {
    created_at: Timestamp,
    cancel: CancellationToken,
}

impl Evictions {
    fn created_at(&self, pod: &ObjectKey) -> Option<Timestamp> {
        self.scheduled
            .lock()
            .get(pod)?
            .as_ref()
            .map(|scheduled| scheduled.created_at)
    }

    fn cancel(&self, pod: &ObjectKey) {
        if let Some(Some(scheduled)) = self.scheduled.lock().remove(pod) {
            scheduled.cancel.cancel();
            self.record(pod, &format!("Cancelling deletion of Pod {pod}"));
        }
    }

    fn schedule(self: &Arc<Self>, pod: ObjectKey, created_at: Timestamp, delay: Duration) {
        let mut scheduled = self.scheduled.lock();
        if scheduled.contains_key(&pod) {
            return;
        }
        let cancel = CancellationToken::new();
        let waiting = (!delay.is_zero()).then(|| Scheduled {
            created_at,
            cancel: cancel.clone(),
        });
        scheduled.insert(pod.clone(), waiting);
        drop(scheduled);
        let fire_at = created_at
            .saturating_add(
                jiff::SignedDuration::try_from(delay).unwrap_or(jiff::SignedDuration::MAX),
            )
            .unwrap_or(Timestamp::MAX);
        let evictions = self.clone();
        self.tasks.spawn(async move {
            if cancel
                .run_until_cancelled(tokio::time::sleep(delay))
                .await
                .is_none()
            {
                return;
            }
            if let Err(error) = evictions.evict(&pod, fire_at).await {
                tracing::error!(%pod, %error, "TaintEvictionController: timed worker failed");
            }
            // A cancelled one may have been replaced meanwhile.
            if !cancel.is_cancelled() {
                evictions.scheduled.lock().remove(&pod);
            }
        });
    }

    async fn cancel_all(&self) {
        for (_, scheduled) in self.scheduled.lock().drain() {
            if let Some(scheduled) = scheduled {
                scheduled.cancel.cancel();
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn evict(&self, pod: &ObjectKey, fire_at: Timestamp) -> Result<(), client::Error> {
        tracing::info!(controller = TaintEvictionController::NAME, %pod, "Deleting pod");
        self.record(pod, &format!("Marking for deletion Pod {pod}"));
        let mut tries = 1;
        loop {
            match self.delete(pod).await {
                Ok(()) => {
                    self.total.inc();
                    self.latency
                        .observe(self.clock.now().duration_since(fire_at).as_secs_f64());
                    return Ok(());
                }
                Err(error) if tries == RETRIES => return Err(error),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(RETRY_WAIT).await;
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), client::Error> {
        let api = self.client.namespaced::<Pod>(key.namespace.as_str());
        let pod = api.get(&key.name).await?;
        let condition = pod_conditions::disruption_target(
            &pod,
            "DeletionByTaintManager",
            "Taint manager: deleting due to NoExecute taint",
        );
        pod_conditions::patch(&self.client, &pod, condition, self.clock.now_time()).await?;
        api.delete(&key.name, &DeleteOptions::default())
            .await
            .map(drop)
    }

    fn record(&self, pod: &ObjectKey, message: &str) {
        let reference = ObjectReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            ..Default::default()
        };
        self.recorder
            .event(&reference, "Normal", "TaintManagerEviction", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str) -> Taint {
        super::super::node_taints::taint(key, "NoExecute")
    }

    fn toleration(key: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: key.into(),
            operator: "Exists".into(),
            effect: "NoExecute".into(),
            toleration_seconds: seconds,
            ..Default::default()
        }
    }

    #[test]
    fn tolerations_decide() {
        #[track_caller]
        fn check(taints: &[&str], tolerations: &[(&str, Option<i64>)], expected: Fate) {
            let taints: Vec<_> = taints.iter().map(|key| taint(key)).collect();
            let tolerations: Vec<_> = tolerations
                .iter()
                .map(|(key, seconds)| toleration(key, *seconds))
                .collect();
            assert_eq!(fate(&taints, &tolerations, false), expected);
        }
        let after = |seconds| Fate::GoesAfter(Duration::from_secs(seconds));
        check(&[], &[], Fate::Stays);
        check(&["a"], &[], Fate::Goes);
        check(&["a"], &[("a", None)], Fate::Stays);
        check(&["a"], &[("a", Some(300))], after(300));
        check(&["a"], &[("a", Some(0))], after(0));
        check(&["a"], &[("a", Some(-5))], after(0));
        check(&["a", "b"], &[("a", Some(300))], Fate::Goes);
        check(&["a", "b"], &[("a", Some(300)), ("b", Some(10))], after(10));
        check(&["a", "b"], &[("a", None), ("b", Some(10))], after(10));
        check(&["a"], &[("a", None), ("b", Some(10))], Fate::Stays);
    }
}
