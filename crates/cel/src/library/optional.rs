//! Values that may be absent. Upstream: the optional library in cel/library.go of cel-go.

use super::list;
use crate::env::{Function, Implementation};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::Value;

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let v = || Type::Param("V");
    let optional = || Type::optional(v());
    let list_of = || Type::list(v());
    let map = || Type::map(Type::Param("K"), v());
    // These are planned by themselves and never called.
    let planned: Implementation = |_| Err(EvalError::NO_SUCH_OVERLOAD);
    vec![
        Function::new("optional.of").global("optional_of", &[v()], optional(), |args| {
            Ok(Value::some(args[0].clone()))
        }),
        Function::new("optional.ofNonZeroValue").global(
            "optional_ofNonZeroValue",
            &[v()],
            optional(),
            |args| {
                Ok(if args[0].is_zero() {
                    Value::NONE
                } else {
                    Value::some(args[0].clone())
                })
            },
        ),
        Function::new("optional.none")
            .global("optional_none", &[], optional(), |_| Ok(Value::NONE)),
        Function::new("value").member("optional_value", &[optional()], v(), |args| {
            match &args[0] {
                Value::Optional(Some(value)) => Ok((**value).clone()),
                _ => Err(EvalError::new("optional.none() dereference")),
            }
        }),
        Function::new("hasValue").member("optional_hasValue", &[optional()], Type::Bool, |args| {
            Ok(Value::Bool(matches!(&args[0], Value::Optional(Some(_)))))
        }),
        Function::new("or").member(
            "optional_or_optional",
            &[optional(), optional()],
            optional(),
            planned,
        ),
        Function::new("orValue").member("optional_orValue_value", &[optional(), v()], v(), planned),
        Function::new("_?._").global(
            "select_optional_field",
            &[Type::Dyn, Type::String],
            optional(),
            planned,
        ),
        Function::new("_[?_]")
            .global(
                "list_optindex_optional_int",
                &[list_of(), Type::Int],
                optional(),
                planned,
            )
            .global(
                "optional_list_optindex_optional_int",
                &[Type::optional(list_of()), Type::Int],
                optional(),
                planned,
            )
            .global(
                "map_optindex_optional_value",
                &[map(), Type::Param("K")],
                optional(),
                planned,
            )
            .global(
                "optional_map_optindex_optional_value",
                &[Type::optional(map()), Type::Param("K")],
                optional(),
                planned,
            ),
        Function::new("_[_]")
            .global(
                "optional_list_index_int",
                &[Type::optional(list_of()), Type::Int],
                optional(),
                planned,
            )
            .global(
                "optional_map_index_value",
                &[Type::optional(map()), Type::Param("K")],
                optional(),
                planned,
            ),
        Function::new("first").member("list_first", &[list_of()], optional(), |args| {
            let list = list(args, 0)?;
            if list.is_empty() {
                Ok(Value::NONE)
            } else {
                list.get(0).map(Value::some)
            }
        }),
        Function::new("last").member("list_last", &[list_of()], optional(), |args| {
            let list = list(args, 0)?;
            if list.is_empty() {
                Ok(Value::NONE)
            } else {
                list.get(list.len() - 1).map(Value::some)
            }
        }),
        Function::new("optional.unwrap").global(
            "optional_unwrap",
            &[Type::list(optional())],
            list_of(),
            unwrap,
        ),
        Function::new("unwrapOpt").member(
            "optional_unwrapOpt",
            &[Type::list(optional())],
            list_of(),
            unwrap,
        ),
    ]
}

fn unwrap<'a>(args: &[Value<'a>]) -> Result<Value<'a>, EvalError> {
    let mut values = Vec::new();
    for element in list(args, 0)?.iter() {
        match element? {
            Value::Optional(Some(value)) => values.push((*value).clone()),
            Value::Optional(None) => {}
            other => return Err(EvalError::new(format!("value {other} is not optional"))),
        }
    }
    Ok(Value::from(values))
}
