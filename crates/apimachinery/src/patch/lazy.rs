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

/// How deep documents and patches may nest. What is done to containers that were opened recurses, and text that was not is
/// read once per level, so that a bound keeps input harmless. Decoders take no deeper objects either.
pub(super) const MAX_DEPTH: usize = 256;

impl Node {
    /// Checks the text's syntax and depth, and no more.
    pub(super) fn parse(text: &[u8]) -> Option<Node> {
        let node = Node::Text(serde_json::from_slice(text).ok()?);
        (node.depth() <= MAX_DEPTH).then_some(node)
    }

    /// How many containers are in each other, this one included.
    pub(super) fn depth(&self) -> usize {
        match self {
            Node::Text(text) => depth(text.get()),
            Node::Object(fields) => 1 + fields.values().map(Node::depth).max().unwrap_or(0),
            Node::Array(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
        }
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

/// How many containers are open at most at a time, in text that is JSON.
fn depth(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                open += 1;
                most = most.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_bounded() {
        assert_eq!(depth(r#"{"a[[[\"{":[1,{"b":[]}],"c":[{}]}"#), 4);
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Node::parse(nested(MAX_DEPTH).as_bytes()).is_some());
        assert!(Node::parse(nested(MAX_DEPTH + 1).as_bytes()).is_none());
    }

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
