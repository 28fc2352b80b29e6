//! Lists cut, joined, sorted. Upstream: ext/lists.go of cel-go, version 3.

use std::cmp::Ordering;

use super::standard::no_overload;
use super::{int, list};
use crate::env::{Function, Implementation};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{List, Value, compare, equals};

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let t = || Type::list(Type::Param("T"));
    let dynamic = || Type::list(Type::Dyn);
    let (mut sort, mut sort_by) = (
        Function::new("sort").unguarded(),
        Function::new("@sortByAssociatedKeys").unguarded(),
    );
    for (sort_id, sort_by_id, of) in [
        ("list_int_sort", "list_int_sortByAssociatedKeys", Type::Int),
        (
            "list_uint_sort",
            "list_uint_sortByAssociatedKeys",
            Type::Uint,
        ),
        (
            "list_double_sort",
            "list_double_sortByAssociatedKeys",
            Type::Double,
        ),
        (
            "list_bool_sort",
            "list_bool_sortByAssociatedKeys",
            Type::Bool,
        ),
        (
            "list_google.protobuf.Duration_sort",
            "list_google.protobuf.Duration_sortByAssociatedKeys",
            Type::Duration,
        ),
        (
            "list_google.protobuf.Timestamp_sort",
            "list_google.protobuf.Timestamp_sortByAssociatedKeys",
            Type::Timestamp,
        ),
        (
            "list_string_sort",
            "list_string_sortByAssociatedKeys",
            Type::String,
        ),
        (
            "list_bytes_sort",
            "list_bytes_sortByAssociatedKeys",
            Type::Bytes,
        ),
    ] {
        let of = Type::list(of);
        let by_itself: Implementation = |args| sorted("sort", args, 0);
        sort = sort.member(sort_id, std::slice::from_ref(&of), of.clone(), by_itself);
        sort_by = sort_by.member(sort_by_id, &[t(), of], t(), |args| {
            sorted("@sortByAssociatedKeys", args, 1)
        });
    }
    vec![
        sort,
        sort_by,
        Function::new("slice").member("list_slice", &[t(), Type::Int, Type::Int], t(), slice),
        Function::new("flatten")
            .unguarded()
            .member("list_flatten", &[Type::list(t())], t(), |args| {
                flattened(args, 1)
            })
            .member(
                "list_flatten_int",
                &[dynamic(), Type::Int],
                dynamic(),
                |args| flattened(args, int(args, 1)?),
            ),
        Function::new("lists.range").global(
            "lists_range",
            &[Type::Int],
            Type::list(Type::Int),
            |args| {
                Ok(Value::from(
                    (0..int(args, 0)?).map(Value::Int).collect::<Vec<_>>(),
                ))
            },
        ),
        Function::new("reverse").member("list_reverse", &[t()], t(), |args| {
            let list = list(args, 0)?;
            let elements: std::result::Result<Vec<_>, _> =
                (0..list.len()).rev().map(|index| list.get(index)).collect();
            Ok(Value::from(elements?))
        }),
        Function::new("distinct").member("list_distinct", &[t()], t(), |args| {
            let mut found: Vec<Value<'_>> = Vec::new();
            for element in list(args, 0)?.iter() {
                let element = element?;
                if !found
                    .iter()
                    .any(|known| equals(&element, known) == Ok(true))
                {
                    found.push(element);
                }
            }
            Ok(Value::from(found))
        }),
    ]
}

fn slice<'a>(args: &[Value<'a>]) -> Result<'a> {
    let (list, start, end) = (list(args, 0)?, int(args, 1)?, int(args, 2)?);
    let refused = |why: &str| {
        Err(EvalError::new(format!(
            "cannot slice({start}, {end}), {why}"
        )))
    };
    if start < 0 || end < 0 {
        return refused("negative indexes not supported");
    }
    if start > end {
        return refused("start index must be less than or equal to end index");
    }
    if (list.len() as i64) < end {
        return refused(&format!("list is length {}", list.len()));
    }
    let elements: std::result::Result<Vec<_>, _> =
        (start..end).map(|index| list.get(index as usize)).collect();
    Ok(Value::from(elements?))
}

fn flattened<'a>(args: &[Value<'a>], depth: i64) -> Result<'a> {
    if depth < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let Value::List(list) = &args[0] else {
        let types: Vec<String> = args.iter().map(|arg| arg.type_of().to_string()).collect();
        let (of, depth) = (&types[0], types[1..].join(", "));
        return Err(EvalError::new(format!(
            "no such overload: {of}.flatten({depth})"
        )));
    };
    let mut elements = Vec::new();
    flatten(list, depth, &mut elements)?;
    Ok(Value::from(elements))
}

fn flatten<'a>(
    list: &List<'a>,
    depth: i64,
    into: &mut Vec<Value<'a>>,
) -> std::result::Result<(), EvalError> {
    for element in list.iter() {
        match element? {
            Value::List(inner) if depth > 0 => flatten(&inner, depth - 1, into)?,
            element => into.push(element),
        }
    }
    Ok(())
}

/// The list in the order of keys that belong to its elements.
fn sorted<'a>(function: &str, args: &[Value<'a>], keys: usize) -> Result<'a> {
    let Value::List(list) = &args[0] else {
        return Err(no_overload(function, &args[0]));
    };
    let Value::List(keys) = &args[keys] else {
        return Err(EvalError::NO_SUCH_OVERLOAD);
    };
    if list.len() != keys.len() {
        return Err(EvalError::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} \
             elements respectively",
            list.len(),
            keys.len()
        )));
    }
    let keys: Vec<Value<'a>> = keys.iter().collect::<std::result::Result<_, _>>()?;
    let Some(first) = keys.first() else {
        return Ok(Value::List(list.clone()));
    };
    let comparable = matches!(
        first,
        Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::String(_)
            | Value::Bytes(_)
            | Value::Timestamp(_)
            | Value::Duration(_)
    );
    if !comparable {
        return Err(EvalError::new("list elements must be comparable"));
    }
    if keys.len() > 1
        && keys
            .iter()
            .any(|key| std::mem::discriminant(key) != std::mem::discriminant(first))
    {
        return Err(EvalError::new("list elements must have the same type"));
    }
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|a, b| compare(&keys[*a], &keys[*b]).unwrap_or(Ordering::Equal));
    let elements: std::result::Result<Vec<_>, _> =
        order.into_iter().map(|index| list.get(index)).collect();
    Ok(Value::from(elements?))
}
