//! The status of a pod as the API shows it. Upstream: `generateAPIPodStatus` in `kubelet_pods.go`.

use api_types::core::v1::{Container, HostIP, Pod, PodIP, PodStatus, ResourceRequirements};

use super::Kubelet;
use crate::cm::PodCgroupResources;
use crate::container::{
    self, all_containers_could_restart, as_container, has_any_active_regular_container_started,
    should_all_containers_restart,
};
use crate::events::Kind;
use crate::pod_resources::{pod_level_status, qos_class, running_pod_level_status};
use crate::status::conditions;
use crate::status::containers::{StatusInputs, container_statuses};
use crate::status::phase::pod_phase;

fn is_terminal(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

impl Kubelet {
    /// Computes the status from the runtime's. `terminal`: the pod has been stopped for good.
    pub(super) fn api_status(
        &self,
        pod: &Pod,
        status: &container::PodStatus,
        terminal: bool,
    ) -> PodStatus {
        let old = self
            .status
            .get(&pod.metadata.uid)
            .unwrap_or_else(|| pod.status.clone());
        let mut new = self.converted_status(pod, status, &old);
        let all: Vec<_> = new
            .container_statuses
            .iter()
            .chain(&new.init_container_statuses)
            .cloned()
            .collect();
        let initialized = has_any_active_regular_container_started(&pod.spec, status);
        new.phase = pod_phase(pod, &all, terminal, initialized).to_owned();
        // Once over, always over.
        if !is_terminal(&new.phase) {
            if is_terminal(&old.phase) {
                new.phase.clone_from(&old.phase);
            } else if is_terminal(&pod.status.phase) {
                new.phase.clone_from(&pod.status.phase);
            }
        }
        if new.phase == old.phase {
            new.reason.clone_from(&old.reason);
            new.message.clone_from(&old.message);
            if new.reason.is_empty() {
                new.reason.clone_from(&pod.status.reason);
            }
            if new.message.is_empty() {
                new.message.clone_from(&pod.status.message);
            }
        }
        if let Some(message) = self.exceeds_active_deadline(pod, &new) {
            new.phase = "Failed".to_owned();
            let reason = "DeadlineExceeded";
            self.recorder.pod(pod, Kind::Normal, reason, &message);
            new.reason = reason.to_owned();
            new.message = message;
        }
        if is_terminal(&pod.status.phase) && new.phase != pod.status.phase {
            tracing::error!(pod = %pod.metadata.name, from = %pod.status.phase, to = %new.phase, "Pod attempted illegal phase transition");
            new.phase.clone_from(&pod.status.phase);
        }
        self.probes.update_pod_status(pod, &mut new);

        new.conditions = pod
            .status
            .conditions
            .iter()
            .filter(|condition| !conditions::is_owned(&condition.type_))
            .cloned()
            .collect();
        if terminal {
            self.status.resize.clear_pending(&pod.metadata.uid);
            self.status.resize.clear_in_progress(&pod.metadata.uid);
        }
        new.conditions
            .extend(self.status.resize.list(&pod.metadata.uid));
        if let Some(target) = conditions::find_condition(&old.conditions, "DisruptionTarget") {
            new.conditions
                .retain(|condition| condition.type_ != "DisruptionTarget");
            new.conditions.push(target.clone());
        }
        let all: Vec<_> = new
            .init_container_statuses
            .iter()
            .chain(&new.container_statuses)
            .cloned()
            .collect();
        new.conditions
            .push(conditions::ready_to_start_containers(pod, status));
        new.conditions
            .push(conditions::initialized(pod, &old, &all, &new.phase));
        let ready = conditions::pod_ready(pod, &new.conditions, &all, &new.phase);
        new.conditions.push(ready);
        new.conditions
            .push(conditions::containers_ready(pod, &all, &new.phase));
        new.conditions.push(conditions::scheduled(pod));
        if all_containers_could_restart(&pod.spec) {
            new.conditions.push(conditions::all_containers_restarting(
                pod, status, &old, &new.phase,
            ));
        }

        if self.has_api_server {
            let ips = self.options.node.host_ips();
            if let Some(first) = ips.first() {
                new.host_ip.clone_from(first);
                new.host_ips = ips
                    .iter()
                    .take(2)
                    .map(|ip| HostIP { ip: ip.clone() })
                    .collect();
                if pod.spec.host_network {
                    if new.pod_ip.is_empty() {
                        new.pod_ip.clone_from(first);
                        new.pod_ips = vec![PodIP { ip: first.clone() }];
                    }
                    if let (Some(second), [only]) = (ips.get(1), new.pod_ips.as_slice())
                        && only.ip.contains(':') != second.contains(':')
                    {
                        new.pod_ips.push(PodIP { ip: second.clone() });
                    }
                }
            }
        }
        new
    }

    fn converted_status(
        &self,
        pod: &Pod,
        status: &container::PodStatus,
        old: &PodStatus,
    ) -> PodStatus {
        let mut new = PodStatus {
            qos_class: qos_class(pod).as_str().to_owned(),
            ..Default::default()
        };
        new.pod_ips = self
            .options
            .sort_pod_ips(&status.ips)
            .into_iter()
            .map(|ip| PodIP { ip })
            .collect();
        new.pod_ip = new
            .pod_ips
            .first()
            .map(|ip| ip.ip.clone())
            .unwrap_or_default();
        let uid = pod.metadata.uid.clone();
        let inputs = StatusInputs {
            status,
            reason: &|name| self.reasons.get(&uid, name),
            recursive_read_only: self.options.supports_recursive_read_only(pod),
            restarting_all: should_all_containers_restart(pod, status, old),
        };
        new.container_statuses = container_statuses(
            pod,
            &pod.spec.containers,
            &old.container_statuses,
            &inputs,
            false,
        );
        new.init_container_statuses = container_statuses(
            pod,
            &pod.spec.init_containers,
            &old.init_container_statuses,
            &inputs,
            true,
        );
        let ephemeral: Vec<Container> = pod
            .spec
            .ephemeral_containers
            .iter()
            .map(as_container)
            .collect();
        new.ephemeral_container_statuses = container_statuses(
            pod,
            &ephemeral,
            &old.ephemeral_container_statuses,
            &inputs,
            false,
        );
        new.allocated_resources = crate::pod_resources::requests_as_quantities(pod);
        new.resources = Some(Box::new(self.pod_level_resources(pod, old)));
        new
    }

    /// What the pod's cgroup has, for a pod that runs; what was asked for otherwise.
    fn pod_level_resources(&self, pod: &Pod, old: &PodStatus) -> ResourceRequirements {
        if pod.status.phase != "Running" {
            return pod_level_status(pod);
        }
        let actual = self
            .options
            .cm
            .pod_resources(pod)
            .unwrap_or_else(|error| {
                tracing::error!(%error, pod = %pod.metadata.name, "failed to read cgroup config for the pod");
                PodCgroupResources::default()
            });
        let before = (old.phase == "Running")
            .then_some(old.resources.as_deref())
            .flatten();
        running_pod_level_status(pod, &actual, before)
    }

    /// Whether the pod ran longer than it may.
    pub(super) fn exceeds_active_deadline(&self, pod: &Pod, status: &PodStatus) -> Option<String> {
        let limit = pod.spec.active_deadline_seconds?;
        let known = self.status.get(&pod.metadata.uid);
        let start = known
            .and_then(|known| known.start_time)
            .or(status.start_time)
            .or(pod.status.start_time)?;
        if start.is_zero() {
            return None;
        }
        let age = jiff::Timestamp::now()
            .duration_since(start.timestamp())
            .as_secs();
        (age >= limit)
            .then(|| "Pod was active on the node longer than the specified deadline".to_owned())
    }
}
