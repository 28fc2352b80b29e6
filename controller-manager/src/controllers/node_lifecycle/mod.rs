//! Notices nodes that fall silent, marks them and their pods, and taints them. Upstream: pkg/controller/nodelifecycle.
//!
//! Three things happen beside each other: conditions become NoSchedule taints when a node changes (the queue), every
//! `--node-monitor-period` all nodes are judged, and nodes that are not ready get their NoExecute taint at a rate that depends on how
//! many others of the zone are in the same state. Evicting pods from tainted nodes is the taint-eviction-controller's work.

/// Is a node alive?
mod health;
/// Rates by zone.
mod zones;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::coordination::v1::Lease;
use api_types::core::v1::{Node, ObjectReference, Pod, Taint};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::PatchOptions;
use apimachinery::scheduling::{taint_exists, taint_set_diff};
use client::{Client, EventRecorder, Lister, ObjectKey, Patch, object_reference};
use component_base::metrics::{
    CounterVec, GaugeVec, Histogram, Metrics as Base, Opts, Stability, exponential_buckets,
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::health::{Grace, Health, Verdict, look};
use self::zones::{Action, Limits, TaintQueue, ZoneState, compare, zone_of};
use super::controller_ref::key_of;
use super::node_taints::{self, NOT_READY, UNREACHABLE, taint};
use super::{Backoff, BuildError, Controller, Next, SyncError, pod_conditions};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::{Queue, work};

const NODE_WORKERS: usize = 8;
const POD_WORKERS: usize = 4;
/// How often the zones' queues are looked at.
const TAINT_PERIOD: Duration = Duration::from_millis(100);
/// Tries to write a silent node's status in one pass.
const HEALTH_TRIES: usize = 5;
const HEALTH_WAIT: Duration = Duration::from_millis(20);
const LEASE_NAMESPACE: &str = "kube-node-lease";
const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Nodes that do not count when a zone is judged.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";
/// Name of the index of pods by node.
pub(super) const NODE_INDEX: &str = "spec.nodeName";

/// Condition, status, and the key of the taint it makes.
const CONDITION_TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    (
        "MemoryPressure",
        "True",
        "node.kubernetes.io/memory-pressure",
    ),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    (
        "NetworkUnavailable",
        "True",
        "node.kubernetes.io/network-unavailable",
    ),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// Labels and their older names, which follow.
const LABELS: [(&str, &str); 2] = [
    ("kubernetes.io/os", "beta.kubernetes.io/os"),
    ("kubernetes.io/arch", "beta.kubernetes.io/arch"),
];

/// The node-lifecycle-controller. Its keys are nodes.
pub struct NodeLifecycleController {
    client: Client,
    recorder: EventRecorder,
    clock: Clock,
    nodes: Lister<Node>,
    pods: Lister<Pod>,
    leases: Lister<Lease>,
    placed_pods: Queue<ObjectKey>,
    period: Duration,
    grace: Grace,
    limits: Limits,
    health: Mutex<HashMap<String, Health>>,
    /// Nodes whose pods could not all be marked.
    retry: Arc<Mutex<HashSet<String>>>,
    queues: Mutex<BTreeMap<String, TaintQueue>>,
    metrics: Metrics,
}

/// What only the monitor knows.
#[derive(Default)]
struct Monitor {
    known: HashMap<String, Arc<Node>>,
    zones: BTreeMap<String, ZoneState>,
}

impl Controller for NodeLifecycleController {
    const NAME: &'static str = "node-lifecycle-controller";
    const ALIASES: &'static [&'static str] = &["nodelifecycle"];
    const SERVICE_ACCOUNT: &'static str = "node-controller";
    const QUEUE: &'static str = "node_lifecycle_controller";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let config = setup.config();
        let lifecycle = &config.node_lifecycle_controller;
        let placed_pods = setup.queue("node_lifecycle_controller_pods", Backoff::DEFAULT);
        let pods = setup.informer::<Pod>();
        pods.add_index(NODE_INDEX, |pod: &Pod| {
            Some(pod.spec.node_name.clone())
                .filter(|node| !node.is_empty())
                .into_iter()
                .collect()
        });
        let to: Queue<ObjectKey> = placed_pods.clone();
        on_change(&pods, move |change| {
            let placed = match &change {
                Change::Added(pod, _) => !pod.spec.node_name.is_empty(),
                Change::Updated(old, new) => {
                    !new.spec.node_name.is_empty() && new.spec.node_name != old.spec.node_name
                }
                Change::Deleted(_) => false,
            };
            if placed {
                to.add(key_of(&change.object().metadata));
            }
        });
        let nodes = setup.informer::<Node>();
        let retry = Arc::new(Mutex::new(HashSet::new()));
        let (to, forget) = (queue.clone(), retry.clone());
        on_change(&nodes, move |change| match change {
            Change::Added(node, _) | Change::Updated(_, node) => to.add(key_of(&node.metadata)),
            Change::Deleted(node) => {
                forget.lock().remove(&node.metadata.name);
            }
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            recorder: setup.recorder("node-controller"),
            clock: setup.clock(),
            nodes: nodes.lister(),
            pods: pods.lister(),
            leases: setup.informer::<Lease>().lister(),
            placed_pods,
            period: config.kube_cloud_shared.node_monitor_period.as_std(),
            grace: Grace {
                startup: lifecycle.node_startup_grace_period.as_std(),
                monitor: lifecycle.node_monitor_grace_period.as_std(),
            },
            limits: Limits {
                qps: lifecycle.node_eviction_rate,
                secondary_qps: lifecycle.secondary_node_eviction_rate,
                large_zone: usize::try_from(lifecycle.large_cluster_size_threshold).unwrap_or(0),
                unhealthy_threshold: lifecycle.unhealthy_zone_threshold,
            },
            health: Mutex::default(),
            retry,
            queues: Mutex::default(),
            metrics: Metrics::new(setup.metrics()),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        NODE_WORKERS
    }

    /// As upstream, failures wait for the node's next change.
    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(node) = self.nodes.get(key) else {
            return Ok(Next::Done);
        };
        let (add, remove) = condition_taints(&node);
        if !add.is_empty() || !remove.is_empty() {
            node_taints::swap(&self.client, &node, add, &remove, self.clock.now_time()).await;
        }
        let labels = labels_to_set(&node);
        if !labels.is_empty() {
            let patch = json!({"metadata": {"labels": labels}});
            let patch = Patch::Strategic(patch.to_string().into_bytes());
            let api = self.client.api::<Node>();
            if let Err(error) = api.patch(&key.name, &patch, &PatchOptions::default()).await {
                tracing::error!(node = key.name, %error, "Failed to reconcile labels for node");
            }
        }
        Ok(Next::Done)
    }

    async fn run(&self, stop: CancellationToken) {
        let pods = work(
            Self::NAME,
            &self.placed_pods,
            POD_WORKERS,
            &stop,
            |key: ObjectKey| async move { self.mark_placed_pod(&key).await },
        );
        let taints = async {
            let mut tick = tokio::time::interval(TAINT_PERIOD);
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                self.taint_pass().await;
            }
        };
        let monitor = async {
            let mut monitor = Monitor::default();
            let mut tick = tokio::time::interval(self.period.max(Duration::from_millis(1)));
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                let start = Instant::now();
                self.monitor(&mut monitor).await;
                self.metrics
                    .all_nodes
                    .observe(start.elapsed().as_secs_f64());
            }
        };
        futures::future::join3(pods, taints, monitor).await;
    }
}

