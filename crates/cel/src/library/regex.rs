//! Regular expressions: `matches`, `find`, `findAll`. Upstream: apiserver/pkg/cel/library/regex.go; syntax as Go's regexp.

use regex::Regex;

use super::{int, text};
use crate::env::Function;
use crate::error::EvalError;
use crate::types::Type;
use crate::value::Value;

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

/// The library's functions.
pub(super) fn functions() -> Vec<Function> {
    let two = [Type::String, Type::String];
    let strings = Type::list(Type::String);
    vec![
        Function::new("find").member("string_find_string", &two, Type::String, |args| {
            apply(Operation::Find, &illegal(text(args, 1)?)?, args)
        }),
        Function::new("findAll")
            .member("string_find_all_string", &two, strings.clone(), |args| {
                apply(Operation::FindAll, &illegal(text(args, 1)?)?, args)
            })
            .member(
                "string_find_all_string_int",
                &[Type::String, Type::String, Type::Int],
                strings,
                |args| apply(Operation::FindAll, &illegal(text(args, 1)?)?, args),
            ),
    ]
}

fn illegal(pattern: &str) -> std::result::Result<Regex, EvalError> {
    compile(pattern).map_err(|error| EvalError::new(format!("Illegal regex: {error}")))
}

/// `text.matches(pattern)`.
pub(crate) fn matches<'a>(args: &[Value<'a>]) -> Result<'a> {
    if args[0].as_str().is_none() {
        return Err(match &args[0] {
            Value::Timestamp(_) | Value::Duration(_) => EvalError::NO_SUCH_OVERLOAD,
            _ => EvalError::new("no such overload: matches"),
        });
    }
    let regex = compile(text(args, 1)?).map_err(EvalError::new)?;
    apply(Operation::Matches, &regex, args)
}

/// What is done with a compiled pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operation {
    /// Whether it is found.
    Matches,
    /// What is found first.
    Find,
    /// All that is found.
    FindAll,
}

/// A call whose pattern is a constant: it is compiled once.
pub(crate) fn constant(
    function: &str,
    args: &[Option<&Value<'static>>],
) -> std::result::Result<Option<(Operation, Regex)>, EvalError> {
    let operation = match function {
        "matches" => Operation::Matches,
        "find" => Operation::Find,
        "findAll" => Operation::FindAll,
        _ => return Ok(None),
    };
    match args.get(1) {
        Some(Some(Value::String(pattern))) => {
            Ok(Some((operation, compile(pattern).map_err(EvalError::new)?)))
        }
        _ => Ok(None),
    }
}

/// Runs a compiled pattern on the first argument.
pub(crate) fn apply<'a>(operation: Operation, regex: &Regex, args: &[Value<'a>]) -> Result<'a> {
    let text = text(args, 0)?;
    let own = |found: regex::Match<'_>| Value::from(found.as_str().to_owned());
    Ok(match operation {
        Operation::Matches => Value::Bool(regex.is_match(text)),
        Operation::Find => regex
            .find(text)
            .map_or_else(|| Value::from(String::new()), own),
        Operation::FindAll => {
            let limit = if args.len() > 2 { int(args, 2)? } else { -1 };
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            Value::from(
                regex
                    .find_iter(text)
                    .take(limit)
                    .map(own)
                    .collect::<Vec<_>>(),
            )
        }
    })
}

/// Compiles a pattern written for Go. The error is Go's where it is one of the usual ones.
pub(crate) fn compile(pattern: &str) -> std::result::Result<Regex, String> {
    let translated = Translator {
        rest: pattern,
        out: String::with_capacity(pattern.len()),
        pattern,
    }
    .run();
    let translated = translated.map_err(|error| format!("error parsing regexp: {error}"))?;
    Regex::new(&translated).map_err(|error| {
        format!(
            "error parsing regexp: {}",
            describe(&error.to_string(), pattern)
        )
    })
}

