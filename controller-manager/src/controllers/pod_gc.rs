//! Deletes pods that nobody else will: too many ended ones, those of missing nodes, those that were never placed, and those that hang on
//! nodes out of service. Upstream: pkg/controller/podgc.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Node, Pod, PodCondition, pod_phase};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::DeleteOptions;
use apimachinery::scheduling::taint_key_exists;
use client::{Client, Lister, ObjectKey};
use component_base::metrics::{CounterVec, Opts};
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{BuildError, Controller, Next, SyncError, pod_conditions};
use crate::clock::Clock;
use crate::context::Setup;
use crate::runner::Queue;

const PERIOD: Duration = Duration::from_secs(20);
/// A node must be missing this long before its pods go.
const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
const PARALLEL: usize = 50;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// The pod-garbage-collector-controller. It has no keys: everything is looked at every 20 seconds.
pub struct PodGcController {
    client: Client,
    clock: Clock,
    pods: Lister<Pod>,
    nodes: Lister<Node>,
    threshold: usize,
    deleted: CounterVec,
    errors: CounterVec,
}

impl Controller for PodGcController {
    const NAME: &'static str = "pod-garbage-collector-controller";
    const ALIASES: &'static [&'static str] = &["podgc"];
    const SERVICE_ACCOUNT: &'static str = "pod-garbage-collector";
    const QUEUE: &'static str = "orphaned_pods_nodes";
    type Key = String;

    async fn build(setup: &Setup, _: &Queue<String>) -> Result<Option<Self>, BuildError> {
        let threshold = setup.config().pod_gc_controller.terminated_pod_gc_threshold;
        let opts = |name: &str, help: &str| Opts::new(format!("pod_gc_collector_{name}"), help);
        Ok(Some(Self {
            client: setup.client.clone(),
            clock: setup.clock(),
            pods: setup.informer::<Pod>().lister(),
            nodes: setup.informer::<Node>().lister(),
            threshold: usize::try_from(threshold).unwrap_or(0),
            deleted: setup.metrics().counter_vec(
                opts(
                    "force_delete_pods_total",
                    "Number of pods that are being forcefully deleted since the Pod GC Controller started.",
                ),
                &["namespace", "reason"],
            ),
            errors: setup.metrics().counter_vec(
                opts(
                    "force_delete_pod_errors_total",
                    "Number of errors encountered when forcefully deleting the pods since the Pod GC Controller started.",
                ),
                &["namespace", "reason"],
            ),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        1
    }

    async fn sync(&self, _: &String) -> Result<Next, SyncError> {
        Ok(Next::Done)
    }

    async fn run(&self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(PERIOD);
        let mut missing = HashMap::new();
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if stop
                .run_until_cancelled(self.collect(&mut missing))
                .await
                .is_none()
            {
                break;
            }
        }
    }
}

impl PodGcController {
    async fn collect(&self, missing: &mut HashMap<String, Timestamp>) {
        let pods = self.pods.list();
        let node = |name: &str| self.nodes.get(&ObjectKey::cluster(name));
        self.delete_all(surplus(&pods, self.threshold), "terminated", None)
            .await;
        self.delete_all(out_of_service(&pods, node), "out-of-service", None)
            .await;

        let due = due(
            missing,
            &pods,
            |name| node(name).is_some(),
            self.clock.now(),
        );
        let mut gone = BTreeSet::new();
        for name in due {
            // Our cache may be late: the apiserver decides.
            match self.client.api::<Node>().get_optional(&name).await {
                Ok(None) => {
                    gone.insert(name);
                }
                Ok(Some(_)) => {}
                Err(error) => tracing::error!(node = name, %error, "Error while getting node"),
            }
        }
        let orphans = pods
            .iter()
            .filter(|pod| gone.contains(&pod.spec.node_name))
            .cloned()
            .collect();
        let condition = |pod: &Pod| {
            pod_conditions::disruption_target(
                pod,
                "DeletionByPodGC",
                "PodGC: node no longer exists",
            )
        };
        self.delete_all(orphans, "orphaned", Some(&condition)).await;

        let unscheduled = pods
            .iter()
            .filter(|pod| {
                pod.metadata.deletion_timestamp.is_some() && pod.spec.node_name.is_empty()
            })
            .cloned()
            .collect();
        self.delete_all(unscheduled, "unscheduled", None).await;
    }

    async fn delete_all(
        &self,
        pods: Vec<Arc<Pod>>,
        reason: &str,
        condition: Option<&(dyn Fn(&Pod) -> PodCondition + Sync)>,
    ) {
        futures::stream::iter(&pods)
            .for_each_concurrent(PARALLEL, |pod| async move {
                let labels = [pod.metadata.namespace.as_str(), reason];
                let name = &pod.metadata.name;
                tracing::info!(pod = name, namespace = labels[0], reason, "PodGC is force deleting Pod");
                if let Err(error) = self.delete(pod, condition).await {
                    tracing::error!(pod = name, namespace = labels[0], reason, %error, "Failed to delete pod");
                    self.errors.with_label_values(&labels).inc();
                }
                self.deleted.with_label_values(&labels).inc();
            })
            .await;
    }

    /// Marks the pod as failed, so that whoever counts on its end sees it, and deletes it at once.
    async fn delete(
        &self,
        pod: &Pod,
        condition: Option<&(dyn Fn(&Pod) -> PodCondition + Sync)>,
    ) -> Result<(), client::Error> {
        if pod.status.phase != pod_phase::SUCCEEDED && pod.status.phase != pod_phase::FAILED {
            let condition = condition.map(|make| make(pod));
            pod_conditions::patch_failed(&self.client, pod, condition, self.clock.now_time())
                .await?;
        }
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            ..Default::default()
        };
        let api = self
            .client
            .namespaced::<Pod>(pod.metadata.namespace.as_str());
        api.delete(&pod.metadata.name, &options).await.map(drop)
    }
}

