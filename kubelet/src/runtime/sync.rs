//! One sync of a pod: compute the actions, then take them in order.
//!
//! Upstream: `SyncPod` in `kuberuntime_manager.go` and `kuberuntime_sandbox.go`.

use std::collections::HashMap;

use api_types::core::v1::{Container, Pod, Secret};
use jiff::Timestamp;

use super::actions::{ActionInputs, PodActions, compute_pod_actions};
use super::security::{SecurityDefaults, sandbox_security_context};
use super::start::{StartContext, StartSpec};
use super::status::{sandbox_ips, sandbox_status};
use super::{Runtime, labels};
use crate::backoff::Backoff;
use crate::container::{
    ContainerKind, PodStatus, PodSyncResult, StartError, State, SyncAction, as_container,
    is_sidecar, pod_desc,
};
use crate::cri::v1;
use crate::events::Kind;
use crate::images::PullRequest;
use crate::sys::create_dir_all;

impl Runtime {
    /// Brings a pod to its spec, as far as one pass can.
    pub async fn sync_pod(
        &self,
        pod: &Pod,
        status: &PodStatus,
        pull_secrets: &[Secret],
        backoff: &Backoff,
        restart_all: bool,
    ) -> PodSyncResult {
        let actuated = self.actuated.pod(&pod.metadata.uid);
        let inputs = ActionInputs {
            liveness: &self.liveness,
            startup: &self.startup,
            restart_all,
            actuated: actuated.as_ref(),
            resize: self.options.resize,
        };
        let actions = compute_pod_actions(pod, status, &inputs);
        tracing::debug!(pod = %pod.metadata.name, namespace = %pod.metadata.namespace, ?actions, "computePodActions got for pod");
        let mut result = PodSyncResult::default();
        if actions.create_sandbox && !actions.sandbox_id.is_empty() {
            self.recorder.pod(
                pod,
                Kind::Normal,
                "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
            );
        }
        if !self
            .stop_what_must_stop(pod, status, &actions, &mut result)
            .await
        {
            return result;
        }
        self.prune_init_containers(pod, status).await;

        let mut pod_ips = status.ips.clone();
        let mut sandbox_id = actions.sandbox_id.clone();
        if actions.create_sandbox {
            match self.create_sandbox(pod, actions.attempt, &mut result).await {
                Some((id, ips)) => {
                    sandbox_id = id;
                    if !pod.spec.host_network {
                        pod_ips = ips;
                    }
                    self.helper.on_sandbox_ready(pod).await;
                }
                None => return result,
            }
        }
        let sandbox_config = match self.sandbox_config(pod, actions.attempt) {
            Ok(config) => config,
            Err(error) => {
                result.error = Some(format!(
                    "GeneratePodSandboxConfig for pod {:?} failed: {error}",
                    pod_desc(pod)
                ));
                return result;
            }
        };
        let context = StartContext {
            pod,
            status,
            sandbox_id: &sandbox_id,
            sandbox_config: &sandbox_config,
            pull_secrets,
            pod_ips: &pod_ips,
        };
        let image_volumes = if actions.ephemeral_to_start.is_empty()
            && actions.init_to_start.is_empty()
            && actions.to_start.is_empty()
        {
            HashMap::new()
        } else {
            self.pull_image_volumes(&context).await
        };

        for index in &actions.ephemeral_to_start {
            let ephemeral = &pod.spec.ephemeral_containers[*index];
            let container = as_container(ephemeral);
            let spec = StartSpec {
                container: &container,
                kind: ContainerKind::Ephemeral,
                target: &ephemeral.target_container_name,
            };
            self.start(&context, &spec, backoff, &image_volumes, &mut result)
                .await;
        }
        for index in &actions.init_to_start {
            let container = &pod.spec.init_containers[*index];
            let spec = StartSpec {
                container,
                kind: ContainerKind::Init,
                target: "",
            };
            let started = self
                .start(&context, &spec, backoff, &image_volumes, &mut result)
                .await;
            if !started && !is_sidecar(container) {
                return result;
            }
        }
        if !actions.resize.is_empty() {
            let step = result.add(SyncAction::ResizePodInPlace, &pod_desc(pod));
            self.resize(pod, &actions, step).await;
        }
        for index in &actions.to_start {
            let spec = StartSpec {
                container: &pod.spec.containers[*index],
                kind: ContainerKind::Regular,
                target: "",
            };
            self.start(&context, &spec, backoff, &image_volumes, &mut result)
                .await;
        }
        result
    }

