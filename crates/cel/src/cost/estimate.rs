//! The cost of a checked expression, from the sizes of what it works on.

use std::collections::HashMap;
use std::sync::Arc;

use super::functions::{self, CallEstimate};
use super::{CostEstimate, STRING_FACTOR, SizeEstimate, SizeEstimator};
use crate::checker::Checked;
use crate::eval::{LIST_COST, MAP_COST, STRUCT_COST};
use crate::syntax::ast::{ACCUMULATOR, Comprehension, Expr, Kind, MapEntry};
use crate::types::Type;
use crate::value::Value;

/// Estimates an expression.
pub(crate) fn estimate(checked: &Checked, sizes: &dyn SizeEstimator) -> CostEstimate {
    let mut coster = Coster {
        checked,
        sizes,
        paths: HashMap::new(),
        locals: Vec::new(),
        computed: HashMap::new(),
        entries: HashMap::new(),
    };
    coster.cost(&checked.root)
}

type Path = Vec<Arc<str>>;

/// The sizes of what is in a list or map.
#[derive(Clone, Copy)]
struct EntrySize {
    is_list: bool,
    key: SizeEstimate,
    value: SizeEstimate,
}

impl EntrySize {
    fn union(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        let (a, b) = (a?, b?);
        Some(EntrySize {
            is_list: a.is_list,
            key: a.key.union(b.key),
            value: a.value.union(b.value),
        })
    }
}

struct Local {
    name: Arc<str>,
    path: Path,
    size: Option<SizeEstimate>,
    entries: Option<EntrySize>,
}

pub(super) struct Coster<'c> {
    checked: &'c Checked,
    sizes: &'c dyn SizeEstimator,
    paths: HashMap<u32, Path>,
    locals: Vec<Local>,
    computed: HashMap<u32, SizeEstimate>,
    entries: HashMap<u32, EntrySize>,
}

/// An argument as the rules of functions see it.
pub(super) struct Argument<'c> {
    pub(super) expr: &'c Expr,
    pub(super) of: Type,
    path: Path,
    computed: Option<SizeEstimate>,
}

const ONE: CostEstimate = CostEstimate::fixed(1);
const NOTHING: SizeEstimate = SizeEstimate {
    min: u64::MAX,
    max: 0,
};

impl<'c> Coster<'c> {
    fn cost(&mut self, expr: &'c Expr) -> CostEstimate {
        match &expr.kind {
            Kind::Unspecified | Kind::Literal(_) => CostEstimate::ZERO,
            Kind::Ident(name) => {
                let path = self
                    .local(name)
                    .map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                ONE
            }
            // Presence tests are free of charge.
            Kind::Select {
                operand,
                test_only: true,
                ..
            } => self.cost(operand),
            Kind::Select { operand, field, .. } => {
                let mut sum = self.cost(operand);
                if matches!(
                    self.checked.type_of(operand),
                    Type::Map(_) | Type::Struct(_)
                ) {
                    sum = sum.plus(ONE);
                }
                let mut path = self.path(operand);
                path.push(field.clone());
                self.paths.insert(expr.id, path);
                sum
            }
            Kind::Call {
                function,
                target,
                args,
            } => self.call(expr, function, target.as_deref(), args),
            Kind::List { elements, .. } => self.list(expr, elements),
            Kind::Map { entries } => self.map(expr, entries),
            Kind::Struct { fields, .. } => fields
                .iter()
                .fold(CostEstimate::fixed(STRUCT_COST), |sum, field| {
                    sum.plus(self.cost(&field.value))
                }),
            Kind::Comprehension(fold) if fold.is_bind() => {
                let sum = self.cost(&fold.range).plus(self.cost(&fold.init));
                self.push_local(&fold.accumulator, &fold.init);
                let sum = sum.plus(self.cost(&fold.result));
                self.locals.pop();
                self.copy_sizes(expr, &fold.result);
                sum
            }
            Kind::Comprehension(fold) => self.comprehension(expr, fold),
        }
    }

