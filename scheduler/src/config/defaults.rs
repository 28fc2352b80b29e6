//! What a configuration means that leaves things out. Upstream: apis/config/v1/{defaults,default_plugins}.go.

use api_types::kube_scheduler_config::v1::{
    DefaultPreemptionArgs, DynamicResourcesArgs, InterPodAffinityArgs, KubeSchedulerConfiguration,
    KubeSchedulerProfile, NodeResourcesBalancedAllocationArgs, NodeResourcesFitArgs, Plugin,
    PluginConfig, PluginSet, Plugins, PodTopologySpreadArgs, ResourceSpec, ScoringStrategy,
    VolumeBindingArgs,
};
use api_types::{Duration, RawExtension};
use component_base::component_config::default_leader_election;

use super::args::complete_args;
use crate::plugins::{names, registry};

pub const DEFAULT_SCHEDULER_NAME: &str = "default-scheduler";
const SECOND: i64 = 1_000_000_000;

fn cpu_and_memory() -> Vec<ResourceSpec> {
    ["cpu", "memory"]
        .map(|name| ResourceSpec {
            name: name.into(),
            weight: 1,
        })
        .to_vec()
}

fn weigh(resources: &mut [ResourceSpec]) {
    for resource in resources {
        if resource.weight == 0 {
            resource.weight = 1;
        }
    }
}

pub fn default_preemption_args(args: &mut DefaultPreemptionArgs) {
    args.min_candidate_nodes_percentage.get_or_insert(10);
    args.min_candidate_nodes_absolute.get_or_insert(100);
}

pub fn dynamic_resources_args(args: &mut DynamicResourcesArgs) {
    args.filter_timeout.get_or_insert(Duration(10 * SECOND));
    args.binding_timeout.get_or_insert(Duration(600 * SECOND));
}

pub fn inter_pod_affinity_args(args: &mut InterPodAffinityArgs) {
    args.hard_pod_affinity_weight.get_or_insert(1);
}

pub fn balanced_allocation_args(args: &mut NodeResourcesBalancedAllocationArgs) {
    if args.resources.is_empty() {
        args.resources = cpu_and_memory();
    }
    weigh(&mut args.resources);
}

pub fn node_resources_fit_args(args: &mut NodeResourcesFitArgs) {
    let strategy = args.scoring_strategy.get_or_insert_with(|| {
        Box::new(ScoringStrategy {
            type_: "LeastAllocated".into(),
            ..ScoringStrategy::default()
        })
    });
    if strategy.resources.is_empty() {
        strategy.resources = cpu_and_memory();
    }
    weigh(&mut strategy.resources);
}

pub fn pod_topology_spread_args(args: &mut PodTopologySpreadArgs) {
    if args.defaulting_type.is_empty() {
        args.defaulting_type = "System".into();
    }
}

pub fn volume_binding_args(args: &mut VolumeBindingArgs) {
    args.bind_timeout_seconds.get_or_insert(600);
}

/// Upstream's default profile.
pub fn default_plugins() -> Plugins {
    let plugin = |name: &str, weight: Option<i32>| Plugin {
        name: name.to_owned(),
        weight,
    };
    Plugins {
        multi_point: PluginSet {
            enabled: vec![
                plugin(names::SCHEDULING_GATES, None),
                plugin(names::PRIORITY_SORT, None),
                plugin(names::NODE_UNSCHEDULABLE, None),
                plugin(names::NODE_NAME, None),
                plugin(names::TAINT_TOLERATION, Some(3)),
                plugin(names::NODE_AFFINITY, Some(2)),
                plugin(names::NODE_PORTS, None),
                plugin(names::NODE_RESOURCES_FIT, Some(1)),
                plugin(names::VOLUME_RESTRICTIONS, None),
                plugin(names::NODE_VOLUME_LIMITS, None),
                plugin(names::VOLUME_BINDING, None),
                plugin(names::VOLUME_ZONE, None),
                plugin(names::POD_TOPOLOGY_SPREAD, Some(2)),
                plugin(names::INTER_POD_AFFINITY, Some(2)),
                plugin(names::DYNAMIC_RESOURCES, Some(2)),
                plugin(names::DEFAULT_PREEMPTION, None),
                plugin(names::NODE_RESOURCES_BALANCED_ALLOCATION, Some(1)),
                plugin(names::IMAGE_LOCALITY, Some(1)),
                plugin(names::DEFAULT_BINDER, None),
                plugin(names::NODE_DECLARED_FEATURES, None),
            ],
            disabled: Vec::new(),
        },
        ..Plugins::default()
    }
}