/// NoSchedule taints to add and to remove, so that they match the node's conditions.
fn condition_taints(node: &Node) -> (Vec<Taint>, Vec<Taint>) {
    let mut wanted: Vec<Taint> = node
        .status
        .conditions
        .iter()
        .filter_map(|condition| {
            let (.., key) = CONDITION_TAINTS.iter().find(|(type_, status, _)| {
                condition.type_ == *type_ && condition.status == *status
            })?;
            Some(taint(key, NO_SCHEDULE))
        })
        .collect();
    if node.spec.unschedulable {
        wanted.push(taint(UNSCHEDULABLE, NO_SCHEDULE));
    }
    let ours = |taint: &Taint| {
        taint.effect == NO_SCHEDULE
            && (taint.key == UNSCHEDULABLE
                || CONDITION_TAINTS.iter().any(|(.., key)| taint.key == *key))
    };
    let present: Vec<Taint> = node
        .spec
        .taints
        .iter()
        .filter(|taint| ours(taint))
        .cloned()
        .collect();
    let (add, remove) = taint_set_diff(&wanted, &present);
    (
        add.into_iter().cloned().collect(),
        remove.into_iter().cloned().collect(),
    )
}

fn labels_to_set(node: &Node) -> BTreeMap<&'static str, String> {
    LABELS
        .iter()
        .filter_map(|(primary, secondary)| {
            let value = node.metadata.labels.get(*primary)?;
            (node.metadata.labels.get(*secondary) != Some(value))
                .then(|| (*secondary, value.clone()))
        })
        .collect()
}

