//! Expressions as trees. Every node has a number; the checker keeps what it finds out in tables by number.

use std::sync::Arc;

use crate::value::Value;

/// The name of the variable the macros collect in. It cannot be written.
pub(crate) const ACCUMULATOR: &str = "@result";
/// The name of a variable nobody reads.
pub(crate) const UNUSED: &str = "#unused";

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) id: u32,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Stands where an error was reported.
    Unspecified,
    Literal(Value<'static>),
    Ident(Arc<str>),
    Select {
        operand: Box<Expr>,
        field: Arc<str>,
        test_only: bool,
    },
    Call {
        function: Arc<str>,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    List {
        elements: Vec<Expr>,
        optional: Vec<bool>,
    },
    Map {
        entries: Vec<MapEntry>,
    },
    Struct {
        type_name: Arc<str>,
        fields: Vec<StructField>,
    },
    Comprehension(Box<Comprehension>),
}

#[derive(Clone, Debug)]
pub(crate) struct MapEntry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct StructField {
    pub(crate) id: u32,
    pub(crate) name: Arc<str>,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A fold over a list or map: what all macros with variables become.
#[derive(Clone, Debug)]
pub(crate) struct Comprehension {
    pub(crate) range: Expr,
    pub(crate) variable: Arc<str>,
    pub(crate) variable2: Option<Arc<str>>,
    pub(crate) accumulator: Arc<str>,
    pub(crate) init: Expr,
    pub(crate) condition: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
}

impl Comprehension {
    /// Whether this is `cel.bind` or the like: no loop, only a name for a value.
    pub(crate) fn is_bind(&self) -> bool {
        matches!(&self.range.kind, Kind::List { elements, .. } if elements.is_empty())
            && matches!(self.condition.kind, Kind::Literal(Value::Bool(false)))
    }
}

/// A parsed expression with the place of every node.
#[derive(Clone, Debug)]
pub(crate) struct Ast {
    pub(crate) root: Expr,
    /// The offset in code points of each node, by number.
    pub(crate) offsets: Vec<u32>,
}

impl Expr {
    pub(crate) fn as_call(&self) -> Option<(&Arc<str>, Option<&Expr>, &[Expr])> {
        match &self.kind {
            Kind::Call {
                function,
                target,
                args,
            } => Some((function, target.as_deref(), args)),
            _ => None,
        }
    }

    /// `a.b.c` when it is nothing but names.
    pub(crate) fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select {
                operand,
                field,
                test_only: false,
            } => {
                let mut name = operand.qualified_name()?;
                name.push('.');
                name.push_str(field);
                Some(name)
            }
            _ => None,
        }
    }

    /// Calls `visit` for this node and all below, parents first.
    pub(crate) fn walk<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        visit(self);
        self.children(&mut |child| child.walk(visit));
    }

    /// How many nodes there are at most from this one down.
    pub(crate) fn depth(&self) -> usize {
        let mut below = 0;
        self.children(&mut |child| below = below.max(child.depth()));
        below + 1
    }

    fn children<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        match &self.kind {
            Kind::Unspecified | Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => visit(operand),
            Kind::Call { target, args, .. } => {
                if let Some(target) = target {
                    visit(target);
                }
                args.iter().for_each(visit);
            }
            Kind::List { elements, .. } => elements.iter().for_each(visit),
            Kind::Map { entries } => entries.iter().for_each(|entry| {
                visit(&entry.key);
                visit(&entry.value);
            }),
            Kind::Struct { fields, .. } => fields.iter().for_each(|field| visit(&field.value)),
            Kind::Comprehension(fold) => {
                for part in [
                    &fold.range,
                    &fold.init,
                    &fold.condition,
                    &fold.step,
                    &fold.result,
                ] {
                    visit(part);
                }
            }
        }
    }
}
