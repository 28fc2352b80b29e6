//! The three phases of a pod. Upstream: `SyncPod`, `SyncTerminatingPod`, `SyncTerminatedPod` in `kubelet.go`.

use std::sync::Arc;

use api_types::core::v1::{Pod, Secret};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::Kubelet;
use crate::container::{PodStatus, RuntimePod, State, is_container_restartable};
use crate::events::Kind;
use crate::objects::PodObjects as _;
use crate::pod_workers::{PodSyncer, StatusFunction, SyncError, UpdateType};
use crate::sources::{CONFIG_SEEN, MirrorClient, is_static_pod};
use crate::sys::create_dir_all;

const NETWORK_NOT_READY: &str = "network is not ready";

fn cancelled() -> SyncError {
    SyncError {
        message: "context canceled".to_owned(),
        cancelled: true,
        ..Default::default()
    }
}

impl Kubelet {
    async fn sync(
        &self,
        update: UpdateType,
        pod: &Arc<Pod>,
        mirror: Option<&Arc<Pod>>,
        runtime_status: &PodStatus,
        token: &CancellationToken,
    ) -> Result<bool, SyncError> {
        let uid = &pod.metadata.uid;
        let seen: Option<jiff::Timestamp> = pod
            .metadata
            .annotations
            .get(CONFIG_SEEN)
            .and_then(|text| text.parse().ok());
        let age =
            |since: jiff::Timestamp| jiff::Timestamp::now().duration_since(since).as_secs_f64();
        if let (UpdateType::Create, Some(seen)) = (update, seen) {
            self.metrics.pod_worker_start_duration.observe(age(seen));
        }
        self.note_resize_progress(pod, runtime_status);
        let status = self.api_status(pod, runtime_status, false);
        let mut runtime_status = runtime_status.clone();
        runtime_status.ips = status.pod_ips.iter().map(|ip| ip.ip.clone()).collect();
        if matches!(status.phase.as_str(), "Succeeded" | "Failed") {
            self.status.set(pod, status);
            return Ok(true);
        }
        let existing = self.status.get(uid);
        if let (Some(existing), Some(seen)) = (&existing, seen)
            && existing.phase == "Pending"
            && status.phase == "Running"
        {
            self.metrics.pod_start_duration.observe(age(seen));
        }
        self.status.set(pod, status.clone());

        if let Some(error) = self.runtime_state.network_error()
            && !pod.spec.host_network
        {
            let text = format!("{NETWORK_NOT_READY}: {error}");
            self.recorder
                .pod(pod, Kind::Warning, "NetworkNotReady", &text);
            return Err(SyncError {
                message: text,
                network_not_ready: true,
                ..Default::default()
            });
        }
        if !self.workers.is_termination_requested(uid) {
            self.objects.register(pod);
            self.ensure_cgroup(pod, &runtime_status, &status).await?;
        }
        self.reconcile_mirror(pod, mirror).await;
        let dir = self.options.pod_dir(uid);
        for sub in ["", "volumes", "plugins"] {
            create_dir_all(&dir.join(sub), 0o750).map_err(|error| {
                let text = format!("error making pod data directories: {error}");
                self.recorder
                    .pod(pod, Kind::Warning, "FailedMakePodDataDir", &text);
                SyncError::from(text)
            })?;
        }
        tokio::select! {
            () = token.cancelled() => return Err(cancelled()),
            mounted = self.options.volumes.wait_for_attach_and_mount(pod) => {
                if let Err(error) = mounted {
                    let text = format!("Unable to attach or mount volumes: {error}");
                    self.recorder.pod(pod, Kind::Warning, "FailedMount", &text);
                    return Err(text.into());
                }
            }
        }
        let secrets = self.pull_secrets(pod).await;
        self.probes.add_pod(pod);
        let restart_all = status.conditions.iter().any(|condition| {
            condition.type_ == "AllContainersRestarting" && condition.status == "True"
        });
        // From here on nothing is cancelled: a container that was made must be booked.
        let result = self
            .runtime
            .sync_pod(
                pod,
                &runtime_status,
                &secrets,
                &self.crash_loop,
                restart_all,
            )
            .await;
        self.reasons.update(uid, &result);
        self.note_resize_result(pod, &result);
        match result.error_text() {
            None => {
                if !result.results.is_empty() {
                    self.pleg.request_relist(uid);
                }
                if restart_all && !result.results.is_empty() {
                    self.workers.update(
                        UpdateType::Update,
                        crate::pod_workers::Subject::Pod(pod.clone(), mirror.cloned()),
                        None,
                    );
                }
                Ok(false)
            }
            Some(message) => Err(SyncError {
                message,
                retry_at: result.min_retry_at(),
                ..Default::default()
            }),
        }
    }

