//! Policies that change objects. Upstream: apiserver/pkg/admission/plugin/policy/mutating and policy/generic.

use std::sync::Arc;
use std::time::Instant;

use api_types::meta::v1::StatusCause;
use api_types::value::structs_equal;
use apimachinery::gvk::GroupVersionResource;
use apimachinery::status::{self, StatusError};
use component_base::auth::{Authorizer, BoxFuture};

use super::{ConfigurationError, Settings};
use crate::admission::cel::Input;
use crate::admission::manifests;
use crate::admission::matching::{Matched, Outcome};
use crate::admission::metrics::error_type;
use crate::admission::policy::mutating::{Change, Evaluator, binding, merged, patched, policy};
use crate::admission::policy::params;
use crate::admission::policy::params::Param;
use crate::admission::policy::source::{Binding, Hook, Hooks, Source};
use crate::admission::policy::versions::Versions;
use crate::admission::{
    AdmissionMetrics, Attributes, Cluster, Observed, Operation, Plugin, Steps, Verdict,
};
use crate::registry::object::Object;

const NAME: &str = "MutatingAdmissionPolicy";
const FEATURE: &str = "MutatingAdmissionPolicy";

pub(super) struct MutatingAdmissionPolicy {
    source: Option<Source<Evaluator>>,
    authorizer: Option<Arc<dyn Authorizer>>,
    metrics: Option<AdmissionMetrics>,
}

impl MutatingAdmissionPolicy {
    pub(super) fn new(
        settings: &Settings,
        text: Option<&[u8]>,
    ) -> Result<Self, ConfigurationError> {
        let folder = manifests::folder_of_policies(NAME, text, &settings.features)?;
        let resources = settings.resources.as_ref();
        let resources = resources.filter(|_| settings.features.enabled(FEATURE));
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

/// A policy that is to run, with one parameter.
struct Invocation<'h> {
    hook: &'h Hook<Evaluator>,
    binding: &'h Binding,
    matched: Matched,
    param: Option<Param>,
}

impl Invocation<'_> {
    /// What is remembered of it between the rounds.
    fn key(&self) -> String {
        let (namespace, name) = self
            .param
            .as_ref()
            .map_or(("", ""), |param| (&*param.namespace, &*param.name));
        let (policy, binding) = (&self.hook.policy.name, &self.binding.name);
        format!("{policy}/{binding}/{namespace}/{name}")
    }
}

/// Why policies refuse a request.
#[derive(Default)]
struct Errors(Vec<(String, Option<&'static str>)>);

impl Errors {
    fn add(
        &mut self,
        hook: &Hook<Evaluator>,
        binding: Option<&Binding>,
        error: impl std::fmt::Display,
        reason: Option<&'static str>,
    ) {
        if !hook.policy.fail_closed {
            return;
        }
        let policy = &hook.policy.name;
        let message = match binding {
            Some(binding) => format!(
                "policy '{policy}' with binding '{}' denied request: {error}",
                binding.name
            ),
            None => format!(
                "policy {} denied request: {error}",
                apimachinery::quote::quote(policy)
            ),
        };
        self.0.push((message, reason));
    }

    fn verdict(self, attributes: &Attributes) -> Verdict {
        let Some((message, reason)) = self.0.first() else {
            return Ok(());
        };
        let mut status = attributes
            .forbidden("admission request denied by policy")
            .into_status();
        status.message.clone_from(message);
        if let Some(reason) = reason {
            (*reason).clone_into(&mut status.reason);
        }
        let details = status.details.get_or_insert_default();
        details
            .causes
            .extend(self.0.into_iter().map(|(message, _)| StatusCause {
                message,
                ..StatusCause::default()
            }));
        Err(status.into())
    }
}

/// What becomes of one mutation.
enum Failed {
    /// By the policy's failure policy.
    Policy(String),
    /// Whatever the policy says.
    Request(StatusError),
}

/// The policies that are about a request, in the order in which they run.
async fn invocations<'h>(
    hooks: &'h Hooks<Evaluator>,
    attributes: &Attributes,
    cluster: &dyn Cluster,
    errors: &mut Errors,
) -> Vec<Invocation<'h>> {
    let mut found = Vec::new();
    for hook in hooks.iter() {
        let misconfigured =
            |error: &dyn std::fmt::Display| format!("failed to configure policy: {error}");
        let matched = match hook.policy.criteria.matches(attributes, cluster).await {
            Ok(Some(matched)) => matched,
            Ok(None) => continue,
            Err(error) => {
                errors.add(hook, None, misconfigured(&error), None);
                continue;
            }
        };
        let kind = match params::resolve(hook.policy.param_kind.as_ref(), cluster) {
            Ok(kind) => kind,
            Err(error) => {
                errors.add(hook, None, misconfigured(&error), None);
                continue;
            }
        };
        for binding in &hook.bindings {
            let matches = match &binding.criteria {
                None => Ok(true),
                Some(criteria) => {
                    let found = criteria.matches(attributes, cluster).await;
                    found.map(|found| found.is_some())
                }
            };
            let params = match matches {
                Ok(false) => continue,
                Ok(true) => {
                    let reference = binding.param_ref.as_ref();
                    params::collect(kind.as_ref(), reference, &attributes.namespace, cluster).await
                }
                Err(error) => Err(error.to_string()),
            };
            match params {
                Ok(params) => found.extend(params.into_iter().map(|param| Invocation {
                    hook,
                    binding,
                    matched: matched.clone(),
                    param,
                })),
                Err(error) => {
                    let error = format!("failed to configure binding: {error}");
                    errors.add(hook, Some(binding), error, None);
                }
            }
        }
    }
    found
}

