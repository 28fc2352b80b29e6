//! From a profile's configuration to plugins at their extension points. Upstream: framework/runtime/framework.go (`NewFramework`).

use std::collections::BTreeMap;

use api_types::kube_scheduler_config::v1::{KubeSchedulerProfile, Plugin, PluginSet, Plugins};

use super::args::PluginArgs;
use crate::framework::event::{Action, ClusterEventWithHint, EventResource};
use crate::framework::handle::Handle;
use crate::framework::plugin::{Instance, MAX_NODE_SCORE};
use crate::framework::runtime::{Framework, ProfilePlugins};
use crate::plugins::names;
use crate::plugins::registry::{Build, find};

/// Builds the plugins of a profile, and the framework that calls them.
pub fn build(profile: &KubeSchedulerProfile, handle: Handle) -> Result<Framework, String> {
    let name = profile.scheduler_name.clone().unwrap_or_default();
    let mut plugins = profile.plugins.as_deref().cloned().unwrap_or_default();
    leave_out_missing_defaults(&mut plugins);
    let instances = instances(profile, &mut plugins, &handle)?;
    let by_name: BTreeMap<&str, &Instance> = instances
        .iter()
        .map(|instance| (instance.name, instance))
        .collect();
    let multi = &plugins.multi_point.enabled;

    macro_rules! point {
        ($field:ident, $kind:literal) => {
            ordered(&plugins.$field, multi, $kind, &|name| {
                by_name.get(name).map(|instance| instance.$field.is_some())
            })?
            .into_iter()
            .filter_map(|name| by_name.get(name.as_str())?.$field.clone())
            .collect()
        };
    }
    let score_names = ordered(&plugins.score, multi, "ScorePlugin", &|name| {
        by_name.get(name).map(|instance| instance.score.is_some())
    })?;
    let weights = weights(&plugins, &score_names)?;
    let built = ProfilePlugins {
        pre_enqueue: point!(pre_enqueue, "PreEnqueuePlugin"),
        queue_sort: point!(queue_sort, "QueueSortPlugin"),
        pre_filter: point!(pre_filter, "PreFilterPlugin"),
        filter: point!(filter, "FilterPlugin"),
        post_filter: point!(post_filter, "PostFilterPlugin"),
        pre_score: point!(pre_score, "PreScorePlugin"),
        score: score_names
            .iter()
            .zip(weights)
            .filter_map(|(name, weight)| Some((by_name.get(name.as_str())?.score.clone()?, weight)))
            .collect(),
        reserve: point!(reserve, "ReservePlugin"),
        permit: point!(permit, "PermitPlugin"),
        pre_bind: point!(pre_bind, "PreBindPlugin"),
        bind: point!(bind, "BindPlugin"),
        post_bind: point!(post_bind, "PostBindPlugin"),
    };
    if built.queue_sort.len() != 1 {
        return Err(format!(
            "only one queue sort plugin required for profile with scheduler name \"{name}\", but got {}",
            built.queue_sort.len()
        ));
    }
    if built.bind.is_empty() {
        return Err(format!(
            "at least one bind plugin is needed for profile with scheduler name \"{name}\""
        ));
    }
    let mut listening = instances.clone();
    if !handle.extenders.is_empty() {
        listening.push(on_behalf_of_extenders());
    }
    Ok(Framework::new(
        name,
        profile.percentage_of_nodes_to_score,
        handle,
        built,
        &listening,
    ))
}

/// Upstream's default profile names plugins that are not in this version; nobody asked for them.
fn leave_out_missing_defaults(plugins: &mut Plugins) {
    plugins.multi_point.enabled.retain(|plugin| {
        let missing = find(&plugin.name)
            .is_some_and(|row| matches!(row.build, Build::No { default: true, .. }));
        if missing {
            tracing::debug!(
                v = 2,
                plugin = plugin.name,
                "Plugin of the default profile is not part of this version"
            );
        }
        !missing
    });
}