    /// Stops the pod, or the containers that may not run on. Answers whether the sync may go on.
    async fn stop_what_must_stop(
        &self,
        pod: &Pod,
        status: &PodStatus,
        actions: &PodActions,
        result: &mut PodSyncResult,
    ) -> bool {
        if actions.kill_pod {
            let killed = self
                .kill_pod_with_result(Some(pod), &status.to_running_pod(), None)
                .await;
            let failed = !killed.is_ok();
            result.append(killed);
            if failed {
                return false;
            }
            if actions.create_sandbox {
                // Init containers of the old sandbox would be taken for those of the new one.
                for old in status.containers.iter().filter(|old| {
                    pod.spec
                        .init_containers
                        .iter()
                        .any(|init| init.name == old.name)
                }) {
                    if let Err(error) = self.remove_container(&old.id.id, false).await {
                        tracing::error!(container = %old.name, %error, "failed to remove pod init container");
                    }
                }
            }
            return true;
        }
        for kill in &actions.to_kill {
            let killed = self
                .kill_container(
                    Some(pod),
                    &kill.id,
                    &kill.name,
                    &kill.message,
                    kill.reason,
                    None,
                    None,
                )
                .await;
            let step = result.add(SyncAction::KillContainer, &kill.name);
            if let Err(error) = killed {
                step.error = Some(StartError::new("KillContainerError", error));
                return false;
            }
        }
        for reset in &actions.to_reset {
            if reset.kill {
                let killed = self
                    .kill_container(
                        Some(pod),
                        &reset.id,
                        &reset.name,
                        "killing",
                        super::actions::KillReason::RestartAllContainers,
                        Some(0),
                        None,
                    )
                    .await;
                if let Err(error) = killed {
                    result.add(SyncAction::RemoveContainer, &reset.name).error =
                        Some(StartError::new("KillContainerError", error));
                    return false;
                }
            }
            // Logs stay until the pod goes.
            let removed = self.remove_container(&reset.id.id, true).await;
            let step = result.add(SyncAction::RemoveContainer, &reset.name);
            if let Err(error) = removed {
                step.error = Some(StartError::new("RemoveContainerError", error));
                return false;
            }
        }
        true
    }

    /// Keeps only the newest ended init container of each name.
    async fn prune_init_containers(&self, pod: &Pod, status: &PodStatus) {
        for init in &pod.spec.init_containers {
            let ended = status.containers.iter().filter(|found| {
                found.name == init.name && matches!(found.state, State::Exited | State::Unknown)
            });
            for old in ended.skip(1) {
                if let Err(error) = self.remove_container(&old.id.id, false).await {
                    tracing::error!(container = %old.name, %error, "failed to remove pod init container");
                }
            }
        }
    }

    /// Makes a sandbox; answers its id and addresses, or nothing after recording the failure.
    async fn create_sandbox(
        &self,
        pod: &Pod,
        attempt: u32,
        result: &mut PodSyncResult,
    ) -> Option<(String, Vec<String>)> {
        self.metrics.started_pods.inc();
        let made = self.run_sandbox(pod, attempt).await;
        let step = result.add(SyncAction::CreatePodSandbox, &pod_desc(pod));
        let id = match made {
            Ok(id) => id,
            Err((error, message)) => {
                if self.helper.is_termination_requested(&pod.metadata.uid) {
                    // The pod went away meanwhile, and its network with it: no error to tell anybody.
                    return None;
                }
                self.metrics.started_pods_errors.inc();
                step.error = Some(StartError::new("CreatePodSandboxError", message));
                self.recorder.pod(
                    pod,
                    Kind::Warning,
                    "FailedCreatePodSandBox",
                    &format!("Failed to create pod sandbox: {error}"),
                );
                return None;
            }
        };
        match self.cri.pod_sandbox_status(&id).await {
            Ok(status) => Some((id, sandbox_ips(&sandbox_status(status)))),
            Err(error) => {
                self.recorder.pod(
                    pod,
                    Kind::Warning,
                    "FailedPodSandBoxStatus",
                    &format!("Unable to get pod sandbox status: {error}"),
                );
                result.error = Some(error.to_string());
                None
            }
        }
    }