impl MutatingAdmissionPolicy {
    async fn run(
        &self,
        invocations: &[Invocation<'_>],
        attributes: &mut Attributes,
        cluster: &dyn Cluster,
        errors: &mut Errors,
    ) -> Verdict {
        let mut versions = Versions::default();
        let namespace = versions.namespace(attributes, cluster).await?;
        let mut changed = false;
        for invocation in invocations {
            let (hook, binding) = (invocation.hook, invocation.binding);
            let evaluator = &hook.policy.evaluator;
            let matched = &invocation.matched;
            let authorizer = self.authorizer.as_ref();
            let mut before = None;
            let mut due = true;
            for mutation in 0..evaluator.len() {
                let input = versions.input(attributes, matched, authorizer, cluster);
                let mut input = input.await.map_err(status::internal)?;
                input.namespace.clone_from(&namespace);
                if let Some(param) = &invocation.param {
                    input.params = param.object.clone();
                }
                due = mutation > 0 || self.is_due(invocation, attributes, &input, errors);
                if !due {
                    break;
                }
                if attributes.object.is_none() {
                    continue;
                }
                let request = &attributes.resource;
                let start = Instant::now();
                let outcome = mutate(evaluator, mutation, &input, matched, request, cluster).await;
                self.observe(invocation, start, &outcome);
                match outcome {
                    Ok(object) => {
                        let previous = attributes.object.replace(object);
                        before = before.or(previous);
                        versions.forget_objects();
                        changed = true;
                    }
                    Err(Failed::Policy(error)) => {
                        errors.add(hook, Some(binding), error, Some("Invalid"));
                    }
                    Err(Failed::Request(error)) => return Err(error),
                }
            }
            // What did not run is not asked to run again.
            if !due {
                continue;
            }
            let is_changed = match (&before, &attributes.object) {
                (Some(before), Some(after)) => !structs_equal(before.value(), after.value()),
                _ => false,
            };
            let rounds = attributes.reinvocation.of(NAME);
            if is_changed {
                rounds.changed();
            }
            if evaluator.reinvoke {
                rounds.may_run_again(&invocation.key());
            }
            attributes.reinvocation.wanted |= is_changed;
        }
        if changed {
            attributes.reinvocation.of(NAME).changed();
            attributes.reinvocation.wanted = true;
        }
        Ok(())
    }

    fn observe(
        &self,
        invocation: &Invocation<'_>,
        start: Instant,
        outcome: &Result<Object, Failed>,
    ) {
        let Some(metrics) = &self.metrics else { return };
        let error = match outcome {
            Ok(_) => "no_error",
            Err(Failed::Policy(error)) => error_type(error),
            Err(Failed::Request(_)) => error_type(""),
        };
        let (policy, binding) = (&invocation.hook.policy.name, &invocation.binding.name);
        let labels = [&**policy, &**binding, error];
        metrics.mutating_policies.checked(&labels, start.elapsed());
    }

    /// Whether a policy runs now: what its conditions say, and in the second round whether it asked for that.
    fn is_due(
        &self,
        invocation: &Invocation<'_>,
        attributes: &mut Attributes,
        input: &Input,
        errors: &mut Errors,
    ) -> bool {
        let (hook, binding) = (invocation.hook, invocation.binding);
        let conditions = &hook.policy.evaluator.conditions;
        if !conditions.is_empty() {
            let metrics = self.metrics.as_ref().map(|metrics| &metrics.conditions);
            let observed = Observed::policy(metrics, &hook.policy.name, attributes.operation);
            match observed.evaluate(conditions, input) {
                Outcome::Matches => {}
                Outcome::DoesNotMatch(_) => return false,
                Outcome::Failed(error) => {
                    errors.add(hook, Some(binding), error, Some("Invalid"));
                    return false;
                }
            }
        }
        let second = attributes.reinvocation.second;
        let rounds = attributes.reinvocation.of(NAME);
        !second || rounds.runs_again(&invocation.key())
    }
}

async fn mutate(
    evaluator: &Evaluator,
    mutation: usize,
    input: &Input,
    matched: &Matched,
    request: &GroupVersionResource,
    cluster: &dyn Cluster,
) -> Result<Object, Failed> {
    let change = evaluator
        .evaluate(mutation, input)
        .map_err(Failed::Policy)?;
    let (json, strict) = match change {
        Change::Apply(configuration) => {
            let types = cluster.merge_type(matched).ok_or_else(|| {
                Failed::Policy(format!(
                    "error applying patch: failed to convert patch object to typed object: no corresponding type for {}",
                    matched.kind
                ))
            })?;
            let json = merged(configuration, &input.object, &types).map_err(Failed::Policy)?;
            (json, false)
        }
        Change::Patch(patch) => {
            let json = match patched(&patch, &input.object).map_err(Failed::Policy)? {
                Some(json) => json,
                // Defaults are filled in even so.
                None => serde_json::to_vec(&*input.object)
                    .map_err(|error| Failed::Policy(error.to_string()))?,
            };
            (json, true)
        }
    };
    let object = cluster
        .decode(&json, matched, strict)
        .map_err(Failed::Request)?;
    let object = cluster.from_version(object, matched, request).await;
    object.map_err(Failed::Request)
}

impl Plugin for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn steps(&self) -> Steps {
        Steps::Admit
    }

