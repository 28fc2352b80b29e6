//! The expressions of a policy and its variables: `variables.x` is evaluated when it is first read, once per evaluation.
//! Upstream: apiserver/pkg/admission/plugin/cel/composition.go and apiserver/pkg/cel/lazy.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cel::{Activation, Env, EvalError, MapView, Program, Str, Type, Value};

use crate::admission::cel::{Declared, Input, OutOfBudget, compile, environment, evaluate};

const VARIABLES: &str = "variables";
const VARIABLES_TYPE: &str = "kubernetes.variables";
/// An expression with all the variables that it reads may be nested this deep: evaluation goes as deep as that.
const DEEPEST: usize = 1000;
/// Evaluating what is nested deeper takes a stack of its own.
const DEEP: usize = 250;
const DEEP_STACK: usize = 256 << 20;

/// What an expression may evaluate to, and use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Variable,
    Validation,
    Message,
    AuditAnnotation,
    ApplyConfiguration,
    JsonPatch,
}

impl Place {
    fn types(self) -> Vec<Type> {
        match self {
            // Whatever it is.
            Place::Variable => vec![Type::Dyn],
            Place::Validation => vec![Type::Bool],
            Place::Message => vec![Type::String],
            Place::AuditAnnotation => vec![Type::String, Type::Null],
            Place::ApplyConfiguration => vec![Type::object("Object")],
            Place::JsonPatch => vec![Type::list(Type::object("JSONPatch"))],
        }
    }
}

/// Compiles the expressions of one policy. Variables come first, each of which may use those before it.
#[derive(Debug)]
pub struct Compiler {
    params: bool,
    /// Whether there is `variables` at all.
    composed: bool,
    variables: Vec<(String, Type)>,
    depths: HashMap<String, usize>,
    /// For variables, validations and audit annotations; for messages; for mutations.
    environments: [Option<Env>; 3],
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expression {
    pub source: String,
    program: Result<Program, String>,
    depth: usize,
}

impl Compiler {
    pub fn new(params: bool, composed: bool) -> Compiler {
        Compiler {
            params,
            composed,
            variables: Vec::new(),
            depths: HashMap::new(),
            environments: [None, None, None],
        }
    }

    fn environment(&mut self, place: Place) -> &Env {
        let (slot, declared) = match place {
            Place::Variable | Place::Validation | Place::AuditAnnotation => (0, (true, false)),
            Place::Message => (1, (false, false)),
            Place::ApplyConfiguration | Place::JsonPatch => (2, (true, true)),
        };
        let (params, composed, variables) = (self.params, self.composed, &self.variables);
        self.environments[slot].get_or_insert_with(|| {
            let plain = environment(Declared {
                params,
                authorizer: declared.0,
                patch_types: declared.1,
            });
            if !composed {
                return plain;
            }
            plain
                .extend()
                .object_type(VARIABLES_TYPE, variables.iter().cloned())
                .variable(VARIABLES, Type::object(VARIABLES_TYPE))
                .build()
        })
    }

    /// Compiles an expression.
    pub fn compile(&mut self, place: Place, source: &str) -> Expression {
        let program = compile(self.environment(place), source, &place.types());
        let depth = program.as_ref().map_or(0, |program| self.depth(program));
        let program = program.and_then(|program| {
            if depth <= DEEPEST {
                Ok(program)
            } else {
                Err(format!(
                    "must not be nested deeper than {DEEPEST} levels, variables included"
                ))
            }
        });
        Expression {
            source: source.to_owned(),
            program,
            depth,
        }
    }

    /// Compiles a variable and declares it for the expressions that follow, even if it is wrong.
    pub fn variable(&mut self, name: &str, source: &str) -> Expression {
        let expression = self.compile(Place::Variable, source);
        let of = match &expression.program {
            Ok(program) => program.output_type().of_variable(),
            Err(_) => Type::Dyn,
        };
        for environment in self.environments.iter_mut().flatten() {
            environment.declare_field(VARIABLES_TYPE, name, of.clone());
        }
        self.variables.push((name.to_owned(), of));
        self.depths.insert(name.to_owned(), expression.depth);
        expression
    }

