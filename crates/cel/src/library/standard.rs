//! Operators and the functions of the language itself. Upstream: common/stdlib of cel-go.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{regex, text};
use crate::env::{Function, Implementation};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Value, compare, equals};

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let a = || Type::Param("A");
    let list = || Type::list(a());
    let map = || Type::map(a(), Type::Param("B"));
    // These are planned by themselves and never called.
    let planned: Implementation = |_| Err(EvalError::NO_SUCH_OVERLOAD);
    let bools = [Type::Bool, Type::Bool];
    let mut functions =
        vec![
            Function::new("_?_:_").global("conditional", &[Type::Bool, a(), a()], a(), planned),
            Function::new("_&&_").global("logical_and", &bools, Type::Bool, planned),
            Function::new("_||_").global("logical_or", &bools, Type::Bool, planned),
            Function::new("_==_").global("equals", &[a(), a()], Type::Bool, planned),
            Function::new("_!=_").global("not_equals", &[a(), a()], Type::Bool, planned),
            Function::new("_[_]")
                .global("index_list", &[list(), Type::Int], a(), planned)
                .global("index_map", &[map(), a()], Type::Param("B"), planned),
            Function::new("!_").unguarded().global(
                "logical_not",
                &[Type::Bool],
                Type::Bool,
                |args| match args[0] {
                    Value::Bool(value) => Ok(Value::Bool(!value)),
                    _ => Err(EvalError::NO_SUCH_OVERLOAD),
                },
            ),
            Function::new("@not_strictly_false").unguarded().global(
                "not_strictly_false",
                &[Type::Bool],
                Type::Bool,
                |args| Ok(Value::Bool(args[0].as_bool().unwrap_or(true))),
            ),
            Function::new("@in")
                .unguarded()
                .global("in_list", &[a(), list()], Type::Bool, contains)
                .global("in_map", &[a(), map()], Type::Bool, contains),
            Function::new("size")
                .unguarded()
                .global("size_bytes", &[Type::Bytes], Type::Int, size)
                .member("bytes_size", &[Type::Bytes], Type::Int, size)
                .global("size_list", &[list()], Type::Int, size)
                .member("list_size", &[list()], Type::Int, size)
                .global("size_map", &[map()], Type::Int, size)
                .member("map_size", &[map()], Type::Int, size)
                .global("size_string", &[Type::String], Type::Int, size)
                .member("string_size", &[Type::String], Type::Int, size),
            string_test("contains", "contains_string", |args| {
                Ok(text(args, 0)?.contains(text(args, 1)?).into())
            }),
            string_test("endsWith", "ends_with_string", |args| {
                Ok(text(args, 0)?.ends_with(text(args, 1)?).into())
            }),
            string_test("startsWith", "starts_with_string", |args| {
                Ok(text(args, 0)?.starts_with(text(args, 1)?).into())
            }),
            Function::new("matches")
                .unguarded()
                .global(
                    "matches",
                    &[Type::String, Type::String],
                    Type::Bool,
                    regex::matches,
                )
                .member(
                    "matches_string",
                    &[Type::String, Type::String],
                    Type::Bool,
                    regex::matches,
                ),
        ];
    functions.extend(arithmetic());
    functions.extend(order());
    functions
}

fn string_test(name: &'static str, id: &'static str, implementation: Implementation) -> Function {
    Function::new(name).unguarded().member(
        id,
        &[Type::String, Type::String],
        Type::Bool,
        implementation,
    )
}

