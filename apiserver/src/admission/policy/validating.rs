//! What one validating policy says of one request. Upstream: plugin/policy/validating/validator.go.

use api_types::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use cel::{RUNTIME_BUDGET, Value};

use super::composition::{Compiler, Expression, Place, Scope, Variables, with_stack};
use super::source::{Binding, Policy, criteria};
use crate::admission::cel::Input;
use crate::admission::matching::{Conditions, Outcome};

/// Longer messages of expressions are not used.
const LONGEST_MESSAGE: usize = 5 * 1024;

/// A compiled policy.
#[derive(Debug)]
pub struct Evaluator {
    conditions: Conditions,
    variables: Variables,
    validations: Vec<Validation>,
    annotations: Vec<(String, Expression)>,
    fail_closed: bool,
}

#[derive(Debug)]
struct Validation {
    expression: Expression,
    message_expression: Option<Expression>,
    message: String,
    reason: Option<String>,
}

/// A validation that refuses the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Of the validation among those of the policy.
    pub index: usize,
    pub message: String,
    /// None when there was no answer.
    pub reason: Option<String>,
}

/// The value of an audit annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotation {
    Publish(String),
    /// Denies the request.
    Error(String),
}

/// What a policy says of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    pub denials: Vec<Denial>,
    /// By key.
    pub annotations: Vec<(String, Annotation)>,
}

pub(crate) fn policy(policy: &ValidatingAdmissionPolicy) -> Policy<Evaluator> {
    let spec = &policy.spec;
    Policy {
        name: policy.metadata.name.clone(),
        fail_closed: spec.failure_policy.as_deref() != Some("Ignore"),
        criteria: criteria(spec.match_constraints.as_deref()),
        param_kind: spec.param_kind.as_deref().cloned(),
        evaluator: Evaluator::new(policy),
    }
}

pub(crate) fn binding(binding: &ValidatingAdmissionPolicyBinding) -> Binding {
    let spec = &binding.spec;
    Binding {
        name: binding.metadata.name.clone(),
        policy: spec.policy_name.clone(),
        criteria: spec
            .match_resources
            .as_deref()
            .map(|resources| criteria(Some(resources))),
        param_ref: spec.param_ref.as_deref().cloned(),
        actions: spec.validation_actions.clone(),
    }
}

impl Evaluator {
    pub fn new(policy: &ValidatingAdmissionPolicy) -> Evaluator {
        let spec = &policy.spec;
        let params = spec.param_kind.is_some();
        let mut compiler = Compiler::new(params, true);
        let mut variables = Variables::default();
        for variable in &spec.variables {
            let expression = compiler.variable(&variable.name, &variable.expression);
            variables.push(&variable.name, expression);
        }
        let validations = spec.validations.iter().map(|validation| Validation {
            expression: compiler.compile(Place::Validation, &validation.expression),
            message_expression: (!validation.message_expression.is_empty())
                .then(|| compiler.compile(Place::Message, &validation.message_expression)),
            message: validation.message.clone(),
            reason: validation.reason.clone(),
        });
        let validations = validations.collect();
        let annotations = spec.audit_annotations.iter().map(|annotation| {
            let expression = &annotation.value_expression;
            let expression = compiler.compile(Place::AuditAnnotation, expression);
            (annotation.key.clone(), expression)
        });
        Evaluator {
            conditions: Conditions::new(
                &spec.match_conditions,
                spec.failure_policy.as_deref(),
                params,
            ),
            annotations: annotations.collect(),
            variables,
            validations,
            fail_closed: spec.failure_policy.as_deref() != Some("Ignore"),
        }
    }

    fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let validations = self.validations.iter();
        validations
            .flat_map(|validation| {
                std::iter::once(&validation.expression).chain(&validation.message_expression)
            })
            .chain(self.annotations.iter().map(|(_, expression)| expression))
    }

    /// Judges a request with one parameter.
    pub fn judge(&self, input: &Input) -> Judgement {
        with_stack(self.expressions(), || self.evaluate(input))
    }

    fn evaluate(&self, input: &Input) -> Judgement {
        if !self.conditions.is_empty() {
            match self.conditions.evaluate(input, || {}) {
                Outcome::Matches => {}
                Outcome::DoesNotMatch(_) => return Judgement::default(),
                Outcome::Failed(error) => return self.no_answer(error),
            }
        }
        let mut remaining = RUNTIME_BUDGET;
        let scope = Scope::new(&self.variables, input);
        let mut results = Vec::with_capacity(self.validations.len());
        for validation in &self.validations {
            match scope.evaluate(&validation.expression, &mut remaining) {
                Ok(value) => results.push(value.map(|value| value.as_bool() == Some(true))),
                Err(out_of_budget) => return self.no_answer(out_of_budget.to_string()),
            }
        }
        let mut denials = Vec::new();
        // Messages are needed of what fails only. Upstream evaluates them always.
        if results.iter().any(|result| *result != Ok(true)) {
            self.deny(results, input, remaining, &mut denials);
        }
        let scope = Scope::new(&self.variables, input);
        let mut remaining = RUNTIME_BUDGET;
        let mut annotations = Vec::with_capacity(self.annotations.len());
        for (key, expression) in &self.annotations {
            let value = match scope.evaluate(expression, &mut remaining) {
                Ok(value) => value,
                Err(out_of_budget) => return self.no_answer(out_of_budget.to_string()),
            };
            let annotation = match value {
                Err(error) if self.fail_closed => Annotation::Error(error),
                Err(_) | Ok(Value::Null) => continue,
                Ok(value) => match value.as_str().map(str::trim) {
                    Some("") => continue,
                    Some(text) => Annotation::Publish(text.to_owned()),
                    None => Annotation::Error(format!(
                        "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                        expression.source,
                        value.type_of().name(),
                    )),
                },
            };
            annotations.push((key.clone(), annotation));
        }
        Judgement {
            denials,
            annotations,
        }
    }

    fn no_answer(&self, message: String) -> Judgement {
        let denial = Denial {
            index: 0,
            message,
            reason: None,
        };
        Judgement {
            denials: self.fail_closed.then_some(denial).into_iter().collect(),
            annotations: Vec::new(),
        }
    }

    fn deny(
        &self,
        results: Vec<Result<bool, String>>,
        input: &Input,
        mut remaining: u64,
        denials: &mut Vec<Denial>,
    ) {
        let scope = Scope::new(&self.variables, input);
        let mut messages = Vec::with_capacity(self.validations.len());
        let mut failed = None;
        for validation in &self.validations {
            let Some(expression) = &validation.message_expression else {
                messages.push(None);
                continue;
            };
            match scope.evaluate(expression, &mut remaining) {
                Ok(Ok(value)) => messages.push(value.as_str().and_then(usable)),
                Ok(Err(error)) => {
                    tracing::debug!(error, "A messageExpression has no value");
                    messages.push(None);
                }
                Err(out_of_budget) => {
                    failed = Some(format!("failed messageExpression: {out_of_budget}"));
                    break;
                }
            }
        }
        for (index, (result, validation)) in results.into_iter().zip(&self.validations).enumerate()
        {
            let (message, reason) = match (result, &failed) {
                (Err(error), _) => (Some(error), None),
                (Ok(_), Some(error)) => (Some(error.clone()), None),
                (Ok(true), None) => continue,
                (Ok(false), None) => {
                    let reason = validation.reason.as_deref().unwrap_or("Invalid");
                    (None, Some(reason.to_owned()))
                }
            };
            let message = match message {
                // Nobody could tell.
                Some(_) if !self.fail_closed => continue,
                Some(error) => error,
                None => messages
                    .get_mut(index)
                    .and_then(Option::take)
                    .unwrap_or_else(|| validation.plain_message()),
            };
            denials.push(Denial {
                index,
                message,
                reason,
            });
        }
    }
}

impl Validation {
    fn plain_message(&self) -> String {
        match self.message.trim() {
            "" => format!("failed expression: {}", self.expression.source.trim()),
            message => message.to_owned(),
        }
    }
}

