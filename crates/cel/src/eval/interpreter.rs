//! Evaluates nodes. Upstream: interpreter/interpretable.go and runtimecost.go of cel-go.

use std::sync::Arc;

use smallvec::SmallVec;

use super::attribute::{go_native_type, go_type};
use super::plan::{Call, Fold, Node, Target};
use super::{Activation, Budget};
use crate::cost::runtime;
use crate::env::Overload;
use crate::error::EvalError;
use crate::library::{regex, two_variables};
use crate::types::Type;
use crate::value::{Key, Map, OwnedMap, StructValue, Value, equals};

type Result<T, E = EvalError> = std::result::Result<T, E>;

/// What creating a list, a map and an object costs.
pub(crate) const LIST_COST: u64 = 10;
pub(crate) const MAP_COST: u64 = 30;
pub(crate) const STRUCT_COST: u64 = 40;

/// Evaluates a program's root.
pub(super) fn evaluate<'a>(
    node: &Node,
    slots: usize,
    activation: &Activation<'a>,
    budget: &mut Budget,
) -> Result<Value<'a>> {
    let locals = (0..slots).map(|_| Slot::Unset).collect();
    let mut evaluator = Evaluator {
        activation,
        budget,
        locals,
    };
    evaluator.node(node)
}

/// A variable of a comprehension.
enum Slot<'p, 'a> {
    Unset,
    /// Computed when it is first read.
    Lazy(&'p Node),
    Set(Result<Value<'a>>),
}

pub(super) struct Evaluator<'p, 'a, 'e> {
    pub(super) activation: &'e Activation<'a>,
    budget: &'e mut Budget,
    locals: Vec<Slot<'p, 'a>>,
}

impl<'p, 'a> Evaluator<'p, 'a, '_> {
    pub(super) fn charge(&mut self, cost: u64) -> Result<()> {
        self.budget.charge(cost)
    }

