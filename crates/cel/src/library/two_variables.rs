//! What the macros with two variables call. Upstream: ext/comprehensions.go of cel-go.

use std::sync::Arc;

use crate::env::Function;
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Key, Map, Value};

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let (key, value) = (Type::Param("K"), Type::Param("V"));
    let map = Type::map(key.clone(), value.clone());
    vec![
        Function::new("cel.@mapInsert")
            .global(
                "@mapInsert_map_key_value",
                &[map.clone(), key, value],
                map.clone(),
                |args| insert(args[0].clone(), &args[1], args[2].clone()),
            )
            .global(
                "@mapInsert_map_map",
                &[map.clone(), map.clone()],
                map,
                |args| insert_all(args[0].clone(), &args[1]),
            ),
    ]
}

/// The map with one more entry. Changes it in place when nobody else has it.
pub(crate) fn insert<'a>(
    map: Value<'a>,
    key: &Value<'a>,
    value: Value<'a>,
) -> Result<Value<'a>, EvalError> {
    let Value::Map(map) = map else {
        return Err(EvalError::NO_SUCH_OVERLOAD);
    };
    let mut entries = match map {
        Map::Owned(entries) => entries,
        map => {
            let copied = map.keys().into_iter().map(|key| {
                let value = map.find(&key)?.unwrap_or(Value::Null);
                Ok((Key::try_from(&key)?, value))
            });
            Arc::new(copied.collect::<Result<_, EvalError>>()?)
        }
    };
    if Map::Owned(entries.clone()).find(key)?.is_some() {
        return Err(EvalError::new(format!(
            "insert failed: key {key} already exists"
        )));
    }
    Arc::make_mut(&mut entries).insert(Key::try_from(key)?, value);
    Ok(Value::Map(Map::Owned(entries)))
}

/// The map with all entries of another.
pub(crate) fn insert_all<'a>(mut map: Value<'a>, more: &Value<'a>) -> Result<Value<'a>, EvalError> {
    let Value::Map(more) = more else {
        return Err(EvalError::NO_SUCH_OVERLOAD);
    };
    for key in more.keys() {
        map = insert(map, &key, more.find(&key)?.unwrap_or(Value::Null))?;
    }
    Ok(map)
}