fn arithmetic() -> Vec<Function> {
    let list = || Type::list(Type::Param("A"));
    let (bytes, double, duration, int, string, timestamp, uint) = (
        Type::Bytes,
        Type::Double,
        Type::Duration,
        Type::Int,
        Type::String,
        Type::Timestamp,
        Type::Uint,
    );
    let same = |function: Function, id, of: &Type, implementation: Implementation| {
        function.global(id, &[of.clone(), of.clone()], of.clone(), implementation)
    };
    let mut sum = Function::new("_+_").unguarded();
    sum = same(sum, "add_bytes", &bytes, add);
    sum = same(sum, "add_double", &double, add);
    sum = same(sum, "add_duration_duration", &duration, add);
    sum = sum.global(
        "add_duration_timestamp",
        &[duration.clone(), timestamp.clone()],
        timestamp.clone(),
        add,
    );
    sum = sum.global(
        "add_timestamp_duration",
        &[timestamp.clone(), duration.clone()],
        timestamp.clone(),
        add,
    );
    sum = same(sum, "add_int64", &int, add);
    sum = sum.global("add_list", &[list(), list()], list(), add);
    sum = same(sum, "add_string", &string, add);
    sum = same(sum, "add_uint64", &uint, add);
    let mut difference = Function::new("_-_").unguarded();
    difference = same(difference, "subtract_double", &double, subtract);
    difference = same(
        difference,
        "subtract_duration_duration",
        &duration,
        subtract,
    );
    difference = same(difference, "subtract_int64", &int, subtract);
    difference = difference.global(
        "subtract_timestamp_duration",
        &[timestamp.clone(), duration.clone()],
        timestamp.clone(),
        subtract,
    );
    difference = difference.global(
        "subtract_timestamp_timestamp",
        &[timestamp.clone(), timestamp],
        duration,
        subtract,
    );
    difference = same(difference, "subtract_uint64", &uint, subtract);
    let mut product = Function::new("_*_").unguarded();
    product = same(product, "multiply_double", &double, multiply);
    product = same(product, "multiply_int64", &int, multiply);
    product = same(product, "multiply_uint64", &uint, multiply);
    let mut quotient = Function::new("_/_").unguarded();
    quotient = same(quotient, "divide_double", &double, divide);
    quotient = same(quotient, "divide_int64", &int, divide);
    quotient = same(quotient, "divide_uint64", &uint, divide);
    let mut remainder = Function::new("_%_").unguarded();
    remainder = same(remainder, "modulo_int64", &int, modulo);
    remainder = same(remainder, "modulo_uint64", &uint, modulo);
    let negation = Function::new("-_")
        .unguarded()
        .global("negate_double", &[Type::Double], Type::Double, negate)
        .global("negate_int64", &[Type::Int], Type::Int, negate);
    vec![sum, difference, product, quotient, remainder, negation]
}

/// The overloads of `<`, `<=`, `>` and `>=`: name of the operator, then of both types.
macro_rules! orders {
    ($name:literal, $prefix:literal, $implementation:expr) => {{
        let implementation: Implementation = $implementation;
        let mut function = Function::new($name).unguarded();
        for (id, left, right) in [
            (concat!($prefix, "_bool"), Type::Bool, Type::Bool),
            (concat!($prefix, "_int64"), Type::Int, Type::Int),
            (concat!($prefix, "_int64_double"), Type::Int, Type::Double),
            (concat!($prefix, "_int64_uint64"), Type::Int, Type::Uint),
            (concat!($prefix, "_uint64"), Type::Uint, Type::Uint),
            (concat!($prefix, "_uint64_double"), Type::Uint, Type::Double),
            (concat!($prefix, "_uint64_int64"), Type::Uint, Type::Int),
            (concat!($prefix, "_double"), Type::Double, Type::Double),
            (concat!($prefix, "_double_int64"), Type::Double, Type::Int),
            (concat!($prefix, "_double_uint64"), Type::Double, Type::Uint),
            (concat!($prefix, "_string"), Type::String, Type::String),
            (concat!($prefix, "_bytes"), Type::Bytes, Type::Bytes),
            (
                concat!($prefix, "_timestamp"),
                Type::Timestamp,
                Type::Timestamp,
            ),
            (
                concat!($prefix, "_duration"),
                Type::Duration,
                Type::Duration,
            ),
        ] {
            function = function.global(id, &[left, right], Type::Bool, implementation);
        }
        function
    }};
}

fn order() -> Vec<Function> {
    vec![
        orders!("_<_", "less", |args| ordered("_<_", args, Ordering::is_lt)),
        orders!("_<=_", "less_equals", |args| ordered(
            "_<=_",
            args,
            Ordering::is_le
        )),
        orders!("_>_", "greater", |args| ordered(
            "_>_",
            args,
            Ordering::is_gt
        )),
        orders!("_>=_", "greater_equals", |args| ordered(
            "_>=_",
            args,
            Ordering::is_ge
        )),
    ]
}

fn ordered<'a>(operator: &str, args: &[Value<'_>], decide: fn(Ordering) -> bool) -> Result<'a> {
    match &args[0] {
        Value::Null
        | Value::List(_)
        | Value::Map(_)
        | Value::Type(_)
        | Value::Optional(_)
        | Value::Opaque(_)
        | Value::Struct(_)
        | Value::Preserved(_) => Err(no_overload(operator, &args[0])),
        left => compare(left, &args[1]).map(|order| Value::Bool(decide(order))),
    }
}

/// What an operator says of a left side that has no such operator.
pub(super) fn no_overload(operator: &str, left: &Value<'_>) -> EvalError {
    match left {
        // These have methods, which upstream tries.
        Value::String(_) | Value::Timestamp(_) | Value::Duration(_) => EvalError::NO_SUCH_OVERLOAD,
        _ => EvalError::new(format!("no such overload: {operator}")),
    }
}

fn overflow(what: &str) -> EvalError {
    EvalError::new(format!("{what} overflow"))
}

fn int<'a>(result: Option<i64>) -> Result<'a> {
    result.map(Value::Int).ok_or_else(|| overflow("integer"))
}

