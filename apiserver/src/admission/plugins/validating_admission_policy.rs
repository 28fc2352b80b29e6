//! Policies that refuse, warn or note. Upstream: apiserver/pkg/admission/plugin/policy/validating.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::meta::v1::StatusCause;
use component_base::auth::{Authorizer, BoxFuture};
use serde_json::json;

use super::{ConfigurationError, Settings};
use crate::admission::manifests;
use crate::admission::matching::Matched;
use crate::admission::metrics::error_type;
use crate::admission::policy::params;
use crate::admission::policy::source::{Binding, Hook, Source};
use crate::admission::policy::validating::{
    Annotation, Denial, Evaluator, Judgement, binding, policy,
};
use crate::admission::policy::versions::Versions;
use crate::admission::{
    AdmissionMetrics, Attributes, Cluster, Observed, Operation, Plugin, Steps, Verdict,
};

const NAME: &str = "ValidatingAdmissionPolicy";
/// Longer values of audit annotations are cut.
const LONGEST_ANNOTATION: usize = 10 * 1024;

pub(super) struct ValidatingAdmissionPolicy {
    source: Option<Source<Evaluator>>,
    authorizer: Option<Arc<dyn Authorizer>>,
    metrics: Option<AdmissionMetrics>,
}

impl ValidatingAdmissionPolicy {
    pub(super) fn new(
        settings: &Settings,
        text: Option<&[u8]>,
    ) -> Result<Self, ConfigurationError> {
        let folder = manifests::folder_of_policies(NAME, text, &settings.features)?;
        let resources = settings.resources.as_ref();
        let manifests = (folder, &settings.manifests);
        let source =
            resources.map(|resources| Source::new(resources, NAME, manifests, policy, binding));
        Ok(Self {
            source: source.transpose().map_err(ConfigurationError::Invalid)?,
            authorizer: settings.authorizer.clone(),
            metrics: settings.metrics.clone(),
        })
    }
}

/// A reason to refuse a request.
struct Denied {
    /// What refuses, as the client is told.
    by: String,
    message: String,
    reason: Option<String>,
}

/// All that policies have to say of one request.
struct Review<'r> {
    attributes: &'r Attributes,
    cluster: &'r dyn Cluster,
    versions: Versions,
    denied: Vec<Denied>,
    metrics: Option<&'r AdmissionMetrics>,
}

fn by(policy: &str, binding: Option<&str>) -> String {
    match binding {
        Some(binding) => {
            format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding}'")
        }
        None => format!("ValidatingAdmissionPolicy '{policy}'"),
    }
}

/// What the audit log is told of a denial; the order of the fields is upstream's.
fn failure(binding: &Binding, denial: &Denial) -> String {
    format!(
        "[{{\"message\":{},\"policy\":{},\"binding\":{},\"expressionIndex\":{},\"validationActions\":{}}}]",
        json!(denial.message),
        json!(binding.policy),
        json!(binding.name),
        denial.index,
        json!(binding.actions),
    )
}

