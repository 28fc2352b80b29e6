//! From flags and `--config` to [`Config`], what the daemon runs with. Upstream: cmd/kube-scheduler/app/options, apis/config.

/// Arguments of plugins.
pub mod args;
/// What is left out.
pub mod defaults;
/// The table of flags.
pub mod flags;
/// From a profile to plugins.
pub mod profile;
/// What must not be said.
pub mod validation;

use std::path::{Path, PathBuf};
use std::time::Duration;

use api_types::kube_scheduler_config::v1::KubeSchedulerConfiguration;
use component_base::auth::delegated::validate_request_header_flags;
use component_base::component_config::apply_leader_election_flags;
use component_base::config::Document;
use component_base::features::FeatureGates;
use component_base::flags::Flags;
use component_base::metrics::MetricsOptions;
use component_base::serving::SecureServingOptions;
use component_base::version;

/// Everything, resolved.
#[derive(Clone)]
pub struct Config {
    /// The configuration with all defaults.
    pub component: KubeSchedulerConfiguration,
    /// `--master`.
    pub master: String,
    pub features: FeatureGates,
    pub serving: SecureServingOptions,
    pub metrics: MetricsOptions,
    /// `--pod-max-in-unschedulable-pods-duration`.
    pub max_in_unschedulable_pods: Duration,
    /// `--write-config-to`: write the configuration there and end.
    pub write_config_to: Option<PathBuf>,
}

/// All mistakes.
#[derive(Debug, thiserror::Error)]
#[error("{}", component_base::aggregate(.0))]
pub struct ConfigErrors(pub Vec<String>);

impl Config {
    /// Resolves flags and reads the configuration file.
    pub fn from_flags(flags: &Flags) -> Result<Self, ConfigErrors> {
        // What cannot be understood is told alone, as upstream does; contradictions all at once.
        let features = FeatureGates::new(component_base::features::KNOWN)
            .with_components(flags.multimap("feature-gates"))
            .map_err(|problems| ConfigErrors(problems.iter().map(ToString::to_string).collect()))?;
        let component = component(flags).map_err(|problem| ConfigErrors(vec![problem]))?;
        let mut errors = version::validate_emulation(flags);
        let problems = validation::validate(&component);
        errors.extend(problems.0.iter().map(ToString::to_string));
        let serving = SecureServingOptions::from_flags(flags, "kube-scheduler", false)
            .map_err(|problem| errors.push(problem.to_string()))
            .ok();
        errors.extend(validate_request_header_flags(flags));
        let metrics = MetricsOptions::from_flags(flags)
            .map_err(|problem| errors.push(problem))
            .ok();
        match (serving, metrics) {
            (Some(serving), Some(metrics)) if errors.is_empty() => {
                let file = flags.string("write-config-to");
                Ok(Self {
                    component,
                    master: flags.string("master").to_owned(),
                    features,
                    serving,
                    metrics,
                    max_in_unschedulable_pods: flags
                        .duration("pod-max-in-unschedulable-pods-duration"),
                    write_config_to: (!file.is_empty()).then(|| PathBuf::from(file)),
                })
            }
            _ => Err(ConfigErrors(errors)),
        }
    }

    /// The configuration as JSON, with kind and version.
    pub fn shown(&self) -> serde_json::Value {
        let json = api_types::encode_json(&self.component);
        let mut shown: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
        shown["kind"] = "KubeSchedulerConfiguration".into();
        shown["apiVersion"] = "kubescheduler.config.k8s.io/v1".into();
        shown
    }
}

/// Reads a configuration file. Strict: what it does not know is an error.
pub fn load(path: &Path) -> Result<KubeSchedulerConfiguration, String> {
    let document = Document::read(path).map_err(|error| error.to_string())?;
    document
        .decode::<KubeSchedulerConfiguration>()
        .map_err(|error| error.to_string())
}

fn component(flags: &Flags) -> Result<KubeSchedulerConfiguration, String> {
    let file = flags.string("config");
    let mut component = if file.is_empty() {
        from_deprecated_flags(flags)
    } else {
        load(Path::new(file))?
    };
    // Leader election flags count even with a file.
    apply_leader_election_flags(flags, &mut component.leader_election);
    defaults::configuration(&mut component)?;
    Ok(component)
}

fn from_deprecated_flags(flags: &Flags) -> KubeSchedulerConfiguration {
    let mut component = KubeSchedulerConfiguration::default();
    let connection = &mut component.client_connection;
    connection.kubeconfig = flags.string("kubeconfig").to_owned();
    connection.content_type = flags.string("kube-api-content-type").to_owned();
    connection.qps = flags.float("kube-api-qps") as f32;
    connection.burst = i32::try_from(flags.int("kube-api-burst")).unwrap_or(i32::MAX);
    let debugging = &mut component.debugging_configuration;
    debugging.enable_profiling = Some(flags.bool("profiling"));
    debugging.enable_contention_profiling = Some(flags.bool("contention-profiling"));
    component
}

#[cfg(test)]
mod tests;