    /// Error and message of a sandbox that could not be made.
    async fn run_sandbox(&self, pod: &Pod, attempt: u32) -> Result<String, (String, String)> {
        let desc = pod_desc(pod);
        let config = self.sandbox_config(pod, attempt).map_err(|error| {
            (
                error.clone(),
                format!("Failed to generate sandbox config for pod {desc:?}: {error}"),
            )
        })?;
        create_dir_all(std::path::Path::new(&config.log_directory), 0o755).map_err(|error| {
            (
                error.to_string(),
                format!("Failed to create log directory for pod {desc:?}: {error}"),
            )
        })?;
        let failed = |error: String| {
            (
                error.clone(),
                format!("Failed to create sandbox for pod {desc:?}: {error}"),
            )
        };
        let handler = self.helper.runtime_handler(pod).map_err(failed)?;
        self.cri
            .run_pod_sandbox(config, &handler)
            .await
            .map_err(|error| failed(error.to_string()))
    }

    /// Sandbox configuration of a pod.
    ///
    /// # Errors
    /// When the pod asks for something that does not exist.
    pub(crate) fn sandbox_config(
        &self,
        pod: &Pod,
        attempt: u32,
    ) -> Result<v1::PodSandboxConfig, String> {
        let metadata = &pod.metadata;
        let groups = self.helper.extra_supplemental_groups(pod);
        let user_namespace = self.helper.user_namespace(pod)?;
        let security = sandbox_security_context(
            pod,
            &SecurityDefaults {
                seccomp_root: &self.options.seccomp_root,
                seccomp_default: self.options.seccomp_default,
                extra_groups: &groups,
                user_namespace,
            },
        )?;
        let hostname = if pod.spec.host_network {
            String::new()
        } else {
            let (hostname, domain) = self.helper.hostname_and_domain(pod)?;
            kernel_hostname(
                &hostname,
                &domain,
                pod.spec.set_hostname_as_fqdn == Some(true),
            )?
        };
        // A slash separates as well as a dot in the API; runc knows the dot only.
        let sysctls = pod
            .spec
            .security_context
            .as_deref()
            .map(|context| context.sysctls.as_slice())
            .unwrap_or_default();
        Ok(v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: metadata.name.clone(),
                uid: metadata.uid.clone(),
                namespace: metadata.namespace.clone(),
                attempt,
            }),
            hostname,
            log_directory: self.pod_log_dir(pod).to_string_lossy().into_owned(),
            dns_config: Some(self.helper.pod_dns(pod)?),
            port_mappings: pod.spec.containers.iter().flat_map(port_mappings).collect(),
            labels: labels::pod_labels(pod),
            annotations: metadata.annotations.clone().into_iter().collect(),
            linux: Some(v1::LinuxPodSandboxConfig {
                cgroup_parent: self.helper.cgroup_parent(pod),
                security_context: Some(security),
                sysctls: sysctls
                    .iter()
                    .map(|sysctl| (dotted(&sysctl.name), sysctl.value.clone()))
                    .collect(),
                overhead: Some(self.options.resources.overhead(pod)),
                resources: Some(self.options.resources.sandbox(pod)),
            }),
            windows: None,
        })
    }

    /// Pulls the images that are mounted as volumes. A failure counts for the containers that mount it.
    async fn pull_image_volumes(
        &self,
        context: &StartContext<'_>,
    ) -> HashMap<String, Result<v1::ImageSpec, StartError>> {
        let mut pulled = HashMap::new();
        for volume in &context.pod.spec.volumes {
            let Some(image) = volume.volume_source.image.as_deref() else {
                continue;
            };
            let request = PullRequest {
                pod: context.pod,
                field: None,
                image: &image.reference,
                policy: &image.pull_policy,
                secrets: context.pull_secrets,
                sandbox_config: context.sandbox_config,
            };
            let outcome = self
                .images
                .ensure_image(&request)
                .await
                .map(|reference| v1::ImageSpec {
                    image: reference,
                    user_specified_image: image.reference.clone(),
                    annotations: context
                        .pod
                        .metadata
                        .annotations
                        .clone()
                        .into_iter()
                        .collect(),
                    ..Default::default()
                });
            pulled.insert(volume.name.clone(), outcome);
        }
        pulled
    }

    /// Starts one container unless it is backing off. Answers whether it started.
    async fn start(
        &self,
        context: &StartContext<'_>,
        spec: &StartSpec<'_>,
        backoff: &Backoff,
        image_volumes: &HashMap<String, Result<v1::ImageSpec, StartError>>,
        result: &mut PodSyncResult,
    ) -> bool {
        let container = spec.container;
        let outcome = async {
            self.back_off(context, spec, backoff)?;
            self.metrics
                .started_containers
                .with_label_values(&[spec.kind.metric_label()])
                .inc();
            let mut mounted = HashMap::new();
            for mount in &container.volume_mounts {
                match image_volumes.get(&mount.name) {
                    Some(Ok(image)) => {
                        mounted.insert(mount.name.clone(), image.clone());
                    }
                    Some(Err(error)) => {
                        let text = format!("Error: {}", error.reason);
                        self.container_event(
                            context.pod,
                            (&container.name, spec.kind),
                            "",
                            Kind::Warning,
                            "Failed",
                            &text,
                        );
                        return Err(error.clone());
                    }
                    None => {}
                }
            }
            self.start_container(context, spec, &mounted)
                .await
                .inspect_err(|error| {
                    self.metrics
                        .started_containers_errors
                        .with_label_values(&[spec.kind.metric_label(), error.reason])
                        .inc();
                })
        }
        .await;
        let step = result.add(SyncAction::StartContainer, &container.name);
        match outcome {
            Ok(()) => true,
            Err(error) => {
                tracing::info!(
                    pod = %context.pod.metadata.name, container = %container.name, reason = error.reason, message = %error.message,
                    "container start failed in pod"
                );
                step.error = Some(error);
                false
            }
        }
    }

    /// Refuses while the delay after the container's last end runs.
    fn back_off(
        &self,
        context: &StartContext<'_>,
        spec: &StartSpec<'_>,
        backoff: &Backoff,
    ) -> Result<(), StartError> {
        let (pod, container) = (context.pod, spec.container);
        let Some(ended) = context
            .status
            .containers
            .iter()
            .find(|status| status.name == container.name && status.state == State::Exited)
        else {
            return Ok(());
        };
        let since = ended.finished_at.unwrap_or(Timestamp::UNIX_EPOCH);
        let key = backoff_key(pod, container);
        let now = Timestamp::now();
        if backoff.is_in_backoff_since(&key, since, now) {
            let desc = pod_desc(pod);
            let text = format!(
                "Back-off restarting failed container {} in pod {desc}",
                container.name
            );
            self.container_event(
                pod,
                (&container.name, spec.kind),
                "",
                Kind::Warning,
                "BackOff",
                &text,
            );
            let delay = backoff.get(&key);
            let shown =
                apimachinery::duration::format(i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX));
            return Err(StartError {
                reason: "CrashLoopBackOff",
                message: format!(
                    "back-off {shown} restarting failed container={} pod={desc}",
                    container.name
                ),
                retry_at: Some(since + delay),
            });
        }
        backoff.next(&key, since, now);
        Ok(())
    }
}

