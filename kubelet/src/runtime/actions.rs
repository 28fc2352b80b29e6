//! What must happen to a pod's sandbox and containers: a pure comparison of spec and runtime state.
//!
//! Upstream: `computePodActions` and `computeInitContainerActions` in `kuberuntime_manager.go` and `kuberuntime_container.go`.

use api_types::core::v1::{Container, Pod};

use super::resize::{ResizeActions, compare_container, pod_level_differs};
use crate::allocation::{PodResources, ResizeFeatures};
use crate::container::{
    ContainerId, PodStatus, State, Status, container_should_restart, find_matching_restart_rule,
    has_any_regular_container_created, hash_container, is_sidecar, should_container_be_restarted,
};
use crate::prober::results::{ProbeResult, ResultsManager};

/// Why a container is killed; it decides which grace period applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// Its startup probe failed.
    StartupProbe,
    /// Its liveness probe failed.
    LivenessProbe,
    /// Its postStart hook failed.
    FailedPostStartHook,
    /// All containers of the pod restart.
    RestartAllContainers,
    /// Anything else.
    Other,
}

/// A container to kill before anything starts.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerToKill {
    /// Which.
    pub id: ContainerId,
    /// Its name in the spec.
    pub name: String,
    /// Text of the Killing event.
    pub message: String,
    /// Why.
    pub reason: KillReason,
}

/// A container to remove because the whole pod restarts in place.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerToReset {
    /// Which.
    pub id: ContainerId,
    /// Its name in the spec.
    pub name: String,
    /// Whether it may still run.
    pub kill: bool,
}

/// The actions, in the order in which they are taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodActions {
    /// Stop everything, the sandbox too.
    pub kill_pod: bool,
    /// Make a new sandbox.
    pub create_sandbox: bool,
    /// The sandbox in use, or the newest one when it is to be replaced.
    pub sandbox_id: String,
    /// Number of the sandbox.
    pub attempt: u32,
    /// Containers to kill.
    pub to_kill: Vec<ContainerToKill>,
    /// Containers to remove, in order, when all containers restart.
    pub to_reset: Vec<ContainerToReset>,
    /// Indexes into `spec.ephemeralContainers`.
    pub ephemeral_to_start: Vec<usize>,
    /// Indexes into `spec.initContainers`, in order.
    pub init_to_start: Vec<usize>,
    /// Indexes into `spec.containers`.
    pub to_start: Vec<usize>,
    /// Other resources for what runs.
    pub resize: ResizeActions,
}

/// What the decision depends on besides spec and runtime state.
pub struct ActionInputs<'a> {
    /// Liveness results.
    pub liveness: &'a ResultsManager,
    /// Startup results.
    pub startup: &'a ResultsManager,
    /// A container ended in a way that restarts all.
    pub restart_all: bool,
    /// The resources in effect, as far as they were noted.
    pub actuated: Option<&'a PodResources>,
    /// What may be resized.
    pub resize: ResizeFeatures,
}

/// Has a running container get what it was granted. Answers whether it may run on, with other resources if need be.
fn resize_container(
    pod: &Pod,
    container: &Container,
    found: &Status,
    inputs: &ActionInputs<'_>,
    actions: &mut PodActions,
) -> bool {
    let restart = compare_container(
        pod,
        container,
        &found.id,
        inputs.actuated,
        inputs.resize,
        &mut actions.resize,
    );
    if restart {
        actions.to_kill.push(ContainerToKill {
            id: found.id.clone(),
            name: found.name.clone(),
            message: format!("Container {} resize requires restart", container.name),
            reason: KillReason::Other,
        });
    }
    !restart
}

/// Whether the pod needs a new sandbox, its number, and the id of the one at hand.
#[must_use]
pub fn pod_sandbox_changed(pod: &Pod, status: &PodStatus) -> (bool, u32, String) {
    let Some(newest) = status.sandboxes.first() else {
        return (true, 0, String::new());
    };
    let ready = status
        .sandboxes
        .iter()
        .filter(|sandbox| sandbox.ready)
        .count();
    if ready > 1 || !newest.ready {
        return (true, newest.attempt + 1, newest.id.clone());
    }
    if newest.host_network != pod.spec.host_network {
        return (true, newest.attempt + 1, String::new());
    }
    if !pod.spec.host_network && newest.ip.as_deref() == Some("") {
        return (true, newest.attempt + 1, newest.id.clone());
    }
    (false, newest.attempt, newest.id.clone())
}

fn should_restart_on_failure(pod: &Pod) -> bool {
    pod.spec.restart_policy != "Never"
}

fn changed(container: &Container, status: &Status) -> bool {
    hash_container(container) != status.hash
}

/// Whether an init container's end, or its state, counts as a failure.
#[must_use]
pub fn is_init_container_failed(status: &Status) -> bool {
    status.reason == "OOMKilled"
        || (status.state == State::Exited && status.exit_code != 0)
        || status.state == State::Unknown
}

