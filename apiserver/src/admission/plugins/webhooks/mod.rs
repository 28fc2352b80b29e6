//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: programs outside that change or refuse requests.
//! Upstream: apiserver/pkg/admission/plugin/webhook and pkg/admission/configuration.
//!
//! Configurations are compiled once per change and asked in the order of their names. A request that no webhook is about costs the
//! comparison of its resource with their rules, and without any configuration two loads of a number.

/// What is counted.
mod metrics;
/// Webhooks that change objects.
mod mutating;
/// AdmissionReviews.
mod review;
/// Webhooks that judge objects.
mod validating;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::Object as _;
use api_types::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, ValidatingWebhook,
    ValidatingWebhookConfiguration,
};
use api_types::codec::Header;
use apimachinery::field::{self, Path};
use apimachinery::quote::quote;
use apimachinery::status::{self, StatusError};
use component_base::auth::Authorizer;

pub use metrics::WebhookMetrics;
pub(super) use mutating::MutatingAdmissionWebhook;
pub(super) use validating::ValidatingAdmissionWebhook;

use super::{ConfigurationError, Settings};
use crate::admission::cel::Input;
use crate::admission::manifests::{self, Followed, Manifest};
use crate::admission::matching::{Conditions, Criteria, Matched, Outcome};
use crate::admission::{Attributes, Cluster, Observed, configuration};
use crate::registry::derived::Derived;
use crate::registry::object::Object;
use crate::request::latencies::Latency;
use crate::traces::trace;
use crate::webhook::{Authentication, CallError, ClientConfig, Webhooks};
use review::Answer;

/// What a WebhookAdmissionConfiguration says.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    kube_config_file: String,
    static_manifests_dir: String,
}

impl Configuration {
    fn read(text: Option<&[u8]>) -> Result<Self, String> {
        const KIND: (&str, &str) = (
            "apiserver.config.k8s.io/v1",
            "WebhookAdmissionConfiguration",
        );
        let known = ["kubeConfigFile", "staticManifestsDir"];
        let known = |path: &str, name: &str| path.is_empty() && known.contains(&name);
        let configuration: Self = match text {
            Some(text) => configuration::strict(text, &[KIND], &known)?,
            None => Self::default(),
        };
        let file = &configuration.kube_config_file;
        if !file.is_empty() && !file.starts_with('/') {
            let path = Path::new("kubeConfigFile");
            let error = field::invalid(&path, file, "must be an absolute file path");
            return Err(error.to_string());
        }
        Ok(configuration)
    }

    /// Clients that prove to webhooks who this server is.
    fn authenticated(&self, webhooks: &Arc<Webhooks>) -> Result<Arc<Webhooks>, String> {
        if self.kube_config_file.is_empty() {
            return Ok(webhooks.clone());
        }
        let authentication = Authentication::new(std::path::Path::new(&self.kube_config_file));
        let authentication = authentication.map_err(|error| error.to_string())?;
        Ok(Arc::new(webhooks.with_authentication(authentication)))
    }
}

/// A webhook, compiled.
struct Hook {
    name: String,
    configuration: String,
    /// Tells webhooks of the same name in one configuration apart.
    id: String,
    client: ClientConfig,
    criteria: Criteria,
    conditions: Conditions,
    review_versions: Vec<String>,
    /// A webhook that cannot be asked is passed over.
    fails_open: bool,
    timeout: Option<Duration>,
    side_effects: Option<String>,
    /// `reinvocationPolicy: IfNeeded`
    may_run_again: bool,
}

