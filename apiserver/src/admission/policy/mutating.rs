//! What one mutating policy makes of an object. Upstream: plugin/policy/mutating/compilation.go and plugin/policy/mutating/patch.

use api_types::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
};
use apimachinery::managedfields::{ListRelationship, ObjectType, PathElement, TypeId, TypedValue};
use apimachinery::patch::json::Patch;
use apimachinery::quote::quote;
use cel::{List, Map, RUNTIME_BUDGET, StructValue, Value};
use serde_json::Value as Json;

use super::composition::{Compiler, Expression, Place, Scope, Variables, with_stack};
use super::source::{Binding, Policy, criteria};
use crate::admission::cel::Input;
use crate::admission::matching::Conditions;
use crate::handlers::body;

/// A compiled policy.
#[derive(Debug)]
pub struct Evaluator {
    pub conditions: Conditions,
    /// It runs again when the object changed after it.
    pub reinvoke: bool,
    variables: Variables,
    mutations: Vec<Mutation>,
}

#[derive(Debug)]
struct Mutation {
    apply: bool,
    expression: Expression,
}

/// A change to the object that a mutation wants.
#[derive(Clone, Debug)]
pub enum Change {
    /// Fields that are laid over the object's.
    Apply(Json),
    Patch(Patch),
}

pub(crate) fn policy(policy: &MutatingAdmissionPolicy) -> Policy<Evaluator> {
    let spec = &policy.spec;
    Policy {
        name: policy.metadata.name.clone(),
        fail_closed: spec.failure_policy.as_deref() != Some("Ignore"),
        criteria: criteria(spec.match_constraints.as_deref()),
        param_kind: spec.param_kind.as_deref().cloned(),
        evaluator: Evaluator::new(policy),
    }
}

pub(crate) fn binding(binding: &MutatingAdmissionPolicyBinding) -> Binding {
    let spec = &binding.spec;
    Binding {
        name: binding.metadata.name.clone(),
        policy: spec.policy_name.clone(),
        criteria: spec
            .match_resources
            .as_deref()
            .map(|resources| criteria(Some(resources))),
        param_ref: spec.param_ref.as_deref().cloned(),
        actions: Vec::new(),
    }
}

impl Evaluator {
    pub fn new(policy: &MutatingAdmissionPolicy) -> Evaluator {
        let spec = &policy.spec;
        let params = spec.param_kind.is_some();
        let mut compiler = Compiler::new(params, true);
        let mut variables = Variables::default();
        for variable in &spec.variables {
            let expression = compiler.variable(&variable.name, &variable.expression);
            variables.push(&variable.name, expression);
        }
        let mutations = spec.mutations.iter().filter_map(|mutation| {
            let apply = mutation.patch_type == "ApplyConfiguration";
            let (place, text) = if apply {
                let configuration = mutation.apply_configuration.as_ref()?;
                (Place::ApplyConfiguration, &configuration.expression)
            } else {
                (Place::JsonPatch, &mutation.json_patch.as_ref()?.expression)
            };
            Some(Mutation {
                apply,
                expression: compiler.compile(place, text),
            })
        });
        Evaluator {
            conditions: Conditions::new(
                &spec.match_conditions,
                spec.failure_policy.as_deref(),
                params,
            ),
            reinvoke: spec.reinvocation_policy == "IfNeeded",
            mutations: mutations.collect(),
            variables,
        }
    }

    /// How many mutations there are.
    pub fn len(&self) -> usize {
        self.mutations.len()
    }

    pub fn is_empty(&self) -> bool {
        self.mutations.is_empty()
    }

    /// What one mutation wants to change.
    pub fn evaluate(&self, mutation: usize, input: &Input) -> Result<Change, String> {
        let Some(mutation) = self.mutations.get(mutation) else {
            return Err("policy evaluator is nil".to_owned());
        };
        if let Some(error) = mutation.expression.error() {
            return Err(error.to_owned());
        }
        let expressions = std::iter::once(&mutation.expression);
        with_stack(expressions, || {
            let scope = Scope::new(&self.variables, input);
            let mut remaining = RUNTIME_BUDGET;
            let value = scope.evaluate(&mutation.expression, &mut remaining);
            let value = value.map_err(|out_of_budget| out_of_budget.to_string())??;
            if mutation.apply {
                configuration(&value).map(Change::Apply)
            } else {
                operations(&value).map(Change::Patch)
            }
        })
    }
}

