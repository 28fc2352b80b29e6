//! Pods keep to the level their namespace asks for: what breaks it is refused, noted or warned of. Upstream:
//! pod-security-admission/admission and plugin/pkg/admission/security/podsecurity.
//!
//! Only pods are refused; of what makes pods, the template is looked at and told about. A namespace without labels (and without
//! defaults in the configuration) costs a look at its labels.

mod configuration;
mod levels;
mod metrics;
mod namespace;
mod policy;
#[cfg(test)]
mod tests;

use api_types::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use api_types::batch::v1::{CronJob, Job};
use api_types::core::v1::{
    Namespace, Pod as ApiPod, PodSpec, PodTemplate, PodTemplateSpec, ReplicationController,
};
use apimachinery::status::{self, StatusError};
use component_base::auth::BoxFuture;

pub(super) use configuration::Configuration;
pub use metrics::PodSecurityMetrics;

use super::Settings;
use crate::admission::{Attributes, Cluster, Freshness, Operation, Plugin, Steps, Verdict};
use levels::{Level, LevelVersion, PREFIX, Policy};
use policy::{Pod, Refusal};

/// Upstream's name of the plugin.
pub(super) const NAME: &str = "PodSecurity";

/// Subresources of pods that change nothing a policy is about. Any other is looked at.
const IGNORED_SUBRESOURCES: [&str; 8] = [
    "exec",
    "attach",
    "binding",
    "eviction",
    "log",
    "portforward",
    "proxy",
    "status",
];

pub(super) struct PodSecurity {
    configuration: Configuration,
    metrics: Option<PodSecurityMetrics>,
}

impl PodSecurity {
    pub(super) fn new(settings: &Settings, configuration: Configuration) -> Self {
        Self {
            configuration,
            metrics: settings.pod_security_metrics.clone(),
        }
    }

    fn exempts_namespace(&self, name: &str) -> bool {
        let names = &self.configuration.exemptions.namespaces;
        !name.is_empty() && names.iter().any(|exempt| exempt == name)
    }

    fn exempts_user(&self, name: &str) -> bool {
        let names = &self.configuration.exemptions.usernames;
        !name.is_empty() && names.iter().any(|exempt| exempt == name)
    }

    fn exempts_class_of(&self, pod: &PodSpec) -> bool {
        let names = &self.configuration.exemptions.runtime_classes;
        let class = pod.runtime_class_name.as_deref();
        class.is_some_and(|class| !class.is_empty() && names.iter().any(|exempt| exempt == class))
    }

    /// Whether namespace or user need not keep to anything.
    fn is_exempt(&self, attributes: &Attributes) -> bool {
        let reason = if self.exempts_namespace(&attributes.namespace) {
            "namespace"
        } else if self.exempts_user(&attributes.user.name) {
            "user"
        } else {
            return false;
        };
        self.exempt(attributes, reason);
        true
    }

    fn exempt(&self, attributes: &Attributes, reason: &str) {
        self.count(|metrics| metrics.exempt(attributes));
        note(attributes, "exempt", reason);
    }

    fn count(&self, count: impl FnOnce(&PodSecurityMetrics)) {
        if let Some(metrics) = &self.metrics {
            count(metrics);
        }
    }

