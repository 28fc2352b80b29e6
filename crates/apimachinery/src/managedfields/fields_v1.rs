//! The JSON form of sets in `metadata.managedFields`. Upstream: structured-merge-diff fieldpath/serialize.go.
//!
//! Every element is a key, `f:` a field, `k:` a key with its fields in JSON, `v:` a value in JSON, `i:` an index; a member
//! has the value `{}`, and `.` inside an object says that the element is a member besides having members below.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{self, Write};

use api_types::FieldsV1;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
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
        let malformed = RefCell::default();
        let mut json = serde_json::Deserializer::from_slice(&fields.raw);
        let root = Below {
            malformed: &malformed,
            root: true,
        };
        let read = root.deserialize(&mut json);
        match read.and_then(|read| json.end().map(|()| read)) {
            Ok((set, _)) => Ok(set.unwrap_or_default()),
            Err(error) => Err(malformed
                .into_inner()
                .unwrap_or_else(|| ParseSetError::Json(error.to_string()))),
        }
    }

    /// The set as the fields of a managed fields entry.
    pub fn to_fields_v1(&self) -> FieldsV1 {
        let mut out = String::with_capacity(256);
        out.push('{');
        self.write(false, &mut out);
        out.push('}');
        FieldsV1::new(out.into_bytes())
    }

    fn write(&self, include_self: bool, out: &mut String) {
        let mut first = true;
        let mut comma = |out: &mut String| {
            if !std::mem::take(&mut first) {
                out.push(',');
            }
        };
        if include_self {
            comma(out);
            out.push_str("\".\":{}");
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
                    comma(out);
                    write_element(element, out);
                    out.push_str(":{}");
                }
                (member, Some((element, set))) => {
                    comma(out);
                    write_element(element, out);
                    out.push_str(":{");
                    set.write(member.is_some(), out);
                    out.push('}');
                }
                (None, None) => {}
            }
        }
    }
}

/// Reads the set below an element, if it has any members, and whether the element is one itself.
struct Below<'a> {
    /// Why a key is no path element: serde's errors are texts.
    malformed: &'a RefCell<Option<ParseSetError>>,
    root: bool,
}

impl<'de> DeserializeSeed<'de> for Below<'_> {
    type Value = (Option<Set>, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Below<'_> {
    type Value = (Option<Set>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut set: Option<Set> = None;
        let mut is_member = false;
        while let Some(Key(key)) = map.next_key::<Key<'_>>()? {
            if key == "." {
                map.next_value::<IgnoredAny>()?;
                is_member = true;
                continue;
            }
            let element = parse_element(&key).map_err(|error| {
                let text = A::Error::custom(&error);
                *self.malformed.borrow_mut() = Some(error);
                text
            })?;
            // Kinds of elements that a later version may have are dropped.
            let Some(element) = element else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let (below, child_is_member) = map.next_value_seed(Below {
                malformed: self.malformed,
                root: false,
            })?;
            let set = set.get_or_insert_default();
            match below {
                Some(below) => {
                    if child_is_member {
                        set.insert_element(element.clone());
                    }
                    set.insert_child(element, below);
                }
                None if child_is_member => set.insert_element(element),
                None => {}
            }
        }
        let is_member = is_member || set.is_none();
        Ok((set, is_member))
    }

    // Whatever else there is below an element counts as an empty object; nothing at all stands for an empty set.

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok((None, true))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        self.other(Unexpected::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        self.other(Unexpected::Signed(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        self.other(Unexpected::Unsigned(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        self.other(Unexpected::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        self.other(Unexpected::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        if self.root {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok((None, true))
    }
}

impl Below<'_> {
    fn other<E: de::Error>(self, what: Unexpected<'_>) -> Result<(Option<Set>, bool), E> {
        if self.root {
            return Err(E::invalid_type(what, &self));
        }
        Ok((None, true))
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
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

/// An element as a JSON string.
pub(super) fn write_element(element: &PathElement, out: &mut String) {
    out.push('"');
    match element {
        PathElement::Field(name) => {
            out.push_str("f:");
            write_escaped(name, out);
        }
        PathElement::Key(fields) => {
            let mut text = String::with_capacity(64);
            for (i, (name, value)) in fields.iter().enumerate() {
                text.push(if i > 0 { ',' } else { '{' });
                write_string(name, &mut text);
                text.push(':');
                match value {
                    // Go escapes some more characters than JSON demands.
                    Value::String(value) if value.bytes().all(is_plain) => {
                        write_string(value, &mut text)
                    }
                    _ => text.push_str(&scalar_json(value)),
                }
            }
            text.push_str(if fields.is_empty() { "{}" } else { "}" });
            out.push_str("k:");
            write_escaped(&text, out);
        }
        PathElement::Value(value) => {
            out.push_str("v:");
            write_escaped(&scalar_json(value), out);
        }
        PathElement::Index(index) => {
            // Writing to a string cannot fail.
            let _ = write!(out, "i:{index}");
        }
    }
    out.push('"');
}

/// Whether a character is itself in Go's JSON.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
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
    write_escaped(text, out);
    out.push('"');
}

pub(super) fn write_escaped(text: &str, out: &mut String) {
    let needs_escape = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let mut rest = text;
    while let Some(at) = rest.bytes().position(needs_escape) {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                let _ = write!(out, "\\u{control:04x}");
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}
