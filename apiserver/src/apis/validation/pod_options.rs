//! What validation of a pod lets pass, by feature gates and by what the stored pod has already.
//! Upstream: GetValidationOptionsFromPodSpecAndMeta in pkg/api/pod.

use std::collections::BTreeSet;

use api_types::core::v1::{NodeSelectorTerm, PodAffinityTerm, PodSpec, PodTemplateSpec};
use api_types::meta::v1::ObjectMeta;
use apimachinery::resource::is_huge_page_resource_name;

use super::pod_spec::{affinity_term_selector, match_label_keys, topology_match_label_keys};
use super::pods::containers;
use super::resources::is_huge_page_value_divisible;
use super::security::host_sysctl;
use super::*;

/// What passes although a stricter rule exists. A stored object may keep what it has.
#[derive(Clone, Copy, Debug, Default)]
pub struct PodOptions {
    pub resource_is_pod: bool,
    pub allow_invalid_pod_deletion_cost: bool,
    pub allow_invalid_label_value_in_selector: bool,
    pub allow_indivisible_huge_pages: bool,
    pub allow_invalid_spread_selector: bool,
    pub allow_non_local_projected_token_path: bool,
    pub allow_namespaced_sysctls_for_host: bool,
    pub relaxed_env_names: bool,
    pub relaxed_dns_search: bool,
    pub sleep_zero: bool,
    pub only_recursive_selinux_change: bool,
    pub pod_level_resources: bool,
    pub resize_pod_level_resources: bool,
    pub allow_sidecar_resize_policy: bool,
    pub allow_invalid_label_value_in_node_affinity: bool,
    pub spread_match_label_keys: bool,
    pub spread_selector_merge: bool,
    pub old_violates_match_label_keys: bool,
    pub old_violates_legacy_match_label_keys: bool,
    pub env_files: bool,
    pub container_restart_rules: bool,
    pub restart_all_containers: bool,
    pub allow_restart_container_for_init: bool,
    pub allow_user_namespaces_with_volume_devices: bool,
    pub allow_user_namespaces_with_host_network: bool,
    pub toleration_comparison: bool,
    pub image_volume_digest: bool,
}

impl PodOptions {
    /// Options for a pod's spec and metadata, given those that are stored.
    pub fn new(
        spec: &PodSpec,
        old: Option<&PodSpec>,
        old_metadata: Option<&ObjectMeta>,
    ) -> PodOptions {
        let on = gates::enabled;
        let mut options = PodOptions {
            allow_invalid_pod_deletion_cost: !on("PodDeletionCost"),
            sleep_zero: on("PodLifecycleSleepActionAllowZero"),
            pod_level_resources: on("PodLevelResources"),
            resize_pod_level_resources: on("InPlacePodLevelResourcesVerticalScaling"),
            allow_sidecar_resize_policy: on("InPlacePodVerticalScaling"),
            spread_match_label_keys: on("MatchLabelKeysInPodTopologySpread"),
            spread_selector_merge: on("MatchLabelKeysInPodTopologySpreadSelectorMerge"),
            container_restart_rules: on("ContainerRestartRules"),
            restart_all_containers: on("RestartAllContainersOnContainerExits"),
            image_volume_digest: on("ImageVolumeWithDigest"),
            relaxed_env_names: on("RelaxedEnvironmentVariableValidation"),
            relaxed_dns_search: on("RelaxedDNSSearchValidation"),
            env_files: on("EnvFiles"),
            allow_user_namespaces_with_host_network: on("UserNamespacesHostNetworkSupport"),
            only_recursive_selinux_change: !on("SELinuxMount"),
            toleration_comparison: on("TaintTolerationComparisonOperators"),
            ..PodOptions::default()
        };
        if let Some(old) = old {
            options.keep_what_is_stored(spec, old);
        }
        if let Some(old) = old_metadata
            && !options.allow_invalid_pod_deletion_cost
        {
            options.allow_invalid_pod_deletion_cost =
                !super::pods::is_deletion_cost_valid(&old.annotations);
        }
        options
    }