fn describe(error: &str, pattern: &str) -> String {
    let from = |mark: char| pattern.rfind(mark).map_or(pattern, |at| &pattern[at..]);
    if error.contains("unclosed group") {
        format!("missing closing ): `{pattern}`")
    } else if error.contains("unopened group") {
        format!("unexpected ): `{pattern}`")
    } else if error.contains("unclosed character class") {
        format!("missing closing ]: `{}`", from('['))
    } else if error.contains("look-around") || error.contains("unrecognized flag") {
        let end = |at: usize| {
            pattern[at..]
                .char_indices()
                .nth(3)
                .map_or(pattern.len(), |(length, _)| at + length)
        };
        format!(
            "invalid or unsupported Perl syntax: `{}`",
            pattern
                .find("(?")
                .map_or(pattern, |at| &pattern[at..end(at)])
        )
    } else if error.contains("compiled regex exceeds size limit") {
        format!("expression too large: `{pattern}`")
    } else {
        format!("invalid pattern: `{pattern}`")
    }
}

/// Rewrites what means something else in the regex crate: classes of Perl are ASCII, brackets in classes are themselves.
struct Translator<'p> {
    pattern: &'p str,
    rest: &'p str,
    out: String,
}

/// The most a repetition may ask for.
const MAX_REPEAT: u32 = 1000;

