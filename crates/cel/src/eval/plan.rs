//! Checked expressions to nodes that evaluate. Upstream: interpreter/planner.go and decorators.go of cel-go.
//!
//! What a node costs depends on how upstream plans it, so the shapes are upstream's: names with their selections are one
//! attribute, constants are folded, membership in constant lists is a set.

use std::collections::HashSet;
use std::sync::Arc;

use crate::checker::{Checked, Reference};
use crate::cost::runtime::Rule;
use crate::env::{Env, Implementation, Overload, is_dynamic_object};
use crate::error::EvalError;
use crate::library::regex;
use crate::syntax::ast::{ACCUMULATOR, Comprehension, Expr, Kind, MapEntry, StructField};
use crate::types::Type;
use crate::value::{Key, Map, OwnedMap, Value};

pub(super) enum Node {
    Const(Value<'static>),
    Attribute(Box<Attribute>),
    /// `has(...)`.
    Test(Box<Attribute>),
    Call(Box<Call>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Equal(Box<[Node; 2]>),
    NotEqual(Box<[Node; 2]>),
    List {
        elements: Vec<Node>,
        optional: Vec<bool>,
    },
    Map(Vec<Entry>),
    Struct {
        type_name: Arc<str>,
        fields: Vec<(Arc<str>, Node, bool)>,
    },
    Fold(Box<Fold>),
    /// `x in [constants]`.
    In(Box<(Node, Set)>),
    OptionalOr(Box<[Node; 2]>),
    OptionalOrValue(Box<[Node; 2]>),
}

pub(super) struct Entry {
    pub(super) key: Node,
    pub(super) value: Node,
    pub(super) optional: bool,
}

/// A value and the selections made from it.
pub(super) struct Attribute {
    pub(super) base: Base,
    pub(super) qualifiers: Vec<Qualifier>,
}

pub(super) enum Base {
    Variable(Arc<str>),
    /// A variable of a comprehension.
    Local(usize),
    Node(Node),
    /// `condition ? a : b`. The branches cost what is in them, and nothing for being attributes.
    Conditional(Box<(Node, Attribute, Attribute)>),
}

pub(super) struct Qualifier {
    pub(super) key: QualifierKey,
    pub(super) optional: bool,
    pub(super) test_only: bool,
}

pub(super) enum QualifierKey {
    Const(Value<'static>),
    /// A field of an object built by the expression.
    Field(Arc<str>),
    Attribute(Attribute),
}

pub(super) struct Call {
    pub(super) function: &'static str,
    pub(super) args: Vec<Node>,
    pub(super) target: Target,
    pub(super) rule: Rule,
    /// Whether arguments after one without a value are not evaluated.
    pub(super) stops_early: bool,
    /// The comprehension's variable that is the first argument and replaced by the result: it need not be shared.
    pub(super) takes: Option<usize>,
}

pub(super) enum Target {
    /// Checks its arguments itself.
    Plain(Implementation),
    /// The overload whose types fit.
    Overloads(Vec<Overload>),
    /// A constant regular expression.
    Regex(regex::Operation, ::regex::Regex),
}

pub(super) struct Fold {
    pub(super) range: Node,
    pub(super) init: Node,
    pub(super) condition: Node,
    pub(super) step: Node,
    pub(super) result: Node,
    /// The accumulator; its two neighbours are the variables.
    pub(super) slot: usize,
    pub(super) two_variables: bool,
}

pub(super) enum Set {
    Strings(HashSet<String>),
    Values(Vec<Value<'static>>),
}

/// Plans the root. Returns how many slots comprehensions need, too.
pub(super) fn plan(env: &Env, checked: &Checked) -> Result<(Node, usize), EvalError> {
    let mut planner = Planner {
        env,
        checked,
        scopes: Vec::new(),
        max_slots: 0,
    };
    let node = planner.node(&checked.root)?;
    Ok((node, planner.max_slots))
}

struct Planner<'e> {
    env: &'e Env,
    checked: &'e Checked,
    /// Names of slots; what cannot be named at the moment has no name.
    scopes: Vec<Option<Arc<str>>>,
    max_slots: usize,
}

impl Planner<'_> {
    // The functions below lead to themselves; parts of theirs that do not need much room are of their own.

    fn node(&mut self, expr: &Expr) -> Result<Node, EvalError> {
        match &expr.kind {
            Kind::Unspecified => Err(EvalError::new("unsupported expr")),
            Kind::Literal(value) => Ok(Node::Const(value.clone())),
            Kind::Ident(name) => self.ident(expr, name),
            Kind::Select {
                operand,
                field,
                test_only,
            } => self.select(operand, field, *test_only),
            Kind::Call {
                function,
                target,
                args,
            } => self.call(expr, function, target.as_deref(), args),
            Kind::List { elements, optional } => self.list(elements, optional),
            Kind::Map { entries } => self.map(entries),
            Kind::Struct { type_name, fields } => self.object(type_name, fields),
            Kind::Comprehension(fold) => self.fold(fold),
        }
    }

    fn select(
        &mut self,
        operand: &Expr,
        field: &Arc<str>,
        test_only: bool,
    ) -> Result<Node, EvalError> {
        let key = self.qualifier_key(self.checked.type_of(operand), field);
        let mut attribute = Box::new(as_attribute(self.node(operand)?));
        attribute.qualifiers.push(Qualifier {
            key,
            optional: false,
            test_only,
        });
        Ok(if test_only {
            Node::Test(attribute)
        } else {
            Node::Attribute(attribute)
        })
    }

    fn list(&mut self, elements: &[Expr], optional: &[bool]) -> Result<Node, EvalError> {
        let mut planned = Vec::with_capacity(elements.len());
        for element in elements {
            planned.push(self.node(element)?);
        }
        Ok(fold_list(planned, optional))
    }

    fn map(&mut self, entries: &[MapEntry]) -> Result<Node, EvalError> {
        let mut planned = Vec::with_capacity(entries.len());
        for entry in entries {
            let (key, value) = (self.node(&entry.key)?, self.node(&entry.value)?);
            planned.push(Entry {
                key,
                value,
                optional: entry.optional,
            });
        }
        fold_map(planned)
    }

    fn object(&mut self, type_name: &Arc<str>, fields: &[StructField]) -> Result<Node, EvalError> {
        let mut planned = Vec::with_capacity(fields.len());
        for field in fields {
            planned.push((field.name.clone(), self.node(&field.value)?, field.optional));
        }
        Ok(Node::Struct {
            type_name: type_name.clone(),
            fields: planned,
        })
    }

    fn ident(&mut self, expr: &Expr, name: &Arc<str>) -> Result<Node, EvalError> {
        if let Some(Reference::Type(of)) = self.checked.reference(expr) {
            let undefined = EvalError::new(format!("reference to undefined type: {name}"));
            return match of {
                // These names are known to the checker only.
                Type::Struct(_) => Err(undefined),
                Type::Timestamp | Type::Duration if !name.contains('.') => Err(undefined),
                Type::List(_) => Ok(Node::Const(Value::Type(Type::list(Type::Dyn)))),
                Type::Map(_) => Ok(Node::Const(Value::Type(Type::map(Type::Dyn, Type::Dyn)))),
                of => Ok(Node::Const(Value::Type(of.clone()))),
            };
        }
        let slot = self
            .scopes
            .iter()
            .rposition(|local| local.as_ref() == Some(name));
        let base = slot.map_or_else(|| Base::Variable(name.clone()), Base::Local);
        Ok(Node::Attribute(Box::new(Attribute {
            base,
            qualifiers: Vec::new(),
        })))
    }

    fn qualifier_key(&self, operand: &Type, field: &Arc<str>) -> QualifierKey {
        match operand {
            Type::Struct(name) if self.env.mutation && is_dynamic_object(name) => {
                QualifierKey::Field(field.clone())
            }
            _ => QualifierKey::Const(Value::from(field.to_string())),
        }
    }

    fn call(
        &mut self,
        expr: &Expr,
        function: &Arc<str>,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Result<Node, EvalError> {
        let mut planned = Vec::with_capacity(args.len() + 1);
        for arg in target.into_iter().chain(args) {
            planned.push(self.node(arg)?);
        }
        self.call_of(expr, function, args, planned)
    }

    /// A call, its arguments already planned.
    fn call_of(
        &mut self,
        expr: &Expr,
        function: &Arc<str>,
        args: &[Expr],
        mut planned: Vec<Node>,
    ) -> Result<Node, EvalError> {
        let ids = self.checked.overloads(expr);
        let overload = if let [id] = ids { *id } else { "" };
        match &**function {
            "_&&_" => return Ok(Node::And(pair(planned))),
            "_||_" => return Ok(Node::Or(pair(planned))),
            "_==_" => return Ok(Node::Equal(pair(planned))),
            "_!=_" => return Ok(Node::NotEqual(pair(planned))),
            "_?_:_" => return Ok(conditional(planned)),
            "_[_]" | "_[?_]" | "_?._" => {
                let [operand, index] = *pair(planned);
                let key = match index {
                    Node::Const(Value::String(field)) if &**function == "_?._" => {
                        self.qualifier_key(self.checked.type_of(&args[0]), &(*field).into())
                    }
                    Node::Const(value) => {
                        super::attribute::check_key(&value)?;
                        QualifierKey::Const(value)
                    }
                    index => QualifierKey::Attribute(as_attribute(index)),
                };
                let mut attribute = as_attribute(operand);
                attribute.qualifiers.push(Qualifier {
                    key,
                    optional: &**function != "_[_]",
                    test_only: false,
                });
                return Ok(Node::Attribute(Box::new(attribute)));
            }
            "or" if overload == "optional_or_optional" => {
                return Ok(Node::OptionalOr(pair(planned)));
            }
            "orValue" if overload == "optional_orValue_value" => {
                return Ok(Node::OptionalOrValue(pair(planned)));
            }
            _ => {}
        }
        let declared = self
            .env
            .declarations
            .functions
            .get(&**function)
            .ok_or_else(|| EvalError::new(format!("no such overload: {function}")))?;
        if overload == "in_list"
            && let [_, Node::Const(Value::List(list))] = planned.as_slice()
        {
            let elements: Vec<Value<'static>> = list.iter().collect::<Result<_, _>>()?;
            match membership(elements) {
                Some(set) if set.is_empty() => return Ok(Node::Const(Value::Bool(false))),
                Some(set) => {
                    let element = planned.swap_remove(0);
                    return Ok(Node::In(Box::new((element, set))));
                }
                None => {}
            }
        }
        let mut overloads = declared.overloads.clone();
        let all = overloads.len();
        if !overload.is_empty() {
            overloads.retain(|candidate| candidate.id == overload);
        }
        let converts = matches!(
            declared.name,
            "bool"
                | "bytes"
                | "double"
                | "dyn"
                | "duration"
                | "int"
                | "string"
                | "timestamp"
                | "type"
                | "uint"
        );
        let target = match (
            declared.unguarded,
            regex::constant(declared.name, &planned_constants(&planned))?,
        ) {
            (_, Some((operation, regex))) => Target::Regex(operation, regex),
            (true, None) => Target::Plain(overloads[0].implementation),
            (false, None) => Target::Overloads(overloads),
        };
        let takes = match (args.first().map(|arg| &arg.kind), declared.name) {
            (Some(Kind::Ident(name)), "_+_" | "cel.@mapInsert") if &**name == ACCUMULATOR => self
                .scopes
                .iter()
                .rposition(|local| local.as_ref() == Some(name)),
            _ => None,
        };
        // As upstream: with more than two arguments, where the overload is open, and with constant regular expressions.
        let dispatches = overload.is_empty() && all > 1 && !declared.unguarded;
        let stops_early = planned.len() > 2 || dispatches || matches!(target, Target::Regex(..));
        let call = Call {
            function: declared.name,
            args: planned,
            target,
            rule: Rule::of(declared.name, overload),
            stops_early,
            takes,
        };
        if converts && let [Node::Const(value)] = call.args.as_slice() {
            return Ok(Node::Const(call.apply(std::slice::from_ref(value))?));
        }
        Ok(Node::Call(Box::new(call)))
    }

    fn fold(&mut self, fold: &Comprehension) -> Result<Node, EvalError> {
        let range = self.node(&fold.range)?;
        let slot = self.scopes.len();
        // The initial value is computed when it is first read, while the variables are in use.
        self.scopes.extend([None, None, None]);
        self.max_slots = self.max_slots.max(self.scopes.len());
        let init = self.node(&fold.init)?;
        self.scopes[slot] = Some(fold.accumulator.clone());
        let result = self.node(&fold.result)?;
        self.scopes[slot + 1] = Some(fold.variable.clone());
        self.scopes[slot + 2] = fold.variable2.clone();
        let condition = self.node(&fold.condition)?;
        let step = self.node(&fold.step)?;
        self.scopes.truncate(slot);
        let two_variables = fold.variable2.is_some();
        Ok(Node::Fold(Box::new(Fold {
            range,
            init,
            condition,
            step,
            result,
            slot,
            two_variables,
        })))
    }
}

fn pair(nodes: Vec<Node>) -> Box<[Node; 2]> {
    let Ok(pair) = <[Node; 2]>::try_from(nodes) else {
        unreachable!("operators have two operands")
    };
    Box::new(pair)
}

fn planned_constants(nodes: &[Node]) -> Vec<Option<&Value<'static>>> {
    nodes
        .iter()
        .map(|node| {
            if let Node::Const(value) = node {
                Some(value)
            } else {
                None
            }
        })
        .collect()
}

/// The node as something that can be selected from.
fn as_attribute(node: Node) -> Attribute {
    match node {
        Node::Attribute(attribute) => *attribute,
        node => Attribute {
            base: Base::Node(node),
            qualifiers: Vec::new(),
        },
    }
}

fn conditional(nodes: Vec<Node>) -> Node {
    let Ok([condition, if_true, if_false]) = <[Node; 3]>::try_from(nodes) else {
        unreachable!("the conditional has three operands")
    };
    let branch = |node| match node {
        Node::Test(attribute) => *attribute,
        node => as_attribute(node),
    };
    let base = Base::Conditional(Box::new((condition, branch(if_true), branch(if_false))));
    Node::Attribute(Box::new(Attribute {
        base,
        qualifiers: Vec::new(),
    }))
}

fn fold_list(elements: Vec<Node>, optional: &[bool]) -> Node {
    let constant = elements
        .iter()
        .all(|element| matches!(element, Node::Const(_)))
        && !optional.contains(&true);
    if !constant {
        return Node::List {
            elements,
            optional: optional.to_vec(),
        };
    }
    let values = elements.into_iter().filter_map(|element| match element {
        Node::Const(value) => Some(value),
        _ => None,
    });
    Node::Const(Value::from(values.collect::<Vec<_>>()))
}

fn fold_map(entries: Vec<Entry>) -> Result<Node, EvalError> {
    let mut values = OwnedMap::new();
    for entry in &entries {
        let (Node::Const(key), Node::Const(value), false) =
            (&entry.key, &entry.value, entry.optional)
        else {
            return Ok(Node::Map(entries));
        };
        values.insert(Key::try_from(key)?, value.clone());
    }
    Ok(Node::Const(Value::Map(Map::Owned(Arc::new(values)))))
}

/// A set of constants, where they are simple enough.
fn membership(elements: Vec<Value<'static>>) -> Option<Set> {
    let strings: Option<HashSet<String>> = elements
        .iter()
        .map(|element| element.as_str().map(str::to_owned))
        .collect();
    if let Some(strings) = strings {
        return Some(Set::Strings(strings));
    }
    let simple = |element: &Value<'_>| {
        matches!(
            element,
            Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::String(_)
        )
    };
    elements.iter().all(simple).then_some(Set::Values(elements))
}

impl Set {
    fn is_empty(&self) -> bool {
        match self {
            Set::Strings(strings) => strings.is_empty(),
            Set::Values(values) => values.is_empty(),
        }
    }

    pub(super) fn contains(&self, value: &Value<'_>) -> bool {
        match self {
            Set::Strings(strings) => value.as_str().is_some_and(|text| strings.contains(text)),
            Set::Values(values) => values
                .iter()
                .any(|element| crate::value::equals(element, value) == Ok(true)),
        }
    }
}
