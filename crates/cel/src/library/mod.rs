//! What expressions can call: a file per library, and a row in the table below.

pub(crate) mod authz;
pub(crate) mod cidr;
pub(crate) mod conversions;
mod ext_lists;
pub(crate) mod format_string;
pub(crate) mod ip;
mod jsonpatch;
pub(crate) mod lists;
pub(crate) mod named_format;
mod optional;
mod quantity;
pub(crate) mod regex;
pub(crate) mod semver;
mod sets;
mod standard;
mod strings;
mod time;
pub(crate) mod two_variables;
pub(crate) mod url;

use crate::env::Function;
use crate::error::EvalError;
use crate::syntax::macros::{self, Macro};
use crate::value::Value;

/// Functions and macros that belong together.
#[derive(Debug)]
pub(crate) struct Library {
    /// Upstream's name.
    pub(crate) name: &'static str,
    pub(crate) macros: &'static [Macro],
    pub(crate) functions: fn() -> Vec<Function>,
    /// Whether the environment of Kubernetes 1.36 has it.
    pub(crate) kubernetes: bool,
}

const fn row(
    name: &'static str,
    macros: &'static [Macro],
    functions: fn() -> Vec<Function>,
) -> Library {
    Library {
        name,
        macros,
        functions,
        kubernetes: true,
    }
}

/// All libraries. The overloads of a function are in the order of their libraries here.
pub(crate) const LIBRARIES: &[Library] = &[
    row("cel.lib.std", macros::STANDARD, standard::functions),
    row("cel.lib.std.conversions", &[], conversions::functions),
    row("cel.lib.std.time", &[], time::functions),
    row("kubernetes.urls", &[], url::functions),
    row("kubernetes.regex", &[], regex::functions),
    row("kubernetes.lists", &[], lists::functions),
    row("kubernetes.authz", &[], authz::functions),
    row("cel.lib.optional", macros::OPTIONAL, optional::functions),
    row("kubernetes.quantity", &[], quantity::functions),
    row("cel.lib.ext.strings", &[], strings::functions),
    row("cel.lib.ext.sets", &[], sets::functions),
    row("kubernetes.net.ip", &[], ip::functions),
    row("kubernetes.net.cidr", &[], cidr::functions),
    row("kubernetes.format", &[], named_format::functions),
    row("kubernetes.authzSelectors", &[], authz::selector_functions),
    row(
        "cel.lib.ext.comprev2",
        macros::TWO_VARIABLES,
        two_variables::functions,
    ),
    row("kubernetes.Semver", &[], semver::functions),
    row("cel.lib.ext.lists", macros::LISTS, ext_lists::functions),
    // For mutations only.
    Library {
        name: "kubernetes.jsonpatch",
        macros: &[],
        functions: jsonpatch::functions,
        kubernetes: false,
    },
    // Not in Kubernetes.
    Library {
        name: "cel.lib.ext.cel.bindings",
        macros: macros::BINDINGS,
        functions: Vec::new,
        kubernetes: false,
    },
];

/// A text argument.
fn text<'v>(args: &'v [Value<'_>], index: usize) -> Result<&'v str, EvalError> {
    args.get(index)
        .and_then(Value::as_str)
        .ok_or(EvalError::NO_SUCH_OVERLOAD)
}

/// An integer argument.
fn int(args: &[Value<'_>], index: usize) -> Result<i64, EvalError> {
    match args.get(index) {
        Some(Value::Int(number)) => Ok(*number),
        _ => Err(EvalError::NO_SUCH_OVERLOAD),
    }
}

/// A list argument.
fn list<'v, 'a>(
    args: &'v [Value<'a>],
    index: usize,
) -> Result<&'v crate::value::List<'a>, EvalError> {
    match args.get(index) {
        Some(Value::List(list)) => Ok(list),
        _ => Err(EvalError::NO_SUCH_OVERLOAD),
    }
}

/// Reads an opaque argument of one kind.
macro_rules! opaque {
    ($args:expr, $index:expr, $kind:ident) => {
        match $args.get($index).and_then($crate::value::Value::as_opaque) {
            Some($crate::value::Opaque::$kind(value)) => Ok(value),
            _ => Err($crate::error::EvalError::NO_SUCH_OVERLOAD),
        }
    };
}
use opaque;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn overloads_and_names_are_unique() {
        let mut names = HashSet::new();
        let mut ids = HashSet::new();
        for library in LIBRARIES {
            assert!(names.insert(library.name), "{}", library.name);
            for function in (library.functions)() {
                for overload in function.overloads {
                    let operator = ["in_list", "in_map"].contains(&overload.id);
                    assert!(operator || ids.insert(overload.id), "{}", overload.id);
                }
            }
        }
    }
}
