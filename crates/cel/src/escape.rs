//! Names of fields that are no identifiers. Upstream: apiserver/pkg/cel/escaping.go.

use std::borrow::Cow;

const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether expressions can use a name as it is: letters, digits and underscores, no digit first, and no reserved word.
pub fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        && !RESERVED.contains(&name)
}

/// The name expressions use for a field, if they can use it at all: `foo-bar` is `foo__dash__bar`.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            out.push_str("__underscores__");
            rest = after;
            continue;
        }
        match c {
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ => return None,
        }
        rest = &rest[1..];
    }
    Some(out)
}

/// The field that an escaped name stands for.
pub fn unescape(escaped: &str) -> Option<Cow<'_, str>> {
    if !escaped.contains("__") {
        return Some(Cow::Borrowed(escaped));
    }
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(start) = rest.find("__") {
        // `__name__`, where the name has no underscore.
        let inner = &rest[start + 2..];
        let length = inner.find('_').unwrap_or(inner.len());
        if length == 0 || !inner[length..].starts_with("__") {
            out.push_str(&rest[..start + 1]);
            rest = &rest[start + 1..];
            continue;
        }
        out.push_str(&rest[..start]);
        match &inner[..length] {
            "underscores" => out.push_str("__"),
            "dot" => out.push('.'),
            "dash" => out.push('-'),
            "slash" => out.push('/'),
            name if RESERVED.contains(&name) && escaped.len() == length + 4 => out.push_str(name),
            _ => return None,
        }
        rest = &inner[length + 2..];
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        for (name, want) in [
            ("a", true),
            ("_a1", true),
            ("in", false),
            ("inner", true),
            ("4a", false),
            ("a-b", false),
            ("é", false),
            ("", false),
        ] {
            assert_eq!(is_identifier(name), want, "{name}");
        }
    }

    #[test]
    fn escapes_as_upstream() {
        let cases = [
            ("a", Some("a")),
            ("_a1", Some("_a1")),
            ("namespace", Some("__namespace__")),
            ("a.b", Some("a__dot__b")),
            ("a-b/c", Some("a__dash__b__slash__c")),
            ("a__b", Some("a__underscores__b")),
            ("__true__", Some("__underscores__true__underscores__")),
            ("___", Some("__underscores___")),
            ("", None),
            ("4a", None),
            ("a b", None),
            ("é", None),
        ];
        for (name, want) in cases {
            let escaped = escape(name);
            assert_eq!(escaped.as_deref(), want, "{name}");
            if let Some(escaped) = escaped {
                assert_eq!(unescape(&escaped).as_deref(), Some(name));
            }
        }
        assert_eq!(unescape("a__unknown__b"), None);
        assert_eq!(unescape("a__in__"), None);
        assert_eq!(unescape("__in__").as_deref(), Some("in"));
    }
}
