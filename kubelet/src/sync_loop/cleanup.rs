//! Housekeeping: what is left of pods that are gone is found and removed. Upstream: `HandlePodCleanups`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api_types::core::v1::Pod;

use super::Kubelet;
use crate::container::State;
use crate::pod_workers::{KillOptions, Subject, UpdateType, WorkerState, WorkerSummary};
use crate::sources::is_static_pod;

impl Kubelet {
    /// Compares config, workers, runtime, cgroups and disk, and mends the differences.
    pub(super) async fn housekeeping(&self) {
        let cgroups = self.options.cm.pod_cgroups();
        let (pods, mirrors, orphaned_mirrors) = self.pods.pods_and_mirrors();
        let desired: HashSet<String> = pods.iter().map(|pod| pod.metadata.uid.clone()).collect();
        let mut workers = self.workers.sync_known_pods(&desired);
        let possibly_running: HashSet<String> = workers
            .iter()
            .filter(|(_, worker)| worker.state != WorkerState::Terminated)
            .map(|(uid, _)| uid.clone())
            .collect();
        let running = match self.runtime.list_pods(None, false).await {
            Ok(running) => running,
            Err(error) => {
                tracing::error!(%error, "Error listing containers");
                return;
            }
        };
        self.probes.cleanup(&possibly_running);
        self.allocation.remove_orphans(&desired);
        let mut known = desired.clone();
        known.extend(mirrors.iter().map(|mirror| mirror.metadata.uid.clone()));
        self.status.remove_orphans(&known);
        self.remove_orphaned_dirs(&desired, &running).await;
        for name in orphaned_mirrors {
            if self.workers.is_static_terminating(&name) {
                continue;
            }
            if let Err(error) = self.mirrors.delete(&name, None).await {
                tracing::error!(pod = %name, %error, "Encountered error when deleting mirror pod");
            }
        }
        self.start_forgotten(&pods, &mut workers);
        self.end_terminal(&pods, &running, &workers);
        for (uid, pod) in running {
            if workers.contains_key(&uid) {
                continue;
            }
            tracing::info!(pod = %pod.name, namespace = %pod.namespace, "Clean up containers for orphaned pod");
            let kill = KillOptions {
                grace_period: Some(1),
                ..Default::default()
            };
            self.workers.update(
                UpdateType::Kill,
                Subject::Runtime(Arc::new(pod)),
                Some(kill),
            );
            self.metrics.orphaned_runtime_pods.inc();
        }
        for (uid, path) in cgroups {
            if possibly_running.contains(&uid)
                || self
                    .pods
                    .by_uid(&uid)
                    .is_some_and(|_| workers.contains_key(&uid))
            {
                continue;
            }
            if self.options.volumes.pod_volumes_exist(&uid) {
                // Memory-backed volumes are charged to the cgroup: it stays until they are gone, on a short ration.
                let _ = self.options.cm.throttle(&path);
                continue;
            }
            if let Err(error) = self.options.cm.destroy(&path) {
                tracing::debug!(cgroup = %path.display(), %error, "Failed to remove orphaned pod cgroup");
            }
        }
        self.count(&pods, mirrors.len());
        self.crash_loop.gc(jiff::Timestamp::now());
        if let Err(error) = self.options.cm.update_qos(&self.allocated_pods()) {
            tracing::debug!(%error, "Failed to update QoS cgroups");
        }
    }

    /// Pods in the config without a worker: those that came back with their old UID after their worker ended.
    fn start_forgotten(&self, pods: &[Arc<Pod>], workers: &mut HashMap<String, WorkerSummary>) {
        for pod in pods {
            let uid = &pod.metadata.uid;
            if workers.contains_key(uid) || self.is_inactive(pod) {
                continue;
            }
            let (Some(pod), mirror, false) = self.pods.pod_and_mirror(pod) else {
                continue;
            };
            tracing::info!(pod = %pod.metadata.name, "Pod will be restarted because it is in the desired set and not known to the pod workers");
            let is_static = is_static_pod(&pod);
            self.workers
                .update(UpdateType::Create, Subject::Pod(pod, mirror), None);
            workers.insert(
                uid.clone(),
                WorkerSummary {
                    state: WorkerState::Syncing,
                    orphan: false,
                    has_config: true,
                    is_static,
                },
            );
            self.metrics
                .restarted_pods
                .with_label_values(&[if is_static { "true" } else { "" }])
                .inc();
        }
    }

    /// Pods that were over when this kubelet started and are being deleted: somebody must delete them for good.
    fn end_terminal(
        &self,
        pods: &[Arc<Pod>],
        running: &HashMap<String, crate::container::RuntimePod>,
        workers: &HashMap<String, WorkerSummary>,
    ) {
        for pod in pods {
            let uid = &pod.metadata.uid;
            let over = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
            if pod.metadata.deletion_timestamp.is_some()
                && over
                && !workers.contains_key(uid)
                && !running.contains_key(uid)
            {
                self.workers
                    .update(UpdateType::Kill, Subject::Pod(pod.clone(), None), None);
            }
        }
    }

    fn count(&self, pods: &[Arc<Pod>], mirrors: usize) {
        let split = |pods: &[Arc<Pod>]| {
            let fixed = pods.iter().filter(|pod| is_static_pod(pod)).count();
            (pods.len() - fixed, fixed)
        };
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        for (metric, (regular, fixed)) in [
            (&self.metrics.desired_pods, split(pods)),
            (&self.metrics.active_pods, split(&self.active_pods())),
        ] {
            metric.with_label_values(&[""]).set(regular as f64);
            metric.with_label_values(&["true"]).set(fixed as f64);
        }
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        self.metrics.mirror_pods.set(mirrors as f64);
    }

    /// Folders of pods that are gone. Anything that is still mounted keeps its folder.
    async fn remove_orphaned_dirs(
        &self,
        desired: &HashSet<String>,
        running: &HashMap<String, crate::container::RuntimePod>,
    ) {
        let known: HashSet<String> = desired.iter().chain(running.keys()).cloned().collect();
        let clean = self.orphans.clone();
        let errors = tokio::task::spawn_blocking(move || clean(&known)).await;
        for error in errors.into_iter().flatten() {
            tracing::error!(%error, "There were errors trying to clean up orphaned pod directories");
        }
    }

    /// Removes dead containers of a pod that was evicted and deleted; keeps the newest of each name otherwise.
    pub(super) async fn remove_dead_containers(&self, uid: &str, ended: &str) {
        let Ok(status) = self.cache.get(uid) else {
            return;
        };
        let remove_all = self.workers.should_content_be_removed(uid)
            || self
                .status
                .get(uid)
                .is_some_and(|status| status.phase == "Failed" && status.reason == "Evicted");
        let keep = usize::try_from(self.gc_policy.max_per_pod_container.max(0)).unwrap_or(0);
        let Some(name) = status
            .containers
            .iter()
            .find(|found| found.id.id == ended)
            .map(|found| found.name.clone())
        else {
            return;
        };
        let dead = status
            .containers
            .iter()
            .filter(|found| found.state == State::Exited && (remove_all || found.name == name));
        for found in dead.skip(if remove_all { 0 } else { keep }) {
            if let Err(error) = self.runtime.remove_container(&found.id.id, false).await {
                tracing::info!(container = %found.id, %error, "DeleteContainer returned error");
            }
        }
    }
}