macro_rules! hook_of {
    ($name:ident, $hook:ty, $reinvocation:expr) => {
        fn $name(configuration: &str, id: String, hook: &$hook) -> Hook {
            let failure_policy = hook.failure_policy.as_deref();
            let reinvocation: fn(&$hook) -> Option<&str> = $reinvocation;
            Hook {
                name: hook.name.clone(),
                configuration: configuration.to_owned(),
                id,
                client: ClientConfig::from(&hook.client_config),
                criteria: Criteria::of_webhook(
                    &hook.rules,
                    hook.match_policy.as_deref(),
                    hook.namespace_selector.as_deref(),
                    hook.object_selector.as_deref(),
                ),
                conditions: Conditions::new(&hook.match_conditions, failure_policy, false),
                review_versions: hook.admission_review_versions.clone(),
                fails_open: failure_policy == Some("Ignore"),
                timeout: hook
                    .timeout_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map(Duration::from_secs),
                side_effects: hook.side_effects.clone(),
                may_run_again: reinvocation(hook) == Some("IfNeeded"),
            }
        }
    };
}

hook_of!(of_mutating, MutatingWebhook, |hook| hook
    .reinvocation_policy
    .as_deref());
hook_of!(of_validating, ValidatingWebhook, |_| None);

/// The webhooks of a configuration, each with a name of its own.
fn hooks_of<T>(
    configuration: &str,
    hooks: &[T],
    name: impl Fn(&T) -> &str,
    make: fn(&str, String, &T) -> Hook,
) -> Vec<Hook> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut compiled = Vec::with_capacity(hooks.len());
    for hook in hooks {
        let count = seen.entry(name(hook)).or_default();
        let id = format!("{configuration}/{}/{count}", name(hook));
        *count += 1;
        compiled.push(make(configuration, id, hook));
    }
    compiled
}

/// A kind of configuration of webhooks.
trait Configured: Manifest {
    fn hooks(&self) -> Vec<Hook>;
}

impl Configured for MutatingWebhookConfiguration {
    fn hooks(&self) -> Vec<Hook> {
        hooks_of(self.name(), &self.webhooks, |hook| &hook.name, of_mutating)
    }
}

impl Configured for ValidatingWebhookConfiguration {
    fn hooks(&self) -> Vec<Hook> {
        let hooks = &self.webhooks;
        hooks_of(self.name(), hooks, |hook| &hook.name, of_validating)
    }
}

/// Those of manifests are told apart from stored ones of the same names.
fn hooks_of_manifests<T: Configured>(configurations: &[T]) -> Vec<Hook> {
    let hooks = configurations.iter().flat_map(Configured::hooks);
    let hooks = hooks.map(|hook| Hook {
        id: format!("manifest/{}", hook.id),
        ..hook
    });
    hooks.collect()
}

/// What both plugins are made of.
struct Dispatcher {
    /// None in tests of the chain: there are no webhooks.
    parts: Option<Parts>,
}

struct Parts {
    manifests: Option<Followed<Vec<Hook>>>,
    stored: Derived<Vec<Hook>>,
    caller: Caller,
}

/// The webhooks that may be about one request, those of manifests first.
struct Hooks {
    manifests: Option<Arc<Vec<Hook>>>,
    stored: Option<Arc<[Arc<Vec<Hook>>]>>,
}

impl Hooks {
    fn iter(&self) -> impl Iterator<Item = &Hook> {
        let manifests = self.manifests.iter().flat_map(|hooks| hooks.iter());
        let stored = self.stored.iter().flat_map(|found| found.iter());
        manifests.chain(stored.flat_map(|hooks| hooks.iter()))
    }
}

/// Asks webhooks.
struct Caller {
    webhooks: Arc<Webhooks>,
    authorizer: Option<Arc<dyn Authorizer>>,
    metrics: WebhookMetrics,
    /// As metrics call the plugin: `admit` or `validating`.
    kind: &'static str,
}

/// Why a webhook does not let a request pass.
enum Failure {
    /// It could not be asked, or answered nonsense; `code` is what metrics show. Where it `answered` in words of its own, these are
    /// for the client alone: the log has other readers.
    Calling {
        reason: String,
        code: i32,
        answered: bool,
    },
    /// It said no.
    Rejected(StatusError),
    /// The server cannot do what it said.
    Other(StatusError),
}

