//! `x-kubernetes-validations`. Upstream: apiserver/schema/cel/{compilation,validation}.go.
//!
//! A node's rules are compiled together when they are first needed, with one view of the node's schema for CEL. The walk
//! visits only parts of the object below which there are rules.

use std::sync::OnceLock;

use api_types::apiextensions::v1::ValidationRule;
use apimachinery::field::{self, BadValue, Error, ErrorList, Path};
use apimachinery::quote::quote;
use cel::{Activation, Budget, Env, EvalError, PER_CALL_LIMIT, Program, Type, Value as Cel};
use serde_json::Value;

pub use cel::RUNTIME_BUDGET;

use crate::correlate::{Correlated, ItemsByKey};
use crate::field_path::valid_field_path;
use crate::node::{Additional, Kind, Node, Structural};
use crate::validate::bad;

/// The longest message that an expression may make.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;

/// What the rules say of an object.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is wrong.
    pub errors: ErrorList,
    /// What is wrong with parts that did not change; a warning to the client.
    pub warnings: Vec<String>,
    /// What is left of the budget; negative if it did not suffice.
    pub budget: i64,
}

impl Structural {
    /// Whether there are rules at all.
    pub fn has_rules(&self) -> bool {
        self.root.flags.has_rules
    }

    /// Evaluates the rules for an object that is created, or updated from an old one. The budget is [`RUNTIME_BUDGET`], or
    /// what is left of it.
    pub fn validate_rules(
        &self,
        object: &Value,
        old: Option<&Value>,
        path: &Path,
        budget: i64,
    ) -> Outcome {
        let correlated = old.map(|old| Correlated::new(&self.root, object, old));
        let ratchet = Ratchet {
            current: correlated.as_ref(),
            nearest: None,
        };
        evaluate(&self.root, object, old, path, ratchet, budget)
    }

    /// Compiles all rules now, so that no request has to wait for it. Returns how many rules there are.
    pub fn compile_rules(&self) -> usize {
        fn walk(node: &Node) -> usize {
            if !node.flags.has_rules {
                return 0;
            }
            let mut count = 0;
            if let Some(rules) = &node.rules {
                let _ = rules.compiled(node);
                count += rules.rules.len();
            }
            count += node.items.iter().map(|node| walk(node)).sum::<usize>();
            if let Additional::Schema(values) = &node.additional {
                count += walk(values);
            }
            count
                + node
                    .properties
                    .iter()
                    .map(|(_, node)| walk(node))
                    .sum::<usize>()
        }
        walk(&self.root)
    }
}

// === Rules and their programs ===

/// The rules of one node.
pub(crate) struct Rules {
    rules: Box<[Rule]>,
    is_resource: bool,
    compiled: OnceLock<Result<Compiled, &'static str>>,
}

#[derive(Debug)]
struct Rule {
    rule: Box<str>,
    message: Box<str>,
    message_expression: Box<str>,
    reason: Option<Box<str>>,
    field_path: Box<str>,
    optional_old_self: Option<bool>,
}

/// Programs of a node's rules.
pub(crate) struct Compiled {
    schema: cel::Schema,
    pub(crate) rules: Box<[CompiledRule]>,
    uses_old_self: bool,
    /// How often at most data of the schema fits into a request.
    pub(crate) max_cardinality: u64,
}

/// What became of one rule; neither program nor error if it is empty.
#[derive(Default)]
pub(crate) struct CompiledRule {
    program: Option<Program>,
    pub(crate) error: Option<String>,
    uses_self: bool,
    pub(crate) uses_old_self: bool,
    pub(crate) max_cost: u64,
    message: Option<Program>,
    pub(crate) message_error: Option<String>,
    /// Of the message's expression, if there is one that compiles.
    pub(crate) message_max_cost: Option<u64>,
    field_path: Option<String>,
}

