//! Field selectors: `metadata.name=web,status.phase!=Running`. Upstream: apimachinery/pkg/fields.

use std::fmt;

/// Why text is not a field selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A term has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole text.
        selector: String,
        /// The part without an operator.
        term: String,
    },
    /// A backslash before a character that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    EscapeSequence(String),
    /// A comma or equals sign in a value that has no backslash before it. Upstream prints the character's number.
    #[error("invalid field selector: unescaped character in value: {}", *.0 as u32)]
    Unescaped(char),
    /// The selector is well-formed, and the resource has no such field or value. The text is the resource's.
    #[error("{0}")]
    Unsupported(String),
}

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The field's name, such as `metadata.name`.
    pub field: String,
    /// Whether the field must have the value or must not have it.
    pub operator: Operator,
    /// The value, unescaped.
    pub value: String,
}

/// How a field is compared. Both of upstream's spellings of equality are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `=` and `==`.
    Equals,
    /// `!=`.
    NotEquals,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equals => "=",
            Self::NotEquals => "!=",
        })
    }
}

/// Conditions that must all hold, or the selector that matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Default for Selector {
    fn default() -> Self {
        Self::everything()
    }
}

impl Selector {
    /// Matches every object.
    pub const fn everything() -> Self {
        Self {
            requirements: Vec::new(),
            nothing: false,
        }
    }

    /// Matches no object.
    pub const fn nothing() -> Self {
        Self {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    /// Matches objects whose field has that value.
    pub fn equals(field: impl Into<String>, value: impl Into<String>) -> Self {
        Self::from_iter([Requirement {
            field: field.into(),
            operator: Operator::Equals,
            value: value.into(),
        }])
    }

    /// Matches objects whose field has another value.
    pub fn not_equals(field: impl Into<String>, value: impl Into<String>) -> Self {
        Self::from_iter([Requirement {
            field: field.into(),
            operator: Operator::NotEquals,
            value: value.into(),
        }])
    }

    /// Parses a selector. Terms are put in order, so that equal selectors print the same.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let mut requirements = Vec::with_capacity(terms.len());
        for term in terms {
            if term.is_empty() {
                continue;
            }
            let Some((field, operator, value)) = split_term(term) else {
                return Err(ParseError::Term {
                    selector: text.to_owned(),
                    term: term.to_owned(),
                });
            };
            requirements.push(Requirement {
                field: field.to_owned(),
                operator,
                value: unescape_value(value)?,
            });
        }
        Ok(Self::from_iter(requirements))
    }

    /// The selector with every field and value passed through `convert`, which may rename, refuse, or (by returning two
    /// empty strings) drop a term. Resources say with this which of their fields can be selected.
    pub fn transform<E>(
        &self,
        mut convert: impl FnMut(&str, &str) -> Result<(String, String), E>,
    ) -> Result<Self, E> {
        let mut requirements = Vec::with_capacity(self.requirements.len());
        for requirement in &self.requirements {
            let (field, value) = convert(&requirement.field, &requirement.value)?;
            if !(field.is_empty() && value.is_empty()) {
                requirements.push(Requirement {
                    field,
                    operator: requirement.operator,
                    value,
                });
            }
        }
        Ok(Self {
            requirements,
            nothing: self.nothing,
        })
    }

    /// Whether the object matches whose fields `lookup` tells. An absent field counts as the empty string, as upstream.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing
            && self.requirements.iter().all(|requirement| {
                let equal = lookup(&requirement.field).unwrap_or_default() == requirement.value;
                equal == (requirement.operator == Operator::Equals)
            })
    }

    /// Whether the selector restricts nothing.
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether the selector was made to match nothing.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// The value that the selector requires the field to have, if it requires one.
    pub fn requires_exact_match(&self, field: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find(|requirement| {
                requirement.operator == Operator::Equals && requirement.field == field
            })
            .map(|requirement| requirement.value.as_str())
    }

    /// The conditions.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Both selectors at once.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.nothing |= other.nothing;
        self.requirements.extend(other.requirements);
        self
    }
}

impl FromIterator<Requirement> for Selector {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        Self {
            requirements: requirements.into_iter().collect(),
            nothing: false,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(
                f,
                "{}{}{}",
                requirement.field,
                requirement.operator,
                escape_value(&requirement.value)
            )?;
        }
        Ok(())
    }
}

/// A value with backslashes where a selector needs them.
pub fn escape_value(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The literal value of a selector's term.
pub fn unescape_value(text: &str) -> Result<String, ParseError> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                Some(other) => return Err(ParseError::EscapeSequence(format!("\\{other}"))),
                None => return Err(ParseError::EscapeSequence("\\".to_owned())),
            },
            ',' | '=' => return Err(ParseError::Unescaped(c)),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// The parts between commas that have no backslash before them; backslashes stay.