fn uint<'a>(result: Option<u64>) -> Result<'a> {
    result
        .map(Value::Uint)
        .ok_or_else(|| overflow("unsigned integer"))
}

fn duration<'a>(result: Option<i64>) -> Result<'a> {
    result
        .map(Value::Duration)
        .ok_or_else(|| overflow("integer"))
}

fn add<'a>(args: &[Value<'a>]) -> Result<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_add(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_add(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::String(a), Value::String(b)) => Ok(Value::from([&**a, &**b].concat())),
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes(Arc::from([&**a, &**b].concat()))),
        (Value::List(a), Value::List(b)) => a.clone().concat(b.clone()).map(Value::List),
        (Value::Duration(a), Value::Duration(b)) => duration(a.checked_add(*b)),
        (Value::Timestamp(at), Value::Duration(by))
        | (Value::Duration(by), Value::Timestamp(at)) => at.plus(*by).map(Value::Timestamp),
        (
            Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::String(_)
            | Value::Bytes(_)
            | Value::List(_)
            | Value::Duration(_)
            | Value::Timestamp(_),
            _,
        ) => Err(EvalError::NO_SUCH_OVERLOAD),
        (left, _) => Err(no_overload("_+_", left)),
    }
}

fn subtract<'a>(args: &[Value<'a>]) -> Result<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_sub(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_sub(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => duration(a.checked_sub(*b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.since(*b).map(Value::Duration),
        (Value::Timestamp(at), Value::Duration(by)) => {
            let by = by.checked_neg().ok_or_else(|| overflow("integer"))?;
            at.plus(by).map(Value::Timestamp)
        }
        (
            Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::Duration(_)
            | Value::Timestamp(_),
            _,
        ) => Err(EvalError::NO_SUCH_OVERLOAD),
        (left, _) => Err(no_overload("_-_", left)),
    }
}

fn multiply<'a>(args: &[Value<'a>]) -> Result<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_mul(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_mul(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        (Value::Int(_) | Value::Uint(_) | Value::Double(_), _) => Err(EvalError::NO_SUCH_OVERLOAD),
        (left, _) => Err(no_overload("_*_", left)),
    }
}

fn divide<'a>(args: &[Value<'a>]) -> Result<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            Err(EvalError::new("division by zero"))
        }
        (Value::Int(a), Value::Int(b)) => int(a.checked_div(*b)),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a / b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        (Value::Int(_) | Value::Uint(_) | Value::Double(_), _) => Err(EvalError::NO_SUCH_OVERLOAD),
        (left, _) => Err(no_overload("_/_", left)),
    }
}

fn modulo<'a>(args: &[Value<'a>]) -> Result<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            Err(EvalError::new("modulus by zero"))
        }
        (Value::Int(a), Value::Int(b)) => int(a.checked_rem(*b)),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a % b)),
        (Value::Int(_) | Value::Uint(_), _) => Err(EvalError::NO_SUCH_OVERLOAD),
        (left, _) => Err(no_overload("_%_", left)),
    }
}

fn negate<'a>(args: &[Value<'a>]) -> Result<'a> {
    match &args[0] {
        Value::Int(number) => int(number.checked_neg()),
        Value::Double(number) => Ok(Value::Double(-number)),
        Value::Duration(nanoseconds) => duration(nanoseconds.checked_neg()),
        Value::Bool(_) => Err(EvalError::NO_SUCH_OVERLOAD),
        other => Err(no_overload("-_", other)),
    }
}

fn contains<'a>(args: &[Value<'a>]) -> Result<'a> {
    match &args[1] {
        Value::List(list) => {
            let strict = matches!(list, crate::value::List::Typed(..));
            let mut failed = None;
            for element in list.iter() {
                // Lists with a schema ask their elements, others the value that is looked for.
                let found = match element {
                    Ok(Value::Map(_) | Value::List(_))
                        if strict && matches!(args[0], Value::Null) =>
                    {
                        Err(EvalError::NO_SUCH_OVERLOAD)
                    }
                    Ok(element) if strict => equals(&element, &args[0]),
                    Ok(element) => equals(&args[0], &element),
                    Err(error) => Err(error),
                };
                match found {
                    Ok(true) => return Ok(Value::Bool(true)),
                    Err(error) if strict => failed = failed.or(Some(error)),
                    _ => {}
                }
            }
            failed.map_or(Ok(Value::Bool(false)), Err)
        }
        Value::Map(map) => Ok(Value::Bool(map.find(&args[0])?.is_some())),
        _ => Err(EvalError::NO_SUCH_OVERLOAD),
    }
}

fn size<'a>(args: &[Value<'a>]) -> Result<'a> {
    match &args[0] {
        Value::Opaque(_) => Err(EvalError::new("no such overload: size")),
        value => match value.size() {
            Some(size) => Ok(Value::Int(size as i64)),
            None => Err(no_overload("size", value)),
        },
    }
}