/// Compares and decides.
#[must_use]
pub fn compute_pod_actions(pod: &Pod, status: &PodStatus, inputs: &ActionInputs<'_>) -> PodActions {
    let (create_sandbox, attempt, sandbox_id) = pod_sandbox_changed(pod, status);
    let mut actions = PodActions {
        kill_pod: create_sandbox,
        create_sandbox,
        sandbox_id,
        attempt,
        ..Default::default()
    };

    if inputs.restart_all {
        // The containers whose end caused the restart go last: while they are there, the cause can be seen again.
        let (init_sources, init_others) = containers_to_reset(&pod.spec.init_containers, status);
        let (sources, others) = containers_to_reset(&pod.spec.containers, status);
        actions.to_reset = [others, init_others, sources, init_sources].concat();
        return actions;
    }

    if create_sandbox {
        return with_new_sandbox(pod, status, actions);
    }

    for (index, container) in pod.spec.ephemeral_containers.iter().enumerate() {
        if status
            .find_container(&container.ephemeral_container_common.name)
            .is_none()
        {
            actions.ephemeral_to_start.push(index);
        }
    }

    let initialized = compute_init_container_actions(pod, status, inputs, &mut actions);
    if actions.kill_pod || !initialized {
        return actions;
    }

    let mut keep = 0;
    for (index, container) in pod.spec.containers.iter().enumerate() {
        let found = status.find_container(&container.name);
        let running = match found {
            Some(found) if found.state == State::Running => found,
            _ => {
                if should_container_be_restarted(container, pod, status) {
                    actions.to_start.push(index);
                    if let Some(found) = found.filter(|found| found.state == State::Unknown) {
                        // It may run after all: two of the same would be worse than a needless kill.
                        actions.to_kill.push(ContainerToKill {
                            id: found.id.clone(),
                            name: found.name.clone(),
                            message: format!(
                                "Container is in \"{}\" state, try killing it before restart",
                                found.state
                            ),
                            reason: KillReason::Other,
                        });
                    }
                }
                continue;
            }
        };
        let mut restart = match container.restart_policy.as_deref() {
            Some(policy) => policy != "Never",
            None => should_restart_on_failure(pod),
        };
        let (mut message, reason) = if changed(container, running) {
            restart = true;
            (
                format!("Container {} definition changed", container.name),
                KillReason::Other,
            )
        } else if inputs.liveness.get(&running.id) == Some(ProbeResult::Failure) {
            (
                format!("Container {} failed liveness probe", container.name),
                KillReason::LivenessProbe,
            )
        } else if inputs.startup.get(&running.id) == Some(ProbeResult::Failure) {
            (
                format!("Container {} failed startup probe", container.name),
                KillReason::StartupProbe,
            )
        } else if resize_container(pod, container, running, inputs, &mut actions) {
            keep += 1;
            continue;
        } else {
            actions.to_start.push(index);
            continue;
        };
        if restart {
            message.push_str(", will be restarted");
            actions.to_start.push(index);
        }
        actions.to_kill.push(ContainerToKill {
            id: running.id.clone(),
            name: running.name.clone(),
            message,
            reason,
        });
    }

    if keep == 0 && actions.to_start.is_empty() {
        actions.kill_pod = true;
        // Sidecars must not keep a finished pod alive.
        actions.init_to_start.clear();
    }
    actions.resize.pod_level = pod_level_differs(pod, inputs.actuated, inputs.resize);
    actions
}

fn with_new_sandbox(pod: &Pod, status: &PodStatus, mut actions: PodActions) -> PodActions {
    if !should_restart_on_failure(pod) && actions.attempt != 0 && !status.containers.is_empty() {
        // The pod ran and may not run again.
        actions.create_sandbox = false;
        return actions;
    }
    let to_start: Vec<usize> = pod
        .spec
        .containers
        .iter()
        .enumerate()
        .filter(|(_, container)| {
            let run_once = match container.restart_policy.as_deref() {
                Some(policy) => policy == "OnFailure",
                None => pod.spec.restart_policy == "OnFailure",
            };
            let succeeded = status
                .find_container(&container.name)
                .is_some_and(|found| found.state == State::Exited && found.exit_code == 0);
            !(run_once && succeeded)
        })
        .map(|(index, _)| index)
        .collect();
    if to_start.is_empty() && has_any_regular_container_created(&pod.spec, status) {
        actions.create_sandbox = false;
        return actions;
    }
    if pod.spec.init_containers.is_empty() {
        actions.to_start = to_start;
    } else {
        // A new sandbox starts from the beginning.
        actions.init_to_start = vec![0];
    }
    actions
}

