//! All of upstream's plugins by name. The order is the order they run in; a new one goes where upstream has it.

mod always;
mod always_pull_images;
mod certificates;
mod default_class;
mod default_toleration_seconds;
mod event_rate_limit;
mod image_policy_webhook;
mod limit_ranger;
mod mutating_admission_policy;
mod namespaces;
mod node_restriction;
mod owner_references;
mod pod_certificates;
mod pod_groups;
mod pod_node_selector;
mod pod_security;
mod pod_toleration_restriction;
mod pod_topology_labels;
mod pods_on_nodes;
mod priority;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage;
mod taint_nodes_by_condition;
#[cfg(test)]
pub(super) mod testing;
mod token_audiences;
mod validating_admission_policy;
mod webhooks;

use std::sync::Arc;

use component_base::auth::Authorizer;
use component_base::features::FeatureGates;

pub(crate) use certificates::may as may_for_signer;
pub use pod_security::PodSecurityMetrics;
pub use webhooks::WebhookMetrics;

use super::configuration::Configuration;
use super::manifests::Manifests;
use super::{AdmissionMetrics, Plugin};
use crate::loopback::LateLoopback;
use crate::registry::table::Resources;
use crate::webhook::Webhooks;

/// What flags and the server give to plugins.
#[derive(Clone)]
pub struct Settings {
    /// --default-not-ready-toleration-seconds
    pub not_ready_toleration_seconds: i64,
    /// --default-unreachable-toleration-seconds
    pub unreachable_toleration_seconds: i64,
    /// For plugins that ask about rights beyond the request's own.
    pub authorizer: Option<Arc<dyn Authorizer>>,
    /// For plugins that are configured by objects.
    pub resources: Option<Arc<Resources>>,
    /// For plugins that ask webhooks, and what they count.
    pub webhooks: Option<(Arc<Webhooks>, WebhookMetrics)>,
    pub pod_security_metrics: Option<PodSecurityMetrics>,
    /// What the chain and policies count.
    pub metrics: Option<AdmissionMetrics>,
    /// For plugins that make objects.
    pub client: LateLoopback,
    /// For plugins that act with a feature only.
    pub features: FeatureGates,
    /// --admission-control-config-file
    pub configuration: Configuration,
    /// For plugins that follow files.
    pub manifests: Manifests,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            not_ready_toleration_seconds: 300,
            unreachable_toleration_seconds: 300,
            authorizer: None,
            resources: None,
            webhooks: None,
            pod_security_metrics: None,
            metrics: None,
            client: LateLoopback::default(),
            features: FeatureGates::default(),
            configuration: Configuration::default(),
            manifests: Manifests::default(),
        }
    }
}

/// Why a plugin cannot do what its configuration says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ConfigurationError {
    /// It cannot be read.
    Init(String),
    /// It makes no sense.
    Invalid(String),
}

impl From<String> for ConfigurationError {
    fn from(why: String) -> Self {
        ConfigurationError::Init(why)
    }
}

type Built = Result<Box<dyn Plugin>, ConfigurationError>;

pub(super) enum State {
    Built(fn(&Settings) -> Box<dyn Plugin>),
    /// Built from its part of the configuration file, if it has one.
    Configured(fn(&Settings, Option<&[u8]>) -> Built),
}

pub(super) struct PluginRow {
    pub(super) name: &'static str,
    pub(super) default_on: bool,
    pub(super) state: State,
}

const fn on(name: &'static str, build: fn(&Settings) -> Box<dyn Plugin>) -> PluginRow {
    PluginRow {
        name,
        default_on: true,
        state: State::Built(build),
    }
}

const fn off(name: &'static str, build: fn(&Settings) -> Box<dyn Plugin>) -> PluginRow {
    PluginRow {
        name,
        default_on: false,
        state: State::Built(build),
    }
}

const fn configured(
    name: &'static str,
    default_on: bool,
    build: fn(&Settings, Option<&[u8]>) -> Built,
) -> PluginRow {
    PluginRow {
        name,
        default_on,
        state: State::Configured(build),
    }
}

