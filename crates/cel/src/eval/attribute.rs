//! Selecting from values. Upstream: interpreter/attributes.go of cel-go.

use super::interpreter::Evaluator;
use super::plan::{Attribute, Base, Qualifier, QualifierKey};
use crate::error::EvalError;
use crate::library::lists::index_of;
use crate::value::{List, Map, Opaque, Value};

impl<'p, 'a> Evaluator<'p, 'a, '_> {
    /// An attribute as a node: names and selections cost, conditionals do not.
    pub(super) fn attribute(&mut self, attribute: &'p Attribute) -> Result<Value<'a>, EvalError> {
        let value = self.resolve(attribute);
        if !matches!(attribute.base, Base::Conditional(_)) {
            self.charge(1)?;
        }
        value
    }

    /// An attribute as a part of another: only what is in it costs.
    pub(super) fn resolve(&mut self, attribute: &'p Attribute) -> Result<Value<'a>, EvalError> {
        let value = match &attribute.base {
            Base::Variable(name) => match self.activation.get(name) {
                Some(value) => value.clone(),
                None => return Err(EvalError::new(format!("no such attribute(s): {name}"))),
            },
            Base::Local(slot) => self.local(*slot)?,
            Base::Node(node) => self.node(node)?,
            Base::Conditional(parts) => {
                let (condition, if_true, if_false) = &**parts;
                match self.node(condition)? {
                    Value::Bool(true) => self.resolve(if_true)?,
                    Value::Bool(false) => self.resolve(if_false)?,
                    _ => return Err(EvalError::NO_SUCH_OVERLOAD),
                }
            }
        };
        if attribute.qualifiers.is_empty() {
            Ok(value)
        } else {
            self.qualify(value, &attribute.qualifiers)
        }
    }

    fn qualify(
        &mut self,
        value: Value<'a>,
        qualifiers: &'p [Qualifier],
    ) -> Result<Value<'a>, EvalError> {
        let mut is_optional = false;
        let mut value = match value {
            Value::Optional(None) => return Ok(Value::NONE),
            Value::Optional(Some(inner)) => {
                is_optional = true;
                without_schema((*inner).clone())
            }
            value => value,
        };
        for qualifier in qualifiers {
            is_optional |= qualifier.optional;
            let computed;
            let key = match &qualifier.key {
                QualifierKey::Const(Value::String(name)) => Selector::Name(name),
                QualifierKey::Const(key) => {
                    computed = Value::from_static(key);
                    Selector::Key(&computed)
                }
                QualifierKey::Field(name) => Selector::Field(name),
                QualifierKey::Attribute(attribute) => {
                    // Constants of lists, say, are found out to be no keys only here.
                    let resolved = self.resolve(attribute);
                    if resolved.is_err() && !is_optional {
                        self.charge(1)?;
                    }
                    computed = resolved?;
                    check_key(&computed).or_else(|error| {
                        self.charge(if is_optional { 0 } else { 1 })?;
                        Err(error)
                    })?;
                    Selector::Key(&computed)
                }
            };
            let test_only = qualifier.test_only;
            let found = select(&value, key, is_optional || test_only);
            if !is_optional || matches!(found, Ok(Some(_))) {
                self.charge(1)?;
            }
            value = match found? {
                Some(_) if test_only => Value::Bool(true),
                Some(found) => found,
                None if is_optional => {
                    return Ok(if test_only {
                        Value::Bool(false)
                    } else {
                        Value::NONE
                    });
                }
                None if test_only => Value::Bool(false),
                None => return Err(missing(&value, key)),
            };
            if test_only {
                return Ok(value);
            }
        }
        Ok(if is_optional {
            Value::some(value)
        } else {
            value
        })
    }
}