/// Ended pods beyond the threshold: evicted ones first, then the oldest. A threshold of zero keeps all.
fn surplus(pods: &[Arc<Pod>], threshold: usize) -> Vec<Arc<Pod>> {
    let running = ["Pending", "Running", "Unknown"];
    let mut ended: Vec<Arc<Pod>> = pods
        .iter()
        .filter(|pod| !running.contains(&pod.status.phase.as_str()))
        .cloned()
        .collect();
    if threshold == 0 || ended.len() <= threshold {
        return Vec::new();
    }
    let is_evicted =
        |pod: &Pod| pod.status.phase == pod_phase::FAILED && pod.status.reason == "Evicted";
    ended.sort_by_key(|pod| {
        (
            !is_evicted(pod),
            pod.metadata.creation_timestamp.unix(),
            pod.metadata.name.clone(),
        )
    });
    ended.truncate(ended.len() - threshold);
    ended
}

/// Terminating pods on nodes that are not ready and marked as out of service.
fn out_of_service(pods: &[Arc<Pod>], node: impl Fn(&str) -> Option<Arc<Node>>) -> Vec<Arc<Pod>> {
    pods.iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_some())
        .filter(|pod| {
            node(&pod.spec.node_name).is_some_and(|node| {
                let ready = node
                    .status
                    .conditions
                    .iter()
                    .find(|condition| condition.type_ == "Ready");
                ready.is_none_or(|ready| ready.status != "True")
                    && taint_key_exists(&node.spec.taints, OUT_OF_SERVICE)
            })
        })
        .cloned()
        .collect()
}

/// Notes the nodes that pods name and that do not exist; gives those that have been missing for long enough.
fn due(
    missing: &mut HashMap<String, Timestamp>,
    pods: &[Arc<Pod>],
    exists: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Vec<String> {
    let named: BTreeSet<&str> = pods
        .iter()
        .map(|pod| pod.spec.node_name.as_str())
        .filter(|name| !name.is_empty() && !exists(name))
        .collect();
    missing.retain(|name, _| named.contains(name.as_str()));
    let mut due = Vec::new();
    for name in named {
        let since = *missing.entry(name.to_owned()).or_insert(now);
        if now.duration_since(since) >= QUARANTINE {
            missing.remove(name);
            due.push(name.to_owned());
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use api_types::Time;

    use super::*;

    fn pod(name: &str, phase: &str, created: i64) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = name.into();
        pod.metadata.creation_timestamp = Time::from_unix(created);
        pod.status.phase = phase.into();
        pod
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter().map(|pod| pod.metadata.name.as_str()).collect()
    }

    #[test]
    fn the_oldest_ended_pods_go() {
        let mut evicted = pod("evicted", "Failed", 9);
        evicted.status.reason = "Evicted".into();
        let pods = [
            pod("a", "Failed", 2),
            pod("b", "Succeeded", 1),
            pod("c", "Running", 0),
            pod("d", "Failed", 2),
            evicted,
        ]
        .map(Arc::new);
        let check =
            |threshold, expected: &[&str]| assert_eq!(names(&surplus(&pods, threshold)), expected);
        check(0, &[]);
        check(1, &["evicted", "b", "a"]);
        check(3, &["evicted"]);
        check(4, &[]);
    }

    #[test]
    fn nodes_are_quarantined() {
        let mut placed = pod("p", "Running", 0);
        placed.spec.node_name = "n".into();
        let pods = [Arc::new(placed), Arc::new(pod("unplaced", "Pending", 0))];
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut missing = HashMap::new();
        assert!(due(&mut missing, &pods, |_| false, at(0)).is_empty());
        assert!(due(&mut missing, &pods, |_| false, at(39)).is_empty());
        assert_eq!(due(&mut missing, &pods, |_| false, at(40)), ["n"]);
        assert!(
            due(&mut missing, &pods, |_| false, at(41)).is_empty(),
            "the quarantine begins anew"
        );
        assert!(due(&mut missing, &pods, |_| true, at(60)).is_empty());
        assert!(missing.is_empty());
    }

    #[test]
    fn out_of_service_nodes() {
        let check = |ready: &str, taint: bool, deleted: bool, expected: usize| {
            let mut node = Node::default();
            node.status
                .conditions
                .push(api_types::core::v1::NodeCondition {
                    type_: "Ready".into(),
                    status: ready.into(),
                    ..Default::default()
                });
            if taint {
                node.spec.taints.push(super::super::node_taints::taint(
                    OUT_OF_SERVICE,
                    "NoExecute",
                ));
            }
            let node = Arc::new(node);
            let mut pod = pod("p", "Running", 0);
            pod.metadata.deletion_timestamp = deleted.then(|| Time::from_unix(1));
            assert_eq!(
                out_of_service(&[Arc::new(pod)], |_| Some(node.clone())).len(),
                expected
            );
        };
        check("False", true, true, 1);
        check("Unknown", true, true, 1);
        check("True", true, true, 0);
        check("False", false, true, 0);
        check("False", true, false, 0);
    }
}