    /// Options for a template.
    pub fn of_template(template: &PodTemplateSpec, old: Option<&PodTemplateSpec>) -> PodOptions {
        PodOptions::new(
            &template.spec,
            old.map(|old| &old.spec),
            old.map(|old| &old.metadata),
        )
    }

    fn keep_what_is_stored(&mut self, spec: &PodSpec, old: &PodSpec) {
        let invalid_spread =
            |check: fn(&api_types::core::v1::TopologySpreadConstraint) -> ErrorList| {
                old.topology_spread_constraints
                    .iter()
                    .any(|constraint| !check(constraint).is_empty())
            };
        self.allow_indivisible_huge_pages = uses_indivisible_huge_pages(old);
        self.allow_invalid_label_value_in_selector = has_invalid_affinity_selector(old);
        self.allow_invalid_label_value_in_node_affinity = has_invalid_node_affinity(old);
        self.allow_invalid_spread_selector = invalid_spread(|constraint| {
            label_selector(constraint.label_selector.as_deref(), &Path::nil())
        });
        if self.spread_match_label_keys && self.spread_selector_merge {
            self.old_violates_match_label_keys = invalid_spread(|constraint| {
                let selector = constraint.label_selector.as_deref();
                match_label_keys(&Path::nil(), &constraint.match_label_keys, &[], selector)
            });
        } else if self.spread_match_label_keys {
            self.old_violates_legacy_match_label_keys = invalid_spread(|constraint| {
                let selector = constraint.label_selector.as_deref();
                topology_match_label_keys(&Path::nil(), &constraint.match_label_keys, selector)
            });
        }
        let projected = old
            .volumes
            .iter()
            .filter_map(|volume| volume.volume_source.projected.as_ref());
        self.allow_non_local_projected_token_path = projected
            .flat_map(|projected| &projected.sources)
            .filter_map(|source| source.service_account_token.as_ref())
            .any(|token| {
                !super::volumes::local_non_reserved_path(&token.path, &Path::nil()).is_empty()
            });
        if let Some(context) = &old.security_context {
            self.allow_namespaced_sysctls_for_host = context
                .sysctls
                .iter()
                .any(|sysctl| host_sysctl(&sysctl.name, old, &Path::nil()).is_some());
            self.only_recursive_selinux_change &= context.se_linux_change_policy.is_none();
        }
        self.relaxed_dns_search |= old.dns_config.as_ref().is_some_and(|dns| {
            dns.searches
                .iter()
                .any(|domain| domain == "." || domain.contains('_'))
        });
        let user_namespace = old.host_users == Some(false);
        self.allow_user_namespaces_with_host_network |= old.host_network && user_namespace;
        self.toleration_comparison |= old
            .tolerations
            .iter()
            .any(|toleration| matches!(toleration.operator.as_str(), "Lt" | "Gt"));
        let old_containers = containers(old, &Path::nil());
        self.env_files |= old_containers.iter().any(|(container, _)| {
            let mut sources = container
                .env
                .iter()
                .filter_map(|env| env.value_from.as_ref());
            sources.any(|source| source.file_key_ref.is_some())
        });
        self.sleep_zero |= old_containers.iter().any(|(container, _)| {
            let hooks = container
                .lifecycle
                .iter()
                .flat_map(|hooks| [&hooks.pre_stop, &hooks.post_start]);
            let mut sleeps = hooks.flatten().filter_map(|hook| hook.sleep.as_ref());
            sleeps.any(|sleep| sleep.seconds == 0)
        });
        self.allow_user_namespaces_with_volume_devices = user_namespace
            && old_containers
                .iter()
                .any(|(container, _)| !container.volume_devices.is_empty());
        let is_sidecar = |policy: &Option<String>| policy.as_deref() == Some("Always");
        self.allow_sidecar_resize_policy |= old.init_containers.iter().any(|container| {
            is_sidecar(&container.restart_policy) && !container.resize_policy.is_empty()
        });
        self.allow_restart_container_for_init = old.init_containers.iter().any(|container| {
            !is_sidecar(&container.restart_policy)
                && container
                    .resize_policy
                    .iter()
                    .any(|policy| policy.restart_policy == "RestartContainer")
        });
        self.container_restart_rules |= old.init_containers.iter().any(|container| {
            container
                .restart_policy
                .as_deref()
                .is_some_and(|policy| policy != "Always")
                || !container.restart_policy_rules.is_empty()
        }) || old
            .containers
            .iter()
            .any(|container| container.restart_policy.is_some());
        let restarts_all = |container: &api_types::core::v1::Container| {
            container
                .restart_policy_rules
                .iter()
                .any(|rule| rule.action == "RestartAllContainers")
        };
        self.restart_all_containers |= old.containers.iter().any(restarts_all)
            || old.init_containers.iter().any(|container| {
                restarts_all(container)
                    || is_sidecar(&container.restart_policy)
                        && !container.restart_policy_rules.is_empty()
            });
        if !self.relaxed_env_names {
            let (names, old_names) = (env_names(spec), env_names(old));
            self.relaxed_env_names = names.iter().any(|name| {
                !rules::is_env_var_name(name).is_empty()
                    && rules::is_relaxed_env_var_name(name).is_empty()
                    && old_names.contains(name)
            });
        }
    }
}

