//! Keeps the status of PodDisruptionBudgets: how many pods may be disrupted now. Upstream: pkg/controller/disruption.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_types::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use api_types::core::v1::{Pod, PodCondition, ReplicationController};
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::{Condition, OwnerReference};
use api_types::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use api_types::{IntOrString, Time};
use apimachinery::labels::format_label_selector;
use client::{Client, EventRecorder, GroupVersionResource, Lister, ObjectKey, object_reference};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::controller_ref::{controller_of, key_of, selector_of};
use super::int_or_percent::scaled;
use super::pod_state::{self, is_ready};
use super::{Backoff, BuildError, Controller, Next, SyncError, pod_conditions};
use crate::clock::Clock;
use crate::context::{Change, Setup, on_change};
use crate::runner::{Queue, work};

/// An eviction that was granted counts for so long, if its pod is not seen to go.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);
/// A DisruptionTarget condition of a pod that does not go is taken back after so long.
const STALE_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);
const CONDITION: &str = "DisruptionAllowed";

/// The disruption-controller. Its keys are PodDisruptionBudgets.
pub struct DisruptionController {
    client: Client,
    recorder: EventRecorder,
    clock: Clock,
    budgets: Lister<PodDisruptionBudget>,
    pods: Lister<Pod>,
    replication_controllers: Lister<ReplicationController>,
    replica_sets: Lister<ReplicaSet>,
    deployments: Lister<Deployment>,
    stateful_sets: Lister<StatefulSet>,
    stale_pods: Queue<ObjectKey>,
    queue: Queue<ObjectKey>,
}

impl Controller for DisruptionController {
    const NAME: &'static str = "disruption-controller";
    const ALIASES: &'static [&'static str] = &["disruption"];
    const SERVICE_ACCOUNT: &'static str = "disruption-controller";
    const QUEUE: &'static str = "disruption";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let recorder = setup.recorder("controllermanager");
        let stale_pods: Queue<ObjectKey> = setup.queue("stale_pod_disruption", Backoff::DEFAULT);
        let budgets = setup.informer::<PodDisruptionBudget>();
        let to = queue.clone();
        on_change(&budgets, move |change| {
            to.add(key_of(&change.object().metadata))
        });
        let pods = setup.informer::<Pod>();
        let (to, known, events) = (queue.clone(), budgets.lister(), recorder.clone());
        let (stale, clock) = (stale_pods.clone(), setup.clock());
        on_change(&pods, move |change| {
            let pod = change.object();
            let matching = budgets_of(pod, &known);
            if matching.len() > 1 {
                let metadata = &pod.metadata;
                let message = format!(
                    "Pod {:?}/{:?} matches multiple PodDisruptionBudgets.  Chose {:?} arbitrarily.",
                    metadata.namespace, metadata.name, matching[0].metadata.name
                );
                events.event(
                    &object_reference(&**pod),
                    "Warning",
                    "MultiplePodDisruptionBudgets",
                    &message,
                );
            }
            if let Some(budget) = matching.first() {
                to.add(key_of(&budget.metadata));
            }
            if !matches!(change, Change::Deleted(_))
                && let Some(wait) = stale_after(pod, clock.now())
            {
                stale.add_after(key_of(&pod.metadata), wait);
            }
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            recorder,
            clock: setup.clock(),
            budgets: budgets.lister(),
            pods: pods.lister(),
            replication_controllers: setup.informer().lister(),
            replica_sets: setup.informer().lister(),
            deployments: setup.informer().lister(),
            stateful_sets: setup.informer().lister(),
            stale_pods,
            queue: queue.clone(),
        }))
    }

    fn workers(_: &KubeControllerManagerConfiguration) -> usize {
        1
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(budget) = self.budgets.get(key) else {
            return Ok(Next::Done);
        };
        match self.try_sync(key, &budget).await {
            Ok(()) => Ok(Next::Done),
            Err(error) if error.api().is_some_and(client::Error::is_conflict) => Err(error),
            Err(error) => {
                // What cannot be counted allows nothing.
                tracing::error!(pdb = %key, %error, "Failed to sync PDB");
                let mut failed = (*budget).clone();
                failed.status.disruptions_allowed = 0;
                let status = &mut failed.status;
                let generation = status.observed_generation;
                let now = self.clock.now_time();
                set_condition(
                    &mut status.conditions,
                    "False",
                    "SyncFailed",
                    &error.to_string(),
                    generation,
                    now,
                );
                self.write(&failed).await?;
                Ok(Next::Done)
            }
        }
    }

    async fn run(&self, stop: CancellationToken) {
        work(
            Self::NAME,
            &self.stale_pods,
            1,
            &stop,
            |key: ObjectKey| async move { self.clear_stale(&key).await },
        )
        .await;
    }
}

