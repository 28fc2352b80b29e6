//! Pod conditions the kubelet owns, computed from spec and container statuses.
//!
//! Upstream: `pkg/kubelet/status/generate.go`. Pure functions; transition times are set by the manager.

use api_types::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};

use crate::container::{
    self, all_containers_restart_cleaned_up, is_sidecar, should_all_containers_restart,
};
use crate::runtime::actions::pod_sandbox_changed;

/// Conditions only the kubelet writes.
pub const OWNED: [&str; 8] = [
    "PodScheduled",
    "Ready",
    "Initialized",
    "ContainersReady",
    "PodReadyToStartContainers",
    "PodResizePending",
    "PodResizeInProgress",
    "AllContainersRestarting",
];

/// Whether the kubelet alone writes this condition.
#[must_use]
pub fn is_owned(condition_type: &str) -> bool {
    OWNED.contains(&condition_type)
}

fn condition(pod: &Pod, type_: &str, status: bool, reason: &str, message: String) -> PodCondition {
    PodCondition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: pod.metadata.generation,
        ..Default::default()
    }
}

/// A list as Go prints it: `[a b]`.
fn go_list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == name)
}

/// The condition of that type.
#[must_use]
pub fn find_condition<'a>(conditions: &'a [PodCondition], type_: &str) -> Option<&'a PodCondition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// ContainersReady of a pod that ended.
#[must_use]
pub fn terminal(pod: &Pod, type_: &str, phase: &str) -> PodCondition {
    condition(
        pod,
        type_,
        false,
        if phase == "Failed" {
            "PodFailed"
        } else {
            "PodCompleted"
        },
        String::new(),
    )
}

