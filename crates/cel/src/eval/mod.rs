//! Programs: expressions ready to be evaluated many times.

mod attribute;
mod interpreter;
mod plan;

use std::fmt;
use std::sync::Arc;

use crate::checker::Checked;
use crate::cost::{self, CostEstimate, SizeEstimator};
use crate::env::Env;
use crate::error::EvalError;
use crate::types::Type;
use crate::value::Value;
pub(crate) use interpreter::{LIST_COST, MAP_COST, STRUCT_COST};
use plan::Node;

/// A compiled expression.
#[derive(Clone)]
pub struct Program {
    inner: Arc<Inner>,
}

struct Inner {
    checked: Checked,
    node: Node,
    /// How many variables of comprehensions are alive at once.
    slots: usize,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("output_type", self.output_type())
            .finish_non_exhaustive()
    }
}

/// Makes a checked expression ready. Constants are computed here; one without a value is an error.
pub(crate) fn plan(env: &Env, checked: Checked) -> Result<Program, EvalError> {
    let (node, slots) = plan::plan(env, &checked)?;
    Ok(Program {
        inner: Arc::new(Inner {
            checked,
            node,
            slots,
        }),
    })
}

/// The variables of one evaluation.
#[derive(Debug, Default)]
pub struct Activation<'a> {
    variables: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Activation<'a> {
    /// No variables.
    pub fn new() -> Self {
        Activation {
            variables: Vec::with_capacity(8),
        }
    }

    /// With one more variable.
    pub fn with(mut self, name: &'a str, value: Value<'a>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &'a str, value: Value<'a>) {
        match self.variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.variables.push((name, value)),
        }
    }

    fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

/// How much one evaluation may cost, and what it did cost.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: u64,
    used: u64,
}

impl Budget {
    /// At most this much.
    pub fn new(limit: u64) -> Self {
        Budget { limit, used: 0 }
    }

    /// What has been used.
    pub fn used(&self) -> u64 {
        self.used
    }

    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.used = self.used.saturating_add(cost);
        if self.used > self.limit {
            Err(EvalError::CostLimit)
        } else {
            Ok(())
        }
    }
}

/// The most that one call may cost, as upstream sets it.
impl Default for Budget {
    fn default() -> Self {
        Budget::new(cost::PER_CALL_LIMIT)
    }
}

impl Program {
    /// The type of what it evaluates to.
    pub fn output_type(&self) -> &Type {
        self.inner.checked.type_of(&self.inner.checked.root)
    }

    /// What evaluating it costs at least and at most.
    pub fn estimate_cost(&self, sizes: &dyn SizeEstimator) -> CostEstimate {
        cost::estimate(&self.inner.checked, sizes)
    }

    /// Whether it uses a variable.
    pub fn uses(&self, variable: &str) -> bool {
        let mut found = false;
        self.inner.checked.root.walk(&mut |expr| {
            if let crate::syntax::ast::Kind::Ident(name) = &expr.kind {
                found |= **name == *variable;
            }
        });
        found
    }

    /// The fields that are selected from a variable; none when the variable is used in another way too.
    pub fn fields_of(&self, variable: &str) -> Option<Vec<&str>> {
        use crate::syntax::ast::Kind;
        let is_variable = |kind: &Kind| matches!(kind, Kind::Ident(name) if **name == *variable);
        let (mut fields, mut uses) = (Vec::new(), 0);
        self.inner.checked.root.walk(&mut |expr| match &expr.kind {
            kind if is_variable(kind) => uses += 1,
            Kind::Select { operand, field, .. } if is_variable(&operand.kind) => {
                fields.push(&**field);
            }
            _ => {}
        });
        (fields.len() == uses).then_some(fields)
    }

    /// Whether it selects a field from a variable somewhere: `claims.email`, `claims.?email`, `has(claims.email)`.
    pub fn selects(&self, variable: &str, field: &str) -> bool {
        use crate::syntax::ast::Kind;
        let is_variable = |kind: &Kind| matches!(kind, Kind::Ident(name) if **name == *variable);
        let mut found = false;
        self.inner.checked.root.walk(&mut |expr| match &expr.kind {
            Kind::Select {
                operand, field: of, ..
            } => found |= **of == *field && is_variable(&operand.kind),
            Kind::Call {
                function,
                target: None,
                args,
            } if &**function == "_?._" => {
                if let [operand, of] = args.as_slice() {
                    found |= is_variable(&operand.kind)
                        && matches!(&of.kind, Kind::Literal(Value::String(of)) if **of == *field);
                }
            }
            _ => {}
        });
        found
    }

    /// How deep the expression is nested. What it makes is nested no deeper, but for what comes from variables.
    pub fn depth(&self) -> usize {
        self.inner.checked.root.depth()
    }

    /// Evaluates it. The budget says afterwards what it cost.
    pub fn evaluate<'a>(
        &self,
        activation: &Activation<'a>,
        budget: &mut Budget,
    ) -> Result<Value<'a>, EvalError> {
        interpreter::evaluate(&self.inner.node, self.inner.slots, activation, budget)
    }
}