fn instances(
    profile: &KubeSchedulerProfile,
    plugins: &mut Plugins,
    handle: &Handle,
) -> Result<Vec<Instance>, String> {
    let mut needed: Vec<String> = super::defaults::sets_mut(plugins)
        .into_iter()
        .flat_map(|set| set.enabled.iter().map(|plugin| plugin.name.clone()))
        .collect();
    needed.sort_unstable();
    needed.dedup();
    let everywhere: Vec<String> = plugins
        .multi_point
        .enabled
        .iter()
        .map(|plugin| plugin.name.clone())
        .collect();
    let mut built = Vec::new();
    for name in needed {
        let args = profile
            .plugin_config
            .iter()
            .find(|config| config.name == name)
            .map(|config| PluginArgs(config.args.raw.clone()))
            .unwrap_or_default();
        let Some(row) = find(&name) else {
            // Of other points `ordered` tells, with the point.
            if everywhere.contains(&name) {
                return Err(format!("plugin \"{name}\" does not exist"));
            }
            continue;
        };
        match &row.build {
            Build::Yes(build) => built.push(
                build(&args, handle)
                    .map_err(|error| format!("initializing plugin \"{name}\": {error}"))?,
            ),
            Build::No { why, .. } => {
                return Err(format!(
                    "plugin \"{name}\" cannot be enabled: {why}; remove it from the profile"
                ));
            }
        }
    }
    Ok(built)
}

/// Names of the plugins at an extension point, in the order they are called: plugins that the point names and MultiPoint has too (they override), then
/// other plugins that the point names, then the rest of MultiPoint. Upstream: `expandMultiPointPlugins`.
fn ordered(
    set: &PluginSet,
    multi_point: &[Plugin],
    kind: &str,
    implements: &dyn Fn(&str) -> Option<bool>,
) -> Result<Vec<String>, String> {
    let mut specific: Vec<&str> = Vec::new();
    for plugin in &set.enabled {
        match implements(&plugin.name) {
            None => return Err(format!("{kind} \"{}\" does not exist", plugin.name)),
            Some(false) => {
                return Err(format!(
                    "plugin \"{}\" does not extend {kind} plugin",
                    plugin.name
                ));
            }
            Some(true) if specific.contains(&plugin.name.as_str()) => {
                return Err(format!(
                    "plugin \"{}\" already registered as \"{kind}\"",
                    plugin.name
                ));
            }
            Some(true) => specific.push(&plugin.name),
        }
    }
    let is_disabled = |name: &str| set.disabled.iter().any(|plugin| plugin.name == name);
    let (mut overriding, mut expanded): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    if !is_disabled("*") {
        for plugin in multi_point {
            let name = plugin.name.as_str();
            if implements(name) != Some(true) || is_disabled(name) {
                continue;
            }
            if specific.contains(&name) {
                overriding.push(name);
            } else if expanded.contains(&name) {
                return Err(format!(
                    "plugin \"{name}\" already registered as \"{kind}\""
                ));
            } else {
                expanded.push(name);
            }
        }
    } else {
        return Ok(specific.into_iter().map(str::to_owned).collect());
    }
    let (first, then): (Vec<&str>, Vec<&str>) = specific
        .into_iter()
        .partition(|name| overriding.contains(name));
    Ok(first
        .into_iter()
        .chain(then)
        .chain(expanded)
        .map(str::to_owned)
        .collect())
}

/// Weights of these score plugins. What the score set says counts more than what MultiPoint says.
fn weights(plugins: &Plugins, names: &[String]) -> Result<Vec<i64>, String> {
    let configured = || {
        plugins
            .score
            .enabled
            .iter()
            .chain(&plugins.multi_point.enabled)
    };
    let mut sum: i64 = 0;
    names
        .iter()
        .map(|name| {
            let weight = configured()
                .find(|plugin| plugin.name == *name)
                .and_then(|plugin| plugin.weight)
                .map_or(1, i64::from);
            let weight = if weight == 0 { 1 } else { weight };
            sum = weight
                .checked_mul(MAX_NODE_SCORE)
                .and_then(|points| sum.checked_add(points))
                .ok_or("score plugins: total score of Score plugins could overflow")?;
            Ok(weight)
        })
        .collect()
}

/// Extenders cannot say what they care about, so any change wakes pods that they turned down.
fn on_behalf_of_extenders() -> Instance {
    use EventResource as R;
    Instance {
        name: names::EXTENDER,
        events: [
            R::Pod,
            R::Node,
            R::PersistentVolume,
            R::PersistentVolumeClaim,
            R::CsiNode,
            R::CsiDriver,
            R::CsiStorageCapacity,
            R::StorageClass,
        ]
        .map(|resource| ClusterEventWithHint::always(resource, Action::ALL))
        .to_vec(),
        ..Instance::default()
    }
}

#[cfg(test)]
mod tests;
