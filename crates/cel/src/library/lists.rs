//! Lists of what can be ordered or added. Upstream: apiserver/pkg/cel/library/lists.go.

use std::cmp::Ordering;

use super::list;
use crate::env::{Function, Implementation};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Value, compare, equals};

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

/// The overloads of a function for each of these types; the id is made of the type's name.
macro_rules! overloads {
    ($function:expr, $result:expr, $implementation:expr, $prefix:literal, $suffix:literal, [$($name:literal => $of:expr),*]) => {
        $function$(.member(concat!("list_", $name, $prefix, $suffix), &[Type::list($of)], $result($of), $implementation))*
    };
}

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let a = || Type::Param("A");
    let sum_of = |id, of: Type, implementation: Implementation, function: Function| {
        function.member(id, &[Type::list(of.clone())], of, implementation)
    };
    let mut sum = Function::new("sum");
    sum = sum_of(
        "list_int_sum_int",
        Type::Int,
        |args| total(args, Value::Int(0)),
        sum,
    );
    sum = sum_of(
        "list_uint_sum_uint",
        Type::Uint,
        |args| total(args, Value::Uint(0)),
        sum,
    );
    sum = sum_of(
        "list_double_sum_double",
        Type::Double,
        |args| total(args, Value::Double(0.0)),
        sum,
    );
    sum = sum_of(
        "list_duration_sum_duration",
        Type::Duration,
        |args| total(args, Value::Duration(0)),
        sum,
    );
    let (mut max, mut min) = (Function::new("max"), Function::new("min"));
    for (max_id, min_id, of) in [
        ("list_int_max_int", "list_int_min_int", Type::Int),
        ("list_uint_max_uint", "list_uint_min_uint", Type::Uint),
        (
            "list_double_max_double",
            "list_double_min_double",
            Type::Double,
        ),
        ("list_bool_max_bool", "list_bool_min_bool", Type::Bool),
        (
            "list_duration_max_duration",
            "list_duration_min_duration",
            Type::Duration,
        ),
        (
            "list_timestamp_max_timestamp",
            "list_timestamp_min_timestamp",
            Type::Timestamp,
        ),
        (
            "list_string_max_string",
            "list_string_min_string",
            Type::String,
        ),
        ("list_bytes_max_bytes", "list_bytes_min_bytes", Type::Bytes),
    ] {
        max = max.member(max_id, &[Type::list(of.clone())], of.clone(), |args| {
            extreme(args, "max", Ordering::Less)
        });
        min = min.member(min_id, &[Type::list(of.clone())], of, |args| {
            extreme(args, "min", Ordering::Greater)
        });
    }
    let sorted = overloads!(Function::new("isSorted"), |_: Type| Type::Bool, is_sorted, "_is_sorted", "_bool", [
        "int" => Type::Int, "uint" => Type::Uint, "double" => Type::Double, "bool" => Type::Bool,
        "duration" => Type::Duration, "timestamp" => Type::Timestamp, "string" => Type::String, "bytes" => Type::Bytes
    ]);
    vec![
        sum,
        max,
        min,
        sorted,
        Function::new("indexOf").member(
            "list_a_index_of_int",
            &[Type::list(a()), a()],
            Type::Int,
            |args| {
                let found = list(args, 0)?
                    .iter()
                    .position(|element| is(element, &args[1]));
                Ok(Value::Int(found.map_or(-1, |index| index as i64)))
            },
        ),
        Function::new("lastIndexOf").member(
            "list_a_last_index_of_int",
            &[Type::list(a()), a()],
            Type::Int,
            |args| {
                let list = list(args, 0)?;
                let found = (0..list.len())
                    .rev()
                    .find(|index| is(list.get(*index), &args[1]));
                Ok(Value::Int(found.map_or(-1, |index| index as i64)))
            },
        ),
    ]
}

fn is(element: Result<'_>, value: &Value<'_>) -> bool {
    element.is_ok_and(|element| equals(&element, value) == Ok(true))
}

fn total<'a>(args: &[Value<'a>], zero: Value<'a>) -> Result<'a> {
    list(args, 0)?
        .iter()
        .try_fold(zero, |sum, element| match (sum, element?) {
            (Value::Int(a), Value::Int(b)) => a
                .checked_add(b)
                .map(Value::Int)
                .ok_or_else(|| EvalError::new("integer overflow")),
            (Value::Uint(a), Value::Uint(b)) => a
                .checked_add(b)
                .map(Value::Uint)
                .ok_or_else(|| EvalError::new("unsigned integer overflow")),
            (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
            (Value::Duration(a), Value::Duration(b)) => a
                .checked_add(b)
                .map(Value::Duration)
                .ok_or_else(|| EvalError::new("integer overflow")),
            _ => Err(EvalError::NO_SUCH_OVERLOAD),
        })
}

/// The element that none other precedes; `replaced_when` says how the best so far compares to a better one.
fn extreme<'a>(args: &[Value<'a>], name: &str, replaced_when: Ordering) -> Result<'a> {
    let mut best: Option<Value<'a>> = None;
    for element in list(args, 0)?.iter() {
        let element = element?;
        best = match best {
            Some(best) if compare(&best, &element) != Ok(replaced_when) => Some(best),
            _ => Some(element),
        };
    }
    best.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

fn is_sorted<'a>(args: &[Value<'a>]) -> Result<'a> {
    let mut previous: Option<Value<'a>> = None;
    for element in list(args, 0)?.iter() {
        let element = element?;
        if previous.is_some_and(|previous| compare(&previous, &element) == Ok(Ordering::Greater)) {
            return Ok(Value::Bool(false));
        }
        previous = Some(element);
    }
    Ok(Value::Bool(true))
}

/// A number as a position in a list.
pub(crate) fn index_of(index: &Value<'_>) -> std::result::Result<i64, EvalError> {
    let unsupported = || EvalError::new(format!("unsupported index value {index} in list"));
    match index {
        Value::Int(number) => Ok(*number),
        Value::Uint(number) => i64::try_from(*number).map_err(|_| unsupported()),
        Value::Double(number) if number.fract() == 0.0 && number.abs() < 9.2e18 => {
            Ok(*number as i64)
        }
        Value::Double(_) => Err(unsupported()),
        other => Err(EvalError::new(format!(
            "unsupported index type '{}' in list",
            other.type_of()
        ))),
    }
}