impl Rules {
    pub(crate) fn new(rules: &[ValidationRule], is_resource: bool) -> Self {
        let rules = rules
            .iter()
            .map(|rule| Rule {
                rule: rule.rule.as_str().into(),
                message: rule.message.as_str().into(),
                message_expression: rule.message_expression.as_str().into(),
                reason: rule.reason.as_deref().map(Into::into),
                field_path: rule.field_path.as_str().into(),
                optional_old_self: rule.optional_old_self,
            })
            .collect();
        Rules {
            rules,
            is_resource,
            compiled: OnceLock::new(),
        }
    }

    /// Equal for equal rules.
    pub(crate) fn key(&self) -> impl std::fmt::Debug {
        format!("{:?}{}", self.rules, self.is_resource)
    }

    pub(crate) fn memory(&self) -> usize {
        let text = |rule: &Rule| {
            rule.rule.len()
                + rule.message.len()
                + rule.message_expression.len()
                + rule.field_path.len()
        };
        size_of::<Self>() + size_of_val(&*self.rules) + self.rules.iter().map(text).sum::<usize>()
    }

    /// The programs; an error if expressions cannot use a value of this schema at all.
    pub(crate) fn compiled(&self, node: &Node) -> Result<&Compiled, &'static str> {
        self.compiled
            .get_or_init(|| compile(node, self))
            .as_ref()
            .map_err(|error| *error)
    }
}

fn compile(node: &Node, rules: &Rules) -> Result<Compiled, &'static str> {
    let schema = cel::Schema::from_openapi(&node.to_openapi(), "selfType", rules.is_resource);
    let Some(self_type) = schema.cel_type().cloned() else {
        return Err("failed to convert to declType for CEL validation rules");
    };
    let env = Env::builder().schema_variable("self", &schema).build();
    let plain = env.extend().variable("oldSelf", self_type.clone()).build();
    let optional = env
        .extend()
        .variable("oldSelf", Type::optional(self_type))
        .build();
    let compiled: Box<[CompiledRule]> = rules
        .rules
        .iter()
        .map(|rule| {
            let env = if rule.optional_old_self == Some(true) {
                &optional
            } else {
                &plain
            };
            compile_rule(node, rule, env, &schema)
        })
        .collect();
    Ok(Compiled {
        uses_old_self: compiled.iter().any(|rule| rule.uses_old_self),
        max_cardinality: schema.max_cardinality(),
        rules: compiled,
        schema,
    })
}

fn compile_rule(node: &Node, rule: &Rule, env: &Env, schema: &cel::Schema) -> CompiledRule {
    let mut out = CompiledRule::default();
    if rule.rule.trim().is_empty() {
        return out;
    }
    let program = match env.compile(&rule.rule) {
        Ok(program) => program,
        Err(errors) => {
            let what = match errors.instantiation() {
                Some(_) => "program instantiation failed",
                None => "compilation failed",
            };
            out.error = Some(format!("{what}: {errors}"));
            return out;
        }
    };
    if *program.output_type() != Type::Bool {
        out.error = Some("cel expression must evaluate to a bool".to_owned());
        return out;
    }
    out.uses_self = program.uses("self");
    out.uses_old_self = program.uses("oldSelf");
    out.max_cost = program.estimate_cost(schema).max;
    out.program = Some(program);
    if !rule.message_expression.is_empty() {
        match env.compile(&rule.message_expression) {
            Err(errors) => {
                let what = match errors.instantiation() {
                    Some(_) => "messageExpression instantiation failed",
                    None => "messageExpression compilation failed",
                };
                out.message_error = Some(format!("{what}: {errors}"));
                return out;
            }
            Ok(message) if *message.output_type() != Type::String => {
                let error = "messageExpression must evaluate to a string";
                out.message_error = Some(error.to_owned());
                return out;
            }
            Ok(message) => {
                out.message_max_cost = Some(message.estimate_cost(schema).max);
                out.message = Some(message);
            }
        }
    }
    if !rule.field_path.is_empty() {
        let path = valid_field_path(&rule.field_path, node, true);
        out.field_path = path.ok().map(|found| found.path.to_string());
    }
    out
}