fn split_terms(text: &str) -> Vec<&str> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut terms = Vec::new();
    let (mut start, mut in_slash) = (0, false);
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            _ if in_slash => in_slash = false,
            b'\\' => in_slash = true,
            b',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Splits at the first operator. A field's name cannot be escaped.
fn split_term(term: &str) -> Option<(&str, Operator, &str)> {
    for i in 0..term.len() {
        let Some(rest) = term.get(i..) else { continue };
        for (text, operator) in [
            ("!=", Operator::NotEquals),
            ("==", Operator::Equals),
            ("=", Operator::Equals),
        ] {
            if let Some(value) = rest.strip_prefix(text) {
                return Some((&term[..i], operator, value));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn terms_split_as_upstream() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (r"a", &["a"]),
            (r"a=avalue,b=bvalue", &["a=avalue", "b=bvalue"]),
            (
                r"a=avalue,b==bvalue,c!=cvalue",
                &["a=avalue", "b==bvalue", "c!=cvalue"],
            ),
            (r",a,", &["", "a", ""]),
            (r"k=\,,k2=v2", &[r"k=\,", "k2=v2"]),
            (r"k=\=,k2=v2", &[r"k=\=", "k2=v2"]),
            (r"k=\\\a\b\=\,\c\d\e", &[r"k=\\\a\b\=\,\c\d\e"]),
            (r"k=\\,k2=v2", &[r"k=\\", "k2=v2"]),
        ];
        for (text, want) in cases {
            assert_eq!(split_terms(text), *want, "{text}");
        }
    }

    #[test]
    fn values_round_trip() {
        for value in ["", "a", r"\", "=", ",", r"\\,,==\\", "é,=\\"] {
            assert_eq!(unescape_value(&escape_value(value)).as_deref(), Ok(value));
        }
        let bad = [
            (r"\", r"invalid field selector: invalid escape sequence: \"),
            (
                r"\a",
                r"invalid field selector: invalid escape sequence: \a",
            ),
            (
                "=",
                "invalid field selector: unescaped character in value: 61",
            ),
            (
                ",",
                "invalid field selector: unescaped character in value: 44",
            ),
        ];
        for (text, want) in bad {
            assert_eq!(unescape_value(text).expect_err(text).to_string(), want);
        }
    }

    #[test]
    fn parses() {
        for text in ["x=a,y=b,z=c", "", "x!=a,y=b", r"x=a||y\=b", r"x=a\=\=b"] {
            let selector = Selector::parse(text).expect(text);
            assert_eq!(selector.to_string(), text);
        }
        assert_eq!(
            Selector::parse("z==c,a=b").expect("two terms").to_string(),
            "a=b,z=c"
        );
        for text in ["x=a||y=b", "x==a==b", "x=a,b"] {
            Selector::parse(text).expect_err(text);
        }
        assert_eq!(
            Selector::parse("x=a,b")
                .expect_err("no operator")
                .to_string(),
            "invalid selector: 'x=a,b'; can't understand 'b'"
        );
    }

    #[test]
    fn matches_as_upstream() {
        let check = |selector: &str, fields: &[(&'static str, &'static str)], want: bool| {
            let fields: BTreeMap<&str, &str> = fields.iter().copied().collect();
            let selector = Selector::parse(selector).expect(selector);
            assert_eq!(
                selector.matches(|key| fields.get(key).copied()),
                want,
                "{selector} {fields:?}"
            );
        };
        check("", &[("x", "y")], true);
        check("x=y", &[("x", "y")], true);
        check("x=y,z=w", &[("x", "y"), ("z", "w")], true);
        check("x!=y,z!=w", &[("x", "z"), ("z", "a")], true);
        check("notin=in", &[("notin", "in")], true);
        check("x=y", &[("x", "z")], false);
        check("x=y,z=w", &[("x", "w"), ("z", "w")], false);
        check("x!=y,z!=w", &[("x", "z"), ("z", "w")], false);
        check("x=", &[], true);
        check("x!=a", &[], true);
        assert!(!Selector::nothing().matches(|_| None));
    }

    #[test]
    fn exact_matches_and_transform() {
        let selector = Selector::parse("metadata.name=a,x!=b").expect("selector");
        assert_eq!(selector.requires_exact_match("metadata.name"), Some("a"));
        assert_eq!(selector.requires_exact_match("x"), None);
        let changed = selector.transform(|field, value| match field {
            "x" => Ok((String::new(), String::new())),
            "metadata.name" => Ok(("name".to_owned(), value.to_owned())),
            other => Err(other.to_owned()),
        });
        assert_eq!(changed, Ok(Selector::equals("name", "a")));
    }
}