impl NodeLifecycleController {
    /// One pass over all nodes.
    async fn monitor(&self, monitor: &mut Monitor) {
        let nodes = self.nodes.list();
        let now = self.clock.now();
        for node in &nodes {
            let zone = zone_of(node);
            if !monitor.zones.contains_key(&zone) {
                monitor.zones.insert(zone.clone(), ZoneState::Initial);
                self.queues
                    .lock()
                    .insert(zone.clone(), TaintQueue::new(self.limits.qps));
                self.metrics
                    .evictions
                    .with_label_values(&[&zone])
                    .inc_by(0.0);
            }
            let name = &node.metadata.name;
            if !monitor.known.contains_key(name) {
                self.record(
                    node,
                    "RegisteredNode",
                    &format!("Registered Node {name} in Controller"),
                );
                monitor.known.insert(name.clone(), node.clone());
                self.mark_reachable(node).await;
            }
        }
        let present: HashSet<&str> = nodes
            .iter()
            .map(|node| node.metadata.name.as_str())
            .collect();
        let gone: Vec<Arc<Node>> = monitor
            .known
            .values()
            .filter(|node| !present.contains(node.metadata.name.as_str()))
            .cloned()
            .collect();
        for node in gone {
            let name = &node.metadata.name;
            self.record(
                &node,
                "RemovingNode",
                &format!("Removing Node {name} from Controller"),
            );
            monitor.known.remove(name);
            self.health.lock().remove(name);
        }
        let by_zone: Mutex<BTreeMap<String, Vec<bool>>> = Mutex::default();
        futures::stream::iter(&nodes)
            .for_each_concurrent(NODE_WORKERS, |node| async {
                let start = Instant::now();
                if let Some((zone, ready)) = self.judge((**node).clone()).await {
                    by_zone.lock().entry(zone).or_default().push(ready);
                }
                self.metrics.one_node.observe(start.elapsed().as_secs_f64());
            })
            .await;
        self.handle_disruption(monitor, &by_zone.into_inner(), &nodes, now)
            .await;
    }