impl Dispatcher {
    /// Of one kind of configuration; `kind` is what metrics call the plugin.
    fn new<T: Configured>(
        plugin: &'static str,
        settings: &Settings,
        text: Option<&[u8]>,
        kind: &'static str,
    ) -> Result<Dispatcher, ConfigurationError> {
        let configuration = Configuration::read(text)?;
        let folder = &configuration.static_manifests_dir;
        let folder = manifests::folder(folder, &settings.features)?;
        let resource = settings.resources.as_ref();
        let resource = resource.and_then(|all| all.get(T::GROUP, T::VERSION, T::PLURAL));
        let (Some(resource), Some((webhooks, metrics))) = (resource, &settings.webhooks) else {
            return Ok(Dispatcher { parts: None });
        };
        let caller = Caller {
            webhooks: configuration.authenticated(webhooks)?,
            authorizer: settings.authorizer.clone(),
            metrics: metrics.clone(),
            kind,
        };
        let manifests = folder.map(|folder| {
            let shown = quote(&folder.display().to_string());
            let followed = Followed::start(plugin, folder, &settings.manifests, |folder| {
                let (found, hash) = manifests::webhooks::<T>(folder)?;
                Ok((hooks_of_manifests(&found), hash))
            });
            followed.map_err(|why| {
                let why = format!("failed to load static webhook manifests from {shown}: {why}");
                ConfigurationError::Invalid(why)
            })
        });
        let stored = Derived::new(resource.clone(), |object| {
            object.get().map(T::hooks).unwrap_or_default()
        });
        let parts = Parts {
            manifests: manifests.transpose()?,
            stored,
            caller,
        };
        Ok(Dispatcher { parts: Some(parts) })
    }

    /// All webhooks and who asks them; None when there is nobody to ask.
    async fn hooks(
        &self,
        attributes: &Attributes,
    ) -> Result<Option<(Hooks, &Caller)>, StatusError> {
        let Some(parts) = &self.parts else {
            return Ok(None);
        };
        let manifests = parts.manifests.as_ref().map(Followed::current);
        let stored = if is_about_admission(attributes) {
            None
        } else {
            let stored = parts.stored.get().await.map_err(|error| {
                tracing::error!(%error, "The webhook configurations cannot be read");
                attributes.forbidden("not yet ready to handle request")
            })?;
            Some(stored)
        };
        let hooks = Hooks { manifests, stored };
        let is_any = hooks.iter().next().is_some();
        Ok(is_any.then_some((hooks, &parts.caller)))
    }
}

/// What configures admission is not subject to what is stored of it: a wrong webhook could not be removed any more.
fn is_about_admission(attributes: &Attributes) -> bool {
    attributes.kind.group == "admissionregistration.k8s.io"
        && matches!(
            attributes.kind.kind.as_str(),
            "ValidatingWebhookConfiguration"
                | "MutatingWebhookConfiguration"
                | "ValidatingAdmissionPolicy"
                | "ValidatingAdmissionPolicyBinding"
                | "MutatingAdmissionPolicy"
                | "MutatingAdmissionPolicyBinding"
        )
}

/// The objects of a request in one version.
struct Versioned {
    /// None on deletion.
    object: Option<Object>,
    /// Empty for none.
    json: Vec<u8>,
    old_json: Vec<u8>,
}

impl Versioned {
    async fn new(
        attributes: &Attributes,
        matched: &Matched,
        cluster: &dyn Cluster,
    ) -> Result<Versioned, StatusError> {
        let api_version = matched.kind.group_version().to_string();
        let encode = |object: &Object| {
            let header = Header {
                api_version: &api_version,
                kind: &matched.kind.kind,
            };
            api_types::encode_json_as(object.value(), header)
        };
        let object = match &attributes.object {
            Some(object) => Some(cluster.in_version(object, matched).await?),
            None => None,
        };
        let old_json = match attributes.old_object.as_deref() {
            Some(old) => encode(&cluster.in_version(old, matched).await?),
            None => Vec::new(),
        };
        Ok(Versioned {
            json: object.as_ref().map(encode).unwrap_or_default(),
            object,
            old_json,
        })
    }
}