/// JSON as Go's structs of JSON values write it: floating point numbers without a fraction are integers.
fn json(value: &Value<'_>) -> Result<Json, String> {
    let mut json = value
        .to_json_within(body::LIMIT)
        .map_err(|error| error.to_string())?;
    whole_numbers(&mut json);
    Ok(json)
}

fn whole_numbers(json: &mut Json) {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    match json {
        Json::Number(number) if number.is_f64() => {
            let value = number.as_f64().unwrap_or(f64::NAN);
            if value.fract() == 0.0 && value.abs() <= LARGEST {
                *json = Json::from(value as i64);
            }
        }
        Json::Array(elements) => elements.iter_mut().for_each(whole_numbers),
        Json::Object(entries) => entries.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

fn configuration(value: &Value<'_>) -> Result<Json, String> {
    let Value::Struct(object) = value else {
        return Err(format!(
            "unsupported return type from ApplyConfiguration expression: {}",
            value.type_of().name()
        ));
    };
    let json = json(value)?;
    check_type_names(object)?;
    Ok(json)
}

/// Objects are built of types that are named after the fields they are in.
fn check_type_names(object: &StructValue<'_>) -> Result<(), String> {
    let mut errors = Vec::new();
    let mut path = object.type_name.to_string();
    object_names(object, &mut path, &mut errors);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(format!("type mismatch: {}", errors.join("\n")))
    }
}

fn object_names(object: &StructValue<'_>, path: &mut String, errors: &mut Vec<String>) {
    if *object.type_name != **path {
        errors.push(format!(
            "unexpected type name {}, expected {}, which matches field name path from root Object type",
            quote(&object.type_name),
            quote(path)
        ));
    }
    let length = path.len();
    for (name, value) in &object.fields {
        path.push('.');
        path.push_str(name);
        names(value, path, errors);
        path.truncate(length);
    }
}

fn names(value: &Value<'_>, path: &mut String, errors: &mut Vec<String>) {
    match value {
        Value::Struct(object) => object_names(object, path, errors),
        Value::List(List::Owned(elements)) => {
            elements
                .iter()
                .for_each(|element| names(element, path, errors));
        }
        Value::Map(map @ Map::Owned(_)) => {
            for key in map.keys() {
                if let Ok(Some(value)) = map.find(&key) {
                    names(&value, path, errors);
                }
            }
        }
        _ => {}
    }
}

fn operations(value: &Value<'_>) -> Result<Patch, String> {
    let Value::List(list) = value else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    // All values together become one text.
    let mut left = body::LIMIT;
    let mut text = vec![b'['];
    for element in list.iter() {
        let element = element.map_err(|error| error.to_string())?;
        let Value::Struct(operation) = &element else {
            return Err(format!(
                "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of {}",
                element.type_of().name()
            ));
        };
        let field = |name: &str| operation.field(name).and_then(Value::as_str).unwrap_or("");
        let mut json = serde_json::Map::new();
        json.insert("op".to_owned(), field("op").into());
        json.insert("path".to_owned(), field("path").into());
        if !field("from").is_empty() {
            json.insert("from".to_owned(), field("from").into());
        }
        if let Some(value) = operation.field("value") {
            let unmarshallable = |error: String| {
                format!(
                    "JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}"
                )
            };
            let mut written = value
                .to_json_within(left)
                .map_err(|error| unmarshallable(error.to_string()))?;
            if let Value::Struct(object) = value {
                check_type_names(object)?;
            }
            whole_numbers(&mut written);
            json.insert("value".to_owned(), written);
        }
        if text.len() > 1 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, &json).map_err(|error| error.to_string())?;
        left = body::LIMIT
            .checked_sub(text.len())
            .ok_or_else(|| format!("JSON Patch: the patch is larger than {} bytes", body::LIMIT))?;
    }
    text.push(b']');
    Patch::parse(&text).map_err(|error| error.to_string())
}