    async fn pod(&self, attributes: &Attributes, cluster: &dyn Cluster) -> Verdict {
        if IGNORED_SUBRESOURCES.contains(&attributes.subresource.as_str())
            || self.is_exempt(attributes)
        {
            return Ok(());
        }
        let (policy, errors) = match self.policy_of(&attributes.namespace, cluster).await {
            Ok(found) => found,
            Err(error) => {
                self.count(|metrics| metrics.failed(true, attributes));
                let what = format!("failed to lookup namespace {:?}", attributes.namespace);
                let refused = status::internal(what);
                note(attributes, "error", format!("{}: {error}", refused.message));
                return Err(refused);
            }
        };
        if errors.is_none() && policy.is_privileged() {
            self.count(|metrics| metrics.evaluated(true, policy.enforce, "enforce", attributes));
            note(
                attributes,
                "enforce-policy",
                LevelVersion::PRIVILEGED.to_string(),
            );
            return Ok(());
        }
        let failed = |what: &str| {
            self.count(|metrics| metrics.failed(true, attributes));
            note(attributes, "error", what);
            Err(status::bad_request(what))
        };
        let Some(pod) = attributes.object::<ApiPod>() else {
            return failed("failed to decode pod");
        };
        if attributes.operation == Operation::Update {
            let Some(old) = attributes.old::<ApiPod>() else {
                return failed("failed to decode old pod");
            };
            if !is_significant(&pod.spec, &old.spec) {
                return Ok(());
            }
        }
        let pod = Pod {
            metadata: &pod.metadata,
            spec: &pod.spec,
        };
        self.judge(attributes, policy, errors, pod, true)
    }

    /// Objects that make pods: nothing is refused here.
    async fn maker(&self, attributes: &Attributes, cluster: &dyn Cluster) {
        if !attributes.subresource.is_empty() || self.is_exempt(attributes) {
            return;
        }
        let failed = |what: String| {
            self.count(|metrics| metrics.failed(true, attributes));
            note(attributes, "error", what);
        };
        let (policy, errors) = match self.policy_of(&attributes.namespace, cluster).await {
            Ok(found) => found,
            Err(error) => {
                let name = &attributes.namespace;
                return failed(format!("failed to lookup namespace {name:?}: {error}"));
            }
        };
        let told = [policy.warn.level, policy.audit.level];
        if errors.is_none() && told == [Level::Privileged; 2] {
            return;
        }
        let template = match template(attributes) {
            Some(Some(template)) => template,
            Some(None) => return,
            None => {
                let kind = &attributes.kind;
                return failed(format!(
                    "failed to extract pod template: unexpected object type: {kind}"
                ));
            }
        };
        let pod = Pod {
            metadata: &template.metadata,
            spec: &template.spec,
        };
        // Without enforcement there is no refusal.
        let _ = self.judge(attributes, policy, errors, pod, false);
    }

    /// The policy of a namespace, and what is wrong with its labels.
    async fn policy_of(
        &self,
        name: &str,
        cluster: &dyn Cluster,
    ) -> Result<(Policy, Option<String>), StatusError> {
        for freshness in [Freshness::Cached, Freshness::Consistent] {
            let found = cluster.get("", "namespaces", "", name, freshness).await?;
            if let Some(namespace) = found.as_ref().and_then(|object| object.get::<Namespace>()) {
                let (policy, errors) = self.policy(namespace);
                return Ok((policy, errors.aggregate()));
            }
        }
        let namespaces = apimachinery::gvk::GroupResource {
            group: String::new(),
            resource: "namespaces".to_owned(),
        };
        Err(status::not_found(&namespaces, name))
    }

    fn policy(&self, namespace: &Namespace) -> (Policy, apimachinery::field::ErrorList) {
        Policy::of_labels(&namespace.metadata.labels, &self.configuration.defaults)
    }