    /// Judges one node and acts. Gives its zone and whether it is ready, unless it does not count.
    async fn judge(&self, mut node: Node) -> Option<(String, bool)> {
        let name = node.metadata.name.clone();
        let api = self.client.api::<Node>();
        let mut tries = 0;
        let verdict = loop {
            tries += 1;
            let verdict = self.update_health(&mut node).await;
            match verdict {
                Ok(verdict) => break verdict,
                Err(error) => tracing::error!(node = name, %error, "Error updating node"),
            }
            if tries == HEALTH_TRIES {
                tracing::error!(
                    node = name,
                    "Update health of Node from Controller error, Skipping - no pods will be evicted"
                );
                return None;
            }
            tokio::time::sleep(HEALTH_WAIT).await;
            node = match api.get(&name).await {
                Ok(node) => node,
                Err(error) => {
                    tracing::error!(node = name, %error, "Failed while getting a Node to retry updating node health. Probably Node was deleted");
                    return None;
                }
            };
        };
        let is_ready = verdict
            .current
            .as_ref()
            .is_some_and(|ready| ready.status == "True");
        if let Some(current) = &verdict.current {
            self.taint_by_readiness(&node, &current.status).await;
            let was_ready = verdict.observed.status == "True";
            let fell = !is_ready && was_ready;
            if fell {
                self.record_status(&node, "NodeNotReady");
            }
            if fell || (!was_ready && self.retry.lock().contains(&name)) {
                let pods = self.pods.by_index(NODE_INDEX, &name);
                if let Err(error) = self.mark_pods_not_ready(&pods).await {
                    tracing::error!(node = name, %error, "Unable to mark all pods NotReady on node; queuing for retry");
                    self.retry.lock().insert(name.clone());
                    return (!node.metadata.labels.contains_key(EXCLUDED))
                        .then(|| (zone_of(&node), is_ready));
                }
            }
        }
        self.retry.lock().remove(&name);
        (!node.metadata.labels.contains_key(EXCLUDED)).then(|| (zone_of(&node), is_ready))
    }

    async fn update_health(&self, node: &mut Node) -> Result<Verdict, client::Error> {
        let name = node.metadata.name.clone();
        let lease = self
            .leases
            .get(&ObjectKey::new(LEASE_NAMESPACE, name.as_str()))
            .map(|lease| lease.spec.renew_time);
        let known = self.health.lock().get(&name).cloned();
        let (mut health, verdict) = look(known, node, lease, self.clock.now(), self.grace);
        let Some(conditions) = verdict.write.clone() else {
            self.health.lock().insert(name, health);
            return Ok(verdict);
        };
        node.status.conditions = conditions;
        let result = self.client.api::<Node>().update_status(node).await;
        if result.is_ok() {
            health.ready = verdict.current.clone();
            health.lease = lease;
        }
        self.health.lock().insert(name, health);
        *node = result?;
        Ok(verdict)
    }

    /// Nodes that are not ready wait for their taint; ready ones lose it.
    async fn taint_by_readiness(&self, node: &Node, status: &str) {
        let (wanted, opposite) = match status {
            "False" => (NOT_READY, UNREACHABLE),
            "Unknown" => (UNREACHABLE, NOT_READY),
            _ => {
                self.mark_reachable(node).await;
                return;
            }
        };
        let opposite = taint(opposite, NO_EXECUTE);
        if taint_exists(&node.spec.taints, &opposite) {
            // It was let through already: the kind may change at once.
            let wanted = vec![taint(wanted, NO_EXECUTE)];
            if !node_taints::swap(
                &self.client,
                node,
                wanted,
                &[opposite],
                self.clock.now_time(),
            )
            .await
            {
                tracing::error!(
                    node = node.metadata.name,
                    "Failed to instantly swap taints. Will try again in the next cycle"
                );
            }
            return;
        }
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(&zone_of(node)) else {
            return;
        };
        if !taint_exists(&node.spec.taints, &taint(wanted, NO_EXECUTE)) {
            queue.remove(&node.metadata.name);
        }
        if queue.add(&node.metadata.name) {
            tracing::debug!(
                v = 2,
                node = node.metadata.name,
                status,
                "Node is not ready. Adding it to the Taint queue"
            );
        }
    }