    /// Makes the pod's cgroup. A pod that runs outside of one (an older kubelet's) is stopped first.
    async fn ensure_cgroup(
        &self,
        pod: &Arc<Pod>,
        runtime_status: &PodStatus,
        status: &api_types::core::v1::PodStatus,
    ) -> Result<(), SyncError> {
        let cm = &self.options.cm;
        if cm.exists(pod) {
            return Ok(());
        }
        let runs = status
            .container_statuses
            .iter()
            .any(|container| container.state.running.is_some());
        let mut killed = false;
        if runs {
            match self
                .runtime
                .kill_pod(Some(pod), &runtime_status.to_running_pod(), None)
                .await
            {
                Ok(()) => killed = true,
                Err(error) => tracing::error!(pod = %pod.metadata.name, %error, "KillPod failed"),
            }
        }
        let run_once = !pod
            .spec
            .containers
            .iter()
            .any(|container| is_container_restartable(&pod.spec, container));
        if killed && run_once {
            return Ok(());
        }
        if let Err(error) = cm.update_qos(&self.allocated_pods()) {
            tracing::debug!(%error, "Failed to update QoS cgroups while syncing pod");
        }
        cm.ensure(pod).map_err(|error| {
            let text = format!("unable to ensure pod container exists: {error}");
            self.recorder.pod(pod, Kind::Warning, "FailedCreatePodContainer", &text);
            SyncError::from(format!(
                "failed to ensure that the pod: {} cgroups exist and are correctly applied: {error}",
                pod.metadata.uid
            ))
        })?;
        self.runtime.note_pod_level(pod).map_err(|error| {
            SyncError::from(format!(
                "failed to update the state of pod-level resources for the pod {}: {error}",
                pod.metadata.uid
            ))
        })
    }

    async fn reconcile_mirror(&self, pod: &Arc<Pod>, mirror: Option<&Arc<Pod>>) {
        if !is_static_pod(pod) {
            return;
        }
        let name = crate::container::pod_full_name(pod);
        if let Some(mirror) = mirror {
            if mirror.metadata.deletion_timestamp.is_none()
                && MirrorClient::is_mirror_of(mirror, pod)
            {
                return;
            }
            // A mirror of another version, or one that is being deleted, stands in the way.
            match self.mirrors.delete(&name, Some(&mirror.metadata.uid)).await {
                Ok(deleted) => {
                    if !deleted {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(pod = %name, %error, "Failed deleting mirror pod");
                    return;
                }
            }
        }
        if let Err(error) = self.mirrors.create(pod).await {
            tracing::error!(pod = %name, %error, "Failed creating a mirror pod");
        }
    }

    async fn pull_secrets(&self, pod: &Pod) -> Vec<Secret> {
        let (mut found, mut failed) = (Vec::new(), Vec::new());
        for reference in pod
            .spec
            .image_pull_secrets
            .iter()
            .filter(|reference| !reference.name.is_empty())
        {
            match self
                .objects
                .secret(&pod.metadata.namespace, &reference.name)
                .await
            {
                Ok(secret) => found.push(Secret::clone(&secret)),
                Err(error) => {
                    tracing::info!(pod = %pod.metadata.name, secret = %reference.name, %error, "Unable to retrieve pull secret, the image pull may not succeed.");
                    failed.push(reference.name.as_str());
                }
            }
        }
        if !failed.is_empty() {
            let text = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                failed.join(", ")
            );
            self.recorder
                .pod(pod, Kind::Warning, "FailedToRetrieveImagePullSecret", &text);
        }
        found
    }