/// The versions of a request's objects that were needed so far.
#[derive(Default)]
struct Versions(Vec<(Matched, Arc<Versioned>)>);

impl Versions {
    async fn get(
        &mut self,
        attributes: &Attributes,
        matched: &Matched,
        cluster: &dyn Cluster,
    ) -> Result<Arc<Versioned>, StatusError> {
        if let Some((_, known)) = self.0.iter().find(|(known, _)| known.kind == matched.kind) {
            return Ok(known.clone());
        }
        let made = Versioned::new(attributes, matched, cluster)
            .await
            .map(Arc::new)?;
        self.0.push((matched.clone(), made.clone()));
        Ok(made)
    }
}

impl Caller {
    /// The version in which a webhook is to be asked about a request, if it is.
    async fn matches(
        &self,
        hook: &Hook,
        attributes: &Attributes,
        cluster: &dyn Cluster,
        versions: &mut Versions,
    ) -> Result<Option<Matched>, StatusError> {
        let Some(matched) = hook.criteria.matches(attributes, cluster).await? else {
            return Ok(None);
        };
        if hook.conditions.is_empty() {
            return Ok(Some(matched));
        }
        let versioned = versions.get(attributes, &matched, cluster).await?;
        let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or_default();
        let mut input = Input::new(
            attributes,
            &matched,
            json(&versioned.json),
            json(&versioned.old_json),
        );
        if let Some(authorizer) = &self.authorizer {
            input = input.with_authorizer(attributes, authorizer.clone());
        }
        let operation = attributes.operation.as_str();
        let labels = [&*hook.name, "webhook", self.kind, operation];
        let conditions = &self.metrics.conditions;
        match Observed::webhook(conditions, labels).evaluate(&hook.conditions, &input) {
            Outcome::Matches => Ok(Some(matched)),
            Outcome::DoesNotMatch(_) => {
                conditions.excluded(&labels);
                Ok(None)
            }
            Outcome::Failed(error) => {
                tracing::warn!(
                    webhook = hook.name,
                    error,
                    "Failed evaluating match conditions, failing closed"
                );
                Err(status::forbidden(
                    &attributes.group_resource(),
                    &attributes.name,
                    error,
                ))
            }
        }
    }

    /// Asks a webhook and notes what it said.
    async fn ask(
        &self,
        hook: &Hook,
        attributes: &Attributes,
        matched: &Matched,
        versioned: &Versioned,
    ) -> Result<Answer, Failure> {
        if attributes.dry_run {
            match hook.side_effects.as_deref() {
                None => {
                    return Err(Failure::Calling {
                        reason: "Webhook SideEffects is nil".to_owned(),
                        code: 400,
                        answered: false,
                    });
                }
                Some("None" | "NoneOnDryRun") => {}
                Some(_) => {
                    return Err(Failure::Other(status::bad_request(format!(
                        "admission webhook {} does not support dry run",
                        quote(&hook.name)
                    ))));
                }
            }
        }
        let review = review::Review::new(&hook.review_versions, attributes, matched, versioned)
            .map_err(|reason| Failure::Calling {
                reason: format!("could not create admission objects: {reason}"),
                code: 400,
                answered: false,
            })?;
        let client = self
            .webhooks
            .client(&hook.client)
            .map_err(|error| Failure::Calling {
                reason: format!("could not get REST client: {error}"),
                code: 500,
                answered: false,
            })?;
        let name = match self.kind {
            "admit" => "Call mutating webhook",
            _ => "Call validating webhook",
        };
        let span = trace::begin_beside(name, |fields| {
            let resource = &attributes.resource;
            let (group, version) = (&resource.group, &resource.version);
            let slash = if group.is_empty() { "" } else { "/" };
            let resource = &resource.resource;
            fields
                .text("configuration", hook.configuration.as_str())
                .text("webhook", hook.name.as_str())
                .text(
                    "resource",
                    format!("{group}{slash}{version}, Resource={resource}"),
                )
                .text("subresource", attributes.subresource.as_str())
                .text("operation", attributes.operation.as_str())
                .text("UID", review.uid());
        });
        let timeout = match (hook.timeout, remaining(attributes)) {
            (Some(own), Some(left)) => Some(own.min(left)),
            (own, left) => own.or(left),
        };
        let called = |text: &str, code: i32, answered: bool| Failure::Calling {
            reason: format!("failed to call webhook: {text}"),
            code,
            answered,
        };
        let body = client
            .post(review.body.clone(), timeout, &attributes.annotations)
            .await
            .map_err(|error| match error {
                CallError::Failed(text) => called(&text, 503, false),
                CallError::Status(status) => called(&status.message, status.code, true),
            })?;
        span.step("Request completed");
        let decoded = review.decode(&body);
        let response = decoded.map_err(|text| called(&text, 503, true))?;
        let answer = review
            .verify(response, self.kind == "admit")
            .map_err(|text| Failure::Calling {
                reason: format!("received invalid webhook response: {text}"),
                code: 503,
                answered: true,
            })?;
        for (key, value) in &answer.annotations {
            attributes
                .annotations
                .add(format!("{}/{key}", hook.name), value.as_str());
        }
        for warning in &answer.warnings {
            attributes.warnings.add(warning.as_str());
        }
        if answer.allowed {
            return Ok(answer);
        }
        Err(Failure::Rejected(review::denied(&hook.name, answer.result)))
    }