/// A message that an expression made, if it is one line and not too long.
fn usable(message: &str) -> Option<String> {
    let message = message.trim();
    let usable = !message.is_empty() && message.len() <= LONGEST_MESSAGE && !message.contains('\n');
    usable.then(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(spec: serde_json::Value) -> Judgement {
        let policy = json!({"metadata": {"name": "p"}, "spec": spec}).to_string();
        let policy: ValidatingAdmissionPolicy = api_types::decode_json(policy.as_bytes()).unwrap();
        let object = json!({"metadata": {"name": "x"}, "spec": {"replicas": 7}});
        Evaluator::new(&policy).judge(&Input::of_objects(object.into(), json!(null).into()))
    }

    #[track_caller]
    fn check(spec: serde_json::Value, want: &[(usize, &str, Option<&str>)]) {
        let judgement = judge(spec);
        let got: Vec<_> = judgement
            .denials
            .iter()
            .map(|denial| (denial.index, &*denial.message, denial.reason.as_deref()))
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn messages_and_reasons() {
        check(
            json!({"validations": [{"expression": "object.spec.replicas < 10"}]}),
            &[],
        );
        check(
            json!({"validations": [
                {"expression": " object.spec.replicas < 5 "},
                {"expression": "true"},
                {"expression": "false", "message": " no ", "reason": "Forbidden"},
                {"expression": "false", "message": "no", "messageExpression": "'not ' + string(object.spec.replicas)"},
                {"expression": "false", "message": "no", "messageExpression": "'two\nlines'"},
                {"expression": "false", "message": "no", "messageExpression": "object.missing + ''"},
                {"expression": "object.missing == 1"},
            ]}),
            &[
                (
                    0,
                    "failed expression: object.spec.replicas < 5",
                    Some("Invalid"),
                ),
                (2, "no", Some("Forbidden")),
                (3, "not 7", Some("Invalid")),
                (4, "no", Some("Invalid")),
                (5, "no", Some("Invalid")),
                (
                    6,
                    "expression 'object.missing == 1' resulted in error: no such key: missing",
                    None,
                ),
            ],
        );
    }

    #[test]
    fn errors_follow_the_failure_policy() {
        let validations = json!([{"expression": "object.missing == 1"}, {"expression": "false"}]);
        check(
            json!({"failurePolicy": "Ignore", "validations": validations}),
            &[(1, "failed expression: false", Some("Invalid"))],
        );
        check(
            json!({"matchConditions": [{"name": "a", "expression": "object.missing == 1"}], "validations": validations}),
            &[(
                0,
                "expression 'object.missing == 1' resulted in error: no such key: missing",
                None,
            )],
        );
        check(
            json!({"matchConditions": [{"name": "a", "expression": "false"}], "validations": validations}),
            &[],
        );
        check(
            json!({"validations": [{"expression": "object."}]}),
            &[(
                0,
                "compilation error: compilation failed: ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'\n | object.\n | .......^",
                None,
            )],
        );
    }

    #[test]
    fn what_costs_too_much_has_no_answer() {
        let list = "[0,1,2,3,4,5,6,7,8,9]";
        let expensive = format!(
            "{list}.all(a, {list}.all(b, {list}.all(c, {list}.all(d, {list}.all(e, a + b + c + d + e >= 0)))))"
        );
        let judgement = judge(json!({"validations": [{"expression": expensive}]}));
        assert!(
            judgement.denials[0]
                .message
                .ends_with("resulted in error: operation cancelled: actual cost limit exceeded"),
            "{judgement:?}"
        );
        let many: Vec<_> = (0..11).map(|_| json!({"expression": expensive})).collect();
        check(
            json!({"validations": many}),
            &[(
                0,
                "validation failed due to running out of cost budget, no further validation rules will be run",
                None,
            )],
        );
    }

    #[test]
    fn annotations() {
        let judgement = judge(json!({"auditAnnotations": [
            {"key": "a", "valueExpression": "' value '"},
            {"key": "b", "valueExpression": "null"},
            {"key": "c", "valueExpression": "''"},
            {"key": "d", "valueExpression": "object.missing + ''"},
        ]}));
        let error = "expression 'object.missing + ''' resulted in error: no such key: missing";
        assert_eq!(
            judgement.annotations,
            [
                ("a".to_owned(), Annotation::Publish("value".to_owned())),
                ("d".to_owned(), Annotation::Error(error.to_owned())),
            ]
        );
    }
}