    fn depth(&self, program: &Program) -> usize {
        let of_variables = match program.fields_of(VARIABLES) {
            Some(names) => names.iter().filter_map(|name| self.depths.get(*name)).max(),
            None => self.depths.values().max(),
        };
        program.depth() + of_variables.copied().unwrap_or(0)
    }
}

impl Expression {
    /// What is wrong with it.
    pub fn error(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }
}

/// The compiled variables of a policy.
#[derive(Debug, Default)]
pub struct Variables {
    expressions: Vec<Expression>,
    /// The last one of a name counts.
    by_name: HashMap<String, usize>,
}

impl Variables {
    pub fn push(&mut self, name: &str, expression: Expression) {
        self.by_name.insert(name.to_owned(), self.expressions.len());
        self.expressions.push(expression);
    }
}

/// One evaluation of expressions that belong together: variables keep their values for as long as it lives.
pub struct Scope<'i> {
    variables: &'i Variables,
    input: &'i Input,
    values: Vec<OnceLock<Result<Value<'i>, EvalError>>>,
    /// What variables cost that was not yet accounted for.
    cost: AtomicU64,
    depth: AtomicUsize,
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.variables.by_name.keys().map(|name| (name, "..")))
            .finish()
    }
}

impl<'i> Scope<'i> {
    pub fn new(variables: &'i Variables, input: &'i Input) -> Scope<'i> {
        Scope {
            variables,
            input,
            values: variables
                .expressions
                .iter()
                .map(|_| OnceLock::new())
                .collect(),
            cost: AtomicU64::new(0),
            depth: AtomicUsize::new(0),
        }
    }

    fn activation(&'i self) -> Activation<'i> {
        self.input
            .activation()
            .with(VARIABLES, Value::Map(cel::Map::View(self)))
    }

    /// Evaluates an expression and takes what it and its variables cost from what is left. The inner error is what users are
    /// shown.
    pub fn evaluate(
        &'i self,
        expression: &Expression,
        remaining: &mut u64,
    ) -> Result<Result<Value<'i>, String>, OutOfBudget> {
        let program = match &expression.program {
            Ok(program) => program,
            Err(error) => return Ok(Err(format!("compilation error: {error}"))),
        };
        let value = evaluate(program, &expression.source, &self.activation(), remaining);
        let of_variables = self.cost.swap(0, Ordering::Relaxed);
        *remaining = remaining.checked_sub(of_variables).ok_or(OutOfBudget)?;
        value
    }

    fn compute(&'i self, name: &str, expression: &'i Expression) -> Result<Value<'i>, EvalError> {
        let program = expression.program.as_ref().map_err(|error| {
            EvalError::new(format!(
                "composited variable {} fails to compile: {error}",
                quoted(name)
            ))
        })?;
        let fails = |error: &dyn fmt::Display| {
            EvalError::new(format!(
                "composited variable {} fails to evaluate: {error}",
                quoted(name)
            ))
        };
        // A name that is declared twice may stand for itself.
        if self.depth.fetch_add(1, Ordering::Relaxed) > self.values.len() {
            self.depth.fetch_sub(1, Ordering::Relaxed);
            return Err(fails(&"it needs itself"));
        }
        let mut budget = cel::Budget::default();
        let value = program.evaluate(&self.activation(), &mut budget);
        self.depth.fetch_sub(1, Ordering::Relaxed);
        self.cost.fetch_add(budget.used(), Ordering::Relaxed);
        value.map_err(|error| fails(&error))
    }
}

fn quoted(name: &str) -> String {
    apimachinery::quote::quote(name)
}

