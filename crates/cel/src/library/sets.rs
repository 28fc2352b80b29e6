//! Lists as sets. Upstream: ext/sets.go of cel-go.

use super::list;
use crate::env::{Function, Implementation};
use crate::types::Type;
use crate::value::{List, Value, equals};

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let of = || Type::list(Type::Param("T"));
    let function = |name, id, implementation: Implementation| {
        Function::new(name).global(id, &[of(), of()], Type::Bool, implementation)
    };
    vec![
        function("sets.contains", "list_sets_contains_list", |args| {
            Ok(Value::Bool(contains_all(list(args, 0)?, list(args, 1)?)))
        }),
        function("sets.equivalent", "list_sets_equivalent_list", |args| {
            let (a, b) = (list(args, 0)?, list(args, 1)?);
            Ok(Value::Bool(contains_all(a, b) && contains_all(b, a)))
        }),
        function("sets.intersects", "list_sets_intersects_list", |args| {
            let (a, b) = (list(args, 0)?, list(args, 1)?);
            Ok(Value::Bool(
                a.iter().flatten().any(|element| contains(b, &element)),
            ))
        }),
    ]
}

fn contains_all(list: &List<'_>, elements: &List<'_>) -> bool {
    elements
        .iter()
        .flatten()
        .all(|element| contains(list, &element))
}

fn contains(list: &List<'_>, element: &Value<'_>) -> bool {
    list.iter()
        .flatten()
        .any(|candidate| equals(element, &candidate) == Ok(true))
}