/// Identifies a container for its delay; a changed image or changed resources start over.
pub(crate) fn backoff_key(pod: &Pod, container: &Container) -> String {
    let metadata = &pod.metadata;
    let mut text = [
        &metadata.name,
        &metadata.namespace,
        &metadata.uid,
        &container.name,
        &container.image,
    ]
    .map(String::as_str)
    .join("/");
    text.push('/');
    text.push_str(&String::from_utf8_lossy(&api_types::encode_json(
        &container.resources,
    )));
    format!("{:x}", apimachinery::hash::fnv64a(text.as_bytes()))
}

/// Host ports of a container; those without a host port are not mapped.
fn port_mappings(container: &Container) -> Vec<v1::PortMapping> {
    let mut seen = Vec::new();
    container
        .ports
        .iter()
        .filter(|port| port.host_port != 0)
        .filter(|port| {
            let key = (port.protocol.clone(), port.host_ip.clone(), port.host_port);
            let new = !seen.contains(&key);
            seen.push(key);
            new
        })
        .map(|port| v1::PortMapping {
            protocol: match port.protocol.as_str() {
                "UDP" => v1::Protocol::Udp,
                "SCTP" => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            }
            .into(),
            container_port: port.container_port,
            host_port: port.host_port,
            host_ip: port.host_ip.clone(),
        })
        .collect()
}