/// Whether expressions can use values of this schema.
pub(crate) fn is_exposed(node: &Node) -> bool {
    if node.flags.int_or_string {
        return true;
    }
    match node.kind {
        Kind::Any | Kind::Unknown => false,
        Kind::Array => node.items.as_deref().is_some_and(is_exposed),
        Kind::Object => match &node.additional {
            Additional::Schema(values) => is_exposed(values),
            _ => true,
        },
        Kind::String | Kind::Integer | Kind::Number | Kind::Boolean => true,
    }
}

// === Evaluation ===

/// What an unchanged value excuses: the value itself if it can be found in the old object, else what it is part of.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ratchet<'r, 'a> {
    current: Option<&'r Correlated<'a>>,
    nearest: Option<&'r Correlated<'a>>,
}

impl<'r, 'a> Ratchet<'r, 'a> {
    fn excuses(&self) -> bool {
        match (self.current, self.nearest) {
            (Some(correlated), _) | (None, Some(correlated)) => correlated.is_unchanged(),
            (None, None) => false,
        }
    }

    fn key(&self, name: &str) -> Option<Correlated<'a>> {
        self.current?.key(name)
    }

    /// For a value below this one, found in the old object or not.
    fn below<'s>(&'s self, child: Option<&'s Correlated<'a>>) -> Ratchet<'s, 'a>
    where
        'r: 's,
    {
        match self.current {
            None => *self,
            Some(current) => Ratchet {
                current: child,
                nearest: Some(current),
            },
        }
    }
}

