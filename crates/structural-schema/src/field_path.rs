//! Paths that rules and selectable fields name: `.spec.list`, `.spec['odd name']`. Upstream: ValidFieldPath of
//! apiserver/schema/cel/validation.go.

use apimachinery::field::Path;

use crate::node::{Additional, Node};

/// A path that a schema knows.
pub(crate) struct Found<'a> {
    pub(crate) path: Path,
    /// The first name of the path.
    pub(crate) root: String,
    /// The schema at its end, if there is one.
    pub(crate) node: Option<&'a Node>,
}

/// Follows a path through a schema; an error in upstream's words if that is not possible.
pub(crate) fn valid_field_path<'a>(
    text: &str,
    node: &'a Node,
    with_brackets: bool,
) -> Result<Found<'a>, String> {
    let mut tokens = Tokens(text);
    let mut found = Found {
        path: Path::nil(),
        root: String::new(),
        node: Some(node),
    };
    let unexpected_end = || "unexpected end of JSON path".to_owned();
    while let Some(token) = tokens.next() {
        match token {
            "[" => {
                if !with_brackets {
                    return Err("array notation is not allowed".to_owned());
                }
                let name = tokens.next().ok_or_else(unexpected_end)?;
                let quoted = name
                    .strip_prefix('\'')
                    .and_then(|name| name.strip_suffix('\''))
                    .ok_or_else(|| format!("expected single quoted string but got {name}"))?;
                let name = unescape(quoted).map_err(|escape| {
                    format!("invalid string literal: invalid escape char {escape}")
                })?;
                found.step(&name)?;
                let close = tokens.next().ok_or_else(unexpected_end)?;
                if close != "]" {
                    return Err(format!("expected ] but got {close}"));
                }
            }
            "." => {
                let name = tokens.next().ok_or_else(unexpected_end)?;
                found.step(name)?;
            }
            token => return Err(format!("expected [ or . but got: {token}")),
        }
    }
    Ok(found)
}

impl Found<'_> {
    fn step(&mut self, name: &str) -> Result<(), String> {
        let unknown = || "does not refer to a valid field".to_owned();
        let node = self.node.ok_or_else(unknown)?;
        if self.root.is_empty() {
            self.root = name.to_owned();
        }
        if !node.properties.is_empty() {
            self.path = self.path.child(name.to_owned());
            self.node = Some(node.property(name).ok_or_else(unknown)?);
            return Ok(());
        }
        self.path = self.path.key(name);
        self.node = match &node.additional {
            Additional::Unset => return Err(unknown()),
            Additional::Schema(values) => Some(values),
            Additional::Allowed | Additional::Denied => None,
        };
        Ok(())
    }
}

/// Dots, brackets, and what is between them. Between single quotes nothing separates.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.0.as_bytes();
        let first = *bytes.first()?;
        let end = if first == b'\'' {
            (1..bytes.len())
                .find(|at| bytes[*at] == b'\'' && bytes[at - 1] != b'\\')
                .map_or(bytes.len(), |at| at + 1)
        } else {
            match self.0.find(['.', '[', ']']) {
                Some(0) => 1,
                Some(at) => at,
                None => bytes.len(),
            }
        };
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(token)
    }
}

/// Resolves escapes; the first that is none is the error.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('a') => out.push('\x07'),
            Some('b') => out.push('\x08'),
            Some('f') => out.push('\x0c'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\x0b'),
            Some(c @ ('\'' | '\\')) => out.push(c),
            Some(c) => return Err(format!("\\{c}")),
            None => out.push('\\'),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::schema;
    use serde_json::json;

    #[test]
    fn paths_follow_the_schema() {
        let schema = schema(json!({"type": "object", "properties": {
            "a": {"type": "object", "properties": {"b.c": {"type": "string"}, "d'e": {"type": "string"}}},
            "m": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {"type": "string"}}}},
            "any": {"type": "object", "additionalProperties": true},
            "s": {"type": "string"},
        }}));
        let cases = [
            (".a", Ok("a")),
            (".a['b.c']", Ok("a.b.c")),
            (r".a['d\'e']", Ok("a.d'e")),
            (".m.key.x", Ok("m[key].x")),
            (".m['odd key'].x", Ok("m[odd key].x")),
            (".any.x", Ok("any[x]")),
            (".any.x.y", Err("does not refer to a valid field")),
            (".s.x", Err("does not refer to a valid field")),
            (".z", Err("does not refer to a valid field")),
            ("a", Err("expected [ or . but got: a")),
            (".", Err("unexpected end of JSON path")),
            (".a[b]", Err("expected single quoted string but got b")),
            (".a['b.c'", Err("unexpected end of JSON path")),
            (".a['b.c'.", Err("expected ] but got .")),
            (
                r".a['\q']",
                Err(r"invalid string literal: invalid escape char \q"),
            ),
        ];
        for (text, want) in cases {
            let got =
                valid_field_path(text, &schema.root, true).map(|found| found.path.to_string());
            assert_eq!(
                got.as_deref().map_err(|error| error.as_str()),
                want,
                "{text}"
            );
        }
        let got = valid_field_path(".a['b.c']", &schema.root, false);
        assert_eq!(got.err().as_deref(), Some("array notation is not allowed"));
    }
}
