//! Stopping containers and pods: hooks first, then the stop signal, then the kill; sidecars last.
//!
//! Upstream: `killContainer`, `killPodWithSyncResult` and `kuberuntime_termination_order.go`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use api_types::core::v1::{Container, Pod};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::actions::KillReason;
use super::{MIN_GRACE_PERIOD_SECONDS, Runtime, labels};
use crate::container::{
    ContainerId, ContainerKind, PodSyncResult, RuntimePod, StartError, SyncAction,
    find_container_spec, is_sidecar,
};
use crate::events::Kind;

/// Grace period for a kill, in seconds: the deletion's, else the failed probe's own, else the pod's.
pub(super) fn termination_grace_period(
    pod: &Pod,
    container: &Container,
    reason: KillReason,
) -> i64 {
    if let Some(seconds) = pod.metadata.deletion_grace_period_seconds {
        return seconds;
    }
    let Some(seconds) = pod.spec.termination_grace_period_seconds else {
        return MIN_GRACE_PERIOD_SECONDS;
    };
    let probe = match reason {
        KillReason::StartupProbe => container.startup_probe.as_ref(),
        KillReason::LivenessProbe => container.liveness_probe.as_ref(),
        _ => None,
    };
    probe
        .and_then(|probe| probe.termination_grace_period_seconds)
        .unwrap_or(seconds)
}

/// Who waits for whom when a pod with sidecars ends: sidecars for all regular containers, and each for the ones after it.
pub(super) struct TerminationOrder {
    ended: HashMap<String, CancellationToken>,
    wait_for: HashMap<String, Vec<String>>,
}

impl TerminationOrder {
    pub(super) fn new(pod: &Pod, running: &[&str]) -> Self {
        let mut ended = HashMap::new();
        for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
            let token = CancellationToken::new();
            if !running.contains(&container.name.as_str()) {
                token.cancel();
            }
            ended.insert(container.name.clone(), token);
        }
        let regular: Vec<String> = pod
            .spec
            .containers
            .iter()
            .map(|container| container.name.clone())
            .collect();
        let mut wait_for = HashMap::new();
        let mut later: Option<String> = None;
        for sidecar in pod
            .spec
            .init_containers
            .iter()
            .rev()
            .filter(|container| is_sidecar(container))
        {
            let mut names = regular.clone();
            names.extend(later.take());
            wait_for.insert(sidecar.name.clone(), names);
            later = Some(sidecar.name.clone());
        }
        TerminationOrder { ended, wait_for }
    }

    /// Waits for this container's turn, at most the grace period; answers the whole seconds it took.
    async fn wait_for_turn(&self, name: &str, grace_period: i64) -> i64 {
        let start = Instant::now();
        let turn = async {
            for other in self.wait_for.get(name).into_iter().flatten() {
                if let Some(token) = self.ended.get(other) {
                    token.cancelled().await;
                }
            }
        };
        let _ = tokio::time::timeout(
            Duration::from_secs(u64::try_from(grace_period).unwrap_or(0)),
            turn,
        )
        .await;
        i64::try_from(start.elapsed().as_secs()).unwrap_or(i64::MAX)
    }

    fn mark_ended(&self, name: &str) {
        if let Some(token) = self.ended.get(name) {
            token.cancel();
        }
    }
}

