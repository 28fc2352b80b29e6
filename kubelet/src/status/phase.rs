//! The phase of a pod. Upstream: `getPhase` in `kubelet_pods.go`.

use api_types::core::v1::{ContainerStatus, Pod};

use crate::container::{container_should_restart, is_sidecar};
use crate::sources::is_static_pod;

/// Reason of a container that was removed because all containers restart.
pub const RESTARTING_ALL_CONTAINERS: &str = "RestartingAllContainers";

#[derive(Default)]
struct Counts {
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    stopped_for_good: usize,
    succeeded: usize,
}

/// The phase that statuses of all containers (init containers too) add up to.
///
/// `terminal`: the pod has been stopped and will not start again. `initialized`: a regular container of the present sandbox
/// has started.
#[must_use]
pub fn pod_phase(
    pod: &Pod,
    statuses: &[ContainerStatus],
    terminal: bool,
    initialized: bool,
) -> &'static str {
    let find = |name: &str| statuses.iter().find(|status| status.name == name);
    let restartable =
        |container: &api_types::core::v1::Container,
         ended: &api_types::core::v1::ContainerStateTerminated| {
            container_should_restart(container, &pod.spec, ended.exit_code)
                || ended.reason == RESTARTING_ALL_CONTAINERS
        };

    let (mut pending_init, mut pending_sidecars, mut failed_for_good) = (0, 0, 0);
    let mut counts = Counts::default();
    for container in &pod.spec.init_containers {
        let Some(status) = find(&container.name) else {
            if is_sidecar(container) {
                counts.unknown += 1
            } else {
                pending_init += 1
            }
            continue;
        };
        let state = &status.state;
        if is_sidecar(container) {
            // An ended sidecar counts for nothing: it restarts, or the pod is over anyway.
            if state.running.is_some() {
                if status.started != Some(true) {
                    pending_sidecars += 1;
                }
                counts.running += 1;
            } else if state.terminated.is_some() {
            } else if state.waiting.is_some() {
                if status.last_state.terminated.is_none() {
                    pending_sidecars += 1;
                    counts.waiting += 1;
                }
            } else {
                pending_sidecars += 1;
                counts.unknown += 1;
            }
            continue;
        }
        let ended = state.terminated.as_ref().or(if state.waiting.is_some() {
            status.last_state.terminated.as_ref()
        } else {
            None
        });
        match ended {
            Some(ended) if ended.exit_code != 0 => {
                if !restartable(container, ended) {
                    failed_for_good += 1;
                }
            }
            Some(_) => {}
            None => pending_init += 1,
        }
    }

    for container in &pod.spec.containers {
        let Some(status) = find(&container.name) else {
            counts.unknown += 1;
            continue;
        };
        if status.state.running.is_some() {
            counts.running += 1;
        } else if let Some(ended) = &status.state.terminated {
            counts.stopped += 1;
            counts.stopped_for_good += usize::from(!restartable(container, ended));
            counts.succeeded += usize::from(ended.exit_code == 0);
        } else if status.state.waiting.is_some() {
            match &status.last_state.terminated {
                Some(ended) => {
                    counts.stopped += 1;
                    counts.stopped_for_good += usize::from(!restartable(container, ended));
                }
                None => counts.waiting += 1,
            }
        } else {
            counts.unknown += 1;
        }
    }

    if failed_for_good > 0 {
        return "Failed";
    }
    if pending_init > 0 || (pending_sidecars > 0 && !initialized) || counts.waiting > 0 {
        return "Pending";
    }
    if counts.running > 0 && counts.unknown == 0 {
        return "Running";
    }
    if counts.running == 0 && counts.stopped > 0 && counts.unknown == 0 {
        let outcome = if counts.stopped == counts.succeeded {
            "Succeeded"
        } else {
            "Failed"
        };
        // A static pod is never over: its file is there, so it will run again.
        if terminal && !is_static_pod(pod) {
            return outcome;
        }
        return if counts.stopped != counts.stopped_for_good {
            "Running"
        } else {
            outcome
        };
    }
    "Pending"
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
        ContainerStateWaiting,
    };

    use super::*;

    fn with(name: &str, state: ContainerState) -> ContainerStatus {
        ContainerStatus {
            name: name.into(),
            state,
            ..Default::default()
        }
    }

    fn running(name: &str) -> ContainerStatus {
        with(
            name,
            ContainerState {
                running: Some(Box::new(ContainerStateRunning::default())),
                ..Default::default()
            },
        )
    }

    fn ended(name: &str, exit_code: i32) -> ContainerStatus {
        with(
            name,
            ContainerState {
                terminated: Some(Box::new(ContainerStateTerminated {
                    exit_code,
                    ..Default::default()
                })),
                ..Default::default()
            },
        )
    }

    fn waiting(name: &str, last: Option<i32>) -> ContainerStatus {
        let mut status = with(
            name,
            ContainerState {
                waiting: Some(Box::new(ContainerStateWaiting::default())),
                ..Default::default()
            },
        );
        if let Some(code) = last {
            status.last_state = ended(name, code).state;
        }
        status
    }

    #[track_caller]
    fn check(
        policy: &str,
        init: &[&str],
        statuses: &[ContainerStatus],
        terminal: bool,
        want: &str,
    ) {
        let mut pod = Pod::default();
        pod.spec.restart_policy = policy.into();
        let named = |name: &str| Container {
            name: name.into(),
            ..Default::default()
        };
        pod.spec.containers = vec![named("a"), named("b")];
        pod.spec.init_containers = init
            .iter()
            .map(|name| Container {
                restart_policy: name.starts_with("side").then(|| "Always".into()),
                ..named(name)
            })
            .collect();
        assert_eq!(
            pod_phase(&pod, statuses, terminal, false),
            want,
            "{policy} {statuses:?}"
        );
    }

    #[test]
    fn regular_containers() {
        for policy in ["Always", "OnFailure", "Never"] {
            check(policy, &[], &[], false, "Pending");
            check(policy, &[], &[running("a"), running("b")], false, "Running");
            check(policy, &[], &[running("a")], false, "Pending");
            check(
                policy,
                &[],
                &[running("a"), ended("b", 0)],
                false,
                "Running",
            );
            check(
                policy,
                &[],
                &[running("a"), waiting("b", None)],
                false,
                "Pending",
            );
            check(
                policy,
                &[],
                &[running("a"), waiting("b", Some(1))],
                false,
                "Running",
            );
        }
        check(
            "Always",
            &[],
            &[ended("a", 0), ended("b", 0)],
            false,
            "Running",
        );
        check(
            "Always",
            &[],
            &[ended("a", 0), ended("b", 0)],
            true,
            "Succeeded",
        );
        check(
            "Always",
            &[],
            &[ended("a", 0), ended("b", 1)],
            true,
            "Failed",
        );
        check(
            "OnFailure",
            &[],
            &[ended("a", 0), ended("b", 0)],
            false,
            "Succeeded",
        );
        check(
            "OnFailure",
            &[],
            &[ended("a", 1), ended("b", 0)],
            false,
            "Running",
        );
        check(
            "Never",
            &[],
            &[ended("a", 0), ended("b", 0)],
            false,
            "Succeeded",
        );
        check(
            "Never",
            &[],
            &[ended("a", 1), ended("b", 0)],
            false,
            "Failed",
        );
    }

    #[test]
    fn init_containers() {
        for policy in ["Always", "OnFailure", "Never"] {
            check(policy, &["init"], &[], false, "Pending");
            check(policy, &["init"], &[running("init")], false, "Pending");
            check(
                policy,
                &["init"],
                &[waiting("init", None)],
                false,
                "Pending",
            );
            check(policy, &["init"], &[ended("init", 0)], false, "Pending");
            check(
                policy,
                &["init"],
                &[ended("init", 0), running("a"), running("b")],
                false,
                "Running",
            );
        }
        check("Always", &["init"], &[ended("init", 1)], false, "Pending");
        check("Never", &["init"], &[ended("init", 1)], false, "Failed");
        check(
            "Never",
            &["init"],
            &[waiting("init", Some(1))],
            false,
            "Failed",
        );
    }

    #[test]
    fn sidecars() {
        let started = |started| ContainerStatus {
            started: Some(started),
            ..running("side")
        };
        check("Always", &["side"], &[started(false)], false, "Pending");
        check(
            "Always",
            &["side"],
            &[started(true), running("a"), running("b")],
            false,
            "Running",
        );
        check(
            "Never",
            &["side"],
            &[ended("side", 137), ended("a", 0), ended("b", 0)],
            false,
            "Succeeded",
        );
    }
}
