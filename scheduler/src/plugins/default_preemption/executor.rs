//! Removes victims, in the background. Upstream: framework/preemption/executor.go.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use api_types::core::v1::{Pod, PodCondition};
use api_types::meta::v1::DeleteOptions;
use client::object_reference;
use parking_lot::Mutex;

use super::candidates::Candidate;
use crate::cycle::status_patch::patch_pod_status;
use crate::framework::handle::Handle;
use crate::framework::pod_info::{PodInfo, full_name};
use apimachinery::scheduling::pod_priority;

const PLUGIN: &str = crate::plugins::names::DEFAULT_PREEMPTION;

#[derive(Default)]
struct Running {
    /// Pods whose victims are being removed.
    preempting: HashSet<String>,
    /// The victim whose removal is the last, once it is being removed: namespace and name.
    last_victims: HashMap<String, (String, String)>,
}

pub(super) struct Executor {
    handle: Handle,
    running: Mutex<Running>,
}

impl Executor {
    pub(super) fn new(handle: Handle) -> Self {
        Self {
            handle,
            running: Mutex::default(),
        }
    }

    /// Whether the pod must not be tried yet: its victims are not all asked to go.
    pub(super) fn is_running(&self, uid: &str) -> bool {
        let running = self.running.lock();
        if !running.preempting.contains(uid) {
            return false;
        }
        let Some((namespace, name)) = running.last_victims.get(uid) else {
            return true;
        };
        // The event of the last victim may come before the answer to our request.
        let victim = self.handle.listers.pods.get_in(namespace, name);
        victim.is_some_and(|victim| victim.metadata.deletion_timestamp.is_none())
    }

    pub(super) fn prepare_candidate_async(
        self: Arc<Self>,
        candidate: Candidate,
        preemptor: Arc<Pod>,
    ) {
        let victims: Vec<Arc<PodInfo>> = candidate
            .victims
            .iter()
            .filter(|victim| victim.pod.metadata.deletion_timestamp.is_none())
            .cloned()
            .collect();
        let Some((last, others)) = victims.split_last() else {
            return;
        };
        let (last, others) = (last.clone(), others.to_vec());
        self.handle
            .metrics
            .preemption_victims
            .observe(candidate.victims.len() as f64);
        let uid = preemptor.metadata.uid.clone();
        self.running.lock().preempting.insert(uid.clone());
        let tasks = self.handle.tasks.clone();
        tasks.spawn(async move {
            let start = Instant::now();
            let result = self
                .prepare(&candidate.node, &preemptor, others, last)
                .await;
            {
                let mut running = self.running.lock();
                running.preempting.remove(&uid);
                running.last_victims.remove(&uid);
            }
            let label = if result.is_ok() { "success" } else { "error" };
            let metrics = &self.handle.metrics;
            metrics
                .preemption_goroutines_duration
                .with_label_values(&[label])
                .observe(start.elapsed().as_secs_f64());
            metrics
                .preemption_goroutines_execution
                .with_label_values(&[label])
                .inc();
            if let Err(error) = result {
                tracing::error!(pod = full_name(&preemptor), node = candidate.node, %error, "Error occurred during async preemption");
                // No event of a victim may come that would wake the pod.
                if let Some(queue) = self.handle.queue() {
                    queue.activate([&*preemptor]);
                }
            }
        });
    }

    async fn prepare(
        &self,
        node: &str,
        preemptor: &Arc<Pod>,
        others: Vec<Arc<PodInfo>>,
        last: Arc<PodInfo>,
    ) -> Result<(), client::Error> {
        let mut result = self.clear_lower_nominations(node, preemptor).await;
        let removed = futures::future::try_join_all(
            others
                .iter()
                .map(|victim| self.preempt_pod(node, preemptor, victim)),
        );
        removed.await?;
        // Only now may its deletion wake the preemptor.
        let meta = &last.pod.metadata;
        self.running.lock().last_victims.insert(
            preemptor.metadata.uid.clone(),
            (meta.namespace.clone(), meta.name.clone()),
        );
        if let Err(error) = self.preempt_pod(node, preemptor, &last).await {
            result = Err(error);
        }
        result
    }

    /// Pods of lower priority that wait for the same node would take the room: they look for another one.
    async fn clear_lower_nominations(
        &self,
        node: &str,
        preemptor: &Pod,
    ) -> Result<(), client::Error> {
        let Some(queue) = self.handle.queue() else {
            return Ok(());
        };
        let priority = pod_priority(preemptor);
        for pod in queue.nominated_pods_for_node(node) {
            if pod.priority < priority && !pod.pod.status.nominated_node_name.is_empty() {
                patch_pod_status(&self.handle.client, &pod.pod, None, Some("")).await?;
            }
        }
        Ok(())
    }

    async fn preempt_pod(
        &self,
        node: &str,
        preemptor: &Pod,
        victim: &Arc<PodInfo>,
    ) -> Result<(), client::Error> {
        let unbound = &self.handle.unbound;
        let pod = &victim.pod;
        let mut in_memory = false;
        if let Some(waiting) = unbound.waiting(victim.uid()) {
            in_memory = waiting.reject(PLUGIN, "preempted");
        } else if let Some(binding) = unbound.in_pre_bind(victim.uid()) {
            in_memory = binding.cancel(&format!("preempted by {PLUGIN}"));
        }
        let mut message = format!("Preempted by pod {} on node {node}", preemptor.metadata.uid);
        if in_memory {
            message.push_str(" (in kube-scheduler memory).");
        } else {
            let condition = PodCondition {
                type_: "DisruptionTarget".into(),
                observed_generation: pod.metadata.generation,
                status: "True".into(),
                reason: "PreemptionByScheduler".into(),
                message: format!(
                    "{}: preempting to accommodate a higher priority pod",
                    preemptor.spec.scheduler_name
                ),
                ..PodCondition::default()
            };
            let client = &self.handle.client;
            match patch_pod_status(client, pod, Some(condition), None).await {
                Err(error) if error.is_not_found() => return Ok(()),
                result => result?,
            }
            let meta = &pod.metadata;
            let api = client.namespaced::<Pod>(&*meta.namespace);
            match api.delete(&meta.name, &DeleteOptions::default()).await {
                Err(error) if error.is_not_found() => return Ok(()),
                result => result.map(drop)?,
            }
            tracing::info!(
                preemptor = full_name(preemptor),
                victim = full_name(pod),
                node,
                "Preemptor Pod preempted victim Pod"
            );
        }
        self.handle.recorder.event_with(
            &object_reference(&**pod),
            Some(&object_reference(preemptor)),
            "Normal",
            "Preempted",
            "Preempting",
            message,
        );
        Ok(())
    }
}
