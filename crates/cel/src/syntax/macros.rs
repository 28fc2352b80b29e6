//! Macros: calls that become other expressions while parsing. Upstream: parser/macro.go of cel-go, and the macros in ext/.

use std::sync::Arc;

use super::ast::{ACCUMULATOR, Comprehension, Expr, Kind, MapEntry, StructField, UNUSED};
use crate::value::Value;

/// A macro, found by name, number of arguments, and whether it is called on something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Macro {
    pub(crate) name: &'static str,
    pub(crate) args: usize,
    pub(crate) receiver: bool,
    pub(crate) expand: Expand,
}

/// Makes an expression of what a macro is called on and its arguments.
type Expand = fn(&mut Builder, Option<Expr>, Vec<Expr>) -> Result<Expr, Refused>;

/// A macro's arguments are wrong.
pub(crate) struct Refused {
    /// The node to point at.
    pub(crate) id: u32,
    pub(crate) message: String,
}

fn refuse<T>(id: u32, message: &str) -> Result<T, Refused> {
    Err(Refused {
        id,
        message: message.to_owned(),
    })
}

const fn receiver(name: &'static str, args: usize, expand: Expand) -> Macro {
    Macro {
        name,
        args,
        receiver: true,
        expand,
    }
}

/// The macros of the language.
pub(crate) const STANDARD: &[Macro] = &[
    Macro {
        name: "has",
        args: 1,
        receiver: false,
        expand: has,
    },
    receiver("all", 2, |b, target, args| {
        quantifier(b, Quantifier::All, target, args)
    }),
    receiver("exists", 2, |b, target, args| {
        quantifier(b, Quantifier::Exists, target, args)
    }),
    receiver("exists_one", 2, |b, target, args| {
        quantifier(b, Quantifier::ExistsOne, target, args)
    }),
    receiver("map", 2, map),
    receiver("map", 3, map),
    receiver("filter", 2, filter),
];

/// The macros of optional values.
pub(crate) const OPTIONAL: &[Macro] = &[
    receiver("optMap", 2, |b, target, args| {
        opt_map(b, target, args, false)
    }),
    receiver("optFlatMap", 2, |b, target, args| {
        opt_map(b, target, args, true)
    }),
];

/// The macros with two variables.
pub(crate) const TWO_VARIABLES: &[Macro] = &[
    receiver("all", 3, |b, target, args| {
        quantifier(b, Quantifier::All, target, args)
    }),
    receiver("exists", 3, |b, target, args| {
        quantifier(b, Quantifier::Exists, target, args)
    }),
    receiver("existsOne", 3, |b, target, args| {
        quantifier(b, Quantifier::ExistsOne, target, args)
    }),
    receiver("exists_one", 3, |b, target, args| {
        quantifier(b, Quantifier::ExistsOne, target, args)
    }),
    receiver("transformList", 3, |b, target, args| {
        transform(b, Transform::List, target, args)
    }),
    receiver("transformList", 4, |b, target, args| {
        transform(b, Transform::List, target, args)
    }),
    receiver("transformMap", 3, |b, target, args| {
        transform(b, Transform::Map, target, args)
    }),
    receiver("transformMap", 4, |b, target, args| {
        transform(b, Transform::Map, target, args)
    }),
    receiver("transformMapEntry", 3, |b, target, args| {
        transform(b, Transform::MapEntry, target, args)
    }),
    receiver("transformMapEntry", 4, |b, target, args| {
        transform(b, Transform::MapEntry, target, args)
    }),
];

/// `cel.bind(name, value, expression)`.
pub(crate) const BINDINGS: &[Macro] = &[receiver("bind", 3, bind)];

/// `list.sortBy(name, key)`.
pub(crate) const LISTS: &[Macro] = &[receiver("sortBy", 2, sort_by)];

/// Makes nodes, numbers them, and remembers where they are.
#[derive(Debug)]
pub(crate) struct Builder {
    pub(crate) offsets: Vec<u32>,
    at: u32,
}

impl Builder {
    pub(crate) fn new() -> Self {
        // Number 0 is no node.
        Builder {
            offsets: vec![0],
            at: 0,
        }
    }

    /// Where the nodes made from now on are.
    pub(crate) fn at(&mut self, offset: u32) -> &mut Self {
        self.at = offset;
        self
    }

    pub(crate) fn id(&mut self) -> u32 {
        self.offsets.push(self.at);
        (self.offsets.len() - 1) as u32
    }