    async fn terminate(
        &self,
        pod: &Arc<Pod>,
        runtime_status: &PodStatus,
        grace_period: Option<i64>,
        change_status: Option<StatusFunction>,
    ) -> Result<(), SyncError> {
        let mut status = self.api_status(pod, runtime_status, false);
        if let Some(change) = change_status {
            change(&mut status);
        }
        self.status.set(pod, status);
        self.probes.stop_liveness_and_startup(pod);
        if let Err(error) = self
            .runtime
            .kill_pod(Some(pod), &runtime_status.to_running_pod(), grace_period)
            .await
        {
            self.recorder.pod(
                pod,
                Kind::Warning,
                "FailedKillPod",
                &format!("error killing pod: {error}"),
            );
            return Err(format!("error killing terminating pod: {error}").into());
        }
        if let Err(error) = self.options.cm.update_qos(&self.allocated_pods()) {
            tracing::debug!(%error, "Failed to update QoS cgroups after killing pod");
        }
        self.probes.remove_pod(pod);

        // What the runtime says now, not what a list said before.
        let metadata = &pod.metadata;
        let found = self.runtime.pod(&metadata.uid).await.map_err(|error| {
            format!("unable to get pod prior to final pod termination: {error}")
        })?;
        let mut stopped = match found {
            Some(found) => self.runtime.pod_status(&found).await.map_err(|error| {
                format!("unable to read pod status prior to final pod termination: {error}")
            })?,
            None => PodStatus::empty(
                &metadata.uid,
                &metadata.name,
                &metadata.namespace,
                jiff::Timestamp::now(),
            ),
        };
        stopped.ips.clone_from(&runtime_status.ips);
        let running: Vec<String> = stopped
            .containers
            .iter()
            .filter(|container| container.state == State::Running)
            .map(|container| container.id.to_string())
            .collect();
        if !running.is_empty() {
            return Err(format!(
                "detected running containers after a successful KillPod, CRI violation: [{}]",
                running.join(" ")
            )
            .into());
        }
        let status = self.api_status(pod, &stopped, true);
        self.status.set(pod, status);
        Ok(())
    }

    async fn clean_up(
        &self,
        pod: &Arc<Pod>,
        runtime_status: &PodStatus,
        token: &CancellationToken,
    ) -> Result<(), SyncError> {
        let status = self.api_status(pod, runtime_status, true);
        self.status.set(pod, status);
        tokio::select! {
            () = token.cancelled() => return Err(cancelled()),
            unmounted = self.options.volumes.wait_for_unmount(pod) => unmounted.map_err(SyncError::from)?,
        }
        self.objects.unregister(pod);
        self.reasons.remove(&pod.metadata.uid);
        let path = self.options.cm.pod_path(pod);
        if self
            .options
            .cm
            .pod_cgroups()
            .contains_key(&pod.metadata.uid)
        {
            self.options
                .cm
                .destroy(&path)
                .map_err(|error| SyncError::from(error.to_string()))?;
        }
        self.status.terminate(pod);
        Ok(())
    }
}

impl PodSyncer for Kubelet {
    fn sync_pod<'a>(
        &'a self,
        update: UpdateType,
        pod: &'a Arc<Pod>,
        mirror: Option<&'a Arc<Pod>>,
        status: &'a PodStatus,
        token: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<bool, SyncError>> {
        Box::pin(self.sync(update, pod, mirror, status, token))
    }

    fn sync_terminating_pod<'a>(
        &'a self,
        pod: &'a Arc<Pod>,
        status: &'a PodStatus,
        grace_period: Option<i64>,
        change_status: Option<StatusFunction>,
    ) -> BoxFuture<'a, Result<(), SyncError>> {
        Box::pin(self.terminate(pod, status, grace_period, change_status))
    }

    fn sync_terminating_runtime_pod<'a>(
        &'a self,
        pod: &'a RuntimePod,
    ) -> BoxFuture<'a, Result<(), SyncError>> {
        Box::pin(async move {
            self.runtime
                .kill_pod(None, pod, Some(1))
                .await
                .map_err(|error| {
                    self.recorder.pod(
                        &pod.to_api_pod(),
                        Kind::Warning,
                        "FailedKillPod",
                        &format!("error killing pod: {error}"),
                    );
                    SyncError::from(error)
                })
        })
    }

    fn sync_terminated_pod<'a>(
        &'a self,
        pod: &'a Arc<Pod>,
        status: &'a PodStatus,
        token: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), SyncError>> {
        Box::pin(self.clean_up(pod, status, token))
    }

    fn request_relist(&self, uid: &str) {
        self.pleg.request_relist(uid);
    }

    fn allocated(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        self.allocation.allocated_pod(pod)
    }
}