fn containers_to_reset(
    containers: &[Container],
    status: &PodStatus,
) -> (Vec<ContainerToReset>, Vec<ContainerToReset>) {
    let (mut sources, mut others) = (Vec::new(), Vec::new());
    for container in containers {
        for found in status
            .containers
            .iter()
            .filter(|found| found.name == container.name)
        {
            let mut reset = ContainerToReset {
                id: found.id.clone(),
                name: container.name.clone(),
                kill: false,
            };
            if found.state == State::Exited {
                let source = find_matching_restart_rule(container, found.exit_code)
                    .is_some_and(|rule| rule.action == "RestartAllContainers");
                if source {
                    sources.push(reset)
                } else {
                    others.push(reset)
                }
            } else {
                reset.kill = true;
                others.push(reset);
            }
        }
    }
    (sources, others)
}

/// Decides about init containers and sidecars; answers whether the regular containers may run.
///
/// The walk goes backwards, because finished init containers may be gone from the runtime: the last one that is there tells
/// how far the pod got.
fn compute_init_container_actions(
    pod: &Pod,
    status: &PodStatus,
    inputs: &ActionInputs<'_>,
    actions: &mut PodActions,
) -> bool {
    let containers = &pod.spec.init_containers;
    if containers.is_empty() {
        return true;
    }
    // A regular container that was made in this sandbox means that all init containers are done. One that exited does not:
    // it may be left over from the sandbox before.
    let mut pod_initialized = pod.spec.containers.iter().any(|container| {
        status
            .find_container(&container.name)
            .is_some_and(|found| matches!(found.state, State::Created | State::Running))
    });
    let mut previously_initialized = pod_initialized;
    let last = containers.len() - 1;

    for (index, container) in containers.iter().enumerate().rev() {
        let sidecar = is_sidecar(container);
        let Some(found) = status.find_container(&container.name) else {
            if previously_initialized && sidecar {
                actions.init_to_start.push(index);
            }
            continue;
        };
        if previously_initialized && !sidecar {
            continue;
        }
        let kill = |message: String, reason: KillReason| ContainerToKill {
            id: found.id.clone(),
            name: container.name.clone(),
            message,
            reason,
        };
        match found.state {
            // The runtime made it but could not start it.
            State::Created => actions.init_to_start.push(index),
            State::Running if !sidecar => {
                // The API has no resize policy for these: they never restart for it.
                if inputs.resize.init_containers {
                    resize_container(pod, container, found, inputs, actions);
                }
            }
            State::Running => {
                let started = match &container.startup_probe {
                    None => true,
                    Some(_) => match inputs.startup.get(&found.id) {
                        Some(ProbeResult::Success) => true,
                        Some(ProbeResult::Failure) => {
                            actions.to_kill.push(kill(
                                format!("Init container {} failed startup probe", container.name),
                                KillReason::StartupProbe,
                            ));
                            actions.init_to_start.push(index);
                            false
                        }
                        _ => false,
                    },
                };
                if started {
                    if index == last {
                        pod_initialized = true;
                    } else if !previously_initialized {
                        actions.init_to_start.push(index + 1);
                    }
                    if changed(container, found) {
                        actions.to_kill.push(kill(
                            format!("Init container {} definition changed", container.name),
                            KillReason::Other,
                        ));
                        actions.init_to_start.push(index);
                    } else if container.liveness_probe.is_some()
                        && inputs.liveness.get(&found.id) == Some(ProbeResult::Failure)
                    {
                        actions.to_kill.push(kill(
                            format!("Init container {} failed liveness probe", container.name),
                            KillReason::LivenessProbe,
                        ));
                        actions.init_to_start.push(index);
                    } else if (container.liveness_probe.is_none()
                        || inputs.liveness.get(&found.id).is_some())
                        && !resize_container(pod, container, found, inputs, actions)
                    {
                        actions.init_to_start.push(index);
                    }
                }
            }
            State::Exited if sidecar => actions.init_to_start.push(index),
            State::Exited => {
                if is_init_container_failed(found) {
                    if pod.metadata.deletion_timestamp.is_some()
                        || !container_should_restart(container, &pod.spec, found.exit_code)
                    {
                        actions.kill_pod = true;
                        actions.init_to_start.clear();
                        return false;
                    }
                    actions.init_to_start.push(index);
                } else if index == last {
                    pod_initialized = true;
                } else {
                    actions.init_to_start.push(index + 1);
                }
            }
            State::Unknown => {
                let restart = sidecar
                    || match container.restart_policy.as_deref() {
                        Some(policy) => policy != "Never",
                        None => should_restart_on_failure(pod),
                    };
                if !restart {
                    actions.kill_pod = true;
                    actions.init_to_start.clear();
                    return false;
                }
                actions.to_kill.push(kill(
                    format!(
                        "Init container is in \"{}\" state, try killing it before restart",
                        found.state
                    ),
                    KillReason::Other,
                ));
                actions.init_to_start.push(index);
            }
        }
        previously_initialized = true;
    }

    if !previously_initialized {
        actions.init_to_start.push(0);
    }
    // Found backwards, started forwards.
    actions.init_to_start.reverse();
    pod_initialized
}

#[cfg(test)]
mod tests;
