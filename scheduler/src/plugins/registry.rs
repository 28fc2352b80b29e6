//! The table of all in-tree plugins. Upstream: plugins/registry.go.

use std::time::Duration;

use api_types::Kind;
use api_types::kube_scheduler_config::v1 as config;

use super::names;
use super::volume::limits::{BY_NODE, NodeVolumeLimits};
use crate::config::args::PluginArgs;
use crate::framework::handle::Handle;
use crate::framework::plugin::{Instance, plugin};

/// How a row's plugin is made.
pub enum Build {
    /// From its arguments.
    Yes(fn(&PluginArgs, &Handle) -> Result<Instance, String>),
    /// Not in this version. `default`: upstream's default profile has it, so it is left out there without an error.
    No { why: &'static str, default: bool },
}

/// One plugin.
pub struct Row {
    pub name: &'static str,
    pub build: Build,
}

const fn row(
    name: &'static str,
    build: fn(&PluginArgs, &Handle) -> Result<Instance, String>,
) -> Row {
    Row {
        name,
        build: Build::Yes(build),
    }
}

const fn missing(name: &'static str, default: bool, why: &'static str) -> Row {
    Row {
        name,
        build: Build::No { why, default },
    }
}

/// Every in-tree plugin of upstream, in the order of its default profile; then those that are off by default.
pub const PLUGINS: &[Row] = &[
    row(names::SCHEDULING_GATES, |_, _| {
        Ok(plugin(super::scheduling_gates::SchedulingGates)
            .pre_enqueue()
            .build())
    }),
    row(names::PRIORITY_SORT, |_, _| {
        Ok(plugin(super::priority_sort::PrioritySort)
            .queue_sort()
            .build())
    }),
    row(names::NODE_UNSCHEDULABLE, |_, handle| {
        let comparison_operators = comparison_operators(handle);
        Ok(plugin(super::node_unschedulable::NodeUnschedulable {
            comparison_operators,
        })
        .filter()
        .build())
    }),
    row(names::NODE_NAME, |_, _| {
        Ok(plugin(super::node_name::NodeName).filter().build())
    }),
    row(names::TAINT_TOLERATION, |_, handle| {
        let comparison_operators = comparison_operators(handle);
        Ok(plugin(super::taint_toleration::TaintToleration {
            comparison_operators,
        })
        .filter()
        .pre_score()
        .score()
        .build())
    }),
    row(names::NODE_AFFINITY, |args, _| {
        let args: config::NodeAffinityArgs = args.get()?;
        let built =
            super::node_affinity::NodeAffinity::new(&args).map_err(|errors| errors.to_string())?;
        Ok(plugin(built)
            .pre_filter()
            .filter()
            .pre_score()
            .score()
            .build())
    }),
    row(names::NODE_PORTS, |_, _| {
        Ok(plugin(super::node_ports::NodePorts)
            .pre_filter()
            .filter()
            .build())
    }),
    row(names::NODE_RESOURCES_FIT, |args, _| {
        let built =
            super::node_resources::fit::Fit::new(&args.get::<config::NodeResourcesFitArgs>()?)?;
        Ok(plugin(built)
            .pre_filter()
            .filter()
            .pre_score()
            .score()
            .build())
    }),
    row(names::VOLUME_RESTRICTIONS, |_, handle| {
        let claims = handle.listers.persistent_volume_claims.clone();
        Ok(
            plugin(super::volume::restrictions::VolumeRestrictions { claims })
                .pre_filter()
                .filter()
                .build(),
        )
    }),
    row(names::NODE_VOLUME_LIMITS, |_, handle| {
        let listers = &handle.listers;
        let built = NodeVolumeLimits {
            csi_nodes: listers.csi_nodes.clone(),
            claims: listers.persistent_volume_claims.clone(),
            volumes: listers.persistent_volumes.clone(),
            classes: listers.storage_classes.clone(),
            attachments: listers
                .volume_attachments
                .clone()
                .with_index(BY_NODE, |attachment| {
                    vec![attachment.spec.node_name.clone()]
                }),
            handle_prefix: apimachinery::rand_suffix::random_string(32),
        };
        Ok(plugin(built).pre_filter().filter().build())
    }),
    row(names::VOLUME_BINDING, |args, handle| {
        let args: config::VolumeBindingArgs = args.get()?;
        let timeout = u64::try_from(args.bind_timeout_seconds.unwrap_or(600)).unwrap_or(0);
        let built = super::volume::binding::VolumeBinding::new(
            handle.client.clone(),
            handle.listers.clone(),
            Duration::from_secs(timeout),
            handle.metrics.clone(),
        );
        Ok(plugin(built)
            .pre_filter()
            .filter()
            .reserve()
            .pre_bind()
            .build())
    }),
    row(names::VOLUME_ZONE, |_, handle| {
        let built = super::volume::zone::VolumeZone {
            claims: handle.listers.persistent_volume_claims.clone(),
            volumes: handle.listers.persistent_volumes.clone(),
            classes: handle.listers.storage_classes.clone(),
        };
        Ok(plugin(built).pre_filter().filter().build())
    }),
    row(names::POD_TOPOLOGY_SPREAD, |args, handle| {
        let args: config::PodTopologySpreadArgs = args.get()?;
        let built = super::pod_topology_spread::PodTopologySpread::new(
            &args,
            handle.listers.clone(),
            comparison_operators(handle),
        );
        Ok(plugin(built)
            .pre_filter()
            .filter()
            .pre_score()
            .score()
            .build())
    }),
    row(names::INTER_POD_AFFINITY, |args, handle| {
        let args: config::InterPodAffinityArgs = args.get()?;
        let built = super::inter_pod_affinity::InterPodAffinity::new(
            &args,
            handle.listers.namespaces.clone(),
        );
        Ok(plugin(built)
            .pre_filter()
            .filter()
            .pre_score()
            .score()
            .build())
    }),
    // Turns pods with claims down, so that they do not run without their devices.
    row(names::DYNAMIC_RESOURCES, |_, _| {
        Ok(plugin(super::resource_claims::ResourceClaims)
            .pre_filter()
            .filter()
            .post_filter()
            .build())
    }),
    row(names::DEFAULT_PREEMPTION, |args, handle| {
        let args: config::DefaultPreemptionArgs = args.get()?;
        let built = super::default_preemption::DefaultPreemption::new(&args, handle.clone());
        Ok(plugin(built).pre_enqueue().post_filter().build())
    }),
    row(names::NODE_RESOURCES_BALANCED_ALLOCATION, |args, _| {
        let args: config::NodeResourcesBalancedAllocationArgs = args.get()?;
        let built = super::node_resources::balanced_allocation::BalancedAllocation::new(&args);
        Ok(plugin(built).pre_score().score().build())
    }),
    row(names::IMAGE_LOCALITY, |_, _| {
        Ok(plugin(super::image_locality::ImageLocality).score().build())
    }),
    row(names::DEFAULT_BINDER, |_, handle| {
        let client = handle.client.clone();
        Ok(plugin(super::default_binder::DefaultBinder { client })
            .bind()
            .build())
    }),
    missing(
        names::NODE_DECLARED_FEATURES,
        true,
        "nodes' declared features are not looked at in this version",
    ),
    missing(
        names::GANG_SCHEDULING,
        false,
        "alpha upstream; pod groups are not part of this version",
    ),
    missing(
        names::TOPOLOGY_PLACEMENT_GENERATOR,
        false,
        "alpha upstream; pod groups are not part of this version",
    ),
    missing(
        names::POD_GROUP_PODS_COUNT,
        false,
        "alpha upstream; pod groups are not part of this version",
    ),
];

fn comparison_operators(handle: &Handle) -> bool {
    handle
        .features
        .enabled("TaintTolerationComparisonOperators")
}

/// The kind of a plugin's arguments, if it takes any.
pub fn args_kind(plugin: &str) -> Option<&'static str> {
    [
        (
            names::DEFAULT_PREEMPTION,
            config::DefaultPreemptionArgs::KIND,
        ),
        (names::DYNAMIC_RESOURCES, config::DynamicResourcesArgs::KIND),
        (
            names::INTER_POD_AFFINITY,
            config::InterPodAffinityArgs::KIND,
        ),
        (names::NODE_AFFINITY, config::NodeAffinityArgs::KIND),
        (
            names::NODE_RESOURCES_BALANCED_ALLOCATION,
            config::NodeResourcesBalancedAllocationArgs::KIND,
        ),
        (
            names::NODE_RESOURCES_FIT,
            config::NodeResourcesFitArgs::KIND,
        ),
        (
            names::POD_TOPOLOGY_SPREAD,
            config::PodTopologySpreadArgs::KIND,
        ),
        (names::VOLUME_BINDING, config::VolumeBindingArgs::KIND),
    ]
    .into_iter()
    .find(|(name, _)| *name == plugin)
    .map(|(_, kind)| kind)
}

/// The row of a plugin.
pub fn find(name: &str) -> Option<&'static Row> {
    PLUGINS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn holds_upstreams_names_once() {
        let names: BTreeSet<&str> = PLUGINS.iter().map(|row| row.name).collect();
        let upstream = BTreeSet::from([
            "DefaultBinder",
            "DefaultPreemption",
            "DynamicResources",
            "GangScheduling",
            "ImageLocality",
            "InterPodAffinity",
            "NodeAffinity",
            "NodeDeclaredFeatures",
            "NodeName",
            "NodePorts",
            "NodeResourcesBalancedAllocation",
            "NodeResourcesFit",
            "NodeUnschedulable",
            "NodeVolumeLimits",
            "PodGroupPodsCount",
            "PodTopologySpread",
            "PrioritySort",
            "SchedulingGates",
            "TaintToleration",
            "TopologyPlacementGenerator",
            "VolumeBinding",
            "VolumeRestrictions",
            "VolumeZone",
        ]);
        assert_eq!(names, upstream);
        assert_eq!(PLUGINS.len(), upstream.len());
    }
}