    async fn mark_reachable(&self, node: &Node) {
        for key in [UNREACHABLE, NOT_READY] {
            if let Err(error) =
                node_taints::take_off(&self.client, node, &[taint(key, NO_EXECUTE)]).await
            {
                tracing::error!(node = node.metadata.name, taint = key, %error, "Failed to remove taint from node");
                return;
            }
        }
        if let Some(queue) = self.queues.lock().get_mut(&zone_of(node))
            && queue.remove(&node.metadata.name)
        {
            tracing::debug!(
                v = 2,
                node = node.metadata.name,
                "Node is healthy again, removed all taints"
            );
        }
    }

    /// Taints the nodes whose turn it is.
    async fn taint_pass(&self) {
        let zones: Vec<String> = self.queues.lock().keys().cloned().collect();
        for zone in zones {
            loop {
                let next = self.queues.lock().get_mut(&zone).and_then(TaintQueue::next);
                let Some(name) = next else {
                    break;
                };
                let done = self.taint_node(&name).await;
                if let Some(queue) = self.queues.lock().get_mut(&zone) {
                    if done {
                        queue.done(&name);
                    } else {
                        queue.again(&name);
                    }
                }
            }
        }
    }

    /// Whether the node needs no further try.
    async fn taint_node(&self, name: &str) -> bool {
        let Some(node) = self.nodes.get(&ObjectKey::cluster(name)) else {
            return true;
        };
        let Some(ready) = health::condition(&node.status.conditions, "Ready") else {
            tracing::info!(
                node = name,
                "Failed to get NodeCondition from the node status"
            );
            return false;
        };
        let (wanted, opposite) = match ready.status.as_str() {
            "False" => (NOT_READY, UNREACHABLE),
            "Unknown" => (UNREACHABLE, NOT_READY),
            _ => return true,
        };
        let (wanted, opposite) = (taint(wanted, NO_EXECUTE), taint(opposite, NO_EXECUTE));
        let now = self.clock.now_time();
        let tainted = node_taints::swap(&self.client, &node, vec![wanted], &[opposite], now).await;
        if tainted {
            self.metrics
                .evictions
                .with_label_values(&[&zone_of(&node)])
                .inc();
        }
        tainted
    }

    async fn handle_disruption(
        &self,
        monitor: &mut Monitor,
        by_zone: &BTreeMap<String, Vec<bool>>,
        nodes: &[Arc<Node>],
        now: jiff::Timestamp,
    ) {
        let mut states = BTreeMap::new();
        for (zone, ready) in by_zone {
            let (unready, state) = self.limits.judge(ready);
            self.metrics.show_zone(zone, ready.len(), unready);
            states.insert(zone.clone(), state);
        }
        for zone in monitor
            .zones
            .keys()
            .filter(|zone| !by_zone.contains_key(*zone))
        {
            self.metrics.show_zone(zone, 0, 0);
        }
        let action = compare(&mut monitor.zones, &states);
        let set_rates = |zones: &[String]| {
            let mut queues = self.queues.lock();
            for zone in zones {
                let rate = self.limits.rate(states[zone], by_zone[zone].len());
                if let (Some(queue), Some(rate)) = (queues.get_mut(zone), rate) {
                    queue.set_rate(rate);
                }
            }
        };
        match action {
            None => {}
            Some(Action::Enter) => {
                tracing::info!(
                    "Controller detected that all Nodes are not-Ready. Entering master disruption mode"
                );
                for node in nodes {
                    self.mark_reachable(node).await;
                }
                for queue in self.queues.lock().values_mut() {
                    queue.set_rate(0.0);
                }
            }
            Some(Action::Leave) => {
                tracing::info!(
                    "Controller detected that some Nodes are Ready. Exiting master disruption mode"
                );
                for health in self.health.lock().values_mut() {
                    health.probe = now;
                }
                set_rates(&states.keys().cloned().collect::<Vec<_>>());
            }
            Some(Action::Adjust(zones)) => {
                for zone in &zones {
                    tracing::info!(zone, state = ?states[zone], "Controller detected that zone is now in new state");
                }
                set_rates(&zones);
            }
        }
        monitor.zones = states;
    }