    fn list(&mut self, expr: &'c Expr, elements: &'c [Expr]) -> CostEstimate {
        let mut sum = CostEstimate::fixed(LIST_COST);
        let mut size = if elements.is_empty() {
            SizeEstimate::fixed(0)
        } else {
            NOTHING
        };
        for element in elements {
            sum = sum.plus(self.cost(element));
            size = size.union(self.size_or_unknown(element));
        }
        let entry = EntrySize {
            is_list: true,
            key: SizeEstimate::fixed(1),
            value: size,
        };
        self.entries.insert(expr.id, entry);
        sum
    }

    fn map(&mut self, expr: &'c Expr, entries: &'c [MapEntry]) -> CostEstimate {
        let mut sum = CostEstimate::fixed(MAP_COST);
        let start = if entries.is_empty() {
            SizeEstimate::fixed(0)
        } else {
            NOTHING
        };
        let (mut key, mut value) = (start, start);
        for entry in entries {
            sum = sum
                .plus(self.cost(&entry.key))
                .plus(self.cost(&entry.value));
            key = key.union(self.size_or_unknown(&entry.key));
            value = value.union(self.size_or_unknown(&entry.value));
        }
        self.entries.insert(
            expr.id,
            EntrySize {
                is_list: false,
                key,
                value,
            },
        );
        sum
    }