    pub(crate) fn node(&mut self, kind: Kind) -> Expr {
        Expr {
            id: self.id(),
            kind,
        }
    }

    pub(crate) fn literal(&mut self, value: Value<'static>) -> Expr {
        self.node(Kind::Literal(value))
    }

    pub(crate) fn string(&mut self, text: &str) -> Expr {
        self.literal(Value::from(text.to_owned()))
    }

    pub(crate) fn ident(&mut self, name: &str) -> Expr {
        self.node(Kind::Ident(name.into()))
    }

    pub(crate) fn select(&mut self, operand: Expr, field: Arc<str>, test_only: bool) -> Expr {
        self.node(Kind::Select {
            operand: Box::new(operand),
            field,
            test_only,
        })
    }

    pub(crate) fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.member_call(function, None, args)
    }

    pub(crate) fn member_call(
        &mut self,
        function: &str,
        target: Option<Expr>,
        args: Vec<Expr>,
    ) -> Expr {
        self.node(Kind::Call {
            function: function.into(),
            target: target.map(Box::new),
            args,
        })
    }

    fn list(&mut self, elements: Vec<Expr>) -> Expr {
        let optional = vec![false; elements.len()];
        self.node(Kind::List { elements, optional })
    }

    fn accumulator(&mut self) -> Expr {
        self.ident(ACCUMULATOR)
    }

    fn comprehension(&mut self, fold: Comprehension) -> Expr {
        self.node(Kind::Comprehension(Box::new(fold)))
    }

    /// A name for a value inside of an expression, as a fold over nothing.
    fn bound(&mut self, name: Arc<str>, value: Expr, result: Expr) -> Expr {
        let range = self.list(Vec::new());
        let condition = self.literal(Value::Bool(false));
        let step = self.ident(&name);
        self.comprehension(Comprehension {
            range,
            variable: UNUSED.into(),
            variable2: None,
            accumulator: name,
            init: value,
            condition,
            step,
            result,
        })
    }

    /// The same expression once more, with numbers of its own at the same places.
    fn copy(&mut self, expr: &Expr) -> Expr {
        let at = self.at;
        self.at = self.offsets[expr.id as usize];
        let id = self.id();
        self.at = at;
        let kind = match &expr.kind {
            Kind::Unspecified => Kind::Unspecified,
            Kind::Literal(value) => Kind::Literal(value.clone()),
            Kind::Ident(name) => Kind::Ident(name.clone()),
            Kind::Select {
                operand,
                field,
                test_only,
            } => Kind::Select {
                operand: Box::new(self.copy(operand)),
                field: field.clone(),
                test_only: *test_only,
            },
            Kind::Call {
                function,
                target,
                args,
            } => Kind::Call {
                function: function.clone(),
                args: args.iter().map(|arg| self.copy(arg)).collect(),
                target: target.as_ref().map(|target| Box::new(self.copy(target))),
            },
            Kind::List { elements, optional } => Kind::List {
                elements: elements.iter().map(|element| self.copy(element)).collect(),
                optional: optional.clone(),
            },
            Kind::Map { entries } => Kind::Map {
                entries: entries
                    .iter()
                    .map(|entry| MapEntry {
                        key: self.copy(&entry.key),
                        value: self.copy(&entry.value),
                        optional: entry.optional,
                    })
                    .collect(),
            },
            Kind::Struct { type_name, fields } => Kind::Struct {
                type_name: type_name.clone(),
                fields: fields
                    .iter()
                    .map(|field| StructField {
                        id: self.id(),
                        name: field.name.clone(),
                        value: self.copy(&field.value),
                        optional: field.optional,
                    })
                    .collect(),
            },
            Kind::Comprehension(fold) => Kind::Comprehension(Box::new(Comprehension {
                range: self.copy(&fold.range),
                variable: fold.variable.clone(),
                variable2: fold.variable2.clone(),
                accumulator: fold.accumulator.clone(),
                init: self.copy(&fold.init),
                condition: self.copy(&fold.condition),
                step: self.copy(&fold.step),
                result: self.copy(&fold.result),
            })),
        };
        Expr { id, kind }
    }
}

fn target_of(target: Option<Expr>) -> Expr {
    target.expect("receiver macros are called on something")
}

/// The macro's arguments, as many as its row in the table says.
fn split<const N: usize>(args: Vec<Expr>) -> [Expr; N] {
    args.try_into()
        .expect("the table says how many arguments a macro has")
}

