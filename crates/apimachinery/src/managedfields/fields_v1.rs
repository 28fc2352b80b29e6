//! The JSON form of sets in `metadata.managedFields`. Upstream: structured-merge-diff fieldpath/serialize.go.
//!
//! Every element is a key, `f:` a field, `k:` a key with its fields in JSON, `v:` a value in JSON, `i:` an index; a member
//! has the value `{}`, and `.` inside an object says that the element is a member besides having members below.

use std::borrow::Cow;
use std::fmt::Write;

use api_types::FieldsV1;
use serde_json::{Map, Value};

use super::path::PathElement;
use super::set::Set;
use crate::field::go_json;

/// Text that is not a set of fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSetError {
    /// It is not a JSON object.
    #[error("fields are not a JSON object: {0}")]
    Json(String),
    /// A key does not start with one of the known letters and a colon.
    #[error("parsing key as path element: missing colon: {0}")]
    MissingColon(String),
    /// What follows the colon is malformed.
    #[error("parsing key as path element: {0} is malformed")]
    Malformed(String),
}

impl Set {
    /// Parses the fields of a managed fields entry.
    pub fn parse(fields: &FieldsV1) -> Result<Self, ParseSetError> {
        if fields.raw.is_empty() {
            return Ok(Self::new());
        }
        let object: Option<Map<String, Value>> = serde_json::from_slice(&fields.raw)
            .map_err(|error| ParseSetError::Json(error.to_string()))?;
        Self::from_object(&object.unwrap_or_default())
    }

    /// The set that a JSON object stands for.
    pub fn from_object(object: &Map<String, Value>) -> Result<Self, ParseSetError> {
        Ok(read(object)?.0.unwrap_or_default())
    }

    /// The set as the fields of a managed fields entry.
    pub fn to_fields_v1(&self) -> FieldsV1 {
        let mut out = String::from("{");
        self.write(false, &mut out);
        out.push('}');
        FieldsV1::new(out.into_bytes())
    }

    fn write(&self, include_self: bool, out: &mut String) {
        let mut first = true;
        let mut key = |element: &str, out: &mut String| {
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            write_string(element, out);
            out.push(':');
        };
        if include_self {
            key(".", out);
            out.push_str("{}");
        }
        let (mut members, mut children) = (
            self.members.iter().peekable(),
            self.children.iter().peekable(),
        );
        loop {
            let order = match (members.peek(), children.peek()) {
                (None, None) => return,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(member), Some((child, _))) => (*member).cmp(child),
            };
            let member = if order.is_le() { members.next() } else { None };
            let child = if order.is_ge() { children.next() } else { None };
            match (member, child) {
                (Some(element), None) => {
                    key(&element_text(element), out);
                    out.push_str("{}");
                }
                (member, Some((element, set))) => {
                    key(&element_text(element), out);
                    out.push('{');
                    set.write(member.is_some(), out);
                    out.push('}');
                }
                (None, None) => {}
            }
        }
    }
}

/// The set below an element, if it has any members, and whether the element is one itself.
fn read(object: &Map<String, Value>) -> Result<(Option<Set>, bool), ParseSetError> {
    let mut set: Option<Set> = None;
    let mut is_member = false;
    for (key, value) in object {
        if key == "." {
            is_member = true;
            continue;
        }
        // Kinds of elements that a later version may have are dropped.
        let Some(element) = parse_element(key)? else {
            continue;
        };
        let empty = Map::new();
        let (below, child_is_member) = read(value.as_object().unwrap_or(&empty))?;
        let set = set.get_or_insert_default();
        if child_is_member {
            set.insert_element(element.clone());
        }
        if let Some(below) = below {
            set.insert_child(element, below);
        }
    }
    let is_member = is_member || set.is_none();
    Ok((set, is_member))
}

fn parse_element(text: &str) -> Result<Option<PathElement>, ParseSetError> {
    let (kind, rest) = match text.split_once(':') {
        Some((kind, rest)) if kind.len() == 1 => (kind, rest),
        _ => return Err(ParseSetError::MissingColon(text.to_owned())),
    };
    let malformed = || ParseSetError::Malformed(text.to_owned());
    Ok(Some(match kind {
        "f" => PathElement::Field(Cow::Owned(rest.to_owned())),
        "v" => PathElement::Value(serde_json::from_str(rest).map_err(|_| malformed())?),
        "k" => {
            let fields: Map<String, Value> = serde_json::from_str(rest).map_err(|_| malformed())?;
            PathElement::key(
                fields
                    .into_iter()
                    .map(|(name, value)| (Cow::Owned(name), value)),
            )
        }
        "i" => PathElement::Index(rest.parse().map_err(|_| malformed())?),
        _ => return Ok(None),
    }))
}

fn element_text(element: &PathElement) -> Cow<'_, str> {
    match element {
        PathElement::Field(name) => Cow::Owned(format!("f:{name}")),
        PathElement::Key(fields) => {
            let mut out = String::from("k:{");
            for (i, (name, value)) in fields.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(name, &mut out);
                out.push(':');
                out.push_str(&scalar_json(value));
            }
            out.push('}');
            Cow::Owned(out)
        }
        PathElement::Value(value) => Cow::Owned(format!("v:{}", scalar_json(value))),
        PathElement::Index(index) => Cow::Owned(format!("i:{index}")),
    }
}

/// Go's JSON of a value; whole floats have no fraction.
fn scalar_json(value: &Value) -> String {
    match value.as_f64() {
        Some(float) if value.is_f64() && float.fract() == 0.0 && float.abs() < 1e21 => {
            format!("{float:.0}")
        }
        _ => go_json(value),
    }
}

/// A JSON string with only those escapes that JSON demands.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
