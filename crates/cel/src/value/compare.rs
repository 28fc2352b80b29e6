//! Equality and order, with upstream's rules for values of different types.

use std::cmp::Ordering;

use super::collections::{List, Map};
use super::typed;
use super::{Opaque, Value};
use crate::error::EvalError;

/// `a == b`. Values of different types are not equal; values of the Kubernetes types cannot be compared with others.
pub(crate) fn equals(a: &Value<'_>, b: &Value<'_>) -> Result<bool, EvalError> {
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Uint(a), Value::Uint(b)) => a == b,
        (Value::Double(a), Value::Double(b)) => a == b,
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => numbers(a, b) == Some(Ordering::Equal),
        (Value::String(a), Value::String(b)) => **a == **b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a.unix_nanoseconds() == b.unix_nanoseconds(),
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a.name() == b.name(),
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => return equals(a, b),
        (Value::List(List::Typed(elements, schema)), _) => {
            return typed::list_equals(elements, schema, b);
        }
        (Value::List(a), Value::List(b)) => return lists(a, b),
        (Value::Map(Map::Typed(entries, schema)), _) => {
            return typed::map_equals(entries, schema, b);
        }
        (Value::Map(a), Value::Map(b)) => return maps(a, b),
        (Value::Opaque(a), b) => return opaques(a, b),
        (Value::Struct(a), Value::Struct(b)) => {
            a.type_name == b.type_name
                && a.fields.len() == b.fields.len()
                && a.fields.iter().all(|(name, a)| {
                    b.fields
                        .iter()
                        .any(|(other, b)| name == other && matches!(equals(a, b), Ok(true)))
                })
        }
        (Value::Preserved(a), b) => typed::json_equals(a, b),
        _ => false,
    })
}

fn lists(a: &List<'_>, b: &List<'_>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b.iter()) {
        // What cannot be compared does not make lists differ.
        if let (Ok(a), Ok(b)) = (a, b)
            && equals(&a, &b) == Ok(false)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps(a: &Map<'_>, b: &Map<'_>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for key in a.keys() {
        let Some(there) = b.find(&key)? else {
            return Ok(false);
        };
        let Some(here) = a.find(&key)? else {
            return Ok(false);
        };
        if equals(&here, &there) == Ok(false) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn opaques(a: &Opaque, b: &Value<'_>) -> Result<bool, EvalError> {
    let Value::Opaque(b) = b else {
        return Err(EvalError::NO_SUCH_OVERLOAD);
    };
    a.equals(b).ok_or(EvalError::NO_SUCH_OVERLOAD)
}

/// The order of two numbers of any type. None when one is not a number at all.
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
        (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        // As upstream, the integer is rounded to a double within the range of its type.
        (Value::Double(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Value::Double(a), Value::Uint(b)) => a.partial_cmp(&(*b as f64)),
        (Value::Int(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
        (Value::Uint(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
        _ => None,
    }
}

/// Which of two values comes first.
pub(crate) fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, EvalError> {
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => {
            return numbers(a, b).ok_or_else(|| EvalError::new("NaN values cannot be ordered"));
        }
        (Value::String(a), Value::String(b)) => (**a).cmp(&**b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            a.unix_nanoseconds().cmp(&b.unix_nanoseconds())
        }
        (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        _ => return Err(EvalError::NO_SUCH_OVERLOAD),
    })
}