/// Where a value is, made a path when there is something to say.
enum Spot<'a> {
    Root(&'a Path),
    Field(&'a Spot<'a>, &'a str),
    Key(&'a Spot<'a>, &'a str),
    Item(&'a Spot<'a>, usize),
}

impl Spot<'_> {
    fn path(&self) -> Path {
        match self {
            Spot::Root(path) => (*path).clone(),
            Spot::Field(parent, name) => parent.path().child((*name).to_owned()),
            Spot::Key(parent, name) => parent.path().key(*name),
            Spot::Item(parent, index) => parent.path().index(*index),
        }
    }
}

pub(crate) fn evaluate(
    node: &Node,
    value: &Value,
    old: Option<&Value>,
    path: &Path,
    ratchet: Ratchet<'_, '_>,
    budget: i64,
) -> Outcome {
    let mut walk = Walk {
        out: Outcome {
            budget,
            ..Outcome::default()
        },
    };
    walk.node(node, value, old, &Spot::Root(path), ratchet);
    walk.out
}

struct Walk {
    out: Outcome,
}

impl Walk {
    fn node(
        &mut self,
        node: &Node,
        value: &Value,
        old: Option<&Value>,
        at: &Spot<'_>,
        ratchet: Ratchet<'_, '_>,
    ) {
        if !node.flags.has_rules || value.is_null() {
            return;
        }
        if let Some(rules) = &node.rules {
            self.rules(node, rules, value, old, at, ratchet);
        }
        match value {
            Value::Array(items) => self.items(node, items, old, at, ratchet),
            Value::Object(fields) => self.fields(node, fields, old, at, ratchet),
            _ => {}
        }
    }

    fn items(
        &mut self,
        node: &Node,
        items: &[Value],
        old: Option<&Value>,
        at: &Spot<'_>,
        ratchet: Ratchet<'_, '_>,
    ) {
        let Some(schema) = node.items.as_deref().filter(|node| node.flags.has_rules) else {
            return;
        };
        let old = old.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let old = ItemsByKey::new(node, old);
        for (index, item) in items.iter().enumerate() {
            if self.out.budget < 0 {
                return;
            }
            let child = ratchet.current.and_then(|current| current.index(index));
            let ratchet = ratchet.below(child.as_ref());
            self.node(schema, item, old.get(item), &Spot::Item(at, index), ratchet);
        }
    }

    fn fields(
        &mut self,
        node: &Node,
        fields: &serde_json::Map<String, Value>,
        old: Option<&Value>,
        at: &Spot<'_>,
        ratchet: Ratchet<'_, '_>,
    ) {
        let old = old
            .and_then(Value::as_object)
            .filter(|_| !node.flags.uncorrelatable_map);
        for (name, value) in fields {
            if self.out.budget < 0 {
                return;
            }
            let (schema, spot) = match (node.property(name), &node.additional) {
                (Some(property), _) => (&**property, Spot::Field(at, name)),
                (None, Additional::Schema(values)) => (&**values, Spot::Key(at, name)),
                (None, _) => continue,
            };
            if !schema.flags.has_rules || !is_exposed(schema) {
                continue;
            }
            let old = old.and_then(|old| old.get(name));
            // What an object is does not show in its old version: both were converted.
            let is_type = ratchet.nearest.is_none() && matches!(&**name, "kind" | "apiVersion");
            if is_type && ratchet.current.is_some() {
                self.node(schema, value, old, &spot, Ratchet::default());
                continue;
            }
            let child = ratchet.key(name);
            self.node(schema, value, old, &spot, ratchet.below(child.as_ref()));
        }
    }

    fn rules(
        &mut self,
        node: &Node,
        rules: &Rules,
        value: &Value,
        old: Option<&Value>,
        at: &Spot<'_>,
        ratchet: Ratchet<'_, '_>,
    ) {
        let kind = node.kind.name();
        let compiled = match rules.compiled(node) {
            Ok(compiled) => compiled,
            Err(error) => {
                let detail = format!("rule compiler initialization error: {error}");
                self.out
                    .errors
                    .push(field::invalid(&at.path(), kind, detail));
                return;
            }
        };
        if self.out.budget <= 0 {
            self.out.errors.push(out_of_budget(&at.path(), kind));
            self.out.budget = -1;
            return;
        }
        let old = old.filter(|old| !old.is_null());
        let view = compiled.schema.view(value);
        let old_view = old
            .filter(|_| compiled.uses_old_self)
            .map(|old| compiled.schema.view(old));
        // A value that does not fit the schema only matters to those who look at it.
        let activation =
            |needs_self: bool, is_optional: bool| -> Result<Activation<'_>, EvalError> {
                let mut activation = Activation::new();
                match &view {
                    Ok(view) => activation.set("self", view.clone()),
                    Err(error) if needs_self => return Err(error.clone()),
                    Err(_) => {}
                }
                match (&old_view, is_optional) {
                    (Some(old), false) => activation.set("oldSelf", old.clone()?),
                    (Some(old), true) => activation.set("oldSelf", Cel::some(old.clone()?)),
                    (None, false) => {}
                    (None, true) => activation.set("oldSelf", Cel::Optional(None)),
                }
                Ok(activation)
            };
        for (rule, compiled) in rules.rules.iter().zip(&compiled.rules) {
            if let Some(error) = &compiled.error {
                let detail = format!("rule compile error: {error}");
                self.out
                    .errors
                    .push(field::invalid(&at.path(), kind, detail));
                continue;
            }
            let Some(program) = &compiled.program else {
                continue;
            };
            let is_optional = rule.optional_old_self == Some(true);
            if compiled.uses_old_self && old.is_none() && !is_optional {
                // There is no transition without a value before.
                continue;
            }
            let mut budget = Budget::new(PER_CALL_LIMIT);
            let result = activation(compiled.uses_self, is_optional && compiled.uses_old_self)
                .and_then(|activation| program.evaluate(&activation, &mut budget));
            let cost = i64::try_from(budget.used()).unwrap_or(i64::MAX);
            if cost > self.out.budget {
                self.out.errors.push(out_of_budget(&at.path(), kind));
                self.out.budget = -1;
                return;
            }
            self.out.budget -= cost;
            match result {
                Ok(result) if result.as_bool() == Some(true) => continue,
                Ok(_) => {}
                Err(error) => {
                    let over = error == EvalError::CostLimit;
                    let detail = evaluation_error(&error, rule);
                    self.out
                        .errors
                        .push(field::invalid(&at.path(), kind, detail));
                    if over {
                        self.out.budget = -1;
                        return;
                    }
                    continue;
                }
            }
            let path = match &compiled.field_path {
                Some(below) => at.path().child(below.clone()),
                None => at.path(),
            };
            let excused = !compiled.uses_old_self && ratchet.excuses();
            let mut detail = None;
            if let Some(message) = &compiled.message {
                // Upstream hands the plain old value to messages even where the rule has an optional one.
                let made = activation(false, false).map_or_else(
                    |_| (Message::Unusable, 0),
                    |activation| evaluate_message(message, &activation, self.out.budget),
                );
                match made {
                    (Message::Text(text), cost) => {
                        detail = Some(text);
                        self.out.budget -= cost;
                    }
                    (Message::Unusable, cost) => self.out.budget -= cost,
                    (Message::OverBudget, _) => {
                        let detail = "messageExpression evaluation failed due to running out of cost budget, no further \
                                      validation rules will be run";
                        self.add(field::invalid(&path, kind, detail), excused);
                        self.out.budget = -1;
                        return;
                    }
                    (Message::OverLimit, _) => {
                        let detail = format!(
                            "no further validation rules will be run due to call cost exceeds limit for \
                             messageExpression: {}",
                            quote(&rule.message_expression)
                        );
                        self.add(field::invalid(&path, kind, detail), excused);
                        self.out.budget = -1;
                        return;
                    }
                }
            }
            let detail = detail.unwrap_or_else(|| rule.message());
            let value = match node.kind {
                Kind::Object | Kind::Array => BadValue::Omitted,
                _ => bad(value),
            };
            let error = match rule.reason.as_deref() {
                Some("FieldValueForbidden") => field::forbidden(&path, detail),
                Some("FieldValueRequired") => field::required(&path, detail),
                Some("FieldValueDuplicate") => field::duplicate(&path, value),
                _ => field::invalid(&path, value, detail),
            };
            self.add(error, excused);
        }
    }

    fn add(&mut self, error: Error, excused: bool) {
        if excused {
            self.out.warnings.push(error.to_string());
        } else {
            self.out.errors.push(error);
        }
    }
}

