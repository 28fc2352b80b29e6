//! All of upstream's plugins by name. The order is the order they run in; a new one goes where upstream has it.

mod always;
mod certificates;
mod default_class;
mod default_toleration_seconds;
mod limit_ranger;
mod mutating_admission_policy;
mod namespaces;
mod node_restriction;
mod pod_security;
mod pod_topology_labels;
mod priority;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage;
mod taint_nodes_by_condition;
mod validating_admission_policy;
mod webhooks;

use std::sync::Arc;

use component_base::auth::Authorizer;

pub use pod_security::{
    Configuration as PodSecurityConfiguration, NAME as POD_SECURITY, PodSecurityMetrics,
};
pub use webhooks::WebhookMetrics;

use super::Plugin;
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
    /// Defaults and exemptions of pod security, and what it counts.
    pub pod_security: PodSecurityConfiguration,
    pub pod_security_metrics: Option<PodSecurityMetrics>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            not_ready_toleration_seconds: 300,
            unreachable_toleration_seconds: 300,
            authorizer: None,
            resources: None,
            webhooks: None,
            pod_security: PodSecurityConfiguration::default(),
            pod_security_metrics: None,
        }
    }
}

pub(super) enum State {
    Built(fn(&Settings) -> Box<dyn Plugin>),
    /// Not there, and why. Enabling it by name is an error; by default it is left out.
    NotBuilt(&'static str),
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

const fn missing(name: &'static str, default_on: bool, reason: &'static str) -> PluginRow {
    PluginRow {
        name,
        default_on,
        state: State::NotBuilt(reason),
    }
}

const NOT_YET: &str = "this release does not have it yet";
const ALPHA: &str =
    "it acts only with the alpha feature GenericWorkload, which this release does not have";

pub(super) const PLUGINS: &[PluginRow] = &[
    off("AlwaysAdmit", |_| Box::new(always::AlwaysAdmit)),
    missing("NamespaceAutoProvision", false, NOT_YET),
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
    off("AlwaysPullImages", |_| Box::new(always::AlwaysPullImages)),
    missing("ImagePolicyWebhook", false, NOT_YET),
    on(POD_SECURITY, |settings| {
        Box::new(pod_security::PodSecurity::new(settings))
    }),
    missing("PodNodeSelector", false, NOT_YET),
    on("Priority", |_| Box::new(priority::Priority)),
    on("DefaultTolerationSeconds", |settings| {
        Box::new(default_toleration_seconds::DefaultTolerationSeconds::new(
            settings,
        ))
    }),
    missing("PodTolerationRestriction", false, NOT_YET),
    missing("EventRateLimit", false, NOT_YET),
    off("ExtendedResourceToleration", |_| {
        Box::new(default_toleration_seconds::ExtendedResourceToleration)
    }),
    on("DefaultStorageClass", |_| {
        Box::new(default_class::DefaultStorageClass)
    }),
    on("StorageObjectInUseProtection", |_| {
        Box::new(storage::StorageObjectInUseProtection)
    }),
    missing("PodGroupProtection", true, ALPHA),
    missing("OwnerReferencesPermissionEnforcement", false, NOT_YET),
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
    missing(
        "ClusterTrustBundleAttest",
        true,
        "it acts only with the feature ClusterTrustBundle, which is off by default and not supported yet",
    ),
    on("CertificateSubjectRestriction", |_| {
        Box::new(certificates::CertificateSubjectRestriction)
    }),
    on("DefaultIngressClass", |_| {
        Box::new(default_class::DefaultIngressClass)
    }),
    off("DenyServiceExternalIPs", |_| {
        Box::new(always::DenyServiceExternalIps)
    }),
    on("PodTopologyLabels", |_| {
        Box::new(pod_topology_labels::PodTopologyLabels)
    }),
    missing("PodGroupWorkloadExists", true, ALPHA),
    missing("NodeDeclaredFeatureValidator", true, NOT_YET),
    missing("JobValidation", true, ALPHA),
    missing("PodResizeValidator", true, NOT_YET),
    on("MutatingAdmissionPolicy", |settings| {
        Box::new(mutating_admission_policy::MutatingAdmissionPolicy::new(
            settings,
        ))
    }),
    on("MutatingAdmissionWebhook", |settings| {
        Box::new(webhooks::MutatingAdmissionWebhook::new(settings))
    }),
    on("ValidatingAdmissionPolicy", |settings| {
        Box::new(validating_admission_policy::ValidatingAdmissionPolicy::new(
            settings,
        ))
    }),
    on("ValidatingAdmissionWebhook", |settings| {
        Box::new(webhooks::ValidatingAdmissionWebhook::new(settings))
    }),
    on("ResourceQuota", |_| {
        Box::new(resource_quota::ResourceQuota::default())
    }),
    off("AlwaysDeny", |_| Box::new(always::AlwaysDeny)),
];