    pub(super) fn node(&mut self, node: &'p Node) -> Result<Value<'a>> {
        match node {
            Node::Const(value) => Ok(Value::from_static(value)),
            Node::Attribute(attribute) => self.attribute(attribute),
            Node::Test(attribute) => self.resolve(attribute),
            Node::Call(call) => self.call(call),
            Node::And(terms) => self.logical(terms, false),
            Node::Or(terms) => self.logical(terms, true),
            Node::Equal(sides) => self.equality(sides)?.map(Value::Bool),
            Node::NotEqual(sides) => self
                .equality(sides)
                .map(|equal| Value::Bool(equal != Ok(true))),
            Node::List { elements, optional } => {
                let list = self.list(elements, optional);
                self.constructed(LIST_COST, list)
            }
            Node::Map(entries) => {
                let map = self.map(entries);
                self.constructed(MAP_COST, map)
            }
            Node::Struct { type_name, fields } => {
                let object = self.object(type_name, fields);
                self.constructed(STRUCT_COST, object)
            }
            Node::Fold(fold) => self.fold(fold),
            Node::In(parts) => {
                let element = self.node(&parts.0)?;
                Ok(Value::Bool(parts.1.contains(&element)))
            }
            Node::OptionalOr(sides) => match self.node(&sides[0])? {
                Value::Optional(None) => self.node(&sides[1]),
                first => Ok(first),
            },
            Node::OptionalOrValue(sides) => match self.node(&sides[0])? {
                Value::Optional(None) => self.node(&sides[1]),
                Value::Optional(Some(value)) => Ok((*value).clone()),
                first => Ok(first),
            },
        }
    }

    /// `cost` is due whether or not there is a value, unless the limit was reached inside.
    fn constructed(&mut self, cost: u64, value: Result<Value<'a>>) -> Result<Value<'a>> {
        if !matches!(value, Err(EvalError::CostLimit)) {
            self.charge(cost)?;
        }
        value
    }

    /// `&&` (decided by false) and `||` (decided by true). The deciding value wins over errors.
    fn logical(&mut self, terms: &'p [Node; 2], decides: bool) -> Result<Value<'a>> {
        let mut error = None;
        for term in terms {
            match self.node(term) {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                Ok(_) => error = error.or(Some(EvalError::NO_SUCH_OVERLOAD)),
                Err(failed) => error = error.or(Some(failed)),
            }
        }
        match error {
            None => Ok(Value::Bool(!decides)),
            Some(error) => Err(error),
        }
    }

    /// Both sides are evaluated, whatever the first is.
    fn equality(&mut self, sides: &'p [Node; 2]) -> Result<Result<bool>> {
        let left = self.operand(&sides[0])?;
        let right = self.operand(&sides[1])?;
        self.charge(runtime::equality(left.as_ref().ok(), right.as_ref().ok()))?;
        let (left, right) = (left?, right?);
        Ok(equals(&left, &right))
    }

    /// A value or its error; only the cost limit ends everything.
    fn operand(&mut self, node: &'p Node) -> Result<Result<Value<'a>>> {
        match self.node(node) {
            Err(EvalError::CostLimit) => Err(EvalError::CostLimit),
            value => Ok(value),
        }
    }

    fn call(&mut self, call: &'p Call) -> Result<Value<'a>> {
        let mut args = Args::new();
        let mut error = None;
        for (index, arg) in call.args.iter().enumerate() {
            let value = match call.takes {
                Some(slot) if index == 0 => self.take(slot),
                _ => self.operand(arg),
            }?;
            match value {
                Ok(value) => args.push(value),
                // Not-strictly-false takes an error for a value.
                Err(_) if call.function == "@not_strictly_false" => {
                    self.charge(1)?;
                    return Ok(Value::Bool(true));
                }
                Err(failed) => {
                    if call.stops_early && index + 1 < call.args.len() {
                        return Err(failed);
                    }
                    error = error.or(Some(failed));
                    args.push(Value::Null);
                }
            }
        }
        let (cost, value) = match error {
            Some(error) => (call.rule.cost(args.as_slice(), None), Err(error)),
            None if call.rule.needs_result() => {
                let value = call.apply(args.as_slice());
                (call.rule.cost(args.as_slice(), value.as_ref().ok()), value)
            }
            None if call.takes.is_some() => {
                let cost = call.rule.cost(args.as_slice(), None);
                (cost, call.apply_taking(args))
            }
            None => (
                call.rule.cost(args.as_slice(), None),
                call.apply(args.as_slice()),
            ),
        };
        self.charge(cost)?;
        value
    }

    /// The value of a slot that is about to be replaced.
    fn take(&mut self, slot: usize) -> Result<Result<Value<'a>>> {
        let value = match std::mem::replace(&mut self.locals[slot], Slot::Unset) {
            Slot::Lazy(init) => match self.node(init) {
                Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                value => value,
            },
            Slot::Set(value) => value,
            Slot::Unset => Err(EvalError::NO_SUCH_OVERLOAD),
        };
        // As for reading any other variable.
        self.charge(1)?;
        if let Err(error) = &value {
            self.locals[slot] = Slot::Set(Err(error.clone()));
        }
        Ok(value)
    }

    pub(super) fn local(&mut self, slot: usize) -> Result<Value<'a>> {
        if let Slot::Lazy(init) = self.locals[slot] {
            self.locals[slot] = Slot::Unset;
            let value = self.node(init);
            if matches!(value, Err(EvalError::CostLimit)) {
                return value;
            }
            self.locals[slot] = Slot::Set(value);
        }
        match &self.locals[slot] {
            Slot::Set(value) => value.clone(),
            Slot::Lazy(_) | Slot::Unset => Err(EvalError::new("no such attribute(s)")),
        }
    }

    fn fold(&mut self, fold: &'p Fold) -> Result<Value<'a>> {
        let range = self.node(&fold.range)?;
        self.locals[fold.slot] = Slot::Lazy(&fold.init);
        match &range {
            Value::List(list) => {
                for index in 0..list.len() {
                    let element = list.get(index);
                    let (first, second) = match fold.two_variables {
                        true => (Ok(Value::Int(index as i64)), Some(element)),
                        false => (element, None),
                    };
                    if !self.step(fold, first, second)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let value = fold.two_variables.then(|| match map.find(&key) {
                        Ok(None) => Err(EvalError::new(format!("no such key: {key}"))),
                        found => found.map(|value| value.unwrap_or(Value::Null)),
                    });
                    if !self.step(fold, Ok(key), value)? {
                        break;
                    }
                }
            }
            other if fold.two_variables => {
                return Err(EvalError::new(format!(
                    "unsupported comprehension range type: {}",
                    go_type(other)
                )));
            }
            other => {
                return Err(EvalError::new(format!(
                    "got '{}', expected iterable type",
                    go_type(other)
                )));
            }
        }
        let result = self.node(&fold.result);
        self.locals[fold.slot] = Slot::Unset;
        result
    }

    /// One round. False when the condition says that it is enough.
    fn step(
        &mut self,
        fold: &'p Fold,
        first: Result<Value<'a>>,
        second: Option<Result<Value<'a>>>,
    ) -> Result<bool> {
        self.locals[fold.slot + 1] = Slot::Set(first);
        if let Some(second) = second {
            self.locals[fold.slot + 2] = Slot::Set(second);
        }
        match self.node(&fold.condition) {
            Ok(Value::Bool(false)) => return Ok(false),
            Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
            _ => {}
        }
        let value = self.operand(&fold.step)?;
        self.locals[fold.slot] = Slot::Set(value);
        Ok(true)
    }

    fn list(&mut self, elements: &'p [Node], optional: &[bool]) -> Result<Value<'a>> {
        let mut values = Vec::with_capacity(elements.len());
        for (element, optional) in elements.iter().zip(optional) {
            match (self.node(element)?, optional) {
                (Value::Optional(None), true) => {}
                (Value::Optional(Some(value)), true) => values.push((*value).clone()),
                (value, true) => {
                    return Err(EvalError::new(format!(
                        "cannot initialize optional list element from non-optional value {value}"
                    )));
                }
                (value, false) => values.push(value),
            }
        }
        Ok(Value::from(values))
    }

    fn map(&mut self, entries: &'p [super::plan::Entry]) -> Result<Value<'a>> {
        let mut values = OwnedMap::new();
        for entry in entries {
            let key = self.node(&entry.key)?;
            let value = self.node(&entry.value)?;
            let value = match optional_entry(&key, value, entry.optional)? {
                Some(value) => value,
                None => {
                    values.remove(&Key::try_from(&key)?);
                    continue;
                }
            };
            values.insert(Key::try_from(&key)?, value);
        }
        Ok(Value::Map(Map::Owned(Arc::new(values))))
    }

    fn object(
        &mut self,
        type_name: &Arc<str>,
        nodes: &'p [(Arc<str>, Node, bool)],
    ) -> Result<Value<'a>> {
        let mut fields: Vec<(Arc<str>, Value<'a>)> = Vec::with_capacity(nodes.len());
        for (name, node, optional) in nodes {
            let value = self.node(node)?;
            let value = optional_entry(&Value::from(&**name), value, *optional)?;
            fields.retain(|(known, _)| known != name);
            if let Some(value) = value {
                fields.push((name.clone(), value));
            }
        }
        let object = StructValue {
            type_name: type_name.clone(),
            fields,
        };
        if object.is_dynamic() && !crate::env::is_dynamic_object(type_name) {
            return Err(EvalError::new(format!("unknown type '{type_name}'")));
        }
        if !object.is_dynamic() {
            for name in ["op", "path", "from"] {
                if let Some(value) = object.field(name)
                    && value.as_str().is_none()
                {
                    let of = go_native_type(value);
                    return Err(EvalError::new(format!(
                        "unexpected type {of} for JSONPatchType '{name}' field"
                    )));
                }
            }
        }
        Ok(Value::Struct(Arc::new(object)))
    }
}

fn optional_entry<'a>(
    key: &Value<'_>,
    value: Value<'a>,
    optional: bool,
) -> Result<Option<Value<'a>>> {
    match (value, optional) {
        (value, false) => Ok(Some(value)),
        (Value::Optional(None), true) => Ok(None),
        (Value::Optional(Some(value)), true) => Ok(Some((*value).clone())),
        (value, true) => Err(EvalError::new(format!(
            "cannot initialize optional entry '{key}' from non-optional value {value}"
        ))),
    }
}

/// The arguments of a call. Few have more.
type Args<'a> = SmallVec<[Value<'a>; 3]>;

impl Call {
    /// The function's value for these arguments.
    pub(super) fn apply<'a>(&self, args: &[Value<'a>]) -> Result<Value<'a>> {
        match &self.target {
            Target::Plain(implementation) => implementation(args),
            Target::Regex(operation, regex) => regex::apply(*operation, regex, args),
            Target::Overloads(overloads) => {
                match overloads.iter().find(|overload| fits(overload, args)) {
                    Some(overload) => (overload.implementation)(args),
                    None => {
                        let types: Vec<String> = args
                            .iter()
                            .map(|arg| arg.type_of().name().into_owned())
                            .collect();
                        Err(EvalError::new(format!(
                            "no such overload: {}({})",
                            self.function,
                            types.join(", ")
                        )))
                    }
                }
            }
        }
    }

