//! Which containers are started again after they ended.
//!
//! Upstream: `kubecontainer.ShouldContainerBeRestarted` and the restart rules in `pkg/api/v1/pod` (KEP-5307, KEP-5532).

use api_types::core::v1::{
    Container, ContainerRestartRule, Pod, PodSpec, PodStatus as ApiPodStatus,
};

use super::{PodStatus, State};

/// Whether an init container is a sidecar: restartPolicy Always.
#[must_use]
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The first rule of the container that speaks about this exit code.
#[must_use]
pub fn find_matching_restart_rule(
    container: &Container,
    exit_code: i32,
) -> Option<&ContainerRestartRule> {
    container.restart_policy_rules.iter().find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.contains(&exit_code);
            match codes.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        })
    })
}

/// Whether a container that ended with this code starts again: rules of the container, then its policy, then the pod's.
#[must_use]
pub fn container_should_restart(container: &Container, spec: &PodSpec, exit_code: i32) -> bool {
    if let Some(policy) = container.restart_policy.as_deref() {
        if let Some(rule) = find_matching_restart_rule(container, exit_code)
            && matches!(rule.action.as_str(), "Restart" | "RestartAllContainers")
        {
            return true;
        }
        match policy {
            "Always" => return true,
            "OnFailure" => return exit_code != 0,
            "Never" => return false,
            _ => {}
        }
    }
    match spec.restart_policy.as_str() {
        "OnFailure" => exit_code != 0,
        "Never" => false,
        _ => true,
    }
}

/// Whether any exit code can make the container start again.
#[must_use]
pub fn is_container_restartable(spec: &PodSpec, container: &Container) -> bool {
    match container.restart_policy.as_deref() {
        Some(policy) => {
            container
                .restart_policy_rules
                .iter()
                .any(|rule| rule.action == "Restart")
                || policy != "Never"
        }
        None => spec.restart_policy != "Never",
    }
}

/// Whether any container has a rule that restarts the whole pod in place.
#[must_use]
pub fn all_containers_could_restart(spec: &PodSpec) -> bool {
    spec.init_containers
        .iter()
        .chain(&spec.containers)
        .any(|container| {
            container
                .restart_policy_rules
                .iter()
                .any(|rule| rule.action == "RestartAllContainers")
        })
}

/// Whether the container must be started now.
#[must_use]
pub fn should_container_be_restarted(container: &Container, pod: &Pod, status: &PodStatus) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return false;
    }
    // No trace of it: it never ran, or its remains are gone. Either way it starts.
    let Some(found) = status.find_container(&container.name) else {
        return true;
    };
    match found.state {
        State::Running => false,
        State::Unknown | State::Created => true,
        State::Exited => container_should_restart(container, &pod.spec, found.exit_code),
    }
}

/// Whether a container ended in a way that restarts all containers, or such a restart is under way.
#[must_use]
pub fn should_all_containers_restart(
    pod: &Pod,
    status: &PodStatus,
    api_status: &ApiPodStatus,
) -> bool {
    if !all_containers_could_restart(&pod.spec) {
        return false;
    }
    if api_status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "AllContainersRestarting" && condition.status == "True")
    {
        return true;
    }
    pod.spec
        .init_containers
        .iter()
        .chain(&pod.spec.containers)
        .any(|container| {
            let matches = |code: i32| {
                find_matching_restart_rule(container, code)
                    .is_some_and(|rule| rule.action == "RestartAllContainers")
            };
            // Upstream looks at the API status only for a container whose runtime state is "exited".
            let Some(found) = status.find_container(&container.name) else {
                return false;
            };
            if found.state != State::Exited {
                return false;
            }
            matches(found.exit_code)
                || api_status
                    .init_container_statuses
                    .iter()
                    .chain(&api_status.container_statuses)
                    .filter(|api| api.name == container.name)
                    .filter_map(|api| api.state.terminated.as_ref())
                    .any(|terminated| matches(terminated.exit_code))
        })
}

/// Whether nothing of the containers is left in the runtime: the restart of all can begin.
#[must_use]
pub fn all_containers_restart_cleaned_up(pod: &Pod, status: &PodStatus) -> bool {
    pod.spec
        .init_containers
        .iter()
        .chain(&pod.spec.containers)
        .all(|container| status.find_container(&container.name).is_none())
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::ContainerRestartRuleOnExitCodes;

    use super::*;

    #[track_caller]
    fn check(
        pod_policy: &str,
        policy: Option<&str>,
        rule: Option<(&str, &[i32], &str)>,
        code: i32,
        want: bool,
    ) {
        let mut container = Container {
            restart_policy: policy.map(str::to_owned),
            ..Default::default()
        };
        if let Some((operator, values, action)) = rule {
            container.restart_policy_rules.push(ContainerRestartRule {
                action: action.to_owned(),
                exit_codes: Some(Box::new(ContainerRestartRuleOnExitCodes {
                    operator: operator.to_owned(),
                    values: values.to_vec(),
                })),
            });
        }
        let spec = PodSpec {
            restart_policy: pod_policy.to_owned(),
            ..Default::default()
        };
        assert_eq!(
            container_should_restart(&container, &spec, code),
            want,
            "{pod_policy} {policy:?} {rule:?} {code}"
        );
    }

    #[test]
    fn policies_and_rules() {
        check("Always", None, None, 0, true);
        check("OnFailure", None, None, 0, false);
        check("OnFailure", None, None, 1, true);
        check("Never", None, None, 1, false);
        check("Never", Some("Always"), None, 0, true);
        check("Always", Some("Never"), None, 1, false);
        check(
            "Never",
            Some("Never"),
            Some(("In", &[42], "Restart")),
            42,
            true,
        );
        check(
            "Never",
            Some("Never"),
            Some(("In", &[42], "Restart")),
            1,
            false,
        );
        check(
            "Never",
            Some("Never"),
            Some(("NotIn", &[42], "Restart")),
            1,
            true,
        );
        check(
            "Never",
            Some("OnFailure"),
            Some(("In", &[42], "RestartAllContainers")),
            42,
            true,
        );
    }
}