fn out_of_budget(path: &Path, kind: &'static str) -> Error {
    let detail = "validation failed due to running out of cost budget, no further validation rules will be run";
    field::invalid(path, kind, detail)
}

impl Rule {
    /// What is said when the rule fails and nothing else can be.
    fn message(&self) -> String {
        if self.message.is_empty() {
            format!("failed rule: {}", self.name())
        } else {
            self.message.trim().to_owned()
        }
    }

    /// What the rule is called in errors.
    fn name(&self) -> &str {
        if self.message.is_empty() {
            self.rule.trim()
        } else {
            self.message.trim()
        }
    }
}

fn evaluation_error(error: &EvalError, rule: &Rule) -> String {
    let name = rule.name();
    let text = error.to_string();
    if text.starts_with("no such overload") {
        format!(
            "'{text}': call arguments did not match a supported operator, function or macro signature for rule: {name}"
        )
    } else if *error == EvalError::CostLimit {
        format!(
            "'{text}': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
        )
    } else {
        format!("{text} evaluating rule: {name}")
    }
}

enum Message {
    Text(String),
    /// Failed, empty, too long, or with line breaks.
    Unusable,
    OverBudget,
    OverLimit,
}

/// The message that an expression makes, and what making it cost.
fn evaluate_message(program: &Program, activation: &Activation<'_>, left: i64) -> (Message, i64) {
    let mut budget = Budget::new(PER_CALL_LIMIT);
    let result = program.evaluate(activation, &mut budget);
    let cost = i64::try_from(budget.used()).unwrap_or(i64::MAX);
    if cost > left {
        return (Message::OverBudget, cost);
    }
    let message = match result {
        Err(EvalError::CostLimit) => Message::OverLimit,
        Err(_) => Message::Unusable,
        Ok(value) => match value.as_str().map(str::trim) {
            Some(text)
                if !text.is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n') =>
            {
                Message::Text(text.to_owned())
            }
            _ => Message::Unusable,
        },
    };
    (message, cost)
}

#[cfg(test)]
mod tests;
