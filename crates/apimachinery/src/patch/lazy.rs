//! JSON of which only the containers that a patch looks into are parsed. What it does not touch stays the text that it
//! was, so that keys keep their order; a container that was looked into is written with sorted keys.
//! Upstream: evanphx/json-patch v4, lazyNode.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON value, parsed as far as needed.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Not looked into.
    Text(Box<RawValue>),
    /// An object that was opened.
    Object(BTreeMap<String, Node>),
    /// An array that was opened.
    Array(Vec<Node>),
}

impl Node {
    /// Checks the text's syntax, and no more.
    pub(super) fn parse(text: &[u8]) -> Result<Node, serde_json::Error> {
        serde_json::from_slice(text).map(Node::Text)
    }

    pub(super) fn null() -> Node {
        Node::Text(RawValue::NULL.to_owned())
    }

    pub(super) fn is_null(&self) -> bool {
        self.first_byte() == b'n'
    }

    pub(super) fn is_object(&self) -> bool {
        self.first_byte() == b'{'
    }

    pub(super) fn is_array(&self) -> bool {
        self.first_byte() == b'['
    }

    fn first_byte(&self) -> u8 {
        match self {
            Node::Text(text) => text.get().trim_ascii_start().bytes().next().unwrap_or(b'n'),
            Node::Object(_) => b'{',
            Node::Array(_) => b'[',
        }
    }

    /// The fields of an object, which is opened.
    pub(super) fn open_object(&mut self) -> Option<&mut BTreeMap<String, Node>> {
        if let Node::Text(text) = self {
            let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text.get()).ok()?;
            let fields = fields
                .into_iter()
                .map(|(key, text)| (key, Node::Text(text)));
            *self = Node::Object(fields.collect());
        }
        match self {
            Node::Object(fields) => Some(fields),
            _ => None,
        }
    }

    /// The items of an array, which is opened.
    pub(super) fn open_array(&mut self) -> Option<&mut Vec<Node>> {
        if let Node::Text(text) = self {
            let items: Vec<Box<RawValue>> = serde_json::from_str(text.get()).ok()?;
            *self = Node::Array(items.into_iter().map(Node::Text).collect());
        }
        match self {
            Node::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The whole value, parsed.
    pub(super) fn value(&self) -> Value {
        serde_json::from_slice(&self.to_text()).unwrap_or_default()
    }

    /// Compact text, with Go's escapes.
    pub(super) fn to_text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Node::Text(text) => out.extend(api_types::codec::compact(text.get().as_bytes())),
            Node::Object(fields) => {
                out.push(b'{');
                for (i, (key, node)) in fields.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    api_types::codec::write_json_string(key, out);
                    out.push(b':');
                    node.write(out);
                }
                out.push(b'}');
            }
            Node::Array(items) => {
                out.push(b'[');
                for (i, node) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    node.write(out);
                }
                out.push(b']');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_opened_is_sorted() {
        let mut node = Node::parse(br#" {"z": {"b":1, "a":"<"}, "y":[{"d":1,"c":2}]} "#).unwrap();
        assert!(node.is_object() && !node.is_null());
        let fields = node.open_object().unwrap();
        let list = fields.get_mut("y").unwrap();
        assert!(list.open_object().is_none());
        list.open_array().unwrap().push(Node::null());
        let text = String::from_utf8(node.to_text()).unwrap();
        assert_eq!(
            text,
            r#"{"y":[{"d":1,"c":2},null],"z":{"b":1,"a":"\u003c"}}"#
        );
    }
}
