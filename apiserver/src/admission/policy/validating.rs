//! What one validating policy says of one request. Upstream: plugin/policy/validating/validator.go.

use std::time::{Duration, Instant};

use api_types::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use cel::{RUNTIME_BUDGET, Value};

use super::composition::{Compiler, Expression, Place, Scope, Variables, with_stack};
use super::source::{Binding, Policy, criteria};
use crate::admission::Observed;
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
    /// How long the expression took.
    pub elapsed: Duration,
}

/// The value of an audit annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotation {
    Publish(String),
    /// Denies the request; and how long the expression took.
    Error(String, Duration),
}

/// What a policy says of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    pub denials: Vec<Denial>,
    /// Errors that the failure policy passes over, and how long their expressions took.
    pub ignored: Vec<(String, Duration)>,
    /// By key.
    pub annotations: Vec<(String, Annotation)>,
}

impl Judgement {
    /// A validation has no answer.
    fn no_answer(&mut self, denies: bool, index: usize, message: String, elapsed: Duration) {
        if denies {
            self.denials.push(Denial {
                index,
                message,
                reason: None,
                elapsed,
            });
        } else {
            self.ignored.push((message, elapsed));
        }
    }
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
    pub fn judge(&self, input: &Input, observed: &Observed<'_>) -> Judgement {
        with_stack(self.expressions(), || self.evaluate(input, observed))
    }

    fn evaluate(&self, input: &Input, observed: &Observed<'_>) -> Judgement {
        if !self.conditions.is_empty() {
            match observed.evaluate(&self.conditions, input) {
                Outcome::Matches => {}
                Outcome::DoesNotMatch(_) => return Judgement::default(),
                Outcome::Failed(error) => return self.no_answer(error),
            }
        }
        let mut remaining = RUNTIME_BUDGET;
        let scope = Scope::new(&self.variables, input);
        let mut results = Vec::with_capacity(self.validations.len());
        let mut start = Instant::now();
        for validation in &self.validations {
            match scope.evaluate(&validation.expression, &mut remaining) {
                Ok(value) => {
                    let end = Instant::now();
                    let value = value.map(|value| value.as_bool() == Some(true));
                    results.push((value, end - start));
                    start = end;
                }
                Err(out_of_budget) => return self.no_answer(out_of_budget.to_string()),
            }
        }
        let mut judgement = Judgement::default();
        // Messages are needed of what fails only. Upstream evaluates them always.
        if results.iter().any(|(result, _)| *result != Ok(true)) {
            self.deny(results, input, remaining, &mut judgement);
        }
        let scope = Scope::new(&self.variables, input);
        let mut remaining = RUNTIME_BUDGET;
        for (key, expression) in &self.annotations {
            let start = Instant::now();
            let value = match scope.evaluate(expression, &mut remaining) {
                Ok(value) => value,
                Err(out_of_budget) => return self.no_answer(out_of_budget.to_string()),
            };
            let error = |message| Annotation::Error(message, start.elapsed());
            let annotation = match value {
                Err(message) if self.fail_closed => error(message),
                Err(_) | Ok(Value::Null) => continue,
                Ok(value) => match value.as_str().map(str::trim) {
                    Some("") => continue,
                    Some(text) => Annotation::Publish(text.to_owned()),
                    None => error(format!(
                        "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                        expression.source,
                        value.type_of().name(),
                    )),
                },
            };
            judgement.annotations.push((key.clone(), annotation));
        }
        judgement
    }

    fn no_answer(&self, message: String) -> Judgement {
        let mut judgement = Judgement::default();
        judgement.no_answer(self.fail_closed, 0, message, Duration::ZERO);
        judgement
    }

    fn deny(
        &self,
        results: Vec<(Result<bool, String>, Duration)>,
        input: &Input,
        mut remaining: u64,
        judgement: &mut Judgement,
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
        let validations = results.into_iter().zip(&self.validations);
        for (index, ((result, elapsed), validation)) in validations.enumerate() {
            let error = match (result, &failed) {
                (Err(error), _) => error,
                (Ok(_), Some(error)) => error.clone(),
                (Ok(true), None) => continue,
                (Ok(false), None) => {
                    let message = messages.get_mut(index).and_then(Option::take);
                    let reason = validation.reason.as_deref().unwrap_or("Invalid");
                    judgement.denials.push(Denial {
                        index,
                        message: message.unwrap_or_else(|| validation.plain_message()),
                        reason: Some(reason.to_owned()),
                        elapsed,
                    });
                    continue;
                }
            };
            judgement.no_answer(self.fail_closed, index, error, elapsed);
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
        let input = Input::of_objects(object.into(), json!(null).into());
        Evaluator::new(&policy).judge(&input, &Observed::default())
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
    fn errors_that_are_passed_over_are_known() {
        let judgement = judge(
            json!({"failurePolicy": "Ignore", "validations": [{"expression": "object.missing == 1"}]}),
        );
        assert_eq!(
            judgement.ignored[0].0,
            "expression 'object.missing == 1' resulted in error: no such key: missing"
        );
        assert_eq!(judgement.denials, []);
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
        let found: Vec<_> = judgement
            .annotations
            .iter()
            .map(|(key, annotation)| match annotation {
                Annotation::Publish(value) => (&**key, Ok(&**value)),
                Annotation::Error(error, _) => (&**key, Err(&**error)),
            })
            .collect();
        assert_eq!(found, [("a", Ok("value")), ("d", Err(error))]);
    }
}