    /// Refuses, notes and warns.
    fn judge(
        &self,
        attributes: &Attributes,
        policy: Policy,
        errors: Option<String>,
        pod: Pod<'_>,
        enforce: bool,
    ) -> Verdict {
        if self.exempts_class_of(pod.spec) {
            self.exempt(attributes, "runtimeClass");
            return Ok(());
        }
        if let Some(errors) = errors {
            note(
                attributes,
                "error",
                format!("Failed to parse policy: {errors}"),
            );
            self.count(|metrics| metrics.failed(false, attributes));
        }
        let mut seen: Vec<(LevelVersion, Vec<Refusal>)> = Vec::new();
        let mut violations = |asked: LevelVersion| {
            let known = seen.iter().position(|(known, _)| *known == asked);
            let index = known.unwrap_or_else(|| {
                seen.push((asked, policy::evaluate(asked, pod)));
                seen.len() - 1
            });
            let refusals = &seen[index].1;
            (!refusals.is_empty()).then(|| {
                format!(
                    "violate PodSecurity \"{asked}\": {}",
                    policy::details(refusals)
                )
            })
        };
        let mut verdict = Ok(());
        if enforce {
            note(attributes, "enforce-policy", policy.enforce.to_string());
            let violation = violations(policy.enforce);
            self.count(|metrics| {
                metrics.evaluated(violation.is_none(), policy.enforce, "enforce", attributes);
            });
            if let Some(violation) = violation {
                let violation = violation.replacen("violate", "violates", 1);
                let resource = attributes.group_resource();
                verdict = Err(status::forbidden(&resource, &attributes.name, violation));
            }
        }
        if let Some(violation) = violations(policy.audit) {
            note(attributes, "audit-violations", format!("would {violation}"));
            self.count(|metrics| metrics.evaluated(false, policy.audit, "audit", attributes));
        }
        if verdict.is_ok()
            && let Some(violation) = violations(policy.warn)
        {
            attributes.warnings.add(format!("would {violation}"));
            self.count(|metrics| metrics.evaluated(false, policy.warn, "warn", attributes));
        }
        verdict
    }
}

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let resource = &attributes.resource;
            match (resource.group.as_str(), resource.resource.as_str()) {
                ("", "namespaces") => self.namespace(attributes, cluster).await,
                ("", "pods") => self.pod(attributes, cluster).await,
                ("", "replicationcontrollers" | "podtemplates")
                | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
                | ("batch", "jobs" | "cronjobs") => {
                    self.maker(attributes, cluster).await;
                    Ok(())
                }
                _ => Ok(()),
            }
        })
    }
}

/// A note for the audit log.
fn note(attributes: &Attributes, key: &str, value: impl Into<String>) {
    attributes.annotations.add(format!("{PREFIX}{key}"), value);
}

/// The template of the object's pods: `None` for objects of unknown types, `Some(None)` for one without.
fn template(attributes: &Attributes) -> Option<Option<&PodTemplateSpec>> {
    if let Some(controller) = attributes.object::<ReplicationController>() {
        return Some(controller.spec.template.as_deref());
    }
    let template = if let Some(object) = attributes.object::<PodTemplate>() {
        &object.template
    } else if let Some(object) = attributes.object::<ReplicaSet>() {
        &object.spec.template
    } else if let Some(object) = attributes.object::<Deployment>() {
        &object.spec.template
    } else if let Some(object) = attributes.object::<DaemonSet>() {
        &object.spec.template
    } else if let Some(object) = attributes.object::<StatefulSet>() {
        &object.spec.template
    } else if let Some(object) = attributes.object::<Job>() {
        &object.spec.template
    } else if let Some(object) = attributes.object::<CronJob>() {
        &object.spec.job_template.spec.template
    } else {
        return None;
    };
    Some(Some(template))
}

/// Whether an update of a pod touches what policies are about: other containers or images.
fn is_significant(new: &PodSpec, old: &PodSpec) -> bool {
    let pairs = [
        (&new.containers, &old.containers),
        (&new.init_containers, &old.init_containers),
    ];
    let differ = pairs.iter().any(|(new, old)| {
        new.len() != old.len()
            || new
                .iter()
                .zip(*old)
                .any(|(new, old)| new.image != old.image)
    });
    differ
        || new.ephemeral_containers.iter().any(|new| {
            let new = &new.ephemeral_container_common;
            let mut olds = old
                .ephemeral_containers
                .iter()
                .map(|old| &old.ephemeral_container_common);
            let old = olds.find(|old| old.name == new.name);
            old.is_none_or(|old| old.image != new.image)
        })
}