    /// The same, where the first argument is nobody else's and may be changed.
    fn apply_taking<'a>(&self, args: Args<'a>) -> Result<Value<'a>> {
        match (self.function, args.as_slice()) {
            ("_+_", [Value::List(_), Value::List(_)]) => {
                let mut lists = args.into_iter().filter_map(|arg| {
                    if let Value::List(list) = arg {
                        Some(list)
                    } else {
                        None
                    }
                });
                match (lists.next(), lists.next()) {
                    (Some(list), Some(more)) => list.concat(more).map(Value::List),
                    _ => Err(EvalError::NO_SUCH_OVERLOAD),
                }
            }
            ("cel.@mapInsert", [Value::Map(_), key, value]) => {
                let (key, value) = (key.clone(), value.clone());
                let map = args.into_iter().next().unwrap_or(Value::Null);
                two_variables::insert(map, &key, value)
            }
            ("cel.@mapInsert", [Value::Map(_), more]) => {
                let more = more.clone();
                let map = args.into_iter().next().unwrap_or(Value::Null);
                two_variables::insert_all(map, &more)
            }
            (_, args) => self.apply(args),
        }
    }
}

/// Whether the arguments are of the types an overload takes. Of lists and maps the first element is looked at.
fn fits(overload: &Overload, args: &[Value<'_>]) -> bool {
    overload.args.len() == args.len()
        && overload
            .args
            .iter()
            .zip(args)
            .all(|(of, arg)| is_of(arg, of))
}

fn is_of(value: &Value<'_>, of: &Type) -> bool {
    match (of, value) {
        (Type::Dyn | Type::Any | Type::Param(_) | Type::Var(_), _) => true,
        (Type::Null, Value::Null)
        | (Type::Bool, Value::Bool(_))
        | (Type::Int, Value::Int(_))
        | (Type::Uint, Value::Uint(_))
        | (Type::Double, Value::Double(_))
        | (Type::String, Value::String(_))
        | (Type::Bytes, Value::Bytes(_))
        | (Type::Timestamp, Value::Timestamp(_))
        | (Type::Duration, Value::Duration(_))
        | (Type::Type(_), Value::Type(_)) => true,
        (Type::List(element), Value::List(list)) => {
            element.is_dyn()
                || element.is_param()
                || list.is_empty()
                || list.get(0).is_ok_and(|first| is_of(&first, element))
        }
        (Type::Map(pair), Value::Map(map)) => {
            let any = |of: &Type| of.is_dyn() || of.is_param();
            if any(&pair.0) && any(&pair.1) {
                return true;
            }
            map.keys().first().is_none_or(|key| {
                is_of(key, &pair.0)
                    && map
                        .find(key)
                        .is_ok_and(|value| value.is_none_or(|value| is_of(&value, &pair.1)))
            })
        }
        (Type::Opaque(name, _), Value::Optional(_)) => &**name == "optional_type",
        (Type::Opaque(name, _) | Type::Struct(name), Value::Opaque(opaque)) => {
            *opaque.type_of().name() == **name
        }
        (Type::Struct(name), Value::Struct(object)) => *name == object.type_name,
        _ => false,
    }
}