/// All sets of a profile.
pub fn sets_mut(plugins: &mut Plugins) -> [&mut PluginSet; 15] {
    [
        &mut plugins.multi_point,
        &mut plugins.pre_enqueue,
        &mut plugins.queue_sort,
        &mut plugins.pre_filter,
        &mut plugins.filter,
        &mut plugins.post_filter,
        &mut plugins.pre_score,
        &mut plugins.score,
        &mut plugins.reserve,
        &mut plugins.permit,
        &mut plugins.pre_bind,
        &mut plugins.bind,
        &mut plugins.post_bind,
        &mut plugins.placement_generate,
        &mut plugins.placement_score,
    ]
}

/// The default set changed by a custom one. Upstream: `mergePluginSet`.
fn merge_set(default: PluginSet, custom: PluginSet) -> PluginSet {
    let disabled: Vec<Plugin> = custom
        .disabled
        .iter()
        .chain(&default.disabled)
        .map(|plugin| Plugin {
            name: plugin.name.clone(),
            weight: None,
        })
        .collect();
    let is_disabled = |name: &str| disabled.iter().any(|plugin| plugin.name == name);
    let mut replaced = vec![false; custom.enabled.len()];
    let mut enabled = Vec::new();
    if !is_disabled("*") {
        for plugin in default.enabled {
            if is_disabled(&plugin.name) {
                continue;
            }
            match custom
                .enabled
                .iter()
                .rposition(|other| other.name == plugin.name)
            {
                Some(at) => {
                    replaced[at] = true;
                    enabled.push(custom.enabled[at].clone());
                }
                None => enabled.push(plugin),
            }
        }
    }
    let rest = custom.enabled.into_iter().zip(replaced);
    enabled.extend(rest.filter(|(_, replaced)| !replaced).map(|(p, _)| p));
    PluginSet { enabled, disabled }
}

fn merge(custom: Option<Box<Plugins>>) -> Plugins {
    let mut merged = default_plugins();
    if let Some(mut custom) = custom {
        for (default, custom) in sets_mut(&mut merged).into_iter().zip(sets_mut(&mut custom)) {
            *default = merge_set(std::mem::take(default), std::mem::take(custom));
        }
    }
    merged
}

fn profile(number: usize, profile: &mut KubeSchedulerProfile) -> Result<(), String> {
    let mut plugins = merge(profile.plugins.take());
    for (i, config) in profile.plugin_config.iter_mut().enumerate() {
        config.args = complete_args(&config.name, &config.args).map_err(|error| {
            format!(
                "decoding .profiles[{number}].pluginConfig[{i}]: decoding args for plugin {}: {error}",
                config.name
            )
        })?;
    }
    let mut used: Vec<String> = sets_mut(&mut plugins)
        .into_iter()
        .flat_map(|set| set.enabled.iter().map(|plugin| plugin.name.clone()))
        .collect();
    used.sort_unstable();
    used.dedup();
    for name in used {
        let configured = profile
            .plugin_config
            .iter()
            .any(|config| config.name == name);
        if !configured && registry::args_kind(&name).is_some() {
            profile.plugin_config.push(PluginConfig {
                args: complete_args(&name, &RawExtension::default())?,
                name,
            });
        }
    }
    profile.plugins = Some(Box::new(plugins));
    Ok(())
}

/// Fills in all defaults.
pub fn configuration(config: &mut KubeSchedulerConfiguration) -> Result<(), String> {
    config.parallelism.get_or_insert(16);
    if config.profiles.is_empty() {
        config.profiles.push(KubeSchedulerProfile::default());
    }
    if let [only] = config.profiles.as_mut_slice() {
        only.scheduler_name
            .get_or_insert_with(|| DEFAULT_SCHEDULER_NAME.to_owned());
    }
    for (number, each) in config.profiles.iter_mut().enumerate() {
        profile(number, each)?;
    }
    config.percentage_of_nodes_to_score.get_or_insert(0);
    let election = &mut config.leader_election;
    if election.resource_namespace.is_empty() {
        election.resource_namespace = "kube-system".into();
    }
    if election.resource_name.is_empty() {
        election.resource_name = "kube-scheduler".into();
    }
    default_leader_election(election);
    let connection = &mut config.client_connection;
    if connection.content_type.is_empty() {
        connection.content_type = "application/vnd.kubernetes.protobuf".into();
    }
    if connection.qps == 0.0 {
        connection.qps = 50.0;
    }
    if connection.burst == 0 {
        connection.burst = 100;
    }
    config.pod_initial_backoff_seconds.get_or_insert(1);
    config.pod_max_backoff_seconds.get_or_insert(10);
    let debugging = &mut config.debugging_configuration;
    if *debugging.enable_profiling.get_or_insert(true) {
        debugging.enable_contention_profiling.get_or_insert(true);
    }
    Ok(())
}