impl Runtime {
    /// Stops one container. Without its pod, the pod's labels in the runtime say what is needed.
    ///
    /// # Errors
    /// When the runtime could not stop it.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site each has its own values for all of them"
    )]
    pub(super) async fn kill_container(
        &self,
        pod: Option<&Pod>,
        id: &ContainerId,
        name: &str,
        message: &str,
        reason: KillReason,
        grace_override: Option<i64>,
        order: Option<&TerminationOrder>,
    ) -> Result<(), String> {
        let restored;
        let (pod, container, kind) = match pod {
            Some(pod) => match find_container_spec(&pod.spec, name) {
                Some((container, kind)) => (pod, container, kind),
                None => {
                    return Err(format!(
                        "failed to get containerSpec {name:?} (id={:?}) in pod {:?} when killing container for reason {message:?}",
                        id.to_string(),
                        crate::container::pod_desc(pod)
                    ));
                }
            },
            None => {
                let status = self
                    .cri
                    .container_status(&id.id)
                    .await
                    .map_err(|error| error.to_string())?;
                let (pod, container) = labels::restore_specs(&status.labels, &status.annotations);
                restored = pod;
                (&restored, container, ContainerKind::Regular)
            }
        };
        let mut grace = termination_grace_period(pod, &container, reason);
        let text = if message.is_empty() {
            format!("Stopping container {}", container.name)
        } else {
            message.to_owned()
        };
        self.container_event(
            pod,
            (&container.name, kind),
            &id.id,
            Kind::Normal,
            "Killing",
            &text,
        );
        if let Some(seconds) = grace_override {
            grace = seconds;
        }
        if grace > 0
            && let Some(hook) = container
                .lifecycle
                .as_ref()
                .and_then(|lifecycle| lifecycle.pre_stop.as_deref())
        {
            let start = Instant::now();
            let limit = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
            match tokio::time::timeout(limit, self.hooks.run(id, pod, &container, hook)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(pod = %pod.metadata.name, container = %container.name, %error, "PreStop hook failed");
                    // The reply of the hook may hold secrets: it stays out of the event.
                    self.container_event(
                        pod,
                        (&container.name, kind),
                        &id.id,
                        Kind::Warning,
                        "FailedPreStopHook",
                        "PreStopHook failed",
                    );
                }
                Err(_) => {
                    tracing::info!(pod = %pod.metadata.name, container = %container.name, grace, "PreStop hook not completed in grace period");
                }
            }
            grace -= i64::try_from(start.elapsed().as_secs()).unwrap_or(grace);
        }
        if let Some(order) = order
            && grace > 0
        {
            grace -= order.wait_for_turn(&container.name, grace).await;
        }
        let grace = grace.max(MIN_GRACE_PERIOD_SECONDS);
        match self.cri.stop_container(&id.id, grace).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.to_string()),
        }
        if let Some(order) = order {
            order.mark_ended(&container.name);
        }
        Ok(())
    }

    /// Stops all running containers of a pod at once, then its sandboxes.
    pub(super) async fn kill_pod_with_result(
        &self,
        pod: Option<&Pod>,
        running: &RuntimePod,
        grace_override: Option<i64>,
    ) -> PodSyncResult {
        let mut result = PodSyncResult::default();
        let has_sidecar = |pod: &Pod| pod.spec.init_containers.iter().any(is_sidecar);
        let order = pod.filter(|pod| has_sidecar(pod)).map(|pod| {
            let names: Vec<&str> = running
                .containers
                .iter()
                .map(|container| container.name.as_str())
                .collect();
            TerminationOrder::new(pod, &names)
        });
        let kills = running.containers.iter().map(|container| {
            let order = order.as_ref();
            async move {
                let killed = self
                    .kill_container(
                        pod,
                        &container.id,
                        &container.name,
                        "",
                        KillReason::Other,
                        grace_override,
                        order,
                    )
                    .await;
                (container.name.as_str(), killed)
            }
        });
        for (name, killed) in join_all(kills).await {
            let step = result.add(SyncAction::KillContainer, name);
            if let Err(error) = killed {
                step.error = Some(StartError::new("KillContainerError", error));
            }
        }
        let step = result.add(SyncAction::KillPodSandbox, &running.uid);
        for sandbox in &running.sandboxes {
            match self.cri.stop_pod_sandbox(&sandbox.id.id).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    step.error = Some(StartError::new("KillPodSandboxError", error.to_string()))
                }
            }
        }
        result
    }

    /// Stops a pod. `pod` may be missing when only the runtime still knows of it.
    ///
    /// # Errors
    /// With all failures in one text.
    pub async fn kill_pod(
        &self,
        pod: Option<&Pod>,
        running: &RuntimePod,
        grace_override: Option<i64>,
    ) -> Result<(), String> {
        match self
            .kill_pod_with_result(pod, running, grace_override)
            .await
            .error_text()
        {
            None => Ok(()),
            Some(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::Probe;

    use super::*;

    #[test]
    fn grace_periods() {
        let probe = |seconds| {
            Some(Box::new(Probe {
                termination_grace_period_seconds: seconds,
                ..Default::default()
            }))
        };
        let container = Container {
            liveness_probe: probe(Some(5)),
            startup_probe: probe(None),
            ..Default::default()
        };
        let mut pod = Pod::default();
        assert_eq!(
            termination_grace_period(&pod, &container, KillReason::Other),
            2
        );
        pod.spec.termination_grace_period_seconds = Some(30);
        assert_eq!(
            termination_grace_period(&pod, &container, KillReason::Other),
            30
        );
        assert_eq!(
            termination_grace_period(&pod, &container, KillReason::LivenessProbe),
            5
        );
        assert_eq!(
            termination_grace_period(&pod, &container, KillReason::StartupProbe),
            30
        );
        pod.metadata.deletion_grace_period_seconds = Some(1);
        assert_eq!(
            termination_grace_period(&pod, &container, KillReason::LivenessProbe),
            1
        );
    }

    fn pod_with_sidecars() -> Pod {
        let named = |name: &str, policy: Option<&str>| Container {
            name: name.to_owned(),
            restart_policy: policy.map(str::to_owned),
            ..Default::default()
        };
        let mut pod = Pod::default();
        pod.spec.init_containers = vec![
            named("sidecar1", Some("Always")),
            named("init", None),
            named("sidecar2", Some("Always")),
        ];
        pod.spec.containers = vec![named("app", None)];
        pod
    }

    #[tokio::test]
    async fn sidecars_end_last_and_backwards() {
        let order = TerminationOrder::new(&pod_with_sidecars(), &["app", "sidecar1", "sidecar2"]);
        let ready = |name: &'static str| {
            let order = &order;
            async move {
                tokio::time::timeout(Duration::from_millis(10), order.wait_for_turn(name, 60))
                    .await
                    .is_ok()
            }
        };
        assert!(ready("app").await);
        assert!(!ready("sidecar2").await);
        order.mark_ended("app");
        assert!(ready("sidecar2").await);
        assert!(!ready("sidecar1").await);
        order.mark_ended("sidecar2");
        assert!(ready("sidecar1").await);
    }

    #[tokio::test]
    async fn what_does_not_run_is_not_waited_for() {
        let order = TerminationOrder::new(&pod_with_sidecars(), &["sidecar1"]);
        assert_eq!(order.wait_for_turn("sidecar1", 60).await, 0);
    }
}
