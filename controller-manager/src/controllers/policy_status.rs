//! Says in the status of ValidatingAdmissionPolicies what is wrong with their expressions, given the types that they are about.
//! Upstream: pkg/controller/validatingadmissionpolicystatus and apiserver/pkg/admission/plugin/policy/validating/typechecking.go.

use std::collections::{BTreeMap, BTreeSet};

use api_types::admissionregistration::v1::ValidatingAdmissionPolicy;
use api_types::kube_controller_manager_config::v1alpha1::KubeControllerManagerConfiguration;
use api_types::meta::v1::PatchOptions;
use apimachinery::gvk::{GroupVersion, GroupVersionKind};
use cel::{Env, Schema, Type};
use client::{Client, Lister, ObjectKey, Patch};
use serde_json::{Map, Value, json};

use super::controller_ref::key_of;
use super::{BuildError, Controller, Next, SyncError};
use crate::context::{Setup, on_change};
use crate::runner::Queue;

/// More types than these are not looked at.
const MOST_TYPES: usize = 10;
/// Schemas are followed this deep; what is deeper can be anything.
const DEEPEST_SCHEMA: usize = 32;
/// The schema of what is not followed.
const ANYTHING: &str = "x-kubernetes-preserve-unknown-fields";

/// The validatingadmissionpolicy-status-controller. Its keys are policies.
pub struct PolicyStatusController {
    client: Client,
    policies: Lister<ValidatingAdmissionPolicy>,
}

impl Controller for PolicyStatusController {
    const NAME: &'static str = "validatingadmissionpolicy-status-controller";
    const SERVICE_ACCOUNT: &'static str = "validatingadmissionpolicy-status-controller";
    const QUEUE: &'static str = "validatingadmissionpolicy-status";
    type Key = ObjectKey;

    async fn build(setup: &Setup, queue: &Queue<ObjectKey>) -> Result<Option<Self>, BuildError> {
        let informer = setup.informer::<ValidatingAdmissionPolicy>();
        let (to, policies) = (queue.clone(), informer.lister());
        on_change(&informer, move |change| {
            to.add(key_of(&change.object().metadata));
        });
        Ok(Some(Self {
            client: setup.client.clone(),
            policies,
        }))
    }

    fn workers(config: &KubeControllerManagerConfiguration) -> usize {
        let workers = &config.validating_admission_policy_status_controller;
        usize::try_from(workers.concurrent_policy_syncs).unwrap_or(1)
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, SyncError> {
        let Some(policy) = self.policies.get(key) else {
            return Ok(Next::Done);
        };
        let generation = policy.metadata.generation;
        if generation <= policy.status.observed_generation {
            return Ok(Next::Done);
        }
        let mut documents = Documents::new(&self.client);
        let types = types_of(&policy, &mut documents).await;
        let params = match param_kind(&policy) {
            Some(kind) => Some(documents.schema(&kind).await),
            None => None,
        };
        let warnings = check(&policy, &types, params.as_ref());
        let apply = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": key.name},
            "status": {
                "observedGeneration": generation,
                "typeChecking": if warnings.is_empty() {
                    json!({})
                } else {
                    json!({"expressionWarnings": warnings})
                },
            },
        });
        let options = PatchOptions {
            field_manager: Self::QUEUE.to_owned(),
            force: Some(true),
            ..Default::default()
        };
        let patch = Patch::Apply(apply.to_string().into_bytes());
        self.client
            .api::<ValidatingAdmissionPolicy>()
            .patch_status(&key.name, &patch, &options)
            .await?;
        Ok(Next::Done)
    }
}

/// The API's descriptions of its types, fetched when they are needed.
struct Documents<'c> {
    client: &'c Client,
    by_version: BTreeMap<String, Option<Value>>,
}

impl<'c> Documents<'c> {
    fn new(client: &'c Client) -> Self {
        Documents {
            client,
            by_version: BTreeMap::new(),
        }
    }

    /// The schema of a kind, without references; none if the server does not describe it.
    async fn schema(&mut self, kind: &GroupVersionKind) -> Option<Value> {
        let version = kind.group_version().to_string();
        if !self.by_version.contains_key(&version) {
            let path = if kind.group.is_empty() {
                format!("/openapi/v3/api/{version}")
            } else {
                format!("/openapi/v3/apis/{version}")
            };
            let document = self.fetch(&path).await;
            self.by_version.insert(version.clone(), document);
        }
        let document = self.by_version.get(&version)?.as_ref()?;
        schema_of(document, kind)
    }

    async fn fetch(&self, path: &str) -> Option<Value> {
        let request = http::Request::get(path)
            .header(http::header::ACCEPT, "application/json")
            .body(bytes::Bytes::new())
            .ok()?;
        match self.client.raw_checked(request).await {
            Ok(response) => serde_json::from_slice(response.body()).ok(),
            Err(error) => {
                tracing::debug!(path, %error, "No description of types");
                None
            }
        }
    }
}