    /// A pod was placed on a node that may be known as not ready.
    async fn mark_placed_pod(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(pod) = self.pods.get(key) else {
            return Ok(Next::Done);
        };
        let node = &pod.spec.node_name;
        let Some(health) = self.health.lock().get(node).cloned() else {
            return Ok(Next::Done);
        };
        if self.nodes.get(&ObjectKey::cluster(node.as_str())).is_none() {
            return Ok(Next::Retry);
        }
        if health.ready.is_some_and(|ready| ready.status != "True") {
            self.mark_pods_not_ready(std::slice::from_ref(&pod)).await?;
        }
        Ok(Next::Done)
    }

    async fn mark_pods_not_ready(&self, pods: &[Arc<Pod>]) -> Result<(), SyncError> {
        let mut errors = Vec::new();
        for pod in pods {
            let mut pod = (**pod).clone();
            let Some(mut ready) = pod
                .status
                .conditions
                .iter()
                .find(|c| c.type_ == "Ready")
                .cloned()
            else {
                continue;
            };
            ready.status = "False".to_owned();
            if !pod_conditions::update(&mut pod.status.conditions, ready, self.clock.now_time()) {
                continue;
            }
            let api = self
                .client
                .namespaced::<Pod>(pod.metadata.namespace.as_str());
            match api.update_status(&pod).await {
                Err(error) if error.is_not_found() => continue,
                Err(error) => errors.push(SyncError::from(error)),
                Ok(_) => {}
            }
            self.recorder.event(
                &object_reference(&pod),
                "Warning",
                "NodeNotReady",
                "Node is not ready",
            );
        }
        SyncError::aggregate(errors)
    }

    fn reference(node: &Node) -> ObjectReference {
        ObjectReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node.metadata.name.clone(),
            uid: node.metadata.uid.clone(),
            ..Default::default()
        }
    }

    fn record(&self, node: &Node, reason: &str, event: &str) {
        let message = format!("Node {} event: {event}", node.metadata.name);
        self.recorder
            .event(&Self::reference(node), "Normal", reason, &message);
    }

    fn record_status(&self, node: &Node, status: &str) {
        let message = format!("Node {} status is now: {status}", node.metadata.name);
        self.recorder
            .event(&Self::reference(node), "Normal", status, &message);
    }
}

/// The node_collector_* metrics.
struct Metrics {
    health: GaugeVec,
    size: GaugeVec,
    unhealthy: GaugeVec,
    evictions: CounterVec,
    one_node: Histogram,
    all_nodes: Histogram,
}