    /// Counts how a webhook's turn ended.
    fn observe<T>(
        &self,
        hook: &Hook,
        attributes: &Attributes,
        start: Instant,
        outcome: &Result<T, Failure>,
    ) {
        let (code, rejection) = match outcome {
            Ok(_) => (200, None),
            Err(Failure::Calling { code, .. }) => {
                let rejected = (!hook.fails_open).then_some("calling_webhook_error");
                (*code, rejected)
            }
            Err(Failure::Rejected(status)) => (status.code, Some("no_error")),
            Err(Failure::Other(_)) => (0, Some("apiserver_internal_error")),
        };
        let operation = attributes.operation.as_str();
        let took = start.elapsed();
        let part = if self.kind == "admit" {
            Latency::MutatingWebhook
        } else {
            Latency::ValidatingWebhook
        };
        attributes.annotations.latencies().add(part, took);
        self.metrics
            .called(&hook.name, self.kind, operation, took, code, rejection);
    }

    /// What the client is told of a failure; nothing when the webhook is passed over.
    fn verdict(&self, hook: &Hook, failure: Failure) -> Option<StatusError> {
        match failure {
            Failure::Calling {
                reason,
                code,
                answered,
            } => {
                let why = if answered {
                    "the answer is no review that counts"
                } else {
                    &reason
                };
                if hook.fails_open {
                    tracing::warn!(webhook = hook.name, code, why, "Failing open");
                    self.metrics.failed_open(&hook.name, self.kind);
                    return None;
                }
                tracing::warn!(webhook = hook.name, code, why, "Failing closed");
                let webhook = quote(&hook.name);
                let text = format!("failed calling webhook {webhook}: {reason}");
                Some(status::internal(text))
            }
            Failure::Rejected(status) => {
                let code = status.code;
                tracing::info!(webhook = hook.name, code, "A webhook rejected a request");
                Some(status)
            }
            Failure::Other(status) => Some(status),
        }
    }
}

/// What is left of the request's time.
fn remaining(attributes: &Attributes) -> Option<Duration> {
    let deadline = attributes.deadline?;
    Some(deadline.saturating_duration_since(tokio::time::Instant::now()))
}

fn check_time(attributes: &Attributes) -> Result<(), StatusError> {
    if remaining(attributes).is_some_and(|left| left.is_zero()) {
        return Err(status::timeout(
            "request did not complete within requested timeout",
            0,
        ));
    }
    Ok(())
}
