//! Match conditions: expressions that must all be true. Upstream: webhook/matchconditions.

use api_types::admissionregistration::v1::MatchCondition;
use cel::{MATCH_CONDITIONS_BUDGET, Program, Type, Value};

use crate::admission::cel::{Declared, Input, compile, environment, evaluate};

/// Compiled match conditions.
#[derive(Debug, Default)]
pub struct Conditions {
    rows: Vec<Row>,
    /// Requests are refused, instead of not matched, when a condition has no answer.
    fail_closed: bool,
}

#[derive(Debug)]
struct Row {
    name: String,
    expression: String,
    program: Result<Program, String>,
}

/// What conditions say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Matches,
    /// And the condition that said no, if one did.
    DoesNotMatch(Option<String>),
    /// There is no answer, and none is to be had without one.
    Failed(String),
}

/// Compiles the expression of a condition; `params` are a policy's.
pub fn compile_condition(expression: &str, params: bool) -> Result<Program, String> {
    let declared = Declared {
        params,
        authorizer: true,
        patch_types: false,
    };
    compile(&environment(declared), expression, &[Type::Bool])
}

impl Conditions {
    pub fn new(
        conditions: &[MatchCondition],
        failure_policy: Option<&str>,
        params: bool,
    ) -> Conditions {
        let row = |condition: &MatchCondition| Row {
            name: condition.name.clone(),
            expression: condition.expression.clone(),
            program: compile_condition(&condition.expression, params),
        };
        Conditions {
            rows: conditions.iter().map(row).collect(),
            fail_closed: failure_policy != Some("Ignore"),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One that is false decides, even when others have no answer. `on_error` is told of each that has none.
    pub fn evaluate(&self, input: &Input, mut on_error: impl FnMut()) -> Outcome {
        let mut remaining = MATCH_CONDITIONS_BUDGET;
        let mut activation = input.activation();
        // It is declared, but conditions are looked at before the namespace is.
        activation.set("namespaceObject", Value::Null);
        let mut errors = Vec::new();
        let mut refused = None;
        for row in &self.rows {
            let value = match &row.program {
                Err(error) => Err(format!("compilation error: {error}")),
                Ok(program) => {
                    match evaluate(program, &row.expression, &activation, &mut remaining) {
                        Ok(Ok(value)) => Ok(value.as_bool()),
                        Ok(Err(error)) => Err(error),
                        Err(out_of_budget) => return self.no_answer(out_of_budget.to_string()),
                    }
                }
            };
            match value {
                Ok(Some(false)) if refused.is_none() => refused = Some(row.name.clone()),
                Ok(_) => {}
                Err(error) => {
                    // Those after one that is false are not looked at.
                    if refused.is_none() {
                        on_error();
                    }
                    errors.push(error);
                }
            }
        }
        match (refused, errors.as_slice()) {
            (Some(name), _) => Outcome::DoesNotMatch(Some(name)),
            (None, []) => Outcome::Matches,
            (None, [only]) => self.no_answer(only.clone()),
            (None, _) => self.no_answer(format!("[{}]", errors.join(", "))),
        }
    }

    fn no_answer(&self, error: String) -> Outcome {
        if self.fail_closed {
            Outcome::Failed(error)
        } else {
            Outcome::DoesNotMatch(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_do_not_see_the_namespace() {
        let condition = MatchCondition {
            name: "c".to_owned(),
            expression: "namespaceObject == null".to_owned(),
        };
        let conditions = Conditions::new(&[condition], None, false);
        let mut input = Input::of_objects(json!({}).into(), json!(null).into());
        input.namespace = Arc::new(json!({"metadata": {"name": "n"}}));
        assert_eq!(conditions.evaluate(&input, || {}), Outcome::Matches);
    }
}