fn simple_name(expr: &Expr) -> Option<Arc<str>> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.clone()),
        _ => None,
    }
}

fn variable(expr: &Expr, message: &str) -> Result<Arc<str>, Refused> {
    match simple_name(expr) {
        None => refuse(expr.id, message),
        Some(name) if &*name == ACCUMULATOR || &*name == "__result__" => refuse(
            expr.id,
            "iteration variable overwrites accumulator variable",
        ),
        Some(name) => Ok(name),
    }
}

const SIMPLE_NAME: &str = "argument must be a simple name";

/// One or two variables in front of the other arguments.
fn variables(args: &[Expr], count: usize) -> Result<(Arc<str>, Option<Arc<str>>), Refused> {
    if count == 1 {
        return Ok((variable(&args[0], SIMPLE_NAME)?, None));
    }
    let names = [&args[0], &args[1]].map(|arg| simple_name(arg).ok_or(arg.id));
    let [first, second] = names;
    let first = first.or_else(|id| refuse(id, SIMPLE_NAME))?;
    let second = second.or_else(|id| refuse(id, SIMPLE_NAME))?;
    if first == second {
        return refuse(args[1].id, &format!("duplicate variable name: {first}"));
    }
    variable(&args[0], SIMPLE_NAME)?;
    variable(&args[1], SIMPLE_NAME)?;
    Ok((first, Some(second)))
}

fn has(builder: &mut Builder, _: Option<Expr>, args: Vec<Expr>) -> Result<Expr, Refused> {
    let [arg] = split(args);
    match arg.kind {
        Kind::Select { operand, field, .. } => Ok(builder.select(*operand, field, true)),
        _ => refuse(arg.id, "invalid argument to has() macro"),
    }
}

#[derive(Clone, Copy)]
enum Quantifier {
    All,
    Exists,
    ExistsOne,
}

fn quantifier(
    builder: &mut Builder,
    kind: Quantifier,
    target: Option<Expr>,
    mut args: Vec<Expr>,
) -> Result<Expr, Refused> {
    let (variable, variable2) = variables(&args, args.len() - 1)?;
    let predicate = args.pop().expect("quantifiers have a predicate");
    let (init, condition, step, result);
    match kind {
        Quantifier::All => {
            init = builder.literal(Value::Bool(true));
            let accumulator = builder.accumulator();
            condition = builder.call("@not_strictly_false", vec![accumulator]);
            let accumulator = builder.accumulator();
            step = builder.call("_&&_", vec![accumulator, predicate]);
            result = builder.accumulator();
        }
        Quantifier::Exists => {
            init = builder.literal(Value::Bool(false));
            let accumulator = builder.accumulator();
            let not = builder.call("!_", vec![accumulator]);
            condition = builder.call("@not_strictly_false", vec![not]);
            let accumulator = builder.accumulator();
            step = builder.call("_||_", vec![accumulator, predicate]);
            result = builder.accumulator();
        }
        Quantifier::ExistsOne => {
            init = builder.literal(Value::Int(0));
            condition = builder.literal(Value::Bool(true));
            let accumulator = builder.accumulator();
            let one = builder.literal(Value::Int(1));
            let more = builder.call("_+_", vec![accumulator, one]);
            let same = builder.accumulator();
            step = builder.call("_?_:_", vec![predicate, more, same]);
            let accumulator = builder.accumulator();
            let one = builder.literal(Value::Int(1));
            result = builder.call("_==_", vec![accumulator, one]);
        }
    }
    Ok(builder.comprehension(Comprehension {
        range: target_of(target),
        variable,
        variable2,
        accumulator: ACCUMULATOR.into(),
        init,
        condition,
        step,
        result,
    }))
}

/// Collects: starts with `init`, does `step` for each element that `filter` lets through.
fn collect(
    builder: &mut Builder,
    range: Expr,
    (variable, variable2): (Arc<str>, Option<Arc<str>>),
    init: Expr,
    filter: Option<Expr>,
    step: Expr,
) -> Expr {
    let condition = builder.literal(Value::Bool(true));
    let step = match filter {
        None => step,
        Some(filter) => {
            let same = builder.accumulator();
            builder.call("_?_:_", vec![filter, step, same])
        }
    };
    let result = builder.accumulator();
    builder.comprehension(Comprehension {
        range,
        variable,
        variable2,
        accumulator: ACCUMULATOR.into(),
        init,
        condition,
        step,
        result,
    })
}

