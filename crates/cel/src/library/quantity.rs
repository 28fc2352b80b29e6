//! Quantities. Upstream: apiserver/pkg/cel/library/quantity.go.

use api_types::special::{Format, Quantity};

use super::{int, opaque, text};
use crate::env::{Function, Implementation};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Opaque, Value};

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let of = || Type::object("kubernetes.Quantity");
    let two = [of(), of()];
    let compare = |name, id, result, implementation: Implementation| {
        Function::new(name).member(id, &two, result, implementation)
    };
    vec![
        Function::new("quantity").global("string_to_quantity", &[Type::String], of(), |args| {
            match Quantity::parse(text(args, 0)?) {
                Ok(quantity) => Ok(Opaque::Quantity(quantity).into()),
                Err(error) => Err(EvalError::new(error.to_string())),
            }
        }),
        Function::new("isQuantity").global(
            "is_quantity_string",
            &[Type::String],
            Type::Bool,
            |args| Ok(Value::Bool(Quantity::parse(text(args, 0)?).is_ok())),
        ),
        Function::new("sign").global("quantity_sign", &[of()], Type::Int, |args| {
            Ok(Value::Int(opaque!(args, 0, Quantity)?.signum().into()))
        }),
        compare(
            "isGreaterThan",
            "quantity_is_greater_than",
            Type::Bool,
            |args| {
                Ok(Value::Bool(
                    opaque!(args, 0, Quantity)? > opaque!(args, 1, Quantity)?,
                ))
            },
        ),
        compare("isLessThan", "quantity_is_less_than", Type::Bool, |args| {
            Ok(Value::Bool(
                opaque!(args, 0, Quantity)? < opaque!(args, 1, Quantity)?,
            ))
        }),
        compare("compareTo", "quantity_compare_to", Type::Int, |args| {
            Ok(Value::Int(
                opaque!(args, 0, Quantity)?.cmp(opaque!(args, 1, Quantity)?) as i64,
            ))
        }),
        Function::new("asApproximateFloat").member(
            "quantity_get_float",
            &[of()],
            Type::Double,
            |args| Ok(Value::Double(opaque!(args, 0, Quantity)?.as_f64())),
        ),
        Function::new("asInteger").member("quantity_get_int", &[of()], Type::Int, |args| {
            let number = opaque!(args, 0, Quantity)?.as_i64();
            number
                .map(Value::Int)
                .ok_or_else(|| EvalError::new("cannot convert value to integer"))
        }),
        Function::new("isInteger").member("quantity_is_integer", &[of()], Type::Bool, |args| {
            Ok(Value::Bool(opaque!(args, 0, Quantity)?.as_i64().is_some()))
        }),
        Function::new("add")
            .member("quantity_add", &two, of(), |args| {
                changed(args, opaque!(args, 1, Quantity)?, Quantity::add)
            })
            .member("quantity_add_int", &[of(), Type::Int], of(), |args| {
                changed(args, &whole(int(args, 1)?)?, Quantity::add)
            }),
        Function::new("sub")
            .member("quantity_sub", &two, of(), |args| {
                changed(args, opaque!(args, 1, Quantity)?, Quantity::sub)
            })
            .member("quantity_sub_int", &[of(), Type::Int], of(), |args| {
                changed(args, &whole(int(args, 1)?)?, Quantity::sub)
            }),
    ]
}

fn whole(number: i64) -> Result<Quantity, EvalError> {
    let mut quantity =
        Quantity::parse(&number.to_string()).map_err(|error| EvalError::new(error.to_string()))?;
    quantity.set_format(Format::DecimalExponent);
    Ok(quantity)
}

fn changed<'a>(
    args: &[Value<'a>],
    by: &Quantity,
    change: fn(&mut Quantity, &Quantity),
) -> Result<Value<'a>, EvalError> {
    let mut quantity = opaque!(args, 0, Quantity)?.clone();
    change(&mut quantity, by);
    Ok(Opaque::Quantity(quantity).into())
}