    fn handles(&self, operation: Operation) -> bool {
        // There is nothing to change of what is deleted.
        self.source.is_some() && operation != Operation::Delete
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes,
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
            let mut errors = Errors::default();
            let invocations = invocations(&hooks, attributes, cluster, &mut errors).await;
            if !invocations.is_empty() {
                let Attributes {
                    reinvocation,
                    object,
                    ..
                } = &mut *attributes;
                let second = reinvocation.second;
                let rounds = reinvocation.of(NAME);
                if second && rounds.changed_meanwhile(object.as_ref()) {
                    rounds.changed();
                }
                self.run(&invocations, attributes, cluster, &mut errors)
                    .await?;
                let Attributes {
                    reinvocation,
                    object,
                    ..
                } = &mut *attributes;
                reinvocation.of(NAME).leave(object.as_ref());
            }
            errors.verdict(attributes)
        })
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::Node;
    use serde_json::json;

    use super::*;
    use crate::admission::plugins::testing::{Few, request};

    /// Lets one policy look at a new node, and the key of what it may do again.
    async fn look(conditions: serde_json::Value) -> (Attributes, String) {
        let policy_json = json!({"metadata": {"name": "p"}, "spec": {
            "failurePolicy": "Ignore",
            "reinvocationPolicy": "IfNeeded",
            "matchConditions": conditions,
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}],
        }});
        let found = api_types::decode_json(policy_json.to_string().as_bytes()).unwrap();
        let found_binding =
            api_types::decode_json(br#"{"metadata":{"name":"b"},"spec":{"policyName":"p"}}"#);
        let hook = Hook {
            policy: Arc::new(policy(&found)),
            bindings: vec![Arc::new(binding(&found_binding.unwrap()))],
        };
        let mut attributes = request(
            Operation::Create,
            "Node",
            "nodes",
            Object::from(Node::default()),
        );
        let invocation = Invocation {
            hook: &hook,
            binding: &hook.bindings[0],
            matched: Matched {
                resource: attributes.resource.clone(),
                kind: attributes.kind.clone(),
            },
            param: None,
        };
        let key = invocation.key();
        let plugin = MutatingAdmissionPolicy {
            source: None,
            authorizer: None,
            metrics: None,
        };
        let cluster = Few::default();
        let mut errors = Errors::default();
        let invocations = [invocation];
        plugin
            .run(&invocations, &mut attributes, &cluster, &mut errors)
            .await
            .unwrap();
        (attributes, key)
    }

    #[tokio::test]
    async fn a_policy_whose_conditions_said_no_does_not_run_in_the_second_round() {
        let runs_again = async |expression: &str| {
            let conditions = json!([{"name": "c", "expression": expression}]);
            let (mut attributes, key) = look(conditions).await;
            let rounds = attributes.reinvocation.of(NAME);
            rounds.changed();
            rounds.runs_again(&key)
        };
        assert!(runs_again("true").await);
        assert!(!runs_again("false").await);
        assert!(!runs_again("object.missing").await);
    }
}