/// The kinds that a policy is about, where its rules name them, with their schemas.
async fn types_of(
    policy: &ValidatingAdmissionPolicy,
    documents: &mut Documents<'_>,
) -> Vec<(GroupVersionKind, Value)> {
    let mut kinds = BTreeSet::new();
    let rules = policy.spec.match_constraints.iter();
    'rules: for rule in rules.flat_map(|constraints| &constraints.resource_rules) {
        let rule = &rule.rule_with_operations.rule;
        let wildcard = |names: &[String]| names.iter().any(|name| name.contains('*'));
        if wildcard(&rule.api_groups) || wildcard(&rule.api_versions) {
            continue;
        }
        let mut found = 0;
        for group in sorted(&rule.api_groups) {
            for version in sorted(&rule.api_versions) {
                let version = GroupVersion::new(group, version);
                let served = documents.client.discovery().resources(&version).await;
                let Ok(served) = served else { continue };
                for resource in sorted(&rule.resources) {
                    if resource.contains(['*', '/']) {
                        continue;
                    }
                    let same = served.resources.iter().find(|row| row.name == resource);
                    if let Some(row) = same {
                        let kind = (
                            version.group.to_string(),
                            version.version.to_string(),
                            row.kind.clone(),
                        );
                        kinds.insert(kind);
                        found += 1;
                        if found == MOST_TYPES {
                            break 'rules;
                        }
                    }
                }
            }
        }
    }
    let mut types = Vec::new();
    for (group, version, kind) in kinds {
        let kind = GroupVersionKind {
            group,
            version,
            kind,
        };
        if let Some(schema) = documents.schema(&kind).await {
            types.push((kind, schema));
        }
    }
    types
}

