//! `pattern`: regular expressions in Go's syntax.
//!
//! The CEL engine already gives the regex crate Go's syntax and Go's messages, so a pattern is the program
//! `self.matches(pattern)`: there is one translation in the project, and it is compiled once.

use std::fmt;
use std::sync::{LazyLock, OnceLock};

use cel::{Activation, Budget, Env, Program, Type, Value};

static ENV: LazyLock<Env> = LazyLock::new(|| {
    Env::builder()
        .variable("self", Type::String)
        .variable("pattern", Type::String)
        .build()
});

/// Go's message for a pattern that is none: the compiler only says that it is none, a run says why.
fn describe(source: &str) -> Option<String> {
    let program = ENV.compile("self.matches(pattern)").ok()?;
    let activation = Activation::new()
        .with("self", Value::from(""))
        .with("pattern", Value::from(source));
    let result = program.evaluate(&activation, &mut Budget::new(u64::MAX));
    result.err().map(|error| error.to_string())
}

/// A pattern, compiled when it is first needed: a cluster has thousands of them, most of objects that nobody writes.
pub(crate) struct Pattern {
    source: Box<str>,
    /// The error text where it does not compile.
    program: OnceLock<Result<Box<Program>, Box<str>>>,
}

impl Pattern {
    pub(crate) fn new(source: &str) -> Self {
        Pattern {
            source: source.into(),
            program: OnceLock::new(),
        }
    }

    fn program(&self) -> &Result<Box<Program>, Box<str>> {
        self.program.get_or_init(|| {
            let expression = format!("self.matches({})", literal(&self.source));
            ENV.compile(&expression).map(Box::new).map_err(|error| {
                let text = describe(&self.source);
                text.unwrap_or_else(|| error.to_string()).into()
            })
        })
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Go's message where the pattern is none.
    pub(crate) fn error(&self) -> Option<&str> {
        self.program().as_ref().err().map(|error| &**error)
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        let Ok(program) = self.program() else {
            return false;
        };
        let activation = Activation::new().with("self", Value::from(text));
        let matched = program.evaluate(&activation, &mut Budget::new(u64::MAX));
        matched.is_ok_and(|matched| matched.as_bool() == Some(true))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.source)
    }
}

/// A string literal of CEL.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_gos() {
        let cases = [
            ("^[a-z]+$", "abc", true),
            ("^[a-z]+$", "ab1", false),
            ("a\"b\\\\c\n", "xa\"b\\c\ny", true),
            (r"^\d+$", "12", true),
            // Perl's classes are ASCII in Go.
            (r"^\d+$", "\u{0663}", false),
            (r"^\w+$", "é", false),
            (r"^é{2}$", "éé", true),
            ("", "anything", true),
        ];
        for (pattern, text, want) in cases {
            let pattern = Pattern::new(pattern);
            assert_eq!(pattern.error(), None);
            assert_eq!(pattern.is_match(text), want, "{pattern:?} {text}");
        }
        assert_eq!(
            Pattern::new("a(").error(),
            Some("error parsing regexp: missing closing ): `a(`")
        );
        assert!(!Pattern::new("a(").is_match("a("));
    }
}
