//! Arguments of plugins: their own kinds inside of the configuration.

use api_types::kube_scheduler_config::v1 as config;
use api_types::{Kind, RawExtension};
use component_base::config::Document;

use super::defaults;

/// The arguments of one plugin: JSON with defaults filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginArgs(pub Vec<u8>);

impl PluginArgs {
    /// The arguments as their kind.
    pub fn get<T: Kind>(&self) -> Result<T, String> {
        if self.0.is_empty() {
            return Ok(T::default());
        }
        api_types::decode_json(&self.0).map_err(|error| error.to_string())
    }
}

/// Decodes strictly, fills in defaults, and gives the text back with kind and version, as `/configz` shows it.
fn complete<T: Kind>(raw: &[u8], fill: fn(&mut T)) -> Result<Vec<u8>, String> {
    let mut args = if raw.is_empty() {
        T::default()
    } else {
        // Arguments may leave kind and version out; if they are there they must be right.
        let mut value: serde_json::Value =
            serde_json::from_slice(raw).map_err(|error| error.to_string())?;
        if value.get("kind").is_none() {
            value["kind"] = T::KIND.into();
        }
        if value.get("apiVersion").is_none() {
            value["apiVersion"] = T::API_VERSION.into();
        }
        Document::parse(value.to_string().as_bytes())
            .and_then(|document| document.decode::<T>())
            .map_err(|error| error.to_string())?
    };
    fill(&mut args);
    let mut value: serde_json::Value = serde_json::from_slice(&api_types::encode_json(&args))
        .map_err(|error| error.to_string())?;
    value["kind"] = T::KIND.into();
    value["apiVersion"] = T::API_VERSION.into();
    Ok(value.to_string().into_bytes())
}

/// Completes the arguments of a plugin. Arguments of plugins we do not know are kept as they are.
pub fn complete_args(plugin: &str, raw: &RawExtension) -> Result<RawExtension, String> {
    let raw = &raw.raw;
    let completed = match plugin {
        "DefaultPreemption" => complete(raw, defaults::default_preemption_args)?,
        "DynamicResources" => {
            complete::<config::DynamicResourcesArgs>(raw, defaults::dynamic_resources_args)?
        }
        "InterPodAffinity" => complete(raw, defaults::inter_pod_affinity_args)?,
        "NodeAffinity" => complete::<config::NodeAffinityArgs>(raw, |_| {})?,
        "NodeResourcesBalancedAllocation" => complete(raw, defaults::balanced_allocation_args)?,
        "NodeResourcesFit" => complete(raw, defaults::node_resources_fit_args)?,
        "PodTopologySpread" => complete(raw, defaults::pod_topology_spread_args)?,
        "VolumeBinding" => complete(raw, defaults::volume_binding_args)?,
        _ => raw.clone(),
    };
    Ok(RawExtension::new(completed))
}