impl Review<'_> {
    fn misconfigured(
        &mut self,
        hook: &Hook<Evaluator>,
        binding: Option<&Binding>,
        error: impl std::fmt::Display,
    ) {
        if hook.policy.fail_closed {
            let what = if binding.is_some() {
                "binding"
            } else {
                "policy"
            };
            self.denied.push(Denied {
                by: by(&hook.policy.name, binding.map(|binding| &*binding.name)),
                message: format!("failed to configure {what}: {error}"),
                reason: None,
            });
        }
    }

    async fn hook(
        &mut self,
        hook: &Hook<Evaluator>,
        authorizer: Option<&Arc<dyn Authorizer>>,
    ) -> Verdict {
        let (attributes, cluster) = (self.attributes, self.cluster);
        let matched = match hook.policy.criteria.matches(attributes, cluster).await {
            Ok(Some(matched)) => matched,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.misconfigured(hook, None, error);
                return Ok(());
            }
        };
        let kind = match params::resolve(hook.policy.param_kind.as_ref(), cluster) {
            Ok(kind) => kind,
            Err(error) => {
                self.misconfigured(hook, None, error);
                return Ok(());
            }
        };
        let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for binding in &hook.bindings {
            let matches = match &binding.criteria {
                None => Ok(true),
                Some(criteria) => {
                    let found = criteria.matches(attributes, cluster).await;
                    found.map(|found| found.is_some())
                }
            };
            match matches {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    self.misconfigured(hook, Some(binding), error);
                    continue;
                }
            }
            let namespace = &attributes.namespace;
            let reference = binding.param_ref.as_ref();
            match params::collect(kind.as_ref(), reference, namespace, cluster).await {
                Ok(params) => {
                    self.binding(
                        hook,
                        binding,
                        &matched,
                        params,
                        authorizer,
                        &mut annotations,
                    )
                    .await?;
                }
                Err(error) => self.misconfigured(hook, Some(binding), error),
            }
        }
        for (key, values) in annotations {
            let key = format!("{}/{key}", hook.policy.name);
            attributes.annotations.add(key, values.join(", "));
        }
        Ok(())
    }

    async fn binding(
        &mut self,
        hook: &Hook<Evaluator>,
        binding: &Binding,
        matched: &Matched,
        params: Vec<Option<params::Param>>,
        authorizer: Option<&Arc<dyn Authorizer>>,
        annotations: &mut BTreeMap<String, Vec<String>>,
    ) -> Verdict {
        if params.is_empty() {
            return Ok(());
        }
        let (attributes, cluster) = (self.attributes, self.cluster);
        let input = self
            .versions
            .input(attributes, matched, authorizer, cluster)
            .await;
        let mut input = match input {
            Ok(input) => input,
            Err(error) => {
                let error = format!("failed to convert object version: {error}");
                self.misconfigured(hook, Some(binding), error);
                return Ok(());
            }
        };
        input.namespace = self.versions.namespace(attributes, cluster).await?;
        for param in params {
            if let Some(param) = param {
                input.params = param.object;
            }
            let conditions = self.metrics.map(|metrics| &metrics.conditions);
            let name = &hook.policy.name;
            let observed = Observed::policy(conditions, name, attributes.operation);
            let judgement = hook.policy.evaluator.judge(&input, &observed);
            self.judged(hook, binding, judgement, annotations);
        }
        Ok(())
    }

    fn judged(
        &mut self,
        hook: &Hook<Evaluator>,
        binding: &Binding,
        judgement: Judgement,
        annotations: &mut BTreeMap<String, Vec<String>>,
    ) {
        let by = by(&hook.policy.name, Some(&binding.name));
        let metrics = self.metrics.map(|metrics| &metrics.validating_policies);
        let checked = |message: &str, elapsed: Duration, action: &str| {
            if let Some(metrics) = metrics {
                let (policy, binding) = (&*hook.policy.name, &*binding.name);
                let labels = [policy, binding, error_type(message), action];
                metrics.checked(&labels, elapsed);
            }
        };
        for (message, elapsed) in judgement.ignored {
            checked(&message, elapsed, "allow");
        }
        for denial in judgement.denials {
            for action in &binding.actions {
                checked(&denial.message, denial.elapsed, &action.to_lowercase());
                match action.as_str() {
                    "Deny" => self.denied.push(Denied {
                        by: by.clone(),
                        message: denial.message.clone(),
                        reason: denial.reason.clone(),
                    }),
                    "Warn" => self
                        .attributes
                        .warnings
                        .add(format!("Validation failed for {by}: {}", denial.message)),
                    "Audit" => self.attributes.annotations.add(
                        "validation.policy.admission.k8s.io/validation_failure",
                        failure(binding, &denial),
                    ),
                    _ => {}
                }
            }
        }
        for (key, annotation) in judgement.annotations {
            match annotation {
                Annotation::Publish(mut value) => {
                    if value.len() > LONGEST_ANNOTATION {
                        let end = (0..=LONGEST_ANNOTATION).rev();
                        let end = end.into_iter().find(|end| value.is_char_boundary(*end));
                        value.truncate(end.unwrap_or(0));
                    }
                    let values = annotations.entry(key).or_default();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                Annotation::Error(message, elapsed) => {
                    checked(&message, elapsed, "deny");
                    self.denied.push(Denied {
                        by: by.clone(),
                        message,
                        reason: None,
                    });
                }
            }
        }
    }

    /// The first reason is what the client is told.
    fn verdict(self) -> Verdict {
        let Some(first) = self.denied.into_iter().next() else {
            return Ok(());
        };
        let message = format!("{} denied request: {}", first.by, first.message);
        let mut status = self.attributes.forbidden(&message).into_status();
        let reason = first.reason.unwrap_or_else(|| "Invalid".to_owned());
        status.code = match reason.as_str() {
            "Forbidden" => 403,
            "Unauthorized" => 401,
            "RequestEntityTooLarge" => 413,
            _ => 422,
        };
        status.reason = reason;
        let details = status.details.get_or_insert_default();
        details.causes.push(StatusCause {
            message,
            ..StatusCause::default()
        });
        Err(status.into())
    }
}

impl Plugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn steps(&self) -> Steps {
        Steps::Validate
    }

    fn handles(&self, _: Operation) -> bool {
        self.source.is_some()
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes,
        cluster: &'a dyn Cluster,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let Some(source) = &self.source else {
                return Ok(());
            };
            let hooks = source.hooks(attributes).await.map_err(|error| {
                tracing::warn!(%error, "Policies are not known yet");
                attributes.forbidden("not yet ready to handle request")
            })?;
            if hooks.is_empty() {
                return Ok(());
            }
            let mut review = Review {
                attributes,
                cluster,
                versions: Versions::default(),
                denied: Vec::new(),
                metrics: self.metrics.as_ref(),
            };
            for hook in hooks.iter() {
                review.hook(hook, self.authorizer.as_ref()).await?;
            }
            review.verdict()
        })
    }
}
