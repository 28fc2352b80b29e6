//! Claims and users as expressions see them. Upstream: newClaimsValue and newUserInfoValue of
//! apiserver/plugin/pkg/authenticator/token/oidc.
//!
//! Keys can be written in the form that fields of objects have: `claims.foo__dot__bar` is the claim `foo.bar`. All numbers are
//! floating point numbers, as Go reads JSON.

use std::collections::BTreeMap;

use cel::{EvalError, ListView, MapView, Str, Value, unescape};
use serde_json::Value as Json;

/// A claim's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(ClaimList),
    Map(ClaimMap),
}

/// A list among claims.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimList(pub Vec<Claim>);

/// All claims of a token, or an object among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimMap(pub BTreeMap<String, Claim>);

impl Claim {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub fn texts(texts: &[String]) -> Self {
        Self::List(ClaimList(
            texts.iter().map(|text| Self::text(text)).collect(),
        ))
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(value) => Value::Double(*value),
            Self::Text(text) => Value::from(text.as_str()),
            Self::List(list) => Value::List(cel::List::View(list)),
            Self::Map(map) => map.value(),
        }
    }
}

impl From<&Json> for Claim {
    fn from(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Number(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Self::text(text),
            Json::Array(elements) => {
                Self::List(ClaimList(elements.iter().map(Self::from).collect()))
            }
            Json::Object(fields) => Self::Map(fields.into()),
        }
    }
}

impl From<&serde_json::Map<String, Json>> for ClaimMap {
    fn from(fields: &serde_json::Map<String, Json>) -> Self {
        let fields = fields.iter();
        Self(
            fields
                .map(|(name, value)| (name.clone(), value.into()))
                .collect(),
        )
    }
}

impl ClaimMap {
    /// The map as a variable's value.
    pub fn value(&self) -> Value<'_> {
        Value::Map(cel::Map::View(self))
    }
}

impl<'a> MapView<'a> for ClaimMap {
    fn len(&'a self) -> usize {
        self.0.len()
    }

    fn get(&'a self, key: &str) -> Result<Option<Value<'a>>, EvalError> {
        let found = match unescape(key) {
            Some(name) => self.0.get(&*name),
            None => self.0.get(key),
        };
        Ok(found.map(Claim::value))
    }

    fn keys(&'a self) -> Vec<Str<'a>> {
        self.0.keys().map(|key| Str::Borrowed(key)).collect()
    }
}

impl<'a> ListView<'a> for ClaimList {
    fn len(&'a self) -> usize {
        self.0.len()
    }

    fn get(&'a self, index: usize) -> Result<Value<'a>, EvalError> {
        Ok(self.0[index].value())
    }
}