/// The budgets that select a pod; a budget with an empty selector selects all.
fn budgets_of(pod: &Pod, budgets: &Lister<PodDisruptionBudget>) -> Vec<Arc<PodDisruptionBudget>> {
    let mut matching: Vec<_> = budgets
        .list_namespace(&pod.metadata.namespace)
        .into_iter()
        .filter(|budget| {
            selector_of(budget.spec.selector.as_deref())
                .is_ok_and(|selector| selector.matches(&pod.metadata.labels))
        })
        .collect();
    matching.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    matching
}

/// How long until the pod's DisruptionTarget condition is to be taken back; `None` when it stays.
fn stale_after(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let condition = pod_state::condition(pod, pod_conditions::DISRUPTION_TARGET)?;
    if pod.metadata.deletion_timestamp.is_some()
        || condition.status != "True"
        || condition.reason == "TerminationByKubelet"
        || pod_state::is_terminal(pod)
    {
        return None;
    }
    let left = STALE_TIMEOUT - now.duration_since(condition.last_transition_time.timestamp());
    Some(Duration::try_from(left).unwrap_or_default())
}

impl DisruptionController {
    async fn try_sync(
        &self,
        key: &ObjectKey,
        budget: &PodDisruptionBudget,
    ) -> Result<(), SyncError> {
        let reference = object_reference(budget);
        let selector = selector_of(budget.spec.selector.as_deref())?;
        let pods = self.pods.select_in(&key.namespace, &selector);
        if pods.is_empty() {
            self.recorder
                .event(&reference, "Normal", "NoPods", "No matching pods found");
        }
        let expected = match self.expected(budget, &pods).await {
            Ok(expected) => expected,
            Err(error) => {
                let message = format!("Failed to calculate the number of expected pods: {error}");
                self.recorder.event(
                    &reference,
                    "Warning",
                    "CalculateExpectedPodCountFailed",
                    &message,
                );
                return Err(error);
            }
        };
        if expected.unmanaged {
            let selector = format_label_selector(budget.spec.selector.as_deref());
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
            );
            self.recorder
                .event(&reference, "Warning", "UnmanagedPods", &message);
        }
        let now = self.clock.now();
        let disrupted = disrupted(&pods, &budget.status.disrupted_pods, now);
        for pod in &disrupted.overdue {
            // Upstream names the namespace twice.
            let namespace = &key.namespace;
            let message = format!(
                "Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't"
            );
            self.recorder
                .event(&object_reference(&**pod), "Warning", "NotDeleted", &message);
        }
        let healthy = healthy(&pods, &disrupted.pods, now);
        if let Some(status) = new_status(
            budget,
            &expected,
            healthy,
            disrupted.pods,
            Time::from_timestamp(now),
        ) {
            let mut changed = budget.clone();
            changed.status = status;
            self.write(&changed).await?;
        }
        if let Some(wait) = disrupted.recheck {
            self.queue.add_after(key.clone(), wait);
        }
        Ok(())
    }

    async fn write(&self, budget: &PodDisruptionBudget) -> Result<(), client::Error> {
        let api = self
            .client
            .namespaced::<PodDisruptionBudget>(budget.metadata.namespace.as_str());
        api.update_status(budget).await.map(drop)
    }

    async fn expected(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> Result<Expected, SyncError> {
        let spec = &budget.spec;
        let number = |value: &IntOrString, of: i32| scaled(value, of, true);
        if let Some(unavailable) = &spec.max_unavailable {
            let (count, unmanaged) = self.expected_scale(pods).await?;
            let desired = (count - number(unavailable, count)?).max(0);
            return Ok(Expected {
                count,
                desired,
                unmanaged,
            });
        }
        match &spec.min_available {
            None => Ok(Expected::default()),
            Some(IntOrString::Int(desired)) => Ok(Expected {
                count: i32::try_from(pods.len()).unwrap_or(i32::MAX),
                desired: *desired,
                unmanaged: false,
            }),
            Some(percent) => {
                let (count, unmanaged) = self.expected_scale(pods).await?;
                Ok(Expected {
                    count,
                    desired: number(percent, count)?,
                    unmanaged,
                })
            }
        }
    }

    /// The replicas that the pods' controllers want together, and whether there are pods without a controller.
    async fn expected_scale(&self, pods: &[Arc<Pod>]) -> Result<(i32, bool), SyncError> {
        let mut scales: HashMap<String, i32> = HashMap::new();
        let mut unmanaged = false;
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                unmanaged = true;
                continue;
            };
            if scales.contains_key(&owner.uid) {
                continue;
            }
            let (uid, scale) = self
                .scale(owner, &pod.metadata.namespace)
                .await?
                .ok_or_else(|| {
                    SyncError::other(format!(
                        "found no controllers for pod {:?}",
                        pod.metadata.name
                    ))
                })?;
            scales.insert(uid, scale);
        }
        Ok((scales.values().sum(), unmanaged))
    }

    async fn scale(
        &self,
        owner: &OwnerReference,
        namespace: &str,
    ) -> Result<Option<(String, i32)>, SyncError> {
        let key = ObjectKey::new(namespace, owner.name.as_str());
        let group = owner
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let of = |uid: &str, replicas: Option<i32>| {
            (uid == owner.uid).then(|| (uid.to_owned(), replicas.unwrap_or(1)))
        };
        let found = match (group, owner.kind.as_str()) {
            ("apps" | "extensions", "ReplicaSet") => self.replica_sets.get(&key).and_then(|set| {
                let scale = of(&set.metadata.uid, set.spec.replicas)?;
                // A Deployment counts as a whole, whatever its ReplicaSets are.
                match controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment") {
                    None => Some(scale),
                    Some(owner) => {
                        let deployment = self
                            .deployments
                            .get(&ObjectKey::new(namespace, owner.name.as_str()))?;
                        (deployment.metadata.uid == owner.uid)
                            .then(|| (owner.uid.clone(), deployment.spec.replicas.unwrap_or(1)))
                    }
                }
            }),
            ("", "ReplicationController") => self
                .replication_controllers
                .get(&key)
                .and_then(|controller| of(&controller.metadata.uid, controller.spec.replicas)),
            ("apps", "StatefulSet") => self
                .stateful_sets
                .get(&key)
                .and_then(|set| of(&set.metadata.uid, set.spec.replicas)),
            _ => None,
        };
        match found {
            Some(found) => Ok(Some(found)),
            None => self.scale_of_other(owner, namespace).await,
        }
    }

    /// Any other kind says how many pods it wants by its scale subresource.
    async fn scale_of_other(
        &self,
        owner: &OwnerReference,
        namespace: &str,
    ) -> Result<Option<(String, i32)>, SyncError> {
        let version = apimachinery::gvk::GroupVersion::parse(&owner.api_version)
            .map_err(|error| SyncError::other(error.to_string()))?;
        let served = self.client.discovery().resources(&version).await?;
        let resource = served
            .resources
            .iter()
            .find(|resource| resource.kind == owner.kind && !resource.name.contains('/'))
            .ok_or_else(|| {
                SyncError::other(format!(
                    "no matches for kind {:?} in version {:?}",
                    owner.kind, owner.api_version
                ))
            })?;
        let scalable = format!("{}/scale", resource.name);
        let target = GroupVersionResource::new(&*version.group, &*version.version, &*resource.name);
        match self
            .client
            .dynamic(target, Some(namespace))
            .get_subresource(&owner.name, "scale")
            .await
        {
            Ok(scale) => {
                let uid = scale
                    .pointer("/metadata/uid")
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or_default();
                let replicas = scale
                    .pointer("/spec/replicas")
                    .and_then(serde_json::Value::as_i64)
                    .unwrap_or(0);
                Ok((uid == owner.uid)
                    .then(|| (uid.to_owned(), i32::try_from(replicas).unwrap_or(i32::MAX))))
            }
            Err(error) if error.is_not_found() => {
                if served
                    .resources
                    .iter()
                    .any(|resource| resource.name == scalable)
                {
                    Ok(None)
                } else {
                    let group = if version.group.is_empty() {
                        String::new()
                    } else {
                        format!(".{}", version.group)
                    };
                    Err(SyncError::other(format!(
                        "{}{group} does not implement the scale subresource",
                        resource.name
                    )))
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn clear_stale(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(pod) = self.pods.get(key) else {
            return Ok(Next::Done);
        };
        match stale_after(&pod, self.clock.now()) {
            None => return Ok(Next::Done),
            Some(wait) if !wait.is_zero() => return Ok(Next::After(wait)),
            Some(_) => {}
        }
        let mut pod = (*pod).clone();
        let condition = PodCondition {
            status: "False".to_owned(),
            ..pod_conditions::disruption_target(&pod, "", "")
        };
        if pod_conditions::update(&mut pod.status.conditions, condition, self.clock.now_time()) {
            self.client
                .namespaced::<Pod>(key.namespace.as_str())
                .update_status(&pod)
                .await?;
        }
        Ok(Next::Done)
    }
}

/// How many pods there should be, and how many of them healthy.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    count: i32,
    desired: i32,
    unmanaged: bool,
}

#[derive(Debug, Default)]
struct Disrupted {
    /// Granted evictions that still count.
    pods: BTreeMap<String, Time>,
    /// Pods that should have gone.
    overdue: Vec<Arc<Pod>>,
    /// When the first of them counts no more.
    recheck: Option<Duration>,
}

fn disrupted(pods: &[Arc<Pod>], granted: &BTreeMap<String, Time>, now: Timestamp) -> Disrupted {
    let mut result = Disrupted::default();
    for pod in pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
    {
        let Some(time) = granted.get(&pod.metadata.name) else {
            continue;
        };
        let left = DELETION_TIMEOUT - now.duration_since(time.timestamp());
        match Duration::try_from(left) {
            Err(_) => result.overdue.push(pod.clone()),
            Ok(left) => {
                result.recheck = Some(result.recheck.map_or(left, |first| first.min(left)));
                result.pods.insert(pod.metadata.name.clone(), *time);
            }
        }
    }
    result
}

fn healthy(pods: &[Arc<Pod>], disrupted: &BTreeMap<String, Time>, now: Timestamp) -> i32 {
    let counts = |pod: &Arc<Pod>| {
        let going = disrupted
            .get(&pod.metadata.name)
            .is_some_and(|time| now.duration_since(time.timestamp()) < DELETION_TIMEOUT);
        pod.metadata.deletion_timestamp.is_none() && !going && is_ready(pod)
    };
    i32::try_from(pods.iter().filter(|pod| counts(pod)).count()).unwrap_or(i32::MAX)
}

/// The status to write, unless it is so already.
fn new_status(
    budget: &PodDisruptionBudget,
    expected: &Expected,
    healthy: i32,
    disrupted: BTreeMap<String, Time>,
    now: Time,
) -> Option<PodDisruptionBudgetStatus> {
    let allowed = if expected.count <= 0 {
        0
    } else {
        (healthy - expected.desired).max(0)
    };
    let (state, reason) = if allowed > 0 {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let mut status = PodDisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        disrupted_pods: disrupted,
        disruptions_allowed: allowed,
        current_healthy: healthy,
        desired_healthy: expected.desired,
        expected_pods: expected.count,
        conditions: budget.status.conditions.clone(),
    };
    let condition = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == CONDITION);
    let up_to_date =
        condition.is_some_and(|condition| condition.status == state && condition.reason == reason);
    if status == budget.status && up_to_date {
        return None;
    }
    let generation = status.observed_generation;
    set_condition(&mut status.conditions, state, reason, "", generation, now);
    Some(status)
}

fn set_condition(
    conditions: &mut Vec<Condition>,
    state: &str,
    reason: &str,
    message: &str,
    generation: i64,
    now: Time,
) {
    let mut new = Condition {
        type_: CONDITION.to_owned(),
        status: state.to_owned(),
        observed_generation: generation,
        last_transition_time: now,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    match conditions
        .iter_mut()
        .find(|condition| condition.type_ == CONDITION)
    {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time;
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ready: bool) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = name.into();
        pod.status.conditions.push(PodCondition {
            type_: "Ready".into(),
            status: if ready { "True" } else { "False" }.into(),
            ..Default::default()
        });
        pod
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn allowed_disruptions() {
        #[track_caller]
        fn check(count: i32, desired: i32, healthy: i32, allowed: i32, reason: &str) {
            let mut budget = PodDisruptionBudget::default();
            budget.metadata.generation = 3;
            let expected = Expected {
                count,
                desired,
                unmanaged: false,
            };
            let status = new_status(
                &budget,
                &expected,
                healthy,
                BTreeMap::new(),
                Time::from_unix(1),
            )
            .unwrap();
            assert_eq!(status.disruptions_allowed, allowed);
            assert_eq!(status.conditions[0].reason, reason);
            budget.status = status;
            assert_eq!(
                new_status(
                    &budget,
                    &expected,
                    healthy,
                    BTreeMap::new(),
                    Time::from_unix(2)
                ),
                None
            );
            budget.metadata.generation = 4;
            assert!(
                new_status(
                    &budget,
                    &expected,
                    healthy,
                    BTreeMap::new(),
                    Time::from_unix(2)
                )
                .is_some()
            );
        }
        check(5, 3, 5, 2, "SufficientPods");
        check(5, 5, 5, 0, "InsufficientPods");
        check(5, 3, 2, 0, "InsufficientPods");
        check(0, 0, 0, 0, "InsufficientPods");
        check(0, -1, 1, 0, "InsufficientPods");
    }

    #[test]
    fn granted_evictions_count_for_a_while() {
        let pods = [pod("a", true), pod("b", true), pod("c", false)].map(Arc::new);
        let granted = BTreeMap::from([
            ("a".to_owned(), Time::from_unix(1000)),
            ("gone".to_owned(), Time::from_unix(1000)),
        ]);
        let found = disrupted(&pods, &granted, at(1050));
        assert_eq!(found.pods.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(found.recheck, Some(Duration::from_secs(70)));
        assert_eq!(healthy(&pods, &found.pods, at(1050)), 1);
        let found = disrupted(&pods, &granted, at(1121));
        assert_eq!((found.pods.len(), found.overdue.len()), (0, 1));
        assert_eq!(healthy(&pods, &found.pods, at(1121)), 2);
    }

    #[test]
    fn stale_conditions() {
        let check = |status: &str, reason: &str, phase: &str, now, expected: Option<u64>| {
            let mut pod = pod("a", true);
            pod.status.phase = phase.into();
            pod.status.conditions.push(PodCondition {
                type_: pod_conditions::DISRUPTION_TARGET.into(),
                status: status.into(),
                reason: reason.into(),
                last_transition_time: Time::from_unix(1000),
                ..Default::default()
            });
            assert_eq!(
                stale_after(&pod, at(now)).map(|wait| wait.as_secs()),
                expected
            );
        };
        check("True", "EvictionByEvictionAPI", "Running", 1020, Some(100));
        check("True", "EvictionByEvictionAPI", "Running", 2000, Some(0));
        check("False", "", "Running", 2000, None);
        check("True", "TerminationByKubelet", "Running", 2000, None);
        check("True", "PreemptionByScheduler", "Failed", 2000, None);
    }
}