#[derive(Clone, Copy)]
enum Selector<'k, 'v> {
    Key(&'k Value<'v>),
    /// A key that is text.
    Name(&'k str),
    /// A field of an object the expression built.
    Field(&'k str),
}

/// As upstream, what is in an optional is selected from as plain data.
fn without_schema(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Map(Map::Typed(entries, _)) => Value::Map(Map::Json(entries)),
        Value::List(List::Typed(elements, _)) => Value::List(List::Json(elements)),
        value => value,
    }
}

pub(super) fn check_key(key: &Value<'_>) -> Result<(), EvalError> {
    match key {
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::String(_) => {
            Ok(())
        }
        other => Err(EvalError::new(format!(
            "invalid qualifier type: {}",
            go_type(other)
        ))),
    }
}

/// The name of the type of upstream's implementation, where messages show it.
pub(super) fn go_type(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "types.Null",
        Value::Bool(_) => "types.Bool",
        Value::Int(_) => "types.Int",
        Value::Uint(_) => "types.Uint",
        Value::Double(_) => "types.Double",
        Value::String(_) => "types.String",
        Value::Bytes(_) => "types.Bytes",
        Value::Timestamp(_) => "types.Timestamp",
        Value::Duration(_) => "types.Duration",
        Value::List(_) => "*types.baseList",
        Value::Map(_) => "*types.baseMap",
        Value::Type(_) => "*types.Type",
        Value::Optional(_) => "*types.Optional",
        Value::Opaque(opaque) => match &**opaque {
            Opaque::Quantity(_) => "cel.Quantity",
            Opaque::Url(_) => "cel.URL",
            Opaque::Ip(_) => "cel.IP",
            Opaque::Cidr(_) => "cel.CIDR",
            Opaque::Semver(_) => "cel.Semver",
            Opaque::NamedFormat(_) => "cel.Format",
            Opaque::Authorizer(_) => "library.authorizerVal",
            Opaque::PathCheck(_) => "library.pathCheckVal",
            Opaque::GroupCheck(_) => "library.groupCheckVal",
            Opaque::ResourceCheck(_) => "library.resourceCheckVal",
            Opaque::Decision(_) => "library.decisionVal",
        },
        Value::Struct(_) => "*dynamic.ObjectVal",
        Value::Preserved(_) => "*common.unknownPreserved",
    }
}

/// The name of the type of Go that upstream takes out of a value.
pub(super) fn go_native_type(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "structpb.NullValue",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Uint(_) => "uint64",
        Value::Double(_) => "float64",
        Value::String(_) => "string",
        Value::Bytes(_) => "[]uint8",
        Value::Timestamp(_) => "time.Time",
        Value::Duration(_) => "time.Duration",
        Value::List(_) => "[]ref.Val",
        Value::Map(_) => "map[ref.Val]ref.Val",
        other => go_type(other),
    }
}

fn missing(value: &Value<'_>, key: Selector<'_, '_>) -> EvalError {
    let key = match key {
        Selector::Key(key) => key.to_string(),
        Selector::Name(name) | Selector::Field(name) => name.to_owned(),
    };
    match value {
        Value::List(_) => EvalError::new(format!("index out of bounds: {key}")),
        _ => EvalError::new(format!("no such key: {key}")),
    }
}

/// One selection. None when there is nothing.
fn select<'a>(
    value: &Value<'a>,
    key: Selector<'_, '_>,
    is_test: bool,
) -> Result<Option<Value<'a>>, EvalError> {
    match (value, key) {
        (Value::Struct(object), Selector::Field(name)) => Ok(match object.field(name) {
            Some(found) => Some(found.clone()),
            // Fields that were not written are null; tests tell them from those that were.
            None => (!is_test).then_some(Value::Null),
        }),
        (Value::Map(map), Selector::Name(name) | Selector::Field(name)) => map.find_str(name),
        (Value::Map(map), Selector::Key(key)) => map.find(key),
        (Value::List(_), Selector::Name(_) | Selector::Field(_)) => {
            Err(EvalError::new("unsupported index type 'string' in list"))
        }
        (Value::List(list), Selector::Key(key)) => {
            let index = index_of(key)?;
            let Some(index) = usize::try_from(index)
                .ok()
                .filter(|index| *index < list.len())
            else {
                return Ok(None);
            };
            if matches!(list, List::Typed(..)) && !matches!(key, Value::Int(_)) {
                return Err(EvalError::new(format!("unsupported index: {key}")));
            }
            list.get(index).map(Some)
        }
        (Value::Struct(object), key) if !object.is_dynamic() => {
            let name = match key {
                Selector::Name(name) | Selector::Field(name) => name,
                Selector::Key(key) => match key.as_str() {
                    Some(name) => name,
                    None => return Err(EvalError::new(format!("unsupported indexer: {key}"))),
                },
            };
            let found = object.field(name);
            Ok(match (name, found) {
                ("op" | "path" | "from", None) if !is_test => Some(Value::from(String::new())),
                ("op" | "path" | "from", Some(text)) if is_test && text.is_zero() => None,
                (_, found) => found.cloned(),
            })
        }
        _ => Ok(None),
    }
}