/// The name the kernel gets: 64 bytes at most.
fn kernel_hostname(hostname: &str, domain: &str, fqdn: bool) -> Result<String, String> {
    const MAX: usize = 64;
    if !fqdn || domain.is_empty() {
        return Ok(hostname.to_owned());
    }
    let full = format!("{hostname}.{domain}");
    if full.len() > MAX {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({MAX} characters is the max, {} characters requested)",
            full.len()
        ));
    }
    Ok(full)
}

/// A sysctl name with dots between its parts, whichever separator came first in the name.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::ContainerPort;

    use super::*;

    #[test]
    fn sysctl_names() {
        for (name, want) in [
            ("kernel.shm_rmid_forced", "kernel.shm_rmid_forced"),
            ("kernel/shm_rmid_forced", "kernel.shm_rmid_forced"),
            (
                "net.ipv4.conf.eno2/100.rp_filter",
                "net.ipv4.conf.eno2/100.rp_filter",
            ),
            (
                "net/ipv4/conf/eno2.100/rp_filter",
                "net.ipv4.conf.eno2/100.rp_filter",
            ),
        ] {
            assert_eq!(dotted(name), want);
        }
    }

    #[test]
    fn kernel_names() {
        assert_eq!(
            kernel_hostname("web", "sub.ns.svc.cluster.local", false).expect("name"),
            "web"
        );
        assert_eq!(
            kernel_hostname("web", "sub.ns.svc.cluster.local", true).expect("name"),
            "web.sub.ns.svc.cluster.local"
        );
        assert!(
            kernel_hostname(&"x".repeat(61), "sub", true)
                .expect_err("too long")
                .contains("is too long")
        );
    }

    #[test]
    fn host_ports() {
        let port = |host_port, protocol: &str| ContainerPort {
            container_port: 80,
            host_port,
            protocol: protocol.to_owned(),
            ..Default::default()
        };
        let container = Container {
            ports: vec![
                port(0, "TCP"),
                port(8080, "TCP"),
                port(8080, "TCP"),
                port(8080, "UDP"),
            ],
            ..Default::default()
        };
        let mapped = port_mappings(&container);
        assert_eq!(mapped.len(), 2);
        assert_eq!(
            (mapped[0].host_port, mapped[1].protocol),
            (8080, i32::from(v1::Protocol::Udp))
        );
    }

    #[test]
    fn backoff_keys_follow_the_image() {
        let pod = Pod::default();
        let one = Container {
            name: "c".to_owned(),
            image: "a".to_owned(),
            ..Default::default()
        };
        let other = Container {
            image: "b".to_owned(),
            ..one.clone()
        };
        assert_eq!(backoff_key(&pod, &one), backoff_key(&pod, &one.clone()));
        assert_ne!(backoff_key(&pod, &one), backoff_key(&pod, &other));
    }
}
