//! What Kubernetes refuses beyond types: literals that cannot be read, mixed lists, wrong format calls.
//!
//! Upstream: cel/validator.go and ext/formatting.go of cel-go.

use super::Checked;
use crate::library::{conversions, format_string, regex};
use crate::syntax::ast::{Expr, Kind};
use crate::types::Type;
use crate::value::Value;

/// Numbers of nodes and what is wrong with them.
pub(super) fn validate(checked: &Checked) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    literals(checked, "duration", &mut found, |value| {
        conversions::to_duration(value).is_ok()
    });
    literals(checked, "timestamp", &mut found, |value| {
        conversions::to_timestamp(value).is_ok()
    });
    literals(checked, "matches", &mut found, |value| {
        value
            .as_str()
            .is_none_or(|pattern| regex::compile(pattern).is_ok())
    });
    let mut mixed = Mixed { checked, found };
    mixed.lists(&checked.root, false);
    mixed.maps(&checked.root, false);
    let mut found = mixed.found;
    checked.root.walk(&mut |expr| {
        if let Some((function, Some(target), [args])) = expr.as_call()
            && &**function == "format"
            && let (Kind::Literal(Value::String(format)), Kind::List { elements, .. }) =
                (&target.kind, &args.kind)
            && let Err((id, message)) = format_string::check(format, elements, checked)
        {
            found.push((id.unwrap_or(expr.id), message));
        }
    });
    found
}

/// Checks the first argument of each call of a function, where it is a literal.
fn literals(
    checked: &Checked,
    name: &str,
    found: &mut Vec<(u32, String)>,
    is_valid: impl Fn(&Value<'static>) -> bool,
) {
    checked.root.walk(&mut |expr| {
        if let Some((function, _, [arg, ..])) = expr.as_call()
            && &**function == name
            && let Kind::Literal(value) = &arg.kind
            && !is_valid(value)
        {
            found.push((arg.id, format!("invalid {name} argument")));
        }
    });
}

/// Looks for lists and maps with elements of different types. Arguments of `format` may be mixed.
struct Mixed<'c> {
    checked: &'c Checked,
    found: Vec<(u32, String)>,
}

impl Mixed<'_> {
    fn differs(&mut self, first: &Type, expr: &Expr, of: &Type) -> bool {
        if first.is_equivalent(of) {
            return false;
        }
        let message = format!(
            "expected type '{}' but found '{}'",
            first.in_messages(),
            of.in_messages()
        );
        self.found.push((expr.id, message));
        true
    }

    fn type_of(&self, expr: &Expr, optional: bool) -> Type {
        let of = self.checked.type_of(expr);
        if optional {
            of.unwrap_optional().unwrap_or(&Type::Dyn).clone()
        } else {
            of.clone()
        }
    }

    fn lists(&mut self, expr: &Expr, exempt: bool) {
        if let (Kind::List { elements, optional }, false) = (&expr.kind, exempt) {
            let mut first: Option<Type> = None;
            for (element, optional) in elements.iter().zip(optional) {
                let of = self.type_of(element, *optional);
                match &first {
                    None => first = Some(of),
                    Some(first) => {
                        let first = first.clone();
                        if self.differs(&first, element, &of) {
                            break;
                        }
                    }
                }
            }
        }
        let exempt = exempt || is_format(expr);
        children(expr, &mut |child| self.lists(child, exempt));
    }

    fn maps(&mut self, expr: &Expr, exempt: bool) {
        if let (Kind::Map { entries }, false) = (&expr.kind, exempt) {
            let mut first: Option<(Type, Type)> = None;
            for entry in entries {
                let of = (
                    self.type_of(&entry.key, false),
                    self.type_of(&entry.value, entry.optional),
                );
                match &first {
                    None => first = Some(of),
                    Some(first) => {
                        let first = first.clone();
                        self.differs(&first.0, &entry.key, &of.0);
                        self.differs(&first.1, &entry.value, &of.1);
                    }
                }
            }
        }
        let exempt = exempt || is_format(expr);
        children(expr, &mut |child| self.maps(child, exempt));
    }
}

fn is_format(expr: &Expr) -> bool {
    expr.as_call()
        .is_some_and(|(function, _, _)| matches!(&**function, "format" | "cel.@block"))
}

fn children<'e>(expr: &'e Expr, visit: &mut dyn FnMut(&'e Expr)) {
    match &expr.kind {
        Kind::Unspecified | Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, .. } => visit(operand),
        Kind::Call { target, args, .. } => target
            .iter()
            .map(|target| &**target)
            .chain(args)
            .for_each(visit),
        Kind::List { elements, .. } => elements.iter().for_each(visit),
        Kind::Map { entries } => entries.iter().for_each(|entry| {
            visit(&entry.key);
            visit(&entry.value);
        }),
        Kind::Struct { fields, .. } => fields.iter().for_each(|field| visit(&field.value)),
        Kind::Comprehension(fold) => {
            [
                &fold.range,
                &fold.init,
                &fold.condition,
                &fold.step,
                &fold.result,
            ]
            .into_iter()
            .for_each(visit);
        }
    }
}