impl<'a> MapView<'a> for Scope<'a> {
    fn len(&'a self) -> usize {
        self.variables.by_name.len()
    }

    fn get(&'a self, key: &str) -> Result<Option<Value<'a>>, EvalError> {
        let Some(index) = cel::unescape(key)
            .and_then(|name| self.variables.by_name.get(&*name))
            .copied()
        else {
            return Ok(None);
        };
        let (Some(cell), Some(expression)) = (
            self.values.get(index),
            self.variables.expressions.get(index),
        ) else {
            return Ok(None);
        };
        let value = match cell.get() {
            Some(value) => value.clone(),
            None => {
                let value = self.compute(key, expression);
                cell.get_or_init(|| value).clone()
            }
        };
        value.map(Some)
    }

    fn keys(&'a self) -> Vec<Str<'a>> {
        let names = self.variables.by_name.keys();
        names.map(|name| Str::Borrowed(name.as_str())).collect()
    }
}

/// Runs what evaluates these expressions, with a stack that is large enough.
pub fn with_stack<'e, T: Send>(
    expressions: impl Iterator<Item = &'e Expression>,
    run: impl FnOnce() -> T + Send,
) -> T {
    let deepest = expressions.map(|expression| expression.depth).max();
    if deepest.unwrap_or(0) <= DEEP {
        return run();
    }
    let runtime = tokio::runtime::Handle::try_current().ok();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(DEEP_STACK);
        let run = move || {
            // The authorizer may have to wait for somebody.
            let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
            run()
        };
        let result = match thread.spawn_scoped(scope, run) {
            Ok(thread) => thread.join(),
            Err(error) => panic!("no thread for an expression: {error}"),
        };
        match result {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::cel::Input;

    fn input(object: serde_json::Value) -> Input {
        Input::of_objects(object.into(), serde_json::Value::Null.into())
    }

    /// Compiles variables and a validation, evaluates it, and gives the value or the error and the cost.
    fn run(variables: &[(&str, &str)], expression: &str) -> (Result<bool, String>, u64) {
        let mut compiler = Compiler::new(false, true);
        let mut compiled = Variables::default();
        for (name, source) in variables {
            let expression = compiler.variable(name, source);
            compiled.push(name, expression);
        }
        let expression = compiler.compile(Place::Validation, expression);
        let input = input(json!({"a": 1, "list": ["x", "y"]}));
        let mut remaining = 1_000_000;
        let value = with_stack([&expression].into_iter(), || {
            let scope = Scope::new(&compiled, &input);
            let value = scope.evaluate(&expression, &mut remaining).unwrap();
            value.map(|value| value.as_bool().unwrap())
        });
        (value, 1_000_000 - remaining)
    }

    #[test]
    fn variables_are_evaluated_once_and_when_needed() {
        assert_eq!(
            run(&[("x", "object.a + 1")], "variables.x == 2").0,
            Ok(true)
        );
        let (_, once) = run(
            &[("x", "object.list.map(e, e + e)")],
            "variables.x.size() == 2",
        );
        let (value, twice) = run(
            &[("x", "object.list.map(e, e + e)")],
            "variables.x.size() == 2 && variables.x.size() == 2",
        );
        assert_eq!(value, Ok(true));
        assert!(twice < 2 * once, "{once} {twice}");
        let (value, cost) = run(&[("x", "object.missing")], "true || variables.x");
        assert_eq!((value, cost), (Ok(true), 0));
        assert_eq!(
            run(&[("x", "object.missing")], "variables.x == 1").0,
            Err("expression 'variables.x == 1' resulted in error: composited variable \"x\" fails to evaluate: no such key: missing".to_owned())
        );
        assert_eq!(
            run(
                &[("x", "[1, 2]"), ("y", "variables.x.map(e, e * 2)")],
                "variables.y == [2, 4]"
            )
            .0,
            Ok(true)
        );
    }

    #[test]
    fn what_is_wrong_is_found_when_it_is_compiled() {
        let error = run(&[("x", "object.list.map(e, 1)")], "variables.x == 'a'")
            .0
            .unwrap_err();
        assert!(
            error
                .contains("found no matching overload for '_==_' applied to '(list(int), string)'"),
            "{error}"
        );
        let error = run(&[], "variables.y == 1").0.unwrap_err();
        assert!(error.contains("undefined field 'y'"), "{error}");
        let error = run(&[("x", "object.")], "variables.x == 1").0.unwrap_err();
        assert!(
            error.contains("composited variable \"x\" fails to compile: compilation failed: "),
            "{error}"
        );
        let plain = Compiler::new(false, false).compile(Place::Validation, "variables.x == 1");
        assert!(
            plain
                .error()
                .unwrap()
                .contains("undeclared reference to 'variables'")
        );
    }

    #[test]
    fn a_variable_that_needs_itself_has_no_value() {
        let error = run(&[("x", "1"), ("x", "variables.x + 1")], "variables.x == 2").0;
        assert!(error.unwrap_err().contains("it needs itself"));
    }

    #[test]
    fn long_chains_are_evaluated_on_a_larger_stack_and_longer_ones_refused() {
        let chain = |length: usize| -> Vec<(String, String)> {
            let nested = |from: &str| format!("{}{from}{}", "[".repeat(40), "]".repeat(40));
            (0..length)
                .map(|index| {
                    let from = match index {
                        0 => "1".to_owned(),
                        _ => format!("dyn(variables.v{})", index - 1),
                    };
                    (format!("v{index}"), nested(&from))
                })
                .collect()
        };
        let run_chain = |length: usize| {
            let chain = chain(length);
            let borrowed: Vec<(&str, &str)> = chain
                .iter()
                .map(|(name, source)| (&**name, &**source))
                .collect();
            run(&borrowed, &format!("variables.v{}.size() == 1", length - 1)).0
        };
        assert_eq!(run_chain(20), Ok(true));
        assert!(
            run_chain(40)
                .unwrap_err()
                .contains("must not be nested deeper")
        );
    }
}