impl Metrics {
    fn new(base: &Base) -> Self {
        let opts = |name: &str, help: &str| Opts::new(format!("node_collector_{name}"), help);
        let evictions = opts(
            "evictions_total",
            "Number of Node evictions that happened since current instance of NodeController started.",
        );
        let one_node = opts(
            "update_node_health_duration_seconds",
            "Duration in seconds for NodeController to update the health of a single node.",
        );
        let all_nodes = opts(
            "update_all_nodes_health_duration_seconds",
            "Duration in seconds for NodeController to update the health of all nodes.",
        );
        Self {
            health: base.gauge_vec(
                opts(
                    "zone_health",
                    "Gauge measuring percentage of healthy nodes per zone.",
                ),
                &["zone"],
            ),
            size: base.gauge_vec(
                opts(
                    "zone_size",
                    "Gauge measuring number of registered Nodes per zones.",
                ),
                &["zone"],
            ),
            unhealthy: base.gauge_vec(
                opts(
                    "unhealthy_nodes_in_zone",
                    "Gauge measuring number of not Ready Nodes per zones.",
                ),
                &["zone"],
            ),
            evictions: base.counter_vec(evictions.stability(Stability::Stable), &["zone"]),
            one_node: base.histogram(one_node.buckets(exponential_buckets(0.001, 4.0, 8))),
            all_nodes: base.histogram(all_nodes.buckets(exponential_buckets(0.01, 4.0, 8))),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of nodes are small")]
    fn show_zone(&self, zone: &str, size: usize, unready: usize) {
        let healthy = if size == 0 {
            100.0
        } else {
            100.0 * (size - unready) as f64 / size as f64
        };
        self.size.with_label_values(&[zone]).set(size as f64);
        self.health.with_label_values(&[zone]).set(healthy);
        self.unhealthy
            .with_label_values(&[zone])
            .set(unready as f64);
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::NodeCondition;

    use super::*;

    fn node(conditions: &[(&str, &str)], taints: &[(&str, &str)]) -> Node {
        let mut node = Node::default();
        node.status.conditions = conditions
            .iter()
            .map(|(type_, status)| NodeCondition {
                type_: (*type_).into(),
                status: (*status).into(),
                ..Default::default()
            })
            .collect();
        node.spec.taints = taints
            .iter()
            .map(|(key, effect)| taint(key, effect))
            .collect();
        node
    }

    #[test]
    fn conditions_become_taints() {
        #[track_caller]
        fn check(node: &Node, add: &[&str], remove: &[&str]) {
            let (added, removed) = condition_taints(node);
            let keys = |taints: &[Taint]| {
                taints
                    .iter()
                    .map(|taint| taint.key.clone())
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                (keys(&added), keys(&removed)),
                (
                    add.iter().map(ToString::to_string).collect(),
                    remove.iter().map(ToString::to_string).collect()
                )
            );
        }
        check(&node(&[("Ready", "True")], &[]), &[], &[]);
        check(&node(&[("Ready", "False")], &[]), &[NOT_READY], &[]);
        check(
            &node(&[("Ready", "Unknown")], &[(NOT_READY, NO_SCHEDULE)]),
            &[UNREACHABLE],
            &[NOT_READY],
        );
        check(
            &node(
                &[("Ready", "True")],
                &[(NOT_READY, NO_EXECUTE), ("mine", NO_SCHEDULE)],
            ),
            &[],
            &[],
        );
        check(
            &node(
                &[("DiskPressure", "True"), ("MemoryPressure", "False")],
                &[("node.kubernetes.io/memory-pressure", NO_SCHEDULE)],
            ),
            &["node.kubernetes.io/disk-pressure"],
            &["node.kubernetes.io/memory-pressure"],
        );
        let mut cordoned = node(&[("Ready", "True")], &[]);
        cordoned.spec.unschedulable = true;
        check(&cordoned, &[UNSCHEDULABLE], &[]);
        check(
            &node(&[], &[(UNSCHEDULABLE, NO_SCHEDULE)]),
            &[],
            &[UNSCHEDULABLE],
        );
    }

    #[test]
    fn old_labels_follow_new_ones() {
        #[track_caller]
        fn check(labels: &[(&str, &str)], expected: &[(&str, &str)]) {
            let mut node = Node::default();
            node.metadata.labels = labels
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect();
            let set = labels_to_set(&node);
            assert_eq!(
                set.iter()
                    .map(|(k, v)| (*k, v.as_str()))
                    .collect::<Vec<_>>(),
                expected
            );
        }
        check(&[], &[]);
        check(
            &[("kubernetes.io/os", "linux")],
            &[("beta.kubernetes.io/os", "linux")],
        );
        check(
            &[
                ("kubernetes.io/os", "linux"),
                ("beta.kubernetes.io/os", "windows"),
            ],
            &[("beta.kubernetes.io/os", "linux")],
        );
        check(
            &[
                ("kubernetes.io/os", "linux"),
                ("beta.kubernetes.io/os", "linux"),
            ],
            &[],
        );
        check(&[("beta.kubernetes.io/arch", "arm")], &[]);
    }
}
