//! The pod failure policy (KEP-3329) and the success policy (KEP-3998). Pure. Upstream: pod_failure_policy.go, success_policy.go.

use api_types::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, SuccessPolicy,
};
use api_types::core::v1::{ContainerStatus, Pod};

use super::indexes::Intervals;

/// What a failure policy says about a failed pod.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    /// The Job fails, with this message.
    pub fail_job: Option<String>,
    /// The failure counts against the backoff limits.
    pub counts: bool,
    /// The action of the rule that matched.
    pub action: Option<&'static str>,
}

pub(super) const FAIL_INDEX: &str = "FailIndex";

/// The first rule that matches decides; a failure that no rule matches counts.
pub(super) fn judge_failure(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Verdict {
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    for (index, rule) in policy
        .into_iter()
        .flat_map(|policy| &policy.rules)
        .enumerate()
    {
        let reason = if let Some(requirement) = &rule.on_exit_codes {
            matching_container(pod, requirement).map(|(container, code)| {
                let container = &container.name;
                format!("Container {container} for pod {namespace}/{name} failed with exit code {code} matching {} rule at index {index}", rule.action)
            })
        } else {
            let patterns = &rule.on_pod_conditions;
            let matches = |kind: &str, status: &str| {
                patterns
                    .iter()
                    .any(|pattern| pattern.type_ == kind && pattern.status == status)
            };
            let condition = pod
                .status
                .conditions
                .iter()
                .find(|condition| matches(&condition.type_, &condition.status));
            condition.map(|condition| {
                format!(
                    "Pod {namespace}/{name} has condition {} matching {} rule at index {index}",
                    condition.type_, rule.action
                )
            })
        };
        let Some(reason) = reason else { continue };
        match rule.action.as_str() {
            "Ignore" => {
                return Verdict {
                    fail_job: None,
                    counts: false,
                    action: Some("Ignore"),
                };
            }
            "FailIndex" => {
                return Verdict {
                    fail_job: None,
                    counts: true,
                    action: Some(FAIL_INDEX),
                };
            }
            "Count" => {
                return Verdict {
                    fail_job: None,
                    counts: true,
                    action: Some("Count"),
                };
            }
            "FailJob" => {
                return Verdict {
                    fail_job: Some(reason),
                    counts: true,
                    action: Some("FailJob"),
                };
            }
            _ => {}
        }
    }
    Verdict {
        fail_job: None,
        counts: true,
        action: None,
    }
}

/// The first container, then init container, that failed with an exit code of the requirement.
fn matching_container<'a>(
    pod: &'a Pod,
    requirement: &PodFailurePolicyOnExitCodesRequirement,
) -> Option<(&'a ContainerStatus, i32)> {
    let all = pod
        .status
        .container_statuses
        .iter()
        .chain(&pod.status.init_container_statuses);
    let named = all.filter(|status| {
        requirement
            .container_name
            .as_ref()
            .is_none_or(|name| *name == status.name)
    });
    let failed = named.filter_map(|status| {
        status
            .state
            .terminated
            .as_ref()
            .map(|ended| (status, ended.exit_code))
    });
    failed
        .filter(|(_, code)| *code != 0)
        .find(|(_, code)| match requirement.operator.as_str() {
            "In" => requirement.values.contains(code),
            "NotIn" => !requirement.values.contains(code),
            _ => false,
        })
}

/// The message of the first rule of a success policy that the succeeded indexes meet.
pub(super) fn judge_success(
    policy: Option<&SuccessPolicy>,
    completions: i32,
    succeeded: &Intervals,
) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let rules = &policy?.rules;
    let met = rules
        .iter()
        .position(|rule| match &rule.succeeded_indexes {
            Some(indexes) => {
                let required = Intervals::parse(indexes, completions);
                let common = required.common(succeeded);
                !required.is_empty()
                    && (common == required.total()
                        || rule.succeeded_count.is_some_and(|count| common >= count))
            }
            None => rule
                .succeeded_count
                .is_some_and(|count| succeeded.total() >= count),
        })?;
    Some(format!("Matched rules at index {met}"))
}

#[cfg(test)]
mod tests {
    use api_types::batch::v1::{
        PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule, SuccessPolicyRule,
    };
    use api_types::core::v1::{ContainerStateTerminated, PodCondition};

    use super::*;

    fn exit_rule(
        action: &str,
        container: Option<&str>,
        operator: &str,
        values: &[i32],
    ) -> PodFailurePolicyRule {
        let requirement = PodFailurePolicyOnExitCodesRequirement {
            container_name: container.map(Into::into),
            operator: operator.into(),
            values: values.to_vec(),
        };
        PodFailurePolicyRule {
            action: action.into(),
            on_exit_codes: Some(Box::new(requirement)),
            ..Default::default()
        }
    }