fn env_names(spec: &PodSpec) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (container, _) in containers(spec, &Path::nil()) {
        names.extend(container.env.iter().map(|env| env.name.clone()));
        names.extend(
            container
                .env_from
                .iter()
                .map(|source| source.prefix.clone()),
        );
    }
    names
}

fn uses_indivisible_huge_pages(spec: &PodSpec) -> bool {
    let indivisible = |list: &Amounts| {
        list.iter().any(|(name, amount)| {
            is_huge_page_resource_name(name) && !is_huge_page_value_divisible(name, amount)
        })
    };
    containers(spec, &Path::nil()).iter().any(|(container, _)| {
        indivisible(&container.resources.limits) || indivisible(&container.resources.requests)
    }) || indivisible(&spec.overhead)
}

/// The terms of a pod's affinity and anti-affinity to other pods.
pub(crate) fn affinity_terms(spec: &PodSpec) -> Vec<&PodAffinityTerm> {
    let mut terms = Vec::new();
    if let Some(affinity) = &spec.affinity {
        if let Some(affinity) = &affinity.pod_affinity {
            terms.extend(&affinity.required_during_scheduling_ignored_during_execution);
            let preferred = &affinity.preferred_during_scheduling_ignored_during_execution;
            terms.extend(preferred.iter().map(|term| &term.pod_affinity_term));
        }
        if let Some(affinity) = &affinity.pod_anti_affinity {
            terms.extend(&affinity.required_during_scheduling_ignored_during_execution);
            let preferred = &affinity.preferred_during_scheduling_ignored_during_execution;
            terms.extend(preferred.iter().map(|term| &term.pod_affinity_term));
        }
    }
    terms
}

fn has_invalid_affinity_selector(spec: &PodSpec) -> bool {
    affinity_terms(spec)
        .into_iter()
        .any(|term| !affinity_term_selector(term, false, &Path::nil()).is_empty())
}

fn has_invalid_node_affinity(spec: &PodSpec) -> bool {
    spec.affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        })
        .is_some_and(|selector| has_invalid_label_value(&selector.node_selector_terms))
}

/// Whether a term's expressions have values that are no label values.
pub(crate) fn has_invalid_label_value(terms: &[NodeSelectorTerm]) -> bool {
    let expressions = terms.iter().flat_map(|term| &term.match_expressions);
    let mut values = expressions.flat_map(|expression| &expression.values);
    values.any(|value| !rules::is_label_value(value).is_empty())
}