/// ContainersReady.
#[must_use]
pub fn containers_ready(pod: &Pod, statuses: &[ContainerStatus], phase: &str) -> PodCondition {
    const TYPE: &str = "ContainersReady";
    if statuses.is_empty() && !pod.spec.containers.is_empty() {
        return condition(pod, TYPE, false, "UnknownContainerStatuses", String::new());
    }
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let sidecars = pod
        .spec
        .init_containers
        .iter()
        .filter(|container| is_sidecar(container));
    for container in sidecars.chain(&pod.spec.containers) {
        match find(statuses, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if (phase == "Succeeded" && unknown.is_empty()) || phase == "Failed" {
        return terminal(pod, TYPE, phase);
    }
    let mut messages = Vec::new();
    if !unknown.is_empty() {
        messages.push(format!(
            "containers with unknown status: {}",
            go_list(&unknown)
        ));
    }
    if !unready.is_empty() {
        messages.push(format!(
            "containers with unready status: {}",
            go_list(&unready)
        ));
    }
    if messages.is_empty() {
        condition(pod, TYPE, true, "", String::new())
    } else {
        condition(pod, TYPE, false, "ContainersNotReady", messages.join(", "))
    }
}

/// Ready: all containers are, and so are the pod's readiness gates.
#[must_use]
pub fn pod_ready(
    pod: &Pod,
    conditions: &[PodCondition],
    statuses: &[ContainerStatus],
    phase: &str,
) -> PodCondition {
    let containers = containers_ready(pod, statuses, phase);
    if containers.status != "True" {
        return PodCondition {
            type_: "Ready".to_owned(),
            ..containers
        };
    }
    let mut messages = Vec::new();
    for gate in &pod.spec.readiness_gates {
        match find_condition(conditions, &gate.condition_type) {
            None => messages.push(format!(
                "corresponding condition of pod readiness gate {:?} does not exist.",
                gate.condition_type
            )),
            Some(found) if found.status != "True" => messages.push(format!(
                "the status of pod readiness gate {:?} is not \"True\", but {}",
                gate.condition_type, found.status
            )),
            Some(_) => {}
        }
    }
    if messages.is_empty() {
        condition(pod, "Ready", true, "", String::new())
    } else {
        condition(
            pod,
            "Ready",
            false,
            "ReadinessGatesNotReady",
            messages.join(", "),
        )
    }
}

/// Initialized.
#[must_use]
pub fn initialized(
    pod: &Pod,
    old: &PodStatus,
    statuses: &[ContainerStatus],
    phase: &str,
) -> PodCondition {
    const TYPE: &str = "Initialized";
    if statuses.is_empty() && !pod.spec.init_containers.is_empty() {
        return condition(pod, TYPE, false, "UnknownContainerStatuses", String::new());
    }
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for init in &pod.spec.init_containers {
        match find(statuses, &init.name) {
            None => unknown.push(init.name.as_str()),
            Some(status) => {
                let done = if is_sidecar(init) {
                    status.started == Some(true)
                } else {
                    status.ready
                };
                if !done {
                    incomplete.push(init.name.as_str());
                }
            }
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return condition(pod, TYPE, true, "PodCompleted", String::new());
    }
    // A regular container that started proves that all init containers were done, even if they ran again since.
    let started = |status: &ContainerStatus| {
        status.state.running.is_some()
            || status.state.terminated.is_some()
            || status.last_state.terminated.is_some()
    };
    if pod
        .spec
        .containers
        .iter()
        .any(|container| find(statuses, &container.name).is_some_and(started))
    {
        return condition(pod, TYPE, true, "", String::new());
    }
    let mut messages = Vec::new();
    if !unknown.is_empty() {
        messages.push(format!(
            "containers with unknown status: {}",
            go_list(&unknown)
        ));
    }
    if !incomplete.is_empty() {
        messages.push(format!(
            "containers with incomplete status: {}",
            go_list(&incomplete)
        ));
    }
    if messages.is_empty()
        || find_condition(&old.conditions, TYPE).is_some_and(|condition| condition.status == "True")
    {
        return condition(pod, TYPE, true, "", String::new());
    }
    condition(
        pod,
        TYPE,
        false,
        "ContainersNotInitialized",
        messages.join(", "),
    )
}

/// PodReadyToStartContainers: the sandbox is there, with its network.
#[must_use]
pub fn ready_to_start_containers(pod: &Pod, status: &container::PodStatus) -> PodCondition {
    let (needs_sandbox, _, _) = pod_sandbox_changed(pod, status);
    condition(
        pod,
        "PodReadyToStartContainers",
        !needs_sandbox,
        "",
        String::new(),
    )
}

/// PodScheduled: a pod that is here was.
#[must_use]
pub fn scheduled(pod: &Pod) -> PodCondition {
    condition(pod, "PodScheduled", true, "", String::new())
}

/// AllContainersRestarting, for pods with such a rule.
#[must_use]
pub fn all_containers_restarting(
    pod: &Pod,
    status: &container::PodStatus,
    old: &PodStatus,
    phase: &str,
) -> PodCondition {
    const TYPE: &str = "AllContainersRestarting";
    let mut made = match phase {
        "Succeeded" => condition(pod, TYPE, false, "PodCompleted", String::new()),
        "Failed" => condition(pod, TYPE, false, "PodFailed", String::new()),
        _ if should_all_containers_restart(pod, status, old)
            && !all_containers_restart_cleaned_up(pod, status) =>
        {
            let message = "container exited with restart policy rule".to_owned();
            condition(pod, TYPE, true, "RestartAllContainersStarted", message)
        }
        _ => condition(pod, TYPE, false, "", String::new()),
    };
    made.observed_generation = 0;
    made
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{Container, ContainerState, ContainerStateRunning, PodReadinessGate};

    use super::*;

    fn pod(init: &[(&str, bool)], regular: &[&str]) -> Pod {
        let mut pod = Pod::default();
        pod.spec.containers = regular
            .iter()
            .map(|name| Container {
                name: (*name).into(),
                ..Default::default()
            })
            .collect();
        pod.spec.init_containers = init
            .iter()
            .map(|(name, sidecar)| Container {
                name: (*name).into(),
                restart_policy: sidecar.then(|| "Always".into()),
                ..Default::default()
            })
            .collect();
        pod
    }

    fn ready(name: &str, ready: bool) -> ContainerStatus {
        ContainerStatus {
            name: name.into(),
            ready,
            ..Default::default()
        }
    }

    fn running(name: &str) -> ContainerStatus {
        ContainerStatus {
            state: ContainerState {
                running: Some(Box::new(ContainerStateRunning::default())),
                ..Default::default()
            },
            ..ready(name, true)
        }
    }

    #[track_caller]
    fn check(got: PodCondition, status: &str, reason: &str, message: &str) {
        assert_eq!(
            (
                got.status.as_str(),
                got.reason.as_str(),
                got.message.as_str()
            ),
            (status, reason, message)
        );
    }

    #[test]
    fn containers() {
        let two = pod(&[], &["1", "2"]);
        check(
            containers_ready(&two, &[], "Running"),
            "False",
            "UnknownContainerStatuses",
            "",
        );
        check(
            containers_ready(&pod(&[], &[]), &[], "Running"),
            "True",
            "",
            "",
        );
        check(
            containers_ready(&two, &[ready("1", true), ready("2", true)], "Running"),
            "True",
            "",
            "",
        );
        check(
            containers_ready(&two, &[ready("1", true)], "Running"),
            "False",
            "ContainersNotReady",
            "containers with unknown status: [2]",
        );
        check(
            containers_ready(&two, &[ready("1", false), ready("2", false)], "Running"),
            "False",
            "ContainersNotReady",
            "containers with unready status: [1 2]",
        );
        check(
            containers_ready(&two, &[ready("1", false), ready("2", false)], "Succeeded"),
            "False",
            "PodCompleted",
            "",
        );
        check(
            containers_ready(&two, &[ready("1", false)], "Failed"),
            "False",
            "PodFailed",
            "",
        );
        let with_sidecar = pod(&[("side", true), ("init", false)], &["1"]);
        check(
            containers_ready(
                &with_sidecar,
                &[ready("side", false), ready("1", true)],
                "Running",
            ),
            "False",
            "ContainersNotReady",
            "containers with unready status: [side]",
        );
    }

    #[test]
    fn readiness_gates() {
        let mut gated = pod(&[], &["1"]);
        gated.spec.readiness_gates = vec![PodReadinessGate {
            condition_type: "gate".into(),
        }];
        let statuses = [ready("1", true)];
        check(
            pod_ready(&gated, &[], &statuses, "Running"),
            "False",
            "ReadinessGatesNotReady",
            "corresponding condition of pod readiness gate \"gate\" does not exist.",
        );
        let condition = |status: &str| PodCondition {
            type_: "gate".into(),
            status: status.into(),
            ..Default::default()
        };
        check(
            pod_ready(&gated, &[condition("False")], &statuses, "Running"),
            "False",
            "ReadinessGatesNotReady",
            "the status of pod readiness gate \"gate\" is not \"True\", but False",
        );
        check(
            pod_ready(&gated, &[condition("True")], &statuses, "Running"),
            "True",
            "",
            "",
        );
    }

    #[test]
    fn init_containers() {
        let old = PodStatus::default();
        let plain = pod(&[("i1", false), ("i2", false)], &["1"]);
        check(
            initialized(&plain, &old, &[], "Pending"),
            "False",
            "UnknownContainerStatuses",
            "",
        );
        check(
            initialized(
                &plain,
                &old,
                &[ready("i1", true), ready("i2", false)],
                "Pending",
            ),
            "False",
            "ContainersNotInitialized",
            "containers with incomplete status: [i2]",
        );
        check(
            initialized(
                &plain,
                &old,
                &[ready("i1", true), ready("i2", true)],
                "Pending",
            ),
            "True",
            "",
            "",
        );
        check(
            initialized(
                &plain,
                &old,
                &[ready("i1", false), ready("i2", false), running("1")],
                "Running",
            ),
            "True",
            "",
            "",
        );
        check(
            initialized(
                &plain,
                &old,
                &[ready("i1", true), ready("i2", true)],
                "Succeeded",
            ),
            "True",
            "PodCompleted",
            "",
        );
        let sidecar = pod(&[("s", true)], &["1"]);
        let started = |started| ContainerStatus {
            started: Some(started),
            ..ready("s", false)
        };
        check(
            initialized(&sidecar, &old, &[started(false)], "Pending"),
            "False",
            "ContainersNotInitialized",
            "containers with incomplete status: [s]",
        );
        check(
            initialized(&sidecar, &old, &[started(true)], "Pending"),
            "True",
            "",
            "",
        );
    }
}