    fn condition_rule(action: &str, kind: &str) -> PodFailurePolicyRule {
        let pattern = PodFailurePolicyOnPodConditionsPattern {
            type_: kind.into(),
            status: "True".into(),
        };
        PodFailurePolicyRule {
            action: action.into(),
            on_pod_conditions: vec![pattern],
            ..Default::default()
        }
    }

    fn failed(container: &str, code: i32) -> Pod {
        let mut pod = Pod::default();
        (pod.metadata.namespace, pod.metadata.name) = ("default".into(), "mypod".into());
        let mut status = ContainerStatus {
            name: container.into(),
            ..Default::default()
        };
        status.state.terminated = Some(Box::new(ContainerStateTerminated {
            exit_code: code,
            ..Default::default()
        }));
        pod.status.container_statuses.push(status);
        pod
    }

    #[track_caller]
    fn check(
        rules: Vec<PodFailurePolicyRule>,
        pod: &Pod,
        action: Option<&str>,
        counts: bool,
        message: Option<&str>,
    ) {
        let verdict = judge_failure(Some(&PodFailurePolicy { rules }), pod);
        assert_eq!(
            (verdict.action, verdict.counts, verdict.fail_job.as_deref()),
            (action, counts, message)
        );
    }

    #[test]
    fn exit_codes() {
        let pod = failed("main", 2);
        check(
            vec![exit_rule("Ignore", None, "In", &[1, 2])],
            &pod,
            Some("Ignore"),
            false,
            None,
        );
        check(
            vec![exit_rule("Ignore", None, "NotIn", &[1, 2])],
            &pod,
            None,
            true,
            None,
        );
        check(
            vec![exit_rule("Ignore", Some("other"), "In", &[2])],
            &pod,
            None,
            true,
            None,
        );
        check(
            vec![
                exit_rule("Count", None, "In", &[2]),
                exit_rule("Ignore", None, "In", &[2]),
            ],
            &pod,
            Some("Count"),
            true,
            None,
        );
        check(
            vec![exit_rule("FailIndex", None, "In", &[2])],
            &pod,
            Some("FailIndex"),
            true,
            None,
        );
        let message = "Container main for pod default/mypod failed with exit code 2 matching FailJob rule at index 1";
        check(
            vec![
                exit_rule("Ignore", None, "In", &[1]),
                exit_rule("FailJob", None, "In", &[2]),
            ],
            &pod,
            Some("FailJob"),
            true,
            Some(message),
        );
        check(
            vec![exit_rule("FailJob", None, "NotIn", &[5])],
            &failed("main", 0),
            None,
            true,
            None,
        );
        check(vec![], &pod, None, true, None);
    }

    #[test]
    fn pod_conditions() {
        let mut pod = failed("main", 137);
        pod.status.conditions.push(PodCondition {
            type_: "DisruptionTarget".into(),
            status: "True".into(),
            ..Default::default()
        });
        check(
            vec![condition_rule("Ignore", "DisruptionTarget")],
            &pod,
            Some("Ignore"),
            false,
            None,
        );
        check(
            vec![condition_rule("Ignore", "Other")],
            &pod,
            None,
            true,
            None,
        );
        let message =
            "Pod default/mypod has condition DisruptionTarget matching FailJob rule at index 0";
        check(
            vec![condition_rule("FailJob", "DisruptionTarget")],
            &pod,
            Some("FailJob"),
            true,
            Some(message),
        );
    }

    #[track_caller]
    fn check_success(
        rules: &[(Option<&str>, Option<i32>)],
        succeeded: &str,
        expected: Option<usize>,
    ) {
        let rule = |(indexes, count): &(Option<&str>, Option<i32>)| SuccessPolicyRule {
            succeeded_indexes: indexes.map(Into::into),
            succeeded_count: *count,
        };
        let policy = SuccessPolicy {
            rules: rules.iter().map(rule).collect(),
        };
        let message = judge_success(Some(&policy), 10, &Intervals::parse(succeeded, 10));
        assert_eq!(
            message,
            expected.map(|index| format!("Matched rules at index {index}"))
        );
    }

    #[test]
    fn success_rules() {
        check_success(&[(Some("0-2"), None)], "0-2", Some(0));
        check_success(&[(Some("0-2"), None)], "0,1", None);
        check_success(&[(Some("0-2"), Some(2))], "0,1", Some(0));
        check_success(&[(None, Some(3))], "4-6", Some(0));
        check_success(&[(None, Some(3)), (Some("9"), None)], "9", Some(1));
        check_success(&[(Some("20"), None)], "0-9", None);
        check_success(&[(None, Some(0))], "", None);
    }
}