/// The object as a patch leaves it, as JSON. A patch whose test fails changes nothing.
pub fn patched(patch: &Patch, object: &Json) -> Result<Option<Vec<u8>>, String> {
    let document = serde_json::to_vec(object).map_err(|error| error.to_string())?;
    match patch.apply(&document) {
        Ok(patched) => Ok(Some(patched)),
        Err(error) if error.to_string().ends_with(": test failed") => Ok(None),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}

/// The object with a configuration laid over it, by the types of its kind.
pub fn merged(mut configuration: Json, object: &Json, of: &ObjectType) -> Result<Vec<u8>, String> {
    let fails = |what: &str, error: &dyn std::fmt::Display| {
        format!("error applying patch: {what}: {error}")
    };
    if let Json::Object(fields) = &mut configuration {
        for name in ["apiVersion", "kind"] {
            fields.insert(name.to_owned(), object[name].clone());
        }
    }
    let configuration = TypedValue::new(configuration, of.clone(), false)
        .map_err(|error| fails("failed to convert patch object to typed object", &error))?;
    let mut atomics = Vec::new();
    find_atomics(
        of,
        of.root,
        &configuration.value,
        &mut String::new(),
        &mut atomics,
    );
    if !atomics.is_empty() {
        let text = format!(
            "may not mutate atomic arrays, maps or structs: {}",
            atomics.join(", ")
        );
        return Err(fails("invalid ApplyConfiguration", &text));
    }
    let live = TypedValue::new(object.clone(), of.clone(), true)
        .map_err(|error| fails("failed to convert original object to typed object", &error))?;
    let merged = live
        .merge(&configuration)
        .map_err(|error| fails("failed to merge patch", &error))?;
    serde_json::to_vec(&merged.value).map_err(|error| error.to_string())
}

/// Paths of what would be replaced as a whole: whoever sets a part of it may not know that the rest goes.
fn find_atomics(
    of: &ObjectType,
    ty: TypeId,
    value: &Json,
    path: &mut String,
    found: &mut Vec<String>,
) {
    let atom = of.schema.atom(ty);
    let length = path.len();
    match (value, &atom.map, &atom.list) {
        (Json::Object(entries), Some(map), _) => {
            if map.atomic {
                found.push(path.clone());
            }
            for (name, value) in entries {
                if let Some(field) = map.field(name) {
                    path.push_str(&PathElement::field(name.clone()).to_string());
                    find_atomics(of, field.ty, value, path, found);
                    path.truncate(length);
                }
            }
        }
        (Json::Array(elements), _, Some(list)) => {
            if list.relationship == ListRelationship::Atomic {
                found.push(path.clone());
            }
            for (index, value) in elements.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                find_atomics(of, list.element, value, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::managedfields::built_in_type;
    use serde_json::json;

    use super::*;

    fn deployment() -> Json {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"a": "b"}},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    }

    /// The object that a mutation makes of a deployment, or the error.
    fn mutate(variables: Json, kind: &str, expression: &str) -> Result<Json, String> {
        let mutation = if kind == "ApplyConfiguration" {
            json!({"patchType": kind, "applyConfiguration": {"expression": expression}})
        } else {
            json!({"patchType": kind, "jsonPatch": {"expression": expression}})
        };
        let policy = json!({"metadata": {"name": "p"}, "spec": {"variables": variables, "mutations": [mutation]}});
        let policy: MutatingAdmissionPolicy =
            api_types::decode_json(policy.to_string().as_bytes()).unwrap();
        let object = deployment();
        let input = Input::of_objects(object.clone().into(), json!(null).into());
        let changed = match Evaluator::new(&policy).evaluate(0, &input)? {
            Change::Patch(patch) => patched(&patch, &object)?,
            Change::Apply(configuration) => {
                let of = built_in_type("apps", "v1", "Deployment").unwrap();
                Some(merged(configuration, &object, &of)?)
            }
        };
        Ok(changed.map_or(object, |json| serde_json::from_slice(&json).unwrap()))
    }

    #[track_caller]
    fn apply(expression: &str, pointer: &str, want: Json) {
        let changed = mutate(json!([]), "ApplyConfiguration", expression).unwrap();
        assert_eq!(changed.pointer(pointer), Some(&want), "{changed}");
    }

    #[track_caller]
    fn fails(kind: &str, expression: &str, want: &str) {
        assert_eq!(mutate(json!([]), kind, expression).unwrap_err(), want);
    }

    #[test]
    fn configurations_are_laid_over_objects() {
        apply(
            "Object{spec: Object.spec{replicas: object.spec.replicas + 1}}",
            "/spec/replicas",
            json!(2),
        );
        apply(
            "Object{spec: Object.spec{replicas: double(3)}}",
            "/spec/replicas",
            json!(3),
        );
        apply(
            "Object{metadata: Object.metadata{labels: Object.metadata.labels{c: 'd'}}}",
            "/metadata/labels",
            json!({"a": "b", "c": "d"}),
        );
        apply(
            "Object{metadata: Object.metadata{?labels: optional.none()}}",
            "/metadata/labels",
            json!({"a": "b"}),
        );
        apply(
            "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'x', image: 'y'}]}}}}",
            "/spec/template/spec/containers",
            json!([{"name": "c", "image": "i"}, {"name": "x", "image": "y"}]),
        );
        fails(
            "ApplyConfiguration",
            "Object{spec: Object.wrong{replicas: 1}}",
            "type mismatch: unexpected type name \"Object.wrong\", expected \"Object.spec\", which matches field name path from root Object type",
        );
        fails(
            "ApplyConfiguration",
            "Object{spec: Object.spec{selector: Object.spec.selector{}}}",
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector",
        );
        fails(
            "ApplyConfiguration",
            "Object{spec: Object.spec{nonsense: 1}}",
            "error applying patch: failed to convert patch object to typed object: .spec.nonsense: field not declared in schema",
        );
        fails(
            "ApplyConfiguration",
            "Object{spec: Object.spec{replicas: object.missing}}",
            "expression 'Object{spec: Object.spec{replicas: object.missing}}' resulted in error: no such key: missing",
        );
    }

    #[test]
    fn patches_are_applied() {
        let patch = |expression: &str| mutate(json!([]), "JSONPatch", expression);
        let changed = patch(
            "[JSONPatch{op: 'test', path: '/spec/replicas', value: 1}, JSONPatch{op: 'replace', path: '/spec/replicas', value: object.spec.replicas + 4}, JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]",
        );
        let changed = changed.unwrap();
        assert_eq!(changed.pointer("/spec/replicas"), Some(&json!(5)));
        assert_eq!(changed["metadata"]["labels"]["a/b"], json!("c"));
        let unchanged = patch(
            "[JSONPatch{op: 'test', path: '/spec/replicas', value: 9}, JSONPatch{op: 'replace', path: '/spec/replicas', value: 5}]",
        );
        assert_eq!(unchanged.unwrap(), deployment());
        let moved = patch(
            "[JSONPatch{op: 'add', path: '/spec/template/metadata', value: Object.spec.template.metadata{labels: {'x': 'y'}}}, JSONPatch{op: 'copy', from: '/spec/replicas', path: '/spec/minReadySeconds'}]",
        );
        assert_eq!(
            moved.unwrap()["spec"]["template"]["metadata"],
            json!({"labels": {"x": "y"}})
        );
        let error = patch("[JSONPatch{op: 'replace', path: '/nowhere/at/all', value: 1}]");
        assert!(error.unwrap_err().starts_with("JSON Patch: "));
    }

    #[test]
    fn values_that_are_huge_as_text_are_not_written() {
        let mut variables = vec![json!({"name": "v0", "expression": "['aaaaaaaaaaaaaaaa']"})];
        for index in 1..60 {
            let expression = format!("[dyn(variables.v{0}), dyn(variables.v{0})]", index - 1);
            variables.push(json!({"name": format!("v{index}"), "expression": expression}));
        }
        let error = mutate(
            json!(variables),
            "JSONPatch",
            "[JSONPatch{op: 'add', path: '/x', value: variables.v59}]",
        );
        assert!(
            error
                .unwrap_err()
                .contains("the value is larger than 3145728 bytes")
        );
        let error = mutate(
            json!(variables),
            "ApplyConfiguration",
            "Object{spec: Object.spec{x: variables.v59}}",
        );
        assert!(
            error
                .unwrap_err()
                .contains("the value is larger than 3145728 bytes")
        );
    }
}