fn append(builder: &mut Builder, element: Expr) -> Expr {
    let accumulator = builder.accumulator();
    let list = builder.list(vec![element]);
    builder.call("_+_", vec![accumulator, list])
}

const NOT_AN_IDENTIFIER: &str = "argument is not an identifier";

fn map(builder: &mut Builder, target: Option<Expr>, mut args: Vec<Expr>) -> Result<Expr, Refused> {
    let variable = variable(&args[0], NOT_AN_IDENTIFIER)?;
    let transform = args.pop().expect("map has a transformation");
    let filter = (args.len() == 2).then(|| args.pop()).flatten();
    let init = builder.list(Vec::new());
    let step = append(builder, transform);
    Ok(collect(
        builder,
        target_of(target),
        (variable, None),
        init,
        filter,
        step,
    ))
}

fn filter(builder: &mut Builder, target: Option<Expr>, args: Vec<Expr>) -> Result<Expr, Refused> {
    let name = variable(&args[0], NOT_AN_IDENTIFIER)?;
    let [element, predicate] = split(args);
    let init = builder.list(Vec::new());
    let step = append(builder, element);
    Ok(collect(
        builder,
        target_of(target),
        (name, None),
        init,
        Some(predicate),
        step,
    ))
}

#[derive(Clone, Copy, PartialEq)]
enum Transform {
    List,
    Map,
    MapEntry,
}

fn transform(
    builder: &mut Builder,
    kind: Transform,
    target: Option<Expr>,
    mut args: Vec<Expr>,
) -> Result<Expr, Refused> {
    let names = variables(&args, 2)?;
    let transform = args.pop().expect("transformations have an expression");
    let filter = (args.len() == 3).then(|| args.pop()).flatten();
    let (init, step);
    if kind == Transform::List {
        init = builder.list(Vec::new());
        step = append(builder, transform);
    } else {
        init = builder.node(Kind::Map {
            entries: Vec::new(),
        });
        let mut insert = vec![builder.accumulator()];
        if kind == Transform::Map {
            insert.push(builder.ident(&names.0));
        }
        insert.push(transform);
        step = builder.call("cel.@mapInsert", insert);
    }
    Ok(collect(
        builder,
        target_of(target),
        names,
        init,
        filter,
        step,
    ))
}

fn opt_map(
    builder: &mut Builder,
    target: Option<Expr>,
    args: Vec<Expr>,
    flat: bool,
) -> Result<Expr, Refused> {
    let target = target_of(target);
    let [variable, transform] = split(args);
    let Some(name) = simple_name(&variable) else {
        let function = if flat { "optFlatMap" } else { "optMap" };
        return refuse(
            variable.id,
            &format!("{function}() variable name must be a simple identifier"),
        );
    };
    let again = builder.copy(&target);
    let has_value = builder.member_call("hasValue", Some(target), Vec::new());
    let value = builder.member_call("value", Some(again), Vec::new());
    let mut mapped = builder.bound(name, value, transform);
    if !flat {
        mapped = builder.call("optional.of", vec![mapped]);
    }
    let none = builder.call("optional.none", Vec::new());
    Ok(builder.call("_?_:_", vec![has_value, mapped, none]))
}

fn bind(builder: &mut Builder, target: Option<Expr>, args: Vec<Expr>) -> Result<Expr, Refused> {
    let target = target_of(target);
    if simple_name(&target).as_deref() != Some("cel") {
        return Ok(builder.member_call("bind", Some(target), args));
    }
    let [variable, value, result] = split(args);
    match simple_name(&variable) {
        Some(name) => Ok(builder.bound(name, value, result)),
        None => refuse(
            variable.id,
            "cel.bind() variable names must be simple identifiers",
        ),
    }
}

fn sort_by(builder: &mut Builder, target: Option<Expr>, args: Vec<Expr>) -> Result<Expr, Refused> {
    const INPUT: &str = "@__sortBy_input__";
    let target = target_of(target);
    if matches!(
        target.kind,
        Kind::Literal(_) | Kind::Map { .. } | Kind::Struct { .. } | Kind::Unspecified
    ) {
        let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return refuse(target.id, message);
    }
    let input = builder.ident(INPUT);
    let keys = map(builder, Some(input), args)?;
    let input = builder.ident(INPUT);
    let sorted = builder.member_call("@sortByAssociatedKeys", Some(input), vec![keys]);
    Ok(builder.bound(INPUT.into(), target, sorted))
}