impl Translator<'_> {
    fn run(mut self) -> std::result::Result<String, String> {
        // What the last operator repeats nothing after: the start, a group's start, another operator.
        let mut repeatable = false;
        let mut operator_start: Option<usize> = None;
        while let Some(c) = self.rest.chars().next() {
            let at = self.pattern.len() - self.rest.len();
            let length = match c {
                '*' | '+' | '?' => Some(1),
                '{' => self.repetition()?,
                _ => None,
            };
            if let Some(length) = length {
                if let Some(start) = operator_start {
                    let both = &self.pattern[start..at + length];
                    return Err(format!("invalid nested repetition operator: `{both}`"));
                }
                if !repeatable {
                    return Err(format!(
                        "missing argument to repetition operator: `{}`",
                        &self.rest[..length]
                    ));
                }
                let lazy = usize::from(self.rest[length..].starts_with('?'));
                self.copy(length + lazy);
                operator_start = Some(at);
                continue;
            }
            operator_start = None;
            repeatable = true;
            match c {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '{' | '}' => {
                    self.out.push('\\');
                    self.copy(1);
                }
                '(' => {
                    let group = if self.rest.starts_with("(?") {
                        // Flags and names; what is repeated comes after them.
                        self.rest
                            .find([':', '>', ')'])
                            .map_or(self.rest.len(), |end| end + 1)
                    } else {
                        1
                    };
                    repeatable = self.rest[..group].ends_with(')');
                    self.copy(group);
                }
                '|' => {
                    repeatable = false;
                    self.copy(1);
                }
                c => self.copy(c.len_utf8()),
            }
        }
        Ok(self.out)
    }

    fn copy(&mut self, length: usize) {
        self.out.push_str(&self.rest[..length]);
        self.rest = &self.rest[length..];
    }

    fn replace(&mut self, length: usize, by: &str) {
        self.out.push_str(by);
        self.rest = &self.rest[length..];
    }

    /// The length of `{n,m}`, if this is one.
    fn repetition(&self) -> std::result::Result<Option<usize>, String> {
        let Some(end) = self.rest.find('}') else {
            return Ok(None);
        };
        let (low, high) = self.rest[1..end]
            .split_once(',')
            .unwrap_or((&self.rest[1..end], "0"));
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(low) || !(high.is_empty() || digits(high)) {
            return Ok(None);
        }
        let count = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
        let bounded = self.rest[1..end].contains(',') && !high.is_empty();
        let wrong_order = bounded && count(low) > count(high);
        if count(low) > MAX_REPEAT || (bounded && count(high) > MAX_REPEAT) || wrong_order {
            return Err(format!("invalid repeat count: `{}`", &self.rest[..=end]));
        }
        Ok(Some(end + 1))
    }

    fn escape(&mut self, in_class: bool) -> std::result::Result<(), String> {
        let Some(c) = self.rest[1..].chars().next() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };
        match c {
            'd' => self.replace(2, "[0-9]"),
            'D' => self.replace(2, "[^0-9]"),
            'w' => self.replace(2, "[0-9A-Za-z_]"),
            'W' => self.replace(2, "[^0-9A-Za-z_]"),
            's' => self.replace(2, "[\\t\\n\\f\\r ]"),
            'S' => self.replace(2, "[^\\t\\n\\f\\r ]"),
            'b' if !in_class => self.replace(2, "(?-u:\\b)"),
            'Q' if !in_class => {
                let literal = &self.rest[2..];
                let end = literal.find("\\E").unwrap_or(literal.len());
                self.out.push_str(&regex::escape(&literal[..end]));
                self.rest = literal[end..].strip_prefix("\\E").unwrap_or("");
            }
            'B' | 'A' | 'z' if !in_class => self.copy(2),
            'a' | 'f' | 't' | 'n' | 'r' | 'v' => self.copy(2),
            'p' | 'P' => {
                let end = if self.rest[2..].starts_with('{') {
                    self.rest.find('}').map(|end| end + 1)
                } else {
                    None
                };
                let one = self.rest[2..]
                    .chars()
                    .next()
                    .map_or(2, |c| 2 + c.len_utf8());
                self.copy(end.unwrap_or(one));
            }
            'x' => {
                let end = if self.rest[2..].starts_with('{') {
                    self.rest.find('}').map(|end| end + 1)
                } else {
                    None
                };
                let length = end.unwrap_or(self.rest.len().min(4));
                if !self.rest.is_char_boundary(length) {
                    return Err(format!("invalid escape sequence: `{}`", &self.rest[..2]));
                }
                self.copy(length);
            }
            '0'..='7' => {
                let digits = self.rest[1..]
                    .bytes()
                    .take(3)
                    .take_while(|byte| matches!(byte, b'0'..=b'7'))
                    .count();
                if c != '0' && digits < 2 {
                    return Err(format!("invalid escape sequence: `{}`", &self.rest[..2]));
                }
                let code = u32::from_str_radix(&self.rest[1..1 + digits], 8).unwrap_or(0);
                self.replace(1 + digits, &format!("\\x{{{code:x}}}"));
            }
            c if c.is_ascii_alphanumeric() => {
                return Err(format!("invalid escape sequence: `{}`", &self.rest[..2]));
            }
            c if c.is_ascii() => {
                self.out
                    .push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
                self.rest = &self.rest[2..];
            }
            c => return Err(format!("invalid escape sequence: `\\{c}`")),
        }
        Ok(())
    }

    fn class(&mut self) -> std::result::Result<(), String> {
        let whole = self.rest;
        self.copy(1);
        if self.rest.starts_with('^') {
            self.copy(1);
        }
        let mut first = true;
        loop {
            let Some(c) = self.rest.chars().next() else {
                return Err(format!("missing closing ]: `{whole}`"));
            };
            match c {
                ']' if !first => {
                    self.copy(1);
                    return Ok(());
                }
                '[' if self.rest.starts_with("[:") && self.rest.contains(":]") => {
                    let end = self.rest.find(":]").map_or(self.rest.len(), |end| end + 2);
                    self.copy(end);
                }
                '[' | ']' | '&' | '~' => {
                    self.out.push('\\');
                    self.copy(1);
                }
                '\\' => self.escape(true)?,
                // A dash at either end is itself.
                '-' if first || self.rest.starts_with("-]") => {
                    self.out.push('\\');
                    self.copy(1);
                }
                c => self.copy(c.len_utf8()),
            }
            first = false;
        }
    }
}