fn sorted(names: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn param_kind(policy: &ValidatingAdmissionPolicy) -> Option<GroupVersionKind> {
    let kind = policy.spec.param_kind.as_deref()?;
    Some(GroupVersionKind::from_api_version_and_kind(
        &kind.api_version,
        &kind.kind,
    ))
}

/// The schema of a kind in a document of OpenAPI v3.
fn schema_of(document: &Value, kind: &GroupVersionKind) -> Option<Value> {
    let schemas = document.pointer("/components/schemas")?.as_object()?;
    let is_kind = |entry: &Value| {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        (text("group"), text("version"), text("kind"))
            == (&*kind.group, &*kind.version, &*kind.kind)
    };
    let schema = schemas.values().find(|schema| {
        let kinds = schema.get("x-kubernetes-group-version-kind");
        let kinds = kinds.and_then(Value::as_array);
        kinds.is_some_and(|kinds| kinds.iter().any(is_kind))
    })?;
    Some(resolved(schema, schemas, DEEPEST_SCHEMA))
}

/// A schema with what it refers to in place of the references.
fn resolved(schema: &Value, schemas: &Map<String, Value>, depth: usize) -> Value {
    let Value::Object(fields) = schema else {
        return schema.clone();
    };
    if depth == 0 {
        let mut anything = json!({"type": "object"});
        anything[ANYTHING] = Value::Bool(true);
        return anything;
    }
    let target = |value: &Value| {
        let name = value.get("$ref")?.as_str()?.rsplit('/').next()?.to_owned();
        schemas.get(&name)
    };
    // A reference with a default or a description is the only part of an `allOf`.
    let only = match fields.get("allOf").and_then(Value::as_array) {
        Some(parts) if parts.len() == 1 => target(&parts[0]),
        _ => None,
    };
    if let Some(found) = target(schema).or(only) {
        return resolved(found, schemas, depth - 1);
    }
    let mut result = Map::new();
    for (name, value) in fields {
        let value = match (name.as_str(), value) {
            ("properties", Value::Object(properties)) => properties
                .iter()
                .map(|(name, schema)| (name.clone(), resolved(schema, schemas, depth - 1)))
                .collect(),
            ("items" | "additionalProperties", schema) => resolved(schema, schemas, depth - 1),
            ("default" | "description", _) => continue,
            (_, value) => value.clone(),
        };
        result.insert(name.clone(), value);
    }
    if result.get("format").and_then(Value::as_str) == Some("int-or-string") {
        result.insert("x-kubernetes-int-or-string".to_owned(), Value::Bool(true));
    }
    Value::Object(result)
}

/// What is wrong with the expressions of a policy, for each type.
fn check(
    policy: &ValidatingAdmissionPolicy,
    types: &[(GroupVersionKind, Value)],
    params: Option<&Option<Value>>,
) -> Vec<Value> {
    let environments: Vec<(&GroupVersionKind, Env)> = types
        .iter()
        .map(|(kind, schema)| {
            let env = environment(kind, schema, params);
            (kind, with_variables(env, policy))
        })
        .collect();
    let mut warnings = Vec::new();
    let mut look_at = |field: String, expression: &str| {
        let found: Vec<String> = environments
            .iter()
            .filter_map(|(kind, env)| {
                let errors = env.compile(expression).err()?;
                // What is wrong with a constant shows when the policy is written.
                errors
                    .instantiation()
                    .is_none()
                    .then(|| format!("{kind}: {errors}\n"))
            })
            .collect();
        if !found.is_empty() {
            warnings.push(json!({"fieldRef": field, "warning": found.join("\n")}));
        }
    };
    for (index, validation) in policy.spec.validations.iter().enumerate() {
        let path = format!("spec.validations[{index}]");
        look_at(format!("{path}.expression"), &validation.expression);
        if !validation.message_expression.is_empty() {
            let expression = &validation.message_expression;
            look_at(format!("{path}.messageExpression"), expression);
        }
    }
    warnings
}

/// The environment of expressions about one type.
fn environment(kind: &GroupVersionKind, schema: &Value, params: Option<&Option<Value>>) -> Env {
    let object = Schema::from_openapi(schema, &kind.kind, true);
    let mut builder = Env::builder()
        .admission()
        .variable(
            "authorizer",
            Type::object("kubernetes.authorization.Authorizer"),
        )
        .variable("object", Type::Dyn)
        .variable("oldObject", Type::Dyn)
        .schema_variable("object", &object)
        .schema_variable("oldObject", &object);
    if let Some(params) = params {
        builder = builder.variable("params", Type::Dyn);
        if let Some(schema) = params {
            let schema = Schema::from_openapi(schema, "params", true);
            builder = builder.schema_variable("params", &schema);
        }
    }
    builder.build()
}

/// The environment with the variables of a policy, of which each knows those before it.
fn with_variables(env: Env, policy: &ValidatingAdmissionPolicy) -> Env {
    const TYPE: &str = "kubernetes.variables";
    let mut env = env
        .extend()
        .object_type(TYPE, [])
        .variable("variables", Type::object(TYPE))
        .build();
    for variable in &policy.spec.variables {
        let of = match env.compile(&variable.expression) {
            Ok(program) => program.output_type().of_variable(),
            Err(_) => Type::Dyn,
        };
        env.declare_field(TYPE, &variable.name, of);
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        json!({"components": {"schemas": {
            "Meta": {"type": "object", "properties": {"name": {"type": "string"}}},
            "Spec": {"type": "object", "properties": {
                "replicas": {"type": "integer", "format": "int32"},
                "port": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
                "nested": {"$ref": "#/components/schemas/Spec"},
            }},
            "Thing": {
                "type": "object",
                "properties": {
                    "metadata": {"allOf": [{"$ref": "#/components/schemas/Meta"}], "default": {}},
                    "spec": {"allOf": [{"$ref": "#/components/schemas/Spec"}], "default": {}},
                },
                "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "Thing"}],
            },
        }}})
    }

    fn warnings(spec: Value) -> Vec<(String, String)> {
        let policy = json!({"metadata": {"name": "p"}, "spec": spec}).to_string();
        let policy = api_types::decode_json(policy.as_bytes()).unwrap();
        let kind = GroupVersionKind {
            group: "g".to_owned(),
            version: "v1".to_owned(),
            kind: "Thing".to_owned(),
        };
        let schema = schema_of(&document(), &kind).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        check(&policy, &[(kind, schema)], None)
            .iter()
            .map(|warning| (text(&warning["fieldRef"]), text(&warning["warning"])))
            .collect()
    }

    #[test]
    fn right_types_have_no_warnings() {
        let found = warnings(json!({
            "variables": [{"name": "v", "expression": "object.spec.replicas"}],
            "validations": [
                {"expression": "object.spec.replicas > 1 && variables.v == 2 && object.spec.port == 80"},
                {"expression": "object.spec.nested.nested.replicas == oldObject.spec.replicas"},
                {"expression": "request.name == object.metadata.name && namespaceObject.metadata.name == 'a'"},
            ],
        }));
        assert_eq!(found, []);
    }

    #[test]
    fn wrong_types_have_one_warning_per_expression() {
        let found = warnings(json!({
            "variables": [{"name": "v", "expression": "object.spec.replicas"}],
            "validations": [
                {"expression": "object.spec.replicas > '1'", "messageExpression": "'wants more, got ' + object.spec.replicas"},
                {"expression": "variables.v == 'x'"},
                {"expression": "object.spec.nonsense == 1"},
            ],
        }));
        let want = [
            (
                "spec.validations[0].expression",
                "found no matching overload for '_>_' applied to '(int, string)'",
            ),
            (
                "spec.validations[0].messageExpression",
                "found no matching overload for '_+_' applied to '(string, int)'",
            ),
            (
                "spec.validations[1].expression",
                "found no matching overload for '_==_' applied to '(int, string)'",
            ),
            (
                "spec.validations[2].expression",
                "undefined field 'nonsense'",
            ),
        ];
        assert_eq!(found.len(), want.len(), "{found:?}");
        for ((field, warning), (want_field, want_warning)) in found.iter().zip(want) {
            assert_eq!(field, want_field);
            assert!(
                warning.starts_with("g/v1, Kind=Thing: ERROR: <input>:1:")
                    && warning.contains(want_warning),
                "{warning}"
            );
        }
    }
}