    fn comprehension(&mut self, expr: &'c Expr, fold: &'c Comprehension) -> CostEstimate {
        let sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_local(&fold.accumulator, &fold.init);
        let outer = self.locals.len();
        let entries = self.entry_size(&fold.range);
        let is_list = match entries {
            Some(entries) => entries.is_list,
            None => matches!(self.checked.type_of(&fold.range), Type::List(_)),
        };
        let path = self.path(&fold.range);
        let mut push = |name: &Arc<str>, sub: &str, size| {
            let mut path = path.clone();
            path.push(sub.into());
            self.locals.push(Local {
                name: name.clone(),
                path,
                size,
                entries: None,
            });
        };
        let (key, value) = (
            entries.map(|entries| entries.key),
            entries.map(|entries| entries.value),
        );
        match &fold.variable2 {
            Some(second) => {
                push(
                    &fold.variable,
                    if is_list { "@indices" } else { "@keys" },
                    key,
                );
                push(second, if is_list { "@items" } else { "@values" }, value);
            }
            None if is_list => push(&fold.variable, "@items", value),
            None => push(&fold.variable, "@keys", key),
        }
        let round = self.cost(&fold.condition);
        let round = self.cost(&fold.step).plus(round);
        self.locals.truncate(outer);
        let sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        let count = self.size_or_unknown(&fold.range);
        match &fold.init.kind {
            Kind::Literal(_) => {
                let size = self.size(&fold.init);
                self.set_size(expr, size);
            }
            Kind::List { .. } | Kind::Map { .. } => {
                self.set_size(expr, Some(count));
                if let Some(entries) = self.entry_size(&fold.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum.plus(count.each(round))
    }

    fn call(
        &mut self,
        expr: &'c Expr,
        function: &str,
        target: Option<&'c Expr>,
        args: &'c [Expr],
    ) -> CostEstimate {
        if function == "dyn"
            && let [arg] = args
        {
            let cost = self.cost(arg);
            self.copy_sizes(expr, arg);
            return cost.plus(ONE);
        }
        let mut costs = Vec::with_capacity(args.len());
        let mut arguments = Vec::with_capacity(args.len());
        for arg in args {
            costs.push(self.cost(arg));
            arguments.push(self.argument(arg));
        }
        let mut sum = CostEstimate::ZERO;
        let target = target.map(|target| {
            sum = self.cost(target);
            self.argument(target)
        });
        let overloads = self.checked.overloads(expr);
        if overloads.is_empty() {
            return CostEstimate::ZERO;
        }
        let mut cost = CostEstimate {
            min: u64::MAX,
            max: 0,
        };
        let mut size: Option<SizeEstimate> = None;
        for overload in overloads {
            let estimate = self.overload(
                expr,
                function,
                overload,
                target.as_ref(),
                &arguments,
                &costs,
            );
            cost = cost.union(estimate.cost);
            if let Some(result) = estimate.size {
                size = Some(size.map_or(result, |size| size.union(result)));
            }
            if let ("index_list" | "index_map", [operand, ..]) = (*overload, args) {
                size = self.entry_size(operand).map(|entries| entries.value);
                let mut path = self.path(operand);
                path.push(
                    if *overload == "index_list" {
                        "@items"
                    } else {
                        "@values"
                    }
                    .into(),
                );
                self.paths.insert(expr.id, path);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        self.set_size(expr, size);
        sum.plus(cost)
    }

    fn overload(
        &mut self,
        expr: &'c Expr,
        function: &str,
        overload: &str,
        target: Option<&Argument<'c>>,
        args: &[Argument<'c>],
        costs: &[CostEstimate],
    ) -> CallEstimate {
        let arg_sum = costs
            .iter()
            .fold(CostEstimate::ZERO, |sum, cost| sum.plus(*cost));
        let with_args = |cost: CostEstimate| CallEstimate {
            cost: cost.plus(arg_sum),
            size: None,
        };
        if let Some(estimate) = functions::estimate(self, function, overload, target, args) {
            return CallEstimate {
                cost: estimate.cost.plus(arg_sum),
                size: estimate.size,
            };
        }
        let size = |arg: &Argument<'_>| arg.computed.unwrap_or(SizeEstimate::UNKNOWN);
        match (overload, target, args) {
            ("string_format", Some(format), _) => with_args(size(format).times(STRING_FACTOR)),
            ("string_to_bytes", _, [text]) => {
                let of = size(text);
                let result = SizeEstimate {
                    min: of.min,
                    max: of.max.wrapping_mul(4),
                };
                CallEstimate {
                    size: Some(result),
                    ..with_args(of.times(STRING_FACTOR))
                }
            }
            ("bytes_to_string", _, [bytes]) => {
                let of = size(bytes);
                let result = SizeEstimate {
                    min: of.min / 4,
                    max: of.max,
                };
                CallEstimate {
                    size: Some(result),
                    ..with_args(of.times(STRING_FACTOR))
                }
            }
            ("strings_quote", _, [text]) => {
                let of = size(text);
                let result = SizeEstimate {
                    min: of.min.wrapping_add(2),
                    max: of.max.wrapping_mul(2).wrapping_add(2),
                };
                CallEstimate {
                    size: Some(result),
                    ..with_args(of.times(STRING_FACTOR))
                }
            }
            ("starts_with_string" | "ends_with_string", _, [part]) => {
                with_args(size(part).times(STRING_FACTOR))
            }
            ("in_list", _, [_, list]) => with_args(size(list).times(1.0)),
            ("matches_string", Some(text), [pattern]) => {
                let text = size(text).plus(SizeEstimate::fixed(1)).times(STRING_FACTOR);
                with_args(text.by(size(pattern).times(super::REGEX_FACTOR)))
            }
            ("contains_string", Some(text), [part]) => with_args(
                size(text)
                    .times(STRING_FACTOR)
                    .by(size(part).times(STRING_FACTOR)),
            ),
            ("logical_or" | "logical_and", _, _) => {
                let (left, right) = (costs[0], costs[1]);
                CallEstimate {
                    cost: CostEstimate {
                        min: left.min,
                        max: left.plus(right).max,
                    },
                    size: None,
                }
            }
            ("conditional", _, [_, if_true, if_false]) => {
                let result = size(if_true).union(size(if_false));
                let entries = EntrySize::union(
                    self.entry_size(if_true.expr),
                    self.entry_size(if_false.expr),
                );
                if let Some(entries) = entries {
                    self.entries.insert(expr.id, entries);
                }
                CallEstimate {
                    cost: costs[0].plus(costs[1].union(costs[2])),
                    size: Some(result),
                }
            }
            ("add_string" | "add_bytes" | "add_list", _, [left, right]) => {
                let result = size(left).plus(size(right));
                let entries =
                    EntrySize::union(self.entry_size(left.expr), self.entry_size(right.expr));
                if let Some(entries) = entries {
                    self.entries.insert(expr.id, entries);
                }
                let cost = if overload == "add_list" {
                    ONE
                } else {
                    result.times(STRING_FACTOR)
                };
                CallEstimate {
                    size: Some(result),
                    ..with_args(cost)
                }
            }
            (
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes"
                | "equals"
                | "not_equals",
                _,
                [left, right],
            ) => {
                let max = size(left).max.min(size(right).max);
                let shorter = CostEstimate {
                    min: max.min(1),
                    max,
                };
                with_args(shorter.times(STRING_FACTOR))
            }
            _ => with_args(ONE),
        }
    }

    fn argument(&mut self, expr: &'c Expr) -> Argument<'c> {
        let mut path = self.path(expr);
        if path.first().is_some_and(|first| &**first == ACCUMULATOR) {
            path.clear();
        }
        let computed = self.size(expr);
        Argument {
            expr,
            of: self.checked.type_of(expr).clone(),
            path,
            computed,
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| &*local.name == name)
    }

    fn local_of(&self, expr: &Expr) -> Option<&Local> {
        match &expr.kind {
            Kind::Ident(name) => self.local(name),
            _ => None,
        }
    }

    fn push_local(&mut self, name: &Arc<str>, value: &Expr) {
        let (path, entries) = (self.path(value), self.entry_size(value));
        let size = self.size(value);
        self.locals.push(Local {
            name: name.clone(),
            path,
            size,
            entries,
        });
    }

    fn path(&self, expr: &Expr) -> Path {
        match self.local_of(expr) {
            Some(local) => local.path.clone(),
            None => self.paths.get(&expr.id).cloned().unwrap_or_default(),
        }
    }

    fn ask(&self, path: &[Arc<str>]) -> Option<SizeEstimate> {
        let path: Vec<&str> = path.iter().map(|part| &**part).collect();
        if path.is_empty() {
            None
        } else {
            self.sizes.size(&path)
        }
    }

    fn size(&mut self, expr: &Expr) -> Option<SizeEstimate> {
        if let Some(size) = self.computed.get(&expr.id) {
            return Some(*size);
        }
        let written = match &expr.kind {
            Kind::Literal(value @ (Value::String(_) | Value::Bytes(_))) => value.size(),
            Kind::Literal(_) => Some(1),
            Kind::List { elements, .. } => Some(elements.len() as u64),
            Kind::Map { entries } => Some(entries.len() as u64),
            _ => None,
        };
        if let Some(written) = written {
            return Some(SizeEstimate::fixed(written));
        }
        if let Some(size) = self.ask(&self.path(expr)) {
            self.computed.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(self.checked.type_of(expr)) {
            return Some(SizeEstimate::fixed(1));
        }
        self.local_of(expr)?.size
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> SizeEstimate {
        self.size(expr).unwrap_or(SizeEstimate::UNKNOWN)
    }

    fn set_size(&mut self, expr: &Expr, size: Option<SizeEstimate>) {
        if let Some(size) = size {
            self.computed.insert(expr.id, size);
        }
    }

    fn entry_size(&self, expr: &Expr) -> Option<EntrySize> {
        match self.entries.get(&expr.id) {
            Some(entries) => Some(*entries),
            None => self.local_of(expr)?.entries,
        }
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        let size = self.size(from);
        self.set_size(to, size);
        if let Some(entries) = self.entry_size(from) {
            self.entries.insert(to.id, entries);
        }
    }

    /// The size of an argument, as good as it is known.
    pub(super) fn argument_size(&self, arg: &Argument<'_>) -> SizeEstimate {
        arg.computed
            .or_else(|| self.ask(&arg.path))
            .unwrap_or(SizeEstimate::UNKNOWN)
    }

    /// The type and size of the elements of a list; of keys, for a map.
    pub(super) fn element_size(&self, list: &Argument<'_>) -> Option<(Type, SizeEstimate)> {
        let of = (*list.of.parameters().first()?).clone();
        let mut path = list.path.clone();
        if !path.is_empty() {
            path.push("@items".into());
        }
        Some((of, self.ask(&path).unwrap_or(SizeEstimate::UNKNOWN)))
    }
}

impl Argument<'_> {
    /// The size that is known without asking.
    pub(super) fn computed(&self) -> Option<SizeEstimate> {
        self.computed
    }
}

fn is_scalar(of: &Type) -> bool {
    match of {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => {
            true
        }
        of => of.unwrap_optional().is_some_and(is_scalar),
    }
}