pub(super) const PLUGINS: &[PluginRow] = &[
    off("AlwaysAdmit", |_| Box::new(always::AlwaysAdmit)),
    off("NamespaceAutoProvision", |settings| {
        Box::new(namespaces::NamespaceAutoProvision::new(settings))
    }),
    on("NamespaceLifecycle", |_| {
        Box::new(namespaces::NamespaceLifecycle::default())
    }),
    off("NamespaceExists", |_| Box::new(namespaces::NamespaceExists)),
    off("LimitPodHardAntiAffinityTopology", |_| {
        Box::new(always::LimitPodHardAntiAffinityTopology)
    }),
    on("LimitRanger", |_| Box::new(limit_ranger::LimitRanger)),
    on("ServiceAccount", |_| {
        Box::new(service_account::ServiceAccount)
    }),
    off("NodeRestriction", |settings| {
        Box::new(node_restriction::NodeRestriction::new(
            settings.authorizer.clone(),
        ))
    }),
    on("TaintNodesByCondition", |_| {
        Box::new(taint_nodes_by_condition::TaintNodesByCondition)
    }),
    off("AlwaysPullImages", |_| {
        Box::new(always_pull_images::AlwaysPullImages)
    }),
    configured("ImagePolicyWebhook", false, |_, text| {
        Ok(Box::new(image_policy_webhook::ImagePolicyWebhook::new(
            text,
        )?))
    }),
    configured(pod_security::NAME, true, |settings, text| {
        let configuration = pod_security::Configuration::new(text)?;
        Ok(Box::new(pod_security::PodSecurity::new(
            settings,
            configuration,
        )))
    }),
    configured("PodNodeSelector", false, |_, text| {
        Ok(Box::new(pod_node_selector::PodNodeSelector::new(text)))
    }),
    on("Priority", |_| Box::new(priority::Priority)),
    on("DefaultTolerationSeconds", |settings| {
        Box::new(default_toleration_seconds::DefaultTolerationSeconds::new(
            settings,
        ))
    }),
    configured("PodTolerationRestriction", false, |_, text| {
        Ok(Box::new(
            pod_toleration_restriction::PodTolerationRestriction::new(text)?,
        ))
    }),
    configured("EventRateLimit", false, |_, text| {
        Ok(Box::new(event_rate_limit::EventRateLimit::new(text)?))
    }),
    off("ExtendedResourceToleration", |_| {
        Box::new(default_toleration_seconds::ExtendedResourceToleration)
    }),
    on("DefaultStorageClass", |_| {
        Box::new(default_class::DefaultStorageClass)
    }),
    on("StorageObjectInUseProtection", |_| {
        Box::new(storage::StorageObjectInUseProtection)
    }),
    on("PodGroupProtection", |settings| {
        Box::new(pod_groups::PodGroupProtection {
            enabled: settings.features.enabled(pod_groups::FEATURE),
        })
    }),
    off("OwnerReferencesPermissionEnforcement", |settings| {
        Box::new(owner_references::OwnerReferencesPermissionEnforcement::new(
            settings.authorizer.clone(),
        ))
    }),
    on("PersistentVolumeClaimResize", |_| {
        Box::new(storage::PersistentVolumeClaimResize)
    }),
    on("RuntimeClass", |_| Box::new(runtime_class::RuntimeClass)),
    on("CertificateApproval", |settings| {
        Box::new(certificates::CertificateRights::approval(
            settings.authorizer.clone(),
        ))
    }),
    on("CertificateSigning", |settings| {
        Box::new(certificates::CertificateRights::signing(
            settings.authorizer.clone(),
        ))
    }),
    on("ClusterTrustBundleAttest", |settings| {
        Box::new(certificates::ClusterTrustBundleAttest::new(settings))
    }),
    on("CertificateSubjectRestriction", |_| {
        Box::new(certificates::CertificateSubjectRestriction)
    }),
    on("DefaultIngressClass", |_| {
        Box::new(default_class::DefaultIngressClass)
    }),
    off("DenyServiceExternalIPs", |_| {
        Box::new(always::DenyServiceExternalIps)
    }),
    on("PodTopologyLabels", |settings| {
        Box::new(pod_topology_labels::PodTopologyLabels {
            enabled: settings.features.enabled("PodTopologyLabelsAdmission"),
        })
    }),
    on("PodGroupWorkloadExists", |settings| {
        Box::new(pod_groups::PodGroupWorkloadExists {
            enabled: settings.features.enabled(pod_groups::FEATURE),
        })
    }),
    on("NodeDeclaredFeatureValidator", |settings| {
        Box::new(pods_on_nodes::NodeDeclaredFeatureValidator {
            enabled: settings.features.enabled("NodeDeclaredFeatures"),
        })
    }),
    on("JobValidation", |settings| {
        Box::new(pod_groups::JobValidation {
            enabled: settings.features.enabled(pod_groups::FEATURE),
        })
    }),
    on("PodResizeValidator", |_| {
        Box::new(pods_on_nodes::PodResizeValidator)
    }),
    configured("MutatingAdmissionPolicy", true, |settings, text| {
        let plugin = mutating_admission_policy::MutatingAdmissionPolicy::new(settings, text)?;
        Ok(Box::new(plugin))
    }),
    configured("MutatingAdmissionWebhook", true, |settings, text| {
        let plugin = webhooks::MutatingAdmissionWebhook::new(settings, text)?;
        Ok(Box::new(plugin))
    }),
    configured("ValidatingAdmissionPolicy", true, |settings, text| {
        let plugin = validating_admission_policy::ValidatingAdmissionPolicy::new(settings, text)?;
        Ok(Box::new(plugin))
    }),
    configured("ValidatingAdmissionWebhook", true, |settings, text| {
        let plugin = webhooks::ValidatingAdmissionWebhook::new(settings, text)?;
        Ok(Box::new(plugin))
    }),
    configured("ResourceQuota", true, |_, text| {
        Ok(Box::new(resource_quota::ResourceQuota::new(text)?))
    }),
    off("AlwaysDeny", |_| Box::new(always::AlwaysDeny)),
];
